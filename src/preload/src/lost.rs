//! The family's table, found again by a program whose parent has closed it by
//! raw system calls: other members have it open, under the same number, and
//! the family's keeper, which the runtime directory leads to.

use crate::start::Environment;
use privns_abi::{Errno, Result};
use privns_host::kernel::decimal;
use privns_host::{dirent, sys, Kernel, Name};
use privns_namespace::family::{Family, Inherited};

/// Finds the table and joins the family again.
///
/// # Errors
/// ESRCH when no process that we may look at has it.
pub(crate) fn find(inherited: &Inherited<'_>, env: &Environment) -> Result<Family> {
    let mut digits = [0; 10];
    // SAFETY: no arguments; the call cannot fail.
    let parent = unsafe { sys!(libc::SYS_getppid) }? as u32;
    if let Some(family) = of(decimal(parent, &mut digits), inherited) {
        return Ok(family);
    }
    if let Some(family) = kept(inherited, env) {
        return Ok(family);
    }
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let proc = Kernel.openat(libc::AT_FDCWD, c"/proc", flags, 0)?;
    let mut records = Vec::new();
    let reserved = records.try_reserve_exact(32 << 10).map_err(|_| Errno::ENOMEM);
    let mut found = None;
    while reserved.is_ok() && found.is_none() && Kernel.getdents64(proc, &mut records).is_ok() {
        if records.is_empty() {
            break;
        }
        let names = dirent::entries(&records).map(|entry| entry.name);
        let mut processes = names.filter(|name| name.iter().all(u8::is_ascii_digit));
        found = processes.find_map(|pid| of(pid, inherited));
    }
    let _ = Kernel.close(proc);
    found.ok_or(Errno::ESRCH)
}

/// The keeper's, by the entry that `ns-exec` has made for the family.
fn kept(inherited: &Inherited<'_>, env: &Environment) -> Option<Family> {
    let uid = Kernel.geteuid();
    let own = env.get(b"XDG_RUNTIME_DIR").map_or(&b""[..], |dir| dir.to_bytes());
    let mut digits = [0; 10];
    let uid = decimal(uid, &mut digits);
    let places: [[&[u8]; 3]; 4] = [
        [own, b"/privns", b""],
        [b"/run/user/", uid, b"/privns"],
        [b"/dev/shm/privns-", uid, b""],
        [b"/tmp/privns-", uid, b""],
    ];
    let absolute = places.iter().filter(|place| place[0].first() == Some(&b'/'));
    absolute.copied().find_map(|place| {
        let mut link = Name::new();
        place.iter().try_for_each(|part| link.push(part)).ok()?;
        let mut number = [0u8; 16];
        for (at, digit) in number.iter_mut().enumerate() {
            let nibble = (inherited.id >> (60 - 4 * at) & 15) as u32;
            *digit = char::from_digit(nibble, 16)? as u8;
        }
        link.join(&number).ok()?;
        link.join(b"table").ok()?;
        table(link, inherited)
    })
}

/// The table that a process has open under our number.
fn of(pid: &[u8], inherited: &Inherited<'_>) -> Option<Family> {
    let mut digits = [0; 10];
    let mut link = Name::from(b"/proc/").ok()?;
    link.push(pid).ok()?;
    link.push(b"/fd/").ok()?;
    link.push(decimal(inherited.fd.unsigned_abs(), &mut digits)).ok()?;
    table(link, inherited)
}

/// The table behind a link, if it is ours.
fn table(mut link: Name, inherited: &Inherited<'_>) -> Option<Family> {
    let link = link.as_cstr().ok()?;
    // For reading where it may not be written: root's in another's hands.
    let open = |flags| Kernel.openat(libc::AT_FDCWD, link, flags | libc::O_CLOEXEC, 0);
    let opened = open(libc::O_RDWR | libc::O_NONBLOCK).or_else(|_| open(libc::O_RDONLY)).ok()?;
    let moved = Kernel.dup_from(opened, inherited.fd, false);
    let _ = Kernel.close(opened);
    let moved = moved.ok()?;
    match Family::attach(moved) {
        Ok(family) if family.id() == inherited.id && family.enter().is_ok() => Some(family),
        Ok(family) => {
            family.close();
            None
        }
        Err(_) => {
            let _ = Kernel.close(moved);
            None
        }
    }
}
