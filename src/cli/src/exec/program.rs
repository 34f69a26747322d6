//! Which file PROGRAM is, in the namespace: searched in PATH, followed through
//! `#!`, and judged by its header before it is run.

use super::{Stop, environment, twin};
use crate::failure::{Failure, shown};
use crate::tree::{self, errno};
use privns_abi::{Errno, Stat, path};
use privns_host::{Host, Kernel};
use privns_namespace::program::{
    Elf, Header, MODULES, PLACES, directories, own_directories, preloaded,
};
use privns_namespace::resolve::ByText;
use privns_namespace::{Index, Last, Located, Start, remote, walk};
use rustix::fs::{Access, AtFlags, CWD};
use std::ffi::CString;

/// Interpreters of interpreters that are followed, as the kernel does.
const SCRIPTS_MAX: usize = 5;
/// What execvp(3) uses without a PATH.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// Where names are looked up.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The mount table.
    pub index: Index<'a>,
    /// The working directory, a canonical name.
    pub cwd: &'a [u8],
    /// Whoever has the files.
    pub files: &'a dyn Host,
}

/// What the loader is told in the environment.
#[derive(Debug, Default)]
pub struct Loads<'a> {
    /// LD_LIBRARY_PATH.
    pub path: &'a [u8],
    /// LD_AUDIT.
    pub watching: &'a [u8],
    /// LD_PRELOAD.
    pub first: &'a [u8],
    /// GCONV_PATH.
    pub modules: &'a [u8],
}

/// A program to become.
#[derive(Debug)]
pub struct Command {
    /// Its host path.
    pub path: CString,
    /// Its arguments, argument 0 first.
    pub argv: Vec<CString>,
    /// The member that serves it, 0 for the host alone.
    pub seq: u32,
    /// What the process is to be called, where the kernel would not know: it
    /// runs a script's interpreter.
    pub called: Option<Vec<u8>>,
    /// Why the library cannot serve it, if so.
    pub unserved: Option<&'static str>,
    /// The shell that runs it if the kernel knows no way: execvp(3) does that
    /// to a file without a header.
    pub shell: Option<(CString, Vec<CString>)>,
    /// It is this very program, which runs the other from inside the family.
    pub inside: bool,
}

impl Command {
    /// A host path to run as it stands.
    ///
    /// # Errors
    /// Status 126 for a NUL within.
    pub fn as_it_is(argv: &[Vec<u8>], argv0: Option<&[u8]>) -> Result<Command, Stop> {
        let mut arguments = argv.to_vec();
        arguments[0] = argv0.unwrap_or(&argv[0]).to_vec();
        let path = cstring(argv[0].clone())?;
        let argv = cstrings(arguments)?;
        Ok(Command { path, argv, seq: 0, called: None, unserved: None, shell: None, inside: false })
    }
}

impl View<'_> {
    /// Where a name leads.
    ///
    /// # Errors
    /// The walk's.
    pub fn locate(&self, name: &[u8]) -> privns_abi::Result<Located> {
        let start = Start { ns: self.cwd, seq: 0 };
        walk(self.files, self.index, &ByText(self.index), start, name, Last::FOLLOW)
    }

    /// The host path behind a name.
    ///
    /// # Errors
    /// The walk's.
    pub fn host(&self, name: &[u8]) -> privns_abi::Result<Vec<u8>> {
        Ok(self.locate(name)?.host.as_bytes().to_vec())
    }

    /// Finds PROGRAM as execvp(3) does and follows it to what the kernel runs.
    /// Whoever only asks about it does not say what the loader is told.
    ///
    /// # Errors
    /// Status 127 when it was not found, 126 when it cannot be executed.
    pub fn command(
        &self,
        argv: &[Vec<u8>],
        argv0: Option<&[u8]>,
        search: Option<&[u8]>,
        loads: Option<&Loads<'_>>,
        strict: bool,
    ) -> Result<Command, Stop> {
        let program = &argv[0];
        let found = self.find(program, search).map_err(|e| stopped(program, e))?;
        let mut arguments = argv.to_vec();
        arguments[0] = argv0.unwrap_or(program).to_vec();
        let here = self.locate(b".").map(|here| remote::is_remote(here.host.as_bytes()));
        if here == Ok(true) {
            // The root's canonical name is empty, and so is none at all.
            let cwd = if self.cwd.is_empty() { b"/" } else { self.cwd };
            return self.run_inside(found, arguments, cwd);
        }
        let own = found.clone();
        let script = path::file_name(&found.name).to_vec();
        let followed = self.follow(program, found, arguments.clone())?;
        if let (true, Some(why)) = (strict, followed.unserved) {
            let failure = Failure::new(shown(program), format!("{} ({why})", Errno::EACCES));
            let fix = "the library cannot serve it, and --strict or --clear forbids to run it \
                       outside";
            return Err(Stop { status: 126, failure: failure.fix(fix) });
        }
        let elf = followed.elf.as_ref().filter(|_| followed.unserved.is_none());
        let elsewhere = elf
            .zip(loads)
            .is_some_and(|(elf, loads)| self.loads_elsewhere(elf, &followed.file, loads));
        if elsewhere || remote::is_remote(&followed.file.host) {
            return self.run_inside(own, arguments, b"");
        }
        // What has a header of this machine the kernel runs.
        let shell = match elf {
            Some(_) => None,
            None => self.shell(&own.name, &argv[1..])?,
        };
        Ok(Command {
            path: cstring(followed.file.host)?,
            argv: cstrings(followed.argv)?,
            seq: followed.file.seq,
            called: followed.interpreted.then_some(script),
            unserved: followed.unserved,
            shell,
            inside: false,
        })
    }

    /// Whether the namespace shows something else than the host where the loader
    /// will look for libraries: the library knows what to tell it.
    fn loads_elsewhere(&self, elf: &Elf, file: &File, loads: &Loads<'_>) -> bool {
        let is_moved = |dir: &[u8]| self.index.moves(dir);
        let mut own = own_directories(elf.paths());
        directories(loads.path).chain(own_directories(loads.modules)).any(is_moved)
            || PLACES.iter().chain(MODULES).any(|dir| is_moved(dir))
            || elf.has_more_paths()
            || elf.needs_places()
            || own.any(|dir| is_moved(dir) || dir.starts_with(b"$") && file.seq != 0)
            || preloaded(loads.watching)
                .chain(preloaded(loads.first))
                .any(|name| is_moved(path::parent(name)))
    }

    /// A program, or a working directory, that the kernel does not have, or a
    /// program whose libraries lie elsewhere: it is run from inside, where the
    /// library knows.
    fn run_inside(&self, file: File, arguments: Vec<Vec<u8>>, cwd: &[u8]) -> Result<Command, Stop> {
        let words = [twin::NAME.as_bytes(), b"--inside", cwd, &file.name];
        let argv = words.into_iter().map(<[u8]>::to_vec).chain(arguments).collect();
        let twin = twin::to_exec().map_err(environment::unknown_place)?;
        let (path, argv) = (cstring(twin)?, cstrings(argv)?);
        Ok(Command { path, argv, seq: 0, called: None, unserved: None, shell: None, inside: true })
    }

    fn shell(
        &self,
        name: &[u8],
        rest: &[Vec<u8>],
    ) -> Result<Option<(CString, Vec<CString>)>, Stop> {
        const SH: &[u8] = b"/bin/sh";
        let Ok(sh) = self.executable(SH) else { return Ok(None) };
        let argv = [SH, name].into_iter().map(<[u8]>::to_vec).chain(rest.iter().cloned());
        Ok(Some((cstring(sh.host)?, cstrings(argv.collect())?)))
    }

    /// The file of a program.
    fn find(&self, program: &[u8], search: Option<&[u8]>) -> privns_abi::Result<File> {
        if program.contains(&b'/') {
            return self.executable(program);
        }
        if program.is_empty() {
            return Err(Errno::ENOENT);
        }
        let mut refused = Errno::ENOENT;
        for dir in search.unwrap_or(DEFAULT_PATH).split(|&b| b == b':') {
            let dir = if dir.is_empty() { b"." } else { dir };
            let name = [dir, b"/", program].concat();
            match self.executable(&name) {
                Ok(file) => return Ok(file),
                // As shells do: a directory that may not be searched has no
                // such program.
                Err(Errno::EACCES) if self.is_there(&name) => refused = Errno::EACCES,
                Err(_) => {}
            }
        }
        Err(refused)
    }

    fn is_there(&self, name: &[u8]) -> bool {
        self.locate(name).and_then(|mut at| self.files.stat(at.host.as_cstr()?)).is_ok()
    }

    fn executable(&self, name: &[u8]) -> privns_abi::Result<File> {
        let mut located = self.locate(name)?;
        let host = located.host.as_bytes().to_vec();
        if remote::is_remote(&host) {
            let stat = self.files.lstat(located.host.as_cstr()?)?;
            let runs = stat.mode & libc::S_IFMT == libc::S_IFREG && stat.mode & 0o111 != 0;
            let file = File { name: name.to_vec(), host, seq: located.seq, stat };
            return if runs { Ok(file) } else { Err(Errno::EACCES) };
        }
        // The walk has followed all links but those that only the kernel can.
        let stat = match located.magic {
            true => self.files.stat(located.host.as_cstr()?)?,
            false => self.files.lstat(located.host.as_cstr()?)?,
        };
        if stat.mode & libc::S_IFMT != libc::S_IFREG {
            return Err(Errno::EACCES);
        }
        rustix::fs::accessat(CWD, &host[..], Access::EXEC_OK, AtFlags::empty()).map_err(errno)?;
        Ok(File { name: name.to_vec(), host, seq: located.seq, stat })
    }

    /// Follows `#!` lines: an interpreter is looked up in the namespace, which
    /// the kernel would not do.
    fn follow(
        &self,
        program: &[u8],
        mut file: File,
        mut argv: Vec<Vec<u8>>,
    ) -> Result<Followed, Stop> {
        let first = (file.clone(), argv.clone());
        let mut plain = true;
        for round in 0..SCRIPTS_MAX {
            if remote::is_remote(&file.host) {
                let interpreted = round > 0;
                return Ok(Followed { file, argv, unserved: None, elf: None, interpreted });
            }
            // A program that may be run and not read is the kernel's to judge.
            let script = match tree::header(&file.host) {
                Header::Script(script) => script,
                header => {
                    let mut unserved = file.privileged();
                    if let Header::Elf(elf) = &header {
                        self.loader_is_there(program, elf.loader())?;
                        unserved = elf.unserved(&file.host).or(unserved);
                    }
                    let interpreted = round > 0 && !plain;
                    // Where every name on the way is the host's own, the
                    // kernel does it: it names the process after the script.
                    let elf = match header {
                        Header::Elf(elf) => Some(Box::new(elf)),
                        _ => None,
                    };
                    let (file, argv) = if interpreted { (file, argv) } else { first };
                    return Ok(Followed { file, argv, unserved, elf, interpreted });
                }
            };
            let found = self.executable(script.interpreter()).map_err(|e| {
                let what =
                    format!("{}: interpreter {}", shown(program), shown(script.interpreter()));
                Stop { status: 126, failure: Failure::new(what, e) }
            })?;
            plain &= file.is_plain() && found.is_plain();
            let mut longer = vec![script.interpreter().to_vec()];
            longer.extend(script.argument().map(<[u8]>::to_vec));
            longer.push(file.name);
            longer.extend(argv.drain(1..));
            (file, argv) = (found, longer);
        }
        Err(Stop { status: 126, failure: Failure::new(shown(program), Errno::ELOOP) })
    }

    /// The kernel opens the loader by its host path; the library serves it the
    /// rest. One that the namespace does not show is a mistake in the
    /// namespace.
    fn loader_is_there(&self, program: &[u8], loader: Option<&[u8]>) -> Result<(), Stop> {
        let Some(loader) = loader else { return Ok(()) };
        let there = self.locate(loader).and_then(|mut at| self.files.stat(at.host.as_cstr()?));
        let Err(e) = there else { return Ok(()) };
        let what = format!("{}: its loader {}", shown(program), shown(loader));
        let dir = shown(path::parent(loader));
        let failure = Failure::new(what, e).fix(format!("--bind {dir} {dir}"));
        Err(Stop { status: 126, failure })
    }
}

/// A program's file.
#[derive(Debug, Clone)]
struct File {
    /// As it was found.
    name: Vec<u8>,
    host: Vec<u8>,
    seq: u32,
    stat: Stat,
}

impl File {
    /// The name leads to the very host file of that name.
    fn is_plain(&self) -> bool {
        if self.name == self.host {
            return true;
        }
        let id = |path: &[u8]| {
            let stat = rustix::fs::statat(CWD, path, AtFlags::empty()).ok()?;
            Some((stat.st_dev, stat.st_ino))
        };
        self.name.starts_with(b"/") && id(&self.name).is_some() && id(&self.name) == id(&self.host)
    }

    /// Programs that gain rights lose the library on the way (ld.so(8)).
    fn privileged(&self) -> Option<&'static str> {
        let Stat { mode, uid, gid, .. } = self.stat;
        let own = rustix::process::getegid().as_raw();
        let gains = |bit, owner, own| mode & bit != 0 && owner != own;
        if gains(libc::S_ISUID, uid, Kernel.geteuid()) || gains(libc::S_ISGID, gid, own) {
            return Some("it is setuid or setgid");
        }
        let mut value = [0u8; 64];
        // Root gains nothing by them.
        let capable = Kernel.geteuid() != 0
            && rustix::fs::getxattr(&self.host[..], "security.capability", &mut value[..]).is_ok();
        capable.then_some("it has file capabilities")
    }
}

/// What the kernel is given to run.
struct Followed {
    file: File,
    argv: Vec<Vec<u8>>,
    unserved: Option<&'static str>,
    /// What its header says.
    elf: Option<Box<Elf>>,
    /// The interpreter, in a script's place.
    interpreted: bool,
}

fn stopped(program: &[u8], e: Errno) -> Stop {
    let status = if matches!(e, Errno::ENOENT | Errno::ENOTDIR) { 127 } else { 126 };
    Stop { status, failure: Failure::new(shown(program), e) }
}

/// As execve(2) takes them.
///
/// # Errors
/// A NUL in one.
pub fn cstrings(list: Vec<Vec<u8>>) -> Result<Vec<CString>, Stop> {
    list.into_iter().map(cstring).collect()
}

/// As the kernel takes a name.
///
/// # Errors
/// A NUL in it.
pub fn cstring(bytes: Vec<u8>) -> Result<CString, Stop> {
    CString::new(bytes)
        .map_err(|_| Stop { status: 126, failure: Failure::new("an argument", Errno::EINVAL) })
}
