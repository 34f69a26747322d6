//! `PRIVNS_TRACE` (`ns-exec --trace`): one line a name, with the call, the name
//! as the program gave it, what it became, and the result. Off unless asked
//! for, and then a branch a call.

use crate::log::Sink;
use crate::PROCESS;
use alloc::boxed::Box;
use core::cell::Cell;
use core::ffi::{c_char, CStr};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};
use privns_abi::{Errno, Result};
use privns_host::{kernel::decimal, Kernel, Name};

static ON: AtomicBool = AtomicBool::new(false);
static TRACE: Sink = Sink::new();

/// Whether names are traced.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Begins to trace, into what the variable says.
pub(crate) fn start(value: &[u8]) {
    ON.store(TRACE.set(value).is_ok(), Ordering::Relaxed);
}

/// A name that the call under way has been given.
struct Note {
    given: Name,
    became: Option<Name>,
    next: *mut Note,
}

std::thread_local! {
    /// The names of the call under way in this thread, the last first. Has no
    /// destructor.
    static NOTES: Cell<*mut Note> = const { Cell::new(null_mut()) };
}

/// A call that is traced: within another one's, or in a signal handler that
/// came in between. At its end its names are written down.
#[cold]
#[inline(never)]
pub(crate) fn around<T: Copy>(call: &str, made: impl FnOnce() -> T) -> T {
    let outer = NOTES.replace(null_mut());
    let result = made();
    end(outer, call, result);
    result
}

fn end<T: Copy>(outer: *mut Note, call: &str, result: T) {
    let notes = NOTES.replace(outer);
    if notes.is_null() {
        return;
    }
    // SAFETY: rows return integers, pointers or nothing.
    let value = unsafe {
        match size_of::<T>() {
            4 => i64::from(core::mem::transmute_copy::<T, i32>(&result)),
            8 => core::mem::transmute_copy::<T, i64>(&result),
            _ => 0,
        }
    };
    let pointer = core::any::type_name::<T>().starts_with('*');
    // SAFETY: the thread's own; lines are written by raw calls, which leave it.
    let errno = Errno(unsafe { *libc::__errno_location() });
    let result = match value {
        0 if pointer => Err(errno),
        -1 => Err(errno),
        value => Ok(value),
    };
    write_all(notes, call, Some(result));
}

/// The call is about to become another program: its names are written down
/// without a result, and so are the counts.
#[inline]
pub(crate) fn leaving(call: &str) {
    if let Some(view) = PROCESS.view() {
        PROCESS.counts.flush(view.family);
    }
    if is_on() {
        write_all(NOTES.replace(null_mut()), call, None);
    }
}

/// Writes a list of notes, the first name first, and frees it.
fn write_all(note: *mut Note, call: &str, result: Option<core::result::Result<i64, Errno>>) {
    if note.is_null() {
        return;
    }
    // SAFETY: made by `note`, in no list but this one.
    let note = unsafe { Box::from_raw(note) };
    write_all(note.next, call, result);
    let mut line = Name::new();
    if note.line(call, result, &mut line).is_ok() {
        TRACE.write(line.as_bytes());
    }
}

impl Note {
    /// `PID CALL "GIVEN" -> "BECAME" = RESULT`
    fn line(
        &self,
        call: &str,
        result: Option<core::result::Result<i64, Errno>>,
        line: &mut Name,
    ) -> Result<()> {
        let mut digits = [0; 10];
        line.push(decimal(Kernel.getpid().unsigned_abs(), &mut digits))?;
        line.push(b" ")?;
        line.push(call.as_bytes())?;
        line.push(b" ")?;
        quote(&self.given, line)?;
        line.push(b" -> ")?;
        match &self.became {
            Some(name) => quote(name, line)?,
            None => line.push(b"-")?,
        }
        match result {
            Some(Ok(value)) => line.push(alloc::format!(" = {value}\n").as_bytes()),
            Some(Err(error)) => {
                line.push(b" = -1 ")?;
                line.push(error.name().unwrap_or("?").as_bytes())?;
                line.push(b"\n")
            }
            None => line.push(b"\n"),
        }
    }
}

fn quote(name: &Name, line: &mut Name) -> Result<()> {
    line.push(b"\"")?;
    name.as_bytes().escape_ascii().try_for_each(|b| line.push(&[b]))?;
    line.push(b"\"")
}

/// Notes a name of the call under way, and what it became; nothing where it
/// leads nowhere. The last word on a name counts.
///
/// # Safety
/// Both are null or C strings.
#[cold]
pub(crate) unsafe fn note(given: *const c_char, became: *const c_char) {
    let name = |text: *const c_char| {
        // SAFETY: the caller's promise.
        let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) });
        text.and_then(|text| Name::from(text.to_bytes()).ok())
    };
    let Some(given) = name(given) else { return };
    let next = NOTES.get();
    // SAFETY: null, or the head of this thread's list.
    match unsafe { next.as_mut() } {
        Some(last) if last.given == given => last.became = name(became),
        _ => {
            let note = Box::new(Note { given, became: name(became), next });
            NOTES.set(Box::into_raw(note));
        }
    }
}
