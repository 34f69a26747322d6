//! How a process comes into its family: the constructor, which runs before any
//! other library's, while there is one thread.

use crate::handover::Settings;
use crate::PROCESS;
use core::ffi::{c_char, c_int, CStr};
use core::sync::atomic::{AtomicPtr, Ordering};
use privns_abi::{Errno, Result};
use privns_host::sys;
use privns_namespace::family::{Family, Inherited};

#[used]
#[unsafe(link_section = ".init_array")]
static START: unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char) = start;

/// The environment that the process was started with: libc's own `environ` is
/// not set yet when our constructor runs.
pub(crate) struct Environment(*const *const c_char);

impl Environment {
    /// The value of a variable.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&'static CStr> {
        let mut at = self.0;
        // SAFETY: an array of strings that ends with null, the program's for
        // all of its life.
        unsafe {
            while !at.is_null() && !(*at).is_null() {
                let text = CStr::from_ptr(*at);
                let value = text.to_bytes().strip_prefix(name).and_then(|v| v.strip_prefix(b"="));
                if value.is_some() {
                    return Some(CStr::from_ptr((*at).add(name.len() + 1)));
                }
                at = at.add(1);
            }
        }
        None
    }
}

unsafe extern "C" fn start(_argc: c_int, _argv: *const *const c_char, env: *const *const c_char) {
    let env = Environment(env);
    find_threads();
    let Some(handed) = env.get(b"PRIVNS") else { return };
    match join(handed.to_bytes()) {
        Ok(()) => {}
        Err(Errno::EPERM) => {
            // After su: the family is another user's, and so is not ours.
            complain(b"privns: the namespace belongs to another user: the host's is used\n");
            return;
        }
        Err(error) => {
            complain(b"privns: the family's table cannot be used: ");
            complain(error.message().as_bytes());
            complain(b" (PRIVNS in the environment names it; unset it to run without)\n");
            // SAFETY: the program has not begun: it is never run in the wrong
            // namespace.
            let _ = unsafe { sys!(libc::SYS_exit_group, 125) };
            return;
        }
    }
    // Without our own name exec hands on what it was given.
    let _ = Settings::learn(&env);
    if let Some(sink) = env.get(b"PRIVNS_TRACE") {
        crate::trace::start(sink.to_bytes());
    }
    if env.get(b"PRIVNS_NAMES").is_some_and(|v| v.to_bytes() == b"exact") {
        PROCESS.exact.store(true, Ordering::Relaxed);
    }
    let symbols = env.get(b"PRIVNS_INTERCEPT").is_some_and(|v| v.to_bytes() == b"symbols");
    let patched = PROCESS.view().filter(|_| !symbols).is_some_and(|view| {
        // SAFETY: one thread, and it is in our constructor.
        unsafe { crate::patch::patch(crate::table::ROWS, view.family) }.is_ok()
    });
    if !patched {
        crate::real::set_alone();
    }
    // SAFETY: the handlers are ours and stay loaded.
    unsafe { libc::pthread_atfork(None, None, Some(forked)) };
}

fn join(handed: &[u8]) -> Result<()> {
    let inherited = Inherited::parse(handed).ok_or(Errno::EINVAL)?;
    let family = Family::attach(inherited.fd)?;
    if family.id() != inherited.id {
        return Err(Errno::ESTALE);
    }
    PROCESS.join(family);
    if let Some(view) = PROCESS.view() {
        crate::handover::take(view, &inherited)?;
    }
    Ok(())
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

/// glibc's `__libc_single_threaded` (2.32 and later).
static SINGLE: AtomicPtr<c_char> = AtomicPtr::new(core::ptr::null_mut());

fn find_threads() {
    // SAFETY: a lookup by name; null where there is none.
    let at = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__libc_single_threaded".as_ptr()) };
    SINGLE.store(at.cast(), Ordering::Relaxed);
}

/// Whether the process has only ever had one thread; false where libc does not
/// say.
#[inline]
pub(crate) fn single_threaded() -> bool {
    let at = SINGLE.load(Ordering::Relaxed);
    // SAFETY: libc's own variable, for the life of the process.
    !at.is_null() && unsafe { at.read_volatile() } != 0
}
