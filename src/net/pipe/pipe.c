/* net/pipe/pipe.c -- reading from and writing to a pipe: states, errors, the end. */
#include "net/pipe/pipe.h"

#include "core/context.h"
#include "core/deferred.h"
#include "core/handle.h"
#include "core/log.h"
#include "core/raise.h"
#include "plain/file.h"

/* ---- reports */

/* An error of the system that asyncio speaks of in debug mode only: a writer's, and EIO, the end of a pseudo-terminal.
 */
static bool
pipe_is_quiet_error(Pipe *p, PyObject *exception)
{
    if (!PyObject_TypeCheck(exception, (PyTypeObject *)PyExc_OSError)) {
        return false;
    }
    if (p->is_writer) {
        return true;
    }
    PyObject *number = PyObject_GetAttrString(exception, "errno");
    bool is_eio = number != NULL && PyLong_Check(number) && PyLong_AsLong(number) == EIO;
    Py_XDECREF(number);
    PyErr_Clear();
    return is_eio;
}

/* The raised exception ends the transport. */
static COLD int
pipe_fatal_error(Pipe *p, const char *message)
{
    PyObject *exception = compat_take_raised();
    int rc = transport_report_error(&p->base, message, exception, pipe_is_quiet_error(p, exception));
    if (rc == 0) {
        rc = pipe_lose_soon(p, exception);
    }
    Py_DECREF(exception);
    return rc;
}

/* ---- reading */

static int
pipe_call_eof(Loop *loop, PyObject *self, PyObject *unused)
{
    Pipe *p = (Pipe *)self;
    loop_leave_task(loop);
    if (p->base.protocol.object == NULL) {
        return 0;
    }
    if (context_enter(loop, &p->base.context) < 0) {
        return -1;
    }
    int rc = 0;
    if (protocol_call_eof_received(loop->st, &p->base.protocol) < 0) {
        rc = handle_report_method(loop, p->base.protocol.object, "eof_received", NULL);
    }
    context_leave(loop, &p->base.context);
    return rc;
}

static COLD int
pipe_on_eof(Pipe *p)
{
    if (p->base.loop->debug && log_line(p->base.loop->st, "info", "(sO)", "%r was closed by peer", p) < 0) {
        return -1;
    }
    p->base.closing = true;
    transport_stop_reading(&p->base);
    if (deferred_push(p->base.loop, pipe_call_eof, (PyObject *)p, NULL, "eof_received") < 0) {
        return -1;
    }
    return pipe_lose_soon(p, NULL);
}

/* A read that brought nothing: not ready after all, the end, or an error. */
static COLD int
pipe_on_no_data(Pipe *p, ssize_t n)
{
    if (n < 0 && (sock_would_block(n) || n == -EINTR)) {
        return 0;
    }
    if (n == 0) {
        return pipe_on_eof(p);
    }
    raise_errno((int)n);
    return pipe_fatal_error(p, "Fatal read error on pipe transport");
}

/* One read of all that is there, up to asyncio's 256 KiB: a pipe may be one of packets, or a socket with records, which
 * end a read each. */
static int
pipe_read(Pipe *p)
{
    Loop *loop = p->base.loop;
    char *buffer = loop_read_buffer(loop);
    if (UNLIKELY(buffer == NULL)) {
        return handle_report_method(loop, (PyObject *)p, "_read_ready", NULL);
    }
    ssize_t n = file_read(p->base.fd, buffer, LOOP_READ_BUFFER);
    if (UNLIKELY(n <= 0)) {
        return pipe_on_no_data(p, n);
    }
    loop->net->bytes_in += (size_t)n;
    PyObject *data = PyBytes_FromStringAndSize(buffer, n);
    if (UNLIKELY(data == NULL)) {
        return handle_report_method(loop, (PyObject *)p, "_read_ready", NULL);
    }
    int rc = protocol_call_data_received(loop->st, &p->base.protocol, data);
    Py_DECREF(data);
    /* asyncio: an error of data_received is reported, and the transport goes on */
    return rc < 0 ? handle_report_method(loop, (PyObject *)p, "_read_ready", NULL) : 0;
}

static int
pipe_on_readable(Loop *loop, PyObject *self, PyObject *arg)
{
    Pipe *p = (Pipe *)self;
    if (UNLIKELY(!p->base.read_watched || p->base.closing)) {
        return 0; /* paused or closed after the event was seen */
    }
    loop_leave_task(loop);
    if (UNLIKELY(context_enter(loop, &p->base.context) < 0)) {
        return -1;
    }
    int rc = pipe_read(p);
    context_leave(loop, &p->base.context);
    return rc;
}

/* ---- writing */

/* Give the kernel what it takes.  0: all has gone or it is full, -errno. */
static int
pipe_send(Pipe *p)
{
    while (p->base.out.n > 0) {
        struct iovec iov[FILE_IOV_MAX];
        size_t asked;
        int n = outq_fill_iov(&p->base.out, iov, FILE_IOV_MAX, &asked);
        ssize_t sent = file_writev(p->base.fd, iov, n);
        if (sent < 0) {
            return sock_would_block(sent) || sent == -EINTR ? 0 : (int)sent;
        }
        p->base.loop->net->bytes_out += (size_t)sent;
        outq_advance(&p->base.out, (size_t)sent);
        if ((size_t)sent < asked) {
            return 0;
        }
    }
    return 0;
}

/* Writing failed with the raised exception. */
static COLD int
pipe_send_failed(Pipe *p)
{
    transport_stop_writing_watch(&p->base);
    outq_clear(&p->base.out);
    p->base.n_lost++;
    return pipe_fatal_error(p, "Fatal write error on pipe transport");
}

/* Write what the kernel takes now; the rest as bytes of our own, NULL when there is none.  0, or -errno. */
static int
pipe_write_now(Pipe *p, const Py_buffer *view, Py_ssize_t *n_written)
{
    struct iovec iov = {.iov_base = view->buf, .iov_len = (size_t)view->len};
    ssize_t n = p->base.out.n > 0 ? -EAGAIN : file_writev(p->base.fd, &iov, 1);
    if (n < 0 && !sock_would_block(n) && n != -EINTR) {
        return (int)n;
    }
    *n_written = n < 0 ? 0 : n;
    p->base.loop->net->bytes_out += (size_t)*n_written;
    return 0;
}

static int
pipe_queue_rest(Pipe *p, PyObject *data, const Py_buffer *view, Py_ssize_t n_written)
{
    PyObject *rest = n_written == 0 && PyBytes_CheckExact(data)
                         ? Py_NewRef(data)
                         : PyBytes_FromStringAndSize((const char *)view->buf + n_written, view->len - n_written);
    if (rest == NULL || outq_push(&p->base.out, rest) < 0) {
        return -1;
    }
    if (transport_start_writing_watch(&p->base) < 0) {
        outq_clear(&p->base.out);
        return -1;
    }
    return transport_maybe_pause_protocol(&p->base, p->base.out.n_bytes);
}

static int
pipe_write(Pipe *p, PyObject *data)
{
    Py_buffer view;
    Py_ssize_t n_written = 0;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    int rc = 0;
    if (view.len == 0) {
        rc = 0;
    }
    else if (p->base.n_lost > 0 || p->base.closing) {
        rc = transport_count_lost_write(&p->base);
    }
    else if ((rc = pipe_write_now(p, &view, &n_written)) < 0) {
        raise_errno(rc);
        rc = pipe_send_failed(p);
    }
    else if (n_written < view.len) {
        rc = pipe_queue_rest(p, data, &view, n_written);
    }
    loop_poll_soon(p->base.loop);
    PyBuffer_Release(&view);
    return rc;
}

static int
pipe_write_eof(Pipe *p)
{
    if (p->base.closing) {
        return 0;
    }
    p->base.closing = true;
    if (p->base.out.n > 0) {
        return 0; /* on_writable goes on when the queue is empty */
    }
    return pipe_lose_soon(p, NULL);
}

static int pipe_lose(Pipe *p, PyObject *exception, bool is_scheduled);

static int
pipe_on_writable(Loop *loop, PyObject *self, PyObject *arg)
{
    Pipe *p = (Pipe *)self;
    if (!p->base.write_watched || p->losing) {
        return 0;
    }
    int rc = pipe_send(p);
    loop_leave_task(loop);
    if (context_enter(loop, &p->base.context) < 0) {
        return -1;
    }
    if (rc < 0) {
        raise_errno(rc);
        rc = pipe_send_failed(p);
    }
    else if (p->base.out.n == 0) {
        outq_clear(&p->base.out);
        transport_stop_writing_watch(&p->base);
        rc = transport_maybe_resume_protocol(&p->base, p->base.out.n_bytes); /* may queue more */
    }
    context_leave(loop, &p->base.context);
    if (rc == 0 && p->base.closing && !p->losing && p->base.out.n == 0) {
        p->losing = true;
        transport_stop_reading(&p->base);
        rc = pipe_lose(p, Py_None, false);
    }
    return rc;
}

/* Nobody reads any more. */
static int
pipe_on_reader_gone(Loop *loop, PyObject *self, PyObject *arg)
{
    Pipe *p = (Pipe *)self;
    if (!p->base.read_watched || p->losing) {
        return 0;
    }
    loop_leave_task(loop);
    if (loop->debug && log_line(loop->st, "info", "(sO)", "%r was closed by peer", p) < 0) {
        return handle_report_method(loop, self, "_read_ready", NULL);
    }
    if (p->base.out.n == 0) {
        return pipe_lose_soon(p, NULL);
    }
    PyObject *exception = PyObject_CallNoArgs(PyExc_BrokenPipeError);
    if (exception == NULL) {
        return handle_report_method(loop, self, "_read_ready", NULL);
    }
    int rc = pipe_lose_soon(p, exception);
    Py_DECREF(exception);
    return rc;
}

/* ---- the first entry, and the last */

/* Begin to hear the peer. Ready entry too, where connection_made is one of its own. */
static int
pipe_on_hear(Loop *loop, PyObject *self, PyObject *Py_UNUSED(arg))
{
    Pipe *p = (Pipe *)self;
    bool wants_reading =
        p->base.fd >= 0 && (p->is_writer ? p->hears_reader && !p->losing : !p->base.read_paused && !p->base.closing);
    if (wants_reading && !p->base.read_watched && transport_start_reading(&p->base) < 0) {
        /* /dev/null, which cannot be polled: reported, and left open, as by asyncio */
        return handle_report_method(loop, self, "_read_ready", NULL);
    }
    return 0;
}

static int
pipe_on_start(Loop *loop, PyObject *self, PyObject *waiter)
{
    return transport_start(loop, self, pipe_on_hear, waiter);
}

static int
pipe_start_soon(Pipe *p, PyObject *waiter)
{
    Loop *loop = p->base.loop;
    if (LIKELY(!(loop->overrides & LOOP_OWN_CALL_SOON))) {
        return loop_ready_push(loop, pipe_on_start, (PyObject *)p, waiter);
    }
    bool hears = !p->is_writer || p->hears_reader;
    return transport_start_by_name(
        &p->base, hears ? pipe_on_hear : NULL,
        p->is_writer ? "BaseSelectorEventLoop._add_reader" : "_UnixReadPipeTransport._add_reader", waiter);
}

static void
pipe_release(Pipe *p)
{
    PyObject *raised = compat_take_raised();
    PyObject *file = p->file;
    p->file = NULL;
    p->base.loop->net->n_open[TRANSPORT_PIPE] -= file != NULL;
    transport_stop_reading(&p->base);
    transport_stop_writing_watch(&p->base);
    outq_clear(&p->base.out);
    protocol_clear(&p->base.protocol);
    if (file != NULL) {
        loop_poll_soon(p->base.loop);
        PyObject *closed = PyObject_CallMethod(file, "close", NULL);
        if (closed == NULL) {
            PyErr_WriteUnraisable(file);
        }
        Py_XDECREF(closed);
        Py_DECREF(file);
    }
    compat_set_raised(raised);
}

/* asyncio's callback that pipe_on_lose stands for */
static const char *
pipe_lose_name(const Pipe *p)
{
    return p->is_writer ? "_UnixWritePipeTransport._call_connection_lost"
                        : "_UnixReadPipeTransport._call_connection_lost";
}

static int pipe_on_lose(Loop *loop, PyObject *self, PyObject *arg);

static int
pipe_lose(Pipe *p, PyObject *exception, bool is_scheduled)
{
    Loop *loop = p->base.loop;
    int rc = 0;
    if (p->file == NULL) {
        return 0;
    }
    loop_leave_task(loop);
    if (context_enter(loop, &p->base.context) < 0) {
        rc = -1;
    }
    else {
        if (p->base.protocol.object != NULL
            && protocol_call_connection_lost(loop->st, &p->base.protocol, exception) < 0) {
            rc = is_scheduled
                     ? deferred_report(loop, pipe_on_lose, (PyObject *)p, NULL, pipe_lose_name(p), &exception, 1)
                     : handle_report_cancelled(loop);
        }
        context_leave(loop, &p->base.context);
    }
    pipe_release(p);
    return rc;
}

/* Ready entry: arg is the exception or NULL. */
static int
pipe_on_lose(Loop *loop, PyObject *self, PyObject *arg)
{
    return pipe_lose((Pipe *)self, arg != NULL ? arg : Py_None, true);
}

static int
pipe_lose_soon(Pipe *p, PyObject *exception)
{
    if (p->losing) {
        return 0;
    }
    p->base.closing = true;
    transport_stop_writing_watch(&p->base);
    outq_clear(&p->base.out);
    transport_stop_reading(&p->base);
    if (loop_check_closed(p->base.loop) < 0) {
        return -1; /* the finalizer closes the file */
    }
    p->losing = true;
    return deferred_push(p->base.loop, pipe_on_lose, (PyObject *)p, exception, pipe_lose_name(p));
}

/* ---- birth */

/* What kind of file is it?  -1 with asyncio's ValueError when it can be no pipe. */
static int
pipe_check_kind(Pipe *p)
{
    int kind = file_kind(p->base.fd);
    if (kind < 0) {
        return raise_errno(kind);
    }
    if (kind == FILE_OTHER) {
        PyErr_SetString(PyExc_ValueError, p->is_writer
                                              ? "Pipe transport is only for pipes, sockets and character devices"
                                              : "Pipe transport is for pipes/sockets only.");
        return -1;
    }
    p->hears_reader = p->is_writer && kind != FILE_CHARACTER_DEVICE;
    int rc = file_set_nonblocking(p->base.fd);
    return rc < 0 ? raise_errno(rc) : 0;
}

static int
pipe_init(Pipe *p, PyObject *file, PyObject *protocol, PyObject *extra)
{
    struct state *st = p->base.loop->st;
    p->base.extra = extra == Py_None ? PyDict_New() : PyDict_Copy(extra);
    if (p->base.extra == NULL || PyDict_SetItemString(p->base.extra, "pipe", file) < 0) {
        return -1;
    }
    PyObject *number = PyObject_CallMethodNoArgs(file, st->str.fileno);
    long fd = number == NULL ? -1 : PyLong_AsLong(number);
    Py_XDECREF(number);
    if (fd == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (fd < 0 || fd > INT_MAX) {
        return raise_errno(-EBADF);
    }
    p->base.fd = (int)fd;
    if (pipe_check_kind(p) < 0 || protocol_check(st, protocol) < 0
        || protocol_set(st, &p->base.protocol, protocol) < 0) {
        return -1;
    }
    return context_copy_current(&p->base.context);
}

static Pipe *
pipe_open(Loop *loop, PyObject *file, PyObject *protocol, PyObject *waiter, PyObject *extra, bool is_writer)
{
    static const struct transport_ops read_ops = {.on_readable = pipe_on_readable};
    static const struct transport_ops write_ops = {pipe_on_reader_gone, pipe_on_writable,
                                                   "pipe closed by peer or os.write(pipe, data) raised exception."};
    struct state *st = loop->st;
    PyTypeObject *type = is_writer ? st->WritePipeTransport_type : st->ReadPipeTransport_type;
    if (loop_check_closed(loop) < 0) {
        return NULL;
    }
    Pipe *p = (Pipe *)type->tp_alloc(type, 0);
    if (p == NULL) {
        return NULL;
    }
    p->base.loop = (Loop *)Py_NewRef((PyObject *)loop);
    p->base.ops = is_writer ? &write_ops : &read_ops;
    p->is_writer = is_writer;
    p->base.fd = -1;
    limits_init(&p->base.limits, TRANSPORT_HIGH_DEFAULT);
    outq_init(&p->base.out);
    if (pipe_init(p, file, protocol, extra) < 0 || pipe_start_soon(p, waiter) < 0) {
        Py_DECREF(p);
        return NULL;
    }
    p->file = Py_NewRef(file);
    loop->net->n_open[TRANSPORT_PIPE]++;
    return p;
}
