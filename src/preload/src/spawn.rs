//! posix_spawn. Libc's own does it where its entries are patched: the file
//! actions and the exec in its child arrive at our rows, and we only see to it
//! that the child is known for one that shares our memory. Where they are not,
//! the child is ours.

use crate::call::set_errno;
use crate::exec::{exec_at, Strings};
use crate::real::{alone, real};
use crate::{descriptors, open, reveal, search, strings, PROCESS};
use core::ffi::{c_char, c_int, c_void};
use privns_abi::{Errno, Result};
use privns_host::sys;

type Name = *const c_char;
type Opaque = *const c_void;
type Libcs = unsafe extern "C" fn(*mut c_int, Name, Opaque, Opaque, Strings, Strings) -> c_int;

pub(crate) unsafe fn posix_spawn(
    pid: *mut c_int,
    path: *const c_char,
    actions: *const c_void,
    attr: *const c_void,
    argv: Strings,
    env: Strings,
) -> c_int {
    let real = real!(posix_spawn(*mut c_int, Name, Opaque, Opaque, Strings, Strings) -> c_int);
    // SAFETY: the program's own arguments.
    unsafe { either(real, false, pid, path, actions, attr, argv, env) }
}

pub(crate) unsafe fn posix_spawnp(
    pid: *mut c_int,
    file: *const c_char,
    actions: *const c_void,
    attr: *const c_void,
    argv: Strings,
    env: Strings,
) -> c_int {
    let real = real!(posix_spawnp(*mut c_int, Name, Opaque, Opaque, Strings, Strings) -> c_int);
    // SAFETY: as above.
    unsafe { either(real, true, pid, file, actions, attr, argv, env) }
}

/// Runs what makes and waits for a child that shares our memory.
pub(crate) fn with_guest<R>(make: impl FnOnce() -> R) -> R {
    PROCESS.invite();
    let made = make();
    PROCESS.dismiss(&mut strings::free);
    made
}

#[allow(clippy::too_many_arguments)]
unsafe fn either(
    real: Option<Libcs>,
    searches: bool,
    pid: *mut c_int,
    path: *const c_char,
    actions: *const c_void,
    attr: *const c_void,
    argv: Strings,
    env: Strings,
) -> c_int {
    // SAFETY: as posix_spawn(3) has them.
    let ours = unsafe { Actions::of(actions) };
    ours.make_room();
    // Libc's closefrom asks the kernel itself, and would close the table.
    let alone = alone() || ours.all().iter().any(|action| action.tag == CLOSEFROM);
    if let (Some(real), false) = (real, alone && PROCESS.view().is_some()) {
        // SAFETY: the program's own arguments.
        return with_guest(|| unsafe { real(pid, path, actions, attr, argv, env) });
    }
    // SAFETY: as above.
    let (how, actions) = (unsafe { How::of(attr) }, ours);
    let spawn = Spawn { path, searches, argv, env, how, actions };
    match spawn.run() {
        Ok(child) => {
            if !pid.is_null() {
                // SAFETY: the program's own variable.
                unsafe { *pid = child };
            }
            0
        }
        Err(error) => error.0,
    }
}

/// A file action as libc keeps it (`struct __spawn_action`).
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Action {
    tag: c_int,
    args: Args,
}

#[repr(C)]
#[derive(Clone, Copy)]
union Args {
    fds: [c_int; 2],
    path: *const c_char,
    open: OpenArgs,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct OpenArgs {
    fd: c_int,
    path: *const c_char,
    flags: c_int,
    mode: libc::mode_t,
}

const CLOSE: c_int = 0;
const DUP2: c_int = 1;
const OPEN: c_int = 2;
const CHDIR: c_int = 3;
const FCHDIR: c_int = 4;
const CLOSEFROM: c_int = 5;
const TCSETPGRP: c_int = 6;

impl Action {
    pub(crate) fn dup2(from: c_int, to: c_int) -> Action {
        Action { tag: DUP2, args: Args { fds: [from, to] } }
    }

    pub(crate) fn close(fd: c_int) -> Action {
        Action { tag: CLOSE, args: Args { fds: [fd, 0] } }
    }

    /// Does it, in the child.
    unsafe fn run(&self) -> Result<()> {
        // SAFETY: the tag says which member is there.
        unsafe {
            let [fd, to] = self.args.fds;
            match self.tag {
                CLOSE => match descriptors::shut(fd) {
                    // Only a number that can never be open is an error.
                    Err(error) if fd < 0 || fd as u64 >= limit() => Err(error),
                    _ => Ok(()),
                },
                DUP2 if fd == to => {
                    let flags = sys!(libc::SYS_fcntl, fd, libc::F_GETFD)?;
                    let flags = flags as c_int & !libc::FD_CLOEXEC;
                    sys!(libc::SYS_fcntl, fd, libc::F_SETFD, flags).map(drop)
                }
                DUP2 => descriptors::onto(fd, to, 0).map(drop),
                OPEN => self.args.open.run(),
                CHDIR => done(reveal::chdir(self.args.path)),
                FCHDIR => done(reveal::fchdir(fd)),
                CLOSEFROM => {
                    descriptors::closefrom(fd);
                    Ok(())
                }
                TCSETPGRP => {
                    let group = sys!(libc::SYS_getpgid, 0)? as c_int;
                    sys!(libc::SYS_ioctl, fd, libc::TIOCSPGRP, &raw const group).map(drop)
                }
                _ => Err(Errno::EINVAL),
            }
        }
    }
}

impl OpenArgs {
    unsafe fn run(self) -> Result<()> {
        // posix_spawn(3): the number is closed first.
        let _ = descriptors::shut(self.fd);
        // SAFETY: the program's own name.
        let new = unsafe { open::open_at(libc::AT_FDCWD, self.path, self.flags, self.mode) }?;
        let new = new as c_int;
        if new == self.fd {
            return Ok(());
        }
        descriptors::onto(new, self.fd, 0)?;
        descriptors::shut(new).map(drop)
    }
}

fn limit() -> u64 {
    privns_host::Kernel.descriptor_limit().unwrap_or(1024)
}

fn done(ret: c_int) -> Result<()> {
    // SAFETY: the calling thread's errno.
    (ret == 0).then_some(()).ok_or_else(|| Errno(unsafe { *libc::__errno_location() }))
}

/// File actions, in order.
#[derive(Clone, Copy)]
pub(crate) struct Actions {
    at: *const Action,
    len: usize,
}

impl Actions {
    /// Those of a `posix_spawn_file_actions_t`: how many there is room for,
    /// how many there are, where they are.
    unsafe fn of(actions: *const c_void) -> Actions {
        #[repr(C)]
        struct Kept {
            room: c_int,
            used: c_int,
            at: *const Action,
        }
        if actions.is_null() {
            return Actions::these(&[]);
        }
        // SAFETY: libc's structure, which the program has initialised.
        let kept = unsafe { &*actions.cast::<Kept>() };
        Actions { at: kept.at, len: usize::try_from(kept.used).unwrap_or(0) }
    }

    /// Actions of ours, for as long as they are borrowed.
    pub(crate) fn these(actions: &[Action]) -> Actions {
        Actions { at: actions.as_ptr(), len: actions.len() }
    }

    /// Takes what is ours away from the numbers that the child is to have: it
    /// cannot do so itself, in our memory.
    fn make_room(&self) {
        for action in self.all() {
            // SAFETY: the tag says which member is there.
            let number = unsafe {
                match action.tag {
                    DUP2 => action.args.fds[1],
                    OPEN => action.args.open.fd,
                    _ => continue,
                }
            };
            if descriptors::is_kept(number) && PROCESS.make_room(number).is_ok() {
                // SAFETY: to the program the number is not open.
                let _ = unsafe { sys!(libc::SYS_close, number) };
            }
        }
    }

    fn all(&self) -> &[Action] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: as many as the structure says.
        unsafe { core::slice::from_raw_parts(self.at, self.len) }
    }
}

/// What else the child does before it runs the program.
pub(crate) struct How {
    /// `POSIX_SPAWN_*`.
    flags: c_int,
    group: c_int,
    policy: c_int,
    priority: c_int,
    default: u64,
    mask: u64,
}

impl How {
    /// With these signals not ignored, and this mask.
    pub(crate) fn signals(default: u64, mask: u64) -> How {
        let flags = libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETSIGMASK;
        How { flags, group: 0, policy: 0, priority: 0, default, mask }
    }

    /// As it comes.
    pub(crate) fn plain() -> How {
        How { flags: 0, group: 0, policy: 0, priority: 0, default: 0, mask: 0 }
    }

    unsafe fn of(attr: *const c_void) -> How {
        let mut how = How::plain();
        let attr: *const libc::posix_spawnattr_t = attr.cast();
        if attr.is_null() {
            return how;
        }
        // SAFETY: libc's own accessors, on what the program has initialised;
        // the kernel's signal sets are the first 64 bits of libc's.
        unsafe {
            let (mut flags, mut sets) = (0, [core::mem::zeroed::<libc::sigset_t>(); 2]);
            let mut param = core::mem::zeroed::<libc::sched_param>();
            crate::rare::posix_spawnattr_getflags(attr, &mut flags);
            crate::rare::posix_spawnattr_getpgroup(attr, &mut how.group);
            crate::rare::posix_spawnattr_getschedpolicy(attr, &mut how.policy);
            crate::rare::posix_spawnattr_getschedparam(attr, &mut param);
            crate::rare::posix_spawnattr_getsigdefault(attr, &mut sets[0]);
            crate::rare::posix_spawnattr_getsigmask(attr, &mut sets[1]);
            how.flags = c_int::from(flags);
            how.priority = param.sched_priority;
            [how.default, how.mask] = sets.map(|set| (&raw const set).cast::<u64>().read());
        }
        how
    }

    fn has(&self, flag: c_int) -> bool {
        self.flags & flag != 0
    }

    /// In the child.
    unsafe fn apply(&self) -> Result<()> {
        // SAFETY: numbers, and structures of ours.
        unsafe {
            self.reset_handlers();
            if self.has(libc::POSIX_SPAWN_SETSCHEDULER) {
                sys!(libc::SYS_sched_setscheduler, 0, self.policy, &raw const self.priority)?;
            } else if self.has(libc::POSIX_SPAWN_SETSCHEDPARAM) {
                sys!(libc::SYS_sched_setparam, 0, &raw const self.priority)?;
            }
            if self.has(c_int::from(libc::POSIX_SPAWN_SETSID)) {
                sys!(libc::SYS_setsid)?;
            }
            if self.has(libc::POSIX_SPAWN_SETPGROUP) {
                sys!(libc::SYS_setpgid, 0, self.group)?;
            }
            if self.has(libc::POSIX_SPAWN_RESETIDS) {
                let (uid, gid) = (sys!(libc::SYS_getuid)?, sys!(libc::SYS_getgid)?);
                sys!(libc::SYS_setresgid, -1isize, gid, -1isize)?;
                sys!(libc::SYS_setresuid, -1isize, uid, -1isize)?;
            }
        }
        Ok(())
    }

    /// A handler of the parent's would run in its memory: all are taken off,
    /// as exec would, while no signal can come.
    unsafe fn reset_handlers(&self) {
        for signal in 1..=64u32 {
            let wanted =
                self.has(libc::POSIX_SPAWN_SETSIGDEF) && self.default >> (signal - 1) & 1 != 0;
            // The kernel's struct sigaction: handler, flags, restorer, mask.
            let mut action = [0usize; 4];
            // SAFETY: room for one, and a set of 8 bytes.
            unsafe {
                let asked =
                    sys!(libc::SYS_rt_sigaction, signal, 0usize, action.as_mut_ptr(), 8usize);
                let handler = action[0];
                if asked.is_err() || handler == libc::SIG_DFL {
                    continue;
                }
                if handler != libc::SIG_IGN || wanted {
                    let plain = [0usize; 4];
                    let _ = sys!(libc::SYS_rt_sigaction, signal, plain.as_ptr(), 0usize, 8usize);
                }
            }
        }
    }
}

/// A child to be made.
pub(crate) struct Spawn {
    pub(crate) path: *const c_char,
    /// The name is looked for in PATH.
    pub(crate) searches: bool,
    pub(crate) argv: Strings,
    pub(crate) env: Strings,
    pub(crate) how: How,
    pub(crate) actions: Actions,
}

/// What the child gets, and where it says what went wrong.
struct Shared<'a> {
    spawn: &'a Spawn,
    mask: u64,
    error: c_int,
}

/// The child's stack: our exec needs less than a quarter of it.
const STACK: usize = 128 << 10;

/// Sets the thread's mask and gives the one before.
fn mask(new: u64) -> u64 {
    let mut old = 0u64;
    const SETMASK: c_int = libc::SIG_SETMASK;
    // SAFETY: sets of 8 bytes, as the kernel has them.
    let _ =
        unsafe { sys!(libc::SYS_rt_sigprocmask, SETMASK, &raw const new, &raw mut old, 8usize) };
    old
}

impl Spawn {
    /// Makes the child and waits until it has run its program.
    pub(crate) fn run(&self) -> Result<c_int> {
        type Run = unsafe extern "C" fn(*mut c_void) -> c_int;
        let clone = real!(clone(Run, *mut c_void, c_int, *mut c_void) -> c_int);
        let clone = clone.ok_or(Errno::ENOSYS)?;
        let (prot, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at a place of the kernel's choice.
        let stack =
            unsafe { sys!(libc::SYS_mmap, 0, STACK, prot, flags | libc::MAP_STACK, -1isize, 0) }?;
        // No handler may run in the child, nor see the parent half way.
        let old = mask(u64::MAX);
        let mut shared = Shared { spawn: self, mask: old, error: 0 };
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let top = (stack + STACK) as *mut c_void;
        // SAFETY: the child ends before this frame does (CLONE_VFORK).
        let pid = with_guest(|| unsafe { clone(child, top, flags, (&raw mut shared).cast()) });
        // SAFETY: the calling thread's errno; a child of ours; our own mapping.
        unsafe {
            let failed = if pid < 0 { *libc::__errno_location() } else { shared.error };
            if pid > 0 && failed != 0 {
                let _ = sys!(libc::SYS_wait4, pid, 0usize, 0, 0usize);
            }
            let _ = sys!(libc::SYS_munmap, stack, STACK);
            mask(old);
            if failed == 0 {
                Ok(pid)
            } else {
                Err(Errno(failed))
            }
        }
    }
}

unsafe extern "C" fn child(shared: *mut c_void) -> c_int {
    // SAFETY: the parent's, which waits.
    let shared = unsafe { &mut *shared.cast::<Shared<'_>>() };
    let spawn = shared.spawn;
    // SAFETY: the program's own arguments.
    let failed = unsafe {
        let ready = spawn.how.apply().and_then(|()| {
            let mut actions = spawn.actions.all().iter();
            actions.try_for_each(|action| action.run())
        });
        let set = spawn.how.has(libc::POSIX_SPAWN_SETSIGMASK);
        mask(if set { spawn.how.mask } else { shared.mask });
        match ready {
            Err(error) => error,
            Ok(()) if spawn.searches => search::search(spawn.path, spawn.argv, spawn.env, false),
            Ok(()) => exec_at(libc::AT_FDCWD, spawn.path, spawn.argv, spawn.env, 0)
                .err()
                .unwrap_or(Errno::ENOEXEC),
        }
    };
    shared.error = failed.0;
    set_errno(failed);
    // SAFETY: only this child ends.
    let _ = unsafe { sys!(libc::SYS_exit_group, 127) };
    127
}
