//! Numbers of ours that the program wants for itself: dup2(2) and dup3(2) name
//! the number that they make, and what stands there of ours goes elsewhere.

use super::Remotes;
use super::conn::Conn;
use super::kept::KEPT;
use crate::process::Process;
use core::sync::atomic::Ordering;
use privns_abi::{Errno, Result};
use privns_host::Kernel;

impl Process {
    /// Takes what is ours away from a number. It stays open: the call that
    /// follows closes it. Another thread that has read the old number and not
    /// entered the kernel yet may still use it: that is one instant, at a number
    /// that hardly any program wants.
    ///
    /// # Errors
    /// EBADF in a child that shares our memory, whose descriptors are not those
    /// that we note; EMFILE.
    pub fn make_room(&self, fd: i32) -> Result<()> {
        if self.guest().is_some() {
            return Err(Errno::EBADF);
        }
        match self.view().filter(|view| view.family.fd() == fd) {
            Some(view) => view.family.move_away(),
            None => self.remotes.make_room(fd),
        }
    }
}

impl Remotes {
    fn make_room(&self, fd: i32) -> Result<()> {
        let opens = self.files.all().filter_map(|file| Some(file.known()?.conn.clone()));
        let conns = self.servers.conns().chain(opens).chain(self.locks.conns());
        for conn in conns {
            if conn.make_room(fd)? {
                return Ok(());
            }
        }
        if !self.files.make_room(fd)? && !self.maps.make_room(fd)? {
            // Nobody uses it any more.
            KEPT.remove(fd);
        }
        Ok(())
    }
}

/// Where what stood at a number stands from now on.
///
/// # Errors
/// EMFILE.
pub(super) fn elsewhere(fd: i32) -> Result<i32> {
    let new = Kernel.dup_elsewhere(fd, true)?;
    KEPT.remove(fd);
    KEPT.add(new);
    Ok(new)
}

impl super::conn::Connection {
    /// Whether it stood there, or the tree at hand that comes with it.
    fn make_room(self: &Conn, fd: i32) -> Result<bool> {
        let socket = self.client.transport().socket();
        if socket.fd() == fd {
            socket.move_away()?;
            KEPT.remove(fd);
            KEPT.add(socket.fd());
            return Ok(true);
        }
        self.near.as_ref().map_or(Ok(false), |near| near.make_room(fd))
    }
}

impl super::files::Files {
    fn make_room(&self, fd: i32) -> Result<bool> {
        let stands = self.master.load(Ordering::Acquire) == fd + 1;
        if stands {
            self.master.store(elsewhere(fd)? + 1, Ordering::Release);
        }
        Ok(stands)
    }
}
