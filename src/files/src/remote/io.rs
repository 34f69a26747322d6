//! Reading and writing open remote files, as the kernel does it.

use super::file::{File, Kind, Open};
use super::place::Place;
use crate::process::View;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use privns_abi::{Errno, Result};
use privns_host::signals::calmly;
use privns_host::{Host, Kernel};
use privns_ninep::attr::{SetAttr, set};

/// What was read beyond what was asked for. It serves while this process has
/// written nothing and made no child since, and for a moment only: close to
/// open is what is promised, and this is less.
pub(super) struct Ahead {
    start: u64,
    data: Vec<u8>,
    /// The file ended behind it, which nobody was told yet.
    end: bool,
    /// [`super::Remotes::changes`] when it was read.
    changes: u64,
    /// By [`Host::now_ms`].
    until: u64,
}

/// How long that moment is, milliseconds.
const MOMENT: u64 = 1000;
/// What a sequential reader is read ahead at most, bytes; requests of that
/// size are not.
const AHEAD_MAX: usize = 256 << 10;
/// What is read with the open.
pub(super) const FIRST: usize = 8 << 10;
/// An offset that stands for the end of the file, wherever that is.
const AT_END: u64 = 1 << 62;
/// Where no file reaches.
const LIMIT: u64 = i64::MAX as u64;

impl View<'_> {
    /// Does something with an open file. A connection that turns out to be
    /// dead is made again, once: what is done must be what can be done twice.
    pub(super) fn with<R>(self, file: &File, mut act: impl FnMut(&Open) -> Result<R>) -> Result<R> {
        calmly(|| {
            for again in [true, false] {
                let open = file.open(self)?;
                match act(&open) {
                    Err(Errno::EIO) if again && open.conn.is_dead() => {}
                    done => return done,
                }
            }
            Err(Errno::EIO)
        })
    }

    /// pread(2).
    ///
    /// # Errors
    /// EBADF, EISDIR, ESTALE; the server's.
    pub fn pread(self, file: &File, buf: &mut [u8], at: u64) -> Result<usize> {
        readable(file)?;
        if at > LIMIT {
            return Err(Errno::EINVAL);
        }
        let (served, ended) = self.read_ahead_of(file, buf, at);
        if served == buf.len() || ended {
            return Ok(served);
        }
        match self.beyond(file, &mut buf[served..], at + served as u64) {
            Err(_) if served > 0 => Ok(served),
            done => done.map(|n| served + n),
        }
    }

    /// read(2).
    ///
    /// # Errors
    /// As [`View::pread`].
    pub fn read(self, fd: i32, file: &File, buf: &mut [u8]) -> Result<usize> {
        readable(file)?;
        if file.offset.shared.load(Ordering::Acquire) {
            let at = self.take(fd, file, buf.len())?;
            let read = self.pread(file, buf, at);
            let unread = buf.len() - *read.as_ref().unwrap_or(&0);
            if unread > 0 {
                Kernel.lseek(fd, -(unread as i64), libc::SEEK_CUR)?;
            }
            return read;
        }
        loop {
            let at = file.offset.at.load(Ordering::Acquire);
            if at == AT_END {
                self.seek(fd, file, 0, libc::SEEK_CUR)?;
                continue;
            }
            let read = self.pread(file, buf, at)?;
            // Another thread has read this in the meantime: the next, then.
            if file.offset.moved(at, at + read as u64) {
                return Ok(read);
            }
        }
    }

    /// Takes `len` bytes from where a shared offset is: where they begin.
    fn take(self, fd: i32, file: &File, len: usize) -> Result<u64> {
        let len = i64::try_from(len).map_err(|_| Errno::EINVAL)?;
        let end = Kernel.lseek(fd, len, libc::SEEK_CUR)? as u64;
        let at = end - len as u64;
        if at < AT_END {
            return Ok(at);
        }
        let size = self.size(file)?;
        Kernel.lseek(fd, size as i64 + len, libc::SEEK_SET)?;
        Ok(size)
    }

    /// pwrite(2). On a file that appends it writes at the end, as Linux does.
    ///
    /// # Errors
    /// EBADF, EFBIG, ENOSPC, ESTALE; the server's.
    pub fn pwrite(self, fd: i32, file: &File, data: &[u8], at: u64) -> Result<usize> {
        file.may(true)?;
        if at > LIMIT {
            return Err(Errno::EINVAL);
        }
        if file.appends(fd) {
            return self.append(file, data);
        }
        self.put(file, data, at)
    }

    /// write(2).
    ///
    /// # Errors
    /// As [`View::pwrite`].
    pub fn write(self, fd: i32, file: &File, data: &[u8]) -> Result<usize> {
        file.may(true)?;
        let shared = file.offset.shared.load(Ordering::Acquire);
        if file.appends(fd) {
            let written = self.append(file, data)?;
            match shared {
                true => drop(Kernel.lseek(fd, AT_END as i64, libc::SEEK_SET)?),
                false => file.offset.at.store(AT_END, Ordering::Release),
            }
            return Ok(written);
        }
        let len = data.len() as u64;
        if shared {
            let at = self.take(fd, file, data.len())?;
            let written = self.put(file, data, at);
            let unwritten = len - *written.as_ref().unwrap_or(&0) as u64;
            if unwritten > 0 {
                Kernel.lseek(fd, -(unwritten as i64), libc::SEEK_CUR)?;
            }
            return written;
        }
        if file.offset.at.load(Ordering::Acquire) == AT_END {
            self.seek(fd, file, 0, libc::SEEK_CUR)?;
        }
        let at = file.offset.at.fetch_add(len, Ordering::AcqRel);
        let written = self.put(file, data, at);
        let done = *written.as_ref().unwrap_or(&0) as u64;
        if done < len {
            // Where another thread has gone on behind it, its data stays.
            file.offset.moved(at + len, at + done);
        }
        written
    }

    fn put(self, file: &File, data: &[u8], at: u64) -> Result<usize> {
        if at.saturating_add(data.len() as u64) > LIMIT {
            return Err(Errno::EFBIG);
        }
        self.changed();
        let mut done = 0;
        while done < data.len() {
            let (rest, from) = (&data[done..], at + done as u64);
            let wrote = self.with(file, |open| open.conn.client.write(&open.opened, from, rest));
            match wrote {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Writes at the end. What has been sent may not be sent again.
    fn append(self, file: &File, data: &[u8]) -> Result<usize> {
        self.changed();
        let mut done = 0;
        while done < data.len() {
            let wrote = calmly(|| {
                let open = file.open(self)?;
                // A server that knows no such flag writes where it is told.
                let at = if open.conn.appends() { 0 } else { self.size(file)? };
                open.conn.client.write(&open.opened, at, &data[done..])
            });
            match wrote {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// What was read ahead of anything is worth nothing any more.
    pub(super) fn changed(self) {
        self.process.remotes.change();
    }

    /// lseek(2).
    ///
    /// # Errors
    /// EINVAL, ENXIO, EOVERFLOW; ESPIPE never.
    pub fn seek(self, fd: i32, file: &File, offset: i64, whence: i32) -> Result<u64> {
        if file.kind() == Kind::Path {
            return Err(Errno::EBADF);
        }
        if file.kind() == Kind::Directory {
            return Kernel.lseek(fd, offset, whence).map(|at| at as u64);
        }
        let from = match whence {
            libc::SEEK_SET => 0,
            libc::SEEK_CUR => self.position(fd, file)?,
            libc::SEEK_END => self.size(file)?,
            // One piece of data, and a hole behind it.
            libc::SEEK_DATA | libc::SEEK_HOLE => {
                let size = self.size(file)?;
                let at = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
                if at >= size {
                    return Err(Errno::ENXIO);
                }
                let to = if whence == libc::SEEK_DATA { at } else { size };
                return self.move_to(fd, file, to);
            }
            _ => return Err(Errno::EINVAL),
        };
        let to = (from as i64).checked_add(offset).ok_or(Errno::EOVERFLOW)?;
        let to = u64::try_from(to).map_err(|_| Errno::EINVAL)?;
        if whence == libc::SEEK_CUR && offset == 0 {
            return Ok(to);
        }
        self.move_to(fd, file, to)
    }

    fn move_to(self, fd: i32, file: &File, to: u64) -> Result<u64> {
        match file.offset.shared.load(Ordering::Acquire) {
            true => drop(Kernel.lseek(fd, to as i64, libc::SEEK_SET)?),
            false => file.offset.at.store(to, Ordering::Release),
        }
        Ok(to)
    }

    /// Where the file's offset is.
    fn position(self, fd: i32, file: &File) -> Result<u64> {
        let at = match file.offset.shared.load(Ordering::Acquire) {
            true => Kernel.lseek(fd, 0, libc::SEEK_CUR)? as u64,
            false => file.offset.at.load(Ordering::Acquire),
        };
        if at < AT_END {
            return Ok(at);
        }
        let size = self.size(file)?;
        self.move_to(fd, file, size)
    }

    /// How long the file is.
    ///
    /// # Errors
    /// ESTALE; the server's.
    pub fn size(self, file: &File) -> Result<u64> {
        self.with(file, |open| open.conn.client.getattr(&open.opened.fid)).map(|attr| attr.size)
    }

    /// Access mode and status flags, as F_GETFL tells them.
    ///
    /// # Errors
    /// EBADF.
    pub fn status(self, fd: i32, file: &File) -> Result<i32> {
        const NAMED: i32 = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        match file.kind() {
            Kind::Path => Ok(file.flags() & NAMED),
            _ => Ok(Kernel.status_flags(fd)? | file.flags() & (NAMED & !libc::O_PATH)),
        }
    }

    /// Bytes from the file's offset to its end (FIONREAD).
    ///
    /// # Errors
    /// Those of [`View::size`].
    pub fn unread(self, fd: i32, file: &File) -> Result<u64> {
        let at = self.position(fd, file)?;
        Ok(self.size(file)?.saturating_sub(at))
    }

    /// A descriptor of a remote file is about to be closed.
    ///
    /// # Errors
    /// What became of what was written to it.
    pub fn closing(self, _fd: i32) -> Result<()> {
        Ok(())
    }

    /// ftruncate(2).
    ///
    /// # Errors
    /// EINVAL for a file that is not open for writing.
    pub fn ftruncate(self, file: &File, size: u64) -> Result<()> {
        if file.kind() == Kind::Path {
            return Err(Errno::EBADF);
        }
        if file.kind() == Kind::Directory || file.may(true).is_err() || size > LIMIT {
            return Err(Errno::EINVAL);
        }
        self.changed();
        let change = SetAttr { valid: set::SIZE, size, ..SetAttr::default() };
        self.remote_setattr(&Place::below(file, b""), &change)
    }

    /// fallocate(2): lengthens the file.
    ///
    /// # Errors
    /// EOPNOTSUPP for all other modes, which no dialect can say.
    pub fn fallocate(self, file: &File, mode: i32, offset: i64, len: i64) -> Result<()> {
        if offset < 0 || len <= 0 {
            return Err(Errno::EINVAL);
        }
        file.may(true)?;
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)? as u64;
        match mode {
            0 if file.kind() == Kind::Directory => Err(Errno::EBADF),
            0 if self.size(file)? >= end => Ok(()),
            0 => self.ftruncate(file, end),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    /// fsync(2), fdatasync(2).
    ///
    /// # Errors
    /// The server's: what was written is not safe then.
    pub fn fsync(self, file: &File, data_only: bool) -> Result<()> {
        if file.kind() == Kind::Path {
            return Err(Errno::EBADF);
        }
        let synced = self.with(file, |open| open.conn.client.fsync(&open.opened.fid, data_only));
        match synced {
            // A server that cannot say so has nothing to keep back.
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => Ok(()),
            // Open for reading, or a directory of a server that syncs none.
            Err(Errno::EBADF | Errno::EISDIR) if file.may(true).is_err() => Ok(()),
            done => done,
        }
    }
}

/// What was read ahead.
impl View<'_> {
    /// Whether what was read ahead is as good as what the server would say.
    fn holds(self, ahead: &Ahead) -> bool {
        ahead.changes == self.process.remotes.changes() && Kernel.now_ms() < ahead.until
    }

    /// Serves what is there: bytes, and whether the file is known to end
    /// behind them. That nothing is there is said once: whoever asks again
    /// waits for more.
    fn read_ahead_of(self, file: &File, buf: &mut [u8], at: u64) -> (usize, bool) {
        let Some(mut ahead) = file.ahead.take() else { return (0, false) };
        if !self.holds(&ahead) {
            return (0, false);
        }
        let len = ahead.data.len() as u64;
        let skip = at.checked_sub(ahead.start).filter(|&skip| skip <= len);
        let data = skip.map_or(&[][..], |skip| &ahead.data[skip as usize..]);
        let n = data.len().min(buf.len());
        buf[..n].copy_from_slice(&data[..n]);
        let ended = ahead.end && skip.is_some() && n == data.len();
        if n > 0 {
            file.next.store(at + n as u64, Ordering::Relaxed);
        } else if ended {
            ahead.end = false;
        }
        drop(file.ahead.put(ahead));
        (n, ended)
    }

    /// Notes what came with the open.
    pub(super) fn read_at_open(self, file: &File, mut data: Vec<u8>, filled: usize) {
        let size = file.known().and_then(|open| open.opened.attr).map_or(0, |attr| attr.size);
        // A file without a length may have something else the next time.
        if size == 0 || file.kind() != Kind::Regular {
            return;
        }
        data.truncate(filled);
        let end = filled as u64 == size;
        self.keep(file, 0, data, end);
    }

    fn keep(self, file: &File, start: u64, data: Vec<u8>, end: bool) {
        let changes = self.process.remotes.changes();
        let until = Kernel.now_ms() + MOMENT;
        drop(file.ahead.put(Box::new(Ahead { start, data, end, changes, until })));
    }

    /// Reads from the server; more than was asked for, when the file is being
    /// read from one end to the other.
    fn beyond(self, file: &File, buf: &mut [u8], at: u64) -> Result<usize> {
        let sequential = at > 0 && file.next.load(Ordering::Relaxed) == at;
        let want = (buf.len() * 4).clamp(32 << 10, AHEAD_MAX);
        if !sequential || buf.len() * 2 > AHEAD_MAX || !self.has_length(file) {
            let n = self.fetch(file, buf, at)?;
            file.next.store(at + n as u64, Ordering::Relaxed);
            return Ok(n);
        }
        let mut data = Vec::new();
        if data.try_reserve_exact(want).is_err() {
            return self.fetch(file, buf, at);
        }
        data.resize(want, 0);
        let filled = self.fetch(file, &mut data, at)?;
        let n = filled.min(buf.len());
        buf[..n].copy_from_slice(&data[..n]);
        file.next.store(at + n as u64, Ordering::Relaxed);
        if filled > n {
            data.truncate(filled);
            self.keep(file, at, data, filled < want);
        }
        Ok(n)
    }

    /// Only what says how long it is reads the same twice.
    fn has_length(self, file: &File) -> bool {
        let attr = file.known().and_then(|open| open.opened.attr);
        attr.is_some_and(|attr| attr.size > 0)
    }

    /// Fills `buf` as far as the file goes.
    fn fetch(self, file: &File, buf: &mut [u8], at: u64) -> Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            let (rest, from) = (&mut buf[done..], at + done as u64);
            let read = self.with(file, |open| {
                let asked = rest.len().min(open.opened.iounit as usize);
                let n = open.conn.client.read(&open.opened, from, &mut rest[..asked])?;
                Ok((n, n < asked))
            });
            match read {
                Ok((n, short)) => {
                    done += n;
                    if short {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

fn readable(file: &File) -> Result<()> {
    file.may(false)?;
    if file.kind() == Kind::Directory { Err(Errno::EISDIR) } else { Ok(()) }
}

impl super::file::Offset {
    /// Moves it from one place to another, unless somebody has moved it.
    fn moved(&self, from: u64, to: u64) -> bool {
        let (done, failed) = (Ordering::AcqRel, Ordering::Relaxed);
        self.at.compare_exchange(from, to, done, failed).is_ok()
    }
}
