//! Lines acted upon: each is looked up in the namespace as the lines before it
//! have made it, and changes the table.
//!
//! A bind brings the mount points below its source along, so that what SRC
//! shows is what DST shows. Where the host lacks a directory above DST, an
//! empty one from the skeleton stands in.

mod look;
mod places;
mod rule;
mod verbs;

pub use places::{Instance, Places};

use crate::failure::{Failure, Why, shown};
use crate::file::{Action, Line, MountOptions};
use crate::remembered::Remembered;
use crate::remote::{self, Server};
use crate::resolve::{Last, name_of};
use crate::table::{Kind, Member, Mount, Order, Rule, Source, Table, Verb};
use alloc::format;
use alloc::vec::Vec;
use look::{Look, Seen, Shown, Spot};
use privns_abi::{Errno, path};
use privns_host::Host;

/// Mount points of a table at most: a bind of the root into itself doubles
/// them. mount(2) says ENOSPC beyond `fs.mount-max`, and so do we.
pub const MOUNTS_MAX: usize = 1 << 15;

type Result<T> = core::result::Result<T, Failure>;

/// A namespace being built.
pub struct Builder<'a> {
    host: Remembered<'a>,
    places: &'a mut dyn Places,
    table: Table,
    cwd: Vec<u8>,
    start: Option<Vec<u8>>,
    /// A bind whose source is not there is passed over.
    pub skip_missing: bool,
    skipped: Vec<Failure>,
}

/// What building gave.
#[derive(Debug)]
pub struct Built {
    /// The namespace.
    pub table: Table,
    /// The directory that `cd` chose to start in, a canonical name.
    pub start: Option<Vec<u8>>,
    /// What failed and was let pass, by `-q` or `--skip-missing`.
    pub skipped: Vec<Failure>,
}

/// What a name shows that leads to one host path.
pub(crate) struct Shows {
    pub(crate) host: Vec<u8>,
    pub(crate) read_only: bool,
    /// The mount points that come along, under their names below it, each with
    /// its slash.
    pub(crate) below: Vec<Mount>,
}

impl<'a> Builder<'a> {
    /// Begins from `table`, which stays as it is; relative names begin in
    /// `cwd`, a canonical name in it.
    #[must_use]
    pub fn new(
        host: &'a dyn Host,
        places: &'a mut dyn Places,
        table: &Table,
        cwd: &[u8],
    ) -> Builder<'a> {
        Builder {
            host: Remembered::new(host),
            places,
            table: table.clone(),
            cwd: if cwd == b"/" { Vec::new() } else { cwd.to_vec() },
            start: None,
            skip_missing: false,
            skipped: Vec::new(),
        }
    }

    /// Acts on all lines.
    ///
    /// # Errors
    /// The first line that fails, unless it is quiet.
    pub fn run(mut self, lines: &[Line]) -> Result<Built> {
        for line in lines {
            self.line(line)?;
        }
        Ok(self.finish())
    }

    /// The namespace as built so far.
    #[must_use]
    pub fn finish(mut self) -> Built {
        self.table.forget_servers();
        Built { table: self.table, start: self.start, skipped: self.skipped }
    }

    pub(crate) fn table(&mut self) -> &mut Table {
        &mut self.table
    }

    pub(crate) fn so_far(&self) -> &Table {
        &self.table
    }

    /// What binding `src` would show, when that is one host path.
    pub(crate) fn shows(&self, src: &[u8]) -> Option<Shows> {
        let shown = self.look().source(src).ok()?;
        let below = |m: &Mount| m.members.iter().any(|m| m.rule.verb != Verb::Implied);
        let below = shown.below.iter().filter(|m| below(m)).cloned();
        let below = below.map(|m| Mount { path: m.path[shown.ns.len()..].to_vec(), ..m }).collect();
        if let Some(seen) = shown.plain {
            return Some(Shows { host: seen.host, read_only: seen.read_only, below });
        }
        match shown.mount?.members.as_slice() {
            [Member { source: Source::Host(host), read_only, rule, .. }] => {
                let read_only = *read_only || rule.verb.is_skeleton();
                Some(Shows { host: host.clone(), read_only, below })
            }
            _ => None,
        }
    }

    /// The host path of what stands at a canonical name where nothing is
    /// mounted, and whether it is read-only.
    pub(crate) fn underneath(&self, name: &[u8]) -> Option<(Vec<u8>, bool)> {
        let name = if name.is_empty() { b"/" } else { name };
        let seen = self.look().see(name).ok()?;
        (!seen.at_mount).then_some((seen.host, seen.read_only))
    }

    /// Whether only the skeleton stands at a canonical name.
    pub(crate) fn is_bare_at(&self, name: &[u8]) -> bool {
        self.table.at(name).is_some_and(|mount| self.is_bare(mount))
    }

    /// Whether `dir` would make a directory at this canonical name.
    pub(crate) fn is_free(&self, name: &[u8]) -> bool {
        let implied = |mount: &Mount| mount.members.iter().all(|m| m.rule.verb == Verb::Implied);
        match self.table.at(name) {
            Some(mount) => implied(mount),
            None => self.underneath(name).is_none(),
        }
    }

    /// A name that shows a host path, if there is one.
    pub(crate) fn name_of(&self, host: &[u8]) -> Option<Vec<u8>> {
        let name = name_of(&self.table, host, 0).ok()?;
        Some(name.as_bytes().to_vec())
    }

    fn line(&mut self, line: &Line) -> Result<()> {
        let before = (line.quiet || self.skip_missing).then(|| self.table.clone());
        let Err(failure) = self.act(line) else { return Ok(()) };
        let failure = failure.at(&line.origin);
        let passed = line.quiet || (self.skip_missing && failure.missing_source);
        match before {
            Some(before) if passed => {
                self.table = before;
                // Its number, and so its name in the skeleton, is the next one's.
                self.host.forget();
                self.skipped.push(failure);
                Ok(())
            }
            _ => Err(failure),
        }
    }

    /// Acts on one line; one that fails may leave half its work in the table.
    pub(crate) fn act(&mut self, line: &Line) -> Result<()> {
        match &line.action {
            Action::Bind { src, dst } => self.bind(line, src, dst)?,
            Action::Mount { address, dst, options } => self.mount(line, address, dst, options)?,
            Action::Private(dir) => self.private(line, dir)?,
            Action::Instance { rule, dir } => self.by_rule(line, rule, dir)?,
            Action::Dir(dst) => self.dir(line, dst)?,
            Action::Symlink { target, dst } => self.symlink(line, target, dst)?,
            Action::Unmount { src, dst } => self.unmount(line, src.as_deref(), dst)?,
            Action::Clear => {
                self.table.clear();
                self.root(line)?;
            }
            Action::Cd(dir) => self.cd(dir)?,
        }
        self.room(0)
    }

    /// Whether there is room for so many more mount points.
    fn room(&self, more: usize) -> Result<()> {
        let mounts = self.table.mounts().len() + more;
        if mounts <= MOUNTS_MAX {
            return Ok(());
        }
        let failure = Failure::new(format!("{mounts} mount points"), Errno::ENOSPC);
        Err(failure.fix(format!("a namespace holds {MOUNTS_MAX} at most")))
    }

    /// Looks names up in the table as it is now.
    fn look(&self) -> Look<'_> {
        Look { host: &self.host, table: &self.table, cwd: &self.cwd }
    }

    fn spot(&self, line: &Line, dst: &[u8], last: Last) -> Result<Spot> {
        self.look().spot(dst, last).map_err(|errno| place(line, dst, errno))
    }

    fn bind(&mut self, line: &Line, src: &[u8], dst: &[u8]) -> Result<()> {
        let root = src.starts_with(b"/") && path::components(src).next().is_none();
        let src = if root && self.is_empty() { b"host!/" } else { src };
        let from = self.look().source(src).map_err(|errno| missing("bind", src, errno))?;
        let to = self.spot(line, dst, Last::FOLLOW)?;
        let stands = self.kind_at(&to).unwrap_or(from.dir);
        if stands != from.dir || (line.order != Order::Replace && !from.dir) {
            let why =
                if from.dir { "the first is a directory" } else { "the first is no directory" };
            return Err(place(line, dst, Errno::ENOTDIR)
                .fix(format!("{why}: bind a directory on a directory, a file on a file")));
        }
        self.implied(line, &to)?;
        let members = self.members(line, &from);
        self.attach(line, &to, &from, members)
    }

    fn mount(
        &mut self,
        line: &Line,
        address: &[u8],
        dst: &[u8],
        options: &MountOptions,
    ) -> Result<()> {
        let to = self.spot(line, dst, Last::FOLLOW)?;
        if self.kind_at(&to) == Some(false) {
            let failure = place(line, dst, Errno::ENOTDIR);
            return Err(failure.fix("a server's tree is mounted on a directory"));
        }
        let id = self.server(address, &to.ns, options)?;
        self.implied(line, &to)?;
        let mut member = self.member(Source::Host(remote::name(id)), Verb::Mount, line);
        member.create = line.create;
        self.attach(line, &to, &Shown::tree(), alloc::vec![member])
    }

    /// The number of the server at an address: mounts of the same tree with the
    /// same options share one.
    fn server(&mut self, address: &[u8], at: &[u8], options: &MountOptions) -> Result<u32> {
        let (address, dial) = self.address(address);
        if let Some(id) = self.table.known_server(&address, options) {
            return Ok(id);
        }
        let id = self.table.next_server();
        let options = options.clone();
        let mut server = Server { id, address, dial, options, ..Server::default() };
        self.places.server(at, &mut server)?;
        if self.table.skeleton.is_empty() {
            self.table.skeleton = self.places.skeleton();
        }
        let id = server.id;
        self.table.add_server(server);
        Ok(id)
    }

    /// What shows an instance that stands at `at`.
    fn shown_by(&mut self, instance: Instance, at: &[u8]) -> Result<Source> {
        let host = match instance {
            Instance::Host(host) => host,
            Instance::Served(address) => {
                remote::name(self.server(&address, at, &MountOptions::default())?)
            }
        };
        Ok(Source::Host(host))
    }

    /// An address as it is printed, wherever that is read, and what it is on
    /// the host: a socket is looked up as SRC is.
    fn address(&self, address: &[u8]) -> (Vec<u8>, Vec<u8>) {
        const UNIX: &[u8] = b"unix!";
        let path = address.strip_prefix(UNIX);
        let Some(shown) = path.and_then(|path| self.look().source(path).ok()) else {
            return (address.to_vec(), address.to_vec());
        };
        let relative = path.is_some_and(|path| !path.starts_with(b"/"));
        let printed = if relative { [UNIX, &shown.ns].concat() } else { address.to_vec() };
        let host = hosts(shown).into_iter().next().unwrap_or_default();
        (printed, [UNIX, &host].concat())
    }

    /// Whether what stands at a place is a directory; `None` where nothing is.
    fn kind_at(&self, to: &Spot) -> Option<bool> {
        let mount = self.table.at(&to.ns).map(|mount| mount.kind == Kind::Dir);
        mount.or_else(|| to.seen.as_ref().map(|seen| seen.dir))
    }

    /// Members that show what the source shows.
    fn members(&mut self, line: &Line, from: &Shown) -> Vec<Member> {
        let mut members = Vec::new();
        if let Some(Seen { host, read_only, .. }) = &from.plain {
            let mut member = self.member(Source::Host(host.clone()), Verb::Bind, line);
            member.read_only |= read_only;
            members.push(member);
        }
        let union = from.mount.as_ref().is_some_and(|mount| mount.members.len() > 1);
        for old in from.mount.iter().flat_map(|mount| &mount.members) {
            let mut member = self.member(old.source.clone(), Verb::Bind, line);
            member.read_only |= old.read_only || old.rule.verb.is_skeleton();
            member.create = old.create && union;
            member.base = old.base && union;
            members.push(member);
        }
        if line.create && !members.iter().any(|m| m.create) {
            let creator = members.iter().position(|m| m.base).unwrap_or(0);
            members[creator].create = true;
        }
        members
    }

    fn member(&mut self, source: Source, verb: Verb, line: &Line) -> Member {
        let rule = Rule { verb, origin: line.origin.clone() };
        let mut member = self.table.member(source, rule);
        member.read_only = line.read_only;
        member
    }

    /// Mounts the members and what came along below the source.
    fn attach(&mut self, line: &Line, to: &Spot, from: &Shown, members: Vec<Member>) -> Result<()> {
        let kind = if from.dir { Kind::Dir } else { Kind::File };
        self.room(from.below.len())?;
        let along = self.seen_along(line, to, from);
        let bare = self.is_bare_at(&to.ns);
        if bare && line.order != Order::Replace {
            // The skeleton is there to be mounted upon, not to be a member:
            // what is mounted below it stays.
            if let Some(mount) = self.table.at_mut(&to.ns) {
                mount.members = members;
            }
        } else if line.order == Order::Replace || self.kind_at(to).is_none() {
            self.table.cover(&to.ns, kind, members);
        } else {
            self.unite(line, to, members).map_err(|errno| place(line, &to.ns, errno))?;
        }
        let along = along.into_iter().map(|(name, old)| self.along(line, name, old));
        let along = along.collect();
        self.table.extend(along);
        Ok(())
    }

    /// The mount points below the source, and their names at the new place. Of
    /// a union's members the first that has a name serves it, so what joins
    /// last brings along only what nobody before it has.
    fn seen_along<'f>(&self, line: &Line, to: &Spot, from: &'f Shown) -> Vec<(Vec<u8>, &'f Mount)> {
        let named = from.below.iter().map(|old| {
            let rest = &old.path[from.ns.len()..];
            let first = rest[1..].iter().position(|&b| b == b'/').map_or(rest.len(), |at| at + 1);
            let top = [&to.ns[..], &rest[..first]].concat();
            (top, [&to.ns[..], rest].concat(), old)
        });
        let empty = from.mount.as_ref().is_some_and(|mount| self.is_bare(mount));
        let last = line.order == Order::After || (line.order == Order::Before && empty);
        let hidden = |top: &[u8]| last && self.look().is_there(top);
        // What is there already stays the older.
        let there = |name: &[u8], old: &Mount| {
            let now = self.table.at(name).filter(|_| line.order != Order::Replace);
            now.is_some_and(|now| {
                let same = |(a, b): (&Member, &Member)| {
                    let fixed = b.read_only || b.rule.verb.is_skeleton();
                    a.source == b.source
                        && (fixed || a.read_only == (b.read_only || line.read_only))
                };
                now.members.len() == old.members.len()
                    && now.members.iter().zip(&old.members).all(same)
            })
        };
        let named = named.filter(|(top, name, old)| !hidden(top) && !there(name, old));
        named.map(|(_, name, old)| (name, old)).collect()
    }

    /// Adds members to what stands at a place.
    fn unite(
        &mut self,
        line: &Line,
        to: &Spot,
        mut members: Vec<Member>,
    ) -> privns_abi::Result<()> {
        if line.order == Order::Before {
            members.reverse();
        }
        // The skeleton's directories are empty: they would add nothing.
        members.retain(|Member { source: Source::Host(host), .. }| !self.in_skeleton(host));
        for mut member in members {
            // Who stood here first has been decided already.
            member.base = false;
            let underneath = to.seen.as_ref().filter(|_| self.table.at(&to.ns).is_none());
            let underneath = underneath.map(|seen| (seen.host.clone(), seen.read_only));
            let underneath = underneath.map(|(host, read_only)| {
                let mut base = self.member(Source::Host(host), Verb::Derived, line);
                base.read_only = read_only;
                base
            });
            self.table.place(&to.ns, Kind::Dir, line.order, member, underneath)?;
        }
        Ok(())
    }

    /// What was mounted below the old place, as it is to be below the new one.
    fn along(&mut self, line: &Line, path: Vec<u8>, old: &Mount) -> Mount {
        let mut members = Vec::new();
        for old in &old.members {
            let verb = match &old.rule.verb {
                Verb::Dir | Verb::Implied | Verb::Symlink(_) => old.rule.verb.clone(),
                _ => Verb::Along,
            };
            let mut member = self.member(old.source.clone(), verb, line);
            member.read_only |= old.read_only;
            member.create = old.create;
            member.base = old.base;
            members.push(member);
        }
        Mount { path, kind: old.kind, members }
    }

    /// Makes the directories above a place that the host lacks.
    fn implied(&mut self, line: &Line, to: &Spot) -> Result<()> {
        for name in &to.missing {
            self.skeleton_dir(line, name, Verb::Implied)?;
        }
        Ok(())
    }

    fn skeleton_dir(&mut self, line: &Line, name: &[u8], verb: Verb) -> Result<()> {
        let mut member = self.member(Source::Host(Vec::new()), verb, line);
        let host = self.places.dir(name, member.seq)?;
        self.table.skeleton = path::parent(&host).to_vec();
        member.source = Source::Host(host);
        member.read_only = false;
        self.table.cover(name, Kind::Dir, alloc::vec![member]);
        Ok(())
    }

    /// Whether nothing is there, after `clear`. Its root is no name then that
    /// anybody would bind: `clear`, `bind / /` is meant as bwrap means it.
    fn is_empty(&self) -> bool {
        self.table.cleared && matches!(self.table.mounts(), [root] if self.is_bare(root))
    }

    /// An empty namespace still has its root.
    fn root(&mut self, line: &Line) -> Result<()> {
        if self.table.cleared && self.table.at(b"").is_none() {
            let below: Vec<Mount> = self.table.mounts().to_vec();
            self.skeleton_dir(line, b"", Verb::Implied)?;
            for mount in below {
                self.table.cover(&mount.path, mount.kind, mount.members);
            }
        }
        Ok(())
    }

    /// Whether only the skeleton stands at a mount point, to be mounted upon.
    fn is_bare(&self, mount: &Mount) -> bool {
        mount.members.iter().all(|Member { source: Source::Host(host), .. }| self.in_skeleton(host))
    }

    fn in_skeleton(&self, host: &[u8]) -> bool {
        !self.table.skeleton.is_empty() && path::is_within(host, &self.table.skeleton)
    }
}

/// The host paths behind a source.
fn hosts(shown: Shown) -> Vec<Vec<u8>> {
    let mounted = shown.mount.into_iter().flat_map(|mount| mount.members).map(|member| {
        let Source::Host(host) = member.source;
        host
    });
    shown.plain.map(|seen| seen.host).into_iter().chain(mounted).collect()
}

fn missing(verb: &str, src: &[u8], errno: Errno) -> Failure {
    let mut failure = Failure::new(format!("{verb} {}", shown(src)), errno);
    if matches!(errno, Errno::ENOENT | Errno::ENOTDIR) {
        failure.missing_source = true;
    }
    if errno == Errno::ENOENT {
        failure = failure.fix("neither the namespace nor the host has it");
    }
    if errno == Errno::EINVAL && src.starts_with(b"host!") {
        failure.why = Why::Text("not an absolute path".into());
        failure = failure.fix("write host!/PATH");
    }
    failure
}

fn place(line: &Line, dst: &[u8], errno: Errno) -> Failure {
    let verb = line.to_text();
    let verb = verb.split(|&b| b == b' ').next().unwrap_or_default();
    Failure::new(format!("{} on {}", shown(verb), shown(dst)), errno)
}

#[cfg(test)]
#[path = "../build_tests.rs"]
pub(crate) mod tests;
