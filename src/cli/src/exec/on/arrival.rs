//! The other end of `--on`: one word says what is to be run there.
//!
//! The word is a token, so it means the same to every shell that a user may
//! have, and holds arguments of any bytes. The process that sshd starts stays
//! in front of the program: it says how that ended even when a signal ended
//! it, which ssh(1) does not tell; and when the connection is lost it hangs up
//! on the program as a terminal's line would, which sshd does only where there
//! is a terminal. It keeps no descriptor of the program's open.
//!
//! Sockets that sshd makes have a name in /tmp, and sshd never removes them.
//! So they are opened (`O_PATH`), and their names removed, before anything
//! else: programs dial `/proc/PID/fd/N`, which the kernel opens for the same
//! user only, and which is gone with the process in front, however that ends.

use super::super::request::Request;
use super::super::{PROGRAM, Stop, run};
use crate::failure::{Failure, shown};
use crate::keeper;
use crate::spec::Parsed;
use crate::tree::{self, errno};
use privns_abi::Errno;
use privns_host::Kernel;
use privns_host::process::Fork;
use privns_namespace::dump::{Dump, Origin};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, getpgrp, getpid, getppid, pidfd_open};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;

/// Where the sockets are made, and what their names begin with.
pub(super) const PLACE: &[u8] = b"/tmp";
pub(super) const PREFIX: &[u8] = b".privns-from-";

/// The arguments of an `ns-exec`, on their way.
pub struct Arrival {
    /// Who sends them.
    pub origin: Origin,
    /// Sockets that sshd has made here for what is exported: the names that
    /// lines have for them, and how they are reached.
    pub sockets: Vec<(Vec<u8>, Vec<u8>)>,
    words: Vec<Vec<u8>>,
}

/// The command for the shell there. sshd leaves its sockets behind, so they
/// are removed where there is no `ns-exec` to do it.
///
/// # Errors
/// A NUL in a word; ENOMEM.
pub(super) fn command(words: &[Vec<u8>], sockets: &[String]) -> Result<Vec<u8>, Failure> {
    let failure = |e| Failure::new("--on", e);
    if words.iter().any(|word| word.contains(&0)) {
        return Err(failure(Errno::EINVAL));
    }
    let first = sockets.join("\n").into_bytes();
    let all: Vec<&[u8]> = [&first[..]].into_iter().chain(words.iter().map(|w| &w[..])).collect();
    let dump = Dump { origin: Origin::here().map_err(failure)?, body: all.join(&0) };
    let token = dump.to_token().map_err(failure)?;
    if sockets.is_empty() {
        return Ok(format!("exec ns-exec --arrival {token}").into_bytes());
    }
    // No character in the quotes means anything to any shell but sh.
    let without = format!("rm -f {}; exec ns-exec --version", sockets.join(" "));
    let script = format!(
        "command -v ns-exec >/dev/null || {{ {without}; }}; exec ns-exec --arrival {token}"
    );
    Ok(format!("exec sh -c '{script}'").into_bytes())
}

impl Arrival {
    fn of(token: &[u8]) -> Result<Arrival, Failure> {
        let Dump { origin, body } = Dump::from_token(token)?;
        let mut words = body.split(|&b| b == 0).map(<[u8]>::to_vec);
        let sockets = words.next().unwrap_or_default();
        let sockets = sockets.split(|&b| b == b'\n').filter(|s| !s.is_empty());
        let sockets = sockets.map(|name| (name.to_vec(), Vec::new())).collect();
        Ok(Arrival { origin, sockets, words: words.collect() })
    }

    /// Takes the sockets' names away.
    fn take(&mut self) -> Result<Vec<OwnedFd>, Failure> {
        let mut taken = Vec::new();
        for (name, now) in &mut self.sockets {
            let socket = take(name).map_err(|e| {
                let failure = Failure::new(format!("--export: {}", shown(name)), e);
                failure.fix("does sshd allow forwarding (AllowStreamLocalForwarding)?")
            })?;
            let us = std::process::id();
            *now = format!("/proc/{us}/fd/{}", socket.as_raw_fd()).into_bytes();
            taken.push(socket);
        }
        if !taken.is_empty() {
            sweep();
        }
        Ok(taken)
    }
}

/// Opens a socket of our own, and removes its name.
fn take(name: &[u8]) -> privns_abi::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let socket = rustix::fs::open(name, flags, Mode::empty()).map_err(errno)?;
    let seen = rustix::fs::fstat(&socket).map_err(errno)?;
    if FileType::from_raw_mode(seen.st_mode) != FileType::Socket || seen.st_uid != Kernel.geteuid()
    {
        return Err(Errno::EACCES);
    }
    rustix::fs::unlink(name).map_err(errno)?;
    Ok(socket)
}

/// Removes the sockets of those that were killed before they came to it:
/// nobody listens there any more.
fn sweep() {
    let names = tree::open_path(PLACE).and_then(tree::names).unwrap_or_default();
    for name in names.iter().filter(|name| name.starts_with(PREFIX)) {
        let path = [PLACE, b"/", &name[..]].concat();
        let gone = UnixStream::connect(OsStr::from_bytes(&path))
            .is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused);
        if gone {
            let _ = take(&path);
        }
    }
}

/// Runs what has arrived, and ends as it does.
///
/// # Errors
/// A token that is none; what the `ns-exec` says that it holds the arguments
/// of.
pub(in super::super) fn run_it(token: &[u8]) -> Result<i32, Stop> {
    let mut arrival = Arrival::of(token)?;
    let words = std::mem::take(&mut arrival.words).into_iter().map(OsString::from_vec).collect();
    let failure = |e| Failure::new("the program's process", e);
    let sockets = arrival.take()?;
    let carrier = getppid().and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    match Kernel.fork(libc::SIGCHLD).map_err(failure)? {
        Fork::Parent(child) => Ok(stay(child, carrier, &sockets)),
        Fork::Child => {
            drop((carrier, sockets));
            // Nobody would be told of its end without the one in front.
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::HUP));
            let mut request = Request::default();
            let parsed = PROGRAM.parse(words, &mut request, |r, words| r.program = words)?;
            if let Parsed::Print(text) = parsed {
                return crate::print(text.as_bytes()).map(|()| 0).map_err(Stop::from);
            }
            request.arrival = Some(arrival);
            run(request)
        }
    }
}

/// Waits for the program, or for the end of the connection by which it came.
fn stay(child: i32, carrier: Option<OwnedFd>, sockets: &[OwnedFd]) -> i32 {
    // What a terminal says is for the program; we see to its end.
    Kernel.block_signals();
    let program = Pid::from_raw(child);
    let ended = program.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let kept = [&carrier, &ended].into_iter().flatten().chain(sockets);
    keeper::close_all_but(kept.map(AsRawFd::as_raw_fd).collect());
    keeper::stand_in();
    if let (Some(carrier), Some(ended)) = (&carrier, &ended)
        && !outlives(ended, carrier)
    {
        hang_up(program);
        return 128 + libc::SIGHUP;
    }
    let status = Kernel.wait(child).unwrap_or(125 << 8);
    match status & 0x7f {
        0 => status >> 8 & 0xff,
        signal => 128 + signal,
    }
}

/// Waits for the end of either; false when the program still runs.
fn outlives(program: &OwnedFd, carrier: &OwnedFd) -> bool {
    let is_over = |fd: &PollFd<'_>| !fd.revents().is_empty();
    loop {
        let watch = |fd| PollFd::new(fd, PollFlags::IN);
        let mut fds = [watch(program), watch(carrier)];
        match poll(&mut fds, None) {
            Ok(_) if is_over(&fds[0]) => return true,
            Ok(_) if is_over(&fds[1]) => return false,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // Nothing to be seen like this: the program is waited for.
            Err(_) => return true,
        }
    }
}

/// As the kernel hangs up on the processes of a terminal whose line is lost:
/// those in front, where they are ours to tell, else the program.
fn hang_up(program: Option<Pid>) {
    let own = getpid() == getpgrp();
    for signal in [Signal::HUP, Signal::CONT] {
        let told = match (own, program) {
            (true, _) => rustix::process::kill_process_group(getpgrp(), signal),
            (false, Some(program)) => rustix::process::kill_process(program, signal),
            (false, None) => Ok(()),
        };
        let _ = told.map_err(errno);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(command: &[u8]) -> Arrival {
        let word = command.rsplit(|&b| b == b' ').next().unwrap();
        Arrival::of(word.strip_suffix(b"'").unwrap_or(word)).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn words_of_any_bytes_arrive() {
        let words = [&b"-e"[..], b"", b"--", b"sh", b"it's \"$HOME\" !\\\n\xff", b""];
        let words: Vec<Vec<u8>> = words.iter().map(|w| w.to_vec()).collect();
        for sockets in [&[][..], &["/tmp/.privns-1-0".to_string(), "/tmp/.privns-1-1".to_string()]]
        {
            let command = command(&words, sockets).unwrap();
            let there = back(&command);
            assert_eq!(there.words, words);
            let named = there.sockets.iter().map(|(name, _)| name.clone());
            let sent = sockets.iter().map(|s| s.clone().into_bytes());
            assert!(named.eq(sent));
        }
        assert!(command(&[b"a\0b".to_vec()], &[]).is_err());
    }

    #[test]
    fn what_is_no_arrival() {
        for bad in [&b""[..], b"x", b"eNo", &[0xff; 10]] {
            assert!(Arrival::of(bad).is_err(), "{bad:?}");
        }
    }
}
