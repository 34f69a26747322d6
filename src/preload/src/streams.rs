//! Streams where libc's inner calls pass us by: the name is located, and libc
//! opens the host's. A stream's descriptor is libc's own business there: what
//! it shows is looked up when it is asked for.
//!
//! `fdopen` needs nothing: what a descriptor is opened on has been decided.

use crate::ask::host_name;
use crate::call::{errno, set_errno, Does};
use crate::jumps::{self, Mode};
use crate::open::open_at;
use crate::real::{libcs, real};
use core::ffi::{c_char, c_int, CStr};
use core::ptr::null_mut;
use libc::FILE;
use privns_abi::{Errno, Result};
use privns_files::Target;
use privns_namespace::resolve::Last;

/// A pointer as C has it: null, with errno set, for an error.
pub(crate) fn pointer<T>(done: Result<*mut T>) -> *mut T {
    done.unwrap_or_else(|error| {
        set_errno(error);
        null_mut()
    })
}

pub(crate) unsafe fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE {
    // SAFETY: the program's own string.
    let plain = jumps::changed().then(|| unsafe { Mode::unmapped(mode) });
    let mode = plain.as_ref().map_or(mode, Mode::as_ptr);
    libcs!(fopen(path: *const c_char, mode: *const c_char) -> *mut FILE);
    let real = real!(fopen(*const c_char, *const c_char) -> *mut FILE);
    // SAFETY: passed on.
    pointer(unsafe { open(path, mode, real) })
}

pub(crate) unsafe fn setmntent(path: *const c_char, mode: *const c_char) -> *mut FILE {
    libcs!(setmntent(path: *const c_char, mode: *const c_char) -> *mut FILE);
    let real = real!(setmntent(*const c_char, *const c_char) -> *mut FILE);
    // SAFETY: passed on.
    pointer(unsafe { open(path, mode, real) })
}

type Opens = unsafe extern "C" fn(*const c_char, *const c_char) -> *mut FILE;

/// Opens a stream with libc's `real`, in the namespace.
///
/// # Safety
/// Both are C strings.
unsafe fn open(path: *const c_char, mode: *const c_char, real: Option<Opens>) -> Result<*mut FILE> {
    let real = real.ok_or(Errno::ENOSYS)?;
    let mut to = Target::new();
    // SAFETY: the caller's promise.
    unsafe {
        match host_name(path, opening(mode), &mut to)? {
            Some(host) if is_remote(host) => remote(path, mode),
            Some(host) => Ok(real(host, mode)),
            None => mounts(path, mode),
        }
    }
}

pub(crate) unsafe fn freopen(
    path: *const c_char,
    mode: *const c_char,
    file: *mut FILE,
) -> *mut FILE {
    libcs!(freopen(path: *const c_char, mode: *const c_char, file: *mut FILE) -> *mut FILE);
    let Some(real) = real!(freopen(*const c_char, *const c_char, *mut FILE) -> *mut FILE) else {
        return pointer(Err(Errno::ENOSYS));
    };
    let mut to = Target::new();
    // SAFETY: the program's own arguments; a null name means the same file in
    // another mode.
    unsafe {
        if path.is_null() {
            return real(path, mode, file);
        }
        match host_name(path, opening(mode), &mut to) {
            Ok(Some(host)) if is_remote(host) => {
                reremote(path, mode, |name| real(name, mode, file))
            }
            Ok(Some(host)) => real(host, mode, file),
            Ok(None) => remounts(path, |name| real(name, mode, file)),
            Err(error) => {
                // The old file is closed all the same (fopen(3)): no file has
                // the empty name.
                real(c"".as_ptr(), mode, file);
                pointer(Err(error))
            }
        }
    }
}

/// Whether a host name is a remote file's.
///
/// # Safety
/// A C string.
unsafe fn is_remote(host: *const c_char) -> bool {
    // SAFETY: the caller's promise.
    privns_namespace::remote::split(unsafe { CStr::from_ptr(host) }.to_bytes()).is_some()
}

/// A stream on a remote file.
unsafe fn remote(path: *const c_char, mode: *const c_char) -> Result<*mut FILE> {
    // SAFETY: the caller's strings.
    unsafe {
        let fd = open_at(libc::AT_FDCWD, path, flags(mode), 0o666)?;
        over(fd as c_int, Mode::unmapped(mode).as_ptr())
    }
}

/// The same for a stream that there is: libc opens the placeholder by its name,
/// and the file takes its number over.
unsafe fn reremote(
    path: *const c_char,
    mode: *const c_char,
    open: impl FnOnce(*const c_char) -> *mut FILE,
) -> *mut FILE {
    // SAFETY: the caller's strings.
    let fd = unsafe { open_at(libc::AT_FDCWD, path, flags(mode) | libc::O_CLOEXEC, 0o666) };
    let named = fd.and_then(|fd| Ok((fd as c_int, privns_host::fd::link(fd as c_int)?)));
    pointer(named.and_then(|(fd, mut name)| {
        let file = open(name.as_cstr()?.as_ptr());
        if file.is_null() {
            let _ = crate::descriptors::shut(fd);
        } else {
            // SAFETY: libc's stream.
            unsafe { jumps::take_over(fd, file) };
        }
        Ok(file)
    }))
}

/// The flags of open(2) that a mode of fopen(3) stands for.
///
/// # Safety
/// A C string.
unsafe fn flags(mode: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    let mode = unsafe { CStr::from_ptr(mode) }.to_bytes();
    let letters = mode.split(|&b| b == b',').next().unwrap_or_default();
    let has = |letter: u8| letters.contains(&letter);
    let (one, makes) = match letters.first() {
        Some(b'w') => (libc::O_WRONLY, libc::O_CREAT | libc::O_TRUNC),
        Some(b'a') => (libc::O_WRONLY, libc::O_CREAT | libc::O_APPEND),
        _ => (libc::O_RDONLY, 0),
    };
    let access = if has(b'+') { libc::O_RDWR } else { one };
    let exclusive = if has(b'x') { libc::O_EXCL } else { 0 };
    access | makes | exclusive | if has(b'e') { libc::O_CLOEXEC } else { 0 }
}

/// What opening in a mode of fopen(3) does.
///
/// # Safety
/// A C string.
unsafe fn opening(mode: *const c_char) -> (Last, Does) {
    // SAFETY: the caller's promise.
    let mode = unsafe { CStr::from_ptr(mode) }.to_bytes();
    let letters = mode.split(|&b| b == b',').next().unwrap_or_default();
    match (letters.first(), letters.contains(&b'+'), letters.contains(&b'x')) {
        (Some(b'w' | b'a'), _, true) => (Last::MAKE, Does::Make),
        (Some(b'w' | b'a'), _, false) => (Last::OPEN_OR_MAKE, Does::Open),
        (_, true, _) => (Last::FOLLOW, Does::Change),
        _ => (Last::FOLLOW, Does::Read),
    }
}

/// A stream on a mount table.
unsafe fn mounts(path: *const c_char, mode: *const c_char) -> Result<*mut FILE> {
    // SAFETY: the caller's name; nobody may write it.
    unsafe {
        let fd = open_at(libc::AT_FDCWD, path, libc::O_RDONLY | libc::O_CLOEXEC, 0)?;
        over(fd as c_int, mode)
    }
}

/// The same by a name that libc can open.
unsafe fn remounts(
    path: *const c_char,
    open: impl FnOnce(*const c_char) -> *mut FILE,
) -> *mut FILE {
    // SAFETY: the caller's name.
    let fd = unsafe { open_at(libc::AT_FDCWD, path, libc::O_RDONLY | libc::O_CLOEXEC, 0) };
    let named = fd.and_then(|fd| Ok((fd as c_int, privns_host::fd::link(fd as c_int)?)));
    pointer(named.and_then(|(fd, mut name)| {
        let file = open(name.as_cstr()?.as_ptr());
        let _ = crate::descriptors::shut(fd);
        Ok(file)
    }))
}

/// A stream over a descriptor that is ours to close when there is none.
unsafe fn over(fd: c_int, mode: *const c_char) -> Result<*mut FILE> {
    // SAFETY: the caller's mode.
    let file = unsafe { crate::rare::fdopen(fd, mode) };
    if !file.is_null() {
        return Ok(file);
    }
    let error = errno();
    let _ = crate::descriptors::shut(fd);
    Err(error)
}

pub(crate) unsafe fn tmpfile() -> *mut FILE {
    libcs!(tmpfile() -> *mut FILE);
    // SAFETY: a name of ours.
    pointer(unsafe { open_tmpfile() })
}

/// A file without a name in /tmp, or one that loses it at once.
unsafe fn open_tmpfile() -> Result<*mut FILE> {
    let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_EXCL;
    // SAFETY: names of ours.
    unsafe {
        let unnamed = open_at(libc::AT_FDCWD, c"/tmp".as_ptr(), flags, 0o600);
        if let Ok(fd) = unnamed {
            return over(fd as c_int, c"w+".as_ptr());
        }
        let mut name = *b"/tmp/tmpfXXXXXX\0";
        let name = name.as_mut_ptr().cast::<c_char>();
        let fd = crate::temp::make(name, 0, 0)?;
        crate::names::unlink(name);
        over(fd as c_int, c"w+".as_ptr())
    }
}
