/* Calls on descriptors. */
#include "surface.h"
#include <linux/fs.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

ssize_t __read_chk(int, void *, size_t, size_t);
ssize_t __pread_chk(int, void *, size_t, off_t, size_t);
ssize_t __pread64_chk(int, void *, size_t, off64_t, size_t);
int __dprintf_chk(int, int, const char *, ...);
int __vdprintf_chk(int, int, const char *, va_list);

static int f_read(void) { return open(here("f"), O_RDONLY); }
static int f_both(void) { return open(here("f"), O_RDWR); }

EXERCISE(read)
{
    char buf[16] = "";
    int fd = f_read(), dir = open(here("d"), O_RDONLY), out = open("f", O_WRONLY);
    RC(read(fd, buf, 3));
    RC(read(fd, buf + 3, 10));
    RC(read(fd, buf, 1));
    say("%s\n", buf);
    RC(read(dir, buf, 1));
    RC(read(out, buf, 1));
    RC(read(977, buf, 1));
    RC(read(fd, NULL, 0));
}
EXERCISE(__read_chk)
{
    char buf[16] = "";
    int fd = f_read();
    RC(__read_chk(fd, buf, 5, sizeof buf));
    say("%s\n", buf);
    RC(__read_chk(977, buf, 5, sizeof buf));
}
#define PREADS(call)               \
    char buf[16] = "";             \
    int fd = f_read();             \
    RC(call);                      \
    say("%s\n", buf);              \
    RC(lseek(fd, 0, SEEK_CUR));    \
    fd = 977;                      \
    RC(call);
EXERCISE(pread) { PREADS(pread(fd, buf, 3, 2)) }
EXERCISE(pread64) { PREADS(pread64(fd, buf, 3, 2)) }
EXERCISE(__pread_chk) { PREADS(__pread_chk(fd, buf, 3, 1, sizeof buf)) }
EXERCISE(__pread64_chk) { PREADS(__pread64_chk(fd, buf, 3, 1, sizeof buf)) }

#define PARTS                                     \
    char a[3] = "", b[16] = "";                   \
    struct iovec parts[2] = {{a, 2}, {b, 15}};    \
    int fd = f_read();
EXERCISE(readv) { PARTS RC(readv(fd, parts, 2)); say("%s|%s\n", a, b); RC(readv(977, parts, 2)); RC(readv(fd, parts, -1)); }
EXERCISE(preadv) { PARTS RC(preadv(fd, parts, 2, 1)); say("%s|%s\n", a, b); RC(lseek(fd, 0, SEEK_CUR)); }
EXERCISE(preadv64) { PARTS RC(preadv64(fd, parts, 2, 1)); say("%s|%s\n", a, b); }

EXERCISE(write)
{
    int fd = f_both(), append = open(here("f"), O_WRONLY | O_APPEND), readonly = f_read();
    RC(write(fd, "HE", 2));
    RC(write(append, "end\n", 4));
    RC(write(readonly, "x", 1));
    RC(write(977, "x", 1));
    say_file("f");
}
EXERCISE(pwrite) { int fd = f_both(); RC(pwrite(fd, "XX", 2, 1)); RC(pwrite(977, "X", 1, 0)); say_file("f"); }
EXERCISE(pwrite64) { int fd = f_both(); RC(pwrite64(fd, "XX", 2, 1)); RC(lseek(fd, 0, SEEK_CUR)); say_file("f"); }
#define OUT struct iovec parts[2] = {{"one", 3}, {"two\n", 4}}; int fd = f_both();
EXERCISE(writev) { OUT RC(writev(fd, parts, 2)); RC(writev(977, parts, 2)); say_file("f"); }
EXERCISE(pwritev) { OUT RC(pwritev(fd, parts, 2, 2)); say_file("f"); }
EXERCISE(pwritev64) { OUT RC(pwritev64(fd, parts, 2, 2)); say_file("f"); }

#define SEEKS(call)                                                             \
    int fd = f_both();                                                          \
    static const struct { long offset; int whence; } at[] = {{2, SEEK_SET},     \
        {1, SEEK_CUR}, {-1, SEEK_END}, {100, SEEK_SET}, {-1, SEEK_SET},         \
        {0, SEEK_HOLE}, {0, SEEK_DATA}, {0, 99}, {0, SEEK_SET}};                \
    for (unsigned i = 0; i < sizeof at / sizeof *at; i++) {                     \
        long offset = at[i].offset;                                             \
        int whence = at[i].whence;                                              \
        RC(call);                                                               \
    }
EXERCISE(lseek)
{
    SEEKS(lseek(fd, offset, whence))
    int again = dup(fd);
    RC(lseek(again, 4, SEEK_SET));
    RC(lseek(fd, 0, SEEK_CUR));
    RC(lseek(977, 0, SEEK_SET));
}
EXERCISE(lseek64) { SEEKS(lseek64(fd, offset, whence)) }

EXERCISE(close)
{
    int fd = f_read();
    RC(close(fd));
    RC(close(fd));
    RC(close(-1));
    RC(close(977));
    say_file(here("f"));
}
/* The lowest free number, and what is closed by a range. */
EXERCISE(close_range)
{
    int fd = f_read(), more = f_read();
    RC(close_range(more, more, 0));
    RC(fcntl(more, F_GETFD));
    RC(close_range(fd, fd, CLOSE_RANGE_CLOEXEC));
    RC(fcntl(fd, F_GETFD));
    RC(close_range(3, ~0U, 0));
    RC(fcntl(fd, F_GETFD));
    RC(close_range(5, 4, 0));
    say_file(here("f"));
    say_file("d/g");
}
EXERCISE(closefrom)
{
    int fd = f_read();
    closefrom(3);
    RC(fcntl(fd, F_GETFD));
    say_file(here("f"));
    say_file("d/g");
}
EXERCISE(dup)
{
    char c;
    int fd = f_read(), again = dup(fd);
    read(fd, &c, 1);
    RC(lseek(again, 0, SEEK_CUR));
    RC(close(fd));
    say_fd(again);
    RC(dup(977));
}
EXERCISE(dup2)
{
    int fd = f_read(), other = open(here("d/g"), O_RDONLY);
    RC(dup2(fd, 700));
    RC(dup2(other, 700));
    say_fd(700);
    RC(dup2(fd, fd) == fd);
    RC(dup2(977, 5));
    RC(dup2(fd, -1));
    RC(dup2(fd, 0));
    RC(getchar());
}
EXERCISE(dup3)
{
    int fd = f_read();
    RC(dup3(fd, 701, O_CLOEXEC));
    RC(fcntl(701, F_GETFD));
    RC(dup3(fd, fd, 0));
    RC(dup3(fd, 702, 0x7));
    say_fd(701);
}
#define FCNTLS(fcntl_)                                                         \
    int fd = f_both();                                                         \
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1}; \
    int dir = open(".", O_RDONLY), path = open("a", O_PATH);                   \
    RC(fcntl_(fd, F_GETFL));                                                   \
    RC(fcntl_(fd, F_SETFL, O_APPEND | O_NONBLOCK));                            \
    RC(fcntl_(fd, F_GETFL));                                                   \
    RC(fcntl_(fd, F_GETFD));                                                   \
    RC(fcntl_(fd, F_SETFD, FD_CLOEXEC));                                       \
    RC(fcntl_(fd, F_GETFD));                                                   \
    RC(fcntl_(fd, F_DUPFD, 800));                                              \
    RC(fcntl_(fd, F_DUPFD_CLOEXEC, 801));                                      \
    RC(fcntl_(801, F_GETFD));                                                  \
    RC(fcntl_(fd, F_SETLK, &lock));                                            \
    RC(fcntl_(fd, F_GETLK, &lock));                                            \
    say("lock %d\n", lock.l_type == F_UNLCK);                                  \
    RC(fcntl_(fd, 9999));                                                      \
    RC(fcntl_(fd, F_GETLEASE));                                                \
    RC(fcntl_(fd, F_NOTIFY, 0));                                               \
    RC(fcntl_(fd, F_NOTIFY, DN_CREATE));                                       \
    RC(fcntl_(dir, F_NOTIFY, DN_MULTISHOT));                                   \
    RC(fcntl_(path, F_GETFL));                                                 \
    RC(fcntl_(path, F_GETLEASE));                                              \
    RC(fcntl_(path, F_SETLK, &lock));                                          \
    RC(fcntl_(977, F_GETFD));
EXERCISE(fcntl) { FCNTLS(fcntl) }
EXERCISE(fcntl64) { FCNTLS(fcntl64) }

EXERCISE(ioctl)
{
    int fd = f_both(), waiting = 0, out = open(here("c"), O_CREAT | O_RDWR, 0600);
    int ends[2];
    char termios[256];
    RC(ioctl(fd, FIONREAD, &waiting));
    say("waiting %d\n", waiting);
    RC(ioctl(fd, TCGETS, termios));
    RC(ioctl(fd, FIOCLEX));
    RC(fcntl(fd, F_GETFD));
    RC(ioctl(out, FICLONE, fd));
    pipe(ends);
    write(ends[1], "abc", 3);
    RC(ioctl(ends[0], FIONREAD, &waiting));
    say("waiting %d\n", waiting);
    RC(ioctl(977, FIONREAD, &waiting));
}
EXERCISE(fsync) { int fd = f_both(); RC(fsync(fd)); RC(fsync(977)); RC(fsync(open("d", O_RDONLY))); }
EXERCISE(fdatasync) { int fd = f_both(); RC(fdatasync(fd)); RC(fdatasync(977)); }
#define ALLOCATE(call)                       \
    struct stat s;                           \
    int fd = f_both();                       \
    RC(call);                                \
    fstat(fd, &s);                           \
    say("size %ld\n", (long)s.st_size);      \
    fd = 977;                                \
    RC(call);
EXERCISE(fallocate) { ALLOCATE(fallocate(fd, 0, 0, 8192)) }
EXERCISE(fallocate64) { ALLOCATE(fallocate64(fd, FALLOC_FL_KEEP_SIZE, 0, 8192)) }
EXERCISE(posix_fallocate) { ALLOCATE(posix_fallocate(fd, 0, 5000)) }
EXERCISE(posix_fallocate64) { ALLOCATE(posix_fallocate64(fd, 100, 5000)) }

/* A lock that one process holds stops another, by any name of the file. */
static int (*lock_of)(int);
static void contend(const char *name)
{
    int fd = open(name, O_RDWR);
    int rc = lock_of(fd);
    say("%s: %d %s\n", name, rc, ERR(rc));
    _exit(0);
}
static void contest(int (*take)(int))
{
    int fd = f_both();
    lock_of = take;
    RC(take(fd));
    const char *names[] = {here("f"), "l", "d/../f"};
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();
        if (pid == 0)
            contend(names[i]);
        waitpid(pid, NULL, 0);
    }
}
static int take_flock(int fd) { return flock(fd, LOCK_EX | LOCK_NB); }
static int take_lockf(int fd) { return lockf(fd, F_TLOCK, 0); }
static int take_lockf64(int fd) { return lockf64(fd, F_TLOCK, 0); }
EXERCISE(flock) { contest(take_flock); RC(flock(977, LOCK_SH)); }
EXERCISE(lockf) { contest(take_lockf); RC(lockf(977, F_TEST, 0)); }
EXERCISE(lockf64) { contest(take_lockf64); RC(lockf64(f_read(), F_TLOCK, 0)); }

#define COPIES(call)                                                         \
    int in = f_read(), out = open(here("c"), O_CREAT | O_RDWR, 0600);        \
    long n, total = 0;                                                       \
    while ((n = call) > 0)                                                   \
        total += n;                                                          \
    say("moved %ld, then %ld %s\n", total, n, ERR(n));                       \
    say_file("c");
EXERCISE(sendfile) { COPIES(sendfile(out, in, NULL, 100)) off_t at = 2; RC(sendfile(out, in, &at, 2)); say_file("c"); RC(sendfile(977, in, NULL, 1)); }
EXERCISE(sendfile64) { COPIES(sendfile64(out, in, NULL, 100)) }
EXERCISE(copy_file_range) { COPIES(copy_file_range(in, NULL, out, NULL, 100, 0)) off64_t at = 1; RC(copy_file_range(in, &at, out, NULL, 2, 0)); say_file("c"); RC(copy_file_range(in, NULL, in, NULL, 1, 9)); }
EXERCISE(splice)
{
    int in = f_read(), ends[2];
    pipe(ends);
    RC(splice(in, NULL, ends[1], NULL, 100, 0));
    say_fd(ends[0]);
    RC(splice(in, NULL, 977, NULL, 100, 0));
    int out = open(here("c"), O_CREAT | O_RDWR, 0600);
    write(ends[1], "piped\n", 6);
    RC(splice(ends[0], NULL, out, NULL, 100, 0));
    say_file("c");
}

static void print_list(int (*print)(int, const char *, va_list), int fd, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say("printed %d\n", print(fd, format, args));
    va_end(args);
}
static int checked(int fd, const char *format, va_list args) { return __vdprintf_chk(fd, 1, format, args); }
EXERCISE(dprintf) { RC(dprintf(f_both(), "%d-%s\n", 7, "x")); RC(dprintf(977, "x")); say_file("f"); }
EXERCISE(__dprintf_chk) { RC(__dprintf_chk(f_both(), 1, "%d-%s\n", 7, "x")); say_file("f"); }
EXERCISE(vdprintf) { print_list(vdprintf, f_both(), "%d-%s\n", 8, "y"); say_file("f"); }
EXERCISE(__vdprintf_chk) { print_list(checked, f_both(), "%d-%s\n", 8, "y"); say_file("f"); }
EXERCISE(perror)
{
    dup2(open(here("c"), O_CREAT | O_RDWR, 0600), 2);
    errno = ENOTDIR;
    perror("what");
    say_file("c");
}

/* A regular file is always ready; an empty pipe is not. */
#define READY int ends[2]; pipe(ends); struct pollfd p[3] = {{f_read(), POLLIN, 0}, {ends[0], POLLIN, 0}, {open("d", O_PATH), POLLIN, 0}};
#define SAY_READY say("%x %x %x\n", p[0].revents, p[1].revents, p[2].revents);
EXERCISE(poll) { READY RC(poll(p, 3, 0)); SAY_READY }
EXERCISE(ppoll) { READY struct timespec none = {0, 0}; RC(ppoll(p, 3, &none, NULL)); SAY_READY }
#define SETS int ends[2], fd = f_read(); fd_set in; pipe(ends); FD_ZERO(&in); FD_SET(fd, &in); FD_SET(ends[0], &in);
EXERCISE(select) { SETS struct timeval none = {0, 0}; RC(select(64, &in, NULL, NULL, &none)); say("%d %d\n", !!FD_ISSET(fd, &in), !!FD_ISSET(ends[0], &in)); }
EXERCISE(pselect) { SETS struct timespec none = {0, 0}; RC(pselect(64, &in, NULL, NULL, &none, NULL)); say("%d %d\n", !!FD_ISSET(fd, &in), !!FD_ISSET(ends[0], &in)); }

#define MAPS(mmap_)                                                                \
    int fd = f_both(), readonly = f_read();                                        \
    char *shared = mmap_(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);   \
    char *own = mmap_(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, readonly, 0); \
    say("%.5s %.5s\n", shared, own);                                               \
    memcpy(shared, "HELLO", 5);                                                    \
    memcpy(own, "never", 5);                                                       \
    RC(msync(shared, 4096, MS_SYNC));                                              \
    RC(munmap(shared, 4096));                                                      \
    RC(munmap(own, 4096));                                                         \
    say_file("f");                                                                 \
    RC(mmap_(NULL, 4096, PROT_WRITE, MAP_SHARED, readonly, 0));                    \
    RC(mmap_(NULL, 4096, PROT_READ, MAP_SHARED, 977, 0));                          \
    RC(mmap_(NULL, 0, PROT_READ, MAP_SHARED, fd, 0));
EXERCISE(mmap) { MAPS(mmap) }
EXERCISE(mmap64) { MAPS(mmap64) }
EXERCISE(msync)
{
    char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f_both(), 0);
    memcpy(map, "synced", 6);
    RC(msync(map, 4096, MS_SYNC));
    say_file("f");
    RC(msync(map + 1, 4096, MS_SYNC));
    RC(msync(map, 4096, MS_SYNC | MS_ASYNC));
}
EXERCISE(munmap)
{
    char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f_both(), 0);
    memcpy(map, "unmaps", 6);
    RC(munmap(map, 4096));
    say_file("f");
    RC(munmap(map + 1, 4096));
}
EXERCISE(fchdir)
{
    char cwd[PATH_MAX];
    int dir = open(here("d"), O_RDONLY), path = open(here("d"), O_PATH), file = f_read();
    RC(fchdir(dir));
    say("%s\n", getcwd(cwd, sizeof cwd));
    say_file("g");
    RC(chdir(".."));
    RC(fchdir(path));
    say("%s\n", getcwd(cwd, sizeof cwd));
    RC(fchdir(file));
    RC(fchdir(977));
}
