//! Shared memory and semaphores by name: files in `/dev/shm` (shm_overview(7),
//! sem_overview(7)), which a namespace may have of its own. Where libc's inner
//! calls reach us its own functions are right; else the work is done here.
//!
//! Message queues (mq_overview(7)) are names of the kernel's that no path
//! leads to: a namespace shows the host's.

use crate::call::{set_errno, Ret};
use crate::real::{libcs, real};
use crate::{names, pairs};
use alloc::boxed::Box;
use core::ffi::{c_char, c_int, c_uint, CStr};
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use libc::{mode_t, sem_t};
use privns_abi::path::NAME_MAX;
use privns_abi::{Errno, Result};
use privns_host::{sys, HotName, Kernel};

/// The file behind a name; EINVAL for a name that none can have.
///
/// # Safety
/// `name` is a C string.
unsafe fn file(name: *const c_char, prefix: &[u8]) -> Result<HotName> {
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    let slashes = name.iter().take_while(|&&b| b == b'/').count();
    let name = name.get(slashes..).unwrap_or_default();
    let too_long = !prefix.is_empty() && name.len() > NAME_MAX;
    if name.is_empty() || name.contains(&b'/') || too_long {
        return Err(Errno::EINVAL);
    }
    let mut file = HotName::new();
    [b"/dev/shm/", prefix, name].iter().try_for_each(|part| file.push(part))?;
    Ok(file)
}

/// open(2) in the namespace.
fn open(file: &mut HotName, flags: c_int, mode: mode_t) -> Result<c_int> {
    // SAFETY: a C string of ours.
    let fd = unsafe { crate::open::open_at(libc::AT_FDCWD, file.as_ptr(), flags, mode) };
    fd.map(|fd| fd as c_int)
}

/// What an unlink of names.rs has said.
fn said(done: c_int) -> Result<usize> {
    if done == 0 {
        return Ok(0);
    }
    // SAFETY: the thread's own errno.
    Err(Errno(unsafe { *libc::__errno_location() }))
}

/// Removes a name; what no file can be called is not there, and what may not
/// be removed is EACCES (shm_open(3), sem_unlink(3)).
unsafe fn remove(name: *const c_char, prefix: &[u8]) -> c_int {
    // SAFETY: the program says that it is a string.
    let done = match unsafe { file(name, prefix) } {
        // SAFETY: a C string of ours.
        Ok(mut file) => said(unsafe { names::unlink(file.as_ptr()) }),
        Err(_) => Err(Errno::ENOENT),
    };
    done.map_err(|e| if e == Errno::EPERM { Errno::EACCES } else { e }).ret()
}

pub(crate) unsafe fn shm_open(name: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    libcs!(shm_open(name: *const c_char, flags: c_int, mode: mode_t) -> c_int);
    let flags = flags | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: the program says that it is a string.
    let fd = unsafe { file(name, b"") }.and_then(|mut file| open(&mut file, flags, mode));
    // A directory is no name of shared memory.
    let fd = fd.map_err(|e| if e == Errno::EISDIR { Errno::EINVAL } else { e });
    fd.map(|fd| fd as usize).ret()
}

pub(crate) unsafe fn shm_unlink(name: *const c_char) -> c_int {
    libcs!(shm_unlink(name: *const c_char) -> c_int);
    // SAFETY: passed on.
    unsafe { remove(name, b"") }
}

const SEM: &[u8] = b"sem.";

pub(crate) unsafe fn sem_unlink(name: *const c_char) -> c_int {
    libcs!(sem_unlink(name: *const c_char) -> c_int);
    // SAFETY: passed on.
    unsafe { remove(name, SEM) }
}

/// A semaphore's file as it is mapped here: once, however often it is opened.
struct Opened {
    dev: u64,
    ino: u64,
    at: AtomicPtr<sem_t>,
    /// How often it is open; 0: unmapped, and never used again.
    uses: AtomicU32,
    next: *mut Opened,
}

/// Only ever added to, so that it can be read without a lock.
static OPENED: AtomicPtr<Opened> = AtomicPtr::new(null_mut());

fn opened() -> impl Iterator<Item = &'static Opened> {
    // SAFETY: null, or a box that was leaked into the list.
    let mut at = unsafe { OPENED.load(Ordering::Acquire).as_ref() };
    core::iter::from_fn(move || {
        let this = at?;
        // SAFETY: as above.
        at = unsafe { this.next.as_ref() };
        Some(this)
    })
}

impl Opened {
    /// Opens it once more; false when its last use has just ended.
    fn again(&self) -> bool {
        let more = |uses: u32| (uses != 0).then_some(uses.saturating_add(1));
        self.uses.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }
}

/// The address of the semaphore in an open file. Two threads that open one for
/// the first time at once get two addresses of it: both serve.
fn mapped(fd: c_int) -> Result<*mut sem_t> {
    let st = Kernel.fstat(fd)?;
    let known = opened().find(|o| (o.dev, o.ino) == (st.dev, st.ino) && o.again());
    if let Some(known) = known {
        return Ok(known.at.load(Ordering::Acquire));
    }
    let (prot, len) = (libc::PROT_READ | libc::PROT_WRITE, size_of::<sem_t>());
    // SAFETY: a new mapping at a place of the kernel's choice.
    let at = unsafe { sys!(libc::SYS_mmap, 0, len, prot, libc::MAP_SHARED, fd, 0) }?;
    let new = Box::into_raw(Box::new(Opened {
        dev: st.dev,
        ino: st.ino,
        at: AtomicPtr::new(at as *mut sem_t),
        uses: AtomicU32::new(1),
        next: null_mut(),
    }));
    let mut head = OPENED.load(Ordering::Acquire);
    loop {
        // SAFETY: ours alone until it is published.
        unsafe { (*new).next = head };
        match OPENED.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Ok(at as *mut sem_t),
            Err(now) => head = now,
        }
    }
}

/// Makes a semaphore in a file of another name and gives it its own once it is
/// whole: nobody opens one that is half made. EEXIST: there is one already.
fn make(file: &mut HotName, mode: mode_t, value: c_uint) -> Result<*mut sem_t> {
    if value > i32::MAX as c_uint {
        return Err(Errno::EINVAL);
    }
    let mut sem = MaybeUninit::<sem_t>::zeroed();
    let (sem, len) = (sem.as_mut_ptr(), size_of::<sem_t>());
    // SAFETY: room for a semaphore, and a value that it takes.
    unsafe { crate::rare::sem_init(sem, 1, value) };
    let mut whole = HotName::new();
    let unique = alloc::format!("/dev/shm/sem.{:016x}", Kernel.random()?);
    whole.push(unique.as_bytes())?;
    let fd = open(&mut whole, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC, mode)?;
    // SAFETY: the semaphore made above; names of ours.
    let made = unsafe {
        let written = match sys!(libc::SYS_write, fd, sem, len) {
            Ok(n) if n == len => Ok(n),
            Ok(_) => Err(Errno::ENOSPC),
            Err(error) => Err(error),
        };
        let named = written.and_then(|_| said(pairs::link(whole.as_ptr(), file.as_ptr())));
        names::unlink(whole.as_ptr());
        named.and_then(|_| mapped(fd))
    };
    let _ = Kernel.close(fd);
    made
}

fn open_sem(file: &mut HotName, flags: c_int, mode: mode_t, value: c_uint) -> Result<*mut sem_t> {
    let create = flags & libc::O_CREAT != 0;
    loop {
        if !create || flags & libc::O_EXCL == 0 {
            let flags = libc::O_RDWR | libc::O_NOFOLLOW | libc::O_CLOEXEC;
            match open(file, flags, 0) {
                Ok(fd) => {
                    let sem = mapped(fd);
                    let _ = Kernel.close(fd);
                    return sem;
                }
                Err(Errno::ENOENT) if create => {}
                Err(error) => return Err(error),
            }
        }
        match make(file, mode, value) {
            // Made by another meanwhile: that one is meant.
            Err(Errno::EEXIST) if flags & libc::O_EXCL == 0 => {}
            made => return made,
        }
    }
}

pub(crate) unsafe fn sem_open(
    name: *const c_char,
    flags: c_int,
    mode: mode_t,
    value: c_uint,
) -> *mut sem_t {
    libcs!(sem_open(name: *const c_char, flags: c_int, mode: mode_t, value: c_uint) -> *mut sem_t);
    // SAFETY: the program says that it is a string.
    let sem = unsafe { file(name, SEM) };
    // SAFETY: the thread's own; what was tried on the way leaves no trace.
    let errno = unsafe { *libc::__errno_location() };
    match sem.and_then(|mut file| open_sem(&mut file, flags, mode, value)) {
        Ok(sem) => {
            set_errno(Errno(errno));
            sem
        }
        Err(error) => {
            set_errno(error);
            libc::SEM_FAILED
        }
    }
}

pub(crate) unsafe fn sem_close(sem: *mut sem_t) -> c_int {
    libcs!(sem_close(sem: *mut sem_t) -> c_int);
    let ours = |o: &&Opened| o.at.load(Ordering::Acquire) == sem;
    let closed = opened().filter(ours).find_map(|o| {
        let less = |uses: u32| uses.checked_sub(1);
        let uses = o.uses.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).ok()?;
        Some((o, uses))
    });
    match closed {
        Some((o, 1)) => {
            o.at.store(null_mut(), Ordering::Release);
            // SAFETY: mapped by `mapped`, and open nowhere any more.
            unsafe { sys!(libc::SYS_munmap, sem, size_of::<sem_t>()) }.ret()
        }
        Some(_) => 0,
        None => match real!(sem_close(*mut sem_t) -> c_int) {
            // SAFETY: the program's own argument: EINVAL, or one of libc's.
            Some(real) => unsafe { real(sem) },
            None => Err(Errno::EINVAL).ret(),
        },
    }
}
