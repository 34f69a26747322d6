//! Trees that this process can reach by itself.
//!
//! A server on this machine, of our own user and in our own mount namespace,
//! shows files that we could open without it. Where it says so, and the kernel
//! bears it out ([`privns_ninep::near`]), names are looked up and files opened
//! for reading right there; everything that changes something, and directories,
//! stay with the server. Nothing is remembered, so nothing can be stale: the
//! host's kernel is the one place where the truth is, and what we have written
//! is waited for before we look.
//!
//! The descriptor of such a file is no placeholder but the file itself, opened
//! by the kernel: its offset and flags are the kernel's, children and programs
//! inherit it as it is, and a call that gets past us reads the right bytes. When
//! something is asked that only the server can do (locks, attributes, shared
//! mappings) the file is walked to and opened there too.
//!
//! Where anything is in the way (another device below the root, a file that is
//! no regular one, a right that only the server has) the server is asked as
//! ever. It is asked also with `cache=none`, and with `owner=me`, whose
//! attributes are not the file's own.

use super::attrs::{Meta, device};
use super::conn::{Conn, Settings};
use super::file::{File, Kind};
use super::kept::KEPT;
use super::place::{End, Place};
use crate::process::View;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use privns_abi::{Errno, Result, path};
use privns_host::kernel::{OpenHow, RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS};
use privns_host::net::{self, Socket};
use privns_host::{Kernel, Name, elsewhere};
use privns_namespace::file::Cache;
use privns_ninep::attr::{Attr, Qid, Time, valid};
use privns_ninep::near::{BOOT, Near as Told};

/// The root of a tree, opened by ourselves.
pub(super) struct Near {
    /// An O_PATH descriptor, -1 when it is closed.
    root: AtomicI32,
    dev: u64,
    ino: u64,
}

/// What a file has that was opened without its server.
pub(super) struct NearFile {
    /// A descriptor that stood for it; which it is now has to be looked up.
    number: AtomicI32,
    /// Changes of ours that are known to have arrived.
    seen: AtomicU64,
}

/// Errors that are the name's: the server would say the same. Not ENAMETOOLONG:
/// a name of PATH_MAX below a working directory is longer still from the root,
/// and the server goes there name by name.
const fn is_final(error: Errno) -> bool {
    matches!(error, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP)
}

/// Flags of opens that need the server, or that are about no regular file.
const OTHERS: i32 = libc::O_CREAT | libc::O_DIRECTORY | libc::O_PATH | libc::O_TRUNC;

impl Near {
    /// Whether a mount is to be served this way at all.
    pub(super) fn is_wanted(settings: &Settings<'_>) -> bool {
        let unix = settings.dial.starts_with(b"unix!");
        unix && settings.cache != Cache::None && !settings.owner_me
    }

    /// Finds the tree that the server at the other end of `socket` tells of.
    pub(super) fn find(told: &[u8], socket: &Socket) -> Option<Near> {
        let told = Told::decode(told)?;
        let (pid, uid) = socket.peer().ok()?;
        let own = uid == Kernel.geteuid() && u32::try_from(pid) == Ok(told.pid);
        if !own || boot()? != told.boot {
            return None;
        }
        let mut path = Name::from(told.path).ok()?;
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let root = Kernel.openat(libc::AT_FDCWD, path.as_cstr().ok()?, flags, 0).ok()?;
        let near = Near { root: AtomicI32::new(root), dev: told.dev, ino: told.ino };
        if !near.is_there() || Kernel.mount_of(root) != Ok(told.mount) {
            return None;
        }
        let high = net::raised(root);
        near.root.store(high, Ordering::Relaxed);
        KEPT.add(high);
        Some(near)
    }

    /// The number still stands for the root: nobody has closed it behind our
    /// back and opened something else.
    fn is_there(&self) -> bool {
        let root = self.root();
        root >= 0 && Kernel.fstat(root).is_ok_and(|st| (st.dev, st.ino) == (self.dev, self.ino))
    }

    fn root(&self) -> i32 {
        elsewhere::here(self.root.load(Ordering::Relaxed))
    }

    /// What stood at one number stands at another; whether that was the root.
    pub(super) fn moved(&self, from: i32, to: i32) -> bool {
        self.root.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    pub(super) fn close(&self) {
        let root = self.root.swap(-1, Ordering::Relaxed);
        if root >= 0 {
            KEPT.remove(root);
            let _ = Kernel.close(root);
        }
    }
}

/// Opens a name in a tree that is at hand; no link is passed on the way.
fn open(from: i32, path: &mut Name, flags: i32) -> Result<i32> {
    let how = OpenHow::new(flags, 0, RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH);
    Kernel.openat2(from, path.as_cstr()?, &how)
}

/// The attributes of a name, as lstat(2) has them; no link is passed on the way.
fn stat(from: i32, path: &mut Name) -> Result<libc::stat> {
    if !path.as_bytes().contains(&b'/') {
        return Kernel.whole_stat(from, path.as_cstr()?, libc::AT_SYMLINK_NOFOLLOW);
    }
    let fd = open(from, path, libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC)?;
    let told = Kernel.whole_stat(fd, c"", libc::AT_EMPTY_PATH);
    let _ = Kernel.close(fd);
    told
}

/// What a working directory is held by: an `O_PATH` descriptor. It takes part in
/// fork, and ends with the directory that it is part of.
pub(super) struct Hand(AtomicI32);

impl Hand {
    /// Of what is no working directory, and of one that is not held.
    const NEVER: i32 = -2;
    const NONE: i32 = -1;

    pub(super) const fn new() -> Hand {
        Hand(AtomicI32::new(Hand::NEVER))
    }

    /// The descriptor, if it still stands for this directory.
    fn fd(&self, dev: u64, ino: u64) -> Option<i32> {
        let fd = elsewhere::here(self.0.load(Ordering::Relaxed));
        let there = |fd| Kernel.fstat(fd).is_ok_and(|st| (st.dev, st.ino) == (dev, ino));
        (fd >= 0 && there(fd)).then_some(fd)
    }

    /// Takes a descriptor; which one stands there now. Another thread may have
    /// put its own in the place of `old`.
    fn take(&self, old: i32, fd: i32) -> i32 {
        let relaxed = Ordering::Relaxed;
        match self.0.compare_exchange(old, fd, relaxed, relaxed) {
            Ok(_) => {
                KEPT.add(fd);
                fd
            }
            Err(theirs) => {
                let _ = Kernel.close(fd);
                theirs
            }
        }
    }

    /// What stood at one number stands at another; whether that was it.
    pub(super) fn moved(&self, from: i32, to: i32) -> bool {
        self.0.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        let fd = *self.0.get_mut();
        // One that was closed behind our back may be the program's by now.
        if fd >= 0 && KEPT.has(fd) {
            KEPT.remove(fd);
            let _ = Kernel.close(fd);
        }
    }
}

/// A name in a tree at hand, in which everything shows that we have done.
struct AtHand {
    conn: Conn,
    dev: u64,
    /// The root of the tree, or the working directory.
    from: i32,
    path: Name,
}

impl Drop for Near {
    fn drop(&mut self) {
        self.close();
    }
}

/// The number under which the kernel was booted.
fn boot() -> Option<[u8; BOOT]> {
    let path = c"/proc/sys/kernel/random/boot_id";
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    let fd = Kernel.openat(libc::AT_FDCWD, path, flags, 0).ok()?;
    let mut text = [0; BOOT];
    let read = Kernel.pread(fd, &mut text, 0);
    let _ = Kernel.close(fd);
    (read == Ok(BOOT)).then_some(text)
}

/// The attributes as a server of ours would tell them.
fn attr_of(st: &libc::stat) -> Attr {
    let time = |sec: i64, nsec: i64| Time { sec: sec as u64, nsec: nsec as u64 };
    let modified = (st.st_mtime as u64, st.st_mtime_nsec as u64);
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    Attr {
        valid: valid::BASIC,
        qid: Qid::of(st.st_mode, Qid::version_of(modified, st.st_size as u64), st.st_ino),
        mode: st.st_mode,
        uid: st.st_uid,
        gid: st.st_gid,
        nlink: st.st_nlink.into(),
        rdev: st.st_rdev,
        size: st.st_size as u64,
        blksize: st.st_blksize as u64,
        blocks: st.st_blocks as u64,
        atime: time(st.st_atime, st.st_atime_nsec),
        mtime: time(st.st_mtime, st.st_mtime_nsec),
        ctime: time(st.st_ctime, st.st_ctime_nsec),
        ..Attr::default()
    }
}

const fn is_regular(mode: u32) -> bool {
    mode & libc::S_IFMT == libc::S_IFREG
}

impl NearFile {
    const fn new(fd: i32, seen: u64) -> NearFile {
        NearFile { number: AtomicI32::new(fd), seen: AtomicU64::new(seen) }
    }

    /// One that another process has opened. Its writes are not ours to wait for.
    pub(super) const fn inherited() -> NearFile {
        NearFile::new(-1, 0)
    }
}

impl View<'_> {
    /// The way to a place by name in its tree at hand.
    fn near_tree(self, place: &Place<'_>) -> Result<Option<AtHand>> {
        if place.dir.is_some_and(|dir| dir.hand.0.load(Ordering::Relaxed) == Hand::NEVER) {
            return Ok(None);
        }
        let conn = self.conn(place.id)?;
        let Some(near) = &conn.near else { return Ok(None) };
        if !conn.client.is_settled() {
            return Ok(None);
        }
        let from = match place.dir {
            Some(dir) => self.hand_of(dir, near)?,
            None => near.is_there().then(|| near.root()),
        };
        let Some(from) = from else { return Ok(None) };
        let mut path = Name::from(b"")?;
        for (n, name) in place.names()?.iter().enumerate() {
            path.push(if n > 0 { b"/" } else { b"" })?;
            path.push(name)?;
        }
        if path.as_bytes().is_empty() && place.dir.is_some() {
            path.push(b".")?;
        }
        let dev = near.dev;
        Ok((!path.as_bytes().is_empty()).then_some(AtHand { conn, dev, from, path }))
    }

    /// The descriptor that holds a working directory, opened when it is first
    /// asked for. `None` when it is not where it was by then, and in a child that
    /// shares our memory, which has a table of descriptors of its own.
    fn hand_of(self, dir: &File, near: &Near) -> Result<Option<i32>> {
        if let Some(fd) = dir.hand.fd(near.dev, dir.identity()) {
            return Ok(Some(fd));
        }
        let old = dir.hand.0.load(Ordering::Relaxed);
        let (true, None, Ok(path)) = (near.is_there(), self.process.guest(), dir.path()) else {
            return Ok(None);
        };
        let mut path = Name::from(if path.is_empty() { b"." } else { &path })?;
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let Ok(fd) = open(near.root(), &mut path, flags) else { return Ok(None) };
        let same = |st: privns_abi::Stat| (st.dev, st.ino) == (near.dev, dir.identity());
        if !Kernel.fstat(fd).is_ok_and(same) {
            let _ = Kernel.close(fd);
            return Ok(None);
        }
        Ok(Some(dir.hand.take(old, net::raised(fd))))
    }

    /// Where a directory is that is held in a tree at hand.
    pub(super) fn near_path(self, dir: &File) -> Option<Vec<u8>> {
        let conn = self.process.remotes.servers.living(dir.server())?;
        let near = conn.near.as_ref().filter(|near| near.is_there())?;
        let fd = dir.hand.fd(near.dev, dir.identity())?;
        let (mut whole, mut root) = (Name::new(), Name::new());
        Kernel
            .fd_path(fd, &mut whole)
            .and_then(|()| Kernel.fd_path(near.root(), &mut root))
            .ok()?;
        path::below(whole.as_bytes(), root.as_bytes()).map(<[u8]>::to_vec)
    }

    /// A descriptor of the file itself, for an open that only reads. `None`: the
    /// server is to be asked.
    ///
    /// # Errors
    /// Those that are the name's own; EMFILE.
    pub(super) fn near_open(self, place: &Place<'_>, flags: i32) -> Result<Option<i32>> {
        if flags & (OTHERS | libc::O_ACCMODE) != 0 || place.end() != End::Plain {
            return Ok(None);
        }
        let Some(AtHand { conn, dev, from, mut path }) = self.near_tree(place)? else {
            return Ok(None);
        };
        match stat(from, &mut path) {
            // What is opened first and looked at then may be a pipe or a tape.
            Ok(st) if st.st_dev == dev && is_regular(st.st_mode) => {}
            Err(error) if is_final(error) => return Err(error),
            _ => return Ok(None),
        }
        let fd = match open(from, &mut path, flags | libc::O_NOCTTY) {
            Ok(fd) => fd,
            Err(error) if is_final(error) => return Err(error),
            Err(_) => return Ok(None),
        };
        let changes = self.process.remotes.all_changes();
        let stood = Kernel.whole_stat(fd, c"", libc::AT_EMPTY_PATH).and_then(|st| {
            let ours = st.st_dev == dev && is_regular(st.st_mode);
            if ours { self.stand_near(place, &conn, fd, (flags, changes), &st) } else { Ok(false) }
        });
        if !matches!(stood, Ok(true)) {
            let _ = Kernel.close(fd);
        }
        stood.map(|stands| stands.then_some(fd))
    }

    fn stand_near(
        self,
        place: &Place<'_>,
        conn: &Conn,
        fd: i32,
        (flags, changes): (i32, u64),
        st: &libc::stat,
    ) -> Result<bool> {
        let mut file = File::near(place.id, st.st_ino, flags, place.from_root()?);
        file.near = Some(NearFile::new(fd, self.process.remotes.changes(&file)));
        self.tell(&file, Meta::new(conn, attr_of(st)), changes);
        self.process.stand_at(fd, Arc::new(file)).map(|()| true)
    }

    /// lstat(2) of a name. `None`: the server is to be asked.
    ///
    /// # Errors
    /// As [`near_open`](Self::near_open).
    pub(super) fn near_stat(self, place: &Place<'_>) -> Result<Option<Meta>> {
        if let Some(file) = place.opened() {
            return Ok(self.near_fstat(file));
        }
        let Some(AtHand { conn, dev, from, mut path }) = self.near_tree(place)? else {
            return Ok(None);
        };
        match stat(from, &mut path) {
            Ok(st) if st.st_dev == dev => Ok(Some(Meta::new(&conn, attr_of(&st)))),
            Err(error) if is_final(error) => Err(error),
            _ => Ok(None),
        }
    }

    /// The attributes of an open file that is at hand.
    fn near_fstat(self, file: &File) -> Option<Meta> {
        self.by_number(file, |fd| Kernel.whole_stat(fd, c"", libc::AT_EMPTY_PATH))?
            .ok()
            .map(|st| Meta::plain(device(file.server()), attr_of(&st)))
    }

    /// How long such a file is.
    pub(super) fn near_size(self, file: &File) -> Option<u64> {
        self.near_fstat(file).map(|meta| meta.size())
    }

    /// Reads from such a file at an offset.
    pub(super) fn near_pread(self, file: &File, buf: &mut [u8], at: u64) -> Option<Result<usize>> {
        self.by_number(file, |fd| Kernel.pread(fd, buf, at))
    }

    /// Reads where the file's offset is, if `fd` is the file itself.
    pub(super) fn near_read(self, fd: i32, file: &File, buf: &mut [u8]) -> Option<Result<usize>> {
        file.near.as_ref()?;
        self.near_settle(file);
        Some(Kernel.read(fd, buf))
    }

    /// Does something with a descriptor of the file. Another thread may close
    /// the one that is found, and open something else at its number: what was
    /// done is good only if the number is the file's afterwards too.
    fn by_number<R>(self, file: &File, act: impl FnOnce(i32) -> R) -> Option<R> {
        file.near.as_ref()?;
        self.near_settle(file);
        let fd = self.number_of(file)?;
        let done = act(fd);
        (self.is_number(fd, file)).then_some(done)
    }

    fn is_number(self, fd: i32, file: &File) -> bool {
        self.process.file(fd).is_some_and(|other| core::ptr::eq(&raw const *other, file))
    }

    fn number_of(self, file: &File) -> Option<i32> {
        let near = file.near.as_ref()?;
        let known = near.number.load(Ordering::Relaxed);
        if self.is_number(known, file) {
            return Some(known);
        }
        let found = self.process.fds.slots().map(|(fd, _)| fd);
        let fd = found.into_iter().find(|&fd| self.is_number(fd, file))?;
        near.number.store(fd, Ordering::Relaxed);
        Some(fd)
    }

    /// What this process has written to the file shows in it.
    pub(super) fn near_settle(self, file: &File) {
        let Some(near) = &file.near else { return };
        let remotes = &self.process.remotes;
        if remotes.maps.any() {
            self.flush_mapped(file);
        }
        let changes = remotes.changes(file);
        if near.seen.load(Ordering::Acquire) == changes {
            return;
        }
        let living = remotes.servers.living(file.server());
        if let Some(conn) = living {
            // An error stays with the descriptor that was written through.
            let _ = privns_host::signals::calmly(|| conn.client.settle_all());
        }
        near.seen.store(changes, Ordering::Release);
    }

    /// Whether the kernel can map the file by its descriptor, privately. All
    /// that this process has written is in it.
    #[must_use]
    pub fn maps_itself(self, file: &File) -> bool {
        let near = file.is_near();
        if near {
            self.near_settle(file);
        }
        near
    }

    /// A name is about to go: what is open there, and nowhere but here, is
    /// opened at the server while that can be.
    pub(super) fn anchor(self, server: u32, path: &[u8]) {
        let files = &self.process.remotes.files;
        let near = |file: &Arc<File>| {
            file.near.is_some() && file.server() == server && file.known().is_none()
        };
        for file in files.all().filter(near).filter(|file| file.last_path() == path) {
            let _ = file.open(self);
        }
    }
}

/// Whether an inherited descriptor is the file that it is said to be.
pub(super) fn is_inherited(fd: i32, identity: u64) -> bool {
    let reads = Kernel.status_flags(fd).is_ok_and(|flags| flags & libc::O_ACCMODE == 0);
    reads && Kernel.fstat(fd).is_ok_and(|st| is_regular(st.mode) && st.ino == identity)
}

impl File {
    /// It is a working directory from now on, and may be held as one.
    pub(super) fn may_be_at_hand(&self) {
        let relaxed = Ordering::Relaxed;
        let _ = self.hand.0.compare_exchange(Hand::NEVER, Hand::NONE, relaxed, relaxed);
    }

    /// Whether its descriptors are the file itself.
    #[must_use]
    pub fn is_near(&self) -> bool {
        self.near.is_some() && self.kind() == Kind::Regular
    }
}
