//! A small tree in memory that answers as a kernel would: for tests of what
//! resolves names.

use crate::{Host, Name};
use alloc::{collections::BTreeMap, vec::Vec};
use core::cell::Cell;
use core::ffi::CStr;
use privns_abi::{Errno, Result, Stat, path};

enum Node {
    Dir,
    File,
    Link(Vec<u8>),
}

/// Files by canonical path; the root is always there.
#[derive(Default)]
pub struct Tree {
    nodes: BTreeMap<Vec<u8>, (u64, Node)>,
    /// Calls answered so far.
    pub calls: Cell<usize>,
}

impl Tree {
    /// A tree of the given names: one that ends in `/` is a directory,
    /// `a -> b` a symbolic link, anything else a file. Parents appear.
    #[must_use]
    pub fn new(names: &[&str]) -> Tree {
        let mut tree = Tree::default();
        for name in names {
            tree.insert(name);
        }
        tree
    }

    /// Adds one name, written as for [`new`](Self::new).
    pub fn insert(&mut self, name: &str) {
        match name.split_once(" -> ") {
            Some((at, to)) => self.add(at.as_bytes(), Node::Link(to.as_bytes().to_vec())),
            None if name.ends_with('/') => self.add(name.as_bytes(), Node::Dir),
            None => self.add(name.as_bytes(), Node::File),
        }
    }

    fn add(&mut self, at: &[u8], node: Node) {
        let mut whole = Vec::new();
        for part in path::components(path::parent(at.strip_suffix(b"/").unwrap_or(at))) {
            whole.push(b'/');
            whole.extend_from_slice(part);
            let ino = self.nodes.len() as u64 + 2;
            self.nodes.entry(whole.clone()).or_insert((ino, Node::Dir));
        }
        let ino = self.nodes.len() as u64 + 2;
        self.nodes.insert(at.strip_suffix(b"/").unwrap_or(at).to_vec(), (ino, node));
    }

    /// Resolves as the kernel does; the answer is a canonical path.
    fn walk(&self, name: &[u8], follow: bool) -> Result<Vec<u8>> {
        self.calls.set(self.calls.get() + 1);
        let mut at: Vec<u8> = Vec::new();
        let mut todo: Vec<Vec<u8>> = path::components(name).rev().map(<[u8]>::to_vec).collect();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if !at.is_empty() && !matches!(self.nodes[&at].1, Node::Dir) {
                return Err(Errno::ENOTDIR);
            }
            if part == b".." {
                let len = path::parent(&at).len();
                at.truncate(if len == 1 { 0 } else { len });
                continue;
            }
            let mut next = at.clone();
            next.push(b'/');
            next.extend_from_slice(&part);
            match &self.nodes.get(&next).ok_or(Errno::ENOENT)?.1 {
                Node::Link(to) if follow || !todo.is_empty() => {
                    links += 1;
                    if links > path::LINKS_MAX {
                        return Err(Errno::ELOOP);
                    }
                    if to.starts_with(b"/") {
                        at.clear();
                    }
                    todo.extend(path::components(to).rev().map(<[u8]>::to_vec));
                }
                _ => at = next,
            }
        }
        let insists = name.ends_with(b"/") || name.ends_with(b"/.");
        if insists && !self.stat_of(&at).is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok(at)
    }

    fn stat_of(&self, at: &[u8]) -> Stat {
        let (ino, mode) = match self.nodes.get(at) {
            None | Some((_, Node::Dir)) => {
                (self.nodes.get(at).map_or(1, |n| n.0), libc::S_IFDIR | 0o755)
            }
            Some((ino, Node::File)) => (*ino, libc::S_IFREG | 0o644),
            Some((ino, Node::Link(_))) => (*ino, libc::S_IFLNK | 0o777),
        };
        Stat { dev: 1, ino, mode, uid: 0, gid: 0, links: 1 }
    }
}

impl Host for Tree {
    fn lstat(&self, path: &CStr) -> Result<Stat> {
        Ok(self.stat_of(&self.walk(path.to_bytes(), false)?))
    }

    fn stat(&self, path: &CStr) -> Result<Stat> {
        Ok(self.stat_of(&self.walk(path.to_bytes(), true)?))
    }

    fn readlink(&self, path: &CStr, out: &mut Name) -> Result<()> {
        match self.nodes.get(&self.walk(path.to_bytes(), false)?) {
            Some((_, Node::Link(to))) => out.set(to),
            _ => Err(Errno::EINVAL),
        }
    }

    fn check_plain_dir(&self, path: &CStr) -> Result<()> {
        let real = self.walk(path.to_bytes(), true)?;
        let spelled: Vec<&[u8]> = path::components(path.to_bytes()).collect();
        if !path::components(&real).eq(spelled) {
            return Err(Errno::ELOOP);
        }
        if self.stat_of(&real).is_dir() { Ok(()) } else { Err(Errno::ENOTDIR) }
    }

    fn now_ms(&self) -> u64 {
        0
    }
}
