//! Addresses of AF_UNIX sockets: the program's made the kernel's, and the
//! kernel's the program's.

use crate::call::{Does, Named};
use crate::door::{self, door};
use crate::PROCESS;
use core::ffi::{c_char, c_int, c_void, CStr};
use libc::{sockaddr_un, socklen_t};
use privns_abi::{Errno, Result};
use privns_files::fds::Shown;
use privns_files::process::View;
use privns_files::sockets::{self, Long, ADDRESS_MAX, BEYOND};
use privns_files::Target;
use privns_host::kernel::decimal;
use privns_host::{sys, HotName, Kernel, Name};

/// Where the name begins in an address.
const PATH: usize = core::mem::offset_of!(sockaddr_un, sun_path);
/// The longest address that the kernel takes or gives.
pub(crate) const UN: usize = size_of::<sockaddr_un>();

/// The directories of names that were too long to be bound as they are.
static LONG: Long = Long::new();

/// Whether an address is one that names a file: not abstract, not unnamed.
///
/// # Safety
/// `addr` is null or has `len` bytes.
#[inline]
pub(crate) unsafe fn names_file(addr: *const c_void, len: usize) -> bool {
    if addr.is_null() || len <= PATH {
        return false;
    }
    // SAFETY: more than two bytes are there.
    unsafe {
        let family = addr.cast::<libc::sa_family_t>().read_unaligned();
        c_int::from(family) == libc::AF_UNIX && *addr.cast::<u8>().add(PATH) != 0
    }
}

/// An address of ours in the place of the program's.
pub(crate) struct Place {
    un: sockaddr_un,
    len: usize,
    /// A descriptor that the name goes through, -1 for none.
    held: c_int,
    /// The member that serves it.
    pub(crate) seq: u32,
    /// A last component too long for any address, with the one that it is bound
    /// as at first.
    long: Option<(Name, Name)>,
    /// What stands for a socket that is being made on a server, and the address given.
    remote: Option<(Name, Name)>,
}

impl Place {
    fn new(name: &[u8], held: c_int, seq: u32) -> Result<Place> {
        // SAFETY: zeros are an address.
        let mut un: sockaddr_un = unsafe { core::mem::zeroed() };
        un.sun_family = libc::AF_UNIX as libc::sa_family_t;
        if name.len() > ADDRESS_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        for (to, &from) in un.sun_path.iter_mut().zip(name) {
            *to = from as libc::c_char;
        }
        Ok(Place { un, len: PATH + name.len() + 1, held, seq, long: None, remote: None })
    }

    /// The address of a host file, through a descriptor where its name is too
    /// long: its own where it is there, its directory's where it is made.
    fn of(host: &mut HotName, make: bool, seq: u32) -> Result<Place> {
        if host.as_bytes().len() <= ADDRESS_MAX {
            return Place::new(host.as_bytes(), -1, seq);
        }
        let flags = libc::O_PATH | libc::O_CLOEXEC;
        if !make {
            let held = Kernel.openat(libc::AT_FDCWD, host.as_cstr(), flags, 0)?;
            return Place::through(held, b"", seq);
        }
        let (dir, name) = sockets::split(host.as_bytes()).ok_or(Errno::EADDRINUSE)?;
        let flags = flags | libc::O_DIRECTORY;
        let at = Kernel.openat(libc::AT_FDCWD, Name::from(dir)?.as_cstr()?, flags, 0)?;
        let held = numbered(at, dir);
        let _ = Kernel.close(at);
        let held = held?;
        let place = Place::through(held, name, seq).or_else(|_| Place::shorter(held, name, seq));
        if place.is_err() {
            let _ = Kernel.close(held);
        }
        place
    }

    fn shorter(held: c_int, name: &[u8], seq: u32) -> Result<Place> {
        let short = alloc::format!(".privns-{:016x}", Kernel.random()?);
        let long = Some((Name::from(short.as_bytes())?, Name::from(name)?));
        let mut place = Place::through(held, short.as_bytes(), seq)?;
        place.long = long;
        Ok(place)
    }

    /// Gives what has been bound its own name, where no address holds that:
    /// the socket can be reached by it, and shows the other (the one thing
    /// that is not as on a short path).
    ///
    /// # Errors
    /// EADDRINUSE when another has taken the name meanwhile; linkat(2)'s.
    pub(crate) fn bound(&mut self, view: View<'_>) -> Result<()> {
        if let Some((mut host, given)) = self.remote.take() {
            return view.has_bound(&mut host, given);
        }
        let Some((short, long)) = &mut self.long else { return Ok(()) };
        let (short, long) = (short.as_cstr()?.as_ptr(), long.as_cstr()?.as_ptr());
        // SAFETY: C strings of ours.
        let linked = unsafe {
            let linked = sys!(libc::SYS_linkat, self.held, short, self.held, long, 0);
            let _ = sys!(libc::SYS_unlinkat, self.held, short, 0);
            linked
        };
        linked.map(drop).map_err(|e| if e == Errno::EEXIST { Errno::EADDRINUSE } else { e })
    }

    /// Takes the name back that a socket was to have on a server, and has not got.
    pub(crate) fn unbound(&mut self) {
        if let Some((_, mut given)) = self.remote.take() {
            let _ = given.as_cstr().map(unmake);
        }
    }

    fn through(held: c_int, name: &[u8], seq: u32) -> Result<Place> {
        let mut text = HotName::new();
        let mut digits = [0; 10];
        text.push(b"/proc/self/fd/")?;
        text.push(decimal(held.unsigned_abs(), &mut digits))?;
        if !name.is_empty() {
            text.push(b"/")?;
            text.push(name)?;
        }
        Place::new(text.as_bytes(), held, seq)
    }

    pub(crate) fn args(&self) -> (*const c_void, usize) {
        ((&raw const self.un).cast(), self.len)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.held >= 0 {
            let _ = Kernel.close(self.held);
        }
    }
}

/// Duplicates a directory's descriptor to the number that stands for the
/// directory, for the length of one call: a thread that binds there at the
/// same time is waited for. Where the number cannot be had, one that stands
/// for nothing: the address cannot be read back then.
fn numbered(at: c_int, dir: &[u8]) -> Result<c_int> {
    if let Some(number) = LONG.number(dir) {
        for _ in 0..100 {
            match Kernel.dup_from(at, number, true) {
                Ok(held) if held == number => return Ok(held),
                Ok(other) => drop(Kernel.close(other)),
                Err(_) => break,
            }
            Kernel.yield_now();
        }
    }
    Kernel.dup_from(at, BEYOND, true).or_else(|_| Kernel.dup_from(at, 0, true))
}

/// What the kernel is to be given for an address that names a file; `None`:
/// what the program gave.
///
/// # Safety
/// `names_file` has said so.
#[cold]
pub(crate) unsafe fn place(
    view: View<'_>,
    fd: c_int,
    addr: *const c_void,
    len: usize,
    make: bool,
) -> Result<Option<Place>> {
    if len > UN {
        // EINVAL: the kernel's to say.
        return Ok(None);
    }
    // An address need not end in NUL (unix(7)).
    let mut text = [0u8; UN - PATH + 1];
    // SAFETY: `len` bytes are there, of which the name is all but the family.
    unsafe {
        let from = addr.cast::<u8>().add(PATH);
        core::ptr::copy_nonoverlapping(from, text.as_mut_ptr(), len - PATH);
    }
    let name = CStr::from_bytes_until_nul(&text).map_err(|_| Errno::EINVAL)?;
    let (cwd, path) = (libc::AT_FDCWD, name.as_ptr());
    let named = if make {
        Named::no_follow(cwd, path, Does::Make)
    } else {
        Named::follow(cwd, path, Does::Read)
    };
    let mut to = Target::new();
    // SAFETY: a C string of ours.
    let found = unsafe { named.locate(view, &mut to) }.and_then(|()| {
        if let Some(host) = remote(view, fd, named, make, &mut to)? {
            to.name.truncate(0);
            to.name.push(host.as_bytes())?;
            let place = Place::of(&mut to.name, make, to.seq);
            let mut place = match place {
                Err(error) if make => {
                    unmake(name);
                    return Err(error);
                }
                place => place?,
            };
            if make {
                place.remote = Some((host, Name::from(name.to_bytes())?));
            }
            return Ok(Some(place));
        }
        if to.as_given {
            return Ok(None);
        }
        if !make && caches_what_is_covered(view, to.name.as_bytes()) {
            return Err(Errno::ENOENT);
        }
        Place::of(&mut to.name, make, to.seq).map(Some)
    });
    match found {
        Err(_) if !is_unix(fd)? => Ok(None),
        Err(Errno::EEXIST) => Err(Errno::EADDRINUSE),
        found => found,
    }
}

/// The host's name of what stands for a socket on a server, which is made there first if it is to be
/// bound; `None` for a name of the host's.
fn remote(
    view: View<'_>,
    fd: c_int,
    named: Named,
    make: bool,
    to: &mut Target,
) -> Result<Option<Name>> {
    if !view.process.met() {
        return Ok(None);
    }
    // A link on the way to a remote name shows when it is used.
    for _ in 0..privns_abi::path::LINKS_MAX {
        let (dirfd, path) = named.place(to);
        // SAFETY: `place` gives a C string.
        if !unsafe { crate::door::is_remote(view, dirfd, path) } {
            return Ok(None);
        }
        let found = match make {
            false => door::remote_name(view, dirfd, path, |place| view.remote_socket(place)),
            true if !is_unix(fd)? => return Ok(None),
            true => made(fd, dirfd, path).and_then(|()| {
                let name = door::remote_name(view, dirfd, path, |p| view.remote_binding(p));
                // SAFETY: the name that was located is still there.
                name.inspect_err(|_| unmake(unsafe { CStr::from_ptr(named.path) }))
            }),
        };
        match found {
            Err(Errno::ELOOP) if named.walks(view, to)? => {}
            found => return found.map(Some),
        }
    }
    Err(Errno::ELOOP)
}

/// Takes the name of a socket that nobody can bind off its server again.
fn unmake(name: &CStr) {
    // SAFETY: a C string.
    unsafe { crate::names::unlink(name.as_ptr()) };
}

/// Makes a socket on a server, of the mode that the open one has (fchmod(2)).
fn made(fd: c_int, dirfd: c_int, path: *const c_char) -> Result<()> {
    let mode = libc::S_IFSOCK | Kernel.fstat(fd)?.mode & 0o7777;
    // SAFETY: `place` gives a C string.
    match unsafe { door!(libc::SYS_mknodat, dirfd, path, mode, 0) } {
        Err(Errno::EPERM) => Err(Errno::EOPNOTSUPP),
        done => done.map(drop),
    }
}

/// Whether a descriptor is an AF_UNIX socket. What is wrong with it comes
/// before what is wrong with a name.
fn is_unix(fd: c_int) -> Result<bool> {
    let mut family: [libc::sa_family_t; 1] = [0];
    let mut len = size_of_val(&family) as socklen_t;
    // SAFETY: the kernel writes at most `len` bytes.
    unsafe { sys!(libc::SYS_getsockname, fd, family.as_mut_ptr(), &raw mut len) }?;
    Ok(c_int::from(family[0]) == libc::AF_UNIX)
}

/// Whether the name is nscd's, which answers from the host's `/etc`, while the
/// namespace has a file of its own there.
fn caches_what_is_covered(view: View<'_>, host: &[u8]) -> bool {
    const FILES: [&[u8]; 6] =
        [b"passwd", b"group", b"hosts", b"services", b"netgroup", b"nsswitch.conf"];
    if !host.ends_with(b"/nscd/socket") {
        return false;
    }
    let Ok(table) = view.table() else { return false };
    FILES.iter().any(|file| {
        let mut name = HotName::new();
        let named = name.push(b"/etc/").and_then(|()| name.push(file));
        named.is_ok() && table.index().find(name.as_bytes()).mount.is_some()
    })
}

/// Notes the member that a socket is bound or has sent to: addresses that it
/// learns are most likely that member's.
pub(crate) fn served(view: View<'_>, fd: c_int, seq: u32) {
    let shown = Shown { seq, plain: true, read_only: false };
    PROCESS.fds.set(fd, shown, view.family.generation());
}

/// Translates an address that the kernel has written: `len` of its bytes, at
/// `addr`, where `room` has space.
///
/// # Safety
/// `addr` has `room` bytes, of which the first `len` are written.
#[inline]
pub(crate) unsafe fn show(fd: c_int, addr: *mut c_void, room: usize, len: &mut socklen_t) {
    let Some(view) = PROCESS.view() else { return };
    // SAFETY: the caller's promise.
    unsafe {
        if names_file(addr, room.min(*len as usize)) {
            show_name(view, fd, addr, room, len);
        }
    }
}

#[cold]
unsafe fn show_name(
    view: View<'_>,
    fd: c_int,
    addr: *mut c_void,
    room: usize,
    len: &mut socklen_t,
) {
    if *len as usize > room {
        return;
    }
    let written = (*len as usize).min(UN);
    // SAFETY: `written` bytes are, and the first two are the family.
    let text = unsafe { core::slice::from_raw_parts(addr.cast::<u8>().add(PATH), written - PATH) };
    let text = text.split(|&b| b == 0).next().unwrap_or_default();
    let Some(name) = sockets::shown(view, &LONG, text, PROCESS.fds.seq(fd)) else { return };
    let name = name.as_bytes();
    let fits = name.len().min(room.min(UN) - PATH);
    // SAFETY: `room` bytes are there; the name is not in the buffer.
    unsafe {
        let to = addr.cast::<u8>().add(PATH);
        core::ptr::copy_nonoverlapping(name.as_ptr(), to, fits);
        if PATH + fits < room {
            *to.add(fits) = 0;
        }
    }
    // As the kernel counts: with the NUL, and with what did not fit.
    *len = (PATH + name.len() + 1) as socklen_t;
}
