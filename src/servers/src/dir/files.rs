//! Reading, writing and listing what is open.

use super::{Dir, File, errno};
use privns_abi::{Errno, Result};
use privns_ninep::attr::{Entry, Qid, qt};
use privns_ninep::client::Next;
use privns_ninep::name::Name;
use rustix::fs::{FileType, RawDir, SeekFrom};
use std::mem::MaybeUninit;

/// Room for one getdents(2).
const LISTING: usize = 32 << 10;

impl File {
    /// All that was asked, as far as the file goes.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            let at = offset.checked_add(done as u64).ok_or(Errno::EINVAL)?;
            match rustix::io::pread(&self.fd, &mut buf[done..], at) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) if done > 0 => break,
                Err(e) => return Err(errno(e)),
            }
        }
        Ok(done)
    }

    /// How much is there by the file's size. Files of /proc, which have none,
    /// are read until they end.
    pub(super) fn certain(&self, offset: u64, count: usize) -> Option<usize> {
        let size = rustix::fs::fstat(&self.fd).ok()?.st_size as u64;
        let left = size.checked_sub(offset)?;
        Some(usize::try_from(left).map_or(count, |left| left.min(count)))
    }

    /// All of `data`, or as much as there is room for. On a file open for
    /// appending the kernel writes at the end (pwrite(2), BUGS).
    pub(super) fn write(&self, offset: u64, data: &[u8]) -> Result<usize> {
        let mut done = 0;
        while done < data.len() {
            match rustix::io::pwrite(&self.fd, &data[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) if done > 0 => break,
                Err(e) => return Err(errno(e)),
            }
        }
        Ok(done)
    }

    /// Nothing else goes by the offset that this moves: reads and writes say where.
    pub(super) fn next(&self, next: Next, from: u64) -> Result<u64> {
        if i64::try_from(from).is_err() {
            return Err(Errno::ENXIO);
        }
        let to = match next {
            Next::Data => SeekFrom::Data(from),
            Next::Hole => SeekFrom::Hole(from),
        };
        rustix::fs::seek(&self.fd, to).map_err(errno)
    }

    pub(super) fn sync(&self, data_only: bool) -> Result<()> {
        let synced = match data_only {
            true => rustix::fs::fdatasync(&self.fd),
            false => rustix::fs::fsync(&self.fd),
        };
        synced.map_err(errno)
    }
}

impl Dir {
    /// Lists from the kernel's own cookie, which stays good while entries come
    /// and go (`d_off` of getdents(2)).
    pub(super) fn list_from(
        &self,
        dir: &File,
        cookie: u64,
        add: &mut dyn FnMut(Entry<'_>) -> bool,
    ) -> Result<()> {
        if i64::try_from(cookie).is_err() {
            return Err(Errno::EINVAL);
        }
        rustix::fs::seek(&dir.fd, SeekFrom::Start(cookie)).map_err(errno)?;
        let dev = dir.node.stat()?.st_dev;
        let mut room = vec![MaybeUninit::uninit(); LISTING];
        let mut listing = RawDir::new(&dir.fd, &mut room);
        while let Some(entry) = listing.next() {
            let entry = entry.map_err(errno)?;
            let kind = match entry.file_type() {
                FileType::Directory => qt::DIR,
                FileType::Symlink => qt::SYMLINK,
                _ => 0,
            };
            if self.is_root(&dir.node) && self.hides(entry.file_name().to_bytes()) {
                continue;
            }
            // The inode on which something else is mounted differs; a client
            // that cares walks there.
            let qid = Qid { kind, version: 0, path: self.path_of(dev, entry.ino()) };
            let name = Name::new(entry.file_name().to_bytes());
            let kind = d_type(entry.file_type());
            if !add(Entry { qid, cookie: entry.next_entry_cookie(), kind, name }) {
                break;
            }
        }
        Ok(())
    }
}

/// `d_type` of readdir(3).
const fn d_type(kind: FileType) -> u8 {
    match kind {
        FileType::Fifo => 1,
        FileType::CharacterDevice => 2,
        FileType::Directory => 4,
        FileType::BlockDevice => 6,
        FileType::RegularFile => 8,
        FileType::Symlink => 10,
        FileType::Socket => 12,
        _ => 0,
    }
}
