//! Where keys are, and whom they let in.
//!
//! A *key* NAME is two files, which [`super::make`] makes together:
//! `NAME.server` for whoever serves and `NAME.client` for whoever is to reach
//! the server. Each holds a private key, a certificate for it, and the
//! authority that signed both and whose own key was thrown away: so there is
//! never a third certificate, and the two know each other and nobody else.
//! A *pre-shared* key is one file, `NAME.psk`, that both have (`tls::psk`).
//! They lie in `$XDG_CONFIG_HOME/privns/tls`, and a file that others could
//! read is not used.
//!
//! A client asks for the server's key by a name (SNI) of that key and its kind,
//! and shows its own half of that one or nothing: no other is tried.

use rustix::fs::{Mode, OFlags};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the names in certificates end with: no host's.
const REALM: &str = ".key.privns";
/// No key's file is larger, bytes.
const LARGEST: u64 = 64 << 10;

/// The directory of keys.
///
/// # Errors
/// When neither XDG_CONFIG_HOME nor HOME says where it is.
pub fn directory() -> io::Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    config
        .map(|c| c.join("privns/tls"))
        .ok_or_else(|| said("neither XDG_CONFIG_HOME nor HOME is set"))
}

pub(super) fn said(why: impl Into<String>) -> io::Error {
    io::Error::other(why.into())
}

pub(super) fn at(path: &Path, why: impl std::fmt::Display) -> io::Error {
    said(format!("{}: {why}", path.display()))
}

/// A name that a key may have: it becomes a file's and a certificate's.
///
/// # Errors
/// When it is empty, too long, or has other characters than letters, digits,
/// `.`, `-` and `_`, or a label of a host's name that is none.
pub fn server_name(name: &str) -> io::Result<ServerName<'static>> {
    let wrong = || said(format!("{name:?}: a key's name has letters, digits, '.', '-' and '_'"));
    let label = |l: &str| !l.is_empty() && !l.starts_with('-') && !l.ends_with('-');
    if name.len() > 100 || !name.split('.').all(label) {
        return Err(wrong());
    }
    ServerName::try_from(format!("{name}{REALM}")).map_err(|_| wrong())
}

/// A private key, its certificate, and the authority.
struct Parts {
    key: PrivateKeyDer<'static>,
    own: CertificateDer<'static>,
    authority: RootCertStore,
}

impl Parts {
    fn read(path: &Path) -> io::Result<Parts> {
        let text = read_secret(path)?;
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| at(path, "no key in it"))?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|_| at(path, "a certificate in it is broken"))?;
        let Ok([own, root]) = <[_; 2]>::try_from(certificates) else {
            return Err(at(path, "it has to have two certificates"));
        };
        let mut authority = RootCertStore::empty();
        authority.add(root).map_err(|e| at(path, e))?;
        Ok(Parts { key, own, authority })
    }
}

/// The contents of a file that is this user's and nobody else can read.
pub(super) fn read_secret(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| at(path, e))?;
    let stat = rustix::fs::fstat(&fd).map_err(|e| at(path, e))?;
    let own = rustix::process::geteuid().as_raw();
    if stat.st_mode & 0o170_000 != 0o100_000 || stat.st_uid != own {
        return Err(at(path, "it has to be a file of your own"));
    }
    if stat.st_mode & 0o077 != 0 {
        return Err(at(path, "others can read it (chmod 600, and make a new key if they have)"));
    }
    let mut text = Vec::new();
    File::from(fd).take(LARGEST).read_to_end(&mut text).map_err(|e| at(path, e))?;
    Ok(text)
}

pub(super) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A suite whose HKDF is that of SHA-256.
pub(super) static ALGORITHM: &rustls::Tls13CipherSuite = sha256();

const fn sha256() -> &'static rustls::Tls13CipherSuite {
    use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    match TLS13_AES_128_GCM_SHA256 {
        rustls::SupportedCipherSuite::Tls13(suite) => suite,
    }
}

pub(super) static VERSIONS: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

/// The names of the keys in `dir` whose files end so.
fn names(dir: &Path, ending: &str) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let files =
        entries.filter_map(|e: std::fs::DirEntry| OsString::into_string(e.file_name()).ok());
    let mut names: Vec<String> =
        files.filter_map(|f| f.strip_suffix(ending).map(String::from)).collect();
    names.sort();
    names
}

/// The two kinds of key, by what their files end with at a client's and at a server's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Two halves, each with a certificate.
    Halves,
    /// One file for both.
    Shared,
}

const KINDS: [Kind; 2] = [Kind::Halves, Kind::Shared];

impl Kind {
    const fn of_client(self) -> &'static str {
        match self {
            Kind::Halves => ".client",
            Kind::Shared => ".psk",
        }
    }

    const fn of_server(self) -> &'static str {
        match self {
            Kind::Halves => ".server",
            Kind::Shared => ".psk",
        }
    }
}

/// What a client shows and expects.
#[derive(Clone, Debug)]
pub struct ClientKey {
    /// What it is called here.
    name: String,
    kind: Kind,
    /// What the server is asked for.
    asked: ServerName<'static>,
    config: Arc<ClientConfig>,
}

impl ClientKey {
    /// The key for a server on `host`: that of the host's name, else the only
    /// one that there is.
    ///
    /// # Errors
    /// In words: when there is none, more than one, or one that is no good.
    pub fn find(dir: &Path, host: &str) -> io::Result<ClientKey> {
        let of_kind = |kind: Kind| names(dir, kind.of_client()).into_iter().map(move |n| (n, kind));
        let all: Vec<(String, Kind)> = KINDS.into_iter().flat_map(of_kind).collect();
        let named: Vec<_> = all.iter().filter(|(name, _)| name == host).collect();
        let (name, kind) = match (&named[..], &all[..]) {
            ([one], _) => *one,
            ([], [one]) => one,
            ([], []) => {
                let how = "made by ns-serve keygen where the server is";
                return Err(at(dir, format!("no key (NAME.client or NAME.psk, {how})")));
            }
            ([], _) => {
                let none = format!("more than one key, and none named {host}.client or {host}.psk");
                return Err(at(dir, none));
            }
            _ => return Err(at(dir, format!("both {host}.client and {host}.psk are there"))),
        };
        let path = dir.join(format!("{name}{}", kind.of_client()));
        let (asked, config) = match kind {
            Kind::Halves => (server_name(name)?, client_config(&path)?),
            Kind::Shared => super::psk::client(&path)?,
        };
        Ok(ClientKey { name: name.clone(), kind: *kind, asked, config: Arc::new(config) })
    }

    pub(super) fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    pub(super) fn server_name(&self) -> ServerName<'static> {
        self.asked.clone()
    }

    /// The same failure, with the key's name.
    pub(super) fn explain(&self, e: io::Error) -> io::Error {
        match (e.raw_os_error(), self.kind) {
            (Some(_), _) => e,
            (None, Kind::Halves) => io::Error::new(e.kind(), format!("key {}: {e}", self.name)),
            (None, Kind::Shared) => {
                io::Error::new(e.kind(), format!("pre-shared key {}: {e}", self.name))
            }
        }
    }
}

fn client_config(path: &Path) -> io::Result<ClientConfig> {
    let parts = Parts::read(path)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)
        .map_err(|e| at(path, e))?
        .with_root_certificates(parts.authority)
        .with_client_auth_cert(vec![parts.own], parts.key)
        .map_err(|e| at(path, e))?;
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// What a server shows, by the name that the client asks for.
#[derive(Clone, Debug)]
pub struct ServerKeys {
    configs: BTreeMap<String, Arc<ServerConfig>>,
    /// Shown to those who ask for a name that is not here: it will not do.
    any: Arc<ServerConfig>,
}

impl ServerKeys {
    /// All keys in `dir`.
    ///
    /// # Errors
    /// In words: when there is none, or one that is no good.
    pub fn read(dir: &Path) -> io::Result<ServerKeys> {
        let mut configs = BTreeMap::new();
        for kind in KINDS {
            for name in names(dir, kind.of_server()) {
                let path = dir.join(format!("{name}{}", kind.of_server()));
                let (asked, mut config) = match kind {
                    Kind::Halves => (format!("{name}{REALM}"), with_certificate(&path)?),
                    Kind::Shared => super::psk::server(&path)?,
                };
                config.send_tls13_tickets = 0;
                config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
                configs.insert(asked.to_ascii_lowercase(), Arc::new(config));
            }
        }
        let any = configs.values().next().cloned();
        let any = any.ok_or_else(|| at(dir, "no key (ns-serve keygen NAME makes one)"))?;
        Ok(ServerKeys { configs, any })
    }

    pub(super) fn for_name(&self, name: Option<&str>) -> Arc<ServerConfig> {
        let found = name.and_then(|n| self.configs.get(&n.to_ascii_lowercase()));
        found.unwrap_or(&self.any).clone()
    }
}

fn with_certificate(path: &Path) -> io::Result<ServerConfig> {
    let parts = Parts::read(path)?;
    let authority = Arc::new(parts.authority);
    let verifier = WebPkiClientVerifier::builder_with_provider(authority, provider())
        .build()
        .map_err(|e| at(path, e))?;
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)
        .map_err(|e| at(path, e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![parts.own], parts.key)
        .map_err(|e| at(path, e))
}
