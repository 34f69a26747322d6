//! What the loader has loaded: its own list, which it keeps for debuggers
//! (`link.h`). dl_iterate_phdr(3) would tell the same, but that is one of the
//! names that we export, and to look libc's up costs every exec a microsecond.

use core::ffi::{c_char, c_int, CStr};

/// An entry of a dynamic section (gABI).
#[repr(C)]
pub(crate) struct Dynamic {
    pub(crate) tag: i64,
    pub(crate) value: u64,
}

/// `struct link_map`, as far as it is the same in every libc.
#[repr(C)]
pub(crate) struct Loaded {
    /// What its addresses are to be added to.
    pub(crate) base: usize,
    name: *const c_char,
    pub(crate) dynamic: *const Dynamic,
    next: *const Loaded,
}

/// `struct r_debug`.
#[repr(C)]
struct Debug {
    version: c_int,
    first: *const Loaded,
}

impl Loaded {
    /// The file, as the loader was given it; empty for the program.
    pub(crate) fn file(&self) -> &'static [u8] {
        if self.name.is_null() {
            return b"";
        }
        // SAFETY: the loader's own string; what is looked for here is loaded
        // with the program and never goes.
        unsafe { CStr::from_ptr(self.name) }.to_bytes()
    }

    /// Whether it is this library.
    pub(crate) fn is_us(&self) -> bool {
        unsafe extern "C" {
            static _DYNAMIC: Dynamic;
        }
        self.dynamic == &raw const _DYNAMIC
    }
}

/// The name that the loader has for an entry of its.
///
/// # Safety
/// The loader's entry, or null.
pub(crate) unsafe fn name_of(entry: *const Loaded) -> Option<*const c_char> {
    // SAFETY: the caller's promise.
    unsafe { entry.as_ref() }.map(|entry| entry.name).filter(|name| !name.is_null())
}

/// Has the loader know an entry by another name: what needs that finds it
/// loaded.
///
/// # Safety
/// The loader's entry, which is never unloaded, and a string that stays.
pub(crate) unsafe fn rename(entry: *mut Loaded, name: *const c_char) {
    // SAFETY: the caller's promise.
    unsafe { (*entry).name = name };
}

/// The first for which `is` holds. Those that were loaded with the program come
/// first, and stay: a thread that calls dlopen(3) meanwhile changes only the
/// list's end.
pub(crate) fn find(is: impl Fn(&Loaded) -> bool) -> Option<&'static Loaded> {
    unsafe extern "C" {
        static _r_debug: Debug;
    }
    // SAFETY: the loader's own list.
    let mut at = unsafe { _r_debug.first.as_ref() };
    while let Some(loaded) = at.filter(|loaded| !is(loaded)) {
        // SAFETY: as above.
        at = unsafe { loaded.next.as_ref() };
    }
    at
}
