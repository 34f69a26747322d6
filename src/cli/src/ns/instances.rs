//! Instances: which there are, and those that nobody uses any more.

use super::table::{columns, name, plain, print_json, rooted};
use crate::failure::{Failure, shown};
use crate::instance::{self, Instance};
use crate::runtime::{self, Runtime};
use crate::world::User;
use privns_abi::Errno;
use serde_json::json;

/// Whose instances are reaped.
#[derive(Default)]
pub(crate) struct Which {
    /// Of families that were begun in this batch job.
    pub(crate) job: Option<Vec<u8>>,
    /// Of this user, by name or number.
    pub(crate) user: Option<Vec<u8>>,
    /// Of this family, by name or number.
    pub(crate) family: Option<Vec<u8>>,
}

/// Lists them.
///
/// # Errors
/// Standard output's.
pub(crate) fn list(as_json: bool) -> Result<(), Failure> {
    let found = instance::found(&[]);
    let user = |i: &Instance| User::by_uid(i.uid).map_or(i.uid.to_string(), |u| shown(&u.name));
    if as_json {
        let all = found.iter().map(|i| {
            json!({
                "path": name(&i.path),
                "original": name(rooted(original(i))),
                "user": user(i),
                "family": format!("{:016x}", i.family),
                "used": i.is_used(),
            })
        });
        return print_json(json!({ "instances": all.collect::<Vec<_>>() }));
    }
    let row = |i: &Instance| {
        let used = if i.is_used() { "used" } else { "unused" };
        vec![plain(original(i)), format!("{:016x}", i.family), user(i), used.into(), shown(&i.path)]
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    crate::print(columns(&["DIRECTORY", "FAMILY", "USER", "STATE", "INSTANCE"], &rows).as_bytes())
}

fn original(instance: &Instance) -> &[u8] {
    privns_namespace::instance::original(&instance.path).unwrap_or_default()
}

/// Removes those that no living process uses; as JSON, says which.
///
/// # Errors
/// The first that could not be removed; the rest has been tried.
pub(crate) fn reap(which: &Which, as_json: bool) -> Result<(), Failure> {
    let wanted = which.wanted()?;
    let (mut removed, mut first) = (Vec::new(), Ok(()));
    let unused = instance::found(&[]).into_iter().filter(|i| wanted(i) && !i.is_used());
    for instance in unused {
        match instance::remove(&instance.path) {
            Ok(()) => removed.push(instance.path),
            Err(failure) => first = first.and(Err(failure)),
        }
    }
    // Entries that nobody holds; what they record has been looked at above.
    for runtime in Runtime::all() {
        runtime.sweep();
    }
    crate::images::sweep();
    if as_json {
        let all: Vec<_> = removed.iter().map(|path| name(path)).collect();
        print_json(json!({ "removed": all }))?;
    }
    first
}

impl Which {
    fn wanted(&self) -> Result<impl Fn(&Instance) -> bool, Failure> {
        let user = self.user.as_ref().map(|user| uid(user)).transpose()?;
        let family = match &self.family {
            None => None,
            Some(family) => Some(runtime::id_of(family).ok_or_else(|| {
                Failure::new(format!("--family {}", shown(family)), Errno::ESRCH)
            })?),
        };
        let job = self.job.clone();
        Ok(move |i: &Instance| {
            let of_job =
                |job: &Vec<u8>| runtime::job_of(i.family).is_some_and(|of| same_job(&of, job));
            user.is_none_or(|uid| uid == i.uid)
                && family.is_none_or(|id| id == i.family)
                && job.as_ref().is_none_or(of_job)
        })
    }
}

/// Whether `of`, with how often it was restarted, is the job `asked` for.
fn same_job(of: &[u8], asked: &[u8]) -> bool {
    of == asked || of.strip_prefix(asked).is_some_and(|rest| rest.starts_with(b"."))
}

fn uid(user: &[u8]) -> Result<u32, Failure> {
    let number = std::str::from_utf8(user).ok().and_then(|u| u.parse().ok());
    number
        .or_else(|| User::uid_of(user))
        .ok_or_else(|| Failure::new(format!("--user {}", shown(user)), "no such user"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_named_with_or_without_its_restarts() {
        assert!(same_job(b"12.0", b"12") && same_job(b"12.0", b"12.0"));
        assert!(!same_job(b"12.0", b"1") && !same_job(b"12.0", b"12.1"));
    }
}
