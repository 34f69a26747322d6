//! The 9P servers of a namespace: from the address that was given to one that
//! programs can dial.

use crate::failure::{Failure, shown};
use crate::world::{User, of_io};
use privns_host::Kernel;
use privns_namespace::Server;
use privns_ninep::address::Address;
use std::net::{IpAddr, ToSocketAddrs};

/// Fills in what programs dial for a server's address, and whom they attach as.
///
/// # Errors
/// A host that has no number; a transport that programs cannot dial.
pub fn reach(server: &mut Server) -> Result<(), Failure> {
    let what = || format!("mount {}", shown(&server.address));
    let parse = |text: &[u8]| Address::parse(text).map_err(|e| Failure::new(what(), e));
    let dial = match parse(&server.dial)? {
        address @ Address::Unix(_) => address,
        Address::Tcp { host, port } => {
            let number = number(&host).map_err(|why| Failure::new(what(), why))?;
            Address::Tcp { host: number.to_string().into_bytes(), port }
        }
        _ => {
            let failure = Failure::new(what(), "this transport cannot be mounted yet");
            return Err(failure.fix("use tcp!HOST!PORT or unix!PATH"));
        }
    };
    server.dial = dial.to_bytes();
    server.user = match &server.options.uname {
        Some(name) => name.clone(),
        None => user(),
    };
    Ok(())
}

/// The name of the user that runs us; the number, where there is no name.
fn user() -> Vec<u8> {
    User::own().map_or_else(|| Kernel.geteuid().to_string().into_bytes(), |user| user.name)
}

/// The first of a host's numbers.
fn number(host: &[u8]) -> Result<IpAddr, String> {
    let name = std::str::from_utf8(host).map_err(|_| "not a host's name")?;
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let found = (name, 0).to_socket_addrs().map_err(|e| match e.raw_os_error() {
        Some(_) => of_io(&e).to_string(),
        None => e.to_string(),
    })?;
    let first = { found }.next();
    Ok(first.ok_or("the host has no number")?.ip())
}
