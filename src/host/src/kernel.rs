//! The Linux kernel under us.

use crate::{Host, Name, sys};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use privns_abi::{Errno, Result, Stat, path::PATH_MAX};

/// The running kernel, entered by raw system calls.
#[derive(Clone, Copy, Default)]
pub struct Kernel;

/// `struct open_how` of openat2(2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenHow {
    /// `O_*` flags.
    pub flags: u64,
    /// Mode bits, only with O_CREAT or O_TMPFILE.
    pub mode: u64,
    /// `RESOLVE_*` flags.
    pub resolve: u64,
}

/// openat2(2)'s refusal to cross any symbolic link.
pub const RESOLVE_NO_SYMLINKS: u64 = 0x04;
/// openat2(2)'s refusal to leave what is below the directory.
pub const RESOLVE_BENEATH: u64 = 0x08;

impl OpenHow {
    /// The flags and mode that open(2) was given, cleaned as openat2(2) wants
    /// them: open ignores what it does not know, openat2 refuses it.
    #[must_use]
    pub fn new(flags: i32, mode: u32, resolve: u64) -> OpenHow {
        // Every O_* flag that linux/fcntl.h has: VALID_OPEN_FLAGS.
        const KNOWN: i32 = libc::O_ACCMODE
            | libc::O_CREAT
            | libc::O_EXCL
            | libc::O_NOCTTY
            | libc::O_TRUNC
            | libc::O_APPEND
            | libc::O_NONBLOCK
            | libc::O_SYNC
            | libc::O_ASYNC
            | libc::O_DIRECT
            | 0o100_000 // O_LARGEFILE, which the libc crate gives as 0
            | libc::O_DIRECTORY
            | libc::O_NOFOLLOW
            | libc::O_NOATIME
            | libc::O_CLOEXEC
            | libc::O_PATH
            | libc::O_TMPFILE;
        let mut flags = flags & KNOWN;
        if flags & libc::O_PATH != 0 {
            flags &= libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        }
        let creates = flags & libc::O_CREAT != 0 || flags & libc::O_TMPFILE == libc::O_TMPFILE;
        let mode = if creates { mode & 0o7777 } else { 0 };
        OpenHow { flags: flags as u32 as u64, mode: mode.into(), resolve }
    }
}

impl Kernel {
    /// openat2(2).
    ///
    /// # Errors
    /// The kernel's; ENOSYS before Linux 5.6.
    pub fn openat2(self, dirfd: i32, path: &CStr, how: &OpenHow) -> Result<i32> {
        // SAFETY: both pointers are valid for the call, which only reads them.
        let fd = unsafe {
            sys!(
                libc::SYS_openat2,
                dirfd,
                path.as_ptr(),
                how as *const OpenHow,
                size_of::<OpenHow>()
            )
        }?;
        Ok(fd as i32)
    }

    /// openat(2).
    ///
    /// # Errors
    /// The kernel's.
    pub fn openat(self, dirfd: i32, path: &CStr, flags: i32, mode: u32) -> Result<i32> {
        // SAFETY: the path is valid for the call.
        unsafe { sys!(libc::SYS_openat, dirfd, path.as_ptr(), flags, mode) }.map(|fd| fd as i32)
    }

    /// close(2). The descriptor is gone whatever the answer.
    ///
    /// # Errors
    /// The kernel's, EBADF among them.
    pub fn close(self, fd: i32) -> Result<()> {
        // SAFETY: no memory is involved.
        unsafe { sys!(libc::SYS_close, fd) }.map(drop)
    }

    /// newfstatat(2), all of it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn whole_stat(self, dirfd: i32, path: &CStr, flags: i32) -> Result<libc::stat> {
        let mut st = MaybeUninit::<libc::stat>::uninit();
        // SAFETY: the kernel writes a struct stat where one has room.
        unsafe {
            sys!(libc::SYS_newfstatat, dirfd, path.as_ptr(), st.as_mut_ptr(), flags)?;
            Ok(st.assume_init())
        }
    }

    /// The number of the mount through which an open file is seen (statx(2)).
    ///
    /// # Errors
    /// The kernel's; EOPNOTSUPP before Linux 5.8.
    pub fn mount_of(self, fd: i32) -> Result<u64> {
        let mut x = MaybeUninit::<libc::statx>::zeroed();
        let (flags, mask) = (libc::AT_EMPTY_PATH, libc::STATX_MNT_ID);
        // SAFETY: the kernel writes a struct statx where one has room.
        let x = unsafe {
            sys!(libc::SYS_statx, fd, c"".as_ptr(), flags, mask, x.as_mut_ptr())?;
            x.assume_init()
        };
        if x.stx_mask & mask == 0 { Err(Errno::EOPNOTSUPP) } else { Ok(x.stx_mnt_id) }
    }

    /// newfstatat(2) into the part of the attributes that we use.
    ///
    /// # Errors
    /// The kernel's.
    pub fn statat(self, dirfd: i32, path: &CStr, flags: i32) -> Result<Stat> {
        let st = self.whole_stat(dirfd, path, flags)?;
        Ok(Stat {
            dev: st.st_dev,
            ino: st.st_ino,
            mode: st.st_mode,
            uid: st.st_uid,
            gid: st.st_gid,
            // 32 bits on some architectures.
            #[allow(clippy::useless_conversion)]
            links: st.st_nlink.into(),
        })
    }

    /// fstat(2).
    ///
    /// # Errors
    /// The kernel's.
    pub fn fstat(self, fd: i32) -> Result<Stat> {
        self.statat(fd, c"", libc::AT_EMPTY_PATH)
    }

    /// readlinkat(2).
    ///
    /// # Errors
    /// The kernel's; ENAMETOOLONG for a link that does not fit PATH_MAX.
    pub fn readlinkat(self, dirfd: i32, path: &CStr, out: &mut Name) -> Result<()> {
        let read = |to: *mut u8, room: usize| {
            // SAFETY: the kernel writes at most that many bytes.
            let n = unsafe { sys!(libc::SYS_readlinkat, dirfd, path.as_ptr(), to, room) }?;
            if n == room { Err(Errno::ENAMETOOLONG) } else { Ok(n) }
        };
        // SAFETY: the kernel says how many bytes it has written.
        unsafe { short_or_long(Errno::ENAMETOOLONG, |room| out.fill(room, |to| read(to, room))) }
    }

    /// The host's name of the file behind a descriptor, from `/proc/self/fd`.
    ///
    /// # Errors
    /// The kernel's: ENOENT for a descriptor that is not open, or no `/proc`.
    pub fn fd_path(self, fd: i32, out: &mut Name) -> Result<()> {
        self.readlinkat(libc::AT_FDCWD, crate::fd::link(fd)?.as_cstr()?, out)
    }

    /// getcwd(2), without the libc's fallbacks.
    ///
    /// # Errors
    /// ENOENT when the directory has been removed, or lies outside the root.
    pub fn getcwd(self, out: &mut Name) -> Result<()> {
        let ask = |to: *mut u8, room: usize| {
            // SAFETY: the kernel writes at most that many bytes, a NUL last.
            let n = unsafe { sys!(libc::SYS_getcwd, to, room) }?;
            // "(unreachable)" comes first when the directory is outside the root.
            // SAFETY: at least the NUL has been written.
            if unsafe { *to } == b'/' { Ok(n - 1) } else { Err(Errno::ENOENT) }
        };
        // SAFETY: the kernel says how many bytes it has written.
        unsafe { short_or_long(Errno::ERANGE, |room| out.fill(room, |to| ask(to, room))) }
    }

    /// getpid(2), asked of the kernel: right in a vfork child too.
    #[must_use]
    pub fn getpid(self) -> i32 {
        // SAFETY: no arguments; the call cannot fail.
        unsafe { sys!(libc::SYS_getpid) }.unwrap_or(0) as i32
    }

    /// geteuid(2).
    #[must_use]
    pub fn geteuid(self) -> u32 {
        // SAFETY: no arguments; the call cannot fail.
        unsafe { sys!(libc::SYS_geteuid) }.unwrap_or(0) as u32
    }
}

/// Has `fill` try with little room first, which mostly does, and then with all that
/// a name may take: a page of memory that is touched costs a fault. `short` is what
/// it says to too little.
fn short_or_long(short: Errno, mut fill: impl FnMut(usize) -> Result<()>) -> Result<()> {
    const SHORT: usize = 255;
    match fill(SHORT) {
        Err(e) if e == short => fill(PATH_MAX),
        done => done,
    }
}

/// Writes `n` in decimal, without allocating.
pub fn decimal(mut n: u32, buf: &mut [u8; 10]) -> &[u8] {
    let mut at = buf.len();
    loop {
        at -= 1;
        buf[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &buf[at..];
        }
    }
}

impl Host for Kernel {
    fn lstat(&self, path: &CStr) -> Result<Stat> {
        self.statat(libc::AT_FDCWD, path, libc::AT_SYMLINK_NOFOLLOW)
    }

    fn stat(&self, path: &CStr) -> Result<Stat> {
        self.statat(libc::AT_FDCWD, path, 0)
    }

    fn readlink(&self, path: &CStr, out: &mut Name) -> Result<()> {
        self.readlinkat(libc::AT_FDCWD, path, out)
    }

    fn check_plain_dir(&self, path: &CStr) -> Result<()> {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let how = OpenHow::new(flags, 0, RESOLVE_NO_SYMLINKS);
        self.close(self.openat2(libc::AT_FDCWD, path, &how)?)
    }

    #[inline]
    fn now_ms(&self) -> u64 {
        let mut ts = MaybeUninit::<libc::timespec>::uninit();
        // SAFETY: the vDSO writes one timespec; a clock that every kernel has.
        let ts = unsafe {
            crate::lazy::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, ts.as_mut_ptr());
            ts.assume_init()
        };
        ts.tv_sec as u64 * 1000 + ts.tv_nsec as u64 / 1_000_000
    }
}

impl Kernel {
    /// Whether an absolute path leads to a regular file without symbolic links
    /// (openat2(2), `RESOLVE_NO_SYMLINKS`).
    ///
    /// # Errors
    /// ELOOP for one with a link in it, EINVAL for another kind of file; ENOSYS and
    /// EPERM where it cannot be told.
    pub fn check_plain_file(self, path: &CStr) -> Result<()> {
        let how = OpenHow::new(libc::O_PATH | libc::O_CLOEXEC, 0, RESOLVE_NO_SYMLINKS);
        let fd = self.openat2(libc::AT_FDCWD, path, &how)?;
        let found = self.fstat(fd);
        self.close(fd)?;
        if found?.mode & libc::S_IFMT == libc::S_IFREG { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// time(2) by the vDSO: a few instructions, where a clock of milliseconds
    /// takes ten times as many.
    #[inline(always)]
    #[must_use]
    pub fn second(self) -> u64 {
        // SAFETY: writes nothing.
        unsafe { libc::time(core::ptr::null_mut()) as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openat2_is_given_only_what_it_takes() {
        let how = OpenHow::new(libc::O_PATH | libc::O_RDWR | 0x4000_0000, 0o644, 0);
        assert_eq!(how.flags, libc::O_PATH as u64);
        assert_eq!(how.mode, 0);
        let how = OpenHow::new(libc::O_CREAT | libc::O_WRONLY, 0o170_644, 0);
        assert_eq!(how.mode, 0o644);
    }

    #[test]
    fn the_kernel_tells_a_plain_directory_from_a_link() {
        let mut name = Name::new();
        Kernel.readlink(c"/proc/self", &mut name).unwrap();
        assert_eq!(Kernel.check_plain_dir(c"/proc/self"), Err(Errno::ELOOP));
        assert_eq!(Kernel.check_plain_dir(c"/proc"), Ok(()));
        assert_eq!(Kernel.readlink(c"/", &mut name), Err(Errno::EINVAL));
    }

    #[test]
    fn links_of_all_lengths_are_read_whole() {
        let dir = std::env::temp_dir().join(std::format!("privns-links-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let mut name = Name::new();
        for len in [1, 253, 254, 255, 256, 4094, 4095] {
            let text = "x".repeat(len);
            let link = dir.join(std::format!("{len}"));
            std::os::unix::fs::symlink(&text, &link).unwrap();
            let link = std::ffi::CString::new(link.to_str().unwrap()).unwrap();
            Kernel.readlink(&link, &mut name).unwrap();
            assert_eq!(name.as_bytes(), text.as_bytes());
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_kernel_tells_a_plain_file_from_others() {
        assert_eq!(Kernel.check_plain_file(c"/proc/self/stat"), Err(Errno::ELOOP));
        assert_eq!(Kernel.check_plain_file(c"/proc"), Err(Errno::EINVAL));
        assert_eq!(Kernel.check_plain_file(c"/proc/version"), Ok(()));
    }

    #[test]
    fn decimal_writes_every_digit() {
        let mut buf = [0; 10];
        assert_eq!(decimal(0, &mut buf), b"0");
        assert_eq!(decimal(4_294_967_295, &mut buf), b"4294967295");
    }
}
