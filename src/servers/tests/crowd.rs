//! Many connections at one server: those that stand still hold up nobody else.

mod common;

use common::{DirRig, Ease, Rig, Speech};
use std::time::{Duration, Instant};

/// 100 idle clients, and some that ask for megabytes and take none of them: every other is answered
/// as if they were not there, and they are too once they listen.
fn nobody_is_held_up(rig: &impl Rig) {
    let (c, root) = rig.attached(Speech::Ours);
    c.make(&root, b"big", &vec![7; 16 << 20]);
    let idle: Vec<_> = (0..100).map(|_| rig.attached(Speech::Ours)).collect();
    let greedy: Vec<_> = (0..4)
        .map(|_| {
            let (client, root) = rig.attached(Speech::Ours);
            let file = client.at(&root, b"big", 0).unwrap();
            let pending: Vec<_> =
                (0..64).map(|i| client.begin_read(&file, i << 18, 1 << 18).unwrap()).collect();
            (client, root, file, pending)
        })
        .collect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for n in 0..8 {
            scope.spawn(move || {
                let (c, root) = rig.attached(Speech::Ours);
                for i in 0..50 {
                    let name = format!("f{n}-{i}").into_bytes();
                    c.make(&root, &name, b"text");
                    assert_eq!(c.contents(&root, &name).unwrap(), b"text");
                }
            });
        }
    });
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let mut buf = vec![0; 1 << 18];
    for (client, _root, _file, pending) in greedy {
        for one in pending {
            assert_eq!(client.end_read(one, &mut buf), Ok(1 << 18));
            assert!(buf.iter().all(|b| *b == 7));
        }
    }
    for (client, root) in &idle {
        assert!(client.getattr(root).is_ok());
    }
}

#[test]
fn of_a_directory() {
    nobody_is_held_up(&DirRig::new());
}

#[test]
fn of_memory() {
    nobody_is_held_up(&common::mem());
}
