/* net/conn/listener.c -- accepting connections until the kernel has no more, resting when it has no descriptors, and
 * the type Listener. */
#include "net/conn/listener.h"

#include "core/context.h"
#include "core/deferred.h"
#include "core/log.h"
#include "core/raise.h"
#include "core/watch.h"
#include "net/fd/python_socket.h"
#include "net/conn/sock_transport.h"

#include <errno.h>

typedef struct {
    PyObject_HEAD
    PyObject *sock, *factory;
    Server *server;
    PyObject *context; /* a slot; each connection gets a copy */
    struct timer timer; /* scheduled: accepting is paused */
    int fd;
    uint32_t backlog;
    bool is_watched;
    uint8_t singles;
} Listener;

#define LISTENER_SINGLES 15 /* events that take one connection, after one that had no second: a try that finds none is a lost system call */

static const double LISTENER_RETRY_S = 1.0; /* asyncio.constants.ACCEPT_RETRY_DELAY */

static int listener_on_acceptable(Loop *loop, PyObject *self, PyObject *arg);

/* An accepted connection could not be set up, with the raised exception: asyncio speaks of it only in debug mode. */
static COLD int
listener_on_failed_connection(Loop *loop, PyObject *protocol)
{
    if (PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        return -1;
    }
    if (!loop->debug) {
        PyErr_Clear();
        return 0;
    }
    return loop_report(loop, "Error on transport creation for incoming connection",
                       protocol != NULL ? "protocol" : NULL, protocol, NULL);
}

static COLD int
listener_log_connection(Loop *loop, PyObject *server, Transport *t)
{
    PyObject *peer = transport_get_extra(t, loop->st->str.peername, Py_None);
    PyObject *sock = peer == NULL ? NULL : transport_socket(t);
    int rc = sock == NULL ? -1
                          : log_line(loop->st, "debug", "(sOOO)", "%r got a new connection from %r: %r",
                                     server != NULL ? server : Py_None, peer, sock);
    Py_XDECREF(peer);
    Py_XDECREF(sock);
    return rc;
}

/* factory() in the connection's context. */
static PyObject *
listener_call_factory(Loop *loop, Listener *l, PyObject **context)
{
    if (l->context != NULL && (*context = PyContext_Copy(l->context)) == NULL) {
        return NULL;
    }
    if (context_enter(loop, context) < 0) {
        return NULL;
    }
    PyObject *factory = Py_NewRef(l->factory); /* it may stop us */
    PyObject *protocol = PyObject_CallNoArgs(factory);
    Py_DECREF(factory);
    context_leave(loop, context);
    return protocol;
}

/* Takes over the accepted descriptor.  0, or -1 with SystemExit or KeyboardInterrupt. */
static int
listener_open_connection(Loop *loop, Listener *l, int fd, const struct sockaddr_storage *address, socklen_t n_bytes)
{
    PyObject *context = NULL, *server = Py_XNewRef((PyObject *)l->server);
    PyObject *protocol = listener_call_factory(loop, l, &context);
    Transport *t = NULL;
    int rc;
    if (protocol == NULL) {
        Py_XDECREF(context);
        sock_close(fd);
        rc = listener_on_failed_connection(loop, NULL);
    }
    else if ((t = sock_transport_open(loop, fd, NULL, protocol, context, NULL)) == NULL) {
        sock_close(fd);
        rc = listener_on_failed_connection(loop, protocol);
    }
    else {
        t->reads_first = true;
        rc = transport_keep_name(t, &t->peer_name, loop->st->str.peername, address, n_bytes);
        if (server != NULL) {
            server_attach((Server *)server, t);
        }
        if (rc == 0 && UNLIKELY(loop->debug)) {
            rc = listener_log_connection(loop, server, t);
        }
        if (rc < 0) {
            rc = listener_on_failed_connection(loop, protocol);
        }
    }
    Py_XDECREF(t);
    Py_XDECREF(protocol);
    Py_XDECREF(server);
    return rc;
}

static int
listener_watch(Loop *loop, Listener *l)
{
    if (watch_start(loop, l->fd, WATCH_READ, listener_on_acceptable, (PyObject *)l, false) < 0) {
        return -1;
    }
    l->is_watched = true;
    return 0;
}

static void
listener_unwatch(Loop *loop, Listener *l)
{
    if (l->is_watched) {
        l->is_watched = false;
        watch_stop_own(loop, l->fd, WATCH_READ, listener_on_acceptable, (PyObject *)l);
    }
}

/* Nothing left to accept with: report, and try again later. */
static COLD int
listener_pause(Loop *loop, Listener *l, int error)
{
    double now;
    listener_unwatch(loop, l);
    PyObject *shown = PyObject_CallOneArg(loop->st->TransportSocket, l->sock);
    if (shown == NULL) {
        return loop_report(loop, "socket.accept() out of system resource", NULL);
    }
    raise_errno(error);
    int rc = loop_report(loop, "socket.accept() out of system resource", "socket", shown, NULL);
    Py_DECREF(shown);
    if (rc < 0 || loop_now(loop, &now) < 0) {
        return -1;
    }
    return timer_is_scheduled(&l->timer) ? 0 : loop_timer_push(loop, &l->timer, (PyObject *)l, now + LISTENER_RETRY_S);
}

static int
listener_on_retry(Loop *loop, PyObject *self, PyObject *arg)
{
    Listener *l = (Listener *)self;
    if (l->sock == NULL || python_socket_fd(loop->st, l->sock) != l->fd) {
        PyErr_Clear();
        return 0; /* stopped or closed meanwhile */
    }
    return listener_watch(loop, l) < 0
               ? deferred_report(loop, listener_on_retry, self, arg, "BaseSelectorEventLoop._start_serving", NULL, 0)
               : 0;
}

static inline bool
listener_is_short(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

static int
listener_on_acceptable(Loop *loop, PyObject *self, PyObject *arg)
{
    Listener *l = (Listener *)self;
    loop_leave_task(loop);
    uint32_t most = l->backlog;
    if (l->singles > 0) {
        l->singles--;
        most = 0;
    }
    /* Where a resource ran out asyncio goes on, as often as ever: its handler may have closed something. */
    for (uint32_t i = 0; i <= most && (l->is_watched || (l->sock != NULL && timer_is_scheduled(&l->timer))); i++) {
        struct sockaddr_storage address;
        socklen_t n_bytes = sizeof(address);
        if (python_socket_fd(loop->st, l->sock) != l->fd) {
            PyErr_Clear();
            listener_unwatch(loop, l); /* closed by somebody else */
            return 0;
        }
        int fd = sock_accept(l->fd, &address, &n_bytes);
        if (fd >= 0) {
            loop->net->n_accepted++;
            if (listener_open_connection(loop, l, fd, &address, n_bytes) < 0) {
                return -1;
            }
        }
        else if (sock_would_block(fd)) {
            l->singles = i == 1 ? LISTENER_SINGLES : 0;
            return 0;
        }
        else if (fd != -ECONNABORTED) {
            if (!listener_is_short(fd)) {
                raise_errno(fd);
                return deferred_report(loop, listener_on_acceptable, self, arg,
                                       "BaseSelectorEventLoop._accept_connection", NULL, 0);
            }
            most = l->backlog - (l->backlog > 0 && !COMPAT_ACCEPTS_ONE_MORE);
            if (listener_pause(loop, l, fd) < 0) {
                return -1;
            }
        }
    }
    return 0;
}

/* ---- the Python face */

PyDoc_STRVAR(Loop__start_listening_doc,
             "_start_listening($self, sock, protocol_factory, server, backlog, context, /)\n--\n\n"
             "Accept connections on a listening socket.\n\n"
             "server: a Server or None.  context: contextvars.Context, or None for a copy of the current one; each "
             "connection runs in a copy of it.\n"
             "Returns: a Listener, for _stop_listening.");

static PyObject *
Loop__start_listening(PyObject *self, PyObject *const *args, Py_ssize_t n_args)
{
    Loop *loop = (Loop *)self;
    struct state *st = loop->st;
    if (n_args != 5) {
        PyErr_Format(PyExc_TypeError, "_start_listening() takes 5 arguments (%zd given)", n_args);
        return NULL;
    }
    if (args[2] != Py_None && !PyObject_TypeCheck(args[2], st->Server_type)) {
        PyErr_Format(PyExc_TypeError, "server must be a Server or None, not %R", args[2]);
        return NULL;
    }
    if (args[4] != Py_None && !PyContext_CheckExact(args[4])) {
        PyErr_Format(PyExc_TypeError, "context must be a Context or None, not %R", args[4]);
        return NULL;
    }
    Py_ssize_t backlog = PyNumber_AsSsize_t(args[3], NULL);
    int fd = backlog == -1 && PyErr_Occurred() ? -1 : python_socket_fd(st, args[0]);
    if (PyErr_Occurred() || loop_check_closed(loop) < 0) {
        return NULL;
    }
    Listener *l = (Listener *)st->Listener_type->tp_alloc(st->Listener_type, 0);
    if (l == NULL) {
        return NULL;
    }
    timer_init(&l->timer, TIMER_KIND_LISTENER);
    l->sock = Py_NewRef(args[0]);
    l->factory = Py_NewRef(args[1]);
    l->server = args[2] == Py_None ? NULL : (Server *)Py_NewRef(args[2]);
    l->backlog = backlog < 0 ? 0 : backlog > 65535 ? 65535 : (uint32_t)backlog;
    l->fd = fd;
    int rc = 0;
    if (args[4] != Py_None) {
        l->context = Py_NewRef(args[4]);
    }
    else {
        rc = context_copy_current(&l->context);
    }
    if (fd >= 0) {
        sock_set_nodelay(fd);
    }
    if (rc < 0 || listener_watch(loop, l) < 0) {
        Py_DECREF(l);
        return NULL;
    }
    return (PyObject *)l;
}

static PyObject *
Loop__stop_listening(PyObject *self, PyObject *listener)
{
    Loop *loop = (Loop *)self;
    if (Py_TYPE(listener) != loop->st->Listener_type) {
        PyErr_Format(PyExc_TypeError, "not a Listener: %R", listener);
        return NULL;
    }
    Listener *l = (Listener *)Py_NewRef(listener);
    listener_unwatch(loop, l);
    if (timer_is_scheduled(&l->timer)) {
        loop_timer_remove(loop, &l->timer, (PyObject *)l);
    }
    Py_CLEAR(l->server);
    Py_CLEAR(l->factory);
    Py_CLEAR(l->sock);
    Py_DECREF(l);
    Py_RETURN_NONE;
}

static PyObject *
Listener_repr(PyObject *self)
{
    Listener *l = (Listener *)self;
    return PyUnicode_FromFormat("<Listener fd=%d%s>", l->fd,
                                l->is_watched                   ? ""
                                : timer_is_scheduled(&l->timer) ? " paused"
                                                                : " stopped");
}

static int
Listener_traverse(PyObject *self, visitproc visit, void *arg)
{
    Listener *l = (Listener *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(l->sock);
    Py_VISIT(l->factory);
    Py_VISIT(l->server);
    Py_VISIT(l->context);
    return 0;
}

static int
Listener_clear(PyObject *self)
{
    Listener *l = (Listener *)self;
    Py_CLEAR(l->sock);
    Py_CLEAR(l->factory);
    Py_CLEAR(l->server);
    Py_CLEAR(l->context);
    return 0;
}

static void
Listener_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    INVARIANT(!timer_is_scheduled(&((Listener *)self)->timer));
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, Listener_dealloc)
    Listener_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static PyType_Slot Listener_slots[] = {
    {Py_tp_doc, "Accepts the connections of one listening socket."},
    {Py_tp_repr, Listener_repr},
    {Py_tp_traverse, Listener_traverse},
    {Py_tp_clear, Listener_clear},
    {Py_tp_dealloc, Listener_dealloc},
    {0, NULL},
};

static PyType_Spec Listener_spec = {
    .name = "asyncloop._asyncloop.Listener",
    .basicsize = sizeof(Listener),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Listener_slots,
};

static int
listener_register(PyObject *module, struct state *st)
{
    st->timer_kinds[TIMER_KIND_LISTENER].on_due = listener_on_retry;
    st->timer_kinds[TIMER_KIND_LISTENER].offset = offsetof(Listener, timer);
    return state_add_type(module, &st->Listener_type, &Listener_spec, NULL, false, SECTION_RUNNING);
}
