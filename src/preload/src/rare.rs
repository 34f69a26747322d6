//! libc's functions that we call seldom, looked up when first called: each name
//! that the library imports is one that the loader looks up at every exec.

use crate::real::real;
use core::ffi::{c_char, c_int, c_short, c_void};
use libc::{posix_spawnattr_t, sched_param, sem_t, sigset_t, FILE};

/// `name(arg: type, …) -> ret else value`: the function, and what it returns
/// where the libc has none such; every glibc has all of these.
macro_rules! rare {
    ($($name:ident ($($arg:ident : $ty:ty),*) -> $ret:ty, else $none:expr;)*) => {
        $(pub(crate) unsafe fn $name($($arg: $ty),*) -> $ret {
            match real!($name($($ty),*) -> $ret) {
                // SAFETY: the caller's arguments.
                Some(real) => unsafe { real($($arg),*) },
                None => $none,
            }
        })*
    };
}

type Compare = unsafe extern "C" fn(*const c_void, *const c_void) -> c_int;
type CleanUp = unsafe extern "C" fn(*mut c_void);

rare! {
    qsort(list: *mut c_void, n: usize, size: usize, compare: Compare) -> (), else ();
    fdopen(fd: c_int, mode: *const c_char) -> *mut FILE, else core::ptr::null_mut();
    fclose(stream: *mut FILE) -> c_int, else -1;
    fork() -> c_int, else -1;
    setsid() -> c_int, else -1;
    sem_init(sem: *mut sem_t, shared: c_int, value: u32) -> c_int, else -1;
    sigaction(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int, else -1;
    _pthread_cleanup_push(record: *mut c_void, routine: CleanUp, argument: *mut c_void) -> (), else ();
    _pthread_cleanup_pop(record: *mut c_void, run: c_int) -> (), else ();
    posix_spawnattr_getflags(attr: *const posix_spawnattr_t, flags: *mut c_short) -> c_int, else -1;
    posix_spawnattr_getpgroup(attr: *const posix_spawnattr_t, group: *mut c_int) -> c_int, else -1;
    posix_spawnattr_getschedpolicy(attr: *const posix_spawnattr_t, policy: *mut c_int) -> c_int, else -1;
    posix_spawnattr_getschedparam(attr: *const posix_spawnattr_t, param: *mut sched_param) -> c_int, else -1;
    posix_spawnattr_getsigdefault(attr: *const posix_spawnattr_t, set: *mut sigset_t) -> c_int, else -1;
    posix_spawnattr_getsigmask(attr: *const posix_spawnattr_t, set: *mut sigset_t) -> c_int, else -1;
}
