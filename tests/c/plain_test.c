/* Unit tests of src/plain, which never sees Python.h: included as it is, run under sanitizers by tests/c/test_plain.py.
 *
 * Prints one line a test; exit status 1 at the first failed check. */
#ifndef _GNU_SOURCE
#  define _GNU_SOURCE
#endif
#include "plain/clock.c"
#include "plain/poller_epoll.c"
#include "plain/timers.c"
#include "plain/wakeup.c"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define CHECK(condition)                                                                                                     \
    do {                                                                                                                     \
        if (!(condition)) {                                                                                                  \
            fprintf(stderr, "%s:%d: %s\n", __func__, __LINE__, #condition);                                                  \
            exit(1);                                                                                                         \
        }                                                                                                                    \
    } while (0)

/* A small generator of our own: the same numbers on every machine. */
static uint64_t
test_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

enum { N_TIMERS = 2000 };

/* The heap pops in the order of (when, push), against a search of all. */
static void
test_timers_order(void)
{
    static struct timer timers[N_TIMERS];
    static double whens[N_TIMERS];
    static int order[N_TIMERS]; /* of the push; -1: idle */
    struct timers ts;
    uint64_t seed = 1;
    int n_pushed = 0, n_live = 0;
    timers_init(&ts);
    for (int i = 0; i < N_TIMERS; i++) {
        timer_init(&timers[i], 0);
        order[i] = -1;
    }
    for (int round = 0; round < 40000; round++) {
        int i = (int)(test_random(&seed) % N_TIMERS);
        switch (test_random(&seed) % 4) {
        case 0:
        case 1:
            if (order[i] < 0) {
                whens[i] = (double)(test_random(&seed) % 97);
                order[i] = n_pushed++;
                n_live++;
                CHECK(timers_push(&ts, &timers[i], whens[i]) == 0);
            }
            break;
        case 2:
            if (order[i] >= 0) {
                timers_remove(&ts, &timers[i]);
                order[i] = -1;
                n_live--;
            }
            break;
        default: {
            double now = (double)(test_random(&seed) % 97);
            int least = -1;
            for (int j = 0; j < N_TIMERS; j++) {
                if (order[j] >= 0
                    && (least < 0 || whens[j] < whens[least]
                        || (whens[j] == whens[least] && order[j] < order[least]))) {
                    least = j;
                }
            }
            struct timer *due = timers_pop_due(&ts, now);
            if (least < 0 || whens[least] > now) {
                CHECK(due == NULL);
            }
            else {
                CHECK(due == &timers[least]);
                order[least] = -1;
                n_live--;
            }
        }
        }
        CHECK(ts.n == (uint32_t)n_live);
        timers_check(&ts);
    }
    timers_clear(&ts);
}

/* A hundred thousand cancelled timers leave a small heap. */
static void
test_timers_shrink(void)
{
    enum { N = 100000 };
    struct timer *timers = calloc(N, sizeof *timers);
    struct timers ts;
    timers_init(&ts);
    for (int i = 0; i < N; i++) {
        timer_init(&timers[i], 1);
        CHECK(timers_push(&ts, &timers[i], i) == 0);
    }
    for (int i = 0; i < N; i++) {
        timers_remove(&ts, &timers[i]);
        CHECK(!timer_is_scheduled(&timers[i]) && timers[i].kind == 1);
    }
    CHECK(ts.n == 0 && ts.capacity <= 1024);
    timers_clear(&ts);
    free(timers);
}

/* seq goes round after 2^32 pushes: equal deadlines keep their order across that. */
static void
test_timers_sequence_wraps(void)
{
    struct timers ts;
    struct timer a, b;
    timers_init(&ts);
    ts.next_seq = UINT32_MAX;
    timer_init(&a, 0);
    timer_init(&b, 0);
    CHECK(timers_push(&ts, &a, 1.0) == 0 && timers_push(&ts, &b, 1.0) == 0);
    CHECK(timers_pop_due(&ts, 1.0) == &a && timers_pop_due(&ts, 1.0) == &b && timers_pop_due(&ts, 1.0) == NULL);
    timers_clear(&ts);
}

static void
test_poller_events(void)
{
    struct poller p;
    int fds[2];
    CHECK(pipe2(fds, O_NONBLOCK | O_CLOEXEC) == 0 && poller_open(&p) == 0);
    CHECK(poller_add(&p, fds[0], POLLER_READ, 7) == 0);
    CHECK(poller_add(&p, fds[0], POLLER_READ, 7) == -EEXIST);
    CHECK(poller_wait(&p, 0) == 0);
    CHECK(write(fds[1], "x", 1) == 1);
    CHECK(poller_wait(&p, POLLER_FOREVER) == 1);
    CHECK(poller_event_fd(&p.events[0]) == fds[0] && poller_event_tag(&p.events[0]) == 7
          && p.events[0].events == POLLER_READ);
    CHECK(poller_change(&p, fds[0], POLLER_READ | POLLER_ONESHOT, 8) == 0);
    CHECK(poller_wait(&p, 0) == 1 && poller_event_tag(&p.events[0]) == 8);
    CHECK(poller_wait(&p, 0) == 0); /* disarmed */
    CHECK(poller_remove(&p, fds[0]) == 0 && poller_remove(&p, fds[0]) == -ENOENT);
    CHECK(poller_change(&p, fds[0], POLLER_READ, 9) == -ENOENT);
    close(fds[0]);
    close(fds[1]);
    CHECK(poller_add(&p, fds[0], POLLER_READ, 1) == -EBADF);
    poller_close(&p);
}

/* Never early, by either system call; generous above, as machines are noisy. */
static void
test_poller_timeouts(void)
{
    for (int lacks_pwait2 = 0; lacks_pwait2 < 2; lacks_pwait2++) {
        struct poller p;
        CHECK(poller_open(&p) == 0);
        p.lacks_pwait2 = lacks_pwait2;
        for (int i = 0; i < 20; i++) {
            double timeout_s = 0.0003 * i, start = clock_now();
            CHECK(poller_wait(&p, timeout_s) == 0);
            CHECK(clock_now() - start >= timeout_s);
        }
        poller_close(&p);
    }
}

static void
test_wakeup(void)
{
    struct poller p;
    int fd = wakeup_open();
    CHECK(fd >= 0 && poller_open(&p) == 0 && poller_add(&p, fd, POLLER_READ, 0) == 0);
    wakeup_signal(fd);
    wakeup_signal(fd);
    CHECK(poller_wait(&p, POLLER_FOREVER) == 1);
    wakeup_drain(fd);
    CHECK(poller_wait(&p, 0) == 0);
    wakeup_drain(fd); /* empty: returns */
    close(fd);
    poller_close(&p);
}

static void
test_clock(void)
{
    uint64_t before = clock_now_ns();
    double seconds = clock_now();
    CHECK((double)before / 1e9 <= seconds && seconds <= (double)clock_now_ns() / 1e9);
    CHECK(clock_coarse_ns() <= clock_now_ns());
}

int
main(void)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {
        {"timers_order", test_timers_order},
        {"timers_shrink", test_timers_shrink},
        {"timers_sequence_wraps", test_timers_sequence_wraps},
        {"poller_events", test_poller_events},
        {"poller_timeouts", test_poller_timeouts},
        {"wakeup", test_wakeup},
        {"clock", test_clock},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(tests); i++) {
        tests[i].run();
        printf("ok %s\n", tests[i].name);
    }
    return 0;
}
