//! A tree that client and server can both reach by themselves.
//!
//! Where both are on one machine, of one user and in one mount namespace, a
//! client may look names up and read files with its own rights, and the server
//! is asked for what changes something. Nothing is granted by this: the server
//! says where its tree is, and the client opens that as it opens anything else,
//! or cannot.
//!
//! What a server says is believed only as far as the kernel bears it out: the
//! process at the other end of the socket is the one that says so, on a kernel
//! that was booted under the same number, and the directory that the client
//! finds at that path is the same inode seen through the same mount.

use alloc::vec::Vec;

/// Extended attribute of a directory whose value is [`Near::encode`]'s. Only
/// servers of ours have it, and show it to their own user alone.
pub const XATTR: &[u8] = b"privns.near";

/// Length of `/proc/sys/kernel/random/boot_id` without its newline.
pub const BOOT: usize = 36;

/// Where a directory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Near<'a> {
    /// Of the running kernel.
    pub boot: [u8; BOOT],
    /// The server's process, in its own namespace of them.
    pub pid: u32,
    /// Number of the mount (`stx_mnt_id` of statx(2)).
    pub mount: u64,
    /// Device number.
    pub dev: u64,
    /// Inode number, which is also the path of the directory's qid.
    pub ino: u64,
    /// The host's name for it.
    pub path: &'a [u8],
}

impl<'a> Near<'a> {
    /// As it goes over the wire: numbers in little-endian order, then the path.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.boot.to_vec();
        out.extend_from_slice(&self.pid.to_le_bytes());
        for number in [self.mount, self.dev, self.ino] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(self.path);
        out
    }

    /// The same read back; `None` for anything else, and for a path that is not
    /// absolute or has a NUL in it.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Near<'a>> {
        let (boot, rest) = bytes.split_first_chunk::<BOOT>()?;
        let (pid, rest) = rest.split_first_chunk::<4>()?;
        let (mount, rest) = rest.split_first_chunk::<8>()?;
        let (dev, rest) = rest.split_first_chunk::<8>()?;
        let (ino, path) = rest.split_first_chunk::<8>()?;
        let [mount, dev, ino] = [mount, dev, ino].map(|n| u64::from_le_bytes(*n));
        let plain = path.first() == Some(&b'/') && !path.contains(&0);
        let pid = u32::from_le_bytes(*pid);
        plain.then_some(Near { boot: *boot, pid, mount, dev, ino, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_back_and_nothing_else() {
        let near = Near { boot: [b'a'; BOOT], pid: 7, mount: 1 << 40, dev: 3, ino: 9, path: b"/x" };
        let bytes = near.encode();
        assert_eq!(Near::decode(&bytes), Some(near));
        for end in 0..bytes.len() - 1 {
            assert_eq!(Near::decode(&bytes[..end]), None);
        }
        assert_eq!(Near::decode(&Near { path: b"x", ..near }.encode()), None);
        assert_eq!(Near::decode(&Near { path: b"/\0", ..near }.encode()), None);
    }
}
