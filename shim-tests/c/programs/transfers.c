// worlds: +9p-dir-tcp
// sendfile(2), copy_file_range(2) and splice(2) with offsets in memory of every kind: what they say, and
// what they have moved by then.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096 };

static int in, out, append, ends[2];
static off_t *fine, *fixed, *none, *nowhere;

static void say(const char *what, long ret)
{
    char text[64] = "";
    struct stat st;
    int waiting = 0;
    fstat(out, &st);
    ioctl(ends[0], FIONREAD, &waiting);
    printf("%s: %ld %s", what, ret, ret < 0 ? strerrorname_np(errno) : "");
    printf(" fine %ld fixed %ld in %ld out %ld of %ld", (long)*fine, (long)*fixed,
           (long)lseek(in, 0, SEEK_CUR), (long)lseek(out, 0, SEEK_CUR), (long)st.st_size);
    pread(out, text, 40, 0);
    for (char *c = text; c < text + st.st_size && c < text + 40; c++)
        *c = *c ? *c : '.';
    printf(" '%s' waiting %d\n", text, waiting);
    while (waiting > 0)
        waiting -= read(ends[0], text, waiting < 60 ? waiting : 60);
    ftruncate(out, 0);
    lseek(in, 1, SEEK_SET);
    lseek(out, 2, SEEK_SET);
    *fine = 3;
}

static void fill(void)
{
    write(ends[1], "in the pipe", 11);
}

static void each(const char *kind, off_t *at)
{
    printf("%s\n", kind);
    say("sendfile", sendfile(out, in, at, 5));
    say("sendfile to a pipe", sendfile(ends[1], in, at, 5));
    say("sendfile of nothing", sendfile(out, in, at, 0));
    say("sendfile to what appends", sendfile(append, in, at, 5));
    say("sendfile from what is written", sendfile(out, append, at, 5));
    say("sendfile from nothing", sendfile(out, 999, at, 5));
    say("copy from", copy_file_range(in, at, out, NULL, 5, 0));
    say("copy to", copy_file_range(in, NULL, out, at, 5, 0));
    say("copy from and to", copy_file_range(in, fine, out, at, 5, 0));
    say("copy with flags", copy_file_range(in, at, out, NULL, 5, 1));
    say("copy of nothing", copy_file_range(in, at, out, NULL, 0, 0));
    say("copy to a pipe", copy_file_range(in, at, ends[1], NULL, 5, 0));
    say("copy to what appends", copy_file_range(in, at, append, NULL, 5, 0));
    say("splice from", splice(in, at, ends[1], NULL, 5, 0));
    say("splice from, and for the pipe", splice(in, NULL, ends[1], at, 5, 0));
    say("splice of nothing", splice(in, at, ends[1], NULL, 0, 0));
    say("splice with flags", splice(in, at, ends[1], NULL, 5, 256));
    say("splice from what is written", splice(append, at, ends[1], NULL, 5, 0));
    say("splice of no pipe", splice(in, at, out, at, 5, 0));
    say("splice to nothing", splice(in, at, 999, NULL, 5, 0));
    fill();
    say("splice to", splice(ends[0], NULL, out, at, 5, 0));
    fill();
    say("splice to what is read", splice(ends[0], NULL, in, at, 5, 0));
    fill();
    say("splice to what appends", splice(ends[0], NULL, append, at, 5, 0));
}

int main(void)
{
    int made = open("f", O_RDWR | O_CREAT | O_TRUNC, 0644);
    write(made, "abcdefghijklmnopqrstuvwxyz", 26);
    in = open("f", O_RDONLY);
    out = open("g", O_RDWR | O_CREAT | O_TRUNC, 0644);
    append = open("h", O_WRONLY | O_CREAT | O_APPEND, 0644);
    char *memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fine = (off_t *)memory;
    fixed = (off_t *)(memory + PAGE);
    none = (off_t *)(memory + 2 * PAGE);
    nowhere = (off_t *)(memory + 3 * PAGE);
    *fine = 3;
    *fixed = 7;
    mprotect(fixed, PAGE, PROT_READ);
    mprotect(none, PAGE, PROT_NONE);
    munmap(nowhere, PAGE);
    if (pipe(ends))
        return 1;
    say("begin", 0);
    each("of the file", NULL);
    each("fine", fine);
    each("not to be written", fixed);
    each("not to be touched", none);
    each("not there", nowhere);
    // Half of it is there.
    each("in part", (off_t *)((char *)none - 4));
    mprotect(fixed, PAGE, PROT_READ | PROT_WRITE);
    *fixed = -3;
    mprotect(fixed, PAGE, PROT_READ);
    each("from before", fixed);
    return 0;
}
