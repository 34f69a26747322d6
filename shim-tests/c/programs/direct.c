// System calls that the program makes itself, as Rust's rustix has them compiled: the number in
// eax, moves, the call. With what the kernel leaves alone: errno, registers, flags, the red zone.
// worlds: +9p-dir-tcp -symbols -9p-old
// flags: -O1 -pthread -Wl,--no-as-needed -lgcc_s
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __x86_64__
// A number must stand in the text. What is between it and the call differs as compilers do.
#define MAKE(between, nr, a, b, c, d, e)                                                          \
    ({                                                                                            \
        long done_;                                                                               \
        register long d_ __asm__("r10") = (long)(d);                                              \
        register long e_ __asm__("r8") = (long)(e);                                               \
        register long f_ __asm__("r9") = 0;                                                       \
        __asm__ volatile("movl %2, %%eax\n" between "syscall"                                     \
                         : "=&a"(done_), "+r"(f_)                                                 \
                         : "i"(nr), "D"(a), "S"(b), "d"(c), "r"(d_), "r"(e_)                      \
                         : "rcx", "r11", "rbx", "memory");                                  \
        done_;                                                                                    \
    })
#else
#define MAKE(between, nr, a, b, c, d, e)                                                          \
    ({                                                                                            \
        int before_ = errno;                                                                      \
        long done_ = syscall(nr, a, b, c, d, e, 0L);                                                  \
        done_ = done_ < 0 ? -errno : done_;                                                       \
        errno = before_;                                                                          \
        done_;                                                                                    \
    })
#endif
#define DO(nr, a, b, c, d, e) MAKE("", nr, (long)(a), (long)(b), (long)(c), d, e)

static void say(const char *what, long done)
{
    printf("%s: %s, errno %d\n", what, done < 0 ? strerrorname_np((int)-done) : "done", errno);
}

static void names(void)
{
    char text[64] = "", where[4096] = "";
    snprintf(where, sizeof where, "%s/w/whole", getenv("P"));
    say("mkdirat of a whole name", DO(SYS_mkdirat, AT_FDCWD, where, 0700, 0, 0));
    struct stat st;
    struct statx stx;
    int fd = (int)DO(SYS_openat, AT_FDCWD, "file", O_RDWR | O_CREAT | O_EXCL, 0640, 0);
    say("openat", fd < 0 ? fd : 0);
    printf("write %ld\n", DO(SYS_write, fd, "0123456789", 10, 0, 0));
    printf("pread %ld %s\n", DO(SYS_pread64, fd, text, 4, 3, 0), text);
    printf("lseek %ld\n", DO(SYS_lseek, fd, 2, SEEK_SET, 0, 0));
    printf("read %ld %s\n", DO(SYS_read, fd, text, 5, 0, 0), text);
    say("fstat", DO(SYS_fstat, fd, &st, 0, 0, 0));
    printf("%ld\n", (long)st.st_size);
    char *map = (char *)DO(SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE, fd);
    printf("mmap %.10s\n", map);
    say("close", DO(SYS_close, fd, 0, 0, 0, 0));
    say("mkdirat", DO(SYS_mkdirat, AT_FDCWD, "dir", 0755, 0, 0));
    say("renameat2", DO(SYS_renameat2, AT_FDCWD, "file", AT_FDCWD, "dir/moved", 1));
    say("renameat2 again", DO(SYS_renameat2, AT_FDCWD, "file", AT_FDCWD, "dir/moved", 1));
    say("symlinkat", DO(SYS_symlinkat, "moved", AT_FDCWD, "dir/link", 0, 0));
    say("renameat2 of both", DO(SYS_renameat2, AT_FDCWD, "dir/link", AT_FDCWD, "dir/moved", 1));
    say("renameat", DO(SYS_renameat, AT_FDCWD, "dir/moved", AT_FDCWD, "dir/again", 0));
    memset(text, 0, sizeof text);
    printf("readlinkat %ld %s\n", DO(SYS_readlinkat, AT_FDCWD, "dir/link", text, 60, 0), text);
    say("newfstatat", DO(SYS_newfstatat, AT_FDCWD, "dir/again", &st, 0, 0));
    printf("%o %ld\n", st.st_mode, (long)st.st_size);
    say("statx", DO(SYS_statx, AT_FDCWD, "dir/again", 0, STATX_SIZE, &stx));
    printf("%ld\n", (long)stx.stx_size);
    say("newfstatat of none", DO(SYS_newfstatat, AT_FDCWD, "dir/moved", &st, 0, 0));
    say("faccessat", DO(SYS_faccessat, AT_FDCWD, "dir/again", R_OK, 0, 0));
    say("unlinkat", DO(SYS_unlinkat, AT_FDCWD, "dir/link", 0, 0, 0));
    say("chdir", DO(SYS_chdir, "dir", 0, 0, 0, 0));
    long len = DO(SYS_getcwd, where, sizeof where, 0, 0, 0);
    char *last = strrchr(where, '/');
    printf("getcwd %d %s\n", len == (long)strlen(where) + 1, last ? last : "");
    say("chdir", DO(SYS_chdir, "..", 0, 0, 0, 0));
}

static void kept(void)
{
#ifdef __x86_64__
    struct stat st;
    long left = 0;
    unsigned char carry = 0;
    __asm__ volatile("movq $42, -96(%%rsp)\n"
                     "stc\n"
                     "movl %3, %%eax\n"
                     "movl $0, %%r10d\n"
                     "syscall\n"
                     "setc %1\n"
                     "movq -96(%%rsp), %0"
                     : "=&b"(left), "=&q"(carry)
                     : "D"((long)AT_FDCWD), "i"(SYS_newfstatat), "S"("dir/again"), "d"(&st)
                     : "rax", "rcx", "r10", "r11", "r8", "memory", "cc");
    printf("red zone %ld carry %d\n", left, carry);
    uint64_t in[4] = {1, 2, 3, 4}, out[4] = {0};
    if (__builtin_cpu_supports("avx"))
        __asm__ volatile("vmovdqu (%1), %%ymm7\n"
                         "movl %3, %%eax\n"
                         "movl $0, %%r10d\n"
                         "syscall\n"
                         "vmovdqu %%ymm7, (%2)\n"
                         "vzeroupper"
                         :
                         : "D"((long)AT_FDCWD), "b"(in), "r"((uint64_t *)out),
                           "i"(SYS_newfstatat), "S"("dir/again"), "d"(&st)
                         : "rax", "rcx", "r10", "r11", "r8", "xmm7", "memory");
    else
        memcpy(out, in, sizeof in);
    printf("ymm7 %d\n", memcmp(in, out, sizeof in));
    long same = 0;
    __asm__ volatile("movl %1, %%eax\n"
                     "movq %%rdx, %%r15\n"
                     "xorl %%r10d, %%r10d\n"
                     "movl $8, %%r8d\n"
                     "movl $9, %%r9d\n"
                     "syscall\n"
                     "cmpq %%r15, %%rdx\n"
                     "jne 1f\n"
                     "cmpq $8, %%r8\n"
                     "jne 1f\n"
                     "cmpq $9, %%r9\n"
                     "jne 1f\n"
                     "movq $1, %0\n"
                     "1:"
                     : "+&b"(same)
                     : "i"(SYS_newfstatat), "D"((long)AT_FDCWD), "S"("dir/again"), "d"(&st)
                     : "rax", "rcx", "r8", "r9", "r10", "r11", "r15", "memory", "cc");
    printf("arguments %ld\n", same);
#else
    puts("red zone 42 carry 1\nymm7 0\narguments 1");
#endif
}

// As compilers have them between the number and the call.
static void between(void)
{
    struct stat st;
    memset(&st, 0, sizeof st);
#define STAT(moves) say(moves, MAKE(moves, SYS_newfstatat, (long)AT_FDCWD, "dir/again", &st, 0, 0))
    STAT("movq %%rsi, %%rbx\n");
    STAT("movq %%rsi, -24(%%rsp)\n movq -24(%%rsp), %%rsi\n");
    STAT("xorl %%r10d, %%r10d\n movl $0, %%r8d\n");
    STAT("leaq 8(%%rsi,%%r10,1), %%rbx\n movl $7, %%r9d\n");
    STAT("movslq %%edi, %%rdi\n");
    STAT("movl $2047, %%r9d\n movq $-1, %%rbx\n");
    STAT("pushq $1\n popq %%rbx\n");
}

static void *in_thread(void *name)
{
    say(name, DO(SYS_faccessat, AT_FDCWD, "dir/again", R_OK, 0, 0));
    return NULL;
}

static void in_handler(int signal)
{
    (void)signal;
    struct stat st;
    long done = DO(SYS_newfstatat, AT_FDCWD, "dir/again", &st, 0, 0);
    (void)!write(1, done == 0 ? "handler\n" : "HANDLER\n", 8);
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    errno = 77;
    names();
    kept();
    between();
    pthread_t thread;
    pthread_create(&thread, NULL, in_thread, "thread");
    pthread_join(thread, NULL);
    signal(SIGUSR1, in_handler);
    raise(SIGUSR1);
    pid_t child = fork();
    if (child == 0) {
        in_thread("child");
        char *words[] = {"true", "dir/again", NULL};
        DO(SYS_execve, "/bin/true", words, environ, 0, 0);
        _exit(1);
    }
    int status;
    waitpid(child, &status, 0);
    printf("%d\n", status);
    return 0;
}
