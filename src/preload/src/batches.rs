//! Reads and writes that are handed over to be done: io_submit(2), io_uring(7)
//! and aio(7). libaio and liburing enter the kernel by instructions of their own,
//! so that what they export is what we serve, besides syscall(2).
//!
//! A descriptor that stands for a remote file would be the placeholder to it.
//! Of an `io_submit` such requests are done here, at once, and the kernel is
//! given one to report in their place: a write to /dev/null of as many bytes as
//! were moved, which it completes under the program's own address and mark. It
//! can report no error: then the call itself fails, as it does for what cannot
//! be submitted.
//!
//! A ring is read by the kernel without any call. Where a descriptor may be such
//! a placeholder, and where nothing is to reach what the namespace does not show,
//! there is none to be had (ENOSYS): so it is under most container runtimes, and
//! programs can do without. Elsewhere there is, and names in it are the host's.
//!
//! What libc does for aio(7) arrives at our rows like all that it does inside;
//! where that does not, such a descriptor is refused (ENOSYS).

use crate::call::Ret;
use crate::nowhere::is_nowhere;
use crate::real::{alone, real};
use crate::{door, PROCESS};
use core::ffi::{c_int, c_long, c_uint, c_void};
use libc::{iovec, size_t};
use privns_abi::{Errno, Result};
use privns_host::{raw, sys, Kernel};
use privns_namespace::family::Flag;

/// `struct iocb` (linux/aio_abi.h).
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Request {
    data: u64,
    #[cfg(target_endian = "little")]
    key: u32,
    flags: u32,
    #[cfg(target_endian = "big")]
    key: u32,
    what: u16,
    priority: i16,
    fd: u32,
    buf: u64,
    len: u64,
    offset: i64,
    reserved: u64,
    options: u32,
    event_fd: u32,
}

/// What a request is for.
mod what {
    pub(super) const READ: u16 = 0;
    pub(super) const WRITE: u16 = 1;
    pub(super) const SYNC: u16 = 2;
    pub(super) const SYNC_DATA: u16 = 3;
    pub(super) const READ_PARTS: u16 = 7;
    pub(super) const WRITE_PARTS: u16 = 8;
}

impl Request {
    fn is_ours(&self) -> bool {
        PROCESS.is_virtual(self.fd as c_int)
    }

    /// Does what is asked: how many bytes were moved.
    ///
    /// # Safety
    /// The program says what its buffers are.
    unsafe fn done(&self) -> Result<usize> {
        let (fd, at, flags) = (self.fd as usize, self.offset as usize, self.flags as usize);
        let part = iovec { iov_base: self.buf as *mut c_void, iov_len: self.len as usize };
        let one = (&raw const part as usize, 1);
        let parts = (self.buf as usize, self.len as usize);
        let (nr, (parts, n)) = match self.what {
            what::READ => (libc::SYS_preadv2, one),
            what::WRITE => (libc::SYS_pwritev2, one),
            what::READ_PARTS => (libc::SYS_preadv2, parts),
            what::WRITE_PARTS => (libc::SYS_pwritev2, parts),
            what::SYNC => (libc::SYS_fsync, (0, 0)),
            what::SYNC_DATA => (libc::SYS_fdatasync, (0, 0)),
            _ => return Err(Errno::EINVAL),
        };
        // An offset of -1 is none here.
        if self.offset < 0 && !matches!(self.what, what::SYNC | what::SYNC_DATA) {
            return Err(Errno::EINVAL);
        }
        let args = raw::pad([fd, parts, n, at, 0, flags]);
        // SAFETY: the caller's promise.
        unsafe { door::ours(nr, args) }.unwrap_or(Err(Errno::EBADF))
    }
}

/// Has the kernel report that so many bytes were moved. It reads the request
/// where it lies: by its address it is known to the program.
///
/// # Safety
/// `context` and `list`, of which the first request is meant, are io_submit(2)'s.
unsafe fn report(context: usize, list: *const *mut Request, n: usize) -> Result<()> {
    let flags = libc::O_WRONLY | libc::O_CLOEXEC;
    let nowhere = Kernel.openat(libc::AT_FDCWD, c"/dev/null", flags, 0);
    let nowhere = nowhere.map_err(|_| Errno::EINVAL)?;
    // SAFETY: the caller's promise; nobody else uses a request that is being
    // submitted, and the kernel has a copy once it has taken it.
    let told = unsafe {
        let at = *list;
        let own = *at;
        let told = Request { what: what::WRITE, fd: nowhere as u32, len: n as u64, ..own };
        at.write_volatile(Request { offset: 0, flags: 0, priority: 0, ..told });
        let told = sys!(libc::SYS_io_submit, context, 1, list);
        at.write_volatile(Request { key: at.read_volatile().key, ..own });
        told
    };
    let _ = Kernel.close(nowhere);
    told.map(drop)
}

/// io_submit(2): how many of the requests were taken.
///
/// # Safety
/// As the call itself.
pub(crate) unsafe fn submit(context: usize, n: c_long, list: *const *mut Request) -> Result<usize> {
    // SAFETY: the program's own arguments.
    let plainly = |n: usize, list: *const *mut Request| unsafe {
        sys!(libc::SYS_io_submit, context, n, list)
    };
    let Some(n) =
        usize::try_from(n).ok().filter(|_| PROCESS.met() && !is_nowhere(list.cast::<u8>()))
    else {
        return plainly(n as usize, list);
    };
    let mut done = 0;
    while done < n {
        // SAFETY: the program says that there are so many.
        let step = unsafe {
            let at = list.add(done);
            let kernels = (done..n).take_while(|&i| !is_ours(*list.add(i))).count();
            match kernels {
                0 => {
                    let moved = (**at).done();
                    moved.and_then(|moved| report(context, at, moved)).map(|()| 1)
                }
                kernels => plainly(kernels, at),
            }
        };
        match step {
            Ok(0) => break,
            Ok(taken) => done += taken,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// What leads nowhere is the kernel's to refuse.
unsafe fn is_ours(request: *mut Request) -> bool {
    // SAFETY: the program says that it is one.
    !is_nowhere(request.cast_const().cast::<u8>()) && unsafe { (*request).is_ours() }
}

/// libaio's call, whose result is the error.
pub(crate) unsafe fn io_submit(context: usize, n: c_long, list: *const *mut Request) -> c_int {
    // SAFETY: passed on.
    unsafe { submit(context, n, list) }.map_or_else(|error| -error.0, |n| n as c_int)
}

/// Whether what is in a ring could be something else than what is meant.
fn is_unsafe() -> bool {
    PROCESS.view().is_some_and(|view| {
        let (family, table) = (view.family, view.table());
        let cleared = table.map_or(true, |table| table.index().is_cleared());
        cleared || family.had_servers() || family.has(Flag::Strict)
    })
}

/// io_uring_setup(2).
///
/// # Safety
/// As the call itself.
pub(crate) unsafe fn setup(entries: usize, params: usize) -> Result<usize> {
    if is_unsafe() {
        return Err(Errno::ENOSYS);
    }
    // SAFETY: the program's own arguments.
    unsafe { sys!(libc::SYS_io_uring_setup, entries, params) }
}

/// liburing's own call, where it has one.
pub(crate) unsafe fn io_uring_setup(entries: c_uint, params: *mut c_void) -> c_int {
    // SAFETY: passed on.
    let made = unsafe { setup(entries as usize, params as usize) };
    made.map_or_else(|error| -error.0, |fd| fd as c_int)
}

/// liburing's functions that make a ring: `name(argument: type, …)`.
macro_rules! rings {
    ($($name:ident($($arg:ident : $ty:ty),*);)*) => {$(
        pub(crate) unsafe fn $name($($arg: $ty),*) -> c_int {
            match real!($name($($ty),*) -> c_int) {
                // SAFETY: the program's own arguments.
                Some(real) if !is_unsafe() => unsafe { real($($arg),*) },
                _ => -Errno::ENOSYS.0,
            }
        }
    )*};
}

rings! {
    io_uring_queue_init(entries: c_uint, ring: *mut c_void, flags: c_uint);
    io_uring_queue_init_params(entries: c_uint, ring: *mut c_void, params: *mut c_void);
    io_uring_queue_init_mem(entries: c_uint, ring: *mut c_void, params: *mut c_void, buf: *mut c_void, size: size_t);
}

/// `struct aiocb` (aio.h), as far as it is ours.
#[repr(C)]
pub(crate) struct Asked {
    fd: c_int,
}

/// Whether libc would find a placeholder in any of these.
///
/// # Safety
/// Null, or the program's own.
unsafe fn is_missed(all: &[*mut Asked]) -> bool {
    let met = alone() && PROCESS.met();
    // SAFETY: the caller's promise.
    let ours = |one: *mut Asked| PROCESS.is_virtual(unsafe { (*one).fd });
    met && all.iter().any(|&one| !is_nowhere(one) && ours(one))
}

/// libc's functions: `name(argument: type, …) all of them;`.
macro_rules! asked {
    ($($name:ident($($arg:ident : $ty:ty),*) $all:expr;)*) => {$(
        pub(crate) unsafe fn $name($($arg: $ty),*) -> c_int {
            let real = real!($name($($ty),*) -> c_int);
            // SAFETY: the program's own arguments.
            match real.filter(|_| !unsafe { is_missed($all) }) {
                // SAFETY: as above.
                Some(real) => unsafe { real($($arg),*) },
                None => Err(Errno::ENOSYS).ret(),
            }
        }
    )*};
}

asked! {
    aio_read(one: *mut Asked) &[one];
    aio_write(one: *mut Asked) &[one];
    aio_fsync(how: c_int, one: *mut Asked) &[one];
    lio_listio(mode: c_int, list: *const *mut Asked, n: c_int, event: *mut c_void)
        match usize::try_from(n) {
            Ok(n) if !is_nowhere(list) => core::slice::from_raw_parts(list, n),
            _ => &[],
        };
}
