//! Changes of a living family's namespace: wholly or not at all.

use crate::exec::environment::here;
use crate::exec::places;
use crate::failure::{Failure, shown};
use crate::instance;
use crate::keeper;
use crate::runtime::Runtime;
use crate::servers::Reach;
use crate::world::Process;
use privns_abi::Errno;
use privns_namespace::build::{Builder, Instance, Places};
use privns_namespace::file::{self, Action, Environment, Line};
use privns_namespace::poly::Rule;
use privns_namespace::{Family, Server};
use std::rc::Rc;

/// Runs a namespace file.
///
/// # Errors
/// The first line that fails.
pub(crate) fn file(family: &Family, name: &[u8]) -> Result<(), Failure> {
    let text =
        Process.read(name).map_err(|e| Failure::new(format!("reading {}", shown(name)), e))?;
    run(family, &file::parse(name, &text, &Process)?)
}

/// Acts on the rules of a file.
///
/// # Errors
/// The first line that cannot be read, or acted upon.
pub(crate) fn poly(family: &Family, words: &[Vec<u8>]) -> Result<(), Failure> {
    let words: Vec<Vec<u8>> = [b"poly".to_vec()].into_iter().chain(words.iter().cloned()).collect();
    run(family, &file::parse_words(&words, b"ns poly", &Process)?)
}

/// Acts on lines.
///
/// # Errors
/// The first line that fails.
pub(crate) fn run(family: &Family, lines: &[Line]) -> Result<(), Failure> {
    let skeleton = skeleton(family)?;
    let cwd = here().unwrap_or_default();
    let reach = Reach::for_family(&skeleton);
    let serves =
        |line: &Line| matches!(line.action, Action::Mount { .. } | Action::Instance { .. });
    if lines.iter().any(serves) {
        rehearse(family, &reach, lines, &cwd)?;
    }
    let mut places = places::Host::new(family.id(), skeleton, reach.clone());
    let mut failed = None;
    let done = family.update(|table| {
        reach.again(table);
        let built = Builder::new(&*reach, &mut places, table, &cwd).run(lines);
        let left = built.and_then(|built| reach.leave(family, &built.table).map(|()| built));
        match left {
            Ok(built) => {
                *table = built.table;
                Ok(built.skipped)
            }
            Err(failure) => {
                let errno = failure.errno().unwrap_or(Errno::EINVAL);
                failed = Some(failure);
                Err(errno)
            }
        }
    });
    match done {
        Ok(skipped) => {
            if places.has_made() {
                keeper::tell(family);
            }
            let done = crate::exec::set_up(family, &places.inits);
            for failure in skipped {
                crate::complain("ns", &failure);
            }
            done
        }
        Err(errno) => {
            places.undo();
            Err(failed.unwrap_or_else(|| Failure::new("changing the family's table", errno)))
        }
    }
}

/// Acts on lines for nothing but to reach the servers that they mount: under the
/// table's lock nobody is waited for.
fn rehearse(family: &Family, reach: &Rc<Reach>, lines: &[Line], cwd: &[u8]) -> Result<(), Failure> {
    let table = family.read_table().map_err(|e| Failure::new("the family's table", e))?;
    reach.again(&table);
    let mut places = Rehearsed { skeleton: table.skeleton.clone(), reach: reach.clone() };
    Builder::new(&**reach, &mut places, &table, cwd).run(lines).map(drop)
}

/// Makes nothing.
struct Rehearsed {
    skeleton: Vec<u8>,
    reach: Rc<Reach>,
}

impl Rehearsed {
    fn made(&self, number: u32) -> Vec<u8> {
        let number = number.to_string();
        [&self.skeleton[..], b"/", number.as_bytes()].concat()
    }
}

impl Places for Rehearsed {
    fn dir(&mut self, _at: &[u8], number: u32) -> Result<Vec<u8>, Failure> {
        Ok(self.made(number))
    }
    fn symlink(&mut self, _at: &[u8], number: u32, _to: &[u8]) -> Result<Vec<u8>, Failure> {
        Ok(self.made(number))
    }
    fn instance(&mut self, _at: &[u8], original: &[u8]) -> Result<Instance, Failure> {
        Ok(Instance::Host(original.to_vec()))
    }
    fn by_rule(
        &mut self,
        _at: &[u8],
        original: Option<&[u8]>,
        rule: &Rule,
    ) -> Result<Instance, Failure> {
        Ok(match instance::served(rule)? {
            Some(address) => Instance::Served(address),
            None => Instance::Host(original.unwrap_or(&self.skeleton).to_vec()),
        })
    }
    fn server(&mut self, _at: &[u8], server: &mut Server) -> Result<(), Failure> {
        self.reach.server(server)
    }
}

/// The family's skeleton.
fn skeleton(family: &Family) -> Result<Vec<u8>, Failure> {
    let found = Runtime::all().iter().find_map(|r| r.skeleton_of(family.id()));
    found.ok_or_else(|| Failure::new("the family's skeleton", Errno::ENOENT))
}
