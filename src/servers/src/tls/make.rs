//! Making a key: the two files of which one stays and one is given away, or the
//! one that both ends have.

use super::keys::{said, server_name};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Clocks of two hosts may differ by so much.
const SKEW: Duration = Duration::from_secs(3600);

/// Makes `NAME.server` and `NAME.client` in `dir`, which is made too, good for
/// `life` from now on; their paths.
///
/// # Errors
/// When the name is none, or a key of that name is there already.
pub fn make(dir: &Path, name: &str, life: Duration) -> io::Result<[PathBuf; 2]> {
    let realm = server_name(name)?.to_str().into_owned();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|e| said(e.to_string()))?;
    let span = (now.saturating_sub(SKEW), now + life);
    let authority = KeyPair::generate().map_err(wrong)?;
    let mut root = params(&format!("privns key {name}"), &[], span)?;
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root_text = root.self_signed(&authority).map_err(wrong)?.pem();
    let issuer = Issuer::new(root, authority);
    let part = |usage: ExtendedKeyUsagePurpose| -> io::Result<String> {
        let key = KeyPair::generate().map_err(wrong)?;
        let mut own = params(name, std::slice::from_ref(&realm), span)?;
        own.extended_key_usages = vec![usage];
        own.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let certificate = own.signed_by(&key, &issuer).map_err(wrong)?.pem();
        Ok([key.serialize_pem(), certificate, root_text.clone()].concat())
    };
    let texts =
        [part(ExtendedKeyUsagePurpose::ServerAuth)?, part(ExtendedKeyUsagePurpose::ClientAuth)?];
    let paths = ["server", "client"].map(|side| dir.join(format!("{name}.{side}")));
    write(dir, &paths, &texts)?;
    Ok(paths)
}

/// Makes `NAME.psk`, a key for both ends, in `dir`; its path.
///
/// # Errors
/// As [`make`].
pub fn make_shared(dir: &Path, name: &str) -> io::Result<PathBuf> {
    server_name(name)?;
    let path = dir.join(format!("{name}.psk"));
    write(dir, std::slice::from_ref(&path), &[super::psk::text()?])?;
    Ok(path)
}

/// New files that nobody else can read, in a directory that is made.
fn write(dir: &Path, paths: &[PathBuf], texts: &[String]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if let Some(there) = paths.iter().find(|p| p.symlink_metadata().is_ok()) {
        return Err(said(format!("{} is there already", there.display())));
    }
    for (path, text) in paths.iter().zip(texts) {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
    }
    Ok(())
}

fn wrong(e: rcgen::Error) -> io::Error {
    said(e.to_string())
}

fn params(
    name: &str,
    hosts: &[String],
    (from, to): (Duration, Duration),
) -> io::Result<CertificateParams> {
    let mut params = CertificateParams::new(hosts).map_err(wrong)?;
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    let epoch = date_time_ymd(1970, 1, 1);
    (params.not_before, params.not_after) = (epoch + from, epoch + to);
    Ok(params)
}
