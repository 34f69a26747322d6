//! A tree in memory, shared by all who attach, with a limit on its size.
//!
//! Files behave as POSIX says of a local file system, so that it can be a
//! `/tmp`: permissions by owner, group and mode, the sticky bit, hard links,
//! files that are removed while open, holes.
//!
//! Locks: `names` first, which everything takes that changes a directory; then
//! one file's `body` at a time, never two.

mod data;
mod inode;
mod names;
mod permit;

use crate::tree::{self, How, Tree, Who};
use data::Budget;
use inode::{Body, Content, Inode};
use parking_lot::Mutex;
use permit::{EXEC, READ, WRITE};
use privns_abi::{Errno, Result};
use privns_ninep::attr::{Attr, Entry, SetAttr, mode};
use privns_ninep::client::{Next, flags};
use privns_ninep::message::Rstatfs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A memory tree.
#[derive(Debug)]
pub struct Mem {
    root: Arc<Inode>,
    /// Held by whoever changes a directory, so that what was looked up there
    /// still holds when it is changed.
    names: Mutex<()>,
    budget: Arc<Budget>,
    next: AtomicU64,
}

/// A file that was found, and as whom.
#[derive(Clone, Debug)]
pub struct Node {
    inode: Arc<Inode>,
    who: Arc<Who>,
}

/// An open file.
#[derive(Debug)]
pub struct File {
    node: Node,
    append: bool,
    /// What opened it has made it.
    new: bool,
}

/// What a new file is to be.
struct New<'a> {
    who: &'a Who,
    mode: u32,
    gid: u32,
    content: Content,
}

impl Mem {
    /// An empty tree that takes up to `limit` bytes, its root owned by this
    /// process's user and open to all, as `/tmp` is.
    #[must_use]
    pub fn new(limit: u64) -> Mem {
        let uid = rustix::process::geteuid().as_raw();
        Mem::with_root(limit, 0o1777, uid, rustix::process::getegid().as_raw())
    }

    /// The same with a root of these permissions, owner and group.
    #[must_use]
    pub fn with_root(limit: u64, permissions: u32, uid: u32, gid: u32) -> Mem {
        let budget = Arc::new(Budget::new(limit));
        let permissions = mode::DIRECTORY | (permissions & 0o7777);
        let body = Body::new(permissions, uid, gid, Content::directory());
        let root = Inode::new(1, body, budget.clone());
        Mem { root, names: Mutex::new(()), budget, next: AtomicU64::new(2) }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Relaxed)
    }
}

impl Drop for Mem {
    /// Takes the tree apart level by level: a directory that dropped its
    /// entries itself would need stack for as many levels as clients made.
    fn drop(&mut self) {
        let mut rest = vec![self.root.clone()];
        while let Some(inode) = rest.pop() {
            if let Ok(entries) = inode.body.lock().entries_mut() {
                rest.extend(entries.drain());
            }
        }
    }
}

impl Node {
    fn at(&self, inode: Arc<Inode>) -> Node {
        Node { inode, who: self.who.clone() }
    }
}

impl Tree for Mem {
    type Node = Node;
    type File = File;

    fn attach(&self, who: &Who, aname: &[u8]) -> Result<Node> {
        let root = Node { inode: self.root.clone(), who: Arc::new(who.clone()) };
        tree::descend(self, root, aname)
    }

    fn seen_by(&self, node: &Node, who: &Who) -> Node {
        Node { inode: node.inode.clone(), who: Arc::new(who.clone()) }
    }

    fn walk(&self, dir: &Node, name: &[u8]) -> Result<Node> {
        let body = dir.inode.body.lock();
        let entries = body.entries()?;
        permit::check(&dir.who, &body, EXEC)?;
        entries.find(name).map(|inode| dir.at(inode))
    }

    fn parent(&self, node: &Node) -> Result<Option<(Node, Vec<u8>)>> {
        if Arc::ptr_eq(&node.inode, &self.root) {
            return Ok(None);
        }
        let place = node.inode.body.lock().place.clone();
        let (dir, name) = place.ok_or(Errno::ENOENT)?;
        let dir = dir.upgrade().ok_or(Errno::ENOENT)?;
        Ok(Some((node.at(dir), name)))
    }

    fn attr(&self, node: &Node) -> Result<Attr> {
        Ok(node.inode.attr())
    }

    fn open(&self, node: &Node, how: How) -> Result<File> {
        let mut body = node.inode.body.lock();
        match body.mode & mode::FORMAT {
            mode::SYMLINK => return Err(Errno::ELOOP),
            mode::DIRECTORY if how.writes() => return Err(Errno::EISDIR),
            mode::FIFO | mode::SOCKET => return Err(Errno::ENXIO),
            mode::REGULAR if how.has(flags::DIRECTORY) => return Err(Errno::ENOTDIR),
            _ => {}
        }
        let truncates = how.has(flags::TRUNC);
        let want =
            if how.reads() { READ } else { 0 } | if how.writes() || truncates { WRITE } else { 0 };
        permit::check(&node.who, &body, want)?;
        if truncates {
            body.resize(0, &self.budget)?;
        }
        drop(body);
        Ok(File { node: node.clone(), append: how.has(flags::APPEND), new: false })
    }

    fn read(&self, file: &File, offset: u64, buf: &mut [u8]) -> Result<usize> {
        file.node.inode.body.lock().read(offset, buf)
    }

    fn list(&self, dir: &File, cookie: u64, add: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        names::list(&dir.node.inode, cookie, add)
    }

    fn write(&self, file: &File, offset: u64, data: &[u8]) -> Result<usize> {
        let mut body = file.node.inode.body.lock();
        // The end is found and written to under one lock: lines that several
        // clients append stay whole.
        let offset = if file.append { body.size() } else { offset };
        body.write(offset, data, &self.budget)
    }

    fn create(
        &self,
        dir: &Node,
        name: &[u8],
        how: How,
        bits: u32,
        gid: u32,
    ) -> Result<(Node, File)> {
        let names = self.names.lock();
        match self.walk(dir, name) {
            Ok(_) if how.has(flags::EXCL) => return Err(Errno::EEXIST),
            Ok(node) => {
                drop(names);
                return self.open(&node, how).map(|file| (node, file));
            }
            Err(Errno::ENOENT) => {}
            Err(e) => return Err(e),
        }
        let content = Content::file();
        let new = New { who: &dir.who, mode: mode::REGULAR | bits, gid, content };
        let node = dir.at(self.make(dir, name, new)?);
        // The maker may write whatever permissions it gave (open(2)).
        let file = File { node: node.clone(), append: how.has(flags::APPEND), new: true };
        Ok((node, file))
    }

    fn is_new(&self, file: &File) -> Result<bool> {
        Ok(file.new)
    }

    fn next(&self, file: &File, next: Next, from: u64) -> Result<u64> {
        match &file.node.inode.body.lock().content {
            Content::File(pages) => pages.next(next, from).ok_or(Errno::ENXIO),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn mkdir(&self, dir: &Node, name: &[u8], bits: u32, gid: u32) -> Result<Node> {
        let _names = self.names.lock();
        let content = Content::directory();
        let new = New { who: &dir.who, mode: mode::DIRECTORY | bits, gid, content };
        self.make(dir, name, new).map(|inode| dir.at(inode))
    }

    fn mknod(&self, dir: &Node, name: &[u8], bits: u32, gid: u32) -> Result<Node> {
        let _names = self.names.lock();
        let new = New { who: &dir.who, mode: bits, gid, content: Content::Meeting };
        self.make(dir, name, new).map(|inode| dir.at(inode))
    }

    fn symlink(&self, dir: &Node, name: &[u8], target: &[u8], gid: u32) -> Result<Node> {
        let _names = self.names.lock();
        let content = Content::Symlink(target.to_vec());
        let new = New { who: &dir.who, mode: mode::SYMLINK | 0o777, gid, content };
        self.make(dir, name, new).map(|inode| dir.at(inode))
    }

    fn link(&self, file: &Node, dir: &Node, name: &[u8]) -> Result<()> {
        let _names = self.names.lock();
        self.link_to(file, dir, name)
    }

    fn unlink(&self, dir: &Node, name: &[u8], is_dir: bool) -> Result<()> {
        let _names = self.names.lock();
        self.remove(dir, name, is_dir)
    }

    fn rename(&self, olddir: &Node, oldname: &[u8], newdir: &Node, newname: &[u8]) -> Result<()> {
        let _names = self.names.lock();
        self.move_to(olddir, oldname, newdir, newname)
    }

    fn readlink(&self, node: &Node) -> Result<Vec<u8>> {
        match &node.inode.body.lock().content {
            Content::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn set_attr(&self, node: &Node, file: Option<&File>, set: &SetAttr) -> Result<()> {
        let mut body = node.inode.body.lock();
        permit::check_change(&node.who, &body, file.is_some(), set)?;
        body.change(&node.who, set, &self.budget)
    }

    fn statfs(&self, _node: &Node) -> Result<Rstatfs> {
        let (limit, used) = self.budget.figures();
        let blocks = |bytes: u64| bytes / data::PAGE as u64;
        let free = blocks(limit.saturating_sub(used));
        Ok(Rstatfs {
            kind: 0x0102_1994,
            bsize: data::PAGE as u32,
            blocks: blocks(limit),
            bfree: free,
            bavail: free,
            files: self.next.load(Relaxed),
            ffree: free,
            fsid: 0,
            namelen: 255,
        })
    }

    fn xattr(&self, node: &Node, name: &[u8]) -> Result<Vec<u8>> {
        let body = node.inode.body.lock();
        if name.is_empty() {
            return Ok(body.xattrs.keys().flat_map(|k| k.iter().copied().chain([0])).collect());
        }
        permit::check(&node.who, &body, READ)?;
        body.xattrs.get(name).cloned().ok_or(Errno::ENODATA)
    }

    fn set_xattr(&self, node: &Node, name: &[u8], value: Option<&[u8]>, how: u32) -> Result<()> {
        let mut body = node.inode.body.lock();
        // A user's are for files and directories alone (xattr(7)).
        if name.starts_with(b"user.")
            && matches!(body.content, Content::Symlink(_) | Content::Meeting)
        {
            return Err(Errno::EPERM);
        }
        permit::check(&node.who, &body, WRITE)?;
        body.set_xattr(name, value, how, &self.budget)
    }
}
