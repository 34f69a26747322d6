/* stdio: streams by name and by descriptor, bytes and wide characters. */
#include "surface.h"
#include <locale.h>
#include <mntent.h>
#include <wchar.h>

#define STREAMS(fopen_)                                                            \
    static const char *const modes[] = {"r", "r+", "a", "a+", "w", "w+", "wx",     \
                                        "rb", "re", "rm", "q"};                    \
    for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++) {                  \
        char line[64] = "";                                                        \
        const char *mode = modes[i];                                               \
        errno = 0;                                                                 \
        FILE *f = fopen_(i % 2 ? here("f") : "f", mode);                           \
        say("%s: %s", mode, f ? "open" : strerrorname_np(errno));                  \
        if (f) {                                                                   \
            say(" put %d", fputs("put\n", f) >= 0);                                \
            rewind(f);                                                             \
            say(" got %s", fgets(line, sizeof line, f) ? line : "nothing");        \
            say(" at %ld", ftell(f));                                              \
            say(" closed %d", fclose(f));                                          \
        }                                                                          \
        say("\n");                                                                 \
        say_file("f");                                                             \
    }                                                                              \
    PTR(fopen_("missing", "r"));                                                   \
    PTR(fopen_("d", "w"));                                                         \
    PTR(fopen_("o", "r"));                                                         \
    PTR(fopen_(here("l"), "r"));                                                   \
    PTR(fopen_(here("made"), "wx"));                                               \
    PTR(fopen_(here("made"), "wx"));
EXERCISE(fopen) { STREAMS(fopen) }
EXERCISE(fopen64) { STREAMS(fopen64) }

#define AGAIN(freopen_)                                           \
    char line[64] = "";                                           \
    FILE *f = fopen(here("d/g"), "r");                            \
    fgetc(f);                                                     \
    f = PTR(freopen_(here("f"), "r+", f));                        \
    say("%s", fgets(line, sizeof line, f) ? line : "nothing\n");  \
    PTR(freopen_(NULL, "r", f));                                  \
    PTR(freopen_(here("c"), "w", stdout));                        \
    puts("redirected");                                           \
    fflush(stdout);                                               \
    say_file("c");                                                \
    PTR(freopen_(here("f"), "r", stdin));                         \
    say("%c\n", getchar());                                       \
    PTR(freopen_("missing", "r", f));
EXERCISE(freopen) { AGAIN(freopen) }
EXERCISE(freopen64) { AGAIN(freopen64) }

EXERCISE(fdopen)
{
    char line[64] = "";
    int fd = open(here("f"), O_RDWR);
    FILE *f = PTR(fdopen(fd, "r+"));
    say("%s", fgets(line, sizeof line, f) ? line : "nothing\n");
    fseek(f, 0, SEEK_END);
    fputs("more\n", f);
    RC(fclose(f));
    RC(fcntl(fd, F_GETFD));
    say_file("f");
    PTR(fdopen(977, "r"));
    PTR(fdopen(open(here("f"), O_RDONLY), "w"));
}
EXERCISE(fclose)
{
    FILE *f = fopen(here("c"), "w");
    int fd = fileno(f);
    fputs("kept until closed\n", f);
    RC(fclose(f));
    say_file("c");
    RC(fcntl(fd, F_GETFD));
    f = fopen(here("f"), "r");
    close(fileno(f));
    RC(fclose(f));
}
EXERCISE(fileno)
{
    FILE *f = fopen(here("f"), "r");
    struct stat s;
    RC(fstat(fileno(f), &s));
    say("size %ld std %d %d %d\n", (long)s.st_size, fileno(stdin), fileno(stdout), fileno(stderr));
}
EXERCISE(fileno_unlocked)
{
    FILE *f = fopen(here("d/g"), "r");
    say_fd(fileno_unlocked(f));
}

static FILE *wide(const char *text)
{
    setlocale(LC_ALL, "C.UTF-8");
    put("w", text);
    return fopen(here("w"), "r+");
}
EXERCISE(fgetwc) { FILE *f = wide("\xc3\xa9t\n"); RC(fgetwc(f)); RC(fgetwc(f)); RC(ftell(f)); RC(fgetwc(f)); RC((int)fgetwc(f)); }
EXERCISE(getwc) { FILE *f = wide("\xe2\x82\xac!"); RC(getwc(f)); RC(getwc(f)); RC((int)getwc(f)); }
EXERCISE(fgetws)
{
    wchar_t line[32];
    FILE *f = wide("\xc3\xa9t\xc3\xa9\nbad \xff\n");
    say("%ls", fgetws(line, 32, f) ? line : L"nothing\n");
    errno = 0;
    say("then %d %s\n", fgetws(line, 32, f) != NULL, errno ? strerrorname_np(errno) : "");
}
EXERCISE(ungetwc) { FILE *f = wide("ab"); wint_t c = getwc(f); RC(ungetwc(c, f)); RC(getwc(f)); RC(getwc(f)); }
EXERCISE(fputwc) { FILE *f = wide("xxxxxx\n"); RC(fputwc(L'\u20ac', f)); RC(fclose(f)); say_file("w"); }
EXERCISE(putwc) { FILE *f = wide("xxxxxx\n"); RC(putwc(L'\u00e9', f)); RC(fclose(f)); say_file("w"); }
EXERCISE(fputws) { FILE *f = wide("xxxxxxxx\n"); RC(fputws(L"\u00e9\u20ac", f) >= 0); RC(fclose(f)); say_file("w"); }
EXERCISE(getwchar)
{
    fclose(wide("\xc3\xa9n"));
    dup2(open(here("w"), O_RDONLY), 0);
    RC(getwchar());
    RC(getwchar());
    RC((int)getwchar());
}
EXERCISE(putwchar)
{
    fclose(wide(""));
    freopen(here("w"), "w", stdout);
    RC(putwchar(L'\u20ac'));
    fflush(stdout);
    say_file("w");
}

EXERCISE(setmntent)
{
    put("m", "# comment\nserver:/a\\040b /mnt/x nfs rw,ro 1 2\n");
    FILE *f = PTR(setmntent(here("m"), "r"));
    struct mntent *e = f ? getmntent(f) : NULL;
    if (e)
        say("%s %s %s %s %d %d\n", e->mnt_fsname, e->mnt_dir, e->mnt_type, e->mnt_opts, e->mnt_freq, e->mnt_passno);
    PTR(setmntent("missing", "r"));
}
