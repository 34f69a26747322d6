//! A host whose files are looked at once.
//!
//! Lines of one namespace lie below the same directories, and so do the
//! directories of a PATH: what has been met on the way to one name is not looked
//! at again on the way to the next. Nothing is remembered that was not there.
//! What others change meanwhile might as well have changed after we looked.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::ffi::CStr;
use privns_abi::{Errno, Result, Stat};
use privns_host::{Host, Name};

/// A [`Host`] for one short piece of work.
pub struct Remembered<'a> {
    host: &'a dyn Host,
    met: RefCell<BTreeMap<Vec<u8>, Stat>>,
    /// Directories to which no symbolic link leads.
    plain: RefCell<BTreeSet<Vec<u8>>>,
}

impl<'a> Remembered<'a> {
    /// Nothing of this host has been met.
    #[must_use]
    pub fn new(host: &'a dyn Host) -> Remembered<'a> {
        Remembered { host, met: RefCell::default(), plain: RefCell::default() }
    }

    /// No component of this directory's name is a symbolic link.
    pub(crate) fn is_plain(&self, dir: &[u8]) {
        if !self.known_plain(dir) {
            self.plain.borrow_mut().insert(dir.to_vec());
        }
    }

    /// Whether that has been found of a directory.
    pub(crate) fn known_plain(&self, dir: &[u8]) -> bool {
        self.plain.borrow().contains(dir)
    }

    /// Forgets everything: what we have made ourselves is going to be made
    /// anew.
    pub fn forget(&mut self) {
        self.met.get_mut().clear();
        self.plain.get_mut().clear();
    }
}

impl Host for Remembered<'_> {
    fn lstat(&self, path: &CStr) -> Result<Stat> {
        if let Some(met) = self.met.borrow().get(path.to_bytes()) {
            return Ok(*met);
        }
        let stat = self.host.lstat(path)?;
        self.met.borrow_mut().insert(path.to_bytes().to_vec(), stat);
        Ok(stat)
    }

    fn stat(&self, path: &CStr) -> Result<Stat> {
        self.host.stat(path)
    }

    fn readlink(&self, path: &CStr, out: &mut Name) -> Result<()> {
        // Whoever asks whether a name is a link goes on to ask what it is.
        match self.lstat(path)?.is_symlink() {
            true => self.host.readlink(path, out),
            false => Err(Errno::EINVAL),
        }
    }

    fn check_plain_dir(&self, path: &CStr) -> Result<()> {
        self.host.check_plain_dir(path)
    }

    fn now_ms(&self) -> u64 {
        self.host.now_ms()
    }
}
