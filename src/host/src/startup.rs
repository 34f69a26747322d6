//! What a launcher was started with, which it must hand down. It ignores SIGPIPE
//! itself, as programs in Rust do, and has something behind each of the standard
//! descriptors, so that what it opens never lands where messages go.

use crate::sys;
use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicU32, Ordering};
use privns_abi::Errno;

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
            let null = c"/dev/null".as_ptr();
            // SAFETY: a name that ends in NUL. The lowest free number is this one.
            let _ = unsafe { sys!(libc::SYS_openat, libc::AT_FDCWD, null, libc::O_RDWR) };
        }
    }
    if sigpipe(libc::SIG_IGN) == libc::SIG_IGN {
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

/// Sets what SIGPIPE does; gives what it did.
fn sigpipe(handler: usize) -> usize {
    let new = Action { handler, flags: 0, restorer: 0, mask: 0 };
    let mut old = Action { handler: 0, flags: 0, restorer: 0, mask: 0 };
    // SAFETY: both are the kernel's struct; a disposition without a handler needs
    // no restorer.
    let _ = unsafe { sys!(libc::SYS_rt_sigaction, libc::SIGPIPE, &raw const new, &raw mut old, 8) };
    old.handler
}

/// Undoes it: right before exec, after which nothing is said any more.
pub fn restore() {
    let found = FOUND.load(Ordering::Relaxed);
    sigpipe(if found & PIPE_IGNORED != 0 { libc::SIG_IGN } else { libc::SIG_DFL });
    for fd in (0..3).filter(|fd| found & (1 << fd) != 0) {
        // SAFETY: we opened /dev/null there; nobody else uses it.
        let _ = unsafe { sys!(libc::SYS_close, fd) };
    }
}

/// Becomes a program as execvp(3) does: by the C library, in front of which ours
/// may stand. Undoes what was found first; returns only when it fails.
#[must_use]
pub fn execvp(file: &CStr, argv: &[CString]) -> Errno {
    let argv: Vec<_> = argv.iter().map(|word| word.as_ptr()).chain([core::ptr::null()]).collect();
    restore();
    // SAFETY: a C string, and an array of them that ends in a null pointer.
    unsafe { libc::execvp(file.as_ptr(), argv.as_ptr()) };
    // SAFETY: the calling thread's own.
    Errno(unsafe { *libc::__errno_location() })
}

/// The name by which the kernel was given this program's file (getauxval(3),
/// AT_EXECFN): relative or by links where it was called so.
#[must_use]
pub fn executed() -> Option<&'static CStr> {
    // SAFETY: a number that the kernel has left beside the environment.
    let at = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const c_char;
    // SAFETY: a string that is there for good, and that nobody changes.
    (!at.is_null()).then(|| unsafe { CStr::from_ptr(at) })
}

/// The words after the program's name, from what `main` is called with.
///
/// # Safety
/// `argv` is an array of at least `argc` strings that end in NUL.
#[must_use]
pub unsafe fn words(argc: i32, argv: *const *const c_char) -> Vec<Vec<u8>> {
    let count = usize::try_from(argc).unwrap_or(0);
    // SAFETY: as the caller says.
    let word = |at| unsafe { CStr::from_ptr(*argv.add(at)) }.to_bytes().to_vec();
    (1..count).map(word).collect()
}

/// `main!(run)`: the C library calls `run` as the program's `main`, with the words
/// after its name, without what Rust's runtime does before: to prepare a message
/// for a stack that overflows it reads /proc/self/maps, a twentieth of what
/// starting a shell takes. The rest of what it does is done here.
#[macro_export]
macro_rules! main {
    ($run:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn main(argc: i32, argv: *const *const core::ffi::c_char) -> i32 {
            // SAFETY: these are what the C library calls it with.
            $run(unsafe { $crate::startup::words(argc, argv) })
        }
    };
}
