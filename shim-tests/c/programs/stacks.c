// Handlers on the smallest alternate stack, and signals at any instant.
// worlds: +text -9p-old-base
// Not in 9P2000: it makes links.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

static volatile int handled, wrong;
static char name[4096];

/* read, write and close, on what a handler has beyond the signal's own frame. */
static void small(int sig)
{
    char c;
    int e = errno, fd = dup(0);
    if (lseek(fd, 0, SEEK_SET) != 0 || read(fd, &c, 1) != 1 || c != '1' || write(3, &c, 1) != 1 || close(fd))
        wrong = wrong + 1;
    handled = handled + sig - sig + 1;
    errno = e;
}
static void names(int sig)
{
    struct stat s;
    int e = errno, fd = open(name, O_RDONLY);
    if (fd < 0 || fstat(fd, &s) || s.st_size != 6 || close(fd) || stat("../lines", &s) || s.st_size != 8)
        wrong = wrong + 1;
    handled = handled + sig - sig + 1;
    errno = e;
}
static void on(void (*handler)(int), size_t room, int sig)
{
    stack_t stack = {.ss_sp = malloc(room), .ss_size = room};
    struct sigaction act = {.sa_handler = handler, .sa_flags = SA_ONSTACK | SA_RESTART};
    sigaltstack(&stack, NULL);
    sigaction(sig, &act, NULL);
}
static int descend(int depth)
{
    volatile char room[4096];
    room[0] = depth;
    return depth > 100000000 ? 0 : descend(depth + 1) + room[0];
}
static void overflowed(int sig)
{
    names(sig);
    static const char said[] = "overflow handled\n";
    write(1, said, sizeof said - 1);
    _exit(wrong ? 1 : 0);
}

int main(void)
{
    size_t least = getauxval(AT_MINSIGSTKSZ);
    if (!least)
        least = 2048;
    snprintf(name, sizeof name, "%s/hello.txt", getenv("P"));
    dup2(open("../lines", O_RDONLY), 0);
    dup2(open("out", O_CREAT | O_RDWR, 0600), 3);
    /* Bound before: the loader saves all registers for that, and they may take more room than this. */
    small(0);
    handled = 0;
    on(small, least + 2048, SIGUSR1);
    for (int i = 0; i < 100; i++)
        raise(SIGUSR1);
    printf("small %d wrong %d\n", handled, wrong);
    /* A timer that interrupts lookups with lookups. */
    on(names, 65536, SIGALRM);
    struct itimerval once = {{0, 0}, {0, 0}}, never = {{0, 0}, {0, 0}};
    int bad = 0, seen = -1, first = handled;
    for (int i = 0; handled < first + 300 && i < 1000000; i++) {
        /* Set again by us, so that a slow handler does not leave us nothing. */
        if (seen != handled) {
            seen = handled;
            once.it_value.tv_usec = 20 + i * 7 % 180;
            setitimer(ITIMER_REAL, &once, NULL);
        }
        struct stat s;
        int fd = open(i % 2 ? name : "../short/er/file", O_RDONLY);
        bad += fd < 0 || fstat(fd, &s) || close(fd) || stat("../sub/up", &s) || access("missing", F_OK) == 0;
    }
    setitimer(ITIMER_REAL, &never, NULL);
    printf("interrupted %d bad %d wrong %d\n", handled >= first + 300, bad, wrong);
    fflush(stdout);
    on(overflowed, 65536, SIGSEGV);
    return descend(0);
}
