//! The system call instruction, one function an architecture.

use privns_abi::{Errno, Result};

/// Whose note (elf(5)) is in programs of ours, which enter the kernel here: what they do so is
/// done to the host, in a family too.
pub const OWNER: &[u8; 8] = b"privns\0\0";

/// The note.
#[cfg(feature = "launcher")]
#[repr(C)]
struct Note {
    sizes: [u32; 2],
    kind: u32,
    owner: [u8; 8],
}

#[cfg(feature = "launcher")]
#[used]
#[unsafe(link_section = ".note.privns")]
static NOTE: Note = Note { sizes: [7, 0], kind: 1, owner: *OWNER };

/// Enters the kernel with call number `nr`; unused arguments are 0.
///
/// # Errors
/// The kernel's error number (syscall(2)); `errno` itself is not touched.
///
/// # Safety
/// The arguments must be what the call demands: pointers that it reads or
/// writes must be valid for that.
#[inline(always)]
pub unsafe fn syscall(nr: libc::c_long, args: [usize; 6]) -> Result<usize> {
    // SAFETY: passed on to the caller.
    Errno::from_ret(unsafe { enter(nr, args) })
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn enter(nr: libc::c_long, [a, b, c, d, e, f]: [usize; 6]) -> isize {
    let ret: isize;
    // SAFETY: the System V syscall convention: rcx and r11 are clobbered.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") nr as isize => ret,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    ret
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn enter(nr: libc::c_long, [a, b, c, d, e, f]: [usize; 6]) -> isize {
    let ret: isize;
    // SAFETY: the Linux convention for aarch64: number in x8, result in x0.
    unsafe {
        core::arch::asm!("svc 0", in("x8") nr, inlateout("x0") a as isize => ret,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f, options(nostack));
    }
    ret
}

/// The C library's own mark of a thread. A child that shares our memory (from
/// vfork, posix_spawn) has that of the thread that made it.
#[cfg(target_arch = "x86_64")]
#[inline]
#[must_use]
pub fn thread_pointer() -> usize {
    let at;
    // SAFETY: the first word of a thread's block is its own address (ELF
    // handling for thread-local storage, variant II).
    unsafe {
        core::arch::asm!("mov {}, fs:0", out(reg) at, options(nostack, readonly, preserves_flags));
    }
    at
}

/// The C library's own mark of a thread. A child that shares our memory (from
/// vfork, posix_spawn) has that of the thread that made it.
#[cfg(target_arch = "aarch64")]
#[inline]
#[must_use]
pub fn thread_pointer() -> usize {
    let at;
    // SAFETY: a register that may be read from user space.
    unsafe { core::arch::asm!("mrs {}, tpidr_el0", out(reg) at, options(nostack, nomem)) };
    at
}

/// The arguments given, the rest zero.
#[inline(always)]
#[must_use]
pub fn pad<const N: usize>(given: [usize; N]) -> [usize; 6] {
    // No copy of a slice: that would be a call, and the registers memory.
    let (mut args, mut at) = ([0; 6], 0);
    while at < N {
        args[at] = given[at];
        at += 1;
    }
    args
}

/// `sys!(nr, a, b, …)`: [`syscall`] with the arguments cast and the rest zero.
#[macro_export]
macro_rules! sys {
    ($nr:expr $(, $arg:expr)* $(,)?) => {
        $crate::raw::syscall($nr, $crate::raw::pad([$($arg as usize),*]))
    };
}
