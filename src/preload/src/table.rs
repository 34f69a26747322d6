//! The table of intercepted calls: one row a call. To add a call, add its row
//! and the function that the row names.
//!
//! `Entry` rows patch libc's own entry too; the names after `+` are entries
//! that libc keeps to itself. `Symbol` rows are exported only: nothing inside
//! libc calls them, and every page of libc's text that a patch touches costs
//! each exec some microseconds. `Remote` rows are patched only where the
//! family has a server: without one nothing that libc does inside needs us.

/// The C types of the signatures.
pub(crate) mod types {
    pub(crate) use crate::fts::{Entry, Order, Stream};
    pub(crate) use crate::scan::{Compare, OnError, Select};
    pub(crate) use crate::walk::{Visit, VisitPlace};
    pub(crate) use core::ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void};

    pub(crate) use crate::batches::{Asked, Request};
    pub(crate) use crate::exec::Strings;
    pub(crate) use crate::loader::{Each, Info};
    pub(crate) use libc::iovec;
    pub(crate) use libc::{
        dev_t, gid_t, mode_t, off_t, size_t, ssize_t, timespec, timeval, uid_t, utimbuf,
    };
    pub(crate) use libc::{dirent, glob_t, DIR, FILE};
    pub(crate) use libc::{mmsghdr, msghdr, sem_t, sockaddr, socklen_t};
    /// libc's structures that share a name with a call.
    pub(crate) type Stat = libc::stat;
    pub(crate) type Statx = libc::statx;
    pub(crate) type Statfs = libc::statfs;
    pub(crate) type Statvfs = libc::statvfs;
}

crate::row::rows! {
    // Opening.
    Entry open open64 __open __open64 + __open_nocancel:
        open::open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    Entry openat openat64: open::openat(dirfd: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    Symbol __open_2 __open64_2: open::open_2(path: *const c_char, flags: c_int) -> c_int;
    Symbol __openat_2 __openat64_2: open::openat_2(dirfd: c_int, path: *const c_char, flags: c_int) -> c_int;
    Entry creat creat64: open::creat(path: *const c_char, mode: mode_t) -> c_int;

    // Attributes.
    Symbol stat stat64: stat::stat(path: *const c_char, buf: *mut Stat) -> c_int;
    Symbol lstat lstat64: stat::lstat(path: *const c_char, buf: *mut Stat) -> c_int;
    Entry fstatat fstatat64: stat::fstatat(dirfd: c_int, path: *const c_char, buf: *mut Stat, flags: c_int) -> c_int;
    Entry statx: stat::statx(dirfd: c_int, path: *const c_char, flags: c_int, mask: c_uint, buf: *mut Statx) -> c_int;
    Symbol __xstat __xstat64: stat::xstat(version: c_int, path: *const c_char, buf: *mut Stat) -> c_int;
    Symbol __lxstat __lxstat64: stat::lxstat(version: c_int, path: *const c_char, buf: *mut Stat) -> c_int;
    Symbol __fxstatat __fxstatat64:
        stat::fxstatat(version: c_int, dirfd: c_int, path: *const c_char, buf: *mut Stat, flags: c_int) -> c_int;
    Entry access: names::access(path: *const c_char, mode: c_int) -> c_int;
    Entry eaccess euidaccess: names::eaccess(path: *const c_char, mode: c_int) -> c_int;
    Entry faccessat: names::faccessat(dirfd: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int;
    Entry chmod: names::chmod(path: *const c_char, mode: mode_t) -> c_int;
    Entry fchmodat: names::fchmodat(dirfd: c_int, path: *const c_char, mode: mode_t, flags: c_int) -> c_int;
    Symbol lchmod: names::lchmod(path: *const c_char, mode: mode_t) -> c_int;
    Symbol chown: names::chown(path: *const c_char, uid: uid_t, gid: gid_t) -> c_int;
    Symbol lchown: names::lchown(path: *const c_char, uid: uid_t, gid: gid_t) -> c_int;
    Symbol fchownat: names::fchownat(dirfd: c_int, path: *const c_char, uid: uid_t, gid: gid_t, flags: c_int) -> c_int;
    Symbol truncate truncate64: names::truncate(path: *const c_char, len: off_t) -> c_int;
    Entry utimensat: names::utimensat(dirfd: c_int, path: *const c_char, times: *const timespec, flags: c_int) -> c_int;
    Symbol utime: names::utime(path: *const c_char, times: *const utimbuf) -> c_int;
    Symbol utimes: names::utimes(path: *const c_char, times: *const timeval) -> c_int;
    Symbol lutimes: names::lutimes(path: *const c_char, times: *const timeval) -> c_int;
    Symbol futimes: names::futimes(fd: c_int, times: *const timeval) -> c_int;
    Symbol futimesat: names::futimesat(dirfd: c_int, path: *const c_char, times: *const timeval) -> c_int;
    Entry statfs statfs64 __statfs: names::statfs(path: *const c_char, buf: *mut Statfs) -> c_int;
    Symbol getxattr: names::getxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t;
    Symbol lgetxattr: names::lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t;
    Symbol listxattr: names::listxattr(path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t;
    Symbol llistxattr: names::llistxattr(path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t;
    Symbol setxattr:
        names::setxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int;
    Symbol lsetxattr:
        names::lsetxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int;
    Symbol removexattr: names::removexattr(path: *const c_char, name: *const c_char) -> c_int;
    Symbol lremovexattr: names::lremovexattr(path: *const c_char, name: *const c_char) -> c_int;
    Symbol inotify_add_watch: names::inotify_add_watch(fd: c_int, path: *const c_char, mask: c_uint) -> c_int;

    // Making and removing names.
    Entry mkdir: names::mkdir(path: *const c_char, mode: mode_t) -> c_int;
    Entry mkdirat: names::mkdirat(dirfd: c_int, path: *const c_char, mode: mode_t) -> c_int;
    Symbol umask: names::umask(mask: mode_t) -> mode_t;
    Symbol mknod: names::mknod(path: *const c_char, mode: mode_t, dev: dev_t) -> c_int;
    Entry mknodat: names::mknodat(dirfd: c_int, path: *const c_char, mode: mode_t, dev: dev_t) -> c_int;
    Symbol mkfifo: names::mkfifo(path: *const c_char, mode: mode_t) -> c_int;
    Symbol mkfifoat: names::mkfifoat(dirfd: c_int, path: *const c_char, mode: mode_t) -> c_int;
    Symbol __xmknod: names::xmknod(version: c_int, path: *const c_char, mode: mode_t, dev: *const dev_t) -> c_int;
    Symbol __xmknodat:
        names::xmknodat(version: c_int, dirfd: c_int, path: *const c_char, mode: mode_t, dev: *const dev_t) -> c_int;
    Entry unlink: names::unlink(path: *const c_char) -> c_int;
    Entry unlinkat: names::unlinkat(dirfd: c_int, path: *const c_char, flags: c_int) -> c_int;
    Entry rmdir: names::rmdir(path: *const c_char) -> c_int;
    Symbol remove: names::remove(path: *const c_char) -> c_int;
    Symbol rename: pairs::rename(from: *const c_char, to: *const c_char) -> c_int;
    Symbol renameat: pairs::renameat(from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char) -> c_int;
    Symbol renameat2:
        pairs::renameat2(from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char, flags: c_uint) -> c_int;
    Entry link: pairs::link(from: *const c_char, to: *const c_char) -> c_int;
    Symbol linkat:
        pairs::linkat(from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char, flags: c_int) -> c_int;
    Entry symlink: names::symlink(text: *const c_char, path: *const c_char) -> c_int;
    Symbol symlinkat: names::symlinkat(text: *const c_char, dirfd: c_int, path: *const c_char) -> c_int;

    // What reveals a name.
    Entry readlink: reveal::readlink(path: *const c_char, buf: *mut c_char, size: size_t) -> ssize_t;
    Entry readlinkat:
        reveal::readlinkat(dirfd: c_int, path: *const c_char, buf: *mut c_char, size: size_t) -> ssize_t;
    Entry getcwd: reveal::getcwd(buf: *mut c_char, size: size_t) -> *mut c_char;
    Entry chdir: reveal::chdir(path: *const c_char) -> c_int;
    Entry fchdir: reveal::fchdir(fd: c_int) -> c_int;

    // Becoming another user, as whom servers are asked.
    Symbol setuid: users::setuid(uid: uid_t) -> c_int;
    Symbol seteuid: users::seteuid(uid: uid_t) -> c_int;
    Symbol setreuid: users::setreuid(real: uid_t, uid: uid_t) -> c_int;
    Symbol setresuid: users::setresuid(real: uid_t, uid: uid_t, saved: uid_t) -> c_int;
    Symbol setgid: users::setgid(gid: gid_t) -> c_int;
    Symbol setegid: users::setegid(gid: gid_t) -> c_int;
    Symbol setregid: users::setregid(real: gid_t, gid: gid_t) -> c_int;
    Symbol setresgid: users::setresgid(real: gid_t, gid: gid_t, saved: gid_t) -> c_int;
    Symbol setgroups: users::setgroups(n: size_t, groups: *const gid_t) -> c_int;
    Symbol initgroups: users::initgroups(user: *const c_char, group: gid_t) -> c_int;

    // Ending.
    Symbol _exit _Exit: count::exit_now(status: c_int) -> ();

    // Names in /dev/shm, and of terminals.
    Symbol shm_open: ipc::shm_open(name: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    Symbol shm_unlink: ipc::shm_unlink(name: *const c_char) -> c_int;
    Symbol sem_open: ipc::sem_open(name: *const c_char, flags: c_int, mode: mode_t, value: c_uint) -> *mut sem_t;
    Symbol sem_unlink: ipc::sem_unlink(name: *const c_char) -> c_int;
    Symbol sem_close: ipc::sem_close(sem: *mut sem_t) -> c_int;
    Symbol ttyname: tty::ttyname(fd: c_int) -> *mut c_char;
    Symbol ttyname_r: tty::ttyname_r(fd: c_int, buf: *mut c_char, size: size_t) -> c_int;

    // The administrator's.
    Symbol mount:
        admin::mount(source: *const c_char, target: *const c_char, kind: *const c_char, flags: c_ulong, data: *const c_void) -> c_int;
    Symbol umount: admin::umount(path: *const c_char) -> c_int;
    Symbol umount2: admin::umount2(path: *const c_char, flags: c_int) -> c_int;
    Symbol chroot: admin::chroot(path: *const c_char) -> c_int;
    Symbol pivot_root: admin::pivot_root(new: *const c_char, old: *const c_char) -> c_int;
    Symbol swapon: admin::swapon(path: *const c_char, flags: c_int) -> c_int;
    Symbol swapoff: admin::swapoff(path: *const c_char) -> c_int;
    Symbol acct: admin::acct(path: *const c_char) -> c_int;
    Symbol name_to_handle_at:
        admin::name_to_handle_at(dirfd: c_int, path: *const c_char, handle: *mut c_void, mount: *mut c_void, flags: c_int) -> c_int;
    Symbol open_by_handle_at:
        admin::open_by_handle_at(dirfd: c_int, handle: *const c_void, flags: c_int) -> c_int;
    Symbol open_tree: admin::open_tree(dirfd: c_int, path: *const c_char, flags: c_uint) -> c_int;
    Symbol move_mount:
        admin::move_mount(from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char, flags: c_uint) -> c_int;
    Symbol mount_setattr:
        admin::mount_setattr(dirfd: c_int, path: *const c_char, flags: c_uint, attributes: *mut c_void, size: size_t) -> c_int;

    // Sockets.
    Entry bind: sockets::bind(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int;
    Entry connect __connect: sockets::connect(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int;
    Symbol sendto:
        sockets::sendto(fd: c_int, buf: *const c_void, size: size_t, flags: c_int, addr: *const sockaddr, len: socklen_t) -> ssize_t;
    Symbol sendmsg: sockets::sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t;
    Symbol sendmmsg: sockets::sendmmsg(fd: c_int, messages: *mut mmsghdr, n: c_uint, flags: c_int) -> c_int;
    Entry getsockname: sockets::getsockname(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int;
    Symbol getpeername: sockets::getpeername(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int;
    Symbol accept: sockets::accept(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int;
    Symbol accept4: sockets::accept4(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int;
    Symbol recvfrom:
        sockets::recvfrom(fd: c_int, buf: *mut c_void, size: size_t, flags: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> ssize_t;
    Symbol __recvfrom_chk:
        sockets::recvfrom_chk(fd: c_int, buf: *mut c_void, size: size_t, room: size_t, flags: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> ssize_t;
    Symbol recvmsg: sockets::recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t;
    Symbol recvmmsg:
        sockets::recvmmsg(fd: c_int, messages: *mut mmsghdr, n: c_uint, flags: c_int, timeout: *mut timespec) -> c_int;

    // Descriptors.
    Entry close __close + __close_nocancel: descriptors::close(fd: c_int) -> c_int;
    Entry close_range: descriptors::close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int;
    Entry closefrom: descriptors::closefrom(first: c_int) -> ();
    Entry dup: descriptors::dup(fd: c_int) -> c_int;
    Entry dup2 __dup2: descriptors::dup2(from: c_int, to: c_int) -> c_int;
    Entry dup3: descriptors::dup3(from: c_int, to: c_int, flags: c_int) -> c_int;
    Symbol pidfd_getfd: descriptors::pidfd_getfd(pidfd: c_int, from: c_int, flags: c_uint) -> c_int;
    Entry fcntl fcntl64 + __fcntl64_nocancel: descriptors::fcntl(fd: c_int, command: c_int, arg: size_t) -> c_int;
    Symbol fstat fstat64: descriptors::fstat(fd: c_int, buf: *mut Stat) -> c_int;
    Symbol __fxstat __fxstat64: descriptors::fxstat(version: c_int, fd: c_int, buf: *mut Stat) -> c_int;
    Symbol fchmod: descriptors::fchmod(fd: c_int, mode: mode_t) -> c_int;
    Symbol fchown: descriptors::fchown(fd: c_int, uid: uid_t, gid: gid_t) -> c_int;
    Symbol futimens: descriptors::futimens(fd: c_int, times: *const timespec) -> c_int;
    Symbol fsetxattr:
        descriptors::fsetxattr(fd: c_int, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int;
    Symbol fremovexattr: descriptors::fremovexattr(fd: c_int, name: *const c_char) -> c_int;
    Entry fstatfs fstatfs64: descriptors::fstatfs(fd: c_int, buf: *mut Statfs) -> c_int;

    Remote read __read + __read_nocancel: io::read(fd: c_int, buf: *mut c_void, size: size_t) -> ssize_t;
    Remote write __write + __write_nocancel: io::write(fd: c_int, buf: *const c_void, size: size_t) -> ssize_t;
    Remote pread64 pread __pread64 + __pread64_nocancel:
        io::pread(fd: c_int, buf: *mut c_void, size: size_t, at: off_t) -> ssize_t;
    Remote pwrite64 pwrite __pwrite64:
        io::pwrite(fd: c_int, buf: *const c_void, size: size_t, at: off_t) -> ssize_t;
    Symbol __read_chk: io::read_chk(fd: c_int, buf: *mut c_void, size: size_t, room: size_t) -> ssize_t;
    Symbol __pread_chk __pread64_chk:
        io::pread_chk(fd: c_int, buf: *mut c_void, size: size_t, at: off_t, room: size_t) -> ssize_t;
    Symbol readv: io::readv(fd: c_int, parts: *const iovec, n: c_int) -> ssize_t;
    Remote writev: io::writev(fd: c_int, parts: *const iovec, n: c_int) -> ssize_t;
    Symbol preadv preadv64: io::preadv(fd: c_int, parts: *const iovec, n: c_int, at: off_t) -> ssize_t;
    Symbol pwritev pwritev64: io::pwritev(fd: c_int, parts: *const iovec, n: c_int, at: off_t) -> ssize_t;
    Symbol preadv2 preadv64v2:
        io::preadv2(fd: c_int, parts: *const iovec, n: c_int, at: off_t, flags: c_int) -> ssize_t;
    Symbol pwritev2 pwritev64v2:
        io::pwritev2(fd: c_int, parts: *const iovec, n: c_int, at: off_t, flags: c_int) -> ssize_t;
    Symbol aio_read aio_read64: batches::aio_read(one: *mut Asked) -> c_int;
    Symbol aio_write aio_write64: batches::aio_write(one: *mut Asked) -> c_int;
    Symbol aio_fsync aio_fsync64: batches::aio_fsync(how: c_int, one: *mut Asked) -> c_int;
    Symbol lio_listio lio_listio64:
        batches::lio_listio(mode: c_int, list: *const *mut Asked, n: c_int, event: *mut c_void) -> c_int;
    // libaio's and liburing's, which enter the kernel by themselves.
    Symbol io_submit: batches::io_submit(context: usize, n: c_long, list: *const *mut Request) -> c_int;
    Symbol io_uring_queue_init:
        batches::io_uring_queue_init(entries: c_uint, ring: *mut c_void, flags: c_uint) -> c_int;
    Symbol io_uring_queue_init_params:
        batches::io_uring_queue_init_params(entries: c_uint, ring: *mut c_void, params: *mut c_void) -> c_int;
    Symbol io_uring_queue_init_mem:
        batches::io_uring_queue_init_mem(entries: c_uint, ring: *mut c_void, params: *mut c_void, buf: *mut c_void, size: size_t)
            -> c_int;
    Symbol io_uring_setup: batches::io_uring_setup(entries: c_uint, params: *mut c_void) -> c_int;
    Remote lseek lseek64 __lseek: io::lseek(fd: c_int, offset: off_t, whence: c_int) -> ssize_t;
    Remote ftruncate ftruncate64: io::ftruncate(fd: c_int, size: off_t) -> c_int;
    Symbol fallocate fallocate64: io::fallocate(fd: c_int, mode: c_int, offset: off_t, len: off_t) -> c_int;
    Symbol posix_fallocate posix_fallocate64: io::posix_fallocate(fd: c_int, offset: off_t, len: off_t) -> c_int;
    Symbol posix_fadvise posix_fadvise64:
        io::posix_fadvise(fd: c_int, offset: off_t, len: off_t, advice: c_int) -> c_int;
    Symbol readahead: io::readahead(fd: c_int, offset: off_t, count: size_t) -> ssize_t;
    Remote fsync: io::fsync(fd: c_int) -> c_int;
    Remote fdatasync: io::fdatasync(fd: c_int) -> c_int;
    Symbol syncfs: io::syncfs(fd: c_int) -> c_int;
    Symbol sync_file_range: io::sync_file_range(fd: c_int, offset: off_t, len: off_t, flags: c_uint) -> c_int;
    Remote flock: io::flock(fd: c_int, how: c_int) -> c_int;
    Symbol ioctl __ioctl: io::ioctl(fd: c_int, request: usize, arg: usize) -> c_int;
    Symbol sendfile sendfile64: io::sendfile(to: c_int, from: c_int, at: *mut off_t, count: size_t) -> ssize_t;
    Symbol copy_file_range:
        io::copy_file_range(from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, count: size_t, flags: c_uint)
            -> ssize_t;
    Symbol splice:
        io::splice(from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, count: size_t, flags: c_uint) -> ssize_t;
    Remote mmap mmap64:
        mapping::mmap(at: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int, offset: off_t) -> *mut c_void;
    // Malloc gives memory back by libc's own entry, in the same page as that of mmap.
    Remote munmap: mapping::munmap(at: *mut c_void, len: size_t) -> c_int;
    Symbol mprotect: mapping::mprotect(at: *mut c_void, len: size_t, prot: c_int) -> c_int;
    Symbol msync: mapping::msync(at: *mut c_void, len: size_t, flags: c_int) -> c_int;
    Symbol mremap:
        mapping::mremap(at: *mut c_void, old: size_t, new: size_t, flags: c_int, to: *mut c_void) -> *mut c_void;
    Symbol fgetxattr: io::fgetxattr(fd: c_int, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t;
    Symbol flistxattr: io::flistxattr(fd: c_int, list: *mut c_char, size: size_t) -> ssize_t;

    // Running programs; execl and its like are in `variadic`.
    Entry execve + __execve: exec::execve(path: *const c_char, argv: Strings, env: Strings) -> c_int;
    Entry execveat:
        exec::execveat(dirfd: c_int, path: *const c_char, argv: Strings, env: Strings, flags: c_int) -> c_int;
    Symbol fexecve: exec::fexecve(fd: c_int, argv: Strings, env: Strings) -> c_int;
    Symbol execv: search::execv(path: *const c_char, argv: Strings) -> c_int;
    Symbol execvp: search::execvp(file: *const c_char, argv: Strings) -> c_int;
    Symbol execvpe: search::execvpe(file: *const c_char, argv: Strings, env: Strings) -> c_int;
    Symbol posix_spawn:
        spawn::posix_spawn(pid: *mut c_int, path: *const c_char, actions: *const c_void, attr: *const c_void, argv: Strings, env: Strings) -> c_int;
    Symbol posix_spawnp:
        spawn::posix_spawnp(pid: *mut c_int, file: *const c_char, actions: *const c_void, attr: *const c_void, argv: Strings, env: Strings) -> c_int;
    Symbol system: shell::system(command: *const c_char) -> c_int;
    Symbol popen _IO_popen: shell::popen(command: *const c_char, mode: *const c_char) -> *mut c_void;
    Symbol pclose: shell::pclose(stream: *mut c_void) -> c_int;
    Symbol wordexp: shell::wordexp(words: *const c_char, out: *mut c_void, flags: c_int) -> c_int;
    Symbol _Fork: fork::fork() -> c_int;
    Symbol clone __clone:
        fork::clone(run: usize, stack: *mut c_void, flags: c_int, arg: *mut c_void, parent: usize, tls: usize, child: usize) -> c_int;
    Symbol dl_iterate_phdr: loader::dl_iterate_phdr(each: Option<Each>, data: *mut c_void) -> c_int;
    Symbol dladdr: loader::dladdr(address: *const c_void, info: *mut Info) -> c_int;
    Symbol dlinfo: loader::dlinfo(handle: *mut c_void, what: c_int, into: *mut c_void) -> c_int;
    Symbol dladdr1:
        loader::dladdr1(address: *const c_void, info: *mut Info, extra: *mut *mut c_void, flags: c_int) -> c_int;
    Symbol daemon: fork::daemon(stay: c_int, open: c_int) -> c_int;
    Symbol login_tty: fork::login_tty(fd: c_int) -> c_int;
    Symbol forkpty:
        fork::forkpty(main: *mut c_int, name: *mut c_char, termios: *const c_void, size: *const c_void) -> c_int;

    // Directories.
    Entry getdents64: dirs::getdents64(fd: c_int, buf: *mut c_void, size: size_t) -> ssize_t;
    Symbol getdirentries getdirentries64:
        dirs::getdirentries(fd: c_int, buf: *mut c_char, size: size_t, base: *mut off_t) -> ssize_t;
    Symbol opendir: dirs::opendir(path: *const c_char) -> *mut DIR;
    Symbol fdopendir: dirs::fdopendir(fd: c_int) -> *mut DIR;
    Symbol readdir readdir64: dirs::readdir(dir: *mut DIR) -> *mut dirent;
    Symbol readdir_r readdir64_r:
        dirs::readdir_r(dir: *mut DIR, entry: *mut dirent, result: *mut *mut dirent) -> c_int;
    Symbol closedir: dirs::closedir(dir: *mut DIR) -> c_int;
    Symbol dirfd: dirs::dirfd(dir: *mut DIR) -> c_int;
    Symbol telldir: dirs::telldir(dir: *mut DIR) -> c_long;
    Symbol seekdir: dirs::seekdir(dir: *mut DIR, to: c_long) -> ();
    Symbol rewinddir: dirs::rewinddir(dir: *mut DIR) -> ();
    Symbol scandir scandir64:
        scan::scandir(path: *const c_char, list: *mut *mut *mut dirent, select: Select, compare: Compare) -> c_int;
    Symbol scandirat scandirat64:
        scan::scandirat(dirfd: c_int, path: *const c_char, list: *mut *mut *mut dirent, select: Select, compare: Compare)
            -> c_int;
    Symbol glob glob64:
        scan::glob(pattern: *const c_char, flags: c_int, on_error: OnError, into: *mut glob_t) -> c_int;
    Symbol ftw ftw64: walk::ftw(dir: *const c_char, visit: Visit, fds: c_int) -> c_int;
    Symbol nftw nftw64: walk::nftw(dir: *const c_char, visit: VisitPlace, fds: c_int, flags: c_int) -> c_int;
    Symbol fts_open fts64_open:
        fts::fts_open(paths: *const *const c_char, options: c_int, order: Order) -> *mut Stream;
    Symbol fts_read fts64_read: fts::fts_read(stream: *mut Stream) -> *mut Entry;
    Symbol fts_children fts64_children: fts::fts_children(stream: *mut Stream, how: c_int) -> *mut Entry;
    Symbol fts_set fts64_set: fts::fts_set(stream: *mut Stream, entry: *mut Entry, how: c_int) -> c_int;
    Symbol fts_close fts64_close: fts::fts_close(stream: *mut Stream) -> c_int;

    // Streams.
    Symbol fopen fopen64 _IO_fopen: streams::fopen(path: *const c_char, mode: *const c_char) -> *mut FILE;
    Symbol freopen freopen64:
        streams::freopen(path: *const c_char, mode: *const c_char, file: *mut FILE) -> *mut FILE;
    Symbol setmntent __setmntent: streams::setmntent(path: *const c_char, mode: *const c_char) -> *mut FILE;
    Symbol tmpfile tmpfile64: streams::tmpfile() -> *mut FILE;

    // What libc asks of a name in several calls.
    Symbol statvfs statvfs64: ask::statvfs(path: *const c_char, buf: *mut Statvfs) -> c_int;
    Symbol pathconf: ask::pathconf(path: *const c_char, name: c_int) -> c_long;
    Symbol ftok: ask::ftok(path: *const c_char, project: c_int) -> c_int;

    // Temporary names.
    Symbol mkstemp mkstemp64: temp::mkstemp(name: *mut c_char) -> c_int;
    Symbol mkostemp mkostemp64: temp::mkostemp(name: *mut c_char, flags: c_int) -> c_int;
    Symbol mkstemps mkstemps64: temp::mkstemps(name: *mut c_char, suffix: c_int) -> c_int;
    Symbol mkostemps mkostemps64: temp::mkostemps(name: *mut c_char, suffix: c_int, flags: c_int) -> c_int;
    Symbol mkdtemp: temp::mkdtemp(name: *mut c_char) -> *mut c_char;
    Symbol mktemp: temp::mktemp(name: *mut c_char) -> *mut c_char;
    Symbol tmpnam: temp::tmpnam(buf: *mut c_char) -> *mut c_char;
    Symbol tmpnam_r: temp::tmpnam_r(buf: *mut c_char) -> *mut c_char;
    Symbol tempnam: temp::tempnam(dir: *const c_char, prefix: *const c_char) -> *mut c_char;

    // Canonical names.
    Symbol realpath: canonical::realpath(path: *const c_char, buf: *mut c_char) -> *mut c_char;
    Symbol __realpath_chk:
        canonical::realpath_chk(path: *const c_char, buf: *mut c_char, room: size_t) -> *mut c_char;
    Symbol canonicalize_file_name: canonical::canonicalize_file_name(path: *const c_char) -> *mut c_char;
    Symbol getwd: canonical::getwd(buf: *mut c_char) -> *mut c_char;
    Symbol __getwd_chk: canonical::getwd_chk(buf: *mut c_char, room: size_t) -> *mut c_char;
    Symbol __getcwd_chk: canonical::getcwd_chk(buf: *mut c_char, size: size_t, room: size_t) -> *mut c_char;
    Symbol get_current_dir_name: canonical::get_current_dir_name() -> *mut c_char;
    Symbol __readlink_chk:
        canonical::readlink_chk(path: *const c_char, buf: *mut c_char, size: size_t, room: size_t) -> ssize_t;
    Symbol __readlinkat_chk:
        canonical::readlinkat_chk(dirfd: c_int, path: *const c_char, buf: *mut c_char, size: size_t, room: size_t)
            -> ssize_t;
}
