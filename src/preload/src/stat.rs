//! stat and its relatives: one call that does not follow; only when it meets a
//! symbolic link is the name walked.

use crate::call::{Does, Named, Ret};
use crate::door::door;
use crate::nowhere::is_no_name;
use core::ffi::{c_char, c_int, c_uint};
use privns_abi::{Errno, Result};
use privns_files::process::View;
use privns_files::Target;
use privns_host::Spelled;
use privns_namespace::resolve::Last;

type Buf = *mut libc::stat;

pub(crate) unsafe fn stat(path: *const c_char, buf: Buf) -> c_int {
    // SAFETY: the program's own arguments, passed on.
    unsafe { stat_here(libc::AT_FDCWD, path, buf, 0) }.ret()
}

pub(crate) unsafe fn lstat(path: *const c_char, buf: Buf) -> c_int {
    // SAFETY: as above.
    unsafe { stat_here(libc::AT_FDCWD, path, buf, libc::AT_SYMLINK_NOFOLLOW) }.ret()
}

pub(crate) unsafe fn fstatat(dirfd: c_int, path: *const c_char, buf: Buf, flags: c_int) -> c_int {
    // SAFETY: as above.
    unsafe { stat_here(dirfd, path, buf, flags) }.ret()
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

/// Whether a name leads to anything: what access(2) is asked with F_OK.
///
/// # Safety
/// `path` as stat(2) takes it.
pub(crate) unsafe fn exists(dirfd: c_int, path: *const c_char) -> Result<usize> {
    let mut st = core::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: passed on; a buffer of ours.
    unsafe { stat_at(dirfd, path, st.as_mut_ptr(), 0) }.map(|_| 0)
}

/// newfstatat(2) in the namespace: in line where most calls come by.
///
/// # Safety
/// As that call; `path` may be null only with AT_EMPTY_PATH.
#[inline(always)]
unsafe fn stat_here(dirfd: c_int, path: *const c_char, buf: Buf, flags: c_int) -> Result<usize> {
    let look = |dirfd: c_int, path: *const c_char, follow: bool| {
        let extra = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
        // SAFETY: the program's buffer, and a name that is its own or ours.
        let done = unsafe { door!(libc::SYS_newfstatat, dirfd, path, buf, flags | extra) }?;
        // SAFETY: the kernel has just filled it.
        Ok((done, unsafe { (*buf).st_mode }))
    };
    // SAFETY: the buffer that the kernel has filled.
    let recount = |links: Links<'_>| unsafe { relink(&mut *buf, links) };
    // SAFETY: passed on.
    unsafe { look_at(dirfd, path, flags, look, recount) }
}

/// newfstatat(2) in the namespace.
///
/// # Safety
/// As that call; `path` may be null only with AT_EMPTY_PATH.
#[inline(never)]
pub(crate) unsafe fn stat_at(
    dirfd: c_int,
    path: *const c_char,
    buf: Buf,
    flags: c_int,
) -> Result<usize> {
    // SAFETY: passed on.
    unsafe { stat_here(dirfd, path, buf, flags) }
}

pub(crate) unsafe fn statx(
    dirfd: c_int,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    buf: *mut libc::statx,
) -> c_int {
    // SAFETY: passed on.
    match unsafe { statx_call(dirfd, path, flags, mask, buf) } {
        // Before Linux 4.11, or refused by a filter: as libc does it then.
        Err(Errno::ENOSYS) => {
            let look = |dirfd: c_int, path: *const c_char, follow: bool| {
                let extra = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
                // SAFETY: the program's buffer, and a name that is its own or ours.
                let done = unsafe { statx_by_stat(dirfd, path, flags | extra, buf) }?;
                // SAFETY: just filled.
                Ok((done, u32::from(unsafe { (*buf).stx_mode })))
            };
            // SAFETY: the buffer that has been filled.
            let recount = |links: Links<'_>| unsafe {
                (*buf).stx_nlink = links((*buf).stx_nlink.into()) as u32;
            };
            // SAFETY: passed on.
            unsafe { look_at(dirfd, path, flags, look, recount) }
        }
        done => done,
    }
    .ret()
}

/// statx(2) in the namespace, and nothing in its place.
///
/// # Safety
/// As that call.
pub(crate) unsafe fn statx_call(
    dirfd: c_int,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    buf: *mut libc::statx,
) -> Result<usize> {
    let look = |dirfd: c_int, path: *const c_char, follow: bool| {
        let extra = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
        // The type is asked for as well: a link must be known for one.
        let mask = mask | libc::STATX_TYPE;
        // SAFETY: the program's buffer, and a name that is its own or ours.
        let done = unsafe { door!(libc::SYS_statx, dirfd, path, flags | extra, mask, buf) }?;
        // SAFETY: the kernel has just filled it.
        Ok((done, u32::from(unsafe { (*buf).stx_mode })))
    };
    // SAFETY: the buffer that the kernel has filled.
    let recount = |links: Links<'_>| unsafe {
        (*buf).stx_nlink = links((*buf).stx_nlink.into()) as u32;
    };
    // SAFETY: passed on.
    unsafe { look_at(dirfd, path, flags, look, recount) }
}

/// statx(2) where there is only newfstatat(2), whatever was asked for
/// (STATX_BASIC_STATS).
///
/// # Safety
/// As statx(2).
unsafe fn statx_by_stat(
    dirfd: c_int,
    path: *const c_char,
    flags: c_int,
    buf: *mut libc::statx,
) -> Result<usize> {
    const KNOWN: c_int = libc::AT_EMPTY_PATH
        | libc::AT_NO_AUTOMOUNT
        | libc::AT_SYMLINK_NOFOLLOW
        | libc::AT_STATX_SYNC_TYPE;
    if flags & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    let flags = flags & !libc::AT_STATX_SYNC_TYPE;
    let mut st = core::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel fills the structure; every field of a statx may be
    // zero.
    let (st, mut x) = unsafe {
        door!(libc::SYS_newfstatat, dirfd, path, st.as_mut_ptr(), flags)?;
        (st.assume_init(), core::mem::zeroed::<libc::statx>())
    };
    x.stx_mask = libc::STATX_BASIC_STATS;
    x.stx_blksize = st.st_blksize as u32;
    x.stx_nlink = st.st_nlink as u32;
    (x.stx_uid, x.stx_gid, x.stx_mode) = (st.st_uid, st.st_gid, st.st_mode as u16);
    (x.stx_ino, x.stx_size) = (st.st_ino, st.st_size as u64);
    x.stx_blocks = st.st_blocks as u64;
    (x.stx_rdev_major, x.stx_rdev_minor) = (libc::major(st.st_rdev), libc::minor(st.st_rdev));
    (x.stx_dev_major, x.stx_dev_minor) = (libc::major(st.st_dev), libc::minor(st.st_dev));
    let times = [
        (&mut x.stx_atime, st.st_atime, st.st_atime_nsec),
        (&mut x.stx_mtime, st.st_mtime, st.st_mtime_nsec),
        (&mut x.stx_ctime, st.st_ctime, st.st_ctime_nsec),
    ];
    for (time, seconds, nanos) in times {
        (time.tv_sec, time.tv_nsec) = (seconds, nanos as u32);
    }
    // SAFETY: the program's buffer.
    unsafe { *buf = x };
    Ok(0)
}

/// Replaces the number of links, which is 64 bits wide on some machines and 32
/// on others.
#[allow(clippy::useless_conversion)]
pub(crate) fn relink(st: &mut libc::stat, links: Links<'_>) {
    st.st_nlink = links(st.st_nlink.into()) as libc::nlink_t;
}

/// From the number of links that the host says to the number that is shown.
pub(crate) type Links<'a> = &'a dyn Fn(u64) -> u64;

/// Looks at what a name leads to.
///
/// A directory that lists more than the host's has (a union, or with mount
/// points below) has more links: `recount` replaces their number.
#[inline(always)]
unsafe fn look_at(
    dirfd: c_int,
    path: *const c_char,
    flags: c_int,
    look: impl Fn(c_int, *const c_char, bool) -> Result<(usize, u32)>,
    recount: impl Fn(Links<'_>),
) -> Result<usize> {
    let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
    let view = match crate::PROCESS.view() {
        Some(view) if !is_no_name(path) => view,
        _ => return look(dirfd, path, follow).map(|(done, _)| done),
    };
    // SAFETY: not null, and the program says that it is a string.
    let spelled = unsafe { Spelled::read(path) };
    let name = spelled.name();
    if name.is_empty() {
        // The descriptor itself (AT_EMPTY_PATH), or ENOENT.
        let (done, mode) = look(dirfd, path, follow)?;
        if is_dir(mode) {
            recount_open(view, dirfd, mode, recount);
        }
        return Ok(done);
    }
    let last = if follow { Last::FOLLOW } else { Last::NO_FOLLOW };
    let named = Named { dirfd, path, last, does: Does::Read };
    let mut to = Target::new();
    let recalled = follow && view.recall_link(name, last, &mut to);
    if !recalled {
        named.tell(view.locate(dirfd, spelled, last, &mut to))?;
    }
    let (dir, at) = named.args(&mut to);
    let (mut done, mut mode) = match look(dir, at, to.magic && follow) {
        Err(Errno::ELOOP) if named.walks(view, &mut to)? => {
            let (dir, at) = named.args(&mut to);
            look(dir, at, to.magic && follow)?
        }
        looked => looked?,
    };
    if follow && mode & libc::S_IFMT == libc::S_IFLNK && (recalled || !to.exact) {
        // A link in the place of what was remembered: looked at anew.
        let found = match recalled {
            true => view.locate_exact(dirfd, name, last, &mut to),
            false => view.locate_link(dirfd, name, last, &mut to),
        };
        named.tell(found)?;
        let (dir, at) = named.args(&mut to);
        (done, mode) = look(dir, at, to.magic)?;
    }
    if to.magic && follow && named.is_nothing(&mut to) {
        return Err(Errno::ENXIO);
    }
    if !to.plain && is_dir(mode) {
        recount_at(view, dirfd, &to, recount);
    }
    Ok(done)
}

/// Replaces the number of links of a directory that has been located.
#[cold]
fn recount_at(view: View<'_>, dirfd: c_int, to: &Target, recount: impl FnOnce(Links<'_>)) {
    let ns = view.name_of(dirfd, to);
    recount(&|own| ns.as_ref().map_or(own, |ns| view.links(ns, to.seq, own)));
}

/// The same for what a descriptor shows.
#[inline]
pub(crate) fn recount_open(view: View<'_>, fd: c_int, mode: u32, recount: impl FnOnce(Links<'_>)) {
    if !is_dir(mode) {
        return;
    }
    let shown = view.shown(fd);
    if !shown.plain {
        let ns = view.fd_name(fd, shown.seq);
        recount(&|own| ns.as_ref().map_or(own, |ns| view.links(ns, shown.seq, own)));
    }
}

fn is_dir(mode: u32) -> bool {
    mode & libc::S_IFMT == libc::S_IFDIR
}
