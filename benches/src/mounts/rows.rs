//! The rows that are measured as they are, without a delay.

use crate::column::{Least, Runner, Way, time};
use crate::peer::{Bare, Manner, Peer, Socket};
use crate::site::{MANY, Site};
use crate::{Line, Result, Settings};

/// Messages of a bare copy are as long as ours when a program reads or writes [`PIECE`] bytes, of
/// which one message has not quite room.
const MESSAGE: usize = 1 << 19;
/// What a program reads and writes at a time.
const PIECE: u64 = 1 << 20;
/// What a program reads at random places.
const PAGE: usize = 4096;
const OPENS: u64 = 1_000;
const READS: u64 = 2_000;

/// What the numbers of a row are held against.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    /// The same program on the very files.
    Native,
    /// A bare copy of as many bytes of the same file in messages of the same size.
    Copy { to_client: bool },
    /// As many bare requests and answers, which are parts of the same file or of memory.
    Exchange { of_file: bool },
}

/// One row: a request to the runner, and what it must reach.
struct Row {
    name: String,
    socket: Socket,
    request: (&'static str, &'static str, [u64; 2]),
    beside: Beside,
    /// Rounds of a pass.
    rounds: u32,
    goal: f64,
}

fn rows(settings: &Settings) -> Vec<Row> {
    let row = |name: &str, socket, request, beside, rounds, goal| {
        let name = format!("{name}, {socket}");
        Row { name, socket, request, beside, rounds, goal }
    };
    let (read, write) = (Beside::Copy { to_client: true }, Beside::Copy { to_client: false });
    let mut rows = Vec::new();
    for socket in [Socket::Unix, Socket::Tcp] {
        // On tcp the first has no goal: two of its round trips are more than eight native opens.
        let opens = if socket == Socket::Unix { 8.0 } else { f64::INFINITY };
        let ask = ("open", "small", [OPENS, 0]);
        rows.push(row("1,000 × open+read+close", socket, ask, Beside::Native, 5, opens));
        let ask = ("random", "large", [READS, 0]);
        for (name, of_file) in [
            ("random read of 4 KiB", false),
            ("random read of 4 KiB, beside an exchange that reads the file", true),
        ] {
            rows.push(row(name, socket, ask, Beside::Exchange { of_file }, 8, 1.3));
        }
        let ask = ("read", "large", [PIECE, 0]);
        rows.push(row("sequential read", socket, ask, read, 1, 0.8));
        let ask = ("write", "written", [PIECE, settings.size]);
        rows.push(row("sequential write", socket, ask, write, 1, 0.8));
    }
    rows
}

/// All runners of one kind of socket: native, then one for each of the columns.
struct Runners {
    native: Result<Runner>,
    columns: Vec<Result<Runner>>,
}

fn runners(site: &Site, socket: Socket) -> Runners {
    let start = |way: Result<Way>| way.and_then(|way| Runner::start(site, &way));
    let (ours, diod) = match socket {
        Socket::Unix => (&site.unix, &site.diod[0]),
        Socket::Tcp => (&site.tcp, &site.diod[1]),
    };
    let ways = vec![
        Ok(Way::mount(ours, "")),
        Ok(Way::mount(ours, "cache=none")),
        diod.clone().map(|address| Way::diod(&address)),
        site.sshfs.clone().map(Way::There),
    ];
    Runners {
        native: start(Ok(Way::There(site.tree.clone()))),
        columns: ways.into_iter().map(start).collect(),
    }
}

/// What one row has come to so far.
struct Taken {
    beside: Least,
    /// The same natively, where that is not what it is held against.
    native: Least,
    columns: Vec<Least>,
}

pub(crate) fn measure(settings: &Settings, site: &Site) -> Result<Vec<Line>> {
    let rows: Vec<Row> =
        rows(settings).into_iter().filter(|row| row.name.contains(&settings.only)).collect();
    let mut sockets = Vec::new();
    for socket in [Socket::Unix, Socket::Tcp] {
        let peer = Peer::start(socket, &site.dir, Some(&site.tree))?;
        let bare = peer.dial()?;
        sockets.push((socket, peer, bare, runners(site, socket)));
    }
    let fresh = || Taken {
        beside: Least::new(),
        native: Least::new(),
        columns: vec![Least::new(); crate::COLUMNS.len()],
    };
    let mut taken: Vec<Taken> = rows.iter().map(|_| fresh()).collect();
    let mut lists = Lists::default();
    for pass in 0..settings.passes {
        for (row, taken) in rows.iter().zip(&mut taken) {
            eprintln!("pass {}: {}", pass + 1, row.name);
            let found = sockets.iter_mut().find(|(socket, ..)| *socket == row.socket);
            let Some((_, _, bare, runners)) = found else { continue };
            for _ in 0..row.rounds {
                once(settings, row, taken, bare, runners);
            }
        }
        lists.take(settings, pass, &mut sockets[0].3);
    }
    let mut lines: Vec<Line> = rows.iter().zip(taken).map(|(r, t)| line(settings, r, t)).collect();
    lines.extend(lists.line());
    Ok(lines)
}

fn once(settings: &Settings, row: &Row, taken: &mut Taken, bare: &mut Bare, all: &mut Runners) {
    let (verb, name, numbers) = row.request;
    taken.beside.take(|| match row.beside {
        Beside::Native => ask(&mut all.native, verb, name, numbers),
        Beside::Copy { to_client: true } => {
            let mut better = f64::INFINITY;
            for manner in Manner::ALL {
                better = better.min(time(|| bare.receive(settings.size, MESSAGE, manner))?);
            }
            Ok(better)
        }
        Beside::Copy { to_client: false } => time(|| bare.send(settings.size, MESSAGE)),
        Beside::Exchange { of_file } => {
            let pieces = of_file.then_some(settings.size / PAGE as u64);
            time(|| bare.ask(numbers[0] as u32, PAGE, pieces))
        }
    });
    if matches!(row.beside, Beside::Copy { .. }) {
        taken.native.take(|| ask(&mut all.native, verb, name, numbers));
    }
    for (runner, least) in all.columns.iter_mut().zip(&mut taken.columns) {
        least.take(|| ask(runner, verb, name, numbers));
    }
}

fn ask(runner: &mut Result<Runner>, verb: &str, name: &str, numbers: [u64; 2]) -> Result<f64> {
    runner.as_mut().map_err(|why| why.clone())?.ask(verb, name, numbers)
}

fn line(settings: &Settings, row: &Row, taken: Taken) -> Line {
    let base = taken.beside.0.clone();
    let gib = settings.size as f64 / f64::from(1 << 30);
    let beside = match (&base, row.beside) {
        (Err(why), _) => why.clone(),
        (Ok(s), Beside::Native) => format!("native {:.2} µs", s / row.request.2[0] as f64 * 1e6),
        (Ok(s), Beside::Copy { .. }) => {
            let native = taken.native.0.as_ref().map_or(f64::NAN, |s| gib / s);
            format!("bare copy {:.2} GiB/s, native {native:.2}", gib / s)
        }
        (Ok(s), Beside::Exchange { .. }) => {
            format!("bare exchange {:.2} µs", s / row.request.2[0] as f64 * 1e6)
        }
    };
    let faster = matches!(row.beside, Beside::Copy { .. });
    let ratio = |own: f64, base: f64| if faster { base / own } else { own / base };
    let cells: Vec<_> = taken
        .columns
        .into_iter()
        .map(|least| least.0.and_then(|own| base.clone().map(|base| ratio(own, base))))
        .collect();
    let (goal, reached) = match (&cells[0], row.goal) {
        (_, goal) if goal.is_infinite() => (String::new(), None),
        (cell, goal) if faster => {
            (format!("≥ {goal} of bare"), Some(cell.as_ref().is_ok_and(|r| *r >= goal)))
        }
        (cell, goal) => (format!("≤ {goal} ×"), Some(cell.as_ref().is_ok_and(|r| *r <= goal))),
    };
    Line { name: row.name.clone(), beside, cells, goal, reached }
}

const LISTING: &str = "listing of 10,000 with attributes, beside names alone, unix";

/// Listing many names, with their attributes and without: how many times faster the latter is.
struct Lists {
    native: [Least; 2],
    columns: Vec<[Least; 2]>,
}

impl Default for Lists {
    fn default() -> Lists {
        let pair = || [Least::new(), Least::new()];
        Lists { native: pair(), columns: (0..crate::COLUMNS.len()).map(|_| pair()).collect() }
    }
}

impl Lists {
    fn take(&mut self, settings: &Settings, pass: u32, all: &mut Runners) {
        if !LISTING.contains(&settings.only) {
            return;
        }
        eprintln!("pass {}: {LISTING}", pass + 1);
        for _ in 0..2 {
            for (verb, at) in [("list", 0), ("stat", 1)] {
                self.native[at].take(|| ask(&mut all.native, verb, "many", [0; 2]));
                for (runner, pair) in all.columns.iter_mut().zip(&mut self.columns) {
                    pair[at].take(|| ask(runner, verb, "many", [0; 2]));
                }
            }
        }
    }

    fn line(self) -> Option<Line> {
        let native = self.native[0].0.clone().ok().filter(|t| t.is_finite())?;
        let cells: Vec<_> = self
            .columns
            .into_iter()
            .map(|[names, all]| names.0.and_then(|names| all.0.map(|all| all / names)))
            .collect();
        let reached = cells[0].as_ref().is_ok_and(|ratio| *ratio >= 5.0);
        Some(Line {
            name: LISTING.into(),
            beside: format!("native {:.0} ns a name", native / MANY as f64 * 1e9),
            cells,
            goal: String::from("≥ 5 × faster"),
            reached: Some(reached),
        })
    }
}
