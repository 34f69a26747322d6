// Threads that look up, fork, change directory, and are cancelled.
// flags: -pthread
// worlds: +text -9p-
// Not in 9P worlds: a server keeps no pipes.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char name[4096];
static int lookups(int rounds)
{
    int bad = 0;
    for (int i = 0; i < rounds; i++) {
        struct stat s;
        char b[8];
        int fd = open(i % 2 ? name : "../short/er/../../up", O_RDONLY);
        bad += fd < 0 || read(fd, b, 6) != 6 || close(fd) || stat("../lines", &s) || s.st_size != 8;
    }
    return bad;
}
static void *looks(void *arg) { (void)arg; return (void *)(long)lookups(2000); }
static void *forks(void *arg)
{
    long bad = 0;
    (void)arg;
    for (int i = 0; i < 40; i++) {
        pid_t pid = i % 2 ? fork() : vfork();
        if (pid == 0) {
            if (i % 2)
                _exit(lookups(5));
            execl("/bin/test", "test", "-e", "../hello.txt", NULL);
            _exit(9);
        }
        int status = -1;
        waitpid(pid, &status, 0);
        bad += status != 0;
    }
    return (void *)bad;
}
static void *makes(void *arg)
{
    long bad = 0;
    char a[64], b[64];
    for (int i = 0; i < 300; i++) {
        sprintf(a, "d%ld", (long)arg);
        sprintf(b, "e%ld", (long)arg);
        bad += mkdir(a, 0755) || rename(a, b) || access(a, F_OK) == 0 || access(b, F_OK) || rmdir(b);
    }
    return (void *)bad;
}

static volatile int cleaned;
static void clean(void *arg) { (void)arg; cleaned = cleaned + 1; }
static int ends[2];
static void *waits(void *arg)
{
    char c;
    pthread_cleanup_push(clean, NULL);
    switch ((long)arg) {
    case 0: read(ends[0], &c, 1); break;
    case 1: open("fifo", O_RDONLY); break;
    case 2: for (;;) { int fd = open(name, O_RDONLY); close(fd); } break;
    case 3: system("exec sleep 20"); break;
    case 4: { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL); lookups(500); pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL); pause(); } break;
    }
    pthread_cleanup_pop(0);
    return NULL;
}

int main(void)
{
    pthread_t t[16];
    void *bad;
    long total = 0;
    snprintf(name, sizeof name, "%s/hello.txt", getenv("P"));
    void *(*const work[])(void *) = {looks, forks, makes, looks};
    for (long i = 0; i < 12; i++)
        pthread_create(&t[i], NULL, work[i % 4], (void *)i);
    for (int i = 0; i < 12; i++) {
        pthread_join(t[i], &bad);
        total += (long)bad;
    }
    printf("bad %ld\n", total);
    pipe(ends);
    mkfifo("fifo", 0600);
    for (long kind = 0; kind < 5; kind++) {
        pthread_create(&t[0], NULL, waits, (void *)kind);
        usleep(30000);
        pthread_cancel(t[0]);
        pthread_join(t[0], &bad);
        printf("cancelled %d cleaned %d\n", bad == PTHREAD_CANCELED, cleaned);
    }
    printf("after %d\n", lookups(10));
    return 0;
}
