//! Calls that Rust cannot be called by: with arguments of any number, and
//! those that return twice. Each is a few instructions that make an ordinary
//! call of one of ours.

use crate::call::{set_errno, Ret};
use crate::exec::{exec_at, Strings};
use crate::search;
use crate::PROCESS;
use core::arch::naked_asm;
use core::ffi::{c_char, c_int};
use privns_abi::Errno;

/// Calls `$inner(first, array of the rest)`: the arguments in registers are
/// put where they continue those on the stack.
macro_rules! collects {
    ($name:ident $inner:ident) => {
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name() {
            #[cfg(target_arch = "x86_64")]
            naked_asm!(
                // The return address lies between the registers' arguments and
                // the stack's: it goes below, and the five registers in its
                // place make one array with what follows.
                "pop rax",
                "push r9",
                "push r8",
                "push rcx",
                "push rdx",
                "push rsi",
                "mov rsi, rsp",
                "push rax",
                "call {inner}",
                "pop rcx",
                "add rsp, 40",
                "push rcx",
                "ret",
                inner = sym $inner,
            );
            #[cfg(target_arch = "aarch64")]
            naked_asm!(
                "stp x29, x30, [sp, #-80]!",
                "mov x29, sp",
                "str x1, [sp, #24]",
                "stp x2, x3, [sp, #32]",
                "stp x4, x5, [sp, #48]",
                "stp x6, x7, [sp, #64]",
                "add x1, sp, #24",
                "bl {inner}",
                "ldp x29, x30, [sp], #80",
                "ret",
                inner = sym $inner,
            );
        }
    };
}

collects!(execl with_path);
collects!(execlp with_search);
collects!(execle with_environment);

unsafe extern "C" fn with_path(path: *const c_char, argv: Strings) -> c_int {
    // SAFETY: the arguments end with a null, as execl(3) demands.
    unsafe { exec_at(libc::AT_FDCWD, path, argv, search::environment(), 0) }.ret()
}

unsafe extern "C" fn with_search(file: *const c_char, argv: Strings) -> c_int {
    // SAFETY: as above.
    unsafe { search::execvp(file, argv) }
}

unsafe extern "C" fn with_environment(path: *const c_char, argv: Strings) -> c_int {
    let mut end = argv;
    // SAFETY: as above; the environment follows the null.
    unsafe {
        while !(*end).is_null() {
            end = end.add(1);
        }
        let env: Strings = (*end.add(1)).cast();
        exec_at(libc::AT_FDCWD, path, argv, env, 0).ret()
    }
}

/// vfork(2): the child runs on this very stack, so that what it leaves there
/// must not be needed by the parent. The return address is kept in a register,
/// which the kernel gives back to each.
///
/// # Safety
/// As vfork(2).
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vfork() -> c_int {
    #[cfg(target_arch = "x86_64")]
    naked_asm!(
        "sub rsp, 8",
        "call {before}",
        "add rsp, 8",
        "pop rdi",
        "mov eax, {number}",
        "syscall",
        "push rdi",
        "test rax, rax",
        "je 2f",
        "mov rdi, rax",
        "sub rsp, 8",
        "call {after}",
        "add rsp, 8",
        "2: ret",
        before = sym before,
        after = sym after,
        number = const libc::SYS_vfork,
    );
    #[cfg(target_arch = "aarch64")]
    naked_asm!(
        "stp x29, x30, [sp, #-16]!",
        "bl {before}",
        "ldp x29, x30, [sp], #16",
        "mov x0, {flags}",
        "mov x1, xzr",
        "mov x2, xzr",
        "mov x3, xzr",
        "mov x4, xzr",
        "mov x8, {number}",
        "svc 0",
        "cbz x0, 2f",
        "stp x29, x30, [sp, #-16]!",
        "bl {after}",
        "ldp x29, x30, [sp], #16",
        "2: ret",
        before = sym before,
        after = sym after,
        flags = const (libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD),
        number = const libc::SYS_clone,
    );
}

/// The same under libc's other name.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __vfork() -> c_int {
    #[cfg(target_arch = "x86_64")]
    naked_asm!("jmp {vfork}", vfork = sym vfork);
    #[cfg(target_arch = "aarch64")]
    naked_asm!("b {vfork}", vfork = sym vfork);
}

extern "C" fn before() {
    PROCESS.invite();
}

/// In the parent: the child has run its program or has ended.
extern "C" fn after(done: isize) -> c_int {
    PROCESS.dismiss(&mut crate::strings::free);
    match Errno::from_ret(done) {
        Ok(pid) => pid as c_int,
        Err(error) => {
            set_errno(error);
            -1
        }
    }
}
