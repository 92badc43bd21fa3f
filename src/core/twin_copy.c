/* core/twin_copy.c -- see twin_copy.h. */
#include "core/twin_copy.h"

/* The first class among the bases that has a list of names, or NULL. */
static const struct twin *
twin_copied_as(struct state *st, PyTypeObject *type)
{
    PyObject *mro = type->tp_mro;
    for (Py_ssize_t i = 0; mro != NULL && i < PyTuple_GET_SIZE(mro); i++) {
        for (uint32_t j = 0; j < st->n_twins; j++) {
            if ((PyObject *)st->twins[j].type == PyTuple_GET_ITEM(mro, i) && st->twins[j].copied != NULL) {
                return &st->twins[j];
            }
        }
    }
    return NULL;
}

/* ---- reading */

/* The attribute of that name, by the twin's own descriptor, whatever a subclass has of that name: 1; 0: it is not set;
 * -1. */
static int
twin_copy_attribute(PyObject *self, const struct twin *twin, const char *name, PyObject *dict)
{
    bool is_optional = name[0] == '?';
    PyObject *key = PyUnicode_InternFromString(name + is_optional), *value = NULL;
    PyObject *descriptor = key == NULL ? NULL : _PyType_Lookup(twin->type, key);
    int rc = key == NULL ? -1 : 0;
    if (descriptor != NULL && Py_TYPE(descriptor)->tp_descr_get != NULL) {
        Py_INCREF(descriptor);
        value = Py_TYPE(descriptor)->tp_descr_get(descriptor, self, (PyObject *)Py_TYPE(self));
        Py_DECREF(descriptor);
        if (value == NULL) { /* a field that __init__ did not set */
            rc = PyErr_ExceptionMatches(PyExc_AttributeError) ? 0 : -1;
            if (rc == 0) {
                PyErr_Clear();
            }
        }
        else if (!is_optional || value != Py_None) {
            rc = PyDict_SetItem(dict, key, value);
        }
    }
    Py_XDECREF(value);
    Py_XDECREF(key);
    return rc;
}

/* What a subclass has in its __slots__: a dict, or NULL (no exception: there is nothing). */
static PyObject *
twin_copy_slots(PyObject *self)
{
    PyObject *copyreg = PyImport_ImportModule("copyreg"), *slots = NULL;
    PyObject *names =
        copyreg == NULL ? NULL : PyObject_CallMethod(copyreg, "_slotnames", "O", (PyObject *)Py_TYPE(self));
    PyObject *list = names == NULL ? NULL : PySequence_List(names);
    if (list != NULL && PyList_GET_SIZE(list) > 0 && (slots = PyDict_New()) != NULL) {
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
            PyObject *name = PyList_GET_ITEM(list, i), *value;
            if (compat_get_optional_attr(self, name, &value) < 0
                || (value != NULL && PyDict_SetItem(slots, name, value) < 0)) {
                Py_XDECREF(value);
                Py_CLEAR(slots);
                break;
            }
            Py_XDECREF(value);
        }
    }
    Py_XDECREF(copyreg);
    Py_XDECREF(names);
    Py_XDECREF(list);
    return slots;
}

static PyObject *
twin_getstate(PyObject *self, PyObject *Py_UNUSED(none))
{
    const struct twin *twin = twin_copied_as(state_of(self), Py_TYPE(self));
    PyObject *dict = PyDict_New(), **own = _PyObject_GetDictPtr(self), *slots;
    if (dict == NULL) {
        return NULL;
    }
    for (const char *const *name = twin == NULL ? NULL : twin->copied; name != NULL && *name != NULL; name++) {
        if (twin_copy_attribute(self, twin, *name, dict) < 0) {
            goto error;
        }
    }
    if (own != NULL && *own != NULL) {
        PyObject *held = Py_NewRef(*own);
        int rc = PyDict_Update(dict, held);
        Py_DECREF(held);
        if (rc < 0) {
            goto error;
        }
    }
    slots = twin_copy_slots(self);
    if (slots == NULL && PyErr_Occurred()) {
        goto error;
    }
    if (slots == NULL || PyDict_GET_SIZE(slots) == 0) {
        Py_XDECREF(slots);
        return dict;
    }
    return Py_BuildValue("(NN)", dict, slots);
error:
    Py_DECREF(dict);
    return NULL;
}

/* ---- setting */

/* state[name] is set and taken out of state, if it is there. */
static int
twin_take_attribute(PyObject *self, const struct twin *twin, const char *name, PyObject *state)
{
    PyObject *key = PyUnicode_InternFromString(name + (name[0] == '?'));
    PyObject *value = key == NULL ? NULL : PyDict_GetItemWithError(state, key);
    int rc = value == NULL && PyErr_Occurred() ? -1 : 0;
    PyObject *descriptor = value == NULL ? NULL : _PyType_Lookup(twin->type, key);
    if (descriptor != NULL && Py_TYPE(descriptor)->tp_descr_set != NULL) {
        Py_INCREF(value);
        Py_INCREF(descriptor);
        rc = PyDict_DelItem(state, key) < 0 ? -1 : Py_TYPE(descriptor)->tp_descr_set(descriptor, self, value);
        Py_DECREF(descriptor);
        Py_DECREF(value);
    }
    Py_XDECREF(key);
    return rc;
}

/* self.__dict__.update(rest) */
static int
twin_take_rest(PyObject *self, PyObject *rest)
{
    if (PyDict_GET_SIZE(rest) == 0) {
        return 0;
    }
    PyObject *dict = PyObject_GenericGetDict(self, NULL);
    int rc = dict == NULL ? -1 : PyDict_Update(dict, rest);
    Py_XDECREF(dict);
    return rc;
}

static int
twin_take_slots(PyObject *self, PyObject *slots)
{
    PyObject *items = slots == Py_None ? NULL : PyMapping_Items(slots);
    int rc = items == NULL && slots != Py_None ? -1 : 0;
    for (Py_ssize_t i = 0; items != NULL && rc == 0 && i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i);
        rc = PyObject_SetAttr(self, PyTuple_GET_ITEM(item, 0), PyTuple_GET_ITEM(item, 1));
    }
    Py_XDECREF(items);
    return rc;
}

static PyObject *
twin_setstate(PyObject *self, PyObject *state)
{
    const struct twin *twin = twin_copied_as(state_of(self), Py_TYPE(self));
    PyObject *slots = Py_None, *rest = PyDict_New();
    if (PyTuple_Check(state) && PyTuple_GET_SIZE(state) == 2) {
        slots = PyTuple_GET_ITEM(state, 1);
        state = PyTuple_GET_ITEM(state, 0);
    }
    int rc = rest == NULL || (state != Py_None && PyDict_Update(rest, state) < 0) ? -1 : 0;
    for (const char *const *name = twin == NULL ? NULL : twin->copied; rc == 0 && name != NULL && *name != NULL;
         name++) {
        rc = twin_take_attribute(self, twin, *name, rest);
    }
    rc = rc < 0 || twin_take_rest(self, rest) < 0 || twin_take_slots(self, slots) < 0 ? -1 : 0;
    Py_XDECREF(rest);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

/* (copyreg.__newobj__, (cls,), …) with cls.__new__ in the place of the first: pickle takes __newobj__ only with the
 * class that self.__class__ says, and an object of ours says asyncio's.  Steals reduced. */
static PyObject *
twin_without_newobj(struct state *st, PyObject *self, PyObject *reduced)
{
    if (!PyTuple_Check(reduced) || PyTuple_GET_SIZE(reduced) == 0
        || PyTuple_GET_ITEM(reduced, 0) != st->copyreg_newobj) {
        return reduced;
    }
    PyObject *list = PySequence_List(reduced),
             *new = list == NULL ? NULL : PyObject_GetAttr((PyObject *)Py_TYPE(self), st->str.__new__);
    Py_CLEAR(reduced);
    if (new != NULL && PyList_SetItem(list, 0, new) == 0) {
        reduced = PyList_AsTuple(list);
    }
    Py_XDECREF(list);
    return reduced;
}

/* object.__reduce_ex__, with protocol 2 at least: the older protocols cannot make an object whose class is in C. */
static PyObject *
twin_reduce_ex(PyObject *self, PyObject *protocol)
{
    struct state *st = state_of(self);
    long number = PyLong_AsLong(protocol);
    if (number == -1 && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *reduced =
        PyObject_CallMethod((PyObject *)&PyBaseObject_Type, "__reduce_ex__", "Ol", self, number < 2 ? 2 : number);
    return reduced == NULL || twin_find(st, Py_TYPE(self)) == NULL ? reduced : twin_without_newobj(st, self, reduced);
}

static PyMethodDef twin_copy_methods[] = {
    {"__getstate__", twin_getstate, METH_NOARGS, NULL},
    {"__setstate__", twin_setstate, METH_O, NULL},
    {"__reduce_ex__", twin_reduce_ex, METH_O, NULL},
    {NULL},
};

static int
twin_add_copying(struct state *st, PyTypeObject *type, const char *const *names)
{
    if (st->copyreg_newobj == NULL) {
        PyObject *copyreg = PyImport_ImportModule("copyreg");
        st->copyreg_newobj = copyreg == NULL ? NULL : PyObject_GetAttrString(copyreg, "__newobj__");
        Py_XDECREF(copyreg);
        if (st->copyreg_newobj == NULL) {
            return -1;
        }
    }
    struct twin *twin = twin_find(st, type);
    INVARIANT(twin != NULL);
    twin->copied = names;
    for (PyMethodDef *method = twin_copy_methods; method->ml_name != NULL; method++) {
        PyObject *descriptor = PyDescr_NewMethod(type, method);
        int rc = descriptor == NULL ? -1 : PyDict_SetItemString(type->tp_dict, method->ml_name, descriptor);
        Py_XDECREF(descriptor);
        if (rc < 0) {
            return -1;
        }
    }
    PyType_Modified(type);
    return 0;
}

/* ---- fields */

static PyObject *
twin_get_field(PyObject *self, void *offset)
{
    PyObject *value = *(PyObject **)((char *)self + (uintptr_t)offset);
    return Py_NewRef(value == NULL ? Py_None : value);
}

static int
twin_set_field(PyObject *self, PyObject *value, void *offset)
{
    Py_XSETREF(*(PyObject **)((char *)self + (uintptr_t)offset), value == Py_None ? NULL : Py_XNewRef(value));
    return 0;
}
