//! What `ns-exec`, `ns` and `ns-serve` are made of.
//!
//! - [`spec`]: the outer face of a program, said once.
//! - [`exec`]: builds a namespace and becomes a program in it.
//! - [`ns`]: looks at a living family's namespace and changes it.
//! - [`serve`]: the 9P servers.
//! - [`slurm`]: what a task of a batch job is given.
//! - [`servers`]: what a namespace mounts, reached.
//! - [`runtime`], [`keeper`]: how families are found, and what outlives them.
//! - [`world`]: the environment, users, jobs.
//!
//! These programs may themselves run inside a family. What people name goes
//! through `std` and is looked up in their namespace like any name; what is
//! our own housekeeping (the runtime directory, `/proc`, skeletons, instances)
//! goes through raw system calls and is the host's.
#![forbid(unsafe_code)]

pub mod exec;
pub mod images;
pub mod instance;
pub mod keeper;
pub mod ns;
pub mod runtime;
pub mod serve;
pub mod servers;
pub mod slurm;
pub mod spec;
pub mod tree;
pub mod world;

pub(crate) use privns_namespace::failure;

use failure::Failure;

/// Prints a failure as its one line on standard error.
pub fn complain(program: &str, failure: &Failure) {
    eprintln!("{program}: {failure}");
}

/// Prints on standard output.
///
/// # Errors
/// write(2)'s.
pub fn print(text: &[u8]) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let done = out.write_all(text).and_then(|()| out.flush());
    done.map_err(|e| Failure::new("standard output", world::of_io(&e)))
}
