/* core/context.h -- contextvars, without paying for those that are empty.
 *
 * A callback or task runs in a copy of the context it was scheduled in.  Where that context holds no variable the copy
 * is not made: the owner's slot stays NULL, meaning "an empty context, not made yet".  context_enter fills such a slot
 * with the loop's spare empty context; context_leave takes it back when it is still empty and nobody else holds it, so
 * that all the callbacks that use no variables share one.  Nothing of this shows in Python. Ownership: a slot owns its
 * context; its owner must stay alive between enter and leave.  Thread: the loop's. */
#ifndef ASYNCLOOP_CORE_CONTEXT_H
#define ASYNCLOOP_CORE_CONTEXT_H

#include "core/loop.h"

/* A copy of the current context into *slot (NULL when it is empty). 0, or -1 with the exception set. */
static inline int context_copy_current(PyObject **slot) MUST_CHECK;

/* The context of the slot, made now if it was NULL. Borrowed; NULL with the exception set. */
static inline PyObject *context_materialise_borrowed(PyObject **slot);

/* Enter the slot's context, which is never NULL until context_leave. 0, or -1 with the exception set (then nothing is
 * entered). */
static ALWAYS_INLINE int context_enter(Loop *loop, PyObject **slot) MUST_CHECK;

/* Leave it; keeps a raised exception. The slot may be NULL again afterwards. */
static inline void context_leave(Loop *loop, PyObject **slot);

#endif
