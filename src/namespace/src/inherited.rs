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

    /// What stands first behind the second colon: `gN;uUID`, the generation
    /// that `PRIVNS_IMAGE` is of, and the user whose family it is.
    #[must_use]
    pub fn of(generation: u64, uid: u32) -> Vec<u8> {
        alloc::format!("g{generation};u{uid};").into_bytes()
    }

    /// The generation and the user of [`Inherited::of`].
    #[must_use]
    pub fn image(&self) -> Option<(u64, u32)> {
        let mut items = self.rest.split(|&b| b == b';');
        let mut item = |kind| core::str::from_utf8(items.next()?.strip_prefix(kind)?).ok();
        Some((item(b"g")?.parse().ok()?, item(b"u")?.parse().ok()?))
    }

    /// The name of the family that stands for this one on another machine, for
    /// all programs that arrive there with the same image.
    #[must_use]
    pub fn name_elsewhere(&self) -> Option<Vec<u8>> {
        let (generation, _) = self.image()?;
        Some(Inherited::called_elsewhere(self.id, generation))
    }

    /// The same for the image of a generation.
    #[must_use]
    pub fn called_elsewhere(id: u64, generation: u64) -> Vec<u8> {
        alloc::format!("{id:016x}.{generation}").into_bytes()
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

/// The number of the family that stands on the machine `node` for one here, by
/// the [name](Inherited::name_elsewhere) that it has there: so that members
/// there are known for what they are from here. `None` for another name. It
/// differs from node to node, since instances on a shared file system are
/// called by it.
#[must_use]
pub fn number_elsewhere(name: &[u8], node: &[u8]) -> Option<u64> {
    let (id, generation) = name.split_at_checked(16)?;
    let is_hex = |b: &u8| b.is_ascii_hexdigit() && !b.is_ascii_uppercase();
    let digits = generation.strip_prefix(b".")?;
    let named =
        id.iter().all(is_hex) && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    // FNV-1a, 64 bits.
    let fold = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let hash = name.iter().chain(b"@").chain(node).fold(0xcbf2_9ce4_8422_2325, fold);
    named.then_some(hash.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_with_what_the_image_is_of() {
        let mut rest = Inherited::of(7, 1000);
        rest.extend_from_slice(b"d2");
        let value = Inherited { fd: 1020, id: 0xab, rest: &rest }.format();
        assert_eq!(value, b"1:1020:00000000000000ab:g7;u1000;d2");
        let read = Inherited::parse(&value).unwrap();
        assert_eq!(read.image(), Some((7, 1000)));
        assert_eq!(read.name_elsewhere().as_deref(), Some(&b"00000000000000ab.7"[..]));
        assert_eq!(Inherited { rest: b"d2", ..read }.image(), None);
        let there = |name: &[u8], node: &[u8]| number_elsewhere(name, node);
        let name = b"00000000000000ab.7";
        assert!(there(name, b"n1").is_some() && there(name, b"n1") == there(name, b"n1"));
        assert_ne!(there(name, b"n1"), there(name, b"n2"));
        assert_ne!(there(name, b"n1"), there(b"00000000000000ab.8", b"n1"));
        for other in [&b"work"[..], b"00000000000000ab.", b"00000000000000AB.7", b"0000.7", b""] {
            assert_eq!(there(other, b"n1"), None);
        }
    }
}
