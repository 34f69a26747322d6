//! What our servers reach, beside the least that could be done: a bare copy
//! over the same kind of socket with messages of the same size, and a bare
//! request and reply. Both in turn, round by round, so that the noise of the
//! machine falls on both; the numbers are medians of the rounds' ratios.

#![forbid(unsafe_code)]

mod carriers;
mod crowd;
#[path = "../machine.rs"]
mod machine;

use privns_ninep::client::Transport;
use privns_ninep::message::{Body, Tattach, Tlopen, Tread, Tversion, Twalk};
use privns_ninep::name::Name;
use privns_ninep::wire::{Few, Unix};
use privns_ninep::{Dialect, NOFID, NONUM, NOTAG};
use privns_servers::tls::Tls;
use privns_servers::tls::keys::{ClientKey, ServerKeys};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Size of a large message's payload.
const PAYLOAD: usize = (1 << 20) - 24;
/// Bytes of a sequential read.
const MUCH: usize = 256 << 20;
/// Requests in flight.
const WINDOW: usize = 4;
/// How often both sides are measured.
const ROUNDS: usize = 9;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A stream of whatever kind.
trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// TLS as a blocking stream.
struct Sealed(Tls);

impl Sealed {
    fn wait(&self, read: bool) -> std::io::Result<()> {
        let want = privns_ninep::client::Ready { read, write: !read };
        let waited = self.0.wait(want, Duration::from_secs(60));
        waited.map(|_| ()).map_err(|e| std::io::Error::from_raw_os_error(e.0))
    }
}

impl Read for Sealed {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.0.recv(buf) {
                Err(e) if e.0 == 11 => self.wait(true)?,
                done => return done.map_err(|e| std::io::Error::from_raw_os_error(e.0)),
            }
        }
    }
}

impl Write for Sealed {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        loop {
            match self.0.send(&[buf]) {
                Err(e) if e.0 == 11 => self.wait(false)?,
                done => return done.map_err(|e| std::io::Error::from_raw_os_error(e.0)),
            }
        }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        while privns_servers::wire::Wire::is_unsent(&self.0) {
            self.wait(false)?;
            privns_servers::wire::Wire::flush(&self.0)
                .map_err(|e| std::io::Error::from_raw_os_error(e.0))?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Unix,
    Tcp,
    Tls,
}

/// The directory in which everything happens (not in /tmp, which a row covers), and a server of it.
struct Site {
    place: PathBuf,
    /// Where the programs are.
    bin: PathBuf,
    server: Child,
    tcp: u16,
    tls: u16,
}

impl Site {
    fn new(bin: &Path) -> Outcome<Site> {
        let place = Path::new("/var/tmp").join(format!("privns-bench-{}", std::process::id()));
        std::fs::create_dir(&place)?;
        std::fs::write(place.join("big"), vec![7; MUCH])?;
        let keys = place.join("privns/tls");
        privns_servers::tls::make::make(&keys, "bench", Duration::from_secs(86_400))?;
        let unix = format!("unix!{}", place.join("socket").display());
        let listen = ["tcp!127.0.0.1!0", "tls!127.0.0.1!0", &unix];
        let mut command = Command::new(bin.join("ns-serve"));
        command.arg("dir").arg(&place).env("XDG_CONFIG_HOME", &place);
        for at in listen {
            command.args(["--listen", at]);
        }
        let mut server = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(server.stdout.take().ok_or("no output")?).lines();
        let mut port = || -> Outcome<u16> {
            let line = lines.next().ok_or("the server does not start")??;
            Ok(line.rsplit('!').next().unwrap_or_default().parse()?)
        };
        let (tcp, tls) = (port()?, port()?);
        lines.next().ok_or("the server does not start")??;
        Ok(Site { place, bin: bin.canonicalize()?, server, tcp, tls })
    }

    fn keys(&self) -> PathBuf {
        self.place.join("privns/tls")
    }

    fn dial(&self, kind: Kind) -> Outcome<Box<dyn Wire>> {
        Ok(match kind {
            Kind::Unix => Box::new(UnixStream::connect(self.place.join("socket"))?),
            Kind::Tcp => Box::new(tcp(self.tcp)?),
            Kind::Tls => Box::new(self.seal(tcp(self.tls)?)?),
        })
    }

    fn seal(&self, socket: TcpStream) -> Outcome<Sealed> {
        let key = ClientKey::find(&self.keys(), "bench")?;
        Ok(Sealed(Tls::connect(socket, &key, Duration::from_secs(10))?))
    }

    /// Two ends of a connection of a kind, without a server of ours.
    fn pair(&self, kind: Kind) -> Outcome<(Box<dyn Wire>, Box<dyn Wire>)> {
        if kind == Kind::Unix {
            let at = self.place.join("bare");
            let listener = UnixListener::bind(&at)?;
            let near = UnixStream::connect(&at)?;
            let far = listener.accept()?.0;
            std::fs::remove_file(&at)?;
            return Ok((Box::new(near), Box::new(far)));
        }
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let near = tcp(listener.local_addr()?.port())?;
        let far = listener.accept()?.0;
        far.set_nodelay(true)?;
        if kind == Kind::Tcp {
            return Ok((Box::new(near), Box::new(far)));
        }
        let keys = ServerKeys::read(&self.keys())?;
        let far = std::thread::spawn(move || Tls::accept(far, &keys, Duration::from_secs(10)));
        let near = self.seal(near)?;
        let far = far.join().map_err(|_| "the other end")??;
        Ok((Box::new(near), Box::new(Sealed(far))))
    }

    fn resident(&self) -> Outcome<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.server.id()))?;
        let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

impl Site {
    /// Processor time that the server has used, seconds.
    fn processor(&self) -> Outcome<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.server.id()))?;
        let rest = text.rsplit(") ").next().ok_or("no stat")?;
        let field = |n: usize| rest.split(' ').nth(n).and_then(|f| f.parse::<f64>().ok());
        // Ticks of 10 ms, as every Linux tells programs.
        Ok((field(11).ok_or("utime")? + field(12).ok_or("stime")?) / 100.0)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_dir_all(&self.place);
    }
}

fn tcp(port: u16) -> std::io::Result<TcpStream> {
    let socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// A client that sends what it likes, on a file that it has open as fid 1.
struct Raw(Box<dyn Wire>);

impl Raw {
    fn open(wire: Box<dyn Wire>) -> Outcome<Raw> {
        let mut raw = Raw(wire);
        raw.ask(NOTAG, &Tversion { msize: 1 << 20, version: b"9P2000.L" })?;
        let n_uname = Unix(NONUM);
        raw.ask(0, &Tattach { fid: 0, afid: NOFID, n_uname, ..Tattach::default() })?;
        let mut names = Few::default();
        names.push(Name::new(b"big"));
        raw.ask(0, &Twalk { fid: 0, newfid: 1, names })?;
        raw.ask(0, &Tlopen { fid: 1, flags: 0 })?;
        Ok(raw)
    }

    fn send<'b>(&mut self, tag: u16, body: &impl Body<'b>) -> Outcome<()> {
        let mut frame = Vec::new();
        body.frame(tag, Dialect::Linux, 0, &mut frame)?;
        self.0.write_all(&frame)?;
        Ok(self.0.flush()?)
    }

    fn ask<'b>(&mut self, tag: u16, body: &impl Body<'b>) -> Outcome<()> {
        self.send(tag, body)?;
        let mut buf = [0; 4096];
        self.reply(&mut buf)?;
        if matches!(buf[0], 7 | 107) {
            Err(format!("error in reply to {tag}").into())
        } else {
            Ok(())
        }
    }

    /// Reads a reply behind its size; how long it is.
    fn reply(&mut self, buf: &mut [u8]) -> Outcome<usize> {
        let mut head = [0; 4];
        self.0.read_exact(&mut head)?;
        let n = u32::from_le_bytes(head) as usize - 4;
        self.0.read_exact(buf.get_mut(..n).ok_or("a reply too long")?)?;
        Ok(n)
    }

    fn sequential(&mut self) -> Outcome<Duration> {
        let began = Instant::now();
        let mut buf = vec![0; 1 << 20];
        let read = |i: usize| Tread { fid: 1, offset: (i * PAYLOAD) as u64, count: PAYLOAD as u32 };
        let messages = MUCH / PAYLOAD;
        for i in 0..WINDOW {
            self.send(i as u16, &read(i))?;
        }
        for i in 0..messages {
            self.reply(&mut buf)?;
            if i + WINDOW < messages {
                self.send(i as u16, &read(i + WINDOW))?;
            }
        }
        Ok(began.elapsed())
    }

    fn random(&mut self, n: usize) -> Outcome<Duration> {
        let mut buf = vec![0; 4096 + 11];
        let mut at = 12_345u64;
        let began = Instant::now();
        for _ in 0..n {
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let offset = (at >> 20) % (MUCH as u64 - 4096);
            self.send(0, &Tread { fid: 1, offset, count: 4096 })?;
            self.0.read_exact(&mut buf)?;
        }
        Ok(began.elapsed())
    }
}

/// The same number of bytes in messages of the same size, out of memory.
fn bare_copy(near: &mut dyn Wire, far: Box<dyn Wire>) -> Outcome<Duration> {
    let messages = MUCH / PAYLOAD;
    let mut far = far;
    let writer = std::thread::spawn(move || -> std::io::Result<()> {
        let message = vec![7; PAYLOAD + 11];
        let mut go = [0; 1];
        far.read_exact(&mut go)?;
        for _ in 0..messages {
            far.write_all(&message)?;
        }
        far.flush()
    });
    let mut buf = vec![0; PAYLOAD + 11];
    let began = Instant::now();
    near.write_all(&[1])?;
    near.flush()?;
    for _ in 0..messages {
        near.read_exact(&mut buf)?;
    }
    let took = began.elapsed();
    writer.join().map_err(|_| "the writer")??;
    Ok(took)
}

fn bare_exchange(near: &mut dyn Wire, far: Box<dyn Wire>, n: usize) -> Outcome<Duration> {
    let mut far = far;
    let answerer = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut request, reply) = ([0; 23], [0; 4096 + 11]);
        for _ in 0..n {
            far.read_exact(&mut request)?;
            far.write_all(&reply)?;
        }
        Ok(())
    });
    let (request, mut reply) = ([0; 23], [0; 4096 + 11]);
    let began = Instant::now();
    for _ in 0..n {
        near.write_all(&request)?;
        near.read_exact(&mut reply)?;
    }
    let took = began.elapsed();
    answerer.join().map_err(|_| "the answerer")??;
    Ok(took)
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn row(name: &str, bare: &str, ratio: f64, wanted: &str, reached: bool) {
    let reached = if reached { "yes" } else { "**no**" };
    println!("| {name} | {bare} | {ratio:.2} | {wanted} | {reached} |");
}

fn throughput(site: &Site, kind: Kind, name: &str) -> Outcome<()> {
    let (mut ratios, mut speeds) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let ours = Raw::open(site.dial(kind)?)?.sequential()?.as_secs_f64();
        let (mut near, far) = site.pair(kind)?;
        let bare = bare_copy(&mut *near, far)?.as_secs_f64();
        ratios.push(bare / ours);
        speeds.push(MUCH as f64 / bare / 1e9);
    }
    let ratio = median(ratios);
    row(name, &format!("{:.2} GB/s", median(speeds)), ratio, "≥ 0.80", ratio >= 0.8);
    Ok(())
}

fn exchange(site: &Site, kind: Kind, name: &str) -> Outcome<()> {
    const N: usize = 20_000;
    let (mut ratios, mut times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let ours = Raw::open(site.dial(kind)?)?.random(N)?.as_secs_f64();
        let (mut near, far) = site.pair(kind)?;
        let bare = bare_exchange(&mut *near, far, N)?.as_secs_f64();
        ratios.push(ours / bare);
        times.push(bare / N as f64 * 1e6);
    }
    let ratio = median(ratios);
    row(name, &format!("{:.1} µs", median(times)), ratio, "≤ 1.30", ratio <= 1.3);
    Ok(())
}

fn run() -> Outcome<()> {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let (bin, more) = match &args[..] {
        [option, at] if option == "--idle-server" => return crowd::idle_server(Path::new(at)),
        [option, dir, more @ ..] if option == "--bin-dir" => (dir, more),
        _ => return Err(USAGE.into()),
    };
    let (travel, only) = match more {
        [] => (false, ""),
        [travel] if travel == "--travel" => (true, ""),
        [option, text] if option == "--only" => (false, text.to_str().ok_or(USAGE)?),
        _ => return Err(USAGE.into()),
    };
    let site = Site::new(Path::new(bin))?;
    let machine = machine::describe(&["openssh-server", "slurm-wlm"]);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{}; {}, {} cores, load {} before the run; Linux {}, {}; {}.\n",
        machine.date,
        machine.cpu,
        machine.cores,
        load.split(' ').next().unwrap_or_default(),
        machine.kernel,
        machine.system,
        machine.versions.join(", ")
    );
    println!("|  | bare | ratio | to reach | reached |");
    println!("|---|---:|---:|---:|---:|");
    if travel {
        carriers::rows(&site)?;
        throughput(&site, Kind::Tls, "sequential read, tls")?;
        return crowd::rows(&site);
    }
    for (kind, name) in [(Kind::Unix, "unix"), (Kind::Tcp, "tcp"), (Kind::Tls, "tls")] {
        let name = format!("sequential read, {name}");
        if name.contains(only) {
            throughput(&site, kind, &name)?;
        }
    }
    for (kind, name) in [(Kind::Unix, "unix"), (Kind::Tcp, "tcp")] {
        let name = format!("random read of 4 KiB, {name}");
        if name.contains(only) {
            exchange(&site, kind, &name)?;
        }
    }
    if "99th percentile".contains(only) { crowd::rows(&site) } else { Ok(()) }
}

const USAGE: &str = "usage: privns-bench-servers --bin-dir DIR [--travel|--only TEXT]";

fn main() {
    if let Err(e) = run() {
        eprintln!("servers: {e}");
        std::process::exit(1);
    }
}
