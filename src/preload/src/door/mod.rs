//! The door: where rows enter the kernel for calls that take a name or a
//! descriptor. The kernel behind it is the host's, or our own for remote files
//! ([`privns_files::remote`]).
//!
//! A process that has never met a server pays one load of a byte. In others a
//! call is ours when its name is a remote file's host name, or is relative to a
//! remote directory, or when its descriptor stands for a remote file; the table
//! says which argument is which. To serve another call, add its row.

mod files;
mod names;
mod transfer;

use crate::nowhere::is_no_name;
use crate::PROCESS;
use core::cell::Cell;
use core::ffi::{c_char, c_int, c_long, CStr};
use privns_abi::{Errno, Result};
use privns_files::process::View;
use privns_files::remote::file::{File, Kind};
use privns_files::remote::place::Place;
use privns_host::kernel::OpenHow;
use privns_host::signals::{self, calmly};
use privns_host::{raw, sys, Name};

/// Makes a system call, arguments as [`privns_host::sys`] takes them.
macro_rules! door {
    ($nr:expr $(, $arg:expr)* $(,)?) => {{
        let args = privns_host::raw::pad([$($arg as usize),*]);
        if $crate::PROCESS.met() {
            // Of its own, so that they need no place in memory elsewhere.
            let [a, b, c, d, e, f] = args;
            $crate::door::enter($nr, [a, b, c, d, e, f])
        } else {
            privns_host::raw::syscall($nr, args)
        }
    }};
}
pub(crate) use door;

/// A call about one remote file.
pub(crate) struct Call<'a> {
    pub(crate) view: View<'a>,
    pub(crate) place: Place<'a>,
    /// The arguments, as the kernel would be given them.
    pub(crate) args: [usize; 6],
}

/// A call about two.
pub(crate) struct Pair<'a> {
    pub(crate) view: View<'a>,
    pub(crate) old: Place<'a>,
    pub(crate) new: Place<'a>,
    pub(crate) args: [usize; 6],
}

/// The table: `number kind(arguments) function`. `at` is a directory
/// descriptor and a name, `opened` the same of what may be a pipe, `name` a name
/// alone, `two` two of the first, `fd` a descriptor, `open` one that is open for
/// more than its name.
macro_rules! table {
    ($($nr:ident $kind:ident ($($n:literal),+) $serve:ident;)*) => {
        #[cold]
        unsafe fn serve(view: View<'_>, nr: c_long, args: [usize; 6]) -> Option<Result<usize>> {
            // SAFETY: the caller's promise: the arguments are the call's.
            unsafe {
                match nr {
                    $(libc::$nr => $kind(view, nr, args, [$($n),+], |call| names::$serve(call)),)*
                    _ => None,
                }
            }
        }
    };
}

table! {
    SYS_openat opened(0, 1) openat;
    SYS_openat2 opened(0, 1) openat2;
    SYS_newfstatat at(0, 1) fstatat;
    SYS_statx at(0, 1) statx;
    SYS_faccessat at(0, 1) faccessat;
    SYS_faccessat2 at(0, 1) faccessat2;
    SYS_fchmodat at(0, 1) fchmodat;
    SYS_fchownat at(0, 1) fchownat;
    SYS_utimensat at(0, 1) utimensat;
    SYS_readlinkat at(0, 1) readlinkat;
    SYS_mkdirat at(0, 1) mkdirat;
    SYS_mknodat at(0, 1) mknodat;
    SYS_unlinkat at(0, 1) unlinkat;
    SYS_symlinkat at(1, 2) symlinkat;
    SYS_renameat two(0, 1, 2, 3) renameat;
    SYS_renameat2 two(0, 1, 2, 3) renameat2;
    SYS_linkat two(0, 1, 2, 3) linkat;
    SYS_truncate name(0) truncate;
    SYS_statfs name(0) statfs;
    SYS_chdir name(0) chdir;
    SYS_getxattr name(0) getxattr;
    SYS_lgetxattr name(0) getxattr;
    SYS_listxattr name(0) listxattr;
    SYS_llistxattr name(0) listxattr;
    SYS_setxattr name(0) setxattr;
    SYS_lsetxattr name(0) setxattr;
    SYS_removexattr name(0) removexattr;
    SYS_lremovexattr name(0) removexattr;
    SYS_inotify_add_watch name(1) inotify_add_watch;
    SYS_name_to_handle_at at(0, 1) name_to_handle_at;
    SYS_swapon name(0) swapon;
    SYS_swapoff name(0) swapon;
    SYS_acct name(0) acct;
    SYS_getdents64 fd(0) getdents64;
    SYS_fstat fd(0) fstat;
    SYS_fchmod open(0) fchmod;
    SYS_fchown open(0) fchown;
    SYS_fstatfs fd(0) statfs;
    SYS_fchdir fd(0) chdir;
    SYS_fgetxattr open(0) getxattr;
    SYS_flistxattr open(0) listxattr;
    SYS_fsetxattr open(0) setxattr;
    SYS_fremovexattr open(0) removexattr;
}

/// The system call, by whichever kernel has the file.
///
/// # Safety
/// As the call itself.
#[cold]
pub(crate) unsafe fn enter(nr: c_long, args: [usize; 6]) -> Result<usize> {
    let Some(view) = PROCESS.view() else {
        // SAFETY: the caller's promise.
        return unsafe { raw::syscall(nr, args) };
    };
    crate::jumps::ensure();
    // SAFETY: the caller's promise.
    match unsafe { files::serve(view, nr, args).or_else(|| serve(view, nr, args)) } {
        Some(done) => done,
        None => {
            // SAFETY: as above.
            let done = unsafe { raw::syscall(nr, args) };
            if done.is_ok() && matches!(nr, libc::SYS_chdir | libc::SYS_fchdir) {
                PROCESS.left_remote();
            }
            done
        }
    }
}

/// As [`door!`], with the arguments in an array.
///
/// # Safety
/// As the call itself.
#[inline(always)]
pub(crate) unsafe fn pass(nr: c_long, args: [usize; 6]) -> Result<usize> {
    // SAFETY: the caller's promise.
    unsafe {
        if PROCESS.met() {
            enter(nr, args)
        } else {
            raw::syscall(nr, args)
        }
    }
}

/// A call on a descriptor, when that stands for a remote file.
///
/// # Safety
/// As the call itself.
#[cold]
pub(crate) unsafe fn ours(nr: c_long, args: [usize; 6]) -> Option<Result<usize>> {
    // SAFETY: the caller's promise.
    unsafe { files::serve(PROCESS.view()?, nr, args) }
}

unsafe fn at(
    view: View<'_>,
    nr: c_long,
    args: [usize; 6],
    [dirfd, name]: [usize; 2],
    serve: impl Fn(Call<'_>) -> Result<usize>,
) -> Option<Result<usize>> {
    let (dirfd, name) = (args[dirfd] as c_int, args[name] as *const c_char);
    if is_no_name(name) && !(name.is_null() && may_lack_name(nr, dirfd, &args)) {
        return None;
    }
    // SAFETY: null, or a string that is the program's or ours.
    unsafe {
        with_place(view, dirfd, name, follows(nr, &args), |place| {
            served(nr, args, &place, || serve(Call { view, place, args }))
        })
    }
}

unsafe fn name(
    view: View<'_>,
    nr: c_long,
    args: [usize; 6],
    [name]: [usize; 1],
    serve: impl Fn(Call<'_>) -> Result<usize>,
) -> Option<Result<usize>> {
    let name = args[name] as *const c_char;
    if is_no_name(name) {
        return None;
    }
    // SAFETY: as above.
    unsafe {
        with_place(view, libc::AT_FDCWD, name, follows(nr, &args), |place| {
            served(nr, args, &place, || serve(Call { view, place, args }))
        })
    }
}

unsafe fn fd(
    view: View<'_>,
    nr: c_long,
    args: [usize; 6],
    [fd]: [usize; 1],
    serve: impl Fn(Call<'_>) -> Result<usize>,
) -> Option<Result<usize>> {
    let file = view.process.file(args[fd] as c_int)?;
    let place = Place::below(&file, b"");
    // SAFETY: the caller's promise.
    Some(unsafe { served(nr, args, &place, || serve(Call { view, place, args })) })
}

/// Serves a call. What is open here without its server, and has lost the name by
/// which that would open it too, the kernel knows by the same arguments.
unsafe fn served(
    nr: c_long,
    args: [usize; 6],
    place: &Place<'_>,
    serve: impl Fn() -> Result<usize>,
) -> Result<usize> {
    match calmly(serve) {
        Err(Errno::ESTALE) if place.opened().is_some_and(File::is_near) => {
            // SAFETY: the caller's promise.
            unsafe { raw::syscall(nr, args) }
        }
        done => done,
    }
}

/// What cannot be opened on a server may be a pipe: that is the host's, which may wait for the other
/// end, and be interrupted. A signal that has come while the server was asked ends the wait before it
/// begins: it would be over by then.
unsafe fn opened(
    view: View<'_>,
    nr: c_long,
    args: [usize; 6],
    [dirfd, name]: [usize; 2],
    serve: impl Fn(Call<'_>) -> Result<usize>,
) -> Option<Result<usize>> {
    let pipe = Cell::new(None);
    let flags = || match nr {
        // SAFETY: the call has been served: the structure is there.
        libc::SYS_openat2 => unsafe { (*(args[2] as *const OpenHow)).flags as c_int },
        _ => args[2] as c_int,
    };
    // SAFETY: the caller's promise.
    let done = unsafe {
        at(view, nr, args, [dirfd, name], |call| {
            let place = call.place;
            pipe.set(None);
            let done = serve(call);
            if done == Err(Errno::ENXIO) {
                pipe.set(Some(view.remote_pipe(&place, flags())?));
                if waits(flags()) {
                    signals::check()?;
                }
            }
            done
        })
    };
    match (done, pipe.take()) {
        // SAFETY: as above.
        (Some(Err(Errno::ENXIO)), Some(pipe)) => Some(unsafe { open_pipe(pipe, flags()) }),
        (done, _) => done,
    }
}

#[cold]
unsafe fn open_pipe(mut pipe: Name, flags: c_int) -> Result<usize> {
    let pipe = pipe.as_cstr()?;
    let flags = flags & !(libc::O_CREAT | libc::O_TRUNC);
    // SAFETY: a C string of ours.
    unsafe { sys!(libc::SYS_openat, libc::AT_FDCWD, pipe.as_ptr(), flags, 0) }
}

/// Whether an open of a pipe waits for the other end.
fn waits(flags: c_int) -> bool {
    flags & libc::O_NONBLOCK == 0 && flags & libc::O_ACCMODE != libc::O_RDWR
}

unsafe fn open(
    view: View<'_>,
    nr: c_long,
    args: [usize; 6],
    fds: [usize; 1],
    serve: impl Fn(Call<'_>) -> Result<usize>,
) -> Option<Result<usize>> {
    // SAFETY: the caller's promise.
    unsafe {
        fd(view, nr, args, fds, |call| match call.place.dir {
            Some(file) if file.kind() == Kind::Path => Err(Errno::EBADF),
            _ => serve(call),
        })
    }
}

/// Both are remote, or it is EXDEV: a remote name and one of the host's have
/// nothing in common.
unsafe fn two(
    view: View<'_>,
    nr: c_long,
    args: [usize; 6],
    [old_dir, old, new_dir, new]: [usize; 4],
    serve: impl Fn(Pair<'_>) -> Result<usize>,
) -> Option<Result<usize>> {
    let (old_dir, old) = (args[old_dir] as c_int, args[old] as *const c_char);
    let (new_dir, new) = (args[new_dir] as c_int, args[new] as *const c_char);
    if is_no_name(old) || is_no_name(new) {
        // Both are read before either is looked up.
        return Some(Err(Errno::EFAULT));
    }
    // SAFETY: as above.
    unsafe {
        let follow = follows(nr, &args);
        let pair = with_place(view, old_dir, old, follow, |old| {
            with_place(view, new_dir, new, false, |new| {
                calmly(|| serve(Pair { view, old, new, args }))
            })
        });
        match pair {
            Some(done) => Some(done.unwrap_or(Err(Errno::EXDEV))),
            None => with_place(view, new_dir, new, false, |_| Err(Errno::EXDEV)),
        }
    }
}

/// What a remote file's name leads to on the host.
pub(crate) fn remote_name(
    view: View<'_>,
    dirfd: c_int,
    name: *const c_char,
    ask: impl Fn(&Place<'_>) -> Result<Name>,
) -> Result<Name> {
    // SAFETY: the caller's C string.
    unsafe { with_place(view, dirfd, name, false, |place| calmly(|| ask(&place))) }
        .unwrap_or(Err(Errno::ENOENT))
}

/// Whether a name is a remote file's.
///
/// # Safety
/// As [`with_place`].
pub(crate) unsafe fn is_remote(view: View<'_>, dirfd: c_int, name: *const c_char) -> bool {
    // SAFETY: the caller's promise.
    unsafe { with_place(view, dirfd, name, false, |_| ()) }.is_some()
}

/// The descriptor that a name of `/proc` leads to, when it is one of ours.
pub(crate) fn magic(name: &[u8]) -> Option<c_int> {
    let rest = name.strip_prefix(b"/proc/")?;
    let mut digits = [0; 10];
    let pid =
        privns_host::kernel::decimal(privns_host::Kernel.getpid().unsigned_abs(), &mut digits);
    let rest = rest.strip_prefix(pid)?;
    let rest = match rest.strip_prefix(b"/task/") {
        // A thread's: all have the same.
        Some(thread) => thread.get(thread.iter().position(|&b| b == b'/')?..)?,
        None => rest,
    };
    let number = rest.strip_prefix(b"/fd/")?;
    core::str::from_utf8(number).ok()?.parse().ok()
}

/// Whether no name at all means the descriptor: elsewhere the kernel says what
/// is wrong with that.
fn may_lack_name(nr: c_long, dirfd: c_int, args: &[usize; 6]) -> bool {
    let empty = |n: usize| args[n] as c_int & libc::AT_EMPTY_PATH != 0;
    match nr {
        libc::SYS_utimensat => dirfd != libc::AT_FDCWD && args[3] as c_int == 0,
        // Since Linux 6.11.
        libc::SYS_newfstatat => empty(3),
        libc::SYS_statx => empty(2),
        _ => false,
    }
}

/// Whether a call uses what a link leads to.
fn follows(nr: c_long, args: &[usize; 6]) -> bool {
    let has = |n: usize, flag: c_int| args[n] as c_int & flag != 0;
    match nr {
        libc::SYS_readlinkat | libc::SYS_unlinkat | libc::SYS_renameat | libc::SYS_renameat2 => {
            false
        }
        libc::SYS_newfstatat | libc::SYS_utimensat | libc::SYS_faccessat2 => {
            !has(3, libc::AT_SYMLINK_NOFOLLOW)
        }
        libc::SYS_statx => !has(2, libc::AT_SYMLINK_NOFOLLOW),
        libc::SYS_fchownat => !has(4, libc::AT_SYMLINK_NOFOLLOW),
        libc::SYS_linkat | libc::SYS_name_to_handle_at => has(4, libc::AT_SYMLINK_FOLLOW),
        libc::SYS_openat => !has(2, libc::O_NOFOLLOW),
        _ => !matches!(nr, libc::SYS_lgetxattr | libc::SYS_llistxattr | libc::SYS_lsetxattr),
    }
}

/// Runs `act` with the place that a name stands for, if that is remote. No name
/// at all stands for the descriptor, and one of `/proc`'s links to an open file
/// for that, when links are followed.
pub(crate) unsafe fn with_place<R>(
    view: View<'_>,
    dirfd: c_int,
    name: *const c_char,
    follow: bool,
    act: impl FnOnce(Place<'_>) -> R,
) -> Option<R> {
    // SAFETY: not null, and whoever gives it says that it is a string.
    let name = if name.is_null() { b"" } else { unsafe { CStr::from_ptr(name) }.to_bytes() };
    if name.first() == Some(&b'/') {
        if let Some(fd) = magic(name).filter(|_| follow) {
            let file = view.process.file(fd)?;
            return Some(act(Place::below(&file, b"")));
        }
        return Place::of(name).map(act);
    }
    if dirfd == libc::AT_FDCWD {
        let dir = view.process.remote_cwd()?;
        // No name at all is the directory: it is no open file.
        return Some(Place::from_dir(&dir, if name.is_empty() { b"." } else { name }, act));
    }
    let dir = view.process.file(dirfd)?;
    Some(Place::from_dir(&dir, name, act))
}
