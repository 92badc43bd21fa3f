/* net/ops/sock_coro.c -- a SockOp as inspect sees it: the coroutine object that asyncio's sock_recv and its sisters
 * give. */
#include "core/function.h"
#include "net/ops/sock_ops.h"
#include "task/coro/coro.h"

#define SOCK_OP_NATIVE_NAME "BaseSelectorEventLoop.%s" /* asyncio's function */

static enum coro_state
sock_op_coro_state(PyObject *self)
{
    static const enum coro_state states[] = {
        [SOCK_OP_NEW] = CORO_CREATED,
        [SOCK_OP_BEGINNING] = CORO_RUNNING,
        [SOCK_OP_WAITING] = CORO_WAITING,
        [SOCK_OP_DONE] = CORO_DONE,
    };
    return states[((SockOp *)self)->state];
}

static PyObject *
SockOp_get_class(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return Py_NewRef((PyObject *)&PyCoro_Type);
}

static PyObject *
SockOp_get_code(PyObject *self, void *Py_UNUSED(closure))
{
    char name[80];
    PyOS_snprintf(name, sizeof name, SOCK_OP_NATIVE_NAME, sock_op_kinds[((SockOp *)self)->kind].name);
    PyObject *code = function_code_borrowed(((SockOp *)self)->loop->st, name);
    return Py_NewRef(code == NULL ? Py_None : code);
}

static PyObject *
SockOp_get_frame(PyObject *self, void *Py_UNUSED(closure))
{
    char name[80];
    SockOp *op = (SockOp *)self;
    if (op->state == SOCK_OP_DONE) {
        Py_RETURN_NONE;
    }
    PyOS_snprintf(name, sizeof name, SOCK_OP_NATIVE_NAME, sock_op_kinds[op->kind].name);
    return coro_frame_new(op->loop->st, self, name, (PyObject *)op->loop);
}

static PyObject *
SockOp_get_awaited(PyObject *self, void *Py_UNUSED(closure))
{
    SockOp *op = (SockOp *)self;
    return Py_NewRef(op->state != SOCK_OP_WAITING || op->future == NULL ? Py_None : op->future);
}

static PyObject *
SockOp_get_origin(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_NONE;
}

static PyObject *
SockOp_is_running(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(sock_op_coro_state(self) == CORO_RUNNING);
}

static PyObject *
SockOp_is_suspended(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(sock_op_coro_state(self) == CORO_WAITING);
}

#if COMPAT_CORO_STATE
static PyObject *
SockOp_get_state(PyObject *self, void *Py_UNUSED(closure))
{
    return coro_state_text(sock_op_coro_state(self));
}
#endif
