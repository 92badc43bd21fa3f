/* net/stream/stream_read.c -- StreamReader's coroutines: read, readline, readuntil, readexactly, `async for`.
 *
 * Each is a Coro (task/coro/coro.h).  Where the bytes are there it returns in its first step: no future, nothing made
 * but the bytes.  Otherwise it waits, once or more, on the reader's waiter; what follows each wait is the same as what
 * follows the start. readline and `async for` are asyncio's readline, which is readuntil with other ends: on a plain
 * reader they share its body, else they await self.readuntil(). */
#include "net/stream/stream_reader.h"

#include "core/args.h"
#include "task/coro/coro.h"
#include "task/coro/coro_function.h"

#define STREAM_UNTIL_TAKES_TUPLE COMPAT_AT_LEAST(3, 13) /* readuntil() of several separators */
#define STREAM_READ_TAKES_BYTES COMPAT_AT_LEAST(3, 15)  /* asyncio uses bytearray.take_bytes(n) there, which has another text for an n that is not an int */

/* phase; CALLED: a method of self that may be overridden was awaited */
enum { STREAM_START, STREAM_WAITED, STREAM_CALLED };
/* flags: the body awaits self._wait_for_data(); slots[0] is an n that is not an int */
enum { STREAM_WAIT_CALLED = 1, STREAM_ODD_NUMBER = 2 };

static PySendResult stream_read_step(Coro *c, struct state *st, PyObject *value, PyObject **result);
static PySendResult stream_readline_step(Coro *c, struct state *st, PyObject *value, PyObject **result);
static PySendResult stream_readuntil_step(Coro *c, struct state *st, PyObject *value, PyObject **result);
static PySendResult stream_readexactly_step(Coro *c, struct state *st, PyObject *value, PyObject **result);
static PySendResult stream_wait_for_data_step(Coro *c, struct state *st, PyObject *value, PyObject **result);

static const struct coro_kind stream_read_kind = {"StreamReader.read", stream_read_step};
static const struct coro_kind stream_readline_kind = {"StreamReader.readline", stream_readline_step};
static const struct coro_kind stream_anext_kind = {"StreamReader.__anext__", stream_readline_step};
static const struct coro_kind stream_readuntil_kind = {"StreamReader.readuntil", stream_readuntil_step};
static const struct coro_kind stream_readexactly_kind = {"StreamReader.readexactly", stream_readexactly_step};
static const struct coro_kind stream_wait_for_data_kind = {"StreamReader._wait_for_data", stream_wait_for_data_step};

/* ---- waiting */

/* Begin to wait on a new waiter.  The step that follows clears it: stream_read_end_wait. */
static PySendResult
stream_read_begin_wait(Coro *c, struct state *st, PyObject *name)
{
    StreamReader *r = (StreamReader *)c->self;
    if (UNLIKELY(r->waiter != NULL)) {
        PyErr_Format(PyExc_RuntimeError, "%S() called while another coroutine is already waiting for incoming data",
                     name);
        return PYGEN_ERROR;
    }
    if (UNLIKELY(r->eof)) {
        PyErr_SetString(PyExc_AssertionError, "_wait_for_data after EOF");
        return PYGEN_ERROR;
    }
    if (UNLIKELY(r->paused && stream_reader_resume(r, st) < 0)) {
        return PYGEN_ERROR;
    }
    if (UNLIKELY(r->loop == NULL)) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized StreamReader object");
        return PYGEN_ERROR;
    }
    PyObject *waiter = future_new_on(st, r->loop);
    if (UNLIKELY(waiter == NULL)) {
        return PYGEN_ERROR;
    }
    Py_XSETREF(r->waiter, Py_NewRef(waiter));
    if (LIKELY(future_is_exact(st, waiter))) {
        return coro_wait(c, waiter);
    }
    PySendResult status = coro_await(c, st, waiter);
    Py_DECREF(waiter);
    if (status == PYGEN_ERROR) {
        Py_CLEAR(r->waiter);
    }
    return status;
}

/* `await self._wait_for_data(name)` */
static inline PySendResult
stream_read_wait(Coro *c, struct state *st, PyObject *name)
{
    c->phase = STREAM_WAITED;
    if (LIKELY(stream_reader_is_plain(st, c->self))) {
        return stream_read_begin_wait(c, st, name);
    }
    c->flags |= STREAM_WAIT_CALLED;
    PyObject *coroutine = PyObject_CallMethodOneArg(c->self, st->str._wait_for_data, name);
    PySendResult status = coroutine == NULL ? PYGEN_ERROR : coro_await(c, st, coroutine);
    Py_XDECREF(coroutine);
    return status;
}

/* The wait is over, well or not. */
static inline void
stream_read_end_wait(Coro *c)
{
    if (LIKELY(!(c->flags & STREAM_WAIT_CALLED))) {
        Py_CLEAR(((StreamReader *)c->self)->waiter);
    }
}

static PySendResult
stream_wait_for_data_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    if (c->phase == STREAM_START) {
        c->phase = STREAM_WAITED;
        return stream_read_begin_wait(c, st, c->slots[0]);
    }
    stream_read_end_wait(c);
    return value == NULL ? PYGEN_ERROR : coro_return(result, Py_None);
}

/* ---- common ends */

/* The first n bytes are the result. */
static inline PySendResult
stream_read_take(Coro *c, struct state *st, size_t n, PyObject **result)
{
    StreamReader *r = (StreamReader *)c->self;
    PyObject *bytes = stream_buffer_take(&r->buffer, n);
    if (UNLIKELY(bytes == NULL)) {
        return PYGEN_ERROR;
    }
    if (UNLIKELY(stream_reader_maybe_resume(r, st) < 0)) {
        Py_DECREF(bytes);
        return PYGEN_ERROR;
    }
    *result = bytes;
    return PYGEN_RETURN;
}

/* The end came too early. The exception gets the bytes that are there. */
static COLD PySendResult
stream_read_raise_incomplete(StreamReader *r, struct state *st, PyObject *expected)
{
    PyObject *partial = stream_buffer_take(&r->buffer, stream_buffer_size(&r->buffer));
    PyObject *exception =
        partial == NULL ? NULL : PyObject_CallFunctionObjArgs(st->IncompleteReadError, partial, expected, NULL);
    Py_XDECREF(partial);
    if (exception != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_DECREF(exception);
    }
    return PYGEN_ERROR;
}

/* ---- read(n) */

/* An n that is no int, as asyncio's code treats it.  0: is it zero, 1: is it negative; -1. */
static int
stream_read_compare_odd(PyObject *n, int operation)
{
    PyObject *zero = PyLong_FromLong(0);
    int is = zero == NULL ? -1 : PyObject_RichCompareBool(n, zero, operation);
    Py_XDECREF(zero);
    return is;
}

static int
stream_read_index(PyObject *n, Py_ssize_t *number)
{
    if (!STREAM_READ_TAKES_BYTES && !PyIndex_Check(n)) {
        PyErr_SetString(PyExc_TypeError, "slice indices must be integers or None or have an __index__ method");
        return -1;
    }
    Py_ssize_t index = PyNumber_AsSsize_t(n, NULL);
    if (index == -1 && PyErr_Occurred()) {
        return -1;
    }
    *number = index;
    return 0;
}

static PySendResult
stream_read_some(Coro *c, struct state *st, PyObject **result)
{
    StreamReader *r = (StreamReader *)c->self;
    Py_ssize_t size, n = c->n;
    if (UNLIKELY(c->flags & STREAM_ODD_NUMBER) && stream_read_index(c->slots[0], &n) < 0) {
        return PYGEN_ERROR;
    }
    size = (Py_ssize_t)stream_buffer_size(&r->buffer);
    if (UNLIKELY(n < 0)) { /* an odd number's own idea of it */
        n = size + n < 0 ? 0 : size + n;
    }
    return stream_read_take(c, st, (size_t)(n < size ? n : size), result);
}

/* ---- read(-1): blocks of the limit's size until one is empty; slots[1] is their list */

static int
stream_read_keep_block(Coro *c, PyObject *block)
{
    if (c->slots[1] == NULL && (c->slots[1] = PyList_New(0)) == NULL) {
        return -1;
    }
    return PyList_Append(c->slots[1], block);
}

static PySendResult
stream_read_join(Coro *c, PyObject **result)
{
    PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
    if (c->slots[1] == NULL || empty == NULL) {
        *result = empty;
    }
    else {
        *result = PyObject_CallMethod(empty, "join", "O", c->slots[1]);
        Py_DECREF(empty);
    }
    return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

static PySendResult
stream_read_all_called(Coro *c, struct state *st)
{
    PyObject *limit = Py_XNewRef(((StreamReader *)c->self)->limit), *coroutine = NULL;
    c->phase = STREAM_CALLED;
    if (limit != NULL) {
        coroutine = PyObject_CallMethodOneArg(c->self, st->str.read, limit);
    }
    else {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized StreamReader object");
    }
    PySendResult status = coroutine == NULL ? PYGEN_ERROR : coro_await(c, st, coroutine);
    Py_XDECREF(limit);
    Py_XDECREF(coroutine);
    return status;
}

/* begin: a block is begun, no wait has ended. */
static PySendResult
stream_read_all(Coro *c, struct state *st, bool begin, PyObject **result)
{
    StreamReader *r = (StreamReader *)c->self;
    for (;; begin = true) {
        if (begin && !stream_reader_is_plain(st, c->self)) {
            return stream_read_all_called(c, st);
        }
        if (begin && r->exception != NULL) {
            stream_raise(r->exception);
            return PYGEN_ERROR;
        }
        if (r->low_bytes == 0) {
            return stream_read_join(c, result);
        }
        Py_ssize_t size = (Py_ssize_t)stream_buffer_size(&r->buffer);
        if (begin && size == 0 && !r->eof) {
            return stream_read_wait(c, st, st->str.read);
        }
        size = r->low_bytes > 0 && size > r->low_bytes ? r->low_bytes : size;
        PyObject *block = NULL;
        if (stream_read_take(c, st, (size_t)size, &block) == PYGEN_ERROR) {
            return PYGEN_ERROR;
        }
        int rc = size == 0 ? 0 : stream_read_keep_block(c, block);
        Py_DECREF(block);
        if (rc < 0) {
            return PYGEN_ERROR;
        }
        if (size == 0) {
            return stream_read_join(c, result);
        }
    }
}

static PySendResult
stream_read_on_block(Coro *c, struct state *st, PyObject *block, PyObject **result)
{
    int is_true = block == NULL ? -1 : PyObject_IsTrue(block);
    if (is_true <= 0) {
        return is_true < 0 ? PYGEN_ERROR : stream_read_join(c, result);
    }
    return stream_read_keep_block(c, block) < 0 ? PYGEN_ERROR : stream_read_all(c, st, true, result);
}

static inline PySendResult
stream_read_begin(Coro *c, struct state *st, PyObject **result)
{
    StreamReader *r = (StreamReader *)c->self;
    bool is_zero = c->n == 0, is_all = c->n < 0;
    if (UNLIKELY(r->exception != NULL)) {
        stream_raise(r->exception);
        return PYGEN_ERROR;
    }
    if (UNLIKELY(c->flags & STREAM_ODD_NUMBER)) {
        int zero = stream_read_compare_odd(c->slots[0], Py_EQ),
            negative = zero < 0 ? -1 : stream_read_compare_odd(c->slots[0], Py_LT);
        if (negative < 0) {
            return PYGEN_ERROR;
        }
        is_zero = zero;
        is_all = negative;
        c->n = is_all ? -1 : 1;
    }
    if (UNLIKELY(is_zero)) {
        *result = PyBytes_FromStringAndSize(NULL, 0);
        return PYGEN_RETURN;
    }
    if (is_all) {
        return stream_read_all(c, st, true, result);
    }
    if (stream_buffer_size(&r->buffer) == 0 && !r->eof) {
        return stream_read_wait(c, st, st->str.read);
    }
    return stream_read_some(c, st, result);
}

static PySendResult
stream_read_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    switch (c->phase) {
    case STREAM_START:
        return stream_read_begin(c, st, result);
    case STREAM_CALLED:
        return stream_read_on_block(c, st, value, result);
    default:
        stream_read_end_wait(c);
        return UNLIKELY(value == NULL) ? PYGEN_ERROR
               : c->n < 0              ? stream_read_all(c, st, false, result)
                                       : stream_read_some(c, st, result);
    }
}

/* ---- readexactly(n) */

static PySendResult
stream_readexactly_go(Coro *c, struct state *st, PyObject **result)
{
    StreamReader *r = (StreamReader *)c->self;
    if (LIKELY((Py_ssize_t)stream_buffer_size(&r->buffer) >= c->n)) {
        return stream_read_take(c, st, (size_t)c->n, result);
    }
    if (UNLIKELY(r->eof)) {
        PyObject *expected = PyLong_FromSsize_t(c->n);
        if (expected != NULL) {
            stream_read_raise_incomplete(r, st, expected);
            Py_DECREF(expected);
        }
        return PYGEN_ERROR;
    }
    return stream_read_wait(c, st, st->str.readexactly);
}

static PySendResult
stream_readexactly_begin(Coro *c, struct state *st, PyObject **result)
{
    StreamReader *r = (StreamReader *)c->self;
    bool is_odd = c->flags & STREAM_ODD_NUMBER;
    int is_negative = UNLIKELY(is_odd) ? stream_read_compare_odd(c->slots[0], Py_LT) : c->n < 0;
    if (UNLIKELY(is_negative != 0)) {
        if (is_negative > 0) {
            PyErr_SetString(PyExc_ValueError, "readexactly size can not be less than zero");
        }
        return PYGEN_ERROR;
    }
    if (UNLIKELY(r->exception != NULL)) {
        stream_raise(r->exception);
        return PYGEN_ERROR;
    }
    int is_zero = UNLIKELY(is_odd) ? stream_read_compare_odd(c->slots[0], Py_EQ) : c->n == 0;
    if (UNLIKELY(is_zero != 0)) {
        *result = is_zero < 0 ? NULL : PyBytes_FromStringAndSize(NULL, 0);
        return is_zero < 0 ? PYGEN_ERROR : PYGEN_RETURN;
    }
    if (UNLIKELY(is_odd) && stream_read_index(c->slots[0], &c->n) < 0) {
        return PYGEN_ERROR;
    }
    return stream_readexactly_go(c, st, result);
}

static PySendResult
stream_readexactly_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    if (c->phase == STREAM_START) {
        return stream_readexactly_begin(c, st, result);
    }
    stream_read_end_wait(c);
    return UNLIKELY(value == NULL) ? PYGEN_ERROR : stream_readexactly_go(c, st, result);
}

/* ---- readuntil(separator): slots[0] is a bytes object, or a tuple of separators with the shortest first; n the offset
 * searched so far */

struct stream_match {
    Py_ssize_t start, end; /* end < 0: none */
    Py_ssize_t shortest, longest; /* of the separators */
};

/* len() of the first and last separator. */
static int
stream_until_measure(PyObject *separators, struct stream_match *m)
{
    if (LIKELY(PyBytes_CheckExact(separators))) {
        m->shortest = m->longest = PyBytes_GET_SIZE(separators);
        return 0;
    }
    Py_ssize_t n = PyTuple_GET_SIZE(separators);
    m->shortest = PyObject_Size(PyTuple_GET_ITEM(separators, 0));
    m->longest = m->shortest < 0 ? -1 : PyObject_Size(PyTuple_GET_ITEM(separators, n - 1));
    return m->longest < 0 ? -1 : 0;
}

/* A separator that is not a bytes object, alone or one of several. */
static int
stream_until_search_one(StreamReader *r, PyObject *separator, Py_ssize_t from, struct stream_match *m)
{
    Py_buffer view;
    Py_ssize_t n = PyObject_Size(separator);
    if (n < 0) {
        return -1;
    }
    if (PyObject_GetBuffer(separator, &view, PyBUF_SIMPLE) < 0) {
        PyErr_Format(PyExc_TypeError, "argument should be integer or bytes-like object, not '%.200s'",
                     Py_TYPE(separator)->tp_name);
        return -1;
    }
    Py_ssize_t start = stream_buffer_find(&r->buffer, view.buf, (size_t)view.len, (size_t)from);
    PyBuffer_Release(&view);
    if (start >= 0 && (m->end < 0 || start + n < m->end)) {
        m->start = start;
        m->end = start + n;
    }
    return 0;
}

static inline int
stream_until_search(StreamReader *r, PyObject *separators, Py_ssize_t from, struct stream_match *m)
{
    m->end = -1;
    if (LIKELY(PyBytes_CheckExact(separators))) {
        m->start = stream_buffer_find(&r->buffer, PyBytes_AS_STRING(separators), (size_t)m->longest, (size_t)from);
        m->end = m->start < 0 ? -1 : m->start + m->longest;
        return 0;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(separators); i++) {
        if (stream_until_search_one(r, PyTuple_GET_ITEM(separators, i), from, m) < 0) {
            return -1;
        }
    }
    return 0;
}

static COLD PyObject *
stream_until_make_overrun(struct state *st, const char *message, Py_ssize_t consumed)
{
    return PyObject_CallFunction(st->LimitOverrunError, "sn", message, consumed);
}

/* readline() beyond the limit: the line goes, or all that came of it; ValueError, in the context of the
 * LimitOverrunError (stolen). */
static COLD PySendResult
stream_readline_overrun(Coro *c, struct state *st, PyObject *overrun)
{
    StreamReader *r = (StreamReader *)c->self;
    PyObject *consumed = PyObject_GetAttrString(overrun, "consumed"), *args = PyObject_GetAttrString(overrun, "args"),
             *error = NULL;
    PyObject *message = args == NULL ? NULL : PySequence_GetItem(args, 0);
    Py_ssize_t n = consumed == NULL || message == NULL ? -1 : PyNumber_AsSsize_t(consumed, NULL);
    if (message != NULL && !PyErr_Occurred()) {
        Py_ssize_t size = (Py_ssize_t)stream_buffer_size(&r->buffer);
        bool is_line = n >= 0 && n < size && stream_buffer_bytes(&r->buffer)[n] == '\n';
        if (stream_buffer_drop(&r->buffer, (size_t)(is_line ? n + 1 : size)) == 0
            && stream_reader_maybe_resume(r, st) == 0) {
            error = PyObject_CallOneArg(PyExc_ValueError, message);
        }
    }
    Py_XDECREF(consumed);
    Py_XDECREF(args);
    Py_XDECREF(message);
    if (error == NULL) {
        Py_DECREF(overrun);
        return PYGEN_ERROR;
    }
    PyException_SetContext(error, overrun);
    compat_set_raised(error);
    return PYGEN_ERROR;
}

static COLD PySendResult
stream_until_overrun(Coro *c, struct state *st, const char *message, Py_ssize_t consumed)
{
    PyObject *overrun = stream_until_make_overrun(st, message, consumed);
    if (overrun == NULL) {
        return PYGEN_ERROR;
    }
    if (c->kind != &stream_readuntil_kind) {
        return stream_readline_overrun(c, st, overrun);
    }
    PyErr_SetObject((PyObject *)Py_TYPE(overrun), overrun);
    Py_DECREF(overrun);
    return PYGEN_ERROR;
}

/* The end, and no separator. */
static COLD PySendResult
stream_until_incomplete(Coro *c, struct state *st, PyObject **result)
{
    StreamReader *r = (StreamReader *)c->self;
    if (c->kind == &stream_readuntil_kind) {
        return stream_read_raise_incomplete(r, st, Py_None);
    }
    size_t size = stream_buffer_size(&r->buffer);
    if (size == 0 && c->kind == &stream_anext_kind) {
        PyErr_SetNone(PyExc_StopAsyncIteration);
        return PYGEN_ERROR;
    }
    *result = stream_buffer_take(&r->buffer, size);
    return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

static PySendResult
stream_until_go(Coro *c, struct state *st, PyObject **result)
{
    StreamReader *r = (StreamReader *)c->self;
    struct stream_match m = {-1, -1, 0, 0};
    if (UNLIKELY(stream_until_measure(c->slots[0], &m) < 0)) {
        return PYGEN_ERROR;
    }
    Py_ssize_t size = (Py_ssize_t)stream_buffer_size(&r->buffer);
    if (size - c->n >= m.shortest) {
        if (UNLIKELY(stream_until_search(r, c->slots[0], c->n, &m) < 0)) {
            return PYGEN_ERROR;
        }
        if (LIKELY(m.end >= 0)) {
            if (UNLIKELY(m.start > r->low_bytes)) {
                return stream_until_overrun(c, st, "Separator is found, but chunk is longer than limit", m.start);
            }
            return stream_read_take(c, st, (size_t)m.end, result);
        }
        c->n = size + 1 - m.longest < 0 ? 0 : size + 1 - m.longest; /* a separator may have come in part */
        if (UNLIKELY(c->n > r->low_bytes)) {
            return stream_until_overrun(c, st, "Separator is not found, and chunk exceed the limit", c->n);
        }
    }
    return UNLIKELY(r->eof) ? stream_until_incomplete(c, st, result) : stream_read_wait(c, st, st->str.readuntil);
}

/* Separators in order of length, as sorted(key=len). New reference to a tuple. */
static PyObject *
stream_until_sort(PyObject *separators)
{
    PyObject *builtins = PyImport_ImportModule("builtins"), *list = PySequence_List(separators), *names = NULL,
             *sort = NULL, *done = NULL;
    PyObject *len = builtins == NULL ? NULL : PyObject_GetAttrString(builtins, "len"), *sorted = NULL;
    if (list != NULL && len != NULL && (names = Py_BuildValue("{s:O}", "key", len)) != NULL
        && (sort = PyObject_GetAttrString(list, "sort")) != NULL) {
        PyObject *none = PyTuple_New(0);
        done = none == NULL ? NULL : PyObject_Call(sort, none, names);
        Py_XDECREF(none);
        sorted = done == NULL ? NULL : PyList_AsTuple(list);
    }
    Py_XDECREF(builtins);
    Py_XDECREF(list);
    Py_XDECREF(len);
    Py_XDECREF(names);
    Py_XDECREF(sort);
    Py_XDECREF(done);
    return sorted;
}

static COLD int
stream_until_prepare(Coro *c)
{
    PyObject *separators = STREAM_UNTIL_TAKES_TUPLE && PyTuple_Check(c->slots[0]) ? stream_until_sort(c->slots[0])
                                                                                  : PyTuple_Pack(1, c->slots[0]);
    if (separators == NULL) {
        return -1;
    }
    Py_SETREF(c->slots[0], separators);
    if (PyTuple_GET_SIZE(separators) == 0) {
        PyErr_SetString(PyExc_ValueError, "Separator should contain at least one element");
        return -1;
    }
    return 0;
}

static PySendResult
stream_until_begin(Coro *c, struct state *st, PyObject **result)
{
    StreamReader *r = (StreamReader *)c->self;
    struct stream_match m;
    if ((UNLIKELY(!PyBytes_CheckExact(c->slots[0])) && stream_until_prepare(c) < 0)
        || stream_until_measure(c->slots[0], &m) < 0) {
        return PYGEN_ERROR;
    }
    if (UNLIKELY(m.shortest == 0)) {
        PyErr_SetString(PyExc_ValueError, "Separator should be at least one-byte string");
        return PYGEN_ERROR;
    }
    if (UNLIKELY(r->exception != NULL)) {
        stream_raise(r->exception);
        return PYGEN_ERROR;
    }
    return stream_until_go(c, st, result);
}

static PySendResult
stream_readuntil_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    if (c->phase == STREAM_START) {
        return stream_until_begin(c, st, result);
    }
    stream_read_end_wait(c);
    return UNLIKELY(value == NULL) ? PYGEN_ERROR : stream_until_go(c, st, result);
}

/* ---- readline() and __anext__() */

/* Of a reader that may have its own readuntil(), or readline(). */
static PySendResult
stream_readline_call(Coro *c, struct state *st)
{
    c->phase = STREAM_CALLED;
    PyObject *coroutine = c->kind == &stream_anext_kind
                              ? PyObject_CallMethodNoArgs(c->self, st->str.readline)
                              : PyObject_CallMethodOneArg(c->self, st->str.readuntil, st->stream_newline);
    PySendResult status = coroutine == NULL ? PYGEN_ERROR : coro_await(c, st, coroutine);
    Py_XDECREF(coroutine);
    return status;
}

static PySendResult
stream_readline_on_called(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    if (c->kind == &stream_anext_kind) {
        bool is_empty = value != NULL && PyBytes_Check(value) && PyBytes_GET_SIZE(value) == 0;
        if (is_empty) {
            PyErr_SetNone(PyExc_StopAsyncIteration);
        }
        return value == NULL || is_empty ? PYGEN_ERROR : coro_return(result, value);
    }
    if (value != NULL) {
        return coro_return(result, value);
    }
    if (PyErr_ExceptionMatches(st->IncompleteReadError)) {
        PyObject *exception = compat_take_raised();
        *result = PyObject_GetAttrString(exception, "partial");
        Py_DECREF(exception);
        return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
    }
    return PyErr_ExceptionMatches(st->LimitOverrunError) ? stream_readline_overrun(c, st, compat_take_raised())
                                                         : PYGEN_ERROR;
}

static PySendResult
stream_readline_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    switch (c->phase) {
    case STREAM_START:
        if (UNLIKELY(!stream_reader_is_plain(st, c->self))) {
            return stream_readline_call(c, st);
        }
        c->slots[0] = Py_NewRef(st->stream_newline);
        return stream_until_begin(c, st, result);
    case STREAM_CALLED:
        return stream_readline_on_called(c, st, value, result);
    default:
        stream_read_end_wait(c);
        return UNLIKELY(value == NULL) ? PYGEN_ERROR : stream_until_go(c, st, result);
    }
}

/* ---- methods */

/* One optional or required argument. Borrowed; NULL with the exception set, or NULL when it was not given. */
static inline PyObject *
stream_read_argument(const struct args_signature *signature, PyObject *const *args, Py_ssize_t n_args,
                     PyObject *kwnames)
{
    PyObject *value = NULL;
    if (LIKELY(n_args == 1 && kwnames == NULL)) {
        return args[0];
    }
    return args_bind(signature, args, n_args, kwnames, &value) < 0 ? NULL : value;
}

/* A coroutine with a number of bytes, -1 when it was not given. */
static PyObject *
stream_read_with_number(PyObject *self, const struct coro_kind *kind, PyObject *n)
{
    if (n == NULL && PyErr_Occurred()) {
        return NULL;
    }
    Coro *c = coro_new(state_of(self), kind, self);
    if (c == NULL) {
        return NULL;
    }
    if (n == NULL) {
        c->n = -1;
    }
    else if (LIKELY(PyLong_Check(n))) {
        c->n = PyNumber_AsSsize_t(n, NULL); /* the nearest that fits */
    }
    else {
        c->slots[0] = Py_NewRef(n);
        c->flags = STREAM_ODD_NUMBER;
    }
    return (PyObject *)c;
}

static PyObject *
StreamReader_read(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"n"};
    static const struct args_signature signature = {"StreamReader.read", names, 0, 1, 1, true};
    return stream_read_with_number(self, &stream_read_kind, stream_read_argument(&signature, args, n_args, kwnames));
}

static PyObject *
StreamReader_readexactly(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"n"};
    static const struct args_signature signature = {"StreamReader.readexactly", names, 1, 1, 1, true};
    return stream_read_with_number(self, &stream_readexactly_kind,
                                   stream_read_argument(&signature, args, n_args, kwnames));
}

static PyObject *
stream_read_with_object(PyObject *self, const struct coro_kind *kind, PyObject *object)
{
    if (object == NULL && PyErr_Occurred()) {
        return NULL;
    }
    struct state *st = state_of(self);
    Coro *c = coro_new(st, kind, self);
    if (c != NULL) {
        c->slots[0] = Py_NewRef(object == NULL ? st->stream_newline : object);
    }
    return (PyObject *)c;
}

static PyObject *
StreamReader_readuntil(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"separator"};
    static const struct args_signature signature = {"StreamReader.readuntil", names, 0, 1, 1, true};
    return stream_read_with_object(self, &stream_readuntil_kind,
                                   stream_read_argument(&signature, args, n_args, kwnames));
}

static PyObject *
StreamReader__wait_for_data(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"func_name"};
    static const struct args_signature signature = {"StreamReader._wait_for_data", names, 1, 1, 1, true};
    return stream_read_with_object(self, &stream_wait_for_data_kind,
                                   stream_read_argument(&signature, args, n_args, kwnames));
}

static PyObject *
StreamReader_readline(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const struct args_signature signature = {"StreamReader.readline", NULL, 0, 0, 0, true};
    if (UNLIKELY(n_args > 0 || kwnames != NULL) && args_bind(&signature, args, n_args, kwnames, NULL) < 0) {
        return NULL;
    }
    return (PyObject *)coro_new(state_of(self), &stream_readline_kind, self);
}

static PyObject *
StreamReader_anext(PyObject *self)
{
    return (PyObject *)coro_new(state_of(self), &stream_anext_kind, self);
}

static const struct coro_function stream_read_functions[] = {
    {"StreamReader.read", StreamReader_read,
     "read($self, n=-1)\n--\n\n"
     "Read up to n bytes, at least one unless the end has come; all until the end when n is negative.\n\n"
     "Returns: bytes; b'' at the end.  Raises: what set_exception() was given.  Source: asyncio.StreamReader."},
    {"StreamReader.readline", StreamReader_readline,
     "readline($self)\n--\n\n"
     "Read a line, its newline included; at the end what is left.\n\n"
     "Returns: bytes.  Raises: ValueError (a line longer than the limit).  Source: asyncio.StreamReader."},
    {"StreamReader.readuntil", StreamReader_readuntil,
     "readuntil($self, separator=b'\\n')\n--\n\n"
     "Read until separator has come, and with it.\n\n"
     "separator: bytes; from 3.13 on also a tuple of them, then the shortest result wins.\n"
     "Returns: bytes.  Raises: IncompleteReadError, LimitOverrunError, ValueError.  Source: asyncio.StreamReader."},
    {"StreamReader.readexactly", StreamReader_readexactly,
     "readexactly($self, n)\n--\n\n"
     "Read n bytes, no fewer.\n\n"
     "Returns: bytes.  Raises: IncompleteReadError, ValueError.  Source: asyncio.StreamReader."},
    {"StreamReader._wait_for_data", StreamReader__wait_for_data,
     "_wait_for_data($self, func_name)\n--\n\nWait for bytes, the end or an exception; for subclasses."},
    {NULL},
};

static int
stream_read_register(PyObject *module, struct state *st)
{
    if ((st->stream_newline = PyBytes_FromStringAndSize("\n", 1)) == NULL) {
        return -1;
    }
    return coro_function_add_to_type(module, st, st->StreamReader_type, stream_read_functions);
}
