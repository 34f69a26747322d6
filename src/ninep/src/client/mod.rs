//! The client: one connection, many callers, no thread of its own.
//!
//! A caller sends its request itself and then waits; one of those who wait
//! reads for all (Plan 9's mntgate). The parts:
//!
//! - this file: what the client needs from outside, and the connection's state
//! - [`io`](self): reading, waiting, giving up
//! - `send`: sending
//! - `ops`: the operations, in the form of 9P2000.L
//! - `walk`: the way to a file
//! - `at`: operations on names, in one round trip where that can be
//! - `many`: attributes of a whole listing
//! - `near`: attaching to a tree that may be at hand
//! - `whereabouts`: where a file is that was walked to
//! - `behind`, [`window`]: writing behind, reading ahead
//! - `state`: what callers share
//! - `old`: the same operations in 9P2000 and 9P2000.u
//! - `start`: agreeing on a dialect, attaching
//!
//! What servers do that no manual says, and where it is met:
//!
//! | server | what | where |
//! |---|---|---|
//! | diod, ganesha, unpfs | an unknown version gets an error, or `unknown` | `start` |
//! | u9fs, aio9p | an extension is stripped: 9P2000 is said to an offer of .L | `start` |
//! | ganesha | errors of type 107 with a number in .L | `io::error_of` |
//! | ganesha | crashes on large reads | `start`, `FRAGILE` |
//! | ganesha | no fid from 1024 on; reads no count that is too small | [`crate::pool`], `ops` |
//! | ganesha | a walk tells the last qid for each of its names | `walk`, `Client::blurs` |
//! | diod | a short walk leaves the new fid bound | `walk::walked` |
//! | diod, unpfs | requests sent together are answered out of order | `ops::open_at` |
//! | diod, unpfs, ganesha | leave their export on `..` or `/` | `walk` refuses them |
//! | unpfs | listings longer than asked | bounded by the frame alone |
//! | all | directory cookies are no positions | passed through |
//!
//! Two *roles* are handed round under the monitor: the writer's (`writing`),
//! so that frames do not mix, and the reader's (holding the `framer`). A
//! writer that finds the socket full takes the reader's role too if it is
//! free: a server that cannot get rid of its replies stops reading requests,
//! and two peers that only write would wait for each other for ever.

mod at;
mod behind;
mod data;
mod handoff;
mod holes;
mod io;
mod locks;
mod many;
mod near;
mod old;
mod ops;
mod send;
mod start;
mod state;
mod walk;
mod whereabouts;
pub mod window;
mod xattrs;

pub use holes::Next;
pub use io::Pending;
pub use locks::{FLOCK, Lock, LockStatus};
pub use near::{Asked, Attached};
pub use old::flags;
pub use ops::{CREATED_XATTR, DirEntry, HANDOFF_ANAME, HANDOFF_XATTR, Opened};
pub use state::State;
pub use walk::{By, Route};
pub use whereabouts::PATH_XATTR;

use crate::dialect::Agreed;
use crate::{Errno, MSIZE_MAX, Result};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

/// What a connection waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ready {
    /// Bytes can be received, or the peer is gone.
    pub read: bool,
    /// Bytes can be sent.
    pub write: bool,
}

/// A two-way stream of bytes that does not block.
pub trait Transport {
    /// Sends from the parts, in order, as much as goes at once. Bytes sent.
    ///
    /// # Errors
    /// EAGAIN when nothing goes at present; another number when the
    /// connection is broken.
    fn send(&self, parts: &[&[u8]]) -> Result<usize>;

    /// Receives what is there. Bytes received, 0 at the end of the stream.
    ///
    /// # Errors
    /// As [`Transport::send`].
    fn recv(&self, buf: &mut [u8]) -> Result<usize>;

    /// As [`Transport::recv`], but waits for something to come. A transport
    /// may do both in one step.
    ///
    /// # Errors
    /// As [`Transport::recv`] and [`Transport::wait`].
    fn recv_waiting(&self, buf: &mut [u8], timeout: Duration) -> Result<usize> {
        self.wait(Ready { read: true, write: false }, timeout)?;
        self.recv(buf)
    }

    /// As [`Transport::recv_waiting`], of bytes all of which are on their way:
    /// a transport that can waits for as many of them as it likes.
    ///
    /// # Errors
    /// As [`Transport::recv_waiting`].
    fn recv_much(&self, buf: &mut [u8], timeout: Duration) -> Result<usize> {
        self.recv_waiting(buf, timeout)
    }

    /// Waits until one of the wanted things is possible; which are.
    ///
    /// # Errors
    /// EINTR when a signal was caught, ETIMEDOUT after `timeout`.
    fn wait(&self, want: Ready, timeout: Duration) -> Result<Ready>;

    /// Time since some beginning, never going back.
    fn now(&self) -> Duration;

    /// How many bytes of a caller's buffer, from its beginning, can be written to.
    /// Where it is memory of somebody else's, what is given here and what
    /// [`Transport::recv`] says EFAULT to is all that is known of it.
    fn reaches(&self, room: &[u8]) -> usize {
        room.len()
    }
}

/// State that several callers share, and the place where they sleep.
pub trait Monitor<S> {
    /// Runs `f` alone on the state until it gives a value: at once, and again
    /// at least whenever another caller's `enter` has left [`News`] of one of
    /// the bits of `about`. `f` neither blocks nor enters again.
    ///
    /// # Errors
    /// EINTR when a signal was caught in the meantime, ETIMEDOUT after
    /// `timeout`. Never when `f` gives a value the first time.
    fn enter<R>(
        &self,
        timeout: Duration,
        about: u32,
        f: impl FnMut(&mut S) -> Option<R>,
    ) -> Result<R>;
}

/// What a visit to the state has changed, for a monitor that wakes up only
/// those whom it concerns ([`State::take_news`]). A monitor that wakes all of
/// them, always, is right too.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct News {
    /// All who sleep about one of these are to be woken.
    pub all: u32,
    /// One of those who sleep about these.
    pub one: u32,
}

/// What callers sleep about.
mod about {
    /// The reader's role is free.
    pub(super) const READER: u32 = 1 << 28;
    /// The writer's role is free.
    pub(super) const WRITER: u32 = 1 << 29;
    /// There are tags again.
    pub(super) const TAGS: u32 = 1 << 30;
    /// Everything: the connection has failed.
    pub(super) const ALL: u32 = u32::MAX;
    // A request has ended: the groups of `crate::mux::group`, below these.
}

/// How a connection is to be used.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Message size to ask for, bytes.
    pub msize: u32,
    /// Version strings to try, best first; see [`crate::dialect::OFFERS`].
    pub offers: &'a [&'a [u8]],
    /// How long one request may take.
    pub timeout: Duration,
    /// How long an interrupted request waits for the answer to its flush.
    /// Within it the caller learns what became of its request; a server that
    /// hangs does not hold a caller longer than this.
    pub grace: Duration,
    /// How much is under way at once of a file that is read or written from
    /// one end to the other.
    pub window: window::Window,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            msize: MSIZE_MAX,
            offers: &crate::dialect::OFFERS,
            timeout: Duration::from_secs(30),
            grace: Duration::from_millis(200),
            window: window::Window::default(),
        }
    }
}

/// A fid of this connection. It is not copied, so that it cannot be used
/// after [`Client::clunk`]; it is not clunked on drop either, since it may
/// outlive its connection.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "a fid that is not clunked stays open on the server"]
pub struct Fid(u32);

impl Fid {
    /// The number on the wire.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.0
    }
}

/// What to do with the reply to a request that nobody waits for any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Late {
    Nothing,
    /// If it succeeded it made this fid, which nobody will use.
    Clunk(u32),
    /// Whatever it says, this number is free now.
    Release(u32),
    /// It is a write of so many bytes that was sent ahead of its answer.
    Written {
        /// To this fid.
        fid: u32,
        /// Bytes.
        count: u32,
    },
}

/// What `ns stat` shows of a mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Requests sent.
    pub requests: u64,
    /// Times that a caller sent something and waited for the answer.
    pub round_trips: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Fids in use.
    pub fids: u32,
    /// Requests in flight.
    pub in_flight: u32,
}

/// A connection to a 9P server.
#[derive(Debug)]
pub struct Client<T, M> {
    transport: T,
    monitor: M,
    agreed: Agreed,
    /// Largest payload of one message, bytes.
    largest: u32,
    timeout: Duration,
    grace: Duration,
    window: window::Window,
    /// How long the server takes for the least of requests.
    delay: Duration,
    /// No other connection of this process has it.
    serial: u64,
    /// What [`State`] says of its failure, for those who want to know just that.
    dead: AtomicBool,
    /// The server tells of a walk only where it ends.
    blurs: AtomicBool,
}

impl<T: Transport, M: Monitor<State>> Client<T, M> {
    /// What the bytes go through.
    pub const fn transport(&self) -> &T {
        &self.transport
    }

    /// What the callers sleep in.
    pub const fn monitor(&self) -> &M {
        &self.monitor
    }

    /// What was agreed on with the server.
    pub const fn agreed(&self) -> Agreed {
        self.agreed
    }

    /// Largest payload of one read or write, bytes; that of a file may be less.
    pub const fn largest_payload(&self) -> u32 {
        self.largest
    }

    /// Why the connection is of no use any more, if it is not: EIO, or
    /// ETIMEDOUT for a server that has fallen silent.
    pub fn failure(&self) -> Option<Errno> {
        self.with(|s| s.mux.failure())
    }

    /// How the server answers: what windows are made by.
    pub(super) const fn timing(&self) -> Duration {
        self.delay
    }

    /// The counters as they stand.
    pub fn counters(&self) -> Counters {
        self.with(|s| Counters { fids: s.fids.taken(), in_flight: s.mux.in_flight(), ..s.counters })
    }

    /// Runs `f` on the state without waiting for anything.
    fn with<R>(&self, mut f: impl FnMut(&mut State) -> R) -> R {
        loop {
            // A value at the first time: no error can come of it.
            if let Ok(r) = self.look(Duration::MAX, 0, |s| Some(f(s))) {
                return r;
            }
        }
    }

    /// As [`Monitor::enter`]; what has become of the connection is noted.
    fn look<R>(
        &self,
        timeout: Duration,
        about: u32,
        mut f: impl FnMut(&mut State) -> Option<R>,
    ) -> Result<R> {
        self.monitor.enter(timeout, about, |s| {
            let done = f(s);
            if s.mux.failure().is_some() {
                self.dead.store(true, Ordering::Release);
            }
            done
        })
    }
}
