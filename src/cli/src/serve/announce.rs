//! Being found in directories of servers for as long as we serve.

use super::listen::Bound;
use crate::failure::Failure;
use privns_ninep::address::Address;
use privns_servers::auth::Auth;
use privns_servers::registry::{Announced, Kind};
use privns_servers::serve::Listener;
use std::time::{Duration, Instant};

/// How long a name may still be held by the server that had it before.
const TAKEN: Duration = Duration::from_secs(3);
/// How often a registry that has gone is looked for.
const AGAIN: Duration = Duration::from_secs(2);

/// Announces what is served under each of `names`, and goes on doing so on a
/// thread of its own, which ends with the process: so does the entry.
///
/// # Errors
/// What keeps one of them from being announced now.
pub(super) fn start(names: &[Address], bound: &[Bound], auth: Auth) -> Result<(), Failure> {
    if names.is_empty() {
        return Ok(());
    }
    let (address, kind) = entry(bound, auth)?;
    for name in names {
        let first = first(name, &address, kind)?;
        let (name, address) = (name.clone(), address.clone());
        std::thread::spawn(move || keep(first, &name, &address, kind));
    }
    Ok(())
}

fn first(name: &Address, address: &Address, kind: Kind) -> Result<Announced, Failure> {
    let began = Instant::now();
    loop {
        match Announced::new(name, address, kind) {
            Ok(announced) => return Ok(announced),
            Err(_) if began.elapsed() < TAKEN => std::thread::sleep(TAKEN / 10),
            Err(e) => return Err(Failure::new("--announce", e.to_string())),
        }
    }
}

/// Waits for the end of the registry's connection, and makes another one.
fn keep(mut announced: Announced, name: &Address, address: &Address, kind: Kind) {
    loop {
        announced.outlive();
        drop(announced);
        announced = loop {
            std::thread::sleep(AGAIN);
            if let Ok(again) = Announced::new(name, address, kind) {
                break again;
            }
        };
    }
}

/// The address that others dial, and what they have to show.
fn entry(bound: &[Bound], auth: Auth) -> Result<(Address, Kind), Failure> {
    let far = |b: &&Bound| !matches!(b.listener, Listener::Unix(_));
    let one = bound.iter().find(far).or(bound.first());
    let one = one.ok_or_else(|| Failure::new("--announce", "there is no address to announce"))?;
    let kind = match (&one.listener, auth) {
        (Listener::Tls(..), _) => Kind::Tls,
        (_, Auth::None) => Kind::None,
        (_, Auth::Munge) => Kind::Munge,
        (_, Auth::Uid | Auth::Tls | Auth::Word(_)) => Kind::Uid,
    };
    let named = |host: &[u8]| match host {
        b"*" | b"0.0.0.0" | b"::" => rustix::system::uname().nodename().to_bytes().to_vec(),
        host => host.to_vec(),
    };
    let address = match &one.address {
        Address::Tcp { host, port } => Address::Tcp { host: named(host), port: *port },
        Address::Tls { host, port } => Address::Tls { host: named(host), port: *port },
        other => other.clone(),
    };
    Ok((address, kind))
}
