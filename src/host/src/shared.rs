//! Memory shared with the rest of the family, as bounds-checked atomics: no
//! reference to bytes that another process may be changing ever exists.

use crate::sys;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use privns_abi::{Errno, Result};

/// How many bytes every mapping has at least.
const HEAD: usize = 512;

/// A shared mapping of a file that cannot shrink (its maker has sealed it, so
/// that no access can raise SIGBUS).
#[derive(Debug)]
pub struct Shared {
    base: *const AtomicU64,
    words: usize,
    writable: bool,
}

// SAFETY: every access is atomic, and the mapping lives as long as the value.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Maps the first `len` bytes of `fd`.
    ///
    /// # Errors
    /// mmap(2)'s; EINVAL for a length that is less than 512 or no multiple of 8.
    pub fn map(fd: i32, len: usize, writable: bool) -> Result<Shared> {
        if len < HEAD || !len.is_multiple_of(8) {
            return Err(Errno::EINVAL);
        }
        let prot = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // SAFETY: a new mapping at a place of the kernel's choice.
        let base = unsafe { sys!(libc::SYS_mmap, 0, len, prot, libc::MAP_SHARED, fd, 0) }?;
        Ok(Shared { base: base as *const AtomicU64, words: len / 8, writable })
    }

    /// Whether the mapping may be written.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// The mapping's length in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.words * 8
    }

    /// The 64-bit word at byte offset `AT`, less than 512: found without a
    /// check, for what each look at a name reads.
    #[inline(always)]
    #[must_use]
    pub fn head<const AT: usize>(&self) -> &AtomicU64 {
        const { assert!(AT.is_multiple_of(8) && AT < HEAD) };
        // SAFETY: aligned, inside the mapping, and only ever used atomically.
        unsafe { &*self.base.add(AT / 8) }
    }

    /// The 64-bit word at byte offset `at`.
    ///
    /// # Errors
    /// EINVAL when it is unaligned or outside the mapping.
    #[inline]
    pub fn u64(&self, at: usize) -> Result<&AtomicU64> {
        if !at.is_multiple_of(8) || at / 8 >= self.words {
            return Err(Errno::EINVAL);
        }
        // SAFETY: aligned, inside the mapping, and only ever used atomically.
        Ok(unsafe { &*self.base.add(at / 8) })
    }

    /// The 32-bit word at byte offset `at`.
    ///
    /// # Errors
    /// EINVAL when it is unaligned or outside the mapping.
    #[inline]
    pub fn u32(&self, at: usize) -> Result<&AtomicU32> {
        if !at.is_multiple_of(4) || at / 8 >= self.words {
            return Err(Errno::EINVAL);
        }
        // SAFETY: as in `u64`; the two halves of a word are never used as one.
        Ok(unsafe { &*self.base.cast::<AtomicU32>().add(at / 4) })
    }

    /// Copies `out.len()` bytes from byte offset `at`; what a writer changes
    /// meanwhile may arrive torn, so the caller checks a generation after it.
    ///
    /// # Errors
    /// EINVAL when the range is unaligned or leaves the mapping.
    pub fn read(&self, at: usize, out: &mut [u8]) -> Result<()> {
        for (i, chunk) in out.chunks_mut(8).enumerate() {
            let word = self.u64(at + i * 8)?.load(Ordering::Relaxed).to_ne_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }

    /// Copies `data` to byte offset `at`, the last word filled with zeros.
    ///
    /// # Errors
    /// EINVAL when the range is unaligned or leaves the mapping, EROFS when
    /// the mapping is read-only.
    pub fn write(&self, at: usize, data: &[u8]) -> Result<()> {
        if !self.writable {
            return Err(Errno::EROFS);
        }
        for (i, chunk) in data.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.u64(at + i * 8)?.store(u64::from_ne_bytes(word), Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and no reference outlives self.
        let _ = unsafe { sys!(libc::SYS_munmap, self.base, self.words * 8) };
    }
}
