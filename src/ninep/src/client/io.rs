//! Reading for all, waiting and giving up.

use super::{Client, Late, Monitor, Ready, State, Transport, about};
use crate::frame::Framer;
use crate::message::{Body, Rerror, Rlerror, Tflush, split};
use crate::mux::{Outcome, group};
use crate::wire::Reader;
use crate::{Dialect, Errno, Result, error};
use alloc::vec::Vec;
use core::time::Duration;

/// What a waiting caller does next.
enum Turn<R> {
    Done(R),
    Dead(Errno),
    Read(Framer, Reading),
    /// Something is to be sent first.
    Push,
    /// Something else is to be slept about from now on.
    Otherwise,
}

/// How a reader goes about it.
#[derive(Clone, Copy)]
struct Reading {
    /// There is something to be sent as well.
    more: bool,
    /// Something may be there already: several requests are under way.
    eager: bool,
}

/// Where a reply's payload is wanted.
struct Wanted<'b> {
    tag: u16,
    /// No longer payload was asked for.
    most: usize,
    buf: &'b mut [u8],
    /// What [`Client::post_untold`] has left to be told of the request.
    sent: Option<usize>,
}

impl Wanted<'_> {
    /// The payload's size, if it is what comes next in the stream.
    fn at_hand(&self, framer: &Framer) -> Option<usize> {
        framer.payload_of(self.tag, self.most)
    }
}

/// How a request for data ended.
enum Ended {
    Outcome(Outcome),
    /// So many bytes are where they were wanted, and so many are to come.
    Filled(usize, usize),
}

/// What there is of the answer to a request for data.
pub(super) enum Taken {
    /// The whole frame.
    Frame(Vec<u8>),
    /// So many bytes where they were wanted, and where there are more, the rest
    /// of the answer: how long it is, and the request that waits for it.
    Filled(usize, Option<(Pending, usize)>),
}

/// A reader looks this often whether there is something to be sent.
const GLANCE: Duration = Duration::from_millis(100);

/// A writer that waits for room beside a reader looks this often whether there
/// still is one.
const BESIDE: Duration = Duration::from_millis(2);

/// Errors that say "stop waiting" and nothing about the connection.
pub(super) const fn is_pause(e: Errno) -> bool {
    matches!(e, Errno::EINTR | Errno::ETIMEDOUT)
}

/// A request that was sent. It must be finished or abandoned: until then its
/// tag stays in use.
#[derive(Debug)]
#[must_use = "a request that is neither finished nor abandoned keeps its tag"]
pub struct Pending {
    pub(super) tag: u16,
    pub(super) late: Late,
}

/// Fids whose clunk waits for company, at most.
const HELD: usize = 16;

impl<T: Transport, M: Monitor<State>> Client<T, M> {
    /// One request and its reply: the whole frame, which is not an error.
    pub(super) fn call<'b>(&self, body: &impl Body<'b>, late: Late) -> Result<Vec<u8>> {
        let pending = self.post(body, &[], late)?;
        self.finish(pending)
    }

    /// Waits for the reply.
    pub(super) fn finish(&self, pending: Pending) -> Result<Vec<u8>> {
        let Pending { tag, late } = pending;
        match self.outcome(tag, self.timeout) {
            Err(why) if is_pause(why) => self.judge(self.cancel(tag, why)?, late, why),
            outcome => self.judge(outcome?, late, Errno::EINTR),
        }
    }

    /// As [`Client::finish`], for an Rread of at most `most` bytes whose payload
    /// may go straight into `buf`, as far as that reaches. What is left of it
    /// stays in the socket as an answer of its own, which whoever reads next
    /// takes in. A caller who is interrupted finds some of `buf` unfilled.
    pub(super) fn finish_into(
        &self,
        pending: Pending,
        most: usize,
        buf: &mut [u8],
    ) -> Result<Taken> {
        self.finish_sent(pending, None, most, buf)
    }

    /// [`Client::post`] and [`Client::finish_into`], with one visit to the state less.
    pub(super) fn ask_into<'b>(&self, body: &impl Body<'b>, buf: &mut [u8]) -> Result<Taken> {
        let (pending, sent) = self.post_untold(body, &[], Late::Nothing, |_| Some(Ok(())))?;
        self.finish_sent(pending, sent, buf.len(), buf)
    }

    fn finish_sent(
        &self,
        pending: Pending,
        sent: Option<usize>,
        most: usize,
        buf: &mut [u8],
    ) -> Result<Taken> {
        let Pending { tag, late } = pending;
        let wanted = Wanted { tag, most, buf, sent };
        let outcome = match self.outcome_or(tag, self.timeout, Some(wanted)) {
            Ok(Ended::Filled(n, 0)) => return Ok(Taken::Filled(n, None)),
            Ok(Ended::Filled(n, rest)) => {
                return Ok(Taken::Filled(n, Some((Pending { tag, late }, rest))));
            }
            Ok(Ended::Outcome(outcome)) => self.judge(outcome, late, Errno::EINTR),
            Err(why) if is_pause(why) => self.judge(self.cancel(tag, why)?, late, why),
            Err(e) => Err(e),
        };
        outcome.map(Taken::Frame)
    }

    /// The frame of an outcome, unless it is an error; `why` a request was
    /// flushed.
    fn judge(&self, outcome: Outcome, late: Late, why: Errno) -> Result<Vec<u8>> {
        let judged = match outcome {
            Outcome::Flushed => Err(why),
            Outcome::Reply(frame) => error_of(&frame, self.agreed.dialect).map_or(Ok(frame), Err),
        };
        if late != Late::Nothing {
            self.with(|s| match judged {
                Ok(_) => s.succeeded(late),
                Err(_) => s.failed(late),
            });
        }
        judged
    }

    /// Gives up a request without waiting: flushes it and leaves the reply,
    /// should one come, to whoever reads next.
    pub fn abandon(&self, pending: Pending) {
        self.flush(pending.tag);
        self.desert(pending);
    }

    /// Leaves the reply to whoever reads next, without giving up the request.
    pub(super) fn desert(&self, pending: Pending) {
        self.with(|s| {
            s.mux.desert(pending.tag);
            s.reap();
        });
    }

    /// Clunks a fid without waiting; the number is free when the reply is in.
    ///
    /// With servers of others the clunk leaves with the next request: a program
    /// that ends with a reply under way is the end of diod 1.0.24, which writes
    /// it into a closed socket and takes the SIGPIPE.
    pub(super) fn drop_fid(&self, fid: u32) {
        self.with(|s| {
            s.unclunked.push(fid);
            if self.agreed.ours || s.unclunked.len() > HELD {
                s.queue_clunks();
            }
        });
        self.push();
    }

    /// The socket is full: reads if nobody does, and waits for room. Where
    /// somebody else reads it is not for long: should that one leave, the
    /// server may have to get rid of its replies before it takes anything in.
    pub(super) fn until_writable(&self, deadline: Duration) -> Result<()> {
        let framer = self.with(|s| s.framer.take());
        let (want, left) = (Ready { read: framer.is_some(), write: true }, self.left(deadline));
        let Some(mut framer) = framer else {
            return match self.transport.wait(want, left.min(BESIDE)) {
                Err(Errno::ETIMEDOUT) if left > BESIDE => Ok(()),
                waited => waited.map(drop),
            };
        };
        let waited = self.transport.wait(want, left);
        let got = match waited {
            Ok(ready) if ready.read => self.receive(&mut framer),
            _ => Ok(()),
        };
        self.deliver(framer, got);
        waited.map(drop)
    }

    fn outcome(&self, tag: u16, timeout: Duration) -> Result<Outcome> {
        match self.outcome_or(tag, timeout, None)? {
            Ended::Outcome(outcome) => Ok(outcome),
            Ended::Filled(..) => self.distrust(),
        }
    }

    fn outcome_or(&self, tag: u16, timeout: Duration, wanted: Option<Wanted<'_>>) -> Result<Ended> {
        let mut slept = false;
        let ready = |s: &mut State| {
            let outcome = s.mux.take(tag);
            s.counters.round_trips += u64::from(slept && outcome.is_some());
            slept = true;
            outcome.map(Ended::Outcome)
        };
        self.until_or(timeout, group(tag), wanted, ready, |n, rest| Some(Ended::Filled(n, rest)))
    }

    /// Waits until `ready` gives a value, reading for all when nobody else
    /// does.
    pub(super) fn until<R>(
        &self,
        timeout: Duration,
        about: u32,
        ready: impl FnMut(&mut State) -> Option<R>,
    ) -> Result<R> {
        self.until_or(timeout, about, None, ready, |_, _| None)
    }

    /// As [`Client::until`]; a payload that is wanted and that comes while it
    /// is us who read goes where it is wanted without being copied.
    fn until_or<R>(
        &self,
        timeout: Duration,
        about: u32,
        mut wanted: Option<Wanted<'_>>,
        mut ready: impl FnMut(&mut State) -> Option<R>,
        filled: impl Fn(usize, usize) -> Option<R>,
    ) -> Result<R> {
        let (mut deadline, mut held, mut queued) = (None, None, false);
        loop {
            let left = deadline.map_or(timeout, |deadline| self.left(deadline));
            let reader = if queued { 0 } else { about::READER };
            let turn = self.look(left, about | reader, |s| {
                if let Some((framer, got)) = held.take() {
                    s.deliver(framer, got);
                }
                if let Some(sent) = wanted.as_mut().and_then(|wanted| wanted.sent.take()) {
                    s.sent(sent);
                    if !s.outbox.is_empty() {
                        return Some(Turn::Push);
                    }
                }
                if let Some(value) = ready(s) {
                    return Some(Turn::Done(value));
                }
                if let Some(e) = s.mux.failure() {
                    return Some(Turn::Dead(e));
                }
                // Whoever waits for the writer does not read meanwhile: that
                // one does so itself where it has to, and nothing may come
                // any more by the time it is done.
                let waits = s.writing && about & about::WRITER != 0;
                if waits != queued {
                    return Some(Turn::Otherwise);
                }
                if waits {
                    return None;
                }
                let more = !s.outbox.is_empty() && !s.writing;
                let eager = s.mux.in_flight() > 1;
                s.framer.take().map(|f| Turn::Read(f, Reading { more, eager }))
            })?;
            let (mut framer, reading) = match turn {
                Turn::Done(value) => return Ok(value),
                Turn::Dead(e) => return Err(e),
                Turn::Read(framer, reading) => (framer, reading),
                Turn::Push => {
                    self.push();
                    continue;
                }
                Turn::Otherwise => {
                    queued = !queued;
                    deadline = deadline.or_else(|| Some(self.deadline(timeout)));
                    continue;
                }
            };
            // The clock is asked of those alone who wait for long.
            let turn = left.min(GLANCE);
            let waited = match wanted.as_ref().and_then(|wanted| wanted.at_hand(&framer)) {
                Some(_) => Ok(()),
                None => self.read_turn(&mut framer, reading, turn),
            };
            if let (Ok(()), Some(wanted)) = (waited, &mut wanted)
                && let Some(count) = wanted.at_hand(&framer)
            {
                match self.take_in(framer, wanted, count, left) {
                    Ok(n) => {
                        if let Some(value) = filled(n, count - n) {
                            return Ok(value);
                        }
                    }
                    Err(e) if is_pause(e) => return Err(e),
                    // The next visit says that the connection is dead.
                    Err(_) => {}
                }
                continue;
            }
            let over = deadline.is_none() && turn == timeout
                || deadline.is_some_and(|deadline| self.left(deadline).is_zero());
            match waited {
                Err(Errno::EINTR) => {
                    self.deliver(framer, Ok(()));
                    return Err(Errno::EINTR);
                }
                Err(Errno::ETIMEDOUT) if over => {
                    self.deliver(framer, Ok(()));
                    return Err(Errno::ETIMEDOUT);
                }
                got => held = Some((framer, got)),
            }
            if deadline.is_none() {
                deadline = (waited == Err(Errno::ETIMEDOUT)).then(|| self.deadline(timeout - turn));
            }
        }
    }

    /// Holds the reader's role until something came in, or it is time to look.
    /// What one request has just asked for is hardly ever there yet: it is
    /// waited for before it is received.
    fn read_turn(&self, framer: &mut Framer, reading: Reading, time: Duration) -> Result<()> {
        if reading.eager {
            match self.receive(framer) {
                Err(Errno::EAGAIN) => {}
                got => return got,
            }
        }
        if !reading.more {
            let n = self.transport.recv_waiting(framer.space()?, time)?;
            return Self::received(framer, n);
        }
        let ready = self.transport.wait(Ready { read: true, write: true }, time)?;
        if ready.write {
            self.push();
        }
        if ready.read { self.receive(framer) } else { Ok(()) }
    }

    /// Receives once into the framer.
    pub(super) fn receive(&self, framer: &mut Framer) -> Result<()> {
        let n = self.transport.recv(framer.space()?)?;
        Self::received(framer, n)
    }

    fn received(framer: &mut Framer, n: usize) -> Result<()> {
        if n == 0 {
            return Err(Errno::EPIPE);
        }
        framer.filled(n);
        Ok(())
    }

    /// Brings the payload of `count` bytes that is at hand to where it is
    /// wanted, and gives the reader's role back. How much of it is there.
    fn take_in(
        &self,
        mut framer: Framer,
        wanted: &mut Wanted<'_>,
        count: usize,
        timeout: Duration,
    ) -> Result<usize> {
        let want = count.min(wanted.buf.len());
        let received = self.receive_payload(&mut framer, &mut wanted.buf[..want], timeout);
        match received {
            Ok(n) => self.took_payload(framer, wanted.tag, n, n == count),
            Err(e) => self.deliver(framer, Err(e)),
        }
        received
    }

    /// Receives the payload of the message at hand to where it is wanted. The
    /// framer keeps what is not taken: all that a caller left who is
    /// interrupted in the middle, or whose buffer is not there. How much is there;
    /// errors before anything is.
    fn receive_payload(
        &self,
        framer: &mut Framer,
        buf: &mut [u8],
        timeout: Duration,
    ) -> Result<usize> {
        let here = framer.payload_here().min(buf.len());
        let good = self.transport.reaches(&buf[..here]);
        let mut n = framer.take_payload(&mut buf[..good]);
        let mut end = if good < here { n } else { buf.len() };
        while n < end {
            match self.transport.recv_much(&mut buf[n..end], timeout) {
                Ok(0) => return Err(Errno::EPIPE),
                Ok(got) => {
                    framer.took_payload(got);
                    n += got;
                }
                Err(Errno::EAGAIN) => {}
                // What came in pieces may still fit in a part of one.
                Err(Errno::EFAULT) => {
                    let good = n + self.transport.reaches(&buf[n..end]);
                    end = if good < end { good } else { n };
                }
                Err(e) if is_pause(e) && n > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(n)
    }

    /// `n` bytes of the reply with this tag are where they were wanted: gives
    /// the reader's role back, and the tag when that was all.
    fn took_payload(&self, framer: Framer, tag: u16, n: usize, all: bool) {
        let mut framer = Some(framer);
        self.with(|s| {
            let Some(framer) = framer.take() else { return };
            s.counters.received += n as u64;
            if all {
                s.counters.received += crate::frame::READ_HEADER as u64;
                s.counters.round_trips += 1;
                if s.mux.arrived(tag, Vec::new()).is_err() {
                    s.fail(Errno::EIO);
                }
                s.mux.take(tag);
            }
            s.deliver(framer, Ok(()));
        });
    }

    /// Gives the reader's role back and hands out what came in.
    pub(super) fn deliver(&self, framer: Framer, got: Result<()>) {
        let mut framer = Some(framer);
        self.with(|s| {
            if let Some(framer) = framer.take() {
                s.deliver(framer, got);
            }
        });
    }

    /// The connection is of no use any more.
    pub(super) fn broken(&self) -> Errno {
        self.with(|s| s.fail(Errno::EIO));
        Errno::EIO
    }

    /// Says that the server broke the protocol; ends the connection.
    pub(super) fn distrust<R>(&self) -> Result<R> {
        Err(self.broken())
    }

    /// Interrupted or out of time. Flushes, and waits a little to learn what
    /// became of the request. A server that has let a request's time pass and
    /// does not answer a flush either is dead; an interrupted caller goes its
    /// way.
    fn cancel(&self, tag: u16, why: Errno) -> Result<Outcome> {
        self.flush(tag);
        match self.outcome(tag, self.grace) {
            Err(e) if is_pause(e) => {}
            other => return other,
        }
        self.with(|s| {
            s.mux.desert(tag);
            s.reap();
            if why == Errno::ETIMEDOUT {
                s.fail(why);
            }
        });
        Err(why)
    }

    fn flush(&self, oldtag: u16) {
        self.with(|s| {
            if let Some(tag) = s.mux.begin_flush(oldtag, Late::Nothing) {
                s.enqueue(&Tflush { oldtag }, tag);
            }
        });
        self.push();
    }

    pub(super) fn deadline(&self, timeout: Duration) -> Duration {
        self.transport.now().saturating_add(timeout)
    }

    fn left(&self, deadline: Duration) -> Duration {
        deadline.saturating_sub(self.transport.now())
    }
}

/// The error in a reply, `None` when it is none. In 9P2000.L type 107 with a
/// number is accepted beside type 7: ganesha sends it.
pub(super) fn error_of(frame: &[u8], dialect: Dialect) -> Option<Errno> {
    let Ok((kind, _, body)) = split(frame) else { return Some(Errno::EIO) };
    let mut r = Reader::new(body, dialect);
    match (kind, dialect) {
        (7 | 107, Dialect::Linux) => {
            let code = r.get::<Rlerror>().map_or(0, |m| m.code);
            Some(error::from_code(code))
        }
        (107, _) => {
            Some(r.get::<Rerror<'_>>().map_or(Errno::EIO, |m| error::from_both(m.text, m.code.0)))
        }
        _ => None,
    }
}
