//! What reveals a name tells the namespace's: the working directory, the text
//! of `/proc`'s own links, the mount table.

use crate::call::{set_errno, Does, Named, Ret};
use crate::door::door;
use crate::nowhere::is_no_name;
use crate::theirs;
use crate::PROCESS;
use core::ffi::{c_char, c_int, CStr};
use libc::{size_t, ssize_t};
use privns_abi::{Errno, Result};
use privns_files::process::View;
use privns_files::remote::{nameless, nowhere};
use privns_files::Target;
use privns_host::{Kernel, Name};
use privns_namespace::resolve::{self, Last};

pub(crate) unsafe fn readlink(path: *const c_char, buf: *mut c_char, size: size_t) -> ssize_t {
    // SAFETY: passed on.
    unsafe { readlink_at(libc::AT_FDCWD, path, buf, size) }.size()
}

pub(crate) unsafe fn readlinkat(
    dirfd: c_int,
    path: *const c_char,
    buf: *mut c_char,
    size: size_t,
) -> ssize_t {
    // SAFETY: passed on.
    unsafe { readlink_at(dirfd, path, buf, size) }.size()
}

/// readlinkat(2) in the namespace.
///
/// # Safety
/// As that call.
pub(crate) unsafe fn readlink_at(
    dirfd: c_int,
    path: *const c_char,
    buf: *mut c_char,
    size: size_t,
) -> Result<usize> {
    let read = |dirfd: c_int, path: *const c_char| {
        // SAFETY: the program's buffer, a name that is its own or ours.
        unsafe { door!(libc::SYS_readlinkat, dirfd, path, buf, size) }
    };
    let view = match PROCESS.view() {
        Some(view) if !is_no_name(path) && !crate::names::is_empty(path) => view,
        _ => return read(dirfd, path),
    };
    let named = Named { dirfd, path, last: Last::NO_FOLLOW, does: Does::Read };
    let mut to = Target::new();
    // SAFETY: not null, and the program says that it is a string.
    unsafe { named.locate(view, &mut to) }?;
    if to.as_given && may_be_magic(path) {
        // Relative to a directory of /proc: the walk says whose.
        // SAFETY: not null, see above.
        let name = unsafe { CStr::from_ptr(path) };
        view.locate_exact(dirfd, name, Last::NO_FOLLOW, &mut to)?;
    }
    let (dir, at) = named.args(&mut to);
    if to.as_given || !to.name.as_bytes().starts_with(b"/proc/") {
        return match read(dir, at) {
            Err(Errno::ELOOP) if named.walks(view, &mut to)? => {
                let (dir, at) = named.args(&mut to);
                read(dir, at)
            }
            done => done,
        };
    }
    let mut text = Name::new();
    // SAFETY: `args` gives a C string.
    Kernel.readlinkat(dir, unsafe { CStr::from_ptr(at) }, &mut text)?;
    let shown = shown_link(view, to.name.as_bytes(), text)?;
    let bytes = shown.as_bytes();
    let n = bytes.len().min(size);
    if n == 0 {
        return Err(Errno::EINVAL);
    }
    // SAFETY: the program says that its buffer has `size` bytes.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), buf.cast(), n) };
    Ok(n)
}

/// Whether a relative name could be one of `/proc`'s own links, by its last
/// component alone.
fn may_be_magic(path: *const c_char) -> bool {
    // SAFETY: not null, and the program says that it is a string.
    let name = unsafe { CStr::from_ptr(path) }.to_bytes();
    match privns_abi::path::file_name(name) {
        b"cwd" | b"root" | b"exe" => true,
        number => !number.is_empty() && number.iter().all(u8::is_ascii_digit),
    }
}

/// The text of one of the process's own links in `/proc` that lead to a remote
/// file: the kernel knows nothing of it.
fn shown_remote(view: View<'_>, link: &[u8]) -> Result<Option<Name>> {
    if !view.process.met() {
        return Ok(None);
    }
    let cwd = link.ends_with(b"/cwd") && is_own(link);
    let (file, seq) = match crate::door::magic(link) {
        Some(fd) => (view.process.file(fd), view.process.fds.seq(fd)),
        None if cwd => (view.process.remote_cwd(), view.process.cwd_seq()),
        None => return Ok(None),
    };
    let Some(file) = file else { return Ok(None) };
    // A directory may have been renamed or removed by anybody.
    let lost = file.is_dir() && view.follow(&file).is_err();
    let host = file.host_name(&file.last_path())?;
    let name = resolve::name_of(view.table()?.index(), host.as_bytes(), seq)?;
    let mut name = view.from_root(name)?;
    if name.as_bytes().is_empty() {
        name.push(b"/")?;
    }
    if lost || file.is_removed() {
        name.push(b" (deleted)")?;
    }
    Ok(Some(name))
}

/// Whether a link of `/proc` is of this very process.
fn is_own(link: &[u8]) -> bool {
    let mut digits = [0; 10];
    let pid = privns_host::kernel::decimal(Kernel.getpid().unsigned_abs(), &mut digits);
    let rest = link.strip_prefix(b"/proc/").and_then(|rest| rest.strip_prefix(pid));
    rest.is_some_and(|rest| rest.starts_with(b"/"))
}

/// The text of a link in `/proc` as the namespace has it.
fn shown_link(view: View<'_>, link: &[u8], text: Name) -> Result<Name> {
    if let Some(name) = shown_remote(view, link)? {
        return Ok(name);
    }
    if !resolve::is_magic(link) || text.as_bytes().first() != Some(&b'/') {
        return Ok(text);
    }
    if let Some(host) = nameless::former_name(text.as_bytes()) {
        let name = resolve::name_of(view.table()?.index(), host, 0);
        let Ok(mut name) = name.and_then(|name| view.from_root(name)) else { return Ok(text) };
        name.push(b" (deleted)")?;
        return Ok(name);
    }
    if let Some(host) = nowhere::meant(text.as_bytes()) {
        let name = resolve::name_of(view.table()?.index(), host.as_bytes(), 0);
        return Ok(name.and_then(|name| view.from_root(name)).unwrap_or(text));
    }
    let own = is_own(link);
    let text = match crate::handover::program().filter(|_| own && link.ends_with(b"/exe")) {
        Some(program) => Name::from(program)?,
        // Another member runs a copy.
        None => view.unshelved(text.as_bytes()).unwrap_or(text),
    };
    let seq = match link.rsplit(|&b| b == b'/').next().unwrap_or_default() {
        b"cwd" if own => view.process.cwd_seq(),
        b"exe" if own => view.process.exe_seq(),
        number if own => core::str::from_utf8(number)
            .ok()
            .and_then(|n| n.parse().ok())
            .map_or(0, |fd| view.process.fds.seq(fd)),
        _ => crate::peers::seq(view, link),
    };
    if own && link.ends_with(b"/root") {
        return Name::from(b"/");
    }
    if let Some(name) = crate::mounts::link_text(link, text.as_bytes()) {
        return Ok(name);
    }
    // A removed file's text ends in " (deleted)", and so does its name here.
    let name = resolve::name_of(view.table()?.index(), text.as_bytes(), seq);
    match name.and_then(|name| view.from_root(name)) {
        Ok(name) if name.as_bytes().is_empty() => Name::from(b"/"),
        Ok(name) => Ok(name),
        Err(_) => Ok(text),
    }
}

pub(crate) unsafe fn chdir(path: *const c_char) -> c_int {
    let view = match PROCESS.view() {
        Some(view) if !is_no_name(path) => view,
        // SAFETY: the program's own argument.
        _ => return unsafe { door!(libc::SYS_chdir, path) }.ret(),
    };
    let named = Named::follow(libc::AT_FDCWD, path, Does::Read);
    let mut to = Target::new();
    // SAFETY: not null, and the program says that it is a string.
    let done = unsafe { named.locate(view, &mut to) }.and_then(|()| {
        let (_, at) = named.args(&mut to);
        // SAFETY: a C string of ours or the program's.
        let go = |at| unsafe { door!(libc::SYS_chdir, at) };
        let done = match go(at) {
            Err(Errno::ELOOP) if named.walks(view, &mut to)? => go(named.args(&mut to).1)?,
            done => done?,
        };
        view.process.set_cwd(to.seq, to.read_only);
        Ok(done)
    });
    done.ret()
}

pub(crate) unsafe fn fchdir(fd: c_int) -> c_int {
    // SAFETY: no memory is involved.
    let done = unsafe { door!(libc::SYS_fchdir, fd) };
    if let (Ok(_), Some(view)) = (&done, PROCESS.view()) {
        let shown = view.shown(fd);
        view.process.set_cwd(shown.seq, shown.read_only);
    }
    done.ret()
}

/// getcwd(2), the namespace's name.
pub(crate) fn cwd() -> Result<Name> {
    let Some(view) = PROCESS.view() else {
        let mut host = Name::new();
        return Kernel.getcwd(&mut host).map(|()| host);
    };
    if let Some(dir) = view.process.remote_cwd() {
        view.follow(&dir)?;
    }
    let name = match view.cwd_name() {
        // The kernel says so to a directory deeper than it has words for.
        Err(Errno::ENAMETOOLONG | Errno::ERANGE) => view.deep_cwd(),
        name => name,
    };
    let mut name = view.from_root(name?)?;
    if name.as_bytes().is_empty() {
        name.push(b"/")?;
    }
    Ok(name)
}

pub(crate) unsafe fn getcwd(buf: *mut c_char, size: size_t) -> *mut c_char {
    // SAFETY: passed on.
    match unsafe { getcwd_into(buf, size) } {
        Ok(at) => at,
        Err(error) => {
            set_errno(error);
            core::ptr::null_mut()
        }
    }
}

unsafe fn getcwd_into(buf: *mut c_char, size: size_t) -> Result<*mut c_char> {
    if !buf.is_null() && size == 0 {
        return Err(Errno::EINVAL);
    }
    let mut name = cwd()?;
    let needed = name.as_bytes().len() + 1;
    // A null buffer is to be allocated, for the program to free (getcwd(3)).
    let room = if buf.is_null() && size == 0 { needed } else { size };
    if room < needed {
        return Err(Errno::ERANGE);
    }
    let to = if buf.is_null() {
        // SAFETY: an ordinary allocation of the program's own malloc.
        unsafe { crate::lazy::malloc(room) }.cast()
    } else {
        buf
    };
    if to.is_null() {
        return Err(Errno::ENOMEM);
    }
    let name = name.as_cstr()?.to_bytes_with_nul();
    // SAFETY: at least `needed` bytes, which the name and its NUL are.
    unsafe { theirs::put(name, to as usize) }?;
    Ok(to)
}
