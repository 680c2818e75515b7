//! Fewer moves that still fail: what is committed of a failure.

/// Zeller and Hildebrandt's ddmin (2002), within a number of moves that are made again: leaves out
/// ever smaller parts of `moves` for as long as the rest still `fails`.
pub fn shrink(
    mut moves: Vec<u32>,
    mut budget: usize,
    mut fails: impl FnMut(&[u32]) -> bool,
) -> Vec<u32> {
    let mut part = moves.len().div_ceil(2);
    while part > 0 {
        let (mut start, mut shorter) = (0, false);
        while start < moves.len() {
            if budget < moves.len() {
                return moves;
            }
            budget -= moves.len();
            let end = (start + part).min(moves.len());
            let rest = [&moves[..start], &moves[end..]].concat();
            if fails(&rest) {
                (moves, shorter) = (rest, true);
            } else {
                start = end;
            }
        }
        if !shorter || part > moves.len() {
            part = if part == 1 { 0 } else { part.div_ceil(2) };
        }
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_makes_it_fail_is_left() {
        let fails = |moves: &[u32]| [17, 500, 501].iter().all(|needed| moves.contains(needed));
        assert_eq!(shrink((0..1000).collect(), usize::MAX, fails), [17, 500, 501]);
    }

    #[test]
    fn it_ends_when_its_budget_is_spent_and_what_is_left_still_fails() {
        let mut made = 0;
        let left = shrink((0..1000).collect(), 1500, |moves| {
            made += moves.len();
            moves.contains(&999)
        });
        assert!(made <= 1500 && left.len() < 1000 && left.contains(&999), "{left:?}");
    }
}
