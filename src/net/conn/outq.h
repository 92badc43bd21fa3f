/* net/conn/outq.h -- bytes accepted from the user and not yet taken by the kernel, in order.
 *
 * A circular array of exact bytes objects, by reference; of the first one head_offset bytes have gone already.  Mutable
 * data is copied by whoever pushes.  Four slots lie in the struct itself, so the common connection never allocates.
 * Invariants (outq_is_sound): n_bytes is the sum of the lengths less head_offset; no item is empty; head_offset <
 * length of the first. Owns its items; dropping a bytes object runs no code.  Errors: -1 with MemoryError, or -errno
 * from the kernel. */
#ifndef ASYNCLOOP_NET_OUTQ_H
#define ASYNCLOOP_NET_OUTQ_H

#include "core/state.h"
#include "plain/sock.h"

#define OUTQ_INLINE 4

struct outq {
    PyObject **items; /* in_place, or allocated */
    uint32_t head, n, capacity; /* capacity is a power of two */
    size_t head_offset;
    size_t n_bytes;
    PyObject *in_place[OUTQ_INLINE];
};

static void outq_init(struct outq *q);
static void outq_clear(struct outq *q); /* empty and usable again */
/* Steals bytes, also on failure; it must be exact and not empty. */
static inline int outq_push(struct outq *q, PyObject *bytes) MUST_CHECK;

/* For a caller that sends by itself. The first describes up to n_max items, returns how many, and *n_bytes is their
 * sum; the second takes off what was sent. */
static int outq_fill_iov(const struct outq *q, struct iovec *iov, uint32_t n_max, size_t *n_bytes);
static void outq_advance(struct outq *q, size_t n_bytes);

/* For programs that look at transport._buffer: copies of the bytes that wait, as asyncio's transports keep them, in a
 * deque of memoryviews or one bytearray. */
static PyObject *outq_to_deque(struct state *st, const struct outq *q);
static PyObject *outq_to_bytearray(const struct outq *q);

/* Give the socket what it takes.  0: all has gone, or the socket is full (then n_bytes > 0); -errno. */
static int outq_send(struct outq *q, int fd) MUST_CHECK;

#endif
