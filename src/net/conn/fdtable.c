/* net/conn/fdtable.c -- the table, which lives in a capsule of the module's state. */
#include "net/conn/fdtable.h"

#include "core/section.h"

struct fdtable_entry {
    struct Transport *transport;
    struct Loop *loop;
};

struct fdtable {
    struct fdtable_entry *entries;
    uint32_t n;
#if COMPAT_FREE_THREADED
    PyMutex mutex;
#endif
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
fdtable_put(struct fdtable *table, int fd, struct fdtable_entry entry)
{
    if ((uint32_t)fd >= table->n) {
        uint32_t n = table->n == 0 ? 64 : table->n;
        while (n <= (uint32_t)fd) {
            n *= 2;
        }
        struct fdtable_entry *entries = PyMem_Realloc(table->entries, n * sizeof(*entries));
        if (entries == NULL) {
            return;
        }
        memset(entries + table->n, 0, (n - table->n) * sizeof(*entries));
        table->entries = entries;
        table->n = n;
    }
    table->entries[fd] = entry;
}

static void
fdtable_set(struct state *st, int fd, struct Transport *t, struct Loop *loop)
{
    struct fdtable *table = fdtable_of(st);
    if (table != NULL && fd >= 0) {
        SECTION_TAKE(&table->mutex);
        fdtable_put(table, fd, (struct fdtable_entry){t, loop});
        SECTION_GIVE(&table->mutex);
    }
}

static void
fdtable_unset(struct state *st, int fd, struct Transport *t)
{
    struct fdtable *table = fdtable_of(st);
    if (table == NULL) {
        return;
    }
    SECTION_TAKE(&table->mutex);
    if (fd >= 0 && (uint32_t)fd < table->n && table->entries[fd].transport == t) {
        table->entries[fd] = (struct fdtable_entry){NULL, NULL};
    }
    SECTION_GIVE(&table->mutex);
}

static struct Transport *
fdtable_get_borrowed(struct state *st, int fd, const struct Loop *loop)
{
    struct fdtable *table = fdtable_of(st);
    struct Transport *t = NULL;
    if (table == NULL) {
        return NULL;
    }
    SECTION_TAKE(&table->mutex);
    if (fd >= 0 && (uint32_t)fd < table->n && table->entries[fd].loop == loop) {
        t = table->entries[fd].transport;
    }
    SECTION_GIVE(&table->mutex);
    return t;
}
