//! What a file is, alike in all three dialects.
//!
//! The common form is that of 9P2000.L, the richest. Stat records of 9P2000
//! and 9P2000.u are translated into it and from it here and nowhere else.

use crate::dialect::Dialect;
use crate::name::Name;
use crate::wire::{Decoded, Field, Malformed, Reader, Unix, Writer};
use crate::{Errno, NONUM, Result};

/// Plain values as one record: the fields in the order of the wire.
macro_rules! record {
    ($(#[$doc:meta])* $name:ident $(<$lt:lifetime>)? {
        $($(#[$field_doc:meta])* $field:ident : $t:ty),* $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct $name $(<$lt>)? { $($(#[$field_doc])* pub $field: $t,)* }

        impl<'a> Field<'a> for $name $(<$lt>)? {
            fn put(&self, w: &mut Writer<'_>) { $(w.put(&self.$field);)* }
            fn get(r: &mut Reader<'a>) -> Decoded<Self> {
                Ok($name { $($field: r.get()?,)* })
            }
        }
    };
}

record! {
    /// A server's identity of a file: same `path`, same file (intro(5)).
    Qid {
        /// `QT` bits.
        kind: u8,
        /// Changes when the file's contents do; 0 may mean "not told".
        version: u32,
        /// Unique in the server for the life of the file system.
        path: u64,
    }
}

/// Bits of [`Qid::kind`]: the top byte of a Plan 9 mode.
pub mod qt {
    /// A directory.
    pub const DIR: u8 = 0x80;
    /// Writes only append.
    pub const APPEND: u8 = 0x40;
    /// An authentication file.
    pub const AUTH: u8 = 0x08;
    /// A symbolic link (.u, .L).
    pub const SYMLINK: u8 = 0x02;
}

/// Bits of `st_mode` (inode(7)).
pub mod mode {
    /// The bits that say what kind of file it is.
    pub const FORMAT: u32 = 0o170_000;
    /// Socket.
    pub const SOCKET: u32 = 0o140_000;
    /// Symbolic link.
    pub const SYMLINK: u32 = 0o120_000;
    /// Regular file.
    pub const REGULAR: u32 = 0o100_000;
    /// Block device.
    pub const BLOCK: u32 = 0o060_000;
    /// Directory.
    pub const DIRECTORY: u32 = 0o040_000;
    /// Character device.
    pub const CHARACTER: u32 = 0o020_000;
    /// Named pipe.
    pub const FIFO: u32 = 0o010_000;
    /// Set-user-id.
    pub const SETUID: u32 = 0o4_000;
    /// Set-group-id.
    pub const SETGID: u32 = 0o2_000;
    /// In a directory: only owners remove.
    pub const STICKY: u32 = 0o1_000;
    /// Everything that chmod(2) changes.
    pub const PERMISSIONS: u32 = 0o7_777;
}

/// Bits of a Plan 9 mode (stat(5); the last five are those of .u).
pub mod dm {
    /// Directory.
    pub const DIR: u32 = 0x8000_0000;
    /// Append only.
    pub const APPEND: u32 = 0x4000_0000;
    /// One opener at a time.
    pub const EXCL: u32 = 0x2000_0000;
    /// Symbolic link.
    pub const SYMLINK: u32 = 0x0200_0000;
    /// Device, told by the extension string.
    pub const DEVICE: u32 = 0x0080_0000;
    /// Named pipe.
    pub const FIFO: u32 = 0x0020_0000;
    /// Socket.
    pub const SOCKET: u32 = 0x0010_0000;
    /// Set-user-id.
    pub const SETUID: u32 = 0x0008_0000;
    /// Set-group-id.
    pub const SETGID: u32 = 0x0004_0000;
}

record! {
    /// A time since 1970. The wire has 64 bits for each part.
    Time {
        /// Seconds, two's complement.
        sec: u64,
        /// Nanoseconds, below 1,000,000,000.
        nsec: u64,
    }
}

/// Bits of [`Attr::valid`] and of Tgetattr's mask (`P9_STATS_*`).
pub mod valid {
    /// `mode`.
    pub const MODE: u64 = 1;
    /// `nlink`.
    pub const NLINK: u64 = 2;
    /// Mode to blocks: all that stat(2) tells.
    pub const BASIC: u64 = 0x7ff;
    /// Also birth time, generation and data version.
    pub const ALL: u64 = 0x3fff;
    /// `btime`.
    pub const BTIME: u64 = 0x800;
}

record! {
    /// All that stat(2) tells: the body of Rgetattr.
    Attr {
        /// Which fields are filled: `valid` bits.
        valid: u64,
        /// Identity.
        qid: Qid,
        /// Type and permissions as `st_mode`.
        mode: u32,
        /// Owner, [`NONUM`] when the server knows names only.
        uid: u32,
        /// Group, [`NONUM`] when the server knows names only.
        gid: u32,
        /// Links.
        nlink: u64,
        /// Device number of a device.
        rdev: u64,
        /// Bytes.
        size: u64,
        /// Preferred size of I/O, bytes.
        blksize: u64,
        /// 512-byte blocks in use.
        blocks: u64,
        /// Last access.
        atime: Time,
        /// Last change of the contents.
        mtime: Time,
        /// Last change of the attributes.
        ctime: Time,
        /// Creation.
        btime: Time,
        /// Inode generation.
        generation: u64,
        /// Raised by every change of the contents.
        data_version: u64,
    }
}

/// Bits of [`SetAttr::valid`] (`P9_ATTR_*`). A time without its `_SET` bit is
/// the server's "now".
pub mod set {
    /// `mode`.
    pub const MODE: u32 = 1;
    /// `uid`.
    pub const UID: u32 = 2;
    /// `gid`.
    pub const GID: u32 = 4;
    /// `size`: truncate or extend.
    pub const SIZE: u32 = 8;
    /// Access time.
    pub const ATIME: u32 = 0x10;
    /// Modification time.
    pub const MTIME: u32 = 0x20;
    /// Change time: asks for nothing that does not happen anyway.
    pub const CTIME: u32 = 0x40;
    /// `atime` holds the access time.
    pub const ATIME_SET: u32 = 0x80;
    /// `mtime` holds the modification time.
    pub const MTIME_SET: u32 = 0x100;
}

record! {
    /// A change of attributes: the body of Tsetattr.
    SetAttr {
        /// Which of the fields count: `set` bits.
        valid: u32,
        /// Permissions.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Bytes.
        size: u64,
        /// Last access.
        atime: Time,
        /// Last change of the contents.
        mtime: Time,
    }
}

record! {
    /// One entry of Rreaddir.
    Entry<'a> {
        /// Identity.
        qid: Qid,
        /// Where reading goes on behind this entry: opaque, no position.
        cookie: u64,
        /// `d_type` of readdir(3); 0 when the server does not tell.
        kind: u8,
        /// The name.
        name: Name<'a>,
    }
}

record! {
    /// A stat record of 9P2000 and 9P2000.u, without its size (stat(5)).
    Stat<'a> {
        /// For kernels; ones when written back.
        kind: u16,
        /// For kernels; ones when written back.
        dev: u32,
        /// Identity.
        qid: Qid,
        /// `dm` bits and permissions.
        mode: u32,
        /// Last access, seconds.
        atime: u32,
        /// Last change of the contents, seconds.
        mtime: u32,
        /// Bytes; 0 for a directory.
        length: u64,
        /// Last component.
        name: Name<'a>,
        /// Owner's name.
        uid: &'a [u8],
        /// Group's name.
        gid: &'a [u8],
        /// Who changed it last.
        muid: &'a [u8],
        /// Target of a symbolic link, kind and numbers of a device.
        extension: Unix<&'a [u8]>,
        /// Owner's number.
        n_uid: Unix<u32>,
        /// Group's number.
        n_gid: Unix<u32>,
        /// Number of who changed it last.
        n_muid: Unix<u32>,
    }
}

/// The Plan 9 mode of a Unix one. What the dialect cannot say (links and
/// devices in 9P2000) shows as a plain file.
#[must_use]
pub fn to_dm(mode: u32, dialect: Dialect) -> u32 {
    let permissions = mode & 0o777;
    let kind = match mode & mode::FORMAT {
        mode::DIRECTORY => dm::DIR,
        _ if dialect == Dialect::Base => 0,
        mode::SYMLINK => dm::SYMLINK,
        mode::FIFO => dm::FIFO,
        mode::SOCKET => dm::SOCKET,
        mode::BLOCK | mode::CHARACTER => dm::DEVICE,
        _ => 0,
    };
    let mut special = 0;
    if dialect != Dialect::Base {
        special |= if mode & mode::SETUID != 0 { dm::SETUID } else { 0 };
        special |= if mode & mode::SETGID != 0 { dm::SETGID } else { 0 };
    }
    permissions | kind | special
}

/// The Unix mode of a Plan 9 one; `extension` tells a block device (`b 8 0`)
/// from a character device.
#[must_use]
pub fn from_dm(dm: u32, extension: &[u8]) -> u32 {
    let kind = match dm {
        _ if dm & dm::DIR != 0 => mode::DIRECTORY,
        _ if dm & dm::SYMLINK != 0 => mode::SYMLINK,
        _ if dm & dm::FIFO != 0 => mode::FIFO,
        _ if dm & dm::SOCKET != 0 => mode::SOCKET,
        _ if dm & dm::DEVICE != 0 && extension.first() == Some(&b'b') => mode::BLOCK,
        _ if dm & dm::DEVICE != 0 => mode::CHARACTER,
        _ => mode::REGULAR,
    };
    let special = if dm & dm::SETUID != 0 { mode::SETUID } else { 0 }
        | if dm & dm::SETGID != 0 { mode::SETGID } else { 0 };
    kind | special | (dm & 0o777)
}

/// `d_type` of a mode (readdir(3): `IFTODT`).
#[must_use]
pub const fn entry_kind(mode: u32) -> u8 {
    ((mode & mode::FORMAT) >> 12) as u8
}

impl Qid {
    /// The qid of a file with this mode.
    #[must_use]
    pub const fn of(mode: u32, version: u32, path: u64) -> Qid {
        let kind = match mode & mode::FORMAT {
            mode::DIRECTORY => qt::DIR,
            mode::SYMLINK => qt::SYMLINK,
            _ => 0,
        };
        Qid { kind, version, path }
    }

    /// The version of a file that is told from its other versions by the time
    /// of modification, seconds and nanoseconds, and the size.
    #[must_use]
    pub const fn version_of(modified: (u64, u64), size: u64) -> u32 {
        modified.1 as u32 ^ (modified.0 as u32).rotate_left(16) ^ size as u32
    }

    /// True for a directory.
    #[must_use]
    pub const fn is_dir(self) -> bool {
        self.kind & qt::DIR != 0
    }

    /// A symbolic link.
    #[must_use]
    pub const fn is_symlink(self) -> bool {
        self.kind & qt::SYMLINK != 0
    }
}

impl Attr {
    /// The least that can be said of a file: number, mode, size.
    #[must_use]
    pub fn of(path: u64, mode: u32, size: u64) -> Attr {
        Attr {
            valid: valid::BASIC,
            qid: Qid::of(mode, 0, path),
            mode,
            size,
            nlink: 1,
            ..Attr::default()
        }
    }

    /// The entry of this file under a name.
    #[must_use]
    pub const fn entry<'a>(&self, name: &'a [u8], cookie: u64) -> Entry<'a> {
        Entry { qid: self.qid, cookie, kind: entry_kind(self.mode), name: Name::new(name) }
    }
}

impl Stat<'_> {
    /// The record that changes nothing: all ones, empty strings (stat(5)).
    #[must_use]
    pub fn dont_touch() -> Self {
        Stat {
            kind: u16::MAX,
            dev: u32::MAX,
            qid: Qid { kind: u8::MAX, version: u32::MAX, path: u64::MAX },
            mode: u32::MAX,
            atime: u32::MAX,
            mtime: u32::MAX,
            length: u64::MAX,
            n_uid: Unix(NONUM),
            n_gid: Unix(NONUM),
            n_muid: Unix(NONUM),
            ..Stat::default()
        }
    }

    /// The attributes that the record tells. Owner and group are [`NONUM`] in
    /// 9P2000, which has names alone; a link's size is its target's length.
    #[must_use]
    pub fn attr(&self, dialect: Dialect) -> Attr {
        let mode = from_dm(self.mode, self.extension.0);
        let link = mode & mode::FORMAT == mode::SYMLINK;
        let size = if link { self.extension.0.len() as u64 } else { self.length };
        let (uid, gid) = match dialect {
            Dialect::Base => (NONUM, NONUM),
            _ => (self.n_uid.0, self.n_gid.0),
        };
        let second = |sec: u32| Time { sec: sec.into(), nsec: 0 };
        Attr {
            valid: valid::BASIC,
            qid: self.qid,
            mode,
            uid,
            gid,
            nlink: 1,
            rdev: device(self.extension.0).unwrap_or(0),
            size,
            blksize: 4096,
            blocks: size.div_ceil(512),
            atime: second(self.atime),
            mtime: second(self.mtime),
            ctime: second(self.mtime),
            ..Attr::default()
        }
    }

    /// What a Twstat asks for, beside a new name. A mode of another kind than
    /// a permission change, or a changed qid, cannot be had.
    ///
    /// # Errors
    /// EPERM when the record asks for what stat(5) forbids.
    pub fn changes(&self) -> Result<SetAttr> {
        let keep = Stat::dont_touch();
        if self.qid != keep.qid && self.qid.path != u64::MAX {
            return Err(Errno::EPERM);
        }
        let mut set = SetAttr::default();
        if self.mode != keep.mode {
            set.valid |= set::MODE;
            set.mode = from_dm(self.mode, b"") & mode::PERMISSIONS;
        }
        if self.length != keep.length {
            set.valid |= set::SIZE;
            set.size = self.length;
        }
        if self.atime != keep.atime {
            set.valid |= set::ATIME | set::ATIME_SET;
            set.atime.sec = self.atime.into();
        }
        if self.mtime != keep.mtime {
            set.valid |= set::MTIME | set::MTIME_SET;
            set.mtime.sec = self.mtime.into();
        }
        // In 9P2000 these two are zero by decoding, not by the peer's will;
        // the caller says whether they count.
        if self.n_uid.0 != NONUM {
            set.valid |= set::UID;
            set.uid = self.n_uid.0;
        }
        if self.n_gid.0 != NONUM {
            set.valid |= set::GID;
            set.gid = self.n_gid.0;
        }
        Ok(set)
    }
}

/// The device number of an extension string `b MAJOR MINOR` or `c MAJOR MINOR`.
fn device(extension: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(extension).ok()?;
    let mut words = text.split_ascii_whitespace();
    let _kind = words.next().filter(|k| *k == "b" || *k == "c")?;
    let major: u32 = words.next()?.parse().ok()?;
    let minor: u32 = words.next()?.parse().ok()?;
    Some(makedev(major, minor))
}

/// makedev(3) as Linux does it.
#[must_use]
pub const fn makedev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (major & 0xffff_f000) << 32 | (major & 0xfff) << 8 | (minor & 0xffff_ff00) << 12 | minor & 0xff
}

/// The entries in the payload of Rreaddir. A malformed one ends the iteration
/// with an error; a `.` or a name that no entry can have is an error too.
pub fn entries(data: &[u8]) -> impl Iterator<Item = Decoded<Entry<'_>>> {
    records::<Entry<'_>>(data, Dialect::Linux).map(|e| {
        let entry = e?;
        match entry.name.unchecked() {
            b"." | b".." => Ok(entry),
            _ => entry.name.component().map(|_| entry).map_err(|_| Malformed),
        }
    })
}

/// Records one after the other; stops for good behind a malformed one.
pub(crate) fn records<'a, T: Field<'a>>(
    data: &'a [u8],
    dialect: Dialect,
) -> impl Iterator<Item = Decoded<T>> {
    let mut r = Reader::new(data, dialect);
    let mut broken = false;
    core::iter::from_fn(move || {
        if broken || r.is_empty() {
            return None;
        }
        let record = r.get();
        broken = record.is_err();
        Some(record)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Counted;
    use alloc::vec::Vec;

    #[test]
    fn modes_go_both_ways_in_u() {
        for mode in [0o100_644, 0o040_755, 0o120_777, 0o010_600, 0o140_700, 0o104_755, 0o102_755] {
            assert_eq!(from_dm(to_dm(mode, Dialect::Unix), b""), mode, "{mode:o}");
        }
        assert_eq!(
            from_dm(to_dm(mode::BLOCK | 0o600, Dialect::Unix), b"b 8 1"),
            mode::BLOCK | 0o600
        );
        assert_eq!(
            from_dm(to_dm(mode::SYMLINK | 0o777, Dialect::Base), b""),
            mode::REGULAR | 0o777
        );
    }

    #[test]
    fn dont_touch_touches_nothing() {
        assert_eq!(Stat::dont_touch().changes(), Ok(SetAttr::default()));
        let mut stat = Stat::dont_touch();
        stat.length = 7;
        assert_eq!(stat.changes().unwrap().valid, set::SIZE);
    }

    #[test]
    fn a_listing_with_a_name_that_leads_elsewhere_is_refused() {
        for (name, good) in [(&b"a"[..], true), (b"..", true), (b"a/b", false), (b"", false)] {
            let mut data = Vec::new();
            let entry = Entry { name: Name::new(name), ..Entry::default() };
            Writer::new(&mut data, Dialect::Linux).put(&entry);
            assert_eq!(entries(&data).all(|e| e.is_ok()), good, "{name:?}");
            assert_eq!(entries(&data[..data.len() - 1]).last().map(|e| e.is_ok()), Some(false));
        }
    }

    #[test]
    fn stat_records_of_a_directory_read() {
        let mut data = Vec::new();
        let mut w = Writer::new(&mut data, Dialect::Unix);
        for name in [&b"one"[..], b"two"] {
            w.put(&Counted(Stat { name: Name::new(name), n_uid: Unix(7), ..Stat::default() }));
        }
        let read: Vec<_> =
            records::<Counted<Stat<'_>>>(&data, Dialect::Unix).map(|s| s.unwrap().0).collect();
        assert_eq!(
            read.iter().map(|s| s.name.unchecked()).collect::<Vec<_>>(),
            [&b"one"[..], b"two"]
        );
        assert_eq!(read[0].attr(Dialect::Unix).uid, 7);
        assert_eq!(read[0].attr(Dialect::Base).uid, NONUM);
    }

    #[test]
    fn devices() {
        assert_eq!(device(b"b 8 1"), Some(0x801));
        assert_eq!(device(b"/some/target"), None);
        assert_eq!(makedev(0x12345, 0x6789a), 0x0001_2000_6783_459a);
    }
}
