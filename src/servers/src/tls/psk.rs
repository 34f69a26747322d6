//! Keys that both ends share: `NAME.psk`, the same file at either.
//!
//! rustls has no pre-shared keys that come from outside (RFC 8446, 4.2.11), and a second TLS library
//! for them would be one more to keep. So the file's 256 random bits give, by HKDF (RFC 5869), two
//! pairs of Ed25519 keys, the server's and the client's, and each end shows its own as a raw public
//! key (RFC 7250) and takes the other's and nothing else. What that is worth:
//!
//! - Whoever does not have the file can make neither signature: nobody else gets in, and nobody else
//!   passes for the server. The two pairs differ, so that nothing that one end signs serves as the
//!   other's; whoever has the file can be either end, as with every pre-shared key.
//! - Each handshake has a fresh (EC)DHE exchange, which `psk_ke` of TLS would not: a key that is stolen
//!   later opens nothing that was recorded before.
//! - A stranger who connects sees the server's public key, and could try guesses against it. There is
//!   nothing to be guessed in 256 random bits, so that only keys which [`super::make`] makes are read,
//!   never a word that somebody chose.
//! - A client asks for the key by a third output of HKDF, which says nothing of the others, so that
//!   the file may have another name at either end. A pre-shared key takes another kind of proof than
//!   a certificate, and an end that has the one never goes on with the other: the handshake fails.
//! - What is compared is public, and the rest is ring's, whose signatures take the same time for all
//!   keys. The bits leave the file for nothing but the two pairs.
//!
//! There are no dates: such a key is good until its file is removed at either end and the server is
//! started anew.

use super::keys::{ALGORITHM, VERSIONS, at, provider, said};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, ServerConfig, SignatureScheme,
};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Bytes of a key.
const SIZE: usize = 32;
/// What stands in front of the key in its file, the version at the end.
const MAGIC: &str = "privns-psk-1";

/// A new key's file.
///
/// # Errors
/// When the kernel gives no random bytes.
pub(super) fn text() -> io::Result<String> {
    let mut secret = [0; SIZE];
    let random = provider().secure_random;
    random.fill(&mut secret).map_err(|_| said("no random bytes are to be had"))?;
    let digits = hex(&secret);
    Ok(format!("# Whoever has this file gets in. The same at both ends.\n{MAGIC} {digits}\n"))
}

/// The key in such a file: one line, beside comments.
fn parse(text: &[u8]) -> Option<[u8; SIZE]> {
    let text = std::str::from_utf8(text).ok()?;
    let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let digits = lines.next()?.strip_prefix(MAGIC)?.strip_prefix(' ')?.as_bytes();
    if digits.len() != 2 * SIZE || lines.next().is_some() {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    let mut secret = [0; SIZE];
    for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (nibble(pair[0])? << 4 | nibble(pair[1])?) as u8;
    }
    Some(secret)
}

/// The pairs of keys that both ends make of what they share.
struct Pairs {
    server: Arc<CertifiedKey>,
    client: Arc<CertifiedKey>,
    /// What the key is asked for by.
    name: String,
}

impl Pairs {
    fn read(path: &Path) -> io::Result<Pairs> {
        let text = super::keys::read_secret(path)?;
        let secret = parse(&text).ok_or_else(|| at(path, "no key of this version in it"))?;
        let pair = |side| pair(&secret, side).map_err(|e| at(path, e));
        let mut name = [0; 16];
        derive(&secret, "name", &mut name).map_err(|e| at(path, e))?;
        let name = hex(&name) + ".psk.privns";
        Ok(Pairs { server: pair("server")?, client: pair("client")?, name })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// HKDF-SHA-256, without salt, since the input is random.
fn derive(secret: &[u8; SIZE], what: &str, out: &mut [u8]) -> Result<(), Error> {
    let expander = ALGORITHM.hkdf_provider.extract_from_secret(None, secret);
    let info = [MAGIC.as_bytes(), b" ", what.as_bytes()];
    expander.expand_slice(&info, out).map_err(|_| Error::FailedToGetRandomBytes)
}

/// What an Ed25519 key has in front of its seed in PKCS #8 (RFC 8410, 7).
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, SIZE as u8];

/// The pair of one side.
fn pair(secret: &[u8; SIZE], side: &str) -> Result<Arc<CertifiedKey>, Error> {
    let mut der = [0; PKCS8.len() + SIZE];
    let (head, seed) = der.split_at_mut(PKCS8.len());
    head.copy_from_slice(&PKCS8);
    derive(secret, &format!("ed25519 {side}"), seed)?;
    let key = rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(&der[..]))?;
    let public = key.public_key().ok_or(Error::HandshakeNotComplete)?;
    let public = CertificateDer::from(public.as_ref().to_vec());
    Ok(Arc::new(CertifiedKey::new(vec![public], key)))
}

/// What the client asks for, shows and expects.
///
/// # Errors
/// In words: when the file is no good.
pub(super) fn client(path: &Path) -> io::Result<(ServerName<'static>, ClientConfig)> {
    let Pairs { server, client, name } = Pairs::read(path)?;
    let name = ServerName::try_from(name).map_err(|e| at(path, e))?;
    let expected = Pinned::of(&server, "the server has another key");
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)
        .map_err(|e| at(path, e))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(expected))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(client)));
    config.resumption = rustls::client::Resumption::disabled();
    Ok((name, config))
}

/// What the server is asked for, shows and expects.
///
/// # Errors
/// In words: when the file is no good.
pub(super) fn server(path: &Path) -> io::Result<(String, ServerConfig)> {
    let Pairs { server, client, name } = Pairs::read(path)?;
    let expected = Pinned::of(&client, "the client has another key");
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)
        .map_err(|e| at(path, e))?
        .with_client_cert_verifier(Arc::new(expected))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(server)));
    Ok((name, config))
}

/// Takes one public key, and a signature by it.
#[derive(Debug)]
struct Pinned {
    expected: CertificateDer<'static>,
    /// What is said of any other.
    otherwise: &'static str,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn of(pair: &CertifiedKey, otherwise: &'static str) -> Pinned {
        let algorithms = provider().signature_verification_algorithms;
        let expected = pair.cert.first().cloned().unwrap_or_else(|| CertificateDer::from(vec![]));
        Pinned { expected, otherwise, algorithms }
    }

    fn check(&self, shown: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<(), Error> {
        if *shown == self.expected && more.is_empty() {
            return Ok(());
        }
        let why = io::Error::other(self.otherwise);
        Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why)))))
    }

    /// By the key that is expected, whichever was shown.
    fn verify(
        &self,
        message: &[u8],
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(self.expected.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }
}

/// There is no TLS before 1.3 here.
fn never() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13))
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(shown, more).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        never()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        _shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(shown, more).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        never()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        _shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pairs are what they are for ever: both ends may be of different releases.
    #[test]
    fn the_pairs_of_a_key() {
        let secret = [7; SIZE];
        let public = |side| {
            let pair = pair(&secret, side).unwrap();
            let der = pair.cert[0].as_ref();
            hex(&der[der.len() - SIZE..])
        };
        assert_ne!(public("server"), public("client"));
        assert_eq!(public("server"), SERVER);
        assert_eq!(public("client"), CLIENT);
    }

    // By another implementation: HMAC of Python, keys of OpenSSL.
    const SERVER: &str = "bfaca4cf1f7981f860223bcc75c05e78cd73d126288e24776ecea19b2c60c131";
    const CLIENT: &str = "b1d218aa5cef4c9ec7d8df7a75fabd13a27be61034ff02a02088ec64e5715034";

    #[test]
    fn what_is_no_key() {
        let good = text().unwrap();
        assert!(parse(good.as_bytes()).is_some());
        assert_ne!(parse(good.as_bytes()), parse(text().unwrap().as_bytes()));
        let line = good.lines().last().unwrap();
        for bad in [
            String::new(),
            "secret".into(),
            MAGIC.into(),
            line[..line.len() - 1].into(),
            format!("{line}0"),
            format!("{line}\n{line}"),
            line.replace("-1 ", "-2 "),
            format!("{}x", &line[..line.len() - 1]),
            format!("{}+0", &line[..line.len() - 2]),
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(parse(&[0xff; 77]), None);
    }
}
