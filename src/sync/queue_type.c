/* sync/queue_type.c -- the Python faces of Queue, PriorityQueue and LifoQueue. See queue.h. */
#include "sync/queue.h"

#include "core/args.h"
#include "core/twin.h"
#include "task/coro/coro_function.h"

static void
queue_set_maxsize(Queue *q, PyObject *maxsize)
{
    q->limit = QUEUE_LIMIT_ASK;
    if (PyLong_CheckExact(maxsize)) {
        int overflow;
        long long n = PyLong_AsLongLongAndOverflow(maxsize, &overflow);
        q->limit = overflow > 0 ? QUEUE_LIMIT_ASK : overflow < 0 || n <= 0 ? 0 : (Py_ssize_t)n;
    }
    Py_XSETREF(q->maxsize, Py_NewRef(maxsize));
}

static int
queue_set_items(Queue *q, PyObject *items)
{
    if (items == NULL) {
        return -1;
    }
    Py_XSETREF(q->items, items);
    return 0;
}

/* self._init(maxsize) */
static int
queue_call_init(Queue *q, struct state *st, PyObject *maxsize)
{
    PyTypeObject *type = Py_TYPE(q);
    if (st->twins_touched[TWIN_SYNC]) {
        type = NULL;
    }
    if (type == st->Queue_type) {
        return queue_set_items(q, deque_new(st));
    }
    if (type == st->PriorityQueue_type || type == st->LifoQueue_type) {
        return queue_set_items(q, PyList_New(0));
    }
    PyObject *done = PyObject_CallMethodOneArg((PyObject *)q, st->str._init, maxsize);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
Queue_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"maxsize"};
    static const struct args_signature signature = {"Queue.__init__", names, 0, 1, 1, true};
    Queue *q = (Queue *)self;
    PyObject *maxsize;
    if (args_bind_tuple(&signature, args, kwargs, &maxsize) < 0) {
        return -1;
    }
    maxsize = maxsize == NULL ? PyLong_FromLong(0) : Py_NewRef(maxsize);
    if (maxsize == NULL) {
        return -1;
    }
    queue_set_maxsize(q, maxsize);
    q->n_unfinished = 0;
    Py_CLEAR(q->bound.waiters);
    Py_CLEAR(q->putters);
    Py_CLEAR(q->finished);
    struct state *st = state_of(self);
    /* made as early as asyncio makes it, as a program may have replaced its methods */
    PyObject *event = st->twins_touched[TWIN_SYNC] ? queue_finished(q, st) : NULL;
    int rc = event == NULL && PyErr_Occurred() ? -1 : queue_call_init(q, st, maxsize);
    Py_XDECREF(event);
    if (rc == 0) {
        q->is_shutdown = false;
    }
    Py_DECREF(maxsize);
    return rc;
}

/* ---- the hooks, as methods */

static PyObject *
Queue_init_hook(PyObject *self, PyObject *Py_UNUSED(maxsize))
{
    return queue_set_items((Queue *)self, deque_new(state_of(self))) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
LifoQueue_init_hook(PyObject *self, PyObject *Py_UNUSED(maxsize))
{
    return queue_set_items((Queue *)self, PyList_New(0)) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
Queue_put_hook(PyObject *self, PyObject *item)
{
    return queue_add_fifo((Queue *)self, state_of(self), item) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
Queue_get_hook(PyObject *self, PyObject *Py_UNUSED(none))
{
    return queue_take_fifo((Queue *)self, state_of(self));
}

static PyObject *
LifoQueue_put_hook(PyObject *self, PyObject *item)
{
    return queue_add_lifo((Queue *)self, state_of(self), item) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
LifoQueue_get_hook(PyObject *self, PyObject *Py_UNUSED(none))
{
    return queue_take_lifo((Queue *)self, state_of(self));
}

static PyObject *
PriorityQueue_put_hook(PyObject *self, PyObject *item)
{
    return queue_add_priority((Queue *)self, state_of(self), item) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
PriorityQueue_get_hook(PyObject *self, PyObject *Py_UNUSED(none))
{
    return queue_take_priority((Queue *)self, state_of(self));
}

static PyObject *
Queue_wakeup_next(PyObject *self, PyObject *waiters)
{
    return bound_pop_and_wake(state_of(self), waiters, 1) < 0 ? NULL : Py_NewRef(Py_None);
}

/* ---- methods */

static PyObject *
Queue_qsize(PyObject *self, PyObject *Py_UNUSED(none))
{
    Py_ssize_t n = queue_length((Queue *)self, state_of(self));
    return n < 0 ? NULL : PyLong_FromSsize_t(n);
}

static PyObject *
Queue_empty(PyObject *self, PyObject *Py_UNUSED(none))
{
    int is_empty = queue_is_empty((Queue *)self, state_of(self));
    return is_empty < 0 ? NULL : PyBool_FromLong(is_empty);
}

static PyObject *
Queue_full(PyObject *self, PyObject *Py_UNUSED(none))
{
    int is_full = queue_is_full((Queue *)self, state_of(self));
    return is_full < 0 ? NULL : PyBool_FromLong(is_full);
}

static const char *const queue_item_names[] = {"item"};

static PyObject *
Queue_put(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const struct args_signature signature = {"Queue.put", queue_item_names, 1, 1, 1, true};
    PyObject *item;
    Coro *c = args_bind(&signature, args, n_args, kwnames, &item) < 0 ? NULL
                                                                      : coro_new(state_of(self), &queue_put_kind, self);
    if (LIKELY(c != NULL)) {
        c->slots[QUEUE_ITEM] = Py_NewRef(item);
    }
    return (PyObject *)c;
}

static PyObject *
Queue_get(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const struct args_signature signature = {"Queue.get", NULL, 0, 0, 0, true};
    return args_bind(&signature, args, n_args, kwnames, NULL) < 0
               ? NULL
               : (PyObject *)coro_new(state_of(self), &queue_get_kind, self);
}

static PyObject *
Queue_join(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const struct args_signature signature = {"Queue.join", NULL, 0, 0, 0, true};
    return args_bind(&signature, args, n_args, kwnames, NULL) < 0
               ? NULL
               : (PyObject *)coro_new(state_of(self), &queue_join_kind, self);
}

static PyObject *
Queue_put_nowait(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const struct args_signature signature = {"Queue.put_nowait", queue_item_names, 1, 1, 1, true};
    PyObject *item;
    if (args_bind(&signature, args, n_args, kwnames, &item) < 0) {
        return NULL;
    }
    return queue_put_nowait((Queue *)self, state_of(self), item) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
Queue_get_nowait(PyObject *self, PyObject *Py_UNUSED(none))
{
    return queue_get_nowait((Queue *)self, state_of(self));
}

static PyObject *
Queue_task_done(PyObject *self, PyObject *Py_UNUSED(none))
{
    return queue_task_done((Queue *)self, state_of(self)) < 0 ? NULL : Py_NewRef(Py_None);
}

#if COMPAT_QUEUE_SHUTDOWN
static PyObject *
Queue_shutdown(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"immediate"};
    static const struct args_signature signature = {"Queue.shutdown", names, 0, 1, 1, true};
    PyObject *immediate;
    if (args_bind(&signature, args, n_args, kwnames, &immediate) < 0) {
        return NULL;
    }
    ((Queue *)self)->is_shutdown = true; /* before the truth of the argument is asked for */
    int is_immediate = immediate == NULL ? 0 : PyObject_IsTrue(immediate);
    return is_immediate < 0 || queue_shutdown((Queue *)self, state_of(self), is_immediate) < 0 ? NULL
                                                                                               : Py_NewRef(Py_None);
}
#endif

/* ---- texts */

/* " name[n]" for waiters, nothing when there are none. New reference; steals text (NULL: error). */
static PyObject *
queue_format_waiters(PyObject *text, struct state *st, PyObject *waiters, const char *name)
{
    int is_any = text == NULL ? -1 : deque_is_true(st, waiters);
    Py_ssize_t n = is_any > 0 ? deque_length(st, waiters) : is_any;
    if (n < 0) {
        Py_CLEAR(text);
    }
    else if (is_any > 0) {
        Py_SETREF(text, PyUnicode_FromFormat("%U %s[%zd]", text, name, n));
    }
    return text;
}

static PyObject *
Queue_format(PyObject *self, PyObject *Py_UNUSED(none))
{
    Queue *q = (Queue *)self;
    struct state *st = state_of(self);
    PyObject *items = NULL, *text = q->maxsize == NULL ? NULL : PyUnicode_FromFormat("maxsize=%R", q->maxsize);
    if (q->maxsize == NULL) {
        PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute '_maxsize'", Py_TYPE(self)->tp_name);
    }
    int is_any = text == NULL || compat_get_optional_attr(self, st->str._queue, &items) < 0 ? -1
                 : items == NULL                                                            ? 0
                                                                                            : PyObject_IsTrue(items);
    if (is_any > 0) {
        PyObject *list = PySequence_List(items);
        Py_SETREF(text, list == NULL ? NULL : PyUnicode_FromFormat("%U _queue=%R", text, list));
        Py_XDECREF(list);
    }
    else if (is_any < 0) {
        Py_CLEAR(text);
    }
    Py_XDECREF(items);
    text = queue_format_waiters(text, st, q->bound.waiters, "_getters");
    text = queue_format_waiters(text, st, q->putters, "_putters");
    if (text != NULL && q->n_unfinished != 0) {
        Py_SETREF(text, PyUnicode_FromFormat("%U tasks=%zd", text, q->n_unfinished));
    }
    if (text != NULL && q->is_shutdown) {
        Py_SETREF(text, PyUnicode_FromFormat("%U shutdown", text));
    }
    return text;
}

static PyObject *
queue_text(PyObject *self, bool is_repr)
{
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(self), "__name__"), *text = NULL;
    PyObject *format = name == NULL ? NULL : PyObject_CallMethodNoArgs(self, state_of(self)->str._format);
    if (format != NULL) {
        text = is_repr ? PyUnicode_FromFormat("<%S at %p %S>", name, self, format)
                       : PyUnicode_FromFormat("<%S %S>", name, format);
    }
    Py_XDECREF(name);
    Py_XDECREF(format);
    return text;
}

static PyObject *
Queue_repr(PyObject *self)
{
    return queue_text(self, true);
}

static PyObject *
Queue_str(PyObject *self)
{
    return queue_text(self, false);
}

/* ---- attributes */

static PyObject *
Queue_get_maxsize(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *maxsize = ((Queue *)self)->maxsize;
    if (maxsize == NULL) {
        PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute '_maxsize'", Py_TYPE(self)->tp_name);
    }
    return Py_XNewRef(maxsize);
}

static int
Queue_set_maxsize(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
        return -1;
    }
    queue_set_maxsize((Queue *)self, value);
    return 0;
}

static PyObject *
Queue_get_finished(PyObject *self, void *Py_UNUSED(closure))
{
    return queue_finished((Queue *)self, state_of(self));
}

static int
Queue_set_finished(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    Py_XSETREF(((Queue *)self)->finished, Py_XNewRef(value));
    return 0;
}

static int
Queue_traverse(PyObject *self, visitproc visit, void *arg)
{
    Queue *q = (Queue *)self;
    Py_VISIT(q->putters);
    Py_VISIT(q->maxsize);
    Py_VISIT(q->items);
    Py_VISIT(q->finished);
    return Bound_traverse(self, visit, arg);
}

static int
Queue_clear(PyObject *self)
{
    Queue *q = (Queue *)self;
    (void)Bound_clear(self);
    Py_CLEAR(q->putters);
    Py_CLEAR(q->maxsize);
    Py_CLEAR(q->items);
    Py_CLEAR(q->finished);
    return 0;
}

PyDoc_STRVAR(Queue_doc,
             "Queue(maxsize=0)\n--\n\n"
             "First in, first out, between tasks: put() waits while it is full, get() while it is empty.\n\n"
             "maxsize: how many items it holds; <= 0: any number.  A subclass may override _init, _put and _get.\n"
             "Source: asyncio.Queue.  Differs: nothing.");
PyDoc_STRVAR(PriorityQueue_doc,
             "PriorityQueue(maxsize=0)\n--\n\n"
             "A Queue that gives the smallest item first; items are mostly tuples (priority, data).\n\n"
             "Source: asyncio.PriorityQueue.  Differs: nothing.");
PyDoc_STRVAR(LifoQueue_doc, "LifoQueue(maxsize=0)\n--\n\n"
                            "A Queue that gives the latest item first.\n\n"
                            "Source: asyncio.LifoQueue.  Differs: nothing.");

static PyMethodDef Queue_methods[] = {
    {"qsize", Queue_qsize, METH_NOARGS, "qsize($self)\n--\n\nHow many items there are."},
    {"empty", Queue_empty, METH_NOARGS, "empty($self)\n--\n\nTrue if there is no item."},
    {"full", Queue_full, METH_NOARGS, "full($self)\n--\n\nTrue if there are maxsize items; never if maxsize is 0."},
    {"put_nowait", FUTURE_FASTCALL(Queue_put_nowait), METH_FASTCALL | METH_KEYWORDS,
     "put_nowait($self, item)\n--\n\nPut an item in. QueueFull when there is no room."},
    {"get_nowait", Queue_get_nowait, METH_NOARGS,
     "get_nowait($self)\n--\n\nTake an item out. QueueEmpty when there is none."},
    {"task_done", Queue_task_done, METH_NOARGS,
     "task_done($self)\n--\n\nThe work on one item is done: when it is for all, join() ends. ValueError when there "
     "were not so many."},
#if COMPAT_QUEUE_SHUTDOWN
    {"shutdown", FUTURE_FASTCALL(Queue_shutdown), METH_FASTCALL | METH_KEYWORDS,
     "shutdown($self, immediate=False)\n--\n\nput() raises QueueShutDown from now on, and get() when the queue is "
     "empty; immediate empties it."},
#endif
    {"_init", Queue_init_hook, METH_O, NULL},
    {"_put", Queue_put_hook, METH_O, NULL},
    {"_get", Queue_get_hook, METH_NOARGS, NULL},
    {"_wakeup_next", Queue_wakeup_next, METH_O, NULL},
    {"_format", Queue_format, METH_NOARGS, NULL},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "See PEP 585"},
    BOUND_METHODS,
    {NULL},
};

static const struct coro_function queue_functions[] = {
    {"Queue.put", Queue_put, "put(self, item)\n--\n\nPut an item in, waiting for room."},
    {"Queue.get", Queue_get, "get(self)\n--\n\nTake an item out, waiting for one."},
    {"Queue.join", Queue_join, "join(self)\n--\n\nWait until task_done() was called for every item that was put in."},
    {NULL},
};

static const char *const Queue_copied[] = {
    "_maxsize",     "_getters", "_putters", "_unfinished_tasks", "_finished", "_queue",
#if COMPAT_QUEUE_SHUTDOWN
    "_is_shutdown",
#endif
    "?_loop",       NULL,
};

static PyGetSetDef Queue_getset[] = {
    BOUND_GETSET,
    {"_getters", Bound_get_deque, Bound_set_deque, NULL, (void *)offsetof(Bound, waiters)},
    {"_putters", Bound_get_deque, Bound_set_deque, NULL, (void *)offsetof(Queue, putters)},
    {"maxsize", Queue_get_maxsize, NULL, "How many items it holds; <= 0: any number."},
    {"_maxsize", Queue_get_maxsize, Queue_set_maxsize},
    {"_finished", Queue_get_finished, Queue_set_finished},
    {NULL},
};

static PyMemberDef Queue_members[] = {
    BOUND_MEMBERS,
    {"_queue", T_OBJECT_EX, offsetof(Queue, items), 0},
    {"_unfinished_tasks", T_PYSSIZET, offsetof(Queue, n_unfinished), 0},
#if COMPAT_QUEUE_SHUTDOWN
    {"_is_shutdown", T_BOOL, offsetof(Queue, is_shutdown), 0},
#endif
    {NULL},
};

static PyType_Slot Queue_slots[] = {
    {Py_tp_doc, (void *)Queue_doc},   {Py_tp_new, twin_new},          {Py_tp_init, Queue_init},
    {Py_tp_traverse, Queue_traverse}, {Py_tp_clear, Queue_clear},     {Py_tp_dealloc, Bound_dealloc},
    {Py_tp_repr, Queue_repr},         {Py_tp_str, Queue_str},         {Py_tp_methods, Queue_methods},
    {Py_tp_getset, Queue_getset},     {Py_tp_members, Queue_members}, {0, NULL},
};

static PyType_Spec Queue_spec = {
    .name = "asyncloop.Queue",
    .basicsize = sizeof(Queue),
    .flags = BOUND_FLAGS,
    .slots = Queue_slots,
};

static PyMethodDef PriorityQueue_methods[] = {
    {"_init", LifoQueue_init_hook, METH_O, NULL},
    {"_put", PriorityQueue_put_hook, METH_O, NULL},
    {"_get", PriorityQueue_get_hook, METH_NOARGS, NULL},
    {NULL},
};

static PyMethodDef LifoQueue_methods[] = {
    {"_init", LifoQueue_init_hook, METH_O, NULL},
    {"_put", LifoQueue_put_hook, METH_O, NULL},
    {"_get", LifoQueue_get_hook, METH_NOARGS, NULL},
    {NULL},
};

#define QUEUE_SUBTYPE(Type)                                                                                                  \
    static PyType_Slot Type##_slots[] = {                                                                                    \
        {Py_tp_doc, (void *)Type##_doc}, {Py_tp_traverse, Queue_traverse}, {Py_tp_clear, Queue_clear},                       \
        {Py_tp_dealloc, Bound_dealloc},  {Py_tp_methods, Type##_methods},  {0, NULL},                                        \
    };                                                                                                                       \
    static PyType_Spec Type##_spec = {                                                                                       \
        .name = "asyncloop." #Type, .basicsize = sizeof(Queue), .flags = BOUND_FLAGS, .slots = Type##_slots,                 \
    }

QUEUE_SUBTYPE(PriorityQueue);
QUEUE_SUBTYPE(LifoQueue);

static int
queue_register(PyObject *module, struct state *st)
{
    if (future_import(&st->heappush, "heapq", "heappush") < 0 || future_import(&st->heappop, "heapq", "heappop") < 0
        || future_import(&st->QueueEmpty, "asyncio.queues", "QueueEmpty") < 0
        || future_import(&st->QueueFull, "asyncio.queues", "QueueFull") < 0
        || (COMPAT_QUEUE_SHUTDOWN && future_import(&st->QueueShutDown, "asyncio.queues", "QueueShutDown") < 0)) {
        return -1;
    }
    if (state_add_type(module, &st->Queue_type, &Queue_spec, NULL, true, SECTION_AT(Bound, loop)) < 0
        || coro_function_add_to_type(module, st, st->Queue_type, queue_functions) < 0
        || state_add_type(module, &st->PriorityQueue_type, &PriorityQueue_spec, st->Queue_type, true,
                          SECTION_AT(Bound, loop))
               < 0
        || state_add_type(module, &st->LifoQueue_type, &LifoQueue_spec, st->Queue_type, true, SECTION_AT(Bound, loop))
               < 0) {
        return -1;
    }
    return twin_adopt(st, st->Queue_type, TWIN_SYNC, "asyncio.queues", "Queue") < 0
                   || twin_adopt(st, st->PriorityQueue_type, TWIN_SYNC, "asyncio.queues", "PriorityQueue") < 0
                   || twin_adopt(st, st->LifoQueue_type, TWIN_SYNC, "asyncio.queues", "LifoQueue") < 0
                   || twin_add_copying(st, st->Queue_type, Queue_copied) < 0
               ? -1
               : 0;
}
