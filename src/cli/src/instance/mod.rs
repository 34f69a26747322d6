//! Instances of host directories: made, held, found, removed.
//!
//! An instance is `ORIGINAL/.privns-UID/FAMILY.NUMBER` (see
//! [`privns_namespace::instance`]). Its files are looked up by that path for as
//! long as the family lives, so nobody else may be able to put something in
//! its place: the original is its owner's, root's or ours, and sticky where
//! others may write; the parent is ours alone, and no link.
//!
//! That is `private`; what rules of namespace.conf make, and several families
//! share, is `holder`'s. Both can be below a descriptor instead: `given`.
//!
//! Two races are met here. A parent that is empty is removed by whoever empties
//! it, perhaps right before somebody makes an instance in it: making begins
//! again. An instance is recorded in the family's entry before it is made, so
//! that whoever clears the entry away finds it whenever we are killed.

mod given;
mod ground;
mod holder;
mod index;
mod known;
mod remove;
mod ruled;
mod served;
#[cfg(test)]
mod tests;

pub use given::Given;
pub use holder::{About, Made, of as holder_of};
pub(crate) use index::{forget_gone, holders};
pub use known::{Known, known};
pub use remove::{remove, remove_all, remove_recorded, undo};
pub use ruled::{by_rule, given_by_rule, served, who};

use crate::failure::{Failure, Why, shown};
use crate::runtime::Runtime;
use crate::tree::{self, errno};
use privns_abi::{Errno, Stat};
use privns_host::Kernel;
use privns_namespace::{Source, Table, Verb, family, instance};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// How often making begins again after somebody removed the parent, or has the
/// name already.
const TRIES: usize = 128;
/// What begins the name of a record.
const RECORD: &[u8] = b"instance-";

/// Makes a fresh instance of a host directory for the family of this number;
/// gives its host path. It has the mode of the original; its owner is the user
/// or, made by root, the original's owner and group.
///
/// # Errors
/// An original that others could tamper with, a parent that is somebody
/// else's, and what mkdirat(2) says.
pub fn make(family: u64, original: &[u8]) -> Result<Vec<u8>, Failure> {
    let what = || format!("private {}", shown(if original.is_empty() { b"/" } else { original }));
    make_checked(family, original).map_err(|why| {
        let advice = match why {
            Why::Errno(Errno::EACCES | Errno::EPERM | Errno::EROFS) => {
                "an instance lies beneath its original, where you cannot make one; \
                 bind a directory of your own instead"
            }
            _ => "",
        };
        Failure::new(what(), why).fix(advice)
    })
}

fn make_checked(family: u64, original: &[u8]) -> Result<Vec<u8>, Why> {
    let dir = open_original(original)?;
    let found = stat(&dir)?;
    check_original(&found, Kernel.geteuid())?;
    let path =
        |name: &[u8]| [original, b"/", &instance::parent(Kernel.geteuid()), b"/", name].concat();
    let record = |name: &[u8]| record_as(family, name, &path(name));
    let [_, name] = make_in(&dir, family, &Model::of(&found), record)?;
    Ok(path(&name))
}

/// Makes a fresh instance below a directory; gives its parent's name and its
/// own. `record` is told that before it is made.
fn make_in(
    dir: &OwnedFd,
    family: u64,
    model: &Model,
    mut record: impl FnMut(&[u8]),
) -> Result<[Vec<u8>; 2], Why> {
    let parent_name = instance::parent(Kernel.geteuid());
    for _ in 0..TRIES {
        let name = instance::name(family, family::new_id()?);
        let parent = match make_parent(dir, &parent_name) {
            Err(Why::Errno(Errno::ENOENT)) => continue,
            parent => parent?,
        };
        record(&name);
        match rustix::fs::mkdirat(&parent, &name[..], Mode::RWXU).map_err(errno) {
            Ok(()) => {
                if let Err(e) = make_like(&parent, &name, model) {
                    let _ = rustix::fs::unlinkat(&parent, &name[..], AtFlags::REMOVEDIR);
                    return Err(e.into());
                }
                return Ok([parent_name, name]);
            }
            Err(Errno::ENOENT | Errno::EEXIST) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(Errno::EAGAIN.into())
}

/// What an instance is to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// Permissions, with the set-id and sticky bits.
    pub mode: u32,
    /// The owner, where we may give files away.
    pub uid: u32,
    /// The group, where we may, or where new files are to be the group's.
    pub gid: u32,
}

impl Model {
    fn of(stat: &Stat) -> Model {
        Model { mode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid }
    }
}

/// Makes a directory of ours what its model is.
fn make_like(parent: &OwnedFd, name: &[u8], model: &Model) -> privns_abi::Result<()> {
    // Whatever the umask has left of the mode, we must be able to open it.
    rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty()).map_err(errno)?;
    let made = tree::open_dir(parent, name)?;
    let group = Some(rustix::fs::Gid::from_raw(model.gid));
    if Kernel.geteuid() == 0 {
        let owner = Some(rustix::fs::Uid::from_raw(model.uid));
        rustix::fs::fchown(&made, owner, group).map_err(errno)?;
    } else if model.mode & libc::S_ISGID != 0 {
        // New files are to be the group's; that may be one we are not in.
        let _ = rustix::fs::fchown(&made, None, group);
    }
    // Last, since a change of owner takes the set-id bits away.
    rustix::fs::fchmod(&made, Mode::from_raw_mode(model.mode)).map_err(errno)
}

/// Makes the directory that holds a user's instances, or finds it, and checks
/// that it is ours alone.
fn make_parent(original: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Why> {
    match rustix::fs::mkdirat(original, name, Mode::RWXU).map_err(errno) {
        // Its place is sticky or ours, so nobody can have exchanged it.
        Ok(()) => rustix::fs::chmodat(original, name, Mode::RWXU, AtFlags::empty())
            .or_else(|e| if e == rustix::io::Errno::NOENT { Ok(()) } else { Err(errno(e)) })?,
        Err(Errno::EEXIST) => {}
        Err(e) => return Err(e.into()),
    }
    open_parent(original, name, Kernel.geteuid())
}

/// Opens the directory that holds the instances of `owner`.
fn open_parent(original: &OwnedFd, name: &[u8], owner: u32) -> Result<OwnedFd, Why> {
    let dir = match tree::open_dir(original, name) {
        Err(Errno::ELOOP | Errno::ENOTDIR) => return Err(squatted(name, "it is no directory")),
        dir => dir?,
    };
    check_own(&stat(&dir)?, name, owner)?;
    Ok(dir)
}

/// A name of ours that somebody was faster to use.
fn squatted(name: &[u8], how: &str) -> Why {
    Why::Text(format!("somebody has taken the name {}: {how}", shown(name)))
}

/// Refuses a directory that is not a user's alone.
fn check_own(stat: &Stat, name: &[u8], owner: u32) -> Result<(), Why> {
    if stat.uid != owner {
        return Err(squatted(name, &format!("it belongs to user {}", stat.uid)));
    }
    if stat.mode & 0o077 != 0 {
        let how = format!("its mode {:o} lets others in", stat.mode & 0o7777);
        return Err(squatted(name, &how));
    }
    Ok(())
}

/// A directory in which its owner could exchange what we make.
fn taken(uid: u32) -> Why {
    Why::Text(format!("it belongs to user {uid}, who could exchange what we make in it"))
}

/// Opens a directory whose path has no symbolic link.
fn open_original(path: &[u8]) -> privns_abi::Result<OwnedFd> {
    let path = if path.is_empty() { b"/" } else { path };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let exact = rustix::fs::ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(CWD, path, flags, Mode::empty(), exact) {
        // No such call, or a filter that knows none.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
            rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(errno)
        }
        opened => opened.map_err(errno),
    }
}

/// Refuses a directory in which another user could put something in the place
/// of a directory of ours.
fn check_original(stat: &Stat, uid: u32) -> Result<(), Why> {
    if stat.uid != uid && stat.uid != 0 {
        return Err(taken(stat.uid));
    }
    let group = stat.mode & 0o020 != 0 && stat.gid != 0 && stat.gid != own_group();
    let others = stat.mode & 0o002 != 0;
    if (group || others) && stat.mode & libc::S_ISVTX == 0 {
        let why =
            format!("others may write it and it is not sticky (mode {:o})", stat.mode & 0o7777);
        return Err(Why::Text(why));
    }
    Ok(())
}

fn own_group() -> u32 {
    rustix::process::getegid().as_raw()
}

fn stat(fd: impl AsFd) -> privns_abi::Result<Stat> {
    let s = rustix::fs::fstat(fd).map_err(errno)?;
    Ok(Stat {
        dev: s.st_dev,
        ino: s.st_ino,
        mode: s.st_mode,
        links: s.st_nlink,
        uid: s.st_uid,
        gid: s.st_gid,
    })
}

/// Notes in the family's entry that there is, or will be, an instance. Without
/// an entry (somebody cleared it away) only [`found`] finds it.
fn record_as(family: u64, name: &[u8], path: &[u8]) {
    Runtime::note(family, path, &[RECORD, name].concat());
}

/// The instances that an entry of the runtime directory records.
fn recorded(entry: impl AsFd) -> Vec<Vec<u8>> {
    let names = tree::names(&entry).unwrap_or_default();
    let links = names.iter().filter(|name| name.starts_with(RECORD));
    links.filter_map(|name| tree::read_link(&entry, name).ok()).collect()
}

/// The host paths of the instances that a table shows.
#[must_use]
pub fn shown_by(table: &Table) -> Vec<Vec<u8>> {
    let members = table.mounts().iter().flat_map(|mount| &mount.members);
    let is = |verb: &Verb| matches!(verb, Verb::Private | Verb::Instance(_));
    members
        .filter(|member| is(&member.rule.verb))
        .map(|member| {
            let Source::Host(host) = &member.source;
            host.clone()
        })
        .collect()
}

/// Instances that are held for as long as this is there: who clears old files
/// away (systemd-tmpfiles) passes a locked directory by, and who removes
/// instances by a rule leaves them.
pub struct Held(Vec<(Vec<u8>, OwnedFd)>);

impl Held {
    /// Those that have been made.
    #[must_use]
    pub fn new(made: Vec<Made>) -> Held {
        Held(made.into_iter().map(|made| (made.path, made.held)).collect())
    }

    /// Holds what a table shows and is not held yet.
    pub fn more(&mut self, table: &Table) {
        for host in shown_by(table) {
            if !self.0.iter().any(|(path, _)| *path == host) {
                self.0.extend(hold(&host).map(|dir| (host, dir)));
            }
        }
    }

    /// The descriptors that hold them.
    pub fn fds(&self) -> impl Iterator<Item = i32> {
        self.0.iter().map(|(_, dir)| dir.as_raw_fd())
    }
}

fn hold(host: &[u8]) -> Option<OwnedFd> {
    if holder::of(host).is_some() {
        return holder::hold(host);
    }
    let dir = tree::open_path(host).ok()?;
    rustix::fs::flock(&dir, FlockOperation::NonBlockingLockShared).ok()?;
    Some(dir)
}

/// Whether nobody but root could exchange anything on the way to a host path.
#[must_use]
pub fn is_roots(path: &[u8]) -> bool {
    ground::walk(path, 0).is_ok()
}
