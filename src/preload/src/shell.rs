//! The calls that run the shell: system, popen, wordexp. Libc's own do where
//! its entries are patched; else they would run the host's `/bin/sh`.

use crate::call::set_errno;
use crate::real::{alone, real};
use crate::search::environment;
use crate::spawn::{with_guest, Action, Actions, How, Spawn};
use crate::{rare, PROCESS};
use core::ffi::{c_char, c_int, c_void, CStr};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};
use privns_abi::{Errno, Result};
use privns_host::sys;

fn ours() -> bool {
    alone() && PROCESS.view().is_some()
}

/// Runs `sh -c command`.
fn shell(command: *const c_char, how: How, actions: &[Action]) -> Result<c_int> {
    let argv = [c"sh".as_ptr(), c"-c".as_ptr(), command, core::ptr::null()];
    let spawn = Spawn {
        path: c"/bin/sh".as_ptr(),
        searches: false,
        argv: argv.as_ptr(),
        env: environment(),
        how,
        actions: Actions::these(actions),
    };
    spawn.run()
}

/// Waits for a child, whatever signals come.
fn wait(pid: c_int) -> Result<c_int> {
    let mut status = 0;
    loop {
        // SAFETY: the kernel writes one int.
        match unsafe { sys!(libc::SYS_wait4, pid, &raw mut status, 0, 0usize) } {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(status),
        }
    }
}

pub(crate) unsafe fn system(command: *const c_char) -> c_int {
    if let (Some(real), false) = (real!(system(*const c_char) -> c_int), ours()) {
        // SAFETY: the program's own argument.
        return with_guest(|| unsafe { real(command) });
    }
    if command.is_null() {
        // SAFETY: a command of ours.
        return c_int::from(unsafe { system(c"exit 0".as_ptr()) } == 0);
    }
    match run(command) {
        Ok(status) => status,
        Err(error) => {
            set_errno(error);
            -1
        }
    }
}

/// Threads inside `run`, and the actions that the last one puts back.
struct Ignored {
    busy: AtomicBool,
    state: core::cell::UnsafeCell<(u32, [libc::sigaction; 2])>,
}

// SAFETY: used only by whoever has set `busy`.
unsafe impl Sync for Ignored {}

static IGNORED: Ignored = Ignored {
    busy: AtomicBool::new(false),
    // SAFETY: plain data, for which zeros are a value.
    state: core::cell::UnsafeCell::new((0, unsafe { core::mem::zeroed() })),
};

const SIGNALS: [c_int; 2] = [libc::SIGINT, libc::SIGQUIT];

impl Ignored {
    fn with<R>(&self, f: impl FnOnce(&mut (u32, [libc::sigaction; 2])) -> R) -> R {
        while self.busy.swap(true, Ordering::Acquire) {
            privns_host::Kernel.yield_now();
        }
        // SAFETY: `busy` is ours. system(3) is not for signal handlers.
        let done = f(unsafe { &mut *self.state.get() });
        self.busy.store(false, Ordering::Release);
        done
    }

    /// Ignores SIGINT and SIGQUIT. Gives those that the child is to have as
    /// they are by default.
    fn enter(&self) -> u64 {
        self.with(|(threads, old)| {
            for (signal, old) in SIGNALS.into_iter().zip(&mut *old).filter(|_| *threads == 0) {
                // SAFETY: structures of ours.
                unsafe {
                    let mut ignore: libc::sigaction = core::mem::zeroed();
                    ignore.sa_sigaction = libc::SIG_IGN;
                    rare::sigaction(signal, &ignore, old);
                }
            }
            *threads += 1;
            let heard = SIGNALS.into_iter().zip(&*old);
            let heard = heard.filter(|(_, old)| old.sa_sigaction != libc::SIG_IGN);
            heard.fold(0, |set, (signal, _)| set | 1 << (signal - 1))
        })
    }

    fn leave(&self) {
        self.with(|(threads, old)| {
            *threads -= 1;
            if *threads == 0 {
                for (signal, old) in SIGNALS.into_iter().zip(&*old) {
                    // SAFETY: what the program had.
                    unsafe { rare::sigaction(signal, old, null_mut()) };
                }
            }
        });
    }
}

/// system(3): SIGINT and SIGQUIT are ignored and SIGCHLD blocked meanwhile.
fn run(command: *const c_char) -> Result<c_int> {
    let default = IGNORED.enter();
    let (block, mut old) = (1u64 << (libc::SIGCHLD - 1), 0u64);
    // SAFETY: sets of 8 bytes, as the kernel has them.
    let _ = unsafe {
        sys!(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const block, &raw mut old, 8usize)
    };
    let status = match shell(command, How::signals(default, old), &[]) {
        Ok(pid) => wait_cancellable(Waited { pid, signals: old }),
        // As if the shell had said so (system(3)).
        Err(_) => Ok(127 << 8),
    };
    restore_signals(old);
    status
}

fn restore_signals(old: u64) {
    IGNORED.leave();
    // SAFETY: a set of 8 bytes, as the kernel has it.
    let _ = unsafe {
        sys!(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const old, 0usize, 8usize)
    };
}

/// What system(3) leaves to be done when its thread is cancelled meanwhile.
struct Waited {
    pid: c_int,
    signals: u64,
}

/// libc's record of a clean-up handler (`struct _pthread_cleanup_buffer`).
#[repr(C)]
struct Cleanup {
    routine: usize,
    argument: usize,
    kind: c_int,
    previous: usize,
}

/// Ends the child, as libc does (system(3) is a cancellation point).
unsafe extern "C" fn give_up(waited: *mut c_void) {
    // SAFETY: `wait_cancellable`'s, which is still on the stack.
    let Waited { pid, signals } = unsafe { waited.cast::<Waited>().read() };
    // SAFETY: a child of ours that nobody else waits for.
    let _ = unsafe { sys!(libc::SYS_kill, pid, libc::SIGKILL) };
    let _ = wait(pid);
    restore_signals(signals);
}

fn wait_cancellable(mut waited: Waited) -> Result<c_int> {
    let mut record = Cleanup { routine: 0, argument: 0, kind: 0, previous: 0 };
    let mut status = 0;
    let pid = waited.pid;
    // SAFETY: both stay where they are until the record is taken back.
    unsafe {
        let record = (&raw mut record).cast();
        rare::_pthread_cleanup_push(record, give_up, (&raw mut waited).cast());
    }
    let done = loop {
        let done = crate::call::cancellable(true, || {
            // SAFETY: the kernel writes one int.
            unsafe { sys!(libc::SYS_wait4, pid, &raw mut status, 0, 0usize) }
        });
        if done != Err(Errno::EINTR) {
            break done;
        }
    };
    // SAFETY: as above; not run.
    unsafe { rare::_pthread_cleanup_pop((&raw mut record).cast(), 0) };
    done.map(|_| status)
}

/// Streams that popen has made and pclose has not yet closed.
struct Pipes {
    busy: AtomicBool,
    all: core::cell::UnsafeCell<Vec<Pipe>>,
}

struct Pipe {
    stream: *mut libc::FILE,
    pid: c_int,
    fd: c_int,
}

// SAFETY: used only by whoever has set `busy`.
unsafe impl Sync for Pipes {}

static PIPES: Pipes =
    Pipes { busy: AtomicBool::new(false), all: core::cell::UnsafeCell::new(Vec::new()) };

impl Pipes {
    fn with<R>(&self, f: impl FnOnce(&mut Vec<Pipe>) -> R) -> R {
        while self.busy.swap(true, Ordering::Acquire) {
            privns_host::Kernel.yield_now();
        }
        // SAFETY: `busy` is ours. popen(3) is not for signal handlers.
        let done = f(unsafe { &mut *self.all.get() });
        self.busy.store(false, Ordering::Release);
        done
    }
}

pub(crate) unsafe fn popen(command: *const c_char, mode: *const c_char) -> *mut c_void {
    let real = real!(popen(*const c_char, *const c_char) -> *mut c_void);
    if let (Some(real), false) = (real, ours()) {
        // SAFETY: the program's own arguments.
        return with_guest(|| unsafe { real(command, mode) });
    }
    // SAFETY: as above.
    match unsafe { open(command, mode) } {
        Ok(stream) => stream.cast(),
        Err(error) => {
            set_errno(error);
            null_mut()
        }
    }
}

unsafe fn open(command: *const c_char, mode: *const c_char) -> Result<*mut libc::FILE> {
    // SAFETY: the program says that it is a string.
    let letters = unsafe { CStr::from_ptr(mode) }.to_bytes();
    let has = |letter: u8| letters.contains(&letter);
    if letters.iter().any(|l| !b"rwe".contains(l)) || has(b'r') == has(b'w') {
        return Err(Errno::EINVAL);
    }
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two ints.
    unsafe { sys!(libc::SYS_pipe2, ends.as_mut_ptr(), libc::O_CLOEXEC) }?;
    let (keep, give, to) = if has(b'r') { (ends[0], ends[1], 1) } else { (ends[1], ends[0], 0) };
    let close = |fd: c_int| {
        let _ = crate::descriptors::shut(fd);
    };
    // SAFETY: a descriptor of ours, and a mode that fdopen(3) knows.
    let stream = unsafe { rare::fdopen(keep, if has(b'r') { c"r" } else { c"w" }.as_ptr()) };
    if stream.is_null() {
        ends.into_iter().for_each(close);
        return Err(Errno::ENOMEM);
    }
    let mut actions: Vec<Action> =
        PIPES.with(|all| all.iter().map(|p| Action::close(p.fd)).collect());
    actions.push(Action::dup2(give, to));
    let made = shell(command, How::plain(), &actions);
    close(give);
    match made {
        Ok(pid) => {
            if !has(b'e') {
                let _ = privns_host::Kernel.set_cloexec(keep, false);
            }
            PIPES.with(|all| all.push(Pipe { stream, pid, fd: keep }));
            Ok(stream)
        }
        Err(error) => {
            // SAFETY: a stream of ours.
            unsafe { rare::fclose(stream) };
            Err(error)
        }
    }
}

pub(crate) unsafe fn pclose(stream: *mut c_void) -> c_int {
    let ours = PIPES.with(|all| {
        let at = all.iter().position(|pipe| pipe.stream.cast() == stream)?;
        Some(all.swap_remove(at))
    });
    let Some(pipe) = ours else {
        return match real!(pclose(*mut c_void) -> c_int) {
            // SAFETY: a stream of libc's popen.
            Some(real) => unsafe { real(stream) },
            None => -1,
        };
    };
    // SAFETY: a stream of our popen.
    unsafe { rare::fclose(pipe.stream) };
    match wait(pipe.pid) {
        Ok(status) => status,
        Err(error) => {
            set_errno(error);
            -1
        }
    }
}

pub(crate) unsafe fn wordexp(words: *const c_char, out: *mut c_void, flags: c_int) -> c_int {
    match real!(wordexp(*const c_char, *mut c_void, c_int) -> c_int) {
        // SAFETY: the program's own arguments.
        Some(real) => with_guest(|| unsafe { real(words, out, flags) }),
        None => {
            set_errno(Errno::ENOSYS);
            // WRDE_NOSPACE
            1
        }
    }
}
