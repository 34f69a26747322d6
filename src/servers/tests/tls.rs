//! Who is let in by a key and who is not, and that nothing weaker is tried.

use privns_ninep::address::Address;
use privns_servers::mem::Mem;
use privns_servers::relay::Route;
use privns_servers::serve::Listener;
use privns_servers::tls::keys::{ClientKey, ServerKeys};
use privns_servers::tls::make::make;
use privns_servers::{Limits, Server};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

/// A memory server with the keys of a directory.
struct Served {
    port: u16,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn new(keys: &Path) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let listener = Listener::Tls(listener, ServerKeys::read(keys).unwrap().into());
        let (stop, stopped) = UnixStream::pair().unwrap();
        stopped.set_nonblocking(true).unwrap();
        let thread = std::thread::spawn(move || {
            let limits = Limits { attach: Duration::from_secs(2), ..Limits::default() };
            let server = Server::new(Mem::new(1 << 20), false, limits);
            let ended = || matches!((&stopped).read(&mut [0]), Ok(0));
            let auth = privns_servers::auth::Auth::Tls;
            server.listen(&[&listener], auth, stopped.as_fd(), ended).unwrap();
        });
        Served { port, stop: Some(stop), thread: Some(thread) }
    }

    /// What dialling it with the keys of a directory comes to.
    fn dial(&self, keys: &Path, host: &str) -> Result<(), String> {
        let address = Address::Tls { host: host.as_bytes().to_vec(), port: self.port };
        let timeout = Duration::from_secs(5);
        let route = Route { keys: Some(keys.to_path_buf()), timeout, ..Route::to(address) };
        route.dial().map(|up| assert!(up.agreed().ours)).map_err(|e| e.to_string())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.take();
        let done = self.thread.take().unwrap().join();
        assert!(done.is_ok() || std::thread::panicking());
    }
}

/// A directory with the client's half of a key from another one.
fn given(from: &Path, name: &str, as_name: &str) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let file = to.path().join(format!("{as_name}.client"));
    std::fs::copy(from.join(format!("{name}.client")), &file).unwrap();
    to
}

fn refused(result: Result<(), String>, why: &str) {
    let said = result.unwrap_err();
    assert!(said.contains(why), "{said:?} says nothing of {why:?}");
}

#[test]
fn those_with_a_key_get_in_and_no_others() {
    let keys = tempfile::tempdir().unwrap();
    for name in ["lab", "home.example"] {
        make(keys.path(), name, HOUR).unwrap();
    }
    let server = Served::new(keys.path());
    for name in ["lab", "home.example"] {
        let theirs = given(keys.path(), name, name);
        server.dial(theirs.path(), "127.0.0.1").unwrap();
    }
    refused(server.dial(keys.path(), "127.0.0.1"), "more than one key");
    let none = tempfile::tempdir().unwrap();
    refused(server.dial(none.path(), "127.0.0.1"), "no key");
    // The key that is named after the host is taken among several.
    let theirs = given(keys.path(), "lab", "localhost");
    refused(server.dial(theirs.path(), "localhost"), "certificate");

    let foreign = tempfile::tempdir().unwrap();
    make(foreign.path(), "lab", HOUR).unwrap();
    std::fs::remove_file(foreign.path().join("lab.server")).unwrap();
    refused(server.dial(foreign.path(), "127.0.0.1"), "certificate");
    server.dial(given(keys.path(), "lab", "lab").path(), "127.0.0.1").unwrap();
}

#[test]
fn keys_lapse() {
    let keys = tempfile::tempdir().unwrap();
    make(keys.path(), "old", Duration::ZERO).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    let server = Served::new(keys.path());
    refused(server.dial(keys.path(), "127.0.0.1"), "xpired");
}

/// One end with a key that has lapsed, the other with one that has not: the
/// server says so, after the client took the handshake for done.
#[test]
fn a_client_whose_key_is_foreign_hears_it() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(ours.path(), "lab", HOUR).unwrap();
    make(theirs.path(), "lab", HOUR).unwrap();
    let pem = |dir: &Path, file: &str| std::fs::read_to_string(dir.join(file)).unwrap();
    let blocks = |text: &str| {
        let end = "-----END CERTIFICATE-----\n";
        text.split_inclusive(end).map(String::from).collect::<Vec<_>>()
    };
    // Trusts our authority, and shows a certificate of another.
    let (trusted, shown) = (pem(ours.path(), "lab.client"), pem(theirs.path(), "lab.client"));
    let mixed = [&blocks(&shown)[0][..], &blocks(&trusted)[1][..]].concat();
    let file = theirs.path().join("lab.client");
    std::fs::write(&file, mixed).unwrap();
    let server = Served::new(ours.path());
    refused(server.dial(theirs.path(), "127.0.0.1"), "alert");
    // A client's half is none to serve with.
    let turned = tempfile::tempdir().unwrap();
    std::fs::copy(ours.path().join("lab.client"), turned.path().join("lab.server")).unwrap();
    let impostor = Served::new(turned.path());
    refused(impostor.dial(ours.path(), "127.0.0.1"), "certificate");
}

#[test]
fn a_client_without_a_certificate_gets_nothing() {
    let keys = tempfile::tempdir().unwrap();
    let [_, client] = make(keys.path(), "lab", HOUR).unwrap();
    let server = Served::new(keys.path());
    let mut roots = rustls::RootCertStore::empty();
    let text = std::fs::read(client).unwrap();
    use rustls::pki_types::pem::PemObject;
    let root = rustls::pki_types::CertificateDer::pem_slice_iter(&text).last().unwrap().unwrap();
    roots.add(root).unwrap();
    let provider = rustls::crypto::ring::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "lab.key.privns".try_into().unwrap();
    let mut tls = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut socket = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    let _ = stream.write_all(&[19, 0, 0, 0, 100, 0xff, 0xff, 0, 32, 0, 0, 6, 0]);
    let error = stream.read(&mut [0; 64]).unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
}

#[test]
fn plain_bytes_get_nothing_and_silence_is_not_waited_for() {
    let keys = tempfile::tempdir().unwrap();
    make(keys.path(), "lab", HOUR).unwrap();
    let server = Served::new(keys.path());
    let mut plain = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    plain.write_all(b"\x13\0\0\0\x64\xff\xff\0\x20\0\0\x08\x009P2000.L").unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(said.len() <= 16, "an alert at most: {said:?}");
    // Nothing, or half of a record, and then silence.
    for begin in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let began = Instant::now();
        let mut silent = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        silent.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        silent.write_all(begin).unwrap();
        let _ = silent.read_to_end(&mut Vec::new());
        assert!(began.elapsed() < Duration::from_secs(5), "{begin:?}");
    }
    server.dial(keys.path(), "127.0.0.1").unwrap();
    // The other way about: a server that does not speak TLS, one that hangs.
    for answer in [&b"\x13\0\0\0\x65\xff\xff\0\x20\0\0\x08\x009P2000.L"[..], b""] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let other = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let _ = socket.write_all(answer);
            let _ = socket.read_to_end(&mut Vec::new());
        });
        let address = Address::Tls { host: b"127.0.0.1".to_vec(), port };
        let timeout = Duration::from_millis(700);
        let keys = Some(keys.path().to_path_buf());
        let began = Instant::now();
        assert!(Route { keys, timeout, ..Route::to(address) }.dial().is_err());
        assert!(began.elapsed() < Duration::from_secs(4));
        other.join().unwrap();
    }
}

#[test]
fn files_that_others_can_read_are_not_used() {
    let keys = tempfile::tempdir().unwrap();
    let [server, client] = make(keys.path(), "lab", HOUR).unwrap();
    for file in [&server, &client] {
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(make(keys.path(), "lab", HOUR).unwrap_err().to_string().contains("already"));
    for bad in ["", "a b", "../x", ".x", "-x", "a..b", "a/b", &"x".repeat(200)] {
        assert!(make(keys.path(), bad, HOUR).is_err(), "{bad:?}");
    }
    for (file, bits) in [(&server, 0o640), (&client, 0o604)] {
        std::fs::set_permissions(file, PermissionsExt::from_mode(bits)).unwrap();
    }
    let why = |e: std::io::Error| e.to_string();
    assert!(ServerKeys::read(keys.path()).map_err(why).unwrap_err().contains("others can read"));
    let found = ClientKey::find(keys.path(), "x").map_err(why);
    assert!(found.unwrap_err().contains("others can read"));
    // Nor is one that was cut, or that only a link leads to.
    let text = std::fs::read(&server).unwrap();
    for cut in [0, 100, text.len() / 2, text.len() - 200] {
        let other = tempfile::tempdir().unwrap();
        let file = other.path().join("lab.server");
        std::fs::write(&file, &text[..cut]).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        assert!(ServerKeys::read(other.path()).is_err(), "cut at {cut}");
    }
    let linked = tempfile::tempdir().unwrap();
    std::fs::set_permissions(&server, PermissionsExt::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(&server, linked.path().join("lab.server")).unwrap();
    assert!(ServerKeys::read(linked.path()).is_err());
}
