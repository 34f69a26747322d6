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
    /// made in. `called` is what it has for a name until then, a slash in front.
    ///
    /// # Errors
    /// chdir(2)'s.
    pub fn leave_for_nowhere(self, called: &[u8]) -> Result<()> {
        for scratch in SCRATCH {
            let mut name = Name::from(scratch.to_bytes())?;
            name.push(called)?;
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

    /// mknodat(2) from the working directory, of a pipe.
    ///
    /// # Errors
    /// The kernel's.
    pub fn make_pipe(self, path: &CStr, mode: u32) -> Result<()> {
        let mode = libc::S_IFIFO | mode;
        // SAFETY: the path is valid for the call.
        unsafe { sys!(libc::SYS_mknodat, libc::AT_FDCWD, path.as_ptr(), mode, 0) }.map(drop)
    }

    /// linkat(2) from the working directory, not following.
    ///
    /// # Errors
    /// The kernel's.
    pub fn link(self, old: &CStr, new: &CStr) -> Result<()> {
        let cwd = libc::AT_FDCWD;
        // SAFETY: the paths are valid for the call.
        unsafe { sys!(libc::SYS_linkat, cwd, old.as_ptr(), cwd, new.as_ptr(), 0) }.map(drop)
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

    /// symlinkat(2): `path` leads to `target`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn symlink(self, target: &CStr, path: &CStr) -> Result<()> {
        // SAFETY: both are valid for the call.
        unsafe { sys!(libc::SYS_symlinkat, target.as_ptr(), libc::AT_FDCWD, path.as_ptr()) }
            .map(drop)
    }

    /// fchmodat(2), which follows links.
    ///
    /// # Errors
    /// The kernel's.
    pub fn chmod(self, path: &CStr, mode: u32) -> Result<()> {
        // SAFETY: the path is valid for the call.
        unsafe { sys!(libc::SYS_fchmodat, libc::AT_FDCWD, path.as_ptr(), mode) }.map(drop)
    }

    /// Sets the time of modification of an open file, in seconds and
    /// nanoseconds (utimensat(2)).
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_modified(self, fd: i32, (tv_sec, tv_nsec): (i64, i64)) -> Result<()> {
        let omit = libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT };
        let times = [omit, libc::timespec { tv_sec, tv_nsec }];
        // SAFETY: two structures that live through the call.
        unsafe { sys!(libc::SYS_utimensat, fd, 0usize, times.as_ptr(), 0) }.map(drop)
    }

    /// Whether what lies in a directory can be run and mapped to be run
    /// (`ST_NOEXEC` of fstatfs(2)).
    ///
    /// # Errors
    /// The kernel's.
    pub fn may_run_in(self, dir: i32) -> Result<bool> {
        // `struct statfs` (asm-generic/statfs.h) is words on all 64-bit systems,
        // and the crate's has no name for this one.
        const FLAGS: usize = 10;
        let mut words = [0u64; 32];
        // SAFETY: the kernel writes a struct statfs, 15 words, where there are more.
        unsafe { sys!(libc::SYS_fstatfs, dir, words.as_mut_ptr()) }?;
        Ok(words[FLAGS] & libc::ST_NOEXEC == 0)
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

    #[test]
    fn what_may_be_run_where_is_known() {
        let runs = |dir: &CStr| {
            let fd = Kernel.openat(libc::AT_FDCWD, dir, libc::O_RDONLY, 0).unwrap();
            let runs = Kernel.may_run_in(fd);
            Kernel.close(fd).unwrap();
            runs
        };
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        for (dir, name) in [("/proc", c"/proc"), ("/", c"/"), ("/dev/shm", c"/dev/shm")] {
            // The last that is mounted there is the one that is seen.
            let line = mounts.lines().rev().find(|line| line.split(' ').nth(1) == Some(dir));
            let Some(line) = line else { continue };
            let flags = line.split(' ').nth(3).unwrap();
            assert_eq!(runs(name), Ok(!flags.split(',').any(|flag| flag == "noexec")), "{line}");
        }
    }
}
