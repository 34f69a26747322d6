//! An attendant: a process beside a family that serves it a memory tree or a
//! directory that it has by a descriptor alone, or relays to a server that
//! programs cannot dial themselves.
//!
//! It listens on a unix socket beside the family's skeleton. It is started
//! while the namespace is built, so that mistakes show before anything runs,
//! and is handed the family's table through a socket when that has been made:
//! if the socket ends before, the namespace came to nothing, and so does the
//! attendant. From then on it waits for the lock that every member holds, as
//! the keeper does, and so ends with the family even when the keeper has been
//! killed. It ends sooner when its server is mounted no more, and nobody has
//! had anything open there for a while. Like the keeper it is no child of the
//! program, and keeps no descriptor and no directory of its.

use super::{dial, memory};
use crate::exec::birth;
use crate::failure::{Failure, Why};
use crate::world::{of_io, secret};
use crate::{keeper, runtime, serve};
use privns_abi::{Errno, Result};
use privns_host::Kernel;
use privns_host::process::Fork;
use privns_namespace::{Family, Server};
use privns_ninep::address::Address;
use privns_servers::Tree;
use privns_servers::auth::Auth;
use privns_servers::dir::Dir;
use privns_servers::relay::{self, Route};
use privns_servers::serve::Listener;
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// What an attendant does.
enum Task {
    /// Serves a new memory tree.
    Memory(memory::Options),
    /// Serves a directory.
    Directory(OwnedFd),
    /// Relays to a server.
    Relay(Route),
}

/// An attendant, which ends with us unless it is [left](Self::leave).
pub(super) struct Attendant {
    task: Task,
    /// What members say who have become somebody else, as root's may. A memory
    /// tree tells users apart; what a directory or another machine shows is for
    /// whoever has mounted it.
    word: Option<Vec<u8>>,
    socket: Vec<u8>,
    /// Our end of the socket that it waits on, once it runs.
    control: Option<UnixStream>,
}

/// Clients that wait to be let in at most.
const BACKLOG: i32 = 128;
/// Bytes of an attendant's last words at most.
const WORDS: u64 = 4096;

/// Attendants that this process has made: each has a socket of its own.
static MADE: AtomicU32 = AtomicU32::new(0);

impl Attendant {
    /// One for an address, with its socket in the directory `sockets`; it does
    /// not run yet. `munge`: the server wants credentials.
    pub(super) fn new(
        sockets: &[u8],
        address: Address,
        server: &Server,
        munge: bool,
    ) -> std::result::Result<Attendant, Failure> {
        let task = match address {
            Address::Memory(options) => Task::Memory(memory::Options::parse(&options)?),
            address => Task::Relay(Route { munge, ..route(address, server) }),
        };
        Attendant::for_task(sockets, task, server)
    }

    /// One that serves a directory.
    pub(super) fn of_directory(
        sockets: &[u8],
        dir: OwnedFd,
        server: &Server,
    ) -> std::result::Result<Attendant, Failure> {
        Attendant::for_task(sockets, Task::Directory(dir), server)
    }

    fn for_task(
        sockets: &[u8],
        task: Task,
        server: &Server,
    ) -> std::result::Result<Attendant, Failure> {
        if sockets.is_empty() {
            let failure = Failure::new(dial::what(&server.address), Errno::EOPNOTSUPP);
            return Err(failure.fix("nothing is started here"));
        }
        let word = match task {
            Task::Memory(_) if Kernel.geteuid() == 0 => {
                Some(secret().map_err(|e| Failure::new("a random name", e))?.into_bytes())
            }
            _ => None,
        };
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("/9p-{}-{number}", std::process::id());
        Ok(Attendant { task, word, socket: [sockets, name.as_bytes()].concat(), control: None })
    }

    /// The name that is to be attached by, if it is not the user's.
    pub(super) fn uname(&self) -> Option<Vec<u8>> {
        self.word.clone()
    }

    /// The address that it is dialled by.
    pub(super) fn address(&self) -> Address {
        Address::Unix(self.socket.clone())
    }

    /// Starts it, and waits until it can be dialled.
    ///
    /// # Errors
    /// What kept it from reaching its server.
    pub(super) fn start(&mut self) -> std::result::Result<(), Why> {
        let (mut ours, theirs) = UnixStream::pair().map_err(|e| of_io(&e))?;
        if let Fork::Child = keeper::fork_away()? {
            drop(ours);
            leave_family();
            let done = self.attend(theirs);
            Kernel.exit(i32::from(done.is_err()));
        }
        drop(theirs);
        let said = heard(&mut ours);
        if said.is_err() {
            // It may have said more than a number.
            let mut words = String::new();
            let _ = ours.take(WORDS).read_to_string(&mut words);
            return said.map_err(|e| if words.is_empty() { e.into() } else { words.into() });
        }
        self.control = Some(ours);
        Ok(())
    }

    /// Shows it the table of the family, which it ends with, and the number
    /// that its server has there.
    ///
    /// # Errors
    /// It cannot open the table.
    pub(super) fn leave(&mut self, family: &Family, server: u32) -> Result<()> {
        let Some(mut control) = self.control.take() else { return Ok(()) };
        let told = format!("{server} /proc/{}/fd/{}", std::process::id(), family.fd());
        control.write_all(told.as_bytes()).map_err(|e| of_io(&e))?;
        heard(&mut control)
    }

    /// The attendant's life.
    fn attend(&self, mut control: UnixStream) -> std::io::Result<()> {
        Kernel.block_signals();
        Kernel.set_name(c"ns-attendant");
        let dir = match &self.task {
            Task::Directory(dir) => Some(dir.as_raw_fd()),
            _ => None,
        };
        keeper::close_all_but([0, 1, 2, control.as_raw_fd()].into_iter().chain(dir).collect());
        let dialled = match &self.task {
            Task::Memory(_) | Task::Directory(_) => Ok(None),
            Task::Relay(route) => route.dial().map(Some),
        };
        // Clients say what permissions a new file has, and have applied their
        // own umask.
        let private = if self.word.is_some() { Mode::empty() } else { Mode::RWXG | Mode::RWXO };
        let before = rustix::process::umask(private);
        let ready = dialled.and_then(|first| Ok((first, self.listen()?)));
        let relays = matches!(self.task, Task::Relay(_));
        rustix::process::umask(if relays { before } else { Mode::empty() });
        let said = ready.as_ref().map_or_else(|e| of_io(e).0, |_| 0);
        control.write_all(&said.to_ne_bytes())?;
        let (first, listener) = match ready {
            Ok(ready) => ready,
            Err(e) if e.raw_os_error().is_none() => {
                return control.write_all(e.to_string().as_bytes());
            }
            Err(_) => return Ok(()),
        };
        // Whatever its command says later is for nobody to read.
        for fd in 0..3 {
            let _ = Kernel.close(fd);
        }
        keeper::stand_in();
        let (stop, stopped) = UnixStream::pair()?;
        let family = Arc::default();
        let mut mount = Mount { family: Arc::clone(&family), seen: None, alone: None };
        std::thread::spawn(move || {
            // Dropped when the family, or the attempt to make one, has ended.
            let _stop = stop;
            outlive(control, &family);
        });
        let auth = self.word.as_ref().map_or(Auth::Uid, |word| Auth::Word(word.clone().leak()));
        let done = match &self.task {
            Task::Memory(options) => serve_tree(options.tree(), auth, listener, &stopped, mount),
            Task::Directory(dir) => serve_directory(dir, auth, listener, &stopped, mount),
            Task::Relay(route) => {
                let over = |clients| mount.is_over(clients);
                relay::serve(&listener, route, first, stopped.as_fd(), over)
            }
        };
        let _ = rustix::fs::unlink(&self.socket[..]);
        done
    }

    fn listen(&self) -> std::io::Result<UnixListener> {
        // The path is the host's, also where `ns` has a namespace.
        let address = SocketAddrUnix::new(&self.socket[..])?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket.into())
    }
}

/// Where we were started by a member of a family, that has its table mapped by
/// the description that all members share: we are none of them.
fn leave_family() {
    let Some(fd) = birth::outer_fd() else { return };
    let own = Kernel.reopen(fd, libc::O_RDWR).or_else(|_| Kernel.reopen(fd, libc::O_RDONLY));
    if let Ok(own) = own {
        let _ = Kernel.map_by(own);
        let _ = Kernel.close(own);
    }
}

fn route(address: Address, server: &Server) -> Route {
    let options = &server.options;
    let mut route = Route::to(address);
    route.msize = options.msize.unwrap_or(route.msize);
    route.dialect = options.dialect.map(dial::dialect);
    route.timeout = options.timeout.map_or(route.timeout, |s| Duration::from_secs(s.into()));
    route
}

/// What an attendant is for: the server of this number in the family's table.
struct Mount {
    /// Empty until the table has been made.
    family: Arc<OnceLock<(Family, u32)>>,
    /// The generation that was looked at last, and whether it is mounted there.
    seen: Option<(u64, bool)>,
    /// Since when it has been neither mounted nor used.
    alone: Option<Instant>,
}

/// How long an attendant without a mount waits for who may yet come: between
/// one program and the next that it becomes, nothing of a process is here.
const LINGER: Duration = Duration::from_secs(2);

impl Mount {
    /// Whether it is gone, and its last user too. To be asked now and then.
    fn is_over(&mut self, users: usize) -> bool {
        let Some((family, id)) = self.family.get() else { return false };
        let generation = family.generation();
        let mounted = match self.seen {
            Some((seen, mounted)) if seen == generation => mounted,
            _ => family.read_table().map_or(true, |table| table.is_mounted(*id)),
        };
        self.seen = Some((generation, mounted));
        if mounted || users > 0 {
            self.alone = None;
            return false;
        }
        self.alone.get_or_insert_with(Instant::now).elapsed() >= LINGER
    }
}

/// Serves a directory until `stopped` ends, or the mount.
fn serve_directory(
    dir: &OwnedFd,
    auth: Auth,
    listener: UnixListener,
    stopped: &UnixStream,
    mount: Mount,
) -> std::io::Result<()> {
    let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let tree = Dir::new(Path::new(&path)).map_err(|e| std::io::Error::from_raw_os_error(e.0))?;
    serve_tree(tree, auth, listener, stopped, mount)
}

/// Serves a tree until `stopped` ends, or the mount.
fn serve_tree(
    tree: impl Tree,
    auth: Auth,
    listener: UnixListener,
    stopped: &UnixStream,
    mut mount: Mount,
) -> std::io::Result<()> {
    stopped.set_nonblocking(true)?;
    let server = privns_servers::Server::new(tree, false, serve::limits());
    let listener = Listener::Unix(listener);
    let ended = || {
        let gone = rustix::io::read(stopped, &mut [0; 1]).is_ok();
        gone || mount.is_over(server.users())
    };
    let done = server.listen(&[&listener], auth, stopped.as_fd(), ended);
    server.shut();
    done
}

/// Waits for the family's table, and then for the end of its last member.
fn outlive(mut control: UnixStream, told: &OnceLock<(Family, u32)>) {
    let mut said = [0; 64];
    let Ok(len @ 1..) = control.read(&mut said) else { return };
    let table = known(&said[..len]);
    let said = table.as_ref().map_or_else(|e| e.0, |_| 0);
    if control.write_all(&said.to_ne_bytes()).is_err() {
        return;
    }
    let Ok(table) = table else { return };
    let (family, _) = told.get_or_init(|| table);
    while family.outlive(family.fd()) == Err(Errno::EINTR) {}
}

/// What the other end says has become of something.
fn heard(control: &mut UnixStream) -> Result<()> {
    let mut said = [0; 4];
    control.read_exact(&mut said).map_err(|_| Errno::ECHILD)?;
    match i32::from_ne_bytes(said) {
        0 => Ok(()),
        e => Err(Errno(e)),
    }
}

/// The table and the number that [`Attendant::leave`] says.
fn known(said: &[u8]) -> Result<(Family, u32)> {
    let said = std::str::from_utf8(said).map_err(|_| Errno::EINVAL)?;
    let (number, place) = said.split_once(' ').ok_or(Errno::EINVAL)?;
    let number = number.parse().map_err(|_| Errno::EINVAL)?;
    Ok((runtime::open_table(place.as_bytes())?, number))
}
