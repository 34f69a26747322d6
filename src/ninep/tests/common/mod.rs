//! Servers that answer as a test says.
#![allow(dead_code, reason = "each test binary uses a part")]

use privns_ninep::attr::{Attr, Qid, qt};
use privns_ninep::client::{Client, Fid, Opened, Options, Ready, State, Transport};
use privns_ninep::dialect::OFFERS;
use privns_ninep::hosted::{HostedClient, Shared, Stream};
use privns_ninep::message::{Body, Rattach, Request, Rgetattr, Rversion, Rwalk, split};
use privns_ninep::wire::Few;
use privns_ninep::{Dialect, Errno, NONUM, Result};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub(crate) const L: &[&[u8]] = &[b"9P2000.L"];
pub(crate) const DIR: Qid = Qid { kind: qt::DIR, version: 0, path: 1 };

/// The server's end.
pub(crate) struct Server {
    pub(crate) socket: UnixStream,
    pub(crate) dialect: Dialect,
}

impl Server {
    pub(crate) fn frame(&mut self) -> Option<Vec<u8>> {
        let mut head = [0; 4];
        self.socket.read_exact(&mut head).ok()?;
        let mut frame = vec![0; u32::from_le_bytes(head) as usize];
        frame[..4].copy_from_slice(&head);
        self.socket.read_exact(&mut frame[4..]).ok()?;
        Some(frame)
    }

    /// The next request: its name, its tag, and what `see` sees in it.
    pub(crate) fn next<R>(
        &mut self,
        see: impl FnOnce(&Request<'_>) -> R,
    ) -> (&'static str, u16, R) {
        let frame = self.frame().expect("a request");
        let (kind, tag, body) = split(&frame).unwrap();
        let request = Request::decode(kind, body, self.dialect).unwrap();
        (request.name(), tag, see(&request))
    }

    /// The next request, which has to be of this name: its tag.
    pub(crate) fn expect(&mut self, name: &str) -> u16 {
        let (got, tag, ()) = self.next(|_| ());
        assert_eq!(got, name);
        tag
    }

    /// A Twalk: its tag and the new fid.
    pub(crate) fn walk(&mut self) -> (u16, u32) {
        let (_, tag, newfid) = self.next(|r| match r {
            Request::Twalk(m) => m.newfid,
            other => panic!("{other:?}"),
        });
        (tag, newfid)
    }

    /// A Tclunk: its tag and the fid.
    pub(crate) fn clunk(&mut self) -> (u16, u32) {
        let (_, tag, fid) = self.next(|r| match r {
            Request::Tclunk(m) => m.fid,
            other => panic!("{other:?}"),
        });
        (tag, fid)
    }

    /// The flush of `old`: its tag.
    pub(crate) fn flush_of(&mut self, old: u16) -> u16 {
        let (_, tag, oldtag) = self.next(|r| match r {
            Request::Tflush(m) => m.oldtag,
            other => panic!("{other:?}"),
        });
        assert_eq!(oldtag, old);
        assert_ne!(tag, old);
        tag
    }

    pub(crate) fn reply<'b>(&mut self, tag: u16, body: &impl Body<'b>) {
        let mut frame = Vec::new();
        body.frame(tag, self.dialect, 0, &mut frame).unwrap();
        self.raw(&frame);
    }

    pub(crate) fn attributes(&mut self, tag: u16) {
        self.reply(tag, &Rgetattr { attr: Attr::default() });
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        // The client may have hung up, which is what some tests are about.
        let _ = self.socket.write_all(bytes);
    }

    /// Nothing comes for a while.
    pub(crate) fn assert_silent(&mut self) {
        self.socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert_eq!(self.frame(), None);
        self.socket.set_read_timeout(None).unwrap();
    }

    /// Answers version and attach as a server of ours.
    pub(crate) fn welcome_ours(&mut self) {
        self.welcome(b"9P2000.L.ordered");
    }

    /// Answers version and attach of 9P2000.L.
    pub(crate) fn welcome(&mut self, version: &[u8]) {
        self.welcome_to(65_536, version);
    }

    /// The same, with messages of up to `msize` bytes.
    pub(crate) fn welcome_to(&mut self, msize: u32, version: &[u8]) {
        let tag = self.expect("Tversion");
        self.reply(tag, &Rversion { msize, version });
        self.dialect = Dialect::Linux;
        let tag = self.expect("Tattach");
        self.reply(tag, &Rattach { qid: DIR });
    }
}

pub(crate) fn pair() -> (Stream, Server) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = Server { socket: theirs, dialect: Dialect::Base };
    (Stream::new(ours.into(), None).unwrap(), server)
}

pub(crate) fn options<'a>(offers: &'a [&'a [u8]]) -> Options<'a> {
    Options { msize: 65_536, offers, timeout: Duration::from_secs(10), ..Options::default() }
}

/// Runs `script` as the server of `test`, and both to their end.
pub(crate) fn play(script: impl FnOnce(Server) + Send, test: impl FnOnce(Stream)) {
    let (stream, server) = pair();
    std::thread::scope(|scope| {
        scope.spawn(|| script(server));
        test(stream);
    });
}

/// A client attached to a scripted server of 9P2000.L.
pub(crate) fn attached(stream: Stream) -> (HostedClient, Fid) {
    let client = stream.client(&options(L)).unwrap();
    let (root, _) = client.attach(b"me", NONUM, b"").unwrap();
    (client, root)
}

/// A client attached to a scripted server of ours.
pub(crate) fn attached_to_ours(stream: Stream) -> (HostedClient, Fid) {
    let client = stream.client(&options(&OFFERS[..1])).unwrap();
    let (root, _) = client.attach(b"me", NONUM, b"").unwrap();
    (client, root)
}

pub(crate) fn open_of(fid: Fid) -> Opened {
    Opened { fid, qid: DIR, iounit: 8192, attr: None, first: None }
}

pub(crate) fn walk_reply(n: usize) -> Rwalk {
    let mut qids = Few::default();
    (0..n).for_each(|i| assert!(qids.push(Qid { path: i as u64 + 2, ..Qid::default() })));
    Rwalk { qids }
}

/// A stream on which a signal can be caught.
pub(crate) struct Interruptible {
    stream: Stream,
    signal: Arc<AtomicBool>,
}

impl Transport for Interruptible {
    fn send(&self, parts: &[&[u8]]) -> Result<usize> {
        self.stream.send(parts)
    }
    fn recv(&self, buf: &mut [u8]) -> Result<usize> {
        self.stream.recv(buf)
    }
    fn wait(&self, want: Ready, timeout: Duration) -> Result<Ready> {
        let end = Instant::now() + timeout;
        loop {
            if self.signal.swap(false, Relaxed) {
                return Err(Errno::EINTR);
            }
            match self.stream.wait(want, Duration::from_millis(2)) {
                Err(Errno::ETIMEDOUT) if Instant::now() < end => {}
                other => return other,
            }
        }
    }
    fn now(&self) -> Duration {
        self.stream.now()
    }
}

pub(crate) type Interrupted = Client<Interruptible, Shared<State>>;

/// Longer than any answer of the scripts takes, and short enough to sit out.
pub(crate) const LONG: Duration = Duration::from_secs(10);
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// A client whose waits end when the server says so.
pub(crate) fn play_interrupted(
    grace: Duration,
    script: impl FnOnce(Server, &AtomicBool) + Send,
    test: impl FnOnce(Interrupted, Fid),
) {
    let (stream, server) = pair();
    let signal = Arc::new(AtomicBool::new(false));
    let theirs = signal.clone();
    std::thread::scope(|scope| {
        scope.spawn(move || script(server, &theirs));
        let options = Options { grace, ..options(L) };
        let transport = Interruptible { stream, signal };
        let client = Client::start(transport, &options, Shared::new).unwrap();
        let (root, _) = client.attach(b"me", NONUM, b"").unwrap();
        test(client, root);
    });
}
