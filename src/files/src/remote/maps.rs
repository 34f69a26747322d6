//! Remote files in memory (mmap(2)).
//!
//! A private mapping is one of a file in memory that was filled with what the
//! program maps, no more. A shared one must be the same memory in every
//! process of the family: it is a file of the family's in /dev/shm, one for each
//! remote file, that all of them map. Whoever finds it unused fills it; what
//! differs from what was last known is written back by each process that has
//! it mapped for writing, at msync, munmap, close, fork, exec and exit.
//!
//! Two locks on that file, both of the kernel's, so that nobody holds them who
//! is dead: flock(2), shared while it is mapped and exclusive while it is
//! filled; and a record lock while it is lengthened.

use super::file::{File, Kind};
use crate::process::{Process, View};
use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use privns_abi::{Errno, Result};
use privns_host::fd::Owner;
use privns_host::{Kernel, Name, Slot, elsewhere};

/// Bytes that are copied at a time, and compared when they are written back.
const PIECE: usize = 256 << 10;
const PAGE: usize = 4096;
/// Bytes that are copied for one mapping at most.
pub(super) const COPIED_MAX: u64 = 1 << 30;
/// Shared mappings that a process may have.
const MOST: usize = 256;

/// What the kernel is to map in place of a remote file.
pub struct Mappable {
    /// Closed by whoever has mapped it, unless `Maps::add` has it.
    pub fd: i32,
    /// Where the mapping begins in it.
    pub offset: u64,
}

/// A shared mapping.
pub struct Mapping {
    at: usize,
    len: usize,
    /// Where it begins in the file.
    offset: u64,
    file: Arc<File>,
    /// The family's file for it, and with it the lock that says it is used.
    memory: i32,
    /// What was last known to be the server's.
    known: Vec<u8>,
    /// A child has the mapping too, and the lock is its as well: what it leaves
    /// is removed by the next that uses the memory.
    forked: bool,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        super::kept::KEPT.remove(self.memory);
        if !self.forked {
            // The kernel's mapping keeps the description, and with it the lock.
            let _ = Kernel.flock(self.memory, libc::LOCK_UN);
        }
        let _ = Kernel.close(self.memory);
    }
}

/// The shared mappings of a process.
pub struct Maps {
    used: AtomicU32,
    places: [Slot<Mapping>; MOST],
}

impl Maps {
    /// None.
    #[must_use]
    pub const fn new() -> Maps {
        Maps { used: AtomicU32::new(0), places: [const { Slot::new() }; MOST] }
    }

    /// Whether there is any: asked before all that follows.
    #[inline]
    #[must_use]
    pub fn any(&self) -> bool {
        self.used.load(Ordering::Relaxed) > 0
    }

    fn put(&self, mapping: Box<Mapping>) -> Result<()> {
        let mut mapping = mapping;
        for place in &self.places {
            match place.put(mapping) {
                None => return Ok(()),
                Some(other) => mapping = other,
            }
        }
        self.used.fetch_sub(1, Ordering::Relaxed);
        Err(Errno::ENOMEM)
    }

    /// What stood at one number stands at another; whether that was one of these.
    pub(super) fn moved(&self, from: i32, to: i32) -> bool {
        let mut moved = false;
        self.each(|mapping| {
            if mapping.memory == from {
                (mapping.memory, moved) = (to, true);
            }
            true
        });
        moved
    }

    /// Takes each out in turn, and puts back those that `keep` says to.
    fn each(&self, mut keep: impl FnMut(&mut Mapping) -> bool) {
        if !self.any() {
            return;
        }
        for place in &self.places {
            let Some(mut mapping) = place.take() else { continue };
            if keep(&mut mapping) {
                let _ = place.put(mapping).map(|other| self.put(other));
            } else {
                self.used.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

impl Default for Maps {
    fn default() -> Self {
        Maps::new()
    }
}

impl View<'_> {
    /// What is to be mapped in place of a file.
    ///
    /// # Errors
    /// EACCES, EBADF, ENODEV as mmap(2); ENODEV too for a shared mapping where
    /// there is no /dev/shm for it.
    pub fn mappable(
        self,
        file: &File,
        shared: bool,
        write: bool,
        offset: u64,
        len: usize,
    ) -> Result<Mappable> {
        if !offset.is_multiple_of(PAGE as u64) {
            return Err(Errno::EINVAL);
        }
        if file.kind() == Kind::Path {
            return Err(Errno::EBADF);
        }
        if len == 0 {
            return Err(Errno::EINVAL);
        }
        if shared && write {
            file.may(true).map_err(|_| Errno::EACCES)?;
        }
        file.may(false).map_err(|_| Errno::EACCES)?;
        if file.kind() == Kind::Directory {
            return Err(Errno::ENODEV);
        }
        let size = self.size(file)?;
        // All of it is copied: a program that is told no reads instead.
        let copied = if shared { size } else { size.saturating_sub(offset).min(len as u64) };
        if copied > COPIED_MAX {
            return Err(Errno::ENODEV);
        }
        if shared {
            return self.shared_memory(file).map(|fd| Mappable { fd, offset });
        }
        let fd = Kernel.memfd_create(c"privns-map")?;
        let end = size.min(offset.saturating_add(len as u64));
        let filled = self.fill(file, fd, offset, end, offset);
        filled.inspect_err(|_| {
            let _ = Kernel.close(fd);
        })?;
        Ok(Mappable { fd, offset: 0 })
    }

    /// Copies the file from `from` to `end` into a file of the host's, in which
    /// what stands at `base` comes first.
    pub(super) fn fill(self, file: &File, fd: i32, from: u64, end: u64, base: u64) -> Result<()> {
        if from >= end {
            return Ok(());
        }
        let mut piece = Vec::new();
        let room = (end - from).min(PIECE as u64) as usize;
        piece.try_reserve_exact(room).map_err(|_| Errno::ENOMEM)?;
        piece.resize(room, 0);
        let mut at = from;
        while at < end {
            let want = (end - at).min(room as u64) as usize;
            let n = self.pread(file, &mut piece[..want], at)?;
            if n == 0 {
                break;
            }
            Kernel.pwrite(fd, &piece[..n], at - base)?;
            at += n as u64;
        }
        Ok(())
    }

    /// The family's memory for a file, held as being in use.
    fn shared_memory(self, file: &File) -> Result<i32> {
        let dir = self.maps_dir().map_err(|_| Errno::ENODEV)?;
        let made = self.memory_in(dir, file);
        let _ = Kernel.close(dir);
        made
    }

    fn memory_in(self, dir: i32, file: &File) -> Result<i32> {
        let mut name = self.memory_name(file)?;
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_CLOEXEC | libc::O_NOFOLLOW;
        loop {
            let fd = Kernel.openat(dir, name.as_cstr()?, flags, 0o600);
            let fd = fd.map_err(|_| Errno::ENODEV)?;
            // Whoever used it last may have removed it while we waited.
            match self.hold(file, fd) {
                Ok(true) => return Ok(fd),
                Ok(false) => {
                    let _ = Kernel.close(fd);
                }
                Err(error) => {
                    let _ = Kernel.close(fd);
                    return Err(error);
                }
            }
        }
    }

    fn memory_name(self, file: &File) -> Result<Name> {
        let (family, server, identity) = (self.family.id(), file.server(), file.identity());
        Name::from(format!("map-{family:016x}-{server}-{identity:x}").as_bytes())
    }

    /// The directory for that: the user's own, in memory.
    fn maps_dir(self) -> Result<i32> {
        let uid = Kernel.geteuid();
        let mut name = Name::from(format!("/dev/shm/privns-{uid}").as_bytes())?;
        let name = name.as_cstr()?;
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let open = || Kernel.openat(libc::AT_FDCWD, name, flags, 0);
        let dir = open().or_else(|_| {
            // As the launcher makes it, which refuses one that lets others in.
            let _ = Kernel.mkdir(name, if uid == 0 { 0o711 } else { 0o700 });
            open()
        })?;
        if Kernel.fstat(dir)?.uid == uid {
            return Ok(dir);
        }
        let _ = Kernel.close(dir);
        Err(Errno::EPERM)
    }

    /// False: the file has lost its name.
    fn hold(self, file: &File, fd: i32) -> Result<bool> {
        if Kernel.flock(fd, libc::LOCK_EX | libc::LOCK_NB).is_ok() {
            // Nobody has it mapped: what is in it is of yesterday.
            Kernel.ftruncate(fd, 0)?;
        } else {
            Kernel.flock(fd, libc::LOCK_SH)?;
        }
        if Kernel.fstat(fd)?.links == 0 {
            return Ok(false);
        }
        Kernel.record_lock(fd, libc::F_WRLCK, Owner::Description)?;
        let size = self.size(file)?;
        let there = Kernel.extent(fd)?.size;
        let filled = self.fill(file, fd, there, size, 0);
        Kernel.record_lock(fd, libc::F_UNLCK, Owner::Description)?;
        Kernel.flock(fd, libc::LOCK_SH)?;
        filled.map(|()| true)
    }

    /// Mappings of these names are over, and their descriptors closed. Whoever
    /// was the last that used such memory removes it: nobody has it locked.
    fn remove_unused(self, names: Vec<Name>) {
        let Some(dir) = (!names.is_empty()).then(|| self.maps_dir().ok()).flatten() else { return };
        for mut name in names {
            let Ok(name) = name.as_cstr() else { continue };
            let flags = libc::O_RDWR | libc::O_CLOEXEC | libc::O_NOFOLLOW;
            let Ok(fd) = Kernel.openat(dir, name, flags, 0) else { continue };
            if Kernel.flock(fd, libc::LOCK_EX | libc::LOCK_NB).is_ok() {
                let _ = Kernel.unlinkat(dir, name);
            }
            let _ = Kernel.close(fd);
        }
        let _ = Kernel.close(dir);
    }

    /// Notes a shared mapping, which the kernel has made.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn mapped(self, file: Arc<File>, memory: Mappable, at: usize, len: usize) -> Result<()> {
        let known = self.memory_of(memory.fd, memory.offset, len)?;
        let maps = &self.process.remotes.maps;
        maps.used.fetch_add(1, Ordering::Relaxed);
        let fd = privns_host::net::raised(memory.fd);
        super::kept::KEPT.add(fd);
        let (offset, forked) = (memory.offset, false);
        maps.put(Box::new(Mapping { at, len, offset, file, memory: fd, known, forked }))
    }

    /// What the family's memory has there, as far as the file goes.
    fn memory_of(self, fd: i32, offset: u64, len: usize) -> Result<Vec<u8>> {
        let size = Kernel.extent(fd)?.size.saturating_sub(offset).min(len as u64) as usize;
        let mut known = Vec::new();
        known.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
        known.resize(size, 0);
        let n = Kernel.pread(fd, &mut known, offset)?;
        known.truncate(n);
        Ok(known)
    }

    /// Writes back what has changed in a mapping.
    fn write_back(self, mapping: &mut Mapping) -> Result<()> {
        let Mapping { file, memory, offset, len, known, .. } = mapping;
        if file.may(true).is_err() {
            return Ok(());
        }
        let now = self.memory_of(*memory, *offset, *len)?;
        let mut at = 0;
        while at < now.len() {
            let differs = |at: usize| {
                let end = (at + PAGE).min(now.len());
                known.get(at..end) != Some(&now[at..end])
            };
            if !differs(at) {
                at += PAGE;
                continue;
            }
            let mut end = at + PAGE;
            while end < now.len() && differs(end) {
                end += PAGE;
            }
            let end = end.min(now.len());
            self.put(file, &now[at..end], *offset + at as u64)?;
            at = end;
        }
        *known = now;
        self.settle(file)
    }

    /// msync(2) of a range.
    ///
    /// # Errors
    /// EIO when something could not be written.
    pub fn msync(self, at: usize, len: usize) -> Result<()> {
        let mut done = Ok(());
        self.process.remotes.maps.each(|mapping| {
            if mapping.overlaps(at, len) {
                done = done.and(self.write_back(mapping).map_err(|_| Errno::EIO));
            }
            true
        });
        done
    }

    /// A range is about to be unmapped.
    pub fn unmapping(self, at: usize, len: usize) {
        let mut names = Vec::new();
        self.process.remotes.maps.each(|mapping| {
            if mapping.overlaps(at, len) {
                let _ = self.write_back(mapping);
            }
            // One that is unmapped in part is written back from its memory as
            // before, all of it.
            let over = at <= mapping.at && mapping.at + mapping.len <= at.saturating_add(len);
            if over {
                names.extend(self.memory_name(&mapping.file));
            }
            !over
        });
        self.remove_unused(names);
    }

    /// A mapping has moved, or has another length.
    pub fn remapped(self, old: usize, new: usize, len: usize) {
        self.process.remotes.maps.each(|mapping| {
            if mapping.at == old {
                (mapping.at, mapping.len) = (new, len);
            }
            true
        });
    }

    /// What was written to a file shows in its shared memory.
    pub(super) fn show_mapped(self, file: &File, data: &[u8], at: u64) {
        self.process.remotes.maps.each(|mapping| {
            if mapping.is_of(file) {
                let _ = Kernel.pwrite(elsewhere::here(mapping.memory), data, at);
            }
            true
        });
    }

    /// What was changed in shared memory shows in the file: before it is read.
    pub(super) fn flush_mapped(self, file: &File) {
        self.process.remotes.maps.each(|mapping| {
            if mapping.is_of(file) {
                let _ = self.write_back(mapping);
            }
            true
        });
    }

    /// The file has another length.
    pub(super) fn resize_mapped(self, file: &File, size: u64) {
        self.process.remotes.maps.each(|mapping| {
            if mapping.is_of(file) {
                let _ = Kernel.ftruncate(elsewhere::here(mapping.memory), size);
            }
            true
        });
    }
}

impl Mapping {
    fn overlaps(&self, at: usize, len: usize) -> bool {
        at < self.at + self.len && self.at < at.saturating_add(len)
    }

    fn is_of(&self, file: &File) -> bool {
        self.file.server() == file.server() && self.file.identity() == file.identity()
    }
}

impl Process {
    /// Writes back all that is mapped: before fork and exec.
    pub fn flush_maps(&self) {
        let Some(view) = self.view().filter(|_| self.remotes.maps.any()) else { return };
        self.remotes.maps.each(|mapping| {
            let _ = view.write_back(mapping);
            true
        });
    }

    /// A child is about to be made that will have the mappings too.
    pub(super) fn share_maps(&self) {
        self.remotes.maps.each(|mapping| {
            mapping.forked = true;
            true
        });
    }

    /// The process ends: the same, and the connections with it. What is written
    /// yet, by stdio when all handlers have run, is waited for at once. A child
    /// that shares our memory ends itself alone.
    #[inline]
    pub fn end_remotes(&self) {
        if self.guest().is_some() {
            return;
        }
        self.remotes.ending.store(true, Ordering::Relaxed);
        if self.met() {
            self.end_maps();
            self.remotes.drain();
        }
    }

    #[cold]
    fn end_maps(&self) {
        let Some(view) = self.view().filter(|_| self.remotes.maps.any()) else { return };
        let mut names = Vec::new();
        self.remotes.maps.each(|mapping| {
            let _ = view.write_back(mapping);
            names.extend(view.memory_name(&mapping.file));
            false
        });
        view.remove_unused(names);
    }
}
