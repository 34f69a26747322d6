//! Locks on byte ranges, which only 9P2000.L has.

use super::{Client, Fid, Late, Monitor, State, Transport};
use crate::message::{Rgetlock, Rlock, Tgetlock, Tlock};
use crate::{Errno, Result};

/// What stands behind the host in the name of an owner whose locks are those of flock(2), which ours
/// keep apart from those of fcntl(2). No host is called that.
pub const FLOCK: &[u8] = b"/flock:";

/// A byte range to lock (`struct flock` of fcntl(2), in Tlock's terms).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lock<'a> {
    /// 0 shared, 1 exclusive, 2 unlock (`P9_LOCK_TYPE_*`).
    pub kind: u8,
    /// First byte.
    pub start: u64,
    /// Bytes, 0: to the end, however far that moves.
    pub length: u64,
    /// The process that owns it.
    pub proc_id: u32,
    /// The host that the process runs on.
    pub client_id: &'a [u8],
    /// Its owner asks until it is granted: a server that sees two wait for each
    /// other may say so, with EDEADLK (`P9_LOCK_FLAGS_BLOCK`).
    pub waits: bool,
}

/// What became of a lock request (`P9_LOCK_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockStatus {
    /// Done.
    Granted,
    /// Somebody else has it.
    Blocked,
    /// The server recovers; ask again later.
    Grace,
}

impl<T: Transport, M: Monitor<State>> Client<T, M> {
    /// Takes or gives up a lock; does not wait for it.
    ///
    /// # Errors
    /// ENOLCK when the server failed at it; EDEADLK; EOPNOTSUPP in 9P2000 and
    /// .u.
    pub fn lock(&self, fid: &Fid, lock: &Lock<'_>) -> Result<LockStatus> {
        self.only_linux()?;
        let &Lock { kind, start, length, proc_id, client_id, waits } = lock;
        // Who knows what others make of it: ours does not wait in our place.
        let flags = u32::from(waits && self.agreed.ours);
        let body = Tlock { fid: fid.0, kind, flags, start, length, proc_id, client_id };
        let frame = self.call(&body, Late::Nothing)?;
        match self.reply::<Rlock>(&frame)?.status {
            0 => Ok(LockStatus::Granted),
            1 => Ok(LockStatus::Blocked),
            3 => Ok(LockStatus::Grace),
            _ => Err(Errno::ENOLCK),
        }
    }

    /// Who holds a lock in the way of this one: kind, start, length and
    /// process; kind 2 when nobody does.
    ///
    /// # Errors
    /// As [`Client::lock`].
    pub fn getlock(&self, fid: &Fid, lock: &Lock<'_>) -> Result<(u8, u64, u64, u32)> {
        self.only_linux()?;
        let &Lock { kind, start, length, proc_id, client_id, .. } = lock;
        let body = Tgetlock { fid: fid.0, kind, start, length, proc_id, client_id };
        let frame = self.call(&body, Late::Nothing)?;
        let r: Rgetlock<'_> = self.reply(&frame)?;
        Ok((r.kind, r.start, r.length, r.proc_id))
    }
}
