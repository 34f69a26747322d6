//! Sending: requests begin under the lock and leave outside of it, one writer at a time.

use super::io::{Pending, is_pause};
use super::{Client, Late, Monitor, State, Transport, about};
use crate::message::Body;
use crate::{Errno, Result};
use alloc::vec::Vec;

/// How a request begins.
enum Begun {
    /// Somebody else is writing, and will send it.
    Queued,
    /// We are to write, these bytes first.
    Write(Vec<u8>),
}

/// How a frame left.
enum Posted {
    /// So many bytes, where nobody was told yet and the writer's role was not given back.
    Whole(Option<usize>),
    /// Begun, and the rest is in the outbox: the caller was interrupted.
    Part(Errno),
}

/// Requests without names and payload are no longer, bytes.
const SMALL: usize = 64;

impl<T: Transport, M: Monitor<State>> Client<T, M> {
    /// Sends a request, `payload` from where it lies. However it ends, the fid
    /// that `late` names is dealt with, except that a request which succeeds
    /// leaves the fid it made to the caller.
    pub(super) fn post<'b>(
        &self,
        body: &impl Body<'b>,
        payload: &[u8],
        late: Late,
    ) -> Result<Pending> {
        self.post_when(body, payload, late, |_| Some(Ok(())))
    }

    /// As [`Client::post`], once `when` gives a value; it is asked under the
    /// lock, in the same visit in which the request begins.
    pub(super) fn post_when<'b>(
        &self,
        body: &impl Body<'b>,
        payload: &[u8],
        late: Late,
        when: impl FnMut(&mut State) -> Option<Result<()>>,
    ) -> Result<Pending> {
        let (pending, sent) = self.post_untold(body, payload, late, when)?;
        if let Some(sent) = sent {
            let more = self.with(|s| {
                s.sent(sent);
                !s.outbox.is_empty()
            });
            if more {
                self.push();
            }
        }
        Ok(pending)
    }

    /// As [`Client::post_when`]; what is left to tell is [`Posted::Whole`]'s.
    pub(super) fn post_untold<'b>(
        &self,
        body: &impl Body<'b>,
        payload: &[u8],
        late: Late,
        mut when: impl FnMut(&mut State) -> Option<Result<()>>,
    ) -> Result<(Pending, Option<usize>)> {
        let mut head = Vec::with_capacity(SMALL);
        let begun = self.until(self.timeout, about::TAGS | about::WRITER, |s| {
            if s.writing && !payload.is_empty() {
                return None;
            }
            if let Err(e) = when(s)? {
                return Some(Err(e));
            }
            let tag = match s.begin(body, payload.len(), late, &mut head) {
                Ok(tag) => tag?,
                Err(e) => return Some(Err(e)),
            };
            if s.writing {
                s.outbox.extend_from_slice(&head);
                return Some(Ok((tag, Begun::Queued)));
            }
            s.writing = true;
            Some(Ok((tag, Begun::Write(core::mem::take(&mut s.outbox)))))
        });
        let (tag, begun) = match begun.and_then(|begun| begun) {
            Ok(begun) => begun,
            // A write that has not begun is not counted among those behind.
            Err(e) if matches!(late, Late::Written { .. }) => return Err(e),
            Err(e) => {
                self.with(|s| s.never_sent(late));
                return Err(e);
            }
        };
        let sent = match begun {
            Begun::Queued => Ok((tag, Posted::Whole(None))),
            Begun::Write(before) => {
                let sent = self.send(&before, &head, payload);
                sent.map(|posted| (tag, posted)).inspect_err(|_| self.with(|s| s.mux.unsend(tag)))
            }
        };
        match sent {
            Ok((tag, Posted::Whole(sent))) => Ok((Pending { tag, late }, sent)),
            // The rest leaves before anything else does: as good as sent.
            Ok((tag, Posted::Part(_))) if matches!(late, Late::Written { .. }) => {
                Ok((Pending { tag, late }, None))
            }
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

    /// Begins a small request that leaves with the next [`Client::post`] or
    /// [`Client::push`], so that several leave together.
    pub(super) fn queue<'b>(&self, body: &impl Body<'b>, late: Late) -> Result<Pending> {
        let mut head = Vec::new();
        let queued = self.until(self.timeout, about::TAGS, |s| {
            let tag = s.begin(body, 0, late, &mut head);
            let tag = tag.map(|tag| tag.inspect(|_| s.outbox.extend_from_slice(&head)));
            tag.transpose()
        });
        match queued.and_then(|tag| tag) {
            Ok(tag) => Ok(Pending { tag, late }),
            Err(e) => {
                self.with(|s| s.never_sent(late));
                Err(e)
            }
        }
    }

    /// Sends one whole frame, after what was in the outbox. The caller has the
    /// writer's role, which is given back unless all went well.
    fn send(&self, before: &[u8], head: &[u8], payload: &[u8]) -> Result<Posted> {
        let total = before.len() + head.len() + payload.len();
        let (mut sent, mut stopped, mut deadline) = (0, None, None);
        while sent < total && stopped.is_none() {
            match self.transport.send(&rest_of(&[before, head, payload], sent)) {
                Ok(n) => sent += n,
                Err(Errno::EAGAIN) => {
                    let deadline = *deadline.get_or_insert_with(|| self.deadline(self.timeout));
                    stopped = self.until_writable(deadline).err();
                }
                Err(e) => stopped = Some(e),
            }
        }
        let Some(why) = stopped else { return Ok(Posted::Whole(Some(sent))) };
        let rest = rest_of(&[before, head, payload], sent);
        let begun = sent > before.len();
        // A frame that was not begun is taken back whole.
        let rest = if begun { rest.concat() } else { rest[0].to_vec() };
        self.with(|s| {
            s.outbox.splice(..0, rest.iter().copied());
            s.sent(sent);
        });
        match why {
            // The payload is not there, of which whoever gives it makes sure first.
            // No server takes a message of which the end does not come.
            Errno::EFAULT => {
                if begun {
                    self.broken();
                }
                Err(Errno::EFAULT)
            }
            e if !is_pause(e) => Err(self.broken()),
            e if begun => Ok(Posted::Part(e)),
            e => Err(e),
        }
    }

    /// Sends from the outbox what goes at once, unless somebody is writing:
    /// that one looks into the outbox when it is done.
    pub(super) fn push(&self) {
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
            let left = self.with(|s| {
                s.outbox.splice(..0, batch[n..].iter().copied());
                s.sent(n);
                !s.outbox.is_empty()
            });
            match sent {
                Ok(_) if left => {}
                Ok(_) | Err(Errno::EAGAIN) => return,
                Err(_) => {
                    self.broken();
                    return;
                }
            }
        }
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
