//! Descriptors as the kernel keeps them: anonymous files, seals, locks.

use crate::{Kernel, Name, kernel::decimal, sys};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use privns_abi::{Errno, Result};

/// Who owns a record lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The open file description (`F_OFD_SETLKW`): dropped with its last
    /// descriptor, so also by SIGKILL.
    Description,
    /// The process (`F_SETLKW`): does not keep its own threads apart.
    Process,
}

/// The part of `statx`-like attributes that a shared file is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Length in bytes.
    pub size: u64,
    /// Owner, as the kernel recorded it when the file was made.
    pub uid: u32,
}

/// The link that leads to the file behind `fd`, in this process only.
///
/// # Errors
/// ENOMEM.
pub fn link(fd: i32) -> Result<Name> {
    let mut link = Name::from(b"/proc/self/fd/")?;
    let mut digits = [0u8; 10];
    link.push(decimal(fd.unsigned_abs(), &mut digits))?;
    Ok(link)
}

impl Kernel {
    /// memfd_create(2), close-on-exec, with sealing allowed.
    ///
    /// # Errors
    /// The kernel's: ENOSYS before Linux 3.17, EPERM or EACCES where a filter
    /// or `vm.memfd_noexec` refuses it.
    pub fn memfd_create(self, name: &CStr) -> Result<i32> {
        const NOEXEC_SEAL: u32 = 8;
        let create = |flags: u32| {
            // SAFETY: the name is valid for the call.
            unsafe { sys!(libc::SYS_memfd_create, name.as_ptr(), flags) }
        };
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // EINVAL: before Linux 6.3, which has no such flag.
        let fd = match create(flags | NOEXEC_SEAL) {
            Err(Errno::EINVAL) => create(flags),
            made => made,
        }?;
        Ok(fd as i32)
    }

    /// The same for a file that can be run; close-on-exec.
    ///
    /// # Errors
    /// The kernel's; EACCES where `vm.memfd_noexec` refuses it.
    pub fn memfd_program(self, name: &CStr) -> Result<i32> {
        const EXEC: u32 = 0x10;
        let create = |flags: u32| {
            // SAFETY: the name is valid for the call.
            unsafe { sys!(libc::SYS_memfd_create, name.as_ptr(), flags) }
        };
        let fd = match create(libc::MFD_CLOEXEC | EXEC) {
            Err(Errno::EINVAL) => create(libc::MFD_CLOEXEC),
            made => made,
        }?;
        Ok(fd as i32)
    }

    /// Adds `F_SEAL_*` seals (fcntl(2)).
    ///
    /// # Errors
    /// The kernel's; EINVAL for a file that takes no seals.
    pub fn add_seals(self, fd: i32, seals: i32) -> Result<()> {
        // SAFETY: no memory is involved.
        unsafe { sys!(libc::SYS_fcntl, fd, libc::F_ADD_SEALS, seals) }.map(drop)
    }

    /// The seals that a file has.
    ///
    /// # Errors
    /// EINVAL for a file that takes no seals.
    pub fn seals(self, fd: i32) -> Result<i32> {
        // SAFETY: no memory is involved.
        unsafe { sys!(libc::SYS_fcntl, fd, libc::F_GET_SEALS) }.map(|seals| seals as i32)
    }

    /// ftruncate(2).
    ///
    /// # Errors
    /// The kernel's.
    pub fn ftruncate(self, fd: i32, len: u64) -> Result<()> {
        // SAFETY: no memory is involved.
        unsafe { sys!(libc::SYS_ftruncate, fd, len) }.map(drop)
    }

    /// fchmod(2).
    ///
    /// # Errors
    /// The kernel's.
    pub fn fchmod(self, fd: i32, mode: u32) -> Result<()> {
        // SAFETY: no memory is involved.
        unsafe { sys!(libc::SYS_fchmod, fd, mode) }.map(drop)
    }

    /// Length and owner of an open file.
    ///
    /// # Errors
    /// The kernel's; EBADF.
    pub fn extent(self, fd: i32) -> Result<Extent> {
        let mut st = MaybeUninit::<libc::stat>::uninit();
        // SAFETY: the kernel writes a struct stat where one has room.
        let st = unsafe {
            sys!(libc::SYS_fstat, fd, st.as_mut_ptr())?;
            st.assume_init()
        };
        Ok(Extent { size: st.st_size as u64, uid: st.st_uid })
    }

    /// A duplicate at the lowest free number from `min` (F_DUPFD).
    ///
    /// # Errors
    /// EINVAL when `min` is beyond the limit, EMFILE when all are taken.
    pub fn dup_from(self, fd: i32, min: i32, cloexec: bool) -> Result<i32> {
        let cmd = if cloexec { libc::F_DUPFD_CLOEXEC } else { libc::F_DUPFD };
        // SAFETY: no memory is involved.
        unsafe { sys!(libc::SYS_fcntl, fd, cmd, min) }.map(|fd| fd as i32)
    }

    /// A duplicate at another number, above it where there is room.
    ///
    /// # Errors
    /// EBADF; EMFILE.
    pub fn dup_elsewhere(self, fd: i32, cloexec: bool) -> Result<i32> {
        let above = self.dup_from(fd, fd.saturating_add(1), cloexec);
        above.or_else(|_| self.dup_from(fd, 3, cloexec))
    }

    /// dup3(2): `to` becomes a duplicate of `fd`, which is another number.
    ///
    /// # Errors
    /// The kernel's.
    pub fn dup_onto(self, fd: i32, to: i32, cloexec: bool) -> Result<()> {
        let flags = if cloexec { libc::O_CLOEXEC } else { 0 };
        // SAFETY: no memory is involved.
        unsafe { sys!(libc::SYS_dup3, fd, to, flags) }.map(drop)
    }

    /// Sets or clears close-on-exec.
    ///
    /// # Errors
    /// EBADF.
    pub fn set_cloexec(self, fd: i32, on: bool) -> Result<()> {
        let flags = if on { libc::FD_CLOEXEC } else { 0 };
        // SAFETY: no memory is involved.
        unsafe { sys!(libc::SYS_fcntl, fd, libc::F_SETFD, flags) }.map(drop)
    }

    /// flock(2), whose wait a signal ends.
    ///
    /// # Errors
    /// The kernel's: EINTR.
    pub fn flock_once(self, fd: i32, how: i32) -> Result<()> {
        // SAFETY: no memory is involved.
        unsafe { sys!(libc::SYS_flock, fd, how) }.map(drop)
    }

    /// flock(2); `how` is `LOCK_SH`, `LOCK_EX` or `LOCK_UN`, with `LOCK_NB`.
    /// A signal does not end the wait.
    ///
    /// # Errors
    /// The kernel's; EAGAIN with `LOCK_NB` when another description has it.
    pub fn flock(self, fd: i32, how: i32) -> Result<()> {
        loop {
            match self.flock_once(fd, how) {
                Err(Errno::EINTR) => {}
                done => return done,
            }
        }
    }

    /// Takes (`F_WRLCK`) or drops (`F_UNLCK`) the record lock on the whole
    /// file, waiting for it. A signal does not end the wait.
    ///
    /// # Errors
    /// fcntl(2)'s; EBADF for a descriptor that is not open for writing.
    pub fn record_lock(self, fd: i32, kind: i32, owner: Owner) -> Result<()> {
        let cmd = match owner {
            Owner::Description => libc::F_OFD_SETLKW,
            Owner::Process => libc::F_SETLKW,
        };
        // A pid other than 0 is refused for descriptions; 0 to 0 is the file.
        let whole = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        loop {
            // SAFETY: the kernel reads one struct flock.
            match unsafe { sys!(libc::SYS_fcntl, fd, cmd, &whole as *const libc::flock) } {
                Err(Errno::EINTR) => {}
                done => return done.map(drop),
            }
        }
    }

    /// Locks one byte in the name of the open file description, which keeps it as
    /// long as it lives (F_OFD_SETLK of fcntl(2)).
    ///
    /// # Errors
    /// fcntl(2)'s; EBADF for a descriptor that is open neither for reading nor for
    /// writing.
    pub fn lock_byte(self, fd: i32, at: u64) -> Result<()> {
        let reads = self.status_flags(fd)? & libc::O_ACCMODE != libc::O_WRONLY;
        let kind = if reads { libc::F_RDLCK } else { libc::F_WRLCK };
        let byte = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: i64::try_from(at).map_err(|_| Errno::EINVAL)?,
            l_len: 1,
            l_pid: 0,
        };
        let (cmd, byte) = (libc::F_OFD_SETLK, &raw const byte);
        // SAFETY: the kernel reads one struct flock.
        unsafe { sys!(libc::SYS_fcntl, fd, cmd, byte) }.map(drop)
    }

    /// The first byte that the open file description has locked, in whichever
    /// process (`/proc/self/fdinfo` of proc(5), Linux 4.1); `None` where there is
    /// none.
    #[must_use]
    pub fn locked_byte(self, fd: i32) -> Option<u64> {
        let mut name = Name::from(b"/proc/self/fdinfo/").ok()?;
        let mut digits = [0u8; 10];
        name.push(decimal(fd.unsigned_abs(), &mut digits)).ok()?;
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        let info = self.openat(libc::AT_FDCWD, name.as_cstr().ok()?, flags, 0).ok()?;
        let mut text = [0u8; 1024];
        let read = self.read(info, &mut text);
        let _ = self.close(info);
        let mut lines = text.get(..read.ok()?)?.split(|&b| b == b'\n');
        let lock = lines.find(|line| line.starts_with(b"lock:"))?;
        // First and last byte are the last words.
        let start = lock.rsplit(|&b| b == b' ').nth(1)?;
        core::str::from_utf8(start).ok()?.parse().ok()
    }

    /// Opens the file behind `fd` anew, through `/proc`: a description of its
    /// own, close-on-exec.
    ///
    /// # Errors
    /// The kernel's: EACCES where the file's mode refuses it, ENOENT without
    /// `/proc`.
    pub fn reopen(self, fd: i32, flags: i32) -> Result<i32> {
        self.openat(libc::AT_FDCWD, link(fd)?.as_cstr()?, flags | libc::O_CLOEXEC, 0)
    }

    /// The same as it is asked for: inherited over exec unless `flags` say
    /// otherwise.
    ///
    /// # Errors
    /// Those of [`Kernel::reopen`].
    pub fn reopen_as(self, fd: i32, flags: i32) -> Result<i32> {
        self.openat(libc::AT_FDCWD, link(fd)?.as_cstr()?, flags, 0)
    }

    /// An empty file in memory that nobody can write to or lengthen: what gets
    /// past us to it fails.
    ///
    /// # Errors
    /// Those of [`Kernel::memfd_create`].
    pub fn placeholder(self, cloexec: bool) -> Result<i32> {
        let fd = self.memfd_create(c"privns-file")?;
        // Whoever the process becomes, it opens it anew.
        let _ = self.fchmod(fd, 0o666);
        let seals = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK;
        let _ = self.add_seals(fd, seals | libc::F_SEAL_SEAL);
        if !cloexec {
            self.set_cloexec(fd, false)?;
        }
        Ok(fd)
    }

    /// Whether a descriptor is one of those, opened anew or not.
    #[must_use]
    pub fn is_placeholder(self, fd: i32) -> bool {
        let wanted = libc::F_SEAL_WRITE | libc::F_SEAL_GROW;
        let sealed = match self.seals(fd) {
            // Open for naming only.
            Err(Errno::EBADF) => link(fd).is_ok_and(|mut link| {
                link.as_cstr().is_ok_and(|at| self.links_to_placeholder(libc::AT_FDCWD, at))
            }),
            seals => seals.is_ok_and(|seals| seals & wanted == wanted),
        };
        sealed && self.extent(fd).is_ok_and(|extent| extent.size == 0)
    }

    /// Whether two descriptors of ours are one open file (kcmp(2)). False where the kernel does not
    /// tell.
    #[must_use]
    pub fn is_same_open(self, fd: i32, other: i32) -> bool {
        const FILE: i32 = 0;
        let us = self.getpid();
        // SAFETY: no memory is involved.
        let told = unsafe { sys!(libc::SYS_kcmp, us, us, FILE, fd, other) };
        told == Ok(0)
    }

    /// Whether a link of `/proc` leads to one of those.
    #[must_use]
    pub fn links_to_placeholder(self, dirfd: i32, link: &CStr) -> bool {
        let mut text = Name::new();
        let read = self.readlinkat(dirfd, link, &mut text);
        read.is_ok() && text.as_bytes() == b"/memfd:privns-file (deleted)"
    }

    /// Status flags and access mode of an open file (F_GETFL).
    ///
    /// # Errors
    /// EBADF.
    pub fn status_flags(self, fd: i32) -> Result<i32> {
        // SAFETY: no memory is involved.
        unsafe { sys!(libc::SYS_fcntl, fd, libc::F_GETFL) }.map(|flags| flags as i32)
    }

    /// Sets the status flags of an open file (F_SETFL).
    ///
    /// # Errors
    /// EBADF, EINVAL, EPERM.
    pub fn set_status_flags(self, fd: i32, flags: i32) -> Result<()> {
        // SAFETY: no memory is involved.
        unsafe { sys!(libc::SYS_fcntl, fd, libc::F_SETFL, flags) }.map(drop)
    }

    /// Whether a descriptor is inherited over exec (F_GETFD).
    ///
    /// # Errors
    /// EBADF.
    pub fn is_inherited(self, fd: i32) -> Result<bool> {
        // SAFETY: no memory is involved.
        let flags = unsafe { sys!(libc::SYS_fcntl, fd, libc::F_GETFD) }?;
        Ok(flags & libc::FD_CLOEXEC as usize == 0)
    }

    /// read(2), once.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(self, fd: i32, out: &mut [u8]) -> Result<usize> {
        // SAFETY: the kernel writes at most the buffer's length.
        unsafe { sys!(libc::SYS_read, fd, out.as_mut_ptr(), out.len()) }
    }

    /// Reads at an offset until `out` is full or the file ends (pread(2)).
    ///
    /// # Errors
    /// The kernel's; EBADF for a descriptor that is not open for reading.
    pub fn pread(self, fd: i32, out: &mut [u8], at: u64) -> Result<usize> {
        let mut done = 0;
        while done < out.len() {
            let rest = &mut out[done..];
            // SAFETY: the kernel writes at most the buffer's length.
            let read = unsafe {
                sys!(libc::SYS_pread64, fd, rest.as_mut_ptr(), rest.len(), at + done as u64)
            };
            match read {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(Errno::EINTR) => {}
                // The buffer is a program's, and ends before it should.
                Err(Errno::EFAULT) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Writes all of `data` at an offset (pwrite(2)).
    ///
    /// # Errors
    /// The kernel's; EIO when it writes nothing.
    pub fn pwrite(self, fd: i32, mut data: &[u8], mut at: u64) -> Result<()> {
        while !data.is_empty() {
            // SAFETY: the kernel reads at most the buffer's length.
            match unsafe { sys!(libc::SYS_pwrite64, fd, data.as_ptr(), data.len(), at) } {
                Ok(0) => return Err(Errno::EIO),
                Ok(n) => {
                    data = data.get(n..).unwrap_or_default();
                    at += n as u64;
                }
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Soft limit on descriptor numbers (getrlimit(2), `RLIMIT_NOFILE`).
    ///
    /// # Errors
    /// The kernel's.
    pub fn descriptor_limit(self) -> Result<u64> {
        self.soft_limit(libc::RLIMIT_NOFILE.into())
    }

    /// Duplicates a descriptor to a number beyond the limit on them, close-on-exec.
    /// The limit is another for that moment (and for a child that another thread
    /// forks in it).
    ///
    /// # Errors
    /// EPERM where the hard limit is no higher, without CAP_SYS_RESOURCE.
    pub fn dup_beyond(self, fd: i32, from: i32) -> Result<i32> {
        const ROOM: u64 = 24;
        let old = self.limit(libc::RLIMIT_NOFILE.into())?;
        let most = u64::from(from.unsigned_abs()) + ROOM;
        let set = |limit: &libc::rlimit| {
            let limit = core::ptr::from_ref(limit);
            // SAFETY: the kernel reads one struct rlimit.
            unsafe { sys!(libc::SYS_setrlimit, libc::RLIMIT_NOFILE, limit) }
        };
        set(&libc::rlimit { rlim_cur: most, rlim_max: old.rlim_max.max(most) })?;
        let high = self.dup_from(fd, from, true);
        let put_back = set(&old);
        put_back.and(high)
    }

    /// Soft limit on the size of a file, bytes (getrlimit(2), `RLIMIT_FSIZE`);
    /// the largest number for none.
    #[must_use]
    pub fn file_size_limit(self) -> u64 {
        self.soft_limit(libc::RLIMIT_FSIZE.into()).unwrap_or(u64::MAX)
    }

    fn soft_limit(self, which: i64) -> Result<u64> {
        self.limit(which).map(|limit| limit.rlim_cur)
    }

    fn limit(self, which: i64) -> Result<libc::rlimit> {
        let mut limit = MaybeUninit::<libc::rlimit>::uninit();
        // SAFETY: the kernel writes one struct rlimit.
        unsafe {
            sys!(libc::SYS_getrlimit, which, limit.as_mut_ptr())?;
            Ok(limit.assume_init())
        }
    }

    /// A random 64-bit number from the kernel (getrandom(2)).
    ///
    /// # Errors
    /// The kernel's; ENOSYS before Linux 3.17.
    pub fn random(self) -> Result<u64> {
        let mut bytes = [0u8; 8];
        loop {
            // SAFETY: the kernel writes at most the buffer's length.
            match unsafe { sys!(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), 0) } {
                Ok(8) => return Ok(u64::from_ne_bytes(bytes)),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Lets another thread or process run.
    pub fn yield_now(self) {
        // SAFETY: no arguments; the call cannot fail.
        let _ = unsafe { sys!(libc::SYS_sched_yield) };
    }
}
