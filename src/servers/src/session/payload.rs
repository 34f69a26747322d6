//! Large reads. Their bytes go from the file to the socket, or through one
//! piece of memory that is used again, and never through the buffer in which
//! small replies are collected.

use super::{Answer, Fid, OpenFile, Session, Use};
use crate::tree::Tree;
use privns_abi::Result;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// Reads from this size on, bytes: below, two more calls cost more than a copy.
pub(super) const LARGE: usize = 64 << 10;

/// Fids that are looked at for a writer; with more, a copy costs less.
const LOOKED_AT: usize = 256;

/// The bytes that follow an Rread.
pub(crate) enum Payload<T: Tree> {
    /// So many of this file, from an offset on.
    File(Arc<OpenFile<T>>, u64, usize),
    /// So many of the session's memory.
    Memory(usize),
}

impl<T: Tree> OpenFile<T> {
    /// What sendfile(2) can take the contents from.
    pub(crate) fn descriptor<'f>(&'f self, tree: &'f T) -> Option<BorrowedFd<'f>> {
        tree.descriptor(&self.file)
    }
}

impl<T: Tree> Session<T> {
    pub(super) fn read_much(
        &mut self,
        open: &Arc<OpenFile<T>>,
        offset: u64,
        want: usize,
        a: &mut Answer<'_>,
    ) -> Result<()> {
        let there = match self.may_lend(open) {
            true => self.common.tree.certain(&open.file, offset, want),
            false => None,
        };
        if let Some(n) = there.filter(|n| *n >= LARGE) {
            a.announce(n);
            self.payload = Some(Payload::File(open.clone(), offset, n));
            return Ok(());
        }
        if self.scratch.len() < want {
            self.scratch.resize(want, 0);
        }
        let n = self.common.tree.read(&open.file, offset, &mut self.scratch[..want])?.min(want);
        a.announce(n);
        self.payload = Some(Payload::Memory(n));
        Ok(())
    }

    /// Pages of a file that sendfile(2) has taken show what is written to them
    /// until they have been received. Somebody who writes to the file on this
    /// connection would find later writes in earlier reads.
    fn may_lend(&self, open: &OpenFile<T>) -> bool {
        let writes = |fid: &Fid<T>| match &fid.use_ {
            Use::Open(other) => other.how.writes() && other.qid.path == open.qid.path,
            _ => false,
        };
        let few = self.fids.len() <= LOOKED_AT;
        few && open.descriptor(&self.common.tree).is_some() && !self.fids.values().any(writes)
    }

    /// What has to be sent behind the reply that was made last, before the
    /// next request is answered.
    pub(crate) fn take_payload(&mut self) -> Option<Payload<T>> {
        self.payload.take()
    }

    /// The memory of [`Payload::Memory`].
    pub(crate) fn memory(&mut self) -> &mut Vec<u8> {
        &mut self.scratch
    }

    pub(crate) fn tree(&self) -> &T {
        &self.common.tree
    }
}
