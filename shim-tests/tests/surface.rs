//! Every `must` and `should` row of surface.tsv, exercised natively and inside.
//!
//! `coverage (WORLD): must N/M should N/M` counts the rows whose exercise says the
//! same and leaves the same files as on the host. What a 9P server cannot do is in
//! remote.txt, what it cannot do in the old dialects in remote-unix.txt (9P2000.u) and
//! remote-base.txt (9P2000), and is to be said there exactly so.

use libtest_mimic::{Arguments, Failed, Trial};
use privns_shim_tests as shim;
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, ExitCode};
use std::sync::Arc;

/// A row of the table that must or should behave.
struct Row {
    symbol: String,
    need: String,
}

/// What one exercise said, and what it left behind.
type Said = BTreeMap<String, String>;

/// The walker and the table.
struct Surface {
    case: shim::Case,
    rows: Vec<Row>,
}

/// By symbol, the lines that a world says instead of the host's.
type Otherwise = BTreeMap<String, BTreeSet<String>>;

/// The lists for a world, the last of which is its own. Each dialect is poorer than the one before.
fn lists(world: &shim::World) -> &'static [&'static str] {
    match world.name {
        "9p-old-unix" => &["remote.txt", "remote-unix.txt"],
        "9p-old-base" => &["remote.txt", "remote-unix.txt", "remote-base.txt"],
        name if name.starts_with("9p-") => &["remote.txt"],
        _ => &[],
    }
}

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let case = shim::Case::program("c/surface");
    let surface = Arc::new(Surface { case, rows: rows() });
    let mut trials = vec![{
        let surface = Arc::clone(&surface);
        Trial::test("every_row_is_exercised_by_its_own_symbol", move || complete(&surface))
    }];
    // Most exercises begin by making something.
    let walked = |w: &&shim::World| w.name != "readonly";
    for world in shim::WORLDS.iter().filter(walked) {
        let surface = Arc::clone(&surface);
        trials.push(Trial::test(format!("surface/{}", world.name), move || walk(&surface, world)));
    }
    shim::conclude(&args, trials)
}

fn rows() -> Vec<Row> {
    let table = std::fs::read_to_string(shim::package().join("surface.tsv")).expect("surface.tsv");
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        Row { symbol: cells[0].to_owned(), need: cells[6].to_owned() }
    };
    table.lines().map(row).filter(|r| r.need == "must" || r.need == "should").collect()
}

/// What lists say: `== symbol…: why`, and the lines.
fn otherwise(lists: &[&str]) -> Otherwise {
    let mut otherwise = Otherwise::new();
    for list in lists {
        let text = std::fs::read_to_string(shim::package().join(list)).expect("a list");
        for part in text.split("\n== ").skip(1) {
            let (head, lines) = part.split_once('\n').unwrap_or((part, ""));
            let (symbols, _) = head.split_once(':').expect("why");
            for symbol in symbols.split_whitespace() {
                let own = |line: &str| line.trim_end().replace("SYMBOL", symbol);
                let said = otherwise.entry(symbol.to_owned()).or_default();
                said.extend(lines.lines().map(own));
            }
        }
    }
    otherwise
}

/// Whether a difference is one that a list has; the files left behind differ as
/// what was said.
fn is_remote(said: &BTreeSet<String>, difference: &str) -> bool {
    let added = difference.lines().filter_map(|line| line.strip_prefix("+ "));
    let mut told = added.filter(|line| !line.is_empty() && !line.starts_with("w/x."));
    told.all(|line| said.contains(line.trim_end()))
}

/// Each row has an exercise of its name, and the program imports that very symbol:
/// the compiler put no other in its place.
fn complete(surface: &Surface) -> Result<(), Failed> {
    let oracle = surface.case.oracle(&shim::WORLDS[0]);
    let said = &sections(&oracle.0.stdout);
    let binary = surface.case.binary().expect("a C program");
    let listing = Command::new("nm").args(["-D", "--undefined-only"]).arg(&binary).output();
    let listing =
        String::from_utf8_lossy(&listing.map_err(|e| format!("nm: {e}"))?.stdout).into_owned();
    let symbol = |line: &str| Some(line.split_whitespace().last()?.split('@').next()?.to_owned());
    let imported: BTreeSet<String> = listing.lines().filter_map(symbol).collect();
    let absent = |what: &str, has: &dyn Fn(&str) -> bool| {
        let names: Vec<_> =
            surface.rows.iter().map(|r| r.symbol.as_str()).filter(|s| !has(s)).collect();
        if names.is_empty() { Ok(()) } else { Err(format!("{what}: {}", names.join(" "))) }
    };
    absent("no exercise for", &|s| said.contains_key(s))?;
    absent("not called by its own symbol", &|s| imported.contains(s))?;
    Ok(())
}

fn walk(surface: &Surface, world: &shim::World) -> Result<(), Failed> {
    if let Some(need) = world.missing() {
        shim::say_skipped(&format!("surface/{}", world.name), need);
        return Ok(());
    }
    let oracle = surface.case.oracle(world);
    let (native, native_tree) = &*oracle;
    let native = &sections(&native.stdout);
    let (outcome, tree) = world.run(&surface.case);
    let got = sections(&outcome.stdout);
    let files = by_exercise(&native_tree.difference(&tree));
    let lists = lists(world);
    // Some of what a server refuses (chown) the kernel refuses to all but root.
    let own = &lists[lists.len().saturating_sub(1)..];
    let own = otherwise(if shim::is_root() { own } else { &[] });
    let otherwise = otherwise(lists);
    let mut report = String::new();
    let mut elsewise = 0;
    let mut count = BTreeMap::from([("must", (0, 0)), ("should", (0, 0))]);
    for row in &surface.rows {
        let (good, all) = count.get_mut(row.need.as_str()).expect("a need");
        *all += 1;
        let difference = lines(native.get(&row.symbol), got.get(&row.symbol))
            + files.get(&row.symbol).map_or("", String::as_str);
        let remote = otherwise.get(&row.symbol);
        if remote.is_some_and(|said| !difference.is_empty() && is_remote(said, &difference)) {
            elsewise += 1;
        } else if own.contains_key(&row.symbol) && difference.is_empty() {
            report += &format!("== {}: the list has it, and it is as natively\n", row.symbol);
        } else if difference.is_empty() {
            *good += 1;
        } else {
            report += &format!("== {} ({})\n{difference}", row.symbol, row.need);
        }
    }
    let [(must, musts), (should, shoulds)] = [count["must"], count["should"]];
    let name = world.name;
    let rest =
        if elsewise > 0 { format!(", {elsewise} as the list has it") } else { String::new() };
    eprintln!("coverage ({name}): must {must}/{musts} should {should}/{shoulds}{rest}");
    if outcome.ending != shim::Ending::Exit(0) || outcome.stderr != oracle.0.stderr {
        report += &format!("{outcome}\n");
    }
    let elsewhere = files.get("").map_or("", String::as_str);
    if report.is_empty() && elsewhere.is_empty() {
        return Ok(());
    }
    let program = surface.case.binary().expect("a C program");
    let again = format!("again: cd PLACE/w && P=PLACE {} SYMBOL, inside\n", program.display());
    Err(format!("{again}(- native, + inside)\n{report}{elsewhere}").into())
}

/// Splits the walker's output at its `== symbol` lines.
fn sections(output: &[u8]) -> Said {
    let text = String::from_utf8_lossy(output).into_owned();
    let parts = format!("\n{text}");
    let section = |part: &str| {
        let (symbol, rest) = part.split_once('\n').unwrap_or((part, ""));
        (symbol.to_owned(), rest.to_owned())
    };
    parts.split("\n== ").skip(1).map(section).collect()
}

/// The differing lines of two texts.
fn lines(native: Option<&String>, got: Option<&String>) -> String {
    let (Some(native), Some(got)) = (native, got) else {
        return if native == got { String::new() } else { "+ said nothing\n".into() };
    };
    if native.trim_end() == got.trim_end() {
        return String::new();
    }
    let (mut left, mut right) = (native.lines(), got.lines());
    let mut report = String::new();
    loop {
        match (left.next(), right.next()) {
            (None, None) => return report,
            (a, b) if a == b => {}
            (a, b) => {
                let line =
                    |sign, l: Option<&str>| l.map_or(String::new(), |l| format!("{sign} {l}\n"));
                report += &(line('-', a) + &line('+', b));
            }
        }
    }
}

/// Gives each differing file to the exercise in whose directory it lies, the rest to "".
fn by_exercise(difference: &str) -> Said {
    let mut files = Said::new();
    for line in difference.lines() {
        let below = line.get(2..).and_then(|l| l.strip_prefix("w/x."));
        let symbol = below.and_then(|l| l.split(['/', ':']).next()).unwrap_or("");
        *files.entry(symbol.to_owned()).or_default() += &format!("{line}\n");
    }
    files
}
