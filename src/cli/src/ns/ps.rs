//! The members of a family.

use super::table::{columns, name, print_json};
use crate::failure::{Failure, shown};
use crate::servers::Reach;
use crate::world::{Process, User};
use crate::{runtime, tree};
use privns_host::Host;
use privns_namespace::family::{Inherited, number_elsewhere};
use privns_namespace::file::Environment;
use privns_namespace::table::Source;
use privns_namespace::{Family, Table, remote};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::ffi::CString;

/// Clock ticks a second in `/proc/PID/stat`: what every Linux tells programs
/// (`USER_HZ`).
const TICKS: u64 = 100;

struct Row {
    host: Vec<u8>,
    pid: i32,
    uid: u32,
    seconds: u64,
    /// When it began, in ticks since its machine's boot.
    began: u64,
    command: Vec<u8>,
}

/// Lists them: those here, and those on every machine whose /proc the family
/// has mounted at /proc/HOST.
///
/// # Errors
/// Standard output's; after what there is has been listed, the first machine
/// that does not answer.
pub(crate) fn list(family: &Family, as_json: bool) -> Result<(), Failure> {
    let mut nodes = vec![Node::here(family)];
    let table = family.read_table().map_err(|e| Failure::new("the family's table", e))?;
    let reach = Reach::of(&table);
    let mut missing = None;
    for (name, at) in proc_trees(&table) {
        match Node::there(&name, &at, &reach, family) {
            Ok(node) => nodes.push(node),
            Err(failure) => drop(missing.get_or_insert(failure)),
        }
    }
    // One machine may be there under several names, of which it is all in the
    // first.
    let mut seen = HashSet::new();
    let each = nodes.into_iter().flat_map(|node| {
        let boot = node.boot;
        node.rows.into_iter().map(move |row| (boot.clone(), row))
    });
    let rows: Vec<Row> = each
        .filter(|(boot, row)| seen.insert((boot.clone(), row.pid, row.began)))
        .map(|(_, row)| row)
        .collect();
    show(&rows, as_json)?;
    missing.map_or(Ok(()), Err)
}

fn show(rows: &[Row], as_json: bool) -> Result<(), Failure> {
    let mut users = HashMap::new();
    let mut user = |uid: u32| -> String {
        let known = users.entry(uid).or_insert_with(|| {
            User::by_uid(uid).map_or_else(|| uid.to_string(), |u| shown(&u.name))
        });
        known.clone()
    };
    if as_json {
        let all = rows.iter().map(|r| {
            json!({
                "host": name(&r.host), "pid": r.pid, "user": user(r.uid),
                "seconds": r.seconds, "command": name(&r.command),
            })
        });
        return print_json(json!({ "members": all.collect::<Vec<_>>() }));
    }
    let line = |r: &Row| {
        let time = format!("{}:{:02}:{:02}", r.seconds / 3600, r.seconds / 60 % 60, r.seconds % 60);
        vec![shown(&r.host), r.pid.to_string(), user(r.uid), time, shown(&r.command)]
    };
    let rows: Vec<Vec<String>> = rows.iter().map(line).collect();
    crate::print(columns(&["HOST", "PID", "USER", "TIME", "CMD"], &rows).as_bytes())
}

/// The servers that are mounted at /proc/HOST, by HOST and by host name.
fn proc_trees(table: &Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    let trees = table.mounts().iter().filter_map(|mount| {
        let name = mount.path.strip_prefix(b"/proc/").filter(|name| !name.contains(&b'/'))?;
        let Source::Host(host) = &mount.members.first()?.source;
        remote::is_remote(host).then(|| (name.to_vec(), host.clone()))
    });
    trees.collect()
}

/// A machine, and the members on it.
struct Node {
    /// The number of its boot, which no other machine has.
    boot: Vec<u8>,
    rows: Vec<Row>,
}

/// Files of a proc(5), here or on a server.
const BOOT: &[u8] = b"/sys/kernel/random/boot_id";
const HOSTNAME: &[u8] = b"/sys/kernel/hostname";
/// No environment is longer.
const ENVIRONMENT: usize = 4 << 20;

impl Node {
    fn here(family: &Family) -> Node {
        let keeper = family.keeper() as i32;
        let pids = runtime::members(family.id()).map(|m| m.0).filter(|&pid| pid != keeper);
        let host = Process.variable(b"NODE").unwrap_or_default();
        let read = |name: &[u8], limit| tree::read_file(&[b"/proc", name].concat(), limit).ok();
        let owner = |pid: i32| {
            let dir = tree::open_path(format!("/proc/{pid}").as_bytes()).ok()?;
            Some(rustix::fs::fstat(&dir).ok()?.st_uid)
        };
        let rows = pids.filter_map(|pid| row(&host, pid, owner(pid)?, &read));
        Node { boot: read(BOOT, 64).unwrap_or_default(), rows: sorted(rows.collect()) }
    }

    /// The machine whose /proc a server has. A member is known by what it was
    /// started with: this family, or the one that stands for it there.
    fn there(host: &[u8], at: &[u8], reach: &Reach, family: &Family) -> Result<Node, Failure> {
        let read = |name: &[u8], limit| reach.read(&[at, name].concat(), limit).ok();
        let names = reach.names(at)?;
        let node = read(HOSTNAME, 256).unwrap_or_default();
        let elsewhere = |generation: u64| {
            let name = Inherited::called_elsewhere(family.id(), generation);
            number_elsewhere(&name, node.trim_ascii())
        };
        let mut ids: HashSet<u64> = (0..=family.generation()).filter_map(elsewhere).collect();
        ids.insert(family.id());
        let numbers = names.iter().filter_map(|name| std::str::from_utf8(name).ok()?.parse().ok());
        let rows = numbers.filter_map(|pid: i32| {
            let environment = read(format!("/{pid}/environ").as_bytes(), ENVIRONMENT)?;
            let mut variables = environment.split(|&b| b == 0);
            let value = variables.find_map(|variable| variable.strip_prefix(b"PRIVNS="))?;
            let member = ids.contains(&Inherited::parse(value)?.id);
            let path = CString::new([at, format!("/{pid}").as_bytes()].concat()).ok()?;
            if member { row(host, pid, reach.lstat(&path).ok()?.uid, &read) } else { None }
        });
        Ok(Node { boot: read(BOOT, 64).unwrap_or_default(), rows: sorted(rows.collect()) })
    }
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_key(|row| row.pid);
    rows
}

/// `None` for a process that has ended meanwhile. `read` gives what a file of
/// its proc(5) holds.
fn row(
    host: &[u8],
    pid: i32,
    uid: u32,
    read: &impl Fn(&[u8], usize) -> Option<Vec<u8>>,
) -> Option<Row> {
    let stat = read(format!("/{pid}/stat").as_bytes(), 4096)?;
    let cmdline = read(format!("/{pid}/cmdline").as_bytes(), 4096)?;
    let Stat { comm, ticks, began } = parse_stat(&stat)?;
    let command = match cmdline.strip_suffix(b"\0").unwrap_or(&cmdline) {
        b"" => [b"[", comm, b"]"].concat(),
        words => words.split(|&b| b == 0).map(escaped).collect::<Vec<_>>().join(&b' '),
    };
    Some(Row { host: host.to_vec(), pid, uid, seconds: ticks / TICKS, began, command })
}

/// What `/proc/PID/stat` says.
#[derive(Debug, PartialEq, Eq)]
struct Stat<'a> {
    comm: &'a [u8],
    /// Processor time.
    ticks: u64,
    /// Since boot.
    began: u64,
}

/// The name may hold anything, blanks and brackets too.
fn parse_stat(stat: &[u8]) -> Option<Stat<'_>> {
    let from = stat.iter().position(|&b| b == b'(')?;
    let to = stat.iter().rposition(|&b| b == b')')?;
    let rest: Vec<&[u8]> = stat.get(to + 2..)?.split(|&b| b == b' ').collect();
    let number = |at: usize| std::str::from_utf8(rest.get(at)?).ok()?.parse::<u64>().ok();
    let comm = stat.get(from + 1..to)?;
    // Fields 14, 15 and 22, counted from the number in front of the name.
    Some(Stat { comm, ticks: number(11)? + number(12)?, began: number(19)? })
}

fn escaped(word: &[u8]) -> Vec<u8> {
    let escape = |&b: &u8| match b {
        b' ' | b'\\' => vec![b'\\', b],
        b => vec![b],
    };
    if word.is_empty() { b"''".to_vec() } else { word.iter().flat_map(escape).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_be_called_anything() {
        let stat = b"7 (a) b (c) S 1 7 7 0 -1 0 0 0 0 0 120 30 0 0 20 0 1 0 777 0";
        let said = Stat { comm: b"a) b (c", ticks: 150, began: 777 };
        assert_eq!(parse_stat(stat), Some(said));
        assert_eq!(parse_stat(b"7 (x"), None);
        assert_eq!(escaped(b"a b\\"), b"a\\ b\\\\");
    }

    #[test]
    fn we_are_a_process_ourselves() {
        let read = |name: &[u8], limit| tree::read_file(&[b"/proc", name].concat(), limit).ok();
        let row = row(b"here", std::process::id() as i32, 1, &read).unwrap();
        assert!(!row.command.is_empty());
    }
}
