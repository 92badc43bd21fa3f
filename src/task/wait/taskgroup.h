/* task/wait/taskgroup.h -- TaskGroup: tasks that end together.
 *
 * The group is the callback of each task on an own loop: a task that ends well leaves the set and nothing is called.
 * The first that fails cancels the others and the parent, whose cancellation __aexit__ takes back.  What exactly
 * __aexit__ does differs between versions and patch releases: COMPAT_GROUP_ features and st->traits.
 *
 *     body                 __aexit__: waits while there are tasks (on_completed), then raises base_error, the
 * cancellation, or the group of errors entered --> exiting -------------------------------------------------------->
 * (3.13.1 and later: forgets parent and errors)
 *        \-----------> aborting (a task, or the body, failed)
 *
 * A subclass, or a program that sets them on the class, may replace _on_task_done, _abort and _is_base_error: then they
 * are called, as methods. Ownership: owns tasks and parent; errors NULL means none yet, or (has_forgotten) that they
 * are given up.  Thread: the loop's. */
#ifndef ASYNCLOOP_TASK_TASKGROUP_H
#define ASYNCLOOP_TASK_TASKGROUP_H

#include "task/future/future.h"

typedef struct {
    PyObject_HEAD
    PyObject *loop;
    PyObject *parent_task;
    PyObject *tasks;  /* a set */
    PyObject *errors; /* a list */
    PyObject *base_error;
    PyObject *on_completed; /* the future that __aexit__ waits on */
    PyObject *dict, *weakrefs;
    bool entered, exiting, aborting;
    bool parent_cancel_requested;
    bool cancel_on_enter;
    bool has_forgotten;
} TaskGroup;

static int taskgroup_register(PyObject *module, struct state *st) MUST_CHECK;

/* ---- for taskgroup_type.c */
static int taskgroup_enter(TaskGroup *g, struct state *st) MUST_CHECK;
static int taskgroup_abort(TaskGroup *g, struct state *st) MUST_CHECK;
static int taskgroup_task_done(TaskGroup *g, struct state *st, PyObject *task) MUST_CHECK;
static int taskgroup_add(TaskGroup *g, struct state *st, PyObject *task) MUST_CHECK;
static int taskgroup_check_open(TaskGroup *g, struct state *st, PyObject *coro) MUST_CHECK;
static int taskgroup_is_base_error(PyObject *exception);
static const struct coro_kind taskgroup_aexit_kind;
enum { GROUP_EXC_TYPE, GROUP_EXC, GROUP_PROPAGATE, GROUP_PENDING }; /* slots of __aexit__ */
#if COMPAT_GROUP_CANCEL
static int taskgroup_cancel(TaskGroup *g, struct state *st) MUST_CHECK;
#endif

#endif
