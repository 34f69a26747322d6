//! Images of families that were too long for the environment
//! ([`privns_namespace::carried`]). They outlive their families, for batch jobs
//! that begin later.

use crate::runtime;
use crate::tree;
use privns_host::Kernel;
use privns_namespace::carried;
use rustix::fs::AtFlags;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

/// How long one is kept after it was made, unless its family lives here.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Removes those that are old, of this user.
pub fn sweep() {
    let variable = |name| std::env::var_os(name);
    let (cache, home) = (variable("XDG_CACHE_HOME"), variable("HOME"));
    let [cache, home] = [&cache, &home].map(|v| v.as_ref().map(|v| v.as_bytes()));
    let Ok(path) = carried::directory(cache, home) else { return };
    let Ok(dir) = tree::open_path(path.as_bytes()) else { return };
    let before = SystemTime::now() - KEPT;
    for name in tree::names(&dir).unwrap_or_default() {
        let Some(id) = carried::family_of(&name) else { continue };
        let Ok(stat) = rustix::fs::statat(&dir, &name[..], AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let made = SystemTime::UNIX_EPOCH + Duration::from_secs(stat.st_mtime.max(0) as u64);
        let old = made < before && stat.st_uid == Kernel.geteuid();
        if old && runtime::by_id(id).map(|family| family.close()).is_err() {
            let _ = rustix::fs::unlinkat(&dir, &name[..], AtFlags::empty());
        }
    }
}
