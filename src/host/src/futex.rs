//! A lock, and a place to sleep until what it guards has changed: made of one
//! futex(2) each, so that it can live in any program, allocates nothing, and
//! can be made new in the child of a fork.
//!
//! The lock is held for bookkeeping alone, never while anything is waited
//! for. Whoever enters holds a [`crate::signals::Calm`], so that no handler
//! runs on a thread that has the lock, and a handler that enters finds it free
//! or with another thread, which will give it back.

use crate::net::now;
use crate::signals::{self, SLICE};
use crate::sys;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use privns_abi::{Errno, Result};

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and somebody may be asleep for it.
const WANTED: u32 = 2;

/// What a visit has changed: bits of the visitors' own choosing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// All who sleep for one of these wake up.
    pub all: u32,
    /// One of those who sleep for these does, if there is one.
    pub one: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Monitor<S> {
    lock: AtomicU32,
    /// Raised by every visit that had news.
    news: AtomicU32,
    sleepers: AtomicU32,
    state: UnsafeCell<S>,
}

// SAFETY: the state is reached under the lock alone.
unsafe impl<S: Send> Sync for Monitor<S> {}

/// Gives the lock back.
struct Held<'m, S>(&'m Monitor<S>);

impl<S> Drop for Held<'_, S> {
    fn drop(&mut self) {
        if self.0.lock.swap(FREE, Ordering::Release) == WANTED {
            wake(&self.0.lock, 1, u32::MAX);
        }
    }
}

impl<S> Held<'_, S> {
    fn state(&mut self) -> &mut S {
        // SAFETY: we have the lock, and borrow ourselves for as long.
        unsafe { &mut *self.0.state.get() }
    }
}

impl<S> Monitor<S> {
    /// A monitor of `state`.
    pub const fn new(state: S) -> Self {
        Monitor {
            lock: AtomicU32::new(FREE),
            news: AtomicU32::new(0),
            sleepers: AtomicU32::new(0),
            state: UnsafeCell::new(state),
        }
    }

    /// Runs `f` alone on the state until it gives a value: at once, and again
    /// when a visit had news of one of the bits of `about`. `f` neither blocks
    /// nor enters again. `news` says, under the lock, what this visit had.
    ///
    /// A sleeper looks again every [`SLICE`] in any case, so that news that
    /// woke somebody who then gave up are not lost.
    ///
    /// # Errors
    /// EINTR when a signal wants to be let in, ETIMEDOUT after `timeout`. Never
    /// when `f` gives a value the first time.
    pub fn enter<R>(
        &self,
        timeout: Duration,
        about: u32,
        mut f: impl FnMut(&mut S) -> Option<R>,
        mut news: impl FnMut(&mut S) -> News,
    ) -> Result<R> {
        let mut began = None;
        loop {
            let mut held = self.take();
            let value = f(held.state());
            let news = news(held.state());
            // Changed under the lock alone.
            let mut seen = self.news.load(Ordering::Relaxed);
            if news != News::default() {
                seen = seen.wrapping_add(1);
                self.news.store(seen, Ordering::Relaxed);
            }
            // Counted under the lock: whoever has news later sees us.
            let others = match value {
                Some(_) => self.sleepers.load(Ordering::Relaxed),
                None => self.sleepers.fetch_add(1, Ordering::Relaxed),
            };
            drop(held);
            if others > 0 && news.all != 0 {
                wake(&self.news, u32::MAX >> 1, news.all);
            }
            if others > 0 && news.one != 0 {
                wake(&self.news, 1, news.one);
            }
            if let Some(value) = value {
                return Ok(value);
            }
            let waited = now().saturating_sub(*began.get_or_insert_with(now));
            let left = timeout.saturating_sub(waited);
            let due = signals::check();
            if !left.is_zero() && due.is_ok() {
                sleep(&self.news, seen, left.min(SLICE), about);
            }
            self.sleepers.fetch_sub(1, Ordering::Relaxed);
            due?;
            if left.is_zero() {
                return Err(Errno::ETIMEDOUT);
            }
        }
    }

    /// Runs `f` alone on the state, which is no news to anybody.
    #[cfg(any(test, all(feature = "launcher", target_env = "musl")))]
    pub(crate) fn alone<R>(&self, f: impl FnOnce(&mut S) -> R) -> R {
        f(self.take().state())
    }

    fn take(&self) -> Held<'_, S> {
        const SPINS: u32 = 100;
        for _ in 0..SPINS {
            if self.try_take() {
                return Held(self);
            }
            core::hint::spin_loop();
        }
        while self.lock.swap(WANTED, Ordering::Acquire) != FREE {
            sleep(&self.lock, WANTED, SLICE, u32::MAX);
        }
        Held(self)
    }

    fn try_take(&self) -> bool {
        self.lock.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// For the child of a fork, which has one thread: nobody sleeps or has the
    /// lock. The state stays if no thread was in the middle of changing it;
    /// else it is lost without being dropped, and `fresh` takes its place.
    pub fn forked(&self, fresh: impl FnOnce() -> S) {
        self.sleepers.store(0, Ordering::Relaxed);
        if self.lock.swap(FREE, Ordering::Acquire) != FREE {
            // SAFETY: no other thread exists, and what may be half changed is
            // not looked at.
            unsafe { self.state.get().write(fresh()) };
        }
    }
}

/// Sleeps while `word` is `seen`, `timeout` at most.
fn sleep(word: &AtomicU32, seen: u32, timeout: Duration, bits: u32) {
    let end = now().saturating_add(timeout);
    let end = libc::timespec { tv_sec: end.as_secs() as i64, tv_nsec: end.subsec_nanos().into() };
    let op = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word and the time are valid for the call; the time is that
    // of CLOCK_MONOTONIC, absolute, as this form of waiting wants it.
    let _ = unsafe { sys!(libc::SYS_futex, word.as_ptr(), op, seen, &raw const end, 0, bits) };
}

fn wake(word: &AtomicU32, most: u32, bits: u32) {
    let op = libc::FUTEX_WAKE_BITSET | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word's address is a key, nothing is read or written.
    let _ = unsafe { sys!(libc::SYS_futex, word.as_ptr(), op, most, 0, 0, bits) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::calm;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn one_at_a_time_and_none_sleeps_through_news() {
        const THREADS: usize = 8;
        const TURNS: u64 = 2000;
        // Whose turn it is, and how often it was somebody's.
        let monitor = Monitor::new((0usize, 0u64));
        std::thread::scope(|scope| {
            for me in 0..THREADS {
                let monitor = &monitor;
                scope.spawn(move || {
                    for _ in 0..TURNS {
                        let _calm = calm();
                        let mut next = 0;
                        monitor
                            .enter(
                                LONG,
                                1 << me,
                                |s| {
                                    (s.0 == me).then(|| {
                                        *s = ((me + 1) % THREADS, s.1 + 1);
                                        next = 1 << s.0;
                                    })
                                },
                                |s| News { all: 1 << s.0, one: 0 },
                            )
                            .unwrap();
                    }
                });
            }
        });
        let total = monitor.enter(LONG, 0, |s| Some(s.1), |_| News::default()).unwrap();
        assert_eq!(total, TURNS * THREADS as u64);
    }

    #[test]
    fn a_wait_ends_in_time() {
        let monitor = Monitor::new(());
        let began = now();
        let timeout = Duration::from_millis(70);
        let waited = monitor.enter(timeout, 1, |()| None::<()>, |()| News::default());
        assert_eq!(waited, Err(Errno::ETIMEDOUT));
        assert!(now() - began >= timeout);
    }

    #[test]
    fn a_forked_child_finds_it_free() {
        let monitor = Monitor::new(7);
        let held = monitor.take();
        core::mem::forget(held);
        monitor.forked(|| 9);
        assert_eq!(monitor.enter(LONG, 0, |s| Some(*s), |_| News::default()), Ok(9));
        monitor.forked(|| 11);
        assert_eq!(monitor.enter(LONG, 0, |s| Some(*s), |_| News::default()), Ok(9));
    }
}
