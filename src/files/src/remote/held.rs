//! Directories that names begin in: the working directory, and those that are
//! open. What counts is the directory and not what it was called: somebody may
//! rename it, and put another at its name.
//!
//! A directory is *held*: by a fid, which follows it on its server, or by a
//! descriptor where the tree is at hand. Names below it are walked from there,
//! whatever it is called. Its name matters for getcwd(2) and the like, which ask
//! each time; and for what is resolved by names (`..`, mounts, unions), where it
//! is asked for once a second, and after a member of the family has renamed or
//! removed something that is called as one of its components is. One that is not
//! where it was is looked for from where it is held.
//!
//! A child and the next program are told its name and identity, and hold it
//! when they first use it.

use super::attrs::{Meta, inode};
use super::conn::Conn;
use super::file::{File, Kind, Open};
use super::names::is_link;
use super::nowhere;
use super::place::{Place, Way};
use crate::dirs;
use crate::process::{Process, View};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use privns_abi::{Errno, Result, path};
use privns_host::Name;
use privns_namespace::remote;
use privns_ninep::WALK_MAX;
use privns_ninep::attr::Qid;
use privns_ninep::client::{Fid, Opened};

impl Process {
    /// All open files, and the working directory if it is a remote one. One that
    /// is both comes twice.
    fn held(&self) -> impl Iterator<Item = Arc<File>> + '_ {
        self.remotes.files.all().chain(self.remote_cwd())
    }

    /// A name is gone from a server: what is open there can only be found by
    /// what has it open.
    pub(super) fn name_removed(&self, server: u32, path: &[u8]) {
        let gone = |file: &Arc<File>| file.server() == server && file.last_path() == path;
        self.held().filter(gone).for_each(|file| file.remove());
    }

    /// A name has become another one, and so have those below it.
    pub(super) fn name_changed(&self, server: u32, old: &[u8], new: &[u8]) {
        if old == new {
            return;
        }
        self.name_removed(server, new);
        for file in self.held().filter(|file| file.server() == server && !file.is_removed()) {
            let path = file.last_path();
            let Some(below) = path.strip_prefix(old) else { continue };
            if below.is_empty() || below.starts_with(b"/") {
                self.called(&file, [new, below].concat());
            }
        }
    }

    /// What the next program is told of the working directory beside its host
    /// name: its identity, when it was last found under that name, and whether it
    /// has been removed.
    pub fn cwd_told(&self, dir: &File) -> String {
        let reached = dir.reached.load(Ordering::Relaxed);
        let gone = if dir.is_removed() { "!" } else { "" };
        alloc::format!("{:x}.{reached:x}{gone}", dir.identity())
    }

    /// The next program begins where the last one was, as it is told.
    pub fn stand_in(&self, host: &[u8], told: &[u8]) {
        let text = core::str::from_utf8(told).unwrap_or_default();
        let numbers = text.strip_suffix('!').unwrap_or(text).split_once('.');
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        let numbers = numbers.and_then(|(a, b)| Some((number(a)?, number(b)?)));
        let (Some((identity, reached)), Some(place)) = (numbers, Place::of(host)) else { return };
        let Ok(path) = place.from_root() else { return };
        let dir = File::unheld(place.id, identity, path, text.ends_with('!'));
        dir.reached.store(reached, Ordering::Relaxed);
        dir.may_be_at_hand();
        self.set_remote_cwd(Arc::new(dir));
    }

    /// A file has another name. Others see the working directory's in `/proc`.
    fn called(&self, file: &File, path: Vec<u8>) {
        file.renamed(path);
        let cwd = self.remote_cwd().filter(|cwd| core::ptr::eq(&raw const **cwd, file));
        if let Some(host) = cwd.and_then(|cwd| cwd.host_name(&cwd.last_path()).ok()) {
            // The old one is as good to us.
            let _ = nowhere::leave(host.as_bytes());
        }
    }
}

impl File {
    /// The host name of a path of its server.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn host_name(&self, path: &[u8]) -> Result<Name> {
        let mut host = Name::from(&remote::name(self.server()))?;
        if !path.is_empty() {
            host.join(path)?;
        }
        Ok(host)
    }

    /// Whether it is the root of its server's tree.
    pub(super) fn is_top(&self) -> bool {
        self.kind() == Kind::Path && self.path().is_ok_and(|path| path.is_empty())
    }

    /// A directory that is known by its name and identity, and is not held yet.
    #[must_use]
    pub fn unheld(server: u32, identity: u64, path: Vec<u8>, removed: bool) -> File {
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        File::inherited(server, Kind::Path, identity, flags, path, removed, 0)
    }
}

impl View<'_> {
    /// Another number when the directory of this path may be another.
    fn moment(self, path: &[u8]) -> Result<u64> {
        let trail = dirs::trail_of(path)?;
        let epochs = dirs::epochs_of(&trail, &|slot| self.epoch(slot));
        Ok(privns_host::Kernel.second() << 32 | u64::from(epochs))
    }

    /// A directory was just reached by its name.
    pub(super) fn reached(self, file: &File) {
        if let Ok(moment) = self.moment(&file.last_path()) {
            file.reached.store(moment, Ordering::Relaxed);
        }
    }

    /// The path of an open file; a directory's as of this second.
    ///
    /// # Errors
    /// ENOENT for one that has no name any more.
    pub(crate) fn path_now(self, file: &File) -> Result<Vec<u8>> {
        let path = file.path()?;
        if !file.is_dir() || path.is_empty() {
            return Ok(path);
        }
        let exact = self.process.exact.load(Ordering::Relaxed);
        if !exact && file.reached.load(Ordering::Relaxed) == self.moment(&path)? {
            return Ok(path);
        }
        self.follow(file)?;
        file.path()
    }

    /// Sees to it that an open directory's path is what it is called now.
    ///
    /// # Errors
    /// ENOENT for a directory that has no name any more, or is called what
    /// nobody can tell.
    pub fn follow(self, file: &File) -> Result<()> {
        let path = file.path()?;
        let moment = self.moment(&path)?;
        if self.is_at(file, &path) {
            file.reached.store(moment, Ordering::Relaxed);
            return Ok(());
        }
        let found = self.found(file)?;
        let moment = self.moment(&found)?;
        if !self.is_at(file, &found) {
            return Err(Errno::ENOENT);
        }
        self.process.called(file, found);
        file.reached.store(moment, Ordering::Relaxed);
        Ok(())
    }

    /// Whether a path leads to an open directory. A server that cannot be asked
    /// has renamed nothing.
    fn is_at(self, file: &File, path: &[u8]) -> bool {
        let place = Place::from_top(file.server(), path);
        match self.stat_anew(&place) {
            Ok(meta) => meta.ino() == inode(file.identity()),
            Err(error) => !matches!(error, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP),
        }
    }

    /// Where it is, by what it is held by.
    fn found(self, file: &File) -> Result<Vec<u8>> {
        if let Some(path) = self.near_path(file) {
            return Ok(path);
        }
        let open = file.known().filter(|open| !open.conn.is_dead()).ok_or(Errno::ENOENT)?;
        let told =
            super::undisturbed(|| open.conn.client.path_of(&open.opened.fid, open.conn.root_qid));
        told.map_err(|_| Errno::ENOENT)
    }

    /// Does something about a place. Where its server lets nobody walk from what
    /// is open (walk(5)), and fids need not follow what is renamed, the way goes
    /// by the name of the directory that the place is relative to, and past that
    /// very directory. One that is not there is looked for.
    pub(super) fn going<R>(
        self,
        place: &Place<'_>,
        act: impl Fn(&Place<'_>) -> Result<R>,
    ) -> Result<R> {
        let Some(dir) = place.dir.filter(|dir| !place.is_open() && !self.walks_from(dir)) else {
            return act(place);
        };
        for again in [true, false] {
            let path = match self.path_from_root(dir) {
                Err(_) if self.goes_along(dir) => return act(place),
                path => path?,
            };
            let mut by_name = place.on_path(&path);
            if self.blurs(dir) {
                // No way is shown: open files have theirs by name alone.
                by_name.identity = None;
            }
            match act(&by_name) {
                // That has turned out by this very walk.
                Err(Errno::ESTALE) if again && by_name.identity.is_some() && self.blurs(dir) => {
                    if dir.kind() == Kind::Path {
                        return act(place);
                    }
                }
                Err(Errno::ESTALE) if again && self.follow(dir).is_ok() => {}
                // Not every server says behind which name it has found nothing.
                Err(Errno::ENOENT) if again && self.path_now(dir).is_ok_and(|p| p != path) => {}
                Err(Errno::ESTALE) if self.goes_along(dir) => return act(place),
                Err(Errno::ESTALE) => return Err(Errno::ENOENT),
                done => return done,
            }
        }
        Err(Errno::ENOENT)
    }

    /// The path of a directory whose way goes from the root.
    fn path_from_root(self, dir: &File) -> Result<Vec<u8>> {
        // Servers of ours are not told which directory to pass by.
        let former = dir.known().is_some_and(|open| open.conn.is_former());
        if former { self.path_now(dir) } else { dir.path() }
    }

    /// Holds a directory by a fid that was walked to by its name, if it is the one.
    pub(super) fn take_hold(self, dir: &File, conn: &Conn, (fid, qid): (Fid, Qid)) {
        let opened = Opened { fid, qid, iounit: 0, attr: None, first: None };
        let open = Open::new(conn.clone(), opened);
        if qid.path == dir.identity() && dir.kind() == Kind::Path {
            dir.reopened(open);
            self.reached(dir);
        }
    }

    /// Does something below a directory that is held in the tree at hand alone,
    /// and takes hold of it with its server in the same round trip. `None`: that
    /// cannot be done.
    pub(super) fn holding<R>(
        self,
        place: &Place<'_>,
        act: &impl Fn(&Way<'_>) -> Result<R>,
    ) -> Option<Result<R>> {
        let dir = place.dir.filter(|dir| !place.is_open() && dir.kind() == Kind::Path)?;
        if dir.known().is_some_and(|open| !open.conn.is_dead()) || dir.is_top() {
            return None;
        }
        let conn = self.process.remotes.servers.living(place.id)?;
        let path = self.near_path(dir).filter(|path| self.is_at(dir, path))?;
        let names: Vec<&[u8]> = path::components(&path).collect();
        if !conn.is_ordered() || names.len() > WALK_MAX {
            return None;
        }
        let way = Way::new(self, &place.on_path(&path)).ok()?;
        let walk = conn.client.walk_ahead(conn.root(), &names).ok()?;
        let done = act(&way);
        if let Ok((fid, Some(qid))) = conn.client.arrived(walk) {
            self.take_hold(dir, &conn, (fid, qid));
        }
        Some(done)
    }

    /// Whether names are walked from the fid of a directory: the server is one of
    /// ours, or shows no way, and then its fids follow (ganesha). A user that the
    /// process was before could go where it may not.
    fn walks_from(self, dir: &File) -> bool {
        let known = dir.known().map(|open| open.conn.clone());
        if known.as_ref().is_some_and(|conn| conn.is_former()) {
            return false;
        }
        let conn = known.map_or_else(|| self.conn(dir.server()), Ok);
        let held = dir.kind() == Kind::Path;
        // Nothing can be asked of a server that cannot be reached.
        conn.map_or(true, |conn| conn.is_ordered() || held && conn.client.blurs())
    }

    /// Whether nothing tells if a way passes by a directory.
    fn blurs(self, dir: &File) -> bool {
        self.process.remotes.servers.living(dir.server()).is_some_and(|conn| conn.client.blurs())
    }

    /// Whether the fid of a directory is of that directory still, whatever it
    /// is called: with some servers it is of whichever has the name.
    fn goes_along(self, dir: &File) -> bool {
        let held = |open: &Arc<Open>| !open.conn.is_dead() && !open.conn.is_former();
        let open = dir.known().filter(|open| dir.kind() == Kind::Path && held(open));
        let attr = |open: Arc<Open>| open.conn.client.getattr(&open.opened.fid).ok();
        open.and_then(|open| super::undisturbed(|| Ok(attr(open.clone()))).ok().flatten())
            .is_some_and(|attr| attr.qid.path == dir.identity())
    }

    /// A child or another program is about to be told where the working
    /// directory is: what it is called now, where that can be asked at all.
    pub fn name_cwd(self) {
        if !self.process.met() || self.process.guest().is_some() {
            return;
        }
        let Some(cwd) = self.process.remote_cwd() else { return };
        if self.process.remotes.servers.living(cwd.server()).is_some() {
            let _ = self.path_now(&cwd);
        }
    }

    /// chdir(2): the kernel's own working directory becomes one without a name,
    /// so that what gets past us finds nothing there.
    ///
    /// # Errors
    /// ENOTDIR, EACCES; those of the walk.
    pub fn remote_chdir(self, place: &Place<'_>) -> Result<()> {
        let dir = match place.opened() {
            Some(dir) => self.enter_open(place, dir)?,
            None => self.enter(place)?,
        };
        nowhere::leave(dir.host_name(&dir.last_path())?.as_bytes())?;
        dir.may_be_at_hand();
        self.process.set_remote_cwd(dir);
        Ok(())
    }

    /// Goes to what is open: it is held already.
    fn enter_open(self, place: &Place<'_>, dir: &File) -> Result<Arc<File>> {
        let meta = self.remote_stat(place)?;
        may_enter(&meta, place)?;
        let same = |file: &Arc<File>| core::ptr::eq(&raw const **file, dir);
        self.process.held().find(same).ok_or(Errno::EBADF)
    }

    fn enter(self, place: &Place<'_>) -> Result<Arc<File>> {
        let path = match place.itself() {
            Some(dir) => dir.last_path(),
            None => place.from_root()?,
        };
        // What a child holds that shares our memory would be in its own table
        // of descriptors, or on a connection of its own.
        let seen = match self.process.guest() {
            Some(_) => Some(self.remote_stat(place)?),
            None => self.near_stat(place)?,
        };
        let dir = match seen {
            Some(meta) => {
                may_enter(&meta, place)?;
                File::unheld(place.id, meta.identity(), path, false)
            }
            None => {
                let open = self.on(place, |way| {
                    let (fid, attr) = way.client().find_at(way.route())?;
                    let opened =
                        Opened { fid, qid: attr.qid, iounit: 0, attr: Some(attr), first: None };
                    let open = Open::new(way.conn().clone(), opened);
                    may_enter(&Meta::new(way.conn(), attr), place).map(|()| open)
                })?;
                File::new(place.id, open, path, libc::O_PATH | libc::O_DIRECTORY)
            }
        };
        if place.itself().is_some_and(File::is_removed) {
            dir.remove();
        }
        self.reached(&dir);
        Ok(Arc::new(dir))
    }
}

/// Whether it can be a working directory.
fn may_enter(meta: &Meta, place: &Place<'_>) -> Result<()> {
    if meta.is_dir() {
        return meta.permits(1, true);
    }
    let by_name = is_link(meta.mode()) && !place.is_open();
    Err(if by_name { Errno::ELOOP } else { Errno::ENOTDIR })
}
