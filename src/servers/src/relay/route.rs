//! Reaching the server that is relayed.

use super::proof::Credential;
use crate::munge;
use crate::tls::Tls;
use crate::tls::keys::{self, ClientKey};
use crate::wire::{Wire, io_error};
use privns_abi::Result;
use privns_ninep::address::Address;
use privns_ninep::client::{Client, Options, Ready, Transport};
use privns_ninep::dialect::{Agreed, OFFERS};
use privns_ninep::hosted::{Shared, Stream, connect};
use privns_ninep::{Dialect, MSIZE_MAX};
use std::io;
use std::path::PathBuf;
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
    /// The server wants a credential of MUNGE from whoever attaches.
    pub munge: bool,
    /// The directory of keys for TLS; `None`: the user's.
    pub keys: Option<PathBuf>,
}

/// A connection to the server, on which a dialect has been agreed.
pub struct Upstream {
    pub(super) wire: Box<dyn Wire>,
    pub(super) agreed: Agreed,
    pub(super) credential: Option<Credential>,
}

impl Route {
    /// The usual way to `address`.
    #[must_use]
    pub const fn to(address: Address) -> Route {
        let timeout = Duration::from_secs(30);
        Route { address, msize: MSIZE_MAX, dialect: None, timeout, munge: false, keys: None }
    }

    /// Dials, and agrees on a dialect.
    ///
    /// # Errors
    /// In words when there is no MUNGE, when one end of TLS does not take the other's key, or there is
    /// none; else those of connect(2) and of starting a command;
    /// EPROTONOSUPPORT when there is no dialect in common, EPROTO for a server
    /// that does not speak 9P, ETIMEDOUT, ECONNRESET.
    pub fn dial(&self) -> io::Result<Upstream> {
        let wire = self.connect()?;
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
        let started = Client::start(Lent(&*wire), &options, Shared::new);
        let agreed = match started {
            Ok(client) => client.agreed(),
            // With TLS 1.3 a client hears only now that it is not liked.
            Err(e) => {
                let said = wire.trouble().map(io::Error::other);
                return Err(said.unwrap_or_else(|| io_error(e)));
            }
        };
        let credential: Option<Credential> = self.munge.then_some(munge::credential);
        if let Some(make) = credential {
            // Better to hear now, and in words, that none can be made.
            make()?;
        }
        Ok(Upstream { wire, agreed, credential })
    }

    fn connect(&self) -> io::Result<Box<dyn Wire>> {
        let Address::Tls { host, port } = &self.address else {
            return Ok(Box::new(Stream::dial(&self.address).map_err(io_error)?));
        };
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let host = std::str::from_utf8(host).map_err(invalid)?;
        let key = match &self.keys {
            Some(dir) => ClientKey::find(dir, host)?,
            None => ClientKey::find(&keys::directory()?, host)?,
        };
        let socket = connect(host, *port, self.timeout)?;
        Ok(Box::new(Tls::connect(socket, &key, self.timeout)?))
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
