//! Where instances lie and how they are called.
//!
//! The instances of a user lie in one directory beneath the original, so that
//! they are on its file system and under the same rules of whatever guards
//! it: `ORIGINAL/.privns-UID/NAME`. That parent is the user's own, mode 0700,
//! and never reached through a symbolic link; whoever makes or removes an
//! instance checks both (see the program that does).

use alloc::format;
use alloc::vec::Vec;

const PARENT: &[u8] = b".privns-";

/// The name of the directory beneath an original that holds the instances of
/// the user `uid`.
#[must_use]
pub fn parent(uid: u32) -> Vec<u8> {
    [PARENT, format!("{uid}").as_bytes()].concat()
}

/// The user whose instances a directory of this name holds.
#[must_use]
pub fn parent_owner(name: &[u8]) -> Option<u32> {
    let digits = name.strip_prefix(PARENT)?;
    let plain = digits == b"0" || !digits.starts_with(b"0");
    core::str::from_utf8(digits).ok().filter(|d| plain && !d.starts_with('+'))?.parse().ok()
}

/// The name of an instance: the family's number, so that whoever reaps knows
/// whom to ask for, and a number that makes it this family's only one.
#[must_use]
pub fn name(family: u64, number: u64) -> Vec<u8> {
    format!("{family:016x}.{number:016x}").into_bytes()
}

/// The number of the family that an instance of this name was made for.
#[must_use]
pub fn family(name: &[u8]) -> Option<u64> {
    let (family, number) = name.split_at_checked(16)?;
    let number = number.strip_prefix(b".").filter(|n| n.len() == 16)?;
    let hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if !family.iter().chain(number).all(hex) {
        return None;
    }
    u64::from_str_radix(core::str::from_utf8(family).ok()?, 16).ok()
}

/// The original of the instance at this host path; `None` for a path that no
/// instance has. The root is the empty path.
#[must_use]
pub fn original(instance: &[u8]) -> Option<&[u8]> {
    let mut parts = instance.rsplitn(3, |&b| b == b'/');
    family(parts.next()?)?;
    parent_owner(parts.next()?)?;
    parts.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_knows_its_original_its_user_and_its_family() {
        let path = [b"/var/tmp/", &parent(1000)[..], b"/", &name(0xabc, 7)].concat();
        assert_eq!(original(&path), Some(&b"/var/tmp"[..]));
        assert_eq!(parent_owner(b".privns-1000"), Some(1000));
        assert_eq!(family(&name(0xabc, 7)), Some(0xabc));
        let root = [b"/", &parent(0)[..], b"/", &name(1, 2)].concat();
        assert_eq!(original(&root), Some(&b""[..]));
    }

    #[test]
    fn nothing_else_passes_for_an_instance() {
        for name in [".privns-", ".privns-01", ".privns-+1", ".privns-4294967296", ".privns-1x"] {
            assert_eq!(parent_owner(name.as_bytes()), None, "{name}");
        }
        let good = name(1, 2);
        assert_eq!(original(&[b"/tmp/.privns/", &good[..]].concat()), None);
        assert_eq!(original(b"/tmp/.privns-1/x"), None);
        assert_eq!(family(&good[1..]), None);
        assert_eq!(family(&good.to_ascii_uppercase()), Some(1));
        assert_eq!(family(b"000000000000000A.0000000000000000"), None);
        assert_eq!(family(b""), None);
    }
}
