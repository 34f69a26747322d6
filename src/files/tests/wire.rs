//! The client on sockets and locks of our own, as it lives in programs.
#![forbid(unsafe_code)]

use privns_files::wire::{self, Wire};
use privns_host::net::{Endpoint, Socket};
use privns_host::signals;
use privns_ninep::attr::{Attr, Qid};
use privns_ninep::client::window::ReadAhead;
use privns_ninep::client::{Fid, Opened, Options, flags};
use privns_ninep::message::{
    Body, Rattach, Reply, Request, Rgetattr, Rread, Rversion, Rwrite, Tversion, split,
};
use privns_ninep::wire::Data;
use privns_ninep::{Dialect, Errno, NONUM};
use privns_servers::mem::Mem;
use privns_servers::serve::{Limits, Server};
use privns_servers::session::Peer;
use std::io::{Read, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A memory server and a client of it.
fn rig() -> (Server<Mem>, Wire, Fid) {
    let server = Server::new(Mem::new(64 << 20), false, Limits::default());
    let (ours, theirs) = UnixStream::pair().unwrap();
    server.spawn(theirs.into(), Peer::Trusted).unwrap();
    let wire = wire::start(Socket::adopt(ours.into_raw_fd()), &Options::default()).unwrap();
    let (root, _) = wire.attach(b"me", 1000, b"").unwrap();
    (server, wire, root)
}

fn make(wire: &Wire, root: &Fid, name: &[u8], data: &[u8]) {
    let how = flags::RDWR | flags::CREATE | flags::EXCL;
    let file = wire.create(root, name, how, 0o600, NONUM).unwrap();
    let mut at = 0;
    while at < data.len() {
        at += wire.write(&file, at as u64, &data[at..]).unwrap();
    }
    wire.clunk(file.fid);
}

#[test]
fn sixteen_threads_share_a_connection() {
    const THREADS: usize = 16;
    let (_server, wire, root) = rig();
    let contents = |me: usize| vec![me as u8; 100 + me * 7001];
    std::thread::scope(|scope| {
        for me in 0..THREADS {
            let (wire, root) = (&wire, &root);
            scope.spawn(move || {
                let (name, data) = (format!("f{me}"), contents(me));
                for round in 0..40 {
                    let _calm = signals::calm();
                    if round == 0 {
                        make(wire, root, name.as_bytes(), &data);
                    }
                    let mut buf = vec![0; 200_000];
                    let file = wire.open_at(root, &[name.as_bytes()], 0, &mut buf).unwrap();
                    assert_eq!(file.attr.unwrap().size as usize, data.len());
                    assert_eq!(&buf[..file.first.unwrap()], data);
                    let n = wire.read(&file, 50, &mut buf).unwrap();
                    assert_eq!(&buf[..n], &data[50..]);
                    wire.close(file.fid).unwrap();
                    let missing = wire.walk(root, &[b"none"]).unwrap_err();
                    assert_eq!(missing, Errno::ENOENT);
                }
            });
        }
    });
    let counters = wire.counters();
    assert_eq!((counters.fids, counters.in_flight), (1, 0));
}

/// A server of its own mind: takes in what is there, answers it last first,
/// and dawdles. Every byte of its one file tells its place.
fn contrary(mut socket: UnixStream) {
    let mut hoard: Vec<(u16, Vec<u8>)> = Vec::new();
    loop {
        let idle = hoard.is_empty();
        socket.set_read_timeout((!idle).then_some(Duration::from_micros(300))).unwrap();
        let mut head = [0; 4];
        let silent = socket.read_exact(&mut head).is_err();
        if !silent {
            let mut frame = head.to_vec();
            frame.resize(u32::from_le_bytes(head) as usize, 0);
            socket.set_read_timeout(None).unwrap();
            socket.read_exact(&mut frame[4..]).unwrap();
            hoard.push(answer(&frame));
        } else if idle {
            return;
        }
        if silent || hoard.len() >= 24 {
            std::thread::sleep(Duration::from_micros(200));
            for (_, reply) in hoard.drain(..).rev() {
                // A client that has all it wanted may leave with answers outstanding.
                if socket.write_all(&reply).is_err() {
                    return;
                }
            }
        }
    }
}

fn place(at: u64) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

fn answer(frame: &[u8]) -> (u16, Vec<u8>) {
    let (kind, tag, body) = split(frame).unwrap();
    let dialect = if kind == Tversion::TYPE { Dialect::Base } else { Dialect::Linux };
    let data: Vec<u8>;
    let reply: Reply<'_> = match Request::decode(kind, body, dialect).unwrap() {
        Request::Tversion(m) => Rversion { msize: m.msize, version: b"9P2000.L" }.into(),
        Request::Tattach(_) => Rattach::default().into(),
        Request::Tgetattr(m) => Rgetattr { attr: Attr::of(m.fid.into(), 0o100_644, 1) }.into(),
        Request::Twrite(m) => Rwrite { count: m.data.0.len() as u32 }.into(),
        Request::Tread(m) => {
            data = (m.offset..m.offset + u64::from(m.count)).map(place).collect();
            Rread { data: Data(&data) }.into()
        }
        other => panic!("{other:?}"),
    };
    let mut out = Vec::new();
    reply.frame(tag, dialect, &mut out).unwrap();
    (tag, out)
}

#[test]
fn a_contrary_server_confuses_nobody() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = std::thread::spawn(move || contrary(theirs));
    let options = Options { offers: &[b"9P2000.L"], msize: 100_000, ..Options::default() };
    let wire = wire::start(Socket::adopt(ours.into_raw_fd()), &options).unwrap();
    let (root, _) = wire.attach(b"me", 1000, b"").unwrap();
    let file = Opened { fid: root, qid: Qid::default(), iounit: 90_000, attr: None, first: None };
    std::thread::scope(|scope| {
        for me in 0..16u64 {
            let (wire, file) = (&wire, &file);
            scope.spawn(move || {
                let mut ahead = ReadAhead::new(None);
                let mut buf = vec![0; 1000 + me as usize * 12_345];
                for turn in 0..30 {
                    let _calm = signals::calm();
                    let at = (me << 32) + turn * buf.len() as u64;
                    let n = ahead.read(wire, file, at, &mut buf).unwrap();
                    assert!(n == buf.len() && (0..n).all(|i| buf[i] == place(at + i as u64)));
                    if me % 4 == 0 {
                        let sent = wire.write_behind(file, at, &buf).unwrap();
                        // Of what takes two messages, half at least.
                        assert!(if n <= 90_000 {
                            sent == n
                        } else {
                            sent >= n / 3 && sent <= 90_000
                        });
                    }
                    assert_eq!(wire.getattr(&file.fid).unwrap().size, 1);
                }
                // What is under way stays so: this server knows no flush.
                drop(ahead);
            });
        }
    });
    assert_eq!(wire.settle_all(), Ok(()));
    assert_eq!((wire.failure(), wire.settle(&file.fid)), (None, Ok(())));
    drop(wire);
    server.join().unwrap();
}

#[test]
fn only_numbers_are_dialled() {
    let options = Options { timeout: Duration::from_secs(5), ..Options::default() };
    for address in [&b"tcp!localhost!1"[..], b"exec!true", b"tcp!::1%lo!1", b"ssh!a!/b"] {
        assert_eq!(wire::dial(address, &options).unwrap_err(), Errno::EOPNOTSUPP);
    }
    assert_eq!(wire::dial(b"nonsense", &options).unwrap_err(), Errno::EINVAL);
    let path = std::env::temp_dir().join("privns-no-such-socket");
    let address = [b"unix!", path.as_os_str().as_encoded_bytes()].concat();
    assert_eq!(wire::dial(&address, &options).unwrap_err(), Errno::ENOENT);
}

#[test]
fn a_silent_server_costs_the_time_that_was_given_it() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let began = Instant::now();
    let timeout = Duration::from_millis(200);
    let options = Options { timeout, ..Options::default() };
    let e = wire::start(Socket::adopt(ours.into_raw_fd()), &options).unwrap_err();
    assert_eq!(e, Errno::ETIMEDOUT);
    assert!((timeout..10 * timeout).contains(&began.elapsed()));
    let nowhere = Socket::dial(&Endpoint::V4([127, 0, 0, 1], 1), timeout);
    assert_eq!(nowhere.unwrap_err(), Errno::ECONNREFUSED);
}

#[test]
fn the_child_of_a_fork_says_nothing() {
    let (_server, wire, root) = rig();
    wire.transport().socket().close();
    assert_eq!(wire.getattr(&root).unwrap_err(), Errno::EIO);
}
