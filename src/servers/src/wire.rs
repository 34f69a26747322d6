//! Streams of bytes that an event loop can wait for beside others.

use privns_abi::{Errno, Result};
use privns_ninep::client::{Ready, Transport};
use privns_ninep::hosted::Stream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// A transport whose descriptors are known.
pub trait Wire: Transport + Send {
    /// What bytes come in by, and what they go out by: for poll(2).
    fn ends(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>);

    /// True while bytes that were taken by `send` have not gone out.
    fn is_unsent(&self) -> bool {
        false
    }

    /// Lets such bytes go out, as far as they do at once.
    ///
    /// # Errors
    /// When the connection is broken.
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// In words, why it failed, where more is known than a number.
    fn trouble(&self) -> Option<String> {
        None
    }
}

impl Transport for Box<dyn Wire> {
    fn send(&self, parts: &[&[u8]]) -> Result<usize> {
        (**self).send(parts)
    }

    fn recv(&self, buf: &mut [u8]) -> Result<usize> {
        (**self).recv(buf)
    }

    fn wait(&self, want: Ready, timeout: Duration) -> Result<Ready> {
        (**self).wait(want, timeout)
    }

    fn now(&self) -> Duration {
        (**self).now()
    }
}

impl Wire for Stream {
    fn ends(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        Stream::ends(self)
    }
}

/// Waits for one descriptor; a hang-up counts as ready.
pub(crate) fn wait(fd: impl AsFd, want: Ready, timeout: Duration) -> Result<Ready> {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, want.read);
    flags.set(PollFlags::OUT, want.write);
    let mut fds = [PollFd::new(&fd, flags)];
    // A day at most: the kernel's clock takes no Duration::MAX.
    let limit = timeout.min(Duration::from_secs(86_400));
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
    match poll(&mut fds, Some(&limit)) {
        Ok(0) => Err(Errno::ETIMEDOUT),
        Ok(_) => {
            let said = fds[0].revents();
            let gone = said.intersects(PollFlags::HUP | PollFlags::ERR);
            let read = gone || said.contains(PollFlags::IN);
            Ok(Ready { read, write: gone || said.contains(PollFlags::OUT) })
        }
        Err(e) => Err(Errno(e.raw_os_error())),
    }
}

/// The same failure for those who speak the standard library's language.
pub(crate) fn io_error(e: Errno) -> std::io::Error {
    std::io::Error::from_raw_os_error(e.0)
}
