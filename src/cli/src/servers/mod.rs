//! The 9P servers of a namespace, reached before anything is run in it: so that
//! mistakes show at once, and names on them can be looked up while it is built.
//!
//! - `dial`: from an address to a connection, or to one line that says why
//!   there is none.
//! - `look`: a [`Host`](privns_host::Host) that has the files of the servers
//!   too.
//! - [`attendant`]: the processes that a family's servers and relays are.
//! - [`memory`]: what a memory tree is to be.
//!
//! Programs dial unix sockets and numeric TCP addresses only. A memory tree of
//! the family's own and an instance below a descriptor are served, and every
//! other transport is relayed, by an attendant on a socket beside the family's
//! skeleton.

pub mod attendant;
mod dial;
mod look;
pub mod memory;

use crate::failure::{Failure, Why};
use crate::tree;
use attendant::Attendant;
use dial::Connection;
use privns_abi::{Errno, path};
use privns_host::Kernel;
use privns_namespace::dump::Origin;
use privns_namespace::file::{MountOptions, Owner};
use privns_namespace::{Family, Server, Table};
use privns_ninep::address::Address;
use privns_servers::munge;
use privns_servers::registry::{self, Kind};
use std::cell::{OnceCell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// The servers that are known while a namespace is built, changed or printed.
pub struct Reach {
    /// Where attendants have their sockets; empty where none may be left.
    sockets: Vec<u8>,
    /// Whether a server is dialled as soon as it is mounted.
    eager: bool,
    /// Seconds that an answer is waited for at most.
    patience: u32,
    /// The directory that a launcher has handed down to hold instances.
    given: OnceCell<OwnedFd>,
    taken_in: RefCell<TakenIn>,
    met: RefCell<Vec<Met>>,
}

/// Sockets that lead to another machine, by the names that mounts have for
/// them, and how they are reached.
#[derive(Default)]
struct TakenIn {
    sockets: Vec<(Vec<u8>, Vec<u8>)>,
    /// The user has another number there.
    other_user: bool,
}

/// What begins the address of an instance below the directory that was handed
/// down; its name there follows. No line of a namespace file can have it.
pub const GIVEN: &[u8] = b"given!";

/// A server, as far as it has been met.
struct Met {
    /// Its number in the table that is being built; 0: none yet.
    id: u32,
    /// As it was asked for.
    asked: (Vec<u8>, MountOptions),
    /// As it is in the table.
    server: Server,
    attendant: Option<Attendant>,
    connection: Option<Result<Rc<Connection>, Failure>>,
}

/// Seconds that an answer is waited for while a namespace is only printed.
const BRIEFLY: u32 = 2;
/// The same while one is built, where no other time has been asked for.
const USUALLY: u32 = 30;

impl Reach {
    /// For a family that is being made, with its skeleton there: servers are
    /// dialled as they are mounted.
    #[must_use]
    pub fn for_family(skeleton: &[u8]) -> Rc<Reach> {
        Reach::new(path::parent(skeleton), true, USUALLY)
    }

    /// For a namespace that nothing is run in: a server is dialled when a name
    /// on it is looked up.
    #[must_use]
    pub fn to_print(skeleton: &[u8]) -> Rc<Reach> {
        Reach::new(path::parent(skeleton), false, BRIEFLY)
    }

    /// For a table that is only looked at.
    #[must_use]
    pub fn of(table: &Table) -> Rc<Reach> {
        let reach = Reach::new(b"", false, BRIEFLY);
        reach.know(table);
        reach
    }

    fn new(sockets: &[u8], eager: bool, patience: u32) -> Rc<Reach> {
        let (given, taken_in, met) = (OnceCell::new(), RefCell::default(), RefCell::default());
        Rc::new(Reach { sockets: sockets.to_vec(), eager, patience, given, taken_in, met })
    }

    /// Instances are below this directory from now on.
    pub fn give(&self, dir: OwnedFd) {
        let _ = self.given.set(dir);
    }

    /// Sockets that lead to what another machine exports: the names that
    /// mounts have for them, and how they are reached.
    pub fn take_in(&self, sockets: &[(Vec<u8>, Vec<u8>)], origin: &Origin) {
        let other_user = origin.uid != Kernel.geteuid();
        *self.taken_in.borrow_mut() = TakenIn { sockets: sockets.to_vec(), other_user };
    }

    /// What a table has already.
    pub fn know(&self, table: &Table) {
        let mut met = self.met.borrow_mut();
        for server in table.servers() {
            let asked = (server.dial.clone(), server.options.clone());
            let known = met.iter().any(|m| m.id == server.id);
            if !known {
                let server = server.clone();
                let id = server.id;
                met.push(Met { id, asked, server, attendant: None, connection: None });
            }
        }
    }

    /// The table is built once more, with what has been met so far.
    pub fn again(&self, table: &Table) {
        self.met.borrow_mut().iter_mut().for_each(|met| met.id = 0);
        self.met.borrow_mut().retain(|met| met.attendant.is_some() || met.connection.is_some());
        self.know(table);
    }

    /// Reaches a server that is to be mounted: fills in what programs dial, and
    /// whom they attach as.
    ///
    /// # Errors
    /// It cannot be reached, or does not let us in.
    pub fn server(&self, server: &mut Server) -> Result<(), Failure> {
        let asked = (server.dial.clone(), server.options.clone());
        let mut met = self.met.borrow_mut();
        let at = match met.iter().position(|met| met.id == 0 && met.asked == asked) {
            Some(at) => at,
            None => {
                met.push(self.meet(server, asked)?);
                met.len() - 1
            }
        };
        let Some(found) = met.get_mut(at) else { return Ok(()) };
        found.id = server.id;
        found.server.id = server.id;
        let mut connected = Ok(());
        if self.eager {
            connected = found.connect(self.patience).map(drop);
            let refused = connected.as_ref().is_err_and(|e| e.errno() == Some(Errno::EPERM));
            if refused && found.attendant.is_none() {
                connected = self.prove(found).unwrap_or(connected);
            }
        }
        *server = found.server.clone();
        connected.inspect_err(|_| drop(met.remove(at)))
    }

    fn meet(&self, server: &Server, asked: (Vec<u8>, MountOptions)) -> Result<Met, Failure> {
        let mut server = server.clone();
        let failure = |e: Errno| Failure::new(dial::what(&server.address), e);
        if let (Some(name), Some(given)) = (server.dial.strip_prefix(GIVEN), self.given.get()) {
            let dir = tree::open_dir(given, name).map_err(failure)?;
            let attendant = Attendant::of_directory(&self.sockets, dir, &server)?;
            return Ok(Met::by(attendant, server, asked));
        }
        let (address, munge) = match Address::parse(&server.dial).map_err(failure)? {
            named @ Address::Directory { .. } => {
                let entry = registry::resolve(&named);
                let entry =
                    entry.map_err(|e| Failure::new(dial::what(&server.address), e.to_string()))?;
                (entry.address, entry.kind == Kind::Munge)
            }
            address => (address, false),
        };
        let address = match address {
            Address::Unix(path) => Address::Unix(self.taken(path, &mut server)),
            other => other,
        };
        let dialled = match address {
            Address::Unix(_) if !munge => address,
            Address::Tcp { host, port } if !munge => dial::numeric(&server.address, &host, port)?,
            other => {
                let attendant = Attendant::new(&self.sockets, other, &server, munge)?;
                return Ok(Met::by(attendant, server, asked));
            }
        };
        server.dial = dialled.to_bytes();
        server.user = server.options.uname.clone().unwrap_or_else(dial::user);
        Ok(Met { id: 0, asked, server, attendant: None, connection: None })
    }

    /// The name of a socket, which may be one that was [taken
    /// in](Self::take_in): then the server is named by how it is reached, and
    /// its files are the user's, who may have another number there.
    fn taken(&self, path: Vec<u8>, server: &mut Server) -> Vec<u8> {
        let taken_in = self.taken_in.borrow();
        let Some((_, now)) = taken_in.sockets.iter().find(|(name, _)| *name == path) else {
            return path;
        };
        server.address = Address::Unix(now.clone()).to_bytes();
        if taken_in.other_user {
            server.options.owner = Owner::Me;
        }
        now.clone()
    }

    /// A server that lets nobody in without a proof may be content with a
    /// credential of MUNGE, which a relay makes for each program that attaches.
    /// `None`: there is nothing to be tried.
    fn prove(&self, met: &mut Met) -> Option<Result<(), Failure>> {
        munge::credential().ok()?;
        let address = Address::parse(&met.server.dial).ok()?;
        let attendant = Attendant::new(&self.sockets, address, &met.server, true).ok()?;
        met.server.dial = attendant.address().to_bytes();
        met.attendant = Some(attendant);
        met.connection = None;
        Some(met.connect(self.patience).map(drop))
    }

    /// Lets the attendants go on for the family that has been made; those of
    /// servers that its table does not have end with us.
    ///
    /// # Errors
    /// What handing them the family's table says.
    pub fn leave(&self, family: &Family, table: &Table) -> Result<(), Failure> {
        for met in self.met.borrow_mut().iter_mut().filter(|met| table.is_mounted(met.id)) {
            if let Some(attendant) = &mut met.attendant {
                attendant
                    .leave(family, met.id)
                    .map_err(|e| Failure::new(dial::what(&met.server.address), e))?;
            }
        }
        Ok(())
    }

    /// The connection to a server.
    fn connection(&self, id: u32) -> Result<Rc<Connection>, Failure> {
        let mut met = self.met.borrow_mut();
        let met = met.iter_mut().find(|met| met.id == id);
        let unknown = || Failure::new(format!("server {id}"), Errno::ENODEV);
        met.ok_or_else(unknown)?.connect(self.patience)
    }
}

impl Met {
    /// A server that an attendant stands for.
    fn by(attendant: Attendant, mut server: Server, asked: (Vec<u8>, MountOptions)) -> Met {
        server.dial = attendant.address().to_bytes();
        let uname = attendant.uname().or_else(|| server.options.uname.clone());
        server.user = uname.unwrap_or_else(dial::user);
        Met { id: 0, asked, server, attendant: Some(attendant), connection: None }
    }

    fn connect(&mut self, patience: u32) -> Result<Rc<Connection>, Failure> {
        if let Some(known) = &self.connection {
            return known.clone();
        }
        let started = self.attendant.as_mut().map_or(Ok(()), |attendant| {
            attendant.start().map_err(|why| match why {
                Why::Errno(e) => dial::unreached(&self.server, e),
                text => Failure::new(dial::what(&self.server.address), text),
            })
        });
        let made = started.and_then(|()| Connection::new(&self.server, patience)).map(Rc::new);
        self.connection = Some(made.clone());
        made
    }
}
