//! Connections to servers: one for each server, dialled when it is first
//! needed and again when it has died.
//!
//! No lock: two threads that find none both dial, and one of the two
//! connections is dropped again. A signal handler that comes in between does
//! the same.

use super::kept::KEPT;
use super::near::Near;
use crate::guest::Guest;
use crate::wire::{self, Wire};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;
use once_cell::race::OnceBox;
use privns_abi::{Errno, Result};
use privns_host::{Host, Kernel, Rcu};
use privns_namespace::file::{self, Cache, Owner};
use privns_namespace::index::Index;
use privns_namespace::traffic::{Tally, Traffic};
use privns_ninep::attr::Qid;
use privns_ninep::client::window::Window;
use privns_ninep::client::{Asked, Attached, Fid, Options};
use privns_ninep::dialect::OFFERS;
use privns_ninep::{Dialect, MSIZE_MAX};

/// What a server is and how it is to be used: its entry in the family's table.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Its number.
    pub id: u32,
    /// `unix!PATH`, or `tcp!NUMERIC!PORT`.
    pub dial: &'a [u8],
    /// The tree that is asked for.
    pub aname: &'a [u8],
    /// As whom.
    pub uname: &'a [u8],
    /// Message size to ask for, bytes.
    pub msize: u32,
    /// The only dialect to offer.
    pub dialect: Option<Dialect>,
    /// How long a request may take.
    pub timeout: Duration,
    /// How much of a file is under way at once.
    pub window: Window,
    /// Files of the attached user are shown as the program's own.
    pub owner_me: bool,
    /// What may be answered without the server.
    pub cache: Cache,
}

impl<'a> Settings<'a> {
    /// What a table says of a server; `None` for a number that it has not.
    #[must_use]
    pub fn of(index: Index<'a>, id: u32) -> Option<Settings<'a>> {
        let server = index.server(id)?;
        Some(Settings {
            id,
            dial: server.dial(),
            aname: server.aname(),
            uname: server.user(),
            msize: server.msize().unwrap_or(MSIZE_MAX),
            dialect: server.dialect().map(|dialect| match dialect {
                file::Dialect::Base => Dialect::Base,
                file::Dialect::Unix => Dialect::Unix,
                file::Dialect::Linux => Dialect::Linux,
            }),
            timeout: Duration::from_secs(server.timeout().unwrap_or(TIMEOUT).into()),
            window: Window::new(server.window().unwrap_or(0)),
            owner_me: server.owner() == Owner::Me,
            cache: server.cache(),
        })
    }
}

/// Seconds that a request may take when nothing else is said.
const TIMEOUT: u32 = 30;

/// A connection in use. It ends when nobody uses it any more.
pub type Conn = Arc<Connection>;

/// A connection and the root of what it shows.
pub struct Connection {
    /// The client.
    pub client: Wire,
    root: Fid,
    /// Identity of the root.
    pub root_qid: Qid,
    /// The server's number.
    pub server: u32,
    /// The server's owner and group of the root, which are shown as ours.
    pub me: Option<(u32, u32)>,
    /// The tree itself, where it is at hand.
    pub(super) near: Option<Near>,
    /// It is the parent's of the process that has forked.
    forsaken: AtomicBool,
    /// It was attached as a user that the process is no more.
    former: AtomicBool,
}

/// A new connection, and where the names have led that were walked at once.
type Dialled = (Connection, Option<(Fid, Qid)>);

impl Drop for Connection {
    fn drop(&mut self) {
        KEPT.remove(self.fd());
    }
}

impl Connection {
    fn fd(&self) -> i32 {
        self.client.transport().socket().fd()
    }

    /// In the child of a fork: it is the parent's, and nothing may be heard on
    /// it. It is never dropped here: another thread may have been amid its
    /// lock, or its memory.
    pub(crate) fn forsake(self: &Arc<Connection>) {
        if !self.forsaken.swap(true, Ordering::Relaxed) {
            KEPT.remove(self.fd());
            self.client.transport().socket().close();
            if let Some(near) = &self.near {
                near.close();
            }
            core::mem::forget(self.clone());
        }
    }

    /// Its descriptor was that of a child which shared our memory and is gone.
    pub(crate) fn lose(&self) {
        self.forsaken.store(true, Ordering::Relaxed);
        self.client.transport().socket().lost();
    }

    /// The root of what the server shows.
    pub fn root(&self) -> &Fid {
        &self.root
    }

    /// Whether it is the parent's, of whom this process is a child.
    #[must_use]
    pub fn is_forsaken(&self) -> bool {
        self.forsaken.load(Ordering::Relaxed)
    }

    /// Whether the process has become another user since. What is open stays so,
    /// and names are looked up as whom the process is now.
    #[must_use]
    pub fn is_former(&self) -> bool {
        self.former.load(Ordering::Relaxed)
    }

    /// Whether the connection is of no use, here and now.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.is_forsaken() || self.client.is_dead()
    }

    /// Whether the server answers requests in the order in which they were
    /// sent.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        self.client.agreed().ours
    }

    /// Whether the server is known to write at the end of what was opened for
    /// that. Of others diod does and unpfs does not, and both take the flag.
    #[must_use]
    pub fn appends(&self) -> bool {
        let agreed = self.client.agreed();
        agreed.ours && agreed.dialect == privns_ninep::Dialect::Linux
    }

    /// Dials, and walks where `names` lead.
    fn dial(settings: &Settings<'_>, guest: Option<&Guest>, names: &[&[u8]]) -> Result<Dialled> {
        let one = settings.dialect.map(|dialect| [dialect.version()]);
        let options = Options {
            msize: settings.msize,
            timeout: settings.timeout,
            window: settings.window,
            offers: one.as_ref().map_or(&OFFERS, |one| one),
            ..Options::default()
        };
        let client = wire::dial(settings.dial, &options)?;
        let (uname, uid, aname) = (settings.uname, Kernel.geteuid(), settings.aname);
        // What a guest opens is in its own table of descriptors.
        let asked = Asked { near: guest.is_none() && Near::is_wanted(settings), names };
        let Attached { root, qid: root_qid, near, found } =
            client.attach_asking(uname, uid, aname, asked)?;
        let near = near.and_then(|told| Near::find(&told, client.transport().socket()));
        let me = match settings.owner_me {
            true => client.getattr(&root).ok().map(|attr| (attr.uid, attr.gid)),
            false => None,
        };
        let (forsaken, former) = (AtomicBool::new(false), AtomicBool::new(false));
        let server = settings.id;
        Ok((Connection { client, root, root_qid, server, me, near, forsaken, former }, found))
    }
}

/// Shortest and longest time between two attempts to dial, milliseconds.
const BACKOFF: (u32, u32) = (50, 2000);

/// Requests that are made to read what is outstanding.
const ANSWERS: usize = 64;

/// What a process has of one server.
struct Server {
    id: u32,
    conn: Rcu<Conn>,
    /// Until when it is not dialled again, by [`Host::now_ms`], and how long
    /// the next pause is.
    until: AtomicU64,
    pause: AtomicU32,
    /// What the last attempt said.
    said: AtomicU32,
    next: OnceBox<Server>,
}

/// The servers that a process has met. Only ever added to.
#[derive(Default)]
pub(super) struct Servers {
    first: OnceBox<Server>,
}

impl Servers {
    pub(super) const fn new() -> Servers {
        Servers { first: OnceBox::new() }
    }

    fn all(&self) -> impl Iterator<Item = &Server> {
        core::iter::successors(self.first.get(), |server| server.next.get())
    }

    fn server(&self, id: u32) -> &Server {
        let mut place = &self.first;
        loop {
            let server = place.get_or_init(|| {
                Box::new(Server {
                    id,
                    conn: Rcu::new(),
                    until: AtomicU64::new(0),
                    pause: AtomicU32::new(0),
                    said: AtomicU32::new(0),
                    next: OnceBox::new(),
                })
            });
            if server.id == id {
                return server;
            }
            place = &server.next;
        }
    }

    /// The connection to each, whatever has become of it.
    pub(super) fn conns(&self) -> impl Iterator<Item = Conn> {
        self.all().filter_map(|server| server.conn.read().map(|conn| conn.clone()))
    }

    /// The living connection to a server, if there is one.
    pub(super) fn living(&self, id: u32) -> Option<Conn> {
        let server = self.all().find(|server| server.id == id)?;
        server.conn.read().map(|conn| conn.clone()).filter(|conn| !conn.is_dead())
    }

    /// Dials a server; `guest` is who does it, when that shares the memory of
    /// the process alone. Where `names` lead is found at once, as servers of ours
    /// can do.
    ///
    /// # Errors
    /// EIO, or ETIMEDOUT for one that does not answer: what is wrong with a
    /// file system of which the server cannot be reached. EACCES where it does
    /// not let us attach.
    pub(super) fn dial(
        &self,
        settings: &Settings<'_>,
        guest: Option<&Guest>,
        names: &[&[u8]],
        tally: impl FnOnce() -> Option<Tally>,
    ) -> Result<(Conn, Option<(Fid, Qid)>)> {
        let server = self.server(settings.id);
        let (now, until) = (Kernel.now_ms(), server.until.load(Ordering::Relaxed));
        if now < until {
            return Err(Errno(server.said.load(Ordering::Relaxed) as i32));
        }
        match Connection::dial(settings, guest, names) {
            Ok((conn, found)) => {
                server.pause.store(0, Ordering::Relaxed);
                if let Some(tally) = tally() {
                    let again = u64::from(server.conn.read().is_some());
                    tally.counters().add(Traffic::Reconnects, again);
                    conn.client.monitor().count(tally);
                }
                let conn = Arc::new(conn);
                match guest {
                    Some(guest) => guest.dials(conn.clone()),
                    None => {
                        KEPT.add(conn.fd());
                        // Another thread may just have put its own there: ours
                        // serves this one call then.
                        server.conn.replace(conn.clone());
                    }
                }
                Ok((conn, found))
            }
            Err(Errno::EINTR) => Err(Errno::EINTR),
            Err(error) => {
                let said = match error {
                    // A search along PATH goes on after EACCES, and not after EPERM.
                    Errno::EACCES | Errno::EPERM => Errno::EACCES,
                    Errno::ETIMEDOUT => error,
                    _ => Errno::EIO,
                };
                let pause = server.pause.load(Ordering::Relaxed);
                let pause = (pause * 2).clamp(BACKOFF.0, BACKOFF.1);
                server.pause.store(pause, Ordering::Relaxed);
                server.said.store(said.0 as u32, Ordering::Relaxed);
                server.until.store(Kernel.now_ms() + u64::from(pause), Ordering::Relaxed);
                Err(said)
            }
        }
    }

    /// Waits for what is under way, before the connections end: whoever waits
    /// for this process may look at once for what it has written. Of servers
    /// of ours only those answers are waited for; others for all, since diod
    /// 1.0.24 is killed by SIGPIPE when it answers on a connection that has
    /// ended.
    pub(super) fn drain(&self) {
        for conn in self.conns().filter(|conn| !conn.is_dead()) {
            if conn.is_ordered() {
                let _ = conn.client.settle_all();
                continue;
            }
            // Answers may come in any order: each request reads for all.
            for _ in 0..ANSWERS {
                if conn.client.counters().in_flight == 0 || conn.client.getattr(&conn.root).is_err()
                {
                    break;
                }
            }
        }
    }

    /// Lets go of connections to servers that do not stay. They end when
    /// nothing is open on them any more, and with them all that they have of
    /// their servers.
    pub(super) fn leave(&self, stays: &dyn Fn(u32) -> bool) {
        for server in self.all().filter(|server| !stays(server.id)) {
            server.conn.clear();
        }
    }

    /// The process has become another user, as whom it attaches anew.
    pub(super) fn another_user(&self) {
        for server in self.all() {
            if let Some(conn) = server.conn.read() {
                conn.former.store(true, Ordering::Relaxed);
            }
            server.conn.clear();
            // What the last one was refused the next one may have.
            server.until.store(0, Ordering::Relaxed);
        }
    }

    /// For the child of a fork: the connections are its parent's. They are
    /// left without a byte said, and their locks are not touched.
    pub(super) fn forked(&self) {
        for server in self.all() {
            server.conn.abandon(Connection::forsake);
        }
    }
}
