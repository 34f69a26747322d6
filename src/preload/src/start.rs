//! How a process comes into its family: the constructor, which runs before any
//! other library's, while there is one thread.

use crate::handover::{self, Settings};
use crate::log::{self, Level};
use crate::strings::{begins, Next};
use crate::PROCESS;
use core::ffi::{c_char, c_int, CStr};
use core::sync::atomic::Ordering;
use privns_abi::{Errno, Result};
use privns_files::process::View;
use privns_host::{sys, Kernel, Name};
use privns_namespace::family::{Family, Inherited};

#[used]
#[unsafe(link_section = ".init_array")]
static START: unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char) = start;

/// The environment that the process was started with: libc's own `environ` is
/// not set yet when our constructor runs.
pub(crate) struct Environment(*const *const c_char);

impl Environment {
    /// Without the library, for a program that is not to run under it.
    ///
    /// # Errors
    /// ENOMEM.
    pub(crate) fn without_library(&self, library: &[u8]) -> Result<Next> {
        // SAFETY: an array of strings that ends with null.
        unsafe { handover::without(self.0, library) }
    }

    /// The value of a variable.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&'static CStr> {
        let mut at = self.0;
        // SAFETY: an array of strings that ends with null, the program's for
        // all of its life.
        unsafe {
            while !at.is_null() && !(*at).is_null() {
                if begins(*at, name) && *(*at).add(name.len()) == b'=' as c_char {
                    return Some(CStr::from_ptr((*at).add(name.len() + 1)));
                }
                at = at.add(1);
            }
        }
        None
    }
}

unsafe extern "C" fn start(argc: c_int, argv: *const *const c_char, env: *const *const c_char) {
    let env = Environment(env);
    // SAFETY: what the process was started with.
    let build = |inherited: Option<&Inherited<'_>>| unsafe { build(argc, argv, &env, inherited) };
    let Some(handed) = env.get(b"PRIVNS") else { return build(None) };
    if handed == c"-" {
        return;
    }
    let inherited = Inherited::parse(handed.to_bytes());
    let owner = inherited.as_ref().and_then(Inherited::image).map(|(_, uid)| uid);
    let others = owner.is_some_and(|uid| uid != Kernel.geteuid());
    let joined =
        inherited.as_ref().ok_or(Errno::EINVAL).and_then(|inherited| join(inherited, &env));
    let modules = match joined {
        Ok(modules) => modules,
        // The family is not to be found: this is another machine, say, or it
        // has ended. Its image has come along.
        Err(Errno::ESRCH) if owner.is_some() && !others && env.get(b"PRIVNS_IMAGE").is_some() => {
            return build(inherited.as_ref());
        }
        Err(error) if error == Errno::EPERM || error == Errno::ESRCH && others => {
            // After su: the family is another user's, and so is not ours.
            complain(b"privns: the namespace belongs to another user: the host's is used\n");
            // SAFETY: our environment, before any other library's constructor.
            unsafe { handover::decline(env.0) };
            return;
        }
        Err(error) => {
            complain(b"privns: the family's table cannot be used: ");
            complain(error.message().as_bytes());
            complain(b" (PRIVNS in the environment names it; unset it to run without)\n");
            stop();
            return;
        }
    };
    // SAFETY: our environment, before any other library's constructor.
    unsafe { handover::show_own(env.0) };
    if let Some(path) = env.get(b"LD_LIBRARY_PATH") {
        crate::loader::starts_with(path);
    }
    // Without our own name exec hands on what it was given.
    let _ = Settings::learn(&env);
    if let Some(value) = env.get(b"PRIVNS_LOG") {
        log::start(value.to_bytes());
    }
    if let Some(sink) = env.get(b"PRIVNS_TRACE") {
        crate::trace::start(sink.to_bytes());
    }
    if env.get(b"PRIVNS_NAMES").is_some_and(|v| v.to_bytes() == b"exact") {
        PROCESS.exact.store(true, Ordering::Relaxed);
    }
    if env.get(b"LD_PRELOAD").is_some_and(|libraries| is_simulated(libraries.to_bytes())) {
        PROCESS.no_openat2.store(true, Ordering::Relaxed);
    }
    let symbols = env.get(b"PRIVNS_INTERCEPT").is_some_and(|v| v.to_bytes() == b"symbols");
    // Reading the table tells whether there is a server in it; most have none.
    let served = |view: View<'_>| view.family.had_servers() && view.table().is_ok();
    let remote = PROCESS.view().is_some_and(served) && PROCESS.met();
    let patched = PROCESS.view().filter(|_| !symbols).is_some_and(|view| {
        // SAFETY: one thread, and it is in our constructor.
        unsafe { crate::patch::patch(view.family, remote) }.is_ok()
    });
    if !patched {
        crate::real::set_alone();
    } else {
        if remote {
            crate::jumps::not_needed();
        }
        if modules {
            crate::modules::stand_in_front();
        }
        if let Some(view) = PROCESS.view() {
            // SAFETY: as above.
            unsafe { crate::direct::take(view.family) };
        }
    }
    if let Some(view) = PROCESS.view() {
        // SAFETY: our environment, before any other library's constructor.
        unsafe { handover::take_files(view, env.0) };
    }
    say_hello(patched, symbols);
    // SAFETY: the handlers are ours and stay loaded.
    unsafe { libc::pthread_atfork(Some(forking), Some(fork_ended), Some(forked)) };
}

/// Whether this runs under Valgrind, of which many versions know no openat2(2)
/// and say so, at length, on the program's standard error.
fn is_simulated(preload: &[u8]) -> bool {
    const CORE: &[u8] = b"/vgpreload_core";
    preload.windows(CORE.len()).any(|piece| piece == CORE)
}

fn say_hello(patched: bool, symbols: bool) {
    if !log::hears(Level::Error) {
        return;
    }
    let mut name = Name::new();
    let _ = Kernel.readlinkat(libc::AT_FDCWD, c"/proc/self/exe", &mut name);
    let how: &[u8] = if patched { b"libc's entries" } else { b"exported symbols" };
    log::say(Level::Debug, &[b"serves ", name.as_bytes(), b" by ", how]);
    if !patched && !symbols {
        log::say(
            Level::Error,
            &[b"libc's text cannot be written: what it does inside is the host's"],
        );
    }
}

/// Ends the program before it has begun: it is never run in the wrong
/// namespace.
fn stop() {
    // SAFETY: the process ends.
    let _ = unsafe { sys!(libc::SYS_exit_group, 125) };
}

/// Goes through `ns-exec` where there is a namespace to be had, and returns
/// where there is none.
///
/// # Safety
/// `argv` and `env` are what the process was started with.
unsafe fn build(
    argc: c_int,
    argv: *const *const c_char,
    env: &Environment,
    inherited: Option<&Inherited<'_>>,
) {
    // SAFETY: the caller's.
    if let Err(error) = unsafe { crate::by_hand::enter(argc, argv, env, inherited) } {
        complain(b"privns: the namespace cannot be built: ns-exec: ");
        complain(error.message().as_bytes());
        complain(b" (it belongs beside the library, or in ../bin)\n");
        stop();
    }
}

/// Comes into the family; says whether modules of libc's may lie elsewhere.
fn join(inherited: &Inherited<'_>, env: &Environment) -> Result<bool> {
    let family = match Family::attach(inherited.fd) {
        Ok(family) if family.id() == inherited.id => family,
        Err(error @ (Errno::EPERM | Errno::EPROTO)) => return Err(error),
        // Closed by a program that asked the kernel itself, and perhaps
        // another file's number now.
        _ => crate::lost::find(inherited, env)?,
    };
    PROCESS.join(family);
    match PROCESS.view() {
        Some(view) => crate::handover::take(view, inherited),
        None => Ok(false),
    }
}

unsafe extern "C" fn forking() {
    PROCESS.forking();
}

unsafe extern "C" fn fork_ended() {
    PROCESS.fork_ended();
}

unsafe extern "C" fn forked() {
    PROCESS.forked();
}

/// One line for the person: only where the program would else run in a
/// namespace that it did not ask for.
fn complain(text: &[u8]) {
    // SAFETY: text of ours.
    let _ = unsafe { sys!(libc::SYS_write, 2, text.as_ptr(), text.len()) };
}

/// Where glibc's `__libc_single_threaded` is (2.32 and later); null without.
/// Bound by the loader, which is there already: a look-up of our own would
/// cost each exec a microsecond.
#[inline(always)]
fn threads() -> *const c_char {
    let at;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads our own table of addresses.
    unsafe {
        core::arch::asm!(
            ".weak __libc_single_threaded",
            "mov {}, qword ptr [rip + __libc_single_threaded@GOTPCREL]",
            out(reg) at, options(nostack, readonly, preserves_flags, pure));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!(
            ".weak __libc_single_threaded",
            "adrp {0}, :got:__libc_single_threaded",
            "ldr {0}, [{0}, :got_lo12:__libc_single_threaded]",
            out(reg) at, options(nostack, readonly, preserves_flags, pure));
    }
    at
}

/// Whether the process has only ever had one thread; false where libc does not
/// say.
#[inline]
pub(crate) fn single_threaded() -> bool {
    let at = threads();
    // SAFETY: libc's own variable, for the life of the process.
    !at.is_null() && unsafe { at.read_volatile() } != 0
}
