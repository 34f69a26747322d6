//! Reading ahead, and how much is under way at once.
//!
//! [`ReadAhead`] is what a reader of one open file keeps from one call to the
//! next. Whoever has it reads alone; it is moved about, not locked. It ends
//! with [`ReadAhead::forget`].

use super::data::{Part, Rest};
use super::{Client, Monitor, Opened, Pending, State, Transport};
use crate::{Errno, Result};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

/// Bytes under way at most.
const MOST: usize = 8 << 20;
/// Requests under way at most: below the number of tags, so that others get
/// theirs.
const REQUESTS: usize = 128;
/// Requests under way where nothing is known of delay and rate.
const FEW: usize = 4;
/// Readers who ask for less at a time are given it out of memory of ours; the
/// others fetch what they want from the socket themselves.
const LEAST: usize = 64 << 10;
/// Such memory, and the largest request on behalf of those readers.
const ASIDE: usize = 256 << 10;
/// Requests for more than one piece of a reader begin and end at such places:
/// pages are copied fastest whole.
const PAGE: usize = 4096;

/// How many requests of one sequential file are under way at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Window(u32);

impl Window {
    /// So many requests; 0: as many as delay and rate ask for. 1: nothing is
    /// read ahead, and every write waits for its answer.
    #[must_use]
    pub const fn new(requests: u32) -> Self {
        Window(requests)
    }

    /// Requests of `size` bytes, of a file that came at `rate` bytes a second.
    fn requests(self, size: usize, delay: Duration, rate: u64) -> usize {
        let most = (MOST / size.max(1)).clamp(1, REQUESTS);
        match self.0 {
            0 => {
                // Twice what fits on the way, since what is measured is what
                // the last window let through; and one at either end.
                let on_the_way = u128::from(rate) * delay.as_nanos() / 1_000_000_000;
                let requests = 2 * on_the_way / size.max(1) as u128 + 2;
                requests.clamp(FEW.min(most) as u128, most as u128) as usize
            }
            n => (n as usize).min(most),
        }
    }

    /// Requests and bytes of writes that may be unanswered.
    pub(super) fn written(self, _delay: Duration) -> (u32, usize) {
        match self.0 {
            0 => (REQUESTS as u32, MOST),
            n => (n.min(REQUESTS as u32), MOST),
        }
    }

    const fn is_single(self) -> bool {
        self.0 == 1
    }
}

/// The largest of as few equal pieces of `len` bytes as are no longer than
/// `most`: the last of them is not a few bytes.
pub(super) fn even(len: usize, most: usize) -> usize {
    let piece = len.div_ceil(len.div_ceil(most.max(1)).max(1));
    piece.next_multiple_of(PAGE).min(most)
}

/// A request under way, or what is left of its answer.
#[derive(Debug)]
struct Flight {
    at: u64,
    len: usize,
    /// Its answer has begun, and the file does not go on behind that.
    last: bool,
    pending: Pending,
}

/// What was read and not taken yet.
#[derive(Debug, Default)]
struct Aside {
    memory: Vec<u8>,
    /// Where in `memory` it is.
    from: usize,
    to: usize,
}

/// Reads one file, ahead of a reader that goes from one end to the other.
#[derive(Debug)]
pub struct ReadAhead {
    /// Where a sequential reader goes on.
    next: u64,
    /// Calls that went on where the last one had ended.
    run: u32,
    /// Requests under way, each behind the other.
    flights: VecDeque<Flight>,
    /// What lies before them, from `next` on.
    aside: Aside,
    /// Bytes that the reader wants at a time.
    piece: usize,
    /// Nothing is read ahead beyond this place: the file's end as it was last
    /// known.
    end: u64,
    /// Whose requests these are.
    serial: u64,
    /// Bytes that came, and since when; zero: nothing was measured yet.
    came: u64,
    since: Duration,
    /// Bytes a second, as last measured.
    rate: u64,
}

impl ReadAhead {
    /// For a file of which it is known, if it is, how long it was.
    #[must_use]
    pub const fn new(size: Option<u64>) -> Self {
        ReadAhead {
            next: 0,
            run: 0,
            flights: VecDeque::new(),
            aside: Aside { memory: Vec::new(), from: 0, to: 0 },
            piece: 0,
            end: match size {
                Some(size) => size,
                None => u64::MAX,
            },
            serial: 0,
            came: 0,
            since: Duration::ZERO,
            rate: 0,
        }
    }

    /// Whether something is here, or under way, that was not asked for yet.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        !self.flights.is_empty() || self.aside.from < self.aside.to
    }

    /// Forgets what is here and gives up what is under way: before the value
    /// is dropped, and when the file may have changed.
    pub fn forget<T: Transport, M: Monitor<State>>(&mut self, client: &Client<T, M>) {
        if !self.is_ahead() {
            return;
        }
        self.aside = Aside::default();
        for flight in core::mem::take(&mut self.flights) {
            // The requests of a connection that is gone are gone with it.
            match self.serial == client.serial {
                true if client.agreed.ours => client.abandon(flight.pending),
                // Nothing is changed by what was not waited for, and diod
                // 1.0.24 ends with SIGSEGV on some flushes.
                true => client.desert(flight.pending),
                false => {}
            }
        }
    }

    /// The same when the file is changed between one read and the next: what is
    /// read ahead then is not used.
    pub fn begin_again<T: Transport, M: Monitor<State>>(&mut self, client: &Client<T, M>) {
        self.forget(client);
        self.run = 0;
    }

    /// Reads at `at` until `buf` is full, the file ends, or the server gives
    /// less than it was asked for. Bytes read; 0: the end. What does not get
    /// into `buf`, since that cannot be written to, is kept.
    ///
    /// # Errors
    /// The server's, and those of the connection; EFAULT. What came before an
    /// error is returned first.
    pub fn read<T: Transport, M: Monitor<State>>(
        &mut self,
        client: &Client<T, M>,
        file: &Opened,
        at: u64,
        buf: &mut [u8],
    ) -> Result<usize> {
        if self.serial != client.serial || at != self.next {
            self.forget(client);
            self.serial = client.serial;
            (self.next, self.run) = (at, 0);
            (self.came, self.since, self.rate) = (0, Duration::ZERO, 0);
        }
        self.piece = buf.len();
        let mut done = self.take_aside(client, buf);
        while done < buf.len() {
            let read = match self.aside.from < self.aside.to {
                true => Err(Errno::EFAULT),
                false => self.read_some(client, file, &mut buf[done..]),
            };
            match read {
                Ok((0, true)) if done == 0 => return Err(Errno::EFAULT),
                Ok((n, more)) => {
                    done += n;
                    if n == 0 || !more {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        self.run = self.run.saturating_add(1);
        Ok(done)
    }

    /// Takes what is here, as far as it can be put there.
    fn take_aside<T: Transport, M: Monitor<State>>(
        &mut self,
        client: &Client<T, M>,
        buf: &mut [u8],
    ) -> usize {
        let Aside { memory, from, to } = &mut self.aside;
        let n = (*to - *from).min(buf.len());
        let n = client.transport.reaches(&buf[..n]);
        buf[..n].copy_from_slice(&memory[*from..*from + n]);
        *from += n;
        self.next += n as u64;
        n
    }

    /// One answer, or a part of one: bytes taken, and whether the file goes on
    /// behind them.
    fn read_some<T: Transport, M: Monitor<State>>(
        &mut self,
        client: &Client<T, M>,
        file: &Opened,
        buf: &mut [u8],
    ) -> Result<(usize, bool)> {
        if self.run == 0 && self.flights.is_empty() && buf.len() <= file.iounit as usize {
            let part = client.read_once(file, self.next, buf)?;
            let (n, more) = self.took(client, self.next, buf.len(), false, part);
            self.next += n as u64;
            return Ok((n, more));
        }
        self.send(client, file, buf.len())?;
        let Some(flight) = self.flights.pop_front() else { return Ok((0, false)) };
        if buf.len() >= flight.len || self.piece >= LEAST {
            let (n, more) = self.take(client, flight, buf)?;
            self.next += n as u64;
            return Ok((n, more));
        }
        let mut memory = core::mem::take(&mut self.aside.memory);
        if memory.len() < flight.len.min(ASIDE) {
            memory.resize(flight.len.min(ASIDE), 0);
        }
        let (mut to, more) = self.take(client, flight, &mut memory)?;
        // An answer that another thread has taken in is here as a whole.
        let rest = core::mem::take(&mut self.aside);
        if rest.from < rest.to {
            memory.truncate(to);
            memory.extend_from_slice(&rest.memory[rest.from..rest.to]);
            to = memory.len();
        }
        self.aside = Aside { memory, from: 0, to };
        let taken = self.take_aside(client, buf);
        Ok((taken, more || self.aside.from < self.aside.to))
    }

    /// Takes what there is of the first answer into `buf`: how much, and
    /// whether the file goes on behind it.
    fn take<T: Transport, M: Monitor<State>>(
        &mut self,
        client: &Client<T, M>,
        flight: Flight,
        buf: &mut [u8],
    ) -> Result<(usize, bool)> {
        let Flight { at, len, last, pending } = flight;
        let want = len.min(buf.len());
        let part = client.take_read(pending, len, &mut buf[..want]);
        // What was asked for behind it is not what comes next.
        let part = part.inspect_err(|_| self.forget(client))?;
        Ok(self.took(client, at, len, last, part))
    }

    /// Notes what there is of the answer to a request for `len` bytes at `at`: how
    /// much was taken, and whether the file goes on behind that.
    fn took<T: Transport, M: Monitor<State>>(
        &mut self,
        client: &Client<T, M>,
        at: u64,
        len: usize,
        mut last: bool,
        part: Part,
    ) -> (usize, bool) {
        let left = match &part.rest {
            Rest::None => 0,
            Rest::Here(memory, from) => memory.len() - from,
            Rest::Coming(_, left) => *left,
        };
        self.came += part.taken as u64;
        let count = part.taken + left;
        if count < len {
            // The end, or less than there is. What was asked for behind it is
            // short, and not worth a flush each.
            for flight in self.flights.drain(..) {
                client.desert(flight.pending);
            }
            self.end = at + count as u64;
            last = true;
        }
        match part.rest {
            Rest::None => {}
            Rest::Here(memory, from) => {
                let to = memory.len();
                self.aside = Aside { memory, from, to };
            }
            Rest::Coming(pending, len) => {
                let at = at + part.taken as u64;
                self.flights.push_front(Flight { at, len, last, pending });
            }
        }
        (part.taken, left > 0 || !last)
    }

    /// Sends requests until the window is full: at least for what is wanted
    /// now, and ahead of it once the reader has shown where it goes.
    fn send<T: Transport, M: Monitor<State>>(
        &mut self,
        client: &Client<T, M>,
        file: &Opened,
        wanted: usize,
    ) -> Result<()> {
        let unit = match file.iounit as usize {
            unit if unit >= LEAST => unit - unit % PAGE,
            unit => unit.max(1),
        };
        let single = client.window.is_single();
        let ahead = self.run > 0 && !single;
        let size = match ahead {
            true if self.piece < LEAST => unit.min(ASIDE.min(LEAST << self.run.min(2))),
            true => even((self.piece << self.run.min(4)).min(unit.max(self.piece)), unit),
            false => even(wanted, unit),
        };
        let requests = match single {
            true => 1,
            // Whoever jumps about need not be measured.
            false if self.run == 0 => client.window.requests(size, client.delay, 0),
            false => client.window.requests(size, client.delay, self.measure(client)),
        };
        let asked = self.next + wanted as u64;
        while self.flights.len() < requests {
            let at = self.flights.back().map_or(self.next, |f| f.at + f.len as u64);
            let needed = at < asked;
            // Beyond the end, as it was last known, one request tells whether
            // that has moved.
            let beyond = at >= self.end && !self.flights.is_empty();
            if beyond || !needed && (!ahead || at >= self.end) {
                break;
            }
            let len = if ahead { size } else { size.min((asked - at) as usize) };
            let sent = client.begin_read(file, at, len);
            match sent {
                Ok(pending) => {
                    self.flights.push_back(Flight { at, len, last: false, pending });
                }
                // What is under way comes first.
                Err(_) if !self.flights.is_empty() => break,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Bytes a second: measured over the time that a few requests take, so
    /// that it follows a window that opens.
    fn measure<T: Transport, M: Monitor<State>>(&mut self, client: &Client<T, M>) -> u64 {
        let now = client.transport.now();
        if self.since.is_zero() {
            (self.came, self.since) = (0, now);
        }
        let time = now.saturating_sub(self.since);
        if time > 2 * client.delay + Duration::from_millis(1) {
            self.rate = (u128::from(self.came) * 1_000_000_000 / time.as_nanos()) as u64;
            (self.came, self.since) = (0, now);
        }
        self.rate
    }
}
