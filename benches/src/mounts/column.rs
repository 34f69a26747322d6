//! The program that lives in a column, and others that are run there.

use crate::Result;
use crate::site::Site;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// How a tree comes before a program's eyes.
#[derive(Clone)]
pub(crate) enum Way {
    /// It is at this place.
    There(PathBuf),
    /// It is mounted by privns: the address and options.
    Mounted { address: String, options: &'static str, aname: bool },
}

impl Way {
    pub(crate) fn mount(address: &str, options: &'static str) -> Way {
        Way::Mounted { address: address.into(), options, aname: false }
    }

    /// diod serves several trees, by name.
    pub(crate) fn diod(address: &str) -> Way {
        Way::Mounted { address: address.into(), options: "", aname: true }
    }

    /// Where the tree is for the program.
    pub(crate) fn base(&self, site: &Site) -> PathBuf {
        match self {
            Way::There(at) => at.clone(),
            Way::Mounted { .. } => site.at.clone(),
        }
    }

    /// A command that sees it.
    pub(crate) fn command(&self, site: &Site, words: &[&OsStr]) -> Command {
        let Way::Mounted { address, options, aname } = self else {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]);
            return command;
        };
        let mut all: Vec<String> = Vec::new();
        all.extend((!options.is_empty()).then(|| (*options).to_owned()));
        all.extend(aname.then(|| format!("aname={}", site.tree.display())));
        let option = if all.is_empty() { String::new() } else { format!("-o {} ", all.join(",")) };
        let line = format!("mount {option}{address} {}", site.at.display());
        let mut command = Command::new(site.bin_dir.join("ns-exec"));
        command.args(["-e", &line, "--"]).args(words);
        command
    }
}

/// A runner (`c/mounts.c`).
pub(crate) struct Runner {
    child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    base: PathBuf,
}

impl Runner {
    pub(crate) fn start(site: &Site, way: &Way) -> Result<Runner> {
        let mut command = way.command(site, &[site.dir.join("runner").as_os_str()]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{command:?}: {e}"))?;
        let requests = child.stdin.take();
        let replies = BufReader::new(child.stdout.take().ok_or("no output of a runner")?);
        let mut runner = Runner { child, requests, replies, base: way.base(site) };
        match runner.line()?.trim_end() {
            "ready" => Ok(runner),
            _ => Err(String::from("the runner does not start")),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.replies.read_line(&mut line).map_err(|e| e.to_string())?;
        Ok(line)
    }

    /// How long a request takes: `verb`, a name below the tree, numbers.
    pub(crate) fn ask(&mut self, verb: &str, name: &str, numbers: [u64; 2]) -> Result<f64> {
        let path = self.base.join(name);
        let [first, second] = numbers;
        let request = format!("{verb}\t{}\t{first}\t{second}\n", path.display());
        let to = self.requests.as_mut().ok_or("no input of a runner")?;
        to.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
        let line = self.line()?;
        match line.trim_end().split_once('\t') {
            Some(("ok", time)) => time.parse::<f64>().map(|ns| ns / 1e9).map_err(|e| e.to_string()),
            _ => Err(line.trim_end().replace('\t', " ")),
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.requests = None;
        let _ = self.child.wait();
    }
}

/// Runs a command to its end, quietly.
pub(crate) fn command(program: &str, words: &[&OsStr], dir: &Path) -> Result<()> {
    timed(Command::new(program).args(words).current_dir(dir)).map(drop)
}

/// The same, and how long it took.
pub(crate) fn timed(command: &mut Command) -> Result<f64> {
    let began = Instant::now();
    let done = command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
    let took = began.elapsed().as_secs_f64();
    if done.status.success() {
        return Ok(took);
    }
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let program = command.get_program().to_string_lossy().into_owned();
    let said = said.lines().last().unwrap_or("it failed").to_owned();
    Err(format!("{}: {said}", Path::new(&program).file_name().map_or(program.clone(), os)))
}

fn os(name: &OsStr) -> String {
    OsString::from(name).to_string_lossy().into_owned()
}

/// The least of what is taken, as long as nothing fails.
#[derive(Clone)]
pub(crate) struct Least(pub Result<f64>);

impl Least {
    pub(crate) const fn new() -> Least {
        Least(Ok(f64::INFINITY))
    }

    pub(crate) fn take(&mut self, sample: impl FnOnce() -> Result<f64>) {
        if let Ok(least) = self.0 {
            self.0 = sample().map(|value| least.min(value));
        }
    }
}

/// How long something takes.
pub(crate) fn time(act: impl FnOnce() -> Result<()>) -> Result<f64> {
    let began = Instant::now();
    act().map(|()| began.elapsed().max(Duration::from_nanos(1)).as_secs_f64())
}
