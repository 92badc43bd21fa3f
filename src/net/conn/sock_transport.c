/* net/conn/sock_transport.c -- what the loop calls when the socket is readable or writable, and the first entry of a
 * connection. */
#include "net/conn/sock_transport.h"

#include "core/context.h"
#include "core/deferred.h"
#include "core/handle.h"
#include "core/log.h"
#include "core/raise.h"
#include "core/watch.h"
#include "net/conn/fdtable.h"

#include <limits.h>
#include <string.h>

#define SOCK_HEAR_NAME "_SelectorTransport._add_reader" /* asyncio's callback that sock_on_hear stands for */

/* ---- reading */

/* What a read may come to, besides a number of bytes, 0 (the peer's end) and -errno. */
enum { SOCK_READ_RAISED = INT_MIN }; /* an exception is set: there was no memory */

static int
sock_on_eof(Transport *t)
{
    if (t->loop->debug && log_line(t->loop->st, "debug", "(sO)", "%r received EOF", t) < 0) {
        return -1;
    }
    int keep_open = protocol_call_eof_received(t->loop->st, &t->protocol);
    if (keep_open < 0) {
        return transport_fatal_error(t, "Fatal error: protocol.eof_received() call failed.");
    }
    if (keep_open) {
        transport_stop_reading(t); /* no more can come, but the protocol may go on writing */
        return 0;
    }
    return transport_close(t);
}

/* A read that brought nothing: not ready after all, the end, or an error. */
static COLD int
sock_on_no_data(Transport *t, ssize_t n)
{
    enum { SOCK_PATIENT_CONNECTIONS = 31 };
    Loop *loop = t->loop;
    if (n == SOCK_READ_RAISED) {
        return transport_fatal_error(t, "Fatal read error on socket transport");
    }
    if (n < 0 && sock_would_block(n)) {
        if (t->reads_first) {
            loop->net->patient_connections = SOCK_PATIENT_CONNECTIONS;
        }
        return 0;
    }
    loop_leave_task(loop);
    if (context_enter(loop, &t->context) < 0) {
        return -1;
    }
    int rc;
    if (n == 0) {
        rc = sock_on_eof(t);
    }
    else {
        raise_errno((int)n);
        rc = transport_fatal_error(t, "Fatal read error on socket transport");
    }
    context_leave(loop, &t->context);
    return rc;
}

/* Fit the size of the next read to this one: up at once, down slowly. */
static inline void
sock_adapt_read_size(Transport *t, size_t n)
{
    if (n >= t->read_size) {
        t->read_size = n * 2 < SOCK_READ_MAX ? (uint32_t)(n * 2) : SOCK_READ_MAX;
    }
    else if (n < t->read_size / 4 && t->read_size > SOCK_READ_SMALL) {
        t->read_size /= 2;
    }
}

/* Through the loop's buffer: whatever the size, one system call, and the bytes object is made in its final size. */
static ssize_t
sock_read_small(Transport *t, PyObject **data)
{
    char *buffer = loop_read_buffer(t->loop);
    if (UNLIKELY(buffer == NULL)) {
        return SOCK_READ_RAISED;
    }
    ssize_t n = sock_recv(t->fd, buffer, SOCK_READ_MAX);
    if (n > 0 && UNLIKELY((*data = PyBytes_FromStringAndSize(buffer, n)) == NULL)) {
        return SOCK_READ_RAISED;
    }
    return n;
}

/* The bytes object is full: what else is there, up to asyncio's most.  The sum; what cannot be read now comes with the
 * next event. */
static COLD ssize_t
sock_read_rest(Transport *t, PyObject **data, ssize_t n)
{
    char *buffer = loop_read_buffer(t->loop);
    ssize_t more = buffer == NULL ? 0 : sock_recv(t->fd, buffer, SOCK_READ_MAX - (size_t)n);
    PyErr_Clear();
    if (more <= 0) {
        return n;
    }
    if (_PyBytes_Resize(data, n + more) < 0) {
        return SOCK_READ_RAISED;
    }
    memcpy(PyBytes_AS_STRING(*data) + n, buffer, (size_t)more);
    return n + more;
}

/* Straight into the bytes object, which is shrunk in place: a large copy saved. */
static ssize_t
sock_read_large(Transport *t, PyObject **data)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, t->read_size);
    if (bytes == NULL) {
        return SOCK_READ_RAISED;
    }
    ssize_t n = sock_recv(t->fd, PyBytes_AS_STRING(bytes), t->read_size);
    if (n <= 0) {
        Py_DECREF(bytes);
        return n;
    }
    if ((size_t)n < t->read_size) {
        n = _PyBytes_Resize(&bytes, n) < 0 ? SOCK_READ_RAISED : n;
    }
    else if (n < SOCK_READ_MAX) {
        n = sock_read_rest(t, &bytes, n);
    }
    *data = bytes;
    return n;
}

static int
sock_read_data(Transport *t)
{
    Loop *loop = t->loop;
    PyObject *data;
    ssize_t n = t->read_size <= SOCK_READ_SMALL ? sock_read_small(t, &data) : sock_read_large(t, &data);
    if (UNLIKELY(n <= 0)) {
        return sock_on_no_data(t, n);
    }
    loop->net->bytes_in += (size_t)n;
    sock_adapt_read_size(t, (size_t)n);
    loop_leave_task(loop);
    if (UNLIKELY(context_enter(loop, &t->context) < 0)) {
        Py_DECREF(data);
        return -1;
    }
    int rc = protocol_call_data_received(loop->st, &t->protocol, data);
    Py_DECREF(data);
    if (UNLIKELY(rc < 0)) {
        rc = transport_fatal_error(t, "Fatal error: protocol.data_received() call failed.");
    }
    context_leave(loop, &t->context);
    return rc;
}

/* To a protocol in C.  While it has the bytes it may run any code, which may read other descriptors: the buffer is not
 * the loop's meanwhile. */
static int
sock_read_to_sink(Transport *t)
{
    Loop *loop = t->loop;
    char *buffer = loop_read_buffer(loop);
    if (UNLIKELY(buffer == NULL)) {
        return transport_fatal_error(t, "Fatal read error on socket transport");
    }
    ssize_t n = sock_recv(t->fd, buffer, SOCK_READ_MAX);
    if (UNLIKELY(n <= 0)) {
        return sock_on_no_data(t, n);
    }
    loop->net->bytes_in += (size_t)n;
    const char *report = t->protocol.sink->report;
    int rc = protocol_try_bytes(&t->protocol, buffer, (size_t)n);
    if (LIKELY(rc > 0)) {
        return 0;
    }
    if (UNLIKELY(rc < 0)) {
        return transport_fatal_error(t, report);
    }
    loop_leave_task(loop);
    if (UNLIKELY(context_enter(loop, &t->context) < 0)) {
        return -1;
    }
    loop->read_buffer = NULL;
    rc = protocol_call_on_bytes(&t->protocol, buffer, (size_t)n);
    loop_return_read_buffer(loop, buffer);
    if (UNLIKELY(rc < 0)) {
        rc = transport_fatal_error(t, report);
    }
    context_leave(loop, &t->context);
    return rc;
}

static int
sock_read_into_buffer(Transport *t)
{
    Loop *loop = t->loop;
    Py_buffer view;
    int rc = 0;
    loop_leave_task(loop);
    if (context_enter(loop, &t->context) < 0) {
        return -1;
    }
    if (protocol_call_get_buffer(loop->st, &t->protocol, -1, &view) < 0) {
        rc = transport_fatal_error(t, "Fatal error: protocol.get_buffer() call failed.");
        context_leave(loop, &t->context);
        return rc;
    }
    /* get_buffer may have paused, closed or aborted: asyncio reads all the same, but never from a descriptor that is
     * gone */
    ssize_t n = t->fd < 0 ? -EBADF : sock_recv(t->fd, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    loop->net->bytes_in += n > 0 ? (size_t)n : 0;
    if (n > 0 && protocol_call_buffer_updated(loop->st, &t->protocol, n) < 0) {
        rc = transport_fatal_error(t, "Fatal error: protocol.buffer_updated() call failed.");
    }
    context_leave(loop, &t->context);
    return n > 0 ? rc : sock_on_no_data(t, n);
}

static int
sock_on_readable(Loop *loop, PyObject *self, PyObject *arg)
{
    Transport *t = (Transport *)self;
    if (UNLIKELY(!t->read_watched || t->n_lost > 0)) {
        return 0; /* paused or closed after the event was seen */
    }
    if (UNLIKELY(transport_check_fd(t) < 0)) {
        return transport_fatal_error(t, "Fatal read error on socket transport");
    }
    if (t->protocol.sink != NULL) {
        return sock_read_to_sink(t);
    }
    return t->protocol.is_buffered ? sock_read_into_buffer(t) : sock_read_data(t);
}

/* Is reading on, and the poller does not know of it yet? */
static inline bool
sock_is_unwatched(Transport *t)
{
    return t->read_watched && t->n_lost == 0
           && watch_owner_borrowed(t->loop, t->fd, WATCH_READ, sock_on_readable) != (PyObject *)t;
}

/* Ready entry: the first read of an accepted connection, in the pass in which the poller would first report it.  Who
 * connects to a server mostly speaks first, and what was said is here by now; a connection that ends with this read
 * costs the poller nothing. */
static int
sock_on_first_read(Loop *loop, PyObject *self, PyObject *arg)
{
    Transport *t = (Transport *)self;
    int rc = sock_is_unwatched(t) ? sock_on_readable(loop, self, arg) : 0;
    PyObject *raised = compat_take_raised(); /* reading goes on even when the loop is left */
    t->reads_first = false;
    if (sock_is_unwatched(t) && transport_start_reading(t) < 0
        && transport_fatal_error(t, "Fatal read error on socket transport") < 0) {
        rc = -1;
    }
    if (raised != NULL) {
        compat_set_raised(raised);
    }
    return rc;
}

/* The first time; resume_reading() asks the poller.  Where a first read found nothing the next connections ask the
 * poller too. */
static int
sock_start_reading(Transport *t)
{
    Loop *loop = t->loop;
    /* get_buffer() is not to be called for nothing */
    if (t->reads_first && loop->net->patient_connections == 0 && !t->protocol.is_buffered) {
        t->read_watched = true;
        return loop_ready_push(loop, sock_on_first_read, (PyObject *)t, NULL);
    }
    if (t->reads_first) {
        loop->net->patient_connections -= loop->net->patient_connections > 0;
        t->reads_first = false;
    }
    return transport_start_reading(t);
}

/* ---- writing when there is room again */

/* The queue has run empty. */
static int
sock_on_drained(Transport *t)
{
    transport_stop_writing_watch(t);
    transport_settle_empty_waiter(t, NULL);
    if (t->closing && t->n_lost == 0) {
        t->n_lost++;
        return transport_lose(t, Py_None, false);
    }
    if (t->eof_sent && t->n_lost == 0) {
        int rc = sock_shutdown_write(t->fd);
        loop_poll_soon(t->loop);
        if (rc < 0) {
            raise_errno(rc);
            return transport_fatal_error(t, "Fatal write error on socket transport");
        }
    }
    return 0;
}

static int
sock_on_writable(Loop *loop, PyObject *self, PyObject *arg)
{
    Transport *t = (Transport *)self;
    if (!t->write_watched || t->n_lost > 0) {
        return 0;
    }
    loop_leave_task(loop);
    if (context_enter(loop, &t->context) < 0) {
        return -1;
    }
    int rc = transport_check_fd(t) < 0 ? -1 : transport_send_out(t);
    if (rc < 0) {
        if (!PyErr_Occurred()) {
            raise_errno(rc);
        }
        rc = transport_send_failed(t);
    }
    else {
        rc = t->out.n == 0 ? transport_ask_sink(t) : 0;
        if (rc == 0) {
            rc = transport_maybe_resume_protocol(t, t->out.n_bytes); /* may queue more */
        }
    }
    context_leave(loop, &t->context);
    return rc == 0 && t->write_watched && t->out.n == 0 ? sock_on_drained(t) : rc;
}

/* ---- the first entry */

/* Begin to read. Ready entry too, where connection_made is one of its own. */
static int
sock_on_hear(Loop *loop, PyObject *self, PyObject *Py_UNUSED(arg))
{
    Transport *t = (Transport *)self;
    if (!transport_is_reading(t) || t->read_watched) {
        return 0;
    }
    if (UNLIKELY(t->fd < 0)) { /* of a socket that was closed: asyncio's transport goes on without being told */
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %d", t->fd);
        return deferred_report(loop, sock_on_hear, self, NULL, SOCK_HEAR_NAME, NULL, 0);
    }
    return sock_start_reading(t) < 0 ? transport_fatal_error(t, "Fatal read error on socket transport") : 0;
}

static int
sock_transport_on_start(Loop *loop, PyObject *self, PyObject *waiter)
{
    return transport_start(loop, self, sock_on_hear, waiter);
}

static int
sock_start_soon(Transport *t, PyObject *waiter)
{
    if (LIKELY(!(t->loop->overrides & LOOP_OWN_CALL_SOON))) {
        return loop_ready_push(t->loop, sock_transport_on_start, (PyObject *)t, waiter);
    }
    return transport_start_by_name(t, sock_on_hear, SOCK_HEAR_NAME, waiter);
}

static Transport *
sock_transport_open(Loop *loop, int fd, PyObject *sock, PyObject *protocol, PyObject *context, PyObject *waiter)
{
    if (protocol_check(loop->st, protocol) < 0) {
        Py_XDECREF(context);
        return NULL;
    }
    static const struct transport_ops ops = {sock_on_readable, sock_on_writable, "socket.send() raised exception.",
                                             "_SelectorSocketTransport._call_connection_lost"};
    Transport *t = transport_new(loop->st->Transport_type, loop, &ops, fd, sock, protocol, context);
    if (t == NULL) {
        return NULL;
    }
    t->read_size = SOCK_READ_SMALL;
    if (sock_start_soon(t, waiter) < 0) {
        transport_forget_fd(t);
        Py_DECREF(t);
        return NULL;
    }
    return t;
}
