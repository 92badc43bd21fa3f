/* net/tls/tls.h -- TLS over any stream transport: the protocol below, and the transport it shows to the user's
 * protocol.
 *
 *     user's protocol  <-- plaintext --  TLSProtocol  <-- ciphertext --  transport below (a socket's, another TLS
 * transport, somebody's own) |                                 ^
 *           +--- TLSTransport: write, close --+
 *
 *   unwrapped --connection_made--> handshake --done--> wrapped --close(), EOF, close_notify--> flushing --backlog
 * empty--> shutdown --+ ^                              |                   |                                      | |
 *       +--- failed, timeout, abort() -+-------------------+--------------------------------------+---- connection_lost
 * from below --+
 *
 * flushing: what was written is still encrypted and sent, what comes is still delivered; then our close_notify goes.
 * shutdown: what comes is thrown away until the peer's close_notify or its EOF, then the transport below is closed.  A
 * timer bounds the handshake, and flushing and shutdown together, until connection_lost.  Unless the program set the
 * time, a peer that has acknowledged everything and says nothing for TLS_LINGER_SECONDS is not waited for any longer:
 * the standard allows it, and asyncio's 30 s are for data that is still on its way.  The texts, the exceptions and the
 * order of calls are asyncio.sslproto's. The user's protocol sees connection_made -> data_received* -> [eof_received]
 * -> connection_lost (enum tls_app); connection_lost in a later pass.
 *
 * Reading (tls_read.c): ciphertext arrives by the sink or by data_received, goes through the engine
 * (net/tls/tls_engine.h) and is delivered whole, as for plain connections: in one data_received however many records it
 * was; a BufferedProtocol's buffer is filled once a pass, as by asyncio.  While the user's protocol has paused reading
 * nothing is decrypted; when more than the read water mark waits, the transport below is paused.
 *
 * Writing (tls_write.c): what is written waits as plaintext in the backlog.  A socket's transport asks for ciphertext
 * (sink.on_room) when it flushes and has room: so several writes of one ready entry become one record and one system
 * call, a socket that is full costs no encryption, and nothing is held twice.  Flow control is asyncio's all the same:
 * there a write goes down encrypted and whole while the transport below takes more, and counts towards the user's water
 * marks only while it does not; so one write of any size pauses nobody (tls_write_settle).  Any other transport is
 * handed ciphertext at once, until it calls pause_writing.
 *
 * After connection_lost the engine stays for get_extra_info, unless close() is called twice (tls_forget).
 * Ownership: the transport below owns the TLSProtocol (as its protocol), that owns the engine, the user's protocol and,
 * until connection_lost, the TLSTransport, which owns it in turn.  raw stays after connection_lost, for its context
 * slot, until the user's connection_lost has been called. Context: the callbacks run in the context of the connection
 * below, one per connection. Errors: 0 or -1; -1 goes to whoever called, where asyncio lets the exception out; fatal
 * errors are dealt with here.  Thread: the loop's. */
#ifndef ASYNCLOOP_NET_TLS_H
#define ASYNCLOOP_NET_TLS_H

#include "net/tls/tls_engine.h"
#include "net/conn/transport.h"

#define TLS_RECORD_MAX (16 * 1024)
#define TLS_WRITE_CHUNK (8 * TLS_RECORD_MAX) /* plaintext that is encrypted before it is sent */
#define TLS_WRITE_HIGH_DEFAULT (512 * 1024)
#define TLS_READ_HIGH_DEFAULT (256 * 1024)

#define TLS_SHUTDOWN_SECONDS 30.0 /* asyncio.constants.SSL_SHUTDOWN_TIMEOUT */
#define TLS_LINGER_SECONDS 1.0

enum tls_state { TLS_UNWRAPPED, TLS_HANDSHAKE, TLS_WRAPPED, TLS_FLUSHING, TLS_SHUTDOWN };
/* May the wait for the peer's close_notify end early? */
enum tls_linger {
    TLS_LINGER_NEVER, /* no: the program gave an ssl_shutdown_timeout */
    TLS_LINGER_NOT_YET,
    TLS_LINGER_ON,   /* looking every TLS_LINGER_SECONDS, until linger_end */
    TLS_LINGER_OVER, /* it has */
};
enum tls_app { TLS_APP_INIT, TLS_APP_MADE, TLS_APP_EOF, TLS_APP_LOST };

struct TLSTransport;

/* What a record adds to its plaintext; block: the plaintext fills whole blocks, with one byte at least added. 0: a
 * stream of bytes.  n_added is 0 until it is known. */
struct tls_sealing {
    uint8_t n_added, block;
};

typedef struct TLSProtocol {
    PyObject_HEAD
    Loop *loop;
    struct protocol app;
    struct TLSTransport *app_transport; /* NULL after connection_lost */
    PyObject *transport;                /* below; NULL before connection_made and after connection_lost */
    Transport *raw;                     /* the same, when it is a socket's of this loop */
    PyObject *context;                  /* a slot, for when it is not */
    /* extra: dict of what get_extra_info has made, or NULL; waiter: NULL once told */
    PyObject *sslcontext, *extra, *waiter;
    PyObject *handshake_timeout, *shutdown_timeout; /* seconds, as given */
    struct tls_engine engine;
    struct outq backlog;
    /* the last bytes of the backlog, written while below_full; on asyncio they would still be with the TLS layer
     * (tls_write_settle) */
    size_t n_held;
    size_t n_held_sealed; /* the same, as the records that asyncio would have made of them; see tls_write_n_above */
    struct tls_sealing sealing;
    struct timer timer;
    double handshake_start; /* debug mode */
    double linger_end;      /* when waiting for the peer's close_notify ends at the latest, while TLS_LINGER_ON */
    struct limits limits, read_limits;
    uint32_t n_lost; /* writes after the end, and connection_lost */
    uint8_t state, app_state;
    uint8_t n_busy; /* calls of the engine going on: it is not closed inside of one */
    bool server_side, handshaken, eof_received, close_sent;
    /* or is a server.  A client's first write leaves at once, so that a server in this loop gets it with the end of the
     * handshake, as on asyncio */
    bool has_spoken;
    uint8_t linger; /* enum tls_linger */
    bool reads_on; /* an entry is to fill the next buffer of a BufferedProtocol (net/tls/tls_read.c) */
    bool forgettable; /* close() was called again, so the program asks for nothing any more (tls_forget) */
    bool reading_paused, writing_paused; /* by, of the user's protocol */
    bool below_reading_paused, below_writing_paused; /* of, by the transport below */
    bool below_full; /* on asyncio the transport below would have paused writing */
    bool writing; /* inside tls_write_flush */
    bool handshaking; /* inside do_handshake(), where libssl must not be entered again */
    PyObject *dict, *weakrefs;
} TLSProtocol;

typedef struct TLSTransport {
    PyObject_HEAD
    TLSProtocol *tls;
    bool closed;
    PyObject *dict, *weakrefs;
} TLSTransport;

/* What the ssl module and the engines need, found when the first connection wants it. 0, or -1. */
static int tls_load(struct state *st) MUST_CHECK;

/* ---- events from below (net/tls/tls_type.c gives them their Python names) */
static int tls_on_made(TLSProtocol *p, PyObject *transport) MUST_CHECK;
static int tls_on_bytes(PyObject *self, const char *bytes, size_t n_bytes) MUST_CHECK; /* sink */
static int tls_on_room(PyObject *self) MUST_CHECK; /* sink */
static int tls_go_on(TLSProtocol *p) MUST_CHECK; /* what the state does with input */
static int tls_on_eof(TLSProtocol *p) MUST_CHECK; /* 1: keep the transport below open; 0; -1 */
static int tls_on_lost(TLSProtocol *p, PyObject *exception) MUST_CHECK;
static int tls_on_timer(Loop *loop, PyObject *self, PyObject *arg); /* ready entry */

/* ---- what the user's side asks for */
static int tls_close(TLSProtocol *p) MUST_CHECK;
static int tls_abort(TLSProtocol *p, PyObject *exception) MUST_CHECK; /* exception: or None */
/* After connection_lost, once close() was called twice: the SSLObject and the SSLContext go, which asyncio's transport
 * lets go then too; programs keep transports for long.  The engine is closed then. */
static void tls_forget(TLSProtocol *p);
static int tls_resume_reading(TLSProtocol *p) MUST_CHECK;
/* pause or resume the transport below by the read water marks */
static int tls_control_reading(TLSProtocol *p) MUST_CHECK;
static PyObject *tls_get_extra(TLSProtocol *p, PyObject *name, PyObject *fallback);

/* ---- reading and writing */
static int tls_read(TLSProtocol *p) MUST_CHECK; /* deliver what can be decrypted now */
static int tls_read_discard(TLSProtocol *p) MUST_CHECK; /* TLS_END, TLS_AGAIN, TLS_ERROR */
static int tls_write(TLSProtocol *p, PyObject *data) MUST_CHECK; /* queue it; tls_write_soon comes after */
static bool tls_write_is_open(TLSProtocol *p);
static int tls_write_count_lost(TLSProtocol *p) MUST_CHECK;
static int tls_write_soon(TLSProtocol *p) MUST_CHECK; /* now, or when the ready entry that runs now returns */
static int tls_write_flush(TLSProtocol *p) MUST_CHECK; /* as much as the transport below takes */
/* pause_writing, resume_writing.  Limits of 0 pause an empty connection until the next write, as on asyncio. */
static int tls_write_control(TLSProtocol *p, bool limits_are_new) MUST_CHECK;
/* The handshake has failed: tell the peer why, if that can be done at once (asyncio hangs up without a word). */
static void tls_write_alert(TLSProtocol *p);
/* What asyncio's get_write_buffer_size() counts, and compares with the water marks: the ciphertext that the transport
 * below would not have been given yet. */
static size_t tls_write_n_above(TLSProtocol *p);
/* Does the transport below ask for ciphertext by itself? */
static inline bool tls_is_pulled(const TLSProtocol *p);

/* With the raised exception: the connection ends, the exception is reported unless it is an OSError or CancelledError.
 * -1, still raised: SystemExit or KeyboardInterrupt.  tls_fail leaves everything that is no Exception raised, as
 * asyncio's `except Exception`. */
static int tls_fatal_error(TLSProtocol *p, const char *message) MUST_CHECK;
static int tls_fail(TLSProtocol *p, const char *message) MUST_CHECK;
static int tls_call_eof_received(TLSProtocol *p) MUST_CHECK;
/* transport.method([argument]) */
static int tls_call_below(TLSProtocol *p, const char *method, PyObject *argument) MUST_CHECK;

/* Enter the connection's context unless we are in it: true means tls_leave. */
static bool tls_enter(TLSProtocol *p);
static void tls_leave(TLSProtocol *p);

static int tls_register(PyObject *module, struct state *st) MUST_CHECK;
static int tls_transport_register(PyObject *module, struct state *st) MUST_CHECK;
static TLSTransport *tls_transport_new(TLSProtocol *p);
static void tls_loop_clear(Loop *loop); /* the loop's buffer for ciphertext */

#endif
