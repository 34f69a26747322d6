//! Attributes of remote files as the calls of the kernel tell them.

use super::conn::Connection;
use privns_abi::{Errno, Result, Stat};
use privns_host::Kernel;
use privns_ninep::NONUM;
use privns_ninep::attr::{self, Attr, Time};
use privns_ninep::message::Rstatfs;

/// The file system type that statfs(2) tells: `V9FS_MAGIC` of linux/magic.h.
/// Programs know by it that a file is remote, and poll instead of watching.
pub const MAGIC: i64 = 0x0102_1997;

/// All that stat(2) tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// `st_dev`.
    pub dev: u64,
    attr: Attr,
}

/// Minor numbers of the device numbers of servers lie from here on: far above
/// those that the kernel gives to file systems of its own without a device.
const MINOR: u32 = 0x90000;

/// The device number of all that a server shows: the same in every process of
/// the family.
#[must_use]
pub fn device(server: u32) -> u64 {
    attr::makedev(0, MINOR | (server & 0xffff))
}

impl Meta {
    /// What the server says, seen from here.
    #[must_use]
    pub fn new(conn: &Connection, mut attr: Attr) -> Meta {
        let ours = |id: u32, me: Option<u32>| id == NONUM || me == Some(id);
        if ours(attr.uid, conn.me.map(|me| me.0)) {
            attr.uid = Kernel.geteuid();
        }
        if ours(attr.gid, conn.me.map(|me| me.1)) {
            attr.gid = Kernel.getegid();
        }
        if attr.mode & attr::mode::FORMAT == 0 {
            attr.mode |=
                if attr.qid.is_dir() { attr::mode::DIRECTORY } else { attr::mode::REGULAR };
        }
        Meta { dev: device(conn.server), attr }
    }

    /// What the host's kernel says.
    #[must_use]
    pub(super) const fn plain(dev: u64, attr: Attr) -> Meta {
        Meta { dev, attr }
    }

    /// Type and permission bits.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.attr.mode
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.mode() & attr::mode::FORMAT == attr::mode::DIRECTORY
    }

    /// What tells the file from any other of its server.
    #[must_use]
    pub(super) fn identity(&self) -> u64 {
        self.attr.qid.path
    }

    /// Inode number.
    #[must_use]
    pub fn ino(&self) -> u64 {
        inode(self.attr.qid.path)
    }

    /// Length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.attr.size
    }

    /// What changes when the contents do: number, version, length, and the time
    /// of modification in seconds and nanoseconds.
    #[must_use]
    pub fn state(&self) -> [u64; 5] {
        let Attr { qid, size, mtime, .. } = self.attr;
        [qid.path, qid.version.into(), size, mtime.sec, mtime.nsec]
    }

    /// The part that resolving names needs.
    #[must_use]
    pub fn stat(&self) -> Stat {
        let Attr { mode, uid, gid, nlink, .. } = self.attr;
        Stat { dev: self.dev, ino: self.ino(), mode, uid, gid, links: nlink.max(1) }
    }

    /// Fills a `struct stat`; what it has beside is left as it is.
    pub fn fill(&self, st: &mut libc::stat) {
        let a = &self.attr;
        st.st_dev = self.dev;
        st.st_ino = self.ino();
        st.st_mode = a.mode;
        st.st_nlink = self.links() as _;
        (st.st_uid, st.st_gid, st.st_rdev) = (a.uid, a.gid, a.rdev);
        (st.st_size, st.st_blocks) = (a.size as i64, a.blocks as i64);
        st.st_blksize = self.blksize() as _;
        (st.st_atime, st.st_atime_nsec) = (a.atime.sec as i64, nanos(a.atime).into());
        (st.st_mtime, st.st_mtime_nsec) = (a.mtime.sec as i64, nanos(a.mtime).into());
        (st.st_ctime, st.st_ctime_nsec) = (a.ctime.sec as i64, nanos(a.ctime).into());
    }

    /// Fills a `struct statx` of zeros.
    pub fn fill_x(&self, x: &mut libc::statx) {
        let a = &self.attr;
        x.stx_mask = libc::STATX_BASIC_STATS;
        x.stx_blksize = self.blksize() as u32;
        x.stx_nlink = self.links() as u32;
        (x.stx_uid, x.stx_gid, x.stx_mode) = (a.uid, a.gid, a.mode as u16);
        (x.stx_ino, x.stx_size, x.stx_blocks) = (self.ino(), a.size, a.blocks);
        (x.stx_rdev_major, x.stx_rdev_minor) = (libc::major(a.rdev), libc::minor(a.rdev));
        (x.stx_dev_major, x.stx_dev_minor) = (libc::major(self.dev), libc::minor(self.dev));
        let mut times =
            [(&mut x.stx_atime, a.atime), (&mut x.stx_mtime, a.mtime), (&mut x.stx_ctime, a.ctime)];
        for (to, time) in &mut times {
            (to.tv_sec, to.tv_nsec) = (time.sec as i64, nanos(*time));
        }
        if a.valid & attr::valid::BTIME != 0 {
            x.stx_mask |= libc::STATX_BTIME;
            (x.stx_btime.tv_sec, x.stx_btime.tv_nsec) = (a.btime.sec as i64, nanos(a.btime));
        }
    }

    /// None for a file that was removed and is open: where the server says so.
    fn links(&self) -> u64 {
        let told = self.attr.valid & attr::valid::NLINK != 0;
        if told { self.attr.nlink } else { self.attr.nlink.max(1) }
    }

    fn blksize(&self) -> u64 {
        // Programs allocate that much: a server's word for it is bounded.
        self.attr.blksize.clamp(512, 1 << 20)
    }

    /// Whether the calling process may do to the file what the bits of
    /// access(2) say, by its real ids or its effective ones.
    ///
    /// # Errors
    /// EACCES.
    pub fn permits(&self, wanted: u32, effective: bool) -> Result<()> {
        let (uid, gid) = match effective {
            true => (Kernel.geteuid(), Kernel.getegid()),
            false => (Kernel.getuid(), Kernel.getgid()),
        };
        let Attr { mode, uid: owner, gid: group, .. } = self.attr;
        let wanted = wanted & 7;
        let allowed = match uid {
            0 if self.is_dir() || mode & 0o111 != 0 => 7,
            0 => 6,
            _ if uid == owner => mode >> 6,
            _ if gid == group || Kernel.in_group(group) => mode >> 3,
            _ => mode,
        };
        if wanted & !allowed == 0 { Ok(()) } else { Err(Errno::EACCES) }
    }
}

fn nanos(time: Time) -> u32 {
    time.nsec.min(999_999_999) as u32
}

/// Inode numbers are never 0: readers of directories take that for a removed
/// entry.
#[must_use]
pub fn inode(qid_path: u64) -> u64 {
    qid_path.max(1)
}

/// What statfs(2) says, as far as the server tells.
///
/// # Errors
/// The server's.
pub fn sizes(told: Result<Rstatfs>) -> Result<Rstatfs> {
    let unknown = Rstatfs { bsize: 4096, namelen: 255, ..Rstatfs::default() };
    match told {
        Ok(told) => Ok(told),
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(unknown),
        Err(error) => Err(error),
    }
}
