//! System calls that a program makes itself, past libc: Rust's `rustix` does, by which
//! `tempfile` renames, so that cargo and others do some calls of theirs that way.
//!
//! A compiler writes `mov $NUMBER, %eax`, moves of the arguments, and `syscall`. The first,
//! which is as long as a jump, is replaced by one to a *stub* near the program: it does the same
//! moves and asks [`syscall::route`], as libc's syscall(3) does here, with every register kept
//! that the kernel keeps. No more than one whole instruction changes, so that what jumps to
//! another of them finds it, and makes its call as ever: past us.
//!
//! Looked for in the program alone, at its start, and only where it is Rust's by what it needs. To
//! look through a large one takes milliseconds, so that one member does it for the family.

use privns_namespace::family::Family;

/// Has the system calls that the program makes itself come to us.
///
/// # Safety
/// The process has one thread, which is in our constructor.
pub(crate) unsafe fn take(family: &Family) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's promise.
    unsafe {
        text::take(family)
    };
    #[cfg(not(target_arch = "x86_64"))]
    let _ = family;
}

#[cfg(target_arch = "x86_64")]
mod decode;
#[cfg(target_arch = "x86_64")]
mod stub;
#[cfg(target_arch = "x86_64")]
mod text;
