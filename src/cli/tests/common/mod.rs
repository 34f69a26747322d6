//! A place of its own for a test of the programs: without the library, which
//! is tested elsewhere. A program that the loader would preload it into runs
//! without, on the host's files; that is enough to see what the launcher does.

#![allow(dead_code, unreachable_pub)]

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A directory with the programs, and a runtime directory.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// `/var/tmp`: `/tmp` is covered by tests.
    pub fn new() -> Place {
        let dir = tempfile::tempdir_in("/var/tmp").expect("a directory in /var/tmp");
        let place = Place { dir };
        for name in ["bin", "run", "src"] {
            std::fs::create_dir(place.path(name)).unwrap();
        }
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(place.path("run"), mode).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_ns-exec"), place.path("bin/ns-exec")).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_ns"), place.path("bin/ns")).unwrap();
        // It must be there; the loader passes over what is no library.
        std::fs::write(place.path("bin/libprivns.so"), "").unwrap();
        std::fs::write(place.path("src/f"), "text\n").unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A name for a family that no other test has.
    pub fn family(&self) -> String {
        self.dir.path().file_name().unwrap().to_str().unwrap().to_owned()
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.path("bin").join(program));
        command.env("XDG_RUNTIME_DIR", self.path("run")).env("PATH", "/usr/bin:/bin");
        command.env_remove("PRIVNS").current_dir("/");
        command
    }

    /// `ns-exec` with these arguments.
    pub fn exec<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        self.command("ns-exec").args(args).stdin(Stdio::null()).output().unwrap()
    }

    pub fn ns<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        self.command("ns").args(args).output().unwrap()
    }

    /// What the runtime directory holds.
    pub fn entries(&self) -> Vec<String> {
        let list = std::fs::read_dir(self.path("run/privns")).into_iter().flatten().flatten();
        list.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Waits until nothing is left of any family, for at most the 2 seconds
    /// that a keeper has (and a loaded machine adds to).
    pub fn assert_all_gone(&self) {
        until("the runtime directory is empty", || self.entries().is_empty());
    }
}

/// Waits for something that must come true.
pub fn until(what: &str, is: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !is() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Its own complaint: what the loader says of the library is left out.
pub fn err(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().filter(|l| !l.starts_with("ERROR: ld.so:")).map(|l| format!("{l}\n")).collect()
}

/// A static program that sleeps for ever, so that the library plays no part.
pub fn sleeper(place: &Path) -> Option<PathBuf> {
    let (source, program) = (place.join("sleeper.c"), place.join("sleeper"));
    std::fs::write(&source, "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n").ok()?;
    let cc = Command::new("cc").args(["-static", "-o"]).args([&program, &source]).output();
    cc.is_ok_and(|o| o.status.success()).then_some(program)
}

/// A running program, ended with the test however that ends.
pub struct Member(pub std::process::Child);

impl Member {
    /// Starts it with nothing of ours to hold open.
    pub fn start(command: &mut Command) -> Member {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Member(quiet.spawn().unwrap())
    }

    /// SIGKILL: nobody can prepare for this one.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}
