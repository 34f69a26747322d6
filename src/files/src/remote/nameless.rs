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
//! stays with the server. So does what another process removes or replaces:
//! nobody tells. It is read and written on, as long as it is open here; its
//! length is what can be read of it, and what only its name leads to (another
//! mode, another length) is ESTALE, lest it be done to whoever has the name now.
//!
//! What this process itself renames while it is open (a temporary file that is
//! moved into place) such a server looks for at the old name: it is gone to by
//! the new one, past that very file.

use super::file::{File, Kind, Open};
use super::maps::COPIED_MAX;
use super::place::{Place, Way};
use crate::process::{Process, View};
use crate::wire::Wire;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use privns_abi::{Errno, Result, path};
use privns_host::{Kernel, Name, signals};
use privns_namespace::remote;
use privns_ninep::attr::Attr;
use privns_ninep::client::{By, Route};

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

/// The attributes of what a way leads to; ESTALE where that is another than an open file.
fn attr_of_same(file: &File, client: &Wire, route: Route<'_>) -> Result<Attr> {
    let attr = client.getattr_at(route)?;
    if attr.qid.path == file.identity() { Ok(attr) } else { Err(Errno::ESTALE) }
}

/// The attributes of an open file by the name that it has now.
fn attr_by_name(file: &File, open: &Open) -> Result<Attr> {
    let path = file.path()?;
    let names: Vec<&[u8]> = path::components(&path).collect();
    let by = Some(By { names: names.len(), identity: file.identity() });
    attr_of_same(file, &open.conn.client, Route { from: open.conn.root(), names: &names, by })
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
    /// The attributes of an open file. A server of others tells those of its
    /// name, which another file may have by now: then they are what was told
    /// when it was opened, with the length that it has.
    ///
    /// # Errors
    /// The server's; ESTALE where the length cannot be found either.
    pub(super) fn attr_of(self, file: &File, open: &Open) -> Result<Attr> {
        let attr = self.attr_now(file, open)?;
        // Whoever is told that it has changed reads it as it is.
        if file.has_changed(&attr) {
            self.process.remotes.changed(file);
        }
        Ok(attr)
    }

    fn attr_now(self, file: &File, open: &Open) -> Result<Attr> {
        let client = &open.conn.client;
        match client.getattr(&open.opened.fid) {
            Err(Errno::ENOENT) if !client.agreed().ours => {}
            Ok(attr) if !client.agreed().ours && attr.qid.path != file.identity() => {}
            told => return told,
        }
        if let Ok(attr) = attr_by_name(file, open) {
            return Ok(attr);
        }
        let reads = file.kind() == Kind::Regular && file.may(false).is_ok();
        let known = open.opened.attr.filter(|_| reads).ok_or(Errno::ESTALE)?;
        let size =
            end_of(known.size, |at| client.read(&open.opened, at, &mut [0]).map(|read| read > 0))?;
        Ok(Attr { size, blocks: size.div_ceil(512), ..known })
    }

    /// Does something to a file: to an open one by the name that it has now, where a server of
    /// others does not find it by the one that it was opened by. `go` is [`View::on`] or
    /// [`View::once`].
    ///
    /// # Errors
    /// Those of `act`; ESTALE when it has lost its name.
    pub(super) fn on_file<R>(
        self,
        place: &Place<'_>,
        go: impl Fn(&Place<'_>, &dyn Fn(&Way<'_>) -> Result<R>) -> Result<R>,
        act: impl Fn(&Way<'_>) -> Result<R>,
    ) -> Result<R> {
        let done = go(place, &|way| {
            self.is_still(place, way)?;
            act(way)
        });
        let (Err(Errno::ESTALE), Some(file)) = (&done, place.opened()) else { return done };
        // One of ours knows what is open, whatever it is called.
        if file.known().is_none_or(|open| open.conn.client.agreed().ours) {
            return done;
        }
        let path = file.path().map_err(|_| Errno::ESTALE)?;
        let identity = Some(file.identity());
        let by_name = Place { base: &path, identity, ..Place::from_top(place.id, b"") };
        let still = |way: &Way<'_>| {
            attr_of_same(file, way.client(), way.route())?;
            act(way)
        };
        match go(&by_name, &still) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Err(Errno::ESTALE),
            done => done,
        }
    }

    /// Whether what is done to an open file by its server is done to that file:
    /// before it is asked.
    ///
    /// # Errors
    /// ESTALE when it has lost its name, and the server finds it by that.
    fn is_still(self, place: &Place<'_>, way: &Way<'_>) -> Result<()> {
        let others = !way.client().agreed().ours;
        let Some(file) = place.opened().filter(|_| others) else { return Ok(()) };
        match attr_of_same(file, way.client(), way.route()) {
            Err(Errno::ENOENT) => Err(Errno::ESTALE),
            told => told.map(drop),
        }
    }

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
            loser.at = self.position(fd.ok_or(Errno::EBADF)?, &loser.file)?;
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

/// Where a file ends of which only single bytes can be asked for, and that was
/// once known to end at `known`.
fn end_of(known: u64, has: impl Fn(u64) -> Result<bool>) -> Result<u64> {
    // All below `low` is there, and nothing from `high` on.
    let (mut low, mut high) = (0, known.saturating_sub(1));
    if known == 0 || has(known - 1)? {
        (low, high) = (known, known);
        let mut step = 1;
        while has(high)? {
            low = high + 1;
            high = low.checked_add(step).ok_or(Errno::EOVERFLOW)?;
            step = step.saturating_mul(2);
        }
    }
    while low < high {
        let middle = low + (high - low) / 2;
        (low, high) = if has(middle)? { (middle + 1, high) } else { (low, middle) };
    }
    Ok(low)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_file_is_found_by_its_bytes() {
        for end in [0, 1, 2, 7, 4096, 70_001, u64::from(u32::MAX)] {
            for known in [0, 1, 2, 6, 7, 8, 5000, 1 << 40] {
                let asked = core::cell::Cell::new(0);
                let has = |at| {
                    asked.set(asked.get() + 1);
                    Ok(at < end)
                };
                assert_eq!((end_of(known, has), asked.get() < 80), (Ok(end), true));
            }
        }
        assert_eq!(end_of(5, |_| Err(Errno::EIO)), Err(Errno::EIO));
    }
}
