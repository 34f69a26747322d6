//! What the world around us says: variables, users, jobs.

use crate::exec::twin::IS_STATIC;
use crate::tree;
use privns_abi::{Errno, Result};
use privns_host::Kernel;
use privns_namespace::failure::Failure;
use privns_namespace::file::{self, Environment};
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::OnceLock;

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

    fn list(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>> {
        let list = std::fs::read_dir(OsStr::from_bytes(dir)).map_err(|e| of_io(&e))?;
        let name = |entry: std::io::Result<std::fs::DirEntry>| Ok(entry?.file_name().into_vec());
        list.map(name).collect::<std::io::Result<_>>().map_err(|e| of_io(&e))
    }

    fn is_there(&self, file: &[u8]) -> bool {
        std::path::Path::new(OsStr::from_bytes(file)).exists()
    }

    fn absolute(&self, file: &[u8]) -> Vec<u8> {
        match std::env::current_dir() {
            Ok(dir) => dir.join(OsStr::from_bytes(file)).into_os_string().into_vec(),
            Err(_) => file.to_vec(),
        }
    }

    fn user(&self) -> Option<file::User> {
        let User { name, home, uid, .. } = User::own()?;
        Some(file::User { name, home, uid })
    }

    fn uid_of(&self, name: &[u8]) -> Option<u32> {
        User::uid_of(name)
    }

    fn has_selinux(&self) -> bool {
        static HAS: OnceLock<bool> = OnceLock::new();
        *HAS.get_or_init(|| self.is_there(SELINUX))
    }

    fn note(&self, passed: &Failure) {
        let level = set(b"PRIVNS_LOG").unwrap_or_default();
        if [&b"info"[..], b"debug"].iter().any(|wanted| level.starts_with(wanted)) {
            crate::complain("privns", passed);
        }
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

/// What is there where SELinux is.
const SELINUX: &[u8] = b"/sys/fs/selinux/enforce";

/// The context that a program of ours will have, where SELinux is.
pub fn context() -> Option<Vec<u8>> {
    if !Process.has_selinux() {
        return None;
    }
    let read = |name: &str| tree::read_file(name.as_bytes(), 4096).ok();
    let plain = |text: Vec<u8>| text.split(|&b| b == 0 || b == b'\n').next().map(<[u8]>::to_vec);
    let said = |name| read(name).and_then(plain).filter(|text| !text.is_empty());
    said("/proc/self/attr/exec").or_else(|| said("/proc/self/attr/current"))
}

/// This process's umask.
pub fn umask() -> u32 {
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    mask.as_raw_mode()
}

/// The batch job that we run in, such that a job that is queued again is
/// another one: Slurm's number and how often it was restarted, what
/// `PRIVNS_JOB` says, or the numbers of the other schedulers. Looked up once.
pub fn job() -> Option<Vec<u8>> {
    static JOB: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    JOB.get_or_init(find_job).clone()
}

fn find_job() -> Option<Vec<u8>> {
    if let Some(id) = set(b"SLURM_JOB_ID") {
        let restarts = set(b"SLURM_RESTART_COUNT").unwrap_or_else(|| b"0".to_vec());
        return Some([&id[..], b".", &restarts].concat());
    }
    [&b"PRIVNS_JOB"[..], b"PBS_JOBID", b"LSB_JOBID", b"JOB_ID"].iter().find_map(|name| set(name))
}

fn node() -> Option<Vec<u8>> {
    let host = || Kernel.node().ok().map(|name| name.as_bytes().to_vec());
    set(b"SLURMD_NODENAME").or_else(host)
}

/// A line of the password database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: Vec<u8>,
    /// Number.
    pub uid: u32,
    /// Number of the group that it is in first of all.
    pub gid: u32,
    /// Home directory.
    pub home: Vec<u8>,
    /// Login shell.
    pub shell: Vec<u8>,
}

impl User {
    /// The effective user, looked up once.
    #[must_use]
    pub fn own() -> Option<User> {
        static OWN: OnceLock<Option<User>> = OnceLock::new();
        OWN.get_or_init(|| User::by_uid(Kernel.geteuid())).clone()
    }

    /// Looks a user up: in the file, then by getent(1), which asks whatever
    /// else the host has.
    #[must_use]
    pub fn by_uid(uid: u32) -> Option<User> {
        let number = uid.to_string();
        line_of(b"passwd", |line| field(line, 2) == number.as_bytes(), number.as_ref())
            .and_then(|line| User::parse(&line))
            .filter(|user| user.uid == uid)
    }

    /// The same by its login name.
    #[must_use]
    pub fn by_name(name: &[u8]) -> Option<User> {
        line_of(b"passwd", |line| field(line, 0) == name, OsStr::from_bytes(name))
            .and_then(|line| User::parse(&line))
            .filter(|user| user.name == name)
    }

    /// The number of a user of this name.
    #[must_use]
    pub fn uid_of(name: &[u8]) -> Option<u32> {
        User::by_name(name).map(|user| user.uid)
    }

    fn parse(line: &[u8]) -> Option<User> {
        let fields: Vec<&[u8]> = line.split(|&b| b == b':').collect();
        let [name, _, uid, gid, _, home, shell] = fields[..] else { return None };
        let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
        let (uid, gid) = (number(uid)?, number(gid)?);
        Some(User { name: name.to_vec(), uid, gid, home: home.to_vec(), shell: shell.to_vec() })
    }
}

/// The number of a group of this name.
#[must_use]
pub fn gid_of(name: &[u8]) -> Option<u32> {
    let line = line_of(b"group", |line| field(line, 0) == name, OsStr::from_bytes(name))?;
    std::str::from_utf8(field(&line, 2)).ok()?.parse().ok()
}

fn field(line: &[u8], at: usize) -> &[u8] {
    line.split(|&b| b == b':').nth(at).unwrap_or_default()
}

/// A line of `/etc/passwd` or `/etc/group`, else of what getent(1) says of
/// `key`.
fn line_of(database: &[u8], is: impl Fn(&[u8]) -> bool, key: &OsStr) -> Option<Vec<u8>> {
    let path = [b"/etc/", database].concat();
    let file = std::fs::read(OsStr::from_bytes(&path)).unwrap_or_default();
    let found = |text: &[u8]| text.split(|&b| b == b'\n').find(|line| is(line)).map(<[u8]>::to_vec);
    found(&file).or_else(|| found(&getent(database, key)?))
}

/// The numbers that a host's name stands for: by the C library, or, where that
/// can load nothing and knows of /etc/hosts and DNS alone, by getent(1), which
/// asks whatever this machine is set up to ask. None for a name that nobody has.
///
/// # Errors
/// The C library's.
pub fn numbers(host: &str) -> std::io::Result<Vec<IpAddr>> {
    let known = IS_STATIC.then(|| getent(b"ahosts", OsStr::new(host))).flatten();
    let Some(text) = known else {
        return Ok((host, 0).to_socket_addrs()?.map(|place| place.ip()).collect());
    };
    let first = |line: &str| line.split_whitespace().next()?.parse().ok();
    let mut numbers: Vec<IpAddr> =
        String::from_utf8_lossy(&text).lines().filter_map(first).collect();
    // Each is said once for each kind of socket.
    numbers.dedup();
    Ok(numbers)
}

/// What getent(1) says of a user, a group or a host.
fn getent(database: &[u8], key: &OsStr) -> Option<Vec<u8>> {
    let mut getent = std::process::Command::new("getent");
    let asked = getent.arg(OsStr::from_bytes(database)).arg("--").arg(key);
    let asked = asked.stderr(std::process::Stdio::null());
    Some(asked.output().ok()?.stdout)
}

/// 128 random bits, in hexadecimal.
///
/// # Errors
/// That of getrandom(2).
pub fn secret() -> Result<String> {
    Ok(format!("{:016x}{:016x}", Kernel.random()?, Kernel.random()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number_and_by_name() {
        let line = b"u:x:7:8:Some One,,,:/home/u:/bin/sh";
        let user = User::parse(line).unwrap();
        assert_eq!((&user.name[..], &user.shell[..]), (&b"u"[..], &b"/bin/sh"[..]));
        assert_eq!((user.uid, user.gid), (7, 8));
        assert_eq!(User::parse(b"+@netgroup"), None);
        assert_eq!(User::by_uid(0).unwrap().name, b"root");
        assert_eq!(User::uid_of(b"no such user"), None);
    }

    #[test]
    fn the_node_has_a_name_without_an_end_of_line() {
        let node = Process.variable(b"NODE").unwrap();
        assert!(!node.is_empty() && !node.ends_with(b"\n"));
    }
}
