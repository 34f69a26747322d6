//! Programs on remote files. The kernel runs what it opens itself, and knows
//! nothing of servers: it is given copies, which are kept (`shelf`), or where
//! there is no place for that are in memory.

use super::attrs::Meta;
use super::file::{File, Kind};
use super::place::Place;
use super::shelf::Copied;
use crate::process::View;
use alloc::vec::Vec;
use privns_abi::{Errno, Result};
use privns_host::{Kernel, Name};
use privns_namespace::program::Header;
use privns_namespace::remote;

/// A program that a server has.
pub struct Program {
    /// What it says of itself.
    pub header: Header,
    /// Its host name.
    pub name: Vec<u8>,
    /// Device and number.
    pub file: (u64, u64),
    copy: Copy,
}

/// What the kernel can run.
enum Copy {
    /// Nothing: a script is its interpreter's to read.
    None,
    /// A file on the shelf.
    Kept(Copied),
    /// A file in memory, closed on exec.
    Memory(i32),
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Copy::Memory(fd) = self {
            let _ = Kernel.close(*fd);
        }
    }
}

impl Program {
    /// A name by which the kernel finds the copy; a script's own host name, by
    /// which it finds nothing.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn path(&self) -> Result<Name> {
        match &self.copy {
            Copy::None => Name::from(&self.name),
            Copy::Kept(copy) => Name::from(copy.path.as_bytes()),
            Copy::Memory(fd) => privns_host::fd::link(*fd),
        }
    }
}

impl View<'_> {
    /// The program at a place.
    ///
    /// # Errors
    /// EACCES for what may not be run, and for what may be run and not read;
    /// ELOOP for a link; ENOSPC where there is no room for a copy; those of the
    /// walk.
    pub fn program_at(self, place: &Place<'_>) -> Result<Program> {
        if let Some(file) = place.opened() {
            return self.program(file);
        }
        let meta = self.remote_stat(place)?;
        if meta.mode() & libc::S_IFMT == libc::S_IFLNK {
            return Err(Errno::ELOOP);
        }
        let may = may_run(&meta).and_then(|()| self.kept_program(place, &meta))?;
        match may {
            Some(program) => Ok(program),
            None => self.with_open(place, |file| self.new_program(place, &meta, file)),
        }
    }

    /// A program that is open.
    ///
    /// # Errors
    /// EACCES for what is no file or may not be run; those of reading it.
    pub fn program(self, file: &File) -> Result<Program> {
        let place = Place::below(file, b"");
        let meta = self.remote_stat(&place)?;
        may_run(&meta)?;
        if let Some(program) = self.kept_program(&place, &meta)? {
            return Ok(program);
        }
        match file.kind() {
            Kind::Directory => Err(Errno::EACCES),
            Kind::Regular => self.new_program(&place, &meta, file),
            // Open for naming only: opened once more, to be read.
            Kind::Path => {
                let path = file.path().map_err(|_| Errno::EACCES)?;
                let place = Place::from_top(file.server(), &path);
                self.with_open(&place, |file| self.new_program(&place, &meta, file))
            }
        }
    }

    /// One of which there is a copy.
    fn kept_program(self, place: &Place<'_>, meta: &Meta) -> Result<Option<Program>> {
        let Ok(Some(copy)) = self.copied(place, meta) else { return Ok(None) };
        let header = Header::of(copy.fd)?;
        self.told_program(place, meta, header, Copy::Kept(copy)).map(Some)
    }

    fn new_program(self, place: &Place<'_>, meta: &Meta, file: &File) -> Result<Program> {
        let header = Header::read(&|at, out: &mut [u8]| {
            let mut done = 0;
            while done < out.len() {
                match self.pread(file, &mut out[done..], at + done as u64)? {
                    0 => break,
                    n => done += n,
                }
            }
            Ok(done)
        })?;
        let copy = match header {
            Header::Script(_) => Copy::None,
            _ => match self.copy(place, meta, file) {
                Ok(copy) => Copy::Kept(copy),
                // No shelf, or a name too long for one.
                Err(
                    Errno::ENOENT
                    | Errno::EACCES
                    | Errno::EPERM
                    | Errno::EROFS
                    | Errno::ENAMETOOLONG,
                ) => Copy::Memory(self.in_memory(file)?),
                Err(error) => return Err(error),
            },
        };
        self.told_program(place, meta, header, copy)
    }

    fn told_program(
        self,
        place: &Place<'_>,
        meta: &Meta,
        header: Header,
        copy: Copy,
    ) -> Result<Program> {
        let mut name = remote::name(place.id);
        // One that has lost its name has none to tell.
        let path = place.from_root().unwrap_or_default();
        name.try_reserve(path.len() + 1).map_err(|_| Errno::ENOMEM)?;
        name.push(b'/');
        name.extend_from_slice(&path);
        Ok(Program { header, name, file: (meta.dev, meta.ino()), copy })
    }

    /// A copy in memory.
    fn in_memory(self, file: &File) -> Result<i32> {
        let fd = Kernel.memfd_program(c"privns-program")?;
        let filled = self.size(file).and_then(|size| self.fill(file, fd, 0, size, 0));
        filled.map(|()| fd).inspect_err(|_| {
            let _ = Kernel.close(fd);
        })
    }
}

fn may_run(meta: &Meta) -> Result<()> {
    if meta.mode() & libc::S_IFMT != libc::S_IFREG {
        return Err(Errno::EACCES);
    }
    meta.permits(1, true)
}
