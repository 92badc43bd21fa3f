/* core/twin.c -- the metaclass Twin: isinstance and issubclass of a twin, attributes that are set on one, and putting
 * it in place. */
#include "core/twin.h"

#include "core/function.h"

static struct twin *
twin_find(struct state *st, PyTypeObject *type)
{
    for (uint32_t i = 0; i < st->n_twins; i++) {
        if (st->twins[i].type == type) {
            return &st->twins[i];
        }
    }
    return NULL;
}

static PyObject *
twin_native_borrowed(struct state *st, PyTypeObject *type)
{
    struct twin *twin = twin_find(st, type);
    return twin == NULL ? NULL : (PyObject *)twin->native;
}

static inline PyObject *
twin_get_class(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *native = twin_native_borrowed(state_of(self), Py_TYPE(self));
    return Py_NewRef(native == NULL ? (PyObject *)Py_TYPE(self) : native);
}

static inline PyObject *
twin_alloc(PyTypeObject *type)
{
    if (UNLIKELY(type->tp_flags & Py_TPFLAGS_IS_ABSTRACT)) { /* object.__new__ says which methods are missing */
        PyObject *nothing = PyTuple_New(0);
        PyObject *self = nothing == NULL ? NULL : PyBaseObject_Type.tp_new(type, nothing, NULL);
        Py_XDECREF(nothing);
        return self;
    }
    return type->tp_alloc(type, 0);
}

static PyObject *
twin_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    return twin_alloc(type);
}

/* ---- the metaclass */

/* The state behind a class of this metaclass, and its pair if it is a twin; NULL when the collector has taken the
 * metaclass down already. */
static struct state *
twin_state_of_class(PyObject *cls, struct twin **twin)
{
    PyObject *module = PyType_GetModuleByDef(Py_TYPE(cls), &asyncloop_module);
    if (UNLIKELY(module == NULL)) {
        PyErr_Clear();
        return NULL;
    }
    struct state *st = PyModule_GetState(module);
    *twin = twin_find(st, (PyTypeObject *)cls);
    return st;
}

static inline bool
twin_covers(const struct twin *twin, PyTypeObject *type)
{
    return type == twin->native || PyType_IsSubtype(type, twin->type) || PyType_IsSubtype(type, twin->native);
}

static PyObject *
Twin_instancecheck(PyObject *cls, PyObject *object)
{
    struct twin *twin = NULL;
    struct state *st = twin_state_of_class(cls, &twin);
    if (twin == NULL) {
        if (PyObject_TypeCheck(object, (PyTypeObject *)cls)) {
            Py_RETURN_TRUE;
        }
        if (st == NULL || st->abc_instancecheck == NULL) {
            Py_RETURN_FALSE;
        }
        PyObject *args[] = {cls, object};
        return PyObject_Vectorcall(st->abc_instancecheck, args, 2, NULL);
    }
    if (twin_covers(twin, Py_TYPE(object))) {
        Py_RETURN_TRUE;
    }
    PyObject *shown;
    if (compat_get_optional_attr(object, st->str.__class__, &shown) < 0) {
        return NULL;
    }
    bool is_instance = shown != NULL && PyType_Check(shown) && twin_covers(twin, (PyTypeObject *)shown);
    Py_XDECREF(shown);
    return PyBool_FromLong(is_instance);
}

static PyObject *
Twin_subclasscheck(PyObject *cls, PyObject *other)
{
    struct twin *twin = NULL;
    struct state *st = twin_state_of_class(cls, &twin);
    if (PyType_Check(other)) {
        if (twin != NULL ? twin_covers(twin, (PyTypeObject *)other)
                         : PyType_IsSubtype((PyTypeObject *)other, (PyTypeObject *)cls)) {
            Py_RETURN_TRUE;
        }
        if (twin != NULL) {
            Py_RETURN_FALSE;
        }
    }
    if (twin == NULL && st != NULL && st->abc_subclasscheck != NULL) {
        PyObject *args[] = {cls, other};
        return PyObject_Vectorcall(st->abc_subclasscheck, args, 2, NULL);
    }
    int is_subclass =
        PyObject_IsSubclass(other, twin == NULL ? (PyObject *)&PyBaseObject_Type : (PyObject *)twin->native);
    return is_subclass < 0 ? NULL : PyBool_FromLong(is_subclass); /* something with __bases__, or TypeError */
}

PyDoc_STRVAR(Twin_doc,
             "The metaclass of asyncloop's classes that take the place of asyncio's.\n\n"
             "isinstance and issubclass of such a class accept objects and subclasses of asyncio's class too.");

/* Of the special methods only these are called directly. */
static bool
twin_is_method_name(PyObject *name)
{
    static const char *const special[] = {"__init__", "__new__", "__aenter__", "__aexit__"};
    if (!PyUnicode_Check(name) || PyUnicode_GET_LENGTH(name) < 3 || PyUnicode_READ_CHAR(name, 0) != '_'
        || PyUnicode_READ_CHAR(name, 1) != '_') {
        return true;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(special); i++) {
        if (PyUnicode_CompareWithASCIIString(name, special[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* A program may set a method of a class, as it may with asyncio's: who calls methods of twins directly looks at
 * st->twins_touched. */
static int
Twin_setattro(PyObject *cls, PyObject *name, PyObject *value)
{
    struct twin *twin = NULL;
    struct state *st = twin_state_of_class(cls, &twin);
    if (twin != NULL && twin_is_method_name(name)) {
        st->twins_touched[twin->family] = true;
    }
    return PyType_Type.tp_setattro(cls, name, value);
}

static PyMethodDef Twin_methods[] = {
    {"__instancecheck__", Twin_instancecheck, METH_O, NULL},
    {"__subclasscheck__", Twin_subclasscheck, METH_O, NULL},
    {NULL},
};

static PyType_Slot Twin_slots[] = {
    {Py_tp_doc, (void *)Twin_doc},
    {Py_tp_methods, Twin_methods},
    {Py_tp_setattro, Twin_setattro},
    {0, NULL},
};

/* Not immutable: its base is a class written in Python. */
static PyType_Spec Twin_spec = {
    .name = "asyncloop._asyncloop.Twin",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = Twin_slots,
};

/* Use ABCMeta's __new__: the one of protocols' metaclass refuses to combine Generic with a class that is not a
 * protocol. */
static int
twin_take_new(struct state *st, PyObject *abc_meta)
{
    PyObject *new = PyDict_GetItemWithError(((PyTypeObject *)abc_meta)->tp_dict, st->str.__new__);
    if (new == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_SystemError, "abc.ABCMeta has no __new__");
        }
        return -1;
    }
    return PyObject_SetAttr((PyObject *)st->Twin_type, st->str.__new__, new);
}

static int
twin_register(PyObject *module, struct state *st)
{
    PyObject *typing = PyImport_ImportModule("typing"), *abc = PyImport_ImportModule("abc"), *protocol = NULL,
             *abc_meta = NULL;
    int rc = -1;
    if (typing == NULL || abc == NULL || (protocol = PyObject_GetAttrString(typing, "Protocol")) == NULL
        || (abc_meta = PyObject_GetAttrString(abc, "ABCMeta")) == NULL) {
        goto end;
    }
    PyTypeObject *base = Py_TYPE(protocol);
    if (!PyType_Check(abc_meta) || !PyType_IsSubtype(base, (PyTypeObject *)abc_meta)
        || base->tp_basicsize != PyType_Type.tp_basicsize) {
        PyErr_SetString(PyExc_ImportError, "typing.Protocol's metaclass is not what asyncloop knows");
        goto end;
    }
    if (state_add_type(module, &st->Twin_type, &Twin_spec, base, true, SECTION_NOBODY) < 0
        || twin_take_new(st, abc_meta) < 0 || (st->abc_init = PyObject_GetAttrString(abc, "_abc_init")) == NULL
        || (st->abc_instancecheck = PyObject_GetAttrString(abc, "_abc_instancecheck")) == NULL
        || (st->abc_subclasscheck = PyObject_GetAttrString(abc, "_abc_subclasscheck")) == NULL) {
        goto end;
    }
    /* as type has it; 3.11 hands it on to immutable types only */
    st->Twin_type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
    rc = 0;
end:
    Py_XDECREF(typing);
    Py_XDECREF(abc);
    Py_XDECREF(protocol);
    Py_XDECREF(abc_meta);
    return rc;
}

/* ---- adopting */

static int
twin_adopt(struct state *st, PyTypeObject *type, enum twin_family family, const char *module_name,
           const char *attribute)
{
    if (st->n_twins == ARRAY_LENGTH(st->twins)) {
        PyErr_SetString(PyExc_SystemError, "STATE_TWINS is too small");
        return -1;
    }
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *native = module == NULL ? NULL : PyObject_GetAttrString(module, attribute);
    Py_XDECREF(module);
    if (native == NULL) {
        return -1;
    }
    if (!PyType_Check(native)) {
        PyErr_Format(PyExc_ImportError, "%s.%s is no class", module_name, attribute);
        Py_DECREF(native);
        return -1;
    }
    const char *dot = strrchr(type->tp_name, '.');
    if (dot != NULL && strchr(((PyTypeObject *)native)->tp_name, '.') == NULL) {
        /* texts of errors name a class written in Python without its module; __module__ is in its dict */
        type->tp_name = dot + 1;
    }
    st->twins[st->n_twins++] = (struct twin){
        .type = (PyTypeObject *)Py_NewRef(type), .native = (PyTypeObject *)native, .family = (uint8_t)family};
    return 0;
}

/* The object of this class is as large under either metaclass; what an ABC has beyond a class, _abc_init gives it. */
static int
twin_set_metaclass(struct state *st, PyTypeObject *type)
{
    if (Py_TYPE(type) != &PyType_Type) {
        PyErr_Format(PyExc_SystemError, "%s has a metaclass already", type->tp_name);
        return -1;
    }
    Py_INCREF(st->Twin_type);
    Py_SET_TYPE(type, st->Twin_type);
    unsigned long immutable = type->tp_flags & Py_TPFLAGS_IMMUTABLETYPE;
    type->tp_flags &= ~immutable;
    PyObject *done = PyObject_CallOneArg(st->abc_init, (PyObject *)type);
    type->tp_flags |= immutable;
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
twin_finish(PyObject *module, struct state *st)
{
    for (uint32_t i = 0; i < st->n_twins; i++) {
        struct twin *twin = &st->twins[i];
        if (twin_set_metaclass(st, twin->type) < 0
            || function_wrap_type(module, st, twin->type, (PyObject *)twin->native) < 0) {
            return -1;
        }
    }
    memset(st->twins_touched, 0, sizeof st->twins_touched); /* by making ABCs of them */
    return 0;
}

/* ---- whose they say they are */

/* type.__dict__[name] = native.__dict__[name], or neither has it. */
static int
twin_take_entry(PyTypeObject *type, PyTypeObject *native, const char *name, bool is_shown)
{
    PyObject *value = is_shown ? PyDict_GetItemString(native->tp_dict, name) : NULL;
    if (value != NULL) {
        return PyDict_SetItemString(type->tp_dict, name, value);
    }
    return PyDict_GetItemString(type->tp_dict, name) == NULL ? 0 : PyDict_DelItemString(type->tp_dict, name);
}

static int
twin_show_native(struct state *st, bool is_shown)
{
    st->twins_show_native = is_shown;
    for (uint32_t i = 0; i < st->n_twins; i++) {
        struct twin *twin = &st->twins[i];
        /* Future and Task are in asyncio's own C module, where nothing is rebound: they say the package, by which
         * pickle finds them. */
        PyObject *name = !is_shown                     ? PyUnicode_InternFromString("asyncloop")
                         : twin->family == TWIN_CLOSED ? PyUnicode_InternFromString("asyncio")
                                                       : PyObject_GetAttrString((PyObject *)twin->native, "__module__");
        int rc = name == NULL ? -1 : PyDict_SetItemString(twin->type->tp_dict, "__module__", name);
        Py_XDECREF(name);
        /* for inspect.getsource */
        if (rc < 0 || twin_take_entry(twin->type, twin->native, "__firstlineno__", is_shown) < 0) {
            return -1;
        }
        PyType_Modified(twin->type);
    }
    return 0;
}
