//! The operations in 9P2000 and 9P2000.u, which have stat records, modes of
//! Plan 9 and no directory messages.

use super::{Client, DirEntry, Fid, Late, Monitor, Opened, State, Transport};
use crate::attr::{Attr, Qid, SetAttr, Stat, dm, entry_kind, set, to_dm};
use crate::message::{Rcreate, Ropen, Rread, Rstat, Tcreate, Topen, Tread, Tstat, Twstat};
use crate::name::Name;
use crate::wire::{Counted, Reader, Unix};
use crate::{Dialect, Errno, Result};
use alloc::format;
use alloc::vec::Vec;

/// Bits of open(2) on Linux that 9P knows of.
pub mod flags {
    /// The access mode: 0 read, 1 write, 2 both.
    pub const ACCESS: u32 = 3;
    /// Write only.
    pub const WRONLY: u32 = 1;
    /// Read and write.
    pub const RDWR: u32 = 2;
    /// Make it if it is not there.
    pub const CREATE: u32 = 0o100;
    /// Fail if it is there.
    pub const EXCL: u32 = 0o200;
    /// Empty it.
    pub const TRUNC: u32 = 0o1000;
    /// Write at the end.
    pub const APPEND: u32 = 0o2000;
    /// Must be a directory.
    pub const DIRECTORY: u32 = 0o200_000;
}

/// Truncate, in a mode of open(5).
const OTRUNC: u8 = 0x10;

fn mode_of(flags: u32) -> u8 {
    let trunc = if flags & flags::TRUNC != 0 { OTRUNC } else { 0 };
    (flags & flags::ACCESS) as u8 | trunc
}

impl<T: Transport, M: Monitor<State>> Client<T, M> {
    /// EPERM in 9P2000, which has no links.
    pub(super) fn only_unix(&self) -> Result<()> {
        if self.agreed.dialect == Dialect::Base { Err(Errno::EPERM) } else { Ok(()) }
    }

    pub(super) fn old_open(&self, fid: u32, flags: u32) -> Result<(Qid, u32)> {
        let frame = self.call(&Topen { fid, mode: mode_of(flags) }, Late::Nothing)?;
        let reply: Ropen = self.reply(&frame)?;
        if flags & flags::DIRECTORY != 0 && !reply.qid.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok((reply.qid, self.payload(reply.iounit)))
    }

    /// Tcreate fails on a name that is there, so O_EXCL is always given; a
    /// caller that wants less opens first.
    pub(super) fn old_create(
        &self,
        fid: u32,
        name: &[u8],
        flags: u32,
        mode: u32,
    ) -> Result<(Qid, u32)> {
        let name = Name::new(name);
        let perm = to_dm(mode, self.agreed.dialect);
        let body = Tcreate { fid, name, perm, mode: mode_of(flags), extension: Unix(b"") };
        let frame = self.call(&body, Late::Nothing)?;
        let reply: Rcreate = self.reply(&frame)?;
        Ok((reply.qid, self.payload(reply.iounit)))
    }

    /// Makes what is not opened afterwards: a directory, a link.
    pub(super) fn old_make(
        &self,
        dir: &Fid,
        name: Name<'_>,
        perm: u32,
        extension: &[u8],
    ) -> Result<Qid> {
        let (fid, _) = self.walk(dir, &[])?;
        let body = Tcreate { fid: fid.0, name, perm, mode: 0, extension: Unix(extension) };
        let made = self.call(&body, Late::Nothing);
        self.clunk(fid);
        self.reply::<Rcreate>(&made?).map(|r| r.qid)
    }

    fn with_stat<R>(&self, fid: u32, f: impl FnOnce(&Stat<'_>) -> R) -> Result<R> {
        let frame = self.call(&Tstat { fid }, Late::Nothing)?;
        let reply: Rstat<'_> = self.reply(&frame)?;
        Ok(f(&reply.stat.0.0))
    }

    pub(super) fn old_getattr(&self, fid: u32) -> Result<Attr> {
        self.with_stat(fid, |stat| stat.attr(self.agreed.dialect))
    }

    /// `qid.path`, and the name that the file has in its directory.
    pub(super) fn old_name(&self, fid: &Fid) -> Result<(u64, Vec<u8>)> {
        self.with_stat(fid.0, |stat| (stat.qid.path, stat.name.unchecked().to_vec()))
    }

    pub(super) fn old_readlink(&self, fid: u32) -> Result<Vec<u8>> {
        self.with_stat(fid, |stat| {
            let link = stat.mode & dm::SYMLINK != 0;
            if link { Ok(stat.extension.0.to_vec()) } else { Err(Errno::EINVAL) }
        })?
    }

    fn wstat(&self, fid: u32, stat: Stat<'_>) -> Result<()> {
        self.call(&Twstat { fid, stat: Counted(Counted(stat)) }, Late::Nothing).map(|_| ())
    }

    pub(super) fn old_setattr(&self, fid: u32, attr: &SetAttr) -> Result<()> {
        let has = |bit| attr.valid & bit != 0;
        let mut stat = Stat::dont_touch();
        if has(set::UID) || has(set::GID) {
            self.only_unix()?;
            stat.n_uid = Unix(if has(set::UID) { attr.uid } else { stat.n_uid.0 });
            stat.n_gid = Unix(if has(set::GID) { attr.gid } else { stat.n_gid.0 });
        }
        if has(set::MODE) {
            // Only the whole mode can be set, directory bit included.
            let kind = self.with_stat(fid, |s| s.mode & (dm::DIR | dm::APPEND | dm::EXCL))?;
            stat.mode = kind | to_dm(attr.mode, self.agreed.dialect);
        }
        if has(set::SIZE) {
            stat.length = attr.size;
        }
        // "Now" cannot be said; a server sets it by itself on a write.
        if has(set::ATIME_SET) {
            stat.atime = attr.atime.sec as u32;
        }
        if has(set::MTIME_SET) {
            stat.mtime = attr.mtime.sec as u32;
        }
        if stat == Stat::dont_touch() { Ok(()) } else { self.wstat(fid, stat) }
    }

    /// A record that changes nothing asks for the file to be on the disk
    /// (stat(5)).
    pub(super) fn old_fsync(&self, fid: u32) -> Result<()> {
        self.wstat(fid, Stat::dont_touch())
    }

    /// A name can be changed in its directory and not beyond.
    pub(super) fn old_rename(
        &self,
        olddir: &Fid,
        oldname: Name<'_>,
        newdir: &Fid,
        newname: Name<'_>,
    ) -> Result<()> {
        let same =
            olddir == newdir || self.old_getattr(olddir.0)?.qid == self.old_getattr(newdir.0)?.qid;
        if !same {
            return Err(Errno::EXDEV);
        }
        let (fid, _) = self.walk(olddir, &[oldname.unchecked()])?;
        let renamed = match self.call_it(fid.0, newname) {
            Err(Errno::EEXIST) => self.old_replace(fid.0, newdir, newname),
            done => done,
        };
        self.clunk(fid);
        renamed
    }

    fn call_it(&self, fid: u32, name: Name<'_>) -> Result<()> {
        self.wstat(fid, Stat { name, ..Stat::dont_touch() })
    }

    /// Renames over what is there, as rename(2) does and Plan 9 does not
    /// (stat(5)): the other file goes out of the way first, and comes back when
    /// something fails. Whoever looks in between finds none of that name.
    fn old_replace(&self, fid: u32, dir: &Fid, name: Name<'_>) -> Result<()> {
        let own = self.old_getattr(fid)?.qid;
        let (there, _) = self.walk(dir, &[name.unchecked()])?;
        let other = self.old_getattr(there.0).map(|attr| attr.qid);
        let refused = match &other {
            Err(error) => Some(Err(*error)),
            Ok(other) if other.path == own.path => Some(Ok(())),
            Ok(other) => match (own.is_dir(), other.is_dir()) {
                (true, false) => Some(Err(Errno::ENOTDIR)),
                (false, true) => Some(Err(Errno::EISDIR)),
                _ => None,
            },
        };
        if let Some(refused) = refused {
            self.clunk(there);
            return refused;
        }
        if own.is_dir() {
            // Only an empty one is removed, so that nothing can be lost.
            self.remove(there)?;
            return self.call_it(fid, name);
        }
        let aside = format!(".{:016x}.privns", other?.path);
        let renamed = self.call_it(there.0, Name::new(aside.as_bytes())).and_then(|()| {
            self.call_it(fid, name).inspect_err(|_| {
                let _ = self.call_it(there.0, name);
            })
        });
        match renamed {
            Ok(()) => self.remove(there),
            Err(error) => {
                self.clunk(there);
                Err(error)
            }
        }
    }

    /// A directory read gives whole stat records; the cookie is the offset
    /// behind the record. A server reads on from where the last read has ended,
    /// or from the beginning (read(5)): to any other place the way leads from
    /// there.
    pub(super) fn old_readdir(
        &self,
        dir: &Opened,
        cookie: u64,
        mut each: impl FnMut(DirEntry<'_>),
    ) -> Result<Option<u64>> {
        let refused = match self.old_entries(dir, cookie, &mut each) {
            Err(e) if cookie != 0 && !matches!(e, Errno::EINTR | Errno::ETIMEDOUT) => e,
            done => return done,
        };
        let mut at = 0;
        while at <= cookie {
            let behind = |entry: DirEntry<'_>| {
                if entry.cookie > cookie {
                    each(entry);
                }
            };
            // What there was no longer goes so far: that is the end of it.
            let Some(next) = self.old_entries(dir, at, behind).map_err(|_| refused)? else {
                return Ok(None);
            };
            at = next;
        }
        Ok(Some(at))
    }

    fn old_entries(
        &self,
        dir: &Opened,
        cookie: u64,
        mut each: impl FnMut(DirEntry<'_>),
    ) -> Result<Option<u64>> {
        let dialect = self.agreed.dialect;
        let body = Tread { fid: dir.fid.0, offset: cookie, count: dir.iounit };
        let frame = self.call(&body, Late::Nothing)?;
        let data = self.reply::<Rread<'_>>(&frame)?.data.0;
        let mut r = Reader::new(data, dialect);
        let mut at = cookie;
        while !r.is_empty() {
            let before = r.left();
            let Ok(Counted(stat)) = r.get::<Counted<Stat<'_>>>() else { return self.distrust() };
            let Ok(name) = stat.name.component() else { return self.distrust() };
            at += (before - r.left()) as u64;
            let kind = entry_kind(stat.attr(dialect).mode);
            each(DirEntry { qid: stat.qid, cookie: at, kind, name });
        }
        Ok((at != cookie).then_some(at))
    }
}
