/* net/conn/transport.h -- one connection: its buffers, its flow control, its end.
 *
 *   made --start--> open --close()/EOF--> closing --queue empty--> losing --a later pass--> lost (descriptor closed)
 *                     \------- abort(), error: queue dropped -------^
 *
 * closing: no reading; what is queued is still sent.  losing (n_lost > 0): connection_lost is scheduled, writes are
 * counted and dropped. lost: fd is -1, no protocol, no server.  connection_lost is called once, by a ready entry, never
 * inside close() or abort().
 *
 * Writing: what write() gets during a ready entry is queued, and leaves in one system call when the pass ends or
 * somewhat earlier (transport_flush_all; when is struct flush_list's, core/loop.h), or at once when the queue passes
 * the high-water mark or TRANSPORT_GATHER_MAX, or outside run_forever. While the program holds the socket it may use it
 * by itself: then nothing waits.  Every call whose result depends on what the kernel took (close, write_eof,
 * get_write_buffer_size, ...) flushes first.  While the socket is full the poller watches it (write_watched) and
 * nothing is tried before it reports.  So pause_writing is only ever called for bytes that the kernel refused.
 *
 * Reading and sending are the socket's own (net/conn/sock_transport.h), through ops.
 *
 * Descriptor: owned.  sock is NULL until somebody asks for the Python socket; from then on the socket object owns the
 * descriptor and is closed through its close(); should somebody else close it, transport_check_fd notices and the
 * number is not used again. The loop's watches and flush list own the transport while it reads, writes or waits to be
 * flushed; the server only links it. Thread: the loop's. */
#ifndef ASYNCLOOP_NET_TRANSPORT_H
#define ASYNCLOOP_NET_TRANSPORT_H

#include "core/deferred.h"
#include "net/fd/address.h"
#include "net/conn/limits.h"
#include "net/conn/loop_state.h"
#include "net/conn/outq.h"
#include "net/conn/protocol.h"

#define TRANSPORT_GATHER_MAX (64 * 1024)
#define TRANSPORT_HIGH_DEFAULT (64 * 1024)

struct Transport;
struct Server;

struct transport_ops {
    ready_fn on_readable, on_writable;
    const char *lost_write; /* what the log says of the writes after the end */
    const char *lose_name; /* asyncio's name for the callback that ends it */
};

/* The loop's flush list is circular: flush.first points to the last link, whose next is the first. */
struct flush_link {
    struct flush_link *next; /* NULL: not listed */
};

typedef struct Transport {
    PyObject_HEAD
    const struct transport_ops *ops;
    Loop *loop;
    struct protocol protocol;
    PyObject *context; /* a slot (core/context.h): every protocol callback runs in it */
    PyObject *sock;    /* Python socket or NULL */
    PyObject *shown_sock; /* the TransportSocket about it that get_extra_info("socket") gives, or NULL */
    PyObject *extra;   /* dict of what get_extra_info was given or has made, or NULL */
    PyObject *empty_waiter; /* a future; set while a sendfile is in progress */
    PyObject *dict, *weakrefs;
    struct Server *server;
    struct Transport *clients_next, **clients_prev_next; /* of the server */
    struct outq out;
    struct flush_link flush;
    struct limits limits; /* of writing */
    uint32_t read_size; /* of the next read */
    int fd;             /* -1 when lost */
    int shown_fd;       /* for repr, after that too */
    uint8_t kind;       /* enum transport_kind: where it is counted while fd is not -1 */
    uint32_t n_lost;
    bool closing, eof_sent, read_paused, read_watched, write_watched, protocol_paused;
    /* an accepted connection: its first read is tried before the poller hears of it (read_watched is true meanwhile) */
    bool reads_first;
    struct small_address name, peer_name;
} Transport;

/* type: Transport's, or one whose struct begins with a Transport.  fd is owned by the transport from here on, unless
 * sock is given.  context is stolen (NULL: the empty one).  On failure fd is not closed. */
static Transport *transport_new(PyTypeObject *type, Loop *loop, const struct transport_ops *ops, int fd, PyObject *sock,
                                PyObject *protocol, PyObject *context);
/* The steps of a start: connection_made, on_hear, then the waiter (NULL: none), which is the future of whoever opens
 * the transport: asyncio's futures._set_result_unless_cancelled(waiter, None). */
static inline int transport_start(Loop *loop, PyObject *self, ready_fn on_hear, PyObject *waiter) MUST_CHECK;
/* The same steps, each by the replaced call_soon; on_hear may be NULL: none. name: asyncio's for it. */
static int transport_start_by_name(Transport *t, ready_fn on_hear, const char *name, PyObject *waiter) MUST_CHECK;
/* The descriptor is not the transport's any more: it is closed next, or the caller's again. */
static void transport_forget_fd(Transport *t);
/* Its connection turns out to be of another kind. */
static inline void transport_set_kind(Transport *t, enum transport_kind kind);
/* Give the socket what it takes of the queue, as outq_send does. */
static inline int transport_send_out(Transport *t) MUST_CHECK;
static int transport_register(PyObject *module, struct state *st) MUST_CHECK;
static int transport_keep_name(Transport *t, struct small_address *kept, PyObject *key,
                               const struct sockaddr_storage *address, socklen_t n_bytes) MUST_CHECK;
static int transport_set_extra(Transport *t, PyObject *name, PyObject *value) MUST_CHECK;
static inline bool transport_is_reading(const Transport *t);
/* EBADF when the Python socket was closed behind our back. */
static inline int transport_check_fd(Transport *t) MUST_CHECK;
/* The live transport of this loop that uses fd, or NULL: add_reader and sock_* refuse its descriptor. Borrowed. */
static PyObject *transport_of_fd_borrowed(Loop *loop, int fd);
/* asyncio's RuntimeError when there is one */
static int transport_check_fd_free(Loop *loop, int fd, PyObject *shown) MUST_CHECK;
static PyObject *transport_socket(Transport *t); /* the TransportSocket */
/* by anybody else: the program may use it by itself */
static inline bool transport_socket_is_held(const Transport *t);
static PyObject *transport_python_socket_borrowed(Transport *t); /* made when first asked for */
static PyObject *transport_get_extra(Transport *t, PyObject *name, PyObject *fallback);

/* get_extra_info(name, default=None) */
static int transport_parse_get_extra(const char *function, PyObject *args, PyObject *kwargs, PyObject **name,
                                     PyObject **fallback) MUST_CHECK;
/* A write after the end: counted in *n_lost, and the log speaks of it when there were some. */
static int transport_count_lost(struct state *st, uint32_t *n_lost, const char *warning) MUST_CHECK;
static int transport_count_lost_write(Transport *t) MUST_CHECK;

static int transport_write(Transport *t, PyObject *data) MUST_CHECK; /* bytes, bytearray or memoryview */
static PyObject *Transport_write(PyObject *self, PyObject *data); /* the method, for StreamWriter */
static int transport_flush(Transport *t) MUST_CHECK;
/* Give bytes to the kernel at once, and queue a copy of what it does not take. For a sink's on_room: the queue must be
 * empty. An error of the socket's ends the connection (0 all the same). */
static int transport_send_now(Transport *t, const char *bytes, size_t n_bytes) MUST_CHECK;
/* flush after this ready entry, or a later one of the pass */
static inline void transport_list_flush(Transport *t);
static inline bool transport_gathers(const Transport *t); /* may that be waited for? */
/* The queue is empty: what has the sink? */
static inline int transport_ask_sink(Transport *t) MUST_CHECK;
/* with the raised exception: the queue is dropped, the connection ends */
static int transport_send_failed(Transport *t) MUST_CHECK;
static int transport_flush_all(Loop *loop) MUST_CHECK; /* loop->flush.flush */
static int transport_start_reading(Transport *t) MUST_CHECK;
static void transport_stop_reading(Transport *t);
static int transport_start_writing_watch(Transport *t) MUST_CHECK;
static void transport_stop_writing_watch(Transport *t);
/* The water marks: n_bytes wait to be sent. */
static int transport_maybe_pause_protocol(Transport *t, size_t n_bytes) MUST_CHECK;
static int transport_maybe_resume_protocol(Transport *t, size_t n_bytes) MUST_CHECK;

static int transport_close(Transport *t) MUST_CHECK;
static int transport_abort(Transport *t) MUST_CHECK;
/* connection_lost(exception) in a later pass; the queue is dropped. exception: borrowed, or None. */
static int transport_force_close(Transport *t, PyObject *exception) MUST_CHECK;
/* The raised exception ends the connection: reported unless it is an OSError.  -1: SystemExit or KeyboardInterrupt,
 * still raised. */
static int transport_fatal_error(Transport *t, const char *message) MUST_CHECK;
/* Its report alone; is_quiet: the log has it in debug mode, and nobody otherwise. */
static int transport_report_error(Transport *t, const char *message, PyObject *exception, bool is_quiet) MUST_CHECK;
/* the end itself, now; only from ready entries.  is_scheduled: the entry is there for it, and is no watch's */
static int transport_lose(Transport *t, PyObject *exception, bool is_scheduled) MUST_CHECK;
/* NULL: success. keeps a raised exception */
static void transport_settle_empty_waiter(Transport *t, PyObject *exception);

#endif
