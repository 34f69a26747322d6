//! The system calls that take a name, for remote files: their checks and error
//! numbers in the kernel's order, and what the server is asked.

use super::attrs::{self, Meta};
use super::file::{File, Open};
use super::io::FIRST;
use super::place::{End, Place, Way};
use super::undisturbed;
use crate::process::View;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use privns_abi::{Errno, Result, path};
use privns_host::{Host, Kernel};
use privns_ninep::NONUM;
use privns_ninep::attr::{mode, valid};
use privns_ninep::client::{Opened, flags as wire};
use privns_ninep::message::Rstatfs;

/// A file that has just been opened, for a descriptor to be made of.
pub struct Opening {
    /// The open file.
    pub open: Open,
    /// From the server's root.
    pub path: Vec<u8>,
    /// Those of open(2). Where it is known whether it was made: O_CREAT and O_EXCL
    /// for one that was, no O_CREAT for one that was not.
    pub flags: i32,
}

/// Attributes that were told with an open.
pub(super) struct Told {
    meta: Meta,
    changes: u64,
    /// By [`Host::now_ms`].
    until: u64,
}

/// How long they serve, milliseconds.
const MOMENT: u64 = 1000;

/// O_TMPFILE without the O_DIRECTORY that is in it.
const TMPFILE: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;

impl View<'_> {
    /// lstat(2).
    ///
    /// # Errors
    /// ELOOP for a link on the way; ENOENT, ENOTDIR, EACCES, EIO.
    pub fn remote_stat(self, place: &Place<'_>) -> Result<Meta> {
        // Also where a name is walked: no call of the program's has begun there.
        undisturbed(|| self.stat_of(place))
    }

    fn stat_of(self, place: &Place<'_>) -> Result<Meta> {
        let known = match self.told(place) {
            Some(meta) => Some(meta),
            None => self.listing_says(place)?,
        };
        let meta = match known {
            Some(meta) => meta,
            None => self.stat_anew(place)?,
        };
        if place.end() == End::Plain || meta.is_dir() {
            return Ok(meta);
        }
        // A link with a slash behind it is to be followed.
        Err(if is_link(meta.mode()) { Errno::ELOOP } else { Errno::ENOTDIR })
    }

    /// The attributes as they are now, of whatever kind of file.
    pub(super) fn stat_anew(self, place: &Place<'_>) -> Result<Meta> {
        if let Some(meta) = self.near_stat(place)? {
            return Ok(meta);
        }
        if let Some(file) = place.opened() {
            let told = |open: &Open| Ok(Meta::new(&open.conn, self.attr_of(file, open)?));
            return self.with(file, told);
        }
        self.on(place, |way| {
            way.client().getattr_at(way.route()).map(|attr| Meta::new(way.conn(), attr))
        })
    }

    /// access(2): by the attributes, with the ids of this process.
    ///
    /// # Errors
    /// EACCES; those of [`remote_stat`](Self::remote_stat).
    pub fn remote_access(self, place: &Place<'_>, wanted: u32, effective: bool) -> Result<()> {
        self.remote_stat(place)?.permits(wanted, effective)
    }

    /// readlink(2).
    ///
    /// # Errors
    /// EINVAL for what is no link; ELOOP for a link on the way.
    pub fn remote_readlink(self, place: &Place<'_>) -> Result<Vec<u8>> {
        if place.end() != End::Plain {
            return Err(self.remote_stat(place).err().unwrap_or(Errno::EINVAL));
        }
        self.on(place, |way| way.client().readlink_at(way.route()))
    }

    /// statfs(2).
    ///
    /// # Errors
    /// Those of the walk.
    pub fn remote_statfs(self, place: &Place<'_>) -> Result<Rstatfs> {
        self.on(place, |way| match way.client().statfs_at(way.route()) {
            Err(Errno::EOPNOTSUPP) => {
                way.client().getattr_at(way.route())?;
                attrs::sizes(Err(Errno::EOPNOTSUPP))
            }
            told => attrs::sizes(told),
        })
    }

    /// openat2(2) with RESOLVE_NO_SYMLINKS. What the file begins with goes into
    /// `first`, where it costs no round trip.
    ///
    /// # Errors
    /// As there; EOPNOTSUPP for O_TMPFILE, ENXIO for pipes, sockets and devices.
    pub fn remote_open(
        self,
        place: &Place<'_>,
        flags: i32,
        mode: u32,
        first: &mut [u8],
    ) -> Result<Opening> {
        let has = |flag: i32| flags & flag != 0;
        if has(libc::O_TRUNC) {
            self.leave_ends();
        }
        let whole = match place.itself() {
            // A server of ours opens it once more, whether it has a name or not.
            Some(file) => file.last_path(),
            None => place.from_root()?,
        };
        // A link with a slash behind it is to be followed, whatever the flags say.
        let asked = if place.end() == End::Plain { flags } else { flags & !libc::O_NOFOLLOW };
        if has(libc::O_PATH) {
            let open = self.on(place, |way| open_path(way, asked))?;
            return check_end(place, open).map(|open| Opening { open, path: whole, flags });
        }
        if flags & TMPFILE == TMPFILE {
            return Err(match self.remote_stat(place) {
                _ if flags & libc::O_ACCMODE == libc::O_RDONLY => Errno::EINVAL,
                Ok(meta) if meta.is_dir() => Errno::EOPNOTSUPP,
                Ok(_) => Errno::ENOTDIR,
                Err(error) => error,
            });
        }
        if has(libc::O_CREAT) && place.is_open() && !has(libc::O_EXCL) {
            return self.remote_open(place, flags & !libc::O_CREAT, mode, first);
        }
        if has(libc::O_CREAT) {
            if has(libc::O_DIRECTORY) {
                return Err(Errno::EINVAL);
            }
            if place.end() == End::Slash {
                // Whatever is there, or nothing: only the way to it counts.
                return Err(self.exists_at_end(&dir_of(place), Errno::EISDIR));
            }
            if place.end() == End::Dot || place.names()?.is_empty() {
                let there = if has(libc::O_EXCL) { Errno::EEXIST } else { Errno::EISDIR };
                return Err(self.exists_at_end(place, there));
            }
            let mode = mode & mode::PERMISSIONS & !self.mask();
            let (open, flags) = self.once(place, |way| create(way, flags, mode))?;
            return Ok(Opening { open, path: whole, flags });
        }
        if place.end() != End::Plain && writes(flags) {
            // A directory is meant, and is not to be emptied first.
            return Err(self.exists_at_end(place, Errno::EISDIR));
        }
        let first = core::cell::RefCell::new(first);
        let open = self.on(place, |way| open(way, asked, &mut first.borrow_mut()))?;
        check_end(place, open).map(|open| Opening { open, path: whole, flags })
    }

    /// For a name that ends in a slash or a dot: `error` if there is something.
    fn exists_at_end(self, place: &Place<'_>, error: Errno) -> Errno {
        self.remote_stat(place).err().unwrap_or(error)
    }

    /// mkdir(2).
    ///
    /// # Errors
    /// As there.
    pub fn remote_mkdir(self, place: &Place<'_>, mode: u32) -> Result<()> {
        if place.end() == End::Dot {
            return Err(self.exists_at_end(place, Errno::EEXIST));
        }
        let mode = mode & (0o777 | mode::STICKY) & !self.mask();
        self.once(place, |way| {
            let (dir, name) = way.parent().ok_or(Errno::EEXIST)?;
            made(way, way.client().mkdir_at(dir, name, mode, group(way)).map(drop))
        })
    }

    /// symlink(2).
    ///
    /// # Errors
    /// As there; EPERM where the dialect has no links.
    pub fn remote_symlink(self, place: &Place<'_>, target: &[u8]) -> Result<()> {
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        self.makes_file(place)?;
        self.once(place, |way| {
            let (dir, name) = way.parent().ok_or(Errno::EEXIST)?;
            let done = way.client().symlink_at(dir, name, target, group(way)).map(drop);
            made(way, done)
        })
    }

    /// mknod(2).
    ///
    /// # Errors
    /// As there; EPERM where the dialect or the server has no such files: none
    /// of ours has devices, those of Plan 9's dialects neither pipes nor sockets.
    pub fn remote_mknod(self, place: &Place<'_>, bits: u32, device: u64) -> Result<()> {
        let kind = bits & mode::FORMAT;
        match kind {
            0 | mode::REGULAR | mode::FIFO | mode::SOCKET => {}
            mode::CHARACTER | mode::BLOCK => {}
            mode::DIRECTORY => return Err(Errno::EPERM),
            _ => return Err(Errno::EINVAL),
        }
        self.makes_file(place)?;
        let bits = bits & (mode::FORMAT | mode::PERMISSIONS) & !self.mask();
        self.once(place, |way| {
            let (dir, name) = way.parent().ok_or(Errno::EEXIST)?;
            if matches!(kind, 0 | mode::REGULAR) {
                let flags = wire::CREATE | wire::EXCL | wire::WRONLY;
                let permissions = bits & mode::PERMISSIONS;
                let file = way.client().create_at(dir, name, flags, permissions, group(way));
                let file = made(way, file)?;
                way.client().clunk(file.fid);
                return Ok(());
            }
            let numbers = (libc::major(device), libc::minor(device));
            match made(way, way.client().mknod_at(dir, name, bits, numbers, group(way))) {
                // That there is one by the name is said first.
                Err(Errno::EPERM | Errno::EOPNOTSUPP) => {
                    let there = way.client().getattr_at(way.route()).is_ok();
                    Err(if there { Errno::EEXIST } else { Errno::EPERM })
                }
                done => done.map(|qid| self.stand_anew(place.id, qid.path, kind)),
            }
        })
    }

    /// What is made here is no directory, so that its name ends in a component.
    fn makes_file(self, place: &Place<'_>) -> Result<()> {
        match place.end() {
            End::Plain => Ok(()),
            End::Dot => Err(self.exists_at_end(place, Errno::EEXIST)),
            End::Slash => Err(self.exists_at_end(&bare(place), Errno::EEXIST)),
        }
    }

    /// unlink(2), or rmdir(2).
    ///
    /// # Errors
    /// As there.
    pub fn remote_unlink(self, place: &Place<'_>, is_dir: bool) -> Result<()> {
        match (place.end(), is_dir) {
            (End::Dot, true) => return Err(self.exists_at_end(place, Errno::EINVAL)),
            (End::Dot, false) => return Err(self.exists_at_end(place, Errno::EISDIR)),
            (End::Slash, _) => match self.remote_stat(&bare(place))?.is_dir() {
                false => return Err(Errno::ENOTDIR),
                true if !is_dir => return Err(Errno::EISDIR),
                true => {}
            },
            _ => {}
        }
        let path = place.from_root()?;
        let (losers, last) = if is_dir {
            (None, None)
        } else {
            self.anchor(place.id, &path);
            (self.losers(place.id, &path), self.last_of(place))
        };
        self.once(place, |way| {
            let busy = if is_dir { Errno::EBUSY } else { Errno::EISDIR };
            let (dir, name) = way.parent().ok_or(busy)?;
            way.in_parent(way.client().unlink_at(dir, name, is_dir))
        })?;
        self.process.name_removed(place.id, &path);
        self.keep_in_memory(losers);
        if let Some(number) = last {
            self.stand_down(place.id, number);
        }
        Ok(())
    }

    /// linkat(2), not following.
    ///
    /// # Errors
    /// As there; EXDEV between servers, EPERM where the dialect has no links.
    pub fn remote_link(self, old: &Place<'_>, new: &Place<'_>) -> Result<()> {
        if old.id != new.id {
            return Err(Errno::EXDEV);
        }
        if old.end() != End::Plain || new.end() != End::Plain {
            self.remote_stat(old)?;
        }
        self.makes_file(new)?;
        let link = |from: &Way<'_>, new: &Place<'_>| {
            let to = Way::new(self, new)?;
            let (dir, name) = to.parent().ok_or(Errno::EEXIST)?;
            same_connection(from, &to)?;
            match from.client().link_at(from.route(), dir, name) {
                // Of a directory there is no second name; but what is wrong with
                // that name is said first.
                Err(Errno::EPERM) => Err(match to.client().getattr_at(to.route()) {
                    Ok(_) => Errno::EEXIST,
                    Err(Errno::ENOENT) => match to.client().getattr_at(dir) {
                        Ok(attr) if attr.valid & valid::NLINK != 0 && attr.nlink == 0 => {
                            Errno::ENOENT
                        }
                        told => told.err().unwrap_or(Errno::EPERM),
                    },
                    Err(error) => error,
                }),
                done => to.in_parent(done),
            }
        };
        self.going(new, |new| self.once(old, |from| link(from, new)))
    }

    /// openat(2): a descriptor.
    ///
    /// # Errors
    /// Those of [`remote_open`](Self::remote_open); EMFILE.
    pub fn remote_openat(self, place: &Place<'_>, flags: i32, mode: u32) -> Result<i32> {
        if let Some(fd) = self.near_open(place, flags)? {
            return Ok(fd);
        }
        let mut first = Vec::new();
        if !writes(flags) && flags & (libc::O_DIRECTORY | libc::O_PATH) == 0 {
            first.resize(FIRST, 0);
        }
        let remotes = &self.process.remotes;
        let before = remotes.all_changes();
        let Opening { open, path, flags: known } =
            self.remote_open(place, flags, mode, &mut first)?;
        let filled = open.opened.first.unwrap_or(0);
        let meta = open.opened.attr.map(|attr| Meta::new(&open.conn, attr));
        let file = Arc::new(File::new(place.id, open, path, known));
        if place.itself().is_some_and(File::is_removed) {
            file.remove();
        }
        if file.is_dir() {
            self.reached(&file);
        }
        let has = |flag| flags & flag != 0;
        if has(libc::O_TRUNC) {
            remotes.changed(&file);
        }
        let (changes, now) = (remotes.changes(&file), remotes.all_changes());
        // Making and emptying a file are changes, our own. Other threads may
        // have made others: then what the server said is perhaps of before.
        if now == before + u64::from(has(libc::O_CREAT)) + u64::from(has(libc::O_TRUNC)) {
            if let Some(meta) = meta {
                self.tell(&file, meta, now);
            }
            self.read_at_open(&file, first, filled, changes);
        }
        self.process.stand(file).map_err(|(_, error)| error)
    }

    /// Notes what was told with an open, which is of the moment of `changes`.
    pub(super) fn tell(self, file: &File, meta: Meta, changes: u64) {
        let told = Told { meta, changes, until: Kernel.now_ms() + MOMENT };
        drop(file.told.put(Box::new(told)));
    }

    /// What was told with the open of the open file that is asked about: once,
    /// and as long as nothing has changed. Most programs ask right after it.
    fn told(self, place: &Place<'_>) -> Option<Meta> {
        let told = place.opened()?.told.take()?;
        let fresh = told.changes == self.process.remotes.all_changes();
        (fresh && Kernel.now_ms() < told.until).then_some(told.meta)
    }
}

/// The group that what we make is to have; a server that shows its own users
/// as us knows better.
fn group(way: &Way<'_>) -> u32 {
    if way.conn().me.is_some() { NONUM } else { Kernel.getegid() }
}

pub(super) fn is_link(bits: u32) -> bool {
    bits & mode::FORMAT == mode::SYMLINK
}

/// The place without the slashes at its end: the last component itself.
pub(super) fn bare<'a>(place: &Place<'a>) -> Place<'a> {
    let mut path = place.path;
    while let Some(rest) = path.strip_suffix(b"/") {
        path = rest;
    }
    Place { path, ..*place }
}

/// The directory that the last component is in.
pub(super) fn dir_of<'a>(place: &Place<'a>) -> Place<'a> {
    let bare = bare(place).path;
    let dir = &bare[..bare.len() - path::file_name(bare).len()];
    Place { path: if dir.is_empty() { b"." } else { dir }, ..*place }
}

/// Two ways that one request is about are on one connection: one of the two may
/// be of an open directory whose connection has been replaced since.
pub(super) fn same_connection(from: &Way<'_>, to: &Way<'_>) -> Result<()> {
    if alloc::sync::Arc::ptr_eq(from.conn(), to.conn()) { Ok(()) } else { Err(Errno::EIO) }
}

/// The dialects of Plan 9 have no error of their own for a name that is taken,
/// and say it in many ways: the file is looked at.
fn made<R>(way: &Way<'_>, done: Result<R>) -> Result<R> {
    match way.in_parent(done) {
        Err(Errno::EIO | Errno::EPERM | Errno::EACCES)
            if way.client().agreed().dialect != privns_ninep::Dialect::Linux
                && way.client().getattr_at(way.route()).is_ok() =>
        {
            Err(Errno::EEXIST)
        }
        done => done,
    }
}

/// The bits of open(2) as they go over the wire: those of most architectures,
/// whatever this one's are.
pub(super) fn wire_flags(flags: i32) -> u32 {
    let pairs = [
        (libc::O_TRUNC, wire::TRUNC),
        (libc::O_APPEND, wire::APPEND),
        (libc::O_EXCL, wire::EXCL),
        (libc::O_DSYNC, 0o10_000),
        (libc::O_SYNC & !libc::O_DSYNC, 0o4_000_000),
        (libc::O_DIRECTORY, wire::DIRECTORY),
        (libc::O_NOFOLLOW, 0o400_000),
        (libc::O_NOATIME, 0o1_000_000),
    ];
    let access = (flags & libc::O_ACCMODE) as u32;
    // 3 is neither reading nor writing to open(2), and both to its checks.
    let access = if access == 3 { wire::RDWR } else { access };
    pairs.iter().filter(|(ours, _)| flags & ours != 0).fold(access, |sum, (_, bit)| sum | bit)
}

fn writes(flags: i32) -> bool {
    flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0
}

/// O_PATH: a fid that is not opened.
fn open_path(way: &Way<'_>, flags: i32) -> Result<Open> {
    let client = way.client();
    let route = way.route();
    let (fid, attr) = client.find_at(route)?;
    let qid = attr.qid;
    let refused = match is_link(attr.mode) {
        true if flags & libc::O_NOFOLLOW == 0 => Some(Errno::ELOOP),
        _ if flags & libc::O_DIRECTORY != 0 && !qid.is_dir() => Some(Errno::ENOTDIR),
        _ => None,
    };
    if let Some(error) = refused {
        client.clunk(fid);
        return Err(error);
    }
    let opened = Opened { fid, qid, iounit: 0, attr: Some(attr), first: None };
    Ok(Open::new(way.conn().clone(), opened))
}

fn open(way: &Way<'_>, flags: i32, first: &mut [u8]) -> Result<Open> {
    let client = way.client();
    let route = way.route();
    // What would be read by a file that is emptied or written is of no use.
    let first = if writes(flags) { &mut [] } else { first };
    let opened = match client.open_by(route, wire_flags(flags), first) {
        // The kernel looks at the type of what is not to be followed first.
        Err(Errno::ELOOP)
            if flags & libc::O_DIRECTORY != 0
                && flags & libc::O_NOFOLLOW != 0
                && client.getattr_at(route).is_ok_and(|attr| is_link(attr.mode)) =>
        {
            return Err(Errno::ENOTDIR);
        }
        opened => opened?,
    };
    check(way, opened, flags)
}

/// What the server may have let pass and the kernel would not.
fn check(way: &Way<'_>, opened: Opened, flags: i32) -> Result<Open> {
    let bits = opened.attr.map_or(0, |attr| attr.mode) & mode::FORMAT;
    let refused = match bits {
        _ if opened.qid.is_symlink() || bits == mode::SYMLINK => Some(Errno::ELOOP),
        _ if opened.qid.is_dir() && (writes(flags) || flags & libc::O_CREAT != 0) => {
            Some(Errno::EISDIR)
        }
        _ if !opened.qid.is_dir() && flags & libc::O_DIRECTORY != 0 => Some(Errno::ENOTDIR),
        // What these are is the server's host's to know, and a pipe is opened here (`meet`).
        mode::SOCKET | mode::FIFO | mode::CHARACTER | mode::BLOCK => Some(Errno::ENXIO),
        _ => None,
    };
    if let Some(error) = refused {
        way.client().clunk(opened.fid);
        return Err(error);
    }
    Ok(Open::new(way.conn().clone(), opened))
}

/// A file is meant by a name that ends in a slash only if it is a directory.
fn check_end(place: &Place<'_>, open: Open) -> Result<Open> {
    if place.end() == End::Plain || open.opened.qid.is_dir() {
        return Ok(open);
    }
    Err(Errno::ENOTDIR)
}

/// O_CREAT. A server of ours does all of it at once; others might follow a
/// link, and those of Plan 9 know exclusive creation only. With it the flags, as in
/// [`Opening`].
fn create(way: &Way<'_>, flags: i32, bits: u32) -> Result<(Open, i32)> {
    let client = way.client();
    let (dir, name) = way.parent().ok_or(Errno::EISDIR)?;
    let with = |flags: i32| {
        let flags = wire_flags(flags) | wire::CREATE;
        client.create_at(dir, name, flags, bits, group(way))
    };
    let exclusive = flags & libc::O_EXCL != 0;
    if client.agreed().ours || exclusive {
        let made = made(way, with(flags))?;
        return check(way, made, flags).map(|open| (open, flags));
    }
    let (there, new) = (flags & !libc::O_CREAT, flags | libc::O_EXCL);
    for _ in 0..RACES {
        match open(way, there, &mut []) {
            Err(Errno::ENOENT) => {}
            opened => return opened.map(|open| (open, there)),
        }
        match made(way, with(new)) {
            Err(Errno::EEXIST) => {}
            made => return check(way, made?, flags).map(|open| (open, new)),
        }
    }
    Err(Errno::EEXIST)
}

/// How often somebody may remove and make a file while we open it.
const RACES: usize = 8;

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
