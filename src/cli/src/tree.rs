//! Files of the host's own, by raw system calls: never looked up in the
//! namespace that this process may itself be in.

use privns_abi::{Errno, Result, path};
use privns_host::{Kernel, startup};
use privns_namespace::program::Header;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno as Raw;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Levels of directories that [`remove`] goes down; more is nobody's skeleton.
const DEPTH_MAX: usize = 1024;

/// One error type for all: ours.
pub fn errno(e: Raw) -> Errno {
    Errno(e.raw_os_error())
}

/// Opens a directory without following a symbolic link in its last component.
///
/// # Errors
/// openat(2)'s: ELOOP or ENOTDIR for a link.
pub fn open_dir(at: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty()).map_err(errno)
}

/// Opens a directory by its host path, following links on the way.
///
/// # Errors
/// openat(2)'s.
pub fn open_path(path: &[u8]) -> Result<OwnedFd> {
    open_dir(CWD, path)
}

/// The names in a directory, without `.` and `..`.
///
/// # Errors
/// getdents64(2)'s.
pub fn names(dir: impl AsFd) -> Result<Vec<Vec<u8>>> {
    Ok(entries(dir)?.into_iter().map(|(_, name)| name).collect())
}

/// The same with the files' numbers.
fn entries(dir: impl AsFd) -> Result<Vec<(u64, Vec<u8>)>> {
    let mut entries = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir).map_err(errno)? {
        let entry = entry.map_err(errno)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            entries.push((entry.ino(), name.to_vec()));
        }
    }
    Ok(entries)
}

/// Whether a directory has this name, itself and by no link.
pub fn is_dir(at: impl AsFd, name: &[u8]) -> bool {
    let found = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW);
    found.is_ok_and(|found| found.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

/// The text of a symbolic link.
///
/// # Errors
/// readlinkat(2)'s.
pub fn read_link(at: impl AsFd, name: &[u8]) -> Result<Vec<u8>> {
    rustix::fs::readlinkat(at, name, Vec::new()).map(|t| t.into_bytes()).map_err(errno)
}

/// The host path of the file that this program is, without links in it.
///
/// # Errors
/// As readlink(2)'s of /proc/self/exe.
pub fn own_file() -> Result<Vec<u8>> {
    // What the kernel was given, where that is it already: a process's first look
    // at its own directory in /proc has the kernel make that.
    let given = startup::executed().filter(|name| path::is_canonical(name.to_bytes()));
    match given.filter(|name| Kernel.check_plain_file(name).is_ok()) {
        Some(name) => Ok(name.to_bytes().to_vec()),
        None => read_link(CWD, b"/proc/self/exe"),
    }
}

fn open_file(path: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    rustix::fs::open(path, flags, Mode::empty()).map_err(errno)
}

/// What the file at a host path says that it is; one that cannot be read says
/// nothing.
#[must_use]
pub fn header(path: &[u8]) -> Header {
    open_file(path).and_then(|file| Header::of(file.as_raw_fd())).unwrap_or(Header::Other)
}

/// A whole file of the host's, at most `limit` bytes of it.
///
/// # Errors
/// open(2)'s and read(2)'s.
pub fn read_file(path: &[u8], limit: usize) -> Result<Vec<u8>> {
    let file = open_file(path)?;
    let mut out = Vec::new();
    let mut chunk = [0u8; 4096];
    while out.len() < limit {
        let room = chunk.len().min(limit - out.len());
        match rustix::io::read(&file, &mut chunk[..room]) {
            Ok(0) => break,
            Ok(n) => out.extend_from_slice(&chunk[..n]),
            Err(Raw::INTR) => {}
            Err(e) => return Err(errno(e)),
        }
    }
    Ok(out)
}

/// Removes a file, or a directory with all that is in it; no symbolic link is
/// followed, no other file system is entered. What is not there is no error.
///
/// # Errors
/// The first one met; the rest has been tried.
pub fn remove(at: impl AsFd, name: &[u8]) -> Result<()> {
    let device = match rustix::fs::statat(&at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat.st_dev,
        Err(Raw::NOENT) => return Ok(()),
        Err(e) => return Err(errno(e)),
    };
    remove_on(at.as_fd(), name, device, 0)
}

fn remove_on(at: rustix::fd::BorrowedFd<'_>, name: &[u8], device: u64, depth: usize) -> Result<()> {
    match rustix::fs::unlinkat(at, name, AtFlags::empty()) {
        Ok(()) | Err(Raw::NOENT) => return Ok(()),
        // Linux says EISDIR for a directory, POSIX EPERM.
        Err(Raw::ISDIR | Raw::PERM) => {}
        Err(e) => return Err(errno(e)),
    }
    if depth == DEPTH_MAX {
        return Err(Errno::ELOOP);
    }
    let dir = open_to_empty(at, name)?;
    if rustix::fs::fstat(&dir).map_err(errno)?.st_dev != device {
        return Err(Errno::EXDEV);
    }
    let mut first = Ok(());
    let mut inner = entries(&dir)?;
    // As they lie on a disk: a hashed directory lists them in no order.
    inner.sort_unstable();
    for (_, inner) in inner {
        first = first.and(remove_on(dir.as_fd(), &inner, device, depth + 1));
    }
    match rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Raw::NOENT) => first,
        Err(e) => first.and(Err(errno(e))),
    }
}

/// Opens a directory such that it can be emptied, whatever its mode; what is
/// mounted there, even from the same file system, is not entered.
fn open_to_empty(at: rustix::fd::BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let stay = rustix::fs::ResolveFlags::NO_XDEV | rustix::fs::ResolveFlags::NO_SYMLINKS;
    let found = match rustix::fs::openat2(at, name, flags, Mode::empty(), stay) {
        Err(Raw::NOSYS | Raw::PERM) => rustix::fs::openat(at, name, flags, Mode::empty()),
        found => found,
    };
    let found = found.map_err(errno)?;
    if rustix::fs::fstat(&found).map_err(errno)?.st_mode & 0o700 != 0o700 {
        // chmod(2) of a descriptor that is only a path: by its name in /proc.
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found));
        let _ = rustix::fs::chmod(path, Mode::RWXU);
    }
    open_dir(&found, b".")
}
