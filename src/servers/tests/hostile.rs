//! What a hostile client sends to a server. A bad request gets its error or
//! ends its own connection; the others do not notice, and nothing outside the
//! export is seen.

mod common;

use common::{DirRig, Ease, Relayed, Rig, Speech, mem};
use privns_ninep::attr::{SetAttr, Time, mode, set};
use privns_ninep::client::flags;
use privns_ninep::message::{
    Body, Rlerror, Rversion, Tattach, Tclunk, Tlopen, Tread, Tversion, Twalk, Txattrcreate,
    Txattrwalk, split,
};
use privns_ninep::name::Name;
use privns_ninep::wire::{Few, Unix};
use privns_ninep::{Dialect, Errno, NOFID, NONUM, NOTAG};
use privns_servers::session::Peer;
use privns_servers::tree::Groups;
use privns_servers::{Limits, Server};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A client that sends what it likes.
struct Raw(UnixStream);

impl Raw {
    fn new(rig: &dyn Rig) -> Raw {
        let socket = rig.socket(Peer::Trusted);
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Raw(socket)
    }

    /// Past version and attach, fid 0 at the root.
    fn attached(rig: &dyn Rig) -> Raw {
        let mut raw = Raw::new(rig);
        let reply = raw.ask(NOTAG, &Tversion { msize: 8192, version: b"9P2000.L" }).unwrap();
        assert_eq!(reply[4], Rversion::TYPE);
        let attach = Tattach { fid: 0, afid: NOFID, n_uname: Unix(NONUM), ..Tattach::default() };
        assert_eq!(raw.ask(1, &attach).unwrap()[4], 105);
        raw
    }

    fn send(&mut self, bytes: &[u8]) {
        // The other end may have hung up by now.
        let _ = self.0.write_all(bytes);
    }

    fn frame<'b>(tag: u16, body: &impl Body<'b>) -> Vec<u8> {
        let mut frame = Vec::new();
        body.frame(tag, Dialect::Linux, 0, &mut frame).unwrap();
        frame
    }

    /// The next reply; None at the end of the connection.
    fn reply(&mut self) -> Option<Vec<u8>> {
        let mut head = [0; 4];
        match self.0.read_exact(&mut head) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => panic!("no answer"),
            Err(_) => return None,
        }
        let mut frame = vec![0; u32::from_le_bytes(head) as usize];
        frame[..4].copy_from_slice(&head);
        self.0.read_exact(&mut frame[4..]).ok()?;
        split(&frame).unwrap();
        Some(frame)
    }

    fn ask<'b>(&mut self, tag: u16, body: &impl Body<'b>) -> Option<Vec<u8>> {
        self.send(&Raw::frame(tag, body));
        self.reply()
    }

    fn error<'b>(&mut self, body: &impl Body<'b>) -> Option<Errno> {
        let reply = self.ask(7, body)?;
        let code = || u32::from_le_bytes(reply[7..11].try_into().unwrap());
        (reply[4] == Rlerror::TYPE).then(|| Errno(code() as i32))
    }

    fn walk(&mut self, fid: u32, newfid: u32, names: &[&[u8]]) -> Option<Errno> {
        let mut few = Few::default();
        names.iter().for_each(|n| assert!(few.push(Name::new(n))));
        self.error(&Twalk { fid, newfid, names: few })
    }
}

/// Somebody else's session on the same server, before and after.
fn bystander(rig: &dyn Rig, harm: impl FnOnce()) {
    let (c, root) = rig.attached(Speech::Ours);
    c.make(&root, b"bystander", b"fine");
    harm();
    assert_eq!(c.contents(&root, b"bystander").unwrap(), b"fine");
    let (again, root) = rig.attached(Speech::Base);
    assert_eq!(again.contents(&root, b"bystander").unwrap(), b"fine");
}

/// A relay stands before other people's servers: it is to be as hard.
fn directly_and_relayed(check: impl Fn(&dyn Rig)) {
    check(&DirRig::new());
    check(&mem());
    check(&Relayed::new(privns_servers::mem::Mem::new(64 << 20)));
}

#[test]
fn frames_that_lie_end_their_connection() {
    directly_and_relayed(|rig| {
        bystander(rig, || {
            let bad: &[&[u8]] = &[
                &[0, 0, 0, 0],
                &[6, 0, 0, 0, 100, 0, 0],
                &[0xff, 0xff, 0xff, 0xff, 100, 0xff, 0xff],
                &[
                    19, 0, 0, 0, 100, 0xff, 0xff, 0, 32, 0, 0, 200, 0, b'9', b'P', b'2', b'0',
                    b'0', b'0',
                ],
                &[7, 0, 0, 0, 120, 0, 0],
                &[11, 0, 0, 0, 120, 0, 0, 1, 0, 0, 0],
            ];
            for bytes in bad {
                let mut raw = Raw::new(rig);
                raw.send(bytes);
                assert_eq!(raw.reply(), None, "before a version: {bytes:?}");
            }
            let bad: &[&[u8]] = &[
                &[8, 0, 0, 0, 120, 0, 0, 1],
                &[12, 0, 0, 0, 120, 0, 0, 1, 0, 0, 0, 9],
                &[17, 0, 0, 0, 110, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff],
                &[0x01, 0x20, 0, 0, 118, 0, 0],
            ];
            for bytes in bad {
                let mut raw = Raw::attached(rig);
                raw.send(bytes);
                assert_eq!(raw.reply(), None, "{bytes:?}");
            }
            let mut raw = Raw::attached(rig);
            let frame = Raw::frame(NOTAG, &Tclunk { fid: 0 });
            raw.send(&frame);
            assert_eq!(raw.reply(), None, "NOTAG is for version");
        });
        rig.assert_quiet();
    });
}

#[test]
fn unknown_types_get_an_error_and_half_frames_patience() {
    directly_and_relayed(|rig| {
        let mut raw = Raw::attached(rig);
        for kind in [0u8, 4, 5, 6, 7, 106, 107, 112, 124, 200, 255] {
            raw.send(&[9, 0, 0, 0, kind, 5, 0, 1, 2]);
            let reply = raw.reply().unwrap();
            assert_eq!(
                (reply[4], reply[7]),
                (Rlerror::TYPE, Errno::EOPNOTSUPP.0 as u8),
                "type {kind}"
            );
        }
        let frame = Raw::frame(9, &Twalk { fid: 0, newfid: 3, ..Twalk::default() });
        for byte in &frame {
            raw.send(std::slice::from_ref(byte));
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(raw.reply().unwrap()[4], 111);
        raw.send(&frame[..5]);
        drop(raw);
        rig.assert_quiet();
    });
}

#[test]
fn random_bytes_harm_nobody() {
    directly_and_relayed(|rig| {
        let mut x = 0x2545_f491_4f6c_dd1du64;
        let mut random = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x
        };
        bystander(rig, || {
            for round in 0..300 {
                let mut raw = Raw::attached(rig);
                for _ in 0..20 {
                    let n = 7 + random() as usize % 60;
                    let small = |r: u64| {
                        if r.is_multiple_of(3) { (r >> 8) as u8 } else { (r >> 8) as u8 % 3 }
                    };
                    let mut frame: Vec<u8> = (0..n).map(|_| small(random())).collect();
                    frame[..4].copy_from_slice(&(n as u32).to_le_bytes());
                    frame[4] = [
                        6, 8, 12, 14, 16, 22, 24, 26, 30, 32, 40, 50, 52, 72, 74, 76, 104, 108,
                        110, 116, 118, 120, 122,
                    ][(round + random() as usize) % 23];
                    raw.send(&frame);
                }
            }
        });
        rig.assert_quiet();
    });
}

#[test]
fn fids_that_are_unknown_in_use_or_misused() {
    directly_and_relayed(|rig| {
        let mut raw = Raw::attached(rig);
        assert_eq!(raw.error(&Tclunk { fid: 99 }), Some(Errno::EBADF));
        assert_eq!(raw.walk(99, 100, &[]), Some(Errno::EBADF));
        assert_eq!(raw.walk(0, NOFID, &[]), Some(Errno::EBADF));
        assert_eq!(raw.walk(0, 1, &[]), None);
        assert_eq!(raw.walk(0, 1, &[]), Some(Errno::EBADF), "in use");
        assert_eq!(
            raw.error(&Tread { fid: 1, offset: 0, count: 1 }),
            Some(Errno::EBADF),
            "not open"
        );
        assert_eq!(raw.error(&Tlopen { fid: 1, flags: 0 }), None);
        assert_eq!(raw.error(&Tlopen { fid: 1, flags: 0 }), Some(Errno::EBADF), "open already");
        assert_eq!(raw.error(&Tread { fid: 1, offset: 0, count: u32::MAX }), Some(Errno::EISDIR));
        assert_eq!(raw.error(&Tclunk { fid: 1 }), None);
        assert_eq!(raw.error(&Tclunk { fid: 1 }), Some(Errno::EBADF), "clunked");
        // A version in mid-session drops everything.
        raw.ask(NOTAG, &Tversion { msize: 8192, version: b"9P2000.L" }).unwrap();
        assert_eq!(raw.error(&Tclunk { fid: 0 }), Some(Errno::EBADF));
        rig.assert_none(&["fids"]);
    });
}

#[test]
fn fids_are_limited_and_connections_too() {
    let limits = Limits { connections: 3, fids: 50, attach: Duration::from_secs(30) };
    let rig = Server::new(privns_servers::mem::Mem::new(1 << 20), false, limits);
    let mut raw = Raw::attached(&rig);
    for fid in 1..50 {
        assert_eq!(raw.walk(0, fid, &[]), None);
    }
    assert_eq!(raw.walk(0, 50, &[]), Some(Errno::EMFILE));
    let _two = (Raw::attached(&rig), Raw::attached(&rig));
    let (_ours, theirs) = UnixStream::pair().unwrap();
    assert!(rig.spawn(theirs.into(), Peer::Trusted).is_err());
}

#[test]
fn extended_attributes_are_held_up_to_a_limit() {
    let rig = mem();
    let (c, root) = rig.attached(Speech::Linux);
    c.make(&root, b"f", b"");
    let (f, _) = c.walk(&root, &[b"f"]).unwrap();
    c.set_xattr(&f, b"user.big", &[1; 65_536], 0).unwrap();
    let mut raw = Raw::attached(&rig);
    assert_eq!(raw.walk(0, 1, &[b"f"]), None);
    let walk = |newfid| Txattrwalk { fid: 1, newfid, name: b"user.big" };
    let refused = (2..200).find_map(|fid| raw.error(&walk(fid)));
    assert_eq!(refused, Some(Errno::ENOMEM));
    assert_eq!(raw.error(&Tclunk { fid: 2 }), None);
    assert_eq!(raw.error(&walk(2)), None, "room comes back");
    assert_eq!(c.xattr(&f, b"user.big").unwrap().len(), 65_536, "others have their own");
    let create = Txattrcreate { fid: 1, name: b"user.x", size: u64::MAX, flags: 0 };
    assert_eq!(raw.error(&create), Some(Errno::E2BIG));
}

#[test]
fn a_client_that_does_not_attach_is_sent_away() {
    let limits = Limits { attach: Duration::from_millis(400), ..Limits::default() };
    let rig = Server::new(privns_servers::mem::Mem::new(1 << 20), false, limits);
    let mut silent = Raw::new(&rig);
    assert_eq!(silent.reply(), None);
    let mut quiet = Raw::attached(&rig);
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(quiet.error(&Tclunk { fid: 0 }), None, "an attached one may be silent");
}

#[test]
fn a_flood_without_reading_is_bounded_and_stops_only_itself() {
    directly_and_relayed(|rig| {
        bystander(rig, || {
            let mut raw = Raw::attached(rig);
            raw.0.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            let frame = Raw::frame(3, &Twalk { fid: 0, newfid: 0, ..Twalk::default() });
            let flood = frame.repeat(10_000);
            let began = Instant::now();
            // The server stops reading when its replies are not taken.
            while raw.0.write_all(&flood).is_ok() {
                assert!(began.elapsed() < Duration::from_secs(20), "never pushed back");
            }
        });
        rig.assert_quiet();
    });
}

#[test]
fn whoever_may_not_attach_sees_nothing() {
    let rig = mem();
    let uid = rustix::process::geteuid().as_raw();
    let ask = |peer: Peer, n_uname: u32| {
        let mut raw = Raw(rig.socket(peer));
        raw.ask(NOTAG, &Tversion { msize: 8192, version: b"9P2000.L" }).unwrap();
        let (n_uname, uname) = (Unix(n_uname), &b"sesame"[..]);
        raw.error(&Tattach { fid: 0, afid: NOFID, n_uname, uname, ..Tattach::default() })
    };
    assert_eq!(ask(Peer::Refused, NONUM), Some(Errno::EPERM));
    assert_eq!(ask(Peer::Refused, uid), Some(Errno::EPERM));
    assert_eq!(ask(Peer::User { uid: 4242, groups: Groups::default() }, 4243), Some(Errno::EPERM));
    assert_eq!(ask(Peer::User { uid: 4242, groups: Groups::default() }, 4242), None);
    assert_eq!(ask(Peer::User { uid: 4242, groups: Groups::default() }, NONUM), None);
    assert_eq!(ask(Peer::User { uid: 0, groups: Groups::default() }, 4243), None, "root is asked");
    let stranger = |word| Peer::Stranger { uid: 4242, groups: Groups::default(), word };
    assert_eq!(ask(stranger(b"sesame"), 4242), None);
    assert_eq!(ask(stranger(b"sesame"), 4243), Some(Errno::EPERM));
    assert_eq!(ask(stranger(b"barley"), 4242), Some(Errno::EPERM));
}

#[test]
fn no_name_leads_out_of_a_directory() {
    let rig = DirRig::new();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let before = std::fs::metadata(outside.path()).unwrap().permissions();
    let inside = rig.place.path();
    std::os::unix::fs::symlink(outside.path(), inside.join("out")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", inside.join("passwd")).unwrap();
    std::os::unix::fs::symlink("/proc/self/root", inside.join("magic")).unwrap();
    let mut raw = Raw::attached(&rig);
    for bad in [&b"/"[..], b"/etc", b"../..", b".", b"", b"a/../..", b"..\0", b"\0"] {
        assert!(raw.walk(0, 9, &[bad]).is_some(), "{bad:?}");
    }
    // Up from the root is the root.
    for ups in [&[&b".."[..]][..], &[b"..", b"..", b".."]] {
        assert_eq!(raw.walk(0, 9, ups), None);
        assert_eq!(raw.walk(9, 10, &[b"passwd"]), None, "still in the export");
        raw.error(&Tclunk { fid: 9 });
        raw.error(&Tclunk { fid: 10 });
    }
    // And up from where an attach begins stays there.
    std::fs::create_dir_all(inside.join("sub/deep")).unwrap();
    let own = [inside.as_os_str().as_encoded_bytes(), b"/sub"].concat();
    for (fid, aname) in [(20, &b"/sub"[..]), (30, b"sub"), (40, &own)] {
        let below = Tattach { fid, afid: NOFID, n_uname: Unix(NONUM), uname: b"", aname };
        assert_eq!(raw.error(&below), None);
        assert_eq!(raw.walk(fid, fid + 1, &[b"..", b"deep", b"..", b"..", b"deep"]), None);
        assert_eq!(raw.walk(fid, fid + 2, &[b".."]), None);
        assert_eq!(raw.walk(fid + 2, fid + 3, &[b"passwd"]), Some(Errno::ENOENT));
    }
    for aname in [&b"/out"[..], b"/magic/etc", b"/../etc", b"..", b"/passwd", b"/sub/../../etc"] {
        let astray = Tattach { fid: 50, afid: NOFID, n_uname: Unix(NONUM), uname: b"", aname };
        assert!(raw.error(&astray).is_some(), "{aname:?}");
    }
    let (c, root) = rig.attached(Speech::Linux);
    for link in [&b"out"[..], b"passwd", b"magic"] {
        assert!(c.walk(&root, &[link, b"secret"]).is_err());
        assert_eq!(c.contents(&root, link).unwrap_err(), Errno::ELOOP);
        let how = flags::RDWR | flags::CREATE;
        assert_eq!(c.create(&root, link, how, 0o600, NONUM).unwrap_err(), Errno::ELOOP);
        let (fid, _) = c.walk(&root, &[link]).unwrap();
        assert!(c.mkdir(&fid, b"x", 0o755, NONUM).is_err());
        let size = SetAttr { valid: set::SIZE, ..SetAttr::default() };
        assert_eq!(c.setattr(&fid, &size).unwrap_err(), Errno::ELOOP);
        // What is done to a link is done to the link.
        let bits = SetAttr { valid: set::MODE, mode: 0o777, ..SetAttr::default() };
        assert_eq!(c.setattr(&fid, &bits).unwrap_err(), Errno::EOPNOTSUPP);
        assert!(c.set_xattr(&fid, b"user.a", b"x", 0).is_err());
        let old = Time { sec: 1_000_000_000, nsec: 0 };
        let valid = set::MTIME | set::MTIME_SET;
        c.setattr(&fid, &SetAttr { valid, mtime: old, ..SetAttr::default() }).unwrap();
        assert_eq!(c.getattr(&fid).unwrap().mtime, old);
        let again = [link, b" again"].concat();
        c.link(&fid, &root, &again).unwrap();
        let (twin, _) = c.walk(&root, &[&again]).unwrap();
        assert_eq!(c.readlink(&twin), c.readlink(&fid));
        c.clunk(twin);
        c.clunk(fid);
    }
    assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"secret");
    let there = std::fs::metadata(outside.path()).unwrap();
    assert_eq!(there.permissions(), before);
    assert!(there.modified().unwrap().elapsed().unwrap() < Duration::from_secs(3600));
    let xattr = rustix::fs::getxattr(outside.path(), "user.a", &mut [0u8; 8][..]);
    assert!(xattr.is_err(), "{xattr:?}");
    assert_eq!(c.attach(b"x", NONUM, b"/etc").unwrap_err(), Errno::ENOENT);
}

/// Sets the flag when dropped, also by a failed assertion.
struct Stop<'s>(&'s std::sync::atomic::AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn a_link_swapped_in_under_a_walk_is_not_followed() {
    let rig = DirRig::new();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("f"), "outside").unwrap();
    let place = rig.place.path().to_path_buf();
    std::fs::create_dir(place.join("real")).unwrap();
    std::fs::write(place.join("real/f"), "inside").unwrap();
    std::os::unix::fs::symlink(outside.path(), place.join("link")).unwrap();
    let (c, root) = rig.attached(Speech::Ours);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let (a, b) = (place.join("real"), place.join("link"));
                renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let _ends_the_swapping = Stop(&stop);
        let mut seen = [0; 2];
        for _ in 0..3000 {
            let mut buf = [0; 16];
            match c.open_at(&root, &[b"real", b"f"], 0, &mut buf) {
                Ok(open) => {
                    assert_eq!(open.first.map(|n| &buf[..n]), Some(&b"inside"[..]));
                    c.clunk(open.fid);
                    seen[0] += 1;
                }
                Err(e) => {
                    assert!(matches!(e, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP), "{e:?}");
                    seen[1] += 1;
                }
            }
        }
        seen
    });
    assert!(seen[0] > 0 && seen[1] > 0, "both were met: {seen:?}");
}

#[test]
fn special_files_are_shown_and_not_opened() {
    use rustix::fs::{CWD, FileType, Mode};
    let rig = DirRig::new();
    let fifo = rig.place.path().join("fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(rig.place.path().join("socket")).unwrap();
    let (c, root) = rig.attached(Speech::Ours);
    for (name, kind) in [(&b"fifo"[..], mode::FIFO), (b"socket", mode::SOCKET)] {
        let (fid, _) = c.walk(&root, &[name]).unwrap();
        assert_eq!(c.getattr(&fid).unwrap().mode & mode::FORMAT, kind);
        let cut = SetAttr { valid: set::SIZE, ..SetAttr::default() };
        assert_eq!(c.setattr(&fid, &cut), Err(Errno::EINVAL));
        c.clunk(fid);
        for how in [0, flags::WRONLY, flags::RDWR] {
            assert_eq!(c.at(&root, name, how).unwrap_err(), Errno::ENXIO);
        }
        let how = flags::RDWR | flags::CREATE;
        assert_eq!(c.create(&root, name, how, 0o600, NONUM).unwrap_err(), Errno::ENXIO);
    }
    for kind in [mode::CHARACTER, mode::BLOCK] {
        let refused = c.mknod(&root, b"new", kind | 0o600, (1, 3), NONUM);
        assert_eq!(refused.unwrap_err(), Errno::EPERM);
    }
}

#[test]
fn a_read_only_server_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("f"), "text").unwrap();
    std::fs::create_dir(place.path().join("d")).unwrap();
    let tree = privns_servers::dir::Dir::new(place.path()).unwrap();
    let rig = Server::new(tree, true, Limits::default());
    for speech in [Speech::Ours, Speech::Unix, Speech::Base] {
        let (c, root) = rig.attached(speech);
        assert_eq!(c.contents(&root, b"f").unwrap(), b"text");
        let refused = [
            c.at(&root, b"f", flags::RDWR).map(|_| ()),
            c.at(&root, b"f", flags::TRUNC).map(|_| ()),
            c.create(&root, b"g", flags::RDWR | flags::CREATE, 0o600, NONUM).map(|_| ()),
            c.mkdir(&root, b"e", 0o755, NONUM).map(|_| ()),
            c.unlink(&root, b"f", false),
            c.unlink(&root, b"d", true),
            c.rename(&root, b"f", &root, b"g"),
        ];
        assert!(refused.iter().all(|r| *r == Err(Errno::EROFS)), "{speech:?}: {refused:?}");
        let (f, _) = c.walk(&root, &[b"f"]).unwrap();
        let size = SetAttr { valid: set::SIZE, ..SetAttr::default() };
        assert_eq!(c.setattr(&f, &size), Err(Errno::EROFS));
        if speech.is_linux() {
            assert_eq!(c.symlink(&root, b"l", b"f", NONUM).unwrap_err(), Errno::EROFS);
            assert_eq!(c.link(&f, &root, b"l"), Err(Errno::EROFS));
            assert_eq!(c.set_xattr(&f, b"user.a", b"x", 0), Err(Errno::EROFS));
        }
    }
    assert_eq!(std::fs::read(place.path().join("f")).unwrap(), b"text");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 2);
}

#[test]
fn descriptors_do_not_leak() {
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let rig = DirRig::new();
    let settle = |most: usize| {
        let began = Instant::now();
        while count() > most && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
        count()
    };
    // Other tests of this program open files too, so the margin is wide.
    let before = count();
    for _ in 0..50 {
        let (c, root) = rig.attached(Speech::Ours);
        for i in 0..20 {
            let name = format!("f{i}").into_bytes();
            let how = flags::RDWR | flags::CREATE;
            let file = c.create(&root, &name, how, 0o600, NONUM).unwrap();
            c.handoff(&file.fid).unwrap();
            let _never_clunked = c.walk(&root, &[&name]).unwrap();
        }
    }
    rig.assert_quiet_but_tokens();
    let tokens = rig.count("tokens") as usize;
    assert_eq!(tokens, 50 * 20);
    // A token holds the open file and the node that it was opened from.
    assert!(settle(before + 3 * tokens + 200) <= before + 3 * tokens + 200);
    drop(rig);
    assert!(settle(before + 200) <= before + 200, "{before} before, {} after", count());
}
