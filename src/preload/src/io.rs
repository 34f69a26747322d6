//! Calls on descriptors that only remote files need us for: passed on by one
//! load of a byte where the process has none.

use crate::call::{cancellable, Ret};
use crate::door;
use crate::start::single_threaded;
use crate::PROCESS;
use core::ffi::{c_int, c_long, c_uint, c_void};
use libc::{iovec, off_t, size_t, ssize_t};
use privns_abi::{Errno, Result};
use privns_host::{raw, sys};

/// A call at which a thread can be cancelled.
#[cold]
unsafe fn waits(nr: c_long, args: [usize; 6]) -> Result<usize> {
    if PROCESS.met() {
        // SAFETY: the program's own arguments.
        if let Some(done) = unsafe { door::ours(nr, args) } {
            return done;
        }
    }
    // SAFETY: as above.
    cancellable(true, || unsafe { raw::syscall(nr, args) })
}

/// Calls as they come: `kind name number (argument: type, …);`. What is hot
/// keeps its arguments in registers.
macro_rules! calls {
    ($($kind:ident $name:ident $nr:ident ($($arg:ident : $ty:ty),*);)*) => {$(
        #[inline(always)]
        pub(crate) unsafe fn $name($($arg: $ty),*) -> calls!(@ret $kind) {
            // SAFETY: the program's own arguments.
            let done = unsafe {
                if !PROCESS.met() && calls!(@at_once $kind) {
                    sys!(libc::$nr, $($arg),*)
                } else {
                    calls!(@slowly $kind libc::$nr, raw::pad([$($arg as usize),*]))
                }
            };
            calls!(@made $kind done)
        }
    )*};
    (@ret waits) => { ssize_t };
    (@ret plain) => { ssize_t };
    (@ret status) => { c_int };
    (@ret slow) => { c_int };
    (@at_once waits) => { single_threaded() };
    (@at_once slow) => { single_threaded() };
    (@at_once plain) => { true };
    (@at_once status) => { true };
    (@slowly waits $nr:expr, $args:expr) => { waits($nr, $args) };
    (@slowly slow $nr:expr, $args:expr) => { waits($nr, $args) };
    (@slowly plain $nr:expr, $args:expr) => { door::pass($nr, $args) };
    (@slowly status $nr:expr, $args:expr) => { door::pass($nr, $args) };
    (@made waits $done:ident) => { $done.size() };
    (@made plain $done:ident) => { $done.size() };
    (@made status $done:ident) => { $done.ret() };
    (@made slow $done:ident) => { $done.ret() };
}

calls! {
    waits read SYS_read (fd: c_int, buf: *mut c_void, size: size_t);
    waits write SYS_write (fd: c_int, buf: *const c_void, size: size_t);
    waits pread SYS_pread64 (fd: c_int, buf: *mut c_void, size: size_t, at: off_t);
    waits pwrite SYS_pwrite64 (fd: c_int, buf: *const c_void, size: size_t, at: off_t);
    waits readv SYS_readv (fd: c_int, parts: *const iovec, n: c_int);
    waits writev SYS_writev (fd: c_int, parts: *const iovec, n: c_int);
    waits preadv SYS_preadv (fd: c_int, parts: *const iovec, n: c_int, at: off_t);
    waits pwritev SYS_pwritev (fd: c_int, parts: *const iovec, n: c_int, at: off_t);
    waits sendfile SYS_sendfile (to: c_int, from: c_int, at: *mut off_t, count: size_t);
    waits copy_file_range SYS_copy_file_range
        (from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, count: size_t, flags: c_uint);
    waits splice SYS_splice
        (from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, count: size_t, flags: c_uint);
    plain lseek SYS_lseek (fd: c_int, offset: off_t, whence: c_int);
    plain readahead SYS_readahead (fd: c_int, offset: off_t, count: size_t);
    status ftruncate SYS_ftruncate (fd: c_int, size: off_t);
    slow fallocate SYS_fallocate (fd: c_int, mode: c_int, offset: off_t, len: off_t);
    slow fsync SYS_fsync (fd: c_int);
    slow fdatasync SYS_fdatasync (fd: c_int);
    status syncfs SYS_syncfs (fd: c_int);
    slow sync_file_range SYS_sync_file_range (fd: c_int, offset: off_t, len: off_t, flags: c_uint);
    status flock SYS_flock (fd: c_int, how: c_int);
    status ioctl SYS_ioctl (fd: c_int, request: usize, arg: usize);
    plain fgetxattr SYS_fgetxattr (fd: c_int, name: *const libc::c_char, value: *mut c_void, size: size_t);
    plain flistxattr SYS_flistxattr (fd: c_int, list: *mut libc::c_char, size: size_t);
}

/// With the two halves that the kernel takes an offset in.
unsafe fn vectored(
    nr: c_long,
    fd: c_int,
    parts: *const iovec,
    n: c_int,
    at: off_t,
    flags: c_int,
) -> ssize_t {
    let args = [fd as usize, parts as usize, n as usize, at as usize, 0, flags as usize];
    // SAFETY: the program's own arguments.
    unsafe { waits(nr, args) }.size()
}

pub(crate) unsafe fn preadv2(
    fd: c_int,
    parts: *const iovec,
    n: c_int,
    at: off_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: passed on.
    unsafe { vectored(libc::SYS_preadv2, fd, parts, n, at, flags) }
}

pub(crate) unsafe fn pwritev2(
    fd: c_int,
    parts: *const iovec,
    n: c_int,
    at: off_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: passed on.
    unsafe { vectored(libc::SYS_pwritev2, fd, parts, n, at, flags) }
}

/// The fortified forms know how much room there is.
pub(crate) fn fits(size: size_t, room: size_t) {
    if size > room {
        // SAFETY: libc's own end for such a program.
        unsafe { crate::lazy::__chk_fail() }
    }
}

pub(crate) unsafe fn read_chk(fd: c_int, buf: *mut c_void, size: size_t, room: size_t) -> ssize_t {
    fits(size, room);
    // SAFETY: passed on.
    unsafe { read(fd, buf, size) }
}

pub(crate) unsafe fn pread_chk(
    fd: c_int,
    buf: *mut c_void,
    size: size_t,
    at: off_t,
    room: size_t,
) -> ssize_t {
    fits(size, room);
    // SAFETY: passed on.
    unsafe { pread(fd, buf, size, at) }
}

/// posix_fallocate(3): the error is the result. Where the file system cannot,
/// libc does it by writing.
pub(crate) unsafe fn posix_fallocate(fd: c_int, offset: off_t, len: off_t) -> c_int {
    let real = crate::real::real!(posix_fallocate(c_int, off_t, off_t) -> c_int);
    let args = raw::pad([fd as usize, 0, offset as usize, len as usize]);
    let ours = match PROCESS.met() {
        // SAFETY: the program's own arguments.
        true => unsafe { door::ours(libc::SYS_fallocate, args) },
        false => None,
    };
    match (ours, real) {
        (Some(done), _) => done.map_or_else(|error| error.0, |_| 0),
        // SAFETY: as above.
        (None, Some(real)) => unsafe { real(fd, offset, len) },
        (None, None) => Errno::ENOSYS.0,
    }
}

/// posix_fadvise(3): the error is the result.
pub(crate) unsafe fn posix_fadvise(fd: c_int, offset: off_t, len: off_t, advice: c_int) -> c_int {
    let args = raw::pad([fd as usize, offset as usize, len as usize, advice as usize]);
    // SAFETY: the program's own arguments.
    let done = unsafe { door::pass(libc::SYS_fadvise64, args) };
    done.map_or_else(|error| error.0, |_| 0)
}
