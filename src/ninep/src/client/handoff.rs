//! Open files from one connection to another: many tokens, and many claims,
//! in one round trip. Only servers of ours know them.

use super::{Client, Fid, HANDOFF_ANAME, HANDOFF_XATTR, Late, Monitor, Opened, State, Transport};
use crate::attr::valid;
use crate::message::{Rattach, Rgetattr, Rread, Rxattrwalk, Tattach, Tgetattr, Tread, Txattrwalk};
use crate::wire::Unix;
use crate::{Errno, NOFID, Result};
use alloc::vec::Vec;

/// Files at a time.
const SOME: usize = 64;
/// Longest token that is believed.
const TOKEN_MAX: u32 = 64;

impl<T: Transport, M: Monitor<State>> Client<T, M> {
    /// A token for each of these open files, as [`Client::handoff`].
    ///
    /// # Errors
    /// EOPNOTSUPP with a server of others, for all of them. An error of one
    /// file is in its place.
    pub fn handoffs(&self, fids: &[&Fid]) -> Vec<Result<Vec<u8>>> {
        if !self.agreed.ours {
            return fids.iter().map(|_| Err(Errno::EOPNOTSUPP)).collect();
        }
        fids.chunks(SOME).flat_map(|some| self.told_together(some, HANDOFF_XATTR)).collect()
    }

    /// The value of a short attribute that a server of ours has, in one round trip.
    pub(super) fn told(&self, fid: &Fid, name: &[u8]) -> Result<Vec<u8>> {
        self.told_together(&[fid], name).pop().unwrap_or(Err(Errno::EIO))
    }

    fn told_together(&self, fids: &[&Fid], name: &[u8]) -> Vec<Result<Vec<u8>>> {
        let ask = |fid: &&Fid| {
            let newfid = self.new_fid()?;
            let body = Txattrwalk { fid: fid.0, newfid, name };
            let walk = self.queue(&body, Late::Clunk(newfid))?;
            let body = Tread { fid: newfid, offset: 0, count: TOKEN_MAX };
            Ok((newfid, walk, self.queue(&body, Late::Nothing)))
        };
        let asked: Vec<Result<_>> = fids.iter().map(ask).collect();
        self.push();
        let told = asked.into_iter().map(|asked| {
            let (newfid, walk, read) = asked?;
            let walked = self.finish(walk).and_then(|f| self.reply::<Rxattrwalk>(&f));
            let read = read.and_then(|read| self.finish_after(&walked, read));
            walked?;
            self.drop_fid(newfid);
            let frame = read?;
            self.reply::<Rread<'_>>(&frame).map(|r| r.data.0.to_vec())
        });
        told.collect()
    }

    /// The open files behind tokens, which are then used up; with their
    /// attributes.
    ///
    /// # Errors
    /// ESTALE in the place of a token that is not good any more.
    pub fn claims(&self, uname: &[u8], uid: u32, tokens: &[&[u8]]) -> Vec<Result<Opened>> {
        tokens.chunks(SOME).flat_map(|some| self.claims_together(uname, uid, some)).collect()
    }

    fn claims_together(&self, uname: &[u8], uid: u32, tokens: &[&[u8]]) -> Vec<Result<Opened>> {
        let ask = |token: &&[u8]| {
            let fid = self.new_fid()?;
            let aname = [HANDOFF_ANAME, token].concat();
            let body = Tattach { fid, afid: NOFID, uname, aname: &aname, n_uname: Unix(uid) };
            let attach = self.queue(&body, Late::Clunk(fid))?;
            let attr = self.queue(&Tgetattr { fid, mask: valid::BASIC }, Late::Nothing);
            Ok((fid, attach, attr))
        };
        let asked: Vec<Result<_>> = tokens.iter().map(ask).collect();
        self.push();
        let told = asked.into_iter().map(|asked| {
            let (fid, attach, attr) = asked?;
            let attached = self.finish(attach).and_then(|f| self.reply::<Rattach>(&f));
            let attr = attr.and_then(|attr| self.finish_after(&attached, attr));
            let qid = attached?.qid;
            let attr = attr.ok().and_then(|f| self.reply::<Rgetattr>(&f).ok()).map(|r| r.attr);
            Ok(Opened { fid: Fid(fid), qid, iounit: self.payload(0), attr, first: None })
        });
        told.collect()
    }
}
