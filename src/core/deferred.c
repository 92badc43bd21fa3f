/* core/deferred.c -- see deferred.h. */
#include "core/deferred.h"

#include "core/handle.h"

typedef struct {
    PyObject_HEAD
    Loop *loop;
    PyObject *self, *arg;
    ready_fn run; /* NULL: it has run */
    const char *name;
    Py_ssize_t n_args; /* that it is called with, and has no use for */
} Deferred;

static int
deferred_call_soon(Loop *loop, PyObject *callback, PyObject *argument)
{
    PyObject *args[] = {(PyObject *)loop, callback, argument};
    Py_INCREF(loop); /* the method may let it go */
    PyObject *handle = PyObject_VectorcallMethod(loop->st->str.call_soon, args,
                                                 (argument != NULL ? 3 : 2) | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(loop);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

static Deferred *
deferred_new(Loop *loop, ready_fn run, PyObject *self, PyObject *arg, const char *name, Py_ssize_t n_args)
{
    PyTypeObject *type = loop->st->Deferred_type;
    Deferred *d = (Deferred *)type->tp_alloc(type, 0);
    if (d != NULL) {
        d->loop = (Loop *)Py_NewRef(loop);
        d->self = Py_NewRef(self);
        d->arg = Py_XNewRef(arg);
        d->run = run;
        d->name = name;
        d->n_args = n_args;
    }
    return d;
}

static COLD int
deferred_push_by_name(Loop *loop, ready_fn run, PyObject *self, PyObject *arg, const char *name)
{
    Deferred *d = deferred_new(loop, run, self, arg, name, 0);
    int rc = d == NULL ? -1 : deferred_call_soon(loop, (PyObject *)d, NULL);
    Py_XDECREF(d);
    return rc;
}

static inline int
deferred_push(Loop *loop, ready_fn run, PyObject *self, PyObject *arg, const char *name)
{
    if (UNLIKELY(loop->overrides & LOOP_OWN_CALL_SOON)) {
        return deferred_push_by_name(loop, run, self, arg, name);
    }
    return loop_ready_push(loop, run, self, arg);
}

static COLD int
deferred_report(Loop *loop, ready_fn run, PyObject *self, PyObject *arg, const char *name, PyObject *const *args,
                Py_ssize_t n_args)
{
    PyObject *exception = compat_take_raised();
    Deferred *d = deferred_new(loop, run, self, arg, name, n_args);
    PyErr_Clear();
    compat_set_raised(exception);
    int rc = handle_report_call(loop, (PyObject *)d, args, n_args, NULL);
    Py_XDECREF(d);
    return rc;
}

/* An entry is run once: what it does is not prepared to be done again. */
static PyObject *
Deferred_call(PyObject *object, PyObject *args, PyObject *kwargs)
{
    Deferred *d = (Deferred *)object;
    if (PyTuple_GET_SIZE(args) != d->n_args || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)) {
        PyErr_Format(PyExc_TypeError, "%s() takes %zd positional arguments", d->name, d->n_args);
        return NULL;
    }
    if (d->run == NULL) {
        Py_RETURN_NONE;
    }
    ready_fn run = d->run;
    Loop *loop = d->loop;
    PyObject *self = d->self, *arg = d->arg;
    d->run = NULL;
    d->loop = NULL;
    d->self = d->arg = NULL;
    int rc = loop->state == LOOP_CLOSED ? 0 : run(loop, self, arg); /* a closed loop drops its entries */
    PyObject *raised = compat_take_raised();
    Py_XDECREF(arg);
    Py_DECREF(self);
    Py_DECREF(loop);
    compat_set_raised(raised);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Deferred_repr(PyObject *object)
{
    return PyUnicode_FromFormat("<%s at %p>", ((Deferred *)object)->name, object);
}

static PyObject *
Deferred_get_qualname(PyObject *object, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(((Deferred *)object)->name);
}

static PyObject *
Deferred_get_name(PyObject *object, void *Py_UNUSED(closure))
{
    const char *name = ((Deferred *)object)->name, *dot = strrchr(name, '.');
    return PyUnicode_FromString(dot != NULL ? dot + 1 : name);
}

static int
Deferred_traverse(PyObject *object, visitproc visit, void *arg)
{
    Deferred *d = (Deferred *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(d->loop);
    Py_VISIT(d->self);
    Py_VISIT(d->arg);
    return 0;
}

static int
Deferred_clear(PyObject *object)
{
    Deferred *d = (Deferred *)object;
    d->run = NULL;
    Py_CLEAR(d->loop);
    Py_CLEAR(d->self);
    Py_CLEAR(d->arg);
    return 0;
}

static void
Deferred_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_TRASHCAN_BEGIN(object, Deferred_dealloc)
    (void)Deferred_clear(object);
    type->tp_free(object);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static PyGetSetDef Deferred_getset[] = {
    {"__name__", Deferred_get_name},
    {"__qualname__", Deferred_get_qualname},
    {NULL},
};

static PyType_Slot Deferred_slots[] = {
    {Py_tp_doc, "What the loop itself does in a pass, as a callback."},
    {Py_tp_call, Deferred_call},
    {Py_tp_repr, Deferred_repr},
    {Py_tp_getset, Deferred_getset},
    {Py_tp_traverse, Deferred_traverse},
    {Py_tp_clear, Deferred_clear},
    {Py_tp_dealloc, Deferred_dealloc},
    {0, NULL},
};

static PyType_Spec Deferred_spec = {
    .name = "asyncloop._asyncloop.Deferred",
    .basicsize = sizeof(Deferred),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Deferred_slots,
};

static int
deferred_register(PyObject *module, struct state *st)
{
    return state_add_type(module, &st->Deferred_type, &Deferred_spec, NULL, false, SECTION_AT(Deferred, loop));
}
