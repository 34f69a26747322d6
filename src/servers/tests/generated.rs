//! The example: a server of few lines is a whole server.

mod common;

#[path = "../examples/generated.rs"]
mod generated;

use common::{Ease, Rig, Speech};
use privns_ninep::attr::mode;
use privns_ninep::client::flags;
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
