//! What the 9P client costs, beside a bare exchange of as many bytes in messages of the same
//! size over the same kind of socket. Both sides take turns, round for round; what counts is the
//! best round of each.

#![forbid(unsafe_code)]

mod delay;
mod peer;
mod plain;

use peer::{Manner, Peer, Socket};
use privns_files::wire::{self, Wire};
use privns_host::signals;
use privns_ninep::client::window::{ReadAhead, Window};
use privns_ninep::client::{Fid, Opened, Options, flags};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, String>;

const HELP: &str = "\
privns-bench-wire: the cost of the 9P client, beside bare sockets

  --bin-dir DIR   where ns-serve is (default: beside this program)
  --base DIR      where to put the file that is served (default: /dev/shm)
  --size MIB      size of that file (default: 1024)
  --only TEXT     only the rows whose name contains TEXT
  --rounds N      rounds for each number (default: 5)
  --json          print JSON instead of a Markdown table
";

struct Settings {
    bin_dir: PathBuf,
    base: PathBuf,
    size: u64,
    rounds: u32,
    only: String,
    json: bool,
}

/// One number and what it is held against.
struct Row {
    name: String,
    ours: f64,
    bare: f64,
    unit: &'static str,
    goal: String,
    reached: bool,
}

fn main() -> ExitCode {
    // The other end of a bare exchange is this program too.
    if let Some(end) = peer::asked_for() {
        return end;
    }
    match settings().and_then(|wanted| wanted.map_or(Ok(()), |s| run(&s))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("privns-bench-wire: {why}");
            ExitCode::FAILURE
        }
    }
}

fn settings() -> Result<Option<Settings>> {
    use lexopt::prelude::*;
    let read = || -> std::result::Result<Option<Settings>, lexopt::Error> {
        let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(PathBuf::from));
        let mut s = Settings {
            bin_dir: beside.unwrap_or_default(),
            base: PathBuf::from("/dev/shm"),
            size: 1024 << 20,
            rounds: 5,
            only: String::new(),
            json: false,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("bin-dir") => s.bin_dir = parser.value()?.into(),
                Long("base") => s.base = parser.value()?.into(),
                Long("size") => s.size = parser.value()?.parse::<u64>()? << 20,
                Long("rounds") => s.rounds = parser.value()?.parse()?,
                Long("only") => s.only = parser.value()?.string()?,
                Long("json") => s.json = true,
                Short('h') | Long("help") => {
                    print!("{HELP}");
                    return Ok(None);
                }
                other => return Err(other.unexpected()),
            }
        }
        Ok(Some(s))
    };
    read().map_err(|e| e.to_string())
}

fn run(settings: &Settings) -> Result<()> {
    let dir = settings.base.join(format!("privns-wire-{}", std::process::id()));
    std::fs::create_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let rows = measure(settings, &dir);
    let _ = std::fs::remove_dir_all(&dir);
    print(&rows?, settings.json);
    Ok(())
}

fn measure(settings: &Settings, dir: &Path) -> Result<Vec<Row>> {
    let large = dir.join("large");
    let file = std::fs::File::create(&large).map_err(|e| e.to_string())?;
    let piece = vec![7u8; 1 << 20];
    for _ in 0..settings.size >> 20 {
        std::io::Write::write_all(&mut &file, &piece).map_err(|e| e.to_string())?;
    }
    let mut rows = Vec::new();
    for kind in [Socket::Unix, Socket::Tcp] {
        let server = Server::start(settings, dir, kind)?;
        let peer = Peer::start(kind, dir, Some(dir))?;
        exchange(settings, &kind.to_string(), &server, &peer, &mut rows)?;
    }
    let ready = Server::ready(settings, dir)?;
    let peer = Peer::start(Socket::Unix, dir, None)?;
    exchange(settings, "unix, client alone", &ready, &peer, &mut rows)?;
    if DELAYED.contains(&settings.only) {
        let server = Server::start(settings, dir, Socket::Unix)?;
        rows.push(delayed(settings, dir, &server)?);
    }
    Ok(rows)
}

/// `ns-serve dir` of our directory.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(settings: &Settings, dir: &Path, kind: Socket) -> Result<Server> {
        let listen = match kind {
            Socket::Unix => format!("unix!{}", dir.join("socket").display()),
            Socket::Tcp => String::from("tcp!127.0.0.1!0"),
        };
        let _ = std::fs::remove_file(dir.join("socket"));
        let program = settings.bin_dir.join("ns-serve");
        let child = Command::new(&program)
            .arg("dir")
            .arg(dir)
            .args(["--listen", &listen])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}", program.display()))?;
        Server::of(child)
    }

    /// A server that has nothing to do ([`plain`]): this program once more.
    fn ready(settings: &Settings, dir: &Path) -> Result<Server> {
        let exe = std::env::current_exe().map_err(|e| e.to_string())?;
        let size = settings.size.to_string();
        let child = Command::new(exe)
            .args(["--peer", "ready"])
            .arg(dir.join("ready"))
            .arg(size)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        Server::of(child)
    }

    /// Reads where it listens.
    fn of(mut child: Child) -> Result<Server> {
        let mut address = String::new();
        let output = child.stdout.take().ok_or("no output of a server")?;
        BufReader::new(output).read_line(&mut address).map_err(|e| e.to_string())?;
        match address.split_whitespace().find(|word| word.contains('!')) {
            Some(address) => Ok(Server { child, address: address.into() }),
            None => Err(format!("a server says {address:?}")),
        }
    }

    fn dial(&self, window: Window, msize: u32) -> Result<(Wire, Fid)> {
        dial(&self.address, window, msize)
    }
}

fn dial(address: &str, window: Window, msize: u32) -> Result<(Wire, Fid)> {
    let options = Options { window, msize, ..Options::default() };
    let wire = wire::dial(address.as_bytes(), &options).map_err(|e| format!("{address}: {e}"))?;
    let user = std::env::var("USER").unwrap_or_else(|_| String::from("root"));
    let uid = rustix::process::geteuid().as_raw();
    let (root, _) = wire.attach(user.as_bytes(), uid, b"").map_err(|e| e.to_string())?;
    Ok((wire, root))
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn open(wire: &Wire, root: &Fid, how: u32) -> Result<Opened> {
    wire.open_at(root, &[b"large"], how, &mut []).map_err(|e| format!("large: {e}"))
}

fn time(act: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let began = Instant::now();
    act().map(|()| began.elapsed())
}

/// The best of several rounds of each, in turn.
fn compare(
    rounds: u32,
    mut ours: impl FnMut() -> Result<()>,
    mut bare: impl FnMut() -> Result<()>,
) -> Result<(f64, f64)> {
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..rounds {
        best.0 = best.0.min(time(&mut ours)?);
        best.1 = best.1.min(time(&mut bare)?);
    }
    Ok((best.0.as_secs_f64(), best.1.as_secs_f64()))
}

fn exchange(
    settings: &Settings,
    kind: &str,
    server: &Server,
    peer: &Peer,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let (wire, root) = server.dial(Window::default(), 1 << 20)?;
    let mut bare = peer.dial()?;
    let message = wire.largest_payload() as usize;
    let mut buf = vec![7u8; message];
    let gib = settings.size as f64 / f64::from(1 << 30);

    let name = format!("sequential read, {kind}");
    if name.contains(&settings.only) {
        // Both manners in turn: the best round is the better one's.
        let mut manners = Manner::ALL.into_iter().cycle();
        let (ours, base) = compare(
            settings.rounds.max(2),
            || read_all(&wire, &root, settings.size, &mut buf),
            || bare.receive(settings.size, message, manners.next().unwrap_or(Manner::Sent)),
        )?;
        rows.push(rate(name, gib / ours, gib / base));
    }

    let name = format!("sequential write, {kind}");
    if name.contains(&settings.only) {
        let (ours, base) = compare(
            settings.rounds,
            || write_all(&wire, &root, settings.size, &buf),
            || bare.send(settings.size, message),
        )?;
        rows.push(rate(name, gib / ours, gib / base));
    }

    let name = format!("4 KiB random read, {kind}");
    if name.contains(&settings.only) {
        let file = open(&wire, &root, 0)?;
        let (ours, base) = compare(
            settings.rounds,
            || read_randomly(&wire, &file, settings.size / 4096),
            || bare.ask(READS, 4096, None),
        )?;
        wire.close(file.fid).map_err(|e| e.to_string())?;
        let (ours, base) = (ours / f64::from(READS) * 1e6, base / f64::from(READS) * 1e6);
        let goal = String::from("≤ 1.3 of a bare request and answer");
        rows.push(Row { name, ours, bare: base, unit: "µs", goal, reached: ours / base <= 1.3 });
    }
    Ok(())
}

/// Random reads in one round.
const READS: u32 = 20_000;

fn read_randomly(wire: &Wire, file: &Opened, pages: u64) -> Result<()> {
    let mut buf = [0; 4096];
    let mut page = 1u64;
    for _ in 0..READS {
        page = page.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let _calm = signals::calm();
        let at = (page >> 33) % pages * 4096;
        let n = wire.read(file, at, &mut buf).map_err(|e| e.to_string())?;
        (n == buf.len()).then_some(()).ok_or("a short read")?;
    }
    Ok(())
}

fn rate(name: String, ours: f64, bare: f64) -> Row {
    let reached = ours / bare >= 0.8;
    Row { name, ours, bare, unit: "GiB/s", goal: String::from("≥ 0.8 of bare"), reached }
}

fn read_all(wire: &Wire, root: &Fid, size: u64, buf: &mut [u8]) -> Result<()> {
    let file = open(wire, root, 0)?;
    let mut ahead = ReadAhead::new(file.attr.map(|a| a.size));
    let mut at = 0;
    while at < size {
        let _calm = signals::calm();
        match ahead.read(wire, &file, at, buf).map_err(|e| e.to_string())? {
            0 => return Err(format!("the file ends at {at}")),
            n => at += n as u64,
        }
    }
    ahead.forget(wire);
    wire.close(file.fid).map_err(|e| e.to_string())
}

fn write_all(wire: &Wire, root: &Fid, size: u64, buf: &[u8]) -> Result<()> {
    let file = open(wire, root, flags::RDWR)?;
    let mut at = 0;
    while at < size {
        let _calm = signals::calm();
        let rest = buf.len().min((size - at) as usize);
        at += wire.write_behind(&file, at, &buf[..rest]).map_err(|e| e.to_string())? as u64;
    }
    wire.close(file.fid).map_err(|e| e.to_string())
}

const DELAYED: &str = "8 MiB sequential read behind 5 ms, beside window 1";

/// 8 MiB behind a delay of 5 ms each way, with a window of one request and with the default.
fn delayed(settings: &Settings, dir: &Path, server: &Server) -> Result<Row> {
    const MESSAGE: u32 = 64 << 10;
    let away = delay::Proxy::start(dir, "far", &server.address, Duration::from_millis(5))?;
    let size = settings.size.min(8 << 20);
    let once = |window| -> Result<()> {
        let (wire, root) = dial(&away.address, window, MESSAGE)?;
        read_all(&wire, &root, size, &mut vec![0u8; MESSAGE as usize])
    };
    let (ours, one) =
        compare(settings.rounds.min(3), || once(Window::default()), || once(Window::new(1)))?;
    Ok(Row {
        name: String::from(DELAYED),
        ours: ours * 1e3,
        bare: one * 1e3,
        unit: "ms",
        goal: String::from("≥ 5 × faster"),
        reached: one / ours >= 5.0,
    })
}

fn print(rows: &[Row], json: bool) {
    if json {
        let rows: Vec<_> = rows
            .iter()
            .map(|r| {
                serde_json::json!({
                    "name": r.name, "ours": r.ours, "bare": r.bare, "unit": r.unit,
                    "goal": r.goal, "reached": r.reached,
                })
            })
            .collect();
        println!("{}", serde_json::json!({ "version": 1, "rows": rows }));
        return;
    }
    println!("|  | privns | bare | ratio | to reach | reached |\n|---|---:|---:|---:|---:|---:|");
    for r in rows {
        let reached = if r.reached { "yes" } else { "**no**" };
        println!(
            "| {} | {:.2} {unit} | {:.2} {unit} | {:.2} | {} | {reached} |",
            r.name,
            r.ours,
            r.bare,
            r.ours / r.bare,
            r.goal,
            unit = r.unit
        );
    }
}
