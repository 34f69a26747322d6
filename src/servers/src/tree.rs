//! What a server has to say: a set of functions, most of which have defaults.
//!
//! Errors are those of the system call that a function stands for. Names have
//! been checked: one component each, never `.`, `..`, empty, or with a slash
//! or a NUL inside. Functions are called from the threads of all connections
//! at once; those of one connection come in its order.

use privns_abi::{Errno, Result, path};
use privns_ninep::attr::{Attr, Entry, SetAttr};
use privns_ninep::client::{Next, flags};
use privns_ninep::message::Rstatfs;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// As whom a client attached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Who {
    /// User number.
    pub uid: u32,
    /// The user's groups.
    pub groups: Groups,
    /// The name that was given.
    pub name: Vec<u8>,
}

/// The groups that a user is in, as far as they are known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Groups {
    /// That of the files that the user makes.
    pub own: Option<u32>,
    /// The supplementary ones.
    pub others: Arc<[u32]>,
}

impl Groups {
    /// The server's own.
    #[must_use]
    pub fn ours() -> Groups {
        let others = rustix::process::getgroups().unwrap_or_default();
        Groups {
            own: Some(rustix::process::getegid().as_raw()),
            others: others.into_iter().map(|gid| gid.as_raw()).collect(),
        }
    }

    /// This alone.
    #[must_use]
    pub fn only(gid: u32) -> Groups {
        Groups { own: Some(gid), ..Groups::default() }
    }

    /// Whether a group is known to be among them.
    #[must_use]
    pub fn has(&self, gid: u32) -> bool {
        self.own == Some(gid) || self.others.contains(&gid)
    }
}

/// How a file is opened: the bits of open(2) on Linux.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct How(pub u32);

impl How {
    /// Contents can be read.
    #[must_use]
    pub const fn reads(self) -> bool {
        self.0 & flags::ACCESS != flags::WRONLY
    }

    /// Contents can be written.
    #[must_use]
    pub const fn writes(self) -> bool {
        self.0 & flags::ACCESS != 0
    }

    /// True when any of `bits` is set.
    #[must_use]
    pub const fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }
}

/// Reads from contents that are at hand as bytes. Bytes read.
pub fn read_bytes(contents: &[u8], offset: u64, buf: &mut [u8]) -> usize {
    let at = usize::try_from(offset).unwrap_or(usize::MAX);
    let rest = contents.get(at..).unwrap_or_default();
    let n = rest.len().min(buf.len());
    buf[..n].copy_from_slice(&rest[..n]);
    n
}

/// A file tree to be served.
pub trait Tree: Send + Sync + 'static {
    /// What a fid stands for: a file that was found. Cloned freely.
    type Node: Clone + Send + Sync + 'static;
    /// An open file. It is closed by dropping it.
    type File: Send + Sync + 'static;

    /// The root of the tree that `aname` names, for this user.
    ///
    /// # Errors
    /// ENOENT for a tree that is not here, EPERM for a user who may not.
    fn attach(&self, who: &Who, aname: &[u8]) -> Result<Self::Node>;

    /// A file that was found, as another user has it, whom a process has become
    /// that has it open: what is below it he looks up himself.
    fn seen_by(&self, node: &Self::Node, _who: &Who) -> Self::Node {
        node.clone()
    }

    /// The entry of this name.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, EACCES.
    fn walk(&self, dir: &Self::Node, name: &[u8]) -> Result<Self::Node>;

    /// The directory that the file is in, and its name there; `None` for the
    /// root, beyond which no client gets.
    ///
    /// # Errors
    /// ENOENT when the file has no name any more.
    fn parent(&self, node: &Self::Node) -> Result<Option<(Self::Node, Vec<u8>)>>;

    /// The attributes.
    ///
    /// # Errors
    /// EIO and the like.
    fn attr(&self, node: &Self::Node) -> Result<Attr>;

    /// Opens a file or a directory.
    ///
    /// # Errors
    /// EACCES, EISDIR, ELOOP for a symbolic link.
    fn open(&self, node: &Self::Node, how: How) -> Result<Self::File>;

    /// Reads at an offset, never from a directory. Bytes read, fewer than asked
    /// only at the end.
    ///
    /// # Errors
    /// EIO and the like.
    fn read(&self, _file: &Self::File, _offset: u64, _buf: &mut [u8]) -> Result<usize> {
        Ok(0)
    }

    /// The descriptor of an open file from which sendfile(2) may send, for
    /// trees that are the host's.
    fn descriptor<'f>(&'f self, _file: &'f Self::File) -> Option<BorrowedFd<'f>> {
        None
    }

    /// How much of `count` bytes at an offset is there for sure, where the file
    /// has a [descriptor](Tree::descriptor).
    fn certain(&self, _file: &Self::File, _offset: u64, _count: usize) -> Option<usize> {
        None
    }

    /// Gives the entries of an open directory behind `cookie` (0: all) to `add`, until it says no.
    /// Cookies are the tree's own; an entry that is there all the time comes
    /// exactly once whatever happens to others.
    ///
    /// # Errors
    /// EIO and the like.
    fn list(
        &self,
        _dir: &Self::File,
        _cookie: u64,
        _add: &mut dyn FnMut(Entry<'_>) -> bool,
    ) -> Result<()> {
        Ok(())
    }

    /// Writes at an offset; at the end when the file is open for appending.
    ///
    /// # Errors
    /// ENOSPC, EFBIG.
    fn write(&self, _file: &Self::File, _offset: u64, _data: &[u8]) -> Result<usize> {
        Err(Errno::EROFS)
    }

    /// Creates a regular file and opens it; without `flags::EXCL` opens what
    /// is there. `gid` is the group that the client asks for.
    ///
    /// # Errors
    /// EEXIST, EACCES, ENOSPC.
    fn create(
        &self,
        _dir: &Self::Node,
        _name: &[u8],
        _how: How,
        _mode: u32,
        _gid: u32,
    ) -> Result<(Self::Node, Self::File)> {
        Err(Errno::EROFS)
    }

    /// Whether the file was made by what opened it (`F_CREATED_QUERY` of fcntl(2)).
    ///
    /// # Errors
    /// EOPNOTSUPP for trees that do not know.
    fn is_new(&self, _file: &Self::File) -> Result<bool> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Where the next data or the next hole begins, `from` on (lseek(2)).
    ///
    /// # Errors
    /// ENXIO where there is none; EOPNOTSUPP for trees that do not know.
    fn next(&self, _file: &Self::File, _next: Next, _from: u64) -> Result<u64> {
        Err(Errno::EOPNOTSUPP)
    }

    /// mkdirat(2).
    ///
    /// # Errors
    /// As there.
    fn mkdir(&self, _dir: &Self::Node, _name: &[u8], _mode: u32, _gid: u32) -> Result<Self::Node> {
        Err(Errno::EROFS)
    }

    /// mknodat(2), for a pipe or a socket; `mode` has the type in it.
    ///
    /// # Errors
    /// As there; EPERM for trees that keep neither.
    fn mknod(&self, _dir: &Self::Node, _name: &[u8], _mode: u32, _gid: u32) -> Result<Self::Node> {
        Err(Errno::EPERM)
    }

    /// symlinkat(2).
    ///
    /// # Errors
    /// As there.
    fn symlink(
        &self,
        _dir: &Self::Node,
        _name: &[u8],
        _target: &[u8],
        _gid: u32,
    ) -> Result<Self::Node> {
        Err(Errno::EROFS)
    }

    /// linkat(2).
    ///
    /// # Errors
    /// As there.
    fn link(&self, _file: &Self::Node, _dir: &Self::Node, _name: &[u8]) -> Result<()> {
        Err(Errno::EROFS)
    }

    /// unlinkat(2); `is_dir` stands for AT_REMOVEDIR.
    ///
    /// # Errors
    /// As there.
    fn unlink(&self, _dir: &Self::Node, _name: &[u8], _is_dir: bool) -> Result<()> {
        Err(Errno::EROFS)
    }

    /// renameat(2).
    ///
    /// # Errors
    /// As there.
    fn rename(
        &self,
        _olddir: &Self::Node,
        _oldname: &[u8],
        _newdir: &Self::Node,
        _newname: &[u8],
    ) -> Result<()> {
        Err(Errno::EROFS)
    }

    /// readlinkat(2).
    ///
    /// # Errors
    /// EINVAL when it is no symbolic link.
    fn readlink(&self, _node: &Self::Node) -> Result<Vec<u8>> {
        Err(Errno::EINVAL)
    }

    /// Changes attributes; `file` when the fid is open.
    ///
    /// # Errors
    /// EPERM, EACCES.
    fn set_attr(
        &self,
        _node: &Self::Node,
        _file: Option<&Self::File>,
        _set: &SetAttr,
    ) -> Result<()> {
        Err(Errno::EROFS)
    }

    /// statfs(2).
    ///
    /// # Errors
    /// As there.
    fn statfs(&self, _node: &Self::Node) -> Result<Rstatfs> {
        Ok(Rstatfs { kind: 0x0102_1997, bsize: 4096, namelen: 255, ..Rstatfs::default() })
    }

    /// fsync(2), or fdatasync(2).
    ///
    /// # Errors
    /// EIO, ENOSPC.
    fn fsync(&self, _file: &Self::File, _data_only: bool) -> Result<()> {
        Ok(())
    }

    /// The value of an extended attribute, or the names of all, each ended by
    /// NUL, when `name` is empty.
    ///
    /// # Errors
    /// ENODATA.
    fn xattr(&self, _node: &Self::Node, _name: &[u8]) -> Result<Vec<u8>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Where a directory is, for a client that may be able to reach it by
    /// itself ([`privns_ninep::near`]); `None` for trees that are no host's.
    fn near(&self, _node: &Self::Node) -> Option<Vec<u8>> {
        None
    }

    /// Sets an extended attribute, `flags` as setxattr(2); `None` removes it.
    ///
    /// # Errors
    /// EOPNOTSUPP, ENODATA, EEXIST.
    fn set_xattr(
        &self,
        _node: &Self::Node,
        _name: &[u8],
        _value: Option<&[u8]>,
        _flags: u32,
    ) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
}

/// The directory below `root` that a client attaches to by a path, for
/// [`Tree::attach`]. No link is followed, and `..` leads nowhere.
///
/// # Errors
/// ENOENT for `..` and for a name that is not there, ENOTDIR for what is no
/// directory; those of [`Tree::walk`].
pub fn descend<T: Tree + ?Sized>(tree: &T, root: T::Node, aname: &[u8]) -> Result<T::Node> {
    let mut node = root;
    for name in path::components(aname) {
        if name == b".." || name.contains(&0) {
            return Err(Errno::ENOENT);
        }
        node = tree.walk(&node, name)?;
        if !tree.attr(&node)?.qid.is_dir() {
            return Err(Errno::ENOTDIR);
        }
    }
    Ok(node)
}
