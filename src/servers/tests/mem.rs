//! What the memory server has to itself: owners, permissions, a limit.

mod common;

use common::{Ease, Rig, Speech, mem};
use privns_ninep::attr::{SetAttr, mode, set};
use privns_ninep::client::{Fid, flags};
use privns_ninep::hosted::{HostedClient, Stream};
use privns_ninep::{Errno, NONUM};
use privns_servers::mem::Mem;
use privns_servers::session::Peer;
use privns_servers::tree::Groups;
use privns_servers::{Limits, Server};

const ANN: u32 = 4001;
const BOB: u32 = 4002;

/// A client attached as this user.
fn user(rig: &dyn Rig, uid: u32) -> (HostedClient, Fid) {
    let client = rig.client(Speech::Ours);
    let (root, _) = client.attach(b"", uid, b"").unwrap();
    (client, root)
}

fn chmod(c: &HostedClient, fid: &Fid, bits: u32) -> Result<(), Errno> {
    c.setattr(fid, &SetAttr { valid: set::MODE, mode: bits, ..SetAttr::default() })
}

#[test]
fn permissions_are_those_of_owner_and_mode() {
    let rig = mem();
    let ((ann, a), (bob, b), (zero, r)) = (user(&rig, ANN), user(&rig, BOB), user(&rig, 0));
    ann.make(&a, b"f", b"private");
    let (f, _) = ann.walk(&a, &[b"f"]).unwrap();
    assert_eq!(ann.getattr(&f).unwrap().uid, ANN);
    chmod(&ann, &f, 0o600).unwrap();
    assert_eq!(bob.contents(&b, b"f").unwrap_err(), Errno::EACCES);
    assert_eq!(zero.contents(&r, b"f").unwrap(), b"private");
    let (theirs, _) = bob.walk(&b, &[b"f"]).unwrap();
    assert_eq!(chmod(&bob, &theirs, 0o666), Err(Errno::EPERM));
    let cut = SetAttr { valid: set::SIZE, ..SetAttr::default() };
    assert_eq!(bob.setattr(&theirs, &cut), Err(Errno::EACCES));
    let given = SetAttr { valid: set::UID, uid: BOB, ..SetAttr::default() };
    assert_eq!(ann.setattr(&f, &given), Err(Errno::EPERM));
    assert_eq!(bob.setattr(&theirs, &given), Err(Errno::EPERM));
    // Even the owner is held to the mode, except on what it has just made.
    chmod(&ann, &f, 0o000).unwrap();
    assert_eq!(ann.contents(&a, b"f").unwrap_err(), Errno::EACCES);
    let made = ann.create(&a, b"g", flags::RDWR | flags::CREATE, 0o000, NONUM).unwrap();
    ann.put(&made, 0, b"x").unwrap();
    zero.setattr(&zero.walk(&r, &[b"f"]).unwrap().0, &given).unwrap();
    assert_eq!(bob.getattr(&theirs).unwrap().uid, BOB);
}

#[test]
fn directories_are_searched_and_changed_by_permission() {
    let rig = mem();
    let ((ann, a), (bob, b)) = (user(&rig, ANN), user(&rig, BOB));
    ann.mkdir(&a, b"d", 0o755, NONUM).unwrap();
    let (d, _) = ann.walk(&a, &[b"d"]).unwrap();
    ann.make(&d, b"f", b"text");
    let (theirs, _) = bob.walk(&b, &[b"d"]).unwrap();
    assert_eq!(bob.contents(&theirs, b"f").unwrap(), b"text");
    assert_eq!(bob.unlink(&theirs, b"f", false), Err(Errno::EACCES));
    assert_eq!(bob.mkdir(&theirs, b"x", 0o755, NONUM).unwrap_err(), Errno::EACCES);
    chmod(&ann, &d, 0o744).unwrap();
    assert_eq!(bob.names(&theirs), [b"f"], "readable");
    assert_eq!(bob.walk(&theirs, &[b"f"]).unwrap_err(), Errno::EACCES, "not searchable");
    chmod(&ann, &d, 0o711).unwrap();
    assert_eq!(bob.contents(&theirs, b"f").unwrap(), b"text");
    assert_eq!(bob.at(&b, b"d", 0).unwrap_err(), Errno::EACCES, "not readable");
}

#[test]
fn in_the_root_only_owners_remove() {
    let rig = mem();
    let ((ann, a), (bob, b)) = (user(&rig, ANN), user(&rig, BOB));
    ann.make(&a, b"f", b"");
    bob.make(&b, b"g", b"");
    assert_eq!(bob.unlink(&b, b"f", false), Err(Errno::EPERM));
    assert_eq!(bob.rename(&b, b"f", &b, b"h"), Err(Errno::EPERM));
    assert_eq!(bob.rename(&b, b"g", &b, b"f"), Err(Errno::EPERM), "over another's file");
    ann.unlink(&a, b"f", false).unwrap();
    bob.rename(&b, b"g", &b, b"f").unwrap();
}

#[test]
fn setgid_directories_hand_their_group_down() {
    let rig = mem();
    let (c, root) = user(&rig, 0);
    c.mkdir(&root, b"d", 0o2775, 77).unwrap();
    let (d, _) = c.walk(&root, &[b"d"]).unwrap();
    c.mkdir(&d, b"sub", 0o755, 88).unwrap();
    let file = c.create(&d, b"f", flags::RDWR | flags::CREATE, 0o644, 88).unwrap();
    let (sub, _) = c.walk(&d, &[b"sub"]).unwrap();
    let (sub, file) = (c.getattr(&sub).unwrap(), c.getattr(&file.fid).unwrap());
    assert_eq!((sub.gid, sub.mode & mode::SETGID), (77, mode::SETGID));
    assert_eq!((file.gid, file.mode & mode::SETGID), (77, 0));
}

/// Whoever is in a group has its rights, may give files to it, and may have
/// programs run as it (chown(2), chmod(2)).
#[test]
fn supplementary_groups_count() {
    let rig = mem();
    let (zero, root) = user(&rig, 0);
    zero.mkdir(&root, b"d", 0o770, 77).unwrap();
    let groups = Groups { own: Some(10), others: [77, 78].into() };
    let stream = rig.socket(Peer::User { uid: ANN, groups });
    let ann = Stream::new(stream.into(), None).unwrap().client(&Speech::Ours.options()).unwrap();
    let (a, _) = ann.attach(b"", ANN, b"").unwrap();
    let (d, _) = ann.walk(&a, &[b"d"]).unwrap();
    let file = ann.create(&d, b"f", flags::RDWR | flags::CREATE, 0o755, NONUM).unwrap().fid;
    let give = |gid| ann.setattr(&file, &SetAttr { valid: set::GID, gid, ..SetAttr::default() });
    let mode = || ann.getattr(&file).map(|attr| (attr.gid, attr.mode & 0o7777));
    assert_eq!(mode(), Ok((10, 0o755)));
    assert_eq!((give(78), give(79)), (Ok(()), Err(Errno::EPERM)));
    chmod(&ann, &file, 0o2755).unwrap();
    assert_eq!(mode(), Ok((78, 0o2755)));
    give(77).unwrap();
    assert_eq!(mode(), Ok((77, 0o755)));
    let zeros = zero.walk(&root, &[b"d", b"f"]).unwrap().0;
    zero.setattr(&zeros, &SetAttr { valid: set::GID, gid: 79, ..SetAttr::default() }).unwrap();
    chmod(&ann, &file, 0o2755).unwrap();
    assert_eq!(mode(), Ok((79, 0o755)), "not a group of hers");
}

#[test]
fn a_write_takes_privileges_away() {
    let rig = mem();
    let (c, root) = user(&rig, ANN);
    c.make(&root, b"f", b"");
    let file = c.at(&root, b"f", flags::RDWR).unwrap();
    chmod(&c, &file.fid, 0o6755).unwrap();
    c.put(&file, 0, b"x").unwrap();
    assert_eq!(c.getattr(&file.fid).unwrap().mode, mode::REGULAR | 0o755);
}

#[test]
fn the_limit_holds_and_room_comes_back() {
    const LIMIT: u64 = 256 << 10;
    let rig = Server::new(Mem::new(LIMIT), false, Limits::default());
    let (c, root) = user(&rig, 0);
    let before = c.statfs(&root).unwrap();
    assert_eq!(before.blocks * u64::from(before.bsize), LIMIT);
    let how = flags::RDWR | flags::CREATE;
    let file = c.create(&root, b"f", how, 0o600, NONUM).unwrap();
    let data = vec![1; 1 << 20];
    // Somebody who writes behind is told why there is room for no more.
    assert_eq!(c.write(&file, 0, &data).unwrap_err(), Errno::ENOSPC);
    let written = c.getattr(&file.fid).unwrap().size;
    assert!((LIMIT / 2..LIMIT).contains(&written), "{written}");
    assert_eq!(c.write(&file, written, &data).unwrap_err(), Errno::ENOSPC);
    assert_eq!(c.write(&file, 0, b"over what is there"), Ok(18));
    // Others are told how much there was room for.
    let other = rig.client(Speech::Linux);
    let (other_root, _) = other.attach(b"root", 0, b"").unwrap();
    let theirs = other.at(&other_root, b"f", flags::RDWR).unwrap();
    assert_eq!(other.write(&theirs, written - 10, &data), Ok(10));
    other.close(theirs.fid).unwrap();
    let link = (0..1000).find_map(|i| c.link(&file.fid, &root, format!("l{i}").as_bytes()).err());
    assert_eq!(link, Some(Errno::ENOSPC), "names take room too");
    for name in c.names(&root) {
        c.unlink(&root, &name, false).unwrap();
    }
    assert!(c.statfs(&root).unwrap().bfree < before.bfree, "still open");
    c.close(file.fid).unwrap();
    assert_eq!(c.statfs(&root).unwrap().bfree, before.bfree);
    let many = (0..5000).find_map(|i| c.mkdir(&root, format!("d{i}").as_bytes(), 0o755, 0).err());
    assert_eq!(many, Some(Errno::ENOSPC), "empty files too");
}

#[test]
fn a_tree_of_any_depth_is_taken_apart() {
    let rig = mem();
    let (c, root) = user(&rig, 0);
    let (mut at, _) = c.walk(&root, &[]).unwrap();
    for _ in 0..20_000 {
        c.mkdir(&at, b"d", 0o755, 0).unwrap();
        let (next, _) = c.walk(&at, &[b"d"]).unwrap();
        c.clunk(std::mem::replace(&mut at, next));
    }
    c.clunk(at);
    drop(c);
    // On a small stack: taking it apart does not go as deep as the tree.
    let small = std::thread::Builder::new().stack_size(64 << 10);
    small.spawn(move || drop(rig)).unwrap().join().unwrap();
}

#[test]
fn a_name_that_is_replaced_is_there_at_every_moment() {
    let rig = mem();
    let (c, root) = user(&rig, 0);
    c.make(&root, b"f", b"old");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (c, root) = user(&rig, 0);
            for i in 0..500 {
                let name = format!("new{i}").into_bytes();
                c.make(&root, &name, b"new");
                c.rename(&root, &name, &root, b"f").unwrap();
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            let text = c.contents(&root, b"f").unwrap();
            assert!(text == b"old" || text == b"new", "{text:?}");
        }
    });
    assert_eq!(c.names(&root), [b"f"]);
}
