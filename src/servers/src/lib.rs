//! 9P servers: a skeleton on which a server is a set of functions, and the
//! servers that `ns-serve` offers.
//!
//! Reading order: [`tree`] (what a server has to say), [`session`] (one
//! connection, without I/O), [`serve`] (sockets and threads); then [`dir`],
//! [`mem`] and `examples/generated.rs`. [`relay`] stands beside: a server
//! whose tree is another server's.
//!
//! A connection has one thread, which answers its requests in their order:
//! that is the promise on which our client sends requests together that depend
//! on each other. Connections do not wait for each other, except in a tree's
//! own locks.
//!
//! Lock order: a tree's locks, then the lock table's; the handoff table, the
//! list of connections and the trace are taken alone. No lock is held while a
//! socket is read or written.
#![forbid(unsafe_code)]

pub mod auth;
mod channel;
mod diag;
pub mod dir;
pub mod handoff;
pub mod locks;
pub mod mem;
pub mod munge;
pub mod registry;
pub mod relay;
pub mod serve;
pub mod session;
pub mod tls;
pub mod tree;
pub mod wire;

pub use serve::{Limits, Server};
pub use tree::{How, Tree, Who};
