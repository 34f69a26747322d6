// Environments taken away, replaced, or never given.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char *const cat[] = {"cat", "../hello.txt", NULL};
static void child(int how)
{
    static char *const mine[] = {"LD_PRELOAD=", "A=b", NULL};
    static char *const twice[] = {"PATH=/bin", "PATH=/nowhere", "LD_PRELOAD=/no/such/library.so", "LD_PRELOAD=x", NULL};
    switch (how) {
    case 0: execve("/bin/cat", cat, NULL); break;
    case 1: execve("/bin/cat", cat, (char *[]){NULL}); break;
    case 2: execve("/bin/cat", cat, mine); break;
    case 3: clearenv(); execv("/bin/cat", cat); break;
    case 4: environ = NULL; execv("/bin/cat", cat); break;
    case 5: unsetenv("LD_PRELOAD"); execvp("cat", cat); break;
    case 6: setenv("LD_PRELOAD", "", 1); execl("/bin/sh", "sh", "-c", "cat ../hello.txt", NULL); break;
    case 7: execve("/bin/sh", (char *[]){"sh", "-c", "A=1 exec -a x cat ../hello.txt 2>/dev/null || cat ../hello.txt", NULL}, mine); break;
    case 8: environ = (char *[]){"A=b", NULL}; system("cat ../hello.txt; echo $A"); _exit(0);
    case 9: execve("/bin/cat", cat, twice); break;
    }
    _exit(99);
}

int main(void)
{
    for (int how = 0; how < 10; how++) {
        int status, quiet = how == 9;
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            if (quiet) /* the loader complains of the libraries that are not there */
                freopen("/dev/null", "w", stderr);
            child(how);
        }
        waitpid(pid, &status, 0);
        printf("%d: %d\n", how, WEXITSTATUS(status));
    }
    return 0;
}
