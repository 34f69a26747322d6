//! The mount table as the namespace has it, in the forms that the kernel gives
//! its own in (proc(5): `/proc/PID/mountinfo`, `/proc/PID/mounts`).
//!
//! Made from the host's: a host mount is shown where the namespace shows it,
//! and each of our mount points has a line as if the kernel had bound it
//! there. What is only there to be mounted upon has none.

use crate::remote::attrs::device;
use alloc::borrow::Cow;
use alloc::vec::Vec;
use privns_abi::path;
use privns_namespace::index::{Index, MemberRef, MountRef};
use privns_namespace::remote;

/// A form that the kernel gives the table in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `/proc/PID/mounts`, as in fstab(5).
    Mounts,
    /// `/proc/PID/mountinfo`.
    MountInfo,
}

/// One mount. What is a slice is the host's text as it was, escapes and all.
#[derive(Clone)]
struct Line<'a> {
    id: u32,
    parent: u32,
    device: Cow<'a, [u8]>,
    /// The directory of the file system that is shown, as bytes.
    root: Vec<u8>,
    /// Where it is shown: a canonical name, empty for the root.
    place: Vec<u8>,
    read_only: bool,
    /// The mount's options, after `rw` or `ro`.
    options: &'a [u8],
    /// What is said of propagation.
    tags: &'a [u8],
    kind: &'a [u8],
    source: Cow<'a, [u8]>,
    /// The file system's options.
    wide: Cow<'a, [u8]>,
}

/// What the namespace shows, made from the host's mountinfo.
///
/// `root` is the canonical name of the process's root. `leads` says whether a
/// name of the namespace leads to a host name; it is asked of host mounts
/// below the members of a union, which an earlier member may cover.
#[must_use]
pub fn table(
    host: &[u8],
    index: Index<'_>,
    root: &[u8],
    form: Form,
    leads: &dyn Fn(&[u8], &[u8]) -> bool,
) -> Vec<u8> {
    let host: Vec<Line<'_>> = host.split(|&b| b == b'\n').filter_map(Line::parse).collect();
    let mut lines: Vec<Line<'_>> = host
        .iter()
        .filter(|l| index.find(&l.place).mount.is_none() && !index.is_cleared())
        .cloned()
        .collect();
    let kept = lines.len();
    let seen = visible(&host);
    let last = host.iter().map(|l| l.id).max().unwrap_or(0);
    let members = || index.all().flat_map(MountRef::members).filter(|m| !m.is_skeleton());
    let mut next = last + members().map(MemberRef::seq).max().unwrap_or(0);
    for mount in index.all() {
        let first = mount.first();
        if !first.is_skeleton() {
            lines.extend(match remote::split(first.host()) {
                Some((id, rest)) => served(index, first, id, rest, last + first.seq()),
                None => bound(&seen, first, last + first.seq()),
            });
        }
        for member in mount.members().filter(|m| !m.is_skeleton()) {
            lines.extend(below(&seen, member, index, leads, &mut next));
        }
    }
    for at in kept..lines.len() {
        lines[at].parent = parent(&lines, at);
    }
    let mut text = Vec::new();
    for line in lines.iter().filter(|l| path::is_within(&l.place, root)) {
        line.write(&line.place[root.len()..], form, &mut text);
    }
    text
}

/// The host's mounts that no other covers: one at or above a place covers what
/// does not stand on it.
fn visible<'a, 'b>(host: &'b [Line<'a>]) -> Vec<&'b Line<'a>> {
    let stands_on = |mut id: u32, base: u32| {
        for _ in 0..host.len() {
            if id == base {
                return true;
            }
            let Some(line) = host.iter().find(|l| l.id == id) else { break };
            id = line.parent;
        }
        false
    };
    let covers = |by: &Line<'_>, line: &Line<'_>| {
        path::is_within(&line.place, &by.place) && !stands_on(line.id, by.id)
    };
    host.iter().filter(|line| !host.iter().any(|by| covers(by, line))).collect()
}

/// The line of a member that is shown at its mount point.
fn bound<'a>(host: &[&Line<'a>], member: MemberRef<'_>, id: u32) -> Option<Line<'a>> {
    let holds = host.iter().filter(|l| path::is_within(member.host(), &l.place));
    let mut line = (*holds.max_by_key(|l| l.place.len())?).clone();
    let rest = &member.host()[line.place.len()..];
    if line.root == b"/" && !rest.is_empty() {
        line.root.clear();
    }
    line.root.extend_from_slice(rest);
    line.id = id;
    line.place = member.mount().path().to_vec();
    line.read_only |= member.is_read_only();
    line.tags = b"";
    Some(line)
}

/// The line of a member that a 9P server has, as the kernel's own client would
/// have one; its programs gain no rights there and its devices are none.
fn served<'a>(
    index: Index<'_>,
    member: MemberRef<'_>,
    server: u32,
    rest: &[u8],
    id: u32,
) -> Option<Line<'a>> {
    let server = index.server(server)?;
    let device = device(server.id());
    let device = alloc::format!("{}:{}", libc::major(device), libc::minor(device)).into_bytes();
    let mut source = Vec::new();
    escape(server.address(), &mut source);
    let transport: &[u8] = if server.dial().starts_with(b"tcp!") { b"tcp" } else { b"unix" };
    let mut wide = [b"rw,trans=", transport].concat();
    if !server.aname().is_empty() {
        wide.extend_from_slice(b",aname=");
        escape(server.aname(), &mut wide);
    }
    Some(Line {
        id,
        parent: 0,
        device: device.into(),
        root: if rest.is_empty() { b"/".to_vec() } else { rest.to_vec() },
        place: member.mount().path().to_vec(),
        read_only: member.is_read_only(),
        options: b",nosuid,nodev",
        tags: b"",
        kind: b"9p",
        source: source.into(),
        wide: wide.into(),
    })
}

/// The host's mounts that a member shows below its mount point.
fn below<'a>(
    host: &[&Line<'a>],
    member: MemberRef<'_>,
    index: Index<'_>,
    leads: &dyn Fn(&[u8], &[u8]) -> bool,
    next: &mut u32,
) -> Vec<Line<'a>> {
    let top = member.mount();
    let shown = host.iter().filter_map(|line| {
        let rest = path::below(&line.place, member.host()).filter(|rest| !rest.is_empty())?;
        let place = [top.path(), b"/", rest].concat();
        let mount = index.find(&place).mount?;
        let reached = mount.path() == top.path();
        if !reached || top.is_union() && !leads(&place, &line.place) {
            return None;
        }
        *next += 1;
        let read_only = line.read_only || member.is_read_only();
        Some(Line { id: *next, place, read_only, tags: b"", ..(*line).clone() })
    });
    shown.collect()
}

/// The mount that a line's place lies in; for the root's the one that the
/// kernel gives to its own.
fn parent(lines: &[Line<'_>], at: usize) -> u32 {
    let line = &lines[at];
    let outer = lines
        .iter()
        .filter(|l| l.place.len() < line.place.len() && path::is_within(&line.place, &l.place));
    // Of several at one place the last covers the others.
    outer.max_by_key(|l| l.place.len()).map_or(1, |l| l.id)
}

impl<'a> Line<'a> {
    /// Reads a line of mountinfo: `ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS
    /// [TAG…] - TYPE SOURCE OPTIONS`.
    fn parse(text: &'a [u8]) -> Option<Line<'a>> {
        let dash = text.windows(3).position(|w| w == b" - ")?;
        let (left, right) = (&text[..dash], &text[dash + 3..]);
        let mut left = left.splitn(7, |&b| b == b' ');
        let mut number = || core::str::from_utf8(left.next()?).ok()?.parse().ok();
        let (id, parent) = (number()?, number()?);
        let device = left.next()?.into();
        let root = unescaped(left.next()?);
        let mut place = unescaped(left.next()?);
        if place == b"/" {
            place.clear();
        }
        let options = left.next()?;
        let tags = left.next().unwrap_or_default();
        let mut right = right.splitn(3, |&b| b == b' ');
        let (kind, source, wide) = (right.next()?, right.next()?.into(), right.next()?.into());
        let (read_only, options) = writing(options);
        Some(Line { id, parent, device, root, place, read_only, options, tags, kind, source, wide })
    }

    fn write(&self, place: &[u8], form: Form, out: &mut Vec<u8>) {
        let place = if place.is_empty() { b"/" } else { place };
        match form {
            Form::MountInfo => {
                let ids = alloc::format!("{} {} ", self.id, self.parent);
                out.extend_from_slice(ids.as_bytes());
                out.extend_from_slice(&self.device);
                out.push(b' ');
                escape(&self.root, out);
                out.push(b' ');
                escape(place, out);
                let mode: &[u8] = if self.read_only { b" ro" } else { b" rw" };
                let gap: &[u8] = if self.tags.is_empty() { b"" } else { b" " };
                let rest = [mode, self.options, gap, self.tags, b" - ", self.kind];
                rest.iter().for_each(|part| out.extend_from_slice(part));
                [&b" "[..], &self.source, b" ", &self.wide, b"\n"]
                    .iter()
                    .for_each(|part| out.extend_from_slice(part));
            }
            Form::Mounts => {
                out.extend_from_slice(&self.source);
                out.push(b' ');
                escape(place, out);
                out.push(b' ');
                out.extend_from_slice(self.kind);
                let (wide_ro, wide) = writing(&self.wide);
                let ro = self.read_only || wide_ro;
                out.extend_from_slice(if ro { b" ro" } else { b" rw" });
                // The kernel gives what holds for all of a file system, then
                // the mount's own, then what the file system says of itself.
                let (flags, own) = cut_flags(wide);
                [flags, self.options, own, b" 0 0\n"]
                    .iter()
                    .for_each(|part| out.extend_from_slice(part));
            }
        }
    }
}

/// Options without the `rw` or `ro` that they begin with, and whether it was
/// `ro`.
fn writing(options: &[u8]) -> (bool, &[u8]) {
    let rest = options.strip_prefix(b"rw").or_else(|| options.strip_prefix(b"ro"));
    match rest.filter(|r| r.is_empty() || r[0] == b',') {
        Some(rest) => (options.starts_with(b"ro"), rest),
        None => (false, options),
    }
}

/// Cuts `,OPTION…` behind the options that the kernel itself or its security
/// module gives.
fn cut_flags(options: &[u8]) -> (&[u8], &[u8]) {
    const FLAGS: [&[u8]; 5] = [b"sync", b"dirsync", b"mand", b"lazytime", b"seclabel"];
    const LABELS: [&[u8]; 4] = [b"context=", b"fscontext=", b"defcontext=", b"rootcontext="];
    let mut at = 0;
    while let Some(rest) = options.get(at..).and_then(|o| o.strip_prefix(b",")) {
        let end = rest.iter().position(|&b| b == b',').unwrap_or(rest.len());
        let one = &rest[..end];
        if !FLAGS.contains(&one) && !LABELS.iter().any(|l| one.starts_with(l)) {
            break;
        }
        at += 1 + end;
    }
    options.split_at(at)
}

/// Writes a name with blanks, tabs, newlines and backslashes as the kernel
/// does: in octal.
fn escape(name: &[u8], out: &mut Vec<u8>) {
    for &b in name {
        if matches!(b, b' ' | b'\t' | b'\n' | b'\\') {
            out.push(b'\\');
            out.extend([b >> 6, b >> 3 & 7, b & 7].map(|digit| b'0' + digit));
        } else {
            out.push(b);
        }
    }
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&b) = text.get(at) {
        at += 1;
        match text.get(at..at + 3) {
            Some(d) if b == b'\\' && d.iter().all(|d| (b'0'..=b'7').contains(d)) => {
                let value = d.iter().fold(0u32, |n, d| n << 3 | u32::from(d - b'0'));
                name.push(value as u8);
                at += 3;
            }
            _ => name.push(b),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use privns_namespace::file::MountOptions;
    use privns_namespace::{Kind, Order, Rule, Server, Source, Table, Verb, index};
    use std::string::String;

    const HOST: &[u8] = b"20 25 0:5 / /dev rw,nosuid - devtmpfs udev rw,size=4k\n\
        21 20 0:6 / /dev/shm rw shared:3 - tmpfs tmpfs rw\n\
        25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n\
        26 25 0:9 /sub /a\\040b/c ro,relatime - btrfs /dev/vdb rw,sync,space_cache\n";

    fn shown(binds: &[(&str, &str, bool)], cleared: bool, root: &str, form: Form) -> String {
        let mut table = Table::new();
        table.cleared = cleared;
        let (address, dial) = (b"exec!a b".to_vec(), b"unix!/run/s".to_vec());
        let options = MountOptions { aname: b"t".to_vec(), ..MountOptions::default() };
        table.add_server(Server { id: 1, address, dial, options, ..Server::default() });
        for &(src, dst, read_only) in binds {
            let rule = Rule { verb: Verb::Bind, origin: Vec::new() };
            let mut member = table.member(Source::Host(src.as_bytes().to_vec()), rule);
            member.read_only = read_only;
            table.place(dst.as_bytes(), Kind::Dir, Order::Replace, member, None).unwrap();
        }
        let bytes = index::encode(&table);
        let index = Index::parse(&bytes).unwrap();
        let text = super::table(HOST, index, root.as_bytes(), form, &|_, _| true);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn without_mounts_it_is_the_hosts_own() {
        assert_eq!(shown(&[], false, "", Form::MountInfo).as_bytes(), HOST);
        let mounts = shown(&[], false, "", Form::Mounts);
        assert!(mounts.starts_with("udev /dev devtmpfs rw,nosuid,size=4k 0 0\ntmpfs /dev/shm"));
        assert!(mounts.contains("/dev/vdb /a\\040b/c btrfs ro,sync,relatime,space_cache 0 0\n"));
    }

    #[test]
    fn a_bind_shows_the_file_system_and_what_lies_below() {
        let text = shown(&[("/a b", "/dev", true)], false, "", Form::MountInfo);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard",
                "26 25 0:9 /sub /a\\040b/c ro,relatime - btrfs /dev/vdb rw,sync,space_cache",
                "27 25 254:0 /a\\040b /dev ro,relatime - ext4 /dev/vda rw,discard",
                "28 27 0:9 /sub /dev/c ro,relatime - btrfs /dev/vdb rw,sync,space_cache",
            ]
        );
    }

    #[test]
    fn a_bind_within_a_mount_has_its_directory_for_a_root() {
        let text = shown(&[("/a b/c/d", "/x", false)], false, "", Form::MountInfo);
        assert!(
            text.ends_with(
                "27 25 0:9 /sub/d /x ro,relatime - btrfs /dev/vdb rw,sync,space_cache\n"
            )
        );
    }

    #[test]
    fn a_servers_tree_is_shown_as_the_kernel_would() {
        let binds = [("/dev/null/9p/1", "/x y", false), ("/dev/null/9p/1/sub", "/dev/s", true)];
        let text = shown(&binds, false, "", Form::Mounts);
        assert!(text.contains("exec!a\\040b /x\\040y 9p rw,nosuid,nodev,trans=unix,aname=t 0 0\n"));
        let text = shown(&binds, false, "", Form::MountInfo);
        let line =
            "20 0:589825 /sub /dev/s ro,nosuid,nodev - 9p exec!a\\040b rw,trans=unix,aname=t\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn after_clear_only_what_was_mounted_is_there() {
        let text = shown(&[("/usr", "/usr", false)], true, "", Form::Mounts);
        assert_eq!(text, "/dev/vda /usr ext4 rw,relatime,discard 0 0\n");
    }

    #[test]
    fn a_root_hides_what_lies_outside() {
        let text = shown(&[("/usr", "/dev/shm/x", false)], false, "/dev", Form::Mounts);
        let places: Vec<&str> = text.lines().map(|l| l.split(' ').nth(1).unwrap()).collect();
        assert_eq!(places, ["/", "/shm", "/shm/x"]);
    }

    #[test]
    fn what_another_mount_covers_is_not_shown_again() {
        let host = [HOST, b"27 20 0:10 / /dev rw - tmpfs new rw\n"].concat();
        let lines: Vec<_> = host.split(|&b| b == b'\n').filter_map(Line::parse).collect();
        let ids: Vec<u32> = visible(&lines).iter().map(|l| l.id).collect();
        assert_eq!(ids, [25, 26, 27]);
    }

    #[test]
    fn lines_that_are_none_are_passed_over() {
        for text in ["", "1", "1 2 3:4 / /x rw", "x 2 3:4 / /x rw - a b c", "1 2 3:4 / /x - a b"] {
            assert!(Line::parse(text.as_bytes()).is_none(), "{text}");
        }
        assert_eq!(unescaped(b"a\\040b\\\\134\\9"), b"a b\\\\\\9");
    }
}
