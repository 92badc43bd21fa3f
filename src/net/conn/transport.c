/* net/conn/transport.c -- flow control, gathered writes, closing, aborting and losing a connection, whatever reads and
 * sends. */
#include "net/conn/transport.h"

#include "core/context.h"
#include "core/handle.h"
#include "core/inbox.h"
#include "core/log.h"
#include "core/raise.h"
#include "core/watch.h"
#include "net/conn/fdtable.h"
#include "net/fd/python_socket.h"
#include "net/conn/server.h"

#include <errno.h>

/* ---- birth */

static int
transport_set_extra(Transport *t, PyObject *name, PyObject *value)
{
    if (t->extra == NULL && (t->extra = PyDict_New()) == NULL) {
        return -1;
    }
    PyObject *extra = Py_NewRef(t->extra); /* the name may be of a class whose __eq__ sets another */
    int rc = PyDict_SetItem(extra, name, value);
    Py_DECREF(extra);
    return rc;
}

/* Remember one of the connection's names: in place, or in extra when it is not an Internet address. */
static int
transport_keep_name(Transport *t, struct small_address *kept, PyObject *key, const struct sockaddr_storage *address,
                    socklen_t n_bytes)
{
    if (address_keep(kept, address, n_bytes)) {
        return 0;
    }
    PyObject *value = address_to_python(address, n_bytes);
    int rc = value == NULL ? -1 : transport_set_extra(t, key, value);
    Py_XDECREF(value);
    return rc;
}

static enum transport_kind
transport_kind_of(Loop *loop, PyTypeObject *type, int family)
{
    if (family == AF_UNIX) {
        return TRANSPORT_UNIX;
    }
    if (family != AF_INET && family != AF_INET6) {
        return TRANSPORT_OTHER;
    }
    return type == loop->st->DatagramTransport_type ? TRANSPORT_UDP : TRANSPORT_TCP;
}

static inline void
transport_set_kind(Transport *t, enum transport_kind kind)
{
    if (t->fd >= 0) {
        t->loop->net->n_open[t->kind]--;
        t->loop->net->n_open[kind]++;
    }
    t->kind = (uint8_t)kind;
}

static void
transport_forget_fd(Transport *t)
{
    if (t->fd >= 0) {
        fdtable_unset(t->loop->st, t->fd, t);
        t->loop->net->n_open[t->kind]--;
        t->fd = -1;
    }
}

static Transport *
transport_new(PyTypeObject *type, Loop *loop, const struct transport_ops *ops, int fd, PyObject *sock,
              PyObject *protocol, PyObject *context)
{
    struct state *st = loop->st;
    Transport *t = (Transport *)type->tp_alloc(type, 0);
    if (t == NULL) {
        Py_XDECREF(context);
        return NULL;
    }
    t->ops = ops;
    t->loop = (Loop *)Py_NewRef((PyObject *)loop);
    t->context = context;
    t->fd = -1; /* until all has succeeded the descriptor is the caller's */
    t->shown_fd = fd;
    limits_init(&t->limits, TRANSPORT_HIGH_DEFAULT);
    outq_init(&t->out);
    struct sockaddr_storage address;
    socklen_t n_bytes = sizeof(address);
    address.ss_family = AF_UNSPEC;
    if (protocol_set(st, &t->protocol, protocol) < 0
        || (sock_name(fd, &address, &n_bytes) == 0
            && transport_keep_name(t, &t->name, st->str.sockname, &address, n_bytes) < 0)) {
        Py_DECREF(t);
        return NULL;
    }
    t->sock = Py_XNewRef(sock);
    t->fd = fd;
    t->kind = (uint8_t)transport_kind_of(loop, type, address.ss_family);
    loop->net->n_open[t->kind] += fd >= 0;
    fdtable_set(st, fd, t, t->loop);
    return t;
}

static int
transport_wake_opener(Loop *loop, PyObject *waiter)
{
    if (LIKELY(future_wake_any(loop->st, waiter, loop->st->str.cancelled, Py_None, NULL) >= 0)) {
        return 0;
    }
    PyObject *args[] = {waiter, Py_None};
    return handle_report_call(loop, loop->st->set_result_unless_cancelled, args, 2, NULL);
}

/* Ready entry: self is the waiter. */
static int
transport_on_wake(Loop *loop, PyObject *self, PyObject *Py_UNUSED(arg))
{
    return transport_wake_opener(loop, self);
}

/* The three steps of a transport's start, each by a call_soon of its own, as asyncio's constructors have them.  In the
 * connection's context, of which the handles take copies. */
static COLD int
transport_start_by_name(Transport *t, ready_fn on_hear, const char *name, PyObject *waiter)
{
    Loop *loop = t->loop;
    PyObject *object = Py_NewRef(t->protocol.object); /* call_soon may run any code */
    if (context_enter(loop, &t->context) < 0) {
        Py_DECREF(object);
        return -1;
    }
    PyObject *made = PyObject_GetAttr(object, loop->st->str.connection_made);
    int rc = made == NULL ? -1 : deferred_call_soon(loop, made, (PyObject *)t);
    if (rc == 0 && on_hear != NULL) {
        rc = deferred_push(loop, on_hear, (PyObject *)t, NULL, name);
    }
    if (rc == 0 && waiter != NULL) {
        rc = deferred_push(loop, transport_on_wake, waiter, NULL, "_set_result_unless_cancelled");
    }
    context_leave(loop, &t->context);
    Py_XDECREF(made);
    Py_DECREF(object);
    return rc;
}

static inline int
transport_start(Loop *loop, PyObject *self, ready_fn on_hear, PyObject *waiter)
{
    Transport *t = (Transport *)self;
    loop_leave_task(loop);
    if (context_enter(loop, &t->context) < 0) {
        return -1;
    }
    int rc = 0;
    if (t->protocol.object != NULL && protocol_call_connection_made(loop->st, &t->protocol, self) < 0) {
        rc = handle_report_method(loop, t->protocol.object, "connection_made", self);
    }
    PyObject *raised = compat_take_raised(); /* the rest happens even when the loop is left */
    if (on_hear(loop, self, NULL) < 0) {
        rc = -1;
    }
    context_leave(loop, &t->context);
    if (waiter != NULL && transport_wake_opener(loop, waiter) < 0) {
        rc = -1;
    }
    if (raised != NULL) {
        compat_set_raised(raised);
    }
    return rc;
}

/* ---- the descriptor */

static inline bool
transport_is_reading(const Transport *t)
{
    return !t->closing && !t->read_paused;
}

static inline int
transport_check_fd(Transport *t)
{
    if (LIKELY(t->sock == NULL) || python_socket_fd(t->loop->st, t->sock) == t->fd) {
        return 0;
    }
    PyErr_Clear();
    return raise_errno(-EBADF);
}

static PyObject *
transport_of_fd_borrowed(Loop *loop, int fd)
{
    Transport *t = fdtable_get_borrowed(loop->st, fd, loop);
    /* during a sendfile the descriptor belongs to who sends, as in asyncio */
    if (t == NULL || t->closing || t->empty_waiter != NULL) {
        return NULL;
    }
    if (UNLIKELY(transport_check_fd(t) < 0)) { /* closed behind our back: another may have the number by now */
        PyErr_Clear();
        return NULL;
    }
    return (PyObject *)t;
}

static COLD int
transport_check_fd_free(Loop *loop, int fd, PyObject *shown)
{
    PyObject *t = transport_of_fd_borrowed(loop, fd);
    if (t == NULL) {
        return 0;
    }
    PyErr_Format(PyExc_RuntimeError, "File descriptor %R is used by transport %R", shown, t);
    return -1;
}

/* A closed Python socket, which get_extra_info shows after the end. */
static PyObject *
transport_make_closed_socket(struct state *st)
{
    PyObject *sock = PyObject_CallNoArgs(st->socket_class);
    PyObject *closed = sock == NULL ? NULL : PyObject_CallMethodNoArgs(sock, st->str.close);
    if (closed == NULL) {
        Py_CLEAR(sock);
    }
    Py_XDECREF(closed);
    return sock;
}

/* Detach the descriptor from the Python socket, so that it stays ours.  Keeps a raised exception. */
static void
transport_detach_socket(PyObject *sock)
{
    PyObject *raised = compat_take_raised();
    Py_XDECREF(PyObject_CallMethod(sock, "detach", NULL));
    PyErr_Clear();
    compat_set_raised(raised);
}

static PyObject *
transport_make_python_socket(Transport *t)
{
    struct state *st = t->loop->st;
    PyObject *fd = PyLong_FromLong(t->fd), *names = fd == NULL ? NULL : PyTuple_Pack(1, st->str.fileno);
    PyObject *sock = names == NULL ? NULL : PyObject_Vectorcall(st->socket_class, &fd, 0, names);
    PyObject *done = sock == NULL ? NULL : PyObject_CallMethodOneArg(sock, st->str.setblocking, Py_False);
    if (sock != NULL && done == NULL) {
        transport_detach_socket(sock);
        Py_CLEAR(sock);
    }
    Py_XDECREF(done);
    Py_XDECREF(names);
    Py_XDECREF(fd);
    return sock;
}

static PyObject *
transport_python_socket_borrowed(Transport *t)
{
    if (t->sock != NULL) {
        return t->sock;
    }
    int fd = t->fd;
    PyObject *sock = fd < 0 ? transport_make_closed_socket(t->loop->st) : transport_make_python_socket(t);
    if (sock != NULL && (t->sock != NULL || t->fd != fd)) { /* another thread has asked, or closed, meanwhile */
        if (fd >= 0) {
            transport_detach_socket(sock);
        }
        Py_DECREF(sock);
        return transport_python_socket_borrowed(t);
    }
    t->sock = sock;
    return sock;
}

static PyObject *
transport_socket(Transport *t)
{
    if (t->shown_sock == NULL) {
        PyObject *sock = transport_python_socket_borrowed(t),
                 *shown = sock == NULL ? NULL : PyObject_CallOneArg(t->loop->st->TransportSocket, sock);
        if (shown == NULL) {
            return NULL;
        }
        Py_XSETREF(t->shown_sock, shown);
    }
    return Py_NewRef(t->shown_sock);
}

static inline bool
transport_socket_is_held(const Transport *t)
{
    if (LIKELY(t->sock == NULL)) {
        return false;
    }
    return Py_REFCNT(t->sock) > 1 + (t->shown_sock != NULL) || (t->shown_sock != NULL && Py_REFCNT(t->shown_sock) > 1);
}

/* A value that is made when somebody asks for it. New reference. NULL without an exception: there is no such value. */
static PyObject *
transport_make_extra(Transport *t, PyObject *name)
{
    if (!PyUnicode_Check(name)) {
        return NULL;
    }
    if (PyUnicode_CompareWithASCIIString(name, "peername") == 0) {
        return address_kept_to_python(&t->peer_name);
    }
    if (PyUnicode_CompareWithASCIIString(name, "sockname") == 0) {
        return address_kept_to_python(&t->name);
    }
    return NULL;
}

static PyObject *
transport_get_extra(Transport *t, PyObject *name, PyObject *fallback)
{
    PyObject *extra = Py_XNewRef(t->extra);
    PyObject *value = extra == NULL ? NULL : Py_XNewRef(PyDict_GetItemWithError(extra, name));
    Py_XDECREF(extra);
    if (value != NULL || PyErr_Occurred()) {
        return value;
    }
    if (PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, "socket") == 0) {
        return transport_socket(t); /* not kept in extra: who holds it is counted */
    }
    value = transport_make_extra(t, name);
    if (value == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(fallback);
    }
    if (transport_set_extra(t, name, value) < 0) {
        Py_CLEAR(value);
    }
    return value;
}

/* ---- what the poller is asked */

static int
transport_start_reading(Transport *t)
{
    if (watch_start(t->loop, t->fd, WATCH_READ, t->ops->on_readable, (PyObject *)t, false) < 0) {
        return -1;
    }
    t->read_watched = true;
    return 0;
}

static void
transport_stop_reading(Transport *t)
{
    if (t->read_watched) {
        t->read_watched = false;
        watch_stop_own(t->loop, t->fd, WATCH_READ, t->ops->on_readable, (PyObject *)t);
    }
}

static int
transport_start_writing_watch(Transport *t)
{
    if (!t->write_watched) {
        if (watch_start(t->loop, t->fd, WATCH_WRITE, t->ops->on_writable, (PyObject *)t, false) < 0) {
            return -1;
        }
        t->write_watched = true;
    }
    return 0;
}

static void
transport_stop_writing_watch(Transport *t)
{
    if (t->write_watched) {
        t->write_watched = false;
        watch_stop_own(t->loop, t->fd, WATCH_WRITE, t->ops->on_writable, (PyObject *)t);
    }
}

/* ---- flow control */

static int
transport_maybe_pause_protocol(Transport *t, size_t n_bytes)
{
    if (n_bytes <= t->limits.high_bytes || t->protocol_paused) {
        return 0;
    }
    t->protocol_paused = true;
    return protocol_call_flow(t->loop, &t->protocol, (PyObject *)t, protocol_call_pause_writing,
                              "protocol.pause_writing() failed");
}

static int
transport_maybe_resume_protocol(Transport *t, size_t n_bytes)
{
    if (!t->protocol_paused || n_bytes > t->limits.low_bytes) {
        return 0;
    }
    t->protocol_paused = false;
    return protocol_call_flow(t->loop, &t->protocol, (PyObject *)t, protocol_call_resume_writing,
                              "protocol.resume_writing() failed");
}

/* ---- writing */

static void
transport_settle_empty_waiter(Transport *t, PyObject *exception)
{
    if (t->empty_waiter == NULL) {
        return;
    }
    PyObject *raised = compat_take_raised(), *waiter = Py_NewRef(t->empty_waiter);
    if (future_wake_any(t->loop->st, waiter, t->loop->st->str.done, Py_None, exception) < 0) {
        PyErr_WriteUnraisable(waiter);
    }
    Py_DECREF(waiter);
    compat_set_raised(raised);
}

/* Sending failed with the raised exception. */
static COLD int
transport_send_failed(Transport *t)
{
    transport_stop_writing_watch(t);
    outq_clear(&t->out);
    if (t->empty_waiter != NULL) {
        PyObject *exception = compat_take_raised();
        transport_settle_empty_waiter(t, exception);
        compat_set_raised(exception);
    }
    return transport_fatal_error(t, "Fatal write error on socket transport");
}

static int
transport_watch_writing(Transport *t)
{
    return transport_start_writing_watch(t) < 0 ? transport_send_failed(t) : 0;
}

static inline int
transport_ask_sink(Transport *t)
{
    const struct sink *sink = t->protocol.sink;
    if (LIKELY(sink == NULL || sink->on_room == NULL)) {
        return 0;
    }
    PyObject *object = Py_NewRef(t->protocol.object);
    int rc = sink->on_room(object);
    Py_DECREF(object);
    return rc;
}

static inline int
transport_send_out(Transport *t)
{
    size_t before = t->out.n_bytes;
    int rc = outq_send(&t->out, t->fd);
    t->loop->net->bytes_out += before - t->out.n_bytes;
    return rc;
}

static int
transport_send_queued(Transport *t)
{
    int rc = transport_check_fd(t) < 0 ? -1 : transport_send_out(t);
    loop_poll_soon(t->loop);
    if (UNLIKELY(rc < 0)) {
        if (!PyErr_Occurred()) {
            raise_errno(rc);
        }
        return transport_send_failed(t);
    }
    return t->out.n > 0 ? transport_watch_writing(t) : 0;
}

/* Send what is queued, unless the socket is known to be full.  An error of the kernel ends the connection, and this
 * returns 0. */
static int
transport_flush(Transport *t)
{
    if (t->n_lost > 0) {
        return 0;
    }
    if (t->out.n > 0) {
        int rc = t->write_watched ? 0 : transport_send_queued(t);
        if (rc < 0 || t->out.n > 0 || t->n_lost > 0) {
            return rc;
        }
    }
    return transport_ask_sink(t);
}

/* How much of it the kernel took; -1: the connection has ended, or its exception is to go out. */
static ssize_t
transport_try_send(Transport *t, const char *bytes, size_t n_bytes)
{
    ssize_t sent = transport_check_fd(t) < 0 ? -EBADF : sock_send(t->fd, bytes, n_bytes);
    loop_poll_soon(t->loop);
    if (LIKELY(sent >= 0)) {
        t->loop->net->bytes_out += (size_t)sent;
        return sent;
    }
    PyErr_Clear();
    if (sock_would_block(sent)) {
        return 0;
    }
    raise_errno((int)sent);
    return transport_send_failed(t) < 0 || t->n_lost > 0 ? -1 : 0;
}

static int
transport_send_now(Transport *t, const char *bytes, size_t n_bytes)
{
    INVARIANT(t->out.n == 0);
    if (t->n_lost > 0) {
        return 0;
    }
    ssize_t sent = transport_try_send(t, bytes, n_bytes);
    if (sent < 0) {
        return PyErr_Occurred() ? -1 : 0;
    }
    if (LIKELY((size_t)sent == n_bytes)) {
        return 0;
    }
    PyObject *rest = PyBytes_FromStringAndSize(bytes + sent, (Py_ssize_t)n_bytes - sent);
    if (rest == NULL || outq_push(&t->out, rest) < 0) {
        return transport_send_failed(t);
    }
    return transport_watch_writing(t);
}

static int
transport_flush_all(Loop *loop)
{
    PyObject *raised = NULL;
    int rc = 0;
    loop->flush.n_entries = 0;
    /* an entry lets SystemExit or KeyboardInterrupt out; what was written leaves all the same */
    if (UNLIKELY(PyErr_Occurred() != NULL)) {
        raised = compat_take_raised();
    }
    for (struct flush_link *last; (last = loop->flush.first) != NULL;) {
        struct flush_link *link = last->next;
        Transport *t = CONTAINER_OF(link, Transport, flush);
        if (link == last) {
            loop->flush.first = NULL;
        }
        else {
            last->next = link->next;
        }
        link->next = NULL;
        if (UNLIKELY(transport_flush(t) < 0)) {
            if (raised == NULL) {
                raised = compat_take_raised();
            }
            PyErr_Clear();
            rc = -1;
        }
        Py_DECREF(t);
    }
    if (UNLIKELY(raised != NULL)) {
        compat_set_raised(raised);
    }
    return rc;
}

/* Flush after the ready entry that runs now, or a later one of this pass. */
static inline void
transport_list_flush(Transport *t)
{
    if (t->flush.next != NULL) {
        return;
    }
    struct flush_link *last = t->loop->flush.first;
    if (last == NULL) {
        t->flush.next = &t->flush;
    }
    else {
        t->flush.next = last->next;
        last->next = &t->flush;
    }
    t->loop->flush.first = &t->flush;
    Py_INCREF(t);
}

/* May writes wait?  Not outside run_forever, nor when the loop sleeps (somebody writes from another thread), nor when
 * the program has the socket. */
static inline bool
transport_gathers(const Transport *t)
{
    return t->loop->state == LOOP_RUNNING && !INBOX_ASLEEP(t->loop) && !transport_socket_is_held(t);
}

static COLD int
transport_count_lost(struct state *st, uint32_t *n_lost, const char *warning)
{
    enum { LOST_WRITES_BEFORE_WARNING = 5 }; /* asyncio.constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES */
    return (*n_lost)++ < LOST_WRITES_BEFORE_WARNING ? 0 : log_line(st, "warning", "(s)", warning);
}

static COLD int
transport_count_lost_write(Transport *t)
{
    return transport_count_lost(t->loop->st, &t->n_lost, t->ops->lost_write);
}

/* Queue a copy of mutable data; when it is large and nothing waits, the kernel gets it first and only the rest is
 * copied. */
static int
transport_push_copy(Transport *t, const Py_buffer *view)
{
    ssize_t sent = 0;
    if (view->len >= TRANSPORT_GATHER_MAX && !t->write_watched) {
        if (transport_flush(t) < 0) {
            return -1;
        }
        if (t->n_lost > 0) {
            return 0;
        }
        if (t->out.n == 0) {
            sent = transport_try_send(t, view->buf, (size_t)view->len);
            if (sent < 0) {
                return PyErr_Occurred() ? -1 : 0;
            }
        }
    }
    if (sent == view->len) {
        return 0;
    }
    PyObject *copy = PyBytes_FromStringAndSize((const char *)view->buf + sent, view->len - sent);
    return copy == NULL ? -1 : outq_push(&t->out, copy);
}

/* After something was queued: send now, or with what else this pass writes. */
static inline int
transport_after_push(Transport *t)
{
    size_t limit = t->limits.high_bytes < TRANSPORT_GATHER_MAX ? t->limits.high_bytes : TRANSPORT_GATHER_MAX;
    if (t->write_watched) {
        return transport_maybe_pause_protocol(t, t->out.n_bytes);
    }
    if (LIKELY(t->out.n_bytes <= limit && transport_gathers(t))) {
        transport_list_flush(t);
        return 0;
    }
    return transport_flush(t) < 0 ? -1 : transport_maybe_pause_protocol(t, t->out.n_bytes);
}

static int
transport_write(Transport *t, PyObject *data)
{
    if (LIKELY(PyBytes_CheckExact(data))) {
        if (PyBytes_GET_SIZE(data) == 0) {
            return 0;
        }
        if (UNLIKELY(t->n_lost > 0)) {
            return transport_count_lost_write(t);
        }
        if (outq_push(&t->out, Py_NewRef(data)) < 0) {
            return -1;
        }
        return transport_after_push(t);
    }
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    int rc = 0;
    if (view.len > 0) {
        rc = t->n_lost > 0 ? transport_count_lost_write(t) : transport_push_copy(t, &view);
        if (rc == 0 && t->out.n > 0 && t->n_lost == 0) {
            rc = transport_after_push(t);
        }
    }
    PyBuffer_Release(&view);
    return rc;
}

/* ---- the end */

static int transport_push_lose(Transport *t, PyObject *exception);

static int
transport_close(Transport *t)
{
    if (transport_flush(t) < 0) {
        return -1;
    }
    if (t->closing) {
        return 0;
    }
    t->closing = true;
    transport_stop_reading(t);
    if (t->out.n > 0) {
        return 0; /* on_writable goes on when the queue is empty */
    }
    transport_stop_writing_watch(t);
    t->n_lost++;
    return transport_push_lose(t, NULL);
}

static int
transport_force_close(Transport *t, PyObject *exception)
{
    if (t->n_lost > 0) {
        return 0;
    }
    outq_clear(&t->out);
    transport_stop_writing_watch(t);
    if (!t->closing) {
        t->closing = true;
        transport_stop_reading(t);
    }
    t->n_lost++;
    return transport_push_lose(t, exception);
}

static int
transport_abort(Transport *t)
{
    if (transport_flush(t) < 0) {
        return -1;
    }
    return transport_force_close(t, NULL);
}

static COLD int
transport_report_error(Transport *t, const char *message, PyObject *exception, bool is_quiet)
{
    if (is_quiet) {
        return t->loop->debug ? log_exception(t->loop->st, (PyObject *)t, message, exception) : 0;
    }
    PyObject *protocol = t->protocol.object;
    compat_set_raised(Py_NewRef(exception));
    return loop_report(t->loop, message, "transport", (PyObject *)t, "protocol", protocol != NULL ? protocol : Py_None,
                       NULL);
}

static COLD int
transport_fatal_error(Transport *t, const char *message)
{
    if (PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        return -1;
    }
    PyObject *exception = compat_take_raised();
    int rc =
        transport_report_error(t, message, exception, PyObject_TypeCheck(exception, (PyTypeObject *)PyExc_OSError));
    if (rc == 0) {
        rc = transport_force_close(t, exception);
    }
    Py_DECREF(exception);
    return rc;
}

/* Close the descriptor, let the protocol and the server go.  Keeps a raised exception. */
static void
transport_release(Transport *t)
{
    PyObject *raised = compat_take_raised();
    int fd = t->fd;
    if (fd >= 0) {
        loop_poll_soon(t->loop);
        transport_stop_reading(t);
        transport_stop_writing_watch(t);
        transport_forget_fd(t);
        if (UNLIKELY(t->empty_waiter != NULL)) {
            t->loop->net->evict_writer(t->loop, fd); /* a sendfile that waits for room */
        }
        if (t->sock == NULL) {
            sock_close(fd);
        }
        else {
            PyObject *closed = PyObject_CallMethodNoArgs(t->sock, t->loop->st->str.close);
            if (closed == NULL) {
                PyErr_WriteUnraisable((PyObject *)t);
            }
            Py_XDECREF(closed);
        }
    }
    outq_clear(&t->out);
    server_detach(t);
    protocol_clear(&t->protocol);
    compat_set_raised(raised);
}

static int transport_on_lose(Loop *loop, PyObject *self, PyObject *arg);

static int
transport_lose(Transport *t, PyObject *exception, bool is_scheduled)
{
    Loop *loop = t->loop;
    int rc = 0;
    if (t->fd < 0) {
        return 0;
    }
    loop_leave_task(loop);
    if (context_enter(loop, &t->context) < 0) {
        rc = -1;
    }
    else {
        if (t->protocol.object != NULL && protocol_call_connection_lost(loop->st, &t->protocol, exception) < 0) {
            rc = is_scheduled
                     ? deferred_report(loop, transport_on_lose, (PyObject *)t, NULL, t->ops->lose_name, &exception, 1)
                     : handle_report_cancelled(loop);
        }
        context_leave(loop, &t->context);
    }
    transport_release(t);
    if (t->empty_waiter != NULL) {
        PyObject *raised = compat_take_raised();
        PyObject *error = PyObject_CallFunction(PyExc_ConnectionError, "s", "Connection is closed by peer");
        if (error != NULL) {
            transport_settle_empty_waiter(t, error);
            Py_DECREF(error);
        }
        PyErr_Clear();
        compat_set_raised(raised);
    }
    return rc;
}

/* Ready entry: arg is the exception or NULL. */
static int
transport_on_lose(Loop *loop, PyObject *self, PyObject *arg)
{
    return transport_lose((Transport *)self, arg != NULL ? arg : Py_None, true);
}

static int
transport_push_lose(Transport *t, PyObject *exception)
{
    if (loop_check_closed(t->loop) < 0) {
        return -1;
    }
    return deferred_push(t->loop, transport_on_lose, (PyObject *)t, exception == Py_None ? NULL : exception,
                         t->ops->lose_name);
}
