//! dlopen: the loader opens what it is told by calls of its own, so that a
//! name in a mount is replaced by the host's, or by that of a copy, and what it
//! needs from elsewhere is loaded before. The loader looks at who called, for
//! that program's library path: we jump to libc's own, and do not call it.
//!
//! What tells the names of libraries tells those of the namespace.

use crate::log::{self, Level};
use crate::real::{real, Real};
use crate::PROCESS;
use core::arch::naked_asm;
use core::ffi::{c_char, c_int, c_void, CStr};
use core::sync::atomic::{AtomicPtr, Ordering};
use privns_abi::path::{self, is_within};
use privns_abi::Result;
use privns_files::libraries::{is_whole, Asks, Before, Library};
use privns_files::process::View;
use privns_host::{Host, Kernel, Name};

/// A name for the loader, and the function to jump to: returned in two
/// registers.
#[repr(C)]
pub(crate) struct Jump {
    pub(crate) name: *const c_char,
    pub(crate) to: usize,
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
        "mov rsi, [rsp + 24]",
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
        "mov x1, x30",
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
        "mov rsi, [rsp + 24]",
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
        "mov x1, x30",
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

unsafe extern "C" fn open(name: *const c_char, caller: *const c_void) -> Jump {
    // SAFETY: the program's own argument.
    Jump { name: unsafe { located(name, caller) }, to: DLOPEN.get() as usize }
}

unsafe extern "C" fn open_in(name: *const c_char, caller: *const c_void) -> Jump {
    // SAFETY: as above.
    Jump { name: unsafe { located(name, caller) }, to: DLMOPEN.get() as usize }
}

/// The name to give the loader.
///
/// # Safety
/// A C string, or null.
pub(crate) unsafe fn located(given: *const c_char, caller: *const c_void) -> *const c_char {
    let (Some(view), false) = (PROCESS.view(), given.is_null()) else { return given };
    // SAFETY: not null, and the program says that it is a string.
    let name = unsafe { CStr::from_ptr(given) }.to_bytes();
    match library(view, name, caller) {
        Ok(Some(library)) => {
            library.before.into_iter().rev().for_each(load);
            known(library.file, library.own.as_bytes()).unwrap_or(given)
        }
        // What cannot be found the loader says in its own words.
        Ok(None) => given,
        Err(error) => {
            log::say(Level::Info, &[name, b": no library: ", error.message().as_bytes()]);
            given
        }
    }
}

fn library(view: View<'_>, name: &[u8], caller: *const c_void) -> Result<Option<Library>> {
    if name.is_empty() || view.table()?.index().is_global() {
        return Ok(None);
    }
    let (file, origin) =
        if is_whole(name) { (Name::new(), Name::new()) } else { asker(view, caller)? };
    view.library(
        name,
        &Asks {
            file: file.as_bytes(),
            origin: origin.as_bytes(),
            given: started_with(),
            loaded: &is_loaded,
        },
    )
}

/// The file that an address is in, and its directory in the namespace.
fn asker(view: View<'_>, address: *const c_void) -> Result<(Name, Name)> {
    let mut file = Name::new();
    let real = real!(dladdr(*const c_void, *mut libc::Dl_info) -> c_int);
    let mut info = core::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: libc fills the structure, or says that it has not.
    let found = real.is_some_and(|real| unsafe { real(address, info.as_mut_ptr()) } != 0);
    // SAFETY: plain numbers and pointers, of which every value is one.
    let info = unsafe { info.assume_init() };
    let main = info.dli_fbase.cast_const() == main_program();
    if found && !main && !info.dli_fname.is_null() {
        // SAFETY: the loader's own string.
        file.set(unsafe { CStr::from_ptr(info.dli_fname) }.to_bytes())?;
        let origin = view.origin_of(file.as_bytes(), 0);
        return Ok((file, origin));
    }
    Kernel.readlink(c"/proc/self/exe", &mut file)?;
    let host = crate::handover::program().unwrap_or(file.as_bytes());
    let origin = view.origin_of(host, view.process.exe_seq());
    file.set(b"/proc/self/exe")?;
    Ok((file, origin))
}

/// Where the program itself begins in memory.
fn main_program() -> *const c_void {
    // SAFETY: asks for one number, which the kernel gives every program.
    let headers = unsafe { crate::lazy::getauxval(libc::AT_PHDR) } as *const c_void;
    let real = real!(dladdr(*const c_void, *mut libc::Dl_info) -> c_int);
    let mut info = core::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: as in `asker`.
    unsafe {
        real.map(|real| real(headers, info.as_mut_ptr()));
        info.assume_init().dli_fbase
    }
}

/// Whether the loader has a library by this name.
fn is_loaded(name: &[u8]) -> bool {
    let load = real!(dlopen(*const c_char, c_int) -> *mut c_void);
    let close = real!(dlclose(*mut c_void) -> c_int);
    let (Some(load), Some(close)) = (load, close) else { return false };
    let Ok(mut name) = Name::from(name) else { return false };
    let Ok(name) = name.as_cstr() else { return false };
    // SAFETY: a C string; what is closed is what was opened just now.
    unsafe {
        let there = load(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        !there.is_null() && close(there) == 0
    }
}

/// Loads a library that another needs, whose name the loader then finds that it
/// has. It stays loaded: nobody can tell when the last that needs it is gone.
fn load(mut library: Before) {
    let load = real!(dlopen(*const c_char, c_int) -> *mut c_void);
    let (Some(load), Ok(host)) = (load, library.file.as_cstr()) else { return };
    // SAFETY: a C string.
    let loaded = unsafe { load(host.as_ptr(), libc::RTLD_LAZY) };
    let Some(needed) = &library.needed else { return };
    let own = Name::from(needed.as_bytes()).ok();
    let Some(needed) = own.and_then(|own| known(own, needed.as_bytes())) else { return };
    if !loaded.is_null() {
        // SAFETY: dlopen(3)'s handle is the loader's entry (`link.h`), which
        // stays, and so does the name.
        unsafe { crate::loaded::rename(loaded.cast(), needed) };
    }
}

/// The LD_LIBRARY_PATH that the program was started with, which is what counts
/// while it lives.
static STARTED_WITH: AtomicPtr<Name> = AtomicPtr::new(core::ptr::null_mut());

/// Notes it, when the program begins.
pub(crate) fn starts_with(path: &CStr) {
    if let Some(name) = Name::from(path.to_bytes()).ok().filter(|name| !name.as_bytes().is_empty())
    {
        STARTED_WITH.store(Box::into_raw(Box::new(name)), Ordering::Release);
    }
}

fn started_with() -> &'static [u8] {
    // SAFETY: null, or a box that was leaked into it.
    unsafe { STARTED_WITH.load(Ordering::Acquire).as_ref() }.map_or(b"", Name::as_bytes)
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
    if let Some(own) = shown(info.name) {
        info.name = own;
    }
}

/// What the program is told for a name that the loader has; `None` for what it
/// is to be told as it is.
fn shown(name: *const c_char) -> Option<*const c_char> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the loader's own string.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    if let Some(entry) = all().find(|entry| entry.name.as_bytes() == name) {
        return Some(entry.own.as_bytes().as_ptr().cast());
    }
    let view = PROCESS.view().filter(|_| may_differ())?;
    // Found by the loader itself: on the shelf, or beside the program.
    let seq = view.process.exe_seq();
    let table = view.table().ok()?;
    let beside = table.index().member(seq).is_some_and(|member| is_within(name, member.host()));
    if !beside {
        view.unshelved(name)?;
    }
    let own = view.from_root(view.shown_library(name, seq)?).ok()?;
    known(Name::from(name).ok()?, own.as_bytes())?;
    let entry = all().find(|entry| entry.name.as_bytes() == name)?;
    Some(entry.own.as_bytes().as_ptr().cast())
}

/// Whether the loader may have anything by another name than the namespace's.
fn may_differ() -> bool {
    let given = !GIVEN.load(Ordering::Relaxed).is_null();
    given || PROCESS.met() || PROCESS.exe_seq() != 0
}

pub(crate) type Each = unsafe extern "C" fn(*mut libc::dl_phdr_info, usize, *mut c_void) -> c_int;

/// dlinfo(3): the directory of a library is the one that the program knows.
pub(crate) unsafe fn dlinfo(handle: *mut c_void, what: c_int, into: *mut c_void) -> c_int {
    const ORIGIN: c_int = 6;
    let Some(real) = real!(dlinfo(*mut c_void, c_int, *mut c_void) -> c_int) else { return -1 };
    // SAFETY: the program's own arguments.
    let done = unsafe { real(handle, what, into) };
    if done != 0 || what != ORIGIN {
        return done;
    }
    // SAFETY: a handle that libc has just found to be one, and the directory that
    // it has just filled in.
    let own = unsafe {
        crate::loaded::name_of(handle.cast()).and_then(|file| own_origin(file, into.cast()))
    };
    if let Some(name) = own {
        // SAFETY: the program says that there is room for any name.
        unsafe {
            into.cast::<u8>().copy_from(name.as_bytes().as_ptr(), name.as_bytes().len());
            into.cast::<u8>().add(name.as_bytes().len()).write(0);
        }
    }
    done
}

/// The directory of a library as the program's names for both have it; `None`
/// where that is the loader's.
///
/// # Safety
/// `file` and `dir` are what the loader calls them.
unsafe fn own_origin(file: *const c_char, dir: *const c_char) -> Option<Name> {
    let view = PROCESS.view().filter(|view| may_differ() || view.process.cwd_seq() != 0)?;
    // SAFETY: strings of the loader's and of ours.
    let (own, dir) = unsafe { (CStr::from_ptr(shown(file).unwrap_or(file)), CStr::from_ptr(dir)) };
    let own = own.to_bytes();
    if own.starts_with(b"/") {
        return Name::from(path::parent(own)).ok();
    }
    // The program itself has no name there.
    let seq = if own.is_empty() { view.process.exe_seq() } else { view.process.cwd_seq() };
    view.from_root(view.shown_library(dir.to_bytes(), seq)?).ok()
}

/// dl_iterate_phdr(3): the same names.
pub(crate) unsafe fn dl_iterate_phdr(each: Option<Each>, data: *mut c_void) -> c_int {
    let Some(real) = real!(dl_iterate_phdr(Option<Each>, *mut c_void) -> c_int) else { return 0 };
    // SAFETY: the program's own arguments, or a callback of ours with its own.
    unsafe {
        match each {
            Some(each) if may_differ() => {
                let mut asked = (each, data);
                real(Some(show_each), (&raw mut asked).cast())
            }
            _ => real(each, data),
        }
    }
}

unsafe extern "C" fn show_each(
    info: *mut libc::dl_phdr_info,
    size: usize,
    asked: *mut c_void,
) -> c_int {
    // SAFETY: what libc made for this call, and the pair of the caller's frame.
    unsafe {
        let (each, data) = *asked.cast::<(Each, *mut c_void)>();
        if let Some(own) = shown((*info).dlpi_name) {
            (*info).dlpi_name = own;
        }
        each(info, size, data)
    }
}
