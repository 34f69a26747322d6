// Descriptors of directories while what they name moves, and the names in /proc and /dev.
// worlds: +nested +locked +old -9p-
// Not in 9P worlds: names are exchanged, and a file without a name gets one.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void say(const char *what, long rc) { printf("%s: %s\n", what, rc < 0 ? strerrorname_np(errno) : "fine"); }
static void cwd(void)
{
    char b[PATH_MAX];
    printf("cwd %s\n", getcwd(b, sizeof b) ? b : strerrorname_np(errno));
}
static void link_of(int fd, const char *below)
{
    char name[PATH_MAX], to[PATH_MAX] = "";
    snprintf(name, sizeof name, "/proc/self/fd/%d%s", fd, below);
    long n = readlink(name, to, sizeof to - 1);
    printf("fd%s -> %s\n", below, n < 0 ? strerrorname_np(errno) : to);
}
static void text(int dir, const char *name)
{
    char b[100] = "";
    int fd = openat(dir, name, O_RDONLY);
    if (fd < 0 || read(fd, b, 99) < 0)
        printf("%s: %s\n", name[0] == '/' ? "that" : name, strerrorname_np(errno));
    else
        printf("%s: %s", name[0] == '/' ? "that" : name, b);
    close(fd);
}

int main(void)
{
    struct stat s;
    char b[PATH_MAX];
    mkdir("a", 0755);
    mkdir("a/b", 0755);
    close(open("a/b/f", O_CREAT | O_WRONLY, 0644));
    int dir = open("a/b", O_RDONLY | O_DIRECTORY), path = open("a/b", O_PATH);
    chdir("a/b");
    cwd();
    say("move", rename("../../a", "../../moved"));
    cwd();
    link_of(dir, "");
    link_of(path, "");
    say("f", faccessat(dir, "f", F_OK, 0));
    say("up", fstatat(dir, "../../moved/b/f", &s, 0));
    say("old", fstatat(dir, "../../a", &s, 0));
    say("chdir", chdir(".."));
    cwd();
    text(AT_FDCWD, "../../hello.txt");
    say("fchdir", fchdir(path));
    cwd();
    unlinkat(dir, "f", 0);
    say("rmdir", rmdir("../b"));
    cwd();
    say("make in nothing", open("x", O_CREAT | O_WRONLY, 0600));
    say("stat .", stat(".", &s));
    say("stat ..", stat("..", &s));
    printf("links %lu\n", (unsigned long)s.st_nlink);
    link_of(dir, "");
    chdir("/");
    int place = open(getenv("P"), O_PATH | O_DIRECTORY), w = openat(place, "w", O_RDONLY);
    text(place, "hello.txt");
    text(w, "../hello.txt");
    text(place, "w/../short/er/file");
    text(place, "absolute");
    text(place, "sub/up");
    link_of(place, "");
    snprintf(b, sizeof b, "/proc/self/fd/%d/hello.txt", place);
    text(AT_FDCWD, b);
    snprintf(b, sizeof b, "/dev/fd/%d/../hello.txt", w);
    text(AT_FDCWD, b);
    int f = openat(place, "hello.txt", O_RDONLY);
    snprintf(b, sizeof b, "/dev/fd/%d", f);
    text(AT_FDCWD, b);
    lseek(f, 0, SEEK_SET);
    snprintf(b, sizeof b, "/proc/%d/fd/%d", getpid(), f);
    say("by number", open(b, O_RDONLY));
    int link = openat(place, "absolute", O_PATH | O_NOFOLLOW), file = openat(place, "hello.txt", O_PATH);
    say("O_PATH link", fstatat(link, "", &s, AT_EMPTY_PATH));
    printf("mode %o\n", s.st_mode);
    say("O_PATH read", read(file, b, 1));
    say("O_PATH fchmod", fchmod(file, 0600));
    say("O_PATH reopened", (snprintf(b, sizeof b, "/proc/self/fd/%d", file), open(b, O_RDWR)));
    say("O_NOFOLLOW", openat(place, "absolute", O_RDONLY | O_NOFOLLOW));
    say("O_DIRECTORY", openat(place, "short", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    say("file as dir", openat(f, "x", O_RDONLY));
    say("empty", openat(place, "", O_RDONLY));
    /* A name replaced by a link, and back, is what it is now. */
    chdir(getenv("P"));
    chdir("w");
    mkdir("d1", 0755);
    mkdir("d2", 0755);
    close(open("d1/one", O_CREAT | O_WRONLY, 0644));
    close(open("d2/two", O_CREAT | O_WRONLY, 0644));
    for (int i = 0; i < 4; i++) {
        say("one", access("d1/one", F_OK));
        say("two", access("d1/two", F_OK));
        if (i % 2 == 0) {
            rename("d1", "aside");
            symlink("d2", "d1");
        } else {
            unlink("d1");
            rename("aside", "d1");
        }
    }
    say("exchange", renameat2(AT_FDCWD, "d1", AT_FDCWD, "d2", RENAME_EXCHANGE));
    say("one", access("d2/one", F_OK));
    say("two", access("d1/two", F_OK));
    return 0;
}
