//! Streams and a monitor made of the standard library, for programs that are
//! not hooked: servers, tools, tests.

use crate::address::Address;
use crate::client::{Client, Monitor, Options, Ready, State, Transport};
use crate::{Errno, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::ffi::OsStr;
use std::io::IoSlice;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A client over a [`Stream`].
pub type HostedClient = Client<Stream, Shared<State>>;

/// A socket, or two ends of pipes.
#[derive(Debug)]
pub struct Stream {
    input: OwnedFd,
    /// The same as `input` when that is a socket.
    output: Option<OwnedFd>,
    child: Option<Child>,
    began: Instant,
}

fn errno(e: rustix::io::Errno) -> Errno {
    Errno(e.raw_os_error())
}

fn io_errno(e: &std::io::Error) -> Errno {
    Errno(e.raw_os_error().unwrap_or(Errno::EIO.0))
}

impl Stream {
    /// Over descriptors, which become non-blocking.
    ///
    /// # Errors
    /// That of FIONBIO.
    pub fn new(input: OwnedFd, output: Option<OwnedFd>) -> Result<Stream> {
        for fd in std::iter::once(&input).chain(&output) {
            rustix::io::ioctl_fionbio(fd, true).map_err(errno)?;
        }
        Ok(Stream { input, output, child: None, began: Instant::now() })
    }

    /// Connects to `tcp!`, `unix!`, `exec!` or `ssh!`.
    ///
    /// # Errors
    /// Those of connect(2) and of starting the command; EOPNOTSUPP for other
    /// addresses.
    pub fn dial(address: &Address) -> Result<Stream> {
        match address {
            Address::Tcp { host, port } => {
                let host = std::str::from_utf8(host).map_err(|_| Errno::EINVAL)?;
                let socket = connect(host, *port, CONNECTING).map_err(|e| io_errno(&e))?;
                Stream::new(socket.into(), None)
            }
            Address::Unix(path) => {
                let path = OsStr::from_bytes(path);
                let socket = UnixStream::connect(path).map_err(|e| io_errno(&e))?;
                Stream::new(socket.into(), None)
            }
            Address::Exec(command) => {
                let mut shell = Command::new("/bin/sh");
                Stream::run(shell.arg("-c").arg(OsStr::from_bytes(command)))
            }
            Address::Ssh { destination, path } => {
                let mut ssh = Command::new("ssh");
                let command = [b"exec ns-serve dir --stdio -- ", &quoted(path)[..]].concat();
                let words = [b"-T", b"--", &destination[..], &command].map(OsStr::from_bytes);
                Stream::run(ssh.args(words))
            }
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    /// Over the standard input and output of a command.
    fn run(command: &mut Command) -> Result<Stream> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| io_errno(&e))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Errno::EIO);
        };
        let mut stream = Stream::new(from.into(), Some(to.into()))?;
        stream.child = Some(child);
        Ok(stream)
    }

    /// What bytes come in by, and what they go out by: for poll(2).
    #[must_use]
    pub fn ends(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        (self.input.as_fd(), self.output.as_ref().unwrap_or(&self.input).as_fd())
    }

    /// Connects and agrees on a dialect.
    ///
    /// # Errors
    /// As [`Stream::dial`] and [`Client::start`].
    pub fn client(self, options: &Options<'_>) -> Result<HostedClient> {
        Client::start(self, options, Shared::new)
    }
}

/// How long a command may take to end once its standard input has.
const ENDING: Duration = Duration::from_secs(2);

impl Drop for Stream {
    /// The command ends when its standard input does, and is waited for.
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        self.output = None;
        let began = Instant::now();
        while let Ok(None) = child.try_wait() {
            if began.elapsed() > ENDING {
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// How long a host may take to answer.
const CONNECTING: Duration = Duration::from_secs(30);

/// Connects by TCP, to whichever address of `host` answers first in their
/// order; small messages leave at once.
///
/// # Errors
/// That of the last address; TimedOut.
pub fn connect(host: &str, port: u16, timeout: Duration) -> std::io::Result<TcpStream> {
    let mut failed = std::io::ErrorKind::NotFound.into();
    for place in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&place, timeout) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            Err(e) => failed = e,
        }
    }
    Err(failed)
}

/// A word as sh(1) takes it, here or at the other end.
#[must_use]
pub fn quoted(word: &[u8]) -> Vec<u8> {
    let mut out = vec![b'\''];
    for &byte in word {
        match byte {
            b'\'' => out.extend_from_slice(br"'\''"),
            _ => out.push(byte),
        }
    }
    out.push(b'\'');
    out
}

impl Transport for Stream {
    fn send(&self, parts: &[&[u8]]) -> Result<usize> {
        let output = self.output.as_ref().unwrap_or(&self.input);
        let mut slices = [IoSlice::new(&[]); 3];
        let filled = parts.iter().filter(|p| !p.is_empty());
        let mut n = 0;
        for (slot, part) in slices.iter_mut().zip(filled) {
            *slot = IoSlice::new(part);
            n += 1;
        }
        rustix::io::writev(output, &slices[..n]).map_err(errno)
    }

    fn recv(&self, buf: &mut [u8]) -> Result<usize> {
        rustix::io::read(&self.input, buf).map_err(errno)
    }

    fn wait(&self, want: Ready, timeout: Duration) -> Result<Ready> {
        let output = self.output.as_ref().unwrap_or(&self.input);
        // Only what is wanted is watched: the far end of an unwatched pipe may
        // be gone, which poll would report at once and for ever.
        let input = PollFd::from_borrowed_fd(self.input.as_fd(), PollFlags::IN);
        let output = PollFd::from_borrowed_fd(output.as_fd(), PollFlags::OUT);
        let mut fds = [input, output];
        let watched = match (want.read, want.write) {
            (true, true) => &mut fds[..],
            (true, false) => &mut fds[..1],
            _ => &mut fds[1..],
        };
        // A day at most: the kernel's clock takes no Duration::MAX.
        let limit = timeout.min(Duration::from_secs(86_400));
        let limit =
            Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
        if poll(watched, Some(&limit)).map_err(errno)? == 0 {
            return Err(Errno::ETIMEDOUT);
        }
        // A hang-up shows as "ready": the next receive or send tells it.
        let [read, write] = fds.map(|fd| !fd.revents().is_empty());
        Ok(Ready { read, write })
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

/// State under a mutex, sleepers on a condition.
#[derive(Debug)]
pub struct Shared<S> {
    state: Mutex<S>,
    changed: Condvar,
}

impl<S> Shared<S> {
    /// A monitor of `state`.
    pub const fn new(state: S) -> Self {
        Shared { state: Mutex::new(state), changed: Condvar::new() }
    }
}

impl<S> Monitor<S> for Shared<S> {
    /// Wakes everybody, whatever has changed.
    fn enter<R>(
        &self,
        timeout: Duration,
        _about: u32,
        mut f: impl FnMut(&mut S) -> Option<R>,
    ) -> Result<R> {
        let began = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(value) = f(&mut state) {
                drop(state);
                self.changed.notify_all();
                return Ok(value);
            }
            let left = timeout.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Err(Errno::ETIMEDOUT);
            }
            let waited = self.changed.wait_timeout(state, left.min(Duration::from_secs(86_400)));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
