/* Named memory, semaphores and queues; raw system calls; libraries. */
#include "surface.h"
#include <dlfcn.h>
#include <linux/openat2.h>
#include <mqueue.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/syscall.h>

/* A name of the run's own: these are not files of the place. */
static const char *own(const char *what)
{
    static char name[128];
    const char *family = getenv("F");
    snprintf(name, sizeof name, "/%s.%s", family ? family : "none", what);
    return name;
}
EXERCISE(shm_open)
{
    int fd = FD(shm_open(own("shm"), O_CREAT | O_EXCL | O_RDWR, 0600));
    RC(ftruncate(fd, 4096));
    char *one = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int again = FD(shm_open(own("shm"), O_RDWR, 0));
    char *two = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0);
    strcpy(one, "shared");
    say("%s\n", two);
    FD(shm_open(own("shm"), O_CREAT | O_EXCL | O_RDWR, 0600));
    FD(shm_open("/a/b", O_RDWR, 0));
    FD(shm_open(own("none"), O_RDWR, 0));
    shm_unlink(own("shm"));
}
EXERCISE(shm_unlink)
{
    close(shm_open(own("gone"), O_CREAT | O_RDWR, 0600));
    RC(shm_unlink(own("gone")));
    RC(shm_unlink(own("gone")));
    RC(shm_unlink("/"));
}
EXERCISE(sem_open)
{
    int value = -1;
    sem_t *sem = sem_open(own("sem"), O_CREAT | O_EXCL, 0600, 2);
    say("made %d\n", sem != SEM_FAILED);
    sem_t *again = sem_open(own("sem"), 0);
    RC(sem_wait(again));
    RC(sem_getvalue(sem, &value));
    say("value %d\n", value);
    say("again %d ", sem_open(own("sem"), O_CREAT | O_EXCL, 0600, 1) == SEM_FAILED);
    say("%s\n", strerrorname_np(errno));
    say("none %d ", sem_open(own("semnone"), 0) == SEM_FAILED);
    say("%s\n", strerrorname_np(errno));
    sem_unlink(own("sem"));
}
EXERCISE(sem_unlink)
{
    sem_open(own("semgone"), O_CREAT, 0600, 1);
    RC(sem_unlink(own("semgone")));
    RC(sem_unlink(own("semgone")));
}
EXERCISE(mq_open)
{
    struct mq_attr attr = {.mq_maxmsg = 2, .mq_msgsize = 16};
    char got[32] = "";
    mqd_t q = mq_open(own("mq"), O_CREAT | O_RDWR, 0600, &attr);
    say("made %d\n", q >= 0);
    RC(mq_send(q, "queued", 7, 1));
    RC(mq_receive(q, got, sizeof got, NULL));
    say("%s\n", got);
    FD(mq_open(own("mqnone"), O_RDWR));
    mq_unlink(own("mq"));
}
EXERCISE(mq_unlink)
{
    mq_close(mq_open(own("mqgone"), O_CREAT | O_RDWR, 0600, NULL));
    RC(mq_unlink(own("mqgone")));
    RC(mq_unlink(own("mqgone")));
}

EXERCISE(syscall)
{
    struct stat s;
    struct statx x = {0};
    struct open_how how = {.flags = O_RDONLY};
    char cwd[PATH_MAX], buf[1024];
    int fd = FD(syscall(SYS_openat, AT_FDCWD, here("f"), O_RDONLY, 0));
    say_fd(fd);
    RC(syscall(SYS_newfstatat, AT_FDCWD, here("d"), &s, 0));
    say("mode %o\n", s.st_mode);
    RC(syscall(SYS_statx, AT_FDCWD, here("l"), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &x));
    say("mode %o\n", x.stx_mode);
    FD(syscall(SYS_openat2, AT_FDCWD, here("d/g"), &how, sizeof how));
    struct {
        struct open_how how;
        long more;
    } longer = {.how = how};
    FD(syscall(SYS_openat2, AT_FDCWD, here("d/g"), &longer, sizeof longer));
    longer.more = 1;
    FD(syscall(SYS_openat2, AT_FDCWD, here("d/g"), &longer, sizeof longer));
    FD(syscall(SYS_openat2, AT_FDCWD, here("d/g"), &how, sizeof how - 1));
    FD(syscall(SYS_openat2, AT_FDCWD, here("d/g"), (void *)1, sizeof how));
    how.mode = 0600;
    FD(syscall(SYS_openat2, AT_FDCWD, here("d/g"), &how, sizeof how));
    how.flags = -1ULL;
    FD(syscall(SYS_openat2, AT_FDCWD, here("d/g"), &how, sizeof how));
    RC(syscall(SYS_faccessat2, AT_FDCWD, here("f"), R_OK, 0));
    RC(syscall(SYS_renameat2, AT_FDCWD, here("f"), AT_FDCWD, "f2", RENAME_NOREPLACE));
    struct timespec times[2] = {{1, 2}, {3, 4}};
    RC(syscall(SYS_utimensat, fd, NULL, times, AT_SYMLINK_NOFOLLOW));
    RC(syscall(SYS_utimensat, fd, NULL, times, 0));
    RC(syscall(SYS_getcwd, cwd, sizeof cwd) > 0);
    say("%s\n", cwd);
    RC(syscall(SYS_readlinkat, AT_FDCWD, here("l"), buf, sizeof buf));
    RC(syscall(SYS_mkdirat, AT_FDCWD, here("m"), 0755));
    RC(syscall(SYS_unlinkat, AT_FDCWD, here("m"), AT_REMOVEDIR));
    int dir = FD(syscall(SYS_openat, AT_FDCWD, here("d"), O_RDONLY | O_DIRECTORY));
    RC(syscall(SYS_getdents64, dir, buf, sizeof buf) > 0);
    RC(syscall(SYS_fchdir, dir));
    say_file("g");
    int out = open(here("c"), O_CREAT | O_RDWR, 0600);
    lseek(fd, 0, SEEK_SET);
    RC(syscall(SYS_copy_file_range, fd, NULL, out, NULL, 100, 0));
    say_file(here("c"));
    RC(syscall(SYS_dup3, fd, 703, O_CLOEXEC));
    RC(syscall(SYS_close, fd));
    RC(syscall(SYS_close, fd));
    RC(syscall(SYS_close_range, 3, ~0U, 0));
    say_file(here("f2"));
    RC(syscall(SYS_openat, AT_FDCWD, "missing", O_RDONLY));
    RC(syscall(99999));
    RC(syscall(SYS_getpid) == getpid());
}

/* A library of the system, copied into the place under another name. */
static void library(const char *to)
{
    Dl_info info;
    char from[PATH_MAX], buf[65536];
    long n;
    dladdr((void *)printf, &info);
    /* With a library in front, printf may be found there: go by libc's own name. */
    void *libc = dlopen("libc.so.6", RTLD_NOLOAD | RTLD_LAZY);
    if (libc)
        dladdr(dlsym(libc, "qsort"), &info);
    snprintf(from, sizeof from, "%s", info.dli_fname);
    strcpy(strrchr(from, '/'), "/libm.so.6");
    int in = open(from, O_RDONLY), out = open(to, O_CREAT | O_WRONLY, 0755);
    while ((n = read(in, buf, sizeof buf)) > 0)
        write(out, buf, n);
    close(in);
    close(out);
}
EXERCISE(dlopen)
{
    library("libown.so");
    void *lib = dlopen(here("libown.so"), RTLD_NOW);
    say("opened %d\n", lib != NULL);
    if (!lib)
        say("%s\n", dlerror());
    double (*cosine)(double) = lib ? dlsym(lib, "cos") : NULL;
    say("cos %d\n", cosine ? (int)cosine(0) : -1);
    say("again %d\n", dlopen("./libown.so", RTLD_NOW) == lib);
    say("missing %d\n", dlopen(here("missing.so"), RTLD_NOW) == NULL);
    say("missing: %s\n", dlerror());
    say("no library %d\n", dlopen(here("f"), RTLD_NOW) == NULL);
    say("self %d\n", dlopen(NULL, RTLD_NOW) != NULL);
    if (lib)
        RC(dlclose(lib));
}
EXERCISE(dlsym)
{
    int (*any_open)(const char *, int, ...) = dlsym(RTLD_DEFAULT, "open");
    say_fd(any_open(here("f"), O_RDONLY));
    int (*next_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    say_fd(next_open(here("f"), O_RDONLY));
    say("none %d\n", dlsym(RTLD_DEFAULT, "no_such_symbol_at_all") == NULL);
    say("said %d\n", dlerror() != NULL);
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    int (*own_open)(const char *, int, ...) = dlsym(libc, "open");
    say("libc has it %d\n", own_open != NULL);
}
