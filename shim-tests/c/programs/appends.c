// worlds: +9p-dir-tcp
// Where writing at the end leaves offsets, whoever else writes there: in one process, over dup(2),
// fork(2) and exec, and when a file is made shorter.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void at(const char *what, int fd)
{
    printf("%s: %ld\n", what, (long)lseek(fd, 0, SEEK_CUR));
    fflush(stdout);
}

static void two(int fd, int other)
{
    write(fd, "hello", 5);
    at("after one write", fd);
    write(fd, "hello", 5);
    write(other, "abc", 3);
    at("after another's", fd);
    at("the other's", other);
    write(fd, "12", 2);
    write(other, "xyz", 3);
    int copy = dup(fd);
    at("a duplicate's", copy);
    write(copy, "1", 1);
    at("and after it has written", fd);
    write(other, "4567", 4);
    at("the duplicate's again", copy);
    close(copy);
}

static void written_elsewhere(int fd, int third)
{
    write(fd, "12", 2);
    pwrite(third, "beyond", 6, 100);
    at("after a write beyond", fd);
    write(fd, "34", 2);
    ftruncate(third, 50);
    at("after it was cut", fd);
    write(fd, "56", 2);
    truncate("f", 20);
    at("after it was cut by its name", fd);
    write(fd, "78", 2);
    close(open("f", O_WRONLY | O_TRUNC));
    at("after it was emptied", fd);
    write(fd, "9", 1);
    at("and written again", fd);
    write(fd, "0", 1);
    fcntl(fd, F_SETFL, 0);
    pwrite(fd, "far", 3, 60);
    at("after pwrite", fd);
    write(fd, "ab", 2);
    at("without O_APPEND", fd);
    fcntl(fd, F_SETFL, O_APPEND);
    write(fd, "cd", 2);
    at("with it again", fd);
}

static void children(int fd, int other)
{
    if (fork() == 0) {
        write(fd, "child", 5);
        at("in a child", fd);
        write(fd, "more", 4);
        _exit(0);
    }
    wait(NULL);
    write(other, "xyz", 3);
    at("in its parent", fd);
    write(fd, "1", 1);
    if (fork() == 0) {
        dup2(fd, 1);
        execl("/bin/echo", "echo", "hello", NULL);
    }
    wait(NULL);
    write(other, "xyz", 3);
    at("after a program", fd);
    at("the other's", other);
    printf("end: %ld\n", (long)lseek(other, 0, SEEK_END));
}

int main(void)
{
    for (int mode = O_WRONLY; mode <= O_RDWR; mode++) {
        int fd = open("f", mode | O_APPEND | O_CREAT | O_TRUNC, 0644), other = open("f", O_WRONLY | O_APPEND);
        int third = open("f", O_RDWR), apart = open("g", O_WRONLY | O_CREAT | O_APPEND | O_TRUNC, 0644);
        write(apart, "apart", 5);
        two(fd, other);
        written_elsewhere(fd, third);
        children(fd, other);
        at("another file's", apart);
        close(fd);
        close(other);
        close(third);
        close(apart);
    }
    return 0;
}
