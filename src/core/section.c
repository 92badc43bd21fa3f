/* core/section.c -- entering and leaving the sections of section.h.
 *
 * CPython's own functions do the work.  One thing they cannot do: enter a section anew that this thread is in further
 * out, under another one (a native task's, say, that steps a coroutine of ours).  They would wait for it, which is
 * right but slow: the waiting gives it up.  Here the mutex is taken over from the section further out, and given back
 * at the end; should all sections have been given up meanwhile, the one further out takes it again when it is on top,
 * as ever. For this the layout of a section is known here, and checked at import. */
#include "core/section.h"

#if COMPAT_FREE_THREADED

#  include <sched.h>

/* What the two lowest bits of a pointer to a section say. */
enum { SECTION_IS_INACTIVE = 1, SECTION_IS_TWO = 2, SECTION_MASK = 3 };
/* Bits of a mutex. */
enum { SECTION_IS_LOCKED = 1, SECTION_IS_AWAITED = 2 };

static inline PyCriticalSection *
section_untag(uintptr_t tagged)
{
    return (PyCriticalSection *)(tagged & ~(uintptr_t)SECTION_MASK);
}

static inline bool
section_has(uintptr_t tagged, const PyMutex *mutex)
{
    const PyCriticalSection *section = section_untag(tagged);
    return section->_cs_mutex == mutex
           || (UNLIKELY(tagged & SECTION_IS_TWO) && ((const PyCriticalSection2 *)section)->_cs_mutex2 == mutex);
}

static inline bool
section_tops(const PyThreadState *tstate, const PyObject *owner)
{
    return LIKELY(tstate->critical_section != 0) && section_has(tstate->critical_section, &owner->ob_mutex);
}

static inline bool
section_holds(PyObject *owner)
{
    return section_tops(PyThreadState_GetUnchecked(), owner);
}

/* The section of this thread that holds the mutex, with its tag; 0: none, or it was given up. */
static uintptr_t
section_find(const PyThreadState *tstate, const PyMutex *mutex)
{
    for (uintptr_t tagged = tstate->critical_section; tagged != 0 && !(tagged & SECTION_IS_INACTIVE);
         tagged = section_untag(tagged)->_cs_prev) {
        if (section_has(tagged, mutex)) {
            return tagged;
        }
    }
    return 0;
}

/* Take the mutex away from a section. One of two keeps the other one as its first. */
static void
section_lend(uintptr_t lender, PyMutex *mutex)
{
    PyCriticalSection *section = section_untag(lender);
    PyMutex *rest = NULL;
    if (lender & SECTION_IS_TWO) {
        PyCriticalSection2 *two = (PyCriticalSection2 *)section;
        rest = section->_cs_mutex == mutex ? two->_cs_mutex2 : section->_cs_mutex;
        two->_cs_mutex2 = NULL;
    }
    section->_cs_mutex = rest;
}

static void
section_give_back(uintptr_t lender, PyMutex *mutex)
{
    PyCriticalSection *section = section_untag(lender);
    PyMutex *rest = section->_cs_mutex;
    if (rest != NULL) { /* of two: the lower address comes first */
        ((PyCriticalSection2 *)section)->_cs_mutex2 = rest < mutex ? mutex : rest;
    }
    section->_cs_mutex = rest != NULL && rest < mutex ? rest : mutex;
}

static bool
section_is_active(uintptr_t tagged, const PyCriticalSection *section)
{
    while (tagged != 0 && !(tagged & SECTION_IS_INACTIVE)) {
        if (section_untag(tagged) == section) {
            return true;
        }
        tagged = section_untag(tagged)->_cs_prev;
    }
    return false;
}

static bool
section_try(PyMutex *mutex)
{
    uint8_t unlocked = 0;
    return __atomic_compare_exchange_n(&mutex->_bits, &unlocked, SECTION_IS_LOCKED, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

static COLD void
section_begin_one(struct section *s, PyThreadState *tstate, PyMutex *mutex)
{
    PyCriticalSection *section = &s->section._cs_base;
    s->lender = section_find(tstate, mutex);
    if (s->lender == 0) {
        s->kind = SECTION_ONE;
        PyCriticalSection_BeginMutex(section, mutex);
        return;
    }
    s->kind = SECTION_LENT_ONE;
    section_lend(s->lender, mutex);
    section->_cs_mutex = mutex;
    section->_cs_prev = tstate->critical_section;
    tstate->critical_section = (uintptr_t)section;
}

/* The owner's, and that of the loop which this thread runs. */
static COLD void
section_begin_both(struct section *s, PyThreadState *tstate, PyMutex *mutex, PyMutex *own)
{
    s->lender = section_find(tstate, own);
    if (s->lender == 0 || !section_try(mutex)) {
        s->kind = SECTION_BOTH;
        PyCriticalSection2_BeginMutex(&s->section, mutex, own);
        return;
    }
    s->kind = SECTION_LENT_BOTH;
    section_lend(s->lender, own);
    s->section._cs_base._cs_mutex = mutex < own ? mutex : own;
    s->section._cs_mutex2 = mutex < own ? own : mutex;
    s->section._cs_base._cs_prev = tstate->critical_section;
    tstate->critical_section = (uintptr_t)&s->section | SECTION_IS_TWO;
}

static COLD void
section_begin_slowly(struct section *s, PyThreadState *tstate, PyObject *owner, const PyObject *self)
{
    PyObject *own = section_here.loop;
    s->mutex = &owner->ob_mutex;
    s->held = owner == self ? NULL : Py_NewRef(owner);
    if (own == NULL || own == owner) {
        section_begin_one(s, tstate, &owner->ob_mutex);
    }
    else {
        section_begin_both(s, tstate, &owner->ob_mutex, &own->ob_mutex);
    }
}

static inline void
section_begin(struct section *s, PyObject *owner, const PyObject *self)
{
    PyThreadState *tstate = PyThreadState_GetUnchecked();
    s->kind = SECTION_NOTHING;
    if (owner == NULL && (owner = section_here.loop) == NULL) {
        return;
    }
    if (UNLIKELY(!section_tops(tstate, owner))) {
        section_begin_slowly(s, tstate, owner, self);
    }
}

/* The lender goes on with its mutex, or takes it again when it is on top. */
static COLD void
section_end_lent(struct section *s)
{
    PyThreadState *tstate = PyThreadState_GetUnchecked();
    PyCriticalSection *section = &s->section._cs_base;
    bool is_both = s->kind == SECTION_LENT_BOTH;
    PyMutex *lent = section->_cs_mutex;
    if (is_both && lent == s->mutex) {
        lent = s->section._cs_mutex2;
    }
    INVARIANT(section_untag(tstate->critical_section) == section);
    section_give_back(s->lender, lent);
    if (!section_is_active(section->_cs_prev, section_untag(s->lender))) {
        if (is_both) {
            PyCriticalSection2_End(&s->section);
        }
        else {
            PyCriticalSection_End(section);
        }
        return;
    }
    tstate->critical_section = section->_cs_prev;
    if (is_both) {
        PyMutex_Unlock(s->mutex);
    }
}

static COLD void
section_end_slowly(struct section *s)
{
    switch ((enum section_kind)s->kind) {
    case SECTION_NOTHING:
        return;
    case SECTION_ONE:
        PyCriticalSection_End(&s->section._cs_base);
        break;
    case SECTION_BOTH:
        PyCriticalSection2_End(&s->section);
        break;
    case SECTION_LENT_ONE:
    case SECTION_LENT_BOTH:
        section_end_lent(s);
        break;
    }
    /* what dies now runs code that must not see the error that is on its way */
    if (s->held != NULL) {
        PyObject *raised = compat_take_raised();
        Py_DECREF(s->held);
        compat_set_raised(raised);
    }
}

static inline void
section_end(struct section *s)
{
    if (UNLIKELY(s->kind != SECTION_NOTHING)) {
        section_end_slowly(s);
    }
}

/* Another thread may set it meanwhile. */
static inline PyObject *
section_field(PyObject *self, Py_ssize_t offset)
{
    return __atomic_load_n((PyObject **)((char *)self + offset), __ATOMIC_ACQUIRE);
}

static inline PyObject *
section_owner_borrowed(PyObject *self, struct section_home home)
{
    if (home.first < 0) {
        return home.first == SECTION_HOME_SELF ? self : NULL;
    }
    PyObject *owner = section_field(self, home.first);
    if (owner == NULL && home.otherwise >= 0) {
        owner = section_field(self, home.otherwise);
        return owner == NULL ? self : owner;
    }
    if (owner == NULL || home.second < 0) {
        return owner == NULL ? self : owner;
    }
    PyObject *loop = section_field(owner, home.second);
    return loop == NULL ? owner : loop;
}

static inline void
section_begin_at_home(struct section *s, PyObject *self, struct section_home home)
{
    PyObject *owner = section_owner_borrowed(self, home), *now;
    section_begin(s, owner, self);
    while (UNLIKELY(s->kind != SECTION_NOTHING) && (now = section_owner_borrowed(self, home)) != owner) {
        section_end(s);
        owner = now;
        section_begin(s, owner, self);
    }
}

static inline bool
section_is_wanted(PyObject *owner)
{
    return (__atomic_load_n(&owner->ob_mutex._bits, __ATOMIC_RELAXED) & SECTION_IS_AWAITED) != 0;
}

static COLD void
section_yield(void)
{
    Py_BEGIN_ALLOW_THREADS
    sched_yield();
    Py_END_ALLOW_THREADS
}

/* ---- a run */

static void
section_run_begin(struct section_run *run, PyObject *loop, struct state *st, struct freelist *freelists)
{
    PyCriticalSection_Begin(&run->section, loop);
    run->before = section_here;
    section_here.st = st;
    section_here.loop = loop;
    section_here.freelists = freelists;
}

static void
section_run_end(struct section_run *run)
{
    section_here = run->before;
    PyCriticalSection_End(&run->section);
}

static void
section_after_fork(PyObject *owner)
{
    if (section_find(PyThreadState_GetUnchecked(), &owner->ob_mutex) == 0) {
        owner->ob_mutex = (PyMutex){0};
    }
}

/* Do sections look as this file takes them to look, and are they given up by who detaches? */
static int
section_register(void)
{
    PyThreadState *tstate = PyThreadState_GetUnchecked();
    PyObject *object = PyDict_New();
    PyCriticalSection section;
    if (object == NULL) {
        return -1;
    }
    uintptr_t before = tstate->critical_section, given_up;
    PyCriticalSection_Begin(&section, object);
    bool is_known = tstate->critical_section == (uintptr_t)&section && section._cs_mutex == &object->ob_mutex
                    && (section._cs_prev & ~(uintptr_t)SECTION_MASK) == (before & ~(uintptr_t)SECTION_MASK)
                    && object->ob_mutex._bits == SECTION_IS_LOCKED;
    Py_BEGIN_ALLOW_THREADS
    given_up = tstate->critical_section;
    is_known = is_known && object->ob_mutex._bits == 0;
    Py_END_ALLOW_THREADS
    is_known = is_known && given_up == ((uintptr_t)&section | SECTION_IS_INACTIVE);
    PyCriticalSection_End(&section);
    Py_DECREF(object);
    if (!is_known) {
        PyErr_SetString(PyExc_ImportError, "the critical sections of this CPython are not those asyncloop knows");
        return -1;
    }
    return 0;
}

#else

static int
section_register(void)
{
    return 0;
}

#endif
