//! Memory for a launcher that is linked with musl, whose own allocator takes a
//! fifth of what a session's start may take. Under a lock that costs nothing as
//! long as there is one thread: the C library's takes half as long as what it
//! guards.
//!
//! What a start takes comes from a piece of [`EARLY`] bytes, block after block:
//! but for the last one, which may grow and be given back, nothing of it is used
//! twice, since the start is over before that would be worth its while. When it
//! is used up an allocator takes over, for programs that stay.

use crate::futex::Monitor;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use dlmalloc::Dlmalloc;

/// Twice what a start with two instances takes.
const EARLY: usize = 96 << 10;

/// A program's heap.
pub struct Heap(Monitor<Blocks>);

/// Apart from the rest, so that it is no part of the program's file.
struct Early(UnsafeCell<MaybeUninit<[u8; EARLY]>>);

// SAFETY: touched by whoever has a block of it, each its own.
unsafe impl Sync for Early {}

static PIECE: Early = Early(UnsafeCell::new(MaybeUninit::uninit()));

struct Blocks {
    /// How much of it is used, and where its last block begins.
    used: usize,
    last: usize,
    rest: Dlmalloc,
}

impl Heap {
    /// An empty one; a program has one only.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it is for a static")]
    pub const fn new() -> Heap {
        Heap(Monitor::new(Blocks { used: 0, last: 0, rest: Dlmalloc::new() }))
    }
}

impl Blocks {
    /// Where in the early piece a block begins.
    fn early(&self, block: *mut u8) -> Option<usize> {
        let at = (block as usize).wrapping_sub(PIECE.0.get().cast::<u8>() as usize);
        (at < EARLY).then_some(at)
    }

    /// A block of the early piece, or null.
    fn take(&mut self, layout: Layout) -> *mut u8 {
        let begin = PIECE.0.get().cast::<u8>();
        let free = begin as usize + self.used;
        let at = free.next_multiple_of(layout.align()) - begin as usize;
        match at.checked_add(layout.size()) {
            Some(end) if end <= EARLY && layout.size() != 0 => {
                (self.used, self.last) = (end, at);
                begin.wrapping_add(at)
            }
            _ => null_mut(),
        }
    }

    /// A new block, wherever it is.
    ///
    /// # Safety
    /// As [`GlobalAlloc::alloc`].
    unsafe fn give(&mut self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            // SAFETY: the caller's.
            block if block.is_null() => unsafe { self.rest.malloc(layout.size(), layout.align()) },
            block => block,
        }
    }

    /// Makes the last block of the early piece longer or shorter where it is.
    fn resize(&mut self, at: usize, size: usize) -> bool {
        let fits = at == self.last && at.checked_add(size).is_some_and(|end| end <= EARLY);
        if fits {
            self.used = at + size;
        }
        fits
    }
}

// SAFETY: a block of the early piece is handed out once, or again when it has been
// given back; all else is passed on to an allocator, under a lock, and what is
// handed on is what our caller promises. Nothing is inlined: that would be done in
// thousands of places.
unsafe impl GlobalAlloc for Heap {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        self.0.alone(|heap| unsafe { heap.give(layout) })
    }

    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.0.alone(|heap| match heap.early(block) {
            // SAFETY: the caller's.
            None => unsafe { heap.rest.free(block, layout.size(), layout.align()) },
            Some(at) => {
                heap.resize(at, 0);
            }
        });
    }

    #[inline(never)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.0.alone(|heap| match heap.take(layout) {
            // SAFETY: the caller's. What comes fresh from the kernel is zero already.
            block if block.is_null() => unsafe { heap.rest.calloc(layout.size(), layout.align()) },
            block => {
                // SAFETY: it is as long.
                unsafe { block.write_bytes(0, layout.size()) };
                block
            }
        })
    }

    #[inline(never)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.0.alone(|heap| {
            let Some(at) = heap.early(block) else {
                // SAFETY: the caller's.
                return unsafe { heap.rest.realloc(block, layout.size(), layout.align(), size) };
            };
            if heap.resize(at, size) {
                return block;
            }
            // SAFETY: the caller's.
            let moved =
                unsafe { heap.give(Layout::from_size_align_unchecked(size, layout.align())) };
            if !moved.is_null() {
                // SAFETY: both are there and apart, and hold as much.
                unsafe { block.copy_to_nonoverlapping(moved, layout.size().min(size)) };
            }
            moved
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    /// The blocks stay apart and keep what is written, wherever they are: in the
    /// piece, moved, and beyond it.
    #[test]
    fn blocks_keep_what_is_in_them() {
        static HEAP: Heap = Heap::new();
        let mut blocks = Vec::new();
        for i in 0..3000usize {
            let (size, align) = (1 + i * 7 % 90, 1 << (i % 7));
            // SAFETY: no size is 0, and nothing is given back before the end.
            let block = unsafe { HEAP.alloc(layout(size, align)) };
            assert!(!block.is_null() && (block as usize).is_multiple_of(align));
            // SAFETY: it is as long.
            unsafe { block.write_bytes(i as u8, size) };
            blocks.push((block, size, align));
        }
        for (i, (block, size, align)) in blocks.iter_mut().enumerate().filter(|(i, _)| i % 3 == 0) {
            let longer = *size + i % 200;
            // SAFETY: it was allocated so.
            *block = unsafe { HEAP.realloc(*block, layout(*size, *align), longer) };
            // SAFETY: it is as long now.
            unsafe { block.write_bytes(i as u8, longer) };
            *size = longer;
        }
        for (i, (block, size, align)) in blocks.into_iter().enumerate() {
            // SAFETY: it is as long.
            let bytes = unsafe { core::slice::from_raw_parts(block, size) };
            assert!(bytes.iter().all(|&b| b == i as u8), "block {i}");
            // SAFETY: it was allocated so.
            unsafe { HEAP.dealloc(block, layout(size, align)) };
        }
    }

    /// What is given back last is used again, and zero where zeros are asked for.
    #[test]
    fn the_last_block_is_used_again() {
        let mut blocks = Blocks { used: EARLY - 256, last: 0, rest: Dlmalloc::new() };
        let first = blocks.take(layout(100, 8));
        let at = blocks.early(first).unwrap();
        assert!(blocks.resize(at, 120) && !blocks.resize(at, 300));
        assert!(blocks.take(layout(200, 1)).is_null());
        assert!(blocks.resize(at, 0));
        assert_eq!(blocks.take(layout(100, 8)), first);
        let second = blocks.take(layout(16, 16));
        assert!((second as usize).is_multiple_of(16) && second >= first.wrapping_add(100));
        assert!(!blocks.resize(at, 0), "it is not the last any more");
        assert!(blocks.early(core::ptr::null_mut()).is_none());
    }
}
