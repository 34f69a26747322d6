//! What became of calls, counted for `ns stat`: in the process, and added to the
//! family's counters every some thousand calls and when the program ends.

use crate::PROCESS;
use core::ffi::c_int;
use privns_host::sys;
use privns_namespace::family::Counter;

/// Counts what became of a call.
#[inline]
pub(crate) fn one(what: Counter) {
    if let Some(view) = PROCESS.view() {
        PROCESS.counts.count(thread(), what, view.family);
    }
}

/// A number that few threads of a process share: from where the thread's own
/// data lies.
#[inline(always)]
fn thread() -> usize {
    let at: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the ABI keeps the thread pointer at its own address.
    unsafe {
        core::arch::asm!("mov {}, fs:0", out(reg) at, options(nostack, readonly, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads a register.
    unsafe {
        core::arch::asm!("mrs {}, tpidr_el0", out(reg) at, options(nostack, nomem, preserves_flags));
    }
    at >> 12
}

/// Runs after the program's own exit handlers.
#[used]
#[unsafe(link_section = ".fini_array")]
static FINISH: unsafe extern "C" fn() = finish;

unsafe extern "C" fn finish() {
    if let Some(view) = PROCESS.view() {
        PROCESS.counts.flush(view.family);
    }
}

/// `_exit(2)`, which runs no handlers.
pub(crate) unsafe fn exit_now(status: c_int) {
    if let Some(view) = PROCESS.view() {
        PROCESS.counts.flush(view.family);
    }
    loop {
        // SAFETY: ends the process.
        let _ = unsafe { sys!(libc::SYS_exit_group, status) };
    }
}
