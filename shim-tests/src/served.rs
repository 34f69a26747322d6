//! Servers that tests mount, each ended with its test.

use crate::launchers::free_ports;
use crate::run::Running;
use crate::site::Site;
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// Waits until something is so that must come about in 30 s.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn until(what: &str, is: impl Fn() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running `ns-serve`.
pub struct Served<'s> {
    site: &'s Site,
    name: &'static str,
    running: Running,
}

impl<'s> Served<'s> {
    /// `ns-serve` with these words, on a port of loopback; what it prints goes to a file of
    /// the site's.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(site: &'s Site, name: &'static str, what: &str) -> Self {
        Self::at(site, name, what, "tcp!127.0.0.1!0")
    }

    /// The same, at an address.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn at(site: &'s Site, name: &'static str, what: &str, address: &str) -> Self {
        let _ = std::fs::remove_file(site.path(format!("{name}.said")));
        let script = format!("exec ns-serve {what} --listen '{address}' >$T/{name}.said");
        let running = site.sh(&script).start();
        let served = Self { site, name, running };
        until("the server listens", || !served.said().is_empty());
        served
    }

    /// The lines that it has printed.
    fn said(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.site.path(format!("{}.said", self.name)));
        let text = text.unwrap_or_default();
        // A line that is just being written is not said yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// Where it is reached.
    ///
    /// # Panics
    /// Never: it has said so.
    #[must_use]
    pub fn address(&self) -> String {
        self.said()[0].clone()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.running.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a number"), signal).expect("a signal");
    }

    /// A counter of the line that SIGUSR1 prints.
    ///
    /// # Panics
    /// When it has none of that name, or does not answer.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        let before = self.said().len();
        self.signal(Signal::USR1);
        until("the counters are printed", || self.said().len() > before);
        let line = self.said().pop().expect("a line");
        let found = line.split(", ").find_map(|c| c.strip_prefix(&format!("{name} ")));
        found.unwrap_or_else(|| panic!("{name} in {line}")).parse().expect("a number")
    }
}

/// A running diod, which serves one directory.
pub struct Diod {
    address: String,
    /// What to ask it for.
    pub aname: String,
    _running: Running,
}

impl Diod {
    /// Serves a directory of the site's, which is made.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(site: &Site, dir: &str) -> Self {
        let aname = site.mkdir(dir).to_string_lossy().into_owned();
        let listen = format!("127.0.0.1:{}", free_ports(1));
        let words = ["-f", "-n", "-N", "-L", "/dev/null", "-l", &listen, "-e", &aname];
        let running = site.cmd("diod").args(words).start();
        until("diod listens", || std::net::TcpStream::connect(&listen).is_ok());
        let address = format!("tcp!{}", listen.replace(':', "!"));
        Self { address, aname, _running: running }
    }

    /// Where it is reached.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The line that mounts it.
    #[must_use]
    pub fn mount(&self, at: &str) -> String {
        format!("mount -o aname={} {} {at}", self.aname, self.address)
    }
}
