//! What one process has of a namespace: its family's table as last seen, its
//! working directory, its descriptors, and the directories it has resolved.
//!
//! - [`Process`]: all of that together, and [`locate`], which every
//!   call that takes a name goes through.
//! - [`counts`]: what became of its calls.
//! - [`fds`]: what each descriptor shows.
//! - [`dirs`]: directories known to be free of symbolic links.
//! - [`guest`]: children that share our memory, and what they must not change.
//! - [`libraries`]: where the loader must look for them on the host.
//! - [`remote`]: files that a server has.
//! - [`listing`]: directories as the namespace lists them.
//! - [`mounts`]: the mount table as `/proc` shows it.
//! - [`sockets`]: names of AF_UNIX sockets, back from what was bound.
//! - [`wire`]: connections to 9P servers, from inside a program.
//!
//! Nothing here takes a lock: these run in signal handlers and in the child of
//! a fork of a threaded program. What is shared between threads is atomics,
//! and a value that is being changed counts as unknown.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod counts;
pub mod deep;
pub mod dirs;
pub mod fds;
pub mod guest;
pub mod libraries;
pub mod listing;
pub mod locate;
pub mod mounts;
pub mod process;
pub mod remote;
pub mod sockets;
pub mod wire;

pub use locate::Target;
pub use process::Process;
