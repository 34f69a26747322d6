//! ftw and nftw. libc opens the directories below the first by a call of its
//! own that no entry leads to, so that these are done anew always.
//!
//! Differences that a program could see: a directory's names are read before
//! the first of them is visited, so that one descriptor at a time is used, and
//! one a level with FTW_CHDIR, however many were allowed.

use crate::call::errno;
use crate::dirs::{fail, Dir};
use crate::open::open_at;
use crate::stat::stat_at;
use alloc::vec::Vec;
use core::ffi::{c_char, c_int, CStr};
use core::mem::MaybeUninit;
use libc::stat as Stat;
use privns_abi::{Errno, Result};
use privns_host::Name;

// ftw.h.
const F: c_int = 0;
const D: c_int = 1;
const DNR: c_int = 2;
const NS: c_int = 3;
const SL: c_int = 4;
const DP: c_int = 5;
const SLN: c_int = 6;
const PHYS: c_int = 1;
const MOUNT: c_int = 2;
const CHDIR: c_int = 4;
const DEPTH: c_int = 8;
const ACTIONRETVAL: c_int = 16;
const SKIP_SUBTREE: c_int = 2;
const SKIP_SIBLINGS: c_int = 3;

/// `struct FTW`.
#[repr(C)]
pub(crate) struct Place {
    base: c_int,
    level: c_int,
}

type Called = unsafe extern "C" fn(*const c_char, *const Stat, c_int) -> c_int;
type CalledPlace = unsafe extern "C" fn(*const c_char, *const Stat, c_int, *mut Place) -> c_int;
/// ftw's function.
pub(crate) type Visit = Option<Called>;
/// nftw's function.
pub(crate) type VisitPlace = Option<CalledPlace>;

#[derive(Clone, Copy)]
enum Visitor {
    Ftw(Called),
    Nftw(CalledPlace),
}

/// Why a walk ends early.
enum End {
    /// The program said so, with this number.
    Told(c_int),
    Failed(Errno),
}

impl From<Errno> for End {
    fn from(error: Errno) -> End {
        End::Failed(error)
    }
}

type Walked = core::result::Result<(), End>;

struct Walk {
    visitor: Visitor,
    flags: c_int,
    /// Where we are.
    name: Name,
    base: usize,
    level: c_int,
    /// The device to stay on.
    dev: u64,
    /// Directories visited, in order: only links can lead to one twice.
    seen: Vec<(u64, u64)>,
}

pub(crate) unsafe fn ftw(dir: *const c_char, visit: Visit, _fds: c_int) -> c_int {
    let Some(visit) = visit else { return fail(Errno::EINVAL) };
    // SAFETY: the program's own arguments.
    unsafe { start(dir, Visitor::Ftw(visit), 0) }
}

pub(crate) unsafe fn nftw(
    dir: *const c_char,
    visit: VisitPlace,
    _fds: c_int,
    flags: c_int,
) -> c_int {
    let Some(visit) = visit else { return fail(Errno::EINVAL) };
    if flags & !(PHYS | MOUNT | CHDIR | DEPTH | ACTIONRETVAL) != 0 {
        return fail(Errno::EINVAL);
    }
    // SAFETY: as above.
    unsafe { start(dir, Visitor::Nftw(visit), flags) }
}

unsafe fn start(dir: *const c_char, visitor: Visitor, flags: c_int) -> c_int {
    // SAFETY: the program says that it is a string.
    let name = unsafe { CStr::from_ptr(dir) }.to_bytes();
    let end = name.iter().rposition(|&b| b != b'/').map_or(1.min(name.len()), |at| at + 1);
    if end == 0 {
        return fail(Errno::ENOENT);
    }
    let base = name[..end].iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
    let base = if end == 1 { 0 } else { base };
    let walk = Name::from(&name[..end]).map(|name| Walk {
        visitor,
        flags,
        name,
        base,
        level: 0,
        dev: 0,
        seen: Vec::new(),
    });
    let home = walk.and_then(|walk| Ok((walk, Home::new(flags & CHDIR != 0)?)));
    match home.map_err(End::from).and_then(|(mut walk, _home)| walk.top()) {
        Ok(()) => 0,
        Err(End::Told(told)) => told,
        Err(End::Failed(error)) => fail(error),
    }
}

/// The working directory, to come back to.
struct Home(Option<c_int>);

impl Home {
    fn new(wanted: bool) -> Result<Home> {
        if !wanted {
            return Ok(Home(None));
        }
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: a name of ours.
        let fd = unsafe { open_at(libc::AT_FDCWD, c".".as_ptr(), flags, 0) }?;
        Ok(Home(Some(fd as c_int)))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(fd) = self.0 {
            let _ = enter(fd);
            let _ = crate::descriptors::shut(fd);
        }
    }
}

/// fchdir(2).
fn enter(fd: c_int) -> Result<()> {
    // SAFETY: no memory is involved.
    let done = unsafe { crate::reveal::fchdir(fd) };
    if done < 0 {
        return Err(errno());
    }
    Ok(())
}

impl Walk {
    fn has(&self, flag: c_int) -> bool {
        self.flags & flag != 0
    }

    /// What the kernel is given: with FTW_CHDIR we stand in the directory.
    fn spelled(&mut self) -> Result<*const c_char> {
        let from = if self.has(CHDIR) { self.base } else { 0 };
        Ok(self.name.as_cstr()?.as_ptr().wrapping_add(from))
    }

    fn look(&mut self, follow: bool) -> Result<Stat> {
        let name = self.spelled()?;
        let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
        let mut st = MaybeUninit::<Stat>::uninit();
        // SAFETY: a name and a buffer of ours, filled when the call says so.
        unsafe {
            stat_at(libc::AT_FDCWD, name, st.as_mut_ptr(), flags)?;
            Ok(st.assume_init())
        }
    }

    fn visit(&mut self, st: &Stat, kind: c_int) -> Walked {
        let (base, level) = (self.base as c_int, self.level);
        let name = self.name.as_cstr()?.as_ptr();
        // SAFETY: the program's own function, with a string and structures
        // that live over the call.
        let told = unsafe {
            match self.visitor {
                Visitor::Ftw(visit) => visit(name, st, plain(kind)),
                Visitor::Nftw(visit) => visit(name, st, kind, &mut Place { base, level }),
            }
        };
        if told == 0 {
            Ok(())
        } else {
            Err(End::Told(told))
        }
    }

    fn top(&mut self) -> Walked {
        if self.has(CHDIR) && self.base > 0 {
            let dir = Name::from(&self.name.as_bytes()[..self.base])?;
            self.stand_in(dir)?;
        }
        let physical = self.has(PHYS);
        let st = match self.look(!physical) {
            Ok(st) => st,
            Err(Errno::ENOENT) if !physical => match self.look(false) {
                Ok(st) if kind_of(&st) == SL => return self.skipped(|walk| walk.visit(&st, SLN)),
                _ => return Err(End::Failed(Errno::ENOENT)),
            },
            Err(error) => return Err(error.into()),
        };
        self.dev = st.st_dev;
        self.skipped(|walk| walk.one(&st))
    }

    fn stand_in(&mut self, mut dir: Name) -> Walked {
        // SAFETY: a name of ours.
        if unsafe { crate::reveal::chdir(dir.as_cstr()?.as_ptr()) } < 0 {
            return Err(End::Failed(errno()));
        }
        Ok(())
    }

    /// Takes what the program may say of a whole tree (FTW_ACTIONRETVAL).
    fn skipped(&mut self, walk: impl FnOnce(&mut Walk) -> Walked) -> Walked {
        match walk(self) {
            Err(End::Told(SKIP_SUBTREE | SKIP_SIBLINGS)) if self.has(ACTIONRETVAL) => Ok(()),
            done => done,
        }
    }

    /// A file whose attributes are known.
    fn one(&mut self, st: &Stat) -> Walked {
        let kind = kind_of(st);
        if kind != D {
            return self.visit(st, kind);
        }
        if self.has(PHYS) {
            return self.directory(st);
        }
        let id = (st.st_dev, st.st_ino);
        let Err(at) = self.seen.binary_search(&id) else { return Ok(()) };
        self.seen.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.seen.insert(at, id);
        self.directory(st)
    }

    /// An entry of a directory, named by now.
    fn entry(&mut self) -> Walked {
        let physical = self.has(PHYS);
        let st = match self.look(!physical) {
            Ok(st) if self.has(MOUNT) && st.st_dev != self.dev => return Ok(()),
            Ok(st) => st,
            Err(Errno::EACCES | Errno::ENOENT) => {
                let link = if physical { None } else { self.look(false).ok() };
                let link = link.filter(|st| kind_of(st) == SL);
                // SAFETY: all zeros are attributes, which say nothing of a
                // file that cannot be looked at.
                let none = unsafe { MaybeUninit::<Stat>::zeroed().assume_init() };
                let kind = if link.is_some() { SLN } else { NS };
                return self.visit(&link.unwrap_or(none), kind);
            }
            Err(error) => return Err(error.into()),
        };
        match self.one(&st) {
            Err(End::Told(SKIP_SUBTREE)) if self.has(ACTIONRETVAL) => Ok(()),
            done => done,
        }
    }

    fn directory(&mut self, st: &Stat) -> Walked {
        let name = self.spelled()?;
        // SAFETY: a name of ours.
        let dir = match unsafe { Dir::open(libc::AT_FDCWD, name) } {
            Ok(dir) => dir,
            Err(Errno::EACCES) => return self.visit(st, DNR),
            Err(error) => return Err(error.into()),
        };
        if !self.has(DEPTH) {
            self.visit(st, D)?;
        }
        let done = self.below(dir);
        let done = match done {
            Err(End::Told(SKIP_SIBLINGS)) if self.has(ACTIONRETVAL) => Ok(()),
            done => done,
        };
        done?;
        if self.has(DEPTH) {
            self.visit(st, DP)?;
        }
        Ok(())
    }

    fn below(&mut self, mut dir: alloc::boxed::Box<Dir>) -> Walked {
        let names = names_in(&mut dir)?;
        // With FTW_CHDIR the directory stays open: it is where to come back to.
        let dir = self.has(CHDIR).then_some(dir);
        let back = Home::new(dir.is_some())?;
        if let Some(dir) = &dir {
            enter(dir.fd())?;
        }
        let (len, base) = (self.name.as_bytes().len(), self.base);
        self.level += 1;
        if !self.name.as_bytes().ends_with(b"/") {
            self.name.push(b"/")?;
        }
        self.base = self.name.as_bytes().len();
        let mut done = Ok(());
        for name in names.split(|&b| b == 0).filter(|name| !name.is_empty()) {
            self.name.truncate(self.base);
            self.name.push(name)?;
            done = self.entry();
            if done.is_err() {
                break;
            }
        }
        self.name.truncate(len);
        self.base = base;
        self.level -= 1;
        drop(back);
        done
    }
}

/// A directory's names, each ended by a NUL.
fn names_in(dir: &mut Dir) -> Result<Vec<u8>> {
    let mut names = Vec::new();
    while let Some(entry) = dir.next()? {
        // SAFETY: a whole entry of the stream.
        let name = unsafe { CStr::from_ptr((*entry).d_name.as_ptr()) }.to_bytes_with_nul();
        if !matches!(name, b".\0" | b"..\0") {
            names.try_reserve(name.len()).map_err(|_| Errno::ENOMEM)?;
            names.extend_from_slice(name);
        }
    }
    Ok(names)
}

fn kind_of(st: &Stat) -> c_int {
    match st.st_mode & libc::S_IFMT {
        libc::S_IFDIR => D,
        libc::S_IFLNK => SL,
        _ => F,
    }
}

/// ftw knows fewer types.
fn plain(kind: c_int) -> c_int {
    match kind {
        SL => F,
        DP => D,
        SLN => NS,
        kind => kind,
    }
}
