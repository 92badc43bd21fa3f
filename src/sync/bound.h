/* sync/bound.h -- Bound: what every lock, event and queue begins with: the loop it is bound to, and its waiters.
 *
 * The loop is that of the first who had to wait; a waiter on another one is refused (asyncio.mixins._LoopBoundMixin).
 * A waiter is a future in a deque (sync/deque.h): of ours on our loops, whatever create_future() gives elsewhere.  Who
 * waits takes its future out of the deque itself when it goes on, as in asyncio; who wakes it finishes the future and
 * leaves it there.  Wake-up order is the order of the deque. In a coroutine (task/coro/coro.h) the future is in
 * slots[BOUND_WAITER] from bound_wait to bound_end_wait.
 *
 * loop == NULL is None in Python; waiters == NULL: none were needed yet.  A dict may be there for any object, so what a
 * user has put on an instance counts: bound_is_plain says that nothing of the class is overridden.  Errors: 0/-1 with
 * the exception set.  Thread: the loop's. */
#ifndef ASYNCLOOP_SYNC_BOUND_H
#define ASYNCLOOP_SYNC_BOUND_H

#include "core/ask.h"
#include "core/twin_copy.h"
#include "sync/deque.h"
#include "task/wait/child.h"
#include "task/coro/coro.h"

typedef struct {
    PyObject_HEAD
    PyObject *loop;
    PyObject *waiters;
    PyObject *dict, *weakrefs;
} Bound;

enum { BOUND_WAITER = 0 /* slot of the coroutine's own future */ };

/* An object of exactly this type, nothing overridden on it, and no twin's class changed by anybody: its methods are
 * known. */
static inline bool bound_is_plain(struct state *st, PyObject *self, PyTypeObject *exact);

/* self._get_loop().create_future(). New reference. */
static inline PyObject *bound_new_waiter(Bound *b, struct state *st);

/* A new waiter at the end of *deque (made if need be), awaited by c.  The result is for the step to return, but
 * PYGEN_ERROR with slots[BOUND_WAITER] set is an exception of the await itself, inside its `try`. */
static inline PySendResult bound_wait(Coro *c, struct state *st, Bound *b, PyObject **deque);
/* The same with a future made before (stolen). */
static inline PySendResult bound_wait_for(Coro *c, struct state *st, PyObject **deque, PyObject *future);
/* `finally: deque.remove(fut)`: with an exception raised (has_raised) it stays raised, or a new one with it as its
 * context. -1: the new one. */
static inline int bound_end_wait(Coro *c, struct state *st, PyObject **deque, bool has_raised) MUST_CHECK;

/* ---- waiters: futures of any kind */

/* An iterator over them; NULL without exception when there are none. */
static inline PyObject *bound_iter(struct state *st, PyObject *deque);
/* Is there one that was not cancelled? 1, 0, -1. */
static inline int bound_has_waiter(struct state *st, PyObject *deque);
/* Wake this one unless it is done: 1, 0 when it was, -1. Steals it. */
static inline int bound_wake_one(struct state *st, PyObject *future, PyObject *result);
/* set_result on up to n that are not done, in order.  The number, or -1. */
static inline Py_ssize_t bound_wake(struct state *st, PyObject *deque, Py_ssize_t n, PyObject *result);
/* Take from the left until one was not done and is woken now; up to n of those. */
static inline int bound_pop_and_wake(struct state *st, PyObject *deque, Py_ssize_t n) MUST_CHECK;

/* ---- for the types */

static int Bound_traverse(PyObject *self, visitproc visit, void *arg);
static int Bound_clear(PyObject *self);
static void Bound_dealloc(PyObject *self); /* after the type's own tp_clear */
/* "<asyncloop.Lock object at 0x… [extra]>", waiters counted. */
static PyObject *bound_repr(Bound *b, struct state *st, PyObject *extra);

static PyObject *Bound_get_loop(PyObject *self, PyObject *none);
static PyObject *Bound_get_loop_attribute(PyObject *self, void *closure);
static int Bound_set_loop_attribute(PyObject *self, PyObject *value, void *closure);
static PyObject *Bound_get_deque(PyObject *self, void *offset); /* closure: of the field; makes the deque */
static int Bound_set_deque(PyObject *self, PyObject *value, void *offset);

#define BOUND_GETSET                                                                                                         \
    {"__class__", twin_get_class}, {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict},                           \
    {"_loop", Bound_get_loop_attribute, Bound_set_loop_attribute}
#define BOUND_MEMBERS                                                                                                        \
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Bound, weakrefs), READONLY}, {"__dictoffset__", T_PYSSIZET, offsetof(Bound, dict), READONLY}
#define BOUND_METHODS {"_get_loop", Bound_get_loop, METH_NOARGS, NULL}
#define BOUND_FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE)

#endif
