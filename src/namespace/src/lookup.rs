//! What a walk asks of a mount table: of one that is laid out flat, as programs
//! have it ([`Index`]), or of one that is still being built ([`Table`]), which a
//! line changes and the next looks names up in.

use crate::index::{Index, MemberRef, MountRef};
use crate::table::{Member, Mount, Source, Table, order};
use core::cmp::Ordering;
use privns_abi::path;

/// A mount table, asked where names lie.
pub trait Mounts<'a>: Copy {
    /// One of its mount points.
    type Point: Point<'a>;

    /// The innermost mount point at or above a canonical name, and whether mount
    /// points lie strictly below the name.
    fn find(self, name: &[u8]) -> (Option<Self::Point>, bool);
    /// The same of a mount point at exactly this name.
    fn at(self, name: &[u8]) -> (Option<Self::Point>, bool);
    /// Whether names outside every mount point are not there.
    fn is_cleared(self) -> bool;
    /// Every mount point, in order.
    fn points(self) -> impl Iterator<Item = Self::Point>;
    /// The mount point that has the member of this number; none has 0.
    fn with(self, seq: u32) -> Option<Self::Point>;
}

/// A mount point.
pub trait Point<'a>: Copy {
    /// The place, a canonical name.
    fn path(self) -> &'a [u8];
    /// What a listing shows: `DT_DIR`, `DT_REG` or `DT_LNK`.
    fn dt_type(self) -> u8;
    /// The members, in the order of lookup; at least one.
    fn members(self) -> impl Iterator<Item = Served<'a>> + Clone;
    /// The first of them.
    fn first(self) -> Served<'a>;
    /// Whether it has more than one member.
    fn is_union(self) -> bool;
    /// The member that new files go to; `None`: EPERM.
    fn creator(self) -> Option<Served<'a>>;
}

/// What a walk asks of a member.
#[derive(Clone, Copy)]
pub struct Served<'a> {
    /// The host path of its root, empty for the host's root.
    pub host: &'a [u8],
    /// Its number.
    pub seq: u32,
    /// EROFS for whatever would change a file.
    pub read_only: bool,
    /// Only there to be mounted upon.
    pub skeleton: bool,
}

impl Served<'_> {
    /// No member: what the global namespace serves.
    pub(crate) const GLOBAL: Served<'static> =
        Served { host: b"", seq: 0, read_only: false, skeleton: false };
}

impl<'a> Mounts<'a> for Index<'a> {
    type Point = MountRef<'a>;

    #[inline]
    fn find(self, name: &[u8]) -> (Option<MountRef<'a>>, bool) {
        let found = Index::find(self, name);
        (found.mount, found.mounts_below)
    }
    #[inline]
    fn at(self, name: &[u8]) -> (Option<MountRef<'a>>, bool) {
        let found = Index::at(self, name);
        (found.mount, found.mounts_below)
    }
    fn is_cleared(self) -> bool {
        Index::is_cleared(self)
    }
    fn points(self) -> impl Iterator<Item = MountRef<'a>> {
        self.all()
    }
    fn with(self, seq: u32) -> Option<MountRef<'a>> {
        self.member(seq).map(|member| member.mount())
    }
}

impl<'a> Point<'a> for MountRef<'a> {
    #[inline]
    fn path(self) -> &'a [u8] {
        MountRef::path(self)
    }
    fn dt_type(self) -> u8 {
        MountRef::dt_type(self)
    }
    fn members(self) -> impl Iterator<Item = Served<'a>> + Clone {
        MountRef::members(self).map(Served::from)
    }
    fn first(self) -> Served<'a> {
        MountRef::first(self).into()
    }
    fn is_union(self) -> bool {
        MountRef::is_union(self)
    }
    fn creator(self) -> Option<Served<'a>> {
        MountRef::creator(self).map(Served::from)
    }
}

impl<'a> From<MemberRef<'a>> for Served<'a> {
    #[inline]
    fn from(member: MemberRef<'a>) -> Served<'a> {
        let (host, seq) = (member.host(), member.seq());
        let (read_only, skeleton) = (member.is_read_only(), member.is_skeleton());
        Served { host, seq, read_only, skeleton }
    }
}

impl Table {
    /// The last mount point that does not come after a name, and whether mount
    /// points lie strictly below the name.
    fn up_to(&self, name: &[u8]) -> (Option<&Mount>, bool) {
        let mounts = self.mounts();
        let after = mounts.partition_point(|m| order(&m.path, name) != Ordering::Greater);
        let below = mounts.get(after).is_some_and(|next| path::is_within(&next.path, name));
        (after.checked_sub(1).map(|at| &mounts[at]), below)
    }
}

impl<'a> Mounts<'a> for &'a Table {
    type Point = &'a Mount;

    fn find(self, name: &[u8]) -> (Option<&'a Mount>, bool) {
        let (last, below) = self.up_to(name);
        let Some(last) = last else { return (None, below) };
        if path::is_within(name, &last.path) {
            return (Some(last), below);
        }
        // What encloses the name comes before the last mount point that is not
        // behind it, and so encloses that one too.
        (self.covering(path::common(name, &last.path)), below)
    }
    fn at(self, name: &[u8]) -> (Option<&'a Mount>, bool) {
        let (last, below) = self.up_to(name);
        (last.filter(|last| last.path == name), below)
    }
    fn is_cleared(self) -> bool {
        self.cleared
    }
    fn points(self) -> impl Iterator<Item = &'a Mount> {
        self.mounts().iter()
    }
    fn with(self, seq: u32) -> Option<&'a Mount> {
        // A walk by text asks for 0, and there may be thousands to look at.
        let mut points = self.mounts().iter().filter(|_| seq != 0);
        points.find(|mount| mount.members.iter().any(|m| m.seq == seq))
    }
}

impl<'a> Point<'a> for &'a Mount {
    fn path(self) -> &'a [u8] {
        &self.path
    }
    fn dt_type(self) -> u8 {
        self.kind.dt_type()
    }
    fn members(self) -> impl Iterator<Item = Served<'a>> + Clone {
        self.members.iter().map(Served::from)
    }
    fn first(self) -> Served<'a> {
        (&self.members[0]).into()
    }
    fn is_union(self) -> bool {
        self.members.len() > 1
    }
    fn creator(self) -> Option<Served<'a>> {
        self.creates().map(Served::from)
    }
}

impl<'a> From<&'a Member> for Served<'a> {
    fn from(member: &'a Member) -> Served<'a> {
        let Source::Host(host) = &member.source;
        let skeleton = member.rule.verb.is_skeleton();
        Served { host, seq: member.seq, read_only: member.read_only || skeleton, skeleton }
    }
}

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
