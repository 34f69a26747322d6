//! Writing replies behind each other into one buffer.

use privns_abi::{Errno, Result};
use privns_ninep::message::{Body, Rerror, Rlerror, Rread};
use privns_ninep::wire::Unix;
use privns_ninep::{Dialect, HEADER, error};

/// The reply to one request.
pub(crate) struct Answer<'o> {
    out: &'o mut Vec<u8>,
    at: usize,
    tag: u16,
    dialect: Dialect,
    msize: usize,
}

impl<'o> Answer<'o> {
    pub(crate) fn new(out: &'o mut Vec<u8>, tag: u16, dialect: Dialect, msize: u32) -> Self {
        let at = out.len();
        Answer { out, at, tag, dialect, msize: msize as usize }
    }

    /// The reply.
    pub(crate) fn send<'b>(&mut self, body: &impl Body<'b>) -> Result<()> {
        body.append(self.tag, self.dialect, 0, self.out)?;
        if self.out.len() - self.at > self.msize { Err(Errno::EMSGSIZE) } else { Ok(()) }
    }

    /// The payload that one reply can carry, of `asked` bytes.
    pub(crate) fn room(&self, asked: u32) -> usize {
        (asked as usize).min(self.msize - HEADER - 4)
    }

    /// An Rread whose payload is read into its place.
    pub(crate) fn fill(
        &mut self,
        asked: u32,
        read: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<()> {
        let want = self.room(asked);
        let start = self.at + HEADER + 4;
        self.out.resize(start + want, 0);
        let n = read(&mut self.out[start..])?.min(want);
        self.out.truncate(start + n);
        let size = (HEADER + 4 + n) as u32;
        let head = &mut self.out[self.at..start];
        head[..4].copy_from_slice(&size.to_le_bytes());
        head[4] = Rread::TYPE;
        head[5..7].copy_from_slice(&self.tag.to_le_bytes());
        head[7..].copy_from_slice(&(n as u32).to_le_bytes());
        Ok(())
    }

    /// An Rread whose payload of `n` bytes is sent by somebody else, right
    /// behind it.
    pub(crate) fn announce(&mut self, n: usize) {
        self.out.extend_from_slice(&((HEADER + 4 + n) as u32).to_le_bytes());
        self.out.push(Rread::TYPE);
        self.out.extend_from_slice(&self.tag.to_le_bytes());
        self.out.extend_from_slice(&(n as u32).to_le_bytes());
    }

    /// The error instead of whatever was begun.
    pub(crate) fn fail(&mut self, e: Errno) {
        self.out.truncate(self.at);
        let sent = match self.dialect {
            Dialect::Linux => self.send(&Rlerror { code: error::to_code(e) }),
            _ => {
                let text = error::to_text(e).as_bytes();
                self.send(&Rerror { text, code: Unix(error::to_code(e)) })
            }
        };
        debug_assert!(sent.is_ok(), "an error reply fits any message size");
    }
}
