//! Names that always end in NUL: one that grows, one that lives on the stack.

use alloc::vec::Vec;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU64, Ordering};
use privns_abi::{Errno, Result, path::PATH_MAX};

/// A growing byte string that a system call can take. Running out of memory is
/// ENOMEM, never an abort: we live in somebody else's program.
#[derive(Default, PartialEq, Eq)]
pub struct Name {
    // Without the NUL; room for it is always reserved.
    bytes: Vec<u8>,
}

impl Name {
    /// The empty name; allocates nothing.
    #[must_use]
    pub const fn new() -> Name {
        Name { bytes: Vec::new() }
    }

    /// A copy of `bytes`.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn from(bytes: &[u8]) -> Result<Name> {
        let mut name = Name::new();
        name.push(bytes)?;
        Ok(name)
    }

    /// Appends `more`.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn push(&mut self, more: &[u8]) -> Result<()> {
        self.bytes.try_reserve(more.len() + 1).map_err(|_| Errno::ENOMEM)?;
        self.bytes.extend_from_slice(more);
        Ok(())
    }

    /// Appends `/` and `component`.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn join(&mut self, component: &[u8]) -> Result<()> {
        self.push(b"/")?;
        self.push(component)
    }

    /// Replaces the contents.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn set(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.clear();
        self.push(bytes)
    }

    /// Drops all after the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// The bytes, without the NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The name as a system call takes it. A name with a NUL inside ends there.
    ///
    /// # Errors
    /// ENOMEM, only for a name that has never been pushed to.
    pub fn as_cstr(&mut self) -> Result<&CStr> {
        self.bytes.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.bytes.push(0);
        let len = self.bytes.len();
        self.bytes.truncate(len - 1);
        // SAFETY: the capacity covers the NUL just written behind the length,
        // and nothing can change it while the borrow lasts.
        let all = unsafe { core::slice::from_raw_parts(self.bytes.as_ptr(), len) };
        CStr::from_bytes_until_nul(all).map_err(|_| Errno::EINVAL)
    }

    /// Room for the kernel to write up to `len` bytes, not cleared before; the
    /// contents become what `fill` reports to have written there.
    ///
    /// # Errors
    /// ENOMEM, and what `fill` returns.
    ///
    /// # Safety
    /// `fill` writes as many bytes as it reports, from the beginning, and no
    /// more than `len`.
    pub unsafe fn fill(
        &mut self,
        len: usize,
        fill: impl FnOnce(*mut u8) -> Result<usize>,
    ) -> Result<()> {
        self.bytes.clear();
        self.bytes.try_reserve(len + 1).map_err(|_| Errno::ENOMEM)?;
        let got = fill(self.bytes.as_mut_ptr())?;
        // SAFETY: the caller's promise.
        unsafe { self.bytes.set_len(got.min(len)) };
        Ok(())
    }
}

impl core::fmt::Debug for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "\"{}\"", self.bytes.escape_ascii())
    }
}

/// A name on the stack, not initialised before it is written: the hot path
/// allocates nothing and clears nothing.
pub struct HotName {
    bytes: MaybeUninit<[u8; PATH_MAX]>,
    len: usize,
}

impl HotName {
    /// The empty name.
    #[must_use]
    #[inline(always)]
    pub fn new() -> HotName {
        // As a constant the whole value would be cleared, 4 KiB at each call.
        HotName { bytes: MaybeUninit::uninit(), len: core::hint::black_box(0) }
    }

    /// Appends `more`.
    ///
    /// # Errors
    /// ENAMETOOLONG when the name and its NUL would exceed PATH_MAX.
    #[inline]
    pub fn push(&mut self, more: &[u8]) -> Result<()> {
        let end = self.len + more.len();
        if end >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        // SAFETY: len..end lies within the array, which `more` cannot overlap.
        unsafe {
            let to = self.bytes.as_mut_ptr().cast::<u8>().add(self.len);
            copy_short(more.as_ptr(), to, more.len());
        }
        self.len = end;
        Ok(())
    }

    /// Becomes the first `len` bytes of `words`, in the machine's order.
    #[inline(always)]
    pub fn become_words<const N: usize>(&mut self, words: &[AtomicU64; N], len: usize) {
        const { assert!(N.is_multiple_of(4) && N * 8 < PATH_MAX) }
        let len = len.min(N * 8);
        // Four at a time, some too many: the room is there.
        for (i, four) in words.as_chunks::<4>().0.iter().enumerate() {
            if i * 32 >= len {
                break;
            }
            // SAFETY: inside the array, which is longer than the words.
            let to = unsafe { self.bytes.as_mut_ptr().cast::<u64>().add(i * 4) };
            for (n, word) in four.iter().enumerate() {
                // SAFETY: as above.
                unsafe { to.add(n).write_unaligned(word.load(Ordering::Relaxed)) };
            }
        }
        self.len = len;
    }

    /// Appends one byte.
    ///
    /// # Errors
    /// ENAMETOOLONG as [`push`](Self::push).
    #[inline]
    pub fn push_byte(&mut self, byte: u8) -> Result<()> {
        if self.len + 1 >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        // SAFETY: inside the array.
        unsafe { self.bytes.as_mut_ptr().cast::<u8>().add(self.len).write(byte) };
        self.len += 1;
        Ok(())
    }

    /// Drops all after the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The bytes, without a NUL.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: the first `len` bytes have been written by `push`.
        unsafe { core::slice::from_raw_parts(self.bytes.as_ptr().cast(), self.len) }
    }

    /// The name as a system call takes it; a NUL inside ends it.
    #[inline]
    pub fn as_ptr(&mut self) -> *const libc::c_char {
        // `push` keeps len < PATH_MAX, so the NUL fits.
        // SAFETY: inside the array.
        unsafe { self.bytes.as_mut_ptr().cast::<u8>().add(self.len).write(0) };
        self.bytes.as_ptr().cast()
    }

    /// The same as a [`CStr`].
    #[inline]
    pub fn as_cstr(&mut self) -> &CStr {
        let ptr = self.as_ptr();
        // SAFETY: `as_ptr` has ended the name with a NUL; the borrow of self
        // keeps it in place.
        unsafe { CStr::from_ptr(ptr) }
    }
}

/// Copies `len` bytes. Most components are so short that calling memcpy costs
/// more than copying: two words that may overlap do up to 16 bytes.
///
/// # Safety
/// As memcpy.
#[inline(always)]
unsafe fn copy_short(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: each access lies inside the `len` bytes; reads come first.
    unsafe {
        match len {
            8..=16 => {
                let first = from.cast::<u64>().read_unaligned();
                let last = from.add(len - 8).cast::<u64>().read_unaligned();
                to.cast::<u64>().write_unaligned(first);
                to.add(len - 8).cast::<u64>().write_unaligned(last);
            }
            4..=7 => {
                let first = from.cast::<u32>().read_unaligned();
                let last = from.add(len - 4).cast::<u32>().read_unaligned();
                to.cast::<u32>().write_unaligned(first);
                to.add(len - 4).cast::<u32>().write_unaligned(last);
            }
            1..=3 => {
                let (first, middle, last) = (*from, *from.add(len / 2), *from.add(len - 1));
                *to = first;
                *to.add(len / 2) = middle;
                *to.add(len - 1) = last;
            }
            0 => {}
            _ => core::ptr::copy_nonoverlapping(from, to, len),
        }
    }
}

impl Default for HotName {
    fn default() -> Self {
        HotName::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_in_nul_whatever_was_done_to_it() {
        let mut name = Name::new();
        assert_eq!(name.as_cstr().unwrap().to_bytes(), b"");
        name.push(b"/a").unwrap();
        name.join(b"\xff").unwrap();
        assert_eq!(name.as_cstr().unwrap().to_bytes(), b"/a/\xff");
        name.truncate(2);
        assert_eq!(name.as_cstr().unwrap().to_bytes(), b"/a");
    }

    #[test]
    fn a_hot_name_holds_parts_of_every_length() {
        let text: alloc::vec::Vec<u8> = (1..=64).collect();
        for len in 0..=text.len() {
            let mut name = HotName::new();
            name.push(b"/").unwrap();
            name.push(&text[..len]).unwrap();
            assert_eq!(&name.as_bytes()[1..], &text[..len]);
        }
    }

    #[test]
    fn a_hot_name_refuses_what_a_path_cannot_hold() {
        let mut name = HotName::new();
        name.push(&[b'x'; PATH_MAX - 1]).unwrap();
        assert_eq!(name.push(b"y"), Err(Errno::ENAMETOOLONG));
        assert_eq!(name.as_cstr().to_bytes().len(), PATH_MAX - 1);
    }
}
