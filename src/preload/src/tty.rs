//! ttyname(3). Where libc's inner calls reach us its own is right; else it
//! would tell the host's name of the terminal, or look for it in the host's
//! `/dev`.

use crate::call::Ret;
use crate::real::libcs;
use core::cell::UnsafeCell;
use core::ffi::{c_char, c_int};
use core::mem::MaybeUninit;
use privns_abi::path::PATH_MAX;
use privns_abi::{Errno, Result};
use privns_host::kernel::decimal;
use privns_host::{sys, HotName};

/// Writes the terminal's name, if it is the namespace's.
unsafe fn name(fd: c_int, buf: *mut c_char, size: usize) -> Result<usize> {
    let mut settings = MaybeUninit::<libc::termios>::uninit();
    let mut own = MaybeUninit::<libc::stat>::uninit();
    let mut named = MaybeUninit::<libc::stat>::uninit();
    let mut link = HotName::new();
    let mut digits = [0; 10];
    let mut text = [0u8; PATH_MAX];
    // SAFETY: the kernel fills what it is given; the buffer has `size` bytes.
    unsafe {
        sys!(libc::SYS_ioctl, fd, libc::TCGETS, settings.as_mut_ptr())?;
        sys!(libc::SYS_fstat, fd, own.as_mut_ptr())?;
        link.push(b"/proc/self/fd/")?;
        link.push(decimal(fd.unsigned_abs(), &mut digits))?;
        let to = text.as_mut_ptr().cast();
        let n = crate::reveal::readlink_at(libc::AT_FDCWD, link.as_ptr(), to, PATH_MAX - 1)?;
        if n >= size {
            return Err(Errno::ERANGE);
        }
        // The name must lead to the terminal: a namespace may have another
        // there, or none.
        crate::stat::stat_at(libc::AT_FDCWD, to, named.as_mut_ptr(), 0).or(Err(Errno::ENODEV))?;
        let (own, named) = (own.assume_init(), named.assume_init());
        if (own.st_dev, own.st_ino, own.st_rdev) != (named.st_dev, named.st_ino, named.st_rdev) {
            return Err(Errno::ENODEV);
        }
        core::ptr::copy_nonoverlapping(to, buf, n + 1);
        Ok(n)
    }
}

/// Gives the error's number too, as its manual page says.
pub(crate) unsafe fn ttyname_r(fd: c_int, buf: *mut c_char, size: usize) -> c_int {
    libcs!(ttyname_r(fd: c_int, buf: *mut c_char, size: usize) -> c_int);
    let done = match buf.is_null() {
        true => Err(Errno::EINVAL),
        // SAFETY: not null, and the program says that it has `size` bytes.
        false => unsafe { name(fd, buf, size) },
    };
    match done {
        Ok(_) => 0,
        Err(error) => {
            Err(error).ret();
            error.0
        }
    }
}

struct Answer(UnsafeCell<[c_char; PATH_MAX]>);

// SAFETY: one answer for the whole process is what ttyname(3) says it has.
unsafe impl Sync for Answer {}

static ANSWER: Answer = Answer(UnsafeCell::new([0; PATH_MAX]));

pub(crate) unsafe fn ttyname(fd: c_int) -> *mut c_char {
    libcs!(ttyname(fd: c_int) -> *mut c_char);
    let answer = ANSWER.0.get().cast::<c_char>();
    // SAFETY: PATH_MAX bytes.
    match unsafe { ttyname_r(fd, answer, PATH_MAX) } {
        0 => answer,
        _ => core::ptr::null_mut(),
    }
}
