/* What tells a path, and where programs stand. */
#include "surface.h"
#include <pty.h>
#include <utmp.h>

char *__realpath_chk(const char *, char *, size_t);
char *__getcwd_chk(char *, size_t, size_t);
ssize_t __readlink_chk(const char *, char *, size_t, size_t);
ssize_t __readlinkat_chk(int, const char *, char *, size_t, size_t);

EXERCISE(chdir)
{
    char cwd[PATH_MAX];
    static const char *const dirs[] = {"d", "..", "d/../d", ".", "../../..", "place/w", "missing", "f", "n", "o", "", "../sub/up"};
    for (unsigned i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        int rc = chdir(dirs[i]);
        say("%s: %d %s in %s\n", dirs[i], rc, ERR(rc), getcwd(cwd, sizeof cwd));
    }
    RC(chdir(here("d")));
    say_file("g");
    say_file("../f");
    RC(chdir("/"));
    say("%s\n", getcwd(cwd, sizeof cwd));
}
EXERCISE(getcwd)
{
    char cwd[PATH_MAX], *own;
    say("%s\n", getcwd(cwd, sizeof cwd));
    say("%s\n", own = getcwd(NULL, 0));
    PTR(getcwd(cwd, 3));
    PTR(getcwd(cwd, 0));
    chdir("d");
    say("%s\n", getcwd(cwd, strlen(own) + 3));
    mkdir(here("e"), 0755);
    chdir(here("e"));
    rmdir(here("e"));
    PTR(getcwd(cwd, sizeof cwd));
}
EXERCISE(__getcwd_chk) { char cwd[PATH_MAX]; say("%s\n", __getcwd_chk(cwd, sizeof cwd, sizeof cwd)); }
EXERCISE(get_current_dir_name)
{
    setenv("PWD", "/", 1);
    say("%s\n", get_current_dir_name());
    setenv("PWD", here("d/.."), 1);
    say("%s\n", get_current_dir_name());
    unsetenv("PWD");
    say("%s\n", get_current_dir_name());
}
#define PATHS(call)                                                                         \
    static const char *const names[] = {"f", "l", "n", "o", "d", "d/..", "d/../l", "missing", \
                                        "missing/x", "f/x", "", ".", "./d/./g", "..", "../..", \
                                        "../../short/er", "../../sub/up", "../../absolute", "f/"}; \
    char room[PATH_MAX];                                                                    \
    (void)room;                                                                             \
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)                             \
        for (int absolute = 0; absolute < 2; absolute++) {                                  \
            const char *name = absolute ? here(names[i]) : names[i];                        \
            errno = 0;                                                                      \
            char *got = call;                                                               \
            say("%s: %s\n", name, got ? got : strerrorname_np(errno));                      \
        }
EXERCISE(realpath)
{
    PATHS(realpath(name, NULL))
    PTR(realpath(NULL, NULL));
    say("%s\n", realpath("/proc/self/cwd", room));
    say("%s\n", realpath("/proc/self/cwd/d/g", room));
}
EXERCISE(__realpath_chk) { PATHS(__realpath_chk(name, room, sizeof room)) }
EXERCISE(canonicalize_file_name) { PATHS(canonicalize_file_name(name)) }

#define LINK(call)                                            \
    ({                                                        \
        char to[PATH_MAX] = "";                               \
        errno = 0;                                            \
        long n = call;                                        \
        say("%s = %ld %s %s\n", #call, n, ERR(n), to);        \
    })
EXERCISE(readlink)
{
    char proc[64];
    LINK(readlink(here("l"), to, sizeof to));
    LINK(readlink("n", to, sizeof to));
    LINK(readlink("n", to, 3));
    LINK(readlink("f", to, sizeof to));
    LINK(readlink("missing", to, sizeof to));
    LINK(readlink("../../absolute", to, sizeof to));
    LINK(readlink("/proc/self/cwd", to, sizeof to));
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", open(here("d/g"), O_RDONLY));
    LINK(readlink(proc, to, sizeof to) );
    snprintf(proc, sizeof proc, "/dev/fd/%d", open(here("l"), O_RDONLY));
    LINK(readlink(proc, to, sizeof to));
    snprintf(proc, sizeof proc, "/proc/%d/cwd", getpid());
    LINK(readlink(proc, to, sizeof to));
    int gone = open(here("gone"), O_CREAT | O_RDWR, 0600);
    unlink("gone");
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", gone);
    LINK(readlink(proc, to, sizeof to));
}
EXERCISE(readlinkat)
{
    int dir = open(here("d"), O_RDONLY), link = open(here("l"), O_PATH | O_NOFOLLOW);
    LINK(readlinkat(dir, "../l", to, sizeof to));
    LINK(readlinkat(link, "", to, sizeof to));
    LINK(readlinkat(dir, "", to, sizeof to));
    LINK(readlinkat(dir, "g", to, sizeof to));
    LINK(readlinkat(977, "g", to, sizeof to));
    int proc = open("/proc/self", O_RDONLY);
    LINK(readlinkat(proc, "cwd", to, sizeof to));
}
EXERCISE(__readlink_chk) { LINK(__readlink_chk(here("l"), to, 100, sizeof to)); LINK(__readlink_chk("missing", to, 100, sizeof to)); }
EXERCISE(__readlinkat_chk) { int dir = open(here("d"), O_PATH); LINK(__readlinkat_chk(dir, "../n", to, 100, sizeof to)); }

EXERCISE(ttyname)
{
    int main_end, end;
    char name[256];
    openpty(&main_end, &end, name, NULL, NULL);
    const char *said = ttyname(end);
    say("same %d\n", said && !strcmp(said, name));
    PTR(ttyname(open(here("f"), O_RDONLY)));
    PTR(ttyname(977));
}
EXERCISE(ttyname_r)
{
    int main_end, end;
    char name[256], said[256];
    openpty(&main_end, &end, name, NULL, NULL);
    RC(ttyname_r(end, said, sizeof said));
    say("same %d\n", !strcmp(said, name));
    RC(ttyname_r(end, said, 2));
    RC(ttyname_r(open(here("f"), O_RDONLY), said, sizeof said));
}
EXERCISE(login_tty)
{
    int main_end, end;
    char line[64] = "";
    openpty(&main_end, &end, NULL, NULL, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int rc = login_tty(end);
        dprintf(1, "in %d %d\n", rc, isatty(0));
        say_file(here("f"));
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    RC(read(main_end, line, sizeof line));
    say("%s", line);
}
EXERCISE(forkpty)
{
    int main_end;
    char line[64] = "";
    pid_t pid = forkpty(&main_end, NULL, NULL, NULL);
    if (pid == 0) {
        say_file(here("f"));
        execl("/bin/cat", "cat", here("d/g"), NULL);
        _exit(9);
    }
    int status;
    RC(read(main_end, line, sizeof line));
    waitpid(pid, &status, 0);
    say("%s", line);
    say_status(status);
}
