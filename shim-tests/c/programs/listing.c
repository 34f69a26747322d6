// Listing the top of the place, where a union is merged: each name once, all positions
// good, however small the buffer.
// ignore: tree
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *names[2000];
static int count;
static int order(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }
static void show(const char *what)
{
    qsort(names, count, sizeof *names, order);
    printf("%s %d:", what, count);
    for (int i = 0; i < count && i < 20; i++)
        printf(" %s", names[i]);
    int twice = 0;
    for (int i = 1; i < count; i++)
        twice += !strcmp(names[i - 1], names[i]);
    printf(" twice %d\n", twice);
    count = 0;
}
static void note(const char *name) { names[count++] = strdup(name); }
static void raw(size_t room)
{
    char *b = malloc(room);
    int fd = open("..", O_RDONLY | O_DIRECTORY);
    long n;
    while ((n = getdents64(fd, b, room)) > 0)
        for (long at = 0; at < n;) {
            struct dirent64 *e = (void *)(b + at);
            note(e->d_name);
            at += e->d_reclen;
        }
    printf("%zu end %s ", room, n < 0 ? strerrorname_np(errno) : "");
    show("raw");
    lseek(fd, 0, SEEK_SET);
    n = getdents64(fd, b, room);
    printf("again %d\n", n > 0);
    close(fd);
}

int main(void)
{
    char name[64];
    struct dirent *e;
    struct stat s;
    DIR *d = opendir("..");
    int types = 1;
    while ((e = readdir(d))) {
        note(e->d_name);
        fstatat(dirfd(d), e->d_name, &s, AT_SYMLINK_NOFOLLOW);
        types &= e->d_type == DT_UNKNOWN || e->d_type == IFTODT(s.st_mode);
        if (strcmp(e->d_name, ".."))
            types &= s.st_ino == e->d_ino || !strcmp(e->d_name, ".");
    }
    show("readdir");
    printf("types and inodes agree %d\n", types);
    raw(64), raw(100), raw(300), raw(32768);
    /* Made and removed while a listing is open; seen from the start again. */
    rewinddir(d);
    readdir(d);
    for (int i = 0; i < 1000; i++) {
        sprintf(name, "../many%d", i);
        close(open(name, O_CREAT | O_WRONLY, 0644));
    }
    rewinddir(d);
    while ((e = readdir(d)))
        note(e->d_name);
    show("after");
    long at[2000];
    char *was[2000];
    int n = 0, good = 0;
    rewinddir(d);
    for (at[0] = telldir(d); (e = readdir(d)); at[++n] = telldir(d))
        was[n] = strdup(e->d_name);
    for (int i = 0; i < n; i++) {
        int k = (i * 7919L) % n;
        seekdir(d, at[k]);
        e = readdir(d);
        good += e && !strcmp(e->d_name, was[k]);
    }
    printf("%d of %d positions\n", good, n);
    /* Removing while reading, as rm does, leaves none behind. */
    rewinddir(d);
    while ((e = readdir(d)))
        if (!strncmp(e->d_name, "many", 4))
            unlinkat(dirfd(d), e->d_name, 0);
    rewinddir(d);
    while ((e = readdir(d)))
        note(e->d_name);
    show("removed");
    closedir(d);
    return system("ls ..; cat ../hello.txt; find .. -name 'f*' | sort; ls -f .. | sort | uniq -d; du -a .. >/dev/null; cd ..; echo *");
}
