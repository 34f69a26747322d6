//! A mount table as bytes: what a family's memory holds, and what its programs
//! take along to another machine (in a [`crate::dump`]).
//!
//! The format is bincode's, which is in maintenance only; it is known here and
//! nowhere else, behind a magic and a version, so that it can be replaced.

use crate::table::Table;
use alloc::vec::Vec;
use privns_abi::{Errno, Result};

/// Longest image, in bytes.
pub const LIMIT: usize = 8 << 20;

const MAGIC: [u8; 4] = *b"pvns";
const VERSION: u32 = 2;
const HEADER: usize = 8;

/// The image of a table.
///
/// # Errors
/// ENOSPC for one that is longer than [`LIMIT`].
pub fn encode(table: &Table) -> Result<Vec<u8>> {
    let config = bincode::config::standard().with_limit::<LIMIT>();
    let mut image = [MAGIC, VERSION.to_le_bytes()].concat();
    let body = bincode::serde::encode_to_vec(table, config).map_err(|_| Errno::ENOSPC)?;
    image.extend_from_slice(&body);
    if image.len() <= LIMIT { Ok(image) } else { Err(Errno::ENOSPC) }
}

/// Whether these bytes begin as an image does; no line of a namespace file does.
#[must_use]
pub fn is_image(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// The table of an image.
///
/// # Errors
/// EBADMSG for bytes that [`encode`] cannot have made, EPROTO for those of
/// another version.
pub fn decode(image: &[u8]) -> Result<Table> {
    let Some((header, body)) = image.split_at_checked(HEADER) else { return Err(Errno::EBADMSG) };
    let (magic, version) = header.split_at(MAGIC.len());
    if magic != MAGIC || image.len() > LIMIT {
        return Err(Errno::EBADMSG);
    }
    if version != VERSION.to_le_bytes() {
        return Err(Errno::EPROTO);
    }
    let config = bincode::config::standard().with_limit::<LIMIT>();
    let (table, used): (Table, usize) =
        bincode::serde::decode_from_slice(body, config).map_err(|_| Errno::EBADMSG)?;
    if used == body.len() && table.is_sound() { Ok(table) } else { Err(Errno::EBADMSG) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::tests::{TREE, World, built};

    fn table() -> Table {
        let lines = "bind -r /a /n/m\nbind -bc /b /c\nsymlink x /l\nprivate /tmp\nmount -o window=2 tcp!h /r t";
        built(&World::new(TREE), lines).unwrap().table
    }

    #[test]
    fn a_table_comes_back_as_it_was() {
        for table in [Table::new(), table()] {
            assert_eq!(decode(&encode(&table).unwrap()), Ok(table));
        }
    }

    #[test]
    fn damage_is_an_error_or_a_sound_table_and_never_more() {
        let good = encode(&table()).unwrap();
        for len in 0..good.len() {
            assert_eq!(decode(&good[..len]), Err(Errno::EBADMSG), "{len}");
        }
        assert_eq!(decode(&[&good[..], b"x"].concat()), Err(Errno::EBADMSG));
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                if let Ok(table) = decode(&bad) {
                    assert!(at >= HEADER);
                    crate::index::Index::parse(&crate::index::encode(&table)).unwrap();
                }
            }
        }
        let mut newer = good;
        newer[4] = 3;
        assert_eq!(decode(&newer), Err(Errno::EPROTO));
    }
}
