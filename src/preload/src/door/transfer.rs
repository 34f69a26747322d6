//! Calls that move data from one descriptor to another, of which one at least is
//! ours: it is read and written here, since the kernel would find the
//! placeholder.

use super::door;
use crate::theirs::{result, LONGEST};
use core::ffi::c_int;
use privns_abi::{Errno, Result};
use privns_host::sys;

/// A place in a file of which the program keeps count, or the file's own.
struct Cursor {
    fd: c_int,
    /// Null: the file's own offset.
    at: *mut i64,
}

impl Cursor {
    /// # Safety
    /// `at` is null or the program's offset.
    unsafe fn new(fd: usize, at: usize) -> Result<Cursor> {
        let at = match at {
            0 => core::ptr::null_mut(),
            // SAFETY: the caller's promise.
            at => unsafe { result::<i64>(at) }?,
        };
        Ok(Cursor { fd: fd as c_int, at })
    }

    /// # Safety
    /// `at` is null or the program's offset.
    unsafe fn read(&self, buf: &mut [u8]) -> Result<usize> {
        // SAFETY: the caller's promise, and a buffer of ours.
        unsafe {
            if self.at.is_null() {
                return door!(libc::SYS_read, self.fd, buf.as_mut_ptr(), buf.len());
            }
            door!(libc::SYS_pread64, self.fd, buf.as_mut_ptr(), buf.len(), *self.at)
        }
    }

    unsafe fn write(&self, data: &[u8]) -> Result<usize> {
        // SAFETY: as above.
        unsafe {
            if self.at.is_null() {
                return door!(libc::SYS_write, self.fd, data.as_ptr(), data.len());
            }
            door!(libc::SYS_pwrite64, self.fd, data.as_ptr(), data.len(), *self.at)
        }
    }

    /// Where it is.
    ///
    /// # Safety
    /// As above.
    unsafe fn position(&self) -> Result<u64> {
        // SAFETY: the caller's promise.
        unsafe {
            if self.at.is_null() {
                return door!(libc::SYS_lseek, self.fd, 0, libc::SEEK_CUR).map(|at| at as u64);
            }
            u64::try_from(*self.at).map_err(|_| Errno::EINVAL)
        }
    }

    /// Moves the program's own offset on; the file's has moved with reading,
    /// and goes back by what was read and not used.
    unsafe fn moved(&self, used: usize, unused: usize) {
        // SAFETY: as above.
        unsafe {
            if !self.at.is_null() {
                *self.at += used as i64;
            } else if unused > 0 {
                let _ = door!(libc::SYS_lseek, self.fd, -(unused as isize), libc::SEEK_CUR);
            }
        }
    }
}

/// Copies up to `count` bytes: how many.
///
/// # Safety
/// The offsets are null or the program's.
unsafe fn transfer(from: &Cursor, to: &Cursor, count: usize) -> Result<usize> {
    const PIECE: usize = 256 << 10;
    let count = count.min(LONGEST);
    let mut piece = room_for(PIECE.min(count))?;
    let mut done = 0;
    while done < count {
        let want = piece.len().min(count - done);
        // SAFETY: the caller's promise.
        match unsafe { step(from, to, &mut piece[..want]) } {
            Ok((_, 0)) => break,
            Ok((read, wrote)) => {
                done += wrote;
                if wrote < read {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Copies what one read gives, of up to `count` bytes: how many.
///
/// # Safety
/// As [`transfer`].
unsafe fn transfer_once(from: &Cursor, to: &Cursor, count: usize) -> Result<usize> {
    // SAFETY: the caller's promise.
    unsafe { step(from, to, &mut room_for(count)?) }.map(|(_, wrote)| wrote)
}

fn room_for(count: usize) -> Result<Vec<u8>> {
    let mut piece = Vec::new();
    piece.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    piece.resize(count, 0);
    Ok(piece)
}

/// One read and one write: how many bytes each has moved.
///
/// # Safety
/// As [`transfer`].
unsafe fn step(from: &Cursor, to: &Cursor, piece: &mut [u8]) -> Result<(usize, usize)> {
    // SAFETY: the caller's promise.
    unsafe {
        let read = from.read(piece)?;
        if read == 0 {
            return Ok((0, 0));
        }
        let wrote = to.write(&piece[..read]);
        let used = *wrote.as_ref().unwrap_or(&0);
        from.moved(used, read - used);
        to.moved(used, 0);
        wrote.map(|used| (read, used))
    }
}

/// Whether a descriptor is open for reading, or for writing.
fn check(fd: usize, writing: bool) -> Result<c_int> {
    let status = status(fd)?;
    let other = if writing { libc::O_RDONLY } else { libc::O_WRONLY };
    if status & libc::O_ACCMODE == other {
        return Err(Errno::EBADF);
    }
    Ok(status)
}

/// How a descriptor is open, for more than its name.
fn status(fd: usize) -> Result<c_int> {
    // SAFETY: no memory is involved.
    let status = unsafe { door!(libc::SYS_fcntl, fd, libc::F_GETFL) }? as c_int;
    if status & libc::O_PATH != 0 {
        return Err(Errno::EBADF);
    }
    Ok(status)
}

/// What a descriptor stands for.
fn look(fd: usize) -> Result<libc::stat> {
    let mut st = core::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: room for one, of which zeros are one.
    unsafe {
        door!(libc::SYS_fstat, fd, st.as_mut_ptr())?;
        Ok(st.assume_init())
    }
}

fn kind(st: &libc::stat) -> u32 {
    st.st_mode & libc::S_IFMT
}

pub(super) unsafe fn sendfile(args: [usize; 6]) -> Result<usize> {
    let [to, from, at, count, ..] = args;
    // SAFETY: the program's own offset.
    let (cursor, target) = unsafe { (Cursor::new(from, at)?, Cursor::new(to, 0)?) };
    check(from, false)?;
    let appends = check(to, true)? & libc::O_APPEND != 0;
    if appends || kind(&look(from)?) == libc::S_IFDIR {
        return Err(Errno::EINVAL);
    }
    // SAFETY: as above.
    unsafe { transfer(&cursor, &target, count) }
}

pub(super) unsafe fn copy_file_range(args: [usize; 6]) -> Result<usize> {
    let [from, from_at, to, to_at, count, flags] = args;
    status(from)?;
    status(to)?;
    // SAFETY: the program's own offsets.
    let (reader, writer) = unsafe { (Cursor::new(from, from_at)?, Cursor::new(to, to_at)?) };
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let (source, target) = (look(from)?, look(to)?);
    let kinds = [kind(&source), kind(&target)];
    if kinds.contains(&libc::S_IFDIR) {
        return Err(Errno::EISDIR);
    }
    if kinds != [libc::S_IFREG; 2] {
        return Err(Errno::EINVAL);
    }
    check(from, false)?;
    if check(to, true)? & libc::O_APPEND != 0 {
        return Err(Errno::EBADF);
    }
    if (source.st_dev, source.st_ino) == (target.st_dev, target.st_ino) {
        // SAFETY: as above.
        let (begin, other) = unsafe { (reader.position()?, writer.position()?) };
        let count = (count as u64).min((source.st_size as u64).saturating_sub(begin));
        if other < begin.saturating_add(count) && begin < other.saturating_add(count) {
            return Err(Errno::EINVAL);
        }
    }
    // SAFETY: as above.
    unsafe { transfer(&reader, &writer, count) }
}

/// How many bytes one splice moves at most: what a pipe holds as a rule.
const SPLICED: usize = 64 << 10;
const SPLICE_FLAGS: c_int = 0xf;

/// splice(2) between a pipe and a file of ours.
pub(super) unsafe fn splice(args: [usize; 6]) -> Result<usize> {
    let [from, from_at, to, to_at, count, flags] = args;
    let nonblocking = flags as c_int & libc::SPLICE_F_NONBLOCK as c_int != 0;
    if flags as c_int & !SPLICE_FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    if count == 0 {
        return Ok(0);
    }
    check(from, false)?;
    let appends = check(to, true)? & libc::O_APPEND != 0;
    let pipe = match (is_pipe(from)?, is_pipe(to)?) {
        (true, false) => from,
        (false, true) => to,
        _ => return Err(Errno::EINVAL),
    };
    if pipe == to && kind(&look(from)?) == libc::S_IFDIR {
        return Err(Errno::EINVAL);
    }
    if (if pipe == from { from_at } else { to_at }) != 0 {
        return Err(Errno::ESPIPE);
    }
    // SAFETY: the program's own offsets.
    let (reader, writer) = unsafe { (Cursor::new(from, from_at)?, Cursor::new(to, to_at)?) };
    if pipe == from && appends {
        return Err(Errno::EINVAL);
    }
    if nonblocking && !is_ready(pipe, pipe == to)? {
        return Err(Errno::EAGAIN);
    }
    let most = if pipe == from { SPLICED } else { room_of(pipe)? };
    // SAFETY: as above.
    unsafe { transfer_once(&reader, &writer, count.min(most)) }
}

fn is_pipe(fd: usize) -> Result<bool> {
    let mut st = core::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: room for one, which the call fills; the placeholder is no pipe either.
    unsafe {
        sys!(libc::SYS_fstat, fd, st.as_mut_ptr())?;
        Ok(st.assume_init().st_mode & libc::S_IFMT == libc::S_IFIFO)
    }
}

fn is_ready(pipe: usize, to_write: bool) -> Result<bool> {
    let events = if to_write { libc::POLLOUT } else { libc::POLLIN };
    let mut poll = libc::pollfd { fd: pipe as c_int, events, revents: 0 };
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: structures of ours.
    let n = unsafe { sys!(libc::SYS_ppoll, &raw mut poll, 1, &raw const now, 0usize, 8usize) }?;
    Ok(n > 0)
}

/// What can be written to a pipe without waiting, or what it takes whole when
/// somebody has made room.
fn room_of(pipe: usize) -> Result<usize> {
    let mut unread: c_int = 0;
    // SAFETY: a variable of ours.
    unsafe {
        let size = sys!(libc::SYS_fcntl, pipe, libc::F_GETPIPE_SZ)?;
        sys!(libc::SYS_ioctl, pipe, libc::FIONREAD, &raw mut unread)?;
        Ok(size.saturating_sub(unread as usize).clamp(libc::PIPE_BUF, SPLICED))
    }
}
