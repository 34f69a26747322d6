//! What each descriptor shows: which member served it, and whether names below
//! it need looking at. The kernel gives the numbers and keeps their life; a
//! number that nothing is known of is looked up by its host name when needed.

use crate::guest::Guests;
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// Descriptors beyond this are looked up each time; 8 bytes each, touched only
/// when used.
const KEPT: usize = 65_536;
/// The numbers that most programs have no more of: they lie beside what every process touches.
const FEW: usize = 32;

/// The table of a process.
#[repr(C)]
pub struct Fds {
    /// The numbers that a member has served lie below this: what
    /// [`Fds::served`] looks at. All of this begins as zeros, and takes no
    /// room in the library's file.
    end: AtomicI32,
    few: [AtomicU64; FEW],
    /// Children that share our memory note for themselves.
    pub(crate) guests: Guests,
    many: [AtomicU64; KEPT - FEW],
}

/// What is known of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Shown {
    /// The member that served it, 0 for the host.
    pub seq: u32,
    /// No mount point lies below it and it is no union: the host can be given
    /// names below it as they are.
    pub plain: bool,
    /// What would change it is EROFS.
    pub read_only: bool,
}

const KNOWN: u64 = 1;
const PLAIN: u64 = 2;
const READ_ONLY: u64 = 4;
/// It stands for a remote file; where the generation would be, the slot that
/// the file has among [`crate::remote::files::Files`].
const VIRTUAL: u64 = 1 << 31;
const GENERATION_BITS: u64 = 28;

/// What [`Fds::set`] leaves alone.
const SLOT: u64 = VIRTUAL | ((1 << GENERATION_BITS) - 1) << 3;

fn stamp(generation: u64) -> u64 {
    generation & ((1 << GENERATION_BITS) - 1)
}

impl Fds {
    /// Nothing is known.
    #[must_use]
    pub const fn new() -> Fds {
        Fds {
            end: AtomicI32::new(0),
            few: [const { AtomicU64::new(0) }; FEW],
            guests: Guests::new(),
            many: [const { AtomicU64::new(0) }; KEPT - FEW],
        }
    }

    /// What is noted, 0 for nothing.
    #[inline(always)]
    fn value(&self, fd: i32) -> u64 {
        let Some(entry) = self.entry(fd) else { return 0 };
        match self.guests.guest() {
            None => entry.load(Ordering::Relaxed),
            Some(guest) => guest.note(fd).unwrap_or(entry).load(Ordering::Relaxed),
        }
    }

    #[inline]
    fn entry(&self, fd: i32) -> Option<&AtomicU64> {
        // A negative number is a large one.
        let fd = fd as u32 as usize;
        self.few.get(fd).or_else(|| self.many.get(fd.wrapping_sub(FEW)))
    }

    /// Notes it.
    #[inline(always)]
    fn put(&self, fd: i32, value: u64) {
        let Some(entry) = self.entry(fd) else { return };
        let entry = self.guests.guest().map_or(entry, |guest| guest.place(fd));
        entry.store(value, Ordering::Relaxed);
        if (value >> 32 != 0 || value & VIRTUAL != 0) && fd >= self.end.load(Ordering::Relaxed) {
            self.end.fetch_max(fd + 1, Ordering::Relaxed);
        }
    }

    /// Notes it, after a look: most numbers were never noted, and their page is
    /// not to be touched.
    #[inline]
    fn replace(&self, fd: i32, value: u64) {
        if self.value(fd) != value {
            self.put(fd, value);
        }
    }

    /// What is known of `fd` under this generation of the table.
    #[inline]
    pub fn get(&self, fd: i32, generation: u64) -> Option<Shown> {
        let entry = self.value(fd);
        let stamped = entry & (KNOWN | VIRTUAL) == KNOWN;
        if !stamped || entry >> 3 & stamp(u64::MAX) != stamp(generation) {
            return None;
        }
        Some(Shown {
            seq: (entry >> 32) as u32,
            plain: entry & PLAIN != 0,
            read_only: entry & READ_ONLY != 0,
        })
    }

    /// The member that served `fd`, whatever has happened to the table since;
    /// 0 when none did or nothing is known.
    #[must_use]
    pub fn seq(&self, fd: i32) -> u32 {
        (self.value(fd) >> 32) as u32
    }

    /// Notes what `fd` shows. A remote file stays one.
    #[inline(always)]
    pub fn set(&self, fd: i32, shown: Shown, generation: u64) {
        let old = self.value(fd);
        let mut value = u64::from(shown.seq) << 32 | KNOWN | stamp(generation) << 3;
        value |= if shown.plain { PLAIN } else { 0 };
        value |= if shown.read_only { READ_ONLY } else { 0 };
        if old & VIRTUAL != 0 {
            value = value & !SLOT | old & SLOT;
        }
        if value != old {
            self.put(fd, value);
        }
    }

    /// Notes which member served `fd`, and nothing else.
    pub fn set_seq(&self, fd: i32, seq: u32) {
        self.replace(fd, u64::from(seq) << 32 | self.kept_slot(fd));
    }

    /// The bits that say which remote file `fd` is; 0 for none.
    #[inline]
    fn kept_slot(&self, fd: i32) -> u64 {
        let entry = self.value(fd);
        if entry & VIRTUAL != 0 { entry & SLOT } else { 0 }
    }

    /// The slot of the remote file that `fd` stands for.
    #[inline]
    pub(crate) fn slot(&self, fd: i32) -> Option<u32> {
        let entry = self.value(fd);
        (entry & VIRTUAL != 0).then(|| (entry >> 3 & stamp(u64::MAX)) as u32)
    }

    /// `fd` stands for the remote file in this slot.
    pub(crate) fn set_slot(&self, fd: i32, slot: u32) {
        self.replace(fd, VIRTUAL | stamp(slot.into()) << 3);
    }

    /// Whether what `fd` stands for may not be changed, when it is remote.
    #[must_use]
    pub fn is_read_only(&self, fd: i32) -> bool {
        self.value(fd) & (VIRTUAL | READ_ONLY) == VIRTUAL | READ_ONLY
    }

    /// The numbers that stand for remote files, with their slots.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (i32, u32)> + '_ {
        let end = self.end.load(Ordering::Relaxed);
        (0..end).filter_map(|fd| self.slot(fd).map(|slot| (fd, slot)))
    }

    /// Nothing is known of `fd` any more.
    #[inline]
    pub fn forget(&self, fd: i32) {
        self.replace(fd, 0);
    }

    /// What a child that shared its parent's memory had noted, in a copy of it.
    pub(crate) fn adopt(&self, fd: i32, value: u64) {
        self.replace(fd, value);
    }

    /// `to` has become a duplicate of `from`.
    #[inline]
    pub fn copy(&self, from: i32, to: i32) {
        self.replace(to, self.value(from));
    }

    /// The descriptors served by a member, with its number: what exec hands on.
    pub fn served(&self) -> impl Iterator<Item = (i32, u32)> + '_ {
        (0..self.end.load(Ordering::Relaxed)).filter_map(|fd| match self.seq(fd) {
            0 => None,
            seq => Some((fd, seq)),
        })
    }
}

impl Default for Fds {
    fn default() -> Self {
        Fds::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_ends_with_the_table_and_the_descriptor() {
        static FDS: Fds = Fds::new();
        let shown = Shown { seq: 9, plain: true, read_only: false };
        FDS.set(3, shown, 5);
        assert_eq!(FDS.get(3, 5), Some(shown));
        assert_eq!(FDS.get(3, 6), None);
        assert_eq!(FDS.seq(3), 9);
        FDS.copy(3, 4);
        FDS.forget(3);
        assert_eq!((FDS.get(3, 5), FDS.get(4, 5)), (None, Some(shown)));
        assert_eq!(FDS.served().collect::<std::vec::Vec<_>>(), [(4, 9)]);
        assert_eq!((FDS.get(-1, 5), FDS.get(i32::MAX, 5)), (None, None));
        // Each number has a place of its own, up to the last.
        let ends = [0, FEW - 1, FEW, KEPT - 1].map(|fd| fd as i32);
        ends.iter().for_each(|&fd| FDS.set_seq(fd, fd as u32 + 1));
        assert_eq!(ends.map(|fd| FDS.seq(fd)), ends.map(|fd| fd as u32 + 1));
        FDS.set_seq(KEPT as i32, 1);
        assert_eq!((FDS.seq(KEPT as i32), FDS.seq(KEPT as i32 - 2)), (0, 0));
        ends.iter().for_each(|&fd| FDS.forget(fd));
        assert_eq!(FDS.get(4, 5), Some(shown));
    }
}
