/* sync/state_list.h -- what this layer keeps in the module's state; core/state.h joins the lists of all layers.  Append
 * where you need one. */
#ifndef ASYNCLOOP_SYNC_STATE_LIST_H
#define ASYNCLOOP_SYNC_STATE_LIST_H

/* Interned names: st->str.NAME. */
#define SYNC_STRINGS(X) \
    X(_format) X(_get) X(_init) X(_put) X(_queue) X(_wake_up_next) X(_wakeup_next) X(append) X(clear) X(empty) \
    X(full) X(get_nowait) X(locked) X(notify) X(notify_all) X(pop) X(popleft) X(put_nowait) X(qsize) X(remove) \
    X(set) X(wait)

/* Other owned objects, which the layer makes: st->NAME. */
#define SYNC_OBJECTS(X) \
    X(deque_type) X(deque_append) X(deque_popleft) X(deque_remove) X(barrier_states) X(heappush) X(heappop) \
    X(QueueEmpty) X(QueueFull) X(QueueShutDown) X(BrokenBarrierError)

/* Heap types: st->NAME##_type. */
#define SYNC_TYPES(X) \
    X(Lock) X(Event) X(Condition) X(Semaphore) X(BoundedSemaphore) X(Barrier) X(Queue) X(PriorityQueue) \
    X(LifoQueue)

/* How the running asyncio does it (sync/semaphore.h, sync/condition.h): st->traits.NAME. */
#define SYNC_TRAITS(X) \
    X(semaphore_wakes_all) X(condition_keeps_error) X(condition_passes_on)

#endif
