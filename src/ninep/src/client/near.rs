//! Attaching, and asking in the same breath where the tree is.

use super::{Client, Fid, Late, Monitor, State, Transport};
use crate::attr::Qid;
use crate::message::{Rattach, Rread, Rxattrwalk, Tattach, Tread, Txattrwalk};
use crate::near::XATTR;
use crate::wire::Unix;
use crate::{NOFID, Result};
use alloc::vec::Vec;

/// Longest answer: a path, and the numbers before it.
const LONGEST: u32 = 4096 + 128;

/// How often what has come is taken in before a connection counts as alive.
const LOOKS: usize = 4;

impl<T: Transport, M: Monitor<State>> Client<T, M> {
    /// As [`Client::attach`]; with a server of ours also what it says of the
    /// place of the tree ([`crate::near`]), in the same round trip.
    ///
    /// # Errors
    /// As [`Client::attach`]; a server that does not say where is none.
    pub fn attach_near(
        &self,
        uname: &[u8],
        uid: u32,
        aname: &[u8],
    ) -> Result<(Fid, Qid, Option<Vec<u8>>)> {
        if !self.agreed.ours {
            return self.attach(uname, uid, aname).map(|(fid, qid)| (fid, qid, None));
        }
        let (fid, asked) = (self.new_fid()?, self.new_fid()?);
        let body = Tattach { fid, afid: NOFID, uname, aname, n_uname: Unix(uid) };
        let attach = self.queue(&body, Late::Clunk(fid))?;
        let walk = Txattrwalk { fid, newfid: asked, name: XATTR };
        let walk = self.queue(&walk, Late::Clunk(asked));
        let count = self.payload(0).min(LONGEST);
        let read = self.queue(&Tread { fid: asked, offset: 0, count }, Late::Nothing);
        self.push();
        let attached = self.finish(attach).and_then(|f| self.reply::<Rattach>(&f));
        let walked = walk.and_then(|walk| self.finish_after(&attached, walk));
        let walked = walked.and_then(|f| self.reply::<Rxattrwalk>(&f));
        let read = read.and_then(|read| self.finish_after(&walked, read));
        if walked.is_ok() {
            self.drop_fid(asked);
        }
        let told = read.ok().and_then(|f| Some(self.reply::<Rread<'_>>(&f).ok()?.data.0.to_vec()));
        Ok((Fid(fid), attached?.qid, told))
    }

    /// Whether the server has answered all that was written, and is still
    /// there: what it was told to do shows in the files themselves.
    pub fn is_settled(&self) -> bool {
        // The end stands behind answers that nobody has waited for.
        for _ in 0..LOOKS {
            let Some(mut framer) = self.with(|s| s.framer.take()) else { break };
            let got = self.receive(&mut framer);
            self.deliver(framer, got);
            if got.is_err() {
                break;
            }
        }
        let behind = self.with(|s| !s.behind.is_empty());
        (!behind || self.settle_all().is_ok()) && !self.is_dead()
    }
}
