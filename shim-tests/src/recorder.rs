//! A proxy before a 9P server that writes down what passes, and lets it pass late.

use crate::site::Site;
use privns_ninep::address::Address;
use privns_ninep::frame::Framer;
use privns_ninep::message::{Reply, Request, split};
use privns_ninep::{Dialect, MSIZE_MAX};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Messages under way in one direction at most.
const UNDER_WAY: usize = 4096;

/// Bytes that an extended attribute has at most here.
const SHORT: usize = 1024;

/// One message, as it passed.
pub struct Message {
    /// The number of its connection.
    pub connection: usize,
    /// Sent by the client.
    pub asks: bool,
    /// What is spoken there.
    pub dialect: Dialect,
    frame: Vec<u8>,
}

impl Message {
    /// Its tag.
    ///
    /// # Panics
    /// Never: what is no message is not written down.
    #[must_use]
    pub fn tag(&self) -> u16 {
        split(&self.frame).expect("a message").1
    }

    /// What a client asks.
    ///
    /// # Panics
    /// When it is no request of the dialect.
    #[must_use]
    pub fn request(&self) -> Option<Request<'_>> {
        let (kind, _, body) = split(&self.frame).expect("a message");
        self.asks.then(|| Request::decode(kind, body, self.dialect).expect("a request"))
    }

    /// What a server answers.
    ///
    /// # Panics
    /// When it is no reply of the dialect.
    #[must_use]
    pub fn reply(&self) -> Option<Reply<'_>> {
        let (kind, _, body) = split(&self.frame).expect("a message");
        (!self.asks).then(|| Reply::decode(kind, body, self.dialect).expect("a reply"))
    }
}

#[derive(Default)]
struct Shared {
    trace: Mutex<Vec<Message>>,
    /// Replies to reads of files are lost.
    mute: AtomicBool,
    ended: AtomicBool,
}

/// See the module. It listens on a unix socket of the site's, until it is dropped.
pub struct Recorder {
    socket: PathBuf,
    shared: Arc<Shared>,
}

impl Recorder {
    /// Stands before a server; each message takes so much longer, in either direction.
    ///
    /// # Panics
    /// When the socket cannot be had.
    #[must_use]
    pub fn start(site: &Site, name: &str, server: &str, delay: Duration) -> Self {
        let socket = site.path(name);
        let listener = UnixListener::bind(&socket).expect("a socket");
        let server = Address::parse(server.as_bytes()).expect("an address");
        let recorder = Self { socket, shared: Arc::default() };
        let shared = Arc::clone(&recorder.shared);
        std::thread::spawn(move || {
            for (connection, client) in listener.incoming().map_while(Result::ok).enumerate() {
                if shared.ended.load(SeqCst) {
                    return;
                }
                join(connection, client, &server, &shared, delay);
            }
        });
        recorder
    }

    /// Where it is reached.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix!{}", self.socket.display())
    }

    /// From now on the answers to reads are lost, or no longer; not the short ones by which a
    /// connection begins.
    pub fn mute(&self, mute: bool) {
        self.shared.mute.store(mute, SeqCst);
    }

    /// What has passed since this was asked last, in the order of its passing: a request when
    /// the client had sent it, a reply before the client had it.
    #[must_use]
    pub fn trace(&self) -> Vec<Message> {
        let mut trace = self.shared.trace.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut trace)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.ended.store(true, SeqCst);
        drop(UnixStream::connect(&self.socket));
    }
}

/// One end of a connection.
trait End: Read + Write + Send {
    fn again(&self) -> Box<dyn End>;
    fn end(&self);
}

macro_rules! end {
    ($($stream:ty),*) => {$(
        impl End for $stream {
            fn again(&self) -> Box<dyn End> {
                Box::new(self.try_clone().expect("a descriptor"))
            }
            fn end(&self) {
                let _ = self.shutdown(Shutdown::Both);
            }
        }
    )*};
}

end!(UnixStream, TcpStream);

fn dial(server: &Address) -> Option<Box<dyn End>> {
    match server {
        Address::Unix(path) => {
            let path = std::str::from_utf8(path).ok()?;
            Some(Box::new(UnixStream::connect(path).ok()?))
        }
        Address::Tcp { host, port } => {
            let server = TcpStream::connect((std::str::from_utf8(host).ok()?, *port)).ok()?;
            server.set_nodelay(true).ok()?;
            Some(Box::new(server))
        }
        _ => None,
    }
}

/// What the two directions of a connection share.
struct Line {
    connection: usize,
    dialect: Mutex<Dialect>,
    shared: Arc<Shared>,
}

fn join(
    connection: usize,
    client: UnixStream,
    server: &Address,
    shared: &Arc<Shared>,
    delay: Duration,
) {
    let Some(server) = dial(server) else { return };
    let dialect = Mutex::new(Dialect::Base);
    let line = Arc::new(Line { connection, dialect, shared: Arc::clone(shared) });
    let client: Box<dyn End> = Box::new(client);
    for (asks, from, to) in
        [(true, client.again(), server.again()), (false, server.again(), client.again())]
    {
        let line = Arc::clone(&line);
        std::thread::spawn(move || carry(&line, asks, from, to, delay));
    }
}

/// Carries one direction to its end.
fn carry(line: &Line, asks: bool, mut from: Box<dyn End>, mut to: Box<dyn End>, delay: Duration) {
    let (sender, receiver) = sync_channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let writer = std::thread::spawn(move || {
        for (due, frame) in receiver {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&frame).is_err() {
                break;
            }
        }
        to.end();
    });
    let mut framer = Framer::new(MSIZE_MAX);
    'all: while let Ok(room) = framer.space() {
        let Ok(n @ 1..) = from.read(room) else { break };
        framer.filled(n);
        while let Ok(Some(frame)) = framer.next_message() {
            if line.passes(asks, &frame) && sender.send((Instant::now() + delay, frame)).is_err() {
                break 'all;
            }
        }
    }
    drop(sender);
    let _ = writer.join();
    from.end();
}

impl Line {
    /// Writes a message down; whether it goes on.
    fn passes(&self, asks: bool, frame: &[u8]) -> bool {
        let mut dialect = self.dialect.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok((kind, _, body)) = split(frame) else { return true };
        if !asks {
            let reply = Reply::decode(kind, body, *dialect);
            if let Ok(Reply::Rversion(m)) = reply {
                *dialect = spoken(m.version);
            }
            let data = matches!(reply, Ok(Reply::Rread(m)) if m.data.0.len() > SHORT);
            if data && self.shared.mute.load(SeqCst) {
                return false;
            }
        }
        let message =
            Message { connection: self.connection, asks, dialect: *dialect, frame: frame.to_vec() };
        self.shared.trace.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        true
    }
}

fn spoken(version: &[u8]) -> Dialect {
    if version.starts_with(b"9P2000.L") {
        Dialect::Linux
    } else if version.starts_with(b"9P2000.u") {
        Dialect::Unix
    } else {
        Dialect::Base
    }
}
