/* net/udp/udp_batch.c -- reading a burst into an inbox, and sending what was gathered with as few system calls as can
 * be. */
#include "net/udp/udp_batch.h"

#include "core/handle.h"
#include "core/raise.h"
#include "core/watch.h"
#include "plain/clock.h"

#include <errno.h>
#include <netinet/in.h>

static const double UDP_BURST_LONGEST_S = 200e-6;

/* ---- whose it is */

static bool
udp_batch_enter(DatagramTransport *u)
{
    Loop *loop = u->base.loop;
    /* a call of _read_ready(): the protocol could close the loop, which frees the batch */
    if (UNLIKELY(loop->state != LOOP_RUNNING)) {
        return false;
    }
    struct udp_batch *b = loop->net->datagrams;
    if (UNLIKELY(b == NULL)) {
        b = loop->net->datagrams = PyMem_Malloc(sizeof *b);
        if (b == NULL) {
            return false;
        }
        memset(b, 0, offsetof(struct udp_batch, room));
    }
    if (b->owner != NULL) {
        return false;
    }
    b->owner = u;
    b->started = clock_now();
    return true;
}

static int
udp_batch_leave(DatagramTransport *u)
{
    int rc = udp_batch_flush(u);
    u->base.loop->net->datagrams->owner = NULL;
    return rc;
}

static inline bool
udp_batch_is_late(const DatagramTransport *u)
{
    return clock_now() - u->base.loop->net->datagrams->started > UDP_BURST_LONGEST_S;
}

static inline bool
udp_batch_gathers(const DatagramTransport *u)
{
    const struct udp_batch *b = u->base.loop->net->datagrams;
    return b != NULL && b->owner == u && !b->is_flushing && (b->n_out > 0 || udp_batch_has_more(u))
           && !transport_socket_is_held(&u->base);
}

/* ---- receiving */

static inline bool
udp_batch_has_more(const DatagramTransport *u)
{
    return u->inbox != NULL && u->inbox->n > 0;
}

/* Where the address may be remembered: by port and the end of the host. */
static inline struct udp_peer *
udp_batch_peer_slot(struct udp_inbox *inbox, const struct sockaddr_storage *address, socklen_t n_bytes)
{
    const unsigned char *bytes = (const unsigned char *)address;
    size_t host_end = address->ss_family == AF_INET6 ? offsetof(struct sockaddr_in6, sin6_addr) + 15
                                                     : offsetof(struct sockaddr_in, sin_addr) + 3;
    return host_end < n_bytes ? &inbox->peers[(bytes[2] ^ bytes[3] ^ bytes[host_end]) % UDP_PEERS] : NULL;
}

static PyObject *
udp_batch_sender(struct udp_inbox *inbox, const struct sockaddr_storage *address, socklen_t n_bytes)
{
    struct udp_peer *peer = n_bytes > 0 ? udp_batch_peer_slot(inbox, address, n_bytes) : NULL;
    if (peer != NULL && peer->address != NULL && peer->raw.n_bytes == n_bytes
        && memcmp(peer->raw.bytes, address, n_bytes) == 0) {
        return Py_NewRef(peer->address);
    }
    PyObject *sender = address_to_python(address, n_bytes);
    struct small_address raw;
    if (sender != NULL && peer != NULL && address_keep(&raw, address, n_bytes)) {
        peer->raw = raw;
        Py_XSETREF(peer->address, Py_NewRef(sender));
    }
    return sender;
}

static struct udp_inbox *
udp_batch_inbox(DatagramTransport *u)
{
    if (u->inbox == NULL && (u->inbox = PyMem_Calloc(1, sizeof(*u->inbox))) == NULL) {
        PyErr_NoMemory();
    }
    return u->inbox;
}

/* The batch's first n messages go to the empty inbox. */
static int
udp_batch_keep(DatagramTransport *u, uint32_t n)
{
    struct udp_batch *b = u->base.loop->net->datagrams;
    struct udp_inbox *inbox = udp_batch_inbox(u);
    if (inbox == NULL) {
        return -1;
    }
    inbox->first = inbox->n = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct udp_received *r = &inbox->items[i];
        socklen_t n_address = b->heads[i].msg_hdr.msg_namelen;
        r->data = PyBytes_FromStringAndSize(b->room[i], b->heads[i].msg_len);
        r->sender = r->data == NULL ? NULL : udp_batch_sender(inbox, &b->addresses[i], n_address);
        if (r->sender == NULL) {
            Py_CLEAR(r->data);
            return -1;
        }
        if (n_address == 0 || !address_keep(&r->raw, &b->addresses[i], n_address)) {
            r->raw.n_bytes = 0;
        }
        inbox->n++;
        u->base.loop->net->bytes_in += b->heads[i].msg_len;
    }
    return 0;
}

static void
udp_batch_take(DatagramTransport *u, PyObject **data, PyObject **sender)
{
    struct udp_inbox *inbox = u->inbox;
    struct udp_received *r = &inbox->items[inbox->first++];
    inbox->n--;
    *data = r->data;
    *sender = r->sender;
    r->data = r->sender = NULL;
    if (r->raw.n_bytes > 0) {
        u->known_raw = r->raw;
        Py_XSETREF(u->known, Py_NewRef(*sender));
    }
}

static int
udp_batch_receive(DatagramTransport *u, PyObject **data, PyObject **sender, bool *is_last)
{
    struct udp_batch *b = u->base.loop->net->datagrams;
    for (int i = 0; i < UDP_BATCH_MAX; i++) {
        b->parts[i] = (struct iovec){b->room[i], UDP_INTERNET_MAX};
        b->heads[i].msg_hdr = (struct msghdr){.msg_name = &b->addresses[i],
                                              .msg_namelen = sizeof(b->addresses[i]),
                                              .msg_iov = &b->parts[i],
                                              .msg_iovlen = 1};
    }
    int n = sock_recvmmsg(u->base.fd, b->heads, UDP_BATCH_MAX);
    *is_last = n < UDP_BATCH_MAX;
    if (n <= 0) {
        return n == 0 || sock_would_block(n) ? 0 : raise_errno(n);
    }
    if (n == 1) {
        u->single_reads = UDP_SINGLE_READS;
    }
    if (udp_batch_keep(u, (uint32_t)n) < 0) {
        return -1;
    }
    if (UNLIKELY(!udp_batch_has_more(u))) {
        return 0; /* a finalizer has called _read_ready() meanwhile */
    }
    udp_batch_take(u, data, sender);
    return 1;
}

static void
udp_batch_drop(DatagramTransport *u)
{
    PyObject *data, *sender;
    while (udp_batch_has_more(u)) {
        udp_batch_take(u, &data, &sender);
        Py_DECREF(data);
        Py_DECREF(sender);
    }
}

static int
udp_batch_on_turn(Loop *loop, PyObject *self, PyObject *arg)
{
    DatagramTransport *u = (DatagramTransport *)self;
    if (u->inbox != NULL) {
        u->inbox->is_scheduled = false;
    }
    return udp_batch_has_more(u) ? udp_on_readable(loop, self, arg) : 0;
}

static int
udp_batch_schedule(DatagramTransport *u)
{
    if (!udp_batch_has_more(u) || u->inbox->is_scheduled) {
        return 0;
    }
    if (loop_ready_push(u->base.loop, udp_batch_on_turn, (PyObject *)u, NULL) < 0) {
        return -1;
    }
    u->inbox->is_scheduled = true;
    return 0;
}

/* ---- sending */

static int
udp_batch_gather(DatagramTransport *u, PyObject *data, PyObject *address, const struct sockaddr_storage *raw,
                 socklen_t n_raw)
{
    struct udp_batch *b = u->base.loop->net->datagrams;
    struct udp_outgoing *o = &b->out[b->n_out];
    if (raw == NULL || !address_keep(&o->raw, raw, n_raw)) {
        o->raw.n_bytes = 0;
    }
    o->data = Py_NewRef(data);
    o->address = Py_NewRef(address);
    b->n_out++;
    return b->n_out == UDP_BATCH_MAX ? udp_batch_flush(u) : 0;
}

static inline size_t
udp_batch_size(const struct udp_batch *b, uint32_t i)
{
    return (size_t)PyBytes_GET_SIZE(b->out[i].data);
}

static inline bool
udp_batch_same_address(const struct udp_batch *b, uint32_t i, uint32_t j)
{
    const struct small_address *one = &b->out[i].raw, *other = &b->out[j].raw;
    return one->n_bytes == other->n_bytes && memcmp(one->bytes, other->bytes, one->n_bytes) == 0;
}

/* Fill parts and order, from n_parts on, with datagram i and the datagrams that may follow it in the same message.
 * Returns how many. */
static uint32_t
udp_batch_collect(struct udp_batch *b, uint32_t i, uint32_t n_parts, size_t segment_max, bool *is_taken)
{
    size_t size = udp_batch_size(b, i), total = 0;
    uint32_t n = 0;
    for (uint32_t j = i; j < b->n_out; j++) {
        if (is_taken[j] || (j != i && !udp_batch_same_address(b, i, j))) {
            continue;
        }
        size_t n_bytes = udp_batch_size(b, j);
        if (j != i && (n_bytes > size || n_bytes == 0 || total + n_bytes > UDP_SEGMENTS_BYTES_MAX)) {
            break;
        }
        b->parts[n_parts + n] = (struct iovec){PyBytes_AS_STRING(b->out[j].data), n_bytes};
        b->order[n_parts + n] = (uint8_t)j;
        is_taken[j] = true;
        total += n_bytes;
        n++;
        if (n_bytes < size || size > segment_max) {
            break;
        }
    }
    return n;
}

/* From outgoing datagrams to messages; how many. */
static uint32_t
udp_batch_build(struct udp_batch *b, size_t segment_max)
{
    bool is_taken[UDP_BATCH_MAX] = {false};
    uint32_t n_heads = 0, n_parts = 0;
    for (uint32_t i = 0; i < b->n_out; i++) {
        if (is_taken[i]) {
            continue;
        }
        uint32_t n = udp_batch_collect(b, i, n_parts, segment_max, is_taken);
        struct msghdr *h = &b->heads[n_heads].msg_hdr;
        struct small_address *raw = &b->out[i].raw;
        *h = (struct msghdr){.msg_name = raw->n_bytes > 0 ? raw->bytes : NULL,
                             .msg_namelen = raw->n_bytes,
                             .msg_iov = &b->parts[n_parts],
                             .msg_iovlen = n};
        if (n > 1) {
            uint16_t segment = (uint16_t)b->parts[n_parts].iov_len;
            h->msg_control = b->controls[n_heads].bytes;
            h->msg_controllen = sizeof(b->controls[n_heads].bytes);
            struct cmsghdr *c = CMSG_FIRSTHDR(h);
            c->cmsg_level = IPPROTO_UDP;
            c->cmsg_type = UDP_SEGMENT;
            c->cmsg_len = CMSG_LEN(sizeof(segment));
            memcpy(CMSG_DATA(c), &segment, sizeof(segment));
        }
        n_heads++;
        n_parts += n;
    }
    return n_heads;
}

/* The parts from index `at` to `end`, each by itself; errors[i] is datagram i's.  How many were dealt with before the
 * socket was full. */
static uint32_t
udp_batch_send_singly(DatagramTransport *u, struct udp_batch *b, uint32_t at, uint32_t end, int *errors)
{
    for (; at < end; at++) {
        struct udp_outgoing *o = &b->out[b->order[at]];
        struct msghdr h = {.msg_name = o->raw.n_bytes > 0 ? o->raw.bytes : NULL,
                           .msg_namelen = o->raw.n_bytes,
                           .msg_iov = &b->parts[at],
                           .msg_iovlen = 1};
        ssize_t n = sock_sendmsg(u->base.fd, &h);
        if (sock_would_block(n)) {
            break;
        }
        errors[b->order[at]] = n < 0 ? (int)n : 0;
    }
    return at;
}

/* Can what the kernel refused with this be sent without segments? */
static bool
udp_batch_is_about_segments(int error)
{
    return error == -EINVAL || error == -EIO || error == -EMSGSIZE || error == -EOPNOTSUPP || error == -ENOPROTOOPT;
}

/* Gives the kernel what it takes.  Index of the first part that it does not take now: the socket is full.  Runs no
 * Python code. */
static uint32_t
udp_batch_send(DatagramTransport *u, struct udp_batch *b, int *errors)
{
    uint32_t n_heads = udp_batch_build(b, u->segment_max), at = 0, part = 0;
    while (at < n_heads) {
        int n = sock_sendmmsg(u->base.fd, &b->heads[at], n_heads - at);
        for (int i = 0; i < n; i++) {
            part += (uint32_t)b->heads[at++].msg_hdr.msg_iovlen;
        }
        if (n >= 0) {
            continue;
        }
        uint32_t end = part + (uint32_t)b->heads[at].msg_hdr.msg_iovlen;
        if (sock_would_block(n)) {
            return part;
        }
        if (end - part > 1 && udp_batch_is_about_segments(n)) {
            u->segment_max = n == -EINVAL || n == -EMSGSIZE ? (uint16_t)(b->parts[part].iov_len - 1) : 0;
        }
        else {
            errors[b->order[part++]] = n; /* an earlier datagram's, as a rule: it took one sendto() to tell */
        }
        part = udp_batch_send_singly(u, b, part, end, errors);
        if (part < end) {
            return part;
        }
        at++;
    }
    return part;
}

/* The parts from `at` on wait for the socket. */
static int
udp_batch_queue_rest(DatagramTransport *u, struct udp_batch *b, uint32_t at)
{
    for (; at < b->n_out; at++) {
        struct udp_outgoing *o = &b->out[b->order[at]];
        struct udp_datagram d = {.data = Py_NewRef(o->data), .address = Py_NewRef(o->address)};
        if (udp_queue_push(&u->queue, d, false) < 0) {
            return -1;
        }
    }
    return transport_start_writing_watch(&u->base);
}

static int
udp_batch_flush(DatagramTransport *u)
{
    struct udp_batch *b = u->base.loop->net->datagrams;
    int errors[UDP_BATCH_MAX] = {0}, rc = 0;
    if (b == NULL || b->owner != u || b->n_out == 0) {
        return 0;
    }
    uint32_t n = b->n_out, n_gone;
    PyObject *raised = compat_take_raised();
    if (transport_check_fd(&u->base) < 0) {
        PyErr_Clear();
        errors[0] = -EBADF;
        n_gone = n;
    }
    else {
        n_gone = udp_batch_send(u, b, errors);
        for (uint32_t at = 0; at < n_gone; at++) {
            uint32_t i = b->order[at];
            u->base.loop->net->bytes_out += errors[i] == 0 ? udp_batch_size(b, i) : 0;
        }
    }
    if (n_gone < n && u->base.n_lost == 0 && udp_batch_queue_rest(u, b, n_gone) < 0) {
        rc = transport_fatal_error(&u->base, "Fatal write error on datagram transport");
    }
    for (uint32_t i = 0; i < n; i++) {
        Py_CLEAR(b->out[i].data);
        Py_CLEAR(b->out[i].address);
    }
    b->n_out = 0;
    b->is_flushing = true; /* what error_received sends leaves at once */
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        if (errors[i] < 0) {
            raise_errno(errors[i]);
            if (udp_on_error(u, "Fatal write error on datagram transport") < 0) {
                rc = handle_report_method(u->base.loop, (PyObject *)u, "_read_ready", NULL);
            }
        }
    }
    if (rc == 0 && n_gone < n && u->base.n_lost == 0) {
        rc = transport_maybe_pause_protocol(&u->base, u->queue.n_bytes);
    }
    b->is_flushing = false;
    if (raised != NULL && rc == 0) {
        compat_set_raised(raised);
    }
    else {
        Py_XDECREF(raised);
    }
    return rc;
}

/* ---- the end */

static void
udp_batch_clear(DatagramTransport *u)
{
    struct udp_inbox *inbox = u->inbox;
    if (inbox == NULL) {
        return;
    }
    u->inbox = NULL;
    for (uint32_t i = 0; i < UDP_BATCH_MAX; i++) {
        Py_XDECREF(inbox->items[i].data);
        Py_XDECREF(inbox->items[i].sender);
    }
    for (uint32_t i = 0; i < UDP_PEERS; i++) {
        Py_XDECREF(inbox->peers[i].address);
    }
    PyMem_Free(inbox);
}

static int
udp_batch_traverse(DatagramTransport *u, visitproc visit, void *arg)
{
    struct udp_inbox *inbox = u->inbox;
    if (inbox == NULL) {
        return 0;
    }
    for (uint32_t i = 0; i < UDP_BATCH_MAX; i++) {
        Py_VISIT(inbox->items[i].sender);
    }
    for (uint32_t i = 0; i < UDP_PEERS; i++) {
        Py_VISIT(inbox->peers[i].address);
    }
    return 0;
}
