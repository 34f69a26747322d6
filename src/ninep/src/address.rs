//! Dial strings: `tcp!HOST!PORT` and its relatives.

use crate::{Errno, PORT, Result};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Port of the directory of servers.
pub const DIRECTORY_PORT: u16 = 4349;

/// Where a 9P server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// `tcp!HOST[!PORT]`
    Tcp {
        /// Name or number; an IPv6 number without brackets.
        host: Vec<u8>,
        /// Port, 564 when not given.
        port: u16,
    },
    /// `tls!HOST[!PORT]`
    Tls {
        /// Name or number.
        host: Vec<u8>,
        /// Port, 564 when not given.
        port: u16,
    },
    /// `unix!PATH`
    Unix(Vec<u8>),
    /// `ssh![USER@]HOST!PATH`
    Ssh {
        /// What ssh(1) takes as its destination.
        destination: Vec<u8>,
        /// The directory to serve there.
        path: Vec<u8>,
    },
    /// `exec!COMMAND`: 9P on its standard input and output.
    Exec(Vec<u8>),
    /// `@[tls!]HOST[!PORT]/NAME`: looked up in the directory of servers.
    Directory {
        /// It is reached by TLS, and not without.
        tls: bool,
        /// Where the directory is.
        host: Vec<u8>,
        /// Its port, 4349 when not given.
        port: u16,
        /// The server's name in it.
        name: Vec<u8>,
    },
    /// `mem![KEY=VALUE,...]`: a new memory tree, with options of tmpfs(5).
    Memory(Vec<u8>),
}

impl Address {
    /// Reads a dial string. Text after the path of `unix!`, `ssh!` and the
    /// command of `exec!` belongs to them, `!` included.
    ///
    /// # Errors
    /// EINVAL for an unknown transport, a missing part or a port that is none.
    pub fn parse(text: &[u8]) -> Result<Address> {
        if let Some(rest) = text.strip_prefix(b"@") {
            let (at, name) = cut(rest, b'/').ok_or(Errno::EINVAL)?;
            // A host called tls has its port behind it, and a port is a number.
            let behind = at.strip_prefix(b"tls!").filter(|at| !at.iter().all(u8::is_ascii_digit));
            let (host, port) = host_port(behind.unwrap_or(at), DIRECTORY_PORT)?;
            return Ok(Address::Directory {
                tls: behind.is_some(),
                host,
                port,
                name: filled(name)?,
            });
        }
        let (transport, rest) = cut(text, b'!').ok_or(Errno::EINVAL)?;
        match transport {
            b"tcp" => host_port(rest, PORT).map(|(host, port)| Address::Tcp { host, port }),
            b"tls" => host_port(rest, PORT).map(|(host, port)| Address::Tls { host, port }),
            b"unix" => filled(rest).map(Address::Unix),
            b"exec" => filled(rest).map(Address::Exec),
            b"ssh" => {
                let (destination, path) = cut(rest, b'!').ok_or(Errno::EINVAL)?;
                // ssh(1) would take a leading `-` for an option.
                if destination.starts_with(b"-") {
                    return Err(Errno::EINVAL);
                }
                Ok(Address::Ssh { destination: filled(destination)?, path: filled(path)? })
            }
            b"mem" if rest.is_empty() || is_options(rest) => Ok(Address::Memory(rest.to_vec())),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The dial string, from which [`Address::parse`] makes the same address.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let number = |n: &u16| format!("{n}").into_bytes();
        match self {
            Address::Tcp { host, port } => [b"tcp!", &host[..], b"!", &number(port)].concat(),
            Address::Tls { host, port } => [b"tls!", &host[..], b"!", &number(port)].concat(),
            Address::Unix(path) => [b"unix!", &path[..]].concat(),
            Address::Exec(command) => [b"exec!", &command[..]].concat(),
            Address::Ssh { destination, path } => [b"ssh!", &destination[..], b"!", path].concat(),
            Address::Directory { tls, host, port, name } => {
                let at = if *tls { &b"@tls!"[..] } else { b"@" };
                [at, &host[..], b"!", &number(port), b"/", name].concat()
            }
            Address::Memory(options) => [b"mem!", &options[..]].concat(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}

fn cut(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let i = text.iter().position(|&b| b == at)?;
    Some((&text[..i], &text[i + 1..]))
}

/// Whether a text is a comma list of keys with values.
fn is_options(text: &[u8]) -> bool {
    let set = |one: &[u8]| cut(one, b'=').is_some_and(|(k, v)| !k.is_empty() && !v.is_empty());
    !text.contains(&0) && text.split(|&b| b == b',').all(set)
}

fn filled(text: &[u8]) -> Result<Vec<u8>> {
    if text.is_empty() || text.contains(&0) { Err(Errno::EINVAL) } else { Ok(text.to_vec()) }
}

fn host_port(text: &[u8], default: u16) -> Result<(Vec<u8>, u16)> {
    let Some((host, port)) = cut(text, b'!') else { return Ok((filled(text)?, default)) };
    let digits = core::str::from_utf8(port).map_err(|_| Errno::EINVAL)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Errno::EINVAL);
    }
    Ok((filled(host)?, digits.parse().map_err(|_| Errno::EINVAL)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_comes_back_as_it_was_said() {
        for text in [
            &b"tcp!host!564"[..],
            b"tcp!::1!0",
            b"tls!a.b!10564",
            b"unix!/run/x!y",
            b"mem!",
            b"mem!size=1m,mode=700",
            b"ssh!me@there!/srv/a!b",
            b"exec!ns-serve dir --stdio /x",
            b"@head!4349/home",
            b"@tls!head!4349/home",
            b"@tls!4349/home",
            b"unix!/\xff",
        ] {
            assert_eq!(Address::parse(text).unwrap().to_bytes(), text, "{text:?}");
        }
        assert_eq!(Address::parse(b"tcp!h").unwrap().to_bytes(), b"tcp!h!564");
        assert_eq!(Address::parse(b"@h/n").unwrap().to_bytes(), b"@h!4349/n");
        assert_eq!(Address::parse(b"@tls!h/n").unwrap().to_bytes(), b"@tls!h!4349/n");
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            &b""[..],
            b"tcp",
            b"tcp!",
            b"tcp!h!",
            b"tcp!h!65536",
            b"tcp!h!+1",
            b"tcp!h!1!2",
            b"tcp!!1",
            b"unix!",
            b"ssh!h",
            b"ssh!h!",
            b"ssh!-oProxyCommand=x!/",
            b"exec!",
            b"mem!x",
            b"mem!size=",
            b"mem!=1,size=1",
            b"mem!size=1,",
            b"@/x",
            b"@h",
            b"@tls!/x",
            b"@tls!h!x/y",
            b"udp!h!1",
            b"host!/path",
            b"unix!/a\0b",
        ] {
            assert_eq!(Address::parse(text), Err(Errno::EINVAL), "{text:?}");
        }
    }
}
