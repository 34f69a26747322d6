//! Directories known to be free of symbolic links on the way, by the name that
//! the program spells: one `stat` costs one system call then, and not three.
//!
//! An entry holds while the mount table is the same, while no member of the
//! family has renamed, removed or linked one of the components passed
//! ([`trail`]), and for the rest of the second in which it was made, since
//! outsiders may put a link there without telling.
//!
//! A fixed table of entries, each guarded by its own version: odd while it is
//! written, and a reader that sees it change looks the name up anew. A signal
//! handler that finds an entry half written does the same. They are given out in
//! turn: what a short program remembers lies on one page or two, and not on as
//! many as there are names.
//!
//! [`trail`]: privns_namespace::trail

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};
use privns_abi::Result;
use privns_host::HotName;
use privns_namespace::trail::Trail;

/// The first is never written: it is the last one found where none has been.
const ENTRIES: usize = 256;
const TEXT_WORDS: usize = 24;
/// Longest name, spelled or the host's, that is remembered, in bytes.
pub const TEXT_MAX: usize = (TEXT_WORDS - 1) * 8;
const SLOTS: usize = 28;
/// Spreads bits over a word.
const ODD: u64 = 0x517c_c1b7_2722_0a95;

/// The remembered directories.
pub struct Dirs {
    entries: [Entry; ENTRIES],
}

/// What is to be known of them without touching their pages, each of which
/// costs a fault where it was not touched before, as after a fork.
pub struct Marks {
    /// How many have been given out.
    used: AtomicU32,
    /// Which of them is for the names of a hash; 0 for none so far.
    places: [AtomicU8; ENTRIES],
    /// Those that are being written, a bit each.
    writing: [AtomicU64; ENTRIES / 64],
    /// Which names may be links that are remembered, by [`bit`]: most are not,
    /// and are not searched for.
    links: AtomicU64,
}

impl Marks {
    /// There are none.
    #[must_use]
    pub const fn new() -> Marks {
        Marks {
            used: AtomicU32::new(0),
            places: [const { AtomicU8::new(0) }; ENTRIES],
            writing: [const { AtomicU64::new(0) }; ENTRIES / 64],
            links: AtomicU64::new(0),
        }
    }

    /// Whether anything has ever been remembered.
    #[inline]
    pub fn any(&self) -> bool {
        self.used.load(Ordering::Relaxed) != 0
    }

    /// The number of the entry that names of this hash have, 0 for none.
    #[inline(always)]
    fn number(&self, hash: u64) -> usize {
        self.places[hash as usize % ENTRIES].load(Ordering::Relaxed).into()
    }

    /// The number of the entry that they have from now on.
    fn claim(&self, hash: u64) -> usize {
        let known = self.number(hash);
        if known != 0 {
            return known;
        }
        let next = self.used.fetch_add(1, Ordering::Relaxed) as usize + 1;
        // Two threads that claim one together waste a number: the last share.
        let next = if next < ENTRIES { next } else { 1 + hash as usize % (ENTRIES - 1) };
        let place = &self.places[hash as usize % ENTRIES];
        let claimed = place.compare_exchange(0, next as u8, Ordering::Relaxed, Ordering::Relaxed);
        claimed.map_or_else(usize::from, |_| next)
    }

    /// A link of this name is remembered.
    pub fn add_link(&self, name: &[u8]) {
        self.links.fetch_or(bit(name), Ordering::Relaxed);
    }

    /// Whether a link of this name may be remembered.
    #[inline(always)]
    pub fn may_be_link(&self, name: &[u8]) -> bool {
        let links = self.links.load(Ordering::Relaxed);
        links != 0 && links & bit(name) != 0
    }
}

/// One of 64 bits, by the end of a name and its length.
#[inline(always)]
fn bit(name: &[u8]) -> u64 {
    1 << ((words(name).1 ^ name.len() as u64).wrapping_mul(ODD) >> 58)
}

impl Default for Marks {
    fn default() -> Self {
        Marks::new()
    }
}

/// What is remembered of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dir {
    /// The member that serves it, 0 for the host.
    pub seq: u32,
    is: u32,
}

/// What may be said of a directory.
#[derive(Clone, Copy)]
pub enum Is {
    /// What would change a file in it is EROFS.
    ReadOnly = 1,
    /// Mount points lie below it: each name in it must be looked up.
    AboveMounts = 2,
    /// Its canonical name is the one spelled.
    Canonical = 4,
    /// It is a relative name that the host can be given as it is.
    AsGiven = 8,
}

impl Dir {
    /// A directory of a member, of which nothing is said yet.
    #[must_use]
    pub const fn new(seq: u32) -> Dir {
        Dir { seq, is: 0 }
    }

    /// The same with something said, or not.
    #[must_use]
    pub const fn with(mut self, what: Is, yes: bool) -> Dir {
        self.is |= if yes { what as u32 } else { 0 };
        self
    }

    /// Whether that has been said.
    #[must_use]
    #[inline(always)]
    pub const fn is(self, what: Is) -> bool {
        self.is & what as u32 != 0
    }
}

/// What an entry is valid for, at this moment.
pub struct Now<'a> {
    /// Generation of the mount table.
    pub generation: u64,
    /// [`Kernel::second`](privns_host::Kernel::second).
    pub second: u64,
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

/// What a directory is remembered by.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    /// What a relative name is relative to; 0 for absolute ones.
    pub base: u64,
    /// The name as it is spelled.
    pub name: &'a [u8],
}

struct Entry {
    version: AtomicU32,
    seq: AtomicU32,
    generation: AtomicU64,
    /// When it was made.
    second: AtomicU64,
    /// What relative names are relative to; 0 for absolute ones.
    base: AtomicU64,
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
            second: AtomicU64::new(0),
            base: AtomicU64::new(0),
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
    /// What it says, if it is of `key` and holds.
    #[inline(always)]
    fn read(&self, key: Key<'_>, now: &Now<'_>, host: &mut HotName) -> Option<Dir> {
        let version = self.version.load(Ordering::Acquire);
        let shape = self.shape.load(Ordering::Relaxed);
        if !self.is_of(key, shape, now.generation)
            || self.second.load(Ordering::Relaxed) != now.second
        {
            return None;
        }
        if self.raises.load(Ordering::Relaxed) != now.raises && !self.unmoved(shape >> 40, now) {
            return None;
        }
        self.take(version, shape, host)
    }

    /// What the table makes of a name, where that is canonical: no matter
    /// whether there is a link on the way by now.
    #[inline(always)]
    fn translate(&self, key: Key<'_>, generation: u64, host: &mut HotName) -> Option<Dir> {
        let version = self.version.load(Ordering::Acquire);
        let shape = self.shape.load(Ordering::Relaxed);
        let canonical = shape & (Is::Canonical as u64) << 32 != 0;
        if !canonical || !self.is_of(key, shape, generation) {
            return None;
        }
        self.take(version, shape, host)
    }

    #[inline(always)]
    fn is_of(&self, key: Key<'_>, shape: u64, generation: u64) -> bool {
        shape as u16 as usize == key.name.len()
            && same(&self.key, key.name)
            && self.base.load(Ordering::Relaxed) == key.base
            && self.generation.load(Ordering::Relaxed) == generation
    }

    /// The rest of an entry that was at `version` when its key was looked at,
    /// if nobody has written since.
    #[inline(always)]
    fn take(&self, version: u32, shape: u64, host: &mut HotName) -> Option<Dir> {
        host.become_words(&self.host, (shape >> 16) as u16 as usize);
        let seq = self.seq.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        if version & 1 != 0 || self.version.load(Ordering::Relaxed) != version {
            return None;
        }
        Some(Dir { seq, is: (shape >> 32) as u32 & 0xff })
    }

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

impl Dirs {
    /// Remembers nothing yet.
    #[must_use]
    pub const fn new() -> Dirs {
        Dirs { entries: [const { Entry::new() }; ENTRIES] }
    }

    /// The directory spelled `key`, if it is remembered: `host` becomes its host
    /// name. `last` is where the caller's thread has found its last one, which
    /// mostly is this one again.
    #[inline(always)]
    pub fn get(
        &self,
        marks: &Marks,
        last: &AtomicU32,
        key: Key<'_>,
        now: &Now<'_>,
        host: &mut HotName,
    ) -> Option<Dir> {
        match self.last(last).read(key, now, host) {
            None => self.search(marks, last, key, |entry| entry.read(key, now, host)),
            found => found,
        }
    }

    /// What the table of this generation makes of the directory spelled `key`,
    /// for calls that have the host refuse links: kept for as long as the
    /// table.
    #[inline(always)]
    pub fn translated(
        &self,
        marks: &Marks,
        last: &AtomicU32,
        key: Key<'_>,
        generation: u64,
        host: &mut HotName,
    ) -> Option<Dir> {
        match self.last(last).translate(key, generation, host) {
            None => self.search(marks, last, key, |entry| entry.translate(key, generation, host)),
            found => found,
        }
    }

    #[inline(always)]
    fn last(&self, last: &AtomicU32) -> &Entry {
        &self.entries[last.load(Ordering::Relaxed) as usize % ENTRIES]
    }

    /// Looks where `key` is kept, if it is not the last one again.
    #[inline(never)]
    fn search(
        &self,
        marks: &Marks,
        last: &AtomicU32,
        key: Key<'_>,
        read: impl FnOnce(&Entry) -> Option<Dir>,
    ) -> Option<Dir> {
        let number = marks.number(hash(key));
        if number == 0 {
            return None;
        }
        let found = read(&self.entries[number])?;
        last.store(number as u32, Ordering::Relaxed);
        Some(found)
    }

    /// Remembers a directory.
    pub fn put(
        &self,
        marks: &Marks,
        key: Key<'_>,
        host: &[u8],
        dir: Dir,
        now: &Now<'_>,
        passed: &Passed<'_>,
    ) {
        let Some(slots) = passed.trail.slots().filter(|s| s.len() <= SLOTS) else { return };
        let Key { base, name } = key;
        if name.len() > TEXT_MAX || host.len() > TEXT_MAX {
            return;
        }
        let number = marks.claim(hash(key));
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
        let (writing, bit) = (&marks.writing[number / 64], 1 << (number % 64));
        writing.fetch_or(bit, Ordering::Relaxed);
        fence(Ordering::Release);
        let shape = name.len() as u64
            | (host.len() as u64) << 16
            | u64::from(dir.is) << 32
            | (slots.len() as u64) << 40;
        entry.seq.store(dir.seq, Ordering::Relaxed);
        entry.generation.store(now.generation, Ordering::Relaxed);
        entry.second.store(now.second, Ordering::Relaxed);
        entry.base.store(base, Ordering::Relaxed);
        entry.shape.store(shape, Ordering::Relaxed);
        entry.raises.store(now.raises, Ordering::Relaxed);
        entry.epochs.store(passed.epochs, Ordering::Relaxed);
        for (place, &slot) in entry.slots.iter().zip(slots) {
            place.store(slot, Ordering::Relaxed);
        }
        write_key(&entry.key, name);
        write_name(&entry.host, host);
        entry.version.store((version | 1).wrapping_add(1), Ordering::Release);
        writing.fetch_and(!bit, Ordering::Relaxed);
    }

    /// Forgets what was half written: for the child of a fork, where nobody
    /// will finish it.
    pub fn clear(&self, marks: &Marks) {
        for (group, writing) in self.entries.chunks(64).zip(&marks.writing) {
            let mut left = writing.load(Ordering::Relaxed);
            while left != 0 {
                let entry = &group[left.trailing_zeros() as usize];
                left &= left - 1;
                if entry.version.load(Ordering::Relaxed) & 1 != 0 {
                    entry.second.store(0, Ordering::Relaxed);
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
fn words(text: &[u8]) -> (&[[u8; 8]], u64) {
    let (whole, rest) = text.as_chunks::<8>();
    let last = match text.last_chunk::<8>() {
        Some(last) => u64::from_ne_bytes(*last),
        None => rest.iter().fold(0, |word, &b| word << 8 | u64::from(b)),
    };
    (whole, last)
}

#[inline(always)]
fn hash(Key { base, name }: Key<'_>) -> u64 {
    // Only spreads, need not resist. The words are multiplied independently,
    // so that a long name does not wait for one product after the other.
    let (whole, last) = words(name);
    let mut mixed = base ^ (name.len() as u64);
    for word in whole {
        mixed = mixed.rotate_left(23) ^ u64::from_ne_bytes(*word).wrapping_mul(ODD);
    }
    mixed = mixed.rotate_left(23) ^ last.wrapping_mul(ODD);
    mixed = (mixed ^ (mixed >> 32)).wrapping_mul(ODD);
    mixed ^ (mixed >> 32)
}

#[inline(always)]
fn same(place: &[AtomicU64; TEXT_WORDS], text: &[u8]) -> bool {
    let (whole, last) = words(text);
    let (Some(places), Some(end)) = (place.get(..whole.len()), place.get(whole.len())) else {
        return false;
    };
    let is = |at: &AtomicU64, word| at.load(Ordering::Relaxed) == word;
    is(end, last) && places.iter().zip(whole).all(|(at, word)| is(at, u64::from_ne_bytes(*word)))
}

fn write_key(place: &[AtomicU64; TEXT_WORDS], text: &[u8]) {
    let (whole, last) = words(text);
    let words = whole.iter().map(|word| u64::from_ne_bytes(*word)).chain([last]);
    place.iter().zip(words).for_each(|(at, word)| at.store(word, Ordering::Relaxed));
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

    const DIR: Dir = Dir::new(3).with(Is::AboveMounts, true).with(Is::Canonical, true);

    type Known = Option<(Dir, std::vec::Vec<u8>)>;

    fn get(dirs: &Dirs, marks: &Marks, name: &[u8], now: &Now<'_>) -> Known {
        let mut host = HotName::new();
        let dir = dirs.get(marks, &AtomicU32::new(0), Key { base: 0, name }, now, &mut host)?;
        Some((dir, host.as_bytes().to_vec()))
    }

    #[test]
    fn an_entry_ends_with_its_time_its_table_and_its_components() {
        let (dirs, marks) = (std::boxed::Box::new(Dirs::new()), Marks::new());
        let bumped = core::cell::Cell::new(0);
        let epochs =
            |slot| if slot == privns_namespace::trail::slot(b"b") { bumped.get() } else { 7 };
        let now = |second, generation| Now {
            generation,
            second,
            raises: bumped.get().into(),
            epochs: &epochs,
        };
        let trail = trail_of(b"/a/b").unwrap();
        let sum = epochs_of(&trail, &epochs);
        let passed = Passed { trail: &trail, epochs: sum };
        let key = Key { base: 0, name: b"/a/b" };
        dirs.put(&marks, key, b"/host/dir", DIR, &now(5, 1), &passed);
        assert!(marks.any());
        assert_eq!(get(&dirs, &marks, b"/a/b", &now(5, 1)), Some((DIR, b"/host/dir".to_vec())));
        assert_eq!(get(&dirs, &marks, b"/a/c", &now(5, 1)), None);
        assert_eq!(get(&dirs, &marks, b"/a/b", &now(5, 2)), None);
        assert_eq!(get(&dirs, &marks, b"/a/b", &now(6, 1)), None);
        bumped.set(1);
        assert_eq!(get(&dirs, &marks, b"/a/b", &now(5, 1)), None);
    }

    #[test]
    fn names_have_entries_in_turn_and_more_names_than_entries_share_them() {
        let (dirs, marks) = (std::boxed::Box::new(Dirs::new()), Marks::new());
        let epochs = |_| 0;
        let now = Now { generation: 1, second: 5, raises: 0, epochs: &epochs };
        let name = |n: usize| std::format!("/dir/{n}").into_bytes();
        assert_eq!(get(&dirs, &marks, b"", &now), None);
        for n in 0..4 * ENTRIES {
            let name = name(n);
            let trail = trail_of(&name).unwrap();
            let passed = Passed { trail: &trail, epochs: 0 };
            let before = marks.used.load(Ordering::Relaxed);
            dirs.put(&marks, Key { base: 0, name: &name }, &name, DIR, &now, &passed);
            assert_eq!(get(&dirs, &marks, &name, &now), Some((DIR, name)));
            assert!(marks.used.load(Ordering::Relaxed) <= before + 1);
        }
        let kept = (0..4 * ENTRIES).filter(|&n| {
            let found = get(&dirs, &marks, &name(n), &now);
            assert!(found.as_ref().is_none_or(|(_, host)| *host == name(n)));
            found.is_some()
        });
        assert!((ENTRIES / 2..ENTRIES).contains(&kept.count()));
        // A name is put again where it was.
        let used = marks.used.load(Ordering::Relaxed);
        let trail = trail_of(b"/dir/7").unwrap();
        let passed = Passed { trail: &trail, epochs: 0 };
        dirs.put(&marks, Key { base: 0, name: b"/dir/7" }, b"/x", DIR, &now, &passed);
        assert_eq!(get(&dirs, &marks, b"/dir/7", &now), Some((DIR, b"/x".to_vec())));
        assert_eq!(marks.used.load(Ordering::Relaxed), used);
    }
}
