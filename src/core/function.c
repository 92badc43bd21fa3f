/* core/function.c -- see function.h. */
#include "core/function.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    _PyCFunctionFastWithKeywords function; /* or NULL: target is called */
    const char *text;                      /* "name(signature)\n--\n\ndoc" */
    PyObject *target;                      /* a builtin function or method descriptor, or NULL */
    PyObject *module;
    PyTypeObject *type; /* of which it is a method, or NULL */
    PyObject *native;   /* asyncio's function, or NULL */
    PyObject *name, *qualname;
    PyObject *module_name, *doc; /* as they were set; NULL: they were not */
    PyObject *dict, *weakrefs;
} Function;

/* ---- calling */

static PyObject *
function_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Function *f = (Function *)self;
    return f->function(f->module, args, PyVectorcall_NARGS(nargsf), kwnames);
}

static COLD PyObject *
function_refuse_self(Function *f, PyObject *self)
{
    if (self == NULL) {
        PyErr_Format(PyExc_TypeError, "%U() missing 1 required positional argument: 'self'", f->qualname);
    }
    else {
        PyErr_Format(PyExc_TypeError, "descriptor '%U' for '%s' objects doesn't apply to a '%s' object", f->name,
                     f->type->tp_name, Py_TYPE(self)->tp_name);
    }
    return NULL;
}

static PyObject *
function_call_method(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Function *f = (Function *)self;
    Py_ssize_t n_args = PyVectorcall_NARGS(nargsf);
    if (UNLIKELY(n_args == 0 || !PyObject_TypeCheck(args[0], f->type))) {
        return function_refuse_self(f, n_args == 0 ? NULL : args[0]);
    }
    return f->function(args[0], args + 1, n_args - 1, kwnames);
}

static PyObject *
function_call_builtin(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    PyObject *target = ((Function *)self)->target;
    return ((PyCFunctionObject *)target)->vectorcall(target, args, nargsf, kwnames);
}

static PyObject *
function_call_descriptor(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    PyObject *target = ((Function *)self)->target;
    return ((PyMethodDescrObject *)target)->vectorcall(target, args, nargsf, kwnames);
}

/* ---- the Python face */

static PyObject *
Function_descr_get(PyObject *self, PyObject *instance, PyObject *Py_UNUSED(type))
{
    return instance == NULL || instance == Py_None ? Py_NewRef(self) : PyMethod_New(self, instance);
}

static PyObject *
Function_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<function %U at %p>", ((Function *)self)->qualname, self);
}

/* Pickled by its name. */
static PyObject *
Function_reduce(PyObject *self, PyObject *Py_UNUSED(none))
{
    return Py_NewRef(((Function *)self)->qualname);
}

static PyObject *
Function_get_class(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((Function *)self)->native != NULL ? (PyObject *)&PyFunction_Type : (PyObject *)Py_TYPE(self));
}

static int
function_set_text(PyObject **slot, PyObject *value, const char *name)
{
    if (value == NULL || !PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s must be set to a string object", name);
        return -1;
    }
    Py_XSETREF(*slot, Py_NewRef(value));
    return 0;
}

static PyObject *
Function_get_name(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((Function *)self)->name);
}

static int
Function_set_name(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    return function_set_text(&((Function *)self)->name, value, "__name__");
}

static PyObject *
Function_get_qualname(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((Function *)self)->qualname);
}

static int
Function_set_qualname(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    return function_set_text(&((Function *)self)->qualname, value, "__qualname__");
}

static PyObject *
Function_get_module(PyObject *self, void *Py_UNUSED(closure))
{
    Function *f = (Function *)self;
    if (f->module_name != NULL) {
        return Py_NewRef(f->module_name);
    }
    if (f->native != NULL && state_of_module(f->module)->twins_show_native) {
        return PyObject_GetAttrString(f->native, "__module__");
    }
    return PyUnicode_InternFromString("asyncloop");
}

static int
Function_set_module(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    Py_XSETREF(((Function *)self)->module_name, Py_XNewRef(value));
    return 0;
}

static PyObject *
Function_get_doc(PyObject *self, void *Py_UNUSED(closure))
{
    Function *f = (Function *)self;
    if (f->doc != NULL) {
        return Py_NewRef(f->doc);
    }
    return f->target != NULL ? PyObject_GetAttrString(f->target, "__doc__")
                             : PyUnicode_FromString(strstr(f->text, "\n--\n\n") + 5);
}

static int
Function_set_doc(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    Py_XSETREF(((Function *)self)->doc, Py_NewRef(value == NULL ? Py_None : value));
    return 0;
}

/* Used only when asyncio's function is missing, from which the signature would be read. */
static PyObject *
Function_get_text_signature(PyObject *self, void *Py_UNUSED(closure))
{
    Function *f = (Function *)self;
    if (f->native != NULL) {
        PyErr_SetString(PyExc_AttributeError, "'function' object has no attribute '__text_signature__'");
        return NULL;
    }
    if (f->target != NULL) {
        return PyObject_GetAttrString(f->target, "__text_signature__");
    }
    const char *start = strchr(f->text, '(');
    return PyUnicode_FromStringAndSize(start, strstr(f->text, "\n--\n\n") - start);
}

/* closure: the attribute's name. */
static PyObject *
Function_get_native(PyObject *self, void *name)
{
    PyObject *native = ((Function *)self)->native;
    if (native == NULL) {
        PyErr_Format(PyExc_AttributeError, "'function' object has no attribute '%s'", (const char *)name);
        return NULL;
    }
    return PyObject_GetAttrString(native, name);
}

/* Annotations and the like may be set: nothing is run by them.  What would change the calls may not. */
static int
Function_set_native(PyObject *self, PyObject *value, void *name)
{
    PyObject *native = ((Function *)self)->native;
    if (native == NULL) {
        PyErr_Format(PyExc_AttributeError, "'function' object has no attribute '%s'", (const char *)name);
        return -1;
    }
    return PyObject_SetAttrString(native, name, value);
}

static int
Function_traverse(PyObject *self, visitproc visit, void *arg)
{
    Function *f = (Function *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(f->target);
    Py_VISIT(f->module);
    Py_VISIT(f->type);
    Py_VISIT(f->native);
    Py_VISIT(f->module_name);
    Py_VISIT(f->doc);
    Py_VISIT(f->dict);
    return 0;
}

/* What a call needs stays. */
static int
Function_clear(PyObject *self)
{
    Function *f = (Function *)self;
    Py_CLEAR(f->native);
    Py_CLEAR(f->module_name);
    Py_CLEAR(f->doc);
    Py_CLEAR(f->dict);
    return 0;
}

static void
Function_dealloc(PyObject *self)
{
    Function *f = (Function *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (f->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    (void)Function_clear(self);
    Py_XDECREF(f->target);
    Py_XDECREF(f->type);
    Py_XDECREF(f->name);
    Py_XDECREF(f->qualname);
    Py_DECREF(f->module);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef Function_methods[] = {
    {"__reduce__", Function_reduce, METH_NOARGS, NULL},
    {NULL},
};

#define FUNCTION_NATIVE(name) {name, Function_get_native, NULL, NULL, (void *)name}
#define FUNCTION_NATIVE_SETTABLE(name) {name, Function_get_native, Function_set_native, NULL, (void *)name}

static PyGetSetDef Function_getset[] = {
    {"__class__", Function_get_class},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict},
    {"__doc__", Function_get_doc, Function_set_doc},
    {"__name__", Function_get_name, Function_set_name},
    {"__qualname__", Function_get_qualname, Function_set_qualname},
    {"__module__", Function_get_module, Function_set_module},
    {"__text_signature__", Function_get_text_signature},
    FUNCTION_NATIVE("__builtins__"),
    FUNCTION_NATIVE("__closure__"),
    FUNCTION_NATIVE("__code__"),
    FUNCTION_NATIVE("__defaults__"),
    FUNCTION_NATIVE("__globals__"),
    FUNCTION_NATIVE("__kwdefaults__"),
    FUNCTION_NATIVE_SETTABLE("__annotations__"),
#if COMPAT_TYPE_PARAMS
    FUNCTION_NATIVE_SETTABLE("__type_params__"),
#endif
#if COMPAT_LAZY_ANNOTATIONS
    FUNCTION_NATIVE_SETTABLE("__annotate__"),
#endif
    {NULL},
};

static PyMemberDef Function_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Function, call), READONLY},
    {"__dictoffset__", T_PYSSIZET, offsetof(Function, dict), READONLY},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Function, weakrefs), READONLY},
    {NULL},
};

static PyType_Slot Function_slots[] = {
    {Py_tp_traverse, Function_traverse}, {Py_tp_clear, Function_clear},
    {Py_tp_dealloc, Function_dealloc},   {Py_tp_repr, Function_repr},
    {Py_tp_call, PyVectorcall_Call},     {Py_tp_descr_get, Function_descr_get},
    {Py_tp_methods, Function_methods},   {Py_tp_getset, Function_getset},
    {Py_tp_members, Function_members},   {0, NULL},
};

static PyType_Spec Function_spec = {
    .name = "asyncloop._asyncloop.function",
    .basicsize = sizeof(Function),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_VECTORCALL
             | Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Function_slots,
};

/* ---- making */

static Function *
function_alloc(PyObject *module, struct state *st, PyTypeObject *type, PyObject *qualname)
{
    Function *f = PyObject_GC_New(Function, st->Function_type);
    if (f == NULL) {
        return NULL;
    }
    memset((char *)f + sizeof(PyObject), 0, sizeof *f - sizeof(PyObject));
    f->module = Py_NewRef(module);
    f->type = (PyTypeObject *)Py_XNewRef(type);
    f->qualname = Py_NewRef(qualname);
    Py_ssize_t length = PyUnicode_GET_LENGTH(qualname), dot = PyUnicode_FindChar(qualname, '.', 0, length, -1);
    f->name = PyUnicode_Substring(qualname, dot < 0 ? 0 : dot + 1, length);
    PyUnicode_InternInPlace(&f->qualname);
    PyObject_GC_Track(f);
    if (f->name == NULL) {
        Py_DECREF(f);
        return NULL;
    }
    PyUnicode_InternInPlace(&f->name);
    compat_defer_count((PyObject *)f);
    return f;
}

static PyObject *
function_new(PyObject *module, struct state *st, PyTypeObject *type, const char *qualname,
             _PyCFunctionFastWithKeywords call, const char *doc)
{
    PyObject *name = PyUnicode_FromString(qualname);
    Function *f = name == NULL ? NULL : function_alloc(module, st, type, name);
    Py_XDECREF(name);
    if (f != NULL) {
        f->call = type == NULL ? function_call : function_call_method;
        f->function = call;
        f->text = doc;
    }
    return (PyObject *)f;
}

/* Around a builtin. */
static Function *
function_wrap(PyObject *module, struct state *st, PyTypeObject *type, PyObject *target, PyObject *native)
{
    PyObject *qualname = PyObject_GetAttrString(native, "__qualname__");
    Function *f = qualname == NULL ? NULL : function_alloc(module, st, type, qualname);
    Py_XDECREF(qualname);
    if (f != NULL) {
        f->target = Py_NewRef(target);
        f->call = type == NULL ? function_call_builtin : function_call_descriptor;
    }
    return f;
}

static int
function_set_native_of(struct state *st, Function *f, PyObject *native)
{
    Py_XSETREF(f->native, Py_NewRef(native));
    PyObject *code = PyObject_GetAttrString(native, "__code__");
    int rc = code == NULL ? -1 : PyDict_SetItem(st->native_codes, f->qualname, code);
    Py_XDECREF(code);
    return rc;
}

/* One entry of the module's or type's dict, to which asyncio has a function of that name. *replacement: a new
 * reference, or NULL when it stays. */
static int
function_wrap_entry(PyObject *module, struct state *st, PyTypeObject *type, PyObject *value, PyObject *native,
                    PyObject **replacement)
{
    *replacement = NULL;
    if (Py_IS_TYPE(value, st->Function_type)) {
        return function_set_native_of(st, (Function *)value, native);
    }
    bool is_builtin =
        type == NULL ? PyCFunction_CheckExact(value) && ((PyCFunctionObject *)value)->vectorcall != NULL
                     : Py_IS_TYPE(value, &PyMethodDescr_Type) && ((PyMethodDescrObject *)value)->vectorcall != NULL;
    if (!is_builtin) {
        return 0;
    }
    Function *f = function_wrap(module, st, type, value, native);
    if (f != NULL && function_set_native_of(st, f, native) < 0) {
        Py_CLEAR(f);
    }
    *replacement = (PyObject *)f;
    return f == NULL ? -1 : 0;
}

/* dict[key], which is value, if natives has a function of that name. */
static int
function_wrap_key(PyObject *module, struct state *st, PyTypeObject *type, PyObject *dict, PyObject *key,
                  PyObject *value, PyObject *natives)
{
    PyObject *native, *replacement = NULL;
    if (compat_get_optional_attr(natives, key, &native) < 0) {
        return -1;
    }
    int rc = native != NULL && PyFunction_Check(native)
                 ? function_wrap_entry(module, st, type, value, native, &replacement)
                 : 0;
    if (replacement != NULL) {
        rc = PyDict_SetItem(dict, key, replacement);
        Py_DECREF(replacement);
    }
    Py_XDECREF(native);
    return rc;
}

static int
function_wrap_all(PyObject *module, struct state *st, PyTypeObject *type, PyObject *dict, PyObject *natives)
{
    PyObject *items = PyDict_Items(dict);
    int rc = items == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i);
        rc = function_wrap_key(module, st, type, dict, PyTuple_GET_ITEM(item, 0), PyTuple_GET_ITEM(item, 1), natives);
    }
    Py_XDECREF(items);
    return rc;
}

static int
function_wrap_methods(PyObject *module, struct state *st, PyTypeObject *type, PyObject *native,
                      const char *const *names)
{
    int rc = 0;
    for (; rc == 0 && *names != NULL; names++) {
        PyObject *key = PyUnicode_InternFromString(*names),
                 *value = key == NULL ? NULL : PyDict_GetItemWithError(type->tp_dict, key);
        Py_XINCREF(value);
        rc = value == NULL ? -1 : function_wrap_key(module, st, type, type->tp_dict, key, value, native);
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    PyType_Modified(type);
    return rc;
}

static int
function_wrap_type(PyObject *module, struct state *st, PyTypeObject *type, PyObject *native)
{
    int rc = function_wrap_all(module, st, type, type->tp_dict, native);
    PyType_Modified(type);
    return rc;
}

static int
function_wrap_module(PyObject *module, struct state *st)
{
    PyObject *dict = PyModule_GetDict(module);
    return dict == NULL ? -1 : function_wrap_all(module, st, NULL, dict, st->asyncio);
}

static PyObject *
function_code_borrowed(struct state *st, const char *qualname)
{
    return st->native_codes == NULL ? NULL : PyDict_GetItemString(st->native_codes, qualname);
}

static int
function_register(PyObject *module, struct state *st)
{
    if ((st->native_codes = PyDict_New()) == NULL) {
        return -1;
    }
    return state_add_type(module, &st->Function_type, &Function_spec, NULL, false, SECTION_NOBODY);
}
