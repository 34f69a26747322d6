//! Copies of a server's files, whatever that says of them.

use super::super::served::{self, Served};
use super::*;
use privns_namespace::Table;
use privns_namespace::file::Cache;
use privns_ninep::attr::{Attr, Qid, Time, mode};
use privns_servers::{How, Tree, Who, tree::read_bytes};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::string::String;
use std::sync::{Arc, Mutex};
use std::vec;
use std::vec::Vec;

/// A tree of one file, `d/f`, of which it says what it likes.
struct Liar(Arc<Mutex<Said>>);

#[derive(Default)]
struct Said {
    contents: Vec<u8>,
    size: u64,
    version: u32,
    modified: Time,
    /// Each read makes it another version.
    restless: bool,
    reads: usize,
}

impl Tree for Liar {
    type Node = u64;
    type File = u64;

    fn attach(&self, _: &Who, _: &[u8]) -> Result<u64> {
        Ok(0)
    }
    fn walk(&self, dir: &u64, name: &[u8]) -> Result<u64> {
        match (dir, name) {
            (0, b"d") => Ok(1),
            (1, b"f") => Ok(2),
            _ => Err(Errno::ENOENT),
        }
    }
    fn parent(&self, node: &u64) -> Result<Option<(u64, Vec<u8>)>> {
        Ok(node.checked_sub(1).map(|above| (above, [&b"d"[..], b"f"][above as usize].to_vec())))
    }
    fn attr(&self, node: &u64) -> Result<Attr> {
        if *node < 2 {
            return Ok(Attr::of(*node, mode::DIRECTORY | 0o755, 0));
        }
        let said = self.0.lock().unwrap();
        let mut attr = Attr::of(2, mode::REGULAR | 0o755, said.size);
        attr.qid = Qid::of(mode::REGULAR, said.version, 2);
        attr.mtime = said.modified;
        Ok(attr)
    }
    fn open(&self, node: &u64, _: How) -> Result<u64> {
        Ok(*node)
    }
    fn read(&self, _: &u64, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut said = self.0.lock().unwrap();
        said.reads += 1;
        said.version += u32::from(said.restless);
        Ok(read_bytes(&said.contents, offset, buf))
    }
}

struct World {
    served: Served<Liar>,
    said: Arc<Mutex<Said>>,
}

impl World {
    fn new(name: &str) -> World {
        let root = served::directory(&std::format!("shelf-{name}"), &["skel"]);
        let said = Arc::new(Mutex::new(Said::default()));
        let mut table = Table::new();
        table.skeleton = root.join("skel").as_os_str().as_bytes().to_vec();
        let served = Served::begin(root, Liar(said.clone()), &table, None, Cache::None);
        World { served, said }
    }

    fn view(&self) -> View<'static> {
        self.served.view()
    }

    /// What the copy has, and how often the server was read for it.
    fn copy(&self) -> (Vec<u8>, usize) {
        let before = self.said.lock().unwrap().reads;
        let copy = self.view().at_hand(b"/dev/null/9p/1/d/f").unwrap();
        let copy = String::from_utf8(copy.as_bytes().to_vec()).unwrap();
        assert!(copy.starts_with(self.served.root.to_str().unwrap()) && copy.ends_with("/1/d/f"));
        let host = self.view().unshelved(copy.as_bytes()).unwrap();
        assert_eq!(host.as_bytes(), b"/dev/null/9p/1/d/f");
        (fs::read(copy).unwrap(), self.said.lock().unwrap().reads - before)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.served.server.shut();
        let shelf = self.served.root.join(std::format!("shelf/{}", Kernel.geteuid()));
        let left: Vec<_> = fs::read_dir(shelf).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["1"], "left on the shelf");
    }
}

#[test]
fn a_size_that_lies() {
    let world = World::new("size");
    for size in [0, 1, 5000, 5001, 1 << 40, u64::MAX] {
        *world.said.lock().unwrap() = Said {
            contents: vec![7; 5000],
            size,
            modified: Time { sec: 10, nsec: 5 },
            ..Said::default()
        };
        let (copy, reads) = world.copy();
        assert!(copy == vec![7; 5000] && reads > 0, "{size}");
        assert_eq!(world.copy(), (copy, 0), "{size}");
    }
}

#[test]
fn what_changes_is_copied_again() {
    let world = World::new("change");
    let change = |change: &dyn Fn(&mut Said)| change(&mut world.said.lock().unwrap());
    change(&|said| (said.contents, said.modified) = (vec![1], Time { sec: 10, nsec: 5 }));
    assert_eq!(world.copy().0, [1]);
    change(&|said| said.contents = vec![2]);
    // Nothing has said so.
    assert_eq!(world.copy(), (vec![1], 0));
    change(&|said| said.version += 1);
    assert_eq!(world.copy().0, [2]);
    change(&|said| (said.contents, said.modified.nsec) = (vec![3], 6));
    assert_eq!(world.copy().0, [3]);
    assert_eq!(world.copy(), (vec![3], 0));
}

#[test]
fn what_has_just_changed_is_not_trusted() {
    let world = World::new("fresh");
    let (second, nanosecond) = Kernel.time();
    let set = |sec: i64, nsec: u64| {
        let modified = Time { sec: sec as u64, nsec };
        *world.said.lock().unwrap() = Said { contents: vec![1], modified, ..Said::default() };
    };
    // A clock of seconds: it could change again in this one. One that is ahead.
    for (sec, nsec) in [(second, 0), (second + 1, nanosecond.into())] {
        set(sec, nsec);
        assert_eq!(world.copy().0, [1]);
        assert!(world.copy().1 > 0, "{sec} {nsec}");
    }
    // A fine one is waited for.
    let (second, nanosecond) = Kernel.time();
    set(second, u64::from(nanosecond).max(1));
    assert_eq!(world.copy().0, [1]);
    assert_eq!(world.copy(), (vec![1], 0));
}

#[test]
fn what_never_rests_is_copied_all_the_same() {
    let world = World::new("restless");
    let modified = Time { sec: 10, nsec: 5 };
    let contents = vec![1; 100];
    *world.said.lock().unwrap() =
        Said { contents: contents.clone(), modified, restless: true, ..Said::default() };
    let (copy, reads) = world.copy();
    assert_eq!(copy, contents);
    assert!((ROUNDS..20).contains(&reads), "{reads}");
}

#[test]
fn a_mark_is_another_when_anything_is() {
    let attr = Attr {
        qid: Qid::of(libc::S_IFREG, 7, 8),
        size: 9,
        mtime: Time { sec: 10, nsec: 11 },
        ..Attr::default()
    };
    let of = |attr: Attr| mark(&Meta::plain(1, attr));
    let mut others = [attr; 5];
    others[0].qid.path += 1;
    others[1].qid.version += 1;
    others[2].size += 1;
    others[3].mtime.sec += 1;
    others[4].mtime.nsec += 1;
    for other in others {
        assert_ne!(of(other), of(attr));
    }
    assert_eq!(of(Attr { atime: Time { sec: 1, nsec: 1 }, mode: 0o755, ..attr }), of(attr));
}

#[test]
fn another_users_directory_is_none_of_ours() {
    let dir = std::format!("/tmp/privns-shelf-{}", Kernel.getpid());
    let name = || Name::from(dir.as_bytes()).unwrap();
    let uid = Kernel.geteuid();
    own_directory(&mut name(), uid).unwrap();
    own_directory(&mut name(), uid).unwrap();
    assert_eq!(own_directory(&mut name(), uid + 1), Err(Errno::EACCES));
    Kernel.chmod(name().as_cstr().unwrap(), 0o777).unwrap();
    assert_eq!(own_directory(&mut name(), uid), Err(Errno::EACCES));
    std::fs::remove_dir(&dir).unwrap();
    std::os::unix::fs::symlink("/tmp", &dir).unwrap();
    assert_eq!(own_directory(&mut name(), uid), Err(Errno::EACCES));
    std::fs::remove_file(&dir).unwrap();
}
