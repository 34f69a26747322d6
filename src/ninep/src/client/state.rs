//! What the callers of a connection share, and what happens to it under the
//! lock.

use super::io::error_of;
use super::{Counters, Late, News, about};
use crate::frame::Framer;
use crate::message::{Body, Rwrite, Tclunk, split};
use crate::mux::{Mux, Outcome};
use crate::pool::Pool;
use crate::wire::Reader;
use crate::{Dialect, Errno, NOFID, Result};
use alloc::vec::Vec;

/// See the module.
#[derive(Debug)]
pub struct State {
    pub(super) mux: Mux<Late>,
    pub(super) fids: Pool,
    /// Absent while somebody reads.
    pub(super) framer: Option<Framer>,
    pub(super) writing: bool,
    /// Begun frames, and small ones that are to leave together or that found
    /// the writer's role taken. It holds at most one message of the full size
    /// and a few small ones for each tag.
    pub(super) outbox: Vec<u8>,
    /// The memory of a large reply that was taken in, for the next.
    pub(super) spare: Vec<u8>,
    /// Fids that nobody uses and whose clunk was not sent yet.
    pub(super) unclunked: Vec<u32>,
    pub(super) counters: Counters,
    /// What of them [`State::take_counts`] has told.
    told: Counters,
    /// What was written and not answered, and errors that nobody was told.
    pub(super) behind: Vec<Behind>,
    dialect: Dialect,
    news: News,
}

/// Writes to one fid that nobody waits for at present.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behind {
    pub(super) fid: u32,
    /// Requests that were not answered.
    pub(super) requests: u32,
    /// Their payload, bytes.
    pub(super) bytes: usize,
    /// What the first that failed said.
    pub(super) error: Option<Errno>,
    /// One was cut short, which is EIO unless a later one says why.
    short: bool,
    /// An error was told that stands for all of these: what else becomes of
    /// them is not told again.
    pub(super) told: bool,
}

impl State {
    pub(super) fn new(msize: u32, dialect: Dialect) -> Self {
        State {
            mux: Mux::default(),
            fids: Pool::new(NOFID),
            framer: Some(Framer::new(msize)),
            writing: false,
            outbox: Vec::new(),
            spare: Vec::new(),
            unclunked: Vec::new(),
            counters: Counters::default(),
            told: Counters::default(),
            behind: Vec::new(),
            dialect,
            news: News::default(),
        }
    }

    /// What has changed since it was asked last: for a
    /// [`Monitor`](super::Monitor), at the end of each visit.
    pub fn take_news(&mut self) -> News {
        let mut news = core::mem::take(&mut self.news);
        if self.framer.is_none() {
            news.one &= !about::READER;
        }
        if self.writing {
            news.one &= !about::WRITER;
        }
        news.all |= self.mux.take_ended();
        if self.mux.take_room() {
            news.all |= about::TAGS;
        }
        news
    }

    /// What was counted since it was asked last, `None`: nothing, or not now.
    /// Fids and requests in flight are not among it.
    pub fn take_counts(&mut self) -> Option<Counters> {
        // Whoever writes comes back, and tells it with what was sent.
        if self.writing || self.counters == self.told {
            return None;
        }
        let (now, told) = (self.counters, core::mem::replace(&mut self.told, self.counters));
        Some(Counters {
            requests: now.requests - told.requests,
            round_trips: now.round_trips - told.round_trips,
            sent: now.sent - told.sent,
            received: now.received - told.received,
            ..Counters::default()
        })
    }

    /// Ends the connection; only the first failure counts.
    pub(super) fn fail(&mut self, error: Errno) {
        self.mux.fail(error);
        self.news.all = about::ALL;
    }

    fn give_framer(&mut self, framer: Framer) {
        self.framer = Some(framer);
        self.news.one |= about::READER;
    }

    /// So many bytes were sent; the writer's role is free again.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.counters.sent += bytes as u64;
        self.writing = false;
        self.news.one |= about::WRITER;
    }

    /// Begins a request: its tag, `None` while there is none, and its frame in
    /// `head`, but for the payload.
    pub(super) fn begin<'b>(
        &mut self,
        body: &impl Body<'b>,
        payload: usize,
        late: Late,
        head: &mut Vec<u8>,
    ) -> Result<Option<u16>> {
        let Some(tag) = self.mux.begin(late)? else { return Ok(None) };
        if let Err(e) = body.frame(tag, self.dialect, payload, head) {
            self.mux.unsend(tag);
            return Err(e);
        }
        self.queue_clunks();
        self.counters.requests += 1;
        if let Late::Written { fid, count } = late {
            self.mux.desert(tag);
            self.writes(fid, count);
        }
        Ok(Some(tag))
    }

    /// Puts a small frame where the next writer finds it.
    pub(super) fn enqueue<'b>(&mut self, body: &impl Body<'b>, tag: u16) {
        // Flushes and clunks have no strings that could be too long.
        if body.append(tag, self.dialect, 0, &mut self.outbox).is_ok() {
            self.counters.requests += 1;
        }
    }

    /// Puts the clunks that are due into the outbox.
    pub(super) fn queue_clunks(&mut self) {
        while let Some(fid) = self.unclunked.pop() {
            let Ok(Some(tag)) = self.mux.begin(Late::Release(fid)) else {
                self.unclunked.push(fid);
                return;
            };
            self.mux.desert(tag);
            self.enqueue(&Tclunk { fid }, tag);
        }
    }

    /// Takes the reader's role back and hands out what came in.
    pub(super) fn deliver(&mut self, mut framer: Framer, got: Result<()>) {
        framer.reuse(core::mem::take(&mut self.spare));
        let delivered = loop {
            match framer.next_message() {
                Ok(Some(frame)) => {
                    self.counters.received += frame.len() as u64;
                    let tag = split(&frame).map(|(_, tag, _)| tag);
                    if tag.and_then(|tag| self.mux.arrived(tag, frame)).is_err() {
                        break Err(Errno::EIO);
                    }
                }
                Ok(None) => break Ok(()),
                Err(e) => break Err(Errno::from(e)),
            }
        };
        let broken = match got {
            Ok(()) | Err(Errno::EAGAIN | Errno::EINTR | Errno::ETIMEDOUT) => delivered.is_err(),
            Err(_) => true,
        };
        if broken {
            self.fail(Errno::EIO);
        }
        self.give_framer(framer);
        self.reap();
    }

    /// Deals with the replies to deserted requests.
    pub(super) fn reap(&mut self) {
        while let Some((late, outcome)) = self.mux.next_late() {
            match outcome {
                Outcome::Reply(f) => match (error_of(&f, self.dialect), late) {
                    (None, Late::Written { fid, count }) => match written(&f, self.dialect) {
                        Some(n) if n > count => self.fail(Errno::EIO),
                        Some(n) => {
                            self.cut_short(fid, n < count);
                            self.wrote(fid, count, None);
                        }
                        None => self.fail(Errno::EIO),
                    },
                    (None, late) => self.succeeded_late(late),
                    (Some(e), Late::Written { fid, count }) => self.wrote(fid, count, Some(e)),
                    (Some(_), late) => self.failed(late),
                },
                Outcome::Flushed => self.failed(late),
            }
        }
        self.queue_clunks();
    }

    /// A write that nobody waited for has ended.
    fn wrote(&mut self, fid: u32, count: u32, error: Option<Errno>) {
        self.news.all |= about::TAGS;
        if let Some(at) = self.behind.iter().position(|b| b.fid == fid) {
            let behind = &mut self.behind[at];
            behind.requests -= 1;
            behind.bytes -= count as usize;
            behind.error = behind.error.or(error.filter(|_| !behind.told));
            if behind.requests == 0 && behind.error.is_none() && !behind.short {
                self.behind.swap_remove(at);
            }
        }
    }

    fn cut_short(&mut self, fid: u32, short: bool) {
        if let Some(behind) = self.behind.iter_mut().find(|b| b.fid == fid) {
            behind.short |= short && !behind.told;
        }
    }

    /// Counts a write that nobody waits for.
    fn writes(&mut self, fid: u32, count: u32) {
        let at = self.behind.iter().position(|b| b.fid == fid).unwrap_or_else(|| {
            let none =
                Behind { fid, requests: 0, bytes: 0, error: None, short: false, told: false };
            self.behind.push(none);
            self.behind.len() - 1
        });
        self.behind[at].requests += 1;
        self.behind[at].bytes += count as usize;
    }

    /// The error of an earlier write to a fid that nobody was told; it is told
    /// once, for that write and for all that are under way with it.
    pub(super) fn take_error(&mut self, fid: u32) -> Option<Errno> {
        let at = self.behind.iter().position(|b| b.fid == fid)?;
        let behind = &mut self.behind[at];
        let short = behind.requests == 0 && core::mem::take(&mut behind.short);
        let error = behind.error.take().or(short.then_some(Errno::EIO));
        if error.is_some() {
            behind.short = false;
            behind.told = true;
        }
        if behind.requests == 0 {
            self.behind.swap_remove(at);
        }
        error
    }
}

/// How many bytes an Rwrite says were written.
fn written(frame: &[u8], dialect: Dialect) -> Option<u32> {
    let (kind, _, body) = split(frame).ok()?;
    let mut r = Reader::new(body, dialect);
    let count = r.get::<Rwrite>().ok()?.count;
    (kind == Rwrite::TYPE && r.is_empty()).then_some(count)
}

/// Who owns a fid's number after a request has ended.
impl State {
    fn give_fid(&mut self, fid: u32) {
        self.fids.give(fid);
        self.behind.retain(|b| b.fid != fid);
    }

    /// The request never left.
    pub(super) fn never_sent(&mut self, late: Late) {
        match late {
            Late::Nothing => {}
            Late::Clunk(fid) => self.give_fid(fid),
            Late::Release(fid) => self.unclunked.push(fid),
            Late::Written { fid, count } => self.wrote(fid, count, None),
        }
    }

    /// The server refused or dropped the request.
    pub(super) fn failed(&mut self, late: Late) {
        match late {
            Late::Nothing => {}
            Late::Clunk(fid) | Late::Release(fid) => self.give_fid(fid),
            Late::Written { fid, count } => self.wrote(fid, count, Some(Errno::EIO)),
        }
    }

    /// The request succeeded and its caller knows.
    pub(super) fn succeeded(&mut self, late: Late) {
        match late {
            Late::Nothing | Late::Clunk(_) => {}
            Late::Release(fid) => self.give_fid(fid),
            Late::Written { fid, count } => self.wrote(fid, count, None),
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
