//! `PRIVNS_LOG=off|error|info|debug[:FILE]`: what the library says of itself, to
//! standard error or to a host file, which is opened for each line. Off unless
//! asked for: nothing goes to the program's own descriptors.

use alloc::boxed::Box;
use core::ffi::c_int;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};
use privns_abi::{Errno, Result};
use privns_host::{kernel::decimal, sys, Kernel, Name};

/// How much is said.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// What does not work as it should.
    Error = 1,
    /// What a user may wonder about.
    Info = 2,
    /// What the library does.
    Debug = 3,
}

static LEVEL: AtomicU8 = AtomicU8::new(0);
static LOG: Sink = Sink::new();

/// Begins to log, as the variable says. What is no level is none.
pub(crate) fn start(value: &[u8]) {
    let mut parts = value.splitn(2, |&b| b == b':');
    let level = match parts.next() {
        Some(b"error") => Level::Error,
        Some(b"info") => Level::Info,
        Some(b"debug") => Level::Debug,
        _ => return,
    };
    if LOG.set(parts.next().unwrap_or(b"2")).is_ok() {
        LEVEL.store(level as u8, Ordering::Relaxed);
    }
}

/// Whether lines of this level are written at all.
pub(crate) fn hears(level: Level) -> bool {
    LEVEL.load(Ordering::Relaxed) >= level as u8
}

/// Writes a line of these parts.
pub(crate) fn say(level: Level, parts: &[&[u8]]) {
    if !hears(level) {
        return;
    }
    let name: &[u8] = match level {
        Level::Error => b": error: ",
        Level::Info => b": ",
        Level::Debug => b": debug: ",
    };
    let mut digits = [0; 10];
    let pid = decimal(Kernel.getpid().unsigned_abs(), &mut digits);
    let mut line = Name::new();
    let said = [b"privns ", pid, name]
        .iter()
        .chain(parts)
        .chain([&&b"\n"[..]])
        .try_for_each(|part| line.push(part));
    if said.is_ok() {
        LOG.write(line.as_bytes());
    }
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
                let high = [900, 200, 3].into_iter();
                let dup = |above| Kernel.dup_from(fd.into(), above, true).ok();
                let fd = high.filter_map(dup).next().ok_or(Errno::EBADF)?;
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
