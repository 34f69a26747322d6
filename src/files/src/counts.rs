//! What became of the calls of one process, for `ns stat`: counted where no
//! other thread looks, and added to the family's counters now and then.

use core::sync::atomic::{AtomicU32, Ordering};
use privns_namespace::Family;
use privns_namespace::family::Counter;

/// Threads count in one of these, by their number: two that share one may lose
/// a count, which costs less than agreeing on it.
const SLOTS: usize = 32;
/// Counts that are kept back at most, by each of them.
const EVERY: u32 = 4096;

/// The counts of a process that its family does not have yet.
pub struct Counts {
    slots: [Slot; SLOTS],
}

/// What a thread has for itself, on a cache line of its own.
#[repr(align(64))]
struct Slot {
    counts: [AtomicU32; Counter::ALL.len()],
    /// Which of the remembered directories it has used last.
    last: AtomicU32,
}

impl Slot {
    const fn new() -> Slot {
        Slot { counts: [const { AtomicU32::new(0) }; 4], last: AtomicU32::new(0) }
    }
}

impl Counts {
    /// Nothing counted.
    #[must_use]
    pub const fn new() -> Counts {
        Counts { slots: [const { Slot::new() }; SLOTS] }
    }

    /// The slot of the calling thread: by where its own data lies.
    #[inline(always)]
    fn own(&self) -> &Slot {
        self.slot(privns_host::raw::thread_pointer() >> 12)
    }

    #[inline(always)]
    fn slot(&self, thread: usize) -> &Slot {
        &self.slots[thread % SLOTS]
    }

    /// Which of the remembered directories the calling thread has used last.
    #[inline(always)]
    pub(crate) fn last(&self) -> &AtomicU32 {
        &self.own().last
    }

    /// Counts one.
    #[inline]
    pub fn count(&self, what: Counter, family: &Family) {
        self.count_in(self.own(), what, family);
    }

    #[inline]
    fn count_in(&self, slot: &Slot, what: Counter, family: &Family) {
        let Some(count) = slot.counts.get(what as usize) else { return };
        let n = count.load(Ordering::Relaxed).wrapping_add(1);
        count.store(n, Ordering::Relaxed);
        if n >= EVERY {
            self.flush(family);
        }
    }

    /// Adds what has been counted to the family's counters.
    #[cold]
    pub fn flush(&self, family: &Family) {
        for (what, _) in Counter::ALL {
            let counts = self.slots.iter().filter_map(|slot| slot.counts.get(what as usize));
            let all: u64 = counts
                .filter(|count| count.load(Ordering::Relaxed) != 0)
                .map(|count| u64::from(count.swap(0, Ordering::Relaxed)))
                .sum();
            if all != 0 {
                family.counter(what).fetch_add(all, Ordering::Relaxed);
            }
        }
    }

    /// Forgets: for the child of a fork, whose parent has the same counts.
    pub fn clear(&self) {
        for count in self.slots.iter().flat_map(|slot| &slot.counts) {
            if count.load(Ordering::Relaxed) != 0 {
                count.store(0, Ordering::Relaxed);
            }
        }
    }
}

impl Default for Counts {
    fn default() -> Self {
        Counts::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use privns_namespace::Table;

    #[test]
    fn every_count_reaches_the_family_once() {
        let family = Family::create(b"", &Table::new()).unwrap();
        let counts = std::boxed::Box::new(Counts::new());
        for n in 0..EVERY as usize + 10 {
            counts.count_in(counts.slot(n % 2), Counter::Translated, &family);
            counts.count_in(counts.slot(7), Counter::Forwarded, &family);
        }
        assert_eq!(family.count(Counter::Translated), u64::from(EVERY));
        counts.flush(&family);
        counts.flush(&family);
        assert_eq!(family.count(Counter::Translated), u64::from(EVERY) + 10);
        assert_eq!(family.count(Counter::Forwarded), u64::from(EVERY) + 10);
        counts.count(Counter::Served, &family);
        counts.clear();
        counts.flush(&family);
        assert_eq!(family.count(Counter::Served), 0);
    }
}
