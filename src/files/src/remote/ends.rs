//! Offsets that appends have left at the end of a file.
//!
//! Where that is, only the server knows, and nobody waits to be told: the offset is
//! set to a *mark*, and whoever asks for it asks the server. Whatever in this
//! process moves the end elsewhere by another description asks before, so that what
//! it adds does not count. What other processes add until then does.

use super::file::File;
use super::{COUNTS, Remotes};
use crate::process::View;
use core::sync::atomic::{AtomicU64, Ordering};
use privns_abi::Result;
use privns_host::Kernel;

/// Offsets from here on stand for the end of the file, wherever that is: marks.
pub(super) const AT_END: u64 = 1 << 52;
/// Marks that there are.
const MARKS: u64 = 1 << 10;

/// Which description's offset is a mark: its [`File::owner`], by file, several to
/// a place; 0: none is.
pub(super) struct Ends([AtomicU64; COUNTS]);

impl Ends {
    pub(super) const fn new() -> Ends {
        Ends([const { AtomicU64::new(0) }; COUNTS])
    }

    fn of(&self, file: &File) -> &AtomicU64 {
        &self.0[Remotes::place_of(file)]
    }
}

impl View<'_> {
    /// Where the file's offset is. Where an append has left it is asked for here,
    /// and known from then on.
    pub(super) fn position(self, fd: i32, file: &File) -> Result<u64> {
        let shared = file.offset.shared.load(Ordering::Acquire);
        let here = || match shared {
            true => Kernel.lseek(fd, 0, libc::SEEK_CUR).map(|at| at as u64),
            false => Ok(file.offset.at.load(Ordering::Acquire)),
        };
        loop {
            let at = here()?;
            if at < AT_END {
                return Ok(at);
            }
            // Whoever has appended in the meantime, here or in another process, has
            // put another mark there: the difference of two leads beyond any file.
            let size = self.size(file)?;
            match shared {
                true => drop(Kernel.lseek(fd, size as i64 - at as i64, libc::SEEK_CUR)),
                false => drop(file.offset.moved(at, size)),
            }
        }
    }

    /// The offset is at the end from now on, after an append.
    pub(super) fn mark_end(self, fd: i32, file: &File, shared: bool) -> Result<()> {
        match shared {
            true => drop(Kernel.lseek(fd, mark() as i64, libc::SEEK_SET)?),
            false => file.offset.at.store(mark(), Ordering::Release),
        }
        self.process.remotes.ends.of(file).store(file.owner, Ordering::Release);
        Ok(())
    }

    /// Something written elsewhere than at the end, by the very description that
    /// has left its offset there, may move the end.
    pub(super) fn leave_own_end(self, fd: i32, file: &File) -> Result<()> {
        if self.process.remotes.ends.of(file).load(Ordering::Acquire) == file.owner {
            self.position(fd, file)?;
        }
        Ok(())
    }

    /// The file is about to end elsewhere, by this description: where others have
    /// left their offsets is asked for.
    #[inline]
    pub(super) fn leave_end(self, file: &File) {
        let place = self.process.remotes.ends.of(file);
        let marked = place.load(Ordering::Acquire);
        if marked != 0 && marked != file.owner {
            place.store(0, Ordering::Release);
            self.find_ends(|other| core::ptr::eq(self.process.remotes.ends.of(other), place));
        }
    }

    /// The same for files that are given another length by their names.
    pub(super) fn leave_ends(self) {
        let mut marked = false;
        for place in &self.process.remotes.ends.0 {
            marked |= place.load(Ordering::Acquire) != 0;
            place.store(0, Ordering::Release);
        }
        if marked {
            self.find_ends(|_| true);
        }
    }

    #[cold]
    fn find_ends(self, is_one: impl Fn(&File) -> bool) {
        for (fd, slot) in self.process.fds.slots() {
            let Some(file) = self.process.remotes.files.get(slot) else { continue };
            if file.may(true).is_ok() && file.may(false).is_err() && is_one(&file) {
                // What the server says of it, whoever asks for the offset is told.
                let _ = self.position(fd, &file);
            }
        }
    }
}

/// A mark that another append hardly has at the same time.
fn mark() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let own = (Kernel.getpid() as u64).wrapping_mul(0x9e37_79b9);
    let next = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(own);
    AT_END * (1 + next % (MARKS - 1))
}

impl super::file::Offset {
    /// Moves it from one place to another, unless somebody has moved it.
    pub(super) fn moved(&self, from: u64, to: u64) -> bool {
        let (done, failed) = (Ordering::AcqRel, Ordering::Relaxed);
        self.at.compare_exchange(from, to, done, failed).is_ok()
    }
}
