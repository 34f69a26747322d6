//! syscall(2): numbers that name files, or descriptors that we keep notes of,
//! go to the same functions as the calls of libc.
//!
//! What the kernel does differently from libc's call of the same name is said
//! at its line.

use crate::call::Ret;
use crate::door::door;
use crate::nowhere::{is_no_name, is_nowhere};
use crate::{
    admin, batches, descriptors, dirs, exec, mapping, names, open, pairs, reveal, sockets, stat,
    users, PROCESS,
};
use core::arch::naked_asm;
use core::ffi::{c_char, c_long, CStr};
use libc::{c_int, mode_t};
use privns_abi::{Errno, Result};
use privns_host::kernel::{OpenHow, RESOLVE_NO_SYMLINKS};
use privns_host::{raw, sys};

/// fchmodat2(2), which the libc crate does not have on every machine; the same
/// number on all that we know.
const FCHMODAT2: c_long = 452;

/// syscall(2). A child that shares our memory returns on a stack that its
/// parent still needs: such a call leaves from here, without a frame.
///
/// # Safety
/// As syscall(2).
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn syscall() {
    #[cfg(target_arch = "x86_64")]
    naked_asm!(
        "cmp rdi, {vfork_number}",
        "je {vfork}",
        "cmp rdi, {clone}",
        "je 2f",
        "cmp rdi, {clone3}",
        "jne {route}",
        "test rsi, rsi",
        "je {route}",
        "test dword ptr [rsi], {shares}",
        "jne 3f",
        "jmp {route}",
        "2: test esi, {shares}",
        "je {route}",
        "3: mov rax, rdi",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "mov rdx, rcx",
        "mov r10, r8",
        "mov r8, r9",
        "mov r9, [rsp + 8]",
        "syscall",
        "cmp rax, -4095",
        "jae 4f",
        "ret",
        "4: mov rdi, rax",
        "jmp {failed}",
        vfork = sym crate::variadic::vfork,
        route = sym route,
        failed = sym failed,
        shares = const libc::CLONE_VM,
        vfork_number = const libc::SYS_vfork,
        clone = const libc::SYS_clone,
        clone3 = const libc::SYS_clone3,
    );
    #[cfg(target_arch = "aarch64")]
    naked_asm!(
        "cmp x0, {clone}",
        "b.eq 2f",
        "cmp x0, {clone3}",
        "b.ne {route}",
        "cbz x1, {route}",
        "ldr w9, [x1]",
        "tbnz w9, 8, 3f",
        "b {route}",
        "2: tbnz w1, 8, 3f",
        "b {route}",
        "3: mov x8, x0",
        "mov x0, x1",
        "mov x1, x2",
        "mov x2, x3",
        "mov x3, x4",
        "mov x4, x5",
        "mov x5, x6",
        "svc 0",
        "cmn x0, 4095",
        "b.cs {failed}",
        "ret",
        route = sym route,
        failed = sym failed,
        clone = const libc::SYS_clone,
        clone3 = const libc::SYS_clone3,
    );
}

unsafe extern "C" fn failed(ret: isize) -> c_long {
    Errno::from_ret(ret).size() as c_long
}

/// `to!(module::function(a, b))`: the row's function with the arguments cast,
/// and its result, errno set.
macro_rules! to {
    ($module:ident :: $func:ident ($($arg:expr),*)) => {
        $module::$func($($arg as _),*) as c_long
    };
}

/// The calls that are the same under their number.
pub(crate) unsafe extern "C" fn route(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    let text = |at: usize| at as *const c_char;
    // SAFETY: the program's own arguments, of the types that the call has.
    unsafe {
        match number {
            libc::SYS_openat => to!(open::openat(a, text(b), c, d)),
            libc::SYS_openat2 => openat2(a as c_int, text(b), c as *const OpenHow, d).size() as _,
            libc::SYS_close => to!(descriptors::close(a)),
            libc::SYS_close_range => to!(descriptors::close_range(a, b, c)),
            libc::SYS_dup => to!(descriptors::dup(a)),
            libc::SYS_dup3 => to!(descriptors::dup3(a, b, c)),
            libc::SYS_fcntl => to!(descriptors::fcntl(a, b, c)),
            libc::SYS_pidfd_getfd => to!(descriptors::pidfd_getfd(a, b, c)),
            libc::SYS_fchmod => to!(descriptors::fchmod(a, b)),
            libc::SYS_fchown => to!(descriptors::fchown(a, b, c)),
            libc::SYS_fstatfs => to!(descriptors::fstatfs(a, b)),
            libc::SYS_newfstatat => to!(stat::fstatat(a, text(b), c, d)),
            libc::SYS_statx => {
                stat::statx_call(a as c_int, text(b), c as c_int, d as _, e as _).size() as c_long
            }
            // The call has no flags; the newer one has.
            libc::SYS_faccessat => to!(names::faccessat(a, text(b), c, 0)),
            // Asked for by number: where there is none, that is the answer.
            libc::SYS_faccessat2 => to!(names::faccessat2(a, text(b), c, d)),
            libc::SYS_fchmodat => to!(names::fchmodat(a, text(b), c, 0)),
            FCHMODAT2 => fchmodat2(a as c_int, text(b), c as mode_t, d as c_int),
            libc::SYS_fchownat => to!(names::fchownat(a, text(b), c, d, e)),
            libc::SYS_readlinkat => to!(reveal::readlinkat(a, text(b), c, d)),
            libc::SYS_getcwd => getcwd(a as *mut c_char, b).size() as c_long,
            libc::SYS_chdir => to!(reveal::chdir(text(a))),
            libc::SYS_fchdir => to!(reveal::fchdir(a)),
            libc::SYS_getdents64 => to!(dirs::getdents64(a, b, c)),
            libc::SYS_mmap => mapping::mmap(a as _, b, c as _, d as _, e as _, f as _) as c_long,
            libc::SYS_munmap => to!(mapping::munmap(a, b)),
            libc::SYS_mprotect => to!(mapping::mprotect(a, b, c)),
            libc::SYS_mremap => mapping::mremap(a as _, b, c, d as _, e as _) as c_long,
            libc::SYS_umask => names::umask(a as mode_t) as c_long,
            libc::SYS_mkdirat => to!(names::mkdirat(a, text(b), c)),
            libc::SYS_mknodat => to!(names::mknodat(a, text(b), c, d)),
            libc::SYS_unlinkat => to!(names::unlinkat(a, text(b), c)),
            libc::SYS_renameat => to!(pairs::renameat(a, text(b), c, text(d))),
            libc::SYS_renameat2 => to!(pairs::renameat2(a, text(b), c, text(d), e)),
            libc::SYS_linkat => to!(pairs::linkat(a, text(b), c, text(d), e)),
            libc::SYS_symlinkat => to!(names::symlinkat(text(a), b, text(c))),
            libc::SYS_truncate => to!(names::truncate(text(a), b)),
            // Without a name it is futimens(3), which libc's call refuses.
            libc::SYS_utimensat if b == 0 && c as isize != 0 && d == 0 => {
                to!(descriptors::futimens(a, c))
            }
            libc::SYS_utimensat => to!(names::utimensat(a, text(b), c, d)),
            libc::SYS_statfs => to!(names::statfs(text(a), b)),
            libc::SYS_getxattr => to!(names::getxattr(text(a), text(b), c, d)),
            libc::SYS_lgetxattr => to!(names::lgetxattr(text(a), text(b), c, d)),
            libc::SYS_listxattr => to!(names::listxattr(text(a), b, c)),
            libc::SYS_llistxattr => to!(names::llistxattr(text(a), b, c)),
            libc::SYS_setxattr => to!(names::setxattr(text(a), text(b), c, d, e)),
            libc::SYS_lsetxattr => to!(names::lsetxattr(text(a), text(b), c, d, e)),
            libc::SYS_fsetxattr => to!(descriptors::fsetxattr(a, text(b), c, d, e)),
            libc::SYS_removexattr => to!(names::removexattr(text(a), text(b))),
            libc::SYS_lremovexattr => to!(names::lremovexattr(text(a), text(b))),
            libc::SYS_fremovexattr => to!(descriptors::fremovexattr(a, text(b))),
            libc::SYS_inotify_add_watch => to!(names::inotify_add_watch(a, text(b), c)),
            libc::SYS_bind => to!(sockets::bind(a, b, c)),
            libc::SYS_connect => to!(sockets::connect(a, b, c)),
            libc::SYS_sendto => to!(sockets::sendto(a, b, c, d, e, f)),
            libc::SYS_sendmsg => to!(sockets::sendmsg(a, b, c)),
            libc::SYS_recvfrom => to!(sockets::recvfrom(a, b, c, d, e, f)),
            libc::SYS_recvmsg => to!(sockets::recvmsg(a, b, c)),
            libc::SYS_accept => to!(sockets::accept(a, b, c)),
            libc::SYS_accept4 => to!(sockets::accept4(a, b, c, d)),
            libc::SYS_getsockname => to!(sockets::getsockname(a, b, c)),
            libc::SYS_getpeername => to!(sockets::getpeername(a, b, c)),
            libc::SYS_sendmmsg => to!(sockets::sendmmsg(a, b, c, d)),
            libc::SYS_recvmmsg => to!(sockets::recvmmsg(a, b, c, d, e)),
            libc::SYS_mount => to!(admin::mount(text(a), text(b), text(c), d, e)),
            libc::SYS_umount2 => to!(admin::umount2(text(a), b)),
            libc::SYS_chroot => to!(admin::chroot(text(a))),
            libc::SYS_pivot_root => to!(admin::pivot_root(text(a), text(b))),
            libc::SYS_swapon => to!(admin::swapon(text(a), b)),
            libc::SYS_swapoff => to!(admin::swapoff(text(a))),
            libc::SYS_acct => to!(admin::acct(text(a))),
            libc::SYS_name_to_handle_at => to!(admin::name_to_handle_at(a, text(b), c, d, e)),
            libc::SYS_open_by_handle_at => to!(admin::open_by_handle_at(a, b, c)),
            libc::SYS_open_tree => to!(admin::open_tree(a, text(b), c)),
            libc::SYS_move_mount => to!(admin::move_mount(a, text(b), c, text(d), e)),
            libc::SYS_mount_setattr => to!(admin::mount_setattr(a, text(b), c, d, e)),
            libc::SYS_execve => to!(exec::execve(text(a), b, c)),
            libc::SYS_execveat => to!(exec::execveat(a, text(b), c, d, e)),
            libc::SYS_io_submit => batches::submit(a, b as c_long, c as _).size() as c_long,
            libc::SYS_io_uring_setup => batches::setup(a, b).size() as c_long,
            libc::SYS_setuid
            | libc::SYS_setgid
            | libc::SYS_setreuid
            | libc::SYS_setregid
            | libc::SYS_setresuid
            | libc::SYS_setresgid
            | libc::SYS_setgroups => users::by_number(number, [a, b, c, d, e, f]).size() as c_long,
            libc::SYS_clone | libc::SYS_clone3 => forks(number, [a, b, c, d, e, f]),
            _ => old(number, [a, b, c, d, e, f]),
        }
    }
}

/// The calls that newer architectures have left out.
#[cfg(target_arch = "x86_64")]
unsafe fn old(number: c_long, args: [usize; 6]) -> c_long {
    let [a, b, c, ..] = args;
    let text = |at: usize| at as *const c_char;
    // SAFETY: as `route`.
    unsafe {
        match number {
            libc::SYS_open => to!(open::open(text(a), b, c)),
            libc::SYS_creat => to!(open::creat(text(a), b)),
            libc::SYS_stat => to!(stat::stat(text(a), b)),
            libc::SYS_lstat => to!(stat::lstat(text(a), b)),
            libc::SYS_access => to!(names::access(text(a), b)),
            libc::SYS_getdents => dirs::read_old_dir(a as c_int, b as _, c).size() as c_long,
            libc::SYS_dup2 => to!(descriptors::dup2(a, b)),
            libc::SYS_rename => to!(pairs::rename(text(a), text(b))),
            libc::SYS_mkdir => to!(names::mkdir(text(a), b)),
            libc::SYS_rmdir => to!(names::rmdir(text(a))),
            libc::SYS_link => to!(pairs::link(text(a), text(b))),
            libc::SYS_unlink => to!(names::unlink(text(a))),
            libc::SYS_symlink => to!(names::symlink(text(a), text(b))),
            libc::SYS_readlink => to!(reveal::readlink(text(a), b, c)),
            libc::SYS_chmod => to!(names::chmod(text(a), b)),
            libc::SYS_chown => to!(names::chown(text(a), b, c)),
            libc::SYS_lchown => to!(names::lchown(text(a), b, c)),
            libc::SYS_mknod => to!(names::mknod(text(a), b, c)),
            libc::SYS_utime => to!(names::utime(text(a), b)),
            libc::SYS_utimes => to!(names::utimes(text(a), b)),
            libc::SYS_futimesat => to!(names::futimesat(a, text(b), c)),
            libc::SYS_fork => forks(number, args),
            _ => crate::door::pass(number, args).size() as c_long,
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn old(number: c_long, args: [usize; 6]) -> c_long {
    // SAFETY: the program's own call.
    unsafe { crate::door::pass(number, args) }.size() as c_long
}

/// A child with a memory of its own, which runs no handler of pthread_atfork.
unsafe fn forks(number: c_long, args: [usize; 6]) -> c_long {
    PROCESS.forking();
    // SAFETY: the program's own call.
    let done = unsafe { raw::syscall(number, args) };
    if done == Ok(0) {
        PROCESS.forked();
    } else {
        PROCESS.fork_ended();
    }
    done.size() as c_long
}

/// getcwd(2): the length with its NUL, and no memory of its own.
unsafe fn getcwd(buf: *mut c_char, size: usize) -> Result<usize> {
    let name = reveal::cwd()?;
    let bytes = name.as_bytes();
    if bytes.len() >= size {
        return Err(Errno::ERANGE);
    }
    if is_nowhere(buf) {
        return Err(Errno::EFAULT);
    }
    // SAFETY: the program says that its buffer has `size` bytes.
    unsafe {
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), buf.cast(), bytes.len());
        *buf.add(bytes.len()) = 0;
    }
    Ok(bytes.len() + 1)
}

/// fchmodat2(2), which can be given no name, as libc's call cannot.
unsafe fn fchmodat2(dirfd: c_int, path: *const c_char, mode: mode_t, flags: c_int) -> c_long {
    let named = flags & !libc::AT_EMPTY_PATH;
    let is_open = flags & libc::AT_EMPTY_PATH != 0 && names::is_empty(path);
    // SAFETY: the program's own arguments.
    unsafe {
        if !is_open {
            to!(names::fchmodat(dirfd, path, mode, named))
        } else if dirfd == libc::AT_FDCWD {
            to!(names::chmod(c".".as_ptr(), mode))
        } else if PROCESS.is_virtual(dirfd) {
            to!(descriptors::fchmod(dirfd, mode))
        } else if descriptors::read_only(dirfd) {
            Err(Errno::EROFS).size() as c_long
        } else {
            door!(FCHMODAT2, dirfd, path, mode, flags).size() as c_long
        }
    }
}

/// openat2(2). What it is to refuse (`RESOLVE_*`) the kernel can judge below a
/// directory without mounts; elsewhere it is answered as by a kernel that has
/// no such call, which those who use it expect.
unsafe fn openat2(
    dirfd: c_int,
    path: *const c_char,
    how: *const OpenHow,
    size: usize,
) -> Result<usize> {
    // SAFETY: the program's own arguments.
    let plainly = || unsafe { door!(libc::SYS_openat2, dirfd, path, how, size) };
    let (Some(view), false) = (PROCESS.view(), is_no_name(path)) else {
        return plainly();
    };
    const NO_DIR: c_int = -1;
    // The kernel judges the structure, whose size is for it to know, before it
    // looks at a name; below no directory it gets no further.
    // SAFETY: a structure of the program's, and a constant.
    match unsafe { sys!(libc::SYS_openat2, NO_DIR, c".".as_ptr(), how, size) } {
        Err(Errno::EBADF) => {}
        wrong => return wrong,
    }
    // SAFETY: the kernel has read the one, and the other is somewhere.
    let (how, name) = unsafe { (*how, CStr::from_ptr(path)) };
    let flags = how.flags as c_int;
    if how.resolve == 0 {
        // SAFETY: as above.
        return unsafe { open::open_at(dirfd, path, flags, how.mode as mode_t) };
    }
    let shown = view.shown(dirfd);
    // SAFETY: a C string of ours.
    let remote = unsafe { crate::door::is_remote(view, dirfd, c".".as_ptr()) };
    let plain = shown.plain && !(shown.read_only && open::writes(flags));
    if !plain || !stays_below(name.to_bytes(), how.resolve, remote) {
        return Err(Errno::ENOSYS);
    }
    if remote && how.resolve & libc::RESOLVE_CACHED != 0 {
        return Err(Errno::EAGAIN);
    }
    let fd = match plainly() {
        // A remote name is walked without its links.
        Err(Errno::ELOOP) if remote && how.resolve & RESOLVE_NO_SYMLINKS == 0 => {
            return Err(Errno::ENOSYS);
        }
        opened => opened?,
    };
    if !remote {
        view.process.fds.set(fd as c_int, shown, view.family.generation());
    }
    Ok(fd)
}

/// Whether a name with these `RESOLVE_*` leads nowhere but below the directory
/// that it begins in: what lies beyond it is the namespace's to know.
fn stays_below(name: &[u8], resolve: u64, remote: bool) -> bool {
    let inside = resolve & (libc::RESOLVE_BENEATH | libc::RESOLVE_IN_ROOT) != 0;
    let straight = name.first() != Some(&b'/') && !name.split(|&b| b == b'/').any(|n| n == b"..");
    straight && (inside || resolve & RESOLVE_NO_SYMLINKS != 0) || inside && !remote
}
