//! `ns-exec`: builds a namespace and becomes a program in it.
//!
//! Everything that can fail is done before anything is run: the namespace is
//! built, the program found, the kernel's confinement prepared. What has been
//! made on the host by then is removed when a later step fails, and by the
//! keeper, `ns reap` or whoever meets it when we are killed.

pub mod birth;
pub mod dumps;
pub mod enforce;
pub mod environment;
mod init;
mod manual;
pub mod on;
mod options;
pub mod places;
pub mod program;
pub mod request;
pub mod twin;
pub mod zero;

pub use options::PROGRAM;

use crate::failure::{Failure, shown};
use crate::keeper;
use crate::servers::Reach;
use crate::spec::Parsed;
use crate::world::of_io;
use crate::{runtime, tree};
use birth::Birth;
use enforce::Confinement;
use environment::Variables;
use privns_abi::Errno;
use privns_host::{Host, Kernel, startup};
use privns_namespace::family::{Counter, Flag, Inherited};
use privns_namespace::remembered::Remembered;
use privns_namespace::{Built, Family, Index, Located, Table, carried, index, remote};
use program::{Command, Loads, View};
use request::{Naming, Request};
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;

/// Why nothing was run, and the exit status that says so.
#[derive(Debug)]
pub struct Stop {
    /// 125, 126 or 127.
    pub status: i32,
    /// What to tell.
    pub failure: Failure,
}

impl Stop {
    /// The namespace could not be built.
    #[must_use]
    pub fn at_125(failure: Failure) -> Stop {
        Stop { status: 125, failure }
    }
}

/// Longest name of a process (`TASK_COMM_LEN` without the NUL).
const COMM_MAX: usize = 15;

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::at_125(failure)
    }
}

/// The program, with its arguments: returns only when there is nothing to
/// become.
#[must_use]
pub fn main(args: Vec<OsString>) -> i32 {
    obey(args).unwrap_or_else(|stop| {
        crate::complain(PROGRAM.name, &stop.failure);
        stop.status
    })
}

fn obey(args: Vec<OsString>) -> Result<i32, Stop> {
    twin::take_over(&args)?;
    let mut request = Request::default();
    match PROGRAM.parse(args, &mut request, |r, words| r.program = words)? {
        Parsed::Print(text) => Ok(crate::print(text.as_bytes()).map(|()| 0)?),
        Parsed::Run => run(request),
    }
}

fn run(request: Request) -> Result<i32, Stop> {
    if let Some((dir, name)) = &request.inside {
        return inside(dir, name, &request.program);
    }
    if let Some(token) = &request.arrives {
        return on::arrival::run_it(token);
    }
    check(&request)?;
    if let Some(how) = request.dump {
        return birth::dump(&request, how).map(|()| 0).map_err(Stop::from);
    }
    if let Some(place) = &request.on {
        return on::run(&request, place);
    }
    let library = environment::library()?;
    match &request.naming {
        Some(Naming::Join(name)) => join(&request, find(name)?, &library),
        Some(Naming::Either(name)) => either(&request, name, &library),
        Some(Naming::New(name)) => create(&request, name, &library),
        None => create(&request, b"", &library),
    }
}

/// Becomes a program from inside its family, where the library has the working
/// directory and the file that the kernel has not: through the C library, which
/// it stands in front of.
fn inside(dir: &[u8], name: &[u8], argv: &[Vec<u8>]) -> Result<i32, Stop> {
    if !dir.is_empty() {
        let gone = std::env::set_current_dir(OsStr::from_bytes(dir));
        gone.map_err(|e| Failure::new(shown(dir), of_io(&e)))?;
    }
    let (file, argv) = (program::cstring(name.to_vec())?, program::cstrings(argv.to_vec())?);
    let error = startup::execvp(&file, &argv);
    let status = if error == Errno::ENOENT { 127 } else { 126 };
    Err(Stop { status, failure: Failure::new(shown(name), error) })
}

/// What cannot be asked for together.
fn check(request: &Request) -> Result<(), Failure> {
    let joins = matches!(request.naming, Some(Naming::Join(_)));
    if joins && (request.given || request.restore.is_some()) {
        let failure = Failure::new("--join", "the family has its namespace");
        return Err(failure.fix("change it with ns bind and the like"));
    }
    if request.instance_fd.is_some() && (joins || request.on.is_some()) {
        let failure = Failure::new("--instance-fd", "nothing is made here");
        return Err(failure.fix("leave it out"));
    }
    if request.dump.is_some() && joins {
        return Err(Failure::new("--dump", "it joins no family").fix("ns prints a living one's"));
    }
    if request.export && request.on.is_none() {
        return Err(Failure::new("--export", "everything is here").fix("it is for --on"));
    }
    if request.on.is_some() && (joins || request.dump.is_some() || request.trace.is_some()) {
        let failure = Failure::new("--on", "--join, --dump and --trace are for here");
        return Err(failure.fix("leave them out"));
    }
    let clears = |line: &privns_namespace::file::Line| {
        matches!(line.action, privns_namespace::file::Action::Clear)
    };
    if request.enforce && !joins && request.restore.is_none() && !request.lines.iter().any(clears) {
        let failure = Failure::new("--enforce", "the global namespace is still there");
        return Err(failure.fix("begin with --clear and bind what is needed"));
    }
    Ok(())
}

fn find(name: &[u8]) -> Result<Family, Failure> {
    let by_pid = || {
        let pid = std::str::from_utf8(name).ok().and_then(|n| n.parse().ok());
        pid.map_or(Err(Errno::ESRCH), runtime::by_pid)
    };
    runtime::by_name(name).or_else(|_| by_pid()).map_err(|e| match e {
        Errno::ESRCH => Failure::new(format!("--join {}", shown(name)), "no such family")
            .fix("ns families lists those that live"),
        e => Failure::new(format!("--join {}", shown(name)), e),
    })
}

/// Joins the family of this name, or makes it. Of two that make it at once one
/// is first; the other then joins.
fn either(request: &Request, name: &[u8], library: &[u8]) -> Result<i32, Stop> {
    const ROUNDS: usize = 8;
    for _ in 0..ROUNDS {
        if let Ok(found) = runtime::by_name(name) {
            match entered(found) {
                Ok(family) => return become_member(request, &family, library),
                // The last member has gone between the two.
                Err(failure) if failure.errno() == Some(Errno::ESRCH) => continue,
                Err(failure) => return Err(failure.into()),
            }
        }
        match create(request, name, library) {
            Err(stop) if stop.failure.errno() == Some(Errno::EEXIST) => {}
            done => return done,
        }
    }
    let failure = Failure::new(shown(name), "the family comes and goes");
    Err(failure.into())
}

fn join(request: &Request, found: Family, library: &[u8]) -> Result<i32, Stop> {
    become_member(request, &entered(found)?, library)
}

/// Makes us a member of a family, by a descriptor that is to be inherited.
///
/// # Errors
/// ESRCH where its last member has gone; EPERM where it is another user's.
fn entered(found: Family) -> Result<Family, Failure> {
    let failure = |e| Failure::new("joining the family", e);
    let fd = Kernel.dup_from(found.fd(), 3, true).map_err(failure)?;
    found.close();
    let family = Family::adopt(fd).map_err(failure)?;
    if !family.is_writable() {
        return Err(failure(Errno::EPERM).fix("it is another user's"));
    }
    if let Err(e) = family.enter() {
        family.close();
        return Err(failure(e));
    }
    Ok(family)
}

fn become_member(request: &Request, family: &Family, library: &[u8]) -> Result<i32, Stop> {
    let failure = |e| Failure::new("joining the family", e);
    let table = family.read_table().map_err(failure)?;
    let built = Built { table, start: None, skipped: Vec::new() };
    let reach = Reach::of(&built.table);
    prepare(request, family, &built, &*reach, library)?.become_program(family)
}

fn create(request: &Request, name: &[u8], library: &[u8]) -> Result<i32, Stop> {
    let keeper = keeper::begin();
    let mut birth = Birth::begin(name)?;
    if let Some(arrival) = &request.arrival {
        birth.reach().take_in(&arrival.sockets, &arrival.origin);
    }
    match begin(request, &mut birth, library) {
        Ok((family, table, ready)) => {
            birth.leave_keeper(keeper, family, &table)?;
            ready.become_program(family)
        }
        Err(stop) => {
            birth.abandon();
            Err(stop)
        }
    }
}

/// Everything but the keeper, which the family needs as soon as there is one.
fn begin(
    request: &Request,
    birth: &mut Birth,
    library: &[u8],
) -> Result<(&'static Family, Table, Ready), Stop> {
    let built = birth.build(request)?;
    // The keeper goes on with it when we have gone.
    let family: &'static Family = Box::leak(Box::new(birth.family(&built.table, request)?));
    birth.set_up(family, library)?;
    let ready = prepare(request, family, &built, &*birth.reach(), library)?;
    Ok((family, built.table, ready))
}

/// Runs the programs that a change of a living family asked for.
///
/// # Errors
/// The first that cannot be run.
pub(crate) fn set_up(found: &Family, inits: &[init::Init]) -> Result<(), Failure> {
    if inits.is_empty() {
        return Ok(());
    }
    let failure = |e| Failure::new("joining the family", e);
    let fd = Kernel.dup_from(found.fd(), 3, true).map_err(failure)?;
    let family = Family::adopt(fd).map_err(failure)?;
    let done = family.enter().map_err(failure);
    let done = done.and_then(|()| init::run_all(&family, inits, &environment::library()?));
    family.close();
    done
}

/// All that is needed to become the program.
struct Ready {
    command: Command,
    environment: Vec<CString>,
    /// What the kernel is to refuse.
    confinement: Option<Confinement>,
}

fn prepare(
    request: &Request,
    family: &Family,
    built: &Built,
    files: &dyn Host,
    library: &[u8],
) -> Result<Ready, Stop> {
    let Built { table, start, .. } = built;
    let mut variables = Variables::edited(&request.edits);
    let bytes = index::encode(table);
    let index = Index::parse(&bytes).map_err(|e| Failure::new("the table", e))?;
    // PATH, its directories, the program and its loader lie side by side.
    let files = Remembered::new(files);
    let root = View { index, cwd: b"", files: &files };
    let cwd = enter_directory(root, start.clone(), &variables)?;
    let view = View { cwd: cwd.ns.as_bytes(), ..root };
    let command = command(request, &view, family, &variables)?;
    environment::add_options(&mut variables, request)?;
    let confinement = match family.has(Flag::Enforced) {
        true => Some(Confinement::of(family, table, library)?),
        false => None,
    };
    variables.preload(library);
    if command.inside {
        variables.preload_later(library);
    }
    if family.has(Flag::Strict) {
        variables.set(b"PRIVNS_STRICT", b"1".to_vec());
    }
    let (cache, home) = (variables.get(b"XDG_CACHE_HOME"), variables.get(b"HOME"));
    let image = carried::carried(family, &carried::directory(cache, home))
        .map_err(|e| Failure::new("the image of the table", e))?;
    let mut told = Inherited::of(image.generation, Kernel.geteuid());
    variables.set(b"PRIVNS_IMAGE", image.value);
    told.extend(self::told(&cwd, &command));
    let inherited = Inherited { fd: family.fd(), id: family.id(), rest: &told };
    variables.set(b"PRIVNS", inherited.format());
    Ok(Ready { command, environment: variables.to_exec()?, confinement })
}

/// The working directory is kept by name; where the namespace has no such
/// name, HOME, else the root.
fn enter_directory(
    root: View<'_>,
    chosen: Option<Vec<u8>>,
    variables: &Variables,
) -> Result<Located, Failure> {
    let asked = chosen.is_some();
    let name = chosen.or_else(environment::here);
    let home = variables.get(b"HOME").map(<[u8]>::to_vec);
    let mut refused = Errno::ENOENT;
    for name in [name, home.filter(|_| !asked), (!asked).then(|| b"/".to_vec())] {
        let Some(name) = name else { continue };
        let name = if name.is_empty() { b"/".to_vec() } else { name };
        match enter(root, &name) {
            Ok(entered) => return Ok(entered),
            Err(e) => refused = e,
        }
    }
    Err(Failure::new("the working directory", refused).fix("choose one with --chdir"))
}

fn enter(root: View<'_>, name: &[u8]) -> privns_abi::Result<Located> {
    let mut located = root.locate(name)?;
    if remote::is_remote(located.host.as_bytes()) {
        // The kernel has no such directory: the program is run from inside.
        let is_dir = root.files.lstat(located.host.as_cstr()?)?.is_dir();
        let entered = rustix::process::chdir("/").map_err(tree::errno);
        return if is_dir { entered.map(|()| located) } else { Err(Errno::ENOTDIR) };
    }
    rustix::process::chdir(located.host.as_bytes()).map_err(tree::errno)?;
    Ok(located)
}

/// What the library is told of itself, since the host cannot: which members
/// serve the program (`x`) and the working directory (`d`), and what the
/// process is called (`n`, last).
fn told(cwd: &Located, command: &Command) -> Vec<u8> {
    let mut told = Vec::new();
    for (kind, seq) in [('x', command.seq), ('d', cwd.seq)] {
        if seq != 0 {
            told.extend(format!("{kind}{seq};").into_bytes());
        }
    }
    if let Some(name) = &command.called {
        told.push(b'n');
        told.extend_from_slice(name.get(..COMM_MAX).unwrap_or(name));
    }
    told
}

fn command(
    request: &Request,
    view: &View<'_>,
    family: &Family,
    variables: &Variables,
) -> Result<Command, Stop> {
    let mut argv = request.program.clone();
    if argv.is_empty() {
        argv.push(environment::shell(variables));
    }
    let argv0 = request.argv0.as_deref();
    if request.by_hand {
        // The library was running it already, and knows its file.
        return Command::as_it_is(&argv, argv0);
    }
    let value = |name| variables.get(name).unwrap_or_default();
    let loads = Loads {
        path: value(b"LD_LIBRARY_PATH"),
        watching: value(b"LD_AUDIT"),
        first: value(b"LD_PRELOAD"),
        modules: value(b"GCONV_PATH"),
    };
    view.command(&argv, argv0, variables.get(b"PATH"), Some(&loads), family.has(Flag::Strict))
}

impl Ready {
    fn become_program(self, family: &Family) -> Result<i32, Stop> {
        let Ready { command, environment, confinement } = self;
        if command.unserved.is_some() {
            family.counter(Counter::Escaped).fetch_add(1, Ordering::Relaxed);
        }
        if let Some(confinement) = confinement {
            confinement.enter()?;
        }
        if let Some(fd) = birth::outer_fd().filter(|&fd| fd != family.fd()) {
            let _ = Kernel.close(fd);
        }
        startup::restore();
        let mut error = Kernel.execve(&command.path, &command.argv, &environment);
        if let (Errno::ENOEXEC, Some((path, argv))) = (error, &command.shell) {
            // As execvp(3): a file without a header is a script of sh(1).
            error = Kernel.execve(path, argv, &environment);
        }
        let status = if error == Errno::ENOENT { 127 } else { 126 };
        let failure = match command.argv.get(3).filter(|_| command.inside) {
            None => Failure::new(shown(command.path.as_bytes()), error),
            Some(name) => Failure::new(shown(name.as_bytes()), error)
                .fix("ns-exec, which runs it from inside, is not allowed to: bind /lib and /lib64"),
        };
        Err(Stop { status, failure })
    }
}
