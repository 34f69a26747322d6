//! A namespace on its way to another machine: its lines, and where they come
//! from.
//!
//! What travels is the text that [`mod@crate::print`] makes, so that instances
//! travel as rules and every line says what it needs. A token is that text,
//! deflated (zlib, RFC 1950, whose checksum finds what was cut or changed on
//! the way) and in base64url (RFC 4648): no character of it means anything to
//! a shell.

use crate::failure::Failure;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit};

/// Longest text of a dump, in bytes.
pub const LIMIT: usize = 16 << 20;

const VERSION: u32 = 1;
const HEAD: &[u8] = b"# privns ";
/// Of 0 to 10: small matters more than soon, since a token goes through
/// environments and command lines.
const LEVEL: u8 = 9;

/// What a dump holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// The machine that it was made on: its host binds mean that machine's
    /// files. Empty where that is not known.
    pub node: Vec<u8>,
    /// The user that made it.
    pub uid: u32,
    /// The lines, as a namespace file has them.
    pub text: Vec<u8>,
}

impl Dump {
    /// As one word.
    #[must_use]
    pub fn to_token(&self) -> String {
        let plain = |b: &&u8| !b.is_ascii_control() && **b != b' ';
        let node: Vec<u8> = self.node.iter().filter(plain).copied().collect();
        let head = format!("{VERSION} {} ", self.uid);
        let text = [HEAD, head.as_bytes(), &node, b"\n", &self.text].concat();
        URL_SAFE_NO_PAD.encode(compress_to_vec_zlib(&text, LEVEL))
    }

    /// Reads a token; blanks around it do not matter.
    ///
    /// # Errors
    /// One that is no token, is damaged or cut short, or is of a version that
    /// is not known here.
    pub fn from_token(token: &[u8]) -> Result<Dump, Failure> {
        let failure = |why: &str| Failure::new("the token", why);
        let packed = URL_SAFE_NO_PAD
            .decode(token.trim_ascii())
            .map_err(|_| failure("it has a character that no token has, or was cut short"))?;
        let text =
            decompress_to_vec_zlib_with_limit(&packed, LIMIT).map_err(|e| match e.status {
                TINFLStatus::HasMoreOutput => failure("it is longer than a namespace can be"),
                TINFLStatus::FailedCannotMakeProgress | TINFLStatus::NeedsMoreInput => {
                    failure("it was cut short").fix("make it again with ns-exec --dump=token")
                }
                _ => failure("it is damaged").fix("make it again with ns-exec --dump=token"),
            })?;
        Dump::from_headed(&text).map_err(|why| failure(&why))
    }

    fn from_headed(text: &[u8]) -> Result<Dump, String> {
        let rest = text.strip_prefix(HEAD).ok_or("it holds no namespace")?;
        let end = rest.iter().position(|&b| b == b'\n').ok_or("it holds no namespace")?;
        let mut words = rest[..end].splitn(3, |&b| b == b' ');
        let mut number =
            || -> Option<u32> { core::str::from_utf8(words.next()?).ok()?.parse().ok() };
        match number() {
            Some(VERSION) => {}
            Some(newer) => {
                return Err(format!("it is of version {newer}, and this privns knows {VERSION}"));
            }
            None => return Err("it holds no namespace".into()),
        }
        let uid = number().ok_or("it does not say whose it is")?;
        let node = words.next().unwrap_or_default().to_vec();
        Ok(Dump { node, uid, text: rest[end + 1..].to_vec() })
    }

    /// Whether this could be a token, rather than the text of a namespace.
    #[must_use]
    pub fn is_token(text: &[u8]) -> bool {
        let word = text.trim_ascii();
        let of_token = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        // What zlib begins with, in base64.
        word.starts_with(b"eN") && word.iter().all(of_token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    fn dump() -> Dump {
        Dump { node: b"n1".to_vec(), uid: 1000, text: b"bind /a '/b c\xff'\ncd /x\n".to_vec() }
    }

    #[test]
    fn a_token_comes_back_and_means_nothing_to_a_shell() {
        let token = dump().to_token();
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert!(Dump::is_token(token.as_bytes()) && !Dump::is_token(&dump().text));
        assert_eq!(Dump::from_token((token + "\n").as_bytes()), Ok(dump()));
    }

    #[test]
    fn damage_is_said() {
        let token = dump().to_token().into_bytes();
        for len in 0..token.len() {
            assert!(Dump::from_token(&token[..len]).is_err(), "{len}");
        }
        for at in 0..token.len() {
            let mut bad = token.clone();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            if let Ok(same) = Dump::from_token(&bad) {
                // The last character may hold bits that nothing uses.
                assert_eq!(same, dump(), "{at}");
            }
        }
        let said = |text: &[u8]| {
            let token = URL_SAFE_NO_PAD.encode(compress_to_vec_zlib(text, LEVEL));
            Dump::from_token(token.as_bytes()).unwrap_err().to_string()
        };
        let newer = "the token: it is of version 2, and this privns knows 1";
        assert_eq!(said(b"# privns 2 0 n\nx"), newer);
        assert_eq!(said(b"bind /a /b\n"), "the token: it holds no namespace");
        assert_eq!(said(b"# privns 1 x n\n"), "the token: it does not say whose it is");
        let bomb = said(&std::vec![b'#'; LIMIT + 1]);
        assert_eq!(bomb, "the token: it is longer than a namespace can be");
        let cut = Dump::from_token(&token[..token.len() / 2 / 4 * 4]).unwrap_err().to_string();
        assert!(cut.starts_with("the token: it was cut short"), "{cut}");
    }

    #[test]
    fn five_thousand_mounts_fit_a_process() {
        let text: Vec<u8> = (0..5000)
            .flat_map(|i| format!("bind /some/where/number{i} /else/where/{i}\n").into_bytes())
            .collect();
        let dump = Dump { text, ..dump() };
        let token = dump.to_token();
        assert!(token.len() < 128 << 10, "{}", token.len());
        assert_eq!(Dump::from_token(token.as_bytes()), Ok(dump));
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in proptest::collection::vec(any::<u8>(), 0..500), uid: u32) {
            let dump = Dump { node: b"n".to_vec(), uid, text };
            prop_assert_eq!(Dump::from_token(dump.to_token().as_bytes()), Ok(dump));
        }

        #[test]
        fn no_token_makes_the_reader_panic(token in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Dump::from_token(&token);
            let _ = Dump::from_token(URL_SAFE_NO_PAD.encode(&token).as_bytes());
        }
    }
}
