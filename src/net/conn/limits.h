/* net/conn/limits.h -- a pair of water marks: when a protocol is told to pause, and when to go on.
 *
 * asyncio keeps the marks as the program gave them, any numbers that can be compared, and compares sizes, which are
 * whole, with them.  For that the next whole numbers do; the marks themselves are kept for who asks for them.
 * Ownership: owns given; visit it, clear it.  Units: bytes.  Thread: the loop's. */
#ifndef ASYNCLOOP_NET_LIMITS_H
#define ASYNCLOOP_NET_LIMITS_H

#include "core/state.h"

struct limits {
    size_t high_bytes, low_bytes;
    PyObject *given; /* (low, high) where these are not the two numbers; else NULL */
};

static inline void limits_init(struct limits *l, size_t high_bytes); /* low is a quarter of high */
/* The arguments high=None, low=None of this function, by asyncio's rules; high_default where both are None.
 * is_at_high: a size that is equal to high pauses, not only what is above. -1: TypeError or ValueError, nothing
 * changed. */
static int limits_parse(struct limits *l, const char *function, PyObject *args, PyObject *kwargs, size_t high_default,
                        bool is_at_high) MUST_CHECK;
static PyObject *limits_as_tuple(const struct limits *l); /* (low, high) */
static PyObject *limits_get(const struct limits *l, bool is_high); /* one of the two */

#endif
