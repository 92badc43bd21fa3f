/* net/udp/udp_batch.h -- several datagrams in one system call, where several wait.
 *
 * Receiving: recvmmsg takes up to UDP_BATCH_MAX datagrams; udp_batch_receive hands out the first, the others wait in
 * the transport's inbox.  They are delivered as if each had been received when its turn comes (net/udp/udp.h):
 * pause_reading() keeps them, close() drops them.
 *
 * Sending: what a protocol sends from datagram_received while more of a burst waits is gathered, and leaves in one
 * sendmmsg: when UDP_BATCH_MAX are gathered, or the event ends, which it does before the next datagram once it has
 * taken UDP_BURST_LONGEST_S.  Datagrams of one size to one address go as segments of one message (UDP_SEGMENT,
 * Linux 4.18): the kernel takes them through its layers once and sends them singly; a last, shorter one may follow.  To
 * each address the order stays.  What the kernel cannot cut (larger than the path takes, no checksums in hardware) is
 * sent singly, and no more is tried of that size.  An error comes to error_received then, not inside sendto();
 * everywhere else datagrams leave at once.
 *
 * struct udp_batch is the loop's: one transport at a time is its owner, from the first datagram of an event to the end
 * of the flush; a transport that reads meanwhile (a nested _read_ready()) does without.  Outgoing data and addresses
 * are owned, exact bytes and tuples of str and int: dropping them runs no code. Ownership, thread: as Transport.
 * Errors: as net/udp/udp.h. */
#ifndef ASYNCLOOP_NET_UDP_BATCH_H
#define ASYNCLOOP_NET_UDP_BATCH_H

#include "net/udp/udp.h"

#define UDP_BATCH_MAX 32
#define UDP_SEGMENTS_BYTES_MAX 60000 /* of one message; the kernel's limits are 64 segments and 65,507 bytes */
#define UDP_PEERS 64                 /* a power of two */

struct udp_received {
    PyObject *data, *sender;
    struct small_address raw; /* n_bytes 0: not an Internet address */
};

struct udp_peer {
    PyObject *address; /* tuple or NULL */
    struct small_address raw;
};

/* Of a transport that has had a burst.  peers: by address, so one that sends again needs no new tuple. */
struct udp_inbox {
    struct udp_received items[UDP_BATCH_MAX];
    uint8_t first, n;
    bool is_scheduled; /* an entry to deliver the next one is in the ring; it comes before the poller's */
    struct udp_peer peers[UDP_PEERS];
};

struct udp_outgoing {
    PyObject *data, *address;
    struct small_address raw; /* n_bytes 0: the socket is connected */
};

struct udp_batch {
    DatagramTransport *owner; /* borrowed; NULL: nobody's now */
    bool is_flushing;
    double started; /* when the owner's event began; clock_now() */
    uint8_t n_out, order[UDP_BATCH_MAX]; /* order: parts' indices in out */
    struct udp_outgoing out[UDP_BATCH_MAX];
    struct mmsghdr heads[UDP_BATCH_MAX];
    struct iovec parts[UDP_BATCH_MAX];
    struct sockaddr_storage addresses[UDP_BATCH_MAX];
    union {
        char bytes[CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr align;
    } controls[UDP_BATCH_MAX];
    char room[UDP_BATCH_MAX][UDP_INTERNET_MAX]; /* untouched pages take no memory */
};

/* Make u the owner of the loop's batch, until udp_batch_leave.  False, with nothing raised: it has another owner, the
 * loop does not run, or there is no memory. */
static bool udp_batch_enter(DatagramTransport *u);
/* Sends what is gathered; -1: SystemExit, KeyboardInterrupt. */
static int udp_batch_leave(DatagramTransport *u) MUST_CHECK;

/* 1 and *data, *sender; 0: nothing there; -1.  *is_last: no other datagram was waiting.  Only of the batch's owner. */
static int udp_batch_receive(DatagramTransport *u, PyObject **data, PyObject **sender, bool *is_last) MUST_CHECK;
/* The inbox's first.  There must be one. */
static void udp_batch_take(DatagramTransport *u, PyObject **data, PyObject **sender);
static inline bool udp_batch_has_more(const DatagramTransport *u);
static void udp_batch_drop(DatagramTransport *u); /* the whole inbox */
/* Deliver the inbox's datagrams in later passes.  0, or -1 with MemoryError. */
static int udp_batch_schedule(DatagramTransport *u) MUST_CHECK;

/* Has the owner's event taken so long that other descriptors should have their turn? */
static inline bool udp_batch_is_late(const DatagramTransport *u);

/* Do datagrams that u sends now have to be gathered? */
static inline bool udp_batch_gathers(const DatagramTransport *u);
/* data: exact bytes; raw: NULL for a connected socket.  0, or -1: what udp_batch_flush raised. */
static int udp_batch_gather(DatagramTransport *u, PyObject *data, PyObject *address, const struct sockaddr_storage *raw,
                            socklen_t n_raw) MUST_CHECK;
/* Before anything whose result depends on what was sent.  0, or -1 with SystemExit, KeyboardInterrupt. */
static int udp_batch_flush(DatagramTransport *u) MUST_CHECK;

static void udp_batch_clear(DatagramTransport *u); /* the inbox */
static int udp_batch_traverse(DatagramTransport *u, visitproc visit, void *arg);

#endif
