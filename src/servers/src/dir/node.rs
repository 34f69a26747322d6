//! A file that was walked to: its descriptor, and what can be done with that.

use super::{Dir, File, errno};
use privns_abi::{Errno, Result};
use privns_ninep::attr::{Attr, Qid, SetAttr, Time, mode, set, valid};
use privns_ninep::client::flags;
use privns_ninep::message::Rstatfs;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// An `O_PATH` descriptor: names a file and opens nothing.
#[derive(Debug)]
pub struct Node {
    pub(super) fd: OwnedFd,
}

/// A step: to the entry itself, whatever it is.
pub(super) const STEP: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// The bits of open(2) that a client may ask for.
pub(super) const ALLOWED: u32 =
    flags::ACCESS | flags::TRUNC | flags::APPEND | flags::DIRECTORY | O_SYNC;
const O_SYNC: u32 = 0o4_010_000;
/// Longest extended attribute or list of their names (xattr(7)).
const XATTR_MAX: usize = 65_536;

impl Node {
    pub(super) fn root(path: &Path) -> Result<Node> {
        // The one lookup that follows links: the path is the server's own.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).map(|fd| Node { fd }).map_err(errno)
    }

    /// The entry of this name, which has been checked to be one component.
    pub(super) fn child(&self, name: &[u8]) -> Result<Node> {
        debug_assert!(!name.contains(&b'/') && name != b"..");
        let fd = rustix::fs::openat(&self.fd, name, STEP, Mode::empty()).map_err(errno)?;
        Ok(Node { fd })
    }

    /// The name by which the kernel leads back to this very file (proc(5)).
    pub(super) fn magic(&self) -> CString {
        magic(&self.fd)
    }

    /// The host's path of the file at this moment.
    pub(super) fn own_path(&self) -> Result<Vec<u8>> {
        let path = rustix::fs::readlink(self.magic(), Vec::new()).map_err(|e| match errno(e) {
            Errno::ENOENT => Errno::ENOSYS,
            e => e,
        })?;
        Ok(path.into_bytes())
    }

    pub(super) fn stat(&self) -> Result<Stat> {
        rustix::fs::fstat(&self.fd).map_err(errno)
    }

    /// Opens the file for I/O. What kind of file it is cannot change behind
    /// the descriptor, so there is no race with the check: a device or a pipe
    /// is never opened, which alone may have an effect.
    pub(super) fn reopen(&self, how: u32, more: u32) -> Result<OwnedFd> {
        match self.stat()?.st_mode & mode::FORMAT {
            mode::REGULAR | mode::DIRECTORY => {}
            mode::SYMLINK => return Err(Errno::ELOOP),
            _ => return Err(Errno::ENXIO),
        }
        let flags =
            OFlags::from_bits_retain(how & ALLOWED | more) | OFlags::CLOEXEC | OFlags::NOCTTY;
        rustix::fs::open(self.magic(), flags, Mode::empty()).map_err(errno)
    }

    pub(super) fn readlink(&self) -> Result<Vec<u8>> {
        match rustix::fs::readlinkat(&self.fd, c"", Vec::new()) {
            Ok(target) => Ok(target.into_bytes()),
            // The kernel's answer for an empty name on what is no link.
            Err(rustix::io::Errno::NOENT) => Err(Errno::EINVAL),
            Err(e) => Err(errno(e)),
        }
    }

    /// Size, then owner, then mode (a change of owner takes setuid away),
    /// then times (all of the others change them).
    pub(super) fn set_attr(&self, file: Option<&File>, change: &SetAttr) -> Result<()> {
        let has = |bit| change.valid & bit != 0;
        if has(set::SIZE) {
            self.truncate(file, change.size)?;
        }
        if has(set::UID) || has(set::GID) {
            let uid = has(set::UID).then(|| Uid::from_raw(change.uid));
            let gid = has(set::GID).then(|| Gid::from_raw(change.gid));
            self.chown(uid, gid)?;
        }
        if has(set::MODE) {
            if self.stat()?.st_mode & mode::FORMAT == mode::SYMLINK {
                return Err(Errno::EOPNOTSUPP);
            }
            let bits = Mode::from_raw_mode(change.mode & mode::PERMISSIONS);
            rustix::fs::chmod(self.magic(), bits).map_err(errno)?;
        }
        if has(set::ATIME | set::MTIME) {
            let times = Timestamps {
                last_access: time(change, set::ATIME, set::ATIME_SET, change.atime),
                last_modification: time(change, set::MTIME, set::MTIME_SET, change.mtime),
            };
            rustix::fs::utimensat(&self.fd, c"", &times, AtFlags::EMPTY_PATH).map_err(errno)?;
        }
        Ok(())
    }

    fn truncate(&self, file: Option<&File>, size: u64) -> Result<()> {
        match file {
            Some(file) => rustix::fs::ftruncate(&file.fd, size).map_err(errno),
            None => {
                // What has no contents is not cut off, whether it can be opened or not.
                let fd = self.reopen(flags::WRONLY, 0).map_err(|e| match e {
                    Errno::ENXIO => Errno::EINVAL,
                    e => e,
                })?;
                rustix::fs::ftruncate(fd, size).map_err(errno)
            }
        }
    }

    pub(super) fn chown(&self, uid: Option<Uid>, gid: Option<Gid>) -> Result<()> {
        rustix::fs::chownat(&self.fd, c"", uid, gid, AtFlags::EMPTY_PATH).map_err(errno)
    }

    pub(super) fn statfs(&self) -> Result<Rstatfs> {
        let s = rustix::fs::fstatfs(&self.fd).map_err(errno)?;
        let v = rustix::fs::fstatvfs(&self.fd).map_err(errno)?;
        Ok(Rstatfs {
            kind: s.f_type as u32,
            bsize: s.f_bsize as u32,
            blocks: s.f_blocks,
            bfree: s.f_bfree,
            bavail: s.f_bavail,
            files: s.f_files,
            ffree: s.f_ffree,
            fsid: v.f_fsid,
            namelen: s.f_namelen as u32,
        })
    }

    pub(super) fn xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        let mut value = vec![0; XATTR_MAX];
        let n = match name {
            b"" => rustix::fs::listxattr(self.magic(), &mut value[..]),
            _ => rustix::fs::getxattr(self.magic(), name, &mut value[..]),
        };
        value.truncate(n.map_err(errno)?);
        Ok(value)
    }

    pub(super) fn set_xattr(&self, name: &[u8], value: Option<&[u8]>, flags: u32) -> Result<()> {
        let done = match value {
            Some(value) => {
                let flags = XattrFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
                rustix::fs::setxattr(self.magic(), name, value, flags)
            }
            None => rustix::fs::removexattr(self.magic(), name),
        };
        done.map_err(errno)
    }

    /// Makes another name for the file.
    pub(super) fn link(&self, dir: &Node, name: &[u8]) -> Result<()> {
        if self.stat()?.st_mode & mode::FORMAT == mode::DIRECTORY {
            return Err(Errno::EPERM);
        }
        let follow = AtFlags::SYMLINK_FOLLOW;
        rustix::fs::linkat(CWD, self.magic(), &dir.fd, name, follow).map_err(errno)
    }
}

/// `/proc/self/fd/N`.
pub(super) fn magic(fd: &OwnedFd) -> CString {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    // A number has no NUL in it.
    CString::new(path).unwrap_or_default()
}

fn time(change: &SetAttr, wanted: u32, given: u32, time: Time) -> Timespec {
    const NOW: i64 = 0x3fff_ffff;
    const OMIT: i64 = 0x3fff_fffe;
    match change.valid {
        v if v & wanted == 0 => Timespec { tv_sec: 0, tv_nsec: OMIT },
        v if v & given == 0 => Timespec { tv_sec: 0, tv_nsec: NOW },
        // Beyond a second the kernel says EINVAL, which is the client's.
        _ => Timespec { tv_sec: time.sec as i64, tv_nsec: time.nsec.min(1_000_000_000) as i64 },
    }
}

impl Dir {
    pub(super) fn attr_of(&self, node: &Node) -> Result<Attr> {
        let s = node.stat()?;
        let time = |sec: i64, nsec: u64| Time { sec: sec as u64, nsec };
        Ok(Attr {
            valid: valid::BASIC,
            qid: self.qid(&s),
            mode: s.st_mode,
            uid: s.st_uid,
            gid: s.st_gid,
            nlink: s.st_nlink,
            rdev: s.st_rdev,
            size: s.st_size as u64,
            blksize: s.st_blksize as u64,
            blocks: s.st_blocks as u64,
            atime: time(s.st_atime, s.st_atime_nsec),
            mtime: time(s.st_mtime, s.st_mtime_nsec),
            ctime: time(s.st_ctime, s.st_ctime_nsec),
            ..Attr::default()
        })
    }

    /// The version changes with every change of contents that the host's
    /// clock can tell from the last.
    pub(super) fn qid(&self, s: &Stat) -> Qid {
        let modified = (s.st_mtime as u64, s.st_mtime_nsec);
        let version = Qid::version_of(modified, s.st_size as u64);
        Qid::of(s.st_mode, version, self.path_of(s.st_dev, s.st_ino))
    }

    /// One number for device and inode. The first device met has none added,
    /// and inodes are far below 2^48 on the file systems we know.
    pub(super) fn path_of(&self, dev: u64, ino: u64) -> u64 {
        let mut devices = self.devices.lock();
        let place = devices.iter().position(|d| *d == dev).unwrap_or_else(|| {
            devices.push(dev);
            devices.len() - 1
        });
        ino ^ (place as u64) << 48
    }

    /// Where the file is, by the kernel's word and not by the way the client
    /// came: somebody may have renamed something since. The path is walked
    /// again from the root, step by step, and has to end at the same file.
    pub(super) fn parent_of(&self, node: &Arc<Node>) -> Result<Option<(Arc<Node>, Vec<u8>)>> {
        let (own, root) = (node.stat()?, self.root.stat()?);
        let same = |a: &Stat, b: &Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        if same(&own, &root) {
            return Ok(None);
        }
        let (path, top) = (node.own_path()?, self.root.own_path()?);
        let below = privns_abi::path::below(&path, &top).ok_or(Errno::ENOENT)?;
        let name = privns_abi::path::file_name(below).to_vec();
        let above = &below[..below.len() - name.len()];
        let mut dir = self.root.clone();
        for step in privns_abi::path::components(above) {
            dir = Arc::new(dir.child(step)?);
        }
        let there =
            rustix::fs::statat(&dir.fd, &name[..], AtFlags::SYMLINK_NOFOLLOW).map_err(errno)?;
        if same(&own, &there) { Ok(Some((dir, name))) } else { Err(Errno::ENOENT) }
    }
}
