//! A mount table as the lines that build it again.
//!
//! Lines are found by building them: what they give so far is compared with
//! what is wanted, so a mount point that a bind brings along is not printed,
//! one that it brings too many is unmounted, and a source is named plainly
//! where that name leads to it, else as `host!…`. Building what is printed and
//! printing again gives the same lines.
//!
//! Members are printed in the order in which they were mounted, except that a
//! mount point comes before those below it where mounting it would cover them,
//! a union grows outwards from the member that stood there first, and a mount
//! point comes before a union above it grows where another of the union's members
//! has a symbolic link of its name.

mod recorded;

use crate::build::Builder;
use crate::file::{Action, Line};
use crate::instance;
use crate::remote;
use crate::table::{Kind, Member, Mount, Order, Source, Table, Verb};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::cell::Cell;
use privns_abi::path;
use privns_host::Host;
use recorded::{Recorded, Unasked};

/// The lines that build `table`, and start in `start` when that is given (a
/// canonical name). Each line has the origin of the member that it makes.
#[must_use]
pub fn print(host: &dyn Host, table: &Table, start: Option<&[u8]>) -> Vec<Line> {
    let host = &Unasked { host, table };
    let mut moved = Moved::default();
    let mut lines = loop {
        match attempt(host, table, &moved) {
            Ok(lines) => break lines,
            // Ends: each round adds one of the mount points.
            Err((mount, Again::Covers)) => moved.first.insert(mount),
            Err((mount, Again::Astray)) => moved.early.insert(mount),
        };
    };
    if let Some(start) = start {
        let start = if start.is_empty() { b"/" } else { start };
        lines.push(Line::new(Action::Cd(start.to_vec()), b""));
    }
    lines
}

/// The mount points that are printed in another order than they were made.
#[derive(Default)]
struct Moved {
    /// Before those below them.
    first: BTreeSet<usize>,
    /// Before the union that they lie in has grown.
    early: BTreeSet<usize>,
}

/// The lines, with these mount points moved; else the one that has to be as well.
fn attempt(host: &dyn Host, table: &Table, moved: &Moved) -> Result<Vec<Line>, (usize, Again)> {
    let server = Cell::new(0);
    let mut places = Recorded { table, server: &server };
    let built = Builder::new(host, &mut places, &Table::new(), b"");
    let lines = Vec::new();
    let mut printer = Printer { want: table, server: &server, built, lines, astray: false };
    if table.cleared {
        printer.say(Line::new(Action::Clear, b""));
    }
    for step in steps(table, moved) {
        let mount = &table.mounts()[step.mount];
        let may_cover = moved.first.contains(&step.mount);
        printer.bring(mount, step.member, may_cover).map_err(|again| (step.mount, again))?;
        if core::mem::take(&mut printer.astray) && !moved.early.contains(&step.mount) {
            return Err((step.mount, Again::Astray));
        }
    }
    Ok(printer.lines)
}

/// Why a mount point has to be printed at another time.
enum Again {
    /// Mounting it here would take away what is mounted below it.
    Covers,
    /// Its name is a symbolic link by now.
    Astray,
}

/// The lines as a namespace file.
#[must_use]
pub fn to_text(lines: &[Line]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line.to_text(), b"\n".to_vec()].concat()).collect()
}

fn in_skeleton(table: &Table, member: &Member) -> bool {
    let Source::Host(host) = &member.source;
    let skeleton = &table.skeleton;
    !skeleton.is_empty() && path::below(host, skeleton).is_some_and(|rest| !rest.is_empty())
}

/// One member to be printed, and when.
struct Step {
    /// The mount point's place in the table.
    mount: usize,
    /// The member's place in it.
    member: usize,
    /// At the same time the lesser comes first.
    when: (u32, u32),
}

/// Every member that a line may be needed for, in the order of the lines.
fn steps(table: &Table, moved: &Moved) -> Vec<Step> {
    let mounts = table.mounts();
    let mut when: Vec<(u32, u32)> = mounts.iter().map(|mount| (first_seq(mount), 0)).collect();
    for &i in moved.first.iter().rev() {
        let below = 1 + table.below(&mounts[i].path).count();
        when[i] = when[i..i + below].iter().copied().min().unwrap_or(when[i]);
    }
    let mut waits = BTreeSet::new();
    for &i in &moved.early {
        let found = table.covering(above(&mounts[i].path));
        let union = found.and_then(|found| mounts.iter().position(|m| m.path == found.path));
        if let Some(union) = union {
            when[i] = when[i].min((when[union].0, 1));
            waits.insert(union);
        }
    }
    let mut steps = Vec::new();
    for (i, mount) in mounts.iter().enumerate().filter(|(_, m)| !is_implied(m)) {
        let mut when = when[i];
        for (nth, member) in outwards(mount).into_iter().enumerate() {
            if nth > 0 && has_base(mount) {
                let phase = if waits.contains(&i) { 2 } else { when.1 };
                when = (when.0.max(mount.members[member].seq), phase);
            }
            steps.push(Step { mount: i, member, when });
        }
    }
    // Stable: mount points above come first, and the members of each in turn.
    steps.sort_by_key(|step| step.when);
    steps
}

/// The canonical name of the directory above one.
fn above(name: &[u8]) -> &[u8] {
    match path::parent(name) {
        b"/" => b"",
        parent => parent,
    }
}

fn is_implied(mount: &Mount) -> bool {
    mount.members.iter().all(|m| m.rule.verb == Verb::Implied)
}

fn has_base(mount: &Mount) -> bool {
    mount.members.len() == 1 || mount.members.iter().any(|m| m.base)
}

fn first_seq(mount: &Mount) -> u32 {
    if is_implied(mount) { u32::MAX } else { mount.members[start(mount)].seq }
}

/// The member that a union is built outwards from.
fn start(mount: &Mount) -> usize {
    let base = mount.members.iter().position(|m| m.base);
    let oldest = || (0..mount.members.len()).min_by_key(|&i| mount.members[i].seq);
    base.or_else(oldest).unwrap_or(0)
}

/// A union's members such that each stands at an end of those before it; of the
/// two ends, the older one first.
fn outwards(mount: &Mount) -> Vec<usize> {
    let start = start(mount);
    let (mut low, mut high) = (start, start + 1);
    let mut out = alloc::vec![start];
    loop {
        let left = low.checked_sub(1).map(|i| (mount.members[i].seq, i));
        let right = mount.members.get(high).map(|m| (m.seq, high));
        match (left, right) {
            (None, None) => return out,
            (Some(l), r) if r.is_none_or(|r| l < r) => {
                out.push(l.1);
                low -= 1;
            }
            _ => {
                out.push(high);
                high += 1;
            }
        }
    }
}

struct Printer<'a> {
    want: &'a Table,
    /// What was to be mounted last is now mounted elsewhere.
    astray: bool,
    /// See [`Recorded`].
    server: &'a Cell<u32>,
    built: Builder<'a>,
    lines: Vec<Line>,
}

/// What of a mount point has been built, beside the member looked for.
enum Has {
    /// The member is there.
    It,
    /// Its neighbours to the right or to the left are.
    Neighbours(Order),
    /// Something else, or nothing.
    Other,
}

impl Printer<'_> {
    /// Prints what is needed for a member to be there.
    fn bring(&mut self, mount: &Mount, member: usize, may_cover: bool) -> Result<(), Again> {
        match self.has(mount, member) {
            Has::It => return Ok(()),
            Has::Neighbours(order) => {
                self.mount(mount, member, order);
                return Ok(());
            }
            Has::Other => {}
        }
        let start = start(mount);
        let underneath = mount.members[start].rule.verb == Verb::Derived;
        if underneath && mount.members.len() > 1 && has_base(mount) && self.stands(mount, start) {
            if member == start && !may_cover {
                // The first to join makes it a member. By then it might not stand
                // there any more, and could not be put there over what is below.
                return Ok(());
            }
            if member.abs_diff(start) == 1 {
                let order = if member < start { Order::Before } else { Order::After };
                self.mount(mount, member, order);
                return Ok(());
            }
        }
        self.begin(mount, start, may_cover)?;
        for earlier in outwards(mount).into_iter().skip(1).take_while(|_| member != start) {
            if let Has::Neighbours(order) = self.has(mount, earlier) {
                self.mount(mount, earlier, order);
            }
            if earlier == member {
                break;
            }
        }
        Ok(())
    }

    /// Prints the first member of a mount point.
    fn begin(&mut self, mount: &Mount, start: usize, may_cover: bool) -> Result<(), Again> {
        let covers = self.built.so_far().below(&mount.path).any(|below| !is_implied(below));
        let empty = has_base(mount) && in_skeleton(self.want, &mount.members[start]);
        let implied = self.built.so_far().at(&mount.path).is_some_and(is_implied);
        if covers && empty && implied && mount.kind == Kind::Dir {
            // What is there already is now meant to be.
            self.mount(mount, start, Order::Replace);
        } else if covers && !may_cover {
            let bind =
                matches!(mount.members[start].rule.verb, Verb::Bind | Verb::Along | Verb::Mount);
            let member = &mount.members[start];
            if !bind
                || !has_base(mount)
                || in_skeleton(self.want, member)
                || !self.built.is_bare_at(&mount.path)
            {
                return Err(Again::Covers);
            }
            // Joining what is there only to be mounted upon covers nothing.
            self.mount(mount, start, Order::Before);
        } else if has_base(mount) {
            self.mount(mount, start, Order::Replace);
        } else {
            self.without_base(mount);
        }
        Ok(())
    }

    /// A union that the directory which stood there first has left: it is built
    /// on another directory, which leaves it again.
    fn without_base(&mut self, mount: &Mount) {
        let is_member = |host: &[u8]| {
            mount.members.iter().any(|Member { source: Source::Host(h), .. }| h == host)
        };
        let hosts = [&b""[..], b"/usr", b"/dev", b"/tmp", b"/proc", b"/etc", b"/var", b"/run"];
        let stay = hosts.into_iter().find(|host| !is_member(host)).unwrap_or(b"/home");
        let line = |action| Line::new(action, &mount.members[0].rule.origin);
        self.say(line(Action::Bind { src: global(stay), dst: root(&mount.path) }));
        let start = start(mount);
        for member in outwards(mount) {
            let order = if member <= start { Order::Before } else { Order::After };
            self.mount(mount, member, order);
        }
        self.say(line(Action::Unmount { src: Some(global(stay)), dst: root(&mount.path) }));
    }

    /// Compares what has been built of a mount point with what is wanted of it.
    fn has(&mut self, mount: &Mount, member: usize) -> Has {
        let comparable = |built: &&Mount| built.kind == mount.kind && !is_implied(built);
        let Some(built) = self.built.so_far().at(&mount.path).filter(comparable) else {
            return Has::Other;
        };
        let built = &built.members;
        let wanted = &mount.members;
        let alike = |from: usize| {
            let Some(wanted) = wanted.get(from..from + built.len()) else { return false };
            wanted.iter().zip(built).all(|(w, b)| {
                same(w, b)
                    && (mount.members.len() == 1 || w.create == b.create)
                    && (built.len() == 1 || w.base == b.base)
            })
        };
        let start = start(mount);
        let around = |from: &usize| (*from..from + built.len()).contains(&start) && alike(*from);
        match (0..wanted.len()).find(around) {
            None => Has::Other,
            Some(from) if (from..from + built.len()).contains(&member) => Has::It,
            Some(from) if member + 1 == from => Has::Neighbours(Order::Before),
            Some(from) if member == from + built.len() => Has::Neighbours(Order::After),
            Some(_) => Has::Other,
        }
    }

    /// Whether a union's base is what its place shows without it.
    fn stands(&mut self, mount: &Mount, base: usize) -> bool {
        let base = &mount.members[base];
        let Source::Host(host) = &base.source;
        let here = self.built.underneath(&mount.path);
        here.is_some_and(|(at, read_only)| at == *host && read_only == base.read_only)
            && !base.create
    }

    /// Prints what mounts one member.
    fn mount(&mut self, mount: &Mount, member: usize, order: Order) {
        let member = &mount.members[member];
        let Source::Host(host) = &member.source;
        let dst = root(&mount.path);
        let alone = order == Order::Replace;
        let action = match &member.rule.verb {
            Verb::Private if alone => {
                self.show_original(mount, member);
                Action::Private(dst)
            }
            Verb::Instance(rule) if alone => Action::Instance { rule: rule.clone(), dir: dst },
            Verb::Symlink(target) => Action::Symlink { target: target.clone(), dst },
            _ if in_skeleton(self.want, member) => {
                if alone && self.built.is_free(&mount.path) {
                    Action::Dir(dst)
                } else {
                    return self.mount_empty(mount, member, order);
                }
            }
            Verb::Mount => self.server(host, dst),
            _ => match (self.source(host, read_only(member), &mount.path), remote::split(host)) {
                (Some(src), _) => Action::Bind { src, dst },
                (None, None) => Action::Bind { src: global(host), dst },
                (None, Some((_, b""))) => self.server(host, dst),
                (None, Some((_, rest))) => return self.mount_below(mount, member, order, rest),
            },
        };
        self.say_mount(mount, member, order, action);
    }

    fn say_mount(&mut self, mount: &Mount, member: &Member, order: Order, action: Action) {
        let mut line = Line::new(action, &member.rule.origin);
        if let Action::Bind { .. } | Action::Mount { .. } = line.action {
            line.order = order;
            line.read_only = read_only(member);
            line.create = member.create;
        }
        if !self.say(line) {
            // Its source has gone, say: printed all the same.
            self.assume(mount, member, order);
        }
        let here = self.built.so_far().at(&mount.path);
        let is = |m: &Member| m.source == member.source;
        self.astray |= !here.is_some_and(|here| here.members.iter().any(is));
        self.drop_extra(mount);
    }

    /// Takes a member as mounted for what follows.
    fn assume(&mut self, mount: &Mount, member: &Member, order: Order) {
        let (path, kind) = (&mount.path, mount.kind);
        match order {
            Order::Replace => self.built.table().cover(path, kind, alloc::vec![member.clone()]),
            _ => drop(self.built.table().place(path, kind, order, member.clone(), None)),
        }
    }

    /// Makes the place of an instance show the original, as `private` expects.
    fn show_original(&mut self, mount: &Mount, member: &Member) {
        let Source::Host(host) = &member.source;
        let dst = root(&mount.path);
        let Some(original) = instance::original(host) else { return };
        if self.built.shows(&dst).is_none_or(|shows| shows.host != original) {
            let src = self.source(original, false, &mount.path);
            let src = src.unwrap_or_else(|| global(original));
            self.say(Line::new(Action::Bind { src, dst }, &member.rule.origin));
        }
    }

    /// Mounts a directory of the skeleton where `dir` would find one already:
    /// by way of a name that is free.
    fn mount_empty(&mut self, mount: &Mount, member: &Member, order: Order) {
        let via = b"/.privns-empty".to_vec();
        let line = |action| Line::new(action, &member.rule.origin);
        let bind = Action::Bind { src: via.clone(), dst: root(&mount.path) };
        let bind = Line { order, create: member.create, read_only: true, ..line(bind) };
        let unmount = line(Action::Unmount { src: None, dst: via.clone() });
        self.lines.extend([line(Action::Dir(via)), bind]);
        // At the root it has covered that name as well.
        if !(mount.path.is_empty() && order == Order::Replace) {
            self.lines.push(unmount);
        }
        self.assume(mount, member, order);
    }

    /// How a host path is named that is to be bound at `dst`: plainly where that
    /// leads to it and brings along what is wanted there.
    fn source(&self, host: &[u8], read_only: bool, dst: &[u8]) -> Option<Vec<u8>> {
        let leads = |name: &Vec<u8>| {
            self.built.shows(name).is_some_and(|shows| {
                shows.host == host
                    && (read_only || !shows.read_only)
                    && self.brings(&shows.below, read_only, dst)
            })
        };
        let own = (!remote::is_remote(host)).then(|| host.to_vec());
        let names = self.built.name_of(host).into_iter().chain(own);
        names.map(|name| root(&name)).find(leads)
    }

    /// What mounts the server of a remote file at `dst`.
    fn server(&self, host: &[u8], dst: Vec<u8>) -> Action {
        let server = self.want.server_of(host).cloned().unwrap_or_default();
        self.server.set(server.id);
        Action::Mount { address: server.address, dst, options: server.options }
    }

    /// Mounts a remote directory that no name leads to, the root of its tree
    /// being gone: by way of a name that is free.
    fn mount_below(&mut self, mount: &Mount, member: &Member, order: Order, rest: &[u8]) {
        const VIA: &[u8] = b"/.privns-server";
        let Source::Host(host) = &member.source;
        let line = |action| Line::new(action, &member.rule.origin);
        let bind = Action::Bind { src: [VIA, rest].concat(), dst: root(&mount.path) };
        let read_only = read_only(member);
        let bind = Line { order, create: member.create, read_only, ..line(bind) };
        let server = line(self.server(host, VIA.to_vec()));
        self.lines.extend([server, bind]);
        if !(mount.path.is_empty() && order == Order::Replace) {
            self.lines.push(line(Action::Unmount { src: None, dst: VIA.to_vec() }));
        }
        self.assume(mount, member, order);
        self.drop_extra(mount);
    }

    /// Whether mount points that would come along are as wanted, or at least
    /// one is and the others are not wanted at all.
    fn brings(&self, along: &[Mount], made_read_only: bool, dst: &[u8]) -> bool {
        let mut some = along.is_empty();
        along.iter().all(|brought| {
            let want = self.want.at(&[dst, &brought.path].concat());
            let Some(want) = want.filter(|want| !is_implied(want)) else { return true };
            some = true;
            let alone = want.members.len() == 1;
            let same = |(want, brought): (&Member, &Member)| {
                want.source == brought.source
                    && read_only(want) == (read_only(brought) || made_read_only)
                    && (alone || (want.create == brought.create && want.base == brought.base))
            };
            want.members.len() == brought.members.len()
                && want.members.iter().zip(&brought.members).all(same)
        }) && some
    }

    /// Unmounts what came along and is not wanted.
    fn drop_extra(&mut self, mount: &Mount) {
        loop {
            let want = self.want;
            let extra = |m: &&Mount| !is_implied(m) && want.at(&m.path).is_none_or(is_implied);
            let found = self.built.so_far().below(&mount.path).find(extra).map(|m| m.path.clone());
            let Some(path) = found else { return };
            let origin = &mount.members[0].rule.origin;
            if !self.say(Line::new(Action::Unmount { src: None, dst: root(&path) }, origin)) {
                return;
            }
        }
    }

    /// Adds a line and acts on it; false when that fails.
    fn say(&mut self, line: Line) -> bool {
        let done = self.built.act(&line).is_ok();
        self.lines.push(line);
        done
    }
}

/// Whether two members serve the same.
fn same(a: &Member, b: &Member) -> bool {
    a.source == b.source && read_only(a) == read_only(b)
}

fn read_only(member: &Member) -> bool {
    member.read_only || member.rule.verb.is_skeleton()
}

/// A canonical name as it is written: the root is `/`.
fn root(name: &[u8]) -> Vec<u8> {
    if name.is_empty() { b"/".to_vec() } else { name.to_vec() }
}

fn global(host: &[u8]) -> Vec<u8> {
    [&b"host!"[..], &root(host)].concat()
}

#[cfg(test)]
#[path = "print_tests.rs"]
pub(crate) mod tests;
