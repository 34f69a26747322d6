//! A family's counters.

use super::table::{name, print_json};
use crate::failure::{Failure, shown};
use privns_namespace::Family;
use privns_namespace::family::Counter;
use serde_json::{Map, json};

/// Prints them.
///
/// # Errors
/// Standard output's.
pub(crate) fn print(family: &Family, as_json: bool) -> Result<(), Failure> {
    let table = family.read_table().map_err(|e| Failure::new("the family's table", e))?;
    let family_name = family.name().unwrap_or_default();
    let mounts = table.mounts().len();
    if as_json {
        let calls: Map<_, _> = Counter::ALL
            .iter()
            .map(|(counter, name)| ((*name).to_string(), json!(family.count(*counter))))
            .collect();
        return print_json(json!({
            "family": name(&family_name),
            "id": format!("{:016x}", family.id()),
            "generation": family.generation(),
            "mounts": mounts,
            "calls": calls,
        }));
    }
    let mut text = String::new();
    if !family_name.is_empty() {
        text.push_str(&format!("{:<12}{}\n", "family", shown(&family_name)));
    }
    text.push_str(&format!("{:<12}{:016x}\n", "id", family.id()));
    text.push_str(&format!("{:<12}{}\n", "generation", family.generation()));
    text.push_str(&format!("{:<12}{mounts}\n", "mounts"));
    for (counter, name) in Counter::ALL {
        text.push_str(&format!("{name:<12}{}\n", family.count(counter)));
    }
    crate::print(text.as_bytes())
}
