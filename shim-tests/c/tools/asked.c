// Reads a file by aio(7).
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    char text[64] = "";
    struct aiocb read = { .aio_fildes = open(argv[argc - 1], O_RDONLY), .aio_buf = text, .aio_nbytes = 63 };
    const struct aiocb *all = &read;
    if (aio_read(&read)) {
        puts(strerrorname_np(errno));
        return 0;
    }
    aio_suspend(&all, 1, NULL);
    int error = aio_error(&read);
    printf("%d %zd %s", error, aio_return(&read), text);
    return 0;
}
