//! A namespace on its way to another machine: what it is, and where it comes
//! from.
//!
//! What people dump is the text that [`mod@crate::print`] makes, so that
//! instances travel as rules and every line says what it needs. A program that
//! is run is given the family's table instead, as it stands in memory
//! ([`crate::carried`]): nothing has to be printed for that before anybody
//! needs it. Either becomes a token: a line that says by whom and where it was
//! made, then that, in zlib's form (RFC 1950, whose checksum finds what was cut
//! or changed on the way) and in base64url (RFC 4648): no character of it means
//! anything to a shell.

use crate::failure::Failure;
use crate::{image, print};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit};
use privns_abi::{Errno, Result as AbiResult};
use privns_host::kernel::decimal;
use privns_host::{Host, Kernel, Name};

/// Longest text of a dump, in bytes.
pub const LIMIT: usize = 16 << 20;

const VERSION: u32 = 1;
const HEAD: &[u8] = b"# privns ";
/// Of 0 to 10: small matters more than soon, since a token goes through
/// environments and command lines.
const LEVEL: u8 = 9;
/// What a boot of Linux has its number in.
const BOOT: &core::ffi::CStr = c"/proc/sys/kernel/random/boot_id";
const BOOT_LEN: usize = 36;
/// What a failure is about.
const WHAT: &str = "the token";
/// Where nothing is known.
const UNKNOWN: &[u8] = b"-";

/// By whom and where a dump was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The user.
    pub uid: u32,
    /// The machine's name: its host binds mean that machine's files.
    pub node: Vec<u8>,
    /// The number of the machine's boot, which no other machine has; empty
    /// where `/proc` does not tell.
    pub boot: Vec<u8>,
}

impl Origin {
    /// Here and now.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn here() -> AbiResult<Origin> {
        let mut boot = [0; BOOT_LEN];
        let read = Kernel.openat(libc::AT_FDCWD, BOOT, libc::O_CLOEXEC, 0).and_then(|fd| {
            let read = Kernel.pread(fd, &mut boot, 0);
            let _ = Kernel.close(fd);
            read
        });
        let boot = if read == Ok(BOOT_LEN) { &boot[..] } else { b"" };
        let node = copy(Kernel.node()?.as_bytes())?;
        Ok(Origin { uid: Kernel.geteuid(), node, boot: copy(boot)? })
    }

    /// Whether this is the machine that it was made on, as far as is known.
    #[must_use]
    pub fn is_here(&self) -> bool {
        let here = Origin::here();
        here.is_ok_and(|here| {
            here.boot == self.boot && (!here.boot.is_empty() || here.node == self.node)
        })
    }

    /// The first line of a token.
    fn head(&self) -> AbiResult<Name> {
        let mut line = Name::from(HEAD)?;
        for number in [VERSION, self.uid] {
            line.push(decimal(number, &mut [0; 10]))?;
            line.push(b" ")?;
        }
        for (word, end) in [(&self.node, b" "), (&self.boot, b"\n")] {
            let plain = word.iter().all(|b| !b.is_ascii_control() && *b != b' ');
            line.push(if plain && !word.is_empty() { word } else { UNKNOWN })?;
            line.push(end)?;
        }
        Ok(line)
    }

    fn parse(line: &[u8]) -> Result<Origin, String> {
        let mut words = line.splitn(4, |&b| b == b' ');
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
        let mut word = || match words.next() {
            None | Some(UNKNOWN) => Vec::new(),
            Some(word) => word.to_vec(),
        };
        Ok(Origin { uid, node: word(), boot: word() })
    }
}

/// What a dump holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// Where it comes from.
    pub origin: Origin,
    /// The lines, as a namespace file has them, or the image of a table.
    pub body: Vec<u8>,
}

impl Dump {
    /// As one word.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn to_token(&self) -> AbiResult<String> {
        let text = [self.origin.head()?.as_bytes(), &self.body].concat();
        Ok(URL_SAFE_NO_PAD.encode(compress_to_vec_zlib(&text, LEVEL)))
    }

    /// Reads a token; blanks around it do not matter.
    ///
    /// # Errors
    /// One that is no token, is damaged or cut short, or is of a version that
    /// is not known here.
    pub fn from_token(token: &[u8]) -> Result<Dump, Failure> {
        let failure = |why: &str| Failure::new(WHAT, why);
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
        let rest = text.strip_prefix(HEAD).ok_or_else(|| failure("it holds no namespace"))?;
        let end = rest.iter().position(|&b| b == b'\n');
        let end = end.ok_or_else(|| failure("it holds no namespace"))?;
        let origin = Origin::parse(&rest[..end]).map_err(|why| failure(&why))?;
        Ok(Dump { origin, body: rest[end + 1..].to_vec() })
    }

    /// The lines: those that it holds, or those that build the table that it
    /// holds.
    ///
    /// # Errors
    /// A table that is damaged, or of a version that is not known here.
    pub fn text(self, host: &dyn Host) -> Result<Vec<u8>, Failure> {
        if !image::is_image(&self.body) {
            return Ok(self.body);
        }
        let table = image::decode(&self.body).map_err(|e| match e {
            Errno::EPROTO => Failure::new(WHAT, "its table is of a version that is not known here"),
            _ => Failure::new(WHAT, "its table is damaged"),
        })?;
        Ok(print::to_text(&print::print(host, &table, None)))
    }

    /// Whether this could be a token, rather than the text of a namespace.
    #[must_use]
    pub fn is_token(text: &[u8]) -> bool {
        let word = text.trim_ascii();
        let of_token = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        // What zlib begins with, in base64: deflated well, or not at all.
        (word.starts_with(b"eN") || word.starts_with(b"eAE")) && word.iter().all(of_token)
    }
}

/// The token of a table's image. It is made while a program is being run, so
/// the bytes are stored as they are: deflating takes longer than an exec.
///
/// # Errors
/// ENOMEM.
pub fn table_token(origin: &Origin, image: &[u8]) -> AbiResult<Vec<u8>> {
    let stored = stored(&[origin.head()?.as_bytes(), image])?;
    let mut token = sized(base64::encoded_len(stored.len(), false).ok_or(Errno::ENOMEM)?)?;
    let len = URL_SAFE_NO_PAD.encode_slice(&stored, &mut token).map_err(|_| Errno::ENOMEM)?;
    token.truncate(len);
    Ok(token)
}

/// zlib's form of data that is not compressed (RFC 1950, RFC 1951 3.2.4).
fn stored(pieces: &[&[u8]]) -> AbiResult<Vec<u8>> {
    const BLOCK: usize = u16::MAX as usize;
    let len: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut data = sized(0)?;
    data.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    pieces.iter().for_each(|piece| data.extend_from_slice(piece));
    let mut out = sized(0)?;
    let blocks = len.div_ceil(BLOCK).max(1);
    out.try_reserve_exact(2 + len + 5 * blocks + 4).map_err(|_| Errno::ENOMEM)?;
    out.extend_from_slice(&[0x78, 0x01]);
    for at in 0..blocks {
        let block = &data[at * BLOCK..len.min((at + 1) * BLOCK)];
        out.push(u8::from(at + 1 == blocks));
        let len = block.len() as u16;
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&adler32(&data).to_be_bytes());
    Ok(out)
}

/// RFC 1950, 8.2.
fn adler32(data: &[u8]) -> u32 {
    const BASE: u32 = 65521;
    // As many bytes as 32 bits can sum up before the remainder is due.
    const MOST: usize = 5552;
    let (mut a, mut b) = (1u32, 0u32);
    for part in data.chunks(MOST) {
        for &byte in part {
            a += u32::from(byte);
            b += a;
        }
        a %= BASE;
        b %= BASE;
    }
    b << 16 | a
}

pub(crate) fn sized(len: usize) -> AbiResult<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

fn copy(bytes: &[u8]) -> AbiResult<Vec<u8>> {
    let mut copied = sized(bytes.len())?;
    copied.copy_from_slice(bytes);
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    fn origin() -> Origin {
        Origin { uid: 1000, node: b"n1".to_vec(), boot: b"boot-id".to_vec() }
    }

    fn dump() -> Dump {
        Dump { origin: origin(), body: b"bind /a '/b c\xff'\ncd /x\n".to_vec() }
    }

    #[test]
    fn a_token_comes_back_and_means_nothing_to_a_shell() {
        let token = dump().to_token().unwrap();
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert!(Dump::is_token(token.as_bytes()) && !Dump::is_token(&dump().body));
        assert_eq!(Dump::from_token((token + "\n").as_bytes()), Ok(dump()));
    }

    #[test]
    fn damage_is_said() {
        let token = dump().to_token().unwrap().into_bytes();
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
    fn a_table_travels_as_it_stands_in_memory() {
        use crate::build::tests::{TREE, World, built};
        let world = World::new(TREE);
        let table = built(&world, "bind -r /a /n/m\nbind -bc /b /c\nprivate /tmp").unwrap().table;
        let image = image::encode(&table).unwrap();
        let token = table_token(&origin(), &image).unwrap();
        assert!(Dump::is_token(&token));
        let back = Dump::from_token(&token).unwrap();
        assert_eq!((&back.origin, &back.body), (&origin(), &image));
        let text = print::to_text(&print::print(&world, &table, None));
        assert_eq!(back.clone().text(&world), Ok(text));
        let damaged = Dump { body: image[..image.len() - 1].to_vec(), ..back.clone() };
        let said = damaged.text(&world).unwrap_err().to_string();
        assert_eq!(said, "the token: its table is damaged");
        let mut newer = back;
        newer.body[4] = 9;
        let said = newer.text(&world).unwrap_err().to_string();
        assert_eq!(said, "the token: its table is of a version that is not known here");
        for len in 0..token.len() {
            assert!(Dump::from_token(&token[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn what_is_stored_is_read_at_every_length() {
        for len in [0, 1, 65534, 65535, 65536, 131_070, 131_071, 200_000] {
            let data: Vec<u8> = (0..len).map(|i| (i * 7 % 251) as u8).collect();
            let zlib = stored(&[&data[..len / 3], &data[len / 3..]]).unwrap();
            assert_eq!(decompress_to_vec_zlib_with_limit(&zlib, LIMIT).unwrap(), data, "{len}");
        }
    }

    #[test]
    fn this_machine_is_here_and_no_other() {
        let here = Origin::here().unwrap();
        assert!(here.is_here());
        assert!(!Origin { boot: b"another".to_vec(), ..here.clone() }.is_here());
        let odd = Origin { node: b"two words".to_vec(), boot: Vec::new(), ..here };
        let head = odd.head().unwrap();
        let line = head.as_bytes().strip_prefix(HEAD).unwrap().trim_ascii_end();
        assert_eq!(Origin::parse(line), Ok(Origin { node: Vec::new(), ..odd }));
    }

    #[test]
    fn five_thousand_mounts_fit_a_process() {
        let text: Vec<u8> = (0..5000)
            .flat_map(|i| format!("bind /some/where/number{i} /else/where/{i}\n").into_bytes())
            .collect();
        let dump = Dump { body: text, ..dump() };
        let token = dump.to_token().unwrap();
        assert!(token.len() < 128 << 10, "{}", token.len());
        assert_eq!(Dump::from_token(token.as_bytes()), Ok(dump));
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in proptest::collection::vec(any::<u8>(), 0..500), uid: u32) {
            let dump = Dump { origin: Origin { uid, ..origin() }, body: text };
            prop_assert_eq!(Dump::from_token(dump.to_token().unwrap().as_bytes()), Ok(dump));
        }

        #[test]
        fn no_token_makes_the_reader_panic(token in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Dump::from_token(&token);
            let _ = Dump::from_token(URL_SAFE_NO_PAD.encode(&token).as_bytes());
        }
    }
}
