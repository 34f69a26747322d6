//! The scratch directory, environment and family of one run, and its end.

use crate::bins::bins;
use crate::run::Cmd;
use libtest_mimic::{Arguments, Trial};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The search path of every run.
pub(crate) const SEARCH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

/// The variable by which the processes of a site are known in /proc.
const MARK: &str = "SHIM_TEST_SITE";

/// How long what outlives a family may take to go: the keeper's 2 s and some.
const GRACE: Duration = Duration::from_secs(8);

/// A place of its own for one run: a directory under /var/tmp (tests cover /tmp),
/// a home, a runtime directory and a family name.
///
/// Dropping it checks that no process, no runtime file and no instance is left.
pub struct Site {
    root: PathBuf,
    family: String,
    settled: bool,
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Site {
    /// Makes the directory.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let root = fresh_root();
        for dir in ["home", "run", "log"] {
            std::fs::create_dir(root.join(dir)).expect("make the site");
        }
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(root.join("run"), mode).expect("chmod");
        let family = root.file_name().expect("a name").to_string_lossy().replace('-', "");
        Self { root, family, settled: false }
    }

    /// The directory itself: `$T` in scripts.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A name below it.
    #[must_use]
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// A name below it, as text.
    #[must_use]
    pub fn at(&self, name: &str) -> String {
        self.root.join(name).to_string_lossy().into_owned()
    }

    /// The family's name: `$F` in scripts.
    #[must_use]
    pub fn family(&self) -> &str {
        &self.family
    }

    /// Any command, in the site's clean environment.
    ///
    /// # Panics
    /// When the binaries under test cannot be had.
    #[must_use]
    pub fn cmd(&self, program: impl AsRef<OsStr>) -> Cmd {
        let mut command = Cmd::new(program.as_ref(), &self.root.join("log"));
        for (key, _) in std::env::vars_os() {
            command = command.env_remove(&key.to_string_lossy());
        }
        let root = self.root.as_os_str();
        let mut search = OsString::from(&bins().dir);
        search.push(":");
        search.push(SEARCH);
        if let Some(cargo) = crate::cargo_bin() {
            search.push(":");
            search.push(cargo);
        }
        for kept in ["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
            if let Some(value) = std::env::var_os(kept) {
                command = command.env(kept, value);
            }
        }
        command
            .cd(&self.root)
            .env("PATH", search)
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env("TERM", "dumb")
            .env("SHELL", "/bin/sh")
            .env("T", root)
            .env("F", &self.family)
            .env(MARK, root)
    }

    /// A shell script, run natively.
    #[must_use]
    pub fn sh(&self, script: &str) -> Cmd {
        self.cmd("/bin/sh").arg("-c").arg(script)
    }

    /// `ns-exec` with the family's name.
    #[must_use]
    pub fn ns_exec(&self) -> Cmd {
        self.cmd(bins().ns_exec()).arg("--family").arg(&self.family)
    }

    /// `ns-exec OPTIONS -- sh -c SCRIPT`.
    #[must_use]
    pub fn inside<S: AsRef<OsStr>>(&self, options: &[S], script: &str) -> Cmd {
        self.ns_exec().args(options).args(["--", "/bin/sh", "-c", script])
    }

    /// `ns`, as an outsider of the same user.
    #[must_use]
    pub fn ns(&self) -> Cmd {
        self.cmd(bins().ns())
    }

    /// Gives the site to an ordinary user and returns a command that runs `program` as
    /// that user, with copies of the binaries under test first on the search path:
    /// their own directory may be closed to others. Needs root.
    ///
    /// # Panics
    /// When the site cannot be given away.
    #[must_use]
    pub fn as_user(&self, uid: u32, program: impl AsRef<OsStr>) -> Cmd {
        let bin = self.mkdir("bin");
        for file in [bins().ns_exec(), bins().ns(), bins().library()] {
            let copy = bin.join(file.file_name().expect("a name"));
            if !copy.exists() {
                std::fs::copy(&file, copy).expect("copy the binaries");
            }
        }
        for path in ["", "home", "run", "log"].map(|name| self.path(name)) {
            std::os::unix::fs::chown(&path, Some(uid), Some(uid)).expect("give the site away");
        }
        let id = uid.to_string();
        self.cmd("setpriv")
            .args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"])
            .arg(program)
            .env("PATH", format!("{}:{SEARCH}", bin.display()))
    }

    /// Writes a file below the site, with its parents.
    ///
    /// # Panics
    /// When that fails.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("make parents");
        std::fs::write(&path, content).expect("write");
        path
    }

    /// Makes a directory below the site, with its parents.
    ///
    /// # Panics
    /// When that fails.
    pub fn mkdir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).expect("make a directory");
        path
    }

    /// Waits until a file below the site exists: a program's sign that it is so far.
    ///
    /// # Panics
    /// When it does not appear in 30 s.
    #[track_caller]
    pub fn until(&self, name: &str) {
        let start = Instant::now();
        while !self.path(name).exists() {
            assert!(start.elapsed() < Duration::from_secs(30), "{name} did not appear");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Fills a directory with the tree that cases work on: files, a deep path,
    /// links relative, absolute (to `$T/new/place`) and dangling, a program, and a
    /// name that is not UTF-8. `w` is for what a case makes itself.
    ///
    /// # Panics
    /// When that fails.
    pub fn seed(&self, name: &str) -> PathBuf {
        let at = self.mkdir(name);
        for dir in ["w", "sub/deep/er", "empty"] {
            std::fs::create_dir_all(at.join(dir)).expect("seed");
        }
        let put = |name: &[u8], content: &[u8]| {
            std::fs::write(at.join(OsStr::from_bytes(name)), content).expect("seed");
        };
        put(b"hello.txt", b"hello\n");
        put(b"lines", b"1\n2\n3\n4\n");
        put(b"sub/deep/er/file", b"deep\n");
        put(b"data.bin", &(0..65536_u32).map(|i| (i * 7 % 251) as u8).collect::<Vec<_>>());
        put(b"caf\xe9 \xff", b"latin\n");
        put(b"run.sh", b"#!/bin/sh\necho \"ran $0 $#\"\n");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(at.join("run.sh"), mode).expect("seed");
        let link = |target: &str, name: &str| symlink(target, at.join(name)).expect("seed");
        link("../hello.txt", "sub/up");
        link("sub/deep", "short");
        link("nowhere", "dangling");
        link(&self.at("new/place/hello.txt"), "absolute");
        link("loop", "loop");
        at
    }

    /// Waits until nothing of the site runs, and tells what stays.
    fn settle(&mut self) -> Result<(), String> {
        if self.settled {
            return Ok(());
        }
        self.settled = true;
        let start = Instant::now();
        loop {
            let left = self.left();
            if left.is_empty() {
                return Ok(());
            }
            if start.elapsed() > GRACE {
                self.kill_left();
                return Err(format!(
                    "left behind by {}:\n  {}",
                    self.root.display(),
                    left.join("\n  ")
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Processes, runtime files and instances that still stand.
    fn left(&self) -> Vec<String> {
        let mut left: Vec<String> = self
            .processes()
            .into_iter()
            .map(|(pid, name)| format!("process {pid} {name}"))
            .collect();
        files_below(&self.path("run"), &mut left);
        for parent in ["", "new", "new/place"] {
            instances_in(&self.path(parent), &mut left);
        }
        left
    }

    /// The processes that carry the site's mark in their environment.
    fn processes(&self) -> Vec<(i32, String)> {
        let mark = [MARK.as_bytes(), b"=", self.root.as_os_str().as_bytes(), b"\0"].concat();
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        let numbers = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
        let ours = |pid: &i32| {
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|env| env.windows(mark.len()).any(|w| w == mark))
        };
        let named = |pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            (pid, String::from_utf8_lossy(&line).replace('\0', " "))
        };
        numbers.filter(ours).map(named).collect()
    }

    fn kill_left(&self) {
        for (pid, _) in self.processes() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }

    /// Removes the bulk of the site now and leaves the check of what remains to
    /// [`conclude`], so that hundreds of runs do not each wait for a keeper.
    pub fn settle_later(mut self) {
        if self.settled {
            return;
        }
        for entry in std::fs::read_dir(&self.root).into_iter().flatten().flatten() {
            // What may hold an instance stays, or its leaving could not be seen.
            if !["run", "home", "new"].map(OsStr::new).contains(&entry.file_name().as_os_str()) {
                remove(&entry.path());
            }
        }
        self.settled = true;
        let later = Self { root: self.root.clone(), family: self.family.clone(), settled: false };
        self.root = PathBuf::new();
        WAITING.lock().expect("the list").push(later);
    }
}

static WAITING: Mutex<Vec<Site>> = Mutex::new(Vec::new());

/// Settles what [`Site::settle_later`] put off. Returns what was left behind.
///
/// # Panics
/// Never in practice: only when a test panicked inside [`Site::settle_later`].
fn settle_all() -> Vec<String> {
    let mut sites = std::mem::take(&mut *WAITING.lock().expect("the list"));
    sites.iter_mut().filter_map(|site| site.settle().err()).collect()
}

/// Runs trials of a test program of its own; what their sites leave behind is a
/// failure too.
///
/// # Panics
/// Never in practice: as `settle_all`.
#[must_use]
pub fn conclude(args: &Arguments, trials: Vec<Trial>) -> ExitCode {
    let conclusion = libtest_mimic::run(args, trials);
    let left = settle_all();
    for what in &left {
        eprintln!("{what}");
    }
    if conclusion.has_failed() || !left.is_empty() {
        ExitCode::from(101)
    } else {
        ExitCode::SUCCESS
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if self.root.as_os_str().is_empty() {
            return;
        }
        let result = self.settle();
        if std::env::var_os("PRIVNS_TEST_KEEP").is_none() {
            remove(&self.root);
        }
        if let Err(left) = result {
            assert!(std::thread::panicking(), "{left}");
        }
    }
}

fn fresh_root() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Short, for socket addresses; of one length, for output in columns.
        let number = NEXT.fetch_add(1, Ordering::Relaxed) % 1000;
        let root = PathBuf::from(format!("/var/tmp/pn{:07}{number:03}", std::process::id()));
        match std::fs::create_dir(&root) {
            Ok(()) => return root,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => panic!("{}: {e}", root.display()),
        }
    }
}

fn files_below(dir: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            files_below(&path, found);
        } else {
            found.push(format!("file {}", path.display()));
        }
    }
}

/// The parent of instances is hidden and the user's own, beneath the original; it
/// may stay, but empty.
fn instances_in(dir: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_name().as_bytes().starts_with(b".privns") {
            continue;
        }
        for instance in std::fs::read_dir(entry.path()).into_iter().flatten().flatten() {
            found.push(format!("instance {}", instance.path().display()));
        }
    }
}

/// Removes a tree, also one with directories that forbid it.
fn remove(path: &Path) {
    if std::fs::remove_dir_all(path).is_ok() || std::fs::remove_file(path).is_ok() {
        return;
    }
    let _ = std::process::Command::new("chmod").args(["-R", "u+rwx"]).arg(path).output();
    let _ = std::fs::remove_dir_all(path);
}

/// Replaces what differs from site to site: its directory and its family.
pub(crate) fn normal(site: &Site, bytes: &[u8]) -> Vec<u8> {
    let text = replace(bytes, site.root.as_os_str().as_bytes(), b"@T");
    replace(&text, site.family.as_bytes(), b"@F")
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        if rest.starts_with(from) {
            out.extend_from_slice(to);
            rest = &rest[from.len()..];
        } else {
            out.push(rest[0]);
            rest = &rest[1..];
        }
    }
    out
}
