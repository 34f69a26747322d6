//! A process and its family together: names as they are now.

use super::{Process, Table};
use crate::dirs::Now;
use crate::fds::Shown;
use crate::remote::file::File;
use crate::remote::nowhere;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use privns_abi::{Errno, Result, path};
use privns_host::{Kernel, Name, rcu::Guard};
use privns_namespace::family::Family;
use privns_namespace::index::Index;
use privns_namespace::resolve::{self, Jump, Last, Located, Start};
use privns_namespace::trail;

/// A process that has a namespace.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The process.
    pub process: &'a Process,
    /// Its family's live table.
    pub family: &'a Family,
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
