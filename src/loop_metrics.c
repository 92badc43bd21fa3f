/* loop_metrics.c -- Loop's counters, for metrics(); its hooks for what takes long. */
#include "core/loop.h"
#include "core/timed.h"
#include "net/conn/transport.h"

/* Unfinished tasks of ours, eager ones included. */
static Py_ssize_t
loop_metrics_n_tasks(const Loop *loop)
{
    Py_ssize_t n = 0;
    for (const struct task_link *link = loop->tasks; link != NULL; link = link->next) {
        n++;
    }
    return n;
}

static PyObject *
Loop__counters(PyObject *self, PyObject *Py_UNUSED(none))
{
    Loop *loop = (Loop *)self;
    double polling, working;
    if (metrics_times(loop, &polling, &working) < 0) {
        return NULL;
    }
    const struct metrics *m = &loop->metrics;
    const struct net *net = loop->net;
    return Py_BuildValue(
        "{s:K,s:K,s:K,s:K,s:K,s:d,s:d,s:d,s:d,s:d,s:I,s:I,s:I,s:n,s:I,s:I,s:I,s:I,s:I,s:I,s:K,s:K,s:K}", "passes",
        (unsigned long long)metrics_n_passes(loop), "callbacks", (unsigned long long)metrics_n_callbacks(loop),
        "task_steps", (unsigned long long)m->task_steps, "polls", (unsigned long long)m->polls, "glances",
        (unsigned long long)m->glances, "time_polling", polling, "time_working", working, "longest_callback",
        m->longest, "lag", m->lag, "lag_max", m->lag_max, "ready", (unsigned)loop->ready.n, "ready_max",
        (unsigned)m->ready_max, "timers", (unsigned)loop->timers.n, "tasks", loop_metrics_n_tasks(loop),
        "tcp_connections", (unsigned)net->n_open[TRANSPORT_TCP], "tls_connections",
        (unsigned)net->n_open[TRANSPORT_TLS], "unix_sockets", (unsigned)net->n_open[TRANSPORT_UNIX], "udp_sockets",
        (unsigned)net->n_open[TRANSPORT_UDP], "pipes", (unsigned)net->n_open[TRANSPORT_PIPE], "other_sockets",
        (unsigned)net->n_open[TRANSPORT_OTHER], "accepted", (unsigned long long)net->n_accepted, "bytes_in",
        (unsigned long long)net->bytes_in, "bytes_out", (unsigned long long)net->bytes_out);
}

/* What os.sendfile() has sent for this loop. */
static PyObject *
Loop__count_sent(PyObject *self, PyObject *number)
{
    Py_ssize_t n = PyLong_AsSsize_t(number);
    if (n == -1 && PyErr_Occurred()) {
        return NULL;
    }
    ((Loop *)self)->net->bytes_out += n > 0 ? (size_t)n : 0;
    Py_RETURN_NONE;
}

/* ---- what is told, and when */

static PyObject *
Loop_get_time_callbacks(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((Loop *)self)->times_callbacks);
}

static int
Loop_set_time_callbacks(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "time_callbacks cannot be deleted");
        return -1;
    }
    int is_on = PyObject_IsTrue(value);
    if (is_on < 0) {
        return -1;
    }
    ((Loop *)self)->times_callbacks = is_on;
    timed_look((Loop *)self);
    return 0;
}

/* *slot = value, a callable or None. */
static int
loop_metrics_set_hook(Loop *loop, PyObject **slot, PyObject *value, const char *name)
{
    if (value == NULL) {
        PyErr_Format(PyExc_AttributeError, "%s cannot be deleted", name);
        return -1;
    }
    if (value != Py_None && !PyCallable_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s must be a callable or None", name);
        return -1;
    }
    PyObject *before = *slot;
    *slot = value == Py_None ? NULL : Py_NewRef(value);
    timed_look(loop);
    Py_XDECREF(before);
    return 0;
}

static PyObject *
Loop_get_slow_callback_hook(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *hook = ((Loop *)self)->slow_hook;
    return Py_NewRef(hook == NULL ? Py_None : hook);
}

static int
Loop_set_slow_callback_hook(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    return loop_metrics_set_hook((Loop *)self, &((Loop *)self)->slow_hook, value, "slow_callback_hook");
}

static PyObject *
Loop_get_entry_hook(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *hook = ((Loop *)self)->entry_hook;
    return Py_NewRef(hook == NULL ? Py_None : hook);
}

static int
Loop_set_entry_hook(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    return loop_metrics_set_hook((Loop *)self, &((Loop *)self)->entry_hook, value, "_entry_hook");
}
