//! A table answers as it does laid out, and lines that are acted upon together
//! make what they make one by one.

use super::*;
use crate::build::Builder;
use crate::build::tests::{Made, TREE, World, built};
use crate::file::parse;
use crate::file::tests::Fixed;
use crate::index::encode;
use crate::print::tests::{line, quiet};
use crate::resolve::{ByText, Last, Start, name_of, walk};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::format;
use std::string::String;
use std::vec::Vec;

/// Names in the tree, beside it, and through links out of it.
const NAMES: &[&str] = &[
    "/",
    "/a",
    "/a/f",
    "/a/sub/deep/g",
    "/a/sub/..",
    "/a/new/er/x",
    "/b/only",
    "/c/sub/../..",
    "/n/m/x/y",
    "/n/..",
    "/tmp/in/../host",
    "/usr/bin/sh",
    "/bin/sh",
    "/bin/../x",
    "/l",
    "/l/sub",
    "/l/../f",
    "/var/run/pid",
    "/dangling",
    "/dangling/x",
    "/nowhere/x",
    "/a-b",
    "/zzz",
    "f/..",
];

fn answers<'a>(world: &World, mounts: impl Mounts<'a>) -> Vec<String> {
    let lasts = [Last::FOLLOW, Last::NO_FOLLOW, Last::REMOVE, Last::MAKE, Last::OPEN_OR_MAKE];
    let walked = |&name: &&str| {
        lasts.map(|last| {
            let start = Start { ns: b"/a", seq: 0 };
            format!("{:?}", walk(world, mounts, &ByText(mounts), start, name.as_bytes(), last))
        })
    };
    let named = NAMES.iter().filter(|name| name.starts_with('/')).flat_map(|name| {
        (0..6).map(move |seq| format!("{:?}", name_of(mounts, name.as_bytes(), seq)))
    });
    NAMES.iter().flat_map(walked).chain(named).collect()
}

/// The table of lines that are acted upon one by one, each as the first on what
/// those before it have made.
fn one_by_one(world: &World, lines: &str) -> Table {
    let mut table = Table::new();
    let mut places = Made::new(world);
    for line in parse(b"f", lines.as_bytes(), &Fixed).unwrap() {
        let builder = Builder::new(world, &mut places, &table, b"/");
        table = builder.run(&[line]).unwrap().table;
    }
    table
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: RngSeed::Fixed(11),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn a_table_answers_as_its_index_does(lines in proptest::collection::vec(line(), 1..12)) {
        let world = World::new(TREE);
        let lines: String = lines.iter().map(|line| quiet(line)).collect();
        let table = built(&world, &lines).unwrap().table;
        let bytes = encode(&table);
        let index = Index::parse(&bytes).unwrap();
        let (ours, laid_out) = (answers(&world, &table), answers(&world, index));
        let differs = ours.iter().zip(&laid_out).find(|(ours, laid_out)| ours != laid_out);
        prop_assert_eq!(differs, None, "{}", lines);
        // Names are found where a plain search through all of them says.
        for name in NAMES.iter().filter(|name| name.starts_with('/') && !name.contains("..")) {
            let name = name.trim_end_matches('/').as_bytes();
            let covers = |m: &&Mount| path::is_within(name, &m.path);
            let innermost = table.mounts().iter().filter(covers).max_by_key(|m| m.path.len());
            let below = table.mounts().iter().any(|m| m.path != name && path::is_within(&m.path, name));
            prop_assert_eq!(Mounts::find(&table, name), (innermost, below), "{}", lines);
        }
    }

    #[test]
    fn lines_make_together_what_they_make_one_by_one(
        lines in proptest::collection::vec(line(), 1..12),
    ) {
        let lines: String = lines.iter().map(|line| quiet(line)).collect();
        let together = built(&World::new(TREE), &lines).unwrap().table;
        prop_assert_eq!(together, one_by_one(&World::new(TREE), &lines), "{}", lines);
    }
}
