/* Runs the exercises, each in a child, and prints what each one said. */
#include "surface.h"
#include <signal.h>
#include <sys/mman.h>

extern const struct exercise __start_exercises[], __stop_exercises[];

#define ROOM 65536
static char *report;
static char base[PATH_MAX];

void say(const char *format, ...)
{
    size_t used = strlen(report);
    va_list args;
    va_start(args, format);
    vsnprintf(report + used, ROOM - used, format, args);
    va_end(args);
}

const char *here(const char *name)
{
    static char ring[8][PATH_MAX];
    static int next;
    char *path = ring[next++ % 8];
    snprintf(path, PATH_MAX, "%s/%s", base, name);
    return path;
}

void say_fd(int fd)
{
    char buf[4096];
    long n = read(fd, buf, sizeof buf - 1);
    buf[n < 0 ? 0 : n] = 0;
    say("[%ld] %s\n", n, n < 0 ? strerrorname_np(errno) : buf);
}

void say_file(const char *name)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        say("%s: %s\n", name, strerrorname_np(errno));
        return;
    }
    say("%s: ", name);
    say_fd(fd);
    close(fd);
}

void put(const char *name, const char *text)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        say("put %s: %s\n", name, strerrorname_np(errno));
    close(fd);
}

void say_stat(const char *what, const struct stat *s)
{
    say("%s: mode %o links %lu owner %u:%u size %ld\n", what, s->st_mode,
        (unsigned long)(S_ISDIR(s->st_mode) ? 0 : s->st_nlink), s->st_uid, s->st_gid,
        (long)(S_ISDIR(s->st_mode) ? 0 : s->st_size));
}

void say_status(int status)
{
    if (WIFEXITED(status))
        say("status %d\n", WEXITSTATUS(status));
    else
        say("signal %d\n", WTERMSIG(status));
}

void say_child(void (*body)(void))
{
    int ends[2], status = 0;
    pipe(ends);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        body();
        say("came back: %s\n", strerrorname_np(errno));
        _exit(98);
    }
    close(ends[1]);
    char buf[4096];
    long n;
    while ((n = read(ends[0], buf, sizeof buf - 1)) > 0) {
        buf[n] = 0;
        say("%s", buf);
    }
    close(ends[0]);
    waitpid(pid, &status, 0);
    say_status(status);
}

int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void say_sorted(char **names, int count)
{
    qsort(names, count, sizeof *names, compare_names);
    for (int i = 0; i < count; i++)
        say(" %s", names[i]);
    say("\n");
}

static void fixture(void)
{
    put("f", "hello\n");
    mkdir("d", 0755);
    put("d/g", "inside\n");
    put("s", "#!/bin/sh\necho \"script $0 $# $1 X=$X\"\nexit 3\n");
    chmod("s", 0755);
    symlink("f", "l");
    symlink("nowhere", "n");
    symlink("o", "o");
}

static void one(const struct exercise *e, const char *top)
{
    char dir[256];
    int status = 0;
    memset(report, 0, ROOM);
    snprintf(dir, sizeof dir, "x.%s", e->name);
    snprintf(base, sizeof base, "%s/%s", top, dir);
    if (mkdir(dir, 0755) || chdir(dir))
        say("no directory: %s\n", strerrorname_np(errno));
    fixture();
    pid_t pid = fork();
    if (pid == 0) {
        alarm(10);
        e->run();
        _exit(0);
    }
    waitpid(pid, &status, 0);
    chdir(top);
    if (status)
        say_status(status);
    printf("== %s\n%s", e->name, report);
    fflush(stdout);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct exercise *)a)->name, ((const struct exercise *)b)->name);
}

int main(int argc, char **argv)
{
    const char *place = getenv("P");
    char top[PATH_MAX];
    size_t count = __stop_exercises - __start_exercises;
    struct exercise *all = calloc(count, sizeof *all);
    memcpy(all, __start_exercises, count * sizeof *all);
    qsort(all, count, sizeof *all, by_name);
    snprintf(top, sizeof top, "%s/w", place ? place : "/nowhere");
    report = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    umask(022);
    setenv("PWD", top, 1);
    if (chdir(top)) {
        perror(top);
        return 1;
    }
    for (size_t i = 0; i < count; i++)
        if (argc < 2 || !strcmp(argv[1], all[i].name))
            one(&all[i], top);
    return 0;
}
