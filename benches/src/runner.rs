//! Talking to the C program that lives in a column.

use crate::fixture::{GIT_ALONE, Site};
use crate::tool::Tool;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// A reply that takes longer than this does not come any more: the slowest is a whole `make`.
const PATIENCE: Duration = Duration::from_secs(300);

/// The runner of one column.
pub(crate) struct Runner {
    child: Child,
    requests: Option<ChildStdin>,
    replies: Receiver<String>,
    /// The process that we started, when it is not the runner itself but one that watches it:
    /// what it uses is part of the cost.
    watcher: Option<u32>,
}

impl Runner {
    /// Starts the runner in the tool.
    ///
    /// # Errors
    /// What the tool said when it would not run.
    pub(crate) fn start(tool: &Tool, site: &Site) -> Result<Self, String> {
        let mut words = tool.launcher.clone().map_err(str::to_owned)?;
        words.push(site.work.join("runner").into());
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .envs(GIT_ALONE)
            .env("HOME", &site.work)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin") // as short a search for all
            .envs(tool.env.iter().cloned())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("refused: {e}"))?;
        let requests = child.stdin.take();
        let replies = lines(child.stdout.take());
        let mut runner = Runner { child, requests, replies, watcher: None };
        match runner.reply() {
            Ok(fields) if fields.first().is_some_and(|f| f == "ready") => {
                let own = fields.get(1).and_then(|pid| pid.parse().ok());
                let started = runner.child.id();
                runner.watcher = own.filter(|pid| *pid != started).map(|_: u32| started);
                Ok(runner)
            }
            _ => Err(runner.last_words()),
        }
    }

    /// CPU time in nanoseconds of `n` calls of a function, or of a command (then `n` is none).
    ///
    /// # Errors
    /// What the runner says went wrong.
    pub(crate) fn cpu(&mut self, request: &[&OsStr], n: Option<usize>) -> Result<u64, String> {
        let count = n.map(|n| OsString::from(n.to_string()));
        let watched = self.watcher_cpu();
        let fields =
            self.ask(&request.iter().copied().chain(count.as_deref()).collect::<Vec<_>>())?;
        let own: u64 = number(fields.first())?;
        Ok(own + self.watcher_cpu().saturating_sub(watched))
    }

    /// Moves the runner to one of the processors, counted from 0 and round again, or lets it run
    /// on all.
    ///
    /// # Errors
    /// What the runner says went wrong.
    pub(crate) fn pin(&mut self, cpu: Option<usize>) -> Result<(), String> {
        let cpu = cpu.map_or_else(|| "-1".to_owned(), |cpu| cpu.to_string());
        let watcher = self.watcher.unwrap_or(0).to_string();
        self.ask(&["pin", &cpu, &watcher].map(OsStr::new)).map(drop)
    }

    /// Private memory of the runner in KiB.
    ///
    /// # Errors
    /// What the runner says went wrong.
    pub(crate) fn memory(&mut self) -> Result<u64, String> {
        number(self.ask(&[OsStr::new("memory")])?.first())
    }

    fn ask(&mut self, request: &[&OsStr]) -> Result<Vec<String>, String> {
        let mut line = request.join(OsStr::new("\t")).as_bytes().to_vec();
        line.push(b'\n');
        let requests = self.requests.as_mut().ok_or("gone")?;
        requests.write_all(&line).and_then(|()| requests.flush()).map_err(|e| e.to_string())?;
        let mut fields = self.reply()?;
        match fields.remove(0).as_str() {
            "ok" => Ok(fields),
            _ => Err(format!("fails: {}", fields.join(" "))),
        }
    }

    fn reply(&mut self) -> Result<Vec<String>, String> {
        let line = self.replies.recv_timeout(PATIENCE).map_err(|_| "fails: no reply")?;
        Ok(line.split('\t').map(str::to_owned).collect())
    }

    /// Time on a processor of the watching process so far, from the first field of
    /// proc_pid_schedstat, in nanoseconds.
    fn watcher_cpu(&self) -> u64 {
        let Some(pid) = self.watcher else { return 0 };
        let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0)
    }

    /// Why there is no runner: the first line on stderr of what should have become it.
    fn last_words(&mut self) -> String {
        self.requests = None;
        let _ = self.child.kill();
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        format!("refused: {}", said.lines().next().unwrap_or("it said nothing"))
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.requests = None; // the runner reads end of file and goes, and its launcher with it
        if self.replies.recv_timeout(Duration::from_secs(5)) == Err(RecvTimeoutError::Timeout) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn number(field: Option<&String>) -> Result<u64, String> {
    field.and_then(|f| f.parse().ok()).ok_or_else(|| "fails: not a number".to_owned())
}

/// The lines of a pipe; ends when the pipe does.
fn lines(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let lines = pipe.into_iter().flat_map(|pipe| BufReader::new(pipe).lines());
        for line in lines.map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    receive
}
