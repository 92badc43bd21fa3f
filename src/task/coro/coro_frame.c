/* task/coro/coro_frame.c -- what a Coro's cr_frame is: something that Python code takes for the frame of a coroutine
 * that is suspended.
 *
 * A Coro has no frame.  inspect.getcoroutinestate (until 3.14), asyncio's repr of a task, Task.get_stack, the call
 * graph and debuggers ask for one, to see whether the coroutine is over and where it is.  This one has the code of
 * asyncio's function; its line is that function's first, its f_locals are `self`. isinstance says that it is a frame.
 * Made anew at each reading of cr_frame. Ownership: owns the coroutine object, its code and whose method it is. */
#include "core/function.h"
#include "task/coro/coro.h"

typedef struct {
    PyObject_HEAD
    PyObject *coro, *code;
    PyObject *owner; /* `self` of the method, or NULL */
} CoroFrame;

static PyObject *
coro_frame_new(struct state *st, PyObject *coro, const char *qualname, PyObject *owner)
{
    PyObject *code = function_code_borrowed(st, qualname);
    if (code == NULL || st->CoroFrame_type == NULL) {
        Py_RETURN_NONE;
    }
    CoroFrame *frame = PyObject_GC_New(CoroFrame, st->CoroFrame_type);
    if (frame != NULL) {
        frame->coro = Py_NewRef(coro);
        frame->code = Py_NewRef(code);
        frame->owner = Py_XNewRef(owner);
        PyObject_GC_Track(frame);
    }
    return (PyObject *)frame;
}

/* ---- the Coro's attributes */

static PyObject *
Coro_get_code(PyObject *self, void *Py_UNUSED(closure))
{
    struct state *st = coro_state_of(self);
    PyObject *code = st == NULL ? NULL : function_code_borrowed(st, ((Coro *)self)->kind->qualname);
    return st == NULL ? NULL : Py_NewRef(code == NULL ? Py_None : code);
}

static PyObject *
Coro_get_frame(PyObject *self, void *Py_UNUSED(closure))
{
    Coro *c = (Coro *)self;
    struct state *st = coro_state_of(self);
    if (st == NULL || c->state == CORO_DONE) {
        return st == NULL ? NULL : Py_NewRef(Py_None);
    }
    return coro_frame_new(st, self, c->kind->qualname, c->self);
}

#if COMPAT_CORO_STATE
static PyObject *
coro_state_text(enum coro_state state)
{
    static const char *const names[] = {
        [CORO_CREATED] = "CORO_CREATED",
        [CORO_RUNNING] = "CORO_RUNNING",
        [CORO_WAITING] = "CORO_SUSPENDED",
        [CORO_DONE] = "CORO_CLOSED",
    };
    return PyUnicode_InternFromString(names[state]);
}

static PyObject *
Coro_get_state(PyObject *self, void *Py_UNUSED(closure))
{
    return coro_state_text(((Coro *)self)->state);
}
#endif

/* ---- the frame's */

static PyObject *
CoroFrame_get_class(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return Py_NewRef((PyObject *)&PyFrame_Type);
}

static PyObject *
CoroFrame_get_lineno(PyObject *self, void *Py_UNUSED(closure))
{
    return PyObject_GetAttrString(((CoroFrame *)self)->code, "co_firstlineno");
}

static PyObject *
CoroFrame_get_locals(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *locals = PyDict_New(), *owner = ((CoroFrame *)self)->owner;
    if (locals != NULL && owner != NULL && PyDict_SetItemString(locals, "self", owner) < 0) {
        Py_CLEAR(locals);
    }
    return locals;
}

/* Linecache asks for the module's name; the namespace is ours to make. */
static PyObject *
CoroFrame_get_globals(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return Py_BuildValue("{s:s}", "__name__", "asyncloop");
}

static PyObject *
CoroFrame_get_builtins(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return Py_NewRef(PyEval_GetBuiltins());
}

static PyObject *
CoroFrame_get_none(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_NONE;
}

static PyObject *
CoroFrame_get_lasti(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return PyLong_FromLong(-1);
}

static PyObject *
CoroFrame_clear_locals(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    PyErr_SetString(PyExc_RuntimeError, "cannot clear a suspended frame");
    return NULL;
}

static PyObject *
CoroFrame_repr(PyObject *self)
{
    PyObject *code = ((CoroFrame *)self)->code, *file = PyObject_GetAttrString(code, "co_filename");
    PyObject *name = PyObject_GetAttrString(code, "co_name"), *line = CoroFrame_get_lineno(self, NULL), *text = NULL;
    if (file != NULL && name != NULL && line != NULL) {
        text = PyUnicode_FromFormat("<frame at %p, file %R, line %S, code %S>", self, file, line, name);
    }
    Py_XDECREF(file);
    Py_XDECREF(name);
    Py_XDECREF(line);
    return text;
}

static int
CoroFrame_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((CoroFrame *)self)->coro);
    Py_VISIT(((CoroFrame *)self)->code);
    Py_VISIT(((CoroFrame *)self)->owner);
    return 0;
}

static void
CoroFrame_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_DECREF(((CoroFrame *)self)->coro);
    Py_DECREF(((CoroFrame *)self)->code);
    Py_XDECREF(((CoroFrame *)self)->owner);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef CoroFrame_methods[] = {
    {"clear", CoroFrame_clear_locals, METH_NOARGS, NULL},
    {NULL},
};

static PyGetSetDef CoroFrame_getset[] = {
    {"__class__", CoroFrame_get_class},   {"f_back", CoroFrame_get_none},   {"f_builtins", CoroFrame_get_builtins},
    {"f_globals", CoroFrame_get_globals}, {"f_lasti", CoroFrame_get_lasti}, {"f_lineno", CoroFrame_get_lineno},
    {"f_locals", CoroFrame_get_locals},   {"f_trace", CoroFrame_get_none},  {NULL},
};

static PyMemberDef CoroFrame_members[] = {
    {"f_code", T_OBJECT_EX, offsetof(CoroFrame, code), READONLY},
#if COMPAT_CALL_GRAPH
    {"f_generator", T_OBJECT_EX, offsetof(CoroFrame, coro), READONLY},
#endif
    {NULL},
};

static PyType_Slot CoroFrame_slots[] = {
    {Py_tp_traverse, CoroFrame_traverse},
    {Py_tp_dealloc, CoroFrame_dealloc},
    {Py_tp_repr, CoroFrame_repr},
    {Py_tp_methods, CoroFrame_methods},
    {Py_tp_getset, CoroFrame_getset},
    {Py_tp_members, CoroFrame_members},
    {0, NULL},
};

static PyType_Spec CoroFrame_spec = {
    .name = "asyncloop._asyncloop.frame",
    .basicsize = sizeof(CoroFrame),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = CoroFrame_slots,
};

static int
coro_frame_register(PyObject *module, struct state *st)
{
    return state_add_type(module, &st->CoroFrame_type, &CoroFrame_spec, NULL, false, SECTION_SELF);
}
