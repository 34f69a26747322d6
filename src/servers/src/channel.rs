//! What a connection's thread reads from and writes to.

use crate::wire::{Wire, io_error};
use privns_abi::Errno;
use privns_ninep::client::Ready;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno as Failure;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Both directions of a connection. Its thread waits as long as it likes.
pub(crate) enum Channel<'c> {
    /// A socket twice, or two pipes: input, output.
    Plain(BorrowedFd<'c>, BorrowedFd<'c>),
    /// Something that makes other bytes of them.
    Wire(&'c dyn Wire),
}

/// As good as for ever.
const LONG: Duration = Duration::from_secs(86_400);

impl Channel<'_> {
    /// Waits for input; false when the time ran out.
    pub(crate) fn wait(&self, patience: Option<Duration>) -> io::Result<bool> {
        match self {
            Channel::Plain(input, _) => ready(*input, PollFlags::IN, patience),
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
            Channel::Plain(input, _) => rustix::io::read(*input, space).map_err(io::Error::from),
            Channel::Wire(wire) => wire.recv(space).map_err(io_error),
        };
        match received {
            Ok(n) => Ok(Some(n)),
            Err(e) if is_passing(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Sends all of `out`, which is then empty.
    pub(crate) fn send(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let mut sent = 0;
        while sent < out.len() {
            let done = match self {
                Channel::Plain(_, output) => {
                    rustix::io::write(*output, &out[sent..]).map_err(io::Error::from)
                }
                Channel::Wire(wire) => wire.send(&[&out[sent..]]).map_err(io_error),
            };
            match done {
                Ok(n) => sent += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.wait_to_send()?,
                Err(e) => return Err(e),
            }
        }
        out.clear();
        while let Channel::Wire(wire) = self {
            if !wire.is_unsent() {
                break;
            }
            self.wait_to_send()?;
            wire.flush().map_err(io_error)?;
        }
        Ok(())
    }

    fn wait_to_send(&self) -> io::Result<()> {
        let output = match self {
            Channel::Plain(_, output) => *output,
            Channel::Wire(wire) => wire.ends().1,
        };
        ready(output, PollFlags::OUT, None).map(|_| ())
    }
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
