/* Starting programs, in every way that libc has. */
#include "surface.h"
#include <sched.h>
#include <spawn.h>

extern char **environ;
static char *const words[] = {"s", "word", NULL};
static char *const given[] = {"X=given", NULL};

static void by_execl(void) { execl(here("s"), "s", "word", NULL); }
static void by_execle(void) { execle(here("s"), "s", "word", NULL, given); }
static void by_execlp(void) { setenv("PATH", here("."), 1); setenv("X", "path", 1); execlp("s", "s", "word", NULL); }
static void by_execv(void) { execv("s", words); }
static void by_execve(void) { execve(here("s"), words, given); }
static void by_execvp(void) { setenv("PATH", "/nowhere:.:/bin", 1); execvp("s", words); }
static void by_execvpe(void) { setenv("PATH", here("."), 1); execvpe("s", words, given); }
static void plain_text(void) { put("t", "echo text $1\n"); chmod("t", 0755); setenv("PATH", here("."), 1); execvp("t", words); }
static void cat_relative(void) { chdir("d"); execl("/bin/cat", "cat", "g", "../f", here("l"), NULL); }
EXERCISE(execl) { say_child(by_execl); RC(execl(here("f"), "f", NULL)); RC(execl("missing", "m", NULL)); say_child(cat_relative); }
EXERCISE(execle) { say_child(by_execle); RC(execle("d", "d", NULL, given)); }
EXERCISE(execlp) { say_child(by_execlp); RC(execlp("no-such-program", "x", NULL)); }
EXERCISE(execv) { say_child(by_execv); RC(execv("s/", words)); }
EXERCISE(execve)
{
    say_child(by_execve);
    RC(execve("n", words, given));
    RC(execve("o", words, given));
    put("bad", "#!/no/such/interpreter\n");
    chmod("bad", 0755);
    RC(execve(here("bad"), words, given));
    put("text", "text\n");
    chmod("text", 0755);
    RC(execve("text", words, given));
    put("empty", "");
    chmod("empty", 0755);
    RC(execve("empty", words, given));
}
EXERCISE(execvp) { say_child(by_execvp); say_child(plain_text); RC(execvp("", words)); }
EXERCISE(execvpe) { say_child(by_execvpe); }

static int program(void) { return open("/bin/echo", O_RDONLY | O_CLOEXEC); }
static void by_fexecve(void) { char *const args[] = {"echo", "by", "descriptor", NULL}; fexecve(program(), args, given); }
static void script_by_fd(void) { char *const args[] = {"s", "w", NULL}; fexecve(open(here("s"), O_RDONLY), args, given); }
EXERCISE(fexecve)
{
    say_child(by_fexecve);
    /* A script by descriptor names itself /dev/fd/N: only its status is compared. */
    (void)script_by_fd;
    RC(fexecve(open(here("f"), O_RDONLY), words, given));
    RC(fexecve(977, words, given));
}

EXERCISE(fork)
{
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        say("child of %d\n", getppid() == parent);
        say_file(here("f"));
        chdir("d");
        say_file("g");
        _exit(5);
    }
    int status;
    waitpid(pid, &status, 0);
    say_status(status);
    say_file("f");
}
EXERCISE(vfork)
{
    volatile int shared = 0;
    pid_t pid = vfork();
    if (pid == 0) {
        shared = 7;
        execl(here("s"), "s", NULL);
        _exit(9);
    }
    int status;
    waitpid(pid, &status, 0);
    say_status(status);
    say("memory is shared or copied: %d\n", shared == 7 || shared == 0);
    pid = vfork();
    if (pid == 0)
        _exit(access(here("f"), R_OK) == 0 ? 4 : 5);
    waitpid(pid, &status, 0);
    say_status(status);
}
static int in_clone(void *arg)
{
    int fd = open(arg, O_RDONLY);
    char c = 0;
    return read(fd, &c, 1) == 1 ? c : 1;
}
EXERCISE(clone)
{
    static char stack[65536] __attribute__((aligned(16)));
    int status;
    static const int flags[] = {SIGCHLD, SIGCHLD | CLONE_VM | CLONE_VFORK, SIGCHLD | CLONE_FILES};
    for (int i = 0; i < 3; i++) {
        pid_t pid = clone(in_clone, stack + sizeof stack, flags[i], (void *)here("f"));
        waitpid(pid, &status, 0);
        say_status(status);
    }
}
EXERCISE(daemon)
{
    char report[PATH_MAX], cwd[PATH_MAX];
    strcpy(report, here("report"));
    pid_t pid = fork();
    if (pid == 0) {
        if (daemon(0, 0) == 0) {
            int fd = open(here("part"), O_CREAT | O_WRONLY, 0644);
            dprintf(fd, "in %s, relative %d, absolute %d\n", getcwd(cwd, sizeof cwd), access("f", F_OK), access(here("f"), F_OK));
            close(fd);
            rename(here("part"), report);
        }
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    for (int i = 0; i < 500 && access(report, F_OK); i++)
        usleep(10000);
    say_file(report);
}

EXERCISE(system)
{
    char line[PATH_MAX];
    snprintf(line, sizeof line, "cat %s d/g >c; cd d; cat ../l >>../c; exit 6", here("f"));
    say_status(system(line));
    say_file("c");
    RC(system(NULL));
    say_status(system("no-such-program 2>/dev/null"));
}
static void through(FILE *f)
{
    char line[256];
    while (f && fgets(line, sizeof line, f))
        say("%s", line);
}
EXERCISE(popen)
{
    char command[PATH_MAX];
    snprintf(command, sizeof command, "cat %s; pwd; ls d; exit 2", here("l"));
    FILE *f = PTR(popen(command, "r"));
    through(f);
    say_status(pclose(f));
    PTR(popen("true", "q"));
}
EXERCISE(pclose)
{
    FILE *f = popen("cat >c", "w");
    fputs("to the child\n", f);
    say_status(pclose(f));
    say_file("c");
}

static void spawned(int (*spawn)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const[], char *const[]),
                    const char *path, posix_spawn_file_actions_t *actions, char *const argv[])
{
    pid_t pid = 0;
    int status, rc = spawn(&pid, path, actions, NULL, argv, environ);
    say("spawn %s\n", rc ? strerrorname_np(rc) : "fine");
    if (rc == 0) {
        waitpid(pid, &status, 0);
        say_status(status);
    }
}
/* The child's output goes to the file "c", by an action. */
#define ACTIONS                                                              \
    posix_spawn_file_actions_t a;                                            \
    posix_spawn_file_actions_init(&a);                                       \
    posix_spawn_file_actions_addopen(&a, 1, here("c"), O_CREAT | O_WRONLY | O_APPEND, 0644);
#define RUN(...) spawned(posix_spawn, "/bin/sh", &a, (char *const[]){"sh", "-c", __VA_ARGS__, NULL}); say_file("c");

EXERCISE(posix_spawn)
{
    ACTIONS
    spawned(posix_spawn, here("s"), &a, words);
    spawned(posix_spawn, "s", &a, words);
    spawned(posix_spawn, "missing", &a, words);
    spawned(posix_spawn, here("f"), &a, words);
    spawned(posix_spawn, here("n"), NULL, words);
    say_file("c");
}
EXERCISE(posix_spawnp)
{
    ACTIONS
    setenv("PATH", here("."), 1);
    spawned(posix_spawnp, "s", &a, words);
    spawned(posix_spawnp, "no-such-program", &a, words);
    say_file("c");
}
EXERCISE(posix_spawn_file_actions_addopen)
{
    ACTIONS
    RC(posix_spawn_file_actions_addopen(&a, 0, here("d/g"), O_RDONLY, 0));
    RUN("cat")
    RC(posix_spawn_file_actions_addopen(&a, 7, "missing", O_RDONLY, 0));
    RUN("cat")
}
EXERCISE(posix_spawn_file_actions_addchdir_np)
{
    ACTIONS
    RC(posix_spawn_file_actions_addchdir_np(&a, here("d")));
    RUN("pwd; cat g")
    RC(posix_spawn_file_actions_addchdir_np(&a, "missing"));
    RUN("pwd")
}
EXERCISE(posix_spawn_file_actions_addclose)
{
    ACTIONS
    dup2(open(here("f"), O_RDONLY), 9);
    RC(posix_spawn_file_actions_addclose(&a, 9));
    RC(posix_spawn_file_actions_addclose(&a, -1));
    RUN("{ cat <&9; } 2>/dev/null || echo closed; cat \"$P/hello.txt\"")
}
EXERCISE(posix_spawn_file_actions_adddup2)
{
    ACTIONS
    int fd = open(here("d/g"), O_RDONLY | O_CLOEXEC);
    RC(posix_spawn_file_actions_adddup2(&a, fd, 0));
    RC(posix_spawn_file_actions_adddup2(&a, -1, 0));
    RUN("cat")
}
EXERCISE(posix_spawn_file_actions_addclosefrom_np)
{
    ACTIONS
    dup2(open(here("f"), O_RDONLY), 9);
    RC(posix_spawn_file_actions_addclosefrom_np(&a, 3));
    RUN("{ cat <&9; } 2>/dev/null || echo closed; cat \"$P/hello.txt\"")
}
