//! What a namespace costs that travels: beside ssh(1) and srun(1) as they are, on the loopback
//! sshd and the two-node Slurm of the tests. Both in turn, pair by pair.

use crate::{Outcome, Site, median, row};
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// One of the tests' daemons, which ends with the run.
struct Launcher {
    script: PathBuf,
    dir: PathBuf,
}

impl Launcher {
    fn start(site: &Site, name: &str, options: &[&OsStr]) -> Outcome<Launcher> {
        let site_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shim-tests/site");
        let this = Launcher { script: site_dir.join(name), dir: site.place.join(name) };
        let mut command = Command::new("sh");
        command.arg(&this.script).args(["start", "--dir"]).arg(&this.dir).args(options);
        let done = command.stdin(Stdio::null()).output()?;
        match done.status.success() {
            true => Ok(this),
            false => Err(String::from_utf8_lossy(&done.stderr).trim().to_owned().into()),
        }
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let mut command = Command::new("sh");
        command.arg(&self.script).args(["stop", "--dir"]).arg(&self.dir);
        let _ = command.stdin(Stdio::null()).output();
    }
}

/// Seconds that a command takes, which has to succeed.
fn seconds(command: &mut Command) -> Outcome<f64> {
    let began = Instant::now();
    let done = command.stdin(Stdio::null()).stdout(Stdio::null()).output()?;
    match done.status.success() {
        true => Ok(began.elapsed().as_secs_f64()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&done.stderr)).into()),
    }
}

fn compare(
    name: &str,
    rounds: usize,
    most: f64,
    mut bare: Command,
    mut ours: Command,
) -> Outcome<()> {
    // The first of each finds nothing in the caches.
    seconds(&mut bare)?;
    seconds(&mut ours)?;
    let (mut ratios, mut times) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (bare, ours) = (seconds(&mut bare)?, seconds(&mut ours)?);
        ratios.push(ours / bare);
        times.push(bare);
    }
    let ratio = median(ratios);
    let bare = format!("{:.0} ms", median(times) * 1e3);
    row(name, &bare, ratio, &format!("≤ {most:.2}"), ratio <= most);
    Ok(())
}

/// `ssh host true`, and the same in a namespace.
fn ssh(site: &Site, path: &OsStr) -> Outcome<()> {
    let variable = [OsStr::new("PATH="), path].concat_os();
    let words = ["--user", "root", "--env"].map(OsStr::new);
    let sshd = Launcher::start(site, "sshd-local", &[&words[..], &[&variable]].concat())?;
    // Both by this one, which finds the host.
    let ssh = site.place.join("ssh");
    let text =
        format!("#!/bin/sh\nexec /usr/bin/ssh -F {}/ssh_config \"$@\"\n", sshd.dir.display());
    std::fs::write(&ssh, text)?;
    std::fs::set_permissions(&ssh, PermissionsExt::from_mode(0o755))?;
    let mut bare = Command::new(&ssh);
    bare.args(["root@nshost", "true"]);
    let mut ours = Command::new(site.bin.join("ns-exec"));
    ours.args(["--on", "ssh!root@nshost", "--", "true"]);
    ours.env("PATH", [site.place.as_os_str(), OsStr::new(":"), path].concat_os());
    compare("ns-exec --on ssh!host -- true, beside ssh host true", 25, 1.5, bare, ours)
}

/// 64 tasks on two nodes, and the same as members of a family.
fn srun(site: &Site, path: &OsStr) -> Outcome<()> {
    let slurm = Launcher::start(site, "slurm-local", &[])?;
    let words = ["-Q", "-N2", "-n64", "-O", "true"];
    let at_home = |mut command: Command| {
        command.env("SLURM_CONF", slurm.dir.join("slurm.conf")).env("PATH", path);
        command
    };
    let mut bare = at_home(Command::new("srun"));
    bare.args(words);
    let mut ours = at_home(Command::new(site.bin.join("ns-exec")));
    ours.args(["--private", "/tmp", "--private", "/dev/shm", "--", "srun"]).args(words);
    compare("a family of 64 on two nodes, beside srun -N2 -n64 true", 11, 1.3, bare, ours)
}

/// The rows; what is not installed is said.
pub(crate) fn rows(site: &Site) -> Outcome<()> {
    let path = [site.bin.as_os_str(), OsStr::new(":/usr/bin:/bin:/usr/sbin:/sbin")].concat_os();
    let there =
        |name: &str| ["/usr/bin", "/usr/sbin"].iter().any(|dir| Path::new(dir).join(name).exists());
    match rustix::process::geteuid().is_root() && there("sshd") && there("ssh") {
        true => ssh(site, &path)?,
        false => println!("| ns-exec --on | needs root, sshd and ssh |  |  |  |"),
    }
    match ["srun", "slurmctld", "slurmd", "munged"].iter().all(|name| there(name)) {
        true => srun(site, &path),
        false => {
            println!("| a family under Slurm | needs Slurm and munge |  |  |  |");
            Ok(())
        }
    }
}

/// Joins what may be no text.
trait ConcatOs {
    fn concat_os(&self) -> std::ffi::OsString;
}

impl ConcatOs for [&OsStr] {
    fn concat_os(&self) -> std::ffi::OsString {
        self.iter().copied().collect()
    }
}
