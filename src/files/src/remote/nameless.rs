//! Open files that lose their name on a server of others.
//!
//! Such a server finds most of what is asked of an open file by its name (diod
//! answers Tgetattr with ENOENT once that is gone), and a child or the next
//! program can only find it by walking to it. But what is open here alone and
//! has no name any more is nobody else's: from then on it is a file in memory
//! at the same numbers, and the kernel does the rest. That is how temporary
//! files and the shells' here-documents are made, which are empty by then.
//!
//! What another process may have open too, is locked, or has a second name
//! stays with the server. So does what another process removes: nobody tells.

use super::file::{File, Kind, Open};
use super::maps::COPIED_MAX;
use crate::process::{Process, View};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use privns_abi::Result;
use privns_host::{Kernel, Name, signals};
use privns_namespace::remote;
use privns_ninep::attr::Attr;

/// One open file, its slot, and where its offset is.
struct Loser {
    slot: u32,
    file: Arc<File>,
    at: u64,
}

/// The open files that a name is about to be taken from.
pub(super) struct Losers {
    all: Vec<Loser>,
    /// What they are read by, name or not.
    reader: Arc<File>,
    size: u64,
    mode: u32,
}

/// What the files in memory are called: so, and what their host names were.
const CALLED: &[u8] = b"privns-nameless";
/// Longest name of a file in memory (memfd_create(2)).
const NAME_MAX: usize = 249;

/// The host name that a file in memory had, by the text of a link to it in
/// `/proc`; `None` for any other file.
#[must_use]
pub fn former_name(text: &[u8]) -> Option<&[u8]> {
    let name = text.strip_prefix(b"/memfd:")?.strip_prefix(CALLED)?;
    name.strip_suffix(b" (deleted)").filter(|name| !name.is_empty())
}

impl Losers {
    /// An empty file in memory that is called after them.
    fn memory(&self) -> Result<i32> {
        let first = &self.all[0].file;
        let mut name = Name::from(CALLED)?;
        let (host, path) = (remote::name(first.server()), first.last_path());
        if CALLED.len() + host.len() + 1 + path.len() <= NAME_MAX {
            name.push(&host).and_then(|()| name.push(b"/")).and_then(|()| name.push(&path))?;
        }
        let name = name.as_cstr()?;
        // One that may be given any mode, where that is allowed.
        Kernel.memfd_program(name).or_else(|_| Kernel.memfd_create(name))
    }
}

impl View<'_> {
    /// What is open at a name that is about to go, and can be kept in memory.
    pub(super) fn losers(self, server: u32, path: &[u8]) -> Option<Losers> {
        let process = self.process;
        if process.guest().is_some() || process.remotes.maps.any() {
            return None;
        }
        let named = |file: &Arc<File>| {
            file.server() == server && !file.is_removed() && file.last_path() == path
        };
        let mut all: Vec<Loser> = Vec::new();
        for (_, slot) in process.fds.slots() {
            let known = all.iter().any(|loser| loser.slot == slot);
            let file = process.remotes.files.get(slot).filter(|file| !known && named(file));
            all.extend(file.map(|file| Loser { slot, file, at: 0 }));
        }
        if all.is_empty() || !all.iter().all(|loser| self.is_alone(&loser.file)) {
            return None;
        }
        let seen = signals::calmly(|| self.look_at(&mut all)).ok().flatten();
        seen.map(|(reader, attr)| Losers { all, reader, size: attr.size, mode: attr.mode })
    }

    /// Whether no other process can have this open file, and nothing but the
    /// file is to be kept.
    fn is_alone(self, file: &File) -> bool {
        let ours = |open: Arc<Open>| open.conn.is_dead() || open.conn.client.agreed().ours;
        file.kind() == Kind::Regular
            && !file.offset.shared.load(Ordering::Acquire)
            && !file.locked.load(Ordering::Relaxed)
            && !self.has_locks(file)
            && !file.known().is_none_or(ours)
    }

    /// Notes where they are; what they can be read by, and the file.
    fn look_at(self, all: &mut [Loser]) -> Result<Option<(Arc<File>, Attr)>> {
        let first = all[0].file.clone();
        self.settle(&first)?;
        let open = first.open(self)?;
        let attr = open.conn.client.getattr(&open.opened.fid)?;
        if attr.nlink > 1 || attr.size > COPIED_MAX {
            return Ok(None);
        }
        let slots: Vec<(i32, u32)> = self.process.fds.slots().collect();
        for loser in &mut *all {
            let fd = slots.iter().find(|(_, slot)| *slot == loser.slot).map(|(fd, _)| *fd);
            loser.at = self.position(fd.ok_or(privns_abi::Errno::EBADF)?, &loser.file)?;
        }
        let readable = all.iter().find(|loser| loser.file.may(false).is_ok());
        let reader = match readable {
            Some(loser) => loser.file.clone(),
            None => Arc::new(first.to_read(&open.conn)?),
        };
        Ok(Some((reader, attr)))
    }

    /// The name is gone: from now on they are files in memory. Where there is
    /// no room for that they stay what they are.
    pub(super) fn keep_in_memory(self, losers: Option<Losers>) {
        let Some(losers) = losers else { return };
        let Ok(memory) = losers.memory() else { return };
        let _ = self.fill(&losers.reader, memory, 0, losers.size, 0).and_then(|()| {
            let size = Kernel.extent(memory)?.size;
            if size < losers.size {
                Kernel.ftruncate(memory, losers.size)?;
            }
            losers.all.iter().try_for_each(|loser| self.process.exchange(loser, memory))
        });
        let _ = Kernel.fchmod(memory, losers.mode & 0o7777);
        let _ = Kernel.close(memory);
    }
}

impl Process {
    /// Puts a file in memory where a remote one was, at all its numbers.
    fn exchange(&self, loser: &Loser, memory: i32) -> Result<()> {
        let slots = self.fds.slots().filter(|(_, slot)| *slot == loser.slot);
        let fds: Vec<i32> = slots.map(|(fd, _)| fd).collect();
        let Some(&first) = fds.first() else { return Ok(()) };
        let flags = Kernel.status_flags(first)? | libc::O_CLOEXEC;
        let file = Process::reopened(memory, flags)?;
        let moved = Kernel.lseek(file, loser.at as i64, libc::SEEK_SET);
        for fd in moved.map(|_| fds)? {
            if Kernel.dup_onto(file, fd, !Kernel.is_inherited(fd).unwrap_or(false)).is_ok() {
                drop(self.leave(fd));
            }
        }
        Kernel.close(file)
    }
}
