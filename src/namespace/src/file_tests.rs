//! Lines read and printed.

use super::*;
use alloc::string::{String, ToString};
use alloc::vec;
use privns_abi::Errno;
use proptest::prelude::*;

/// Fixed variables; files that name themselves, and one that names a line.
pub(crate) struct Fixed;

impl Environment for Fixed {
    fn variable(&self, name: &[u8]) -> Option<Vec<u8>> {
        match name {
            b"USER" => Some(b"me".to_vec()),
            b"HOME" => Some(b"/home/a $b'#".to_vec()),
            _ => None,
        }
    }

    fn read(&self, file: &[u8]) -> Result<Vec<u8>> {
        match file {
            b"loop" => Ok(b"\n. loop".to_vec()),
            b"bomb" => Ok(b". bomb2\n. bomb2\n. bomb2\n. bomb2\n".repeat(8)),
            b"bomb2" => Ok(b". one\n".repeat(32)),
            b"one" => Ok(b"bind /a /b\n\nbind -q /c /d".to_vec()),
            b"bad" => Ok(b"dir /x\nbing /a /b\n".to_vec()),
            _ => Err(Errno::ENOENT),
        }
    }
}

fn read(text: &str) -> core::result::Result<Vec<Line>, String> {
    parse(b"f", text.as_bytes(), &Fixed).map_err(|f| f.to_string())
}

#[test]
fn every_verb_is_read_and_printed_as_it_was() {
    let text = "bind /a /b
bind -b /a /b
bind -acrq /a /b
bind host!/a '/b c'
mount -b tcp!h!564 /b
mount -bc -o 'uname=a b,msize=8192,timeout=3,window=2,dialect=9P2000.u,cache=none,owner=me' @h/n /b t
mount mem! /b
private /tmp
private -q /tmp
private -i '/i/ user:create=0700' /d
dir /d
symlink ../x /d
symlink -- -x /d
unmount /b
unmount -q /a /b
clear
cd /b";
    let lines = read(text).unwrap();
    for (line, text) in lines.iter().zip(text.lines()) {
        assert_eq!(String::from_utf8_lossy(&line.to_text()), text);
    }
    assert_eq!(lines.len(), text.lines().count());
    assert_eq!(lines[2].origin, b"f:3");
    let same = read("bind -a -c -qr -- /a /b\nmount -oro,msize=8192 mem! /b").unwrap();
    assert_eq!(same[0].to_text(), b"bind -acrq /a /b");
    assert!(same[1].read_only);
}

#[test]
fn what_is_wrong_is_said_with_file_and_line() {
    for (text, said) in [
        ("\nbing /a", "f:2: bing: unknown verb (there are bind, "),
        ("bind -x /a /b", "f:1: bind -x: unknown flag (bind [-bacrq] SRC DST)"),
        ("bind -o ro /a /b", "f:1: bind -o: unknown flag"),
        ("bind -ba /a /b", "f:1: bind -ba: only one of -b and -a"),
        ("bind -", "f:1: bind: it has 1 arguments"),
        ("bind /a", "f:1: bind: it has 1 arguments (bind [-bacrq] SRC DST)"),
        ("bind '' /a", "f:1: bind: argument 1: a name cannot be empty"),
        ("mount -o colour=red mem! /b", "f:1: -o colour=red: unknown key (the keys are aname"),
        ("mount -o msize mem! /b", "f:1: -o msize: it needs a value"),
        ("mount -o msize=1 mem! /b", "f:1: -o msize=1: out of range"),
        ("mount -o ro=1 mem! /b", "f:1: -o ro=1: it takes no value"),
        ("mount -o aname=x mem! /b y", "f:1: -o aname=x: the tree is named twice"),
        ("mount -o", "f:1: mount -o: no value follows"),
        ("mount udp!x /b", "f:1: mount udp!x: not an address"),
        ("mount @host /b", "f:1: mount @host: not an address"),
        ("bind $NONE /b", "f:1: $NONE: no such variable"),
        ("dir /x\n. none", "f:2: reading none: No such file or directory"),
        ("dir /x\n. bad", "bad:2: bing: unknown verb"),
        (". a b", "f:1: .: it takes one file"),
        ("\n. loop", "loop:2: . loop: files name each other too deeply"),
        (". bomb", "bomb:32: . bomb2: too many files are named"),
    ] {
        let got = read(text).unwrap_err();
        assert!(got.starts_with(said), "{text:?}: {got}");
    }
}

#[test]
fn a_file_names_another_and_its_lines_know_where_they_stand() {
    let lines = read("dir /x\n. one\nclear").unwrap();
    let origins: Vec<&[u8]> = lines.iter().map(|l| &l.origin[..]).collect();
    assert_eq!(origins, [&b"f:1"[..], b"one:1", b"one:3", b"f:3"]);
    let one = parse_line(b"-e '. one'", b". one", &Fixed).unwrap();
    assert_eq!(one[0].origin, b"one:1");
    assert_eq!(parse_line(b"--dir /x", b"dir /x", &Fixed).unwrap()[0].origin, b"--dir /x");
}

#[test]
fn a_line_of_a_megabyte_is_read() {
    let name = "x".repeat(1 << 20);
    let lines = read(&("bind /".to_string() + &name + " '/y" + &name + "'")).unwrap();
    let Action::Bind { src, dst } = &lines[0].action else { panic!() };
    assert_eq!((src.len(), dst.len()), ((1 << 20) + 1, (1 << 20) + 2));
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(1..=255u8, 1..12),
        "[-/a#' $]{1,6}".prop_map(String::into_bytes)
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (name(), name()).prop_map(|(src, dst)| Action::Bind { src, dst }),
        name().prop_map(Action::Private),
        (name(), name()).prop_map(|(target, dst)| Action::Symlink { target, dst }),
        (proptest::option::of(name()), name()).prop_map(|(src, dst)| Action::Unmount { src, dst }),
        (name(), name(), name()).prop_map(|(path, dst, aname)| Action::Mount {
            address: [b"unix!", &path[..]].concat(),
            dst,
            options: MountOptions { aname, ..Default::default() },
        }),
    ]
}

proptest! {
    #[test]
    fn any_line_is_read_back_as_it_was_printed(action in action(), flags in 0..4u8) {
        let mut line = Line::new(action, b"f:1");
        line.quiet = flags & 1 != 0;
        line.create = flags & 2 != 0 && matches!(line.action, Action::Bind { .. });
        prop_assert_eq!(parse(b"f", &line.to_text(), &Fixed), Ok(vec![line]));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(b"f", &text, &Fixed);
    }

    #[test]
    fn no_words_make_the_reader_panic(text in "(bind|mount|unmount|dir|\\.| |-[a-z]|'|\\$|#|\n|/x){0,20}") {
        let _ = parse(b"f", text.as_bytes(), &Fixed);
    }
}
