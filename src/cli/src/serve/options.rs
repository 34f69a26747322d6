//! What `ns-serve` accepts.

use crate::failure::{Failure, shown};
use crate::spec::{Arg, Offer, Opt, Program, Verb};
use privns_ninep::address::{Address, DIRECTORY_PORT};
use privns_servers::auth::Auth;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// What is served.
pub(super) enum What {
    /// The directory at this path.
    Dir(Vec<u8>),
    /// A memory tree.
    Mem,
    /// The directory of servers.
    Registry,
    /// Nothing: a key of this name is made.
    Key(Vec<u8>),
}

/// What the arguments ask for.
#[derive(Default)]
pub struct Request {
    pub(super) what: Option<What>,
    pub(super) read_only: bool,
    pub(super) size: Option<u64>,
    pub(super) listen: Vec<Address>,
    pub(super) stdio: bool,
    pub(super) announce: Vec<Address>,
    pub(super) days: Option<u64>,
    /// A key that both ends share is made.
    pub(super) shared: bool,
    auth: Option<Auth>,
}

impl Request {
    pub(super) fn auth(&self) -> Auth {
        self.auth.unwrap_or(Auth::Uid)
    }

    /// Where the directory of servers listens when nothing is said.
    pub(super) fn settle(&mut self) {
        if matches!(self.what, Some(What::Registry)) && self.listen.is_empty() && !self.stdio {
            let host = b"127.0.0.1".to_vec();
            self.listen.push(Address::Tcp { host, port: DIRECTORY_PORT });
        }
    }

    /// What cannot be asked for together.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let wrong = |what: &str, why: &str, fix: &str| Err(Failure::new(what, why).fix(fix));
        match &self.what {
            None => return wrong("arguments", "nothing to serve", "say dir PATH, mem or registry"),
            Some(What::Key(_)) => return self.check_key(),
            _ if self.days.is_some() => {
                return wrong("--days", "nothing lapses", "it is for keygen");
            }
            _ if self.shared => return wrong("--psk", "no key is made", "it is for keygen"),
            Some(What::Mem | What::Registry) if self.read_only => {
                return wrong("--ro", "an empty tree of its own", "it is for dir");
            }
            Some(What::Dir(_) | What::Registry) if self.size.is_some() => {
                return wrong("--size", "it has a size of its own", "it is for mem");
            }
            _ => {}
        }
        match (self.stdio, self.listen.is_empty()) {
            (false, true) => {
                wrong("arguments", "nowhere to listen", "say --listen ADDR or --stdio")
            }
            (true, false) => wrong("--stdio", "it serves one connection", "leave --listen out"),
            _ if self.stdio && !self.announce.is_empty() => {
                wrong("--announce", "nobody else reaches it with --stdio", "say --listen ADDR")
            }
            _ if self.stdio && self.auth.is_some() => {
                wrong("--auth", "who started it is at the other end", "leave it out with --stdio")
            }
            _ => Ok(()),
        }
    }

    fn check_key(&self) -> Result<(), Failure> {
        let serves = self.stdio || !self.listen.is_empty() || self.auth.is_some();
        let more = self.read_only || self.size.is_some() || !self.announce.is_empty();
        if serves || more {
            let fix = "say --days or --psk and no other option";
            return Err(Failure::new("keygen", "it serves nothing").fix(fix));
        }
        if self.shared && self.days.is_some() {
            let why = "a pre-shared key does not lapse";
            return Err(Failure::new("--days", why).fix("leave one of --days and --psk out"));
        }
        Ok(())
    }
}

const SERVING: &str = "What is served";
const REACHING: &str = "Who reaches it";
const ADDR: Arg = Arg("ADDR", Offer::Text);

type Values = Vec<Vec<u8>>;

/// `ns-serve`.
pub static PROGRAM: Program<Request> = Program {
    name: "ns-serve",
    about: "serve files over 9P",
    synopsis: &[
        "dir PATH [--ro] (--listen ADDR... | --stdio)",
        "mem [--size LIMIT] (--listen ADDR... | --stdio)",
        "registry [--listen ADDR...]",
        "keygen NAME [--days N | --psk]",
    ],
    description: DESCRIPTION,
    options: OPTIONS,
    verbs: VERBS,
    operands: &[],
    sections: SECTIONS,
    examples: EXAMPLES,
    see_also: &["ns-exec(1)", "ns(1)", "diod(8)"],
};

const DESCRIPTION: &str = "\
ns-serve offers a file tree to whoever speaks 9P: ns-exec --mount, the Linux kernel's \
9p file system, Plan 9. It speaks 9P2000.L, 9P2000.u and 9P2000, as the client likes.

dir serves a directory of this host and nothing outside it: symbolic links are told and \
never followed, and devices, pipes and sockets are shown and not opened. Pipes and sockets that clients \
make are made, and used by the clients among themselves. Files belong to the user whom the server runs as.

mem serves an empty tree in memory, shared by all who attach, that is gone when the \
server ends. Owners, permissions, links and removed open files are as on any local file \
system, so it can stand in for /tmp.

registry serves the directory of servers, on port 4349 of this host unless --listen says \
otherwise: an empty tree in memory, in which each server that is to be found by name has a \
file that holds its address and how one proves there who one is, as in \"tcp!HOST!PORT \
munge\". It is looked at with ls and cat where it is mounted. A server puts itself in with \
--announce, and goes out of it when it ends or its host does; what is written there by hand \
stays. @HOST/NAME in place of an address looks NAME up there, and @HOST1,HOST2/NAME in the \
first of several that has it. A directory that listens on tls! is @tls!HOST[!PORT]/NAME.

keygen makes a key for --auth tls and says what to do with its files: two, of which one is given \
away, or with --psk one that both ends have.

Once it is ready, the address is printed on standard output, one line for each --listen.";

const SECTIONS: &[(&str, &str)] = &[
    (
        "SIGNALS",
        "SIGTERM and SIGINT end the server: connections are closed, sockets removed, and the \
status is 0. SIGUSR1 prints one line of counters on standard output, with --stdio on standard \
error: connections, fids, open files, handoff tokens, requests and errors.",
    ),
    (
        "AUTHENTICATION",
        "With --auth uid the kernel says who is at the other end, by the credentials of a unix \
socket or by its table of connections on loopback TCP. Only the server's own user gets in, and \
root, who is asked as whom it attaches. With --auth none whoever can connect gets in, as whom it \
says it is. With --auth tls (TLS 1.3), TCP is for those who have a key, and both ends check the \
other's certificate; whoever gets in does so as the server's own user. Unix sockets go by uid \
then. With --auth munge, users prove who they are by MUNGE when they attach, as with diod; the \
server's own user and root get in, on all hosts that have the same MUNGE key. It needs munge(1) \
and unmunge(1), and hides nothing from the network. A TCP address beyond loopback has to be given with --auth. What a client cannot prove is an \
error, and nothing weaker is tried.

A directory is served with the rights of the server's own user, whoever attaches, and what is made \
there is that user's. A memory tree tells users apart, by their supplementary groups too where the \
kernel tells of them (unix sockets). A process that has become another user since is let in by \
neither but with --auth none: EACCES.",
    ),
    (
        "KEYS",
        "ns-serve keygen NAME makes two files in $XDG_CONFIG_HOME/privns/tls (that is \
~/.config/privns/tls): NAME.server, which stays with whoever serves, and NAME.client, which is \
given, by some secret way, to whoever is to reach the server, and belongs in the same directory \
there. They know each other and nobody else, since the key that signed them is thrown away: to \
take a key back, make another. With --psk it makes one file, NAME.psk, that stays and is given away: a pre-shared key of 256 random \
bits. Both ends make the same pairs of keys of it (HKDF, Ed25519), show their own, and take the \
other's and nothing else, in a TLS handshake that is as fresh as any: a key that is stolen later \
opens nothing that was recorded before. Whoever has the file can be either end, and it does not \
lapse: remove it at both ends, and start the server anew. A server shows all its keys. A client that \
dials tls!HOST uses HOST.client or HOST.psk, or the only one that there is: a .psk file may be called \
after the server's host, the other two keep their NAME. One kind of key never stands in for the other. Files that others can read are not \
used, and no key is ever in an argument, the environment, a dump or a log.",
    ),
    ("EXIT STATUS", "0 when a signal ended it; 1 when it failed; 2 for bad usage."),
];

const EXAMPLES: &[(&str, &str)] = &[
    ("ns-serve dir ~/src --listen unix!/tmp/src.9p", "Serves a directory to yourself."),
    (
        "ns-serve mem --size 2G --listen tcp!127.0.0.1!0",
        "Serves 2 GiB of memory on a port of the kernel's choice, and prints it.",
    ),
    (
        "ns-serve mem --listen tcp!0.0.0.0!0 --auth munge --announce @head/scratch",
        "Is mounted as @head/scratch, whichever port it got.",
    ),
    ("ns-serve keygen lab", "Makes lab.server and lab.client."),
    ("ns-serve keygen lab --psk", "Makes lab.psk, for both ends."),
    (
        "ns-serve dir /srv --listen tls!0.0.0.0!5640 --auth tls",
        "Serves whoever has one of this user's keys, from any host.",
    ),
    ("ssh host ns-serve dir --stdio --ro /usr/share", "Serves one client on the other end."),
];

static VERBS: &[Verb<Request>] = &[
    Verb {
        name: "dir",
        usage: "PATH",
        raw: false,
        args: &[Arg("PATH", Offer::Dir)],
        help: "A directory of this host.",
        apply: |r, v| match <[Vec<u8>; 1]>::try_from(v) {
            Ok([path]) => what(r, What::Dir(path)),
            Err(_) => Err(Failure::new("arguments", "it takes one PATH")),
        },
    },
    Verb {
        name: "mem",
        usage: "",
        raw: false,
        args: &[],
        help: "A tree in memory, empty at first.",
        apply: |r, v| match v.is_empty() {
            true => what(r, What::Mem),
            false => Err(Failure::new("arguments", "it takes none")),
        },
    },
    Verb {
        name: "registry",
        usage: "",
        raw: false,
        args: &[],
        help: "The directory of servers.",
        apply: |r, v| match v.is_empty() {
            true => what(r, What::Registry),
            false => Err(Failure::new("arguments", "it takes none")),
        },
    },
    Verb {
        name: "keygen",
        usage: "NAME",
        raw: false,
        args: &[Arg("NAME", Offer::Text)],
        help: "Makes the two halves of a key for TLS, or with --psk one key for both ends.",
        apply: |r, v| match <[Vec<u8>; 1]>::try_from(v) {
            Ok([name]) => what(r, What::Key(name)),
            Err(_) => Err(Failure::new("arguments", "it takes one NAME")),
        },
    },
];

static OPTIONS: &[Opt<Request>] = &[
    option("ro", &[], SERVING, "Nothing can be changed: EROFS. For dir.", |r, _| {
        r.read_only = true;
        Ok(())
    }),
    option(
        "size",
        &[Arg("LIMIT", Offer::Text)],
        SERVING,
        "Bytes that the tree may take, with K, M, G or T if need be. For mem; otherwise half of the memory.",
        |r, v| {
            r.size = Some(size(&v[0]).ok_or_else(|| Failure::new(shown(&v[0]), "no size"))?);
            Ok(())
        },
    ),
    option(
        "listen",
        &[ADDR],
        REACHING,
        "tcp!HOST[!PORT], port 564 when left out and 0 for any free one, tls!HOST[!PORT], or unix!PATH. Can be repeated.",
        |r, v| {
            let address = Address::parse(&v[0]);
            r.listen.push(address.map_err(|_| Failure::new(shown(&v[0]), "no address"))?);
            Ok(())
        },
    ),
    option("stdio", &[], REACHING, "One connection, on standard input and output.", |r, _| {
        r.stdio = true;
        Ok(())
    }),
    option(
        "auth",
        &[Arg("uid|tls|munge|none", Offer::Words(&["uid", "tls", "munge", "none"]))],
        REACHING,
        "How it is known who connects; uid when left out.",
        auth,
    ),
    option(
        "days",
        &[Arg("N", Offer::Text)],
        REACHING,
        "How long a new key is good for; 365 days when left out. For keygen.",
        |r, v| {
            let days = std::str::from_utf8(&v[0]).ok().and_then(|d| d.parse().ok());
            let days = days.filter(|d| (1..=36_500).contains(d));
            r.days = Some(days.ok_or_else(|| Failure::new(shown(&v[0]), "no number of days"))?);
            Ok(())
        },
    ),
    option("psk", &[], REACHING, "One key for both ends. For keygen.", |r, _| {
        r.shared = true;
        Ok(())
    }),
    option(
        "announce",
        &[Arg("@HOST/NAME", Offer::Text)],
        REACHING,
        "Is found as NAME in the directory of servers on HOST for as long as it runs. Can be repeated.",
        |r, v| match Address::parse(&v[0]) {
            Ok(address @ Address::Directory { .. }) => {
                r.announce.push(address);
                Ok(())
            }
            _ => Err(Failure::new(shown(&v[0]), "no name in a directory of servers")
                .fix("@[tls!]HOST[!PORT]/NAME")),
        },
    ),
];

fn auth(request: &mut Request, values: Values) -> Result<(), Failure> {
    request.auth = Some(match &values[0][..] {
        b"uid" => Auth::Uid,
        b"none" => Auth::None,
        b"tls" => Auth::Tls,
        b"munge" => Auth::Munge,
        other => {
            return Err(Failure::new(shown(other), "no such way").fix("uid, tls, munge or none"));
        }
    });
    Ok(())
}

fn what(request: &mut Request, what: What) -> Result<(), Failure> {
    request.what = Some(what);
    Ok(())
}

/// `4096`, `64M`: bytes.
pub(crate) fn size(text: &[u8]) -> Option<u64> {
    let (digits, shift) = match text.split_last()? {
        (b'K' | b'k', digits) => (digits, 10),
        (b'M' | b'm', digits) => (digits, 20),
        (b'G' | b'g', digits) => (digits, 30),
        (b'T' | b't', digits) => (digits, 40),
        _ => (text, 0),
    };
    let digits = std::str::from_utf8(digits).ok().filter(|d| !d.starts_with('+'))?;
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

const fn option(
    long: &'static str,
    args: &'static [Arg],
    group: &'static str,
    help: &'static str,
    apply: crate::spec::Apply<Request>,
) -> Opt<Request> {
    Opt { long, short: None, args, optional: false, group, help, apply }
}

/// Options may stand behind the words, as in `dir PATH --ro`; the parser wants
/// them in front. `--` ends them.
pub(super) fn options_first(args: Vec<OsString>) -> Vec<OsString> {
    let (mut options, mut words) = (Vec::new(), Vec::new());
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let bytes = arg.as_bytes();
        if bytes == b"--" {
            words.extend(args.by_ref());
        } else if bytes.len() > 1 && bytes[0] == b'-' {
            let takes = |o: &&Opt<Request>| bytes.strip_prefix(b"--") == Some(o.long.as_bytes());
            // `--generate` is the parser's own.
            let own = usize::from(bytes == b"--generate");
            let count = OPTIONS.iter().find(takes).map_or(own, |o| o.args.len());
            options.push(arg);
            options.extend(args.by_ref().take(count));
        } else {
            words.push(arg);
        }
    }
    if !words.is_empty() {
        options.push("--".into());
    }
    options.append(&mut words);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(text: &str) -> String {
        let args = options_first(text.split(' ').map(OsString::from).collect());
        args.join(std::ffi::OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn options_may_stand_anywhere() {
        assert_eq!(sorted("dir /x --ro --listen a!b"), "--ro --listen a!b -- dir /x");
        assert_eq!(sorted("dir --listen=a!b -- --ro"), "--listen=a!b -- dir --ro");
        assert_eq!(sorted("--listen"), "--listen");
        assert_eq!(sorted("--generate man"), "--generate man");
        assert_eq!(sorted("mem - --help"), "--help -- mem -");
    }

    #[test]
    fn sizes() {
        assert_eq!(size(b"4096"), Some(4096));
        assert_eq!(size(b"64M"), Some(64 << 20));
        assert_eq!(size(b"1t"), Some(1 << 40));
        for bad in [&b""[..], b"M", b"+1", b"-1", b"1.5G", b"99999999999T", b"1MB"] {
            assert_eq!(size(bad), None, "{bad:?}");
        }
    }
}
