//! /proc as a tree: files without a size, processes that go, and names that
//! would be the server's own.

mod common;

use common::{Ease, Rig, Speech};
use privns_ninep::Errno;
use privns_servers::dir::Dir;
use privns_servers::{Limits, Server};
use std::path::Path;
use std::process::{Command, Stdio};

fn proc() -> Server<Dir> {
    Server::new(Dir::new(Path::new("/proc")).unwrap(), true, Limits::default())
}

#[test]
fn files_without_a_size_are_read_to_their_end() {
    let rig = proc();
    for speech in [Speech::Ours, Speech::Linux, Speech::Unix, Speech::Base] {
        let (c, root) = rig.attached(speech);
        let (sys, _) = c.walk(&root, &[b"sys", b"kernel"]).unwrap();
        let here = std::fs::read("/proc/sys/kernel/ostype").unwrap();
        assert_eq!(c.contents(&sys, b"ostype").unwrap(), here);
        // Longer than a page, and than a small message.
        let symbols = c.contents(&root, b"kallsyms").unwrap();
        assert!(symbols.len() > 100_000, "{}", symbols.len());
        assert_eq!(symbols.last(), Some(&b'\n'));
    }
}

#[test]
fn processes_are_listed_and_go() {
    let rig = proc();
    let (c, root) = rig.attached(Speech::Ours);
    let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    let pid = child.id().to_string().into_bytes();
    assert!(c.names(&root).contains(&pid));
    let (dir, _) = c.walk(&root, &[&pid]).unwrap();
    // Until it has become what it is to be.
    while c.contents(&dir, b"comm").unwrap() != b"sleep\n" {
        std::thread::yield_now();
    }
    assert_eq!(c.contents(&dir, b"cmdline").unwrap(), b"sleep\x0060\0");
    let open = c.at(&dir, b"status", 0).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(c.all(&open).unwrap_err(), Errno(3), "ESRCH, as read(2) says");
    assert!(matches!(c.contents(&dir, b"comm").unwrap_err(), Errno::ENOENT | Errno(3)));
    assert_eq!(c.walk(&root, &[&pid]).unwrap_err(), Errno::ENOENT);
    assert!(!c.names(&root).contains(&pid));
    // Listing while others come and go.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..50 {
                let _ = Command::new("true").stdin(Stdio::null()).status();
            }
        });
        for _ in 0..50 {
            let names = c.names(&root);
            for name in names.iter().filter(|n| n[0].is_ascii_digit()) {
                let Ok((dir, _)) = c.walk(&root, &[name]) else { continue };
                match c.contents(&dir, b"stat") {
                    Ok(text) => assert!(text.starts_with(name), "{name:?}"),
                    Err(e) => assert!(matches!(e, Errno::ENOENT | Errno(3)), "{e:?}"),
                }
                c.clunk(dir);
            }
        }
    });
}

#[test]
fn what_is_the_servers_own_is_not_there() {
    let rig = proc();
    let (c, root) = rig.attached(Speech::Ours);
    let names = c.names(&root);
    for own in [&b"self"[..], b"thread-self", b"mounts", b"net"] {
        assert!(!names.contains(&own.to_vec()));
        assert_eq!(c.walk(&root, &[own]).unwrap_err(), Errno::ENOENT);
    }
    // Nothing leads out of it: a process's root, directory and files are told
    // as links and not followed.
    let pid = std::process::id().to_string().into_bytes();
    let (link, _) = c.walk(&root, &[&pid, b"root"]).unwrap();
    assert_eq!(c.readlink(&link).unwrap(), b"/");
    assert!(c.walk(&root, &[&pid, b"root", b"etc"]).is_err());
    assert!(c.open(link, 0).is_err());
}
