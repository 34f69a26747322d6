/* Everything that makes, renames, removes or changes a name. */
#include "surface.h"
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/ipc.h>
#include <utime.h>

#define ACCESS(call)                                                         \
    static const char *const names[] = {"f", "d", "l", "n", "o", "s", "d/g", \
                                        "missing", "f/x", ""};               \
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {            \
        for (int mode = 0; mode < 8; mode++) {                               \
            const char *name = mode % 2 ? here(names[i]) : names[i];         \
            errno = 0;                                                       \
            int rc = call;                                                   \
            say("%s %d: %d %s\n", name, mode, rc, ERR(rc));                  \
        }                                                                    \
    }

EXERCISE(access) { ACCESS(access(name, mode)) RC(access("f", 64)); }
EXERCISE(eaccess) { ACCESS(eaccess(name, mode)) }
EXERCISE(euidaccess) { ACCESS(euidaccess(name, mode)) }
EXERCISE(faccessat)
{
    int dir = open(here("d"), O_PATH);
    ACCESS(faccessat(AT_FDCWD, name, mode, 0))
    RC(faccessat(dir, "g", R_OK, AT_EACCESS));
    RC(faccessat(dir, "../n", F_OK, AT_SYMLINK_NOFOLLOW));
    RC(faccessat(dir, "", F_OK, 0));
    RC(faccessat(dir, "..", W_OK, 0));
    RC(faccessat(977, "g", F_OK, 0));
    RC(faccessat(dir, "g", F_OK, 0x10));
}

static void say_mode(const char *name)
{
    struct stat s;
    say("%s: %o\n", name, lstat(name, &s) ? 0 : s.st_mode);
}
EXERCISE(chmod)
{
    RC(chmod(here("f"), 0604));
    RC(chmod("l", 0640));
    RC(chmod("n", 0600));
    RC(chmod("missing", 0600));
    RC(chmod("f/", 0600));
    RC(chmod("d", 02775));
    say_mode("f");
    say_mode("d");
}
EXERCISE(fchmod)
{
    int fd = open(here("f"), O_RDONLY), path = open("f", O_PATH);
    RC(fchmod(fd, 0611));
    RC(fchmod(path, 0600));
    RC(fchmod(977, 0600));
    say_mode("f");
}
EXERCISE(fchmodat)
{
    int dir = open(here("d"), O_RDONLY);
    RC(fchmodat(dir, "g", 0600, 0));
    RC(fchmodat(dir, "../l", 0601, 0));
    RC(fchmodat(dir, "../l", 0600, AT_SYMLINK_NOFOLLOW));
    RC(fchmodat(977, "g", 0600, 0));
    RC(fchmodat(dir, "", 0600, 0));
    say_mode("d/g");
    say_mode("f");
}
EXERCISE(lchmod)
{
    RC(lchmod(here("f"), 0600));
    RC(lchmod(here("l"), 0600));
    RC(lchmod("missing", 0600));
    say_mode("f");
}
EXERCISE(chown)
{
    RC(chown(here("f"), getuid(), getgid()));
    RC(chown("l", -1, -1));
    RC(chown("n", -1, -1));
    RC(chown("f", 12345, -1));
}
EXERCISE(lchown)
{
    RC(lchown(here("n"), getuid(), getgid()));
    RC(lchown("missing", -1, -1));
    RC(lchown("l", 12345, 12345));
}
EXERCISE(fchown)
{
    int fd = open(here("f"), O_RDWR);
    RC(fchown(fd, getuid(), getgid()));
    RC(fchown(977, -1, -1));
}
EXERCISE(fchownat)
{
    int dir = open(here("d"), O_PATH);
    RC(fchownat(dir, "g", getuid(), getgid(), 0));
    RC(fchownat(dir, "../n", -1, -1, AT_SYMLINK_NOFOLLOW));
    RC(fchownat(dir, "../n", -1, -1, 0));
    RC(fchownat(dir, "", getuid(), -1, AT_EMPTY_PATH));
    RC(fchownat(dir, "", -1, -1, 0));
}

EXERCISE(mkdir)
{
    RC(mkdir(here("m"), 0750));
    RC(mkdir("m", 0750));
    RC(mkdir("m/n/", 0777));
    RC(mkdir("missing/m", 0750));
    RC(mkdir("f/m", 0750));
    RC(mkdir("l", 0750));
    RC(mkdir("n", 0750));
    RC(mkdir("n/", 0750));
    RC(mkdir("/", 0750));
    RC(mkdir(".", 0750));
    RC(mkdir("d/..", 0750));
    RC(mkdir("", 0750));
}
EXERCISE(mkdirat)
{
    int dir = open(here("d"), O_RDONLY);
    RC(mkdirat(dir, "m", 0755));
    RC(mkdirat(dir, "../m", 0700));
    RC(mkdirat(dir, "g", 0700));
    RC(mkdirat(977, "m", 0700));
}
EXERCISE(rmdir)
{
    mkdir("e", 0755);
    RC(rmdir(here("e")));
    RC(rmdir("d"));
    RC(rmdir("f"));
    RC(rmdir("missing"));
    RC(rmdir("."));
    RC(rmdir("d/.."));
    RC(rmdir("/"));
    RC(rmdir("l"));
    mkdir("e", 0755);
    RC(rmdir("e/"));
}
EXERCISE(unlink)
{
    RC(unlink(here("f")));
    RC(unlink("f"));
    RC(unlink("d"));
    RC(unlink("l"));
    RC(unlink("n"));
    RC(unlink("d/g/"));
    RC(unlink("d/g"));
    RC(unlink("."));
    RC(unlink(""));
}
EXERCISE(unlinkat)
{
    int dir = open(here("d"), O_RDONLY);
    mkdir("d/e", 0755);
    RC(unlinkat(dir, "g", 0));
    RC(unlinkat(dir, "e", 0));
    RC(unlinkat(dir, "e", AT_REMOVEDIR));
    RC(unlinkat(dir, "../f", 0));
    RC(unlinkat(dir, "../d", AT_REMOVEDIR));
    RC(unlinkat(dir, "g", 0));
    RC(unlinkat(dir, "g", 0x4000));
}
EXERCISE(remove)
{
    mkdir("e", 0755);
    RC(remove(here("f")));
    RC(remove(here("e")));
    RC(remove("d"));
    RC(remove("missing"));
}
EXERCISE(link)
{
    struct stat a, b;
    RC(link(here("f"), here("d/h")));
    RC(link("l", "k"));
    RC(link("f", "l"));
    RC(link("d", "e"));
    RC(link("missing", "m"));
    RC(link("f", "missing/m"));
    stat("f", &a);
    stat("d/h", &b);
    say("same %d links %lu\n", a.st_ino == b.st_ino, (unsigned long)a.st_nlink);
    say_mode("k");
}
EXERCISE(linkat)
{
    int dir = open(here("d"), O_RDONLY), file = open(here("f"), O_RDONLY);
    RC(linkat(dir, "g", AT_FDCWD, "h", 0));
    RC(linkat(AT_FDCWD, "l", dir, "followed", AT_SYMLINK_FOLLOW));
    RC(linkat(AT_FDCWD, "l", dir, "link", 0));
    RC(linkat(file, "", dir, "byfd", AT_EMPTY_PATH));
    RC(linkat(dir, "g", dir, "h", 0x4));
    say_mode("d/followed");
    say_mode("d/link");
    char proc[64];
    int unnamed = open(here("d"), O_TMPFILE | O_WRONLY, 0600);
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", unnamed);
    RC(linkat(AT_FDCWD, proc, dir, "named", AT_SYMLINK_FOLLOW));
    say_mode("d/named");
}
EXERCISE(symlink)
{
    char got[64] = "";
    RC(symlink("../target", here("k")));
    RC(symlink("x", "k"));
    RC(symlink("x", "missing/k"));
    RC(symlink("", "e"));
    RC(symlink("x", "e/"));
    RC(readlink("k", got, sizeof got));
    say("%s\n", got);
}
EXERCISE(symlinkat)
{
    int dir = open(here("d"), O_PATH);
    RC(symlinkat("/", dir, "k"));
    RC(symlinkat("/", dir, "g"));
    RC(symlinkat("/", 977, "k"));
    say_mode("d/k");
}
#define RENAMES(call)                                                          \
    static const struct { const char *from, *to; } pairs[] = {                \
        {"f", "f2"}, {"f2", "d/f"}, {"d/f", "f"}, {"missing", "x"},            \
        {"d", "d/e"}, {"f", "d"}, {"d", "f"}, {"l", "k"}, {"f", "missing/x"}, \
        {"f", "f"}, {".", "x"}, {"d/..", "x"}, {"f/", "x"}, {"d/", "e/"},      \
        {"e", "d"}, {"f", "n"}};                                               \
    for (unsigned i = 0; i < sizeof pairs / sizeof *pairs; i++) {              \
        const char *from = i % 2 ? pairs[i].from : here(pairs[i].from);        \
        const char *to = i % 3 ? pairs[i].to : here(pairs[i].to);              \
        errno = 0;                                                             \
        int rc = call;                                                         \
        say("%s %s: %d %s\n", from, to, rc, ERR(rc));                          \
    }
EXERCISE(rename) { RENAMES(rename(from, to)) }
EXERCISE(renameat)
{
    RENAMES(renameat(AT_FDCWD, from, AT_FDCWD, to))
    int dir = open(here("d"), O_RDONLY);
    RC(renameat(dir, "g", dir, "h"));
    RC(renameat(dir, "h", AT_FDCWD, "g"));
    RC(renameat(977, "h", dir, "g"));
}
EXERCISE(renameat2)
{
    RENAMES(renameat2(AT_FDCWD, from, AT_FDCWD, to, 0))
    put("a", "a\n");
    put("b", "b\n");
    RC(renameat2(AT_FDCWD, here("a"), AT_FDCWD, "b", RENAME_NOREPLACE));
    RC(renameat2(AT_FDCWD, "a", AT_FDCWD, here("b"), RENAME_EXCHANGE));
    RC(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE | RENAME_NOREPLACE));
    RC(renameat2(AT_FDCWD, "a", AT_FDCWD, "missing", RENAME_EXCHANGE));
    say_file("a");
    say_file("b");
}
