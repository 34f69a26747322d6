/* Reading directories, walking trees, matching names. */
#include "surface.h"
#include <fts.h>
#include <ftw.h>
#include <glob.h>

static char *seen[256];
static int count;

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (count < 256 && vasprintf(&seen[count], format, args) >= 0)
        count++;
    va_end(args);
}
static void say_seen(void)
{
    say("%d:", count);
    say_sorted(seen, count);
    count = 0;
}

#define READ_ALL(type, readdir_, dir)                   \
    do {                                                \
        struct type *entry;                             \
        while ((entry = readdir_(dir)))                 \
            note("%s/%d", entry->d_name, entry->d_type); \
        say_seen();                                     \
    } while (0)

EXERCISE(opendir)
{
    DIR *dir = PTR(opendir(here("d")));
    READ_ALL(dirent, readdir, dir);
    PTR(opendir("f"));
    PTR(opendir("missing"));
    PTR(opendir(""));
    PTR(opendir("o"));
    dir = opendir("d/..");
    READ_ALL(dirent, readdir, dir);
}
EXERCISE(readdir)
{
    struct stat s;
    struct dirent *e;
    DIR *dir = opendir(here("."));
    int same = 1;
    while ((e = readdir(dir)))
        if (strcmp(e->d_name, "..") && (lstat(e->d_name, &s) || s.st_ino != e->d_ino))
            same = 0;
    say("inodes agree %d\n", same);
    rewinddir(dir);
    READ_ALL(dirent, readdir, dir);
    errno = 0;
    say("end %d %d\n", readdir(dir) == NULL, errno);
}
EXERCISE(readdir64) { DIR *dir = opendir(here(".")); READ_ALL(dirent64, readdir64, dir); }
EXERCISE(readdir_r)
{
    DIR *dir = opendir(here("d"));
    struct dirent e, *found;
    while (readdir_r(dir, &e, &found) == 0 && found)
        note("%s", e.d_name);
    say_seen();
}
EXERCISE(fdopendir)
{
    int fd = open(here("d"), O_RDONLY | O_DIRECTORY);
    DIR *dir = PTR(fdopendir(fd));
    READ_ALL(dirent, readdir, dir);
    RC(dirfd(dir) == fd);
    RC(closedir(dir));
    RC(fcntl(fd, F_GETFD));
    PTR(fdopendir(open(here("f"), O_RDONLY)));
    PTR(fdopendir(977));
    PTR(fdopendir(open(here("d"), O_PATH)));
}
EXERCISE(closedir)
{
    DIR *dir = opendir(here("d"));
    int fd = dirfd(dir);
    RC(closedir(dir));
    RC(fcntl(fd, F_GETFD));
}
EXERCISE(dirfd)
{
    struct stat a, b;
    DIR *dir = opendir(here("d"));
    int fd = FD(dirfd(dir));
    RC(fstat(fd, &a));
    stat("d", &b);
    say("same %d\n", a.st_ino == b.st_ino);
    int file = openat(fd, "g", O_RDONLY);
    say_fd(file);
    RC(fcntl(fd, F_GETFD));
}
/* Every position that telldir gives leads back to the entry that followed it. */
EXERCISE(telldir)
{
    DIR *dir = opendir(here("."));
    long at[64];
    char name[64][256];
    int n = 0, good = 1;
    struct dirent *e;
    for (;;) {
        at[n] = telldir(dir);
        if (!(e = readdir(dir)) || n == 63)
            break;
        strcpy(name[n++], e->d_name);
    }
    for (int i = n - 1; i >= 0; i--) {
        seekdir(dir, at[i]);
        e = readdir(dir);
        good &= e && !strcmp(e->d_name, name[i]);
    }
    say("%d entries, all found again %d\n", n, good);
}
EXERCISE(seekdir)
{
    DIR *dir = opendir(here("."));
    char first[256];
    long start = telldir(dir);
    strcpy(first, readdir(dir)->d_name);
    while (readdir(dir))
        ;
    seekdir(dir, start);
    say("first again %d\n", !strcmp(first, readdir(dir)->d_name));
    long middle = telldir(dir);
    char next[256];
    strcpy(next, readdir(dir)->d_name);
    rewinddir(dir);
    seekdir(dir, middle);
    say("next again %d\n", !strcmp(next, readdir(dir)->d_name));
}
EXERCISE(rewinddir)
{
    DIR *dir = opendir(here("d"));
    READ_ALL(dirent, readdir, dir);
    put("d/late", "");
    rewinddir(dir);
    READ_ALL(dirent, readdir, dir);
    rewinddir(dir);
    unlink("d/late");
    READ_ALL(dirent, readdir, dir);
}
static void records(long (*get)(int, void *, size_t), int fd, size_t room)
{
    char *buf = malloc(room);
    long n;
    while ((n = get(fd, buf, room)) > 0)
        for (long at = 0; at < n;) {
            struct dirent64 *e = (void *)(buf + at);
            note("%s", e->d_name);
            at += e->d_reclen;
        }
    say("end %ld %s ", n, ERR(n));
    say_seen();
    free(buf);
}
static long get64(int fd, void *buf, size_t room) { return getdents64(fd, buf, room); }
EXERCISE(getdents64)
{
    int fd = open(here("."), O_RDONLY | O_DIRECTORY);
    records(get64, fd, 4096);
    lseek(fd, 0, SEEK_SET);
    records(get64, fd, 64);
    lseek(fd, 0, SEEK_SET);
    records(get64, fd, 8);
    char buf[256];
    RC(getdents64(open(here("f"), O_RDONLY), buf, sizeof buf));
    RC(getdents64(977, buf, sizeof buf));
}

static int not_hidden(const struct dirent *e) { return e->d_name[0] != '.'; }
static int not_hidden64(const struct dirent64 *e) { return e->d_name[0] != '.'; }
#define SCANS(type, call)                    \
    struct type **list = NULL;               \
    int n = RC(call);                        \
    for (int i = 0; i < n; i++)              \
        say(" %s", list[i]->d_name);         \
    say("\n");
EXERCISE(scandir) { SCANS(dirent, scandir(here("."), &list, not_hidden, alphasort)) RC(scandir("missing", &list, NULL, NULL)); RC(scandir("f", &list, NULL, NULL)); }
EXERCISE(scandir64) { SCANS(dirent64, scandir64("d", &list, not_hidden64, alphasort64)) }
EXERCISE(scandirat) { int dir = open(here("d"), O_RDONLY); SCANS(dirent, scandirat(dir, "..", &list, not_hidden, alphasort)) RC(scandirat(dir, "none", &list, NULL, NULL)); }

static int step(const char *path, const struct stat *s, int flag)
{
    note("%s/%d/%o", path, flag, s->st_mode);
    return 0;
}
static int step64(const char *path, const struct stat64 *s, int flag) { return step(path, (void *)s, flag); }
static int nstep(const char *path, const struct stat *s, int flag, struct FTW *at)
{
    note("%s/%d/%d/%d", path, flag, at->base, at->level);
    (void)s;
    return 0;
}
static int nstep64(const char *path, const struct stat64 *s, int flag, struct FTW *at) { return nstep(path, (void *)s, flag, at); }
EXERCISE(ftw) { unlink("o"); RC(ftw(here("."), step, 8)); say_seen(); RC(ftw("d", step, 1)); say_seen(); RC(ftw("missing", step, 8)); }
EXERCISE(ftw64) { unlink("o"); RC(ftw64(here("."), step64, 8)); say_seen(); }
EXERCISE(nftw)
{
    static const int flags[] = {0, FTW_PHYS, FTW_DEPTH | FTW_PHYS, FTW_CHDIR | FTW_PHYS, FTW_MOUNT};
    char cwd[PATH_MAX];
    unlink("o"); /* where a walk that follows would stop, in the order of the directory */
    for (int i = 0; i < 5; i++) {
        RC(nftw(here("."), nstep, 4, flags[i]));
        say_seen();
    }
    say("%s\n", getcwd(cwd, sizeof cwd));
    RC(nftw("f", nstep, 4, 0));
    say_seen();
    RC(nftw("missing", nstep, 4, 0));
}
EXERCISE(nftw64) { RC(nftw64(here("d"), nstep64, 4, FTW_PHYS)); say_seen(); }

static int by_name(const FTSENT **a, const FTSENT **b) { return strcmp((*a)->fts_name, (*b)->fts_name); }
static void walk(int options)
{
    char *roots[] = {(char *)here("."), "d", "missing", NULL};
    FTS *walk = fts_open(roots, options, NULL);
    FTSENT *e;
    while (walk && (e = fts_read(walk))) {
        struct stat s;
        int reachable = e->fts_info == FTS_DP || e->fts_info == FTS_NS || lstat(e->fts_accpath, &s) == 0;
        note("%s/%d/%d/%d", e->fts_path, e->fts_info, e->fts_level, reachable);
    }
    say_seen();
    say("close %d\n", walk ? fts_close(walk) : -1);
}
EXERCISE(fts_open)
{
    walk(FTS_PHYSICAL);
    walk(FTS_LOGICAL);
    walk(FTS_PHYSICAL | FTS_NOCHDIR);
    walk(FTS_PHYSICAL | FTS_XDEV | FTS_SEEDOT);
    char *none[] = {"", NULL};
    PTR(fts_open(none, 0, NULL));
}
EXERCISE(fts_read)
{
    char *roots[] = {(char *)here("."), NULL};
    FTS *walk = fts_open(roots, FTS_PHYSICAL, by_name);
    FTSENT *e;
    while ((e = fts_read(walk)))
        say("%s %d %o\n", e->fts_accpath, e->fts_info, e->fts_statp->st_mode);
    say("end %d\n", errno);
    fts_close(walk);
}
EXERCISE(fts_children)
{
    char *roots[] = {(char *)here("."), NULL};
    FTS *walk = fts_open(roots, FTS_PHYSICAL, by_name);
    fts_read(walk);
    for (FTSENT *e = fts_children(walk, 0); e; e = e->fts_link)
        say(" %s/%d", e->fts_name, e->fts_info);
    for (FTSENT *e = fts_children(walk, FTS_NAMEONLY); e; e = e->fts_link)
        say(" %s", e->fts_name);
    say("\n");
    fts_close(walk);
}
EXERCISE(fts_close)
{
    char cwd[PATH_MAX];
    char *roots[] = {(char *)here("d"), NULL};
    FTS *walk = fts_open(roots, FTS_PHYSICAL, NULL);
    fts_read(walk);
    fts_read(walk);
    RC(fts_close(walk));
    say("%s\n", getcwd(cwd, sizeof cwd));
}

#define GLOBS(type, glob_, free_)                                                   \
    static const char *const patterns[] = {"*", "d/*", "?", "[ln]", "*/g", "none*", \
                                           "l*", ".*", "{f,s}", "d", "../x.*/f"};   \
    type g;                                                                         \
    for (unsigned i = 0; i < sizeof patterns / sizeof *patterns; i++) {             \
        const char *pattern = i % 2 ? here(patterns[i]) : patterns[i];              \
        if (strstr(pattern, "x.*"))                                                 \
            pattern = "../x.glob*/f";                                               \
        int rc = glob_(pattern, GLOB_MARK | GLOB_BRACE, NULL, &g);                  \
        say("%s: %d", pattern, rc);                                                 \
        for (unsigned j = 0; rc == 0 && j < g.gl_pathc; j++)                        \
            say(" %s", g.gl_pathv[j]);                                              \
        say("\n");                                                                  \
        if (rc == 0)                                                                \
            free_(&g);                                                              \
    }
EXERCISE(glob) { GLOBS(glob_t, glob, globfree) }
EXERCISE(glob64) { GLOBS(glob64_t, glob64, globfree64) }
