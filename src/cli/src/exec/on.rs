//! Running a program on another machine, in the namespace that was asked for
//! here: `--on ssh!HOST`.
//!
//! The namespace travels as lines on the command line that ssh(1) hands to the
//! shell there, since the user may have another number there than the one that
//! a token is for. We become ssh, so its
//! terminal, signals and exit status are ours. With `--export`, directories
//! that are bound here are served back: one `ns-serve dir` each, on a socket
//! that ssh forwards. The socket's name there has 128 random bits and only the
//! user can open it; it is gone with the program.

use super::request::{Edit, Naming, Request};
use super::{Stop, birth};
use crate::failure::Failure;
use crate::world::of_io;
use privns_host::startup;
use privns_namespace::file::{Action, Line, MountOptions};
use privns_ninep::hosted::quoted;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, IsTerminal};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What one argument of execve(2) holds (`MAX_ARG_STRLEN`); the shell there
/// gets the whole command as one.
const LONGEST: usize = 128 << 10;

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
    let mut lines = birth::lines(request)?;
    let mut exported = Exported::default();
    if request.export {
        exported.take(&mut lines)?;
    }
    let texts: Vec<Vec<u8>> = lines.iter().map(Line::to_text).collect();
    let command = exported.command(remote(request, &texts));
    if command.len() >= LONGEST {
        let failure = Failure::new("--on", "the namespace does not fit a command line");
        return Err(failure.fix("copy it there with --dump, and run ns-exec --restore").into());
    }
    let mut ssh = Command::new("ssh");
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    ssh.arg(if terminal { "-t" } else { "-T" });
    exported.forward(&mut ssh);
    ssh.arg("--").arg(OsStr::from_bytes(&place.destination)).arg(OsStr::from_bytes(&command));
    if !exported.servers.is_empty() {
        return wait(ssh);
    }
    startup::restore();
    Err(not_run(&ssh.exec()))
}

fn not_run(e: &std::io::Error) -> Stop {
    let status = if e.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
    Stop { status, failure: Failure::new("ssh", of_io(e)) }
}

/// The command for the shell there.
fn remote(request: &Request, lines: &[Vec<u8>]) -> Vec<u8> {
    let mut words: Vec<&[u8]> = vec![b"ns-exec"];
    // An empty line says that there is nothing: not even what there is by
    // itself.
    let none = [Vec::new()];
    for line in if lines.is_empty() { &none } else { lines } {
        words.extend([b"-e", &line[..]]);
    }
    for (asked, option) in [
        (request.skip_missing, &b"--skip-missing"[..]),
        (request.strict, b"--strict"),
        (request.enforce, b"--enforce"),
    ] {
        words.extend(asked.then_some(option));
    }
    if request.exact {
        words.extend([&b"--names"[..], b"exact"]);
    }
    match &request.naming {
        Some(Naming::New(name)) => words.extend([b"--family", &name[..]]),
        Some(Naming::Join(name)) => words.extend([b"--join", &name[..]]),
        Some(Naming::Either(name)) => words.extend([b"--join-or-create", &name[..]]),
        None => {}
    }
    for edit in &request.edits {
        match edit {
            Edit::Set(name, value) => words.extend([b"--setenv", &name[..], value]),
            Edit::Unset(name) => words.extend([b"--unsetenv", &name[..]]),
            Edit::Clear => words.push(b"--clearenv"),
        }
    }
    words.push(b"--");
    words.extend(request.program.iter().map(Vec::as_slice));
    words.into_iter().map(quoted).collect::<Vec<_>>().join(&b' ')
}

/// Directories that are served to the other machine.
#[derive(Default)]
struct Exported {
    servers: Vec<Served>,
    /// Where their sockets are here.
    here: Option<PathBuf>,
}

struct Served {
    source: Vec<u8>,
    child: Child,
    here: PathBuf,
    there: String,
}

impl Exported {
    /// Serves what is bound, and has the lines mount it.
    fn take(&mut self, lines: &mut [Line]) -> Result<(), Failure> {
        for line in lines {
            let Action::Bind { src, dst } = &line.action else { continue };
            let path = src.strip_prefix(b"host!").unwrap_or(src).to_vec();
            let plain = std::fs::metadata(OsStr::from_bytes(&path)).is_ok_and(|m| m.is_dir());
            if !plain || !path.starts_with(b"/") {
                continue;
            }
            let at = match self.servers.iter().position(|s| s.source == path) {
                Some(at) => at,
                None => self.serve(path)?,
            };
            let address = format!("unix!{}", self.servers[at].there).into_bytes();
            let options = MountOptions::default();
            line.action = Action::Mount { address, dst: dst.clone(), options };
        }
        Ok(())
    }

    fn serve(&mut self, source: Vec<u8>) -> Result<usize, Failure> {
        let failure = |e: std::io::Error| Failure::new("--export", of_io(&e));
        let key = key().map_err(|e| Failure::new("--export", e))?;
        let dir = match &self.here {
            Some(dir) => dir.clone(),
            None => {
                let dir = std::env::temp_dir().join(format!("privns-export-{key}"));
                use std::os::unix::fs::DirBuilderExt;
                std::fs::DirBuilder::new().mode(0o700).create(&dir).map_err(failure)?;
                self.here.insert(dir).clone()
            }
        };
        let here = dir.join(self.servers.len().to_string());
        let beside = std::env::current_exe().ok().map(|p| p.with_file_name("ns-serve"));
        let program = beside.filter(|p| p.exists()).unwrap_or_else(|| "ns-serve".into());
        let mut command = Command::new(program);
        command.arg("dir").arg(OsStr::from_bytes(&source)).arg("--listen");
        command.arg(OsString::from_vec([b"unix!", here.as_os_str().as_bytes()].concat()));
        // What the terminal says is for the program.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failure)?;
        let mut ready = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut ready).map_err(failure)?;
        }
        let there = format!("/tmp/.privns-{key}");
        let at = self.servers.len();
        self.servers.push(Served { source, child, here, there });
        match ready.is_empty() {
            true => Err(Failure::new("--export", "ns-serve has failed")),
            false => Ok(at),
        }
    }

    fn forward(&self, ssh: &mut Command) {
        for served in &self.servers {
            let pair = [served.there.as_bytes(), b":", served.here.as_os_str().as_bytes()].concat();
            ssh.arg("-oExitOnForwardFailure=yes").arg("-R").arg(OsString::from_vec(pair));
        }
    }

    /// The command, with the sockets there removed after it: sshd leaves them.
    fn command(&self, command: Vec<u8>) -> Vec<u8> {
        if self.servers.is_empty() {
            return [b"exec ", &command[..]].concat();
        }
        let sockets: Vec<&str> = self.servers.iter().map(|s| &s.there[..]).collect();
        let after = format!("; s=$?; rm -f {}; exit $s", sockets.join(" "));
        [&command[..], after.as_bytes()].concat()
    }
}

impl Drop for Exported {
    fn drop(&mut self) {
        for served in &mut self.servers {
            let pid = rustix::process::Pid::from_child(&served.child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = served.child.wait();
        }
        if let Some(dir) = &self.here {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

/// 128 random bits.
fn key() -> privns_abi::Result<String> {
    let mut bytes = [0u8; 16];
    let mut random = std::fs::File::open("/dev/urandom").map_err(|e| of_io(&e))?;
    std::io::Read::read_exact(&mut random, &mut bytes).map_err(|e| of_io(&e))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// Runs ssh and stays, since servers of ours have to end with it. The terminal
/// tells ssh of its signals itself; what is sent to us is passed on.
fn wait(mut ssh: Command) -> Result<i32, Stop> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    let told = |signal| {
        let flag = Arc::<AtomicBool>::default();
        let _ = signal_hook::flag::register(signal, flag.clone());
        flag
    };
    let (_int, _quit) = (told(SIGINT), told(SIGQUIT));
    let ends = [told(SIGTERM), told(SIGHUP)];
    let mut child = ssh.spawn().map_err(|e| not_run(&e))?;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
            }
            Ok(None) => {}
            Err(e) => return Err(not_run(&e)),
        }
        if ends.iter().any(|flag| flag.swap(false, Ordering::Relaxed)) {
            let pid = rustix::process::Pid::from_child(&child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
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

    #[test]
    fn words_reach_the_program_as_they_are() {
        let program = [&b"sh"[..], b"-c", b"echo \"it's\" $HOME"].map(<[u8]>::to_vec).to_vec();
        let request = Request { program, ..Request::default() };
        let command = remote(&request, &[b"dir /x".to_vec()]);
        let expected = br#"'ns-exec' '-e' 'dir /x' '--' 'sh' '-c' 'echo "it'\''s" $HOME'"#;
        assert_eq!(command, expected);
    }
}
