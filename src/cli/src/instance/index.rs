//! Where holders are found again when no family that lives knows of them: a
//! link for each in the user's directory in `/dev/shm`, else `/tmp`, which
//! outlasts sessions, as the directories in `/run/user` do not.

use super::holder::Opened;
use crate::runtime::{Lasting, Runtime};
use crate::tree;
use privns_host::Kernel;
use privns_namespace::poly::name::md5_hex;
use rustix::fs::AtFlags;
use std::collections::BTreeSet;

const LINK: &[u8] = b"=";

fn link(holder: &[u8]) -> Vec<u8> {
    [LINK, &md5_hex(holder)].concat()
}

/// Notes that there is a holder at this path.
pub(super) fn remember(holder: &[u8]) {
    let link = link(holder);
    if Lasting::has(&link) {
        return;
    }
    // Somebody who clears an empty directory away may be faster, once or twice.
    for _ in 0..16 {
        let Some(Lasting { dir, .. }) = Lasting::make() else { return };
        match rustix::fs::symlinkat(holder, &dir, &link[..]) {
            Err(rustix::io::Errno::NOENT) => {}
            _ => return,
        }
    }
}

/// Clears links to what is gone away.
pub(crate) fn forget_gone() {
    drop(holders());
}

/// Forgets a holder that is no longer there.
pub(super) fn forget_if_gone(holder: &[u8]) {
    if rustix::fs::lstat(holder).is_ok() {
        return;
    }
    for lasting in Lasting::of_user(Kernel.geteuid()) {
        let _ = rustix::fs::unlinkat(&lasting.dir, &link(holder)[..], AtFlags::empty());
        lasting.tidy();
    }
}

/// The holders that this user may know of: its own, and root everybody's.
/// Links to what is gone are cleared away.
#[must_use]
pub(crate) fn holders() -> Vec<Opened> {
    let mut paths = BTreeSet::new();
    for lasting in Lasting::all() {
        let links = tree::names(&lasting.dir).unwrap_or_default();
        for link in links.into_iter().filter(|name| name.starts_with(LINK)) {
            let Ok(holder) = tree::read_link(&lasting.dir, &link) else { continue };
            if rustix::fs::lstat(&holder[..]).is_err_and(|e| e == rustix::io::Errno::NOENT) {
                let _ = rustix::fs::unlinkat(&lasting.dir, &link[..], AtFlags::empty());
                continue;
            }
            paths.insert(holder);
        }
        lasting.tidy();
    }
    for runtime in Runtime::all() {
        for id in runtime.ids().unwrap_or_default() {
            let recorded = runtime.entry(id).map(super::recorded).unwrap_or_default();
            paths.extend(recorded.iter().filter_map(|path| Some(super::holder_of(path)?.to_vec())));
        }
    }
    paths.iter().filter_map(|holder| Opened::at(holder).ok()?).collect()
}
