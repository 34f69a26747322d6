//! Descriptors in messages (SCM_RIGHTS of unix(7)): what stands for a remote file goes with what the
//! receiver needs to have the file too ([`privns_files::remote::sent`]).

use crate::PROCESS;
use core::ffi::c_int;
use libc::{cmsghdr, msghdr};
use privns_abi::Result;
use privns_files::remote::sent::Sent;

/// Descriptors that one message may carry (SCM_MAX_FD).
const MOST: usize = 253;

/// The descriptors in the control data of a message, put into `fds`.
///
/// # Safety
/// A message whose control data is as cmsg(3) lays it out.
unsafe fn descriptors(message: *const msghdr, fds: &mut [c_int; MOST]) -> &[c_int] {
    let mut n = 0;
    // SAFETY: the caller's; nothing beyond the end of the control data is read.
    unsafe {
        let end = (*message).msg_control as usize + (*message).msg_controllen;
        let mut part: *const cmsghdr = libc::CMSG_FIRSTHDR(message);
        while !part.is_null() {
            let header = &*part;
            if (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let data = libc::CMSG_DATA(part).cast::<c_int>();
                let said = header.cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
                let bytes = said.min(end.saturating_sub(data as usize));
                for at in 0..bytes / size_of::<c_int>() {
                    let Some(fd) = fds.get_mut(n) else { return fds };
                    *fd = data.add(at).read_unaligned();
                    n += 1;
                }
            }
            part = libc::CMSG_NXTHDR(message, part);
        }
    }
    fds.get(..n).unwrap_or_default()
}

/// Whether a message may carry descriptors of remote files: most carry nothing but data.
///
/// # Safety
/// A message.
#[inline]
unsafe fn may_carry(message: *const msghdr) -> bool {
    // SAFETY: the caller's.
    PROCESS.met() && unsafe { (*message).msg_controllen } != 0
}

/// Whether a message hands over a descriptor of a remote file.
///
/// # Safety
/// As [`descriptors`].
pub(crate) unsafe fn sends_remote(message: *const msghdr) -> bool {
    let mut fds = [0; MOST];
    // SAFETY: the caller's.
    unsafe {
        may_carry(message)
            && descriptors(message, &mut fds).iter().any(|&fd| PROCESS.is_virtual(fd))
    }
}

/// Makes ready for a message to be sent; what it leaves is to be taken back if it is not.
///
/// # Errors
/// Those of [`privns_files::process::View::send_files`].
///
/// # Safety
/// As [`descriptors`].
#[inline]
pub(crate) unsafe fn before(socket: c_int, message: *const msghdr) -> Result<Option<Sent>> {
    // SAFETY: the caller's.
    unsafe {
        if may_carry(message) {
            leave(socket, message)
        } else {
            Ok(None)
        }
    }
}

#[cold]
unsafe fn leave(socket: c_int, message: *const msghdr) -> Result<Option<Sent>> {
    let Some(view) = PROCESS.view() else { return Ok(None) };
    let mut fds = [0; MOST];
    // SAFETY: the caller's.
    let fds = unsafe { descriptors(message, &mut fds) };
    if !fds.iter().any(|&fd| PROCESS.is_virtual(fd)) {
        return Ok(None);
    }
    view.send_files(socket, fds).map(Some)
}

/// The message was sent, or not.
pub(crate) fn after(sent: Option<Sent>, done: &Result<usize>) {
    if let (Some(view), Some(sent), Err(_)) = (PROCESS.view(), sent, done) {
        view.take_back(sent);
    }
}

/// Looks at the descriptors that have come in a message.
///
/// # Safety
/// The kernel has filled it.
#[inline]
pub(crate) unsafe fn received(message: *const msghdr, flags: c_int) {
    // SAFETY: the caller's.
    if unsafe { may_carry(message) } {
        // SAFETY: as above.
        unsafe { look(message, flags) }
    }
}

#[cold]
unsafe fn look(message: *const msghdr, flags: c_int) {
    let Some(view) = PROCESS.view() else { return };
    let mut fds = [0; MOST];
    // SAFETY: the caller's.
    for &fd in unsafe { descriptors(message, &mut fds) } {
        view.receive_file(fd, flags & libc::MSG_PEEK != 0);
    }
}
