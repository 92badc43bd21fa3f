/* core/named.c -- see named.h. */
#include "core/named.h"

#include <string.h>

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    const PyMethodDef *def;
    PyObject *self; /* NULL: the collector took it */
    const char *qualname;
} Named;

static PyObject *
Named_vectorcall(PyObject *object, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Named *f = (Named *)object;
    Py_ssize_t n_args = PyVectorcall_NARGS(nargsf), n_wanted = f->def->ml_flags & METH_O ? 1 : 0;
    if (n_args != n_wanted || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0)) {
        PyErr_Format(PyExc_TypeError, "%s() takes %zd positional argument%s but %zd were given", f->qualname, n_wanted,
                     n_wanted == 1 ? "" : "s", n_args);
        return NULL;
    }
    if (f->self == NULL) {
        Py_RETURN_NONE;
    }
    PyObject *self = Py_NewRef(f->self), *result = f->def->ml_meth(self, n_wanted == 1 ? args[0] : NULL);
    PyObject *raised = result == NULL ? compat_take_raised() : NULL;
    Py_DECREF(self);
    if (raised != NULL) {
        compat_set_raised(raised);
    }
    return result;
}

static PyObject *
named_new(struct state *st, const PyMethodDef *def, PyObject *self, const char *qualname)
{
    Named *f = PyObject_GC_New(Named, st->Named_type);
    if (f != NULL) {
        f->call = Named_vectorcall;
        f->def = def;
        f->self = Py_NewRef(self);
        f->qualname = qualname;
        PyObject_GC_Track(f);
    }
    return (PyObject *)f;
}

static inline bool
named_is(struct state *st, PyObject *object, const PyMethodDef *def, PyObject *self)
{
    return Py_IS_TYPE(object, st->Named_type) && ((Named *)object)->def == def && ((Named *)object)->self == self;
}

static PyObject *
Named_richcompare(PyObject *object, PyObject *other, int op)
{
    if ((op != Py_EQ && op != Py_NE) || Py_TYPE(other) != Py_TYPE(object)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    Named *f = (Named *)object, *g = (Named *)other;
    return PyBool_FromLong((f->def == g->def && f->self == g->self) == (op == Py_EQ));
}

static Py_hash_t
Named_hash(PyObject *object)
{
    Named *f = (Named *)object;
    Py_hash_t hash = (Py_hash_t)(((uintptr_t)f->self >> 4) ^ (uintptr_t)f->def);
    return hash == -1 ? -2 : hash;
}

static PyObject *
Named_repr(PyObject *object)
{
    return PyUnicode_FromFormat("<function %s at %p>", ((Named *)object)->qualname, object);
}

static PyObject *
Named_get_qualname(PyObject *object, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(((Named *)object)->qualname);
}

static PyObject *
Named_get_name(PyObject *object, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(((Named *)object)->def->ml_name);
}

static int
Named_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((Named *)object)->self);
    return 0;
}

static int
Named_clear(PyObject *object)
{
    Py_CLEAR(((Named *)object)->self);
    return 0;
}

static void
Named_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_TRASHCAN_BEGIN(object, Named_dealloc)
    Py_CLEAR(((Named *)object)->self);
    PyObject_GC_Del(object);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static PyGetSetDef Named_getset[] = {
    {"__name__", Named_get_name},
    {"__qualname__", Named_get_qualname},
    {NULL},
};

static PyMemberDef Named_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Named, call), READONLY, NULL},
    {NULL},
};

static PyType_Slot Named_slots[] = {
    {Py_tp_doc, "What a helper of ours does when a future is done, as a callback."},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_richcompare, Named_richcompare},
    {Py_tp_hash, Named_hash},
    {Py_tp_repr, Named_repr},
    {Py_tp_getset, Named_getset},
    {Py_tp_members, Named_members},
    {Py_tp_traverse, Named_traverse},
    {Py_tp_clear, Named_clear},
    {Py_tp_dealloc, Named_dealloc},
    {0, NULL},
};

static PyType_Spec Named_spec = {
    .name = "asyncloop._asyncloop.Named",
    .basicsize = sizeof(Named),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION
             | Py_TPFLAGS_HAVE_VECTORCALL,
    .slots = Named_slots,
};

static int
named_register(PyObject *module, struct state *st)
{
    return state_add_type(module, &st->Named_type, &Named_spec, NULL, false, SECTION_NOBODY);
}
