"""Loops, tasks and futures used from threads that do not own them, without debug mode: nothing may break the interpreter."""
import asyncio
import gc
import threading
import time

import pytest

from sidebyside import OURS, PATIENCE

SECONDS = 0.4

# asyncio's own C Future crashes the interpreter in these.
ours_only = pytest.mark.parametrize("kit", [OURS], ids=["asyncloop"])


@pytest.fixture
def running(new_loop):
    loop = new_loop()
    loop.set_exception_handler(lambda loop, context: None)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(60 * PATIENCE)
    assert not thread.is_alive()


def hammer(*actions):
    """Each action in a thread of its own, again and again for a while."""
    stop = threading.Event()
    errors = []

    def work(action):
        while not stop.is_set():
            try:
                action()
            except (RuntimeError, asyncio.InvalidStateError, asyncio.CancelledError):
                pass
            except BaseException as exc:
                errors.append(exc)
                return

    threads = [threading.Thread(target=work, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    time.sleep(SECONDS)
    stop.set()
    for thread in threads:
        thread.join(60 * PATIENCE)
        assert not thread.is_alive()
    assert errors == []


def alive(loop):
    """The loop still runs what it is given."""
    assert asyncio.run_coroutine_threadsafe(asyncio.sleep(0.001, "alive"), loop).result(60 * PATIENCE) == "alive"


def test_threadsafe_scheduling_and_cancelling(running):
    kept = []

    def schedule():
        kept.append(running.call_soon_threadsafe(int))
        if len(kept) > 100:
            del kept[:50]

    hammer(schedule, schedule, lambda: [h.cancel() for h in list(kept)], lambda: [repr(h) for h in list(kept)])
    alive(running)


@ours_only
def test_futures_shared_by_threads(running, kit):
    box = [kit.Future(loop=running)]

    def renew():
        box[0] = kit.Future(loop=running)
        time.sleep(0)

    hammer(renew, lambda: box[0].add_done_callback(id), lambda: box[0].remove_done_callback(id), lambda: box[0].cancel("x"),
           lambda: box[0].set_result(1) if not box[0].done() else None, lambda: repr(box[0]), lambda: box[0]._callbacks)
    alive(running)


@ours_only
def test_tasks_shared_by_threads(running, kit):
    async def body():
        for _ in range(5):
            await kit.sleep(0)

    box = []

    async def make():
        box[:] = [running.create_task(body()) for _ in range(10)]
        await asyncio.wait(box)

    def renew():
        asyncio.run_coroutine_threadsafe(make(), running).result(10)

    hammer(renew, lambda: [repr(t) for t in list(box)], lambda: [t.cancel() for t in list(box)],
           lambda: [t.get_stack() for t in list(box)], lambda: [t.get_name() for t in list(box)],
           lambda: len(asyncio.all_tasks(running)), lambda: asyncio.current_task(running))
    alive(running)


def test_garbage_collector_in_other_threads(running, kit):
    async def churn():
        while True:
            await kit.gather(*(kit.sleep(0) for _ in range(5)))
            future = kit.Future(loop=running)
            future.itself = future

    future = asyncio.run_coroutine_threadsafe(churn(), running)
    hammer(gc.collect, lambda: asyncio.all_tasks(running))
    future.cancel()
    alive(running)


def test_loops_made_and_closed_in_many_threads(kit):
    def cycle():
        loop = kit.new_loop()
        try:
            assert loop.run_until_complete(kit.sleep(0, 5)) == 5
        finally:
            loop.close()

    hammer(cycle, cycle, cycle)


def test_two_loops_feed_each_other(new_loop, kit):
    loops = [new_loop(), new_loop()]
    threads = [threading.Thread(target=loop.run_forever) for loop in loops]
    for thread in threads:
        thread.start()
    done = threading.Event()

    def ping(n):
        if n == 0:
            done.set()
        else:
            loops[n % 2].call_soon_threadsafe(ping, n - 1)

    try:
        loops[0].call_soon_threadsafe(ping, 2000)
        assert done.wait(60 * PATIENCE)
    finally:
        for loop, thread in zip(loops, threads):
            loop.call_soon_threadsafe(loop.stop)
            thread.join(60)


def test_dropping_the_last_reference_elsewhere(new_loop, kit):
    """Futures, tasks and handles of a loop die in another thread."""
    loop = new_loop()

    async def main():
        for _ in range(20):
            box = [kit.Future(loop=loop), loop.create_task(kit.sleep(0)), loop.call_soon(int), loop.call_later(60, int)]
            box[3].cancel()
            await box[1]
            thread = threading.Thread(target=box.clear)
            thread.start()
            thread.join()

    loop.run_until_complete(main())


def test_wakeups_are_not_lost():
    """A sleeping loop and a thread that rings once, many times over: each ring is heard."""
    loop = OURS.new_loop()
    heard = threading.Event()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        for i in range(500):
            heard.clear()
            loop.call_soon_threadsafe(heard.set)
            assert heard.wait(30 * PATIENCE), f"ring {i} was not heard"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
