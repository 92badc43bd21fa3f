/* core/loop_overrides.c -- which of a loop's methods its class or the loop itself has replaced: they are looked up by
 * name then, as asyncio does. */
#include "core/loop.h"

static bool
loop_overrides(Loop *loop, PyObject *name)
{
    return _PyType_Lookup(Py_TYPE(loop), name) != _PyType_Lookup(loop->st->Loop_type, name)
           || (loop->dict != NULL && PyDict_Contains(loop->dict, name) > 0);
}

static COLD void
loop_look_for_overrides(Loop *loop)
{
    struct state *st = loop->st;
    PyObject *raised = compat_take_raised();
    PyObject *const names[] = {st->str.call_soon, st->str.call_later, st->str.call_at, st->str.create_future,
                               st->str.call_soon_threadsafe};
    uint8_t overrides = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        overrides |= loop_overrides(loop, names[i]) ? (uint8_t)(1u << i) : 0;
    }
    loop->has_own_time = loop_overrides(loop, st->str.time);
    loop->has_own_wait = loop_overrides(loop, st->str._wait_until);
    loop->overrides = overrides;
    loop->noticed.type = Py_TYPE(loop);
    /* the lookups have given it one, if there are any left */
    loop->noticed.version = compat_type_version(Py_TYPE(loop));
    loop->noticed.dict = loop->dict;
    loop->noticed.dict_size = loop->dict == NULL ? 0 : PyDict_GET_SIZE(loop->dict);
    PyErr_Clear(); /* a key of the dict that cannot be compared: not ours */
    compat_set_raised(raised);
}

static inline void
loop_notice_overrides(Loop *loop)
{
    PyTypeObject *type = Py_TYPE(loop);
    if (UNLIKELY(loop->noticed.type != type || loop->noticed.version != compat_type_version(type)
                 || loop->noticed.version == 0 || loop->noticed.dict != loop->dict
                 || (loop->dict != NULL && PyDict_GET_SIZE(loop->dict) != loop->noticed.dict_size))) {
        loop_look_for_overrides(loop);
    }
}
