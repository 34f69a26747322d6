//! Descriptors: what each shows is forgotten when it is closed and copied when
//! it is duplicated, and the family's table is not closed by programs that
//! close all they find.

use crate::call::Ret;
use crate::door::door;
use crate::PROCESS;
use core::ffi::{c_int, c_uint};
use libc::{gid_t, mode_t, size_t, timespec, uid_t};
use privns_abi::{Errno, Result};
use privns_files::remote::kept::KEPT;
use privns_host::{sys, Kernel};

/// The descriptor of the family's table, -1 for a program without a family.
#[inline]
pub(crate) fn kept() -> c_int {
    PROCESS.view().map_or(-1, |view| view.family.fd())
}

/// Whether a number is the table's, or another of ours: to the program it is
/// not open.
#[inline]
pub(crate) fn is_kept(fd: c_int) -> bool {
    fd >= 0 && fd == kept() || PROCESS.met() && PROCESS.keeps(fd)
}

/// The first number from `first` on that is ours.
fn next_kept(first: c_uint) -> Option<c_uint> {
    let first = c_int::try_from(first).ok()?;
    let table = Some(kept()).filter(|&table| table >= first);
    let others = if PROCESS.met() { KEPT.next(first) } else { None };
    let least = table.into_iter().chain(others).min();
    least.map(|fd| fd as c_uint)
}

/// Nothing is known of a number any more.
#[inline]
pub(crate) fn forget(fd: c_int) {
    if PROCESS.met() {
        drop(PROCESS.leave(fd));
    } else {
        PROCESS.fds.forget(fd);
    }
}

pub(crate) unsafe fn fstat(fd: c_int, buf: *mut libc::stat) -> c_int {
    if is_kept(fd) {
        return Err(Errno::EBADF).ret();
    }
    // SAFETY: the program's own arguments.
    let done = unsafe { door!(libc::SYS_fstat, fd, buf) };
    if let (Ok(_), Some(view)) = (&done, PROCESS.view()) {
        // SAFETY: the kernel has just filled it.
        let st = unsafe { &mut *buf };
        let mode = st.st_mode;
        let recount = |links: crate::stat::Links<'_>| crate::stat::relink(st, links);
        crate::stat::recount_open(view, fd, mode, recount);
    }
    done.ret()
}

pub(crate) unsafe fn fxstat(version: c_int, fd: c_int, buf: *mut libc::stat) -> c_int {
    if !matches!(version, 0 | 1) {
        return Err(Errno::EINVAL).ret();
    }
    // SAFETY: passed on.
    unsafe { fstat(fd, buf) }
}

pub(crate) unsafe fn close(fd: c_int) -> c_int {
    shut(fd).ret()
}

/// close(2). For the table it answers as for a number that is not open, which
/// is what the program thinks it is.
#[inline]
pub(crate) fn shut(fd: c_int) -> Result<usize> {
    if is_kept(fd) {
        return Err(Errno::EBADF);
    }
    if PROCESS.met() && PROCESS.is_virtual(fd) {
        return shut_remote(fd);
    }
    PROCESS.fds.forget(fd);
    crate::call::cancellable(true, || {
        // SAFETY: the program closes its own descriptor.
        unsafe { sys!(libc::SYS_close, fd) }
    })
}

/// Closes a descriptor of a remote file, and says what became of what was
/// written to it.
#[cold]
fn shut_remote(fd: c_int) -> Result<usize> {
    let settled = PROCESS.view().map_or(Ok(()), |view| view.closing(fd));
    drop(PROCESS.leave(fd));
    // SAFETY: the program closes its own descriptor.
    unsafe { sys!(libc::SYS_close, fd) }?;
    settled.map(|()| 0)
}

pub(crate) unsafe fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    shut_range(first, last, flags).ret()
}

/// close_range(2) around what is ours.
pub(crate) fn shut_range(first: c_uint, last: c_uint, flags: c_int) -> Result<usize> {
    // SAFETY: the program closes its own descriptors.
    let range =
        |first: c_uint, last: c_uint| unsafe { sys!(libc::SYS_close_range, first, last, flags) };
    const CLOEXEC: c_int = 4;
    if flags & CLOEXEC == 0 && first <= last {
        (first..=last.min(65_535)).for_each(|fd| forget_unless_kept(fd as c_int));
    }
    let mut from = first;
    while let Some(ours) = next_kept(from).filter(|&ours| ours <= last) {
        if from < ours {
            range(from, ours - 1)?;
        }
        match ours.checked_add(1) {
            Some(next) if next <= last => from = next,
            _ => return Ok(0),
        }
    }
    range(from, last)
}

fn forget_unless_kept(fd: c_int) {
    if !is_kept(fd) {
        forget(fd);
    }
}

pub(crate) unsafe fn closefrom(first: c_int) {
    if shut_range(first.max(0) as c_uint, c_uint::MAX, 0).is_err() {
        // Before Linux 5.9, or refused by a filter of the program's own: one
        // by one, as far as the limit goes.
        let mut limit = core::mem::MaybeUninit::<libc::rlimit>::uninit();
        // SAFETY: the kernel fills the structure.
        let end = unsafe {
            sys!(libc::SYS_getrlimit, libc::RLIMIT_NOFILE, limit.as_mut_ptr())
                .map_or(1024, |_| limit.assume_init().rlim_cur.min(1 << 20))
        };
        (first.max(0)..end as c_int).for_each(|fd| {
            let _ = shut(fd);
        });
    }
}

pub(crate) unsafe fn dup(fd: c_int) -> c_int {
    if is_kept(fd) {
        return Err(Errno::EBADF).ret();
    }
    // SAFETY: no memory is involved.
    copied(fd, unsafe { sys!(libc::SYS_dup, fd) }).ret()
}

/// Notes that the result is a duplicate of `fd`.
pub(crate) fn copied(fd: c_int, done: Result<usize>) -> Result<usize> {
    if let Ok(new) = done {
        if PROCESS.met() {
            drop(PROCESS.copied(fd, new as c_int));
        } else {
            PROCESS.fds.copy(fd, new as c_int);
        }
    }
    done
}

pub(crate) unsafe fn dup2(from: c_int, to: c_int) -> c_int {
    if from == to {
        // SAFETY: no memory is involved; EBADF for a number not open.
        return unsafe { sys!(libc::SYS_fcntl, from, libc::F_GETFD) }.map(|_| to as usize).ret();
    }
    onto(from, to, 0).ret()
}

pub(crate) unsafe fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int {
    onto(from, to, flags).ret()
}

/// dup3(2).
pub(crate) fn onto(from: c_int, to: c_int, flags: c_int) -> Result<usize> {
    if is_kept(from) {
        return Err(Errno::EBADF);
    }
    if is_kept(to) {
        return onto_ours(from, to, flags);
    }
    // SAFETY: no memory is involved.
    copied(from, unsafe { sys!(libc::SYS_dup3, from, to, flags) })
}

/// The same for a number that is ours: that goes elsewhere.
#[cold]
fn onto_ours(from: c_int, to: c_int, flags: c_int) -> Result<usize> {
    // SAFETY: no memory is involved; EBADF for a number not open.
    unsafe { sys!(libc::SYS_fcntl, from, libc::F_GETFD) }?;
    PROCESS.make_room(to)?;
    // SAFETY: as above. What is left at the number when it fails is closed: to
    // the program it is not open.
    unsafe {
        let done = sys!(libc::SYS_dup3, from, to, flags);
        if done.is_err() {
            let _ = sys!(libc::SYS_close, to);
        }
        copied(from, done)
    }
}

pub(crate) unsafe fn pidfd_getfd(pidfd: c_int, from: c_int, flags: c_uint) -> c_int {
    taken(pidfd, from, flags).ret()
}

/// pidfd_getfd(2). What only stands for another process's remote file is not to be had by it, and
/// must not seem empty.
fn taken(pidfd: c_int, from: c_int, flags: c_uint) -> Result<usize> {
    // SAFETY: no memory is involved.
    let fd = unsafe { sys!(libc::SYS_pidfd_getfd, pidfd, from, flags) }?;
    if !Kernel.is_placeholder(fd as c_int) {
        return Ok(fd);
    }
    if PROCESS.is_virtual(from) && Kernel.is_same_open(from, fd as c_int) {
        return copied(from, Ok(fd));
    }
    let _ = Kernel.close(fd as c_int);
    Err(Errno::EPERM)
}

pub(crate) unsafe fn fcntl(fd: c_int, command: c_int, arg: usize) -> c_int {
    control(fd, command, arg).ret()
}

/// fcntl(2).
pub(crate) fn control(fd: c_int, command: c_int, arg: usize) -> Result<usize> {
    if is_kept(fd) {
        return Err(Errno::EBADF);
    }
    // The old lock commands are the new ones on 64-bit systems; F_GETOWN needs
    // F_GETOWN_EX to tell a group from an error (fcntl(2)).
    if command == libc::F_GETOWN {
        let mut owner = [0i32; 2];
        const F_GETOWN_EX: c_int = 16;
        const F_OWNER_PGRP: i32 = 2;
        // SAFETY: the kernel writes a struct f_owner_ex: two ints.
        unsafe { sys!(libc::SYS_fcntl, fd, F_GETOWN_EX, owner.as_mut_ptr()) }?;
        let [kind, pid] = owner;
        return Ok(if kind == F_OWNER_PGRP { -pid } else { pid } as isize as usize);
    }
    // A lock that waits is a place where a thread can be cancelled.
    let waits = matches!(command, libc::F_SETLKW | libc::F_OFD_SETLKW);
    if PROCESS.met() {
        let args = privns_host::raw::pad([fd as usize, command as usize, arg]);
        // SAFETY: the program's own arguments.
        if let Some(done) = unsafe { crate::door::ours(libc::SYS_fcntl, args) } {
            return done;
        }
    }
    let done = crate::call::cancellable(waits, || {
        // SAFETY: the program's own arguments.
        unsafe { sys!(libc::SYS_fcntl, fd, command, arg) }
    });
    if matches!(command, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) {
        return copied(fd, done);
    }
    done
}

/// Whether what `fd` shows may not be changed.
pub(crate) fn read_only(fd: c_int) -> bool {
    PROCESS.view().is_some_and(|view| {
        let known = view.process.fds.get(fd, view.family.generation());
        known.is_some_and(|shown| shown.read_only) || view.process.fds.is_read_only(fd)
    })
}

/// Calls that change a file through a descriptor that needs no write access.
macro_rules! change {
    ($($name:ident $nr:ident ($($arg:ident : $ty:ty),*);)*) => {$(
        pub(crate) unsafe fn $name(fd: c_int $(, $arg: $ty)*) -> c_int {
            if read_only(fd) {
                return Err(Errno::EROFS).ret();
            }
            // SAFETY: the program's own arguments.
            unsafe { door!(libc::$nr, fd $(, $arg)*) }.ret()
        }
    )*};
}

change! {
    fchmod SYS_fchmod (mode: mode_t);
    fchown SYS_fchown (uid: uid_t, gid: gid_t);
    fsetxattr SYS_fsetxattr (name: *const libc::c_char, value: *const libc::c_void, size: size_t, flags: c_int);
    fremovexattr SYS_fremovexattr (name: *const libc::c_char);
}

pub(crate) unsafe fn futimens(fd: c_int, times: *const timespec) -> c_int {
    // Before the times are looked at, and not a directory's number.
    if fd < 0 {
        return Err(Errno::EBADF).ret();
    }
    if read_only(fd) {
        return Err(Errno::EROFS).ret();
    }
    // SAFETY: the program's own arguments.
    unsafe { door!(libc::SYS_utimensat, fd, 0usize, times, 0) }.ret()
}

pub(crate) unsafe fn fstatfs(fd: c_int, buf: *mut libc::statfs) -> c_int {
    // SAFETY: the program's own arguments.
    let done = unsafe { door!(libc::SYS_fstatfs, fd, buf) };
    if done.is_ok() && read_only(fd) {
        // SAFETY: the kernel has just filled it.
        unsafe { crate::call::mark_read_only(buf) };
    }
    done.ret()
}
