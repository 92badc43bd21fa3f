/* net/pipe/process.h -- hearing of the end of a child process, and reaping it.
 *
 * Loop._watch_exit(pidfd, popen, callback, reap) takes a pidfd over and watches it, once: it is readable from the
 * child's end on.  Then the pidfd is closed, the child is reaped under the subprocess.Popen's own lock, as its poll()
 * does, and callback(returncode) runs in a copy of the context in which it was given.  Where somebody else has reaped
 * the child, reap(popen) gives the return code.  When the loop ends the pidfd is only closed. Making the child is
 * asyncloop/_process.py's.
 *
 * Ownership: the loop's watch owns the ProcessWatch, which owns the descriptor.  Thread: the loop's. */
#ifndef ASYNCLOOP_NET_PROCESS_H
#define ASYNCLOOP_NET_PROCESS_H

#include "core/loop.h"

static PyObject *Loop__watch_exit(PyObject *self, PyObject *const *args, Py_ssize_t n_args);
static int process_register(PyObject *module, struct state *st) MUST_CHECK;

#endif
