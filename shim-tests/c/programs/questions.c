// worlds: +9p-dir-tcp -9p-old
// What is asked of open files beside their attributes: whether they were made by the open
// (F_CREATED_QUERY), and by ioctl(2).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CREATED_QUERY = 1028 };

static void say(const char *what, long ret)
{
    printf("%s: %ld %s\n", what, ret, ret < 0 ? strerrorname_np(errno) : "");
}

static int made(const char *what, const char *name, int flags)
{
    int fd = open(name, flags, 0644);
    say(what, fd < 0 ? -1 : fcntl(fd, CREATED_QUERY));
    return fd;
}

static void asked(const char *what, int fd)
{
    int n = -1;
    long long size = -1;
    printf("%s\n", what);
    say("FIGETBSZ", ioctl(fd, FIGETBSZ, &n));
    printf("%d\n", n > 0);
    say("FIGETBSZ to nowhere", ioctl(fd, FIGETBSZ, 8));
    say("FIOQSIZE", ioctl(fd, FIOQSIZE, &size));
    printf("%d\n", size >= 0);
    say("FICLONE of nothing", ioctl(fd, FICLONE, 999));
    say("FIONREAD", ioctl(fd, FIONREAD, &n));
    if (geteuid() != 0)
        say("FIBMAP", ioctl(fd, FIBMAP, &n));
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        say("in another program", fcntl(9, CREATED_QUERY));
        return 0;
    }
    int new = made("new", "f", O_RDWR | O_CREAT), again = made("there", "f", O_RDWR | O_CREAT);
    made("emptied", "f", O_WRONLY | O_CREAT | O_TRUNC);
    made("for itself alone", "g", O_WRONLY | O_CREAT | O_EXCL);
    made("to read", "h", O_RDONLY | O_CREAT);
    made("to read, and there", "h", O_RDONLY | O_CREAT);
    made("opened", "h", O_RDONLY);
    made("at the end", "i", O_WRONLY | O_CREAT | O_APPEND);
    made("named", "h", O_PATH);
    made("a directory", ".", O_RDONLY);
    symlink("j", "link");
    made("by a link", "link", O_WRONLY | O_CREAT);
    made("by a link, and there", "link", O_WRONLY | O_CREAT);
    say("another's number", fcntl(dup(new), CREATED_QUERY));
    fflush(stdout);
    if (fork() == 0) {
        say("in a child", fcntl(new, CREATED_QUERY));
        say("of what was there", fcntl(again, CREATED_QUERY));
        fflush(stdout);
        dup2(new, 9);
        execl(argv[0], argv[0], "again", NULL);
    }
    wait(NULL);
    write(new, "0123456789", 10);
    asked("read and written", new);
    asked("only read", open("f", O_RDONLY));
    asked("a directory", open(".", O_RDONLY));
    asked("only named", open("f", O_PATH));
    return 0;
}
