/* plain/poller_epoll.c -- the poller on Linux.
 *
 * epoll_pwait2 (Linux 5.11) takes nanoseconds; it is called by number because old C libraries do not wrap it.  Where
 * the kernel lacks it, epoll_wait gets milliseconds rounded up, so that no timer is early and the loop does not spin
 * through the last one. */
#include "plain/poller.h"

#include <errno.h>
#include <limits.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_epoll_pwait2
#  define SYS_epoll_pwait2 441 /* the same on every architecture: it came after the tables were unified */
#endif

/* The kernel's struct __kernel_timespec, which the system call takes on every architecture; the C library's struct
 * timespec is half as wide on many of 32 bits. */
struct poller_timespec {
    int64_t tv_sec, tv_nsec;
};
_Static_assert(sizeof(struct poller_timespec) == 16, "epoll_pwait2 takes two numbers of 64 bits");

static int
poller_open(struct poller *p)
{
    p->lacks_pwait2 = false;
    p->fd = epoll_create1(EPOLL_CLOEXEC);
    return p->fd < 0 ? -errno : 0;
}

static void
poller_close(struct poller *p)
{
    if (p->fd >= 0) {
        close(p->fd);
        p->fd = -1;
    }
}

static int
poller_control(struct poller *p, int operation, int fd, uint32_t mask, uint32_t tag)
{
    struct epoll_event e = {.events = mask, .data.u64 = (uint64_t)tag << 32 | (uint32_t)fd};
    return epoll_ctl(p->fd, operation, fd, &e) < 0 ? -errno : 0;
}

static int
poller_add(struct poller *p, int fd, uint32_t mask, uint32_t tag)
{
    return poller_control(p, EPOLL_CTL_ADD, fd, mask, tag);
}

static int
poller_change(struct poller *p, int fd, uint32_t mask, uint32_t tag)
{
    return poller_control(p, EPOLL_CTL_MOD, fd, mask, tag);
}

static int
poller_remove(struct poller *p, int fd)
{
    return poller_control(p, EPOLL_CTL_DEL, fd, 0, 0);
}

static inline int
poller_event_fd(const struct epoll_event *e)
{
    return (int)(uint32_t)e->data.u64;
}

static inline uint32_t
poller_event_tag(const struct epoll_event *e)
{
    return (uint32_t)(e->data.u64 >> 32);
}

static int
poller_wait_ms(struct poller *p, double timeout_s)
{
    int timeout_ms = -1;
    if (timeout_s >= 0) {
        double ms = timeout_s * 1e3;
        timeout_ms = ms < INT_MAX - 1 ? (int)ms : INT_MAX - 1;
        timeout_ms += timeout_ms < ms;
    }
    int n = epoll_wait(p->fd, p->events, POLLER_BATCH, timeout_ms);
    return n < 0 ? -errno : n;
}

static int
poller_wait(struct poller *p, double timeout_s)
{
    if (timeout_s <= 0 || p->lacks_pwait2) { /* nothing to round: the plain call is the cheaper one */
        return poller_wait_ms(p, timeout_s);
    }
    struct poller_timespec ts = {.tv_sec = (int64_t)timeout_s};
    double ns = (timeout_s - (double)ts.tv_sec) * 1e9;
    ts.tv_nsec = (int64_t)ns;
    ts.tv_nsec += (double)ts.tv_nsec < ns;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }
    int n = (int)syscall(SYS_epoll_pwait2, p->fd, p->events, POLLER_BATCH, &ts, NULL, (size_t)0);
    if (n < 0 && (errno == ENOSYS || errno == EPERM)) { /* an old kernel, or a sandbox that does not know the number */
        p->lacks_pwait2 = true;
        return poller_wait_ms(p, timeout_s);
    }
    return n < 0 ? -errno : n;
}
