//! What an administrator's programs do to names: mount(2), umount(2), chroot(2),
//! swapon(2), acct(2), name_to_handle_at(2). Names are translated and the kernel
//! decides; two of these are done in the namespace, where the kernel would let the
//! caller do them: unmounting one of our mount points, and chroot.

use crate::call::{Does, Named, Ret};
use crate::door::door;
use crate::nowhere::is_no_name;
use crate::PROCESS;
use core::ffi::{c_char, c_int, c_uint, c_ulong, c_void, CStr};
use libc::size_t;
use privns_abi::{Errno, Result};
use privns_files::process::View;
use privns_files::Target;
use privns_host::{sys, Host, Kernel, Name};
use privns_namespace::resolve::{Last, Located};

const CWD: c_int = libc::AT_FDCWD;

/// The name that the kernel is to be given, in `to`; the program's own where
/// there is no namespace.
///
/// # Safety
/// `named.path` is null or a C string.
unsafe fn host(named: Named, to: &mut Target) -> Result<*const c_char> {
    let Some(view) = PROCESS.view().filter(|_| !is_no_name(named.path)) else {
        return Ok(named.path);
    };
    // SAFETY: not null, and so a C string.
    unsafe { named.locate(view, to) }?;
    Ok(named.args(to).1)
}

pub(crate) unsafe fn mount(
    source: *const c_char,
    target: *const c_char,
    kind: *const c_char,
    flags: c_ulong,
    data: *const c_void,
) -> c_int {
    let (mut from, mut to) = (Target::new(), Target::new());
    // SAFETY: the program's own arguments, but for the names. What is to be
    // mounted is a name only for some: what is none is passed on.
    let done = unsafe {
        host(Named::follow(CWD, target, Does::Read), &mut to).and_then(|target| {
            let named = Named::follow(CWD, source, Does::Read);
            let binds = flags & (libc::MS_BIND | libc::MS_MOVE) != 0;
            let is_name = !source.is_null() && (binds || *source == b'/' as c_char);
            let source = if is_name { host(named, &mut from) } else { Ok(source) };
            let source = if binds { source? } else { source.unwrap_or(named.path) };
            sys!(libc::SYS_mount, source, target, kind, flags, data)
        })
    };
    done.ret()
}

pub(crate) unsafe fn umount(path: *const c_char) -> c_int {
    // SAFETY: passed on.
    unsafe { umount2(path, 0) }
}

pub(crate) unsafe fn umount2(path: *const c_char, flags: c_int) -> c_int {
    let last = if flags & libc::UMOUNT_NOFOLLOW != 0 { Last::NO_FOLLOW } else { Last::FOLLOW };
    let done = match PROCESS.view() {
        Some(view) if !is_no_name(path) => {
            // SAFETY: not null, and the program says that it is a string.
            let name = unsafe { CStr::from_ptr(path) };
            view.walk(CWD, name.to_bytes(), last).and_then(|mut found| {
                if found.at_mount {
                    return unmount(view, &found, flags);
                }
                let host = found.host.as_cstr()?;
                // SAFETY: a C string of ours.
                unsafe { sys!(libc::SYS_umount2, host.as_ptr(), flags) }
            })
        }
        // SAFETY: the program's own arguments.
        _ => unsafe { sys!(libc::SYS_umount2, path, flags) },
    };
    done.ret()
}

/// Unmounts one of our mount points in the family's table, for all members.
/// Whoever may not unmount may not unmount here: EPERM, as in a namespace of
/// the kernel's. What is only there to be mounted upon is no mount: EINVAL.
fn unmount(view: View<'_>, found: &Located, flags: c_int) -> Result<usize> {
    // The root cannot expire (umount(2)), so this asks for nothing but the
    // right to unmount: EPERM, or EINVAL.
    // SAFETY: a C string.
    match unsafe { sys!(libc::SYS_umount2, c"/".as_ptr(), libc::MNT_EXPIRE) } {
        Err(Errno::EPERM) => return Err(Errno::EPERM),
        _ if flags & libc::MNT_EXPIRE != 0 => return Err(Errno::EINVAL),
        _ => {}
    }
    let place = found.ns.as_bytes();
    let mounted = view.table()?.index().find(place).mount.is_some_and(|m| !m.first().is_skeleton());
    if !mounted {
        return Err(Errno::EINVAL);
    }
    let done = view.family.update(|table| table.unmount(place, None));
    done.map(|()| 0).map_err(|e| if e == Errno::EROFS { Errno::EPERM } else { e })
}

pub(crate) unsafe fn chroot(path: *const c_char) -> c_int {
    let view = match PROCESS.view() {
        Some(view) if !is_no_name(path) => view,
        // SAFETY: the program's own argument.
        _ => return unsafe { sys!(libc::SYS_chroot, path) }.ret(),
    };
    // SAFETY: not null, and the program says that it is a string.
    let name = unsafe { CStr::from_ptr(path) };
    move_root(view, name).map(|()| 0).ret()
}

/// chroot(2) in the namespace: the directory becomes the process's root, and
/// that of what it forks and runs. The host's root stays, from which the
/// kernel takes the loader and the libraries of programs.
fn move_root(view: View<'_>, name: &CStr) -> Result<()> {
    if name.is_empty() {
        return Err(Errno::ENOENT);
    }
    // The dot says that it must be a directory, and leads through `/proc`'s own
    // links to what they stand for.
    let mut dir = Name::from(name.to_bytes())?;
    dir.push(b"/.")?;
    let mut found = view.walk(CWD, dir.as_bytes(), Last::FOLLOW)?;
    let host = found.host.as_cstr()?;
    if !view.host().lstat(host)?.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    // SAFETY: C strings of ours.
    unsafe {
        let search = door!(libc::SYS_faccessat2, CWD, host.as_ptr(), libc::X_OK, libc::AT_EACCESS);
        match search {
            Err(Errno::ENOSYS | Errno::EPERM) => {
                door!(libc::SYS_faccessat, CWD, host.as_ptr(), libc::X_OK)?
            }
            done => done?,
        };
        // The root that it has already: all that this does is ask for the
        // right (CAP_SYS_CHROOT).
        sys!(libc::SYS_chroot, c"/".as_ptr())?;
    }
    view.process.set_root(found.ns.as_bytes())
}

/// No name that can be read: the kernel says EFAULT, after all that it has to say
/// before.
const NOWHERE: usize = usize::MAX >> 1;

/// Calls of one name, of which only the kernel knows more.
macro_rules! named {
    ($($name:ident $nr:ident ($($arg:ident : $ty:ty),*);)*) => {$(
        pub(crate) unsafe fn $name(path: *const c_char $(, $arg: $ty)*) -> c_int {
            let named = Named::follow(CWD, path, Does::Read);
            // SAFETY: no memory is there.
            let may = unsafe { sys!(libc::$nr, NOWHERE $(, $arg)*) };
            if !matches!(may, Err(Errno::EFAULT)) {
                return may.ret();
            }
            // SAFETY: the program's own arguments, but for the name.
            unsafe { named.call(|_, path| door!(libc::$nr, path $(, $arg)*)) }.ret()
        }
    )*};
}

named! {
    swapon SYS_swapon (flags: c_int);
    swapoff SYS_swapoff ();
    acct SYS_acct ();
}

pub(crate) unsafe fn name_to_handle_at(
    dirfd: c_int,
    path: *const c_char,
    handle: *mut c_void,
    mount: *mut c_void,
    flags: c_int,
) -> c_int {
    // SAFETY: the program's own arguments, but for the name.
    let call = |dirfd: c_int, path: *const c_char| unsafe {
        door!(libc::SYS_name_to_handle_at, dirfd, path, handle, mount, flags)
    };
    if is_descriptor(path, flags as c_uint, libc::AT_EMPTY_PATH as c_uint) {
        return call(dirfd, path).ret();
    }
    let named = match flags & libc::AT_SYMLINK_FOLLOW {
        0 => Named::no_follow(dirfd, path, Does::Read),
        _ => Named::follow(dirfd, path, Does::Read),
    };
    // SAFETY: as above.
    unsafe { named.call(call) }.ret()
}

pub(crate) unsafe fn open_by_handle_at(dirfd: c_int, handle: *const c_void, flags: c_int) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe { open_handle(dirfd, handle, flags) }.ret()
}

/// open_by_handle_at(2). A handle says nothing of names: what it leads to must have
/// one in the namespace, and where the descriptor is of a read-only member it is
/// opened as there.
unsafe fn open_handle(dirfd: c_int, handle: *const c_void, flags: c_int) -> Result<usize> {
    // SAFETY: the program's own arguments.
    let open = |flags: c_int| unsafe { sys!(libc::SYS_open_by_handle_at, dirfd, handle, flags) };
    let Some(view) = PROCESS.view() else { return open(flags) };
    let read_only = view.shown(dirfd).read_only;
    let looked = open(libc::O_PATH | libc::O_CLOEXEC)? as c_int;
    let named = view.fd_name(looked, 0);
    let _ = Kernel.close(looked);
    match named {
        Err(_) => Err(Errno::ESTALE),
        Ok(_) if read_only && crate::open::writes(flags) => Err(Errno::EROFS),
        Ok(_) => open(flags),
    }
}

pub(crate) unsafe fn pivot_root(new: *const c_char, old: *const c_char) -> c_int {
    let (mut to, mut from) = (Target::new(), Target::new());
    // SAFETY: the program's own arguments, but for the names.
    let done = unsafe {
        host(Named::follow(CWD, new, Does::Read), &mut to).and_then(|new| {
            let old = host(Named::follow(CWD, old, Does::Read), &mut from)?;
            sys!(libc::SYS_pivot_root, new, old)
        })
    };
    done.ret()
}

/// Whether a name stands for the descriptor before it.
fn is_descriptor(path: *const c_char, flags: c_uint, empty: c_uint) -> bool {
    path.is_null() || flags & empty != 0 && crate::names::is_empty(path)
}

pub(crate) unsafe fn open_tree(dirfd: c_int, path: *const c_char, flags: c_uint) -> c_int {
    let named = Named::flags(dirfd, path, flags as c_int, Does::Read);
    // SAFETY: the program's own arguments, but for the name.
    let call = |dirfd: c_int, path: *const c_char| unsafe {
        sys!(libc::SYS_open_tree, dirfd, path, flags)
    };
    if is_descriptor(path, flags, libc::AT_EMPTY_PATH as c_uint) {
        return call(dirfd, path).ret();
    }
    // SAFETY: as above.
    unsafe { named.call(call) }.ret()
}

pub(crate) unsafe fn mount_setattr(
    dirfd: c_int,
    path: *const c_char,
    flags: c_uint,
    attributes: *mut c_void,
    size: size_t,
) -> c_int {
    let named = Named::flags(dirfd, path, flags as c_int, Does::Read);
    // SAFETY: the program's own arguments, but for the name.
    let call = |dirfd: c_int, path: *const c_char| unsafe {
        sys!(libc::SYS_mount_setattr, dirfd, path, flags, attributes, size)
    };
    if is_descriptor(path, flags, libc::AT_EMPTY_PATH as c_uint) {
        return call(dirfd, path).ret();
    }
    // SAFETY: as above.
    unsafe { named.call(call) }.ret()
}

pub(crate) unsafe fn move_mount(
    from_dir: c_int,
    from: *const c_char,
    to_dir: c_int,
    to: *const c_char,
    flags: c_uint,
) -> c_int {
    const FROM_EMPTY: c_uint = 0x04;
    const FROM_FOLLOWS: c_uint = 0x01;
    const TO_FOLLOWS: c_uint = 0x10;
    const TO_EMPTY: c_uint = 0x40;
    let named = |dirfd, path, follows: c_uint| {
        if flags & follows != 0 {
            Named::follow(dirfd, path, Does::Read)
        } else {
            Named::no_follow(dirfd, path, Does::Read)
        }
    };
    // SAFETY: the program's own arguments, but for the names.
    let to_call = |from_dir: c_int, from: *const c_char| unsafe {
        let call = |to_dir: c_int, to: *const c_char| {
            sys!(libc::SYS_move_mount, from_dir, from, to_dir, to, flags)
        };
        if is_descriptor(to, flags, TO_EMPTY) {
            call(to_dir, to)
        } else {
            named(to_dir, to, TO_FOLLOWS).call(call)
        }
    };
    if is_descriptor(from, flags, FROM_EMPTY) {
        return to_call(from_dir, from).ret();
    }
    // SAFETY: as above.
    unsafe { named(from_dir, from, FROM_FOLLOWS).call(to_call) }.ret()
}
