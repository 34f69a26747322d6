//! Servers that say anything: no operation panics, waits for ever, or takes
//! memory without bound; whatever is said, it ends.

use privns_ninep::attr::{Qid, SetAttr};
use privns_ninep::client::window::ReadAhead;
use privns_ninep::client::{Client, Options, Ready, Route, State, Transport};
use privns_ninep::hosted::Shared;
use privns_ninep::message::{Body, Rattach, Rversion, Rwalk, Rwrite};
use privns_ninep::wire::Few;
use privns_ninep::{Dialect, Errno, NONUM, NOTAG, Result};
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// Marsaglia's xorshift: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Takes everything in, and says what it was made with, in pieces of any size.
struct Noise {
    said: RefCell<Vec<u8>>,
    at: Cell<usize>,
    numbers: RefCell<Numbers>,
    clock: Cell<u64>,
}

impl Transport for Noise {
    fn send(&self, parts: &[&[u8]]) -> Result<usize> {
        Ok(parts.iter().map(|part| part.len()).sum())
    }
    fn recv(&self, buf: &mut [u8]) -> Result<usize> {
        let (said, at) = (self.said.borrow(), self.at.get());
        let most = self.numbers.borrow_mut().next() as usize % 5000 + 1;
        let n = buf.len().min(said.len() - at).min(most);
        buf[..n].copy_from_slice(&said[at..at + n]);
        self.at.set(at + n);
        if n == 0 { Err(Errno::EAGAIN) } else { Ok(n) }
    }
    fn wait(&self, want: Ready, timeout: Duration) -> Result<Ready> {
        let more = self.at.get() < self.said.borrow().len();
        if more || want.write {
            return Ok(Ready { read: more, write: want.write });
        }
        self.clock.set(self.clock.get() + timeout.as_millis() as u64);
        Err(Errno::ETIMEDOUT)
    }
    fn now(&self) -> Duration {
        Duration::from_millis(self.clock.get())
    }
}

/// Replies as they might be, to tags that are likely, with lies in them.
fn say(numbers: &mut Numbers, dialect: Dialect, out: &mut Vec<u8>) {
    const TYPES: [u8; 16] =
        [7, 13, 15, 25, 41, 105, 107, 109, 111, 113, 115, 117, 117, 119, 121, 125];
    let tag = (numbers.next() % 6) as u16;
    let mut frame = Vec::new();
    match numbers.next() % 4 {
        0 => {
            let mut qids = Few::default();
            (0..numbers.next() % 3).for_each(|_| assert!(qids.push(Qid::default())));
            Rwalk { qids }.frame(tag, dialect, 0, &mut frame).unwrap();
        }
        1 => {
            let count = (numbers.next() % 70_000) as u32;
            Rwrite { count }.frame(tag, dialect, 0, &mut frame).unwrap();
        }
        _ => {
            let len = match numbers.next() % 4 {
                0 => 4,
                1 => 153,
                2 => numbers.next() % 200,
                _ => numbers.next() % 60_000,
            } as usize;
            frame.extend((len as u32 + 7).to_le_bytes());
            frame.push(TYPES[numbers.next() as usize % TYPES.len()]);
            frame.extend(tag.to_le_bytes());
            let count = if numbers.next().is_multiple_of(3) {
                numbers.next() as u32
            } else {
                len as u32 - 4.min(len as u32)
            };
            frame.extend(count.to_le_bytes());
            frame.extend((0..len).map(|_| numbers.next() as u8 & numbers.next() as u8));
            frame.truncate(len + 7);
        }
    }
    if numbers.next().is_multiple_of(16) {
        let at = numbers.next() as usize % frame.len();
        frame[at] ^= 1 << (numbers.next() % 8);
    }
    out.extend(frame);
}

#[test]
fn whatever_a_server_says_every_operation_ends() {
    let versions: [(&[u8], Dialect); 4] = [
        (b"9P2000.L.ordered", Dialect::Linux),
        (b"9P2000.L", Dialect::Linux),
        (b"9P2000.u", Dialect::Unix),
        (b"9P2000", Dialect::Base),
    ];
    let (mut good, mut bad) = (0, 0);
    for seed in 1..1000u64 {
        let (version, dialect) = versions[seed as usize % versions.len()];
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (mut said, mut more) = (Vec::new(), Vec::new());
        let offers: [&[u8]; 1] = match dialect {
            Dialect::Linux if version.len() > 8 => [b"9P2000.L.privns"],
            _ => [version],
        };
        Rversion { msize: 65_536, version }.frame(NOTAG, Dialect::Base, 0, &mut said).unwrap();
        let noise = Noise {
            said: RefCell::new(said),
            at: Cell::new(0),
            numbers: RefCell::new(Numbers(seed)),
            clock: Cell::new(0),
        };
        let options = Options { msize: 65_536, offers: &offers, ..Options::default() };
        let client: Client<Noise, Shared<State>> =
            Client::start(noise, &options, Shared::new).unwrap();
        if seed % 8 != 0 {
            let mut welcome = Vec::new();
            Rattach { qid: Qid::default() }.frame(0, dialect, 0, &mut welcome).unwrap();
            client.transport().said.borrow_mut().extend(welcome);
        }
        // All that will ever be said; what is over is silence.
        (0..60).for_each(|_| say(&mut numbers, dialect, &mut more));
        client.transport().said.borrow_mut().extend(more);
        let Ok((root, _)) = client.attach(b"me", NONUM, b"") else {
            bad += 1;
            continue;
        };
        good += 1;
        let mut buf = vec![0; 50_000];
        let route = Route::new(&root, &[b"a"]);
        let _ = client.getattr_at(route);
        let _ = client.getattrs(&root, &[&b"x"[..]; 40], |_, _| ());
        let _ = client.rename_at(route, b"b", route, b"c");
        let _ = client.setattr(&root, &SetAttr::default());
        let _ = client.xattr(&root, b"user.x");
        if let Ok(file) = client.open_at(&root, &[b"f"], 2, &mut buf) {
            let mut ahead = ReadAhead::new(None);
            for at in [0, 50_000, 100_000, 7] {
                let _ = ahead.read(&client, &file, at, &mut buf);
            }
            ahead.forget(&client);
            for at in 0..10 {
                let _ = client.write_behind(&file, at, b"data");
            }
            let _ = client.readdir(&file, 0, |_| ());
            let _ = client.settle(&file.fid);
            let _ = client.close(file.fid);
        }
        let _ = client.create(&root, b"g", 0o102, 0o600, NONUM);
    }
    assert!(good > 100 && bad > 50, "{good} {bad}");
}
