/* Everything that opens by name, and temporary names. */
#include "surface.h"

int __open_2(const char *, int);
int __open64_2(const char *, int);
int __openat_2(int, const char *, int);
int __openat64_2(int, const char *, int);

/* Reading, refusing, creating with a mode under the umask, and the flags that act on
 * the last component. */
#define OPENS(open_)                                                     \
    int fd = FD(open_(here("f"), O_RDONLY));                             \
    say_fd(fd);                                                          \
    FD(open_("l", O_RDONLY));                                            \
    FD(open_("l", O_RDONLY | O_NOFOLLOW));                               \
    FD(open_("l", O_PATH | O_NOFOLLOW));                                 \
    FD(open_("n", O_RDONLY));                                            \
    FD(open_("o", O_RDONLY));                                            \
    FD(open_("f", O_DIRECTORY));                                         \
    FD(open_(here("d"), O_WRONLY));                                      \
    FD(open_("f/", O_RDONLY));                                           \
    FD(open_("d/", O_RDONLY));                                           \
    FD(open_("", O_RDONLY));                                             \
    FD(open_("missing/x", O_RDONLY));                                    \
    FD(open_("d/../l", O_RDWR));                                         \
    FD(open_(NULL, O_RDONLY));

#define CREATES(open_)                                                   \
    fd = FD(open_(here("new"), O_WRONLY | O_CREAT | O_EXCL, 0666));      \
    write(fd, "made\n", 5);                                              \
    FD(open_("new", O_WRONLY | O_CREAT | O_EXCL, 0666));                 \
    FD(open_("l", O_WRONLY | O_CREAT | O_EXCL, 0666));                   \
    FD(open_("n", O_WRONLY | O_CREAT, 0600));                            \
    FD(open_("d", O_WRONLY | O_CREAT, 0600));                            \
    FD(open_("new/", O_WRONLY | O_CREAT, 0600));                         \
    FD(open_("f", O_WRONLY | O_TRUNC));                                  \
    say_file("f");                                                       \
    say_file("new");                                                     \
    fd = FD(open_(here("d"), O_TMPFILE | O_RDWR, 0600));                 \
    write(fd, "unnamed", 7);                                             \
    lseek(fd, 0, SEEK_SET);                                              \
    say_fd(fd);

EXERCISE(open) { OPENS(open) CREATES(open) }
EXERCISE(open64) { OPENS(open64) CREATES(open64) }
EXERCISE(__open_2) { OPENS(__open_2) }
EXERCISE(__open64_2) { OPENS(__open64_2) }

#define cwd_openat(...) openat(AT_FDCWD, __VA_ARGS__)
#define cwd_openat64(...) openat64(AT_FDCWD, __VA_ARGS__)
#define cwd_openat_2(...) __openat_2(AT_FDCWD, __VA_ARGS__)
#define cwd_openat64_2(...) __openat64_2(AT_FDCWD, __VA_ARGS__)

#define RELATIVE(openat_)                                                \
    int dir = open(here("d"), O_RDONLY | O_DIRECTORY);                   \
    int path = open(here("d"), O_PATH);                                  \
    int file = open(here("f"), O_RDONLY);                                \
    fd = FD(openat_(dir, "g", O_RDONLY));                                \
    say_fd(fd);                                                          \
    fd = FD(openat_(path, "../f", O_RDONLY));                            \
    say_fd(fd);                                                          \
    FD(openat_(file, "g", O_RDONLY));                                    \
    FD(openat_(977, "g", O_RDONLY));                                     \
    FD(openat_(977, here("f"), O_RDONLY));                               \
    FD(openat_(dir, "", O_RDONLY));                                      \
    fd = FD(openat_(dir, "../../../hello.txt", O_RDONLY));               \
    say_fd(fd);

EXERCISE(openat)
{
    OPENS(cwd_openat)
    RELATIVE(openat)
    CREATES(cwd_openat)
}
EXERCISE(openat64)
{
    OPENS(cwd_openat64)
    RELATIVE(openat64)
    CREATES(cwd_openat64)
}
EXERCISE(__openat_2) { OPENS(cwd_openat_2) RELATIVE(__openat_2) }
EXERCISE(__openat64_2) { OPENS(cwd_openat64_2) RELATIVE(__openat64_2) }

#define CREAT(creat_)                            \
    int fd = FD(creat_(here("c"), 0640));        \
    RC(write(fd, "made\n", 5));                  \
    say_file("c");                               \
    FD(creat_("f", 0600));                       \
    say_file("f");                               \
    FD(creat_("d", 0600));                       \
    FD(creat_("missing/c", 0600));               \
    FD(creat_("n", 0600));                       \
    say_file("nowhere");

EXERCISE(creat) { CREAT(creat) }
EXERCISE(creat64) { CREAT(creat64) }

/* The name made must lie where the template says, and be new each time. It is removed
 * again, so that the trees can be compared. */
#define TEMPORARY(call, suffix)                                                  \
    char made[2][PATH_MAX];                                                      \
    struct stat s;                                                               \
    for (int i = 0; i < 2; i++) {                                                \
        char *name = made[i];                                                    \
        snprintf(name, PATH_MAX, "%s%s", here("tXXXXXX"), suffix);               \
        int fd = FD(call);                                                       \
        write(fd, "temporary\n", 10);                                            \
        say("kept %d length %zu\n", !strncmp(name, here("t"), strlen(here("t"))), strlen(name) - strlen(here(""))); \
        say_stat("made", (stat(name, &s), &s));                                  \
    }                                                                            \
    say("differ %d\n", strcmp(made[0], made[1]) != 0);                           \
    unlink(made[0]);                                                             \
    unlink(made[1]);                                                             \
    char name[PATH_MAX] = "missing/tXXXXXX";                                     \
    strcat(name, suffix);                                                        \
    FD(call);                                                                    \
    strcpy(name, "bad");                                                         \
    FD(call);

EXERCISE(mkstemp) { TEMPORARY(mkstemp(name), "") }
EXERCISE(mkstemp64) { TEMPORARY(mkstemp64(name), "") }
EXERCISE(mkostemp) { TEMPORARY(mkostemp(name, O_CLOEXEC), "") }
EXERCISE(mkostemp64) { TEMPORARY(mkostemp64(name, O_APPEND), "") }
EXERCISE(mkstemps) { TEMPORARY(mkstemps(name, 4), ".end") }

EXERCISE(mkdtemp)
{
    struct stat s;
    char name[PATH_MAX];
    strcpy(name, here("tXXXXXX"));
    PTR(mkdtemp(name));
    say_stat("made", (stat(name, &s), &s));
    RC(rmdir(name) * 1);
    strcpy(name, "missing/tXXXXXX");
    PTR(mkdtemp(name));
}

EXERCISE(mktemp)
{
    struct stat s;
    char name[PATH_MAX];
    strcpy(name, here("tXXXXXX"));
    say("named %d\n", *mktemp(name) != 0 && strcmp(name, here("tXXXXXX")) != 0);
    say("free %d\n", lstat(name, &s) < 0 && errno == ENOENT);
    strcpy(name, "bad");
    say("bad %d\n", *mktemp(name) == 0);
}

static void temporary_stream(FILE *f)
{
    char line[32];
    fputs("kept\n", f);
    rewind(f);
    say("%s", fgets(line, sizeof line, f) ? line : "nothing\n");
    RC(fclose(f));
}
EXERCISE(tmpfile) { temporary_stream(PTR(tmpfile())); }
EXERCISE(tmpfile64) { temporary_stream(PTR(tmpfile64())); }
