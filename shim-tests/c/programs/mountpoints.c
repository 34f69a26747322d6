// Places inside of a place: what may not be removed, renamed or linked across.
// needs: root unshare
// worlds: nested
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRY(call) (errno = 0, printf("%-60s %s\n", #call, (long)(call) < 0 ? strerrorname_np(errno) : "fine"))
static int system_(const char *c) { printf("$ %s\n", c); fflush(stdout); return system(c); }

int main(void)
{
    char cwd[PATH_MAX];
    chdir("..");
    /* sub/deep and hello.txt are mount points; sub is the parent of one. */
    TRY(rmdir("sub/deep"));
    TRY(unlink("sub/deep"));
    TRY(unlink("hello.txt"));
    TRY(rmdir("hello.txt"));
    TRY(rename("sub/deep", "sub/elsewhere"));
    TRY(rename("empty", "sub/deep"));
    TRY(rename("hello.txt", "other"));
    TRY(rename("lines", "hello.txt"));
    TRY(rename("hello.txt", "hello.txt"));
    TRY(renameat2(AT_FDCWD, "lines", AT_FDCWD, "hello.txt", RENAME_EXCHANGE));
    TRY(renameat2(AT_FDCWD, "lines", AT_FDCWD, "hello.txt", RENAME_NOREPLACE));
    TRY(rmdir("sub"));
    TRY(rename("sub/deep/er", "er"));
    TRY(rename("lines", "sub/deep/lines"));
    TRY(link("lines", "sub/deep/lines"));
    TRY(link("sub/deep/er/within", "within"));
    TRY(link("hello.txt", "another"));
    TRY(link("lines", "hello.txt"));
    TRY(symlink("x", "hello.txt"));
    TRY(mkdir("sub/deep", 0755));
    TRY(mknod("hello.txt", S_IFREG, 0));
    TRY(open("hello.txt", O_CREAT | O_EXCL | O_WRONLY, 0600));
    TRY(open("hello.txt", O_WRONLY | O_TRUNC));
    TRY(renameat2(AT_FDCWD, "sub/deep/er", AT_FDCWD, "empty", RENAME_EXCHANGE));
    TRY(chdir("sub/deep/.."));
    printf("%s\n", getcwd(cwd, sizeof cwd));
    TRY(chdir("deep/er"));
    printf("%s\n", getcwd(cwd, sizeof cwd));
    TRY(rename("../er", "../moved"));
    printf("%s\n", getcwd(cwd, sizeof cwd));
    TRY(chdir("../../.."));
    printf("%s\n", getcwd(cwd, sizeof cwd));
    /* The parent of a mount point moves, and takes it along. */
    TRY(rename("sub", "renamed"));
    TRY(access("renamed/deep/moved/within", F_OK));
    TRY(access("sub/deep/moved/within", F_OK));
    TRY(rename("renamed", "sub"));
    system_("ls sub sub/deep; find . | sort; cat hello.txt; echo added >>hello.txt; cat hello.txt");
    system_("mv lines sub/deep/ && cat sub/deep/lines; mv sub/deep/lines .; cp -a sub copy && find copy | sort; rm -rf copy");
    system_("rm -r sub; rm -f hello.txt; ls sub sub/deep");
    return 0;
}
