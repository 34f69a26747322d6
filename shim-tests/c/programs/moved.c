// Working directories, and descriptors of directories, that somebody renames, replaces or
// removes: the program itself, another one of its family, somebody outside of it.
// worlds: +nested +9p-dir-tcp
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum who { ITSELF, MEMBER, OUTSIDER };
static const char *const WHO[] = { "itself", "member", "outsider" };
static const char *place, *host;

static void say(const char *what, long rc) { printf("%s: %s\n", what, rc < 0 ? strerrorname_np(errno) : "fine"); }
static const char *at(const char *root, const char *name)
{
    static char names[4][PATH_MAX];
    static int last;
    char *to = names[++last % 4];
    snprintf(to, PATH_MAX, "%s/w/%s", root, name);
    return to;
}

/* Past every library, on the names that the host has. */
static long raw(long number, long a, long b, long c, long d)
{
#ifdef __x86_64__
    long done;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(done) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return done < 0 ? (errno = -done, -1) : done;
#else
    return syscall(number, a, b, c, d);
#endif
}
/* Where the host has the tree, if it has; a tree in memory has no outside. */
static void find_host(void)
{
    static char name[PATH_MAX];
    const char *const all[] = { "src", "one", "two", "new/place" };
    for (int i = 0; i < 4 && !host; i++) {
        snprintf(name, sizeof name, "%s/%s/w/here", getenv("T"), all[i]);
        if (raw(SYS_faccessat, AT_FDCWD, (long)name, F_OK, 0) == 0) {
            name[strlen(name) - 7] = 0;
            host = name;
        }
    }
}

static void act(const char *what, const char *a, const char *b)
{
    long done = strcmp(what, "move") == 0 ? rename(at(place, a), at(place, b))
        : strcmp(what, "make") == 0       ? mkdir(at(place, a), 0755)
                                          : rmdir(at(place, a));
    if (done)
        say(what, done);
}
static void outside(const char *what, const char *a, const char *b)
{
    long from = (long)at(host, a), to = b ? (long)at(host, b) : 0;
    long done = strcmp(what, "move") == 0 ? raw(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to)
        : strcmp(what, "make") == 0       ? raw(SYS_mkdirat, AT_FDCWD, from, 0755, 0)
                                          : raw(SYS_unlinkat, AT_FDCWD, from, AT_REMOVEDIR, 0);
    if (done)
        say(what, done);
}
static void by(enum who who, const char *what, const char *a, const char *b)
{
    if (who == OUTSIDER && host) {
        outside(what, a, b);
    } else if (who == ITSELF) {
        act(what, a, b);
    } else {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            act(what, a, b);
            fflush(stdout);
            _exit(0);
        }
        waitpid(child, 0, 0);
    }
}

static void put(const char *name, const char *text)
{
    int fd = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        say(name, -1);
    close(fd);
}
static void text(int dir, const char *name)
{
    char b[100] = "";
    int fd = openat(dir, name, O_RDONLY);
    if (fd < 0 || read(fd, b, 99) < 0)
        printf("%s: %s\n", name, strerrorname_np(errno));
    else
        printf("%s: %s\n", name, b);
    if (fd >= 0)
        close(fd);
}
static const char *below(const char *name)
{
    size_t n = strlen(place);
    return strncmp(name, place, n) == 0 ? name + n : name;
}
static void called(int fd)
{
    char b[PATH_MAX], link[64];
    printf("cwd %s\n", getcwd(b, sizeof b) ? below(b) : strerrorname_np(errno));
    for (int i = 0; i < 2; i++) {
        strcpy(link, "/proc/self/cwd");
        if (i)
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        long n = readlink(link, b, sizeof b - 1);
        b[n < 0 ? 0 : n] = 0;
        printf("%s -> %s\n", i ? "fd" : "cwd", n < 0 ? strerrorname_np(errno) : below(b));
    }
}
static void list(int fd)
{
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY);
    DIR *dir = again < 0 ? NULL : fdopendir(again);
    if (!dir) {
        say("list", -1);
        return;
    }
    char names[20][20];
    int n = 0;
    for (struct dirent *e; n < 20 && (e = readdir(dir));)
        snprintf(names[n++], 20, "%.19s", e->d_name);
    closedir(dir);
    qsort(names, n, 20, (int (*)(const void *, const void *))strcmp);
    printf("listed:");
    for (int i = 0; i < n; i++)
        printf(" %s", names[i]);
    puts("");
}
/* What a child and the next program find there. */
static void children(void)
{
    fflush(stdout);
    if (fork() == 0) {
        text(AT_FDCWD, "f");
        text(AT_FDCWD, "../b/f");
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
    if (system("cat f; echo; cat ../b/f; echo; /bin/pwd | sed 's,.*/w/,/w/,'; readlink /proc/self/cwd | sed 's,.*/w/,/w/,'; ls"))
        say("system", -1);
}

static void renamed(enum who who)
{
    struct stat s, t;
    printf("-- renamed: %s\n", WHO[who]);
    mkdir(at(place, "a"), 0755);
    mkdir(at(place, "a/b"), 0755);
    put(at(place, "a/b/f"), "old");
    chdir(at(place, "a/b"));
    int dir = open(".", O_RDONLY | O_DIRECTORY), named = open(at(place, "a/b"), O_PATH | O_DIRECTORY);
    text(AT_FDCWD, "f");
    called(dir);
    by(who, "move", "a", "moved");
    text(AT_FDCWD, "f");
    text(dir, "f");
    text(named, "f");
    called(dir);
    by(who, "make", "a", NULL);
    by(who, "make", "a/b", NULL);
    put(at(place, "a/b/f"), "new");
    text(AT_FDCWD, "f");
    text(AT_FDCWD, "./f");
    /* What `..` leads to is remembered for the rest of the second. */
    if (who == OUTSIDER)
        sleep(1);
    text(AT_FDCWD, "../b/f");
    text(dir, "f");
    text(dir, "../b/f");
    text(named, "../b/f");
    called(dir);
    called(named);
    say("stat .", stat(".", &s));
    say("stat ..", stat("..", &s));
    say("stat ../../a", stat("../../a", &t));
    printf("%s\n", s.st_ino == t.st_ino ? "the same" : "another");
    list(AT_FDCWD);
    list(dir);
    put("made", "made");
    say("mkdir", mkdir("d", 0700));
    say("mkdirat", mkdirat(dir, "e", 0700));
    say("rename", rename("made", "other"));
    say("renameat", renameat(dir, "other", named, "made"));
    say("there", access(at(place, "moved/b/made"), F_OK));
    say("not there", access(at(place, "a/b/made"), F_OK));
    children();
    say("chmod", chmod("made", 0600));
    say("fchmodat", fchmodat(dir, "made", 0640, 0));
    say("unlink", unlink("made"));
    say("rmdir", rmdir("d"));
    say("rmdir", unlinkat(dir, "e", AT_REMOVEDIR));
    say("chdir", chdir("/"));
    say("fchdir", fchdir(dir));
    called(dir);
    text(AT_FDCWD, "f");
    say("fchdir", fchdir(named));
    text(AT_FDCWD, "f");
    by(who, "move", "moved", "again");
    text(AT_FDCWD, "f");
    if (who == OUTSIDER)
        sleep(1);
    say("up", chdir(".."));
    called(dir);
    text(AT_FDCWD, "b/f");
    say("down", chdir("b"));
    unlink("f");
    unlink(at(place, "a/b/f"));
    by(who, "remove", "again/b", NULL);
    by(who, "make", "again/b", NULL);
    put(at(place, "again/b/f"), "newer");
    called(dir);
    text(AT_FDCWD, "f");
    text(dir, "f");
    say("make in nothing", open("x", O_CREAT | O_WRONLY, 0600));
    say("make in nothing", openat(dir, "x", O_CREAT | O_WRONLY, 0600));
    say("mkdir", mkdir("x", 0700));
    say("stat .", stat(".", &s));
    say("stat x", stat("x", &s));
    say("fstat", fstat(dir, &s));
    list(AT_FDCWD);
    list(named);
    close(dir);
    close(named);
    chdir(at(place, ""));
    unlink(at(place, "again/b/f"));
    act("remove", "again/b", NULL);
    act("remove", "again", NULL);
    act("remove", "a/b", NULL);
    act("remove", "a", NULL);
}

int main(void)
{
    place = getenv("P");
    put("here", "");
    find_host();
    for (enum who who = ITSELF; who <= OUTSIDER; who++)
        renamed(who);
    return 0;
}
