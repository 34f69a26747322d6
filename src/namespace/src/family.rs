//! The family's table: one mount table in memory that every member shares.
//!
//! A sealed memfd holds a header and two slots. A slot holds the table twice:
//! as its image, for whoever changes it, and as its [`index`], for whoever
//! looks names up. The *generation* says which slot counts (its lowest bit)
//! and is raised by mount changes alone, so that a reader compares one integer
//! a lookup and copies the index only when it has changed.
//!
//! Writers exclude each other by a record lock on a description of their own,
//! which the kernel drops when they are killed. A writer fills the slot that
//! does not count and then raises the generation: that one store is the whole
//! change, so one that is killed at any instant before it has changed nothing.
//! Readers take no lock: a slot is written again only after the generation has
//! moved on, so whoever finds the generation unmoved has read no torn byte.
//!
//! Members hold `flock(LOCK_SH)` on the description that they inherit; the
//! keeper waits for `LOCK_EX` on one of its own. Lock order: the record lock
//! is the only lock that is held here, and nothing is waited for under it.

use crate::dump::sized;
use crate::{image, index, table::Table, traffic};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering, fence};
use once_cell::race::OnceBox;
use privns_abi::{Errno, Result};
use privns_host::{Kernel, Shared, elsewhere};

pub mod known;
mod lock;
mod members;

pub use crate::counter::{Counter, Flag};
pub use crate::trail::EPOCHS;

/// Longest name of a family, in bytes.
pub const NAME_MAX: usize = 200;

pub use crate::inherited::{Inherited, number_elsewhere};
use crate::memory_file::{anonymous_file, handed_down, map, move_high, remap};
pub use crate::memory_file::{check_name, new_id};

const MAGIC: u64 = u64::from_ne_bytes(*b"privnsT\n");
const VERSION: u32 = 3;

// Byte offsets. What is read at every lookup, what is counted at every call
// and what is raised by renames lie on cache lines of their own.
const AT_MAGIC: usize = 0;
const AT_VERSION: usize = 8;
const AT_UID: usize = 12;
const AT_ID: usize = 16;
const AT_CLOSED: usize = 24;
const AT_KEEPER: usize = 28;
const AT_NAME_LEN: usize = 32;
const AT_FLAGS: usize = 36;
const AT_NAME: usize = 40;
/// Not 0 once there has been a 9P server in the table.
const AT_SERVERS: usize = 244;
const AT_GENERATION: usize = 256;
/// Raised with every epoch: unmoved, no epoch has moved either.
const AT_RAISES: usize = 264;
/// The generation whose instances the keeper holds.
const AT_HELD: usize = 272;
const AT_COUNTERS: usize = 320;
const COUNTER_STRIDE: usize = 64;
/// What members have worked out once for all ([`known`]).
const AT_KNOWN: usize = 1024;
const AT_EPOCHS: usize = 4096;
const AT_TRAFFIC: usize = AT_EPOCHS + EPOCHS * 4;
const AT_SLOTS: usize = AT_TRAFFIC + traffic::SIZE;

/// A slot: length of the image, length of the index, then both, each at a
/// multiple of 8.
const SLOT: usize = image::LIMIT;
const SLOT_HEADER: usize = 16;
const SIZE: usize = AT_SLOTS + 2 * SLOT;
/// What a member maps to begin with: the header, and as much of the first slot
/// as most families use. All of it would take a page table of its own.
const HEAD: usize = (AT_SLOTS + (32 << 10)).next_multiple_of(4096);

/// No descriptor.
const NONE: i32 = -1;

/// How often a reader that a writer overtook tries again before it takes the
/// writers' lock.
const OVERTAKEN: usize = 64;

/// Counts go here for a table that may only be read.
static UNCOUNTED: AtomicU64 = AtomicU64::new(0);
static UNRAISED: AtomicU32 = AtomicU32::new(0);

/// A family's table, mapped.
pub struct Family {
    fd: AtomicI32,
    /// What the table was made by, as long as it is open here, or [`NONE`].
    first: AtomicI32,
    shared: Shared,
    /// Ours to change.
    own: bool,
    /// All of it, where `shared` is its [`HEAD`] and that does not do.
    whole: OnceBox<Shared>,
    /// The header for changing it, where it was handed down for reading only:
    /// most processes never change anything, and need not pay for that.
    changing: OnceBox<Shared>,
    /// All of it for changing it, where it was, or was mapped in part.
    changing_all: OnceBox<Shared>,
    /// Threads of this process in [`Family::update`], where `/proc` is missing
    /// and the lock is the process's.
    busy: AtomicBool,
}

impl Family {
    /// Makes the table of a new family. The descriptor is moved out of the
    /// way and is inherited over exec.
    ///
    /// # Errors
    /// EINVAL or ENAMETOOLONG for a name that cannot be a file's; ENOSPC for a
    /// table that does not fit; what memfd_create(2) and mmap(2) say.
    pub fn create(name: &[u8], table: &Table) -> Result<Family> {
        Family::create_as(new_id()?, name, table)
    }

    /// The same for a family whose number has been chosen.
    ///
    /// # Errors
    /// As [`Family::create`].
    pub fn create_as(id: u64, name: &[u8], table: &Table) -> Result<Family> {
        check_name(name)?;
        let made = anonymous_file(id)?;
        let family = Family::fill(made, id, name, table).and_then(|shared| {
            let inherited = handed_down(made);
            let moved = move_high(inherited);
            if inherited != made {
                let _ = Kernel.close(inherited);
            }
            let first = if inherited != made { made } else { NONE };
            Ok(Family::mapped(moved?, first, shared, true))
        });
        if !family.as_ref().is_ok_and(|family| family.has_first()) {
            let _ = Kernel.close(made);
        }
        family
    }

    fn has_first(&self) -> bool {
        self.first.load(Ordering::Relaxed) != NONE
    }

    fn fill(fd: i32, id: u64, name: &[u8], table: &Table) -> Result<Shared> {
        let uid = Kernel.geteuid();
        // Root's table is everybody's to read: after su, the name in /proc
        // must open, but not for writing.
        Kernel.fchmod(fd, if uid == 0 { 0o644 } else { 0o600 })?;
        Kernel.ftruncate(fd, SIZE as u64)?;
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        match Kernel.add_seals(fd, seals) {
            // A file of O_TMPFILE takes none; nobody else can name it.
            Ok(()) | Err(Errno::EINVAL | Errno::EPERM) => {}
            Err(e) => return Err(e),
        }
        // A mapping holds its description. This one's is not the members', for
        // which a keeper that held it would wait as long as it lives.
        let s = Shared::map(fd, SIZE, true)?;
        s.u32(AT_VERSION)?.store(VERSION, Ordering::Relaxed);
        s.u32(AT_UID)?.store(uid, Ordering::Relaxed);
        s.u64(AT_ID)?.store(id, Ordering::Relaxed);
        s.u32(AT_NAME_LEN)?.store(name.len() as u32, Ordering::Relaxed);
        s.write(AT_NAME, name)?;
        note_servers(&s, table)?;
        write_slot(&s, 1, &image::encode(table)?, &index::encode(table))?;
        s.u64(AT_GENERATION)?.store(1, Ordering::Release);
        s.u64(AT_MAGIC)?.store(MAGIC, Ordering::Release);
        Ok(s)
    }

    /// Maps the table behind an inherited descriptor.
    ///
    /// # Errors
    /// EBADF, EBADMSG for a file that is no table or is truncated, EPROTO for
    /// a newer version, EPERM for another user's. Root's serves all, read-only.
    pub fn attach(fd: i32) -> Result<Family> {
        let extent = Kernel.extent(fd)?;
        if extent.size != SIZE as u64 {
            return Err(Errno::EBADMSG);
        }
        let own = extent.uid == Kernel.geteuid();
        if !own && extent.uid != 0 {
            return Err(Errno::EPERM);
        }
        // Root hands it down for reading only.
        let shared = map(fd, HEAD, own && extent.uid != 0)?;
        let family = Family::mapped(fd, NONE, shared, own);
        family.check(extent.uid)?;
        Ok(family)
    }

    fn mapped(fd: i32, first: i32, shared: Shared, own: bool) -> Family {
        Family {
            fd: AtomicI32::new(fd),
            first: AtomicI32::new(first),
            shared,
            own,
            whole: OnceBox::new(),
            changing: OnceBox::new(),
            changing_all: OnceBox::new(),
            busy: AtomicBool::new(false),
        }
    }

    fn check(&self, uid: u32) -> Result<()> {
        if self.shared.u64(AT_MAGIC)?.load(Ordering::Acquire) != MAGIC {
            return Err(Errno::EBADMSG);
        }
        if self.shared.u32(AT_VERSION)?.load(Ordering::Relaxed) != VERSION {
            return Err(Errno::EPROTO);
        }
        // The kernel's word on the owner and the maker's must agree.
        if self.shared.u32(AT_UID)?.load(Ordering::Relaxed) != uid {
            return Err(Errno::EPERM);
        }
        if self.generation() == 0 { Err(Errno::EBADMSG) } else { Ok(()) }
    }

    /// The descriptor that the table is inherited by.
    #[must_use]
    pub fn fd(&self) -> i32 {
        elsewhere::here(self.fd.load(Ordering::Relaxed))
    }

    /// What stood at one number stands at another, and the program has the old
    /// one, which it wanted for itself; whether that was the table.
    pub fn moved(&self, from: i32, to: i32) -> bool {
        self.fd.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The family's number: random, never 0.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.shared.u64(AT_ID).map_or(0, |id| id.load(Ordering::Relaxed))
    }

    /// The family's name; empty for one that was not named.
    ///
    /// # Errors
    /// ENOMEM; EBADMSG for a damaged header.
    pub fn name(&self) -> Result<Vec<u8>> {
        let len = self.shared.u32(AT_NAME_LEN)?.load(Ordering::Relaxed) as usize;
        if len > NAME_MAX {
            return Err(Errno::EBADMSG);
        }
        let mut name = sized(len)?;
        self.shared.read(AT_NAME, &mut name)?;
        Ok(name)
    }

    /// Whether changes can be made and counted from here.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.own
    }

    /// The header for changing it; `None` where it is another's, or cannot be
    /// opened anew.
    fn changing(&self) -> Option<&Shared> {
        if self.own && self.shared.is_writable() {
            return Some(&self.shared);
        }
        self.writable(&self.changing, HEAD).ok()
    }

    /// The table for changing it.
    fn changing_all(&self) -> Result<&Shared> {
        if self.own && self.shared.is_writable() && self.shared.len() == SIZE {
            return Ok(&self.shared);
        }
        self.writable(&self.changing_all, SIZE)
    }

    /// The first `len` bytes for changing them, mapped once.
    fn writable<'a>(&self, once: &'a OnceBox<Shared>, len: usize) -> Result<&'a Shared> {
        if !self.own {
            return Err(Errno::EROFS);
        }
        let map = || remap(self.fd(), len).or_else(|_| Shared::map(self.fd(), len, true));
        once.get_or_try_init(|| map().map(alloc::boxed::Box::new))
    }

    /// Maps what will be changed, where that takes a mapping of its own: once in
    /// a process that makes children, and not in each of them.
    pub fn will_change(&self) {
        let _ = self.changing();
    }

    /// A mapping that goes as far as `end`.
    fn reaching(&self, end: usize) -> Result<&Shared> {
        if end <= self.shared.len() {
            return Ok(&self.shared);
        }
        let map = || Shared::map(self.fd(), SIZE, false).map(alloc::boxed::Box::new);
        self.whole.get_or_try_init(map)
    }

    /// The number of mount changes so far, plus one.
    #[inline]
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.head::<AT_GENERATION>().load(Ordering::Acquire)
    }

    /// Whether there has ever been a 9P server in the table: known without
    /// reading it.
    #[must_use]
    pub fn had_servers(&self) -> bool {
        self.shared.u32(AT_SERVERS).is_ok_and(|had| had.load(Ordering::Relaxed) != 0)
    }

    /// Replaces `out` with the index and gives the generation that it is of.
    ///
    /// # Errors
    /// ENOMEM; EBADMSG for a damaged table.
    pub fn read_index(&self, out: &mut Vec<u8>) -> Result<u64> {
        self.read(out, |image, index| (SLOT_HEADER + image.next_multiple_of(8), index))
    }

    /// The table as it is now.
    ///
    /// # Errors
    /// ENOMEM; EBADMSG for a damaged table.
    pub fn read_table(&self) -> Result<Table> {
        let mut bytes = Vec::new();
        self.read_image(&mut bytes)?;
        image::decode(&bytes)
    }

    /// Replaces `out` with the table's image and gives the generation that it
    /// is of.
    ///
    /// # Errors
    /// ENOMEM; EBADMSG for a damaged table.
    pub fn read_image(&self, out: &mut Vec<u8>) -> Result<u64> {
        self.read(out, |image, _| (SLOT_HEADER, image))
    }

    fn read(&self, out: &mut Vec<u8>, part: fn(usize, usize) -> (usize, usize)) -> Result<u64> {
        for _ in 0..OVERTAKEN {
            let generation = self.generation();
            let copied = self.copy(generation, out, part);
            // The writer fences between seeing this generation and reusing the
            // slot: had we read one of its bytes, we would see it moved here.
            fence(Ordering::Acquire);
            if self.shared.u64(AT_GENERATION)?.load(Ordering::Relaxed) == generation {
                return copied.map(|()| generation);
            }
        }
        let _lock = self.lock()?;
        let generation = self.generation();
        self.copy(generation, out, part).map(|()| generation)
    }

    fn copy(
        &self,
        generation: u64,
        out: &mut Vec<u8>,
        part: fn(usize, usize) -> (usize, usize),
    ) -> Result<()> {
        let slot = slot_at(generation);
        let shared = self.reaching(slot + SLOT_HEADER)?;
        let image = shared.u64(slot)?.load(Ordering::Relaxed) as usize;
        let index = shared.u64(slot + 8)?.load(Ordering::Relaxed) as usize;
        if !fits(image, index) {
            return Err(Errno::EBADMSG);
        }
        let (at, len) = part(image, index);
        out.clear();
        out.try_reserve(len).map_err(|_| Errno::ENOMEM)?;
        out.resize(len, 0);
        // Read by whole words.
        let end = slot + at + len.next_multiple_of(8);
        self.reaching(end)?.read(slot + at, out)
    }

    /// Changes the table: `f` sees it alone, and all that it did takes effect
    /// at once, for all members, at their next lookup. Where `f` fails, or
    /// changes nothing, nothing has happened.
    ///
    /// # Errors
    /// What `f` returns; EROFS for root's table in another's hands; ENOSPC for
    /// a table that no longer fits; EBADMSG for a damaged one.
    pub fn update<R>(&self, f: impl FnOnce(&mut Table) -> Result<R>) -> Result<R> {
        let shared = self.changing_all().map_err(|_| Errno::EROFS)?;
        let _lock = self.lock()?;
        let generation = self.generation();
        let mut before = Vec::new();
        self.copy(generation, &mut before, |image, _| (SLOT_HEADER, image))?;
        let mut edited = image::decode(&before)?;
        let done = f(&mut edited)?;
        let after = image::encode(&edited)?;
        if after != before {
            // Whoever reads a byte of what follows sees the generation that
            // took this slot out of use: see `read`.
            fence(Ordering::Release);
            let next = generation + 1;
            note_servers(shared, &edited)?;
            write_slot(shared, next, &after, &index::encode(&edited))?;
            shared.u64(AT_GENERATION)?.store(next, Ordering::Release);
        }
        Ok(done)
    }

    /// Raised by a member when a name hashed to `slot` may have become
    /// something else. Only to be read where the table is not writable:
    /// [`Family::raise`] knows.
    #[inline]
    #[must_use]
    pub fn epoch(&self, slot: usize) -> &AtomicU32 {
        self.shared.u32(epoch_at(slot)).unwrap_or(&UNRAISED)
    }

    /// Raises an epoch.
    #[inline]
    pub fn raise(&self, slot: usize) {
        let Some(shared) = self.changing() else { return };
        if let (Ok(epoch), Ok(raises)) = (shared.u32(epoch_at(slot)), shared.u64(AT_RAISES)) {
            epoch.fetch_add(1, Ordering::Release);
            raises.fetch_add(1, Ordering::Release);
        }
    }

    /// How many epochs have been raised so far.
    #[inline]
    #[must_use]
    pub fn raises(&self) -> u64 {
        self.shared.head::<AT_RAISES>().load(Ordering::Acquire)
    }

    /// A counter; one that counts for nobody where the table is read-only.
    #[inline]
    #[must_use]
    pub fn counter(&self, counter: Counter) -> &AtomicU64 {
        let at = AT_COUNTERS + counter as usize * COUNTER_STRIDE;
        let word = self.changing().and_then(|shared| shared.u64(at).ok());
        word.unwrap_or(&UNCOUNTED)
    }

    /// What a counter says, where the table is read-only too.
    #[must_use]
    pub fn count(&self, counter: Counter) -> u64 {
        let at = AT_COUNTERS + counter as usize * COUNTER_STRIDE;
        self.shared.u64(at).map_or(0, |c| c.load(Ordering::Relaxed))
    }

    /// The counters of a 9P server: see [`traffic`].
    #[must_use]
    pub fn server_counters(&self, id: u32) -> traffic::Counters<'_> {
        let claim = |shared| traffic::Counters::claim(shared, AT_TRAFFIC, id);
        self.changing().map_or(traffic::Counters::NONE, claim)
    }

    /// As [`Family::server_counters`], for as long as it is kept; `None` where
    /// the table may only be read.
    #[must_use]
    pub fn tally(&self, id: u32) -> Option<traffic::Tally> {
        self.own
            .then(|| remap(self.fd(), SIZE).ok())?
            .map(|m| traffic::Tally::new(m, AT_TRAFFIC, id))
    }

    /// What a counter of a 9P server says, where the table is read-only too.
    #[must_use]
    pub fn server_count(&self, id: u32, what: traffic::Traffic) -> u64 {
        traffic::count(&self.shared, AT_TRAFFIC, id, what)
    }

    /// Whether a flag has been set.
    #[must_use]
    pub fn has(&self, flag: Flag) -> bool {
        self.shared.u32(AT_FLAGS).is_ok_and(|f| f.load(Ordering::Acquire) & flag as u32 != 0)
    }

    /// Sets a flag; it cannot be taken back.
    pub fn set(&self, flag: Flag) {
        if let Some(Ok(flags)) = self.changing().map(|shared| shared.u32(AT_FLAGS)) {
            flags.fetch_or(flag as u32, Ordering::Release);
        }
    }
}

fn epoch_at(slot: usize) -> usize {
    AT_EPOCHS + slot % EPOCHS * 4
}

fn note_servers(shared: &Shared, table: &Table) -> Result<()> {
    if !table.servers().is_empty() {
        shared.u32(AT_SERVERS)?.store(1, Ordering::Relaxed);
    }
    Ok(())
}

fn write_slot(shared: &Shared, generation: u64, image: &[u8], index: &[u8]) -> Result<()> {
    if !fits(image.len(), index.len()) {
        return Err(Errno::ENOSPC);
    }
    let slot = slot_at(generation);
    shared.u64(slot)?.store(image.len() as u64, Ordering::Relaxed);
    shared.u64(slot + 8)?.store(index.len() as u64, Ordering::Relaxed);
    shared.write(slot + SLOT_HEADER, image)?;
    shared.write(slot + SLOT_HEADER + image.len().next_multiple_of(8), index)
}

/// The first generation, the only one of most families, lies next to the
/// header: one page fault brings both.
fn slot_at(generation: u64) -> usize {
    AT_SLOTS + (!generation & 1) as usize * SLOT
}

fn fits(image: usize, index: usize) -> bool {
    image <= SLOT && index <= SLOT && SLOT_HEADER + image.next_multiple_of(8) + index <= SLOT
}
