//! A process that is left behind by one that is about to become another program.
//!
//! A fork copies the tables of all our memory, and each page that either side
//! then writes is copied too, all of it for a process whose maker throws its own
//! memory away right afterwards. So what is left behind takes that memory over:
//! it shares it, and the table of descriptors, on a stack of its own, and runs
//! nothing until its maker has left it, by exec or by its end. Then the kernel
//! clears a word in it (set_tid_address(2)) and wakes who waits there, after it
//! has given a program that begins a table of descriptors of its own.
//!
//! It takes the kernel a while to make it, which its maker need not wait for: it
//! is made early, and told late what to do.

use crate::process::Fork;
use crate::{Kernel, sys};
use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use core::time::Duration;
use privns_abi::{Errno, Result};

/// The stack of the process that is left behind, in bytes; only what is used of
/// it takes room.
const STACK: usize = 8 << 20;
/// The stack of the process in between.
const MIDDLE: usize = 64 << 10;
const PAGE: usize = 4096;
/// After how long it looks for itself whether its maker is still there: a kernel
/// that only resembles Linux may not say so.
const SILENCE: Duration = Duration::from_secs(1);

type Work = Box<dyn FnOnce() + Send>;

/// What the new processes need, on the heap for good.
struct Left {
    /// Not zero while its maker is here.
    here: AtomicU32,
    /// The number of the process that is left behind, once it has one.
    born: AtomicI32,
    /// Its maker's until that has gone.
    work: UnsafeCell<Option<Work>>,
    /// Where the stack begins that grows down from there.
    top: usize,
    /// What no other memory has in the same place.
    mark: u64,
    maker: i32,
}

// SAFETY: what is not atomic is its maker's while that is here, and then the
// other's.
unsafe impl Sync for Left {}

/// A process that is being left behind.
#[must_use]
pub struct Behind {
    /// `None` where it cannot be made so.
    left: Option<&'static Left>,
    /// The process in between, if there is one.
    middle: Option<i32>,
    orphan: bool,
}

impl Behind {
    /// Waits until it is there, and says what it is to do: `work`, after which it
    /// ends. Without this it does nothing. Gives its number.
    ///
    /// Nothing may follow this but exec or the end.
    ///
    /// # Errors
    /// clone(2)'s; EFAULT where the process in between was killed.
    pub fn there(self, work: impl FnOnce() + Send + 'static) -> Result<i32> {
        let status = self.middle.map_or(Ok(0), |middle| Kernel.wait(middle))?;
        if libc::WIFSIGNALED(status) {
            return Err(Errno::EFAULT); // No kernel's doing: ours, or somebody killed it.
        }
        match self.left.filter(|_| status == 0) {
            Some(left) => {
                // SAFETY: it is ours as long as we are here.
                unsafe { *left.work.get() = Some(Box::new(work)) };
                Ok(left.born.load(Ordering::Acquire))
            }
            None => fork_behind(self.orphan, work),
        }
    }
}

impl Kernel {
    /// Begins to leave a process behind for when this one has become another
    /// program or has ended itself; [`Behind::there`] says what it is to do.
    ///
    /// With `orphan` it is nobody's child. Else it is ours, and such that wait(2)
    /// does not see it. It has a session of its own, and all signals wait.
    ///
    /// This process must have one thread only, and do so once.
    pub fn leave_behind(self, orphan: bool) -> Behind {
        let made = stacks().and_then(|stacks| {
            let left = Left::new(stacks + MIDDLE + STACK);
            let blocked = self.set_blocked(u64::MAX);
            let made = match orphan {
                false => left.keep().map(|()| None),
                true => left.keep_by_another(stacks + MIDDLE).map(Some),
            };
            self.set_blocked(blocked);
            made.map(|middle| (left, middle))
        });
        match made {
            Ok((left, middle)) => Behind { left: Some(left), middle, orphan },
            // An emulator of another processor, say, which makes threads only.
            Err(_) => Behind { left: None, middle: None, orphan },
        }
    }
}

impl Left {
    fn new(top: usize) -> &'static Left {
        let now = crate::net::now().as_nanos() as u64;
        let maker = Kernel.getpid();
        let left = Box::leak(Box::new(Left {
            here: AtomicU32::new(1),
            born: AtomicI32::new(0),
            work: UnsafeCell::new(None),
            top,
            mark: now ^ ((maker as u64) << 40) ^ top as u64,
            maker,
        }));
        // SAFETY: a word that is there for good; it is cleared when we have gone.
        let _ = unsafe { sys!(libc::SYS_set_tid_address, left.here.as_ptr()) };
        left
    }

    /// Makes the process that is left behind.
    fn keep(&'static self) -> Result<()> {
        let shared = (libc::CLONE_VM | libc::CLONE_FILES) as usize;
        // SAFETY: the stack is that process's alone; it touches nothing of its
        // maker's as long as that is here.
        let made = unsafe { clone(shared, self.top, keeper, self.at()) }?;
        self.born.store(made, Ordering::Release);
        Ok(())
    }

    /// Has it made by a process in between, which has to be waited for.
    fn keep_by_another(&'static self, top: usize) -> Result<i32> {
        let shared = (libc::CLONE_VM | libc::CLONE_FILES) as usize;
        // SAFETY: the stack is that process's alone; it calls the kernel and
        // touches nothing else.
        unsafe { clone(shared, top, middle, self.at()) }
    }

    fn at(&'static self) -> *mut c_void {
        (&raw const *self).cast_mut().cast()
    }

    /// Waits until its maker has gone.
    fn wait(&self) {
        while self.here.load(Ordering::Acquire) != 0 {
            let limit = libc::timespec { tv_sec: SILENCE.as_secs() as i64, tv_nsec: 0 };
            let at = self.here.as_ptr();
            // Not a private one: so is the kernel's waking.
            // SAFETY: the kernel reads a word and a time of ours.
            let waited =
                unsafe { sys!(libc::SYS_futex, at, libc::FUTEX_WAIT, 1, &raw const limit) };
            if waited == Err(Errno::ETIMEDOUT) && !self.is_maker_here() {
                return;
            }
        }
    }

    /// Whether its maker has this memory (process_vm_readv(2)).
    fn is_maker_here(&self) -> bool {
        let mut mark = 0u64;
        let to = libc::iovec { iov_base: (&raw mut mark).cast(), iov_len: size_of::<u64>() };
        let at = (&raw const self.mark).cast_mut().cast();
        let from = libc::iovec { iov_base: at, iov_len: size_of::<u64>() };
        let (to, from) = (&raw const to, &raw const from);
        // SAFETY: the kernel writes one number of ours.
        let read = unsafe { sys!(libc::SYS_process_vm_readv, self.maker, to, 1, from, 1, 0) };
        match read {
            Ok(_) => mark == self.mark,
            // Not to be had at all: it is left to the kernel.
            Err(e) => e == Errno::ENOSYS || e == Errno::EPERM,
        }
    }
}

unsafe extern "C" fn middle(left: *mut c_void) -> ! {
    // SAFETY: it is there for good, and what we touch is atomic.
    let left: &'static Left = unsafe { &*left.cast::<Left>() };
    Kernel.exit(left.keep().map_or_else(|e| e.0, |()| 0))
}

unsafe extern "C" fn keeper(left: *mut c_void) -> ! {
    // SAFETY: it is there for good; what is not atomic is left alone until its
    // maker has gone.
    let left: &'static Left = unsafe { &*left.cast::<Left>() };
    // Beside our maker, which has not to wait for it: it takes the kernel a while.
    let _ = Kernel.setsid();
    left.wait();
    // SAFETY: the memory is ours alone now.
    if let Some(work) = unsafe { (*left.work.get()).take() } {
        work();
    }
    Kernel.exit(0)
}

/// The same with memory and descriptors copied, which can begin at once.
fn fork_behind(orphan: bool, work: impl FnOnce()) -> Result<i32> {
    let mut pipe = [0i32; 2];
    // SAFETY: the kernel writes two numbers.
    unsafe { sys!(libc::SYS_pipe2, &raw mut pipe, libc::O_CLOEXEC) }?;
    let [ours, theirs] = pipe;
    let blocked = Kernel.set_blocked(u64::MAX);
    let made = Kernel.fork_away(orphan);
    if let Ok(Fork::Child) = made {
        let own = Kernel.getpid();
        // SAFETY: one number of ours is read.
        let _ = unsafe { sys!(libc::SYS_write, theirs, &raw const own, size_of::<i32>()) };
        let _ = (Kernel.close(ours), Kernel.close(theirs));
        work();
        Kernel.exit(0)
    }
    Kernel.set_blocked(blocked);
    let _ = Kernel.close(theirs);
    let mut born = 0i32;
    // SAFETY: the kernel writes one number of ours; of a pipe it comes whole.
    let read = unsafe { sys!(libc::SYS_read, ours, &raw mut born, size_of::<i32>()) };
    let _ = Kernel.close(ours);
    match made.and(read)? {
        0 => Err(Errno::EAGAIN),
        _ => Ok(born),
    }
}

/// Room for both stacks, the lowest page of it closed: where it begins.
fn stacks() -> Result<usize> {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at a place of the kernel's choice, of which nothing
    // is used yet.
    unsafe {
        let at = sys!(libc::SYS_mmap, 0, MIDDLE + STACK, prot, flags, usize::MAX, 0)?;
        sys!(libc::SYS_mprotect, at + MIDDLE, PAGE, libc::PROT_NONE)?;
        Ok(at)
    }
}

/// clone(2) of a process that runs `run` on the stack which ends at `top`.
///
/// # Safety
/// The stack must be the new process's alone. With CLONE_VM it and we have the
/// same memory, and may not get in each other's way.
unsafe fn clone(
    flags: usize,
    top: usize,
    run: unsafe extern "C" fn(*mut c_void) -> !,
    left: *mut c_void,
) -> Result<i32> {
    let made: isize;
    // SAFETY: for us it is a call like any other; the new process begins behind
    // it with our registers and another stack, and never comes back.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            // Either may be in rbp.
            "mov rdi, {left}",
            "mov rax, {run}",
            "xor ebp, ebp",
            "call rax",
            "2:",
            run = in(reg) run, left = in(reg) left,
            inlateout("rax") libc::SYS_clone as isize => made,
            in("rdi") flags, in("rsi") top, in("rdx") 0, in("r10") 0, in("r8") 0,
            out("rcx") _, out("r11") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        core::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            // Either may be in x29.
            "mov x0, {left}",
            "mov x9, {run}",
            "mov x29, xzr",
            "blr x9",
            "2:",
            run = in(reg) run, left = in(reg) left,
            in("x8") libc::SYS_clone,
            inlateout("x0") flags as isize => made,
            in("x1") top, in("x2") 0, in("x3") 0, in("x4") 0,
        );
    }
    Errno::from_ret(made).map(|pid| pid as i32)
}
