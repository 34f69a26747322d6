//! Mappings of remote files.

use crate::call::{set_errno, Ret};
use crate::PROCESS;
use alloc::sync::Arc;
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicUsize, Ordering};
use libc::{off_t, size_t};
use privns_abi::{Errno, Result};
use privns_files::process::View;
use privns_host::{reach, sys, Kernel};

pub(crate) unsafe fn mmap(
    at: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    // SAFETY: the program's own arguments.
    let done = unsafe {
        match PROCESS.view() {
            Some(view) if is_ours(flags, fd) => ours(view, at, len, prot, flags, fd, offset),
            _ => sys!(libc::SYS_mmap, at, len, prot, flags, fd, offset),
        }
    };
    if flags & libc::MAP_FIXED != 0 {
        moved();
    }
    done.map_or_else(
        |error| {
            set_errno(error);
            libc::MAP_FAILED
        },
        |at| at as *mut c_void,
    )
}

fn is_ours(flags: c_int, fd: c_int) -> bool {
    PROCESS.met() && flags & libc::MAP_ANONYMOUS == 0 && PROCESS.is_virtual(fd)
}

#[cold]
unsafe fn ours(
    view: View<'_>,
    at: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> Result<usize> {
    let offset = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    let file = view.process.file(fd).ok_or(Errno::EBADF)?;
    let shared = match flags & libc::MAP_TYPE {
        libc::MAP_PRIVATE => false,
        libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE => true,
        // The kernel says which of several things is wrong.
        // SAFETY: the program's own arguments, with which nothing is mapped.
        _ => return unsafe { sys!(libc::SYS_mmap, at, len, prot, flags, fd, offset) },
    };
    let write = prot & libc::PROT_WRITE != 0;
    if !shared && view.maps_itself(&file) {
        // SAFETY: the program's own arguments; the descriptor is the file.
        return unsafe { sys!(libc::SYS_mmap, at, len, prot, flags, fd, offset) };
    }
    let memory = view.mappable(&file, shared, write, offset, len)?;
    // SAFETY: the program's own place; the descriptor is ours.
    let mapped = unsafe { sys!(libc::SYS_mmap, at, len, prot, flags, memory.fd, memory.offset) };
    match mapped {
        Ok(at) if shared => {
            let noted = view.mapped(Arc::clone(&file), memory, at, len);
            noted.map(|()| at).inspect_err(|_| {
                // SAFETY: mapped just now.
                let _ = unsafe { sys!(libc::SYS_munmap, at, len) };
            })
        }
        mapped => {
            let _ = Kernel.close(memory.fd);
            mapped
        }
    }
}

pub(crate) unsafe fn munmap(at: *mut c_void, len: size_t) -> c_int {
    if PROCESS.remotes.maps.any() {
        if let Some(view) = PROCESS.view() {
            view.unmapping(at as usize, len);
        }
    }
    // SAFETY: the program's own arguments.
    let done = unsafe { sys!(libc::SYS_munmap, at, len) };
    moved();
    done.ret()
}

/// mprotect(2): buffers may have to be looked at again.
pub(crate) unsafe fn mprotect(at: *mut c_void, len: size_t, prot: c_int) -> c_int {
    // SAFETY: the program's own arguments.
    let done = unsafe { sys!(libc::SYS_mprotect, at, len, prot) };
    moved();
    done.ret()
}

/// What was known of the program's memory may not hold any more.
fn moved() {
    if PROCESS.met() {
        reach::forget();
    }
}

/// The same for the heap, which malloc makes smaller by itself: looked at before
/// the program's memory is, and no call of the kernel's.
#[inline]
pub(crate) fn heap_moved() {
    static END: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: a question.
    let end = unsafe { crate::lazy::sbrk(0) } as usize;
    let known = END.load(Ordering::Relaxed);
    if end != known {
        END.store(end, Ordering::Relaxed);
        if end < known {
            moved();
        }
    }
}

pub(crate) unsafe fn msync(at: *mut c_void, len: size_t, flags: c_int) -> c_int {
    let done = crate::call::cancellable(true, || {
        // SAFETY: the program's own arguments; EINVAL and ENOMEM are the
        // kernel's to say.
        unsafe { sys!(libc::SYS_msync, at, len, flags) }
    });
    if let (Ok(_), true, Some(view)) = (&done, PROCESS.remotes.maps.any(), PROCESS.view()) {
        return view.msync(at as usize, len).map(|()| 0).ret();
    }
    done.ret()
}

pub(crate) unsafe fn mremap(
    at: *mut c_void,
    old: size_t,
    new: size_t,
    flags: c_int,
    to: *mut c_void,
) -> *mut c_void {
    // SAFETY: the program's own arguments.
    let done = unsafe { sys!(libc::SYS_mremap, at, old, new, flags, to) };
    moved();
    if let (Ok(to), true, Some(view)) = (&done, PROCESS.remotes.maps.any(), PROCESS.view()) {
        view.remapped(at as usize, *to, new);
    }
    done.map_or_else(
        |error| {
            set_errno(error);
            libc::MAP_FAILED
        },
        |at| at as *mut c_void,
    )
}
