//! Reading ahead and writing behind, against servers that answer late, out of
//! order, short, wrongly, or with errors.

mod common;

use common::{DIR, L, LONG, Server, attached, open_of, options, play, play_interrupted};
use privns_ninep::client::window::{ReadAhead, Window};
use privns_ninep::client::{Opened, Options};
use privns_ninep::dialect::OFFERS;
use privns_ninep::message::{
    Rattach, Rclunk, Request, Rflush, Rlerror, Rread, Rversion, Rwrite, split,
};
use privns_ninep::wire::Data;
use privns_ninep::{Dialect, Errno, NONUM};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The file that servers here have: any byte tells its place.
fn byte(at: u64) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

fn contents(at: u64, len: usize, size: u64) -> Vec<u8> {
    (at..size.min(at.saturating_add(len as u64))).map(byte).collect()
}

/// What most of them agree on.
const MSIZE: u32 = 65_536;

/// How a server answers reads.
#[derive(Clone, Copy)]
struct Manner {
    size: u64,
    /// Takes so many requests before it answers, the last one first.
    hoard: usize,
    /// Gives so many bytes at most.
    most: usize,
    /// Largest message.
    msize: u32,
}

/// Serves reads and clunks until the client is gone; `peak` is how many
/// requests there were at once.
fn serve(mut server: Server, manner: Manner, peak: &AtomicUsize) {
    server.welcome_to(manner.msize, b"9P2000.L");
    let mut hoard = Vec::new();
    let mut wait = true;
    loop {
        server.socket.set_read_timeout((!wait).then_some(Duration::from_millis(5))).unwrap();
        let frame = server.frame();
        if let Some(frame) = &frame {
            let (kind, tag, body) = split(frame).unwrap();
            match Request::decode(kind, body, Dialect::Linux).unwrap() {
                Request::Tread(m) => hoard.push((tag, m)),
                Request::Tclunk(_) => server.reply(tag, &Rclunk {}),
                Request::Tflush(m) => {
                    hoard.retain(|(tag, _)| *tag != m.oldtag);
                    server.reply(tag, &Rflush {});
                }
                other => panic!("{other:?}"),
            }
        } else if wait {
            return;
        }
        peak.fetch_max(hoard.len(), Relaxed);
        if frame.is_none() || hoard.len() >= manner.hoard {
            for (tag, m) in hoard.drain(..).rev() {
                let len = (m.count as usize).min(manner.most);
                server.reply(tag, &Rread { data: Data(&contents(m.offset, len, manner.size)) });
            }
        }
        wait = hoard.is_empty();
    }
}

#[test]
fn a_file_is_read_whole_whatever_is_asked_and_however_it_is_answered() {
    const SIZE: u64 = 400_003;
    for (hoard, most) in [(1, usize::MAX), (3, usize::MAX), (7, 9000), (1, 1)] {
        let size = if most == 1 { 300 } else { SIZE };
        for len in [1000, 4096, 60_000, 66_000, 131_072, 2 << 20] {
            let manner = Manner { size, hoard, most, msize: MSIZE };
            play(
                |server| serve(server, manner, &AtomicUsize::new(0)),
                |stream| {
                    let (client, fid) = attached(stream);
                    let file = Opened { iounit: 60_000, ..open_of(fid) };
                    let (mut ahead, mut got) = (ReadAhead::new(None), Vec::new());
                    let mut buf = vec![0; len];
                    loop {
                        let at = got.len() as u64;
                        match ahead.read(&client, &file, at, &mut buf).unwrap() {
                            0 => break,
                            n => got.extend_from_slice(&buf[..n]),
                        }
                    }
                    assert!(got == contents(0, usize::MAX, size), "{hoard} {most} {len}");
                    // Elsewhere in it, and back.
                    for at in [size / 2, 7, size - 1, size + 100] {
                        let n = ahead.read(&client, &file, at, &mut buf[..100]).unwrap();
                        assert_eq!(buf[..n], contents(at, n, size));
                        assert_eq!(n > 0, at < size);
                    }
                    ahead.forget(&client);
                    client.close(file.fid).unwrap();
                    assert_eq!(client.counters().in_flight, 0);
                },
            );
        }
    }
}

#[test]
fn a_window_is_as_wide_as_it_was_made() {
    for (window, least, most) in [(1, 1, 1), (3, 3, 3), (0, 4, 128)] {
        let peak = AtomicUsize::new(0);
        let manner = Manner { size: 4 << 20, hoard: 1000, most: usize::MAX, msize: MSIZE };
        play(
            |server| serve(server, manner, &peak),
            |stream| {
                let options = Options { window: Window::new(window), ..options(L) };
                let client = stream.client(&options).unwrap();
                let (fid, _) = client.attach(b"me", NONUM, b"").unwrap();
                let file = Opened { iounit: 60_000, ..open_of(fid) };
                let mut ahead = ReadAhead::new(Some(manner.size));
                let mut buf = vec![0; 60_000];
                let mut at = 0;
                while at < manner.size {
                    at += ahead.read(&client, &file, at, &mut buf).unwrap() as u64;
                }
                assert!(!ahead.is_ahead(), "nothing is asked for beyond the end");
            },
        );
        let peak = peak.into_inner();
        assert!((least..=most).contains(&peak), "window {window}: {peak}");
    }
}

#[test]
fn what_is_not_read_in_a_row_is_not_read_ahead() {
    let peak = AtomicUsize::new(0);
    let manner = Manner { size: 1 << 40, hoard: 1, most: usize::MAX, msize: MSIZE };
    play(
        |server| serve(server, manner, &peak),
        |stream| {
            let (client, fid) = attached(stream);
            let file = Opened { iounit: 60_000, ..open_of(fid) };
            let mut ahead = ReadAhead::new(None);
            let mut buf = [0; 4096];
            for i in 1..50u64 {
                let at = i * i * 7_777_777;
                assert_eq!(ahead.read(&client, &file, at, &mut buf), Ok(4096));
                assert_eq!(buf[..], contents(at, 4096, manner.size));
                assert!(!ahead.is_ahead());
            }
            assert_eq!(client.counters().requests, 1 + 49);
        },
    );
    assert_eq!(peak.into_inner(), 1);
}

#[test]
fn many_threads_read_large_pieces_at_once() {
    let manner = Manner { size: 1 << 40, hoard: 5, most: usize::MAX, msize: MSIZE };
    play(
        |server| serve(server, manner, &AtomicUsize::new(0)),
        |stream| {
            let (client, fid) = attached(stream);
            let file = Opened { iounit: 60_000, ..open_of(fid) };
            std::thread::scope(|scope| {
                for me in 0..16u64 {
                    let (client, file) = (&client, &file);
                    scope.spawn(move || {
                        let mut ahead = ReadAhead::new(None);
                        let mut buf = vec![0; 50_000 + me as usize * 9000];
                        for turn in 0..20 {
                            let at = me * 1_000_000_000 + turn * buf.len() as u64;
                            let n = ahead.read(client, file, at, &mut buf).unwrap();
                            assert_eq!(n, buf.len());
                            assert!(buf == contents(at, n, u64::MAX));
                        }
                        ahead.forget(client);
                    });
                }
            });
            client.close(file.fid).unwrap();
            assert_eq!(client.failure(), None);
        },
    );
}

/// Large requests are read ahead, and taken in pieces of all sizes; in the
/// middle of an answer others read for it, or it is given up.
#[test]
fn an_answer_is_taken_in_pieces() {
    const SIZE: u64 = 5_000_003;
    let manner = Manner { size: SIZE, hoard: 1, most: usize::MAX, msize: 1 << 20 };
    play(
        |server| serve(server, manner, &AtomicUsize::new(0)),
        |stream| {
            let client = stream.client(&Options { msize: 1 << 20, ..options(L) }).unwrap();
            let (fid, _) = client.attach(b"me", NONUM, b"").unwrap();
            let file = Opened { iounit: 500_000, ..open_of(fid) };
            for others in [false, true] {
                let mut ahead = ReadAhead::new(None);
                let (mut at, mut turn) = (0, 0);
                let mut buf = vec![0; 300_000];
                loop {
                    // Most of them are large, since small ones have memory of their own.
                    let len = [66_000, 70_001, 299_999, 4096, 65_536, 1, 80_000][turn % 7];
                    let n = ahead.read(&client, &file, at, &mut buf[..len]).unwrap();
                    assert!(buf[..n] == contents(at, len, SIZE), "at {at}, {len}");
                    if n < len {
                        break;
                    }
                    (at, turn) = (at + n as u64, turn + 1);
                    if others && turn % 3 == 0 {
                        let n = client.read(&file, 77, &mut buf[..5000]).unwrap();
                        assert!(buf[..n] == contents(77, 5000, SIZE));
                    }
                    if turn == 25 {
                        at = at / 2 + 11;
                    }
                }
                ahead.forget(&client);
            }
            client.close(file.fid).unwrap();
            assert_eq!((client.counters().in_flight, client.failure()), (0, None));
        },
    );
}

#[test]
fn requests_of_a_dead_connection_are_not_taken_to_the_next() {
    let manner = Manner { size: 1 << 30, hoard: 1, most: usize::MAX, msize: MSIZE };
    let mut ahead = ReadAhead::new(None);
    let mut buf = vec![0; 10_000];
    for turn in 0..3 {
        play(
            |server| serve(server, manner, &AtomicUsize::new(0)),
            |stream| {
                let (client, fid) = attached(stream);
                let file = Opened { iounit: 60_000, ..open_of(fid) };
                for i in 0..5 {
                    let at = turn * 50_000 + i * 10_000;
                    assert_eq!(ahead.read(&client, &file, at, &mut buf), Ok(10_000));
                    assert_eq!(buf, contents(at, 10_000, manner.size));
                }
                assert!(ahead.is_ahead());
            },
        );
    }
}

/// The next write: its tag, its offset and its length.
fn write(server: &mut Server) -> (u16, u64, u32) {
    let (_, tag, (offset, len)) = server.next(|r| match r {
        Request::Twrite(m) => (m.offset, m.data.0.len() as u32),
        other => panic!("{other:?}"),
    });
    (tag, offset, len)
}

#[test]
fn writes_return_when_they_are_sent_and_settle_when_they_are_answered() {
    let script = |mut server: Server| {
        server.welcome(b"9P2000.L");
        let writes: Vec<_> = (0..3).map(|_| write(&mut server)).collect();
        assert_eq!(writes.iter().map(|w| w.1).collect::<Vec<_>>(), [0, 100, 200]);
        std::thread::sleep(Duration::from_millis(50));
        for (tag, _, count) in writes.into_iter().rev() {
            server.reply(tag, &Rwrite { count });
        }
        while server.frame().is_some() {}
    };
    play(script, |stream| {
        let (client, fid) = attached(stream);
        let file = open_of(fid);
        for at in [0, 100, 200] {
            assert_eq!(client.write_behind(&file, at, &[7; 100]), Ok(100));
        }
        assert!(client.is_behind(&file.fid));
        let began = Instant::now();
        assert_eq!(client.settle(&file.fid), Ok(()));
        assert!(began.elapsed() >= Duration::from_millis(40));
        assert!(!client.is_behind(&file.fid));
        assert_eq!(client.settle_all(), Ok(()));
        assert_eq!(client.counters().in_flight, 0);
    });
}

#[test]
fn errors_of_writes_are_told_once_and_at_the_next_occasion() {
    let script = |mut server: Server| {
        server.welcome(b"9P2000.L");
        let mut answer = |code: u32, count: u32| {
            let (tag, ..) = write(&mut server);
            match code {
                0 => server.reply(tag, &Rwrite { count }),
                _ => server.reply(tag, &Rlerror { code }),
            }
        };
        // One is cut short, one is refused: that tells why. The third is fine.
        answer(0, 1);
        answer(28, 0);
        answer(0, 4);
        // Cut short, and nobody says why.
        answer(0, 3);
        answer(0, 4);
        answer(122, 0);
        let (tag, _) = server.clunk();
        server.reply(tag, &Rclunk {});
        let tag = server.expect("Tattach");
        server.reply(tag, &Rattach { qid: DIR });
        let (tag, _) = server.clunk();
        server.reply(tag, &Rclunk {});
    };
    play(script, |stream| {
        let (client, fid) = attached(stream);
        let file = open_of(fid);
        for at in [0, 4, 8] {
            assert_eq!(client.write_behind(&file, at, b"abcd"), Ok(4));
        }
        assert_eq!(client.settle_all(), Ok(()));
        assert_eq!(client.write_behind(&file, 12, b"nothing"), Err(Errno::ENOSPC));
        assert_eq!(client.settle(&file.fid), Ok(()), "told already");
        assert_eq!(client.write_behind(&file, 12, b"abcd"), Ok(4));
        assert_eq!(client.settle(&file.fid), Err(Errno::EIO), "cut short");
        assert_eq!(client.write_behind(&file, 12, b"abcd"), Ok(4));
        assert_eq!(client.settle(&file.fid), Ok(()));
        assert_eq!(client.write_behind(&file, 16, b"abcd"), Ok(4));
        assert_eq!(client.close(file.fid), Err(Errno::EDQUOT));
        let (next, _) = client.attach(b"me", NONUM, b"").unwrap();
        assert_eq!(next.number(), 0);
        assert_eq!(client.close(next), Ok(()), "the number's next owner hears nothing");
    });
}

/// On a full disk all that is under way fails: that is told once. Those that are still under
/// way then are counted as such, each once, and what is written afterwards waits for them.
#[test]
fn writes_that_fail_together_are_told_once() {
    let script = |mut server: Server| {
        server.welcome(b"9P2000.L");
        for round in 0..2 {
            let writes: Vec<_> = (0..3).map(|_| write(&mut server)).collect();
            server.reply(writes[0].0, &Rlerror { code: 28 });
            server.assert_silent();
            // One that is cut short is no news either.
            server.reply(writes[1].0, &Rwrite { count: 1 });
            server.assert_silent();
            server.reply(writes[2].0, &Rlerror { code: if round == 0 { 28 } else { 5 } });
            if round == 0 {
                let (tag, _, count) = write(&mut server);
                server.reply(tag, &Rwrite { count });
            }
        }
        let (tag, _) = server.clunk();
        server.reply(tag, &Rclunk {});
    };
    play(script, |stream| {
        let options = Options { window: Window::new(3), ..options(L) };
        let client = stream.client(&options).unwrap();
        let (fid, _) = client.attach(b"me", NONUM, b"").unwrap();
        let file = open_of(fid);
        let three = || {
            for at in [0, 4, 8] {
                assert_eq!(client.write_behind(&file, at, b"abcd"), Ok(4));
            }
            // The window is full: it waits for an answer, and is told of that.
            assert_eq!(client.write_behind(&file, 12, b"abcd"), Err(Errno::ENOSPC));
            assert_eq!(client.counters().in_flight, 2);
            assert!(client.is_behind(&file.fid));
        };
        three();
        assert_eq!(client.write_behind(&file, 12, b"abcd"), Ok(4), "after the others");
        assert_eq!(client.counters().in_flight, 1);
        assert_eq!(client.settle(&file.fid), Ok(()));
        assert!(!client.is_behind(&file.fid));
        three();
        assert_eq!(client.settle_all(), Ok(()));
        assert_eq!(client.counters().in_flight, 0);
        assert!(!client.is_behind(&file.fid));
        assert_eq!(client.close(file.fid), Ok(()), "told already");
    });
}

#[test]
fn closing_waits_for_writes_in_the_same_round_trip_where_order_is_promised() {
    let script = |mut server: Server| {
        let tag = server.expect("Tversion");
        server.reply(tag, &Rversion { msize: 65_536, version: b"9P2000.L.ordered" });
        server.dialect = Dialect::Linux;
        let tag = server.expect("Tattach");
        server.reply(tag, &Rattach { qid: DIR });
        let (first, _, count) = write(&mut server);
        let (clunk, _) = server.clunk();
        server.reply(first, &Rwrite { count });
        server.reply(clunk, &Rclunk {});
    };
    play(script, |stream| {
        let client = stream.client(&options(&OFFERS[..1])).unwrap();
        let (fid, _) = client.attach(b"me", NONUM, b"").unwrap();
        let file = open_of(fid);
        assert_eq!(client.write_behind(&file, 0, b"abcd"), Ok(4));
        assert_eq!(client.close(file.fid), Ok(()));
        assert_eq!(client.counters().fids, 0);
    });
}

#[test]
fn no_more_is_written_behind_than_the_window_has() {
    let script = |mut server: Server| {
        server.welcome(b"9P2000.L");
        let (tag, _, count) = write(&mut server);
        server.assert_silent();
        server.reply(tag, &Rwrite { count });
        let (tag, _, count) = write(&mut server);
        server.reply(tag, &Rwrite { count });
    };
    play(script, |stream| {
        let options = Options { window: Window::new(1), ..options(L) };
        let client = stream.client(&options).unwrap();
        let (fid, _) = client.attach(b"me", NONUM, b"").unwrap();
        let file = open_of(fid);
        assert_eq!(client.write_behind(&file, 0, b"abcd"), Ok(4));
        assert_eq!(client.write_behind(&file, 4, b"efgh"), Ok(4));
        assert_eq!(client.settle(&file.fid), Ok(()));
    });
}

#[test]
fn what_a_dying_server_has_not_answered_is_lost_aloud() {
    let script = |mut server: Server| {
        server.welcome(b"9P2000.L");
        write(&mut server);
    };
    play(script, |stream| {
        let (client, fid) = attached(stream);
        let file = open_of(fid);
        assert_eq!(client.write_behind(&file, 0, b"abcd"), Ok(4));
        assert_eq!(client.settle(&file.fid), Err(Errno::EIO));
        assert_eq!(client.write_behind(&file, 4, b"abcd"), Err(Errno::EIO));
        assert_eq!(client.close(file.fid), Err(Errno::EIO));
    });
}

#[test]
fn a_server_that_writes_without_an_end_is_waited_for_and_then_dead() {
    let script = |mut server: Server| {
        server.welcome(b"9P2000.L");
        let writes: Vec<_> = (0..4).map(|_| write(&mut server)).collect();
        for (tag, _, count) in &writes[..3] {
            std::thread::sleep(Duration::from_millis(150));
            server.reply(*tag, &Rwrite { count: *count });
        }
        while server.frame().is_some() {}
    };
    play(script, |stream| {
        let timeout = Duration::from_millis(300);
        let client = stream.client(&Options { timeout, ..options(L) }).unwrap();
        let (fid, _) = client.attach(b"me", NONUM, b"").unwrap();
        let file = open_of(fid);
        for at in 0..4 {
            assert_eq!(client.write_behind(&file, at, b"x"), Ok(1));
        }
        let began = Instant::now();
        assert_eq!(client.settle(&file.fid), Err(Errno::ETIMEDOUT));
        assert!(began.elapsed() >= Duration::from_millis(600), "it got on three times");
        assert_eq!(client.failure(), Some(Errno::ETIMEDOUT));
    });
}

/// The payload of a large read comes in pieces, and a signal in the middle.
#[test]
fn an_interrupted_payload_is_taken_in_all_the_same() {
    let script = |mut server: Server, signal: &AtomicBool| {
        server.welcome(b"9P2000.L");
        let tag = server.expect("Tread");
        let payload = contents(0, 50_000, u64::MAX);
        let mut frame = Vec::new();
        let body = Rread { data: Data(&payload) };
        privns_ninep::message::Body::frame(&body, tag, Dialect::Linux, 0, &mut frame).unwrap();
        server.raw(&frame[..20_000]);
        std::thread::sleep(Duration::from_millis(50));
        signal.store(true, Relaxed);
        let flush = server.flush_of(tag);
        server.raw(&frame[20_000..]);
        server.reply(flush, &Rflush {});
        let tag = server.expect("Tread");
        server.reply(tag, &Rread { data: Data(&payload) });
    };
    play_interrupted(LONG, script, |client, fid| {
        let file = Opened { iounit: 60_000, ..open_of(fid) };
        let mut buf = vec![0; 50_000];
        // The answer overtook the flush: the read has taken place.
        assert_eq!(client.read(&file, 0, &mut buf), Ok(50_000));
        assert_eq!(buf, contents(0, 50_000, u64::MAX));
        buf.fill(0);
        assert_eq!(client.read(&file, 0, &mut buf), Ok(50_000));
        assert_eq!(buf, contents(0, 50_000, u64::MAX));
    });
}

/// What was asked for behind a read that did not take place is not what comes
/// next.
#[test]
fn after_an_error_reading_goes_on_where_it_was() {
    let script = |mut server: Server| {
        server.welcome(b"9P2000.L");
        let mut reads = 0;
        loop {
            let Some(frame) = server.frame() else { return };
            let (kind, tag, body) = split(&frame).unwrap();
            match Request::decode(kind, body, Dialect::Linux).unwrap() {
                Request::Tread(_) if reads == 2 => server.reply(tag, &Rlerror { code: 5 }),
                Request::Tread(m) => {
                    let data = contents(m.offset, m.count as usize, u64::MAX);
                    server.reply(tag, &Rread { data: Data(&data) });
                }
                Request::Tclunk(_) => server.reply(tag, &Rclunk {}),
                Request::Tflush(_) => server.reply(tag, &Rflush {}),
                other => panic!("{other:?}"),
            }
            reads += u32::from(kind == 116);
        }
    };
    play(script, |stream| {
        let (client, fid) = attached(stream);
        let file = Opened { iounit: 60_000, ..open_of(fid) };
        let (mut ahead, mut buf, mut at, mut errors) = (ReadAhead::new(None), [0; 7000], 0, 0);
        while at < 500_000 {
            match ahead.read(&client, &file, at, &mut buf) {
                Ok(n) => {
                    assert!(buf[..n] == contents(at, n, u64::MAX), "at {at}");
                    at += n as u64;
                }
                Err(e) => {
                    assert_eq!(e, Errno::EIO);
                    errors += 1;
                }
            }
        }
        // It may have been told as a short read.
        assert!(errors <= 1);
        ahead.forget(&client);
    });
}

/// Replies to a large read that are none.
#[test]
fn a_payload_that_lies_ends_the_connection() {
    type Spoil = fn(&mut Server, u16);
    let cases: [Spoil; 6] = [
        // More than was asked for; a count beyond the frame, and short of it.
        |s, tag| s.reply(tag, &Rread { data: Data(&vec![1; 60_001]) }),
        |s, tag| {
            s.raw(&[&[0, 200, 0, 0, 117, tag as u8, 0, 255, 255, 0, 0][..], &[0; 9000]].concat())
        },
        |s, tag| {
            s.raw(&[&[0, 200, 0, 0, 117, tag as u8, 0, 1, 0, 0, 0][..], &[0; 51_189]].concat())
        },
        // Half of one, and the end.
        |s, tag| {
            s.raw(&[&[0, 200, 0, 0, 117, tag as u8, 0, 245, 199, 0, 0][..], &[0; 30_000]].concat())
        },
        // Twice the same; and a flood of tags that nobody uses.
        |s, tag| (0..2).for_each(|_| s.reply(tag, &Rread { data: Data(&[1; 50_000]) })),
        |s, _| (0..2000).for_each(|i| s.reply(500 + i, &Rclunk {})),
    ];
    for (i, spoil) in cases.into_iter().enumerate() {
        let script = |mut server: Server| {
            server.welcome(b"9P2000.L");
            let tag = server.expect("Tread");
            spoil(&mut server, tag);
        };
        play(script, |stream| {
            let (client, fid) = attached(stream);
            let file = Opened { iounit: 60_000, ..open_of(fid) };
            let mut buf = vec![0; 50_000];
            let read = client.read(&file, 0, &mut buf);
            // The first of two is right in itself.
            let first = if i == 4 { Ok(50_000) } else { Err(Errno::EIO) };
            assert!(read == first || read == Err(Errno::EIO), "case {i}: {read:?}");
            assert_eq!(client.getattr(&file.fid).unwrap_err(), Errno::EIO, "case {i}");
        });
    }
}
