//! What the loader is to open in place of files that it would open by itself: a
//! list that a module of ours reads, which watches the loader (rtld-audit(7)).

use alloc::vec::Vec;
use privns_abi::{Errno, Result};
use privns_host::Name;

/// Entries: a kind, a name of the loader's, and the file that it is to open, each
/// name with a NUL; no file at all says that there is none.
#[derive(Debug, Default)]
pub(super) struct Instead {
    bytes: Vec<u8>,
}

/// Something needs it by that name, which is to be the library's own.
const NAMED: u8 = b'n';
/// It is come by in a search.
const SEARCHED: u8 = b's';

impl Instead {
    /// The entries, or `None` for none at all.
    pub(super) fn entries(self) -> Option<Vec<u8>> {
        (!self.bytes.is_empty()).then_some(self.bytes)
    }

    pub(super) fn named(&mut self, name: &Name, file: &[u8]) -> Result<()> {
        self.add(NAMED, name, file)
    }

    pub(super) fn searched(&mut self, name: &Name, file: &[u8]) -> Result<()> {
        self.add(SEARCHED, name, file)
    }

    fn add(&mut self, kind: u8, name: &Name, file: &[u8]) -> Result<()> {
        let name = name.as_bytes();
        self.bytes.try_reserve(name.len() + file.len() + 3).map_err(|_| Errno::ENOMEM)?;
        self.bytes.push(kind);
        for text in [name, file] {
            self.bytes.extend_from_slice(text);
            self.bytes.push(0);
        }
        Ok(())
    }
}
