//! scandir and glob: what libc builds of directory streams.

use crate::dirs::{fail, Dir};
use crate::real::{libcs, real};
use crate::table::exports;
use alloc::boxed::Box;
use core::ffi::{c_char, c_int, c_void};
use libc::{dirent, glob_t};
use privns_abi::{Errno, Result};

pub(crate) type Select = Option<unsafe extern "C" fn(*const dirent) -> c_int>;
pub(crate) type Compare =
    Option<unsafe extern "C" fn(*mut *const dirent, *mut *const dirent) -> c_int>;
pub(crate) type OnError = Option<unsafe extern "C" fn(*const c_char, c_int) -> c_int>;

pub(crate) unsafe fn scandir(
    path: *const c_char,
    list: *mut *mut *mut dirent,
    select: Select,
    compare: Compare,
) -> c_int {
    libcs!(scandir(path: *const c_char, list: *mut *mut *mut dirent, select: Select, compare: Compare) -> c_int);
    // SAFETY: passed on.
    unsafe { scandirat(libc::AT_FDCWD, path, list, select, compare) }
}

/// libc opens here by a call of its own that no entry leads to, so that this
/// is done anew always.
pub(crate) unsafe fn scandirat(
    dirfd: c_int,
    path: *const c_char,
    list: *mut *mut *mut dirent,
    select: Select,
    compare: Compare,
) -> c_int {
    let mut found = Found { list: core::ptr::null_mut(), len: 0, room: 0 };
    // SAFETY: the program's own arguments.
    let done = unsafe { Dir::open(dirfd, path).and_then(|dir| found.fill(dir, select)) };
    if let Err(error) = done {
        return fail(error);
    }
    // SAFETY: the list is the program's from here on, and its comparison is of
    // the type that qsort calls.
    unsafe {
        if let Some(compare) = compare {
            let compare = core::mem::transmute::<
                unsafe extern "C" fn(*mut *const dirent, *mut *const dirent) -> c_int,
                unsafe extern "C" fn(*const c_void, *const c_void) -> c_int,
            >(compare);
            crate::rare::qsort(found.list.cast(), found.len, size_of::<*mut dirent>(), compare);
        }
        *list = found.list;
    }
    let len = found.len;
    core::mem::forget(found);
    len as c_int
}

/// Entries in the program's memory: it frees them.
struct Found {
    list: *mut *mut dirent,
    len: usize,
    room: usize,
}

impl Found {
    unsafe fn fill(&mut self, mut dir: Box<Dir>, select: Select) -> Result<()> {
        while let Some(entry) = dir.next()? {
            // SAFETY: a whole entry; the program's own function.
            unsafe {
                if select.is_none_or(|select| select(entry) != 0) {
                    self.push(entry)?;
                }
            }
        }
        // An empty list is one that can be freed, too.
        if self.list.is_null() {
            self.grow()?;
        }
        Ok(())
    }

    unsafe fn push(&mut self, entry: *const dirent) -> Result<()> {
        if self.len == self.room {
            self.grow()?;
        }
        // SAFETY: the record's length, copied into as much memory; a place
        // that `grow` has made.
        unsafe {
            let len = usize::from((*entry).d_reclen);
            let copy = crate::lazy::malloc(len);
            if copy.is_null() {
                return Err(Errno::ENOMEM);
            }
            core::ptr::copy_nonoverlapping(entry.cast::<u8>(), copy.cast(), len);
            *self.list.add(self.len) = copy.cast();
        }
        self.len += 1;
        Ok(())
    }

    fn grow(&mut self) -> Result<()> {
        let room = (self.room * 2).max(16);
        // SAFETY: null or our own list, of the program's malloc.
        let list =
            unsafe { crate::lazy::realloc(self.list.cast(), room * size_of::<*mut dirent>()) };
        if list.is_null() {
            return Err(Errno::ENOMEM);
        }
        (self.list, self.room) = (list.cast(), room);
        Ok(())
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        for i in 0..self.len {
            // SAFETY: made by `push`, and given to nobody.
            unsafe { crate::lazy::free((*self.list.add(i)).cast()) };
        }
        // SAFETY: as above.
        unsafe { crate::lazy::free(self.list.cast()) };
    }
}

/// libc's glob over directories of ours: it lets itself be told how they are
/// read (GLOB_ALTDIRFUNC).
pub(crate) unsafe fn glob(
    pattern: *const c_char,
    flags: c_int,
    on_error: OnError,
    into: *mut glob_t,
) -> c_int {
    libcs!(glob(pattern: *const c_char, flags: c_int, on_error: OnError, into: *mut glob_t) -> c_int);
    const ALTDIRFUNC: c_int = 1 << 9;
    let Some(real) = real!(glob(*const c_char, c_int, OnError, *mut glob_t) -> c_int) else {
        return libc::GLOB_NOSPACE;
    };
    // SAFETY: the program's own arguments; the functions have the types that
    // glob.h gives them. A program that brings its own is left alone.
    unsafe {
        if flags & ALTDIRFUNC != 0 {
            return real(pattern, flags, on_error, into);
        }
        let ways = into.cast::<Ways>();
        (*ways).closedir = exports::closedir::closedir::closedir as *const c_void;
        (*ways).readdir = exports::readdir::readdir::readdir as *const c_void;
        (*ways).opendir = exports::opendir::opendir::opendir as *const c_void;
        (*ways).lstat = exports::lstat::lstat::lstat as *const c_void;
        (*ways).stat = exports::stat::stat::stat as *const c_void;
        let done = real(pattern, flags | ALTDIRFUNC, on_error, into);
        (*ways).flags &= !ALTDIRFUNC;
        done
    }
}

/// glob_t with the members that the libc crate keeps to itself (glob.h).
#[repr(C)]
struct Ways {
    count: usize,
    paths: *mut *mut c_char,
    offset: usize,
    flags: c_int,
    closedir: *const c_void,
    readdir: *const c_void,
    opendir: *const c_void,
    lstat: *const c_void,
    stat: *const c_void,
}
