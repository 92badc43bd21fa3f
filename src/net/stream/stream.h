/* net/stream/stream.h -- what StreamReader, StreamReaderProtocol and StreamWriter have in common.
 *
 * The three are asyncio's classes in C: same methods, same attributes (the private ones too, which programs look at and
 * set), subclassable, each object with a __dict__.  They run on any loop; on ours bytes and wake-ups pass between
 * transport, protocol, reader and the task that waits with no Python call.
 *
 * A program may override or replace any method.  So each of ours that asyncio calls through self is called by name,
 * except on a plain object: one of exactly our type that has no attributes of its own, while nobody has put methods
 * into the types themselves (twins_touched[TWIN_STREAMS]).
 *
 * Files: stream_buffer (the bytes), stream_reader (StreamReader) with stream_read (its coroutines), stream_protocol,
 * stream_writer. asyncloop/_streams.py has open_connection and its sisters, and StreamWriter.start_tls. */
#ifndef ASYNCLOOP_NET_STREAM_H
#define ASYNCLOOP_NET_STREAM_H

#include "core/loop.h"

#define STREAM_DEFAULT_LIMIT 65536 /* asyncio.streams._DEFAULT_LIMIT */

static int stream_register(PyObject *module, struct state *st) MUST_CHECK;

static inline bool
stream_is_plain(struct state *st, PyObject *self, PyTypeObject *type, PyObject *dict)
{
    return Py_IS_TYPE(self, type) && (dict == NULL || PyDict_GET_SIZE(dict) == 0) && !st->twins_touched[TWIN_STREAMS];
}

/* The loop given, or for None asyncio's choice. New reference. */
static PyObject *stream_take_loop(struct state *st, PyObject *loop_or_none);
static int stream_loop_is_debug(struct state *st, PyObject *loop); /* loop.get_debug(): 1, 0, -1 */
/* A call whose result is dropped; argument may be NULL. */
static int stream_call_void(PyObject *object, PyObject *name, PyObject *argument) MUST_CHECK;
/* Raise that very exception object. */
static COLD int stream_raise(PyObject *exception);
/* logger.debug(format, self) when the loop is in debug mode. */
static COLD int stream_log_debug(struct state *st, PyObject *loop, const char *format, PyObject *self);

#define STREAM_METHOD(type, name, flags, doc) {#name, (PyCFunction)(void (*)(void))type##_##name, flags, doc}
#define STREAM_FASTCALL (METH_FASTCALL | METH_KEYWORDS)
#define STREAM_FIELD(type, name, field) {name, twin_get_field, twin_set_field, NULL, (void *)offsetof(type, field)}

#endif
