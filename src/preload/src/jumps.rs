//! Streams where libc's own reads and writes pass us by: with the exported
//! symbols alone, and in a program whose family had no server when it began.
//!
//! A stream reads, writes, seeks and closes by a table of functions in libc's
//! data. Where one of these is found there, by its address, ours is put in its
//! place. The tables stay where they are, which is all that libc checks, and
//! a word is written at once: other threads call the old one or the new.

use crate::door::door;
use crate::patch::Object;
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use libc::FILE;
use privns_host::sys;

/// Whether the tables have been changed, or need no change.
static DONE: AtomicBool = AtomicBool::new(false);
/// Whether they have been changed.
static CHANGED: AtomicU8 = AtomicU8::new(0);

/// libc's own reads and writes come to us anyway.
pub(crate) fn not_needed() {
    DONE.store(true, Ordering::Relaxed);
}

/// Whether streams come to us by their tables only: then none may be read by
/// mapping its file.
pub(crate) fn changed() -> bool {
    CHANGED.load(Ordering::Relaxed) != 0
}

/// Changes the tables, once.
#[inline]
pub(crate) fn ensure() {
    if !DONE.load(Ordering::Relaxed) && !DONE.swap(true, Ordering::Relaxed) {
        change();
    }
}

#[cold]
fn change() {
    let Some(libc) = Object::of_libc() else { return };
    let pairs: [(&[u8], usize); 5] = [
        (b"_IO_file_read", read as *const () as usize),
        (b"_IO_file_write", write as *const () as usize),
        (b"_IO_file_seek", seek as *const () as usize),
        (b"_IO_file_close", close as *const () as usize),
        (b"_IO_file_stat", stat as *const () as usize),
    ];
    let pairs = pairs.map(|(name, ours)| (libc.address(name), ours));
    let (at, len) = libc.read_only_data();
    const PAGE: usize = 4096;
    let (from, end) = (at & !(PAGE - 1), (at + len).next_multiple_of(PAGE));
    if len == 0 {
        return;
    }
    let both = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: libc's own data, which the loader has made read-only; words of it
    // that are functions' addresses become those of functions of the same type.
    unsafe {
        if sys!(libc::SYS_mprotect, from, end - from, both).is_err() {
            return;
        }
        let mut word = at.next_multiple_of(8) as *mut usize;
        while (word as usize) + 8 <= at + len {
            let value = word.read_volatile();
            if let Some((_, ours)) = pairs.iter().find(|(old, _)| *old == Some(value)) {
                word.write_volatile(*ours);
            }
            word = word.add(1);
        }
        let _ = sys!(libc::SYS_mprotect, from, end - from, libc::PROT_READ);
    }
    CHANGED.store(1, Ordering::Relaxed);
}

/// What we use of libc's stream (`struct _IO_FILE`), whose layout every program
/// that was ever linked with it knows.
#[repr(C)]
struct Stream {
    flags: c_int,
    _buffers: [usize; 13],
    fd: c_int,
    _flags2: c_int,
    _old_offset: i64,
    _column: [u8; 8],
    _lock: usize,
    /// Where the file is, when that is known.
    offset: i64,
}

const ERROR_SEEN: c_int = 0x20;

unsafe extern "C" fn read(stream: *mut Stream, buf: *mut c_void, size: isize) -> isize {
    // SAFETY: libc's own arguments.
    unsafe { crate::io::read((*stream).fd, buf, size as usize) }
}

/// Writes all of it, or notes the error.
unsafe extern "C" fn write(stream: *mut Stream, data: *const c_void, size: isize) -> isize {
    let mut done = 0;
    // SAFETY: as above.
    unsafe {
        while done < size {
            let rest = data.cast::<u8>().offset(done).cast();
            let n = crate::io::write((*stream).fd, rest, (size - done) as usize);
            if n < 0 {
                (*stream).flags |= ERROR_SEEN;
                break;
            }
            done += n;
        }
        if (*stream).offset >= 0 {
            (*stream).offset += done as i64;
        }
    }
    done
}

unsafe extern "C" fn seek(stream: *mut Stream, offset: i64, whence: c_int) -> i64 {
    // SAFETY: as above.
    unsafe { crate::io::lseek((*stream).fd, offset, whence) as i64 }
}

unsafe extern "C" fn close(stream: *mut Stream) -> c_int {
    // SAFETY: as above.
    unsafe { crate::descriptors::close((*stream).fd) }
}

unsafe extern "C" fn stat(stream: *mut Stream, buf: *mut c_void) -> c_int {
    // SAFETY: as above.
    unsafe { crate::descriptors::fstat((*stream).fd, buf.cast()) }
}

/// A mode of fopen(3) without the letter that has files mapped.
pub(crate) struct Mode([u8; 32]);

impl Mode {
    /// # Safety
    /// A C string.
    pub(crate) unsafe fn unmapped(mode: *const libc::c_char) -> Mode {
        let mut plain = [0; 32];
        // SAFETY: the caller's promise.
        let mode = unsafe { core::ffi::CStr::from_ptr(mode) }.to_bytes();
        let letters = mode.split(|&b| b == b',').next().unwrap_or_default().len();
        let kept = mode.iter().enumerate().filter(|(at, b)| **b != b'm' || *at >= letters);
        let room = plain.len() - 1;
        plain[..room].iter_mut().zip(kept).for_each(|(to, (_, b))| *to = *b);
        Mode(plain)
    }

    pub(crate) fn as_ptr(&self) -> *const libc::c_char {
        self.0.as_ptr().cast()
    }
}

/// Makes a stream of a descriptor that has just been opened the place of
/// another's: that of `file`, whose number it takes over.
pub(crate) unsafe fn take_over(fd: c_int, file: *mut FILE) {
    // SAFETY: a stream of libc's.
    unsafe {
        let own = crate::lazy::fileno(file);
        let flags = door!(libc::SYS_fcntl, own, libc::F_GETFD).unwrap_or(0) as c_int;
        let cloexec = if flags & libc::FD_CLOEXEC != 0 { libc::O_CLOEXEC } else { 0 };
        let _ = crate::descriptors::onto(fd, own, cloexec);
        let _ = crate::descriptors::shut(fd);
    }
}
