//! What the tests share: a server with clients over socket pairs, and a check
//! that nothing is left behind.
#![allow(dead_code, unreachable_pub, reason = "each test file includes it and uses its part")]

use privns_ninep::address::Address;
use privns_ninep::client::{Fid, Opened, Options, flags};
use privns_ninep::dialect::OFFERS;
use privns_ninep::hosted::{HostedClient, Stream};
use privns_ninep::{Dialect, Errno, NONUM};
use privns_servers::auth::Auth;
use privns_servers::relay::{self, Route};
use privns_servers::serve::Listener;
use privns_servers::session::Peer;
use privns_servers::tls::keys::ServerKeys;
use privns_servers::tls::make::make;
use privns_servers::{Limits, Server, Tree};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

/// A way to speak to a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speech {
    /// 9P2000.L with the promise of order.
    Ours,
    /// 9P2000.L.
    Linux,
    /// 9P2000.u.
    Unix,
    /// 9P2000.
    Base,
}

impl Speech {
    pub fn is_linux(self) -> bool {
        matches!(self, Speech::Ours | Speech::Linux)
    }

    pub fn options(self) -> Options<'static> {
        let offers = match self {
            Speech::Ours => &OFFERS[..1],
            Speech::Linux => &OFFERS[1..2],
            Speech::Unix => &OFFERS[2..3],
            Speech::Base => &OFFERS[3..],
        };
        Options { offers, timeout: Duration::from_secs(20), ..Options::default() }
    }
}

/// A server, whatever its tree.
pub trait Rig: Sync {
    /// One end of a connection on which the kernel vouches for `peer`.
    fn socket(&self, peer: Peer) -> UnixStream;
    /// A counter of the server's.
    fn count(&self, what: &str) -> u64;

    /// Whether one user is told from another.
    fn tells_users(&self) -> bool {
        true
    }

    fn client(&self, speech: Speech) -> HostedClient {
        self.client_with(speech, &speech.options())
    }

    fn client_with(&self, _speech: Speech, options: &Options<'_>) -> HostedClient {
        let stream = Stream::new(self.socket(Peer::Trusted).into(), None).unwrap();
        stream.client(options).unwrap()
    }

    /// A client and the root of its tree.
    fn attached(&self, speech: Speech) -> (HostedClient, Fid) {
        let client = self.client(speech);
        let (root, qid) = client.attach(b"somebody", NONUM, b"").unwrap();
        assert!(qid.is_dir());
        (client, root)
    }

    /// Waits until nothing is left of connections that have ended.
    fn assert_quiet(&self) {
        self.assert_none(&["connections", "fids", "open"]);
    }

    /// The same where tokens are out, which hold open files.
    fn assert_quiet_but_tokens(&self) {
        self.assert_none(&["connections", "fids"]);
    }

    fn assert_none(&self, counters: &[&str]) {
        let began = Instant::now();
        for what in counters {
            while self.count(what) > 0 {
                assert!(
                    began.elapsed() < Duration::from_secs(10),
                    "{what}: {} left",
                    self.count(what)
                );
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

impl<T: Tree> Rig for Server<T> {
    fn socket(&self, peer: Peer) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.spawn(theirs.into(), peer).unwrap();
        ours
    }

    fn count(&self, what: &str) -> u64 {
        self.status().iter().find(|(name, _)| *name == what).unwrap().1
    }
}

/// A server in a temporary directory.
pub struct DirRig {
    pub server: Server<privns_servers::dir::Dir>,
    pub place: tempfile::TempDir,
}

impl DirRig {
    pub fn new() -> DirRig {
        let place = tempfile::tempdir().unwrap();
        let tree = privns_servers::dir::Dir::new(place.path()).unwrap();
        DirRig { server: Server::new(tree, false, Limits::default()), place }
    }
}

impl Rig for DirRig {
    fn socket(&self, peer: Peer) -> UnixStream {
        self.server.socket(peer)
    }
    fn count(&self, what: &str) -> u64 {
        self.server.count(what)
    }
}

/// A memory server of 64 MiB.
pub fn mem() -> Server<privns_servers::mem::Mem> {
    Server::new(privns_servers::mem::Mem::new(64 << 20), false, Limits::default())
}

/// Operations on a connection, shorter.
pub trait Ease {
    fn make(&self, dir: &Fid, name: &[u8], contents: &[u8]);
    fn contents(&self, dir: &Fid, name: &[u8]) -> Result<Vec<u8>, Errno>;
    fn at(&self, dir: &Fid, name: &[u8], how: u32) -> Result<Opened, Errno>;
    fn names(&self, dir: &Fid) -> Vec<Vec<u8>>;
    fn put(&self, file: &Opened, offset: u64, data: &[u8]) -> Result<(), Errno>;
    fn all(&self, file: &Opened) -> Result<Vec<u8>, Errno>;
}

impl Ease for HostedClient {
    fn make(&self, dir: &Fid, name: &[u8], contents: &[u8]) {
        let how = flags::RDWR | flags::CREATE | flags::EXCL;
        let file = self.create(dir, name, how, 0o644, NONUM).unwrap();
        self.put(&file, 0, contents).unwrap();
        self.close(file.fid).unwrap();
    }

    fn contents(&self, dir: &Fid, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let file = self.at(dir, name, 0)?;
        let all = self.all(&file);
        self.clunk(file.fid);
        all
    }

    fn at(&self, dir: &Fid, name: &[u8], how: u32) -> Result<Opened, Errno> {
        self.open_at(dir, &[name], how, &mut [])
    }

    fn names(&self, dir: &Fid) -> Vec<Vec<u8>> {
        let listing = self.open_at(dir, &[], flags::DIRECTORY, &mut []).unwrap();
        let (mut names, mut from) = (Vec::new(), Some(0));
        while let Some(cookie) = from {
            from = self.readdir(&listing, cookie, |entry| names.push(entry.name.to_vec())).unwrap();
        }
        self.clunk(listing.fid);
        names.retain(|n| n != b"." && n != b"..");
        names
    }

    fn put(&self, file: &Opened, mut offset: u64, mut data: &[u8]) -> Result<(), Errno> {
        while !data.is_empty() {
            let n = self.write(file, offset, data)?;
            assert!(n > 0);
            data = &data[n..];
            offset += n as u64;
        }
        Ok(())
    }

    fn all(&self, file: &Opened) -> Result<Vec<u8>, Errno> {
        let (mut all, mut buf) = (Vec::new(), vec![0; 1 << 20]);
        loop {
            match self.read(file, all.len() as u64, &mut buf)? {
                0 => return Ok(all),
                n => all.extend_from_slice(&buf[..n]),
            }
        }
    }
}

/// A server that is reached through relays, one for each dialect.
pub struct Relayed<T: Tree> {
    server: std::sync::Arc<Server<T>>,
    place: tempfile::TempDir,
    sealed: bool,
    /// Closed to end the threads.
    stop: Vec<UnixStream>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

const SPEECHES: [Speech; 4] = [Speech::Ours, Speech::Linux, Speech::Unix, Speech::Base];

impl<T: Tree> Relayed<T> {
    /// On a unix socket.
    pub fn new(tree: T) -> Relayed<T> {
        let place = tempfile::tempdir().unwrap();
        let server = place.path().join("server");
        let listener = UnixListener::bind(&server).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = Address::Unix(server.into_os_string().into_encoded_bytes());
        Relayed::over(tree, place, Listener::Unix(listener), &address)
    }

    /// By TLS.
    pub fn sealed(tree: T) -> Relayed<T> {
        let place = tempfile::tempdir().unwrap();
        make(place.path(), "key", Duration::from_secs(3600)).unwrap();
        let keys = ServerKeys::read(place.path()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = Address::Tls { host: b"127.0.0.1".to_vec(), port };
        Relayed::over(tree, place, Listener::Tls(listener, keys.into()), &address)
    }

    fn over(
        tree: T,
        place: tempfile::TempDir,
        listener: Listener,
        address: &Address,
    ) -> Relayed<T> {
        let server = std::sync::Arc::new(Server::new(tree, false, Limits::default()));
        let sealed = matches!(listener, Listener::Tls(..));
        let mut rig = Relayed { server, place, sealed, stop: Vec::new(), threads: Vec::new() };
        let server = rig.server.clone();
        rig.run(move |stop| {
            let none = Timespec { tv_sec: 0, tv_nsec: 0 };
            let ended = || poll(&mut [PollFd::new(&stop, PollFlags::IN)], Some(&none)).unwrap() > 0;
            server.listen(&[&listener], Auth::None, stop, ended).unwrap();
            server.shut();
        });
        for (i, speech) in SPEECHES.into_iter().enumerate() {
            let listener = UnixListener::bind(rig.place.path().join(i.to_string())).unwrap();
            let dialect = match speech {
                Speech::Ours => None,
                Speech::Linux => Some(Dialect::Linux),
                Speech::Unix => Some(Dialect::Unix),
                Speech::Base => Some(Dialect::Base),
            };
            let keys = Some(rig.place.path().to_path_buf());
            let route = Route { dialect, keys, ..Route::to(address.clone()) };
            rig.run(move |stop| relay::serve(&listener, &route, None, stop, |_| false).unwrap());
        }
        rig
    }

    fn run(&mut self, f: impl FnOnce(BorrowedFd<'_>) + Send + 'static) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.stop.push(ours);
        self.threads.push(std::thread::spawn(move || f(theirs.as_fd())));
    }

    fn relay(&self, speech: Speech) -> UnixStream {
        let i = SPEECHES.iter().position(|s| *s == speech).unwrap();
        UnixStream::connect(self.place.path().join(i.to_string())).unwrap()
    }
}

impl<T: Tree> Drop for Relayed<T> {
    fn drop(&mut self) {
        self.stop.clear();
        for thread in self.threads.drain(..) {
            let done = thread.join();
            assert!(done.is_ok() || std::thread::panicking());
        }
    }
}

impl<T: Tree> Rig for Relayed<T> {
    fn socket(&self, _peer: Peer) -> UnixStream {
        self.relay(Speech::Ours)
    }

    fn client_with(&self, speech: Speech, options: &Options<'_>) -> HostedClient {
        Stream::new(self.relay(speech).into(), None).unwrap().client(options).unwrap()
    }

    fn tells_users(&self) -> bool {
        !self.sealed
    }

    /// The relays' own connections stay.
    fn count(&self, what: &str) -> u64 {
        if what == "connections" { 0 } else { self.server.count(what) }
    }
}
