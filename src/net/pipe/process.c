/* net/pipe/process.c -- the pidfd's entry: waitpid, the exit code, the call of who waits. */
#include "net/pipe/process.h"

#include "core/context.h"
#include "core/deferred.h"
#include "core/watch.h"
#include "plain/sock.h"

#include <sys/wait.h>

typedef struct {
    PyObject_HEAD
    PyObject *popen, *callback, *reap; /* NULL: cleared by the collector */
    PyObject *context;                 /* a slot (core/context.h) */
    int fd;                            /* -1: closed */
} ProcessWatch;

static void
process_close(ProcessWatch *w)
{
    int fd = w->fd;
    w->fd = -1;
    if (fd >= 0) {
        (void)sock_close(fd); /* the poller forgets it with that */
    }
}

/* popen.returncode, set now unless another has reaped the child and set it.  None: another has reaped it, and set
 * nothing. */
static PyObject *
process_reap_locked(struct state *st, PyObject *popen)
{
    PyObject *code = PyObject_GetAttr(popen, st->str.returncode);
    if (code != Py_None) {
        return code;
    }
    PyObject *pid = PyObject_GetAttr(popen, st->str.pid);
    pid_t number = pid == NULL ? -1 : (pid_t)PyLong_AsLong(pid);
    Py_XDECREF(pid);
    if (number == -1 && PyErr_Occurred()) {
        Py_DECREF(code);
        return NULL;
    }
    int status;
    if (number > 0 && waitpid(number, &status, WNOHANG) == number) { /* it has ended: this does not block */
        Py_SETREF(code, PyLong_FromLong(WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status)));
        if (code != NULL && PyObject_SetAttr(popen, st->str.returncode, code) < 0) {
            Py_CLEAR(code);
        }
    }
    return code;
}

static PyObject *
process_reap(struct state *st, PyObject *popen)
{
    PyObject *lock = PyObject_GetAttr(popen, st->str._waitpid_lock);
    PyObject *entered = lock == NULL ? NULL : PyObject_CallMethodNoArgs(lock, st->str.acquire), *code = NULL;
    if (entered != NULL) {
        code = process_reap_locked(st, popen);
        PyObject *raised = compat_take_raised();
        PyObject *left = PyObject_CallMethodNoArgs(lock, st->str.release);
        if (left == NULL) {
            PyErr_WriteUnraisable(lock);
        }
        Py_XDECREF(left);
        compat_set_raised(raised);
    }
    Py_XDECREF(entered);
    Py_XDECREF(lock);
    return code;
}

/* Ready entry. */
static int
process_on_exit(Loop *loop, PyObject *self, PyObject *Py_UNUSED(arg))
{
    ProcessWatch *w = (ProcessWatch *)self;
    int rc = 0;
    loop_leave_task(loop);
    watch_forget(loop, w->fd);
    process_close(w);
    if (w->popen == NULL) {
        return 0;
    }
    if (context_enter(loop, &w->context) < 0) {
        return -1;
    }
    PyObject *popen = Py_NewRef(w->popen), *callback = Py_NewRef(w->callback), *reap = Py_NewRef(w->reap);
    PyObject *code = process_reap(loop->st, popen);
    if (code == Py_None) {
        Py_SETREF(code, PyObject_CallOneArg(reap, popen));
    }
    PyObject *done = code == NULL ? NULL : PyObject_CallOneArg(callback, code);
    if (done == NULL) {
        rc = deferred_report(loop, process_on_exit, self, NULL, "_PidfdChildWatcher._do_wait", NULL, 0);
    }
    Py_XDECREF(done);
    Py_XDECREF(code);
    Py_DECREF(reap);
    Py_DECREF(callback);
    Py_DECREF(popen);
    context_leave(loop, &w->context);
    return rc;
}

PyDoc_STRVAR(Loop__watch_exit_doc, "_watch_exit($self, pidfd, popen, callback, reap, /)\n--\n\n"
                                   "When the child of this pidfd has ended, reap it and call callback(returncode); if "
                                   "somebody else has reaped it, callback(reap(popen)).\n\n"
                                   "The pidfd is the loop's from here on, on an error it is closed.  Returns: None.  "
                                   "Raises: OSError, RuntimeError (loop closed).");

static PyObject *
Loop__watch_exit(PyObject *self, PyObject *const *args, Py_ssize_t n_args)
{
    Loop *loop = (Loop *)self;
    if (n_args != 4) {
        PyErr_Format(PyExc_TypeError, "_watch_exit() takes 4 arguments (%zd given)", n_args);
        return NULL;
    }
    int fd = (int)PyLong_AsLong(args[0]);
    if (fd == -1 && PyErr_Occurred()) {
        return NULL;
    }
    ProcessWatch *w = PyObject_GC_New(ProcessWatch, loop->st->ProcessWatch_type);
    if (w == NULL) {
        (void)sock_close(fd);
        return NULL;
    }
    w->fd = fd;
    w->popen = Py_NewRef(args[1]);
    w->callback = Py_NewRef(args[2]);
    w->reap = Py_NewRef(args[3]);
    w->context = NULL;
    PyObject_GC_Track(w);
    int rc = -1;
    if (loop_check_closed(loop) == 0 && context_copy_current(&w->context) == 0) {
        rc = watch_start(loop, fd, WATCH_READ, process_on_exit, (PyObject *)w, true);
    }
    Py_DECREF(w); /* the watch has it, or it closes the pidfd */
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static int
ProcessWatch_traverse(PyObject *self, visitproc visit, void *arg)
{
    ProcessWatch *w = (ProcessWatch *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(w->popen);
    Py_VISIT(w->callback);
    Py_VISIT(w->reap);
    Py_VISIT(w->context);
    return 0;
}

static int
ProcessWatch_clear(PyObject *self)
{
    ProcessWatch *w = (ProcessWatch *)self;
    Py_CLEAR(w->popen);
    Py_CLEAR(w->callback);
    Py_CLEAR(w->reap);
    Py_CLEAR(w->context);
    return 0;
}

static void
ProcessWatch_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, ProcessWatch_dealloc)
    process_close((ProcessWatch *)self);
    ProcessWatch_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static PyType_Slot ProcessWatch_slots[] = {
    {Py_tp_doc, "Hears of the end of one child process."},
    {Py_tp_traverse, ProcessWatch_traverse},
    {Py_tp_clear, ProcessWatch_clear},
    {Py_tp_dealloc, ProcessWatch_dealloc},
    {0, NULL},
};

static PyType_Spec ProcessWatch_spec = {
    .name = "asyncloop._asyncloop.ProcessWatch",
    .basicsize = sizeof(ProcessWatch),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = ProcessWatch_slots,
};

static int
process_register(PyObject *module, struct state *st)
{
    return state_add_type(module, &st->ProcessWatch_type, &ProcessWatch_spec, NULL, false, SECTION_SELF);
}
