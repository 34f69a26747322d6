//! Which requests are in flight, and whose reply is whose. It knows tags and
//! not 9P, and does no I/O: the connection hands it what arrived.
//!
//! A tag is in use from its request until the reply, and while a flush of it
//! is under way until that one's reply (flush(5)): a reply that overtakes the
//! flush counts as if nothing had been flushed. Whoever gives up waiting
//! *deserts* the tag; what is then to be done with a reply that comes later
//! was said at the beginning, as `D`.

use crate::pool::Pool;
use crate::wire::Malformed;
use crate::{Errno, Result};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Requests in flight at most; far below NOTAG.
const IN_FLIGHT: u32 = 1024;

/// Groups of tags; those who wait are woken by group.
const GROUPS: u16 = 28;

/// The bit of a tag's group.
#[must_use]
pub const fn group(tag: u16) -> u32 {
    1 << (tag % GROUPS)
}

/// How a request ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Its reply, a whole frame.
    Reply(Vec<u8>),
    /// The server gave it up, and it never took place.
    Flushed,
}

#[derive(Debug)]
enum Progress {
    Awaited,
    Ended(Outcome),
    /// The waiter has its outcome; only a flush keeps the tag.
    Taken,
}

#[derive(Debug)]
struct Call<D> {
    progress: Progress,
    /// Flushes of this tag that were not answered yet.
    flushes: u16,
    /// This call is itself a flush, of that tag.
    flush_of: Option<u16>,
    /// Nobody waits; `D` says what to do.
    deserted: bool,
    late: D,
}

/// The calls of one connection.
#[derive(Debug)]
pub struct Mux<D> {
    tags: Pool,
    calls: Vec<Option<Call<D>>>,
    late: VecDeque<(D, Outcome)>,
    dead: Option<Errno>,
    /// Groups in which a request has ended since this was asked.
    ended: u32,
    /// A tag came back when there was none.
    room: bool,
}

impl<D> Default for Mux<D> {
    fn default() -> Self {
        Mux {
            tags: Pool::new(IN_FLIGHT),
            calls: Vec::new(),
            late: VecDeque::new(),
            dead: None,
            ended: 0,
            room: false,
        }
    }
}

impl<D> Mux<D> {
    /// A tag for a new request, `None` while all are in use. `late` is kept
    /// for the case that the caller deserts it.
    ///
    /// # Errors
    /// That of a failed connection.
    pub fn begin(&mut self, late: D) -> Result<Option<u16>> {
        self.dead.map_or(Ok(()), Err)?;
        Ok(self.start(late, None))
    }

    /// A tag for a request that flushes `old`; nobody waits for its reply.
    /// `None` when `old` is over, or all tags are in use.
    pub fn begin_flush(&mut self, old: u16, late: D) -> Option<u16> {
        self.call(old).filter(|c| matches!(c.progress, Progress::Awaited))?;
        let tag = self.start(late, Some(old))?;
        if let Some(call) = self.call(old) {
            call.flushes += 1;
        }
        Some(tag)
    }

    fn start(&mut self, late: D, flush_of: Option<u16>) -> Option<u16> {
        let tag = self.tags.take()?;
        let at = tag as usize;
        if self.calls.len() <= at {
            self.calls.resize_with(at + 1, || None);
        }
        let deserted = flush_of.is_some();
        let progress = Progress::Awaited;
        self.calls[at] = Some(Call { progress, flushes: 0, flush_of, deserted, late });
        Some(tag as u16)
    }

    fn call(&mut self, tag: u16) -> Option<&mut Call<D>> {
        self.calls.get_mut(usize::from(tag))?.as_mut()
    }

    /// Takes in the reply for `tag`.
    ///
    /// # Errors
    /// When no request with that tag waits for one.
    pub fn arrived(&mut self, tag: u16, frame: Vec<u8>) -> core::result::Result<(), Malformed> {
        let call = self.call(tag).ok_or(Malformed)?;
        if !matches!(call.progress, Progress::Awaited) {
            return Err(Malformed);
        }
        call.progress = Progress::Ended(Outcome::Reply(frame));
        let flushed = call.flush_of.take();
        self.ended |= group(tag);
        self.settle(tag);
        if let Some(old) = flushed {
            self.flush_ended(old);
        }
        Ok(())
    }

    fn flush_ended(&mut self, old: u16) {
        let Some(call) = self.call(old) else { return };
        call.flushes = call.flushes.saturating_sub(1);
        if call.flushes == 0 && matches!(call.progress, Progress::Awaited) {
            call.progress = Progress::Ended(Outcome::Flushed);
            self.ended |= group(old);
        }
        self.settle(old);
    }

    /// Frees a tag that neither the peer nor a waiter holds any more.
    fn settle(&mut self, tag: u16) {
        let Some(call) = self.call(tag) else { return };
        let over = match call.progress {
            Progress::Awaited => false,
            Progress::Ended(_) => call.deserted,
            Progress::Taken => true,
        };
        if !over || call.flushes > 0 {
            return;
        }
        if let Some(Call { late, progress: Progress::Ended(outcome), .. }) =
            self.calls[usize::from(tag)].take()
        {
            self.late.push_back((late, outcome));
        }
        self.give(tag);
    }

    fn give(&mut self, tag: u16) {
        self.room |= self.tags.taken() == IN_FLIGHT;
        self.tags.give(tag.into());
    }

    /// The outcome of `tag`, once it has one; the tag is then no longer the
    /// caller's.
    pub fn take(&mut self, tag: u16) -> Option<Outcome> {
        let call = self.call(tag)?;
        match core::mem::replace(&mut call.progress, Progress::Taken) {
            Progress::Ended(outcome) => {
                self.settle(tag);
                Some(outcome)
            }
            other => {
                call.progress = other;
                None
            }
        }
    }

    /// Gives up waiting for `tag`.
    pub fn desert(&mut self, tag: u16) {
        if let Some(call) = self.call(tag) {
            call.deserted = true;
            self.settle(tag);
        }
    }

    /// Takes back a tag whose request was never sent.
    pub fn unsend(&mut self, tag: u16) {
        if self.calls.get_mut(usize::from(tag)).and_then(Option::take).is_some() {
            self.give(tag);
        }
    }

    /// The next deserted request that has ended, in the order of the replies.
    pub fn next_late(&mut self) -> Option<(D, Outcome)> {
        self.late.pop_front()
    }

    /// The groups ([`group`]) in which requests have ended since it was asked
    /// last.
    pub fn take_ended(&mut self) -> u32 {
        core::mem::take(&mut self.ended)
    }

    /// Whether tags came back since it was asked last, when there were none.
    pub fn take_room(&mut self) -> bool {
        core::mem::take(&mut self.room)
    }

    /// Ends every request with `error`. Only the first failure counts.
    pub fn fail(&mut self, error: Errno) {
        self.dead.get_or_insert(error);
    }

    /// Why the connection failed, if it did.
    #[must_use]
    pub const fn failure(&self) -> Option<Errno> {
        self.dead
    }

    /// Tags in use.
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.tags.taken()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(n: u8) -> Vec<u8> {
        Vec::from([n])
    }

    #[test]
    fn replies_find_their_callers_in_any_order() {
        let mut mux = Mux::<()>::default();
        let tags: Vec<u16> = (0..5).map(|_| mux.begin(()).unwrap().unwrap()).collect();
        for &tag in tags.iter().rev() {
            mux.arrived(tag, reply(tag as u8)).unwrap();
        }
        for tag in tags {
            assert_eq!(mux.take(tag), Some(Outcome::Reply(reply(tag as u8))));
        }
        assert_eq!(mux.in_flight(), 0);
    }

    #[test]
    fn a_reply_nobody_asked_for_is_refused() {
        let mut mux = Mux::<()>::default();
        assert_eq!(mux.arrived(0, reply(0)), Err(Malformed));
        let tag = mux.begin(()).unwrap().unwrap();
        mux.arrived(tag, reply(1)).unwrap();
        assert_eq!(mux.arrived(tag, reply(2)), Err(Malformed));
        assert_eq!(mux.arrived(u16::MAX, reply(2)), Err(Malformed));
    }

    #[test]
    fn a_reply_before_the_flush_counts_and_keeps_the_tag() {
        let mut mux = Mux::<()>::default();
        let old = mux.begin(()).unwrap().unwrap();
        let flush = mux.begin_flush(old, ()).unwrap();
        mux.arrived(old, reply(9)).unwrap();
        assert_eq!(mux.take(old), Some(Outcome::Reply(reply(9))));
        assert_ne!(mux.begin(()).unwrap(), Some(old), "the tag is not free before Rflush");
        mux.arrived(flush, reply(0)).unwrap();
        assert_eq!(mux.begin(()).unwrap(), Some(old));
    }

    #[test]
    fn a_flushed_request_ends_with_the_last_flush() {
        let mut mux = Mux::<()>::default();
        let old = mux.begin(()).unwrap().unwrap();
        let first = mux.begin_flush(old, ()).unwrap();
        let second = mux.begin_flush(old, ()).unwrap();
        mux.arrived(first, reply(0)).unwrap();
        assert_eq!(mux.take(old), None);
        mux.arrived(second, reply(0)).unwrap();
        assert_eq!(mux.take(old), Some(Outcome::Flushed));
        assert_eq!(mux.in_flight(), 0);
        assert_eq!(mux.begin_flush(old, ()), None, "nothing is left to flush");
    }

    #[test]
    fn a_deserted_request_is_tidied_up_later() {
        let mut mux = Mux::default();
        let tag = mux.begin("clunk it").unwrap().unwrap();
        mux.desert(tag);
        assert_eq!(mux.next_late(), None);
        mux.arrived(tag, reply(3)).unwrap();
        assert_eq!(mux.next_late(), Some(("clunk it", Outcome::Reply(reply(3)))));
        assert_eq!((mux.next_late(), mux.in_flight()), (None, 0));
    }

    #[test]
    fn after_a_failure_nothing_begins() {
        let mut mux = Mux::<()>::default();
        mux.fail(Errno::EIO);
        mux.fail(Errno::EPIPE);
        assert_eq!(mux.begin(()), Err(Errno::EIO));
    }

    #[test]
    fn tags_run_out_at_the_limit() {
        let mut mux = Mux::<()>::default();
        let n = core::iter::from_fn(|| mux.begin(()).unwrap()).count();
        assert_eq!(n, IN_FLIGHT as usize);
    }
}
