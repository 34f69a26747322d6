// worlds: -9p-
// Names for what few programs name: handles (name_to_handle_at(2)), swapon(2), acct(2).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <unistd.h>

struct handle {
    struct file_handle head;
    unsigned char bytes[MAX_HANDLE_SZ];
};

static void say(const char *what, long ret)
{
    printf("%s: %ld %s\n", what, ret, ret < 0 ? strerrorname_np(errno) : "");
}

static int handle(const char *what, int dir, const char *name, struct handle *h, int flags)
{
    int mount, ret;
    memset(h, 0, sizeof *h);
    h->head.handle_bytes = MAX_HANDLE_SZ;
    ret = name_to_handle_at(dir, name, &h->head, &mount, flags);
    say(what, ret);
    return ret;
}

static void same(const char *what, struct handle *a, struct handle *b)
{
    printf("%s: %s\n", what, memcmp(a, b, sizeof *a) ? "no" : "yes");
}

int main(void)
{
    struct handle first, other;
    char text[20] = "";
    symlink("../hello.txt", "link");
    handle("a name", AT_FDCWD, "../hello.txt", &first, 0);
    char whole[4096];
    snprintf(whole, sizeof whole, "%s/hello.txt", getenv("P"));
    handle("a whole name", AT_FDCWD, whole, &other, 0);
    same("the same", &first, &other);
    int up = open("..", O_RDONLY);
    handle("below a directory", up, "hello.txt", &other, 0);
    same("the same", &first, &other);
    handle("a link", AT_FDCWD, "link", &other, 0);
    same("the same", &first, &other);
    handle("what a link leads to", AT_FDCWD, "link", &other, AT_SYMLINK_FOLLOW);
    same("the same", &first, &other);
    handle("a descriptor", open("../hello.txt", O_RDONLY), "", &other, AT_EMPTY_PATH);
    same("the same", &first, &other);
    handle("nothing", AT_FDCWD, "nothing", &other, 0);
    handle("no name", AT_FDCWD, "", &other, 0);
    handle("below a file", AT_FDCWD, "../hello.txt/x", &other, 0);
    handle("other flags", AT_FDCWD, "link", &other, AT_SYMLINK_NOFOLLOW);
    int fd = open_by_handle_at(up, &first.head, O_RDONLY);
    say("opened", fd < 0 ? -1 : 0);
    say("read", read(fd, text, 5));
    puts(text);
    first.head.handle_bytes = 1;
    say("of no size", open_by_handle_at(up, &first.head, O_RDONLY) < 0 ? -1 : 0);

    say("swapon", swapon("../hello.txt", 0));
    say("swapon by its whole name", swapon(whole, 0));
    say("swapon of nothing", swapon("nothing", 0));
    say("swapon with other flags", swapon("../hello.txt", 1 << 30));
    say("swapoff", swapoff("../hello.txt"));
    say("swapoff by its whole name", swapoff(whole));
    say("swapoff of nothing", swapoff("nothing"));
    say("swapoff by its number", syscall(SYS_swapoff, "../lines/none"));
    say("acct of nothing", acct("nothing"));
    say("acct of a directory", acct(".."));
    return 0;
}
