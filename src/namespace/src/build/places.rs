//! What a namespace needs on the host, asked of whoever builds one.

use super::Result;
use crate::poly;
use crate::remote::Server;
use alloc::vec::Vec;

/// What must be made on the host for a namespace; whoever builds one says
/// where. Everything given back is a canonical host path.
pub trait Places {
    /// An empty directory, mode 0755, for the namespace's name `at`, which no
    /// host directory stands behind. `number` is no other's in this table, but
    /// a build that failed may have used it. All that this and
    /// [`symlink`](Self::symlink) make lie side by side in one directory,
    /// [`Table::skeleton`](crate::Table::skeleton).
    ///
    /// # Errors
    /// What kept it from being made.
    fn dir(&mut self, at: &[u8], number: u32) -> Result<Vec<u8>>;
    /// Where that directory is or would be: beside it members have what they
    /// need of servers' files on the host. Empty for nowhere.
    fn skeleton(&self) -> Vec<u8> {
        Vec::new()
    }
    /// An empty place like [`dir`](Self::dir)'s, a symbolic link to `target`.
    ///
    /// # Errors
    /// What kept it from being made.
    fn symlink(&mut self, at: &[u8], number: u32, target: &[u8]) -> Result<Vec<u8>>;
    /// A fresh instance of the host directory `original`, to stand at `at`.
    ///
    /// # Errors
    /// What kept it from being made, or made safely.
    fn instance(&mut self, at: &[u8], original: &[u8]) -> Result<Instance>;
    /// The instance that a rule gives this user, made where it is not there, to
    /// stand at `at`; it looks like the host directory `original`, if there is
    /// one.
    ///
    /// # Errors
    /// What kept it from being made, or made safely, or taken for one's own.
    fn by_rule(
        &mut self,
        at: &[u8],
        original: Option<&[u8]>,
        rule: &poly::Rule,
    ) -> Result<Instance>;
    /// Reaches a server that is to be mounted at `at`: fills in what programs
    /// dial, and whom they attach as.
    ///
    /// # Errors
    /// What kept it from being reached.
    fn server(&mut self, at: &[u8], server: &mut Server) -> Result<()>;
}

/// What an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instance {
    /// A host directory: its canonical path.
    Host(Vec<u8>),
    /// A tree that is served at this address.
    Served(Vec<u8>),
}
