//! The instances on this host: what they are, who uses them, how big they are.

use super::holder::Opened;
use super::served::Served;
use super::{holders, open_parent, recorded, remove};
use crate::failure::Why;
use crate::runtime::{self, Living, Runtime};
use crate::{keeper, tree};
use privns_host::Kernel;
use privns_namespace::instance;
use rustix::fs::{AtFlags, CWD};
use std::collections::BTreeSet;
use std::rc::Rc;

/// Where instances are looked for beside those that are recorded.
const USUAL: [&[u8]; 3] = [b"/tmp", b"/var/tmp", b"/dev/shm"];

/// An instance on this host.
pub struct Known {
    /// Its host path; of one that is served, the server's address.
    pub path: Vec<u8>,
    /// The directory that it stands for; empty for the root.
    pub stands_for: Vec<u8>,
    /// The user that made it.
    pub uid: u32,
    /// The batch job that it was made in.
    pub job: Option<Vec<u8>>,
    /// The numbers of the families that use it, or have been killed doing so.
    pub families: Vec<u64>,
    living: Rc<Living>,
    kind: Kind,
}

/// How an instance is had.
enum Kind {
    /// `private`: a directory.
    Private,
    /// By a rule: a directory beside its holder.
    Ruled(Opened),
    /// Served to one family, with which it ends.
    Served(Served),
}

/// What an instance takes up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Bytes on disk.
    pub bytes: u64,
    /// Files and directories, itself not counted.
    pub files: u64,
}

impl Known {
    /// The rule's method; `private` for one without a rule.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match &self.kind {
            Kind::Private => "private",
            Kind::Ruled(opened) => opened.about.method.name(),
            Kind::Served(served) => served.method,
        }
    }

    /// Whether it stays when nobody uses it.
    #[must_use]
    pub fn stays(&self) -> bool {
        matches!(&self.kind, Kind::Ruled(opened) if opened.about.stays())
    }

    /// Whether a member of a family that uses it is alive, or the family is
    /// just being made.
    #[must_use]
    pub fn is_used(&self) -> bool {
        let living = |&id: &u64| self.living.has(id) || runtime::is_being_born(id);
        self.families.iter().any(living)
    }

    /// Whether a family that uses it has begun since all processes were looked
    /// at: its keeper is not to be dismissed.
    fn has_begun(&self) -> bool {
        // Asked in this order: when it is no longer being made it has a member.
        self.families.iter().any(|&id| runtime::is_being_born(id))
            || (!self.families.is_empty() && {
                let living = Living::look();
                self.families.iter().any(|&id| living.has(id))
            })
    }

    /// The numbers of the processes that use it.
    #[must_use]
    pub fn holders(&self) -> Vec<i32> {
        self.families.iter().flat_map(|&id| self.living.members(id)).collect()
    }

    /// What it takes up; `None` when that is not for us to see.
    #[must_use]
    pub fn size(&self) -> Option<Size> {
        let dir = match &self.kind {
            Kind::Private => tree::open_path(&self.path),
            Kind::Ruled(opened) => opened.dir(),
            Kind::Served(served) => return served.size(),
        };
        let mut size = Size::default();
        add(&dir.ok()?, &mut size, 0);
        Some(size)
    }

    /// Seconds since its status last changed, as far as that tells.
    #[must_use]
    pub fn age(&self) -> u64 {
        let made = match &self.kind {
            Kind::Private => {
                rustix::fs::lstat(&self.path[..]).map(|s| s.st_ctime).unwrap_or_default()
            }
            // The link is made with it and never changed.
            Kind::Ruled(opened) => opened.made(),
            Kind::Served(served) => served.made,
        };
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
        now.saturating_sub(made).max(0) as u64
    }

    /// Removes it if nobody uses it; false when somebody does.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn remove(self) -> Result<bool, Why> {
        if self.is_used() || self.has_begun() {
            return Ok(false);
        }
        // What a keeper still waits for is no member.
        self.families.iter().for_each(|&id| keeper::dismiss(id));
        match self.kind {
            Kind::Private => remove(&self.path).map(|()| true).map_err(|failure| failure.why),
            Kind::Ruled(opened) => opened.remove(),
            // Its server ends by itself.
            Kind::Served(_) => Ok(false),
        }
    }
}

/// Adds what is in a directory; other file systems and links are not entered.
fn add(dir: &std::os::fd::OwnedFd, size: &mut Size, depth: usize) {
    const DEPTH_MAX: usize = 256;
    for name in tree::names(dir).unwrap_or_default() {
        let Ok(found) = rustix::fs::statat(dir, &name[..], AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        size.files += 1;
        size.bytes += found.st_blocks as u64 * 512;
        if found.st_mode & libc::S_IFMT == libc::S_IFDIR
            && depth < DEPTH_MAX
            && let Ok(inner) = tree::open_dir(dir, &name)
        {
            add(&inner, size, depth + 1);
        }
    }
}

/// All that this user may see: its own, and root everybody's.
#[must_use]
pub fn known() -> Vec<Known> {
    let living = Rc::new(Living::look());
    let mut originals: BTreeSet<Vec<u8>> = USUAL.iter().map(|usual| usual.to_vec()).collect();
    let mut served = Vec::new();
    for runtime in Runtime::all() {
        for id in runtime.ids().unwrap_or_default() {
            served.extend(served_to(&runtime, id, &living));
            let recorded = runtime.entry(id).map(recorded).unwrap_or_default();
            let of = |path: &Vec<u8>| Some(instance::original(path)?.to_vec());
            originals.extend(recorded.iter().filter_map(of));
        }
    }
    let mut known: Vec<Known> =
        originals.iter().flat_map(|original| beneath(original, &living)).collect();
    known.extend(holders().into_iter().map(|opened| Known {
        path: opened.instance(),
        stands_for: opened.about.polydir.clone(),
        uid: opened.uid,
        job: opened.about.job.clone(),
        families: opened.families(),
        living: living.clone(),
        kind: Kind::Ruled(opened),
    }));
    known.extend(served);
    known.sort_by(|a, b| a.path.cmp(&b.path));
    known
}

/// Those that are served to a family.
fn served_to(runtime: &Runtime, id: u64, living: &Rc<Living>) -> Vec<Known> {
    let entry = runtime.entry(id).ok().and_then(|entry| super::stat(entry).ok());
    let Some(uid) = entry.map(|found| found.uid) else { return Vec::new() };
    let known = |served: Served| Known {
        path: served.address.clone(),
        stands_for: served.place.clone(),
        uid,
        job: runtime::job_of(id),
        families: vec![id],
        living: living.clone(),
        kind: Kind::Served(served),
    };
    Served::of(runtime, id).unwrap_or_default().into_iter().map(known).collect()
}

/// Those of `private` beneath an original.
fn beneath(original: &[u8], living: &Rc<Living>) -> Vec<Known> {
    let own = Kernel.geteuid();
    let shown = if original.is_empty() { b"/" } else { original };
    let Ok(dir) = tree::open_dir(CWD, shown) else { return Vec::new() };
    let mut found = Vec::new();
    for parent in tree::names(&dir).unwrap_or_default() {
        let Some(uid) = instance::parent_owner(&parent).filter(|&uid| own == 0 || uid == own)
        else {
            continue;
        };
        let Ok(inner) = open_parent(&dir, &parent, uid) else { continue };
        for name in tree::names(&inner).unwrap_or_default() {
            if let Some(family) = instance::family(&name) {
                found.push(Known {
                    path: [original, b"/", &parent, b"/", &name].concat(),
                    stands_for: original.to_vec(),
                    uid,
                    job: runtime::job_of(family),
                    families: vec![family],
                    living: living.clone(),
                    kind: Kind::Private,
                });
            }
        }
    }
    found
}
