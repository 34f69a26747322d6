//! The operations, in the form of 9P2000.L. Where a dialect has no such
//! message, `old` does the same with what it has.

use super::at::checked;
use super::walk::walk_of;
use super::{Client, Fid, Late, Monitor, Pending, Route, State, Transport};
use crate::attr::{Attr, Entry, Qid, SetAttr, entries, valid};
use crate::message::{
    Body, Rgetattr, Rlcreate, Rlopen, Rmkdir, Rmknod, Rreaddir, Rreadlink, Rstatfs, Rsymlink,
    Tfsync, Tgetattr, Tlcreate, Tlink, Tlopen, Tmkdir, Tmknod, Tread, Treaddir, Treadlink, Tremove,
    Trename, Trenameat, Tsetattr, Tstatfs, Tsymlink, Tunlinkat,
};
use crate::name::Name;
use crate::wire::Trailing;
use crate::{Dialect, Errno, Result, WALK_MAX};
use alloc::vec::Vec;

/// An open file.
#[derive(Debug)]
pub struct Opened {
    /// The fid, ready for I/O.
    pub fid: Fid,
    /// Its identity.
    pub qid: Qid,
    /// Largest payload of one read or write, bytes.
    pub iounit: u32,
    /// Its attributes, when they were asked for in the same breath.
    pub attr: Option<Attr>,
    /// Bytes of the first read that were filled, likewise.
    pub first: Option<usize>,
}

/// One name in a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirEntry<'a> {
    /// Identity.
    pub qid: Qid,
    /// Where reading goes on behind this entry: opaque.
    pub cookie: u64,
    /// `d_type`; 0 when the server does not tell.
    pub kind: u8,
    /// The name; `.` and `..` are among them where the server lists them.
    pub name: &'a [u8],
}

/// A server without the message says so in one of these ways.
const fn is_missing(e: Errno) -> bool {
    matches!(e, Errno::EOPNOTSUPP | Errno::ENOSYS)
}

impl<T: Transport, M: Monitor<State>> Client<T, M> {
    pub(super) fn linux(&self) -> bool {
        self.agreed.dialect == Dialect::Linux
    }

    /// EOPNOTSUPP where the dialect has no such thing.
    pub(super) fn only_linux(&self) -> Result<()> {
        if self.linux() { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
    }

    /// A request whose reply has no fields.
    pub(super) fn done<'b>(&self, body: &impl Body<'b>, late: Late) -> Result<()> {
        self.call(body, late).map(|_| ())
    }

    /// Opens the file behind a fid, which stays as it is when that fails.
    /// `flags` are those of open(2) on Linux.
    ///
    /// # Errors
    /// The server's.
    pub fn open(&self, fid: Fid, flags: u32) -> core::result::Result<Opened, (Fid, Errno)> {
        match self.open_number(fid.0, flags) {
            Ok((qid, iounit)) => Ok(Opened { fid, qid, iounit, attr: None, first: None }),
            Err(e) => Err((fid, e)),
        }
    }

    fn open_number(&self, fid: u32, flags: u32) -> Result<(Qid, u32)> {
        if !self.linux() {
            return self.old_open(fid, flags);
        }
        // A server of others would wait for the other end of a pipe, and we for it.
        let flags = if self.agreed.ours { flags } else { flags | NONBLOCK };
        let frame = self.call(&Tlopen { fid, flags }, Late::Nothing)?;
        let reply: Rlopen = self.reply(&frame)?;
        Ok((reply.qid, self.payload(reply.iounit)))
    }

    /// Walks, opens, asks for the attributes and reads the beginning. With a
    /// server of ours all of it leaves at once and takes one round trip;
    /// elsewhere one after the other, since some answer out of order.
    ///
    /// # Errors
    /// Those of the walk and the open. A failure of the two others leaves
    /// their fields empty.
    pub fn open_at(
        &self,
        from: &Fid,
        names: &[&[u8]],
        flags: u32,
        first: &mut [u8],
    ) -> Result<Opened> {
        self.open_by(Route::new(from, names), flags, first)
    }

    /// The same by a route.
    ///
    /// # Errors
    /// As [`Client::open_at`]; ESTALE when it does not pass by where it is to.
    pub fn open_by(&self, route: Route<'_>, flags: u32, first: &mut [u8]) -> Result<Opened> {
        if self.agreed.ours && route.names.len() <= WALK_MAX {
            return self.open_together(route.from, route.names, flags, first);
        }
        let (fid, qid) = self.go_to(route)?;
        if qid.is_some_and(Qid::is_symlink) {
            // diod opens by name: its kernel would follow the link, on its host.
            self.clunk(fid);
            return Err(Errno::ELOOP);
        }
        let mut opened = self.open(fid, flags).map_err(|(fid, e)| {
            self.clunk(fid);
            e
        })?;
        self.begin_with(&mut opened, first)?;
        Ok(opened)
    }

    /// The attributes of what has just been opened, and how it begins: neither
    /// waits for the other, in whatever order a server answers.
    fn begin_with(&self, opened: &mut Opened, first: &mut [u8]) -> Result<()> {
        if !self.linux() || first.is_empty() {
            opened.attr = self.getattr(&opened.fid).ok();
            if !first.is_empty() {
                opened.first = self.read(opened, 0, first).ok();
            }
            return Ok(());
        }
        let fid = opened.fid.0;
        let count = opened.iounit.min(first.len() as u32);
        let attr = self.queue(&Tgetattr { fid, mask: valid::BASIC }, Late::Nothing);
        let read = self.queue(&Tread { fid, offset: 0, count }, Late::Nothing);
        self.push();
        let attr = attr.and_then(|p| self.finish(p));
        let read = read.and_then(|p| self.finish_after(&attr, p));
        opened.attr = attr.ok().and_then(|f| self.reply::<Rgetattr>(&f).ok()).map(|r| r.attr);
        opened.first = match read {
            Ok(frame) => Some(self.fill(&frame, count as usize, first)?.0),
            Err(_) => None,
        };
        Ok(())
    }

    fn open_together(
        &self,
        from: &Fid,
        names: &[&[u8]],
        flags: u32,
        first: &mut [u8],
    ) -> Result<Opened> {
        names.iter().try_for_each(|name| Name::new(name).component().map(|_| ()))?;
        let fid = self.new_fid()?;
        let count = self.payload(0).min(first.len() as u32);
        let walk = self.queue(&walk_of(from.0, fid, names), Late::Clunk(fid))?;
        let open = self.queue(&Tlopen { fid, flags }, Late::Nothing);
        let attr = self.queue(&Tgetattr { fid, mask: valid::BASIC }, Late::Nothing);
        let read = (count > 0).then(|| self.queue(&Tread { fid, offset: 0, count }, Late::Nothing));
        self.push();

        let walked =
            self.finish(walk).and_then(|f| self.walked(&f, fid, names.len(), Late::Clunk(fid)));
        let opened =
            open.and_then(|p| self.finish_after(&walked, p)).and_then(|f| self.reply::<Rlopen>(&f));
        let attr = attr.and_then(|p| self.finish_after(&opened, p));
        let data = read.map(|r| r.and_then(|p| self.finish_after(&opened, p)));
        walked?;
        let reply = opened.inspect_err(|_| self.drop_fid(fid))?;
        let attr = attr.ok().map(|f| self.reply::<Rgetattr>(&f)).transpose()?.map(|r| r.attr);
        let filled = match data {
            Some(Ok(frame)) => Some(self.fill(&frame, count as usize, first)?.0),
            _ => None,
        };
        let iounit = self.payload(reply.iounit);
        Ok(Opened { fid: Fid(fid), qid: reply.qid, iounit, attr, first: filled })
    }

    /// Finishes a request that was sent behind another. When that one was
    /// interrupted or timed out this one is not waited for as well.
    pub(super) fn finish_after<R>(&self, before: &Result<R>, pending: Pending) -> Result<Vec<u8>> {
        match before {
            Err(e @ (Errno::EINTR | Errno::ETIMEDOUT)) => {
                self.abandon(pending);
                Err(*e)
            }
            _ => self.finish(pending),
        }
    }

    /// Creates a regular file in `dir` and opens it. `mode` are its
    /// permissions, umask already taken off; `gid` its group, [`crate::NONUM`]: the
    /// server's choice.
    ///
    /// # Errors
    /// The server's.
    pub fn create(
        &self,
        dir: &Fid,
        name: &[u8],
        flags: u32,
        mode: u32,
        gid: u32,
    ) -> Result<Opened> {
        Name::new(name).component()?;
        let (fid, _) = self.walk(dir, &[])?;
        let made = if self.linux() {
            let body = Tlcreate { fid: fid.0, name: Name::new(name), flags, mode, gid };
            self.call(&body, Late::Nothing).and_then(|frame| {
                let reply: Rlcreate = self.reply(&frame)?;
                Ok((reply.qid, self.payload(reply.iounit)))
            })
        } else {
            self.old_create(fid.0, name, flags, mode)
        };
        match made {
            Ok((qid, iounit)) => Ok(Opened { fid, qid, iounit, attr: None, first: None }),
            Err(e) => {
                self.clunk(fid);
                Err(e)
            }
        }
    }

    /// The largest payload for an `iounit` that the server gave.
    pub(super) fn payload(&self, iounit: u32) -> u32 {
        if iounit == 0 { self.largest } else { iounit.min(self.largest) }
    }

    /// One message of entries from `cookie` on (0: the beginning), names and
    /// kinds only. Where to go on, `None` at the end.
    ///
    /// # Errors
    /// The server's; EIO for names that no entry can have, and for a server
    /// that does not get on.
    pub fn readdir(
        &self,
        dir: &Opened,
        cookie: u64,
        mut each: impl FnMut(DirEntry<'_>),
    ) -> Result<Option<u64>> {
        if !self.linux() {
            return self.old_readdir(dir, cookie, each);
        }
        // A count that is too small for one entry looks like the end to some
        // servers, so it is always the largest.
        let count = self.payload(0);
        let frame =
            self.call(&Treaddir { fid: dir.fid.0, offset: cookie, count }, Late::Nothing)?;
        let data = self.reply::<Rreaddir<'_>>(&frame)?.data.0;
        let mut last = None;
        for entry in entries(data) {
            let Ok(Entry { qid, cookie, kind, name }) = entry else { return self.distrust() };
            each(DirEntry { qid, cookie, kind, name: name.unchecked() });
            last = Some(cookie);
        }
        if last == Some(cookie) { self.distrust() } else { Ok(last) }
    }

    /// The attributes.
    ///
    /// # Errors
    /// The server's.
    pub fn getattr(&self, fid: &Fid) -> Result<Attr> {
        if !self.linux() {
            return self.old_getattr(fid.0);
        }
        let frame = self.call(&Tgetattr { fid: fid.0, mask: valid::BASIC }, Late::Nothing)?;
        self.reply::<Rgetattr>(&frame).map(|r| r.attr)
    }

    /// Changes attributes.
    ///
    /// # Errors
    /// The server's; EPERM for what the dialect cannot say.
    pub fn setattr(&self, fid: &Fid, attr: &SetAttr) -> Result<()> {
        if !self.linux() {
            return self.old_setattr(fid.0, attr);
        }
        self.done(&Tsetattr { fid: fid.0, attr: *attr }, Late::Nothing)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// The server's.
    pub fn mkdir(&self, dir: &Fid, name: &[u8], mode: u32, gid: u32) -> Result<Qid> {
        let name = checked(name)?;
        if !self.linux() {
            return self.old_make(dir, name, crate::attr::dm::DIR | mode & 0o777, b"");
        }
        let frame = self.call(&Tmkdir { dfid: dir.0, name, mode, gid }, Late::Nothing)?;
        self.reply::<Rmkdir>(&frame).map(|r| r.qid)
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// The server's; EPERM in 9P2000, as symlink(2) says it.
    pub fn symlink(&self, dir: &Fid, name: &[u8], target: &[u8], gid: u32) -> Result<Qid> {
        let name = checked(name)?;
        if !self.linux() {
            self.only_unix()?;
            return self.old_make(dir, name, crate::attr::dm::SYMLINK | 0o777, target);
        }
        let frame = self.call(&Tsymlink { dfid: dir.0, name, target, gid }, Late::Nothing)?;
        self.reply::<Rsymlink>(&frame).map(|r| r.qid)
    }

    /// Makes a special file.
    ///
    /// # Errors
    /// The server's; EPERM where the dialect has none.
    pub fn mknod(
        &self,
        dir: &Fid,
        name: &[u8],
        mode: u32,
        (major, minor): (u32, u32),
        gid: u32,
    ) -> Result<Qid> {
        let name = checked(name)?;
        if !self.linux() {
            return Err(Errno::EPERM);
        }
        let body = Tmknod { dfid: dir.0, name, mode, major, minor, gid };
        let frame = self.call(&body, Late::Nothing)?;
        self.reply::<Rmknod>(&frame).map(|r| r.qid)
    }

    /// Makes another name for a file.
    ///
    /// # Errors
    /// The server's; EPERM where the dialect has no links.
    pub fn link(&self, file: &Fid, dir: &Fid, name: &[u8]) -> Result<()> {
        let name = checked(name)?;
        if !self.linux() {
            return Err(Errno::EPERM);
        }
        self.done(&Tlink { dfid: dir.0, fid: file.0, name }, Late::Nothing)
    }

    /// Removes a name: of a directory when `is_dir`, else of anything else.
    ///
    /// # Errors
    /// The server's.
    pub fn unlink(&self, dir: &Fid, name: &[u8], is_dir: bool) -> Result<()> {
        let name = checked(name)?;
        if self.linux() {
            let flags = if is_dir { AT_REMOVEDIR } else { 0 };
            match self.done(&Tunlinkat { dfid: dir.0, name, flags }, Late::Nothing) {
                Err(e) if is_missing(e) => {}
                other => return other,
            }
        }
        let (fid, qid) = self.walk(dir, &[name.unchecked()])?;
        let wrong = qid.and_then(|q| match (q.is_dir(), is_dir) {
            (true, false) => Some(Errno::EISDIR),
            (false, true) => Some(Errno::ENOTDIR),
            _ => None,
        });
        if let Some(e) = wrong {
            self.clunk(fid);
            return Err(e);
        }
        self.remove(fid)
    }

    /// Removes the file and forgets the fid, whatever comes of it.
    ///
    /// # Errors
    /// The server's.
    pub fn remove(&self, fid: Fid) -> Result<()> {
        self.done(&Tremove { fid: fid.0 }, Late::Release(fid.0))
    }

    /// Renames, as renameat(2).
    ///
    /// # Errors
    /// The server's; EXDEV for two directories in 9P2000 and .u.
    pub fn rename(&self, olddir: &Fid, oldname: &[u8], newdir: &Fid, newname: &[u8]) -> Result<()> {
        let (oldname, newname) = (checked(oldname)?, checked(newname)?);
        if !self.linux() {
            return self.old_rename(olddir, oldname, newdir, newname);
        }
        let body = Trenameat { olddir: olddir.0, oldname, newdir: newdir.0, newname };
        match self.done(&body, Late::Nothing) {
            Err(e) if is_missing(e) => {}
            other => return other,
        }
        let (fid, _) = self.walk(olddir, &[oldname.unchecked()])?;
        let renamed =
            self.done(&Trename { fid: fid.0, dfid: newdir.0, name: newname }, Late::Nothing);
        self.clunk(fid);
        renamed
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// EINVAL when it is none.
    pub fn readlink(&self, fid: &Fid) -> Result<Vec<u8>> {
        if !self.linux() {
            return self.old_readlink(fid.0);
        }
        let frame = self.call(&Treadlink { fid: fid.0 }, Late::Nothing)?;
        self.reply::<Rreadlink<'_>>(&frame).map(|r| r.target.to_vec())
    }

    /// Sizes of the file system.
    ///
    /// # Errors
    /// The server's; EOPNOTSUPP where the dialect has no such message.
    pub fn statfs(&self, fid: &Fid) -> Result<Rstatfs> {
        self.only_linux()?;
        let frame = self.call(&Tstatfs { fid: fid.0 }, Late::Nothing)?;
        self.reply(&frame)
    }

    /// fsync(2), or fdatasync(2).
    ///
    /// # Errors
    /// The server's.
    pub fn fsync(&self, fid: &Fid, data_only: bool) -> Result<()> {
        if !self.linux() {
            return self.old_fsync(fid.0);
        }
        let datasync = Trailing(u32::from(data_only));
        self.done(&Tfsync { fid: fid.0, datasync }, Late::Nothing)
    }

    /// Forgets a fid. Nobody waits for it: an error would say nothing that
    /// could be acted on.
    pub fn clunk(&self, fid: Fid) {
        self.drop_fid(fid.0);
    }

    /// Forgets a fid, for whoever is dropping what held it.
    pub fn release(&self, fid: &Fid) {
        self.drop_fid(fid.0);
    }

    /// A token for the very same open file, for another connection to attach
    /// to with [`HANDOFF_ANAME`] before it. Only servers of ours have them.
    ///
    /// # Errors
    /// EOPNOTSUPP elsewhere; EBADF when the fid is not open.
    pub fn handoff(&self, fid: &Fid) -> Result<Vec<u8>> {
        if !self.agreed.ours {
            return Err(Errno::EOPNOTSUPP);
        }
        self.xattr(fid, HANDOFF_XATTR)
    }

    /// Whether what opened a file for making it where it was not there has made it.
    ///
    /// # Errors
    /// EOPNOTSUPP where nobody knows: at servers of others.
    pub fn is_new(&self, fid: &Fid) -> Result<bool> {
        if !self.agreed.ours {
            return Err(Errno::EOPNOTSUPP);
        }
        self.xattr(fid, CREATED_XATTR).map(|value| value == [1])
    }
}

/// Extended attribute of an open file: one byte, 1 where that open has made it.
pub const CREATED_XATTR: &[u8] = b"privns.created";
/// Extended attribute whose value is a handoff token.
pub const HANDOFF_XATTR: &[u8] = b"privns.handoff";
/// What stands before a token in the aname that claims it.
pub const HANDOFF_ANAME: &[u8] = b"privns.fid:";
/// open(2).
const NONBLOCK: u32 = 0o4000;
/// unlinkat(2).
const AT_REMOVEDIR: u32 = 0x200;
