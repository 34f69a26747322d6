//! Who lives in which family, as /proc tells it.

use super::parse;
use crate::tree::{self, errno};
use privns_abi::{Errno, Result};
use privns_namespace::Family;
use rustix::fs::{Mode, OFlags};
use std::collections::HashMap;
use std::os::fd::IntoRawFd;

/// Finds the family that a process is a member of.
///
/// # Errors
/// ESRCH for no such process, or one in no family; EACCES for another user's.
pub fn by_pid(pid: i32) -> Result<Family> {
    match tables_of(pid) {
        Ok(tables) => {
            let path = |fd: &i32| format!("/proc/{pid}/fd/{fd}");
            // Of nested families the innermost counts, which was made last.
            let found = tables.iter().filter_map(|(fd, _)| open_table(path(fd).as_bytes()).ok());
            let environ = tree::read_file(format!("/proc/{pid}/environ").as_bytes(), 4 << 20);
            let told = environ.ok().and_then(|e| inherited(&e));
            let mut found: Vec<Family> = found.collect();
            let at = found.iter().position(|f| Some(f.id()) == told).unwrap_or(0);
            if found.is_empty() { Err(Errno::ESRCH) } else { Ok(found.swap_remove(at)) }
        }
        Err(Errno::ENOENT) => Err(Errno::ESRCH),
        Err(e) => Err(e),
    }
}

fn inherited(environ: &[u8]) -> Option<u64> {
    let value = environ.split(|&b| b == 0).find_map(|v| v.strip_prefix(b"PRIVNS="))?;
    privns_namespace::family::Inherited::parse(value).map(|i| i.id)
}

pub(crate) fn open_table(path: &[u8]) -> Result<Family> {
    let open = |flags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
    let fd = open(OFlags::RDWR).or_else(|_| open(OFlags::RDONLY)).map_err(errno)?;
    let family = Family::attach(fd.into_raw_fd())?;
    if family.is_closed() {
        family.close();
        return Err(Errno::ESRCH);
    }
    Ok(family)
}

/// The descriptors of a process that are tables, and the families' numbers
/// where the kernel's name for the file tells.
fn tables_of(pid: i32) -> Result<Vec<(i32, Option<u64>)>> {
    let dir = tree::open_path(format!("/proc/{pid}/fd").as_bytes())?;
    let mut tables = Vec::new();
    for name in tree::names(&dir)? {
        let Some(fd) = std::str::from_utf8(&name).ok().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let text = tree::read_link(&dir, &name).unwrap_or_default();
        if let Some(rest) = text.strip_prefix(b"/memfd:privns-") {
            tables.push((fd, rest.get(..16).and_then(parse)));
        } else if text.contains(&b'#') && text.ends_with(b" (deleted)") {
            // Where memfd is refused: a file without a name.
            tables.push((fd, None));
        }
    }
    Ok(tables)
}

/// The members of a family among the processes of this user, with the number of
/// the table's descriptor.
pub fn members(id: u64) -> impl Iterator<Item = (i32, i32)> {
    pids().filter_map(move |pid| {
        Some((pid, tables_by(pid, id).into_iter().find(|&fd| is_member(pid, fd))?))
    })
}

/// The keeper of a family, whether or not it is in the runtime directory.
#[must_use]
pub fn keeper_of(id: u64) -> Option<i32> {
    let keeps = |pid: i32, fd: i32| {
        open_table(format!("/proc/{pid}/fd/{fd}").as_bytes()).is_ok_and(|family| {
            let keeper = family.keeper();
            family.close();
            keeper == pid as u32
        })
    };
    pids().find(|&pid| tables_by(pid, id).into_iter().any(|fd| keeps(pid, fd)))
}

/// The descriptors by which a process has a family's table open.
fn tables_by(pid: i32, id: u64) -> Vec<i32> {
    let is = |(fd, known): &(i32, Option<u64>)| match known {
        Some(known) => *known == id,
        None => open_table(format!("/proc/{pid}/fd/{fd}").as_bytes()).is_ok_and(|family| {
            let same = family.id() == id;
            family.close();
            same
        }),
    };
    let tables = tables_of(pid).unwrap_or_default();
    tables.iter().filter(|table| is(table)).map(|table| table.0).collect()
}

/// The families that have members, keepers apart. A process of another user is
/// none of an ordinary user's family, whatever descriptors it was left with.
#[derive(Debug, Default)]
pub struct Living(HashMap<u64, Vec<i32>>);

impl Living {
    /// Looks at all processes that this user may look at.
    #[must_use]
    pub fn look() -> Living {
        let mut living = Living::default();
        for pid in pids() {
            let Ok(tables) = tables_of(pid) else { continue };
            for (fd, known) in tables {
                let path = format!("/proc/{pid}/fd/{fd}").into_bytes();
                if !is_member(pid, fd) || !serves(&path, pid) {
                    continue;
                }
                let number = || {
                    let family = open_table(&path).ok()?;
                    let id = family.id();
                    family.close();
                    Some(id)
                };
                if let Some(id) = known.or_else(number) {
                    living.0.entry(id).or_default().push(pid);
                }
            }
        }
        living
    }

    /// Whether a family has members.
    #[must_use]
    pub fn has(&self, id: u64) -> bool {
        self.0.contains_key(&id)
    }

    /// The numbers of a family's members.
    #[must_use]
    pub fn members(&self, id: u64) -> Vec<i32> {
        self.0.get(&id).cloned().unwrap_or_default()
    }
}

/// Whether a table may serve a process: root's serves all, another's its owner.
fn serves(table: &[u8], pid: i32) -> bool {
    let owner = |path: &[u8]| rustix::fs::stat(path).map(|found| found.st_uid).ok();
    match (owner(table), owner(format!("/proc/{pid}").as_bytes())) {
        (Some(0), _) | (None, _) => true,
        (Some(table), Some(process)) if table == process => true,
        // A process that may not be dumped is shown as root's.
        (Some(table), _) => effective_uid(pid).is_none_or(|uid| uid == table),
    }
}

fn effective_uid(pid: i32) -> Option<u32> {
    let status = tree::read_file(format!("/proc/{pid}/status").as_bytes(), 4096).ok()?;
    let text = String::from_utf8_lossy(&status).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn pids() -> impl Iterator<Item = i32> {
    let all = tree::open_path(b"/proc").and_then(tree::names).unwrap_or_default();
    all.into_iter().filter_map(|n| std::str::from_utf8(&n).ok()?.parse::<i32>().ok())
}

/// Whether a process has a table open as a member has it: on the description
/// that holds the lock, for reading. A keeper and attendants only wait for that,
/// and who clears up after the last member holds it for writing.
fn is_member(pid: i32, fd: i32) -> bool {
    let told = tree::read_file(format!("/proc/{pid}/fdinfo/{fd}").as_bytes(), 4096);
    told.map_or(true, |told| {
        told.split(|&b| b == b'\n').any(|line| {
            let mut words = line.split(|b| b.is_ascii_whitespace());
            line.starts_with(b"lock:") && words.any(|word| word == b"READ")
        })
    })
}
