//! From an address to a connection, or to one line that says why there is none.

use crate::failure::{Failure, shown};
use crate::tree;
use crate::world::{self, User, of_io};
use privns_abi::Errno;
use privns_host::Kernel;
use privns_namespace::Server;
use privns_namespace::file;
use privns_ninep::address::Address;
use privns_ninep::client::{Fid, Options};
use privns_ninep::dialect::OFFERS;
use privns_ninep::hosted::{HostedClient, Stream};
use privns_ninep::{Dialect, MSIZE_MAX};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A server that has let us in.
pub(super) struct Connection {
    pub(super) client: HostedClient,
    pub(super) root: Fid,
}

impl Connection {
    /// Dials a server, by the address that programs dial, and attaches.
    /// `patience` is how many seconds an answer is waited for at most.
    pub(super) fn new(server: &Server, patience: u32) -> Result<Connection, Failure> {
        let limit = server.options.timeout.unwrap_or(patience).min(patience);
        let limit = Duration::from_secs(limit.into());
        let dialect = server.options.dialect.map(dialect);
        let one = dialect.map(|dialect| [dialect.version()]);
        let options = Options {
            msize: server.options.msize.unwrap_or(MSIZE_MAX),
            offers: one.as_ref().map_or(&OFFERS[..], |one| one),
            timeout: limit,
            ..Options::default()
        };
        let dialled = stream(&server.dial, limit).map_err(|e| unreached(server, e))?;
        let client = dialled.client(&options).map_err(|e| unreached(server, e))?;
        let attached = client.attach(&server.user, Kernel.geteuid(), &server.options.aname);
        let (root, qid) = attached.map_err(|e| refused(server, e))?;
        if !qid.is_dir() {
            let failure = Failure::new(what(&server.address), Errno::ENOTDIR);
            return Err(failure.fix("what the server has there is a file"));
        }
        Ok(Connection { client, root })
    }
}

pub(super) fn dialect(asked: file::Dialect) -> Dialect {
    match asked {
        file::Dialect::Base => Dialect::Base,
        file::Dialect::Unix => Dialect::Unix,
        file::Dialect::Linux => Dialect::Linux,
    }
}

fn stream(dial: &[u8], limit: Duration) -> Result<Stream, Errno> {
    match Address::parse(dial)? {
        // A host that is not there would be waited for by the kernel's clock.
        Address::Tcp { host, port } => {
            let number: Option<IpAddr> =
                std::str::from_utf8(&host).ok().and_then(|h| h.parse().ok());
            let place = SocketAddr::new(number.ok_or(Errno::EINVAL)?, port);
            let socket = TcpStream::connect_timeout(&place, limit).map_err(|e| timed(&e))?;
            socket.set_nodelay(true).map_err(|e| of_io(&e))?;
            Stream::new(socket.into(), None)
        }
        // Its path is the host's, also where this process has a namespace.
        Address::Unix(path) => Stream::new(connect(&path).map_err(tree::errno)?, None),
        address => Stream::dial(&address),
    }
}

fn connect(path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

fn timed(e: &std::io::Error) -> Errno {
    if e.kind() == std::io::ErrorKind::TimedOut { Errno::ETIMEDOUT } else { of_io(e) }
}

/// What failed, for people.
pub(super) fn what(address: &[u8]) -> String {
    format!("mount {}", shown(address))
}

/// A server that does not answer, or not as one.
pub(super) fn unreached(server: &Server, e: Errno) -> Failure {
    let failure = Failure::new(what(&server.address), e);
    match e {
        Errno::ECONNREFUSED | Errno::ENOENT => failure.fix("does the server run?"),
        Errno::EPROTONOSUPPORT => {
            let asked = server.options.dialect.map_or("9P".into(), |asked| {
                String::from_utf8_lossy(dialect(asked).version()).into_owned()
            });
            failure.fix(format!("the server does not speak {asked}"))
        }
        Errno::EPROTO | Errno::ECONNRESET | Errno::EPIPE => {
            failure.fix("what answers there is no 9P server")
        }
        Errno::EOPNOTSUPP => failure.fix("this transport cannot be mounted yet"),
        _ => failure,
    }
}

fn refused(server: &Server, e: Errno) -> Failure {
    let tree = match &server.options.aname[..] {
        b"" => String::new(),
        aname => format!(", tree {}", shown(aname)),
    };
    let what = format!("{}: attach as {}{tree}", what(&server.address), shown(&server.user));
    let failure = Failure::new(what, e);
    match e {
        Errno::EACCES | Errno::EPERM => failure.fix("the server does not let this user in"),
        Errno::ENOENT => failure.fix("the server has no such tree"),
        _ => failure,
    }
}

/// The name of the user that runs us; the number, where there is no name.
pub(super) fn user() -> Vec<u8> {
    User::own().map_or_else(|| Kernel.geteuid().to_string().into_bytes(), |user| user.name)
}

/// The address by number: of several, the first that can be connected to.
pub(super) fn numeric(address: &[u8], host: &[u8], port: u16) -> Result<Address, Failure> {
    let failure = |why: String| Failure::new(what(address), why);
    let tcp = |ip: IpAddr| Address::Tcp { host: ip.to_string().into_bytes(), port };
    let name = std::str::from_utf8(host).map_err(|_| failure("not a host's name".into()))?;
    if let Ok(number) = name.parse() {
        return Ok(tcp(number));
    }
    let found = world::numbers(name).map_err(|e| match e.raw_os_error() {
        Some(_) => failure(of_io(&e).to_string()),
        None => failure("no such host".into()),
    })?;
    let places: Vec<SocketAddr> = found.into_iter().map(|ip| (ip, port).into()).collect();
    let answers =
        |place: &&SocketAddr| places.len() == 1 || TcpStream::connect_timeout(place, TRY).is_ok();
    let place = places.iter().find(answers).or(places.first());
    place.map(|place| tcp(place.ip())).ok_or_else(|| failure("no such host".into()))
}

/// How long one of a host's numbers is tried.
const TRY: Duration = Duration::from_secs(5);
