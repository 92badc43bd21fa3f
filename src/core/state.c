/* core/state.c -- making, visiting and clearing the module's state: one list of fields for all three (core/state.h). */
#include "core/state.h"

#include "core/freelist.h"
#include "core/guard.h"

static inline struct state *
state_of_module(PyObject *module)
{
    return PyModule_GetState(module);
}

static inline struct state *
state_of(PyObject *self)
{
    PyObject *module = PyType_GetModuleByDef(Py_TYPE(self), &asyncloop_module);
    INVARIANT(module != NULL);
    return PyModule_GetState(module);
}

static inline void
state_set_once(PyObject **slot, PyObject *object)
{
#if COMPAT_FREE_THREADED
    PyObject *unset = NULL;
    if (!__atomic_compare_exchange_n(slot, &unset, Py_NewRef(object), false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
        Py_DECREF(object);
    }
#else
    if (*slot == NULL) {
        *slot = Py_NewRef(object);
    }
#endif
}

static inline PyObject *
state_once_borrowed(PyObject *const *slot)
{
#if COMPAT_FREE_THREADED
    return __atomic_load_n(slot, __ATOMIC_ACQUIRE);
#else
    return *slot;
#endif
}

static int
state_add_type(PyObject *module, PyTypeObject **slot, PyType_Spec *spec, PyTypeObject *base, bool is_public,
               struct section_home home)
{
    if (guard_spec(spec, home) < 0) {
        return -1;
    }
    *slot = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, (PyObject *)base);
    if (*slot == NULL || guard_members(*slot, spec, home) < 0) {
        return -1;
    }
    return is_public ? PyModule_AddType(module, *slot) : 0;
}

static int
state_import(PyObject **slot, const char *module_name, const char *attribute)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL) {
        return -1;
    }
    if (attribute == NULL) {
        *slot = module;
        return 0;
    }
    *slot = PyObject_GetAttrString(module, attribute);
    Py_DECREF(module);
    return *slot == NULL ? -1 : 0;
}

/* Names and imports; the types come with each file's x_register. */
static int
state_init(struct state *st)
{
#define INTERN(name)                                                                                                        \
    if ((st->str.name = PyUnicode_InternFromString(#name)) == NULL) {                                                        \
        return -1;                                                                                                           \
    }
    STATE_STRINGS(INTERN)
#undef INTERN
#define IMPORT(name, module, attribute)                                                                                      \
    if (state_import(&st->name, module, attribute) < 0) {                                                                    \
        return -1;                                                                                                           \
    }
    STATE_IMPORTS(IMPORT)
#undef IMPORT
    if ((st->empty_tuple = PyTuple_New(0)) == NULL) {
        return -1;
    }
    return (st->kw_context = PyTuple_Pack(1, st->str.context)) == NULL ? -1 : 0;
}

static int
state_traverse(struct state *st, visitproc visit, void *arg)
{
#define VISIT(name, ...) Py_VISIT(st->name);
    STATE_OBJECTS(VISIT)
    STATE_IMPORTS(VISIT)
#undef VISIT
#define VISIT(name) Py_VISIT(st->name##_type);
    STATE_TYPES(VISIT)
#undef VISIT
    for (uint32_t i = 0; i < st->n_twins; i++) {
        Py_VISIT(st->twins[i].type);
        Py_VISIT(st->twins[i].native);
    }
    return 0;
}

static void
state_clear(struct state *st)
{
    st->native_wakeup = NULL; /* what stands in for futures goes too */
    st->names_version = st->tasks_version = &st->names_unknown; /* they may be in what goes now */
    st->names_unknown = (st->names_seen > st->tasks_seen ? st->names_seen : st->tasks_seen) + 1;
    /* they may outlive the list's head */
    for (struct task_link *link = st->foreign_tasks.first, *next; link != NULL; link = next) {
        next = link->next;
        *link = (struct task_link){NULL, NULL};
    }
    st->foreign_tasks.first = NULL;
    while (st->n_twins > 0) {
        struct twin twin = st->twins[--st->n_twins];
        Py_DECREF(twin.type);
        Py_DECREF(twin.native);
    }
    for (size_t i = 0; i < FREELIST_COUNT; i++) {
        freelist_clear(&st->freelists[i]);
    }
#define CLEAR(name, ...) Py_CLEAR(st->name);
    STATE_OBJECTS(CLEAR)
    STATE_IMPORTS(CLEAR)
#undef CLEAR
#define CLEAR(name) Py_CLEAR(st->name##_type);
    STATE_TYPES(CLEAR)
#undef CLEAR
}

/* The names go last: they are in no cycle, and code that runs while the rest is cleared still asks for attributes by
 * them; and libssl's functions. */
static void
state_free(struct state *st)
{
    state_clear(st);
#define CLEAR(name) Py_CLEAR(st->str.name);
    STATE_STRINGS(CLEAR)
#undef CLEAR
    Py_CLEAR(st->openssl);
}
