//! What one process has of its family's namespace.

use crate::counts::Counts;
use crate::dirs::{Dirs, Marks, Now};
use crate::fds::{Fds, Shown};
use crate::guest::Guest;
use crate::listing::Listings;
use crate::remote::file::File;
use crate::remote::{Remotes, nowhere};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use once_cell::race::OnceBox;
use privns_abi::{Errno, Result, path};
use privns_host::{Kernel, Name, Rcu, elsewhere, rcu::Guard};
use privns_namespace::family::Family;
use privns_namespace::index::Index;
use privns_namespace::resolve::{self, Jump, Last, Located, Start};
use privns_namespace::trail;

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

/// A process that has a namespace.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The process.
    pub process: &'a Process,
    /// Its family's live table.
    pub family: &'a Family,
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

impl<'a> View<'a> {
    /// The table of this moment.
    ///
    /// # Errors
    /// What reading the shared table says; EBADMSG when it makes no sense.
    pub fn table(self) -> Result<Guard<'a, Table>> {
        loop {
            let generation = self.family.generation();
            match self.process.table.read() {
                Some(table) if table.generation == generation => return Ok(table),
                _ => {}
            }
            let mut index = Vec::new();
            let generation = self.family.read_index(&mut index)?;
            let parsed = Index::parse(&index)?;
            if parsed.servers().next().is_some() {
                self.process.meet();
            }
            self.leave_unmounted(parsed);
            self.process.table.replace(Table { generation, index });
        }
    }

    #[inline(always)]
    pub(crate) fn now(self, epochs: &dyn Fn(u16) -> u32) -> Now<'_> {
        let raises = self.family.raises();
        Now { generation: self.family.generation(), second: Kernel.second(), raises, epochs }
    }

    pub(crate) fn epoch(self, slot: u16) -> u32 {
        self.family.epoch(slot.into()).load(Ordering::Acquire)
    }

    /// Tells the family that the name of this last component may have become
    /// something else. Called after the kernel has done it.
    pub fn renamed(self, name: &[u8]) {
        let name = privns_abi::path::components(name).next_back().unwrap_or_default();
        self.family.raise(trail::slot(name).into());
    }

    /// What a directory descriptor (or `AT_FDCWD`) shows.
    pub fn shown(self, dirfd: i32) -> Shown {
        let generation = self.family.generation();
        let process = self.process;
        if dirfd != libc::AT_FDCWD {
            if let Some(shown) = process.fds.get(dirfd, generation) {
                return shown;
            }
            let seq = process.fds.seq(dirfd);
            let name = match process.file(dirfd) {
                Some(file) => self.last_name(&file, seq),
                None => self.fd_name(dirfd, seq),
            };
            let shown = self.look(name, seq);
            if shown.1 {
                process.fds.set(dirfd, shown.0, generation);
            }
            return shown.0;
        }
        if let Some(shown) = process.cwd_shown(generation) {
            return shown;
        }
        let seq = process.cwd_seq();
        let name = match process.remote_cwd() {
            Some(dir) => self.last_name(&dir, seq),
            None => self.cwd_name(),
        };
        let (shown, _) = self.look(name, seq);
        let known = if shown.plain { generation + 1 } else { !(generation + 1) };
        process.cwd().plain.store(known, Ordering::Relaxed);
        process.cwd().read_only.store(shown.read_only, Ordering::Relaxed);
        shown
    }

    /// The canonical name that an open remote file had when it was last asked
    /// for: which mount it is below does not change.
    fn last_name(self, file: &File, seq: u32) -> Result<Name> {
        let host = file.host_name(&file.path()?)?;
        resolve::name_of(self.table()?.index(), host.as_bytes(), seq)
    }

    /// What a canonical name shows, and whether that is worth remembering. A
    /// directory that has no name any more (removed, or unmounted) goes on
    /// as the host's.
    fn look(self, name: Result<Name>, seq: u32) -> (Shown, bool) {
        let unnamed = Shown { seq, plain: true, read_only: false };
        let (Ok(name), Ok(table)) = (name, self.table()) else { return (unnamed, false) };
        let found = table.index().find(name.as_bytes());
        let Some(mount) = found.mount else {
            return (Shown { seq: 0, plain: !found.mounts_below, read_only: false }, true);
        };
        let member = mount.members().find(|m| m.seq() == seq).unwrap_or(mount.first());
        let top = mount.path() == name.as_bytes();
        let plain = !(found.mounts_below || top && mount.is_union());
        (Shown { seq: member.seq(), plain, read_only: member.is_read_only() }, true)
    }

    /// The canonical name of the working directory.
    ///
    /// # Errors
    /// ENOENT when it has been removed or unmounted; getcwd(2)'s.
    pub fn cwd_name(self) -> Result<Name> {
        let mut host = Name::new();
        self.host().getcwd(&mut host)?;
        let (table, seq) = (self.table()?, self.process.cwd_seq());
        // The directory lives on for whoever stands in it; its name does not.
        if self.is_unmounted(seq)? {
            return Err(Errno::ENOENT);
        }
        resolve::name_of(table.index(), host.as_bytes(), seq)
    }

    /// Whether a member that something was reached through is there no more.
    pub(crate) fn is_unmounted(self, seq: u32) -> Result<bool> {
        Ok(seq != 0 && self.table()?.index().member(seq).is_none())
    }

    /// The canonical name of the file behind a descriptor that member `seq`
    /// served.
    ///
    /// # Errors
    /// EBADF for no descriptor, ENOENT for a file without a name here.
    pub fn fd_name(self, fd: i32, seq: u32) -> Result<Name> {
        let mut host = Name::new();
        self.host()
            .fd_path(fd, &mut host)
            .map_err(|e| if e == Errno::ENOENT { Errno::EBADF } else { e })?;
        if host.as_bytes().first() != Some(&b'/') {
            return Err(Errno::ENOTDIR);
        }
        resolve::name_of(self.table()?.index(), host.as_bytes(), seq)
    }

    /// The canonical name of the root directory: empty but after chroot(2).
    ///
    /// # Errors
    /// ENOMEM.
    pub fn root(self) -> Result<Name> {
        if !self.process.is_rooted() {
            return Ok(Name::new());
        }
        self.process.root.name.read().map_or(Ok(Name::new()), |root| Name::from(root.as_bytes()))
    }

    /// What the process calls a canonical name: empty for its root.
    ///
    /// # Errors
    /// ENOENT for what lies outside its root.
    pub fn from_root(self, name: Name) -> Result<Name> {
        if !self.process.is_rooted() {
            return Ok(name);
        }
        let root = self.root()?;
        let bytes = name.as_bytes();
        if bytes != root.as_bytes() && !path::is_within(bytes, root.as_bytes()) {
            return Err(Errno::ENOENT);
        }
        Name::from(&bytes[root.as_bytes().len()..])
    }

    /// Resolves an absolute name whatever the process's root is.
    ///
    /// # Errors
    /// Those of [`resolve::walk`].
    pub fn walk_anywhere(self, name: &[u8], last: Last) -> Result<Located> {
        let table = self.table()?;
        let jump = Own { view: self, index: table.index() };
        resolve::walk(&self.host(), table.index(), &jump, Start::ROOT, name, last)
    }

    /// The canonical name of the directory behind a descriptor or `AT_FDCWD`,
    /// and the member that serves it.
    ///
    /// # Errors
    /// EBADF, ENOTDIR; ENOENT for a directory without a name.
    pub(crate) fn dir_name(self, dirfd: i32) -> Result<(Name, u32)> {
        if dirfd == libc::AT_FDCWD {
            return Ok((self.cwd_name()?, self.process.cwd_seq()));
        }
        let seq = self.process.fds.seq(dirfd);
        if !self.host().fstat(dirfd)?.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok((self.fd_name(dirfd, seq)?, seq))
    }

    /// What `..` leads to from a working directory that has been removed on its server, and the
    /// name from there: its parent is where it was, as the kernel has it.
    fn above_removed(self, dirfd: i32, name: &[u8]) -> Result<Option<(Name, u32, &[u8])>> {
        let up = name.strip_prefix(b"..").filter(|rest| matches!(rest, [] | [b'/', ..]));
        let (Some(rest), libc::AT_FDCWD) = (up, dirfd) else { return Ok(None) };
        let Some(cwd) = self.process.remote_cwd() else { return Ok(None) };
        let (path, seq) = (cwd.last_path(), self.process.cwd_seq());
        if path.is_empty() || self.is_unmounted(seq)? {
            return Ok(None);
        }
        let host = cwd.host_name(&path)?;
        let above = resolve::name_of(self.table()?.index(), path::parent(host.as_bytes()), seq)?;
        let rest = rest.iter().position(|&b| b != b'/').map_or(&b"."[..], |at| &rest[at..]);
        Ok(Some((above, seq, rest)))
    }

    /// Resolves a name the exact way.
    ///
    /// # Errors
    /// Those of [`resolve::walk`], EBADF and ENOTDIR for `dirfd`.
    pub fn walk(self, dirfd: i32, name: &[u8], last: Last) -> Result<Located> {
        let table = self.table()?;
        let (index, jump) = (table.index(), Own { view: self, index: table.index() });
        let root = self.root()?;
        let root = root.as_bytes();
        if name.first() == Some(&b'/') {
            return resolve::walk_from(&self.host(), index, &jump, root, Start::ROOT, name, last);
        }
        let (from, seq, name) = match self.dir_name(dirfd) {
            Ok((from, seq)) => (from, seq, name),
            Err(error) => self.above_removed(dirfd, name)?.ok_or(error)?,
        };
        let start = Start { ns: from.as_bytes(), seq };
        resolve::walk_from(&self.host(), index, &jump, root, start, name, last)
    }
}

/// Knows this process's own `/proc` links.
struct Own<'a> {
    view: View<'a>,
    index: Index<'a>,
}

impl Jump for Own<'_> {
    fn jump(&self, link: &[u8], text: &[u8]) -> Result<Name> {
        let mut digits = [0; 10];
        let pid = Kernel.getpid().unsigned_abs();
        let mut own = Name::from(b"/proc/")?;
        own.push(privns_host::kernel::decimal(pid, &mut digits))?;
        own.push(b"/")?;
        if let Some(rest) = link.strip_prefix(own.as_bytes()) {
            match rest.rsplit(|&b| b == b'/').next().unwrap_or_default() {
                b"cwd" => return self.view.cwd_name(),
                b"root" => return self.view.root(),
                number => {
                    let number = core::str::from_utf8(number).ok().and_then(|n| n.parse().ok());
                    if let Some(fd) = number.filter(|_| rest.windows(3).any(|w| w == b"fd/")) {
                        return self.view.fd_name(fd, self.view.process.fds.seq(fd));
                    }
                }
            }
        }
        let meant = nowhere::meant(text);
        resolve::name_of(self.index, meant.as_ref().map_or(text, Name::as_bytes), 0)
    }

    fn is_astray(&self, text: &[u8]) -> bool {
        nowhere::meant(text).is_some()
    }
}
