//! Processes: for programs of our own, which have one thread. Nothing here is
//! for use inside other people's.

use crate::{Kernel, sys};
use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::CStr;
use privns_abi::{Errno, Result};

/// Which side of a fork we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The new process.
    Child,
    /// The old one, with the child's process number.
    Parent(i32),
}

impl Kernel {
    /// Makes a copy of this process, which must have one thread only; the C
    /// library's fork handlers do not run.
    ///
    /// With `exit_signal` 0 the child is one that wait(2) does not see without
    /// `__WALL` or `__WCLONE`.
    ///
    /// # Errors
    /// clone(2)'s: EAGAIN, ENOMEM.
    pub fn fork(self, exit_signal: i32) -> Result<Fork> {
        // SAFETY: no flag and no stack: memory is copied as by fork(2), and
        // with one thread nobody else can have been amid a change of it.
        match unsafe { sys!(libc::SYS_clone, exit_signal, 0, 0, 0, 0) }? {
            0 => Ok(Fork::Child),
            pid => Ok(Fork::Parent(pid as i32)),
        }
    }

    /// Makes a copy of this process that wait(2) does not see, in a session of its
    /// own. With `orphan` it is nobody's child: one in between makes it, whose
    /// number is given. That it could not be made by that one is not said.
    ///
    /// # Errors
    /// As [`Kernel::fork`].
    pub fn fork_away(self, orphan: bool) -> Result<Fork> {
        match self.fork(0)? {
            Fork::Parent(middle) if orphan => self.wait(middle).map(|_| Fork::Parent(middle)),
            Fork::Parent(pid) => Ok(Fork::Parent(pid)),
            Fork::Child => {
                let _ = self.setsid();
                match if orphan { self.fork(0) } else { Ok(Fork::Child) } {
                    Ok(Fork::Child) => Ok(Fork::Child),
                    Ok(Fork::Parent(_)) => self.exit(0),
                    Err(_) => self.exit(1),
                }
            }
        }
    }

    /// Waits for the end of a child and gives its status (wait4(2)).
    ///
    /// # Errors
    /// ECHILD.
    pub fn wait(self, pid: i32) -> Result<i32> {
        let mut status = 0i32;
        loop {
            // SAFETY: the kernel writes one int; no usage is asked for.
            match unsafe { sys!(libc::SYS_wait4, pid, &raw mut status, libc::__WALL, 0) } {
                Err(Errno::EINTR) => {}
                done => return done.map(|_| status),
            }
        }
    }

    /// Becomes another program; returns only when that fails. The libc's own
    /// execve is passed by, and with it whatever hooks it.
    #[must_use]
    pub fn execve(self, path: &CStr, argv: &[CString], envp: &[CString]) -> Errno {
        let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
            list.iter().map(|s| s.as_ptr()).chain([core::ptr::null()]).collect()
        };
        let (argv, envp) = (pointers(argv), pointers(envp));
        // SAFETY: a NUL-terminated path and two NULL-terminated arrays of
        // NUL-terminated strings, all alive until the call returns.
        match unsafe { sys!(libc::SYS_execve, path.as_ptr(), argv.as_ptr(), envp.as_ptr()) } {
            Err(e) => e,
            Ok(_) => Errno::EINVAL,
        }
    }

    /// Sends the calling thread a signal (raise(3)).
    pub fn raise(self, signal: i32) {
        // SAFETY: no memory is involved.
        unsafe {
            if let (Ok(process), Ok(thread)) = (sys!(libc::SYS_getpid), sys!(libc::SYS_gettid)) {
                let _ = sys!(libc::SYS_tgkill, process, thread, signal);
            }
        }
    }

    /// Ends the process at once, all its threads with it.
    pub fn exit(self, status: i32) -> ! {
        loop {
            // SAFETY: does not return.
            let _ = unsafe { sys!(libc::SYS_exit_group, status) };
        }
    }

    /// Keeps every signal waiting that can be kept waiting.
    pub fn block_signals(self) {
        let _ = self.set_blocked(u64::MAX);
    }

    /// Keeps these signals waiting, bit N - 1 for signal N, and no others; gives
    /// those that were.
    pub fn set_blocked(self, set: u64) -> u64 {
        let mut before = 0u64;
        // SAFETY: the kernel reads one 64-bit set and writes another, both of
        // the size given.
        let _ = unsafe {
            let (set, before) = (&raw const set, &raw mut before);
            sys!(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, set, before, size_of::<u64>())
        };
        before
    }

    /// Keeps every signal waiting but this one, which ends the call that it
    /// finds the process in ([`Errno::EINTR`]) and does nothing else.
    pub fn wait_for_signal(self, signal: i32) {
        extern "C" fn nothing(_: i32) {}
        self.block_signals();
        // SAFETY: an action that is all zero has no flags and blocks nothing;
        // the handler touches nothing, and is the program's to set, which is
        // ours and has one thread.
        unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
            libc::sigaction(signal, &raw const action, core::ptr::null_mut());
        }
        let set = 1u64 << (signal - 1);
        // SAFETY: as in `block_signals`.
        let _ = unsafe {
            sys!(libc::SYS_rt_sigprocmask, libc::SIG_UNBLOCK, &raw const set, 0, size_of::<u64>())
        };
    }

    /// Closes all descriptors from `first` to `last`.
    ///
    /// # Errors
    /// ENOSYS before Linux 5.9.
    pub fn close_range(self, first: u32, last: u32) -> Result<()> {
        // SAFETY: no memory is involved; the callers know what they close.
        unsafe { sys!(libc::SYS_close_range, first, last, 0) }.map(drop)
    }

    /// Gives this thread a name of at most 15 bytes (`PR_SET_NAME`).
    pub fn set_name(self, name: &CStr) {
        // SAFETY: the kernel reads up to the NUL, 16 bytes at most.
        let _ = unsafe { sys!(libc::SYS_prctl, libc::PR_SET_NAME, name.as_ptr()) };
    }

    /// Whether orphaned descendants become our children
    /// (`PR_GET_CHILD_SUBREAPER`, or process 1 of its namespace).
    #[must_use]
    pub fn is_reaper(self) -> bool {
        let mut flag = 0i32;
        // SAFETY: the kernel writes one int.
        let _ = unsafe { sys!(libc::SYS_prctl, libc::PR_GET_CHILD_SUBREAPER, &raw mut flag) };
        flag != 0 || self.getpid() == 1
    }

    /// setsid(2).
    ///
    /// # Errors
    /// EPERM for the leader of a process group.
    pub fn setsid(self) -> Result<()> {
        // SAFETY: no arguments.
        unsafe { sys!(libc::SYS_setsid) }.map(drop)
    }

    /// No exec gives more rights from here on (`PR_SET_NO_NEW_PRIVS`).
    ///
    /// # Errors
    /// prctl(2)'s.
    pub fn no_new_privileges(self) -> Result<()> {
        // SAFETY: no memory is involved.
        unsafe { sys!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.map(drop)
    }

    /// The version of Landlock that the kernel has, 0 for none.
    #[must_use]
    pub fn landlock_version(self) -> u32 {
        const ASK_VERSION: usize = 1;
        // SAFETY: with this flag the kernel takes no attributes.
        let asked = unsafe { sys!(libc::SYS_landlock_create_ruleset, 0, 0, ASK_VERSION) };
        asked.unwrap_or(0) as u32
    }

    /// Whether memory that holds code could be made writable: asked of a page
    /// of our own, for reading, writing and executing at once.
    ///
    /// # Errors
    /// EACCES or EPERM where the host refuses it.
    pub fn try_writable_code(self) -> Result<()> {
        const PAGE: usize = 4096;
        let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at a place of the kernel's choice, which is
        // ours alone and is given back.
        unsafe {
            let prot = libc::PROT_READ | libc::PROT_EXEC;
            let page = sys!(libc::SYS_mmap, 0, PAGE, prot, private, usize::MAX, 0)?;
            let changed = sys!(libc::SYS_mprotect, page, PAGE, prot | libc::PROT_WRITE);
            let _ = sys!(libc::SYS_munmap, page, PAGE);
            changed.map(drop)
        }
    }
}
