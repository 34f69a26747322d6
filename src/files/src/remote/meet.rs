//! Pipes and sockets by their names on a server.
//!
//! The server keeps name, type and permissions (mknod(2)), and what goes through stays on the machine
//! that uses it, as with other network file systems. So each such file has a *stand-in*: a pipe or a
//! socket of this host in a directory beside the family's skeleton, called after the server and the
//! file's number there. All members meet in it, whichever of the file's names they use, and nobody
//! else does.
//!
//! A stand-in goes with the file's last name, where a member takes that away ([`View::last_of`]): who has
//! a pipe open goes on. That of a socket which is bound yet stays, so that the socket can tell what it was
//! bound as. A number may be given again when a file is gone, so whoever makes a file removes what stood
//! in for the one before ([`View::stand_anew`]); what is left goes with the family. In a family of
//! root's other users may make stand-ins too: one that is neither root's nor the caller's nor the file's
//! owner's is not used, which is why a pipe's is made with its name, and not by whoever opens it first.

use super::attrs::Meta;
use super::place::{End, Place};
use super::{shelf, undisturbed};
use crate::process::View;
use alloc::format;
use alloc::vec::Vec;
use privns_abi::{Errno, Result, path};
use privns_host::net::Socket;
use privns_host::{Host, Kernel, Name, dirent};
use privns_namespace::family::Flag;
use privns_ninep::attr::mode;

/// What the directory is called in the family's.
const MEET: &[u8] = b"/meet";
/// What is added to a socket's stand-in for the link that says what it was bound as.
const ADDRESS: &[u8] = b".name";
/// The bits of access(2). connect(2) asks for writing.
const READ: u32 = 4;
const WRITE: u32 = 2;

impl View<'_> {
    /// The host's pipe that stands for the one at a place, for an open with these flags. It is made
    /// where it is missing: the file may be older than the family, or another's.
    ///
    /// # Errors
    /// ENXIO for what is no pipe, and where nobody can meet; EACCES, ENOTDIR.
    pub fn remote_pipe(self, place: &Place<'_>, flags: i32) -> Result<Name> {
        let meta = self.met_at(place)?;
        if flags & libc::O_DIRECTORY != 0 {
            return Err(Errno::ENOTDIR);
        }
        // Nothing is cut off, and yet it is asked for.
        let cut = if flags & libc::O_TRUNC != 0 { WRITE } else { 0 };
        let wanted = match flags & libc::O_ACCMODE {
            libc::O_RDONLY => READ,
            libc::O_WRONLY => WRITE,
            _ => READ | WRITE,
        };
        meta.permits(wanted | cut, true)?;
        if meta.mode() & mode::FORMAT != mode::FIFO {
            return Err(Errno::ENXIO);
        }
        let mut name = self.stand_in(place.id, meta.identity(), 'p').map_err(|_| Errno::ENXIO)?;
        if Kernel.lstat(name.as_cstr()?).is_err() {
            new_pipe(&mut name).map_err(|_| Errno::ENXIO)?;
        }
        trusted(&mut name, &meta, Errno::ENXIO)?;
        Ok(name)
    }

    /// The host's name for a socket that is to be bound as the one that has just been made at a place.
    ///
    /// # Errors
    /// EOPNOTSUPP where nobody can meet.
    pub fn remote_binding(self, place: &Place<'_>) -> Result<Name> {
        let meta = self.met_at(place)?;
        self.stand_in(place.id, meta.identity(), 's').map_err(|_| Errno::EOPNOTSUPP)
    }

    /// The host's name of the socket that stands for the one at a place.
    ///
    /// # Errors
    /// ECONNREFUSED for what is no socket and for one that no member has bound; EACCES.
    pub fn remote_socket(self, place: &Place<'_>) -> Result<Name> {
        let meta = self.met_at(place)?;
        meta.permits(WRITE, true)?;
        if meta.mode() & mode::FORMAT != mode::SOCKET {
            return Err(Errno::ECONNREFUSED);
        }
        let refused = |_| Errno::ECONNREFUSED;
        let mut name = self.stand_in(place.id, meta.identity(), 's').map_err(refused)?;
        trusted(&mut name, &meta, Errno::ECONNREFUSED)?;
        Ok(name)
    }

    /// Notes the address that a socket was bound as, beside its stand-in, which everybody may use
    /// whom the server lets.
    ///
    /// # Errors
    /// ENOSPC; the kernel's.
    pub fn has_bound(self, host: &mut Name, mut address: Name) -> Result<()> {
        Kernel.chmod(host.as_cstr()?, 0o777)?;
        let mut note = noted(host.as_bytes())?;
        let _ = Kernel.unlink(note.as_cstr()?);
        Kernel.symlink(address.as_cstr()?, note.as_cstr()?)
    }

    /// The address that the socket with this host name was bound as; `None` for one that stands for
    /// none.
    #[must_use]
    pub fn bound_as(self, host: &[u8]) -> Option<Name> {
        if !self.process.met() || !path::parent(host).ends_with(MEET) {
            return None;
        }
        let mut address = Name::new();
        Kernel.readlink(noted(host).ok()?.as_cstr().ok()?, &mut address).ok()?;
        Some(address)
    }

    /// A file of this kind has been made: what stood in for one that had the number before is
    /// removed, and a pipe has its own.
    pub(super) fn stand_anew(self, server: u32, number: u64, kind: u32) {
        let Ok(dir) = self.meeting() else { return };
        for kind in ['p', 's'] {
            let _ = named(&dir, server, number, kind).map(remove);
        }
        if kind == mode::FIFO {
            // Who opens it tries again.
            let _ = named(&dir, server, number, 'p').and_then(|mut name| new_pipe(&mut name));
        }
    }

    /// The number of a pipe or a socket whose last name this is, in a family in which anything stands
    /// in for such files: asked before the name is taken away.
    pub(super) fn last_of(self, place: &Place<'_>) -> Option<u64> {
        let met = |meta: Meta| {
            matches!(meta.mode() & mode::FORMAT, mode::FIFO | mode::SOCKET).then_some(meta)
        };
        let none = || self.meeting_name().map_or(true, |mut dir| is_empty(&mut dir));
        if !self.family.has(Flag::Met) || none() {
            return None;
        }
        // What a listing has told does for what is neither.
        self.remote_stat(place).ok().and_then(met)?;
        let meta = undisturbed(|| self.stat_anew(place)).ok().and_then(met)?;
        (meta.stat().links == 1).then(|| meta.identity())
    }

    /// Nothing by this number has a name any more.
    pub(super) fn stand_down(self, server: u32, number: u64) {
        let Ok(dir) = self.meeting_name() else { return };
        let _ = named(&dir, server, number, 'p').map(remove);
        let socket = named(&dir, server, number, 's').ok();
        if let Some(socket) = socket.filter(|socket| !Socket::is_bound(socket.as_bytes())) {
            remove(socket);
        }
    }

    /// What the server says of a file now: by a number that a listing has told before, one that is
    /// gone would be met at.
    fn met_at(self, place: &Place<'_>) -> Result<Meta> {
        let meta = undisturbed(|| self.stat_anew(place))?;
        if place.end() == End::Plain || meta.is_dir() { Ok(meta) } else { Err(Errno::ENOTDIR) }
    }

    fn stand_in(self, server: u32, number: u64, kind: char) -> Result<Name> {
        named(&self.meeting()?, server, number, kind)
    }

    /// The directory of the stand-ins, made sure of.
    fn meeting(self) -> Result<Name> {
        let mut dir = self.meeting_name()?;
        shelf::shared(&mut dir, Kernel.geteuid())?;
        if !self.family.has(Flag::Met) {
            self.family.set(Flag::Met);
        }
        Ok(dir)
    }

    fn meeting_name(self) -> Result<Name> {
        let mut dir = Name::from(self.home()?.as_bytes())?;
        dir.push(MEET)?;
        Ok(dir)
    }
}

/// Whether nothing is in a directory, as far as that can be seen.
fn is_empty(dir: &mut Name) -> bool {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let opened = dir.as_cstr().and_then(|dir| Kernel.openat(libc::AT_FDCWD, dir, flags, 0));
    let Ok(fd) = opened else { return true };
    // The first records are enough: two are those of the dots.
    let mut records = Vec::new();
    let read = records.try_reserve(256).is_ok().then(|| Kernel.getdents64(fd, &mut records));
    let _ = Kernel.close(fd);
    read != Some(Ok(())) || dirent::entries(&records).all(|e| matches!(e.name, b"." | b".."))
}

fn named(dir: &Name, server: u32, number: u64, kind: char) -> Result<Name> {
    let mut name = Name::from(dir.as_bytes())?;
    name.push(format!("/{kind}{server}-{number:x}").as_bytes())?;
    Ok(name)
}

/// Removes a stand-in, and the address that is noted beside a socket's.
fn remove(stand_in: Name) {
    for name in [noted(stand_in.as_bytes()), Ok(stand_in)] {
        let _ = name.and_then(|mut name| Kernel.unlink(name.as_cstr()?));
    }
}

/// Makes a pipe for all whom the server lets, whatever the umask: under another name first, so that
/// nobody finds it before it is that.
fn new_pipe(name: &mut Name) -> Result<()> {
    let mut new = Name::from(name.as_bytes())?;
    new.push(format!(".{:016x}", Kernel.random()?).as_bytes())?;
    let new = new.as_cstr()?;
    Kernel.make_pipe(new, 0o600)?;
    let made = Kernel.chmod(new, 0o666).and_then(|()| Kernel.link(new, name.as_cstr()?));
    let _ = Kernel.unlink(new);
    // Somebody else was faster.
    if made == Err(Errno::EEXIST) { Ok(()) } else { made }
}

fn noted(host: &[u8]) -> Result<Name> {
    let mut name = Name::from(host)?;
    name.push(ADDRESS)?;
    Ok(name)
}

/// That a stand-in is there, made by somebody who may have made it.
fn trusted(name: &mut Name, meta: &Meta, or: Errno) -> Result<()> {
    let st = Kernel.lstat(name.as_cstr()?).map_err(|_| or)?;
    let owners = [0, Kernel.geteuid(), meta.stat().uid];
    let same = st.mode & mode::FORMAT == meta.mode() & mode::FORMAT;
    if same && owners.contains(&st.uid) { Ok(()) } else { Err(or) }
}

#[cfg(test)]
#[path = "meet_tests.rs"]
mod tests;
