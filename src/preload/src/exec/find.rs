//! Which file a name leads to, and what its header says.

use super::Exec;
use crate::call::Named;
use crate::door::with_place;
use core::ffi::{c_char, c_int};
use core::sync::atomic::Ordering;
use privns_abi::{Errno, Result};
use privns_files::remote::copies::Program;
use privns_files::Target;
use privns_host::kernel::{OpenHow, RESOLVE_NO_SYMLINKS};
use privns_host::{sys, HotName, Kernel, Spelled};
use privns_namespace::program::Header;

/// A file that is to be run.
pub(super) struct Found {
    pub(super) header: Header,
    /// Device and number, where it could be opened.
    pub(super) file: Option<(u64, u64)>,
    /// It takes other rights than its caller's.
    pub(super) secure: bool,
}

impl Found {
    fn of(program: &Program) -> Found {
        Found { header: program.header.clone(), file: Some(program.file), secure: false }
    }
}

impl Exec<'_> {
    /// Finds a name and reads the header of what it leads to. A file that may
    /// not be read, or is none, is left to the kernel.
    pub(super) unsafe fn find(&mut self, named: Named) -> Result<Found> {
        self.remote = None;
        // SAFETY: the caller's name.
        let Some(fd) = (unsafe { self.open(named) })? else {
            return Ok(match &self.remote {
                Some(program) => Found::of(program),
                None => Found { header: Header::Other, file: None, secure: false },
            });
        };
        let found = look(fd);
        let _ = Kernel.close(fd);
        found
    }

    /// The file behind the descriptor that we were called with.
    pub(super) fn open_at_fd(&mut self) -> Result<Found> {
        if let Some(file) = self.view.process.file(self.named.dirfd) {
            let program = self.view.program(&file)?;
            let found = Found::of(&program);
            return self.is_remote(program).map(|()| found);
        }
        self.to.as_given = true;
        self.to.seq = self.view.process.fds.seq(self.named.dirfd);
        match look(self.named.dirfd) {
            // Open for naming only (O_PATH).
            Err(Errno::EBADF) => {}
            found => return found,
        }
        let fd = Kernel.reopen(self.named.dirfd, libc::O_RDONLY | libc::O_NONBLOCK);
        let Ok(fd) = fd else {
            return Ok(Found { header: Header::Other, file: None, secure: false });
        };
        let found = look(fd);
        let _ = Kernel.close(fd);
        found
    }

    unsafe fn open(&mut self, named: Named) -> Result<Option<c_int>> {
        let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
        // SAFETY: the caller's name.
        let spelled = unsafe { Spelled::read(named.path) };
        let name = spelled.name();
        self.to = Target::new();
        if named.last.follow
            && !self.view.process.no_openat2.load(Ordering::Relaxed)
            && self.view.locate_unchecked(named.dirfd, spelled, &mut self.to)?
        {
            let how = OpenHow::new(flags, 0, RESOLVE_NO_SYMLINKS);
            let (dirfd, at) = named.args(&mut self.to);
            // SAFETY: a C string.
            let asked = unsafe { self.remote_from(dirfd, at) };
            let opened = match asked {
                Some(Ok(())) => return Ok(None),
                Some(Err(error)) => Err(error),
                // SAFETY: a C string and an open_how of our own.
                None => unsafe {
                    sys!(libc::SYS_openat2, dirfd, at, &how as *const OpenHow, size_of::<OpenHow>())
                },
            };
            match opened {
                Ok(fd) => return Ok(Some(fd as c_int)),
                Err(error @ (Errno::ENOENT | Errno::ENOTDIR)) => return Err(error),
                // A link on the way, or a file that may be run and not read.
                Err(Errno::ELOOP) => {}
                Err(error) if asked.is_some() => return Err(error),
                Err(_) => {}
            }
        }
        self.to = Target::new();
        if self.view.process.guest().is_some() {
            // What is learned is our parent's as well.
            // SAFETY: the caller's name.
            unsafe { named.locate(self.view, &mut self.to) }?;
        } else {
            let exact = self.view.locate_exact(named.dirfd, name, named.last, &mut self.to);
            named.tell(if name.is_empty() { Err(Errno::ENOENT) } else { exact })?;
        }
        let (dirfd, at) = named.args(&mut self.to);
        // SAFETY: a C string.
        if let Some(done) = unsafe { self.remote_from(dirfd, at) } {
            return done.map(|()| None);
        }
        let flags = if named.last.follow { flags } else { flags | libc::O_NOFOLLOW };
        // SAFETY: a C string.
        Ok(unsafe { sys!(libc::SYS_openat, dirfd, at, flags) }.ok().map(|fd| fd as c_int))
    }

    /// Finds what a server has: then a copy is what is run.
    unsafe fn remote_from(&mut self, dirfd: c_int, at: *const c_char) -> Option<Result<()>> {
        if !self.view.process.met() {
            return None;
        }
        let view = self.view;
        // SAFETY: the caller's name.
        let found = unsafe { with_place(view, dirfd, at, true, |place| view.program_at(&place)) }?;
        Some(found.and_then(|program| self.is_remote(program)))
    }

    fn is_remote(&mut self, program: Program) -> Result<()> {
        self.to.as_given = false;
        self.to.name = HotName::new();
        self.to.name.push(program.path()?.as_bytes())?;
        self.remote = Some(program);
        Ok(())
    }
}

/// Reads what a file is.
fn look(fd: c_int) -> Result<Found> {
    let st = Kernel.fstat(fd)?;
    let mut found = Found { header: Header::Other, file: Some((st.dev, st.ino)), secure: false };
    if st.mode & libc::S_IFMT == libc::S_IFREG {
        found.header = Header::of(fd)?;
        found.secure = is_secure(fd, &st);
    }
    Ok(found)
}

/// Whether a program is given rights that its caller has not (AT_SECURE of
/// getauxval(3)): set-user-ID, set-group-ID or capabilities of its file.
fn is_secure(fd: c_int, st: &privns_abi::Stat) -> bool {
    let mode = st.mode;
    let sets_gid = mode & (libc::S_ISGID | libc::S_IXGRP) == libc::S_ISGID | libc::S_IXGRP;
    let euid = Kernel.geteuid();
    // SAFETY: no memory is involved, and the call cannot fail.
    let egid = || unsafe { sys!(libc::SYS_getegid) }.unwrap_or(0);
    let sets = mode & libc::S_ISUID != 0 && st.uid != euid || sets_gid && st.gid as usize != egid();
    // SAFETY: asks for the length only.
    let capable =
        || unsafe { sys!(libc::SYS_fgetxattr, fd, c"security.capability".as_ptr(), 0, 0).is_ok() };
    // SAFETY: no memory is involved.
    let may = || unsafe { sys!(libc::SYS_prctl, libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) } != Ok(1);
    (sets || euid != 0 && capable()) && may()
}
