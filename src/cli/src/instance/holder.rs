//! Instances by a rule, which several families may share.
//!
//! Where the rule says, `PREFIX` with a name, stands a *holder*: a directory of
//! the user's own, mode 0700, that nobody else can look into. In it is the
//! instance itself, `dir`, which has the mode of what it stands for; `about`, a
//! link whose text says what it is; and for each family that uses it a link
//! `by-FAMILY`, which is `about` by another name where that is there: a name
//! more costs a file system less than a file more.
//!
//! Who uses an instance holds `flock(LOCK_SH)` on the holder: the maker from
//! before the instance is made, its keeper until the family has ended. Whoever
//! gets `LOCK_EX` is alone; where keepers have been killed the links `by-` say
//! whose members to look for. So of two families, one of which begins while the
//! other ends, either the one that begins has its lock in time and the other
//! leaves the instance, or it finds a holder that is gone, and makes it anew: a
//! lock counts only on the directory that still has the name.
//!
//! Removal first renames `dir`, under `LOCK_EX`, and then takes its time.

use super::ground::{self, Ground};
use super::{Model, check_own, make_like, squatted, stat};
use crate::failure::{Failure, Why, shown};
use crate::runtime::Living;
use crate::tree::{self, errno};
use privns_abi::{Errno, path};
use privns_host::Kernel;
use privns_namespace::family;
use privns_namespace::poly::Method;
use rustix::fs::{AtFlags, FlockOperation, Mode, RenameFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// What an instance is called within its holder.
pub(super) const DIR: &[u8] = b"dir";
const ABOUT: &[u8] = b"about";
const BY: &[u8] = b"by-";
/// What is being removed.
const GONE: &[u8] = b"gone-";
/// How long somebody may hold a lock that keeps us from an instance: nobody
/// does for more than a few calls.
const PATIENCE: Duration = Duration::from_secs(10);

/// An instance that a family has begun to use.
pub struct Made {
    /// Its host path.
    pub path: Vec<u8>,
    /// It was not there.
    pub new: bool,
    /// The family did not use it already.
    pub joined: bool,
    /// The lock on its holder.
    pub held: OwnedFd,
}

/// What is said of an instance in its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// How it is told apart from others.
    pub method: Method,
    /// It stays when nobody uses it, whatever the method.
    pub keep: bool,
    /// The batch job that it was made in.
    pub job: Option<Vec<u8>>,
    /// The name that it stands for.
    pub polydir: Vec<u8>,
}

impl About {
    fn to_text(&self) -> Vec<u8> {
        let job = self.job.as_deref().unwrap_or(b"-");
        let keep = if self.keep { &b"+"[..] } else { b"" };
        let method = [self.method.name().as_bytes(), keep].concat();
        [&method, job, &self.polydir].join(&b':')
    }

    fn parse(text: &[u8]) -> Option<About> {
        let mut parts = text.splitn(3, |&b| b == b':');
        let method = parts.next()?;
        let plain = method.strip_suffix(b"+");
        let (method, keep) = (Method::of(plain.unwrap_or(method))?, plain.is_some());
        let job = parts.next().filter(|job| *job != b"-").map(<[u8]>::to_vec);
        Some(About { method, keep, job, polydir: parts.next()?.to_vec() })
    }

    /// Whether it stays when nobody uses it.
    pub(super) fn stays(&self) -> bool {
        self.keep || self.method.stays()
    }
}

/// Makes the instance in the holder of this path, or finds it, for a family.
///
/// # Errors
/// A place that others could tamper with, a holder that is somebody else's,
/// and what mkdirat(2) says.
pub(crate) fn make(
    holder: &[u8],
    family: u64,
    about: &About,
    model: &Model,
    own_parent: bool,
) -> Result<Made, Failure> {
    let uid = Kernel.geteuid();
    let parent = path::parent(holder);
    let what = |why: Why| {
        let advice = advice(&why, parent, holder);
        Failure::new(format!("the instance {}", shown(holder)), why).fix(advice)
    };
    let ground = parent_of(holder, uid, own_parent).map_err(what)?;
    make_in(&ground, path::file_name(holder), family, about, model).map_err(what)
}

/// The same for the holder of this name in a directory.
pub(super) fn make_in(
    ground: &Ground,
    name: &[u8],
    family: u64,
    about: &About,
    model: &Model,
) -> Result<Made, Why> {
    let uid = Kernel.geteuid();
    let end = Instant::now() + PATIENCE;
    loop {
        match enter(ground, name, uid)? {
            Some(held) => match fill(&held, family, about, model) {
                // Emptied right before we had the lock.
                Err(Errno::ENOENT) => {}
                Err(e) => {
                    // Only an empty one goes; who has come meanwhile begins anew.
                    let _ = rustix::fs::unlinkat(&ground.dir, name, AtFlags::REMOVEDIR);
                    return Err(e.into());
                }
                Ok((new, joined)) => {
                    let path = [&ground.path[..], b"/", name, b"/", DIR].concat();
                    return Ok(Made { path, new, joined, held });
                }
            },
            None => std::thread::sleep(Duration::from_millis(1)),
        }
        if Instant::now() > end {
            return Err("another program keeps it locked".into());
        }
    }
}

fn advice(why: &Why, parent: &[u8], holder: &[u8]) -> String {
    let parent = shown(parent);
    match why {
        Why::Errno(Errno::EACCES | Errno::EPERM) => format!(
            "{parent} lets nobody but its owner make one: an administrator makes it sticky (chmod \
             1777), or makes {} yours with mode 0700",
            shown(holder)
        ),
        Why::Errno(Errno::ENOENT) => format!("mkdir -m 1777 {parent}"),
        Why::Errno(Errno::EROFS | Errno::ENOSPC | Errno::EDQUOT) => {
            format!("{parent} must be on a file system with room to write")
        }
        Why::Text(text) if text.contains("not sticky") => format!("chmod 1777 {parent}"),
        _ => String::new(),
    }
}

/// The directory that a holder stands in. One that is missing is made where
/// nobody else would want it: in a directory of our own, or where the rule
/// names it after the user or the job. Root's is closed to all, as
/// pam_namespace makes it.
fn parent_of(holder: &[u8], uid: u32, own_parent: bool) -> Result<Ground, Why> {
    let parent = path::parent(holder);
    match ground::safe(parent, uid) {
        Err(Why::Errno(Errno::ENOENT)) => {}
        found => return found,
    }
    let above = ground::safe(path::parent(parent), uid)?;
    if uid != 0 && stat(&above.dir)?.uid != uid && !own_parent {
        return Err(Errno::ENOENT.into());
    }
    let mode = if uid == 0 { 0 } else { 0o700 };
    let name = path::file_name(parent);
    match rustix::fs::mkdirat(&above.dir, name, Mode::from_raw_mode(mode)).map_err(errno) {
        Ok(()) | Err(Errno::EEXIST) => ground::safe(parent, uid),
        Err(e) => Err(e.into()),
    }
}

/// Takes the lock on the holder of this name, which is made where it is not
/// there; `None` when it has to be tried again.
fn enter(ground: &Ground, name: &[u8], uid: u32) -> Result<Option<OwnedFd>, Why> {
    match rustix::fs::mkdirat(&ground.dir, name, Mode::RWXU).map_err(errno) {
        // Its place is sticky or ours, so nobody can have exchanged it.
        Ok(()) => rustix::fs::chmodat(&ground.dir, name, Mode::RWXU, AtFlags::empty())
            .or_else(|e| if e == rustix::io::Errno::NOENT { Ok(()) } else { Err(errno(e)) })?,
        Err(Errno::EEXIST) => {}
        Err(e) => return Err(e.into()),
    }
    let Some(held) = open(ground, name, uid)? else { return Ok(None) };
    match rustix::fs::flock(&held, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(is_named(ground, name, &held)?.then_some(held)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(errno(e).into()),
    }
}

/// Opens a holder and checks whose it is; `None` where there is none.
fn open(ground: &Ground, name: &[u8], uid: u32) -> Result<Option<OwnedFd>, Why> {
    let held = match tree::open_dir(&ground.dir, name) {
        Err(Errno::ENOENT) => return Ok(None),
        Err(Errno::ELOOP | Errno::ENOTDIR) => return Err(squatted(name, "it is no directory")),
        // Another user's, of mode 0700: only its attributes can be had.
        Err(Errno::EACCES) => rustix::fs::openat(
            &ground.dir,
            name,
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(errno)?,
        held => held?,
    };
    check_own(&stat(&held)?, name, uid)?;
    Ok(Some(held))
}

/// Whether a directory still has its name.
fn is_named(ground: &Ground, name: &[u8], held: &OwnedFd) -> privns_abi::Result<bool> {
    let own = stat(held)?;
    match rustix::fs::statat(&ground.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (own.dev, own.ino)),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(e) => Err(errno(e)),
    }
}

/// Whether a holder that says nothing of itself is empty, or one that another
/// family just makes or takes away.
fn is_in_flux(ground: &Ground, name: &[u8], held: &OwnedFd) -> privns_abi::Result<bool> {
    let alone = rustix::fs::flock(held, FlockOperation::NonBlockingLockExclusive).is_ok();
    Ok(!alone || !is_named(ground, name, held)? || tree::names(held)?.is_empty())
}

/// Makes what belongs into a holder that is locked: gives whether the instance
/// is new, and whether the family is.
fn fill(
    held: &OwnedFd,
    family: u64,
    about: &About,
    model: &Model,
) -> privns_abi::Result<(bool, bool)> {
    let joined = join(held, about, &by(family))?;
    let undo = |e| {
        if joined {
            let _ = rustix::fs::unlinkat(held, &by(family)[..], AtFlags::empty());
        }
        e
    };
    if tree::is_dir(held, DIR) {
        return Ok((false, joined));
    }
    let fresh = [b"new-", &by(family)[..]].concat();
    let made = || {
        tree::remove(held, &fresh)?;
        rustix::fs::mkdirat(held, &fresh[..], Mode::RWXU).map_err(errno)?;
        make_like(held, &fresh, model)?;
        put(held, &about.to_text(), ABOUT)?;
        into_place(held, &fresh)
    };
    made().map(|new| (new, joined)).map_err(|e| {
        let _ = tree::remove(held, &fresh);
        undo(e)
    })
}

/// Puts a family's link into a holder; false where it is there already.
///
/// An instance that is there has an `about` that says the same, and no file is
/// made. Nor can it be, say, where the file system has no second names, or has
/// given this one as many as it can.
fn join(held: &OwnedFd, about: &About, by: &[u8]) -> privns_abi::Result<bool> {
    match rustix::fs::linkat(held, ABOUT, held, by, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::EXIST) => Ok(false),
        Err(_) => put(held, &about.polydir, by),
    }
}

/// Makes a link; false where it is there already.
fn put(held: &OwnedFd, text: &[u8], name: &[u8]) -> privns_abi::Result<bool> {
    match rustix::fs::symlinkat(text, held, name) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::EXIST) => Ok(false),
        Err(e) => Err(errno(e)),
    }
}

/// Gives a new instance its name, unless somebody was faster.
fn into_place(held: &OwnedFd, fresh: &[u8]) -> privns_abi::Result<bool> {
    let moved = rustix::fs::renameat_with(held, fresh, held, DIR, RenameFlags::NOREPLACE);
    match moved.map_err(errno) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => tree::remove(held, fresh).map(|()| false),
        // A file system that knows no such rename.
        Err(Errno::EINVAL | Errno::ENOSYS) if !tree::is_dir(held, DIR) => {
            rustix::fs::renameat(held, fresh, held, DIR).map(|()| true).map_err(errno)
        }
        Err(e) => Err(e),
    }
}

fn by(family: u64) -> Vec<u8> {
    [BY, format!("{family:016x}").as_bytes()].concat()
}

/// The holder of the instance at this host path; `None` for a path that no
/// such instance has.
#[must_use]
pub fn of(instance: &[u8]) -> Option<&[u8]> {
    (path::file_name(instance) == DIR).then(|| path::parent(instance))
}

/// Takes another lock on the holder of an instance.
#[must_use]
pub(super) fn hold(instance: &[u8]) -> Option<OwnedFd> {
    let opened = Opened::at(of(instance)?).ok()??;
    rustix::fs::flock(&opened.held, FlockOperation::NonBlockingLockShared).ok()?;
    is_named(&opened.ground, &opened.name, &opened.held).ok()?.then_some(opened.held)
}

/// A holder that is there, checked and not locked.
pub(crate) struct Opened {
    ground: Ground,
    name: Vec<u8>,
    held: OwnedFd,
    /// Whose it is.
    pub(crate) uid: u32,
    /// What it says of itself.
    pub(crate) about: About,
}

impl Opened {
    /// Opens a holder: an ordinary user its own, root anybody's. `None` where
    /// there is none.
    ///
    /// # Errors
    /// One that is not its owner's alone, or is none.
    pub(crate) fn at(holder: &[u8]) -> Result<Option<Opened>, Why> {
        let mut uid = Kernel.geteuid();
        if uid == 0 {
            // Whose ground it is is judged by whose it is.
            match rustix::fs::lstat(holder) {
                Ok(found) => uid = found.st_uid,
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
                Err(e) => return Err(errno(e).into()),
            }
        }
        let ground = match ground::safe(path::parent(holder), uid) {
            Err(Why::Errno(Errno::ENOENT)) => return Ok(None),
            ground => ground?,
        };
        Opened::on(ground, path::file_name(holder), uid)
    }

    /// Opens the holder of this name in a directory. `None` where there is none.
    ///
    /// # Errors
    /// As [`Opened::at`].
    pub(super) fn on(ground: Ground, name: &[u8], uid: u32) -> Result<Option<Opened>, Why> {
        let Some(held) = open(&ground, name, uid)? else { return Ok(None) };
        let text = match tree::read_link(&held, ABOUT) {
            Err(Errno::ENOENT) if is_in_flux(&ground, name, &held)? => return Ok(None),
            text => text.unwrap_or_default(),
        };
        let about = About::parse(&text).ok_or("it is no instance by a rule")?;
        Ok(Some(Opened { ground, name: name.to_vec(), held, uid, about }))
    }

    /// The instance's host path.
    pub(crate) fn instance(&self) -> Vec<u8> {
        [&self.ground.path[..], b"/", &self.name, b"/", DIR].concat()
    }

    /// A descriptor of the instance.
    pub(crate) fn dir(&self) -> privns_abi::Result<OwnedFd> {
        tree::open_dir(&self.held, DIR)
    }

    /// When the instance was made, in seconds since 1970: what says so is never
    /// changed.
    pub(crate) fn made(&self) -> i64 {
        let about = rustix::fs::statat(&self.held, ABOUT, AtFlags::SYMLINK_NOFOLLOW);
        about.map(|about| about.st_mtime).unwrap_or_default()
    }

    /// The families that have used it and not taken their leave.
    pub(crate) fn families(&self) -> Vec<u64> {
        let names = tree::names(&self.held).unwrap_or_default();
        let hex = |name: &Vec<u8>| {
            u64::from_str_radix(std::str::from_utf8(name.strip_prefix(BY)?).ok()?, 16).ok()
        };
        names.iter().filter_map(hex).collect()
    }

    /// A family uses it no more.
    pub(super) fn forget(&self, family: u64) {
        let _ = rustix::fs::unlinkat(&self.held, &by(family)[..], AtFlags::empty());
    }

    /// A family takes its leave; the instance goes with the last one, unless
    /// its method lets it stay.
    ///
    /// # Errors
    /// What could not be removed.
    pub(super) fn leave(self, family: u64) -> Result<(), Why> {
        self.forget(family);
        if self.about.stays() { Ok(()) } else { self.remove().map(drop) }
    }

    /// Removes the instance if nobody uses it; false when somebody does.
    ///
    /// # Errors
    /// What could not be removed.
    pub(crate) fn remove(self) -> Result<bool, Why> {
        if rustix::fs::flock(&self.held, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(false);
        }
        let families = self.families();
        let living = if families.is_empty() { Living::default() } else { Living::look() };
        for family in families {
            if living.has(family) {
                return Ok(false);
            }
            self.forget(family);
        }
        let gone = [GONE, format!("{:016x}", family::new_id()?).as_bytes()].concat();
        match rustix::fs::renameat(&self.held, DIR, &self.held, &gone[..]) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(e) => return Err(errno(e).into()),
        }
        // Whoever comes now begins anew beside it.
        let _ = rustix::fs::flock(&self.held, FlockOperation::Unlock);
        let mut first = Ok(());
        for name in tree::names(&self.held)? {
            if name.starts_with(GONE) {
                first = first.and(tree::remove(&self.held, &name));
            }
        }
        self.take_away()?;
        first?;
        Ok(true)
    }

    /// Removes the holder, unless somebody has come meanwhile. Where its owner
    /// could not make it again (an administrator has) it stays, empty.
    fn take_away(&self) -> privns_abi::Result<()> {
        if rustix::fs::flock(&self.held, FlockOperation::NonBlockingLockExclusive).is_err()
            || tree::is_dir(&self.held, DIR)
        {
            return Ok(());
        }
        let left = tree::names(&self.held)?;
        if left.iter().any(|name| name.starts_with(BY) || name.starts_with(GONE)) {
            return Ok(());
        }
        for name in left {
            tree::remove(&self.held, &name)?;
        }
        let parent = stat(&self.ground.dir)?;
        let remade = parent.uid == self.uid || parent.mode & 0o002 != 0;
        if remade && is_named(&self.ground, &self.name, &self.held)? {
            let _ = rustix::fs::unlinkat(&self.ground.dir, &self.name[..], AtFlags::REMOVEDIR);
        }
        Ok(())
    }
}

impl AsFd for Opened {
    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.held.as_fd()
    }
}

#[cfg(test)]
#[path = "holder_tests.rs"]
mod tests;
