/* task/state_list.h -- what this layer keeps in the module's state; core/state.h joins the lists of all layers.  Append
 * where you need one. */
#ifndef ASYNCLOOP_TASK_STATE_LIST_H
#define ASYNCLOOP_TASK_STATE_LIST_H

/* Interned names: st->str.NAME. */
#define TASK_STRINGS(X) \
    X(_asyncio_future_blocking) X(_cancel_message) X(_loop) X(_make_cancelled_error) X(cancelled) X(create_future) \
    X(done) X(eager_start) X(future) X(get_loop) X(is_running) X(loop) X(msg) X(name) X(FIRST_COMPLETED) \
    X(FIRST_EXCEPTION) X(ALL_COMPLETED) X(_abort) X(_on_task_done) X(_is_base_error) X(call_at) X(cancelling) \
    X(cr_await) X(uncancel) X(remove_done_callback) X(reschedule) X(result) X(set_name) X(set_result) X(task) \
    X(throw) X(_log_destroy_pending) X(create_task) X(current_task) X(delay) X(return_exceptions) \
    X(_adjust_thread_count) X(_broken) X(_default_executor) X(_executor_shutdown_called) X(_shutdown) \
    X(_shutdown_lock) X(_work_queue) X(acquire) X(call_soon_threadsafe) X(data) X(elsewhere) X(put) X(release) \
    X(run_in_executor) X(set_exception) X(set_running_or_notify_cancel) X(submit)

/* Taken from the standard library at import: st->NAME (module, attribute). */
#define TASK_IMPORTS(X) \
    X(asyncio_Future, "_asyncio", "Future") \
    X(CancelledError, "asyncio.exceptions", "CancelledError") \
    X(InvalidStateError, "asyncio.exceptions", "InvalidStateError") \
    X(isfuture, "asyncio.futures", "isfuture") \
    X(iscoroutine, "asyncio.coroutines", "iscoroutine") \
    X(ensure_future, "asyncio.tasks", "ensure_future") \
    X(ExceptionGroup, "builtins", "ExceptionGroup") \
    X(traceback_extract_stack, "traceback", "extract_stack")

/* Other owned objects, which the layer makes: st->NAME. */
#define TASK_OBJECTS(X) \
    X(future_repr) X(task_repr) X(task_get_stack) X(task_print_stack) X(eager_task_factory) \
    X(set_result_unless_cancelled) X(add_to_awaited_by) X(discard_from_awaited_by) X(kw_loop) X(kw_msg) \
    X(native_done) X(wraps_stop_iteration) X(chain_future) X(concurrent_CancelledError) X(concurrent_Future) \
    X(concurrent_InvalidStateError) X(concurrent_TimeoutError) X(convert_future_exc) X(kw_name) X(kw_name_context) \
    X(native_all_tasks) X(native_current_task) X(native_shield) X(pool_class) X(pool_lock) X(pool_module) \
    X(pool_submit) X(run_coroutine_threadsafe) X(set_task_name)

/* Heap types: st->NAME##_type. */
#define TASK_TYPES(X) \
    X(CoroIter) X(Timeout) X(Waiter) X(ShieldFuture) X(AsCompleted) X(TaskGroup) X(Future) X(FutureIter) X(Task) \
    X(Coro) X(CoroFrame) X(SleepFuture) X(GatherFuture) X(Chain) X(WorkItem)

/* Free lists: FREELIST_NAME. */
#define TASK_FREELISTS(X) \
    X(FUTURE) X(TASK) X(SLEEP_FUTURE) X(CORO) X(TIMEOUT) X(SHIELD)

/* Kinds of timer owner: TIMER_KIND_NAME. */
#define TASK_TIMERS(X) \
    X(SLEEP) X(TIMEOUT) X(WAITER) X(AS_COMPLETED)

/* How the running asyncio does it (task/wait/traits.h): st->traits.NAME. */
#define TASK_TRAITS(X) \
    X(create_task_takes_any) X(timeout_takes_subclasses) X(timeout_mends_context) X(timeout_chains) \
    X(timeout_counts_cancels) X(timeout_enters_once) X(timeout_reschedule_asserts) X(group_enters_late) \
    X(as_completed_gives_back) X(cancel_and_wait_is_edge) X(shield_retrieves) X(group_forgets) \
    X(group_uncancels_late) X(group_takes_subclasses) X(group_recancels) X(group_keeps_pending) \
    X(group_raises_generator_exit) X(group_closes_coro) X(group_cancels_late_task) X(group_notes_done_at_once) \
    X(group_names_afterwards)

#endif
