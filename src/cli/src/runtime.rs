//! The runtime directory: how living families are found.
//!
//! One directory a family, by its number, with `table` (a link to the
//! keeper's descriptor of the table) and `skel` (its skeleton); beside them
//! `@NAME`, a link to the number. Whoever owns an entry holds
//! `flock(LOCK_SH)` on its directory: the keeper, from the moment it is made.
//! An entry that nobody holds is stale, and whoever meets it clears it away,
//! unless members live on without their keeper.
//!
//! Lock order: the lock on the runtime directory before that on an entry. The
//! former is held for a few calls only, never while anything is waited for.

mod lasting;
mod living;

pub use lasting::Lasting;
pub(crate) use living::open_table;
pub use living::{Living, by_pid, keeper_of, members};

use crate::failure::{Failure, shown};
use crate::tree::{self, errno};
use privns_abi::{Errno, Result};
use privns_host::Kernel;
use privns_namespace::Family;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A runtime directory of the user's own.
pub struct Runtime {
    dir: OwnedFd,
    path: Vec<u8>,
}

/// A family's place in it, held.
pub struct Entry {
    dir: OwnedFd,
    id: u64,
    name: Vec<u8>,
    path: Vec<u8>,
}

/// The entry that this process has made: its family's number, and its path.
static OWN: OnceLock<(u64, Vec<u8>)> = OnceLock::new();

/// How long to wait for a family that is just being made.
const BIRTH: Duration = Duration::from_secs(5);

impl Runtime {
    /// The first place that is there and safe, made where needed.
    ///
    /// # Errors
    /// No such place; says what was tried.
    pub fn make() -> std::result::Result<Runtime, Failure> {
        let mut tried = Vec::new();
        for path in candidates() {
            match open(&path, Kernel.geteuid(), true) {
                Ok(dir) => return Ok(Runtime { dir, path }),
                Err(e) => tried.push(format!("{}: {e}", shown(&path))),
            }
        }
        Err(Failure::new("no runtime directory", tried.join(", "))
            .fix("set XDG_RUNTIME_DIR to a directory of your own"))
    }

    /// All that are there.
    #[must_use]
    pub fn all() -> Vec<Runtime> {
        Runtime::each().collect()
    }

    /// The same, each opened when it is asked for.
    pub fn each() -> impl Iterator<Item = Runtime> {
        let open =
            |path: Vec<u8>| Some(Runtime { dir: open(&path, Kernel.geteuid(), false).ok()?, path });
        candidates().into_iter().filter_map(open)
    }

    /// Enters a family; its name must not be another living one's.
    ///
    /// # Errors
    /// EEXIST for a name that is taken; what mkdirat(2) and symlinkat(2) say.
    pub fn enter(&self, id: u64, name: &[u8]) -> Result<Entry> {
        let name = name.to_vec();
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        let key = number(id);
        let make = || rustix::fs::mkdirat(&self.dir, &key[..], Mode::from_raw_mode(mode()));
        match make() {
            // One of this number that has ended, and could not clear up.
            Err(rustix::io::Errno::EXIST) if self.clear_if_stale(&key) => make().map_err(errno)?,
            made => made.map_err(errno)?,
        }
        let dir = tree::open_dir(&self.dir, &key)?;
        rustix::fs::flock(&dir, FlockOperation::LockShared).map_err(errno)?;
        let path = [&self.path[..], b"/", &key].concat();
        let _ = OWN.set((id, path.clone()));
        let entry = Entry { dir, id, name, path };
        if let Some(job) = crate::world::job() {
            let _ = rustix::fs::symlinkat(&job[..], &entry.dir, "job");
        }
        rustix::fs::mkdirat(&entry.dir, "skel", Mode::from_raw_mode(0o755)).map_err(errno)?;
        if !entry.name.is_empty()
            && let Err(e) = self.claim(&entry)
        {
            entry.remove();
            return Err(e);
        }
        Ok(entry)
    }

    fn claim(&self, entry: &Entry) -> Result<()> {
        let link = link(&entry.name);
        let put = || rustix::fs::symlinkat(&number(entry.id)[..], &self.dir, &link[..]);
        match put() {
            Err(rustix::io::Errno::EXIST) => {}
            done => return done.map_err(errno),
        }
        if !self.clear_if_stale(&tree::read_link(&self.dir, &link)?) {
            return Err(Errno::EEXIST);
        }
        let _ = rustix::fs::unlinkat(&self.dir, &link[..], AtFlags::empty());
        put().map_err(errno)
    }

    /// The table of a living family by its number.
    ///
    /// # Errors
    /// ESRCH when there is none.
    pub fn by_id(&self, id: u64) -> Result<Family> {
        let path = [&number(id)[..], b"/table"].concat();
        let flags = OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.dir, &path[..], OFlags::RDWR | flags, Mode::empty())
            .or_else(|_| rustix::fs::openat(&self.dir, &path[..], flags, Mode::empty()))
            .map_err(|_| Errno::ESRCH)?;
        let family = Family::attach(fd.into_raw_fd())?;
        // The keeper's number, or that of its descriptor, may be another's now.
        if family.id() != id || family.is_closed() {
            family.close();
            return Err(Errno::ESRCH);
        }
        Ok(family)
    }

    /// The number of the family that has a name, living or not.
    fn id_of(&self, name: &[u8]) -> Option<u64> {
        parse(&tree::read_link(&self.dir, &link(name)).ok()?)
    }

    /// The host path of a family's skeleton, if its entry is here.
    #[must_use]
    pub fn skeleton_of(&self, id: u64) -> Option<Vec<u8>> {
        let rest = [&number(id)[..], b"/skel"].concat();
        rustix::fs::statat(&self.dir, &rest[..], AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some([&self.path[..], b"/", &rest].concat())
    }

    /// The directory of an entry, living or not.
    ///
    /// # Errors
    /// openat(2)'s.
    pub fn entry(&self, id: u64) -> Result<OwnedFd> {
        tree::open_dir(&self.dir, &number(id))
    }

    /// Puts a link into the entry of a family, where there is one.
    pub fn note(id: u64, text: &[u8], name: &[u8]) {
        let own = OWN.get().filter(|own| own.0 == id);
        // The way to our own is checked, and nobody else's to change.
        let noted = own.map(|(_, path)| {
            let link = [path, &b"/"[..], name].concat();
            rustix::fs::symlinkat(text, CWD, &link[..])
        });
        if noted != Some(Ok(()))
            && let Some(entry) = Runtime::each().find_map(|runtime| runtime.entry(id).ok())
        {
            let _ = rustix::fs::symlinkat(text, &entry, name);
        }
    }

    /// The numbers of all entries, living or not.
    ///
    /// # Errors
    /// getdents64(2)'s.
    pub fn ids(&self) -> Result<Vec<u64>> {
        Ok(tree::names(&self.dir)?.iter().filter_map(|n| parse(n)).collect())
    }

    /// Clears away what nobody holds.
    pub fn sweep(&self) {
        let Ok(_lock) = self.lock(FlockOperation::NonBlockingLockExclusive) else { return };
        let names = tree::names(&self.dir).unwrap_or_default();
        for name in names.iter().filter(|n| parse(n).is_some()) {
            self.clear_if_stale(name);
        }
        for name in names.iter().filter(|n| n.starts_with(b"@")) {
            let to = tree::read_link(&self.dir, name).unwrap_or_default();
            let gone = rustix::fs::statat(&self.dir, &to[..], AtFlags::SYMLINK_NOFOLLOW).is_err();
            if gone {
                let _ = rustix::fs::unlinkat(&self.dir, &name[..], AtFlags::empty());
            }
        }
        self.tidy();
    }

    /// Clears an entry away if nobody holds it and no member lives; true when
    /// it is gone. The directory is locked by the caller.
    fn clear_if_stale(&self, key: &[u8]) -> bool {
        let Some(id) = parse(key) else { return true };
        let dir = match tree::open_dir(&self.dir, key) {
            Ok(dir) => dir,
            Err(e) => return e == Errno::ENOENT,
        };
        if rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_err() {
            return false;
        }
        let member = |pid: i32| members(id).find(|(member, _)| *member == pid);
        if let Some((pid, fd)) = Living::look().members(id).into_iter().find_map(member) {
            // The keeper was killed: another member's descriptor will do.
            let target = format!("/proc/{pid}/fd/{fd}");
            let _ = rustix::fs::unlinkat(&dir, "table", AtFlags::empty());
            let _ = rustix::fs::symlinkat(target, &dir, "table");
            return false;
        }
        crate::instance::remove_recorded(id, &dir);
        tree::remove(&self.dir, key).is_ok()
    }

    /// Takes the directory away if no family is left in it.
    pub fn tidy(&self) {
        take_away(&self.path);
    }

    fn lock(&self, how: FlockOperation) -> Result<OwnedFd> {
        // On a description of its own: dropping it drops the lock.
        let dir = tree::open_dir(&self.dir, b".")?;
        rustix::fs::flock(&dir, how).map_err(errno)?;
        Ok(dir)
    }
}

/// Removes an empty directory. Somebody may be about to make something in it,
/// and then finds that it is gone: ENOENT, and begins again.
fn take_away(path: &[u8]) {
    let _ = rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR);
}

impl Entry {
    /// Lets the family be found: through the keeper's descriptor of the table.
    ///
    /// # Errors
    /// symlinkat(2)'s.
    pub fn publish(&self, keeper: i32, fd: i32) -> Result<()> {
        let target = format!("/proc/{keeper}/fd/{fd}");
        rustix::fs::symlinkat(target, &self.dir, "table").map_err(errno)
    }

    /// The host path of the skeleton.
    #[must_use]
    pub fn skeleton(&self) -> Vec<u8> {
        [&self.path[..], b"/skel"].concat()
    }

    /// The descriptor whose lock says that the entry is held.
    #[must_use]
    pub fn fd(&self) -> i32 {
        self.dir.as_raw_fd()
    }

    /// Takes the entry away.
    pub fn remove(&self) {
        let parent = privns_abi::path::parent(&self.path);
        let Ok(runtime) = tree::open_path(parent) else { return };
        // First what could be found, then the rest: the name before the table, since a
        // name without a table is a family that is being made.
        let key = number(self.id);
        if !self.name.is_empty() {
            let link = link(&self.name);
            if tree::read_link(&runtime, &link).is_ok_and(|to| to == key) {
                let _ = rustix::fs::unlinkat(&runtime, &link[..], AtFlags::empty());
            }
        }
        let _ = rustix::fs::unlinkat(&self.dir, "table", AtFlags::empty());
        let _ = tree::remove(&runtime, &key);
    }
}

/// Finds the living family of this name; one that is just being made is waited
/// for.
///
/// # Errors
/// ESRCH.
pub fn by_name(name: &[u8]) -> Result<Family> {
    let end = Instant::now() + BIRTH;
    loop {
        let runtimes = Runtime::all();
        let known: Vec<(&Runtime, u64)> =
            runtimes.iter().filter_map(|r| Some((r, r.id_of(name)?))).collect();
        if let Some(family) = known.iter().find_map(|(r, id)| r.by_id(*id).ok()) {
            return Ok(family);
        }
        for (runtime, _) in &known {
            runtime.sweep();
        }
        if !known.iter().any(|(r, id)| r.id_of(name) == Some(*id)) || Instant::now() > end {
            return Err(Errno::ESRCH);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a family of this name has members, or is just being made.
#[must_use]
pub fn is_lived_in(name: &[u8]) -> bool {
    let runtimes = Runtime::all();
    let mut entries = runtimes.iter().filter_map(|r| Some((r, r.id_of(name)?)));
    entries.any(|(runtime, id)| match runtime.by_id(id) {
        Ok(family) => {
            // A keeper that has only just been forked still has what its family
            // has, which may have ended by now.
            let known = [family.keeper() as i32, Kernel.getpid()];
            family.has_members().unwrap_or(true)
                && members(id).any(|(pid, _)| !known.contains(&pid))
        }
        Err(_) => {
            runtime.entry(id).is_ok_and(|e| tree::read_link(&e, b"table").is_err())
                && runtime.id_of(name) == Some(id)
        }
    })
}

/// Finds a living family by its name, or by its number in hexadecimal.
///
/// # Errors
/// ESRCH.
pub fn by_name_or_id(name: &[u8]) -> Result<Family> {
    by_name(name).or_else(|e| parse(name).map_or(Err(e), by_id))
}

/// The number of the family of this name, or of this number in hexadecimal,
/// living or not.
#[must_use]
pub fn id_of(name: &[u8]) -> Option<u64> {
    Runtime::all().iter().find_map(|r| r.id_of(name)).or_else(|| parse(name))
}

/// The batch job that a family was begun in.
#[must_use]
pub fn job_of(id: u64) -> Option<Vec<u8>> {
    let lasting = Lasting::all();
    let entry = Runtime::all()
        .iter()
        .find_map(|r| r.entry(id).ok())
        .or_else(|| lasting.iter().find_map(|l| tree::open_dir(&l.dir, &number(id)).ok()))?;
    tree::read_link(&entry, b"job").ok()
}

/// Finds a living family by its number.
///
/// # Errors
/// ESRCH.
pub fn by_id(id: u64) -> Result<Family> {
    Runtime::all().iter().find_map(|r| r.by_id(id).ok()).ok_or(Errno::ESRCH)
}

/// Whether a family has its place and no table yet: it is being made.
#[must_use]
pub fn is_being_born(id: u64) -> bool {
    Runtime::all().iter().any(|runtime| {
        let Ok(entry) = runtime.entry(id) else { return false };
        tree::read_link(&entry, b"table").is_err()
            && rustix::fs::flock(&entry, FlockOperation::NonBlockingLockExclusive).is_err()
    })
}

/// Where a runtime directory may be, best first.
fn candidates() -> Vec<Vec<u8>> {
    let uid = Kernel.geteuid();
    let given = std::env::var_os("XDG_RUNTIME_DIR").filter(|d| d.as_bytes().starts_with(b"/"));
    let mut paths = Vec::from_iter(given.map(|dir| [dir.as_bytes(), b"/privns"].concat()));
    let user = format!("/run/user/{uid}/privns").into_bytes();
    if !paths.contains(&user) {
        paths.push(user.clone());
    }
    paths.extend(Lasting::paths(uid));
    if uid == 0 {
        // Nobody else passes through there, and root's members may become anybody.
        paths.sort_by_key(|path| *path == user);
    }
    paths
}

/// How often a runtime directory may be taken away right after we have made it.
const MAKING: usize = 64;

/// Opens a runtime directory that is the user's own and that nobody else can
/// write; its parent is the user's own, or sticky.
fn open(path: &[u8], uid: u32, make: bool) -> Result<OwnedFd> {
    let parent = tree::open_dir(CWD, privns_abi::path::parent(path))?;
    let above = rustix::fs::fstat(&parent).map_err(errno)?;
    let shared = above.st_mode & 0o022 != 0;
    if (shared && above.st_mode & libc::S_ISVTX == 0) || (above.st_uid != uid && above.st_uid != 0)
    {
        return Err(Errno::EPERM);
    }
    let name = privns_abi::path::file_name(path);
    let mut tries = if make { MAKING } else { 0 };
    let dir = loop {
        if make {
            match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(mode())) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(e) => return Err(errno(e)),
            }
        }
        match tree::open_dir(&parent, name) {
            // Empty, and somebody has taken it away.
            Err(Errno::ENOENT) if tries > 0 => tries -= 1,
            opened => break opened?,
        }
    };
    let stat = rustix::fs::fstat(&dir).map_err(errno)?;
    if stat.st_uid != uid || stat.st_mode & 0o077 & !mode() != 0 {
        return Err(Errno::EPERM);
    }
    Ok(dir)
}

/// Makes the directory beside a skeleton in which members keep copies of what
/// they run of servers' trees, each user in one of their own, the one in which all meet
/// at pipes and sockets, and the one for notes on files that they send each other, which
/// are not to be listed; gives their paths. Members make them where we cannot.
pub fn make_shelf(skeleton: &[u8]) -> Vec<Vec<u8>> {
    // Root's families may have members of other users, who could make none.
    let make = |&(name, mode): &(&[u8], u32)| {
        let mode = Mode::from_raw_mode(if Kernel.geteuid() == 0 { mode } else { 0o700 });
        let dir = [privns_abi::path::parent(skeleton), name].concat();
        let made =
            rustix::fs::mkdir(&dir[..], mode).and_then(|()| rustix::fs::chmod(&dir[..], mode));
        matches!(made, Ok(()) | Err(rustix::io::Errno::EXIST)).then_some(dir)
    };
    let dirs: [(&[u8], u32); 3] = [(b"/shelf", 0o1777), (b"/meet", 0o1777), (b"/sent", 0o733)];
    dirs.iter().filter_map(make).collect()
}

/// Root's skeletons are for all whom its families serve to pass through.
fn mode() -> u32 {
    if Kernel.geteuid() == 0 { 0o711 } else { 0o700 }
}

fn number(id: u64) -> Vec<u8> {
    format!("{id:016x}").into_bytes()
}

fn parse(key: &[u8]) -> Option<u64> {
    if key.len() != 16 {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(key).ok()?, 16).ok()
}

fn link(name: &[u8]) -> Vec<u8> {
    [b"@", name].concat()
}

impl AsFd for Entry {
    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.dir.as_fd()
    }
}
