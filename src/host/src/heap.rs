//! Memory for a launcher that is linked with musl, whose own allocator takes a
//! fifth of what a session's start may take. Under a lock that costs nothing as
//! long as there is one thread: the C library's takes half as long as what it
//! guards.

use crate::futex::Monitor;
use core::alloc::{GlobalAlloc, Layout};
use dlmalloc::Dlmalloc;

/// A program's heap.
pub struct Heap(Monitor<Dlmalloc>);

impl Heap {
    /// An empty one.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it is for a static")]
    pub const fn new() -> Heap {
        Heap(Monitor::new(Dlmalloc::new()))
    }
}

// SAFETY: passed on to an allocator, under a lock; what is handed on is what
// our caller promises. Nothing is inlined: that would be done in thousands of
// places.
unsafe impl GlobalAlloc for Heap {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        self.0.alone(|heap| unsafe { heap.malloc(layout.size(), layout.align()) })
    }

    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        self.0.alone(|heap| unsafe { heap.free(block, layout.size(), layout.align()) });
    }

    #[inline(never)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        self.0.alone(|heap| unsafe { heap.calloc(layout.size(), layout.align()) })
    }

    #[inline(never)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's.
        self.0.alone(|heap| unsafe { heap.realloc(block, layout.size(), layout.align(), size) })
    }
}
