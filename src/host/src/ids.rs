//! Who this process is: what permissions on files are judged by.

use crate::{Kernel, Name, sys};
use core::mem::MaybeUninit;
use privns_abi::{Errno, Result};

/// Groups beyond the first that are looked at; the kernel allows 65,536.
const GROUPS: usize = 256;

impl Kernel {
    /// getuid(2).
    #[must_use]
    pub fn getuid(self) -> u32 {
        // SAFETY: no arguments; the call cannot fail.
        unsafe { sys!(libc::SYS_getuid) }.unwrap_or(0) as u32
    }

    /// getgid(2).
    #[must_use]
    pub fn getgid(self) -> u32 {
        // SAFETY: no arguments; the call cannot fail.
        unsafe { sys!(libc::SYS_getgid) }.unwrap_or(0) as u32
    }

    /// getegid(2).
    #[must_use]
    pub fn getegid(self) -> u32 {
        // SAFETY: no arguments; the call cannot fail.
        unsafe { sys!(libc::SYS_getegid) }.unwrap_or(0) as u32
    }

    /// Whether a group is among the supplementary ones (getgroups(2)), of
    /// which the first 256 are looked at.
    #[must_use]
    pub fn in_group(self, gid: u32) -> bool {
        let mut groups = [0u32; GROUPS];
        // SAFETY: the kernel writes at most as many as there is room for.
        let n = unsafe { sys!(libc::SYS_getgroups, groups.len(), groups.as_mut_ptr()) };
        groups.iter().take(n.unwrap_or(0)).any(|&g| g == gid)
    }

    /// The file mode creation mask (umask(2)), read without changing it from
    /// `/proc/self/status`, which has it since Linux 4.7.
    ///
    /// # Errors
    /// ENOENT without `/proc`, or in one that does not say.
    pub fn umask(self) -> Result<u32> {
        let fd = self.openat(libc::AT_FDCWD, c"/proc/self/status", libc::O_CLOEXEC, 0)?;
        let mut text = Name::new();
        const HEAD: usize = 256;
        // SAFETY: the kernel says how many bytes it has written, of as many as
        // there is room for.
        let read = unsafe { text.fill(HEAD, |to| sys!(libc::SYS_read, fd, to, HEAD)) };
        let _ = self.close(fd);
        read?;
        let mut lines = text.as_bytes().split(|&b| b == b'\n');
        let mask = lines.find_map(|line| line.strip_prefix(b"Umask:")).ok_or(Errno::ENOENT)?;
        let mask = core::str::from_utf8(mask.trim_ascii()).map_err(|_| Errno::ENOENT)?;
        u32::from_str_radix(mask, 8).map_err(|_| Errno::ENOENT)
    }

    /// umask(2): the old mask.
    pub fn set_umask(self, mask: u32) -> u32 {
        // SAFETY: no memory is involved; the call cannot fail.
        unsafe { sys!(libc::SYS_umask, mask) }.unwrap_or(0) as u32
    }

    /// The time since 1970 in seconds and nanoseconds (`CLOCK_REALTIME`).
    #[must_use]
    pub fn time(self) -> (i64, u32) {
        let mut ts = MaybeUninit::<libc::timespec>::uninit();
        // SAFETY: the vDSO writes one timespec; a clock that every kernel has.
        let ts = unsafe {
            crate::lazy::clock_gettime(libc::CLOCK_REALTIME, ts.as_mut_ptr());
            ts.assume_init()
        };
        (ts.tv_sec, ts.tv_nsec as u32)
    }

    /// Waits so many nanoseconds, less than a second; a signal ends the wait.
    pub fn pause(self, nanoseconds: u32) {
        let time = libc::timespec { tv_sec: 0, tv_nsec: nanoseconds.min(999_999_999).into() };
        // SAFETY: no descriptors, a structure that lives through the call.
        let _ = unsafe { sys!(libc::SYS_ppoll, 0, 0, &raw const time, 0, 0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_read_as_it_was_set() {
        let old = Kernel.set_umask(0o027);
        let read = Kernel.umask();
        assert_eq!(Kernel.set_umask(old), 0o027);
        assert_eq!(read, Ok(0o027));
    }
}
