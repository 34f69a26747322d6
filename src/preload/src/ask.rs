//! What libc asks of a name in more than one call, where those pass us by: it
//! is given the host's name.

use crate::call::{set_errno, Does, Named};
use crate::real::{libcs, real};
use crate::PROCESS;
use core::ffi::{c_char, c_int, c_long};
use libc::statvfs as Statvfs;
use privns_abi::{Errno, Result};
use privns_files::Target;
use privns_namespace::resolve::Last;

/// The host's name for a file, kept in `to`; `None` for a mount table, which
/// has to be written.
///
/// # Safety
/// A C string.
pub(crate) unsafe fn host_name(
    path: *const c_char,
    (last, does): (Last, Does),
    to: &mut Target,
) -> Result<Option<*const c_char>> {
    let Some(view) = PROCESS.view() else { return Ok(Some(path)) };
    let named = Named { dirfd: libc::AT_FDCWD, path, last, does };
    // SAFETY: the caller's promise.
    unsafe { named.locate(view, to) }?;
    if crate::mounts::form(view, to.name.as_bytes()).is_some() {
        return Ok(None);
    }
    Ok(Some(named.args(to).1))
}

/// Asks about what a name leads to; true: nothing there may be changed.
///
/// # Safety
/// A C string.
unsafe fn ask<T>(path: *const c_char, asks: impl FnOnce(*const c_char) -> T) -> Result<(T, bool)> {
    let mut to = Target::new();
    // SAFETY: the caller's promise.
    let host = unsafe { host_name(path, (Last::FOLLOW, Does::Read), &mut to) }?;
    Ok((asks(host.unwrap_or(path)), to.read_only))
}

pub(crate) unsafe fn statvfs(path: *const c_char, buf: *mut Statvfs) -> c_int {
    libcs!(statvfs(path: *const c_char, buf: *mut Statvfs) -> c_int);
    let Some(real) = real!(statvfs(*const c_char, *mut Statvfs) -> c_int) else {
        return failed(Errno::ENOSYS);
    };
    // SAFETY: the program's own arguments, but for the name.
    match unsafe { ask(path, |path| real(path, buf)) } {
        Ok((done, read_only)) => {
            if done == 0 && read_only {
                // SAFETY: libc has just filled it.
                unsafe { (*buf).f_flag |= libc::ST_RDONLY };
            }
            done
        }
        Err(error) => failed(error),
    }
}

pub(crate) unsafe fn pathconf(path: *const c_char, name: c_int) -> c_long {
    libcs!(pathconf(path: *const c_char, name: c_int) -> c_long);
    let Some(real) = real!(pathconf(*const c_char, c_int) -> c_long) else {
        return failed(Errno::ENOSYS).into();
    };
    // SAFETY: as above.
    let done = unsafe { ask(path, |path| real(path, name)) };
    done.map_or_else(|error| failed(error).into(), |(done, _)| done)
}

pub(crate) unsafe fn ftok(path: *const c_char, project: c_int) -> c_int {
    libcs!(ftok(path: *const c_char, project: c_int) -> c_int);
    let Some(real) = real!(ftok(*const c_char, c_int) -> c_int) else {
        return failed(Errno::ENOSYS);
    };
    // SAFETY: as above.
    let done = unsafe { ask(path, |path| real(path, project)) };
    done.map_or_else(failed, |(done, _)| done)
}

fn failed(error: Errno) -> c_int {
    set_errno(error);
    -1
}
