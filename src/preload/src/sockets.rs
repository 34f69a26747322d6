//! AF_UNIX names, both ways: what the program names is translated before the
//! kernel sees it, and what the kernel answers is translated back. Of every
//! other address family only its number is looked at.

use crate::address::{names_file, place, served, show, Place, UN};
use crate::call::{cancellable, Ret};
use crate::{rights, PROCESS};
use core::ffi::{c_int, c_void};
use libc::{msghdr, sockaddr, socklen_t, ssize_t};
use privns_abi::{Errno, Result};
use privns_files::process::View;
use privns_host::signals::{self, calmly};
use privns_host::{sys, Kernel};

/// How long a call may wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    AsAsked,
    Never,
}

/// Makes a call that may wait, for which `ask` finds out what it needs. A signal that has come while
/// a server was asked ends the wait before it begins: its handler would have run by then.
fn asked_first<P>(
    fd: c_int,
    mut ask: impl FnMut() -> Result<P>,
    make: impl Fn(P, Wait) -> Result<usize>,
) -> Result<usize> {
    if !PROCESS.met() {
        return make(ask()?, Wait::AsAsked);
    }
    let asked = calmly(|| {
        let asked = ask()?;
        let Err(due) = signals::check() else { return Ok(Err(asked)) };
        match make(asked, Wait::Never) {
            Err(Errno::EAGAIN) if waits(fd)? => Err(due),
            done => Ok(Ok(done)),
        }
    });
    asked?.unwrap_or_else(|asked| make(asked, Wait::AsAsked))
}

/// Whether calls on a descriptor wait.
fn waits(fd: c_int) -> Result<bool> {
    Kernel.status_flags(fd).map(|flags| flags & libc::O_NONBLOCK == 0)
}

/// Makes a call with an address that was looked up, or the program's own.
fn with(
    view: View<'_>,
    fd: c_int,
    place: Option<Place>,
    own: (*const c_void, usize),
    make: impl FnOnce(*const c_void, usize) -> Result<usize>,
) -> Result<usize> {
    let (addr, len) = place.as_ref().map_or(own, Place::args);
    let done = make(addr, len);
    if let (Some(place), Ok(_), 0) = (place, &done, PROCESS.fds.seq(fd)) {
        served(view, fd, place.seq);
    }
    done
}

/// Makes a call that is given an address.
///
/// # Safety
/// `addr` is null or has `len` bytes.
#[inline]
unsafe fn given(
    fd: c_int,
    addr: *const c_void,
    len: usize,
    make: impl Fn(*const c_void, usize, Wait) -> Result<usize>,
) -> Result<usize> {
    let view = match PROCESS.view() {
        // SAFETY: the caller's promise.
        Some(view) if unsafe { names_file(addr, len) } => view,
        _ => return make(addr, len, Wait::AsAsked),
    };
    asked_first(
        fd,
        // SAFETY: as above.
        || unsafe { place(view, fd, addr, len, false) },
        |place, wait| with(view, fd, place, (addr, len), |addr, len| make(addr, len, wait)),
    )
}

pub(crate) unsafe fn bind(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    let (addr, len) = (addr.cast::<c_void>(), len as usize);
    let call = |addr: *const c_void, len: usize| {
        // SAFETY: the program's own address, or one of ours.
        unsafe { sys!(libc::SYS_bind, fd, addr, len) }
    };
    let view = match PROCESS.view() {
        // SAFETY: the program says that it has `len` bytes.
        Some(view) if unsafe { names_file(addr, len) } => view,
        _ => return call(addr, len).ret(),
    };
    // SAFETY: as above.
    let done = unsafe { place(view, fd, addr, len, true) }.and_then(|place| {
        let Some(mut place) = place else { return call(addr, len) };
        let (addr, len) = place.args();
        let done = call(addr, len).inspect_err(|_| place.unbound())?;
        place.bound(view)?;
        served(view, fd, place.seq);
        Ok(done)
    });
    done.ret()
}

pub(crate) unsafe fn connect(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: the program's own arguments, but for the name.
    unsafe {
        given(fd, addr.cast(), len as usize, |addr, len, wait| match wait {
            Wait::AsAsked => cancellable(true, || sys!(libc::SYS_connect, fd, addr, len)),
            Wait::Never => connect_at_once(fd, addr, len),
        })
    }
    .ret()
}

/// No flag of connect(2) says that it is not to wait, but one of the socket.
///
/// # Safety
/// As the call itself.
unsafe fn connect_at_once(fd: c_int, addr: *const c_void, len: usize) -> Result<usize> {
    let flags = Kernel.status_flags(fd)?;
    Kernel.set_status_flags(fd, flags | libc::O_NONBLOCK)?;
    // SAFETY: the caller's promise.
    let done = unsafe { sys!(libc::SYS_connect, fd, addr, len) };
    Kernel.set_status_flags(fd, flags)?;
    done
}

/// The flags of a message.
fn flags_of(flags: c_int, wait: Wait) -> c_int {
    if wait == Wait::Never {
        flags | libc::MSG_DONTWAIT
    } else {
        flags
    }
}

pub(crate) unsafe fn sendto(
    fd: c_int,
    buf: *const c_void,
    size: usize,
    flags: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> ssize_t {
    // SAFETY: as above.
    unsafe {
        given(fd, addr.cast(), len as usize, |addr, len, wait| {
            let flags = flags_of(flags, wait);
            cancellable(wait == Wait::AsAsked, || {
                sys!(libc::SYS_sendto, fd, buf, size, flags, addr, len)
            })
        })
    }
    .size()
}

pub(crate) unsafe fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the program's own arguments.
    unsafe { send_message(fd, message, flags) }.size()
}

unsafe fn send_message(fd: c_int, message: *const msghdr, flags: c_int) -> Result<usize> {
    let call = |message: *const msghdr, wait: Wait| {
        let flags = flags_of(flags, wait);
        // SAFETY: the program's own message, or a copy with another name.
        let send = || unsafe { sys!(libc::SYS_sendmsg, fd, message, flags) };
        cancellable(wait == Wait::AsAsked, send)
    };
    let view = match PROCESS.view() {
        // SAFETY: not null, and the program says that it is a message.
        Some(view) if !message.is_null() && unsafe { needs_us(message) } => view,
        _ => return call(message, Wait::AsAsked),
    };
    // SAFETY: as above.
    let (name, len) = unsafe { ((*message).msg_name, (*message).msg_namelen as usize) };
    // SAFETY: as above.
    let ask = || unsafe {
        let named = names_file(name, len);
        let place = if named { place(view, fd, name, len, false)? } else { None };
        Ok((place, rights::before(fd, message)?))
    };
    let send = |(place, sent), wait| {
        let done = with(view, fd, place, (name, len), |addr, len| {
            if addr == name.cast_const() {
                return call(message, wait);
            }
            // SAFETY: as above.
            let mut copy = unsafe { *message };
            copy.msg_name = addr.cast_mut();
            copy.msg_namelen = len as socklen_t;
            call(&raw const copy, wait)
        });
        rights::after(sent, &done);
        done
    };
    asked_first(fd, ask, send)
}

/// Whether a message has an address to be looked up, or descriptors of remote files.
///
/// # Safety
/// A message.
unsafe fn needs_us(message: *const msghdr) -> bool {
    // SAFETY: the caller's.
    unsafe {
        names_file((*message).msg_name, (*message).msg_namelen as usize)
            || rights::sends_remote(message)
    }
}

/// Messages are handed on one by one from the first that names a file: each
/// needs an address of its own. As in the kernel, an error counts only where
/// nothing has been sent (sendmmsg(2)).
pub(crate) unsafe fn sendmmsg(
    fd: c_int,
    messages: *mut libc::mmsghdr,
    n: libc::c_uint,
    flags: c_int,
) -> c_int {
    // SAFETY: the program says that there are `n`.
    let ours = |at: usize| unsafe { needs_us(&raw const (*messages.add(at)).msg_hdr) };
    let count = (n as usize).min(1024);
    let plain = PROCESS.view().is_none() || messages.is_null() || !(0..count).any(ours);
    if plain {
        // SAFETY: the program's own arguments.
        let call = || unsafe { sys!(libc::SYS_sendmmsg, fd, messages, n, flags) };
        return cancellable(true, call).ret();
    }
    for at in 0..count {
        // SAFETY: one of the `n`.
        let sent = unsafe { send_message(fd, &raw const (*messages.add(at)).msg_hdr, flags) };
        match sent {
            // SAFETY: as above.
            Ok(sent) => unsafe { (*messages.add(at)).msg_len = sent as libc::c_uint },
            Err(error) if at == 0 => return Err(error).ret(),
            Err(_) => return at as c_int,
        }
    }
    count as c_int
}

/// Makes a call that answers with an address, and translates it. One that is
/// cut short cannot be read, so a small buffer gets its part of a whole one.
///
/// # Safety
/// `addr` and `len` are as for getsockname(2).
#[inline]
unsafe fn answered(
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
    make: impl FnOnce(*mut c_void, *mut socklen_t) -> Result<usize>,
) -> Result<usize> {
    let addr = addr.cast::<c_void>();
    if addr.is_null() || len.is_null() || PROCESS.view().is_none() {
        return make(addr, len);
    }
    // SAFETY: not null, and the program says how much room there is.
    let room = unsafe { *len } as usize;
    if !(1..UN).contains(&room) {
        let done = make(addr, len)?;
        // SAFETY: the kernel has written both.
        unsafe { show(fd, addr, room, &mut *len) };
        return Ok(done);
    }
    let mut whole = [0u8; size_of::<libc::sockaddr_storage>()];
    let mut n = whole.len() as socklen_t;
    let done = make(whole.as_mut_ptr().cast(), &raw mut n)?;
    // SAFETY: as above, into a buffer of ours and from there.
    unsafe {
        show(fd, whole.as_mut_ptr().cast(), whole.len(), &mut n);
        core::ptr::copy_nonoverlapping(whole.as_ptr(), addr.cast(), room.min(n as usize));
        *len = n;
    }
    Ok(done)
}

pub(crate) unsafe fn getsockname(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe { answered(fd, addr, len, |addr, len| sys!(libc::SYS_getsockname, fd, addr, len)) }.ret()
}

pub(crate) unsafe fn getpeername(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: as above.
    unsafe { answered(fd, addr, len, |addr, len| sys!(libc::SYS_getpeername, fd, addr, len)) }.ret()
}

pub(crate) unsafe fn accept(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: as above.
    let done = unsafe {
        answered(fd, addr, len, |addr, len| {
            cancellable(true, || sys!(libc::SYS_accept, fd, addr, len))
        })
    };
    crate::descriptors::copied(fd, done).ret()
}

pub(crate) unsafe fn accept4(
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
    flags: c_int,
) -> c_int {
    // SAFETY: as above.
    let done = unsafe {
        answered(fd, addr, len, |addr, len| {
            cancellable(true, || sys!(libc::SYS_accept4, fd, addr, len, flags))
        })
    };
    crate::descriptors::copied(fd, done).ret()
}

pub(crate) unsafe fn recvfrom(
    fd: c_int,
    buf: *mut c_void,
    size: usize,
    flags: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> ssize_t {
    // SAFETY: as above.
    unsafe {
        answered(fd, addr, len, |addr, len| {
            cancellable(true, || sys!(libc::SYS_recvfrom, fd, buf, size, flags, addr, len))
        })
    }
    .size()
}

pub(crate) unsafe fn recvfrom_chk(
    fd: c_int,
    buf: *mut c_void,
    size: usize,
    room: usize,
    flags: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> ssize_t {
    crate::io::fits(size, room);
    // SAFETY: as above.
    unsafe { recvfrom(fd, buf, size, flags, addr, len) }
}

pub(crate) unsafe fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the program's own arguments.
    let call = || unsafe { sys!(libc::SYS_recvmsg, fd, message, flags) };
    if message.is_null() {
        return call().size();
    }
    // SAFETY: not null, and the program says that it is a message.
    unsafe {
        let (name, room) = ((*message).msg_name, (*message).msg_namelen as usize);
        let done = cancellable(true, call);
        if done.is_ok() && !name.is_null() {
            show(fd, name, room, &mut (*message).msg_namelen);
        }
        if done.is_ok() {
            rights::received(message, flags);
        }
        done
    }
    .size()
}

pub(crate) unsafe fn recvmmsg(
    fd: c_int,
    messages: *mut libc::mmsghdr,
    n: libc::c_uint,
    flags: c_int,
    timeout: *mut libc::timespec,
) -> c_int {
    // SAFETY: the program's own arguments.
    let call = || unsafe { sys!(libc::SYS_recvmmsg, fd, messages, n, flags, timeout) };
    // SAFETY: the program says that there are `n`.
    let header = |at: usize| unsafe { &raw mut (*messages.add(at)).msg_hdr };
    // The kernel puts the length of a name where its room was.
    const KEPT: usize = 256;
    let mut rooms = [0 as socklen_t; KEPT];
    if PROCESS.view().is_some() && !messages.is_null() {
        for (at, room) in rooms.iter_mut().enumerate().take(n as usize) {
            // SAFETY: as above.
            *room = unsafe { (*header(at)).msg_namelen };
        }
    }
    let done = cancellable(true, call);
    for at in 0..*done.as_ref().unwrap_or(&0) {
        let message = header(at);
        // SAFETY: one of those that the kernel has filled.
        unsafe {
            match rooms.get(at) {
                Some(&room) if !(*message).msg_name.is_null() => {
                    show(fd, (*message).msg_name, room as usize, &mut (*message).msg_namelen);
                }
                _ => {}
            }
            rights::received(message, flags);
        }
    }
    done.ret()
}
