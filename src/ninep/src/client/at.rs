//! Operations on names: walk there, do one thing, forget the fid. With a
//! server of ours all of it leaves at once and takes one round trip; elsewhere
//! one after the other.
//!
//! A walk never goes through a symbolic link: such a name is ELOOP, and its
//! caller knows what to do about it.

use super::walk::{Route, walk_of};
use super::{Client, Fid, Late, Monitor, Opened, Pending, State, Transport};
use crate::attr::{Attr, Qid, SetAttr, valid};
use crate::message::{
    Body, Rgetattr, Rlcreate, Rmkdir, Rmknod, Rreadlink, Rstatfs, Rsymlink, Tgetattr, Tlcreate,
    Tlink, Tmkdir, Tmknod, Treadlink, Trenameat, Tsetattr, Tstatfs, Tsymlink, Tunlinkat,
};
use crate::name::Name;
use crate::{Errno, Result, WALK_MAX};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

/// A fid under way to the end of a route.
pub(super) struct Walking {
    pub(super) fid: u32,
    /// It is about to be sent, and its answer is still to come.
    pub(super) pending: Option<Pending>,
    names: usize,
    /// It is ours to forget when all is done.
    ours: bool,
}

const AT_REMOVEDIR: u32 = 0x200;

impl<T: Transport, M: Monitor<State>> Client<T, M> {
    /// Begins to walk. With a server of ours the walk leaves with what is done
    /// at its end, and with the clunk: [`Client::go`].
    pub(super) fn set_out(&self, route: Route<'_>) -> Result<Walking> {
        let names = route.names.len();
        if names == 0 {
            return Ok(Walking { fid: route.from.0, pending: None, names, ours: false });
        }
        if !self.agreed.ours || names > WALK_MAX {
            let (fid, _) = self.go_to(route)?;
            return Ok(Walking { fid: fid.0, pending: None, names, ours: true });
        }
        route.names.iter().try_for_each(|name| Name::new(name).component().map(drop))?;
        let fid = self.new_fid()?;
        let walk = self.queue(&walk_of(route.from.0, fid, route.names), Late::Nothing);
        let pending = Some(walk.inspect_err(|_| self.with(|s| s.never_sent(Late::Clunk(fid))))?);
        Ok(Walking { fid, pending, names, ours: true })
    }

    /// Forgets what a walk leads to, behind all that was queued. A walk that
    /// fails has bound nothing, and its clunk is an error that nobody hears.
    pub(super) fn part(&self, walking: &mut Walking) {
        if walking.pending.is_some() {
            walking.ours = false;
            self.with(|s| s.unclunked.push(walking.fid));
        }
    }

    /// Waits for the answer to a walk.
    pub(super) fn arrive(&self, walking: &mut Walking) -> Result<()> {
        let Some(pending) = walking.pending.take() else { return Ok(()) };
        let frame = self.finish(pending)?;
        self.walked(&frame, walking.fid, walking.names, Late::Nothing).map(drop)
    }

    fn leave(&self, walking: &Walking) {
        if walking.ours {
            self.drop_fid(walking.fid);
        }
    }

    /// Sends all that was queued.
    pub(super) fn go(&self) {
        self.with(|s| s.queue_clunks());
        self.push();
    }

    /// One request about the end of one route: its answer.
    fn one<'b, B: Body<'b>>(
        &self,
        route: Route<'_>,
        body: impl FnOnce(u32) -> B,
    ) -> Result<Vec<u8>> {
        let mut walking = self.set_out(route)?;
        let request = self.queue(&body(walking.fid), Late::Nothing);
        self.part(&mut walking);
        self.go();
        let arrived = self.arrive(&mut walking);
        let answer = request.and_then(|request| self.finish_after(&arrived, request));
        self.leave(&walking);
        arrived.and(answer)
    }

    /// One request about the ends of two: its answer.
    fn two<'b, B: Body<'b>>(
        &self,
        first: Route<'_>,
        second: Route<'_>,
        body: impl FnOnce(u32, u32) -> B,
    ) -> Result<Vec<u8>> {
        let mut a = self.set_out(first)?;
        let mut b = match self.set_out(second) {
            Ok(b) => b,
            Err(error) => {
                self.part(&mut a);
                self.go();
                let arrived = self.arrive(&mut a);
                self.leave(&a);
                return arrived.and(Err(error));
            }
        };
        let request = self.queue(&body(a.fid, b.fid), Late::Nothing);
        self.part(&mut a);
        self.part(&mut b);
        self.go();
        // The second is waited for whatever became of the first.
        let (first, second) = (self.arrive(&mut a), self.arrive(&mut b));
        let arrived = first.and(second);
        let answer = request.and_then(|request| self.finish_after(&arrived, request));
        self.leave(&a);
        self.leave(&b);
        arrived.and(answer)
    }

    /// Goes to the end of a route, does something with its fid, and forgets it.
    ///
    /// # Errors
    /// Those of the walk and of what is done.
    pub fn visit<R>(&self, route: Route<'_>, act: impl FnOnce(&Fid) -> Result<R>) -> Result<R> {
        if route.names.is_empty() {
            return act(route.from);
        }
        let (fid, _) = self.go_to(route)?;
        let done = act(&fid);
        self.clunk(fid);
        done
    }

    /// The same for a directory in which something is to be done. A symbolic
    /// link is none: diod would follow it, on its own host.
    fn enter<R>(&self, route: Route<'_>, act: impl FnOnce(&Fid) -> Result<R>) -> Result<R> {
        if route.names.is_empty() {
            return act(route.from);
        }
        let (fid, qid) = self.go_to(route)?;
        let link = qid.is_some_and(Qid::is_symlink);
        let done = if link { Err(Errno::ELOOP) } else { act(&fid) };
        self.clunk(fid);
        done
    }

    /// The attributes of a file.
    ///
    /// # Errors
    /// Those of the walk, and the server's.
    pub fn getattr_at(&self, file: Route<'_>) -> Result<Attr> {
        if !self.agreed.ours {
            return self.visit(file, |fid| self.getattr(fid));
        }
        let frame = self.one(file, |fid| Tgetattr { fid, mask: valid::BASIC })?;
        self.reply::<Rgetattr>(&frame).map(|r| r.attr)
    }

    /// Walks to a file, which stays found, and asks for its attributes. With a
    /// server of ours it is one round trip.
    ///
    /// # Errors
    /// Those of the walk, and the server's.
    pub fn find_at(&self, file: Route<'_>) -> Result<(Fid, Attr)> {
        let (fid, attr) = if self.agreed.ours && file.names.len() <= WALK_MAX {
            let walk = self.walk_ahead(file.from, file.names)?;
            let attr = self.queue(&Tgetattr { fid: walk.fid, mask: valid::BASIC }, Late::Nothing);
            let walked = self.arrived(walk);
            let attr = attr.and_then(|p| self.finish_after(&walked, p));
            let (fid, _) = walked?;
            (fid, attr.and_then(|frame| self.reply::<Rgetattr>(&frame).map(|r| r.attr)))
        } else {
            let (fid, _) = self.go_to(file)?;
            let attr = self.getattr(&fid);
            (fid, attr)
        };
        match attr {
            Ok(attr) => Ok((fid, attr)),
            Err(error) => {
                self.clunk(fid);
                Err(error)
            }
        }
    }

    /// Changes the attributes of a file.
    ///
    /// # Errors
    /// Those of the walk and of [`Client::setattr`].
    pub fn setattr_at(&self, file: Route<'_>, attr: &SetAttr) -> Result<()> {
        if !self.agreed.ours {
            return self.visit(file, |fid| self.setattr(fid, attr));
        }
        self.one(file, |fid| Tsetattr { fid, attr: *attr }).map(drop)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// EINVAL when it is none; those of the walk.
    pub fn readlink_at(&self, file: Route<'_>) -> Result<Vec<u8>> {
        if !self.agreed.ours {
            return self.visit(file, |fid| self.readlink(fid));
        }
        let frame = self.one(file, |fid| Treadlink { fid })?;
        self.reply::<Rreadlink<'_>>(&frame).map(|r| r.target.to_vec())
    }

    /// Sizes of the file system that a file is on.
    ///
    /// # Errors
    /// Those of the walk and of [`Client::statfs`].
    pub fn statfs_at(&self, file: Route<'_>) -> Result<Rstatfs> {
        if !self.agreed.ours {
            return self.visit(file, |fid| self.statfs(fid));
        }
        let frame = self.one(file, |fid| Tstatfs { fid })?;
        self.reply(&frame)
    }

    /// Makes a directory in the one at the end of the route.
    ///
    /// # Errors
    /// Those of the walk and of [`Client::mkdir`].
    pub fn mkdir_at(&self, dir: Route<'_>, name: &[u8], mode: u32, gid: u32) -> Result<Qid> {
        if !self.agreed.ours {
            return self.enter(dir, |fid| self.mkdir(fid, name, mode, gid));
        }
        let name = checked(name)?;
        let frame = self.one(dir, |dfid| Tmkdir { dfid, name, mode, gid })?;
        self.reply::<Rmkdir>(&frame).map(|r| r.qid)
    }

    /// Makes a symbolic link in the directory at the end of the route.
    ///
    /// # Errors
    /// Those of the walk and of [`Client::symlink`].
    pub fn symlink_at(&self, dir: Route<'_>, name: &[u8], target: &[u8], gid: u32) -> Result<Qid> {
        if !self.agreed.ours {
            return self.enter(dir, |fid| self.symlink(fid, name, target, gid));
        }
        let name = checked(name)?;
        let frame = self.one(dir, |dfid| Tsymlink { dfid, name, target, gid })?;
        self.reply::<Rsymlink>(&frame).map(|r| r.qid)
    }

    /// Makes a special file in the directory at the end of the route.
    ///
    /// # Errors
    /// Those of the walk and of [`Client::mknod`].
    pub fn mknod_at(
        &self,
        dir: Route<'_>,
        name: &[u8],
        mode: u32,
        (major, minor): (u32, u32),
        gid: u32,
    ) -> Result<Qid> {
        if !self.agreed.ours {
            return self.enter(dir, |fid| self.mknod(fid, name, mode, (major, minor), gid));
        }
        let name = checked(name)?;
        let frame = self.one(dir, |dfid| Tmknod { dfid, name, mode, major, minor, gid })?;
        self.reply::<Rmknod>(&frame).map(|r| r.qid)
    }

    /// Removes a name in the directory at the end of the route.
    ///
    /// # Errors
    /// Those of the walk and of [`Client::unlink`].
    pub fn unlink_at(&self, dir: Route<'_>, name: &[u8], is_dir: bool) -> Result<()> {
        if !self.agreed.ours {
            return self.enter(dir, |fid| self.unlink(fid, name, is_dir));
        }
        let name = checked(name)?;
        let flags = if is_dir { AT_REMOVEDIR } else { 0 };
        self.one(dir, |dfid| Tunlinkat { dfid, name, flags }).map(drop)
    }

    /// Renames from the directory at the end of one route to that of another.
    ///
    /// # Errors
    /// Those of the walks and of [`Client::rename`].
    pub fn rename_at(
        &self,
        olddir: Route<'_>,
        oldname: &[u8],
        newdir: Route<'_>,
        newname: &[u8],
    ) -> Result<()> {
        if !self.agreed.ours {
            return self.enter(olddir, |old| {
                self.enter(newdir, |new| self.rename(old, oldname, new, newname))
            });
        }
        let (oldname, newname) = (checked(oldname)?, checked(newname)?);
        self.two(olddir, newdir, |olddir, newdir| Trenameat { olddir, oldname, newdir, newname })
            .map(drop)
    }

    /// Makes another name for the file at the end of one route, in the
    /// directory at that of another.
    ///
    /// # Errors
    /// Those of the walks and of [`Client::link`].
    pub fn link_at(&self, file: Route<'_>, dir: Route<'_>, name: &[u8]) -> Result<()> {
        if !self.agreed.ours {
            return self.visit(file, |file| self.enter(dir, |dir| self.link(file, dir, name)));
        }
        let name = checked(name)?;
        self.two(file, dir, |fid, dfid| Tlink { dfid, fid, name }).map(drop)
    }

    /// Creates a regular file in the directory at the end of the route and
    /// opens it, as [`Client::create`].
    ///
    /// # Errors
    /// Those of the walk and of [`Client::create`].
    pub fn create_at(
        &self,
        dir: Route<'_>,
        name: &[u8],
        flags: u32,
        mode: u32,
        gid: u32,
    ) -> Result<Opened> {
        if !self.agreed.ours || dir.names.len() > WALK_MAX {
            return self.enter(dir, |fid| self.create(fid, name, flags, mode, gid));
        }
        dir.names.iter().try_for_each(|name| Name::new(name).component().map(drop))?;
        let name = checked(name)?;
        // The fid becomes the file's: walked to the directory even when that is
        // where the route begins.
        let fid = self.new_fid()?;
        let walk = walk_of(dir.from.0, fid, dir.names);
        let walk = self.queue(&walk, Late::Clunk(fid))?;
        let create = self.queue(&Tlcreate { fid, name, flags, mode, gid }, Late::Nothing);
        let attr = self.queue(&Tgetattr { fid, mask: valid::BASIC }, Late::Nothing);
        self.push();
        let walked = self.finish(walk).and_then(|frame| {
            self.walked(&frame, fid, dir.names.len(), Late::Clunk(fid)).map(drop)
        });
        let created = create
            .and_then(|p| self.finish_after(&walked, p))
            .and_then(|f| self.reply::<Rlcreate>(&f));
        let attr = attr.and_then(|p| self.finish_after(&created, p));
        walked?;
        let reply = created.inspect_err(|_| self.drop_fid(fid))?;
        let attr = attr.ok().map(|f| self.reply::<Rgetattr>(&f)).transpose()?.map(|r| r.attr);
        let iounit = self.payload(reply.iounit);
        Ok(Opened { fid: Fid(fid), qid: reply.qid, iounit, attr, first: None })
    }

    /// The value of an extended attribute of a file, or the list of names when
    /// `name` is empty.
    ///
    /// # Errors
    /// Those of the walk and of [`Client::xattr`].
    pub fn xattr_at(&self, file: Route<'_>, name: &[u8]) -> Result<Vec<u8>> {
        self.visit(file, |fid| self.xattr(fid, name))
    }

    /// Sets an extended attribute of a file.
    ///
    /// # Errors
    /// Those of the walk and of [`Client::set_xattr`].
    pub fn set_xattr_at(
        &self,
        file: Route<'_>,
        name: &[u8],
        value: &[u8],
        flags: u32,
    ) -> Result<()> {
        self.visit(file, |fid| self.set_xattr(fid, name, value, flags))
    }

    /// Whether the connection is of no use any more.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// The same, and if nobody waits for anything the peer is looked at: it may
    /// be gone without anybody having noticed.
    pub fn is_gone(&self) -> bool {
        let idle = self.with(|s| if s.mux.in_flight() == 0 { s.framer.take() } else { None });
        if let Some(mut framer) = idle {
            let got = self.receive(&mut framer);
            self.deliver(framer, got);
        }
        self.is_dead()
    }
}

pub(super) fn checked(name: &[u8]) -> Result<Name<'_>> {
    let name = Name::new(name);
    name.component().map(|_| name)
}
