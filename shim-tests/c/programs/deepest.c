// The longest names that the kernel takes, of directories that are there.
// worlds: +nested +locked -9p-old-
// In the old dialects a rename asks the server for the whole name, which is longer still.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void say(const char *what, long rc) { printf("%s: %s\n", what, rc < 0 ? strerrorname_np(errno) : "fine"); }

int main(void)
{
    static char path[PATH_MAX + 2], other[PATH_MAX + 2];
    struct stat s;
    size_t n = 0;
    /* Directories of 250 bytes as far as there is room, and a file for the rest. */
    for (; n + 251 < PATH_MAX - 20; n += 251) {
        memset(path + n, 'd', 250);
        if (mkdir(path, 0755))
            say("mkdir", -1);
        path[n + 250] = '/';
    }
    memset(path + n, 'f', PATH_MAX - 1 - n);
    memcpy(other, path, sizeof path);
    other[PATH_MAX - 2] = 'g';
    printf("%zu\n", strlen(path));
    int fd = open(path, O_CREAT | O_WRONLY, 0644);
    say("create", fd);
    say("write", write(fd, "text", 4));
    close(fd);
    say("stat", stat(path, &s));
    printf("%o %d\n", s.st_mode, (int)s.st_size);
    say("lstat", lstat(path, &s));
    say("access", access(path, R_OK));
    say("chmod", chmod(path, 0600));
    say("truncate", truncate(path, 2));
    char text[8] = "";
    fd = open(path, O_RDONLY);
    say("open", fd);
    say("read", read(fd, text, sizeof text));
    close(fd);
    printf("%s\n", text);
    say("symlink", symlink("away", other));
    say("readlink", readlink(other, text, sizeof text));
    say("unlink", unlink(other));
    say("link", link(path, other));
    say("unlink", unlink(other));
    say("rename", rename(path, other));
    say("stat", stat(path, &s));
    say("stat", stat(other, &s));
    say("unlink", unlink(other));
    path[PATH_MAX - 1] = 'f';
    say("one more", stat(path, &s));
    for (; n; n -= 251) {
        path[n - 1] = 0;
        if (rmdir(path))
            say("rmdir", -1);
    }
    return 0;
}
