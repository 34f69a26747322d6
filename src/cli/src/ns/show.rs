//! What a namespace is, and why a name shows what it shows.

use super::table::{name, plain, print_json, rooted};
use crate::exec::environment::here;
use crate::exec::program::View;
use crate::failure::{Failure, shown};
use crate::servers::Reach;
use privns_abi::Errno;
use privns_host::{Host, Kernel};
use privns_namespace::file::{Action, Line};
use privns_namespace::resolve::ByText;
use privns_namespace::{
    Family, Index, Last, Located, Member, Mount, Server, Source, Start, Table, Verb, index,
    print as printer, remote, walk,
};
use serde_json::{Value, json};

/// Prints the lines that build the namespace again.
///
/// # Errors
/// A damaged table.
pub(crate) fn print(family: &Family, as_json: bool) -> Result<(), Failure> {
    let table = family.read_table().map_err(|e| Failure::new("the family's table", e))?;
    let lines = printer::print(&Kernel, &table, None);
    if !as_json {
        return crate::print(&printer::to_text(&lines));
    }
    let family_name = family.name().unwrap_or_default();
    print_json(json!({
        "family": name(&family_name),
        "id": format!("{:016x}", family.id()),
        "generation": family.generation(),
        "lines": lines.iter().map(|l| name(&l.to_text())).collect::<Vec<_>>(),
        "mounts": table.mounts().iter().map(|m| mount(&table, m)).collect::<Vec<_>>(),
        "cleared": table.cleared,
    }))
}

fn mount(table: &Table, mount: &Mount) -> Value {
    json!({
        "path": name(rooted(&mount.path)),
        "members": mount.members.iter().map(|m| member(table, m)).collect::<Vec<_>>(),
    })
}

fn member(table: &Table, member: &Member) -> Value {
    let mut value = json!({
        "host": name(rooted(host(member))),
        "read_only": member.read_only,
        "create": member.create,
        "by": verb(member),
        "origin": name(&member.rule.origin),
    });
    if let Some((server, rest)) = served(table, host(member)) {
        let root = if rest.is_empty() { b"/" } else { rest };
        value["server"] = json!({
            "id": server.id,
            "address": name(&server.address),
            "dialled": name(&server.dial),
            "tree": name(&server.options.aname),
            "user": name(&server.user),
            "path": name(root),
        });
        value["host"] = Value::Null;
    }
    value
}

/// The server of a remote file, and the file's path there.
fn served<'t, 'h>(table: &'t Table, host: &'h [u8]) -> Option<(&'t Server, &'h [u8])> {
    let (id, rest) = remote::split(host)?;
    Some((table.server(id)?, rest))
}

/// A host file, or a server's, as people say it.
fn said(table: &Table, host: &[u8]) -> String {
    match served(table, host) {
        None => plain(host),
        Some((server, b"")) => shown(&server.address),
        Some((server, rest)) => format!("{} of {}", shown(rest), shown(&server.address)),
    }
}

fn host(member: &Member) -> &[u8] {
    let Source::Host(host) = &member.source;
    host
}

fn verb(member: &Member) -> &'static str {
    match member.rule.verb {
        Verb::Bind => "bind",
        Verb::Private => "private",
        Verb::Instance(_) => "rule",
        Verb::Dir => "dir",
        Verb::Symlink(_) => "symlink",
        Verb::Implied => "implied",
        Verb::Mount => "mount",
        _ => "derived",
    }
}

/// Says which member serves a name and which line made it one.
///
/// # Errors
/// The name leads nowhere; that there is no such file yet, after saying where
/// it would be.
pub(crate) fn why(family: &Family, path: &[u8], as_json: bool) -> Result<(), Failure> {
    let failure = |e| Failure::new(format!("why {}", shown(path)), e);
    let table = family.read_table().map_err(failure)?;
    let bytes = index::encode(&table);
    let index = Index::parse(&bytes).map_err(failure)?;
    let cwd = here().unwrap_or_default();
    let reach = Reach::of(&table);
    let view = View { index, cwd: &cwd, files: &*reach };
    let mut located = look(&view, path).map_err(failure)?;
    let there = match located.host.as_cstr().and_then(|host| reach.lstat(host)) {
        Err(Errno::ENOENT) => false,
        there => there.map(|_| true).map_err(failure)?,
    };
    let host = located.host.as_bytes();
    let found = serving(&table, located.seq);
    let answered = |done: Result<(), Failure>| {
        done.and_then(|()| if there { Ok(()) } else { Err(failure(Errno::ENOENT)) })
    };
    if as_json {
        return answered(print_json(json!({
            "path": name(path),
            "name": name(rooted(located.ns.as_bytes())),
            "exists": there,
            "host": if remote::is_remote(host) { Value::Null } else { name(host) },
            "read_only": located.read_only,
            "mount": found.map(|(m, _)| name(rooted(&m.path))),
            "member": found.map(|(_, at)| member(&table, at)),
            "line": found.map(|(m, at)| name(&line(&table, m, at).to_text())),
        })));
    }
    let of = if remote::is_remote(host) { "" } else { " of the host" };
    let file = said(&table, host);
    let is = if there { "is" } else { "is not there; it would be" };
    let mut text = format!("{} {is} {file}{of}\n", plain(located.ns.as_bytes()));
    match found {
        None => text.push_str("  no member: the global namespace serves it\n"),
        Some((mount, at)) => text.push_str(&told(&table, mount, at)),
    }
    answered(crate::print(text.as_bytes()))
}

fn look(view: &View<'_>, path: &[u8]) -> privns_abi::Result<Located> {
    let start = Start { ns: view.cwd, seq: 0 };
    walk(view.files, view.index, &ByText(view.index), start, path, Last::FOLLOW)
}

fn serving(table: &Table, seq: u32) -> Option<(&Mount, &Member)> {
    let members = |mount| {
        let mount: &Mount = mount;
        mount.members.iter().map(move |member| (mount, member))
    };
    table.mounts().iter().flat_map(members).find(|(_, member)| member.seq == seq)
}

fn told(table: &Table, mount: &Mount, member: &Member) -> String {
    let at = mount.members.iter().position(|m| m.seq == member.seq).unwrap_or(0) + 1;
    let of = mount.members.len();
    let mut text = String::new();
    let which = if of > 1 { format!(", member {at} of {of} of a union") } else { String::new() };
    let what = match member.rule.verb {
        Verb::Bind
        | Verb::Private
        | Verb::Instance(_)
        | Verb::Dir
        | Verb::Symlink(_)
        | Verb::Mount => shown(&line(table, mount, member).to_text()),
        Verb::Implied => "there for what is mounted below it".into(),
        _ => "came along with a bind, or stood there first".into(),
    };
    text.push_str(&format!("  mounted on {}{which}\n", plain(&mount.path)));
    text.push_str(&format!("  from {}\n  by {what}\n", said(table, host(member))));
    if !member.rule.origin.is_empty() {
        text.push_str(&format!("  given by {}\n", shown(&member.rule.origin)));
    }
    if member.read_only {
        text.push_str("  read-only\n");
    }
    text
}

/// A line that would make the member.
fn line(table: &Table, mount: &Mount, member: &Member) -> Line {
    let dst = rooted(&mount.path).to_vec();
    let src = rooted(host(member)).to_vec();
    if let (Verb::Mount, Some((server, _))) = (&member.rule.verb, served(table, host(member))) {
        let (address, options) = (server.address.clone(), server.options.clone());
        let made = Line::new(Action::Mount { address, dst, options }, &member.rule.origin);
        return Line { read_only: member.read_only, create: member.create, ..made };
    }
    let action = match &member.rule.verb {
        Verb::Private => Action::Private(dst),
        Verb::Instance(rule) => Action::Instance { rule: rule.clone(), dir: dst },
        Verb::Dir | Verb::Implied => Action::Dir(dst),
        Verb::Symlink(target) => Action::Symlink { target: target.clone(), dst },
        _ => Action::Bind { src, dst },
    };
    let made = Line::new(action, &member.rule.origin);
    Line { read_only: member.read_only, create: member.create, ..made }
}
