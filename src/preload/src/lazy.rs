//! What we call of libc's seldom enough that it is looked up at the first call
//! ([`privns_host::lazy`]).

use core::ffi::{c_char, c_int, c_void};
use libc::FILE;

privns_host::lazily! {
    /// calloc(3).
    pub(crate) fn calloc(count: usize, size: usize) -> *mut c_void;
    /// `__chk_fail` of the Linux Standard Base: says that a buffer is too
    /// small, and aborts.
    pub(crate) fn __chk_fail() -> !;
    /// dlsym(3).
    pub(crate) fn dlsym(from: *mut c_void, name: *const c_char) -> *mut c_void;
    /// fileno(3).
    pub(crate) fn fileno(file: *mut FILE) -> c_int;
    /// free(3).
    pub(crate) fn free(block: *mut c_void);
    /// getauxval(3).
    pub(crate) fn getauxval(kind: libc::c_ulong) -> libc::c_ulong;
    /// getenv(3).
    pub(crate) fn getenv(name: *const c_char) -> *mut c_char;
    /// malloc(3).
    pub(crate) fn malloc(size: usize) -> *mut c_void;
    /// pthread_setcanceltype(3).
    pub(crate) fn pthread_setcanceltype(kind: c_int, old: *mut c_int) -> c_int;
    /// sbrk(2).
    pub(crate) fn sbrk(more: isize) -> *mut c_void;
    /// realloc(3).
    pub(crate) fn realloc(block: *mut c_void, size: usize) -> *mut c_void;
}
