//! Directories as the namespace lists them: the entries of a union's members,
//! the first member that has a name winning, and the mount points that lie
//! directly below, which cover what the host has there or are added.
//!
//! The position in such a listing is the *kernel's* file offset of the real
//! directory descriptor, counting entries: so it is shared over dup, fork and
//! exec as a directory's is, and rewinddir, seekdir and telldir, which seek the
//! descriptor, need nothing of us.
//!
//! A listing is made when a descriptor is read at offset 0 and kept until its
//! end has been read, so that what is removed or made meanwhile shifts nothing
//! (readdir(3p) leaves open whether it is seen). A process that comes to a
//! descriptor in the middle (over exec; or because 64 others were read since)
//! makes it anew. Accepted: when names came or went in the meantime, some may
//! be listed twice or not at all there; and so they may when mount points are
//! made or removed right below a directory while it is being read, or when two
//! threads read one descriptor at the same moment.

use crate::fds::Shown;
use crate::process::View;
use crate::remote::file::File;
use alloc::boxed::Box;
use alloc::vec::Vec;
use privns_abi::{Errno, Result, Stat};
use privns_host::dirent::{self, Entry};
use privns_host::{Host, Kernel, Name, Slot};
use privns_namespace::index::MountRef;
use privns_namespace::remote::is_remote;

/// Listings kept at a time.
const KEPT: usize = 64;
/// Bytes read of a directory at a time.
const CHUNK: usize = 32 << 10;

/// The listings being read.
pub(crate) struct Listings {
    slots: [Slot<Listing>; KEPT],
}

/// A directory as it was at one moment.
#[derive(Default)]
struct Listing {
    of: Of,
    /// As getdents64(2) gives them; `d_off` of each is the number of the next.
    records: Vec<u8>,
    /// Where each record begins.
    starts: Vec<u32>,
    /// Only while it is made.
    names: Names,
}

/// What a listing is of: a number that was closed and is something else now
/// is not given the old one's entries.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Of {
    fd: i32,
    dev: u64,
    ino: u64,
    generation: u64,
}

impl Listings {
    pub(crate) const fn new() -> Listings {
        Listings { slots: [const { Slot::new() }; KEPT] }
    }

    fn slot(&self, fd: i32) -> &Slot<Listing> {
        &self.slots[fd as usize % KEPT]
    }
}

impl Default for Listings {
    fn default() -> Self {
        Listings::new()
    }
}

impl View<'_> {
    /// getdents64(2) for a descriptor that is not plain: puts records into `room`
    /// and goes on behind them. 0: the end.
    ///
    /// # Errors
    /// EBADF; EINVAL when not one record has room, EFAULT when there is no memory
    /// for one; ENOENT for a directory that has been removed; EACCES, ENOMEM and
    /// whatever reading it says.
    pub fn list(self, fd: i32, room: &mut [u8]) -> Result<usize> {
        let at = Kernel.lseek(fd, 0, libc::SEEK_CUR)?;
        let kept = self.process.listings.slot(fd);
        let directory = self.host().fstat(fd)?;
        let generation = self.family.generation();
        let of = Of { fd, dev: directory.dev, ino: directory.ino, generation };
        let known = kept.take().filter(|listing| listing.of == of && at != 0);
        let listing = match known {
            Some(listing) => listing,
            None => Box::new(self.make(fd, of)?),
        };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let (records, next) = dirent::put(room, |room| listing.from(at, room))?;
        let n = records.len();
        if n == 0 {
            return Ok(0);
        }
        Kernel.lseek(fd, next as i64, libc::SEEK_SET)?;
        kept.put(listing);
        Ok(n)
    }

    fn make(self, fd: i32, of: Of) -> Result<Listing> {
        let mut listing = Listing { of, ..Listing::default() };
        let shown = self.shown(fd);
        let ns = self.fd_name(fd, shown.seq)?;
        let table = self.table()?;
        let mount = table.index().find(ns.as_bytes()).mount;
        match mount.filter(|m| m.is_union() && m.path() == ns.as_bytes()) {
            Some(union) => listing.add_union(self, union, fd, shown)?,
            None => listing.add_directory(self, fd)?,
        }
        for (name, kind) in table.index().children(ns.as_bytes()) {
            listing.cover(self.mounted(&ns, name, kind))?;
        }
        listing.names = Names::default();
        Ok(listing)
    }

    /// The link count of the directory called `ns`, of which member `seq` says
    /// `own`: two, and at least as many as there are directories in it. Programs
    /// that walk trees (fts(3) with FTS_NOSTAT) pass over those beyond it. 1
    /// where a member counts none.
    #[must_use]
    pub fn links(self, ns: &Name, seq: u32, own: u64) -> u64 {
        let Some(table) = self.table().ok().filter(|_| own > 1) else { return 1 };
        let mounts = table.index().children(ns.as_bytes()).count() as u64;
        let mount = table.index().find(ns.as_bytes()).mount;
        let members = mount.filter(|m| m.path() == ns.as_bytes()).map(MountRef::members);
        let others = members.into_iter().flatten().filter(|m| m.seq() != seq);
        let count = others.map(|member| {
            let host = Name::from(if member.host().is_empty() { b"/" } else { member.host() });
            match host.and_then(|mut host| self.host().lstat(host.as_cstr()?)) {
                Ok(directory) => directory.links.checked_sub(2),
                Err(_) => Some(0),
            }
        });
        count.sum::<Option<u64>>().map_or(1, |others| own + others + mounts)
    }

    /// The entry for a mount point: the number is that of what is mounted.
    fn mounted<'n>(self, dir: &Name, name: &'n [u8], kind: u8) -> Entry<'n> {
        // A source that is missing just now keeps its place in the listing.
        let unknown = Entry { ino: 1, kind, name };
        let look = || -> Result<Stat> {
            let mut at = Name::from(dir.as_bytes())?;
            at.join(name)?;
            let table = self.table()?;
            let mount = table.index().find(at.as_bytes()).mount.ok_or(Errno::ENOENT)?;
            let host = mount.first().host();
            if is_remote(host) {
                // No listing waits for a server.
                return Err(Errno::EREMOTE);
            }
            Kernel.lstat(Name::from(if host.is_empty() { b"/" } else { host })?.as_cstr()?)
        };
        match look() {
            // The type bits of a mode, shifted, are the DT_* numbers.
            Ok(st) => Entry { ino: st.ino.max(1), kind: (st.mode >> 12 & 15) as u8, name },
            Err(_) => unknown,
        }
    }
}

impl Listing {
    /// The members' entries. One that cannot be read just now has none, as in
    /// lookups, unless none can be.
    fn add_union(
        &mut self,
        view: View<'_>,
        union: MountRef<'_>,
        fd: i32,
        shown: Shown,
    ) -> Result<()> {
        let mut done = Err(Errno::ENOENT);
        for member in union.members() {
            let added = if member.seq() == shown.seq {
                self.add_directory(view, fd)
            } else if is_remote(member.host()) {
                view.remote_dir(member.host()).and_then(|dir| self.add_remote(view, &dir))
            } else {
                open_dir(member.host()).and_then(|dir| self.add_open(dir))
            };
            done = match (added, done) {
                (Err(Errno::ENOMEM), _) => return Err(Errno::ENOMEM),
                (Err(error), Err(_)) => Err(error),
                _ => Ok(()),
            };
        }
        done
    }

    /// The entries of the very directory behind `fd`, whatever it is called by
    /// now, read through a description of its own: the offset of `fd` is ours.
    fn add_directory(&mut self, view: View<'_>, fd: i32) -> Result<()> {
        if let Some(file) = view.process.file(fd) {
            return self.add_remote(view, &file);
        }
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // Without /proc; this way needs leave to search it, too.
        let opened = Kernel.reopen(fd, flags).or_else(|_| Kernel.openat(fd, c".", flags, 0));
        self.add_open(opened?)
    }

    fn add_remote(&mut self, view: View<'_>, dir: &File) -> Result<()> {
        view.remote_entries(dir, &mut |entry| self.add(entry).map(drop))
    }

    fn add_open(&mut self, dir: i32) -> Result<()> {
        let mut chunk = Vec::new();
        let reserved = chunk.try_reserve_exact(CHUNK).map_err(|_| Errno::ENOMEM);
        let read = reserved.and_then(|()| {
            loop {
                Kernel.getdents64(dir, &mut chunk)?;
                if chunk.is_empty() {
                    return Ok(());
                }
                dirent::entries(&chunk).try_for_each(|entry| self.add(entry).map(drop))?;
            }
        });
        let _ = Kernel.close(dir);
        read
    }

    /// Adds an entry unless its name is there: the number of the one that is.
    fn add(&mut self, entry: Entry<'_>) -> Result<Option<usize>> {
        let Listing { records, starts, names, .. } = self;
        let there = names.find(entry.name, |n| name_of(records, starts, n))?;
        if there.is_some() {
            return Ok(there);
        }
        let start = u32::try_from(records.len()).map_err(|_| Errno::ENOMEM)?;
        starts.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        entry.push(starts.len() as i64 + 1, records)?;
        starts.push(start);
        Ok(None)
    }

    /// Adds a mount point, which covers an entry of its name.
    fn cover(&mut self, entry: Entry<'_>) -> Result<()> {
        if let Some(n) = self.add(entry)? {
            let start = self.starts.get(n).map_or(usize::MAX, |&start| start as usize);
            dirent::patch(&mut self.records, start, entry.ino, entry.kind);
        }
        Ok(())
    }

    /// The records from number `at` on, as many as have room, and the number
    /// of the one after them; `None` when not one has.
    fn from(&self, at: usize, room: usize) -> Option<(&[u8], usize)> {
        let start = |n: usize| self.starts.get(n).map_or(self.records.len(), |&s| s as usize);
        if at >= self.starts.len() {
            return Some((&[], at));
        }
        let limit = start(at).saturating_add(room);
        let fit = self.starts[at..].partition_point(|&s| s as usize <= limit);
        // The last of these begins within the room, and ends there only if it
        // is followed by one that begins within it, or by the end.
        let next = at + if self.records.len() <= limit { fit } else { fit.saturating_sub(1) };
        let records = self.records.get(start(at)..start(next)).unwrap_or_default();
        (next > at).then_some((records, next))
    }
}

fn open_dir(host: &[u8]) -> Result<i32> {
    let mut host = Name::from(if host.is_empty() { b"/" } else { host })?;
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    Kernel.openat(libc::AT_FDCWD, host.as_cstr()?, flags, 0)
}

fn name_of<'r>(records: &'r [u8], starts: &[u32], n: usize) -> &'r [u8] {
    let entry = starts.get(n).and_then(|&start| dirent::entry(records, start as usize));
    entry.map_or(b"", |(entry, _)| entry.name)
}

/// Which names are listed: an open hash table of entry numbers.
#[derive(Default)]
struct Names {
    /// The upper half of the name's hash, and the number plus one; 0: free. A
    /// power of two of them, or none.
    places: Vec<u64>,
    used: usize,
}

const NUMBER: u64 = u32::MAX as u64;

impl Names {
    /// The number of the entry called `name`; `None`, and it is taken to be
    /// the next number, when there is none.
    fn find<'r>(
        &mut self,
        name: &[u8],
        name_of: impl Fn(usize) -> &'r [u8],
    ) -> Result<Option<usize>> {
        if self.used * 2 >= self.places.len() {
            self.grow(&name_of)?;
        }
        let (hash, mask) = (hash(name), self.places.len() - 1);
        let mut at = hash as usize & mask;
        while self.places[at] != 0 {
            let n = (self.places[at] & NUMBER) as usize - 1;
            if self.places[at] & !NUMBER == hash & !NUMBER && name_of(n) == name {
                return Ok(Some(n));
            }
            at = (at + 1) & mask;
        }
        self.used += 1;
        let number = u32::try_from(self.used).map_err(|_| Errno::ENOMEM)?;
        self.places[at] = hash & !NUMBER | u64::from(number);
        Ok(None)
    }

    fn grow<'r>(&mut self, name_of: &impl Fn(usize) -> &'r [u8]) -> Result<()> {
        let len = (self.places.len() * 4).max(64);
        let mut places = Vec::new();
        places.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
        places.resize(len, 0);
        for n in 0..self.used {
            let hash = hash(name_of(n));
            let mut at = hash as usize & (len - 1);
            while places[at] != 0 {
                at = (at + 1) & (len - 1);
            }
            places[at] = hash & !NUMBER | (n as u64 + 1);
        }
        self.places = places;
        Ok(())
    }
}

/// Every bit of the name counts in every bit of the hash: both halves of each
/// product go on.
fn hash(name: &[u8]) -> u64 {
    name.chunks(8).fold(name.len() as u64, |h, part| {
        let mut word = [0; 8];
        word[..part.len()].copy_from_slice(part);
        let mixed = h ^ u64::from_ne_bytes(word) ^ 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(mixed) * 0xd6e8_feb8_6659_fd93_u128;
        product as u64 ^ (product >> 64) as u64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[&[u8]]) -> Listing {
        let mut listing = Listing::default();
        for (i, name) in names.iter().enumerate() {
            listing.add(Entry { ino: i as u64 + 1, kind: libc::DT_REG, name }).unwrap();
        }
        listing
    }

    fn read(listing: &Listing, at: usize, room: usize) -> Option<(Vec<Vec<u8>>, usize)> {
        let (records, next) = listing.from(at, room)?;
        Some((dirent::entries(records).map(|e| e.name.to_vec()).collect(), next))
    }

    #[test]
    fn the_first_entry_of_a_name_stays_and_a_mount_point_covers_it() {
        let mut listing = listing(&[b".", b"a", b"b", b"a"]);
        assert_eq!(listing.starts.len(), 3);
        listing.cover(Entry { ino: 70, kind: libc::DT_DIR, name: b"a" }).unwrap();
        listing.cover(Entry { ino: 80, kind: libc::DT_DIR, name: b"new" }).unwrap();
        let got: Vec<_> =
            dirent::entries(&listing.records).map(|e| (e.ino, e.kind, e.name)).collect();
        let (file, dir) = (libc::DT_REG, libc::DT_DIR);
        let want: [(u64, u8, &[u8]); 4] =
            [(1, file, b"."), (70, dir, b"a"), (3, file, b"b"), (80, dir, b"new")];
        assert_eq!(got, want);
    }

    #[test]
    fn any_room_gives_every_entry_once_and_in_order() {
        let names: Vec<Vec<u8>> =
            (0..200).map(|n| std::format!("{:x<1$}", n, n % 40 + 3).into_bytes()).collect();
        let listing = listing(&names.iter().map(Vec::as_slice).collect::<Vec<_>>());
        for room in [64, 65, 71, 100, 1000, 1 << 20] {
            let (mut at, mut got) = (0, Vec::new());
            loop {
                let (some, next) = read(&listing, at, room).unwrap();
                if some.is_empty() {
                    break;
                }
                got.extend(some);
                at = next;
            }
            assert_eq!(got, names, "room for {room} bytes");
        }
        assert!(read(&listing, 0, 23).is_none());
        assert_eq!(read(&listing, usize::MAX, 64).unwrap().0.len(), 0);
    }

    #[test]
    fn many_names_are_told_apart() {
        let names: Vec<Vec<u8>> =
            (0..20_000).map(|n| std::format!("file-{n:07}").into_bytes()).collect();
        let twice = names.iter().chain(&names).map(Vec::as_slice).collect::<Vec<_>>();
        assert_eq!(listing(&twice).starts.len(), names.len());
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod real_tests;
