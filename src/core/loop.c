/* core/loop.c -- one pass, run_forever, close. */
#include "core/loop.h"

#include "core/aiobridge.h"
#include "core/context.h"
#include "core/handle.h"
#include "core/inbox.h"
#include "core/log.h"
#include "core/raise.h"
#include "core/signals.h"
#include "core/timed.h"
#include "core/virtual.h"
#include "core/watch.h"
#include "plain/clock.h"
#include "plain/wakeup.h"

#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

enum {
    RING_FIRST_CAPACITY = 64,
    LOOP_PASSES_PER_YIELD = 61, /* while there is work, give up the GIL this often, */
    LOOP_PASSES_PER_CLOCK = 4,  /* or when the kernel's tick (1 to 10 ms) has moved, which is looked at this often */
    LOOP_CROWD = 1024,          /* with this many entries in the ring, a thread that pushes more */
    LOOP_PUSHES_PER_REST = 256, /* rests this often (a power of two) */
    LOOP_GATHERED_ENTRIES = 32,
    /* the first of the writes that leave together waits no longer than this and one callback, */
    LOOP_GATHERED_NS = 500 * 1000,
    LOOP_SLOW_ENTRY_NS = 250 * 1000, /* which should not have kept it waiting when it takes longer than this */
    LOOP_HASTY_ENTRIES = 100,
    LOOP_LONGEST_WAIT_S = 24 * 3600,
    LOOP_ORIGIN_DEPTH = 10, /* asyncio.constants.DEBUG_STACK_DEPTH */
};

static const double LOOP_CLOCK_RESOLUTION = 1e-9; /* what time.get_clock_info('monotonic').resolution is on Linux */

/* ---- the ready ring */

static COLD int
ring_grow(struct ring *ring)
{
    uint32_t capacity = ring->capacity == 0 ? RING_FIRST_CAPACITY : ring->capacity * 2;
    struct ready *entries = capacity == 0 ? NULL : PyMem_Malloc(capacity * sizeof *entries);
    if (entries == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (uint32_t i = 0; i < ring->n; i++) {
        entries[(ring->head + i) & (capacity - 1)] = ring->entries[(ring->head + i) & (ring->capacity - 1)];
    }
    PyMem_Free(ring->entries);
    ring->entries = entries;
    ring->capacity = capacity;
    return 0;
}

/* The first entry, with its references.  The ring must not be empty. */
static inline struct ready
ring_pop(struct ring *ring)
{
    struct ready e = ring->entries[ring->head++ & (ring->capacity - 1)];
    ring->n--;
    return e;
}

static void
ring_clear(struct ring *ring)
{
    while (ring->n > 0) { /* dropping a reference may push */
        struct ready e = ring_pop(ring);
        if (e.run == handle_run) {
            handle_left_ring(e.self);
        }
        Py_DECREF(e.self);
        Py_XDECREF(e.arg);
    }
}

static void
loop_clear_ready(Loop *loop)
{
    uint64_t before = loop->ready.head;
    ring_clear(&loop->ready);
    loop->metrics.dropped += loop->ready.head - before;
}

static inline int
loop_ready_push(Loop *loop, ready_fn run, PyObject *self, PyObject *arg)
{
    struct ring *ring = &loop->ready;
    if (UNLIKELY(!SECTION_HOLDS(loop))) {
        return inbox_push(loop, run, self, arg);
    }
    if (UNLIKELY(ring->n == ring->capacity) && ring_grow(ring) < 0) {
        return -1;
    }
    ring->entries[(ring->head + ring->n++) & (ring->capacity - 1)] =
        (struct ready){run, Py_NewRef(self), Py_XNewRef(arg)};
    return 0;
}

/* End the wait of a sleeping loop.  The GIL is held, so asleep cannot change under us; one write ends the wait. */
static inline void
loop_wake(Loop *loop)
{
    if (INBOX_ASLEEP(loop)) {
        inbox_wake(loop);
    }
}

/* asyncio's call_soon_threadsafe gives up the GIL each time (it sends a byte), so its loop gets a turn.  Ours does not:
 * without a rest a few busy threads would push more in their turns than the loop can run in its own, and timers would
 * wait for ever longer passes. */
static COLD void
loop_rest_pusher(Loop *loop)
{
    if (loop_runs_elsewhere(loop)) {
        Py_BEGIN_ALLOW_THREADS
        clock_rest();
        Py_END_ALLOW_THREADS
    }
}

static inline void
loop_hold_back_pusher(Loop *loop)
{
    uint32_t n = INBOX_CROWD(loop);
    if (UNLIKELY(n >= LOOP_CROWD && n % LOOP_PUSHES_PER_REST == 0)) {
        loop_rest_pusher(loop);
    }
}

/* ---- time and timers */

static COLD int
loop_now_of_python(Loop *loop, double *now)
{
    loop_leave_task(loop);
    PyObject *value = PyObject_CallMethodNoArgs((PyObject *)loop, loop->st->str.time);
    if (value == NULL) {
        return -1;
    }
    double seconds = PyFloat_AsDouble(value);
    Py_DECREF(value);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    *now = seconds;
    return 0;
}

static inline int
loop_now(Loop *loop, double *now)
{
    if (UNLIKELY(loop->has_own_time)) {
        return loop_now_of_python(loop, now);
    }
    *now = clock_now();
    return 0;
}

static inline PyObject *
loop_timer_owner_borrowed(Loop *loop, struct timer *t)
{
    return (PyObject *)((char *)t - loop->st->timer_kinds[t->kind].offset);
}

static int
loop_timer_push(Loop *loop, struct timer *t, PyObject *owner, double when)
{
    SECTION_CHECK(loop);
    if (timers_push(&loop->timers, t, when) < 0) { /* the heap could not grow */
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF(owner);
    return 0;
}

static void
loop_timer_remove(Loop *loop, struct timer *t, PyObject *owner)
{
    SECTION_CHECK(loop);
    timers_remove(&loop->timers, t);
    Py_DECREF(owner);
}

/* Due timers become ready entries; the heap's reference moves to the ring's. */
static int
loop_push_due_timers(Loop *loop)
{
    double now;
    if (loop_now(loop, &now) < 0) {
        return -1;
    }
    const struct timer *first = timers_first(&loop->timers); /* time() may have removed some */
    if (first != NULL && !(first->when > now)) {
        metrics_note_due(loop, first->when, now);
    }
    loop->metrics.timers_looked = now;
    now += LOOP_CLOCK_RESOLUTION;
    SECTION_CHECK(loop);
    for (;;) {
        if (UNLIKELY(loop->ready.n == loop->ready.capacity) && ring_grow(&loop->ready) < 0) {
            return -1; /* before a timer is taken out: it must not get lost */
        }
        struct timer *t = timers_pop_due(&loop->timers, now);
        if (t == NULL) {
            break;
        }
        PyObject *owner = loop_timer_owner_borrowed(loop, t);
        int rc = loop_ready_push(loop, loop->st->timer_kinds[t->kind].on_due, owner, NULL);
        Py_DECREF(owner);
        if (rc < 0) {
            return -1;
        }
    }
    if (UNLIKELY(loop->shuffle != 0)) {
        virtual_shuffle(loop);
    }
    return 0;
}

static void
loop_clear_timers(Loop *loop)
{
    for (struct timer *t; (t = timers_first(&loop->timers)) != NULL;) {
        loop_timer_remove(loop, t, loop_timer_owner_borrowed(loop, t));
    }
    timers_clear(&loop->timers);
}

/* ---- reports */

static inline void
loop_leave_task(Loop *loop)
{
    if (loop->published_task != NULL && LIKELY(!loop->stepping) && LIKELY(LOOP_IS_HERE(loop))) {
        aiobridge_unpublish(loop);
    }
}

static inline bool
loop_has_leftover(struct state *st)
{
    Loop *loop = LOOPS_RUNNING(st);
    return loop != NULL && (UNLIKELY(loop->running_next != NULL) || (loop->published_task != NULL && !loop->stepping));
}

static inline void
loop_leave_task_here(struct state *st)
{
    Loop *loop = loop_running_borrowed(st);
    if (loop != NULL) {
        loop_leave_task(loop);
    }
}

/* The last reference.  Types of ours and the interpreter's cannot be changed and look after what they hold, but for
 * exceptions: their traceback has frames. */
static inline void
loop_leave_task_of_dying(Loop *loop, PyObject *object)
{
    const unsigned long flags = Py_TYPE(object)->tp_flags;
    if ((flags & (Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_BASE_EXC_SUBCLASS)) != Py_TPFLAGS_IMMUTABLETYPE) {
        loop_leave_task(loop);
    }
}

static inline void
loop_let_go(Loop *loop, PyObject *object)
{
    if (UNLIKELY(Py_REFCNT(object) == 1) && loop->published_task != NULL) {
        loop_leave_task_of_dying(loop, object);
    }
    Py_DECREF(object);
}

/* The exception is the handled one meanwhile, as asyncio reports inside of its except block: sys.exc_info() and
 * logger.exception() show it, and what the handler raises has it as its context. */
static COLD int
loop_call_exception_handler(Loop *loop, PyObject *context, PyObject *exception)
{
    /* A place of its own, as a generator has one: what was handled before, in a caller or here, is the same after. */
    PyThreadState *thread = PyThreadState_Get();
    _PyErr_StackItem item = {.exc_value = Py_NewRef(exception), .previous_item = thread->exc_info};
    thread->exc_info = &item;
    PyObject *done = PyObject_CallMethodOneArg((PyObject *)loop, loop->st->str.call_exception_handler, context);
    thread->exc_info = item.previous_item;
    PyObject *raised = compat_take_raised();
    Py_XDECREF(item.exc_value);
    compat_set_raised(raised);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static COLD int
loop_report(Loop *loop, const char *message, ...)
{
    if (PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        return -1;
    }
    PyObject *exception = compat_take_raised();
    PyObject *context = Py_BuildValue("{s:s,s:O}", "message", message, "exception", exception);
    if (context == NULL) {
        Py_DECREF(exception);
        return -1;
    }
    va_list extra;
    va_start(extra, message);
    for (const char *key; (key = va_arg(extra, const char *)) != NULL;) {
        if (PyDict_SetItemString(context, key, va_arg(extra, PyObject *)) < 0) {
            va_end(extra);
            Py_DECREF(context);
            Py_DECREF(exception);
            return -1;
        }
    }
    va_end(extra);
    loop_leave_task(loop);
    int rc = loop_call_exception_handler(loop, context, exception);
    Py_DECREF(context);
    Py_DECREF(exception);
    return rc;
}

static COLD void
loop_report_unraised(PyObject *loop, PyObject *context)
{
    PyObject *raised = compat_take_raised();
    PyObject *done = PyObject_CallMethod(loop, "call_exception_handler", "O", context);
    if (done == NULL) {
        PyErr_WriteUnraisable(loop);
    }
    Py_XDECREF(done);
    compat_set_raised(raised);
}

/* ---- one pass */

static inline void
loop_poll_soon(Loop *loop)
{
    loop->poll_soon = true;
}

static inline void
loop_set_passes_to_yield(Loop *loop, uint32_t n)
{
    loop->metrics.passes += (uint64_t)n - loop->passes_to_yield;
    loop->passes_to_yield = n;
}

/* While there is work other threads get the GIL now and then, and signals are looked at: Python code does both, but
 * callbacks in C may be all there is. */
static inline bool
loop_must_yield(Loop *loop)
{
    if (loop->passes_to_yield == 0) {
        loop->metrics.passes++;
        return true;
    }
    return --loop->passes_to_yield % LOOP_PASSES_PER_CLOCK == 0 && clock_coarse_ns() != loop->yielded_coarse_ns;
}

/* How long the poll may wait, in seconds. */
static int
loop_timeout(Loop *loop, double *timeout_s)
{
    struct timer *first = timers_first(&loop->timers);
    if (loop->ready.n > 0 || loop->stopping) {
        *timeout_s = 0;
    }
    else if (first == NULL) {
        *timeout_s = POLLER_FOREVER;
    }
    else {
        double when = first->when, now;
        if (loop_now(loop, &now) < 0) {
            return -1;
        }
        double left = when - now;
        *timeout_s = !(left > 0) ? 0 : left < LOOP_LONGEST_WAIT_S ? left : LOOP_LONGEST_WAIT_S;
    }
    return 0;
}

static int
loop_poll_for(Loop *loop, double timeout_s)
{
    /* another thread while time() ran in Python: asleep was not set, nobody wakes us */
    if (loop->ready.n > 0 || loop->flush.first != NULL) {
        timeout_s = 0;
    }
    int n;
    inbox_fall_asleep(loop, &timeout_s);
    loop->metrics.polls++;
    Py_BEGIN_ALLOW_THREADS
    n = poller_wait(&loop->poller, timeout_s);
    Py_END_ALLOW_THREADS
    INBOX_IS_AWAKE(loop);
    loop->poll_soon = false;
    loop_set_passes_to_yield(loop, LOOP_PASSES_PER_YIELD);
    loop->yielded_coarse_ns = clock_coarse_ns();
    /* what was seen is kept for the next run: a one-shot watch is not reported again */
    if (UNLIKELY(PyErr_CheckSignals() < 0)) {
        PyObject *raised = compat_take_raised();
        if (n > 0 && watch_push_events(loop, n) < 0) {
            PyErr_WriteUnraisable((PyObject *)loop);
        }
        compat_set_raised(raised);
        return -1;
    }
    if (n < 0 && n != -EINTR) {
        return raise_errno(n);
    }
    return n > 0 ? watch_push_events(loop, n) : 0;
}

static int
loop_poll(Loop *loop)
{
    double timeout_s;
    loop_leave_task(loop);
    loop_notice_overrides(loop);
    /* written outside of an entry: a signal handler, a finalizer */
    if (loop->flush.first != NULL && loop->flush.flush(loop) < 0) {
        return -1;
    }
    if (UNLIKELY(loop->has_own_wait)) {
        return virtual_poll(loop);
    }
    if (loop_timeout(loop, &timeout_s) < 0 || (timeout_s != 0 && metrics_begin_wait(loop) < 0)) {
        return -1;
    }
    int rc = loop_poll_for(loop, timeout_s);
    return timeout_s != 0 ? metrics_end_wait(loop, rc) : rc;
}

/* What is ready in the kernel now, while there is work: no wait, so the GIL is kept. */
static int
loop_glance(Loop *loop)
{
    loop->poll_soon = false;
    loop->metrics.glances++;
    int n = poller_wait(&loop->poller, 0);
    if (UNLIKELY(n < 0 && n != -EINTR)) {
        return raise_errno(n);
    }
    return n > 0 ? watch_push_events(loop, n) : 0;
}

/* Events become ready entries.  With work to do, only events that are there already count; without, the loop waits for
 * some. */
static inline int
loop_hear(Loop *loop)
{
    if (loop->ready.n == 0 || loop->stopping) {
        loop->metrics.passes++;
        return loop_poll(loop);
    }
    if (loop_must_yield(loop)) {
        return loop_poll(loop);
    }
    return loop->n_watched == 0 ? 0 : loop_glance(loop);
}

/* Something was written in this entry or before: may it wait for the next entries of this pass? */
static bool
loop_goes_on_gathering(struct flush_list *list)
{
    if (list->hasty > 0) {
        list->hasty--;
        return false;
    }
    uint64_t now = clock_now_ns(), took_ns = now - list->looked_ns;
    list->looked_ns = now;
    if (list->n_entries++ == 0) {
        list->began_ns = now; /* looked_ns was an older pass's */
        return true;
    }
    if (took_ns > LOOP_SLOW_ENTRY_NS) {
        list->hasty = LOOP_HASTY_ENTRIES;
        return false;
    }
    return list->n_entries < LOOP_GATHERED_ENTRIES && now - list->began_ns < LOOP_GATHERED_NS;
}

/* After an entry; is_last: nothing follows it in this pass. */
static inline int
loop_flush_in_pass(Loop *loop, bool is_last)
{
    if (loop->flush.first == NULL || (!is_last && loop_goes_on_gathering(&loop->flush))) {
        return 0;
    }
    return loop->flush.flush(loop);
}

/* Run the entries that are in the ring now.  An exception that leaves the loop keeps the rest for the next run, as on
 * asyncio. */
static int
loop_run_ready(Loop *loop)
{
    if (inbox_take(loop) < 0) {
        return -1;
    }
    uint32_t n = loop->ready.n;
    if (UNLIKELY(n > loop->metrics.ready_max)) {
        loop->metrics.ready_max = n;
    }
    for (; n > 0 && loop->ready.n > 0; n--) {
        SECTION_CHECK(loop);
        struct ready e = ring_pop(&loop->ready);
        int rc = LIKELY(!loop->timed) ? e.run(loop, e.self, e.arg) : timed_run_entry(loop, &e);
        if (loop_flush_in_pass(loop, rc < 0 || n == 1 || loop->ready.n == 0) < 0) {
            rc = -1;
        }
        if (e.arg != NULL) { /* first, as asyncio's Handle lets go of its _args before its _callback */
            loop_let_go(loop, e.arg);
        }
        loop_let_go(loop, e.self);
        if (UNLIKELY(rc < 0)) {
            INVARIANT(PyErr_Occurred());
            return -1;
        }
        INVARIANT(!PyErr_Occurred());
        inbox_let_in(loop);
    }
    return 0;
}

static inline int
loop_pass(Loop *loop)
{
    if (inbox_take(loop) < 0 || loop_hear(loop) < 0) {
        return -1;
    }
    if (loop->timers.n > 0 && loop_push_due_timers(loop) < 0) {
        return -1;
    }
    return loop_run_ready(loop);
}

/* ---- run_forever */

static inline bool
loop_is_own(struct state *st, PyObject *object)
{
    return PyObject_TypeCheck(object, st->Loop_type);
}

static COLD Loop *
loop_running_look(struct state *st)
{
    return aiobridge_names_look(st) ? aiobridge_find_running(st) : NULL;
}

static inline Loop *
loop_running_borrowed(struct state *st)
{
    uint64_t mark = aiobridge_running_mark(st);
    Loop *loop = LOOPS_RUNNING(st);
    while (loop != NULL && loop->running_mark != mark) {
        loop = loop->running_next;
    }
    if (LIKELY(loop != NULL && aiobridge_names_are_known(st))) {
        return loop;
    }
    return LOOPS_RUNNING(st) != NULL && mark != AIOBRIDGE_NO_LOOP ? loop_running_look(st) : NULL;
}

static inline int
loop_check_closed(Loop *loop)
{
    if (UNLIKELY(loop->state == LOOP_CLOSED)) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return -1;
    }
    return 0;
}

static COLD int
loop_check_thread(Loop *loop)
{
    if (loop_runs_elsewhere(loop)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "Non-thread-safe operation invoked on an event loop other than the current one");
        return -1;
    }
    return 0;
}

static int
loop_check_running(Loop *loop)
{
    if (loop->state == LOOP_RUNNING) {
        PyErr_SetString(PyExc_RuntimeError, "This event loop is already running");
        return -1;
    }
    PyObject *running = aiobridge_running_loop(loop->st);
    if (running != NULL) {
        Py_DECREF(running);
        PyErr_SetString(PyExc_RuntimeError, "Cannot run the event loop while another loop is running");
        return -1;
    }
    return PyErr_Occurred() ? -1 : 0;
}

/* ---- starting and ending a run */

static int
loop_set_origin_tracking(Loop *loop, bool enabled)
{
    struct state *st = loop->st;
    if (enabled == (loop->saved_origin_depth >= 0)) {
        return 0;
    }
    int depth = loop->saved_origin_depth;
    if (enabled) {
        PyObject *saved = PyObject_CallNoArgs(st->get_origin_tracking);
        if (saved == NULL) {
            return -1;
        }
        loop->saved_origin_depth = (int)PyLong_AsLong(saved);
        Py_DECREF(saved);
        depth = LOOP_ORIGIN_DEPTH;
    }
    else {
        loop->saved_origin_depth = -1;
    }
    PyObject *done = PyObject_CallFunction(st->set_origin_tracking, "i", depth);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
loop_install_asyncgen_hooks(Loop *loop)
{
    struct state *st = loop->st;
    PyObject *self = (PyObject *)loop;
    PyObject *saved = PyObject_CallNoArgs(st->get_asyncgen_hooks);
    PyObject *firstiter = NULL, *finalizer = NULL, *done = NULL;
    if (saved == NULL || (firstiter = PyObject_GetAttr(self, st->str._asyncgen_firstiter_hook)) == NULL
        || (finalizer = PyObject_GetAttr(self, st->str._asyncgen_finalizer_hook)) == NULL) {
        goto end;
    }
    done = PyObject_CallFunctionObjArgs(st->set_asyncgen_hooks, firstiter, finalizer, NULL);
    if (done != NULL) {
        for (int i = 0; i < 2; i++) {
            Py_XSETREF(loop->saved_hooks[i], Py_NewRef(PyStructSequence_GET_ITEM(saved, i)));
        }
    }
end:
    Py_XDECREF(saved);
    Py_XDECREF(firstiter);
    Py_XDECREF(finalizer);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* What waits in the ring of a loop that does not run may be garbage like the loop. */
static void
loop_track_handles(Loop *loop)
{
    for (uint32_t i = 0; i < loop->ready.n; i++) {
        const struct ready *e = &loop->ready.entries[(loop->ready.head + i) & (loop->ready.capacity - 1)];
        if (e->run == handle_run) {
            handle_track(e->self);
        }
    }
}

/* Puts back what loop_start found.  Keeps a raised exception; an error of its own is only written out. */
static void
loop_finish(Loop *loop)
{
    struct state *st = loop->st;
    PyObject *raised = compat_take_raised();
    CHECK_INVARIANTS(timers_check(&loop->timers));
    /* written by a signal handler that ends the run, say */
    if (loop->flush.first != NULL && loop->flush.flush(loop) < 0) {
        PyErr_WriteUnraisable((PyObject *)loop);
    }
    loop_leave_task(loop);
    metrics_end_run(loop);
    for (Loop **link = &LOOPS_RUNNING(st); *link != NULL; link = &(*link)->running_next) {
        if (*link == loop) {
            *link = loop->running_next;
            break;
        }
    }
    loop->running_next = NULL;
    loop->running_mark = AIOBRIDGE_NOT_NOTED;
    COMPAT_STORE(&loop->thread_id, 0);
    loop_track_handles(loop);
    loop->stopping = false;
    if (loop->state == LOOP_RUNNING) {
        COMPAT_STORE(&loop->state, LOOP_IDLE);
    }
    if (aiobridge_set_running(st, Py_None) < 0 || loop_set_origin_tracking(loop, false) < 0) {
        PyErr_WriteUnraisable((PyObject *)loop);
    }
    if (loop->saved_hooks[0] != NULL) {
        PyObject *done =
            PyObject_CallFunctionObjArgs(st->set_asyncgen_hooks, loop->saved_hooks[0], loop->saved_hooks[1], NULL);
        if (done == NULL) {
            PyErr_WriteUnraisable((PyObject *)loop);
        }
        Py_XDECREF(done);
        Py_CLEAR(loop->saved_hooks[0]);
        Py_CLEAR(loop->saved_hooks[1]);
    }
    compat_set_raised(raised);
}

static int
loop_start(Loop *loop)
{
    if (loop_check_closed(loop) < 0 || loop_check_running(loop) < 0) {
        return -1;
    }
    COMPAT_STORE(&loop->state, LOOP_RUNNING);
    COMPAT_STORE(&loop->thread_id, PyThread_get_thread_ident());
    loop_set_passes_to_yield(loop, 0); /* the first pass polls */
    loop->running_mark = AIOBRIDGE_NOT_NOTED;
    loop->running_next = LOOPS_RUNNING(loop->st);
    LOOPS_RUNNING(loop->st) = loop;
    if (loop_set_origin_tracking(loop, loop->debug) < 0 || loop_install_asyncgen_hooks(loop) < 0
        || aiobridge_set_running(loop->st, (PyObject *)loop) < 0 || metrics_begin_run(loop) < 0) {
        loop_finish(loop);
        return -1;
    }
    return 0;
}

static int
loop_run_forever(Loop *loop)
{
    if (COMPAT_FREE_THREADED && loop->state == LOOP_RUNNING) { /* it would be waited for */
        return loop_check_running(loop);
    }
    SECTION_RUN(loop, loop->st, loop->freelists);
    if (loop_start(loop) < 0) {
        return -1;
    }
    int rc;
    do {
        rc = loop_pass(loop);
    } while (rc == 0 && !loop->stopping);
    loop_finish(loop);
    return rc;
}

/* ---- life */

static int
loop_init(Loop *loop, struct state *st)
{
    loop->st = st;
    loop->poller.fd = loop->wakeup_fd = loop->signal_fds[0] = loop->signal_fds[1] = -1;
    loop->saved_origin_depth = -1;
    loop->slow_callback_duration = 0.1;
    timers_init(&loop->timers);
    gate_init(&loop->handle_done);
    int rc = poller_open(&loop->poller);
    if (rc == 0) {
        rc = loop->wakeup_fd = wakeup_open();
    }
    if (rc >= 0) {
        rc = poller_add(&loop->poller, loop->wakeup_fd, POLLER_READ, 0);
    }
    if (rc < 0) {
        return raise_errno(rc);
    }
    if (ring_grow(&loop->ready) < 0) {
        return -1;
    }
    SECTION_LISTED(loop);
    SECTION_TAKE(&st->lists);
    loop->loops_next = st->loops;
    loop->loops_prev_next = &st->loops;
    if (st->loops != NULL) {
        st->loops->loops_prev_next = &loop->loops_next;
    }
    st->loops = loop;
    SECTION_GIVE(&st->lists);
    return 0;
}

/* Everything that close() drops; also what dealloc needs.  May run any code (destructors). */
static void
loop_release(Loop *loop)
{
    inbox_close(loop);
    loop_clear_ready(loop);
    loop_clear_timers(loop);
    watch_clear(loop);
    signals_close(loop);
    poller_close(&loop->poller);
    inbox_close_wakeup(loop);
    loop_free_read_buffer(loop->read_buffer);
    loop->read_buffer = NULL;
    Py_CLEAR(loop->spare_context);
    Py_CLEAR(loop->files);
}

static int
loop_close(Loop *loop)
{
    if (loop->state == LOOP_RUNNING) {
        PyErr_SetString(PyExc_RuntimeError, "Cannot close a running event loop");
        return -1;
    }
    if (loop->state != LOOP_CLOSED) {
        COMPAT_STORE(&loop->state, LOOP_CLOSED);
        loop_release(loop);
    }
    return 0;
}

static void
loop_fini(Loop *loop)
{
    loop_release(loop);
    if (loop->handle_done.n_waiting == 0) { /* in a forked child the parent's waiters would be waited for */
        gate_clear(&loop->handle_done);
    }
    PyMem_Free(loop->ready.entries);
    loop->ready = (struct ring){0};
    inbox_free(loop);
    SECTION_TAKE(&loop->st->lists);
    if (loop->loops_prev_next != NULL) {
        *loop->loops_prev_next = loop->loops_next;
        if (loop->loops_next != NULL) {
            loop->loops_next->loops_prev_next = loop->loops_prev_next;
        }
        loop->loops_prev_next = NULL;
    }
    SECTION_GIVE(&loop->st->lists);
}
