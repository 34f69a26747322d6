//! The directory of servers: a memory tree in which each server that is to be
//! found by name has a file that says where it is and how one proves there who
//! one is, `tcp!HOST!PORT munge`.
//!
//! An entry lives as long as the connection on which it was announced: its
//! file is created to be removed on close (ORCLOSE of open(5)), so that the
//! registry itself needs to know nothing of servers, and keepalives of TCP end
//! the connection of a host that has gone without a word. Entries that somebody
//! writes by hand stay.

use crate::munge;
use crate::tls::Tls;
use crate::tls::keys::{self, ClientKey};
use crate::wire::Wire;
use privns_abi::Errno;
use privns_ninep::address::Address;
use privns_ninep::client::{Client, Options, Ready, State, Transport};
use privns_ninep::hosted::{Shared, Stream, connect};
use privns_ninep::message::{
    Body, Rattach, Rauth, Rcreate, Rerror, Rversion, Rwalk, Rwrite, Tattach, Tauth, Tcreate,
    Tversion, Twalk, Twrite, split,
};
use privns_ninep::name::Name;
use privns_ninep::wire::{Data, Few, Reader, Unix};
use privns_ninep::{Dialect, HEADER, NOFID, NOTAG, error};
use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long a registry may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Names that lead to names: so many and no more.
const HOPS: usize = 8;
/// No entry is longer, bytes.
const LONGEST: usize = 1024;

/// How one proves to a server who one is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Not at all.
    None,
    /// The kernel tells.
    Uid,
    /// By a key.
    Tls,
    /// By a credential of MUNGE.
    Munge,
}

/// The kinds by their names.
const KINDS: [(&str, Kind); 4] =
    [("none", Kind::None), ("uid", Kind::Uid), ("tls", Kind::Tls), ("munge", Kind::Munge)];

impl Kind {
    /// Its name in an entry.
    #[must_use]
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, k)| *k == self).map_or("", |(name, _)| name)
    }
}

/// What the directory of servers says of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where it is: never a name in a directory again.
    pub address: Address,
    /// What it wants.
    pub kind: Kind,
}

fn said(what: &Address, why: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{what}: {why}"))
}

/// Reads an entry: an address, and a kind where that does not follow from it.
fn parse(text: &[u8]) -> Option<(Address, Kind)> {
    let line = text.split(|b| *b == b'\n').next()?;
    let mut words = line.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
    let address = Address::parse(words.next()?).ok()?;
    let kind = match words.next() {
        Some(word) => KINDS.iter().find(|(name, _)| name.as_bytes() == word)?.1,
        None if matches!(address, Address::Tls { .. }) => Kind::Tls,
        None => Kind::Uid,
    };
    let address = match (address, kind) {
        // What wants a key is never dialled without.
        (Address::Tcp { host, port }, Kind::Tls) => Address::Tls { host, port },
        (Address::Tls { .. }, Kind::None | Kind::Uid | Kind::Munge) => return None,
        (address, _) => address,
    };
    // A directory cannot have others run commands, or make trees of their own.
    let reached = matches!(
        address,
        Address::Tcp { .. } | Address::Tls { .. } | Address::Unix(_) | Address::Directory { .. }
    );
    (reached && words.next().is_none()).then_some((address, kind))
}

/// Follows a name in a directory of servers, `@[tls!]HOST[!PORT]/NAME`, to the
/// server. HOST may be several with commas between: the first that has the
/// name counts, as in a union.
///
/// # Errors
/// In words: no such registry or entry, an entry that is none, names that lead
/// round in a circle, no answer in time.
pub fn resolve(from: &Address) -> io::Result<Entry> {
    let deadline = Instant::now() + PATIENCE;
    let mut at = from.clone();
    let mut passed = Vec::new();
    loop {
        let Address::Directory { tls, host, port, name } = &at else {
            return Err(said(from, "no name in a directory of servers"));
        };
        if passed.contains(&at) || passed.len() == HOPS {
            return Err(said(from, "it leads from name to name for ever"));
        }
        let at_port = |host| Place { tls: *tls, host, port: *port };
        // Several hosts are asked in turn.
        let places = host.split(|b| *b == b',').map(at_port);
        let (address, kind) = look_up(from, places, name, deadline)?;
        if !matches!(address, Address::Directory { .. }) {
            return Ok(Entry { address, kind });
        }
        passed.push(std::mem::replace(&mut at, address));
    }
}

/// Where a registry is.
#[derive(Clone, Copy)]
struct Place<'a> {
    tls: bool,
    host: &'a [u8],
    port: u16,
}

/// A connection to a registry.
type Caller = Client<Box<dyn Wire>, Shared<State>>;

/// Asks the registries in turn: the first that has the name counts.
fn look_up<'a>(
    from: &Address,
    places: impl Iterator<Item = Place<'a>>,
    name: &[u8],
    deadline: Instant,
) -> io::Result<(Address, Kind)> {
    let mut why = Errno::EINVAL.to_string();
    for place in places {
        match read_entry(place, name, deadline) {
            Ok(text) => {
                return parse(&text).ok_or_else(|| said(from, "what stands there is no entry"));
            }
            Err(e) => why = e,
        }
    }
    Err(said(from, why))
}

fn read_entry(place: Place<'_>, name: &[u8], deadline: Instant) -> Result<Vec<u8>, String> {
    let left = || deadline.saturating_duration_since(Instant::now());
    let wire = place.dial(left())?;
    let options = Options { timeout: left(), msize: 8192, ..Options::default() };
    let client = Caller::start(wire, &options, Shared::new).map_err(|e| e.to_string())?;
    let text = read_text(&client, name).map_err(|e| e.to_string())?;
    if left().is_zero() { Err(Errno::ETIMEDOUT.to_string()) } else { Ok(text) }
}

fn read_text(client: &Caller, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let uid = rustix::process::geteuid().as_raw();
    let root = match client.attach(b"", uid, b"") {
        Ok((root, _)) => root,
        Err(Errno::EPERM) => prove(client, uid)?,
        Err(e) => return Err(e),
    };
    let names: Vec<&[u8]> = name.split(|b| *b == b'/').collect();
    let mut text = [0; LONGEST + 1];
    let (fid, _) = client.walk(&root, &names)?;
    let open = client.open(fid, 0).map_err(|(_, e)| e)?;
    let n = client.read(&open, 0, &mut text)?;
    if n > LONGEST { Err(Errno::EMSGSIZE) } else { Ok(text[..n].to_vec()) }
}

impl Place<'_> {
    /// Connects, and has the kernel watch over the connection. What fails is
    /// said in words.
    fn dial(self, left: Duration) -> Result<Box<dyn Wire>, String> {
        let host = std::str::from_utf8(self.host).map_err(|_| Errno::EINVAL.to_string())?;
        let timeout = left.max(Duration::from_millis(1));
        let number = |e: &io::Error| match e.raw_os_error() {
            Some(e) => Errno(e).to_string(),
            None if e.kind() == io::ErrorKind::TimedOut => Errno::ETIMEDOUT.to_string(),
            None => e.to_string(),
        };
        let key = match self.tls {
            true => {
                let found = keys::directory().and_then(|dir| ClientKey::find(&dir, host));
                Some(found.map_err(|e| e.to_string())?)
            }
            false => None,
        };
        let socket = connect(host, self.port, timeout).map_err(|e| number(&e))?;
        keep_alive(&socket).map_err(|e| number(&e))?;
        Ok(match key {
            Some(key) => Box::new(Tls::connect(socket, &key, timeout).map_err(|e| number(&e))?),
            None => Box::new(Stream::new(socket.into(), None).map_err(|e| e.to_string())?),
        })
    }
}

/// Attaches with a credential of MUNGE.
fn prove(client: &Caller, uid: u32) -> Result<privns_ninep::client::Fid, Errno> {
    let afid = client.auth(b"", uid, b"").map_err(|_| Errno::EPERM)?;
    let text = munge::credential().map_err(|_| Errno::EPERM)?;
    let open = privns_ninep::client::Opened {
        fid: afid,
        qid: Default::default(),
        iounit: LONGEST as u32 * 4,
        attr: None,
        first: None,
    };
    if client.write(&open, 0, &text)? != text.len() {
        return Err(Errno::EPERM);
    }
    let root = client.attach_proven(&open.fid, b"", uid, b"")?.0;
    client.clunk(open.fid);
    Ok(root)
}

/// An entry of ours, gone when this is dropped.
pub struct Announced {
    wire: Box<dyn Wire>,
}

impl Announced {
    /// Announces `address` under a name: `@[tls!]HOST[!PORT]/NAME`.
    ///
    /// # Errors
    /// In words: the name is taken, no such registry, not let in.
    pub fn new(at: &Address, address: &Address, kind: Kind) -> io::Result<Announced> {
        let Address::Directory { tls, host, port, name } = at else {
            return Err(said(at, "announced is @HOST/NAME"));
        };
        let name = match name.split(|b| *b == b'/').collect::<Vec<_>>()[..] {
            [name] => name,
            _ => return Err(said(at, "a name is one word, without '/'")),
        };
        let text = format!("{address} {}\n", kind.name());
        let place = Place { tls: *tls, host, port: *port };
        let wire = place.dial(PATIENCE).map_err(|e| said(at, e))?;
        let line = Line { wire: &*wire, deadline: wire.now() + PATIENCE };
        match line.enter(name, text.as_bytes()) {
            Ok(()) => Ok(Announced { wire }),
            Err(Errno::EEXIST) => Err(said(at, "another server has this name")),
            Err(e) => Err(said(at, e)),
        }
    }

    /// Returns when the registry has gone.
    pub fn outlive(&self) {
        let want = Ready { read: true, write: false };
        loop {
            // The registry has nothing to say: whatever comes is the end.
            match self.wire.wait(want, Duration::MAX) {
                Err(Errno::ETIMEDOUT | Errno::EINTR) => continue,
                Err(_) => return,
                Ok(_) if self.wire.recv(&mut [0; 64]) == Err(Errno::EAGAIN) => {}
                Ok(_) => return,
            }
        }
    }
}

/// Has the kernel find out within a minute that the other host is gone.
///
/// # Errors
/// setsockopt(2)'s.
pub fn keep_alive(socket: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt as option;
    option::set_socket_keepalive(socket, true)?;
    option::set_tcp_keepidle(socket, Duration::from_secs(20))?;
    option::set_tcp_keepintvl(socket, Duration::from_secs(10))?;
    option::set_tcp_keepcnt(socket, 3)?;
    Ok(())
}

/// Requests one after the other, in 9P2000.u: 9P2000.L has no file that goes
/// with whoever made it.
struct Line<'w> {
    wire: &'w dyn Wire,
    /// By the wire's clock.
    deadline: Duration,
}

/// Open to write (open(5)), and to be removed on close.
const WRITE_AND_REMOVE: u8 = 1 | 0x40;
/// Replies to what is asked here are short, bytes.
const REPLY: usize = 8192;

impl Line<'_> {
    /// Makes and fills the file, whose fid stays.
    fn enter(&self, name: &[u8], text: &[u8]) -> Result<(), Errno> {
        let version = Dialect::Unix.version();
        let reply = self.ask(&Tversion { msize: REPLY as u32, version }, Rversion::TYPE)?;
        let settled: Rversion<'_> = Reader::new(&reply, Dialect::Unix).get()?;
        if settled.version != version {
            return Err(Errno::EPROTONOSUPPORT);
        }
        let n_uname = Unix(rustix::process::geteuid().as_raw());
        let attach = Tattach { fid: 0, afid: NOFID, n_uname, ..Tattach::default() };
        match self.ask(&attach, Rattach::TYPE) {
            Err(Errno::EPERM) => {
                let auth = Tauth { afid: 1, n_uname, ..Tauth::default() };
                self.ask(&auth, Rauth::TYPE).map_err(|_| Errno::EPERM)?;
                let proof = munge::credential().map_err(|_| Errno::EPERM)?;
                self.write(1, &proof)?;
                self.ask(&Tattach { afid: 1, ..attach }, Rattach::TYPE)?;
            }
            attached => drop(attached?),
        }
        let walk = Twalk { fid: 0, newfid: 2, names: Few::default() };
        self.ask(&walk, Rwalk::TYPE)?;
        let create = Tcreate {
            fid: 2,
            name: Name::new(name),
            perm: 0o644,
            mode: WRITE_AND_REMOVE,
            extension: Unix(b""),
        };
        self.ask(&create, Rcreate::TYPE)?;
        self.write(2, text)
    }

    fn write(&self, fid: u32, text: &[u8]) -> Result<(), Errno> {
        let reply = self.ask(&Twrite { fid, offset: 0, data: Data(text) }, Rwrite::TYPE)?;
        let wrote: Rwrite = Reader::new(&reply, Dialect::Unix).get()?;
        if wrote.count as usize == text.len() { Ok(()) } else { Err(Errno::EIO) }
    }

    /// The body of the reply, which has to be of this type.
    fn ask<'b, B: Body<'b>>(&self, body: &B, wanted: u8) -> Result<Vec<u8>, Errno> {
        let tag = if B::TYPE == Tversion::TYPE { NOTAG } else { 0 };
        let mut frame = Vec::new();
        body.frame(tag, Dialect::Unix, 0, &mut frame)?;
        self.send(&frame)?;
        let mut head = [0; 4];
        self.receive(&mut head)?;
        let size = u32::from_le_bytes(head) as usize;
        if !(HEADER..=REPLY).contains(&size) {
            return Err(Errno::EPROTO);
        }
        let mut reply = vec![0; size];
        reply[..4].copy_from_slice(&head);
        self.receive(&mut reply[4..])?;
        let (kind, _, body) = split(&reply)?;
        match kind {
            Rerror::TYPE => {
                let said: Rerror<'_> = Reader::new(body, Dialect::Unix).get()?;
                Err(error::from_both(said.text, said.code.0))
            }
            _ if kind == wanted => Ok(body.to_vec()),
            _ => Err(Errno::EPROTO),
        }
    }

    fn wait(&self, read: bool) -> Result<(), Errno> {
        let left = self.deadline.saturating_sub(self.wire.now());
        match self.wire.wait(Ready { read, write: !read }, left) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn send(&self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            match self.wire.send(&[bytes]) {
                Ok(n) => bytes = &bytes[n..],
                Err(Errno::EAGAIN) => self.wait(false)?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn receive(&self, mut room: &mut [u8]) -> Result<(), Errno> {
        while !room.is_empty() {
            match self.wire.recv(room) {
                Ok(0) => return Err(Errno::ECONNRESET),
                Ok(n) => room = &mut room[n..],
                // Waiting sends what TLS still has.
                Err(Errno::EAGAIN) => self.wait(true)?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_rubbish() {
        let tcp = || Address::Tcp { host: b"h".to_vec(), port: 1 };
        assert_eq!(parse(b"tcp!h!1 munge\n"), Some((tcp(), Kind::Munge)));
        assert_eq!(parse(b"  tcp!h!1\nmore"), Some((tcp(), Kind::Uid)));
        let tls = Address::Tls { host: b"h".to_vec(), port: 1 };
        assert_eq!(parse(b"tcp!h!1 tls"), Some((tls.clone(), Kind::Tls)));
        assert_eq!(parse(b"tls!h!1"), Some((tls, Kind::Tls)));
        for bad in [
            &b""[..],
            b"\n",
            b"nonsense",
            b"tcp!h!1 what",
            b"tcp!h!1 none more",
            b"tls!h!1 none",
            b"exec!rm -rf /",
            b"exec!rm",
            b"ssh!h!/",
            b"mem!",
            &[0xff; 100],
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
