//! What the kernel has for a working directory that is a server's: a directory
//! that holds nothing and has no name any more (`Kernel::leave_for_nowhere`).
//! It was called after what it stands for, so that other members, who see that
//! name in its link in `/proc`, know where it is.

use alloc::vec::Vec;
use privns_abi::{Errno, Result};
use privns_host::{Kernel, Name};
use privns_namespace::remote;

/// What such a directory's name begins with, a number behind it, and how long
/// a name may be (NAME_MAX).
const CALLED: &[u8] = b"/.privns-";
const DIGITS: usize = 16;
const LONGEST: usize = 255;

/// Makes it the working directory, for a directory of this host name.
///
/// # Errors
/// chdir(2)'s; ENOMEM.
pub(super) fn leave(host: &[u8]) -> Result<()> {
    let mut name = Name::from(CALLED)?;
    name.push(alloc::format!("{:016x}", Kernel.random()?).as_bytes())?;
    let called = coded(host.strip_prefix(remote::PREFIX).unwrap_or_default())?;
    if name.as_bytes().len() + called.len() <= LONGEST {
        name.push(&called)?;
    }
    Kernel.leave_for_nowhere(name.as_bytes())
}

/// The host name of the directory that one stands for, by the text of a link to
/// it in `/proc`; `None` for any other, and where it was too long.
#[must_use]
pub fn meant(text: &[u8]) -> Option<Name> {
    let text = text.strip_suffix(b" (deleted)")?;
    let at = text.iter().rposition(|b| *b == b'/')?;
    let rest = text.get(at..)?.strip_prefix(CALLED)?;
    let (number, mut code) = rest.split_at_checked(DIGITS)?;
    if code.is_empty() || !number.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut host = Name::from(remote::PREFIX).ok()?;
    while let Some(end) = code.iter().position(|b| *b == b'%') {
        let escape = code.get(end + 1..end + 3)?;
        host.push(code.get(..end)?).ok()?;
        host.push(match escape {
            b"2F" => b"/",
            b"25" => b"%",
            _ => return None,
        })
        .ok()?;
        code = code.get(end + 3..)?;
    }
    host.push(code).ok()?;
    Some(host)
}

/// A name that is one component.
fn coded(name: &[u8]) -> Result<Vec<u8>> {
    let mut code = Vec::new();
    code.try_reserve(name.len() * 3).map_err(|_| Errno::ENOMEM)?;
    for byte in name {
        match byte {
            b'/' => code.extend_from_slice(b"%2F"),
            b'%' => code.extend_from_slice(b"%25"),
            byte => code.push(*byte),
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back() {
        for name in ["1", "12/a b/%c/%2F", "3/(deleted)"] {
            let code = coded(name.as_bytes()).unwrap();
            let text = [b"/dev/shm/.privns-0123456789abcdef", &code[..], b" (deleted)"].concat();
            let host = [remote::PREFIX, name.as_bytes()].concat();
            assert_eq!(meant(&text).unwrap().as_bytes(), host);
        }
        for text in [
            "/dev/shm/.privns-0123456789abcdef (deleted)",
            "/dev/shm/.privns-0123456789abcdef1",
            "/dev/shm/.privns-0123456789abcdef%2 (deleted)",
            "/dev/shm/.privns-012345678%2Fabcdef1 (deleted)",
            "/a (deleted)",
        ] {
            assert!(meant(text.as_bytes()).is_none(), "{text}");
        }
    }
}
