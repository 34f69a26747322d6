//! Arrays of strings for exec, each in one block of memory: the child of a
//! vfork cannot free it once exec has read it, so its parent does.

use core::ffi::c_char;
use privns_abi::{Errno, Result};

/// Whether a C string begins so; its end is not looked for.
///
/// # Safety
/// A C string; there is no NUL in `prefix`.
#[inline]
pub(crate) unsafe fn begins(text: *const c_char, prefix: &[u8]) -> bool {
    // SAFETY: a byte is read only when all before it are those of the prefix,
    // and so no NUL.
    prefix.iter().enumerate().all(|(at, &byte)| unsafe { *text.add(at) } as u8 == byte)
}

/// An array that is ready, and the memory that it lies in.
pub(crate) struct Next {
    at: *const *const c_char,
    block: Vec<usize>,
}

impl Next {
    /// An array that lies elsewhere.
    pub(crate) fn given(at: *const *const c_char) -> Next {
        Next { at, block: Vec::new() }
    }

    pub(crate) fn as_ptr(&self) -> *const *const c_char {
        self.at
    }

    /// The block's address and length in words; none for an environment that
    /// was passed on as it is.
    pub(crate) fn block(&self) -> Option<(usize, usize)> {
        (self.block.capacity() > 0).then(|| (self.block.as_ptr() as usize, self.block.capacity()))
    }
}

/// An array of strings and the strings that we add to it, in one block: the
/// child of a vfork leaves just that behind.
pub(crate) struct Block {
    words: Vec<usize>,
    filled: usize,
    /// Where the next byte goes, behind the words.
    next: usize,
}

impl Block {
    /// Room for `words` pointers, the last one's null among them, and `bytes`
    /// of strings with their NULs.
    pub(crate) fn new(words: usize, bytes: usize) -> Result<Block> {
        let mut block = Vec::new();
        let len = words + bytes.div_ceil(size_of::<usize>()) + 1;
        block.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
        block.resize(len, 0);
        Ok(Block { words: block, filled: 0, next: words * size_of::<usize>() })
    }

    /// Adds a string that lies elsewhere.
    pub(crate) fn word(&mut self, text: *const c_char) {
        if let Some(word) = self.words.get_mut(self.filled) {
            *word = text as usize;
            self.filled += 1;
        }
    }

    /// Adds a string of these pieces.
    pub(crate) fn text(&mut self, pieces: &[&[u8]]) {
        self.begin(b"");
        pieces.iter().for_each(|piece| self.bytes(piece));
        self.bytes(b"\0");
    }

    /// Adds a string that begins so and goes on with the bytes that follow.
    pub(crate) fn begin(&mut self, bytes: &[u8]) {
        self.word((self.words.as_ptr() as usize + self.next) as *const c_char);
        self.bytes(bytes);
    }

    /// Adds bytes to the string that was begun.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let room = self.words.len() * size_of::<usize>();
        if self.next + bytes.len() > room {
            return;
        }
        // SAFETY: inside the block, as just checked.
        unsafe {
            let to = self.words.as_mut_ptr().cast::<u8>().add(self.next);
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
        self.next += bytes.len();
    }

    pub(crate) fn finish(self) -> Next {
        Next { at: self.words.as_ptr().cast(), block: self.words }
    }
}

/// Frees a block that a guest has left behind: see [`Next::block`].
pub(crate) fn free(at: usize, words: usize) {
    // SAFETY: what `Next::block` said of a block whose owner is gone.
    drop(unsafe { Vec::from_raw_parts(at as *mut usize, 0, words) });
}
