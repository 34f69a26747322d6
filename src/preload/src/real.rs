//! libc's own functions under the names that we export.
//!
//! Where its entries are patched, libc's composite functions (`fopen`,
//! `opendir`, `glob` …) are as good as ours could be: what they do inside
//! arrives at our rows, and the exported symbol only calls on. Where they are
//! not (`PRIVNS_INTERCEPT=symbols`, or text that may not be made writable)
//! nothing that libc does inside reaches us, and the exported symbol does the
//! work itself.
//!
//! Out of reach then, since libc does it within functions that nobody could
//! do anew from outside: the files behind `getpwnam`, `getaddrinfo` and their
//! kind, locales, time zones, iconv's and gettext's tables, what the loader
//! opens, and `~user` in glob. They are the host's there.

use core::ffi::{c_void, CStr};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

static ALONE: AtomicBool = AtomicBool::new(false);

/// The exported symbols are all that we have: called once, by the constructor.
pub(crate) fn set_alone() {
    ALONE.store(true, Ordering::Relaxed);
}

/// Whether libc's inner calls pass us by.
#[inline]
pub(crate) fn alone() -> bool {
    ALONE.load(Ordering::Relaxed)
}

/// A function of libc's, looked up when it is first called: most programs
/// call few of those that we export.
pub(crate) struct Real {
    name: &'static CStr,
    at: AtomicPtr<c_void>,
}

impl Real {
    pub(crate) const fn new(name: &'static CStr) -> Real {
        Real { name, at: AtomicPtr::new(null_mut()) }
    }

    /// Its address; null where the libc has no such function.
    #[inline]
    pub(crate) fn get(&self) -> *mut c_void {
        let at = self.at.load(Ordering::Relaxed);
        if at.is_null() {
            self.find()
        } else {
            at
        }
    }

    #[cold]
    fn find(&self) -> *mut c_void {
        // SAFETY: a lookup by name, in the libraries that come after ours.
        let at = unsafe { crate::lazy::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        self.at.store(at, Ordering::Relaxed);
        at
    }
}

/// `real!(name(type, …) -> ret)`: libc's function of that name and type, as an
/// `Option`.
macro_rules! real {
    ($name:ident ($($ty:ty),*) $(-> $ret:ty)?) => {{
        static REAL: $crate::real::Real = {
            let name = concat!(stringify!($name), "\0").as_bytes();
            $crate::real::Real::new(match core::ffi::CStr::from_bytes_with_nul(name) {
                Ok(name) => name,
                Err(_) => c"",
            })
        };
        // SAFETY: an address that is null, for None, or libc's function, whose
        // type is that of its manual page.
        unsafe {
            core::mem::transmute::<*mut core::ffi::c_void, Option<unsafe extern "C" fn($($ty),*) $(-> $ret)?>>(
                REAL.get(),
            )
        }
    }};
}

/// `libcs!(name(arg: type, …) -> ret)`: returns what libc's function of that
/// name says, where what it does inside reaches us.
macro_rules! libcs {
    ($name:ident ($($arg:ident : $ty:ty),*) $(-> $ret:ty)?) => {
        if !$crate::real::alone() {
            if let Some(real) = $crate::real::real!($name($($ty),*) $(-> $ret)?) {
                // SAFETY: the program's own arguments.
                return unsafe { real($($arg),*) };
            }
        }
    };
}

pub(crate) use {libcs, real};
