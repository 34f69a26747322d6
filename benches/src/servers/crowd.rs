//! Many clients at one server, paced, by one generator: one thread that waits in epoll(7).
//!
//! - The load is open: each connection has a plan, and a request goes out when it is due, whether
//!   the one before has been answered or not. A server that stands still is not spared the requests
//!   that fall due meanwhile, so nothing is left out of the numbers (no coordinated omission).
//! - Pauses are as exact as the clock: epoll_pwait2(2), where epoll_wait(2) counts in milliseconds,
//!   and would let fifty requests fall due and go out together.
//! - A request is timed from when it went out. How late that was by the plan is the generator's own
//!   fault, or the machine's, and is counted apart ([`Times::late`]).
//! - What the server can do is measured with the same generator and as many connections, each of which
//!   asks again as soon as it is answered.
//! - The same load on a server that does nothing ([`idle_server`]) says what the generator, the kernel
//!   and the machine take for themselves.

use crate::{Outcome, Raw, Site};
use privns_ninep::Dialect;
use privns_ninep::message::{Body, Tread};
use rustix::event::{Timespec, epoll};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes of a request, and of the reply with its 4 KiB.
const REQUEST: usize = 23;
const REPLY: usize = 4096 + 11;
/// Clients that ask.
pub(crate) const BUSY: usize = 50;
/// Clients that do not.
const IDLE: usize = 500;
/// How often everything is measured, in turn, and for how long each time.
const ROUNDS: usize = 7;
const SPAN: Duration = Duration::from_secs(2);

/// A connection with an open file.
struct Client {
    socket: UnixStream,
    /// When the requests went out, or would have if the socket had had room, that are not answered.
    sent: VecDeque<Instant>,
    /// Requests that the socket had no room for.
    kept: VecDeque<Vec<u8>>,
    /// Bytes of the reply that is coming in.
    got: usize,
    seed: u64,
}

/// What a load came to.
#[derive(Default)]
struct Times {
    took: Vec<Duration>,
    late: Vec<Duration>,
    span: Duration,
}

impl Times {
    /// The 99th percentile, µs.
    fn worst(times: &mut [Duration]) -> f64 {
        times.sort();
        times.get(times.len() * 99 / 100).map_or(0.0, |t| t.as_secs_f64() * 1e6)
    }
}

/// How requests follow on each other.
#[derive(Clone, Copy)]
enum Pace {
    /// So long after each other, on each connection.
    Every(Duration),
    /// As soon as the last was answered.
    AtOnce,
}

impl Client {
    fn new(socket: UnixStream, number: usize) -> Outcome<Client> {
        socket.set_nonblocking(true)?;
        let (sent, kept) = (VecDeque::new(), VecDeque::new());
        Ok(Client { socket, sent, kept, got: 0, seed: number as u64 })
    }

    fn ask(&mut self) -> Outcome<()> {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let offset = (self.seed >> 20) % (crate::MUCH as u64 - 4096);
        let mut frame = Vec::with_capacity(REQUEST);
        let tag = (self.seed >> 48) as u16 & 0x7fff;
        Tread { fid: 1, offset, count: 4096 }.frame(tag, Dialect::Linux, 0, &mut frame)?;
        self.sent.push_back(Instant::now());
        self.kept.push_back(frame);
        self.flush()
    }

    fn flush(&mut self) -> Outcome<()> {
        while let Some(frame) = self.kept.front() {
            match self.socket.write(frame) {
                Ok(REQUEST) => drop(self.kept.pop_front()),
                Ok(_) => return Err("a request went out in part".into()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Takes what has come, and gives when that was asked which is now answered.
    fn hear(&mut self, buf: &mut [u8]) -> Outcome<Option<Instant>> {
        match self.socket.read(&mut buf[..REPLY - self.got]) {
            Ok(0) => Err("the server has hung up".into()),
            Ok(n) => {
                self.got += n;
                if self.got < REPLY {
                    return Ok(None);
                }
                self.got = 0;
                self.flush()?;
                Ok(Some(self.sent.pop_front().ok_or("an answer to nothing")?))
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

/// Lets `clients` ask for as long as [`SPAN`].
fn load(clients: &mut [Client], pace: Pace) -> Outcome<Times> {
    let queue: OwnedFd = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (i, client) in clients.iter().enumerate() {
        let data = epoll::EventData::new_u64(i as u64);
        epoll::add(&queue, &client.socket, data, epoll::EventFlags::IN)?;
    }
    let (mut times, mut buf) = (Times::default(), vec![0; REPLY]);
    let began = Instant::now();
    let end = began + SPAN;
    // When each is due, in that order.
    let mut due: VecDeque<(Instant, usize)> = VecDeque::new();
    match pace {
        Pace::Every(pause) => {
            // Not all at once.
            let start = |i| began + pause * i as u32 / clients.len() as u32;
            due.extend((0..clients.len()).map(|i| (start(i), i)));
        }
        Pace::AtOnce => clients.iter_mut().try_for_each(Client::ask)?,
    }
    let mut events = Vec::with_capacity(2 * clients.len());
    loop {
        let now = Instant::now();
        if now >= end && clients.iter().all(|c| c.sent.is_empty()) {
            break;
        }
        while let (Some(&(when, i)), Pace::Every(pause)) = (due.front(), pace) {
            if when > now || when >= end {
                break;
            }
            due.pop_front();
            due.push_back((when + pause, i));
            times.late.push(when.elapsed());
            clients[i].ask()?;
        }
        let next = due.front().map_or(end, |(when, _)| (*when).min(end));
        let now = Instant::now();
        // After the end only answers are waited for.
        let left = if now < end { next.saturating_duration_since(now) } else { SPAN };
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        events.clear();
        epoll::wait(&queue, rustix::buffer::spare_capacity(&mut events), Some(&left))?;
        for event in &events {
            let i = event.data.u64() as usize;
            if let Some(asked) = clients[i].hear(&mut buf)? {
                times.took.push(asked.elapsed());
                if matches!(pace, Pace::AtOnce) && Instant::now() < end {
                    clients[i].ask()?;
                }
            }
        }
        if now >= end && events.is_empty() {
            return Err("no answer in time".into());
        }
    }
    times.span = began.elapsed();
    Ok(times)
}

/// A server that has nothing to do: this program once more.
struct Nothing {
    child: Child,
    at: PathBuf,
}

impl Nothing {
    fn start(site: &Site) -> Outcome<Nothing> {
        let at = site.place.join("nothing");
        let child = Command::new(std::env::current_exe()?)
            .arg("--idle-server")
            .arg(&at)
            .stdin(Stdio::null())
            .spawn()?;
        let this = Nothing { child, at };
        let began = Instant::now();
        while UnixStream::connect(&this.at).is_err() {
            if began.elapsed() > Duration::from_secs(5) {
                return Err("the other server does not start".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(this)
    }
}

impl Drop for Nothing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers every request with the same reply, one thread a connection.
pub(crate) fn idle_server(at: &Path) -> Outcome<()> {
    let listener = UnixListener::bind(at)?;
    for socket in listener.incoming() {
        let mut socket = socket?;
        std::thread::Builder::new().stack_size(64 << 10).spawn(move || {
            let (mut request, reply) = ([0; REQUEST], vec![0; REPLY]);
            while socket.read_exact(&mut request).is_ok() && socket.write_all(&reply).is_ok() {}
        })?;
    }
    Ok(())
}

fn ours(site: &Site, number: usize) -> Outcome<Client> {
    let socket = UnixStream::connect(site.place.join("socket"))?;
    Raw::open(Box::new(socket.try_clone()?))?;
    Client::new(socket, number)
}

fn bare(nothing: &Nothing, number: usize) -> Outcome<Client> {
    Client::new(UnixStream::connect(&nothing.at)?, number)
}

/// Clients of our server, or of the one that does nothing: many, and one.
struct Sides {
    many: Vec<Client>,
    one: Vec<Client>,
}

/// What the rounds came to: the 99th percentiles of one and of many, µs, how much more it is of many,
/// and how late the generator was, µs; medians.
struct Tail {
    one: f64,
    many: f64,
    ratio: f64,
    late: f64,
}

impl Sides {
    fn new(connect: impl Fn(usize) -> Outcome<Client>) -> Outcome<Sides> {
        let many = (0..BUSY).map(&connect).collect::<Outcome<_>>()?;
        Ok(Sides { many, one: vec![connect(BUSY)?] })
    }
}

/// Measures both servers in turn.
fn rounds(ours: &mut Sides, bare: &mut Sides, pace: Pace) -> Outcome<[Tail; 2]> {
    let mut told = [(); 2].map(|()| [(); 4].map(|()| Vec::new()));
    for _ in 0..ROUNDS {
        for (side, told) in [&mut *ours, &mut *bare].into_iter().zip(&mut told) {
            let (mut alone, mut crowd) = (load(&mut side.one, pace)?, load(&mut side.many, pace)?);
            let (one, many) = (Times::worst(&mut alone.took), Times::worst(&mut crowd.took));
            let round = [one, many, many / one, Times::worst(&mut crowd.late)];
            round.into_iter().zip(told).for_each(|(number, all)| all.push(number));
        }
    }
    Ok(told.map(|numbers| {
        let [one, many, ratio, late] = numbers.map(crate::median);
        Tail { one, many, ratio, late }
    }))
}

/// The rows about many clients.
pub(crate) fn rows(site: &Site) -> Outcome<()> {
    // Timers are as exact as the clock has them.
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    let before = site.resident()?;
    let idle: Vec<Raw> =
        (0..IDLE).map(|_| Raw::open(site.dial(crate::Kind::Unix)?)).collect::<Outcome<_>>()?;
    // Buffers are given back after 5 seconds of silence.
    std::thread::sleep(Duration::from_secs(7));
    let each = site.resident()?.saturating_sub(before) as f64 / IDLE as f64;
    crate::row("memory of an idle connection, KiB", "–", each, "≤ 64", each <= 64.0);

    let nothing = Nothing::start(site)?;
    let mut served = Sides::new(|number| ours(site, number))?;
    let mut bare = Sides::new(|number| self::bare(&nothing, number))?;
    let (mut rates, spent) = (Vec::new(), site.processor()?);
    for _ in 0..3 {
        let all = load(&mut served.many, Pace::AtOnce)?;
        rates.push(all.took.len() as f64 / all.span.as_secs_f64());
    }
    let share = (site.processor()? - spent) / (3.0 * SPAN.as_secs_f64());
    let capacity = crate::median(rates);
    let pace = Pace::Every(Duration::from_secs_f64(BUSY as f64 / (capacity * 0.3)));
    let [ours, bare] = rounds(&mut served, &mut bare, pace)?;
    drop(idle);
    let name = format!(
        "99th percentile, {BUSY} paced at {:.0}/s of {capacity:.0} (server at {share:.1} processors), {IDLE} idle: {:.0} µs, generator late {:.0} µs",
        capacity * 0.3,
        ours.many,
        ours.late,
    );
    let alone = format!("{:.0} µs alone", ours.one);
    crate::row(&name, &alone, ours.ratio, "≤ 3.00", ours.ratio <= 3.0);
    println!("| the same at a server that does nothing |  | {:.2} |  |  |", bare.ratio);
    Ok(())
}
