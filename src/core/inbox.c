/* core/inbox.c -- see inbox.h. */
#include "core/inbox.h"

#include "core/freelist.h"

#if COMPAT_FREE_THREADED

static int
inbox_push_here(Loop *loop, ready_fn run, PyObject *self, PyObject *arg)
{
    SECTION_ENTER(loop);
    return loop_ready_push(loop, run, self, arg);
}

static COLD int
inbox_push(Loop *loop, ready_fn run, PyObject *self, PyObject *arg)
{
    /* in its own thread, under another section, or while it does not run: in its turn among what goes into the ring */
    if (section_here.loop == (PyObject *)loop || COMPAT_LOAD(&loop->thread_id) == 0) {
        return inbox_push_here(loop, run, self, arg);
    }
    struct inbox *inbox = &loop->inbox;
    struct ring *ring = &inbox->ring;
    int rc = 0;
    PyMutex_Lock(&inbox->mutex);
    bool is_closed = inbox->is_closed;
    if (is_closed || (ring->n == ring->capacity && ring_grow(ring) < 0)) {
        rc = -1;
    }
    else {
        ring->entries[(ring->head + ring->n) & (ring->capacity - 1)] =
            (struct ready){run, Py_NewRef(self), Py_XNewRef(arg)};
        __atomic_store_n(&ring->n, ring->n + 1, __ATOMIC_SEQ_CST);
    }
    PyMutex_Unlock(&inbox->mutex);
    if (is_closed) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    }
    return rc;
}

static COLD int
inbox_take_all(Loop *loop)
{
    struct inbox *inbox = &loop->inbox;
    struct ring *ready = &loop->ready;
    int rc = 0;
    PyMutex_Lock(&inbox->mutex);
    SECTION_CHECK(loop);
    while (inbox->ring.n > 0 && rc == 0) {
        rc = ready->n == ready->capacity ? ring_grow(ready) : 0;
        if (rc == 0) {
            struct ready e = inbox->ring.entries[inbox->ring.head++ & (inbox->ring.capacity - 1)];
            __atomic_store_n(&inbox->ring.n, inbox->ring.n - 1, __ATOMIC_RELAXED);
            ready->entries[(ready->head + ready->n++) & (ready->capacity - 1)] = e;
        }
    }
    PyMutex_Unlock(&inbox->mutex);
    return rc;
}

static COLD void
inbox_wake(Loop *loop)
{
    PyMutex_Lock(&loop->inbox.mutex); /* the descriptor stays open meanwhile */
    if (__atomic_exchange_n(&loop->asleep, false, __ATOMIC_SEQ_CST) && loop->wakeup_fd >= 0) {
        wakeup_signal(loop->wakeup_fd);
    }
    PyMutex_Unlock(&loop->inbox.mutex);
}

static void
inbox_fall_asleep(Loop *loop, double *timeout_s)
{
    __atomic_store_n(&loop->asleep, *timeout_s != 0, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&loop->inbox.ring.n, __ATOMIC_SEQ_CST) > 0) {
        *timeout_s = 0;
    }
}

static void
inbox_close_wakeup(Loop *loop)
{
    PyMutex_Lock(&loop->inbox.mutex);
    if (loop->wakeup_fd >= 0) {
        close(loop->wakeup_fd);
        loop->wakeup_fd = -1;
    }
    PyMutex_Unlock(&loop->inbox.mutex);
}

/* Dropping what is in it may push into it again. */
static void
inbox_clear(Loop *loop)
{
    while (loop->inbox.ring.n > 0) {
        PyMutex_Lock(&loop->inbox.mutex);
        struct ring ring = loop->inbox.ring;
        loop->inbox.ring = (struct ring){0};
        PyMutex_Unlock(&loop->inbox.mutex);
        ring_clear(&ring);
        PyMem_Free(ring.entries);
    }
}

static void
inbox_close(Loop *loop)
{
    PyMutex_Lock(&loop->inbox.mutex);
    loop->inbox.is_closed = true;
    PyMutex_Unlock(&loop->inbox.mutex);
    inbox_clear(loop);
}

static void
inbox_free(Loop *loop)
{
    PyMem_Free(loop->inbox.ring.entries);
    loop->inbox.ring = (struct ring){0};
    for (size_t i = 0; i < FREELIST_COUNT; i++) {
        freelist_clear(&loop->freelists[i]);
    }
}

static int
inbox_visit(Loop *loop, visitproc visit, void *arg)
{
    const struct ring *ring = &loop->inbox.ring;
    for (uint32_t i = 0; i < ring->n; i++) {
        const struct ready *e = &ring->entries[(ring->head + i) & (ring->capacity - 1)];
        Py_VISIT(e->self);
        Py_VISIT(e->arg);
    }
    return 0;
}

#endif
