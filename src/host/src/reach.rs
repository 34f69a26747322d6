//! How far a program's memory reaches. The kernel says EFAULT where it ends, or
//! does a part of what was asked, so that whoever copies in its place must look
//! before touching it.
//!
//! What was found to be there is remembered until something is unmapped or
//! protected ([`forget`]): buffers are used over and over. Of what libc unmaps by
//! itself, malloc's is told, and where the kernel finds us wrong all is forgotten:
//! that costs the one connection on which half a message has left.

use crate::sys;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use privns_abi::Errno;

const PAGE: usize = 4096;
const SLOTS: usize = 32;
/// The bits of an entry that say how many pages there are; above them is the first.
const COUNT: u32 = 29;

/// Runs of pages that were there, each in the slot of its first page.
struct Known([AtomicU64; SLOTS]);

static READABLE: Known = Known::new();
static WRITABLE: Known = Known::new();

impl Known {
    const fn new() -> Known {
        Known([const { AtomicU64::new(0) }; SLOTS])
    }

    /// The parts of a large buffer, which come in turn, have slots of their own.
    fn slot(&self, first: usize) -> &AtomicU64 {
        &self.0[(first ^ first >> 5) % SLOTS]
    }

    fn has(&self, first: usize, pages: usize) -> bool {
        let known = self.slot(first).load(Relaxed);
        known >> COUNT == first as u64 && known & ((1 << COUNT) - 1) >= pages as u64
    }

    /// Addresses beyond 47 bits and runs beyond 2 TiB are not remembered.
    fn note(&self, first: usize, pages: usize) {
        let (first_bits, bits) = (u64::BITS - COUNT, usize::BITS);
        if pages >> COUNT == 0 && bits - first.leading_zeros() <= first_bits {
            let known = (first as u64) << COUNT | pages as u64;
            self.slot(first).store(known, Relaxed);
        }
    }
}

/// How many bytes of `data`, from its beginning, can be read.
#[inline]
#[must_use]
pub fn readable(data: &[u8]) -> usize {
    within(&READABLE, data, libc::MADV_POPULATE_READ, can_be_read)
}

/// How many bytes of `room`, from its beginning, can be written.
#[inline]
#[must_use]
pub fn writable(room: &[u8]) -> usize {
    within(&WRITABLE, room, libc::MADV_POPULATE_WRITE, can_be_written)
}

/// The program has changed what is mapped, or how.
pub fn forget() {
    for known in READABLE.0.iter().chain(&WRITABLE.0) {
        known.store(0, Relaxed);
    }
}

#[inline]
fn within(known: &Known, memory: &[u8], advice: i32, test: fn(usize) -> bool) -> usize {
    let at = memory.as_ptr() as usize;
    let first = at / PAGE;
    let pages = at.wrapping_add(memory.len()).div_ceil(PAGE).wrapping_sub(first);
    if memory.is_empty() || known.has(first, pages) {
        return memory.len();
    }
    look(known, memory, advice, test)
}

#[cold]
#[inline(never)]
fn look(known: &Known, memory: &[u8], advice: i32, test: fn(usize) -> bool) -> usize {
    let at = memory.as_ptr() as usize;
    let Some(end) = at.checked_add(memory.len()).filter(|end| *end <= isize::MAX as usize) else {
        return 0;
    };
    let (first, last) = (at / PAGE, (end - 1) / PAGE);
    // Pages that are about to be touched are made present by this, and not looked at.
    // SAFETY: no byte of the program's is changed.
    let all = unsafe { sys!(libc::SYS_madvise, first * PAGE, end - first * PAGE, advice) };
    let good = match all {
        Ok(_) => last + 1,
        // Something is not there, or the kernel is older than Linux 5.14.
        Err(_) => (first..=last).find(|page| !test(page * PAGE)).unwrap_or(last + 1),
    };
    if good > first {
        known.note(first, good - first);
    }
    (good * PAGE).min(end).saturating_sub(at)
}

/// The set of signals is read before it is seen that nothing is to be done with it.
fn can_be_read(page: usize) -> bool {
    const NOTHING: i32 = -1;
    // Not at the beginning of the page: null is no set.
    // SAFETY: nothing is changed.
    let done = unsafe { sys!(libc::SYS_rt_sigprocmask, NOTHING, page + 8, 0_usize, 8_usize) };
    done != Err(Errno::EFAULT)
}

/// Adds no bit to the page's first word, at once, as other threads see it.
fn can_be_written(page: usize) -> bool {
    const ADD_NOTHING: i32 = libc::FUTEX_OP_OR << 28 | libc::FUTEX_OP_CMP_LT << 24;
    let nobody = AtomicU32::new(0);
    let wake = libc::FUTEX_WAKE_OP | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word keeps its value, and nobody sleeps at ours.
    let done = unsafe {
        sys!(libc::SYS_futex, nobody.as_ptr(), wake, 0_usize, 0_usize, page, ADD_NOTHING)
    };
    done != Err(Errno::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::slice;

    /// Pages of which the first are as `protection` says, and the rest are not there.
    fn pages(there: usize, gone: usize, protection: i32) -> &'static [u8] {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let len = (there + gone) * PAGE;
        // SAFETY: new memory, whose end is made inaccessible; only ever looked at
        // through what is tested.
        unsafe {
            let at = sys!(libc::SYS_mmap, 0_usize, len, protection, flags, usize::MAX, 0).unwrap();
            sys!(libc::SYS_mprotect, at + there * PAGE, gone * PAGE, libc::PROT_NONE).unwrap();
            slice::from_raw_parts(at as *const u8, len)
        }
    }

    #[test]
    fn memory_reaches_to_the_first_page_that_is_not_there() {
        let both = libc::PROT_READ | libc::PROT_WRITE;
        let memory = pages(3, 2, both);
        for (from, to) in [(0, 5), (0, 3), (1, 4), (2, 3), (3, 4), (4, 5)] {
            let part = &memory[from * PAGE..to * PAGE];
            let good = to.min(3).saturating_sub(from) * PAGE;
            assert_eq!((readable(part), writable(part)), (good, good), "{from} to {to}");
        }
        assert_eq!(writable(&memory[100..3 * PAGE + 1]), 3 * PAGE - 100);
        assert_eq!(readable(&memory[3 * PAGE..3 * PAGE]), 0);
    }

    #[test]
    fn each_page_by_itself_says_the_same() {
        let memory = pages(1, 1, libc::PROT_READ);
        let (first, second) = (memory.as_ptr() as usize, memory.as_ptr() as usize + PAGE);
        assert!(can_be_read(first) && !can_be_written(first) && !can_be_read(second));
        assert_eq!((readable(memory), writable(memory)), (PAGE, 0));
        assert!(!can_be_read(0) && !can_be_written(0));
        let memory = pages(1, 1, libc::PROT_READ | libc::PROT_WRITE);
        assert!(can_be_written(memory.as_ptr() as usize));
    }

    #[test]
    fn what_is_known_is_forgotten() {
        let memory = pages(2, 1, libc::PROT_READ | libc::PROT_WRITE);
        assert_eq!(writable(&memory[..2 * PAGE]), 2 * PAGE);
        // SAFETY: memory of ours.
        unsafe { sys!(libc::SYS_munmap, memory.as_ptr(), PAGE) }.unwrap();
        forget();
        assert_eq!(writable(&memory[..2 * PAGE]), 0);
    }
}
