//! exec: the program is found in the namespace, the library and the family's
//! table go with it, and what cannot be served is known before it runs.
//!
//! A script's interpreter is the kernel's to find, which knows nothing of the
//! namespace: where that makes a difference, we run the interpreter ourselves,
//! with the arguments that the kernel would have given it.

mod find;
mod go;

use find::Found;
use go::Go;

use crate::arguments::{by_loader, name_of, ByHand, Chain};
use crate::call::{Does, Named, Ret};
use crate::handover::{self, Wanted};
use crate::log::{self, Level};
use crate::names::is_empty;
use crate::nowhere::is_no_name;
use crate::watch;
use crate::PROCESS;
use core::ffi::{c_char, c_int, CStr};
use core::sync::atomic::Ordering;
use privns_abi::{path, Errno, Result};
use privns_files::libraries::{Asked, Libraries, Missing};
use privns_files::process::View;
use privns_files::remote::copies::Program;
use privns_files::Target;
use privns_host::{sys, Kernel, Name};
use privns_namespace::family::{Counter, Flag};
use privns_namespace::program::{Elf, Header};
use privns_namespace::resolve::{self, Last};

/// An array of C strings that ends with null.
pub(crate) type Strings = *const *const c_char;

pub(crate) unsafe fn execve(path: *const c_char, argv: Strings, env: Strings) -> c_int {
    // SAFETY: passed on.
    unsafe { exec_at(libc::AT_FDCWD, path, argv, env, 0) }.ret()
}

pub(crate) unsafe fn execveat(
    dirfd: c_int,
    path: *const c_char,
    argv: Strings,
    env: Strings,
    flags: c_int,
) -> c_int {
    // SAFETY: passed on.
    unsafe { exec_at(dirfd, path, argv, env, flags) }.ret()
}

pub(crate) unsafe fn fexecve(fd: c_int, argv: Strings, env: Strings) -> c_int {
    if fd < 0 || argv.is_null() || env.is_null() {
        return Err(Errno::EINVAL).ret();
    }
    // SAFETY: passed on.
    unsafe { exec_at(fd, c"".as_ptr(), argv, env, libc::AT_EMPTY_PATH) }.ret()
}

/// execveat(2) in the namespace. Returns only when it has failed.
///
/// # Safety
/// `path` is a C string, null, or what only the kernel can say EFAULT to; the
/// arrays are null or as exec takes them.
pub(crate) unsafe fn exec_at(
    dirfd: c_int,
    path: *const c_char,
    argv: Strings,
    env: Strings,
    flags: c_int,
) -> Result<usize> {
    let named = Named::flags(dirfd, path, flags, Does::Read);
    match PROCESS.view() {
        // SAFETY: not null, and the program says that it is a string.
        Some(view) if !is_no_name(path) => unsafe {
            Exec::new(view, named, argv, env, flags).run()
        },
        // SAFETY: the program's own arguments.
        _ => unsafe { enter(dirfd, path, argv, env, flags) },
    }
}

/// The system call.
unsafe fn enter(
    dirfd: c_int,
    path: *const c_char,
    argv: Strings,
    env: Strings,
    flags: c_int,
) -> Result<usize> {
    crate::trace::leaving("execve");
    // SAFETY: the caller's arguments.
    unsafe {
        if dirfd == libc::AT_FDCWD && flags == 0 {
            sys!(libc::SYS_execve, path, argv, env)
        } else {
            sys!(libc::SYS_execveat, dirfd, path, argv, env, flags)
        }
    }
}

/// One call of exec.
struct Exec<'a> {
    view: View<'a>,
    named: Named,
    argv: Strings,
    env: Strings,
    flags: c_int,
    /// Where what is being looked at lies.
    to: Target,
    /// What a server has of it.
    remote: Option<Program>,
    /// It is not the kernel that runs it.
    by_hand: Option<ByHand>,
}

impl<'a> Exec<'a> {
    fn new(view: View<'a>, named: Named, argv: Strings, env: Strings, flags: c_int) -> Self {
        Exec { view, named, argv, env, flags, to: Target::new(), remote: None, by_hand: None }
    }

    unsafe fn run(&mut self) -> Result<usize> {
        let mut chain = Chain::default();
        let by_fd = self.flags & libc::AT_EMPTY_PATH != 0 && is_empty(self.named.path);
        // SAFETY: the caller's name.
        let mut found = unsafe {
            if by_fd {
                self.open_at_fd()
            } else {
                self.find(self.named)
            }
        }?;
        // SAFETY: the program's own name and array.
        if let Some(done) = unsafe { self.run_by_hand(&found) } {
            return done;
        }
        while let Header::Script(script) = &found.header {
            let (name, by_fd) = match chain.depth {
                0 => (self.named, by_fd),
                _ => (chain.interpreter(), false),
            };
            self.may_run(&name, by_fd)?;
            if by_fd && !handover::stays(self.named.dirfd) {
                // The interpreter could not open it (execveat(2)).
                return Err(Errno::ENOENT);
            }
            // SAFETY: C strings of the program's or ours.
            chain.differs |= unsafe { self.differs(&name, &found) };
            chain.add(script)?;
            // SAFETY: as above.
            found = unsafe { self.find(chain.interpreter()) }?;
            if matches!(found.header, Header::Script(_)) {
                continue;
            }
            // SAFETY: as above.
            chain.differs |= unsafe { self.differs(&chain.interpreter(), &found) };
        }
        self.judge(&found)?;
        // SAFETY: the program's own arrays.
        unsafe { self.start(&chain, &found) }
    }

    /// Runs the program that a loader is to run, if that is what has been found
    /// and there is one that it can be told of better than it has been.
    ///
    /// # Safety
    /// Name and array are what exec was given.
    unsafe fn run_by_hand(&self, found: &Found) -> Option<Result<usize>> {
        // SAFETY: the caller's name.
        let given = unsafe { name_of(&self.named) };
        let name = if self.to.as_given { given } else { self.to.name.as_bytes() };
        let is_loader = matches!(&found.header, Header::Elf(elf) if elf.loader().is_none())
            && privns_namespace::program::is_loader(name);
        if !is_loader || self.flags != 0 || given.is_empty() {
            return None;
        }
        // SAFETY: the caller's array.
        unsafe { self.run_by_loader(name) }
    }

    /// The rest of it: by itself, for the room on the stack that it takes.
    ///
    /// # Safety
    /// As [`Exec::run_by_hand`].
    #[cold]
    #[inline(never)]
    unsafe fn run_by_loader(&self, name: &[u8]) -> Option<Result<usize>> {
        // SAFETY: the caller's array.
        let (by_hand, program) = unsafe { ByHand::read(name, self.argv) }?;
        let named = Named::follow(libc::AT_FDCWD, program, Does::Read);
        let mut inner = Exec::new(self.view, named, self.argv, self.env, 0);
        // What is not there is the loader's to say.
        // SAFETY: a C string of the caller's array.
        let mut found = unsafe { inner.find(named) }.ok()?;
        found.secure = false;
        inner.by_hand = Some(by_hand);
        // SAFETY: the caller's array.
        Some(unsafe { inner.start(&Chain::default(), &found) })
    }

    /// Runs what has been found.
    unsafe fn start(&mut self, chain: &Chain, found: &Found) -> Result<usize> {
        // SAFETY: the program's own array.
        let mut libraries = unsafe { self.libraries(found) }?;
        if let Some(missing) = &libraries.missing {
            // SAFETY: as above.
            return Err(refuse(unsafe { name_of(&self.named) }, missing));
        }
        if let Some(instead) = libraries.instead.take() {
            // SAFETY: the program's own array.
            unsafe { self.watch(&instead, &mut libraries) }?;
        }
        // A program with more rights than we, or one that we cannot come along
        // with, is told nothing.
        let files = if found.secure { None } else { self.view.hand_on() };
        let hidden = chain.differs || libraries.loader.is_some() || self.remote.is_some();
        let wanted = Wanted {
            exe: self.to.seq,
            first: match &found.header {
                Header::Elf(elf) => elf.sanitizer(),
                _ => None,
            },
            // SAFETY: the program's own name.
            command: hidden.then(|| path::file_name(unsafe { name_of(&self.named) })),
            libraries: libraries.path.as_deref(),
            audit: libraries.audit.as_deref(),
            preload: libraries.preload.as_deref(),
            files: files.as_deref(),
            modules: libraries.modules,
            program: libraries
                .loader
                .as_ref()
                .filter(|_| self.remote.is_none())
                .map(|_| self.to.name.as_bytes())
                .filter(|n| !n.is_empty())
                .or(self.remote.as_ref().map(|program| &program.name[..])),
        };
        let env = match found.secure {
            true => None,
            // SAFETY: the program's own array.
            false => Some(unsafe { handover::environment(self.view, self.env, wanted) }?),
        };
        let mut go = Go {
            view: self.view,
            secure: found.secure,
            kept: self.remote.is_some(),
            blocks: Default::default(),
        };
        let env = env.map_or(self.env, |env| go.keep(env));
        let mut argv = self.argv;
        if chain.differs {
            // SAFETY: as above.
            argv = go.keep(unsafe { chain.arguments(&self.named, argv) }?);
        }
        let Named { dirfd, path, .. } = self.named;
        let (dirfd, at, flags) = if chain.differs || self.remote.is_some() {
            // SAFETY: an array of at least one string.
            let given = || unsafe { *argv };
            let at = if self.to.as_given { given() } else { self.to.name.as_ptr() };
            (libc::AT_FDCWD, at, 0)
        } else if chain.depth == 0 && !is_empty(path) {
            let (dirfd, at) = self.named.args(&mut self.to);
            (dirfd, at, self.flags)
        } else {
            (dirfd, path, self.flags)
        };
        if let Some(by_hand) = &mut self.by_hand {
            // SAFETY: the caller's array, and a C string.
            let argv = unsafe { by_hand.arguments(self.argv, at, libraries.path.as_deref()) };
            let argv = go.keep(argv?);
            let loader = by_hand.loader.as_cstr()?.as_ptr();
            // SAFETY: strings and arrays of the program's or ours.
            return unsafe { go.enter(libc::AT_FDCWD, loader, argv, env, 0) };
        }
        let Some(mut loader) = libraries.loader.filter(|_| !is_empty(at)) else {
            drop((libraries.path, libraries.audit, libraries.preload));
            // SAFETY: strings and arrays of the program's or ours.
            return unsafe { go.enter(dirfd, at, argv, env, flags) };
        };
        // SAFETY: as above.
        unsafe {
            let argv = go.keep(by_loader(&loader, at, argv)?);
            go.enter(libc::AT_FDCWD, loader.as_cstr()?.as_ptr(), argv, env, 0)
        }
    }

    /// Has a module tell the loader of other files, before those that the program
    /// has watch it.
    ///
    /// # Safety
    /// The program's own array.
    #[cold]
    #[inline(never)]
    unsafe fn watch(&self, instead: &[u8], libraries: &mut Libraries) -> Result<()> {
        let made = watch::module(instead).and_then(|module| self.view.module(&module));
        let name = match &made {
            Ok(name) if !name.as_bytes().contains(&b':') => name.as_bytes(),
            // The loader says what it does not find.
            other => {
                let why = other.as_ref().err().map_or("its name", |error| error.message());
                log::say(Level::Info, &[b"no module for the loader: ", why.as_bytes()]);
                return Ok(());
            }
        };
        // SAFETY: the caller's.
        let own = unsafe { handover::variable(self.env, handover::AUDIT) }.unwrap_or_default();
        let others = libraries.audit.as_deref().unwrap_or(own);
        let mut list = Vec::new();
        list.try_reserve(name.len() + 1 + others.len()).map_err(|_| Errno::ENOMEM)?;
        list.extend_from_slice(name);
        if !others.is_empty() {
            list.push(b':');
            list.extend_from_slice(others);
        }
        libraries.audit = Some(list);
        Ok(())
    }

    /// What the loader of the program must be told.
    unsafe fn libraries(&self, found: &Found) -> Result<Libraries> {
        match &found.header {
            Header::Elf(elf) if !found.secure && !self.escapes(elf) => {
                // SAFETY: the program's own array and name.
                let (given, audit, preload, modules, file) = unsafe {
                    let given = self.by_hand.as_ref().and_then(|b| b.library_path(self.argv));
                    let given = given.or(handover::variable(self.env, handover::LIBRARIES));
                    let audit = handover::variable(self.env, handover::AUDIT);
                    let preload = handover::variable(self.env, handover::PRELOAD);
                    let modules = handover::variable(self.env, handover::MODULES);
                    let own = self.to.as_given.then(|| name_of(&self.named));
                    (given, audit, preload, modules, own.unwrap_or(self.to.name.as_bytes()))
                };
                let at = self.origin(elf, file);
                let (host, origin) = match &at {
                    Some((host, name)) => (host.as_bytes(), path::parent(name.as_bytes())),
                    None => (file, &b""[..]),
                };
                self.view.libraries(&Asked {
                    elf,
                    file: host,
                    origin,
                    given: given.unwrap_or_default(),
                    audit: audit.unwrap_or_default(),
                    preload: preload.unwrap_or_default(),
                    modules: modules.is_some(),
                })
            }
            _ => Ok(Libraries::default()),
        }
    }

    /// What host and namespace call the program, if its loader will ask where it
    /// lies.
    fn origin(&self, elf: &Elf, file: &[u8]) -> Option<(Name, Name)> {
        if self.remote.is_none() && !elf.paths().contains(&b'$') {
            return None;
        }
        if self.to.as_given {
            let at = self.view.walk(self.named.dirfd, file, Last::FOLLOW).ok()?;
            return Some((at.host, at.ns));
        }
        let host = self.remote.as_ref().map_or(file, |program| &program.name);
        let own = resolve::name_of(self.view.table().ok()?.index(), host, self.to.seq).ok()?;
        Some((Name::from(file).ok()?, own))
    }

    /// The kernel wants the right to run a script before it reads it.
    fn may_run(&mut self, named: &Named, by_fd: bool) -> Result<()> {
        if self.remote.is_some() {
            return Ok(());
        }
        let (dirfd, at) = if by_fd { (named.dirfd, named.path) } else { named.args(&mut self.to) };
        let flags = libc::AT_EACCESS | if by_fd { libc::AT_EMPTY_PATH } else { 0 };
        // SAFETY: a C string.
        match unsafe { sys!(libc::SYS_faccessat2, dirfd, at, libc::X_OK, flags) } {
            // Before Linux 5.8, or refused by a filter: the kernel will say.
            Err(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the host alone would find another file by this name.
    unsafe fn differs(&self, named: &Named, found: &Found) -> bool {
        if self.to.as_given {
            return false;
        }
        // SAFETY: a C string.
        let name = unsafe { CStr::from_ptr(named.path) };
        if self.to.magic || self.to.name.as_bytes() == name.to_bytes() {
            return false;
        }
        let host = Kernel.statat(named.dirfd, name, 0).map(|st| (st.dev, st.ino));
        found.file.is_none() || host.ok() != found.file
    }

    /// Whether the library can come along, and what follows if not.
    fn judge(&mut self, found: &Found) -> Result<()> {
        let escapes = found.secure
            || match &found.header {
                Header::Elf(elf) => self.escapes(elf),
                _ => false,
            };
        if !escapes {
            return Ok(());
        }
        // SAFETY: the program's own name.
        let name = unsafe { name_of(&self.named) };
        if self.view.family.has(Flag::Strict) || self.view.table()?.index().is_cleared() {
            log::say(Level::Error, &[name, b": refused: the library cannot serve it"]);
            return Err(Errno::EACCES);
        }
        log::say(Level::Info, &[name, b": runs outside: the library cannot serve it"]);
        self.view.family.counter(Counter::Escaped).fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn escapes(&self, elf: &Elf) -> bool {
        // SAFETY: the program's own name.
        let given = || unsafe { name_of(&self.named) };
        let name = if self.to.as_given { given() } else { self.to.name.as_bytes() };
        elf.unserved(name).is_some()
    }
}

/// Ends the process as the loader does when it cannot find a library. It would
/// find the host's, which the namespace does not show.
fn refuse(program: &[u8], missing: &Missing) -> Errno {
    let mut line = Name::new();
    let parts: [&[u8]; 8] = [
        program,
        b": error while loading shared libraries: ",
        missing.name.as_bytes(),
        b": not in this namespace (ns-exec --ro-bind ",
        missing.dir,
        b" ",
        missing.dir,
        b" shows it)\n",
    ];
    let made = parts.iter().try_for_each(|part| line.push(part));
    let text = line.as_bytes();
    // SAFETY: text of ours; the process ends.
    let _ = made.and_then(|()| unsafe {
        sys!(libc::SYS_write, 2, text.as_ptr(), text.len())?;
        sys!(libc::SYS_exit_group, 127)
    });
    Errno::ENOENT
}
