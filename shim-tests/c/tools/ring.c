// What comes of a ring (io_uring(7)): asked of the kernel by number, and read from through it.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct io_uring_params p = { 0 };
    long ring = syscall(SYS_io_uring_setup, 4, &p);
    if (ring < 0 || argc < 2) {
        puts(ring < 0 ? strerrorname_np(errno) : "there");
        return 0;
    }
    char text[64] = "";
    char *at = mmap(NULL, p.sq_off.array + 64 + p.cq_off.cqes + 64 * 16, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
                    IORING_OFF_SQ_RING);
    struct io_uring_sqe *entry = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
    *entry = (struct io_uring_sqe){ .opcode = IORING_OP_READ, .fd = open(argv[1], O_RDONLY), .addr = (uintptr_t)text,
                                    .len = sizeof text - 1 };
    *(unsigned *)(at + p.sq_off.array) = 0;
    __atomic_fetch_add((unsigned *)(at + p.sq_off.tail), 1, __ATOMIC_RELEASE);
    syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
    printf("%d %s", ((struct io_uring_cqe *)(at + p.cq_off.cqes))->res, text);
    return 0;
}
