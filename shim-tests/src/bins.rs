//! The programs under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A directory with `ns-exec`, `ns` and `libprivns.so` side by side.
pub struct Bins {
    /// That directory.
    pub dir: PathBuf,
}

impl Bins {
    /// The launcher.
    #[must_use]
    pub fn ns_exec(&self) -> PathBuf {
        self.dir.join("ns-exec")
    }

    /// The tool that looks at a living family.
    #[must_use]
    pub fn ns(&self) -> PathBuf {
        self.dir.join("ns")
    }

    /// The library to preload.
    #[must_use]
    pub fn library(&self) -> PathBuf {
        self.dir.join("libprivns.so")
    }
}

/// The binaries: those of `PRIVNS_BIN_DIR`, else this workspace's release build.
///
/// # Panics
/// When they are not there and cannot be built: no test can say anything then.
pub fn bins() -> &'static Bins {
    static BINS: OnceLock<Bins> = OnceLock::new();
    BINS.get_or_init(|| {
        let bins = match std::env::var_os("PRIVNS_BIN_DIR") {
            Some(dir) => Bins { dir: absolute(Path::new(&dir)) },
            None => build(),
        };
        for file in [bins.ns_exec(), bins.ns(), bins.library()] {
            assert!(
                file.is_file(),
                "{} is missing: build it, or set PRIVNS_BIN_DIR",
                file.display()
            );
        }
        let covered = bins.dir.starts_with("/tmp") || bins.dir.starts_with("/dev/shm");
        assert!(!covered, "{}: tests cover /tmp, put the binaries elsewhere", bins.dir.display());
        bins
    })
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// Builds what is not fresh. Cargo holds its own lock on the directory, so that
/// several test programs may come here at once.
fn build() -> Bins {
    let workspace = workspace();
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace.join(dir),
        None => workspace.join("target"),
    };
    // The library by itself, as people get it: with the launcher in one build
    // it would have the launcher's features.
    for package in ["privns-cli", "privns-preload"] {
        let status = cargo().args(["build", "--release", "--quiet", "-p", package]).status();
        assert!(status.is_ok_and(|s| s.success()), "cargo build --release -p {package} failed");
    }
    Bins { dir: absolute(&target.join("release")) }
}

/// cargo in this workspace. What test runners say of the package under test is not for it: build
/// scripts that look at that would run again, and all that depends on them be built again.
fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    cargo.current_dir(workspace());
    cargo
}

/// An example of this workspace: beside the test programs, where `cargo test` of
/// the whole workspace puts it, or built now where there is a cargo that can.
#[must_use]
pub fn example(name: &str) -> Option<PathBuf> {
    let tests = std::env::current_exe().ok()?;
    let program = tests.parent()?.parent()?.join("examples").join(name);
    // With the features that the whole workspace has, as the test programs were built.
    let built = cargo().args(["build", "--quiet", "--workspace", "--example", name]).status();
    (built.is_ok_and(|status| status.success()) || program.exists()).then_some(program)
}

fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
