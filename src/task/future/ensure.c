/* task/future/ensure.c -- create_task and ensure_future, without a call into Python where loop and coroutine are ours.
 */
#include "task/future/ensure.h"

#include "core/aiobridge.h"
#include "core/args.h"
#include "core/ask.h"
#include "core/guard.h"
#include "task/future/future.h"
#include "task/future/task.h"

static int
ensure_is_future(struct state *st, PyObject *object)
{
    if (LIKELY(future_is_exact(st, object))) {
        return 1;
    }
    return ask_truth(PyObject_CallOneArg(st->isfuture, object));
}

static int
ensure_is_coroutine(struct state *st, PyObject *object)
{
    return task_is_coroutine(st, object);
}

static PyObject *
ensure_event_loop(struct state *st)
{
    return aiobridge_event_loop(st);
}

/* ---- ensure_future */

static PyObject *
ensure_loop_of(struct state *st, PyObject *future)
{
    PyObject *get_loop;
    if (future_has_usual(st, future, st->str.get_loop) && ((Future *)future)->loop != NULL) {
        return Py_NewRef(((Future *)future)->loop);
    }
    if (compat_get_optional_attr(future, st->str.get_loop, &get_loop) < 0) {
        return NULL;
    }
    if (get_loop == NULL) {
        return PyObject_GetAttr(future, st->str._loop);
    }
    PyObject *loop = PyObject_CallNoArgs(get_loop);
    Py_DECREF(get_loop);
    return loop;
}

static PyObject *
ensure_same_loop(struct state *st, PyObject *future, PyObject *loop)
{
    if (loop != Py_None) {
        PyObject *own = ensure_loop_of(st, future);
        Py_XDECREF(own); /* only compared */
        if (own != loop) {
            if (own != NULL) {
                PyErr_SetString(PyExc_ValueError,
                                "The future belongs to a different loop than the one specified as the loop argument");
            }
            return NULL;
        }
    }
    return Py_NewRef(future);
}

/* loop.create_task(coro); a loop that refuses with a RuntimeError leaves a coroutine that nobody will run: it is
 * closed. */
static PyObject *
ensure_create_task(struct state *st, PyObject *loop, PyObject *coro)
{
    PyObject *task = PyObject_CallMethodOneArg(loop, st->str.create_task, coro);
    if (UNLIKELY(task == NULL) && PyErr_ExceptionMatches(PyExc_RuntimeError)) {
        PyObject *raised = compat_take_raised();
        PyObject *done = PyObject_CallMethodNoArgs(coro, st->str.close);
        if (done == NULL) {
            Py_DECREF(raised);
            return NULL;
        }
        Py_DECREF(done);
        compat_set_raised(raised);
    }
    return task;
}

static PyObject *
ensure_future(struct state *st, PyObject *object, PyObject *loop)
{
    int is_future = ensure_is_future(st, object);
    if (is_future != 0) {
        return is_future < 0 ? NULL : ensure_same_loop(st, object, loop);
    }
    int is_coroutine = task_is_coroutine(st, object);
    if (is_coroutine < 0) {
        return NULL;
    }
    PyObject *own = loop != Py_None ? loop : (PyObject *)loop_running_borrowed(st);
    if (LIKELY(is_coroutine && own != NULL)) {
        Py_INCREF(own);
        PyObject *task = ensure_create_task(st, own, object);
        Py_DECREF(own);
        return task;
    }
    PyObject *args[] = {object, loop};
    return PyObject_Vectorcall(st->ensure_future, args, 1, st->kw_loop);
}

static PyObject *
module_ensure_future(PyObject *module, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"coro_or_future", "loop"};
    static const struct args_signature signature = {"ensure_future", names, 1, 1, 2, false};
    PyObject *given[2];
    if (args_bind(&signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    return ensure_future(state_of_module(module), given[0], given[1] == NULL ? Py_None : given[1]);
}

/* ---- create_task */

/* As the interpreter says of a call with two values for one keyword. */
static COLD void
ensure_raise_second_loop(PyObject *task_class)
{
    PyObject *module = PyObject_GetAttrString(task_class, "__module__");
    PyObject *name = module == NULL ? NULL : PyObject_GetAttrString(task_class, "__qualname__");
    if (name != NULL) {
        PyErr_Format(PyExc_TypeError, "%S.%S() got multiple values for keyword argument 'loop'", module, name);
    }
    else if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Format(PyExc_TypeError, "%S got multiple values for keyword argument 'loop'", task_class);
    }
    Py_XDECREF(module);
    Py_XDECREF(name);
}

static COLD PyObject *
ensure_call_task_class(Loop *loop, PyObject *task_class, PyObject *coro, PyObject *const *values, PyObject *kwnames)
{
    struct state *st = loop->st;
    PyObject *kwargs = PyDict_New(), *args = PyTuple_Pack(1, coro), *task = NULL;
    bool is_ready = kwargs != NULL && args != NULL && PyDict_SetItem(kwargs, st->str.loop, (PyObject *)loop) == 0;
    if (is_ready && !COMPAT_RUNS(3, 13, 3)) {
        is_ready =
            PyDict_SetItem(kwargs, st->str.name, Py_None) == 0 && PyDict_SetItem(kwargs, st->str.context, Py_None) == 0;
    }
    for (Py_ssize_t i = 0; is_ready && kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        bool is_loop = PyUnicode_Compare(PyTuple_GET_ITEM(kwnames, i), st->str.loop) == 0;
        if (is_loop) {
            ensure_raise_second_loop(task_class);
        }
        is_ready = !is_loop && PyDict_SetItem(kwargs, PyTuple_GET_ITEM(kwnames, i), values[i]) == 0;
    }
    if (is_ready) {
        task = PyObject_Call(task_class, args, kwargs);
    }
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    return task;
}

/* The keywords go on as they are: asyncio's function is create_task(coro, **kwargs). */
static PyObject *
ensure_create_task_with_keywords(struct state *st, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"coro"};
    static const struct args_signature signature = {"create_task", names, 1, 1, 1, .takes_names = true};
    PyObject *given[1];
    Py_ssize_t n_keywords = args_n_keywords(kwnames);
    if (args_bind(&signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    PyObject *loop = aiobridge_need_running_loop(st);
    PyObject **stack = loop == NULL ? NULL : PyMem_Malloc((size_t)(1 + n_args + n_keywords) * sizeof *stack),
             *task = NULL;
    if (stack != NULL) {
        stack[0] = loop;
        memcpy(stack + 1, args, (size_t)(n_args + n_keywords) * sizeof *stack);
        task = PyObject_VectorcallMethod(st->str.create_task, stack, (size_t)(1 + n_args), kwnames);
        PyMem_Free(stack);
    }
    else if (loop != NULL) {
        PyErr_NoMemory();
    }
    Py_XDECREF(loop);
    return task;
}

/* Up to 3.12: create_task(coro) or create_task(coro, context=context), then the name. */
static PyObject *
ensure_create_task_then_name(struct state *st, PyObject *coro, PyObject *name, PyObject *context)
{
    PyObject *loop = aiobridge_need_running_loop(st), *args[] = {loop, coro, context};
    PyObject *task = loop == NULL ? NULL
                                  : PyObject_VectorcallMethod(st->str.create_task, args, 2,
                                                              context == Py_None ? NULL : st->kw_context);
    Py_XDECREF(loop);
    if (task == NULL || name == Py_None) {
        return task;
    }
    if (Py_IS_TYPE(task, st->Task_type)) {
        if (task_set_name((Task *)task, name) < 0) {
            Py_CLEAR(task);
        }
        return task;
    }
    PyObject *function_args[] = {task, name}, *done = PyObject_Vectorcall(st->set_task_name, function_args, 2, NULL);
    if (done == NULL) {
        Py_CLEAR(task);
    }
    Py_XDECREF(done);
    return task;
}

static PyObject *
module_create_task(PyObject *module, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"coro", "name", "context"};
    static const struct args_signature signature = {"create_task", names, 1, 1, 3, false};
    struct state *st = state_of_module(module);
    if (st->traits.create_task_takes_any) {
        return ensure_create_task_with_keywords(st, args, n_args, kwnames);
    }
    PyObject *given[3];
    if (args_bind(&signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    PyObject *name = given[1] == NULL ? Py_None : given[1], *context = given[2] == NULL ? Py_None : given[2];
    if (st->set_task_name != NULL) {
        return ensure_create_task_then_name(st, given[0], name, context);
    }
    PyObject *loop = aiobridge_need_running_loop(st), *stack[] = {loop, given[0], name, context};
    PyObject *keywords = context == Py_None ? st->kw_name : st->kw_name_context;
    PyObject *task = loop == NULL ? NULL : PyObject_VectorcallMethod(st->str.create_task, stack, 2, keywords);
    Py_XDECREF(loop);
    return task;
}

static PyMethodDef ensure_functions[] = {
    {"create_task", FUTURE_FASTCALL(module_create_task), METH_FASTCALL | METH_KEYWORDS,
     "Run a coroutine as a task of the running loop; returns the task.\n\n"
     "name, context: the task's.  Raises: RuntimeError (no running loop), TypeError (no coroutine).  Source: "
     "asyncio.create_task."},
    {"ensure_future", FUTURE_FASTCALL(module_ensure_future), METH_FASTCALL | METH_KEYWORDS,
     "ensure_future($module, /, coro_or_future, *, loop=None)\n--\n\n"
     "A future itself, or a task of a coroutine or another awaitable.\n\n"
     "loop: whose task it is; None takes the running or the current one.\n"
     "Raises: TypeError (nothing that can be awaited), ValueError (a future of another loop).  Source: "
     "asyncio.ensure_future."},
    {NULL},
};

/* Which of the signatures create_task has had is this asyncio's? */
static int
ensure_read_create_task(struct state *st)
{
    PyObject *function = NULL, *code = NULL, *flags = NULL;
    int rc = -1;
    if (future_import(&function, "asyncio.tasks", "create_task") == 0) {
        code = PyObject_GetAttrString(function, "__code__");
        flags = code == NULL ? NULL : PyObject_GetAttrString(code, "co_flags");
        st->traits.create_task_takes_any = flags != NULL && (PyLong_AsLong(flags) & CO_VARKEYWORDS) != 0;
        PyErr_Clear(); /* somebody else's function, perhaps in C: that of the version */
        st->traits.create_task_takes_any =
            st->traits.create_task_takes_any || (flags == NULL && COMPAT_FACTORY_KEYWORDS);
        rc = 0;
    }
    Py_XDECREF(function);
    Py_XDECREF(code);
    Py_XDECREF(flags);
    return rc;
}

static int
ensure_register(PyObject *module, struct state *st)
{
    if (ensure_read_create_task(st) < 0 || (st->kw_name = PyTuple_Pack(1, st->str.name)) == NULL
        || (st->kw_name_context = PyTuple_Pack(2, st->str.name, st->str.context)) == NULL
        || (COMPAT_TASK_NAMED_AFTERWARDS && future_import(&st->set_task_name, "asyncio.tasks", "_set_task_name") < 0)) {
        return -1;
    }
    return guard_add_functions(module, ensure_functions);
}
