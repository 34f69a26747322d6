//! Tables printed, built from that, and printed again.

use super::*;
use crate::build::tests::{Made, TREE, World, built, listing};
use crate::build::{Instance, Places};
use crate::failure::Failure;
use crate::file::parse;
use crate::file::tests::Fixed;
use crate::poly;
use crate::remote::Server;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::string::{String, ToString};
use std::vec;

/// Makes what the world can make, except that an instance is that of the table
/// first built: two builds would differ in nothing else.
struct Again<'a>(Made<'a>, Recorded<'a>);

impl Places for Again<'_> {
    fn dir(&mut self, at: &[u8], number: u32) -> Result<Vec<u8>, Failure> {
        self.0.dir(at, number + 1000)
    }
    fn symlink(&mut self, at: &[u8], number: u32, to: &[u8]) -> Result<Vec<u8>, Failure> {
        self.0.symlink(at, number + 1000, to)
    }
    fn instance(&mut self, at: &[u8], original: &[u8]) -> Result<Instance, Failure> {
        self.1.instance(at, original)
    }
    fn by_rule(
        &mut self,
        at: &[u8],
        original: Option<&[u8]>,
        rule: &poly::Rule,
    ) -> Result<Instance, Failure> {
        self.1.by_rule(at, original, rule)
    }
    fn server(&mut self, at: &[u8], server: &mut Server) -> Result<(), Failure> {
        self.0.server(at, server)
    }
}

fn text(world: &World, table: &Table) -> String {
    String::from_utf8(to_text(&print(world, table, None))).unwrap()
}

/// The table that printed lines make.
fn again(world: &World, table: &Table, lines: &str) -> Result<Table, String> {
    let parsed = parse(b"f", lines.as_bytes(), &Fixed).map_err(|f| f.to_string())?;
    let server = Cell::new(0);
    let mut places = Again(Made::new(world), Recorded { table, server: &server });
    let builder = Builder::new(world, &mut places, &Table::new(), b"/");
    builder.run(&parsed).map(|b| b.table).map_err(|f| f.to_string())
}

fn printed(lines: &str) -> String {
    let world = World::new(TREE);
    let table = built(&world, lines).unwrap().table;
    let first = text(&world, &table);
    let second = again(&world, &table, &first).unwrap();
    assert_eq!(text(&world, &second), first);
    first.trim_end().replace('\n', "; ")
}

#[test]
fn what_was_asked_for_is_what_is_printed() {
    for lines in [
        "",
        "bind /a /b",
        "bind -r /a /n/m/x",
        "private -i '/i/ user' /a",
        "private -i '/i/ user:create' /n/m",
        "bind -b /a /c; bind -ac /b /c",
        "bind /a /c; bind -b /b /c",
        "bind /b /a/sub; bind /a /usr",
        "clear",
        "clear; bind /usr /usr; symlink usr/bin /bin",
        "dir /n; bind /a /n/x",
        "symlink -- -x /l",
        "private /tmp; bind /a /tmp/new",
        "private /tmp; bind /tmp /c",
        "bind host!/ /",
        "bind /a/f /b/f",
        "bind /a '/b c#d'",
        "bind /b /a/sub; bind /c /a/new; bind /a /usr; unmount /usr/sub",
        "bind /b /a/sub; bind host!/a /usr",
        "mount tcp!h /b",
        "mount -r -o window=3,owner=me tcp!h /n/m 'a tree'",
        "mount mem! /b; bind /b/d /c",
        "mount -b tcp!h /c; mount -ac tcp!g /c",
        "mount mem! /c; mount -a mem! /c; bind /a /c/d",
        "bind /a /n/x; mount -b tcp!h /n",
    ] {
        let want = lines.replace("bind host!/ /", "bind / /");
        assert_eq!(printed(&lines.replace("; ", "\n")), want);
    }
}

#[test]
fn the_shortest_way_to_say_it() {
    for (lines, want) in [
        ("bind /a /b\nbind /b/sub /c", "bind /a /b; bind /a/sub /c"),
        ("bind /a /b\nbind host!/b /c", "bind /a /b; bind host!/b /c"),
        ("bind /a /b\nbind /c /b", "bind /c /b"),
        ("bind /a /n/x\nunmount /n/x", ""),
        ("bind -r /a /b\nbind /b /c", "bind -r /a /b; bind -r /a /c"),
        (
            "bind /a /n/x\nbind /n /c\nunmount /n/x",
            "dir /.privns-empty; bind -r /.privns-empty /c; unmount /.privns-empty; bind /a /c/x",
        ),
        ("bind /b /a/sub\nbind -b /c /a", "bind /b /a/sub; bind -b /c /a"),
        ("bind /b /a/sub\nbind /a /usr\nunmount /usr/sub", "bind /b /a/sub; bind host!/a /usr"),
        ("dir /a", ""),
        ("mount tcp!h /b\nbind /b /c\nunmount /b", "mount tcp!h /c"),
        (
            "mount mem! /b\nbind -r /b/d /c\nunmount /b",
            "mount mem! /.privns-server; bind -r /.privns-server/d /c; unmount /.privns-server",
        ),
        ("bind /a /n/x\nprivate /n/x", "bind /a /n/x; private /n/x"),
        // A directory that was there already is meant to be there only from then on.
        ("dir /l/sub\nbind /a/.. /a\ndir /l", "dir /l/sub; bind / /a; dir /l"),
        ("symlink / /n/m\nbind /n/../ /c\ndir /n", "symlink / /n/m; bind / /c; dir /n"),
        // The first member of the union has a link where the other has a directory.
        (
            "bind /tmp /bin\nbind -b /a/.. /usr\nbind /usr /",
            "bind /usr /; bind /tmp /bin; bind -b host!/ /; bind /bin /usr/bin",
        ),
    ] {
        assert_eq!(printed(lines), want, "{lines}");
    }
}

#[test]
fn a_union_whose_first_directory_left_takes_no_new_files_again() {
    let world = World::new(TREE);
    let table = built(&world, "bind -b /a /c\nbind -b /b /c\nunmount /c /c").unwrap().table;
    assert_eq!(listing(&table), "/c=/b,/a");
    let lines = text(&world, &table);
    assert_eq!(lines, "bind host!/ /c\nbind -b /a /c\nbind -b /b /c\nunmount host!/ /c\n");
    assert_eq!(listing(&again(&world, &table, &lines).unwrap()), "/c=/b,/a");
}

#[test]
fn a_source_that_is_gone_is_printed_all_the_same() {
    let world = World::new(TREE);
    let table = built(&world, "bind /a /b\nbind /b/sub /n/c").unwrap().table;
    let elsewhere = World::new(&["/b/"]);
    assert_eq!(text(&elsewhere, &table), "bind host!/a /b\nbind host!/a/sub /n/c\n");
}

#[test]
fn the_start_is_printed_last() {
    let world = World::new(TREE);
    let built = built(&world, "cd /\ncd a").unwrap();
    let lines = print(&world, &built.table, built.start.as_deref());
    assert_eq!(to_text(&lines), b"cd /a\n");
}

/// Names that meet each other often.
fn name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "/",
        "/a",
        "/a/sub",
        "/a/sub/deep",
        "/a/new",
        "/a/new/er",
        "/b",
        "/b/only",
        "/c",
        "/c/sub",
        "/n",
        "/n/m",
        "/n/m/x",
        "/tmp",
        "/tmp/in",
        "/usr",
        "/bin",
        "/bin/sh",
        "/l",
        "/l/sub",
        "/var/run",
        "/a/f",
        "/b/f",
        "/a/..",
        "/a/sub/..",
        "/b/../a/sub",
        "/l/..",
        "/l/sub/..",
        "/n/..",
        "/n/m/../x",
        "/bin/..",
        "/var/run/..",
    ])
}

pub(crate) fn line() -> impl Strategy<Value = String> {
    let flags = proptest::sample::select(vec!["", "", "-b ", "-a ", "-r ", "-bc ", "-ar "]);
    let mount = vec!["tcp!h", "-b tcp!h", "-a tcp!g", "-r tcp!g", "mem!", "-bc mem!"];
    let mount = proptest::sample::select(mount);
    prop_oneof![
        8 => (flags, any::<bool>(), name(), name()).prop_map(|(flags, global, src, dst)| {
            let host = if global { "host!" } else { "" };
            std::format!("bind {flags}{host}{src} {dst}")
        }),
        2 => (mount, name()).prop_map(|(mount, at)| std::format!("mount {mount} {at}")),
        2 => name().prop_map(|at| std::format!("unmount {at}")),
        1 => (name(), name()).prop_map(|(src, at)| std::format!("unmount {src} {at}")),
        1 => name().prop_map(|at| std::format!("dir {at}")),
        1 => (name(), name()).prop_map(|(to, at)| std::format!("symlink {to} {at}")),
        1 => name().prop_map(|at| std::format!("private {at}")),
        1 => Just("clear".to_string()),
    ]
}

/// A line that may fail.
pub(crate) fn quiet(line: &str) -> String {
    match line.split_once(' ') {
        Some((verb, rest)) => std::format!("{verb} -q {rest}\n"),
        None => std::format!("{line}\n"),
    }
}

/// The members of every mount point, but for what the skeleton calls them and
/// for parents that nothing was asked of.
fn plain(table: &Table) -> Vec<String> {
    let mounts = table.mounts().iter().filter(|m| !is_implied(m));
    let mounts = mounts.map(|mount| {
        let members = mount.members.iter().map(|m| {
            let Source::Host(host) = &m.source;
            let source = match in_skeleton(table, m) {
                true if mount.kind == Kind::Symlink => std::format!("{:?}", m.rule.verb),
                true => "skeleton".to_string(),
                // Numbers of servers are the table's own.
                false if remote::is_remote(host) => {
                    let (_, rest) = remote::split(host).unwrap();
                    let address = &table.server_of(host).unwrap().address;
                    String::from_utf8_lossy(&[address, rest].concat()).to_string()
                }
                false => String::from_utf8_lossy(host).to_string(),
            };
            let union = mount.members.len() > 1;
            let (base, create) = (m.base && union, m.create && union);
            std::format!("{source} {} {create} {base}", read_only(m))
        });
        let path = String::from_utf8_lossy(&mount.path);
        std::format!("{path} {:?} {:?}", mount.kind, members.collect::<Vec<_>>())
    });
    mounts.collect()
}

proptest! {
    // The same tables in every run; PROPTEST_CASES=50000 looks further.
    #![proptest_config(ProptestConfig {
        rng_seed: RngSeed::Fixed(9),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn any_table_is_printed_as_lines_that_make_it_again(lines in proptest::collection::vec(line(), 1..9)) {
        let world = World::new(TREE);
        let lines: String = lines.iter().map(|line| quiet(line)).collect();
        let table = built(&world, &lines).unwrap().table;
        let first = text(&world, &table);
        let second = again(&world, &table, &first);
        prop_assert!(second.is_ok(), "{}\n{}\n{:?}", lines, first, second);
        let second = second.unwrap();
        prop_assert_eq!(plain(&table), plain(&second), "{}\n{}", lines, first);
        prop_assert_eq!(text(&world, &second), first, "{}", lines);
    }
}
