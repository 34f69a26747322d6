//! What programs meet on mounts of 9P servers: one small C program lives natively, on our servers,
//! on diod and on sshfs, and does the same in each in turn. What counts is the least of many short
//! rounds, which are spread over several passes, since a busy machine is busy for seconds.

#![forbid(unsafe_code)]

#[path = "../wire/delay.rs"]
mod delay;
#[path = "../machine.rs"]
mod machine;
#[path = "../wire/peer.rs"]
mod peer;
#[path = "../wire/plain.rs"]
mod plain;

mod away;
mod build;
mod column;
mod ganesha;
mod rows;
mod site;

use std::path::PathBuf;
use std::process::ExitCode;

type Result<T> = std::result::Result<T, String>;

const HELP: &str = "\
privns-bench-mounts: what programs meet on 9P mounts, beside native, diod and sshfs

  --bin-dir DIR   where ns-exec, ns-serve and libprivns.so are (default: beside this program)
  --program DIR   sources of a C program that `make` builds (default: none, and no such row)
  --base DIR      where to put the files that are served (default: /dev/shm)
  --size MIB      size of the large file (default: 1024)
  --passes N      passes over all rows (default: 3)
  --only TEXT     only the rows whose name contains TEXT
  --quick         a smoke run: small, numbers mean little
  --json          print JSON instead of a Markdown table
";

/// What is measured, and how thoroughly.
pub(crate) struct Settings {
    pub bin_dir: PathBuf,
    pub program: Option<PathBuf>,
    pub base: PathBuf,
    /// Bytes of the large file.
    pub size: u64,
    pub passes: u32,
    pub only: String,
    pub quick: bool,
    pub json: bool,
}

/// One row of the table, as it is printed.
pub(crate) struct Line {
    pub name: String,
    /// What the numbers are held against.
    pub beside: String,
    /// One for each of [`COLUMNS`].
    pub cells: Vec<std::result::Result<f64, String>>,
    pub goal: String,
    pub reached: Option<bool>,
}

/// The columns; the goals are the first one's.
pub(crate) const COLUMNS: [&str; 4] = ["privns", "privns, cache=none", "diod", "sshfs"];

fn main() -> ExitCode {
    // The other end of a bare exchange is this program too.
    if let Some(end) = peer::asked_for() {
        return end;
    }
    match settings().and_then(|wanted| wanted.map_or(Ok(()), |s| run(&s))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("privns-bench-mounts: {why}");
            ExitCode::FAILURE
        }
    }
}

fn settings() -> Result<Option<Settings>> {
    use lexopt::prelude::*;
    let read = || -> std::result::Result<Option<Settings>, lexopt::Error> {
        let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(PathBuf::from));
        let mut s = Settings {
            bin_dir: beside.unwrap_or_default(),
            program: None,
            base: PathBuf::from("/dev/shm"),
            size: 1 << 30,
            passes: 3,
            only: String::new(),
            quick: false,
            json: false,
        };
        let absolute = |path: std::ffi::OsString| std::path::absolute(path).unwrap_or_default();
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("bin-dir") => s.bin_dir = absolute(parser.value()?),
                Long("program") => s.program = Some(absolute(parser.value()?)),
                Long("base") => s.base = absolute(parser.value()?),
                Long("size") => s.size = parser.value()?.parse::<u64>()? << 20,
                Long("passes") => s.passes = parser.value()?.parse()?,
                Long("only") => s.only = parser.value()?.string()?,
                Long("quick") => (s.quick, s.size, s.passes) = (true, 64 << 20, 1),
                Long("json") => s.json = true,
                Short('h') | Long("help") => {
                    print!("{HELP}");
                    return Ok(None);
                }
                other => return Err(other.unexpected()),
            }
        }
        Ok(Some(s))
    };
    read().map_err(|e| e.to_string())
}

fn run(settings: &Settings) -> Result<()> {
    let before = load();
    let site = site::Site::build(settings)?;
    let mut lines = rows::measure(settings, &site)?;
    lines.extend(away::measure(settings, &site)?);
    lines.extend(ganesha::measure(settings, &site)?);
    lines.extend(build::measure(settings, &site)?);
    lines.retain(|line| line.name.contains(&settings.only));
    if settings.json {
        println!("{}", json(&lines));
    } else {
        heading(&before);
        table(&lines);
    }
    Ok(())
}

/// The load of the last minute: more than our own means that others were busy too.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn heading(before: &str) {
    let m = machine::describe(&["diod", "sshfs", "nfs-ganesha"]);
    let versions = m.versions.join(", ");
    println!(
        "{}; {}, {} cores, load {before} before the run; Linux {}, {}; {versions}.\n",
        m.date, m.cpu, m.cores, m.kernel, m.system,
    );
}

fn table(lines: &[Line]) {
    println!("|  | beside | {} | to reach | reached |", COLUMNS.join(" | "));
    println!("|---|---:|{}---:|---:|", "---:|".repeat(COLUMNS.len()));
    let mut notes: Vec<String> = Vec::new();
    for line in lines {
        let cells: Vec<String> = line
            .cells
            .iter()
            .zip(COLUMNS)
            .map(|(cell, column)| match cell {
                Ok(value) if *value >= 99.95 => format!("{value:.0}"),
                Ok(value) if *value >= 9.995 => format!("{value:.1}"),
                Ok(value) => format!("{value:.2}"),
                Err(why) if why.is_empty() => String::from("–"),
                Err(why) => {
                    let note = format!("{column}: {why}");
                    if !notes.contains(&note) {
                        notes.push(note);
                    }
                    String::from("none")
                }
            })
            .collect();
        let reached = match line.reached {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        let Line { name, beside, goal, .. } = line;
        println!("| {name} | {beside} | {} | {goal} | {reached} |", cells.join(" | "));
    }
    notes.iter().for_each(|note| println!("\n{note}"));
}

fn json(lines: &[Line]) -> serde_json::Value {
    let cell = |(cell, column): (&std::result::Result<f64, String>, &str)| match cell {
        Ok(value) => serde_json::json!({ "column": column, "value": value }),
        Err(why) => serde_json::json!({ "column": column, "note": why }),
    };
    let rows: Vec<_> = lines
        .iter()
        .map(|line| {
            let cells: Vec<_> = line.cells.iter().zip(COLUMNS).map(cell).collect();
            serde_json::json!({
                "name": line.name, "beside": line.beside, "cells": cells,
                "goal": line.goal, "reached": line.reached,
            })
        })
        .collect();
    serde_json::json!({ "version": 1, "rows": rows })
}
