// Names too long, chains of links, and trees deeper than PATH_MAX.
// worlds: +nested +locked +old -9p-
// Not in 9P worlds: names that are too long for the kernel are not for a server.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void say(const char *what, long rc) { printf("%s: %s\n", what, rc < 0 ? strerrorname_np(errno) : "fine"); }

static char *filled(size_t n)
{
    char *s = malloc(n + 1);
    memset(s, 'x', n);
    s[n] = 0;
    return s;
}

int main(void)
{
    struct stat s;
    char path[3 * PATH_MAX], more[3 * PATH_MAX];
    say("255", mkdir(filled(255), 0755));
    say("256", mkdir(filled(256), 0755));
    say("256 missing", stat(filled(256), &s));
    say("256 open", open(filled(256), O_CREAT | O_WRONLY, 0600));
    say("rename to 256", rename(filled(255), filled(256)));
    say("255 gone", rmdir(filled(255)));
    /* A path at the limit of 4095 bytes, by absolute and by relative name. */
    for (int extra = -2; extra < 3; extra++) {
        const char *place = getenv("P");
        size_t length = PATH_MAX - 1 + extra;
        strcpy(path, place);
        while (strlen(path) + 2 < length)
            strcat(path, "/.");
        while (strlen(path) < length)
            strcat(path, "/");
        printf("%d ", extra);
        say("absolute", stat(path, &s));
        memset(path, 0, sizeof path);
        while (strlen(path) + 2 <= length)
            strcat(path, "./");
        while (strlen(path) < length)
            strcat(path, "/");
        say("relative", stat(path, &s));
        say("open", open(path, O_RDONLY));
        say("link", symlink(path, "toolong"));
        say("unlink", unlink("toolong"));
    }
    /* Forty links are followed, the forty-first is not. */
    FILE *f = fopen("l0", "w");
    fputs("end\n", f);
    fclose(f);
    for (int i = 1; i < 45; i++) {
        sprintf(path, "l%d", i - 1);
        sprintf(more, "l%d", i);
        symlink(path, more);
    }
    for (int i = 38; i < 44; i++) {
        sprintf(path, "l%d", i);
        printf("%d ", i);
        say("links", stat(path, &s));
        say("open", open(path, O_RDONLY));
        sprintf(more, "../w/./%s", path);
        say("from elsewhere", access(more, F_OK));
    }
    /* A tree deeper than any path. */
    for (int i = 0; i < 60; i++) {
        char *name = filled(100);
        if (mkdir(name, 0755) || chdir(name)) {
            say("deep", -1);
            break;
        }
    }
    f = fopen("bottom", "w");
    say("bottom", f ? 0 : -1);
    fputs("deep\n", f);
    fclose(f);
    say("stat", stat("bottom", &s));
    char *cwd = getcwd(NULL, 0);
    printf("cwd %s\n", cwd ? "known" : strerrorname_np(errno));
    say("up", chdir(".."));
    for (int i = 0; i < 59; i++)
        chdir("..");
    say("back", stat("l0", &s));
    return system("rm -rf x* l*");
}
