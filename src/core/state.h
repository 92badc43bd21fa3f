/* core/state.h -- everything the module owns in one interpreter: its types, names, what it took from asyncio, free lists.
 *
 * Reached through the object at hand: a Loop carries it (loop->st); from any other object of ours state_of(self).  There is no writable static.
 * Ownership: the module object owns the state; the state owns every reference in it.  Thread: under the GIL of its interpreter. */
#ifndef ASYNCLOOP_CORE_STATE_H
#define ASYNCLOOP_CORE_STATE_H

#include "base/api.h"
#include "base/compat.h"

/* Interned names: st->str.NAME. Append where you need one (sorted by layer). */
#define STATE_STRINGS(X)                                                                                                     \
    /* core */ X(__class__) X(__new__) X(_asyncgen_finalizer_hook) X(_asyncgen_firstiter_hook) X(_handle_signal)             \
    X(add_done_callback) X(call_exception_handler) X(call_soon) X(call_later) X(cancel) X(close) X(context) X(debug)         \
    X(exception) X(fileno) X(get_debug) X(handle) X(message) X(source_traceback) X(time) X(_get_running_loop)                \
    X(get_running_loop) X(_set_running_loop) X(get_event_loop) X(_get_event_loop) X(_stands_for)                                            \
    /* task */ X(_asyncio_future_blocking) X(_cancel_message) X(_loop) X(_make_cancelled_error) X(cancelled)                 \
    X(create_future) X(done) X(eager_start) X(future) X(get_loop) X(is_running) X(loop) X(msg) X(name)                       \
    X(FIRST_COMPLETED) X(FIRST_EXCEPTION) X(ALL_COMPLETED) X(_abort) X(_on_task_done) X(_is_base_error) X(call_at)           \
    X(cancelling) X(cr_await) X(uncancel) X(remove_done_callback) X(reschedule) X(result) X(set_name) X(set_result) X(task) X(throw)       \
    X(_log_destroy_pending) X(create_task) X(current_task) X(delay) X(return_exceptions) X(_adjust_thread_count)             \
    X(_broken) X(_default_executor) X(_executor_shutdown_called) X(_shutdown) X(_shutdown_lock) X(_work_queue)               \
    X(acquire) X(call_soon_threadsafe) X(data) X(elsewhere) X(put) X(release) X(run_in_executor) X(set_exception)            \
    X(set_running_or_notify_cancel) X(submit)                                                                                \
    /* sync */ X(_format) X(_get) X(_init) X(_put) X(_queue) X(_wake_up_next) X(_wakeup_next) X(append) X(clear)             \
    X(empty) X(full) X(get_nowait) X(locked) X(notify) X(notify_all) X(pop) X(popleft) X(put_nowait) X(qsize) X(remove)      \
    X(set) X(wait)                                                                                                           \
    /* net */ X(buffer_updated) X(connection_lost) X(connection_made) X(data_received) X(datagram_received)                  \
    X(eof_received) X(error_received) X(get_buffer) X(pause_writing) X(peername) X(resume_writing) X(setblocking)            \
    X(socket) X(sockname) X(transport) X(do_handshake) X(pending) X(read) X(write) X(_drain_helper) X(_get_close_waiter)     \
    X(_read_ready) X(_sendto_ready)                                                                                                           \
    X(_maybe_resume_transport) X(_replace_transport) X(_source_traceback) X(_wait_for_data) X(_wakeup_waiter) X(abort)       \
    X(can_write_eof) X(eof) X(extend) X(feed_data) X(feed_eof) X(get_extra_info) X(is_closed) X(is_closing)                  \
    X(pause_reading) X(paused) X(readexactly) X(readline) X(readuntil) X(resume_reading) X(set_transport) X(sslcontext)      \
    X(write_eof) X(writelines) X(_waitpid_lock) X(pid) X(returncode)

/* Objects taken from the standard library at import: st->NAME (module, attribute). */
#define STATE_IMPORTS(X)                                                                                                     \
    X(asyncio, "asyncio", NULL)                                                                                              \
    X(asyncio_Future, "_asyncio", "Future")                                                                                  \
    X(asyncio_Task, "_asyncio", "Task")                                                                                      \
    X(asyncio_Handle, "asyncio.events", "Handle")                                                                            \
    X(asyncio_TimerHandle, "asyncio.events", "TimerHandle")                                                                  \
    X(CancelledError, "asyncio.exceptions", "CancelledError")                                                                \
    X(InvalidStateError, "asyncio.exceptions", "InvalidStateError")                                                          \
    X(events, "asyncio.events", NULL) X(tasks, "asyncio.tasks", NULL)                                                        \
    X(native_running_loop, "_asyncio", "_get_running_loop")                                                                  \
    X(native_need_running_loop, "_asyncio", "get_running_loop")                                                              \
    X(native_set_running_loop, "_asyncio", "_set_running_loop")                                                              \
    X(native_event_loop, "_asyncio", COMPAT_EVENT_LOOP_UNDERSCORED ? "_get_event_loop" : "get_event_loop")                   \
    X(run_until_complete_cb, "asyncio.base_events", "_run_until_complete_cb")                                                \
    X(isfuture, "asyncio.futures", "isfuture")                                                                               \
    X(iscoroutine, "asyncio.coroutines", "iscoroutine")                                                                      \
    X(ensure_future, "asyncio.tasks", "ensure_future")                                                                       \
    X(ExceptionGroup, "builtins", "ExceptionGroup")                                                                          \
    X(extract_stack, "asyncio.format_helpers", "extract_stack")                                                              \
    X(traceback_extract_stack, "traceback", "extract_stack")                                                                 \
    X(format_callback_source, "asyncio.format_helpers", "_format_callback_source")                                           \
    X(logger, "asyncio.log", "logger")                                                                                       \
    X(get_asyncgen_hooks, "sys", "get_asyncgen_hooks")                                                                       \
    X(set_asyncgen_hooks, "sys", "set_asyncgen_hooks")                                                                       \
    X(get_origin_tracking, "sys", "get_coroutine_origin_tracking_depth")                                                     \
    X(set_origin_tracking, "sys", "set_coroutine_origin_tracking_depth")                                                     \
    X(socket_type, "_socket", "socket")                                                                                      \
    X(socket_class, "socket", "socket")                                                                                      \
    X(AF_INET_member, "socket", "AF_INET") X(AF_INET6_member, "socket", "AF_INET6") X(SOCK_STREAM_member, "socket", "SOCK_STREAM") \
    X(SOCK_DGRAM_member, "socket", "SOCK_DGRAM") X(SOCK_RAW_member, "socket", "SOCK_RAW") \
    X(IncompleteReadError, "asyncio.exceptions", "IncompleteReadError")                                                      \
    X(LimitOverrunError, "asyncio.exceptions", "LimitOverrunError")

/* Other owned objects, made by the layer that is named: st->NAME. */
#define STATE_OBJECTS(X)                                                                                                     \
    /* core */ X(native_codes) X(copyreg_newobj) X(abc_init) X(abc_instancecheck) X(abc_subclasscheck) X(current_tasks) X(swap_current_task)                   \
    X(empty_tuple) X(kw_context) X(kw_debug) X(asyncio_ThreadSafeHandle) X(events_watch)                                     \
    /* task */ X(future_repr) X(task_repr) X(task_get_stack) X(task_print_stack) X(eager_task_factory)     \
    X(set_result_unless_cancelled) X(add_to_awaited_by) X(discard_from_awaited_by) X(kw_loop) X(kw_msg)                      \
    X(native_done) X(wraps_stop_iteration) X(chain_future) X(concurrent_CancelledError)              \
    X(concurrent_Future) X(concurrent_InvalidStateError) X(concurrent_TimeoutError) X(convert_future_exc) X(kw_name)         \
    X(kw_name_context) X(native_all_tasks) X(native_current_task) X(native_shield) X(pool_class) X(pool_lock) X(pool_module)                  \
    X(pool_submit) X(run_coroutine_threadsafe) X(set_task_name)                                                              \
    /* sync */ X(deque_type) X(deque_append) X(deque_popleft) X(deque_remove) X(barrier_states) X(heappush) X(heappop)       \
    X(QueueEmpty) X(QueueFull) X(QueueShutDown) X(BrokenBarrierError)                                                        \
    /* net */ X(TransportSocket) X(BufferedProtocol) X(asyncio_stream_transport) X(asyncio_read_pipe) X(asyncio_write_pipe)                           \
    X(datagram_transport_class) X(sendfile_mode) X(socket_is_known) X(fdtable) X(sendfile_fallback)                          \
    X(SSLObject) X(native_ssl_socket) X(MemoryBIO) X(SSLError) X(SSLCertVerificationError) X(SSLWantReadError)               \
    X(SSLSyscallError) X(SSLZeroReturnError) X(create_tls_context) X(asyncio_tls_transport) X(stream_limit)                  \
    X(stream_newline) X(stream_keeps_writer) X(stream_reader_follows_tls)

/* Heap types: st->NAME##_type. */
#define STATE_TYPES(X)                                                                                                       \
    /* core */ X(Twin) X(Function) X(Loop) X(Handle) X(TimerHandle)                                                                      \
    /* task */ X(CoroIter) X(Timeout) X(Waiter) X(ShieldFuture) X(AsCompleted) X(TaskGroup) X(Future) X(FutureIter)          \
    X(Task) X(Coro) X(CoroFrame) X(SleepFuture) X(GatherFuture) X(Chain) X(WorkItem)                                      \
    /* sync */ X(Lock) X(Event) X(Condition) X(Semaphore) X(BoundedSemaphore) X(Barrier) X(Queue) X(PriorityQueue)           \
    X(LifoQueue)                                                                                                             \
    /* net */ X(Transport) X(ReadPipeTransport) X(WritePipeTransport) X(DatagramTransport) X(Listener) X(ProcessWatch) X(SockOp)             \
    X(Server) X(TLSProtocol) X(TLSTransport) X(StreamReader) X(StreamReaderProtocol) X(StreamWriter)

/* Free lists, linked through a field of the dead object (see freelist.h).  One per size class. */
enum {
    FREELIST_HANDLE_0, FREELIST_HANDLE_1, FREELIST_HANDLE_2, FREELIST_HANDLE_3, /* Handles with 0..3 slots */
    FREELIST_TIMER_0, FREELIST_TIMER_1, FREELIST_TIMER_2, FREELIST_TIMER_3,
    FREELIST_FUTURE, FREELIST_TASK, FREELIST_SLEEP_FUTURE, FREELIST_SOCK_OP,
    FREELIST_CORO,
    FREELIST_TIMEOUT, FREELIST_SHIELD,
    FREELIST_COUNT
};
#define FREELIST_MAX 256

/* Kinds of protocol that take bytes without a Python call (net/protocol.h). */
#define STATE_SINKS_MAX 4
struct sink;

/* Kinds of timer owner: what a due timer becomes (see core/loop.h). */
enum timer_kind {
    TIMER_KIND_HANDLE, TIMER_KIND_SLEEP, TIMER_KIND_LISTENER, TIMER_KIND_TLS, TIMER_KIND_TIMEOUT, TIMER_KIND_WAITER, TIMER_KIND_AS_COMPLETED,
    TIMER_KIND_COUNT
};

struct Loop;
typedef int (*ready_fn)(struct Loop *loop, PyObject *self, PyObject *arg);

/* One of our classes and the class of asyncio's whose place it takes (core/twin.h). */
enum { STATE_TWINS = 32 };
enum twin_family { TWIN_CLOSED /* as immutable as asyncio's */, TWIN_TIMEOUT, TWIN_GROUP, TWIN_SYNC, TWIN_STREAMS, TWIN_FAMILIES };
struct twin {
    PyTypeObject *type, *native;
    const char *const *copied; /* the attributes that copy and pickle see (core/twin_copy.h), or NULL */
    uint8_t family;
};

struct freelist {
    PyObject *head;
    uint32_t n;
};

struct state {
#define DECLARE(name) PyObject *name;
    struct { STATE_STRINGS(DECLARE) } str;
    STATE_OBJECTS(DECLARE)
#undef DECLARE
#define DECLARE(name, module, attribute) PyObject *name;
    STATE_IMPORTS(DECLARE)
#undef DECLARE
#define DECLARE(name) PyTypeObject *name##_type;
    STATE_TYPES(DECLARE)
#undef DECLARE
    PyObject *openssl; /* a capsule, None, or NULL (net/openssl.h); there until the state is freed: loops have buffers to give back to libcrypto */
    struct freelist freelists[FREELIST_COUNT];
    struct twin twins[STATE_TWINS];
    uint32_t n_twins;
    bool twins_show_native; /* the twins and Functions say asyncio's __module__ (core/twin.h) */
    bool twins_touched[TWIN_FAMILIES]; /* somebody has set an attribute of a class of that family: its methods may be others */
    struct {
        ready_fn on_due;   /* run as a ready entry (owner, NULL) */
        size_t offset;     /* of the struct timer in the owner */
    } timer_kinds[TIMER_KIND_COUNT];
    struct {
        PyTypeObject *type; /* borrowed from the types above; NULL: free */
        const struct sink *sink;
    } sinks[STATE_SINKS_MAX];
    bool create_task_takes_any; /* asyncio.create_task(coro, **kwargs) */
    bool semaphore_wakes_all, condition_keeps_error, condition_passes_on; /* the running asyncio's ways (sync/semaphore.h, sync/condition.h) */
    bool callback_source_takes_debug; /* asyncio's _format_callback_source differs between patch releases */
    struct {                     /* see task/traits.h */
        bool timeout_takes_subclasses, timeout_mends_context, timeout_chains, timeout_counts_cancels, timeout_enters_once, timeout_reschedule_asserts;
        bool group_enters_late;
        bool as_completed_gives_back, cancel_and_wait_is_edge, shield_retrieves;
        bool group_forgets, group_uncancels_late, group_takes_subclasses, group_recancels, group_keeps_pending;
        bool group_raises_generator_exit, group_closes_coro, group_cancels_late_task, group_notes_done_at_once, group_names_afterwards;
    } traits;
    struct Loop *running;        /* own loops inside run_forever, linked by running_next; borrowed */
    struct Loop *loops;          /* every live loop, linked by loops_next; borrowed */
    struct {                     /* tasks whose loop is not ours; linked as in Loop.tasks */
        struct task_link *first;
    } foreign_tasks;
    uint64_t n_task_names;       /* Task-N */
    ptrdiff_t tstate_task_offset; /* of the current task in the thread state; 0 when unknown (aiobridge) */
    ptrdiff_t tstate_loop_offset; /* of the running loop */
    const uint64_t *names_version; /* changes when a name of asyncio.events is bound anew (aiobridge) */
    uint64_t names_seen;           /* what it was when the names of the running loop were asyncio's own */
    uint64_t names_unknown;        /* names_version points here when nothing tells: never what was seen */
    const PyMethodDef *native_wakeup; /* what asyncio's own tasks are woken with, once one was seen (task/callbacks.c); NULL: not yet */
    PyObject *(*wakeup_argument_borrowed)(struct state *st, PyObject *future); /* what to give it for a future of any kind */
    ptrdiff_t native_awaited_by_offset; /* of the field in asyncio's own Future; 0 when unknown (task/awaited_by.c) */
};

/* Intrusive doubly linked list of unfinished tasks; embedded in Task. prev_next points at the pointer that points here; NULL when unlinked. */
struct task_link {
    struct task_link *next, **prev_next;
};

static struct PyModuleDef asyncloop_module;

static inline struct state *state_of_module(PyObject *module);
/* The state behind an object whose type, or a base of it, is ours. */
static inline struct state *state_of(PyObject *self);

/* Make a type from its spec and store it in *slot; register it in the module under its short name when public. */
static int state_add_type(PyObject *module, PyTypeObject **slot, PyType_Spec *spec, PyTypeObject *base, bool is_public) MUST_CHECK;

#endif
