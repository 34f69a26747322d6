//! Who waits for whom, where several threads use one connection.

mod common;

use common::{LONG, Server, open_of, options, pair};
use privns_ninep::attr::Attr;
use privns_ninep::client::{Client, Ready, Transport};
use privns_ninep::dialect::OFFERS;
use privns_ninep::hosted::{Shared, Stream};
use privns_ninep::message::Rgetattr;
use privns_ninep::{Errno, NONUM, Result};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A stream on which sending takes its time.
struct Slow(Stream);

const SENDING: Duration = Duration::from_millis(30);

impl Transport for Slow {
    fn send(&self, parts: &[&[u8]]) -> Result<usize> {
        if parts.iter().any(|part| part.len() > 1000) {
            sleep(SENDING);
        }
        self.0.send(parts)
    }
    fn recv(&self, buf: &mut [u8]) -> Result<usize> {
        self.0.recv(buf)
    }
    fn wait(&self, want: Ready, timeout: Duration) -> Result<Ready> {
        self.0.wait(want, timeout)
    }
    fn now(&self) -> Duration {
        self.0.now()
    }
}

#[test]
fn whoever_waits_to_write_goes_on_as_soon_as_the_writer_is_done() {
    let (stream, mut server): (Stream, Server) = pair();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            server.welcome_ours();
            // Nothing is answered that could wake anybody.
            while server.frame().is_some() {}
        });
        let client = Client::start(Slow(stream), &options(&OFFERS[..1]), Shared::new).unwrap();
        let file = open_of(client.attach(b"me", NONUM, b"").unwrap().0);
        let data = [7; 4096];
        let (mut least, began) = (LONG, Instant::now());
        // A busy machine may hold one of them up, but not all.
        while least > 3 * SENDING && began.elapsed() < LONG {
            std::thread::scope(|scope| {
                scope.spawn(|| client.write_behind(&file, 0, &data).unwrap());
                sleep(SENDING / 3);
                let second = Instant::now();
                assert_eq!(client.write_behind(&file, 4096, &data), Ok(4096));
                least = least.min(second.elapsed());
            });
        }
        // A reader looks about ten times a second whether there is more to do.
        assert!(least <= 3 * SENDING, "{least:?}");
    });
}

/// A stream that takes nothing large before somebody has taken in what comes.
struct Full {
    stream: Stream,
    room: AtomicBool,
}

impl Transport for Full {
    fn send(&self, parts: &[&[u8]]) -> Result<usize> {
        let large = parts.iter().any(|part| part.len() > 1000);
        if large && !self.room.load(Relaxed) { Err(Errno::EAGAIN) } else { self.stream.send(parts) }
    }
    fn recv(&self, buf: &mut [u8]) -> Result<usize> {
        self.stream.recv(buf)
    }
    fn wait(&self, want: Ready, timeout: Duration) -> Result<Ready> {
        match (want.read, want.write) {
            (true, true) => {
                self.room.store(true, Relaxed);
                Ok(Ready { read: false, write: true })
            }
            (false, true) => {
                sleep(timeout);
                Err(Errno::ETIMEDOUT)
            }
            _ => self.stream.wait(want, timeout),
        }
    }
    fn now(&self) -> Duration {
        self.stream.now()
    }
}

#[test]
fn a_writer_that_waits_for_room_reads_when_the_reader_has_left() {
    let (stream, mut server): (Stream, Server) = pair();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            server.welcome_ours();
            let tag = server.expect("Tgetattr");
            // Until then there is a reader.
            sleep(5 * SENDING);
            server.reply(tag, &Rgetattr { attr: Attr::of(1, 0o100_644, 1) });
            while server.frame().is_some() {}
        });
        let full = Full { stream, room: AtomicBool::new(false) };
        let client = Client::start(full, &options(&OFFERS[..1]), Shared::new).unwrap();
        let file = open_of(client.attach(b"me", NONUM, b"").unwrap().0);
        std::thread::scope(|scope| {
            scope.spawn(|| client.getattr(&file.fid).unwrap());
            sleep(SENDING);
            assert_eq!(client.write_behind(&file, 0, &[7; 4096]), Ok(4096));
        });
    });
}
