//! The family's table among processes: nothing is lost, nothing is torn, and
//! whoever is killed harms nobody.
#![forbid(unsafe_code)]

use privns_abi::Errno;
use privns_host::Kernel;
use privns_namespace::family::{Counter, EPOCHS, Family, Inherited, NAME_MAX};
use privns_namespace::{Index, Kind, Order, Rule, Source, Table, Verb};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn bind(table: &mut Table, src: &str, dst: &str) -> Result<(), Errno> {
    let rule = Rule { verb: Verb::Bind, origin: b"test".to_vec() };
    let member = table.member(Source::Host(src.as_bytes().to_vec()), rule);
    table.place(dst.as_bytes(), Kind::Dir, Order::Replace, member, None)
}

fn family() -> Family {
    Family::create(b"test", &Table::new()).unwrap()
}

/// Runs one test of this file in a process of its own that inherits the table.
fn in_process(test: &str, family: &Family, job: &str) -> Child {
    let env = Inherited { fd: family.fd(), id: family.id(), rest: job.as_bytes() }.format();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("TEST_FAMILY", String::from_utf8(env).unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The family of whoever started us, and our job; our own without one.
fn inherited() -> (Family, String) {
    let Some(value) = std::env::var_os("TEST_FAMILY") else {
        return (family(), "alone 3".into());
    };
    let value = value.into_encoded_bytes();
    let env = Inherited::parse(&value).unwrap();
    let family = Family::attach(env.fd).unwrap();
    assert_eq!(family.id(), env.id);
    (family, String::from_utf8(env.rest.to_vec()).unwrap())
}

/// Binds as many names as its job says.
#[test]
fn a_member_binds_names_of_its_own() {
    let (family, job) = inherited();
    let (who, count) = job.split_once(' ').unwrap();
    for i in 0..count.parse::<u32>().unwrap() {
        family.update(|t| bind(t, "/s", &format!("/{who}/{i}"))).unwrap();
    }
    let prefix = format!("/{who}/").into_bytes();
    let table = family.read_table().unwrap();
    let own = table.mounts().iter().filter(|m| m.path.starts_with(&prefix)).count();
    assert_eq!(own, count.parse::<usize>().unwrap());
}

#[test]
fn a_hundred_members_at_once_lose_nothing() {
    let family = family();
    let before = family.generation();
    let members: Vec<Child> = (0..100)
        .map(|i| in_process("a_member_binds_names_of_its_own", &family, &format!("m{i} 4")))
        .collect();
    for mut member in members {
        assert!(member.wait().unwrap().success());
    }
    assert_eq!(family.read_table().unwrap().mounts().len(), 400);
    assert_eq!(family.generation(), before + 400);
}

/// Replaces the whole table again and again: in table N every bind comes from
/// `/N`, and there are N % 500 + 1 of them.
#[test]
fn a_member_rewrites_the_table() {
    let (family, job) = inherited();
    let rounds = if job == "for ever" { u32::MAX } else { 3 };
    for _ in 0..rounds {
        family.update(rewrite).unwrap();
    }
    assert_whole(&family);
}

fn rewrite(table: &mut Table) -> Result<(), Errno> {
    let last = table.at(b"/t0").map_or(0, |m| number(&m.members[0].source));
    *table = Table::new();
    let source = format!("/{}", last + 1);
    (0..=(last + 1) % 500).try_for_each(|i| bind(table, &source, &format!("/t{i}")))
}

fn number(source: &Source) -> u32 {
    let Source::Host(host) = source;
    std::str::from_utf8(&host[1..]).unwrap().parse().unwrap()
}

fn assert_whole(family: &Family) -> u32 {
    let mut bytes = Vec::new();
    family.read_index(&mut bytes).unwrap();
    let index = Index::parse(&bytes).unwrap();
    let sources: Vec<&[u8]> = index.all().map(|m| m.first().host()).collect();
    let Some(first) = sources.first() else { return 0 };
    let n: u32 = std::str::from_utf8(&first[1..]).unwrap().parse().unwrap();
    assert!(sources.iter().all(|s| s == first), "two tables in one");
    assert_eq!(sources.len(), n as usize % 500 + 1);
    n
}

#[test]
fn no_reader_sees_a_torn_table_while_writers_run_and_are_killed() {
    let family = family();
    let start = || in_process("a_member_rewrites_the_table", &family, "for ever");
    let mut writers: Vec<Child> = (0..3).map(|_| start()).collect();
    let end = Instant::now() + Duration::from_secs(4);
    let (mut reads, mut kills, mut newest) = (0u32, 0u32, 0);
    let mut next_kill = Instant::now() + Duration::from_millis(200);
    while Instant::now() < end {
        let n = assert_whole(&family);
        assert!(n >= newest, "the table went back from {newest} to {n}");
        newest = n;
        reads += 1;
        if Instant::now() >= next_kill {
            let victim = kills as usize % writers.len();
            writers[victim].kill().unwrap();
            writers[victim].wait().unwrap();
            writers[victim] = start();
            kills += 1;
            // A prime step, so that the kills wander over what writers do.
            next_kill = Instant::now() + Duration::from_micros(37_013 + u64::from(reads % 7) * 911);
        }
    }
    for mut writer in writers {
        writer.kill().unwrap();
        writer.wait().unwrap();
    }
    assert!(reads > 100 && kills > 10 && newest > 100, "{reads} reads, {kills} kills, {newest}");
    // Nobody holds the lock any more.
    family.update(|t| bind(t, "/last", "/last")).unwrap();
    assert!(family.read_table().unwrap().at(b"/last").is_some());
}

#[test]
fn threads_of_one_process_exclude_each_other() {
    let family = family();
    std::thread::scope(|scope| {
        for t in 0..8 {
            let family = &family;
            scope.spawn(move || {
                for i in 0..20 {
                    family.update(|table| bind(table, "/s", &format!("/{t}/{i}"))).unwrap();
                }
            });
        }
    });
    assert_eq!(family.read_table().unwrap().mounts().len(), 160);
}

#[test]
fn a_failed_or_empty_change_changes_nothing() {
    let family = family();
    family.update(|t| bind(t, "/s", "/a")).unwrap();
    let before = (family.generation(), family.read_table().unwrap());
    let failed: Result<(), Errno> = family.update(|t| {
        bind(t, "/s", "/b")?;
        Err(Errno::ENOENT)
    });
    assert_eq!(failed, Err(Errno::ENOENT));
    family.update(|_| Ok(())).unwrap();
    assert_eq!((family.generation(), family.read_table().unwrap()), before);
}

#[test]
fn a_table_that_no_longer_fits_is_refused_whole() {
    let family = family();
    let long = "x".repeat(4000);
    let full = family
        .update(|t| (0..3000).try_for_each(|i| bind(t, &format!("/{long}"), &format!("/{i}"))));
    assert_eq!(full, Err(Errno::ENOSPC));
    assert!(family.read_table().unwrap().mounts().is_empty());
}

#[test]
fn the_descriptor_stands_high_and_is_inherited() {
    let family = family();
    assert!(family.fd() >= 240 || Kernel.descriptor_limit().unwrap() < 512, "{}", family.fd());
    let stat = in_process("a_member_binds_names_of_its_own", &family, "child 1").wait().unwrap();
    assert!(stat.success());
    assert_eq!(family.read_table().unwrap().mounts().len(), 1);
}

#[test]
fn counters_and_epochs_are_the_familys() {
    use std::sync::atomic::Ordering::Relaxed;
    let family = family();
    let other = family.reopen().unwrap();
    family.counter(Counter::Served).fetch_add(3, Relaxed);
    family.raise(EPOCHS - 1);
    assert_eq!(other.count(Counter::Served), 3);
    assert_eq!(other.count(Counter::Forwarded), 0);
    assert_eq!(other.epoch(EPOCHS - 1).load(Relaxed), 1);
    assert_eq!((other.name().unwrap(), other.id()), (b"test".to_vec(), family.id()));
    other.close();
}

#[test]
fn what_is_no_table_is_refused() {
    assert_eq!(Family::attach(-1).err(), Some(Errno::EBADF));
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    use std::os::fd::AsRawFd;
    assert_eq!(Family::attach(file.as_raw_fd()).err(), Some(Errno::EBADMSG));

    let (family, fd) = damaged(|_| {});
    assert_eq!(Family::attach(fd).map(|f| f.id()).unwrap(), family.id());
    let (_, fd) = damaged(|file| write(file, 0, b"nonsense"));
    assert_eq!(Family::attach(fd).err(), Some(Errno::EBADMSG));
    let (_, fd) = damaged(|file| write(file, 8, &9u32.to_ne_bytes()));
    assert_eq!(Family::attach(fd).err(), Some(Errno::EPROTO));
    let (_, fd) = damaged(|file| write(file, 12, &77u32.to_ne_bytes()));
    assert_eq!(Family::attach(fd).err(), Some(Errno::EPERM));
    // The slots are not vouched for by attaching: reading finds the damage.
    let (family, _) = damaged(|file| {
        // Behind the header, the epochs and what is counted of servers.
        let slots = 4096 + EPOCHS as u64 * 4 + 4096;
        for slot in [slots, slots + (8 << 20)] {
            write(file, slot, &u64::MAX.to_ne_bytes());
        }
    });
    assert_eq!(family.read_index(&mut Vec::new()), Err(Errno::EBADMSG));
    assert_eq!(family.update(|_| Ok(())), Err(Errno::EBADMSG));
}

fn damaged(damage: impl FnOnce(&std::fs::File)) -> (Family, i32) {
    let family = family();
    let path = format!("/proc/self/fd/{}", family.fd());
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    damage(&file);
    let fd = family.fd();
    (family, fd)
}

fn write(file: &std::fs::File, at: u64, bytes: &[u8]) {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at).unwrap();
}

#[test]
fn the_table_cannot_be_shrunk_under_its_readers() {
    let (family, _) = damaged(|file| assert!(file.set_len(0).is_err()));
    assert!(family.read_table().is_ok());
}

#[test]
fn the_keeper_outlives_the_last_member_and_then_lets_nobody_in() {
    let family = family();
    family.enter().unwrap();
    let keeper = family.reopen().unwrap();
    let waits = std::thread::spawn(move || {
        keeper.outlive(keeper.fd()).unwrap();
        keeper
    });
    std::thread::sleep(Duration::from_millis(50));
    assert!(!waits.is_finished() && !family.is_closed());
    let late = family.reopen().unwrap();
    assert_eq!(late.has_members(), Ok(true));
    family.close();
    let keeper = waits.join().unwrap();
    assert_eq!(late.enter(), Err(Errno::ESRCH));
    keeper.close();
    assert_eq!(late.enter(), Err(Errno::ESRCH), "the keeper is gone, and so is the family");
}

#[test]
fn only_names_that_a_file_can_have() {
    let create = |name: &[u8]| Family::create(name, &Table::new()).map(Family::close);
    assert_eq!(create(b"a/b"), Err(Errno::EINVAL));
    assert_eq!(create(&[b'x'; NAME_MAX + 1]), Err(Errno::ENAMETOOLONG));
    assert_eq!(create(b"\xff\n "), Ok(()));
    assert_eq!(create(b""), Ok(()));
}

#[test]
fn the_environment_carries_number_and_rest() {
    let env = Inherited { fd: 1020, id: 0xabc, rest: b"x:y" };
    assert_eq!(env.format(), b"1:1020:0000000000000abc:x:y");
    assert_eq!(Inherited::parse(&env.format()), Some(env));
    for bad in ["", "1", "1:3", "2:3:4", "1:-3:4", "1:x:4", "1:3:0", "1:3:zz"] {
        assert_eq!(Inherited::parse(bad.as_bytes()), None, "{bad}");
    }
}
