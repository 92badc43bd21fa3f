"""asyncio's Queue, PriorityQueue and LifoQueue against ours, and on each other's loops."""
import asyncio
import collections
import gc
import inspect
import math
import random
import re
import sys
import types
import weakref

import pytest

from kits import passes
from sidebyside import KITS, MIXED, ORACLE, OURS, mixed, observe, same

EVERY = ("Queue", "PriorityQueue", "LifoQueue")
HAS_SHUTDOWN = sys.version_info >= (3, 13)
needs_shutdown = pytest.mark.skipif(not HAS_SHUTDOWN, reason="queues can be shut down from Python 3.13 on")


def make(t, name, *args, **kw):
    return getattr(t.kit.classes, name)(*args, **kw)


async def raised(awaitable):
    try:
        return await awaitable
    except Exception as exc:
        return type(exc), str(exc)


# ---- plain use

@mixed
def test_order(t):
    async def main():
        for name in EVERY:
            queue = make(t, name)
            for item in (3, 1, 2, 1):
                t.say(await queue.put(item), queue.qsize(), queue.empty(), queue.full())
            t.say(repr(queue).split(" ", 3)[3], str(queue), list(queue._queue), type(queue._queue).__name__)
            t.say([await queue.get(), queue.get_nowait(), await queue.get(), queue.get_nowait()], queue.empty())

    t.run(main())


@mixed
def test_nowait(t):
    for name in EVERY:
        queue = make(t, name, 2)
        t.attempt(queue.get_nowait)
        t.attempt(queue.put_nowait, 1)
        t.attempt(queue.put_nowait, item=2)
        t.attempt(queue.put_nowait, 3)
        t.say(queue.full(), queue.qsize(), str(queue))
        t.attempt(queue.get_nowait)
        t.attempt(queue.get_nowait)
        t.attempt(queue.get_nowait)


@mixed
def test_maxsize(t):
    async def main():
        for maxsize in (0, -1, 1, 3, True, 2.5, math.inf, -math.inf, 2**70, -2**70):
            queue = make(t, "Queue", maxsize)
            t.say(str(queue), queue.maxsize, queue._maxsize, queue.full())
            queue.put_nowait("item")
            t.say(queue.full(), str(queue))
        queue = make(t, "Queue", maxsize=1)
        queue.put_nowait(1)
        queue._maxsize = 2
        t.say(queue.full(), queue.maxsize)
        t.attempt(make(t, "Queue", "many").full)
        with pytest.raises(AttributeError):
            queue.maxsize = 3

    t.run(main())


@mixed
def test_producers_and_consumers(t):
    async def main():
        for name in EVERY:
            for maxsize in (0, 1, 3):
                queue = make(t, name, maxsize)
                async def produce(i):
                    for n in range(6):
                        await queue.put((n, i))
                        t.say("put", n, i, str(queue))

                async def consume(i):
                    for _ in range(4):
                        t.say("got", i, await queue.get(), str(queue))
                        queue.task_done()

                await asyncio.gather(*map(produce, range(2)), *map(consume, range(3)))
                await queue.join()
                t.say(str(queue))

    t.run(main())


@mixed
def test_join_and_task_done(t):
    async def main():
        queue = make(t, "Queue")
        await queue.join()
        t.attempt(queue.task_done)
        for i in range(3):
            queue.put_nowait(i)
        joining = [asyncio.ensure_future(queue.join()) for _ in range(2)]
        await passes()
        t.say(queue._unfinished_tasks, queue._finished.is_set(), [task.done() for task in joining])
        for _ in range(3):
            queue.get_nowait()
            queue.task_done()
        queue.put_nowait("late")
        t.say(await asyncio.gather(*joining), queue._unfinished_tasks, queue._finished.is_set())
        queue.get_nowait()
        queue.task_done()
        t.attempt(queue.task_done)
        t.say(queue._finished.is_set(), str(queue))

    t.run(main())


@mixed
def test_waiters_show_in_the_text(t):
    async def main():
        queue = make(t, "Queue", 1)
        tasks = [asyncio.ensure_future(queue.get()) for _ in range(3)]
        await passes()
        t.say(str(queue), len(queue._getters), len(queue._putters))
        for i in range(5):
            tasks.append(asyncio.ensure_future(queue.put(i)))
        await passes()
        t.say(str(queue), len(queue._getters), len(queue._putters), bool(re.fullmatch(r"<Queue at 0x[0-9a-f]+ .*>", repr(queue))))
        t.say(await asyncio.gather(*tasks[:4]))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        t.say(str(queue))

    t.run(main())


@mixed
def test_a_cancelled_getter_wakes_the_next(t):
    async def main():
        for name in EVERY:
            queue = make(t, name, 1)
            getters = [asyncio.ensure_future(queue.get()) for _ in range(3)]
            await passes()
            queue.put_nowait(1)  # wakes the first ...
            getters[0].cancel()  # ... which is cancelled in the same pass
            await passes(3)
            t.say([task.done() for task in getters], str(queue))
            getters[2].cancel()
            await passes(2)
            putters = [asyncio.ensure_future(queue.put(i)) for i in range(4)]
            await passes()
            t.say(str(queue))
            queue.get_nowait()
            putters[1].cancel()
            await passes(3)
            t.say([task.done() for task in putters], str(queue))
            for task in putters:
                task.cancel()
            t.say(await asyncio.gather(*getters, *putters, return_exceptions=True))

    t.run(main())


@mixed
def test_timeouts(t):
    async def main():
        queue = make(t, "Queue", 1)
        t.say(await raised(asyncio.wait_for(queue.get(), 0.001)), str(queue))
        await queue.put(1)
        t.say(await raised(asyncio.wait_for(queue.put(2), 0.001)), str(queue))
        t.say(await asyncio.wait_for(queue.get(), 30), str(queue))

    t.run(main())


# ---- shutdown

@needs_shutdown
@mixed
def test_shutdown(t):
    async def main():
        for name in EVERY:
            for immediate in (False, True, "yes"):
                queue = make(t, name, 2)
                queue.put_nowait(1)
                queue.put_nowait(2)
                putters = [asyncio.ensure_future(raised(queue.put(i))) for i in range(3)]
                joining = asyncio.ensure_future(queue.join())
                await passes(2)
                t.say(queue.shutdown(immediate), str(queue), queue._is_shutdown)
                t.say(await asyncio.gather(*putters))
                t.attempt(queue.put_nowait, 5)
                t.say(await raised(queue.put(6)))
                t.say([await raised(queue.get()) for _ in range(3)], str(queue))
                t.attempt(queue.get_nowait)
                await passes(2)
                t.say(joining.done(), queue._unfinished_tasks)
                if not immediate:
                    queue.task_done()
                    queue.task_done()
                await joining
                t.attempt(queue.task_done)
                queue.shutdown(immediate=True)
                t.say(str(queue))

    t.run(main())


@needs_shutdown
@mixed
def test_shutdown_wakes_getters(t):
    async def main():
        for immediate in (False, True):
            queue = make(t, "Queue")
            getters = [asyncio.ensure_future(raised(queue.get())) for _ in range(3)]
            await passes(2)
            queue.put_nowait("for the first")
            queue.shutdown(immediate)
            t.say(await asyncio.gather(*getters), str(queue))

    t.run(main())


@needs_shutdown
@mixed
def test_arguments_of_shutdown(t):
    class Wrong:
        def __bool__(self):
            raise ValueError("no truth")

    queue = make(t, "Queue")
    for args, kw in (((1, 2), {}), ((), {"wrong": 1})):
        t.attempt(queue.shutdown, *args, **kw)
    t.say(queue._is_shutdown)
    t.attempt(queue.shutdown, Wrong())
    t.say(queue._is_shutdown)


@pytest.mark.skipif(HAS_SHUTDOWN, reason="for Pythons whose queues cannot be shut down")
def test_no_shutdown_where_asyncio_has_none():
    for name in EVERY:
        assert not hasattr(getattr(OURS.classes, name), "shutdown")
        assert not hasattr(getattr(OURS.classes, name)(), "_is_shutdown")


# ---- programs of random steps, on both

def chaos(t, seed, make_one, n_tasks=6):
    rng = random.Random(seed)
    operations = ["put", "get", "put", "get", "put_nowait", "get_nowait", "task_done", "join"]
    if HAS_SHUTDOWN and seed % 4 == 0:
        operations += ["shutdown"]
    plans = [[(rng.choice(operations), rng.randrange(100), rng.randrange(3)) for _ in range(6)] for _ in range(n_tasks)]
    cancels = [(rng.randrange(25), rng.randrange(n_tasks)) for _ in range(rng.randrange(8))]

    async def main():
        queue = make_one(rng.choice((0, 1, 2)))

        async def worker(i):
            for operation, item, pause in plans[i]:
                args = (item,) if operation.startswith("put") else (bool(pause),) if operation == "shutdown" else ()
                try:
                    result = getattr(queue, operation)(*args)
                    t.say(i, operation, item, await result if asyncio.iscoroutine(result) else result)
                except (asyncio.CancelledError, Exception) as exc:
                    t.say(i, operation, "raised", exc)
                await passes(pause)

        tasks = [asyncio.ensure_future(worker(i)) for i in range(n_tasks)]
        for now in range(50):
            for when, who in cancels:
                if when == now:
                    t.say("cancel", who, tasks[who].cancel())
            await passes()
            t.say(now, str(queue))
        while not all(task.done() for task in tasks):
            for task in tasks:
                task.cancel()
            await passes(2)

    t.run(main())


@pytest.mark.parametrize("kit", MIXED)
@pytest.mark.parametrize("name", EVERY)
def test_random_programs(name, kit):
    for seed in range(60):
        def scenario(t, seed=seed):
            chaos(t, seed, lambda maxsize: make(t, name, maxsize))

        expected, got = observe(scenario, ORACLE), observe(scenario, KITS[kit])
        assert got == expected, f"seed {seed}"
        assert "exception" not in expected


@pytest.mark.parametrize("kit", MIXED)
@pytest.mark.parametrize("name", EVERY)
def test_random_programs_of_a_subclass(name, kit):
    for seed in range(20):
        def scenario(t, seed=seed):
            class Talking(getattr(t.kit.classes, name)):
                def _init(self, maxsize):
                    t.say("_init", maxsize)
                    super()._init(maxsize)

                def _put(self, item):
                    t.say("_put", item)
                    super()._put(item)

                def _get(self):
                    item = super()._get()
                    t.say("_get", item)
                    return item

                def _wakeup_next(self, waiters):
                    t.say("_wakeup_next", waiters is self._getters, waiters is self._putters)
                    super()._wakeup_next(waiters)

                def qsize(self):
                    t.say("qsize")
                    return super().qsize()

                def empty(self):
                    t.say("empty")
                    return super().empty()

                def full(self):
                    t.say("full")
                    return super().full()

                def put_nowait(self, item):
                    t.say("put_nowait", item)
                    return super().put_nowait(item)

                def get_nowait(self):
                    t.say("get_nowait")
                    return super().get_nowait()

                def _format(self):
                    return super()._format() + " talking"

            chaos(t, seed, Talking)

        expected, got = observe(scenario, ORACLE), observe(scenario, KITS[kit])
        assert got == expected, f"seed {seed}"
        assert "exception" not in expected


# ---- subclasses

@mixed
def test_a_subclass_with_a_container_of_its_own(t):
    class Unique(t.kit.classes.Queue):
        def _init(self, maxsize):
            self._queue = collections.OrderedDict()

        def _put(self, item):
            self._queue[item] = True

        def _get(self):
            return self._queue.popitem(last=False)[0]

    async def main():
        queue = Unique(2)
        for item in "aabb":
            await queue.put(item)
            t.say(queue.qsize(), queue.full())
            if queue.full():
                break
        t.say(str(queue), await queue.get(), await queue.get(), queue.empty())
        task = asyncio.ensure_future(queue.get())
        await passes()
        queue.put_nowait("x")
        t.say(await task)

    t.run(main())


@mixed
def test_put_nowait_gives_what_the_override_returns(t):
    class Odd(t.kit.classes.Queue):
        def put_nowait(self, item):
            super().put_nowait(item)
            return "put", item

        def get_nowait(self):
            return "got", super().get_nowait()

    async def main():
        queue = Odd()
        t.say(await queue.put(1), await queue.get())

    t.run(main())


@mixed
def test_hooks_that_raise(t):
    class Broken(t.kit.classes.Queue):
        fails = ""

        def __getattribute__(self, name):
            if name == object.__getattribute__(self, "fails"):
                raise ValueError(name)
            return super().__getattribute__(name)

    async def main():
        for name in ("full", "empty", "_put", "_get", "_wakeup_next", "put_nowait", "get_nowait", "qsize"):
            queue = Broken(1)
            queue.fails = name
            t.say(name, await raised(queue.put(1)))
            if not queue._queue:
                queue._queue.append("so that there is one")
            t.say(await raised(queue.get()), len(queue._queue))
            queue.fails = ""
            t.say(str(queue))
            while not queue.full():
                queue.put_nowait("more")
            task = asyncio.ensure_future(queue.put(2))
            await passes()
            queue.fails = name
            task.cancel()
            t.say(await asyncio.gather(task, return_exceptions=True), len(queue._putters))

    t.run(main())


@mixed
def test_init_not_called(t):
    class Bare(t.kit.classes.Queue):
        def __init__(self):
            pass

    queue = Bare()
    for method in ("qsize", "empty", "full", "get_nowait", "__str__"):
        t.attempt(getattr(queue, method))


@mixed
def test_what_is_put_on_the_instance_is_called(t):
    async def main():
        queue, calls = make(t, "Queue"), []
        queue._put = lambda item: calls.append(item)
        await queue.put(1)
        queue.put_nowait(2)
        t.say(calls, queue.qsize(), queue._unfinished_tasks)
        other = make(t, "Queue", 1)
        other.full = lambda: False
        other.put_nowait(1)
        other.put_nowait(2)
        t.say(other.qsize())
        other._queue = collections.deque([7, 8, 9])
        t.say(await other.get(), other.qsize())
        replaced = make(t, "LifoQueue")
        replaced._queue = collections.deque([1, 2, 3])
        t.say(await replaced.get(), list(replaced._queue))
        replaced._getters = collections.deque()
        replaced.put_nowait(5)
        t.say(str(replaced))

    t.run(main())


@mixed
def test_priorities(t):
    class Item:
        def __init__(self, rank, queue=None):
            self.rank, self.queue = rank, queue

        def __lt__(self, other):
            if self.queue is not None:
                queue, self.queue = self.queue, None
                t.attempt(queue.put_nowait, Item(0))
            return self.rank < other.rank

    async def main():
        queue = make(t, "PriorityQueue")
        for item in ((2, "b"), (1, "c"), (1, "a")):
            await queue.put(item)
        t.say([await queue.get() for _ in range(3)])
        queue.put_nowait(1)
        t.attempt(queue.put_nowait, "text")
        t.say(queue.qsize(), queue._unfinished_tasks)
        queue = make(t, "PriorityQueue")
        queue.put_nowait(Item(5))
        t.attempt(queue.put_nowait, Item(3, queue))
        t.say(queue.qsize())
        while queue.qsize():
            t.say(queue.get_nowait().rank)

    t.run(main())


@same
def test_generic_aliases(t):
    for name in EVERY:
        alias = getattr(t.kit.classes, name)[int]
        t.say(type(alias) is types.GenericAlias, alias.__args__ == (int,), alias(3).maxsize, alias.__origin__.__name__)


@mixed
def test_arguments(t):
    for name in EVERY:
        for args, kw in (((1, 2), {}), ((), {"loop": None}), ((1,), {"maxsize": 2})):
            try:
                make(t, name, *args, **kw)
            except TypeError as exc:
                t.say(name, exc)
        queue = make(t, name)
        for method in ("put", "put_nowait"):
            for args, kw in (((), {}), ((1, 2), {}), ((), {"wrong": 1}), ((1,), {"item": 2})):
                t.attempt(getattr(queue, method), *args, **kw)
        for method in ("get", "join"):
            t.attempt(getattr(queue, method), 1)


@mixed
def test_bound_to_a_loop(t):
    queue = make(t, "Queue")

    async def bind():
        task = asyncio.ensure_future(queue.get())
        await passes()
        t.say(queue._loop is asyncio.get_running_loop())
        queue.put_nowait(1)
        await task

    async def fail():
        t.say(await raised(queue.get()))
        await queue.put(1)
        t.say(await queue.get())

    t.run(bind())
    other = t.new_loop()
    t.say(re.sub("0x[0-9a-f]+", "0x", str(other.run_until_complete(fail()))))


@mixed
def test_coroutines(t):
    async def main():
        queue = make(t, "Queue", 1)
        for name in ("put", "get", "join"):
            method = getattr(queue, name)
            coroutine = method(*((1,) if name == "put" else ()))
            t.say(asyncio.iscoroutine(coroutine), coroutine.__qualname__, asyncio.iscoroutinefunction(method), str(inspect.signature(method)))
            t.say(await coroutine)
            queue._unfinished_tasks = 0
        coroutine = queue.get()
        coroutine.send(None)
        t.say(str(queue))
        coroutine.close()
        t.say(str(queue))
        queue.put(1)
        queue.get()
        queue.join()

    t.run(main())


@mixed
def test_dropped_in_mid_wait(t):
    async def main():
        queue = make(t, "Queue", 1)
        queue.put_nowait(1)
        putting = queue.put(2)
        putting.send(None)
        del putting
        gc.collect()
        t.say(str(queue))

    t.run(main())


@same
def test_nothing_is_left_to_the_collector(t):
    async def main():
        queue = make(t, "Queue", 1)
        task = asyncio.ensure_future(queue.put(1))
        await queue.get()
        await task
        seen = weakref.ref(queue)
        del queue, task
        t.say(seen() is None)

    gc.disable()
    try:
        t.run(main())
    finally:
        gc.enable()


@pytest.mark.parametrize("name", EVERY)
def test_a_queue_in_itself_is_collected(name):
    queue = getattr(OURS.classes, name)()
    queue.put_nowait(queue)
    seen = weakref.ref(queue)
    del queue
    gc.collect()
    assert seen() is None


def test_a_long_chain_of_queues_dies_without_recursion():
    queue = OURS.classes.Queue()
    for _ in range(100_000):
        outer = OURS.classes.Queue()
        outer.put_nowait(queue)
        queue = outer
    del outer, queue
