//! Instances taken away, with whatever programs have left in them.

use super::holder::{self, Made, Opened};
use super::{index, open_original, open_parent, recorded};
use crate::failure::{Failure, Why, shown};
use crate::runtime::Runtime;
use crate::tree;
use privns_abi::{Errno, path};
use privns_namespace::instance;
use rustix::fs::AtFlags;
use std::os::fd::AsFd;

/// Removes an instance, and the directory that holds its user's when it was
/// the last. One that is gone is no error.
///
/// # Errors
/// A path that is no instance's, a parent that is not its user's alone, and
/// what unlinkat(2) says of what could not be removed.
pub fn remove(host: &[u8]) -> Result<(), Failure> {
    let what = || format!("removing {}", shown(host));
    remove_checked(host).map_err(|why| Failure::new(what(), why))
}

fn remove_checked(host: &[u8]) -> Result<(), Why> {
    let original = instance::original(host).ok_or("it is no instance")?;
    let parent_name = path::file_name(path::parent(host));
    let owner = instance::parent_owner(parent_name).ok_or("it is no instance")?;
    let opened = open_original(original)
        .map_err(Why::from)
        .and_then(|dir| Ok((open_parent(&dir, parent_name, owner)?, dir)));
    let (parent, dir) = match opened {
        Err(Why::Errno(Errno::ENOENT)) => return Ok(()),
        opened => opened?,
    };
    tree::remove(&parent, path::file_name(host))?;
    // Not empty: another family's instance is there.
    let _ = rustix::fs::unlinkat(&dir, parent_name, AtFlags::REMOVEDIR);
    Ok(())
}

/// Removes the instances that the entry of a family in the runtime directory
/// records; those that others may use too are left to the last.
pub fn remove_recorded(family: u64, entry: impl AsFd) {
    for host in recorded(entry) {
        let _ = match holder::of(&host) {
            Some(holder) => leave(holder, family),
            None => remove(&host).map_err(|failure| failure.why),
        };
    }
}

/// Takes back what a change has made that failed: a new instance goes, one that
/// was there is left.
pub fn undo(family: u64, made: Made) {
    let Made { path, new, joined, held } = made;
    drop(held);
    let Some(holder) = holder::of(&path) else { return };
    if let Ok(Some(opened)) = Opened::at(holder) {
        if joined {
            opened.forget(family);
        }
        if new {
            let _ = opened.remove();
        }
    }
    index::forget_if_gone(holder);
}

/// A family takes its leave of an instance that others may use too.
fn leave(holder: &[u8], family: u64) -> Result<(), Why> {
    if let Some(opened) = Opened::at(holder)? {
        opened.leave(family)?;
    }
    index::forget_if_gone(holder);
    Ok(())
}

/// Removes a family's instances: those recorded, and of `hosts`, the instances
/// that its table shows, those that were made for it; a copied table shows
/// another family's too.
pub fn remove_all(family: u64, hosts: &[Vec<u8>]) {
    for runtime in Runtime::all() {
        if let Ok(entry) = runtime.entry(family) {
            remove_recorded(family, entry);
        }
    }
    let own = |host: &&Vec<u8>| instance::family(path::file_name(host)) == Some(family);
    for host in hosts.iter().filter(own) {
        let _ = remove(host);
    }
}
