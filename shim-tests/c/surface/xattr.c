/* Extended attributes, mounts, watching, users. */
#include "surface.h"
#include <grp.h>
#include <pwd.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/xattr.h>

#define VALUE(call)                                                 \
    ({                                                              \
        char value[256] = "";                                       \
        errno = 0;                                                  \
        long n = call;                                              \
        say("%s = %ld %s %s\n", #call, n, ERR(n), n > 0 ? value : ""); \
    })
#define SET setxattr("f", "user.seen", "before", 6, 0);
EXERCISE(setxattr)
{
    RC(setxattr(here("f"), "user.a", "one", 3, 0));
    RC(setxattr("l", "user.a", "two", 3, XATTR_CREATE));
    RC(setxattr("f", "user.b", "two", 3, XATTR_REPLACE));
    RC(setxattr("missing", "user.b", "two", 3, 0));
    VALUE(getxattr("f", "user.a", value, 200));
}
EXERCISE(lsetxattr) { RC(lsetxattr(here("f"), "user.a", "one", 3, 0)); RC(lsetxattr("l", "user.a", "one", 3, 0)); VALUE(getxattr("f", "user.a", value, 200)); }
EXERCISE(fsetxattr) { int fd = open(here("f"), O_RDWR); RC(fsetxattr(fd, "user.a", "one", 3, 0)); RC(fsetxattr(977, "user.a", "one", 3, 0)); VALUE(fgetxattr(fd, "user.a", value, 200)); }
EXERCISE(getxattr)
{
    SET
    VALUE(getxattr(here("f"), "user.seen", value, 200));
    VALUE(getxattr("l", "user.seen", value, 200));
    VALUE(getxattr("f", "user.seen", value, 2));
    VALUE(getxattr("f", "user.none", value, 200));
    VALUE(getxattr("missing", "user.none", value, 200));
}
EXERCISE(lgetxattr) { SET VALUE(lgetxattr(here("f"), "user.seen", value, 200)); VALUE(lgetxattr("l", "user.seen", value, 200)); }
EXERCISE(fgetxattr) { SET int fd = open(here("f"), O_RDONLY); VALUE(fgetxattr(fd, "user.seen", value, 200)); VALUE(fgetxattr(977, "user.seen", value, 200)); }
EXERCISE(listxattr) { SET VALUE(listxattr(here("f"), value, 200)); VALUE(listxattr("missing", value, 200)); }
EXERCISE(llistxattr) { SET VALUE(llistxattr(here("f"), value, 200)); VALUE(llistxattr("l", value, 200)); }
EXERCISE(flistxattr) { SET int fd = open(here("f"), O_RDONLY); VALUE(flistxattr(fd, value, 200)); VALUE(flistxattr(977, value, 200)); }
EXERCISE(removexattr) { SET RC(removexattr(here("l"), "user.seen")); RC(removexattr("f", "user.seen")); RC(removexattr("missing", "user.seen")); }
EXERCISE(lremovexattr) { SET RC(lremovexattr(here("f"), "user.seen")); RC(lremovexattr("l", "user.seen")); }
EXERCISE(fremovexattr) { SET int fd = open(here("f"), O_RDWR); RC(fremovexattr(fd, "user.seen")); RC(fremovexattr(fd, "user.seen")); RC(fremovexattr(977, "user.seen")); }

/* No real mount is made here: these fail, for whom and whatever reason. */
EXERCISE(mount)
{
    say("missing %d\n", mount("none", "missing", "tmpfs", 0, NULL));
    say("type %d\n", mount("none", here("d"), "no-such-type", 0, NULL));
}
EXERCISE(umount)
{
    say("not mounted %d\n", umount(here("d")));
    say("missing %d\n", umount("missing"));
}
EXERCISE(umount2)
{
    say("not mounted %d\n", umount2(here("d"), MNT_DETACH));
    say("missing %d\n", umount2("missing", 0));
}
static void enter(void)
{
    char cwd[PATH_MAX];
    RC(chroot("missing"));
    RC(chroot("f"));
    if (RC(chroot(here("d"))) == 0) {
        RC(chdir("/"));
        say_file("/g");
        say_file("/../../g");
        say("%s\n", getcwd(cwd, sizeof cwd));
        say_file("/etc/passwd");
    }
    _exit(0);
}
EXERCISE(chroot) { say_child(enter); }

EXERCISE(inotify_add_watch)
{
    int watch = inotify_init1(IN_NONBLOCK);
    char buf[4096] __attribute__((aligned(8)));
    RC(inotify_add_watch(watch, here("d"), IN_CREATE | IN_DELETE | IN_MOVED_TO));
    RC(inotify_add_watch(watch, "missing", IN_CREATE));
    RC(inotify_add_watch(watch, "f", IN_ONLYDIR | IN_CREATE));
    RC(inotify_add_watch(977, "f", IN_CREATE));
    put(here("d/made"), "x");
    rename("d/made", "d/moved");
    unlink(here("d/moved"));
    long n = read(watch, buf, sizeof buf);
    for (long at = 0; at < n;) {
        struct inotify_event *e = (void *)(buf + at);
        say("%x %s\n", e->mask, e->len ? e->name : "");
        at += sizeof *e + e->len;
    }
}

static void say_user(const struct passwd *p) { say("%s\n", p ? p->pw_dir : "none"); }
static void say_group(const struct group *g) { say("%s\n", g ? g->gr_name : "none"); }
EXERCISE(getpwnam) { say_user(getpwnam("root")); say_user(getpwnam("nobody-here")); }
EXERCISE(getpwuid) { say_user(getpwuid(0)); say_user(getpwuid(54321)); }
EXERCISE(getgrnam) { say_group(getgrnam("root")); say_group(getgrnam("nobody-here")); }
EXERCISE(getgrgid) { say_group(getgrgid(0)); say_group(getgrgid(54321)); }
#define REENTRANT(type, call, show)       \
    struct type one, *found = NULL;       \
    char room[8192];                      \
    RC(call);                             \
    show(found);
EXERCISE(getpwnam_r) { REENTRANT(passwd, getpwnam_r("root", &one, room, sizeof room, &found), say_user) RC(getpwnam_r("root", &one, room, 1, &found)); }
EXERCISE(getpwuid_r) { REENTRANT(passwd, getpwuid_r(0, &one, room, sizeof room, &found), say_user) }
EXERCISE(getgrnam_r) { REENTRANT(group, getgrnam_r("root", &one, room, sizeof room, &found), say_group) }
EXERCISE(getgrgid_r) { REENTRANT(group, getgrgid_r(0, &one, room, sizeof room, &found), say_group) }
