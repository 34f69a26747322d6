//! The files that are served, and all who serve them.

use crate::column::command;
use crate::peer::Socket;
use crate::{Result, Settings};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Names in the directory that is listed, and in that which `find` goes through.
pub(crate) const MANY: usize = 10_000;
pub(crate) const SOME: usize = 1_000;

/// A process that ends with the run.
pub(crate) struct Server(pub(crate) Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The directories of one run, removed when it goes.
pub(crate) struct Site {
    /// Everything is below it.
    pub dir: PathBuf,
    /// What is served, and where it shows when it is mounted.
    pub tree: PathBuf,
    pub at: PathBuf,
    pub unix: String,
    pub tcp: String,
    /// Where diod listens, or why it does not.
    pub diod: [Result<String>; 2],
    /// Where sshfs shows the tree, or why it does not.
    pub sshfs: Result<PathBuf>,
    pub bin_dir: PathBuf,
    sshd: Option<PathBuf>,
    _servers: Vec<Server>,
}

impl Site {
    pub(crate) fn build(settings: &Settings) -> Result<Site> {
        let dir = settings.base.join(format!("privns-mounts-{}", std::process::id()));
        let (tree, at) = (dir.join("tree"), dir.join("at"));
        let made = fs::create_dir_all(&tree).and_then(|()| fs::create_dir(&at));
        made.map_err(|e| format!("{}: {e}", dir.display()))?;
        let mut site = Site {
            tree,
            at,
            unix: String::new(),
            tcp: String::new(),
            diod: [Err(String::new()), Err(String::new())],
            sshfs: Err(String::new()),
            bin_dir: settings.bin_dir.clone(),
            sshd: None,
            _servers: Vec::new(),
            dir,
        };
        site.fill(settings).map_err(|e| e.to_string())?;
        let program = include_str!("../../c/mounts.c");
        fs::write(site.dir.join("runner.c"), program).map_err(|e| e.to_string())?;
        let runner = site.dir.join("runner");
        command(
            "cc",
            &["-O2".as_ref(), "-o".as_ref(), runner.as_ref(), "runner.c".as_ref()],
            &site.dir,
        )?;
        site.serve()?;
        site.diod = [site.start_diod(Socket::Unix), site.start_diod(Socket::Tcp)];
        site.sshfs = site.start_sshfs();
        Ok(site)
    }

    fn fill(&self, settings: &Settings) -> std::io::Result<()> {
        fs::write(self.tree.join("small"), [7; 1000])?;
        let mut large = fs::File::create(self.tree.join("large"))?;
        let piece = vec![7u8; 1 << 20];
        (0..settings.size >> 20).try_for_each(|_| large.write_all(&piece))?;
        fs::write(self.tree.join("eight"), vec![7; 8 << 20])?;
        for (name, files) in [("many", MANY), ("some", SOME)] {
            let dir = self.tree.join(name);
            fs::create_dir(&dir)?;
            (0..files).try_for_each(|i| fs::write(dir.join(format!("name{i}")), b""))?;
        }
        fs::create_dir(self.tree.join("new"))?;
        if let Some(program) = &settings.program {
            copy(program, &self.tree.join("program"))?;
        }
        Ok(())
    }

    fn serve(&mut self) -> Result<()> {
        let unix = format!("unix!{}", self.dir.join("socket").display());
        let mut command = Command::new(self.bin_dir.join("ns-serve"));
        command.arg("dir").arg(&self.tree).args(["--listen", &unix]);
        command.args(["--listen", "tcp!127.0.0.1!0"]).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| format!("ns-serve: {e}"))?;
        let output = child.stdout.take().ok_or("ns-serve has no output")?;
        self._servers.push(Server(child));
        let mut lines = BufReader::new(output).lines();
        let mut next = || lines.next().and_then(|line| line.ok()).ok_or("ns-serve does not start");
        (self.unix, self.tcp) = (next()?, next()?);
        Ok(())
    }

    fn start_diod(&mut self, kind: Socket) -> Result<String> {
        let program = found("diod").ok_or("diod is not installed")?;
        let (listen, address) = match kind {
            Socket::Unix => {
                let at = self.dir.join("diod").display().to_string();
                (at.clone(), format!("unix!{at}"))
            }
            Socket::Tcp => {
                let port = free_port()?;
                (format!("127.0.0.1:{port}"), format!("tcp!127.0.0.1!{port}"))
            }
        };
        let mut command = Command::new(program);
        command.args(["-f", "-n", "-N", "-L", "/dev/null", "-l", &listen, "-e"]).arg(&self.tree);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self._servers.push(Server(child.map_err(|e| format!("diod: {e}"))?));
        let listens = || match kind {
            Socket::Unix => std::os::unix::net::UnixStream::connect(&listen).is_ok(),
            Socket::Tcp => std::net::TcpStream::connect(&listen).is_ok(),
        };
        if waited(listens) { Ok(address) } else { Err("diod does not listen".into()) }
    }

    /// By the loopback sshd of the tests, which needs root.
    fn start_sshfs(&mut self) -> Result<PathBuf> {
        let sshfs = found("sshfs").ok_or("sshfs is not installed")?;
        let helper = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shim-tests/site/sshd-local");
        if !rustix::process::geteuid().is_root() {
            return Err("sshfs: its sshd needs root".into());
        }
        let (site, mount) = (self.dir.join("sshd"), self.dir.join("sshfs"));
        fs::create_dir(&mount).map_err(|e| e.to_string())?;
        let words = [helper.as_os_str(), "start".as_ref(), "--dir".as_ref(), site.as_ref()];
        let root = ["--user".as_ref(), "root".as_ref()];
        command("sh", &[&words[..], &root].concat(), &self.dir)?;
        self.sshd = Some(helper);
        let from = format!("root@nshost:{}", self.tree.display());
        let config = site.join("ssh_config");
        let words = ["-F".as_ref(), config.as_os_str(), from.as_ref(), mount.as_ref()];
        command(&sshfs.to_string_lossy(), &words, &self.dir).map(|()| mount)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Ok(mount) = &self.sshfs {
            let _ = command("fusermount3", &["-u".as_ref(), mount.as_ref()], &self.dir);
        }
        if let Some(helper) = &self.sshd {
            let dir = self.dir.join("sshd");
            let words = [helper.as_os_str(), "stop".as_ref(), "--dir".as_ref(), dir.as_ref()];
            let _ = command("sh", &words, &self.dir);
        }
        self._servers.clear();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The program in PATH, or where daemons are.
pub(crate) fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    dirs.map(|dir| dir.join(program)).find(|file| file.is_file())
}

pub(crate) fn free_port() -> Result<u16> {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    socket.local_addr().map(|at| at.port()).map_err(|e| e.to_string())
}

pub(crate) fn waited(is: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while !is() {
        if began.elapsed() > Duration::from_secs(5) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() { copy(&path, &target)? } else { fs::copy(&path, &target).map(drop)? }
    }
    Ok(())
}
