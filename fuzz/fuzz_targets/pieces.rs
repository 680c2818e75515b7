//! Bytes as they may come: cut where a seed says.

use bytes::Bytes;

/// The bytes cut into pieces, as a seed says; the next one last.
pub fn pieces(bytes: &[u8], seed: u8) -> Vec<Bytes> {
    let mut state = u32::from(seed).wrapping_mul(2_654_435_761) | 1;
    let (mut rest, mut cut) = (bytes, Vec::new());
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = match seed {
            0 => rest.len(),
            1 => 1,
            _ => 1 + (state >> 16) as usize % (usize::from(seed) * 2),
        };
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        cut.push(Bytes::copy_from_slice(piece));
        rest = behind;
    }
    cut.reverse();
    cut
}
