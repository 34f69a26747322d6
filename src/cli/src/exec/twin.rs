//! The twin of a statically linked ns-exec.
//!
//! A program that the loader has no part in starts sooner: the C library asks the
//! processor some seventy times at every start what it can do, which takes half a
//! millisecond where a hypervisor answers. But no library is loaded into it: what
//! has to see the files as a family does (ns-exec inside a family, or what it
//! runs for a program that the kernel has not) is done by its twin, which is `ns`
//! called by the name of ns-exec. A dynamically linked ns-exec is its own twin.

use super::Stop;
use super::environment::{self, Variables};
use super::program::{cstring, cstrings};
use crate::failure::{Failure, shown};
use crate::tree;
use privns_abi::{Errno, path};
use privns_host::{Kernel, startup};
use privns_namespace::program::preloaded;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// What the twin is called by.
pub const NAME: &str = "ns-exec";

/// Nothing can be loaded into this program: neither the library nor what the C
/// library would ask about names (nsswitch.conf(5)).
pub const IS_STATIC: bool = cfg!(target_feature = "crt-static");

/// The twin's file; of a dynamically linked program its own.
///
/// # Errors
/// As readlink(2)'s of /proc/self/exe.
pub fn file() -> Result<Vec<u8>, Errno> {
    let own = tree::own_file()?;
    Ok(if IS_STATIC { [path::parent(&own), b"/ns"].concat() } else { own })
}

/// What to exec for it: the link reaches a file that has been replaced, too.
///
/// # Errors
/// As [`file()`].
pub fn to_exec() -> Result<Vec<u8>, Errno> {
    if IS_STATIC { file() } else { Ok(b"/proc/self/exe".to_vec()) }
}

/// Whether this process is one that the library should be loaded into.
fn is_needed() -> bool {
    let preloads = |all: OsString| preloaded(all.as_bytes()).any(environment::is_library);
    IS_STATIC && std::env::var_os("LD_PRELOAD").is_some_and(preloads)
}

/// Becomes the twin where it is needed.
///
/// # Errors
/// It cannot be run.
pub fn take_over(words: &[OsString]) -> Result<(), Stop> {
    if !is_needed() {
        return Ok(());
    }
    let file = file().map_err(environment::unknown_place)?;
    let argv = [NAME.as_bytes()].into_iter().chain(words.iter().map(|word| word.as_bytes()));
    let argv = cstrings(argv.map(<[u8]>::to_vec).collect())?;
    let (path, variables) = (cstring(file.clone())?, Variables::edited(&[]).to_exec()?);
    startup::restore();
    let error = Kernel.execve(&path, &argv, &variables);
    let failure = Failure::new(format!("{NAME} inside a family"), error);
    Err(failure.fix(format!("{} belongs to it: install both", shown(&file))).into())
}
