//! Names longer than PATH_MAX: a working directory so deep that the kernel
//! will not say its name is found by climbing out of it, as getcwd(3) does.

use crate::process::View;
use alloc::vec::Vec;
use core::ffi::CStr;
use privns_abi::{Errno, Result};
use privns_host::{Kernel, Name, dirent};
use privns_namespace::resolve;

/// Levels climbed at most.
const DEEPEST: usize = 65_536;
/// Bytes of a directory read at a time.
const CHUNK: usize = 32 << 10;

/// A descriptor of ours, closed when it goes.
struct Dir(i32);

impl Dir {
    fn open(at: i32, name: &CStr) -> Result<Dir> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        Kernel.openat(at, name, flags, 0).map(Dir)
    }

    /// The name in this directory of the directory `child`.
    fn name_of(&self, child: &Dir) -> Result<Name> {
        let wanted = Kernel.fstat(child.0)?;
        let mut records = Vec::new();
        records.try_reserve_exact(CHUNK).map_err(|_| Errno::ENOMEM)?;
        loop {
            Kernel.getdents64(self.0, &mut records)?;
            if records.is_empty() {
                return Err(Errno::ENOENT);
            }
            for entry in dirent::entries(&records) {
                if matches!(entry.name, b"." | b"..") {
                    continue;
                }
                let mut name = Name::from(entry.name)?;
                // By attributes and not by d_ino, which for a mount point is
                // the covered directory's.
                let found = Kernel.statat(self.0, name.as_cstr()?, libc::AT_SYMLINK_NOFOLLOW);
                if found.is_ok_and(|st| (st.dev, st.ino) == (wanted.dev, wanted.ino)) {
                    return Ok(name);
                }
            }
        }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = Kernel.close(self.0);
    }
}

impl View<'_> {
    /// The canonical name of a working directory whose name is longer than the
    /// kernel says.
    ///
    /// # Errors
    /// ENOENT for a directory that has been removed; EACCES where one above it
    /// may not be read; ENAMETOOLONG for one deeper than anybody climbs.
    pub fn deep_cwd(self) -> Result<Name> {
        let mut here = Dir::open(libc::AT_FDCWD, c".")?;
        let mut below: Vec<Name> = Vec::new();
        let mut host = Name::new();
        while below.len() < DEEPEST {
            match Kernel.fd_path(here.0, &mut host) {
                Err(Errno::ENAMETOOLONG) => {}
                done => {
                    done?;
                    let seq = self.process.cwd_seq();
                    let mut name = resolve::name_of(self.table()?.index(), host.as_bytes(), seq)?;
                    below.iter().rev().try_for_each(|part| name.join(part.as_bytes()))?;
                    return Ok(name);
                }
            }
            let up = Dir::open(here.0, c"..")?;
            below.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            below.push(up.name_of(&here)?);
            here = up;
        }
        Err(Errno::ENAMETOOLONG)
    }
}
