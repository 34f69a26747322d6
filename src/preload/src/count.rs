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
        PROCESS.counts.count(what, view.family);
    }
}

/// Runs after the program's own exit handlers.
#[used]
#[unsafe(link_section = ".fini_array")]
static FINISH: unsafe extern "C" fn() = finish;

unsafe extern "C" fn finish() {
    PROCESS.end_remotes();
    if let Some(view) = PROCESS.view() {
        PROCESS.counts.flush(view.family);
    }
}

/// `_exit(2)`, which runs no handlers.
pub(crate) unsafe fn exit_now(status: c_int) {
    PROCESS.end_remotes();
    if let Some(view) = PROCESS.view() {
        PROCESS.counts.flush(view.family);
    }
    loop {
        // SAFETY: ends the process.
        let _ = unsafe { sys!(libc::SYS_exit_group, status) };
    }
}
