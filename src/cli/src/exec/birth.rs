//! The birth of a family: its place in the runtime directory, its namespace,
//! its table, and the keeper that it leaves behind.

use super::dumps;
use super::init;
use super::places;
use super::request::{Dump, Request};
use super::zero;
use crate::failure::{Failure, shown};
use crate::instance::{self, Given, Held};
use crate::keeper;
use crate::runtime::{self, Entry, Lasting, Runtime};
use crate::servers::Reach;
use privns_abi::Errno;
use privns_host::Kernel;
use privns_namespace::build::{Builder, Built};
use privns_namespace::family::{self, Flag, Inherited};
use privns_namespace::file::Line;
use privns_namespace::{Family, Index, Table, index, print};
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A family that is being made.
pub struct Birth {
    entry: Entry,
    id: u64,
    name: Vec<u8>,
    places: places::Host,
    reach: Rc<Reach>,
}

impl Birth {
    /// Chooses the family's number and takes its place. A family that stands
    /// for another machine's has the number that is looked for from there.
    ///
    /// # Errors
    /// No runtime directory; EEXIST for a name that is taken.
    pub fn begin(name: &[u8]) -> Result<Birth, Failure> {
        let failure = |e| Failure::new("a number for the family", e);
        let node = Kernel.node().map_err(failure)?;
        let id = match family::number_elsewhere(name, node.as_bytes()) {
            Some(id) => id,
            None => family::new_id().map_err(failure)?,
        };
        let mut runtime = Runtime::make()?;
        let end = Instant::now() + DYING;
        let entry = loop {
            match runtime.enter(id, name) {
                Ok(entry) => break entry,
                // The directory was empty, and somebody has just removed it.
                Err(Errno::ENOENT) if Instant::now() < end => runtime = Runtime::make()?,
                // Its last member is gone, and its keeper is about to clean up.
                Err(Errno::EEXIST) if Instant::now() < end && !runtime::is_lived_in(name) => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(e) => return Err(no_place(name, e)),
            }
        };
        let reach = Reach::for_family(&entry.skeleton());
        let places = places::Host::new(id, entry.skeleton(), reach.clone());
        Ok(Birth { entry, id, name: name.to_vec(), places, reach })
    }

    /// The servers of the namespace.
    #[must_use]
    pub fn reach(&self) -> Rc<Reach> {
        self.reach.clone()
    }

    /// Builds the namespace.
    ///
    /// # Errors
    /// The first line that fails.
    pub fn build(&mut self, request: &Request) -> Result<Built, Failure> {
        if let Some(number) = request.instance_fd {
            self.places.give(Given::adopt(number)?)?;
        }
        build(request, &mut self.places)
    }

    /// Runs what sets instances up, in a family whose table is made.
    ///
    /// # Errors
    /// The first that cannot be run.
    pub fn set_up(&self, family: &Family, library: &[u8]) -> Result<(), Failure> {
        init::run_all(family, &self.places.inits, library)
    }

    /// Makes the table, with us as its first member.
    ///
    /// # Errors
    /// What memfd_create(2) and the like say.
    pub fn family(&self, table: &Table, request: &Request) -> Result<Family, Failure> {
        let failure = |e| Failure::new("the family's table", e);
        let family = Family::create_as(self.id, &self.name, table).map_err(failure)?;
        family.enter().map_err(failure)?;
        self.reach.leave(&family, table)?;
        let outer = outer_family().is_some_and(|outer| outer.has(Flag::Strict));
        if request.strict || table.cleared || outer {
            family.set(Flag::Strict);
        }
        if request.enforce {
            family.set(Flag::Enforced);
        }
        Ok(family)
    }

    /// Leaves the keeper behind, which cleans up from here on, and lets the family
    /// be found by way of it.
    ///
    /// # Errors
    /// clone(2)'s; symlinkat(2)'s.
    pub fn leave_keeper(
        mut self,
        keeper: keeper::Coming,
        family: &'static Family,
        table: &Table,
    ) -> Result<(), Failure> {
        let mut held = Held::new(self.places.take());
        held.more(table);
        // In the memory that we leave to it.
        let entry: &'static Entry = Box::leak(Box::new(self.entry));
        let mut keep = vec![entry.fd()];
        keep.extend(held.fds());
        let given = self.places.take_given();
        keep.extend(given.iter().flat_map(Given::fds));
        // What a copied table shows belongs to the family that it was copied
        // from, which therefore must not end before this one.
        keep.extend(outer_fd());
        let work = Work { held, given, id: self.id, entry };
        let (pid, fd) = keeper.watch(family, keep, work).map_err(no_keeper)?;
        entry.publish(pid, fd).map_err(no_keeper)
    }

    /// Takes back what has been made.
    pub fn abandon(mut self) {
        for made in self.places.take() {
            instance::undo(self.id, made);
        }
        if let Some(given) = self.places.take_given() {
            given.leave(self.id);
        }
        instance::remove_all(self.id, &[]);
        self.entry.remove();
        Runtime::all().iter().for_each(Runtime::tidy);
    }
}

/// What a keeper does.
struct Work {
    held: Held,
    given: Option<Given>,
    id: u64,
    entry: &'static Entry,
}

impl keeper::Work for Work {
    fn look(&mut self, family: &Family) {
        if let Ok(table) = family.read_table() {
            self.held.more(&table);
        }
        family.set_held(family.generation());
    }

    fn clear_up(self, family: &Family) {
        // Who asks whether an instance is used must not find us using it.
        drop(self.held);
        if let Some(given) = self.given {
            given.leave(self.id);
        }
        let table = family.read_table().unwrap_or_default();
        instance::remove_all(self.id, &instance::shown_by(&table));
        self.entry.remove();
        Lasting::all().iter().for_each(Lasting::sweep);
        Runtime::all().iter().for_each(Runtime::sweep);
    }
}

/// How long a keeper may take to clean up after its family.
const DYING: Duration = Duration::from_secs(2);

fn no_place(name: &[u8], e: Errno) -> Failure {
    match e {
        Errno::EEXIST => {
            Failure::new(format!("--family {}", shown(name)), e).fix("that family lives: --join it")
        }
        e => Failure::new("the family's place in the runtime directory", e),
    }
}

fn no_keeper(e: Errno) -> Failure {
    Failure::new("the family's keeper", e)
}

/// Prints the namespace that would be built.
///
/// # Errors
/// As building it.
pub fn dump(request: &Request, how: Dump) -> Result<(), Failure> {
    crate::print(&dumps::write(&lines(request)?, how)?)
}

/// The lines of the namespace that would be built.
///
/// # Errors
/// As building it.
pub fn lines(request: &Request) -> Result<Vec<Line>, Failure> {
    let birth = Birth::begin(b"")?;
    let mut places = places::Host::dry(birth.id, birth.entry.skeleton());
    let lines = build(request, &mut places)
        .map(|built| print::print(&Kernel, &built.table, built.start.as_deref()));
    birth.entry.remove();
    Runtime::all().iter().for_each(Runtime::tidy);
    lines
}

fn build(request: &Request, places: &mut places::Host) -> Result<Built, Failure> {
    let dumps::Restored { mut lines, origin } = dumps::restored(request)?;
    let sent = request.arrival.as_ref().map(|arrival| arrival.origin.clone());
    let origin = origin.or(sent.filter(|origin| !origin.is_here()));
    lines.extend(request.lines.iter().cloned());
    let base = if request.restore.is_some() { Table::new() } else { base(places)? };
    let cwd = super::environment::here().unwrap_or_default();
    let reach = places.reach();
    reach.know(&base);
    let mut builder = Builder::new(&*reach, places, &base, &cwd);
    builder.skip_missing = request.skip_missing;
    if request.given || request.restore.is_some() || request.dump.is_some() {
        return builder.run(&lines).map_err(|failure| match &origin {
            Some(origin) if failure.missing_source => dumps::said_where(failure, origin),
            _ => failure,
        });
    }
    let bytes = index::encode(&base);
    let index = Index::parse(&bytes).map_err(|e| Failure::new("the table", e))?;
    let view = super::program::View { index, cwd: &cwd, files: &*reach };
    builder.run(&zero::lines(|name| view.host(name).ok()))
}

/// The namespace to begin from: inside a family, a copy of that family's, with
/// a skeleton of its own. The table of another user is left alone.
fn base(places: &mut places::Host) -> Result<Table, Failure> {
    let Some(family) = outer_family() else { return Ok(Table::new()) };
    let failure = |e| Failure::new("the table of this family", e);
    let mut table = family.read_table().map_err(failure)?;
    places.adopt(&mut table).map_err(failure)?;
    Ok(table)
}

/// The family that this process is in, as its environment says.
#[must_use]
pub fn outer_family() -> Option<Family> {
    let value = inherited()?;
    let inherited = Inherited::parse(&value)?;
    by_fd(&inherited).or_else(|| runtime::by_id(inherited.id).ok())
}

fn by_fd(inherited: &Inherited<'_>) -> Option<Family> {
    Family::attach(inherited.fd).ok().filter(|family| family.id() == inherited.id)
}

/// The descriptor of that family's table that this process has inherited. Where
/// a launcher has brought the variable here its number is another file's.
#[must_use]
pub fn outer_fd() -> Option<i32> {
    by_fd(&Inherited::parse(&inherited()?)?).map(|family| family.fd())
}

/// The value of `PRIVNS`.
#[must_use]
pub fn inherited() -> Option<Vec<u8>> {
    std::env::var_os("PRIVNS").map(OsStringExt::into_vec)
}
