//! A place for one value that any thread, and any signal handler, may take out
//! or put back at any moment, without a lock: whoever takes it has it alone.

use alloc::boxed::Box;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

/// See the module.
pub struct Slot<T>(AtomicPtr<T>);

impl<T> Slot<T> {
    /// Empty.
    #[must_use]
    pub const fn new() -> Slot<T> {
        Slot(AtomicPtr::new(null_mut()))
    }

    /// Takes the value out; `None` when it is not there, or somebody has it.
    #[must_use]
    pub fn take(&self) -> Option<Box<T>> {
        if self.0.load(Ordering::Relaxed).is_null() {
            return None;
        }
        let old = self.0.swap(null_mut(), Ordering::AcqRel);
        // SAFETY: what is not null came out of a box in `put`, and the swap
        // has given it to us alone.
        (!old.is_null()).then(|| unsafe { Box::from_raw(old) })
    }

    /// Puts a value in; gives back the one that was there.
    pub fn put(&self, value: Box<T>) -> Option<Box<T>> {
        let old = self.0.swap(Box::into_raw(value), Ordering::AcqRel);
        // SAFETY: as in `take`.
        (!old.is_null()).then(|| unsafe { Box::from_raw(old) })
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Slot::new()
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

// SAFETY: a value is only ever with one thread: the slot moves it, and shares
// nothing.
unsafe impl<T: Send> Sync for Slot<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Slot<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicUsize;

    #[test]
    fn a_value_is_with_one_holder_at_a_time() {
        static SLOT: Slot<usize> = Slot::new();
        static MADE: AtomicUsize = AtomicUsize::new(1);
        static GONE: AtomicUsize = AtomicUsize::new(0);
        SLOT.put(Box::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let value = SLOT
                            .take()
                            .unwrap_or_else(|| Box::new(MADE.fetch_add(1, Ordering::Relaxed)));
                        if SLOT.put(value).is_some() {
                            GONE.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert!(SLOT.take().is_some() && SLOT.take().is_none());
        assert_eq!(MADE.load(Ordering::Relaxed), GONE.load(Ordering::Relaxed) + 1);
    }
}
