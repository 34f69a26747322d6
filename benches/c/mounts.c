/*
 * What programs do with files, timed inside the program that does it.
 *
 * Requests come on descriptor 0, replies go to descriptor 1, one line each, fields apart by tabs:
 *
 *     open PATH N         N times: open, read what is there, close
 *     create DIR N        N times: create a file, write to it, close it
 *     read PATH SIZE      read the file from one end to the other, SIZE bytes at a time
 *     write PATH SIZE N   write N bytes so, over what is there, and close it
 *     random PATH N       N reads of 4 KiB at random places of the file
 *     list DIR            all names
 *     stat DIR            all names, and the attributes of each
 *
 * The reply is "ok NANOSECONDS", or "error WHY". It begins with "ready".
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LARGEST = 1 << 20, PAGE = 4096 };

static char buffer[LARGEST];

static int small(const char *path, long n, long unused)
{
	(void)unused;
	for (; n > 0; n--) {
		int fd = open(path, O_RDONLY);
		if (fd < 0 || read(fd, buffer, PAGE) <= 0 || close(fd) != 0)
			return -1;
	}
	return 0;
}

static int create(const char *dir, long n, long unused)
{
	char path[4096];
	(void)unused;
	for (; n > 0; n--) {
		snprintf(path, sizeof path, "%s/new%ld", dir, n);
		int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
		if (fd < 0 || write(fd, buffer, 100) != 100 || close(fd) != 0)
			return -1;
	}
	return 0;
}

static int sequential(const char *path, long size, long unused)
{
	ssize_t got;
	int fd = open(path, O_RDONLY);
	(void)unused;
	while ((got = read(fd, buffer, size)) > 0)
		;
	return got < 0 ? -1 : close(fd);
}

static int fill(const char *path, long size, long n)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0644);
	for (; n > 0; n -= size)
		if (write(fd, buffer, size) != size)
			return -1;
	return close(fd);
}

static int scattered(const char *path, long n, long unused)
{
	struct stat st;
	unsigned long long at = 1;
	int fd = open(path, O_RDONLY);
	(void)unused;
	if (fd < 0 || fstat(fd, &st) != 0 || st.st_size < PAGE)
		return -1;
	for (; n > 0; n--) {
		at = at * 6364136223846793005ULL + 1;
		if (pread(fd, buffer, PAGE, (at >> 33) % (st.st_size / PAGE) * PAGE) != PAGE)
			return -1;
	}
	return close(fd);
}

static int each(const char *path, int attributes)
{
	struct dirent *entry;
	struct stat st;
	DIR *dir = opendir(path);

	if (!dir)
		return -1;
	while ((entry = readdir(dir)))
		if (attributes && fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			return -1;
	return closedir(dir);
}

static int list(const char *path, long unused, long also_unused)
{
	(void)unused, (void)also_unused;
	return each(path, 0);
}

static int list_all(const char *path, long unused, long also_unused)
{
	(void)unused, (void)also_unused;
	return each(path, 1);
}

static const struct {
	const char *name;
	int (*act)(const char *path, long first, long second);
} acts[] = {
	{"open", small}, {"create", create}, {"read", sequential}, {"write", fill},
	{"random", scattered}, {"list", list}, {"stat", list_all},
};

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(void)
{
	char *line = 0, *field[4];
	size_t size = 0;
	ssize_t length;

	printf("ready\n");
	fflush(stdout);
	while ((length = getline(&line, &size, stdin)) > 0) {
		int done = -1;
		long long began, took;
		char *rest = line;

		line[length - 1] = 0;
		for (int i = 0; i < 4; i++)
			field[i] = rest ? strsep(&rest, "\t") : (char *)"";
		errno = 0;
		began = now();
		for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
			if (strcmp(acts[i].name, field[0]) == 0)
				done = acts[i].act(field[1], atol(field[2]), atol(field[3]));
		took = now() - began;
		if (done == 0)
			printf("ok\t%lld\n", took);
		else
			printf("error\t%s %s: %s\n", field[0], field[1], strerror(errno));
		fflush(stdout);
	}
	free(line);
	return 0;
}
