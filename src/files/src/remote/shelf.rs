//! Copies of remote programs and libraries, which the kernel and the dynamic
//! loader open by themselves.
//!
//! # What a shelf is
//!
//! A directory beside the family's skeleton, one for each user,
//! `…/shelf/UID`, in which the servers' trees are mirrored, as far as something
//! of them was run or loaded: the file `app/lib/libx.so.1` of server 3 lies at
//! `3/app/lib/libx.so.1`. So what looks for files beside itself (`$ORIGIN` of
//! ld.so(8)) finds them there as it would on the server, and the name of a copy
//! says what it is a copy of ([`View::unshelved`]). What the loader is to find
//! there has been put there before: by exec and by dlopen, which search as the
//! loader does, in the namespace ([`crate::libraries`]). Where a name there is a
//! link, or the namespace has another file than the tree, it is a link here; `0`
//! is the host, for names of its that lead to a server. Beside them lie modules
//! that watch the loader (`preload::watch`), by their contents.
//!
//! # Why a copy can be trusted
//!
//! A copy's time of modification is none: it is a mark made of what the server
//! says of the file (number, version, length, time). A file is asked about each
//! time that it is run, and copied anew when the mark is another, so that
//! running it once more costs its attributes and none of its bytes. A file that
//! was changed a moment ago could change again without another time: it is
//! waited for, or its copy is not marked. A file's length is what can be read of
//! it, whatever the server said.
//!
//! A copy is made under a name of its own and moved into place, so that it is
//! whole for whoever opens it, and the last of several members that make it at
//! once wins. Only the user can come into the directory, which is looked at
//! before it is used; it is removed with the skeleton. Where it may not be run
//! from (noexec), or cannot be had (a member that has become another user in
//! another's family), programs are copied into memory each time, and libraries
//! are not found.

use super::attrs::Meta;
use super::file::File;
use super::place::Place;
use crate::process::View;
use alloc::boxed::Box;
use alloc::format;
use privns_abi::{Errno, Result};
use privns_host::{Host, Kernel, Name};
use privns_namespace::remote;

/// A state of a file, as a time that no clock has told.
type Mark = (i64, i64);

const MAKE: i32 = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
const LOOK: i32 = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW;

/// What a shelf is called in the family's directory.
const SHELF: &[u8] = b"/shelf";

/// Largest file that is copied, bytes.
const COPIED_MAX: u64 = 1 << 30;

/// How often what stands in the way of a copy is removed.
const TRIES: usize = 4;

/// How often a file that changes while it is copied is copied again.
const ROUNDS: usize = 3;

/// Nanoseconds after which a file that is changed again has another time: a tick
/// of the slowest clock that kernels keep for that, and of those that know
/// seconds only.
const TICK: i128 = 12_000_000;
const SECOND: i128 = 1_000_000_000;

/// A user's shelf.
pub(super) struct Shelf {
    uid: u32,
    path: Name,
}

/// A copy.
pub(super) struct Copied {
    /// Open for reading.
    pub(super) fd: i32,
    /// Its host name.
    pub(super) path: Name,
}

impl Drop for Copied {
    fn drop(&mut self) {
        let _ = Kernel.close(self.fd);
    }
}

impl View<'_> {
    /// The copy of the file at a place, if there is one of the state that
    /// `meta` tells of.
    ///
    /// # Errors
    /// ENOENT and EACCES where there is no shelf to be had.
    pub(super) fn copied(self, place: &Place<'_>, meta: &Meta) -> Result<Option<Copied>> {
        let mut path = self.copy_name(place)?;
        let fd = match Kernel.openat(libc::AT_FDCWD, path.as_cstr()?, LOOK, 0) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
            opened => opened?,
        };
        let copy = Copied { fd, path };
        let st = Kernel.whole_stat(fd, c"", libc::AT_EMPTY_PATH)?;
        let marked = (st.st_mtime, st.st_mtime_nsec) == mark(meta);
        let ours = st.st_uid == Kernel.geteuid() && st.st_mode & libc::S_IFMT == libc::S_IFREG;
        Ok((marked && ours).then_some(copy))
    }

    /// Copies an open file, which lies at a place.
    ///
    /// # Errors
    /// ENOSPC, EDQUOT, EFBIG; those of reading it.
    pub(super) fn copy(self, place: &Place<'_>, meta: &Meta, file: &File) -> Result<Copied> {
        let mut path = self.copy_name(place)?;
        let mut state = *meta;
        for round in 1.. {
            let mark = self.settled(&state);
            let mut new = self.new_name()?;
            let made = self.copy_to(file, &mut new, mark);
            // What changes all the time is run as it was read.
            let now = self.remote_stat(&Place::below(file, b"")).unwrap_or(state);
            let whole = round == ROUNDS || now.state() == state.state();
            let put =
                made.and_then(|()| if whole { self.put_up(&mut new, &mut path) } else { Ok(()) });
            if put.is_err() || !whole {
                let _ = Kernel.unlink(new.as_cstr()?);
            }
            put?;
            if whole {
                break;
            }
            state = now;
        }
        let fd = Kernel.openat(libc::AT_FDCWD, path.as_cstr()?, LOOK, 0)?;
        Ok(Copied { fd, path })
    }

    /// A name by which the host has the file of a host name: itself, or a copy.
    ///
    /// # Errors
    /// EACCES for what is no regular file, or may not be read, and where there
    /// is no shelf; those of [`View::copy`].
    pub(crate) fn at_hand(self, host: &[u8]) -> Result<Name> {
        let Some(place) = Place::of(host) else { return Name::from(host) };
        let meta = self.remote_stat(&place)?;
        if meta.mode() & libc::S_IFMT != libc::S_IFREG {
            return Err(Errno::EACCES);
        }
        let copy = match self.copied(&place, &meta)? {
            Some(copy) => copy,
            None => self.with_open(&place, |file| self.copy(&place, &meta, file))?,
        };
        Name::from(copy.path.as_bytes())
    }

    /// Does something with the file at a place, opened for reading.
    pub(super) fn with_open<R>(
        self,
        place: &Place<'_>,
        act: impl FnOnce(&File) -> Result<R>,
    ) -> Result<R> {
        let fd = self.remote_openat(place, libc::O_RDONLY | libc::O_CLOEXEC, 0)?;
        let done = self.process.file(fd).ok_or(Errno::EBADF).and_then(|file| act(&file));
        drop(self.process.leave(fd));
        let _ = Kernel.close(fd);
        done
    }

    /// Where on the shelf a host name is mirrored.
    ///
    /// # Errors
    /// ENOENT and EACCES where there is no shelf.
    pub(crate) fn mirrored(self, host: &[u8]) -> Result<Name> {
        let mut name = self.shelf()?;
        match remote::split(host) {
            Some((id, rest)) => name.push(format!("/{id}").as_bytes()).and(name.push(rest))?,
            None => name.push(b"/0").and(name.push(host))?,
        }
        Ok(name)
    }

    /// The host name that is mirrored at a name of the shelf; `None` for one
    /// that is none of it.
    #[must_use]
    pub fn unshelved(self, name: &[u8]) -> Option<Name> {
        // Most are none, and a shelf is not made to find that out.
        if !self.process.met() || !name.windows(SHELF.len()).any(|part| part == SHELF) {
            return None;
        }
        let rest = name.strip_prefix(self.shelf().ok()?.as_bytes())?.strip_prefix(b"/")?;
        let mut host = Name::from(remote::PREFIX).ok()?;
        match rest.strip_prefix(b"0/") {
            Some(_) => host.set(rest.get(1..)?).ok()?,
            None => host.push(rest).ok()?,
        }
        Some(host)
    }

    /// Takes the copy, or link, away that a host name has on the shelf.
    pub(crate) fn unshelve(self, host: &[u8]) {
        if let Ok(mut name) = self.mirrored(host) {
            let _ = name.as_cstr().and_then(|name| Kernel.unlink(name));
        }
    }

    /// Has a name of the shelf lead to a file.
    ///
    /// # Errors
    /// ENOSPC; the kernel's.
    pub(crate) fn lead(self, at: &mut Name, file: &mut Name) -> Result<()> {
        let mut text = Name::new();
        let known = Kernel.readlink(at.as_cstr()?, &mut text);
        if known.is_ok() && text.as_bytes() == file.as_bytes() {
            return Ok(());
        }
        self.put_new(at, |new| Kernel.symlink(file.as_cstr()?, new.as_cstr()?))
    }

    /// A file of these contents that the loader can open, which is made once.
    ///
    /// # Errors
    /// ENOENT and EACCES where there is no shelf; ENOSPC and its like.
    pub fn module(self, contents: &[u8]) -> Result<Name> {
        let mut name = self.shelf()?;
        name.push(format!("/module-{:016x}", hash(contents.iter().copied())).as_bytes())?;
        let st = name.as_cstr().and_then(|name| Kernel.whole_stat(libc::AT_FDCWD, name, 0));
        if st.is_ok_and(|st| st.st_size as usize == contents.len()) {
            return Ok(name);
        }
        self.put_new(&mut name, |new| new_file(new, |to| Kernel.pwrite(to, contents, 0)))?;
        Ok(name)
    }

    fn copy_name(self, place: &Place<'_>) -> Result<Name> {
        let mut host = Name::from(&remote::name(place.id))?;
        host.join(&place.from_root()?)?;
        self.mirrored(host.as_bytes())
    }

    /// A name on the shelf that nothing has.
    fn new_name(self) -> Result<Name> {
        let mut name = self.shelf()?;
        name.push(format!("/new-{:016x}", Kernel.random()?).as_bytes())?;
        Ok(name)
    }

    fn copy_to(self, file: &File, new: &mut Name, mark: Mark) -> Result<()> {
        new_file(new, |to| {
            self.fill(file, to, 0, COPIED_MAX + 1, 0)?;
            let whole = Kernel.extent(to)?.size <= COPIED_MAX;
            if whole { Kernel.set_modified(to, mark) } else { Err(Errno::EFBIG) }
        })
    }

    /// Makes something, and puts it up at a name; of what fails nothing is left.
    fn put_new(self, at: &mut Name, make: impl FnOnce(&mut Name) -> Result<()>) -> Result<()> {
        let mut new = self.new_name()?;
        make(&mut new).and_then(|()| self.put_up(&mut new, at)).inspect_err(|_| {
            let _ = new.as_cstr().and_then(|new| Kernel.unlink(new));
        })
    }

    /// Moves something to its place on the shelf, with the directories above.
    fn put_up(self, new: &mut Name, at: &mut Name) -> Result<()> {
        let mut done = Err(Errno::EIO);
        for _ in 0..TRIES {
            done = Kernel.rename(new.as_cstr()?, at.as_cstr()?);
            match done {
                Err(Errno::ENOENT | Errno::ENOTDIR) => self.make_parents(at.as_bytes())?,
                // It was a directory, and the file is new.
                Err(Errno::EISDIR | Errno::ENOTEMPTY | Errno::EEXIST) => {
                    Kernel.rename(at.as_cstr()?, self.new_name()?.as_cstr()?)?;
                }
                done => return done,
            }
        }
        done
    }

    /// Makes the directories above a name of the shelf; a file or link that was
    /// there is removed.
    fn make_parents(self, at: &[u8]) -> Result<()> {
        let shelf = self.shelf()?.as_bytes().len();
        for end in (shelf + 1..at.len()).filter(|&end| at.get(end) == Some(&b'/')) {
            let mut dir = Name::from(at.get(..end).unwrap_or_default())?;
            let dir = dir.as_cstr()?;
            if Kernel.lstat(dir).is_ok_and(|st| !st.is_dir()) {
                let _ = Kernel.unlink(dir);
            }
            make(dir, 0o700)?;
        }
        Ok(())
    }

    /// The mark of a state, which is one that cannot change without another
    /// time from here on, or the mark of none.
    fn settled(self, meta: &Meta) -> Mark {
        let (second, nanosecond) = Kernel.time();
        let [.., sec, nsec] = meta.state();
        let age = (i128::from(second) - i128::from(sec)) * SECOND + i128::from(nanosecond)
            - i128::from(nsec);
        let tick = if nsec == 0 { SECOND } else { TICK };
        match age {
            0..TICK if nsec != 0 => Kernel.pause((TICK - age) as u32),
            // The clocks differ, or nobody wants to wait that long.
            _ if age < tick && age > -2 * SECOND => return (0, 0),
            _ => {}
        }
        mark(meta)
    }

    /// The calling user's shelf.
    fn shelf(self) -> Result<Name> {
        let (known, uid) = (&self.process.remotes.shelf, Kernel.geteuid());
        if let Some(shelf) = known.get().filter(|shelf| shelf.uid == uid) {
            return Name::from(shelf.path.as_bytes());
        }
        let path = self.home().and_then(|home| shelf_in(Name::from(home.as_bytes())?, uid));
        let path = path.or_else(|error| self.other_shelf(uid).map_err(|_| error))?;
        let shelf = Shelf { uid, path: Name::from(path.as_bytes())? };
        let _ = known.set(Box::new(shelf));
        Ok(path)
    }

    /// A shelf elsewhere, where the family's directory is not known, or one that
    /// nothing may be run from: in the user's runtime directories, which the family's keeper
    /// clears up too.
    fn other_shelf(self, uid: u32) -> Result<Name> {
        if Kernel.extent(self.family.fd())?.uid != uid {
            return Err(Errno::EACCES);
        }
        let id = self.family.id();
        let in_place = |place: &str| {
            let mut name = Name::from(format!("{place}/privns-{uid}").as_bytes())?;
            own_directory(&mut name, uid)?;
            name.push(format!("/{id:016x}").as_bytes())?;
            own_directory(&mut name, uid)?;
            shelf_in(name, uid)
        };
        in_place("/dev/shm").or_else(|_| in_place("/tmp"))
    }
}

/// A user's shelf in a family's directory.
///
/// # Errors
/// EACCES where nothing may be run, and for what is another user's.
fn shelf_in(mut name: Name, uid: u32) -> Result<Name> {
    name.push(SHELF)?;
    shared(&mut name, uid)?;
    name.push(format!("/{uid}").as_bytes())?;
    own_directory(&mut name, uid)?;
    let fd = Kernel.openat(libc::AT_FDCWD, name.as_cstr()?, LOOK | libc::O_DIRECTORY, 0)?;
    let runs = Kernel.may_run_in(fd);
    let _ = Kernel.close(fd);
    if runs? { Ok(name) } else { Err(Errno::EACCES) }
}

/// Makes a file of the shelf, whatever the umask, with what `fill` writes to it.
fn new_file(name: &mut Name, fill: impl FnOnce(i32) -> Result<()>) -> Result<()> {
    let to = Kernel.openat(libc::AT_FDCWD, name.as_cstr()?, MAKE, 0o700)?;
    let filled = Kernel.fchmod(to, 0o700).and_then(|()| fill(to));
    let _ = Kernel.close(to);
    filled
}

/// Makes sure of a directory in which members make files: a user's own, or root's, whose families may
/// have members of other users.
///
/// # Errors
/// EACCES for what is another user's, or where others could exchange what is there.
pub(super) fn shared(name: &mut Name, uid: u32) -> Result<()> {
    shared_as(name, uid, 0o1777)
}

/// The same, where root's is to have this mode, under which nobody can do others any harm.
///
/// # Errors
/// As [`shared`].
pub(super) fn shared_as(name: &mut Name, uid: u32, mode: u32) -> Result<()> {
    let at = name.as_cstr()?;
    make(at, if uid == 0 { mode } else { 0o700 })?;
    let st = Kernel.lstat(at)?;
    let open = st.mode & 0o022 != 0 && st.mode & 0o7777 != mode;
    let ours = st.is_dir() && !open && (st.uid == uid || st.uid == 0);
    if ours { Ok(()) } else { Err(Errno::EACCES) }
}

/// Makes sure of a directory that only a user comes into; root's runtime
/// directories may be passed through.
fn own_directory(name: &mut Name, uid: u32) -> Result<()> {
    let at = name.as_cstr()?;
    make(at, 0o700)?;
    let st = Kernel.lstat(at)?;
    let ours = st.is_dir() && st.uid == uid && st.mode & 0o022 == 0;
    if ours { Ok(()) } else { Err(Errno::EACCES) }
}

/// Makes a directory of this mode, whatever the umask, unless there is one.
fn make(at: &core::ffi::CStr, mode: u32) -> Result<()> {
    match Kernel.mkdir(at, mode) {
        Ok(()) => Kernel.chmod(at, mode),
        Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Of what changes when the contents do.
fn mark(meta: &Meta) -> Mark {
    let hash = hash(meta.state().iter().flat_map(|word| word.to_ne_bytes()));
    // Seconds that every file system can keep, and never 0.
    (i64::from((hash >> 33) as u32 >> 1) + 1, i64::from(hash as u32 % 1_000_000_000))
}

/// FNV-1a (Fowler, Noll, Vo).
fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
#[path = "shelf_tests.rs"]
mod tests;
