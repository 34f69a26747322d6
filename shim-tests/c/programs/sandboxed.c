// worlds: -9p-
// Not in 9P worlds: its filter lets nobody speak to a server.
// A program that restricts itself: openat2 unknown, then all but a few calls refused.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void deny(const unsigned *calls, int count, unsigned listed, unsigned others)
{
    struct sock_filter code[64];
    int n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < count; i++) {
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i], 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, listed);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, others);
    struct sock_fprog program = {n, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        perror("seccomp");
}
static void look(const char *name)
{
    struct stat s;
    char b[16] = "";
    int fd = open(name, O_RDONLY);
    long n = fd < 0 ? -1 : read(fd, b, 15);
    printf("%s: %s", name, n < 0 ? strerrorname_np(errno) : b);
    printf(" stat %s\n", stat(name, &s) ? strerrorname_np(errno) : "fine");
    close(fd);
}

int main(void)
{
    char name[4096];
    snprintf(name, sizeof name, "%s/hello.txt", getenv("P"));
    look(name);
    static const unsigned unknown[] = {SYS_openat2, SYS_faccessat2, SYS_statx, SYS_close_range};
    deny(unknown, 4, SECCOMP_RET_ERRNO | ENOSYS, SECCOMP_RET_ALLOW);
    look(name);
    look("../short/er/file");
    look("../absolute");
    look("../missing");
    printf("%d\n", system("cat ../hello.txt"));
    fflush(stdout);
    /* Like a sandbox: what opens, reads and ends; nothing else. */
    static const unsigned few[] = {SYS_openat, SYS_read, SYS_write, SYS_close, SYS_newfstatat, SYS_fstat, SYS_stat, SYS_lseek,
                                   SYS_exit_group, SYS_exit, SYS_brk, SYS_mmap, SYS_munmap, SYS_rt_sigreturn};
    deny(few, sizeof few / sizeof *few, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | EPERM);
    look(name);
    look("../hello.txt");
    printf("%s\n", fopen("made", "w") ? "made" : strerrorname_np(errno));
    return 0;
}
