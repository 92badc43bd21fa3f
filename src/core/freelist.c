/* core/freelist.c -- giving back the memory of a free list, when the module ends. */
#include "core/freelist.h"

static void
freelist_clear(struct freelist *list)
{
    while (list->head != NULL) {
        PyObject *object = list->head;
#if COMPAT_FREE_THREADED
        PyTypeObject *type = Py_TYPE(object);
        memcpy(&list->head, object, sizeof list->head);
        PyObject_GC_Del(object);
        Py_DECREF(type);
#else
        list->head = (PyObject *)object->ob_type;
        /* the collector asks the type what lies before the object: its own head only, as with ours */
        object->ob_type = &PyTuple_Type;
        PyObject_GC_Del(object);
#endif
    }
    list->n = FREELIST_MAX; /* closed: objects that outlive the module's state are freed as they die */
}
