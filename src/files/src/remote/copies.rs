//! Programs on remote files. The kernel and the loader open what they run
//! themselves, and know nothing of servers: they are given copies in memory.

use super::file::{File, Kind};
use super::place::Place;
use crate::process::View;
use alloc::vec::Vec;
use privns_abi::{Errno, Result};
use privns_host::Kernel;
use privns_namespace::remote;

/// A copy of a program, which the kernel can run; it is closed on exec.
pub struct Copy {
    /// Its descriptor.
    pub fd: i32,
    /// The host name of what it is a copy of.
    pub name: Vec<u8>,
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = Kernel.close(self.fd);
    }
}

impl View<'_> {
    /// A copy of the program at a place.
    ///
    /// # Errors
    /// EACCES for what may not be run, and for what may be run and not read;
    /// ELOOP for a link; those of the walk.
    pub fn program_at(self, place: &Place<'_>) -> Result<Copy> {
        if let Some(file) = place.dir.filter(|_| place.path.is_empty()) {
            return self.program(file);
        }
        let meta = self.remote_stat(place)?;
        if meta.mode() & libc::S_IFMT == libc::S_IFLNK {
            return Err(Errno::ELOOP);
        }
        if meta.mode() & libc::S_IFMT != libc::S_IFREG {
            return Err(Errno::EACCES);
        }
        meta.permits(1, true)?;
        let fd = self.remote_openat(place, libc::O_RDONLY | libc::O_CLOEXEC, 0)?;
        let copied = self.process.file(fd).ok_or(Errno::EBADF).and_then(|file| self.copy(&file));
        drop(self.process.leave(fd));
        let _ = Kernel.close(fd);
        copied
    }

    /// A copy of a program that is open.
    ///
    /// # Errors
    /// EACCES for what is no file or may not be run; those of reading it.
    pub fn program(self, file: &File) -> Result<Copy> {
        self.remote_stat(&Place::below(file, b""))?.permits(1, true)?;
        self.copy(file)
    }

    fn copy(self, file: &File) -> Result<Copy> {
        let mut name = remote::name(file.server());
        name.push(b'/');
        name.extend_from_slice(&file.path().unwrap_or_default());
        let copy = Copy { fd: Kernel.memfd_program(c"privns-program")?, name };
        match file.kind() {
            Kind::Directory => return Err(Errno::EACCES),
            Kind::Path => {
                // Open for naming only: opened once more, to be read.
                let path = file.path().map_err(|_| Errno::EACCES)?;
                let place = Place { id: file.server(), dir: None, base: b"", path: &path };
                return self.program_at(&place);
            }
            Kind::Regular => {}
        }
        let size = self.size(file)?;
        self.fill(file, copy.fd, 0, size, 0)?;
        Ok(copy)
    }
}
