/* task/wait/traits.c -- see traits.h. */
#include "task/wait/traits.h"

/* The place of `name` among the names that a function uses, which are in the order of their first use. -1: the name, or
 * the function, is not there. */
static Py_ssize_t
traits_find_name(PyObject *function, const char *list, const char *name)
{
    PyObject *code = function == NULL ? NULL : PyObject_GetAttrString(function, "__code__");
    PyObject *names = code == NULL ? NULL : PyObject_GetAttrString(code, list);
    Py_ssize_t found = -1;
    for (Py_ssize_t i = 0; names != NULL && PyTuple_Check(names) && i < PyTuple_GET_SIZE(names) && found < 0; i++) {
        PyObject *each = PyTuple_GET_ITEM(names, i);
        found = PyUnicode_Check(each) && PyUnicode_CompareWithASCIIString(each, name) == 0 ? i : -1;
    }
    Py_XDECREF(code);
    Py_XDECREF(names);
    PyErr_Clear();
    return found;
}

static inline bool
traits_uses(PyObject *function, const char *name)
{
    return traits_find_name(function, "co_names", name) >= 0;
}

/* Is this text among its constants? */
static bool
traits_says(PyObject *function, const char *text)
{
    return traits_find_name(function, "co_consts", text) >= 0;
}

/* Has it a `raise … from …`?  In its code that is a RAISE_VARARGS with two operands. */
static bool
traits_raises_from(PyObject *function)
{
    PyObject *code = function == NULL ? NULL : PyObject_GetAttrString(function, "__code__");
    PyObject *bytes = code == NULL ? NULL : PyObject_GetAttrString(code, "co_code");
    PyObject *opcode = bytes == NULL ? NULL : PyImport_ImportModule("opcode");
    PyObject *map = opcode == NULL ? NULL : PyObject_GetAttrString(opcode, "opmap");
    PyObject *number = map == NULL ? NULL : PyMapping_GetItemString(map, "RAISE_VARARGS");
    long raise = number == NULL ? -1 : PyLong_AsLong(number);
    bool found = false;
    for (Py_ssize_t i = 0; raise >= 0 && PyBytes_Check(bytes) && i + 1 < PyBytes_GET_SIZE(bytes) && !found; i += 2) {
        const unsigned char *unit = (const unsigned char *)PyBytes_AS_STRING(bytes) + i;
        found = unit[0] == raise && unit[1] == 2;
    }
    Py_XDECREF(code);
    Py_XDECREF(bytes);
    Py_XDECREF(opcode);
    Py_XDECREF(map);
    Py_XDECREF(number);
    PyErr_Clear();
    return found;
}

/* NULL when there is no such attribute; raises nothing. */
static PyObject *
traits_get(PyObject *object, const char *name)
{
    PyObject *value = object == NULL ? NULL : PyObject_GetAttrString(object, name);
    PyErr_Clear();
    return value;
}

static PyObject *
traits_import(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name), *value = traits_get(module, name);
    Py_XDECREF(module);
    PyErr_Clear();
    return value;
}

static void
traits_read_group(struct state *st)
{
    PyObject *group = traits_import("asyncio.taskgroups", "TaskGroup"), *create = traits_get(group, "create_task");
    PyObject *enter = traits_get(group, "__aenter__"), *inner = traits_get(group, "_aexit"),
             *exit = inner != NULL ? Py_NewRef(inner) : traits_get(group, "__aexit__");
    st->traits.group_enters_late = traits_says(enter, " has already been entered");
    st->traits.group_forgets = inner != NULL;
    st->traits.group_uncancels_late =
        traits_find_name(exit, "co_names", "uncancel") > traits_find_name(exit, "co_names", "create_future");
    st->traits.group_takes_subclasses = traits_uses(exit, "issubclass");
    st->traits.group_recancels = traits_uses(exit, "cancelling");
    st->traits.group_keeps_pending = traits_find_name(exit, "co_varnames", "pending_cancellation_error") >= 0;
    st->traits.group_raises_generator_exit = traits_uses(exit, "GeneratorExit");
    st->traits.group_closes_coro = traits_uses(create, "close");
    st->traits.group_cancels_late_task = traits_uses(create, "cancel");
    st->traits.group_notes_done_at_once = traits_uses(create, "done") && !st->traits.group_cancels_late_task;
    st->traits.group_names_afterwards = traits_uses(create, "_set_task_name");
    Py_XDECREF(group);
    Py_XDECREF(create);
    Py_XDECREF(enter);
    Py_XDECREF(inner);
    Py_XDECREF(exit);
}

/* shield()'s callback of the inner future: does it retrieve the exception that nobody waits for any more? Then
 * exception() comes before cancel(). */
static void
traits_read_shield(struct state *st)
{
    PyObject *shield = traits_import("asyncio.tasks", "shield"), *code = traits_get(shield, "__code__"),
             *consts = traits_get(code, "co_consts");
    for (Py_ssize_t i = 0; consts != NULL && PyTuple_Check(consts) && i < PyTuple_GET_SIZE(consts); i++) {
        PyObject *each = PyTuple_GET_ITEM(consts, i), *names = PyCode_Check(each) ? traits_get(each, "co_names") : NULL;
        Py_ssize_t exception = -1, cancel = -1;
        for (Py_ssize_t j = 0; names != NULL && j < PyTuple_GET_SIZE(names); j++) {
            if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, j), "exception") == 0) {
                exception = j;
            }
            else if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, j), "cancel") == 0) {
                cancel = j;
            }
        }
        if (exception >= 0 && cancel >= 0) {
            st->traits.shield_retrieves = exception < cancel;
        }
        Py_XDECREF(names);
    }
    Py_XDECREF(shield);
    Py_XDECREF(code);
    Py_XDECREF(consts);
}

static void
traits_read_timeout(struct state *st)
{
    PyObject *timeout = traits_import("asyncio.timeouts", "Timeout"), *exit = traits_get(timeout, "__aexit__");
    PyObject *enter = traits_get(timeout, "__aenter__"), *reschedule = traits_get(timeout, "reschedule");
    st->traits.timeout_takes_subclasses = traits_uses(exit, "issubclass");
    st->traits.timeout_mends_context = traits_uses(exit, "_insert_timeout_error");
    st->traits.timeout_chains = traits_raises_from(exit);
    st->traits.timeout_counts_cancels = traits_uses(exit, "_cancelling");
    st->traits.timeout_enters_once = traits_says(enter, "Timeout has already been entered");
    st->traits.timeout_reschedule_asserts = !traits_says(reschedule, "Timeout has not been entered");
    Py_XDECREF(timeout);
    Py_XDECREF(exit);
    Py_XDECREF(enter);
    Py_XDECREF(reschedule);
}

static int
traits_read(struct state *st)
{
    PyObject *iterator = traits_import("asyncio.tasks", "_AsCompletedIterator"),
             *one = traits_get(iterator, "_wait_for_one");
    PyObject *cancel_and_wait = traits_import("asyncio.tasks", "_cancel_and_wait");
    st->traits.as_completed_gives_back = traits_uses(one, "_todo_left");
    st->traits.cancel_and_wait_is_edge = traits_uses(cancel_and_wait, "future_add_to_awaited_by");
    Py_XDECREF(iterator);
    Py_XDECREF(one);
    Py_XDECREF(cancel_and_wait);
    traits_read_timeout(st);
    traits_read_group(st);
    traits_read_shield(st);
    return PyErr_Occurred() ? -1 : 0;
}
