//! Placeholder until nsfile's lands.
use crate::failure::{Failure, shown};
pub fn make(_family: u64, original: &[u8]) -> Result<Vec<u8>, Failure> {
    Err(Failure::new(format!("private {}", shown(original)), "instances not there"))
}
pub fn remove_all(_family: u64, _hosts: &[Vec<u8>]) {}
