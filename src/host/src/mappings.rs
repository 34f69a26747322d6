//! What is mapped of a file, mapped anew by another description of it.
//!
//! A mapping keeps the open file description alive that it was made by, and
//! with it a lock (flock(2)) that the description holds, however many
//! descriptors are closed. The child of a process that has such a mapping, and
//! is not to share in the lock, needs one of its own.

use crate::{Kernel, sys};
use alloc::vec::Vec;
use privns_abi::Result;

/// A line of `/proc/self/maps`, as far as it is needed.
struct Mapped {
    from: usize,
    to: usize,
    protection: i32,
    offset: u64,
    dev: u64,
    ino: u64,
}

impl Kernel {
    /// Replaces every shared mapping that this process has of the file open as
    /// `fd` by one at the same place, of the same part, by this description.
    /// For processes with one thread.
    ///
    /// # Errors
    /// `/proc` is not there; mmap(2)'s.
    pub fn map_by(self, fd: i32) -> Result<()> {
        let file = self.fstat(fd)?;
        let text = self.own_mappings()?;
        let found = text.split(|&b| b == b'\n').filter_map(Mapped::parse);
        for at in found.filter(|at| (at.dev, at.ino) == (file.dev, file.ino)) {
            let flags = libc::MAP_SHARED | libc::MAP_FIXED;
            let (from, len) = (at.from, at.to - at.from);
            // SAFETY: the place is mapped, and stays so, with the same bytes of
            // the same file; nobody else runs in this process.
            unsafe { sys!(libc::SYS_mmap, from, len, at.protection, flags, fd, at.offset) }?;
        }
        Ok(())
    }

    fn own_mappings(self) -> Result<Vec<u8>> {
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        let fd = self.openat(libc::AT_FDCWD, c"/proc/self/maps", flags, 0)?;
        let mut text = Vec::new();
        let mut part = [0; 4096];
        let done = loop {
            match self.pread(fd, &mut part, text.len() as u64) {
                Ok(0) => break Ok(text),
                Ok(n) => text.extend_from_slice(&part[..n]),
                Err(e) => break Err(e),
            }
        };
        let _ = self.close(fd);
        done
    }
}

impl Mapped {
    /// `FROM-TO rwxs OFFSET MAJOR:MINOR INODE …` of a shared mapping.
    fn parse(line: &[u8]) -> Option<Mapped> {
        let line = core::str::from_utf8(line.get(..line.len().min(100))?).ok()?;
        let mut words = line.split_ascii_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        let rights = words.next().filter(|rights| rights.ends_with('s'))?;
        let offset = u64::from_str_radix(words.next()?, 16).ok()?;
        let (major, minor) = words.next()?.split_once(':')?;
        let number = |text| u32::from_str_radix(text, 16).ok();
        let has = |right, protection| if rights.contains(right) { protection } else { 0 };
        Some(Mapped {
            from: usize::from_str_radix(from, 16).ok()?,
            to: usize::from_str_radix(to, 16).ok()?,
            protection: has('r', libc::PROT_READ)
                | has('w', libc::PROT_WRITE)
                | has('x', libc::PROT_EXEC),
            offset,
            dev: libc::makedev(number(major)?, number(minor)?),
            ino: words.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use privns_abi::Errno;

    #[test]
    fn a_lock_goes_with_the_last_that_shares_its_description() {
        let file = Kernel.memfd_create(c"mapped").unwrap();
        Kernel.ftruncate(file, 8192).unwrap();
        let shared = crate::shared::Shared::map(file, 8192, true).unwrap();
        shared.write(4096, b"kept").unwrap();
        Kernel.flock_once(file, libc::LOCK_SH).unwrap();
        let other = Kernel.reopen(file, libc::O_RDWR).unwrap();
        Kernel.close(file).unwrap();
        let alone = || Kernel.flock_once(other, libc::LOCK_EX | libc::LOCK_NB);
        assert_eq!(alone(), Err(Errno::EAGAIN), "the mapping has it");
        Kernel.map_by(other).unwrap();
        assert_eq!(alone(), Ok(()));
        let mut kept = [0; 4];
        shared.read(4096, &mut kept).unwrap();
        assert_eq!(&kept, b"kept");
        Kernel.close(other).unwrap();
    }

    #[test]
    fn lines_that_are_none() {
        for line in ["", "x", "1-2 rw-p 0 0:0 0", "1-2 rw-s", "1-2 rw-s 0 0:0", "g-1 rw-s 0 0:0 1"]
        {
            assert!(Mapped::parse(line.as_bytes()).is_none(), "{line}");
        }
    }
}
