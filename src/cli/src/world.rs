//! What the world around us says: variables, users, jobs.

use crate::tree;
use privns_abi::{Errno, Result};
use privns_host::Kernel;
use privns_namespace::file::Environment;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The process's own environment, as namespace files see it.
pub struct Process;

impl Environment for Process {
    fn variable(&self, name: &[u8]) -> Option<Vec<u8>> {
        match name {
            b"JOB" => set(name).or_else(job),
            b"NODE" => set(name).or_else(node),
            b"USER" => set(name).or_else(|| Some(User::own()?.name)),
            b"HOME" => set(name).or_else(|| Some(User::own()?.home)),
            _ => set(name),
        }
    }

    fn read(&self, file: &[u8]) -> Result<Vec<u8>> {
        std::fs::read(OsStr::from_bytes(file)).map_err(|e| of_io(&e))
    }
}

/// The kernel's number behind a failure of the standard library.
#[must_use]
pub fn of_io(e: &std::io::Error) -> Errno {
    Errno(e.raw_os_error().unwrap_or(libc::EIO))
}

fn set(name: &[u8]) -> Option<Vec<u8>> {
    std::env::var_os(OsStr::from_bytes(name)).map(OsString::into_vec)
}

/// The batch job that we run in, such that a job that is queued again is
/// another one: Slurm's number and how often it was restarted, or the numbers
/// of the other schedulers.
pub fn job() -> Option<Vec<u8>> {
    if let Some(id) = set(b"SLURM_JOB_ID") {
        let restarts = set(b"SLURM_RESTART_COUNT").unwrap_or_else(|| b"0".to_vec());
        return Some([&id[..], b".", &restarts].concat());
    }
    [&b"PBS_JOBID"[..], b"LSB_JOBID", b"JOB_ID"].iter().find_map(|name| set(name))
}

fn node() -> Option<Vec<u8>> {
    let host = || tree::read_file(b"/proc/sys/kernel/hostname", 256).ok();
    let name = set(b"SLURMD_NODENAME").or_else(host)?;
    Some(name.trim_ascii().to_vec())
}

/// A line of the password database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: Vec<u8>,
    /// Home directory.
    pub home: Vec<u8>,
    /// Login shell.
    pub shell: Vec<u8>,
}

impl User {
    /// The effective user.
    #[must_use]
    pub fn own() -> Option<User> {
        User::by_uid(Kernel.geteuid())
    }

    /// Looks a user up: in the file, then by getent(1), which asks whatever
    /// else the host has.
    #[must_use]
    pub fn by_uid(uid: u32) -> Option<User> {
        let file = std::fs::read("/etc/passwd").unwrap_or_default();
        file.split(|&b| b == b'\n').find_map(|line| User::parse(line, uid)).or_else(|| {
            let asked = getent(uid.to_string().as_ref())?;
            User::parse(asked.trim_ascii_end(), uid)
        })
    }

    /// The number of a user of this name.
    #[must_use]
    pub fn uid_of(name: &[u8]) -> Option<u32> {
        let is = |line: &&[u8]| line.split(|&b| b == b':').next() == Some(name);
        let number = |line: &[u8]| {
            std::str::from_utf8(line.split(|&b| b == b':').nth(2)?).ok()?.parse().ok()
        };
        let file = std::fs::read("/etc/passwd").unwrap_or_default();
        file.split(|&b| b == b'\n').find(is).and_then(number).or_else(|| {
            let asked = getent(OsStr::from_bytes(name))?;
            asked.split(|&b| b == b'\n').find(is).and_then(number)
        })
    }

    fn parse(line: &[u8], uid: u32) -> Option<User> {
        let fields: Vec<&[u8]> = line.split(|&b| b == b':').collect();
        let [name, _, number, _, _, home, shell] = fields[..] else { return None };
        let same = number == uid.to_string().as_bytes();
        same.then(|| User { name: name.to_vec(), home: home.to_vec(), shell: shell.to_vec() })
    }
}

/// What getent(1) says of a user.
fn getent(user: &OsStr) -> Option<Vec<u8>> {
    let mut getent = std::process::Command::new("getent");
    let asked = getent.arg("passwd").arg("--").arg(user).stderr(std::process::Stdio::null());
    Some(asked.output().ok()?.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number_only() {
        let line = b"u:x:7:8:Some One,,,:/home/u:/bin/sh";
        let user = User::parse(line, 7).unwrap();
        assert_eq!((&user.name[..], &user.shell[..]), (&b"u"[..], &b"/bin/sh"[..]));
        assert_eq!(User::parse(line, 8), None);
        assert_eq!(User::parse(b"+@netgroup", 7), None);
    }

    #[test]
    fn the_node_has_a_name_without_an_end_of_line() {
        let node = Process.variable(b"NODE").unwrap();
        assert!(!node.is_empty() && !node.ends_with(b"\n"));
    }
}
