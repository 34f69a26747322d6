//! Reading and writing open remote files, as the kernel does it.

use super::ends::AT_END;
use super::file::{File, Kind, Open};
use super::place::Place;
use crate::process::View;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use privns_abi::{Errno, Result};
use privns_host::signals::calmly;
use privns_host::{Host, Kernel, reach};
use privns_ninep::attr::{SetAttr, set};
use privns_ninep::client::Next;
use privns_ninep::client::window::ReadAhead;

/// What was read with the open. It serves while this process has written
/// nothing to the file and made no child since, and for a moment only: close
/// to open is what is promised, and this is less.
pub(super) struct Ahead {
    data: Vec<u8>,
    /// The file ended behind it, which nobody was told yet.
    end: bool,
    /// [`super::Remotes::changes`] when it was read.
    changes: u64,
    /// By [`Host::now_ms`].
    until: u64,
}

/// What reads ahead; good for as long as [`Ahead`].
pub(super) struct Reader {
    ahead: ReadAhead,
    changes: u64,
    until: u64,
}

impl Reader {
    /// Gives up what is under way: before it is dropped.
    pub(super) fn forget(&mut self, open: &Open) {
        self.ahead.forget(&open.conn.client);
    }
}

/// How long that moment is, milliseconds.
const MOMENT: u64 = 1000;
/// What is read with the open.
pub(super) const FIRST: usize = 8 << 10;
/// Where no file reaches.
const LIMIT: u64 = i64::MAX as u64;

/// How many bytes of a write the program's limit on the size of files lets be
/// written (setrlimit(2)).
///
/// # Errors
/// EFBIG for none; the program gets SIGXFSZ first.
fn within(limit: u64, at: u64, len: usize) -> Result<usize> {
    if len > 0 && at >= limit {
        Kernel.raise(libc::SIGXFSZ);
        return Err(Errno::EFBIG);
    }
    Ok(len.min(usize::try_from(limit.saturating_sub(at)).unwrap_or(len)))
}

/// What of a program's data is there: messages say how long they are before
/// the kernel looks.
///
/// # Errors
/// EFAULT when none is.
fn there(data: &[u8]) -> Result<&[u8]> {
    match reach::readable(data) {
        0 if !data.is_empty() => Err(Errno::EFAULT),
        n => Ok(&data[..n]),
    }
}

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
        if let Some(read) = self.near_pread(file, buf, at) {
            return read;
        }
        if self.process.remotes.maps.any() {
            self.flush_mapped(file);
        }
        let (served, ended) = self.read_ahead_of(file, buf, at)?;
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
        if let Some(read) = self.near_read(fd, file, buf) {
            return read;
        }
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
            if at >= AT_END {
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
        loop {
            let end = Kernel.lseek(fd, len, libc::SEEK_CUR)? as u64;
            let at = end - len as u64;
            if at < AT_END {
                return Ok(at);
            }
            Kernel.lseek(fd, -len, libc::SEEK_CUR)?;
            self.position(fd, file)?;
        }
    }

    /// pwrite(2). On a file that appends it writes at the end, as Linux does.
    ///
    /// # Errors
    /// EBADF, EFBIG, ENOSPC, ESTALE; the server's.
    pub fn pwrite(self, fd: i32, file: &File, data: &[u8], at: u64) -> Result<usize> {
        self.pwrite_as(fd, file, data, at, file.appends(fd))
    }

    /// The same with it said whether this once writes at the end (pwritev2(2),
    /// `RWF_APPEND` and `RWF_NOAPPEND`).
    ///
    /// # Errors
    /// As [`View::pwrite`].
    pub fn pwrite_as(
        self,
        fd: i32,
        file: &File,
        data: &[u8],
        at: u64,
        appends: bool,
    ) -> Result<usize> {
        file.may(true)?;
        if at > LIMIT {
            return Err(Errno::EINVAL);
        }
        if appends {
            // Before the end is moved away from where an append has left it.
            self.position(fd, file)?;
            return self.append(file, data);
        }
        self.leave_own_end(fd, file)?;
        self.put(file, data, at)
    }

    /// write(2).
    ///
    /// # Errors
    /// As [`View::pwrite`].
    pub fn write(self, fd: i32, file: &File, data: &[u8]) -> Result<usize> {
        self.write_as(fd, file, data, file.appends(fd))
    }

    /// The same as [`View::pwrite_as`] is to [`View::pwrite`].
    ///
    /// # Errors
    /// As [`View::pwrite`].
    pub fn write_as(self, fd: i32, file: &File, data: &[u8], appends: bool) -> Result<usize> {
        file.may(true)?;
        let shared = file.offset.shared.load(Ordering::Acquire);
        if appends {
            let written = self.append(file, data)?;
            let reads = readable(file).is_ok();
            if shared && reads {
                // Others may ask where the end is as soon as the mark is there.
                self.settle(file)?;
            }
            self.mark_end(fd, file, shared)?;
            // Whoever reads goes on from here, even if others move the end away.
            if reads {
                self.position(fd, file)?;
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
        if file.offset.at.load(Ordering::Acquire) >= AT_END {
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

    pub(super) fn put(self, file: &File, data: &[u8], at: u64) -> Result<usize> {
        if at.saturating_add(data.len() as u64) > LIMIT {
            return Err(Errno::EFBIG);
        }
        let data = there(&data[..within(Kernel.file_size_limit(), at, data.len())?])?;
        self.leave_end(file);
        if file.flags() & libc::O_APPEND != 0 {
            // The program has taken that flag off since; the server has it.
            self.settle(file)?;
            file.stop_appending(self)?;
        }
        if self.process.remotes.maps.any() {
            self.show_mapped(file, data, at);
        }
        let mut done = 0;
        let written = self.writing(file, data, |rest| {
            let from = at + done as u64;
            let n =
                self.with(file, |open| open.conn.client.write_behind(&open.opened, from, rest))?;
            done += n;
            Ok(n)
        });
        let waited = |open: Arc<Open>| !open.conn.is_ordered() && !open.conn.is_dead();
        match written {
            Err(Errno::EIO | Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG)
                if file.known().is_some_and(waited) =>
            {
                self.put_in_turn(file, data, at)
            }
            written => written,
        }
    }

    /// The same once more, where nothing is written behind: a server that is
    /// asked for one part after the other says how much there is room for.
    #[cold]
    fn put_in_turn(self, file: &File, data: &[u8], at: u64) -> Result<usize> {
        let mut done = 0;
        while done < data.len() {
            let (rest, from) = (&data[done..], at + done as u64);
            match self.with(file, |open| open.conn.client.write(&open.opened, from, rest)) {
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
        let data = match Kernel.file_size_limit() {
            u64::MAX => data,
            limit => &data[..within(limit, self.size(file)?, data.len())?],
        };
        let data = there(data)?;
        self.leave_end(file);
        self.writing(file, data, |rest| {
            calmly(|| {
                let open = file.open(self)?;
                // A server that was not told, or does nothing about it, writes
                // where it is told.
                let knows = file.flags() & libc::O_APPEND != 0 && open.conn.appends();
                let at = match self.size(file) {
                    _ if knows => 0,
                    // Somebody has moved a log away, and nobody tells its length any more.
                    Err(Errno::ESTALE) => file.last_end(),
                    size => size?,
                };
                if open.conn.is_ordered() {
                    return open.conn.client.write_behind(&open.opened, at, rest);
                }
                let written = open.conn.client.write(&open.opened, at, rest)?;
                file.appended.store(at.saturating_add(written as u64), Ordering::Relaxed);
                Ok(written)
            })
        })
    }

    /// Sends all of `data`. A server that may answer out of order is waited
    /// for, and any at the end of the process: whoever looks at the file next
    /// must see it.
    fn writing(
        self,
        file: &File,
        data: &[u8],
        mut send: impl FnMut(&[u8]) -> Result<usize>,
    ) -> Result<usize> {
        file.tell_lost()?;
        let sent = send_all(data, &mut send);
        let ending = self.process.remotes.ending.load(Ordering::Relaxed);
        let at_once = |open: Arc<Open>| ending || !open.conn.is_ordered();
        let waits = sent.is_ok() && file.known().is_some_and(at_once);
        let settled = if waits { self.settle(file) } else { Ok(()) };
        self.process.remotes.changed(file);
        settled.and(sent)
    }

    /// Waits for the answers to what was written.
    ///
    /// # Errors
    /// That of the first write that failed.
    pub(super) fn settle(self, file: &File) -> Result<()> {
        let settled = match file.known() {
            Some(open) if open.conn.is_dead() => {
                file.note_lost(&open);
                Ok(())
            }
            Some(open) if open.conn.client.is_behind(&open.opened.fid) => {
                calmly(|| open.conn.client.settle(&open.opened.fid))
            }
            _ => Ok(()),
        };
        settled.and(file.tell_lost())
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
            libc::SEEK_DATA => return self.seek_next(fd, file, Next::Data, offset),
            libc::SEEK_HOLE => return self.seek_next(fd, file, Next::Hole, offset),
            _ => return Err(Errno::EINVAL),
        };
        let to = (from as i64).checked_add(offset).ok_or(Errno::EOVERFLOW)?;
        let to = u64::try_from(to).map_err(|_| Errno::EINVAL)?;
        if whence == libc::SEEK_CUR && offset == 0 {
            return Ok(to);
        }
        if to >= AT_END {
            return Err(Errno::EINVAL);
        }
        self.move_to(fd, file, to)
    }

    /// Where a server does not tell, a file is one piece of data, and a hole behind
    /// it.
    fn seek_next(self, fd: i32, file: &File, next: Next, offset: i64) -> Result<u64> {
        let from = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
        if file.is_near() {
            self.near_settle(file);
            let whence = if next == Next::Data { libc::SEEK_DATA } else { libc::SEEK_HOLE };
            return Kernel.lseek(fd, offset, whence).map(|at| at as u64);
        }
        if self.process.remotes.maps.any() {
            self.flush_mapped(file);
        }
        let told = self.with(file, |open| open.conn.client.next(&open.opened.fid, next, from));
        let to = match told {
            Err(Errno::EOPNOTSUPP | Errno::ENODATA | Errno::EINVAL) => match self.size(file)? {
                size if from >= size => return Err(Errno::ENXIO),
                size if next == Next::Hole => size,
                _ => from,
            },
            told => told?,
        };
        self.move_to(fd, file, to)
    }

    fn move_to(self, fd: i32, file: &File, to: u64) -> Result<u64> {
        match file.offset.shared.load(Ordering::Acquire) {
            true => drop(Kernel.lseek(fd, to as i64, libc::SEEK_SET)?),
            false => file.offset.at.store(to, Ordering::Release),
        }
        Ok(to)
    }

    /// How long the file is.
    ///
    /// # Errors
    /// ESTALE; the server's.
    pub fn size(self, file: &File) -> Result<u64> {
        if let Some(size) = self.near_size(file) {
            return Ok(size);
        }
        self.with(file, |open| self.attr_of(file, open)).map(|attr| attr.size)
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

    /// Whether the open has made the file (`F_CREATED_QUERY`).
    ///
    /// # Errors
    /// EINVAL, as of a kernel that has no such command, where the server does not
    /// say.
    pub fn is_new(self, file: &File) -> Result<bool> {
        let asks = file.kind() == Kind::Regular && file.flags() & libc::O_CREAT != 0;
        if !asks || file.flags() & libc::O_EXCL != 0 {
            return Ok(asks);
        }
        let said = self.with(file, |open| open.conn.client.is_new(&open.opened.fid));
        said.map_err(|error| match error {
            Errno::EOPNOTSUPP | Errno::ENODATA => Errno::EINVAL,
            error => error,
        })
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
    pub fn closing(self, fd: i32) -> Result<()> {
        self.process.file(fd).map_or(Ok(()), |file| self.settle(&file))
    }

    /// ftruncate(2).
    ///
    /// # Errors
    /// EINVAL for a file that is not open for writing.
    pub fn ftruncate(self, fd: i32, file: &File, size: u64) -> Result<()> {
        if file.kind() == Kind::Path {
            return Err(Errno::EBADF);
        }
        if file.kind() == Kind::Directory || file.may(true).is_err() || size > LIMIT {
            return Err(Errno::EINVAL);
        }
        self.position(fd, file)?;
        self.leave_end(file);
        let change = SetAttr { valid: set::SIZE, size, ..SetAttr::default() };
        self.remote_setattr(&Place::below(file, b""), &change)?;
        if self.process.remotes.maps.any() {
            self.resize_mapped(file, size);
        }
        Ok(())
    }

    /// fallocate(2): lengthens the file.
    ///
    /// # Errors
    /// EOPNOTSUPP for all other modes, which no dialect can say.
    pub fn fallocate(self, fd: i32, file: &File, mode: i32, offset: i64, len: i64) -> Result<()> {
        if file.kind() == Kind::Path {
            return Err(Errno::EBADF);
        }
        if offset < 0 || len <= 0 {
            return Err(Errno::EINVAL);
        }
        if mode != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        file.may(true)?;
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)? as u64;
        if self.size(file)? >= end { Ok(()) } else { self.ftruncate(fd, file, end) }
    }

    /// fsync(2), fdatasync(2).
    ///
    /// # Errors
    /// The server's: what was written is not safe then.
    pub fn fsync(self, file: &File, data_only: bool) -> Result<()> {
        if file.kind() == Kind::Path {
            return Err(Errno::EBADF);
        }
        if self.process.remotes.maps.any() {
            self.flush_mapped(file);
        }
        self.settle(file)?;
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
    /// Serves what is there: bytes, and whether nothing can come behind them: the
    /// file is known to end there, or the buffer does. That nothing is there is
    /// said once: whoever asks again waits for more.
    fn read_ahead_of(self, file: &File, buf: &mut [u8], at: u64) -> Result<(usize, bool)> {
        let Some(mut ahead) = file.ahead.take() else { return Ok((0, false)) };
        let good = ahead.changes == self.process.remotes.changes(file);
        if !good || Kernel.now_ms() >= ahead.until {
            return Ok((0, false));
        }
        let data = usize::try_from(at).ok().and_then(|at| ahead.data.get(at..));
        let wanted = data.unwrap_or_default().len().min(buf.len());
        let n = reach::writable(&buf[..wanted]);
        buf[..n].copy_from_slice(&data.unwrap_or_default()[..n]);
        let ended = ahead.end && data.is_some_and(|data| data.len() == n);
        if n == 0 && ended {
            ahead.end = false;
        }
        drop(file.ahead.put(ahead));
        if n == 0 && wanted > 0 {
            return Err(Errno::EFAULT);
        }
        Ok((n, ended || n < wanted))
    }

    /// Notes what came with the open, which is of the moment of `changes`.
    pub(super) fn read_at_open(self, file: &File, mut data: Vec<u8>, filled: usize, changes: u64) {
        // A file without a length may have something else the next time.
        if file.length() == 0 || file.kind() != Kind::Regular {
            return;
        }
        data.truncate(filled);
        let end = filled as u64 == file.length();
        let until = Kernel.now_ms() + MOMENT;
        drop(file.ahead.put(Box::new(Ahead { data, end, changes, until })));
    }

    /// Reads from the server; more than was asked for, when the file is being
    /// read from one end to the other.
    fn beyond(self, file: &File, buf: &mut [u8], at: u64) -> Result<usize> {
        // Another thread may have it: then this one begins anew.
        let mut reader = file.reader.take().unwrap_or_else(|| {
            // Only what says how long it is reads the same twice.
            let ahead = ReadAhead::new(Some(file.length()));
            Box::new(Reader { ahead, changes: 0, until: 0 })
        });
        let (changes, now) = (self.process.remotes.changes(file), Kernel.now_ms());
        let read = self.with(file, |open| {
            if reader.changes != changes {
                reader.ahead.begin_again(&open.conn.client);
            } else if reader.until < now {
                reader.forget(open);
            }
            reader.ahead.read(&open.conn.client, &open.opened, at, buf)
        });
        (reader.changes, reader.until) = (changes, now + MOMENT);
        if let Some(mut other) = file.reader.put(reader)
            && let Some(open) = file.known()
        {
            other.forget(&open);
        }
        read
    }
}

fn send_all(data: &[u8], send: &mut dyn FnMut(&[u8]) -> Result<usize>) -> Result<usize> {
    let mut done = 0;
    while done < data.len() {
        match send(&data[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(Errno::EINTR) if done > 0 => break,
            // It may be that of an earlier write, and is told only once.
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn readable(file: &File) -> Result<()> {
    file.may(false)?;
    if file.kind() == Kind::Directory { Err(Errno::EISDIR) } else { Ok(()) }
}
