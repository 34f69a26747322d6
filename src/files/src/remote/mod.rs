//! A kernel for remote files: what the system calls that take a name or a
//! descriptor do, for files that a 9P server has.
//!
//! - [`place`]: where a remote file is.
//! - [`conn`]: the connections, one for each server and process.
//! - [`router`]: what namespace work asks of either kernel.
//! - [`dirs`]: directories as they are listed.
//! - `listed`: attributes of what has just been listed.
//! - [`names`]: the calls that take a name.
//! - `rename`: that of them which has two.
//! - [`attrs`]: attributes as those calls tell them.
//! - `ends`: offsets at the end of a file.
//! - [`file`](mod@file): an open file.
//! - [`files`]: open files, by their descriptors.
//! - [`handed`]: open files on their way into children and next programs.
//! - `held`: directories that names begin in, whatever they are called by now.
//! - [`io`]: reading and writing them.
//! - [`locks`]: locking them.
//! - [`maps`]: mapping them.
//! - [`copies`]: running them.
//! - `meet`: pipes and sockets, through which members reach each other on this machine.
//! - [`sent`]: open files in messages between members.
//! - `shelf`: where copies of programs and libraries lie, and how they are found.
//! - `near`: trees that this process can reach by itself.
//! - [`kept`]: descriptors that are ours and not the program's.
//! - `room`: their numbers, where the program wants them.
//!
//! A remote file has a host name that no host can have
//! ([`privns_namespace::remote`]), so that all that stands above this (the
//! mount table, resolving, unions) works on such names as on any other. What
//! stands here begins where a host name meets the kernel.
//!
//! Walks do not go through symbolic links: a name with one on the way is ELOOP,
//! as from openat2(2) with RESOLVE_NO_SYMLINKS, and those above resolve it.

pub mod attrs;
pub mod conn;
pub mod copies;
pub mod dirs;
mod ends;
pub mod file;
pub mod files;
pub mod handed;
mod held;
pub mod io;
pub mod kept;
mod listed;
pub mod locks;
pub mod maps;
mod meet;
pub mod nameless;
pub mod names;
mod near;
pub mod nowhere;
pub mod place;
mod rename;
mod room;
pub mod router;
pub mod sent;
#[cfg(test)]
#[path = "served_tests.rs"]
mod served;
pub mod settings;
mod shelf;

use crate::process::View;
use alloc::boxed::Box;
use alloc::vec::Vec;
use conn::{Conn, Servers, Settings};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use files::Files;
use once_cell::race::OnceBox;
use place::{Place, Way};
use privns_abi::{Errno, Result, path};
use privns_host::{Kernel, Name, Slot, signals};
use privns_namespace::index::Index;

/// What a process has of remote files.
pub struct Remotes {
    /// The mask of umask(2) plus one; 0: not looked at yet.
    mask: AtomicU32,
    /// The process ends: nobody is left to wait for what it writes from now on.
    ending: AtomicBool,
    servers: Servers,
    /// The open files.
    pub files: Files,
    /// Those of them that are mapped and shared.
    pub maps: maps::Maps,
    locks: locks::Locks,
    chunks: dirs::Chunks,
    listed: listed::Listed,
    /// What the child of the fork under way is to have.
    handed: Slot<Vec<handed::Handed>>,
    /// Writes of this process, counted by file, several to a count.
    changes: [AtomicU64; COUNTS],
    /// Offsets that are at the end of a file.
    ends: ends::Ends,
    /// Children made, any of which may write.
    children: AtomicU64,
    /// Changes of names and attributes.
    names: AtomicU64,
    /// The family's directory on the host, once that has been asked for.
    home: OnceBox<Name>,
    /// Where copies lie, once that has been asked for.
    shelf: OnceBox<shelf::Shelf>,
}

/// Places for what is kept by file.
const COUNTS: usize = 64;

impl Remotes {
    /// None yet.
    #[must_use]
    pub const fn new() -> Remotes {
        Remotes {
            mask: AtomicU32::new(0),
            ending: AtomicBool::new(false),
            servers: Servers::new(),
            files: Files::new(),
            maps: maps::Maps::new(),
            locks: locks::Locks::new(),
            chunks: dirs::Chunks::new(),
            listed: listed::Listed::new(),
            handed: Slot::new(),
            changes: [const { AtomicU64::new(0) }; COUNTS],
            ends: ends::Ends::new(),
            children: AtomicU64::new(0),
            names: AtomicU64::new(0),
            home: OnceBox::new(),
            shelf: OnceBox::new(),
        }
    }

    /// For the child of a fork.
    #[cold]
    pub(crate) fn forked(&self) {
        privns_host::signals::forked();
        self.servers.forked();
        self.files.forked();
        self.locks.forked();
        self.listed.forked();
    }

    /// The connections are about to end, with the process or by exec.
    #[cold]
    pub fn drain(&self) {
        let _calm = privns_host::signals::calm();
        self.servers.drain();
    }

    /// The process has become another user (credentials(7)): its servers know it
    /// by its connections.
    #[cold]
    pub fn another_user(&self) {
        let _calm = privns_host::signals::calm();
        self.listed.leave(&|_| false);
        self.servers.another_user();
    }

    /// A child was made: any file may differ from what was read ahead of it.
    #[inline]
    pub fn change(&self) {
        self.children.fetch_add(1, Ordering::AcqRel);
    }

    /// Where what is kept by file has its place: several files to one.
    fn place_of(file: &file::File) -> usize {
        let mixed = file.identity().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize % COUNTS
    }

    fn count_of(&self, file: &file::File) -> &AtomicU64 {
        &self.changes[Remotes::place_of(file)]
    }

    /// The file was written: it differs from what was read ahead of it. Said when
    /// that is done, and not before: what other threads ask for until then may
    /// be of before, and would be taken for what is there now.
    fn changed(&self, file: &file::File) {
        self.count_of(file).fetch_add(1, Ordering::AcqRel);
    }

    /// A name or an attribute has changed.
    fn note(&self) {
        self.names.fetch_add(1, Ordering::AcqRel);
    }

    /// Another number when the file may have changed since. What is kept is
    /// good as long as this is what it was before the server was asked.
    fn changes(&self, file: &file::File) -> u64 {
        let written = self.count_of(file).load(Ordering::Acquire);
        written.wrapping_add(self.children.load(Ordering::Acquire))
    }

    /// Another number when anything may have changed since: names, attributes
    /// or contents.
    fn all_changes(&self) -> u64 {
        let counts = self.changes.iter().chain([&self.children, &self.names]);
        counts.fold(0, |sum, count| sum.wrapping_add(count.load(Ordering::Acquire)))
    }

    /// The process has set its file mode creation mask. A child that shares
    /// our memory has one of its own.
    pub fn set_mask(&self, mask: u32) {
        self.mask.store((mask & 0o777) + 1, Ordering::Relaxed);
    }
}

impl Default for Remotes {
    fn default() -> Self {
        Remotes::new()
    }
}

impl<'a> View<'a> {
    /// Another table is in force, of which some servers may be gone: what we
    /// keep for their mounts goes too. Open files stay, and the working
    /// directory.
    pub(crate) fn leave_unmounted(self, index: Index<'_>) {
        // A child that shares our memory has descriptors of its own: it would
        // close but its copy of a connection.
        if !self.process.met() || self.process.guest().is_some() {
            return;
        }
        let stood_in = self.process.remote_cwd().map(|dir| dir.server());
        let mounted = |id| index.server(id).is_some_and(|server| server.is_mounted());
        let stays = |id| stood_in == Some(id) || mounted(id);
        let _calm = privns_host::signals::calm();
        self.process.remotes.listed.leave(&stays);
        self.process.remotes.servers.leave(&stays);
    }

    /// The connection to a server.
    ///
    /// # Errors
    /// ENODEV for a number that the table has not; EIO, ETIMEDOUT and EACCES
    /// when the server cannot be reached.
    pub fn conn(self, server: u32) -> Result<Conn> {
        let servers = &self.process.remotes.servers;
        if let Some(conn) = servers.living(server) {
            return Ok(conn);
        }
        let guest = self.process.guest();
        if let Some(conn) = guest.and_then(|guest| guest.dialled(server)) {
            return Ok(conn);
        }
        let table = self.table()?;
        let settings = Settings::of(table.index(), server).ok_or(Errno::ENODEV)?;
        let stood_in = self.process.remote_cwd().filter(|dir| dir.server() == server);
        let path = stood_in.as_ref().and_then(|dir| dir.path().ok()).unwrap_or_default();
        let names: Vec<&[u8]> = path::components(&path).collect();
        let (conn, found) = servers.dial(&settings, guest, &names, || self.family.tally(server))?;
        if let (Some(dir), Some(found)) = (stood_in, found) {
            self.take_hold(&dir, &conn, found);
        }
        Ok(conn)
    }

    /// Does something about a place. A connection that turns out to be dead is
    /// made again, once: what is done must be what can be done twice.
    fn on<R>(self, place: &Place<'_>, act: impl Fn(&Way<'_>) -> Result<R>) -> Result<R> {
        self.going(place, |place| {
            undisturbed(|| {
                if let Some(done) = self.holding(place, &act) {
                    return done;
                }
                for again in [true, false] {
                    let way = Way::new(self, place)?;
                    match act(&way) {
                        Err(Errno::EIO) if again && way.conn().is_dead() => {}
                        done => return done,
                    }
                }
                Err(Errno::EIO)
            })
        })
    }

    /// The same for what may be done once only: a connection is looked at
    /// before it is used.
    fn once<R>(self, place: &Place<'_>, act: impl Fn(&Way<'_>) -> Result<R>) -> Result<R> {
        let done = self.going(place, |place| {
            undisturbed(|| {
                if let Some(done) = self.holding(place, &act) {
                    return done;
                }
                let mut way = Way::new(self, place)?;
                if way.conn().client.is_gone() {
                    way = Way::new(self, place)?;
                }
                act(&way)
            })
        });
        self.process.remotes.note();
        done
    }

    /// The family's directory on the host, in which its skeleton is.
    ///
    /// # Errors
    /// ENOENT for a family that has had no use for one so far.
    fn home(self) -> Result<&'a Name> {
        let known = &self.process.remotes.home;
        if let Some(home) = known.get() {
            return Ok(home);
        }
        let skeleton = self.family.read_table()?.skeleton;
        if skeleton.is_empty() {
            return Err(Errno::ENOENT);
        }
        let home = Name::from(path::parent(&skeleton))?;
        Ok(known.get_or_init(|| Box::new(home)))
    }

    /// The file mode creation mask.
    fn mask(self) -> u32 {
        let remotes = &self.process.remotes;
        let known = remotes.mask.load(Ordering::Relaxed);
        if known != 0 && self.process.guest().is_none() {
            return known - 1;
        }
        let mask = Kernel.umask().unwrap_or_else(|_| {
            let mask = Kernel.set_umask(0o077);
            Kernel.set_umask(mask);
            mask
        });
        if self.process.guest().is_none() {
            remotes.set_mask(mask);
        }
        mask
    }
}

/// No handler runs in the middle: one that asks the same server would wait for
/// the thread that it has interrupted, which may be reading for all.
fn undisturbed<R>(act: impl FnMut() -> Result<R>) -> Result<R> {
    let mut act = act;
    if signals::is_calm() { act() } else { signals::calmly(act) }
}
