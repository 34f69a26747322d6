//! The members of a family.

use super::table::{columns, name, print_json};
use crate::failure::{Failure, shown};
use crate::world::{Process, User};
use crate::{runtime, tree};
use privns_namespace::Family;
use privns_namespace::file::Environment;
use serde_json::json;
use std::collections::HashMap;

/// Clock ticks a second in `/proc/PID/stat`: what every Linux tells programs
/// (`USER_HZ`).
const TICKS: u64 = 100;

struct Row {
    pid: i32,
    uid: u32,
    seconds: u64,
    command: Vec<u8>,
}

/// Lists them.
///
/// # Errors
/// Standard output's.
pub(crate) fn list(family: &Family, as_json: bool) -> Result<(), Failure> {
    let keeper = family.keeper() as i32;
    let pids = runtime::members(family.id()).map(|m| m.0).filter(|&pid| pid != keeper);
    let mut rows: Vec<Row> = pids.filter_map(row).collect();
    rows.sort_by_key(|r| r.pid);
    let node = Process.variable(b"NODE").unwrap_or_default();
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
                "host": name(&node), "pid": r.pid, "user": user(r.uid),
                "seconds": r.seconds, "command": name(&r.command),
            })
        });
        return print_json(json!({ "members": all.collect::<Vec<_>>() }));
    }
    let line = |r: &Row| {
        let time = format!("{}:{:02}:{:02}", r.seconds / 3600, r.seconds / 60 % 60, r.seconds % 60);
        vec![shown(&node), r.pid.to_string(), user(r.uid), time, shown(&r.command)]
    };
    let rows: Vec<Vec<String>> = rows.iter().map(line).collect();
    crate::print(columns(&["HOST", "PID", "USER", "TIME", "CMD"], &rows).as_bytes())
}

/// `None` for a process that has ended meanwhile.
fn row(pid: i32) -> Option<Row> {
    let dir = tree::open_path(format!("/proc/{pid}").as_bytes()).ok()?;
    let uid = rustix::fs::fstat(&dir).ok()?.st_uid;
    let stat = tree::read_file(format!("/proc/{pid}/stat").as_bytes(), 4096).ok()?;
    let cmdline = tree::read_file(format!("/proc/{pid}/cmdline").as_bytes(), 4096).ok()?;
    let (comm, ticks) = parse_stat(&stat)?;
    let command = match cmdline.strip_suffix(b"\0").unwrap_or(&cmdline) {
        b"" => [b"[", comm, b"]"].concat(),
        words => words.split(|&b| b == 0).map(escaped).collect::<Vec<_>>().join(&b' '),
    };
    Some(Row { pid, uid, seconds: ticks / TICKS, command })
}

/// The name and the processor time of `/proc/PID/stat`. The name may hold
/// anything, blanks and brackets too.
fn parse_stat(stat: &[u8]) -> Option<(&[u8], u64)> {
    let from = stat.iter().position(|&b| b == b'(')?;
    let to = stat.iter().rposition(|&b| b == b')')?;
    let rest: Vec<&[u8]> = stat.get(to + 2..)?.split(|&b| b == b' ').collect();
    let number = |at: usize| std::str::from_utf8(rest.get(at)?).ok()?.parse::<u64>().ok();
    // Fields 14 and 15, counted from the number in front of the name.
    Some((stat.get(from + 1..to)?, number(11)? + number(12)?))
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
        let stat = b"7 (a) b (c) S 1 7 7 0 -1 0 0 0 0 0 120 30 0 0 20";
        assert_eq!(parse_stat(stat), Some((&b"a) b (c"[..], 150)));
        assert_eq!(parse_stat(b"7 (x"), None);
        assert_eq!(escaped(b"a b\\"), b"a\\ b\\\\");
    }

    #[test]
    fn we_are_a_process_ourselves() {
        let row = row(std::process::id() as i32).unwrap();
        assert!(!row.command.is_empty());
        assert_eq!(row.uid, rustix::process::geteuid().as_raw());
    }
}
