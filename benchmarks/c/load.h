/* load.h -- what the load generators share: clocks, round-trip samples, the spinning event loop, the line of JSON at the end.
 *
 * A generator is one translation unit that includes this file once.  It calls load_run(step) when all its connections are under way: `step`
 * handles what is ready now, waiting at most `wait_ms`; it calls load_count() for each finished request.  The run warms up, then counts
 * requests for the measured time and reads the CPU clock of the server's process (user + system, all threads) at both ends.
 *
 * Prints one line of JSON: requests, wall_ns and server_cpu_ns of the measured time, own_cpu_ns of this process, p50_ns and p99_ns.
 *
 * Exit status: 0, 1 a system call failed or the server hung up, 2 wrong arguments, 3 an echo differs.
 * Units: ns of CLOCK_MONOTONIC.  One thread. */
#ifndef ASYNCLOOP_BENCH_LOAD_H
#define ASYNCLOOP_BENCH_LOAD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { LOAD_SAMPLES_MAX = 4 << 20, LOAD_EVENTS = 256, LOAD_CHECK_BYTES = 4096 };

/* The arguments of every generator, in this order: ADDRESS CONNECTIONS BYTES WARMUP_MS MEASURE_MS SERVER_PID SPIN.
 * ADDRESS: a port of 127.0.0.1, or the path of a Unix socket.  SPIN 1: never sleep while waiting, so that the server need not pay for
 * waking this process and is the bottleneck; 0: block. */
struct load {
    const char *address;
    int n_connections, spin;
    size_t n_bytes;
    uint64_t warmup_ns, measure_ns;
    clockid_t server_clock;
    uint64_t n_requests;
    uint32_t *samples; /* round trips in ns, of the measured time */
    size_t n_samples;
    char *message; /* n_bytes: letters, and a newline at the end */
};

static struct load load;

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "failed");
    exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t) < 0)
        die("clock_gettime");
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static void load_parse(int argc, char **argv)
{
    if (argc != 8) {
        fprintf(stderr, "usage: %s ADDRESS CONNECTIONS BYTES WARMUP_MS MEASURE_MS SERVER_PID SPIN\n", argv[0]);
        exit(2);
    }
    load.address = argv[1];
    load.n_connections = atoi(argv[2]);
    load.n_bytes = strtoull(argv[3], NULL, 10);
    load.warmup_ns = strtoull(argv[4], NULL, 10) * 1000000u;
    load.measure_ns = strtoull(argv[5], NULL, 10) * 1000000u;
    load.spin = atoi(argv[7]);
    if (load.n_connections <= 0 || !load.n_bytes || clock_getcpuclockid(atoi(argv[6]), &load.server_clock)) {
        fprintf(stderr, "load: bad argument\n");
        exit(2);
    }
    load.samples = malloc(LOAD_SAMPLES_MAX * sizeof *load.samples);
    load.message = malloc(load.n_bytes);
    if (!load.samples || !load.message)
        die("malloc");
    for (size_t i = 0; i < load.n_bytes; i++)
        load.message[i] = (char)('a' + (i * 131 + i / 251) % 26);
    load.message[load.n_bytes - 1] = '\n';
}

/* A request that began at start_ns is finished. */
static void load_count(uint64_t start_ns)
{
    load.n_requests++;
    if (load.n_samples < LOAD_SAMPLES_MAX)
        load.samples[load.n_samples++] = (uint32_t)(now_ns() - start_ns);
}

/* The bytes at `offset` of an echo. */
static void load_check(const char *got, size_t offset, size_t n)
{
    size_t head = n < LOAD_CHECK_BYTES ? n : LOAD_CHECK_BYTES;
    if (offset + n > load.n_bytes || memcmp(got, load.message + offset, head) != 0 || got[n - 1] != load.message[offset + n - 1]) {
        fprintf(stderr, "load: an echo differs from its message\n");
        exit(3);
    }
}

/* The server's address; its length. */
static socklen_t load_address(struct sockaddr_storage *storage)
{
    memset(storage, 0, sizeof *storage);
    if (strchr(load.address, '/')) {
        struct sockaddr_un *a = (struct sockaddr_un *)storage;
        a->sun_family = AF_UNIX;
        if (strlen(load.address) >= sizeof a->sun_path) {
            fprintf(stderr, "load: the path is too long\n");
            exit(2);
        }
        strcpy(a->sun_path, load.address);
        return sizeof *a;
    }
    struct sockaddr_in *a = (struct sockaddr_in *)storage;
    a->sin_family = AF_INET;
    a->sin_port = htons((unsigned short)atoi(load.address));
    a->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof *a;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void load_drive(void (*step)(int wait_ms), uint64_t until_ns)
{
    while (now_ns() < until_ns)
        step(load.spin ? 0 : 100);
}

static void load_run(void (*step)(int wait_ms))
{
    load_drive(step, now_ns() + load.warmup_ns);
    load.n_samples = 0;
    load.n_requests = 0;
    uint64_t wall = now_ns(), server = clock_ns(load.server_clock), own = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    load_drive(step, wall + load.measure_ns);
    wall = now_ns() - wall;
    server = clock_ns(load.server_clock) - server;
    own = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - own;
    if (!load.n_samples) {
        fprintf(stderr, "load: not one round trip in the measured time\n");
        exit(1);
    }
    qsort(load.samples, load.n_samples, sizeof *load.samples, by_value);
    printf("{\"requests\": %llu, \"wall_ns\": %llu, \"server_cpu_ns\": %llu, \"own_cpu_ns\": %llu, \"p50_ns\": %u, \"p99_ns\": %u}\n",
           (unsigned long long)load.n_requests, (unsigned long long)wall, (unsigned long long)server, (unsigned long long)own,
           load.samples[load.n_samples / 2], load.samples[load.n_samples * 99 / 100]);
}

#endif
