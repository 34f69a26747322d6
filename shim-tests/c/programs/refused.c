// worlds: -9p-old-base
// Arguments that calls on open files refuse, and in which order; and what chown(2) takes away.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *kind;

static void say(const char *what, long ret)
{
    printf("%s %s: %ld %s\n", kind, what, ret, ret < 0 ? strerrorname_np(errno) : "");
}

static long map(int fd, size_t len, int protection, int flags, off_t at)
{
    void *mapped = mmap(NULL, len, protection, flags, fd, at);
    if (mapped == MAP_FAILED)
        return -1;
    munmap(mapped, len);
    return 0;
}

static void mappings(int fd)
{
    // Of what no type is, one bit may mean something to the kernel.
    int flags[] = { 0, MAP_PRIVATE, MAP_SHARED, 4 };
    for (int i = 0; i < 4; i++) {
        printf("flags %d\n", flags[i]);
        say("mmap of nothing", map(fd, 0, PROT_READ, flags[i], 0));
        say("mmap to read", map(fd, 10, PROT_READ, flags[i], 0));
        say("mmap to write", map(fd, 10, PROT_READ | PROT_WRITE, flags[i], 0));
        say("mmap of no rights", map(fd, 10, PROT_NONE, flags[i], 0));
        say("mmap from within a page", map(fd, 10, PROT_READ, flags[i], 5));
    }
}

static void advice(int fd)
{
    say("readahead", readahead(fd, 0, 10));
    say("readahead from before", readahead(fd, -1, 10));
    say("readahead of less than nothing", readahead(fd, 0, -10));
    say("sync_file_range", sync_file_range(fd, 0, 10, SYNC_FILE_RANGE_WRITE));
    say("sync_file_range of no kind", sync_file_range(fd, 0, 10, 0));
    say("sync_file_range of other kinds", sync_file_range(fd, 0, 10, 8));
    say("sync_file_range from before", sync_file_range(fd, -1, 10, 1));
    say("sync_file_range of less than nothing", sync_file_range(fd, 5, -10, 1));
    say("sync_file_range beyond everything", sync_file_range(fd, 0x7fffffffffffffff, 2, 1));
    printf("%s fadvise: %d %d %d %d %d\n", kind, posix_fadvise(fd, 0, 10, POSIX_FADV_WILLNEED),
           posix_fadvise(fd, 0, 10, 9), posix_fadvise(fd, -5, 10, 1), posix_fadvise(fd, 0, -10, 1),
           posix_fadvise(fd, 0, 10, -1));
}

static void controls(int fd)
{
    int n = 0;
    say("FIONREAD", ioctl(fd, FIONREAD, &n));
    n = 0;
    say("FIONBIO", ioctl(fd, FIONBIO, &n));
    say("FIOCLEX", ioctl(fd, FIOCLEX));
    say("TIOCGWINSZ", ioctl(fd, TIOCGWINSZ, &n));
    say("no ioctl", ioctl(fd, 0x1234, &n));
    say("no fcntl", fcntl(fd, 99, 0));
    say("F_DUPFD of too many", fcntl(fd, F_DUPFD, 1 << 30));
    say("F_GETPIPE_SZ", fcntl(fd, F_GETPIPE_SZ));
}

static void spliced(int fd, int *pipe)
{
    off_t at = -1;
    say("splice to a pipe", splice(fd, NULL, pipe[1], NULL, 5, SPLICE_F_NONBLOCK));
    say("splice from before", splice(fd, &at, pipe[1], NULL, 5, SPLICE_F_NONBLOCK));
    say("splice of nothing", splice(fd, NULL, pipe[1], NULL, 0, 0));
    say("splice to itself", splice(fd, NULL, fd, NULL, 5, 0));
    say("splice to a pipe's other end", splice(fd, NULL, pipe[0], NULL, 5, SPLICE_F_NONBLOCK));
    say("tee", tee(fd, pipe[1], 3, 0));
}

static void owners(void)
{
    int modes[] = { 06755, 06745, 04644, 02644, 06711 };
    struct stat st;
    kind = "chown";
    for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++) {
        chmod("f", modes[i]);
        say("to oneself", chown("f", getuid(), getgid()));
        stat("f", &st);
        printf("  %o to %o\n", modes[i], st.st_mode);
    }
    mkdir("d", 0755);
    chmod("d", 02755);
    say("of a directory", chown("d", getuid(), getgid()));
    stat("d", &st);
    printf("  %o\n", st.st_mode);
    chmod("f", 0644);
}

int main(void)
{
    int pipes[2], made = open("f", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (pipe(pipes) || write(made, "0123456789", 10) < 0)
        return 1;
    struct { const char *kind; int fd; } all[] = {
        { "written", made }, { "read", open("f", O_RDONLY) }, { "both", open("f", O_RDWR) },
        { "directory", open(".", O_RDONLY) }, { "name", open("f", O_PATH) }, { "none", 999 },
    };
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        kind = all[i].kind;
        mappings(all[i].fd);
        advice(all[i].fd);
        controls(all[i].fd);
        spliced(all[i].fd, pipes);
    }
    owners();
    return 0;
}
