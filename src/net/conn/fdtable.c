/* net/conn/fdtable.c -- the table, which lives in a capsule of the module's state. */
#include "net/conn/fdtable.h"

struct fdtable {
    struct Transport **entries;
    uint32_t n;
};

static void
fdtable_free(PyObject *capsule)
{
    struct fdtable *table = PyCapsule_GetPointer(capsule, NULL);
    PyMem_Free(table->entries);
    PyMem_Free(table);
}

static int
fdtable_register(struct state *st)
{
    struct fdtable *table = PyMem_Calloc(1, sizeof(*table));
    if (table == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    st->fdtable = PyCapsule_New(table, NULL, fdtable_free);
    if (st->fdtable == NULL) {
        PyMem_Free(table);
        return -1;
    }
    return 0;
}

/* NULL once the module's state is being taken down. */
static inline struct fdtable *
fdtable_of(struct state *st)
{
    return st->fdtable == NULL ? NULL : PyCapsule_GetPointer(st->fdtable, NULL);
}

static void
fdtable_set(struct state *st, int fd, struct Transport *t)
{
    struct fdtable *table = fdtable_of(st);
    if (table == NULL || fd < 0) {
        return;
    }
    if ((uint32_t)fd >= table->n) {
        uint32_t n = table->n == 0 ? 64 : table->n;
        while (n <= (uint32_t)fd) {
            n *= 2;
        }
        struct Transport **entries = PyMem_Realloc(table->entries, n * sizeof(*entries));
        if (entries == NULL) {
            return;
        }
        memset(entries + table->n, 0, (n - table->n) * sizeof(*entries));
        table->entries = entries;
        table->n = n;
    }
    table->entries[fd] = t;
}

static void
fdtable_unset(struct state *st, int fd, struct Transport *t)
{
    struct fdtable *table = fdtable_of(st);
    if (table != NULL && fd >= 0 && (uint32_t)fd < table->n && table->entries[fd] == t) {
        table->entries[fd] = NULL;
    }
}

static struct Transport *
fdtable_get_borrowed(struct state *st, int fd)
{
    struct fdtable *table = fdtable_of(st);
    return table != NULL && fd >= 0 && (uint32_t)fd < table->n ? table->entries[fd] : NULL;
}
