//! Whole-program tests: unmodified programs run natively and inside a namespace.
//!
//! The host is the oracle. A [`Case`] is a shell script or a small C program; it
//! runs once in a real directory and once in every [`World`], where the same tree
//! stands at a place that the host does not have. What it prints, how it ends and
//! the tree that it leaves must be the same. A [`Site`] is the scratch directory,
//! environment and family name that one run has to itself, and the check
//! that nothing is left of it.
//!
//! `PRIVNS_BIN_DIR` says where the binaries under test are (default: this workspace's
//! release build, made when needed); with `PRIVNS_TEST_KEEP` set a site's files stay.

#![forbid(unsafe_code)]

mod bins;
mod case;
mod cc;
mod launchers;
mod recorder;
pub mod rules;
mod run;
mod served;
mod site;
mod tree;
mod world;

pub use bins::{Bins, bins, example};
pub use case::{Case, cases};
pub use cc::{Source, compile, package, tools};
pub use launchers::{Slurm, Sshd, alone, free_ports, site_page};
pub use recorder::{Message, Recorder};
pub use run::{Cmd, Ending, Outcome, Running};
pub use served::{Diod, Served, until};
pub use site::{Site, conclude};
pub use tree::Tree;
pub use world::{WORLDS, World, worlds};

use std::io::Write;

/// Where `name` stands on the search path, if anywhere.
#[must_use]
pub fn which(name: &str) -> Option<std::path::PathBuf> {
    if name.contains('/') {
        let path = std::path::PathBuf::from(name);
        return path.exists().then_some(path);
    }
    site::SEARCH.split(':').chain(cargo_bin().as_deref()).find_map(|dir| {
        let path = std::path::Path::new(dir).join(name);
        path.is_file().then_some(path)
    })
}

/// A server or client that Debian does not have, where ci/test has put it
/// (PRIVNS_TEST_TOOLS), or on the search path; says what is missing.
#[must_use]
pub fn tool(test: &str, name: &str) -> Option<std::path::PathBuf> {
    let tools = std::env::var_os("PRIVNS_TEST_TOOLS").map(std::path::PathBuf::from);
    let found = tools.map(|dir| dir.join("bin").join(name)).filter(|path| path.exists());
    let found = found.or_else(|| which(name));
    if found.is_none() {
        say_skipped(test, name);
    }
    found
}

/// A Python that has a package, as [`tool`].
#[must_use]
pub fn python_with(test: &str, package: &str) -> Option<std::path::PathBuf> {
    let python = tool(test, "python3")?;
    let import = format!("import {package}");
    let tried = std::process::Command::new(&python).args(["-c", &import]).output();
    if tried.is_ok_and(|tried| tried.status.success()) {
        return Some(python);
    }
    say_skipped(test, &format!("python3 with the package {package}"));
    None
}

/// The directory of `cargo`, which rarely lies on the system's own search path.
pub(crate) fn cargo_bin() -> Option<String> {
    let cargo = std::env::var("CARGO").ok()?;
    // Under rustup $CARGO is the toolchain's own binary, with rustc beside it.
    Some(std::path::Path::new(&cargo).parent()?.to_str()?.to_owned())
}

/// Whether this process is root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says on stderr, past the test runner's capture, that something was not run.
pub fn say_skipped(test: &str, what: &str) {
    // `eprintln!` is captured and thrown away for a test that passes.
    let _ = writeln!(std::io::stderr(), "{test}: skipped: needs {what}");
}

/// Leaves the test, saying so, unless every program named is installed. A list
/// of them may be given in place of one.
#[macro_export]
macro_rules! needs {
    ($test:expr, [$list:expr] $(, $program:expr)* $(,)?) => {
        $(needs!($test, $program);)*
        for program in $list {
            needs!($test, program);
        }
    };
    ($test:expr, $($program:expr),+ $(,)?) => {
        $(if !$crate::have($program) {
            $crate::say_skipped($test, $program);
            return;
        })+
    };
}

/// Whether a need can be met: `root`, `user` (not root), a program or a path.
#[must_use]
pub fn have(need: &str) -> bool {
    match need {
        "root" => is_root(),
        "user" => !is_root(),
        program => which(program).is_some(),
    }
}
