//! The calls on a descriptor, for one that stands for a remote file.

use super::transfer::{copy_file_range, sendfile, splice};
use crate::theirs::{given, result, room};
use core::ffi::{c_int, c_long};
use core::slice;
use privns_abi::{Errno, Result};
use privns_files::process::View;
use privns_files::remote::file::{File, Kind};
use privns_files::remote::locks::{Asked, Holder, Range, Want};
use privns_files::remote::place::Place;
use privns_host::{reach, sys};

/// A call on a virtual descriptor.
pub(super) struct Call<'a> {
    view: View<'a>,
    fd: c_int,
    file: &'a File,
    /// The arguments, as the kernel would be given them.
    args: [usize; 6],
}

/// The table: `number kind(arguments) function`. `fd` is a descriptor, `either`
/// two of which one at least is ours, `mapped` a descriptor among those of
/// mmap(2).
macro_rules! table {
    ($($nr:ident $kind:ident ($($n:literal),+) $serve:ident;)*) => {
        /// `None`: the kernel's own to answer.
        pub(super) unsafe fn serve(
            view: View<'_>,
            nr: c_long,
            args: [usize; 6],
        ) -> Option<Result<usize>> {
            // SAFETY: the caller's promise: the arguments are the call's.
            unsafe {
                match nr {
                    $(libc::$nr => $kind(view, args, [$($n),+], |call| $serve(call)),)*
                    _ => None,
                }
            }
        }
    };
}

table! {
    SYS_read fd(0) read;
    SYS_write fd(0) write;
    SYS_pread64 fd(0) pread;
    SYS_pwrite64 fd(0) pwrite;
    SYS_readv fd(0) readv;
    SYS_writev fd(0) writev;
    SYS_preadv fd(0) preadv;
    SYS_pwritev fd(0) pwritev;
    SYS_preadv2 fd(0) preadv2;
    SYS_pwritev2 fd(0) pwritev2;
    SYS_lseek fd(0) lseek;
    SYS_ftruncate fd(0) ftruncate;
    SYS_fallocate fd(0) fallocate;
    SYS_fsync fd(0) fsync;
    SYS_fdatasync fd(0) fdatasync;
    SYS_syncfs fd(0) fsync;
    SYS_sync_file_range fd(0) sync_file_range;
    SYS_fadvise64 fd(0) fadvise;
    SYS_readahead fd(0) readahead;
    SYS_flock fd(0) flock;
    SYS_fcntl file(0) fcntl;
    SYS_ioctl file(0) ioctl;
    SYS_sendfile either(0, 1) sendfile;
    SYS_copy_file_range either(0, 2) copy_file_range;
    SYS_splice either(0, 2) splice;
}

unsafe fn fd(
    view: View<'_>,
    args: [usize; 6],
    [fd]: [usize; 1],
    serve: impl FnOnce(Call<'_>) -> Result<usize>,
) -> Option<Result<usize>> {
    let fd = args[fd] as c_int;
    let file = view.process.file(fd)?;
    Some(serve(Call { view, fd, file: &file, args }))
}

/// As `fd`; some of what is asked is the placeholder's to answer.
unsafe fn file(
    view: View<'_>,
    args: [usize; 6],
    [fd]: [usize; 1],
    serve: impl FnOnce(Call<'_>) -> Option<Result<usize>>,
) -> Option<Result<usize>> {
    let fd = args[fd] as c_int;
    let file = view.process.file(fd)?;
    serve(Call { view, fd, file: &file, args })
}

unsafe fn either(
    view: View<'_>,
    args: [usize; 6],
    fds: [usize; 2],
    serve: impl FnOnce([usize; 6]) -> Result<usize>,
) -> Option<Result<usize>> {
    let ours = fds.iter().any(|&fd| view.process.is_virtual(args[fd] as c_int));
    ours.then(|| serve(args))
}

unsafe fn read(call: Call<'_>) -> Result<usize> {
    // SAFETY: the program's own buffer.
    let buf = unsafe { room(call.args[1], call.args[2]) }?;
    call.view.read(call.fd, call.file, buf)
}

unsafe fn write(call: Call<'_>) -> Result<usize> {
    // SAFETY: as above; it is only read.
    let buf = unsafe { room(call.args[1], call.args[2]) }?;
    call.view.write(call.fd, call.file, buf)
}

unsafe fn pread(call: Call<'_>) -> Result<usize> {
    // SAFETY: as above.
    let buf = unsafe { room(call.args[1], call.args[2]) }?;
    call.view.pread(call.file, buf, call.args[3] as u64)
}

unsafe fn pwrite(call: Call<'_>) -> Result<usize> {
    // SAFETY: as above.
    let buf = unsafe { room(call.args[1], call.args[2]) }?;
    call.view.pwrite(call.fd, call.file, buf, call.args[3] as u64)
}

/// Does something with each buffer of a vectored call, as long as each is used
/// whole.
///
/// # Safety
/// The arguments are those of readv(2).
unsafe fn each(
    call: &Call<'_>,
    mut act: impl FnMut(&mut [u8], u64) -> Result<usize>,
) -> Result<usize> {
    let n = call.args[2] as c_int;
    if !(0..=1024).contains(&n) {
        return Err(Errno::EINVAL);
    }
    if n == 0 {
        return Ok(0);
    }
    // SAFETY: the program says that there are so many.
    let parts = unsafe { given::<libc::iovec>(call.args[1], n as usize) }?;
    let whole = parts.iter().try_fold(0usize, |sum, part| sum.checked_add(part.iov_len));
    if whole.is_none_or(|whole| whole > isize::MAX as usize) {
        return Err(Errno::EINVAL);
    }
    let mut done = 0;
    for part in parts.iter().filter(|part| part.iov_len > 0) {
        // SAFETY: the program's own buffers.
        let used = unsafe { room(part.iov_base as usize, part.iov_len) }
            .and_then(|buf| act(buf, done as u64));
        match used {
            Ok(used) => {
                done += used;
                if used < part.iov_len {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

unsafe fn readv(call: Call<'_>) -> Result<usize> {
    // SAFETY: the call's own arguments.
    unsafe { each(&call, |buf, _| call.view.read(call.fd, call.file, buf)) }
}

unsafe fn writev(call: Call<'_>) -> Result<usize> {
    // SAFETY: as above.
    unsafe { writev_as(&call, call.file.appends(call.fd)) }
}

/// One write for all that is small: lines of several processes stay whole.
unsafe fn writev_as(call: &Call<'_>, appends: bool) -> Result<usize> {
    let write = |buf: &[u8]| call.view.write_as(call.fd, call.file, buf, appends);
    // SAFETY: as above.
    unsafe {
        match gathered(call)? {
            Some(data) => write(&data),
            None => each(call, |buf, _| write(buf)),
        }
    }
}

/// The buffers of a vectored write in one piece, when they are small and there.
unsafe fn gathered(call: &Call<'_>) -> Result<Option<Vec<u8>>> {
    const SMALL: usize = 256 << 10;
    let mut data = Vec::new();
    // SAFETY: the caller's arguments.
    let done = unsafe {
        each(call, |buf, _| {
            if data.len() + buf.len() > SMALL || reach::readable(buf) < buf.len() {
                return Err(Errno::ENOBUFS);
            }
            data.try_reserve(buf.len()).map_err(|_| Errno::ENOMEM)?;
            data.extend_from_slice(buf);
            Ok(buf.len())
        })
    };
    match done {
        Err(Errno::ENOBUFS | Errno::ENOMEM) => Ok(None),
        Err(error) => Err(error),
        // SAFETY: as above.
        Ok(n) => Ok((n == unsafe { length(call) }).then_some(data)),
    }
}

/// The bytes of a vectored call, which was looked at before.
unsafe fn length(call: &Call<'_>) -> usize {
    match call.args[2] {
        0 => 0,
        // SAFETY: the program says that there are so many.
        n => unsafe { slice::from_raw_parts(call.args[1] as *const libc::iovec, n) }
            .iter()
            .map(|part| part.iov_len)
            .sum(),
    }
}

unsafe fn preadv(call: Call<'_>) -> Result<usize> {
    let at = offset(call.args[3])?;
    // SAFETY: as above.
    unsafe { each(&call, |buf, done| call.view.pread(call.file, buf, at + done)) }
}

unsafe fn pwritev(call: Call<'_>) -> Result<usize> {
    // SAFETY: as above.
    unsafe { pwritev_as(&call, call.file.appends(call.fd)) }
}

unsafe fn pwritev_as(call: &Call<'_>, appends: bool) -> Result<usize> {
    let at = offset(call.args[3])?;
    let write = |buf: &[u8], at| call.view.pwrite_as(call.fd, call.file, buf, at, appends);
    // SAFETY: as above.
    unsafe {
        match gathered(call)? {
            Some(data) => write(&data, at),
            None => each(call, |buf, done| write(buf, at + done)),
        }
    }
}

fn offset(at: usize) -> Result<u64> {
    if (at as isize) < 0 {
        Err(Errno::EINVAL)
    } else {
        Ok(at as u64)
    }
}

/// An offset of -1 is the file's own.
unsafe fn preadv2(call: Call<'_>) -> Result<usize> {
    rwf::check(call.args[5])?;
    // SAFETY: as above.
    unsafe {
        if call.args[3] == usize::MAX {
            readv(call)
        } else {
            preadv(call)
        }
    }
}

unsafe fn pwritev2(call: Call<'_>) -> Result<usize> {
    let flags = rwf::check(call.args[5])?;
    let has = |flag| flags & flag != 0;
    let always = call.file.appends(call.fd);
    let appends = has(rwf::APPEND) || always && !has(rwf::NOAPPEND);
    // SAFETY: as above.
    let done = unsafe {
        if call.args[3] == usize::MAX {
            writev_as(&call, appends)
        } else {
            pwritev_as(&call, appends)
        }
    };
    if always && !appends {
        call.file.append_again(call.view)?;
    }
    let done = done?;
    if has(rwf::DSYNC | rwf::SYNC) {
        call.view.fsync(call.file, !has(rwf::SYNC))?;
    }
    Ok(done)
}

/// The flags of one read or write (preadv2(2)).
mod rwf {
    use super::{c_int, Errno, Result};

    const HIPRI: c_int = 0x1;
    pub(super) const DSYNC: c_int = 0x2;
    pub(super) const SYNC: c_int = 0x4;
    pub(super) const APPEND: c_int = 0x10;
    pub(super) const NOAPPEND: c_int = 0x20;

    /// The flags, if a remote file can do all of them. Nobody can say whether it
    /// would have to be waited for (`RWF_NOWAIT`): that is answered as on other
    /// file systems of which that is true.
    pub(super) fn check(flags: usize) -> Result<c_int> {
        let flags = flags as c_int;
        if flags & !(HIPRI | DSYNC | SYNC | APPEND | NOAPPEND) != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if flags & APPEND != 0 && flags & NOAPPEND != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(flags)
    }
}

unsafe fn lseek(call: Call<'_>) -> Result<usize> {
    let [_, offset, whence, ..] = call.args;
    call.view.seek(call.fd, call.file, offset as i64, whence as c_int).map(|at| at as usize)
}

unsafe fn ftruncate(call: Call<'_>) -> Result<usize> {
    let size = call.args[1] as i64;
    let size = u64::try_from(size).map_err(|_| Errno::EINVAL)?;
    call.view.ftruncate(call.fd, call.file, size).map(|()| 0)
}

unsafe fn fallocate(call: Call<'_>) -> Result<usize> {
    let [_, mode, offset, len, ..] = call.args;
    call.view.fallocate(call.fd, call.file, mode as c_int, offset as i64, len as i64).map(|()| 0)
}

unsafe fn fsync(call: Call<'_>) -> Result<usize> {
    synced(libc::SYS_fsync, &call, call.view.fsync(call.file, false))
}

unsafe fn fdatasync(call: Call<'_>) -> Result<usize> {
    synced(libc::SYS_fdatasync, &call, call.view.fsync(call.file, true))
}

/// What is open here without its server, and has lost its name, is the kernel's.
fn synced(nr: c_long, call: &Call<'_>, done: Result<()>) -> Result<usize> {
    match done {
        // SAFETY: no memory is involved.
        Err(Errno::ESTALE) if call.file.is_near() => unsafe { sys!(nr, call.fd) },
        done => done.map(|()| 0),
    }
}

/// A part is as little to be had as the kernel's own waiting for writes.
unsafe fn sync_file_range(call: Call<'_>) -> Result<usize> {
    const FLAGS: usize = 7;
    let [_, from, len, flags, ..] = call.args;
    let range = (from as i64).checked_add(len as i64);
    let range = range.filter(|&end| end >= from as i64 && from as i64 >= 0);
    match call.file.kind() {
        Kind::Path => Err(Errno::EBADF),
        _ if range.is_none() || flags & !FLAGS != 0 => Err(Errno::EINVAL),
        // SAFETY: passed on.
        _ => unsafe { fdatasync(call) },
    }
}

/// Advice: nothing is done, but what is wrong with it is said.
unsafe fn fadvise(call: Call<'_>) -> Result<usize> {
    let [_, _, len, advice, ..] = call.args;
    match call.file.kind() {
        Kind::Path => Err(Errno::EBADF),
        _ if (len as i64) < 0 => Err(Errno::EINVAL),
        _ if !(0..=libc::POSIX_FADV_NOREUSE).contains(&(advice as c_int)) => Err(Errno::EINVAL),
        _ => Ok(0),
    }
}

unsafe fn readahead(call: Call<'_>) -> Result<usize> {
    call.file.may(false)?;
    match call.file.kind() {
        Kind::Regular if call.args[2] as i64 >= 0 => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// What of fcntl(2) is about the file, and not about the number.
unsafe fn fcntl(call: Call<'_>) -> Option<Result<usize>> {
    let command = call.args[1] as c_int;
    if call.file.kind() == Kind::Path && !OF_PATHS.contains(&command) {
        return Some(Err(Errno::EBADF));
    }
    match command {
        libc::F_GETFL => Some(call.view.status(call.fd, call.file).map(|flags| flags as usize)),
        // SAFETY: the program's own structure.
        libc::F_SETLK => Some(unsafe { setlk(&call, Holder::Process, false) }),
        // SAFETY: as above.
        libc::F_SETLKW => Some(unsafe { setlk(&call, Holder::Process, true) }),
        // SAFETY: as above.
        libc::F_GETLK => Some(unsafe { getlk(&call, Holder::Process) }),
        // SAFETY: as above.
        libc::F_OFD_SETLK => Some(unsafe { setlk(&call, Holder::Description, false) }),
        // SAFETY: as above.
        libc::F_OFD_SETLKW => Some(unsafe { setlk(&call, Holder::Description, true) }),
        // SAFETY: as above.
        libc::F_OFD_GETLK => Some(unsafe { getlk(&call, Holder::Description) }),
        // No lease is to be had, so that there is none.
        F_SETLEASE => Some(Err(Errno::EINVAL)),
        F_GETLEASE => Some(Ok(libc::F_UNLCK as usize)),
        F_NOTIFY => Some(notify(call.file.kind(), call.args[2])),
        F_ADD_SEALS | F_GET_SEALS => Some(Err(Errno::EINVAL)),
        F_CREATED_QUERY => Some(is_new(&call)),
        _ => None,
    }
}

/// Whether the open has made the file, where the kernel knows such a question.
fn is_new(call: &Call<'_>) -> Result<usize> {
    // SAFETY: no memory is involved.
    unsafe { sys!(libc::SYS_fcntl, call.fd, F_CREATED_QUERY, 0) }?;
    call.view.is_new(call.file).map(usize::from)
}

/// No news of changes is to be had: EINVAL, as where fs.dir-notify-enable of
/// proc(5) is 0. Nothing to be told of takes a watch back, of which there is none.
fn notify(kind: Kind, events: usize) -> Result<usize> {
    match kind {
        _ if events & !DN_MULTISHOT == 0 => Ok(0),
        Kind::Directory => Err(Errno::EINVAL),
        Kind::Regular | Kind::Path => Err(Errno::ENOTDIR),
    }
}

/// What fcntl(2) does with a descriptor of O_PATH (open(2)).
const OF_PATHS: [c_int; 7] = [
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    F_DUPFD_QUERY,
    F_CREATED_QUERY,
];

const DN_MULTISHOT: usize = 0x8000_0000;
const F_SETLEASE: c_int = 1024;
const F_GETLEASE: c_int = 1025;
const F_NOTIFY: c_int = 1026;
const F_DUPFD_QUERY: c_int = 1027;
const F_CREATED_QUERY: c_int = 1028;
const F_ADD_SEALS: c_int = 1033;
const F_GET_SEALS: c_int = 1034;

/// The structure of a lock call, and the range that it means.
unsafe fn record<'a>(call: &Call<'_>, holder: Holder) -> Result<(&'a libc::flock, Range)> {
    // SAFETY: the program's own structure, or null.
    let [lock] = unsafe { given::<libc::flock>(call.args[2], 1) }? else {
        return Err(Errno::EFAULT);
    };
    if holder == Holder::Description && lock.l_pid != 0 {
        return Err(Errno::EINVAL);
    }
    let from = match c_int::from(lock.l_whence) {
        libc::SEEK_SET => 0,
        libc::SEEK_CUR => call.view.seek(call.fd, call.file, 0, libc::SEEK_CUR)? as i64,
        libc::SEEK_END => call.view.size(call.file)? as i64,
        _ => return Err(Errno::EINVAL),
    };
    let start = from.checked_add(lock.l_start).ok_or(Errno::EOVERFLOW)?;
    let (start, len) = match lock.l_len {
        len if len < 0 => (start.checked_add(len).ok_or(Errno::EINVAL)?, -len),
        len => (start, len),
    };
    if start < 0 {
        return Err(Errno::EINVAL);
    }
    if len > 0 && start.checked_add(len - 1).is_none() {
        return Err(Errno::EOVERFLOW);
    }
    Ok((lock, Range { start: start as u64, len: len as u64 }))
}

unsafe fn setlk(call: &Call<'_>, holder: Holder, waits: bool) -> Result<usize> {
    // SAFETY: the caller's promise.
    let (lock, range) = unsafe { record(call, holder) }?;
    let access = call.view.status(call.fd, call.file)?;
    let may = |refused| access & libc::O_PATH == 0 && access & libc::O_ACCMODE != refused;
    let want = match c_int::from(lock.l_type) {
        libc::F_UNLCK => Want::Nothing,
        libc::F_RDLCK if may(libc::O_WRONLY) => Want::Shared,
        libc::F_WRLCK if may(libc::O_RDONLY) => Want::Exclusive,
        libc::F_RDLCK | libc::F_WRLCK => return Err(Errno::EBADF),
        _ => return Err(Errno::EINVAL),
    };
    call.view.lock(call.file, Asked { holder, want, range, waits }).map(|()| 0)
}

unsafe fn getlk(call: &Call<'_>, holder: Holder) -> Result<usize> {
    // SAFETY: the caller's promise.
    let (lock, range) = unsafe { record(call, holder) }?;
    let exclusive = match c_int::from(lock.l_type) {
        libc::F_RDLCK => false,
        libc::F_WRLCK => true,
        _ => return Err(Errno::EINVAL),
    };
    let found = call.view.getlock(call.file, holder, exclusive, range)?;
    // SAFETY: the program's own structure.
    let lock = unsafe { result::<libc::flock>(call.args[2]) }?;
    let Some(found) = found else {
        lock.l_type = libc::F_UNLCK as libc::c_short;
        return Ok(0);
    };
    let kind = if found.exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
    (lock.l_type, lock.l_whence) = (kind as libc::c_short, libc::SEEK_SET as libc::c_short);
    (lock.l_start, lock.l_len) = (found.range.start as i64, found.range.len as i64);
    lock.l_pid = if found.process == 0 { -1 } else { found.process as c_int };
    Ok(0)
}

unsafe fn flock(call: Call<'_>) -> Result<usize> {
    let how = call.args[1] as c_int;
    let want = match how & !libc::LOCK_NB {
        libc::LOCK_SH => Want::Shared,
        libc::LOCK_EX => Want::Exclusive,
        libc::LOCK_UN => Want::Nothing,
        _ => return Err(Errno::EINVAL),
    };
    let waits = how & libc::LOCK_NB == 0;
    let asked = Asked { holder: Holder::Flock, want, range: Range::WHOLE, waits };
    call.view.lock(call.file, asked).map(|()| 0)
}

/// What of ioctl(2) is about the file; the rest is for devices, and for file
/// systems that have what it is about.
unsafe fn ioctl(call: Call<'_>) -> Option<Result<usize>> {
    let [_, request, arg, ..] = call.args;
    let kind = call.file.kind();
    if kind == Kind::Path {
        return Some(Err(Errno::EBADF));
    }
    let place = || Place::below(call.file, b"");
    match (request as u32, kind) {
        (FIONREAD, Kind::Regular) => {
            let unread = call.view.unread(call.fd, call.file);
            // SAFETY: the program's own variable.
            Some(
                unread.and_then(|n| unsafe { tell(arg, c_int::try_from(n).unwrap_or(c_int::MAX)) }),
            )
        }
        (FIGETBSZ, _) => {
            let told = call.view.remote_statfs(&place());
            // SAFETY: as above.
            Some(told.and_then(|told| unsafe { tell(arg, told.bsize as c_int) }))
        }
        (FIOQSIZE, _) => {
            let told = call.view.remote_stat(&place());
            // SAFETY: as above; zeros are a stat.
            Some(told.and_then(|told| unsafe {
                let mut st = core::mem::zeroed::<libc::stat>();
                told.fill(&mut st);
                tell(arg, st.st_blocks * 512)
            }))
        }
        // The placeholder has no blocks either: the kernel asks for the right first.
        (FIBMAP, Kind::Regular) => None,
        (FIOCLEX | FIONCLEX | FIONBIO | FIOASYNC, _) => None,
        // SAFETY: no memory is involved.
        (FICLONE, _) if unsafe { sys!(libc::SYS_fcntl, arg, libc::F_GETFD) }.is_err() => {
            Some(Err(Errno::EBADF))
        }
        (FIDEDUPERANGE, Kind::Directory) => Some(Err(Errno::EISDIR)),
        (FICLONE | FICLONERANGE | FIDEDUPERANGE | FIEMAP, _) => Some(Err(Errno::EOPNOTSUPP)),
        _ => Some(Err(Errno::ENOTTY)),
    }
}

const FIONREAD: u32 = libc::FIONREAD as u32;
const FIOCLEX: u32 = libc::FIOCLEX as u32;
const FIONCLEX: u32 = libc::FIONCLEX as u32;
const FIONBIO: u32 = libc::FIONBIO as u32;
const FIOASYNC: u32 = libc::FIOASYNC as u32;
const FIBMAP: u32 = 1;
const FIGETBSZ: u32 = 2;
const FIOQSIZE: u32 = 0x5460;
const FICLONE: u32 = 0x4004_9409;
const FICLONERANGE: u32 = 0x4020_940d;
const FIDEDUPERANGE: u32 = 0xc018_9436;
const FIEMAP: u32 = 0xc020_660b;

/// An answer to where the program wants it.
///
/// # Safety
/// A variable of the program's, or no memory at all.
unsafe fn tell<T>(to: usize, value: T) -> Result<usize> {
    // SAFETY: the caller's promise.
    *unsafe { result(to) }? = value;
    Ok(0)
}
