//! `/proc/self/mounts` and `mountinfo` as the namespace has them: a file of
//! our own, written anew at each open.

use alloc::vec::Vec;
use core::ffi::c_int;
use privns_abi::{Errno, Result};
use privns_files::mounts::{self, Form};
use privns_files::process::View;
use privns_files::Target;
use privns_host::kernel::decimal;
use privns_host::{sys, Kernel, Name};
use privns_namespace::family::Counter;
use privns_namespace::resolve::Last;

/// Whether a name, as the program spells it, may be a mount table's: those are
/// not opened before it is known whose they are.
#[inline]
pub(crate) fn may_be(name: &[u8]) -> bool {
    // Most names end otherwise, and are not looked at further.
    match name.last() {
        Some(b's') => name.ends_with(b"mounts"),
        Some(b'o') => name.ends_with(b"mountinfo"),
        _ => false,
    }
}

/// The form of the table at a host name, when it is that of a member of the
/// family: `/proc/PID/mounts`, `/proc/PID/task/TID/mountinfo`.
pub(crate) fn form(view: View<'_>, host: &[u8]) -> Option<Form> {
    let mut parts = host.strip_prefix(b"/proc/")?.split(|&b| b == b'/');
    let pid = parts.next()?;
    let mut file = parts.next()?;
    if file == b"task" {
        parts.next()?;
        file = parts.next()?;
    }
    let form = match file {
        b"mounts" => Form::Mounts,
        b"mountinfo" => Form::MountInfo,
        _ => return None,
    };
    (parts.next().is_none() && is_member(view, pid)).then_some(form)
}

/// Whether a process has our family's table, where every member has it.
pub(crate) fn is_member(view: View<'_>, pid: &[u8]) -> bool {
    let mut digits = [0; 10];
    if pid == decimal(Kernel.getpid().unsigned_abs(), &mut digits) {
        return true;
    }
    let mut theirs = || -> Result<bool> {
        let mut link = Name::from(b"/proc/")?;
        link.push(pid)?;
        link.push(b"/fd/")?;
        link.push(decimal(view.family.fd().unsigned_abs(), &mut digits))?;
        let theirs = Kernel.statat(libc::AT_FDCWD, link.as_cstr()?, 0)?;
        let ours = Kernel.fstat(view.family.fd())?;
        Ok((theirs.dev, theirs.ino) == (ours.dev, ours.ino))
    };
    theirs().unwrap_or(false)
}

/// Opens the mount table that a name has been found to be; `None`: the host's
/// is right, or has the answer.
pub(crate) fn open(view: View<'_>, to: &Target, flags: c_int) -> Result<Option<usize>> {
    let elsewhere = libc::O_PATH | libc::O_DIRECTORY | libc::O_CREAT | libc::O_TRUNC;
    if flags & libc::O_ACCMODE != libc::O_RDONLY || flags & elsewhere != 0 {
        return Ok(None);
    }
    let Some(form) = form(view, to.name.as_bytes()) else { return Ok(None) };
    let text = {
        let table = view.table()?;
        if table.index().is_global() && !view.process.is_rooted() {
            return Ok(None);
        }
        let mut name = Name::from(privns_abi::path::parent(to.name.as_bytes()))?;
        name.push(b"/mountinfo")?;
        let host = read(name)?;
        let leads = |place: &[u8], host: &[u8]| {
            let mut name = Name::new();
            let joined = if place.is_empty() { name.push(b"/") } else { name.push(place) };
            let found = joined.and_then(|()| view.walk_anywhere(name.as_bytes(), Last::NO_FOLLOW));
            found.is_ok_and(|found| found.host.as_bytes() == host)
        };
        mounts::table(&host, table.index(), view.root()?.as_bytes(), form, &leads)
    };
    let fd = file(&text, form, flags)?;
    crate::descriptors::forget(fd as c_int);
    crate::count::one(Counter::Served);
    Ok(Some(fd))
}

/// What a link in `/proc` says of an open mount table, from its text: the name
/// that was opened.
pub(crate) fn link_text(link: &[u8], text: &[u8]) -> Option<Name> {
    let file = text.strip_prefix(b"/memfd:privns/")?.strip_suffix(b" (deleted)")?;
    let pid = link.strip_prefix(b"/proc/")?.split(|&b| b == b'/').next()?;
    let mut name = Name::from(b"/proc/").ok()?;
    name.push(pid).and_then(|()| name.join(file)).ok()?;
    Some(name)
}

/// All of a host file.
pub(crate) fn read(mut name: Name) -> Result<Vec<u8>> {
    const STEP: usize = 16 << 10;
    let fd = Kernel.openat(libc::AT_FDCWD, name.as_cstr()?, libc::O_RDONLY | libc::O_CLOEXEC, 0)?;
    let mut all: Vec<u8> = Vec::new();
    let done = loop {
        let had = all.len();
        if all.try_reserve(STEP).is_err() {
            break Err(Errno::ENOMEM);
        }
        all.resize(had + STEP, 0);
        // SAFETY: the kernel writes at most the room that there is.
        let got = unsafe { sys!(libc::SYS_read, fd, all.as_mut_ptr().add(had), STEP) };
        all.truncate(had + *got.as_ref().unwrap_or(&0));
        match got {
            Ok(0) => break Ok(all),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => break Err(error),
        }
    };
    let _ = Kernel.close(fd);
    done
}

/// A file with this text, opened as the program asked.
fn file(text: &[u8], form: Form, flags: c_int) -> Result<usize> {
    let made = nameless(form)?;
    let opened = fill(made, text).and_then(|()| {
        let mut link = Name::from(b"/proc/self/fd/")?;
        let mut digits = [0; 10];
        link.push(decimal(made.unsigned_abs(), &mut digits))?;
        let flags = flags & (libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY);
        Kernel.openat(libc::AT_FDCWD, link.as_cstr()?, flags, 0)
    });
    let _ = Kernel.close(made);
    opened.map(|fd| fd as usize)
}

fn fill(fd: c_int, mut text: &[u8]) -> Result<()> {
    while !text.is_empty() {
        // SAFETY: text of ours.
        match unsafe { sys!(libc::SYS_write, fd, text.as_ptr(), text.len()) } {
            Ok(n) => text = text.get(n..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Kernel.fchmod(fd, 0o444)
}

/// A file without a name: a memfd, or one on disk where that is refused.
fn nameless(form: Form) -> Result<c_int> {
    let name = match form {
        Form::Mounts => c"privns/mounts",
        Form::MountInfo => c"privns/mountinfo",
    };
    let refused = match Kernel.memfd_create(name) {
        Err(e @ (Errno::ENOSYS | Errno::EPERM | Errno::EACCES)) => e,
        made => return made,
    };
    let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC | libc::O_EXCL;
    let dirs = [c"/dev/shm", c"/tmp", c"/var/tmp"];
    let made = dirs.iter().find_map(|d| Kernel.openat(libc::AT_FDCWD, d, flags, 0o600).ok());
    made.ok_or(refused)
}
