//! Listings of real directories through a real table.

use super::*;
use crate::process::Process;
use privns_namespace::family::Family;
use privns_namespace::table::{Kind, Order, Rule, Source, Table, Verb};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::string::String;
use std::vec;

/// Directories `one`, `two` and `three`; a union of the first two at `place`,
/// and the third mounted in it over `covered` and beside it at `added`.
struct World {
    root: PathBuf,
    process: &'static Process,
}

impl World {
    fn new(name: &str) -> World {
        let root = std::env::temp_dir().join(std::format!("privns-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let root = {
            fs::create_dir_all(&root).unwrap();
            root.canonicalize().unwrap()
        };
        for file in ["one/a", "one/both", "one/covered", "two/b", "two/both", "three/c"] {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        fs::create_dir(root.join("place")).unwrap();
        let mut table = Table::new();
        let place = bytes(&root.join("place"));
        for (source, at, order) in [
            ("one", "", Order::Replace),
            ("two", "", Order::After),
            ("three", "/covered", Order::Replace),
            ("three", "/added", Order::Replace),
        ] {
            let rule = Rule { verb: Verb::Bind, origin: vec![] };
            let member = table.member(Source::Host(bytes(&root.join(source))), rule);
            let at = [place.clone(), at.as_bytes().to_vec()].concat();
            table.place(&at, Kind::Dir, order, member, None).unwrap();
        }
        let process: &'static Process = Box::leak(Box::new(Process::new()));
        process.join(Family::create(b"", &table).unwrap());
        World { root, process }
    }

    /// Opens a directory as the library would: the first member's.
    fn open(&self, dir: &str) -> File {
        let file = File::open(self.root.join(dir)).unwrap();
        let view = self.process.view().unwrap();
        let host = bytes(&self.root.join(dir));
        let table = view.table().unwrap();
        let seq = table.index().all().flat_map(|m| m.members()).find(|m| m.host() == host);
        let seq = seq.map_or(0, |m| m.seq());
        let shown = Shown { seq, plain: false, read_only: false };
        self.process.fds.set(file.as_raw_fd(), shown, view.family.generation());
        file
    }

    fn list(&self, file: &File, room: usize) -> Vec<(String, u64, u8)> {
        let view = self.process.view().unwrap();
        let mut got = Vec::new();
        let mut room = std::vec![0; room];
        loop {
            let n = view.list(file.as_raw_fd(), &mut room).unwrap();
            if n == 0 {
                return got;
            }
            got.extend(dirent::entries(&room[..n]).map(|e| {
                let name = String::from_utf8(e.name.to_vec()).unwrap();
                (name, e.ino, e.kind)
            }));
        }
    }

    fn names(&self, file: &File, room: usize) -> Vec<String> {
        self.list(file, room).into_iter().map(|(name, ..)| name).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_encoded_bytes().to_vec()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

const ALL: [&str; 7] = [".", "..", "a", "added", "b", "both", "covered"];

#[test]
fn a_union_lists_every_name_once_and_its_mount_points() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new("union");
    let union = world.open("one");
    let got = world.list(&union, 1 << 16);
    assert_eq!(sorted(got.iter().map(|(name, ..)| name.clone()).collect()), ALL);
    let ino = |path: &str| fs::metadata(world.root.join(path)).unwrap().ino();
    let entry =
        |name: &str| got.iter().find(|(n, ..)| n == name).map(|&(_, ino, kind)| (ino, kind));
    // The first member's file, and what is mounted rather than what it covers.
    assert_eq!(entry("both"), Some((ino("one/both"), libc::DT_REG)));
    assert_eq!(entry("covered"), Some((ino("three"), libc::DT_DIR)));
    assert_eq!(entry("added"), Some((ino("three"), libc::DT_DIR)));
}

#[test]
fn the_position_is_the_descriptors_own() {
    let world = World::new("position");
    let union = world.open("one");
    let whole = world.names(&union, 1 << 16);
    assert_eq!(world.names(&union, 1 << 16), [""; 0], "the end stays the end");
    // One entry at a time, from any place, and over a duplicate.
    for from in 0..whole.len() {
        Kernel.lseek(union.as_raw_fd(), from as i64, libc::SEEK_SET).unwrap();
        assert_eq!(world.names(&union, 40), whole[from..]);
    }
    let again = union.try_clone().unwrap();
    world.process.fds.copy(union.as_raw_fd(), again.as_raw_fd());
    Kernel.lseek(again.as_raw_fd(), 3, libc::SEEK_SET).unwrap();
    assert_eq!(world.names(&union, 1 << 16), whole[3..]);
}

#[test]
fn what_is_removed_while_a_directory_is_read_shifts_nothing() {
    let world = World::new("removed");
    for n in 0..500 {
        fs::write(world.root.join(std::format!("two/n{n}")), "").unwrap();
    }
    let union = world.open("one");
    let view = world.process.view().unwrap();
    let mut seen = 0;
    let mut room = [0; 256];
    loop {
        let n = view.list(union.as_raw_fd(), &mut room).unwrap();
        for entry in dirent::entries(&room[..n]).filter(|e| e.name.starts_with(b"n")) {
            let name = core::str::from_utf8(entry.name).unwrap();
            fs::remove_file(world.root.join("two").join(name)).unwrap();
            seen += 1;
        }
        if n == 0 {
            break;
        }
    }
    assert_eq!(seen, 500);
    Kernel.lseek(union.as_raw_fd(), 0, libc::SEEK_SET).unwrap();
    assert_eq!(sorted(world.names(&union, 4096)), ALL);
}

#[test]
fn a_member_that_has_gone_has_no_names() {
    let world = World::new("gone");
    let union = world.open("one");
    fs::remove_dir_all(world.root.join("two")).unwrap();
    let left = [".", "..", "a", "added", "both", "covered"];
    assert_eq!(sorted(world.names(&union, 4096)), left);
}

#[test]
fn the_parents_of_mount_points_list_them_too() {
    let world = World::new("parents");
    let root = world.open("");
    // Nothing is mounted right in it but the place, which it has.
    assert_eq!(sorted(world.names(&root, 4096)), [".", "..", "one", "place", "three", "two"]);
    let view = world.process.view().unwrap();
    let mut room = [0; 4096];
    assert_eq!(view.list(-1, &mut room), Err(Errno::EBADF));
    assert_eq!(view.list(root.as_raw_fd(), &mut room), Ok(0));
    Kernel.lseek(root.as_raw_fd(), 0, libc::SEEK_SET).unwrap();
    assert_eq!(view.list(root.as_raw_fd(), &mut room[..10]), Err(Errno::EINVAL));
}
