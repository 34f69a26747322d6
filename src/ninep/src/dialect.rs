//! The three dialects and how one is agreed on (version(5)).

use crate::{Errno, MSIZE_MAX, MSIZE_MIN, Result};

/// What is spoken on a connection, from the poorest to the richest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub enum Dialect {
    /// 9P2000: text errors, Plan 9 stat records.
    Base,
    /// 9P2000.u: numeric errors and Unix fields beside them.
    Unix,
    /// 9P2000.L: Linux calls, numeric errors only.
    #[default]
    Linux,
}

/// What both sides agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Agreed {
    /// The dialect.
    pub dialect: Dialect,
    /// Largest whole message, in bytes.
    pub msize: u32,
    /// The server is one of ours: it answers in the order of the requests and
    /// knows handoff, so requests that depend on each other may leave together.
    pub ours: bool,
}

/// Asked for first. A period begins an extension that a server may strip
/// (version(5)); ours answers [`ORDERED`], which is no echo, so a server that
/// repeats whatever it reads is not taken for one of ours.
const ASKED: &[u8] = b"9P2000.L.privns";
const ORDERED: &[u8] = b"9P2000.L.ordered";

/// The version strings a client offers, one after the other.
///
/// diod and ganesha answer an unknown one with an error, unpfs with `unknown`,
/// u9fs with `9P2000`; none of them drops the connection for it.
pub const OFFERS: [&[u8]; 4] = [ASKED, b"9P2000.L", b"9P2000.u", b"9P2000"];

impl Dialect {
    /// The version string.
    #[must_use]
    pub const fn version(self) -> &'static [u8] {
        match self {
            Dialect::Base => b"9P2000",
            Dialect::Unix => b"9P2000.u",
            Dialect::Linux => b"9P2000.L",
        }
    }

    /// The dialect that a version string names exactly.
    #[must_use]
    pub fn named(version: &[u8]) -> Option<Dialect> {
        [Dialect::Base, Dialect::Unix, Dialect::Linux].into_iter().find(|d| d.version() == version)
    }
}

/// What a client makes of an Rversion: `None` says that the server knows
/// nothing of the offer, so that the next one may be made.
///
/// # Errors
/// EPROTO for a message size above `asked` or too small to work with, and for
/// a dialect that is richer than what was offered.
pub fn accept(offer: &[u8], asked: u32, version: &[u8], msize: u32) -> Result<Option<Agreed>> {
    let ours = offer == ASKED && version == ORDERED;
    let dialect = if ours { Dialect::Linux } else { Dialect::named(version).unwrap_or_default() };
    if !ours && Dialect::named(version).is_none() {
        return Ok(None);
    }
    let offered = Dialect::named(offer).unwrap_or(Dialect::Linux);
    if dialect > offered || msize > asked || msize < MSIZE_MIN {
        return Err(Errno::EPROTO);
    }
    Ok(Some(Agreed { dialect, msize, ours }))
}

/// What a server answers to Tversion: the agreement and the version string.
/// `None` stands for the answer `unknown`, after which nothing is agreed.
#[must_use]
pub fn answer(version: &[u8], msize: u32) -> Option<(Agreed, &'static [u8])> {
    if msize < MSIZE_MIN {
        return None;
    }
    let msize = msize.min(MSIZE_MAX);
    if version == ASKED {
        return Some((Agreed { dialect: Dialect::Linux, msize, ours: true }, ORDERED));
    }
    // An unknown extension is stripped until what is left is known.
    let mut known = version;
    loop {
        if let Some(dialect) = Dialect::named(known) {
            return Some((Agreed { dialect, msize, ours: false }, dialect.version()));
        }
        known = &known[..known.iter().rposition(|&b| b == b'.')?];
    }
}

/// The version string that says "no dialect in common" (version(5)).
pub const UNKNOWN: &[u8] = b"unknown";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_two_ends_agree_on_order() {
        let (agreed, reply) = answer(OFFERS[0], 8192).unwrap();
        assert_eq!(accept(OFFERS[0], 8192, reply, agreed.msize), Ok(Some(agreed)));
        assert!(agreed.ours);
    }

    #[test]
    fn an_echo_is_not_taken_for_ours() {
        assert_eq!(accept(OFFERS[0], 8192, OFFERS[0], 8192), Ok(None));
        let plain = accept(OFFERS[0], 8192, b"9P2000", 8192).unwrap().unwrap();
        assert_eq!((plain.dialect, plain.ours), (Dialect::Base, false));
    }

    #[test]
    fn extensions_are_stripped_and_strangers_refused() {
        assert_eq!(answer(b"9P2000.u.x", 8192).unwrap().1, b"9P2000.u");
        assert_eq!(answer(b"9P2000.x", 8192).unwrap().1, b"9P2000");
        assert_eq!(answer(b"9P1999", 8192), None);
        assert_eq!(answer(b"", 8192), None);
        assert_eq!(answer(b"9P2000", 16), None);
    }

    #[test]
    fn nonsense_sizes_are_refused() {
        assert_eq!(accept(b"9P2000.L", 8192, b"9P2000.L", 8193), Err(Errno::EPROTO));
        assert_eq!(accept(b"9P2000.L", 8192, b"9P2000.L", 10), Err(Errno::EPROTO));
        assert_eq!(accept(b"9P2000.u", 8192, b"9P2000.L", 8192), Err(Errno::EPROTO));
        assert_eq!(accept(b"9P2000.u", 8192, b"unknown", 8192), Ok(None));
    }
}
