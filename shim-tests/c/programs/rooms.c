// worlds: +nested +9p-dir-tcp
// Listings into memory that is there only in part, by getdents64(2) and getdents(2).
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096 };

static char *page; // Behind it nothing can be written.

struct old {
    unsigned long ino, off;
    unsigned short len;
    char name[];
};

static int order(const void *a, const void *b)
{
    return strcmp(*(char **)a, *(char **)b);
}

// Everything, into `room` bytes of memory, which the call is told are `size`.
static void all(const char *what, int fd, long call, int room, int size)
{
    char *names[200], *at = page + PAGE - room;
    int many = 0;
    long n;
    lseek(fd, 0, SEEK_SET);
    while ((n = syscall(call, fd, at, size)) > 0) {
        for (char *end = at + n; at < end && many < 200; many++) {
            struct dirent64 *d = (void *)at;
            struct old *o = (void *)at;
            int new = call == SYS_getdents64;
            const char *name = new ? d->d_name : o->name;
            int type = new ? d->d_type : ((char *)o)[o->len - 1];
            if (asprintf(&names[many], "%s %d", name, type) < 0)
                exit(1);
            at += new ? d->d_reclen : o->len;
        }
        at = page + PAGE - room;
    }
    printf("%s, %d of %d: %d", what, room, size, many);
    if (n < 0)
        printf(" %s", strerrorname_np(errno));
    qsort(names, many, sizeof *names, order);
    unsigned sum = 0;
    for (int i = 0; i < many; i++) {
        for (char *c = names[i]; *c; c++)
            sum = sum * 31 + *c;
        free(names[i]);
    }
    printf(" %u\n", sum);
}

int main(void)
{
    for (int i = 0; i < 40; i++) {
        char name[20];
        snprintf(name, sizeof name, "entry-%02d", i);
        close(open(name, O_CREAT | O_WRONLY, 0644));
    }
    page = mmap(NULL, 9 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const char *places[] = { ".", ".." };
    int protections[] = { PROT_NONE, PROT_READ };
    for (int i = 0; i < 2; i++) {
        int fd = open(places[i], O_RDONLY | O_DIRECTORY);
        for (int p = 0; p < 2; p++) {
            mprotect(page + PAGE, 8 * PAGE, protections[p]);
            for (int old = 0; old < 2; old++) {
                long call = old ? SYS_getdents : SYS_getdents64;
                int rooms[] = { 320, 328, 1000, 4096 };
                for (int r = 0; r < 4; r++)
                    all(places[i], fd, call, rooms[r], 8 * PAGE);
                all(places[i], fd, call, 16, 8 * PAGE);
                all(places[i], fd, call, 8, 8);
                all(places[i], fd, call, 1000, 1000);
                all(places[i], fd, call, 16, 1000);
            }
        }
        long n = syscall(SYS_getdents64, fd, page + PAGE, PAGE);
        printf("into nothing: %ld %s\n", n, strerrorname_np(errno));
        while (syscall(SYS_getdents64, fd, page, PAGE) > 0)
            ;
        printf("nothing into nothing: %ld\n", syscall(SYS_getdents64, fd, page + PAGE, PAGE));
    }
    return 0;
}
