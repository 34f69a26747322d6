//! What a process finds of its family in the environment.

use alloc::vec::Vec;

/// What the environment variable `PRIVNS` says: `1:FD:ID` and what the
/// library hands to itself, behind another colon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inherited<'a> {
    /// The table's descriptor.
    pub fd: i32,
    /// The family's number, by which a lost table is found again.
    pub id: u64,
    /// What follows.
    pub rest: &'a [u8],
}

impl<'a> Inherited<'a> {
    /// Reads the variable's value; `None` for one that we have not written.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Inherited<'a>> {
        let mut fields = value.splitn(4, |&b| b == b':');
        if fields.next()? != b"1" {
            return None;
        }
        let fd = core::str::from_utf8(fields.next()?).ok()?.parse().ok().filter(|&fd| fd >= 0)?;
        let id = core::str::from_utf8(fields.next()?).ok()?;
        let id = u64::from_str_radix(id, 16).ok().filter(|&id| id != 0)?;
        Some(Inherited { fd, id, rest: fields.next().unwrap_or_default() })
    }

    /// Writes the variable's value.
    #[must_use]
    pub fn format(&self) -> Vec<u8> {
        let mut value = alloc::format!("1:{}:{:016x}", self.fd, self.id).into_bytes();
        if !self.rest.is_empty() {
            value.push(b':');
            value.extend_from_slice(self.rest);
        }
        value
    }
}
