/* net/udp/udp.c -- reading and sending datagrams, errors, the end. */
#include "net/udp/udp.h"

#include "core/ask.h"
#include "core/context.h"
#include "core/handle.h"
#include "core/raise.h"
#include "core/watch.h"
#include "net/conn/fdtable.h"
#include "net/fd/python_socket.h"
#include "net/conn/sock_transport.h"
#include "net/udp/udp_batch.h"
#include "plain/clock.h"

#include <netinet/in.h>

#define UDP_SENDS_EMPTY COMPAT_AT_LEAST(3, 13)               /* before, sendto(b'') does nothing */
#define UDP_HEADER_BYTES (COMPAT_AT_LEAST(3, 13) ? 8u : 0u) /* counted for each queued datagram */

/* ---- the queue */

static void
udp_queue_clear(struct udp_queue *q)
{
    struct udp_queue old = *q;
    memset(q, 0, sizeof(*q)); /* an address may be anything: what runs now sees an empty queue */
    for (uint32_t i = 0; i < old.n; i++) {
        struct udp_datagram *d = &old.items[(old.head + i) & (old.capacity - 1)];
        Py_DECREF(d->data);
        Py_DECREF(d->address);
    }
    PyMem_Free(old.items);
}

static COLD int
udp_queue_grow(struct udp_queue *q)
{
    uint32_t capacity = q->capacity == 0 ? 8 : q->capacity * 2;
    struct udp_datagram *items = capacity <= UINT32_MAX / 4 ? PyMem_New(struct udp_datagram, capacity) : NULL;
    if (items == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (uint32_t i = 0; i < q->n; i++) {
        items[i] = q->items[(q->head + i) & (q->capacity - 1)];
    }
    PyMem_Free(q->items);
    q->items = items;
    q->capacity = capacity;
    q->head = 0;
    return 0;
}

static inline size_t
udp_counted_bytes(struct udp_datagram d)
{
    return (size_t)PyBytes_GET_SIZE(d.data) + UDP_HEADER_BYTES;
}

/* At the end, or (again) at the front.  Steals the datagram's references, also on failure. */
static int
udp_queue_push(struct udp_queue *q, struct udp_datagram d, bool at_front)
{
    if (q->n == q->capacity && udp_queue_grow(q) < 0) {
        Py_DECREF(d.data);
        Py_DECREF(d.address);
        return -1;
    }
    if (at_front) {
        q->head = (q->head - 1) & (q->capacity - 1);
    }
    q->items[(q->head + (at_front ? 0 : q->n)) & (q->capacity - 1)] = d;
    q->n++;
    q->n_bytes += udp_counted_bytes(d);
    return 0;
}

static struct udp_datagram
udp_queue_pop(struct udp_queue *q)
{
    struct udp_datagram d = q->items[q->head];
    q->head = (q->head + 1) & (q->capacity - 1);
    q->n--;
    q->n_bytes -= udp_counted_bytes(d);
    return d;
}

/* ---- errors */

/* The raised exception: an OSError is the protocol's, anything else ends the transport.  -1: what error_received
 * raised, or SystemExit, KeyboardInterrupt. */
static COLD int
udp_on_error(DatagramTransport *u, const char *message)
{
    Transport *t = &u->base;
    if (!PyErr_ExceptionMatches(PyExc_OSError)) {
        int rc = transport_fatal_error(t, message);
        if (rc == 0) {
            udp_queue_clear(&u->queue);
        }
        return rc;
    }
    PyObject *exception = compat_take_raised();
    int rc = t->protocol.object == NULL ? 0 : protocol_call_error_received(t->loop->st, &t->protocol, exception);
    Py_DECREF(exception);
    return rc;
}

/* ---- receiving */

/* The sender as Python has it; the last one is remembered. */
static PyObject *
udp_sender(DatagramTransport *u, const struct sockaddr_storage *address, socklen_t n_bytes)
{
    if (u->known != NULL && n_bytes == u->known_raw.n_bytes && memcmp(address, u->known_raw.bytes, n_bytes) == 0) {
        return Py_NewRef(u->known);
    }
    if (n_bytes == 0) { /* no name, and nothing was written to *address */
        Py_RETURN_NONE;
    }
    PyObject *sender = address_to_python(address, n_bytes);
    if (sender != NULL && address_keep(&u->known_raw, address, n_bytes)) {
        Py_XSETREF(u->known, Py_NewRef(sender));
    }
    return sender;
}

/* 1 and *data, *sender; 0: nothing there; -1. */
static int
udp_receive_native(DatagramTransport *u, PyObject **data, PyObject **sender)
{
    struct sockaddr_storage address;
    socklen_t n_address = sizeof(address);
    char *buffer = loop_read_buffer(u->base.loop);
    if (UNLIKELY(buffer == NULL)) {
        return -1;
    }
    ssize_t n = sock_recvfrom(u->base.fd, buffer, UDP_DATAGRAM_MAX, &address, &n_address);
    if (n < 0) {
        return sock_would_block(n) ? 0 : raise_errno((int)n);
    }
    u->base.loop->net->bytes_in += (size_t)n;
    PyObject *bytes = PyBytes_FromStringAndSize(buffer, n);
    PyObject *from = bytes == NULL ? NULL : udp_sender(u, &address, n_address);
    if (from == NULL) {
        Py_XDECREF(bytes);
        return -1;
    }
    *data = bytes;
    *sender = from;
    return 1;
}

/* The raised exception only says that it would block: 0, the exception gone; else -1. */
static int
udp_would_block_raised(void)
{
    if (PyErr_ExceptionMatches(PyExc_BlockingIOError) || PyErr_ExceptionMatches(PyExc_InterruptedError)) {
        PyErr_Clear();
        return 0;
    }
    return -1;
}

/* 1 and the next datagram, 0: nothing there, -1.  *is_last: no other was waiting. */
static int
udp_receive(DatagramTransport *u, bool is_owner, PyObject **data, PyObject **sender, bool *is_last)
{
    if (transport_check_fd(&u->base) < 0) {
        if (!udp_batch_has_more(u)) {
            return -1;
        }
        PyErr_Clear();
        udp_batch_drop(u); /* closed behind us in the middle of a burst: the rest would have gone with the socket */
        return 0;
    }
    if (udp_batch_has_more(u)) {
        udp_batch_take(u, data, sender);
        *is_last = false;
        return 1;
    }
    if (is_owner) {
        return udp_batch_receive(u, data, sender, is_last);
    }
    *is_last = false;
    if (LIKELY(u->is_native)) {
        return udp_receive_native(u, data, sender);
    }
    PyObject *received = PyObject_CallMethod(u->base.sock, "recvfrom", "i", UDP_DATAGRAM_MAX);
    if (received == NULL) {
        return udp_would_block_raised();
    }
    int rc = PyArg_ParseTuple(received, "OO:recvfrom", data, sender) ? 1 : -1;
    if (rc > 0) {
        Py_INCREF(*data);
        Py_INCREF(*sender);
        u->base.loop->net->bytes_in += PyBytes_Check(*data) ? (size_t)PyBytes_GET_SIZE(*data) : 0;
    }
    Py_DECREF(received);
    return rc;
}

/* Would the loop do nothing but poll before it came back here? */
static inline bool
udp_may_read_on(const DatagramTransport *u)
{
    const Transport *t = &u->base;
    const Loop *loop = t->loop;
    const struct timer *first = timers_first(&loop->timers);
    return t->read_watched && t->n_lost == 0 && loop->ready.n == 0 && !loop->poll_soon && loop->flush.first == NULL
           && loop->state == LOOP_RUNNING && !loop->stopping
           && (first == NULL || (!loop->has_own_time && first->when > clock_now()));
}

/* Deliver the next one, and up to n_left while nothing else is to be done. */
static int
udp_read(DatagramTransport *u, bool is_owner, int n_left)
{
    Transport *t = &u->base;
    bool is_last = false;
    for (bool is_first = true;; is_first = false) {
        PyObject *data, *sender;
        int rc = udp_receive(u, is_owner, &data, &sender, &is_last);
        if (rc == 0) {
            u->single_reads = is_first || is_owner ? 0 : UDP_SINGLE_READS;
            return 0;
        }
        if (UNLIKELY(rc < 0)) {
            return udp_on_error(u, "Fatal read error on datagram transport") < 0
                       ? handle_report_method(t->loop, (PyObject *)u, "_read_ready", NULL)
                       : 0;
        }
        rc = t->protocol.object == NULL ? 0 : protocol_call_datagram_received(t->loop->st, &t->protocol, data, sender);
        Py_DECREF(data);
        Py_DECREF(sender);
        if (UNLIKELY(rc < 0)) {
            return handle_report_method(t->loop, (PyObject *)u, "_read_ready", NULL);
        }
        if (--n_left == 0 || is_last || !udp_may_read_on(u)) {
            return 0;
        }
        if (is_owner && udp_batch_is_late(u)) {
            loop_poll_soon(t->loop);
            return 0;
        }
    }
}

/* udp_read, with the loop's batch where a burst may be waiting. */
static int
udp_read_batch(DatagramTransport *u)
{
    int n_left = u->base.loop->debug || !u->is_native ? 1 : UDP_READS_MAX;
    bool is_owner = false;
    if (udp_batch_has_more(u) || u->single_reads == 0) {
        is_owner = n_left > 1 && u->family != AF_UNIX && udp_batch_enter(u);
    }
    else {
        u->single_reads--;
        n_left = 1;
    }
    int rc = udp_read(u, is_owner, n_left);
    PyObject *raised = rc < 0 ? compat_take_raised() : NULL;
    if (is_owner && udp_batch_leave(u) < 0) {
        rc = -1;
    }
    if (udp_batch_schedule(u) < 0 && transport_fatal_error(&u->base, "Fatal read error on datagram transport") < 0) {
        rc = -1;
    }
    if (raised != NULL) {
        compat_set_raised(raised);
    }
    return rc;
}

static int
udp_on_readable(Loop *loop, PyObject *self, PyObject *arg)
{
    DatagramTransport *u = (DatagramTransport *)self;
    if (UNLIKELY(!u->base.read_watched || u->base.n_lost > 0)) {
        return 0; /* paused or closed after the event was seen */
    }
    if (u->inbox != NULL && u->inbox->is_scheduled) {
        return 0; /* those before it come first */
    }
    loop_leave_task(loop);
    if (UNLIKELY(context_enter(loop, &u->base.context) < 0)) {
        return -1;
    }
    bool was_reading = u->reading;
    u->reading = true;
    int rc = udp_read_batch(u);
    u->reading = was_reading;
    if (u->sent_elsewhere) {
        u->sent_elsewhere = false;
        loop_poll_soon(loop);
    }
    context_leave(loop, &u->base.context);
    return rc;
}

/* ---- sending */

/* Its bit in datagram_ports; all of them when there is no telling.  AF_INET and AF_INET6 have the port in the same
 * place. */
static inline uint64_t
udp_port_bit(const void *address, size_t n_bytes)
{
    struct sockaddr_in a;
    if (n_bytes < sizeof(a)) {
        return UINT64_MAX;
    }
    memcpy(&a, address, sizeof(a));
    return a.sin_port == 0 ? UINT64_MAX : UINT64_C(1) << (ntohs(a.sin_port) & 63);
}

/* Something was sent: asyncio would poll, and hear it at once if it comes to this very loop. */
static inline void
udp_note_sent(DatagramTransport *u, uint64_t port_bit)
{
    if (u->reading && (port_bit & u->base.loop->net->datagram_ports) == 0) {
        u->sent_elsewhere = true;
    }
    else {
        loop_poll_soon(u->base.loop);
    }
}

/* The kernel's form of address, without asking anybody. */
static inline bool
udp_raw_address(DatagramTransport *u, PyObject *address, struct sockaddr_storage *raw, socklen_t *n_bytes)
{
    if (address == u->known) {
        *n_bytes = u->known_raw.n_bytes;
        memcpy(raw, u->known_raw.bytes, *n_bytes);
        return true;
    }
    return address_from_python(address, u->family, raw, n_bytes);
}

/* By the Python socket's own method. */
static int
udp_send_by_method(DatagramTransport *u, PyObject *data, PyObject *address)
{
    if (udp_batch_flush(u) < 0) {
        return -1;
    }
    PyObject *sock = Py_NewRef(u->base.sock);
    PyObject *sent = u->is_connected ? PyObject_CallMethod(sock, "send", "O", data)
                                     : PyObject_CallMethod(sock, "sendto", "OO", data, address);
    Py_DECREF(sock);
    loop_poll_soon(u->base.loop);
    if (sent == NULL) {
        return udp_would_block_raised();
    }
    Py_ssize_t n = PyLong_CheckExact(sent) ? PyLong_AsSsize_t(sent) : 0;
    PyErr_Clear(); /* too large to be true */
    u->base.loop->net->bytes_out += n > 0 ? (size_t)n : 0;
    Py_DECREF(sent);
    return 1;
}

/* 1: sent, 0: the socket is full, -1. */
static int
udp_send_now(DatagramTransport *u, PyObject *data, PyObject *address)
{
    Transport *t = &u->base;
    struct sockaddr_storage raw;
    socklen_t n_raw = 0;
    if (transport_check_fd(t) < 0) {
        return -1;
    }
    if (!u->is_native || (!u->is_connected && !udp_raw_address(u, address, &raw, &n_raw))) {
        return udp_send_by_method(u, data, address);
    }
    if (!u->is_connected && PySys_Audit("socket.sendto", "OO", t->sock, address) < 0) {
        return -1;
    }
    uint64_t port_bit =
        u->is_connected ? udp_port_bit(t->peer_name.bytes, t->peer_name.n_bytes) : udp_port_bit(&raw, n_raw);
    if (udp_batch_gathers(u)) {
        if (LIKELY(PyBytes_CheckExact(data))) {
            udp_note_sent(u, port_bit);
            return udp_batch_gather(u, data, address, u->is_connected ? NULL : &raw, n_raw) < 0 ? -1 : 1;
        }
        if (udp_batch_flush(u) < 0) {
            return -1;
        }
    }
    ssize_t n;
    Py_buffer view;
    if (LIKELY(PyBytes_CheckExact(data))) {
        view.obj = NULL;
        view.buf = PyBytes_AS_STRING(data);
        view.len = PyBytes_GET_SIZE(data);
    }
    else if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    n = u->is_connected ? sock_send(t->fd, view.buf, (size_t)view.len)
                        : sock_sendto(t->fd, view.buf, (size_t)view.len, &raw, n_raw);
    if (view.obj != NULL) {
        PyBuffer_Release(&view);
    }
    udp_note_sent(u, port_bit);
    if (UNLIKELY(n < 0)) {
        return sock_would_block(n) ? 0 : raise_errno((int)n);
    }
    t->loop->net->bytes_out += (size_t)n;
    return 1;
}

static int
udp_queue_copy(DatagramTransport *u, PyObject *data, PyObject *address)
{
    struct udp_datagram d = {.data = PyBytes_CheckExact(data) ? Py_NewRef(data)
                                                              : PyObject_CallOneArg((PyObject *)&PyBytes_Type, data)};
    if (d.data == NULL) {
        return -1;
    }
    d.address = Py_NewRef(address);
    return udp_queue_push(&u->queue, d, false) < 0 ? -1 : transport_maybe_pause_protocol(&u->base, u->queue.n_bytes);
}

/* Where does this datagram go?  New reference: what runs meanwhile may set transport._address.  NULL with ValueError.
 */
static inline PyObject *
udp_confine(DatagramTransport *u, PyObject *address)
{
    if (LIKELY(u->address == NULL)) {
        return Py_NewRef(address);
    }
    PyObject *only = Py_NewRef(u->address);
    int is_same = address == Py_None ? 1 : PyObject_RichCompareBool(address, only, Py_EQ);
    if (is_same == 0) {
        PyErr_Format(PyExc_ValueError, "Invalid address: must be None or %S", only);
    }
    if (is_same <= 0) {
        Py_CLEAR(only);
    }
    return only;
}

/* To where udp_confine said. */
static inline int
udp_send_or_queue(DatagramTransport *u, PyObject *data, PyObject *address)
{
    Transport *t = &u->base;
    if (UNLIKELY(t->fd < 0 || (t->n_lost > 0 && u->address != NULL))) {
        return transport_count_lost_write(t);
    }
    if (LIKELY(u->queue.n == 0)) {
        int rc = udp_send_now(u, data, address);
        if (LIKELY(rc > 0)) {
            return 0;
        }
        if (rc < 0) {
            return udp_on_error(u, "Fatal write error on datagram transport");
        }
        if (t->n_lost > 0) {
            return 0; /* the end is scheduled: nothing is queued any more */
        }
        if (transport_start_writing_watch(&u->base) < 0) {
            return -1;
        }
    }
    return udp_queue_copy(u, data, address);
}

static int
udp_sendto(DatagramTransport *u, PyObject *data, PyObject *address)
{
    if (!UDP_SENDS_EMPTY) {
        Py_ssize_t n = PyObject_Size(data);
        if (n <= 0) {
            return n < 0 ? -1 : 0;
        }
    }
    address = udp_confine(u, address);
    if (address == NULL) {
        return -1;
    }
    int rc = udp_send_or_queue(u, data, address);
    Py_DECREF(address);
    return rc;
}

/* Send what is queued until the socket is full; after an error the rest waits for the next event, as in asyncio.  1:
 * all has gone, 0, -1. */
static int
udp_drain(DatagramTransport *u)
{
    while (u->queue.n > 0) {
        struct udp_datagram d = udp_queue_pop(&u->queue);
        int rc = udp_send_now(u, d.data, d.address);
        if (rc == 0 && u->base.n_lost == 0) {
            if (udp_queue_push(&u->queue, d, true) < 0) {
                return transport_fatal_error(&u->base, "Fatal write error on datagram transport");
            }
            break;
        }
        Py_DECREF(d.data);
        Py_DECREF(d.address);
        if (rc < 0) {
            return udp_on_error(u, "Fatal write error on datagram transport") < 0
                       ? handle_report_method(u->base.loop, (PyObject *)u, "_sendto_ready", NULL)
                       : 0;
        }
    }
    if (u->base.n_lost > 0) {
        return 0;
    }
    if (transport_maybe_resume_protocol(&u->base, u->queue.n_bytes) < 0) { /* may queue more, or end it */
        return -1;
    }
    return u->queue.n == 0 && u->base.n_lost == 0;
}

static int
udp_on_writable(Loop *loop, PyObject *self, PyObject *arg)
{
    DatagramTransport *u = (DatagramTransport *)self;
    if (!u->base.write_watched || u->base.n_lost > 0) {
        return 0;
    }
    loop_leave_task(loop);
    if (context_enter(loop, &u->base.context) < 0) {
        return -1;
    }
    int rc = udp_drain(u);
    context_leave(loop, &u->base.context);
    if (rc <= 0) {
        return rc;
    }
    transport_stop_writing_watch(&u->base);
    if (u->base.closing) {
        u->base.n_lost++;
        return transport_lose(&u->base, Py_None, false);
    }
    return 0;
}

/* ---- the ends */

static int
udp_close(DatagramTransport *u)
{
    Transport *t = &u->base;
    if (udp_batch_flush(u) < 0) {
        return -1;
    }
    if (u->queue.n == 0 || t->closing) {
        return transport_close(t);
    }
    t->closing = true;
    transport_stop_reading(t);
    return 0; /* udp_drain goes on when the queue is empty */
}

static int
udp_force_close(DatagramTransport *u, PyObject *exception)
{
    if (udp_batch_flush(u) < 0) {
        return -1;
    }
    if (u->base.n_lost > 0) {
        return 0;
    }
    udp_queue_clear(&u->queue);
    return transport_force_close(&u->base, exception);
}

static void
udp_clear(DatagramTransport *u)
{
    udp_queue_clear(&u->queue);
    Py_CLEAR(u->address);
    Py_CLEAR(u->known);
    udp_batch_clear(u);
}

/* The Python socket's answer, for families whose names only the socket module can read. None when it gives none. */
static int
udp_ask_name(DatagramTransport *u, const char *method, PyObject *key)
{
    PyObject *name = PyObject_CallMethod(u->base.sock, method, NULL);
    if (name == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_OSError)) {
            return -1;
        }
        PyErr_Clear();
        name = Py_NewRef(Py_None);
    }
    int rc = transport_set_extra(&u->base, key, name);
    Py_DECREF(name);
    return rc;
}

/* How the socket is to be used, and its peer's name: one that has a name that counts as true is sent to without an
 * address, as in asyncio. */
static int
udp_look_at_socket(DatagramTransport *u)
{
    Transport *t = &u->base;
    struct state *st = t->loop->st;
    struct sockaddr_storage address;
    socklen_t n_bytes = sizeof(address);
    u->family = python_socket_is_plain(st, t->sock) && sock_name(t->fd, &address, &n_bytes) == 0 ? address.ss_family
                                                                                                 : AF_UNSPEC;
    u->is_native = u->family == AF_INET || u->family == AF_INET6 || u->family == AF_UNIX;
    if (!u->is_native) {
        if (udp_ask_name(u, "getsockname", st->str.sockname) < 0
            || udp_ask_name(u, "getpeername", st->str.peername) < 0) {
            return -1;
        }
    }
    else {
        n_bytes = sizeof(address);
        if (sock_peer_name(t->fd, &address, &n_bytes) == 0
            && transport_keep_name(t, &t->peer_name, st->str.peername, &address, n_bytes) < 0) {
            return -1;
        }
    }
    int is_connected = ask_truth(transport_get_extra(t, st->str.peername, Py_None));
    u->is_connected = is_connected > 0;
    u->segment_max = u->is_native && u->family != AF_UNIX && sock_can_segment(t->fd) ? UINT16_MAX : 0;
    if (u->family != AF_UNIX) {
        t->loop->net->datagram_ports |= udp_port_bit(t->name.bytes, t->name.n_bytes);
    }
    return is_connected < 0 ? -1 : 0;
}

static Transport *
udp_open(Loop *loop, int fd, PyObject *sock, PyObject *protocol, PyObject *address, PyObject *context, PyObject *waiter)
{
    static const struct transport_ops ops = {udp_on_readable, udp_on_writable, "socket.send() raised exception.",
                                             "_SelectorTransport._call_connection_lost"};
    int has_address = protocol_check(loop->st, protocol) < 0 ? -1 : PyObject_IsTrue(address);
    if (has_address < 0) {
        Py_XDECREF(context);
        return NULL;
    }
    Transport *t = transport_new(loop->st->DatagramTransport_type, loop, &ops, fd, sock, protocol, context);
    if (t == NULL) {
        return NULL;
    }
    DatagramTransport *u = (DatagramTransport *)t;
    u->address = has_address ? Py_NewRef(address) : NULL;
    if (udp_look_at_socket(u) < 0 || sock_start_soon(t, waiter) < 0) {
        transport_forget_fd(t);
        Py_DECREF(t);
        return NULL;
    }
    return t;
}
