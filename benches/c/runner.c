/*
 * What is measured, inside the tool that is measured.
 *
 * One of these lives in every column of the table for the whole run, so that the driver can
 * take a short block here, then a short block there, and the noise of the machine falls on all
 * of them alike. Requests come on descriptor 0, replies go to descriptor 1, one line each,
 * fields apart by tabs:
 *
 *     stat PATH N      N calls of libc's function; the same for access, open (and close),
 *     read PATH N      read and write of one byte; forkexec PATH N
 *     exec DIR ARG...  the command, in DIR, its output thrown away
 *     memory           private memory of this process
 *     pin CPU PID      run on the CPUth of the processors allowed, -1 for all of them; so does
 *                      PID, which watches this process, if it is not 0
 *
 * It begins with "ready PID". The reply is "ok CPU WALL" in nanoseconds, or "ok KIB", or "error WHY".
 *
 * Every measured call goes through the symbol of the C library, as a program's own calls do.
 * System calls written in line would pass every preloaded library by and make it look free.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FIELDS = 1024 };

static long long nanoseconds(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long usage(const struct rusage *u)
{
	return (u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1000000000LL
		+ (u->ru_utime.tv_usec + u->ru_stime.tv_usec) * 1000LL;
}

/* One call of the thing under test; not 0 when it failed. */
typedef int call(const char *path, int fd);

static int call_stat(const char *path, int fd)
{
	struct stat st;
	(void)fd;
	return stat(path, &st);
}

static int call_access(const char *path, int fd)
{
	(void)fd;
	return access(path, R_OK);
}

static int call_open(const char *path, int fd)
{
	fd = open(path, O_RDONLY);
	return fd < 0 ? -1 : close(fd);
}

static int call_read(const char *path, int fd)
{
	char byte;
	(void)path;
	return read(fd, &byte, 1) - 1;
}

static int call_write(const char *path, int fd)
{
	(void)path;
	return write(fd, "x", 1) - 1;
}

static int call_forkexec(const char *path, int fd)
{
	int status;
	pid_t child = fork();
	(void)fd;
	if (child == 0) {
		execl(path, path, (char *)0);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return -1;
	errno = ENOEXEC;
	return status;
}

static const struct {
	const char *name;
	call *call;
	int flags; /* how to open PATH beforehand; -1: not at all */
} calls[] = {
	{"stat", call_stat, -1},
	{"access", call_access, -1},
	{"open", call_open, -1},
	{"read", call_read, O_RDONLY},
	{"write", call_write, O_WRONLY},
	{"forkexec", call_forkexec, -1},
};

static void block(call *call, int flags, const char *path, long n)
{
	struct rusage before, after;
	long long cpu, wall;
	int fd = -1, failed = 0;

	if (flags >= 0 && (fd = open(path, flags)) < 0) {
		printf("error\t%s: %s\n", path, strerror(errno));
		return;
	}
	getrusage(RUSAGE_CHILDREN, &before);
	wall = nanoseconds(CLOCK_MONOTONIC);
	cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
	for (long i = 0; i < n && !failed; i++)
		failed = call(path, fd);
	cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	wall = nanoseconds(CLOCK_MONOTONIC) - wall;
	getrusage(RUSAGE_CHILDREN, &after);
	if (failed)
		printf("error\t%s: %s\n", path, strerror(errno));
	else
		printf("ok\t%lld\t%lld\n", cpu + usage(&after) - usage(&before), wall);
	if (fd >= 0)
		close(fd);
}

static void command(const char *dir, char **argv)
{
	struct rusage used;
	int status;
	long long wall = nanoseconds(CLOCK_MONOTONIC);
	pid_t child = fork();

	if (child == 0) {
		int null = open("/dev/null", O_RDWR);
		if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0
		    || chdir(dir) != 0)
			_exit(126);
		execvp(argv[0], argv);
		_exit(127);
	}
	if (child < 0 || wait4(child, &status, 0, &used) != child)
		printf("error\t%s: %s\n", argv[0], strerror(errno));
	else if (status != 0)
		printf("error\t%s: %s %d\n", argv[0], WIFEXITED(status) ? "status" : "signal",
		       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	else
		printf("ok\t%lld\t%lld\n", usage(&used), nanoseconds(CLOCK_MONOTONIC) - wall);
}

/* Private_Clean and Private_Dirty of smaps_rollup, proc_pid_smaps(5). */
static void memory(void)
{
	char line[256];
	long sum = 0, kib;
	FILE *smaps = fopen("/proc/self/smaps_rollup", "r");

	if (!smaps) {
		printf("error\tsmaps_rollup: %s\n", strerror(errno));
		return;
	}
	while (fgets(line, sizeof line, smaps))
		if (sscanf(line, "Private_Clean: %ld", &kib) == 1
		    || sscanf(line, "Private_Dirty: %ld", &kib) == 1)
			sum += kib;
	fclose(smaps);
	printf("ok\t%ld\n", sum);
}

static cpu_set_t allowed;

static void pin(int cpu, pid_t watcher)
{
	cpu_set_t set = allowed;

	if (cpu >= 0) {
		int chosen = -1;
		for (cpu %= CPU_COUNT(&allowed); cpu >= 0; cpu--)
			do
				chosen++;
			while (!CPU_ISSET(chosen, &allowed));
		CPU_ZERO(&set);
		CPU_SET(chosen, &set);
	}
	if (sched_setaffinity(0, sizeof set, &set) != 0
	    || (watcher && sched_setaffinity(watcher, sizeof set, &set) != 0))
		printf("error\tsched_setaffinity: %s\n", strerror(errno));
	else
		printf("ok\n");
}

static void request(char **field, int fields)
{
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		if (fields == 3 && strcmp(field[0], calls[i].name) == 0) {
			block(calls[i].call, calls[i].flags, field[1], atol(field[2]));
			return;
		}
	if (fields >= 3 && strcmp(field[0], "exec") == 0)
		command(field[1], field + 2);
	else if (strcmp(field[0], "memory") == 0)
		memory();
	else if (fields == 3 && strcmp(field[0], "pin") == 0)
		pin(atoi(field[1]), atoi(field[2]));
	else
		printf("error\tunknown request %s\n", field[0]);
}

int main(void)
{
	char *line = 0, *field[MAX_FIELDS + 1];
	size_t size = 0;
	ssize_t length;

	sched_getaffinity(0, sizeof allowed, &allowed);
	printf("ready\t%d\n", (int)getpid());
	fflush(stdout);
	while ((length = getline(&line, &size, stdin)) > 0) {
		int fields = 0;
		line[length - 1] = 0;
		for (char *rest = line, *f; fields < MAX_FIELDS && (f = strsep(&rest, "\t"));)
			field[fields++] = f;
		field[fields] = 0;
		request(field, fields);
		fflush(stdout);
	}
	free(line);
	return 0;
}
