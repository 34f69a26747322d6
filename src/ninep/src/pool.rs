//! Small dense numbers, for tags and fids alike.

use alloc::vec::Vec;

/// Hands out the smallest number that is free. Numbers stay small because
/// some servers refuse large ones (ganesha: fids from 1024 on).
///
/// The pool knows nothing of what a number means; its owner gives it back only
/// when the peer can no longer mean the old use (after the reply to a tag,
/// after the reply to a clunk).
#[derive(Clone, Debug)]
pub struct Pool {
    /// One bit a number, set while it is taken.
    words: Vec<u64>,
    /// No word before this one has a free bit.
    hint: usize,
    taken: u32,
    limit: u32,
}

impl Pool {
    /// A pool of the numbers below `limit`.
    #[must_use]
    pub const fn new(limit: u32) -> Self {
        Pool { words: Vec::new(), hint: 0, taken: 0, limit }
    }

    /// The smallest free number, `None` when all are taken.
    pub fn take(&mut self) -> Option<u32> {
        if self.taken == self.limit {
            return None;
        }
        let at = (self.hint..self.words.len()).find(|&i| self.words[i] != u64::MAX);
        let at = at.unwrap_or_else(|| {
            self.words.push(0);
            self.words.len() - 1
        });
        let bit = self.words[at].trailing_ones();
        self.words[at] |= 1 << bit;
        self.hint = at;
        self.taken += 1;
        Some(at as u32 * 64 + bit)
    }

    /// Gives a number back. One that is not taken is left as it is.
    pub fn give(&mut self, number: u32) {
        let (at, bit) = ((number / 64) as usize, number % 64);
        if let Some(word) = self.words.get_mut(at).filter(|w| **w & (1 << bit) != 0) {
            *word &= !(1 << bit);
            self.hint = self.hint.min(at);
            self.taken -= 1;
        }
    }

    /// How many are taken.
    #[must_use]
    pub const fn taken(&self) -> u32 {
        self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn the_smallest_free_number_comes_first() {
        let mut pool = Pool::new(200);
        assert_eq!(
            (0..200).map_while(|_| pool.take()).collect::<Vec<_>>(),
            (0..200).collect::<Vec<_>>()
        );
        assert_eq!(pool.take(), None);
        for n in [150, 3, 64] {
            pool.give(n);
        }
        assert_eq!([pool.take(), pool.take(), pool.take()], [Some(3), Some(64), Some(150)]);
    }

    #[test]
    fn giving_twice_changes_nothing() {
        let mut pool = Pool::new(10);
        let n = pool.take().unwrap();
        pool.give(n);
        pool.give(n);
        pool.give(9999);
        assert_eq!(pool.taken(), 0);
    }

    #[test]
    fn no_number_is_out_twice() {
        let (mut pool, mut out, mut x) =
            (Pool::new(100), BTreeSet::new(), 88_172_645_463_325_252u64);
        for _ in 0..20_000 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            if x % 3 == 0 {
                if let Some(&n) = out.iter().nth(x as usize % out.len().max(1)) {
                    out.remove(&n);
                    pool.give(n);
                }
            } else if let Some(n) = pool.take() {
                assert!(n < 100 && out.insert(n));
            }
            assert_eq!(pool.taken() as usize, out.len());
        }
    }
}
