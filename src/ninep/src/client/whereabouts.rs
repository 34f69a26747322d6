//! Where a file is that has been walked to. A fid goes along when its file is
//! renamed, and nothing in 9P tells where to: a server of ours says it in an
//! extended attribute; in the old dialects a file's name is among its
//! attributes, and `..` leads up.

use super::walk::walk_of;
use super::{Client, Fid, Late, Monitor, State, Transport};
use crate::attr::Qid;
use crate::{Errno, Result};
use alloc::vec::Vec;

/// Extended attribute of a file: the names that lead there from where its client
/// has attached, with a slash between them. Only servers of ours have it.
pub const PATH_XATTR: &[u8] = b"privns.path";

/// Levels climbed at most.
const DEEPEST: usize = 2048;

impl<T: Transport, M: Monitor<State>> Client<T, M> {
    /// The way from the root, whose identity is `root`, to a file as it is now.
    /// It may be another when it is walked.
    ///
    /// # Errors
    /// ENOENT for a file that has no name any more, EOPNOTSUPP where the server
    /// does not tell; the server's.
    pub fn path_of(&self, fid: &Fid, root: Qid) -> Result<Vec<u8>> {
        if !self.linux() {
            let (here, _) = self.walk(fid, &[])?;
            let names = self.climb(&here, root);
            self.clunk(here);
            return names.map(|names| names.join(&b'/'));
        }
        if self.agreed.ours { self.xattr(fid, PATH_XATTR) } else { Err(Errno::EOPNOTSUPP) }
    }

    /// The names from the root to where a fid is, which goes up there.
    fn climb(&self, here: &Fid, root: Qid) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for _ in 0..DEEPEST {
            let (identity, name) = self.old_name(here)?;
            if identity == root.path {
                names.reverse();
                return Ok(names);
            }
            // A file that has lost its name is called so.
            if name == b"/" {
                return Err(Errno::ENOENT);
            }
            names.push(name);
            let up = walk_of(here.0, here.0, &[b".."]);
            let frame = self.call(&up, Late::Nothing)?;
            self.walked(&frame, here.0, 1, Late::Nothing)?;
        }
        Err(Errno::ENAMETOOLONG)
    }
}
