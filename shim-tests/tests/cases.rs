//! Every script of `scripts/` and program of `c/programs/`, in every world.

use libtest_mimic::{Arguments, Failed, Trial};
use privns_shim_tests as shim;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let mut trials = Vec::new();
    for case in shim::cases().into_iter().map(Arc::new) {
        for world in shim::worlds(&case.worlds) {
            let case = Arc::clone(&case);
            let name = format!("{}/{}", case.name, world.name);
            trials.push(Trial::test(name.clone(), move || one(&name, &case, world)));
        }
    }
    shim::conclude(&args, trials)
}

fn one(name: &str, case: &shim::Case, world: &shim::World) -> Result<(), Failed> {
    if let Some(need) = case.missing().or_else(|| world.missing()) {
        shim::say_skipped(name, need);
        return Ok(());
    }
    case.check(world).map_err(Failed::from)
}
