//! A program started by hand with the library in LD_PRELOAD: when there is a
//! namespace to be had, `ns-exec` is run in the program's place, builds it, and
//! runs the program again. That takes what a constructor must not do.
//!
//! A program that a launcher has brought here from another machine is such a
//! one too. All that come here with the same image join one family: what a
//! namespace makes private is private to them together, as it was at home.

use crate::handover::library;
use crate::start::Environment;
use crate::strings::Block;
use core::ffi::{c_char, c_int, CStr};
use privns_abi::path::parent;
use privns_abi::{Errno, Result};
use privns_host::{sys, Host, Kernel, Name};
use privns_namespace::family::Inherited;

/// Where a namespace may stand.
enum Source {
    /// A dump: text of its own, or the name of a file.
    Image(&'static [u8]),
    /// A namespace file.
    File(Name),
}

/// The first namespace that there is, in the order of the manual page.
fn source(env: &Environment) -> Result<Option<Source>> {
    if let Some(image) = env.get(b"PRIVNS_IMAGE") {
        let image = image.to_bytes();
        return Ok(Some(Source::Image(image.strip_prefix(b"@").unwrap_or(image))));
    }
    if let Some(file) = env.get(b"PRIVNS_NAMESPACE") {
        return Ok(Some(Source::File(Name::from(file.to_bytes())?)));
    }
    let mut own = Name::new();
    // An empty variable counts as none (XDG Base Directory Specification).
    match (env.get(b"XDG_CONFIG_HOME"), env.get(b"HOME")) {
        (Some(dir), _) if dir.to_bytes().first() == Some(&b'/') => own.push(dir.to_bytes())?,
        (_, Some(home)) if !home.is_empty() => {
            own.push(home.to_bytes())?;
            own.push(b"/.config")?;
        }
        _ => {}
    }
    own.push(b"/privns/namespace")?;
    for mut file in [own, Name::from(b"/etc/privns/namespace")?] {
        if Kernel.stat(file.as_cstr()?).is_ok() {
            return Ok(Some(Source::File(file)));
        }
    }
    Ok(None)
}

/// Goes through `ns-exec` if there is a namespace; returns when there is none.
///
/// # Errors
/// There is one and it cannot be had: the program must not run.
///
/// # Safety
/// `argv` and `env` are what the process was started with.
pub(crate) unsafe fn enter(
    argc: c_int,
    argv: *const *const c_char,
    env: &Environment,
    inherited: Option<&Inherited<'_>>,
) -> Result<()> {
    let Some(source) = source(env)? else { return Ok(()) };
    let family = inherited.and_then(Inherited::name_elsewhere);
    let family = family.as_deref().or_else(|| env.get(b"PRIVNS_FAMILY").map(CStr::to_bytes));
    let family = family.unwrap_or_default();
    let library = library()?;
    let (option, value): (&CStr, &[u8]) = match &source {
        Source::Image(image) => (c"--restore", image),
        Source::File(file) => (c"-n", file.as_bytes()),
    };
    let mut program = Name::new();
    Kernel.readlink(c"/proc/self/exe", &mut program)?;
    let given = usize::try_from(argc).unwrap_or(0);
    // SAFETY: as many as argc says.
    let argument = |at: usize| unsafe { *argv.add(at) };
    let first = if given == 0 { c"".as_ptr() } else { argument(0) };
    let mut launcher = launcher(&library)?;
    let len = [value, family, program.as_bytes(), launcher.as_bytes()];
    let len = len.iter().map(|text| text.len() + 1).sum();
    let mut words = Block::new(given + 11, len)?;
    words.text(&[launcher.as_bytes()]);
    words.word(c"--by-hand".as_ptr());
    words.word(c"--argv0".as_ptr());
    words.word(first);
    words.word(option.as_ptr());
    words.text(&[value]);
    if !family.is_empty() {
        words.word(c"--join-or-create".as_ptr());
        words.text(&[family]);
    }
    words.word(c"--".as_ptr());
    words.text(&[program.as_bytes()]);
    (1..given).for_each(|at| words.word(argument(at)));
    let (words, env) = (words.finish(), env.without_library(library.as_bytes())?);
    let path = launcher.as_cstr()?.as_ptr();
    // SAFETY: strings and arrays of ours.
    unsafe { sys!(libc::SYS_execve, path, words.as_ptr(), env.as_ptr()) }.map(drop)
}

/// `ns-exec`: beside the library, or where an installation has it.
fn launcher(library: &Name) -> Result<Name> {
    let dir = parent(library.as_bytes());
    let up = parent(dir);
    let places: [(&[u8], &[u8]); 3] =
        [(dir, b"/ns-exec"), (parent(up), b"/bin/ns-exec"), (up, b"/bin/ns-exec")];
    for (dir, rest) in places {
        let mut name = Name::from(dir)?;
        name.push(rest)?;
        if Kernel.stat(name.as_cstr()?).is_ok() {
            return Ok(name);
        }
    }
    Err(Errno::ENOENT)
}
