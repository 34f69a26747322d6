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

use crate::dirs::{self, Dir, Now, Passed};
use crate::process::View;
use core::ffi::CStr;
use core::sync::atomic::Ordering;
use privns_abi::{Errno, Result, path};
use privns_host::{Host, HotName, Name};
use privns_namespace::remote::is_remote;
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

impl Default for Target {
    fn default() -> Self {
        Target::new()
    }
}

/// A name cut before its last component.
struct Cut<'a> {
    dir: &'a [u8],
    last: &'a [u8],
    /// The slashes after it.
    tail: &'a [u8],
}

impl<'a> Cut<'a> {
    /// `None` when the last component is `.` or `..`, or there is none.
    #[inline]
    fn new(name: &'a [u8]) -> Option<Cut<'a>> {
        let mut end = name.len();
        while end > 0 && name[end - 1] == b'/' {
            end -= 1;
        }
        let from = name[..end].iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
        let last = &name[from..end];
        if matches!(last, b"" | b"." | b"..") {
            return None;
        }
        Some(Cut { dir: &name[..from], last, tail: &name[end..] })
    }
}

/// What names of links are remembered relative to: no working directory.
const LINKS: u64 = u64::MAX;

/// Whether a name has `..` for a component.
#[inline]
fn goes_up(name: &[u8]) -> bool {
    // Most names have no two dots in a row at all.
    name.windows(2).any(|w| w == b"..") && name.split(|&b| b == b'/').any(|c| c == b"..")
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
    #[inline]
    pub fn locate(self, dirfd: i32, name: &CStr, last: Last, to: &mut Target) -> Result<()> {
        let bytes = name.to_bytes();
        let Some(cut) = Cut::new(bytes) else { return self.locate_dots(dirfd, name, last, to) };
        if cut.last.len() > path::NAME_MAX || bytes.len() >= path::PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        // A slash at the end follows a link, whatever the call does.
        if !cut.tail.is_empty() && !last.create {
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
        self.in_dir(dir, &cut, dirfd, name, last, to)
    }

    /// Unless every name is to be resolved exactly.
    fn remember(
        self,
        base: u64,
        dir: &[u8],
        host: &[u8],
        known: Dir,
        now: &Now<'_>,
        passed: &Passed<'_>,
    ) {
        if !self.process.exact.load(Ordering::Relaxed) {
            self.process.dirs.put(base, dir, host, known, now, passed);
        }
    }

    #[inline]
    fn remembered(self, base: u64, dir: &[u8], to: &mut Target) -> Option<Dir> {
        let epochs = |slot| self.epoch(slot);
        self.process.dirs.get(base, dir, &self.now(&epochs), &mut to.name)
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
        if dir.as_given {
            to.given(dir.seq, dir.read_only);
            return Ok(());
        }
        if dir.mounts_below && self.near_mount(dir, cut, to)? {
            return self.locate_exact(dirfd, name, last, to);
        }
        to.name.push_byte(b'/')?;
        to.name.push(cut.last)?;
        if !cut.tail.is_empty() {
            to.name.push(cut.tail)?;
        }
        to.seq = dir.seq;
        to.read_only = dir.read_only;
        Ok(())
    }

    /// Whether a name in a directory that has mounts below it is a mount point
    /// itself, or cannot be told.
    #[cold]
    fn near_mount(self, dir: Dir, cut: &Cut<'_>, to: &mut Target) -> Result<bool> {
        if !dir.canonical {
            return Ok(true);
        }
        let mut ns = HotName::new();
        for part in path::components(cut.dir) {
            ns.push(b"/")?;
            ns.push(part)?;
        }
        ns.push(b"/")?;
        ns.push(cut.last)?;
        let table = self.table()?;
        let found = table.index().find(ns.as_bytes());
        to.plain = !found.mounts_below;
        Ok(found.mount.is_some_and(|m| m.path() == ns.as_bytes()))
    }

    /// Finds out whether a directory is free of links, and remembers it.
    /// `None`: it takes the walk.
    #[cold]
    fn learn(self, base: u64, dir: &[u8], to: &mut Target) -> Result<Option<Dir>> {
        to.name.truncate(0);
        let epochs = |slot| self.epoch(slot);
        let now = self.now(&epochs);
        if base != 0 && !goes_up(dir) {
            let trail = dirs::trail_of(dir)?;
            let sum = dirs::epochs_of(&trail, &epochs);
            if self.check(libc::AT_FDCWD, dir)? {
                let shown = self.shown(libc::AT_FDCWD);
                let known = Dir {
                    seq: shown.seq,
                    read_only: shown.read_only,
                    mounts_below: false,
                    canonical: false,
                    as_given: true,
                };
                self.remember(base, dir, b"", known, &now, &Passed { trail: &trail, epochs: sum });
                return Ok(Some(known));
            }
        } else if base == 0 && !goes_up(dir) {
            let trail = dirs::trail_of(dir)?;
            let sum = dirs::epochs_of(&trail, &epochs);
            if let Some(known) = self.lexical(dir, to)? {
                self.remember(
                    0,
                    dir,
                    to.name.as_bytes(),
                    known,
                    &now,
                    &Passed { trail: &trail, epochs: sum },
                );
                return Ok(Some(known));
            }
        }
        self.learn_by_walk(base, dir, to)
    }

    /// Takes the directory to be spelled canonically, and asks the host
    /// whether it is.
    fn lexical(self, dir: &[u8], to: &mut Target) -> Result<Option<Dir>> {
        let mut ns = HotName::new();
        for part in path::components(dir) {
            ns.push(b"/")?;
            ns.push(part)?;
        }
        let table = self.table()?;
        let found = table.index().find(ns.as_bytes());
        let mut known = Dir {
            seq: 0,
            read_only: false,
            mounts_below: found.mounts_below,
            canonical: true,
            as_given: false,
        };
        to.name.truncate(0);
        if let Some(mount) = found.mount {
            if mount.is_union() {
                return Ok(None);
            }
            let member = mount.first();
            known.seq = member.seq();
            known.read_only = member.is_read_only();
            to.name.push(member.host())?;
            to.name.push(&ns.as_bytes()[mount.path().len()..])?;
        } else if table.index().is_cleared() {
            return Err(Errno::ENOENT);
        } else if is_remote(ns.as_bytes()) {
            // The host has no such name: the walk finds that out.
            return Ok(None);
        } else {
            to.name.push(ns.as_bytes())?;
        }
        if to.name.as_bytes().is_empty() {
            // The host's root is no link, and `/` is put before the component.
            return Ok(Some(known));
        }
        match self.plain_dir(libc::AT_FDCWD, to.name.as_cstr())? {
            true => Ok(Some(known)),
            false => Ok(None),
        }
    }

    fn learn_by_walk(self, base: u64, dir: &[u8], to: &mut Target) -> Result<Option<Dir>> {
        let epochs = |slot| self.epoch(slot);
        let now = self.now(&epochs);
        // What is wrong with it, the walk of the whole name will say.
        let Ok(found) = self.walk(libc::AT_FDCWD, dir, Last::FOLLOW) else { return Ok(None) };
        if found.is_union || found.mounts_below || found.magic {
            return Ok(None);
        }
        let mut host = found.host.as_bytes();
        for end in [&b"/."[..], b"/"] {
            host = host.strip_suffix(end).unwrap_or(host);
        }
        to.name.truncate(0);
        to.name.push(host)?;
        if !self.host().lstat(to.name.as_cstr()).is_ok_and(|st| st.is_dir()) {
            return Ok(None);
        }
        let known = Dir {
            seq: found.seq,
            read_only: found.read_only,
            mounts_below: false,
            canonical: false,
            as_given: false,
        };
        self.remember_walk(base, dir, host, known, &now, &found);
        Ok(Some(known))
    }

    /// Remembers what a walk has found, if nothing has been renamed while it
    /// was under way: which components it would pass was not known before.
    fn remember_walk(
        self,
        base: u64,
        name: &[u8],
        host: &[u8],
        known: Dir,
        now: &Now<'_>,
        found: &Located,
    ) {
        // /proc/self means something else in every process, and after a fork.
        if host.starts_with(b"/proc") {
            return;
        }
        let epochs = dirs::epochs_of(&found.trail, now.epochs);
        if self.family.raises() == now.raises {
            let passed = Passed { trail: &found.trail, epochs };
            self.remember(base, name, host, known, now, &passed);
        }
    }

    /// The file that a link leads to: remembered as a directory is, else found
    /// by the walk.
    ///
    /// # Errors
    /// Those of the walk.
    #[cold]
    pub fn locate_link(self, dirfd: i32, name: &CStr, last: Last, to: &mut Target) -> Result<()> {
        let bytes = name.to_bytes();
        if bytes.first() != Some(&b'/') || last.create || self.process.is_rooted() {
            return self.locate_exact(dirfd, name, last, to);
        }
        to.name.truncate(0);
        if let Some(file) = self.remembered(LINKS, bytes, to) {
            to.as_given = false;
            to.seq = file.seq;
            to.read_only = file.read_only;
            to.at_mount = false;
            to.plain = true;
            to.magic = false;
            to.exact = true;
            return Ok(());
        }
        let epochs = |slot| self.epoch(slot);
        let now = self.now(&epochs);
        let found = self.walk(dirfd, bytes, last)?;
        to.take(&found)?;
        if !found.at_mount && !found.magic && to.plain {
            let known = Dir {
                seq: found.seq,
                read_only: found.read_only,
                mounts_below: false,
                canonical: false,
                as_given: false,
            };
            self.remember_walk(LINKS, bytes, found.host.as_bytes(), known, &now, &found);
        }
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
                // is relative to is not.
                Err(Errno::ENAMETOOLONG)
                    if !name.to_bytes().starts_with(b"/")
                        && !goes_up(name.to_bytes())
                        && self.shown(dirfd).plain =>
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

    /// For calls that open, and so can ask the host itself to refuse links:
    /// what the name is taken to be canonical. False: use
    /// [`locate_exact`](Self::locate_exact).
    ///
    /// # Errors
    /// ENOENT after `clear`, ENAMETOOLONG.
    #[inline]
    pub fn locate_unchecked(self, dirfd: i32, name: &CStr, to: &mut Target) -> Result<bool> {
        let bytes = name.to_bytes();
        if bytes.is_empty() || bytes.len() >= path::PATH_MAX {
            return Ok(false);
        }
        if bytes[0] != b'/' {
            let shown = self.shown(dirfd);
            if !shown.plain || goes_up(bytes) || bytes.starts_with(b"./..") {
                return Ok(false);
            }
            to.given(shown.seq, shown.read_only);
            return Ok(true);
        }
        if self.process.is_rooted() {
            return Ok(false);
        }
        let Some(cut) = Cut::new(bytes).filter(|cut| cut.tail.is_empty()) else { return Ok(false) };
        if let Some(dir) = self.remembered(0, cut.dir, to) {
            if dir.mounts_below && !dir.canonical {
                return Ok(false);
            }
            self.in_dir(dir, &cut, libc::AT_FDCWD, name, Last::NO_FOLLOW, to)?;
            return Ok(!to.exact);
        }
        if goes_up(bytes) {
            return Ok(false);
        }
        self.guess(bytes, to)
    }

    /// Translates a name as if it were canonical.
    fn guess(self, bytes: &[u8], to: &mut Target) -> Result<bool> {
        let mut ns = HotName::new();
        for part in path::components(bytes) {
            ns.push(b"/")?;
            ns.push(part)?;
        }
        let table = self.table()?;
        let found = table.index().find(ns.as_bytes());
        to.guessed = true;
        to.name.truncate(0);
        to.plain = !found.mounts_below;
        match found.mount {
            Some(mount) if mount.is_union() => return Ok(false),
            Some(mount) => {
                let member = mount.first();
                to.seq = member.seq();
                to.read_only = member.is_read_only();
                to.at_mount = mount.path() == ns.as_bytes();
                to.name.push(member.host())?;
                to.name.push(&ns.as_bytes()[mount.path().len()..])?;
            }
            None if table.index().is_cleared() => return Err(Errno::ENOENT),
            // The host has no such name: the walk finds that out.
            None if is_remote(ns.as_bytes()) => return Ok(false),
            None => to.name.push(ns.as_bytes())?,
        }
        if to.name.as_bytes().is_empty() {
            to.name.push(b"/")?;
        }
        Ok(true)
    }

    /// An open that refused links has succeeded: what was guessed of the name's
    /// directory is true, and is remembered. `raises` is the family's count
    /// from before the open.
    #[cold]
    pub fn proved(self, name: &CStr, to: &Target, raises: u64) {
        let Some(cut) = Cut::new(name.to_bytes()) else { return };
        let dir = path::parent(to.name.as_bytes());
        if to.at_mount || dir == b"/" {
            return;
        }
        let (Ok(trail), Ok(table)) = (dirs::trail_of(cut.dir), self.table()) else { return };
        let mut ns = HotName::new();
        let spelled = path::components(cut.dir)
            .try_for_each(|part| ns.push(b"/").and_then(|()| ns.push(part)));
        if spelled.is_err() {
            return;
        }
        let epochs = |slot| self.epoch(slot);
        let now = self.now(&epochs);
        let known = Dir {
            seq: to.seq,
            read_only: to.read_only,
            mounts_below: table.index().find(ns.as_bytes()).mounts_below,
            canonical: true,
            as_given: false,
        };
        let passed = Passed { trail: &trail, epochs: dirs::epochs_of(&trail, &epochs) };
        if self.family.raises() == raises {
            self.remember(0, cut.dir, dir, known, &now, &passed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_before_its_last_component() {
        let cut = |name: &'static str| {
            Cut::new(name.as_bytes()).map(|c| {
                let text = |b: &[u8]| std::string::String::from_utf8(b.to_vec()).unwrap();
                (text(c.dir), text(c.last), text(c.tail))
            })
        };
        let three = |a: &str, b: &str, c: &str| Some((a.into(), b.into(), c.into()));
        assert_eq!(cut("/a/b"), three("/a/", "b", ""));
        assert_eq!(cut("/a"), three("/", "a", ""));
        assert_eq!(cut("a//"), three("", "a", "//"));
        assert_eq!(cut("x/.."), None);
        assert_eq!(cut("/"), None);
        assert_eq!(cut("."), None);
    }

    #[test]
    fn only_a_component_of_two_dots_goes_up() {
        assert!(goes_up(b"../a") && goes_up(b"a/..") && goes_up(b".."));
        assert!(!goes_up(b"a..b/c..") && !goes_up(b".../x"));
    }
}
