"""Locks and queues: nothing leaks (debug Pythons), and every allocation of an operation may fail."""
import asyncio
import importlib.util
import sys

import pytest
import test_alloc_failures
import test_leaks

from sidebyside import OURS, child

classes = OURS.classes


async def passes(n=1):
    for _ in range(n):
        await OURS.sleep(0)


async def finish(*tasks):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def waiting(bed, make):
    """Acquired, waited for, released to a waiter, cancelled, dropped in mid-wait."""
    async def main():
        lock = make()
        async with lock:
            tasks = [bed.Task(lock.acquire(), loop=bed.loop) for _ in range(3)]
            await passes()
            tasks[0].cancel()
            coroutine = lock.acquire()
            coroutine.send(None)
            coroutine.close()
            coroutine = lock.acquire()
            coroutine.send(None)
            del coroutine
            repr(lock)
        await passes(2)
        lock.release()
        await finish(*tasks)
        lock.acquire().close()
        lock.note = lock  # a cycle

    bed.run(main())


def locks(bed):
    waiting(bed, classes.Lock)


def semaphores(bed):
    waiting(bed, classes.Semaphore)
    waiting(bed, classes.BoundedSemaphore)
    classes.Semaphore(2**70).release()


def conditions(bed):
    waiting(bed, classes.Condition)
    waiting(bed, lambda: classes.Condition(asyncio.Lock()))

    async def main():
        condition = classes.Condition()
        async def wait():
            async with condition:
                await condition.wait_for(lambda: False)
        tasks = [bed.Task(wait(), loop=bed.loop) for _ in range(3)]
        await passes(2)
        async with condition:
            condition.notify()
            await passes()
            tasks[0].cancel()
            tasks[1].cancel()
            await passes()
        await finish(*tasks)
        try:
            condition.notify()
        except RuntimeError:
            pass

    bed.run(main())


def events(bed):
    async def main():
        event = classes.Event()
        tasks = [bed.Task(event.wait(), loop=bed.loop) for _ in range(3)]
        await passes()
        tasks[0].cancel()
        event.set()
        await event.wait()
        await finish(*tasks)
        event._waiters.append(event)

    bed.run(main())


def barriers(bed):
    async def main():
        barrier = classes.Barrier(2)
        await asyncio.gather(barrier.wait(), barrier.wait())
        tasks = [bed.Task(barrier.wait(), loop=bed.loop)]
        await passes(2)
        await barrier.abort()
        await finish(*tasks)
        await barrier.reset()
        repr(barrier)

    bed.run(main())


def queues(bed):
    async def main():
        for name in ("Queue", "PriorityQueue", "LifoQueue"):
            queue = getattr(classes, name)(1)
            getters = [bed.Task(queue.get(), loop=bed.loop) for _ in range(3)]
            await passes()
            putters = [bed.Task(queue.put((n, "item")), loop=bed.loop) for n in range(6)]
            await passes(3)
            repr(queue), queue.task_done(), queue.join().close()
            joining = bed.Task(queue.join(), loop=bed.loop)
            await passes()
            while not queue.full():
                queue.put_nowait((8, "full"))
            coroutine = queue.put((9, "dropped"))
            coroutine.send(None)
            del coroutine
            if hasattr(queue, "shutdown"):
                queue.shutdown()
            await passes()
            await finish(*getters, *putters, joining)
            try:
                queue.put_nowait(1), queue.put_nowait(1)
            except Exception:
                pass

    bed.run(main())


def subclasses(bed):
    class Own(classes.Queue):
        def _init(self, maxsize):
            self._queue = [self]

        def _put(self, item):
            self._queue.append(item)

        def _get(self):
            return self._queue.pop(0)

    async def main():
        queue = Own(2)
        await queue.put(1)
        await queue.get()
        task = bed.Task(queue.put(2), loop=bed.loop)
        await finish(task)

    bed.run(main())


OPERATIONS = {f.__name__: f for f in (locks, semaphores, conditions, events, barriers, queues, subclasses)}


@pytest.mark.skipif(not hasattr(sys, "gettotalrefcount"), reason="only a debug build of Python counts references")
@pytest.mark.limit(120)
@pytest.mark.parametrize("name", OPERATIONS)
def test_no_reference_is_left(name):
    test_leaks.check(OPERATIONS[name])


FAILING = {
    "Lock": ("", "e = Lock()", ""),
    "Queue": ("", "e = Queue(2)", ""),
    "PriorityQueue": ("", "e = PriorityQueue()", ""),
    "Condition": ("", "e = Condition()", ""),
    "Barrier": ("", "e = Barrier(2)", ""),
    "Event.wait": ("e = Event(); c = e.wait()", "wait(c)", "c.close()"),
    "Lock.acquire": ("e = Lock(); e._locked = True; c = e.acquire()", "wait(c)", "c.close(); check_none(e)"),
    "Semaphore.acquire": ("e = Semaphore(0); c = e.acquire()", "wait(c)", "c.close(); check_none(e)"),
    "Condition.wait": ("e = Condition(); e._lock._locked = True; c = e.wait()", "wait(c)", "c.close(); check_none(e)"),
    "Barrier.wait": ("e = Barrier(2); c = e.wait()", "wait(c)", "c.close(); check_none(e._cond)"),
    "Queue.get": ("e = Queue(); c = e.get()", "wait(c)", "c.close(); check_none(e, '_getters')"),
    "Queue.put": ("e = Queue(1); e.put_nowait(1); c = e.put(2)", "wait(c)", "c.close(); check_none(e, '_putters')"),
    "put_nowait": ("e = Queue()", "[e.put_nowait(1) for _ in many]", ""),
    "put_nowait with priorities": ("e = PriorityQueue()", "[e.put_nowait(1) for _ in many]", ""),
    "never blocks": ("e = Queue()", "step(e.put(1)); step(e.get())", ""),
    "async with": ("e = Lock()", "step(e.__aenter__()); step(e.__aexit__(None, None, None))", "e._locked and e.release()"),
    "releasing to a waiter": ("e = Lock(); e._locked = True; c = e.acquire(); wait(c)", "e.release()", "c.close(); check_none(e)"),
    "waking getters": ("e = Queue(); c = e.get(); wait(c)", "e.put_nowait(1)", "c.close(); check_none(e, '_getters')"),
    "setting an event": ("e = Event(); c = e.wait(); wait(c)", "e.set()", "c.close(); check_none(e)"),
    "notifying": ("e = Condition(); e._lock._locked = True; c = e.wait(); wait(c); e._lock._locked = True", "e.notify_all()", "e._lock._locked = False; c.close()"),
}

# The same inside a running loop, where futures are of ours: in a task of its own, whose MemoryError is the operation's.
IN_A_TASK = {
    f"{name}, in a task": (prepare.replace("c = ", "t = Task(", 1) + ", loop=loop); loop.call_soon(loop.stop)",
                           "loop.run_forever(); t.done() and t.result()", "settle(t); " + cleanup.partition("; ")[2])
    for name, (prepare, operation, cleanup) in FAILING.items() if operation == "wait(c)"
}
FAILING |= IN_A_TASK

# wait() makes a step of a coroutine as if the loop ran.  On 3.11 that allocates, too.
HELP = """
from asyncloop import Lock, Event, Condition, Semaphore, Barrier, Queue, PriorityQueue
def wait(coroutine):
    asyncio._set_running_loop(loop)
    try:
        coroutine.send(None)
    finally:
        while asyncio._get_running_loop() is not None:
            try:
                asyncio._set_running_loop(None)
            except MemoryError:
                pass
def settle(task):
    while not task.done():
        task.cancel()
        loop.call_soon(loop.stop)
        loop.run_forever()
    task.cancelled() or task.exception()
def step(coroutine):
    try:
        coroutine.send(None)
    except StopIteration:
        pass
def check_none(e, name="_waiters"):
    assert not getattr(e, name), getattr(e, name)
"""


@pytest.mark.skipif(importlib.util.find_spec("_testcapi") is None, reason="this Python has no _testcapi, whose failing allocator is used")
@pytest.mark.parametrize("name", FAILING)
def test_allocation_failures(name):
    code = test_alloc_failures.build(*FAILING[name])
    code = code.replace("loop = new_loop()\n", "loop = new_loop()\n" + HELP, 1)
    code = code.replace("except MemoryError:\n        remove()", "except (MemoryError, SystemError):\n        remove()") if name in IN_A_TASK else code
    result = child(code, timeout=60)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "usable after" in result.stdout
