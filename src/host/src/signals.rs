//! Signals while one of our own operations is under way in somebody else's
//! program.
//!
//! An operation on a remote file takes locks and roles: the offset of an open
//! file, the right to write to a connection. A handler of the program that ran
//! in the middle of it could call us and wait for what its own thread holds,
//! or leave by siglongjmp(3) and never give it back. So it is as in the
//! kernel: a [`Calm`] is held from the beginning of an operation to its end,
//! no handler runs meanwhile, and a wait that takes long looks now and then
//! ([`check`]) whether a signal is due. What then happens is what signal(7)
//! says of slow calls:
//!
//! | what is due | what happens |
//! |---|---|
//! | the default action is to stop or to do nothing, or the signal is ignored | it happens at once, inside the wait |
//! | the default action ends the program | the wait ends with EINTR, so that a server can be told that nobody waits; then it ends |
//! | a handler without SA_RESTART | the wait ends with EINTR; everything is given back, the handler runs, the call fails with EINTR |
//! | a handler with SA_RESTART | it runs when the operation ends; after [`PATIENCE`] the wait ends with EINTR all the same, and the caller begins again ([`restarts`]) |
//!
//! Waits look every [`SLICE`], so shorter ones are like the disk's: no signal
//! ends them. That is on purpose. ppoll(2) with the program's own mask would
//! let handlers in while roles are held, and could not tell a handler with
//! SA_RESTART from one without: a profiler's timer would end every call.
//!
//! Never kept waiting: faults (SIGSEGV and its like: a program that repairs
//! its memory in a handler must be able to, when we touch a buffer of its),
//! SIGSYS, and the C library's signal 33, by which setuid(2) reaches all
//! threads.
//!
//! Races: a signal that comes between two looks is seen by the next one. One
//! that is sent to the process goes to a thread that has it unblocked, if
//! there is one; if all threads are in operations of ours, every one of them
//! that waits may end with EINTR, and one of them runs the handler. An action
//! that is changed between the look and the admission counts as changed
//! before.

use crate::net::now;
use crate::raw::thread_pointer;
use crate::sys;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;
use privns_abi::{Errno, Result};

/// How long a wait may go on without a look at the signals that are due.
pub const SLICE: Duration = Duration::from_millis(20);
/// How long a handler with SA_RESTART is kept waiting by waits.
pub const PATIENCE: Duration = Duration::from_secs(1);

const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// glibc's SIGSETXID.
const SETXID: i32 = 33;

/// What is blocked. No program has this very set: the C library lets nobody
/// block 32, its SIGCANCEL. So whoever finds it is inside an operation.
const QUIET: u64 = !(bit(libc::SIGKILL)
    | bit(libc::SIGSTOP)
    | bit(libc::SIGSEGV)
    | bit(libc::SIGBUS)
    | bit(libc::SIGILL)
    | bit(libc::SIGFPE)
    | bit(libc::SIGTRAP)
    | bit(libc::SIGSYS)
    | bit(SETXID));

/// Those that end no program by themselves (signal(7)).
const HARMLESS: u64 = bit(libc::SIGCHLD)
    | bit(libc::SIGCONT)
    | bit(libc::SIGSTOP)
    | bit(libc::SIGTSTP)
    | bit(libc::SIGTTIN)
    | bit(libc::SIGTTOU)
    | bit(libc::SIGURG)
    | bit(libc::SIGWINCH);

/// The mask that a thread had when its operation began.
struct Caller {
    thread: AtomicUsize,
    mask: AtomicU64,
    /// When a signal was first seen that can wait a little, nanoseconds of
    /// [`now`]; 0: none was.
    since: AtomicU64,
}

impl Caller {
    const fn nobody() -> Caller {
        Caller { thread: AtomicUsize::new(0), mask: AtomicU64::new(0), since: AtomicU64::new(0) }
    }
}

/// Threads whose signals can be looked at. One more, and its waits are simply
/// not interrupted.
const CALLERS: usize = 128;

static CALLER: [Caller; CALLERS] = [const { Caller::nobody() }; CALLERS];

/// The places where the mask of `thread` may stand, the likeliest first.
fn places(thread: usize) -> impl Iterator<Item = &'static Caller> {
    // Thread blocks are pages apart.
    let first = (thread >> 12) % CALLERS;
    (0..CALLERS).map(move |i| &CALLER[(first + i) % CALLERS])
}

/// The place where this thread's mask stands.
fn own() -> Option<&'static Caller> {
    let thread = thread_pointer();
    places(thread).find(|c| c.thread.load(Ordering::Relaxed) == thread)
}

/// Whether this thread is in the middle of an operation whose caller's mask is
/// known.
#[must_use]
pub fn is_calm() -> bool {
    own().is_some()
}

/// The signals that the interrupted program would have let in: none when the
/// mask is not known.
fn open_to() -> u64 {
    own().map_or(0, |c| QUIET & !c.mask.load(Ordering::Relaxed))
}

/// While it lives this thread runs no handler. They nest: the innermost
/// cost one system call, the outermost two. It belongs to its thread.
#[must_use = "signals come in again when it is dropped"]
#[derive(Debug)]
pub struct Calm {
    /// The caller's mask, when this is the outermost.
    before: Option<u64>,
    _own: PhantomData<*mut ()>,
}

/// Begins an operation.
pub fn calm() -> Calm {
    let before = set_mask(QUIET);
    if before == QUIET {
        return Calm { before: None, _own: PhantomData };
    }
    let thread = thread_pointer();
    // A place that this thread has left behind (a child of vfork that was
    // killed) is as good as a free one.
    let free = places(thread).find(|c| {
        let took = c.thread.compare_exchange(0, thread, Ordering::Relaxed, Ordering::Relaxed);
        took.is_ok() || took == Err(thread)
    });
    if let Some(place) = free {
        place.mask.store(before, Ordering::Relaxed);
        place.since.store(0, Ordering::Relaxed);
    }
    Calm { before: Some(before), _own: PhantomData }
}

impl Drop for Calm {
    fn drop(&mut self) {
        let Some(before) = self.before else { return };
        if let Some(place) = own() {
            place.thread.store(0, Ordering::Relaxed);
        }
        set_mask(before);
    }
}

/// For the child of a fork: the masks of the parent's other threads are
/// nobody's.
pub fn forked() {
    let own = thread_pointer();
    for place in &CALLER {
        if place.thread.load(Ordering::Relaxed) != own {
            place.thread.store(0, Ordering::Relaxed);
        }
    }
}

/// What a signal does when it is let in.
enum Action {
    Default,
    /// It ends the program.
    End,
    Handler {
        restarts: bool,
    },
}

/// Looks whether a signal wants to be let in, and lets in what runs no
/// handler.
///
/// # Errors
/// EINTR: end the operation.
pub fn check() -> Result<()> {
    let (mut admitted, mut patient) = (0, false);
    for signal in due() {
        match action(signal) {
            Action::Default => admitted |= bit(signal),
            Action::End | Action::Handler { restarts: false } => return Err(Errno::EINTR),
            Action::Handler { restarts: true } => patient = true,
        }
    }
    if admitted != 0 {
        admit(admitted);
    }
    if patient && kept_waiting() >= PATIENCE { Err(Errno::EINTR) } else { Ok(()) }
}

/// How long a signal has been waiting that can wait a little.
fn kept_waiting() -> Duration {
    let Some(place) = own() else { return Duration::ZERO };
    let now = now().as_nanos() as u64;
    match place.since.load(Ordering::Relaxed) {
        0 => {
            place.since.store(now.max(1), Ordering::Relaxed);
            Duration::ZERO
        }
        since => Duration::from_nanos(now.saturating_sub(since)),
    }
}

/// Whether the signals that are due say that an interrupted call is to be
/// begun again once they have been handled: asked after EINTR, before the
/// [`Calm`] ends. Never when none is due.
#[must_use]
pub fn restarts() -> bool {
    let mut handled = false;
    for signal in due() {
        match action(signal) {
            Action::Default => {}
            Action::Handler { restarts: true } => handled = true,
            Action::End | Action::Handler { restarts: false } => return false,
        }
    }
    handled
}

/// An operation: runs `act` with no handler in the middle of it, and again
/// when a signal has ended it after which a system call is begun again. Inside
/// of another that is for the other to do: no handler has run.
///
/// # Errors
/// Those of `act`.
pub fn calmly<R>(mut act: impl FnMut() -> Result<R>) -> Result<R> {
    loop {
        let calm = calm();
        let done = act();
        let outermost = calm.before.is_some();
        let again = outermost && matches!(done, Err(Errno::EINTR)) && restarts();
        drop(calm);
        if !again {
            return done;
        }
    }
}

/// Signals that are pending and that the program lets in.
fn due() -> impl Iterator<Item = i32> {
    let open = open_to();
    let mut pending = 0u64;
    if open != 0 {
        // SAFETY: the kernel writes one 64-bit set, of the size given.
        let _ = unsafe { sys!(libc::SYS_rt_sigpending, &raw mut pending, size_of::<u64>()) };
    }
    let mut left = pending & open;
    core::iter::from_fn(move || {
        let signal = left.trailing_zeros() as i32 + 1;
        left &= left.wrapping_sub(1);
        (signal <= 64).then_some(signal)
    })
}

fn action(signal: i32) -> Action {
    /// `struct sigaction` of the kernel, alike on x86-64 and aarch64.
    #[repr(C)]
    #[derive(Default)]
    struct KernelAction {
        handler: usize,
        flags: u64,
        restorer: usize,
        mask: u64,
    }
    let mut now = KernelAction::default();
    // SAFETY: the kernel writes one of its own struct sigaction.
    let asked = unsafe { sys!(libc::SYS_rt_sigaction, signal, 0, &raw mut now, size_of::<u64>()) };
    if asked.is_err() || now.handler == libc::SIG_IGN {
        return Action::Default;
    }
    if now.handler == libc::SIG_DFL {
        return if HARMLESS & bit(signal) != 0 { Action::Default } else { Action::End };
    }
    Action::Handler { restarts: now.flags & libc::SA_RESTART as u64 != 0 }
}

/// Lets the kernel act on these signals and no others.
fn admit(signals: u64) {
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let mask = QUIET & !signals;
    // SAFETY: no descriptors; one timespec and one set are read.
    let _ =
        unsafe { sys!(libc::SYS_ppoll, 0, 0, &raw const now, &raw const mask, size_of::<u64>()) };
}

/// Sets this thread's mask; which it was.
fn set_mask(mask: u64) -> u64 {
    let mut before = 0u64;
    // SAFETY: the kernel reads and writes one 64-bit set each.
    let _ = unsafe {
        sys!(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut before,
            size_of::<u64>()
        )
    };
    before
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicU32;

    static RAN: AtomicU32 = AtomicU32::new(0);

    extern "C" fn handler(_: i32) {
        RAN.fetch_add(1, Ordering::SeqCst);
    }

    fn install(signal: i32, flags: i32) {
        // SAFETY: a handler that touches an atomic alone.
        unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            action.sa_sigaction = handler as extern "C" fn(i32) as usize;
            action.sa_flags = flags;
            assert_eq!(libc::sigaction(signal, &action, core::ptr::null_mut()), 0);
        }
    }

    fn send(signal: i32) {
        // SAFETY: to this very thread.
        unsafe {
            let tid = libc::syscall(libc::SYS_gettid);
            assert_eq!(libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, signal), 0);
        }
    }

    // One test, since actions belong to the whole process.
    #[test]
    fn handlers_run_at_the_end_and_not_before() {
        install(libc::SIGUSR1, 0);
        install(libc::SIGUSR2, libc::SA_RESTART);
        let ran = || RAN.load(Ordering::SeqCst);
        let outer = calm();
        {
            let _inner = calm();
            assert_eq!(check(), Ok(()));
            send(libc::SIGWINCH);
            assert_eq!(check(), Ok(()));
            send(libc::SIGUSR2);
            let began = now();
            while check().is_ok() {
                std::thread::sleep(SLICE);
            }
            let waited = now() - began;
            assert!(waited >= PATIENCE && waited < 2 * PATIENCE, "{waited:?}");
            assert!(restarts());
            send(libc::SIGUSR1);
            assert_eq!(check(), Err(Errno::EINTR));
            assert!(!restarts());
        }
        {
            // What would be the end of us, were it not ignored in time.
            let _inner = calm();
            send(libc::SIGTERM);
            assert_eq!(check(), Err(Errno::EINTR));
            assert!(!restarts());
            // SAFETY: no handler.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        }
        assert_eq!(ran(), 0);
        drop(outer);
        assert_eq!(ran(), 2);
        // Begun again once the handler has run, and not before.
        let mut rounds = 0;
        let done = calmly(|| {
            rounds += 1;
            send(if rounds == 1 { libc::SIGUSR2 } else { libc::SIGUSR1 });
            calmly(|| Err::<(), _>(Errno::EINTR))
        });
        assert_eq!((done, rounds, ran()), (Err(Errno::EINTR), 2, 4));
        // What the program itself has blocked is none of our business.
        let mine = set_mask(bit(libc::SIGUSR1));
        let calm = calm();
        send(libc::SIGUSR1);
        assert_eq!(check(), Ok(()));
        drop(calm);
        assert_eq!(ran(), 4);
        set_mask(mine);
        assert_eq!(ran(), 5);
    }

    #[test]
    fn more_threads_than_places_are_only_not_interrupted() {
        std::thread::scope(|scope| {
            for _ in 0..CALLERS + 20 {
                scope.spawn(|| {
                    let calm = calm();
                    std::thread::yield_now();
                    assert_eq!(check(), Ok(()));
                    drop(calm);
                });
            }
        });
    }
}
