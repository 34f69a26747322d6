//! Servers that are found by name, and those that want a proof: real
//! programs, munged and sshd among them.

use privns_ninep::address::Address;
use privns_ninep::client::{Fid, Options};
use privns_ninep::hosted::{HostedClient, Stream};
use privns_ninep::{Errno, NONUM};
use privns_servers::registry::{self, Kind};
use privns_servers::relay::{self, Route};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SERVE: &str = env!("CARGO_BIN_EXE_ns-serve");

/// A program that is ended with the test.
struct Running(Child);

impl Running {
    fn new(command: &mut Command) -> Running {
        Running(command.stdin(Stdio::null()).spawn().unwrap())
    }

    /// `ns-serve`, and the first address that it prints.
    fn serve(args: &[&str]) -> (Running, Address) {
        let mut command = Command::new(SERVE);
        let mut running = Running::new(command.args(args).stdout(Stdio::piped()));
        let mut line = String::new();
        BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = Address::parse(line.trim_end().as_bytes()).unwrap();
        (running, address)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let began = Instant::now();
        while let Ok(None) = self.0.try_wait() {
            if began.elapsed() > Duration::from_secs(5) {
                let _ = self.0.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn port(address: &Address) -> u16 {
    match address {
        Address::Tcp { port, .. } | Address::Tls { port, .. } => *port,
        other => panic!("{other}"),
    }
}

fn named(registry: &Address, name: &str) -> Address {
    Address::parse(format!("@127.0.0.1!{}/{name}", port(registry)).as_bytes()).unwrap()
}

fn attached(address: &Address) -> (HostedClient, Fid) {
    let client = Stream::dial(address).unwrap().client(&Options::default()).unwrap();
    let (root, _) = client.attach(b"", NONUM, b"").unwrap();
    (client, root)
}

fn put(registry: &Address, name: &str, text: &[u8]) {
    use privns_ninep::client::flags;
    let (c, root) = attached(registry);
    let how = flags::RDWR | flags::CREATE | flags::EXCL;
    let file = c.create(&root, name.as_bytes(), how, 0o644, NONUM).unwrap();
    assert_eq!(c.write(&file, 0, text).unwrap(), text.len());
}

/// Waits until it holds.
fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(15), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn servers_are_found_for_as_long_as_they_live() {
    let (first, directory) = Running::serve(&["registry", "--listen", "tcp!127.0.0.1!0"]);
    let at = named(&directory, "scratch");
    let name = at.to_string();
    let mem = ["mem", "--size", "1M", "--listen", "tcp!127.0.0.1!0", "--announce", &name];
    let (server, address) = Running::serve(&mem);
    let entry = registry::resolve(&at).unwrap();
    assert_eq!((&entry.address, entry.kind), (&address, Kind::Uid));
    // As people see it.
    let (c, root) = attached(&directory);
    let mut text = [0; 100];
    let n = c.open_at(&root, &[b"scratch"], 0, &mut text).unwrap().first.unwrap();
    assert_eq!(text[..n], *format!("{address} uid\n").as_bytes());
    // The name is taken.
    let second = Command::new(SERVE).args(mem).stdin(Stdio::null()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("has this name"), "{second:?}");
    // Killed without a word: the entry goes all the same, and the name is free.
    kill_process(Pid::from_child(&server.0), Signal::KILL).unwrap();
    soon("the entry goes", || registry::resolve(&at).is_err());
    let (_server, address) = Running::serve(&mem);
    assert_eq!(registry::resolve(&at).unwrap().address, address);
    // The directory comes back, and the server is in it again.
    let listen = directory.to_string();
    drop((c, first));
    assert!(registry::resolve(&at).is_err());
    let (_again, _) = Running::serve(&["registry", "--listen", &listen]);
    soon("it is announced again", || registry::resolve(&at).is_ok_and(|e| e.address == address));
}

#[test]
fn names_that_lead_nowhere() {
    let (_one, one) = Running::serve(&["registry", "--listen", "tcp!127.0.0.1!0"]);
    let (_two, two) = Running::serve(&["registry", "--listen", "tcp!127.0.0.1!0"]);
    let fails = |at: &Address, why: &str| {
        let began = Instant::now();
        let said = registry::resolve(at).unwrap_err().to_string();
        assert!(said.contains(why), "{said:?} says nothing of {why:?}");
        assert!(began.elapsed() < registry::PATIENCE + Duration::from_secs(3));
    };
    let (a, b) = (named(&one, "a"), named(&two, "b"));
    put(&one, "self", named(&one, "self").to_string().as_bytes());
    fails(&named(&one, "self"), "for ever");
    put(&one, "a", b.to_string().as_bytes());
    put(&two, "b", a.to_string().as_bytes());
    fails(&a, "for ever");
    // A long way is one too.
    for i in 0..20 {
        put(&one, &format!("n{i}"), named(&one, &format!("n{}", i + 1)).to_string().as_bytes());
    }
    fails(&named(&one, "n0"), "for ever");
    put(&two, "end", b"tcp!127.0.0.1!1 munge\n");
    put(&one, "far", named(&two, "end").to_string().as_bytes());
    let entry = registry::resolve(&named(&one, "far")).unwrap();
    assert_eq!((entry.address.to_string(), entry.kind), ("tcp!127.0.0.1!1".into(), Kind::Munge));
    for (i, rubbish) in
        [&b""[..], b"\n", b"\xff\xfe", b"exec!touch /tmp/x", b"tls!h!1 none", &[b'x'; 5000]]
            .iter()
            .enumerate()
    {
        let name = format!("r{i}");
        put(&one, &name, rubbish);
        assert!(registry::resolve(&named(&one, &name)).is_err(), "{rubbish:?}");
    }
    fails(&named(&one, "nothing"), "No such file");
    fails(&named(&one, "../etc"), "");
    // Several as a union: the first that has it; one that is down is passed by.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_ne!(dead, port(&one));
    let hosts = format!("@127.0.0.2,127.0.0.1!{}/far", port(&one));
    let union = Address::parse(hosts.as_bytes()).unwrap();
    assert_eq!(registry::resolve(&union).unwrap().address, entry.address);
    // One that takes the call and says nothing more.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = silent.local_addr().unwrap().port();
    let at = Address::parse(format!("@127.0.0.1!{at}/x").as_bytes()).unwrap();
    fails(&at, "timed out");
}

#[test]
fn a_hundred_thousand_entries() {
    let (_registry, directory) = Running::serve(&["registry", "--listen", "tcp!127.0.0.1!0"]);
    let (c, root) = attached(&directory);
    let how = privns_ninep::client::flags::RDWR | privns_ninep::client::flags::CREATE;
    for i in 0..100_000u32 {
        let name = format!("server-{i}");
        let file = c.create(&root, name.as_bytes(), how, 0o644, NONUM).unwrap();
        if i % 1000 == 0 {
            c.write(&file, 0, b"tcp!127.0.0.1!9 uid").unwrap();
        }
        c.clunk(file.fid);
    }
    let began = Instant::now();
    assert!(registry::resolve(&named(&directory, "server-99000")).is_ok());
    assert!(registry::resolve(&named(&directory, "server-99001")).is_err(), "empty");
    assert!(registry::resolve(&named(&directory, "server-100000")).is_err());
    assert!(began.elapsed() < Duration::from_secs(2));
}

/// A daemon of MUNGE with a key of its own, reached by a `munge` and an
/// `unmunge` in a directory that comes first in PATH.
struct Munged {
    place: tempfile::TempDir,
    _daemon: Running,
}

impl Munged {
    /// `None`, said aloud, where it is not to be had.
    fn new() -> Option<Munged> {
        let there = Path::new("/usr/sbin/munged").exists() && Path::new("/usr/bin/munge").exists();
        if !there || !rustix::process::geteuid().is_root() {
            println!("skipped: needs root and munge");
            return None;
        }
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name).to_str().unwrap().to_string();
        let mode = |bits| <std::fs::Permissions as PermissionsExt>::from_mode(bits);
        std::fs::set_permissions(place.path(), mode(0o755)).unwrap();
        let mut key = vec![0; 64];
        std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut key).unwrap();
        std::fs::write(at("key"), key).unwrap();
        std::fs::set_permissions(at("key"), mode(0o400)).unwrap();
        let mut command = Command::new("/usr/sbin/munged");
        command.args(["--foreground", "--force"]).stderr(Stdio::null()).stdout(Stdio::null());
        for (option, file) in [
            ("key-file", "key"),
            ("socket", "socket"),
            ("pid-file", "pid"),
            ("log-file", "log"),
            ("seed-file", "seed"),
        ] {
            command.arg(format!("--{option}={}", at(file)));
        }
        let daemon = Running::new(&mut command);
        std::fs::create_dir(at("bin")).unwrap();
        for name in ["munge", "unmunge"] {
            let file = at(&format!("bin/{name}"));
            let text =
                format!("#!/bin/sh\nexec /usr/bin/{name} --socket={} \"$@\"\n", at("socket"));
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, mode(0o755)).unwrap();
        }
        let began = Instant::now();
        while UnixStream::connect(at("socket")).is_err() {
            assert!(began.elapsed() < Duration::from_secs(10), "munged does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Munged { place, _daemon: daemon })
    }

    fn path(&self) -> String {
        let first = self.place.path().join("bin");
        format!("{}:{}", first.display(), std::env::var("PATH").unwrap_or_default())
    }
}

/// Attaches, and reads a file, through a relay of this test's executable: what
/// it prints. A process of its own, for the PATH that it has.
fn through_relay(munged: &Munged, address: &Address) -> String {
    let me = std::env::current_exe().unwrap();
    let mut command = Command::new(me);
    command.args(["relays_by_munge", "--exact", "--nocapture"]);
    command.env("PATH", munged.path()).env("TRAVEL_ADDRESS", address.to_string());
    let done = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr)
}

struct Relay(Option<UnixStream>, Option<JoinHandle<()>>);

impl Relay {
    fn new(at: &Path, route: Route) -> std::io::Result<Relay> {
        let first = route.dial()?;
        let listener = UnixListener::bind(at)?;
        let (stop, stopped) = UnixStream::pair()?;
        let thread = std::thread::spawn(move || {
            relay::serve(&listener, &route, Some(first), stopped.as_fd(), |_| false).unwrap();
        });
        Ok(Relay(Some(stop), Some(thread)))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.take();
        let _ = self.1.take().unwrap().join();
    }
}

/// The part of [`through_relay`] in the other process; nothing by itself.
#[test]
fn relays_by_munge() {
    let Ok(address) = std::env::var("TRAVEL_ADDRESS") else { return };
    let place = tempfile::tempdir().unwrap();
    let at = place.path().join("relay");
    let address = Address::parse(address.as_bytes()).unwrap();
    let relay = Relay::new(&at, Route { munge: true, ..Route::to(address) });
    let _relay = match relay {
        Ok(relay) => relay,
        Err(e) => return println!("said: {e}"),
    };
    let dial = || Stream::dial(&Address::Unix(at.to_str().unwrap().into())).unwrap();
    // Several clients, since a credential is good once.
    for _ in 0..3 {
        let c = dial().client(&Options::default()).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let aname = std::env::var("TRAVEL_ANAME").unwrap_or_default();
        let root = match c.attach(b"", uid, aname.as_bytes()) {
            Ok((root, _)) => root,
            Err(e) => return println!("said: {e:?}"),
        };
        let mut text = [0; 20];
        let (fid, _) = c.walk(&root, &[b"f"]).unwrap();
        let open = c.open(fid, 0).unwrap();
        let n = c.read(&open, 0, &mut text).unwrap();
        println!("read: {}", String::from_utf8_lossy(&text[..n]));
    }
}

#[test]
fn users_prove_who_they_are_by_munge() {
    let Some(munged) = Munged::new() else { return };
    let export = tempfile::tempdir().unwrap();
    std::fs::write(export.path().join("f"), "proven").unwrap();
    let mut command = Command::new(SERVE);
    let at = export.path().to_str().unwrap();
    command.args(["dir", at, "--listen", "tcp!127.0.0.1!0", "--auth", "munge"]);
    let mut server = Running::new(command.env("PATH", munged.path()).stdout(Stdio::piped()));
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = Address::parse(line.trim_end().as_bytes()).unwrap();
    // Without a proof nobody gets in, whoever they are.
    let c = Stream::dial(&address).unwrap().client(&Options::default()).unwrap();
    assert_eq!(c.attach(b"", 0, b"").unwrap_err(), Errno::EPERM);
    let afid = c.auth(b"", 0, b"").unwrap();
    assert_eq!(c.attach_proven(&afid, b"", 0, b"").unwrap_err(), Errno::EPERM);
    for junk in [&b"MUNGE:AwQDAAA:"[..], b"junk", &[0; 8000]] {
        let afid = c.auth(b"", 0, b"").unwrap();
        let open = privns_ninep::client::Opened {
            fid: afid,
            qid: Default::default(),
            iounit: 8192,
            attr: None,
            first: None,
        };
        c.write(&open, 0, junk).unwrap();
        assert_eq!(c.attach_proven(&open.fid, b"", 0, b"").unwrap_err(), Errno::EPERM);
    }
    assert_eq!(through_relay(&munged, &address).matches("read: proven").count(), 3);
    // A key that differs.
    let Some(other) = Munged::new() else { return };
    let said = through_relay(&other, &address);
    assert!(said.contains("said: EPERM"), "{said}");
    // No munge at all: an error, and nothing weaker.
    let nothing = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["relays_by_munge", "--exact", "--nocapture"]);
    command.env("PATH", nothing.path()).env("TRAVEL_ADDRESS", address.to_string());
    let done = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.contains("said: munge: No such file"), "{said}");
}

#[test]
fn tls_through_the_program() {
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(SERVE);
        command.args(args).env("XDG_CONFIG_HOME", home.path()).stdin(Stdio::null());
        command
    };
    let none = run(&["mem", "--listen", "tcp!127.0.0.1!0", "--auth", "tls"]).output().unwrap();
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(none.status.code() == Some(1) && said.contains("keygen"), "{said}");
    let made = run(&["keygen", "lab"]).output().unwrap();
    assert!(made.status.success());
    let told = String::from_utf8_lossy(&made.stdout).into_owned();
    let dir = home.path().join("privns/tls");
    for half in ["lab.server", "lab.client"] {
        assert!(told.contains(dir.join(half).to_str().unwrap()), "{told}");
        assert!(!told.contains("PRIVATE"));
    }
    assert_eq!(run(&["keygen", "lab"]).output().unwrap().status.code(), Some(1), "not again");
    let mut command = run(&["mem", "--listen", "tcp!127.0.0.1!0", "--auth", "tls"]);
    let mut server = Running::new(command.stdout(Stdio::piped()));
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = Address::parse(line.trim_end().as_bytes()).unwrap();
    assert!(matches!(address, Address::Tls { .. }), "{address}");
    let mut plain = TcpStream::connect(("127.0.0.1", port(&address))).unwrap();
    plain.write_all(b"\x13\0\0\0\x64\xff\xff\0\x20\0\0\x08\x009P2000.L").unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(!said.windows(6).any(|w| w == b"9P2000"));
    let place = tempfile::tempdir().unwrap();
    let at = place.path().join("relay");
    let _relay = Relay::new(&at, Route { keys: Some(dir), ..Route::to(address) }).unwrap();
    let (c, root) = attached(&Address::Unix(at.to_str().unwrap().into()));
    c.mkdir(&root, b"d", 0o755, NONUM).unwrap();
    let uid = rustix::process::geteuid().as_raw();
    let (d, _) = c.walk(&root, &[b"d"]).unwrap();
    assert_eq!(c.getattr(&d).unwrap().uid, uid);
}
