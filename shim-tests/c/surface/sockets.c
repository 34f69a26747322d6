/* AF_UNIX names, in and out. */
#include "surface.h"
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct sockaddr_un at(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strncpy(a.sun_path, path, sizeof a.sun_path - 1);
    return a;
}
#define ADDRESS(a) (struct sockaddr *)&(a), sizeof(a)
static int listener(const char *name)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un a = at(here(name));
    RC(bind(fd, ADDRESS(a)));
    RC(listen(fd, 5));
    return fd;
}
static int client(const char *name)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un a = at(name);
    RC(connect(fd, ADDRESS(a)));
    return fd;
}
static void say_address(const struct sockaddr_un *a, socklen_t n)
{
    say("%d bytes: %s\n", (int)n, n > offsetof(struct sockaddr_un, sun_path) ? a->sun_path : "unnamed");
}
#define NAMED(call)                                                   \
    ({                                                                \
        struct sockaddr_un a = {0};                                   \
        socklen_t n = sizeof a;                                       \
        struct sockaddr *to = (struct sockaddr *)&a;                  \
        errno = 0;                                                    \
        int rc = call;                                                \
        say("%s = %s ", #call, rc < 0 ? strerrorname_np(errno) : "fine"); \
        say_address(&a, n);                                           \
        rc;                                                           \
    })
static int datagram(const char *name)
{
    /* Nothing is waited for where a place takes no sockets. */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    struct sockaddr_un a = at(here(name));
    bind(fd, ADDRESS(a));
    return fd;
}

EXERCISE(bind)
{
    struct stat s;
    struct sockaddr_un again = at(here("k")), away = at("missing/k"), taken = at("f");
    int fd = listener("k");
    say("socket %d\n", lstat("k", &s) == 0 && S_ISSOCK(s.st_mode));
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    RC(bind(fd, ADDRESS(again)));
    RC(bind(fd, ADDRESS(away)));
    RC(bind(fd, ADDRESS(taken)));
    struct sockaddr_un abstract = {.sun_family = AF_UNIX};
    snprintf(abstract.sun_path + 1, 100, "%s", here("abstract"));
    RC(bind(fd, ADDRESS(abstract)));
    RC(bind(fd, (struct sockaddr *)&again, 1));
}
EXERCISE(connect)
{
    listener("k");
    int fd = client(here("k"));
    RC(write(fd, "x", 1));
    client("k");
    client("missing");
    client("f");
    symlink("k", "to");
    client("to");
}
EXERCISE(accept)
{
    int fd = listener("k"), other = client("k");
    int got = NAMED(accept(fd, to, &n));
    write(other, "hi\n", 3);
    say_fd(got);
}
EXERCISE(accept4)
{
    int fd = listener("k"), other = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un own = at(here("own")), a = at(here("k"));
    bind(other, ADDRESS(own));
    connect(other, ADDRESS(a));
    int got = NAMED(accept4(fd, to, &n, SOCK_CLOEXEC));
    RC(fcntl(got, F_GETFD));
}
EXERCISE(getsockname)
{
    int fd = listener("k");
    NAMED(getsockname(fd, to, &n));
    int relative = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un a = at("r");
    bind(relative, ADDRESS(a));
    NAMED(getsockname(relative, to, &n));
    NAMED(getsockname(977, to, &n));
}
EXERCISE(getpeername)
{
    listener("k");
    int fd = client(here("k"));
    NAMED(getpeername(fd, to, &n));
    NAMED(getpeername(socket(AF_UNIX, SOCK_STREAM, 0), to, &n));
}
EXERCISE(sendto)
{
    int one = datagram("one"), two = datagram("two");
    struct sockaddr_un a = at(here("two")), none = at("missing");
    RC(sendto(one, "gram\n", 5, 0, ADDRESS(a)));
    say_fd(two);
    RC(sendto(one, "x", 1, 0, ADDRESS(none)));
}
EXERCISE(recvfrom)
{
    int one = datagram("one"), two = datagram("two");
    struct sockaddr_un a = at(here("two"));
    char buf[16] = "";
    sendto(one, "gram\n", 5, 0, ADDRESS(a));
    NAMED(recvfrom(two, buf, sizeof buf, 0, to, &n));
    say("%s", buf);
}
EXERCISE(sendmsg)
{
    int one = datagram("one"), two = datagram("two"), pair[2];
    struct sockaddr_un a = at(here("two"));
    struct iovec part = {"message\n", 8};
    struct msghdr m = {.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &part, .msg_iovlen = 1};
    RC(sendmsg(one, &m, 0));
    say_fd(two);
    /* A descriptor of a file in the place, handed over. */
    union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } c = {0};
    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair);
    int fd = open(here("f"), O_RDONLY);
    m = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c.room};
    c.h = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&c.h), &fd, sizeof fd);
    RC(sendmsg(pair[0], &m, 0));
    close(fd);
    char buf[16];
    part = (struct iovec){buf, sizeof buf};
    RC(recvmsg(pair[1], &m, 0));
    memcpy(&fd, CMSG_DATA(&c.h), sizeof fd);
    say_fd(fd);
}
EXERCISE(sendmmsg)
{
    int one = datagram("one"), two = datagram("two");
    struct sockaddr_un a = at(here("two"));
    struct iovec parts[2] = {{"first\n", 6}, {"second\n", 7}};
    struct mmsghdr m[2] = {0};
    for (int i = 0; i < 2; i++)
        m[i].msg_hdr = (struct msghdr){.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &parts[i], .msg_iovlen = 1};
    RC(sendmmsg(one, m, 2, 0));
    say_fd(two);
    say_fd(two);
}
