//! What a relay does when its server misbehaves or goes, and what its clients
//! do to each other.

mod common;

use common::{Ease, Relayed, Rig, Speech};
use privns_ninep::address::Address;
use privns_ninep::client::{Options, flags};
use privns_ninep::hosted::{HostedClient, Stream};
use privns_ninep::{Errno, NONUM};
use privns_servers::mem::Mem;
use privns_servers::relay::{self, Route};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

fn unix(path: &Path) -> Address {
    Address::Unix(path.as_os_str().as_bytes().to_vec())
}

fn client(at: &Path, timeout: Duration) -> Result<HostedClient, Errno> {
    let options = Options { timeout, ..Options::default() };
    Stream::new(UnixStream::connect(at).unwrap().into(), None)?.client(&options)
}

/// A relay to whatever listens at `upstream`.
struct Running(Option<UnixStream>, Option<JoinHandle<()>>);

impl Running {
    fn new(at: &Path, upstream: &Path) -> Running {
        let listener = UnixListener::bind(at).unwrap();
        let route = Route { timeout: Duration::from_secs(5), ..Route::to(unix(upstream)) };
        let (stop, stopped) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            relay::serve(&listener, &route, None, stopped.as_fd(), |_| false).unwrap();
        });
        Running(Some(stop), Some(thread))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.take();
        let done = self.1.take().unwrap().join();
        assert!(done.is_ok() || std::thread::panicking());
    }
}

/// A server that agrees to 9P2000.L and then answers everything with `bytes`.
fn liar(listener: UnixListener, bytes: Vec<u8>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut request = [0; 4096];
        // The first offer is ours, the second is .L, to which a liar says yes.
        let _ = socket.read(&mut request).unwrap();
        let _ = socket.write_all(&[11, 0, 0, 0, 7, 0xff, 0xff, 5, 0, 0, 0]);
        let _ = socket.read(&mut request).unwrap();
        let mut version = vec![21, 0, 0, 0, 101, 0xff, 0xff, 0, 0, 1, 0, 8, 0];
        version.extend_from_slice(b"9P2000.L");
        let _ = socket.write_all(&version);
        let _ = socket.read(&mut request);
        let _ = socket.write_all(&bytes);
        while matches!(socket.read(&mut request), Ok(n) if n > 0) {}
    })
}

#[test]
fn a_server_that_lies_takes_its_clients_with_it_and_nothing_else() {
    let lies: [&[u8]; 6] = [
        // No tag of ours; a size of its own; too short; too long; half; junk.
        &[20, 0, 0, 0, 105, 77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[20, 0, 0, 0xff, 105, 0, 0],
        &[6, 0, 0, 0, 105, 0, 0],
        &[1, 0, 1, 1, 105, 0, 0],
        &[9, 0, 0, 0, 111, 0, 0, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        &[0xff; 64],
    ];
    for lie in lies {
        let place = tempfile::tempdir().unwrap();
        let (at, upstream) = (place.path().join("relay"), place.path().join("server"));
        let server = liar(UnixListener::bind(&upstream).unwrap(), lie.to_vec());
        let running = Running::new(&at, &upstream);
        let c = client(&at, Duration::from_secs(5)).unwrap();
        assert!(c.attach(b"x", NONUM, b"").is_err(), "{lie:?}");
        drop(c);
        // The next client has it dialled again: there is nobody any more.
        drop(running);
        server.join().unwrap();
    }
}

#[test]
fn a_server_that_comes_back_is_dialled_again() {
    let place = tempfile::tempdir().unwrap();
    let (at, upstream) = (place.path().join("relay"), place.path().join("server"));
    let _running = Running::new(&at, &upstream);
    assert!(client(&at, Duration::from_secs(5)).is_err(), "nobody listens yet");
    for round in 0..3 {
        let listener = UnixListener::bind(&upstream).unwrap();
        let server = privns_servers::Server::new(
            Mem::new(1 << 20),
            false,
            privns_servers::Limits::default(),
        );
        let accepting = std::thread::spawn(move || listener.accept().unwrap().0);
        let c = std::thread::scope(|scope| {
            let c = scope.spawn(|| client(&at, Duration::from_secs(5)).unwrap());
            server
                .spawn(accepting.join().unwrap().into(), privns_servers::session::Peer::Trusted)
                .unwrap();
            c.join().unwrap()
        });
        let (root, _) = c.attach(b"x", NONUM, b"").unwrap();
        c.make(&root, b"f", b"text");
        assert_eq!(c.contents(&root, b"f").unwrap(), b"text", "round {round}");
        server.shut();
        std::fs::remove_file(&upstream).unwrap();
        assert_eq!(c.getattr(&root).unwrap_err(), Errno::EIO);
    }
}

#[test]
fn whoever_does_not_take_replies_holds_nobody_up() {
    let rig = Relayed::new(Mem::new(64 << 20));
    let (c, root) = rig.attached(Speech::Ours);
    c.make(&root, b"big", &vec![7; 16 << 20]);
    // Asks for everything, takes nothing.
    let (greedy, greedy_root) = rig.attached(Speech::Ours);
    let file = greedy.at(&greedy_root, b"big", 0).unwrap();
    let mut pending = Vec::new();
    for i in 0..64 {
        pending.push(greedy.begin_read(&file, i << 18, 1 << 18).unwrap());
    }
    let began = Instant::now();
    for i in 0..200 {
        c.make(&root, format!("f{i}").as_bytes(), b"x");
    }
    assert!(began.elapsed() < Duration::from_secs(10));
    let mut buf = vec![0; 1 << 18];
    for one in pending {
        assert_eq!(greedy.end_read(one, &mut buf), Ok(1 << 18));
        assert!(buf.iter().all(|b| *b == 7));
    }
    drop((greedy, c));
    rig.assert_quiet();
}

/// A killed writer has written, as far as the kernel would have kept it.
#[test]
fn what_was_sent_before_the_end_is_done() {
    let rig = Relayed::new(Mem::new(64 << 20));
    let (c, root) = rig.attached(Speech::Ours);
    for round in 0..20 {
        let (writer, writer_root) = rig.attached(Speech::Ours);
        let name = format!("f{round}");
        let how = flags::RDWR | flags::CREATE;
        let file = writer.create(&writer_root, name.as_bytes(), how, 0o600, NONUM).unwrap();
        for i in 0..16u64 {
            let (n, _never_awaited) = writer.begin_write(&file, i << 16, &[1; 1 << 16]).unwrap();
            assert_eq!(n, 1 << 16);
        }
        drop(writer);
        let began = Instant::now();
        while rig.count("open") > 0 {
            assert!(began.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(c.contents(&root, name.as_bytes()).unwrap().len(), 16 << 16);
    }
}

#[test]
fn many_clients_come_and_go_and_leave_no_fid() {
    let rig = Relayed::new(Mem::new(64 << 20));
    let (c, root) = rig.attached(Speech::Ours);
    c.make(&root, b"f", b"text");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let (c, root) = rig.attached(Speech::Ours);
                    assert_eq!(c.contents(&root, b"f").unwrap(), b"text");
                    let _never_clunked = c.at(&root, b"f", 0).unwrap();
                }
            });
        }
    });
    drop(c);
    rig.assert_quiet();
}
