//! Running a command to its end, with a limit.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How a program ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It left with this status.
    Exit(i32),
    /// This signal killed it.
    Signal(i32),
    /// It was still running at the limit, and was killed.
    Late,
}

/// What a program did.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The command, as a shell would take it.
    pub command: String,
    /// How it ended.
    pub ending: Ending,
    /// What it wrote on descriptor 1.
    pub stdout: Vec<u8>,
    /// What it wrote on descriptor 2.
    pub stderr: Vec<u8>,
}

impl Outcome {
    /// Standard output as text, without trailing white space.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// Standard error as text, without trailing white space.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim_end().to_owned()
    }

    /// Standard output of a command that must have succeeded.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(&self) -> String {
        assert!(self.ending == Ending::Exit(0), "expected status 0\n{self}");
        self.out()
    }

    /// Fails the test unless the output is `want`, trailing white space apart,
    /// and the status 0.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn prints(&self, want: &str) {
        let got = self.ok();
        assert!(got == want.trim_end(), "expected output:\n{want}\n{self}");
    }

    /// Fails the test unless it ended with `status` and one line on stderr,
    /// which holds every one of `words`.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn refuses(&self, status: i32, words: &[&str]) {
        let err = self.err();
        assert!(self.ending == Ending::Exit(status), "expected status {status}\n{self}");
        assert!(err.lines().count() == 1, "expected one line on stderr\n{self}");
        for word in words {
            assert!(err.contains(word), "expected {word:?} on stderr\n{self}");
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "command: {}\nended: {:?}", self.command, self.ending)?;
        writeln!(f, "stdout: {}", clip(&self.out()))?;
        write!(f, "stderr: {}", clip(&self.err()))
    }
}

/// The beginning and the end of a long text.
fn clip(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= 60 {
        return text.to_owned();
    }
    format!("{}\n[...]\n{}", lines[..30].join("\n"), lines[lines.len() - 30..].join("\n"))
}

/// A command under construction.
pub struct Cmd {
    command: Command,
    scratch: PathBuf,
    input: Option<Vec<u8>>,
    limit: Duration,
}

impl Cmd {
    pub(crate) fn new(program: &OsStr, scratch: &Path) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).process_group(0);
        Self { command, scratch: scratch.to_owned(), input: None, limit: Duration::from_secs(20) }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Removes a variable.
    #[must_use]
    pub fn env_remove(mut self, key: &str) -> Self {
        self.command.env_remove(key);
        self
    }

    /// Starts in this directory.
    #[must_use]
    pub fn cd(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Gives these bytes on standard input.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Gives up after so many seconds (20 unless said).
    #[must_use]
    pub fn limit(mut self, seconds: u64) -> Self {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// Starts it and leaves it running, with no input and no output.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(mut self) -> Running {
        let err = self.scratch.join(format!("err{}", unique()));
        self.command.stdout(Stdio::null());
        self.command.stderr(File::create(&err).expect("a file for stderr"));
        let child = self.command.spawn().expect("start");
        Running { child: Some(child) }
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started at all, or the scratch files cannot be had.
    pub fn run(mut self) -> Outcome {
        // Files and not pipes: what the program leaves running in the background
        // cannot keep us waiting.
        let number = unique();
        let [input, out, err] =
            ["in", "out", "err"].map(|s| self.scratch.join(format!("{s}{number}")));
        if let Some(bytes) = &self.input {
            std::fs::write(&input, bytes).expect("write the input");
            self.command.stdin(File::open(&input).expect("open the input"));
        }
        self.command.stdout(File::create(&out).expect("a file for stdout"));
        self.command.stderr(File::create(&err).expect("a file for stderr"));
        let shown = self.shown();
        let mut child =
            self.command.spawn().unwrap_or_else(|e| panic!("cannot start {shown}: {e}"));
        let ending = wait(&mut child, self.limit);
        Outcome {
            command: shown,
            ending,
            stdout: std::fs::read(&out).expect("read stdout"),
            stderr: std::fs::read(&err).expect("read stderr"),
        }
    }

    fn shown(&self) -> String {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        words.map(|w| quote(&w.to_string_lossy())).collect::<Vec<_>>().join(" ")
    }
}

/// A program left running; killed with its group when dropped.
pub struct Running {
    child: Option<Child>,
}

impl Running {
    /// Its process number.
    ///
    /// # Panics
    /// After it was waited for.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("running").id()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// After it was waited for.
    pub fn wait(mut self, seconds: u64) -> Ending {
        let mut child = self.child.take().expect("running");
        wait(&mut child, Duration::from_secs(seconds))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            kill_group(child);
        }
    }
}

fn unique() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn wait(child: &mut Child, limit: Duration) -> Ending {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait().expect("wait") {
            return ending(status);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    kill_group(child);
    Ending::Late
}

fn kill_group(child: &mut Child) {
    // Not reaped yet, so the number is still ours.
    if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)) {
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
    let _ = child.wait();
}

fn ending(status: ExitStatus) -> Ending {
    match status.code() {
        Some(code) => Ending::Exit(code),
        None => Ending::Signal(status.signal().unwrap_or(0)),
    }
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@+,!%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
