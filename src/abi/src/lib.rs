//! Plain values that every other crate speaks: error numbers, names as bytes,
//! file attributes. Nothing here touches the kernel or allocates, except where
//! a function says so.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod errno;
pub mod path;
pub mod stat;

pub use errno::Errno;
pub use stat::Stat;

/// The result of anything that can fail as a system call fails.
pub type Result<T> = core::result::Result<T, Errno>;
