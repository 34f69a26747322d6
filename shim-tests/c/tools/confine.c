/* confine HOW PROGRAM [ARG...] - runs a program as a locked-down or an older host would.
 *
 *   locked  unshare, mount, ptrace and user namespaces: EPERM
 *   old     openat2, statx, faccessat2, close_range, memfd_create, clone3: ENOSYS
 *   text    nothing can be made executable by mprotect: EACCES
 *   mdwe    PR_SET_MDWE (prctl(2)): nothing is writable and executable
 *   copying  a process has memory and descriptors of its own, as for emulators: EINVAL
 *   silent  set_tid_address: EPERM, so that nobody is told that a program has gone
 *   linkless  symlink, link and their like: EPERM, as on a file system without links
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif

static struct sock_filter code[128];
static unsigned length;

static void put(unsigned short what, unsigned k, unsigned char yes, unsigned char no)
{
    code[length++] = (struct sock_filter){what, yes, no, k};
}

static void load(unsigned at) { put(BPF_LD | BPF_W | BPF_ABS, at, 0, 0); }

/* Answers one call with an error. */
static void refuse(unsigned number, int error)
{
    put(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1);
    put(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error, 0, 0);
}

/* The same, if its argument has one of these bits. */
static void refuse_bits(unsigned number, int argument, unsigned bits, int error)
{
    put(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 4);
    load(offsetof(struct seccomp_data, args) + 8 * argument);
    put(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1);
    put(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error, 0, 0);
    load(offsetof(struct seccomp_data, nr));
}

static int install(void)
{
    put(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
    struct sock_fprog program = {length, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int locked(void)
{
    static const unsigned calls[] = {SYS_unshare, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_setns,
                                     SYS_ptrace, SYS_open_tree, SYS_move_mount, SYS_fsopen};
    for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++)
        refuse(calls[i], EPERM);
    refuse_bits(SYS_clone, 0, CLONE_NEWUSER | CLONE_NEWNS, EPERM);
    refuse(SYS_clone3, ENOSYS); /* its flags cannot be seen */
    return install();
}

static int old(void)
{
    static const unsigned calls[] = {SYS_openat2, SYS_statx, SYS_faccessat2, SYS_close_range,
                                     SYS_memfd_create, SYS_clone3};
    for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++)
        refuse(calls[i], ENOSYS);
    return install();
}

static int text(void)
{
    refuse_bits(SYS_mprotect, 2, PROT_EXEC, EACCES);
    return install();
}

static int copying(void)
{
    refuse_bits(SYS_clone, 0, CLONE_FILES, EINVAL);
    refuse(SYS_clone3, ENOSYS); /* its flags cannot be seen */
    return install();
}

static int silent(void)
{
    refuse(SYS_set_tid_address, EPERM);
    return install();
}

static int linkless(void)
{
    static const unsigned calls[] = {
#ifdef SYS_link
        SYS_link, SYS_symlink,
#endif
        SYS_linkat, SYS_symlinkat};
    for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++)
        refuse(calls[i], EPERM);
    return install();
}

static int mdwe(void)
{
    /* Linux before 6.3 does not know it; then there is nothing to confine. */
    return prctl(PR_SET_MDWE, 1, 0, 0, 0) && errno != EINVAL ? -1 : 0;
}

int main(int argc, char **argv)
{
    static const struct { const char *name; int (*how)(void); } ways[] = {
        {"locked", locked}, {"old", old}, {"text", text}, {"mdwe", mdwe},
        {"copying", copying}, {"silent", silent}, {"linkless", linkless}};
    load(offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; argc > 2 && i < sizeof ways / sizeof *ways; i++) {
        if (strcmp(argv[1], ways[i].name))
            continue;
        if (ways[i].how() == 0)
            execvp(argv[2], argv + 2);
        perror(argv[2]);
        return 97;
    }
    fprintf(stderr, "usage: confine locked|old|text|mdwe|copying|silent|linkless PROGRAM [ARG...]\n");
    return 96;
}
