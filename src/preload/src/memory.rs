//! Memory of our own. The program's malloc may be the caller of a hook, hold
//! its lock, or be half way through a fork; this allocator has no lock at all:
//! a stack of free blocks a size class, pushed and popped by compare and swap.
//!
//! A block that was popped stays mapped for ever, so that a racing pop may read
//! its first word; the tag in the head makes that pop fail.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use privns_host::sys;

/// Blocks of 2^4 to 2^19 bytes; larger ones are mapped each for itself.
const CLASSES: usize = 16;
const SMALLEST: usize = 16;
/// Bytes asked of the kernel at a time, and in the first chunk, which most
/// programs never use up.
const FIRST: usize = 32 << 10;

/// Addresses have 48 bits and blocks 16 bytes: 44 bits of head, 20 of tag.
const TAG_BITS: u32 = 20;

/// Where new blocks are cut from.
#[repr(C, align(16))]
struct Chunk {
    /// Bytes cut so far, the header not counted.
    used: AtomicUsize,
    /// Bytes beyond [`FIRST`] that there are, the header not counted.
    more: usize,
}

#[repr(C)]
struct First {
    chunk: Chunk,
    bytes: UnsafeCell<[u8; FIRST]>,
}

// SAFETY: handed out in disjoint pieces by an atomic counter.
unsafe impl Sync for First {}

// All zeros, so that it takes no room in the file.
static FIRST_CHUNK: First = First {
    chunk: Chunk { used: AtomicUsize::new(0), more: 0 },
    bytes: UnsafeCell::new([0; FIRST]),
};

/// See the module.
pub(crate) struct Arena {
    heads: [AtomicU64; CLASSES],
    chunk: AtomicPtr<Chunk>,
}

impl Arena {
    pub(crate) const fn new() -> Arena {
        let first = (&raw const FIRST_CHUNK.chunk).cast_mut();
        Arena { heads: [const { AtomicU64::new(0) }; CLASSES], chunk: AtomicPtr::new(first) }
    }

    fn pop(&self, class: usize) -> *mut u8 {
        let head = &self.heads[class];
        let mut old = head.load(Ordering::Acquire);
        loop {
            let block = (old >> TAG_BITS << 4) as *mut u64;
            if block.is_null() {
                return null_mut();
            }
            // SAFETY: blocks are never unmapped; what is read may be stale, and
            // then the tag has changed and the exchange fails.
            let next = unsafe { block.read_volatile() };
            let tag = (old + 1) & ((1 << TAG_BITS) - 1);
            let new = next >> 4 << TAG_BITS | tag;
            match head.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return block.cast(),
                Err(now) => old = now,
            }
        }
    }

    fn push(&self, class: usize, block: *mut u8) {
        let head = &self.heads[class];
        let mut old = head.load(Ordering::Acquire);
        loop {
            let next = old >> TAG_BITS << 4;
            // SAFETY: the block is ours, at least 16 bytes and aligned.
            unsafe { block.cast::<u64>().write_volatile(next) };
            let tag = (old + 1) & ((1 << TAG_BITS) - 1);
            let new = (block as u64) >> 4 << TAG_BITS | tag;
            match head.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    /// Cuts a new block. Two threads that run out together both map a chunk;
    /// the one of the loser is given back.
    fn cut(&self, size: usize) -> *mut u8 {
        loop {
            let chunk = self.chunk.load(Ordering::Acquire);
            // SAFETY: chunks are never unmapped once they are published.
            let header = unsafe { &*chunk };
            let at = header.used.fetch_add(size, Ordering::Relaxed);
            if at.saturating_add(size) <= FIRST + header.more {
                return chunk.cast::<u8>().wrapping_add(size_of::<Chunk>() + at);
            }
            let more = size.saturating_sub(FIRST);
            let len = size_of::<Chunk>() + FIRST + more;
            let Some(base) = map(len) else { return null_mut() };
            let new = base.cast::<Chunk>();
            // SAFETY: fresh memory, larger than a header, aligned to a page.
            unsafe { new.write(Chunk { used: AtomicUsize::new(0), more }) };
            let published =
                self.chunk.compare_exchange(chunk, new, Ordering::AcqRel, Ordering::Acquire);
            if published.is_err() {
                // SAFETY: mapped above, seen by nobody.
                let _ = unsafe { sys!(libc::SYS_munmap, base, len) };
            }
        }
    }
}

fn map(len: usize) -> Option<*mut u8> {
    let (prot, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at a place of the kernel's choice.
    unsafe { sys!(libc::SYS_mmap, 0, len, prot, flags, -1isize, 0) }.ok().map(|at| at as *mut u8)
}

/// The class of a layout, `None` for what is mapped for itself.
fn class(layout: &Layout) -> Option<usize> {
    let size = layout.size().max(layout.align()).max(SMALLEST).next_power_of_two();
    let class = (size / SMALLEST).trailing_zeros() as usize;
    (class < CLASSES && layout.align() <= SMALLEST).then_some(class)
}

// SAFETY: blocks are disjoint, of the class's size, and aligned to 16 bytes;
// what is mapped for itself is aligned to a page.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class(&layout) else {
            return if layout.align() > 4096 {
                null_mut()
            } else {
                map(layout.size()).unwrap_or(null_mut())
            };
        };
        let block = self.pop(class);
        if block.is_null() {
            self.cut(SMALLEST << class)
        } else {
            block
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match class(&layout) {
            Some(class) => self.push(class, block),
            // SAFETY: mapped by `alloc` with this length.
            None => drop(unsafe { sys!(libc::SYS_munmap, block, layout.size()) }),
        }
    }
}
