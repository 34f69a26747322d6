//! Errors in numbers and in words. Both directions are total: every number
//! has a text, every text and every number from the wire an `Errno`.

use crate::Errno;

/// What we say in 9P2000 and 9P2000.u, where Plan 9 programs look for its own
/// words. strerror(3)'s text serves for all other numbers.
const SAID: &[(&str, Errno)] = &[
    ("file does not exist", Errno::ENOENT),
    ("file already exists", Errno::EEXIST),
    ("permission denied", Errno::EACCES),
    ("not a directory", Errno::ENOTDIR),
    ("file is a directory", Errno::EISDIR),
    ("directory not empty", Errno::ENOTEMPTY),
    ("i/o error", Errno::EIO),
    ("file system full", Errno::ENOSPC),
];

/// What Plan 9's kernel and file servers, u9fs, plan9port and aio9p say
/// besides, and what it means here.
const HEARD: &[(&str, Errno)] = &[
    ("file not found", Errno::ENOENT),
    ("directory entry not found", Errno::ENOENT),
    ("does not exist", Errno::ENOENT),
    ("no such file", Errno::ENOENT),
    ("file exists", Errno::EEXIST),
    ("access denied", Errno::EACCES),
    ("access permission denied", Errno::EACCES),
    ("walk in non-directory", Errno::ENOTDIR),
    ("walk -- in a non-directory", Errno::ENOTDIR),
    ("create in non-directory", Errno::ENOTDIR),
    ("create -- in a non-directory", Errno::ENOTDIR),
    ("is a directory", Errno::EISDIR),
    ("directory is not empty", Errno::ENOTEMPTY),
    ("remove -- directory not empty", Errno::ENOTEMPTY),
    ("read only file system", Errno::EROFS),
    ("read-only file system", Errno::EROFS),
    ("file system read only", Errno::EROFS),
    ("file is read only", Errno::EROFS),
    ("create prohibited", Errno::EPERM),
    ("remove prohibited", Errno::EPERM),
    ("wstat prohibited", Errno::EPERM),
    ("stat prohibited", Errno::EPERM),
    ("mounted directory forbids creation", Errno::EPERM),
    ("not owner", Errno::EPERM),
    ("illegal mode", Errno::EINVAL),
    ("illegal name", Errno::EINVAL),
    ("illegal offset", Errno::EINVAL),
    ("bad offset in directory read", Errno::EINVAL),
    ("bad offset", Errno::EINVAL),
    ("negative offset", Errno::EINVAL),
    ("bad character in file name", Errno::EINVAL),
    ("file name syntax", Errno::EINVAL),
    ("bad arg in system call", Errno::EINVAL),
    ("bad process or channel control request", Errno::EINVAL),
    ("wstat can't convert between files and directories", Errno::EINVAL),
    ("file name too long", Errno::ENAMETOOLONG),
    ("name too long", Errno::ENAMETOOLONG),
    ("file in use", Errno::EBUSY),
    ("exclusive use file already open", Errno::EBUSY),
    ("open/create -- file is locked", Errno::EBUSY),
    ("device or object already in use", Errno::EBUSY),
    ("fid already in use", Errno::EBADF),
    ("fid unknown or out of range", Errno::EBADF),
    ("unknown fid", Errno::EBADF),
    ("duplicate fid", Errno::EBADF),
    ("bad fid", Errno::EBADF),
    ("bad use of fid", Errno::EBADF),
    ("inappropriate use of fd", Errno::EBADF),
    ("file not open", Errno::EBADF),
    ("file not open for reading", Errno::EBADF),
    ("file not open for writing", Errno::EBADF),
    ("file already open for i/o", Errno::EBADF),
    ("i/o on hungup channel", Errno::EIO),
    ("botched 9p message", Errno::EIO),
    ("protocol botch", Errno::EIO),
    ("phase error", Errno::EIO),
    ("file has been removed", Errno::ESTALE),
    ("corrupted directory entry", Errno::EIO),
    ("file system is full", Errno::ENOSPC),
    ("no free blocks", Errno::ENOSPC),
    ("disk full", Errno::ENOSPC),
    ("quota exceeded", Errno::EDQUOT),
    ("file too big", Errno::EFBIG),
    ("read or write too large", Errno::EINVAL),
    ("read or write too small", Errno::EINVAL),
    ("out of memory", Errno::ENOMEM),
    ("virtual memory allocation failed", Errno::ENOMEM),
    ("no free file descriptors", Errno::EMFILE),
    ("too many open files", Errno::EMFILE),
    ("too many symbolic links", Errno::ELOOP),
    ("interrupted", Errno::EINTR),
    ("connection timed out", Errno::ETIMEDOUT),
    ("connection refused", Errno::ECONNREFUSED),
    ("no authentication required", Errno::ENOENT),
    ("authentication not required", Errno::ENOENT),
    ("authentication failed", Errno::EPERM),
    ("authentication rejected", Errno::EPERM),
    ("unknown user", Errno::EINVAL),
    ("unknown attach name", Errno::ENOENT),
    ("bad attach specifier", Errno::ENOENT),
    ("bad attach spec", Errno::ENOENT),
    ("not implemented", Errno::ENOSYS),
    ("function not implemented", Errno::ENOSYS),
    ("not supported", Errno::EOPNOTSUPP),
];

/// The largest number that a Linux error can have (syscall(2)).
const MAX: u32 = 4095;
/// One more than the largest number that has a name today (ERFKILL is 132,
/// EHWPOISON 133).
const LAST: i32 = 134;

/// The error behind a number from the wire. 0 and what no kernel returns
/// become EIO: an answer that says "error" is one.
#[must_use]
pub const fn from_code(code: u32) -> Errno {
    if code == 0 || code > MAX { Errno::EIO } else { Errno(code as i32) }
}

/// The number that goes on the wire.
#[must_use]
pub const fn to_code(error: Errno) -> u32 {
    let code = error.0.unsigned_abs();
    if code == 0 || code > MAX { Errno::EIO.0 as u32 } else { code }
}

/// The error behind a text: strerror(3)'s words, a phrase of Plan 9's, or one
/// of them after a prefix (`u9fs: permission denied`) or before a suffix
/// (`file does not exist: 'x'`). EIO when nothing is known of it.
#[must_use]
pub fn from_text(text: &[u8]) -> Errno {
    let text = text.trim_ascii();
    let parts = || core::iter::once(text).chain(text.split(|&b| b == b':').map(<[u8]>::trim_ascii));
    parts().find_map(exact).unwrap_or(Errno::EIO)
}

fn exact(text: &[u8]) -> Option<Errno> {
    let plan9 = SAID.iter().chain(HEARD);
    let mut plan9 = plan9.filter(|(words, _)| text.eq_ignore_ascii_case(words.as_bytes()));
    plan9.next().map(|&(_, errno)| errno).or_else(|| {
        let mut known = (1..LAST).map(Errno).filter(|e| e.name().is_some());
        known.find(|e| text.eq_ignore_ascii_case(e.message().as_bytes()))
    })
}

/// The text of an error for 9P2000 and 9P2000.u.
#[must_use]
pub fn to_text(error: Errno) -> &'static str {
    SAID.iter().find(|(_, e)| *e == error).map_or(error.message(), |(words, _)| words)
}

/// The error of an Rerror in .u: the number where there is one, else the text.
#[must_use]
pub fn from_both(text: &[u8], code: u32) -> Errno {
    if code == 0 || code > MAX { from_text(text) } else { from_code(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_error_survives_both_ways() {
        for e in (1..LAST).map(Errno).filter(|e| e.name().is_some()) {
            assert_eq!(from_code(to_code(e)), e);
            assert_eq!(from_text(to_text(e).as_bytes()), e, "{}", to_text(e));
            assert_eq!(from_text(e.message().as_bytes()), e, "{}", e.message());
            assert_eq!(from_both(b"whatever", to_code(e)), e);
        }
    }

    #[test]
    fn nothing_from_the_wire_is_success() {
        for code in [0, 4096, u32::MAX] {
            assert_eq!(from_code(code), Errno::EIO);
        }
        assert_eq!(from_code(4095), Errno(4095));
        for text in [&b""[..], b":", b"\xff\xff", b"Unknown error", b"success"] {
            assert_eq!(from_text(text), Errno::EIO, "{text:?}");
        }
        assert_eq!((to_code(Errno(0)), to_code(Errno(-2)), to_code(Errno(99_999))), (5, 2, 5));
    }

    #[test]
    fn words_with_a_prefix_or_a_suffix() {
        assert_eq!(from_text(b"u9fs: Permission denied"), Errno::EACCES);
        assert_eq!(from_text(b"file does not exist: 'x'"), Errno::ENOENT);
        assert_eq!(from_text(b" No such file or directory\n"), Errno::ENOENT);
        assert_eq!(from_both(b"file does not exist", 0), Errno::ENOENT);
    }
}
