//! What a program was started with and Rust's runtime changes before `main`:
//! SIGPIPE is ignored from then on, and standard descriptors that were closed
//! lead to `/dev/null`. A launcher must hand down what it was given.

use crate::sys;
use core::sync::atomic::{AtomicU32, Ordering};

const PIPE_IGNORED: u32 = 8;

/// Bits 0 to 2: that descriptor was closed; [`PIPE_IGNORED`].
static FOUND: AtomicU32 = AtomicU32::new(0);

#[used]
// SAFETY: the loader calls what stands in this section, before `main`; `look`
// needs nothing that is set up later.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    let mut found = 0;
    for fd in 0..3 {
        // SAFETY: no memory is involved.
        if unsafe { sys!(libc::SYS_fcntl, fd, libc::F_GETFD) }.is_err() {
            found |= 1 << fd;
        }
    }
    if sigpipe(None) == libc::SIG_IGN {
        found |= PIPE_IGNORED;
    }
    FOUND.store(found, Ordering::Relaxed);
}

/// The kernel's `struct sigaction`, which is not the C library's.
#[repr(C)]
struct Action {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// What SIGPIPE does, after setting it where asked to.
fn sigpipe(set: Option<usize>) -> usize {
    let new = Action { handler: set.unwrap_or(0), flags: 0, restorer: 0, mask: 0 };
    let mut old = Action { handler: 0, flags: 0, restorer: 0, mask: 0 };
    let new = set.map_or(core::ptr::null(), |_| &raw const new);
    // SAFETY: both are null or the kernel's struct; a disposition without a
    // handler needs no restorer.
    let _ = unsafe { sys!(libc::SYS_rt_sigaction, libc::SIGPIPE, new, &raw mut old, 8) };
    old.handler
}

/// Undoes what the runtime did: right before exec, after which nothing is said
/// any more.
pub fn restore() {
    let found = FOUND.load(Ordering::Relaxed);
    sigpipe(Some(if found & PIPE_IGNORED != 0 { libc::SIG_IGN } else { libc::SIG_DFL }));
    for fd in (0..3).filter(|fd| found & (1 << fd) != 0) {
        // SAFETY: the runtime opened /dev/null there; nobody else uses it.
        let _ = unsafe { sys!(libc::SYS_close, fd) };
    }
}
