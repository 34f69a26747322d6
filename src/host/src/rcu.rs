//! A value that many read at any moment, signal handlers among them, and that
//! is replaced now and then: reading takes no lock, and a replaced value is
//! freed when nobody can be reading it.

use alloc::boxed::Box;
use core::ops::Deref;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst};

/// See the module.
pub struct Rcu<T> {
    current: AtomicPtr<Node<T>>,
    /// Readers under way, in all threads.
    readers: AtomicUsize,
    /// Replaced values that a reader may still hold.
    retired: AtomicPtr<Node<T>>,
    replacing: AtomicBool,
}

struct Node<T> {
    value: T,
    next: *mut Node<T>,
}

/// Keeps what it was read with alive.
pub struct Guard<'a, T> {
    rcu: &'a Rcu<T>,
    node: *const Node<T>,
}

impl<T> Rcu<T> {
    /// Holds nothing yet.
    #[must_use]
    pub const fn new() -> Rcu<T> {
        Rcu {
            current: AtomicPtr::new(null_mut()),
            readers: AtomicUsize::new(0),
            retired: AtomicPtr::new(null_mut()),
            replacing: AtomicBool::new(false),
        }
    }

    /// The value of this moment.
    #[must_use]
    #[inline]
    pub fn read(&self) -> Option<Guard<'_, T>> {
        self.readers.fetch_add(1, SeqCst);
        let node = self.current.load(SeqCst);
        let guard = Guard { rcu: self, node };
        if node.is_null() { None } else { Some(guard) }
    }

    /// Replaces the value. False when another thread is just doing so: its
    /// value is as new as ours.
    pub fn replace(&self, value: T) -> bool {
        self.put(|| Box::into_raw(Box::new(Node { value, next: null_mut() })))
    }

    /// Holds nothing from now on. False when another thread is just replacing
    /// the value.
    pub fn clear(&self) -> bool {
        self.put(null_mut)
    }

    fn put(&self, new: impl FnOnce() -> *mut Node<T>) -> bool {
        if self.replacing.swap(true, SeqCst) {
            return false;
        }
        let new = new();
        let old = self.current.swap(new, SeqCst);
        if !old.is_null() {
            // SAFETY: `replacing` makes us the only one that touches `next`
            // and the list of the retired.
            unsafe { (*old).next = self.retired.load(SeqCst) };
            self.retired.store(old, SeqCst);
        }
        // Whoever comes now reads the new value, so that no readers at this
        // moment means that nobody holds an old one.
        if self.readers.load(SeqCst) == 0 {
            let mut node = self.retired.swap(null_mut(), SeqCst);
            while !node.is_null() {
                // SAFETY: unreachable for readers, see above; freed once.
                let retired = unsafe { Box::from_raw(node) };
                node = retired.next;
            }
        }
        self.replacing.store(false, SeqCst);
        true
    }

    /// For the child of a fork: its parent's other threads, and what they
    /// were reading or replacing, are not here.
    pub fn forked(&self) {
        self.readers.store(0, SeqCst);
        self.replacing.store(false, SeqCst);
    }
}

impl<T> Rcu<T> {
    /// For the child of a fork: holds nothing from now on. The value is shown
    /// once more and then left where it is, undropped: threads that are not
    /// here may have been changing what it leads to.
    pub fn abandon(&self, last: impl FnOnce(&T)) {
        self.forked();
        let node = self.current.swap(null_mut(), SeqCst);
        if !node.is_null() {
            // SAFETY: nodes are whole once they are here, and never freed now.
            last(unsafe { &(*node).value });
        }
    }
}

impl<T> Drop for Rcu<T> {
    fn drop(&mut self) {
        for first in [*self.current.get_mut(), *self.retired.get_mut()] {
            let mut node = first;
            while !node.is_null() {
                // SAFETY: nobody reads any more; each node is in one list, and
                // the current one is followed by none.
                let last = unsafe { Box::from_raw(node) };
                node = last.next;
            }
        }
    }
}

impl<T> Default for Rcu<T> {
    fn default() -> Self {
        Rcu::new()
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `read` gives no guard without a node, and a node lives while
        // the count of readers, which this guard is part of, is not zero.
        unsafe { &(*self.node).value }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.rcu.readers.fetch_sub(1, SeqCst);
    }
}

// SAFETY: values are shared by reference between threads and freed by any.
unsafe impl<T: Send + Sync> Sync for Rcu<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for Rcu<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::vec::Vec;

    #[test]
    fn readers_see_whole_values_and_old_ones_are_freed() {
        let rcu = Arc::new(Rcu::new());
        assert!(rcu.read().is_none());
        let alive = Arc::new(());
        assert!(rcu.replace((0u64, 0u64, alive.clone())));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let rcu = rcu.clone();
                std::thread::spawn(move || {
                    for _ in 0..20_000 {
                        let value = rcu.read().unwrap();
                        assert_eq!(value.0, value.1);
                    }
                })
            })
            .collect();
        for n in 1..2_000 {
            rcu.replace((n, n, alive.clone()));
        }
        threads.into_iter().for_each(|t| t.join().unwrap());
        rcu.replace((1, 1, alive.clone()));
        assert_eq!(Arc::strong_count(&alive), 2);
        drop(rcu);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
