//! A family's counters.

use super::table::{columns, name, plain, print_json, rooted};
use crate::failure::{Failure, shown};
use privns_namespace::family::Counter;
use privns_namespace::traffic::Traffic;
use privns_namespace::{Family, Member, Mount, Server, Source, Table, remote};
use serde_json::{Map, Value, json};

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
            "servers": table.servers().iter().map(|s| server(family, &table, s)).collect::<Vec<_>>(),
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
    let rows = table.servers().iter().map(|s| row(family, &table, s));
    let heads =
        ["SERVER", "REQUESTS", "SENT", "RECEIVED", "ROUND TRIPS", "RECONNECTS", "MOUNTED ON"];
    text.push_str(&columns(&heads, &rows.collect::<Vec<_>>()));
    crate::print(text.as_bytes())
}

/// What has been exchanged with a server.
fn server(family: &Family, table: &Table, server: &Server) -> Value {
    let mut value = json!({
        "id": server.id,
        "address": name(&server.address),
        "tree": name(&server.options.aname),
        "mounts": places(table, server.id).map(|at| name(rooted(at))).collect::<Vec<_>>(),
    });
    for (what, key) in Traffic::ALL {
        value[key] = json!(family.server_count(server.id, what));
    }
    value
}

fn row(family: &Family, table: &Table, server: &Server) -> Vec<String> {
    let mut row = vec![shown(&server.address)];
    row.extend(Traffic::ALL.map(|(what, _)| family.server_count(server.id, what).to_string()));
    row.push(places(table, server.id).map(plain).collect::<Vec<_>>().join(" "));
    row
}

/// Where members from a server are.
fn places(table: &Table, id: u32) -> impl Iterator<Item = &[u8]> {
    let of = move |mount: &&Mount| {
        mount.members.iter().any(|Member { source: Source::Host(host), .. }| {
            remote::split(host).is_some_and(|(of, _)| of == id)
        })
    };
    table.mounts().iter().filter(of).map(|mount| &mount.path[..])
}
