/* net/pipe/pipe.h -- one end of a pipe, or of what is used like one: a socket, a character device, a pseudo-terminal.
 *
 *   made --start--> open --close()/EOF/error--> closing --queue empty--> losing --a later pass--> lost (pipe.close()
 * was called)
 *
 * It begins with a Transport, whose queue, flow control and watches it shares (net/conn/transport.h); its descriptor,
 * its names and its end are its own: fd stays for repr, n_lost counts writes only.  Two types of one layout,
 * ReadPipeTransport and WritePipeTransport, as in asyncio; what only the other one uses stays zero.  connection_lost is
 * called once, by a ready entry, never inside close() or abort().
 *
 * Writing: write() goes to the kernel at once; what it does not take is queued, and the protocol is told to resume when
 * all of it has gone. Trap: nobody tells a writer that the readers have gone until it writes.  The poller does: the
 * write end of a pipe, asked for reading, never is readable, but reports an error once the last reader has closed (a
 * socket reports its end).  So an idle write pipe is watched for reading; a character device is not, there may be
 * input.
 *
 * Descriptor: it belongs to the Python object that was given, and is closed through that object's close(), once: when
 * the transport is lost, or by the finalizer (with a ResourceWarning).  It is set non-blocking and stays so. The loop's
 * watches own the transport while it reads, or writes, or looks out for the reader.  Thread: the loop's. */
#ifndef ASYNCLOOP_NET_PIPE_H
#define ASYNCLOOP_NET_PIPE_H

#include "net/conn/transport.h"

typedef struct Pipe {
    Transport base;
    PyObject *file; /* owns the descriptor; NULL when lost */
    bool is_writer, losing;
    bool hears_reader; /* a writer whose descriptor tells when nobody reads any more */
} Pipe;

static int pipe_register(PyObject *module, struct state *st) MUST_CHECK;

/* A transport on file, started in the next pass; waiter: a future to be given None then, or NULL.  extra: a dict or
 * None. ValueError when file is none of the above; on failure it stays open. */
static Pipe *pipe_open(Loop *loop, PyObject *file, PyObject *protocol, PyObject *waiter, PyObject *extra,
                       bool is_writer);

static int pipe_write(Pipe *p, PyObject *data) MUST_CHECK; /* bytes, bytearray or memoryview */
static int pipe_write_eof(Pipe *p) MUST_CHECK;
/* connection_lost(exception or None) in a later pass; what is queued is dropped. */
static int pipe_lose_soon(Pipe *p, PyObject *exception) MUST_CHECK;
/* close the file, let the protocol go; keeps a raised exception, reports one of close() */
static void pipe_release(Pipe *p);

static PyObject *Loop__make_read_pipe_transport(PyObject *self, PyObject *args, PyObject *kwargs);
static PyObject *Loop__make_write_pipe_transport(PyObject *self, PyObject *args, PyObject *kwargs);

#endif
