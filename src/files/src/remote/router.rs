//! What namespace work asks of a kernel, asked of the one that has the file: the
//! host's, or ours for remote names and virtual descriptors.

use super::attrs::{self, Meta};
use super::file::Kind;
use super::place::Place;
use crate::process::View;
use core::ffi::CStr;
use privns_abi::{Errno, Result, Stat};
use privns_host::kernel::{OpenHow, RESOLVE_NO_SYMLINKS};
use privns_host::{Host, Kernel, Name};
use privns_namespace::remote;

/// Both kernels.
#[derive(Clone, Copy)]
pub struct Router<'a>(View<'a>);

impl<'a> View<'a> {
    /// The system that holds the files, remote ones too.
    #[must_use]
    #[inline]
    pub fn host(self) -> Router<'a> {
        Router(self)
    }
}

impl Router<'_> {
    /// The place that a host name stands for, if it is remote.
    #[inline]
    fn place<'n>(&self, host: &'n CStr) -> Option<Place<'n>> {
        if self.0.process.met() { Place::of(host.to_bytes()) } else { None }
    }

    /// fstat(2) as far as names need it. A remote file's permissions and owner
    /// are not asked for.
    ///
    /// # Errors
    /// EBADF.
    pub fn fstat(&self, fd: i32) -> Result<Stat> {
        let Some(file) = self.0.process.file(fd) else { return Kernel.fstat(fd) };
        let dir = file.is_dir();
        Ok(Stat {
            dev: attrs::device(file.server()),
            ino: attrs::inode(file.identity()),
            mode: if dir { libc::S_IFDIR } else { libc::S_IFREG },
            uid: 0,
            gid: 0,
            links: 1,
        })
    }

    /// newfstatat(2) of a remote place, all of it.
    ///
    /// # Errors
    /// Those of [`View::remote_stat`].
    pub fn meta(&self, host: &CStr) -> Option<Result<Meta>> {
        Some(self.0.remote_stat(&self.place(host)?))
    }

    /// The host's name of the file behind a descriptor.
    ///
    /// # Errors
    /// ENOENT for no descriptor, and for a remote file that has been removed.
    pub fn fd_path(&self, fd: i32, out: &mut Name) -> Result<()> {
        let Some(file) = self.0.process.file(fd) else { return Kernel.fd_path(fd, out) };
        *out = file.host_name(&self.0.path_now(&file)?)?;
        Ok(())
    }

    /// The host's name of the working directory.
    ///
    /// # Errors
    /// getcwd(2)'s.
    pub fn getcwd(&self, out: &mut Name) -> Result<()> {
        match self.0.process.remote_cwd() {
            Some(cwd) => *out = cwd.host_name(&self.0.path_now(&cwd)?)?,
            None => Kernel.getcwd(out)?,
        }
        Ok(())
    }

    /// Whether a name is free of links and a directory, as far as the host can
    /// tell. A remote one need not be asked about: whatever is done with a name
    /// below it says so.
    ///
    /// # Errors
    /// Those of [`Host::check_plain_dir`].
    pub fn check_dir(&self, dirfd: i32, dir: &CStr) -> Result<()> {
        let process = self.0.process;
        if process.met() {
            let remote = match dir.to_bytes().first() {
                Some(b'/') => remote::is_remote(dir.to_bytes()),
                _ if dirfd == libc::AT_FDCWD => process.remote_cwd().is_some(),
                _ => process.is_virtual(dirfd),
            };
            if remote {
                return Ok(());
            }
        }
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let how = OpenHow::new(flags, 0, RESOLVE_NO_SYMLINKS);
        Kernel.close(Kernel.openat2(dirfd, dir, &how)?)
    }
}

impl Host for Router<'_> {
    fn lstat(&self, path: &CStr) -> Result<Stat> {
        match self.meta(path) {
            Some(meta) => meta.map(|meta| meta.stat()),
            None => Kernel.lstat(path),
        }
    }

    fn stat(&self, path: &CStr) -> Result<Stat> {
        match self.meta(path) {
            Some(meta) => meta.map(|meta| meta.stat()).and_then(|stat| match stat.is_symlink() {
                // Where it leads the namespace has to say.
                true => Err(Errno::ELOOP),
                false => Ok(stat),
            }),
            None => Kernel.stat(path),
        }
    }

    fn readlink(&self, path: &CStr, out: &mut Name) -> Result<()> {
        match self.place(path) {
            Some(place) => out.set(&self.0.remote_readlink(&place)?),
            None => Kernel.readlink(path, out),
        }
    }

    fn check_plain_dir(&self, path: &CStr) -> Result<()> {
        self.check_dir(libc::AT_FDCWD, path)
    }

    fn now_ms(&self) -> u64 {
        Kernel.now_ms()
    }
}

impl super::file::File {
    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        match self.kind() {
            Kind::Directory => true,
            Kind::Regular => false,
            Kind::Path => {
                self.flags() & libc::O_DIRECTORY != 0
                    || self.known().is_some_and(|open| open.opened.qid.is_dir())
            }
        }
    }
}
