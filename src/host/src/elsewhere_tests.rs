//! Numbers that are left, with threads beside.

use super::*;

#[test]
fn a_number_is_left_by_a_child_and_not_by_its_parent() {
    let fd = Kernel.dup_from(1, 3, true).unwrap();
    let parent = Kernel.getpid();
    assert_eq!(here(fd), fd);
    leave(fd, parent, 1, true).unwrap();
    assert_eq!(here(fd), fd, "the parent's");
    // As in a child: another process, the same thread pointer.
    PARENT.store(-1, Relaxed);
    let new = here(fd);
    assert_ne!(new, fd);
    leave(new, -1, 1, true).unwrap();
    let newer = here(fd);
    assert_ne!(newer, new);
    leave(newer, -1, 2, true).unwrap();
    assert_ne!(here(fd), newer);
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(here(fd), fd, "another thread's"));
    });
    back(1);
    assert_eq!(here(fd), newer);
    let mut told = std::vec::Vec::new();
    leave(newer, -1, 2, true).unwrap();
    let newest = here(fd);
    forked(|from, to| told.push((from, to)));
    assert_eq!((told, here(fd)), (std::vec![(fd, newest)], fd));
    back(0);
    assert_eq!(MANY.load(Relaxed), 0);
}
