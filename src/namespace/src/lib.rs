//! What a namespace is: which names show which files.
//!
//! - [`table`]: the mount table as it is edited, stored and printed.
//! - [`index`]: the same, laid out flat for lookups in place; [`lookup`]: what is
//!   asked of either.
//! - [`image`]: the same as bytes, in a family's memory ([`family`]).
//! - [`remote`]: the names of files that 9P servers have.
//! - [`traffic`]: what is exchanged with those servers, counted.
//! - [`remembered`]: a host whose files are looked at once, for launchers.
//! - [`trail`]: what a remembered answer depends on.
//! - [`resolve`]: from a name to a host file, component by component, as the
//!   kernel would in such a tree.
//! - [`mod@file`]: lines read and written; [`mod@build`]: lines acted upon; [`mod@print`]:
//!   a table as lines; [`dump`]: a namespace on its way to another machine,
//!   [`carried`] by a program's environment.
//! - [`program`]: what a program's file says about it.
//! - [`instance`]: what instances are called; [`poly`]: rules for them.
//!
//! A name in here is an absolute, canonical path of the namespace, as bytes:
//! no `.`, no `..`, no empty component, no symbolic link. The root is the
//! empty name, so that every name is its parent's, a slash, and a component.
//!
//! Host files are named, never held open: each lookup asks the host anew, so
//! that no namespace keeps a file system busy.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod build;
mod bytes;
pub mod carried;
mod counter;
pub mod dump;
pub mod failure;
pub mod family;
pub mod file;
pub mod image;
pub mod index;
pub mod inherited;
pub mod instance;
pub mod lookup;
mod memory_file;
pub mod poly;
pub mod print;
pub mod program;
pub mod remembered;
pub mod remote;
pub mod resolve;
pub mod table;
pub mod traffic;
pub mod trail;

pub use build::{Builder, Built, Places};
pub use failure::{Failure, Why};
pub use family::Family;
pub use index::Index;
pub use print::print;
pub use remote::Server;
pub use resolve::{Last, Located, Start, walk};
pub use table::{Kind, Member, Mount, Order, Rule, Source, Table, Verb};
