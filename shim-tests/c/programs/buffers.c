// worlds: +9p-dir-tcp
// Buffers that are not there, or only in part: what read(2) and write(2) and their like do with them,
// and that nothing else suffers.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { PAGE = 4096, LARGE = 300 * PAGE };

static const char *kind;
static int fd;
static void *volatile null;

static void say(const char *what, long ret)
{
    printf("%s %s: %ld %s", kind, what, ret, ret < 0 ? strerrorname_np(errno) : "");
    printf(" at %ld\n", (long)lseek(fd, 0, SEEK_CUR));
}

// Memory whose first pages are there, and the rest as `protection` says; -1: not mapped.
static char *memory(size_t there, int protection)
{
    char *at = mmap(NULL, there + 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(at, 'm', there);
    if (protection < 0)
        munmap(at + there, 8 * PAGE);
    else
        mprotect(at + there, 8 * PAGE, protection);
    return at;
}

static unsigned sum(const char *at, size_t n)
{
    unsigned sum = 0;
    while (n--)
        sum = sum * 31 + (unsigned char)*at++;
    return sum;
}

static void reads(const char *name, int protection)
{
    static char clean[16 * PAGE];
    size_t sizes[] = { 10, 100, PAGE, PAGE + 100, 3 * PAGE, 16 * PAGE, 20 * PAGE };
    fd = open(name, O_RDONLY);
    char *bad = memory(PAGE, protection) + PAGE;
    say("read", read(fd, bad, 100));
    say("read null", read(fd, null, 100));
    say("pread", pread(fd, bad + 5, 3 * PAGE, 7));
    say("read nothing", read(fd, bad, 0));
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *part = memory(2 * PAGE, protection);
        lseek(fd, 3, SEEK_SET);
        say("read in part", read(fd, part + 2 * PAGE - 50, sizes[i]));
        printf("  %u\n", sum(part, 2 * PAGE));
        say("and on", read(fd, clean, sizeof clean));
        printf("  %u\n", sum(clean, sizeof clean));
        say("pread in part", pread(fd, part + PAGE - 50, sizes[i], 1));
        printf("  %u\n", sum(part, 2 * PAGE));
        lseek(fd, 0, SEEK_SET);
        struct iovec parts[] = { { clean, 30 }, { part + 2 * PAGE - 20, 20 }, { bad, 10 }, { clean, 9 } };
        say("readv", readv(fd, parts, 4));
        say("preadv", preadv(fd, parts + 2, 2, 5));
        say("readv of nowhere", readv(fd, (struct iovec *)(bad + 8), 2));
    }
    lseek(fd, 0, SEEK_END);
    say("read at the end", read(fd, bad, 100));
    say("read null at the end", read(fd, null, 100));
    say("pread behind the end", pread(fd, bad, 100, 1 << 30));
    lseek(fd, 0, SEEK_SET);
    while (read(fd, clean, 1000) > 0)
        ;
    say("all is read", 0);
    close(fd);
}

static void writes(int protection)
{
    size_t sizes[] = { 60, PAGE, 2 * PAGE, 9 * PAGE };
    struct stat st;
    char *bad = memory(PAGE, protection) + PAGE, *large = memory(LARGE, protection), back[64] = "";
    for (int flags = 0; flags <= O_APPEND; flags += O_APPEND) {
        fd = open("w", O_RDWR | O_CREAT | O_TRUNC | flags, 0644);
        say("write", write(fd, "begin", 5));
        say("write of nothing there", write(fd, bad, 100));
        say("write null", write(fd, null, 100));
        say("pwrite", pwrite(fd, bad, 3 * PAGE, 2));
        say("write of no bytes", write(fd, bad, 0));
        for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            say("write in part", write(fd, bad - 50, sizes[i]));
            say("pwrite in part", pwrite(fd, bad - 40, sizes[i], 9));
            struct iovec parts[] = { { "whole", 5 }, { bad - 20, sizes[i] }, { bad, 10 } };
            say("writev", writev(fd, parts, 3));
            say("pwritev", pwritev(fd, parts + 2, 1, 3));
            say("writev of nowhere", writev(fd, (struct iovec *)(bad + 8), 1));
        }
        say("large", write(fd, large, LARGE + 10));
        say("large, and nothing there", write(fd, large + LARGE, LARGE));
        struct iovec larges[] = { { large, LARGE }, { large + LARGE - 3, PAGE } };
        say("large parts", writev(fd, larges, 2));
        fstat(fd, &st);
        printf("  %ld bytes, %zd\n", (long)st.st_size, pread(fd, back, 60, 0));
        printf("  %.60s\n", back);
        close(fd);
    }
}

// What was there and is not any more.
static void gone(void)
{
    for (int protection = -1; protection <= PROT_READ; protection++) {
        char *large = memory(LARGE, PROT_NONE);
        fd = open("w", O_RDWR | O_CREAT | O_TRUNC, 0644);
        say("all there", write(fd, large, LARGE));
        lseek(fd, 0, SEEK_SET);
        say("read back", read(fd, large, LARGE));
        say("read a little", pread(fd, large, 10, 0));
        if (protection < 0)
            munmap(large, LARGE);
        else
            mprotect(large, LARGE, protection);
        if (protection != PROT_READ)
            say("written from where it was", pwrite(fd, large, LARGE, 0));
        say("read to where it was", pread(fd, large, LARGE, 0));
        say("a little to where it was", pread(fd, large, 10, 0));
        char *fresh = mmap(large, LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        say("read to what is there now", pread(fd, fresh, LARGE, 0));
        close(fd);
    }
}

// The same of what malloc has given back, to the kernel by munmap(2) and by brk(2).
static void freed(void)
{
    for (int heap = 0; heap < 2; heap++) {
        mallopt(M_MMAP_THRESHOLD, heap ? 1 << 25 : 1 << 17);
        mallopt(M_TRIM_THRESHOLD, 0);
        mallopt(M_TOP_PAD, 0);
        char *block = malloc(3 * LARGE), *large = block + LARGE;
        memset(block, 'f', 3 * LARGE);
        fd = open("w", O_RDWR | O_CREAT | O_TRUNC, 0644);
        say("all there", write(fd, large, LARGE));
        say("read back", pread(fd, large, LARGE, 0));
        say("read a little", pread(fd, large, 10, 0));
        free(block);
        say("written from what was freed", pwrite(fd, large, LARGE, 0));
        say("read to what was freed", pread(fd, large, LARGE, 0));
        say("a little to what was freed", pread(fd, large, 10, 0));
        syscall(SYS_mmap, (long)large & -PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0L);
        say("a little to what is there now", pread(fd, (char *)((long)large & -PAGE), 10, 0));
        say("and written from there", pwrite(fd, (char *)((long)large & -PAGE), 10, 0));
        close(fd);
    }
}

static void results(int protection)
{
    char *bad = memory(PAGE, protection) + PAGE;
    struct stat st;
    fd = open("small", O_RDWR);
    say("fstat", fstat(fd, (struct stat *)bad));
    say("fstat in part", fstat(fd, (struct stat *)(bad - 100)));
    say("stat", stat("small", (struct stat *)bad));
    say("statx", statx(AT_FDCWD, "small", 0, STATX_ALL, (struct statx *)bad));
    say("statfs", fstatfs(fd, (struct statfs *)bad));
    say("readlink", readlink("a link", bad, 20));
    say("FIONREAD", ioctl(fd, FIONREAD, bad));
    if (protection != PROT_READ) {
        say("futimens", futimens(fd, (struct timespec *)bad));
        say("F_GETLK", fcntl(fd, F_GETLK, bad));
        say("F_SETLK", fcntl(fd, F_SETLK, bad));
        say("setxattr", fsetxattr(fd, "user.a", bad, 10, 0));
        int out = open("copy", O_RDWR | O_CREAT | O_TRUNC, 0644);
        say("sendfile", sendfile(out, fd, (off_t *)bad, 10));
        say("copy_file_range", copy_file_range(fd, (off_t *)bad, out, NULL, 10, 0));
        close(out);
    }
    say("fstat after that", fstat(fd, &st));
    close(fd);
    fd = open(".", O_RDONLY | O_DIRECTORY);
    printf("%s getdents: %ld %s\n", kind, syscall(SYS_getdents64, fd, bad, 2 * PAGE), strerrorname_np(errno));
    lseek(fd, 0, SEEK_SET);
    DIR *dir = fdopendir(fd);
    int n = 0;
    while (readdir(dir))
        n++;
    printf("  %d names\n", n);
    closedir(dir);
}

int main(void)
{
    char *text = malloc(LARGE);
    for (int i = 0; i < LARGE; i++)
        text[i] = "abcdefghijklmnopqrstuvwxyz\n"[i % 27];
    fd = open("large", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    write(fd, text, LARGE);
    close(fd);
    fd = open("small", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    write(fd, text, 130);
    close(fd);
    symlink("small", "a link");
    const char *kinds[] = { "unmapped", "none", "read-only" };
    int protections[] = { -1, PROT_NONE, PROT_READ };
    for (int i = 0; i < 3; i++) {
        kind = kinds[i];
        reads("small", protections[i]);
        reads("large", protections[i]);
        if (protections[i] != PROT_READ)
            writes(protections[i]);
        results(protections[i]);
    }
    kind = "gone";
    gone();
    kind = "freed";
    freed();
    return 0;
}
