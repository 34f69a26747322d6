//! The lock of those who change the table.

use super::Family;
use core::sync::atomic::Ordering;
use privns_abi::{Errno, Result};
use privns_host::{Kernel, fd::Owner};

impl Family {
    pub(super) fn lock(&self) -> Result<Lock<'_>> {
        match Kernel.reopen(self.fd(), libc::O_RDWR) {
            Ok(fd) => {
                let lock = Lock { family: self, fd, owner: Owner::Description };
                Kernel.record_lock(fd, libc::F_WRLCK, Owner::Description)?;
                Ok(lock)
            }
            // No /proc: the process's own lock, and its threads take turns.
            Err(Errno::ENOENT) => {
                while self.busy.swap(true, Ordering::Acquire) {
                    Kernel.yield_now();
                }
                let lock = Lock { family: self, fd: self.fd(), owner: Owner::Process };
                Kernel.record_lock(self.fd(), libc::F_WRLCK, Owner::Process)?;
                Ok(lock)
            }
            Err(Errno::EACCES) => Err(Errno::EROFS),
            Err(e) => Err(e),
        }
    }
}

/// The writers' lock, held.
pub(super) struct Lock<'a> {
    family: &'a Family,
    fd: i32,
    owner: Owner,
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // Closing is not enough: a thread that forked meanwhile has given its
        // child a descriptor of the same description.
        let _ = Kernel.record_lock(self.fd, libc::F_UNLCK, self.owner);
        match self.owner {
            Owner::Description => drop(Kernel.close(self.fd)),
            Owner::Process => self.family.busy.store(false, Ordering::Release),
        }
    }
}
