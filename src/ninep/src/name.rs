//! Names on the wire: bytes of any encoding, checked one component at a time.
//!
//! A decoded [`Name`] cannot be used before it went through one of the checks,
//! so a handler cannot forget that a peer may send `../../etc`.

use crate::{Errno, Result};
use privns_abi::path::NAME_MAX;

/// A name as the peer sent it, not yet looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Name<'a>(&'a [u8]);

/// One step of a walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    /// `..`: to the parent; at the root, to the root itself (walk(5)).
    Up,
    /// To the entry of this name.
    Down(&'a [u8]),
}

impl<'a> Name<'a> {
    /// A name about to be sent, or for a test: nothing is checked.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Name(bytes)
    }

    /// The bytes for a message in the log or for encoding; never for a lookup.
    #[must_use]
    pub const fn unchecked(self) -> &'a [u8] {
        self.0
    }

    /// One component that an entry can have: not empty, not `.` or `..`, no
    /// slash, no NUL.
    ///
    /// # Errors
    /// ENOENT when empty (path_resolution(7)), ENAMETOOLONG beyond 255 bytes,
    /// else EINVAL.
    pub fn component(self) -> Result<&'a [u8]> {
        match self.step()? {
            Step::Down(name) => Ok(name),
            Step::Up => Err(Errno::EINVAL),
        }
    }

    /// One component of a walk, where `..` has a meaning.
    ///
    /// # Errors
    /// As [`Name::component`].
    pub fn step(self) -> Result<Step<'a>> {
        match self.0 {
            b"" => Err(Errno::ENOENT),
            b".." => Ok(Step::Up),
            b"." => Err(Errno::EINVAL),
            name if name.iter().any(|&b| b == b'/' || b == 0) => Err(Errno::EINVAL),
            name if name.len() > NAME_MAX => Err(Errno::ENAMETOOLONG),
            name => Ok(Step::Down(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_never_leads_elsewhere() {
        for bad in [&b""[..], b".", b"..", b"/", b"a/b", b"../x", b"a\0", b"\0"] {
            assert!(Name::new(bad).component().is_err(), "{bad:?}");
        }
        assert_eq!(Name::new(b"\xff\xfe").component(), Ok(&b"\xff\xfe"[..]));
        assert_eq!(Name::new(b"..").step(), Ok(Step::Up));
        assert_eq!(Name::new(b"...").step(), Ok(Step::Down(b"...")));
        assert_eq!(Name::new(&[b'a'; 256]).component(), Err(Errno::ENAMETOOLONG));
        assert!(Name::new(&[b'a'; 255]).component().is_ok());
    }
}
