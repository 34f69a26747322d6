//! Who is a member, and the keeper, which waits until nobody is.

use super::{AT_CLOSED, AT_HELD, AT_KEEPER, Family, NONE};
use crate::memory_file::move_high;
use core::sync::atomic::Ordering;
use privns_abi::{Errno, Result};
use privns_host::Kernel;

/// How often a member that finds the lock taken tries to enter.
const ENTRIES: usize = 1000;

impl Family {
    /// Takes over a descriptor that was opened, not inherited: it is moved out
    /// of the way and will be inherited.
    ///
    /// # Errors
    /// As [`Family::attach`]; EMFILE. The descriptor is closed either way.
    pub fn adopt(fd: i32) -> Result<Family> {
        let moved = move_high(fd);
        let _ = Kernel.close(fd);
        let fd = moved?;
        Family::attach(fd).inspect_err(|_| {
            let _ = Kernel.close(fd);
        })
    }

    /// Becomes a member, with all that inherit the descriptor.
    ///
    /// # Errors
    /// ESRCH for a family whose last member is gone.
    pub fn enter(&self) -> Result<()> {
        let mut tries = ENTRIES;
        while let Err(e) = Kernel.flock(self.fd(), libc::LOCK_SH | libc::LOCK_NB) {
            // Somebody may only be looking whether there are members.
            tries -= 1;
            if e != Errno::EAGAIN || tries == 0 || self.is_closed() {
                return Err(if e == Errno::EAGAIN { Errno::ESRCH } else { e });
            }
            Kernel.yield_now();
        }
        // The keeper may have found the family empty and gone before we came.
        if self.is_closed() {
            let _ = Kernel.flock(self.fd(), libc::LOCK_UN);
            return Err(Errno::ESRCH);
        }
        Ok(())
    }

    /// Waits until the last member is gone and lets no other in: for the
    /// keeper. `own` is a description of its own, by [`Family::own_description`].
    ///
    /// # Errors
    /// flock(2)'s: EINTR for a signal that the keeper lets through.
    pub fn outlive(&self, own: i32) -> Result<()> {
        Kernel.flock_once(own, libc::LOCK_EX)?;
        let shared = self.changing().ok_or(Errno::EROFS)?;
        shared.u32(AT_CLOSED)?.store(1, Ordering::Release);
        Ok(())
    }

    /// Whether anybody is a member. A lock is tried for that, for a moment in
    /// which [`Family::enter`] would fail: it tries again.
    ///
    /// # Errors
    /// openat(2)'s, flock(2)'s.
    pub fn has_members(&self) -> Result<bool> {
        let own = self.own_description()?;
        let alone = match Kernel.flock(own, libc::LOCK_SH | libc::LOCK_NB) {
            // The keeper has found nobody, and is clearing up.
            Err(Errno::EAGAIN) => Ok(()),
            Ok(()) => Kernel.flock(own, libc::LOCK_EX | libc::LOCK_NB),
            Err(e) => Err(e),
        };
        let _ = Kernel.close(own);
        match alone {
            Ok(()) => Ok(false),
            Err(Errno::EAGAIN) => Ok(true),
            Err(e) => Err(e),
        }
    }

    /// Whether the last member was gone when the keeper looked.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.u32(AT_CLOSED).is_ok_and(|c| c.load(Ordering::Acquire) != 0)
    }

    /// The keeper's process number, 0 for none.
    #[must_use]
    pub fn keeper(&self) -> u32 {
        self.shared.u32(AT_KEEPER).map_or(0, |k| k.load(Ordering::Acquire))
    }

    /// Says who the keeper is.
    pub fn set_keeper(&self, pid: u32) {
        if let Some(Ok(keeper)) = self.changing().map(|shared| shared.u32(AT_KEEPER)) {
            keeper.store(pid, Ordering::Release);
        }
    }

    /// The generation whose instances the keeper is known to hold.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.shared.u64(AT_HELD).map_or(0, |h| h.load(Ordering::Acquire))
    }

    /// Says what the keeper holds.
    pub fn set_held(&self, generation: u64) {
        if let Some(Ok(held)) = self.changing().map(|shared| shared.u64(AT_HELD)) {
            held.store(generation, Ordering::Release);
        }
    }

    /// The same table on a description of its own, close-on-exec: not a
    /// member.
    ///
    /// # Errors
    /// openat(2)'s.
    pub fn reopen(&self) -> Result<Family> {
        Family::attach(self.own_description()?)
    }

    /// A descriptor of the table on a description of its own, close-on-exec:
    /// no member's.
    ///
    /// # Errors
    /// openat(2)'s.
    pub fn own_description(&self) -> Result<i32> {
        let flags = if self.is_writable() { libc::O_RDWR } else { libc::O_RDONLY };
        Kernel.reopen(self.fd(), flags)
    }

    /// The same for the keeper, which holds it until the family ends: the one that
    /// the table was made by, where that is open. It is mapped, and so keeps the
    /// lock that [`Family::outlive`] takes for as long as the mapping is there.
    ///
    /// # Errors
    /// openat(2)'s.
    pub fn keepers_description(&self) -> Result<i32> {
        match self.first.swap(NONE, Ordering::Relaxed) {
            NONE => self.own_description(),
            first => Ok(first),
        }
    }

    /// Gives the mapping and the descriptors back.
    pub fn close(self) {
        let _ = Kernel.close(self.fd());
        if self.has_first() {
            let _ = Kernel.close(self.first.load(Ordering::Relaxed));
        }
    }
}
