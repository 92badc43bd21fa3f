/* task/coro/coro.h -- Coro: a coroutine object whose body is a small state machine in C.
 *
 * What an `async def` of asyncio's is to its caller, a Coro is too: nothing happens before its first step; it has send,
 * throw, close, __await__, the cr_ attributes, its class says `coroutine`, and it warns when it was never awaited.
 * Tasks, gather and wait_for take it as a coroutine.  A body that never has to wait runs in its caller's await: no
 * future, no frame, an object from the free list.
 *
 * The body is kind->step, run once per resumption, as a generator's code between two yields:
 *
 *     static PySendResult
 *     lock_acquire_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
 *     {
 *         switch (c->phase) {
 *         case 0:                                  first step; value is None
 *             if (free) return coro_return(result, Py_True);
 *             c->phase = 1;
 *             return coro_wait(c, future);         `await future`, of ours: no iterator, no wrapper; steals it, NULL is
 * an error case 1:                                  value (borrowed) is what the await gave; NULL: it raised, or
 * somebody threw, and that is raised now
 *             ...
 *             return coro_return(result, value);   or PYGEN_ERROR with the exception raised
 *
 * `await` of anything: coro_await(c, st, object); `yield` (a bare one: the other tasks first): coro_yield(c).  Each of
 * the three must be the step's return value at once.  What is awaited may be done: the next phase then follows in the
 * same step of the task.  throw() and close() go to what is awaited first, as a coroutine's do; close() throws
 * GeneratorExit.  A `finally` is written out: it belongs where value == NULL and where the body returns.
 *
 * States: CORO_CREATED -> (CORO_RUNNING <-> CORO_WAITING)* -> CORO_DONE.  Invariant: awaited != NULL only when
 * CORO_WAITING or while it is being stepped. Ownership: owns self, its slots and awaited; all are dropped when it is
 * done.  Nobody else can run the body meanwhile (CORO_RUNNING), so a step may keep borrowed pointers into slots[] over
 * calls of Python code; objects that those are about must be read again, as ever. The collector knows an object with
 * self from the start; one without when it waits, or after coro_track (slots that hold containers). Errors: as of a
 * coroutine, same texts; StopIteration that leaves the body becomes a RuntimeError.  Differs: cr_frame is made up
 * (coro_frame.c), cr_origin is None.  Thread: the loop's. */
#ifndef ASYNCLOOP_TASK_CORO_H
#define ASYNCLOOP_TASK_CORO_H

#include "task/future/future.h"

typedef struct Coro Coro;

/* One step.  PYGEN_RETURN with *result (a new reference), PYGEN_ERROR with the exception raised, or what coro_wait and
 * its sisters returned. */
typedef PySendResult (*coro_step)(Coro *c, struct state *st, PyObject *value, PyObject **result);

struct coro_kind {
    const char *qualname; /* "Lock.acquire"; __name__ is what follows the last dot */
    coro_step step;
};

enum coro_state { CORO_CREATED, CORO_RUNNING, CORO_WAITING, CORO_DONE };

enum { CORO_SLOTS = 4 };

struct Coro {
    PyObject_HEAD
    const struct coro_kind *kind;
    PyObject *self;              /* whose method it is, or NULL */
    PyObject *slots[CORO_SLOTS]; /* the body's variables, NULL at first */
    /* a future of ours or any await-iterator; NULL while CORO_WAITING: the bare yield is out */
    PyObject *awaited;
    PyObject *weakrefs;
#if COMPAT_FREE_THREADED
    PyObject *loop; /* ours that ran in the thread that made it, where self is NULL; or NULL */
#endif
    union {                      /* one number for the body, 0 at first */
        Py_ssize_t n;
        double seconds;
    };
    uint8_t state; /* enum coro_state */
    uint8_t phase; /* the body's, 0 at first */
    uint8_t flags; /* the body's, 0 at first */
};

/* It is guarded with the object whose method it is, or with the loop on which it was made. All that have such methods
 * have their loop in the same place. */
#if COMPAT_FREE_THREADED
#  define CORO_HOME ((struct section_home){offsetof(Coro, self), offsetof(Future, loop), offsetof(Coro, loop)})
#else
#  define CORO_HOME SECTION_NOBODY
#endif

static int coro_register(PyObject *module, struct state *st) MUST_CHECK;

/* A new one, CORO_CREATED; fill in its slots. self: borrowed, or NULL. */
static inline Coro *coro_new(struct state *st, const struct coro_kind *kind, PyObject *self);
static inline void coro_track(Coro *c);

static inline bool coro_is(struct state *st, PyObject *object);

/* ---- for a body: its return values */

static inline PySendResult coro_return(PyObject **result, PyObject *value); /* borrows value */
/* Steals a future of exactly one of our types, or a new Coro; NULL: PYGEN_ERROR. */
static inline PySendResult coro_wait(Coro *c, PyObject *future);
/* borrows anything; PYGEN_ERROR: TypeError, or what __await__ raised */
static PySendResult coro_await(Coro *c, struct state *st, PyObject *awaitable);
static inline PySendResult coro_yield(Coro *c);

/* PEP 479, for what was raised out of a coroutine's body: StopIteration would pass for the end of what awaits it, so
 * RuntimeError takes its place. */
static inline void coro_mend_raised(void);

/* ---- for code in C that drives one itself (a Coro in a Coro: coro_await does it) */

static inline PySendResult coro_send(Coro *c, struct state *st, PyObject *value, PyObject **result);
/* Throw an exception instance: its result is as that of coro_send. */
static PySendResult coro_throw(Coro *c, struct state *st, PyObject *exception, PyObject **result);
static int coro_close(Coro *c, struct state *st) MUST_CHECK;

/* ---- for other coroutine objects in C (coro_frame.c) */

/* cr_frame of a coroutine that has not ended. qualname: of asyncio's function, whose code the frame shows. None where
 * that is not known. New reference. */
static PyObject *coro_frame_new(struct state *st, PyObject *coro, const char *qualname, PyObject *owner);
#if COMPAT_CORO_STATE
static PyObject *coro_state_text(enum coro_state state); /* cr_state. New reference */
#endif

/* What __await__ of any awaitable gives: itself for futures of ours, coroutines and Coros.  New reference; NULL:
 * TypeError, or what __await__ raised. */
static PyObject *coro_await_iter(struct state *st, PyObject *awaitable);

#endif
