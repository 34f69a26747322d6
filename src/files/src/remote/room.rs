//! Numbers of ours that the program wants for itself: dup2(2) and dup3(2) name
//! the number that they make, and what stands there of ours goes elsewhere.

use super::Remotes;
use super::kept::KEPT;
use crate::process::Process;
use core::sync::atomic::Ordering;
use privns_abi::Result;
use privns_host::Kernel;

impl Process {
    /// Whether a number is ours, beside the family's table.
    pub fn keeps(&self, fd: i32) -> bool {
        KEPT.has(fd) || self.fds.guests.dialled_at(fd)
    }

    /// Takes what is ours away from a number. It stays open: the call that
    /// follows closes it. Another thread that has read the old number and not
    /// entered the kernel yet may still use it: that is one instant, at a number
    /// that hardly any program wants. A child that shares our memory leaves the
    /// number for itself alone.
    ///
    /// # Errors
    /// EMFILE.
    pub fn make_room(&self, fd: i32) -> Result<()> {
        // The table is inherited by the next program, and nothing else is.
        let cloexec = self.view().is_none_or(|view| view.family.fd() != fd);
        if self.fds.guests.leave(fd, cloexec)? {
            return Ok(());
        }
        let new = Kernel.dup_elsewhere(fd, cloexec)?;
        self.moved(fd, new);
        Ok(())
    }

    /// What stood at one number stands at another.
    pub(crate) fn moved(&self, from: i32, to: i32) {
        let table = self.view().is_some_and(|view| view.family.moved(from, to));
        let hand = || self.remote_cwd().is_some_and(|dir| dir.hand.moved(from, to));
        if table || self.remotes.moved(from, to, hand) {
            return;
        }
        // Nobody uses it any more.
        KEPT.remove(from);
        let _ = Kernel.close(to);
    }
}

impl Remotes {
    fn moved(&self, from: i32, to: i32, hand: impl Fn() -> bool) -> bool {
        let opens = self.files.all().filter_map(|file| Some(file.known()?.conn.clone()));
        let conns = self.servers.conns().chain(opens).chain(self.locks.conns());
        let moved = conns.into_iter().any(|conn| conn.moved(from, to))
            || self.files.moved(from, to)
            || self.maps.moved(from, to)
            || hand();
        if moved {
            KEPT.remove(from);
            KEPT.add(to);
        }
        moved
    }
}

impl super::conn::Connection {
    /// Whether it stood there, or the tree at hand that comes with it.
    fn moved(&self, from: i32, to: i32) -> bool {
        let near = || self.near.as_ref().is_some_and(|near| near.moved(from, to));
        self.client.transport().socket().moved(from, to) || near()
    }
}

impl super::files::Files {
    fn moved(&self, from: i32, to: i32) -> bool {
        let (done, failed) = (Ordering::AcqRel, Ordering::Relaxed);
        self.master.compare_exchange(from + 1, to + 1, done, failed).is_ok()
    }
}
