//! What a user has beside his families: directories in memory, or in /tmp, that
//! do not end with a session.

use super::{open, take_away};
use crate::tree;
use privns_host::Kernel;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use std::os::fd::OwnedFd;

/// A user's directory in a place that outlasts sessions.
pub struct Lasting {
    /// The directory.
    pub dir: OwnedFd,
    path: Vec<u8>,
}

/// Where they are, best first.
const LASTING: [&str; 2] = ["/dev/shm", "/tmp"];

impl Lasting {
    /// Our own, made where it is not there; `None` where none can be had.
    #[must_use]
    pub fn make() -> Option<Lasting> {
        let uid = Kernel.geteuid();
        Lasting::paths(uid)
            .find_map(|path| Some(Lasting { dir: open(&path, uid, true).ok()?, path }))
    }

    /// Those of a user that are there.
    pub fn of_user(uid: u32) -> impl Iterator<Item = Lasting> {
        Lasting::paths(uid)
            .filter_map(move |path| Some(Lasting { dir: open(&path, uid, false).ok()?, path }))
    }

    /// Our own or, for root, everybody's.
    #[must_use]
    pub fn all() -> Vec<Lasting> {
        let own = Kernel.geteuid();
        let mut users = vec![own];
        if own == 0 {
            for place in LASTING {
                let names = tree::open_path(place.as_bytes()).and_then(tree::names);
                let uid = |name: &Vec<u8>| {
                    std::str::from_utf8(name.strip_prefix(b"privns-")?).ok()?.parse::<u32>().ok()
                };
                users.extend(names.unwrap_or_default().iter().filter_map(uid));
            }
            users.sort_unstable();
            users.dedup();
        }
        users.into_iter().flat_map(Lasting::of_user).collect()
    }

    /// Whether a link of ours is there already, in the place where it would be
    /// made.
    #[must_use]
    pub fn has(link: &[u8]) -> bool {
        let uid = Kernel.geteuid();
        let Some(place) = Lasting::paths(uid).next() else { return false };
        let path = [&place[..], b"/", link].concat();
        let found = rustix::fs::statat(CWD, &path[..], AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| found.st_uid == uid)
    }

    pub(super) fn paths(uid: u32) -> impl Iterator<Item = Vec<u8>> {
        LASTING.into_iter().map(move |place| format!("{place}/privns-{uid}").into_bytes())
    }

    /// Takes the directory away if nothing is in it: see
    /// [`Runtime::tidy`](super::Runtime::tidy).
    pub fn tidy(&self) {
        take_away(&self.path);
    }

    /// Removes the memory of shared mappings that nobody has any more
    /// (`files::remote::maps`). Who unmaps as the last does it himself, unless he is
    /// killed; who is about to use it has it locked, or begins again.
    pub fn sweep(&self) {
        let names = tree::names(&self.dir).unwrap_or_default();
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for name in names.iter().filter(|name| name.starts_with(b"map-")) {
            let Ok(memory) = rustix::fs::openat(&self.dir, &name[..], flags, Mode::empty()) else {
                continue;
            };
            if rustix::fs::flock(&memory, FlockOperation::NonBlockingLockExclusive).is_ok() {
                let _ = rustix::fs::unlinkat(&self.dir, &name[..], AtFlags::empty());
            }
        }
        self.tidy();
    }
}
