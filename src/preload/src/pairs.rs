//! rename and link: two names, and what is mounted at them or below.

use crate::call::{ends_in_dots, is_dir, Does, Named, Ret};
use crate::door::door;
use crate::names::{is_empty, told};
use crate::nowhere::is_no_name;
use crate::PROCESS;
use core::ffi::{c_char, c_int, CStr};
use libc::c_uint;
use privns_abi::{Errno, Result};
use privns_files::process::View;
use privns_files::Target;
use privns_host::{Kernel, Name};
use privns_namespace::resolve::Last;

const CWD: c_int = libc::AT_FDCWD;

pub(crate) unsafe fn link(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: passed on.
    unsafe { linkat(CWD, from, CWD, to, 0) }
}

pub(crate) unsafe fn linkat(
    from_dir: c_int,
    from: *const c_char,
    to_dir: c_int,
    to: *const c_char,
    flags: c_int,
) -> c_int {
    let last = if flags & libc::AT_SYMLINK_FOLLOW != 0 { Last::FOLLOW } else { Last::NO_FOLLOW };
    let old = Named { dirfd: from_dir, path: from, last, does: Does::Read };
    let new = Named::no_follow(to_dir, to, Does::Make);
    if flags & libc::AT_EMPTY_PATH != 0 && is_empty(from) {
        // SAFETY: the program's own arguments, but for the new name.
        let done = unsafe {
            new.call(|dirfd, path| door!(libc::SYS_linkat, from_dir, from, dirfd, path, flags))
        };
        return told(done, to).ret();
    }
    // SAFETY: as above, but for both names.
    let done = unsafe {
        Pair { old, new, how: How::Link }.call(|from_dir, from, to_dir, to| {
            door!(libc::SYS_linkat, from_dir, from, to_dir, to, flags)
        })
    };
    told(done, to).ret()
}

pub(crate) unsafe fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: passed on.
    unsafe { renameat2(CWD, from, CWD, to, 0) }
}

pub(crate) unsafe fn renameat(
    from_dir: c_int,
    from: *const c_char,
    to_dir: c_int,
    to: *const c_char,
) -> c_int {
    // SAFETY: passed on.
    unsafe { renameat2(from_dir, from, to_dir, to, 0) }
}

pub(crate) unsafe fn renameat2(
    from_dir: c_int,
    from: *const c_char,
    to_dir: c_int,
    to: *const c_char,
    flags: c_uint,
) -> c_int {
    let exchanges = flags & libc::RENAME_EXCHANGE != 0;
    let known = libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE | libc::RENAME_WHITEOUT;
    if flags & !known != 0 || exchanges && flags != libc::RENAME_EXCHANGE {
        return Err(Errno::EINVAL).ret();
    }
    let old = Named { dirfd: from_dir, path: from, last: Last::REMOVE, does: Does::Read };
    let new = Named { dirfd: to_dir, path: to, last: Last::MAKE, does: Does::Read };
    // SAFETY: the program's own arguments, but for both names.
    let done = unsafe {
        Pair { old, new, how: How::Rename(flags) }.call(|from_dir, from, to_dir, to| {
            if flags == 0 {
                door!(libc::SYS_renameat, from_dir, from, to_dir, to)
            } else {
                door!(libc::SYS_renameat2, from_dir, from, to_dir, to, flags)
            }
        })
    };
    told(told(done, from), to).ret()
}

/// What is done with the two names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Link,
    /// With the flags of renameat2(2).
    Rename(c_uint),
}

/// A call that names two files.
#[derive(Clone, Copy)]
struct Pair {
    old: Named,
    new: Named,
    how: How,
}

impl Pair {
    /// Locates both names and makes the call.
    ///
    /// # Safety
    /// The names are null or C strings.
    unsafe fn call(
        self,
        make: impl Fn(c_int, *const c_char, c_int, *const c_char) -> Result<usize>,
    ) -> Result<usize> {
        let Pair { old, new, .. } = self;
        let view = match PROCESS.view() {
            Some(view) if !is_no_name(old.path) && !is_no_name(new.path) => view,
            _ => return make(old.dirfd, old.path, new.dirfd, new.path),
        };
        let (mut from, mut to) = (Target::new(), Target::new());
        // SAFETY: neither is null, and the program says that they are strings.
        unsafe {
            old.find(view, &mut from).map_err(|error| self.of_old(error))?;
            if let Err(error) = new.find(view, &mut to) {
                return Err(self.said_first(&mut from).err().unwrap_or(error));
            }
        }
        let special = from.seq != to.seq
            || from.read_only
            || to.read_only
            || !from.plain
            || !to.plain
            || from.at_mount
            || to.at_mount;
        let mut moves = match special {
            true => match self.check(view, &mut from, &mut to) {
                Err(Errno::ELOOP) if self.walk(view, &mut from, &mut to)? => {
                    self.check(view, &mut from, &mut to)?
                }
                checked => checked?,
            },
            false => None,
        };
        if let Some(Check::Done) = moves {
            return Ok(0);
        }
        let run = |from: &mut Target, to: &mut Target| {
            let (from_dir, from) = old.args(from);
            let (to_dir, to) = new.args(to);
            make(from_dir, from, to_dir, to)
        };
        let done = match run(&mut from, &mut to) {
            Err(Errno::ELOOP) if self.walk(view, &mut from, &mut to)? => {
                moves = self.check(view, &mut from, &mut to)?;
                run(&mut from, &mut to)?
            }
            done => done?,
        };
        if let Some(Check::Moves(from, to)) = moves {
            // What is mounted below a directory goes with it.
            view.family.update(|table| {
                table.rename(from.as_bytes(), to.as_bytes());
                Ok(())
            })?;
        }
        Ok(done)
    }

    /// Walks both names, when there is a link on the way: whether there was one.
    #[cold]
    fn walk(self, view: View<'_>, from: &mut Target, to: &mut Target) -> Result<bool> {
        let walked = self.old.walks(view, from).map_err(|error| self.of_old(error))?;
        match self.new.walks(view, to) {
            Err(error) => Err(self.said_first(from).err().unwrap_or(error)),
            also => Ok(walked | also?),
        }
    }

    /// What is said when the old name leads nowhere: that there is no such file
    /// comes after all that is wrong with the ways to both.
    #[cold]
    fn of_old(self, error: Errno) -> Errno {
        match self.how {
            How::Rename(flags) if error == Errno::ENOENT => {
                let ways = dir_of_is_there(self.old).and_then(|()| dir_of_is_there(self.new));
                ways.and_then(|()| dots_stay(self.old, self.new, flags)).err().unwrap_or(error)
            }
            _ => error,
        }
    }

    /// What is wrong with the old name is said before anything of the new one.
    #[cold]
    fn said_first(self, from: &mut Target) -> Result<()> {
        match (self.old.mode(from), self.how) {
            // That there is no such file is said after all else.
            (Err(Errno::ENOENT), How::Rename(_)) => dir_of_is_there(self.old),
            (told, _) => told.map(drop),
        }
    }

    /// What the kernel would refuse where members, read-only mounts or mount
    /// points are involved, in its order.
    #[cold]
    fn check(self, view: View<'_>, from: &mut Target, to: &mut Target) -> Result<Option<Check>> {
        let Pair { old, new, how } = self;
        let apart = from.seq != to.seq && !from.magic;
        for (named, target) in [(old, &*from), (new, &*to)] {
            dir_is_there(named, target)?;
        }
        if let How::Rename(flags) = how {
            // Of two mounts the kernel says that first.
            let elsewhere = apart && !united(view, from, to)?;
            let dots = [Errno::EBUSY, Errno::EEXIST];
            let across = |e| if elsewhere && dots.contains(&e) { Errno::EXDEV } else { e };
            dots_stay(old, new, flags).map_err(across)?;
        }
        let there = old.mode(from).map_err(|error| self.of_old(error));
        if how == How::Link {
            there?;
            if ends_in_dots(new.path) {
                dir_of_is_there(new)?;
                return Err(Errno::EEXIST);
            }
            if new.mode(to).is_ok() {
                return Err(Errno::EEXIST);
            }
        }
        // What is renamed is a mount point's name, in the directory that it is
        // mounted in.
        let renamed_apart = apart && how != How::Link && !from.at_mount && !to.at_mount;
        // SAFETY: located already as a C string.
        let name = unsafe { CStr::from_ptr(new.path) };
        if let (true, How::Rename(flags)) = (renamed_apart, how) {
            if united(view, from, to)? {
                self.covers(there?, new.mode(to).ok(), flags)?;
            }
            if !view.stay_in_member(from.seq, new.dirfd, name, to)? {
                dir_of_is_there(new)?;
                return Err(Errno::EXDEV);
            }
        }
        if to.read_only || how != How::Link && from.read_only {
            return Err(Errno::EROFS);
        }
        match how {
            // Linking is refused across mounts only when all else is well.
            How::Link if apart && !view.stay_in_member(from.seq, new.dirfd, name, to)? => {
                dir_of_is_there(new)?;
                Err(Errno::EXDEV)
            }
            How::Link => Ok(None),
            How::Rename(flags) => self.check_mounts(view, flags, from, to),
        }
    }

    /// What a new name would cover that is seen there, in another member: the
    /// kernel is not asked about that.
    fn covers(self, mode: u32, there: Option<u32>, flags: c_uint) -> Result<()> {
        // SAFETY: located already as a C string.
        let slash = unsafe { CStr::from_ptr(self.new.path) }.to_bytes().ends_with(b"/");
        match there {
            Some(_) if flags & libc::RENAME_NOREPLACE != 0 => Err(Errno::EEXIST),
            _ if slash && !is_dir(mode) => Err(Errno::ENOTDIR),
            Some(there) if is_dir(there) && !is_dir(mode) => Err(Errno::EISDIR),
            Some(there) if !is_dir(there) && is_dir(mode) => Err(Errno::ENOTDIR),
            // Whether it is empty is not known; moving by copies finds out.
            Some(there) if is_dir(there) => Err(Errno::EXDEV),
            _ => Ok(()),
        }
    }

    fn check_mounts(
        self,
        view: View<'_>,
        flags: c_uint,
        from: &mut Target,
        to: &mut Target,
    ) -> Result<Option<Check>> {
        let Pair { old, new, .. } = self;
        let mode = old.mode(from).map_err(|error| self.of_old(error))?;
        let there = new.mode(to);
        if there.is_ok() && flags & libc::RENAME_NOREPLACE != 0 {
            return Err(Errno::EEXIST);
        }
        if from.at_mount || to.at_mount {
            if same_file(old.place(from), new.place(to)) {
                return Ok(Some(Check::Done));
            }
            return Err(match there {
                Ok(there) if is_dir(there) && !is_dir(mode) => Errno::EISDIR,
                Ok(there) if !is_dir(there) && is_dir(mode) => Errno::ENOTDIR,
                _ => Errno::EBUSY,
            });
        }
        if !to.plain {
            return Err(Errno::ENOTEMPTY);
        }
        if from.plain {
            return Ok(None);
        }
        if flags != 0 || !view.family.is_writable() {
            return Err(Errno::EBUSY);
        }
        // SAFETY: both located already as C strings.
        let (from, to) = unsafe { (CStr::from_ptr(old.path), CStr::from_ptr(new.path)) };
        let from = view.walk(old.dirfd, from.to_bytes(), Last::REMOVE)?;
        let to = view.walk(new.dirfd, to.to_bytes(), Last::MAKE)?;
        Ok(Some(Check::Moves(from.ns, to.ns)))
    }
}

/// What is left to be done where the names are special.
enum Check {
    /// Nothing: two names of one file.
    Done,
    /// The mount points below the first go with it to the second.
    Moves(Name, Name),
}

/// Whether two files are in members of one union.
fn united(view: View<'_>, from: &Target, to: &Target) -> Result<bool> {
    let table = view.table()?;
    let members = table.index().member(from.seq).zip(table.index().member(to.seq));
    Ok(members.is_some_and(|(a, b)| a.mount().path() == b.mount().path()))
}

/// A name that ends in dots is none that could be another: what it leads to here
/// may well have one on the host.
fn dots_stay(old: Named, new: Named, flags: c_uint) -> Result<()> {
    let dots = [old, new].map(|named| ends_in_dots(named.path));
    if dots == [false; 2] {
        return Ok(());
    }
    dir_of_is_there(old)?;
    dir_of_is_there(new)?;
    let replaces = flags & libc::RENAME_NOREPLACE == 0;
    Err(if dots[0] || replaces { Errno::EBUSY } else { Errno::EEXIST })
}

/// What the kernel says of the way to a name.
fn dir_of_is_there(named: Named) -> Result<()> {
    // SAFETY: located already as a C string.
    let path = unsafe { CStr::from_ptr(named.path) }.to_bytes();
    let Some(last) = path.iter().rposition(|&b| b != b'/') else { return Ok(()) };
    let Some(end) = path[..last].iter().rposition(|&b| b == b'/') else { return Ok(()) };
    let mut dir = Name::from(&path[..=end])?;
    dir.push(b".")?;
    let mut st = core::mem::MaybeUninit::uninit();
    // SAFETY: a C string, and room for what is told.
    unsafe { crate::stat::stat_at(named.dirfd, dir.as_cstr()?.as_ptr(), st.as_mut_ptr(), 0) }
        .map(drop)
}

/// The directory of a name that goes to the kernel as it is has not been looked
/// at yet: EBADF and ENOTDIR come before anything else.
fn dir_is_there(named: Named, target: &Target) -> Result<()> {
    if !target.as_given || named.dirfd == CWD {
        return Ok(());
    }
    let directory = match PROCESS.view() {
        Some(view) => view.host().fstat(named.dirfd),
        None => Kernel.fstat(named.dirfd),
    };
    if directory?.is_dir() {
        Ok(())
    } else {
        Err(Errno::ENOTDIR)
    }
}

fn same_file(a: (c_int, *const c_char), b: (c_int, *const c_char)) -> bool {
    let look = |(dirfd, path): (c_int, *const c_char)| {
        // SAFETY: C strings of ours or the program's.
        Kernel.statat(dirfd, unsafe { CStr::from_ptr(path) }, libc::AT_SYMLINK_NOFOLLOW)
    };
    match (look(a), look(b)) {
        (Ok(a), Ok(b)) => (a.dev, a.ino) == (b.dev, b.ino),
        _ => false,
    }
}
