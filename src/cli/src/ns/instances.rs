//! Instances: which there are, and those that nobody uses any more.

use super::table::{columns, name, plain, print_json, rooted};
use crate::failure::{Failure, Why, shown};
use crate::instance::{self, Known};
use crate::runtime::{self, Lasting, Runtime};
use crate::world::User;
use privns_abi::Errno;
use serde_json::json;

/// Whose instances are reaped.
#[derive(Default)]
pub(crate) struct Which {
    /// Of this batch job.
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
    let found = instance::known();
    let user = |i: &Known| User::by_uid(i.uid).map_or(i.uid.to_string(), |u| shown(&u.name));
    if as_json {
        let all = found.iter().map(|i| {
            let size = i.size();
            json!({
                "path": name(&i.path),
                "original": name(rooted(&i.stands_for)),
                "method": i.method(),
                "job": i.job.as_ref().map(|job| name(job)),
                "user": user(i),
                "family": i.families.first().map(|id| format!("{id:016x}")),
                "families": i.families.iter().map(|id| format!("{id:016x}")).collect::<Vec<_>>(),
                "holders": i.holders(),
                "bytes": size.map(|size| size.bytes),
                "files": size.map(|size| size.files),
                "seconds": i.age(),
                "used": i.is_used(),
            })
        });
        return print_json(json!({ "instances": all.collect::<Vec<_>>() }));
    }
    let row = |i: &Known| {
        let families: Vec<String> = i.families.iter().map(|id| family_name(*id)).collect();
        vec![
            plain(&i.stands_for),
            i.method().into(),
            user(i),
            i.size().map_or("-".into(), |size| units(size.bytes, 1024, &["", "K", "M", "G", "T"])),
            units(i.age(), 60, &["s", "m", "h"]),
            if i.is_used() { "used" } else { "unused" }.into(),
            if families.is_empty() { "-".into() } else { families.join(",") },
            shown(&i.path),
        ]
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    let heads = ["DIRECTORY", "METHOD", "USER", "SIZE", "AGE", "STATE", "FAMILY", "INSTANCE"];
    crate::print(columns(&heads, &rows).as_bytes())
}

/// A family's name, or its number where it has none.
fn family_name(id: u64) -> String {
    let named = runtime::by_id(id).ok().and_then(|family| {
        let name = family.name().ok();
        family.close();
        name
    });
    named.filter(|name| !name.is_empty()).map_or(format!("{id:016x}"), |name| shown(&name))
}

/// A number in the largest unit that leaves something before it.
fn units(mut number: u64, step: u64, names: &[&str]) -> String {
    let mut at = 0;
    while number >= step && at + 1 < names.len() {
        number /= step;
        at += 1;
    }
    format!("{number}{}", names[at])
}

/// Removes those that no living process uses; as JSON, says which. Those that
/// stay by their method go only when they are asked for.
///
/// # Errors
/// The first that could not be removed; the rest has been tried.
pub(crate) fn reap(which: &Which, as_json: bool) -> Result<(), Failure> {
    let wanted = which.wanted()?;
    let (mut removed, mut first) = (Vec::new(), Ok(()));
    for instance in instance::known().into_iter().filter(|i| wanted(i)) {
        let path = instance.path.clone();
        match instance.remove() {
            Ok(true) => removed.push(path),
            Ok(false) => {}
            Err(why) => {
                let failure = Failure::new(format!("removing {}", shown(&path)), why);
                first = first.and(Err(failure));
            }
        }
    }
    // Entries that nobody holds; what they record has been looked at above.
    Lasting::all().iter().for_each(Lasting::sweep);
    Runtime::all().iter().for_each(Runtime::sweep);
    instance::forget_gone();
    crate::images::sweep();
    if as_json {
        let all: Vec<_> = removed.iter().map(|path| name(path)).collect();
        print_json(json!({ "removed": all }))?;
    }
    first
}

impl Which {
    fn wanted(&self) -> Result<impl Fn(&Known) -> bool, Failure> {
        let user = self.user.as_ref().map(|user| uid(user)).transpose()?;
        let family = match &self.family {
            None => None,
            Some(family) => Some(runtime::id_of(family).ok_or_else(|| {
                Failure::new(format!("--family {}", shown(family)), Why::Errno(Errno::ESRCH))
            })?),
        };
        let job = self.job.clone();
        Ok(move |i: &Known| {
            let of_job = |job: &Vec<u8>| i.job.as_ref().is_some_and(|of| same_job(of, job));
            user.is_none_or(|uid| uid == i.uid)
                && family.is_none_or(|id| i.families.contains(&id))
                && job.as_ref().is_none_or(of_job)
                && (user.is_some() || job.is_some() || !i.stays())
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

    #[test]
    fn sizes_and_ages_are_short() {
        let units = |n| super::units(n, 1024, &["", "K", "M"]);
        assert_eq!(
            [units(0), units(1023), units(2048), units(5 << 30)],
            ["0", "1023", "2K", "5120M"]
        );
    }
}
