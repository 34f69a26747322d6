//! Real launchers, each on loopback for one test: a Slurm cluster of two nodes,
//! and an sshd with its own PAM service. They are started by the scripts of
//! `site/`, which people can use by hand too, and stopped when dropped.

use crate::cc::package;
use crate::run::{Cmd, Ending, Outcome};
use crate::site::Site;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A Slurm cluster: nodes n1 and n2, both on this host. As root any user can
/// run jobs, else only this one.
pub struct Slurm<'a> {
    site: &'a Site,
    dir: PathBuf,
    /// Whose it is, where not ours.
    user: Option<u32>,
}

impl<'a> Slurm<'a> {
    /// The programs that it takes; see [`needs`](crate::needs).
    pub const NEEDS: [&'static str; 4] = ["srun", "slurmctld", "slurmd", "munged"];

    /// Starts it, with further options of `site/slurm-local`.
    ///
    /// # Panics
    /// When it does not come up; with the daemons' own words.
    #[must_use]
    pub fn start<S: AsRef<OsStr>>(site: &'a Site, options: impl IntoIterator<Item = S>) -> Self {
        Self::start_as(site, None, options)
    }

    /// Starts one that is an ordinary user's, who alone can run jobs. Needs root.
    ///
    /// # Panics
    /// As [`Slurm::start`].
    #[must_use]
    pub fn start_as<S: AsRef<OsStr>>(
        site: &'a Site,
        user: Option<u32>,
        options: impl IntoIterator<Item = S>,
    ) -> Self {
        let dir = site.path("slurm");
        let slurm = Self { site, dir, user };
        let port = free_ports(3).to_string();
        // Instances of jobs are told apart by the job's number, and other clusters on this
        // machine count too.
        let first = format!("FirstJobId={}", 1_000_000 + std::process::id() * 8);
        let command = slurm.script().args(["start", "--port", &port, "--dir"]);
        let command = command.arg(&slurm.dir).args(["--conf", &first]);
        command.args(options).limit(60).run().ok();
        slurm
    }

    /// A command that finds the cluster.
    #[must_use]
    pub fn cmd(&self, program: impl AsRef<OsStr>) -> Cmd {
        self.at_home(match self.user {
            Some(uid) => self.site.as_user(uid, program),
            None => self.site.cmd(program),
        })
    }

    fn script(&self) -> Cmd {
        let Some(uid) = self.user else { return script(self.site, "slurm-local") };
        // Where it is may be closed to others.
        let copy = self.site.mkdir("bin").join("slurm-local");
        std::fs::copy(package().join("site/slurm-local"), &copy).expect("copy the script");
        self.site.as_user(uid, "/bin/sh").arg(copy)
    }

    /// Lets any command find the cluster, and Open MPI run as root.
    #[must_use]
    pub fn at_home(&self, command: Cmd) -> Cmd {
        command
            .env("SLURM_CONF", self.dir.join("slurm.conf"))
            .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
            .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
            .limit(60)
    }

    /// A shell script that finds the cluster.
    #[must_use]
    pub fn sh(&self, script: &str) -> Cmd {
        self.cmd("/bin/sh").arg("-c").arg(script)
    }

    /// `ns-exec OPTIONS -- sh -c SCRIPT` that finds the cluster.
    #[must_use]
    pub fn inside<S: AsRef<OsStr>>(&self, options: &[S], script: &str) -> Cmd {
        self.at_home(self.site.inside(options, script))
    }

    /// What the daemons have logged.
    #[must_use]
    pub fn logs(&self) -> String {
        let names = ["slurmctld.log", "n1/slurmd.log", "n2/slurmd.log"];
        let read = |name| std::fs::read_to_string(self.dir.join(name)).unwrap_or_default();
        names.map(read).concat()
    }
}

impl Drop for Slurm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        stop(self.script(), "slurm-local", &self.dir);
    }
}

/// An sshd on loopback, with users of its own that are removed again. Needs
/// root.
pub struct Sshd<'a> {
    site: &'a Site,
    dir: PathBuf,
    users: Vec<String>,
    _alone: MutexGuard<'static, ()>,
}

/// What changes this host's users, or puts other files in the place of its lists of them, goes one
/// after the other: cargo test runs the tests of a program all at once, and useradd(8) waits for
/// nobody and moves a new list over the old.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Sshd<'a> {
    /// The programs that it takes; see [`needs`](crate::needs).
    pub const NEEDS: [&'static str; 5] = ["root", "sshd", "ssh", "useradd", "unshare"];

    /// Starts it for so many users, with further options of `site/sshd-local`.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start<S: AsRef<OsStr>>(
        site: &'a Site,
        users: usize,
        options: impl IntoIterator<Item = S>,
    ) -> Self {
        Self::start_after(site, ":", users, options)
    }

    /// The same in a mount namespace of its own, which a shell script prepares.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start_after<S: AsRef<OsStr>>(
        site: &'a Site,
        prepare: &str,
        users: usize,
        options: impl IntoIterator<Item = S>,
    ) -> Self {
        let name = |number| format!("pn{}u{number}", std::process::id());
        let users: Vec<String> = (1..=users).map(name).collect();
        let sshd = Self { site, dir: site.path("sshd"), users, _alone: alone() };
        let port = free_ports(1).to_string();
        let named = sshd.users.iter().flat_map(|user| ["--user", user]);
        let script = package().join("site/sshd-local");
        let start = format!("{prepare}; exec /bin/sh \"$@\"");
        let command = site.cmd("unshare").args(["-m", "/bin/sh", "-e", "-c", &start, "sh"]);
        let command = command.arg(script).args(["start", "--port", &port, "--dir"]);
        command.arg(&sshd.dir).args(named).args(options).limit(60).run().ok();
        sshd
    }

    /// The name of a user, from 0.
    #[must_use]
    pub fn user(&self, number: usize) -> &str {
        &self.users[number]
    }

    /// The client's configuration, which knows the hosts nshost, nshost1 and
    /// nshost2.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join("ssh_config")
    }

    /// Runs a command in a session of a user.
    #[must_use]
    pub fn session(&self, user: usize, command: &str) -> Cmd {
        self.ssh(user).arg(command)
    }

    /// Gives a user's login shell commands to read.
    #[must_use]
    pub fn login(&self, user: usize, commands: &str) -> Cmd {
        self.ssh(user).arg("-T").input(commands)
    }

    fn ssh(&self, user: usize) -> Cmd {
        let to = format!("{}@nshost", self.users[user]);
        self.site.cmd("ssh").arg("-F").arg(self.config()).arg(to).limit(30)
    }
}

impl Drop for Sshd<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.dir.join("log")).unwrap_or_default());
        }
        stop(script(self.site, "sshd-local"), "sshd-local", &self.dir);
    }
}

/// The page for administrators, privns-site(7), without roff's own words: what it
/// says to write is what the tests write.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn site_page() -> String {
    let page = std::fs::read_to_string(package().join("../docs/man/privns-site.7"));
    page.expect("the page").replace("\\-", "-")
}

fn script(site: &Site, name: &str) -> Cmd {
    site.cmd("/bin/sh").arg(package().join("site").join(name))
}

fn stop(script: Cmd, name: &str, dir: &Path) {
    if !dir.exists() {
        return;
    }
    let Outcome { ending, stderr, .. } = script.args(["stop", "--dir"]).arg(dir).limit(60).run();
    let said = String::from_utf8_lossy(&stderr).into_owned();
    if ending != Ending::Exit(0) || !said.is_empty() {
        assert!(std::thread::panicking(), "{name} stop: {ending:?} {said}");
    }
}

/// The first of so many TCP ports in a row that nobody has, which other tests
/// are not likely to ask for.
///
/// # Panics
/// When there are none.
#[must_use]
pub fn free_ports(number: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    // Below the ports that clients are given (ip_local_port_range).
    let place = |n: u32| 16_000 + (n * 4 % 16_000) as u16;
    let first = std::process::id().wrapping_mul(37);
    (0..1000)
        .map(|_| place(first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed).into())))
        .find(|&port| (port..port + number).all(free))
        .expect("free ports")
}
