//! Sending, reading for all, waiting and giving up.

use super::{Client, Late, Monitor, Ready, State, Transport, about};
use crate::frame::Framer;
use crate::message::{Body, Rerror, Rlerror, Tclunk, Tflush, split};
use crate::mux::{Outcome, group};
use crate::wire::Reader;
use crate::{Dialect, Errno, Result, error};
use alloc::vec::Vec;
use core::time::Duration;

/// What a waiting caller does next.
enum Turn<R> {
    Done(R),
    Dead(Errno),
    /// Read for all; the flag: there is something to be sent as well.
    Read(Framer, bool),
}

/// How a frame left.
enum Posted {
    Whole,
    /// Begun, and the rest is in the outbox: the caller was interrupted.
    Part(Errno),
}

/// Errors that say "stop waiting" and nothing about the connection.
const fn is_pause(e: Errno) -> bool {
    matches!(e, Errno::EINTR | Errno::ETIMEDOUT)
}

/// A request that was sent. It must be finished or abandoned: until then its
/// tag stays in use.
#[derive(Debug)]
#[must_use = "a request that is neither finished nor abandoned keeps its tag"]
pub struct Pending {
    tag: u16,
    late: Late,
}

impl<T: Transport, M: Monitor<State>> Client<T, M> {
    /// One request and its reply: the whole frame, which is not an error.
    pub(super) fn call<'b>(&self, body: &impl Body<'b>, late: Late) -> Result<Vec<u8>> {
        let pending = self.post(body, &[], late)?;
        self.finish(pending)
    }

    /// Sends a request, `payload` from where it lies. However it ends, the fid
    /// that `late` names is dealt with, except that a request which succeeds
    /// leaves the fid it made to the caller.
    pub(super) fn post<'b>(
        &self,
        body: &impl Body<'b>,
        payload: &[u8],
        late: Late,
    ) -> Result<Pending> {
        self.tidy();
        let deadline = self.transport.now().saturating_add(self.timeout);
        let begun = self.until(self.timeout, about::TAGS, |s| s.mux.begin(late).transpose());
        let sent = begun.and_then(|tag| tag).and_then(|tag| {
            let mut head = Vec::new();
            let framed = body.frame(tag, self.agreed.dialect, payload.len(), &mut head);
            let sent = framed.and_then(|()| self.send(&head, payload, deadline));
            sent.map(|posted| (tag, posted)).inspect_err(|_| self.with(|s| s.mux.unsend(tag)))
        });
        match sent {
            Ok((tag, Posted::Whole)) => Ok(Pending { tag, late }),
            Ok((tag, Posted::Part(why))) => {
                self.abandon(Pending { tag, late });
                Err(why)
            }
            Err(e) => {
                self.with(|s| s.never_sent(late));
                Err(e)
            }
        }
    }

    /// Waits for the reply.
    pub(super) fn finish(&self, pending: Pending) -> Result<Vec<u8>> {
        let Pending { tag, late } = pending;
        let waited = self.outcome(tag, self.timeout);
        let ended = match waited {
            Err(why) if is_pause(why) => self.cancel(tag, why),
            other => other,
        };
        self.tidy();
        match ended? {
            Outcome::Flushed => {
                self.with(|s| s.failed(late));
                Err(Errno::EINTR)
            }
            Outcome::Reply(frame) => match error_of(&frame, self.agreed.dialect) {
                None => {
                    self.with(|s| s.succeeded(late));
                    Ok(frame)
                }
                Some(e) => {
                    self.with(|s| s.failed(late));
                    Err(e)
                }
            },
        }
    }

    /// Gives up a request without waiting: flushes it and leaves the reply,
    /// should one come, to whoever reads next.
    pub fn abandon(&self, pending: Pending) {
        self.flush(pending.tag);
        self.with(|s| s.mux.desert(pending.tag));
    }

    /// Clunks a fid without waiting; the number is free when the reply is in.
    pub(super) fn drop_fid(&self, fid: u32) {
        self.with(|s| s.unclunked.push(fid));
        self.tidy();
    }

    /// Puts a small frame where the next writer finds it, and is that writer
    /// if there is none.
    fn enqueue<'b>(&self, body: &impl Body<'b>, tag: u16) {
        let mut head = Vec::new();
        if body.frame(tag, self.agreed.dialect, 0, &mut head).is_ok() {
            self.with(|s| {
                s.outbox.extend_from_slice(&head);
                s.counters.requests += 1;
            });
            self.push();
        }
    }

    /// Sends one whole frame, after what is in the outbox.
    fn send(&self, head: &[u8], payload: &[u8], deadline: Duration) -> Result<Posted> {
        let before = self.monitor.enter(self.left(deadline), about::WRITER, |s| {
            if let Some(e) = s.mux.failure() {
                return Some(Err(e));
            }
            if s.writing {
                return None;
            }
            s.writing = true;
            s.counters.requests += 1;
            Some(Ok(core::mem::take(&mut s.outbox)))
        })??;
        let total = before.len() + head.len() + payload.len();
        let mut sent = 0;
        let mut stopped = None;
        while sent < total && stopped.is_none() {
            match self.transport.send(&rest_of(&[&before, head, payload], sent)) {
                Ok(n) => sent += n,
                Err(Errno::EAGAIN) => stopped = self.until_writable(deadline).err(),
                Err(e) => stopped = Some(e),
            }
        }
        let rest = rest_of(&[&before, head, payload], sent).concat();
        let begun = sent > before.len();
        // A frame that was not begun is taken back whole.
        let keep = if begun { rest.len() } else { before.len() - sent };
        self.with(|s| {
            s.counters.sent += sent as u64;
            s.outbox.splice(..0, rest[..keep].iter().copied());
            s.end_writing();
        });
        match stopped {
            None => {
                self.push();
                Ok(Posted::Whole)
            }
            Some(e) if is_pause(e) => {
                if begun {
                    Ok(Posted::Part(e))
                } else {
                    Err(e)
                }
            }
            Some(_) => Err(self.broken()),
        }
    }

    /// Sends from the outbox what goes at once, unless somebody is writing:
    /// that one looks into the outbox when it is done.
    fn push(&self) {
        loop {
            let batch = self.with(|s| {
                let idle = !s.writing && !s.outbox.is_empty() && s.mux.failure().is_none();
                idle.then(|| {
                    s.writing = true;
                    core::mem::take(&mut s.outbox)
                })
            });
            let Some(batch) = batch else { return };
            let sent = self.transport.send(&[&batch]);
            let n = *sent.as_ref().unwrap_or(&0);
            self.with(|s| {
                s.counters.sent += n as u64;
                s.outbox.splice(..0, batch[n..].iter().copied());
                s.end_writing();
            });
            match sent {
                Ok(_) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => {
                    self.broken();
                    return;
                }
            }
        }
    }

    /// The socket is full: reads if nobody does, and waits for room.
    fn until_writable(&self, deadline: Duration) -> Result<()> {
        let framer = self.with(|s| s.framer.take());
        let want = Ready { read: framer.is_some(), write: true };
        let waited = self.transport.wait(want, self.left(deadline));
        if let Some(mut framer) = framer {
            let got = match waited {
                Ok(ready) if ready.read => self.receive(&mut framer),
                _ => Ok(()),
            };
            self.deliver(framer, got);
        }
        waited.map(|_| ())
    }

    fn outcome(&self, tag: u16, timeout: Duration) -> Result<Outcome> {
        let mut slept = false;
        self.until(timeout, group(tag), |s| {
            let outcome = s.mux.take(tag);
            s.counters.round_trips += u64::from(slept && outcome.is_some());
            slept = true;
            outcome
        })
    }

    /// Waits until `ready` gives a value, reading for all when nobody else
    /// does.
    fn until<R>(
        &self,
        timeout: Duration,
        about: u32,
        mut ready: impl FnMut(&mut State) -> Option<R>,
    ) -> Result<R> {
        let deadline = self.transport.now().saturating_add(timeout);
        loop {
            let turn = self.monitor.enter(self.left(deadline), about | about::READER, |s| {
                if let Some(value) = ready(s) {
                    return Some(Turn::Done(value));
                }
                if let Some(e) = s.mux.failure() {
                    return Some(Turn::Dead(e));
                }
                let more = !s.outbox.is_empty() && !s.writing;
                s.framer.take().map(|f| Turn::Read(f, more))
            })?;
            match turn {
                Turn::Done(value) => return Ok(value),
                Turn::Dead(e) => return Err(e),
                Turn::Read(framer, more) => self.read_turn(framer, more, deadline)?,
            }
        }
    }

    /// Holds the reader's role until something came in, or it is time to look.
    /// It waits before it receives: what it has just asked for is hardly ever
    /// there yet.
    fn read_turn(&self, mut framer: Framer, more: bool, deadline: Duration) -> Result<()> {
        let waited = self.transport.wait(Ready { read: true, write: more }, self.left(deadline));
        let got = match waited {
            Ok(ready) if ready.read => self.receive(&mut framer),
            _ => Ok(()),
        };
        self.deliver(framer, got);
        if waited.is_ok_and(|ready| ready.write) {
            self.push();
        }
        waited.map(|_| ())
    }

    /// Receives once into the framer.
    pub(super) fn receive(&self, framer: &mut Framer) -> Result<()> {
        let n = self.transport.recv(framer.space()?)?;
        if n == 0 {
            return Err(Errno::EPIPE);
        }
        framer.filled(n);
        Ok(())
    }

    /// Gives the reader's role back and hands out what came in.
    pub(super) fn deliver(&self, framer: Framer, got: Result<()>) {
        let mut framer = Some(framer);
        self.with(|s| {
            let Some(mut framer) = framer.take() else { return };
            framer.reuse(core::mem::take(&mut s.spare));
            let delivered = loop {
                match framer.next_message() {
                    Ok(Some(frame)) => {
                        s.counters.received += frame.len() as u64;
                        let tag = split(&frame).map(|(_, tag, _)| tag);
                        if tag.and_then(|tag| s.mux.arrived(tag, frame)).is_err() {
                            break Err(Errno::EIO);
                        }
                    }
                    Ok(None) => break Ok(()),
                    Err(e) => break Err(Errno::from(e)),
                }
            };
            let broken =
                delivered.is_err() || got.is_err_and(|e| e != Errno::EAGAIN && !is_pause(e));
            if broken {
                s.fail(Errno::EIO);
            }
            s.give_framer(framer);
        });
    }

    /// The connection is of no use any more.
    fn broken(&self) -> Errno {
        self.with(|s| s.fail(Errno::EIO));
        Errno::EIO
    }

    /// Says that the server broke the protocol; ends the connection.
    pub(super) fn distrust<R>(&self) -> Result<R> {
        Err(self.broken())
    }

    /// Interrupted or out of time. Flushes, and when interrupted waits a
    /// little to learn what became of the request.
    fn cancel(&self, tag: u16, why: Errno) -> Result<Outcome> {
        self.flush(tag);
        if why == Errno::EINTR {
            match self.outcome(tag, self.grace) {
                Err(e) if is_pause(e) => {}
                other => return other,
            }
        }
        self.with(|s| s.mux.desert(tag));
        Err(why)
    }

    fn flush(&self, oldtag: u16) {
        if let Some(tag) = self.with(|s| s.mux.begin_flush(oldtag, Late::Nothing)) {
            self.enqueue(&Tflush { oldtag }, tag);
        }
    }

    /// Deals with the replies to deserted requests, and with fids that are to
    /// be clunked.
    fn tidy(&self) {
        let dialect = self.agreed.dialect;
        loop {
            let clunk = self.with(|s| {
                while let Some((late, outcome)) = s.mux.next_late() {
                    match outcome {
                        Outcome::Reply(f) if error_of(&f, dialect).is_none() => {
                            s.succeeded_late(late);
                        }
                        _ => s.failed(late),
                    }
                }
                let fid = s.unclunked.pop()?;
                let Ok(Some(tag)) = s.mux.begin(Late::Release(fid)) else {
                    s.unclunked.push(fid);
                    return None;
                };
                s.mux.desert(tag);
                Some((tag, fid))
            });
            let Some((tag, fid)) = clunk else { return };
            self.enqueue(&Tclunk { fid }, tag);
        }
    }

    fn left(&self, deadline: Duration) -> Duration {
        deadline.saturating_sub(self.transport.now())
    }
}

/// Who owns a fid's number after a request has ended.
impl State {
    /// The request never left.
    fn never_sent(&mut self, late: Late) {
        match late {
            Late::Nothing => {}
            Late::Clunk(fid) => self.fids.give(fid),
            Late::Release(fid) => self.unclunked.push(fid),
        }
    }

    /// The server refused or dropped the request.
    fn failed(&mut self, late: Late) {
        if let Late::Clunk(fid) | Late::Release(fid) = late {
            self.fids.give(fid);
        }
    }

    /// The request succeeded and its caller knows.
    fn succeeded(&mut self, late: Late) {
        if let Late::Release(fid) = late {
            self.fids.give(fid);
        }
    }

    /// The request succeeded and its caller had gone.
    fn succeeded_late(&mut self, late: Late) {
        match late {
            Late::Clunk(fid) => self.unclunked.push(fid),
            other => self.succeeded(other),
        }
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

/// The parts without their first `skip` bytes.
fn rest_of<'p>(parts: &[&'p [u8]; 3], mut skip: usize) -> [&'p [u8]; 3] {
    parts.map(|part| {
        let n = skip.min(part.len());
        skip -= n;
        &part[n..]
    })
}
