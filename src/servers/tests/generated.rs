//! The example: a server of few lines is a whole server.

mod common;

#[path = "../examples/generated.rs"]
mod generated;

use common::{Ease, Rig, Speech};
use privns_ninep::attr::mode;
use privns_ninep::client::{Options, flags};
use privns_ninep::{Errno, NONUM};
use privns_servers::{Limits, Server};

#[test]
fn the_example_is_short() {
    let lines = include_str!("../examples/generated.rs").lines().count();
    assert!(lines <= 60, "{lines} lines");
}

#[test]
fn the_generated_tree_is_there_in_every_dialect() {
    let rig = Server::new(generated::Squares, false, Limits::default());
    for speech in [Speech::Ours, Speech::Linux, Speech::Unix, Speech::Base] {
        let (c, root) = rig.attached(speech);
        assert_eq!(c.names(&root).len(), 100);
        assert_eq!(c.contents(&root, b"12").unwrap(), b"144\n");
        let (file, _) = c.walk(&root, &[b"100"]).unwrap();
        let attr = c.getattr(&file).unwrap();
        assert_eq!((attr.size, attr.mode), (6, mode::REGULAR | 0o444));
        assert_eq!(c.contents(&root, b"101").unwrap_err(), Errno::ENOENT);
        assert!(c.walk(&root, &[b"1", b"x"]).is_err());
        // Whatever the example says nothing about is refused, and not badly.
        assert_eq!(c.at(&root, b"1", flags::RDWR).unwrap_err(), Errno::EROFS);
        let how = flags::RDWR | flags::CREATE;
        assert_eq!(c.create(&root, b"x", how, 0o644, NONUM).unwrap_err(), Errno::EROFS);
        assert_eq!(c.mkdir(&root, b"x", 0o755, NONUM).unwrap_err(), Errno::EROFS);
        assert_eq!(c.unlink(&root, b"1", false), Err(Errno::EROFS));
        assert_eq!(c.rename(&root, b"1", &root, b"x"), Err(Errno::EROFS));
        assert_eq!(c.readlink(&file), Err(Errno::EINVAL));
        if speech.is_linux() {
            assert_eq!(c.xattr(&file, b"user.x"), Err(Errno::EOPNOTSUPP));
            assert_eq!(c.statfs(&file).unwrap().namelen, 255);
        }
        drop(c);
        rig.assert_quiet();
    }
}

/// What the suite asks of servers that can be written to, as far as it is about reading.
#[test]
fn m20_the_generated_tree_passes_what_of_the_suite_only_reads() {
    let rig = Server::new(generated::Squares, false, Limits::default());
    for speech in [Speech::Ours, Speech::Linux, Speech::Unix, Speech::Base] {
        let (c, root) = rig.attached(speech);
        for name in [&b"."[..], b"..", b"a/b", b"/", b"a\0b"] {
            assert_eq!(c.walk(&root, &[name]).unwrap_err(), Errno::EINVAL);
        }
        assert_eq!(c.walk(&root, &[b""]).unwrap_err(), Errno::ENOENT);
        assert_eq!(c.walk(&root, &[&[b'n'; 256]]).unwrap_err(), Errno::ENAMETOOLONG);
        let astray: Vec<&[u8]> = (0..40).map(|_| &b"1"[..]).collect();
        assert!(matches!(c.walk(&root, &astray), Err(Errno::ENOTDIR | Errno::ENOENT)));
        for (aname, why) in [(&b"/none"[..], Errno::ENOENT), (b"/..", Errno::ENOENT)] {
            // The example has one tree, whatever it is asked for.
            let attached = c.attach(b"somebody", NONUM, aname);
            assert!(attached.is_ok() || attached.is_err_and(|e| e == why));
        }
        let file = c.at(&root, b"7", 0).unwrap();
        assert_eq!(c.write(&file, 0, b"x").unwrap_err(), Errno::EBADF);
        assert_eq!(c.read(&file, 3, &mut [0; 8]), Ok(0));
        assert_eq!(c.read(&file, 1 << 40, &mut [0; 8]), Ok(0));
        assert_eq!(c.at(&root, b"7", flags::DIRECTORY).unwrap_err(), Errno::ENOTDIR);
        match speech {
            Speech::Ours => assert!(!c.handoff(&file.fid).unwrap().is_empty()),
            _ => assert_eq!(c.handoff(&file.fid), Err(Errno::EOPNOTSUPP)),
        }
        c.close(file.fid).unwrap();
        std::thread::scope(|scope| {
            for n in 1..=8u64 {
                let (c, root) = (&c, &root);
                scope.spawn(move || {
                    for n in (n..=100).step_by(8) {
                        let text = c.contents(root, n.to_string().as_bytes()).unwrap();
                        assert_eq!(text, format!("{}\n", n * n).into_bytes());
                    }
                });
            }
        });
        // Listed in many messages, each name once.
        let small = rig.client_with(speech, &Options { msize: 4096, ..speech.options() });
        let (root, _) = small.attach(b"x", NONUM, b"").unwrap();
        let names = small.names(&root);
        let once: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!((names.len(), once.len()), (100, 100));
        drop((c, small));
        rig.assert_quiet_but_tokens();
    }
}
