//! Directories known to be free of symbolic links on the way, by the name that
//! the program spells: one `stat` costs one system call then, and not three.
//!
//! An entry holds while the mount table is the same, while no member of the
//! family has renamed, removed or linked one of the components passed
//! ([`trail`]), and for at most [`KEEP_MS`], since outsiders may put a
//! link there without telling.
//!
//! A fixed table of entries, each guarded by its own version: odd while it is
//! written, and a reader that sees it change looks the name up anew. A signal
//! handler that finds an entry half written does the same.
//!
//! [`trail`]: privns_namespace::trail

use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};
use privns_abi::Result;
use privns_host::HotName;
use privns_namespace::trail::Trail;

/// How long outsiders' changes may go unnoticed, in milliseconds.
pub const KEEP_MS: u64 = 1000;

const ENTRIES: usize = 256;
const TEXT_WORDS: usize = 24;
/// Longest name, spelled or the host's, that is remembered, in bytes.
pub const TEXT_MAX: usize = TEXT_WORDS * 8;
const SLOTS: usize = 28;

/// The remembered directories.
pub struct Dirs {
    /// Entries that are being written, a bit each: after a fork only these are
    /// looked at, since looking at all takes a page fault for every few.
    writing: [AtomicU64; ENTRIES / 64],
    entries: [Entry; ENTRIES],
}

/// What is remembered of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dir {
    /// The member that serves it, 0 for the host.
    pub seq: u32,
    /// What would change a file in it is EROFS.
    pub read_only: bool,
    /// Mount points lie below it: each name in it must be looked up.
    pub mounts_below: bool,
    /// Its canonical name is the one spelled.
    pub canonical: bool,
    /// It is a relative name that the host can be given as it is.
    pub as_given: bool,
}

/// What an entry is valid for, at this moment.
pub struct Now<'a> {
    /// Generation of the mount table.
    pub generation: u64,
    /// A coarse clock, in milliseconds.
    pub ms: u64,
    /// How many epochs have been raised in all.
    pub raises: u64,
    /// The family's epochs.
    pub epochs: &'a dyn Fn(u16) -> u32,
}

/// How a directory was reached.
pub struct Passed<'a> {
    /// The components that led to it.
    pub trail: &'a Trail,
    /// The sum of their epochs from *before* the look-up, so that a change made
    /// during it is noticed.
    pub epochs: u32,
}

struct Entry {
    version: AtomicU32,
    seq: AtomicU32,
    generation: AtomicU64,
    until: AtomicU64,
    /// What relative names are relative to; 0 for absolute ones.
    base: AtomicU64,
    hash: AtomicU64,
    /// Length of the key, length of the host name, flags, number of slots.
    shape: AtomicU64,
    /// While no epoch at all has been raised, none of ours has.
    raises: AtomicU64,
    epochs: AtomicU32,
    slots: [AtomicU16; SLOTS],
    key: [AtomicU64; TEXT_WORDS],
    host: [AtomicU64; TEXT_WORDS],
}

impl Entry {
    const fn new() -> Entry {
        Entry {
            version: AtomicU32::new(0),
            seq: AtomicU32::new(0),
            generation: AtomicU64::new(0),
            until: AtomicU64::new(0),
            base: AtomicU64::new(0),
            hash: AtomicU64::new(0),
            shape: AtomicU64::new(0),
            raises: AtomicU64::new(0),
            epochs: AtomicU32::new(0),
            slots: [const { AtomicU16::new(0) }; SLOTS],
            key: [const { AtomicU64::new(0) }; TEXT_WORDS],
            host: [const { AtomicU64::new(0) }; TEXT_WORDS],
        }
    }
}

impl Entry {
    /// Whether no epoch of this trail has been raised, where some have been.
    #[cold]
    fn unmoved(&self, slots: u64, now: &Now<'_>) -> bool {
        let mut epochs = 0u32;
        for slot in self.slots.iter().take(slots as usize) {
            epochs = epochs.wrapping_add((now.epochs)(slot.load(Ordering::Relaxed)));
        }
        let unmoved = epochs == self.epochs.load(Ordering::Relaxed);
        if unmoved {
            // Counted before the epochs were read: a raise since then is seen.
            // An entry being rewritten meanwhile is at worst checked again.
            self.raises.store(now.raises, Ordering::Relaxed);
        }
        unmoved
    }
}

const READ_ONLY: u64 = 1;
const MOUNTS_BELOW: u64 = 2;
const CANONICAL: u64 = 4;
const AS_GIVEN: u64 = 8;

impl Dirs {
    /// Remembers nothing yet.
    #[must_use]
    pub const fn new() -> Dirs {
        Dirs {
            writing: [const { AtomicU64::new(0) }; ENTRIES / 64],
            entries: [const { Entry::new() }; ENTRIES],
        }
    }

    /// The directory spelled `key`, if it is remembered: its host name is
    /// appended to `host`.
    #[inline(always)]
    pub fn get(&self, base: u64, key: &[u8], now: &Now<'_>, host: &mut HotName) -> Option<Dir> {
        let hash = hash(base, key);
        let entry = &self.entries[hash as usize % ENTRIES];
        let version = entry.version.load(Ordering::Acquire);
        if version & 1 != 0
            || entry.hash.load(Ordering::Relaxed) != hash
            || entry.base.load(Ordering::Relaxed) != base
            || entry.generation.load(Ordering::Relaxed) != now.generation
            || entry.until.load(Ordering::Relaxed) < now.ms
        {
            return None;
        }
        let shape = entry.shape.load(Ordering::Relaxed);
        let (key_len, host_len) = (shape as u16 as usize, (shape >> 16) as u16 as usize);
        if key_len != key.len() || host_len > TEXT_MAX || !same(&entry.key, key) {
            return None;
        }
        if entry.raises.load(Ordering::Relaxed) != now.raises && !entry.unmoved(shape >> 40, now) {
            return None;
        }
        let flags = shape >> 32 & 0xff;
        let had = host.as_bytes().len();
        host.push_words(&entry.host, host_len).ok()?;
        let seq = entry.seq.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        if entry.version.load(Ordering::Relaxed) != version {
            host.truncate(had);
            return None;
        }
        Some(Dir {
            seq,
            read_only: flags & READ_ONLY != 0,
            mounts_below: flags & MOUNTS_BELOW != 0,
            canonical: flags & CANONICAL != 0,
            as_given: flags & AS_GIVEN != 0,
        })
    }

    /// Remembers a directory.
    pub fn put(
        &self,
        base: u64,
        key: &[u8],
        host: &[u8],
        dir: Dir,
        now: &Now<'_>,
        passed: &Passed<'_>,
    ) {
        let Some(slots) = passed.trail.slots().filter(|s| s.len() <= SLOTS) else { return };
        if key.len() > TEXT_MAX || host.len() > TEXT_MAX {
            return;
        }
        let hash = hash(base, key);
        let number = hash as usize % ENTRIES;
        let entry = &self.entries[number];
        let version = entry.version.load(Ordering::Relaxed);
        let taken = entry.version.compare_exchange(
            version & !1,
            version | 1,
            Ordering::Acquire,
            Ordering::Relaxed,
        );
        if taken.is_err() {
            return;
        }
        // A fork just here leaves its child an entry that is never used again.
        let (writing, bit) = (&self.writing[number / 64], 1 << (number % 64));
        writing.fetch_or(bit, Ordering::Relaxed);
        fence(Ordering::Release);
        let mut flags = 0;
        for (is, flag) in [
            (dir.read_only, READ_ONLY),
            (dir.mounts_below, MOUNTS_BELOW),
            (dir.canonical, CANONICAL),
            (dir.as_given, AS_GIVEN),
        ] {
            flags |= if is { flag } else { 0 };
        }
        let shape =
            key.len() as u64 | (host.len() as u64) << 16 | flags << 32 | (slots.len() as u64) << 40;
        entry.seq.store(dir.seq, Ordering::Relaxed);
        entry.generation.store(now.generation, Ordering::Relaxed);
        entry.until.store(now.ms + KEEP_MS, Ordering::Relaxed);
        entry.base.store(base, Ordering::Relaxed);
        entry.hash.store(hash, Ordering::Relaxed);
        entry.shape.store(shape, Ordering::Relaxed);
        entry.raises.store(now.raises, Ordering::Relaxed);
        entry.epochs.store(passed.epochs, Ordering::Relaxed);
        for (place, &slot) in entry.slots.iter().zip(slots) {
            place.store(slot, Ordering::Relaxed);
        }
        write_key(&entry.key, key);
        write_name(&entry.host, host);
        entry.version.store((version | 1).wrapping_add(1), Ordering::Release);
        writing.fetch_and(!bit, Ordering::Relaxed);
    }

    /// Forgets what was half written: for the child of a fork, where nobody
    /// will finish it.
    pub fn clear(&self) {
        for (group, writing) in self.entries.chunks(64).zip(&self.writing) {
            let mut left = writing.load(Ordering::Relaxed);
            while left != 0 {
                let entry = &group[left.trailing_zeros() as usize];
                left &= left - 1;
                if entry.version.load(Ordering::Relaxed) & 1 != 0 {
                    entry.hash.store(0, Ordering::Relaxed);
                    entry.until.store(0, Ordering::Relaxed);
                    entry.version.fetch_add(1, Ordering::Release);
                }
            }
            if writing.load(Ordering::Relaxed) != 0 {
                writing.store(0, Ordering::Relaxed);
            }
        }
    }
}

impl Default for Dirs {
    fn default() -> Self {
        Dirs::new()
    }
}

/// The sum of a trail's epochs, 0 for one too long to be kept.
#[must_use]
pub fn epochs_of(trail: &Trail, epochs: &dyn Fn(u16) -> u32) -> u32 {
    let slots = trail.slots().unwrap_or_default();
    slots.iter().fold(0, |sum, &slot| sum.wrapping_add(epochs(slot)))
}

/// A trail of the components of `name`.
pub fn trail_of(name: &[u8]) -> Result<Trail> {
    let mut trail = Trail::default();
    privns_abi::path::components(name).for_each(|c| trail.pass(c));
    Ok(trail)
}

/// A text as words: the whole ones, then one that ends where the text ends and
/// overlaps the one before, so that no odd bytes are left to be copied.
#[inline(always)]
fn words(text: &[u8], mut each: impl FnMut(usize, u64) -> bool) -> bool {
    let (whole, rest) = text.as_chunks::<8>();
    for (i, word) in whole.iter().enumerate() {
        if !each(i, u64::from_ne_bytes(*word)) {
            return false;
        }
    }
    match (rest.is_empty(), text.last_chunk::<8>()) {
        (true, _) => true,
        (false, Some(last)) => each(whole.len(), u64::from_ne_bytes(*last)),
        (false, None) => each(0, rest.iter().fold(0, |word, &b| word << 8 | u64::from(b))),
    }
}

#[inline(always)]
fn hash(base: u64, key: &[u8]) -> u64 {
    // Multiply and rotate, a word at a time: only spreads, need not resist.
    let mut mixed = base ^ (key.len() as u64);
    words(key, |_, word| {
        mixed = (mixed.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        true
    });
    // The top bit marks an entry as written; fold the high bits into the low.
    (mixed ^ (mixed >> 32)) | 1 << 63
}

#[inline(always)]
fn same(place: &[AtomicU64; TEXT_WORDS], text: &[u8]) -> bool {
    words(text, |i, word| place.get(i).is_some_and(|at| at.load(Ordering::Relaxed) == word))
}

fn write_key(place: &[AtomicU64; TEXT_WORDS], text: &[u8]) {
    words(text, |i, word| place.get(i).map(|at| at.store(word, Ordering::Relaxed)).is_some());
}

/// The host name is stored as it lies in memory, the last word filled up.
fn write_name(place: &[AtomicU64; TEXT_WORDS], text: &[u8]) {
    for (at, chunk) in place.iter().zip(text.chunks(8)) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        at.store(u64::from_ne_bytes(word), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIR: Dir =
        Dir { seq: 3, read_only: false, mounts_below: true, canonical: true, as_given: false };

    fn get(dirs: &Dirs, key: &[u8], now: &Now<'_>) -> Option<(Dir, std::vec::Vec<u8>)> {
        let mut host = HotName::new();
        let dir = dirs.get(0, key, now, &mut host)?;
        Some((dir, host.as_bytes().to_vec()))
    }

    #[test]
    fn an_entry_ends_with_its_time_its_table_and_its_components() {
        let dirs = std::boxed::Box::new(Dirs::new());
        let bumped = core::cell::Cell::new(0);
        let epochs =
            |slot| if slot == privns_namespace::trail::slot(b"b") { bumped.get() } else { 7 };
        let now =
            |ms, generation| Now { generation, ms, raises: bumped.get().into(), epochs: &epochs };
        let trail = trail_of(b"/a/b").unwrap();
        let sum = epochs_of(&trail, &epochs);
        dirs.put(0, b"/a/b", b"/host/dir", DIR, &now(5, 1), &Passed { trail: &trail, epochs: sum });
        assert_eq!(get(&dirs, b"/a/b", &now(5, 1)), Some((DIR, b"/host/dir".to_vec())));
        assert_eq!(get(&dirs, b"/a/c", &now(5, 1)), None);
        assert_eq!(get(&dirs, b"/a/b", &now(5, 2)), None);
        assert_eq!(get(&dirs, b"/a/b", &now(5 + KEEP_MS + 1, 1)), None);
        bumped.set(1);
        assert_eq!(get(&dirs, b"/a/b", &now(5, 1)), None);
    }
}
