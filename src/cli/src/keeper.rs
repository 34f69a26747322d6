//! The keeper: the process that a family leaves behind for what must outlive
//! its last member.
//!
//! `ns-exec` becomes the program, so nobody would be there to remove the
//! skeleton, the instances and the family's entry. The keeper waits for the
//! lock that every member holds and the kernel drops, even on SIGKILL, and
//! cleans up. It is made by a process in between, so that it is no child of the
//! program, and takes over the memory that `ns-exec` leaves when it becomes that
//! (`host::behind`); it has a session, a directory and descriptors of its own, so
//! that it keeps nothing busy and holds no pipe open. Signals wait: it ends when its family
//! does, or by SIGKILL, after which `ns reap` does its work.

use crate::{runtime, tree};
use privns_abi::{Errno, Result};
use privns_host::Kernel;
use privns_host::behind::Behind;
use privns_host::process::Fork;
use privns_namespace::Family;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Forks such that the child is nobody's: in a session of its own, and not seen
/// by whoever waits for the children of this process.
///
/// # Errors
/// fork(2)'s.
pub(crate) fn fork_away() -> Result<Fork> {
    Kernel.fork_away(is_orphaned())
}

/// What a keeper does.
pub trait Work {
    /// The table may show more than it did: see [`tell`].
    fn look(&mut self, family: &Family);
    /// The last member is gone.
    fn clear_up(self, family: &Family);
}

/// What wakes a keeper up.
const WAKE: i32 = libc::SIGUSR1;

/// Whether what is to be nobody's child has to be forked twice. Orphans of a
/// reaper (process 1 of a container, say) become its children again, and its
/// program would wait for the keeper for ever. A direct child that has no signal
/// to send at its end is one that wait(2) does not see.
fn is_orphaned() -> bool {
    !Kernel.is_reaper()
}

/// A keeper that is being made.
#[must_use]
pub struct Coming(Behind);

/// Begins to make a keeper, beside whatever else is to be done: it takes the
/// kernel a while. It does nothing before it [has a family](Coming::watch).
pub fn begin() -> Coming {
    Coming(Kernel.leave_behind(is_orphaned()))
}

impl Coming {
    /// Waits until it is there, and gives it a family, which it keeps when this
    /// process has become the program or has ended: the last that is done before
    /// that. `keep` are the only other descriptors that it keeps. Signals wait: its
    /// number is known before it runs, and whoever wakes it by then is not to end
    /// it.
    ///
    /// Gives its process number and that of its descriptor of the table.
    ///
    /// # Errors
    /// clone(2)'s.
    pub fn watch(
        self,
        family: &'static Family,
        keep: Vec<i32>,
        mut work: impl Work + Send + 'static,
    ) -> Result<(i32, i32)> {
        let fd = family.keepers_description()?;
        let pid = self.0.there(move || {
            keep_watch(family, fd, &keep, &mut work);
            work.clear_up(family);
        })?;
        family.set_keeper(pid as u32);
        Ok((pid, fd))
    }
}

/// Waits for the end of the last member.
fn keep_watch(family: &Family, own: i32, keep: &[i32], work: &mut impl Work) {
    Kernel.wait_for_signal(WAKE);
    Kernel.set_name(c"ns-keeper");
    let _ = rustix::process::chdir("/");
    close_all_but(keep.iter().copied().chain([own]).collect());
    stand_in();
    while family.outlive(own) == Err(Errno::EINTR) {
        work.look(family);
    }
}

/// How long a keeper may take to look; one that was killed never does.
const PATIENCE: Duration = Duration::from_secs(2);

/// Has a family's keeper look at the table, which shows instances that it did
/// not show before, and waits until it has.
pub fn tell(family: &Family) {
    let wanted = family.generation();
    let end = Instant::now() + PATIENCE;
    let Some(keeper) = open(family.keeper() as i32, family.id()) else { return };
    while family.held() < wanted && Instant::now() < end {
        // It may have been about to wait when the last one came.
        if rustix::process::pidfd_send_signal(&keeper, rustix::process::Signal::USR1).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Ends a family's keeper, where it waits for processes that are no members:
/// those of another user that were left with a descriptor.
pub fn dismiss(id: u64) {
    if let Some(keeper) = runtime::keeper_of(id).and_then(|pid| open(pid, id)) {
        let _ = rustix::process::pidfd_send_signal(&keeper, rustix::process::Signal::KILL);
        gone(&keeper);
    }
}

/// Waits for the end of a process that has been killed.
fn gone(pidfd: &OwnedFd) {
    let mut fds = [rustix::event::PollFd::new(pidfd, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec { tv_sec: 2, tv_nsec: 0 };
    let _ = rustix::event::poll(&mut fds, Some(&limit));
}

/// A family's keeper, by a descriptor: its number may be another's by now.
fn open(pid: i32, family: u64) -> Option<OwnedFd> {
    let keeper = rustix::process::Pid::from_raw(pid)?;
    let fd = rustix::process::pidfd_open(keeper, rustix::process::PidfdFlags::empty()).ok()?;
    (runtime::keeper_of(family) == Some(pid)).then_some(fd)
}

/// Fills the three standard descriptors, which are closed: whatever is opened
/// next must not land where messages go.
pub(crate) fn stand_in() {
    for _ in 0..3 {
        let _ = Kernel.openat(libc::AT_FDCWD, c"/dev/null", libc::O_RDWR, 0);
    }
}

pub(crate) fn close_all_but(mut kept: Vec<i32>) {
    kept.sort_unstable();
    let mut from = 0u32;
    let mut done = Ok(());
    for fd in kept.iter().map(|&fd| fd as u32).chain([u32::MAX]) {
        if fd > from {
            done = done.and(Kernel.close_range(from, fd - 1));
        }
        from = fd.saturating_add(1);
    }
    if done.is_ok() {
        return;
    }
    let open = tree::open_path(b"/proc/self/fd").and_then(tree::names).unwrap_or_default();
    let open = open.iter().filter_map(|n| std::str::from_utf8(n).ok()?.parse::<i32>().ok());
    for fd in open.filter(|fd| !kept.contains(fd)) {
        let _ = Kernel.close(fd);
    }
}
