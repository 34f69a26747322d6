//! What a connection's thread reads from and writes to.

use crate::wire::{Wire, io_error};
use privns_abi::Errno;
use privns_host::net::UNPACED;
use privns_ninep::client::Ready;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno as Failure;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrAny, getpeername, getsockname, sockopt,
};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Both directions of a connection. Its thread waits as long as it likes.
pub(crate) enum Channel<'c> {
    /// A socket twice, or two pipes.
    Plain(Plain<'c>),
    /// Something that makes other bytes of them.
    Wire(&'c dyn Wire),
}

/// Two descriptors.
pub(crate) struct Plain<'c> {
    input: BorrowedFd<'c>,
    output: BorrowedFd<'c>,
    /// Both are sockets, which have calls of their own, with less on the way.
    sockets: bool,
    /// Files' pages are lent to the output ([`lends`]).
    lends: bool,
}

impl Plain<'_> {
    fn read(&self, space: &mut [u8]) -> rustix::io::Result<usize> {
        match self.sockets {
            true => rustix::net::recv(self.input, space, RecvFlags::empty()).map(|(n, _)| n),
            false => rustix::io::read(self.input, space),
        }
    }

    fn write(&self, bytes: &[u8]) -> rustix::io::Result<usize> {
        match self.sockets {
            true => rustix::net::send(self.output, bytes, SendFlags::NOSIGNAL),
            false => rustix::io::write(self.output, bytes),
        }
    }
}

/// Whether sendfile(2) is the fastest way from a file to there: to sockets. Over TCP on one machine
/// only where nothing paces what is sent ([`spare_pacing`]); with the kernel's BBR it is three times
/// slower than copying.
fn lends(output: BorrowedFd<'_>) -> bool {
    match getpeername(output).ok().flatten() {
        Some(peer) if peer.address_family() == AddressFamily::UNIX => true,
        Some(peer) => !is_loopback(peer) || is_unpaced(output),
        // No socket.
        None => false,
    }
}

fn is_loopback(address: SocketAddrAny) -> bool {
    SocketAddr::try_from(address).is_ok_and(|address| address.ip().is_loopback())
}

fn is_unpaced(socket: BorrowedFd<'_>) -> bool {
    sockopt::tcp_congestion(socket).is_ok_and(|name| name == UNPACED || name == "cubic")
}

/// Has the plainest congestion control for connections that stay on this machine: there is no network
/// to be spared, and one that measures the way and holds bytes back by timers (BBR) finds nothing
/// there but its own delays. It is to be so before they are made: what has been paced once is paced
/// for ever. So it is done where one listens, and only where none come from elsewhere.
pub(crate) fn spare_pacing(listener: BorrowedFd<'_>) {
    if getsockname(listener).is_ok_and(is_loopback) {
        // Without it they are slower.
        let _ = sockopt::set_tcp_congestion(listener, UNPACED);
    }
}

/// Bytes of a file that are copied at a time.
const PIECE: usize = 64 << 10;
/// As good as for ever.
const LONG: Duration = Duration::from_secs(86_400);

impl<'c> Channel<'c> {
    /// Over a socket, or two pipes.
    pub(crate) fn plain(input: BorrowedFd<'c>, output: BorrowedFd<'c>) -> Channel<'c> {
        let sockets = [input, output].iter().all(|fd| sockopt::socket_type(fd).is_ok());
        Channel::Plain(Plain { input, output, sockets, lends: lends(output) })
    }

    /// Waits for input; false when the time ran out.
    pub(crate) fn wait(&self, patience: Option<Duration>) -> io::Result<bool> {
        match self {
            Channel::Plain(plain) => ready(plain.input, PollFlags::IN, patience),
            Channel::Wire(wire) => loop {
                let read = Ready { read: true, write: false };
                match wire.wait(read, patience.unwrap_or(LONG)) {
                    Ok(_) => return Ok(true),
                    Err(Errno::ETIMEDOUT) if patience.is_some() => return Ok(false),
                    Err(Errno::EINTR | Errno::ETIMEDOUT) => {}
                    Err(e) => return Err(io_error(e)),
                }
            },
        }
    }

    /// Bytes that have come, 0 at the end; `None` when there are none yet.
    pub(crate) fn receive(&self, space: &mut [u8]) -> io::Result<Option<usize>> {
        let received = match self {
            Channel::Plain(plain) => plain.read(space).map_err(io::Error::from),
            Channel::Wire(wire) => wire.recv(space).map_err(io_error),
        };
        match received {
            Ok(n) => Ok(Some(n)),
            Err(e) if is_passing(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Has [`Channel::receive`] itself wait for so long and no longer: a call
    /// less for each request. False where it cannot.
    pub(crate) fn limit(&self, patience: Duration) -> bool {
        match self {
            Channel::Plain(plain) => {
                sockopt::set_socket_timeout(plain.input, sockopt::Timeout::Recv, Some(patience))
                    .is_ok()
            }
            Channel::Wire(_) => false,
        }
    }

    /// Sends all of `out`, which is then empty.
    pub(crate) fn send(&self, out: &mut Vec<u8>) -> io::Result<()> {
        self.send_both(out, &[])
    }

    /// The same, and bytes behind it.
    pub(crate) fn send_both(&self, out: &mut Vec<u8>, more: &[u8]) -> io::Result<()> {
        self.pass_on(out, more)?;
        while let Channel::Wire(wire) = self {
            if !wire.is_unsent() {
                break;
            }
            self.wait_to_send()?;
            wire.flush().map_err(io_error)?;
        }
        Ok(())
    }

    /// The same, when more follows: a wire may still hold the last of it.
    fn pass_on(&self, out: &mut Vec<u8>, more: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        while sent < out.len() + more.len() {
            let parts = match sent.checked_sub(out.len()) {
                Some(n) => [&[][..], &more[n..]],
                None => [&out[sent..], more],
            };
            let done = match self {
                Channel::Plain(plain) if more.is_empty() => {
                    plain.write(parts[0]).map_err(io::Error::from)
                }
                Channel::Plain(plain) => {
                    let parts = parts.map(IoSlice::new);
                    rustix::io::writev(plain.output, &parts).map_err(io::Error::from)
                }
                Channel::Wire(wire) => wire.send(&parts).map_err(io_error),
            };
            match done {
                Ok(n) => sent += n,
                Err(e) => self.overcome(e)?,
            }
        }
        out.clear();
        Ok(())
    }

    /// Sends all of `out`, and `n` bytes of a file that are there.
    ///
    /// # Errors
    /// Also when the file has fewer, and its size says otherwise: the client
    /// would take what follows for contents.
    pub(crate) fn send_file(
        &self,
        out: &mut Vec<u8>,
        from: BorrowedFd<'_>,
        mut offset: u64,
        n: usize,
    ) -> io::Result<()> {
        let Channel::Plain(Plain { output, lends: true, .. }) = self else {
            return self.send_copy(out, from, offset, n);
        };
        // Small replies do not travel by themselves.
        match rustix::net::send(*output, out, SendFlags::MORE) {
            Ok(sent) => drop(out.drain(..sent)),
            // No room.
            Err(_) => return self.send_copy(out, from, offset, n),
        }
        if !out.is_empty() {
            return self.send_copy(out, from, offset, n);
        }
        let end = offset + n as u64;
        while offset < end {
            let left = (end - offset) as usize;
            match rustix::fs::sendfile(output, from, Some(&mut offset), left) {
                Ok(0) => return self.send_copy(out, from, offset, left),
                Ok(_) => {}
                // Not from this file system, or not to this kind of output.
                Err(Failure::INVAL | Failure::NOSYS) => {
                    return self.send_copy(out, from, offset, left);
                }
                Err(e) => self.overcome(e.into())?,
            }
        }
        Ok(())
    }

    /// The same through memory, piece by piece, so that what was read is still in the processor's
    /// cache when it is sent, or sealed. A file that has been cut in the meantime ends in zeros: it is
    /// what a reader may see that is overtaken by ftruncate(2).
    fn send_copy(
        &self,
        out: &mut Vec<u8>,
        from: BorrowedFd<'_>,
        mut offset: u64,
        n: usize,
    ) -> io::Result<()> {
        let mut bytes = vec![0; n.min(PIECE)];
        let end = offset + n as u64;
        while offset < end {
            let piece = ((end - offset) as usize).min(PIECE);
            let piece = &mut bytes[..piece];
            let done = read_full(from, piece, offset)?;
            if done < piece.len() {
                let size = rustix::fs::fstat(from)?.st_size as u64;
                if offset + piece.len() as u64 <= size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                piece[done..].fill(0);
            }
            self.pass_on(out, piece)?;
            offset += piece.len() as u64;
        }
        self.send(out)
    }

    /// Waits where waiting helps.
    fn overcome(&self, e: io::Error) -> io::Result<()> {
        match e.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::WouldBlock => self.wait_to_send(),
            _ => Err(e),
        }
    }

    fn wait_to_send(&self) -> io::Result<()> {
        let output = match self {
            Channel::Plain(plain) => plain.output,
            Channel::Wire(wire) => wire.ends().1,
        };
        ready(output, PollFlags::OUT, None).map(|_| ())
    }
}

/// Reads until `space` is full, or the file ends; how much that is.
fn read_full(from: BorrowedFd<'_>, space: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < space.len() {
        match rustix::io::pread(from, &mut space[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(more) => done += more,
            Err(Failure::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(done)
}

fn is_passing(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

/// Waits for `flags` on `fd`; false when the time ran out.
fn ready(fd: BorrowedFd<'_>, flags: PollFlags, timeout: Option<Duration>) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
    let timeout =
        timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos().into() });
    loop {
        match poll(&mut fds, timeout.as_ref()) {
            Ok(n) => return Ok(n > 0),
            Err(Failure::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    #[test]
    fn nothing_is_paced_that_stays_on_this_machine() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        spare_pacing(listener.as_fd());
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        assert_eq!(sockopt::tcp_congestion(&server).unwrap(), UNPACED);
        assert!(lends(server.as_fd()));
        let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
        let before = sockopt::tcp_congestion(&everywhere).unwrap();
        spare_pacing(everywhere.as_fd());
        assert_eq!(sockopt::tcp_congestion(&everywhere).unwrap(), before);
    }

    #[test]
    fn pipes_are_lent_nothing() {
        let (_read, write) = std::io::pipe().unwrap();
        assert!(!lends(write.as_fd()));
    }
}
