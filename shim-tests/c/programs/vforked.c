// worlds: +locked +text +9p-dir-tcp
// Children that share their parent's memory take every number that there is: by dup2(2), dup3(2) and
// posix_spawn(3). What they do then, and what their parent still has.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

// With the least limit on descriptors that is usual, a few are left above.
enum { FIRST = 3, LAST = 1012 };

static int file;

static void said(const char *what, long wrong)
{
    char line[200];
    int n = snprintf(line, sizeof line, "%s: %ld\n", what, wrong);
    write(1, line, n);
}

static long takes(int (*dups)(int, int))
{
    long wrong = 0;
    for (int i = FIRST; i < LAST; i++)
        wrong += i != file && dups(file, i) != i;
    return wrong;
}

static int dup3_open(int from, int to) { return dup3(from, to, 0); }

static long differ(void)
{
    struct stat one, other;
    long wrong = fstat(file, &one);
    for (int i = FIRST; i < LAST; i++)
        wrong += fstat(i, &other) || other.st_ino != one.st_ino;
    return wrong;
}

static void reads(const char *what, const char *name)
{
    char text[100] = "";
    int fd = open(name, O_RDONLY);
    long n = read(fd, text, sizeof text - 1);
    printf("%s: %ld %s\n", what, n, n < 0 ? strerrorname_np(errno) : text);
    close(fd);
    fflush(stdout);
}

static void child(int (*dups)(int, int), int twice)
{
    said("not taken", takes(dups));
    said("not the same", differ());
    said("written", pwrite(LAST - 3, "by the child", 12, 0));
    close(FIRST);
    int other = open("../hello.txt", O_RDONLY);
    char text[6] = "";
    said("another opened", other >= 0 ? read(other, text, 5) : -errno);
    said("not taken again", takes(dups));
    said("made", mkdir("made", 0755));
    said("removed", rmdir("made"));
    if (twice) {
        pid_t pid = vfork();
        if (pid == 0) {
            said("not taken by its child", takes(dups));
            said("not the same there", differ());
            execl("/bin/cat", "cat", "../lines", NULL);
            _exit(1);
        }
        waitpid(pid, NULL, 0);
        said("not the same after that", differ());
        said("looked at", access("../lines", R_OK));
        pid = fork();
        if (pid == 0) {
            said("not the same in a copy", differ());
            said("written there", pwrite(LAST - 2, "by its child", 12, 0));
            said("not taken in a copy", takes(dups));
            execl("/bin/cat", "cat", "../lines", "f", NULL);
            _exit(1);
        }
        waitpid(pid, NULL, 0);
        said("not the same after that", differ());
    }
    execl("/bin/cat", "cat", "../hello.txt", "f", NULL);
    _exit(1);
}

static void spawned(char *self)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    for (int i = LAST - 1; i >= FIRST; i--)
        posix_spawn_file_actions_adddup2(&actions, file, i);
    char *argv[] = {self, "check", NULL};
    pid_t pid;
    int failed = posix_spawn(&pid, self, &actions, NULL, argv, environ), status = -1;
    waitpid(pid, &status, 0);
    said("spawned", failed);
    said("status", status);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        long wrong = 0;
        for (int i = FIRST; i < LAST; i++)
            wrong += fcntl(i, F_GETFD) != 0;
        said("not inherited", wrong);
        reads("by what was spawned", "f");
        return 0;
    }
    file = open("f", O_RDWR | O_CREAT, 0644);
    write(file, "by the parent\n", 14);
    reads("to begin with", "f");
    for (int i = 0; i < 4; i++) {
        pid_t pid = vfork();
        if (pid == 0)
            child(i % 2 ? dup2 : dup3_open, i / 2);
        int status = -1;
        waitpid(pid, &status, 0);
        said("status", status);
        reads("in the parent", "f");
        said("its own number", open("../lines", O_RDONLY));
        said("and not its child's", fcntl(100, F_GETFD));
        pwrite(file, "by the parent\n", 14, 0);
    }
    spawned(argv[0]);
    reads("at the end", "f");
    struct stat st;
    said("length", stat("f", &st) ? -1 : st.st_size);
    return 0;
}
