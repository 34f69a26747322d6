/* The stat family, old and new, and what it says of one and the same file. */
#include "surface.h"
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

/* Entries of programs linked before glibc 2.33; the version argument is 1. */
int old_xstat(int, const char *, struct stat *);
int old_xstat64(int, const char *, struct stat64 *);
int old_lxstat(int, const char *, struct stat *);
int old_lxstat64(int, const char *, struct stat64 *);
int old_fxstat(int, int, struct stat *);
int old_fxstat64(int, int, struct stat64 *);
int old_fxstatat(int, int, const char *, struct stat *, int);
int old_fxstatat64(int, int, const char *, struct stat64 *, int);
OLD(old_xstat, __xstat);
OLD(old_xstat64, __xstat64);
OLD(old_lxstat, __lxstat);
OLD(old_lxstat64, __lxstat64);
OLD(old_fxstat, __fxstat);
OLD(old_fxstat64, __fxstat64);
__asm__(".symver old_fxstatat,__fxstatat@GLIBC_2.4");
__asm__(".symver old_fxstatat64,__fxstatat64@GLIBC_2.4");

/* The same calls for each form of "stat by name": absolute, relative, of a directory,
 * through a link, missing, through a file, of a loop, empty, and with a bad pointer. */
#define BY_NAME(type, call)                                                     \
    struct type s;                                                              \
    static const char *const names[] = {"f", "d", "l", "n", "o", "d/g", "f/x", \
                                        "", "f/", "d/", "d/../f", "d/.."};      \
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {               \
        for (int absolute = 0; absolute < 2; absolute++) {                      \
            const char *name = absolute ? here(names[i]) : names[i];            \
            memset(&s, 0, sizeof s);                                            \
            errno = 0;                                                          \
            int rc = call;                                                      \
            say("%s: %d %s\n", name, rc, ERR(rc));                              \
            if (rc == 0)                                                        \
                say_stat("", (struct stat *)&s);                                \
        }                                                                       \
    }                                                                           \
    const char *name = NULL;                                                    \
    int null_rc = call;                                                         \
    say("null: %d %s\n", null_rc, ERR(null_rc));

EXERCISE(stat) { BY_NAME(stat, stat(name, &s)) }
EXERCISE(stat64) { BY_NAME(stat64, stat64(name, &s)) }
EXERCISE(lstat) { BY_NAME(stat, lstat(name, &s)) }
EXERCISE(lstat64) { BY_NAME(stat64, lstat64(name, &s)) }
EXERCISE(__xstat) { BY_NAME(stat, old_xstat(1, name, &s)) }
EXERCISE(__xstat64) { BY_NAME(stat64, old_xstat64(1, name, &s)) }
EXERCISE(__lxstat) { BY_NAME(stat, old_lxstat(1, name, &s)) }
EXERCISE(__lxstat64) { BY_NAME(stat64, old_lxstat64(1, name, &s)) }

#define AT(type, call)                                                          \
    int dir = open(here("d"), O_RDONLY | O_DIRECTORY);                          \
    struct type s;                                                              \
    static const struct { const char *name; int flags; } at[] = {              \
        {"g", 0}, {"../l", 0}, {"../l", AT_SYMLINK_NOFOLLOW}, {"../n", 0},      \
        {"..", 0}, {"", 0}, {"", AT_EMPTY_PATH}, {"missing", 0}, {"g", 0x8000000}, \
        {"g/", 0}, {"../../w/../hello.txt", 0}, {"../d/./g", 0}};               \
    for (unsigned i = 0; i < sizeof at / sizeof *at; i++) {                     \
        const char *name = at[i].name;                                          \
        int flags = at[i].flags;                                                \
        memset(&s, 0, sizeof s);                                                \
        errno = 0;                                                              \
        int rc = call;                                                          \
        say("%s %x: %d %s\n", name, flags, rc, ERR(rc));                        \
        if (rc == 0)                                                            \
            say_stat("", (struct stat *)&s);                                    \
    }                                                                           \
    const char *name = "g";                                                     \
    int flags = 0;                                                              \
    close(dir);                                                                 \
    dir = 977;                                                                  \
    int bad = call;                                                             \
    say("bad descriptor: %d %s\n", bad, ERR(bad));                              \
    name = here("f");                                                           \
    bad = call;                                                                 \
    say("absolute: %d %s\n", bad, ERR(bad));                                    \
    dir = AT_FDCWD;                                                             \
    name = "f";                                                                 \
    bad = call;                                                                 \
    say("cwd: %d %s\n", bad, ERR(bad));

EXERCISE(fstatat) { AT(stat, fstatat(dir, name, &s, flags)) }
EXERCISE(fstatat64) { AT(stat64, fstatat64(dir, name, &s, flags)) }
EXERCISE(__fxstatat) { AT(stat, old_fxstatat(1, dir, name, &s, flags)) }
EXERCISE(__fxstatat64) { AT(stat64, old_fxstatat64(1, dir, name, &s, flags)) }

#define OF_FD(type, call)                                  \
    struct type s, named;                                  \
    int fd = open(here("f"), O_RDONLY);                    \
    RC(call);                                              \
    say_stat("f", (struct stat *)&s);                      \
    stat64("f", (struct stat64 *)&named);                  \
    say("same %d\n", s.st_ino == named.st_ino && s.st_dev == named.st_dev); \
    close(fd);                                             \
    fd = open(here("d"), O_PATH);                          \
    RC(call);                                              \
    say_stat("d", (struct stat *)&s);                      \
    close(fd);                                             \
    fd = 977;                                              \
    RC(call);

EXERCISE(fstat) { OF_FD(stat, fstat(fd, &s)) }
EXERCISE(fstat64) { OF_FD(stat64, fstat64(fd, &s)) }
EXERCISE(__fxstat) { OF_FD(stat, old_fxstat(1, fd, &s)) }
EXERCISE(__fxstat64) { OF_FD(stat64, old_fxstat64(1, fd, &s)) }

EXERCISE(statx)
{
    struct statx s;
    struct stat plain;
    int fd = open(here("f"), O_RDONLY);
    RC(statx(AT_FDCWD, here("f"), 0, STATX_BASIC_STATS, &s));
    say("mode %o size %llu\n", s.stx_mode, s.stx_size);
    stat("f", &plain);
    say("same %d\n", plain.st_ino == s.stx_ino);
    RC(statx(AT_FDCWD, "l", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &s));
    say("mode %o\n", s.stx_mode);
    RC(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &s));
    RC(statx(fd, "", 0, STATX_SIZE, &s));
    RC(statx(fd, "x", 0, STATX_SIZE, &s));
    RC(statx(AT_FDCWD, "missing", 0, STATX_SIZE, &s));
    RC(statx(AT_FDCWD, "o", 0, STATX_SIZE, &s));
    RC(statx(AT_FDCWD, "f", 0x40000000, STATX_SIZE, &s));
}

#define FS(type, call)                                                     \
    struct type s, other;                                                  \
    (void)other;                                                           \
    RC(call);

EXERCISE(statfs)
{
    FS(statfs, statfs(here("f"), &s))
    say("type %lx name %ld\n", (long)s.f_type, (long)s.f_namelen);
    RC(statfs("d/g", &s));
    RC(statfs("missing", &s));
    RC(statfs("f/x", &s));
}
EXERCISE(statfs64)
{
    FS(statfs64, statfs64(here("f"), &s))
    say("type %lx name %ld\n", (long)s.f_type, (long)s.f_namelen);
    RC(statfs64("n", &s));
}
EXERCISE(fstatfs)
{
    int fd = open(here("d"), O_RDONLY);
    FS(statfs, fstatfs(fd, &s))
    say("type %lx\n", (long)s.f_type);
    RC(fstatfs(977, &s));
}
EXERCISE(fstatfs64)
{
    int fd = open(here("d"), O_RDONLY);
    FS(statfs64, fstatfs64(fd, &s))
    say("type %lx\n", (long)s.f_type);
    RC(fstatfs64(977, &s));
}
EXERCISE(statvfs)
{
    FS(statvfs, statvfs(here("f"), &s))
    say("name %lu flag %lu\n", s.f_namemax, s.f_flag);
    RC(statvfs("missing", &s));
}
EXERCISE(statvfs64)
{
    FS(statvfs64, statvfs64(here("f"), &s))
    say("name %lu flag %lu\n", s.f_namemax, s.f_flag);
    RC(statvfs64("o", &s));
}
EXERCISE(fstatvfs)
{
    int fd = open(here("f"), O_RDONLY);
    FS(statvfs, fstatvfs(fd, &s))
    say("name %lu\n", s.f_namemax);
    RC(fstatvfs(977, &s));
}
EXERCISE(fstatvfs64)
{
    int fd = open(here("f"), O_RDONLY);
    FS(statvfs64, fstatvfs64(fd, &s))
    say("name %lu\n", s.f_namemax);
    RC(fstatvfs64(977, &s));
}
EXERCISE(pathconf)
{
    RC(pathconf(here("d"), _PC_NAME_MAX));
    RC(pathconf("f", _PC_LINK_MAX));
    RC(pathconf("l", _PC_REC_XFER_ALIGN));
    RC(pathconf("missing", _PC_LINK_MAX));
    RC(pathconf("", _PC_NAME_MAX));
}
EXERCISE(fpathconf)
{
    int fd = open(here("f"), O_RDONLY);
    RC(fpathconf(fd, _PC_NAME_MAX));
    RC(fpathconf(fd, _PC_LINK_MAX));
    RC(fpathconf(977, _PC_LINK_MAX));
}
