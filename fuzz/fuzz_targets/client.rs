//! Any bytes from a server: no operation of the client panics or goes on for ever.
#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use privns_ninep::client::window::ReadAhead;
use privns_ninep::client::{Client, Options, Ready, Route, Transport};
use privns_ninep::hosted::Shared;
use privns_ninep::message::{Body, Rattach, Rversion};
use privns_ninep::{Dialect, Errno, NONUM, NOTAG, Result};
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// Takes everything in, and says what it was given, a few bytes at a time.
struct Told<'d> {
    hello: RefCell<Vec<u8>>,
    rest: Cell<&'d [u8]>,
    piece: usize,
    clock: Cell<Duration>,
}

impl Transport for Told<'_> {
    fn send(&self, parts: &[&[u8]]) -> Result<usize> {
        Ok(parts.iter().map(|part| part.len()).sum())
    }
    fn recv(&self, buf: &mut [u8]) -> Result<usize> {
        let mut hello = self.hello.borrow_mut();
        let rest = self.rest.get();
        let n = match hello.len() {
            0 => rest.len().min(self.piece).min(buf.len()),
            n => n.min(buf.len()),
        };
        if n == 0 {
            return Err(Errno::EAGAIN);
        }
        if hello.is_empty() {
            buf[..n].copy_from_slice(&rest[..n]);
            self.rest.set(&rest[n..]);
        } else {
            buf[..n].copy_from_slice(&hello[..n]);
            hello.drain(..n);
        }
        Ok(n)
    }
    fn wait(&self, want: Ready, timeout: Duration) -> Result<Ready> {
        let read = !self.hello.borrow().is_empty() || !self.rest.get().is_empty();
        if read || want.write {
            return Ok(Ready { read, write: want.write });
        }
        self.clock.set(self.clock.get() + timeout);
        Err(Errno::ETIMEDOUT)
    }
    fn now(&self) -> Duration {
        self.clock.get()
    }
}

fuzz_target!(|data: &[u8]| {
    let [which, piece, rest @ ..] = data else { return };
    let offers: [&[u8]; 4] = [b"9P2000.L.privns", b"9P2000.L", b"9P2000.u", b"9P2000"];
    let offer = usize::from(*which) % 4;
    let version = if offer == 0 { b"9P2000.L.ordered" } else { offers[offer] };
    let dialect = Dialect::named(version).unwrap_or(Dialect::Linux);
    let mut hello = Vec::new();
    Rversion { msize: 16_384, version }.frame(NOTAG, Dialect::Base, 0, &mut hello).expect("short");
    let told = Told {
        hello: RefCell::new(hello),
        rest: Cell::new(rest),
        piece: usize::from(*piece) * 16 + 1,
        clock: Cell::new(Duration::ZERO),
    };
    let options = Options { msize: 16_384, offers: &offers[offer..=offer], ..Options::default() };
    let client = Client::start(told, &options, Shared::new).expect("a version");
    let mut welcome = Vec::new();
    Rattach::default().frame(0, dialect, 0, &mut welcome).expect("short");
    client.transport().hello.borrow_mut().extend(welcome);
    let Ok((root, _)) = client.attach(b"me", NONUM, b"") else { return };
    let mut buf = vec![0; 12_000];
    let _ = client.getattr_at(Route { from: &root, names: &[b"a"] });
    let _ = client.getattrs(&root, &[&b"x"[..]; 5], |_, _| ());
    let Ok(file) = client.open_at(&root, &[b"f"], 2, &mut buf) else { return };
    let mut ahead = ReadAhead::new(None);
    for at in [0, 12_000, 24_000, 7] {
        let _ = ahead.read(&client, &file, at, &mut buf);
    }
    ahead.forget(&client);
    for at in 0..4 {
        let _ = client.write_behind(&file, at, b"data");
    }
    let _ = client.readdir(&file, 0, |_| ());
    let _ = client.close(file.fid);
});
