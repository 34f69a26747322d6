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
    /// Blocks in each column, in each pass.
    pub rounds: u32,
    /// Where it runs.
    pub cores: Cores,
}

/// How many processors a task uses.
#[derive(Clone, Copy)]
pub(crate) enum Cores {
    /// One at a time.
    One,
    /// All that there are.
    All,
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
    let mut tasks = Vec::new();
    let mut add = |name: String, what: What, target: Option<f64>, rounds: u32, cores: Cores| {
        let rounds = if options.quick { 2 } else { rounds };
        tasks.push(Task { name, what, target, rounds, cores });
    };
    let places = [("in a bind", &site.at), ("outside", &site.out)];
    for (label, call, target) in [
        ("stat", "stat", Some(NAME)),
        ("access", "access", None),
        ("open+close", "open", Some(NAME)),
    ] {
        for (place, dir) in places {
            for depth in [3, 10] {
                let name = format!("{label}, {place}, depth {depth}");
                add(name, calls(call, &site.name(dir, depth)), target, 20, Cores::One);
            }
        }
    }
    for call in ["read", "write"] {
        let what = calls(call, &site.name(&site.at, 3));
        add(format!("{call} of 1 byte"), what, Some(BYTE), 20, Cores::One);
    }
    let what = calls("forkexec", Path::new("/bin/true"));
    add("fork+exec of true".into(), what, Some(EXEC), 20, Cores::One);
    let tree = site.at.join("tree");
    let what = command(&tree, &["git", "status"]);
    add("git status, 5,000 files".into(), what, Some(TREE), 4, Cores::One);
    let what = command(&tree, &["find", ".", "-ls"]);
    add("find -ls, 5,000 files".into(), what, Some(TREE), 4, Cores::One);
    let which = if options.program.is_some() { "a real program" } else { "a generated program" };
    add(format!("make -j4, {which}"), make(site), Some(MAKE), 1, Cores::All);
    add("start of the tool".into(), What::Start, None, 4, Cores::One);
    add("private memory of a process".into(), What::Memory, Some(MEMORY_KIB), 1, Cores::All);
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

fn make(site: &Site) -> What {
    let dir = site.at.join("program");
    What::Command {
        before: exec(&dir, &["make", "-s", "clean"]),
        command: exec(&dir, &["make", "-s", "-j4"]),
    }
}
