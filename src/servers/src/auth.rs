//! Who is at the other end, by what the kernel knows.

use crate::diag;
use crate::session::Peer;
use crate::tree::Groups;
use privns_abi::Errno;
use privns_host::net::{Credentials, credentials, groups as peer_groups};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// How a server finds out who somebody is (`--auth`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Auth {
    /// The kernel tells: only the server's own user, and root.
    Uid,
    /// Whoever can connect may attach as anybody.
    None,
    /// Users prove who they are by MUNGE when they attach: only the server's
    /// own user, and root, on all hosts with the same key.
    Munge,
    /// On TCP whoever has a key; elsewhere as [`Auth::Uid`].
    Tls,
    /// As [`Auth::Uid`], and other users who attach under this name: a word that
    /// only those know who are to come in.
    Word(&'static [u8]),
}

impl Auth {
    /// The peer of a unix socket, from its credentials (`SO_PEERCRED` of
    /// unix(7): those at the time of connect). The process's number is of no
    /// matter, and is 0 for one in another pid namespace, a container's say,
    /// which rustix takes for a failure.
    #[must_use]
    pub fn unix(self, socket: &UnixStream) -> Peer {
        match self {
            Auth::None => Peer::Trusted,
            Auth::Munge => Peer::Unproven,
            Auth::Uid | Auth::Tls | Auth::Word(_) => match credentials(socket.as_raw_fd()) {
                Ok(told) => self.known(told, groups(socket, told.gid)),
                Err(_) => Peer::Refused,
            },
        }
    }

    fn known(self, told: Credentials, groups: Groups) -> Peer {
        match (judge(told.uid, groups.clone()), self) {
            (Peer::Refused, Auth::Word(word)) => Peer::Stranger { uid: told.uid, groups, word },
            (peer, _) => peer,
        }
    }

    /// The peer of a TCP connection on loopback, from the kernel's table of
    /// connections. Refused when it is on another host, or not in the table.
    #[must_use]
    pub fn tcp(self, socket: &TcpStream) -> Peer {
        match self {
            Auth::None => return Peer::Trusted,
            Auth::Munge => return Peer::Unproven,
            Auth::Uid | Auth::Tls | Auth::Word(_) => {}
        }
        let (Ok(ours), Ok(theirs)) = (socket.local_addr(), socket.peer_addr()) else {
            return Peer::Refused;
        };
        if !theirs.ip().to_canonical().is_loopback() {
            return Peer::Refused;
        }
        // A v4 client may sit in either table.
        let table = |name| owner_in(&std::fs::read_to_string(name).ok()?, theirs, ours);
        let tables = || ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().find_map(table);
        let found = diag::owner(theirs, ours).or_else(tables);
        found.map_or(Peer::Refused, |uid| judge(uid, Groups::default()))
    }
}

/// Whether a user who is known for sure may attach.
pub(crate) fn judge(uid: u32, groups: Groups) -> Peer {
    let own = rustix::process::geteuid().as_raw();
    if uid == own || uid == 0 { Peer::User { uid, groups } } else { Peer::Refused }
}

/// The groups of the process at the other end of a unix socket; an old kernel
/// tells its own group alone.
fn groups(socket: &UnixStream, own: u32) -> Groups {
    /// `NGROUPS_MAX` of getgroups(2).
    const MOST: usize = 65536;
    let mut room = vec![0; 64];
    let mut told = peer_groups(socket.as_raw_fd(), &mut room);
    if told == Err(Errno::ERANGE) {
        room.resize(MOST, 0);
        told = peer_groups(socket.as_raw_fd(), &mut room);
    }
    room.truncate(told.unwrap_or(0));
    Groups { own: Some(own), others: room.into() }
}

/// The uid of the socket from `local` to `remote` in a table of
/// `/proc/net/tcp`'s form (proc(5)).
///
/// Only an established one that a process holds is looked at. For one that was
/// closed the kernel shows uid 0, so that a stranger who sends requests and
/// closes at once would pass for root.
fn owner_in(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, here, there, state, _queues, _timer, _retransmits, uid, _timeout, inode, ..] =
            fields[..]
        else {
            return None;
        };
        let wanted = endpoint(here)? == canonical(local) && endpoint(there)? == canonical(remote);
        let held = state == ESTABLISHED && inode != "0";
        if wanted && held { uid.parse().ok() } else { None }
    })
}

/// `TCP_ESTABLISHED`, as the table has it.
const ESTABLISHED: &str = "01";

fn canonical(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

/// `0100007F:1F90`: address in words of the host's order, port.
fn endpoint(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = address.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let ip = match address.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let mut bytes = [0; 16];
            for (i, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(i)?);
            }
            IpAddr::from(bytes)
        }
        _ => return None,
    };
    Some((ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    #[cfg(target_endian = "little")]
    fn a_line_of_the_table() {
        let head =
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n";
        let row = |local: &str, remote: &str, state: &str, uid: u32, inode: u32| {
            format!(
                "   0: {local} {remote} {state} 0:0 00:00000000 00000000  {uid}        0 {inode} 1\n"
            )
        };
        let (v4, v6) = ("0100007F", "0000000000000000FFFF00000100007F");
        let server = "0200007F:0234";
        let table = [
            head.to_string(),
            row(&format!("{v4}:1F90"), server, "01", 1234, 99),
            row(&format!("{v6}:1F91"), &format!("{v6}:0234"), "01", 77, 99),
            // Closed by their owners: no uid of anybody's.
            row(&format!("{v4}:1F93"), server, "05", 0, 0),
            row(&format!("{v4}:1F94"), server, "01", 0, 0),
        ]
        .concat();
        let table = table.as_str();
        let at = |ip: [u8; 4], port| SocketAddr::from((ip, port));
        assert_eq!(owner_in(table, at([127, 0, 0, 1], 8080), at([127, 0, 0, 2], 564)), Some(1234));
        assert_eq!(owner_in(table, at([127, 0, 0, 1], 8081), at([127, 0, 0, 1], 564)), Some(77));
        assert_eq!(owner_in(table, at([127, 0, 0, 1], 8082), at([127, 0, 0, 1], 564)), None);
        assert_eq!(
            owner_in("junk\n1: x y\n2: 0100007F:zz", at([127, 0, 0, 1], 1), at([0; 4], 1)),
            None
        );
    }

    #[test]
    fn whoever_has_closed_is_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        drop(client);
        assert_eq!(Auth::Uid.tcp(&server), Peer::Refused);
    }

    #[test]
    fn our_own_connections_are_ours() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(Auth::Uid.tcp(&server), Peer::User { uid, groups: Groups::default() });
        assert_eq!(Auth::None.tcp(&server), Peer::Trusted);
        let (a, _b) = UnixStream::pair().unwrap();
        let gid = rustix::process::getegid().as_raw();
        let groups = Groups::ours();
        assert_eq!(groups.own, Some(gid));
        assert_eq!(Auth::Uid.unix(&a), Peer::User { uid, groups });
    }
}
