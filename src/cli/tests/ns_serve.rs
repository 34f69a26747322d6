//! `ns-serve` as scripts use it.

use privns_ninep::address::Address;
use privns_ninep::client::{Fid, Options, flags};
use privns_ninep::hosted::{HostedClient, Stream};
use privns_ninep::{Errno, NONUM};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ns-serve");

/// A running `ns-serve`, ended with the test.
struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    fn start(args: &[&str]) -> Running {
        let mut command = Command::new(PROGRAM);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Running { child, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_string()
    }

    fn address(&mut self) -> Address {
        Address::parse(self.line().as_bytes()).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// A counter of the line that SIGUSR1 prints.
    fn counter(&mut self, name: &str) -> u64 {
        self.signal(Signal::USR1);
        let line = self.line();
        let found = line.split(", ").find_map(|c| c.strip_prefix(&format!("{name} ")));
        found.unwrap_or_else(|| panic!("{name} in {line}")).parse().unwrap()
    }

    fn status(&mut self) -> i32 {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap();
            }
            assert!(began.elapsed() < Duration::from_secs(10), "still running");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn attach(address: &Address) -> (HostedClient, Fid) {
    let client = Stream::dial(address).unwrap().client(&Options::default()).unwrap();
    let (root, _) = client.attach(b"", NONUM, b"").unwrap();
    (client, root)
}

fn path(p: &Path) -> &str {
    p.to_str().unwrap()
}

fn unix(p: &Path) -> String {
    format!("unix!{}", p.display())
}

#[test]
fn serves_where_it_says_and_ends_cleanly() {
    let place = tempfile::tempdir().unwrap();
    let (export, socket) = (place.path().join("export"), place.path().join("socket"));
    std::fs::create_dir(&export).unwrap();
    std::fs::write(export.join("f"), "text").unwrap();
    let listen = unix(&socket);
    let args = ["dir", path(&export), "--listen", "tcp!127.0.0.1!0", "--listen", &listen];
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Running::start(&args);
        let (tcp, local) = (server.address(), server.address());
        assert!(matches!(&tcp, Address::Tcp { port, .. } if *port > 0), "{tcp}");
        assert_eq!(local, Address::Unix(socket.as_os_str().as_bytes().to_vec()));
        for address in [&tcp, &local] {
            let (c, root) = attach(address);
            assert!(c.agreed().ours);
            let mut buf = [0; 10];
            let file = c.open_at(&root, &[b"f"], 0, &mut buf).unwrap();
            assert_eq!((file.first, &buf[..4]), (Some(4), &b"text"[..]));
            assert_eq!((server.counter("fids"), server.counter("open")), (2, 1));
            drop(c);
            let began = Instant::now();
            while server.counter("connections") > 0 {
                assert!(began.elapsed() < Duration::from_secs(10));
            }
            assert_eq!((server.counter("fids"), server.counter("open")), (0, 0));
        }
        let (held, root) = attach(&local);
        server.signal(signal);
        assert_eq!(server.status(), 0);
        assert!(!socket.exists(), "the socket is removed");
        assert_eq!(held.getattr(&root).unwrap_err(), Errno::EIO);
    }
}

#[test]
fn a_memory_tree_is_shared_and_limited() {
    let mut server = Running::start(&["mem", "--size", "1M", "--listen", "tcp!127.0.0.1!0"]);
    let address = server.address();
    let ((a, a_root), (b, b_root)) = (attach(&address), attach(&address));
    let how = flags::RDWR | flags::CREATE | flags::EXCL;
    let file = a.create(&a_root, b"f", how, 0o600, NONUM).unwrap();
    assert_eq!(a.write(&file, 0, b"shared"), Ok(6));
    let mut buf = [0; 10];
    assert_eq!(b.open_at(&b_root, &[b"f"], 0, &mut buf).unwrap().first, Some(6));
    // Somebody who writes behind is told why there is room for no more.
    assert_eq!(a.write(&file, 0, &vec![1; 2 << 20]), Err(Errno::ENOSPC));
    let written = a.getattr(&file.fid).unwrap().size;
    assert!((1 << 19..1 << 20).contains(&written), "{written}");
    assert_eq!(a.write(&file, written, &[1; 4096]), Err(Errno::ENOSPC));
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    // A child of another test has a copy between its fork and its exec.
    while std::os::unix::net::UnixStream::connect(&socket).is_ok() {
        std::thread::yield_now();
    }
    let listen = unix(&socket);
    let mut first = Running::start(&["mem", "--listen", &listen]);
    let address = first.address();
    let second = Command::new(PROGRAM).args(["mem", "--listen", &listen]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use"), "{second:?}");
    assert_eq!(attach(&address).1.number(), 0);
    let file = place.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let third = Command::new(PROGRAM).args(["mem", "--listen", &unix(&file)]).output().unwrap();
    assert_eq!(third.status.code(), Some(1));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
}

#[test]
fn standard_input_and_output_are_a_connection() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("f"), "text").unwrap();
    let command = format!("exec {PROGRAM} dir --stdio --ro '{}'", place.path().display());
    let (c, root) = attach(&Address::Exec(command.into_bytes()));
    let mut buf = [0; 10];
    assert_eq!(c.open_at(&root, &[b"f"], 0, &mut buf).unwrap().first, Some(4));
    assert_eq!(c.unlink(&root, b"f", false), Err(Errno::EROFS));
    // A signal ends it though it sits in a read.
    let mut command = Command::new(PROGRAM);
    command.args(["mem", "--stdio"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut server = Running { child, output };
    std::thread::sleep(Duration::from_millis(200));
    server.signal(Signal::TERM);
    assert_eq!(server.status(), 0);
    let mut rest = Vec::new();
    server.output.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "nothing but 9P on standard output");
}

#[test]
fn files_are_made_with_the_permissions_asked_for() {
    let place = tempfile::tempdir().unwrap();
    let mut server = Running::start(&["dir", path(place.path()), "--listen", "tcp!127.0.0.1!0"]);
    let (c, root) = attach(&server.address());
    let how = flags::RDWR | flags::CREATE | flags::EXCL;
    for (name, bits) in [(&b"open"[..], 0o666), (b"odd", 0o4711)] {
        let file = c.create(&root, name, how, bits, NONUM).unwrap();
        assert_eq!(c.getattr(&file.fid).unwrap().mode & 0o7777, bits, "no umask of the server's");
    }
    c.mkdir(&root, b"dir", 0o777, NONUM).unwrap();
    let (dir, _) = c.walk(&root, &[b"dir"]).unwrap();
    assert_eq!(c.getattr(&dir).unwrap().mode & 0o7777, 0o777);
}

/// Version and attach by hand, for whoever this runs as: the reply's type.
const STRANGER: &str = r#"
import socket, struct, sys
if sys.argv[1].isdigit():
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
else:
    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
def ask(body):
    s.sendall(struct.pack("<I", len(body) + 4) + body)
    size = struct.unpack("<I", s.recv(4, socket.MSG_WAITALL))[0]
    return s.recv(size - 4, socket.MSG_WAITALL)
ask(struct.pack("<BHIH", 100, 65535, 8192, 8) + b"9P2000.L")
print(ask(struct.pack("<BHIIHHI", 104, 1, 0, 0xffffffff, 0, 0, 0xffffffff))[0])
"#;

#[test]
fn other_users_do_not_get_in() {
    use std::os::unix::process::CommandExt;
    let able = rustix::process::geteuid().is_root()
        && Command::new("/usr/bin/python3").arg("-V").output().is_ok_and(|o| o.status.success());
    if !able {
        println!("skipped: needs root, to be somebody else, and /usr/bin/python3");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path(), open).unwrap();
    let socket = place.path().join("socket");
    let listen = unix(&socket);
    let said = |uid: u32, to: &str| {
        let mut command = Command::new("/usr/bin/python3");
        let done = command.args(["-c", STRANGER, to]).uid(uid).gid(uid).output().unwrap();
        String::from_utf8_lossy(&done.stdout).trim().to_string()
    };
    let args = ["mem", "--listen", "tcp!127.0.0.1!0", "--listen", &listen];
    for (auth, stranger) in [("uid", "7"), ("none", "105")] {
        let mut server = Running::start(&[&args[..], &["--auth", auth]].concat());
        let Address::Tcp { port, .. } = server.address() else { panic!("no tcp") };
        server.address();
        let port = port.to_string();
        assert_eq!(said(65534, &port), stranger, "--auth {auth}, tcp");
        assert_eq!(said(0, &port), "105");
        // The socket's permissions keep others out before the server does.
        let local = if auth == "uid" { "" } else { "105" };
        let widen = || {
            let wide = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(&socket, wide).unwrap();
        };
        if auth == "none" {
            widen();
        }
        assert_eq!(said(65534, path(&socket)), local, "--auth {auth}, unix");
        if auth == "uid" {
            widen();
            assert_eq!(said(65534, path(&socket)), "7", "nor through an open door");
        }
    }
}

#[test]
fn bad_usage_is_told_in_one_line() {
    let cases: [(&[&str], i32, &str); 14] = [
        (&[], 2, "nothing to serve"),
        (&["mem"], 2, "nowhere to listen"),
        (&["dir", "--stdio"], 2, "takes one PATH"),
        (&["mem", "x", "--stdio"], 2, "takes none"),
        (&["mem", "--ro", "--stdio"], 2, "--ro"),
        (&["dir", "/", "--size", "1M", "--stdio"], 2, "--size"),
        (&["mem", "--size", "lots", "--stdio"], 2, "no size"),
        (&["mem", "--listen", "nonsense"], 2, "no address"),
        (&["mem", "--stdio", "--listen", "unix!/x"], 2, "one connection"),
        (&["mem", "--auth", "tls", "--stdio"], 2, "who started it"),
        (&["registry", "--size", "1M"], 2, "--size"),
        (&["mem", "--what"], 2, "unknown option"),
        (&["dir", "/not/there", "--stdio"], 1, "No such file"),
        (&["mem", "--listen", "tcp!0.0.0.0!0"], 1, "loopback"),
    ];
    for (args, status, what) in cases {
        let done = Command::new(PROGRAM).args(args).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(status), "{args:?}: {said}");
        assert!(said.starts_with("ns-serve: ") && said.contains(what), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
    }
}

#[test]
fn help_says_what_works() {
    let run = |arg: &str| Command::new(PROGRAM).arg(arg).output().unwrap();
    let help = run("--help");
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(help.status.success() && text.contains("Examples:"));
    for what in ["man", "bash", "zsh", "fish"] {
        let done = Command::new(PROGRAM).args(["--generate", what]).output().unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success() && text.contains("listen"), "{what}");
    }
    assert_eq!(
        run("--version").stdout,
        format!("ns-serve {}\n", env!("CARGO_PKG_VERSION")).into_bytes()
    );
}
