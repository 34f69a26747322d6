//! Operations on names: what leaves together, and what becomes of the fids.

mod common;

use common::{DIR, Server, attached, attached_to_ours, play, walk_reply};
use privns_ninep::Errno;
use privns_ninep::attr::{Attr, Qid, qt};
use privns_ninep::client::Route;
use privns_ninep::message::{Rclunk, Rgetattr, Rlerror, Rmkdir, Rrenameat, Rwalk};
use privns_ninep::wire::Few;

fn sized(size: u64) -> Rgetattr {
    Rgetattr { attr: Attr::of(size, 0o100_644, size) }
}

#[test]
fn a_name_is_walked_to_asked_about_and_forgotten_in_one_round_trip() {
    let script = |mut server: Server| {
        server.welcome_ours();
        for found in [true, false] {
            // All three are here before the first is answered.
            let (walk, newfid) = server.walk();
            let ask = server.expect("Tgetattr");
            let (clunk, fid) = server.clunk();
            assert_eq!(fid, newfid);
            if found {
                server.reply(walk, &walk_reply(2));
                server.reply(ask, &sized(7));
                server.reply(clunk, &Rclunk {});
            } else {
                // The walk ends at a link, so that nothing was bound.
                let mut qids = Few::default();
                assert!(qids.push(Qid { kind: qt::SYMLINK, ..Qid::default() }));
                server.reply(walk, &Rwalk { qids });
                server.reply(ask, &Rlerror { code: 9 });
                server.reply(clunk, &Rlerror { code: 9 });
            }
        }
        // The numbers are free again; the last one's end may still be on its way.
        let (walk, newfid) = server.walk();
        assert!(newfid <= 2, "{newfid}");
        server.expect("Tmkdir");
        server.clunk();
        server.reply(walk, &walk_reply(2));
        server.reply(walk + 1, &Rmkdir { qid: DIR });
        server.reply(walk + 2, &Rclunk {});
        while server.frame().is_some() {}
    };
    play(script, |stream| {
        let (client, root) = attached_to_ours(stream);
        let before = client.counters().round_trips;
        let route = Route::new(&root, &[b"a", b"b"]);
        assert_eq!(client.getattr_at(route).unwrap().size, 7);
        assert_eq!(client.getattr_at(route).unwrap_err(), Errno::ELOOP);
        assert_eq!(client.mkdir_at(route, b"c", 0o755, 0), Ok(DIR));
        assert!(client.counters().round_trips - before <= 6);
    });
}

#[test]
fn two_ways_are_walked_at_once() {
    let script = |mut server: Server| {
        server.welcome_ours();
        let (first, a) = server.walk();
        let (second, b) = server.walk();
        let rename = server.expect("Trenameat");
        let mut left = [server.clunk(), server.clunk()];
        left.sort_by_key(|(_, fid)| *fid);
        assert_eq!(left.map(|(_, fid)| fid), [a, b]);
        server.reply(first, &walk_reply(1));
        server.reply(second, &walk_reply(1));
        server.reply(rename, &Rrenameat {});
        left.iter().for_each(|(tag, _)| server.reply(*tag, &Rclunk {}));
        while server.frame().is_some() {}
    };
    play(script, |stream| {
        let (client, root) = attached_to_ours(stream);
        let to = |names| Route::new(&root, names);
        let done = client.rename_at(to(&[b"a"]), b"x", to(&[b"b"]), b"y");
        assert_eq!(done, Ok(()));
    });
}

/// What came of each of three names, the second of which is not there.
const THREE: [&[u8]; 3] = [b"a", b"none", b"c"];

#[test]
fn attributes_of_many_leave_together() {
    let script = |mut server: Server| {
        server.welcome_ours();
        let asked: Vec<_> = (0..3)
            .map(|_| (server.walk().0, server.expect("Tgetattr"), server.clunk().0))
            .collect();
        for (i, (walk, ask, left)) in asked.into_iter().enumerate() {
            if i == 1 {
                server.reply(walk, &Rlerror { code: 2 });
                server.reply(ask, &Rlerror { code: 9 });
            } else {
                server.reply(walk, &walk_reply(1));
                server.reply(ask, &sized(i as u64));
            }
            server.reply(left, &Rclunk {});
        }
        while server.frame().is_some() {}
    };
    play(script, |stream| {
        let (client, root) = attached_to_ours(stream);
        let mut told = Vec::new();
        client.getattrs(&root, &THREE, |i, attr| told.push((i, attr.map(|a| a.size)))).unwrap();
        assert_eq!(told, [(0, Ok(0)), (1, Err(Errno::ENOENT)), (2, Ok(2))]);
    });
}

#[test]
fn elsewhere_each_file_goes_its_way_in_sequence() {
    let script = |mut server: Server| {
        server.welcome(b"9P2000.L");
        let walks: Vec<_> = (0..3).map(|_| server.walk().0).collect();
        server.assert_silent();
        // In whatever order.
        server.reply(walks[2], &walk_reply(1));
        server.reply(walks[1], &Rlerror { code: 2 });
        server.reply(walks[0], &walk_reply(1));
        let asked = [server.expect("Tgetattr"), server.expect("Tgetattr")];
        server.assert_silent();
        server.reply(asked[1], &sized(2));
        server.reply(asked[0], &sized(0));
        let left = [server.clunk().0, server.clunk().0];
        left.into_iter().for_each(|tag| server.reply(tag, &Rclunk {}));
        while server.frame().is_some() {}
    };
    play(script, |stream| {
        let (client, root) = attached(stream);
        let mut told = Vec::new();
        client.getattrs(&root, &THREE, |i, attr| told.push((i, attr.map(|a| a.size)))).unwrap();
        assert_eq!(told, [(0, Ok(0)), (1, Err(Errno::ENOENT)), (2, Ok(2))]);
    });
}

#[test]
fn a_connection_that_dies_among_many_says_so_once() {
    for ours in [true, false] {
        let script = |mut server: Server| {
            if ours {
                server.welcome_ours();
            } else {
                server.welcome(b"9P2000.L");
            }
            let (walk, _) = server.walk();
            server.reply(walk, &walk_reply(1));
        };
        play(script, |stream| {
            let (client, root) = if ours { attached_to_ours(stream) } else { attached(stream) };
            let mut told = 0;
            let done = client.getattrs(&root, &THREE, |_, _| told += 1);
            assert_eq!((done, told), (Err(Errno::EIO), 0));
        });
    }
}
