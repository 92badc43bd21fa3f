/* core/guard.c -- the entries that stand in the tables of our types where there is no GIL.
 *
 * CPython calls a method with its object only, so each function needs an entry of its own: there are as many as a pool
 * has room for, made by macros, and each knows the function and the owner's place by its number.  The tables are filled
 * once, at the first import, under a mutex; they hold addresses of code and nothing of an interpreter. */
#include "core/guard.h"

#if COMPAT_FREE_THREADED

struct guard {
    void (*function)(void);
    struct section_home home;
};

/* Numbers are octal: GUARD_64(X, 0) is X(000) to X(077). */
#  define GUARD_8(X, n) X(n##0) X(n##1) X(n##2) X(n##3) X(n##4) X(n##5) X(n##6) X(n##7)
#  define GUARD_64(X, n)                                                                                                \
      GUARD_8(X, n##0)                                                                                                 \
      GUARD_8(X, n##1)                                                                                                 \
      GUARD_8(X, n##2)                                                                                                 \
      GUARD_8(X, n##3)                                                                                                 \
      GUARD_8(X, n##4) GUARD_8(X, n##5) GUARD_8(X, n##6) GUARD_8(X, n##7)
#  define GUARD_256(X, n) GUARD_64(X, n##0) GUARD_64(X, n##1) GUARD_64(X, n##2) GUARD_64(X, n##3)

#  define GUARD_ENTRY(pool, n, type, parameters, arguments)                                                             \
      static type guard_##pool##_##n parameters                                                                        \
      {                                                                                                                \
          const struct guard *guard = &guard_##pool##_table[n];                                                        \
          SECTION_ENTER_HOME(self, guard->home);                                                                       \
          return ((type(*) parameters)guard->function)arguments;                                                       \
      }
#  define GUARD_ONE(n) +1
#  define GUARD_ROOM(pool, times) static struct guard guard_##pool##_table[times(GUARD_ONE, 0)];
#  define GUARD_NAMES(pool, times, name) static void (*const guard_##pool##_entries[])(void) = {times(name, 0)};

GUARD_ROOM(call, GUARD_256)
#  define GUARD_CALL(index) GUARD_ENTRY(call, index, PyObject *, (PyObject *self, PyObject *a), (self, a))
GUARD_256(GUARD_CALL, 0)
#  define GUARD_CALL_NAME(index) (void (*)(void))guard_call_##index,
GUARD_NAMES(call, GUARD_256, GUARD_CALL_NAME)

GUARD_ROOM(call_keywords, GUARD_64)
#  define GUARD_CALL_KEYWORDS(index) GUARD_ENTRY(call_keywords, index, PyObject *, (PyObject *self, PyObject *a, PyObject *k), (self, a, k))
GUARD_64(GUARD_CALL_KEYWORDS, 0)
#  define GUARD_CALL_KEYWORDS_NAME(index) (void (*)(void))guard_call_keywords_##index,
GUARD_NAMES(call_keywords, GUARD_64, GUARD_CALL_KEYWORDS_NAME)

GUARD_ROOM(fast, GUARD_64)
#  define GUARD_FAST(index) GUARD_ENTRY(fast, index, PyObject *, (PyObject *self, PyObject *const *a, Py_ssize_t n), (self, a, n))
GUARD_64(GUARD_FAST, 0)
#  define GUARD_FAST_NAME(index) (void (*)(void))guard_fast_##index,
GUARD_NAMES(fast, GUARD_64, GUARD_FAST_NAME)

GUARD_ROOM(fast_keywords, GUARD_256)
#  define GUARD_FAST_KEYWORDS(index) GUARD_ENTRY(fast_keywords, index, PyObject *, (PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *k), (self, a, n, k))
GUARD_256(GUARD_FAST_KEYWORDS, 0)
#  define GUARD_FAST_KEYWORDS_NAME(index) (void (*)(void))guard_fast_keywords_##index,
GUARD_NAMES(fast_keywords, GUARD_256, GUARD_FAST_KEYWORDS_NAME)

GUARD_ROOM(get, GUARD_256)
#  define GUARD_GET(index) GUARD_ENTRY(get, index, PyObject *, (PyObject *self, void *c), (self, c))
GUARD_256(GUARD_GET, 0)
#  define GUARD_GET_NAME(index) (void (*)(void))guard_get_##index,
GUARD_NAMES(get, GUARD_256, GUARD_GET_NAME)

GUARD_ROOM(set, GUARD_64)
#  define GUARD_SET(index) GUARD_ENTRY(set, index, int, (PyObject *self, PyObject *v, void *c), (self, v, c))
GUARD_64(GUARD_SET, 0)
#  define GUARD_SET_NAME(index) (void (*)(void))guard_set_##index,
GUARD_NAMES(set, GUARD_64, GUARD_SET_NAME)

GUARD_ROOM(unary, GUARD_64)
#  define GUARD_UNARY(index) GUARD_ENTRY(unary, index, PyObject *, (PyObject *self), (self))
GUARD_64(GUARD_UNARY, 0)
#  define GUARD_UNARY_NAME(index) (void (*)(void))guard_unary_##index,
GUARD_NAMES(unary, GUARD_64, GUARD_UNARY_NAME)

GUARD_ROOM(init, GUARD_64)
#  define GUARD_INIT(index) GUARD_ENTRY(init, index, int, (PyObject *self, PyObject *a, PyObject *k), (self, a, k))
GUARD_64(GUARD_INIT, 0)
#  define GUARD_INIT_NAME(index) (void (*)(void))guard_init_##index,
GUARD_NAMES(init, GUARD_64, GUARD_INIT_NAME)

GUARD_ROOM(hash, GUARD_8)
#  define GUARD_HASH(index) GUARD_ENTRY(hash, index, Py_hash_t, (PyObject *self), (self))
GUARD_8(GUARD_HASH, 0)
#  define GUARD_HASH_NAME(index) (void (*)(void))guard_hash_##index,
GUARD_NAMES(hash, GUARD_8, GUARD_HASH_NAME)

GUARD_ROOM(compare, GUARD_8)
#  define GUARD_COMPARE(index) GUARD_ENTRY(compare, index, PyObject *, (PyObject *self, PyObject *other, int op), (self, other, op))
GUARD_8(GUARD_COMPARE, 0)
#  define GUARD_COMPARE_NAME(index) (void (*)(void))guard_compare_##index,
GUARD_NAMES(compare, GUARD_8, GUARD_COMPARE_NAME)

GUARD_ROOM(send, GUARD_64)
#  define GUARD_SEND(index) GUARD_ENTRY(send, index, PySendResult, (PyObject *self, PyObject *value, PyObject **result), (self, value, result))
GUARD_64(GUARD_SEND, 0)
#  define GUARD_SEND_NAME(index) (void (*)(void))guard_send_##index,
GUARD_NAMES(send, GUARD_64, GUARD_SEND_NAME)

GUARD_ROOM(clear, GUARD_64)
#  define GUARD_CLEAR(index) GUARD_ENTRY(clear, index, int, (PyObject *self), (self))
GUARD_64(GUARD_CLEAR, 0)
#  define GUARD_CLEAR_NAME(index) (void (*)(void))guard_clear_##index,
GUARD_NAMES(clear, GUARD_64, GUARD_CLEAR_NAME)

GUARD_ROOM(finalize, GUARD_64)
#  define GUARD_FINALIZE(index) GUARD_ENTRY(finalize, index, void, (PyObject *self), (self))
GUARD_64(GUARD_FINALIZE, 0)
#  define GUARD_FINALIZE_NAME(index) (void (*)(void))guard_finalize_##index,
GUARD_NAMES(finalize, GUARD_64, GUARD_FINALIZE_NAME)

struct guard_pool {
    struct guard *table;
    void (*const *entries)(void);
    size_t room;
};
#  define GUARD_POOL(pool) [GUARD_POOL_##pool] = {guard_##pool##_table, guard_##pool##_entries, ARRAY_LENGTH(guard_##pool##_table)},
#  define GUARD_KIND(pool) GUARD_POOL_##pool,
#  define GUARD_POOLS(X)                                                                                                \
      X(call) X(call_keywords) X(fast) X(fast_keywords) X(get) X(set) X(unary) X(init) X(hash) X(compare) X(send) X(clear) X(finalize)
enum guard_kind { GUARD_POOLS(GUARD_KIND) GUARD_NOT };
static const struct guard_pool guard_pools[] = {GUARD_POOLS(GUARD_POOL)};

static PyMutex guard_slots; /* while tables are filled: two interpreters may import at once */

/* *function is one of the entries from now on. It may be one already: another interpreter has imported the module. */
static int
guard_replace(enum guard_kind kind, void (**function)(void), struct section_home home)
{
    const struct guard_pool *pool = &guard_pools[kind];
    for (size_t i = 0; i < pool->room && pool->table[i].function != NULL; i++) {
        if (pool->entries[i] == *function) {
            return 0;
        }
    }
    for (size_t i = 0; i < pool->room; i++) {
        struct guard *guard = &pool->table[i];
        bool is_same = guard->function == *function && guard->home.first == home.first
                       && guard->home.second == home.second && guard->home.otherwise == home.otherwise;
        if (guard->function == NULL || is_same) {
            *guard = (struct guard){*function, home};
            *function = pool->entries[i];
            return 0;
        }
    }
    PyErr_SetString(PyExc_SystemError, "core/guard.c has no room for another function");
    return -1;
}

static enum guard_kind
guard_kind_of_call(int flags)
{
    switch (flags & (METH_VARARGS | METH_FASTCALL | METH_NOARGS | METH_O | METH_KEYWORDS | METH_METHOD)) {
    case METH_NOARGS:
    case METH_O:
    case METH_VARARGS:
        return GUARD_POOL_call;
    case METH_VARARGS | METH_KEYWORDS:
        return GUARD_POOL_call_keywords;
    case METH_FASTCALL:
        return GUARD_POOL_fast;
    case METH_FASTCALL | METH_KEYWORDS:
        return GUARD_POOL_fast_keywords;
    default:
        return GUARD_NOT;
    }
}

static int
guard_methods(PyMethodDef *methods, struct section_home home)
{
    for (PyMethodDef *def = methods; def->ml_name != NULL; def++) {
        if (def->ml_flags & (METH_CLASS | METH_STATIC | GUARD_FREE)) {
            def->ml_flags &= ~GUARD_FREE;
            continue;
        }
        enum guard_kind kind = guard_kind_of_call(def->ml_flags);
        if (kind == GUARD_NOT) {
            PyErr_Format(PyExc_SystemError, "core/guard.c knows no calls like that of %s", def->ml_name);
            return -1;
        }
        void (*function)(void) = (void (*)(void))def->ml_meth;
        if (guard_replace(kind, &function, home) < 0) {
            return -1;
        }
        def->ml_meth = (PyCFunction)function;
    }
    return 0;
}

static int
guard_attributes(PyGetSetDef *attributes, struct section_home home)
{
    for (PyGetSetDef *def = attributes; def->name != NULL; def++) {
        void (*get)(void) = (void (*)(void))def->get, (*set)(void) = (void (*)(void))def->set;
        if ((get != NULL && guard_replace(GUARD_POOL_get, &get, home) < 0)
            || (set != NULL && guard_replace(GUARD_POOL_set, &set, home) < 0)) {
            return -1;
        }
        def->get = (getter)get;
        def->set = (setter)set;
    }
    return 0;
}

static enum guard_kind
guard_kind_of_slot(int slot, void (*function)(void))
{
    if (function == (void (*)(void))PyObject_SelfIter || function == (void (*)(void))PyVectorcall_Call) {
        return GUARD_NOT;
    }
    switch (slot) {
    case Py_tp_repr:
    case Py_tp_str:
    case Py_tp_iter:
    case Py_tp_iternext:
    case Py_am_await:
    case Py_am_aiter:
    case Py_am_anext:
        return GUARD_POOL_unary;
    case Py_tp_call:
        return GUARD_POOL_call_keywords;
    case Py_tp_init:
    case Py_tp_setattro:
        return GUARD_POOL_init;
    case Py_tp_hash:
        return GUARD_POOL_hash;
    case Py_tp_richcompare:
        return GUARD_POOL_compare;
    case Py_am_send:
        return GUARD_POOL_send;
    case Py_tp_clear:
        return GUARD_POOL_clear;
    case Py_tp_finalize:
        return GUARD_POOL_finalize;
    default:
        return GUARD_NOT;
    }
}

static int
guard_slot(PyType_Slot *slot, struct section_home home)
{
    if (slot->slot == Py_tp_methods) {
        return guard_methods(slot->pfunc, home);
    }
    if (slot->slot == Py_tp_getset) {
        return guard_attributes(slot->pfunc, home);
    }
    void (*function)(void);
    memcpy(&function, &slot->pfunc, sizeof function);
    enum guard_kind kind = guard_kind_of_slot(slot->slot, function);
    int rc = kind == GUARD_NOT ? 0 : guard_replace(kind, &function, home);
    memcpy(&slot->pfunc, &function, sizeof function);
    return rc;
}

/* ---- members */

static PyObject *
guard_read_member(PyObject *self, void *member)
{
    return PyMember_GetOne((char *)self, member);
}

static int
guard_write_member(PyObject *self, PyObject *value, void *member)
{
    return PyMember_SetOne((char *)self, member, value);
}

/* Descriptors keep pointers to their definitions. */
enum { GUARD_MEMBERS = 32 };
static PyGetSetDef guard_members_getset[GUARD_MEMBERS];

/* The definition of this member as an attribute, made at the first import. */
static PyGetSetDef *
guard_member_def(PyMemberDef *member, struct section_home home)
{
    for (PyGetSetDef *def = guard_members_getset; def < guard_members_getset + GUARD_MEMBERS; def++) {
        if (def->closure == member) {
            return def;
        }
        if (def->name == NULL) {
            *def = (PyGetSetDef){member->name, guard_read_member, member->flags & READONLY ? NULL : guard_write_member,
                                 member->doc, member};
            PyGetSetDef attributes[] = {*def, {NULL}};
            int rc = guard_attributes(attributes, home);
            *def = attributes[0];
            return rc < 0 ? NULL : def;
        }
    }
    PyErr_SetString(PyExc_SystemError, "core/guard.c has no room for another member");
    return NULL;
}

static int
guard_member(PyTypeObject *type, PyMemberDef *member, struct section_home home)
{
    PyMutex_Lock(&guard_slots);
    PyGetSetDef *def = guard_member_def(member, home);
    PyMutex_Unlock(&guard_slots);
    PyObject *descriptor = def == NULL ? NULL : PyDescr_NewGetSet(type, def);
    int rc = descriptor == NULL ? -1 : PyDict_SetItemString(type->tp_dict, member->name, descriptor);
    Py_XDECREF(descriptor);
    return rc;
}

static int
guard_members(PyTypeObject *type, PyType_Spec *spec, struct section_home home)
{
    int rc = 0;
    for (PyType_Slot *slot = spec->slots; home.first != SECTION_HOME_NOBODY && slot->slot != 0; slot++) {
        PyMemberDef *members = slot->slot == Py_tp_members ? slot->pfunc : NULL;
        for (; rc == 0 && members != NULL && members->name != NULL; members++) {
            if (members->type == T_OBJECT || members->type == T_OBJECT_EX) {
                rc = guard_member(type, members, home);
            }
        }
    }
    PyType_Modified(type);
    return rc;
}

static int
guard_spec(PyType_Spec *spec, struct section_home home)
{
    int rc = 0;
    if (home.first == SECTION_HOME_NOBODY) {
        return 0;
    }
    PyMutex_Lock(&guard_slots);
    for (PyType_Slot *slot = spec->slots; rc == 0 && slot->slot != 0; slot++) {
        rc = guard_slot(slot, home);
    }
    PyMutex_Unlock(&guard_slots);
    return rc;
}

#endif

static int
guard_add_functions(PyObject *module, PyMethodDef *functions)
{
#if COMPAT_FREE_THREADED
    PyMutex_Lock(&guard_slots);
    int rc = guard_methods(functions, SECTION_RUNNING);
    PyMutex_Unlock(&guard_slots);
    if (rc < 0) {
        return -1;
    }
#endif
    return PyModule_AddFunctions(module, functions);
}
