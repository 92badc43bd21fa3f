"""asyncio's Lock, Event, Condition, Semaphore, BoundedSemaphore and Barrier against ours, and on each other's loops."""
import asyncio
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

LOCKS = ("Lock", "Semaphore", "BoundedSemaphore", "Condition")
EVERY = (*LOCKS, "Event", "Barrier")


def make(t, name, *args):
    return getattr(t.kit.classes, name)(*((2,) if name == "Barrier" and not args else args))


def shown(thing):
    return re.sub(r"\b(?:asyncio\.locks|asyncio\.queues|asyncloop)\.", "", repr(thing))


# ---- plain use

@mixed
def test_acquire_and_release(t):
    async def main():
        for name in LOCKS:
            lock = make(t, name)
            t.say(name, shown(lock), lock.locked())
            t.say(await lock.acquire(), shown(lock), lock.locked())
            t.say(lock.release(), shown(lock), lock.locked())
            async with lock as nothing:
                t.say(nothing, lock.locked())
            t.say(lock.locked(), lock._waiters)

    t.run(main())


@mixed
def test_a_condition_keeps_the_methods_of_its_lock(t):
    async def main():
        c = make(t, "Condition")
        t.say(c.acquire is c.acquire, c.release is c.release, c.locked is c.locked)
        async with c:
            t.say(c.locked(), c._lock.locked())
        release = c.release
        c.release = lambda: t.say("release", release())
        async with c:
            c.notify()
        t.say(c.locked(), c.release is release)
        c.__init__()
        t.say(c.release is release, c.release is c.release)
        kept = c.acquire
        c._lock = make(t, "Lock")
        await kept()
        t.say(c.locked(), c._lock.locked())

    t.run(main())


@mixed
def test_waiters_are_served_in_order(t):
    async def main():
        for name in LOCKS:
            lock = make(t, name)
            async def worker(i):
                async with lock:
                    t.say(name, i, "in")
                    await passes(i % 3)
                    t.say(name, i, "out", shown(lock))

            async with lock:
                tasks = [asyncio.ensure_future(worker(i)) for i in range(6)]
                await passes()
                t.say(shown(lock), len(lock._waiters))
            await asyncio.gather(*tasks)
            t.say(shown(lock))

    t.run(main())


@mixed
def test_release_of_what_nobody_holds(t):
    lock, condition, semaphore = make(t, "Lock"), make(t, "Condition"), make(t, "BoundedSemaphore", 2)
    for one in (lock, condition, semaphore):
        t.attempt(one.release)

    async def main():
        await semaphore.acquire()
        semaphore.release()
        t.attempt(semaphore.release)
        unbound = make(t, "Semaphore", 0)
        unbound.release()
        unbound.release()
        t.say(shown(unbound), unbound._value)
        async with lock:
            lock.release()
            try:
                lock.release()
            except RuntimeError as exc:
                t.say(exc)
            await lock.acquire()

    t.run(main())


@mixed
def test_a_free_lock_with_waiters_is_promised(t):
    async def main():
        lock = make(t, "Lock")
        await lock.acquire()
        first = asyncio.ensure_future(lock.acquire())
        await passes()
        lock.release()
        t.say(lock.locked(), shown(lock))
        second = asyncio.ensure_future(lock.acquire())
        await passes(3)
        t.say(first.done(), second.done(), shown(lock))
        lock.release()
        t.say(await second)

    t.run(main())


@mixed
def test_event(t):
    async def main():
        event = make(t, "Event")
        t.say(shown(event), event.is_set(), event._waiters, event._value)
        waiting = [asyncio.ensure_future(event.wait()) for _ in range(3)]
        for i, task in enumerate(waiting):
            task.add_done_callback(lambda task, i=i: t.say("done", i))
        await passes()
        t.say(shown(event), len(event._waiters))
        waiting[1].cancel()
        event.set()
        event.set()
        t.say(event.clear())
        t.say(await asyncio.gather(*waiting, return_exceptions=True))
        event.set()
        t.say(await event.wait(), shown(event), event._waiters)

    t.run(main())


@mixed
def test_condition(t):
    async def main():
        condition, ready = make(t, "Condition"), []
        t.attempt(condition.notify)
        t.attempt(condition.notify_all)
        try:
            await condition.wait()
        except RuntimeError as exc:
            t.say(exc)

        async def waiter(i):
            async with condition:
                t.say(i, await condition.wait(), shown(condition))
            async with condition:
                t.say(i, await condition.wait_for(lambda: ready and ready[-1]))

        tasks = [asyncio.ensure_future(waiter(i)) for i in range(4)]
        await passes(2)
        for n in (0, -1, 1, True, 2, 10, 1.5):
            async with condition:
                condition.notify(n)
            await passes(2)
            t.say(n, len(condition._waiters))
        async with condition:
            ready.append(0)
            condition.notify_all()
        await passes(2)
        async with condition:
            ready.append("yes")
            condition.notify(n=10)
        t.say(await asyncio.gather(*tasks))

    t.run(main())


@mixed
def test_condition_uses_the_lock_it_is_given(t):
    async def main():
        for lock in (make(t, "Lock"), asyncio.Lock(), make(t, "Semaphore", 2)):
            condition = make(t, "Condition", lock)
            t.say(condition._lock is lock, condition.locked())
            async with lock:
                t.say(condition.locked(), shown(condition))
                task = asyncio.ensure_future(condition.acquire())
                await passes()
                t.say(task.done())
            t.say(await task, lock.locked())
            condition.notify() if lock.locked() else None
            condition.release()
        t.attempt(make, t, "Condition", 5)

    t.run(main())


@mixed
def test_semaphore_values(t):
    async def main():
        for value in (0, 1, 3, True, 2.5, math.inf, 2**70, 10**18):
            semaphore = make(t, "Semaphore", value)
            t.say(shown(semaphore), semaphore.locked(), semaphore._value)
            if not semaphore.locked():
                await semaphore.acquire()
                t.say(shown(semaphore), semaphore._value)
            semaphore.release()
            t.say(semaphore._value)
        for wrong in (-1, -0.5, "one", None):
            for name in ("Semaphore", "BoundedSemaphore"):
                t.attempt(make, t, name, wrong)
        bounded = make(t, "BoundedSemaphore", 2**70)
        t.attempt(bounded.release)
        t.say(bounded._bound_value == 2**70)
        bounded = t.kit.classes.BoundedSemaphore(value=2)
        bounded._value = 1
        bounded.release()
        t.attempt(bounded.release)

    t.run(main())


@mixed
def test_a_semaphore_with_many_waiters(t):
    async def main():
        semaphore = make(t, "Semaphore", 2)
        async def worker(i):
            async with semaphore:
                t.say("in", i, shown(semaphore))
                await passes(2)
            t.say("out", i, semaphore._value)

        tasks = [asyncio.ensure_future(worker(i)) for i in range(8)]
        await passes(2)
        tasks[3].cancel()
        tasks[6].cancel()
        semaphore.release()
        semaphore.release()
        await asyncio.wait(tasks)
        t.say(shown(semaphore))

    t.run(main())


@mixed
def test_barrier(t):
    async def main():
        barrier = make(t, "Barrier", 3)
        t.say(shown(barrier), barrier.parties, barrier.n_waiting, barrier.broken, barrier._count, str(barrier._state))
        async def worker(i):
            for _ in range(3):
                t.say(i, await barrier.wait(), barrier.n_waiting, shown(barrier))
            async with barrier as index:
                t.say(i, index)

        await asyncio.gather(*map(worker, range(3)))
        t.say(shown(barrier))
        for wrong in (0, -1, "x", None, 0.5):
            t.attempt(make, t, "Barrier", wrong)

    t.run(main())


@mixed
def test_barrier_broken_and_reset(t):
    async def main():
        for method in ("abort", "reset"):
            barrier = make(t, "Barrier", 3)
            tasks = [asyncio.ensure_future(barrier.wait()) for _ in range(2)]
            await passes(2)
            t.say(shown(barrier), barrier.n_waiting)
            await getattr(barrier, method)()
            t.say(shown(barrier), barrier.broken, barrier.n_waiting)
            late = [asyncio.ensure_future(barrier.wait()) for _ in range(3)]
            t.say(await asyncio.gather(*tasks, *late, return_exceptions=True))
            t.say(shown(barrier), barrier.broken)
            await barrier.reset()
            t.say(shown(barrier), barrier.broken)
            cancelled = asyncio.ensure_future(barrier.wait())
            await passes(2)
            cancelled.cancel()
            t.say(await asyncio.gather(cancelled, return_exceptions=True), shown(barrier))

    t.run(main())


# ---- every interleaving of a few tasks: one program of each seed, on both

def chaos(t, seed, make_one, operations, n_tasks=5):
    """Tasks that do random things with one object, others that cancel them at random moments: all that happens is said, in order."""
    rng = random.Random(seed)
    plans = [[rng.choice(operations) for _ in range(4)] for _ in range(n_tasks)]
    sleeps = [[rng.randrange(3) for _ in range(8)] for _ in range(n_tasks)]
    cancels = [(rng.randrange(25), rng.randrange(n_tasks)) for _ in range(rng.randrange(6))]

    async def main():
        one = make_one()

        async def worker(i):
            try:
                for operation, pause in zip(plans[i], sleeps[i]):
                    try:
                        await operation(t, one, i, pause)
                    except (asyncio.CancelledError, RuntimeError, ValueError) as exc:
                        t.say(i, "raised", exc)
                    await passes(sleeps[i][-1])
            finally:
                t.say(i, "ends")

        tasks = [asyncio.ensure_future(worker(i)) for i in range(n_tasks)]
        for now in range(60):
            for when, who in cancels:
                if when == now:
                    t.say("cancel", who, tasks[who].cancel())
            await passes()
            t.say(now, shown(one))
        t.say("left", [task.done() for task in tasks])
        for _ in range(30):
            if all(task.done() for task in tasks):
                break
            for task in tasks:
                task.cancel()
            await passes(2)
        t.say("end", [task.done() for task in tasks])

    t.run(main())


async def hold(t, lock, i, pause):
    async with lock:
        t.say(i, "in")
        await passes(pause)
        t.say(i, "out")


async def take_and_give(t, lock, i, pause):
    t.say(i, "acquired", await lock.acquire())
    try:
        await passes(pause)
    finally:
        lock.release()


async def release_only(t, lock, i, pause):
    lock.release()


async def await_event(t, event, i, pause):
    t.say(i, await event.wait())


async def set_event(t, event, i, pause):
    await passes(pause)
    event.set()
    if pause:
        event.clear()


async def wait_condition(t, condition, i, pause):
    async with condition:
        try:
            t.say(i, "notified", await condition.wait())
        finally:
            t.say(i, "holds it", condition.locked())
            await passes(pause)


async def notify_condition(t, condition, i, pause):
    async with condition:
        await passes(pause)
        condition.notify(pause + 1) if pause else condition.notify_all()
        await passes(1)


async def pass_barrier(t, barrier, i, pause):
    await passes(pause)
    try:
        t.say(i, "index", await barrier.wait())
    except asyncio.BrokenBarrierError as exc:
        t.say(i, exc)


async def reset_barrier(t, barrier, i, pause):
    await barrier.reset()


async def abort_barrier(t, barrier, i, pause):
    await (barrier.reset() if pause else barrier.abort())


PROGRAMS = {
    "Lock": ((), [hold, take_and_give]),
    "Semaphore": ((2,), [hold, take_and_give, release_only]),
    "BoundedSemaphore": ((2,), [hold, take_and_give, release_only]),
    "Event": ((), [await_event, await_event, set_event]),
    "Condition": ((), [wait_condition, wait_condition, notify_condition, hold]),
    "Barrier": ((3,), [pass_barrier, pass_barrier, pass_barrier, reset_barrier, abort_barrier]),
}


@pytest.mark.parametrize("kit", MIXED)
@pytest.mark.parametrize("name", PROGRAMS)
def test_random_programs(name, kit):
    args, operations = PROGRAMS[name]
    for seed in range(40):
        def scenario(t, seed=seed):
            chaos(t, seed, lambda: make(t, name, *args), operations)

        expected, got = observe(scenario, ORACLE), observe(scenario, KITS[kit])
        assert got == expected, f"seed {seed}"
        assert "exception" not in expected


# ---- cancellation

@mixed
def test_a_cancelled_waiter_passes_the_lock_on(t):
    async def main():
        for name in LOCKS:
            lock = make(t, name)
            await lock.acquire()
            tasks = [asyncio.ensure_future(lock.acquire()) for _ in range(3)]
            await passes()
            lock.release()  # the first is woken ...
            tasks[0].cancel()  # ... and cancelled in the same pass
            await passes(3)
            t.say(name, [task.done() for task in tasks], shown(lock))
            tasks[2].cancel()
            await passes(2)
            t.say(name, [task.done() for task in tasks], shown(lock), await asyncio.gather(*tasks, return_exceptions=True))

    t.run(main())


@mixed
def test_messages_of_cancellations(t):
    async def main():
        for name, method in (("Lock", "acquire"), ("Semaphore", "acquire"), ("Event", "wait"), ("Condition", "acquire")):
            lock = make(t, name)
            if method == "acquire":
                await lock.acquire()
            task = asyncio.ensure_future(getattr(lock, method)())
            await passes()
            task.cancel("why")
            try:
                await task
            except asyncio.CancelledError as exc:
                t.say(name, exc.args, exc.__context__)

    t.run(main())


@mixed
def test_a_condition_cancelled_while_it_takes_the_lock_again(t):
    async def main():
        condition = make(t, "Condition")
        async def waiter():
            async with condition:
                try:
                    await condition.wait()
                except asyncio.CancelledError as exc:
                    t.say("cancelled", exc.args, condition.locked(), exc.__context__)
                    raise
        tasks = [asyncio.ensure_future(waiter()) for _ in range(3)]
        await passes(2)
        async with condition:
            condition.notify()
            await passes()
            tasks[0].cancel("first")
            await passes()
            tasks[0].cancel("second")
            await passes()
            t.say(tasks[0].done(), shown(condition))
        await passes(3)
        t.say([task.done() for task in tasks], shown(condition))
        for task in tasks:
            task.cancel("both")
        t.say(await asyncio.gather(*tasks, return_exceptions=True))

    t.run(main())


@mixed
def test_timeouts(t):
    async def main():
        lock = make(t, "Lock")
        await lock.acquire()
        for _ in range(2):
            try:
                await asyncio.wait_for(lock.acquire(), 0.001)
            except TimeoutError as exc:
                t.say("timeout", exc)
        t.say(shown(lock))
        lock.release()
        t.say(await asyncio.wait_for(lock.acquire(), 30))

    t.run(main())


# ---- coroutines

@mixed
def test_what_the_coroutines_are(t):
    async def main():
        for name in EVERY:
            one = make(t, name)
            coroutine = one.wait() if name in ("Event", "Barrier") else one.acquire()
            t.say(name, asyncio.iscoroutine(coroutine), inspect.isawaitable(coroutine), isinstance(coroutine, types.CoroutineType))
            t.say(coroutine.__name__, coroutine.__qualname__, coroutine.cr_running, coroutine.cr_await)
            method = one.acquire if name == "Condition" else getattr(type(one), coroutine.__name__)
            t.say(asyncio.iscoroutinefunction(method), inspect.iscoroutinefunction(method) or sys.version_info < (3, 12), method.__name__)
            t.say(str(inspect.signature(method)), method.__qualname__)
            if name == "Event":
                one.set()
            if name != "Barrier":
                t.say(await coroutine)
                t.attempt(coroutine.send, None)
            coroutine.close()
            coroutine.close()

    t.run(main())


@mixed
def test_never_awaited(t):
    async def main():
        make(t, "Lock").acquire()
        make(t, "Event").wait()
        make(t, "Semaphore").acquire()
        make(t, "Condition").wait()
        make(t, "Condition").wait_for(bool)
        make(t, "Barrier").wait()
        make(t, "Lock").__aenter__()
        make(t, "Lock").__aexit__(None, None, None)

    t.run(main())


@mixed
def test_driven_by_hand(t):
    async def main():
        lock = make(t, "Lock")
        await lock.acquire()
        for end in ("close", "throw", "send"):
            coroutine = lock.acquire()
            t.attempt(coroutine.send, 1)
            future = coroutine.send(None)
            t.say(asyncio.isfuture(future), len(lock._waiters), coroutine.cr_await is not None)
            if end == "close":
                t.say(coroutine.close())
            elif end == "throw":
                t.attempt(coroutine.throw, ValueError("thrown"))
            else:
                future.set_result(None)
                t.attempt(coroutine.send, None)
            t.say(end, len(lock._waiters), lock.locked())
            t.attempt(coroutine.send, None)
            t.attempt(coroutine.throw, KeyError())
            coroutine.close()
        t.attempt(lock.acquire().throw, ValueError("at first"))

    t.run(main())


@mixed
def test_awaited_twice(t):
    async def main():
        lock = make(t, "Lock")
        await lock.acquire()
        coroutine = lock.acquire()

        async def wait():
            await coroutine

        first, second = asyncio.ensure_future(wait()), asyncio.ensure_future(wait())
        await passes(2)
        lock.release()
        t.say(await asyncio.gather(first, second, return_exceptions=True))

    t.run(main())


# ---- loops

@mixed
def test_bound_to_a_loop(t):
    for name in ("Lock", "Semaphore", "Event", "Condition"):
        lock = make(t, name)
        method = "wait" if name == "Event" else "acquire"
        t.say(lock._loop if name != "Condition" else lock._lock._loop)

        async def bind():
            if method == "acquire":
                await lock.acquire()
            task = asyncio.ensure_future(getattr(lock, method)())
            await passes()
            t.say((lock._lock if name == "Condition" else lock)._loop is asyncio.get_running_loop())
            task.cancel()
            await asyncio.wait([task])

        async def fail():
            try:
                await getattr(lock, method)()
            except RuntimeError as exc:
                t.say(re.sub(r"\b(?:asyncio\.locks|asyncloop)\.", "", str(exc)))

        t.run(bind())
        other = t.new_loop()
        other.run_until_complete(fail())


@mixed
def test_without_a_loop(t):
    lock = make(t, "Lock")
    coroutine = lock.acquire()
    t.attempt(coroutine.send, None)
    coroutine = lock.acquire()
    t.attempt(coroutine.send, None)
    t.attempt(lock._get_loop)


# ---- classes

@mixed
def test_arguments(t):
    for name in EVERY:
        cls = getattr(t.kit.classes, name)
        for args, kw in (((1, 2, 3), {}), ((), {"loop": None}), ((), {"value": 2}), ((), {"lock": None}), ((), {"parties": 2}), ((), {})):
            try:
                cls(*args, **kw)
                t.say(name, "made", len(args), kw)
            except TypeError as exc:
                t.say(name, exc)
        one = make(t, name)
        for method in ("acquire", "wait", "release", "locked", "set", "notify", "wait_for"):
            if hasattr(one, method):
                for args, kw in (((1, 2), {}), ((), {"wrong": 1})):
                    try:
                        getattr(one, method)(*args, **kw)
                    except TypeError as exc:
                        if method in ("acquire", "wait", "wait_for"):
                            t.say(name, method, exc)


@mixed
def test_subclasses(t):
    class Loud(t.kit.classes.Lock):
        extra = None

        async def acquire(self):
            t.say("acquire")
            return await super().acquire()

        def release(self):
            t.say("release")
            super().release()

    class Counted(t.kit.classes.Semaphore):
        def locked(self):
            t.say("asked")
            return super().locked()

    class Named(t.kit.classes.Condition):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def release(self):
            t.say("never called: the lock's own stands on the instance")

        async def wait(self):
            t.say("wait", self.name)
            return await super().wait()

        def notify(self, n=1):
            t.say("notify", n)
            super().notify(n)

    class Gate(t.kit.classes.Barrier):
        async def wait(self):
            t.say("wait at the gate")
            return await super().wait()

        @property
        def broken(self):
            return True

    async def main():
        lock = Loud()
        async with lock:
            t.say(shown(lock).replace(__name__, ""), lock.locked())
        lock.extra = 5
        t.say(lock.__dict__["extra"], Loud.__mro__[1].__name__)
        counted = Counted(1)
        async with counted:
            t.say(re.sub("0x.*? ", "", repr(counted)).split("[")[1])
        named = Named("n")
        async def waiter():
            async with named:
                return await named.wait_for(lambda: named.name == "done")
        task = asyncio.ensure_future(waiter())
        await passes(3)
        async with named:
            named.name = "done"
            named.notify_all()
        t.say(await task, "release" in vars(named), "name" in vars(named))
        condition = t.kit.classes.Condition(lock)
        async with condition:
            t.say(condition.locked())
        gate = Gate(1)
        async with gate as index:
            t.say(index, repr(gate).split("[")[1])

    t.run(main())


@mixed
def test_instances_take_attributes_and_weak_references(t):
    for name in EVERY:
        one = make(t, name)
        one.note = name
        t.say(one.note, one.__dict__.get("note"), weakref.ref(one)() is one, type(one).__name__, type(one).__qualname__)
        for attribute in ("_waiters", "_locked", "_value", "_loop", "_state", "_count", "_parties", "_bound_value"):
            if hasattr(one, attribute):
                t.say(attribute, shown(getattr(one, attribute)))


@mixed
def test_what_is_put_on_the_instance_is_called(t):
    async def main():
        lock, calls = make(t, "Lock"), []
        lock.release = lambda: calls.append("release")
        async with lock:
            pass
        t.say(calls, lock.locked())
        condition = make(t, "Condition")
        condition.locked = lambda: True
        condition.release = lambda: calls.append("condition")
        condition.notify()
        task = asyncio.ensure_future(condition.wait())
        await passes()
        condition.notify()
        t.say(await task, calls)

    t.run(main())


@mixed
def test_patched_classes(t):
    from unittest import mock

    classes = t.kit.classes

    async def main():
        calls = []

        async def acquire(self):
            calls.append("acquire")
            return True

        lock, condition = classes.Lock(), classes.Condition()
        with mock.patch.object(classes.Lock, "acquire", acquire), mock.patch.object(classes.Lock, "release", lambda self: calls.append("release")):
            async with lock:
                t.say(lock.locked())
            async with classes.Condition():
                pass
        async with lock, condition:
            t.say(lock.locked(), condition.locked())
        with mock.patch.object(classes.Queue, "put_nowait", side_effect=ValueError):
            try:
                await classes.Queue().put(1)
            except ValueError:
                t.say("patched")
        with mock.patch.object(classes.Event, "wait", mock.AsyncMock(return_value="mocked")):
            t.say(await classes.Event().wait())
        t.say(calls)
        spec = mock.create_autospec(classes.Queue, instance=True)
        t.say(asyncio.iscoroutine(spec.get()), asyncio.iscoroutine(spec.get_nowait()), isinstance(spec, classes.Queue))
        spec = mock.MagicMock(spec=classes.Queue)
        t.say(type(spec.get).__name__, type(spec.get_nowait).__name__)
        t.keep_warnings = False  # one was never awaited

    t.run(main())


@mixed
def test_awaiting_the_object_itself(t):
    async def main():
        for name in LOCKS:
            one = make(t, name)
            try:
                await one
            except TypeError as exc:
                t.say(exc)
            try:
                with one:
                    pass
            except (TypeError, AttributeError) as exc:
                t.say(type(exc))

    t.run(main())


@mixed
def test_waiters_in_the_deque_are_asyncios(t):
    async def main():
        lock = make(t, "Lock")
        await lock.acquire()
        tasks = [asyncio.ensure_future(lock.acquire()) for _ in range(3)]
        await passes()
        waiters = lock._waiters
        t.say(type(waiters).__name__, [waiter.done() for waiter in waiters])
        waiters[0].cancel()
        await passes(2)
        t.say([task.cancelled() for task in tasks], len(waiters))
        waiters[0].set_exception(ValueError("set by the test"))
        await passes(2)
        lock.release()
        t.say(await asyncio.gather(*tasks, return_exceptions=True))

    t.run(main())


@pytest.mark.parametrize("name", EVERY)
def test_a_blocked_coroutine_that_is_dropped_cleans_up(name):
    cls = getattr(OURS.classes, name)
    loop = OURS.new_loop()

    async def main():
        one = cls(2) if name == "Barrier" else cls()
        if name not in ("Event", "Barrier"):
            await one.acquire()
        coroutine = one.wait() if name in ("Event", "Barrier") else one.acquire()
        coroutine.send(None)
        del coroutine
        holder = one._cond if name == "Barrier" else one._lock if name == "Condition" else one
        assert not holder._waiters

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


@same
def test_nothing_is_left_to_the_collector(t):
    async def main():
        lock = make(t, "Lock")
        for _ in range(3):
            async with lock:
                pass
        seen = weakref.ref(lock)
        del lock
        t.say(seen() is None)

    t.run(main())
