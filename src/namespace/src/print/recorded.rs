//! What a printed line would find and make: looked up in the table, nothing asked and nothing made.

use super::in_skeleton;
use crate::build::{Instance, Places};
use crate::failure::Failure;
use crate::poly;
use crate::remote::{self, Server};
use crate::table::{Kind, Member, Mount, Source, Table, Verb};
use alloc::vec::Vec;
use core::cell::Cell;
use core::ffi::CStr;
use privns_abi::{self as abi, Errno, Stat};
use privns_host::{Host, Name};

/// The host, with all names that a server could have: none is asked, for it may
/// be gone, or elsewhere. What is bound is what it is in the table, and the rest
/// are directories; a name that the server lacks is an implied directory of the
/// table, which is not printed either.
pub(super) struct Unasked<'a> {
    pub(super) host: &'a dyn Host,
    pub(super) table: &'a Table,
}

impl Unasked<'_> {
    fn remote(&self, path: &CStr) -> Option<Stat> {
        let name = path.to_bytes();
        if !remote::is_remote(name) {
            return None;
        }
        let shows = |mount: &&Mount| {
            mount.members.iter().any(|Member { source: Source::Host(host), .. }| host == name)
        };
        let shown = self.table.mounts().iter().find(shows);
        let file = shown.is_some_and(|mount| mount.kind == Kind::File);
        let kind = if file { libc::S_IFREG } else { libc::S_IFDIR };
        Some(Stat { dev: 0, ino: 0, mode: kind | 0o755, uid: 0, gid: 0, links: 1 })
    }
}

impl Host for Unasked<'_> {
    fn lstat(&self, path: &CStr) -> abi::Result<Stat> {
        self.remote(path).map_or_else(|| self.host.lstat(path), Ok)
    }
    fn stat(&self, path: &CStr) -> abi::Result<Stat> {
        self.remote(path).map_or_else(|| self.host.stat(path), Ok)
    }
    fn readlink(&self, path: &CStr, out: &mut Name) -> abi::Result<()> {
        match self.remote(path) {
            None => self.host.readlink(path, out),
            Some(_) => Err(Errno::EINVAL),
        }
    }
    fn check_plain_dir(&self, path: &CStr) -> abi::Result<()> {
        match self.remote(path) {
            None => self.host.check_plain_dir(path),
            Some(_) => Err(Errno::ENOSYS),
        }
    }
    fn now_ms(&self) -> u64 {
        self.host.now_ms()
    }
}

/// Makes nothing: gives what the table to be printed has.
pub(super) struct Recorded<'a> {
    pub(super) table: &'a Table,
    /// The number of the server that is being mounted.
    pub(super) server: &'a Cell<u32>,
}

impl Recorded<'_> {
    fn find(&self, at: &[u8], is: impl Fn(&Member) -> bool) -> Result<Vec<u8>, Failure> {
        let members = self.table.at(at).into_iter().flat_map(|mount| &mount.members);
        let found = members.into_iter().find(|m| is(m)).map(|Member { source, .. }| {
            let Source::Host(host) = source;
            host.clone()
        });
        found.ok_or_else(|| Failure::new("print", Errno::ENOENT))
    }

    /// Stands for a directory that the table does not have, of a place that
    /// only the lines on the way to it need.
    fn none(&self) -> Vec<u8> {
        let skeleton =
            if self.table.skeleton.is_empty() { b"/dev/null" } else { &self.table.skeleton[..] };
        [skeleton, b"/-"].concat()
    }
}

impl Places for Recorded<'_> {
    fn dir(&mut self, at: &[u8], _number: u32) -> Result<Vec<u8>, Failure> {
        Ok(self.find(at, |m| in_skeleton(self.table, m)).unwrap_or_else(|_| self.none()))
    }
    fn symlink(&mut self, at: &[u8], _number: u32, _to: &[u8]) -> Result<Vec<u8>, Failure> {
        self.find(at, |m| in_skeleton(self.table, m))
    }
    fn instance(&mut self, at: &[u8], _original: &[u8]) -> Result<Instance, Failure> {
        self.find(at, |m| m.rule.verb == Verb::Private).map(Instance::Host)
    }
    fn by_rule(
        &mut self,
        at: &[u8],
        _original: Option<&[u8]>,
        rule: &poly::Rule,
    ) -> Result<Instance, Failure> {
        let is = |m: &Member| m.rule.verb == Verb::Instance(rule.to_text());
        self.find(at, is).map(Instance::Host)
    }
    fn server(&mut self, _at: &[u8], server: &mut Server) -> Result<(), Failure> {
        let known = self.table.server(self.server.get());
        *server = known.ok_or_else(|| Failure::new("print", Errno::ENOENT))?.clone();
        Ok(())
    }
}
