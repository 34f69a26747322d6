//! 9P2000, 9P2000.u and 9P2000.L: messages, dialects, error numbers, the
//! multiplexer and the client.
//!
//! Reading order: [`wire`] (bytes), [`message`] (the table of messages),
//! [`dialect`] (which of them are spoken), [`attr`] (attributes alike in all
//! three), [`error`]; then [`pool`], [`frame`], [`mux`] and [`client`]; and
//! [`address`], which stands alone.
//!
//! What this crate must *not* know: files, mount tables, servers, the kernel.
//! It reaches a socket through [`client::Transport`] and sleeps through
//! [`client::Monitor`]; both come from above.
//!
//! There is one lock, the monitor of a connection. It is held for bookkeeping
//! and never while bytes move, and no other lock is taken under it.
#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod address;
pub mod attr;
pub mod client;
pub mod dialect;
pub mod error;
pub mod frame;
pub mod message;
pub mod mux;
pub mod name;
pub mod near;
pub mod pool;
pub mod wire;

#[cfg(feature = "std")]
pub mod hosted;

pub use dialect::Dialect;
pub use privns_abi::{Errno, Result};

/// "No tag": used by Tversion alone (version(5)).
pub const NOTAG: u16 = u16::MAX;
/// "No fid": Tattach without authentication (attach(5)).
pub const NOFID: u32 = u32::MAX;
/// "No number": a user or group that is given by name or not at all.
pub const NONUM: u32 = u32::MAX;
/// Names in one Twalk at most (walk(5)).
pub const WALK_MAX: usize = 16;
/// size\[4\] type\[1\] tag\[2\]: what every message begins with.
pub const HEADER: usize = 7;
/// What Twrite and Rread need beside their payload (`P9_IOHDRSZ` of
/// `net/9p/9p.h`; Twrite itself takes 23).
pub const IO_HEADER: u32 = 24;
/// Smallest message size that we agree to: a walk of 16 names must fit.
pub const MSIZE_MIN: u32 = 4096;
/// Largest message size that we ask for or agree to.
pub const MSIZE_MAX: u32 = 1 << 20;
/// The port of 9P over TCP, registered as `9pfs`.
pub const PORT: u16 = 564;
