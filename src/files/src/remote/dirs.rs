//! Remote directories as getdents64(2) lists them.
//!
//! The position is the offset of the placeholder, as a directory's is its
//! description's: shared over dup, fork and exec, and moved by lseek. Its values
//! are the server's cookies, which mean nothing here. One message holds more
//! entries than a program asks for at a time; what is left of it is kept until
//! the program comes back, or begins anew.
//!
//! Not every server lists `.` and `..`: where the first message has neither they
//! are put before it, at positions that no server's cookie has.

use super::attrs::inode;
use super::file::{File, Kind, Open};
use super::names::Opening;
use super::place::Place;
use crate::process::View;
use alloc::boxed::Box;
use alloc::vec::Vec;
use privns_abi::{Errno, Result, path};
use privns_host::dirent::{self, Entry};
use privns_host::{Kernel, Slot};

/// Messages kept at a time.
const KEPT: usize = 16;

/// Positions behind the two entries that we put there ourselves.
const DOT: u64 = i64::MAX as u64 - 2;
const DOTS: u64 = i64::MAX as u64 - 1;

/// Which open directory a message is of: its server, fid and identity.
type Of = (u32, u32, u64);

/// What is left of the last messages read.
pub(super) struct Chunks([Slot<Chunk>; KEPT]);

/// The entries of one message.
pub(super) struct Chunk {
    /// The open file that it was read by.
    fid: Of,
    /// The position of its first record.
    begin: u64,
    records: Vec<u8>,
    /// Of the program: its position, and where the record there begins.
    at: (u64, usize),
    /// `.` and `..` are ours: the server's own, should they come later, are not
    /// listed again.
    dotless: bool,
    /// The directory ends behind it: the message had room for more.
    last: bool,
}

impl Chunks {
    pub(super) const fn new() -> Chunks {
        Chunks([const { Slot::new() }; KEPT])
    }

    fn slot(&self, fid: Of) -> &Slot<Chunk> {
        &self.0[fid.1 as usize % KEPT]
    }
}

impl Default for Chunks {
    fn default() -> Self {
        Chunks::new()
    }
}

impl Chunk {
    /// Where the record at a position begins; `None` when it is not here.
    fn find(&self, position: u64) -> Option<usize> {
        if self.at.0 == position {
            return Some(self.at.1);
        }
        if self.begin == position {
            return Some(0);
        }
        let mut at = 0;
        while let Some((_, next)) = dirent::entry(&self.records, at) {
            if dirent::offset(&self.records, at) == Some(position as i64) {
                return Some(next);
            }
            at = next;
        }
        None
    }

    /// As many whole records from `start` on as have room, and the position
    /// behind them.
    fn some(&self, start: usize, room: usize) -> Option<(&[u8], u64)> {
        let (mut end, mut position) = (start, None);
        while let Some((_, next)) = dirent::entry(&self.records, end) {
            if next - start > room {
                break;
            }
            position = dirent::offset(&self.records, end);
            end = next;
        }
        Some((self.records.get(start..end)?, position? as u64))
    }
}

impl View<'_> {
    /// getdents64(2) of a virtual descriptor: puts records into `room` and moves
    /// its offset behind them. 0: the end.
    ///
    /// # Errors
    /// EBADF, ENOTDIR; EINVAL when not one record has room, EFAULT when there is no
    /// memory for one; ENOENT for a directory that has been removed; the server's.
    pub fn remote_list(self, fd: i32, file: &File, room: &mut [u8]) -> Result<usize> {
        let position = Kernel.lseek(fd, 0, libc::SEEK_CUR)? as u64;
        let Some(chunk) = self.chunk(file, position)? else { return Ok(0) };
        let start = chunk.find(position).ok_or(Errno::EIO)?;
        let some = |room| chunk.some(start, room);
        let (records, next) = dirent::put(room, some)?;
        self.listed(file, position == 0, records);
        let given = records.len();
        Kernel.lseek(fd, next as i64, libc::SEEK_SET)?;
        self.keep_chunk(chunk, next, start + given);
        Ok(given)
    }

    fn keep_chunk(self, mut chunk: Box<Chunk>, position: u64, start: usize) {
        chunk.at = (position, start);
        self.process.remotes.chunks.slot(chunk.fid).put(chunk);
    }

    /// A message with an entry at this position; `None` at the end.
    fn chunk(self, file: &File, position: u64) -> Result<Option<Box<Chunk>>> {
        if file.kind() == Kind::Path {
            return Err(Errno::EBADF);
        }
        if file.kind() != Kind::Directory {
            return Err(Errno::ENOTDIR);
        }
        let open = file.open(self)?;
        let fid = (file.server(), open.opened.fid.number(), file.identity());
        let kept = self.process.remotes.chunks.slot(fid).take().filter(|chunk| chunk.fid == fid);
        let mut dotless = kept.as_ref().is_some_and(|chunk| chunk.dotless);
        if let Some(chunk) = kept.filter(|_| position != 0) {
            match chunk.find(position) {
                Some(start) if start < chunk.records.len() => return Ok(Some(chunk)),
                Some(_) if chunk.last => return Ok(None),
                _ => {}
            }
        }
        let cookie = if matches!(position, DOT | DOTS) { 0 } else { position };
        let mut records = Vec::new();
        let mut server_lists = false;
        let mut failed = Ok(());
        let mut cookie_after = cookie;
        let mut last = None;
        loop {
            let more = self.with(file, |open| {
                records.clear();
                last = end_of(open);
                open.conn.client.readdir(&open.opened, cookie_after, |entry| {
                    last = last.and_then(|room| room.checked_sub(ENTRY + entry.name.len()));
                    let dots = matches!(entry.name, b"." | b"..");
                    server_lists |= dots;
                    if dots && (dotless || cookie != position) {
                        return;
                    }
                    let ino = inode(entry.qid.path);
                    let entry_ = Entry { ino, kind: entry.kind, name: entry.name };
                    let pushed = entry_.push(entry.cookie as i64, &mut records);
                    if let Err(error) = pushed {
                        failed = Err(error);
                    }
                })
            })?;
            failed?;
            // A message of nothing but what is not listed.
            match more {
                Some(next) if records.is_empty() => cookie_after = next,
                _ => break,
            }
        }
        if cookie == 0 && !server_lists {
            dotless = true;
            records = dots(file, position, &records)?;
        }
        if records.is_empty() {
            return Ok(None);
        }
        let at = (position, 0);
        Ok(Some(Box::new(Chunk {
            fid,
            begin: position,
            records,
            at,
            dotless,
            last: last.is_some(),
        })))
    }

    /// A remote directory, opened to be listed.
    ///
    /// # Errors
    /// ENOTDIR; those of the walk.
    pub(crate) fn remote_dir(self, host: &[u8]) -> Result<File> {
        let place = Place::of(host).ok_or(Errno::ENOENT)?;
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let Opening { open, path, .. } = self.remote_open(&place, flags, 0, &mut [])?;
        Ok(File::new(place.id, open, path, flags))
    }

    /// Every entry of a remote directory that is open, for a listing of more
    /// than one.
    ///
    /// # Errors
    /// ENOTDIR, the server's, and what `add` says.
    pub(crate) fn remote_entries(
        self,
        file: &File,
        add: &mut dyn FnMut(Entry<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut position = 0;
        while let Some(chunk) = self.chunk(file, position)? {
            let start = chunk.find(position).ok_or(Errno::EIO)?;
            let mut at = start;
            while let Some((entry, next)) = dirent::entry(&chunk.records, at) {
                add(entry)?;
                position = dirent::offset(&chunk.records, at).unwrap_or(0) as u64;
                at = next;
            }
            let end = chunk.records.len();
            self.keep_chunk(chunk, position, end);
        }
        Ok(())
    }
}

/// Bytes of an entry of Rreaddir before its name.
const ENTRY: usize = 24;

/// What a message of a server of ours has room for beside one more entry of any
/// length: such a server goes on as long as there is room. Nothing is known of
/// others.
fn end_of(open: &Open) -> Option<usize> {
    let agreed = open.conn.client.agreed();
    let room = agreed.msize as usize - privns_ninep::IO_HEADER as usize;
    agreed.ours.then(|| room.saturating_sub(ENTRY + path::NAME_MAX))
}

/// What is listed behind `position`, one of those before the server's first
/// entry, with `.` and `..` before `records`.
fn dots(file: &File, position: u64, records: &[u8]) -> Result<Vec<u8>> {
    let mut whole = Vec::new();
    let ino = inode(file.identity());
    let entry = |name| Entry { ino, kind: libc::DT_DIR, name };
    if position == 0 {
        entry(b".").push(DOT as i64, &mut whole)?;
    }
    if position != DOTS {
        entry(b"..").push(DOTS as i64, &mut whole)?;
    }
    whole.try_reserve(records.len()).map_err(|_| Errno::ENOMEM)?;
    whole.extend_from_slice(records);
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(names: &[&[u8]]) -> Chunk {
        let mut records = Vec::new();
        for (i, name) in names.iter().enumerate() {
            let entry = Entry { ino: 1, kind: 0, name };
            // Cookies are in no order.
            entry.push((i as i64 + 1) * 7919 % 101, &mut records).unwrap();
        }
        Chunk { fid: (1, 1, 1), begin: 0, records, at: (0, 0), dotless: false, last: false }
    }

    #[test]
    fn records_go_on_behind_any_cookie() {
        let names: Vec<Vec<u8>> = (0..50).map(|n| std::format!("{n:03}").into_bytes()).collect();
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        for room in [24, 25, 60, 1 << 16] {
            let chunk = chunk(&names);
            let (mut position, mut got) = (0, Vec::new());
            while let Some(start) = chunk.find(position).filter(|&s| s < chunk.records.len()) {
                let (records, next) = chunk.some(start, room).unwrap();
                got.extend(dirent::entries(records).map(|e| e.name.to_vec()));
                position = next;
            }
            assert_eq!(got, names, "{room}");
        }
        assert!(chunk(&names).some(0, 23).is_none());
    }
}
