//! Locks on remote files: fcntl(2) and flock(2) by Tlock, whose owner is a
//! process on a host, across processes and hosts.
//!
//! A record lock belongs to the process: it is taken through a fid of its own,
//! one for each file, which is given up when the process closes any descriptor
//! of the file, is handed on over exec, and ends with the process however that
//! ends. What
//! flock(2) and the locks of an open file description take belongs to all who
//! have that description: it is taken through the file's own fid, in the name
//! of the description, and ends when the server sees the last of it. What flock(2)
//! takes is in nobody's way but its like's, as on local file systems; servers of
//! others know one kind of lock.
//!
//! Nobody waits at the server: whoever is to wait asks again.

use super::conn::Conn;
use super::file::{File, Open};
use crate::process::View;
use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use privns_abi::{Errno, Result};
use privns_host::net;
use privns_host::signals::{self, calmly};
use privns_host::{Kernel, Slot};
use privns_ninep::client::{FLOCK, Lock, LockStatus};

/// Files that a process may have locked at a time.
const MOST: usize = 128;
/// First and last pause between two attempts to have a lock.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// What kind of lock (`P9_LOCK_TYPE_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// Shared.
    Shared = 0,
    /// Exclusive.
    Exclusive = 1,
    /// None any more.
    Nothing = 2,
}

/// Whose lock it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder {
    /// The process's.
    Process,
    /// That of whoever has the open file description (F_OFD_SETLK).
    Description,
    /// The same, taken by flock(2).
    Flock,
}

/// Bytes from `start` on; 0: to the end, however far that moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// How many.
    pub len: u64,
}

impl Range {
    /// All.
    pub const WHOLE: Range = Range { start: 0, len: 0 };
}

/// A lock as it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Whose it is to be.
    pub holder: Holder,
    /// What kind.
    pub want: Want,
    /// Where.
    pub range: Range,
    /// It is waited for.
    pub waits: bool,
}

/// Somebody's lock that is in the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InTheWay {
    /// What kind.
    pub exclusive: bool,
    /// Where.
    pub range: Range,
    /// The process; 0 for a description's.
    pub process: u32,
}

/// A fid that a process has its record locks of one file by.
struct Held {
    server: u32,
    identity: u64,
    writes: bool,
    open: Arc<Open>,
}

/// The same on its way into the next program, which is the same process.
pub(super) struct HandedLock {
    /// A descriptor of the file, which the program inherits.
    pub(super) fd: i32,
    pub(super) server: u32,
    pub(super) identity: u64,
    pub(super) writes: bool,
    pub(super) token: Vec<u8>,
}

/// The files that a process has locked.
pub(super) struct Locks {
    used: AtomicU32,
    places: [Slot<Held>; MOST],
}

impl Locks {
    pub(super) const fn new() -> Locks {
        Locks { used: AtomicU32::new(0), places: [const { Slot::new() }; MOST] }
    }

    fn put(&self, held: Box<Held>) -> Result<()> {
        let mut held = held;
        for place in &self.places {
            match place.put(held) {
                None => return Ok(()),
                Some(other) => held = other,
            }
        }
        Err(Errno::ENOLCK)
    }

    /// Takes each of a file's out; those that `keep` says to go back.
    fn each(&self, file: &File, mut keep: impl FnMut(&Held) -> bool) {
        if self.used.load(Ordering::Relaxed) == 0 {
            return;
        }
        for place in &self.places {
            let Some(held) = place.take() else { continue };
            let mine = held.server == file.server() && held.identity == file.identity();
            if !mine || keep(&held) {
                let _ = place.put(held).map(|other| self.put(other));
            } else {
                self.used.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Each, as it is now.
    fn for_each(&self, mut look: impl FnMut(&Held)) {
        for place in self.places.iter().filter(|_| self.used.load(Ordering::Relaxed) != 0) {
            let Some(held) = place.take() else { continue };
            look(&held);
            let _ = place.put(held).map(|other| self.put(other));
        }
    }

    /// The connections that they are taken on.
    pub(super) fn conns(&self) -> impl Iterator<Item = Conn> {
        let mut conns = Vec::new();
        self.for_each(|held| conns.push(held.open.conn.clone()));
        conns.into_iter()
    }

    /// In the child of a fork, which has none of its parent's.
    pub(super) fn forked(&self) {
        if self.used.swap(0, Ordering::Relaxed) != 0 {
            self.places.iter().filter_map(Slot::take).for_each(core::mem::forget);
        }
    }
}

impl View<'_> {
    /// Takes or gives up a lock.
    ///
    /// # Errors
    /// EAGAIN when another has it and `waits` is not set; EDEADLK, as far as the
    /// server says so; EINTR, EBADF, ENOLCK.
    pub fn lock(self, file: &File, asked: Asked) -> Result<()> {
        // One operation from the first question to the last: a signal that comes at any time of it
        // ends the wait.
        let mut pause = PAUSES.0;
        calmly(|| self.lock_or_wait(file, asked, &mut pause))?;
        if asked.holder != Holder::Process && asked.want != Want::Nothing {
            file.locked.store(true, Ordering::Relaxed);
        }
        // What was read before may have been somebody else's to change.
        self.process.remotes.changed(file);
        Ok(())
    }

    /// Asks until the lock is there. A handler after which the call goes on runs between two
    /// questions: that is EINTR, and [`calmly`] begins again.
    fn lock_or_wait(self, file: &File, asked: Asked, pause: &mut Duration) -> Result<()> {
        let Asked { holder, want, range, waits } = asked;
        let own = match holder {
            Holder::Process if want == Want::Nothing => self.held(file, false),
            Holder::Process => Some(self.lock_fid(file, want)?),
            Holder::Description | Holder::Flock => Some(file.open(self)?),
        };
        // Nothing was ever locked.
        let Some(open) = own else { return Ok(()) };
        if want == Want::Nothing {
            self.settle(file)?;
        }
        loop {
            match self.try_lock(&open, file, asked)? {
                LockStatus::Granted => return Ok(()),
                _ if !waits => return Err(Errno::EAGAIN),
                _ => {}
            }
            let slept = net::sleep(*pause);
            *pause = (*pause * 2).min(PAUSES.1);
            if slept.is_err() || signals::restarts() {
                // The server is told that nobody waits any more.
                let _ = self.getlock(file, holder, want == Want::Exclusive, range);
                return Err(Errno::EINTR);
            }
        }
    }

    fn try_lock(self, open: &Open, file: &File, asked: Asked) -> Result<LockStatus> {
        let Asked { holder, want, range: Range { start, len }, waits } = asked;
        let (proc_id, client_id) = self.owner(file, holder)?;
        let (kind, length) = (want as u8, len);
        // Only processes wait for each other: who has a description may be many.
        let waits = waits && holder == Holder::Process;
        let lock = Lock { kind, start, length, proc_id, client_id: &client_id, waits };
        match open.conn.client.lock(&open.opened.fid, &lock) {
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Err(Errno::ENOLCK),
            done => done,
        }
    }

    /// How an owner is called.
    fn owner(self, file: &File, holder: Holder) -> Result<(u32, Vec<u8>)> {
        let mut name = Kernel.node()?.as_bytes().to_vec();
        let of: &[u8] = match holder {
            Holder::Process => return Ok((Kernel.getpid() as u32, name)),
            Holder::Description => b"/",
            Holder::Flock => FLOCK,
        };
        name.extend_from_slice(of);
        name.extend_from_slice(format!("{:016x}", file.owner).as_bytes());
        Ok((0, name))
    }

    /// Who is in the way of a lock.
    ///
    /// # Errors
    /// ENOLCK, EBADF.
    pub fn getlock(
        self,
        file: &File,
        holder: Holder,
        exclusive: bool,
        range: Range,
    ) -> Result<Option<InTheWay>> {
        let (proc_id, client_id) = self.owner(file, holder)?;
        let told = self.with(file, |open| {
            let lock = Lock {
                kind: exclusive.into(),
                start: range.start,
                length: range.len,
                proc_id,
                client_id: &client_id,
                waits: false,
            };
            open.conn.client.getlock(&open.opened.fid, &lock)
        });
        match told {
            Ok((2, ..)) => Ok(None),
            // Nobody is in his own way; some servers say so (diod).
            Ok((.., process)) if process == proc_id && proc_id != 0 && self.has_locks(file) => {
                Ok(None)
            }
            Ok((kind, start, len, process)) => {
                let range = Range { start, len };
                Ok(Some(InTheWay { exclusive: kind == 1, range, process }))
            }
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Err(Errno::ENOLCK),
            Err(error) => Err(error),
        }
    }

    /// The fid that the process's locks of a file are taken by.
    fn lock_fid(self, file: &File, want: Want) -> Result<Arc<Open>> {
        if let Some(open) = self.held(file, want == Want::Exclusive) {
            return Ok(open);
        }
        let (open, writes) = calmly(|| {
            let conn = file.open(self)?.conn.clone();
            match file.open_for_locks(&conn) {
                Ok((opened, writes)) => Ok((Arc::new(Open::new(conn, opened)), writes)),
                // It has lost its name, say.
                Err(_) => file.open(self).map(|open| (open, file.may(true).is_ok())),
            }
        })?;
        let (server, identity) = (file.server(), file.identity());
        self.keep_locks(Held { server, identity, writes, open: open.clone() })?;
        Ok(open)
    }

    fn keep_locks(self, held: Held) -> Result<()> {
        let locks = &self.process.remotes.locks;
        locks.used.fetch_add(1, Ordering::Relaxed);
        locks.put(Box::new(held)).inspect_err(|_| {
            locks.used.fetch_sub(1, Ordering::Relaxed);
        })
    }

    /// What the next program goes on to hold: the locks of files of which no
    /// descriptor is closed on the way, for that would end them. Only servers
    /// of ours can say so.
    pub(super) fn locks_to_hand_on(self) -> Vec<HandedLock> {
        let mut handed = Vec::new();
        // A child that shares our memory is not the process that holds them.
        if self.process.guest().is_some() {
            return handed;
        }
        self.process.remotes.locks.for_each(|held| {
            let Held { server, identity, writes, ref open } = *held;
            let file = |slot| self.process.remotes.files.get(slot);
            let of_it =
                |slot| file(slot).is_some_and(|f| f.server() == server && f.identity() == identity);
            let fds: Vec<i32> = self
                .process
                .fds
                .slots()
                .filter(|(_, slot)| of_it(*slot))
                .map(|(fd, _)| fd)
                .collect();
            let stay = fds.iter().all(|&fd| Kernel.is_inherited(fd).unwrap_or(false));
            let Some(&fd) = fds.first().filter(|_| stay && !open.conn.is_dead()) else { return };
            if let Ok(token) = calmly(|| open.conn.client.handoff(&open.opened.fid)) {
                handed.push(HandedLock { fd, server, identity, writes, token });
            }
        });
        handed
    }

    /// Goes on to hold what the last program has handed on.
    pub(super) fn take_locks_over(self, handed: &HandedLock) {
        let &HandedLock { server, identity, writes, ref token, .. } = handed;
        let held = calmly(|| {
            let open = Arc::new(self.claim_one(server, token)?);
            Ok(Held { server, identity, writes, open })
        });
        let _ = held.and_then(|held| self.keep_locks(held));
    }

    /// The fid that there is, on a connection that lives.
    fn held(self, file: &File, writes: bool) -> Option<Arc<Open>> {
        let mut found = None;
        self.process.remotes.locks.each(file, |held| {
            let lives = !held.open.conn.is_dead();
            if lives && (held.writes || !writes) {
                found = Some(held.open.clone());
            }
            lives
        });
        found
    }

    /// Whether the process has record locks on a file.
    pub(super) fn has_locks(self, file: &File) -> bool {
        let mut found = false;
        self.process.remotes.locks.each(file, |_| {
            found = true;
            true
        });
        found
    }

    /// The process has closed a descriptor of a file: its record locks are
    /// gone, all of them (fcntl(2)).
    pub(super) fn unlock_closed(self, file: &File) {
        self.process.remotes.locks.each(file, |held| {
            if !held.open.conn.is_dead() {
                let (holder, want) = (Holder::Process, Want::Nothing);
                let asked = Asked { holder, want, range: Range::WHOLE, waits: false };
                let _ = calmly(|| self.try_lock(&held.open, file, asked));
            }
            false
        });
    }
}
