/* core/watch.c -- telling the poller what is watched, and turning its events into ready entries. */
#include "core/watch.h"

#include "core/raise.h"
#include "core/signals.h"
#include "plain/wakeup.h"

#include <errno.h>
#include <fcntl.h>

static int
watch_reserve(Loop *loop, int fd)
{
    if ((uint32_t)fd < loop->n_fds) {
        return 0;
    }
    if (fd < 0 || fcntl(fd, F_GETFD) < 0) { /* the table is as long as the largest number: it must be a real one */
        return raise_errno(-EBADF);
    }
    uint32_t n = loop->n_fds == 0 ? 32 : loop->n_fds;
    while (n <= (uint32_t)fd) {
        n += n / 2;
    }
    struct fd_slot *fds = PyMem_Realloc(loop->fds, n * sizeof *fds);
    if (fds == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(fds + loop->n_fds, 0, (n - loop->n_fds) * sizeof *fds);
    loop->fds = fds;
    loop->n_fds = n;
    return 0;
}

/* What the poller is to be told. One-shot only when every side that is watched is one-shot. */
static uint32_t
watch_mask(const struct fd_slot *slot)
{
    const struct watch *r = &slot->sides[WATCH_READ], *w = &slot->sides[WATCH_WRITE];
    uint32_t mask = (r->on_ready != NULL ? POLLER_READ : 0) | (w->on_ready != NULL ? POLLER_WRITE : 0);
    bool persistent = (r->on_ready != NULL && !r->oneshot) || (w->on_ready != NULL && !w->oneshot);
    return mask == 0 ? 0 : persistent ? mask : mask | POLLER_ONESHOT;
}

/* The poller watches the slot's descriptor for this mask from now on; 0: not any more. */
static inline void
watch_set_mask(Loop *loop, struct fd_slot *slot, uint32_t mask)
{
    loop->n_watched += (mask != 0) - (slot->mask != 0);
    slot->mask = mask;
}

/* Tell the poller what the slot wants now.  The number may have been closed and opened again since: the kernel's answer
 * decides. */
static int
watch_apply(Loop *loop, int fd)
{
    struct fd_slot *slot = &loop->fds[fd];
    uint32_t mask = watch_mask(slot);
    if (mask == 0) {
        if (slot->is_registered && slot->mask != 0) {
            slot->is_registered = false;
            watch_set_mask(loop, slot, 0);
            return poller_remove(&loop->poller, fd);
        }
        return 0;
    }
    int rc = slot->is_registered ? poller_change(&loop->poller, fd, mask, slot->tag) : -ENOENT;
    if (rc == -ENOENT) {
        slot->tag = ++loop->next_tag;
        rc = poller_add(&loop->poller, fd, mask, slot->tag);
        if (rc == -EEXIST) {
            rc = poller_change(&loop->poller, fd, mask, slot->tag);
        }
    }
    slot->is_registered = rc == 0;
    watch_set_mask(loop, slot, rc == 0 ? mask : 0);
    return rc;
}

static int
watch_start(Loop *loop, int fd, enum watch_side side, ready_fn on_ready, PyObject *owner, bool oneshot)
{
    if (watch_reserve(loop, fd) < 0) {
        return -1;
    }
    struct watch *watch = &loop->fds[fd].sides[side], before = *watch;
    *watch = (struct watch){on_ready, Py_NewRef(owner), oneshot};
    int rc = watch_apply(loop, fd);
    loop_poll_soon(loop);
    if (rc < 0) {
        *watch = (struct watch){0};
        Py_DECREF(owner);
    }
    Py_XDECREF(before.owner);
    return rc < 0 ? raise_errno(rc) : 0;
}

static bool
watch_stop(Loop *loop, int fd, enum watch_side side)
{
    if (fd < 0 || (uint32_t)fd >= loop->n_fds || loop->fds[fd].sides[side].on_ready == NULL) {
        return false;
    }
    struct watch *watch = &loop->fds[fd].sides[side];
    PyObject *owner = watch->owner;
    *watch = (struct watch){0};
    (void)watch_apply(loop, fd); /* fails only when the descriptor is closed, and then the kernel forgot it */
    Py_DECREF(owner);
    return true;
}

static inline void
watch_forget(Loop *loop, int fd)
{
    if (fd >= 0 && (uint32_t)fd < loop->n_fds && loop->fds[fd].mask == 0) {
        loop->fds[fd].is_registered = false;
    }
}

static inline PyObject *
watch_owner_borrowed(Loop *loop, int fd, enum watch_side side, ready_fn on_ready)
{
    if (fd < 0 || (uint32_t)fd >= loop->n_fds) {
        return NULL;
    }
    struct watch *watch = &loop->fds[fd].sides[side];
    return watch->on_ready != NULL && (on_ready == NULL || watch->on_ready == on_ready) ? watch->owner : NULL;
}

static void
watch_stop_own(Loop *loop, int fd, enum watch_side side, ready_fn on_ready, PyObject *owner)
{
    if (loop->state != LOOP_CLOSED && watch_owner_borrowed(loop, fd, side, on_ready) == owner) {
        watch_stop(loop, fd, side);
    }
}

/* One descriptor's event: a ready entry for each side that waits for it. */
static int
watch_push_event(Loop *loop, int fd, uint32_t events)
{
    static const uint32_t side_masks[2] = {POLLER_READ | POLLER_ERROR, POLLER_WRITE | POLLER_ERROR};
    struct fd_slot *slot = &loop->fds[fd];
    bool was_oneshot = slot->mask & POLLER_ONESHOT, changed = false;
    if (was_oneshot) {
        watch_set_mask(loop, slot, 0); /* the kernel has disarmed it */
    }
    for (int side = 0; side < 2; side++) {
        struct watch *watch = &slot->sides[side];
        if (watch->on_ready == NULL || !(events & side_masks[side])) {
            continue;
        }
        if (loop_ready_push(loop, watch->on_ready, watch->owner, NULL) < 0) {
            return -1;
        }
        if (watch->oneshot) {
            Py_DECREF(watch->owner); /* the ring holds it too */
            *watch = (struct watch){0};
            changed = true;
        }
    }
    if (was_oneshot ? watch_mask(slot) != 0 : changed) {
        (void)watch_apply(loop, fd);
    }
    return 0;
}

/* The poller's first n events become ready entries. */
static int
watch_push_events(Loop *loop, int n)
{
    for (int i = 0; i < n; i++) {
        const struct epoll_event *e = &loop->poller.events[i];
        int fd = poller_event_fd(e);
        if (fd == loop->wakeup_fd) {
            wakeup_drain(fd);
        }
        else if (fd == loop->signal_fds[0]) {
            if (loop_ready_push(loop, signals_on_readable, (PyObject *)loop, NULL) < 0) {
                return -1;
            }
        }
        else if ((uint32_t)fd < loop->n_fds && loop->fds[fd].tag == poller_event_tag(e)) {
            if (watch_push_event(loop, fd, e->events) < 0) {
                return -1;
            }
        }
    }
    return 0;
}

static void
watch_clear(Loop *loop)
{
    struct fd_slot *fds = loop->fds;
    uint32_t n = loop->n_fds;
    loop->fds = NULL;
    loop->n_fds = 0;
    for (uint32_t fd = 0; fd < n; fd++) {
        loop->n_watched -= fds[fd].mask != 0;
        Py_XDECREF(fds[fd].sides[WATCH_READ].owner);
        Py_XDECREF(fds[fd].sides[WATCH_WRITE].owner);
    }
    PyMem_Free(fds);
}
