//! One suite for all servers that can be written to, in every dialect. After
//! each case nothing may be left of its connections.

mod common;

use common::{DirRig, Ease, Relayed, Rig, Speech, mem};
use privns_ninep::attr::{SetAttr, Time, mode, set};
use privns_ninep::client::{Lock, LockStatus, flags};
use privns_ninep::{Errno, NONUM};
use privns_servers::mem::Mem;
use std::collections::BTreeSet;

macro_rules! suite {
    ($($case:ident)*) => {
        suite!(@ dir DirRig::new(); $($case)*);
        suite!(@ memory mem(); $($case)*);
        suite!(@ relayed Relayed::new(Mem::new(64 << 20)); $($case)*);
        suite!(@ sealed Relayed::sealed(Mem::new(64 << 20)); $($case)*);
    };
    (@ $server:ident $rig:expr; $($case:ident)*) => {
        mod $server {
            use super::*;
            $(mod $case {
                use super::*;
                fn run(speech: Speech) {
                    let rig = $rig;
                    super::super::$case(&rig, speech);
                    rig.assert_quiet();
                }
                #[test]
                fn ours() { run(Speech::Ours); }
                #[test]
                fn linux() { run(Speech::Linux); }
                #[test]
                fn unix() { run(Speech::Unix); }
                #[test]
                fn base() { run(Speech::Base); }
            })*
        }
    };
}

suite! {
    files_hold_what_was_written
    holes_read_as_zeros
    large_files_go_through_in_many_messages
    names_are_bytes
    names_that_lead_elsewhere_are_refused
    long_walks_go_all_the_way_or_leave_nothing
    an_attach_may_begin_below_the_root
    a_thousand_entries_are_listed_once_each
    a_listing_goes_on_while_entries_go
    directories_are_removed_when_empty
    renaming_replaces_and_moves
    symbolic_links
    hard_links
    attributes_change
    removed_files_stay_readable_while_open
    opening_respects_access_modes
    extended_attributes
    locks_exclude_other_processes
    open_files_are_handed_over
    many_threads_share_a_connection
    appended_lines_stay_whole
    one_thread_does_not_wait_for_itself
}

fn files_hold_what_was_written(rig: &dyn Rig, speech: Speech) {
    let (c, root) = rig.attached(speech);
    c.make(&root, b"f", b"hello, world");
    assert_eq!(c.contents(&root, b"f").unwrap(), b"hello, world");
    let file = c.at(&root, b"f", flags::RDWR).unwrap();
    c.put(&file, 7, b"9P!!!").unwrap();
    assert_eq!(c.all(&file).unwrap(), b"hello, 9P!!!");
    assert_eq!(c.read(&file, 12, &mut [0; 8]), Ok(0));
    assert_eq!(c.read(&file, 1 << 40, &mut [0; 8]), Ok(0));
    let attr = c.getattr(&file.fid).unwrap();
    assert_eq!((attr.size, attr.mode & mode::FORMAT), (12, mode::REGULAR));
    assert_eq!(attr.qid.path, file.qid.path);
    c.close(file.fid).unwrap();
    let cut = c.at(&root, b"f", flags::RDWR | flags::TRUNC).unwrap();
    assert_eq!(c.all(&cut).unwrap(), b"");
    c.clunk(cut.fid);
    let how = flags::RDWR | flags::CREATE | flags::EXCL;
    assert_eq!(c.create(&root, b"f", how, 0o600, NONUM).unwrap_err(), Errno::EEXIST);
    assert_eq!(c.contents(&root, b"g").unwrap_err(), Errno::ENOENT);
    c.unlink(&root, b"f", false).unwrap();
    assert_eq!(c.contents(&root, b"f").unwrap_err(), Errno::ENOENT);
}

fn holes_read_as_zeros(rig: &dyn Rig, speech: Speech) {
    let (c, root) = rig.attached(speech);
    c.make(&root, b"f", b"");
    let file = c.at(&root, b"f", flags::RDWR).unwrap();
    c.put(&file, 100_000, b"end").unwrap();
    let all = c.all(&file).unwrap();
    assert_eq!(all.len(), 100_003);
    assert!(all[..100_000].iter().all(|b| *b == 0));
    c.clunk(file.fid);
}

fn large_files_go_through_in_many_messages(rig: &dyn Rig, speech: Speech) {
    let (c, root) = rig.attached(speech);
    let data: Vec<u8> = (0..5_000_000u32).map(|i| (i % 251) as u8).collect();
    c.make(&root, b"f", &data);
    assert!(c.contents(&root, b"f").unwrap() == data);
    // Several reads at once, finished in another order than begun.
    let file = c.at(&root, b"f", 0).unwrap();
    let begun: Vec<_> =
        (0..8).map(|i| c.begin_read(&file, i * 500_000, 500_000).unwrap()).collect();
    for (i, pending) in begun.into_iter().enumerate().rev() {
        let mut buf = vec![0; 500_000];
        let n = c.end_read(pending, &mut buf).unwrap();
        assert!(n > 0 && buf[..n] == data[i * 500_000..i * 500_000 + n]);
    }
    c.clunk(file.fid);
}

fn names_are_bytes(rig: &dyn Rig, speech: Speech) {
    let (c, root) = rig.attached(speech);
    let long = [b'n'; 255];
    let names = [&b"\xff\xfe\x80"[..], b" ", b"-rf", b"a\nb", b"...", "\u{e9}".as_bytes(), &long];
    for name in names {
        c.make(&root, name, name);
        assert_eq!(c.contents(&root, name).unwrap(), name);
    }
    let listed: BTreeSet<_> = c.names(&root).into_iter().collect();
    assert_eq!(listed, names.iter().map(|n| n.to_vec()).collect());
}

fn names_that_lead_elsewhere_are_refused(rig: &dyn Rig, speech: Speech) {
    let (c, root) = rig.attached(speech);
    for name in [&b"."[..], b"..", b"a/b", b"/", b"a\0b"] {
        assert_eq!(c.mkdir(&root, name, 0o755, NONUM).unwrap_err(), Errno::EINVAL);
        assert_eq!(c.walk(&root, &[name]).unwrap_err(), Errno::EINVAL);
        assert_eq!(c.unlink(&root, name, true).unwrap_err(), Errno::EINVAL);
    }
    assert_eq!(c.walk(&root, &[b""]).unwrap_err(), Errno::ENOENT);
    assert_eq!(c.walk(&root, &[&[b'n'; 256]]).unwrap_err(), Errno::ENAMETOOLONG);
}

fn long_walks_go_all_the_way_or_leave_nothing(rig: &dyn Rig, speech: Speech) {
    let (c, root) = rig.attached(speech);
    let names: Vec<Vec<u8>> = (0..40).map(|i| format!("level{i}").into_bytes()).collect();
    let path: Vec<&[u8]> = names.iter().map(|n| &n[..]).collect();
    for depth in 0..40 {
        let (dir, _) = c.walk(&root, &path[..depth]).unwrap();
        c.mkdir(&dir, path[depth], 0o755, NONUM).unwrap();
        c.close(dir).unwrap();
    }
    let (deep, qid) = c.walk(&root, &path).unwrap();
    assert_eq!(Some(c.getattr(&deep).unwrap().qid.path), qid.map(|q| q.path));
    c.close(deep).unwrap();
    for depth in [0, 3, 16, 17, 39] {
        let mut astray = path.clone();
        astray[depth] = b"not there";
        assert_eq!(c.walk(&root, &astray).unwrap_err(), Errno::ENOENT);
    }
    // The root fid still works, and is the only one.
    assert_eq!(c.names(&root), [b"level0"]);
    wait_for_fids(&c, 1);
    c.make(&root, b"file", b"");
    assert!(matches!(c.walk(&root, &[b"file", b"x"]), Err(Errno::ENOTDIR | Errno::ENOENT)));
}

fn an_attach_may_begin_below_the_root(rig: &dyn Rig, speech: Speech) {
    let (c, root) = rig.attached(speech);
    for name in [&b"one"[..], b"two"] {
        c.mkdir(&root, name, 0o755, NONUM).unwrap();
        let (dir, _) = c.walk(&root, &[name]).unwrap();
        c.mkdir(&dir, b"sub", 0o755, NONUM).unwrap();
        let (sub, _) = c.walk(&dir, &[b"sub"]).unwrap();
        c.make(&sub, name, name);
        c.close(sub).unwrap();
        c.close(dir).unwrap();
    }
    c.make(&root, b"file", b"");
    let attach = |aname: &[u8]| c.attach(b"somebody", NONUM, aname);
    for (aname, names) in [(&b"/one/sub"[..], [&b"one"[..]]), (b"two//sub/", [&b"two"[..]])] {
        let (below, qid) = attach(aname).unwrap();
        assert!(qid.is_dir());
        assert_eq!(c.names(&below), names);
        c.close(below).unwrap();
    }
    for (aname, why) in [
        (&b"/none"[..], Errno::ENOENT),
        (b"/one/none", Errno::ENOENT),
        (b"/..", Errno::ENOENT),
        (b"one/../two", Errno::ENOENT),
        (b"/file", Errno::ENOTDIR),
        (b"/file/x", Errno::ENOTDIR),
    ] {
        assert_eq!(attach(aname).unwrap_err(), why, "{aname:?}");
    }
}

/// Clunks are not waited for; asking something else brings their replies in.
fn wait_for_fids(c: &privns_ninep::hosted::HostedClient, n: u32) {
    for _ in 0..100 {
        let (fid, _) = c.attach(b"x", NONUM, b"").unwrap();
        c.close(fid).unwrap();
        if c.counters().fids == n {
            return;
        }
    }
    assert_eq!(c.counters().fids, n);
}

fn a_thousand_entries_are_listed_once_each(rig: &dyn Rig, speech: Speech) {
    let (c, root) = rig.attached(speech);
    let names: BTreeSet<Vec<u8>> =
        (0..1000).map(|i| format!("entry-{i:04}-{:0100}", i).into_bytes()).collect();
    for name in &names {
        c.make(&root, name, b"");
    }
    let listed = c.names(&root);
    assert_eq!(listed.len(), 1000);
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), names);
}

fn a_listing_goes_on_while_entries_go(rig: &dyn Rig, speech: Speech) {
    // A small message size, so that the listing takes many messages.
    let options = privns_ninep::client::Options { msize: 4096, ..speech.options() };
    let c = rig.client_with(speech, &options);
    let (root, _) = c.attach(b"x", NONUM, b"").unwrap();
    for i in 0..300 {
        c.make(&root, format!("f{i}").as_bytes(), b"");
    }
    let listing = c.open_at(&root, &[], 0, &mut []).unwrap();
    let (mut seen, mut from, mut rounds) = (Vec::new(), Some(0), 0);
    while let Some(cookie) = from {
        let mut now = Vec::new();
        from = c.readdir(&listing, cookie, |e| now.push(e.name.to_vec())).unwrap();
        now.retain(|n| n != b"." && n != b"..");
        for name in &now {
            c.unlink(&root, name, false).unwrap();
        }
        seen.append(&mut now);
        rounds += 1;
    }
    c.clunk(listing.fid);
    assert!(rounds > 2, "{rounds} rounds");
    let once: BTreeSet<_> = seen.iter().cloned().collect();
    assert_eq!((seen.len(), once.len()), (300, 300));
    assert!(c.names(&root).is_empty());
}

fn directories_are_removed_when_empty(rig: &dyn Rig, speech: Speech) {
    let (c, root) = rig.attached(speech);
    c.mkdir(&root, b"d", 0o755, NONUM).unwrap();
    assert_eq!(c.mkdir(&root, b"d", 0o755, NONUM).unwrap_err(), Errno::EEXIST);
    let (d, _) = c.walk(&root, &[b"d"]).unwrap();
    c.make(&d, b"f", b"");
    assert_eq!(c.unlink(&root, b"d", true).unwrap_err(), Errno::ENOTEMPTY);
    assert_eq!(c.unlink(&root, b"d", false).unwrap_err(), Errno::EISDIR);
    assert_eq!(c.unlink(&d, b"f", true).unwrap_err(), Errno::ENOTDIR);
    c.unlink(&d, b"f", false).unwrap();
    c.unlink(&root, b"d", true).unwrap();
    assert_eq!(c.mkdir(&d, b"x", 0o755, NONUM).unwrap_err(), Errno::ENOENT);
    assert!(c.names(&root).is_empty());
}

fn renaming_replaces_and_moves(rig: &dyn Rig, speech: Speech) {
    let (c, root) = rig.attached(speech);
    c.mkdir(&root, b"d", 0o755, NONUM).unwrap();
    let (d, _) = c.walk(&root, &[b"d"]).unwrap();
    c.make(&root, b"a", b"a");
    c.make(&root, b"b", b"b");
    c.rename(&root, b"a", &root, b"c").unwrap();
    assert_eq!(c.contents(&root, b"c").unwrap(), b"a");
    assert_eq!(c.rename(&root, b"gone", &root, b"x").unwrap_err(), Errno::ENOENT);
    if !speech.is_linux() {
        // Plan 9 renames in one directory alone, and does not replace (stat(5)): the client
        // does, by way of another name.
        c.rename(&root, b"c", &root, b"b").unwrap();
        assert_eq!(c.contents(&root, b"b").unwrap(), b"a");
        assert_eq!(c.names(&root).len(), 2);
        assert_eq!(c.rename(&root, b"b", &root, b"b"), Ok(()));
        assert_eq!(c.rename(&root, b"b", &d, b"b").unwrap_err(), Errno::EXDEV);
        assert_eq!(c.rename(&root, b"b", &root, b"d").unwrap_err(), Errno::EISDIR);
        assert_eq!(c.rename(&root, b"d", &root, b"b").unwrap_err(), Errno::ENOTDIR);
        c.mkdir(&root, b"other", 0o755, NONUM).unwrap();
        c.make(&d, b"f", b"");
        assert_eq!(c.rename(&root, b"other", &root, b"d").unwrap_err(), Errno::ENOTEMPTY);
        c.rename(&root, b"d", &root, b"other").unwrap();
        assert_eq!(c.names(&root).len(), 2);
        return;
    }
    c.rename(&root, b"c", &root, b"b").unwrap();
    assert_eq!(c.contents(&root, b"b").unwrap(), b"a");
    c.rename(&root, b"b", &d, b"e").unwrap();
    assert_eq!((c.names(&root), c.names(&d)), (vec![b"d".to_vec()], vec![b"e".to_vec()]));
    c.mkdir(&d, b"sub", 0o755, NONUM).unwrap();
    let (sub, _) = c.walk(&d, &[b"sub"]).unwrap();
    assert_eq!(c.rename(&root, b"d", &sub, b"loop").unwrap_err(), Errno::EINVAL);
    assert_eq!(c.rename(&d, b"e", &d, b"sub").unwrap_err(), Errno::EISDIR);
    assert_eq!(c.rename(&d, b"sub", &d, b"e").unwrap_err(), Errno::ENOTDIR);
    c.rename(&d, b"sub", &root, b"sub").unwrap();
    c.make(&sub, b"still here", b"");
}

fn symbolic_links(rig: &dyn Rig, speech: Speech) {
    let (c, root) = rig.attached(speech);
    if speech == Speech::Base {
        assert_eq!(c.symlink(&root, b"l", b"x", NONUM).unwrap_err(), Errno::EPERM);
        return;
    }
    let target = b"/nowhere/\xff/../x";
    c.symlink(&root, b"l", target, NONUM).unwrap();
    let (link, qid) = c.walk(&root, &[b"l"]).unwrap();
    assert_eq!(qid.unwrap().kind, privns_ninep::attr::qt::SYMLINK);
    assert_eq!(c.readlink(&link).unwrap(), target);
    assert_eq!(c.getattr(&link).unwrap().size, target.len() as u64);
    let (link, e) = c.open(link, 0).unwrap_err();
    assert_eq!(e, Errno::ELOOP);
    c.clunk(link);
    assert!(c.walk(&root, &[b"l", b"x"]).is_err());
    c.make(&root, b"f", b"");
    let (file, _) = c.walk(&root, &[b"f"]).unwrap();
    assert_eq!(c.readlink(&file).unwrap_err(), Errno::EINVAL);
    c.unlink(&root, b"l", false).unwrap();
}

fn hard_links(rig: &dyn Rig, speech: Speech) {
    let (c, root) = rig.attached(speech);
    c.make(&root, b"one", b"text");
    let (file, _) = c.walk(&root, &[b"one"]).unwrap();
    if !speech.is_linux() {
        assert_eq!(c.link(&file, &root, b"two").unwrap_err(), Errno::EPERM);
        return;
    }
    c.link(&file, &root, b"two").unwrap();
    assert_eq!(c.link(&file, &root, b"two").unwrap_err(), Errno::EEXIST);
    assert_eq!(c.link(&root, &root, b"three").unwrap_err(), Errno::EPERM);
    assert_eq!(c.getattr(&file).unwrap().nlink, 2);
    c.unlink(&root, b"one", false).unwrap();
    assert_eq!(c.contents(&root, b"two").unwrap(), b"text");
    assert_eq!(c.getattr(&file).unwrap().nlink, 1);
}

fn attributes_change(rig: &dyn Rig, speech: Speech) {
    let (c, root) = rig.attached(speech);
    c.make(&root, b"f", b"0123456789");
    let (f, _) = c.walk(&root, &[b"f"]).unwrap();
    let old = Time { sec: 1_000_000_000, nsec: 0 };
    c.setattr(&f, &SetAttr { valid: set::MODE, mode: 0o640, ..SetAttr::default() }).unwrap();
    c.setattr(&f, &SetAttr { valid: set::SIZE, size: 4, ..SetAttr::default() }).unwrap();
    let valid = set::MTIME | set::MTIME_SET | set::ATIME | set::ATIME_SET;
    c.setattr(&f, &SetAttr { valid, mtime: old, atime: old, ..SetAttr::default() }).unwrap();
    let attr = c.getattr(&f).unwrap();
    assert_eq!((attr.mode, attr.size, attr.mtime), (mode::REGULAR | 0o640, 4, old));
    assert_eq!(c.contents(&root, b"f").unwrap(), b"0123");
    c.setattr(&f, &SetAttr { valid: set::SIZE, size: 6, ..SetAttr::default() }).unwrap();
    assert_eq!(c.contents(&root, b"f").unwrap(), b"0123\0\0");
    assert!(c.getattr(&f).unwrap().mtime.sec > old.sec);
    if speech.is_linux() {
        let statfs = c.statfs(&f).unwrap();
        assert!(statfs.bsize > 0 && statfs.blocks >= statfs.bfree && statfs.namelen == 255);
    } else {
        assert_eq!(c.statfs(&f).unwrap_err(), Errno::EOPNOTSUPP);
    }
    let file = c.at(&root, b"f", flags::RDWR).unwrap();
    c.fsync(&file.fid, false).unwrap();
    c.clunk(file.fid);
}

fn removed_files_stay_readable_while_open(rig: &dyn Rig, speech: Speech) {
    let (c, root) = rig.attached(speech);
    c.make(&root, b"f", b"still here");
    let file = c.at(&root, b"f", flags::RDWR).unwrap();
    c.unlink(&root, b"f", false).unwrap();
    assert!(c.names(&root).is_empty());
    assert_eq!(c.all(&file).unwrap(), b"still here");
    c.put(&file, 10, b", and growing").unwrap();
    assert_eq!(c.getattr(&file.fid).unwrap().size, 23);
    c.make(&root, b"f", b"another");
    assert_eq!(c.all(&file).unwrap(), b"still here, and growing");
    c.close(file.fid).unwrap();
}

fn opening_respects_access_modes(rig: &dyn Rig, speech: Speech) {
    let (c, root) = rig.attached(speech);
    c.make(&root, b"f", b"x");
    let reader = c.at(&root, b"f", 0).unwrap();
    assert_eq!(c.write(&reader, 0, b"y").unwrap_err(), Errno::EBADF);
    let writer = c.at(&root, b"f", flags::WRONLY).unwrap();
    assert_eq!(c.read(&writer, 0, &mut [0; 1]).unwrap_err(), Errno::EBADF);
    assert_eq!(c.at(&root, b"f", flags::DIRECTORY).unwrap_err(), Errno::ENOTDIR);
    c.mkdir(&root, b"d", 0o755, NONUM).unwrap();
    assert_eq!(c.at(&root, b"d", flags::RDWR).unwrap_err(), Errno::EISDIR);
    assert_eq!(c.open(reader.fid, 0).unwrap_err().1, Errno::EBADF, "open already");
}

fn extended_attributes(rig: &dyn Rig, speech: Speech) {
    let (c, root) = rig.attached(speech);
    c.make(&root, b"f", b"");
    let (f, _) = c.walk(&root, &[b"f"]).unwrap();
    if !speech.is_linux() {
        assert_eq!(c.xattr(&f, b"user.a").unwrap_err(), Errno::EOPNOTSUPP);
        return;
    }
    match c.set_xattr(&f, b"user.a", b"value\0\xff", 0) {
        Err(Errno::EOPNOTSUPP) => {
            println!("skipped: needs a file system with extended attributes");
            return;
        }
        other => other.unwrap(),
    }
    assert_eq!(c.xattr(&f, b"user.a").unwrap(), b"value\0\xff");
    assert_eq!(c.set_xattr(&f, b"user.a", b"x", 1).unwrap_err(), Errno::EEXIST);
    assert_eq!(c.set_xattr(&f, b"user.b", b"x", 2).unwrap_err(), Errno::ENODATA);
    c.set_xattr(&f, b"user.b", &[7; 2000], 1).unwrap();
    let list = c.xattr(&f, b"").unwrap();
    let listed: BTreeSet<_> = list.split(|b| *b == 0).filter(|n| n.starts_with(b"user.")).collect();
    assert_eq!(listed, BTreeSet::from([&b"user.a"[..], b"user.b"]));
    c.set_xattr(&f, b"user.a", b"", 2).unwrap();
    assert_eq!(c.xattr(&f, b"user.a").unwrap_err(), Errno::ENODATA);
}

fn locks_exclude_other_processes(rig: &dyn Rig, speech: Speech) {
    let (a, a_root) = rig.attached(speech);
    a.make(&a_root, b"f", b"");
    let one = a.at(&a_root, b"f", flags::RDWR).unwrap();
    let lock = |kind, proc_id| Lock {
        kind,
        start: 10,
        length: 10,
        proc_id,
        client_id: b"host",
        waits: false,
    };
    if !speech.is_linux() {
        assert_eq!(a.lock(&one.fid, &lock(1, 1)).unwrap_err(), Errno::EOPNOTSUPP);
        return;
    }
    let (b, b_root) = rig.attached(speech);
    let two = b.at(&b_root, b"f", flags::RDWR).unwrap();
    assert_eq!(a.lock(&one.fid, &lock(1, 1)), Ok(LockStatus::Granted));
    assert_eq!(b.lock(&two.fid, &lock(0, 2)), Ok(LockStatus::Blocked));
    assert_eq!(b.getlock(&two.fid, &lock(0, 2)), Ok((1, 10, 10, 1)));
    let beside = Lock { start: 20, length: 0, ..lock(1, 2) };
    assert_eq!(b.lock(&two.fid, &beside), Ok(LockStatus::Granted));
    assert_eq!(a.lock(&one.fid, &lock(2, 1)), Ok(LockStatus::Granted));
    assert_eq!(b.lock(&two.fid, &lock(0, 2)), Ok(LockStatus::Granted));
    // What the end of a connection leaves behind is given up.
    drop(b);
    while rig.count("open") > 1 {
        std::thread::yield_now();
    }
    assert_eq!(
        a.lock(&one.fid, &Lock { start: 0, length: 0, ..lock(1, 1) }),
        Ok(LockStatus::Granted)
    );
}

fn open_files_are_handed_over(rig: &dyn Rig, speech: Speech) {
    let (a, root) = rig.attached(speech);
    a.make(&root, b"f", b"text");
    let file = a.at(&root, b"f", flags::RDWR).unwrap();
    if speech != Speech::Ours {
        assert_eq!(a.handoff(&file.fid).unwrap_err(), Errno::EOPNOTSUPP);
        return;
    }
    assert_eq!(a.handoff(&root).unwrap_err(), Errno::EBADF, "not open");
    let token = a.handoff(&file.fid).unwrap();
    let aname = [privns_ninep::client::HANDOFF_ANAME, &token].concat();
    a.unlink(&root, b"f", false).unwrap();
    a.close(file.fid).unwrap();
    drop(a);
    let b = rig.client(speech);
    // By a key everybody is the server's own user, and root may have become anybody.
    if rig.tells_users() && !rustix::process::geteuid().is_root() {
        let other = b.attach(b"x", 4242, &aname);
        assert_eq!(other.unwrap_err(), Errno::ESTALE, "another user");
    }
    let (fid, qid) = b.attach(b"x", NONUM, &aname).unwrap();
    let iounit = b.agreed().msize - 24;
    let open = privns_ninep::client::Opened { fid, qid, iounit, attr: None, first: None };
    assert_eq!(b.all(&open).unwrap(), b"text");
    b.put(&open, 4, b" and more").unwrap();
    assert_eq!(b.all(&open).unwrap(), b"text and more");
    assert_eq!(b.attach(b"x", NONUM, &aname).unwrap_err(), Errno::ESTALE, "used up");
    assert_eq!(rig.count("tokens"), 0);
}

fn many_threads_share_a_connection(rig: &dyn Rig, speech: Speech) {
    let (c, root) = rig.attached(speech);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (c, root) = (&c, &root);
            scope.spawn(move || {
                for round in 0..60 {
                    let name = format!("t{thread}-{round}").into_bytes();
                    let text = name.repeat(1 + round * 20);
                    c.make(root, &name, &text);
                    assert_eq!(c.contents(root, &name).unwrap(), text);
                    if round % 2 == 0 {
                        c.unlink(root, &name, false).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(c.names(&root).len(), 8 * 30);
    wait_for_fids(&c, 1);
    assert_eq!(c.counters().in_flight, 0);
}

fn appended_lines_stay_whole(rig: &dyn Rig, speech: Speech) {
    let (c, root) = rig.attached(speech);
    if !speech.is_linux() {
        // Plan 9 has append-only files, and no flag of open.
        return;
    }
    c.make(&root, b"log", b"");
    std::thread::scope(|scope| {
        for client in 0..8 {
            scope.spawn(move || {
                let (c, root) = rig.attached(speech);
                let log = c.at(&root, b"log", flags::WRONLY | flags::APPEND).unwrap();
                for line in 0..50 {
                    let text = format!("client {client} line {line:050}\n");
                    assert_eq!(c.write(&log, 0, text.as_bytes()), Ok(text.len()));
                }
            });
        }
    });
    let all = c.contents(&root, b"log").unwrap();
    let lines: BTreeSet<_> = all.split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect();
    assert_eq!(lines.len(), 400);
    assert!(lines.iter().all(|l| l.len() == "client 0 line ".len() + 50));
}

/// Replies fill the socket while requests are still being sent: a client that
/// only wrote would wait for a server that waits for it.
fn one_thread_does_not_wait_for_itself(rig: &dyn Rig, speech: Speech) {
    const SIZE: usize = 1 << 20;
    let (c, root) = rig.attached(speech);
    c.make(&root, b"f", &vec![1; SIZE]);
    let file = c.at(&root, b"f", flags::RDWR).unwrap();
    let mut reads = Vec::new();
    for _ in 0..24 {
        reads.push(c.begin_read(&file, 0, SIZE).unwrap());
    }
    let data = vec![2; SIZE];
    let writes: Vec<_> = (0..8).map(|_| c.begin_write(&file, 0, &data).unwrap()).collect();
    let mut buf = vec![0; SIZE];
    for pending in reads {
        let n = c.end_read(pending, &mut buf).unwrap();
        assert!(n > SIZE / 2 && buf[..n].iter().all(|b| *b == 1));
    }
    for (sent, pending) in writes {
        assert_eq!(c.end_write(pending, sent), Ok(sent));
    }
    c.clunk(file.fid);
}
