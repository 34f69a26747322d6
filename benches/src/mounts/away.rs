//! Behind a proxy that adds 5 ms each way. What counts there is how often one waits: times are
//! shown in round trips.

use crate::column::{Least, Runner, Way, timed};
use crate::delay::Proxy;
use crate::site::{SOME, Site};
use crate::{COLUMNS, Line, Result, Settings};
use std::ffi::OsStr;
use std::time::Duration;

const EACH_WAY: Duration = Duration::from_millis(5);
const ROUND_TRIP: f64 = 0.010;
/// How often something is done in one request.
const TIMES: u64 = 20;
/// The message size of the row about windows: 64 KiB, which are read at a time, and 24 bytes that
/// go with them. With 65536 one read would take two requests, one after the other.
const SMALL: &str = "msize=65560";
const SINGLE: &str = "msize=65560,window=1";

const OPEN: &str = "open+read+close, 5 ms away, round trips";
const CREATE: &str = "create+write+close, 5 ms away, round trips";
const FIND: &str = "find -ls of 1,000, 5 ms away, round trips";
const WINDOW: &str = "8 MiB sequential read, 5 ms away, beside window 1";

pub(crate) fn measure(settings: &Settings, site: &Site) -> Result<Vec<Line>> {
    let wanted = [OPEN, CREATE, FIND, WINDOW].iter().any(|name| name.contains(&settings.only));
    if !wanted {
        return Ok(Vec::new());
    }
    let ours = Proxy::start(&site.dir, "far", &site.unix, EACH_WAY)?;
    let diod = site.diod[0].clone();
    let diod = diod.and_then(|to| Proxy::start(&site.dir, "far-diod", &to, EACH_WAY));
    let ways = [
        Ok(Way::mount(&ours.address, "")),
        Ok(Way::mount(&ours.address, "cache=none")),
        diod.as_ref().map(|proxy| Way::diod(&proxy.address)).map_err(Clone::clone),
    ];
    eprintln!("5 ms away");
    let mut lines = vec![
        trips(site, &ways, OPEN, ("open", "small", TIMES), TIMES, [1.0, 3.0]),
        trips(site, &ways, CREATE, ("create", "new", TIMES), TIMES, [2.0, f64::INFINITY]),
        find(site, &ways),
    ];
    lines.push(window(settings, site, &ours.address));
    Ok(lines)
}

/// Round trips of one of `times`; the goals are ours and diod's.
fn trips(
    site: &Site,
    ways: &[Result<Way>],
    name: &str,
    (verb, at, count): (&str, &str, u64),
    times: u64,
    [goal, goal_of_diod]: [f64; 2],
) -> Line {
    let cells = ways.iter().map(|way| {
        let mut runner = Runner::start(site, way.as_ref().map_err(Clone::clone)?)?;
        // The first connects.
        runner.ask(verb, at, [1, 0])?;
        let mut least = Least::new();
        (0..3).for_each(|_| least.take(|| runner.ask(verb, at, [count, 0])));
        least.0.map(|time| time / times as f64 / ROUND_TRIP)
    });
    let mut cells: Vec<Result<f64>> = cells.collect();
    // Half a trip is time in which nobody waits for the wire.
    let within = |cell: &Result<f64>, goal: f64| cell.as_ref().is_ok_and(|n| n.round() <= goal);
    let diod = cells[2].is_err() || within(&cells[2], goal_of_diod);
    let reached = Some(within(&cells[0], goal) && diod);
    cells.resize(COLUMNS.len(), Err(String::new()));
    let goal = match goal_of_diod {
        g if g.is_finite() => format!("≤ {goal}; diod ≤ {g}"),
        _ => format!("≤ {goal}"),
    };
    Line { name: name.into(), beside: String::new(), cells, goal, reached }
}

/// With all that the program does before and after: connecting, attaching, ending.
fn find(site: &Site, ways: &[Result<Way>]) -> Line {
    let dir = site.at.join("some");
    let words = ["find".as_ref(), dir.as_os_str(), OsStr::new("-ls")];
    let mut cells: Vec<Result<f64>> = ways
        .iter()
        .map(|way| {
            let mut least = Least::new();
            let way = way.as_ref().map_err(Clone::clone)?;
            (0..5).for_each(|_| least.take(|| timed(&mut way.command(site, &words))));
            least.0.map(|time| time / ROUND_TRIP)
        })
        .collect();
    let reached = Some(cells[0].as_ref().is_ok_and(|n| *n <= 20.5));
    cells.resize(COLUMNS.len(), Err(String::new()));
    let beside = format!("{SOME} names");
    Line { name: FIND.into(), beside, cells, goal: String::from("≤ 20"), reached }
}

fn window(settings: &Settings, site: &Site, address: &str) -> Line {
    let once = |options| {
        let mut runner = Runner::start(site, &Way::mount(address, options))?;
        let mut least = Least::new();
        let rounds = if settings.quick { 1 } else { 2 };
        (0..rounds).for_each(|_| least.take(|| runner.ask("read", "eight", [65_536, 0])));
        least.0
    };
    let (single, open) = (once(SINGLE), once(SMALL));
    let ratio = open.and_then(|open| single.clone().map(|single| single / open));
    let reached = Some(ratio.as_ref().is_ok_and(|ratio| *ratio >= 5.0));
    let beside = single.map_or_else(|why| why, |s| format!("window 1 {:.0} ms", s * 1e3));
    let mut cells = vec![ratio];
    cells.resize(COLUMNS.len(), Err(String::new()));
    Line { name: WINDOW.into(), beside, cells, goal: String::from("≥ 5 × faster"), reached }
}
