/* base/compat.h -- the only place that includes Python.h, and every difference between CPython 3.11 and 3.15 that C
 * code must see.
 *
 * A version is never tested elsewhere (but in core/aiobridge.c, which reads interpreter internals): code asks for a
 * named COMPAT_ feature or calls a compat_ function.  Behaviour that changed in asyncio itself is a feature too. */
#ifndef ASYNCLOOP_BASE_COMPAT_H
#define ASYNCLOOP_BASE_COMPAT_H

#ifndef _GNU_SOURCE
#  define _GNU_SOURCE
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <stdbool.h>
#include <stdint.h>

#if PY_VERSION_HEX < 0x030b0000
#  error "asyncloop needs CPython 3.11 or newer"
#endif
#if defined(PYPY_VERSION)
#  error "asyncloop is an extension of CPython's asyncio; PyPy is not supported"
#endif
#if !defined(__linux__)
#  error "asyncloop runs on Linux only, so far"
#endif

/* ---- what asyncio does from which version on */
#define COMPAT_AT_LEAST(major, minor) (PY_VERSION_HEX >= (((major) << 24) | ((minor) << 16)))

#define COMPAT_EAGER_TASKS COMPAT_AT_LEAST(3, 12)             /* eager_start=, eager_task_factory */
#define COMPAT_HANDLE_GET_CONTEXT COMPAT_AT_LEAST(3, 12)      /* Handle.get_context() */
#define COMPAT_UNCANCEL_CLEARS COMPAT_AT_LEAST(3, 13)         /* uncancel() to 0 withdraws an undelivered cancellation */
#define COMPAT_FACTORY_KEYWORDS COMPAT_AT_LEAST(3, 14)        /* create_task hands **kwargs to the factory, name included */
#define COMPAT_THREADSAFE_HANDLE COMPAT_AT_LEAST(3, 14)       /* cancelling a handle of call_soon_threadsafe waits while it runs */
#define COMPAT_THROW_SIGNATURE_DEPRECATED COMPAT_AT_LEAST(3, 12) /* throw(type, value, traceback) warns */
#define COMPAT_TASK_NAMED_AFTERWARDS (!COMPAT_AT_LEAST(3, 13)) /* create_task() sets the name of what the loop's create_task returned */
#define COMPAT_ALL_TASKS_IN_PYTHON (!COMPAT_AT_LEAST(3, 14))  /* asyncio.all_tasks is a Python function over the registries in asyncio.tasks */
#define COMPAT_CHAIN_ASKS_RUNNING_LOOP COMPAT_AT_LEAST(3, 14) /* chained futures: at once in the loop's thread, no detour by call_soon_threadsafe */
#define COMPAT_TASK_GET_CONTEXT COMPAT_AT_LEAST(3, 12)        /* Task.get_context() */
#define COMPAT_GATHER_NOTES_DONE COMPAT_AT_LEAST(3, 12)       /* gather looks at children that are done already at once */
#define COMPAT_SLEEP_REFUSES_NAN COMPAT_AT_LEAST(3, 13)       /* sleep(nan) is a ValueError */
#define COMPAT_DELETION_NAMES_ATTRIBUTE COMPAT_AT_LEAST(3, 14) /* the AttributeError of del future._log_traceback */
#define COMPAT_CALL_GRAPH COMPAT_AT_LEAST(3, 14)              /* _asyncio_awaited_by */
#define COMPAT_SINGLE_INIT COMPAT_AT_LEAST(3, 15)             /* a second __init__ of Future or Task is a RuntimeError */
#define COMPAT_TASK_CONTEXT_CHECKED COMPAT_AT_LEAST(3, 15)    /* Task(context=5) is a TypeError at once */

#define COMPAT_WAIT_FOR_IS_TIMEOUT COMPAT_AT_LEAST(3, 12)     /* wait_for awaits inside a timeout(): no task of its own */
#define COMPAT_AS_COMPLETED_ASYNC COMPAT_AT_LEAST(3, 13)      /* as_completed begins at once and is an asynchronous iterator too */
#define COMPAT_TLS_NAMES_CALLBACKS COMPAT_AT_LEAST(3, 13)     /* SSLProtocol schedules methods; lambdas before */
#define COMPAT_GROUP_CANCEL COMPAT_AT_LEAST(3, 15)            /* TaskGroup.cancel(); __aexit__ returns True */

/* ---- what the interpreter does */
#define COMPAT_AM_SEND_USED (!COMPAT_AT_LEAST(3, 12) || COMPAT_AT_LEAST(3, 15)) /* SEND asks am_send of any type */
#define COMPAT_THROWN_STOP_ENDS_AWAIT COMPAT_AT_LEAST(3, 12)  /* throw(StopIteration) at an await that has no throw(): the await's value; before the first step: no PEP 479 */
#define COMPAT_STOPITERATION_PLAIN COMPAT_AT_LEAST(3, 12)     /* PyErr_SetRaisedException takes an instance put together by hand */
#define COMPAT_TSTATE_LOOP COMPAT_AT_LEAST(3, 13)             /* the running loop is a field of the thread state */
#define COMPAT_TSTATE_TASK COMPAT_AT_LEAST(3, 14)             /* the current task is, too */
#define COMPAT_DICT_VERSIONS (!COMPAT_AT_LEAST(3, 14))        /* every change of a dict changes a number in it */
#define COMPAT_TRASHCAN_IN_INTERPRETER COMPAT_AT_LEAST(3, 14) /* the Py_TRASHCAN macros do nothing: Py_DECREF itself looks at the stack */
#define COMPAT_QUEUE_SHUTDOWN COMPAT_AT_LEAST(3, 13)          /* Queue.shutdown() */
#define COMPAT_ACCEPTS_ONE_MORE COMPAT_AT_LEAST(3, 14)       /* one event takes backlog + 1 connections, not backlog */
#define COMPAT_BARRIER_TEXT (COMPAT_AT_LEAST(3, 14) ? "parties must be >= 1" : "parties must be > 0")
#define COMPAT_AWAIT_TEXT (COMPAT_AT_LEAST(3, 14) ? "'%.100s' object can't be awaited" : "object %.100s can't be used in 'await' expression")
#define COMPAT_AWAIT_NAMES_TYPE COMPAT_AT_LEAST(3, 15)        /* the TypeErrors of an __await__ that gives no iterator */
#define COMPAT_EVENT_LOOP_UNDERSCORED (!COMPAT_AT_LEAST(3, 12)) /* asyncio's own code calls events._get_event_loop() */
#define COMPAT_TYPE_PARAMS COMPAT_AT_LEAST(3, 12)             /* function.__type_params__ */
#define COMPAT_LAZY_ANNOTATIONS COMPAT_AT_LEAST(3, 14)        /* function.__annotate__ */
#define COMPAT_CORO_STATE COMPAT_AT_LEAST(3, 15)              /* coroutine.cr_state */
#define COMPAT_PER_INTERPRETER_GIL COMPAT_AT_LEAST(3, 12)

/* Without the GIL: what guards the objects then is in core/section.h, which needs sections of mutexes that 3.14
 * brought. An older free-threaded build runs us with the GIL, or not at all (module.c). */
#ifdef Py_GIL_DISABLED
#  define COMPAT_FREE_THREADED COMPAT_AT_LEAST(3, 14)
#  define COMPAT_NEEDS_GIL (!COMPAT_AT_LEAST(3, 14))
#else
#  define COMPAT_FREE_THREADED 0
#  define COMPAT_NEEDS_GIL 0
#endif

#ifndef Py_TPFLAGS_IMMUTABLETYPE
#  define Py_TPFLAGS_IMMUTABLETYPE 0
#endif

/* The raised exception as one normalised instance with its traceback, removed from the thread state; NULL if there is
 * none. New reference. */
static inline PyObject *
compat_take_raised(void)
{
#if COMPAT_AT_LEAST(3, 12)
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *tb;
    PyErr_Fetch(&type, &value, &tb);
    if (type == NULL) {
        return NULL;
    }
    PyErr_NormalizeException(&type, &value, &tb);
    if (tb != NULL) {
        PyException_SetTraceback(value, tb);
    }
    Py_DECREF(type);
    Py_XDECREF(tb);
    return value;
#endif
}

/* Raise this very instance, its traceback kept.  Steals exc; NULL clears. */
static inline void
compat_set_raised(PyObject *exc)
{
#if COMPAT_AT_LEAST(3, 12)
    PyErr_SetRaisedException(exc);
#else
    if (exc == NULL) {
        PyErr_Clear();
        return;
    }
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(exc)), exc, PyException_GetTraceback(exc));
#endif
}

static inline PyThreadState *
compat_tstate_borrowed(void)
{
#if COMPAT_AT_LEAST(3, 13)
    return PyThreadState_GetUnchecked();
#else
    return _PyThreadState_UncheckedGet();
#endif
}

/* 1 and *result a new reference, 0 and NULL when there is no such attribute, -1 on any other error. */
static inline int
compat_get_optional_attr(PyObject *object, PyObject *name, PyObject **result)
{
#if COMPAT_AT_LEAST(3, 13)
    return PyObject_GetOptionalAttr(object, name, result);
#else
    return _PyObject_LookupAttr(object, name, result);
#endif
}

/* The object a weak reference points to: 1 and a new reference, 0 and NULL when it is dead, -1 on error. */
static inline int
compat_weakref_get(PyObject *ref, PyObject **result)
{
#if COMPAT_AT_LEAST(3, 13)
    return PyWeakref_GetRef(ref, result);
#else
    PyObject *object = PyWeakref_GetObject(ref);
    if (object == NULL) {
        *result = NULL;
        return -1;
    }
    *result = object == Py_None ? NULL : Py_NewRef(object);
    return *result != NULL;
#endif
}

#if COMPAT_DICT_VERSIONS
/* A number that no other dict of this interpreter has, and this one not again once it was changed; its place. */
static inline const uint64_t *
compat_dict_version(PyObject *dict)
{
#  pragma GCC diagnostic push
#  pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    return &((PyDictObject *)dict)->ma_version_tag;
#  pragma GCC diagnostic pop
}
#endif

/* A number that this type has not again once it, or a base, was changed; 0: not known. */
static inline unsigned int
compat_type_version(PyTypeObject *type)
{
#if COMPAT_AT_LEAST(3, 12)
    return type->tp_version_tag;
#else
    return PyType_HasFeature(type, Py_TPFLAGS_VALID_VERSION_TAG) ? type->tp_version_tag : 0;
#endif
}

/* Threads that load this from a module or a class do not count it, so they do not fight for its count.  It lives until
 * a collection finds it. */
static inline void
compat_defer_count(PyObject *object)
{
#if COMPAT_FREE_THREADED
    PyUnstable_Object_EnableDeferredRefcount(object);
#else
    (void)object;
#endif
}

/* A number that threads without a GIL read and write as they please: one of the values that it had. */
#if COMPAT_FREE_THREADED
#  define COMPAT_LOAD(address) __atomic_load_n(address, __ATOMIC_RELAXED)
#  define COMPAT_STORE(address, value) __atomic_store_n(address, value, __ATOMIC_RELAXED)
#  define COMPAT_PUBLISH(address, value) __atomic_store_n(address, value, __ATOMIC_RELEASE) /* a pointer, with what it points at */
#  define COMPAT_COUNT(address) ((void)__atomic_add_fetch(address, 1, __ATOMIC_RELAXED))
#else
#  define COMPAT_LOAD(address) (*(address))
#  define COMPAT_STORE(address, value) ((void)(*(address) = (value)))
#  define COMPAT_PUBLISH(address, value) ((void)(*(address) = (value)))
#  define COMPAT_COUNT(address) ((void)++*(address))
#endif

/* Nothing changes in a dict of Python's between these two: one block. */
#if COMPAT_FREE_THREADED
#  define COMPAT_BEGIN_STILL(dict) Py_BEGIN_CRITICAL_SECTION(dict)
#  define COMPAT_END_STILL() Py_END_CRITICAL_SECTION()
#else
#  define COMPAT_BEGIN_STILL(dict) { (void)(dict);
#  define COMPAT_END_STILL() }
#endif

/* The version that runs, which may be another patch release than the headers. */
#define COMPAT_RUNS(major, minor, micro) (Py_Version >= (((unsigned long)(major) << 24) | ((minor) << 16) | ((micro) << 8)))

#endif
