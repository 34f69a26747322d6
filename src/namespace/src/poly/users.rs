//! Whom a line is for: all but those listed, or with `~` in front only those.

use super::Result;
use crate::failure::{Failure, shown};
use alloc::format;
use alloc::vec::Vec;

/// Whether a line with this list is for the user of number `uid`; what is no
/// user's name is added to `unknown` and counts for nobody.
pub(super) fn is_for(
    list: &[u8],
    uid: u32,
    uid_of: impl Fn(&[u8]) -> Option<u32>,
    unknown: &mut Vec<Failure>,
) -> Result<bool> {
    let (only, list) = match list.strip_prefix(b"~") {
        Some(rest) => (true, rest),
        None => (false, list),
    };
    let mut listed = false;
    for name in list.split(|&b| b == b',').filter(|name| !name.is_empty()) {
        match uid_of(name) {
            Some(number) => listed |= number == uid,
            None => unknown.push(Failure::new(format!("field 4, {}", shown(name)), "no such user")),
        }
    }
    Ok(listed == only)
}
