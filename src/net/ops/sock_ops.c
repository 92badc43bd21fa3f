/* net/ops/sock_ops.c -- the operations of loop.sock_*: try, wait for the descriptor, try again. */
#include "net/ops/sock_ops.h"

#include "core/args.h"
#include "core/deferred.h"
#include "core/freelist.h"
#include "core/raise.h"
#include "core/watch.h"
#include "net/fd/python_socket.h"

#include <errno.h>

enum sock_op_kind {
    SOCK_OP_RECV,
    SOCK_OP_RECV_INTO,
    SOCK_OP_RECVFROM,
    SOCK_OP_RECVFROM_INTO,
    SOCK_OP_SENDALL,
    SOCK_OP_SENDTO,
    SOCK_OP_ACCEPT,
    SOCK_OP_CONNECT,
    SOCK_OP_WAIT_WRITABLE
};
enum sock_op_state {
    SOCK_OP_NEW,
    SOCK_OP_BEGINNING /* in the first try: a socket's own method may come back here */,
    SOCK_OP_WAITING,
    SOCK_OP_DONE
};

typedef struct {
    PyObject_HEAD
    Loop *loop;
    PyObject *sock;
    PyObject *args[2]; /* what the socket's method is given; NULL: fewer */
    PyObject *future;
    PyObject *weakrefs;
    Py_buffer view; /* sendall's data; view.obj == NULL: not held */
    Py_ssize_t sent;
    int fd;
    uint8_t kind, state;
    bool is_plain;
} SockOp;

static const struct {
    const char *name; /* of the loop's method */
    const char *method; /* of the socket */
    struct args_signature signature;
    enum watch_side side;
} sock_op_kinds[] = {
#define SOCK_OP_KIND(name, method, side, n_required, ...)                                                             \
    {                                                                                                                 \
        name, method, {"BaseSelectorEventLoop." name, SOCK_OP_NAMES(__VA_ARGS__), n_required,                         \
                       ARRAY_LENGTH(SOCK_OP_NAMES(__VA_ARGS__)), ARRAY_LENGTH(SOCK_OP_NAMES(__VA_ARGS__)), true},     \
            side                                                                                                      \
    }
#define SOCK_OP_NAMES(...) ((const char *const[]){__VA_ARGS__})
    [SOCK_OP_RECV] = SOCK_OP_KIND("sock_recv", "recv", WATCH_READ, 2, "sock", "n"),
    [SOCK_OP_RECV_INTO] = SOCK_OP_KIND("sock_recv_into", "recv_into", WATCH_READ, 2, "sock", "buf"),
    [SOCK_OP_RECVFROM] = SOCK_OP_KIND("sock_recvfrom", "recvfrom", WATCH_READ, 2, "sock", "bufsize"),
    [SOCK_OP_RECVFROM_INTO] =
        SOCK_OP_KIND("sock_recvfrom_into", "recvfrom_into", WATCH_READ, 2, "sock", "buf", "nbytes"),
    [SOCK_OP_SENDALL] = SOCK_OP_KIND("sock_sendall", "send", WATCH_WRITE, 2, "sock", "data"),
    [SOCK_OP_SENDTO] = SOCK_OP_KIND("sock_sendto", "sendto", WATCH_WRITE, 3, "sock", "data", "address"),
    [SOCK_OP_ACCEPT] = SOCK_OP_KIND("sock_accept", "accept", WATCH_READ, 1, "sock"),
    [SOCK_OP_CONNECT] = SOCK_OP_KIND("sock_connect", "connect", WATCH_WRITE, 2, "sock", "address"),
    [SOCK_OP_WAIT_WRITABLE] = SOCK_OP_KIND("_sock_wait_writable", NULL, WATCH_WRITE, 1, "sock"),
#undef SOCK_OP_NAMES
#undef SOCK_OP_KIND
};

/* asyncio's callbacks, which wait for the descriptor. */
static const char *const sock_op_callbacks[] = {
    [SOCK_OP_RECV] = "BaseSelectorEventLoop._sock_recv",
    [SOCK_OP_RECV_INTO] = "BaseSelectorEventLoop._sock_recv_into",
    [SOCK_OP_RECVFROM] = "BaseSelectorEventLoop._sock_recvfrom",
    [SOCK_OP_RECVFROM_INTO] = "BaseSelectorEventLoop._sock_recvfrom_into",
    [SOCK_OP_SENDALL] = "BaseSelectorEventLoop._sock_sendall",
    [SOCK_OP_SENDTO] = "BaseSelectorEventLoop._sock_sendto",
    [SOCK_OP_ACCEPT] = "BaseSelectorEventLoop._sock_accept",
    [SOCK_OP_CONNECT] = "BaseSelectorEventLoop._sock_connect_cb",
    [SOCK_OP_WAIT_WRITABLE] = "_UnixSelectorEventLoop._sock_sendfile_native_impl",
};

/* Each try_x: 1 and *result set, 0 when it would block, -1 with the exception set. */

/* The raised exception says that it would block: 0, the exception gone; else -1. */
static int
sock_op_would_block_raised(void)
{
    if (PyErr_ExceptionMatches(PyExc_BlockingIOError) || PyErr_ExceptionMatches(PyExc_InterruptedError)) {
        PyErr_Clear();
        return 0;
    }
    return -1;
}

/* By the socket's own method. */
static int
sock_op_try_method(SockOp *op, PyObject **result)
{
    PyObject *method = PyObject_GetAttrString(op->sock, sock_op_kinds[op->kind].method);
    if (method == NULL) {
        return -1;
    }
    Py_ssize_t n = op->args[0] == NULL ? 0 : op->args[1] == NULL ? 1 : 2;
    *result = PyObject_Vectorcall(method, op->args, (size_t)n, NULL);
    Py_DECREF(method);
    return *result != NULL ? 1 : sock_op_would_block_raised();
}

static int
sock_op_try_recv(SockOp *op, PyObject **result)
{
    if (!op->is_plain) {
        return sock_op_try_method(op, result);
    }
    PyObject *number = PyNumber_Index(op->args[0]);
    Py_ssize_t n = number == NULL ? -1 : PyLong_AsSsize_t(number);
    Py_XDECREF(number);
    if (n < 0) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "negative buffersize in recv");
        }
        return -1;
    }
    PyObject *data = PyBytes_FromStringAndSize(NULL, n);
    if (data == NULL) {
        return -1;
    }
    ssize_t got = n == 0 ? 0 : sock_recv(op->fd, PyBytes_AS_STRING(data), (size_t)n);
    if (got < 0) {
        Py_DECREF(data);
        return sock_would_block(got) ? 0 : raise_errno((int)got);
    }
    if (got != n && _PyBytes_Resize(&data, got) < 0) {
        return -1;
    }
    *result = data;
    return 1;
}

static int
sock_op_try_recv_into(SockOp *op, PyObject **result)
{
    Py_buffer view;
    if (!op->is_plain || PyObject_GetBuffer(op->args[0], &view, PyBUF_WRITABLE) < 0) {
        PyErr_Clear(); /* the method words the error */
        return sock_op_try_method(op, result);
    }
    ssize_t got = view.len == 0 ? 0 : sock_recv(op->fd, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    if (got < 0) {
        return sock_would_block(got) ? 0 : raise_errno((int)got);
    }
    *result = PyLong_FromSsize_t(got);
    return *result == NULL ? -1 : 1;
}

/* Methods that answer in ways only the socket module knows (addresses, new sockets). */
static int
sock_op_try_receiving_method(SockOp *op, PyObject **result)
{
    if (op->is_plain && op->fd >= 0 && !sock_is_readable(op->fd)) {
        return 0; /* asking the poller first is cheaper than a BlockingIOError */
    }
    return sock_op_try_method(op, result);
}

static int
sock_op_try_accept(SockOp *op, PyObject **result)
{
    int rc = sock_op_try_receiving_method(op, result);
    if (rc != 1) {
        return rc;
    }
    PyObject *accepted = PyTuple_Check(*result) && PyTuple_GET_SIZE(*result) > 0 ? PyTuple_GET_ITEM(*result, 0) : NULL;
    PyObject *done = accepted == NULL ? Py_NewRef(Py_None)
                                      : PyObject_CallMethodOneArg(accepted, op->loop->st->str.setblocking, Py_False);
    if (done == NULL) {
        Py_CLEAR(*result);
        return -1;
    }
    Py_DECREF(done);
    return 1;
}

/* One send of what is left: bytes sent, -EAGAIN, or -1 with the exception set and *raised true. */
static ssize_t
sock_op_send_once(SockOp *op, bool *raised)
{
    const char *data = (const char *)op->view.buf + op->sent;
    loop_poll_soon(op->loop);
    if (op->is_plain) {
        return sock_send(op->fd, data, (size_t)(op->view.len - op->sent));
    }
    PyObject *whole = PyMemoryView_FromObject(op->args[0]), *bytes = NULL, *rest = NULL, *n = NULL;
    ssize_t sent = -1;
    if (whole != NULL && (bytes = PyObject_CallMethod(whole, "cast", "s", "B")) != NULL
        && (rest = PySequence_GetSlice(bytes, op->sent, op->view.len)) != NULL) {
        n = PyObject_CallMethod(op->sock, "send", "O", rest);
        sent = n == NULL ? -1 : PyLong_AsSsize_t(n);
    }
    Py_XDECREF(whole);
    Py_XDECREF(bytes);
    Py_XDECREF(rest);
    Py_XDECREF(n);
    if (PyErr_Occurred()) {
        *raised = sock_op_would_block_raised() < 0;
        return *raised ? -1 : -EAGAIN;
    }
    return sent;
}

static int
sock_op_try_sendall(SockOp *op, PyObject **result)
{
    if (op->view.obj == NULL && PyObject_GetBuffer(op->args[0], &op->view, PyBUF_SIMPLE) < 0) {
        op->view.obj = NULL;
        return -1;
    }
    bool raised = false;
    ssize_t sent = sock_op_send_once(op, &raised);
    if (raised) {
        return -1;
    }
    if (sent < 0) {
        return sock_would_block(sent) ? 0 : raise_errno((int)sent);
    }
    op->sent += sent;
    if (op->sent < op->view.len) {
        return 0;
    }
    *result = Py_NewRef(Py_None);
    return 1;
}

static COLD int
sock_op_raise_connect(SockOp *op, int error)
{
    PyObject *text = PyUnicode_FromFormat("Connect call failed %S", op->args[0]);
    PyObject *exception = text == NULL ? NULL : PyObject_CallFunction(PyExc_OSError, "iO", error, text);
    Py_XDECREF(text);
    if (exception != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_DECREF(exception);
    }
    return -1;
}

/* The first try starts connecting; a later one asks how it ended. */
static int
sock_op_try_connect(SockOp *op, PyObject **result)
{
    if (op->state == SOCK_OP_BEGINNING) {
        return sock_op_try_method(op, result);
    }
    int error = sock_take_error(op->fd);
    if (error < 0) {
        return raise_errno(error);
    }
    if (error == EAGAIN || error == EINPROGRESS || error == EINTR) {
        return 0;
    }
    if (error > 0) {
        return sock_op_raise_connect(op, error);
    }
    *result = Py_NewRef(Py_None);
    return 1;
}

static int
sock_op_try(SockOp *op, PyObject **result)
{
    switch ((enum sock_op_kind)op->kind) {
    case SOCK_OP_RECV:
        return sock_op_try_recv(op, result);
    case SOCK_OP_RECV_INTO:
        return sock_op_try_recv_into(op, result);
    case SOCK_OP_RECVFROM:
    case SOCK_OP_RECVFROM_INTO:
        return sock_op_try_receiving_method(op, result);
    case SOCK_OP_SENDALL:
        return sock_op_try_sendall(op, result);
    case SOCK_OP_SENDTO:
        return sock_op_try_method(op, result);
    case SOCK_OP_ACCEPT:
        return sock_op_try_accept(op, result);
    case SOCK_OP_CONNECT:
        return sock_op_try_connect(op, result);
    case SOCK_OP_WAIT_WRITABLE:
        if (op->state == SOCK_OP_BEGINNING) {
            return 0;
        }
        *result = Py_NewRef(Py_None);
        return 1;
    }
    Py_UNREACHABLE();
}

/* ---- waiting */

static int sock_op_on_ready(Loop *loop, PyObject *self, PyObject *arg);

/* What the future's callbacks raised. */
static COLD int
sock_op_report(SockOp *op)
{
    PyObject *args[4] = {op->future, op->sock, op->args[0], op->args[1]};
    Py_ssize_t n = 0;
    while (n < 4 && args[n] != NULL) {
        Py_INCREF(args[n++]);
    }
    int rc = deferred_report(op->loop, sock_op_on_ready, (PyObject *)op, NULL, sock_op_callbacks[op->kind], args, n);
    PyObject *raised = rc < 0 ? compat_take_raised() : NULL;
    while (n > 0) {
        Py_DECREF(args[--n]);
    }
    compat_set_raised(raised);
    return rc;
}

/* Fail a waiting operation with the raised exception.  -1: SystemExit or KeyboardInterrupt, still raised. */
static COLD int
sock_op_fail(SockOp *op)
{
    if (PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        return -1;
    }
    PyObject *exception = compat_take_raised();
    int rc = future_set_exception((Future *)op->future, exception);
    Py_DECREF(exception);
    return rc < 0 ? sock_op_report(op) : 0;
}

/* Another operation waits on this number, for a socket that no longer has it, and would never be woken. */
static COLD int
sock_op_evict_stale(Loop *loop, SockOp *old, int fd)
{
    if (old->state != SOCK_OP_WAITING || future_is_done((Future *)old->future)) {
        return 0;
    }
    int present = python_socket_fd(loop->st, old->sock);
    PyErr_Clear();
    if (present == fd) {
        return 0; /* the same socket twice: the later wins, as in asyncio */
    }
    raise_errno(-EBADF);
    return sock_op_fail(old);
}

static COLD void
sock_ops_evict_writer(Loop *loop, int fd)
{
    PyObject *waiting =
        loop->state == LOOP_CLOSED ? NULL : watch_owner_borrowed(loop, fd, WATCH_WRITE, sock_op_on_ready);
    if (waiting == NULL || future_is_done((Future *)((SockOp *)waiting)->future)) {
        return;
    }
    PyObject *raised = compat_take_raised();
    Py_INCREF(waiting);
    PyErr_SetString(PyExc_ConnectionError, "Connection is closed by peer");
    if (sock_op_fail((SockOp *)waiting) < 0) {
        PyErr_WriteUnraisable(waiting);
    }
    Py_DECREF(waiting);
    compat_set_raised(raised);
}

static int
sock_op_watch(SockOp *op)
{
    Loop *loop = op->loop;
    enum watch_side side = sock_op_kinds[op->kind].side;
    PyObject *other = watch_owner_borrowed(loop, op->fd, side, sock_op_on_ready);
    if (UNLIKELY(other != NULL && other != (PyObject *)op)) {
        Py_INCREF(other);
        int rc = sock_op_evict_stale(loop, (SockOp *)other, op->fd);
        Py_DECREF(other);
        if (rc < 0) {
            return -1;
        }
    }
    return watch_start(loop, op->fd, side, sock_op_on_ready, (PyObject *)op, true);
}

static int
sock_op_wait(SockOp *op)
{
    Loop *loop = op->loop;
    if (loop_check_closed(loop) < 0) {
        return -1;
    }
    if (UNLIKELY(transport_of_fd_borrowed(loop, op->fd) != NULL)) {
        PyObject *shown = PyLong_FromLong(op->fd);
        int rc = shown == NULL ? -1 : transport_check_fd_free(loop, op->fd, shown);
        Py_XDECREF(shown);
        return rc;
    }
    op->future = future_new(loop);
    if (op->future == NULL) {
        return -1;
    }
    op->state = SOCK_OP_WAITING;
    return sock_op_watch(op);
}

/* The socket's method has raised SystemExit or KeyboardInterrupt: it is asked again when the loop is run again, as on
 * asyncio. */
static COLD int
sock_op_try_again(SockOp *op)
{
    PyObject *raised = compat_take_raised();
    if (op->state == SOCK_OP_WAITING && !future_is_done((Future *)op->future) && sock_op_watch(op) < 0) {
        PyErr_Clear();
    }
    compat_set_raised(raised);
    return -1;
}

/* Ready entry. */
static int
sock_op_on_ready(Loop *loop, PyObject *self, PyObject *arg)
{
    SockOp *op = (SockOp *)self;
    PyObject *result = NULL;
    if (op->state != SOCK_OP_WAITING || future_is_done((Future *)op->future)) {
        return 0;
    }
    loop_leave_task(loop);
    int rc = -1;
    if (python_socket_fd(loop->st, op->sock) == op->fd) {
        rc = sock_op_try(op, &result);
    }
    else if (!PyErr_Occurred()) {
        raise_errno(-EBADF);
    }
    if (rc == 0) {
        if (op->state != SOCK_OP_WAITING || future_is_done((Future *)op->future)) {
            return 0; /* the socket's method ended it */
        }
        rc = sock_op_watch(op);
        return rc < 0 ? sock_op_fail(op) : 0;
    }
    if (rc < 0) {
        return sock_op_fail(op) < 0 ? sock_op_try_again(op) : 0;
    }
    rc = future_set_result((Future *)op->future, result);
    Py_DECREF(result);
    return rc < 0 ? sock_op_report(op) : 0;
}

/* No more: the watch, the data and the references go.  Keeps a raised exception. */
static void
sock_op_finish(SockOp *op)
{
    uint8_t state = op->state;
    op->state = SOCK_OP_DONE;
    if (op->view.obj != NULL) {
        PyBuffer_Release(&op->view);
    }
    if (state == SOCK_OP_WAITING) {
        watch_stop_own(op->loop, op->fd, sock_op_kinds[op->kind].side, sock_op_on_ready, (PyObject *)op);
    }
}

/* ---- the first step */

/* isinstance(sock, ssl.SSLSocket), as asyncio's _check_ssl_socket.  A program without ssl has no such socket. */
static COLD int
sock_op_check_not_tls(PyObject *sock)
{
    PyObject *name = PyUnicode_FromString("ssl");
    PyObject *ssl = name == NULL ? NULL : PyImport_GetModule(name);
    Py_XDECREF(name);
    if (ssl == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *type = PyObject_GetAttrString(ssl, "SSLSocket");
    int is_tls = type == NULL ? -1 : PyObject_IsInstance(sock, type);
    Py_XDECREF(type);
    Py_DECREF(ssl);
    if (is_tls > 0) {
        PyErr_SetString(PyExc_TypeError, "Socket cannot be of type SSLSocket");
    }
    return is_tls == 0 ? 0 : -1;
}

/* Debug mode: a blocking socket would stop the whole loop. */
static COLD int
sock_op_check_nonblocking(PyObject *sock)
{
    PyObject *timeout = PyObject_CallMethod(sock, "gettimeout", NULL);
    PyObject *zero = timeout == NULL ? NULL : PyLong_FromLong(0);
    int differs = zero == NULL ? -1 : PyObject_RichCompareBool(timeout, zero, Py_NE);
    Py_XDECREF(timeout);
    Py_XDECREF(zero);
    if (differs > 0) {
        PyErr_SetString(PyExc_ValueError, "the socket must be non-blocking");
    }
    return differs == 0 ? 0 : -1;
}

/* sock_recvfrom_into(sock, buf, nbytes=0): nothing means all of buf. */
static int
sock_op_fill_nbytes(SockOp *op)
{
    int given = op->args[1] == NULL ? 0 : PyObject_IsTrue(op->args[1]);
    if (given != 0) {
        return given < 0 ? -1 : 0;
    }
    Py_ssize_t n = PyObject_Size(op->args[0]);
    if (n < 0) {
        return -1;
    }
    Py_XSETREF(op->args[1], PyLong_FromSsize_t(n));
    return op->args[1] == NULL ? -1 : 0;
}

/* As sock_op_try, with the checks before it and the wait after it. */
static int
sock_op_begin(SockOp *op, PyObject **result)
{
    struct state *st = op->loop->st;
    op->is_plain = python_socket_is_plain(st, op->sock);
    if (UNLIKELY(!op->is_plain) && sock_op_check_not_tls(op->sock) < 0) {
        return -1;
    }
    if (UNLIKELY(op->loop->debug) && sock_op_check_nonblocking(op->sock) < 0) {
        return -1;
    }
    if (op->kind == SOCK_OP_RECVFROM_INTO && sock_op_fill_nbytes(op) < 0) {
        return -1;
    }
    op->fd = op->is_plain ? python_socket_fd(st, op->sock) : -1;
    int rc = sock_op_try(op, result);
    if (rc != 0) {
        return rc;
    }
    /* the method may have changed it; sockets of other kinds are asked only when they must wait */
    op->fd = python_socket_fd(st, op->sock);
    if (op->fd < 0) {
        return PyErr_Occurred() ? -1 : raise_errno(-EBADF);
    }
    return sock_op_wait(op);
}

/* It is over, or in the middle of its first step. */
static COLD void
sock_op_refuse(SockOp *op)
{
    if (op->state == SOCK_OP_BEGINNING) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
    }
    else {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    }
}

static PySendResult
SockOp_am_send(PyObject *self, PyObject *value, PyObject **result)
{
    SockOp *op = (SockOp *)self;
    if (op->state == SOCK_OP_NEW) {
        if (value != Py_None) {
            PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
            *result = NULL;
            return PYGEN_ERROR;
        }
        *result = NULL;
        op->state = SOCK_OP_BEGINNING;
        int rc = sock_op_begin(op, result);
        if (rc != 0) {
            if (rc < 0) {
                coro_mend_raised();
            }
            sock_op_finish(op);
            return rc < 0 ? PYGEN_ERROR : PYGEN_RETURN;
        }
    }
    else if (op->state == SOCK_OP_DONE || op->state == SOCK_OP_BEGINNING) {
        sock_op_refuse(op);
        *result = NULL;
        return PYGEN_ERROR;
    }
    PySendResult sent = future_send((Future *)op->future, result);
    if (sent != PYGEN_NEXT) {
        sock_op_finish(op);
    }
    return sent;
}

/* ---- the Python face */

static PyObject *
SockOp_iternext(PyObject *self)
{
    PyObject *result;
    switch (SockOp_am_send(self, Py_None, &result)) {
    case PYGEN_NEXT:
        return result;
    case PYGEN_RETURN:
        return future_give_stop_iteration(((SockOp *)self)->loop->st, result);
    default:
        return NULL;
    }
}

static PyObject *
SockOp_send(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult sent = SockOp_am_send(self, value, &result);
    return future_give(sent, result);
}

static PyObject *
SockOp_throw(PyObject *self, PyObject *const *args, Py_ssize_t n_args)
{
    SockOp *op = (SockOp *)self;
    if (op->state == SOCK_OP_DONE || op->state == SOCK_OP_BEGINNING) {
        sock_op_refuse(op);
        return NULL;
    }
    sock_op_finish(op);
    future_raise_thrown(args, n_args);
    return NULL;
}

static PyObject *
SockOp_close(PyObject *self, PyObject *unused)
{
    if (((SockOp *)self)->state == SOCK_OP_BEGINNING) {
        sock_op_refuse((SockOp *)self);
        return NULL;
    }
    sock_op_finish((SockOp *)self);
    Py_RETURN_NONE;
}

static PyObject *
SockOp_await(PyObject *self)
{
    return Py_NewRef(self);
}

static PyObject *
SockOp_get_name(PyObject *self, void *format)
{
    return PyUnicode_FromFormat(format, sock_op_kinds[((SockOp *)self)->kind].name);
}

static PyObject *
SockOp_repr(PyObject *self)
{
    SockOp *op = (SockOp *)self;
    return PyUnicode_FromFormat("<coroutine object Loop.%s at %p>", sock_op_kinds[op->kind].name, self);
}

static int
SockOp_traverse(PyObject *self, visitproc visit, void *arg)
{
    SockOp *op = (SockOp *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(op->loop);
    Py_VISIT(op->sock);
    Py_VISIT(op->args[0]);
    Py_VISIT(op->args[1]);
    Py_VISIT(op->future);
    Py_VISIT(op->view.obj);
    return 0;
}

static int
SockOp_clear(PyObject *self)
{
    SockOp *op = (SockOp *)self;
    Py_CLEAR(op->sock);
    Py_CLEAR(op->args[0]);
    Py_CLEAR(op->args[1]);
    Py_CLEAR(op->future);
    return 0;
}

static COLD void
sock_op_warn_unawaited(SockOp *op)
{
    PyObject *raised = compat_take_raised();
    if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine 'Loop.%s' was never awaited", sock_op_kinds[op->kind].name)
        < 0) {
        PyErr_WriteUnraisable(NULL);
    }
    compat_set_raised(raised);
}

static inline void
sock_op_free(SockOp *op)
{
    sock_op_finish(op);
    SockOp_clear((PyObject *)op);
    Loop *loop = op->loop;
    freelist_push(freelist_of(loop->st, FREELIST_SOCK_OP), (PyObject *)op);
    Py_DECREF(loop);
}

static void
SockOp_dealloc(PyObject *self)
{
    SockOp *op = (SockOp *)self;
    PyObject_GC_UnTrack(self);
    if (UNLIKELY(op->state == SOCK_OP_NEW)) {
        op->state = SOCK_OP_DONE; /* once only: the trashcan comes here again */
        sock_op_warn_unawaited(op);
    }
    if (op->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    if (LIKELY(!dealloc_goes_deeper(op->sock) && !dealloc_goes_deeper(op->args[0])
               && !dealloc_goes_deeper(op->args[1]))) {
        sock_op_free(op);
        return;
    }
    Py_TRASHCAN_BEGIN(self, SockOp_dealloc)
    sock_op_free(op);
    Py_TRASHCAN_END
}

/* In sock_coro.c: what inspect asks of a coroutine. */
static PyObject *SockOp_get_class(PyObject *self, void *closure);
static PyObject *SockOp_get_code(PyObject *self, void *closure);
static PyObject *SockOp_get_frame(PyObject *self, void *closure);
static PyObject *SockOp_get_awaited(PyObject *self, void *closure);
static PyObject *SockOp_get_origin(PyObject *self, void *closure);
static PyObject *SockOp_is_running(PyObject *self, void *closure);
static PyObject *SockOp_is_suspended(PyObject *self, void *closure);
#if COMPAT_CORO_STATE
static PyObject *SockOp_get_state(PyObject *self, void *closure);
#endif

static PyMethodDef SockOp_methods[] = {
    {"send", SockOp_send, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))SockOp_throw, METH_FASTCALL, NULL},
    {"close", SockOp_close, METH_NOARGS, NULL},
    {NULL},
};

static PyGetSetDef SockOp_getset[] = {
    {"__class__", SockOp_get_class},
    {"cr_await", SockOp_get_awaited},
    {"cr_code", SockOp_get_code},
    {"cr_frame", SockOp_get_frame},
    {"cr_origin", SockOp_get_origin},
    {"cr_running", SockOp_is_running},
#if COMPAT_CORO_STATE
    {"cr_state", SockOp_get_state},
#endif
    {"cr_suspended", SockOp_is_suspended},
    {"__name__", SockOp_get_name, NULL, NULL, "%s"},
    {"__qualname__", SockOp_get_name, NULL, NULL, "Loop.%s"},
    {NULL},
};

static PyMemberDef SockOp_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(SockOp, weakrefs), READONLY, NULL},
    {NULL},
};

static PyType_Slot SockOp_slots[] = {
    {Py_tp_doc, "What loop.sock_recv and its sisters return: to be awaited once."},
    {Py_tp_methods, SockOp_methods},
    {Py_tp_getset, SockOp_getset},
    {Py_tp_members, SockOp_members},
    {Py_tp_repr, SockOp_repr},
    {Py_tp_iter, SockOp_await},
    {Py_tp_iternext, SockOp_iternext},
    {Py_am_await, SockOp_await},
    {Py_am_send, SockOp_am_send},
    {Py_tp_traverse, SockOp_traverse},
    {Py_tp_clear, SockOp_clear},
    {Py_tp_dealloc, SockOp_dealloc},
    {0, NULL},
};

static PyType_Spec SockOp_spec = {
    .name = "asyncloop._asyncloop.SockOp",
    .basicsize = sizeof(SockOp),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = SockOp_slots,
};

static int
sock_ops_register(PyObject *module, struct state *st)
{
    return state_add_type(module, &st->SockOp_type, &SockOp_spec, NULL, false, SECTION_AT(SockOp, loop));
}

static PyObject *
sock_op_new(PyObject *self, enum sock_op_kind kind, PyObject *const *args, Py_ssize_t n_args, PyObject *names)
{
    Loop *loop = (Loop *)self;
    struct state *st = loop->st;
    PyObject *slots[3] = {NULL, NULL, NULL};
    if (args_bind(&sock_op_kinds[kind].signature, args, n_args, names, slots) < 0) {
        return NULL;
    }
    SockOp *op = (SockOp *)freelist_pop(freelist_of(st, FREELIST_SOCK_OP), st->SockOp_type);
    if (op == NULL && (op = PyObject_GC_New(SockOp, st->SockOp_type)) == NULL) {
        return NULL;
    }
    op->loop = (Loop *)Py_NewRef(self);
    op->sock = Py_NewRef(slots[0]);
    op->args[0] = Py_XNewRef(slots[1]);
    op->args[1] = Py_XNewRef(slots[2]);
    op->future = NULL;
    op->weakrefs = NULL;
    op->view.obj = NULL;
    op->sent = 0;
    op->fd = -1;
    op->kind = (uint8_t)kind;
    op->state = SOCK_OP_NEW;
    op->is_plain = false;
    PyObject_GC_Track(op);
    return (PyObject *)op;
}

static PyObject *
Loop_sock_recv(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *names)
{
    return sock_op_new(self, SOCK_OP_RECV, args, n_args, names);
}

static PyObject *
Loop_sock_recv_into(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *names)
{
    return sock_op_new(self, SOCK_OP_RECV_INTO, args, n_args, names);
}

static PyObject *
Loop_sock_recvfrom(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *names)
{
    return sock_op_new(self, SOCK_OP_RECVFROM, args, n_args, names);
}

static PyObject *
Loop_sock_recvfrom_into(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *names)
{
    return sock_op_new(self, SOCK_OP_RECVFROM_INTO, args, n_args, names);
}

static PyObject *
Loop_sock_sendall(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *names)
{
    return sock_op_new(self, SOCK_OP_SENDALL, args, n_args, names);
}

static PyObject *
Loop_sock_sendto(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *names)
{
    return sock_op_new(self, SOCK_OP_SENDTO, args, n_args, names);
}

static PyObject *
Loop_sock_accept(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *names)
{
    return sock_op_new(self, SOCK_OP_ACCEPT, args, n_args, names);
}

static PyObject *
Loop__sock_connect(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *names)
{
    return sock_op_new(self, SOCK_OP_CONNECT, args, n_args, names);
}

static PyObject *
Loop__sock_wait_writable(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *names)
{
    return sock_op_new(self, SOCK_OP_WAIT_WRITABLE, args, n_args, names);
}
