//! Sockets and threads: one thread a connection, started by whoever accepts.

use crate::auth::Auth;
use crate::channel::{Channel, spare_pacing};
use crate::registry::keep_alive;
use crate::session::{Common, Payload, Peer, Session};
use crate::tls::Tls;
use crate::tls::keys::ServerKeys;
use crate::tree::Tree;
use parking_lot::Mutex;
use privns_ninep::frame::Framer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno as Failure;
use std::collections::HashMap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What one server lets happen to itself.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Fids of one connection.
    pub fids: usize,
    /// How long a connection may go without having attached.
    pub attach: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { connections: 1024, fids: 16_384, attach: Duration::from_secs(30) }
    }
}

/// Replies are sent when there is no further request at hand, or this many
/// bytes of them.
const BATCH: usize = 256 << 10;
/// A connection that has been silent for so long gives its buffers back.
const IDLE: Duration = Duration::from_secs(5);
/// How long somebody stays who cannot attach.
const REFUSED: Duration = Duration::from_secs(2);
/// Bytes on their way that a unix socket is asked to hold.
const ROOM: usize = 1 << 20;
/// What a connection's thread needs: no recursion, no large arrays.
const STACK: usize = 256 << 10;

/// Where a server listens.
#[derive(Debug)]
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
    /// A TCP port on which TLS is spoken, with these keys.
    Tls(TcpListener, Arc<ServerKeys>),
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(l) | Listener::Tls(l, _) => l.as_fd(),
            Listener::Unix(l) => l.as_fd(),
        }
    }
}

/// How it is known who is at the other end.
enum Knock {
    /// It is known.
    Known(Peer),
    /// By the key that will be shown.
    Tls(Arc<ServerKeys>),
}

impl Listener {
    fn accept(&self, auth: Auth) -> io::Result<(OwnedFd, Knock)> {
        match self {
            Listener::Tcp(listener) => {
                let (socket, _): (TcpStream, _) = listener.accept()?;
                socket.set_nodelay(true)?;
                keep_alive(&socket)?;
                let peer = auth.tcp(&socket);
                Ok((socket.into(), Knock::Known(peer)))
            }
            Listener::Unix(listener) => {
                let (socket, _): (UnixStream, _) = listener.accept()?;
                // The kernel gives what it allows: fewer changes of turn in
                // large reads. TCP finds its own size.
                let _ = rustix::net::sockopt::set_socket_send_buffer_size(&socket, ROOM);
                let peer = auth.unix(&socket);
                Ok((socket.into(), Knock::Known(peer)))
            }
            Listener::Tls(listener, keys) => {
                let (socket, _): (TcpStream, _) = listener.accept()?;
                socket.set_nodelay(true)?;
                keep_alive(&socket)?;
                Ok((socket.into(), Knock::Tls(keys.clone())))
            }
        }
    }
}

/// A connection's thread, and the socket by which it is told to end.
struct Connection {
    socket: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

/// A tree that is being served.
pub struct Server<T: Tree> {
    common: Arc<Common<T>>,
    limits: Limits,
    connections: Arc<Mutex<HashMap<u64, Connection>>>,
}

impl<T: Tree> Server<T> {
    /// A server of `tree`.
    #[must_use]
    pub fn new(tree: T, read_only: bool, limits: Limits) -> Self {
        let common = Common::new(tree, read_only, limits.fids);
        Server { common, limits, connections: Arc::default() }
    }

    /// Serves one connection on this thread until it ends. The descriptors
    /// may be one socket twice, or two pipes.
    ///
    /// # Errors
    /// That of the transport, `InvalidData` for a peer that does not speak 9P,
    /// `TimedOut` for one that did not attach in time.
    pub fn serve(&self, input: impl AsFd, output: impl AsFd, peer: Peer) -> io::Result<()> {
        let channel = Channel::plain(input.as_fd(), output.as_fd());
        converse(&self.common, self.limits, &channel, peer)
    }

    /// Serves a connection on a thread of its own.
    ///
    /// # Errors
    /// When there are too many, or no thread is to be had.
    pub fn spawn(&self, socket: OwnedFd, peer: Peer) -> io::Result<()> {
        self.start(socket, Knock::Known(peer))
    }

    fn start(&self, socket: OwnedFd, knock: Knock) -> io::Result<()> {
        let theirs = socket.try_clone()?;
        let mut connections = self.connections.lock();
        if connections.len() >= self.limits.connections {
            return Err(Failure::USERS.into());
        }
        let number = (0..).find(|n| !connections.contains_key(n)).unwrap_or_default();
        let (common, limits, list) = (self.common.clone(), self.limits, self.connections.clone());
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || {
            // Whatever ends a connection ends it alone; nobody is to be told.
            let _ = welcome(&common, limits, theirs, &knock);
            list.lock().remove(&number);
        })?;
        connections.insert(number, Connection { socket, thread: Some(thread) });
        Ok(())
    }

    /// Accepts connections until `stop` says so. It is asked after each wait,
    /// whenever `wake` is readable, and at least once a second.
    ///
    /// # Errors
    /// That of poll(2).
    pub fn listen(
        &self,
        listeners: &[&Listener],
        auth: Auth,
        wake: BorrowedFd<'_>,
        mut stop: impl FnMut() -> bool,
    ) -> io::Result<()> {
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        listeners.iter().for_each(|listener| spare_pacing(listener.as_fd()));
        loop {
            let watched = listeners.iter().map(|l| l.as_fd()).chain([wake]);
            let mut fds: Vec<_> =
                watched.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            match poll(&mut fds, Some(&second)) {
                Err(Failure::INTR) | Ok(_) => {}
                Err(e) => return Err(e.into()),
            }
            if stop() {
                return Ok(());
            }
            drop(self.common.handoff.lapse());
            let ready = fds.iter().map(|fd| !fd.revents().is_empty());
            for (listener, _) in listeners.iter().zip(ready).filter(|(_, ready)| *ready) {
                // A peer that went away while it waited, or a lack of
                // descriptors: the next one may do better.
                match listener.accept(auth).and_then(|(socket, knock)| self.start(socket, knock)) {
                    Ok(()) => {}
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        }
    }

    /// Ends all connections and waits for their threads.
    pub fn shut(&self) {
        let threads: Vec<_> = {
            let mut connections = self.connections.lock();
            let each = connections.values_mut();
            each.filter_map(|c| {
                let _ = rustix::net::shutdown(&c.socket, rustix::net::Shutdown::Both);
                c.thread.take()
            })
            .collect()
        };
        for thread in threads {
            let _ = thread.join();
        }
    }

    /// Connections, and tokens that somebody may yet claim.
    #[must_use]
    pub fn users(&self) -> usize {
        self.connections.lock().len() + self.common.handoff.len()
    }

    /// What SIGUSR1 prints: counters by name.
    #[must_use]
    pub fn status(&self) -> Vec<(&'static str, u64)> {
        let counters = &self.common.counters;
        vec![
            ("connections", self.connections.lock().len() as u64),
            ("fids", counters.fids.load(Relaxed)),
            ("open", counters.open.load(Relaxed)),
            ("tokens", self.common.handoff.len() as u64),
            ("requests", counters.requests.load(Relaxed)),
            ("errors", counters.errors.load(Relaxed)),
        ]
    }
}

impl<T: Tree> Drop for Server<T> {
    fn drop(&mut self) {
        self.shut();
    }
}

/// Finds out who knocks, and serves them.
fn welcome<T: Tree>(
    common: &Arc<Common<T>>,
    limits: Limits,
    socket: OwnedFd,
    knock: &Knock,
) -> io::Result<()> {
    match knock {
        Knock::Known(peer) => {
            let channel = Channel::plain(socket.as_fd(), socket.as_fd());
            converse(common, limits, &channel, peer.clone())
        }
        Knock::Tls(keys) => {
            let tls = Tls::accept(socket.into(), keys, limits.attach)?;
            converse(common, limits, &Channel::Wire(&tls), Peer::Owner)
        }
    }
}

fn converse<T: Tree>(
    common: &Arc<Common<T>>,
    limits: Limits,
    channel: &Channel<'_>,
    peer: Peer,
) -> io::Result<()> {
    let malformed = |_| io::Error::from(io::ErrorKind::InvalidData);
    let began = Instant::now();
    // Whoever may not attach is told so, and does not keep a place for long.
    let doubtful = matches!(peer, Peer::Refused | Peer::Stranger { .. });
    let patient = if doubtful { REFUSED.min(limits.attach) } else { limits.attach };
    let mut session = Session::new(common.clone(), peer);
    let mut framer = Framer::new(session.msize());
    let mut out = Vec::new();
    // Whether receiving ends by itself when nothing comes.
    let mut limited = None;
    loop {
        while let Some(message) = framer.peek().map_err(malformed)? {
            let answered = session.answer(message, &mut out);
            framer.set_largest(session.msize());
            if answered.is_err() {
                // What was asked before is still answered.
                channel.send(&mut out)?;
                return Err(io::ErrorKind::InvalidData.into());
            }
            if let Some(payload) = session.take_payload() {
                deliver(channel, &mut session, &mut out, &payload)?;
            } else if out.len() >= BATCH {
                channel.send(&mut out)?;
            }
        }
        channel.send(&mut out)?;
        if !session.is_attached() {
            if !channel.wait(Some(patient.saturating_sub(began.elapsed())))? {
                return Err(io::ErrorKind::TimedOut.into());
            }
        } else if !*limited.get_or_insert_with(|| channel.limit(IDLE))
            && !channel.wait(Some(IDLE))?
        {
            rest(&mut session, &mut framer, &mut out);
            channel.wait(None)?;
        }
        match channel.receive(framer.space().map_err(malformed)?)? {
            Some(0) => return Ok(()),
            Some(n) => framer.filled(n),
            None if limited == Some(true) => {
                rest(&mut session, &mut framer, &mut out);
                channel.wait(None)?;
            }
            None => {}
        }
    }
}

/// Gives memory back while nothing is asked.
fn rest<T: Tree>(session: &mut Session<T>, framer: &mut Framer, out: &mut Vec<u8>) {
    framer.relax();
    *out = Vec::new();
    *session.memory() = Vec::new();
}

/// Sends what is in `out`, and a payload behind it.
fn deliver<T: Tree>(
    channel: &Channel<'_>,
    session: &mut Session<T>,
    out: &mut Vec<u8>,
    payload: &Payload<T>,
) -> io::Result<()> {
    match payload {
        Payload::Memory(n) => channel.send_both(out, &session.memory()[..*n]),
        Payload::File(open, offset, n) => {
            let from = open.descriptor(session.tree()).ok_or(io::ErrorKind::Unsupported)?;
            channel.send_file(out, from, *offset, *n)
        }
    }
}
