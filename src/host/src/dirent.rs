//! Directories as the kernel lists them: records of getdents64(2).

use crate::{Kernel, reach, sys};
use alloc::vec::Vec;
use privns_abi::{Errno, Result};

/// Bytes of a record before its name: `d_ino`, `d_off`, `d_reclen`, `d_type`.
const HEAD: usize = 19;
const OFF: usize = 8;
const RECLEN: usize = 16;

/// One entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Inode number; never 0, which readers take for a removed entry.
    pub ino: u64,
    /// `DT_*`.
    pub kind: u8,
    /// The name, one component.
    pub name: &'a [u8],
}

impl Entry<'_> {
    /// Appends the entry as a record; `next` is its `d_off`, the position of
    /// the entry after it.
    ///
    /// # Errors
    /// ENOMEM; EINVAL for a name that no record can hold.
    pub fn push(&self, next: i64, records: &mut Vec<u8>) -> Result<()> {
        let len = (HEAD + self.name.len() + 1).next_multiple_of(8);
        let short = u16::try_from(len).map_err(|_| Errno::EINVAL)?;
        records.try_reserve(len).map_err(|_| Errno::ENOMEM)?;
        let end = records.len() + len;
        records.extend_from_slice(&self.ino.to_ne_bytes());
        records.extend_from_slice(&next.to_ne_bytes());
        records.extend_from_slice(&short.to_ne_bytes());
        records.push(self.kind);
        records.extend_from_slice(self.name);
        records.resize(end, 0);
        Ok(())
    }
}

/// The entry whose record begins at `at`, and where the next record begins;
/// `None` at the end, and for bytes that are no record.
#[must_use]
pub fn entry(records: &[u8], at: usize) -> Option<(Entry<'_>, usize)> {
    let record = records.get(at..)?;
    let len = usize::from(u16::from_ne_bytes(record.get(RECLEN..RECLEN + 2)?.try_into().ok()?));
    let record = record.get(..len)?;
    let name = record.get(HEAD..)?;
    let name = name.get(..name.iter().position(|&b| b == 0)?)?;
    let ino = u64::from_ne_bytes(record.get(..8)?.try_into().ok()?);
    Some((Entry { ino, kind: record[HEAD - 1], name }, at + len))
}

/// The position of the entry after the record at `at` (`d_off`).
#[must_use]
pub fn offset(records: &[u8], at: usize) -> Option<i64> {
    let bytes = records.get(at..)?.get(OFF..OFF + 8)?;
    Some(i64::from_ne_bytes(bytes.try_into().ok()?))
}

/// Puts as many whole records as there is room and memory for to where the program
/// wants them: `some` gives those that so many bytes have room for, and what stands
/// behind them.
///
/// # Errors
/// EINVAL when not one has room, EFAULT when there is no memory for one.
pub fn put<'r, T>(
    room: &mut [u8],
    some: impl Fn(usize) -> Option<(&'r [u8], T)>,
) -> Result<(&'r [u8], T)> {
    let mut given = some(room.len()).ok_or(Errno::EINVAL)?;
    let there = reach::writable(&room[..given.0.len()]);
    if there < given.0.len() {
        given = some(there).ok_or(Errno::EFAULT)?;
    }
    room[..given.0.len()].copy_from_slice(given.0);
    Ok(given)
}

/// The entries of `records`, in order.
pub fn entries(records: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let mut at = 0;
    core::iter::from_fn(move || {
        let (found, next) = entry(records, at)?;
        at = next;
        Some(found)
    })
}

/// Changes what the record at `at` says of the file, not its name.
pub fn patch(records: &mut [u8], at: usize, ino: u64, kind: u8) {
    if let Some(head) = records.get_mut(at..at + HEAD) {
        head[..OFF].copy_from_slice(&ino.to_ne_bytes());
        head[HEAD - 1] = kind;
    }
}

/// Makes records of getdents64(2) those of getdents(2), which are as long: the name
/// stands where the type was, and the type in the last byte.
pub fn make_old(records: &mut [u8]) {
    let mut at = 0;
    while let Some((_, next)) = entry(records, at) {
        let record = &mut records[at..next];
        let kind = record[HEAD - 1];
        record.copy_within(HEAD.., HEAD - 1);
        record[next - at - 1] = kind;
        at = next;
    }
}

impl Kernel {
    /// getdents64(2): replaces `records` with the next ones, as many as its
    /// capacity holds. None: the end.
    ///
    /// # Errors
    /// The kernel's: ENOTDIR, EBADF, ENOENT for a directory that was removed;
    /// EINVAL when not one record has room.
    pub fn getdents64(self, fd: i32, records: &mut Vec<u8>) -> Result<()> {
        records.clear();
        // SAFETY: the kernel writes at most as many bytes as there is room for
        // in the vector's own memory, and says how many: those are set then.
        unsafe {
            let room = records.capacity();
            let got = sys!(libc::SYS_getdents64, fd, records.as_mut_ptr(), room)?;
            records.set_len(got);
        }
        Ok(())
    }

    /// lseek(2).
    ///
    /// # Errors
    /// The kernel's: EBADF, ESPIPE, EINVAL.
    pub fn lseek(self, fd: i32, offset: i64, whence: i32) -> Result<i64> {
        // SAFETY: no memory is involved.
        unsafe { sys!(libc::SYS_lseek, fd, offset, whence) }.map(|at| at as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_was_pushed_is_read_back() {
        let mut records = Vec::new();
        let long = [b'x'; 255];
        let made = [
            Entry { ino: 7, kind: libc::DT_DIR, name: b"a" },
            Entry { ino: u64::MAX, kind: libc::DT_REG, name: &long },
            Entry { ino: 1, kind: libc::DT_UNKNOWN, name: b"\xff\n" },
        ];
        for (i, one) in made.iter().enumerate() {
            one.push(i as i64 + 1, &mut records).unwrap();
        }
        assert_eq!(records.len() % 8, 0);
        assert!(entries(&records).eq(made));
        patch(&mut records, 0, 9, libc::DT_LNK);
        let first = Entry { ino: 9, kind: libc::DT_LNK, name: b"a" };
        assert_eq!(entry(&records, 0).map(|(e, _)| e), Some(first));
    }

    #[test]
    fn old_records_have_the_type_at_their_end() {
        let mut records = Vec::new();
        for (name, kind) in [(&b"a"[..], libc::DT_DIR), (b"four", libc::DT_LNK)] {
            Entry { ino: 7, kind, name }.push(1, &mut records).unwrap();
        }
        make_old(&mut records);
        assert_eq!(&records[HEAD - 1..24], b"a\0\0\0\0\x04");
        assert_eq!(&records[24 + HEAD - 1..], b"four\0\x0a");
    }

    #[test]
    fn bytes_that_are_no_record_end_the_list() {
        let mut records = Vec::new();
        Entry { ino: 7, kind: 4, name: b"abc" }.push(1, &mut records).unwrap();
        for end in 0..records.len() {
            assert_eq!(entries(&records[..end]).count(), 0);
        }
        records[RECLEN..RECLEN + 2].fill(0);
        assert_eq!(entries(&records).count(), 0);
    }

    #[test]
    fn the_kernel_lists_a_directory_whose_entries_are_known() {
        let fd = Kernel.openat(libc::AT_FDCWD, c"/proc/self/fd", libc::O_RDONLY, 0).unwrap();
        let mut records = Vec::with_capacity(64);
        let mut names = std::collections::BTreeSet::new();
        loop {
            Kernel.getdents64(fd, &mut records).unwrap();
            if records.is_empty() {
                break;
            }
            names.extend(entries(&records).map(|e| e.name.to_vec()));
        }
        assert!(names.contains(&b"."[..]) && names.contains(std::format!("{fd}").as_bytes()));
        assert_eq!(Kernel.lseek(fd, 0, libc::SEEK_SET), Ok(0));
        Kernel.close(fd).unwrap();
        assert_eq!(Kernel.getdents64(fd, &mut records), Err(Errno::EBADF));
    }
}
