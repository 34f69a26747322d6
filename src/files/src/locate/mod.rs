//! From a name as a program gives it to what the kernel is to be given.
//!
//! Three ways, cheapest first:
//! 1. a relative name below a directory that has no mounts below it goes to
//!    the kernel as it is;
//! 2. a name whose directory is remembered becomes the remembered host
//!    directory and the last component;
//! 3. the walk, which knows everything.
//!
//! [`View::locate`] answers with a directory that is known to be free of links
//! and a last component that nobody has looked at: what follows links asks
//! [`View::locate_exact`] when it meets one.

mod canonical;
mod learn;
mod name;

use crate::dirs::{Dir, Is};
use crate::fds::Shown;
use crate::process::View;
use core::ffi::CStr;
use core::sync::atomic::Ordering;
pub use name::only_up;
use name::{Cut, goes_up, is_plain};
use privns_abi::{Errno, Result, path};
use privns_host::{Host, HotName, Name, Spelled};
use privns_namespace::resolve::{self, Last, Located};

/// What to give the kernel in place of a name.
pub struct Target {
    /// The name; empty when the program's own is to be used.
    pub name: HotName,
    /// The program's own directory descriptor and name are right.
    pub as_given: bool,
    /// The member that serves it, 0 for the host.
    pub seq: u32,
    /// What would change it is EROFS.
    pub read_only: bool,
    /// It is a mount point.
    pub at_mount: bool,
    /// No mount point lies below it, nor is it a union.
    pub plain: bool,
    /// The host must follow the last component: one of `/proc`'s own links.
    pub magic: bool,
    /// Its directory is taken to be free of links, and not remembered to be.
    pub guessed: bool,
    /// Its directory is spelled canonically, and known to be free of links.
    pub canonical: bool,
    /// The whole name is known to be free of links, the last component too
    /// unless the caller asked not to follow it.
    pub exact: bool,
}

impl Target {
    /// Nothing yet.
    #[must_use]
    #[inline(always)]
    pub fn new() -> Target {
        Target {
            name: HotName::new(),
            as_given: false,
            seq: 0,
            read_only: false,
            at_mount: false,
            plain: true,
            magic: false,
            guessed: false,
            canonical: false,
            exact: false,
        }
    }

    fn given(&mut self, seq: u32, read_only: bool) {
        self.as_given = true;
        self.seq = seq;
        self.read_only = read_only;
        self.plain = true;
    }

    fn take(&mut self, found: &Located) -> Result<()> {
        self.name.truncate(0);
        self.name.push(found.host.as_bytes())?;
        self.as_given = false;
        self.seq = found.seq;
        self.read_only = found.read_only;
        self.at_mount = found.at_mount;
        self.plain = !found.mounts_below && !found.is_union;
        self.magic = found.magic;
        self.exact = true;
        Ok(())
    }
}

/// Whether a name as it was given leads to what a walk has found, from a directory that
/// shows what `dir` says: nothing is mounted below that, or between it and what is above.
fn leads(dir: Shown, name: &[u8], found: &Located) -> bool {
    if !goes_up(name) {
        return dir.plain;
    }
    only_up(name).is_some() && dir.seq == found.seq && !found.at_mount
}

impl Default for Target {
    fn default() -> Self {
        Target::new()
    }
}

impl View<'_> {
    /// The canonical name of a directory that has been located; one that goes
    /// to the kernel as it was given is `dirfd` itself.
    ///
    /// # Errors
    /// ENOENT when it has none.
    pub fn name_of(self, dirfd: i32, to: &Target) -> Result<Name> {
        if to.as_given {
            return self.dir_name(dirfd).map(|(name, _)| name);
        }
        let mut host = to.name.as_bytes();
        for end in [&b"/."[..], b"/"] {
            host = host.strip_suffix(end).unwrap_or(host);
        }
        resolve::name_of(self.table()?.index(), host, to.seq)
    }

    /// Finds what to give the kernel, the last component not looked at.
    ///
    /// # Errors
    /// The kernel's for such a name.
    #[inline(always)]
    pub fn locate(self, dirfd: i32, name: Spelled<'_>, last: Last, to: &mut Target) -> Result<()> {
        if self.is_known::<true>(name, to) || self.is_known_below(dirfd, name, to) {
            return Ok(());
        }
        self.locate_new(dirfd, name.name(), last, to)
    }

    /// The usual case, and the whole of it: an absolute name in a directory
    /// that is remembered and has no mounts below it.
    #[inline(always)]
    fn is_known<const LINK_FREE: bool>(self, name: Spelled<'_>, to: &mut Target) -> bool {
        let (dir, last) = name.split();
        if dir.first() != Some(&b'/') || !is_plain(last) || self.process.is_rooted() {
            return false;
        }
        let known = match LINK_FREE {
            true => self.recall(0, dir, to),
            // The host is going to refuse links itself.
            false => self.recall_translated(dir, to),
        };
        let Some(dir) = known else { return false };
        if dir.is(Is::AsGiven) || dir.is(Is::AboveMounts) {
            return false;
        }
        to.canonical = dir.is(Is::Canonical);
        to.seq = dir.seq;
        to.read_only = dir.is(Is::ReadOnly);
        to.name.push(last).is_ok()
    }

    /// The usual case of a relative name, and the whole of it: a file of a
    /// directory that has no mounts below it, or one in a directory further
    /// down that is remembered.
    #[inline(never)]
    fn is_known_below(self, dirfd: i32, name: Spelled<'_>, to: &mut Target) -> bool {
        let (dir, last) = name.split();
        if !is_plain(last) || dir.first() == Some(&b'/') {
            return false;
        }
        let generation = self.family.generation();
        let shown = match dirfd {
            libc::AT_FDCWD => self.process.cwd_shown(generation),
            fd if dir.is_empty() => self.process.fds.get(fd, generation),
            _ => None,
        };
        let Some(mut shown) = shown.filter(|shown| shown.plain) else { return false };
        if !dir.is_empty() {
            let known = self.recall(self.process.cwd_serial(), dir, to);
            let Some(dir) = known.filter(|dir| dir.is(Is::AsGiven)) else { return false };
            (shown.seq, shown.read_only) = (dir.seq, dir.is(Is::ReadOnly));
        }
        to.given(shown.seq, shown.read_only);
        true
    }

    /// A name whose directory may have to be looked at.
    #[inline(never)]
    fn locate_new(self, dirfd: i32, name: &CStr, last: Last, to: &mut Target) -> Result<()> {
        match Cut::new(name.to_bytes()) {
            Some(cut) => self.locate_cut(&cut, dirfd, name, last, to),
            None => self.locate_dots(dirfd, name, last, to),
        }
    }

    /// A name of any kind.
    fn locate_cut(
        self,
        cut: &Cut<'_>,
        dirfd: i32,
        name: &CStr,
        last: Last,
        to: &mut Target,
    ) -> Result<()> {
        let bytes = name.to_bytes();
        if cut.last.len() > path::NAME_MAX || bytes.len() >= path::PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        // A slash at the end follows a link for most calls.
        if !cut.tail.is_empty() && !last.is_itself() {
            return self.locate_exact(dirfd, name, last, to);
        }
        let mut base = 0;
        if bytes[0] == b'/' {
            if self.process.is_rooted() {
                return self.locate_exact(dirfd, name, last, to);
            }
        } else {
            let shown = self.shown(dirfd);
            if !shown.plain {
                return self.locate_exact(dirfd, name, last, to);
            }
            if cut.dir.is_empty() {
                to.given(shown.seq, shown.read_only);
                return Ok(());
            }
            if dirfd != libc::AT_FDCWD {
                if !goes_up(cut.dir) && self.check(dirfd, cut.dir)? {
                    to.given(shown.seq, shown.read_only);
                    return Ok(());
                }
                return self.locate_exact(dirfd, name, last, to);
            }
            base = self.process.cwd_serial();
        }
        let dir = match self.remembered(base, cut.dir, to) {
            Some(dir) => dir,
            None => match self.learn(base, cut.dir, to)? {
                Some(dir) => dir,
                None => return self.locate_exact(dirfd, name, last, to),
            },
        };
        self.in_dir(dir, cut, dirfd, name, last, to)
    }

    /// The last component in a directory whose host name is in `to`.
    #[inline]
    fn in_dir(
        self,
        dir: Dir,
        cut: &Cut<'_>,
        dirfd: i32,
        name: &CStr,
        last: Last,
        to: &mut Target,
    ) -> Result<()> {
        if dir.is(Is::AsGiven) {
            to.given(dir.seq, dir.is(Is::ReadOnly));
            return Ok(());
        }
        if dir.is(Is::AboveMounts) && self.near_mount(dir, cut, to)? {
            return self.locate_exact(dirfd, name, last, to);
        }
        to.name.push(cut.last)?;
        if !cut.tail.is_empty() {
            to.name.push(cut.tail)?;
        }
        to.canonical = dir.is(Is::Canonical);
        to.seq = dir.seq;
        to.read_only = dir.is(Is::ReadOnly);
        Ok(())
    }

    /// Whether `dir` below a descriptor is free of links.
    fn check(self, dirfd: i32, dir: &[u8]) -> Result<bool> {
        let mut name = HotName::new();
        name.push(dir)?;
        self.plain_dir(dirfd, name.as_cstr())
    }

    /// False when the host finds a link, or will not say.
    fn plain_dir(self, dirfd: i32, dir: &CStr) -> Result<bool> {
        if self.process.no_openat2.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match self.host().check_dir(dirfd, dir) {
            Ok(()) => Ok(true),
            Err(Errno::ELOOP | Errno::EMFILE | Errno::ENFILE) => Ok(false),
            Err(Errno::ENOSYS | Errno::EPERM) => {
                self.process.no_openat2.store(true, Ordering::Relaxed);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Finds what to give the kernel, the last component followed to its end
    /// when `last` says so.
    ///
    /// # Errors
    /// Those of the walk.
    #[cold]
    pub fn locate_exact(self, dirfd: i32, name: &CStr, last: Last, to: &mut Target) -> Result<()> {
        match self.walk(dirfd, name.to_bytes(), last) {
            Ok(found) => match to.take(&found) {
                // Too long for a name of the host, where the directory that it
                // is relative to is not, or is one of a server's.
                Err(Errno::ENAMETOOLONG)
                    if !name.to_bytes().starts_with(b"/")
                        && leads(self.shown(dirfd), name.to_bytes(), &found) =>
                {
                    to.given(found.seq, found.read_only);
                    to.exact = true;
                    Ok(())
                }
                taken => taken,
            },
            // A directory without a name (removed, unmounted, too deep for one, or
            // a filter of the program's own refuses to ask) is the host's to
            // search.
            Err(
                Errno::ENOENT
                | Errno::ENAMETOOLONG
                | Errno::EBADF
                | Errno::ENOTDIR
                | Errno::EPERM
                | Errno::ENOSYS,
            ) if !name.to_bytes().starts_with(b"/") && self.dir_name(dirfd).is_err() => {
                let seq = self.shown(dirfd).seq;
                // Above what has been unmounted lies the host, and nothing of
                // the namespace.
                if goes_up(name.to_bytes()) && self.is_unmounted(seq)? {
                    return Err(Errno::ENOENT);
                }
                to.given(seq, false);
                to.exact = true;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// A name without a last component of its own: `.` is where it is.
    fn locate_dots(self, dirfd: i32, name: &CStr, last: Last, to: &mut Target) -> Result<()> {
        let bytes = name.to_bytes();
        if bytes.starts_with(b"/") || path::components(bytes).next().is_some() {
            return self.locate_exact(dirfd, name, last, to);
        }
        let shown = self.shown(dirfd);
        to.given(shown.seq, shown.read_only);
        to.plain = shown.plain;
        Ok(())
    }

    /// Moves a new name at the top of a union into member `seq`, so that a file
    /// keeps its member when it is renamed: where that member comes first, what
    /// others have of that name is covered. False: the names are in different
    /// members for good (EXDEV).
    ///
    /// # Errors
    /// Those of the walk.
    pub fn stay_in_member(
        self,
        seq: u32,
        dirfd: i32,
        name: &CStr,
        to: &mut Target,
    ) -> Result<bool> {
        let found = self.walk(dirfd, name.to_bytes(), Last::MAKE)?;
        let table = self.table()?;
        let (Some(from), Some(there)) =
            (table.index().member(seq), table.index().member(found.seq))
        else {
            return Ok(false);
        };
        let top = from.mount().path();
        let same = from.mount().path() == there.mount().path() && !found.at_mount;
        if !same || path::below(found.ns.as_bytes(), top).is_none_or(|rest| rest.contains(&b'/')) {
            return Ok(false);
        }
        let exists = self.host().lstat(Name::from(found.host.as_bytes())?.as_cstr()?).is_ok();
        if exists && from.position() > there.position() {
            return Ok(false);
        }
        to.name.truncate(0);
        to.name.push(from.host())?;
        to.name.push(b"/")?;
        to.name.push(path::file_name(found.ns.as_bytes()))?;
        to.as_given = false;
        to.seq = seq;
        Ok(true)
    }
}
