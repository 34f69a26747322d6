//! What one process has of its family's namespace.

mod view;

pub use view::View;

use crate::counts::Counts;
use crate::dirs::{Dirs, Marks};
use crate::fds::{Fds, Shown};
use crate::guest::Guest;
use crate::listing::Listings;
use crate::remote::Remotes;
use crate::remote::file::File;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use once_cell::race::OnceBox;
use privns_abi::Result;
use privns_host::{Name, Rcu, elsewhere};
use privns_namespace::family::Family;
use privns_namespace::index::Index;

/// One process. A static in the library; everything in it can be used from any
/// thread and from signal handlers.
///
/// In this order in memory: what every process touches lies in the first page,
/// before the large tables. A page that a forked child writes costs it a fault.
#[derive(Default)]
#[repr(C, align(64))]
pub struct Process {
    family: OnceBox<Family>,
    table: Rcu<Table>,
    cwd: Cwd,
    /// Changes of directory so far, those of guests too.
    serials: AtomicU64,
    root: Root,
    /// The member that served our program's file.
    exe: AtomicU32,
    /// Resolve every name exactly, remember no directory (`--names exact`).
    pub exact: AtomicBool,
    /// The host has refused openat2(2) to us: walk instead.
    pub no_openat2: AtomicBool,
    pub(crate) marks: Marks,
    met: AtomicBool,
    /// What became of its calls.
    pub counts: Counts,
    /// What is known of each descriptor; its small part comes first.
    pub fds: Fds,
    pub(crate) listings: Listings,
    pub(crate) dirs: Dirs,
    /// What it has of remote files.
    pub remotes: Remotes,
}

/// The family's table as this process last saw it.
pub struct Table {
    generation: u64,
    index: Vec<u8>,
}

/// The working directory. Its place on the host is the kernel's to know; we
/// know only which member it was reached through.
#[derive(Default)]
pub(crate) struct Cwd {
    seq: AtomicU32,
    read_only: AtomicBool,
    /// Another after each change of directory: names remembered relative to the
    /// old one are not found any more.
    serial: AtomicU64,
    /// Generation + 1 for which the directory is known to be plain, or its
    /// complement for one known not to be; 0: not looked at.
    plain: AtomicU64,
    /// It is a remote one, and which.
    remote: AtomicBool,
    dir: Rcu<Arc<File>>,
}

/// The root directory, once chroot(2) has made it another than the
/// namespace's: a canonical name.
#[derive(Default)]
struct Root {
    moved: AtomicBool,
    name: Rcu<Name>,
}

impl Cwd {
    pub(crate) const fn new() -> Cwd {
        Cwd {
            seq: AtomicU32::new(0),
            read_only: AtomicBool::new(false),
            serial: AtomicU64::new(0),
            plain: AtomicU64::new(0),
            remote: AtomicBool::new(false),
            dir: Rcu::new(),
        }
    }

    /// Becomes what another is.
    pub(crate) fn copy(&self, from: &Cwd) {
        self.seq.store(from.seq.load(Ordering::Relaxed), Ordering::Relaxed);
        self.read_only.store(from.read_only.load(Ordering::Relaxed), Ordering::Relaxed);
        self.serial.store(from.serial.load(Ordering::Relaxed), Ordering::Relaxed);
        self.plain.store(from.plain.load(Ordering::Relaxed), Ordering::Relaxed);
        match from.remote() {
            Some(dir) => {
                self.dir.replace(dir);
                self.remote.store(true, Ordering::Release);
            }
            None => self.leave_remote(),
        }
    }

    #[inline]
    fn remote(&self) -> Option<Arc<File>> {
        if !self.remote.load(Ordering::Acquire) {
            return None;
        }
        self.dir.read().map(|dir| dir.clone())
    }

    /// It is one of the host's: a remote one is held no longer.
    pub(crate) fn leave_remote(&self) {
        if self.remote.swap(false, Ordering::Relaxed) {
            self.dir.clear();
        }
    }

    /// In the child of a fork: what holds it is the parent's.
    fn forked(&self) {
        self.dir.forked();
        if let Some(dir) = self.dir.read() {
            dir.forked();
        }
    }
}

impl Table {
    /// The mount table.
    #[must_use]
    pub fn index(&self) -> Index<'_> {
        // Parsed, and so checked, when it was taken over.
        Index::split(&self.index).unwrap_or(Index::EMPTY)
    }
}

impl Process {
    /// A process without a namespace.
    #[must_use]
    pub const fn new() -> Process {
        Process {
            family: OnceBox::new(),
            table: Rcu::new(),
            fds: Fds::new(),
            remotes: Remotes::new(),
            counts: Counts::new(),
            marks: Marks::new(),
            met: AtomicBool::new(false),
            dirs: Dirs::new(),
            cwd: Cwd::new(),
            serials: AtomicU64::new(0),
            exe: AtomicU32::new(0),
            listings: Listings::new(),
            root: Root { moved: AtomicBool::new(false), name: Rcu::new() },
            exact: AtomicBool::new(false),
            no_openat2: AtomicBool::new(false),
        }
    }

    /// Joins a family, once for the life of the process.
    pub fn join(&self, family: Family) {
        let _ = self.family.set(Box::new(family));
    }

    /// The namespace; `None` for a program that runs without one.
    #[inline]
    pub fn view(&self) -> Option<View<'_>> {
        self.family.get().map(|family| View { process: self, family })
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

    /// For the child of a fork: what other threads were in the middle of will
    /// never end here.
    pub fn forked(&self) {
        let guest = self.fds.guests.guest();
        if guest.is_some() {
            elsewhere::forked(|from, to| self.moved(from, to));
        }
        self.fds.guests.forked();
        if let Some(guest) = guest {
            self.adopt(guest);
        }
        self.table.forked();
        self.root.name.forked();
        self.counts.clear();
        self.dirs.clear(&self.marks);
        if self.met() {
            self.remotes.forked();
            self.cwd.forked();
        }
        // Now that nothing is heard any more on the parent's connections.
        if let Some(guest) = guest {
            guest.cwd.forked();
            self.cwd.copy(&guest.cwd);
        }
        if self.met() {
            self.claim_handed();
        }
    }

    /// The calling thread is about to make a child that shares our memory.
    pub fn invite(&self) {
        if let Some(view) = self.view() {
            view.name_cwd();
        }
        self.share_files();
        self.fds.guests.invite(self.cwd());
    }

    /// That child has run its program or is gone; `free` gets the memory that
    /// it has left ([`Guest::keep`]).
    pub fn dismiss(&self, free: &mut dyn FnMut(usize, usize)) {
        self.fds.guests.dismiss(free, &mut |slot| drop(self.orphaned(slot)));
        // It may have seen a new table, and was not to act on that.
        let view = self.view().filter(|_| self.met());
        if let Some((view, table)) = view.and_then(|view| Some((view, view.table().ok()?))) {
            view.leave_unmounted(table.index());
        }
    }

    /// The child that shares its parent's memory, when we are in one.
    #[inline]
    pub fn guest(&self) -> Option<&Guest> {
        self.fds.guests.guest()
    }

    #[inline]
    fn cwd(&self) -> &Cwd {
        self.guest().map_or(&self.cwd, |guest| &guest.cwd)
    }

    /// Makes a directory of the namespace the root (chroot(2)).
    ///
    /// # Errors
    /// ENOMEM.
    pub fn set_root(&self, name: &[u8]) -> Result<()> {
        let name = Name::from(name)?;
        let moved = !name.as_bytes().is_empty();
        self.root.name.replace(name);
        self.root.moved.store(moved, Ordering::Release);
        // What was remembered of names with `..` led by the old root.
        let serial = self.serials.fetch_add(1, Ordering::Relaxed) + 1;
        self.cwd().serial.store(serial, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the root is another than the namespace's.
    #[inline]
    pub fn is_rooted(&self) -> bool {
        self.root.moved.load(Ordering::Acquire)
    }

    /// The number of the member that our program's file was reached through.
    #[must_use]
    pub fn exe_seq(&self) -> u32 {
        self.exe.load(Ordering::Relaxed)
    }

    /// Notes it, when the program begins.
    pub fn set_exe(&self, seq: u32) {
        self.exe.store(seq, Ordering::Relaxed);
    }

    /// The number of the member that the working directory was reached
    /// through.
    #[must_use]
    pub fn cwd_seq(&self) -> u32 {
        self.cwd().seq.load(Ordering::Relaxed)
    }

    /// The working directory has changed, and is now what `shown` says; `None`
    /// where nobody knows.
    pub fn set_cwd(&self, seq: u32, read_only: bool) {
        let cwd = self.cwd();
        cwd.seq.store(seq, Ordering::Relaxed);
        cwd.read_only.store(read_only, Ordering::Relaxed);
        cwd.plain.store(0, Ordering::Relaxed);
        let serial = self.serials.fetch_add(1, Ordering::Relaxed) + 1;
        cwd.serial.store(serial, Ordering::Relaxed);
    }

    /// The working directory, when it is a remote one.
    #[inline]
    pub fn remote_cwd(&self) -> Option<Arc<File>> {
        self.cwd().remote()
    }

    /// The working directory is a remote one from now on; which member it was
    /// reached through, [`set_cwd`](Self::set_cwd) is told before.
    pub fn set_remote_cwd(&self, dir: Arc<File>) {
        let cwd = self.cwd();
        cwd.dir.replace(dir);
        cwd.remote.store(true, Ordering::Release);
    }

    /// The working directory is one of the host's.
    pub fn left_remote(&self) {
        self.cwd().leave_remote();
    }

    /// What the working directory shows, where that is known under this
    /// generation of the table.
    #[inline]
    pub(crate) fn cwd_shown(&self, generation: u64) -> Option<Shown> {
        let cwd = self.cwd();
        let known = cwd.plain.load(Ordering::Relaxed);
        let plain = known == generation + 1;
        (plain || known == !(generation + 1)).then(|| Shown {
            seq: cwd.seq.load(Ordering::Relaxed),
            plain,
            read_only: cwd.read_only.load(Ordering::Relaxed),
        })
    }

    pub(crate) fn cwd_serial(&self) -> u64 {
        // 0 is for absolute names.
        self.cwd().serial.load(Ordering::Relaxed) + 1
    }
}
