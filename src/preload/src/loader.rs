//! dlopen: the loader opens what it is told by calls of its own, so that a
//! name in a mount is replaced by the host's. The loader looks at who called,
//! for that program's library path: we jump to libc's own, and do not call it.

use crate::real::{real, Real};
use crate::PROCESS;
use core::arch::naked_asm;
use core::ffi::{c_char, c_int, c_void, CStr};
use core::sync::atomic::{AtomicPtr, Ordering};
use privns_files::process::View;
use privns_host::{Kernel, Name};
use privns_namespace::program::{self, Header};

/// A name for the loader, and the function to jump to: returned in two
/// registers.
#[repr(C)]
struct Jump {
    name: *const c_char,
    to: usize,
}

/// dlopen(3).
///
/// # Safety
/// As dlopen(3).
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn dlopen() {
    #[cfg(target_arch = "x86_64")]
    naked_asm!(
        "push rdi",
        "push rsi",
        "sub rsp, 8",
        "call {find}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "mov rdi, rax",
        "jmp rdx",
        find = sym open,
    );
    #[cfg(target_arch = "aarch64")]
    naked_asm!(
        "stp x29, x30, [sp, #-32]!",
        "str x1, [sp, #16]",
        "bl {find}",
        "mov x16, x1",
        "ldr x1, [sp, #16]",
        "ldp x29, x30, [sp], #32",
        "br x16",
        find = sym open,
    );
}

/// dlmopen(3).
///
/// # Safety
/// As dlmopen(3).
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn dlmopen() {
    #[cfg(target_arch = "x86_64")]
    naked_asm!(
        "push rdi",
        "push rsi",
        "push rdx",
        "mov rdi, rsi",
        "call {find}",
        "mov rcx, rdx",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "mov rsi, rax",
        "jmp rcx",
        find = sym open_in,
    );
    #[cfg(target_arch = "aarch64")]
    naked_asm!(
        "stp x29, x30, [sp, #-32]!",
        "stp x0, x2, [sp, #16]",
        "mov x0, x1",
        "bl {find}",
        "mov x16, x1",
        "mov x1, x0",
        "ldp x0, x2, [sp, #16]",
        "ldp x29, x30, [sp], #32",
        "br x16",
        find = sym open_in,
    );
}

static DLOPEN: Real = Real::new(c"dlopen");
static DLMOPEN: Real = Real::new(c"dlmopen");

unsafe extern "C" fn open(name: *const c_char) -> Jump {
    // SAFETY: the program's own argument.
    Jump { name: unsafe { located(name) }, to: DLOPEN.get() as usize }
}

unsafe extern "C" fn open_in(name: *const c_char) -> Jump {
    // SAFETY: as above.
    Jump { name: unsafe { located(name) }, to: DLMOPEN.get() as usize }
}

/// The name to give the loader.
unsafe fn located(given: *const c_char) -> *const c_char {
    let (Some(view), false) = (PROCESS.view(), given.is_null()) else { return given };
    // SAFETY: not null, and the program says that it is a string.
    let name = unsafe { CStr::from_ptr(given) }.to_bytes();
    match view.library(name) {
        Ok(Some(mut host)) => {
            load_needed(view, &mut host, 0);
            known(host, name).unwrap_or(given)
        }
        // What cannot be found the loader says in its own words.
        _ => given,
    }
}

/// Libraries that need libraries, as deep as is looked.
const DEEP: usize = 8;

/// Loads what a library needs from directories that only the namespace has:
/// the loader then finds by name that it has them.
fn load_needed(view: View<'_>, file: &mut Name, depth: usize) {
    let Some(load) = real!(dlopen(*const c_char, c_int) -> *mut c_void) else { return };
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    let opened = file.as_cstr().and_then(|file| Kernel.openat(libc::AT_FDCWD, file, flags, 0));
    let Ok(fd) = opened else { return };
    let mut found = Vec::new();
    if let Ok(Header::Elf(elf)) = Header::of(fd) {
        let _ = program::needed(fd, &mut |name| {
            if let (Some(host), Ok(())) = (view.moved_library(&elf, name), found.try_reserve(1)) {
                found.push(host);
            }
        });
    }
    let _ = Kernel.close(fd);
    for mut host in found {
        if depth < DEEP {
            load_needed(view, &mut host, depth + 1);
        }
        if let Ok(host) = host.as_cstr() {
            // SAFETY: a C string. It stays loaded: nobody can tell when the
            // last that needs it is gone.
            unsafe { load(host.as_ptr(), libc::RTLD_LAZY) };
        }
    }
}

/// A host name that was given to the loader. It is needed after the jump, so
/// that nobody can free it: each is kept once, and never given back.
struct Given {
    name: Name,
    /// What the program calls it.
    own: Name,
    next: *mut Given,
}

static GIVEN: AtomicPtr<Given> = AtomicPtr::new(core::ptr::null_mut());

fn all() -> impl Iterator<Item = &'static Given> {
    let mut at = GIVEN.load(Ordering::Acquire);
    core::iter::from_fn(move || {
        // SAFETY: entries are never freed, and not changed once they are seen.
        let entry = unsafe { at.as_ref() }?;
        at = entry.next;
        Some(entry)
    })
}

fn known(mut name: Name, own: &[u8]) -> Option<*const c_char> {
    if let Some(entry) = all().find(|entry| entry.name.as_bytes() == name.as_bytes()) {
        return Some(entry.name.as_bytes().as_ptr().cast());
    }
    let mut own = Name::from(own).ok()?;
    let (text, _) = (name.as_cstr().ok()?.as_ptr(), own.as_cstr().ok()?);
    let mut first = GIVEN.load(Ordering::Acquire);
    let new = Box::into_raw(Box::new(Given { name, own, next: first }));
    loop {
        // SAFETY: ours until it is published.
        unsafe { (*new).next = first };
        match GIVEN.compare_exchange(first, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(text),
            Err(now) => first = now,
        }
    }
}

/// `Dl_info`, as far as it is ours.
#[repr(C)]
pub(crate) struct Info {
    name: *const c_char,
}

/// dladdr(3): a library is called what the program called it.
pub(crate) unsafe fn dladdr(address: *const c_void, info: *mut Info) -> c_int {
    let Some(real) = real!(dladdr(*const c_void, *mut Info) -> c_int) else { return 0 };
    // SAFETY: the program's own arguments.
    let found = unsafe { real(address, info) };
    if found != 0 {
        // SAFETY: libc has just filled it.
        unsafe { rename(&mut *info) };
    }
    found
}

/// The same with more in it.
pub(crate) unsafe fn dladdr1(
    address: *const c_void,
    info: *mut Info,
    extra: *mut *mut c_void,
    flags: c_int,
) -> c_int {
    let Some(real) = real!(dladdr1(*const c_void, *mut Info, *mut *mut c_void, c_int) -> c_int)
    else {
        return 0;
    };
    // SAFETY: as above.
    let found = unsafe { real(address, info, extra, flags) };
    if found != 0 {
        // SAFETY: as above.
        unsafe { rename(&mut *info) };
    }
    found
}

fn rename(info: &mut Info) {
    if info.name.is_null() {
        return;
    }
    // SAFETY: the loader's own string.
    let name = unsafe { CStr::from_ptr(info.name) }.to_bytes();
    if let Some(entry) = all().find(|entry| entry.name.as_bytes() == name) {
        info.name = entry.own.as_bytes().as_ptr().cast();
    }
}
