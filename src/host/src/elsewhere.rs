//! Numbers of ours in children that share our memory (vfork(2), posix_spawn(3)).
//!
//! Such a child has descriptors of its own. Where its program makes one of our
//! numbers its own by dup2(2), ours goes elsewhere there, and stays where it is in
//! the parent: so it is noted here who has left which number. The child and the
//! thread that made it have one thread pointer, and that thread waits; where it
//! does not (clone(2) without `CLONE_VFORK`), the number of the parent's process
//! tells the two apart. A child that makes another hands its notes on, and forgets
//! those that the other has made ([`back`]).

use crate::{Kernel, raw};
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering::*};
use privns_abi::{Errno, Result};

/// Numbers that can have been left at a time.
const MOST: usize = 32;

/// A number that was left.
struct Left {
    /// The thread pointer; 0: none, 1: about to be noted.
    owner: AtomicUsize,
    from: AtomicI32,
    to: AtomicI32,
    depth: AtomicU32,
}

static LEFT: [Left; MOST] = [const { Left::new() }; MOST];
/// How many there are: mostly none.
static MANY: AtomicU32 = AtomicU32::new(0);
/// The process whose children these are.
static PARENT: AtomicI32 = AtomicI32::new(0);

impl Left {
    const fn new() -> Left {
        Left {
            owner: AtomicUsize::new(0),
            from: AtomicI32::new(0),
            to: AtomicI32::new(0),
            depth: AtomicU32::new(0),
        }
    }

    fn free(&self) {
        self.owner.store(0, Release);
        MANY.fetch_sub(1, Relaxed);
    }
}

fn own() -> impl Iterator<Item = &'static Left> {
    let owner = raw::thread_pointer();
    LEFT.iter().filter(move |left| left.owner.load(Acquire) == owner)
}

/// Where what stands at a number of ours in the parent stands in the process that
/// calls.
#[inline]
#[must_use]
pub fn here(fd: i32) -> i32 {
    if MANY.load(Relaxed) == 0 { fd } else { look(fd) }
}

#[cold]
fn look(fd: i32) -> i32 {
    if Kernel.getpid() == PARENT.load(Relaxed) {
        return fd;
    }
    let noted = own().filter(|left| left.from.load(Relaxed) == fd);
    let last = noted.max_by_key(|left| left.depth.load(Relaxed));
    last.map_or(fd, |left| left.to.load(Relaxed))
}

/// Leaves a number to the program of a child of `parent`; how deep in children of
/// children that is, `depth` says. What stood there is not closed.
///
/// # Errors
/// EMFILE.
pub fn leave(fd: i32, parent: i32, depth: u32, cloexec: bool) -> Result<()> {
    let new = Kernel.dup_elsewhere(fd, cloexec)?;
    // What the parent calls it, where the child has moved it before.
    let before = own().filter(|left| left.to.load(Relaxed) == fd);
    let before = before.max_by_key(|left| left.depth.load(Relaxed));
    if let Some(left) = before.filter(|left| left.depth.load(Relaxed) == depth) {
        left.to.store(new, Relaxed);
        return Ok(());
    }
    let claim = |left: &&Left| left.owner.compare_exchange(0, 1, Acquire, Relaxed).is_ok();
    let Some(left) = LEFT.iter().find(claim) else {
        let _ = Kernel.close(new);
        return Err(Errno::EMFILE);
    };
    left.from.store(before.map_or(fd, |left| left.from.load(Relaxed)), Relaxed);
    left.to.store(new, Relaxed);
    left.depth.store(depth, Relaxed);
    PARENT.store(parent, Relaxed);
    MANY.fetch_add(1, Relaxed);
    left.owner.store(raw::thread_pointer(), Release);
    Ok(())
}

/// A child of the calling thread's has gone its way, and with it what was noted
/// beyond `depth`.
pub fn back(depth: u32) {
    if MANY.load(Relaxed) != 0 {
        own().filter(|left| left.depth.load(Relaxed) > depth).for_each(Left::free);
    }
}

/// For the child of a fork, which has a memory of its own: `moved` is told of what
/// has left its number in the process that it is a copy of, and all is forgotten.
pub fn forked(mut moved: impl FnMut(i32, i32)) {
    if MANY.load(Relaxed) == 0 {
        return;
    }
    for left in own() {
        let from = left.from.load(Relaxed);
        // The last word on it.
        if look(from) == left.to.load(Relaxed) {
            moved(from, left.to.load(Relaxed));
        }
    }
    LEFT.iter().for_each(|left| left.owner.store(0, Relaxed));
    MANY.store(0, Relaxed);
}

#[cfg(test)]
#[path = "elsewhere_tests.rs"]
mod tests;
