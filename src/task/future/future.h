/* task/future/future.h -- Future: a result that comes later.
 *
 * Our own layout; `__class__` says asyncio.Future, so isinstance(x, asyncio.Future) holds (and asyncio.Task for a
 * Task).  Task, the future of a sleep and the one that gather returns begin with this struct; `kind` tells them apart.
 *
 * The callbacks lie in order: `first`, then rare->more.  An entry is a Python callable with its context, or, on an own
 * loop, one of our objects that is to be run as a ready entry without any Python object made for it (struct
 * watcher_kind: a Task that awaits this future, the future of a gather ...). Finishing a future takes its callbacks out
 * and schedules them, each in its turn; nothing runs at once.
 *
 * Invariants: state != FUTURE_PENDING => no callbacks; then first.context is free and keeps the traceback of the
 * exception (finished.traceback). result: FINISHED: the result, or the exception (has_exception); CANCELLED: the
 * CancelledError that ended it, or NULL; PENDING: NULL. Ownership: owns everything it points to; loop == NULL means
 * that __init__ never ran.  Errors: 0/-1 with the exception set.  Thread: the loop's. */
#ifndef ASYNCLOOP_TASK_FUTURE_H
#define ASYNCLOOP_TASK_FUTURE_H

#include "core/loop.h"

enum future_state { FUTURE_PENDING, FUTURE_CANCELLED, FUTURE_FINISHED };
enum future_kind { FUTURE_PLAIN, FUTURE_TASK, FUTURE_SLEEP, FUTURE_GATHER, FUTURE_SHIELD, FUTURE_KINDS };
_Static_assert(FUTURE_KINDS <= STATE_FUTURE_KINDS_MAX, "the state has a place for each kind");

struct callback {
    PyObject *target;  /* NULL: no callback */
    /* a Context; NULL: an empty one, not made (core/context.h); or a WATCHER_MARK: then target is a watcher of that
     * kind */
    PyObject *context;
};

/* A kind of watcher: a Task that awaits the future, the future of a gather, a TaskGroup …  Its own file hands this
 * down. */
struct watcher_kind {
    /* the entry (watcher, future) that is pushed when the future is done */
    ready_fn run;
    PyObject *(*waiter_borrowed)(PyObject *watcher); /* the task that waits, or NULL */
    /* what asyncio would have in the watcher's place, for other futures and for those who look */
    PyMethodDef callable;
    size_t context_at; /* offset of the context slot it runs in; 0: it has none */
    const char *qualname; /* what asyncio calls the callable; NULL: by the watcher's type, a built-in method */
};
/* No object and no kind lies at an odd address. */
#define WATCHER_MARK(kind) ((PyObject *)((uintptr_t)(kind) + 1))

/* What few futures have. */
struct future_rare {
    PyObject *cancel_message;
    PyObject *source_traceback; /* debug mode: where it was made */
    PyObject *awaited_by; /* a set: those that asyncio said wait for this one (3.14+) */
    struct callback *more; /* callbacks after the first */
    uint32_t n_more, capacity;
};

typedef struct {
    PyObject_HEAD
    PyObject *loop;
    PyObject *result;
    union {
        struct callback first;
        struct {
            PyObject *unused, *traceback;
        } finished;
    };
    struct future_rare *rare; /* or NULL */
    PyObject *dict, *weakrefs;
    uint8_t state; /* enum future_state */
    uint8_t kind; /* enum future_kind */
    bool is_own; /* loop is one of our Loops */
    bool blocking; /* _asyncio_future_blocking: yielded by an await, not by a bare yield */
    bool has_exception;
    bool log_traceback; /* the exception was not retrieved yet */
    bool must_cancel; /* Task */
    bool log_destroy; /* Task: say so when it is destroyed while pending */
} Future;

/* What a kind of future does in another way than a plain one; its own file hands it down (st->future_methods).  NULL:
 * as a plain one does it.  A Task's part lies in this room, and is called by name. */
struct future_methods {
    int (*finished)(Future *f); /* done now, on an own loop; its callbacks are scheduled next */
    int (*cancel)(Future *f, PyObject *message); /* as future_cancel */
    int (*list_callbacks)(Future *f, PyObject *list); /* adds what asyncio has before the callbacks of its users */
};

/* NULL: nothing. */
static inline const struct future_methods *
future_methods_of(struct state *st, const Future *f)
{
    return st->future_methods[f->kind];
}

static int future_register(PyObject *module, struct state *st) MUST_CHECK;

/* A pending future of this loop. New reference. */
static PyObject *future_new(Loop *loop);
/* loop.create_future() of any loop. New reference. */
static inline PyObject *future_new_on(struct state *st, PyObject *loop);
/* It makes one by future_new, and nothing else. */
static inline bool future_is_made_by(struct state *st, PyObject *loop);

/* Finish it.  InvalidStateError when it is done already; RuntimeError when it has callbacks and its loop is closed. */
static int future_set_result(Future *f, PyObject *result) MUST_CHECK;
static int future_set_exception(Future *f, PyObject *exception) MUST_CHECK; /* instance or class */
/* 1: now cancelled, 0: it was done already, -1.  message may be NULL. For plain futures; future_cancel_any asks what
 * kind it is. */
static int future_cancel(Future *f, PyObject *message) MUST_CHECK;
/* The same for any future-like object, ours or not. */
static int future_cancel_any(struct state *st, PyObject *future, PyObject *message) MUST_CHECK;
/* set_exception(exception) of any future, or set_result(result) where exception is NULL. */
static inline int future_set_any(struct state *st, PyObject *future, PyObject *result, PyObject *exception) MUST_CHECK;
/* The same unless the future says true to `unless`, which is the name done or cancelled: 1, 0 when it did, -1.  Holds
 * the future meanwhile. */
static inline int future_wake_any(struct state *st, PyObject *future, PyObject *unless, PyObject *result,
                                  PyObject *exception) MUST_CHECK;

static int future_add_done_callback(Future *f, PyObject *callback, PyObject *context_or_null) MUST_CHECK;

static inline bool
future_is_done(const Future *f)
{
    return f->state != FUTURE_PENDING;
}
static inline bool
future_is_cancelled(const Future *f)
{
    return f->state == FUTURE_CANCELLED;
}

/* Of our types: one of them exactly (their methods are known), or a subclass too. */
static inline bool future_is_exact(struct state *st, PyObject *object);
static inline bool future_is_own(struct state *st, PyObject *object);
/* One of them exactly, and nobody has set this method on the instance (trio-asyncio does: fut.cancel = …).  asyncio's
 * Python code, and its C code for cancel(), takes the attribute: so does who stands in for it.  Its own C code reads a
 * future that a task awaits without a look at attributes. */
static inline bool future_has_usual(struct state *st, PyObject *object, PyObject *method_name);
static inline struct state *future_state_of(Future *f);

/* ---- for the other files of this layer */

static int future_init(Future *f, struct state *st, PyObject *loop_or_none) MUST_CHECK;
/* fields of a new object, on an own loop */
static int future_start(Future *f, struct state *st, Loop *loop) MUST_CHECK;
static Future *future_alloc(PyTypeObject *type, struct freelist *list, size_t size, enum future_kind kind);
static int future_visit(Future *f, visitproc visit, void *arg);
static void future_clear(Future *f);
static bool future_is_leaf(const Future *f);
/* may its end run code that is not ours?  Then no task must be left over as the current one */
static inline bool future_may_run_code(const Future *f);
/* may there be a task left over that the end of f must not find as the current one? */
static inline bool future_has_leftover(const Future *f);
/* the head of a tp_dealloc; false: the finalizer made it live on */
static inline bool future_begin_dealloc(PyObject *self);
static void future_report_unretrieved(Future *f);

static const char *future_short_name(PyTypeObject *type); /* the class's name without its module */
static const char *future_type_name(Future *f);
static struct future_rare *future_need_rare(Future *f); /* NULL with MemoryError */
static inline PyObject *future_cancel_message_borrowed(const Future *f); /* NULL: none */
static int future_set_cancel_message(Future *f, PyObject *message) MUST_CHECK;
static PyObject *future_make_cancelled_error(Future *f);
static PyObject *future_result(Future *f); /* what result() gives or raises */
/* what result() of a future that failed or was cancelled would raise. New reference */
static PyObject *future_take_exception(Future *f);
/* steals both */
static int future_finish(Future *f, enum future_state state, PyObject *result, PyObject *traceback) MUST_CHECK;
static int future_finish_exception(Future *f, PyObject *exception) MUST_CHECK;

static int callbacks_add(Future *f, PyObject *target, PyObject *context) MUST_CHECK; /* f is pending; borrows both */
static Py_ssize_t callbacks_remove(Future *f, PyObject *callback);
static void callbacks_remove_entry(Future *f, PyObject *target, PyObject *mark); /* every one of them; calls nothing */
static PyObject *callbacks_as_list(Future *f);
static int callbacks_schedule(Future *f, struct callback *first) MUST_CHECK; /* and rare->more; drops them all */
static int callback_schedule(Future *f, const struct callback *cb) MUST_CHECK;
/* what asyncio would have among the callbacks in its place */
static PyObject *callback_callable(PyObject *target, const struct watcher_kind *kind);
static bool callback_is_callable_of(PyObject *callable, PyObject *target, const struct watcher_kind *kind);

static PyObject *future_iter_new(PyObject *future);
static PySendResult future_send(Future *f, PyObject **result);
static PyObject *future_give_stop_iteration(struct state *st, PyObject *value); /* steals value; returns NULL */
/* what send() gives to Python code, which looks at the StopIteration's args */
static inline PyObject *future_give(PySendResult status, PyObject *result);
#if !COMPAT_AM_SEND_USED
static PyObject *Future_get_send(PyObject *self, void *closure);
#endif
#if COMPAT_CALL_GRAPH
static PyObject *Future_get_awaited_by(PyObject *self, void *closure);
#endif
static int awaited_by_add(Future *f, PyObject *waiter) MUST_CHECK;
static int awaited_by_discard(Future *f, PyObject *waiter) MUST_CHECK;
static int awaited_by_note(struct state *st, PyObject *future, PyObject *waiter, bool is_add) MUST_CHECK;
static int awaited_by_note_task(struct state *st, PyObject *future, PyObject *task, bool is_add) MUST_CHECK;
static int awaited_by_register(PyObject *module, struct state *st) MUST_CHECK;
static PyObject *future_call_slowly(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *kwnames);
static int future_import(PyObject **slot, const char *module_name, const char *name) MUST_CHECK;
static int future_hide_next(PyTypeObject *type) MUST_CHECK;
/* a pending one of asyncio's own, on a loop that only knows get_debug() */
static PyObject *future_new_native(struct state *st);
static int future_ask_about_stop_iteration(struct state *st) MUST_CHECK;
/* the exception that throw(*args) is to raise; NULL: TypeError */
static PyObject *future_thrown(PyObject *const *args, Py_ssize_t n_args);
static void future_raise_thrown(PyObject *const *args, Py_ssize_t n_args); /* what throw(*args) raises */

/* The iterators that __await__ of our objects gives begin with this, so that code which only looks for the awaited
 * object need not tell them apart. */
typedef struct {
    PyObject_HEAD
    PyObject *awaited; /* NULL once closed, or cleared by the collector */
} AwaitIter;

static PyObject *await_iter_new(PyTypeObject *type, PyObject *awaited); /* steals awaited */
static int AwaitIter_traverse(PyObject *self, visitproc visit, void *arg);
static int AwaitIter_clear(PyObject *self);
static void AwaitIter_dealloc(PyObject *self);

static inline PyObject *
future_awaited_by_borrowed(const Future *f)
{
    return f->rare == NULL ? NULL : f->rare->awaited_by;
}

/* Is this keyword that one?  Both are interned as a rule. */
static inline bool
future_is_keyword(PyObject *name, PyObject *interned)
{
    return name == interned || PyUnicode_Compare(name, interned) == 0;
}

#endif
