//! A directory of the host, and nothing beside it.
//!
//! Every fid is an `O_PATH` descriptor, and every step is one name looked up
//! in such a descriptor with `O_NOFOLLOW`: no path is ever put together from
//! what a client says, and a symbolic link that is swapped in under a walk is
//! found as a link, not followed. A file is opened through
//! `/proc/self/fd/N`, which leads to the very file that was walked to.
//!
//! Accepted: a directory that somebody on the host moves out of the export
//! stays reachable for a client that holds a fid of it, as it does for a
//! process that stands in it.

mod files;
mod names;
mod near;
mod node;

pub use node::Node;

use crate::tree::{How, Tree, Who};
use parking_lot::Mutex;
use privns_abi::{Errno, Result};
use privns_ninep::attr::{Attr, Entry, SetAttr};
use privns_ninep::message::Rstatfs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// A directory that is served.
#[derive(Debug)]
pub struct Dir {
    root: Arc<Node>,
    /// It is a proc(5).
    processes: bool,
    /// Device numbers met so far; their places tell inodes of several file
    /// systems apart.
    devices: Mutex<Vec<u64>>,
}

/// An open file or directory.
#[derive(Debug)]
pub struct File {
    fd: OwnedFd,
    /// What a listing's entries are entries of.
    node: Arc<Node>,
}

/// PROC_SUPER_MAGIC of statfs(2).
const PROC: i64 = 0x9fa0;
const O_NONBLOCK: u32 = 0o4000;

/// The kernel's number for a failed call.
fn errno(e: rustix::io::Errno) -> Errno {
    Errno(e.raw_os_error())
}

impl Dir {
    /// Serves the directory at `path`.
    ///
    /// # Errors
    /// Those of open(2); ENOTDIR; ENOSYS where /proc is not mounted.
    pub fn new(path: &Path) -> Result<Dir> {
        let root = Arc::new(Node::root(path)?);
        // All opening goes through /proc: better to fail now.
        root.own_path()?;
        let processes = rustix::fs::fstatfs(&root.fd).is_ok_and(|s| s.f_type == PROC);
        Ok(Dir { root, processes, devices: Mutex::new(Vec::new()) })
    }
}

impl Dir {
    /// In a proc(5), names that say who asks: that would be the server, and
    /// whoever mounts the tree would take it for themselves.
    fn is_ours(&self, name: &[u8]) -> bool {
        self.processes && matches!(name, b"self" | b"thread-self" | b"mounts" | b"net")
    }
}

impl Tree for Dir {
    type Node = Arc<Node>;
    type File = File;

    /// There is one tree, under any of the names by which clients ask for the
    /// root: its own path, `/`, or none.
    fn attach(&self, _who: &Who, aname: &[u8]) -> Result<Arc<Node>> {
        let own = self.root.own_path()?;
        let asked = aname.strip_suffix(b"/").unwrap_or(aname);
        if asked.is_empty() || asked == own { Ok(self.root.clone()) } else { Err(Errno::ENOENT) }
    }

    fn walk(&self, dir: &Arc<Node>, name: &[u8]) -> Result<Arc<Node>> {
        if self.is_ours(name) && Arc::ptr_eq(dir, &self.root) {
            return Err(Errno::ENOENT);
        }
        dir.child(name).map(Arc::new)
    }

    fn parent(&self, node: &Arc<Node>) -> Result<Option<(Arc<Node>, Vec<u8>)>> {
        self.parent_of(node)
    }

    fn attr(&self, node: &Arc<Node>) -> Result<Attr> {
        self.attr_of(node)
    }

    fn open(&self, node: &Arc<Node>, how: How) -> Result<File> {
        // /proc/kmsg and its like would be waited for.
        let flags = if self.processes { O_NONBLOCK } else { 0 };
        node.reopen(how.0, flags).map(|fd| File { fd, node: node.clone() })
    }

    fn read(&self, file: &File, offset: u64, buf: &mut [u8]) -> Result<usize> {
        file.read(offset, buf)
    }

    fn descriptor<'f>(&'f self, file: &'f File) -> Option<BorrowedFd<'f>> {
        Some(file.fd.as_fd())
    }

    fn certain(&self, file: &File, offset: u64, count: usize) -> Option<usize> {
        file.certain(offset, count)
    }

    fn list(&self, dir: &File, cookie: u64, add: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        self.list_from(dir, cookie, add)
    }

    fn write(&self, file: &File, offset: u64, data: &[u8]) -> Result<usize> {
        file.write(offset, data)
    }

    fn create(
        &self,
        dir: &Arc<Node>,
        name: &[u8],
        how: How,
        mode: u32,
        gid: u32,
    ) -> Result<(Arc<Node>, File)> {
        let (node, fd) = dir.create(name, how, mode, gid)?;
        let node = Arc::new(node);
        Ok((node.clone(), File { fd, node }))
    }

    fn mkdir(&self, dir: &Arc<Node>, name: &[u8], mode: u32, gid: u32) -> Result<Arc<Node>> {
        dir.mkdir(name, mode, gid).map(Arc::new)
    }

    fn symlink(&self, dir: &Arc<Node>, name: &[u8], target: &[u8], gid: u32) -> Result<Arc<Node>> {
        dir.symlink(name, target, gid).map(Arc::new)
    }

    fn link(&self, file: &Arc<Node>, dir: &Arc<Node>, name: &[u8]) -> Result<()> {
        file.link(dir, name)
    }

    fn unlink(&self, dir: &Arc<Node>, name: &[u8], is_dir: bool) -> Result<()> {
        dir.unlink(name, is_dir)
    }

    fn rename(
        &self,
        olddir: &Arc<Node>,
        oldname: &[u8],
        newdir: &Arc<Node>,
        newname: &[u8],
    ) -> Result<()> {
        olddir.rename(oldname, newdir, newname)
    }

    fn readlink(&self, node: &Arc<Node>) -> Result<Vec<u8>> {
        node.readlink()
    }

    fn set_attr(&self, node: &Arc<Node>, file: Option<&File>, set: &SetAttr) -> Result<()> {
        node.set_attr(file, set)
    }

    fn statfs(&self, node: &Arc<Node>) -> Result<Rstatfs> {
        node.statfs()
    }

    fn fsync(&self, file: &File, data_only: bool) -> Result<()> {
        file.sync(data_only)
    }

    fn xattr(&self, node: &Arc<Node>, name: &[u8]) -> Result<Vec<u8>> {
        node.xattr(name)
    }

    fn near(&self, node: &Arc<Node>) -> Option<Vec<u8>> {
        self.near_of(node)
    }

    fn set_xattr(
        &self,
        node: &Arc<Node>,
        name: &[u8],
        value: Option<&[u8]>,
        flags: u32,
    ) -> Result<()> {
        node.set_xattr(name, value, flags)
    }
}
