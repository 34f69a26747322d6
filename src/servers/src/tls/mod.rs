//! TLS 1.3 over a socket, without blocking.
//!
//! Both ends prove who they are, by certificates or by a key that they share,
//! and both are checked: see [`keys`]. There is no version before 1.3, no
//! resumption, and no way to go on without.

pub mod keys;
pub mod make;
mod psk;

use crate::wire::{Wire, io_error, wait};
use keys::{ClientKey, ServerKeys};
use parking_lot::Mutex;
use privns_abi::{Errno, Result};
use privns_ninep::client::{Ready, Transport};
use rustls::server::Acceptor;
use rustls::{ClientConnection, Connection};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Plain bytes that wait for the socket at most.
const UNSENT: usize = 256 << 10;

/// A connection.
pub struct Tls {
    socket: TcpStream,
    /// Held for bookkeeping and cryptography, never while something is waited
    /// for.
    state: Mutex<State>,
    began: Instant,
}

struct State {
    tls: Connection,
    /// What the other end, or we, had against it.
    trouble: Option<String>,
}

fn number(e: &io::Error) -> Errno {
    match e.kind() {
        ErrorKind::WouldBlock => Errno::EAGAIN,
        _ => Errno(e.raw_os_error().unwrap_or(Errno::ECONNRESET.0)),
    }
}

fn refused(why: impl ToString) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, why.to_string())
}

/// What is wrong, for people.
fn words(e: &rustls::Error) -> String {
    match e {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(why)) => {
            why.0.to_string()
        }
        rustls::Error::AlertReceived(_) => format!("the other end does not take it ({e})"),
        _ => e.to_string(),
    }
}

impl Tls {
    /// The client's end: connects to whoever has the server's part of `key`.
    ///
    /// # Errors
    /// With the reason in words when one end does not take the other's
    /// certificate; that of the socket; TimedOut.
    pub fn connect(socket: TcpStream, key: &ClientKey, timeout: Duration) -> io::Result<Tls> {
        let name = key.server_name();
        let tls = ClientConnection::new(key.config(), name).map_err(refused)?;
        Tls::finish(socket, tls.into(), Instant::now(), timeout).map_err(|e| key.explain(e))
    }

    /// The server's end.
    ///
    /// # Errors
    /// As [`Tls::connect`].
    pub fn accept(socket: TcpStream, keys: &ServerKeys, timeout: Duration) -> io::Result<Tls> {
        let began = Instant::now();
        socket.set_nonblocking(true)?;
        let mut acceptor = Acceptor::default();
        let hello = loop {
            match acceptor.accept() {
                Ok(Some(hello)) => break hello,
                Ok(None) => {}
                Err((e, mut alert)) => {
                    let _ = alert.write_all(&mut &socket);
                    return Err(refused(e));
                }
            }
            match acceptor.read_tls(&mut &socket) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    let left = timeout.saturating_sub(began.elapsed());
                    wait(&socket, Ready { read: true, write: false }, left).map_err(io_error)?;
                }
                Err(e) => return Err(e),
            }
        };
        let config = keys.for_name(hello.client_hello().server_name());
        let tls = hello.into_connection(config).map_err(|(e, mut alert)| {
            let _ = alert.write_all(&mut &socket);
            refused(e)
        })?;
        Tls::finish(socket, tls.into(), began, timeout)
    }

    fn finish(
        socket: TcpStream,
        mut tls: Connection,
        began: Instant,
        timeout: Duration,
    ) -> io::Result<Tls> {
        socket.set_nonblocking(true)?;
        tls.set_buffer_limit(Some(UNSENT));
        let state = Mutex::new(State { tls, trouble: None });
        let this = Tls { socket, state, began: Instant::now() };
        loop {
            let want = {
                let mut state = this.state.lock();
                let moved = state.shake(&this.socket);
                match moved {
                    Ok(()) if !state.tls.is_handshaking() && !state.tls.wants_write() => break,
                    Ok(()) => {
                        Ready { read: state.tls.wants_read(), write: state.tls.wants_write() }
                    }
                    Err(e) => {
                        return Err(state.trouble.take().map_or_else(|| io_error(e), refused));
                    }
                }
            };
            let left = timeout.saturating_sub(began.elapsed());
            wait(&this.socket, want, left).map_err(io_error)?;
        }
        Ok(this)
    }
}

impl State {
    /// One step of the handshake.
    fn shake(&mut self, socket: &TcpStream) -> Result<()> {
        self.flush(socket)?;
        if self.tls.is_handshaking() {
            match self.fetch(socket) {
                Ok(()) | Err(Errno::EAGAIN) => {}
                Err(e) => return Err(e),
            }
            self.flush(socket)?;
        }
        Ok(())
    }

    /// Sends what is ready, as far as it goes.
    fn flush(&mut self, mut socket: &TcpStream) -> Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut socket) {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    // The reason, if there is one, lies in what can be read.
                    let _ = self.fetch(socket);
                    return Err(number(&e));
                }
            }
        }
        Ok(())
    }

    /// True when bytes, or the end, came along with something else: the socket
    /// does not tell of them any more.
    fn has_input(&mut self) -> bool {
        let state = self.tls.process_new_packets();
        state.map_or(true, |s| s.plaintext_bytes_to_read() > 0 || s.peer_has_closed())
    }

    /// Takes in what has come; EAGAIN when nothing has.
    fn fetch(&mut self, mut socket: &TcpStream) -> Result<()> {
        match self.tls.read_tls(&mut socket) {
            Ok(0) => return Err(Errno::ECONNRESET),
            Ok(_) => {}
            Err(e) => return Err(number(&e)),
        }
        if let Err(e) = self.tls.process_new_packets() {
            self.trouble = Some(words(&e));
            // The other end is told why.
            let _ = self.tls.write_tls(&mut socket);
            return Err(Errno::EACCES);
        }
        Ok(())
    }
}

impl Transport for Tls {
    fn send(&self, parts: &[&[u8]]) -> Result<usize> {
        let mut state = self.state.lock();
        state.flush(&self.socket)?;
        if state.tls.wants_write() {
            return Err(Errno::EAGAIN);
        }
        let mut sent = 0;
        for part in parts {
            let n = state.tls.writer().write(part).map_err(|e| number(&e))?;
            sent += n;
            if n < part.len() {
                break;
            }
        }
        state.flush(&self.socket)?;
        Ok(sent)
    }

    fn recv(&self, buf: &mut [u8]) -> Result<usize> {
        let mut state = self.state.lock();
        loop {
            match state.tls.reader().read(buf) {
                Ok(n) => return Ok(n),
                Err(e) if e.kind() == ErrorKind::WouldBlock => state.fetch(&self.socket)?,
                // Cut off: somebody may want us to take it for the end.
                Err(_) => return Err(Errno::ECONNRESET),
            }
        }
    }

    fn wait(&self, want: Ready, timeout: Duration) -> Result<Ready> {
        let deadline = self.began.elapsed().saturating_add(timeout);
        loop {
            if want.read && self.state.lock().has_input() {
                return Ok(Ready { read: true, write: false });
            }
            let unsent = self.is_unsent();
            let left = deadline.saturating_sub(self.began.elapsed());
            let both = Ready { read: want.read, write: want.write || unsent };
            let ready = wait(&self.socket, both, left)?;
            if ready.write && unsent {
                self.flush()?;
            }
            if (ready.read && want.read) || (ready.write && want.write) {
                return Ok(ready);
            }
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Wire for Tls {
    fn ends(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        (self.socket.as_fd(), self.socket.as_fd())
    }

    fn is_unsent(&self) -> bool {
        self.state.lock().tls.wants_write()
    }

    fn flush(&self) -> Result<()> {
        self.state.lock().flush(&self.socket)
    }

    fn trouble(&self) -> Option<String> {
        self.state.lock().trouble.clone()
    }
}

impl Drop for Tls {
    /// Says that this is the end, so that it is not taken for a cut.
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.tls.send_close_notify();
        let _ = state.flush(&self.socket);
    }
}
