//! Instances of host directories: made, held, found, removed.
//!
//! An instance is `ORIGINAL/.privns-UID/FAMILY.NUMBER` (see
//! [`privns_namespace::instance`]). Its files are looked up by that path for as
//! long as the family lives, so nobody else may be able to put something in
//! its place: the original is its owner's, root's or ours, and sticky where
//! others may write; the parent is ours alone, and no link.
//!
//! Two races are met here. A parent that is empty is removed by whoever empties
//! it, perhaps right before somebody makes an instance in it: making begins
//! again. An instance is recorded in the family's entry before it is made, so
//! that whoever clears the entry away finds it whenever we are killed.

mod remove;
#[cfg(test)]
mod tests;

pub use remove::{remove, remove_all, remove_recorded};

use crate::failure::{Failure, Why, shown};
use crate::runtime::{self, Runtime};
use crate::tree::{self, errno};
use privns_abi::{Errno, Stat};
use privns_host::Kernel;
use privns_namespace::{family, instance};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

/// How often making begins again after somebody removed the parent, or has the
/// name already.
const TRIES: usize = 128;
/// Where instances are looked for beside those that are recorded.
const USUAL: [&[u8]; 3] = [b"/tmp", b"/var/tmp", b"/dev/shm"];
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
    let model = stat(&dir)?;
    check_original(&model, Kernel.geteuid())?;
    let parent_name = instance::parent(Kernel.geteuid());
    for _ in 0..TRIES {
        let name = instance::name(family, family::new_id()?);
        let path = [original, b"/", &parent_name, b"/", &name].concat();
        let parent = match make_parent(&dir, &parent_name) {
            Err(Why::Errno(Errno::ENOENT)) => continue,
            parent => parent?,
        };
        record(family, &name, &path);
        match rustix::fs::mkdirat(&parent, &name[..], Mode::RWXU).map_err(errno) {
            Ok(()) => {
                finish(&parent, &name, &model)?;
                return Ok(path);
            }
            Err(Errno::ENOENT | Errno::EEXIST) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(Errno::EAGAIN.into())
}

/// Makes an instance what its original is.
fn finish(parent: &OwnedFd, name: &[u8], model: &Stat) -> Result<(), Why> {
    let like = || -> privns_abi::Result<()> {
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
        rustix::fs::fchmod(&made, Mode::from_raw_mode(model.mode & 0o7777)).map_err(errno)
    };
    like().map_err(|e| {
        let _ = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
        e.into()
    })
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
    let taken =
        |how: &str| Why::Text(format!("somebody has taken the name {}: {how}", shown(name)));
    let dir = match tree::open_dir(original, name) {
        Err(Errno::ELOOP | Errno::ENOTDIR) => return Err(taken("it is no directory")),
        dir => dir?,
    };
    let stat = stat(&dir)?;
    if stat.uid != owner {
        return Err(taken(&format!("it belongs to user {}", stat.uid)));
    }
    if stat.mode & 0o077 != 0 {
        return Err(taken(&format!("its mode {:o} lets others in", stat.mode & 0o7777)));
    }
    Ok(dir)
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
        let whose =
            format!("it belongs to user {}, who could exchange what we make in it", stat.uid);
        return Err(Why::Text(whose));
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
fn record(family: u64, name: &[u8], path: &[u8]) {
    let link = [RECORD, name].concat();
    if let Some(entry) = Runtime::all().iter().find_map(|r| r.entry(family).ok()) {
        let _ = rustix::fs::symlinkat(path, &entry, &link[..]);
    }
}

/// The instances that an entry of the runtime directory records.
fn recorded(entry: impl AsFd) -> Vec<Vec<u8>> {
    let names = tree::names(&entry).unwrap_or_default();
    let links = names.iter().filter(|name| name.starts_with(RECORD));
    links.filter_map(|name| tree::read_link(&entry, name).ok()).collect()
}

/// Holds instances for as long as the descriptors are open: who clears old
/// files away (systemd-tmpfiles) passes a locked directory by.
#[must_use]
pub fn hold(hosts: &[Vec<u8>]) -> Vec<OwnedFd> {
    let hold = |host: &Vec<u8>| {
        let dir = tree::open_path(host).ok()?;
        rustix::fs::flock(&dir, FlockOperation::NonBlockingLockShared).ok()?;
        Some(dir)
    };
    hosts.iter().filter_map(hold).collect()
}

/// An instance on this host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// Its host path.
    pub path: Vec<u8>,
    /// The user that made it.
    pub uid: u32,
    /// The number of the family that it was made for.
    pub family: u64,
}

impl Instance {
    /// Whether a member of its family is alive.
    #[must_use]
    pub fn is_used(&self) -> bool {
        runtime::by_id(self.family).is_ok_and(|family| {
            family.close();
            true
        }) || runtime::members(self.family).next().is_some()
    }
}

/// The instances of these originals and of the usual ones, as far as this user
/// may see them: its own, and root everybody's.
#[must_use]
pub fn found(originals: &[Vec<u8>]) -> Vec<Instance> {
    let mut all: BTreeSet<Vec<u8>> = originals.iter().cloned().collect();
    all.extend(USUAL.iter().map(|usual| usual.to_vec()));
    for runtime in Runtime::all() {
        for id in runtime.ids().unwrap_or_default() {
            let recorded = runtime.entry(id).map(recorded).unwrap_or_default();
            all.extend(recorded.iter().filter_map(|path| Some(instance::original(path)?.to_vec())));
        }
    }
    let mut found: Vec<Instance> = all.iter().flat_map(|original| beneath(original)).collect();
    found.sort();
    found
}

fn beneath(original: &[u8]) -> Vec<Instance> {
    let own = Kernel.geteuid();
    let shown = if original.is_empty() { b"/" } else { original };
    let Ok(dir) = tree::open_path(shown) else { return Vec::new() };
    let mut found = Vec::new();
    for parent in tree::names(&dir).unwrap_or_default() {
        let Some(uid) = instance::parent_owner(&parent).filter(|&uid| own == 0 || uid == own)
        else {
            continue;
        };
        let Ok(inner) = open_parent(&dir, &parent, uid) else { continue };
        for name in tree::names(&inner).unwrap_or_default() {
            if let Some(family) = instance::family(&name) {
                let path = [original, b"/", &parent, b"/", &name].concat();
                found.push(Instance { path, uid, family });
            }
        }
    }
    found
}
