//! Who is let in by a key and who is not, and that nothing weaker is tried.

use privns_ninep::address::Address;
use privns_servers::mem::Mem;
use privns_servers::relay::Route;
use privns_servers::serve::Listener;
use privns_servers::tls::keys::{ClientKey, ServerKeys};
use privns_servers::tls::make::{make, make_shared};
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

/// A directory with these files of another.
fn with(from: &Path, files: &[&str]) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in files {
        std::fs::copy(from.join(file), to.path().join(file)).unwrap();
    }
    to
}

#[test]
fn a_key_that_both_have() {
    let keys = tempfile::tempdir().unwrap();
    let path = make_shared(keys.path(), "lab").unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(make_shared(keys.path(), "lab").unwrap_err().to_string().contains("already"));
    make_shared(keys.path(), "other").unwrap();
    let server = Served::new(keys.path());
    for name in ["lab.psk", "other.psk"] {
        server.dial(with(keys.path(), &[name]).path(), "127.0.0.1").unwrap();
    }
    refused(server.dial(keys.path(), "127.0.0.1"), "more than one key");
    // Another key of the same name, and one that the server does not know at all.
    for name in ["lab", "unknown"] {
        let foreign = tempfile::tempdir().unwrap();
        make_shared(foreign.path(), name).unwrap();
        let began = Instant::now();
        refused(server.dial(foreign.path(), "127.0.0.1"), "another key");
        assert!(began.elapsed() < Duration::from_secs(2));
    }
    // What its file is called is each end's own matter; a host's name picks it among several.
    let renamed = with(keys.path(), &["other.psk"]);
    std::fs::copy(&path, renamed.path().join("localhost.psk")).unwrap();
    server.dial(renamed.path(), "localhost").unwrap();
    refused(server.dial(renamed.path(), "127.0.0.1"), "more than one key");
    server.dial(with(keys.path(), &["lab.psk"]).path(), "127.0.0.1").unwrap();
}

/// Whoever has a certificate of a key does not get in by the name of a pre-shared one, nor the
/// other way about.
#[test]
fn one_kind_of_key_does_not_stand_in_for_the_other() {
    let (halves, shared) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(halves.path(), "lab", HOUR).unwrap();
    make_shared(shared.path(), "lab").unwrap();
    let (by_halves, by_shared) = (Served::new(halves.path()), Served::new(shared.path()));
    let refuses = |served: &Served, keys: &Path, why| refused(served.dial(keys, "127.0.0.1"), why);
    refuses(&by_halves, shared.path(), "pre-shared key lab");
    refuses(&by_shared, with(halves.path(), &["lab.client"]).path(), "key lab");
    // A server with both takes either, each by its own proof.
    std::fs::copy(shared.path().join("lab.psk"), halves.path().join("lab.psk")).unwrap();
    let both = Served::new(halves.path());
    both.dial(with(halves.path(), &["lab.client"]).path(), "127.0.0.1").unwrap();
    both.dial(shared.path(), "127.0.0.1").unwrap();
    for file in ["localhost.client", "localhost.psk"] {
        std::fs::copy(
            halves.path().join(file.replace("localhost", "lab")),
            halves.path().join(file),
        )
        .unwrap();
    }
    refused(both.dial(halves.path(), "localhost"), "both localhost.client and localhost.psk");
}

/// Takes whatever a server shows.
#[derive(Debug)]
struct Gullible;

impl rustls::client::danger::ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// A client that takes what is shown, asks for the right kind of proof and has a pair of keys of its
/// own, or the server's public key without the private one: the server takes neither.
#[test]
fn a_server_takes_the_other_half_and_no_other() {
    use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
    let keys = tempfile::tempdir().unwrap();
    make_shared(keys.path(), "lab").unwrap();
    let server = Served::new(keys.path());
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 32];
    let der = [&head[..], &[9; 32]].concat();
    let der = PrivatePkcs8KeyDer::from(&der[..]);
    let key = rustls::crypto::ring::sign::any_eddsa_type(&der).unwrap();
    let mut shown = CertificateDer::from(key.public_key().unwrap().as_ref().to_vec());
    for _ in 0..2 {
        let pair = rustls::sign::CertifiedKey::new(vec![shown.clone()], key.clone());
        let pair = rustls::client::AlwaysResolvesClientRawPublicKeys::new(pair.into());
        let provider = rustls::crypto::ring::default_provider();
        let config = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(std::sync::Arc::new(Gullible))
            .with_client_cert_resolver(std::sync::Arc::new(pair));
        let name = "any.psk.privns".try_into().unwrap();
        let mut tls = rustls::ClientConnection::new(config.into(), name).unwrap();
        let mut socket = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        let _ = stream.write_all(&[19, 0, 0, 0, 100, 0xff, 0xff, 0, 32, 0, 0, 6, 0]);
        let error = stream.read(&mut [0; 64]).unwrap_err();
        assert!(error.to_string().contains("alert"), "{error}");
        shown = tls.peer_certificates().unwrap()[0].clone().into_owned();
    }
}

/// Files that are no such keys, and servers that are none.
#[test]
fn pre_shared_keys_that_are_no_good() {
    let keys = tempfile::tempdir().unwrap();
    let path = make_shared(keys.path(), "lab").unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let why = |e: std::io::Error| e.to_string();
    for bad in [
        "",
        "secret word",
        &text[..text.len() - 2],
        &text.replace("psk-1", "psk-9"),
        &[&text[..], &text].concat(),
        &"x".repeat(1 << 20),
    ] {
        std::fs::write(&path, bad).unwrap();
        let found = ClientKey::find(keys.path(), "x").map_err(why);
        let said = found.unwrap_err();
        assert!(said.contains("no key of this version"), "{said}");
        let digits = text.trim_end().rsplit(' ').next().unwrap();
        assert!(!said.contains(&digits[..8]), "{said}");
        assert!(ServerKeys::read(keys.path()).is_err(), "{bad:?}");
    }
    std::fs::write(&path, &text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    assert!(ServerKeys::read(keys.path()).map_err(why).unwrap_err().contains("others can read"));
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let server = Served::new(keys.path());
    // No proof at all: the handshake is not gone on with.
    let provider = rustls::crypto::ring::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = "lab.psk.privns".try_into().unwrap();
    let mut tls = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut socket = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    let refused = stream.write_all(b"x").and_then(|()| stream.read(&mut [0; 8]).map(drop));
    assert!(refused.unwrap_err().to_string().contains("alert"));
    server.dial(keys.path(), "127.0.0.1").unwrap();
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
