//! Instances of host directories.

use crate::failure::{Failure, shown};

/// A fresh instance of a host directory.
///
/// # Errors
/// What kept it from being made.
pub fn make(_family: u64, original: &[u8]) -> Result<Vec<u8>, Failure> {
    Err(Failure::new(format!("private {}", shown(original)), "instances are not built yet"))
}

/// Removes a family's instances.
pub fn remove_all(_family: u64, _hosts: &[Vec<u8>]) {}
