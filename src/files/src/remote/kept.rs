//! Descriptors that are ours and not the program's: connections, and what
//! virtual descriptors are copies of. To the program such a number is not
//! open: it is passed over by whatever closes all that it finds.

use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use privns_host::elsewhere;

/// Most that are kept; more servers than this have connections that a program
/// may close, and that are then dialled again.
const MOST: usize = 64;

/// See the module.
pub struct Kept {
    /// Each plus one; 0: free.
    numbers: [AtomicI32; MOST],
    /// None stands from here on.
    end: AtomicUsize,
}

impl Kept {
    /// None.
    #[must_use]
    pub const fn new() -> Kept {
        Kept { numbers: [const { AtomicI32::new(0) }; MOST], end: AtomicUsize::new(0) }
    }

    fn all(&self) -> impl Iterator<Item = &AtomicI32> {
        self.numbers.iter().take(self.end.load(Ordering::Acquire))
    }

    /// Keeps a number.
    pub fn add(&self, fd: i32) {
        for (at, place) in self.numbers.iter().enumerate() {
            let (release, relaxed) = (Ordering::AcqRel, Ordering::Relaxed);
            if place.compare_exchange(0, fd + 1, release, relaxed).is_ok() {
                self.end.fetch_max(at + 1, Ordering::Release);
                return;
            }
        }
    }

    /// Keeps it no longer; to be called before it is closed.
    pub fn remove(&self, fd: i32) {
        for place in self.all() {
            let relaxed = Ordering::Relaxed;
            if place.compare_exchange(fd + 1, 0, relaxed, relaxed).is_ok() {
                return;
            }
        }
    }

    /// The numbers, as they are in the process that calls.
    fn here(&self) -> impl Iterator<Item = i32> {
        let noted = self.all().map(|place| place.load(Ordering::Relaxed) - 1);
        noted.filter(|&fd| fd >= 0).map(elsewhere::here)
    }

    /// Whether a number is kept.
    #[inline]
    pub fn has(&self, fd: i32) -> bool {
        fd >= 0 && self.here().any(|kept| kept == fd)
    }

    /// The smallest number that is kept, of those from `first` on.
    pub fn next(&self, first: i32) -> Option<i32> {
        self.here().filter(|&fd| fd >= first).min()
    }
}

/// Those of this process.
pub static KEPT: Kept = Kept::new();

impl Default for Kept {
    fn default() -> Self {
        Kept::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_until_it_is_removed() {
        let kept = Kept::new();
        [7, 0, 1000].iter().for_each(|&fd| kept.add(fd));
        assert!(kept.has(0) && kept.has(7) && !kept.has(8) && !kept.has(-1));
        assert_eq!((kept.next(1), kept.next(8), kept.next(1001)), (Some(7), Some(1000), None));
        kept.remove(7);
        kept.add(3);
        assert_eq!((kept.has(7), kept.next(1)), (false, Some(3)));
        (0..200).for_each(|fd| kept.add(fd));
        assert!(kept.has(1000) && !kept.has(199));
    }
}
