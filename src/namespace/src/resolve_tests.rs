//! The walk on a tree in memory.

use super::*;
use crate::index::Index;
use crate::index::encode;
use crate::table::{Kind, Order, Rule, Source, Table, Verb};
use privns_host::fake::Tree;
use std::format;
use std::string::String;

const TREE: &[&str] = &[
    "/src/f",
    "/src/sub/g",
    "/src/abs -> /dst/sub",
    "/src/out -> ../other",
    "/src/loop -> loop",
    "/src/dangling -> nowhere",
    "/dst/old",
    "/other/h",
    "/u1/same",
    "/u1/one",
    "/u2/same",
    "/u2/two/deep",
    "/alias -> dst",
    "/var/run -> /run",
    "/run/pid",
    "/proc/7/cwd -> /src/sub",
    "/proc/7/fd/3 -> pipe:[1]",
    "/proc/self -> 7",
];

fn table(lines: &[(&str, &str, Order)]) -> Table {
    let mut table = Table::new();
    for (src, dst, how) in lines {
        let rule = |verb| Rule { verb, origin: Vec::new() };
        let member = table.member(Source::Host(src.as_bytes().to_vec()), rule(Verb::Bind));
        let under = table.member(Source::Host(dst.as_bytes().to_vec()), rule(Verb::Derived));
        table.place(dst.as_bytes(), Kind::Dir, *how, member, Some(under)).unwrap();
    }
    table
}

/// `NS HOST` or the error, on the tree with a bind and a union.
fn at(name: &str, last: Last) -> String {
    let table = table(&[
        ("/src", "/dst", Order::Replace),
        ("/u1", "/u", Order::Replace),
        ("/u2", "/u", Order::After),
        ("/other", "/dst/sub/mnt", Order::Replace),
    ]);
    let bytes = encode(&table);
    let index = Index::parse(&bytes).unwrap();
    let tree = Tree::new(TREE);
    match walk(&tree, index, &ByText(index), Start::ROOT, name.as_bytes(), last) {
        Ok(l) => {
            let text = |n: &Name| String::from_utf8(n.as_bytes().to_vec()).unwrap();
            format!("{} {}", text(&l.ns), text(&l.host))
        }
        Err(error) => format!("{error:?}"),
    }
}

fn follow(name: &str) -> String {
    at(name, Last::FOLLOW)
}

#[test]
fn a_bind_shows_its_source() {
    assert_eq!(follow("/dst/f"), "/dst/f /src/f");
    assert_eq!(follow("/dst"), "/dst /src");
    assert_eq!(follow("/"), " /");
    assert_eq!(follow("/dst/old"), "/dst/old /src/old");
}

#[test]
fn links_lead_into_and_out_of_covered_places() {
    assert_eq!(follow("/alias/f"), "/dst/f /src/f");
    assert_eq!(follow("/dst/abs/g"), "/dst/sub/g /src/sub/g");
    assert_eq!(follow("/dst/out/h"), "/other/h /other/h");
    assert_eq!(follow("/var/run/pid"), "/run/pid /run/pid");
    assert_eq!(at("/alias", Last::NO_FOLLOW), "/alias /alias");
    assert_eq!(at("/alias/", Last::NO_FOLLOW), "/dst /src/");
    // What takes it away, or would make it, means the link itself; behind a dot
    // is what it leads to.
    for last in [Last::REMOVE, Last::MAKE] {
        assert_eq!(at("/alias/", last), "/alias /alias/");
        assert_eq!(at("/alias/.", last), "/dst /src/.");
    }
}

#[test]
fn dot_dot_leads_to_the_mount_points_parent() {
    assert_eq!(follow("/dst/sub/mnt/.."), "/dst/sub /src/sub/.");
    assert_eq!(follow("/dst/sub/mnt/../g"), "/dst/sub/g /src/sub/g");
    assert_eq!(follow("/dst/../run/pid"), "/run/pid /run/pid");
    assert_eq!(follow("/../../run/pid"), "/run/pid /run/pid");
    assert_eq!(follow("/dst/f/.."), "ENOTDIR");
    assert_eq!(follow("/dst/none/.."), "ENOENT");
}

#[test]
fn errors_are_the_kernels() {
    assert_eq!(follow("/dst/loop"), "ELOOP");
    assert_eq!(follow(""), "ENOENT");
    assert_eq!(follow("/dst/f/x"), "ENOTDIR");
    assert_eq!(follow("/dst/none/x"), "ENOENT");
    assert_eq!(follow(&format!("/{}", "x".repeat(256))), "ENAMETOOLONG");
    assert_eq!(follow(&"/x".repeat(2048)), "ENAMETOOLONG");
    assert_eq!(at("/dst/dangling", Last::OPEN_OR_MAKE), "/dst/nowhere /src/nowhere");
}

#[test]
fn a_union_takes_the_first_that_has_the_name() {
    assert_eq!(follow("/u/same"), "/u/same /u1/same");
    assert_eq!(follow("/u/two/deep"), "/u/two/deep /u2/two/deep");
    assert_eq!(at("/u/new", Last::MAKE), "/u/new /u1/new");
    assert_eq!(follow("/u/two/../one"), "/u/one /u1/one");
}

#[test]
fn the_last_of_procs_own_links_is_left_to_the_host() {
    assert_eq!(follow("/proc/self/fd/3"), "/proc/7/fd/3 /proc/7/fd/3");
    assert_eq!(follow("/proc/self/cwd/g"), "/src/sub/g /src/sub/g");
}

#[test]
fn a_host_file_gets_its_name_back() {
    let table = table(&[("/src", "/dst", Order::Replace), ("/inst", "/src", Order::Replace)]);
    let bytes = encode(&table);
    let index = Index::parse(&bytes).unwrap();
    let name = |host: &[u8], seq| name_of(index, host, seq).map(|n| n.as_bytes().to_vec());
    assert_eq!(name(b"/src/f", 0).unwrap(), b"/dst/f");
    assert_eq!(name(b"/inst/f", 3).unwrap(), b"/src/f");
    assert_eq!(name(b"/inst/f", 0).unwrap(), b"/inst/f");
    assert_eq!(name(b"/", 0).unwrap(), b"");
    assert_eq!(name(b"/dst/x", 0), Err(Errno::ENOENT));
}
