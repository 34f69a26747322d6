//! The only door to the kernel.
//!
//! Everything below `preload` runs inside somebody else's program, with our
//! own `open` exported to it: a call of the C library would come straight back
//! to us. So the kernel is entered here by inline system calls alone, and all
//! that is `unsafe` about that stays in this crate and in `preload`.
//!
//! - [`Host`]: what name resolution asks of a kernel; [`Kernel`] is the real
//!   one, `fake::Tree` an in-memory one for tests.
//! - [`raw`]: the system call instruction.
//! - [`Name`], [`HotName`]: NUL-terminated names, growing and on the stack;
//!   [`Spelled`]: those of the program.
//! - [`Shared`]: shared memory as bounds-checked atomics.
//! - [`net`], [`futex`], [`signals`]: connections, locks and waiting inside
//!   somebody else's program.
//!
//! What another system would have to supply is a sibling of `raw` and
//! `kernel`; nothing above knows a system call number.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(feature = "launcher")]
pub mod behind;
pub mod cpu;
pub mod dirent;
pub mod elsewhere;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod fd;
pub mod file;
pub mod futex;
#[cfg(any(test, all(feature = "launcher", target_env = "musl")))]
pub mod heap;
pub mod ids;
pub mod kernel;
pub mod lazy;
#[cfg(any(test, feature = "launcher"))]
mod mappings;
pub mod name;
pub mod net;
pub mod process;
pub mod raw;
pub mod rcu;
pub mod reach;
pub mod shared;
pub mod signals;
pub mod slot;
pub mod spelled;
#[cfg(feature = "launcher")]
pub mod startup;

pub use kernel::Kernel;
pub use name::{HotName, Name};
pub use rcu::Rcu;
pub use shared::Shared;
pub use slot::Slot;
pub use spelled::Spelled;

use core::ffi::CStr;
use privns_abi::{Result, Stat};

/// What resolving a name asks of the system that holds the files.
///
/// Paths are absolute host paths; no method follows a symbolic link in the
/// last component unless it says so. Errors are the kernel's own.
pub trait Host {
    /// lstat(2).
    fn lstat(&self, path: &CStr) -> Result<Stat>;
    /// stat(2): follows links, as the host alone would.
    fn stat(&self, path: &CStr) -> Result<Stat>;
    /// readlink(2): replaces `out` with the link's text. EINVAL says that the
    /// file is there and is no link.
    fn readlink(&self, path: &CStr, out: &mut Name) -> Result<()>;
    /// Fails with ELOOP when any component of `path`, the last one included,
    /// is a symbolic link, with ENOTDIR when it is no directory
    /// (openat2(2), `RESOLVE_NO_SYMLINKS`). ENOSYS and EPERM: the host cannot
    /// tell, walk instead.
    fn check_plain_dir(&self, path: &CStr) -> Result<()>;
    /// Milliseconds of a coarse clock that never goes back.
    fn now_ms(&self) -> u64;
}
