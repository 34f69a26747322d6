//! Making, moving and removing names.

use super::errno;
use super::node::{ALLOWED, Node, magic};
use crate::tree::How;
use privns_abi::{Errno, Result};
use privns_ninep::NONUM;
use privns_ninep::attr::mode;
use privns_ninep::client::flags;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags};
use std::os::fd::OwnedFd;

/// How often a file may come and go under a create before it is given up.
const TRIES: usize = 8;

impl Node {
    /// Creates and opens. A file that is there already is opened as any other
    /// is, by way of its descriptor: an open with O_CREAT would wait for the
    /// other end of a pipe, or wake a device, before anything could be checked.
    pub(super) fn create(
        &self,
        name: &[u8],
        how: How,
        bits: u32,
        gid: u32,
    ) -> Result<(Node, OwnedFd, bool)> {
        for _ in 0..TRIES {
            match self.create_new(name, how, bits) {
                Ok(fd) => {
                    let flags = OFlags::PATH | OFlags::CLOEXEC;
                    let node = rustix::fs::open(magic(&fd), flags, Mode::empty()).map_err(errno)?;
                    let node = Node { fd: node };
                    self.give_to(&node, gid);
                    return Ok((node, fd, true));
                }
                Err(Errno::EEXIST) if !how.has(flags::EXCL) => {}
                Err(e) => return Err(e),
            }
            match self.child(name) {
                Ok(node) => return node.reopen(how.0, 0).map(|fd| (node, fd, false)),
                // Gone again: once more from the beginning.
                Err(Errno::ENOENT) => {}
                Err(e) => return Err(e),
            }
        }
        Err(Errno::EBUSY)
    }

    fn create_new(&self, name: &[u8], how: How, bits: u32) -> Result<OwnedFd> {
        let asked = how.0 & ALLOWED & !(flags::TRUNC | flags::DIRECTORY);
        let access = OFlags::from_bits_retain(asked);
        let flags = access | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(bits)).map_err(errno)
    }

    /// A new file gets the group that the client asks for where that can be
    /// had, except in a directory that hands its own group down.
    fn give_to(&self, new: &Node, gid: u32) {
        let hands_down = self.stat().is_ok_and(|s| s.st_mode & mode::SETGID != 0);
        let other = new.stat().is_ok_and(|s| s.st_gid != gid);
        if gid != NONUM && other && !hands_down {
            // A client's group that the server's user is not in is not had.
            let _ = new.chown(None, Some(Gid::from_raw(gid)));
        }
    }

    pub(super) fn mkdir(&self, name: &[u8], bits: u32, gid: u32) -> Result<Node> {
        rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(bits)).map_err(errno)?;
        let new = self.child(name)?;
        self.give_to(&new, gid);
        Ok(new)
    }

    pub(super) fn mknod(&self, name: &[u8], bits: u32, gid: u32) -> Result<Node> {
        let (kind, mode) = (FileType::from_raw_mode(bits), Mode::from_raw_mode(bits));
        rustix::fs::mknodat(&self.fd, name, kind, mode, 0).map_err(errno)?;
        let new = self.child(name)?;
        self.give_to(&new, gid);
        Ok(new)
    }

    pub(super) fn symlink(&self, name: &[u8], target: &[u8], gid: u32) -> Result<Node> {
        rustix::fs::symlinkat(target, &self.fd, name).map_err(errno)?;
        let new = self.child(name)?;
        self.give_to(&new, gid);
        Ok(new)
    }

    pub(super) fn unlink(&self, name: &[u8], is_dir: bool) -> Result<()> {
        let flags = if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        rustix::fs::unlinkat(&self.fd, name, flags).map_err(errno)
    }

    pub(super) fn rename(&self, oldname: &[u8], newdir: &Node, newname: &[u8]) -> Result<()> {
        rustix::fs::renameat(&self.fd, oldname, &newdir.fd, newname).map_err(errno)
    }
}
