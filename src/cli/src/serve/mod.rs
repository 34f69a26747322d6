//! `ns-serve`: the 9P servers.
//!
//! - this file: from arguments to a server, and what signals do to it
//! - `options`: what is accepted
//! - `announce`: being found in directories of servers
//! - `listen`: addresses to listen on

mod announce;
mod listen;
mod options;

pub use options::PROGRAM;
pub(crate) use options::size;

use crate::failure::Failure;
use crate::spec::Parsed;
use listen::Bound;
use options::{Request, What};
use privns_servers::dir::Dir;
use privns_servers::mem::Mem;
use privns_servers::session::Peer;
use privns_servers::tls::{keys, make};
use privns_servers::{Limits, Server, Tree};
use rustix::process::{Resource, Rlimit};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// Bad usage.
const USAGE: i32 = 2;

/// The program, with its arguments: its exit status.
#[must_use]
pub fn main(args: Vec<OsString>) -> i32 {
    let mut request = Request::default();
    let parsed = PROGRAM.parse(options::options_first(args), &mut request, |_, _| ());
    let checked = parsed.and_then(|parsed| match parsed {
        Parsed::Print(text) => Ok(Some(text)),
        Parsed::Run => {
            request.settle();
            request.check().map(|()| None)
        }
    });
    let (done, status) = match checked {
        Ok(Some(text)) => (crate::print(text.as_bytes()), 1),
        Ok(None) => (run(&request), 1),
        Err(failure) => (Err(failure), USAGE),
    };
    done.map_or_else(
        |failure| {
            crate::complain(PROGRAM.name, &failure);
            status
        },
        |()| 0,
    )
}

fn run(request: &Request) -> Result<(), Failure> {
    match &request.what {
        Some(What::Dir(path)) => {
            let at = Path::new(OsStr::from_bytes(path));
            let shown = String::from_utf8_lossy(path);
            let tree = Dir::new(at).map_err(|e| Failure::new(format!("dir {shown}"), e))?;
            serve(request, tree)
        }
        Some(What::Mem) => serve(request, Mem::new(request.size.unwrap_or_else(half_of_memory))),
        Some(What::Registry) => serve(request, Mem::new(REGISTRY)),
        Some(What::Key(name)) if request.shared => make_shared_key(name),
        Some(What::Key(name)) => make_key(name, request.days.unwrap_or(365)),
        None => Ok(()),
    }
}

/// Bytes that the directory of servers may take: some 200,000 entries.
const REGISTRY: u64 = 1 << 30;

fn make_key(name: &[u8], days: u64) -> Result<(), Failure> {
    let shown = String::from_utf8_lossy(name);
    let life = Duration::from_secs(days * 86_400);
    let made = keys::directory().and_then(|dir| make::make(&dir, &shown, life));
    let [server, client] = made.map_err(|e| Failure::new("keygen", e.to_string()))?;
    let text = format!(
        "{}\n    stays here, for ns-serve --auth tls\n{}\n    goes to whoever is to reach the server, into the same directory there; then delete it here\n",
        server.display(),
        client.display()
    );
    crate::print(text.as_bytes())
}

fn make_shared_key(name: &[u8]) -> Result<(), Failure> {
    let shown = String::from_utf8_lossy(name);
    let made = keys::directory().and_then(|dir| make::make_shared(&dir, &shown));
    let path = made.map_err(|e| Failure::new("keygen", e.to_string()))?;
    let text = format!(
        "{}\n    stays here, for ns-serve --auth tls, and goes, by a secret way, to whoever is to reach the server, into the same directory there\n",
        path.display()
    );
    crate::print(text.as_bytes())
}

/// Every fid of a served directory is a descriptor, and two when it is open, so
/// the usual soft limit would be met soon. Nothing here uses select(2), for
/// which it is kept low. One client gets a part of what there is.
pub(crate) fn limits() -> Limits {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let all = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let raised = rustix::process::setrlimit(Resource::Nofile, all);
    let most = if raised.is_ok() { limit.maximum } else { limit.current };
    let most = most.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let usual = Limits::default();
    Limits { fids: usual.fids.min(most / 8).max(64), ..usual }
}

/// What tmpfs takes by default (tmpfs(5)).
pub(crate) fn half_of_memory() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit)) / 2
}

/// What the signals have said.
struct Signals {
    stop: Arc<AtomicBool>,
    status: Arc<AtomicBool>,
    wake: UnixStream,
}

impl Signals {
    fn catch() -> std::io::Result<Signals> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let (stop, status) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        for (signal, flag) in [(SIGTERM, &stop), (SIGINT, &stop), (SIGUSR1, &status)] {
            // The flag is set before the pipe wakes whoever looks at it.
            signal_hook::flag::register(signal, flag.clone())?;
            signal_hook::low_level::pipe::register(signal, waker.try_clone()?)?;
        }
        Ok(Signals { stop, status, wake })
    }

    /// Empties the pipe; true when the server is to end. `print` when asked
    /// for the counters.
    fn heard(&self, print: impl FnOnce()) -> bool {
        while rustix::io::read(&self.wake, &mut [0; 64]).is_ok_and(|n| n > 0) {}
        if self.status.swap(false, Relaxed) {
            print();
        }
        self.stop.load(Relaxed)
    }
}

fn serve<T: Tree>(request: &Request, tree: T) -> Result<(), Failure> {
    let failed = |what: &'static str| move |e| Failure::new(what, crate::world::of_io(&e));
    let signals = Signals::catch().map_err(failed("signals"))?;
    let server = Server::new(tree, request.read_only, limits());
    if request.stdio {
        return serve_stdio(server, &signals).map_err(failed("--stdio"));
    }
    let bound = request
        .listen
        .iter()
        .map(|address| listen::bind(address, request.auth()))
        .collect::<Result<Vec<Bound>, Failure>>()?;
    // Clients say what permissions a new file has, and they have applied their
    // own umask.
    rustix::process::umask(rustix::fs::Mode::empty());
    announce::start(&request.announce, &bound, request.auth())?;
    for one in &bound {
        crate::print(format!("{}\n", one.address).as_bytes())?;
    }
    let listeners: Vec<_> = bound.iter().map(|one| &one.listener).collect();
    let done = server.listen(&listeners, request.auth(), signals.wake.as_fd(), || {
        signals.heard(|| drop(crate::print(status(&server).as_bytes())))
    });
    server.shut();
    done.map_err(failed("poll"))
}

/// One connection on standard input and output. Its thread is not waited for
/// when a signal ends the program: it may sit in a read.
fn serve_stdio<T: Tree>(server: Server<T>, signals: &Signals) -> std::io::Result<()> {
    rustix::process::umask(rustix::fs::Mode::empty());
    let server = Arc::new(server);
    let (done, ended) = UnixStream::pair()?;
    let serving = server.clone();
    let thread = std::thread::spawn(move || {
        let _done = done;
        serving.serve(std::io::stdin(), std::io::stdout(), Peer::Trusted)
    });
    while !listen::wait_for_either(&ended, &signals.wake)? {
        if signals.heard(|| eprint!("{}", status(&server))) {
            return Ok(());
        }
    }
    thread.join().unwrap_or(Ok(()))
}

/// One line of counters.
fn status<T: Tree>(server: &Server<T>) -> String {
    let counters = server.status();
    let each: Vec<String> = counters.iter().map(|(name, n)| format!("{name} {n}")).collect();
    format!("{}\n", each.join(", "))
}
