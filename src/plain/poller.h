/* plain/poller.h -- waiting for file descriptors: the contract; poller_epoll.c fulfils it on Linux.
 *
 * A registration is (fd, mask, tag): the 32-bit tag comes back with each event, so that a caller can tell an event of a
 * file descriptor's earlier life from one of the present.  Level-triggered; with POLLER_ONESHOT an event disarms the
 * registration until poller_rearm. Errors: -errno.  Thread: the loop's own; poller_wait may run without the GIL. */
#ifndef ASYNCLOOP_PLAIN_POLLER_H
#define ASYNCLOOP_PLAIN_POLLER_H

#include "base/api.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

enum {
    POLLER_READ = EPOLLIN,
    POLLER_WRITE = EPOLLOUT,
    POLLER_ERROR = EPOLLERR | EPOLLHUP, /* reported whether asked for or not */
    POLLER_ONESHOT = EPOLLONESHOT,
};

#define POLLER_BATCH 256   /* events taken by one wait; what is left comes with the next */
#define POLLER_FOREVER (-1.0)

struct poller {
    int fd;
    bool lacks_pwait2; /* the kernel has no epoll_pwait2: milliseconds, rounded up */
    struct epoll_event events[POLLER_BATCH];
};

static int poller_open(struct poller *p) MUST_CHECK;
static void poller_close(struct poller *p);
static int poller_add(struct poller *p, int fd, uint32_t mask, uint32_t tag) MUST_CHECK;
static int poller_change(struct poller *p, int fd, uint32_t mask, uint32_t tag) MUST_CHECK;
static int poller_remove(struct poller *p, int fd) MUST_CHECK;

/* Number of events in p->events, 0 after the timeout, -EINTR after a signal.  timeout_s: seconds, 0 returns at once,
 * POLLER_FOREVER. */
static int poller_wait(struct poller *p, double timeout_s) MUST_CHECK;
static inline int poller_event_fd(const struct epoll_event *e);
static inline uint32_t poller_event_tag(const struct epoll_event *e);

#endif
