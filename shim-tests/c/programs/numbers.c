// The kernel's rule of the lowest free number, and programs that close or overwrite all.
// worlds: +nested +locked +old +text +mdwe
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *place;
static void reads(const char *what)
{
    char b[32] = "", name[4096];
    snprintf(name, sizeof name, "%s/hello.txt", place);
    int fd = open(name, O_RDONLY);
    long n = fd < 0 ? -1 : read(fd, b, 31);
    printf("%s: %s\n", what, n < 0 ? strerrorname_np(errno) : b);
    close(fd);
    fflush(stdout);
}
static void by_loop(void) { for (int i = 3; i < 4096; i++) close(i); }
static void by_from(void) { closefrom(3); }
static void by_range(void) { close_range(3, ~0U, 0); }
static void by_exec_flag(void) { close_range(3, ~0U, CLOSE_RANGE_CLOEXEC); }
static void by_syscall(void) { for (int i = 3; i < 4096; i++) syscall(SYS_close, i); }
static void by_range_syscall(void) { syscall(SYS_close_range, 3, ~0U, 0); }
static void by_listing(void)
{
    DIR *d = opendir("/proc/self/fd");
    struct dirent *e;
    while ((e = readdir(d)))
        if (atoi(e->d_name) > 2 && atoi(e->d_name) != dirfd(d))
            close(atoi(e->d_name));
    closedir(d);
}
static void by_dup(void) { for (int i = 3; i < 1024; i++) dup2(0, i); by_loop(); }
static void by_dup3(void) { for (int i = 3; i < 1024; i++) dup3(0, i, O_CLOEXEC); }

int main(void)
{
    place = getenv("P");
    close_range(3, ~0U, 0);
    int a = open("a", O_CREAT | O_RDWR, 0600), b = open("b", O_CREAT | O_RDWR, 0600), c = dup(a);
    printf("%d %d %d\n", a, b, c);
    close(a);
    printf("%d\n", open("../hello.txt", O_RDONLY));
    close(0);
    printf("%d\n", open("../lines", O_RDONLY));
    int ends[2];
    pipe(ends);
    printf("%d %d\n", ends[0], ends[1]);
    printf("%d %d\n", fcntl(0, F_DUPFD, 20), fcntl(0, F_DUPFD, 20));
    closefrom(3);

    static const struct { const char *name; void (*how)(void); } ways[] = {
        {"loop", by_loop}, {"closefrom", by_from}, {"close_range", by_range}, {"cloexec", by_exec_flag},
        {"syscall", by_syscall}, {"range syscall", by_range_syscall}, {"listing", by_listing}, {"dup2", by_dup}, {"dup3", by_dup3}};
    for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++) {
        fflush(stdout);
        if (fork() == 0) {
            ways[i].how();
            reads(ways[i].name);
            printf("%s next %d\n", ways[i].name, open("../lines", O_RDONLY) < (i > 6 ? 4096 : 4));
            fflush(stdout);
            if (fork() == 0)
                execl("/bin/cat", "cat", "../hello.txt", "../lines", NULL);
            wait(NULL);
            execle("/bin/sh", "sh", "-c", "cat ../hello.txt; exec cat ../w/../lines", NULL, (char *[]){NULL});
        }
        wait(NULL);
    }
    /* A low limit set from inside. */
    struct rlimit limit = {16, 16};
    setrlimit(RLIMIT_NOFILE, &limit);
    int n = 0;
    while (open("../lines", O_RDONLY) >= 0)
        n++;
    printf("%d then %s\n", n, strerrorname_np(errno));
    struct stat s;
    printf("stat %d\n", stat("../lines", &s));
    close(10);
    reads("one free");
    return 0;
}
