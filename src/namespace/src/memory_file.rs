//! The file in memory that a family's table lives in.

use crate::family::NAME_MAX;
use privns_abi::{Errno, Result};
use privns_host::{Kernel, Name, Shared};

/// A number for a new family: random, never 0.
///
/// # Errors
/// getrandom(2)'s.
pub fn new_id() -> Result<u64> {
    loop {
        match Kernel.random()? {
            0 => {}
            id => return Ok(id),
        }
    }
}

pub(crate) fn anonymous_file(id: u64) -> Result<i32> {
    let mut name = Name::from(alloc::format!("privns-{id:016x}").as_bytes())?;
    let refused = match Kernel.memfd_create(name.as_cstr()?) {
        Err(e @ (Errno::ENOSYS | Errno::EPERM | Errno::EACCES)) => e,
        made => return made,
    };
    let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC | libc::O_EXCL;
    let dirs = [c"/dev/shm", c"/tmp", c"/var/tmp"];
    let made = dirs.iter().find_map(|d| Kernel.openat(libc::AT_FDCWD, d, flags, 0o600).ok());
    made.ok_or(refused)
}

/// What members inherit, and hold their lock on: a description that nothing is
/// mapped from, since a mapping holds it open, the keeper's too. Root's is for
/// reading only, so that a descendant that has become another user cannot
/// write it.
pub(crate) fn handed_down(made: i32) -> i32 {
    let access = if Kernel.geteuid() == 0 { libc::O_RDONLY } else { libc::O_RDWR };
    Kernel.reopen(made, access).unwrap_or(made)
}

/// Moves a descriptor to the highest numbers below 256 but those that shells
/// take for themselves (bash: 255), where programs that number their own by
/// hand do not meet it. It is inherited. Higher ones would do as well, but the
/// kernel copies its table of numbers up to the highest at each fork.
pub(crate) fn move_high(fd: i32) -> Result<i32> {
    let limit = Kernel.descriptor_limit().unwrap_or(256).min(256) as i32;
    let mut moved = Err(Errno::EMFILE);
    for below in [8, 16, 64, 256] {
        moved = Kernel.dup_from(fd, (limit - below).max(3), false);
        if moved.is_ok() {
            break;
        }
    }
    moved
}

/// Whether a family may have this name: it becomes a file's.
///
/// # Errors
/// ENAMETOOLONG beyond [`NAME_MAX`]; EINVAL with a slash or a NUL in it.
pub fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > NAME_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if name.iter().any(|b| matches!(b, b'/' | 0)) { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Maps the first `len` bytes of a table, for writing where that can be.
pub(crate) fn map(fd: i32, len: usize, writable: bool) -> Result<Shared> {
    match Shared::map(fd, len, writable) {
        Err(Errno::EACCES) if writable => Shared::map(fd, len, false),
        mapped => mapped,
    }
}

/// Maps for writing what was handed down for reading.
pub(crate) fn remap(fd: i32, len: usize) -> Result<Shared> {
    let writable = Kernel.reopen(fd, libc::O_RDWR)?;
    let mapped = Shared::map(writable, len, true);
    let _ = Kernel.close(writable);
    mapped
}
