//! Sockets and a lock for the 9P client, until the proper ones are here.

use crate::{Kernel, sys};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use privns_abi::{Errno, Result};

impl Kernel {
    /// A stream socket connected to an AF_UNIX name.
    ///
    /// # Errors
    /// Those of socket(2) and connect(2).
    pub fn dial_unix(self, path: &[u8]) -> Result<i32> {
        let mut addr: libc::sockaddr_un =
            libc::sockaddr_un { sun_family: libc::AF_UNIX as u16, sun_path: [0; 108] };
        if path.len() > 107 {
            return Err(Errno::ENAMETOOLONG);
        }
        for (to, from) in addr.sun_path.iter_mut().zip(path) {
            *to = *from as libc::c_char;
        }
        // SAFETY: no memory is involved.
        let fd = unsafe {
            sys!(libc::SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0)?
        } as i32;
        // SAFETY: the kernel reads one address.
        let done =
            unsafe { sys!(libc::SYS_connect, fd, &raw const addr, size_of::<libc::sockaddr_un>()) };
        done.map(|_| fd).inspect_err(|_| {
            let _ = self.close(fd);
        })
    }

    /// sendto(2) without waiting.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send_some(self, fd: i32, bytes: &[u8]) -> Result<usize> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the kernel reads the bytes.
        unsafe { sys!(libc::SYS_sendto, fd, bytes.as_ptr(), bytes.len(), flags, 0, 0) }
    }

    /// recvfrom(2) without waiting.
    ///
    /// # Errors
    /// The kernel's.
    pub fn recv_some(self, fd: i32, bytes: &mut [u8]) -> Result<usize> {
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: the kernel writes at most as many bytes.
        unsafe { sys!(libc::SYS_recvfrom, fd, bytes.as_mut_ptr(), bytes.len(), flags, 0, 0) }
    }

    /// poll(2) of one descriptor.
    ///
    /// # Errors
    /// EINTR, ETIMEDOUT.
    pub fn poll_one(
        self,
        fd: i32,
        read: bool,
        write: bool,
        timeout: Duration,
    ) -> Result<(bool, bool)> {
        let events = if read { libc::POLLIN } else { 0 } | if write { libc::POLLOUT } else { 0 };
        let mut poll = libc::pollfd { fd, events, revents: 0 };
        let ts = libc::timespec {
            tv_sec: timeout.as_secs().min(1 << 30) as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // SAFETY: one pollfd and one timespec.
        let n = unsafe { sys!(libc::SYS_ppoll, &raw mut poll, 1, &raw const ts, 0, 8) }?;
        if n == 0 {
            return Err(Errno::ETIMEDOUT);
        }
        let bad = poll.revents & (libc::POLLERR | libc::POLLHUP) != 0;
        Ok((
            read && (bad || poll.revents & libc::POLLIN != 0),
            write && (bad || poll.revents & libc::POLLOUT != 0),
        ))
    }
}

/// A lock around a value.
pub struct Spin<S> {
    held: AtomicU32,
    turns: AtomicU32,
    state: UnsafeCell<S>,
}

// SAFETY: one at a time.
unsafe impl<S: Send> Sync for Spin<S> {}

impl<S> Spin<S> {
    /// Around this.
    pub const fn new(state: S) -> Spin<S> {
        Spin { held: AtomicU32::new(0), turns: AtomicU32::new(0), state: UnsafeCell::new(state) }
    }

    /// See the client's monitor.
    ///
    /// # Errors
    /// ETIMEDOUT.
    pub fn enter<R>(&self, timeout: Duration, mut f: impl FnMut(&mut S) -> Option<R>) -> Result<R> {
        let began = crate::Host::now_ms(&Kernel);
        loop {
            let turn = self.turns.load(Ordering::Acquire);
            while self.held.swap(1, Ordering::Acquire) != 0 {
                Kernel.yield_now();
            }
            // SAFETY: we hold it.
            let done = f(unsafe { &mut *self.state.get() });
            self.held.store(0, Ordering::Release);
            self.turns.fetch_add(1, Ordering::Release);
            if let Some(done) = done {
                return Ok(done);
            }
            while self.turns.load(Ordering::Acquire) == turn.wrapping_add(1) {
                if u128::from(crate::Host::now_ms(&Kernel) - began) > timeout.as_millis() {
                    return Err(Errno::ETIMEDOUT);
                }
                Kernel.yield_now();
            }
        }
    }
}
