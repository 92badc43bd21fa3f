/* net/conn/protocol.h -- calls into the user's protocol.
 *
 * asyncio looks a protocol's method up at each call, so a method replaced later, on the instance or its class, is the
 * one that runs: so do we (a vectorcall by name costs no bound method).  Only whether it is a BufferedProtocol is
 * settled when the protocol is set, as in asyncio.
 *
 * A protocol written in C may also be a sink: bytes then go to it without a Python call, and without a bytes object.
 * Everything else reaches it by name, as any protocol.  Only objects of exactly a registered type are sinks; a subclass
 * may have methods of its own.
 *
 * Each protocol_call_x returns 0, or -1 with the method's exception set; it holds protocol and transport during the
 * call, and the caller reads its own state again afterwards.  The caller has entered the connection's context and left
 * the current task.  Ownership: owns object. */
#ifndef ASYNCLOOP_NET_PROTOCOL_H
#define ASYNCLOOP_NET_PROTOCOL_H

#include "core/loop.h"

struct sink {
    /* n_bytes > 0 have come; they are the caller's, and valid during the call only.  Same rules as for protocol_call_x:
     * 0, or -1 with the exception set, which ends the connection with report as its message. It may run any code. */
    int (*on_bytes)(PyObject *self, const char *bytes, size_t n_bytes);
    const char *report;
    /* The transport is flushing, its own queue is empty and the kernel takes more: hand it what waits by
     * transport_send_now. May be NULL. -1 only with SystemExit or KeyboardInterrupt: the sink deals with its errors. */
    int (*on_room)(PyObject *self);
    /* Take the bytes if no Python code has to run for it: 1; 0: nothing was done, on_bytes is to have them; -1:
     * MemoryError.  It may be called in any context and while a task is the current one.  May be NULL. */
    int (*try_bytes)(PyObject *self, const char *bytes, size_t n_bytes);
    /* For bytes that come in pieces but are one read: take a piece and say nothing of it, as tell or another hold
     * follows: 1; 0: nothing was done, the sink wants all of them by on_bytes; -1: MemoryError.  It runs no Python
     * code.  tell has the rules of on_bytes.  May be NULL, both. */
    int (*hold)(PyObject *self, const char *bytes, size_t n_bytes);
    int (*tell)(PyObject *self);
};

struct protocol {
    PyObject *object; /* NULL: none any more */
    const struct sink *sink; /* of object, or NULL */
    bool is_buffered;
};

/* Objects of exactly this type are sinks from now on. */
static inline void protocol_register_sink(struct state *st, PyTypeObject *type, const struct sink *sink);

/* What is no protocol fails when the transport is made, not in a later pass: asyncio looks connection_made up then. */
static int protocol_check(struct state *st, PyObject *object) MUST_CHECK;
static int protocol_set(struct state *st, struct protocol *p, PyObject *object) MUST_CHECK;
static void protocol_clear(struct protocol *p);

static int protocol_call_connection_made(struct state *st, struct protocol *p, PyObject *transport) MUST_CHECK;
static int protocol_call_data_received(struct state *st, struct protocol *p, PyObject *data) MUST_CHECK;
static int protocol_call_on_bytes(struct protocol *p, const char *bytes, size_t n_bytes) MUST_CHECK; /* of a sink */
static inline int protocol_try_bytes(struct protocol *p, const char *bytes, size_t n_bytes) MUST_CHECK; /* of a sink */
static int protocol_call_datagram_received(struct state *st, struct protocol *p, PyObject *data,
                                           PyObject *address) MUST_CHECK;
static int protocol_call_error_received(struct state *st, struct protocol *p, PyObject *exception) MUST_CHECK;
/* *view is filled and must be released; an empty buffer is asyncio's RuntimeError.  size_hint: how much has come, -1:
 * not known. */
static int protocol_call_get_buffer(struct state *st, struct protocol *p, Py_ssize_t size_hint,
                                    Py_buffer *view) MUST_CHECK;
static int protocol_call_buffer_updated(struct state *st, struct protocol *p, Py_ssize_t n_bytes) MUST_CHECK;
/* 1: keep the transport open, 0: close it, -1. */
static int protocol_call_eof_received(struct state *st, struct protocol *p) MUST_CHECK;
static int protocol_call_connection_lost(struct state *st, struct protocol *p, PyObject *exception_or_none) MUST_CHECK;
static int protocol_call_pause_writing(struct state *st, struct protocol *p) MUST_CHECK;
static int protocol_call_resume_writing(struct state *st, struct protocol *p) MUST_CHECK;

/* One of these two for a transport, in the caller's context as asyncio does; an exception of it is reported with
 * message. 0, or -1 with SystemExit or KeyboardInterrupt raised.  Nothing without a protocol. */
static int protocol_call_flow(Loop *loop, struct protocol *p, PyObject *transport,
                              int (*call)(struct state *, struct protocol *), const char *message) MUST_CHECK;

#endif
