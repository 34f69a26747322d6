//! The system call, and what has to be undone when it fails.

use super::{enter, Strings};
use crate::strings::Next;
use core::ffi::{c_char, c_int};
use privns_abi::{Errno, Result};
use privns_files::process::View;
use privns_host::Kernel;

/// The last steps, and what has to be undone when they fail.
pub(super) struct Go<'a> {
    pub(super) view: View<'a>,
    pub(super) secure: bool,
    /// It is a copy of ours that is run.
    pub(super) kept: bool,
    /// What exec reads of ours.
    pub(super) blocks: [Option<Next>; 3],
}

/// How often, and how many nanoseconds apart, a copy that somebody has open for
/// writing is tried again.
const BUSY_TRIES: usize = 100;
const BUSY_PAUSE: u32 = 2_000_000;

impl Go<'_> {
    pub(super) fn keep(&mut self, next: Next) -> Strings {
        let at = next.as_ptr();
        if let Some(place) = self.blocks.iter_mut().find(|b| b.is_none()) {
            *place = Some(next);
        }
        at
    }

    pub(super) unsafe fn enter(
        self,
        dirfd: c_int,
        path: *const c_char,
        argv: Strings,
        env: Strings,
        flags: c_int,
    ) -> Result<usize> {
        let guest = self.view.process.guest();
        if let Some(guest) = guest {
            let blocks = self.blocks.iter().flatten().filter_map(Next::block);
            blocks.for_each(|(at, len)| guest.keep(at, len));
        }
        if self.secure {
            // The table is not for a program that has more rights than we.
            let _ = Kernel.set_cloexec(self.view.family.fd(), true);
        }
        if guest.is_none() && self.view.process.met() {
            self.view.process.remotes.drain();
        }
        // SAFETY: the caller's.
        let mut failed = unsafe { enter(dirfd, path, argv, env, flags) };
        // The child of another thread's fork may still have a copy open that was
        // just made: until it runs its program.
        for _ in 0..BUSY_TRIES {
            if !self.kept || failed != Err(Errno::ETXTBSY) {
                break;
            }
            Kernel.pause(BUSY_PAUSE);
            // SAFETY: as above.
            failed = unsafe { enter(dirfd, path, argv, env, flags) };
        }
        if self.secure {
            let _ = Kernel.set_cloexec(self.view.family.fd(), false);
        }
        if let Some(guest) = guest {
            guest.unkeep();
        }
        failed
    }
}
