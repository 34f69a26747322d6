//! What members have worked out of files, and each would work out alike: kept in the table, so
//! that one does it for all.

use super::{AT_EPOCHS, AT_KNOWN, Family};
use core::sync::atomic::{Ordering, fence};

/// The shelf that libc has for itself.
pub const LIBC: usize = 0;
/// Those that programs have among them.
pub const PROGRAMS: usize = 3;

/// A shelf: a key, a length, 32-bit words.
const SHELF: usize = (AT_EPOCHS - AT_KNOWN) / (1 + PROGRAMS);
/// Most words.
pub const WORDS: usize = (SHELF - 16) / 4;

impl Family {
    /// Fills `out` with what a member has [kept](Self::keep) on a shelf under `key`. False:
    /// nothing, or not as many words.
    #[must_use]
    pub fn recall(&self, shelf: usize, key: u64, out: &mut [u32]) -> bool {
        let from = begin_of(shelf);
        let mut read = || {
            let word = |at| Some(self.shared.u64(at).ok()?.load(Ordering::Acquire));
            if word(from)? != key || word(from + 8)? != out.len() as u64 {
                return None;
            }
            for (i, place) in out.iter_mut().enumerate() {
                *place = self.shared.u32(from + 16 + i * 4).ok()?.load(Ordering::Relaxed);
            }
            fence(Ordering::Acquire);
            // Another's words may have come in between, under another key.
            (word(from)? == key).then_some(())
        };
        key != 0 && read().is_some()
    }

    /// Keeps words under a key that says from what. Too many are not kept, nor any in a read-only
    /// table.
    pub fn keep(&self, shelf: usize, key: u64, words: &[u32]) {
        let from = begin_of(shelf);
        let Some(shared) = self.changing() else { return };
        let Ok(at) = shared.u64(from) else { return };
        if words.len() > WORDS || at.load(Ordering::Relaxed) == key {
            return;
        }
        at.store(0, Ordering::Release);
        for (i, word) in words.iter().enumerate() {
            if let Ok(place) = shared.u32(from + 16 + i * 4) {
                place.store(*word, Ordering::Relaxed);
            }
        }
        if let Ok(len) = shared.u64(from + 8) {
            len.store(words.len() as u64, Ordering::Relaxed);
        }
        at.store(key, Ordering::Release);
    }
}

fn begin_of(shelf: usize) -> usize {
    AT_KNOWN + shelf % (1 + PROGRAMS) * SHELF
}
