//! Decisions in their order: lines come when their exchanges have ended, and not in the order in which
//! the guard decided.
//!
//! What has not come yet is waited for until [`Window::SIZE`] decisions behind it are there, and then
//! counted as missing. So memory is bounded, and an exchange may go on for as long as the site takes
//! for that many decisions; what comes later still is late.

use std::collections::VecDeque;

/// Things by their number, from which they are taken in order.
pub struct Window<T> {
    /// The number of the first slot.
    base: u64,
    slots: VecDeque<Option<T>>,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    Here(T),
    /// So many, of which nothing is known.
    Missing(u64),
}

/// Why something was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Unfit {
    /// What is behind it was taken out already, or it is there twice.
    Late,
    /// There is no room up to it: all that is there must be taken out first.
    Far,
}

impl<T> Window<T> {
    /// Decisions that are held at most: some 100 MiB.
    pub const SIZE: usize = 1 << 19;

    /// Nothing yet. Numbers begin at zero; where the first is far from it, a part of them is not
    /// asked for.
    pub fn from_first(number: u64) -> Self {
        let base = if number < Self::SIZE as u64 / 2 { 0 } else { number - Self::SIZE as u64 / 8 };
        Self { base, slots: VecDeque::new() }
    }

    /// Whether there is room for a number.
    pub fn check(&self, number: u64) -> Result<(), Unfit> {
        let Some(ahead) = number.checked_sub(self.base) else { return Err(Unfit::Late) };
        match usize::try_from(ahead) {
            Ok(ahead) if ahead < 2 * Self::SIZE => match self.slots.get(ahead) {
                Some(Some(_)) => Err(Unfit::Late),
                Some(None) | None => Ok(()),
            },
            _ => Err(Unfit::Far),
        }
    }

    /// Puts something into its place, if [`Self::check`] found room for it.
    pub fn put(&mut self, number: u64, thing: T) {
        if self.check(number).is_err() {
            return;
        }
        // It was found to be small enough.
        let ahead = (number - self.base) as usize;
        if ahead >= self.slots.len() {
            self.slots.resize_with(ahead + 1, || None);
        }
        self.slots[ahead] = Some(thing);
    }

    /// What comes next; `None` where that may still come. With `flush` nothing will.
    pub fn next(&mut self, flush: bool) -> Option<Next<T>> {
        match self.slots.front_mut()?.take() {
            Some(thing) => {
                self.slots.pop_front();
                self.base += 1;
                Some(Next::Here(thing))
            }
            None if flush || self.slots.len() > Self::SIZE => {
                let missing = self.slots.iter().take_while(|slot| slot.is_none()).count();
                self.slots.drain(..missing);
                self.base += missing as u64;
                Some(Next::Missing(missing as u64))
            }
            None => None,
        }
    }

    /// Once everything was taken out: the next number is far away, and what is between is missing.
    pub fn leap(&mut self, number: u64) -> u64 {
        let near = number.saturating_sub(Self::SIZE as u64 / 8).max(self.base);
        self.slots.clear();
        near - std::mem::replace(&mut self.base, near)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(window: &mut Window<u64>, flush: bool) -> Vec<Next<u64>> {
        std::iter::from_fn(|| window.next(flush)).collect()
    }

    #[test]
    fn things_come_in_their_order_and_what_is_missing_is_told() {
        let mut window = Window::from_first(3);
        for number in [3, 0, 1, 7, 6] {
            assert_eq!(window.check(number), Ok(()));
            window.put(number, number);
        }
        assert_eq!(window.check(3), Err(Unfit::Late));
        assert_eq!(drained(&mut window, false), [Next::Here(0), Next::Here(1)]);
        assert_eq!(window.check(1), Err(Unfit::Late));
        window.put(2, 2);
        let rest = [Next::Here(2), Next::Here(3), Next::Missing(2), Next::Here(6), Next::Here(7)];
        assert_eq!(drained(&mut window, true), rest);
    }

    #[test]
    fn one_that_never_comes_holds_up_no_more_than_fits() {
        let mut window = Window::from_first(1);
        let size = Window::<u64>::SIZE as u64;
        for number in 1..size {
            window.put(number, number);
            assert_eq!(window.next(false), None);
        }
        window.put(size, size);
        assert_eq!(window.next(false), Some(Next::Missing(1)));
        assert_eq!(drained(&mut window, false).len() as u64, size);
    }

    #[test]
    fn a_number_from_nowhere_takes_no_memory() {
        let mut window = Window::from_first(0);
        window.put(0, 0);
        assert_eq!(window.check(u64::MAX), Err(Unfit::Far));
        assert_eq!(drained(&mut window, true), [Next::Here(0)]);
        assert!(window.leap(u64::MAX - 1) > u64::MAX - 100_000);
        assert_eq!(window.check(u64::MAX - 1), Ok(()));
        assert!(matches!(Window::<u64>::from_first(10_000_000).base, 9_900_000..10_000_000));
    }
}
