// Ranks hand 1 MB round in a ring, by the shared memory of Open MPI, and say what came.
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEN = 1 << 20 };

int main(int argc, char **argv)
{
    int rank, ranks;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    unsigned char *mine = malloc(LEN), *theirs = malloc(LEN), *want = malloc(LEN);
    int left = (rank + ranks - 1) % ranks;
    for (int i = 0; i < LEN; i++) {
        mine[i] = (unsigned char)(i * 7 + rank);
        want[i] = (unsigned char)(i * 7 + left);
    }
    MPI_Sendrecv(mine, LEN, MPI_BYTE, (rank + 1) % ranks, 0, theirs, LEN, MPI_BYTE, left, 0,
                 MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    int same = memcmp(theirs, want, LEN) == 0, all = 0;
    MPI_Reduce(&same, &all, 1, MPI_INT, MPI_SUM, 0, MPI_COMM_WORLD);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0) {
        printf("%d of %d\n", all, ranks);
        fflush(stdout);
        system("ls /dev/shm | grep -c vader");
    }
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Finalize();
    return 0;
}
