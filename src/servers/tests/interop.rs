//! Our client on servers of others, and clients of others on ours. Each test
//! starts the real program and says what it needs when that is not there.
//!
//! What Debian does not have is looked for in PRIVNS_TEST_TOOLS first, where
//! ci/test puts it: `unpfs`, and a Python with the packages `p9fs` and `aio9p`.

mod common;

use common::Ease;
use privns_ninep::address::Address;
use privns_ninep::attr::{SetAttr, mode, set};
use privns_ninep::client::{Fid, Options, flags};
use privns_ninep::hosted::{HostedClient, Stream};
use privns_ninep::{Dialect, Errno, NONUM};
use privns_servers::auth::Auth;
use privns_servers::relay::{self, Route};
use privns_servers::serve::Listener;
use privns_servers::{Limits, Server, Tree};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program that ends with the test.
struct Daemon(Child, #[expect(dead_code, reason = "removed with it")] tempfile::TempDir);

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let began = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) {
            if began.elapsed() > Duration::from_secs(5) {
                let _ = self.0.kill();
                let _ = self.0.wait();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Starts a server, in a directory of its own unless it has one: some crash
/// when they are told to end, and a core is left where they stand.
fn start(command: &mut Command) -> Daemon {
    let place = tempfile::tempdir().unwrap();
    if command.get_current_dir().is_none() {
        command.current_dir(place.path());
    }
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Daemon(command.spawn().unwrap(), place)
}

/// The program's path; says what is missing when there is none.
fn program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = tools().into_iter().chain([Path::new("/usr/sbin").to_path_buf()]);
    let found = more.chain(std::env::split_paths(&path)).map(|d| d.join(name)).find(|p| p.exists());
    if found.is_none() {
        println!("skipped: needs {name}");
    }
    found
}

/// Where programs are that came from other registries than Debian's.
fn tools() -> Option<std::path::PathBuf> {
    std::env::var_os("PRIVNS_TEST_TOOLS").map(|dir| Path::new(&dir).join("bin"))
}

/// A Python with a package.
fn python(package: &str) -> Option<std::path::PathBuf> {
    let python = program("python3")?;
    let has = Command::new(&python).args(["-c", &format!("import {package}")]).output();
    if has.is_ok_and(|o| o.status.success()) {
        return Some(python);
    }
    println!("skipped: needs python3 with the package {package}");
    None
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Connects as soon as somebody listens.
fn connect(address: &Address) -> HostedClient {
    let began = Instant::now();
    loop {
        match Stream::dial(address) {
            Ok(stream) => {
                let timeout = Duration::from_secs(10);
                return stream.client(&Options { timeout, ..Options::default() }).unwrap();
            }
            Err(e) => assert!(began.elapsed() < Duration::from_secs(20), "{address}: {e}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn tcp(port: u16) -> Address {
    Address::Tcp { host: b"127.0.0.1".to_vec(), port }
}

/// A day's work in a fresh directory of a server that speaks .L.
fn work(c: &HostedClient, root: &Fid) {
    c.mkdir(root, b"work", 0o755, 0).unwrap();
    let (dir, _) = c.walk(root, &[b"work"]).unwrap();
    let data: Vec<u8> = (0..300_000u32).map(|i| (i % 241) as u8).collect();
    c.make(&dir, b"f", &data);
    assert!(c.contents(&dir, b"f").unwrap() == data);
    assert_eq!(c.contents(&dir, b"nothing").unwrap_err(), Errno::ENOENT);
    assert!(c.walk(root, &[b"work", b"nothing", b"x"]).is_err());
    match c.symlink(&dir, b"l", b"f", 0) {
        // unpfs has none.
        Err(Errno::EOPNOTSUPP) => {}
        made => {
            made.unwrap();
            let (link, _) = c.walk(&dir, &[b"l"]).unwrap();
            assert_eq!(c.readlink(&link).unwrap(), b"f");
            c.clunk(link);
            c.unlink(&dir, b"l", false).unwrap();
        }
    }
    let (f, _) = c.walk(&dir, &[b"f"]).unwrap();
    c.setattr(&f, &SetAttr { valid: set::MODE, mode: 0o600, ..SetAttr::default() }).unwrap();
    c.setattr(&f, &SetAttr { valid: set::SIZE, size: 10, ..SetAttr::default() }).unwrap();
    let attr = c.getattr(&f).unwrap();
    assert_eq!((attr.mode, attr.size), (mode::REGULAR | 0o600, 10));
    c.clunk(f);
    let open = c.at(&dir, b"f", flags::RDWR).unwrap();
    c.fsync(&open.fid, false).unwrap();
    c.clunk(open.fid);
    c.rename(&dir, b"f", root, b"g").unwrap();
    assert_eq!(c.contents(root, b"g").unwrap(), data[..10]);
    c.unlink(root, b"g", false).unwrap();
    assert!(c.statfs(&dir).unwrap().bsize > 0);
    let names: BTreeSet<Vec<u8>> =
        (0..300).map(|i| format!("entry-{i:0100}").into_bytes()).collect();
    names.iter().for_each(|name| c.make(&dir, name, b""));
    assert_eq!(c.names(&dir).into_iter().collect::<BTreeSet<_>>(), names);
    names.iter().for_each(|name| c.unlink(&dir, name, false).unwrap());
    c.clunk(dir);
    c.unlink(root, b"work", true).unwrap();
    assert!(c.names(root).is_empty());
    for _ in 0..50 {
        let (fid, _) = c.walk(root, &[]).unwrap();
        c.close(fid).unwrap();
        if c.counters().fids == 1 {
            break;
        }
    }
    assert_eq!(c.counters().fids, 1, "fids left");
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[test]
fn our_client_on_diod() {
    let Some(diod) = program("diod") else { return };
    let export = tempfile::tempdir().unwrap();
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let mut command = Command::new(diod);
    command.args(["-f", "-n", "-N", "-L", "/dev/null", "-l", &listen, "-e"]).arg(export.path());
    let _diod = start(&mut command);
    let c = connect(&tcp(port));
    assert_eq!((c.agreed().dialect, c.agreed().ours), (Dialect::Linux, false));
    let aname = export.path().as_os_str().as_bytes();
    let (root, _) = c.attach(b"", own_uid(), aname).unwrap();
    work(&c, &root);
}

/// diod answers out of order and leaves short walks bound: the relay has to
/// survive both, with two clients at once.
#[test]
fn our_client_on_diod_through_a_relay() {
    let Some(diod) = program("diod") else { return };
    let place = tempfile::tempdir().unwrap();
    let export = tempfile::tempdir().unwrap();
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let mut command = Command::new(diod);
    command.args(["-f", "-n", "-N", "-L", "/dev/null", "-l", &listen, "-e"]).arg(export.path());
    let _diod = start(&mut command);
    drop(connect(&tcp(port)));
    let socket = place.path().join("relay");
    let (stop, stopped) = UnixStream::pair().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let route = Route::to(tcp(port));
    let first = route.dial().unwrap();
    let relay = std::thread::spawn(move || {
        relay::serve(&listener, &route, Some(first), stopped.as_fd(), |_| false).unwrap();
    });
    let address = Address::Unix(socket.as_os_str().as_bytes().to_vec());
    let aname = export.path().as_os_str().as_bytes();
    let clients = [connect(&address), connect(&address)];
    assert!(clients.iter().all(|c| c.agreed().dialect == Dialect::Linux && !c.agreed().ours));
    let (idle, _) = clients[1].attach(b"", own_uid(), aname).unwrap();
    for _ in 0..2 {
        let (root, _) = clients[0].attach(b"", own_uid(), aname).unwrap();
        work(&clients[0], &root);
        clients[0].close(root).unwrap();
    }
    assert!(clients[1].names(&idle).is_empty());
    drop(stop);
    relay.join().unwrap();
    assert_eq!(clients[1].getattr(&idle).unwrap_err(), Errno::EIO);
}

#[test]
fn our_client_on_ganesha() {
    let Some(ganesha) = program("ganesha.nfsd") else { return };
    if own_uid() != 0 {
        println!("skipped: needs root, as whom ganesha runs");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let export = place.path().join("export");
    std::fs::create_dir(&export).unwrap();
    let port = free_port();
    let config = format!(
        "NFS_CORE_PARAM {{ Protocols = 9P; Bind_addr = 127.0.0.1; }}
         _9P {{ _9P_TCP_Port = {port}; _9P_TCP_Msize = 1048576; }}
         EXPORT {{ Export_Id = 1; Path = {}; Pseudo = /exp; Tag = exp; Access_Type = RW;
         Squash = No_Root_Squash; SecType = sys; Protocols = 9P; Transports = TCP;
         FSAL {{ Name = VFS; }} }}",
        export.display()
    );
    std::fs::write(place.path().join("conf"), config).unwrap();
    let path = |name: &str| place.path().join(name);
    let mut command = Command::new(ganesha);
    command.arg("-F").arg("-L").arg(path("log")).arg("-f").arg(path("conf"));
    let _ganesha = start(command.arg("-p").arg(path("pid")));
    let c = connect(&tcp(port));
    assert_eq!((c.agreed().dialect, c.agreed().ours), (Dialect::Linux, false));
    let (root, _) = c.attach(b"root", 0, b"exp").unwrap();
    work(&c, &root);
}

#[test]
fn our_client_on_unpfs() {
    let Some(unpfs) = program("unpfs") else { return };
    let export = tempfile::tempdir().unwrap();
    let port = free_port();
    let _unpfs = start(Command::new(unpfs).arg(format!("tcp!127.0.0.1!{port}")).arg(export.path()));
    let c = connect(&tcp(port));
    assert_eq!((c.agreed().dialect, c.agreed().ours), (Dialect::Linux, false));
    let (root, _) = c.attach(b"root", 0, b"").unwrap();
    work(&c, &root);
}

#[test]
fn our_client_on_aio9p() {
    let Some(python) = python("aio9p") else { return };
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new(python);
    command.args(["-m", "aio9p.example.simple_u"]).current_dir(place.path());
    let _aio9p = start(&mut command);
    let socket = place.path().join("py9p.sock");
    let c = connect(&Address::Unix(socket.as_os_str().as_bytes().to_vec()));
    assert_eq!(c.agreed().dialect, Dialect::Unix);
    let (root, qid) = c.attach(b"user", NONUM, b"").unwrap();
    assert!(qid.is_dir());
    assert!(c.walk(&root, &[b"not there"]).is_err());
    let file = c.create(&root, b"f", flags::RDWR, 0o644, NONUM).unwrap();
    c.put(&file, 0, b"some text").unwrap();
    assert_eq!(c.all(&file).unwrap(), b"some text");
    c.close(file.fid).unwrap();
    let (fid, qid) = c.walk(&root, &[b"f"]).unwrap();
    let attr = c.getattr(&fid).unwrap();
    assert_eq!(Some(attr.qid), qid);
    c.clunk(fid);
}

/// Runs `f` with the port of a server of ours.
fn with_server<T: Tree>(tree: T, f: impl FnOnce(u16)) {
    with_server_by(Auth::Uid, tree, f);
}

/// py9p always says that it is user 0, which `--auth uid` takes from root alone: so for p9fs nobody
/// is asked who they are.
fn with_open_server<T: Tree>(tree: T, f: impl FnOnce(u16)) {
    with_server_by(Auth::None, tree, f);
}

fn with_server_by<T: Tree>(auth: Auth, tree: T, f: impl FnOnce(u16)) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Server::new(tree, false, Limits::default());
    let (wake, stop) = UnixStream::pair().unwrap();
    let stopped = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (server, wake, stopped) = (&server, &wake, &stopped);
        scope.spawn(move || {
            let ended = || stopped.load(std::sync::atomic::Ordering::Relaxed);
            server.listen(&[&Listener::Tcp(listener)], auth, wake.as_fd(), ended)
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| f(port)));
        stopped.store(true, std::sync::atomic::Ordering::Relaxed);
        drop(stop);
        server.shut();
        done.unwrap();
    });
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn diodcat_on_our_servers() {
    let Some(diodcat) = program("diodcat") else { return };
    let text: Vec<u8> = (0..200_000u32).map(|i| (i % 239) as u8).collect();
    let read = |port: u16, name: &[u8]| {
        let server = format!("127.0.0.1:{port}");
        let mut command = Command::new(&diodcat);
        command.args(["-s", &server, "-a", "/"]).arg(OsStr::from_bytes(name));
        command.output().unwrap()
    };
    let export = tempfile::tempdir().unwrap();
    std::fs::create_dir(export.path().join("sub")).unwrap();
    std::fs::write(export.path().join("sub/f"), &text).unwrap();
    with_server(privns_servers::dir::Dir::new(export.path()).unwrap(), |port| {
        assert!(read(port, b"sub/f").stdout == text);
        let gone = read(port, b"sub/g");
        assert!(!gone.status.success());
        assert!(String::from_utf8_lossy(&gone.stderr).contains("No such file"), "{gone:?}");
    });
    with_server(privns_servers::mem::Mem::new(1 << 20), |port| {
        let c = connect(&tcp(port));
        let (root, _) = c.attach(b"", own_uid(), b"").unwrap();
        c.make(&root, b"f", &text);
        assert!(read(port, b"f").stdout == text);
    });
}

/// What the Python client does with a server, in the dialect of its argument.
const P9FS: &str = r#"
import sys
from p9fs import P9FileSystem
fs = P9FileSystem("127.0.0.1", int(sys.argv[1]), sys.argv[3], version=sys.argv[2], aname="")
data = bytes(range(256)) * 400
def names(where):
    return sorted(n.strip("/").split("/")[-1] for n in fs.ls(where, detail=False))
fs.mkdir("d")
with fs.open("d/f", "wb") as f: f.write(data)
with fs.open("d/f", "rb") as f: assert f.read() == data
assert fs.info("d/f")["size"] == len(data)
assert names("d") == ["f"], names("d")
assert "d" in names("")
try: fs.open("d/none", "rb").read()
except Exception: pass
else: raise SystemExit("a file that is not there was opened")
fs.rm("d/f")
assert names("d") == []
"#;

#[test]
fn p9fs_on_our_servers_in_each_dialect() {
    let Some(python) = python("p9fs") else { return };
    let run = |port: u16, version: &str| {
        let mut command = Command::new(&python);
        command.args(["-c", P9FS, &port.to_string(), version, "root"]);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{version}: {}", String::from_utf8_lossy(&done.stderr));
    };
    for version in ["9P2000.L", "9P2000.u", "9P2000"] {
        let export = tempfile::tempdir().unwrap();
        with_open_server(privns_servers::dir::Dir::new(export.path()).unwrap(), |port| {
            run(port, version)
        });
        assert!(export.path().join("d").is_dir());
        with_open_server(privns_servers::mem::Mem::new(64 << 20), |port| run(port, version));
    }
}

/// What the Python client reads of a /proc, whose files have no size: as streams, since what its
/// buffered files do is to believe the size.
const P9FS_PROC: &str = r#"
import os, subprocess, sys
from p9fs import P9FileSystem
fs = P9FileSystem("127.0.0.1", int(sys.argv[1]), "root", version=sys.argv[2], aname="")
def names(where):
    return [n.strip("/").split("/")[-1] for n in fs.ls(where, detail=False)]
def read(name):
    f = fs._open_fid(name, os.O_RDONLY)
    try: return fs._read(10_000_000, 0, f)
    finally: fs._release_fid(f)
child = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL, env={"MARK": "here"})
pid = str(child.pid)
while open(f"/proc/{pid}/comm").read() != "sleep\n": pass
assert pid in names("")
assert "self" not in names("")
for name in ["status", "cmdline", "maps", "environ", "stat", "comm", "mountinfo"]:
    here = open(f"/proc/{pid}/{name}", "rb").read()
    there = read(f"{pid}/{name}")
    assert there == here or name == "status" and there[:100] == here[:100], (name, there)
assert read(f"{pid}/environ") == b"MARK=here\0"
assert sorted(names(f"{pid}/fd")) == ["0", "1", "2"], names(f"{pid}/fd")
assert len(read("kallsyms")) > 100_000
assert fs.info(f"{pid}/status")["size"] == 0
child.kill(); child.wait()
assert pid not in names("")
try: read(f"{pid}/status")
except Exception: pass
else: raise SystemExit("a process that has gone was read")
"#;

#[test]
fn p9fs_on_proc_in_each_dialect() {
    let Some(python) = python("p9fs") else { return };
    for version in ["9P2000.L", "9P2000.u", "9P2000"] {
        with_open_server(privns_servers::dir::Dir::new(Path::new("/proc")).unwrap(), |port| {
            let mut command = Command::new(&python);
            let done = command.args(["-c", P9FS_PROC, &port.to_string(), version]).output();
            let done = done.unwrap();
            assert!(done.status.success(), "{version}: {}", String::from_utf8_lossy(&done.stderr));
        });
    }
}
