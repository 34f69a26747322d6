//! Calls that move data from one descriptor to another, of which one at least is
//! ours: it is read and written here, since the kernel would find the
//! placeholder.

use super::door;
use crate::theirs::{given, put, LONGEST};
use crate::PROCESS;
use core::cell::Cell;
use core::ffi::c_int;
use privns_abi::{Errno, Result};
use privns_host::signals::{self, calmly};
use privns_host::sys;

/// A place in a file of which the program keeps count, or the file's own.
struct Cursor {
    fd: c_int,
    at: Cell<Option<i64>>,
    /// Where the program keeps it, and is told of it in the end; null: the file's
    /// own offset.
    kept: usize,
}

impl Cursor {
    /// # Errors
    /// EFAULT for an offset that cannot be read. That it cannot be written is seen
    /// when all is done.
    ///
    /// # Safety
    /// `kept` is null or the program's offset.
    unsafe fn new(fd: usize, kept: usize) -> Result<Cursor> {
        let at = match kept {
            0 => None,
            // SAFETY: the caller's promise.
            kept => unsafe { given::<i64>(kept, 1) }?.first().copied(),
        };
        Ok(Cursor { fd: fd as c_int, at: Cell::new(at), kept })
    }

    fn read(&self, buf: &mut [u8]) -> Result<usize> {
        // SAFETY: a buffer of ours.
        unsafe {
            match self.at.get() {
                None => door!(libc::SYS_read, self.fd, buf.as_mut_ptr(), buf.len()),
                Some(at) => door!(libc::SYS_pread64, self.fd, buf.as_mut_ptr(), buf.len(), at),
            }
        }
    }

    fn write(&self, data: &[u8]) -> Result<usize> {
        // SAFETY: as above.
        unsafe {
            match self.at.get() {
                None => door!(libc::SYS_write, self.fd, data.as_ptr(), data.len()),
                Some(at) => door!(libc::SYS_pwrite64, self.fd, data.as_ptr(), data.len(), at),
            }
        }
    }

    /// Where it is; what the program keeps may be anything.
    fn position(&self) -> Result<i64> {
        if let Some(at) = self.at.get() {
            return Ok(at);
        }
        // SAFETY: no memory is involved.
        let at = unsafe { door!(libc::SYS_lseek, self.fd, 0, libc::SEEK_CUR) };
        at.map(|at| at as i64)
    }

    fn is_before(&self) -> bool {
        self.at.get().is_some_and(|at| at < 0)
    }

    /// Moves the program's own offset on; the file's has moved with reading,
    /// and goes back by what was read and not used.
    fn moved(&self, used: usize, unused: usize) {
        match self.at.get() {
            Some(at) => self.at.set(Some(at + used as i64)),
            None if unused > 0 => {
                // SAFETY: no memory is involved.
                let _ =
                    unsafe { door!(libc::SYS_lseek, self.fd, -(unused as isize), libc::SEEK_CUR) };
            }
            None => {}
        }
    }

    /// Tells the program where it is, whatever has been done.
    ///
    /// # Errors
    /// EFAULT.
    ///
    /// # Safety
    /// As for [`Cursor::new`].
    unsafe fn tell(&self) -> Result<()> {
        match self.at.get() {
            None => Ok(()),
            // SAFETY: the caller's promise.
            Some(at) => unsafe { put(&at.to_ne_bytes(), self.kept) },
        }
    }
}

/// Copies up to `count` bytes: how many.
fn transfer(from: &Cursor, to: &Cursor, count: usize) -> Result<usize> {
    const PIECE: usize = 256 << 10;
    let count = count.min(LONGEST);
    let mut piece = room_for(PIECE.min(count))?;
    let mut done = 0;
    while done < count {
        let want = piece.len().min(count - done);
        match step(from, to, &mut piece[..want]) {
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
fn transfer_once(from: &Cursor, to: &Cursor, count: usize) -> Result<usize> {
    step(from, to, &mut room_for(count)?).map(|(_, wrote)| wrote)
}

fn room_for(count: usize) -> Result<Vec<u8>> {
    let mut piece = Vec::new();
    piece.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    piece.resize(count, 0);
    Ok(piece)
}

/// One read and one write: how many bytes each has moved. A signal that has come while a server was
/// asked for the one ends the wait for the other before it begins.
fn step(from: &Cursor, to: &Cursor, piece: &mut [u8]) -> Result<(usize, usize)> {
    let read = if PROCESS.is_virtual(from.fd) {
        calmly(|| {
            let read = from.read(piece)?;
            match signals::check() {
                Err(due) if would_wait(to.fd as usize)? => {
                    from.moved(0, read);
                    Err(due)
                }
                _ => Ok(read),
            }
        })?
    } else {
        from.read(piece)?
    };
    if read == 0 {
        return Ok((0, 0));
    }
    let wrote = to.write(&piece[..read]);
    let used = *wrote.as_ref().unwrap_or(&0);
    from.moved(used, read - used);
    to.moved(used, 0);
    wrote.map(|used| (read, used))
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
    let sent = send(&cursor, &target, count);
    // SAFETY: as above.
    unsafe { cursor.tell() }?;
    sent
}

fn send(from: &Cursor, to: &Cursor, count: usize) -> Result<usize> {
    check(from.fd as usize, false)?;
    let appends = check(to.fd as usize, true)? & libc::O_APPEND != 0;
    if appends || kind(&look(from.fd as usize)?) == libc::S_IFDIR {
        return Err(Errno::EINVAL);
    }
    transfer(from, to, count)
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
    let copied = copy(&reader, &writer, count)?;
    if copied > 0 {
        // SAFETY: as above.
        let told = unsafe { (reader.tell(), writer.tell()) };
        told.0.and(told.1)?;
    }
    Ok(copied)
}

fn copy(reader: &Cursor, writer: &Cursor, count: usize) -> Result<usize> {
    let (from, to) = (reader.fd as usize, writer.fd as usize);
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
    let beyond = |cursor: &Cursor| {
        cursor.at.get().is_some_and(|at| (at as u64).checked_add(count as u64).is_none())
    };
    if beyond(reader) || beyond(writer) {
        return Err(Errno::EOVERFLOW);
    }
    if (source.st_dev, source.st_ino) == (target.st_dev, target.st_ino) {
        let (begin, other) = (reader.position()?, writer.position()?);
        let left = source.st_size.saturating_sub(begin).max(0);
        let count = i64::try_from(count).map_or(left, |count| count.min(left));
        if other < begin.saturating_add(count) && begin < other.saturating_add(count) {
            return Err(Errno::EINVAL);
        }
    }
    if reader.is_before() || writer.is_before() {
        return Err(Errno::EINVAL);
    }
    transfer(reader, writer, count)
}

/// How many bytes one splice moves at most: what a pipe holds as a rule.
const SPLICED: usize = 64 << 10;
const SPLICE_FLAGS: c_int = 0xf;

/// splice(2) between a pipe and a file of ours.
pub(super) unsafe fn splice(args: [usize; 6]) -> Result<usize> {
    let [from, from_at, to, to_at, count, flags] = args;
    if flags as c_int & !SPLICE_FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    if count == 0 {
        return Ok(0);
    }
    status(from)?;
    status(to)?;
    let pipes = [is_pipe(from)?, is_pipe(to)?];
    if pipes[0] && from_at != 0 || pipes[1] && to_at != 0 {
        return Err(Errno::ESPIPE);
    }
    // SAFETY: the program's own offsets.
    let (writer, reader) = unsafe { (Cursor::new(to, to_at)?, Cursor::new(from, from_at)?) };
    let moved = splice_some(&reader, &writer, pipes, count, flags as c_int)?;
    // SAFETY: as above.
    unsafe {
        writer.tell()?;
        reader.tell()?;
    }
    Ok(moved)
}

fn splice_some(
    reader: &Cursor,
    writer: &Cursor,
    pipes: [bool; 2],
    count: usize,
    flags: c_int,
) -> Result<usize> {
    let (from, to) = (reader.fd as usize, writer.fd as usize);
    check(from, false)?;
    let appends = check(to, true)? & libc::O_APPEND != 0;
    let pipe = match pipes {
        [true, false] if appends => return Err(Errno::EINVAL),
        [true, false] => from,
        [false, true] if kind(&look(from)?) == libc::S_IFDIR => return Err(Errno::EINVAL),
        [false, true] => to,
        _ => return Err(Errno::EINVAL),
    };
    if reader.is_before() || writer.is_before() {
        return Err(Errno::EINVAL);
    }
    let nonblocking = flags & libc::SPLICE_F_NONBLOCK as c_int != 0;
    if nonblocking && !is_ready(pipe, pipe == to)? {
        return Err(Errno::EAGAIN);
    }
    let most = if pipe == from { SPLICED } else { room_of(pipe)? };
    transfer_once(reader, writer, count.min(most))
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

fn would_wait(to: usize) -> Result<bool> {
    Ok(status(to)? & libc::O_NONBLOCK == 0 && !is_ready(to, true)?)
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
