//! The mount table: from a place mounted upon to its ordered members.
//!
//! Every operation here is a function of the table alone; looking up what a
//! line of a namespace file names is `build`'s work.

use crate::file::MountOptions;
use crate::remote::{self, Server};
use alloc::vec::Vec;
use core::cmp::Ordering;
use privns_abi::{Errno, Result, path};
use serde::{Deserialize, Serialize};

/// A namespace: mount points in [`order`], each with its members.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    mounts: Vec<Mount>,
    /// The number that the next member gets; members are never renumbered.
    next_seq: u32,
    /// Host directory that holds a directory for every mount point that the
    /// host does not have, at the mount point's own name below it; empty
    /// until one is needed.
    #[serde(with = "crate::bytes")]
    pub skeleton: Vec<u8>,
    /// The global namespace is gone (`clear`): a name outside every mount
    /// point is not there.
    pub cleared: bool,
    /// 9P servers that members come from, or have come from.
    servers: Vec<Server>,
    /// The last number that a server got.
    last_server: u32,
}

/// One place mounted upon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The place, a canonical name; empty for the root.
    #[serde(with = "crate::bytes")]
    pub path: Vec<u8>,
    /// What a listing of the parent shows.
    pub kind: Kind,
    /// Never empty. More than one: a union.
    pub members: Vec<Member>,
}

/// The type of file that a mount point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A directory.
    Dir,
    /// Anything that is not a directory.
    File,
    /// A symbolic link made by `symlink`.
    Symlink,
}

impl Kind {
    /// What a listing shows for it (`DT_DIR`, `DT_REG` or `DT_LNK`).
    #[must_use]
    pub fn dt_type(self) -> u8 {
        match self {
            Kind::Dir => libc::DT_DIR,
            Kind::File => libc::DT_REG,
            Kind::Symlink => libc::DT_LNK,
        }
    }
}

impl Mount {
    /// The member that new files go to; `None`: EPERM.
    #[must_use]
    pub fn creates(&self) -> Option<&Member> {
        match self.members.as_slice() {
            [only] => Some(only),
            all => all.iter().find(|m| m.create).or_else(|| all.iter().find(|m| m.base)),
        }
    }
}

/// One tree, or file, at a mount point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Names this member in descriptors and handed-over state; never reused.
    pub seq: u32,
    /// Where its files are.
    pub source: Source,
    /// EROFS for whatever would change a file.
    pub read_only: bool,
    /// New files go here (MCREATE).
    pub create: bool,
    /// Stood here before the others joined: without any `create`, new files
    /// go here.
    pub base: bool,
    /// How it came to be.
    pub rule: Rule,
}

/// Where a member's files are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A host path, canonical; empty for the host's root.
    Host(#[serde(with = "crate::bytes")] Vec<u8>),
}

/// The line that made a member, so that the table can be printed as lines that
/// make it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What was asked for.
    pub verb: Verb,
    /// Where it was asked for: `FILE:LINE`, an option, or a program.
    #[serde(with = "crate::bytes")]
    pub origin: Vec<u8>,
}

/// The verbs that leave members behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// `bind`: the member is what was named.
    Bind,
    /// Came along: the directory that stood at a union's place.
    Derived,
    /// `private`: an instance of the host directory of this name.
    Private,
    /// `dir`: an empty directory in the skeleton.
    Dir,
    /// A parent of a mount point, in the skeleton, because the host has none.
    Implied,
    /// `symlink`: a link with this text in the skeleton.
    Symlink(#[serde(with = "crate::bytes")] Vec<u8>),
    /// Came along: a mount point below what was bound.
    Along,
    /// `mount`: the root of a server's tree.
    Mount,
    /// `private -i`: an instance by this rule.
    Instance(#[serde(with = "crate::bytes")] Vec<u8>),
}

impl Verb {
    /// Whether such a member lies in the skeleton.
    #[must_use]
    pub fn is_skeleton(&self) -> bool {
        matches!(self, Verb::Dir | Verb::Implied | Verb::Symlink(_))
    }
}

/// Where a new member goes among those that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Instead of them (MREPL).
    Replace,
    /// Before them (MBEFORE).
    Before,
    /// After them (MAFTER).
    After,
}

/// Orders names so that a directory comes right before all that lies below it:
/// `/` sorts before every other byte.
#[must_use]
pub fn order(a: &[u8], b: &[u8]) -> Ordering {
    let at = path::shared(a, b);
    match (a.get(at), b.get(at)) {
        (None, _) | (_, None) => a.len().cmp(&b.len()),
        (Some(b'/'), _) => Ordering::Less,
        (_, Some(b'/')) => Ordering::Greater,
        (Some(x), Some(y)) => x.cmp(y),
    }
}

impl Table {
    /// The global namespace: no mount points.
    #[must_use]
    pub fn new() -> Table {
        // 0 is "no member": a name that the host alone serves.
        Table { next_seq: 1, ..Table::default() }
    }

    /// Whether it could have been made here: from memory that others may have
    /// damaged.
    pub(crate) fn is_sound(&self) -> bool {
        let ordered = |two: &[Mount]| order(&two[0].path, &two[1].path) == Ordering::Less;
        let canonical = |name: &[u8]| {
            let parts = name.split(|&b| b == b'/').skip(1);
            let plain = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
            name.is_empty() || (name[0] == b'/' && parts.into_iter().all(plain))
        };
        self.mounts.windows(2).all(ordered)
            && self.mounts.iter().all(|m| canonical(&m.path) && !m.members.is_empty())
    }

    /// The mount points in [`order`].
    #[must_use]
    pub fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// The mount point at exactly this name.
    #[must_use]
    pub fn at(&self, path: &[u8]) -> Option<&Mount> {
        self.find(path).ok().map(|i| &self.mounts[i])
    }

    /// The innermost mount point that `path` lies at or below.
    #[must_use]
    pub fn covering(&self, path: &[u8]) -> Option<&Mount> {
        let mut name = path;
        loop {
            if let Some(mount) = self.at(name) {
                return Some(mount);
            }
            if name.is_empty() {
                return None;
            }
            name = match path::parent(name) {
                b"/" => b"",
                parent => parent,
            };
        }
    }

    /// The mount points strictly below `path`, in order.
    pub fn below<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = &'a Mount> {
        let from = self.mounts.partition_point(|m| order(&m.path, path) != Ordering::Greater);
        self.mounts[from..].iter().take_while(move |m| path::is_within(&m.path, path))
    }

    fn find(&self, path: &[u8]) -> core::result::Result<usize, usize> {
        self.mounts.binary_search_by(|m| order(&m.path, path))
    }

    /// A member for the next [`place`](Self::place), with a number of its own.
    pub fn member(&mut self, source: Source, rule: Rule) -> Member {
        let seq = self.next_seq;
        self.next_seq += 1;
        Member { seq, source, read_only: false, create: false, base: false, rule }
    }

    /// A directory that is there because something is mounted below it is meant
    /// to be there from now on. It is a member like any that is made now: what
    /// has come along before has not brought it.
    pub(crate) fn mean(&mut self, path: &[u8], origin: &[u8]) {
        let Ok(at) = self.find(path) else { return };
        for member in &mut self.mounts[at].members {
            if member.rule.verb == Verb::Implied {
                member.rule = Rule { verb: Verb::Dir, origin: origin.to_vec() };
                member.seq = self.next_seq;
                self.next_seq += 1;
            }
        }
    }

    /// Mounts `member` at `path`. A union that begins here keeps `underneath`,
    /// the directory that the name showed until now, as its base.
    ///
    /// # Errors
    /// ENOTDIR when a union would have a member that is no directory.
    pub fn place(
        &mut self,
        path: &[u8],
        kind: Kind,
        how: Order,
        member: Member,
        underneath: Option<Member>,
    ) -> Result<()> {
        if how == Order::Replace {
            self.cover(path, kind, alloc::vec![member]);
            return Ok(());
        }
        if kind != Kind::Dir {
            return Err(Errno::ENOTDIR);
        }
        let i = match self.find(path) {
            Ok(i) => i,
            Err(i) => {
                let members = underneath.into_iter().collect();
                self.mounts.insert(i, Mount { path: path.to_vec(), kind, members });
                i
            }
        };
        let members = &mut self.mounts[i].members;
        if let [only] = members.as_mut_slice() {
            only.base = true;
        }
        let at = if how == Order::Before { 0 } else { members.len() };
        members.insert(at, member);
        Ok(())
    }

    /// Takes away the mount point at `path`, or of its members only those from
    /// `source`, and what is mounted below it.
    ///
    /// # Errors
    /// EINVAL when nothing is mounted there, or nothing from there (umount(2)).
    pub fn unmount(&mut self, path: &[u8], source: Option<&Source>) -> Result<()> {
        let i = self.find(path).map_err(|_| Errno::EINVAL)?;
        let before = self.mounts[i].members.len();
        if let Some(source) = source {
            self.mounts[i].members.retain(|m| m.source != *source);
            if self.mounts[i].members.len() == before {
                return Err(Errno::EINVAL);
            }
        } else {
            self.mounts[i].members.clear();
        }
        // What stood here before the union does not stay behind as a mount.
        if self.mounts[i].members.iter().all(|m| m.rule.verb == Verb::Derived && m.base) {
            self.unmount_below(path);
            self.mounts.remove(i);
        }
        self.drop_unused_parents();
        Ok(())
    }

    /// Mounts all of `members`, which is not empty, at `path` instead of what is
    /// there and below it.
    pub(crate) fn cover(&mut self, path: &[u8], kind: Kind, members: Vec<Member>) {
        self.unmount_below(path);
        let mount = Mount { path: path.to_vec(), kind, members };
        match self.find(path) {
            Ok(i) => self.mounts[i] = mount,
            Err(i) => self.mounts.insert(i, mount),
        }
    }

    /// The mount point at exactly this name, to change its members.
    pub(crate) fn at_mut(&mut self, path: &[u8]) -> Option<&mut Mount> {
        self.find(path).ok().map(|i| &mut self.mounts[i])
    }

    /// Adds mount points, which are in [`order`], each instead of what is there.
    pub(crate) fn extend(&mut self, mounts: Vec<Mount>) {
        if mounts.is_empty() {
            return;
        }
        let replaced = |m: &Mount| mounts.binary_search_by(|new| order(&new.path, &m.path)).is_ok();
        self.mounts.retain(|m| !replaced(m));
        self.mounts.extend(mounts);
        self.mounts.sort_by(|a, b| order(&a.path, &b.path));
    }

    /// The directory `from` has become `to`: what is mounted below it goes with
    /// it.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) {
        for mount in &mut self.mounts {
            if let Some(rest) = mount.path.strip_prefix(from).filter(|r| r.starts_with(b"/")) {
                mount.path = [to, rest].concat();
            }
        }
        self.mounts.sort_by(|a, b| order(&a.path, &b.path));
    }

    fn unmount_below(&mut self, path: &[u8]) {
        let from = self.mounts.partition_point(|m| order(&m.path, path) != Ordering::Greater);
        let len = self.below(path).count();
        self.mounts.drain(from..from + len);
    }

    fn drop_unused_parents(&mut self) {
        // Deepest first: a parent may be held by another parent only.
        for i in (0..self.mounts.len()).rev() {
            let implied = matches!(
                self.mounts[i].members[..],
                [Member { rule: Rule { verb: Verb::Implied, .. }, .. }]
            );
            // The root of a cleared namespace stays: `/` is always there.
            let root = self.cleared && self.mounts[i].path.is_empty();
            if implied && !root && self.below(&self.mounts[i].path).next().is_none() {
                self.mounts.remove(i);
            }
        }
    }

    /// Moves the skeleton to the host directory `to`: every member in it is
    /// found there from now on. Gives what must be made there: file names, and
    /// the text of those that are links.
    pub fn move_skeleton(&mut self, to: &[u8]) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let mut made = Vec::new();
        let from = core::mem::replace(&mut self.skeleton, to.to_vec());
        for member in self.mounts.iter_mut().flat_map(|mount| &mut mount.members) {
            let Source::Host(host) = &mut member.source;
            if from.is_empty() || path::parent(host) != from {
                continue;
            }
            let name = path::file_name(host).to_vec();
            *host = [to, b"/", &name].concat();
            let target = match &member.rule.verb {
                Verb::Symlink(target) => Some(target.clone()),
                _ => None,
            };
            made.push((name, target));
        }
        made
    }

    /// The servers that members come from, or have come from.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The server of this number.
    #[must_use]
    pub fn server(&self, id: u32) -> Option<&Server> {
        self.servers.iter().find(|server| server.id == id)
    }

    /// The server of a remote file, by its host name.
    #[must_use]
    pub fn server_of(&self, host: &[u8]) -> Option<&Server> {
        self.server(remote::split(host)?.0)
    }

    /// The number of the server that a mount of this address would come from,
    /// where one is mounted: what serves another may have ended with its mount.
    #[must_use]
    pub fn known_server(&self, address: &[u8], options: &MountOptions) -> Option<u32> {
        let mut known = self.servers.iter().filter(|server| server.is(address, options));
        known.find(|server| self.is_mounted(server.id)).map(|server| server.id)
    }

    /// The number that the next server gets.
    #[must_use]
    pub fn next_server(&self) -> u32 {
        self.last_server + 1
    }

    /// Adds a server, under the number that it has.
    pub fn add_server(&mut self, server: Server) {
        self.last_server = self.last_server.max(server.id);
        self.servers.push(server);
    }

    /// Whether any member comes from the server of this number.
    #[must_use]
    pub fn is_mounted(&self, id: u32) -> bool {
        let mut members = self.mounts.iter().flat_map(|mount| &mount.members);
        members.any(|Member { source: Source::Host(host), .. }| {
            remote::split(host).is_some_and(|(of, _)| of == id)
        })
    }

    /// Forgets servers that no member comes from, but for the latest.
    pub(crate) fn forget_servers(&mut self) {
        let unused = self.servers.iter().filter(|server| !self.is_mounted(server.id));
        let unused: Vec<u32> = unused.map(|server| server.id).collect();
        let forgotten = &unused[..unused.len().saturating_sub(remote::KEPT_MAX)];
        self.servers.retain(|server| !forgotten.contains(&server.id));
    }

    /// Empties the namespace; the global one is gone too.
    pub fn clear(&mut self) {
        self.mounts.clear();
        self.cleared = true;
    }

    /// The host name behind a name, as far as the table alone can tell: of a
    /// union, the first member's. `None` when the table has no such name.
    #[must_use]
    pub fn host_of(&self, path: &[u8]) -> Option<Vec<u8>> {
        let Some(mount) = self.covering(path) else {
            return if self.cleared { None } else { Some(path.to_vec()) };
        };
        let Source::Host(source) = &mount.members[0].source;
        let mut host = source.clone();
        host.extend_from_slice(&path[mount.path.len()..]);
        Some(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verb: Verb) -> Rule {
        Rule { verb, origin: b"test".to_vec() }
    }

    fn bind(table: &mut Table, src: &str, dst: &str, how: Order) {
        let member = table.member(Source::Host(src.as_bytes().to_vec()), rule(Verb::Bind));
        let under = table.member(Source::Host(dst.as_bytes().to_vec()), rule(Verb::Derived));
        table.place(dst.as_bytes(), Kind::Dir, how, member, Some(under)).unwrap();
    }

    fn hosts(table: &Table, at: &str) -> Vec<Vec<u8>> {
        let members = &table.at(at.as_bytes()).unwrap().members;
        members
            .iter()
            .map(|m| match &m.source {
                Source::Host(h) => h.clone(),
            })
            .collect()
    }

    #[test]
    fn a_directory_sorts_right_before_what_is_below_it() {
        let mut names = [&b"/a-b"[..], b"/a/z", b"/a", b"", b"/b", b"/a/b"];
        names.sort_by(|a, b| order(a, b));
        assert_eq!(names, [&b""[..], b"/a", b"/a/b", b"/a/z", b"/a-b", b"/b"]);
    }

    #[test]
    fn the_innermost_mount_covers() {
        let mut table = Table::new();
        bind(&mut table, "/s", "/a", Order::Replace);
        bind(&mut table, "/t", "/a/b", Order::Replace);
        assert_eq!(table.host_of(b"/a/b/c").unwrap(), b"/t/c");
        assert_eq!(table.host_of(b"/a/bc").unwrap(), b"/s/bc");
        assert_eq!(table.host_of(b"/x").unwrap(), b"/x");
    }

    #[test]
    fn a_union_keeps_what_stood_there_as_its_base() {
        let mut table = Table::new();
        bind(&mut table, "/s", "/a", Order::After);
        bind(&mut table, "/t", "/a", Order::Before);
        assert_eq!(hosts(&table, "/a"), [&b"/t"[..], b"/a", b"/s"]);
        assert!(table.at(b"/a").unwrap().members[1].base);
        table.unmount(b"/a", Some(&Source::Host(b"/t".to_vec()))).unwrap();
        table.unmount(b"/a", Some(&Source::Host(b"/s".to_vec()))).unwrap();
        assert!(table.at(b"/a").is_none());
        assert_eq!(table.unmount(b"/a", None), Err(Errno::EINVAL));
    }

    #[test]
    fn mounts_go_with_a_renamed_directory() {
        let mut table = Table::new();
        bind(&mut table, "/s", "/a/b/m", Order::Replace);
        bind(&mut table, "/t", "/a/bc", Order::Replace);
        table.rename(b"/a/b", b"/z");
        assert_eq!(table.host_of(b"/z/m/x").unwrap(), b"/s/x");
        assert_eq!(table.host_of(b"/a/bc").unwrap(), b"/t");
        assert_eq!(table.host_of(b"/a/b/m").unwrap(), b"/a/b/m");
    }

    #[test]
    fn a_skeleton_moves_with_all_that_is_in_it() {
        let mut table = Table::new();
        table.skeleton = b"/k".to_vec();
        let link = rule(Verb::Symlink(b"t".to_vec()));
        for (name, host, rule) in [
            ("/n", "/k/1", rule(Verb::Implied)),
            ("/l", "/k/2", link),
            ("/b", "/kx/3", rule(Verb::Bind)),
        ] {
            let member = table.member(Source::Host(host.as_bytes().to_vec()), rule);
            table.place(name.as_bytes(), Kind::Dir, Order::Replace, member, None).unwrap();
        }
        let made = table.move_skeleton(b"/new");
        assert_eq!(made, [(b"2".to_vec(), Some(b"t".to_vec())), (b"1".to_vec(), None)]);
        assert_eq!(hosts(&table, "/n"), [b"/new/1"]);
        assert_eq!(hosts(&table, "/b"), [b"/kx/3"]);
    }

    #[test]
    fn implied_parents_go_with_the_last_child() {
        let mut table = Table::new();
        for name in ["/n", "/n/m"] {
            let member = table.member(Source::Host(b"/k".to_vec()), rule(Verb::Implied));
            table.place(name.as_bytes(), Kind::Dir, Order::Replace, member, None).unwrap();
        }
        bind(&mut table, "/s", "/n/m/x", Order::Replace);
        table.unmount(b"/n/m/x", None).unwrap();
        assert!(table.mounts().is_empty());
    }
}
