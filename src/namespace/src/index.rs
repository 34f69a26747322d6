//! The mount table laid out flat: what every process of a family looks names
//! up in, in place, without decoding it.
//!
//! Layout, 32-bit words in the machine's order (the index never leaves it):
//! a header `magic, mounts, members, cleared, servers`, then the mounts in order,
//! then the members, then the servers, then the text that all point into. [`Index::parse`] checks every
//! offset once, so that lookups cannot leave the buffer.

use crate::file::{Cache, Dialect, MountOptions, Owner};
use crate::table::{Source, Table, Verb, order};
use alloc::vec::Vec;
use core::cmp::Ordering;
use privns_abi::{Errno, Result, path};

const MAGIC: u32 = 0x5052_4e32;
const HEADER: usize = 5;
/// Words of a mount: path offset, path length, kind, enclosing mount, first
/// member, number of members, whether mounts lie below.
const MOUNT: usize = 7;
/// Words of a member: source offset, source length, flags, seq, mount.
const MEMBER: usize = 5;
/// Words of a server: number, whether a member comes from it, then offset and
/// length of address, dialled address, user and tree, then msize, dialect, cache,
/// timeout, window and owner, 0 for a default.
const SERVER: usize = 16;
const NONE: u32 = u32::MAX;

const READ_ONLY: u32 = 1;
const CREATE: u32 = 2;
const BASE: u32 = 4;
const SKELETON: u32 = 8;
const DERIVED: u32 = 16;

/// A parsed index.
#[derive(Clone, Copy)]
pub struct Index<'a> {
    words: &'a [u8],
    text: &'a [u8],
    mounts: u32,
    members: u32,
    servers: u32,
    cleared: bool,
}

/// A mount point in an index.
#[derive(Clone, Copy)]
pub struct MountRef<'a> {
    index: Index<'a>,
    at: u32,
}

/// A member in an index.
#[derive(Clone, Copy)]
pub struct MemberRef<'a> {
    index: Index<'a>,
    at: u32,
}

/// A 9P server in an index.
#[derive(Clone, Copy)]
pub struct ServerRef<'a> {
    index: Index<'a>,
    at: u32,
}

/// Where a name lies, as far as the table alone can tell.
#[derive(Clone, Copy)]
pub struct Found<'a> {
    /// The innermost mount point at or above the name; `None` for a name that
    /// the global namespace serves.
    pub mount: Option<MountRef<'a>>,
    /// Mount points lie strictly below the name.
    pub mounts_below: bool,
}

/// Lays a table out.
#[must_use]
pub fn encode(table: &Table) -> Vec<u8> {
    let (mut mounts, mut members, mut text) = (Vec::new(), Vec::new(), Vec::new());
    let mut add = |bytes: &[u8]| {
        let at = text.len() as u32;
        text.extend_from_slice(bytes);
        [at, bytes.len() as u32]
    };
    let mut outer: Vec<usize> = Vec::new();
    for (i, mount) in table.mounts().iter().enumerate() {
        while outer.last().is_some_and(|&o| !path::is_within(&mount.path, &table.mounts()[o].path))
        {
            outer.pop();
        }
        let kind = mount.kind.dt_type();
        // The first mount point below one comes right behind it.
        let next = table.mounts().get(i + 1);
        let below = next.is_some_and(|next| path::is_within(&next.path, &mount.path));
        mounts.extend(add(&mount.path));
        mounts.extend([kind.into(), outer.last().map_or(NONE, |&o| o as u32)]);
        mounts.extend([(members.len() / MEMBER) as u32, mount.members.len() as u32, below.into()]);
        outer.push(i);
        for member in &mount.members {
            let Source::Host(host) = &member.source;
            let mut flags = 0;
            let skeleton = member.rule.verb.is_skeleton();
            for (is, flag) in [
                (member.read_only, READ_ONLY),
                (member.create, CREATE),
                (member.base, BASE),
                (skeleton, SKELETON),
                (member.rule.verb == Verb::Derived, DERIVED),
            ] {
                flags |= if is { flag } else { 0 };
            }
            members.extend(add(host));
            members.extend([flags, member.seq, i as u32]);
        }
    }
    let mut servers = Vec::new();
    for server in table.servers() {
        servers.extend([server.id, table.is_mounted(server.id).into()]);
        let MountOptions { aname, msize, dialect, cache, timeout, window, owner, .. } =
            &server.options;
        for bytes in [&server.address, &server.dial, &server.user, aname] {
            servers.extend(add(bytes));
        }
        let dialect = dialect.map_or(0, |dialect| dialect as u32 + 1);
        let number = |option: &Option<u32>| option.unwrap_or(0);
        servers.extend([number(msize), dialect, *cache as u32, number(timeout)]);
        servers.extend([number(window), *owner as u32]);
    }
    let counts = [mounts.len() / MOUNT, members.len() / MEMBER, servers.len() / SERVER];
    let [mount_count, member_count, server_count] = counts.map(|n| n as u32);
    let header = [MAGIC, mount_count, member_count, table.cleared.into(), server_count];
    let words = header.len() + mounts.len() + members.len() + servers.len();
    let mut bytes = Vec::with_capacity(words * 4 + text.len());
    for word in header.iter().chain(&mounts).chain(&members).chain(&servers) {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    bytes.extend_from_slice(&text);
    bytes
}

impl<'a> Index<'a> {
    /// The index of a namespace without mount points.
    pub const EMPTY: Index<'static> =
        Index { words: &[], text: &[], mounts: 0, members: 0, servers: 0, cleared: false };

    /// Checks an index and gives it.
    ///
    /// # Errors
    /// EBADMSG for bytes that [`encode`] cannot have made.
    pub fn parse(bytes: &'a [u8]) -> Result<Index<'a>> {
        let index = Index::split(bytes)?;
        index.check().ok_or(Errno::EBADMSG)?;
        Ok(index)
    }

    /// The same for bytes that [`parse`](Self::parse) has already checked:
    /// costs nothing per mount. Unchecked bytes give wrong names, nothing
    /// worse.
    ///
    /// # Errors
    /// EBADMSG when the header cannot be right.
    #[inline]
    pub fn split(bytes: &'a [u8]) -> Result<Index<'a>> {
        let header = Index { words: bytes, ..Index::EMPTY };
        let bad = || Errno::EBADMSG;
        if bytes.len() < HEADER * 4 || header.word(0) != MAGIC {
            return Err(bad());
        }
        let (mounts, members, servers) = (header.word(1), header.word(2), header.word(4));
        let words = (mounts as usize)
            .checked_mul(MOUNT)
            .and_then(|w| w.checked_add((members as usize).checked_mul(MEMBER)? + HEADER))
            .and_then(|w| w.checked_add((servers as usize).checked_mul(SERVER)?))
            .and_then(|w| w.checked_mul(4))
            .ok_or_else(bad)?;
        let (words, text) = bytes.split_at_checked(words).ok_or_else(bad)?;
        Ok(Index { words, text, mounts, members, servers, cleared: header.word(3) != 0 })
    }

    fn check(self) -> Option<()> {
        let text = |at: u32, len: u32| {
            self.text.get(at as usize..(at as usize).checked_add(len as usize)?).map(drop)
        };
        for i in 0..self.mounts {
            let m = MountRef { index: self, at: i };
            text(m.word(0), m.word(1))?;
            // Enclosing mounts come earlier, so that walking up ends.
            (m.word(3) == NONE || m.word(3) < i).then_some(())?;
            let end = m.word(4).checked_add(m.word(5))?;
            (m.word(5) > 0 && end <= self.members).then_some(())?;
        }
        for i in 0..self.members {
            let m = MemberRef { index: self, at: i };
            text(m.word(0), m.word(1))?;
            (m.word(4) < self.mounts).then_some(())?;
        }
        for s in self.servers() {
            for part in 0..4 {
                text(s.word(2 + 2 * part), s.word(3 + 2 * part))?;
            }
        }
        Some(())
    }

    #[inline]
    fn word(self, at: usize) -> u32 {
        match self.words.get(at * 4..at * 4 + 4) {
            Some(bytes) => u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            None => 0,
        }
    }

    fn text(self, at: u32, len: u32) -> &'a [u8] {
        self.text.get(at as usize..at as usize + len as usize).unwrap_or_default()
    }

    /// Whether there is no mount point at all, and the global namespace.
    #[must_use]
    pub fn is_global(self) -> bool {
        self.mounts == 0 && !self.cleared
    }

    /// Whether names outside every mount point are not there.
    #[must_use]
    pub fn is_cleared(self) -> bool {
        self.cleared
    }

    /// Whether something else than the host is shown at a directory. By its name
    /// alone: a link that leads into a moved place is found at the place.
    #[must_use]
    pub fn moves(self, dir: &[u8]) -> bool {
        if dir.first() != Some(&b'/') {
            return false;
        }
        let dir = dir.strip_suffix(b"/").unwrap_or(dir);
        let Some(mount) = self.find(dir).mount else { return false };
        let rest = dir.get(mount.path().len()..).unwrap_or_default();
        mount.members().any(|member| {
            let host = member.host();
            let same = dir.starts_with(host) && dir.ends_with(rest);
            !(same && host.len() + rest.len() == dir.len())
        })
    }

    /// Finds where a canonical name lies.
    #[must_use]
    pub fn find(self, name: &[u8]) -> Found<'a> {
        let Found { mut mount, mounts_below } = self.up_to(name);
        // The last mount not after the name, or one that encloses it.
        while let Some(m) = mount {
            if path::is_within(name, m.path()) {
                break;
            }
            mount = m.enclosing();
        }
        Found { mount, mounts_below }
    }

    /// The mount point at exactly a canonical name.
    #[must_use]
    pub fn at(self, name: &[u8]) -> Found<'a> {
        let Found { mount, mounts_below } = self.up_to(name);
        Found { mount: mount.filter(|mount| mount.path() == name), mounts_below }
    }

    /// The last mount point that does not come after a name.
    #[inline]
    fn up_to(self, name: &[u8]) -> Found<'a> {
        let (mut lo, mut hi) = (0, self.mounts);
        while lo < hi {
            let mid = lo + (hi - lo) / 2;
            match order(self.mount(mid).path(), name) {
                Ordering::Greater => hi = mid,
                _ => lo = mid + 1,
            }
        }
        let mounts_below = lo < self.mounts && path::is_within(self.mount(lo).path(), name);
        Found { mount: lo.checked_sub(1).map(|at| self.mount(at)), mounts_below }
    }

    /// The mount points directly below a canonical name: their last components
    /// and `DT_*` types.
    pub fn children(self, name: &[u8]) -> impl Iterator<Item = (&'a [u8], u8)> {
        self.all().filter_map(move |m| {
            let rest = path::below(m.path(), name)?;
            (!rest.is_empty() && !rest.contains(&b'/')).then(|| (rest, m.dt_type()))
        })
    }

    /// Every mount point, in order.
    pub fn all(self) -> impl Iterator<Item = MountRef<'a>> {
        (0..self.mounts).map(move |at| self.mount(at))
    }

    /// The member with this number, if it is still there.
    #[must_use]
    pub fn member(self, seq: u32) -> Option<MemberRef<'a>> {
        (0..self.members).map(|at| MemberRef { index: self, at }).find(|m| m.seq() == seq)
    }

    /// The 9P servers that members come from, or have come from.
    pub fn servers(self) -> impl Iterator<Item = ServerRef<'a>> {
        (0..self.servers).map(move |at| ServerRef { index: self, at })
    }

    /// The 9P server of this number, if it is still known.
    #[must_use]
    pub fn server(self, id: u32) -> Option<ServerRef<'a>> {
        self.servers().find(|server| server.id() == id)
    }

    fn mount(self, at: u32) -> MountRef<'a> {
        MountRef { index: self, at }
    }
}

impl<'a> MountRef<'a> {
    #[inline]
    fn word(self, n: usize) -> u32 {
        self.index.word(HEADER + self.at as usize * MOUNT + n)
    }

    /// The place, a canonical name.
    #[must_use]
    pub fn path(self) -> &'a [u8] {
        self.index.text(self.word(0), self.word(1))
    }

    /// What a listing shows: `DT_DIR`, `DT_REG` or `DT_LNK`.
    #[must_use]
    pub fn dt_type(self) -> u8 {
        self.word(2) as u8
    }

    /// The next mount point outwards.
    #[must_use]
    pub fn enclosing(self) -> Option<MountRef<'a>> {
        (self.word(3) != NONE).then(|| self.index.mount(self.word(3)))
    }

    /// The members, in the order of lookup.
    pub fn members(self) -> impl Iterator<Item = MemberRef<'a>> + Clone {
        let (index, from, len) = (self.index, self.word(4), self.word(5));
        (from..from + len).map(move |at| MemberRef { index, at })
    }

    /// Whether it has more than one member.
    #[must_use]
    pub fn is_union(self) -> bool {
        self.word(5) > 1
    }

    /// The first member.
    #[must_use]
    pub fn first(self) -> MemberRef<'a> {
        MemberRef { index: self.index, at: self.word(4) }
    }

    /// The member that new files go to; `None`: EPERM.
    #[must_use]
    pub fn creator(self) -> Option<MemberRef<'a>> {
        if !self.is_union() {
            return Some(self.first());
        }
        let flagged = |flag| self.members().find(move |m| m.word(2) & flag != 0);
        flagged(CREATE).or_else(|| flagged(BASE))
    }
}

impl<'a> MemberRef<'a> {
    #[inline]
    fn word(self, n: usize) -> u32 {
        let mounts = self.index.mounts as usize;
        self.index.word(HEADER + mounts * MOUNT + self.at as usize * MEMBER + n)
    }

    /// The host path of its root, empty for the host's root.
    #[must_use]
    pub fn host(self) -> &'a [u8] {
        self.index.text(self.word(0), self.word(1))
    }

    /// Its number.
    #[must_use]
    pub fn seq(self) -> u32 {
        self.word(3)
    }

    /// EROFS for whatever would change a file. The skeleton is nobody's to
    /// change.
    #[must_use]
    pub fn is_read_only(self) -> bool {
        self.word(2) & (READ_ONLY | SKELETON) != 0
    }

    /// Only there to be mounted upon.
    #[must_use]
    pub fn is_skeleton(self) -> bool {
        self.word(2) & SKELETON != 0
    }

    /// The mount point that it is a member of.
    #[must_use]
    pub fn mount(self) -> MountRef<'a> {
        self.index.mount(self.word(4))
    }

    /// Where it stands among the members of its mount point.
    #[must_use]
    pub fn position(self) -> u32 {
        self.at - self.mount().word(4)
    }
}

impl<'a> ServerRef<'a> {
    fn word(self, n: usize) -> u32 {
        let (mounts, members) = (self.index.mounts as usize, self.index.members as usize);
        let before = HEADER + mounts * MOUNT + members * MEMBER;
        self.index.word(before + self.at as usize * SERVER + n)
    }

    fn text(self, part: usize) -> &'a [u8] {
        self.index.text(self.word(2 + 2 * part), self.word(3 + 2 * part))
    }

    fn number(self, n: usize) -> Option<u32> {
        Some(self.word(n)).filter(|&number| number != 0)
    }

    /// Its number, never 0.
    #[must_use]
    pub fn id(self) -> u32 {
        self.word(0)
    }

    /// Whether a member comes from it: else only files that are still open do.
    #[must_use]
    pub fn is_mounted(self) -> bool {
        self.word(1) != 0
    }

    /// The address that was asked for: what lists of mounts show.
    #[must_use]
    pub fn address(self) -> &'a [u8] {
        self.text(0)
    }

    /// The address to dial: `unix!PATH`, a host path, or `tcp!NUMBER!PORT`.
    #[must_use]
    pub fn dial(self) -> &'a [u8] {
        self.text(1)
    }

    /// Whom to attach as.
    #[must_use]
    pub fn user(self) -> &'a [u8] {
        self.text(2)
    }

    /// The tree to attach to; empty for the server's default.
    #[must_use]
    pub fn aname(self) -> &'a [u8] {
        self.text(3)
    }

    /// Largest whole message to ask for, bytes; `None` for the default.
    #[must_use]
    pub fn msize(self) -> Option<u32> {
        self.number(10)
    }

    /// The only dialect to offer; `None` for the best.
    #[must_use]
    pub fn dialect(self) -> Option<Dialect> {
        const ALL: [Dialect; 3] = [Dialect::Base, Dialect::Unix, Dialect::Linux];
        ALL.into_iter().find(|&dialect| dialect as u32 + 1 == self.word(11))
    }

    /// What may be answered from memory.
    #[must_use]
    pub fn cache(self) -> Cache {
        let all = [Cache::None, Cache::Loose];
        all.into_iter().find(|&cache| cache as u32 == self.word(12)).unwrap_or_default()
    }

    /// Seconds that a request may take; `None` for the default.
    #[must_use]
    pub fn timeout(self) -> Option<u32> {
        self.number(13)
    }

    /// Requests in flight at most; `None` for as many as delay and rate need.
    #[must_use]
    pub fn window(self) -> Option<u32> {
        self.number(14)
    }

    /// Whose the files are shown to be.
    #[must_use]
    pub fn owner(self) -> Owner {
        if self.word(15) == Owner::Me as u32 { Owner::Me } else { Owner::Served }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Kind, Order, Rule};

    fn table(binds: &[(&str, &str)]) -> Table {
        let mut table = Table::new();
        for (src, dst) in binds {
            let rule = Rule { verb: Verb::Bind, origin: Vec::new() };
            let member = table.member(Source::Host(src.as_bytes().to_vec()), rule);
            table.place(dst.as_bytes(), Kind::Dir, Order::Replace, member, None).unwrap();
        }
        table
    }

    #[test]
    fn a_directory_is_moved_when_another_is_shown_there() {
        let bytes =
            encode(&table(&[("/opt/tree/usr", "/usr"), ("/srv", "/srv"), ("/a", "/new/a")]));
        let index = Index::parse(&bytes).unwrap();
        for dir in [&b"/usr/lib"[..], b"/usr/", b"/new/a/lib"] {
            assert!(index.moves(dir), "{}", dir.escape_ascii());
        }
        // Shown at its own place, not covered, or not a whole name.
        for dir in [&b"/srv/lib"[..], b"/lib", b"/usrlib", b"lib", b"", b"$ORIGIN/lib"] {
            assert!(!index.moves(dir), "{}", dir.escape_ascii());
        }
    }

    #[test]
    fn finds_the_innermost_mount_and_what_lies_below() {
        let bytes = encode(&table(&[("/s", "/a"), ("/t", "/a/b"), ("/u", "/a-c/x")]));
        let index = Index::parse(&bytes).unwrap();
        let at = |name: &str| {
            let found = index.find(name.as_bytes());
            (found.mount.map(|m| m.path().to_vec()), found.mounts_below)
        };
        assert_eq!(at("/a/c"), (Some(b"/a".to_vec()), false));
        assert_eq!(at("/a"), (Some(b"/a".to_vec()), true));
        assert_eq!(at("/a/b/x/y"), (Some(b"/a/b".to_vec()), false));
        assert_eq!(at("/a-c"), (None, true));
        assert_eq!(at("/a-c/x"), (Some(b"/a-c/x".to_vec()), false));
        assert_eq!(at(""), (None, true));
        assert_eq!(at("/zzz"), (None, false));
        let children: Vec<_> = index.children(b"/a").collect();
        assert_eq!(children, [(&b"b"[..], libc::DT_DIR)]);
    }

    #[test]
    fn any_damage_is_refused_or_harmless() {
        let good = encode(&table(&[("/s", "/a"), ("/t", "/a/b")]));
        for at in 0..good.len() {
            assert!(Index::parse(&good[..at]).is_err() || at > 100);
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                if let Ok(index) = Index::parse(&bad) {
                    let found = index.find(b"/a/b/c");
                    let _ = found.mount.map(|m| m.members().map(|m| m.host().len()).sum::<usize>());
                }
            }
        }
    }
}
