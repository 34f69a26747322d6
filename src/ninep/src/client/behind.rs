//! Writing behind: a write has left this process when the call returns, and
//! only its answer is waited for later, so that a process that is killed loses
//! nothing that a kernel would have kept. What a server says of a write, and a
//! write that it cuts short (EIO), is told once: by the next write to the fid,
//! by [`Client::settle`] or by [`Client::close`]. Of several that fail together,
//! as on a full disk, the first speaks for all that were under way when it was
//! told; the next write waits until those are answered, so that what becomes of
//! it is told apart.

use super::data::WriteHead;
use super::window::even;
use super::{Client, Fid, Late, Monitor, Opened, State, Transport, about};
use crate::message::Tclunk;
use crate::{Errno, Result};

impl State {
    /// Whether another write of a fid may leave.
    fn may_write(&mut self, fid: u32, most: u32, bytes: usize) -> Option<Result<()>> {
        if let Some(e) = self.take_error(fid) {
            return Some(Err(e));
        }
        if self.is_told(fid) {
            return None;
        }
        let under_way = self.behind.iter().map(|b| b.bytes).sum::<usize>();
        let requests = self.behind.iter().map(|b| b.requests).sum::<u32>();
        (requests == 0 || requests < most && under_way < bytes).then_some(Ok(()))
    }

    /// Whether writes of a fid are under way for which an error was told.
    fn is_told(&self, fid: u32) -> bool {
        self.behind.iter().any(|b| b.fid == fid && b.told && b.requests > 0)
    }

    /// Answers that a fid waits for.
    fn unanswered(&self, fid: u32) -> u32 {
        self.behind.iter().find(|b| b.fid == fid).map_or(0, |b| b.requests)
    }
}

impl<T: Transport, M: Monitor<State>> Client<T, M> {
    /// Sends a write of as much of `data` as one message takes, or of a piece
    /// as long as the next ones will be. Bytes sent.
    ///
    /// Writes to one file at overlapping places, and reads of what was just
    /// written, are only in order where the server promises it
    /// ([`Agreed::ours`](crate::dialect::Agreed)); elsewhere settle first.
    ///
    /// # Errors
    /// That of an earlier write to this fid, and then nothing was sent; EINTR,
    /// ETIMEDOUT.
    pub fn write_behind(&self, file: &Opened, offset: u64, data: &[u8]) -> Result<usize> {
        let n = even(data.len(), file.iounit as usize).min(data.len());
        let (fid, count) = (file.fid.0, n as u32);
        if n == 0 {
            return self.with(|s| s.take_error(fid)).map_or(Ok(0), Err);
        }
        let (most, bytes) = self.window.written(self.timing());
        let head = WriteHead { fid, offset, count };
        let late = Late::Written { fid, count };
        // Its answer is nobody's to wait for.
        let _sent = self.post_when(&head, &data[..n], late, |s| s.may_write(fid, most, bytes))?;
        Ok(n)
    }

    /// Waits until every write to a fid is answered.
    ///
    /// # Errors
    /// That of the first that failed. EINTR: some are still under way.
    /// ETIMEDOUT when no answer came for as long as a request may take; the
    /// connection is then dead.
    pub fn settle(&self, fid: &Fid) -> Result<()> {
        self.settle_number(Some(fid.0))
    }

    /// Waits until every write of the connection is answered. Their errors
    /// stay with their fids.
    ///
    /// # Errors
    /// EINTR, ETIMEDOUT, as [`Client::settle`].
    pub fn settle_all(&self) -> Result<()> {
        self.settle_number(None)
    }

    /// Whether a write to this fid was not answered, or failed, and nobody was
    /// told.
    pub fn is_behind(&self, fid: &Fid) -> bool {
        self.with(|s| s.behind.iter().any(|b| b.fid == fid.0))
    }

    fn settle_number(&self, fid: Option<u32>) -> Result<()> {
        let left = |s: &State| match fid {
            Some(fid) => s.unanswered(fid),
            None => s.behind.iter().map(|b| b.requests).sum(),
        };
        let mut before = self.with(|s| left(s));
        loop {
            let waited = self.until(self.timeout, about::TAGS, |s| {
                let now = left(s);
                (now == 0 || now != before).then_some(now)
            });
            match waited {
                Ok(0) => break,
                Ok(now) => before = now,
                Err(Errno::ETIMEDOUT) => {
                    self.with(|s| s.fail(Errno::ETIMEDOUT));
                    return Err(Errno::ETIMEDOUT);
                }
                Err(e) => return Err(e),
            }
        }
        fid.and_then(|fid| self.with(|s| s.take_error(fid))).map_or(Ok(()), Err)
    }

    /// Forgets a fid and waits for it, and for every write to it, so that a
    /// server which finishes its work at the last moment can report an error.
    /// With a server of ours that is one round trip. The fid is gone whatever
    /// comes of it.
    ///
    /// # Errors
    /// That of the first write that failed, else the server's.
    pub fn close(&self, fid: Fid) -> Result<()> {
        let fid = fid.0;
        let settled = if self.agreed.ours { Ok(()) } else { self.settle_number(Some(fid)) };
        let clunk = self.post(&Tclunk { fid }, &[], Late::Release(fid))?;
        let settled = settled.and_then(|()| self.settle_number(Some(fid)));
        if matches!(settled, Err(Errno::EINTR | Errno::ETIMEDOUT)) {
            self.desert(clunk);
            return settled;
        }
        let closed = self.finish(clunk).map(drop);
        settled.and(closed)
    }
}
