//! Stream sockets inside other people's programs: system calls alone, nothing
//! allocated once they are connected.
//!
//! - The descriptor stands at a high number, close-on-exec, so that programs
//!   do not meet it.
//! - Only sendmsg(2) and recvmsg(2) move bytes. Where a program has closed our
//!   number behind our back and a file of its own has taken it, they say
//!   ENOTSOCK; write(2) would have gone into the file.
//! - Nothing blocks but [`Socket::wait`], [`Socket::recv_waiting`] and
//!   [`Socket::recv_much`], which look after signals ([`crate::signals`]).
//!
//! Race: a program that makes our number its own by dup2(2) is given it
//! ([`Socket::moved`]). Another thread that has read the old number and
//! not yet entered the kernel then talks to the program's descriptor; that is
//! a few instructions, and a number that the program was never given.

use crate::elsewhere;
use crate::kernel::Kernel;
use crate::signals::{self, SLICE};
use crate::sys;
use core::mem::MaybeUninit;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::sync::atomic::{AtomicI32, Ordering};
use core::time::Duration;
use privns_abi::{Errno, Result};

/// Where to connect to. Names of hosts are resolved elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// A socket's path, of any length.
    Unix(&'a [u8]),
    /// An IPv4 address and a port.
    V4([u8; 4], u16),
    /// An IPv6 address, a port, and the interface of a link-local address or 0.
    V6([u8; 16], u16, u32),
}

/// What can be done, or is to be waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Bytes, the end of the stream or an error can be received.
    pub read: bool,
    /// Bytes can be sent, or an error is to be had.
    pub write: bool,
}

/// A connected stream socket.
#[derive(Debug)]
pub struct Socket {
    /// -1 when it is closed.
    fd: AtomicI32,
}

/// The congestion control that every kernel has and lets everybody have: it holds
/// nothing back by timers, for which nothing is to be had on one machine.
pub const UNPACED: &str = "reno";

/// Parts of one sendmsg or recvmsg at most.
const PARTS: usize = 8;

/// Time since some beginning, never going back (CLOCK_MONOTONIC).
#[must_use]
pub fn now() -> Duration {
    let mut ts = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the vDSO writes one timespec; a clock that every kernel has.
    let ts = unsafe {
        if crate::lazy::clock_gettime(libc::CLOCK_MONOTONIC, ts.as_mut_ptr()) != 0 {
            return Duration::ZERO;
        }
        ts.assume_init()
    };
    Duration::new(ts.tv_sec as u64, ts.tv_nsec as u32)
}

/// Who is at the other end of a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The process; 0 for one of a pid namespace that is not below ours.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

/// Who is at the other end of the unix socket `fd`, as it was when it connected, or began to listen
/// (`SO_PEERCRED` of unix(7)).
///
/// # Errors
/// getsockopt(2)'s.
pub fn credentials(fd: i32) -> Result<Credentials> {
    let mut told = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes one struct ucred and its size.
    unsafe {
        sys!(
            libc::SYS_getsockopt,
            fd,
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            &raw mut told,
            &raw mut len
        )?;
    }
    Ok(Credentials { pid: told.pid, uid: told.uid, gid: told.gid })
}

/// The supplementary groups of who is at the other end of the unix socket `fd`, at the same time
/// (`SO_PEERGROUPS` of unix(7), Linux 4.13): how many of `room` were filled.
///
/// # Errors
/// getsockopt(2)'s; ERANGE for more groups than there is room for.
pub fn groups(fd: i32, room: &mut [u32]) -> Result<usize> {
    let mut len = size_of_val(room) as libc::socklen_t;
    // SAFETY: the kernel writes so many bytes at most, and how many they were.
    unsafe {
        sys!(
            libc::SYS_getsockopt,
            fd,
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            room.as_mut_ptr(),
            &raw mut len
        )?;
    }
    Ok(len as usize / size_of::<u32>())
}

impl Socket {
    /// Connects, within `timeout`.
    ///
    /// # Errors
    /// Those of connect(2); ETIMEDOUT, EINTR.
    pub fn dial(to: &Endpoint<'_>, timeout: Duration) -> Result<Socket> {
        let family = match to {
            Endpoint::Unix(_) => libc::AF_UNIX,
            Endpoint::V4(..) => libc::AF_INET,
            Endpoint::V6(..) => libc::AF_INET6,
        };
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no memory is involved.
        let fd = unsafe { sys!(libc::SYS_socket, family, kind, 0) }? as i32;
        let socket = Socket::adopt(fd);
        let end = now().saturating_add(timeout);
        match to {
            Endpoint::Unix(path) => socket.connect_unix(path, end)?,
            Endpoint::V4(ip, port) => {
                let address = libc::sockaddr_in {
                    sin_family: family as u16,
                    sin_port: port.to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(*ip) },
                    sin_zero: [0; 8],
                };
                socket.unpaced(Ipv4Addr::from(*ip).is_loopback());
                socket.connect(&address, size_of_val(&address), end)?;
                socket.no_delay();
            }
            Endpoint::V6(ip, port, scope) => {
                let address = libc::sockaddr_in6 {
                    sin6_family: family as u16,
                    sin6_port: port.to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: *ip },
                    sin6_scope_id: *scope,
                };
                socket.unpaced(Ipv6Addr::from(*ip).is_loopback());
                socket.connect(&address, size_of_val(&address), end)?;
                socket.no_delay();
            }
        }
        socket.blocking();
        Ok(socket)
    }

    /// Whether a socket is bound to this name that is not closed. It learns nothing of the question:
    /// of another kind it is said that it is one, and one of datagrams is not told who is about to
    /// write to it.
    #[must_use]
    pub fn is_bound(path: &[u8]) -> bool {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no memory is involved.
        let Ok(fd) = (unsafe { sys!(libc::SYS_socket, libc::AF_UNIX, kind, 0) }) else {
            return true;
        };
        let socket = Socket { fd: AtomicI32::new(fd as i32) };
        let refused = [Err(Errno::ECONNREFUSED), Err(Errno::ENOENT)];
        !refused.contains(&socket.connect_unix(path, now()))
    }

    /// A socket that is connected already; it is closed with the value, and
    /// stands at a high number from now on.
    #[must_use]
    pub fn adopt(fd: i32) -> Socket {
        let socket = Socket { fd: AtomicI32::new(raised(fd)) };
        // What waits in a receive looks up as often as other waits do.
        let slice = libc::timeval { tv_sec: 0, tv_usec: SLICE.subsec_micros().into() };
        socket.option(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &slice);
        socket
    }

    /// The descriptor's number, -1 when it is closed.
    #[must_use]
    pub fn fd(&self) -> i32 {
        elsewhere::here(self.fd.load(Ordering::Relaxed))
    }

    /// The process and the user at the other end of a unix socket.
    ///
    /// # Errors
    /// As [`credentials`].
    pub fn peer(&self) -> Result<(i32, u32)> {
        credentials(self.fd()).map(|told| (told.pid, told.uid))
    }

    /// What stood at one number stands at another, and the program has the old
    /// one, which it wanted for itself; whether that was this socket.
    pub fn moved(&self, from: i32, to: i32) -> bool {
        self.fd.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Closes the descriptor: for the child of a fork, which must not be heard
    /// on its parent's connection. What is under way ends with EBADF.
    pub fn close(&self) {
        let fd = self.fd.swap(-1, Ordering::Relaxed);
        if fd >= 0 {
            let _ = Kernel.close(fd);
        }
    }

    /// Nobody has this descriptor any more: it was closed by somebody else.
    pub fn lost(&self) {
        self.fd.store(-1, Ordering::Relaxed);
    }

    fn connect_unix(&self, path: &[u8], end: Duration) -> Result<()> {
        let to = |path: &[u8]| {
            let mut address =
                libc::sockaddr_un { sun_family: libc::AF_UNIX as u16, sun_path: [0; 108] };
            let room = address.sun_path.iter_mut();
            room.zip(path).for_each(|(to, from)| *to = *from as libc::c_char);
            self.connect(&address, size_of_val(&address), end)
        };
        if path.len() < 108 {
            return to(path);
        }
        // A link of /proc leads to the socket whatever its name's length.
        let mut name = crate::Name::from(path)?;
        let flags = libc::O_PATH | libc::O_CLOEXEC;
        let file = Kernel.openat(libc::AT_FDCWD, name.as_cstr()?, flags, 0)?;
        let connected = crate::fd::link(file).and_then(|link| to(link.as_bytes()));
        let _ = Kernel.close(file);
        connected
    }

    fn connect<A>(&self, address: &A, len: usize, end: Duration) -> Result<()> {
        loop {
            // SAFETY: a socket address of that length.
            let done =
                unsafe { sys!(libc::SYS_connect, self.fd(), core::ptr::from_ref(address), len) };
            match done {
                Ok(_) | Err(Errno::EISCONN) => return Ok(()),
                Err(Errno::EINPROGRESS | Errno::EINTR | Errno::EALREADY) => {
                    let left = end.saturating_sub(now());
                    self.wait(Ready { read: false, write: true }, left)?;
                    self.pending_error()?;
                }
                // A unix socket whose queue is full says so and tells nobody
                // when that ends.
                Err(Errno::EAGAIN) => pause(Duration::from_millis(1), end)?,
                Err(e) => return Err(e),
            }
        }
    }

    /// The error of a connection attempt (`SO_ERROR`).
    fn pending_error(&self) -> Result<()> {
        let (mut error, mut len) = (0i32, size_of::<i32>() as libc::socklen_t);
        // SAFETY: the kernel writes one int and its size.
        unsafe {
            sys!(
                libc::SYS_getsockopt,
                self.fd(),
                libc::SOL_SOCKET,
                libc::SO_ERROR,
                &raw mut error,
                &raw mut len
            )?;
        }
        if error == 0 { Ok(()) } else { Err(Errno(error)) }
    }

    /// Small messages leave at once (`TCP_NODELAY`).
    fn no_delay(&self) {
        self.option(libc::IPPROTO_TCP, libc::TCP_NODELAY, &1i32);
    }

    /// The plainest congestion control for what stays on this machine, where
    /// one that holds bytes back by timers (BBR) has nothing to gain. Before it
    /// connects: what has been paced once is paced for ever.
    fn unpaced(&self, stays: bool) {
        if stays {
            self.option(libc::IPPROTO_TCP, libc::TCP_CONGESTION, UNPACED);
        }
    }

    /// Sets an option on which nothing but speed depends.
    fn option<V: ?Sized>(&self, level: i32, name: i32, value: &V) {
        let (len, value) = (size_of_val(value), core::ptr::from_ref(value).cast::<u8>());
        // SAFETY: the kernel reads one value of that size.
        let _ = unsafe { sys!(libc::SYS_setsockopt, self.fd(), level, name, value, len) };
    }

    /// Whether waiting is up to each call (FIONBIO off): connecting is over.
    fn blocking(&self) {
        let off = 0i32;
        // SAFETY: the kernel reads one int.
        let _ = unsafe { sys!(libc::SYS_ioctl, self.fd(), libc::FIONBIO, &raw const off) };
    }

    /// Sends from the parts, in order, as much as goes at once; parts beyond
    /// the eighth stay behind. Bytes sent.
    ///
    /// # Errors
    /// EAGAIN when nothing goes at present; sendmsg(2)'s otherwise, ENOTSOCK
    /// and EBADF when the number is not ours any more.
    pub fn send(&self, parts: &[&[u8]]) -> Result<usize> {
        const FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        let mut vectors = [EMPTY; PARTS];
        let filled = parts.iter().filter(|part| !part.is_empty());
        let mut n = 0;
        for (vector, part) in vectors.iter_mut().zip(filled) {
            *vector =
                libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
            n += 1;
        }
        if let [only] = vectors[..n] {
            // A message with one part takes the kernel longer to read than the part.
            let (at, len) = (only.iov_base, only.iov_len);
            // SAFETY: the part is valid for reading, and only read.
            return unsafe { sys!(libc::SYS_sendto, self.fd(), at, len, FLAGS, 0, 0) };
        }
        let message = header(&mut vectors[..n]);
        // SAFETY: the parts are valid for reading, and only read.
        unsafe { sys!(libc::SYS_sendmsg, self.fd(), &raw const message, FLAGS) }
    }

    /// Receives what is there. Bytes received, 0 at the end of the stream.
    ///
    /// # Errors
    /// As [`Socket::send`].
    pub fn recv(&self, buf: &mut [u8]) -> Result<usize> {
        self.receive(buf, libc::MSG_DONTWAIT)
    }

    /// As [`Socket::recv`], but waits until something comes: one system call
    /// where that is soon.
    ///
    /// # Errors
    /// As [`Socket::recv`] and [`Socket::wait`].
    pub fn recv_waiting(&self, buf: &mut [u8], timeout: Duration) -> Result<usize> {
        self.receive_waiting(buf, 0, timeout)
    }

    /// As [`Socket::recv_waiting`], but goes on for a while, or until `buf` is
    /// full (MSG_WAITALL): one system call for what comes in many pieces.
    ///
    /// # Errors
    /// As [`Socket::recv_waiting`].
    pub fn recv_much(&self, buf: &mut [u8], timeout: Duration) -> Result<usize> {
        self.receive_waiting(buf, libc::MSG_WAITALL, timeout)
    }

    fn receive_waiting(&self, buf: &mut [u8], flags: i32, timeout: Duration) -> Result<usize> {
        let mut waited = Duration::ZERO;
        while timeout >= SLICE && waited < timeout {
            match self.receive(buf, flags) {
                Err(Errno::EAGAIN) => {}
                // Of a signal that is never kept waiting.
                Err(Errno::EINTR) if signals::is_calm() => {}
                done => return done,
            }
            waited += SLICE;
            signals::check()?;
        }
        self.wait(Ready { read: true, write: false }, timeout.saturating_sub(waited))?;
        self.recv(buf)
    }

    /// Descriptors that a peer passes have no room to come into.
    fn receive(&self, buf: &mut [u8], flags: i32) -> Result<usize> {
        // SAFETY: the buffer is valid for writing; no address is asked for.
        unsafe { sys!(libc::SYS_recvfrom, self.fd(), buf.as_mut_ptr(), buf.len(), flags, 0, 0) }
    }

    /// Waits until one of the wanted things is possible; which are. A hang-up
    /// shows as both: the next call tells it.
    ///
    /// # Errors
    /// EINTR when a signal wants to be let in, ETIMEDOUT after `timeout`,
    /// EBADF when it is closed.
    pub fn wait(&self, want: Ready, timeout: Duration) -> Result<Ready> {
        let mut waited = Duration::ZERO;
        let mut began = None;
        loop {
            let fd = self.fd();
            if fd < 0 {
                return Err(Errno::EBADF);
            }
            let events = if want.read { libc::POLLIN } else { 0 }
                | if want.write { libc::POLLOUT } else { 0 };
            let mut polled = libc::pollfd { fd, events, revents: 0 };
            let left = timeout.saturating_sub(waited);
            if poll(core::slice::from_mut(&mut polled), left.min(SLICE))? {
                let broken = polled.revents & !(libc::POLLIN | libc::POLLOUT) != 0;
                let read = broken || polled.revents & libc::POLLIN != 0;
                let write = broken || polled.revents & libc::POLLOUT != 0;
                return Ok(Ready { read, write });
            }
            // Also of short waits: there may be one after the other.
            signals::check()?;
            if left <= SLICE {
                return Err(Errno::ETIMEDOUT);
            }
            // The clock is asked only of waits that last.
            waited =
                now().saturating_sub(*began.get_or_insert_with(|| now().saturating_sub(SLICE)));
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.close();
    }
}

const EMPTY: libc::iovec = libc::iovec { iov_base: core::ptr::null_mut(), iov_len: 0 };

fn header(vectors: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: all zeros are a message without a name and without control data.
    let mut message: libc::msghdr = unsafe { core::mem::zeroed() };
    message.msg_iov = vectors.as_mut_ptr();
    message.msg_iovlen = vectors.len() as _;
    message
}

/// ppoll(2) with the mask as it is. False when the time is over.
fn poll(fds: &mut [libc::pollfd], timeout: Duration) -> Result<bool> {
    let limit =
        libc::timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
    // SAFETY: the array and the time are valid for the call; the kernel keeps
    // the mask where it is given none.
    match unsafe { sys!(libc::SYS_ppoll, fds.as_mut_ptr(), fds.len(), &raw const limit, 0, 0) } {
        // Of a signal that is never kept waiting.
        Err(Errno::EINTR) if signals::is_calm() => Ok(false),
        done => done.map(|n| n > 0),
    }
}

/// Sleeps, unless a signal is due.
///
/// # Errors
/// EINTR.
pub fn sleep(time: Duration) -> Result<()> {
    let end = now().saturating_add(time);
    loop {
        signals::check()?;
        let left = end.saturating_sub(now());
        if left.is_zero() {
            return Ok(());
        }
        poll(&mut [], left.min(SLICE))?;
    }
}

/// Sleeps a little, unless `end` is reached.
fn pause(time: Duration, end: Duration) -> Result<()> {
    if now() >= end {
        return Err(Errno::ETIMEDOUT);
    }
    signals::check()?;
    poll(&mut [], time).map(drop)
}

/// Moves a descriptor of ours to a number that programs do not come to: near
/// 1000, or what the limit allows. It stays where it is when there is none. A
/// program that may have few needs all of them for itself.
#[must_use]
pub fn raised(fd: i32) -> i32 {
    const ROOM: u64 = 24;
    const FEW: u64 = 64;
    let limit = Kernel.descriptor_limit().unwrap_or(1024).min(1024);
    if limit < FEW
        && let Ok(high) = Kernel.dup_beyond(fd, 1000)
    {
        let _ = Kernel.close(fd);
        return high;
    }
    let mut from = limit.saturating_sub(ROOM) as i32;
    while from > fd {
        if let Ok(high) = Kernel.dup_from(fd, from, true) {
            let _ = Kernel.close(fd);
            return high;
        }
        from /= 2;
    }
    let _ = Kernel.set_cloexec(fd, true);
    fd
}

#[cfg(test)]
#[path = "net_tests.rs"]
mod tests;
