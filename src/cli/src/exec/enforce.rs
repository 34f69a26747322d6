//! `--enforce`: the kernel refuses what lies outside the namespace (landlock(7)).
//!
//! What the namespace shows is a list of host trees, each writable or not; the
//! kernel is told the same list. It grants rights and never takes them back
//! further down, so a read-only tree inside a writable one cannot be
//! expressed, and is refused here.

use super::twin;
use crate::failure::{Failure, shown};
use crate::runtime;
use crate::tree::{self, errno};
use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError,
};
use privns_abi::path;
use privns_host::Kernel;
use privns_namespace::{Family, Source, Table, remote};
use rustix::fs::{CWD, Mode, OFlags};

/// The first version that refuses to shorten a file as well.
const NEEDED: ABI = ABI::V3;
const NEEDED_NUMBER: u32 = 3;

/// A host tree and what may be done there.
struct Grant {
    host: Vec<u8>,
    writable: bool,
}

/// Rules that the kernel has taken and not put into force.
pub struct Confinement(RulesetCreated);

impl Confinement {
    /// The rules that a table comes to. `library` is ours, which every program
    /// loads.
    ///
    /// # Errors
    /// What the kernel cannot express or does not have.
    pub fn of(family: &Family, table: &Table, library: &[u8]) -> Result<Confinement, Failure> {
        rules(family, table, library).map(Confinement)
    }

    /// Confines this process, and all that it becomes.
    ///
    /// # Errors
    /// landlock_restrict_self(2)'s.
    pub fn enter(self) -> Result<(), Failure> {
        self.0.restrict_self().map_err(|e| failure(&e)).map(drop)
    }
}

fn rules(family: &Family, table: &Table, library: &[u8]) -> Result<RulesetCreated, Failure> {
    if !table.cleared {
        return Err(Failure::new("--enforce", "the global namespace is still there")
            .fix("begin with --clear and bind what is needed"));
    }
    let version = Kernel.landlock_version();
    if version < NEEDED_NUMBER {
        let why = format!("this kernel has version {version} of Landlock");
        return Err(Failure::new("--enforce", why)
            .fix("version 3, Linux 6.2, is needed; see also /sys/kernel/security/lsm"));
    }
    let mut grants = grants(table);
    if let Some((outer, inner)) = inexpressible(&grants) {
        let what = format!("--enforce: {} read-only", shown(&inner.host));
        let why = format!("it lies in {}, which is writable", shown(&outer.host));
        return Err(Failure::new(what, why)
            .fix("the kernel cannot express that: bind both read-only, or leave --enforce out"));
    }
    grants.push(Grant { host: library.to_vec(), writable: false });
    // A program that a server has is run from within, by ourselves.
    if let Ok(host) = twin::file() {
        grants.push(Grant { host, writable: false });
    }
    let mut rules = ruleset().map_err(|e| failure(&e))?;
    for grant in &grants {
        rules = add(rules, grant)?;
    }
    add_table(rules, family)
}

/// What the namespace shows, as host trees.
fn grants(table: &Table) -> Vec<Grant> {
    let members = table.mounts().iter().flat_map(|mount| &mount.members);
    let shown = members.filter(|member| !member.rule.verb.is_skeleton());
    // A remote file is none of the kernel's, which sees a socket only.
    let shown = shown.map(|member| {
        let Source::Host(host) = &member.source;
        (host, member.read_only)
    });
    let shown = shown.filter(|(host, _)| !remote::is_remote(host));
    let mut grants: Vec<Grant> = shown
        .map(|(host, read_only)| {
            let host = if host.is_empty() { b"/".to_vec() } else { host.clone() };
            Grant { host, writable: !read_only }
        })
        .collect();
    if !table.skeleton.is_empty() {
        grants.push(Grant { host: table.skeleton.clone(), writable: false });
        // What is run of servers' trees is copied there, and run from there; and members
        // make the pipes and sockets that they meet at.
        if !table.servers().is_empty() {
            let shared = runtime::make_shelf(&table.skeleton).into_iter();
            grants.extend(shared.map(|host| Grant { host, writable: true }));
        }
    }
    grants
}

/// A read-only tree inside a writable one.
fn inexpressible(grants: &[Grant]) -> Option<(&Grant, &Grant)> {
    let read_only = grants.iter().filter(|g| !g.writable);
    let pairs = read_only.flat_map(|inner| grants.iter().map(move |outer| (outer, inner)));
    let mut pairs = pairs.filter(|(outer, _)| outer.writable);
    pairs.find(|(outer, inner)| path::is_within(&inner.host, &outer.host))
}

fn ruleset() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(NEEDED))?
        .create()
}

fn add(rules: RulesetCreated, grant: &Grant) -> Result<RulesetCreated, Failure> {
    let what = || format!("--enforce: {}", shown(&grant.host));
    let fd = rustix::fs::open(&grant.host[..], OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Failure::new(what(), errno(e)))?;
    let stat = rustix::fs::fstat(&fd).map_err(|e| Failure::new(what(), errno(e)))?;
    let mut rights: BitFlags<AccessFs> = match grant.writable {
        true => AccessFs::from_all(NEEDED),
        false => AccessFs::from_read(NEEDED),
    };
    if stat.st_mode & libc::S_IFMT != libc::S_IFDIR {
        rights &= AccessFs::from_file(NEEDED);
    }
    rules.add_rule(PathBeneath::new(fd, rights)).map_err(|e| failure(&e))
}

/// The table itself, where it is a file without a name and not memory.
fn add_table(rules: RulesetCreated, family: &Family) -> Result<RulesetCreated, Failure> {
    let link = format!("/proc/self/fd/{}", family.fd());
    let text = tree::read_link(CWD, link.as_bytes()).unwrap_or_default();
    if text.starts_with(b"/memfd:") || text.is_empty() {
        return Ok(rules);
    }
    add(rules, &Grant { host: link.into_bytes(), writable: true })
}

fn failure(e: &RulesetError) -> Failure {
    Failure::new("--enforce", e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_only_tree_in_a_writable_one_cannot_be_expressed() {
        let grant = |host: &str, writable| Grant { host: host.into(), writable };
        let found = |grants: &[Grant]| inexpressible(grants).is_some();
        assert!(found(&[grant("/a", true), grant("/a/b", false)]));
        assert!(found(&[grant("/a", true), grant("/a", false)]));
        assert!(!found(&[grant("/a", false), grant("/a/b", true)]));
        assert!(!found(&[grant("/a", true), grant("/ab", false)]));
    }
}
