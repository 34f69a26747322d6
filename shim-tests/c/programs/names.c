// Every path of up to three components of a small alphabet, by four calls each.
// worlds: +nested +locked +old
// limit: 30
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const parts[] = {".",    "..",       "sub",  "short",    "deep",    "up",     "hello.txt",
                                    "loop", "dangling", "w",    "absolute", "missing", "er",     "file", ""};
enum { PARTS = sizeof parts / sizeof *parts };

static const char *why(int rc) { return rc < 0 ? strerrorname_np(errno) : "fine"; }

static void look(const char *path)
{
    struct stat s, l;
    char real[PATH_MAX];
    printf("%s: stat %s", path, why(stat(path, &s)));
    printf(" lstat %s", why(lstat(path, &l)));
    printf(" access %s", why(access(path, R_OK)));
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    printf(" open %s", why(fd));
    if (fd >= 0) {
        struct stat o;
        fstat(fd, &o);
        printf(" %s", o.st_ino == l.st_ino && o.st_dev == l.st_dev ? "it" : "another");
        close(fd);
    }
    char *got = realpath(path, real);
    printf(" real %s\n", got ? got : strerrorname_np(errno));
}

int main(void)
{
    char path[PATH_MAX];
    const char *place = getenv("P");
    for (int a = 0; a < PARTS; a++)
        for (int b = 0; b < PARTS; b++)
            for (int c = 0; c < PARTS; c++) {
                int absolute = (a + b + c) % 2;
                snprintf(path, sizeof path, "%s/%s/%s/%s", absolute ? place : "..", parts[a], parts[b], parts[c]);
                look(path);
            }
    static const char *const odd[] = {"", "/", "//", "/..", "/../..", "./", "..//..", "hello.txt", "../hello.txt/.", "../short/",
                                      "../dangling/", "../loop/", "../up/..", "/proc/self/cwd/../hello.txt", "/proc/self/cwd/..",
                                      "/dev/fd/0/..", "/proc/self/root/etc/..", "/proc/self/fd/99"};
    for (unsigned i = 0; i < sizeof odd / sizeof *odd; i++)
        look(odd[i]);
    return 0;
}
