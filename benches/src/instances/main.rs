//! What private directories cost, beside others that make them: pam_namespace in a su session,
//! bwrap and systemd's PrivateTmp, where they can run.
//!
//! Three rows: the start of a session with two instances, file operations in one, and clearing one
//! of 10,000 files away. A round takes each column in turn; what counts is the least of many, in
//! wall time, since part of a session's start is another process's work.
//!
//! In the column "bare launcher" a C program that is linked dynamically, as ours is, does nothing but
//! become the shell: what every launcher costs, whatever it does.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, String>;

/// The shell whose start is measured.
const SHELL: [&str; 3] = ["/bin/bash", "-c", ":"];
const FILES: usize = 10_000;
/// A launcher that does nothing.
const BARE: &str =
    "#include <unistd.h>\nint main(int c, char **v) { return execv(v[1], v + 1); }\n";
/// What has to be reached.
const START: f64 = 1.6;
const OPERATIONS: f64 = 1.03;
const REAP: f64 = 1.1;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let done = match args.next() {
        Some(word) if word == "work" => {
            args.next().map_or_else(|| Err("work DIR".into()), |dir| work(Path::new(&dir)))
        }
        Some(bin) => run(Path::new(&bin), args.next().and_then(|n| n.to_str()?.parse().ok())),
        None => Err("usage: privns-bench-instances BIN_DIR [ROUNDS]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("privns-bench-instances: {why}");
            ExitCode::FAILURE
        }
    }
}

/// One way of having a private /tmp and /dev/shm.
struct Tool {
    name: &'static str,
    launcher: Option<Vec<OsString>>,
}

fn run(bin: &Path, rounds: Option<usize>) -> Result<()> {
    let rounds = rounds.unwrap_or(100);
    let site = Site::new(bin)?;
    let tools = site.tools();
    println!("| | {} | to reach | reached |", names(&tools).join(" | "));
    println!("|---|{}---:|---:|", "---:|".repeat(tools.len()));
    let shell = |tool: &Tool| time(tool, &SHELL.map(OsString::from));
    row("start of a session, 2 instances", &tools, rounds, START, shell)?;
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let operations = |tool: &Tool| {
        // Without an instance: a directory of the same file system.
        let dir = if tool.name == "native" { site.plain.clone() } else { "/tmp".into() };
        told(tool, &[own.clone().into(), "work".into(), dir.into()])
    };
    let only = |is: &dyn Fn(&str) -> bool| -> Vec<Tool> {
        let launcher = |tool: &Tool| tool.launcher.clone().filter(|_| is(tool.name));
        tools.iter().map(|tool| Tool { name: tool.name, launcher: launcher(tool) }).collect()
    };
    // Nothing is launched there but what is measured.
    let working = only(&|name| name != "bare launcher");
    row("file operations in an instance", &working, rounds, OPERATIONS, operations)?;
    // Only these clear away by themselves.
    let reaping = only(&|name| matches!(name, "native" | "privns"));
    row("clearing 10,000 files away", &reaping, rounds / 10 + 1, REAP, |tool| site.clear(tool))
}

fn names(tools: &[Tool]) -> Vec<&str> {
    tools.iter().map(|tool| tool.name).collect()
}

/// Measures a row and prints it: the first column in its unit, the others as ratios to it.
fn row(
    name: &str,
    tools: &[Tool],
    rounds: usize,
    target: f64,
    measure: impl Fn(&Tool) -> Result<Duration>,
) -> Result<()> {
    let mut least: Vec<Option<Duration>> = vec![None; tools.len()];
    for _ in 0..rounds {
        for (tool, least) in tools.iter().zip(&mut least) {
            if tool.launcher.is_some() {
                let took = measure(tool).map_err(|why| format!("{name}, {}: {why}", tool.name))?;
                *least = Some(least.map_or(took, |before| before.min(took)));
            }
        }
    }
    let native = least[0].ok_or("nothing was measured")?.as_secs_f64();
    let mut cells = vec![format!("{:.2} ms", native * 1e3)];
    let ratio = |took: &Option<Duration>| took.map(|took| took.as_secs_f64() / native);
    cells.extend(least[1..].iter().map(|t| ratio(t).map_or("–".into(), |r| format!("{r:.2}"))));
    let ours = tools.iter().position(|tool| tool.name == "privns").and_then(|at| ratio(&least[at]));
    let reached = ours.map_or("–", |ours| if ours <= target { "yes" } else { "**no**" });
    println!("| {name} | {} | ≤ {target:.2} | {reached} |", cells.join(" | "));
    Ok(())
}

fn time(tool: &Tool, words: &[OsString]) -> Result<Duration> {
    let mut command = command(tool, words)?;
    let begin = Instant::now();
    let status = command.stdout(Stdio::null()).status().map_err(|e| e.to_string())?;
    let took = begin.elapsed();
    if status.success() { Ok(took) } else { Err(format!("it ended with {status}")) }
}

/// What a command says that it took itself, in nanoseconds.
fn told(tool: &Tool, words: &[OsString]) -> Result<Duration> {
    let out = command(tool, words)?.output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    text.parse()
        .map(Duration::from_nanos)
        .map_err(|_| format!("it said {text:?} and {:?}", String::from_utf8_lossy(&out.stderr)))
}

fn command(tool: &Tool, words: &[OsString]) -> Result<Command> {
    let launcher = tool.launcher.as_ref().ok_or("absent")?;
    let mut all = launcher.clone();
    if tool.name == "pam_namespace" {
        // su takes a line for the shell.
        let line: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
        all.push(line.join(" ").into());
    } else {
        all.extend(words.iter().cloned());
    }
    let mut command = Command::new(&all[0]);
    command.args(&all[1..]).stdin(Stdio::null());
    Ok(command)
}

/// Creates, writes, looks at, renames and removes files; prints how long that took.
fn work(dir: &Path) -> Result<()> {
    let dir = dir.join(format!("bench-{}", std::process::id()));
    let act = || -> std::io::Result<()> {
        fs::create_dir(&dir)?;
        for i in 0..500 {
            let (one, two) = (dir.join(format!("{i}")), dir.join(format!("{i}.x")));
            fs::write(&one, "text")?;
            fs::metadata(&one)?;
            fs::rename(&one, &two)?;
            fs::read(&two)?;
            fs::remove_file(&two)?;
        }
        fs::remove_dir(&dir)
    };
    act().map_err(|e| e.to_string())?;
    let begin = Instant::now();
    act().map_err(|e| e.to_string())?;
    println!("{}", begin.elapsed().as_nanos());
    Ok(())
}

/// The files that are measured on; removed at the end.
struct Site {
    bin: PathBuf,
    dir: PathBuf,
    plain: PathBuf,
    rules: PathBuf,
}

impl Site {
    fn new(bin: &Path) -> Result<Site> {
        let dir = PathBuf::from(format!("/var/tmp/privns-bench-{}", std::process::id()));
        let site = Site {
            bin: bin.to_owned(),
            // As deep as the instances: each component of a name costs the kernel some nanoseconds.
            plain: dir.join("i/plain/dir"),
            rules: dir.join("rules.conf"),
            dir,
        };
        let d = site.dir.display();
        let make = || -> std::io::Result<()> {
            fs::create_dir_all(&site.plain)?;
            fs::set_permissions(site.dir.join("i"), fs::Permissions::from_mode(0o1777))?;
            let rules = format!("/tmp {d}/i/tmp- user\n/dev/shm {d}/i/shm- user\n");
            fs::write(&site.rules, rules)
        };
        make().map_err(|e| format!("{d}: {e}"))?;
        Ok(site)
    }

    fn tools(&self) -> Vec<Tool> {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let mut ours = vec![self.bin.join("ns-exec").into_os_string(), "--poly".into()];
        ours.extend([self.rules.clone().into(), "--".into()]);
        let bwrap =
            words(&["bwrap", "--dev-bind", "/", "/", "--tmpfs", "/tmp", "--tmpfs", "/dev/shm"]);
        let su = words(&["su", "-s", "/bin/bash", "nobody", "-c"]);
        let systemd = words(&["systemd-run", "-q", "--wait", "--pipe", "-p", "PrivateTmp=yes"]);
        let works = |tool: Tool| {
            // What cannot run here says so on stderr, which is no news.
            let mut first = command(&tool, &["/bin/true".into()]).ok();
            let ran = first.as_mut().and_then(|first| first.stderr(Stdio::null()).status().ok());
            let runs = ran.is_some_and(|status| status.success());
            Tool { launcher: tool.launcher.filter(|_| runs), ..tool }
        };
        // A su that makes namespaces is set up by who starts this: see benches/run.
        let pam = std::env::var_os("PRIVNS_BENCH_PAM").map(|_| su);
        vec![
            Tool { name: "native", launcher: Some(Vec::new()) },
            works(Tool { name: "bare launcher", launcher: self.bare() }),
            works(Tool { name: "privns", launcher: Some(ours) }),
            works(Tool { name: "pam_namespace", launcher: pam }),
            works(Tool { name: "bwrap", launcher: Some(bwrap) }),
            works(Tool { name: "PrivateTmp", launcher: Some(systemd) }),
        ]
    }

    /// A launcher that does nothing but exec, where a C compiler is there to make one.
    fn bare(&self) -> Option<Vec<OsString>> {
        let (source, program) = (self.dir.join("bare.c"), self.dir.join("bare"));
        fs::write(&source, BARE).ok()?;
        let compiled = Command::new("cc").arg("-O2").arg("-o").args([&program, &source]).status();
        compiled.ok()?.success().then(|| vec![program.into()])
    }

    /// Makes many files and clears them away: `rm -rf` natively, else `ns reap`.
    fn clear(&self, tool: &Tool) -> Result<Duration> {
        let id = fs::metadata(&self.plain).map_err(|e| e.to_string())?;
        let uid = std::os::unix::fs::MetadataExt::uid(&id).to_string();
        let native = tool.name == "native";
        let dir = if native { self.plain.join("many") } else { "/tmp".into() };
        let script = format!("mkdir -p {0} && cd {0} && seq {FILES} | xargs touch", dir.display());
        time(tool, &["/bin/sh".into(), "-c".into(), script.into()])?;
        let ours = self.bin.join("ns").into_os_string();
        let words: Vec<OsString> = if native {
            ["rm".into(), "-rf".into(), dir.into()].into()
        } else {
            // The session's keeper lets go of it.
            std::thread::sleep(Duration::from_millis(200));
            [ours, "reap".into(), "--user".into(), uid.into()].into()
        };
        time(&Tool { name: "native", launcher: Some(Vec::new()) }, &words)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let uid = fs::metadata(&self.plain).map(|m| std::os::unix::fs::MetadataExt::uid(&m));
        let reap = uid.map(|uid| {
            Command::new(self.bin.join("ns")).args(["reap", "--user", &uid.to_string()]).status()
        });
        let _ = reap;
        let _ = fs::remove_dir_all(&self.dir);
    }
}
