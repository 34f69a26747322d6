//! The ground that instances stand on: a host path in which nobody else can
//! put something in the place of what we have looked at.
//!
//! Every directory on the way is root's or ours, and sticky where others may
//! write: so a name in it that is ours, or root's, stays what it is, and the
//! path can be used again later. Symbolic links are followed only where root
//! or we have made them. The walk itself goes by descriptors.

use super::{stat, taken};
use crate::failure::{Why, shown};
use crate::tree::errno;
use privns_abi::{Errno, Stat, path};
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::{AsFd, OwnedFd};

/// Links followed at most, as the kernel does.
const LINKS_MAX: usize = 40;

/// A directory that was reached safely, under the path that leads there
/// without links.
pub(super) struct Ground {
    pub(super) dir: OwnedFd,
    pub(super) path: Vec<u8>,
}

/// Walks to a directory on behalf of the user `uid`.
///
/// # Errors
/// ENOENT and the like; a directory or link on the way that another user could
/// exchange.
pub(super) fn walk(wanted: &[u8], uid: u32) -> Result<Ground, Why> {
    reach(wanted, uid).map(|(ground, _)| ground)
}

/// The same, with what the directory was when it was reached.
fn reach(wanted: &[u8], uid: u32) -> Result<(Ground, Stat), Why> {
    let root = open(CWD, b"/")?;
    let mut dirs = vec![(stat(&root)?, root)];
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut ahead: Vec<Vec<u8>> = parts(wanted);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == b".." {
            names.pop();
            dirs.truncate(1.max(dirs.len() - 1));
            continue;
        }
        let Some((is, above)) = dirs.last() else { return Err(Errno::ENOENT.into()) };
        check(is, uid).map_err(|why| at(&names, why))?;
        let next = open(above, &name)?;
        let found = stat(&next)?;
        if found.is_symlink() {
            links += 1;
            if links > LINKS_MAX {
                return Err(Errno::ELOOP.into());
            }
            names.push(name);
            if found.uid != 0 && found.uid != uid {
                let why = format!("a symbolic link of user {}", found.uid);
                return Err(at(&names, Why::Text(why)));
            }
            names.pop();
            let text = rustix::fs::readlinkat(&next, "", Vec::new()).map_err(errno)?;
            if text.as_bytes().starts_with(b"/") {
                dirs.truncate(1);
                names.clear();
            }
            ahead.extend(parts(text.as_bytes()));
            continue;
        }
        if !found.is_dir() {
            return Err(Errno::ENOTDIR.into());
        }
        names.push(name);
        dirs.push((found, next));
    }
    let Some((found, dir)) = dirs.pop() else { return Err(Errno::ENOENT.into()) };
    let path = names.iter().flat_map(|name| [b"/", &name[..]].concat()).collect();
    Ok((Ground { dir, path }, found))
}

/// The ground for instances: the directory must be safe itself.
///
/// # Errors
/// As [`walk`].
pub(super) fn safe(wanted: &[u8], uid: u32) -> Result<Ground, Why> {
    let (ground, found) = reach(wanted, uid)?;
    check(&found, uid)?;
    Ok(ground)
}

/// The components, the first one last.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let parts: Vec<&[u8]> = path::components(path).filter(|part| *part != b".").collect();
    parts.iter().rev().map(|part| part.to_vec()).collect()
}

fn open(at: impl AsFd, name: &[u8]) -> Result<OwnedFd, Why> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty()).map_err(errno)?)
}

/// Refuses a directory in which another user could put something in the place
/// of a name of ours.
pub(super) fn check(stat: &Stat, uid: u32) -> Result<(), Why> {
    if stat.uid != uid && stat.uid != 0 {
        return Err(taken(stat.uid));
    }
    // A user's own group, of the same number and alone in it, is no other.
    let group = stat.gid != 0 && !(stat.gid == uid && stat.uid == uid);
    let written = stat.mode & 0o002 != 0 || (stat.mode & 0o020 != 0 && group);
    if written && stat.mode & libc::S_ISVTX == 0 {
        let mode = stat.mode & 0o7777;
        return Err(Why::Text(format!("others may write it and it is not sticky (mode {mode:o})")));
    }
    Ok(())
}

fn at(names: &[Vec<u8>], why: Why) -> Why {
    let path: Vec<u8> = names.iter().flat_map(|name| [b"/", &name[..]].concat()).collect();
    let path = if path.is_empty() { b"/".to_vec() } else { path };
    Why::Text(format!("{}: {why}", shown(&path)))
}
