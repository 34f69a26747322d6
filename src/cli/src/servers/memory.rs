//! Memory trees: the mount options of tmpfs(5), as far as they mean something
//! for a tree of ours.

use crate::failure::{Failure, shown};
use crate::serve::half_of_memory;
use privns_servers::mem::Mem;

/// What a memory tree is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes at most; `None` where nothing is asked for, or, as with tmpfs, 0.
    pub size: Option<u64>,
    /// Permissions of the root, with the set-id and sticky bits.
    pub mode: u32,
    /// The root's owner and group, where they are not ours.
    pub uid: Option<u32>,
    /// See `uid`.
    pub gid: Option<u32>,
}

/// Bytes of a block that `nr_blocks=` counts.
const BLOCK: u64 = 4096;

impl Options {
    /// Reads a comma list: `size=BYTES[k|m|g|t|%]`, `nr_blocks=`, `mode=`,
    /// `uid=`, `gid=`.
    ///
    /// # Errors
    /// A key or a value that is none.
    pub fn parse(list: &[u8]) -> Result<Options, Failure> {
        let mut options = Options { size: None, mode: 0o1777, uid: None, gid: None };
        for option in list.split(|&b| b == b',').filter(|option| !option.is_empty()) {
            let at = option.iter().position(|&b| b == b'=').unwrap_or(option.len());
            let (key, value) = (&option[..at], option.get(at + 1..).unwrap_or_default());
            let number = |radix| {
                let text = std::str::from_utf8(value).ok().filter(|text| !text.starts_with('+'));
                text.and_then(|text| u32::from_str_radix(text, radix).ok())
            };
            let read = match key {
                b"size" => bytes(value).map(|size| options.size = size),
                b"nr_blocks" => {
                    let size = bytes(value).and_then(|n| n.unwrap_or(0).checked_mul(BLOCK));
                    size.map(|size| options.size = Some(size).filter(|&size| size != 0))
                }
                b"mode" => number(8).map(|mode| options.mode = mode & 0o7777),
                b"uid" => number(10).map(|uid| options.uid = Some(uid)),
                b"gid" => number(10).map(|gid| options.gid = Some(gid)),
                _ => None,
            };
            if read.is_none() {
                let failure = Failure::new(shown(option), "no option of a memory tree");
                return Err(failure.fix("size=64m, size=10%, nr_blocks=, mode=1777, uid=, gid="));
            }
        }
        Ok(options)
    }

    /// Those of mount(8) for a tmpfs that mean something here.
    #[must_use]
    pub fn known(list: &[u8]) -> Vec<u8> {
        const KNOWN: [&[u8]; 5] = [b"size=", b"nr_blocks=", b"mode=", b"uid=", b"gid="];
        let known = |option: &&[u8]| KNOWN.iter().any(|key| option.starts_with(key));
        list.split(|&b| b == b',').filter(known).collect::<Vec<_>>().join(&b',')
    }

    /// A new tree.
    #[must_use]
    pub fn tree(&self) -> Mem {
        let uid = self.uid.unwrap_or(rustix::process::geteuid().as_raw());
        let gid = self.gid.unwrap_or(rustix::process::getegid().as_raw());
        let limit = self.size.unwrap_or_else(half_of_memory);
        Mem::with_root(limit, self.mode, uid, gid)
    }
}

/// A size as tmpfs(5) has it; `Some(None)` for 0, which is no limit.
fn bytes(text: &[u8]) -> Option<Option<u64>> {
    let size = match text.strip_suffix(b"%") {
        Some(percent) => {
            let percent: u64 = std::str::from_utf8(percent).ok()?.parse().ok()?;
            (half_of_memory() / 50).checked_mul(percent)?
        }
        None => crate::serve::size(text)?,
    };
    Some(Some(size).filter(|&size| size != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(list: &str) -> Option<u64> {
        Options::parse(&Options::known(list.as_bytes())).unwrap().size
    }

    #[test]
    fn options_are_those_of_tmpfs() {
        assert_eq!(size("nosuid,size=64m,nodev"), Some(64 << 20));
        assert_eq!(size("nr_blocks=2k"), Some(2048 * BLOCK));
        assert_eq!(size("size=100%"), Some(half_of_memory() / 50 * 100));
        assert_eq!([size(""), size("size=0"), size("nr_inodes=5,huge=always")], [None; 3]);
        let options = Options::parse(b"mode=0750,uid=7,gid=8").unwrap();
        assert_eq!((options.mode, options.uid, options.gid), (0o750, Some(7), Some(8)));
        for bad in
            ["x", "sise=1", "size=", "size=x", "size=-1", "size=+1", "mode=9", "uid=me", "size=1%%"]
        {
            let said = Options::parse(bad.as_bytes()).unwrap_err().to_string();
            assert!(said.starts_with(bad), "{said}");
        }
    }
}
