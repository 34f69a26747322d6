//! The user's living families.

use super::table::{columns, name, print_json};
use crate::failure::{Failure, shown};
use crate::runtime::{self, Runtime};
use privns_namespace::Family;
use serde_json::json;

/// Lists them; only their names with `names`, for completions.
///
/// # Errors
/// Standard output's.
pub(crate) fn list(as_json: bool, names: bool) -> Result<(), Failure> {
    let families = living();
    let name_of = |family: &Family| family.name().unwrap_or_default();
    if names {
        let named = families.iter().map(name_of).filter(|n| !n.is_empty());
        let lines: Vec<u8> = named.flat_map(|n| [n, b"\n".to_vec()].concat()).collect();
        return crate::print(&lines);
    }
    let members = |family: &Family| {
        runtime::members(family.id()).filter(|m| m.0 != family.keeper() as i32).count()
    };
    if as_json {
        let all = families.iter().map(|f| {
            json!({
                "name": name(&name_of(f)),
                "id": format!("{:016x}", f.id()),
                "keeper": f.keeper(),
                "generation": f.generation(),
                "mounts": mounts(f),
                "members": members(f),
            })
        });
        return print_json(json!({ "families": all.collect::<Vec<_>>() }));
    }
    let row = |f: &Family| {
        let name = name_of(f);
        vec![
            if name.is_empty() { "-".into() } else { shown(&name) },
            format!("{:016x}", f.id()),
            mounts(f).to_string(),
            members(f).to_string(),
            f.keeper().to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = families.iter().map(row).collect();
    crate::print(columns(&["NAME", "ID", "MOUNTS", "MEMBERS", "KEEPER"], &rows).as_bytes())
}

/// All that live; what is stale is cleared away on the way.
fn living() -> Vec<Family> {
    let mut families = Vec::new();
    for runtime in Runtime::all() {
        runtime.sweep();
        let ids = runtime.ids().unwrap_or_default();
        families.extend(ids.into_iter().filter_map(|id| runtime.by_id(id).ok()));
    }
    families.sort_by_key(|f| (f.name().unwrap_or_default(), f.id()));
    families
}

fn mounts(family: &Family) -> usize {
    family.read_table().map_or(0, |t| t.mounts().len())
}
