/* core/section.h -- who may touch what where there is no GIL.  With a GIL all of this is empty.
 *
 * All of the C code is written for the GIL: whatever calls Python may find everything changed afterwards, and nothing
 * changes in between. Without the GIL the same holds for each loop by itself:
 *
 * - Every object of ours has an owner: its loop, of ours or not, or itself while it knows none (struct section_home
 * says where to look).  The critical section of the owner guards the object.
 * - The thread that runs a loop is inside the loop's section from the start of the run to its end (section_run_begin).
 *   Python gives all sections of a thread up whenever the thread detaches (a blocking call, the poll, a collection),
 *   and takes the topmost one again afterwards: as with the GIL, but per loop, and no two loops can lock each other out
 *   for good.
 * - Only the topmost section of a thread is certain to be held: those below it come back when they are on top again.
 *   So code of ours begins with the owner's section on top (section_begin; core/guard.h does it for each method,
 * attribute and slot of our types).  It costs a comparison where it is there already, as in the loop's own thread.
 * - A thread that runs a loop and enters another owner's section holds both, as its own loop's objects are what it
 * makes and wakes.  So inside of a guarded function two things are held: the owner, and the loop that runs in this
 * thread.
 * - Another thread that waits for a section is let in between two entries of a busy loop (section_is_wanted).
 * - What needs no section: handing an entry to a loop (loop_ready_push puts it into the loop's inbox where the section
 *   is not on top), free lists (each thread uses those of the loop that it runs), flags that are only read.
 * - The lists of loops, and of tasks of other people's loops, have a mutex in the state; nothing is called and no
 *   reference is dropped while it, or an inbox's, is held.
 *
 * A dying object has no references and nobody to guard it from, so a dealloc takes a section only for what points at
 * the object without owning it (a loop's list of tasks). */
#ifndef ASYNCLOOP_CORE_SECTION_H
#define ASYNCLOOP_CORE_SECTION_H

#include "core/state.h"

#if COMPAT_FREE_THREADED

/* What this thread is doing: the loop that it runs, innermost. */
struct section_thread {
    struct state *st;
    PyObject *loop; /* NULL: it runs none of ours */
    struct freelist *freelists; /* of that loop */
    struct Loop *running; /* the list of those that it runs, linked by running_next */
};
static _Thread_local struct section_thread section_here;

enum section_kind { SECTION_NOTHING, SECTION_ONE, SECTION_BOTH, SECTION_LENT_ONE, SECTION_LENT_BOTH };

/* One entry of a section. */
struct section {
    PyCriticalSection2 section;
    uintptr_t lender; /* a section further out in this thread, tagged: its mutex is ours until we end */
    PyMutex *mutex; /* the owner's */
    PyObject *held; /* owned meanwhile: the owner, or NULL where it is the object that is called anyway */
    uint8_t kind; /* enum section_kind */
};

struct section_run {
    PyCriticalSection section;
    struct section_thread before;
};

/* Is the owner's section on top? */
static inline bool section_holds(PyObject *owner);
/* Enter the section of the owner, or that of the loop that this thread runs where owner is NULL. self: who calls holds
 * this one, or it is dying. May run any code: the thread may wait. */
static inline void section_begin(struct section *s, PyObject *owner, const PyObject *self);
static inline void section_end(struct section *s);
/* Enter the section of self's owner.  Who had to wait looks again: another thread may have given the object a loop. */
static inline void section_begin_at_home(struct section *s, PyObject *self, struct section_home home);
/* Does another thread wait for the section of this object, which we hold? */
static inline bool section_is_wanted(PyObject *owner);
static void section_yield(void); /* let them in */

static void section_run_begin(struct section_run *run, PyObject *loop, struct state *st, struct freelist *freelists);
static void section_run_end(struct section_run *run);
/* In a forked child: nobody else is in the section of this object. */
static void section_after_fork(PyObject *owner);

static PyObject *section_owner_borrowed(PyObject *self, struct section_home home);

#  define SECTION_ENTER(owner) SECTION_ENTER_FOR(owner, NULL)
#  define SECTION_ENTER_FOR(owner, self)                                                                               \
      __attribute__((cleanup(section_end))) struct section section_here_;                                            \
      section_begin(&section_here_, (PyObject *)(owner), (PyObject *)(self))
#  define SECTION_ENTER_HOME(self, home)                                                                               \
      __attribute__((cleanup(section_end))) struct section section_here_;                                              \
      section_begin_at_home(&section_here_, self, home)
#  define SECTION_RUN(loop, st, freelists)                                                                                 \
      __attribute__((cleanup(section_run_end))) struct section_run section_run_here_;                                                \
      section_run_begin(&section_run_here_, (PyObject *)(loop), st, freelists)
#  define SECTION_HOLDS(owner) section_holds((PyObject *)(owner))
/* Another thread may find it in a list that does not own it, while it dies. */
#  define SECTION_LISTED(object) PyUnstable_EnableTryIncRef((PyObject *)(object))
#  define SECTION_REVIVES(object) PyUnstable_TryIncRef((PyObject *)(object))
#  define SECTION_TAKE(mutex) PyMutex_Lock(mutex)
#  define SECTION_GIVE(mutex) PyMutex_Unlock(mutex)
#else
#  define SECTION_ENTER(owner) ((void)0)
#  define SECTION_ENTER_FOR(owner, self) ((void)0)
#  define SECTION_ENTER_HOME(self, home) ((void)0)
#  define SECTION_RUN(loop, st, freelists) ((void)0)
#  define SECTION_HOLDS(owner) true
#  define SECTION_LISTED(object) ((void)0)
#  define SECTION_TAKE(mutex) ((void)0)
#  define SECTION_GIVE(mutex) ((void)0)
#endif

/* What belongs to a loop is touched under its section: an invariant. */
#define SECTION_CHECK(owner) INVARIANT(SECTION_HOLDS(owner))

static int section_register(void) MUST_CHECK; /* ImportError where Python's sections are not what we know */

#endif
