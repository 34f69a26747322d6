/* A library that does nothing: what any LD_PRELOAD costs. */
int privns_bench_empty;
