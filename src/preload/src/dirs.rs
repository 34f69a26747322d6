//! Directories as the namespace lists them.

use crate::call::Ret;
use crate::PROCESS;
use core::ffi::{c_int, c_void};
use libc::{size_t, ssize_t};
use privns_abi::Result;
use privns_host::sys;

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
        Some(view) if !view.shown(fd).plain => view.list(fd, size, &mut |records| {
            // SAFETY: at most `size` bytes, which the program says its buffer
            // has.
            unsafe {
                core::ptr::copy_nonoverlapping(records.as_ptr(), buf.cast(), records.len());
            }
        }),
        // SAFETY: the program's own arguments.
        _ => unsafe { sys!(libc::SYS_getdents64, fd, buf, size) },
    }
}
