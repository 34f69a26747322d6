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

use crate::tree::{self, How, Tree, Who};
use parking_lot::Mutex;
use privns_abi::{Errno, Result};
use privns_ninep::attr::{Attr, Entry, SetAttr};
use privns_ninep::client::Next;
use privns_ninep::message::Rstatfs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// A directory that is served.
#[derive(Debug)]
pub struct Dir {
    root: Arc<Node>,
    /// It is a proc(5).
    processes: bool,
    /// The one entry of the root that is served, and that stays there.
    only: Option<Vec<u8>>,
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
    /// What opened it has made it.
    new: bool,
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
        Ok(Dir { root, processes, only: None, devices: Mutex::new(Vec::new()) })
    }

    /// Serves one file: its directory, in which nothing else is seen, and
    /// which cannot be changed. What is renamed over it on the host is it from
    /// then on.
    ///
    /// # Errors
    /// Those of [`Dir::new`] for the directory; EISDIR for a name that can
    /// only be a directory's.
    pub fn only(path: &Path) -> Result<Dir> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::EISDIR);
        };
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        Ok(Dir { only: Some(name.as_bytes().to_vec()), ..Dir::new(above)? })
    }
}

impl Dir {
    /// Whether an entry of the root is not served. In a proc(5) those are the
    /// names that say who asks: that would be the server, and whoever mounts
    /// the tree would take it for themselves.
    fn hides(&self, name: &[u8]) -> bool {
        let ours = matches!(name, b"self" | b"thread-self" | b"mounts" | b"net");
        self.processes && ours || self.only.as_ref().is_some_and(|only| only != name)
    }

    fn is_root(&self, dir: &Arc<Node>) -> bool {
        Arc::ptr_eq(dir, &self.root)
    }

    /// A directory of which one entry is served stays as it is: EBUSY, as for
    /// a mount point.
    fn check_free(&self, dir: &Arc<Node>) -> Result<()> {
        if self.only.is_some() && self.is_root(dir) { Err(Errno::EBUSY) } else { Ok(()) }
    }
}

impl Tree for Dir {
    type Node = Arc<Node>;
    type File = File;

    /// Clients ask for the root by its own path, by `/` or by no name, and for
    /// a directory below it by a path from either.
    fn attach(&self, _who: &Who, aname: &[u8]) -> Result<Arc<Node>> {
        let own = self.root.own_path()?;
        let below = aname.strip_prefix(&own[..]).filter(|rest| matches!(rest, [] | [b'/', ..]));
        tree::descend(self, self.root.clone(), below.unwrap_or(aname))
    }

    fn walk(&self, dir: &Arc<Node>, name: &[u8]) -> Result<Arc<Node>> {
        if self.is_root(dir) && self.hides(name) {
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
        node.reopen(how.0, flags).map(|fd| File { fd, node: node.clone(), new: false })
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
        if self.is_root(dir) && self.hides(name) {
            return Err(Errno::EPERM);
        }
        let (node, fd, new) = dir.create(name, how, mode, gid)?;
        let node = Arc::new(node);
        Ok((node.clone(), File { fd, node, new }))
    }

    fn is_new(&self, file: &File) -> Result<bool> {
        Ok(file.new)
    }

    fn next(&self, file: &File, next: Next, from: u64) -> Result<u64> {
        if self.processes { Err(Errno::EOPNOTSUPP) } else { file.next(next, from) }
    }

    fn mkdir(&self, dir: &Arc<Node>, name: &[u8], mode: u32, gid: u32) -> Result<Arc<Node>> {
        self.check_free(dir)?;
        dir.mkdir(name, mode, gid).map(Arc::new)
    }

    fn mknod(&self, dir: &Arc<Node>, name: &[u8], mode: u32, gid: u32) -> Result<Arc<Node>> {
        self.check_free(dir)?;
        dir.mknod(name, mode, gid).map(Arc::new)
    }

    fn symlink(&self, dir: &Arc<Node>, name: &[u8], target: &[u8], gid: u32) -> Result<Arc<Node>> {
        self.check_free(dir)?;
        dir.symlink(name, target, gid).map(Arc::new)
    }

    fn link(&self, file: &Arc<Node>, dir: &Arc<Node>, name: &[u8]) -> Result<()> {
        self.check_free(dir)?;
        file.link(dir, name)
    }

    fn unlink(&self, dir: &Arc<Node>, name: &[u8], is_dir: bool) -> Result<()> {
        self.check_free(dir)?;
        dir.unlink(name, is_dir)
    }

    fn rename(
        &self,
        olddir: &Arc<Node>,
        oldname: &[u8],
        newdir: &Arc<Node>,
        newname: &[u8],
    ) -> Result<()> {
        self.check_free(olddir)?;
        self.check_free(newdir)?;
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
