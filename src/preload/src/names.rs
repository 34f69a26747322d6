//! The calls that name a file and are one system call: locate the name, make
//! the call.

use crate::call::{Does, Named, Ret};
use crate::door::door;
use crate::nowhere::is_no_name;
use crate::PROCESS;
use core::ffi::{c_char, c_int, c_void, CStr};
use libc::{dev_t, gid_t, mode_t, off_t, size_t, ssize_t, timespec, uid_t};
use privns_abi::{Errno, Result};
use privns_files::process::View;
use privns_files::Target;
use privns_host::{sys, Spelled};

const CWD: c_int = libc::AT_FDCWD;

/// Makes system call `nr` for a named file, arguments after the name as given.
macro_rules! at {
    ($named:expr, $nr:expr $(, $arg:expr)*) => {
        // SAFETY: the program's own arguments, but for the name.
        unsafe { $named.call(|dirfd, path| door!($nr, dirfd, path $(, $arg)*)) }
    };
}

/// The same for calls that take no directory descriptor: a relative name is
/// relative to the working directory in both.
macro_rules! by_path {
    ($named:expr, $nr:expr $(, $arg:expr)*) => {
        // SAFETY: as above.
        unsafe { $named.call(|_, path| door!($nr, path $(, $arg)*)) }
    };
}

/// Tells the family that a name may have become something else.
pub(crate) fn told(done: Result<usize>, path: *const c_char) -> Result<usize> {
    if let (Ok(_), Some(view)) = (&done, PROCESS.view()) {
        // SAFETY: the kernel has just read it as a C string.
        view.renamed(unsafe { CStr::from_ptr(path) }.to_bytes());
    }
    done
}

pub(crate) unsafe fn access(path: *const c_char, mode: c_int) -> c_int {
    // SAFETY: passed on.
    unsafe { faccessat(CWD, path, mode, 0) }
}

pub(crate) unsafe fn eaccess(path: *const c_char, mode: c_int) -> c_int {
    // SAFETY: passed on.
    unsafe { faccessat(CWD, path, mode, libc::AT_EACCESS) }
}

pub(crate) unsafe fn faccessat(
    dirfd: c_int,
    path: *const c_char,
    mode: c_int,
    flags: c_int,
) -> c_int {
    if mode == libc::F_OK && flags & !libc::AT_EACCESS == 0 {
        // One call, where asking for a right takes a look at the name as well.
        // SAFETY: passed on.
        return unsafe { crate::stat::exists(dirfd, path) }.ret();
    }
    let ask = |dirfd: c_int, path: *const c_char| {
        // SAFETY: a name that is the program's or ours.
        unsafe { access_at(dirfd, path, mode, flags) }
    };
    // SAFETY: passed on.
    unsafe { ask_access(Named::flags(dirfd, path, flags, Does::Read), mode, flags, ask) }
}

/// The call of that number, for whoever asks for it by number.
pub(crate) unsafe fn faccessat2(
    dirfd: c_int,
    path: *const c_char,
    mode: c_int,
    flags: c_int,
) -> c_int {
    let ask = |dirfd: c_int, path: *const c_char| {
        // SAFETY: a name that is the program's or ours.
        unsafe { door!(libc::SYS_faccessat2, dirfd, path, mode, flags) }
    };
    // SAFETY: passed on.
    unsafe { ask_access(Named::flags(dirfd, path, flags, Does::Read), mode, flags, ask) }
}

unsafe fn ask_access(
    named: Named,
    mode: c_int,
    flags: c_int,
    ask: impl Fn(c_int, *const c_char) -> Result<usize>,
) -> c_int {
    let Named { dirfd, path, .. } = named;
    let (Some(view), false) = (PROCESS.view(), is_no_name(path)) else {
        return ask(dirfd, path).ret();
    };
    let mut to = Target::new();
    // SAFETY: not null.
    let done = unsafe { locate_or_say(view, named, mode, flags, &mut to) }.and_then(|said| {
        let done = match said {
            Some(done) => done,
            None => {
                let (dir, at) = named.args(&mut to);
                match ask(dir, at) {
                    Err(Errno::ELOOP) if named.walks(view, &mut to)? => {
                        let (dir, at) = named.args(&mut to);
                        ask(dir, at)?
                    }
                    done => done?,
                }
            }
        };
        // A device or a pipe may be written all the same.
        let file = |mode| matches!(mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR);
        if mode & libc::W_OK != 0 && to.read_only && named.mode(&mut to).is_ok_and(file) {
            return Err(Errno::EROFS);
        }
        Ok(done)
    });
    done.ret()
}

/// Locates a name, or has the answer already: asked about the last component
/// itself, the kernel says at once what is not there, and what it says of any
/// other file that is no link is right.
unsafe fn locate_or_say(
    view: View<'_>,
    named: Named,
    mode: c_int,
    flags: c_int,
    to: &mut Target,
) -> Result<Option<usize>> {
    // SAFETY: the caller's: a C string.
    let spelled = unsafe { Spelled::read(named.path) };
    let name = spelled.name();
    if !named.last.follow || name.is_empty() || view.recall_file(name, named.last, to) {
        // SAFETY: as above.
        return if to.exact { Ok(None) } else { unsafe { named.locate(view, to) }.map(|()| None) };
    }
    let raises = view.family.raises();
    named.tell(view.locate(named.dirfd, spelled, named.last, to))?;
    if to.exact {
        return Ok(None);
    }
    let (dir, at) = named.args(to);
    let itself = flags | libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: a name that is the program's or ours.
    let said = unsafe { door!(libc::SYS_faccessat2, dir, at, mode, itself) };
    match said {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return said.map(Some),
        Err(Errno::ELOOP) if named.walks(view, to)? => return Ok(None),
        _ => {}
    }
    named.see_link(view, name, to, raises)?;
    match said {
        // Before Linux 5.8, or refused by a filter.
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL) => Ok(None),
        _ if to.exact => Ok(None),
        said => said.map(Some),
    }
}

/// faccessat2(2), or faccessat(2) where that is all that is needed or there.
unsafe fn access_at(dirfd: c_int, path: *const c_char, mode: c_int, flags: c_int) -> Result<usize> {
    if flags != 0 {
        // SAFETY: the caller's name.
        match unsafe { door!(libc::SYS_faccessat2, dirfd, path, mode, flags) } {
            Err(Errno::ENOSYS | Errno::EPERM) => {}
            done => return done,
        }
        // Before Linux 5.8: libc asks faccessat too when real and effective ids
        // are the same; where they differ it computes, and so must we.
        // SAFETY: as above.
        return unsafe { access_by_mode(dirfd, path, mode, flags) };
    }
    // SAFETY: as above.
    unsafe { door!(libc::SYS_faccessat, dirfd, path, mode) }
}

unsafe fn access_by_mode(
    dirfd: c_int,
    path: *const c_char,
    mode: c_int,
    flags: c_int,
) -> Result<usize> {
    if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EACCESS) != 0 {
        return Err(Errno::EINVAL);
    }
    // SAFETY: these take nothing and cannot fail.
    let id = |nr| unsafe { sys!(nr) }.unwrap_or(0) as u32;
    let (uid, euid) = (id(libc::SYS_getuid), id(libc::SYS_geteuid));
    let (gid, egid) = (id(libc::SYS_getgid), id(libc::SYS_getegid));
    let same = uid == euid && gid == egid;
    if flags & libc::AT_SYMLINK_NOFOLLOW == 0 && (flags & libc::AT_EACCESS == 0 || same) {
        // SAFETY: the caller's name.
        return unsafe { door!(libc::SYS_faccessat, dirfd, path, mode) };
    }
    let mut st = core::mem::MaybeUninit::<libc::stat>::uninit();
    let at = flags & libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the kernel fills the buffer.
    let st = unsafe {
        door!(libc::SYS_newfstatat, dirfd, path, st.as_mut_ptr(), at)?;
        st.assume_init()
    };
    let (uid, gid) = if flags & libc::AT_EACCESS != 0 { (euid, egid) } else { (uid, gid) };
    let mode = mode as u32;
    if mode == 0 || uid == 0 && (mode & 1 == 0 || st.st_mode & 0o111 != 0) {
        return Ok(0);
    }
    let shift = if st.st_uid == uid {
        6
    } else if st.st_gid == gid || in_group(st.st_gid) {
        3
    } else {
        0
    };
    if st.st_mode >> shift & mode == mode {
        Ok(0)
    } else {
        Err(Errno::EACCES)
    }
}

fn in_group(gid: gid_t) -> bool {
    let mut groups = [0; 256];
    // SAFETY: the kernel writes at most as many as there is room for.
    let n = unsafe { sys!(libc::SYS_getgroups, groups.len(), groups.as_mut_ptr()) };
    groups.iter().take(n.unwrap_or(0)).any(|&g| g == gid)
}

pub(crate) unsafe fn chmod(path: *const c_char, mode: mode_t) -> c_int {
    at!(Named::follow(CWD, path, Does::Change), libc::SYS_fchmodat, mode).ret()
}

pub(crate) unsafe fn fchmodat(
    dirfd: c_int,
    path: *const c_char,
    mode: mode_t,
    flags: c_int,
) -> c_int {
    if flags & !libc::AT_SYMLINK_NOFOLLOW != 0 {
        return Err(Errno::EINVAL).ret();
    }
    let named = Named::flags(dirfd, path, flags, Does::Change);
    if flags == 0 {
        return at!(named, libc::SYS_fchmodat, mode).ret();
    }
    // SAFETY: the program's own arguments, but for the name.
    unsafe { named.call(|dirfd, path| chmod_link(dirfd, path, mode)) }.ret()
}

/// fchmodat without following, as libc does it where there is no fchmodat2: a
/// link has no mode to change.
unsafe fn chmod_link(dirfd: c_int, path: *const c_char, mode: mode_t) -> Result<usize> {
    // SAFETY: the caller's name.
    if unsafe { crate::call::lstat_mode(dirfd, path) }? & libc::S_IFMT == libc::S_IFLNK {
        return Err(Errno::EOPNOTSUPP);
    }
    // SAFETY: as above.
    unsafe { door!(libc::SYS_fchmodat, dirfd, path, mode) }
}

pub(crate) unsafe fn lchmod(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: passed on.
    unsafe { fchmodat(CWD, path, mode, libc::AT_SYMLINK_NOFOLLOW) }
}

pub(crate) unsafe fn chown(path: *const c_char, uid: uid_t, gid: gid_t) -> c_int {
    at!(Named::follow(CWD, path, Does::Change), libc::SYS_fchownat, uid, gid, 0).ret()
}

pub(crate) unsafe fn lchown(path: *const c_char, uid: uid_t, gid: gid_t) -> c_int {
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    at!(Named::no_follow(CWD, path, Does::Change), libc::SYS_fchownat, uid, gid, flags).ret()
}

pub(crate) unsafe fn fchownat(
    dirfd: c_int,
    path: *const c_char,
    uid: uid_t,
    gid: gid_t,
    flags: c_int,
) -> c_int {
    if flags & libc::AT_EMPTY_PATH != 0 && is_empty(path) {
        // SAFETY: the program's own arguments.
        return unsafe { door!(libc::SYS_fchownat, dirfd, path, uid, gid, flags) }.ret();
    }
    at!(Named::flags(dirfd, path, flags, Does::Change), libc::SYS_fchownat, uid, gid, flags).ret()
}

pub(crate) fn is_empty(path: *const c_char) -> bool {
    // SAFETY: not null, and the program says that it is a string.
    !is_no_name(path) && unsafe { *path } == 0
}

/// umask(2): what is made on a server is masked by us.
pub(crate) unsafe fn umask(mask: mode_t) -> mode_t {
    let old = privns_host::Kernel.set_umask(mask);
    if PROCESS.guest().is_none() {
        PROCESS.remotes.set_mask(mask);
    }
    old
}

pub(crate) unsafe fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    at!(Named::no_follow(CWD, path, Does::Make), libc::SYS_mkdirat, mode).ret()
}

pub(crate) unsafe fn mkdirat(dirfd: c_int, path: *const c_char, mode: mode_t) -> c_int {
    at!(Named::no_follow(dirfd, path, Does::Make), libc::SYS_mkdirat, mode).ret()
}

pub(crate) unsafe fn mknod(path: *const c_char, mode: mode_t, dev: dev_t) -> c_int {
    // SAFETY: passed on.
    unsafe { mknodat(CWD, path, mode, dev) }
}

pub(crate) unsafe fn mknodat(dirfd: c_int, path: *const c_char, mode: mode_t, dev: dev_t) -> c_int {
    // The kernel's device numbers have 32 bits (mknodat(2)).
    if u64::from(dev as u32) != dev {
        return Err(Errno::EINVAL).ret();
    }
    at!(Named::no_follow(dirfd, path, Does::Make), libc::SYS_mknodat, mode, dev).ret()
}

pub(crate) unsafe fn mkfifo(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: passed on.
    unsafe { mknodat(CWD, path, mode | libc::S_IFIFO, 0) }
}

pub(crate) unsafe fn mkfifoat(dirfd: c_int, path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: passed on.
    unsafe { mknodat(dirfd, path, mode | libc::S_IFIFO, 0) }
}

pub(crate) unsafe fn xmknod(
    version: c_int,
    path: *const c_char,
    mode: mode_t,
    dev: *const dev_t,
) -> c_int {
    // SAFETY: passed on.
    unsafe { xmknodat(version, CWD, path, mode, dev) }
}

pub(crate) unsafe fn xmknodat(
    version: c_int,
    dirfd: c_int,
    path: *const c_char,
    mode: mode_t,
    dev: *const dev_t,
) -> c_int {
    if version != 0 || dev.is_null() {
        return Err(Errno::EINVAL).ret();
    }
    // SAFETY: not null, and the program says that it is a device number.
    unsafe { mknodat(dirfd, path, mode, *dev) }
}

pub(crate) unsafe fn unlink(path: *const c_char) -> c_int {
    // SAFETY: passed on.
    unsafe { unlinkat(CWD, path, 0) }
}

pub(crate) unsafe fn rmdir(path: *const c_char) -> c_int {
    // SAFETY: passed on.
    unsafe { unlinkat(CWD, path, libc::AT_REMOVEDIR) }
}

pub(crate) unsafe fn unlinkat(dirfd: c_int, path: *const c_char, flags: c_int) -> c_int {
    let dir = flags & libc::AT_REMOVEDIR != 0;
    let does = if dir { Does::Rmdir } else { Does::Unlink };
    let done = at!(Named::no_follow(dirfd, path, does), libc::SYS_unlinkat, flags);
    // `..` has become a name of its own, whose host name ends in `.`: the
    // kernel's answers to the two differ here alone.
    if dir && matches!(done, Err(Errno::EINVAL | Errno::EBUSY)) && ends_in_dot_dot(path) {
        return Err(Errno::ENOTEMPTY).ret();
    }
    told(done, path).ret()
}

fn ends_in_dot_dot(path: *const c_char) -> bool {
    // SAFETY: the kernel has just read it as a C string.
    let name = unsafe { CStr::from_ptr(path) }.to_bytes();
    privns_abi::path::components(name).next_back() == Some(b"..")
}

pub(crate) unsafe fn remove(path: *const c_char) -> c_int {
    // SAFETY: passed on; as libc does it.
    unsafe {
        if unlink(path) == 0 {
            return 0;
        }
        let error = *libc::__errno_location();
        if error == libc::EISDIR || error == libc::EPERM {
            rmdir(path)
        } else {
            -1
        }
    }
}

pub(crate) unsafe fn symlink(text: *const c_char, path: *const c_char) -> c_int {
    // SAFETY: passed on.
    unsafe { symlinkat(text, CWD, path) }
}

pub(crate) unsafe fn symlinkat(text: *const c_char, dirfd: c_int, path: *const c_char) -> c_int {
    let named = Named::no_follow(dirfd, path, Does::Make);
    // SAFETY: the program's own arguments, but for the name.
    let done = unsafe { named.call(|dirfd, path| door!(libc::SYS_symlinkat, text, dirfd, path)) };
    told(done, path).ret()
}

pub(crate) unsafe fn truncate(path: *const c_char, len: off_t) -> c_int {
    by_path!(Named::follow(CWD, path, Does::Truncate), libc::SYS_truncate, len).ret()
}

pub(crate) unsafe fn utimensat(
    dirfd: c_int,
    path: *const c_char,
    times: *const timespec,
    flags: c_int,
) -> c_int {
    if path.is_null() {
        // libc refuses it here; futimens is the name for the descriptor form.
        return Err(Errno::EINVAL).ret();
    }
    if flags & libc::AT_EMPTY_PATH != 0 && is_empty(path) {
        // SAFETY: the program's own arguments.
        return unsafe { door!(libc::SYS_utimensat, dirfd, path, times, flags) }.ret();
    }
    at!(Named::flags(dirfd, path, flags, Does::Change), libc::SYS_utimensat, times, flags).ret()
}

/// Times in microseconds as the kernel's in nanoseconds.
unsafe fn nanos(times: *const libc::timeval) -> Result<Option<[timespec; 2]>> {
    if times.is_null() {
        return Ok(None);
    }
    // SAFETY: the program says that there are two.
    let times = unsafe { [*times, *times.add(1)] };
    if times.iter().any(|t| !(0..1_000_000).contains(&t.tv_usec)) {
        return Err(Errno::EINVAL);
    }
    Ok(Some(times.map(|t| timespec { tv_sec: t.tv_sec, tv_nsec: t.tv_usec * 1000 })))
}

unsafe fn set_times(
    dirfd: c_int,
    path: *const c_char,
    times: Option<[timespec; 2]>,
    flags: c_int,
) -> c_int {
    let times = times.as_ref().map_or(core::ptr::null(), |t| t.as_ptr());
    // SAFETY: times of ours, a name of the program's.
    unsafe { utimensat(dirfd, path, times, flags) }
}

pub(crate) unsafe fn utimes(path: *const c_char, times: *const libc::timeval) -> c_int {
    // SAFETY: passed on.
    unsafe { futimesat(CWD, path, times) }
}

pub(crate) unsafe fn lutimes(path: *const c_char, times: *const libc::timeval) -> c_int {
    // SAFETY: passed on.
    match unsafe { nanos(times) } {
        // SAFETY: passed on.
        Ok(times) => unsafe { set_times(CWD, path, times, libc::AT_SYMLINK_NOFOLLOW) },
        Err(error) => Err(error).ret(),
    }
}

pub(crate) unsafe fn futimes(fd: c_int, times: *const libc::timeval) -> c_int {
    // SAFETY: passed on.
    match unsafe { nanos(times) } {
        Ok(times) => {
            let times = times.as_ref().map_or(core::ptr::null(), |t| t.as_ptr());
            // SAFETY: times of ours.
            unsafe { crate::descriptors::futimens(fd, times) }
        }
        Err(error) => Err(error).ret(),
    }
}

pub(crate) unsafe fn futimesat(
    dirfd: c_int,
    path: *const c_char,
    times: *const libc::timeval,
) -> c_int {
    // SAFETY: passed on.
    match unsafe { nanos(times) } {
        Ok(times) if path.is_null() => {
            let times = times.as_ref().map_or(core::ptr::null(), |t| t.as_ptr());
            // SAFETY: the descriptor's own times (futimesat(2)).
            unsafe { door!(libc::SYS_utimensat, dirfd, 0usize, times, 0) }.ret()
        }
        // SAFETY: passed on.
        Ok(times) => unsafe { set_times(dirfd, path, times, 0) },
        Err(error) => Err(error).ret(),
    }
}

pub(crate) unsafe fn utime(path: *const c_char, times: *const libc::utimbuf) -> c_int {
    let times = (!times.is_null()).then(|| {
        // SAFETY: not null, and the program says what it is.
        let times = unsafe { *times };
        [times.actime, times.modtime].map(|tv_sec| timespec { tv_sec, tv_nsec: 0 })
    });
    // SAFETY: passed on.
    unsafe { set_times(CWD, path, times, 0) }
}

/// The xattr calls by name: one system call each, with or without following.
macro_rules! xattr {
    ($($name:ident $how:ident $does:ident $nr:ident ($($arg:ident : $ty:ty),*) -> $ret:ident;)*) => {$(
        pub(crate) unsafe fn $name(path: *const c_char $(, $arg: $ty)*) -> ssize_t {
            by_path!(Named::$how(CWD, path, Does::$does), libc::$nr $(, $arg)*).$ret() as ssize_t
        }
    )*};
}

xattr! {
    getxattr follow Read SYS_getxattr (name: *const c_char, value: *mut c_void, size: size_t) -> size;
    lgetxattr no_follow Read SYS_lgetxattr (name: *const c_char, value: *mut c_void, size: size_t) -> size;
    listxattr follow Read SYS_listxattr (list: *mut c_char, size: size_t) -> size;
    llistxattr no_follow Read SYS_llistxattr (list: *mut c_char, size: size_t) -> size;
}

macro_rules! set_xattr {
    ($($name:ident $how:ident $nr:ident ($($arg:ident : $ty:ty),*);)*) => {$(
        pub(crate) unsafe fn $name(path: *const c_char $(, $arg: $ty)*) -> c_int {
            by_path!(Named::$how(CWD, path, Does::Change), libc::$nr $(, $arg)*).ret()
        }
    )*};
}

set_xattr! {
    setxattr follow SYS_setxattr (name: *const c_char, value: *const c_void, size: size_t, flags: c_int);
    lsetxattr no_follow SYS_lsetxattr (name: *const c_char, value: *const c_void, size: size_t, flags: c_int);
    removexattr follow SYS_removexattr (name: *const c_char);
    lremovexattr no_follow SYS_lremovexattr (name: *const c_char);
}

pub(crate) unsafe fn inotify_add_watch(fd: c_int, path: *const c_char, mask: u32) -> c_int {
    let named = if mask & libc::IN_DONT_FOLLOW != 0 {
        Named::no_follow(CWD, path, Does::Read)
    } else {
        Named::follow(CWD, path, Does::Read)
    };
    // SAFETY: the program's own arguments, but for the name.
    unsafe { named.call(|_, path| door!(libc::SYS_inotify_add_watch, fd, path, mask)) }.ret()
}

pub(crate) unsafe fn statfs(path: *const c_char, buf: *mut libc::statfs) -> c_int {
    let named = Named::follow(CWD, path, Does::Read);
    let ask = |path: *const c_char| {
        // SAFETY: the program's buffer, a name that is its own or ours.
        unsafe { door!(libc::SYS_statfs, path, buf) }
    };
    let (Some(view), false) = (PROCESS.view(), is_no_name(path)) else { return ask(path).ret() };
    let mut to = Target::new();
    // SAFETY: not null.
    let done = unsafe { named.locate(view, &mut to) }.and_then(|()| {
        let (_, at) = named.args(&mut to);
        let done = match ask(at) {
            Err(Errno::ELOOP) if named.walks(view, &mut to)? => ask(named.args(&mut to).1)?,
            done => done?,
        };
        if to.read_only {
            // SAFETY: the kernel has just filled it.
            unsafe { crate::call::mark_read_only(buf) };
        }
        Ok(done)
    });
    done.ret()
}
