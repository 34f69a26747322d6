//! Streams of bytes that an event loop can wait for beside others.

use privns_abi::Result;
use privns_ninep::client::Transport;
use privns_ninep::hosted::Stream;
use std::os::fd::BorrowedFd;

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
}

impl Wire for Stream {
    fn ends(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        Stream::ends(self)
    }
}
