//! Names taken to be canonical: spelled as a canonical name is, and translated
//! by the index alone. Whoever uses one has the host refuse links, or has
//! found out that there are none.

use super::{Cut, Target, goes_up};
use crate::dirs::{Dir, Is};
use crate::process::View;
use core::ffi::CStr;
use privns_abi::{Errno, Result, path};
use privns_host::{HotName, Spelled};
use privns_namespace::remote::is_remote;
use privns_namespace::resolve::Last;

/// The canonical spelling of a name without `..`: one slash before each
/// component; nothing for the root. `spelled` is empty: one that is returned would
/// be copied, 4 KiB each time.
pub(super) fn spell(name: &[u8], spelled: &mut HotName) -> Result<()> {
    for part in path::components(name) {
        spelled.push_byte(b'/')?;
        spelled.push(part)?;
    }
    Ok(())
}

impl View<'_> {
    /// What a canonical name is to the host: its host name, nothing for the
    /// host's root, and by which member. False: it lies in a union, whose
    /// members must be looked at.
    pub(super) fn translate(self, ns: &[u8], to: &mut Target) -> Result<bool> {
        let table = self.table()?;
        let found = table.index().find(ns);
        to.name.truncate(0);
        to.as_given = false;
        to.plain = !found.mounts_below;
        let Some(mount) = found.mount else {
            if table.index().is_cleared() {
                return Err(Errno::ENOENT);
            }
            // The host has no such name: the walk finds that out.
            if is_remote(ns) {
                return Ok(false);
            }
            (to.seq, to.read_only, to.at_mount) = (0, false, false);
            to.name.push(ns)?;
            return Ok(true);
        };
        if mount.is_union() {
            return Ok(false);
        }
        let member = mount.first();
        to.seq = member.seq();
        to.read_only = member.is_read_only();
        to.at_mount = mount.path() == ns;
        to.name.push(member.host())?;
        to.name.push(ns.get(mount.path().len()..).unwrap_or_default())?;
        Ok(true)
    }

    /// The same for a name that is not spelled as a canonical one is. By itself,
    /// for a page of the stack goes into the spelling.
    #[inline(never)]
    fn translate_unspelled(self, name: &[u8], to: &mut Target) -> Result<bool> {
        let mut ns = HotName::new();
        spell(name, &mut ns)?;
        self.translate(ns.as_bytes(), to)
    }

    /// Whether a name in a directory that has mounts below it is a mount point
    /// itself, or cannot be told.
    #[cold]
    pub(super) fn near_mount(self, dir: Dir, cut: &Cut<'_>, to: &mut Target) -> Result<bool> {
        if !dir.is(Is::Canonical) {
            return Ok(true);
        }
        let mut ns = HotName::new();
        spell(cut.dir, &mut ns)?;
        ns.push_byte(b'/')?;
        ns.push(cut.last)?;
        let table = self.table()?;
        let found = table.index().find(ns.as_bytes());
        to.plain = !found.mounts_below;
        Ok(found.mount.is_some_and(|m| m.path() == ns.as_bytes()))
    }

    /// For calls that open, and so can ask the host itself to refuse links:
    /// what the name is taken to be canonical. False: use
    /// [`locate_exact`](Self::locate_exact).
    ///
    /// # Errors
    /// ENOENT after `clear`, ENAMETOOLONG.
    #[inline(always)]
    pub fn locate_unchecked(self, dirfd: i32, name: Spelled<'_>, to: &mut Target) -> Result<bool> {
        if self.is_known::<false>(name, to) || self.is_known_below(dirfd, name, to) {
            return Ok(true);
        }
        self.locate_unchecked_new(dirfd, name.name(), to)
    }

    #[inline(never)]
    fn locate_unchecked_new(self, dirfd: i32, name: &CStr, to: &mut Target) -> Result<bool> {
        let bytes = name.to_bytes();
        let cut = Cut::new(bytes).filter(|cut| bytes[0] == b'/' && cut.tail.is_empty());
        if let Some(cut) = cut.filter(|_| !self.process.is_rooted())
            && let Some(dir) = self.remembered(0, cut.dir, to)
        {
            if dir.is(Is::AboveMounts) && !dir.is(Is::Canonical) {
                return Ok(false);
            }
            self.in_dir(dir, &cut, libc::AT_FDCWD, name, Last::NO_FOLLOW, to)?;
            return Ok(!to.exact);
        }
        self.guess(dirfd, name, to)
    }

    /// The same with nothing remembered, nor to be: for a call of which there
    /// is one a process.
    ///
    /// # Errors
    /// As [`locate_unchecked`](Self::locate_unchecked).
    pub fn guess(self, dirfd: i32, name: &CStr, to: &mut Target) -> Result<bool> {
        let bytes = name.to_bytes();
        if bytes.is_empty() || bytes.len() >= path::PATH_MAX || goes_up(bytes) {
            return Ok(false);
        }
        if bytes[0] != b'/' {
            let shown = self.shown(dirfd);
            if !shown.plain {
                return Ok(false);
            }
            to.given(shown.seq, shown.read_only);
            return Ok(true);
        }
        let ends_plain = Cut::new(bytes).is_some_and(|cut| cut.tail.is_empty());
        if self.process.is_rooted() || !ends_plain {
            return Ok(false);
        }
        to.guessed = true;
        let translated = match path::is_canonical(bytes) {
            true => self.translate(bytes, to),
            false => self.translate_unspelled(bytes, to),
        };
        if !translated? {
            return Ok(false);
        }
        if to.name.as_bytes().is_empty() {
            to.name.push_byte(b'/')?;
        }
        Ok(true)
    }
}
