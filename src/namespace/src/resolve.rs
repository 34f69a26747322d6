//! From a name to a host file, component by component, as the kernel resolves
//! names (path_resolution(7)) in a tree that has our mounts.
//!
//! This is the exact way, one `readlink` a component; what callers do most of
//! the time (one kernel call with `RESOLVE_NO_SYMLINKS`, or a cached parent)
//! comes here when it meets a symbolic link, a `..`, or a union.
//!
//! `..` is the parent of the *name*: the walk remembers the canonical name it
//! stands at, so that `..` above a mount leads to the mount point's parent.
//!
//! Accepted race: between our look at the last component and the caller's use
//! of it another process may put a symbolic link there. Callers that open use
//! `RESOLVE_NO_SYMLINKS` again and come back on ELOOP.

use crate::lookup::{Mounts, Point, Served};
use crate::remote;
use crate::trail::Trail;
use alloc::vec::Vec;
use privns_abi::{Errno, Result, path};
use privns_host::{Host, Name};

/// What the caller does with the last component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// Follow it when it is a symbolic link.
    pub follow: bool,
    /// It may be made: of a union, choose the member that takes new files.
    pub create: bool,
    /// It is taken away.
    pub remove: bool,
}

impl Last {
    /// Use what the name finally leads to.
    pub const FOLLOW: Last = Last { follow: true, create: false, remove: false };
    /// Use the last component itself.
    pub const NO_FOLLOW: Last = Last { follow: false, create: false, remove: false };
    /// Take the last component away (`rmdir`, `unlink`, `rename`): a link with a
    /// slash behind it is no directory.
    pub const REMOVE: Last = Last { follow: false, create: false, remove: true };
    /// Make the last component; a link there is in the way (`mkdir`, `O_EXCL`).
    pub const MAKE: Last = Last { follow: false, create: true, remove: false };
    /// Open or make what the name leads to (`O_CREAT`).
    pub const OPEN_OR_MAKE: Last = Last { follow: true, create: true, remove: false };

    /// Whether the component itself is meant with a slash behind it, too, which
    /// follows a link for everything else.
    #[inline]
    #[must_use]
    pub const fn is_itself(self) -> bool {
        self.create || self.remove
    }
}

/// Where a walk begins when the name is relative.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Canonical name of the directory.
    pub ns: &'a [u8],
    /// The member that serves it, 0 for the first that has it.
    pub seq: u32,
}

impl Start<'_> {
    /// The root of the namespace.
    pub const ROOT: Start<'static> = Start { ns: b"", seq: 0 };
}

/// Where a name leads.
#[derive(Debug, Default)]
pub struct Located {
    /// The canonical name; empty for the root.
    pub ns: Name,
    /// The host's name for it, `/` for the host's root; ends in `/` or `/.`
    /// when the name did, so that the host insists on a directory as well.
    pub host: Name,
    /// The member that serves it; 0 when the global namespace does.
    pub seq: u32,
    /// What would change it is EROFS.
    pub read_only: bool,
    /// It is a mount point: removing or renaming it is EBUSY.
    pub at_mount: bool,
    /// It is the top of a union.
    pub is_union: bool,
    /// Mount points lie below it.
    pub mounts_below: bool,
    /// It is one of `/proc`'s links that lead to an open file and not to a
    /// name: the host must follow it.
    pub magic: bool,
    /// The components that led here, those of followed links too.
    pub trail: Trail,
}

/// Where `/proc`'s own links lead (`/proc/PID/cwd`, `root`, `fd/N`): they name
/// host files, the namespace's name of which only the process itself may know.
pub trait Jump {
    /// The canonical name behind the link at host path `link`, whose text is
    /// `text`.
    ///
    /// # Errors
    /// ENOENT when the file has no name in the namespace.
    fn jump(&self, link: &[u8], text: &[u8]) -> Result<Name>;

    /// Whether the kernel would follow a link of this text to something else than
    /// is meant.
    fn is_astray(&self, _text: &[u8]) -> bool {
        false
    }
}

/// Knows nothing but the table.
pub struct ByText<M>(pub M);

impl<'a, M: Mounts<'a>> Jump for ByText<M> {
    fn jump(&self, _link: &[u8], text: &[u8]) -> Result<Name> {
        name_of(self.0, text, 0)
    }
}

/// Resolves `name`: absolute, or relative to `start`.
///
/// # Errors
/// ENOENT, ENOTDIR, EACCES, ELOOP, ENAMETOOLONG as the kernel; EPERM when the
/// last component would be made in a union that takes no new files.
pub fn walk<'a>(
    host: &dyn Host,
    index: impl Mounts<'a>,
    jump: &dyn Jump,
    start: Start<'_>,
    name: &[u8],
    last: Last,
) -> Result<Located> {
    walk_from(host, index, jump, b"", start, name, last)
}

/// The same for a process whose root directory (chroot(2)) is `root`, a
/// canonical name: absolute names begin there, and `..` does not lead out.
///
/// # Errors
/// Those of [`walk`].
pub fn walk_from<'a>(
    host: &dyn Host,
    index: impl Mounts<'a>,
    jump: &dyn Jump,
    root: &[u8],
    start: Start<'_>,
    name: &[u8],
    last: Last,
) -> Result<Located> {
    if name.is_empty() {
        return Err(Errno::ENOENT);
    }
    if name.len() >= path::PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    let mut walk = Walk {
        host,
        index,
        jump,
        root,
        last,
        here: Located::default(),
        union: None,
        todo: Vec::new(),
        link: Name::new(),
        links: 0,
    };
    walk.prepend(name)?;
    if name[0] == b'/' {
        walk.enter(root, 0)?;
    } else {
        walk.enter(start.ns, start.seq)?;
    }
    walk.run()?;
    Ok(walk.here)
}

struct Walk<'w, M, P> {
    host: &'w dyn Host,
    index: M,
    jump: &'w dyn Jump,
    root: &'w [u8],
    last: Last,
    here: Located,
    /// The mount point we stand at, when it is a union.
    union: Option<P>,
    /// What is still to be walked, as text.
    todo: Vec<u8>,
    link: Name,
    links: usize,
}

/// How a name being walked ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Plain,
    Slash,
    Dot,
}

impl<'a, M: Mounts<'a>> Walk<'_, M, M::Point> {
    fn run(&mut self) -> Result<()> {
        let mut at = 0;
        let mut end = End::Plain;
        while let Some((from, to)) = next(&self.todo, at) {
            at = to;
            let left = &self.todo[to..];
            let is_last = path::components(left).next().is_none();
            if is_last {
                end = ending(left);
            }
            if &self.todo[from..to] == b".." {
                self.up()?;
                if is_last {
                    end = End::Dot;
                }
                continue;
            }
            if to - from > path::NAME_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            let must_follow = match end {
                End::Plain => false,
                End::Slash => !self.last.is_itself(),
                End::Dot => true,
            };
            let follow = !is_last || self.last.follow || must_follow;
            if self.step(from, to, is_last, follow)? {
                at = 0;
            }
        }
        let dot = path::components(&self.todo).next().is_none() && ends_in_dot(&self.todo);
        if end == End::Dot || dot {
            self.here.host.push(if self.here.host.as_bytes() == b"/" { b"." } else { b"/." })?;
        } else if end == End::Slash && self.here.host.as_bytes() != b"/" {
            self.here.host.push(b"/")?;
        }
        Ok(())
    }

    /// Goes one component down. True when a symbolic link was followed: what
    /// is to be walked has been replaced.
    fn step(&mut self, from: usize, to: usize, is_last: bool, follow: bool) -> Result<bool> {
        self.here.trail.pass(&self.todo[from..to]);
        let above = self.here.ns.as_bytes().len();
        self.here.ns.join(&self.todo[from..to])?;
        let (mount, mounts_below) = self.index.at(self.here.ns.as_bytes());
        if let Some(mount) = mount {
            if mount.dt_type() == libc::DT_LNK && follow {
                let mut text = Name::new();
                let mut link = Name::from(mount.first().host)?;
                self.host.readlink(link.as_cstr()?, &mut text)?;
                self.link = text;
                self.here.ns.truncate(above);
                return self.follow(to).map(|()| true);
            }
            self.cross(mount, mounts_below)?;
            return Ok(false);
        }
        let chosen = self.choose(from, to, is_last, follow)?;
        if let Choice::Link = chosen {
            if is_magic(self.here.host.as_bytes()) {
                return self.follow_magic(to, is_last);
            }
            self.here.ns.truncate(above);
            self.here.host.truncate(self.here.host.as_bytes().len() - 1 - (to - from));
            return self.follow(to).map(|()| true);
        }
        self.union = None;
        self.here.at_mount = false;
        self.here.is_union = false;
        self.here.mounts_below = mounts_below;
        Ok(false)
    }

    /// Finds the member that has the component and moves `here.host` to it.
    fn choose(&mut self, from: usize, to: usize, is_last: bool, follow: bool) -> Result<Choice> {
        let name = &self.todo[from..to];
        let Some(union) = self.union else {
            if self.here.host.as_bytes() == b"/" {
                self.here.host.truncate(0);
            }
            self.here.host.join(name)?;
            if !follow {
                return Ok(Choice::File);
            }
            return match look(self.host, &mut self.here.host, &mut self.link) {
                Ok(()) => Ok(Choice::Link),
                // There, and no link; or to be told, or made, by the caller's
                // own call: the host answers the same to that.
                Err(Errno::EINVAL) => Ok(Choice::File),
                Err(Errno::ENOENT) if is_last => Ok(Choice::File),
                Err(error) => Err(error),
            };
        };
        for member in union.members() {
            let mut host = Name::from(member.host)?;
            host.join(name)?;
            let choice = match look(self.host, &mut host, &mut self.link) {
                Ok(()) if follow => Choice::Link,
                Ok(()) | Err(Errno::EINVAL) => Choice::File,
                // A member whose directory has gone has no names.
                Err(Errno::ENOENT | Errno::ENOTDIR) => continue,
                Err(error) => return Err(error),
            };
            self.settle(host, member);
            return Ok(choice);
        }
        if !is_last {
            return Err(Errno::ENOENT);
        }
        let member = match (self.last.create, union.creator()) {
            (true, Some(creator)) => creator,
            (true, None) => return Err(Errno::EPERM),
            (false, _) => union.first(),
        };
        let mut host = Name::from(member.host)?;
        host.join(name)?;
        self.settle(host, member);
        Ok(Choice::File)
    }

    fn settle(&mut self, host: Name, member: Served<'_>) {
        self.here.host = host;
        self.here.seq = member.seq;
        self.here.read_only = member.read_only;
    }

    /// Replaces what is to be walked by the link's text and the rest after
    /// `to`.
    fn follow(&mut self, to: usize) -> Result<()> {
        self.links += 1;
        if self.links > path::LINKS_MAX {
            return Err(Errno::ELOOP);
        }
        if self.link.as_bytes().is_empty() {
            return Err(Errno::ENOENT);
        }
        self.todo.drain(..to);
        let text = core::mem::take(&mut self.link);
        self.prepend(text.as_bytes())?;
        if text.as_bytes()[0] == b'/' {
            return self.enter(self.root, 0);
        }
        // A link at a mount point is relative to the mount point's parent,
        // where we still stand.
        Ok(())
    }

    fn follow_magic(&mut self, to: usize, is_last: bool) -> Result<bool> {
        // A root is what the process takes for one, which the host cannot know.
        let is_root = self.here.host.as_bytes().ends_with(b"/root");
        if is_last && !is_root && !self.jump.is_astray(self.link.as_bytes()) {
            self.here.magic = true;
            return Ok(false);
        }
        let name = self.jump.jump(self.here.host.as_bytes(), self.link.as_bytes())?;
        self.links += 1;
        if self.links > path::LINKS_MAX {
            return Err(Errno::ELOOP);
        }
        self.todo.drain(..to);
        self.enter(name.as_bytes(), 0)?;
        Ok(true)
    }

    fn prepend(&mut self, text: &[u8]) -> Result<()> {
        self.todo.try_reserve(text.len()).map_err(|_| Errno::ENOMEM)?;
        self.todo.splice(0..0, text.iter().copied());
        Ok(())
    }

    /// Goes to the parent; the directory we stand in must be one, and let us
    /// search it.
    fn up(&mut self) -> Result<()> {
        let len = self.here.host.as_bytes().len();
        self.here.host.push(b"/.")?;
        self.host.lstat(self.here.host.as_cstr()?)?;
        self.here.host.truncate(len);
        if self.here.ns.as_bytes() == self.root {
            return Ok(());
        }
        let parent = match path::parent(self.here.ns.as_bytes()) {
            b"/" => Name::new(),
            parent => Name::from(parent)?,
        };
        let seq = self.here.seq;
        self.enter(parent.as_bytes(), seq)
    }

    /// Stands at a canonical name, in member `seq` if that serves it.
    fn enter(&mut self, ns: &[u8], seq: u32) -> Result<()> {
        let (mount, mounts_below) = self.index.find(ns);
        let Some(mount) = mount else {
            if self.index.is_cleared() {
                return Err(Errno::ENOENT);
            }
            self.union = None;
            self.here.ns.set(ns)?;
            self.here.at_mount = false;
            self.here.is_union = false;
            self.here.mounts_below = mounts_below;
            let host = Name::from(if ns.is_empty() { b"/" } else { ns })?;
            self.settle(host, Served::GLOBAL);
            return Ok(());
        };
        if mount.path() == ns {
            return self.cross(mount, mounts_below);
        }
        let rest = &ns[mount.path().len()..];
        for member in mount.members() {
            let mut host = Name::from(member.host)?;
            host.push(rest)?;
            let known = seq != 0 && mount.members().any(|m| m.seq == seq);
            let serves = match (known, mount.is_union()) {
                (true, _) => member.seq == seq,
                (false, false) => true,
                (false, true) => self.host.lstat(host.as_cstr()?).is_ok(),
            };
            if serves {
                self.union = None;
                self.here.ns.set(ns)?;
                self.here.at_mount = false;
                self.here.is_union = false;
                self.here.mounts_below = mounts_below;
                self.settle(host, member);
                return Ok(());
            }
        }
        Err(Errno::ENOENT)
    }

    /// Stands at a mount point.
    fn cross(&mut self, mount: M::Point, mounts_below: bool) -> Result<()> {
        let first = mount.first();
        self.here.ns.set(mount.path())?;
        let host = Name::from(if first.host.is_empty() { b"/" } else { first.host })?;
        self.settle(host, first);
        self.union = mount.is_union().then_some(mount);
        self.here.at_mount = true;
        self.here.is_union = mount.is_union();
        self.here.mounts_below = mounts_below;
        Ok(())
    }
}

enum Choice {
    File,
    Link,
}

/// [`Host::readlink`], where a filter that the program has put upon itself may
/// refuse that call: what is no link can be told without it.
fn look(host: &dyn Host, name: &mut Name, link: &mut Name) -> Result<()> {
    match host.readlink(name.as_cstr()?, link) {
        Err(refused @ (Errno::EPERM | Errno::ENOSYS)) => match host.lstat(name.as_cstr()?) {
            Ok(st) if !st.is_symlink() => Err(Errno::EINVAL),
            Err(Errno::ENOENT) => Err(Errno::ENOENT),
            _ => Err(refused),
        },
        done => done,
    }
}

/// The next component of `text` at or after `at`: where it begins and ends.
fn next(text: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut from = at;
    loop {
        while text.get(from) == Some(&b'/') {
            from += 1;
        }
        let len = text.get(from..)?.iter().position(|&b| b == b'/');
        let to = len.map_or(text.len(), |len| from + len);
        match &text[from..to] {
            b"" => return None,
            b"." => from = to,
            _ => return Some((from, to)),
        }
    }
}

/// How a name ends, from what follows its last component.
fn ending(left: &[u8]) -> End {
    match left {
        b"" => End::Plain,
        _ if ends_in_dot(left) => End::Dot,
        _ => End::Slash,
    }
}

fn ends_in_dot(text: &[u8]) -> bool {
    text.rsplit(|&b| b == b'/').find(|c| !c.is_empty()) == Some(b".")
}

/// Whether the host path of a symbolic link is one of `/proc`'s that lead to
/// an open file or directory instead of a name (proc(5)).
#[must_use]
pub fn is_magic(link: &[u8]) -> bool {
    let Some(rest) = link.strip_prefix(b"/proc/") else { return false };
    let mut parts = path::components(rest);
    let number = |part: Option<&[u8]>| part.is_some_and(|p| p.iter().all(u8::is_ascii_digit));
    if !number(parts.next()) {
        return false;
    }
    let mut part = parts.next();
    if part == Some(b"task") {
        if !number(parts.next()) {
            return false;
        }
        part = parts.next();
    }
    match (part, parts.next()) {
        (Some(b"cwd" | b"root" | b"exe"), None) => true,
        (Some(b"fd" | b"map_files" | b"ns"), Some(_)) => parts.next().is_none(),
        _ => false,
    }
}

/// The namespace's name of a host file: through member `seq` when that shows
/// it, else its own name where that is not covered, else the innermost member
/// that shows it.
///
/// # Errors
/// ENOENT when nothing shows it.
pub fn name_of<'a>(index: impl Mounts<'a>, host: &[u8], seq: u32) -> Result<Name> {
    let host = if host == b"/" { b"" } else { host };
    let through = |(mount, member): (_, Served<'_>)| named(index, mount, member, host);
    let known = index.with(seq).and_then(|m| Some((m, m.members().find(|m| m.seq == seq)?)));
    if let Some(name) = known.and_then(through) {
        return name;
    }
    let global = !index.is_cleared() && !remote::is_remote(host);
    if global && index.find(host).0.is_none() {
        return Name::from(host);
    }
    let members = index.points().flat_map(|mount| mount.members().map(move |m| (mount, m)));
    let best = members.filter_map(|shown| Some((shown.1.host.len(), through(shown)?)));
    best.max_by_key(|(len, _)| *len).map_or(Err(Errno::ENOENT), |(_, name)| name)
}

/// The name that a member shows a host file by, if it does.
fn named<'a, M: Mounts<'a>>(
    index: M,
    mount: M::Point,
    member: Served<'_>,
    host: &[u8],
) -> Option<Result<Name>> {
    let rest = host.strip_prefix(member.host).filter(|r| r.is_empty() || r[0] == b'/')?;
    let name = Name::from(mount.path()).and_then(|mut name| name.push(rest).map(|()| name));
    let Ok(ns) = &name else { return Some(name) };
    let seen = index.find(ns.as_bytes()).0?.path() == mount.path();
    seen.then_some(name)
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
