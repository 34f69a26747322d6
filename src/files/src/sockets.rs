//! Names of AF_UNIX sockets, back from what the kernel has bound.
//!
//! An address holds 108 bytes (unix(7)); a host name that is longer is bound
//! through a descriptor of its directory, as `/proc/self/fd/N/NAME`, and that
//! text is the socket's address from then on, whoever asks. So that it can be
//! read again, N is not any number: it stands for the directory, in this
//! process by a list, and in others by the directory's hash, for sockets that
//! lie at the top of what is mounted, as they do in a private `/tmp`.

use crate::process::View;
use alloc::boxed::Box;
use alloc::vec::Vec;
use once_cell::race::OnceBox;
use privns_abi::path;
use privns_host::Name;
use privns_namespace::index::Index;
use privns_namespace::resolve;

/// Bytes of a name in an address, without a NUL.
pub const ADDRESS_MAX: usize = 107;

/// The numbers that stand for directories: below 1024, where every process may
/// have them, and above what most have open.
const FIRST: i32 = 640;
const DIRS: usize = 256;
/// The first number that stands for none.
pub const BEYOND: i32 = FIRST + DIRS as i32;
const PROBES: usize = 8;
const THROUGH: &[u8] = b"/proc/self/fd/";

/// The directories that long names were bound in. Only ever added to.
pub struct Long {
    dirs: [OnceBox<Vec<u8>>; DIRS],
}

impl Long {
    /// None yet.
    #[must_use]
    pub const fn new() -> Long {
        Long { dirs: [const { OnceBox::new() }; DIRS] }
    }

    /// The number that stands for a host directory; `None` when too many have
    /// one.
    pub fn number(&self, dir: &[u8]) -> Option<i32> {
        let first = slot(dir);
        for at in (first..first + PROBES).map(|at| at % DIRS) {
            let kept = self.dirs.get(at)?.get_or_init(|| Box::new(dir.to_vec()));
            if kept == dir {
                return Some(FIRST + at as i32);
            }
        }
        None
    }

    /// The host name behind an address that was bound through a number.
    fn host(&self, index: Index<'_>, number: i32, name: &[u8]) -> Option<Name> {
        let at = usize::try_from(number.checked_sub(FIRST)?).ok()?;
        let dir = match self.dirs.get(at)?.get() {
            Some(dir) => dir,
            None => {
                let members = index.all().flat_map(|mount| mount.members());
                let mut hosts = members.map(|m| m.host()).filter(|h| slot(h) == at);
                hosts.next()?
            }
        };
        let mut host = Name::from(dir).ok()?;
        host.join(name).ok()?;
        Some(host)
    }
}

impl Default for Long {
    fn default() -> Self {
        Long::new()
    }
}

fn slot(dir: &[u8]) -> usize {
    // FNV-1a (Fowler, Noll, Vo): the same in every process.
    let mix = |h: u32, &b: &u8| (h ^ u32::from(b)).wrapping_mul(0x0100_0193);
    dir.iter().fold(0x811c_9dc5, mix) as usize % DIRS
}

/// The namespace's name of a socket whose address is `text`, served by member
/// `seq` if anybody knows; `None` when the address is right as it is: no host
/// name, or one that nothing here shows, which a kernel would not change
/// either.
#[must_use]
pub fn shown(view: View<'_>, long: &Long, text: &[u8], seq: u32) -> Option<Name> {
    if text.first() != Some(&b'/') {
        return None;
    }
    let table = view.table().ok()?;
    let index = table.index();
    let through = through(text).and_then(|(number, name)| long.host(index, number, name));
    let host = through.as_ref().map_or(text, Name::as_bytes);
    if let Some(given) = view.bound_as(host) {
        return Some(given);
    }
    let ns = resolve::name_of(index, host, seq).ok();
    let ns = ns.and_then(|ns| view.from_root(ns).ok());
    ns.or(through)
}

/// The number and the name of an address that was bound through a number.
fn through(text: &[u8]) -> Option<(i32, &[u8])> {
    let rest = text.strip_prefix(THROUGH)?;
    let (number, name) = rest.split_at(rest.iter().position(|&b| b == b'/')?);
    Some((core::str::from_utf8(number).ok()?.parse().ok()?, &name[1..]))
}

/// Cuts a host name before its last component; the root has none.
#[must_use]
pub fn split(host: &[u8]) -> Option<(&[u8], &[u8])> {
    let name = path::file_name(host);
    (!name.is_empty()).then(|| (&host[..host.len() - name.len() - 1], name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use privns_namespace::{Kind, Order, Rule, Source, Table, Verb, index};

    fn long() -> Box<Long> {
        Box::new(Long::new())
    }

    #[test]
    fn a_number_leads_back_to_its_directory() {
        let long = long();
        let number = long.number(b"/some/where").unwrap();
        assert_eq!(long.number(b"/some/where"), Some(number));
        let host = long.host(Index::EMPTY, number, b"s").unwrap();
        assert_eq!(host.as_bytes(), b"/some/where/s");
        assert!(long.host(Index::EMPTY, number + 1, b"s").is_none());
        assert!(long.host(Index::EMPTY, BEYOND, b"s").is_none());
    }

    #[test]
    fn another_process_knows_the_tops_of_what_is_mounted() {
        let mut table = Table::new();
        let rule = Rule { verb: Verb::Bind, origin: Vec::new() };
        let member = table.member(Source::Host(b"/inst".to_vec()), rule);
        table.place(b"/tmp", Kind::Dir, Order::Replace, member, None).unwrap();
        let bytes = index::encode(&table);
        let index = Index::parse(&bytes).unwrap();
        let number = long().number(b"/inst").unwrap();
        let host = long().host(index, number, b"s").unwrap();
        assert_eq!(host.as_bytes(), b"/inst/s");
    }

    #[test]
    fn more_directories_than_there_is_room_for_have_no_number() {
        let long = long();
        let numbers = (0..4 * DIRS).map(|n| long.number(std::format!("/d{n}").as_bytes()));
        assert!(numbers.filter(Option::is_none).count() >= 3 * DIRS);
    }

    #[test]
    fn an_address_is_taken_apart() {
        assert_eq!(through(b"/proc/self/fd/7/a b"), Some((7, &b"a b"[..])));
        assert_eq!(through(b"/proc/self/fd/7"), None);
        assert_eq!(through(b"/proc/self/fd/x/y"), None);
        assert_eq!(split(b"/a/b"), Some((&b"/a"[..], &b"b"[..])));
        assert_eq!(split(b"/b"), Some((&b""[..], &b"b"[..])));
        assert_eq!(split(b"/"), None);
    }
}
