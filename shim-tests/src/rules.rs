//! Sites with a file of rules for private directories.

use crate::run::{Cmd, Running};
use crate::site::Site;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Gives a file its permissions.
///
/// # Panics
/// When that fails.
pub fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

/// A sticky directory for everybody's instances.
pub fn sticky(site: &Site, name: &str) -> PathBuf {
    let path = site.mkdir(name);
    mode(&path, 0o1777);
    path
}

/// A site with a file of rules; `$T` in it is the site.
#[must_use]
pub fn with(rules: &str) -> Site {
    let site = Site::new();
    sticky(&site, "i");
    site.write("conf", rules.replace("$T", &site.root().to_string_lossy()));
    site
}

/// `ns-exec --poly conf -- sh -c SCRIPT`, in a family without a name.
#[must_use]
pub fn poly(site: &Site, script: &str) -> Cmd {
    site.cmd("ns-exec").args(["--poly", &site.at("conf"), "--", "/bin/sh", "-c", script])
}

/// Starts a command, and waits until a file of the site says that it is so far.
#[must_use]
pub fn start(site: &Site, cmd: Cmd, sign: &str) -> Running {
    let running = cmd.start();
    site.until(sign);
    running
}

/// Whether nothing is in a directory.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).expect("a directory").next().is_none()
}

/// Waits until something is so.
///
/// # Panics
/// When it is not so in 10 s.
#[track_caller]
pub fn soon(what: &str, is: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !is() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
