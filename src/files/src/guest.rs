//! Children that share our memory: from vfork, and those in which libc's
//! posix_spawn runs its file actions.
//!
//! Such a child has a working directory and descriptors of its own, and what
//! it does to them must not be noted as done by us. So it notes in a [`Guest`]
//! of its own, which the parent's thread has made ready before and takes back
//! when the call returns: until the child has run its program that thread
//! waits, and the two are one thread to the C library. That is why a guest is
//! found by the thread pointer.

use crate::process::Cwd;
use crate::remote::conn::{Conn, Connection};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use once_cell::race::OnceBox;
use privns_abi::Result;
use privns_host::{Kernel, Slot, elsewhere};

const SLOTS: usize = 8;
/// Descriptors that one child may note before there must be another block.
const NOTES: usize = 48;
/// Remote files that one child may open and have closed when it is gone.
const OWNED: usize = 16;
/// Servers that one child may speak to without its parent's connections.
const DIALLED: usize = 4;
/// Blocks of memory that outlive a child's exec.
const KEPT: usize = 4;

/// The children under way.
#[repr(C)]
pub struct Guests {
    /// Threads inside such a call.
    sharing: AtomicU32,
    /// Ours: what tells the child from us, asked only while there is one.
    pid: AtomicI32,
    first: Block,
}

struct Block {
    guests: [Guest; SLOTS],
    next: OnceBox<Block>,
}

/// What one such child knows of itself.
pub struct Guest {
    /// The thread pointer that it shares with its parent's thread; 0: free.
    owner: AtomicUsize,
    /// How many children deep: one that makes such a child is one with it.
    depth: AtomicU32,
    pub(crate) cwd: Cwd,
    notes: Notes,
    kept: [(AtomicUsize, AtomicUsize); KEPT],
    /// Slots of remote files that it has opened, each plus one.
    owned: [AtomicU32; OWNED],
    /// Connections that it has made itself: their descriptors are its own.
    dialled: [Slot<Conn>; DIALLED],
}

/// What is noted of descriptors.
struct Notes {
    notes: [Note; NOTES],
    next: OnceBox<Notes>,
}

/// A descriptor's number + 1, and what is noted of it.
struct Note {
    number: AtomicI32,
    value: AtomicU64,
}

impl Guests {
    pub(crate) const fn new() -> Guests {
        Guests { sharing: AtomicU32::new(0), pid: AtomicI32::new(0), first: Block::new() }
    }

    /// The guest that calls, when it is one.
    #[inline]
    pub(crate) fn guest(&self) -> Option<&Guest> {
        if self.sharing.load(Ordering::Relaxed) == 0 { None } else { self.look() }
    }

    #[cold]
    fn look(&self) -> Option<&Guest> {
        if Kernel.getpid() == self.pid.load(Ordering::Relaxed) {
            return None;
        }
        self.find(privns_host::raw::thread_pointer())
    }

    /// Whether a number is that of a connection which the guest that calls has made.
    pub(crate) fn dialled_at(&self, fd: i32) -> bool {
        self.guest().is_some_and(|guest| guest.dials_at(fd))
    }

    fn find(&self, owner: usize) -> Option<&Guest> {
        self.all().find(|guest| guest.owner.load(Ordering::Acquire) == owner)
    }

    fn all(&self) -> impl Iterator<Item = &Guest> {
        let blocks = core::iter::successors(Some(&self.first), |block| block.next.get());
        blocks.flat_map(|block| &block.guests)
    }

    /// Makes a guest ready for the child that the calling thread is about to
    /// make.
    pub(crate) fn invite(&self, cwd: &Cwd) {
        let owner = privns_host::raw::thread_pointer();
        let known = self.find(owner);
        if known.is_none() || self.sharing.load(Ordering::Relaxed) == 0 {
            // Not in a guest ourselves. Asked again each time: a process made
            // by a raw clone(2) has run no handler of ours.
            self.pid.store(Kernel.getpid(), Ordering::Relaxed);
        }
        let guest = known.unwrap_or_else(|| {
            let guest = self.claim(owner);
            guest.cwd.copy(cwd);
            guest.notes.all().for_each(|note| note.number.store(0, Ordering::Relaxed));
            guest.depth.store(0, Ordering::Relaxed);
            guest
        });
        guest.depth.fetch_add(1, Ordering::Relaxed);
        self.sharing.fetch_add(1, Ordering::AcqRel);
    }

    /// In a guest: leaves a number of ours to its program; whether that is one.
    ///
    /// # Errors
    /// EMFILE.
    pub(crate) fn leave(&self, fd: i32, cloexec: bool) -> Result<bool> {
        let Some(guest) = self.guest() else { return Ok(false) };
        let (parent, depth) = (&self.pid, &guest.depth);
        let (parent, depth) = (parent.load(Ordering::Relaxed), depth.load(Ordering::Relaxed));
        elsewhere::leave(fd, parent, depth, cloexec).map(|()| true)
    }

    fn claim(&self, owner: usize) -> &Guest {
        let mut block = &self.first;
        loop {
            for guest in &block.guests {
                let free = guest.owner.load(Ordering::Relaxed) == 0;
                let (acquire, relaxed) = (Ordering::Acquire, Ordering::Relaxed);
                if free && guest.owner.compare_exchange(0, owner, acquire, relaxed).is_ok() {
                    return guest;
                }
            }
            block = block.next.get_or_init(|| Box::new(Block::new()));
        }
    }

    /// The child has gone its way. `free` gets what it has left behind, as
    /// [`Guest::keep`] was given it, `close` the remote files that it has
    /// opened. A guest that has made one itself takes back only its numbers.
    pub(crate) fn dismiss(&self, free: &mut dyn FnMut(usize, usize), close: &mut dyn FnMut(u32)) {
        self.sharing.fetch_sub(1, Ordering::AcqRel);
        let Some(guest) = self.find(privns_host::raw::thread_pointer()) else { return };
        if Kernel.getpid() != self.pid.load(Ordering::Relaxed) {
            elsewhere::back(guest.depth.fetch_sub(1, Ordering::Relaxed) - 1);
            return;
        }
        elsewhere::back(0);
        for (at, len) in &guest.kept {
            match at.swap(0, Ordering::Relaxed) {
                0 => {}
                at => free(at, len.load(Ordering::Relaxed)),
            }
        }
        // Before files that are open on them: nothing may be said there.
        let dialled = guest.dialled.iter().filter_map(Slot::take);
        dialled.for_each(|conn| Connection::lose(&conn));
        guest.cwd.leave_remote();
        for slot in &guest.owned {
            match slot.swap(0, Ordering::Relaxed) {
                0 => {}
                slot => close(slot - 1),
            }
        }
        guest.owner.store(0, Ordering::Release);
    }

    /// For the child of a fork, which has a copy of all that was under way in
    /// other threads.
    pub(crate) fn forked(&self) {
        // Mostly there is none, and then no page is touched: each would cost
        // the child a fault.
        if self.sharing.load(Ordering::Relaxed) != 0 {
            self.pid.store(Kernel.getpid(), Ordering::Relaxed);
            self.sharing.store(0, Ordering::Relaxed);
            self.all().for_each(|guest| guest.owner.store(0, Ordering::Relaxed));
        }
    }
}

impl Block {
    const fn new() -> Block {
        Block { guests: [const { Guest::new() }; SLOTS], next: OnceBox::new() }
    }
}

impl Guest {
    const fn new() -> Guest {
        Guest {
            owner: AtomicUsize::new(0),
            depth: AtomicU32::new(0),
            cwd: Cwd::new(),
            notes: Notes::new(),
            kept: [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; KEPT],
            owned: [const { AtomicU32::new(0) }; OWNED],
            dialled: [const { Slot::new() }; DIALLED],
        }
    }

    /// Remembers memory that exec still reads when the child is gone, for the
    /// parent to free.
    pub fn keep(&self, at: usize, len: usize) {
        if let Some(kept) = self.kept.iter().find(|k| k.0.load(Ordering::Relaxed) == 0) {
            kept.1.store(len, Ordering::Relaxed);
            kept.0.store(at, Ordering::Relaxed);
        }
    }

    /// The connection to a server that it has made itself.
    pub(crate) fn dialled(&self, server: u32) -> Option<Conn> {
        let place = &self.dialled[server as usize % DIALLED];
        let known = place.take()?;
        let conn = (known.server == server && !known.is_dead()).then(|| Conn::clone(&known));
        drop(place.put(known));
        conn
    }

    /// It has made one. Another's in its place ends with what is open on it.
    pub(crate) fn dials(&self, conn: Conn) {
        let place = &self.dialled[conn.server as usize % DIALLED];
        drop(place.put(Box::new(conn)));
    }

    /// What it has noted of each descriptor.
    pub(crate) fn noted(&self) -> impl Iterator<Item = (i32, u64)> {
        let pairs = self.notes.all().map(|note| {
            (note.number.load(Ordering::Relaxed) - 1, note.value.load(Ordering::Relaxed))
        });
        pairs.filter(|(fd, _)| *fd >= 0)
    }

    /// In a copy of it, in which its connections are not to be heard.
    pub(crate) fn forked(&self) {
        self.dialled.iter().filter_map(Slot::take).for_each(|conn| Connection::forsake(&conn));
    }

    /// Whether a number is that of a connection which it has made itself.
    fn dials_at(&self, fd: i32) -> bool {
        let stands = |place: &Slot<Conn>| {
            let Some(conn) = place.take() else { return false };
            let stands = conn.client.transport().socket().fd() == fd;
            drop(place.put(conn));
            stands
        };
        self.dialled.iter().any(stands)
    }

    /// Notes a remote file that it has opened itself.
    pub(crate) fn owns(&self, slot: u32) {
        let free = |place: &&AtomicU32| place.load(Ordering::Relaxed) == 0;
        if let Some(place) = self.owned.iter().find(free) {
            place.store(slot + 1, Ordering::Relaxed);
        }
    }

    /// Forgets it again: exec has failed.
    pub fn unkeep(&self) {
        self.kept.iter().for_each(|kept| kept.0.store(0, Ordering::Relaxed));
    }

    /// What is noted of `fd`; `None`: what the parent knows holds.
    pub(crate) fn note(&self, fd: i32) -> Option<&AtomicU64> {
        self.notes.find(fd + 1).map(|note| &note.value)
    }

    /// The place to note something of `fd`.
    pub(crate) fn place(&self, fd: i32) -> &AtomicU64 {
        if let Some(value) = self.note(fd) {
            return value;
        }
        let note = self.notes.free();
        note.number.store(fd + 1, Ordering::Relaxed);
        &note.value
    }
}

impl Notes {
    const fn new() -> Notes {
        let notes = [const { Note { number: AtomicI32::new(0), value: AtomicU64::new(0) } }; NOTES];
        Notes { notes, next: OnceBox::new() }
    }

    fn all(&self) -> impl Iterator<Item = &Note> {
        let blocks = core::iter::successors(Some(self), |block| block.next.get());
        blocks.flat_map(|block| &block.notes)
    }

    fn find(&self, number: i32) -> Option<&Note> {
        self.all().find(|note| note.number.load(Ordering::Relaxed) == number)
    }

    fn free(&self) -> &Note {
        let mut block = self;
        loop {
            let free = |note: &&Note| note.number.load(Ordering::Relaxed) == 0;
            match block.notes.iter().find(free) {
                Some(note) => return note,
                None => block = block.next.get_or_init(|| Box::new(Notes::new())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_no_guest_and_a_guest_notes_for_itself() {
        static GUESTS: Guests = Guests::new();
        let cwd = Cwd::new();
        assert!(GUESTS.guest().is_none());
        GUESTS.invite(&cwd);
        assert!(GUESTS.guest().is_none());
        // As in a child: another process number, the same thread pointer.
        let pid = GUESTS.pid.swap(-1, Ordering::Relaxed);
        let guest = GUESTS.guest().unwrap();
        assert!(guest.note(3).is_none());
        guest.place(3).store(7, Ordering::Relaxed);
        assert_eq!(guest.note(3).unwrap().load(Ordering::Relaxed), 7);
        guest.keep(0x1000, 64);
        GUESTS.pid.store(pid, Ordering::Relaxed);
        let mut freed = std::vec::Vec::new();
        GUESTS.dismiss(&mut |at, len| freed.push((at, len)), &mut |_| {});
        assert_eq!(freed, [(0x1000, 64)]);
        GUESTS.invite(&cwd);
        GUESTS.pid.store(-1, Ordering::Relaxed);
        assert!(GUESTS.guest().unwrap().note(3).is_none());
    }

    #[test]
    fn threads_have_a_guest_each() {
        static GUESTS: Guests = Guests::new();
        let cwd = Cwd::new();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        GUESTS.invite(&cwd);
                        assert!(GUESTS.find(privns_host::raw::thread_pointer()).is_some());
                        GUESTS.dismiss(&mut |_, _| {}, &mut |_| {});
                    }
                });
            }
        });
        assert!(GUESTS.all().all(|guest| guest.owner.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn a_guest_notes_as_many_descriptors_as_it_has() {
        let guest = Guest::new();
        let many = 5 * NOTES as i32;
        (0..many).for_each(|fd| guest.place(fd).store(fd as u64 + 7, Ordering::Relaxed));
        for fd in 0..many {
            assert_eq!(guest.note(fd).unwrap().load(Ordering::Relaxed), fd as u64 + 7);
        }
        assert!(guest.note(many).is_none());
    }
}
