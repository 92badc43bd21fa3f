/* core/log.h -- lines in asyncio's log: calls of a method of its logger, by name, as asyncio makes them.  0, or -1 with
 * what that method raised. */
#ifndef ASYNCLOOP_CORE_LOG_H
#define ASYNCLOOP_CORE_LOG_H

#include "core/state.h"

/* logger.level(...).  format: of the tuple of arguments, as Py_BuildValue's: "(sO)". */
static int log_line(struct state *st, const char *level, const char *format, ...) MUST_CHECK;
/* logger.debug('%r: %s', who, message, exc_info=exception) */
static int log_exception(struct state *st, PyObject *who, const char *message, PyObject *exception) MUST_CHECK;

#endif
