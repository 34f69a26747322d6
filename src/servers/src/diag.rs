//! Whose a connection is, asked of the kernel by sock_diag(7).
//!
//! It looks one connection up as it looks up where a packet goes. The tables of
//! `/proc/net` are read from their beginning, and have every connection that was
//! closed in the last minute: at a server whose clients fork that is thousands.

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::net::{IpAddr, SocketAddr};

/// What is asked for: `inet_diag_req_v2` behind a `nlmsghdr`.
const REQUEST: usize = 16 + 8 + ID;
/// What is told: `inet_diag_msg` behind a `nlmsghdr`, without attributes.
const ANSWER: usize = 16 + 4 + ID + 20;
/// `inet_diag_sockid`: ports, addresses, interface and cookie.
const ID: usize = 48;

/// `SOCK_DIAG_BY_FAMILY`, the type of both messages.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST`.
const ASKED: u16 = 1;
/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// `TCP_ESTABLISHED`.
const ESTABLISHED: u8 = 1;

/// The uid of the socket from `local` to `remote`, if it is connected and a process
/// holds it: of one that was closed the kernel says uid 0. None, too, where this
/// kernel does not tell, or has bound the socket to an interface.
pub(crate) fn owner(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    let asked = question(local, remote);
    let flags = SocketFlags::CLOEXEC;
    let by = Some(netlink::SOCK_DIAG);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, by).ok()?;
    send(&socket, &asked, SendFlags::empty()).ok()?;
    let mut told = [0; 1024];
    let (_, length) = recv(&socket, &mut told[..], RecvFlags::empty()).ok()?;
    answered(told.get(..length)?, local, remote)
}

fn question(local: SocketAddr, remote: SocketAddr) -> [u8; REQUEST] {
    let v4 = local.ip().to_canonical().is_ipv4();
    let family = if v4 { AddressFamily::INET } else { AddressFamily::INET6 };
    let mut asked = [0; REQUEST];
    let mut put = |at: usize, bytes: &[u8]| asked[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &u32::to_ne_bytes(REQUEST as u32));
    put(4, &BY_FAMILY.to_ne_bytes());
    put(6, &ASKED.to_ne_bytes());
    put(16, &[family.as_raw() as u8, TCP]);
    put(20, &u32::MAX.to_ne_bytes());
    put(24, &local.port().to_be_bytes());
    put(26, &remote.port().to_be_bytes());
    put(28, &address(local));
    put(44, &address(remote));
    // INET_DIAG_NOCOOKIE
    put(64, &[0xff; 8]);
    asked
}

/// An address in the sixteen bytes that it has there. One of version 4 is its own
/// also in a socket of version 6.
fn address(of: SocketAddr) -> [u8; 16] {
    match of.ip().to_canonical() {
        IpAddr::V6(ip) => ip.octets(),
        IpAddr::V4(ip) => {
            let mut all = [0; 16];
            all[..4].copy_from_slice(&ip.octets());
            all
        }
    }
}

fn answered(told: &[u8], local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    let told: &[u8; ANSWER] = told.first_chunk()?;
    let word = |at: usize| Some(u32::from_ne_bytes(told.get(at..at + 4)?.try_into().ok()?));
    let (uid, inode) = (word(80)?, word(84)?);
    // Where there is no such connection, the kernel tells of who listens there.
    let same = told[4..6] == BY_FAMILY.to_ne_bytes()
        && told[17] == ESTABLISHED
        && end(told, 20, 24)? == (local.ip().to_canonical(), local.port())
        && end(told, 22, 40)? == (remote.ip().to_canonical(), remote.port());
    (same && inode != 0).then_some(uid)
}

/// One end of the connection that is told of, by where its port and address stand.
fn end(told: &[u8; ANSWER], port: usize, address: usize) -> Option<(IpAddr, u16)> {
    let port = u16::from_be_bytes(told.get(port..port + 2)?.try_into().ok()?);
    let address: &[u8; 16] = told.get(address..address + 16)?.try_into().ok()?;
    let [a, b, c, d, ..] = *address;
    let v4 = u16::from(told[16]) == AddressFamily::INET.as_raw();
    let ip = if v4 { IpAddr::from([a, b, c, d]) } else { IpAddr::from(*address) };
    Some((ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv6Addr, TcpListener, TcpStream};

    fn ends(of: &TcpStream) -> (SocketAddr, SocketAddr) {
        (of.local_addr().unwrap(), of.peer_addr().unwrap())
    }

    /// By either family, and by version 4 through a socket of version 6.
    #[test]
    fn what_is_held_has_an_owner_and_what_is_closed_none() {
        let uid = rustix::process::geteuid().as_raw();
        for (listen, connect) in
            [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1")]
        {
            let Ok(listener) = TcpListener::bind(listen) else { continue };
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect((connect, port)).unwrap();
            let (server, _) = listener.accept().unwrap();
            for socket in [&client, &server] {
                let (ours, theirs) = ends(socket);
                assert_eq!(owner(ours, theirs), Some(uid), "{ours} to {theirs}");
            }
            let (here, there) = ends(&client);
            drop(client);
            assert_eq!(owner(here, there), None, "closed: {here} to {there}");
        }
    }

    #[test]
    fn who_listens_is_not_who_is_connected() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        assert_eq!(owner(here, SocketAddr::from(([127, 0, 0, 1], 1))), None);
        assert_eq!(owner(here, SocketAddr::from((Ipv6Addr::LOCALHOST, 1))), None);
    }

    #[test]
    fn an_answer_of_another_form_tells_nothing() {
        let at = SocketAddr::from(([127, 0, 0, 1], 1));
        assert_eq!(answered(&[], at, at), None);
        assert_eq!(answered(&[0xff; ANSWER], at, at), None);
        assert_eq!(answered(&[0; ANSWER - 1], at, at), None);
    }
}
