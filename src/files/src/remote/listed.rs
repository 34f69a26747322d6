//! Attributes of what has just been listed. A program that asks for those of one
//! entry of a directory that it has listed will ask for the next ones too (`ls
//! -l`, `find -ls`, tar): they are fetched together, more each time.
//!
//! What is fetched ahead serves once, for a second at most, and not at all once
//! this process has changed anything on a server or made a child that may. Nor
//! does a listing from before such a change: another directory may have come to
//! its name.

use super::attrs::Meta;
use super::file::{File, Open};
use super::place::Place;
use crate::process::View;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use privns_abi::{Errno, Result, path};
use privns_host::{Host, Kernel, Slot, dirent};
use privns_ninep::client::Route;

/// Directories remembered at a time.
const KEPT: usize = 8;
/// Bytes of names remembered of one.
const NAMES_MAX: usize = 4 << 20;
/// How long a listing is the one that the program has just read, and how long
/// what was fetched ahead serves, milliseconds.
const JUST: u64 = 30_000;
const SERVES: u64 = 1000;
/// How many are fetched the first time, and at most.
const FIRST: usize = 16;
const MOST: usize = 256;

/// The directories that were listed last.
pub(super) struct Listed([Slot<Names>; KEPT]);

/// The entries of one.
struct Names {
    server: u32,
    dir: Vec<u8>,
    /// The open directory.
    open: Arc<Open>,
    /// Names in the order of the listing, each ended by NUL, and where each
    /// begins.
    text: Vec<u8>,
    starts: Vec<u32>,
    /// The numbers of the names in the order of the names: made when the
    /// program asks in another order than it has listed.
    sorted: Vec<u32>,
    /// The one after the last that was asked for.
    next: usize,
    window: usize,
    ahead: Ahead,
    listed: u64,
    /// Changes of ours when it was listed.
    changes: u64,
}

/// What has been fetched: the attributes of the names from `first` on.
#[derive(Default)]
struct Ahead {
    first: usize,
    metas: Vec<Option<Meta>>,
    changes: u64,
    fetched: u64,
}

impl Listed {
    pub(super) const fn new() -> Listed {
        Listed([const { Slot::new() }; KEPT])
    }

    fn slot(&self, server: u32, dir: &[u8]) -> &Slot<Names> {
        // FNV-1a (Fowler, Noll, Vo).
        let mix = |h: u32, &b: &u8| (h ^ u32::from(b)).wrapping_mul(0x0100_0193);
        &self.0[dir.iter().fold(0x811c_9dc5 ^ server, mix) as usize % KEPT]
    }

    /// Forgets the directories of servers that do not stay, and closes them.
    pub(super) fn leave(&self, stays: &dyn Fn(u32) -> bool) {
        for slot in &self.0 {
            if let Some(names) = slot.take().filter(|names| stays(names.server)) {
                drop(slot.put(names));
            }
        }
    }

    /// For the child of a fork. Nothing is dropped: that would be heard on its
    /// parent's connections.
    pub(super) fn forked(&self) {
        self.0.iter().filter_map(Slot::take).for_each(core::mem::forget);
    }
}

impl Default for Listed {
    fn default() -> Self {
        Listed::new()
    }
}

impl Names {
    fn is_of(&self, server: u32, dir: &[u8]) -> bool {
        self.server == server && self.dir == dir
    }

    fn name(&self, n: usize) -> &[u8] {
        let from = self.starts.get(n).map_or(self.text.len(), |&start| start as usize);
        let rest = self.text.get(from..).unwrap_or_default();
        rest.split(|&b| b == 0).next().unwrap_or_default()
    }

    fn add(&mut self, name: &[u8]) -> Option<()> {
        if self.text.len() + name.len() >= NAMES_MAX {
            return None;
        }
        self.text.try_reserve(name.len() + 1).ok()?;
        self.starts.try_reserve(1).ok()?;
        self.starts.push(self.text.len() as u32);
        self.text.extend_from_slice(name);
        self.text.push(0);
        self.sorted.clear();
        Some(())
    }

    /// The number of a name: most likely the next.
    fn find(&mut self, name: &[u8]) -> Option<usize> {
        let end = self.starts.len();
        if let Some(n) = (self.next..end.min(self.next + 8)).find(|&n| self.name(n) == name) {
            return Some(n);
        }
        if self.sorted.len() != end {
            let mut sorted: Vec<u32> = (0..end as u32).collect();
            sorted.sort_unstable_by(|&a, &b| self.name(a as usize).cmp(self.name(b as usize)));
            self.sorted = sorted;
        }
        let at = self.sorted.binary_search_by(|&n| self.name(n as usize).cmp(name)).ok()?;
        Some(self.sorted[at] as usize)
    }

    /// What was fetched of it, once.
    fn take(&mut self, n: usize, changes: u64, now: u64) -> Option<Meta> {
        let Ahead { first, metas, changes: then, fetched } = &mut self.ahead;
        if *then != changes || now.saturating_sub(*fetched) > SERVES {
            return None;
        }
        metas.get_mut(n.checked_sub(*first)?)?.take()
    }
}

impl View<'_> {
    /// The program has been given these records of a directory, from its
    /// beginning or further on.
    pub(super) fn listed(self, file: &File, from_start: bool, records: &[u8]) {
        let (Ok(dir), Some(open)) = (file.path(), file.known()) else { return };
        let server = file.server();
        let slot = self.process.remotes.listed.slot(server, &dir);
        let kept = slot.take().filter(|names| !from_start && names.is_of(server, &dir));
        let listed = Kernel.now_ms();
        let mut names = match kept {
            Some(names) => names,
            None if !from_start => return,
            None => Box::new(Names {
                server,
                dir,
                open,
                text: Vec::new(),
                starts: Vec::new(),
                sorted: Vec::new(),
                next: 0,
                window: FIRST / 4,
                ahead: Ahead::default(),
                listed,
                changes: self.process.remotes.all_changes(),
            }),
        };
        names.listed = listed;
        let entries = dirent::entries(records).filter(|e| !matches!(e.name, b"." | b".."));
        if entries.map(|entry| names.add(entry.name)).all(|added| added.is_some()) {
            drop(slot.put(names));
        }
    }

    /// The attributes of a place, when it is an entry of a directory that was
    /// just listed. `None`: it is to be asked for by itself.
    pub(super) fn listing_says(self, place: &Place<'_>) -> Result<Option<Meta>> {
        let whole = match place.dir {
            Some(_) if place.is_open() => return Ok(None),
            // A directory without a name has not been listed by one.
            _ => match place.from_root() {
                Err(Errno::ENOENT) => return Ok(None),
                whole => whole?,
            },
        };
        let name = path::file_name(&whole);
        let dir = &whole[..whole.len() - name.len()];
        let dir = dir.strip_suffix(b"/").unwrap_or(dir);
        let slot = self.process.remotes.listed.slot(place.id, dir);
        let now = Kernel.now_ms();
        let fresh = |names: &Names| {
            names.is_of(place.id, dir)
                && now.saturating_sub(names.listed) <= JUST
                && names.changes == self.process.remotes.all_changes()
                && !names.open.conn.is_dead()
        };
        let Some(mut names) = slot.take() else { return Ok(None) };
        if !fresh(&names) {
            drop(slot.put(names));
            return Ok(None);
        }
        let found = match names.find(name) {
            Some(n) => self.fetch_listed(&mut names, n, now),
            None => Ok(None),
        };
        drop(slot.put(names));
        found
    }

    fn fetch_listed(self, names: &mut Names, n: usize, now: u64) -> Result<Option<Meta>> {
        let changes = self.process.remotes.all_changes();
        let known = names.take(n, changes, now);
        names.next = n + 1;
        if known.is_some() {
            return Ok(known);
        }
        names.window = (names.window * 4).min(MOST);
        let end = names.starts.len().min(n + names.window);
        let wanted: Vec<&[u8]> = (n..end).map(|n| names.name(n)).collect();
        let mut metas = Vec::new();
        metas.try_reserve_exact(wanted.len()).map_err(|_| Errno::ENOMEM)?;
        metas.resize(wanted.len(), None);
        let (mut first, conn) = (Ok(()), &names.open.conn);
        let tell = |i: usize, attr: Result<privns_ninep::attr::Attr>| match attr {
            Ok(attr) => metas[i] = Some(Meta::new(conn, attr)),
            Err(error) if i == 0 => first = Err(error),
            Err(_) => {}
        };
        let client = &conn.client;
        // The open directory itself while it is sure to have its name still.
        if client.agreed().ours && now.saturating_sub(names.listed) <= SERVES {
            client.getattrs(&names.open.opened.fid, &wanted, tell)?;
        } else {
            let way: Vec<&[u8]> = path::components(&names.dir).collect();
            let route = Route::new(conn.root(), &way);
            client.visit(route, |dir| client.getattrs(dir, &wanted, tell))?;
        }
        names.ahead = Ahead { first: n, metas, changes, fetched: now };
        first?;
        Ok(names.take(n, changes, now))
    }
}
