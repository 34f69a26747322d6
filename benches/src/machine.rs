//! Where and when the numbers were taken: without it they say nothing.

use serde::Serialize;
use std::fs;
use std::process::Command;

/// One line about the machine, in fields.
#[derive(Serialize)]
pub(crate) struct Machine {
    /// The day, `YYYY-MM-DD` in UTC.
    pub date: String,
    /// The processor's own name for itself.
    pub cpu: String,
    /// Processors that we may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution.
    pub system: String,
    /// Of the peers.
    pub versions: Vec<String>,
}

/// Describes this machine; what cannot be found out is `unknown`.
pub(crate) fn describe(packages: &[&str]) -> Machine {
    Machine {
        date: output("date", &["-u", "+%Y-%m-%d"]),
        cpu: field("/proc/cpuinfo", "model name", ':'),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .map_or_else(|_| unknown(), |text| text.trim().to_owned()),
        system: field("/etc/os-release", "PRETTY_NAME", '='),
        versions: packages.iter().filter_map(version).collect(),
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// The first value of `key` in a file of lines `key SEPARATOR value`.
fn field(file: &str, key: &str, separator: char) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(separator))
        .find(|(name, _)| name.trim() == key)
        .map_or_else(unknown, |(_, value)| value.trim().trim_matches('"').to_owned())
}

fn output(program: &str, args: &[&str]) -> String {
    match Command::new(program).args(args).output() {
        Ok(out) if out.status.success() => String::from_utf8_lossy(&out.stdout).trim().to_owned(),
        _ => unknown(),
    }
}

/// `PACKAGE VERSION` as dpkg knows it.
fn version(package: &&str) -> Option<String> {
    let found = output("dpkg-query", &["-W", "-f", "${Version}", package]);
    (found != unknown() && !found.is_empty()).then(|| format!("{package} {found}"))
}
