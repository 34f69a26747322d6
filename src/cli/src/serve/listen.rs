//! Addresses to listen on.

use crate::failure::Failure;
use privns_ninep::address::Address;
use privns_servers::auth::Auth;
use privns_servers::serve::Listener;
use privns_servers::tls::keys::{self, ServerKeys};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use std::ffi::OsStr;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A listener, and the address by which it is reached.
pub(super) struct Bound {
    pub(super) listener: Listener,
    pub(super) address: Address,
    /// A socket to be removed at the end: its path, device and inode.
    made: Option<(PathBuf, (u64, u64))>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Some((path, made)) = &self.made {
            // Another server may have taken the name over in the meantime.
            if identity(path) == Some(*made) {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

/// Listens on an address, as those may connect whom `auth` can tell.
pub(super) fn bind(address: &Address, auth: Auth) -> Result<Bound, Failure> {
    let failed =
        |e: io::Error| Failure::new(format!("--listen {address}"), crate::world::of_io(&e));
    match address {
        Address::Tls { host, port } => tls(address, host, *port),
        Address::Tcp { host, port } if auth == Auth::Tls => tls(address, host, *port),
        Address::Tcp { host, port } => {
            if matches!(auth, Auth::Uid) && !places(address, host, *port)?.iter().all(is_near) {
                let failure = Failure::new(
                    format!("--listen {address}"),
                    "the kernel knows the users of loopback connections only",
                );
                let fix = "say --auth tls or munge, or --auth none to serve everybody";
                return Err(failure.fix(fix));
            }
            let (listener, port) = tcp(address, host, *port)?;
            let address = Address::Tcp { host: host.clone(), port };
            Ok(Bound { listener: Listener::Tcp(listener), address, made: None })
        }
        Address::Unix(path) => {
            let path = Path::new(OsStr::from_bytes(path));
            let listener = unix(path, auth).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            let made = identity(path).map(|id| (path.to_path_buf(), id));
            Ok(Bound { listener: Listener::Unix(listener), address: address.clone(), made })
        }
        _ => Err(Failure::new(format!("--listen {address}"), "it can be tcp!, tls! or unix!")),
    }
}

fn is_near(place: &SocketAddr) -> bool {
    place.ip().is_loopback()
}

fn tls(address: &Address, host: &[u8], port: u16) -> Result<Bound, Failure> {
    let keys = keys::directory().and_then(|dir| ServerKeys::read(&dir));
    let keys = keys.map_err(|e| Failure::new("--auth tls", e.to_string()))?;
    let (listener, port) = tcp(address, host, port)?;
    let listener = Listener::Tls(listener, Arc::new(keys));
    Ok(Bound { listener, address: Address::Tls { host: host.to_vec(), port }, made: None })
}

/// What `host` stands for; `*` for all addresses of this one.
fn places(address: &Address, host: &[u8], port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let name = if host == b"*" { "::" } else { std::str::from_utf8(host).unwrap_or_default() };
    match (name, port).to_socket_addrs() {
        Ok(places) => Ok(places.collect()),
        Err(_) => Err(Failure::new(format!("--listen {address}"), "no such host")),
    }
}

fn tcp(address: &Address, host: &[u8], port: u16) -> Result<(TcpListener, u16), Failure> {
    let failure =
        |e: &io::Error| Failure::new(format!("--listen {address}"), crate::world::of_io(e));
    let places = places(address, host, port)?;
    let listener = TcpListener::bind(&places[..]).map_err(|e| failure(&e))?;
    listener.set_nonblocking(true).map_err(|e| failure(&e))?;
    let port = listener.local_addr().map_err(|e| failure(&e))?.port();
    Ok((listener, port))
}

/// A socket that the last server left behind when it was killed is replaced;
/// one that answers, or a file of another kind, is not.
fn unix(path: &Path, auth: Auth) -> io::Result<UnixListener> {
    let stale = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket())
        && UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
    if stale {
        std::fs::remove_file(path)?;
    }
    // Whom the server would turn away need not be able to connect.
    match auth {
        Auth::None | Auth::Munge => UnixListener::bind(path),
        Auth::Uid | Auth::Tls | Auth::Word(_) => {
            let before = rustix::process::umask(Mode::RWXG | Mode::RWXO);
            let listener = UnixListener::bind(path);
            rustix::process::umask(before);
            listener
        }
    }
}

/// Waits until one of the two can be read; true for the first.
pub(super) fn wait_for_either(first: impl AsFd, second: impl AsFd) -> io::Result<bool> {
    let mut fds = [
        PollFd::from_borrowed_fd(first.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(second.as_fd(), PollFlags::IN),
    ];
    match poll(&mut fds, None) {
        Ok(_) => Ok(!fds[0].revents().is_empty()),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(e) => Err(e.into()),
    }
}
