//! What the names on a line stand for, in the namespace as built so far.

use crate::index::Index;
use crate::lookup::{Mounts, Point};
use crate::remembered::Remembered;
use crate::resolve::{ByText, Last, Located, Start, walk};
use crate::table::{Kind, Mount, Table};
use alloc::vec::Vec;
use privns_abi::{Errno, Result, path};
use privns_host::{Host, Name};

/// Where lookups happen.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) host: &'a Remembered<'a>,
    pub(super) table: &'a Table,
    /// Canonical name of the directory that relative names begin in.
    pub(super) cwd: &'a [u8],
}

/// A file that is there.
pub(super) struct Seen {
    /// Canonical name, empty for the root.
    pub(super) ns: Vec<u8>,
    /// Host path, canonical, empty for the host's root.
    pub(super) host: Vec<u8>,
    pub(super) dir: bool,
    pub(super) read_only: bool,
    pub(super) at_mount: bool,
}

/// What `bind` is to show.
pub(super) struct Shown {
    /// Its canonical name where it was found.
    pub(super) ns: Vec<u8>,
    pub(super) dir: bool,
    /// Where a name leads that is no mount point itself.
    pub(super) plain: Option<Seen>,
    /// Else the mount point.
    pub(super) mount: Option<Mount>,
    /// The mount points below, under their names there.
    pub(super) below: Vec<Mount>,
}

/// A place to mount on.
pub(super) struct Spot {
    /// Canonical name.
    pub(super) ns: Vec<u8>,
    /// What stands there now.
    pub(super) seen: Option<Seen>,
    /// Canonical names of the directories above it that are not there, the
    /// outermost first.
    pub(super) missing: Vec<Vec<u8>>,
}

impl Shown {
    /// A server's tree: nothing is mounted below its root.
    pub(super) fn tree() -> Shown {
        Shown { ns: Vec::new(), dir: true, plain: None, mount: None, below: Vec::new() }
    }
}

impl Look<'_> {
    fn walk(&self, name: &[u8], last: Last) -> Result<Located> {
        if let Some(beside) = self.beside(name, last)? {
            return Ok(beside);
        }
        let start = Start { ns: self.cwd, seq: 0 };
        let located = walk(self.host, self.table, &ByText(self.table), start, name, last)?;
        // What is its own canonical name has no link on the way to it.
        if located.seq == 0 && located.ns.as_bytes() == name && located.host.as_bytes() == name {
            self.host.is_plain(path::parent(name));
        }
        Ok(located)
    }

    /// Where a name leads whose directory is known: most lines name what lies beside
    /// what lines before them have named. `None`: it has to be walked to.
    fn beside(&self, name: &[u8], last: Last) -> Result<Option<Located>> {
        let dir = path::parent(name);
        let known = last == Last::FOLLOW && path::is_canonical(name) && self.host.known_plain(dir);
        let dir = if dir == b"/" { b"" } else { dir };
        if !known || self.table.cleared || self.table.find(dir).0.is_some() {
            return Ok(None);
        }
        let (mount, mounts_below) = Mounts::at(self.table, name);
        let mut host = Name::from(name)?;
        let looked = self.host.readlink(host.as_cstr()?, &mut Name::new());
        if mount.is_some() || !matches!(looked, Err(Errno::EINVAL | Errno::ENOENT)) {
            return Ok(None);
        }
        let ns = Name::from(name)?;
        Ok(Some(Located { ns, host, mounts_below, ..Located::default() }))
    }

    /// Where a name leads in the global namespace.
    fn global(&self, name: &[u8]) -> Result<Seen> {
        let start = Start { ns: self.cwd, seq: 0 };
        let index = Index::EMPTY;
        let located = walk(self.host, index, &ByText(index), start, name, Last::FOLLOW)?;
        self.finish(located)
    }

    /// The file that `name` leads to.
    pub(super) fn see(&self, name: &[u8]) -> Result<Seen> {
        self.finish(self.walk(name, Last::FOLLOW)?)
    }

    /// The canonical name, whatever stands there, if anything.
    pub(super) fn name(&self, name: &[u8], last: Last) -> Result<Vec<u8>> {
        Ok(self.walk(name, last)?.ns.as_bytes().to_vec())
    }

    fn finish(&self, mut located: Located) -> Result<Seen> {
        let skeleton = |mount: &Mount| {
            let mut members = mount.members();
            mount.kind == Kind::Dir && members.any(|m| m.seq == located.seq && m.skeleton)
        };
        if located.at_mount && self.table.at(located.ns.as_bytes()).is_some_and(skeleton) {
            // Empty, whatever has become of the directory on the host.
            let (ns, host) = (located.ns.as_bytes().to_vec(), located.host.as_bytes().to_vec());
            return Ok(Seen { ns, host, dir: true, read_only: true, at_mount: true });
        }
        let stat = match located.magic {
            true => self.host.stat(located.host.as_cstr()?)?,
            false => self.host.lstat(located.host.as_cstr()?)?,
        };
        if located.magic {
            // An open file: only the name that it was opened by can be bound.
            let mut text = Name::new();
            self.host.readlink(located.host.as_cstr()?, &mut text)?;
            let named = self.host.lstat(text.as_cstr()?).ok();
            if named.is_none_or(|n| (n.dev, n.ino) != (stat.dev, stat.ino)) {
                return Err(Errno::ENOENT);
            }
            located.host = text;
        }
        let mut host = located.host.as_bytes();
        for end in [&b"."[..], b"/"] {
            let whole = end == b"/" || host.ends_with(b"/.");
            host = if whole { host.strip_suffix(end).unwrap_or(host) } else { host };
        }
        Ok(Seen {
            ns: located.ns.as_bytes().to_vec(),
            host: host.to_vec(),
            dir: stat.is_dir(),
            read_only: located.read_only,
            at_mount: located.at_mount,
        })
    }

    /// What `src` shows: in the namespace, and where that has no such name, in
    /// the global one. `host!/…` is the global one always.
    pub(super) fn source(&self, src: &[u8]) -> Result<Shown> {
        let table = self.table;
        let outside = |name: &[u8]| -> Result<Shown> {
            let seen = self.global(name)?;
            Ok(Shown {
                ns: seen.ns.clone(),
                dir: seen.dir,
                plain: Some(seen),
                mount: None,
                below: Vec::new(),
            })
        };
        if let Some(name) = src.strip_prefix(b"host!") {
            return if name.starts_with(b"/") { outside(name) } else { Err(Errno::EINVAL) };
        }
        let seen = match self.see(src) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return outside(src),
            seen => seen?,
        };
        let below = table.below(&seen.ns).cloned().collect();
        let (ns, dir) = (seen.ns.clone(), seen.dir);
        let mount = table.at(&seen.ns).filter(|_| seen.at_mount).cloned();
        let plain = if mount.is_none() { Some(seen) } else { None };
        Ok(Shown { ns, dir, plain, mount, below })
    }

    /// Whether a directory has the name, whatever it leads to.
    pub(super) fn is_there(&self, name: &[u8]) -> bool {
        let own = self.walk(name, Last::NO_FOLLOW);
        own.and_then(|mut own| self.host.lstat(own.host.as_cstr()?)).is_ok()
    }

    /// Whether a name is there and is a symbolic link: one that leads nowhere.
    fn dangles(&self, name: &[u8]) -> bool {
        let own = self.walk(name, Last::NO_FOLLOW);
        let stat = own.and_then(|mut own| self.host.lstat(own.host.as_cstr()?));
        stat.is_ok_and(|stat| stat.is_symlink())
    }

    /// Where `dst` is to be mounted, whether anything is there or not.
    pub(super) fn spot(&self, dst: &[u8], last: Last) -> Result<Spot> {
        let parts: Vec<&[u8]> = path::components(dst).collect();
        for there in (0..=parts.len()).rev() {
            let rest = &parts[there..];
            let (name, last) =
                if rest.is_empty() { (dst, last) } else { (head(dst, rest), Last::FOLLOW) };
            let located = match self.walk(name, last) {
                Err(Errno::ENOENT) if there > 0 && !self.dangles(name) => continue,
                located => located?,
            };
            let ns = located.ns.as_bytes().to_vec();
            let mounted = self.table.at(&ns).is_some();
            let seen = match self.finish(located) {
                Err(Errno::ENOENT) => None,
                seen => Some(seen?),
            };
            if !rest.is_empty() && seen.as_ref().is_some_and(|seen| !seen.dir) {
                return Err(Errno::ENOTDIR);
            }
            return spot_below(ns, seen, mounted, rest);
        }
        Err(Errno::ENOENT)
    }
}

/// The part of `dst` before `rest`, its last components.
fn head<'a>(dst: &'a [u8], rest: &[&[u8]]) -> &'a [u8] {
    // `rest` begins inside `dst`: both are slices of it.
    let at = rest[0].as_ptr() as usize - dst.as_ptr() as usize;
    let head = &dst[..at];
    match head.iter().rposition(|&b| b != b'/') {
        Some(last) => &head[..=last],
        None if head.is_empty() => b".",
        None => b"/",
    }
}

fn spot_below(ns: Vec<u8>, seen: Option<Seen>, mounted: bool, rest: &[&[u8]]) -> Result<Spot> {
    if rest.contains(&&b".."[..]) {
        return Err(Errno::ENOENT);
    }
    if rest.is_empty() {
        return Ok(Spot { ns, seen, missing: Vec::new() });
    }
    let mut missing = Vec::new();
    let mut name = ns;
    if seen.is_none() && !mounted {
        missing.push(name.clone());
    }
    for part in rest {
        if part.len() > path::NAME_MAX || name.len() + part.len() + 1 >= path::PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        name.push(b'/');
        name.extend_from_slice(part);
        missing.push(name.clone());
    }
    missing.pop();
    Ok(Spot { ns: name, seen: None, missing })
}
