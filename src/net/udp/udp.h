/* net/udp/udp.h -- one datagram socket: what create_datagram_endpoint returns (UDP; AF_UNIX and other families as
 * well).
 *
 * It begins with a Transport, whose descriptor, names, flow control and end it shares (net/conn/transport.h); the byte
 * queue there stays empty.
 *
 * Sending: sendto() gives the datagram to the kernel at once, as asyncio does, so that an error reaches error_received
 * inside the call; answers to a burst leave together at its end (net/udp/udp_batch.h).  When the socket is full it is
 * queued, mutable data copied, and the poller watches the socket; later ones queue behind it.
 *
 * Receiving: asyncio takes one datagram a pass.  So does this, but where the pass would only poll again (nothing is
 * ready, due or to be flushed since, and nothing was sent that this loop itself could hear), the next datagram is taken
 * at once: up to UDP_READS_MAX per event, in the order asyncio would give.  Heard on this loop is what goes to a port
 * in loop->net->datagram_ports; AF_UNIX always may be.  A try that finds nothing is a lost system call, so after one
 * the next UDP_SINGLE_READS events do not try.  Of Internet sockets several are taken in one system call; what must
 * wait for its pass waits in the inbox.
 *
 * Fast (is_native): a plain socket.socket of the Internet or AF_UNIX, by system calls; addresses other than numeric
 * ones, other families and other socket objects go through the Python socket's own send, sendto and recvfrom, whose
 * exceptions and name look-ups are then asyncio's. known: the last sender as a tuple and as the kernel's bytes, so one
 * that sends again needs no new tuple, and a reply to it no parsing.
 *
 * Ownership, thread: as Transport. */
#ifndef ASYNCLOOP_NET_UDP_H
#define ASYNCLOOP_NET_UDP_H

#include "net/conn/transport.h"

#define UDP_READS_MAX 32
#define UDP_SINGLE_READS 15
#define UDP_INTERNET_MAX (64 * 1024)  /* no Internet datagram is larger */
#define UDP_DATAGRAM_MAX (256 * 1024) /* as asyncio; the rest of a larger one is cut off */

struct udp_datagram {
    PyObject *data;    /* exact bytes */
    PyObject *address; /* or None */
};

/* Circular; capacity is 0 or a power of two. */
struct udp_queue {
    struct udp_datagram *items;
    uint32_t head, n, capacity;
    size_t n_bytes; /* what flow control counts: the data and, on 3.13+, UDP_HEADER_BYTES each */
};

typedef struct DatagramTransport {
    Transport base;
    struct udp_queue queue;
    PyObject *address; /* remote_addr, the only address that may be sent to; NULL: none was given */
    PyObject *known;   /* the last sender's tuple, made here, or NULL; known_raw is the same address */
    struct small_address known_raw;
    struct udp_inbox *inbox; /* or NULL; see net/udp/udp_batch.h */
    int family;
    bool is_native, is_connected;
    uint16_t segment_max; /* the largest datagram that may be a segment; 0: none */
    bool reading;         /* inside udp_read */
    bool sent_elsewhere;  /* since it began something was sent that no transport of this loop can receive */
    uint8_t single_reads;
} DatagramTransport;

/* As sock_transport_open: fd is sock's, context is stolen; address None or what sendto() is confined to. */
static Transport *udp_open(Loop *loop, int fd, PyObject *sock, PyObject *protocol, PyObject *address, PyObject *context,
                           PyObject *waiter);

/* data: bytes, bytearray or memoryview; address: or None.  0, or -1 with the exception set. */
static int udp_sendto(DatagramTransport *u, PyObject *data, PyObject *address) MUST_CHECK;
static int udp_close(DatagramTransport *u) MUST_CHECK;
static int udp_force_close(DatagramTransport *u, PyObject *exception) MUST_CHECK;
static void udp_clear(DatagramTransport *u); /* the queues, the addresses */

/* For net/udp/udp_batch.c. */
static int udp_queue_push(struct udp_queue *q, struct udp_datagram d, bool at_front) MUST_CHECK;
static int udp_on_error(DatagramTransport *u, const char *message) MUST_CHECK;

/* Ready entries. */
static int udp_on_readable(Loop *loop, PyObject *self, PyObject *arg);
static int udp_on_writable(Loop *loop, PyObject *self, PyObject *arg);

static int udp_register(PyObject *module, struct state *st) MUST_CHECK;

#endif
