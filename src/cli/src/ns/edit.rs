//! Changes of a living family's namespace: wholly or not at all.

use crate::exec::environment::here;
use crate::exec::places;
use crate::failure::{Failure, shown};
use crate::keeper;
use crate::runtime::Runtime;
use crate::world::Process;
use privns_abi::Errno;
use privns_host::Kernel;
use privns_namespace::Family;
use privns_namespace::build::Builder;
use privns_namespace::file::{self, Environment, Line};

/// Runs a namespace file.
///
/// # Errors
/// The first line that fails.
pub(crate) fn file(family: &Family, name: &[u8]) -> Result<(), Failure> {
    let text =
        Process.read(name).map_err(|e| Failure::new(format!("reading {}", shown(name)), e))?;
    run(family, &file::parse(name, &text, &Process)?)
}

/// Acts on lines.
///
/// # Errors
/// The first line that fails.
pub(crate) fn run(family: &Family, lines: &[Line]) -> Result<(), Failure> {
    let mut places = places::Host::new(family.id(), skeleton(family)?);
    let cwd = here().unwrap_or_default();
    let mut failed = None;
    let done =
        family.update(|table| match Builder::new(&Kernel, &mut places, table, &cwd).run(lines) {
            Ok(built) => {
                *table = built.table;
                Ok(built.skipped)
            }
            Err(failure) => {
                let errno = failure.errno().unwrap_or(Errno::EINVAL);
                failed = Some(failure);
                Err(errno)
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

/// The family's skeleton.
fn skeleton(family: &Family) -> Result<Vec<u8>, Failure> {
    let found = Runtime::all().iter().find_map(|r| r.skeleton_of(family.id()));
    found.ok_or_else(|| Failure::new("the family's skeleton", Errno::ENOENT))
}
