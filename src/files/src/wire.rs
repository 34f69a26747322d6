//! What a 9P client inside somebody else's program stands on: a socket and a
//! lock of ours, by system calls alone.
//!
//! Whoever calls a [`Wire`] does so within [`signals::calmly`], from before the
//! first lock or role of the operation to behind the last: no handler of the
//! program then runs in the middle of it, and a wait that a signal is to end
//! ends with EINTR.
//! Without one nothing breaks but that: handlers run inside the waits, and one
//! that calls us waits for the roles that its own thread holds, until the
//! request's time is over.

use alloc::boxed::Box;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use once_cell::race::OnceBox;
use privns_abi::{Errno, Result};
use privns_host::futex::{self, News};
use privns_host::net::{Endpoint, Ready, Socket, now};
use privns_host::{reach, signals};
use privns_namespace::traffic::{Tally, Traffic};
use privns_ninep::address::Address;
use privns_ninep::client::{self, Client, Monitor, Options, State, Transport};

/// A client over a socket.
pub type Wire = Client<Link, Gate>;

/// A socket as the client sees it.
#[derive(Debug)]
pub struct Link(Socket);

/// The client's state under a lock of ours.
#[derive(Debug)]
pub struct Gate {
    inner: futex::Monitor<State>,
    tally: OnceBox<Tally>,
}

impl Gate {
    /// Counts what the connection does for the family, from its beginning.
    pub fn count(&self, tally: Tally) {
        let _ = self.tally.set(Box::new(tally));
    }
}

/// Connects and agrees on a dialect. `address` is `unix!PATH`, or `tcp!` with
/// a number for the host (`fe80::1%2`: with the number of the interface).
///
/// # Errors
/// Those of connect(2) and of [`Client::start`]; EOPNOTSUPP for an address
/// that cannot be dialled from here.
pub fn dial(address: &[u8], options: &Options<'_>) -> Result<Wire> {
    let address = Address::parse(address)?;
    let _calm = signals::calm();
    let socket = Socket::dial(&endpoint(&address)?, options.timeout)?;
    start(socket, options)
}

/// Agrees on a dialect over a socket that is connected.
///
/// # Errors
/// Those of [`Client::start`].
pub fn start(socket: Socket, options: &Options<'_>) -> Result<Wire> {
    Client::start(Link(socket), options, |state| Gate {
        inner: futex::Monitor::new(state),
        tally: OnceBox::new(),
    })
}

fn endpoint(address: &Address) -> Result<Endpoint<'_>> {
    match address {
        Address::Unix(path) => Ok(Endpoint::Unix(path)),
        Address::Tcp { host, port } => {
            let text = core::str::from_utf8(host).map_err(|_| Errno::EOPNOTSUPP)?;
            if let Ok(ip) = text.parse::<Ipv4Addr>() {
                return Ok(Endpoint::V4(ip.octets(), *port));
            }
            let (ip, scope) = text.split_once('%').unwrap_or((text, "0"));
            let ip = ip.parse::<Ipv6Addr>().map_err(|_| Errno::EOPNOTSUPP)?;
            let scope = scope.parse().map_err(|_| Errno::EOPNOTSUPP)?;
            Ok(Endpoint::V6(ip.octets(), *port, scope))
        }
        _ => Err(Errno::EOPNOTSUPP),
    }
}

impl Link {
    /// The socket: its number, for those who protect it, and what becomes of
    /// it when a program wants that number ([`Socket::moved`]) or when
    /// the process has forked.
    ///
    /// In the child of a fork the connection is its parent's: the child closes
    /// the descriptor ([`Socket::close`]) and neither uses nor drops the
    /// client, whose lock and memory another thread may have been amid.
    #[must_use]
    pub const fn socket(&self) -> &Socket {
        &self.0
    }
}

/// What the kernel says of the program's memory is how it is.
fn known(done: Result<usize>) -> Result<usize> {
    if done == Err(Errno::EFAULT) {
        reach::forget();
    }
    done
}

impl Transport for Link {
    fn send(&self, parts: &[&[u8]]) -> Result<usize> {
        known(self.0.send(parts))
    }

    fn recv(&self, buf: &mut [u8]) -> Result<usize> {
        known(self.0.recv(buf))
    }

    fn recv_waiting(&self, buf: &mut [u8], timeout: Duration) -> Result<usize> {
        known(self.0.recv_waiting(buf, timeout))
    }

    fn recv_much(&self, buf: &mut [u8], timeout: Duration) -> Result<usize> {
        known(self.0.recv_much(buf, timeout))
    }

    fn wait(&self, want: client::Ready, timeout: Duration) -> Result<client::Ready> {
        let ready = self.0.wait(Ready { read: want.read, write: want.write }, timeout)?;
        Ok(client::Ready { read: ready.read, write: ready.write })
    }

    fn now(&self) -> Duration {
        now()
    }

    fn reaches(&self, room: &[u8]) -> usize {
        reach::writable(room)
    }
}

impl Monitor<State> for Gate {
    fn enter<R>(
        &self,
        timeout: Duration,
        about: u32,
        f: impl FnMut(&mut State) -> Option<R>,
    ) -> Result<R> {
        // No handler on a thread that has the lock, whatever the caller does.
        let _calm = (!signals::is_calm()).then(signals::calm);
        let tally = self.tally.get();
        self.inner.enter(timeout, about, f, |state| {
            if let Some(tally) = tally
                && let Some(counts) = state.take_counts()
            {
                let counters = tally.counters();
                counters.add(Traffic::Requests, counts.requests);
                counters.add(Traffic::RoundTrips, counts.round_trips);
                counters.add(Traffic::Sent, counts.sent);
                counters.add(Traffic::Received, counts.received);
            }
            let client::News { all, one } = state.take_news();
            News { all, one }
        })
    }
}
