//! A process that is left behind by one that is about to become another program.
//!
//! A fork copies the tables of all our memory, and each page that either side
//! then writes is copied too, all of it for a process whose maker throws its own
//! memory away right afterwards. So what is left behind takes that memory over:
//! it shares it, on a stack of its own, and runs nothing until its maker has left
//! it, by exec or by its end. That it learns from a pipe, whose other end the
//! maker alone has, to be closed at exec: the kernel gives a process its new
//! memory before it closes what is to be closed.

use crate::{Kernel, sys};
use alloc::boxed::Box;
use core::ffi::c_void;
use privns_abi::{Errno, Result};

/// The stack of the process that is left behind, in bytes; only what is used of
/// it takes room.
const STACK: usize = 8 << 20;
/// The stack of the process in between.
const MIDDLE: usize = 64 << 10;
const PAGE: usize = 4096;

/// What the new processes need, on the heap for good.
struct Left {
    /// Never freed: the heap is its maker's while it is called.
    born: &'static (dyn Fn(i32) + Sync),
    work: Option<Box<dyn FnOnce() + Send>>,
    /// The pipe, from which nothing is ever read but its end.
    pipe: [i32; 2],
    /// Where the stack begins that grows down from there.
    top: usize,
}

/// A process that is being left behind.
#[must_use]
pub struct Behind {
    /// The process in between, if there is one and it has not been waited for.
    middle: Option<i32>,
    /// Our end of the pipe that it has no use for.
    unused: i32,
}

impl Behind {
    /// Waits until it is there.
    ///
    /// # Errors
    /// clone(2)'s.
    pub fn there(self) -> Result<()> {
        let status = self.middle.map_or(Ok(0), |middle| Kernel.wait(middle));
        let _ = Kernel.close(self.unused);
        match status? {
            0 => Ok(()),
            status => Err(Errno(libc::WEXITSTATUS(status))),
        }
    }
}

impl Kernel {
    /// Leaves a process behind that runs `work`, and ends, once this one has
    /// become another program or has ended itself. `born` is told the number of
    /// the new process, which is about to begin a session of its own; it is not
    /// called where none could be made.
    ///
    /// With `orphan` it is nobody's child. Else it is ours, and such that wait(2)
    /// does not see it. It begins with all signals waiting.
    ///
    /// It is there when [`Behind::there`] says so, which has to be called before
    /// exec: it is made beside us.
    ///
    /// This process must have one thread only.
    ///
    /// # Errors
    /// pipe2(2)'s, mmap(2)'s and clone(2)'s.
    pub fn leave_behind(
        self,
        orphan: bool,
        born: impl Fn(i32) + Sync + 'static,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<Behind> {
        let mut pipe = [0i32; 2];
        // SAFETY: the kernel writes two numbers.
        unsafe { sys!(libc::SYS_pipe2, &raw mut pipe, libc::O_CLOEXEC) }?;
        let close = |fd: i32| {
            let _ = self.close(fd);
        };
        let stacks = stacks().inspect_err(|_| pipe.into_iter().for_each(close))?;
        let left = Box::leak(Box::new(Left {
            born: Box::leak(Box::new(born)),
            work: Some(Box::new(work)),
            pipe,
            top: stacks + MIDDLE + STACK,
        }));
        let blocked = self.set_blocked(u64::MAX);
        let made = match orphan {
            false => left.keep().map(|()| None),
            true => left.keep_by_another(stacks + MIDDLE).map(Some),
        };
        self.set_blocked(blocked);
        match made {
            Ok(middle) => Ok(Behind { middle, unused: pipe[0] }),
            Err(e) => {
                pipe.into_iter().for_each(close);
                Err(e)
            }
        }
    }
}

impl Left {
    /// Makes the process that is left behind.
    fn keep(&mut self) -> Result<()> {
        let at = (&raw mut *self).cast();
        // SAFETY: the stack is that process's alone, and so is `self` from here
        // on but for `born`; it touches nothing else as long as we are here.
        let made = unsafe { clone(libc::CLONE_VM as usize, self.top, keeper, at) };
        // An emulator of another processor, say, which makes threads only.
        // SAFETY: with memory of its own it is free to do what it likes.
        let made = made.or_else(|_| unsafe { clone(0, self.top, keeper, at) })?;
        (self.born)(made);
        Ok(())
    }

    /// Has it made by a process in between, which has to be waited for.
    fn keep_by_another(&'static mut self, top: usize) -> Result<i32> {
        let at = (&raw mut *self).cast();
        // SAFETY: the stack is that process's alone, and so is `self` until it has
        // ended; it calls the kernel and touches nothing else.
        let made = unsafe { clone(libc::CLONE_VM as usize, top, middle, at) };
        // An emulator of another processor, say, which knows threads and vfork(2).
        let both = (libc::CLONE_VM | libc::CLONE_VFORK) as usize;
        // SAFETY: as above.
        made.or_else(|_| unsafe { clone(both, top, middle, at) })
    }
}

unsafe extern "C" fn middle(left: *mut c_void) -> ! {
    // SAFETY: our maker's, which waits for us.
    let left = unsafe { &mut *left.cast::<Left>() };
    Kernel.exit(left.keep().map_or_else(|e| e.0, |()| 0))
}

unsafe extern "C" fn keeper(left: *mut c_void) -> ! {
    let left = left.cast::<Left>();
    // SAFETY: whoever made us reads the pipe's numbers at most until it has
    // gone; what comes before that are calls of the kernel with no memory of ours.
    let pipe = unsafe { (*left).pipe };
    let _ = Kernel.close(pipe[1]);
    // Beside our maker, which has not to wait for it: it takes the kernel a while.
    let _ = Kernel.setsid();
    let mut nothing = 0u8;
    // SAFETY: one byte of our own stack.
    while unsafe { sys!(libc::SYS_read, pipe[0], &raw mut nothing, 1) } == Err(Errno::EINTR) {}
    let _ = Kernel.close(pipe[0]);
    // SAFETY: the memory is ours alone now.
    if let Some(work) = unsafe { (*left).work.take() } {
        work();
    }
    Kernel.exit(0)
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
            "xor ebp, ebp",
            "mov rdi, {left}",
            "call {run}",
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
            "mov x29, xzr",
            "mov x0, {left}",
            "blr {run}",
            "2:",
            run = in(reg) run, left = in(reg) left,
            in("x8") libc::SYS_clone,
            inlateout("x0") flags as isize => made,
            in("x1") top, in("x2") 0, in("x3") 0, in("x4") 0,
        );
    }
    Errno::from_ret(made).map(|pid| pid as i32)
}
