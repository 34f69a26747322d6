//! A kernel for remote files: what the system calls that take a name or a
//! descriptor do, for files that a 9P server has.
//!
//! - [`place`]: where a remote file is.
//! - [`conn`]: the connections, one for each server and process.
//! - [`names`]: the calls that take a name.
//! - [`attrs`]: attributes as those calls tell them.
//! - [`file`]: an open file.
//! - [`files`]: open files, by their descriptors.
//! - [`io`]: reading and writing them.
//! - [`kept`]: descriptors that are ours and not the program's.
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
pub mod file;
pub mod files;
pub mod io;
pub mod kept;
pub mod names;
pub mod place;

use crate::process::View;
use conn::{Conn, Servers, Settings};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use files::Files;
use place::{Place, Way};
use privns_abi::{Errno, Result};
use privns_host::Kernel;

/// What a process has of remote files.
#[derive(Default)]
pub struct Remotes {
    met: AtomicBool,
    /// The mask of umask(2) plus one; 0: not looked at yet.
    mask: AtomicU32,
    servers: Servers,
    /// The open files.
    pub files: Files,
    /// What this process has done that files may differ after.
    changes: AtomicU64,
}

impl Remotes {
    /// None yet.
    #[must_use]
    pub const fn new() -> Remotes {
        Remotes {
            met: AtomicBool::new(false),
            mask: AtomicU32::new(0),
            servers: Servers::new(),
            files: Files::new(),
            changes: AtomicU64::new(0),
        }
    }

    /// Whether the process has ever seen a table with a server in it: before
    /// that no name and no descriptor is remote.
    #[inline(always)]
    pub fn met(&self) -> bool {
        self.met.load(Ordering::Relaxed)
    }

    /// There is a server in the table, or a remote file is handed to us.
    #[cold]
    pub fn meet(&self) {
        self.met.store(true, Ordering::Relaxed);
    }

    /// For the child of a fork.
    pub(crate) fn forked(&self) {
        if self.met() {
            privns_host::signals::forked();
            self.servers.forked();
            self.files.forked();
        }
    }

    /// Files may differ from what was read ahead of them: something was
    /// written, or a child was made that may write.
    #[inline]
    pub fn change(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The process has set its file mode creation mask. A child that shares
    /// our memory has one of its own.
    pub fn set_mask(&self, mask: u32) {
        self.mask.store((mask & 0o777) + 1, Ordering::Relaxed);
    }
}

impl View<'_> {
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
        let table = self.table()?;
        let settings = Settings::of(table.index(), server).ok_or(Errno::ENODEV)?;
        servers.dial(&settings)
    }

    /// Does something about a place. A connection that turns out to be dead is
    /// made again, once: what is done must be what can be done twice.
    fn on<R>(self, place: &Place<'_>, act: impl Fn(&Way<'_>) -> Result<R>) -> Result<R> {
        for again in [true, false] {
            let way = Way::new(self, place)?;
            match act(&way) {
                Err(Errno::EIO) if again && way.conn().is_dead() => {}
                done => return done,
            }
        }
        Err(Errno::EIO)
    }

    /// The same for what may be done once only: a connection is looked at
    /// before it is used.
    fn once<R>(self, place: &Place<'_>, act: impl Fn(&Way<'_>) -> Result<R>) -> Result<R> {
        let mut way = Way::new(self, place)?;
        if way.conn().client.is_gone() {
            way = Way::new(self, place)?;
        }
        act(&way)
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
