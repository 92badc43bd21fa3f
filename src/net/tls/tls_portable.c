/* net/tls/tls_portable.c -- the engine that calls the ssl module's objects; and the one that takes its place after the
 * end. */
#include "net/tls/tls_portable.h"

#include "core/ask.h"

#include <string.h>

static Py_ssize_t
tls_portable_outcome(const struct tls_engine *e)
{
    if (PyErr_ExceptionMatches(e->st->SSLWantReadError) || PyErr_ExceptionMatches(e->st->SSLSyscallError)) {
        PyErr_Clear();
        return TLS_AGAIN;
    }
    return TLS_ERROR;
}

static int
tls_portable_feed(struct tls_engine *e, const char *bytes, size_t n_bytes)
{
    PyObject *data = PyBytes_FromStringAndSize(bytes, (Py_ssize_t)n_bytes);
    PyObject *done = data == NULL ? NULL : PyObject_CallMethodOneArg(e->portable.incoming, e->st->str.write, data);
    e->exhausted = false;
    Py_XDECREF(data);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
tls_portable_settle(struct tls_engine *e)
{
    return 0; /* a MemoryBIO has its own copy */
}

static Py_ssize_t
tls_portable_pending(const struct tls_engine *e, PyObject *bio)
{
    PyObject *pending = PyObject_GetAttr(bio, e->st->str.pending);
    Py_ssize_t n = pending == NULL ? -1 : PyLong_AsSsize_t(pending);
    Py_XDECREF(pending);
    return n;
}

static Py_ssize_t
tls_portable_n_fed(struct tls_engine *e)
{
    return e->exhausted ? 0 : tls_portable_pending(e, e->portable.incoming);
}

/* Is there nothing that read() could give, which has given less than it was asked for?  1, 0, -1. */
static int
tls_portable_is_dry(struct tls_engine *e)
{
    Py_ssize_t fed = tls_portable_pending(e, e->portable.incoming);
    if (fed != 0) {
        return fed < 0 ? -1 : 0;
    }
    int is_true = ask_method(e->native, e->st->str.pending);
    return is_true < 0 ? -1 : !is_true;
}

static Py_ssize_t
tls_portable_read(struct tls_engine *e, char *buffer, size_t n_bytes)
{
    if (e->exhausted || e->ended) {
        return e->ended ? TLS_END : TLS_AGAIN;
    }
    PyObject *size = PyLong_FromSize_t(n_bytes);
    PyObject *data = size == NULL ? NULL : PyObject_CallMethodOneArg(e->native, e->st->str.read, size);
    Py_XDECREF(size);
    if (data == NULL && PyErr_ExceptionMatches(e->st->SSLZeroReturnError)) { /* both sides have said goodbye */
        PyErr_Clear();
        e->ended = true;
        return TLS_END;
    }
    if (data == NULL) {
        Py_ssize_t outcome = tls_portable_outcome(e);
        e->exhausted = outcome == TLS_AGAIN;
        return outcome;
    }
    if (!PyBytes_Check(data) || (size_t)PyBytes_GET_SIZE(data) > n_bytes) {
        PyErr_Format(PyExc_TypeError, "read(%zu) of the SSL object returned %R", n_bytes, data);
        Py_DECREF(data);
        return TLS_ERROR;
    }
    Py_ssize_t n = PyBytes_GET_SIZE(data);
    memcpy(buffer, PyBytes_AS_STRING(data), (size_t)n);
    Py_DECREF(data);
    if (n == 0) {
        e->ended = true;
        return TLS_END;
    }
    if ((size_t)n == n_bytes) {
        /* a full buffer says nothing of what is left: asyncio asks again, and so may a BufferedProtocol be asked for a
         * buffer for nothing */
        return n;
    }
    int is_dry = tls_portable_is_dry(e);
    e->exhausted = is_dry > 0;
    return is_dry < 0 ? TLS_ERROR : n;
}

static void
tls_portable_start_writing(struct tls_engine *e, void **shared)
{
}

static void
tls_portable_stop_writing(struct tls_engine *e, void **shared)
{
}

static Py_ssize_t
tls_portable_write(struct tls_engine *e, const char *bytes, size_t n_bytes)
{
    PyObject *data = PyBytes_FromStringAndSize(bytes, (Py_ssize_t)n_bytes);
    PyObject *count = data == NULL ? NULL : PyObject_CallMethodOneArg(e->native, e->st->str.write, data);
    Py_XDECREF(data);
    if (count == NULL) {
        return tls_portable_outcome(e);
    }
    Py_ssize_t n = PyLong_AsSsize_t(count);
    Py_DECREF(count);
    if (n <= 0 || (size_t)n > n_bytes) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "write() of the SSL object returned %zd", n);
        }
        return TLS_ERROR;
    }
    return n;
}

/* All there is, also what was added since it was last asked for. */
static Py_ssize_t
tls_portable_output(struct tls_engine *e, const char **bytes)
{
    Py_ssize_t n = tls_portable_pending(e, e->portable.outgoing);
    if (n < 0) {
        return n;
    }
    if (n > 0) {
        PyObject *more = PyObject_CallMethodNoArgs(e->portable.outgoing, e->st->str.read);
        if (more == NULL) {
            return -1;
        }
        if (e->portable.taken == NULL) {
            e->portable.taken = more;
        }
        else {
            PyBytes_ConcatAndDel(&e->portable.taken, more);
        }
    }
    if (e->portable.taken == NULL) {
        return n > 0 ? -1 : 0;
    }
    *bytes = PyBytes_AS_STRING(e->portable.taken);
    return PyBytes_GET_SIZE(e->portable.taken);
}

static void
tls_portable_drop(struct tls_engine *e)
{
    Py_CLEAR(e->portable.taken);
}

/* Whatever is still to be read has been read or thrown away: unwrap() would take it for an error. */
static int
tls_portable_shutdown(struct tls_engine *e)
{
    PyObject *done = PyObject_CallMethod(e->native, e->native == e->object ? "unwrap" : "shutdown", NULL);
    if (done == NULL) {
        return tls_portable_outcome(e) == TLS_ERROR ? -1 : 0;
    }
    Py_DECREF(done);
    e->ended = true; /* the peer's close_notify was there, or came */
    return 0;
}

static int
tls_closed_feed(struct tls_engine *e, const char *bytes, size_t n_bytes)
{
    return 0;
}

static Py_ssize_t
tls_closed_n_fed(struct tls_engine *e)
{
    return 0;
}

static Py_ssize_t
tls_closed_read(struct tls_engine *e, char *buffer, size_t n_bytes)
{
    return TLS_AGAIN;
}

static Py_ssize_t
tls_closed_write(struct tls_engine *e, const char *bytes, size_t n_bytes)
{
    return TLS_AGAIN;
}

static Py_ssize_t
tls_closed_output(struct tls_engine *e, const char **bytes)
{
    return 0;
}

static void
tls_closed_drop(struct tls_engine *e)
{
}

static void
tls_portable_end(struct tls_engine *e)
{
    static const struct tls_engine_ops closed_ops = {
        .name = "closed",
        .feed = tls_closed_feed,
        .settle = tls_portable_settle,
        .n_fed = tls_closed_n_fed,
        .read = tls_closed_read,
        .start_writing = tls_portable_start_writing,
        .write = tls_closed_write,
        .stop_writing = tls_portable_stop_writing,
        .output = tls_closed_output,
        .drop = tls_closed_drop,
        .shutdown = tls_portable_settle,
        .close = tls_closed_drop,
    };
    PyObject *native = e->native, *object = e->object;
    e->ops = &closed_ops;
    e->exhausted = true;
    e->native = e->object = NULL;
    Py_XDECREF(native);
    Py_XDECREF(object);
}

static void
tls_portable_close(struct tls_engine *e)
{
    Py_CLEAR(e->portable.taken);
    Py_CLEAR(e->portable.incoming);
    Py_CLEAR(e->portable.outgoing);
    tls_portable_end(e);
}

static const struct tls_engine_ops tls_portable_ops = {
    .name = "portable",
    .feed = tls_portable_feed,
    .settle = tls_portable_settle,
    .n_fed = tls_portable_n_fed,
    .read = tls_portable_read,
    .start_writing = tls_portable_start_writing,
    .write = tls_portable_write,
    .stop_writing = tls_portable_stop_writing,
    .output = tls_portable_output,
    .drop = tls_portable_drop,
    .shutdown = tls_portable_shutdown,
    .close = tls_portable_close,
};

static int
tls_portable_open(struct state *st, struct tls_engine *e, PyObject *object, PyObject *incoming, PyObject *outgoing)
{
    PyObject *native = NULL;
    if ((PyObject *)Py_TYPE(object) == st->SSLObject && (native = PyObject_GetAttrString(object, "_sslobj")) == NULL) {
        return -1;
    }
    e->ops = &tls_portable_ops;
    e->st = st;
    e->object = Py_NewRef(object);
    e->native = native != NULL ? native : Py_NewRef(object);
    e->exhausted = true;
    e->portable.incoming = Py_NewRef(incoming);
    e->portable.outgoing = Py_NewRef(outgoing);
    return 0;
}
