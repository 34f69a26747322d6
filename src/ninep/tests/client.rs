//! The client against servers that answer as the test says: late, out of
//! order, wrongly, or not at all.

mod common;

use common::{
    DIR, L, LONG, SHORT, Server, attached, open_of, options, play, play_interrupted, walk_reply,
};
use privns_ninep::attr::{Attr, Entry, Qid};
use privns_ninep::client::{Fid, Opened, Options, flags};
use privns_ninep::dialect::OFFERS;
use privns_ninep::hosted::HostedClient;
use privns_ninep::message::{
    Rattach, Rclunk, Request, Rerror, Rflush, Rgetattr, Rlerror, Rlopen, Ropen, Rread, Rreaddir,
    Rversion, Rwalk, split,
};
use privns_ninep::name::Name;
use privns_ninep::wire::{Data, Few, Unix, Writer};
use privns_ninep::{Dialect, Errno, NONUM, NOTAG};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What a server says to an offer; nothing: an error.
type Answer = fn(&[u8]) -> Option<&'static [u8]>;

/// Answers offers; errors come in the form `refusal`, 0: as "unknown".
fn negotiate(mut server: Server, answer: Answer, refusal: u8) {
    while let Some(frame) = server.frame() {
        let (_, tag, body) = split(&frame).unwrap();
        assert_eq!(tag, NOTAG);
        match answer(&body[6..]) {
            Some(version) => server.reply(tag, &Rversion { msize: 8192, version }),
            None if refusal == 0 => {
                server.reply(tag, &Rversion { msize: 8192, version: b"unknown" })
            }
            // An error number under either type: diod and ganesha.
            None => server.raw(&[11, 0, 0, 0, refusal, 0xff, 0xff, 5, 0, 0, 0]),
        }
    }
}

#[test]
fn dialects_are_offered_from_the_best_down() {
    let cases: [(Answer, Option<(Dialect, bool)>); 7] = [
        (|v| (v == OFFERS[0]).then_some(b"9P2000.L.ordered"), Some((Dialect::Linux, true))),
        (|v| (v == OFFERS[1]).then_some(b"9P2000.L"), Some((Dialect::Linux, false))),
        (|v| (v == OFFERS[2]).then_some(b"9P2000.u"), Some((Dialect::Unix, false))),
        (|v| (v == OFFERS[3]).then_some(b"9P2000"), Some((Dialect::Base, false))),
        // One that strips extensions and has .u when asked for it by name.
        (
            |v| Some(if v == OFFERS[2] { b"9P2000.u" } else { b"9P2000" }),
            Some((Dialect::Unix, false)),
        ),
        (|_| Some(b"9P2000"), Some((Dialect::Base, false))),
        (|_| None, None),
    ];
    for (i, (answer, expected)) in cases.into_iter().enumerate() {
        for refusal in [0, 7, 107] {
            let script = move |server: Server| negotiate(server, answer, refusal);
            play(script, |stream| match (stream.client(&options(&OFFERS)), expected) {
                (Ok(client), Some(expected)) => {
                    let agreed = client.agreed();
                    assert_eq!((agreed.dialect, agreed.ours), expected, "case {i}");
                    assert_eq!(agreed.msize, 8192);
                }
                (got, expected) => {
                    assert!(expected.is_none(), "case {i}");
                    assert_eq!(got.unwrap_err(), Errno::EPROTONOSUPPORT);
                }
            });
        }
    }
}

#[test]
fn a_bad_version_is_refused() {
    let replies: [&[u8]; 5] = [
        // More than was asked; less than can be worked with; another tag;
        // another type; a size that lies.
        &[21, 0, 0, 0, 101, 0xff, 0xff, 0, 0, 2, 0, 8, 0, 57, 80, 50, 48, 48, 48, 46, 76],
        &[21, 0, 0, 0, 101, 0xff, 0xff, 9, 0, 0, 0, 8, 0, 57, 80, 50, 48, 48, 48, 46, 76],
        &[21, 0, 0, 0, 101, 1, 0, 0, 32, 0, 0, 8, 0, 57, 80, 50, 48, 48, 48, 46, 76],
        &[9, 0, 0, 0, 111, 0xff, 0xff, 0, 0],
        &[0xff, 0xff, 0xff, 0x7f, 101, 0xff, 0xff],
    ];
    for reply in replies {
        let script = |mut server: Server| {
            server.expect("Tversion");
            server.raw(reply);
        };
        play(script, |stream| {
            let e = stream.client(&options(L)).unwrap_err();
            assert!(matches!(e, Errno::EPROTO | Errno::EIO), "{e:?}");
        });
    }
    play(drop, |stream| assert!(stream.client(&options(L)).is_err()));
}

#[test]
fn replies_in_any_order_reach_their_callers() {
    let script = |mut server: Server| {
        server.welcome(b"9P2000.L");
        let mut asked = Vec::new();
        for _ in 0..4 {
            let (_, tag, count) = server.next(|r| match r {
                Request::Tread(m) => m.count,
                other => panic!("{other:?}"),
            });
            asked.push((tag, count));
        }
        for (tag, count) in asked.into_iter().rev() {
            server.reply(tag, &Rread { data: Data(&vec![count as u8; count as usize]) });
        }
    };
    play(script, |stream| {
        let (client, fid) = attached(stream);
        let open = open_of(fid);
        std::thread::scope(|scope| {
            for count in 1..=4usize {
                let (client, open) = (&client, &open);
                scope.spawn(move || {
                    let mut buf = vec![0; count];
                    assert_eq!(client.read(open, 0, &mut buf), Ok(count));
                    assert!(buf.iter().all(|b| usize::from(*b) == count));
                });
            }
        });
        assert_eq!(client.counters().in_flight, 0);
    });
}

#[test]
fn a_short_walk_clunks_what_the_server_may_have_bound() {
    let script = |mut server: Server| {
        server.welcome(b"9P2000.L");
        let (tag, newfid) = server.walk();
        server.reply(tag, &walk_reply(1));
        let (clunk, clunked) = server.clunk();
        assert_eq!(clunked, newfid);
        let (tag, second) = server.walk();
        assert_ne!(second, newfid, "its clunk is still under way");
        server.reply(clunk, &Rlerror { code: 9 });
        server.reply(tag, &walk_reply(1));
        let (tag, third) = server.walk();
        assert_eq!(third, newfid, "its clunk was answered, if with an error");
        server.reply(tag, &walk_reply(1));
    };
    play(script, |stream| {
        let (client, root) = attached(stream);
        assert_eq!(client.walk(&root, &[b"a", b"b"]).unwrap_err(), Errno::ENOTDIR);
        let (second, _) = client.walk(&root, &[b"a"]).unwrap();
        let (third, _) = client.walk(&root, &[b"a"]).unwrap();
        assert!(third.number() < second.number());
    });
}

/// By walk(5) a short answer does not say why; a walk from there does.
#[test]
fn why_a_walk_ended_early_is_asked() {
    /// The next walk, behind clunks: its tag, where from and where to.
    fn walk(server: &mut Server) -> (u16, u32, u32) {
        loop {
            let seen = server.next(|r| match r {
                Request::Twalk(m) => Some((m.fid, m.newfid)),
                Request::Tclunk(_) => None,
                other => panic!("{other:?}"),
            });
            match seen {
                (_, tag, Some((from, to))) => return (tag, from, to),
                (_, tag, None) => server.reply(tag, &Rclunk {}),
            }
        }
    }
    fn come(server: &mut Server, names: usize) -> (u32, u32) {
        let (tag, from, to) = walk(server);
        let mut qids = Few::default();
        (0..names).for_each(|_| assert!(qids.push(DIR)));
        server.reply(tag, &Rwalk { qids });
        (from, to)
    }
    let script = |mut server: Server| {
        server.welcome(b"9P2000.L");
        for code in [13, 2] {
            let (root, _) = come(&mut server, 1);
            let (begins, there) = come(&mut server, 1);
            let (tag, from, _) = walk(&mut server);
            assert_eq!((begins, from), (root, there));
            server.reply(tag, &Rlerror { code });
        }
        let (tag, ..) = walk(&mut server);
        server.reply(tag, &Rlerror { code: 13 });
        // What has come in between was not there.
        for names in [2, 2, 1] {
            come(&mut server, names);
        }
    };
    play(script, |stream| {
        let (client, root) = attached(stream);
        let walk = |names: &[&[u8]]| client.walk(&root, names).map(|_| ());
        assert_eq!(walk(&[b"a", b"b", b"c"]), Err(Errno::EACCES));
        assert_eq!(walk(&[b"a", b"b"]), Err(Errno::ENOENT));
        assert_eq!(walk(&[b"a"]), Err(Errno::EACCES), "one name has its error");
        assert_eq!(walk(&[b"a", b"b", b"c"]), Err(Errno::ENOENT));
    });
}

#[test]
fn errors_of_type_107_with_a_number_are_understood() {
    let script = |mut server: Server| {
        server.welcome(b"9P2000.L");
        let tag = server.expect("Twalk");
        server.raw(&[11, 0, 0, 0, 107, tag as u8, 0, 13, 0, 0, 0]);
        let tag = server.expect("Twalk");
        server.raw(&[7, 0, 0, 0, 107, tag as u8, 0]);
    };
    play(script, |stream| {
        let (client, root) = attached(stream);
        assert_eq!(client.walk(&root, &[b"a"]).unwrap_err(), Errno::EACCES);
        assert_eq!(client.walk(&root, &[b"a"]).unwrap_err(), Errno::EIO);
        assert_eq!(client.counters().fids, 1);
    });
}

#[test]
fn a_bad_reply_ends_the_connection_with_eio() {
    let long = vec![1; 200];
    let (mut slash, mut endless) = (Vec::new(), Vec::new());
    let entry = |name, cookie| Entry { name: Name::new(name), cookie, ..Entry::default() };
    Writer::new(&mut slash, Dialect::Linux).put(&entry(b"../x", 1));
    Writer::new(&mut endless, Dialect::Linux).put(&entry(b"x", 77));
    type Spoil<'a> = Box<dyn Fn(&mut Server, u16) + Send + Sync + 'a>;
    type Ask = fn(&HostedClient, Fid) -> Errno;
    let read: Ask = |c, fid| c.read(&open_of(fid), 0, &mut [0; 100]).unwrap_err();
    let walk: Ask = |c, fid| c.walk(&fid, &[b"a"]).unwrap_err();
    let list: Ask = |c, fid| c.readdir(&open_of(fid), 77, |_| ()).unwrap_err();
    let cases: Vec<(Ask, Spoil<'_>)> = vec![
        (read, Box::new(|s, tag| s.reply(tag, &Rread { data: Data(&long) }))),
        (read, Box::new(|s, tag| s.reply(tag + 1, &Rread { data: Data(b"x") }))),
        (read, Box::new(|s, tag| s.reply(tag, &Rclunk {}))),
        (read, Box::new(|s, tag| s.raw(&[11, 0, 0, 0, 117, tag as u8, 0, 255, 255, 255, 255]))),
        (read, Box::new(|s, _| s.raw(&[0, 0, 0, 0]))),
        (read, Box::new(|s, _| s.raw(&[255, 255, 255, 255]))),
        (read, Box::new(|s, tag| s.raw(&[11, 0, 0, 0, 117, tag as u8]))),
        (walk, Box::new(|s, tag| s.reply(tag, &walk_reply(2)))),
        (walk, Box::new(|s, tag| s.raw(&[9, 0, 0, 0, 111, tag as u8, 0, 255, 255]))),
        (list, Box::new(|s, tag| s.reply(tag, &Rreaddir { data: Data(&slash) }))),
        (list, Box::new(|s, tag| s.reply(tag, &Rreaddir { data: Data(&slash[..9]) }))),
        (list, Box::new(|s, tag| s.reply(tag, &Rreaddir { data: Data(&endless) }))),
    ];
    for (i, (ask, spoil)) in cases.into_iter().enumerate() {
        let script = |mut server: Server| {
            server.welcome(b"9P2000.L");
            let (_, tag, ()) = server.next(|_| ());
            spoil(&mut server, tag);
        };
        play(script, |stream| {
            let (client, root) = attached(stream);
            assert_eq!(ask(&client, root), Errno::EIO, "case {i}");
            assert_eq!(client.attach(b"me", NONUM, b"").unwrap_err(), Errno::EIO, "case {i}");
        });
    }
}

#[test]
fn all_who_wait_learn_that_the_server_is_gone() {
    let script = |mut server: Server| {
        server.welcome(b"9P2000.L");
        (0..5).for_each(|_| assert!(server.expect("Tgetattr") < 5));
    };
    play(script, |stream| {
        let (client, root) = attached(stream);
        std::thread::scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| assert_eq!(client.getattr(&root).unwrap_err(), Errno::EIO));
            }
        });
    });
}

#[test]
fn requests_leave_together_where_order_is_promised() {
    const TOGETHER: [&str; 4] = ["Twalk", "Tlopen", "Tgetattr", "Tread"];
    let script = |mut server: Server| {
        server.welcome(b"9P2000.L.ordered");
        // All four are here before the first is answered.
        let tags = TOGETHER.map(|name| server.expect(name));
        server.reply(tags[0], &walk_reply(1));
        server.reply(tags[1], &Rlopen { qid: Qid::default(), iounit: 0 });
        server.reply(tags[2], &Rgetattr { attr: Attr::of(5, 0o100_644, 4) });
        server.reply(tags[3], &Rread { data: Data(b"text") });
        let tags = TOGETHER.map(|name| server.expect(name));
        for (i, tag) in tags.into_iter().enumerate() {
            server.reply(tag, &Rlerror { code: if i == 0 { 2 } else { 9 } });
        }
    };
    play(script, |stream| {
        let client = stream.client(&options(&OFFERS[..1])).unwrap();
        let (root, _) = client.attach(b"me", NONUM, b"").unwrap();
        let mut buf = [0; 10];
        let open = client.open_at(&root, &[b"f"], 0, &mut buf).unwrap();
        assert_eq!((open.first, &buf[..4]), (Some(4), &b"text"[..]));
        assert_eq!(open.attr.unwrap().size, 4);
        assert_eq!(client.open_at(&root, &[b"g"], 0, &mut buf).unwrap_err(), Errno::ENOENT);
        assert_eq!(client.counters().fids, 2);
    });
}

#[test]
fn requests_leave_one_by_one_elsewhere() {
    let script = |mut server: Server| {
        server.welcome(b"9P2000.L");
        let (tag, _) = server.walk();
        server.assert_silent();
        server.reply(tag, &walk_reply(1));
        let tag = server.expect("Tlopen");
        server.assert_silent();
        server.reply(tag, &Rlerror { code: 13 });
        // The clunk waits for company.
        server.assert_silent();
        let (tag, _) = server.clunk();
        server.reply(tag, &Rclunk {});
        let tag = server.expect("Tgetattr");
        server.attributes(tag);
    };
    play(script, |stream| {
        let (client, root) = attached(stream);
        assert_eq!(client.open_at(&root, &[b"f"], 0, &mut [0; 9]).unwrap_err(), Errno::EACCES);
        std::thread::sleep(Duration::from_millis(200));
        client.getattr(&root).unwrap();
    });
}

#[test]
fn a_signal_flushes_and_the_request_never_was() {
    let script = |mut server: Server, signal: &AtomicBool| {
        server.welcome(b"9P2000.L");
        let old = server.expect("Twalk");
        signal.store(true, Relaxed);
        let flush = server.flush_of(old);
        server.reply(flush, &Rflush {});
        assert_eq!(server.expect("Tgetattr"), old, "the tag is free again");
        server.attributes(old);
    };
    play_interrupted(LONG, script, |client, root| {
        assert_eq!(client.walk(&root, &[b"slow"]).unwrap_err(), Errno::EINTR);
        assert_eq!(client.counters().fids, 1);
        client.getattr(&root).unwrap();
    });
}

#[test]
fn a_reply_that_overtakes_the_flush_counts() {
    let script = |mut server: Server, signal: &AtomicBool| {
        server.welcome(b"9P2000.L");
        let old = server.expect("Twalk");
        signal.store(true, Relaxed);
        let flush = server.flush_of(old);
        server.reply(old, &walk_reply(1));
        let tag = server.expect("Tgetattr");
        assert!(tag != old && tag != flush, "neither tag is free before Rflush");
        server.reply(flush, &Rflush {});
        server.attributes(tag);
    };
    play_interrupted(LONG, script, |client, root| {
        let (fid, _) = client.walk(&root, &[b"slow"]).unwrap();
        client.getattr(&fid).unwrap();
        assert_eq!(client.counters().in_flight, 0);
    });
}

#[test]
fn a_server_that_hangs_holds_nobody_and_is_tidied_up_after() {
    let script = |mut server: Server, signal: &AtomicBool| {
        server.welcome(b"9P2000.L");
        let (old, newfid) = server.walk();
        signal.store(true, Relaxed);
        let flush = server.flush_of(old);
        // When the next request is here, nobody waits for the first any more.
        let other = server.expect("Tgetattr");
        assert!(other != old && other != flush);
        server.reply(old, &walk_reply(1));
        server.reply(flush, &Rflush {});
        server.attributes(other);
        let (tag, clunked) = server.clunk();
        assert_eq!(clunked, newfid, "the fid that nobody got");
        server.reply(tag, &Rclunk {});
        let tag = server.expect("Tgetattr");
        server.attributes(tag);
    };
    play_interrupted(SHORT, script, |client, root| {
        let began = Instant::now();
        assert_eq!(client.walk(&root, &[b"slow"]).unwrap_err(), Errno::EINTR);
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!(client.counters().in_flight, 2);
        client.getattr(&root).unwrap();
        client.getattr(&root).unwrap();
        let counters = client.counters();
        assert_eq!((counters.in_flight, counters.fids), (0, 1));
    });
}

#[test]
fn a_request_that_takes_too_long_is_flushed() {
    let script = |mut server: Server| {
        server.welcome(b"9P2000.L");
        let old = server.expect("Tgetattr");
        let flush = server.flush_of(old);
        server.reply(flush, &Rflush {});
        let tag = server.expect("Tgetattr");
        server.attributes(tag);
    };
    play(script, |stream| {
        let timeout = Duration::from_millis(700);
        let options = Options { timeout, grace: LONG, ..options(L) };
        let client = stream.client(&options).unwrap();
        let (root, _) = client.attach(b"me", NONUM, b"").unwrap();
        let began = Instant::now();
        assert_eq!(client.getattr(&root).unwrap_err(), Errno::ETIMEDOUT);
        assert!((timeout..Duration::from_secs(9)).contains(&began.elapsed()));
        client.getattr(&root).unwrap();
        assert_eq!(client.counters().in_flight, 0);
    });
}

#[test]
fn a_server_that_does_not_answer_a_flush_either_is_dead() {
    let script = |mut server: Server| {
        server.welcome(b"9P2000.L");
        for _ in 0..3 {
            server.expect("Tgetattr");
        }
        while server.frame().is_some() {}
    };
    play(script, |stream| {
        let timeout = Duration::from_millis(300);
        let options = Options { timeout, grace: SHORT, ..options(L) };
        let client = stream.client(&options).unwrap();
        let (root, _) = client.attach(b"me", NONUM, b"").unwrap();
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let ask = || assert_eq!(client.getattr(&root).unwrap_err(), Errno::ETIMEDOUT);
                scope.spawn(ask);
            }
        });
        assert!(began.elapsed() < LONG);
        assert_eq!(client.failure(), Some(Errno::ETIMEDOUT));
        assert_eq!(client.getattr(&root).unwrap_err(), Errno::ETIMEDOUT);
    });
}

#[test]
fn an_interrupted_write_leaves_whole_frames_behind() {
    let script = |mut server: Server, signal: &AtomicBool| {
        server.welcome(b"9P2000.L");
        // Nothing is read until the socket is full in the middle of a frame.
        std::thread::sleep(Duration::from_millis(100));
        signal.store(true, Relaxed);
        std::thread::sleep(Duration::from_millis(100));
        let mut writes = 0;
        loop {
            let (name, tag, ()) = server.next(|_| ());
            match name {
                "Twrite" => writes += 1,
                "Tflush" => server.reply(tag, &Rflush {}),
                "Tgetattr" => return server.attributes(tag),
                other => panic!("{other} after {writes} writes"),
            }
        }
    };
    play_interrupted(LONG, script, |client, root| {
        let file = Opened { iounit: 65_000, ..open_of(root) };
        let data = vec![7; 65_000];
        let mut begun = Vec::new();
        let e = loop {
            match client.begin_write(&file, 0, &data) {
                Ok((_, pending)) => begun.push(pending),
                Err(e) => break e,
            }
        };
        assert_eq!(e, Errno::EINTR);
        assert!(!begun.is_empty());
        begun.into_iter().for_each(|pending| client.abandon(pending));
        client.getattr(&file.fid).unwrap();
    });
}

#[test]
fn text_errors_of_the_old_dialects_become_numbers() {
    for (dialect, offers) in [(Dialect::Base, &OFFERS[3..]), (Dialect::Unix, &OFFERS[2..3])] {
        let script = |mut server: Server| {
            let tag = server.expect("Tversion");
            server.reply(tag, &Rversion { msize: 8192, version: dialect.version() });
            server.dialect = dialect;
            let tag = server.expect("Tattach");
            server.reply(tag, &Rerror { text: b"u9fs: unknown attach name", code: Unix(0) });
            let tag = server.expect("Tattach");
            server.reply(tag, &Rerror { text: b"file is a directory", code: Unix(13) });
        };
        play(script, |stream| {
            let client = stream.client(&options(offers)).unwrap();
            assert_eq!(client.attach(b"me", 7, b"x").unwrap_err(), Errno::ENOENT);
            let numeric = if dialect == Dialect::Unix { Errno::EACCES } else { Errno::EISDIR };
            assert_eq!(client.attach(b"me", 7, b"x").unwrap_err(), numeric);
        });
    }
}

#[test]
fn open_flags_of_linux_are_told_in_plan_9s_words() {
    let script = |mut server: Server| {
        let tag = server.expect("Tversion");
        server.reply(tag, &Rversion { msize: 8192, version: b"9P2000" });
        let tag = server.expect("Tattach");
        server.reply(tag, &Rattach { qid: DIR });
        let (_, tag, mode) = server.next(|r| match r {
            Request::Topen(m) => m.mode,
            other => panic!("{other:?}"),
        });
        assert_eq!(mode, 2 | 0x10);
        server.reply(tag, &Ropen { qid: DIR, iounit: 100 });
    };
    play(script, |stream| {
        let client = stream.client(&options(&OFFERS[3..])).unwrap();
        let (root, _) = client.attach(b"me", NONUM, b"").unwrap();
        let open = client.open(root, flags::RDWR | flags::TRUNC).unwrap();
        assert_eq!(open.iounit, 100);
    });
}
