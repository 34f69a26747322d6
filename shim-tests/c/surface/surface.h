/* One exercise for each row of surface.tsv that must or should behave.
 *
 * EXERCISE(name) { ... } calls the symbol of that name and says what it saw. It runs
 * in a child of its own, in a directory of its own, "x.NAME" of the place:
 *
 *   f     "hello\n"          d/g   "inside\n"        s     a script that names itself
 *   l     -> f               n     -> nowhere        o     -> o, a loop
 *
 * What is said must not depend on the place: no inode numbers, no descriptors, no
 * times. The harness replaces the site's directory in it. */
#ifndef SURFACE_H
#define SURFACE_H
#define _GNU_SOURCE
#define _LARGEFILE64_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

struct exercise {
    const char *name;
    void (*run)(void);
};

#define EXERCISE(sym)                                                                \
    static void x_##sym(void);                                                       \
    static const struct exercise e_##sym                                             \
        __attribute__((used, section("exercises"), aligned(8))) = {#sym, x_##sym};   \
    static void x_##sym(void)

/* A symbol that new programs cannot link by name: the old version of it. */
#define OLD(alias, sym) __asm__(".symver " #alias "," #sym "@GLIBC_2.2.5")

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The absolute name of something in the exercise's directory. */
const char *here(const char *name);
/* Reads a whole file with the plainest calls, and says it. */
void say_file(const char *name);
void say_fd(int fd);
void put(const char *name, const char *text);
void say_stat(const char *what, const struct stat *s);
/* Runs `body` in a child with descriptor 1 in a pipe, says the output and status. */
void say_child(void (*body)(void));
void say_status(int status);
int compare_names(const void *a, const void *b);
/* Says names in order. */
void say_sorted(char **names, int count);

#define ERR(r) ((long)(r) < 0 ? strerrorname_np(errno) : "")
/* The call as written, and what came back. */
#define RC(call)                                             \
    ({                                                       \
        errno = 0;                                           \
        long rc_ = (long)(call);                             \
        say("%s = %ld %s\n", #call, rc_, ERR(rc_));          \
        rc_;                                                 \
    })
/* The same for what gives a descriptor, whose number may differ. */
#define FD(call)                                                   \
    ({                                                             \
        errno = 0;                                                 \
        int fd_ = (call);                                          \
        say("%s = %s\n", #call, fd_ < 0 ? ERR(fd_) : "open");      \
        fd_;                                                       \
    })
/* The same for what gives a pointer. */
#define PTR(call)                                                                     \
    ({                                                                                \
        errno = 0;                                                                    \
        __auto_type p_ = (call);                                                      \
        say("%s = %s\n", #call, p_ ? "something" : strerrorname_np(errno));           \
        p_;                                                                           \
    })
#endif
