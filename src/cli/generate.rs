//! Completions and manual pages, made of the same source as `--help`.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::Trouble;
use super::line::CommandLine;

/// What this shell needs to complete the command line.
pub fn completions(shell: Shell) -> String {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "floodwall", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// One page with all commands; or one page for each, written into `directory`, and then nothing
/// is printed.
pub fn manual(directory: Option<&Path>) -> Result<String, Trouble> {
    let mut root = CommandLine::command();
    root.build();
    match directory {
        None => {
            let page = whole(&root);
            let page = page.map_err(|error| Trouble::Failed(error.to_string()))?;
            Ok(String::from_utf8_lossy(&page).into_owned())
        }
        Some(directory) => match pages(&root, directory) {
            Ok(()) => Ok(String::new()),
            Err(error) => Err(Trouble::Failed(format!(
                "floodwall: {}: {error}\n  = name a directory that is there and can be written",
                directory.display()
            ))),
        },
    }
}

fn pages(root: &Command, directory: &Path) -> io::Result<()> {
    for command in root.get_subcommands().chain([root]) {
        let man = Man::new(command.clone());
        let mut page = Vec::new();
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        sections(&man, command, &mut page)?;
        if command.has_subcommands() {
            man.render_subcommands_section(&mut page)?;
        }
        fs::write(directory.join(man.get_filename()), page)?;
    }
    Ok(())
}

fn whole(root: &Command) -> io::Result<Vec<u8>> {
    let man = Man::new(root.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    sections(&man, root, &mut page)?;
    for command in root.get_subcommands() {
        let name = format!("FLOODWALL {}", command.get_name().to_uppercase());
        heading("SH", &name, &mut page)?;
        let mut part = Vec::new();
        sections(&Man::new(command.clone()), command, &mut part)?;
        // A section of a page of its own is a part of one here.
        let part = String::from_utf8_lossy(&part).replace("\n.SH ", "\n.SS ");
        page.write_all(
            part.strip_prefix(".SH ").map_or(part.clone(), |rest| format!(".SS {rest}")).as_bytes(),
        )?;
    }
    Ok(page)
}

/// What is said of one command.
fn sections(man: &Man, command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    heading("SH", "EXIT STATUS", page)?;
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut rest = Roff::new();
    let mut exits = Roff::new();
    for line in after.lines().filter(|line| !line.is_empty() && *line != "Exit codes:") {
        match line.strip_prefix("  ").and_then(|line| line.split_once("  ")) {
            Some((code, meaning)) => {
                exits.control("TP", []);
                exits.text([roman(code)]);
                exits.text([roman(meaning)]);
            }
            None => {
                rest.control("PP", []);
                rest.text([roman(line)]);
            }
        }
    }
    exits.to_writer(page)?;
    if !rest.to_roff().is_empty() {
        heading("SH", "NOTES", page)?;
        rest.to_writer(page)?;
    }
    Ok(())
}

fn heading(level: &str, text: &str, page: &mut Vec<u8>) -> io::Result<()> {
    writeln!(page, ".{level} \"{text}\"")
}
