//! Proving who one is before attaching (attach(5)): a credential of MUNGE is
//! written to an afid, as diod has it.

use super::{Answer, Session};
use crate::munge;
use crate::tree::Tree;
use privns_abi::{Errno, Result};
use privns_ninep::attr::{Qid, qt};
use privns_ninep::message::{Rauth, Rwrite, Tauth, Twrite};
use privns_ninep::{NOFID, NONUM};

/// Authentications of one connection under way at a time.
const AFIDS: usize = 64;

/// A fid to write a credential on.
pub(super) struct Afid {
    /// Whom it is to be, if a number was given.
    asked: u32,
    text: Vec<u8>,
    /// The user that the credential is of, once it has been read.
    proven: Option<(u32, u32)>,
}

impl<T: Tree> Session<T> {
    pub(super) fn auth(&mut self, m: &Tauth<'_>, a: &mut Answer<'_>) -> Result<()> {
        if !self.peer.has_to_prove() {
            return Err(Errno::ENOENT);
        }
        self.check_free(m.afid, None)?;
        if m.afid == NOFID || self.afids.contains_key(&m.afid) {
            return Err(Errno::EBADF);
        }
        if self.afids.len() >= AFIDS {
            return Err(Errno::EMFILE);
        }
        self.afids.insert(m.afid, Afid { asked: m.n_uname.0, text: Vec::new(), proven: None });
        let path = u64::MAX - u64::from(m.afid);
        a.send(&Rauth { aqid: Qid { kind: qt::AUTH, version: 0, path } })
    }

    /// Takes a part of the credential.
    pub(super) fn write_proof(&mut self, m: &Twrite<'_>, a: &mut Answer<'_>) -> Result<()> {
        let afid = self.afids.get_mut(&m.fid).ok_or(Errno::EBADF)?;
        let data = m.data.0;
        if afid.text.len() + data.len() > munge::LARGEST || m.offset != afid.text.len() as u64 {
            return Err(Errno::EINVAL);
        }
        afid.text.extend_from_slice(data);
        afid.proven = None;
        a.send(&Rwrite { count: data.len() as u32 })
    }

    /// The user and group that an afid proves; a number that was asked for in
    /// Tauth has to be that user's, unless root asks for another.
    pub(super) fn proven(&mut self, number: u32) -> Result<(u32, u32)> {
        let afid = self.afids.get_mut(&number).ok_or(Errno::EPERM)?;
        let proven = match afid.proven {
            Some(proven) => proven,
            None => {
                let text = afid.text.strip_suffix(b"\0").unwrap_or(&afid.text);
                munge::decode(text).map_err(|_| Errno::EPERM)?
            }
        };
        afid.proven = Some(proven);
        let other = afid.asked != NONUM && afid.asked != proven.0;
        if other && proven.0 != 0 { Err(Errno::EPERM) } else { Ok(proven) }
    }
}
