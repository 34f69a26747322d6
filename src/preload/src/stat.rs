//! stat and its relatives: one call that does not follow; only when it meets a
//! symbolic link is the name walked.

use crate::call::{Does, Named, Ret};
use core::ffi::{c_char, c_int, c_uint, CStr};
use privns_abi::{Errno, Result};
use privns_files::Target;
use privns_host::sys;
use privns_namespace::resolve::Last;

type Buf = *mut libc::stat;

pub(crate) unsafe fn stat(path: *const c_char, buf: Buf) -> c_int {
    // SAFETY: the program's own arguments, passed on.
    unsafe { stat_at(libc::AT_FDCWD, path, buf, 0) }.ret()
}

pub(crate) unsafe fn lstat(path: *const c_char, buf: Buf) -> c_int {
    // SAFETY: as above.
    unsafe { stat_at(libc::AT_FDCWD, path, buf, libc::AT_SYMLINK_NOFOLLOW) }.ret()
}

pub(crate) unsafe fn fstatat(dirfd: c_int, path: *const c_char, buf: Buf, flags: c_int) -> c_int {
    // SAFETY: as above.
    unsafe { stat_at(dirfd, path, buf, flags) }.ret()
}

/// The entries of programs linked before glibc 2.33; `version` is 1 on 64-bit
/// Linux, and 0 is the kernel's own structure, the same there.
fn known(version: c_int) -> Result<()> {
    if matches!(version, 0 | 1) {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

pub(crate) unsafe fn xstat(version: c_int, path: *const c_char, buf: Buf) -> c_int {
    // SAFETY: as above.
    known(version).and_then(|()| unsafe { stat_at(libc::AT_FDCWD, path, buf, 0) }).ret()
}

pub(crate) unsafe fn lxstat(version: c_int, path: *const c_char, buf: Buf) -> c_int {
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: as above.
    known(version).and_then(|()| unsafe { stat_at(libc::AT_FDCWD, path, buf, flags) }).ret()
}

pub(crate) unsafe fn fxstatat(
    version: c_int,
    dirfd: c_int,
    path: *const c_char,
    buf: Buf,
    flags: c_int,
) -> c_int {
    // SAFETY: as above.
    known(version).and_then(|()| unsafe { stat_at(dirfd, path, buf, flags) }).ret()
}

/// newfstatat(2) in the namespace.
///
/// # Safety
/// As that call; `path` may be null only with AT_EMPTY_PATH.
#[inline]
pub(crate) unsafe fn stat_at(
    dirfd: c_int,
    path: *const c_char,
    buf: Buf,
    flags: c_int,
) -> Result<usize> {
    let look = |dirfd: c_int, path: *const c_char, follow: bool| {
        let extra = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
        // SAFETY: the program's buffer, and a name that is its own or ours.
        let done = unsafe { sys!(libc::SYS_newfstatat, dirfd, path, buf, flags | extra) }?;
        // SAFETY: the kernel has just filled it.
        Ok((done, unsafe { (*buf).st_mode }))
    };
    // SAFETY: the buffer that the kernel has filled.
    let uncount = || unsafe { (*buf).st_nlink = 1 };
    // SAFETY: passed on.
    unsafe { look_at(dirfd, path, flags, look, uncount) }
}

pub(crate) unsafe fn statx(
    dirfd: c_int,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    buf: *mut libc::statx,
) -> c_int {
    let look = |dirfd: c_int, path: *const c_char, follow: bool| {
        let extra = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
        // The type is asked for as well: a link must be known for one.
        let mask = mask | libc::STATX_TYPE;
        // SAFETY: the program's buffer, and a name that is its own or ours.
        let done = unsafe { sys!(libc::SYS_statx, dirfd, path, flags | extra, mask, buf) }?;
        // SAFETY: the kernel has just filled it.
        Ok((done, u32::from(unsafe { (*buf).stx_mode })))
    };
    // SAFETY: the buffer that the kernel has filled.
    let uncount = || unsafe { (*buf).stx_nlink = 1 };
    // SAFETY: passed on.
    unsafe { look_at(dirfd, path, flags, look, uncount) }.ret()
}

/// Looks at what a name leads to.
///
/// A directory that lists more than the host's has (a union, or with mount
/// points below) is said by `uncount` to have one link, as on file systems that
/// count none: programs that walk trees (fts(3) with FTS_NOSTAT) take a greater
/// count for the number of directories in it, and would pass the others over.
#[inline]
unsafe fn look_at(
    dirfd: c_int,
    path: *const c_char,
    flags: c_int,
    look: impl Fn(c_int, *const c_char, bool) -> Result<(usize, u32)>,
    uncount: impl Fn(),
) -> Result<usize> {
    let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
    let view = match crate::PROCESS.view() {
        Some(view) if !path.is_null() => view,
        _ => return look(dirfd, path, follow).map(|(done, _)| done),
    };
    // SAFETY: not null, and the program says that it is a string.
    let name = unsafe { CStr::from_ptr(path) };
    if name.is_empty() {
        // The descriptor itself (AT_EMPTY_PATH), or ENOENT.
        let (done, mode) = look(dirfd, path, follow)?;
        if is_dir(mode) && !view.shown(dirfd).plain {
            uncount();
        }
        return Ok(done);
    }
    let last = if follow { Last::FOLLOW } else { Last::NO_FOLLOW };
    let named = Named { dirfd, path, last, does: Does::Read };
    let mut to = Target::new();
    named.tell(view.locate(dirfd, name, last, &mut to))?;
    let (dir, at) = named.args(&mut to);
    let (mut done, mut mode) = look(dir, at, to.magic && follow)?;
    if follow && !to.exact && mode & libc::S_IFMT == libc::S_IFLNK {
        named.tell(view.locate_exact(dirfd, name, last, &mut to))?;
        let (dir, at) = named.args(&mut to);
        (done, mode) = look(dir, at, to.magic)?;
    }
    if !to.plain && is_dir(mode) {
        uncount();
    }
    Ok(done)
}

fn is_dir(mode: u32) -> bool {
    mode & libc::S_IFMT == libc::S_IFDIR
}
