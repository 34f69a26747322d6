//! What the library says of itself: `PRIVNS_TRACE`, one line a name, and
//! `PRIVNS_LOG`. Both are off unless asked for; what is off costs a branch.
//! Nothing is kept open and nothing goes to the program's descriptors, unless
//! standard error was asked for.

use crate::PROCESS;
use alloc::boxed::Box;
use core::cell::Cell;
use core::ffi::{c_char, c_int, CStr};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use privns_abi::{Errno, Result};
use privns_host::{kernel::decimal, sys, Kernel, Name};
use privns_namespace::family::Counter;

static ON: AtomicBool = AtomicBool::new(false);
static TRACE: Sink = Sink::new();

/// Whether names are traced.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Where lines go: the file of that name, opened for each line; or a
/// descriptor, as long as it is the file that it was in the beginning.
pub(crate) struct Sink(AtomicPtr<Place>);

enum Place {
    File(Name),
    Open { fd: c_int, dev: u64, ino: u64 },
}

impl Sink {
    pub(crate) const fn new() -> Sink {
        Sink(AtomicPtr::new(null_mut()))
    }

    /// Takes a descriptor's number or a host path.
    pub(crate) fn set(&self, value: &[u8]) -> Result<()> {
        let number = core::str::from_utf8(value).ok().and_then(|n| n.parse::<u16>().ok());
        let place = match number {
            Some(fd) => {
                // Away from the numbers that programs redirect and close.
                let fd = Kernel.dup_from(fd.into(), 900, true).or(Err(Errno::EBADF))?;
                let st = Kernel.fstat(fd)?;
                Place::Open { fd, dev: st.dev, ino: st.ino }
            }
            None => Place::File(Name::from(value)?),
        };
        self.0.store(Box::into_raw(Box::new(place)), Ordering::Release);
        Ok(())
    }

    /// Writes a line, whole: in one call, at the end of the file.
    pub(crate) fn write(&self, line: &[u8]) {
        // SAFETY: null, or a box that was leaked into it.
        let Some(place) = (unsafe { self.0.load(Ordering::Acquire).as_ref() }) else { return };
        let put = |fd: c_int| {
            // SAFETY: text of ours.
            let _ = unsafe { sys!(libc::SYS_write, fd, line.as_ptr(), line.len()) };
        };
        match place {
            // The program may have closed it, and have a file of its own there.
            Place::Open { fd, dev, ino } => {
                if Kernel.fstat(*fd).is_ok_and(|st| (st.dev, st.ino) == (*dev, *ino)) {
                    put(*fd);
                }
            }
            Place::File(name) => {
                let flags = libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT | libc::O_CLOEXEC;
                let name = Name::from(name.as_bytes());
                let open = |mut name: Name| {
                    Kernel.openat(libc::AT_FDCWD, name.as_cstr()?, flags | libc::O_NOCTTY, 0o600)
                };
                if let Ok(fd) = name.and_then(open) {
                    put(fd);
                    let _ = Kernel.close(fd);
                }
            }
        }
    }
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

/// A call begins: within another one's, or in a signal handler that came in
/// between. Gives what [`end`] is to be given.
#[inline(always)]
pub(crate) fn begin() -> *mut c_char {
    if is_on() {
        begin_note()
    } else {
        null_mut()
    }
}

#[cold]
fn begin_note() -> *mut c_char {
    NOTES.replace(null_mut()).cast()
}

/// The call has ended with this result: its names are written down.
#[inline(always)]
pub(crate) fn end<T: Copy>(outer: *mut c_char, call: &str, result: T) {
    if is_on() {
        end_note(outer, call, result);
    }
}

#[cold]
fn end_note<T: Copy>(outer: *mut c_char, call: &str, result: T) {
    let notes = NOTES.replace(outer.cast());
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

/// Counts what became of a call.
#[inline]
pub(crate) fn count(what: Counter) {
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
