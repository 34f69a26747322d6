// What a read-only bind answers, and in which order it finds fault.
// needs: root unshare
// worlds: readonly
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#define TRY(call) (errno = 0, printf("%-60s %s\n", #call, (long)(call) < 0 ? strerrorname_np(errno) : "fine"))

static int sock(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strcpy(a.sun_path, name);
    return bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&a, sizeof a);
}

int main(void)
{
    struct statvfs v;
    char outside[4096];
    snprintf(outside, sizeof outside, "%s/outside", getenv("T"));
    close(open(outside, O_CREAT | O_WRONLY, 0644));
    chdir("..");
    static const char *const names[] = {"hello.txt", "missing", "sub", "dangling", "loop", "hello.txt/x", "missing/x", "sub/", "sub/new", "absolute", ".", ""};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        const char *n = names[i];
        printf("== %s\n", n);
        TRY(open(n, O_RDONLY));
        TRY(open(n, O_WRONLY));
        TRY(open(n, O_RDWR | O_CREAT, 0600));
        TRY(open(n, O_RDONLY | O_CREAT, 0600));
        TRY(open(n, O_WRONLY | O_CREAT | O_EXCL, 0600));
        TRY(open(n, O_RDONLY | O_TRUNC));
        TRY(open(n, O_WRONLY | O_TMPFILE, 0600));
        TRY(open(n, O_PATH));
        TRY(mkdir(n, 0700));
        TRY(rmdir(n));
        TRY(unlink(n));
        TRY(symlink("x", n));
        TRY(link("hello.txt", n));
        TRY(link(n, "newlink"));
        TRY(link(outside, n));
        TRY(rename("hello.txt", n));
        TRY(rename(n, "newname"));
        TRY(rename(n, "hello.txt"));
        TRY(rename(outside, n));
        TRY(mknod(n, S_IFREG | 0600, 0));
        TRY(chmod(n, 0600));
        TRY(chown(n, 0, 0));
        TRY(lchown(n, 0, 0));
        TRY(truncate(n, 0));
        TRY(utimensat(AT_FDCWD, n, NULL, 0));
        TRY(access(n, R_OK));
        TRY(access(n, W_OK));
        TRY(access(n, X_OK));
        TRY(faccessat(AT_FDCWD, n, W_OK, AT_EACCESS));
        TRY(setxattr(n, "user.x", "y", 1, 0));
        TRY(removexattr(n, "user.x"));
        TRY(sock(n));
        TRY(chdir(n) || chdir(getenv("P")));
    }
    int f = open("hello.txt", O_RDONLY), d = open("sub", O_RDONLY);
    TRY(fchmod(f, 0600));
    TRY(fchown(f, 0, 0));
    TRY(futimens(f, NULL));
    TRY(ftruncate(f, 0));
    TRY(fsetxattr(f, "user.x", "y", 1, 0));
    TRY(mkdirat(d, "x", 0700));
    TRY(openat(d, "../hello.txt", O_RDWR));
    TRY(openat(d, "x", O_CREAT | O_WRONLY, 0600));
    TRY(unlinkat(d, "up", 0));
    TRY(fchdir(d));
    TRY(mkdir("x", 0700));
    TRY(fsync(f));
    TRY(statvfs(".", &v));
    printf("flag %d\n", !!(v.f_flag & ST_RDONLY));
    TRY(fstatvfs(f, &v));
    printf("flag %d\n", !!(v.f_flag & ST_RDONLY));
    return 0;
}
