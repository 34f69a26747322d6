//! The calls that take a name: raw arguments become values, and results go
//! where the program wants them.

use super::{Call, Pair};
use crate::nowhere::is_no_name;
use crate::theirs::{given, put, result, room};
use core::ffi::{c_char, c_int, CStr};
use libc::{statfs as Statfs, timespec};
use privns_abi::{Errno, Result};
use privns_files::remote::attrs::MAGIC;
use privns_files::remote::file::Kind;
use privns_files::remote::settings::When;
use privns_host::kernel::OpenHow;
use privns_host::sys;
use privns_ninep::attr::{set, SetAttr};

/// The bytes of a C string among the arguments; EFAULT for null.
///
/// # Safety
/// Null or a C string.
unsafe fn text<'a>(at: usize) -> Result<&'a [u8]> {
    if is_no_name(at as *const c_char) {
        return Err(Errno::EFAULT);
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { CStr::from_ptr(at as *const c_char) }.to_bytes())
}

impl Call<'_> {
    /// The arguments say that the descriptor itself is meant, or there must be
    /// a name.
    fn named(&self, flags: usize) -> Result<()> {
        let itself = flags as c_int & libc::AT_EMPTY_PATH != 0;
        if itself || !crate::names::is_empty(self.args[1] as *const c_char) {
            return Ok(());
        }
        Err(Errno::ENOENT)
    }

    /// The same, and no flag is there that the call does not know; all of them
    /// know `AT_SYMLINK_NOFOLLOW` and `AT_EMPTY_PATH`.
    fn flagged(&self, flags: usize, known: c_int) -> Result<()> {
        let known = known | libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
        if flags as c_int & !known != 0 {
            return Err(Errno::EINVAL);
        }
        self.named(flags)
    }
}

pub(super) unsafe fn openat(call: Call<'_>) -> Result<usize> {
    let (flags, mode) = (call.args[2] as c_int, call.args[3] as u32);
    call.named(0)?;
    call.view.remote_openat(&call.place, flags, mode).map(|fd| fd as usize)
}

pub(super) unsafe fn openat2(call: Call<'_>) -> Result<usize> {
    // SAFETY: the call's own structure.
    let [how] = unsafe { given::<OpenHow>(call.args[2], 1) }? else { return Err(Errno::EFAULT) };
    call.named(0)?;
    call.view.remote_openat(&call.place, how.flags as c_int, how.mode as u32).map(|fd| fd as usize)
}

pub(super) unsafe fn fstatat(call: Call<'_>) -> Result<usize> {
    call.flagged(call.args[3], libc::AT_NO_AUTOMOUNT)?;
    // SAFETY: passed on.
    unsafe { stat_into(&call, call.args[2]) }
}

pub(super) unsafe fn fstat(call: Call<'_>) -> Result<usize> {
    // SAFETY: passed on.
    unsafe { stat_into(&call, call.args[1]) }
}

/// # Safety
/// Null, or room for a struct stat.
unsafe fn stat_into(call: &Call<'_>, to: usize) -> Result<usize> {
    let meta = call.view.remote_stat(&call.place)?;
    // SAFETY: the program's buffer, of which every byte may be anything.
    unsafe {
        let st = result::<core::mem::MaybeUninit<libc::stat>>(to)?;
        *st = core::mem::MaybeUninit::zeroed();
        meta.fill(st.assume_init_mut());
    }
    Ok(0)
}

pub(super) unsafe fn statx(call: Call<'_>) -> Result<usize> {
    const SYNC: c_int = libc::AT_STATX_FORCE_SYNC | libc::AT_STATX_DONT_SYNC;
    let (flags, mask) = (call.args[2], call.args[3] as u32);
    if flags as c_int & SYNC == SYNC || mask & libc::STATX__RESERVED as u32 != 0 {
        return Err(Errno::EINVAL);
    }
    call.flagged(flags, libc::AT_NO_AUTOMOUNT | SYNC)?;
    let meta = call.view.remote_stat(&call.place)?;
    // SAFETY: as above.
    unsafe {
        let x = result::<core::mem::MaybeUninit<libc::statx>>(call.args[4])?;
        *x = core::mem::MaybeUninit::zeroed();
        meta.fill_x(x.assume_init_mut());
    }
    Ok(0)
}

pub(super) unsafe fn faccessat(call: Call<'_>) -> Result<usize> {
    access(&call, 0)
}

pub(super) unsafe fn faccessat2(call: Call<'_>) -> Result<usize> {
    access(&call, call.args[3] as c_int)
}

fn access(call: &Call<'_>, flags: c_int) -> Result<usize> {
    let wanted = call.args[2] as c_int;
    if wanted & !7 != 0 {
        return Err(Errno::EINVAL);
    }
    call.flagged(flags as usize, libc::AT_EACCESS)?;
    let effective = flags & libc::AT_EACCESS != 0;
    call.view.remote_access(&call.place, wanted as u32, effective).map(|()| 0)
}

pub(super) unsafe fn fchmodat(call: Call<'_>) -> Result<usize> {
    call.named(0)?;
    change_mode(&call, call.args[2])
}

pub(super) unsafe fn fchmod(call: Call<'_>) -> Result<usize> {
    change_mode(&call, call.args[1])
}

fn change_mode(call: &Call<'_>, mode: usize) -> Result<usize> {
    let mode = mode as u32 & 0o7777;
    let change = SetAttr { valid: set::MODE, mode, ..SetAttr::default() };
    call.view.remote_setattr(&call.place, &change).map(|()| 0)
}

pub(super) unsafe fn fchownat(call: Call<'_>) -> Result<usize> {
    call.flagged(call.args[4], 0)?;
    change_owner(&call, call.args[2] as u32, call.args[3] as u32)
}

pub(super) unsafe fn fchown(call: Call<'_>) -> Result<usize> {
    change_owner(&call, call.args[1] as u32, call.args[2] as u32)
}

fn change_owner(call: &Call<'_>, uid: u32, gid: u32) -> Result<usize> {
    let mut change = SetAttr { uid, gid, ..SetAttr::default() };
    change.valid |= if uid != u32::MAX { set::UID } else { 0 };
    change.valid |= if gid != u32::MAX { set::GID } else { 0 };
    call.view.remote_setattr(&call.place, &change).map(|()| 0)
}

pub(super) unsafe fn utimensat(call: Call<'_>) -> Result<usize> {
    call.flagged(call.args[3], 0)?;
    let times = call.args[2] as *const timespec;
    let mut when = [When::Now; 2];
    if !times.is_null() {
        // SAFETY: the program says that there are two.
        let times = unsafe { given::<timespec>(times as usize, 2) }?;
        for (when, time) in when.iter_mut().zip(times) {
            *when = match time.tv_nsec {
                libc::UTIME_NOW => When::Now,
                libc::UTIME_OMIT => When::Keep,
                nsec @ 0..1_000_000_000 => When::At(time.tv_sec, nsec as u32),
                _ => return Err(Errno::EINVAL),
            };
        }
        if when == [When::Keep; 2] {
            return Ok(0);
        }
    }
    // futimens(3), which wants more than a name.
    if call.args[1] == 0 && call.place.dir.is_some_and(|file| file.kind() == Kind::Path) {
        return Err(Errno::EBADF);
    }
    call.view.remote_utimens(&call.place, when).map(|()| 0)
}

pub(super) unsafe fn readlinkat(call: Call<'_>) -> Result<usize> {
    let size = call.args[3];
    if size as isize <= 0 {
        return Err(Errno::EINVAL);
    }
    let target = match call.view.remote_readlink(&call.place) {
        // No name is that of what is open, if that is a link.
        Err(Errno::EINVAL) if call.place.is_open() => return Err(Errno::ENOENT),
        target => target?,
    };
    let n = target.len().min(size);
    // SAFETY: the program says that its buffer has `size` bytes.
    unsafe { put(&target[..n], call.args[2]) }?;
    Ok(n)
}

pub(super) unsafe fn mkdirat(call: Call<'_>) -> Result<usize> {
    call.named(0)?;
    call.view.remote_mkdir(&call.place, call.args[2] as u32).map(|()| 0)
}

pub(super) unsafe fn mknodat(call: Call<'_>) -> Result<usize> {
    call.named(0)?;
    let (mode, device) = (call.args[2] as u32, call.args[3] as u64);
    call.view.remote_mknod(&call.place, mode, device).map(|()| 0)
}

pub(super) unsafe fn unlinkat(call: Call<'_>) -> Result<usize> {
    let flags = call.args[2] as c_int;
    if flags & !libc::AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    call.named(0)?;
    call.view.remote_unlink(&call.place, flags != 0).map(|()| 0)
}

pub(super) unsafe fn symlinkat(call: Call<'_>) -> Result<usize> {
    // SAFETY: the program's own string.
    let target = unsafe { text(call.args[0]) }?;
    call.view.remote_symlink(&call.place, target).map(|()| 0)
}

pub(super) unsafe fn renameat(pair: Pair<'_>) -> Result<usize> {
    pair.view.remote_rename(&pair.old, &pair.new, 0).map(|()| 0)
}

pub(super) unsafe fn renameat2(pair: Pair<'_>) -> Result<usize> {
    pair.view.remote_rename(&pair.old, &pair.new, pair.args[4] as u32).map(|()| 0)
}

pub(super) unsafe fn linkat(pair: Pair<'_>) -> Result<usize> {
    if pair.args[4] as c_int & !(libc::AT_SYMLINK_FOLLOW | libc::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    pair.view.remote_link(&pair.old, &pair.new).map(|()| 0)
}

pub(super) unsafe fn truncate(call: Call<'_>) -> Result<usize> {
    let size = call.args[1] as u64;
    if (size as i64) < 0 {
        return Err(Errno::EINVAL);
    }
    let change = SetAttr { valid: set::SIZE, size, ..SetAttr::default() };
    call.view.remote_setattr(&call.place, &change).map(|()| 0)
}

pub(super) unsafe fn chdir(call: Call<'_>) -> Result<usize> {
    call.view.remote_chdir(&call.place).map(|()| 0)
}

pub(super) unsafe fn statfs(call: Call<'_>) -> Result<usize> {
    let told = call.view.remote_statfs(&call.place)?;
    // SAFETY: the program's buffer; zeros are a statfs.
    unsafe {
        let buf = result::<core::mem::MaybeUninit<Statfs>>(call.args[1])?;
        *buf = core::mem::MaybeUninit::zeroed();
        let buf = buf.assume_init_mut();
        buf.f_type = MAGIC as _;
        (buf.f_bsize, buf.f_frsize) = (told.bsize as _, told.bsize as _);
        (buf.f_blocks, buf.f_bfree, buf.f_bavail) = (told.blocks, told.bfree, told.bavail);
        (buf.f_files, buf.f_ffree) = (told.files, told.ffree);
        buf.f_namelen = told.namelen as _;
        // The libc crate hides what an fsid consists of.
        (&raw mut buf.f_fsid).cast::<u32>().write(call.place.id);
    }
    Ok(0)
}

/// What getxattr(2) and listxattr(2) do with an answer.
///
/// # Safety
/// Room for `size` bytes, or null with none.
unsafe fn answer(value: &[u8], to: usize, size: usize) -> Result<usize> {
    if size == 0 {
        return Ok(value.len());
    }
    if value.len() > size {
        return Err(Errno::ERANGE);
    }
    // SAFETY: the caller's promise.
    unsafe { put(value, to) }?;
    Ok(value.len())
}

/// The name of an extended attribute (XATTR_NAME_MAX, limits.h).
///
/// # Safety
/// Null or a C string.
unsafe fn xattr_name<'a>(at: usize) -> Result<&'a [u8]> {
    // SAFETY: the caller's promise.
    let name = unsafe { text(at) }?;
    if name.is_empty() || name.len() > 255 {
        return Err(Errno::ERANGE);
    }
    Ok(name)
}

pub(super) unsafe fn getxattr(call: Call<'_>) -> Result<usize> {
    // SAFETY: the program's own arguments.
    unsafe {
        let value = call.view.remote_xattr(&call.place, xattr_name(call.args[1])?)?;
        answer(&value, call.args[2], call.args[3])
    }
}

pub(super) unsafe fn listxattr(call: Call<'_>) -> Result<usize> {
    let names = match call.view.remote_xattr(&call.place, b"") {
        Err(Errno::EOPNOTSUPP) => Vec::new(),
        names => names?,
    };
    // SAFETY: the program's own arguments.
    unsafe { answer(&names, call.args[1], call.args[2]) }
}

/// limits.h
const XATTR_SIZE_MAX: usize = 65536;

pub(super) unsafe fn setxattr(call: Call<'_>) -> Result<usize> {
    let [_, name, value, size, flags, _] = call.args;
    if flags as c_int & !(libc::XATTR_CREATE | libc::XATTR_REPLACE) != 0 {
        return Err(Errno::EINVAL);
    }
    // SAFETY: the program's own arguments.
    unsafe {
        let name = xattr_name(name)?;
        if size > XATTR_SIZE_MAX {
            return Err(Errno::E2BIG);
        }
        let value = given::<u8>(value, size)?;
        call.view.remote_set_xattr(&call.place, name, value, flags as u32).map(|()| 0)
    }
}

pub(super) unsafe fn removexattr(call: Call<'_>) -> Result<usize> {
    // SAFETY: the program's own argument.
    let name = unsafe { xattr_name(call.args[1]) }?;
    call.view.remote_remove_xattr(&call.place, name).map(|()| 0)
}

pub(super) unsafe fn getdents64(call: Call<'_>) -> Result<usize> {
    let [fd, to, size, ..] = call.args;
    let file = call.place.dir.ok_or(Errno::EBADF)?;
    // SAFETY: the program's own buffer.
    let room = unsafe { room(to, size as u32 as usize) }?;
    call.view.remote_list(fd as c_int, file, room)
}

/// No server tells of changes: refused as for want of watches, which programs
/// take for a reason to poll.
pub(super) unsafe fn inotify_add_watch(call: Call<'_>) -> Result<usize> {
    let [watch, _, mask, ..] = call.args;
    // What is wrong with the rest, the kernel says before it looks at the name.
    // SAFETY: no memory is involved.
    match unsafe { sys!(libc::SYS_inotify_add_watch, watch, 0usize, mask) } {
        Err(Errno::EFAULT) => {}
        done => return done,
    }
    let found = call.view.remote_stat(&call.place)?;
    if mask as u32 & libc::IN_ONLYDIR != 0 && !found.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    Err(Errno::ENOSPC)
}

/// A server's files have no handles.
pub(super) unsafe fn name_to_handle_at(call: Call<'_>) -> Result<usize> {
    // Those that only the kernel of now knows are for it to refuse.
    const FLAGS: usize = 0x203;
    if call.args[4] as c_int & libc::AT_SYMLINK_NOFOLLOW != 0 {
        return Err(Errno::EINVAL);
    }
    call.flagged(call.args[4] & !FLAGS, libc::AT_SYMLINK_FOLLOW)?;
    call.view.remote_stat(&call.place)?;
    Err(Errno::EOPNOTSUPP)
}

/// A server's file has no place for pages, and none is in use: swapon(2), swapoff(2).
pub(super) unsafe fn swapon(call: Call<'_>) -> Result<usize> {
    call.view.remote_stat(&call.place)?;
    Err(Errno::EINVAL)
}

/// acct(2), which the kernel would have to write itself.
pub(super) unsafe fn acct(call: Call<'_>) -> Result<usize> {
    let file = call.view.remote_stat(&call.place)?;
    Err(if file.is_dir() { Errno::EISDIR } else { Errno::EIO })
}
