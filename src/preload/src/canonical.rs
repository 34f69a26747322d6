//! Canonical names, where libc's inner calls pass us by: the walk knows them.

use crate::call::Ret;
use crate::io::fits;
use crate::real::libcs;
use crate::reveal::{cwd, readlink_at};
use crate::streams::pointer;
use crate::PROCESS;
use core::ffi::{c_char, c_int, CStr};
use libc::{size_t, ssize_t};
use privns_abi::path::{LINKS_MAX, PATH_MAX};
use privns_abi::{Errno, Result};
use privns_host::{Host, Name};
use privns_namespace::resolve::Last;

pub(crate) unsafe fn realpath(path: *const c_char, buf: *mut c_char) -> *mut c_char {
    libcs!(realpath(path: *const c_char, buf: *mut c_char) -> *mut c_char);
    // SAFETY: passed on.
    pointer(unsafe { resolve(path) }.and_then(|name| {
        let bytes = name.as_bytes();
        match (buf.is_null(), bytes.len() < PATH_MAX) {
            (true, _) => give(bytes),
            (false, false) => Err(Errno::ENAMETOOLONG),
            // SAFETY: the program says that there is room for PATH_MAX bytes.
            (false, true) => Ok(unsafe { put(bytes, buf) }),
        }
    }))
}

pub(crate) unsafe fn canonicalize_file_name(path: *const c_char) -> *mut c_char {
    libcs!(canonicalize_file_name(path: *const c_char) -> *mut c_char);
    // SAFETY: passed on.
    unsafe { realpath(path, core::ptr::null_mut()) }
}

pub(crate) unsafe fn realpath_chk(
    path: *const c_char,
    buf: *mut c_char,
    room: size_t,
) -> *mut c_char {
    libcs!(__realpath_chk(path: *const c_char, buf: *mut c_char, room: size_t) -> *mut c_char);
    fits(PATH_MAX, room);
    // SAFETY: passed on.
    unsafe { realpath(path, buf) }
}

/// The canonical name of an existing file (realpath(3)).
unsafe fn resolve(path: *const c_char) -> Result<Name> {
    if path.is_null() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: the program says that it is a string.
    let mut name = Name::from(unsafe { CStr::from_ptr(path) }.to_bytes())?;
    let view = PROCESS.view().ok_or(Errno::ENOSYS)?;
    for _ in 0..LINKS_MAX {
        let mut found = view.walk(libc::AT_FDCWD, name.as_bytes(), Last::FOLLOW)?;
        if !found.magic {
            view.host().lstat(found.host.as_cstr()?)?;
            let mut found = view.from_root(found.ns)?;
            if found.as_bytes().is_empty() {
                found.push(b"/")?;
            }
            return Ok(found);
        }
        // One of /proc's own links: its text is a name, or of nothing that has
        // one.
        let mut link = view.from_root(found.ns)?;
        let link = link.as_cstr()?.as_ptr();
        // SAFETY: a name and a buffer of ours, as long as it is said to be;
        // readlink says how much it has written.
        unsafe {
            name.fill(PATH_MAX, |text| readlink_at(libc::AT_FDCWD, link, text.cast(), PATH_MAX))?;
        }
        if name.as_bytes().first() != Some(&b'/') {
            return Err(Errno::ENOENT);
        }
    }
    Err(Errno::ELOOP)
}

/// A copy in memory of the program's own malloc, for it to free.
pub(crate) fn give(bytes: &[u8]) -> Result<*mut c_char> {
    // SAFETY: an ordinary allocation.
    let to = unsafe { crate::lazy::malloc(bytes.len() + 1) }.cast::<c_char>();
    if to.is_null() {
        return Err(Errno::ENOMEM);
    }
    // SAFETY: as many bytes as were asked for.
    Ok(unsafe { put(bytes, to) })
}

/// Writes bytes and a NUL.
///
/// # Safety
/// `to` has room for them.
unsafe fn put(bytes: &[u8], to: *mut c_char) -> *mut c_char {
    // SAFETY: the caller's promise.
    unsafe {
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), to.cast(), bytes.len());
        *to.add(bytes.len()) = 0;
    }
    to
}

pub(crate) unsafe fn getwd(buf: *mut c_char) -> *mut c_char {
    libcs!(getwd(buf: *mut c_char) -> *mut c_char);
    if buf.is_null() {
        return pointer(Err(Errno::EINVAL));
    }
    // SAFETY: the program says that there is room for PATH_MAX bytes.
    unsafe { crate::reveal::getcwd(buf, PATH_MAX) }
}

pub(crate) unsafe fn getwd_chk(buf: *mut c_char, room: size_t) -> *mut c_char {
    libcs!(__getwd_chk(buf: *mut c_char, room: size_t) -> *mut c_char);
    fits(cwd().map_or(0, |name| name.as_bytes().len() + 1), room);
    // SAFETY: checked.
    unsafe { getwd(buf) }
}

pub(crate) unsafe fn getcwd_chk(buf: *mut c_char, size: size_t, room: size_t) -> *mut c_char {
    libcs!(__getcwd_chk(buf: *mut c_char, size: size_t, room: size_t) -> *mut c_char);
    fits(size, room);
    // SAFETY: checked.
    unsafe { crate::reveal::getcwd(buf, size) }
}

pub(crate) unsafe fn get_current_dir_name() -> *mut c_char {
    libcs!(get_current_dir_name() -> *mut c_char);
    // SAFETY: the environment is the program's.
    let pwd = unsafe { crate::lazy::getenv(c"PWD".as_ptr()) };
    // $PWD where it names this directory, however it is spelled.
    // SAFETY: not null, a variable's value.
    if !pwd.is_null() && unsafe { *pwd == b'/' as c_char && same_file(pwd, c".".as_ptr()) } {
        // SAFETY: as above.
        return pointer(give(unsafe { CStr::from_ptr(pwd) }.to_bytes()));
    }
    pointer(cwd().and_then(|name| give(name.as_bytes())))
}

/// # Safety
/// C strings.
unsafe fn same_file(a: *const c_char, b: *const c_char) -> bool {
    let id = |path| {
        let mut st = core::mem::MaybeUninit::<libc::stat>::uninit();
        // SAFETY: a buffer of ours, filled when the call says so.
        unsafe {
            crate::stat::stat_at(libc::AT_FDCWD, path, st.as_mut_ptr(), 0).ok()?;
            let st = st.assume_init();
            Some((st.st_dev, st.st_ino))
        }
    };
    id(a).is_some() && id(a) == id(b)
}

pub(crate) unsafe fn readlink_chk(
    path: *const c_char,
    buf: *mut c_char,
    size: size_t,
    room: size_t,
) -> ssize_t {
    // SAFETY: passed on.
    unsafe { readlinkat_chk(libc::AT_FDCWD, path, buf, size, room) }
}

pub(crate) unsafe fn readlinkat_chk(
    dirfd: c_int,
    path: *const c_char,
    buf: *mut c_char,
    size: size_t,
    room: size_t,
) -> ssize_t {
    fits(size, room);
    // SAFETY: checked.
    unsafe { readlink_at(dirfd, path, buf, size) }.size()
}
