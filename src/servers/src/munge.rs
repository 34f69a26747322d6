//! MUNGE: who a user is, on all hosts that share a key with each other.
//!
//! Credentials are made and read by munge(1) and unmunge(1), so that nothing
//! here links to a library that most hosts do not have. A credential goes
//! through pipes, never on a command line.

use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// No credential and no answer is longer, bytes.
pub const LARGEST: usize = 8 << 10;

/// A credential for this process's user, good once: `MUNGE:…:`.
///
/// # Errors
/// In words: what munge(1) says, or that it is not there.
pub fn credential() -> io::Result<Vec<u8>> {
    let text = run(Command::new("munge").arg("--no-input"), b"")?;
    let credential = text.trim_ascii();
    match credential.starts_with(b"MUNGE:") && credential.ends_with(b":") {
        true => Ok(credential.to_vec()),
        false => Err(io::Error::other("munge: what it printed is no credential")),
    }
}

/// The user and the group that a credential is of. It is used up.
///
/// # Errors
/// In words: when it was used before, has expired, or was made with another
/// key; when unmunge(1) or its daemon is not there.
pub fn decode(credential: &[u8]) -> io::Result<(u32, u32)> {
    let mut command = Command::new("unmunge");
    command.args(["--numeric", "--keys=UID,GID", "--no-output", "--metadata=-"]);
    let text = run(&mut command, credential)?;
    let number = |key: &[u8]| {
        let line = text.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(key))?;
        std::str::from_utf8(line.trim_ascii()).ok()?.parse().ok()
    };
    match (number(b"UID:"), number(b"GID:")) {
        (Some(uid), Some(gid)) => Ok((uid, gid)),
        _ => Err(io::Error::other("unmunge: it names no user")),
    }
}

/// Runs a program on `input`; what it prints.
fn run(command: &mut Command, input: &[u8]) -> io::Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| io::Error::other(format!("{name}: {e}")))?;
    // Both texts are smaller than a pipe, so that nobody waits for the other.
    if let Some(mut to) = child.stdin.take() {
        let _ = to.write_all(input);
    }
    if !ended(&mut child)? {
        return Err(io::Error::other(format!("{name}: no answer from munged")));
    }
    let mut said = Vec::new();
    if let Some(from) = child.stdout.take() {
        from.take(LARGEST as u64).read_to_end(&mut said)?;
    }
    if child.wait()?.success() {
        return Ok(said);
    }
    let mut words = String::new();
    if let Some(from) = child.stderr.take() {
        from.take(LARGEST as u64).read_to_string(&mut words)?;
    }
    let why = words.trim().trim_start_matches(&format!("{name}: "));
    Err(io::Error::other(format!("{name}: {why}")))
}

/// Waits for its end; false when it had to be ended.
fn ended(child: &mut Child) -> io::Result<bool> {
    let began = Instant::now();
    let mut pause = Duration::from_micros(200);
    while child.try_wait()?.is_none() {
        if began.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    Ok(true)
}
