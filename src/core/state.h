/* core/state.h -- everything the module owns in one interpreter: its types, names, what it took from asyncio, free
 * lists.
 *
 * Reached through the object at hand: a Loop carries it (loop->st); from any other object of ours state_of(self). There
 * is no writable static. Each layer lists what it keeps here in its own state_list.h, which includes nothing; this file
 * joins the lists, and is the only one that may look up. Ownership: the module object owns the state; the state owns
 * every reference in it.  Thread: under the GIL of its interpreter; without one what is written after the import has
 * its own rules, said with it. */
#ifndef ASYNCLOOP_CORE_STATE_H
#define ASYNCLOOP_CORE_STATE_H

#include "base/api.h"
#include "base/compat.h"
#include "net/state_list.h"
#include "sync/state_list.h"
#include "task/state_list.h"

/* ---- the core's own lists */

/* Interned names: st->str.NAME. */
#define CORE_STRINGS(X) \
    X(__class__) X(__new__) X(_asyncgen_finalizer_hook) X(_asyncgen_firstiter_hook) X(_handle_signal) \
    X(add_done_callback) X(call_exception_handler) X(call_soon) X(call_later) X(cancel) X(close) X(context) \
    X(debug) X(exception) X(fileno) X(get_debug) X(handle) X(message) X(source_traceback) X(time) \
    X(_get_running_loop) X(get_running_loop) X(_set_running_loop) X(get_event_loop) X(_get_event_loop) \
    X(_stands_for) X(Task) X(_wait_until)

/* Taken from the standard library at import: st->NAME (module, attribute). */
#define CORE_IMPORTS(X) \
    X(asyncio, "asyncio", NULL) \
    X(asyncio_Task, "_asyncio", "Task") \
    X(asyncio_Handle, "asyncio.events", "Handle") \
    X(asyncio_TimerHandle, "asyncio.events", "TimerHandle") \
    X(events, "asyncio.events", NULL) \
    X(tasks, "asyncio.tasks", NULL) \
    X(native_running_loop, "_asyncio", "_get_running_loop") \
    X(native_need_running_loop, "_asyncio", "get_running_loop") \
    X(native_set_running_loop, "_asyncio", "_set_running_loop") \
    X(native_event_loop, "_asyncio", COMPAT_EVENT_LOOP_UNDERSCORED ? "_get_event_loop" : "get_event_loop") \
    X(run_until_complete_cb, "asyncio.base_events", "_run_until_complete_cb") \
    X(extract_stack, "asyncio.format_helpers", "extract_stack") \
    X(format_callback_source, "asyncio.format_helpers", "_format_callback_source") \
    X(logger, "asyncio.log", "logger") \
    X(get_asyncgen_hooks, "sys", "get_asyncgen_hooks") \
    X(set_asyncgen_hooks, "sys", "set_asyncgen_hooks") \
    X(get_origin_tracking, "sys", "get_coroutine_origin_tracking_depth") \
    X(set_origin_tracking, "sys", "set_coroutine_origin_tracking_depth")

/* Other owned objects, which the layer makes: st->NAME. */
#define CORE_OBJECTS(X) \
    X(native_codes) X(copyreg_newobj) X(abc_init) X(abc_instancecheck) X(abc_subclasscheck) X(current_tasks) \
    X(swap_current_task) X(empty_tuple) X(kw_context) X(kw_debug) X(asyncio_ThreadSafeHandle) X(events_watch)

/* Heap types: st->NAME##_type. */
#define CORE_TYPES(X) \
    X(Twin) X(Function) X(Loop) X(Handle) X(TimerHandle) X(Deferred) X(Named)

/* Free lists, linked through a field of the dead object (core/freelist.h), one per size class: FREELIST_NAME.  A Handle
 * has 0 to 3 slots. */
#define CORE_FREELISTS(X) \
    X(HANDLE_0) X(HANDLE_1) X(HANDLE_2) X(HANDLE_3) X(TIMER_0) X(TIMER_1) X(TIMER_2) X(TIMER_3)

/* Kinds of timer owner: TIMER_KIND_NAME. */
#define CORE_TIMERS(X) \
    X(HANDLE)

/* ---- and those of all layers */

#define STATE_STRINGS(X) CORE_STRINGS(X) TASK_STRINGS(X) SYNC_STRINGS(X) NET_STRINGS(X)
#define STATE_IMPORTS(X) CORE_IMPORTS(X) TASK_IMPORTS(X) NET_IMPORTS(X)
#define STATE_OBJECTS(X) CORE_OBJECTS(X) TASK_OBJECTS(X) SYNC_OBJECTS(X) NET_OBJECTS(X)
#define STATE_TYPES(X) CORE_TYPES(X) TASK_TYPES(X) SYNC_TYPES(X) NET_TYPES(X)
#define STATE_FREELISTS(X) CORE_FREELISTS(X) TASK_FREELISTS(X) NET_FREELISTS(X)
#define STATE_TIMERS(X) CORE_TIMERS(X) TASK_TIMERS(X) NET_TIMERS(X)
#define STATE_TRAITS(X) TASK_TRAITS(X) SYNC_TRAITS(X)

#define NUMBER(name) FREELIST_##name,
enum { STATE_FREELISTS(NUMBER) FREELIST_COUNT };
#undef NUMBER
/* Kinds of timer owner: what a due timer becomes (see core/loop.h). */
#define NUMBER(name) TIMER_KIND_##name,
enum timer_kind { STATE_TIMERS(NUMBER) TIMER_KIND_COUNT };
#undef NUMBER
#define FREELIST_MAX 256
enum { STATE_CACHE_LINE = 64 };

/* Kinds of protocol that take bytes without a Python call (net/conn/protocol.h). */
#define STATE_SINKS_MAX 4
struct sink;

/* Kinds of future (task/future/future.h). */
#define STATE_FUTURE_KINDS_MAX 8
struct future_methods;

struct Loop;
typedef int (*ready_fn)(struct Loop *loop, PyObject *self, PyObject *arg);

/* One of our classes and the class of asyncio's whose place it takes (core/twin.h). */
enum { STATE_TWINS = 32 };
enum twin_family {
    TWIN_CLOSED /* as immutable as asyncio's */,
    TWIN_TIMEOUT,
    TWIN_GROUP,
    TWIN_SYNC,
    TWIN_STREAMS,
    TWIN_FAMILIES
};
struct twin {
    PyTypeObject *type, *native;
    const char *const *copied; /* the attributes that copy and pickle see (core/twin_copy.h), or NULL */
    uint8_t family;
};

struct freelist {
    PyObject *head;
    uint32_t n;
};

struct state {
#define DECLARE(name) PyObject *name;
    struct {
        STATE_STRINGS(DECLARE)
    } str;
    STATE_OBJECTS(DECLARE)
#undef DECLARE
#define DECLARE(name, module, attribute) PyObject *name;
    STATE_IMPORTS(DECLARE)
#undef DECLARE
#define DECLARE(name) PyTypeObject *name##_type;
    STATE_TYPES(DECLARE)
#undef DECLARE
    /* a capsule, None, or NULL (net/tls/openssl.h); there until the state is freed: loops have buffers to give back to
     * libcrypto */
    PyObject *openssl;
    struct freelist freelists[FREELIST_COUNT];
    struct twin twins[STATE_TWINS];
    uint32_t n_twins;
    bool twins_show_native; /* the twins and Functions say asyncio's __module__ (core/twin.h) */
    /* somebody has set an attribute of a class of that family: its methods may be others */
    bool twins_touched[TWIN_FAMILIES];
    struct {
        ready_fn on_due; /* run as a ready entry (owner, NULL) */
        size_t offset; /* of the struct timer in the owner */
    } timer_kinds[TIMER_KIND_COUNT];
    struct {
        PyTypeObject *type; /* borrowed from the types above; NULL: free */
        const struct sink *sink;
    } sinks[STATE_SINKS_MAX];
    ready_fn task_runs[2]; /* of the ready entries that are the step of a task; the task is self (core/virtual.c) */
    const struct future_methods *future_methods[STATE_FUTURE_KINDS_MAX]; /* by enum future_kind; may be NULL */
    bool callback_source_takes_debug; /* asyncio's _format_callback_source differs between patch releases */
#define DECLARE(name) bool name;
    struct {
        STATE_TRAITS(DECLARE)
    } traits;
#undef DECLARE
    struct Loop *running; /* own loops inside run_forever, linked by running_next; borrowed */
    struct Loop *loops; /* every live loop, linked by loops_next; borrowed */
    struct { /* tasks whose loop is not ours; linked as in Loop.tasks */
        struct task_link *first;
    } foreign_tasks;
#if COMPAT_FREE_THREADED
    char apart_before[STATE_CACHE_LINE]; /* what follows is written by all threads, and all else is read by them */
#endif
    uint64_t n_task_names; /* Task-N */
#if COMPAT_FREE_THREADED
    PyMutex lists; /* of loops, and of foreign_tasks; each thread has its own of those that run (core/section.h) */
    char apart_behind[STATE_CACHE_LINE];
#endif
    ptrdiff_t tstate_task_offset; /* of the current task in the thread state; 0 when unknown (aiobridge) */
    ptrdiff_t tstate_loop_offset; /* of the running loop */
    const uint64_t *names_version; /* changes when a name of asyncio.events is bound anew (aiobridge) */
    const uint64_t *tasks_version; /* the same for asyncio.tasks; may be the same number */
    uint64_t names_seen; /* what it was when the names of the running loop were asyncio's own */
    uint64_t tasks_seen; /* what it was when asyncio.tasks.Task was asyncio's own class or ours */
    uint64_t names_unknown; /* the versions point here when nothing tells: never what was seen */
    /* what asyncio's own tasks are woken with, once one was seen (task/future/callbacks.c); NULL: not yet */
    const PyMethodDef *native_wakeup;
    /* what to give it for a future of any kind */
    PyObject *(*wakeup_argument_borrowed)(struct state *st, PyObject *future);
    /* of the field in asyncio's own Future; 0 when unknown (task/future/awaited_by.c) */
    ptrdiff_t native_awaited_by_offset;
};

/* Intrusive doubly linked list of unfinished tasks; embedded in Task. prev_next points at the pointer that points here;
 * NULL when unlinked. */
struct task_link {
    struct task_link *next, **prev_next;
};

/* Where an object of ours says to whom it belongs (core/section.h). first: the offset of the field that points at its
 * loop, or at an object of ours in which second is the offset of such a field; or one of SECTION_HOME_.  otherwise: the
 * offset of the field that counts where the first is NULL, or -1. */
struct section_home {
    int16_t first, second, otherwise;
};
enum {
    SECTION_HOME_SELF = -1 /* itself */,
    SECTION_HOME_RUNNING = -2 /* this thread's loop */,
    SECTION_HOME_NOBODY = -3
};
#define SECTION_AT(type, loop) ((struct section_home){offsetof(type, loop), -1, -1})
#define SECTION_VIA(type, field, other, loop) ((struct section_home){offsetof(type, field), offsetof(other, loop), -1})
#define SECTION_SELF ((struct section_home){SECTION_HOME_SELF, -1, -1})
#define SECTION_RUNNING ((struct section_home){SECTION_HOME_RUNNING, -1, -1})
#define SECTION_NOBODY ((struct section_home){SECTION_HOME_NOBODY, -1, -1}) /* safe as it is */

static struct PyModuleDef asyncloop_module;

static inline struct state *state_of_module(PyObject *module);
/* The state behind an object whose type, or a base of it, is ours. */
static inline struct state *state_of(PyObject *self);

/* *slot is a new reference to the object, unless it is set already, perhaps by another thread. */
static inline void state_set_once(PyObject **slot, PyObject *object);
/* What it is set to, or NULL; what was set before it is seen too. */
static inline PyObject *state_once_borrowed(PyObject *const *slot);

/* Make a type from its spec and store it in *slot; register it in the module under its short name when public.  home:
 * who its objects belong to. */
static int state_add_type(PyObject *module, PyTypeObject **slot, PyType_Spec *spec, PyTypeObject *base, bool is_public,
                          struct section_home home) MUST_CHECK;

#endif
