//! Instances of directories of our own.

use super::*;
use privns_abi::path;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A directory that goes with the test.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Scratch {
        let path = PathBuf::from(format!("/var/tmp/privns-test-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("o")).unwrap();
        mode(&path.join("o"), 0o755);
        Scratch(path)
    }

    pub(super) fn original(&self) -> PathBuf {
        self.0.join("o")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(super) fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

pub(super) fn of(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

#[test]
fn an_instance_is_beneath_its_original_and_has_its_mode() {
    let scratch = Scratch::new("mode");
    for wanted in [0o1777, 0o700, 0o2755, 0o755] {
        mode(&scratch.original(), wanted);
        let made = make(5, bytes(&scratch.original())).unwrap();
        assert_eq!(fs::metadata(of(&made)).unwrap().mode() & 0o7777, wanted);
        let parent = fs::symlink_metadata(of(path::parent(&made))).unwrap();
        assert_eq!((parent.mode() & 0o777, parent.uid()), (0o700, Kernel.geteuid()));
        assert_eq!(instance::original(&made), Some(bytes(&scratch.original())));
        remove(&made).unwrap();
        assert_eq!(fs::read_dir(scratch.original()).unwrap().count(), 0);
    }
}

#[test]
fn two_instances_are_apart_and_the_last_takes_the_parent_along() {
    let scratch = Scratch::new("two");
    let [one, two] = [1, 2].map(|family| make(family, bytes(&scratch.original())).unwrap());
    fs::write(of(&one).join("f"), "").unwrap();
    assert_eq!(fs::read_dir(of(&two)).unwrap().count(), 0);
    // Another family's instance is not removed with this one's.
    remove_all(1, &[one.clone(), two.clone()]);
    assert!(!of(&one).exists() && of(&two).exists());
    remove_all(2, &[one, two]);
    assert_eq!(fs::read_dir(scratch.original()).unwrap().count(), 0);
}

#[test]
fn removal_takes_all_and_follows_nothing() {
    let scratch = Scratch::new("remove");
    let made = make(1, bytes(&scratch.original())).unwrap();
    let target = scratch.0.join("precious");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("f"), "kept").unwrap();
    let inside = of(&made);
    symlink(&target, inside.join("link")).unwrap();
    fs::create_dir_all(inside.join("deep/er")).unwrap();
    fs::write(inside.join("deep/er/f"), "").unwrap();
    symlink("../../../..", inside.join("deep/up")).unwrap();
    fs::create_dir_all(inside.join("locked/in")).unwrap();
    mode(&inside.join("locked/in"), 0);
    mode(&inside.join("locked"), 0o500);
    fs::create_dir(of(&[&made[..], b"/\xff\n"].concat())).unwrap();
    remove(&made).unwrap();
    assert_eq!(fs::read(target.join("f")).unwrap(), b"kept");
    assert_eq!(fs::read_dir(scratch.original()).unwrap().count(), 0);
    remove(&made).unwrap();
}

#[test]
fn who_squats_on_the_parents_name_is_refused() {
    let scratch = Scratch::new("squat");
    let original = scratch.original();
    let parent = original.join(OsStr::from_bytes(&instance::parent(Kernel.geteuid())));
    let refused = |said: &str| {
        let failure = make(1, bytes(&original)).unwrap_err().to_string();
        assert!(failure.contains(said), "{failure}");
    };
    symlink(&scratch.0, &parent).unwrap();
    refused("it is no directory");
    fs::remove_file(&parent).unwrap();
    fs::write(&parent, "").unwrap();
    refused("it is no directory");
    fs::remove_file(&parent).unwrap();
    fs::create_dir(&parent).unwrap();
    mode(&parent, 0o755);
    refused("its mode 755 lets others in");
    mode(&parent, 0o700);
    if Kernel.geteuid() == 0 {
        std::os::unix::fs::chown(&parent, Some(12345), None).unwrap();
        refused("it belongs to user 12345");
    } else {
        eprintln!("skipped: needs root to make another user's directory");
    }
}

#[test]
fn originals_that_others_could_tamper_with_are_refused() {
    let stat =
        |mode, uid, gid| Stat { dev: 1, ino: 1, mode: libc::S_IFDIR | mode, uid, gid, links: 2 };
    let group = own_group();
    let other = group + 1;
    for good in
        [stat(0o1777, 0, 0), stat(0o755, 7, other), stat(0o775, 7, group), stat(0o775, 0, 0)]
    {
        assert_eq!(check_original(&good, 7), Ok(()), "{good:?}");
    }
    for bad in [stat(0o777, 0, 0), stat(0o777, 7, group), stat(0o775, 7, other), stat(0o755, 8, 0)]
    {
        assert!(check_original(&bad, 7).is_err(), "{bad:?}");
    }
    let scratch = Scratch::new("tamper");
    mode(&scratch.original(), 0o777);
    let failure = make(1, bytes(&scratch.original())).unwrap_err().to_string();
    assert!(failure.contains("not sticky (mode 777)"), "{failure}");
}

#[test]
fn where_nothing_can_be_made_the_failure_says_what_to_do() {
    let failure = make(1, b"/proc").unwrap_err().to_string();
    assert!(failure.starts_with("private /proc: "), "{failure}");
    let failure = make(1, b"/none").unwrap_err().to_string();
    assert_eq!(failure, "private /none: No such file or directory");
    let scratch = Scratch::new("link");
    symlink(scratch.original(), scratch.0.join("link")).unwrap();
    assert!(make(1, bytes(&scratch.0.join("link"))).is_err());
    assert!(remove(bytes(&scratch.original())).unwrap_err().to_string().ends_with("no instance"));
}

#[test]
fn many_at_once_get_their_own() {
    let scratch = Scratch::new("many");
    let original = scratch.original();
    std::thread::scope(|scope| {
        for family in 0..8 {
            let original = &original;
            scope.spawn(move || {
                for _ in 0..50 {
                    let made = make(family, bytes(original)).unwrap();
                    fs::write(of(&made).join("f"), family.to_string()).unwrap();
                    assert_eq!(fs::read_dir(of(&made)).unwrap().count(), 1);
                    remove(&made).unwrap();
                }
            });
        }
    });
    assert_eq!(fs::read_dir(&original).unwrap().count(), 0);
}
