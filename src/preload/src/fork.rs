//! The relatives of fork. fork itself tells us in its child by the handler
//! that the constructor has left with pthread_atfork(3).

use crate::call::{set_errno, Ret};
use crate::real::{alone, libcs, real};
use crate::{descriptors, open, rare, reveal, strings, PROCESS};
use core::ffi::{c_char, c_int, c_void};
use privns_abi::Errno;
use privns_host::sys;

/// _Fork(3), which runs no handlers.
pub(crate) unsafe fn fork() -> c_int {
    let Some(real) = real!(_Fork() -> c_int) else {
        return Err(Errno::ENOSYS).ret();
    };
    PROCESS.forking();
    // SAFETY: no arguments.
    let pid = unsafe { real() };
    if pid == 0 {
        PROCESS.forked();
    } else {
        PROCESS.fork_ended();
    }
    pid
}

/// What a child made by clone(2) begins with.
struct First {
    run: unsafe extern "C" fn(*mut c_void) -> c_int,
    arg: *mut c_void,
}

/// In a child with a memory of its own, where `first` is a copy.
unsafe extern "C" fn begin(first: *mut c_void) -> c_int {
    PROCESS.forked();
    // SAFETY: our own structure, below.
    unsafe {
        let First { run, arg } = first.cast::<First>().read();
        run(arg)
    }
}

pub(crate) unsafe fn clone(
    run: usize,
    stack: *mut c_void,
    flags: c_int,
    arg: *mut c_void,
    parent: usize,
    tls: usize,
    child: usize,
) -> c_int {
    type Run = unsafe extern "C" fn(*mut c_void) -> c_int;
    let Some(real) =
        real!(clone(Option<Run>, *mut c_void, c_int, *mut c_void, usize, usize, usize) -> c_int)
    else {
        return Err(Errno::ENOSYS).ret();
    };
    // SAFETY: the program's own function, or null, which libc refuses.
    let run = unsafe { core::mem::transmute::<usize, Option<Run>>(run) };
    let (Some(first), false) = (run, stack.is_null()) else {
        // SAFETY: libc says EINVAL.
        return unsafe { real(run, stack, flags, arg, parent, tls, child) };
    };
    if flags & libc::CLONE_VM == 0 {
        let mut first = First { run: first, arg };
        let arg = (&raw mut first).cast();
        PROCESS.forking();
        // SAFETY: the child has a copy of this frame.
        let pid = unsafe { real(Some(begin), stack, flags, arg, parent, tls, child) };
        PROCESS.fork_ended();
        return pid;
    }
    if flags & libc::CLONE_THREAD != 0 {
        // SAFETY: the program's own arguments.
        return unsafe { real(run, stack, flags, arg, parent, tls, child) };
    }
    PROCESS.invite();
    // SAFETY: the program's own arguments.
    let pid = unsafe { real(run, stack, flags, arg, parent, tls, child) };
    if flags & libc::CLONE_VFORK != 0 || pid < 0 {
        PROCESS.dismiss(&mut strings::free);
    }
    pid
}

/// daemon(3).
pub(crate) unsafe fn daemon(stay: c_int, keep: c_int) -> c_int {
    libcs!(daemon(stay: c_int, keep: c_int) -> c_int);
    // SAFETY: as daemon(3) does it, by our own rows.
    unsafe {
        match rare::fork() {
            -1 => return -1,
            0 => {}
            _ => libc::_exit(0),
        }
        if rare::setsid() == -1 {
            return -1;
        }
        if stay == 0 {
            let _ = reveal::chdir(c"/".as_ptr());
        }
        if keep != 0 {
            return 0;
        }
        let null = open::open(c"/dev/null".as_ptr(), libc::O_RDWR, 0);
        if null == -1 {
            return -1;
        }
        (0..3).for_each(|fd| {
            let _ = descriptors::dup2(null, fd);
        });
        if null > 2 {
            let _ = descriptors::close(null);
        }
    }
    0
}

/// login_tty(3).
pub(crate) unsafe fn login_tty(fd: c_int) -> c_int {
    libcs!(login_tty(fd: c_int) -> c_int);
    // SAFETY: as login_tty(3) does it, by our own rows.
    unsafe {
        let _ = rare::setsid();
        if let Err(error) = sys!(libc::SYS_ioctl, fd, libc::TIOCSCTTY, 0) {
            set_errno(error);
            return -1;
        }
        (0..3).for_each(|to| {
            let _ = descriptors::dup2(fd, to);
        });
        if fd > 2 {
            let _ = descriptors::close(fd);
        }
    }
    0
}

/// forkpty(3).
pub(crate) unsafe fn forkpty(
    main: *mut c_int,
    name: *mut c_char,
    termios: *const c_void,
    size: *const c_void,
) -> c_int {
    let Some(real) = real!(forkpty(*mut c_int, *mut c_char, *const c_void, *const c_void) -> c_int)
    else {
        return Err(Errno::ENOSYS).ret();
    };
    // SAFETY: the program's own arguments.
    let pid = unsafe { real(main, name, termios, size) };
    if pid == 0 && alone() {
        // The terminal has come onto these behind our back.
        (0..3).for_each(descriptors::forget);
    }
    pid
}
