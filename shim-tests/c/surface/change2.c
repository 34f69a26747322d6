/* Sizes, times, special files and old names for them. */
#include "surface.h"
#include <sys/ipc.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <utime.h>

int old_xmknod(int, const char *, mode_t, dev_t *);
int old_xmknodat(int, int, const char *, mode_t, dev_t *);
OLD(old_xmknod, __xmknod);
__asm__(".symver old_xmknodat,__xmknodat@GLIBC_2.4");

static void say_kind(const char *name)
{
    struct stat s;
    if (lstat(name, &s))
        say("%s: %s\n", name, strerrorname_np(errno));
    else
        say("%s: %o rdev %lx\n", name, s.st_mode, (long)s.st_rdev);
}
EXERCISE(mkfifo)
{
    RC(mkfifo(here("p"), 0644));
    RC(mkfifo("f", 0644));
    RC(mkfifo("missing/p", 0644));
    say_kind("p");
    int fd = open(here("p"), O_RDWR);
    RC(write(fd, "through\n", 8));
    say_fd(fd);
}
EXERCISE(mkfifoat)
{
    int dir = open(here("d"), O_RDONLY);
    RC(mkfifoat(dir, "p", 0600));
    RC(mkfifoat(dir, "g", 0600));
    say_kind("d/p");
}
EXERCISE(mknod)
{
    RC(mknod(here("r"), S_IFREG | 0644, 0));
    RC(mknod("p", S_IFIFO | 0600, 0));
    RC(mknod("r", S_IFREG | 0644, 0));
    RC(mknod("null", S_IFCHR | 0600, makedev(1, 3)));
    RC(mknod("x", S_IFDIR | 0600, 0));
    say_kind("r");
    say_kind("p");
    say_kind("null");
}
EXERCISE(mknodat)
{
    int dir = open(here("d"), O_RDONLY);
    RC(mknodat(dir, "r", S_IFREG | 0600, 0));
    RC(mknodat(dir, "s", S_IFSOCK | 0600, 0));
    RC(mknodat(977, "r", S_IFREG | 0600, 0));
    say_kind("d/r");
    say_kind("d/s");
}
EXERCISE(__xmknod)
{
    dev_t device = 0;
    RC(old_xmknod(0, here("r"), S_IFREG | 0644, &device));
    RC(old_xmknod(0, "p", S_IFIFO | 0644, &device));
    RC(old_xmknod(7, "q", S_IFIFO | 0644, &device));
    say_kind("r");
    say_kind("p");
}
EXERCISE(__xmknodat)
{
    dev_t device = 0;
    int dir = open(here("d"), O_RDONLY);
    RC(old_xmknodat(0, dir, "r", S_IFREG | 0644, &device));
    RC(old_xmknodat(0, dir, "g", S_IFREG | 0644, &device));
    say_kind("d/r");
}

static void say_size(const char *name)
{
    struct stat s;
    say("%s: size %ld\n", name, stat(name, &s) ? -1L : (long)s.st_size);
}
EXERCISE(truncate)
{
    RC(truncate(here("f"), 2));
    say_size("f");
    RC(truncate("l", 100));
    say_size("f");
    RC(truncate("d", 0));
    RC(truncate("missing", 0));
    RC(truncate("f", -1));
}
EXERCISE(truncate64)
{
    RC(truncate64(here("f"), 5000000000));
    say_size("f");
    RC(truncate64("f", 1));
    RC(truncate64("n", 0));
}
EXERCISE(ftruncate)
{
    int fd = open(here("f"), O_RDWR), readonly = open(here("f"), O_RDONLY);
    RC(ftruncate(fd, 3));
    RC(ftruncate(readonly, 0));
    RC(ftruncate(977, 0));
    say_size("f");
}
EXERCISE(ftruncate64)
{
    int fd = open(here("f"), O_RDWR);
    RC(ftruncate64(fd, 5000000000));
    say_size("f");
    RC(ftruncate64(fd, 0));
}

static void say_time(const char *name)
{
    struct stat s;
    if (lstat(name, &s))
        say("%s: %s\n", name, strerrorname_np(errno));
    else if (s.st_mtime > 2000000)
        say("%s: now\n", name);
    else
        say("%s: %ld.%09ld %ld.%09ld\n", name, s.st_atim.tv_sec, s.st_atim.tv_nsec,
            s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
}
static const struct timeval early[2] = {{1000, 500}, {2000, 600}};
static const struct timespec exact[2] = {{1001, 7}, {2001, 8}};

EXERCISE(utime)
{
    struct utimbuf t = {1000, 2000};
    RC(utime(here("f"), &t));
    say_time("f");
    RC(utime("f", NULL));
    say_time("f");
    RC(utime("missing", &t));
}
EXERCISE(utimes)
{
    RC(utimes(here("l"), early));
    say_time("f");
    RC(utimes("n", early));
}
EXERCISE(lutimes)
{
    RC(lutimes(here("n"), early));
    say_time("n");
    RC(lutimes("missing", early));
}
EXERCISE(futimes)
{
    int fd = open(here("f"), O_RDONLY);
    RC(futimes(fd, early));
    say_time("f");
    RC(futimes(977, early));
}
EXERCISE(futimesat)
{
    int dir = open(here("d"), O_RDONLY);
    RC(futimesat(dir, "g", early));
    say_time("d/g");
    RC(futimesat(dir, "missing", early));
}
EXERCISE(utimensat)
{
    int dir = open(here("d"), O_RDONLY), file = open(here("f"), O_RDONLY);
    struct timespec half[2] = {{0, UTIME_OMIT}, {3000, 9}}, bad[2] = {{0, -7}, {0, 0}};
    RC(utimensat(dir, "g", exact, 0));
    say_time("d/g");
    RC(utimensat(dir, "../n", exact, AT_SYMLINK_NOFOLLOW));
    say_time("n");
    RC(utimensat(dir, "../n", exact, 0));
    RC(utimensat(AT_FDCWD, here("d/g"), half, 0));
    say_time("d/g");
    RC(utimensat(file, NULL, exact, 0));
    RC(utimensat(AT_FDCWD, "f", bad, 0));
    say_time("f");
}
EXERCISE(futimens)
{
    int fd = open(here("f"), O_WRONLY);
    RC(futimens(fd, exact));
    say_time("f");
    RC(futimens(977, exact));
}
EXERCISE(ftok)
{
    key_t one = ftok(here("f"), 'a'), two = ftok("d/../f", 'a'), other = ftok("d", 'a');
    say("same %d other %d missing %d\n", one == two, one != other, ftok("missing", 'a'));
}
EXERCISE(umask)
{
    RC(umask(027));
    close(open(here("m"), O_CREAT | O_WRONLY, 0666));
    mkdir("md", 0777);
    say_kind("m");
    say_kind("md");
    RC(umask(022));
}
