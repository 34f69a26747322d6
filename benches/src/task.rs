//! The rows: what is measured, and what it must reach.

use crate::fixture::Site;
use crate::options::Options;
use std::ffi::OsString;
use std::path::Path;

/// One row.
pub(crate) struct Task {
    /// Its heading.
    pub name: String,
    /// What to do.
    pub what: What,
    /// The ratio to native, or for memory the KiB added, that ours must not exceed.
    pub target: Option<f64>,
    /// Blocks in each column.
    pub rounds: u32,
}

/// The kinds of task.
pub(crate) enum What {
    /// As many calls of a libc function on a name as fill a block: the runner's request without
    /// the count.
    Calls(Vec<OsString>),
    /// A command in a directory, and one that is run before it and not measured.
    Command { before: Vec<OsString>, command: Vec<OsString> },
    /// The tool itself, running `/bin/true`; measured from outside.
    Start,
    /// Private memory of a process.
    Memory,
}

/// How long a block of calls takes, in nanoseconds of CPU time: long beside the clock's grain,
/// short beside the time for which this machine stays quiet.
pub(crate) const BLOCK: u64 = 1_500_000;
/// The same in a smoke run.
pub(crate) const QUICK_BLOCK: u64 = 100_000;

const NAME: f64 = 1.10;
const BYTE: f64 = 1.03;
const EXEC: f64 = 1.20;
const TREE: f64 = 1.10;
const MAKE: f64 = 1.03;
const MEMORY_KIB: f64 = 1024.0;

/// Every row that was asked for.
pub(crate) fn all(options: &Options, site: &Site) -> Vec<Task> {
    let rounds = |full: u32| if options.quick { 2 } else { full * options.rounds };
    let mut tasks = Vec::new();
    let places = [("in a bind", &site.at), ("outside", &site.out)];
    for (label, call) in [("stat", "stat"), ("access", "access"), ("open+close", "open")] {
        for (place, dir) in places {
            for depth in [3, 10] {
                let name = format!("{label}, {place}, depth {depth}");
                let what = calls(call, &site.name(dir, depth));
                tasks.push(Task { name, what, target: Some(NAME), rounds: rounds(200) });
            }
        }
    }
    for call in ["read", "write"] {
        let name = format!("{call} of 1 byte");
        let what = calls(call, &site.name(&site.at, 3));
        tasks.push(Task { name, what, target: Some(BYTE), rounds: rounds(200) });
    }
    let what = calls("forkexec", Path::new("/bin/true"));
    tasks.push(Task {
        name: "fork+exec of true".into(),
        what,
        target: Some(EXEC),
        rounds: rounds(200),
    });
    let tree = site.at.join("tree");
    let what = command(&tree, &["git", "status"]);
    tasks.push(Task {
        name: "git status, 5,000 files".into(),
        what,
        target: Some(TREE),
        rounds: rounds(40),
    });
    let what = command(&tree, &["find", ".", "-ls"]);
    tasks.push(Task {
        name: "find -ls, 5,000 files".into(),
        what,
        target: Some(TREE),
        rounds: rounds(40),
    });
    tasks.push(make(options, site, rounds(5)));
    tasks.push(Task {
        name: "start of the tool".into(),
        what: What::Start,
        target: None,
        rounds: rounds(40),
    });
    tasks.push(Task {
        name: "private memory of a process".into(),
        what: What::Memory,
        target: Some(MEMORY_KIB),
        rounds: 1,
    });
    tasks.retain(|task| task.name.contains(&options.only));
    tasks
}

fn calls(call: &str, path: &Path) -> What {
    What::Calls(vec![call.into(), path.into()])
}

fn command(dir: &Path, words: &[&str]) -> What {
    What::Command { before: Vec::new(), command: exec(dir, words) }
}

fn exec(dir: &Path, words: &[&str]) -> Vec<OsString> {
    ["exec".into(), dir.into()].into_iter().chain(words.iter().map(OsString::from)).collect()
}

fn make(options: &Options, site: &Site, rounds: u32) -> Task {
    let dir = site.at.join("program");
    let which = if options.program.is_some() { "a real program" } else { "a generated program" };
    let what = What::Command {
        before: exec(&dir, &["make", "-s", "clean"]),
        command: exec(&dir, &["make", "-s", "-j4"]),
    };
    Task { name: format!("make -j4, {which}"), what, target: Some(MAKE), rounds }
}
