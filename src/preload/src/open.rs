//! open and its relatives: the name is taken to be canonical, and the kernel
//! itself refuses when a symbolic link says otherwise.

use crate::call::{cancellable, Does, Named, Ret};
use crate::door::door;
use crate::nowhere::is_no_name;
use core::ffi::{c_char, c_int, CStr};
use core::sync::atomic::Ordering;
use libc::mode_t;
use privns_abi::{Errno, Result};
use privns_files::fds::Shown;
use privns_files::process::View;
use privns_files::Target;
use privns_host::kernel::{OpenHow, RESOLVE_NO_SYMLINKS};
use privns_host::Kernel;
use privns_host::Spelled;
use privns_namespace::resolve::Last;

pub(crate) unsafe fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the program's own arguments, passed on.
    unsafe { open_at(libc::AT_FDCWD, path, flags, mode) }.ret()
}

pub(crate) unsafe fn openat(
    dirfd: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    // SAFETY: as above.
    unsafe { open_at(dirfd, path, flags, mode) }.ret()
}

pub(crate) unsafe fn open_2(path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: as above; the fortified form takes no mode.
    unsafe { open_at(libc::AT_FDCWD, path, flags, 0) }.ret()
}

pub(crate) unsafe fn openat_2(dirfd: c_int, path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: as above.
    unsafe { open_at(dirfd, path, flags, 0) }.ret()
}

pub(crate) unsafe fn creat(path: *const c_char, mode: mode_t) -> c_int {
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
    // SAFETY: as above.
    unsafe { open_at(libc::AT_FDCWD, path, flags, mode) }.ret()
}

/// openat(2) in the namespace.
///
/// # Safety
/// `path` is a C string, null, or what only the kernel can say EFAULT to.
pub(crate) unsafe fn open_at(
    dirfd: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> Result<usize> {
    let view = match crate::PROCESS.view() {
        Some(view) if !is_no_name(path) => view,
        // SAFETY: the program's own arguments.
        _ => return unsafe { door!(libc::SYS_openat, dirfd, path, flags, mode) },
    };
    let last = intent(flags);
    let writing = writes(flags);
    let does = if writing { Does::Change } else { Does::Read };
    let named = Named { dirfd, path, last, does };
    // SAFETY: not null, and the program says that it is a string.
    let spelled = unsafe { Spelled::read(path) };
    let name = spelled.name();
    let mut to = Target::new();
    let walk =
        view.process.no_openat2.load(Ordering::Relaxed) || crate::mounts::may_be(name.to_bytes());
    if !walk
        && named.tell(view.locate_unchecked(dirfd, spelled, &mut to))?
        && !(to.read_only && writing)
    {
        let how = OpenHow::new(flags, mode, RESOLVE_NO_SYMLINKS);
        let raises = view.family.raises();
        let (dir, at) = named.args(&mut to);
        let opened = cancellable(true, || {
            // SAFETY: a C string and an open_how of our own.
            unsafe { door!(libc::SYS_openat2, dir, at, &raw const how, size_of::<OpenHow>()) }
        });
        match opened {
            Ok(fd) => {
                if to.guessed {
                    view.proved(name, &to, raises);
                }
                return Ok(note(view, fd, &to));
            }
            Err(Errno::ELOOP | Errno::EAGAIN) => {}
            Err(Errno::ENOSYS | Errno::EPERM) if refused() => {
                view.process.no_openat2.store(true, Ordering::Relaxed);
            }
            Err(error) => return Err(error),
        }
    }
    // SAFETY: as above.
    unsafe { open_exact(view, named, name, flags, mode) }
}

/// The walk, then the kernel; once more when a link has appeared meanwhile.
#[cold]
unsafe fn open_exact(
    view: View<'_>,
    named: Named,
    name: &CStr,
    flags: c_int,
    mode: mode_t,
) -> Result<usize> {
    let mut to = Target::new();
    for _ in 0..privns_abi::path::LINKS_MAX {
        named.tell(view.locate_exact(named.dirfd, name, named.last, &mut to))?;
        if to.read_only && writes(flags) {
            if name.to_bytes().ends_with(b"/") && flags & libc::O_CREAT != 0 {
                return Err(Errno::EISDIR);
            }
            read_only(flags, named.mode(&mut to))?;
        }
        let (dir, at) = named.args(&mut to);
        if let Some(fd) = crate::mounts::open(view, &to, flags)? {
            return Ok(fd);
        }
        let opened = if to.magic || view.process.no_openat2.load(Ordering::Relaxed) {
            // No O_NOFOLLOW of ours: fcntl would show it to the program. A link
            // that has appeared since the walk is the host's to follow.
            cancellable(true, || {
                // SAFETY: a C string of ours.
                unsafe { door!(libc::SYS_openat, dir, at, flags, mode) }
            })
        } else {
            let how = OpenHow::new(flags, mode, RESOLVE_NO_SYMLINKS);
            cancellable(true, || {
                // SAFETY: as above.
                unsafe { door!(libc::SYS_openat2, dir, at, &raw const how, size_of::<OpenHow>()) }
            })
        };
        match opened {
            Ok(fd) if to.magic && is_nothing(view, fd as c_int) => {
                let _ = Kernel.close(fd as c_int);
                return Err(Errno::ENXIO);
            }
            Ok(fd) if to.magic => {
                // It shows what that descriptor of ours does, or is looked up.
                let other = named.place(&mut to).1;
                // SAFETY: a C string of ours.
                if let Some(of) = crate::door::magic(unsafe { CStr::from_ptr(other) }.to_bytes()) {
                    let shown = view.shown(of);
                    view.process.fds.set(fd as c_int, shown, view.family.generation());
                }
                return Ok(fd);
            }
            Ok(fd) => return Ok(note(view, fd, &to)),
            // O_NOFOLLOW's own answer, or a link put there since the walk.
            Err(Errno::ELOOP) if flags & libc::O_NOFOLLOW == 0 && !to.magic => {}
            Err(Errno::ENOSYS | Errno::EPERM) if !to.magic && refused() => {
                view.process.no_openat2.store(true, Ordering::Relaxed);
            }
            Err(error) => return Err(error),
        }
    }
    Err(Errno::ELOOP)
}

/// Whether a link of `/proc` has led to what only stands for another process's
/// remote file: that one is not to be had by it, and must not seem empty.
fn is_nothing(view: View<'_>, fd: c_int) -> bool {
    !view.process.is_virtual(fd) && Kernel.is_placeholder(fd)
}

/// What a read-only mount says to an open that may change something, of a file
/// with these mode bits or of none.
fn read_only(flags: c_int, there: Result<u32>) -> Result<()> {
    let creates = flags & libc::O_CREAT != 0;
    let temporary = flags & libc::O_TMPFILE == libc::O_TMPFILE;
    let changes = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
    let mode = match there {
        Err(Errno::ENOENT) if creates => return Err(Errno::EROFS),
        there => there?,
    };
    match mode & libc::S_IFMT {
        libc::S_IFDIR if temporary => Err(Errno::EROFS),
        _ if temporary => Err(Errno::ENOTDIR),
        _ if creates && flags & libc::O_EXCL != 0 => Err(Errno::EEXIST),
        libc::S_IFDIR if creates || changes => Err(Errno::EISDIR),
        libc::S_IFREG if changes => Err(Errno::EROFS),
        // A device or a pipe may be written all the same.
        _ => Ok(()),
    }
}

/// Whether the host refuses openat2(2) as such, asked with a call that nothing
/// else can be wrong with: EPERM may be the file's own answer.
#[cold]
pub(crate) fn refused() -> bool {
    let how = OpenHow::new(libc::O_PATH | libc::O_CLOEXEC, 0, RESOLVE_NO_SYMLINKS);
    match Kernel.openat2(libc::AT_FDCWD, c"/", &how) {
        Ok(fd) => {
            let _ = Kernel.close(fd);
            false
        }
        Err(error) => matches!(error, Errno::ENOSYS | Errno::EPERM),
    }
}

/// Notes what a new descriptor shows.
#[inline(always)]
pub(crate) fn note(view: View<'_>, fd: usize, to: &Target) -> usize {
    let shown = Shown { seq: to.seq, plain: to.plain, read_only: to.read_only };
    let fds = &view.process.fds;
    fds.set(fd as c_int, shown, view.family.generation());
    fd
}

fn intent(flags: c_int) -> Last {
    let create = flags & libc::O_CREAT != 0;
    let exclusive = create && flags & libc::O_EXCL != 0;
    Last { follow: flags & libc::O_NOFOLLOW == 0 && !exclusive, create, remove: false }
}

pub(crate) fn writes(flags: c_int) -> bool {
    if flags & libc::O_PATH != 0 {
        return false;
    }
    flags & libc::O_ACCMODE != libc::O_RDONLY
        || flags & libc::O_TRUNC != 0
        || flags & libc::O_TMPFILE == libc::O_TMPFILE
        || flags & libc::O_CREAT != 0
}
