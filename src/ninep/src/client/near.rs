//! Attaching, and asking in the same breath where the tree is and where a name
//! leads.

use super::{Client, Fid, Late, Monitor, Pending, State, Transport};
use crate::attr::Qid;
use crate::message::{Rattach, Rread, Rxattrwalk, Tattach, Tread, Txattrwalk};
use crate::near::XATTR;
use crate::wire::Unix;
use crate::{NOFID, Result, WALK_MAX};
use alloc::vec::Vec;

/// Longest answer: a path, and the numbers before it.
const LONGEST: u32 = 4096 + 128;

/// How often what has come is taken in before a connection counts as alive.
const LOOKS: usize = 4;

/// What is asked in the same breath as attaching, of servers of ours.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Where the tree is ([`crate::near`]).
    pub near: bool,
    /// A way from the root, to be walked at once; none: nothing is.
    pub names: &'a [&'a [u8]],
}

/// What attaching has told.
#[derive(Debug)]
pub struct Attached {
    /// The root.
    pub root: Fid,
    /// Its identity.
    pub qid: Qid,
    /// What the server says of the place of the tree.
    pub near: Option<Vec<u8>>,
    /// Where the names have led.
    pub found: Option<(Fid, Qid)>,
}

impl<T: Transport, M: Monitor<State>> Client<T, M> {
    /// As [`Client::attach`]; what else is asked takes no round trip more.
    ///
    /// # Errors
    /// As [`Client::attach`]; what the server does not say is none.
    pub fn attach_asking(
        &self,
        uname: &[u8],
        uid: u32,
        aname: &[u8],
        asked: Asked<'_>,
    ) -> Result<Attached> {
        if !self.agreed.ours {
            let (root, qid) = self.attach(uname, uid, aname)?;
            return Ok(Attached { root, qid, near: None, found: None });
        }
        let fid = self.new_fid()?;
        let body = Tattach { fid, afid: NOFID, uname, aname, n_uname: Unix(uid) };
        let attach = self.queue(&body, Late::Clunk(fid))?;
        let root = Fid(fid);
        let near = asked.near.then(|| self.ask_near(&root));
        let walks = !asked.names.is_empty() && asked.names.len() <= WALK_MAX;
        let walk = walks.then(|| self.walk_ahead(&root, asked.names));
        self.push();
        let attached = self.finish(attach).and_then(|f| self.reply::<Rattach>(&f));
        let near = near.and_then(|near| self.told_near(near.ok()?));
        let found = walk.and_then(|walk| self.arrived(walk.ok()?).ok());
        let found = found.and_then(|(fid, qid)| Some((fid, qid?)));
        Ok(Attached { root, qid: attached?.qid, near, found })
    }

    fn ask_near(&self, root: &Fid) -> Result<(u32, Pending, Result<Pending>)> {
        let newfid = self.new_fid()?;
        let body = Txattrwalk { fid: root.0, newfid, name: XATTR };
        let walk = self.queue(&body, Late::Clunk(newfid))?;
        let count = self.payload(0).min(LONGEST);
        Ok((newfid, walk, self.queue(&Tread { fid: newfid, offset: 0, count }, Late::Nothing)))
    }

    fn told_near(&self, asked: (u32, Pending, Result<Pending>)) -> Option<Vec<u8>> {
        let (fid, walk, read) = asked;
        let walked = self.finish(walk).and_then(|f| self.reply::<Rxattrwalk>(&f));
        let read = read.and_then(|read| self.finish_after(&walked, read));
        walked.ok()?;
        self.drop_fid(fid);
        Some(self.reply::<Rread<'_>>(&read.ok()?).ok()?.data.0.to_vec())
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
