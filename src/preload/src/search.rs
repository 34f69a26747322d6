//! The relatives of execve that libc is left out of: those without an
//! environment, and those that search PATH (exec(3)).

use crate::arguments::count;
use crate::call::{set_errno, Ret};
use crate::exec::{exec_at, Strings};
use crate::strings::Block;
use core::ffi::{c_char, c_int, CStr};
use privns_abi::{path, Errno, Result};
use privns_host::HotName;

unsafe extern "C" {
    static environ: Strings;
}

/// The environment of this moment.
pub(crate) fn environment() -> Strings {
    // SAFETY: libc's variable, which exec's own relatives read just so.
    unsafe { environ }
}

pub(crate) unsafe fn execv(path: *const c_char, argv: Strings) -> c_int {
    // SAFETY: passed on.
    unsafe { exec_at(libc::AT_FDCWD, path, argv, environment(), 0) }.ret()
}

pub(crate) unsafe fn execvp(file: *const c_char, argv: Strings) -> c_int {
    // SAFETY: passed on.
    unsafe { execvpe(file, argv, environment()) }
}

pub(crate) unsafe fn execvpe(file: *const c_char, argv: Strings, env: Strings) -> c_int {
    // SAFETY: passed on.
    let failed = unsafe { search(file, argv, env, true) };
    set_errno(failed);
    -1
}

/// Where programs are when there is no PATH: confstr(3)'s `_CS_PATH`.
const DEFAULT: &[u8] = b"/bin:/usr/bin";

/// Runs the first program of that name in PATH; what no exec takes is given to
/// the shell if `shell` says so. Returns why it could not.
///
/// # Safety
/// As execvpe(3).
pub(crate) unsafe fn search(
    file: *const c_char,
    argv: Strings,
    env: Strings,
    shell: bool,
) -> Errno {
    // SAFETY: the program says that it is a string.
    let name = unsafe { CStr::from_ptr(file) }.to_bytes();
    if name.is_empty() {
        return Errno::ENOENT;
    }
    if name.contains(&b'/') {
        // SAFETY: passed on.
        return unsafe { attempt(file, argv, env, shell) };
    }
    if name.len() > path::NAME_MAX {
        return Errno::ENAMETOOLONG;
    }
    // SAFETY: a variable of the program's, read as libc reads it.
    let dirs = unsafe { crate::lazy::getenv(c"PATH".as_ptr()) };
    // SAFETY: not null: a string.
    let dirs = if dirs.is_null() { DEFAULT } else { unsafe { CStr::from_ptr(dirs) }.to_bytes() };
    let mut denied = false;
    let mut last = Errno::ENOENT;
    for dir in dirs.split(|b| *b == b':') {
        let mut at = HotName::new();
        let slash: &[u8] = if dir.is_empty() { b"" } else { b"/" };
        if [dir, slash, name].iter().any(|part| at.push(part).is_err()) {
            continue;
        }
        // SAFETY: a C string of ours.
        last = unsafe { attempt(at.as_ptr(), argv, env, shell) };
        match last {
            Errno::EACCES => denied = true,
            // Not there, or a directory that cannot be reached: go on.
            Errno::ENOENT | Errno::ESTALE | Errno::ENOTDIR | Errno::ENODEV | Errno::ETIMEDOUT => {}
            _ => return last,
        }
    }
    if denied {
        Errno::EACCES
    } else {
        last
    }
}

unsafe fn attempt(path: *const c_char, argv: Strings, env: Strings, shell: bool) -> Errno {
    // SAFETY: passed on.
    match unsafe { exec_at(libc::AT_FDCWD, path, argv, env, 0) } {
        // SAFETY: passed on.
        Err(Errno::ENOEXEC) if shell => unsafe { by_shell(path, argv, env) }.err(),
        failed => failed.err(),
    }
    .unwrap_or(Errno::ENOEXEC)
}

/// Gives a file that has no header to the shell.
unsafe fn by_shell(path: *const c_char, argv: Strings, env: Strings) -> Result<usize> {
    const SHELL: &CStr = c"/bin/sh";
    // SAFETY: the caller's array.
    let count = unsafe { count(argv) };
    let mut block = Block::new(count + 3, 0)?;
    block.word(SHELL.as_ptr());
    block.word(path);
    for at in 1..count {
        // SAFETY: as above.
        block.word(unsafe { *argv.add(at) });
    }
    let argv = block.finish();
    let guest = crate::PROCESS.guest();
    if let (Some(guest), Some((at, len))) = (guest, argv.block()) {
        guest.keep(at, len);
    }
    // SAFETY: an array of ours.
    let failed = unsafe { exec_at(libc::AT_FDCWD, SHELL.as_ptr(), argv.as_ptr(), env, 0) };
    if let Some(guest) = guest {
        guest.unkeep();
    }
    failed
}
