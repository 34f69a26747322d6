//! Where a file has data, and where holes (lseek(2)). No message of 9P asks for
//! that: a server of ours tells it in extended attributes, whose names say what
//! is asked. With others a file is data to its end.

use super::{Client, Fid, Monitor, State, Transport};
use crate::{Errno, Result};
use alloc::format;
use alloc::vec::Vec;

/// What is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// `SEEK_DATA`.
    Data,
    /// `SEEK_HOLE`.
    Hole,
}

impl Next {
    /// What stands before the offset in the name of the attribute. Its value is
    /// an offset, eight bytes in little-endian order.
    const fn prefix(self) -> &'static str {
        match self {
            Next::Data => "privns.data.",
            Next::Hole => "privns.hole.",
        }
    }

    /// The name of the attribute of an open file by which a server is asked.
    #[must_use]
    pub fn xattr(self, from: u64) -> Vec<u8> {
        format!("{}{from}", self.prefix()).into_bytes()
    }

    /// What an attribute of this name asks, and from where on; `None` for any
    /// other attribute.
    #[must_use]
    pub fn asked(name: &[u8]) -> Option<(Next, u64)> {
        [Next::Data, Next::Hole].into_iter().find_map(|next| {
            let from = name.strip_prefix(next.prefix().as_bytes())?;
            let from = core::str::from_utf8(from).ok()?.parse().ok()?;
            Some((next, from))
        })
    }
}

impl<T: Transport, M: Monitor<State>> Client<T, M> {
    /// Where in an open file the next data or the next hole begins, `from` on.
    ///
    /// # Errors
    /// ENXIO where there is none, as lseek(2); EOPNOTSUPP where the server does
    /// not tell.
    pub fn next(&self, fid: &Fid, next: Next, from: u64) -> Result<u64> {
        if !self.agreed.ours {
            return Err(Errno::EOPNOTSUPP);
        }
        let value = self.told(fid, &next.xattr(from))?;
        value.try_into().map(u64::from_le_bytes).map_err(|_| Errno::EOPNOTSUPP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_is_asked() {
        for next in [Next::Data, Next::Hole] {
            for from in [0, 4096, u64::MAX] {
                assert_eq!(Next::asked(&next.xattr(from)), Some((next, from)));
            }
        }
        for other in ["privns.data.", "privns.hole.-1", "privns.data.1x", "privns.path", "user.x"] {
            assert_eq!(Next::asked(other.as_bytes()), None);
        }
    }
}
