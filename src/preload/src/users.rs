//! Calls by which a process becomes another user. Servers know it as whom it has attached, so that
//! it attaches anew: what a user may no longer do is refused on mounts as everywhere else.

use crate::real::real;
use crate::start::single_threaded;
use crate::PROCESS;
use core::ffi::{c_char, c_int, c_long};
use libc::{gid_t, size_t, uid_t};
use privns_abi::{Errno, Result};
use privns_host::raw;

macro_rules! becoming {
    ($($name:ident ($($arg:ident : $ty:ty),*);)*) => {
        $(pub(crate) unsafe fn $name($($arg: $ty),*) -> c_int {
            let Some(real) = real!($name($($ty),*) -> c_int) else {
                crate::call::set_errno(Errno::ENOSYS);
                return -1;
            };
            // SAFETY: the program's own arguments.
            let done = unsafe { real($($arg),*) };
            if done == 0 {
                another();
            }
            done
        })*
    };
}

becoming! {
    setuid(uid: uid_t);
    seteuid(uid: uid_t);
    setreuid(real_uid: uid_t, uid: uid_t);
    setresuid(real_uid: uid_t, uid: uid_t, saved: uid_t);
    setgid(gid: gid_t);
    setegid(gid: gid_t);
    setregid(real_gid: gid_t, gid: gid_t);
    setresgid(real_gid: gid_t, gid: gid_t, saved: gid_t);
    setgroups(n: size_t, groups: *const gid_t);
    initgroups(user: *const c_char, group: gid_t);
}

/// The same by syscall(2), which changes the calling thread alone: with others beside it, whom servers
/// are to take the process for is not to be said.
///
/// # Safety
/// As the call itself.
pub(crate) unsafe fn by_number(number: c_long, args: [usize; 6]) -> Result<usize> {
    // SAFETY: the caller's promise.
    let done = unsafe { raw::syscall(number, args) };
    if done.is_ok() && single_threaded() {
        another();
    }
    done
}

fn another() {
    // A child that shares our memory has changed itself alone.
    if PROCESS.met() && PROCESS.guest().is_none() {
        PROCESS.remotes.another_user();
    }
}
