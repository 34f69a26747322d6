//! Pointers that lead nowhere. The kernel says EFAULT to them, so that whoever
//! looks at a name before the kernel does must not fall over it.

use core::ffi::c_char;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use privns_abi::Errno;
use privns_host::sys;

const PAGE: usize = 4096;
/// Names come from a handful of pages: stack, heap, constants.
const SETS: usize = 32;

/// Pages in which names could be read: the last of each set, and the one before,
/// so that two that are in turn do not cost a call each. One that is unmapped
/// since is taken to be there: asking again each time would cost half a stat.
static LAST: [AtomicUsize; SETS] = [const { AtomicUsize::new(0) }; SETS];
static BEFORE: [AtomicUsize; SETS] = [const { AtomicUsize::new(0) }; SETS];

/// Whether a program can have nothing there: null, the first page, and the
/// kernel's half of all addresses.
#[inline(always)]
pub(crate) fn is_nowhere<T>(at: *const T) -> bool {
    (at as usize).wrapping_sub(PAGE) > isize::MAX as usize - PAGE
}

/// Numbered from 1: 0 is no page yet.
#[inline(always)]
fn page_of(at: *const c_char) -> usize {
    at as usize / PAGE + 1
}

/// Whether no name can be read there: [`is_nowhere`], and what is not mapped.
#[inline(always)]
pub(crate) fn is_no_name(at: *const c_char) -> bool {
    let page = page_of(at);
    LAST[page % SETS].load(Relaxed) != page && is_new(at)
}

#[cold]
#[inline(never)]
fn is_new(at: *const c_char) -> bool {
    let page = page_of(at);
    let (last, before) = (&LAST[page % SETS], &BEFORE[page % SETS]);
    if is_nowhere(at) || (before.load(Relaxed) != page && is_unmapped(at)) {
        return true;
    }
    before.store(last.swap(page, Relaxed), Relaxed);
    false
}

/// Has the kernel read the name, as the target of a link that is to be made in no
/// directory under no name (symlinkat(2): ENOENT to any that it could read). It
/// touches nothing but the name, so valgrind has nothing to say; nothing is looked
/// up; who may open files is seldom forbidden it; and it takes 90 ns more than a
/// call that does nothing, where process_vm_readv(2) takes 240.
fn is_unmapped(at: *const c_char) -> bool {
    // SAFETY: the kernel reads two strings, and says EFAULT to what it cannot read.
    let made = unsafe { sys!(libc::SYS_symlinkat, at, -1_isize, c"".as_ptr()) };
    made == Err(Errno::EFAULT)
}
