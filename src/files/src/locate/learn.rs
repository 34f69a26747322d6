//! Finding out about directories and links, and remembering it.

use super::canonical::spell;
use super::{Cut, Target, goes_up};
use crate::dirs::{self, Dir, Is, Key, Now, Passed};
use crate::process::View;
use core::ffi::CStr;
use core::sync::atomic::Ordering;
use privns_abi::{Result, path};
use privns_host::{Host, HotName};
use privns_namespace::resolve::{Last, Located};

/// What names of whole files are remembered relative to: no working directory.
const FILES: u64 = u64::MAX;

impl Target {
    /// What of it holds for all of its directory.
    fn dir(&self) -> Dir {
        Dir::new(self.seq).with(Is::ReadOnly, self.read_only)
    }
}

impl View<'_> {
    /// Unless every name is to be resolved exactly.
    fn remember(self, key: Key<'_>, host: &[u8], known: Dir, now: &Now<'_>, passed: &Passed<'_>) {
        if !self.process.exact.load(Ordering::Relaxed) {
            let marks = &self.process.marks;
            self.process.dirs.put(marks, key, host, known, now, passed);
        }
    }

    /// What is remembered; its host name is put into `to`, with a slash at the
    /// end for a directory.
    #[inline(always)]
    pub(super) fn recall(self, base: u64, name: &[u8], to: &mut Target) -> Option<Dir> {
        let marks = &self.process.marks;
        if !marks.any() {
            return None;
        }
        let epochs = |slot| self.epoch(slot);
        let (last, key) = (self.process.counts.last(), Key { base, name });
        self.process.dirs.get(marks, last, key, &self.now(&epochs), &mut to.name)
    }

    /// The same of an absolute name for a call that has the host refuse links.
    #[inline(always)]
    pub(super) fn recall_translated(self, name: &[u8], to: &mut Target) -> Option<Dir> {
        let marks = &self.process.marks;
        if !marks.any() {
            return None;
        }
        let (last, key) = (self.process.counts.last(), Key { base: 0, name });
        self.process.dirs.translated(marks, last, key, self.family.generation(), &mut to.name)
    }

    /// The same for where it is not in the way of others.
    #[inline(never)]
    pub(super) fn remembered(self, base: u64, name: &[u8], to: &mut Target) -> Option<Dir> {
        self.recall(base, name, to)
    }

    /// Finds out whether a directory is free of links, and remembers it.
    /// `None`: it takes the walk.
    #[cold]
    pub(super) fn learn(self, base: u64, dir: &[u8], to: &mut Target) -> Result<Option<Dir>> {
        to.name.truncate(0);
        if !goes_up(dir) {
            let epochs = |slot| self.epoch(slot);
            let now = self.now(&epochs);
            let trail = dirs::trail_of(dir)?;
            let passed = Passed { trail: &trail, epochs: dirs::epochs_of(&trail, &epochs) };
            let known = match base {
                0 => self.lexical(dir, to)?,
                _ => self.below_cwd(dir)?,
            };
            if let Some(known) = known {
                self.remember(Key { base, name: dir }, to.name.as_bytes(), known, &now, &passed);
                return Ok(Some(known));
            }
        }
        self.learn_by_walk(base, dir, to)
    }

    /// Below a working directory that has no mounts below it.
    fn below_cwd(self, dir: &[u8]) -> Result<Option<Dir>> {
        let is = self.check(libc::AT_FDCWD, dir)?;
        let shown = self.shown(libc::AT_FDCWD);
        let dir = Dir::new(shown.seq).with(Is::ReadOnly, shown.read_only);
        Ok(is.then_some(dir.with(Is::AsGiven, true)))
    }

    /// Takes the directory to be spelled canonically, and asks the host
    /// whether it is.
    fn lexical(self, dir: &[u8], to: &mut Target) -> Result<Option<Dir>> {
        let mut ns = HotName::new();
        spell(dir, &mut ns)?;
        let translated = self.translate(ns.as_bytes(), to)?;
        let known = to.dir().with(Is::AboveMounts, !to.plain).with(Is::Canonical, true);
        // The directory's so far, and not the name's.
        (to.plain, to.at_mount) = (true, false);
        // The host's root, whose name is empty here, is no link.
        let is = translated
            && (to.name.as_bytes().is_empty()
                || self.plain_dir(libc::AT_FDCWD, to.name.as_cstr())?);
        to.name.push_byte(b'/')?;
        Ok(is.then_some(known))
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
        to.name.push_byte(b'/')?;
        let known = Dir::new(found.seq).with(Is::ReadOnly, found.read_only);
        let key = Key { base, name: dir };
        self.remember_walk(key, to.name.as_bytes(), known, &now, &found);
        Ok(Some(known))
    }

    /// Remembers what a walk has found, if nothing has been renamed while it
    /// was under way: which components it would pass was not known before.
    fn remember_walk(self, key: Key<'_>, host: &[u8], known: Dir, now: &Now<'_>, found: &Located) {
        // /proc/self means something else in every process, and after a fork.
        if host.starts_with(b"/proc") {
            return;
        }
        let epochs = dirs::epochs_of(&found.trail, now.epochs);
        if self.family.raises() == now.raises {
            let passed = Passed { trail: &found.trail, epochs };
            self.remember(key, host, known, now, &passed);
        }
    }

    /// A file whose name is remembered to the end: no link, or where one leads.
    #[inline(never)]
    pub fn recall_file(self, name: &CStr, last: Last, to: &mut Target) -> bool {
        let bytes = name.to_bytes();
        if bytes.first() != Some(&b'/') || last.is_itself() || self.process.is_rooted() {
            return false;
        }
        let Some(file) = self.remembered(FILES, bytes, to) else { return false };
        to.as_given = false;
        to.seq = file.seq;
        to.read_only = file.is(Is::ReadOnly);
        to.at_mount = false;
        to.plain = true;
        to.magic = false;
        to.exact = true;
        true
    }

    /// The same for a name that was a link when it was last looked at; others
    /// are hardly held up.
    #[inline(always)]
    pub fn recall_link(self, name: &CStr, last: Last, to: &mut Target) -> bool {
        self.process.marks.may_be_link(name.to_bytes()) && self.recall_file(name, last, to)
    }

    /// The host has said that what [`locate`](Self::locate) has found is no
    /// link: remembered as a directory is. `raises` is the family's count from
    /// before it was asked.
    #[cold]
    pub fn is_no_link(self, name: &CStr, to: &Target, raises: u64) {
        let spelled = name.to_bytes();
        if to.canonical && to.plain && !to.at_mount && !to.as_given {
            let key = Key { base: FILES, name: spelled };
            self.remember_proved(key, to.name.as_bytes(), to, false, raises);
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
        if bytes.first() != Some(&b'/') || last.is_itself() || self.process.is_rooted() {
            return self.locate_exact(dirfd, name, last, to);
        }
        if self.recall_file(name, last, to) {
            return Ok(());
        }
        let epochs = |slot| self.epoch(slot);
        let now = self.now(&epochs);
        let found = self.walk(dirfd, bytes, last)?;
        to.take(&found)?;
        if !found.at_mount && !found.magic && to.plain {
            let known = Dir::new(found.seq).with(Is::ReadOnly, found.read_only);
            let key = Key { base: FILES, name: bytes };
            self.remember_walk(key, found.host.as_bytes(), known, &now, &found);
            self.process.marks.add_link(bytes);
        }
        Ok(())
    }

    /// An open that refused links has succeeded: what was guessed of the name's
    /// directory is true, and is remembered. `raises` is the family's count
    /// from before the open.
    #[cold]
    pub fn proved(self, name: &CStr, to: &Target, raises: u64) {
        let host = to.name.as_bytes();
        let (Some(cut), Some(slash)) = (Cut::new(name.to_bytes()), path::last_slash(host)) else {
            return;
        };
        if to.at_mount {
            return;
        }
        let mut ns = HotName::new();
        let (Ok(table), Ok(())) = (self.table(), spell(cut.dir, &mut ns)) else { return };
        let below = table.index().find(ns.as_bytes()).mounts_below;
        let key = Key { base: 0, name: cut.dir };
        self.remember_proved(key, &host[..=slash], to, below, raises);
    }

    /// Remembers a name without links, spelled canonically, unless something
    /// has been renamed since the family's count was `raises`.
    fn remember_proved(
        self,
        key: Key<'_>,
        host: &[u8],
        to: &Target,
        mounts_below: bool,
        raises: u64,
    ) {
        let Ok(trail) = dirs::trail_of(key.name) else { return };
        let epochs = |slot| self.epoch(slot);
        let now = self.now(&epochs);
        let passed = Passed { trail: &trail, epochs: dirs::epochs_of(&trail, &epochs) };
        let known = to.dir().with(Is::AboveMounts, mounts_below).with(Is::Canonical, true);
        if self.family.raises() == raises {
            self.remember(key, host, known, &now, &passed);
        }
    }
}
