//! Running a program on another machine, in the namespace that was asked for
//! here: `--on ssh!HOST`.
//!
//! - this file: the namespace as options of the `ns-exec` there
//! - `export`: with `--export`, what is bound here is served to it
//! - `arrival`: the one word that ssh(1) takes there, and what is done with
//!   it
//!
//! We become ssh(1): its terminal, signals and exit status are ours, and when
//! we are killed the connection ends. What has to be served meanwhile is so by
//! a process beside us, which waits for our end.

pub(super) mod arrival;
mod export;

use super::request::{Edit, Naming, Request};
use super::{Stop, birth};
use crate::failure::Failure;
use crate::world::of_io;
use export::Exports;
use privns_host::startup;
use privns_namespace::file::Line;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What one argument of execve(2) holds (`MAX_ARG_STRLEN`); the shell there
/// gets the whole command as one.
const LONGEST: usize = 128 << 10;

/// A host that accepts a connection and says nothing more would be waited for without end, by ssh(1)
/// as it is by itself: at first for so many seconds, and later, for as long as nothing else comes, asked
/// every so many seconds whether it is there, so many times.
const PATIENCE: [&str; 3] =
    ["-oConnectTimeout=30", "-oServerAliveInterval=15", "-oServerAliveCountMax=4"];

/// Where a program is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What ssh(1) takes as its destination.
    destination: Vec<u8>,
}

impl Place {
    /// `ssh!HOST`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Place> {
        let destination = text.strip_prefix(b"ssh!")?.to_vec();
        // ssh(1) would take a leading `-` for an option.
        let odd = |b: &u8| matches!(b, b'!' | 0);
        let good = !destination.is_empty() && destination[0] != b'-';
        (good && !destination.iter().any(odd)).then_some(Place { destination })
    }
}

/// Runs the program there.
///
/// # Errors
/// The namespace cannot be built here, or is too long; ssh is not there.
pub(super) fn run(request: &Request, place: &Place) -> Result<i32, Stop> {
    let lines = birth::lines(request)?;
    let (lines, exports) = match request.export {
        true => Exports::of(lines)?,
        false => (lines, Exports::default()),
    };
    let sockets = exports.there();
    let command = arrival::command(&words(request, &lines), &sockets)?;
    if command.len() >= LONGEST {
        let failure = Failure::new("--on", "the namespace does not fit a command line");
        return Err(failure.fix("copy it there with --dump, and run ns-exec --restore").into());
    }
    let mut ssh = Command::new("ssh");
    // Through a terminal there, output is not what the program writes: only
    // where it goes to one here.
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    ssh.arg(if terminal { "-t" } else { "-T" }).args(PATIENCE);
    for (here, there) in exports.sockets() {
        let pair = OsString::from_vec([there.as_bytes(), b":", here].concat());
        ssh.arg("-oExitOnForwardFailure=yes").arg("-R").arg(pair);
    }
    ssh.arg("--").arg(OsStr::from_bytes(&place.destination)).arg(OsStr::from_bytes(&command));
    exports.leave()?;
    startup::restore();
    let e = ssh.exec();
    let status = if e.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
    Err(Stop { status, failure: Failure::new("ssh", of_io(&e)) })
}

/// The arguments of the `ns-exec` there. The namespace goes as lines, since the
/// user may have another number there than the one that a dump is for.
fn words(request: &Request, lines: &[Line]) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut say = |some: &[&[u8]]| words.extend(some.iter().map(|word| word.to_vec()));
    // An empty line says that there is nothing: not even what there is by
    // itself.
    if lines.is_empty() {
        say(&[b"-e", b""]);
    }
    for line in lines {
        say(&[b"-e", &line.to_text()]);
    }
    for (asked, option) in [
        (request.skip_missing, &b"--skip-missing"[..]),
        (request.strict, b"--strict"),
        (request.enforce, b"--enforce"),
    ] {
        if asked {
            say(&[option]);
        }
    }
    if request.exact {
        say(&[b"--names", b"exact"]);
    }
    match &request.naming {
        Some(Naming::New(name)) => say(&[b"--family", name]),
        Some(Naming::Join(name)) => say(&[b"--join", name]),
        Some(Naming::Either(name)) => say(&[b"--join-or-create", name]),
        None => {}
    }
    for edit in &request.edits {
        match edit {
            Edit::Set(name, value) => say(&[b"--setenv", name, value]),
            Edit::Unset(name) => say(&[b"--unsetenv", name]),
            Edit::Clear => say(&[b"--clearenv"]),
        }
    }
    say(&[b"--"]);
    words.extend_from_slice(&request.program);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert!(Place::parse(b"ssh!me@host").is_some());
        for bad in [&b"ssh!"[..], b"ssh!-oProxyCommand=x", b"ssh!h!/x", b"tcp!h", b"h"] {
            assert_eq!(Place::parse(bad), None, "{bad:?}");
        }
    }
}
