//! Names for temporary files, where libc's inner calls pass us by.

use crate::call::{errno, set_errno, Ret};
use crate::open::open_at;
use crate::real::libcs;
use crate::streams::pointer;
use core::ffi::{c_char, c_int, CStr};
use core::ptr::null_mut;
use privns_abi::{Errno, Result};
use privns_host::{Kernel, Name};

/// The bytes that are replaced.
const XS: &[u8] = b"XXXXXX";
const LETTERS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
/// Names tried before EEXIST, as libc tries (TMP_MAX).
const TRIES: usize = 238_328;

/// The six bytes of a template that are to be filled in.
struct Template(*mut u8);

impl Template {
    /// # Safety
    /// `name` is a C string that may be written.
    unsafe fn new(name: *mut c_char, suffix: c_int) -> Result<Template> {
        // SAFETY: the caller's promise.
        let text = unsafe { CStr::from_ptr(name) }.to_bytes();
        let suffix = usize::try_from(suffix).map_err(|_| Errno::EINVAL)?;
        let at = text.len().checked_sub(suffix + XS.len()).ok_or(Errno::EINVAL)?;
        if text.get(at..at + XS.len()) != Some(XS) {
            return Err(Errno::EINVAL);
        }
        // SAFETY: inside the string.
        Ok(Template(unsafe { name.cast::<u8>().add(at) }))
    }

    fn fill(&self) -> Result<()> {
        let mut n = Kernel.random()?;
        for i in 0..XS.len() {
            // SAFETY: six bytes inside the string.
            unsafe { *self.0.add(i) = LETTERS[(n % LETTERS.len() as u64) as usize] };
            n /= LETTERS.len() as u64;
        }
        Ok(())
    }

    /// Fills in names until `make` finds one that is free.
    fn find<T>(&self, mut make: impl FnMut() -> Result<T>) -> Result<T> {
        for _ in 0..TRIES {
            self.fill()?;
            match make() {
                Err(Errno::EEXIST) => {}
                done => return done,
            }
        }
        Err(Errno::EEXIST)
    }
}

/// mkostemps(3).
///
/// # Safety
/// `name` is a C string that may be written.
pub(crate) unsafe fn make(name: *mut c_char, suffix: c_int, flags: c_int) -> Result<usize> {
    let flags = flags & !libc::O_ACCMODE | libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
    // SAFETY: the caller's promise.
    let template = unsafe { Template::new(name, suffix) }?;
    // SAFETY: as above.
    template.find(|| unsafe { open_at(libc::AT_FDCWD, name, flags, 0o600) })
}

pub(crate) unsafe fn mkstemp(name: *mut c_char) -> c_int {
    libcs!(mkstemp(name: *mut c_char) -> c_int);
    // SAFETY: the program's own argument.
    unsafe { make(name, 0, 0) }.ret()
}

pub(crate) unsafe fn mkostemp(name: *mut c_char, flags: c_int) -> c_int {
    libcs!(mkostemp(name: *mut c_char, flags: c_int) -> c_int);
    // SAFETY: as above.
    unsafe { make(name, 0, flags) }.ret()
}

pub(crate) unsafe fn mkstemps(name: *mut c_char, suffix: c_int) -> c_int {
    libcs!(mkstemps(name: *mut c_char, suffix: c_int) -> c_int);
    // SAFETY: as above.
    unsafe { make(name, suffix, 0) }.ret()
}

pub(crate) unsafe fn mkostemps(name: *mut c_char, suffix: c_int, flags: c_int) -> c_int {
    libcs!(mkostemps(name: *mut c_char, suffix: c_int, flags: c_int) -> c_int);
    // SAFETY: as above.
    unsafe { make(name, suffix, flags) }.ret()
}

pub(crate) unsafe fn mkdtemp(name: *mut c_char) -> *mut c_char {
    libcs!(mkdtemp(name: *mut c_char) -> *mut c_char);
    // SAFETY: as above.
    let done = unsafe { Template::new(name, 0) }.and_then(|template| {
        // SAFETY: as above.
        template.find(|| unsafe { answer(crate::names::mkdir(name, 0o700)) })
    });
    pointer(done.map(|()| name))
}

pub(crate) unsafe fn mktemp(name: *mut c_char) -> *mut c_char {
    libcs!(mktemp(name: *mut c_char) -> *mut c_char);
    // SAFETY: as above.
    unsafe {
        if let Err(error) = Template::new(name, 0).and_then(|template| free(&template, name)) {
            // An empty name says so (mktemp(3)).
            *name = 0;
            set_errno(error);
        }
    }
    name
}

/// Fills in a name that is not there.
///
/// # Safety
/// `name` is a C string that contains the template.
unsafe fn free(template: &Template, name: *const c_char) -> Result<()> {
    template.find(|| {
        let mut st = core::mem::MaybeUninit::uninit();
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        // SAFETY: the caller's name, a buffer of ours.
        match unsafe { crate::stat::stat_at(libc::AT_FDCWD, name, st.as_mut_ptr(), flags) } {
            Ok(_) => Err(Errno::EEXIST),
            Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error),
        }
    })
}

/// The error of a function that answers as C does.
fn answer(done: c_int) -> Result<()> {
    if done < 0 {
        return Err(errno());
    }
    Ok(())
}

/// A free name in `dir` that begins with `prefix`.
fn named(dir: &[u8], prefix: &[u8]) -> Result<Name> {
    let mut name = Name::from(dir)?;
    if dir != b"/" {
        name.push(b"/")?;
    }
    name.push(prefix)?;
    name.push(XS)?;
    let text = name.as_cstr()?.as_ptr().cast_mut();
    // SAFETY: the name's own bytes, which nobody else looks at.
    unsafe { Template::new(text, 0).and_then(|template| free(&template, text)) }?;
    Ok(name)
}

/// `L_tmpnam` (stdio.h).
const L_TMPNAM: usize = 20;

pub(crate) unsafe fn tmpnam(buf: *mut c_char) -> *mut c_char {
    libcs!(tmpnam(buf: *mut c_char) -> *mut c_char);
    static mut OWN: [c_char; L_TMPNAM] = [0; L_TMPNAM];
    // One buffer for all callers, as the manual page has it.
    let to = if buf.is_null() { (&raw mut OWN).cast() } else { buf };
    // SAFETY: at least L_tmpnam bytes.
    unsafe { tmpnam_into(to) }
}

pub(crate) unsafe fn tmpnam_r(buf: *mut c_char) -> *mut c_char {
    libcs!(tmpnam_r(buf: *mut c_char) -> *mut c_char);
    if buf.is_null() {
        return null_mut();
    }
    // SAFETY: as above.
    unsafe { tmpnam_into(buf) }
}

unsafe fn tmpnam_into(to: *mut c_char) -> *mut c_char {
    let Ok(name) = named(b"/tmp", b"file") else { return null_mut() };
    let n = name.as_bytes().len().min(L_TMPNAM - 1);
    // SAFETY: room for L_tmpnam bytes; "/tmp/file" and six more are fewer.
    unsafe {
        core::ptr::copy_nonoverlapping(name.as_bytes().as_ptr(), to.cast(), n);
        *to.add(n) = 0;
    }
    to
}

pub(crate) unsafe fn tempnam(dir: *const c_char, prefix: *const c_char) -> *mut c_char {
    libcs!(tempnam(dir: *const c_char, prefix: *const c_char) -> *mut c_char);
    // SAFETY: C strings or null; the environment is the program's.
    let name = unsafe {
        let prefix = if prefix.is_null() { c"file" } else { CStr::from_ptr(prefix) }.to_bytes();
        let asked = crate::lazy::getenv(c"TMPDIR".as_ptr());
        let dir = [asked.cast_const(), dir, c"/tmp".as_ptr()].into_iter().find(|&d| is_dir(d));
        let dir = dir.map(|dir| CStr::from_ptr(dir).to_bytes()).ok_or(Errno::ENOENT);
        dir.and_then(|dir| named(dir, &prefix[..prefix.len().min(5)]))
    };
    pointer(name.and_then(|name| crate::canonical::give(name.as_bytes())))
}

/// # Safety
/// Null or a C string.
unsafe fn is_dir(dir: *const c_char) -> bool {
    let mut st = core::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: a buffer of ours, filled when the call says so.
    !dir.is_null()
        && unsafe {
            crate::stat::stat_at(libc::AT_FDCWD, dir, st.as_mut_ptr(), 0).is_ok()
                && st.assume_init().st_mode & libc::S_IFMT == libc::S_IFDIR
        }
}
