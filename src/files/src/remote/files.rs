//! The open remote files of a process, by their descriptors.
//!
//! The kernel gives the number and keeps its life: behind it stands a
//! *placeholder*, an empty file in memory opened anew for each open, so that
//! it has an offset, an access mode and status flags of its own, polls as a
//! regular file does, and is inherited. What it stands for is a [`File`] in a
//! slot here; the number's entry in [`crate::fds`] says which. The slot counts
//! the descriptors that it has.
//!
//! No lock: a slot is taken and given back by one exchange, and its file is
//! read as [`Rcu`] has it.

use super::file::File;
use super::kept::KEPT;
use crate::guest::Guest;
use crate::process::Process;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use once_cell::race::OnceBox;
use privns_abi::{Errno, Result};
use privns_host::{Kernel, Rcu, elsewhere, net};

/// Slots that are made at a time, and how often.
const CHUNK: usize = 64;
const CHUNKS: usize = 1024;

/// A slot that is being emptied: neither free nor in use.
const BUSY: u32 = u32::MAX;

struct Slot {
    /// Descriptors that stand for it; 0: free.
    numbers: AtomicU32,
    file: Rcu<Option<Arc<File>>>,
}

type Chunk = [Slot; CHUNK];

/// See the module.
pub struct Files {
    chunks: [OnceBox<Chunk>; CHUNKS],
    /// What placeholders are opened anew from, plus one; 0: not made yet.
    pub(super) master: AtomicI32,
}

impl Files {
    /// None.
    #[must_use]
    pub const fn new() -> Files {
        Files { chunks: [const { OnceBox::new() }; CHUNKS], master: AtomicI32::new(0) }
    }

    fn slot(&self, slot: u32) -> Option<&Slot> {
        let at = slot as usize;
        self.chunks.get(at / CHUNK)?.get()?.get(at % CHUNK)
    }

    /// The file in a slot.
    pub(crate) fn get(&self, slot: u32) -> Option<Arc<File>> {
        self.slot(slot)?.file.read()?.clone()
    }

    /// Puts a file into a slot, with one descriptor.
    ///
    /// # Errors
    /// EMFILE when all are taken.
    fn put(&self, file: Arc<File>) -> Result<u32> {
        for (chunk, place) in self.chunks.iter().enumerate() {
            let slots = place.get_or_init(|| Box::new([const { Slot::new() }; CHUNK]));
            let free = slots.iter().position(|slot| slot.exchange(0, BUSY));
            if let Some(at) = free {
                slots[at].file.replace(Some(file));
                slots[at].numbers.store(1, Ordering::Release);
                return Ok((chunk * CHUNK + at) as u32);
            }
        }
        Err(Errno::EMFILE)
    }

    /// One more descriptor stands for a slot.
    fn add(&self, slot: u32) {
        if let Some(slot) = self.slot(slot) {
            slot.numbers.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// One less: its file, when that was the last.
    fn release(&self, slot: u32) -> Option<Arc<File>> {
        let slot = self.slot(slot)?;
        loop {
            let numbers = slot.numbers.load(Ordering::Acquire);
            match numbers {
                0 | BUSY => return None,
                1 if slot.exchange(1, BUSY) => {
                    let file = slot.file.read().and_then(|file| (*file).clone());
                    slot.file.replace(None);
                    slot.numbers.store(0, Ordering::Release);
                    return file;
                }
                n if n > 1 && slot.exchange(n, n - 1) => return None,
                _ => {}
            }
        }
    }

    /// Every file that is open.
    pub(crate) fn all(&self) -> impl Iterator<Item = Arc<File>> + '_ {
        let slots = self.chunks.iter().map_while(OnceBox::get).flatten();
        slots.filter_map(|slot| slot.file.read()?.clone())
    }

    /// For the child of a fork: what other threads were in the middle of.
    pub(super) fn forked(&self) {
        for slot in self.chunks.iter().map_while(OnceBox::get).flatten() {
            slot.file.forked();
            if slot.numbers.load(Ordering::Relaxed) == BUSY {
                slot.file.replace(None);
                slot.numbers.store(0, Ordering::Relaxed);
            }
        }
        self.all().for_each(|file| file.forked());
    }
}

impl Slot {
    const fn new() -> Slot {
        Slot { numbers: AtomicU32::new(0), file: Rcu::new() }
    }

    fn exchange(&self, old: u32, new: u32) -> bool {
        let (done, failed) = (Ordering::AcqRel, Ordering::Relaxed);
        self.numbers.compare_exchange(old, new, done, failed).is_ok()
    }
}

impl Default for Files {
    fn default() -> Self {
        Files::new()
    }
}

/// Status flags that the placeholder shares with the file.
const PLACEHOLDER: i32 = libc::O_ACCMODE
    | libc::O_APPEND
    | libc::O_NONBLOCK
    | libc::O_SYNC
    | libc::O_NOATIME
    | libc::O_DIRECT;

impl Process {
    /// The remote file that a descriptor stands for; `None` for one of the
    /// kernel's own.
    #[inline]
    #[must_use]
    pub fn file(&self, fd: i32) -> Option<Arc<File>> {
        let slot = self.fds.slot(fd)?;
        self.remotes.files.get(slot)
    }

    /// Whether a descriptor stands for a remote file.
    #[inline]
    #[must_use]
    pub fn is_virtual(&self, fd: i32) -> bool {
        self.fds.slot(fd).is_some()
    }

    /// A descriptor for a file that has just been opened, at the lowest free
    /// number.
    ///
    /// # Errors
    /// EMFILE, ENOMEM.
    pub(crate) fn placeholder(&self, flags: i32) -> Result<i32> {
        if self.guest().is_some() && self.remotes.files.master.load(Ordering::Acquire) == 0 {
            // One that it made would not be its parent's.
            let master = Kernel.placeholder(true)?;
            let opened = Process::reopened(master, flags);
            let _ = Kernel.close(master);
            return opened;
        }
        Process::reopened(self.master()?, flags)
    }

    pub(super) fn reopened(master: i32, flags: i32) -> Result<i32> {
        // One that is for naming only is that to the kernel too: poll(2) says so.
        let kept = match flags & libc::O_PATH {
            0 => flags & (PLACEHOLDER | libc::O_CLOEXEC),
            path => path | flags & libc::O_CLOEXEC,
        };
        // 3 is neither reading nor writing, to open(2) alone.
        match Kernel.reopen_as(master, kept) {
            Err(Errno::EINVAL) if kept & libc::O_DIRECT != 0 => {
                Kernel.reopen_as(master, kept & !libc::O_DIRECT)
            }
            // Without /proc: a file of its own, which is not as exact.
            Err(Errno::ENOENT | Errno::ENOTDIR) => Kernel.placeholder(flags & libc::O_CLOEXEC != 0),
            opened => opened,
        }
    }

    fn master(&self) -> Result<i32> {
        let files = &self.remotes.files;
        let known = files.master.load(Ordering::Acquire) - 1;
        if known >= 0 {
            return Ok(elsewhere::here(known));
        }
        let master = net::raised(Kernel.placeholder(true)?);
        let (done, failed) = (Ordering::AcqRel, Ordering::Acquire);
        match files.master.compare_exchange(0, master + 1, done, failed) {
            Ok(_) => {
                KEPT.add(master);
                Ok(master)
            }
            Err(theirs) => {
                let _ = Kernel.close(master);
                Ok(theirs - 1)
            }
        }
    }

    /// A descriptor that stands for a file.
    ///
    /// # Errors
    /// EMFILE, ENOMEM; the file is given back with it.
    pub(crate) fn stand(&self, file: Arc<File>) -> core::result::Result<i32, (Arc<File>, Errno)> {
        let placed = self.placeholder(file.flags());
        let fd = placed.map_err(|error| (file.clone(), error))?;
        match self.stand_at(fd, file.clone()) {
            Ok(()) => Ok(fd),
            Err(error) => {
                let _ = Kernel.close(fd);
                Err((file, error))
            }
        }
    }

    /// `fd`, which is a placeholder, stands for a file that no other does.
    ///
    /// # Errors
    /// EMFILE.
    pub(crate) fn stand_at(&self, fd: i32, file: Arc<File>) -> Result<()> {
        let slot = self.remotes.files.put(file)?;
        if let Some(guest) = self.guest() {
            guest.owns(slot);
        }
        // A number that was closed behind our back.
        drop(self.fds.slot(fd).and_then(|old| self.released(old)));
        self.fds.set_slot(fd, slot);
        Ok(())
    }

    /// Nothing is known of a descriptor any more; its file, when that was the
    /// last that stood for it.
    #[must_use]
    pub fn leave(&self, fd: i32) -> Option<Arc<File>> {
        let slot = self.fds.slot(fd);
        self.fds.forget(fd);
        self.part(slot?);
        self.released(slot?)
    }

    /// A descriptor of the file in this slot is closed, by whichever call: what was written is on
    /// the server then, and all record locks that the process has on the file are gone.
    fn part(&self, slot: u32) {
        let file = self.guest().is_none().then(|| self.remotes.files.get(slot)).flatten();
        if let (Some(view), Some(file)) = (self.view(), file) {
            file.await_writes();
            view.unlock_closed(&file);
        }
    }

    /// `to` has become a duplicate of `from`; the file that it stood for
    /// before, when that was the last.
    #[must_use]
    pub fn copied(&self, from: i32, to: i32) -> Option<Arc<File>> {
        let (new, old) = (self.fds.slot(from), self.fds.slot(to));
        if from == to {
            return None;
        }
        if let (Some(new), None) = (new, self.guest()) {
            self.remotes.files.add(new);
        }
        self.fds.copy(from, to);
        self.part(old?);
        self.released(old?)
    }

    /// A child is about to be made, or another program run: it shares the
    /// offsets of what is open, and may write.
    pub fn share_files(&self) {
        if self.met() {
            self.remotes.change();
            for (fd, slot) in self.fds.slots() {
                if let Some(file) = self.remotes.files.get(slot) {
                    file.share_offset(fd);
                }
            }
        }
    }

    /// A child that shares our memory has descriptors of its own, and none of
    /// ours to close.
    fn released(&self, slot: u32) -> Option<Arc<File>> {
        if self.guest().is_some() { None } else { self.remotes.files.release(slot) }
    }

    /// In a copy of a child that shared its parent's memory: what that has noted of
    /// its descriptors is ours, and its connections are not.
    pub(crate) fn adopt(&self, guest: &Guest) {
        guest.forked();
        for (fd, value) in guest.noted() {
            self.fds.adopt(fd, value);
            if let Some(slot) = self.fds.slot(fd) {
                self.remotes.files.add(slot);
            }
        }
    }

    /// What a child that shared our memory has opened, now that it has gone.
    pub(crate) fn orphaned(&self, slot: u32) -> Option<Arc<File>> {
        self.remotes.files.release(slot)
    }
}
