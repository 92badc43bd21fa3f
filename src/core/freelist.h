/* core/freelist.h -- dead objects of an exact type kept for the next one.
 *
 * An object in a free list is untracked, holds no reference (its type's included) and is linked through its ob_type
 * field. Rules: only exact types; never an object whose tp_finalize has run (the collector's mark survives); the caller
 * has cleared every field. dealloc: PyObject_GC_UnTrack, clear the fields, then freelist_free; freelist_push frees the
 * memory itself when the list is full. new:     freelist_pop, or NULL: allocate. A popped object has refcount 1 and its
 * type set, fields are garbage; track it when set up.
 *
 * Without a GIL a thread has the lists of the loop that it runs, and none otherwise.  The link is in the first word
 * then, which nobody reads in an object without references, and the dead keep their types. */
#ifndef ASYNCLOOP_CORE_FREELIST_H
#define ASYNCLOOP_CORE_FREELIST_H

#include "core/section.h"

/* The list of that index for who makes or ends an object now; NULL: there is none. */
static inline struct freelist *
freelist_of(struct state *st, int index)
{
#if COMPAT_FREE_THREADED
    return LIKELY(section_here.st == st) ? &section_here.freelists[index] : NULL;
#else
    return &st->freelists[index];
#endif
}

#if COMPAT_FREE_THREADED
static inline PyObject *
freelist_pop(struct freelist *list, PyTypeObject *Py_UNUSED(type))
{
    PyObject *object = list == NULL ? NULL : list->head;
    if (object == NULL) {
        return NULL;
    }
    memcpy(&list->head, object, sizeof list->head);
    list->n--;
    _Py_NewReference(object);
    return object;
}

/* Takes the dead object. */
static inline void
freelist_push(struct freelist *list, PyObject *object)
{
    if (LIKELY(list != NULL && list->n < FREELIST_MAX)) {
        memcpy(object, &list->head, sizeof list->head);
        list->head = object;
        list->n++;
        return;
    }
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}
#else
static inline PyObject *
freelist_pop(struct freelist *list, PyTypeObject *type)
{
    PyObject *object = list->head;
    if (object == NULL) {
        return NULL;
    }
    list->head = (PyObject *)object->ob_type;
    list->n--;
    return PyObject_Init(object, type);
}

/* Takes the dead object; drops its reference to the type. */
static inline void
freelist_push(struct freelist *list, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (list->n < FREELIST_MAX) {
        object->ob_type = (PyTypeObject *)list->head;
        list->head = object;
        list->n++;
    }
    else {
        PyObject_GC_Del(object);
    }
    Py_DECREF(type);
}
#endif

/* The end of a dealloc of a cleared object: into its list, or to its type's tp_free where list is NULL, or where it
 * came back to life once. */
static inline void
freelist_free(struct freelist *list, PyObject *object)
{
    if (LIKELY(list != NULL && !PyObject_GC_IsFinalized(object))) {
        freelist_push(list, object);
        return;
    }
    PyTypeObject *type = Py_TYPE(object);
    type->tp_free(object);
    Py_DECREF(type);
}

/* Where a dying object goes: its type's list, if it is of the exact type that has this dealloc (a subclass has another
 * one).  NULL when it is not, or when the collector has taken the type down before its objects: then nothing may be
 * asked of the type, not even for its module. */
static inline struct freelist *
freelist_of_dying(PyObject *object, destructor dealloc, int index)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject *module = type->tp_dealloc == dealloc ? ((PyHeapTypeObject *)type)->ht_module : NULL;
    return module == NULL ? NULL : freelist_of(PyModule_GetState(module), index);
}

/* Does this die when our reference to it goes, and is it something that can hold others?  Then the dealloc needs the
 * trashcan: there may be a chain of millions.  A cheap question for types that die often; the others use the trashcan
 * always.  From 3.14 on the interpreter does it for every type. */
static inline bool
dealloc_goes_deeper(const PyObject *held)
{
    return !COMPAT_TRASHCAN_IN_INTERPRETER && held != NULL && UNLIKELY(Py_REFCNT(held) == 1)
           && PyType_IS_GC(Py_TYPE(held));
}

/* Free what is in it and keep nothing from now on. */
static void freelist_clear(struct freelist *list);

#endif
