//! Remote trees: the host names that stand for their files, and the servers
//! that they come from.
//!
//! A file of a 9P server has a host name that no host can have,
//! `/dev/null/9p/ID/path/below/the/attached/root`: `/dev/null` is no directory,
//! so the kernel's answer to such a name is ENOTDIR, always. The table, the
//! resolver, unions and what finds names of host files know nothing of it; what
//! asks the kernel asks here first.

use crate::file::MountOptions;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What every remote file's host name begins with; its server's number follows.
pub const PREFIX: &[u8] = b"/dev/null/9p/";

/// Servers without a member that a table still knows: whoever has a file of
/// theirs open may have to dial them again.
pub const KEPT_MAX: usize = 16;

/// A 9P server, and how it is to be spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its number in this table, never 0 and never another's.
    pub id: u32,
    /// The address that was asked for.
    pub address: Vec<u8>,
    /// The address that programs dial: `unix!PATH` or `tcp!NUMBER!PORT`.
    pub dial: Vec<u8>,
    /// Whom to attach as.
    pub user: Vec<u8>,
    /// What was asked for with the address.
    pub options: MountOptions,
}

impl Server {
    /// Whether a mount of this address is the same tree.
    #[must_use]
    pub fn is(&self, address: &[u8], options: &MountOptions) -> bool {
        // Each `mem!` is a new one.
        !address.starts_with(b"mem!") && self.address == address && self.options == *options
    }
}

/// The host name of the root of the tree of server `id`.
#[must_use]
pub fn name(id: u32) -> Vec<u8> {
    [PREFIX, alloc::format!("{id}").as_bytes()].concat()
}

/// Whether a host name is a remote file's.
#[inline]
#[must_use]
pub fn is_remote(host: &[u8]) -> bool {
    host.starts_with(PREFIX)
}

/// The number of the server of a remote file, and the file's path below the
/// attached root: empty for the root, else with a slash in front. `None` for
/// every other name.
#[inline]
#[must_use]
pub fn split(host: &[u8]) -> Option<(u32, &[u8])> {
    let rest = host.strip_prefix(PREFIX)?;
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, path) = rest.split_at(digits);
    if digits.is_empty() || digits[0] == b'0' || !(path.is_empty() || path[0] == b'/') {
        return None;
    }
    let id = digits
        .iter()
        .try_fold(0u32, |id, digit| id.checked_mul(10)?.checked_add(u32::from(digit - b'0')))?;
    Some((id, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_apart_as_they_were_put_together() {
        for id in [1, 9, 10, u32::MAX] {
            assert_eq!(split(&name(id)), Some((id, &b""[..])));
            let below = [&name(id)[..], b"/a/b"].concat();
            assert_eq!(split(&below), Some((id, &b"/a/b"[..])));
            assert!(is_remote(&below));
        }
    }

    #[test]
    fn what_is_no_remote_name() {
        for host in [
            &b""[..],
            b"/dev/null",
            b"/dev/null/9p",
            b"/dev/null/9p/",
            b"/dev/null/9p/x",
            b"/dev/null/9p/0",
            b"/dev/null/9p/01",
            b"/dev/null/9p/1x",
            b"/dev/null/9p/4294967296",
            b"/a/dev/null/9p/1",
        ] {
            assert_eq!(split(host), None, "{host:?}");
        }
    }
}
