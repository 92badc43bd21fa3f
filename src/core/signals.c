/* core/signals.c -- opening and closing the pipe, and the entry that reads signal numbers from it. */
#include "core/signals.h"

#include "core/deferred.h"
#include "core/raise.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int
signals_open(Loop *loop)
{
    if (loop->signal_fds[1] >= 0) {
        return loop->signal_fds[1];
    }
    if (pipe2(loop->signal_fds, O_CLOEXEC | O_NONBLOCK) < 0) {
        loop->signal_fds[0] = loop->signal_fds[1] = -1;
        return raise_errno(-errno);
    }
    loop->n_watched++;
    int rc = poller_add(&loop->poller, loop->signal_fds[0], POLLER_READ, 0);
    if (rc < 0) {
        signals_close(loop);
        return raise_errno(rc);
    }
    return loop->signal_fds[1];
}

static void
signals_close(Loop *loop)
{
    loop->n_watched -= loop->signal_fds[0] >= 0;
    for (int i = 0; i < 2; i++) {
        if (loop->signal_fds[i] >= 0) {
            close(loop->signal_fds[i]);
            loop->signal_fds[i] = -1;
        }
    }
}

static int
signals_on_readable(Loop *loop, PyObject *self, PyObject *Py_UNUSED(arg))
{
    unsigned char numbers[4096];
    ssize_t n;
    loop_leave_task(loop);
    do {
        n = loop->signal_fds[0] < 0 ? 0 : read(loop->signal_fds[0], numbers, sizeof numbers);
    } while (n < 0 && errno == EINTR);
    for (ssize_t i = 0; i < n; i++) {
        if (numbers[i] == 0) {
            continue;
        }
        PyObject *number = PyLong_FromLong(numbers[i]);
        PyObject *done = number == NULL ? NULL : PyObject_CallMethodOneArg(self, loop->st->str._handle_signal, number);
        Py_XDECREF(number);
        Py_XDECREF(done);
        if (done == NULL
            && deferred_report(loop, signals_on_readable, self, NULL, "BaseSelectorEventLoop._read_from_self", NULL, 0)
                   < 0) {
            return -1;
        }
    }
    return 0;
}
