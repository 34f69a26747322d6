//! `libprivns.so`: the table of intercepted calls, and nothing that thinks.
//!
//! - `table`: one row a call. From it come the exported symbol, the patch of
//!   libc's own entry, and the inventory that tests compare with the surface
//!   of libc.
//! - `start`: how a process comes into its family.
//! - the other modules: what a row does. Raw pointers become values here, the
//!   crates below decide, and the kernel is entered by a raw system call: a
//!   patched entry cannot be called as "the real one".
//!
//! What runs here runs in signal handlers, under malloc's lock, in a vfork
//! child and in the child of a fork of a threaded program. So nothing takes a
//! lock, nothing calls malloc (our allocator is our own, see `memory`), no
//! thread-local has a destructor, and nothing panics: a panic would abort the
//! program that we are guests of.

extern crate alloc;

mod address;
mod admin;
mod arguments;
mod ask;
mod batches;
mod by_hand;
mod call;
mod canonical;
mod count;
mod descriptors;
mod direct;
mod dirs;
mod door;
mod exec;
mod fork;
mod fts;
mod handover;
mod io;
mod ipc;
mod jumps;
mod lazy;
mod loaded;
mod loader;
mod log;
mod lost;
mod mapping;
mod memory;
mod modules;
mod mounts;
mod names;
mod nowhere;
mod open;
mod pairs;
mod patch;
mod peers;
mod rare;
mod real;
mod reveal;
mod rights;
mod row;
mod scan;
mod search;
mod shell;
mod sockets;
mod spawn;
mod start;
mod stat;
mod streams;
mod strings;
mod syscall;
mod table;
mod theirs;
mod trace;
mod tty;
mod users;

mod temp;
mod variadic;
mod walk;
mod watch;

use privns_files::Process;

/// The process that we live in.
pub(crate) static PROCESS: Process = Process::new();

#[global_allocator]
static MEMORY: memory::Arena = memory::Arena::new();
