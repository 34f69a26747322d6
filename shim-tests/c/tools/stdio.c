/* Streams on files in the directory that the argument names: every check that fails is a line. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#define CHECK(c) do { if (!(c)) fprintf(stderr, "line %d: %s\n", __LINE__, #c); } while (0)

static char path[4096], text[256];

static FILE *must(const char *mode)
{
	FILE *file = fopen(path, mode);
	if (!file) {
		fprintf(stderr, "fopen %s: ", mode);
		perror(path);
		exit(1);
	}
	return file;
}

static void modes(void)
{
	struct stat st;
	FILE *f = must("w");
	CHECK(fputs("hello\nworld\n", f) >= 0);
	CHECK(ftell(f) == 12);
	CHECK(!fclose(f));
	f = must("rm");
	CHECK(fgets(text, sizeof text, f) && !strcmp(text, "hello\n"));
	CHECK(ftell(f) == 6);
	CHECK(!fseek(f, 0, SEEK_END) && ftell(f) == 12);
	rewind(f);
	CHECK(getc(f) == 'h');
	fclose(f);
	f = must("a+");
	CHECK(fprintf(f, "more\n") == 5 && !fflush(f));
	CHECK(!fseek(f, 0, SEEK_SET) && fgets(text, sizeof text, f) && !strcmp(text, "hello\n"));
	fclose(f);
	CHECK(!stat(path, &st) && st.st_size == 17);
	f = must("r+");
	CHECK(fread(text, 1, 5, f) == 5 && !fseek(f, 0, SEEK_CUR) && fputc('!', f) == '!');
	fclose(f);
	char *line = 0;
	size_t room = 0;
	f = must("re");
	CHECK(getline(&line, &room, f) == 12 && !strncmp(line, "hello!world", 11));
	CHECK(fcntl(fileno(f), F_GETFD) == FD_CLOEXEC);
	CHECK((fcntl(fileno(f), F_GETFL) & O_ACCMODE) == O_RDONLY);
	fclose(f);
	free(line);
	CHECK(!fopen(path, "wx"));
}

static void wide(void)
{
	wchar_t wide[20];
	FILE *f = must("w+, ccs=UTF-8");
	CHECK(fputws(L"w\u00e4de\n", f) >= 0);
	rewind(f);
	CHECK(fgetws(wide, 20, f) && wcslen(wide) == 5);
	fclose(f);
}

static void descriptors(void)
{
	struct stat st;
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
	FILE *f = fdopen(fd, "w");
	CHECK(f);
	setvbuf(f, 0, _IONBF, 0);
	fputs("ab", f);
	CHECK(!fstat(fd, &st) && st.st_size == 2);
	CHECK(lseek(fd, 0, SEEK_CUR) == 2);
	fclose(f);
	CHECK(fcntl(fd, F_GETFD) == -1);
	f = tmpfile();
	CHECK(f && fputs("t", f) >= 0);
	rewind(f);
	CHECK(getc(f) == 't');
	fclose(f);
}

static void standard_output(void)
{
	int saved = dup(1);
	CHECK(freopen(path, "w", stdout));
	printf("to the file\n");
	fflush(stdout);
	CHECK(system("echo from a child") == 0);
	printf("again\n");
	fflush(stdout);
	FILE *f = popen("cat", "w");
	fputs("through a pipe\n", f);
	pclose(f);
	dup2(saved, 1);
	close(saved);
	clearerr(stdout);
	f = must("r");
	while (fgets(text, sizeof text, f))
		fputs(text, stdout);
	fclose(f);
}

int main(int argc, char **argv)
{
	snprintf(path, sizeof path, "%s/stdio", argc > 1 ? argv[1] : ".");
	modes();
	wide();
	descriptors();
	standard_output();
	unlink(path);
	strcat(path, "/not/there");
	CHECK(!fopen(path, "r"));
	printf("done\n");
	return 0;
}
