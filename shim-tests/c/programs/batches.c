// worlds: +9p-dir-tcp
// Reads and writes that are handed over many at once (io_submit(2), aio(7)), and those with flags
// of their own (preadv2(2)).
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static void say(const char *what, long ret)
{
    printf("%s: %ld %s\n", what, ret, ret < 0 ? strerrorname_np(errno) : "");
}

static void show(const char *name)
{
    char text[400] = "";
    int fd = open(name, O_RDONLY);
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    printf("  %s: %zd %.*s\n", name, n, (int)n, text);
    close(fd);
}

static struct iocb request(int fd, int what, const void *buf, size_t len, off_t at, uint64_t mark)
{
    return (struct iocb){ .aio_data = mark, .aio_lio_opcode = what, .aio_fildes = fd,
                          .aio_buf = (uintptr_t)buf, .aio_nbytes = len, .aio_offset = at };
}

static void submitted(void)
{
    aio_context_t context = 0;
    say("io_setup", syscall(SYS_io_setup, 16, &context));
    int fd = open("many", O_RDWR | O_CREAT | O_TRUNC, 0644);
    int told = eventfd(0, 0), pipes[2];
    if (pipe(pipes))
        return;
    char a[8] = "", b[8] = "", c[8] = "";
    struct iovec parts[2] = { { b, 3 }, { c, 4 } };
    struct iocb all[] = {
        request(fd, IOCB_CMD_PWRITE, "0123456789", 10, 0, 1),
        request(pipes[1], IOCB_CMD_PWRITE, "pipe", 4, 0, 2),
        request(fd, IOCB_CMD_PWRITE, "abc", 3, 4, 3),
        request(fd, IOCB_CMD_FSYNC, NULL, 0, 0, 4),
        request(fd, IOCB_CMD_PREAD, a, 7, 2, 5),
        request(fd, IOCB_CMD_PREADV, parts, 2, 5, 6),
    };
    all[4].aio_flags = IOCB_FLAG_RESFD;
    all[4].aio_resfd = told;
    struct iocb *list[6];
    struct io_event got[6];
    long done = 0;
    for (int i = 0; i < 6; i++) {
        list[i] = &all[i];
        // One after the other: the kernel may do them in any order.
        done += syscall(SYS_io_submit, context, 1, &list[i]);
        long n = syscall(SYS_io_getevents, context, 1, 1, got, NULL);
        int same = got[0].obj == (uintptr_t)list[i] && all[i].aio_fildes == (i == 1 ? pipes[1] : fd);
        printf("  %ld: %llu %lld %d\n", n, (unsigned long long)got[0].data, (long long)got[0].res, same);
    }
    uint64_t events = 0;
    say("told", read(told, &events, 8));
    printf("%ld %s %s %s %lu\n", done, a, b, c, (unsigned long)events);
    show("many");
    say("no room", syscall(SYS_io_submit, context, 1, &(struct iocb *){ NULL }));
    all[0].aio_offset = -1;
    say("before", syscall(SYS_io_submit, context, 1, list));
    all[0].aio_fildes = 9999;
    say("no file", syscall(SYS_io_submit, context, 2, list));
    list[0] = &all[2], list[1] = &all[0];
    say("the first", syscall(SYS_io_submit, context, 2, list));
    say("an event", syscall(SYS_io_getevents, context, 1, 1, got, NULL));
    list[0] = &all[2], list[1] = &all[3], list[2] = &all[1], list[3] = &all[4];
    say("four", syscall(SYS_io_submit, context, 4, list));
    say("events", syscall(SYS_io_getevents, context, 4, 6, got, NULL));
    int append = open("many", O_WRONLY | O_APPEND);
    all[0] = request(append, IOCB_CMD_PWRITE, "end", 3, 0, 7);
    list[0] = &all[0];
    say("append", syscall(SYS_io_submit, context, 1, list));
    say("an event", syscall(SYS_io_getevents, context, 1, 1, got, NULL));
    show("many");
    all[0].aio_lio_opcode = IOCB_CMD_PREAD;
    say("not for reading", syscall(SYS_io_submit, context, 1, list));
    syscall(SYS_io_destroy, context);
    close(append), close(fd), close(told), close(pipes[0]), close(pipes[1]);
}

static void posix(void)
{
    char text[16] = "";
    int fd = open("posix", O_RDWR | O_CREAT | O_TRUNC, 0644);
    struct aiocb write = { .aio_fildes = fd, .aio_buf = "some text", .aio_nbytes = 9, .aio_offset = 3 };
    struct aiocb read = { .aio_fildes = fd, .aio_buf = text, .aio_nbytes = 15, .aio_offset = 4 };
    const struct aiocb *one = &write, *other = &read, *sync = &write;
    say("aio_write", aio_write(&write));
    aio_suspend(&one, 1, NULL);
    printf("  %d %zd\n", aio_error(&write), aio_return(&write));
    say("aio_read", aio_read(&read));
    aio_suspend(&other, 1, NULL);
    printf("  %d %zd %s\n", aio_error(&read), aio_return(&read), text);
    say("aio_fsync", aio_fsync(O_SYNC, &write));
    aio_suspend(&sync, 1, NULL);
    printf("  %d %zd\n", aio_error(&write), aio_return(&write));
    struct aiocb *both[] = { &write, &read };
    write.aio_lio_opcode = LIO_WRITE, write.aio_offset = 12;
    read.aio_lio_opcode = LIO_READ, read.aio_offset = 3, read.aio_nbytes = 4;
    say("lio_listio", lio_listio(LIO_WAIT, both, 2, NULL));
    printf("  %zd %zd %.4s\n", aio_return(&write), aio_return(&read), text);
    printf("  %zd bytes\n", (ssize_t)lseek(fd, 0, SEEK_END));
    close(fd);
}

static void with_flags(void)
{
    enum { HIPRI = 1, DSYNC = 2, SYNC = 4, NOWAIT = 8, APPEND = 16, NOAPPEND = 32 };
    char text[32] = "";
    struct iovec out = { "wxyz", 4 }, in = { text, 5 };
    int fd = open("flags", O_RDWR | O_CREAT | O_TRUNC, 0644);
    say("write", write(fd, "0123456789", 10));
    say("append", pwritev2(fd, &out, 1, 2, APPEND));
    say("at", lseek(fd, 3, SEEK_SET));
    say("append", pwritev2(fd, &out, 1, 0, APPEND | DSYNC));
    say("at", lseek(fd, 0, SEEK_CUR));
    say("append here", pwritev2(fd, &out, 1, -1, APPEND));
    say("at", lseek(fd, 0, SEEK_CUR));
    show("flags");
    say("both", pwritev2(fd, &out, 1, 0, APPEND | NOAPPEND));
    say("unknown", pwritev2(fd, &out, 1, 0, 1 << 20));
    say("synced", pwritev2(fd, &out, 1, 1, SYNC));
    say("before", pwritev2(fd, &out, 1, -2, 0));
    say("read", preadv2(fd, &in, 1, 8, HIPRI));
    printf("  %s\n", text);
    say("read", preadv2(fd, &in, 1, 1, DSYNC | SYNC | APPEND));
    printf("  %s\n", text);
    say("unknown", preadv2(fd, &in, 1, 0, 1 << 20));
    // A file system can say at once what it has, or it cannot say that.
    memset(text, 0, sizeof text);
    errno = 0;
    ssize_t n = preadv2(fd, &in, 1, 0, NOWAIT);
    printf("at once %d\n", n == 5 ? !strncmp(text, "0wxyz", 5) : errno == EOPNOTSUPP || errno == EAGAIN);
    close(fd);
    fd = open("flags", O_WRONLY | O_APPEND);
    n = pwritev2(fd, &out, 1, 6, NOAPPEND);
    if (n < 0 && errno == EOPNOTSUPP) // Before Linux 6.9.
        n = close(fd), fd = open("flags", O_WRONLY), n = pwrite(fd, "wxyz", 4, 6), close(fd),
        fd = open("flags", O_WRONLY | O_APPEND);
    say("no append", n);
    say("append", write(fd, "!", 1));
    show("flags");
    close(fd);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    submitted();
    posix();
    with_flags();
    return 0;
}
