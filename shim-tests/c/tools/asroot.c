/* asroot PROGRAM [ARG...] - what sudo does, when installed setuid root: becomes root
 * with the environment cleaned of nothing but what the loader itself removes. */
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc < 2 || setgid(0) || setuid(0)) {
        fprintf(stderr, "asroot: needs a program, and setuid root\n");
        return 96;
    }
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    return 97;
}
