/* core/loop.h -- the engine: the ready ring, one pass, run_forever.
 *
 * A pass does what asyncio's _run_once does, in its order: poll, turn events into ready entries, turn due timers into
 * ready entries, then run the entries that are in the ring now; what they add waits for the next pass.  While there is
 * work the poll is a glance with the GIL held, and where no descriptor is watched there is none (loop_hear).
 *
 * A ready entry is (fn, self, arg); the ring owns a reference to self and to arg (NULL allowed) and drops them after
 * the call.  fn returns 0; it deals with every exception itself (the exception handler), except SystemExit and
 * KeyboardInterrupt, which it lets out with -1: they leave run_forever. A fn that calls Python code other than a
 * coroutine step of ours begins with loop_leave_task.
 *
 * Threads: everything here belongs to the loop's thread, but the GIL guards the ring: another thread may push, and then
 * calls loop_wake.  Without one the loop's section guards all of it (core/section.h), and what another thread pushes
 * goes to the inbox (core/inbox.h). */
#ifndef ASYNCLOOP_CORE_LOOP_H
#define ASYNCLOOP_CORE_LOOP_H

#include "core/metrics.h"
#include "core/section.h"
#include "plain/gate.h"
#include "plain/poller.h"
#include "plain/timers.h"

struct ready {
    ready_fn run;
    PyObject *self, *arg;
};

/* Growing circular array; capacity is a power of two; the first of n entries is entries[head & (capacity - 1)].  head
 * only grows: it is how many entries were ever taken out. */
struct ring {
    struct ready *entries;
    uint64_t head;
    uint32_t n, capacity;
};

static int ring_grow(struct ring *ring) MUST_CHECK; /* room for more entries */
static void ring_clear(struct ring *ring);          /* drops them; may run any code */

enum watch_side { WATCH_READ, WATCH_WRITE };

#define LOOP_READ_BUFFER (256 * 1024)

struct watch {
    ready_fn on_ready; /* NULL: not watched */
    PyObject *owner;   /* owned; handed to on_ready as self, arg is NULL */
    bool oneshot;
};

/* One per file descriptor number ever watched; see core/watch.h. */
struct fd_slot {
    struct watch sides[2];
    uint32_t mask; /* what the poller was told; 0: unregistered or disarmed */
    uint32_t tag;  /* of the present registration; changes with each new one */
    bool is_registered;
};

/* Methods of the loop's that helpers, tasks and futures would call on asyncio, and that a subclass or somebody else has
 * replaced, on the class or the instance.  Setting one on the instance is noticed at once, all else before each poll
 * and run (loop_notice_overrides). */
enum loop_override {
    LOOP_OWN_CALL_SOON = 1,
    LOOP_OWN_CALL_LATER = 2,
    LOOP_OWN_CALL_AT = 4,
    LOOP_OWN_CREATE_FUTURE = 8,
    LOOP_OWN_CALL_SOON_THREADSAFE = 16,
};

enum loop_state { LOOP_IDLE, LOOP_RUNNING, LOOP_CLOSED };

/* Transports with writes gathered during ready entries: the net layer links them here, and sets flush.  See
 * net/conn/outq.h. They leave together when the pass ends: sent one after the other they cost the kernel less than each
 * between two callbacks, and the peer is woken once instead of for each.  They leave earlier when LOOP_GATHERED_ENTRIES
 * or LOOP_GATHERED_NS have passed since the first, or when a callback took so long that they should not have waited for
 * it; after such a one, writes leave with the entry that made them for a while (hasty). */
struct flush_list {
    struct flush_link *first;
    int (*flush)(struct Loop *loop); /* empties the list; 0, or -1 with SystemExit or KeyboardInterrupt set */
    uint64_t looked_ns; /* when the last entry ended */
    uint64_t began_ns; /* when the first entry ended that wrote something into the empty list */
    uint8_t n_entries; /* entries that ended since then */
    uint8_t hasty; /* entries left that send what they wrote at once, as a slow callback ran before them */
};

#if COMPAT_FREE_THREADED
struct inbox {
    PyMutex mutex;
    bool is_closed;
    struct ring ring;
};
#  define LOOPS_RUNNING(st) section_here.running
#else
#  define LOOPS_RUNNING(st) ((st)->running)
#endif

typedef struct Loop {
    PyObject_HEAD
    struct state *st;
    PyObject *module; /* owned until dealloc: st is in it, and the collector may take the types down first */
    PyObject *dict, *weakrefs;

    struct ring ready;
    struct timers timers;
    struct poller poller;
    struct fd_slot *fds;
    uint32_t n_fds;
    uint32_t next_tag;
    struct flush_list flush;
    char *read_buffer; /* LOOP_READ_BUFFER bytes for whoever reads a descriptor now, or NULL (loop_read_buffer) */
    struct net *net; /* the net layer's own; NULL until it has begun */
    struct metrics metrics;

    enum loop_state state;
    bool stopping;
    bool debug;
    bool stepping; /* inside the step of a task of ours: its being the current task is no leftover */
    bool has_own_time; /* time() is overridden: ask Python (loop_now) */
    bool has_own_wait; /* there is a _wait_until(): the wait is left to Python (core/virtual.h) */
    bool timed; /* entries are run by timed_run_entry (core/timed.h) */
    bool times_callbacks; /* loop.time_callbacks */
    uint8_t overrides; /* enum loop_override: methods that are to be called by name */
    bool poll_soon; /* the poller is to be asked before more is read without it (loop_poll_soon) */
    /* in the poll, or about to be, without the GIL: push from elsewhere must write to the wake-up fd */
    volatile bool asleep;
    uint32_t n_watched; /* descriptors that the poller watches for somebody, our own eventfd not counted */
    /* passes left until the GIL is given up, and signals are looked at, while there is work */
    uint32_t passes_to_yield;
    uint64_t yielded_coarse_ns;
    struct gate handle_done; /* for threads that cancel a handle of call_soon_threadsafe while it runs */
    int wakeup_fd; /* eventfd */
    int signal_fds[2]; /* read, write end of the signal pipe; -1 when not open */
    unsigned long thread_id; /* of the running thread; 0 when not running */
    double slow_callback_duration;
    PyObject *slow_callback_given, *debug_given; /* what the program set, where that is no float, no bool; or NULL */
    PyObject *slow_hook, *entry_hook; /* loop.slow_callback_hook, loop._entry_hook; NULL: none */

    PyObject *spare_context; /* an empty context or NULL (core/context.h) */
    /* the current task as asyncio knows it now; borrowed from asyncio's own slot (core/aiobridge.h) */
    PyObject *published_task;
    struct task_link *tasks; /* first of the unfinished tasks of this loop (task/future/task.h) */
    /* dict or NULL: descriptor -> the object given to add_reader or add_writer, where that was no number */
    PyObject *files;
    PyObject *task_factory; /* or NULL */
    PyObject *saved_hooks[2]; /* asyncgen hooks to put back */
    int saved_origin_depth;
    struct Loop *running_next;
    struct { /* overrides is true of these (not owned: only compared with its own) */
        PyTypeObject *type;
        PyObject *dict;
        Py_ssize_t dict_size;
        unsigned int version; /* of the type; 0: not known */
    } noticed;
    uint64_t running_mark; /* while it is this, the loop is asyncio's running one (core/aiobridge.h) */
    struct Loop *loops_next, **loops_prev_next;
    uint64_t shuffle; /* state of the random order, which is never 0; 0: the order is asyncio's (core/virtual.h) */
#if COMPAT_FREE_THREADED
    struct inbox inbox; /* what other threads have pushed */
    struct freelist freelists[FREELIST_COUNT]; /* of the thread that runs it */
#endif
} Loop;

static inline bool loop_is_own(struct state *st, PyObject *object); /* one of our Loops, subclasses included */

/* Schedule fn(loop, self, arg) for the next pass.  0, or -1 with MemoryError. */
static inline int loop_ready_push(Loop *loop, ready_fn run, PyObject *self, PyObject *arg) MUST_CHECK;

/* The loop's time in seconds: the clock, or what an overridden time() says.  -1 with the exception set (*now
 * untouched). */
static inline int loop_now(Loop *loop, double *now) MUST_CHECK;

/* Schedule t, embedded in owner (whose kind it carries), at when.  The heap holds a reference to owner until it is due
 * or removed. */
static int loop_timer_push(Loop *loop, struct timer *t, PyObject *owner, double when) MUST_CHECK;
/* t must be scheduled; drops the heap's reference last */
static void loop_timer_remove(Loop *loop, struct timer *t, PyObject *owner);

/* Note which methods are overridden now, time() among them. */
static inline void loop_notice_overrides(Loop *loop);
static void loop_look_for_overrides(Loop *loop);

/* Before Python code that is not a step of an own task.  Does nothing when such a step is what called us. */
static inline void loop_leave_task(Loop *loop);
/* The same where the loop is not at hand: the own loop that runs in this thread, if there is one.  For deallocs, whose
 * finalizers are Python code too. */
static inline void loop_leave_task_here(struct state *st);
/* Can that do anything?  A cheap question: no when the only own loop that runs, in any thread, is in the middle of a
 * step, or has left its task already. */
static inline bool loop_has_leftover(struct state *st);
/* Py_DECREF between two steps: what dies may run finalizers, unless it is of a type of ours, whose dealloc takes care
 * of it (future_may_run_code). */
static inline void loop_let_go(Loop *loop, PyObject *object);

static inline int loop_check_closed(Loop *loop) MUST_CHECK; /* RuntimeError('Event loop is closed') */
/* debug mode: 'Non-thread-safe operation invoked ...' */
static int loop_check_thread(Loop *loop) MUST_CHECK;
static int loop_set_origin_tracking(Loop *loop, bool enabled) MUST_CHECK; /* of coroutines, in debug mode */
static int loop_run_forever(Loop *loop) MUST_CHECK;
static int loop_check_running(Loop *loop) MUST_CHECK; /* RuntimeError when it, or another loop of this thread, runs */
static int loop_init(Loop *loop, struct state *st) MUST_CHECK;
static void loop_fini(Loop *loop); /* at dealloc; may run any code */
/* Who reads on without asking the poller (net/udp/udp.c) is to stop: after a new watch; after sending, shutting down or
 * closing, as the other end may be on this very loop and would be heard at once on asyncio. */
static inline void loop_poll_soon(Loop *loop);
static inline void loop_wake(Loop *loop); /* end the wait of a sleeping loop, from any thread */
/* After a push by call_soon_threadsafe: threads that push faster than the loop can run are held up a little.  May give
 * up the GIL. */
static inline void loop_hold_back_pusher(Loop *loop);
static int loop_close(Loop *loop) MUST_CHECK;

/* Room for one read, whose bytes are handed on before anything else is read: only ready entries of this loop use it,
 * and they do not nest. NULL with MemoryError. */
static char *loop_read_buffer(Loop *loop);
static void loop_free_read_buffer(char *buffer);
/* Whoever runs other code before it is done with the buffer takes it out (read_buffer is NULL then: another reader
 * makes one), and brings it back. */
static void loop_return_read_buffer(Loop *loop, char *buffer);

/* Ask the poller, wait so long at most (seconds; 0: no wait, POLLER_FOREVER), and look at signals.  Events become ready
 * entries: not to be called twice before these were run, as the poller would tell of the same events again. */
static int loop_poll_for(Loop *loop, double timeout_s) MUST_CHECK;
/* Passes that are still to come until the next poll; those that came are counted (metrics_n_passes). */
static inline void loop_set_passes_to_yield(Loop *loop, uint32_t n);

/* Does another thread than this one run it? */
static inline bool
loop_runs_elsewhere(const Loop *loop)
{
    unsigned long thread_id = COMPAT_LOAD(&loop->thread_id);
    return thread_id != 0 && thread_id != PyThread_get_thread_ident();
}

/* Report to loop.call_exception_handler: takes the raised exception (there must be one) unless it is SystemExit or
 * KeyboardInterrupt, which stay raised and make it return -1.  message is a C string; extra is key, value, …, NULL
 * (borrowed). 0 otherwise, nothing raised. */
static int loop_report(Loop *loop, const char *message, ...) MUST_CHECK;
/* The same with a context that was made already. */
static int loop_call_exception_handler(Loop *loop, PyObject *context, PyObject *exception) MUST_CHECK;

/* The same for any loop, ours or not, called from where nothing may be raised (finalizers): context is a dict. Keeps a
 * raised exception. */
static void loop_report_unraised(PyObject *loop, PyObject *context);

/* The own loop that asyncio says is running in this thread, where nobody has bound the names anew by which asyncio's
 * code asks; else NULL, and aiobridge_running_loop or one of its sisters is to be asked. Borrowed; never raises. */
static inline Loop *loop_running_borrowed(struct state *st);

#endif
