//! Directories as the namespace lists them: the call, and the streams over it
//! for where libc's inner calls pass us by.

use crate::call::{set_errno, Ret};
use crate::descriptors::shut;
use crate::door::door;
use crate::open::open_at;
use crate::real::libcs;
use crate::streams::pointer;
use crate::theirs::room;
use crate::PROCESS;
use alloc::boxed::Box;
use core::ffi::{c_char, c_int, c_long, c_void};
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use libc::{dirent, off_t, size_t, ssize_t, DIR};
use privns_abi::{Errno, Result};
use privns_host::Kernel;

pub(crate) unsafe fn getdents64(fd: c_int, buf: *mut c_void, size: size_t) -> ssize_t {
    // SAFETY: passed on.
    unsafe { read_dir(fd, buf, size) }.size()
}

/// getdents64(2) in the namespace: libc's readdir comes here too.
///
/// # Safety
/// As that call.
pub(crate) unsafe fn read_dir(fd: c_int, buf: *mut c_void, size: size_t) -> Result<usize> {
    match PROCESS.view() {
        Some(view) if !view.shown(fd).plain => {
            // SAFETY: the program says that its buffer has so many bytes.
            let room = unsafe { room(buf as usize, size as u32 as usize) }?;
            view.list(fd, room)
        }
        // SAFETY: the program's own arguments.
        _ => unsafe { door!(libc::SYS_getdents64, fd, buf, size) },
    }
}

/// getdents(2), whose records are as long as those of getdents64(2): the type
/// stands in the last byte and not before the name.
///
/// # Safety
/// As that call.
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn read_old_dir(fd: c_int, buf: *mut c_void, size: size_t) -> Result<usize> {
    let plain = PROCESS.view().is_none_or(|view| view.shown(fd).plain);
    if plain && !PROCESS.is_virtual(fd) {
        // SAFETY: the program's own arguments.
        return unsafe { privns_host::sys!(libc::SYS_getdents, fd, buf, size) };
    }
    // SAFETY: as above; so many bytes have just been written.
    unsafe {
        let n = read_dir(fd, buf, size)?;
        if n > 0 {
            privns_host::dirent::make_old(core::slice::from_raw_parts_mut(buf.cast(), n));
        }
        Ok(n)
    }
}

pub(crate) unsafe fn getdirentries(
    fd: c_int,
    buf: *mut c_char,
    size: size_t,
    base: *mut off_t,
) -> ssize_t {
    let before = Kernel.lseek(fd, 0, libc::SEEK_CUR);
    // SAFETY: passed on; the program says that `base` is its own.
    let done = unsafe { read_dir(fd, buf.cast(), size) };
    if let (Ok(_), Ok(before)) = (&done, before) {
        // SAFETY: as above.
        unsafe { *base = before };
    }
    done.size()
}

/// Bytes of a stream's buffer; with what else it has, a block of our memory.
const BUFFER: usize = (32 << 10) - 64;

/// A stream of our own. Two threads that read one need a lock of their own, as
/// POSIX lets readdir demand.
#[repr(C, align(16))]
pub(crate) struct Dir {
    fd: c_int,
    /// What of the buffer is filled, and where the next record begins.
    filled: usize,
    at: usize,
    /// Position of the next record.
    next: off_t,
    buffer: MaybeUninit<[u8; BUFFER]>,
}

impl Dir {
    /// A stream over a directory's descriptor, which it closes in the end.
    pub(crate) fn new(fd: c_int) -> Result<Box<Dir>> {
        let next = Kernel.lseek(fd, 0, libc::SEEK_CUR).unwrap_or(0);
        // Written in place: it may be larger than the stack we are on.
        let mut dir = Box::<Dir>::new_uninit();
        // SAFETY: every field is written but the buffer, which need not be.
        Ok(unsafe {
            let at = dir.as_mut_ptr();
            (&raw mut (*at).fd).write(fd);
            (&raw mut (*at).filled).write(0);
            (&raw mut (*at).at).write(0);
            (&raw mut (*at).next).write(next);
            dir.assume_init()
        })
    }

    /// Opens the directory that a name leads to.
    ///
    /// # Safety
    /// `path` is a C string, or what only the kernel can say EFAULT to.
    pub(crate) unsafe fn open(dirfd: c_int, path: *const c_char) -> Result<Box<Dir>> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC | libc::O_NONBLOCK;
        // SAFETY: the caller's promise.
        let fd = unsafe { open_at(dirfd, path, flags, 0) }? as c_int;
        Dir::new(fd).inspect_err(|_| {
            let _ = shut(fd);
        })
    }

    /// The descriptor.
    pub(crate) fn fd(&self) -> c_int {
        self.fd
    }

    /// The next entry, in place until the one after it is asked for; `None` at
    /// the end.
    pub(crate) fn next(&mut self) -> Result<Option<*mut dirent>> {
        loop {
            if self.at >= self.filled {
                let buffer = self.buffer.as_mut_ptr().cast();
                self.at = 0;
                self.filled = 0;
                // SAFETY: our buffer and its length.
                self.filled = match unsafe { read_dir(self.fd, buffer, BUFFER) } {
                    // The directory has been removed: it has no entries.
                    Ok(0) | Err(Errno::ENOENT) => return Ok(None),
                    done => done?,
                };
            }
            // SAFETY: a whole record: dirent64, which is dirent on systems of
            // 64 bits, and aligned as the buffer is.
            unsafe {
                let entry = self.buffer.as_mut_ptr().cast::<u8>().add(self.at).cast::<dirent>();
                self.at += usize::from((*entry).d_reclen).max(1);
                self.next = (*entry).d_off;
                if (*entry).d_ino != 0 {
                    return Ok(Some(entry));
                }
            }
        }
    }

    fn seek(&mut self, to: off_t) {
        let _ = Kernel.lseek(self.fd, to, libc::SEEK_SET);
        (self.at, self.filled, self.next) = (0, 0, to);
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = shut(self.fd);
    }
}

/// The stream that a program has of us.
///
/// # Safety
/// What `opendir` or `fdopendir` has given while [`alone`](crate::real::alone).
unsafe fn own<'a>(dir: *mut DIR) -> &'a mut Dir {
    // SAFETY: the caller's promise.
    unsafe { &mut *dir.cast::<Dir>() }
}

pub(crate) unsafe fn opendir(path: *const c_char) -> *mut DIR {
    libcs!(opendir(path: *const c_char) -> *mut DIR);
    // SAFETY: the program's own argument.
    pointer(unsafe { Dir::open(libc::AT_FDCWD, path) }.map(Box::into_raw)).cast()
}

pub(crate) unsafe fn fdopendir(fd: c_int) -> *mut DIR {
    libcs!(fdopendir(fd: c_int) -> *mut DIR);
    pointer(check(fd).and_then(|()| Dir::new(fd)).map(Box::into_raw)).cast()
}

/// Whether a descriptor can be read as a directory (fdopendir(3)).
fn check(fd: c_int) -> Result<()> {
    let directory = match PROCESS.view() {
        Some(view) => view.host().fstat(fd),
        None => Kernel.fstat(fd),
    };
    if !directory?.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    Ok(())
}

pub(crate) unsafe fn readdir(dir: *mut DIR) -> *mut dirent {
    libcs!(readdir(dir: *mut DIR) -> *mut dirent);
    // SAFETY: a stream of ours.
    pointer(unsafe { own(dir) }.next().map(|entry| entry.unwrap_or(null_mut())))
}

pub(crate) unsafe fn readdir_r(
    dir: *mut DIR,
    entry: *mut dirent,
    result: *mut *mut dirent,
) -> c_int {
    libcs!(readdir_r(dir: *mut DIR, entry: *mut dirent, result: *mut *mut dirent) -> c_int);
    // SAFETY: a stream of ours, and the program's own places for the answer.
    unsafe {
        *result = null_mut();
        match own(dir).next() {
            Ok(None) => 0,
            Ok(Some(found)) => {
                let len = usize::from((*found).d_reclen).min(size_of::<dirent>());
                core::ptr::copy_nonoverlapping(found.cast::<u8>(), entry.cast(), len);
                *result = entry;
                0
            }
            Err(error) => error.0,
        }
    }
}

pub(crate) unsafe fn closedir(dir: *mut DIR) -> c_int {
    libcs!(closedir(dir: *mut DIR) -> c_int);
    if dir.is_null() {
        return Err(Errno::EINVAL).ret();
    }
    // SAFETY: a stream of ours, given up by the program.
    drop(unsafe { Box::from_raw(dir.cast::<Dir>()) });
    0
}

pub(crate) unsafe fn dirfd(dir: *mut DIR) -> c_int {
    libcs!(dirfd(dir: *mut DIR) -> c_int);
    // SAFETY: a stream of ours.
    unsafe { own(dir) }.fd
}

pub(crate) unsafe fn telldir(dir: *mut DIR) -> c_long {
    libcs!(telldir(dir: *mut DIR) -> c_long);
    // SAFETY: as above.
    unsafe { own(dir) }.next
}

pub(crate) unsafe fn seekdir(dir: *mut DIR, to: c_long) {
    libcs!(seekdir(dir: *mut DIR, to: c_long));
    // SAFETY: as above.
    unsafe { own(dir) }.seek(to);
}

pub(crate) unsafe fn rewinddir(dir: *mut DIR) {
    libcs!(rewinddir(dir: *mut DIR));
    // SAFETY: as above.
    unsafe { own(dir) }.seek(0);
}

/// Says that a composite call failed.
pub(crate) fn fail(error: Errno) -> c_int {
    set_errno(error);
    -1
}
