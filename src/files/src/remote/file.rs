//! One open remote file.

use super::conn::Conn;
use super::names::wire_flags;
use super::near::{Hand, NearFile};
use crate::process::View;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use privns_abi::{Errno, Result, path};
use privns_host::{Kernel, Rcu, Slot, signals};
use privns_ninep::attr::Attr;
use privns_ninep::client::Opened;

/// An open file as the server has it; it is clunked when nobody uses it any
/// more.
pub struct Open {
    /// The connection that it is open on.
    pub conn: Conn,
    /// The fid, and what is known of the file.
    pub opened: Opened,
    clunked: AtomicBool,
}

impl Open {
    /// A file that has just been opened.
    #[must_use]
    pub fn new(conn: Conn, opened: Opened) -> Open {
        Open { conn, opened, clunked: AtomicBool::new(false) }
    }

    fn clunk(&self) {
        if !self.clunked.swap(true, Ordering::Relaxed) && !self.conn.is_dead() {
            // A handler that speaks to the server would wait for this thread.
            let _calm = signals::calm();
            self.conn.client.release(&self.opened.fid);
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if *self.locked.get_mut() {
            self.unlock();
        }
        let open = self.known().filter(|open| !open.conn.is_dead());
        if let (Some(mut reader), Some(open)) = (self.reader.take(), open) {
            let _calm = signals::calm();
            reader.forget(&open);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.clunk();
    }
}

/// What can be done with an open file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Read and written.
    Regular,
    /// Listed.
    Directory,
    /// Named only (O_PATH).
    Path,
}

/// What a virtual descriptor, and all its duplicates, stand for.
pub struct File {
    server: u32,
    kind: Kind,
    /// `qid.path`: what tells the file from any other of the server.
    identity: u64,
    /// Those of open(2) that it was opened with.
    flags: AtomicI32,
    path: Rcu<Vec<u8>>,
    removed: AtomicBool,
    /// When a directory was last found under that name ([`View::path_now`]).
    pub(super) reached: AtomicU64,
    /// What it is held by where its tree is at hand ([`super::near`]).
    pub(super) hand: Hand,
    open: Rcu<Arc<Open>>,
    pub(super) offset: Offset,
    /// What was read beyond what was asked for.
    pub(super) ahead: Slot<super::io::Ahead>,
    /// Its attributes, told with the open.
    pub(super) told: Slot<super::names::Told>,
    /// What was last told of its length and when it was written, as one number; 0: nothing.
    state: AtomicU64,
    /// What reads ahead of a reader that goes from one end to the other.
    pub(super) reader: Slot<super::io::Reader>,
    /// Its descriptors are the file itself.
    pub(super) near: Option<NearFile>,
    /// What its description is called as an owner of locks: the same in every
    /// process that has it.
    pub(super) owner: u64,
    /// Locks were taken in that name.
    pub(super) locked: AtomicBool,
    /// Writes were under way on a connection that has died, and nobody was
    /// told.
    pub(super) lost: AtomicBool,
    /// Where the last append of this process has ended, on a server of others.
    pub(super) appended: AtomicU64,
}

/// Where reading and writing go on. A private one is a number here; one that
/// another process may share is the placeholder's, which the kernel keeps.
pub(super) struct Offset {
    pub(super) shared: AtomicBool,
    pub(super) at: AtomicU64,
}

impl File {
    /// A file that has just been opened with these flags of open(2), at this
    /// path from the server's root.
    #[must_use]
    pub fn new(server: u32, open: Open, path: Vec<u8>, flags: i32) -> File {
        let kind = match flags {
            _ if flags & libc::O_PATH != 0 => Kind::Path,
            _ if open.opened.qid.is_dir() => Kind::Directory,
            _ => Kind::Regular,
        };
        let mut file = File::unopened(server, kind, open.opened.qid.path, flags, path);
        file.owner = unique();
        if let Some(attr) = &open.opened.attr {
            file.has_changed(attr);
        }
        file.open.replace(Arc::new(open));
        file
    }

    /// One that another process has had open: its offset is shared.
    pub(super) fn inherited(
        server: u32,
        kind: Kind,
        identity: u64,
        flags: i32,
        path: Vec<u8>,
        removed: bool,
        owner: u64,
    ) -> File {
        let mut file = File::unopened(server, kind, identity, flags, path);
        *file.offset.shared.get_mut() = true;
        *file.removed.get_mut() = removed;
        file.owner = owner;
        file
    }

    /// One that was opened without the server: the offset is the descriptor's.
    pub(super) fn near(server: u32, identity: u64, flags: i32, path: Vec<u8>) -> File {
        let mut file = File::unopened(server, Kind::Regular, identity, flags, path);
        *file.offset.shared.get_mut() = true;
        file.owner = unique();
        file
    }

    fn unopened(server: u32, kind: Kind, identity: u64, flags: i32, path: Vec<u8>) -> File {
        // The position in a listing is the placeholder's from the beginning.
        let shared = AtomicBool::new(kind == Kind::Directory);
        let file = File {
            server,
            kind,
            identity,
            flags: AtomicI32::new(flags),
            path: Rcu::new(),
            removed: AtomicBool::new(false),
            reached: AtomicU64::new(0),
            hand: Hand::new(),
            open: Rcu::new(),
            offset: Offset { shared, at: AtomicU64::new(0) },
            ahead: Slot::new(),
            told: Slot::new(),
            state: AtomicU64::new(0),
            reader: Slot::new(),
            near: None,
            owner: 0,
            locked: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            appended: AtomicU64::new(0),
        };
        file.path.replace(path);
        file
    }

    /// Whether it has been written since its attributes were last told, by these.
    pub(super) fn has_changed(&self, attr: &Attr) -> bool {
        let written = attr.mtime.sec.wrapping_mul(1_000_000_000).wrapping_add(attr.mtime.nsec);
        let now = (written.rotate_left(24) ^ attr.size).max(1);
        let before = self.state.swap(now, Ordering::AcqRel);
        before != 0 && before != now
    }

    /// The number of the server.
    #[must_use]
    pub fn server(&self) -> u32 {
        self.server
    }

    /// What can be done with it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What tells the file from any other of its server.
    #[must_use]
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// The flags of open(2) that it was opened with.
    #[must_use]
    pub fn flags(&self) -> i32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// The name from the server's root, as far as this process knows.
    ///
    /// # Errors
    /// ENOENT for a file that has been removed.
    pub fn path(&self) -> Result<Vec<u8>> {
        if self.removed.load(Ordering::Relaxed) {
            return Err(Errno::ENOENT);
        }
        self.path.read().map(|path| path.clone()).ok_or(Errno::ENOENT)
    }

    /// The name that it was last known by.
    #[must_use]
    pub fn last_path(&self) -> Vec<u8> {
        self.path.read().map(|path| path.clone()).unwrap_or_default()
    }

    /// Whether it has been removed, as far as this process knows.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    /// Its name, or a directory above it, has become another.
    pub(super) fn renamed(&self, path: Vec<u8>) {
        self.path.replace(path);
    }

    /// Its name is gone.
    pub(super) fn remove(&self) {
        self.removed.store(true, Ordering::Relaxed);
    }

    /// The open file, whatever has become of its connection.
    pub(super) fn known(&self) -> Option<Arc<Open>> {
        self.open.read().map(|open| open.clone())
    }

    /// The very same open file on another connection.
    pub(super) fn reopened(&self, open: Open) -> Arc<Open> {
        let open = Arc::new(open);
        self.open.replace(open.clone());
        open
    }

    /// In the child of a fork: the parent has it open, on its own connection.
    pub(crate) fn forked(&self) {
        self.path.forked();
        drop((self.reader.take(), self.ahead.take()));
        self.open.forked();
        if let Some(open) = self.known() {
            open.conn.forsake();
            // Its memory may be amid what another thread was doing to it.
            core::mem::forget(open);
        }
    }

    /// The open file; opened again where its connection has died.
    ///
    /// # Errors
    /// ESTALE when it is another file now, or none; EIO.
    pub fn open(&self, view: View<'_>) -> Result<Arc<Open>> {
        if let Some(open) = self.known() {
            if !open.conn.is_dead() {
                return Ok(open);
            }
            self.note_lost(&open);
        }
        match self.open_again(view) {
            // It has another name by now.
            Err(Errno::ESTALE) if self.is_dir() && view.follow(self).is_ok() => {
                self.open_again(view)
            }
            opened => opened,
        }
    }

    /// Says once that something was lost.
    pub(super) fn tell_lost(&self) -> Result<()> {
        if self.lost.swap(false, Ordering::AcqRel) { Err(Errno::EIO) } else { Ok(()) }
    }

    /// How long it was when it was opened, as far as the server said.
    pub(super) fn length(&self) -> u64 {
        let attr = self.known().and_then(|open| open.opened.attr);
        attr.map_or(0, |attr| attr.size)
    }

    /// Where it ended when that was last known: for an append that the server is to put at the end,
    /// and some put where they are told (unpfs).
    pub(super) fn last_end(&self) -> u64 {
        self.appended.load(Ordering::Relaxed).max(self.length())
    }

    /// Waits until what was written is on the server. Whoever asks is told what became of it, and
    /// that is not dup2(2), which closes a file in silence.
    pub(super) fn await_writes(&self) {
        let Some(open) = self.known().filter(|open| !open.conn.is_dead()) else { return };
        let behind = || open.conn.client.is_behind(&open.opened.fid);
        let wait = || signals::calmly(|| open.conn.client.settle_all());
        // A handler has run, and what is waited for is still to come.
        while behind() && wait() == Err(Errno::EINTR) && !signals::is_calm() {}
    }

    /// What was written and not answered on a connection that has died.
    pub(super) fn note_lost(&self, open: &Open) {
        if !open.conn.is_forsaken() && open.conn.client.is_behind(&open.opened.fid) {
            self.lost.store(true, Ordering::Release);
        }
    }

    /// Opens it again for writing where it is told to.
    ///
    /// # Errors
    /// As [`File::open`].
    pub(super) fn stop_appending(&self, view: View<'_>) -> Result<()> {
        self.flags.fetch_and(!libc::O_APPEND, Ordering::Relaxed);
        let opened = signals::calmly(|| self.open_beside(view).map(drop));
        if opened.is_err() {
            // It appends still, and is not to be written as if it did not.
            self.flags.fetch_or(libc::O_APPEND, Ordering::Relaxed);
        }
        opened
    }

    /// Has what was opened append again, after a write that did not.
    ///
    /// # Errors
    /// As [`File::open`].
    pub fn append_again(&self, view: View<'_>) -> Result<()> {
        if self.flags.fetch_or(libc::O_APPEND, Ordering::Relaxed) & libc::O_APPEND != 0 {
            return Ok(());
        }
        signals::calmly(|| self.open_again(view).map(drop))
    }

    /// Opens it again from where it is open, name or not, where its server lets
    /// that be done; else by its name.
    fn open_beside(&self, view: View<'_>) -> Result<Arc<Open>> {
        let ours = |open: &Arc<Open>| !open.conn.is_dead() && open.conn.client.agreed().ours;
        let Some(open) = self.known().filter(ours) else { return self.open_again(view) };
        let flags = self.flags() & !(libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC);
        let client = &open.conn.client;
        let opened = client.open_at(&open.opened.fid, &[], wire_flags(flags), &mut [])?;
        Ok(self.reopened(Open::new(open.conn.clone(), opened)))
    }

    /// Walks there and opens it again, without making or emptying it.
    ///
    /// # Errors
    /// As [`File::open`].
    pub(super) fn open_again(&self, view: View<'_>) -> Result<Arc<Open>> {
        let conn = view.conn(self.server)?;
        let open = Open::new(conn.clone(), self.open_anew(&conn)?);
        Ok(self.reopened(open))
    }

    /// A fid of its own for the same file.
    fn open_anew(&self, conn: &Conn) -> Result<Opened> {
        self.open_as(conn, self.flags())
    }

    fn open_as(&self, conn: &Conn, flags: i32) -> Result<Opened> {
        if self.kind == Kind::Path {
            return self.found_anew(conn);
        }
        let path = self.path().map_err(|_| Errno::ESTALE)?;
        let names: Vec<&[u8]> = path::components(&path).collect();
        let flags = wire_flags(flags & !(libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC));
        let opened = conn.client.open_at(conn.root(), &names, flags, &mut []).map_err(stale)?;
        self.if_same(conn, opened)
    }

    /// The same without opening it.
    ///
    /// # Errors
    /// As [`File::open`].
    pub(super) fn found_anew(&self, conn: &Conn) -> Result<Opened> {
        let path = self.path().map_err(|_| Errno::ESTALE)?;
        let names: Vec<&[u8]> = path::components(&path).collect();
        let (fid, qid) = conn.client.walk(conn.root(), &names).map_err(stale)?;
        let qid = qid.unwrap_or(conn.root_qid);
        self.if_same(conn, Opened { fid, qid, iounit: 0, attr: None, first: None })
    }

    fn if_same(&self, conn: &Conn, opened: Opened) -> Result<Opened> {
        if opened.qid.path != self.identity {
            conn.client.clunk(opened.fid);
            return Err(Errno::ESTALE);
        }
        Ok(opened)
    }

    /// From now on other processes may share the offset: it is where they find
    /// it. `fd` is any descriptor of the file.
    pub(super) fn share_offset(&self, fd: i32) {
        if !self.offset.shared.load(Ordering::Acquire) {
            let at = self.offset.at.load(Ordering::Acquire);
            if Kernel.lseek(fd, at as i64, libc::SEEK_SET).is_ok() {
                self.offset.shared.store(true, Ordering::Release);
            }
        }
    }

    /// The same file, to be read alone.
    pub(super) fn to_read(&self, conn: &Conn) -> Result<File> {
        let opened = self.open_as(conn, libc::O_RDONLY)?;
        Ok(File::new(self.server, Open::new(conn.clone(), opened), self.last_path(), 0))
    }

    /// A fid to take locks by, of either kind if the server allows it.
    pub(super) fn open_for_locks(&self, conn: &Conn) -> Result<(Opened, bool)> {
        let both = (self.flags() & !libc::O_ACCMODE) | libc::O_RDWR;
        match self.open_as(conn, both & !libc::O_APPEND) {
            Err(Errno::EACCES | Errno::EPERM | Errno::EROFS) => {
                let writes = self.may(true).is_ok();
                self.open_anew(conn).map(|opened| (opened, writes))
            }
            opened => opened.map(|opened| (opened, true)),
        }
    }

    /// What the description has locked is free when the server sees the last
    /// of it: it is to see that before close(2) returns.
    fn unlock(&self) {
        let Some(open) = self.known().filter(|open| !open.conn.is_dead()) else { return };
        let _calm = signals::calm();
        open.clunk();
        let _ = open.conn.client.getattr(open.conn.root());
    }

    /// May be read or written through descriptors of this access mode.
    pub fn may(&self, write: bool) -> Result<()> {
        let access = self.flags() & libc::O_ACCMODE;
        let refused = if write { libc::O_RDONLY } else { libc::O_WRONLY };
        if self.kind == Kind::Path || access == refused || access == libc::O_ACCMODE {
            return Err(Errno::EBADF);
        }
        Ok(())
    }

    /// Whether what is written goes to the end.
    pub fn appends(&self, fd: i32) -> bool {
        Kernel.status_flags(fd).unwrap_or(self.flags()) & libc::O_APPEND != 0
    }
}

/// What a name has led to before, it leads to no more.
const fn stale(error: Errno) -> Errno {
    match error {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP => Errno::ESTALE,
        error => error,
    }
}

/// A number that no other open file description has.
fn unique() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    // The process, so that a child goes on with numbers of its own.
    let process = (Kernel.getpid() as u64) << 32;
    let last = LAST.load(Ordering::Relaxed);
    if last == 0 {
        let seed = Kernel.random().unwrap_or(0) | 1;
        let _ = LAST.compare_exchange(0, seed, Ordering::Relaxed, Ordering::Relaxed);
    }
    LAST.fetch_add(1, Ordering::Relaxed) ^ process
}
