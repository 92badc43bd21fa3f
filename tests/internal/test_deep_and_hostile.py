"""Coroutines in coroutines, gathers in gathers, deeper than any stack; locks whose waiters are somebody's objects that change the lock while they are asked."""
import gc
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

import asyncloop
from sidebyside import OURS


@pytest.fixture
def loop():
    loop = OURS.new_loop()
    yield loop
    loop.close()
    gc.collect()


def run(loop, coro):
    return loop.run_until_complete(asyncloop.wait_for(coro, 60))


def run_alone(source):
    """In a process of its own, where freed memory is overwritten: a pointer into it does not go unnoticed."""
    environment = os.environ | {"PYTHONMALLOC": os.environ.get("PYTHONMALLOC", "debug"), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(source)], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


NESTED = """
    import asyncloop, sys

    loop = asyncloop.new_event_loop()

    async def leaf():
        await loop.create_future()

    def nested(depth):
        coro = leaf()
        for _ in range(depth):
            coro = asyncloop.wait_for(coro, None)
        return coro

    def deepest():
        depth = 4000
        while True:
            coro = nested(depth)
            try:
                coro.send(None)
                return coro
            except RecursionError:
                depth //= 2

    async def main():
"""


@pytest.mark.parametrize(
    "act, says",
    [
        ("nested(200_000).send(None)", "RecursionError"),
        ("await loop.create_task(nested(200_000))", "RecursionError"),
        ("nested(200_000).close()", "None"),
        ("nested(200_000).throw(KeyError())", "KeyError"),
        ("deepest().throw(KeyError())", "KeyError"),
        ("deepest().close()", "None"),
        ("deepest()", "None"),
    ],
)
def test_coroutines_in_coroutines(act, says):
    out = run_alone(
        textwrap.dedent(NESTED)
        + textwrap.indent(
            f"try:\n    {act}\nexcept BaseException as e:\n    print(type(e).__name__)\nelse:\n    print(None)\n", "    "
        )
        + "\nloop.run_until_complete(main())\n"
    )
    assert out.split() == [says]


def test_gathers_in_gathers():
    out = run_alone("""
        import asyncloop

        loop = asyncloop.new_event_loop()
        future = loop.create_future()
        for _ in range(200_000):
            future = asyncloop.gather(future)
        try:
            future.cancel()
        except RecursionError:
            print("RecursionError")
        loop.close()
        """)
    assert out.split() == ["RecursionError"]


HOSTILE = """
    import collections, gc
    import asyncloop

    class Deque(collections.deque):
        act = None

        def __bool__(self):
            act, self.act = self.act, None
            if act:
                act()
            return len(self) > 0

    class Waiter:
        def __init__(self, act):
            self.act = act

        def done(self):
            self.act()
            return True

    loop = asyncloop.new_event_loop()

    def waiters(act):
        deque = Deque([loop.create_future()])
        deque.act = act
        return deque

    def drop(object):
        object._waiters = collections.deque()
        gc.collect()

    def step(coro):
        try:
            coro.send(None)
        except (StopIteration, RuntimeError):
            pass

    async def main():
"""


@pytest.mark.parametrize(
    "source",
    [
        "lock = asyncloop.Lock(); lock._waiters = waiters(lambda: drop(lock)); step(lock.acquire())",
        "lock = asyncloop.Semaphore(0); lock._waiters = waiters(lambda: drop(lock)); lock.release()",
        "event = asyncloop.Event(); event._waiters = waiters(lambda: drop(event)); event.set()",
        "event = asyncloop.Condition(); step(event.acquire()); event._waiters = collections.deque([Waiter(lambda: drop(event))]); event.notify()",
        "barrier = asyncloop.Barrier(2); barrier._cond._lock._waiters = waiters(lambda: barrier.__init__(3)); step(barrier.wait())",
        "barrier = asyncloop.Barrier(2); barrier._cond.locked = lambda: barrier.__init__(3) or True; step(barrier.abort())",
    ],
)
def test_waiters_that_drop_their_deque(source):
    run_alone(textwrap.dedent(HOSTILE) + "    " + source + "\nloop.run_until_complete(main())\n")


def test_a_condition_that_is_its_own_lock():
    out = run_alone("""
        import asyncloop

        condition = asyncloop.Condition.__new__(asyncloop.Condition)
        condition._lock = condition
        for ask in (lambda: condition.locked, lambda: repr(condition), condition.notify):
            try:
                ask()
            except RecursionError:
                print("RecursionError")
        """)
    assert out.split() == ["RecursionError"] * 3


def test_a_deadline_that_replaces_itself_when_it_is_compared():
    out = run_alone("""
        import asyncloop

        class Deadline:
            def __le__(self, other):
                timeouts[0].reschedule(None)
                return NotImplemented

        async def main():
            timeouts = globals()["timeouts"] = [asyncloop.Timeout(Deadline())]
            async with timeouts[0]:
                pass

        try:
            asyncloop.run(main())
        except TypeError:
            print("TypeError")
        """)
    assert out.split() == ["TypeError"]


def test_an_item_of_the_pool_run_again_while_it_runs(loop):
    """What the call was made of stays there until it returns."""
    pool, hold, seen, ready = ThreadPoolExecutor(1), threading.Event(), [], threading.Event()
    if not hasattr(pool, "_work_queue"):
        pytest.skip("this Python's pool has no such queue")

    class Victim:
        pass

    class Asked:
        def __getattr__(self, name):
            items[0].run()
            seen.append(probe() is not None)
            raise AttributeError(name)

    async def main():
        nonlocal probe
        first = loop.run_in_executor(pool, lambda: (ready.set(), hold.wait()))
        victim = Victim()
        probe = weakref.ref(victim)
        default = loop.run_in_executor(pool, getattr, Asked(), "name", victim)
        del victim
        assert await asyncloop.to_thread(ready.wait, 60)
        items.append(pool._work_queue.get_nowait())
        pool._work_queue.put(items[0])
        hold.set()
        await first
        return type(await default)

    probe, items = None, []
    try:
        assert run(loop, main()) is Victim and seen == [True]
    finally:
        hold.set()
        pool.shutdown()


def test_a_loop_with_a_key_that_cannot_be_compared(loop):
    """What its lookup raises is raised by who looks it up, not left behind for somebody else."""

    class Key:
        def __hash__(self):
            return hash("create_task")

        def __eq__(self, other):
            raise ZeroDivisionError

    async def nothing():
        pass

    async def main():
        key, coro, caught = Key(), nothing(), []
        loop.__dict__[key] = None
        try:
            for call in (asyncloop.gather, asyncloop.shield, asyncloop.ensure_future):
                try:
                    call(coro)
                except Exception as e:
                    caught.append(type(e))
        finally:
            del loop.__dict__[key]
            coro.close()
        return caught

    assert run(loop, main()) == [ZeroDivisionError] * 3
