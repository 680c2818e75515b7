//! The table of the README: attack, bound promised, worst observed.

use std::fs;
use std::path::Path;

/// What the table is gathered in: one file for each row. `tests/run` sets it, and prints the table.
const FOLDER: &str = "FLOODWALL_ATTACKS";

/// Checks that an attack got no further than promised, and puts it into the table. `unit` says
/// what both numbers count, and where: "records, 1.7.9".
pub fn bounded(attack: &str, unit: &str, promised: u64, observed: u64) {
    println!("ATTACK {attack} | {promised} {unit} | {observed}");
    if let Some(folder) = std::env::var_os(FOLDER) {
        let row = format!("| {attack} | {promised} {unit} | {observed} |\n");
        let name: String =
            attack.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let unit: String =
            unit.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        fs::write(Path::new(&folder).join(format!("{name}.{unit}")), row)
            .expect("the row can be written");
    }
    assert!(observed <= promised, "{attack}: {observed} {unit}, promised were {promised}");
}
