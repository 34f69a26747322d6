//! What every row needs: results as C has them, names located, and the call
//! made once the name is right.

use crate::door::door;
use crate::nowhere::is_no_name;
use crate::{count, trace};
use core::ffi::{c_char, c_int, CStr};
use libc::ssize_t;
use privns_abi::{Errno, Result};
use privns_files::process::View;
use privns_files::Target;
use privns_host::{Kernel, Spelled};

use privns_namespace::family::Counter;
use privns_namespace::resolve::Last;

/// Puts the error where the program looks for it.
pub(crate) fn set_errno(error: Errno) {
    // SAFETY: the calling thread's errno.
    unsafe { *libc::__errno_location() = error.0 };
}

/// The error of the libc function, or of the row, that has just failed.
pub(crate) fn errno() -> Errno {
    // SAFETY: the calling thread's errno.
    Errno(unsafe { *libc::__errno_location() })
}

/// A result as a C function gives it: -1 and errno, or a number.
pub(crate) trait Ret {
    /// The number, or -1 with errno set.
    fn ret(self) -> c_int;
    /// The same for sizes.
    fn size(self) -> ssize_t;
}

impl Ret for Result<usize> {
    #[inline]
    fn ret(self) -> c_int {
        self.size() as c_int
    }

    #[inline]
    fn size(self) -> ssize_t {
        match self {
            Ok(n) => n as ssize_t,
            Err(error) => {
                set_errno(error);
                -1
            }
        }
    }
}

/// What a call does to the file that it names, for read-only members.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    /// Looks.
    Read,
    /// Changes what is there: ENOENT before EROFS.
    Change,
    /// Makes it: EEXIST before EROFS.
    Make,
    /// Opens it for writing, or makes it.
    Open,
    /// Changes its length: EISDIR before EROFS.
    Truncate,
    /// Removes it as a file (unlink).
    Unlink,
    /// Removes it as a directory.
    Rmdir,
}

/// A call that names one file.
#[derive(Clone, Copy)]
pub(crate) struct Named {
    pub(crate) dirfd: c_int,
    pub(crate) path: *const c_char,
    pub(crate) last: Last,
    pub(crate) does: Does,
}

impl Named {
    /// Uses what the name leads to.
    pub(crate) fn follow(dirfd: c_int, path: *const c_char, does: Does) -> Named {
        Named { dirfd, path, last: Last::FOLLOW, does }
    }

    /// Uses the last component itself.
    pub(crate) fn no_follow(dirfd: c_int, path: *const c_char, does: Does) -> Named {
        let last = match does {
            Does::Make => Last::MAKE,
            Does::Unlink | Does::Rmdir => Last::REMOVE,
            _ => Last::NO_FOLLOW,
        };
        Named { dirfd, path, last, does }
    }

    /// Follows unless an `AT_SYMLINK_NOFOLLOW` among `flags` says otherwise.
    pub(crate) fn flags(dirfd: c_int, path: *const c_char, flags: c_int, does: Does) -> Named {
        if flags & libc::AT_SYMLINK_NOFOLLOW != 0 {
            Named::no_follow(dirfd, path, does)
        } else {
            Named::follow(dirfd, path, does)
        }
    }

    /// Locates the name and makes the call with what is to be given in its
    /// place.
    ///
    /// # Safety
    /// `path` is what the program gave: null or a C string, or what only the
    /// kernel can say EFAULT to.
    #[inline]
    pub(crate) unsafe fn call(
        self,
        make: impl Fn(c_int, *const c_char) -> Result<usize>,
    ) -> Result<usize> {
        let Some(view) = crate::PROCESS.view() else { return make(self.dirfd, self.path) };
        if is_no_name(self.path) {
            return make(self.dirfd, self.path);
        }
        let mut to = Target::new();
        // SAFETY: not null, and the program says that it is a string.
        unsafe { self.locate(view, &mut to) }?;
        let (dirfd, path) = self.args(&mut to);
        match make(dirfd, path) {
            Err(Errno::ELOOP) if self.walks(view, &mut to)? => {
                let (dirfd, path) = self.args(&mut to);
                make(dirfd, path)
            }
            done => done,
        }
    }

    /// A remote name is taken to be free of links, and ELOOP when it is not:
    /// then it is walked, and the call is to be made again. False: that is not
    /// the reason.
    #[cold]
    pub(crate) fn walks(self, view: View<'_>, to: &mut Target) -> Result<bool> {
        if !view.process.met() {
            return Ok(false);
        }
        // SAFETY: located already as a C string.
        let name = unsafe { CStr::from_ptr(self.path) };
        self.tell(view.locate_exact(self.dirfd, name, self.last, to))?;
        if self.does != Does::Read {
            self.permit(to)?;
        }
        Ok(true)
    }

    /// Locates the name; a link at its end is followed when the call follows,
    /// and what the member does not allow is an error.
    ///
    /// # Safety
    /// `path` is a C string.
    #[inline]
    pub(crate) unsafe fn locate(self, view: View<'_>, to: &mut Target) -> Result<()> {
        // SAFETY: passed on.
        unsafe { self.find(view, to) }?;
        if self.does == Does::Read {
            Ok(())
        } else {
            self.permit(to)
        }
    }

    /// Locates the name; a link at its end is followed when the call follows.
    ///
    /// # Safety
    /// `path` is a C string.
    #[inline]
    pub(crate) unsafe fn find(self, view: View<'_>, to: &mut Target) -> Result<()> {
        // SAFETY: the caller's promise.
        let spelled = unsafe { Spelled::read(self.path) };
        let name = spelled.name();
        if name.is_empty() {
            return Err(Errno::ENOENT);
        }
        if self.last.follow && view.recall_file(name, self.last, to) {
            return Ok(());
        }
        let raises = view.family.raises();
        self.tell(view.locate(self.dirfd, spelled, self.last, to))?;
        if self.last.follow && !to.exact {
            self.see_link(view, name, to, raises)?;
        }
        Ok(())
    }

    /// Asks whether what has been located is a link, and follows it. What is
    /// none is remembered, if nothing was renamed since `raises` was the
    /// family's count.
    #[inline]
    pub(crate) fn see_link(
        self,
        view: View<'_>,
        name: &CStr,
        to: &mut Target,
        raises: u64,
    ) -> Result<()> {
        match self.mode(to) {
            Ok(mode) if is_link(mode) => {
                self.tell(view.locate_link(self.dirfd, name, self.last, to))
            }
            Ok(_) => {
                view.is_no_link(name, to, raises);
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    /// Refuses what the kernel would on a mount point or a read-only mount, in
    /// the order in which it would.
    fn permit(self, to: &mut Target) -> Result<()> {
        if to.magic && self.is_nothing(to) {
            return Err(Errno::EPERM);
        }
        if to.at_mount || !to.plain {
            self.permit_mount_point(to)?;
        }
        // A name that ends in dots is refused for that.
        if !to.read_only || self.does != Does::Change && ends_in_dots(self.path) {
            return Ok(());
        }
        match (self.does, self.mode(to)) {
            (Does::Make, Ok(_)) => Err(Errno::EEXIST),
            (Does::Truncate, Ok(mode)) if is_dir(mode) => Err(Errno::EISDIR),
            (Does::Change | Does::Truncate, Err(error)) => Err(error),
            (_, Ok(_) | Err(Errno::ENOENT)) => Err(Errno::EROFS),
            (_, Err(error)) => Err(error),
        }
    }

    /// Whether a link of `/proc` leads to what only stands for another process's remote file: what
    /// is changed there changes nothing, and its attributes are not the file's.
    #[cold]
    pub(crate) fn is_nothing(self, to: &mut Target) -> bool {
        let (dirfd, path) = self.place(to);
        // SAFETY: `place` gives a C string.
        let path = unsafe { CStr::from_ptr(path) };
        crate::door::magic(path.to_bytes()).is_none() && Kernel.links_to_placeholder(dirfd, path)
    }

    fn permit_mount_point(self, to: &mut Target) -> Result<()> {
        match self.does {
            Does::Make if to.at_mount => Err(Errno::EEXIST),
            Does::Unlink if self.mode(to).is_ok_and(is_dir) => Err(Errno::EISDIR),
            Does::Rmdir if !self.mode(to).is_ok_and(is_dir) => Err(Errno::ENOTDIR),
            Does::Unlink | Does::Rmdir if to.at_mount || self.is_root() => Err(Errno::EBUSY),
            // What is mounted below it is in it.
            Does::Rmdir => Err(Errno::ENOTEMPTY),
            _ => Ok(()),
        }
    }

    fn is_root(self) -> bool {
        // SAFETY: located already as a C string.
        unsafe { CStr::from_ptr(self.path) }.to_bytes().iter().all(|&b| b == b'/')
    }

    /// The type and permission bits of the last component itself.
    pub(crate) fn mode(self, to: &mut Target) -> Result<u32> {
        let (dirfd, path) = self.place(to);
        // SAFETY: `place` gives a C string.
        unsafe { lstat_mode(dirfd, path) }
    }

    /// The directory descriptor and name for the kernel, which is about to be
    /// given them: counted, and traced.
    #[inline]
    pub(crate) fn args(&self, to: &mut Target) -> (c_int, *const c_char) {
        let given = to.as_given || to.seq == 0;
        count::one(if given { Counter::Forwarded } else { Counter::Translated });
        let args = self.place(to);
        if trace::is_on() {
            // SAFETY: the program says that its name is a string, and ours is.
            unsafe { trace::note(self.path, args.1) };
        }
        args
    }

    /// Traces a name that leads nowhere.
    #[inline]
    pub(crate) fn tell<T>(&self, done: Result<T>) -> Result<T> {
        if done.is_err() && trace::is_on() {
            // SAFETY: as above.
            unsafe { trace::note(self.path, core::ptr::null()) };
        }
        done
    }

    /// The directory descriptor and name for the kernel.
    #[inline]
    pub(crate) fn place(&self, to: &mut Target) -> (c_int, *const c_char) {
        if to.as_given {
            (self.dirfd, self.path)
        } else {
            (libc::AT_FDCWD, to.name.as_ptr())
        }
    }
}

/// Whether the last component is `.` or `..`: such a name can be used, and
/// neither made nor removed.
pub(crate) fn ends_in_dots(path: *const c_char) -> bool {
    // SAFETY: located already as a C string.
    let name = unsafe { CStr::from_ptr(path) }.to_bytes();
    let last = name.rsplit(|&b| b == b'/').find(|part| !part.is_empty());
    matches!(last, Some(b"." | b".."))
}

/// Whether these mode bits are a symbolic link's.
pub(crate) fn is_link(mode: u32) -> bool {
    mode & libc::S_IFMT == libc::S_IFLNK
}

/// Whether these mode bits are a directory's.
pub(crate) fn is_dir(mode: u32) -> bool {
    mode & libc::S_IFMT == libc::S_IFDIR
}

/// The type and permission bits of the last component itself.
///
/// # Safety
/// `path` is a C string.
pub(crate) unsafe fn lstat_mode(dirfd: c_int, path: *const c_char) -> Result<u32> {
    let mut st = core::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel writes a struct stat where one has room.
    unsafe {
        door!(libc::SYS_newfstatat, dirfd, path, st.as_mut_ptr(), libc::AT_SYMLINK_NOFOLLOW)?;
        Ok(st.assume_init().st_mode)
    }
}

/// Runs a call that may wait and at which a thread may be cancelled
/// (pthreads(7)): libc's own bodies, which we have replaced, allow it there.
#[inline]
pub(crate) fn cancellable(waits: bool, make: impl FnOnce() -> Result<usize>) -> Result<usize> {
    if !waits || crate::start::single_threaded() {
        return make();
    }
    const ASYNCHRONOUS: c_int = 1;
    let mut old = 0;
    // SAFETY: the thread's own cancel type, put back below. Nothing between
    // the two allocates, or holds anything that an unwind would lose.
    unsafe { crate::lazy::pthread_setcanceltype(ASYNCHRONOUS, &mut old) };
    let done = make();
    // SAFETY: as above.
    unsafe { crate::lazy::pthread_setcanceltype(old, &mut old) };
    done
}

/// Adds the flag that says that a file system is read-only.
///
/// # Safety
/// The kernel has filled the structure.
pub(crate) unsafe fn mark_read_only(buf: *mut libc::statfs) {
    // The libc crate counts f_flags among the spare words: it is the eleventh.
    // SAFETY: inside the structure.
    unsafe { *buf.cast::<libc::c_long>().add(10) |= libc::ST_RDONLY as libc::c_long };
}
