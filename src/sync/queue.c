/* sync/queue.c -- see queue.h. */
#include "sync/queue.h"

#include "core/args.h"
#include "core/raise.h"
#include "core/twin.h"
#include "task/wait/child.h"
#include "task/coro/coro_function.h"

enum queue_kind { QUEUE_OTHER /* ask by name */, QUEUE_FIFO, QUEUE_PRIORITY, QUEUE_LIFO };

static inline enum queue_kind
queue_kind(Queue *q, struct state *st)
{
    PyTypeObject *type = Py_TYPE(q);
    if (UNLIKELY(q->bound.dict != NULL || q->items == NULL || st->twins_touched[TWIN_SYNC])) {
        return QUEUE_OTHER;
    }
    return LIKELY(type == st->Queue_type)   ? QUEUE_FIFO
           : type == st->PriorityQueue_type ? QUEUE_PRIORITY
           : type == st->LifoQueue_type     ? QUEUE_LIFO
                                            : QUEUE_OTHER;
}

/* ---- the items */

static COLD PyObject *
queue_raise_no_items(Queue *q)
{
    PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute '_queue'", Py_TYPE(q)->tp_name);
    return NULL;
}

/* len(self._queue), -1 on error */
static inline Py_ssize_t
queue_length(Queue *q, struct state *st)
{
    PyObject *items = q->items;
    if (LIKELY(items != NULL && (PyList_CheckExact(items) || deque_is_exact(st, items)))) {
        return Py_SIZE(items);
    }
    return items == NULL ? (queue_raise_no_items(q), -1) : PyObject_Size(items);
}

/* The items, to be held over a call of their methods: new reference. */
static inline PyObject *
queue_items(Queue *q)
{
    return LIKELY(q->items != NULL) ? Py_NewRef(q->items) : queue_raise_no_items(q);
}

static inline int
queue_add_fifo(Queue *q, struct state *st, PyObject *item)
{
    PyObject *items = queue_items(q);
    int rc = items == NULL ? -1 : deque_append(st, items, item);
    Py_XDECREF(items);
    return rc;
}

static inline int
queue_add_lifo(Queue *q, struct state *st, PyObject *item)
{
    return LIKELY(q->items != NULL && PyList_CheckExact(q->items)) ? PyList_Append(q->items, item)
                                                                   : queue_add_fifo(q, st, item);
}

static int
queue_add_priority(Queue *q, struct state *st, PyObject *item)
{
    PyObject *items = queue_items(q), *args[] = {items, item};
    PyObject *done = items == NULL ? NULL : PyObject_Vectorcall(st->heappush, args, 2, NULL);
    Py_XDECREF(items);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static inline PyObject *
queue_take_fifo(Queue *q, struct state *st)
{
    PyObject *items = queue_items(q), *item = items == NULL ? NULL : deque_popleft(st, items);
    Py_XDECREF(items);
    return item;
}

static PyObject *
queue_take_lifo(Queue *q, struct state *st)
{
    PyObject *items = queue_items(q), *item = NULL;
    if (items == NULL) {
        return NULL;
    }
    /* without a GIL another thread may have the list too: its own pop() locks it */
    Py_ssize_t n = !COMPAT_FREE_THREADED && PyList_CheckExact(items) ? PyList_GET_SIZE(items) : 0;
    if (LIKELY(n > 0)) {
        item = Py_NewRef(PyList_GET_ITEM(items, n - 1));
        if (PyList_SetSlice(items, n - 1, n, NULL) < 0) {
            Py_CLEAR(item);
        }
    }
    else {
        item = PyObject_CallMethodNoArgs(items, st->str.pop);
    }
    Py_DECREF(items);
    return item;
}

static PyObject *
queue_take_priority(Queue *q, struct state *st)
{
    PyObject *items = queue_items(q), *item = items == NULL ? NULL : PyObject_CallOneArg(st->heappop, items);
    Py_XDECREF(items);
    return item;
}

/* self._put(item) */
static inline int
queue_add(Queue *q, struct state *st, PyObject *item)
{
    switch (queue_kind(q, st)) {
    case QUEUE_FIFO:
        return queue_add_fifo(q, st, item);
    case QUEUE_LIFO:
        return queue_add_lifo(q, st, item);
    case QUEUE_PRIORITY:
        return queue_add_priority(q, st, item);
    case QUEUE_OTHER:
        break;
    }
    PyObject *done = PyObject_CallMethodOneArg((PyObject *)q, st->str._put, item);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* self._get() */
static inline PyObject *
queue_take(Queue *q, struct state *st)
{
    switch (queue_kind(q, st)) {
    case QUEUE_FIFO:
        return queue_take_fifo(q, st);
    case QUEUE_LIFO:
        return queue_take_lifo(q, st);
    case QUEUE_PRIORITY:
        return queue_take_priority(q, st);
    case QUEUE_OTHER:
        break;
    }
    return PyObject_CallMethodNoArgs((PyObject *)q, st->str._get);
}

/* ---- how full it is */

/* What empty() of the class says: `not self._queue`. */
static int
queue_is_empty(Queue *q, struct state *st)
{
    PyObject *items = q->items;
    if (LIKELY(items != NULL && (PyList_CheckExact(items) || deque_is_exact(st, items)))) {
        return Py_SIZE(items) == 0;
    }
    if ((items = queue_items(q)) == NULL) {
        return -1;
    }
    int is_true = PyObject_IsTrue(items);
    Py_DECREF(items);
    return is_true < 0 ? -1 : !is_true;
}

/* For a maxsize that is not an ordinary int, or a qsize() that may be overridden. */
static COLD int
queue_ask_full(Queue *q, struct state *st)
{
    if (q->maxsize == NULL) {
        PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute '_maxsize'", Py_TYPE(q)->tp_name);
        return -1;
    }
    PyObject *maxsize = Py_NewRef(q->maxsize), *zero = PyLong_FromLong(0), *size = NULL;
    int is_endless = zero == NULL ? -1 : PyObject_RichCompareBool(maxsize, zero, Py_LE);
    int is_full = is_endless == 0 ? -1 : is_endless > 0 ? 0 : -1;
    if (is_endless == 0 && (size = PyObject_CallMethodNoArgs((PyObject *)q, st->str.qsize)) != NULL) {
        is_full = PyObject_RichCompareBool(size, maxsize, Py_GE);
    }
    Py_XDECREF(zero);
    Py_XDECREF(size);
    Py_DECREF(maxsize);
    return is_full;
}

/* What full() of the class says. */
static inline int
queue_is_full(Queue *q, struct state *st)
{
    if (LIKELY(q->limit == 0 && q->maxsize != NULL)) {
        return 0;
    }
    if (UNLIKELY(q->limit < 0 || queue_kind(q, st) == QUEUE_OTHER)) {
        return queue_ask_full(q, st);
    }
    Py_ssize_t n = queue_length(q, st);
    return n < 0 ? -1 : n >= q->limit;
}

/* self.empty(), self.full() */
static inline int
queue_call_empty(Queue *q, struct state *st)
{
    return LIKELY(queue_kind(q, st) != QUEUE_OTHER) ? queue_is_empty(q, st) : ask_method((PyObject *)q, st->str.empty);
}

static inline int
queue_call_full(Queue *q, struct state *st)
{
    return LIKELY(queue_kind(q, st) != QUEUE_OTHER) ? queue_is_full(q, st) : ask_method((PyObject *)q, st->str.full);
}

/* self._wakeup_next(the deque at *waiters) */
static inline int
queue_wakeup_next(Queue *q, struct state *st, PyObject **waiters)
{
    if (LIKELY(queue_kind(q, st) != QUEUE_OTHER)) {
        return *waiters == NULL ? 0 : bound_pop_and_wake(st, *waiters, 1);
    }
    PyObject *deque = Bound_get_deque((PyObject *)q, (void *)((char *)waiters - (char *)q));
    PyObject *done = deque == NULL ? NULL : PyObject_CallMethodOneArg((PyObject *)q, st->str._wakeup_next, deque);
    Py_XDECREF(deque);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* ---- unfinished tasks */

static int
queue_finished_call(Queue *q, struct state *st, PyObject *name)
{
    PyObject *event = Py_NewRef(q->finished), *done = PyObject_CallMethodNoArgs(event, name);
    (void)st;
    Py_DECREF(event);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static inline int
queue_begin_task(Queue *q, struct state *st)
{
    q->n_unfinished++;
    if (q->finished == NULL) {
        return 0;
    }
    if (LIKELY(bound_is_plain(st, q->finished, st->Event_type))) {
        ((Event *)q->finished)->is_set = false;
        return 0;
    }
    return queue_finished_call(q, st, st->str.clear);
}

static inline int
queue_all_finished(Queue *q, struct state *st)
{
    if (q->finished == NULL) {
        return 0;
    }
    return LIKELY(bound_is_plain(st, q->finished, st->Event_type)) ? event_set((Event *)q->finished, st)
                                                                   : queue_finished_call(q, st, st->str.set);
}

/* The Event, made if need be. New reference. */
static PyObject *
queue_finished(Queue *q, struct state *st)
{
    if (q->finished == NULL) {
        PyObject *event = event_new(st, q->n_unfinished == 0);
        if (event == NULL) {
            return NULL;
        }
        Py_XSETREF(q->finished, event);
    }
    return Py_NewRef(q->finished);
}

/* ---- put and get */

static COLD int
queue_raise(PyObject *exception)
{
    PyErr_SetNone(exception);
    return -1;
}

static inline int
queue_put_nowait(Queue *q, struct state *st, PyObject *item)
{
    if (UNLIKELY(q->is_shutdown)) {
        return queue_raise(st->QueueShutDown);
    }
    int is_full = queue_call_full(q, st);
    if (UNLIKELY(is_full != 0)) {
        return is_full < 0 ? -1 : queue_raise(st->QueueFull);
    }
    return queue_add(q, st, item) < 0 || queue_begin_task(q, st) < 0 ? -1 : queue_wakeup_next(q, st, &q->bound.waiters);
}

static inline PyObject *
queue_get_nowait(Queue *q, struct state *st)
{
    int is_empty = queue_call_empty(q, st);
    if (UNLIKELY(is_empty != 0)) {
        if (is_empty > 0) {
            queue_raise(q->is_shutdown ? st->QueueShutDown : st->QueueEmpty);
        }
        return NULL;
    }
    PyObject *item = queue_take(q, st);
    if (UNLIKELY(item != NULL && queue_wakeup_next(q, st, &q->putters) < 0)) {
        Py_CLEAR(item);
    }
    return item;
}

/* The wait failed, or was cancelled.  Take the waiter out; if it was woken already, wake the next one instead.  Keeps
 * the raised exception. */
static PySendResult
queue_end_failed_wait(Coro *c, Queue *q, struct state *st, PyObject **waiters,
                      int (*is_in_vain)(Queue *q, struct state *st))
{
    PyObject *raised = compat_take_raised(), *future = c->slots[BOUND_WAITER];
    int rc = child_cancel(st, future);
    if (rc >= 0 && (rc = deque_remove(st, *waiters, future)) < 0 && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear(); /* whoever woke it has taken it out */
        rc = 0;
    }
    if (rc >= 0 && (rc = is_in_vain(q, st)) == 0 && (rc = child_is_cancelled(st, future)) == 0) {
        rc = queue_wakeup_next(q, st, waiters);
    }
    raise_again(raised, rc);
    return PYGEN_ERROR;
}

enum { QUEUE_ITEM = 1 };

static int
queue_cannot_put(Queue *q, struct state *st)
{
    return queue_call_full(q, st);
}

static int
queue_cannot_get(Queue *q, struct state *st)
{
    return queue_call_empty(q, st);
}

static PySendResult
queue_put_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    Queue *q = (Queue *)c->self;
    if (UNLIKELY(value == NULL)) {
        return queue_end_failed_wait(c, q, st, &q->putters, queue_cannot_put);
    }
    Py_CLEAR(c->slots[BOUND_WAITER]);
    int is_full = queue_call_full(q, st);
    if (UNLIKELY(is_full > 0 && q->is_shutdown)) {
        is_full = queue_raise(st->QueueShutDown);
    }
    if (UNLIKELY(is_full < 0)) {
        return PYGEN_ERROR;
    }
    if (is_full) {
        PySendResult status = bound_wait(c, st, &q->bound, &q->putters);
        return LIKELY(status == PYGEN_NEXT || c->slots[BOUND_WAITER] == NULL)
                   ? status
                   : queue_end_failed_wait(c, q, st, &q->putters, queue_cannot_put);
    }
    if (LIKELY(queue_kind(q, st) != QUEUE_OTHER)) {
        return queue_put_nowait(q, st, c->slots[QUEUE_ITEM]) < 0 ? PYGEN_ERROR : coro_return(result, Py_None);
    }
    *result = PyObject_CallMethodOneArg((PyObject *)q, st->str.put_nowait, c->slots[QUEUE_ITEM]);
    return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

static PySendResult
queue_get_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    Queue *q = (Queue *)c->self;
    if (UNLIKELY(value == NULL)) {
        return queue_end_failed_wait(c, q, st, &q->bound.waiters, queue_cannot_get);
    }
    Py_CLEAR(c->slots[BOUND_WAITER]);
    int is_empty = queue_call_empty(q, st);
    if (UNLIKELY(is_empty > 0 && q->is_shutdown)) {
        int is_still_empty = queue_call_empty(q, st);
        is_empty = is_still_empty > 0 ? queue_raise(st->QueueShutDown) : is_still_empty < 0 ? -1 : 1;
    }
    if (UNLIKELY(is_empty < 0)) {
        return PYGEN_ERROR;
    }
    if (is_empty) {
        PySendResult status = bound_wait(c, st, &q->bound, &q->bound.waiters);
        return LIKELY(status == PYGEN_NEXT || c->slots[BOUND_WAITER] == NULL)
                   ? status
                   : queue_end_failed_wait(c, q, st, &q->bound.waiters, queue_cannot_get);
    }
    *result = LIKELY(queue_kind(q, st) != QUEUE_OTHER) ? queue_get_nowait(q, st)
                                                       : PyObject_CallMethodNoArgs((PyObject *)q, st->str.get_nowait);
    return UNLIKELY(*result == NULL) ? PYGEN_ERROR : PYGEN_RETURN;
}

static PySendResult
queue_join_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    Queue *q = (Queue *)c->self;
    if (c->phase == 1 || q->n_unfinished <= 0) {
        return value == NULL ? PYGEN_ERROR : coro_return(result, Py_None);
    }
    c->phase = 1;
    PyObject *event = queue_finished(q, st);
    if (event == NULL) {
        return PYGEN_ERROR;
    }
    PyObject *waiting = LIKELY(bound_is_plain(st, event, st->Event_type))
                            ? event_wait(event, st)
                            : PyObject_CallMethodNoArgs(event, st->str.wait);
    Py_DECREF(event);
    PySendResult status = waiting == NULL ? PYGEN_ERROR : coro_await(c, st, waiting);
    Py_XDECREF(waiting);
    return status;
}

static const struct coro_kind queue_put_kind = {"Queue.put", queue_put_step};
static const struct coro_kind queue_get_kind = {"Queue.get", queue_get_step};
static const struct coro_kind queue_join_kind = {"Queue.join", queue_join_step};

static int
queue_task_done(Queue *q, struct state *st)
{
    if (q->n_unfinished <= 0) {
        PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
        return -1;
    }
    return --q->n_unfinished == 0 ? queue_all_finished(q, st) : 0;
}

#if COMPAT_QUEUE_SHUTDOWN
static int
queue_shutdown(Queue *q, struct state *st, bool is_immediate)
{
    q->is_shutdown = true;
    if (is_immediate) {
        int is_empty;
        while ((is_empty = queue_call_empty(q, st)) == 0) {
            PyObject *item = queue_take(q, st);
            if (item == NULL) {
                return -1;
            }
            q->n_unfinished -= q->n_unfinished > 0;
            Py_DECREF(item);
        }
        if (is_empty < 0 || (q->n_unfinished == 0 && queue_all_finished(q, st) < 0)) {
            return -1;
        }
    }
    if (q->bound.waiters != NULL && bound_pop_and_wake(st, q->bound.waiters, PY_SSIZE_T_MAX) < 0) {
        return -1;
    }
    return q->putters == NULL ? 0 : bound_pop_and_wake(st, q->putters, PY_SSIZE_T_MAX);
}
#endif
