//! POSIX byte-range locks between the clients of one server (fcntl(2)), and those of
//! flock(2), which are in the way of their like alone.
//!
//! An owner is a process on a host, as Tlock names it. What an owner holds
//! through an open file goes with that file. Nobody waits here: a client asks
//! again. That it does so is remembered until it should have done so, in order
//! to find those that wait for each other.

use parking_lot::Mutex;
use privns_abi::{Errno, Result};
use privns_ninep::client::FLOCK;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Whose lock it is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Owner {
    /// Process number.
    pub process: u32,
    /// The host it runs on, as it calls itself.
    pub host: Vec<u8>,
}

/// A locked range: bytes from `start` up to, not including, `end`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// Nobody else may hold a lock here.
    pub exclusive: bool,
    /// First byte.
    pub start: u64,
    /// Behind the last byte; `u64::MAX`: to the end of the file.
    pub end: u64,
    /// Who holds it.
    pub owner: Owner,
    /// The open file through which it was taken.
    pub through: u64,
}

impl Owner {
    /// Whether its locks are those of flock(2).
    fn flocks(&self) -> bool {
        self.host.windows(FLOCK.len()).any(|part| part == FLOCK)
    }
}

impl Held {
    fn conflicts(&self, other: &Held) -> bool {
        self.owner != other.owner
            && self.owner.flocks() == other.owner.flocks()
            && (self.exclusive || other.exclusive)
            && self.start < other.end
            && other.start < self.end
    }
}

/// Ranges that one file may have locked at most, and all of a server's.
const RANGES_MAX: usize = 4096;
const ALL_MAX: usize = 65_536;
/// How long somebody is taken to wait who does not ask again, and how many are
/// remembered.
const PATIENCE: Duration = Duration::from_secs(1);
const WAITING_MAX: usize = 4096;

/// The locks of a server, by qid path.
#[derive(Debug, Default)]
pub struct Locks {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    files: HashMap<u64, Vec<Held>>,
    /// Ranges of all files together.
    all: usize,
    /// What each owner waits for.
    waiting: HashMap<Owner, Wait>,
}

/// A lock that somebody asks for again and again.
#[derive(Debug)]
struct Wait {
    file: u64,
    want: Held,
    until: Instant,
}

impl Table {
    /// Changes what is held on a file, by which `more` ranges are added at most.
    ///
    /// # Errors
    /// ENOLCK when there are too many for it.
    fn change(
        &mut self,
        file: u64,
        more: usize,
        change: impl FnOnce(&mut Vec<Held>),
    ) -> Result<()> {
        let held = self.files.entry(file).or_default();
        let before = held.len();
        let room = more == 0 || (before + more <= RANGES_MAX && self.all + more <= ALL_MAX);
        if room {
            change(held);
        }
        self.all = self.all - before + held.len();
        if held.is_empty() {
            self.files.remove(&file);
        }
        if room { Ok(()) } else { Err(Errno::ENOLCK) }
    }

    fn conflicts<'t>(&'t self, file: u64, want: &'t Held) -> impl Iterator<Item = &'t Held> {
        let held = self.files.get(&file).into_iter().flatten();
        held.filter(move |h| h.conflicts(want))
    }

    /// Whether somebody for whom this lock has to wait waits, by way of others
    /// or not, for its owner.
    fn is_deadlock(&self, file: u64, want: &Held, now: Instant) -> bool {
        let mut known: Vec<&Owner> = self.conflicts(file, want).map(|h| &h.owner).collect();
        let mut at = 0;
        while let Some(&owner) = known.get(at) {
            at += 1;
            let Some(wait) = self.waiting.get(owner).filter(|wait| now < wait.until) else {
                continue;
            };
            for held in self.conflicts(wait.file, &wait.want) {
                if held.owner == want.owner {
                    return true;
                }
                if !known.contains(&&held.owner) {
                    known.push(&held.owner);
                }
            }
        }
        false
    }
}

impl Locks {
    /// Takes a lock, in place of what the owner held in that range; false
    /// when somebody else is in the way.
    ///
    /// # Errors
    /// ENOLCK when the file has too many.
    pub fn take(&self, file: u64, want: Held) -> Result<bool> {
        let mut table = self.table.lock();
        if table.conflicts(file, &want).next().is_some() {
            return Ok(false);
        }
        table.waiting.remove(&want.owner);
        table.change(file, 2, |held| {
            carve(held, &want.owner, want.start, want.end);
            join(held, want);
        })?;
        Ok(true)
    }

    /// The owner of a lock that was not granted will ask again.
    ///
    /// # Errors
    /// EDEADLK when that is in vain: those in the way wait for the owner.
    pub fn wait(&self, file: u64, want: Held) -> Result<()> {
        let mut table = self.table.lock();
        let now = Instant::now();
        if table.is_deadlock(file, &want, now) {
            table.waiting.remove(&want.owner);
            return Err(Errno::EDEADLOCK);
        }
        if table.waiting.len() >= WAITING_MAX {
            table.waiting.retain(|_, wait| now < wait.until);
        }
        if table.waiting.len() < WAITING_MAX {
            let wait = Wait { file, until: now + PATIENCE, want };
            table.waiting.insert(wait.want.owner.clone(), wait);
        }
        Ok(())
    }

    /// An owner does not wait any more.
    pub fn forgo(&self, owner: &Owner) {
        self.table.lock().waiting.remove(owner);
    }

    /// Gives up what the owner holds in a range.
    ///
    /// # Errors
    /// ENOLCK when a hole in the middle of a range makes too many.
    pub fn release(&self, file: u64, owner: &Owner, start: u64, end: u64) -> Result<()> {
        let mut table = self.table.lock();
        // Only a hole in the middle of a range makes one more of it.
        let holed = |h: &Held| h.owner == *owner && h.start < start && end < h.end;
        let more = table.files.get(&file).is_some_and(|held| held.iter().any(holed));
        table.change(file, more.into(), |held| carve(held, owner, start, end))
    }

    /// The first lock that is in the way of this one.
    pub fn in_the_way(&self, file: u64, want: &Held) -> Option<Held> {
        self.table.lock().conflicts(file, want).next().cloned()
    }

    /// Gives up all that was taken through an open file.
    pub fn closed(&self, file: u64, through: u64) {
        let mut table = self.table.lock();
        let Some(held) = table.files.get_mut(&file) else { return };
        let before = held.len();
        held.retain(|h| h.through != through);
        let left = held.len();
        table.all -= before - left;
        if left == 0 {
            table.files.remove(&file);
        }
    }
}

/// Cuts a range out of what `owner` holds.
fn carve(held: &mut Vec<Held>, owner: &Owner, start: u64, end: u64) {
    let mut tails = Vec::new();
    held.retain_mut(|h| {
        if h.owner != *owner || h.end <= start || end <= h.start {
            return true;
        }
        if h.end > end {
            tails.push(Held { start: end, ..h.clone() });
        }
        h.end = start;
        h.start < start
    });
    held.append(&mut tails);
    held.sort_by_key(|h| h.start);
}

/// Puts a range among the others, and makes one of it and those of its kind
/// that it touches: which is what F_GETLK of fcntl(2) tells of.
fn join(held: &mut Vec<Held>, mut new: Held) {
    held.retain(|h| {
        let kind = (h.exclusive, &h.owner, h.through) == (new.exclusive, &new.owner, new.through);
        let joined = kind && (h.end == new.start || new.end == h.start);
        if joined {
            (new.start, new.end) = (new.start.min(h.start), new.end.max(h.end));
        }
        !joined
    });
    let at = held.partition_point(|h| h.start <= new.start);
    held.insert(at, new);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(process: u32, exclusive: bool, start: u64, end: u64) -> Held {
        let owner = Owner { process, host: b"h".to_vec() };
        Held { exclusive, start, end, owner, through: process.into() }
    }

    #[test]
    fn readers_share_and_a_writer_excludes() {
        let locks = Locks::default();
        assert_eq!(locks.take(1, lock(1, false, 0, 10)), Ok(true));
        assert_eq!(locks.take(1, lock(2, false, 5, 15)), Ok(true));
        assert_eq!(locks.take(1, lock(3, true, 9, 11)), Ok(false));
        assert_eq!(locks.take(1, lock(3, true, 15, 20)), Ok(true));
        assert_eq!(locks.take(2, lock(3, true, 0, 20)), Ok(true), "another file");
    }

    #[test]
    fn those_of_flock_are_in_the_way_of_their_like() {
        let locks = Locks::default();
        let flock = |through| {
            let host = [b"h", FLOCK, &[through as u8]].concat();
            Held { through, owner: Owner { process: 0, host }, ..lock(0, true, 0, u64::MAX) }
        };
        assert_eq!(locks.take(1, flock(1)), Ok(true));
        assert_eq!(locks.take(1, lock(2, true, 0, 10)), Ok(true));
        assert_eq!(locks.in_the_way(1, &lock(3, true, 20, 30)), None);
        assert_eq!(locks.take(1, flock(4)), Ok(false));
        locks.closed(1, 1);
        assert_eq!(
            (locks.take(1, flock(4)), locks.take(1, lock(3, true, 9, 11))),
            (Ok(true), Ok(false))
        );
    }

    #[test]
    fn unlocking_the_middle_leaves_both_ends() {
        let locks = Locks::default();
        locks.take(1, lock(1, true, 0, u64::MAX)).unwrap();
        locks.release(1, &lock(1, true, 0, 0).owner, 10, 20).unwrap();
        assert_eq!(locks.take(1, lock(2, true, 10, 20)), Ok(true));
        assert_eq!(locks.take(1, lock(2, true, 9, 10)), Ok(false));
        assert_eq!(locks.take(1, lock(2, true, 20, 21)), Ok(false));
    }

    #[test]
    fn an_owner_changes_its_own_lock_in_place() {
        let locks = Locks::default();
        locks.take(1, lock(1, true, 0, 100)).unwrap();
        assert_eq!(locks.take(1, lock(1, false, 0, 50)), Ok(true));
        assert_eq!(locks.take(1, lock(2, false, 0, 50)), Ok(true));
        assert_eq!(locks.in_the_way(1, &lock(2, false, 0, 60)).map(|h| h.start), Some(50));
    }

    #[test]
    fn the_first_range_in_the_way_is_told_as_a_whole() {
        let locks = Locks::default();
        for (exclusive, start, end) in
            [(true, 20, 30), (false, 5, 8), (false, 0, 5), (true, 10, 12), (false, 8, 9)]
        {
            locks.take(1, lock(1, exclusive, start, end)).unwrap();
        }
        let told = |from| {
            locks.in_the_way(1, &lock(2, true, from, 99)).map(|h| (h.exclusive, h.start, h.end))
        };
        assert_eq!((told(0), told(9)), (Some((false, 0, 9)), Some((true, 10, 12))));
        locks.release(1, &lock(1, true, 0, 0).owner, 2, 4).unwrap();
        assert_eq!((told(0), told(2)), (Some((false, 0, 2)), Some((false, 4, 9))));
    }

    #[test]
    fn those_who_wait_for_each_other_are_told() {
        let locks = Locks::default();
        for n in 1..=3 {
            assert_eq!(locks.take(n.into(), lock(n, true, 0, 10)), Ok(true));
        }
        let wants = |n: u32, file: u64| {
            assert_eq!(locks.take(file, lock(n, true, 5, 6)), Ok(false));
            locks.wait(file, lock(n, true, 5, 6))
        };
        assert_eq!((wants(1, 2), wants(2, 3), wants(1, 2)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(wants(3, 1), Err(Errno::EDEADLOCK));
        assert_eq!(wants(4, 1), Ok(()), "nobody waits for that one");
        // Two only, and one of them gives up.
        assert_eq!(wants(2, 1), Err(Errno::EDEADLOCK));
        locks.forgo(&lock(1, true, 0, 0).owner);
        assert_eq!(wants(2, 1), Ok(()));
        assert_eq!(wants(3, 1), Ok(()));
        // What is granted is not waited for.
        locks.closed(1, 1);
        assert_eq!(locks.take(1, lock(2, true, 5, 6)), Ok(true));
        assert_eq!(wants(1, 2), Ok(()));
        // Nor does anybody wait who has not asked for long.
        for wait in locks.table.lock().waiting.values_mut() {
            wait.until = Instant::now();
        }
        assert_eq!(wants(2, 3), Ok(()));
    }

    #[test]
    fn there_are_only_so_many() {
        let locks = Locks::default();
        let taken = (0..).map_while(|i| locks.take(1, lock(1, true, 2 * i, 2 * i + 1)).ok());
        assert_eq!(taken.count(), RANGES_MAX - 1);
        let owner = lock(1, true, 0, 0).owner;
        assert_eq!(locks.release(1, &owner, 0, 4000), Ok(()), "less can always be had");
        locks.closed(1, 1);
        assert_eq!(locks.take(1, lock(1, true, 0, 1)), Ok(true));
        assert_eq!(locks.table.lock().all, 1);
    }

    #[test]
    fn closing_gives_up_what_was_taken_through_it() {
        let locks = Locks::default();
        locks.take(1, lock(1, true, 0, 10)).unwrap();
        locks.closed(1, 1);
        let table = locks.table.lock();
        assert_eq!((table.files.len(), table.all), (0, 0));
    }
}
