//! Reaching the server that is relayed.

use crate::wire::Wire;
use privns_abi::Result;
use privns_ninep::address::Address;
use privns_ninep::client::{Client, Options, Ready, Transport};
use privns_ninep::dialect::{Agreed, OFFERS};
use privns_ninep::hosted::{Shared, Stream};
use privns_ninep::{Dialect, MSIZE_MAX};
use std::time::Duration;

/// How a server is reached.
#[derive(Clone, Debug)]
pub struct Route {
    /// Where it is.
    pub address: Address,
    /// Message size to ask for, bytes.
    pub msize: u32,
    /// The only dialect to offer; `None`: the best that it has.
    pub dialect: Option<Dialect>,
    /// How long dialling may take.
    pub timeout: Duration,
}

/// A connection to the server, on which a dialect has been agreed.
pub struct Upstream {
    pub(super) wire: Box<dyn Wire>,
    pub(super) agreed: Agreed,
}

impl Route {
    /// The usual way to `address`.
    #[must_use]
    pub const fn to(address: Address) -> Route {
        let timeout = Duration::from_secs(30);
        Route { address, msize: MSIZE_MAX, dialect: None, timeout }
    }

    /// Dials, and agrees on a dialect.
    ///
    /// # Errors
    /// Those of connect(2) and of starting a command; EPROTONOSUPPORT when
    /// there is no dialect in common, EPROTO for a server that does not speak
    /// 9P, ETIMEDOUT, ECONNRESET.
    pub fn dial(&self) -> Result<Upstream> {
        let wire: Box<dyn Wire> = Box::new(Stream::dial(&self.address)?);
        let only;
        let offers: &[&[u8]] = match self.dialect {
            None => &OFFERS,
            Some(Dialect::Linux) => &OFFERS[..2],
            Some(dialect) => {
                only = [dialect.version()];
                &only
            }
        };
        let options =
            Options { msize: self.msize, offers, timeout: self.timeout, ..Options::default() };
        let agreed = Client::start(Lent(&*wire), &options, Shared::new)?.agreed();
        Ok(Upstream { wire, agreed })
    }
}

impl Upstream {
    /// What was agreed on with the server.
    #[must_use]
    pub const fn agreed(&self) -> Agreed {
        self.agreed
    }
}

/// A wire lent to a client for as long as it takes to agree on a dialect.
struct Lent<'w>(&'w dyn Wire);

impl Transport for Lent<'_> {
    fn send(&self, parts: &[&[u8]]) -> Result<usize> {
        self.0.send(parts)
    }
    fn recv(&self, buf: &mut [u8]) -> Result<usize> {
        self.0.recv(buf)
    }
    fn wait(&self, want: Ready, timeout: Duration) -> Result<Ready> {
        self.0.wait(want, timeout)
    }
    fn now(&self) -> Duration {
        self.0.now()
    }
}
