//! Small files of our own: written whole, put in place by a rename.

use crate::{Kernel, Name, sys};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use privns_abi::{Errno, Result};

/// Where a directory may be made and removed again.
const SCRATCH: [&CStr; 4] = [c"/dev/shm", c"/tmp", c"/var/tmp", c"/run"];

impl Kernel {
    /// Makes the working directory one that has no name and holds nothing, so
    /// that no relative name leads anywhere: a directory that is removed again
    /// at once, or where none can be made, one of `/proc` that nothing can be
    /// made in.
    ///
    /// # Errors
    /// chdir(2)'s.
    pub fn leave_for_nowhere(self) -> Result<()> {
        for scratch in SCRATCH {
            let mut name = Name::from(scratch.to_bytes())?;
            name.push(alloc::format!("/.privns-{:016x}", self.random()?).as_bytes())?;
            let path = name.as_cstr()?.as_ptr();
            // SAFETY: a C string of ours.
            let gone = unsafe {
                if sys!(libc::SYS_mkdirat, libc::AT_FDCWD, path, 0o700).is_err() {
                    continue;
                }
                let there = sys!(libc::SYS_chdir, path);
                let _ = sys!(libc::SYS_unlinkat, libc::AT_FDCWD, path, libc::AT_REMOVEDIR);
                there
            };
            if gone.is_ok() {
                return Ok(());
            }
        }
        // SAFETY: a C string of ours.
        unsafe { sys!(libc::SYS_chdir, c"/proc/self/fdinfo".as_ptr()) }.map(drop)
    }

    /// Writes all of `bytes` (write(2)).
    ///
    /// # Errors
    /// The kernel's: ENOSPC, EBADF for a descriptor that is not open for
    /// writing.
    pub fn write_all(self, fd: i32, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            // SAFETY: the kernel reads at most the buffer's length.
            match unsafe { sys!(libc::SYS_write, fd, bytes.as_ptr(), bytes.len()) } {
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// mkdirat(2) from the working directory.
    ///
    /// # Errors
    /// The kernel's.
    pub fn mkdir(self, path: &CStr, mode: u32) -> Result<()> {
        // SAFETY: the path is valid for the call.
        unsafe { sys!(libc::SYS_mkdirat, libc::AT_FDCWD, path.as_ptr(), mode) }.map(drop)
    }

    /// renameat2(2) from the working directory, without flags.
    ///
    /// # Errors
    /// The kernel's.
    pub fn rename(self, from: &CStr, to: &CStr) -> Result<()> {
        let cwd = libc::AT_FDCWD;
        // SAFETY: the paths are valid for the call.
        unsafe { sys!(libc::SYS_renameat2, cwd, from.as_ptr(), cwd, to.as_ptr(), 0) }.map(drop)
    }

    /// unlinkat(2) from the working directory.
    ///
    /// # Errors
    /// The kernel's.
    pub fn unlink(self, path: &CStr) -> Result<()> {
        // SAFETY: the path is valid for the call.
        unsafe { sys!(libc::SYS_unlinkat, libc::AT_FDCWD, path.as_ptr(), 0) }.map(drop)
    }

    /// unlinkat(2) of a file.
    ///
    /// # Errors
    /// The kernel's.
    pub fn unlinkat(self, dirfd: i32, path: &CStr) -> Result<()> {
        // SAFETY: the path is valid for the call.
        unsafe { sys!(libc::SYS_unlinkat, dirfd, path.as_ptr(), 0) }.map(drop)
    }

    /// The name of this machine (uname(2)).
    ///
    /// # Errors
    /// ENOMEM.
    pub fn node(self) -> Result<Name> {
        let mut uts = MaybeUninit::<libc::utsname>::uninit();
        // SAFETY: the kernel fills the structure with strings that end in NUL.
        let name = unsafe {
            sys!(libc::SYS_uname, uts.as_mut_ptr())?;
            uts.assume_init().nodename
        };
        let name = name.map(|c| c as u8);
        let len = name.iter().position(|&b| b == 0).unwrap_or(name.len());
        Name::from(&name[..len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_and_put_in_place() {
        let dir = std::format!("/tmp/privns-file-{}", Kernel.getpid());
        let name = |rest: &str| Name::from(std::format!("{dir}{rest}").as_bytes()).unwrap();
        Kernel.mkdir(name("").as_cstr().unwrap(), 0o700).unwrap();
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_CLOEXEC;
        let (mut part, mut whole) = (name("/part"), name("/whole"));
        let (part, whole) = (part.as_cstr().unwrap(), whole.as_cstr().unwrap());
        let fd = Kernel.openat(libc::AT_FDCWD, part, flags, 0o600).unwrap();
        Kernel.write_all(fd, b"text").unwrap();
        Kernel.close(fd).unwrap();
        assert_eq!(Kernel.write_all(fd, b"text"), Err(Errno::EBADF));
        Kernel.rename(part, whole).unwrap();
        assert_eq!(std::fs::read(std::format!("{dir}/whole")).unwrap(), b"text");
        Kernel.unlink(whole).unwrap();
        std::fs::remove_dir(dir).unwrap();
        assert!(!Kernel.node().unwrap().as_bytes().is_empty());
    }
}
