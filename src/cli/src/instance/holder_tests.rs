//! Holders in directories of our own.

use super::super::tests::{Scratch, bytes, mode, of as at};
use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicU32, Ordering};

const LIKE: Model = Model { mode: 0o1777, uid: 0, gid: 0 };

fn about(method: Method) -> About {
    About { method, keep: false, job: Some(b"7.0".to_vec()), polydir: b"/a:b".to_vec() }
}

fn model() -> Model {
    let uid = Kernel.geteuid();
    Model { uid, gid: rustix::process::getegid().as_raw(), ..LIKE }
}

fn make_in(scratch: &Scratch, name: &str, family: u64, method: Method) -> Result<Made, Failure> {
    let holder = scratch.original().join(name);
    make(bytes(&holder), family, &about(method), &model(), false)
}

fn leave(made: Made, family: u64) {
    let Made { path, held, .. } = made;
    drop(held);
    // These families do not live: another that leaves may have taken it along.
    if let Some(opened) = Opened::at(of(&path).unwrap()).unwrap() {
        opened.leave(family).unwrap();
    }
}

fn refused(made: Result<Made, Failure>, said: &str) {
    let Err(failure) = made else { panic!("not refused: {said}") };
    let failure = failure.to_string();
    assert!(failure.contains(said), "{failure}");
}

#[test]
fn it_is_the_users_alone_and_like_its_model() {
    let scratch = Scratch::new("holder");
    let made = make_in(&scratch, "me", 1, Method::User).unwrap();
    assert!(made.new && made.joined);
    let meta = fs::metadata(at(&made.path)).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid()), (0o1777, Kernel.geteuid()));
    let holder = fs::metadata(at(of(&made.path).unwrap())).unwrap();
    assert_eq!(holder.mode() & 0o7777, 0o700);
    let again = make_in(&scratch, "me", 1, Method::User).unwrap();
    assert!(!again.new && !again.joined && again.path == made.path);
    let opened = Opened::at(of(&made.path).unwrap()).unwrap().unwrap();
    assert_eq!((&opened.about, opened.families()), (&about(Method::User), vec![1]));
    assert!(!opened.remove().unwrap(), "it is held");
    drop(again);
    leave(made, 1);
    // A user's stays, and goes when it is asked for.
    let opened = Opened::at(bytes(&scratch.original().join("me"))).unwrap().unwrap();
    assert!(opened.remove().unwrap());
    assert_eq!(fs::read_dir(scratch.original()).unwrap().count(), 0);
}

#[test]
fn a_family_more_makes_no_file_where_it_need_not() {
    let scratch = Scratch::new("by");
    let first = make_in(&scratch, "me", 1, Method::User).unwrap();
    let holder = at(of(&first.path).unwrap()).to_owned();
    let ino = |name: &str| fs::symlink_metadata(holder.join(name)).unwrap().ino();
    let second = make_in(&scratch, "me", 2, Method::User).unwrap();
    assert!(!second.new && second.joined);
    assert_eq!(ino("by-0000000000000002"), ino("about"));
    let families = || Opened::at(bytes(&holder)).unwrap().unwrap().families();
    assert_eq!(families().len(), 2);
    leave(second, 2);
    assert_eq!(families(), [1]);
    // An instance that says nothing of itself has files of their own.
    fs::rename(holder.join("about"), holder.join("other")).unwrap();
    let third = make_in(&scratch, "me", 3, Method::User).unwrap();
    assert!(third.joined && ino("by-0000000000000003") != ino("other"));
    fs::rename(holder.join("other"), holder.join("about")).unwrap();
    leave(third, 3);
    leave(first, 1);
    assert!(Opened::at(bytes(&holder)).unwrap().unwrap().remove().unwrap());
}

#[test]
fn the_last_one_takes_it_along_and_nothing_else() {
    let scratch = Scratch::new("last");
    let victim = scratch.original().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("kept"), "").unwrap();
    let [one, two] = [1, 2].map(|id| make_in(&scratch, "job", id, Method::Job).unwrap());
    let dir = at(&one.path).to_owned();
    symlink(&victim, dir.join("link")).unwrap();
    fs::create_dir_all(dir.join("a/b")).unwrap();
    mode(&dir.join("a"), 0);
    let open = fs::File::create(dir.join("open")).unwrap();
    leave(one, 1);
    assert!(dir.join("link").exists());
    leave(two, 2);
    assert!(!dir.exists() && victim.join("kept").exists());
    assert_eq!(fs::read_dir(scratch.original()).unwrap().count(), 1);
    assert_eq!(open.metadata().unwrap().nlink(), 0);
}

#[test]
fn who_was_killed_keeps_nothing() {
    let scratch = Scratch::new("killed");
    // Number 3 is no family's: as if it and its keeper had been killed.
    drop(make_in(&scratch, "job", 3, Method::Job).unwrap());
    let made = make_in(&scratch, "job", 4, Method::Job).unwrap();
    assert!(!made.new);
    leave(made, 4);
    assert_eq!(fs::read_dir(scratch.original()).unwrap().count(), 0);
    // What a removal that was killed has left goes with the next.
    let made = make_in(&scratch, "job", 5, Method::Job).unwrap();
    fs::create_dir_all(at(of(&made.path).unwrap()).join("gone-1/x")).unwrap();
    leave(made, 5);
    assert_eq!(fs::read_dir(scratch.original()).unwrap().count(), 0);
}

#[test]
fn who_squats_is_refused() {
    let scratch = Scratch::new("squatter");
    let name = scratch.original().join("me");
    symlink("/etc", &name).unwrap();
    refused(make_in(&scratch, "me", 1, Method::User), "it is no directory");
    fs::remove_file(&name).unwrap();
    fs::write(&name, "").unwrap();
    refused(make_in(&scratch, "me", 1, Method::User), "it is no directory");
    fs::remove_file(&name).unwrap();
    fs::create_dir(&name).unwrap();
    mode(&name, 0o711);
    refused(make_in(&scratch, "me", 1, Method::User), "its mode 711 lets others in");
    mode(&name, 0o700);
    if Kernel.geteuid() == 0 {
        std::os::unix::fs::chown(&name, Some(12345), None).unwrap();
        refused(make_in(&scratch, "me", 1, Method::User), "it belongs to user 12345");
    } else {
        eprintln!("skipped: needs root to make another user's directory");
    }
}

#[test]
fn ground_that_others_could_tamper_with_is_refused() {
    let scratch = Scratch::new("ground");
    mode(&scratch.original(), 0o777);
    refused(make_in(&scratch, "me", 1, Method::User), "not sticky (mode 777)");
    refused(make_in(&scratch, "me", 1, Method::User), "(chmod 1777 ");
    mode(&scratch.original(), 0o1777);
    // A link of our own is followed, and what it leads to is the path.
    symlink("o", scratch.0.join("link")).unwrap();
    let holder = scratch.0.join("link/me");
    let made = make(bytes(&holder), 1, &about(Method::Job), &model(), false).unwrap();
    assert_eq!(at(&made.path), scratch.original().join("me/dir"));
    leave(made, 1);
    if Kernel.geteuid() == 0 {
        std::os::unix::fs::lchown(scratch.0.join("link"), Some(12345), None).unwrap();
        let made = make(bytes(&holder), 1, &about(Method::Job), &model(), false);
        refused(made, "link: a symbolic link of user 12345");
        std::os::unix::fs::chown(scratch.original(), Some(12345), None).unwrap();
        refused(make_in(&scratch, "me", 1, Method::User), "it belongs to user 12345");
    } else {
        eprintln!("skipped: needs root to make another user's directory");
    }
}

#[test]
fn a_parent_that_is_missing() {
    let scratch = Scratch::new("missing");
    let made = make_in(&scratch, "parent/me", 1, Method::Job).unwrap();
    let parent = scratch.original().join("parent");
    let wanted = if Kernel.geteuid() == 0 { 0 } else { 0o700 };
    assert_eq!(fs::metadata(&parent).unwrap().permissions().mode() & 0o7777, wanted);
    leave(made, 1);
    refused(make_in(&scratch, "no/such/me", 1, Method::Job), "No such file or directory (mkdir");
}

/// Of families that begin and end all the time none loses the instance while it
/// lives, and none finds another's files in one that is new.
#[test]
fn a_thousand_races() {
    let scratch = Scratch::new("races");
    let (made_new, rounds) = (AtomicU32::new(0), 500);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (scratch, made_new) = (&scratch, &made_new);
            scope.spawn(move || {
                for round in 0..rounds {
                    let family = (thread << 32) + round + 1;
                    let made = make_in(scratch, "job", family, Method::Job).unwrap();
                    made_new.fetch_add(made.new.into(), Ordering::Relaxed);
                    let own = at(&made.path).join(format!("{family}"));
                    fs::write(&own, "").unwrap();
                    if round % 3 == 0 {
                        std::thread::yield_now();
                    }
                    assert!(own.exists(), "lost under a living member");
                    assert!(fs::metadata(at(&made.path)).unwrap().mode() & 0o7777 == 0o1777);
                    fs::remove_file(&own).unwrap();
                    leave(made, family);
                }
            });
        }
    });
    assert!(made_new.into_inner() > 1, "it was never removed: no race at all");
    assert_eq!(fs::read_dir(scratch.original()).unwrap().count(), 0);
}

#[test]
fn what_is_kept_says_so_and_stays() {
    let kept = About { keep: true, ..about(Method::Job) };
    assert!(kept.stays() && !about(Method::Job).stays());
    for about in [kept, about(Method::Job), about(Method::User)] {
        assert_eq!(About::parse(&about.to_text()), Some(about));
    }
}
