"""Other threads: call_soon_threadsafe, run_coroutine_threadsafe, several loops at once, executors."""
import asyncio
import concurrent.futures
import contextvars
import threading
import time

import pytest

from sidebyside import PATIENCE, same


def in_thread(target, *args):
    thread = threading.Thread(target=target, args=args)
    thread.start()
    return thread


@pytest.fixture
def running(new_loop):
    """A loop that runs in a thread of its own."""
    loop = new_loop()
    thread = in_thread(loop.run_forever)
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30 * PATIENCE)
    assert not thread.is_alive()


# --- call_soon_threadsafe

def test_wakes_a_sleeping_loop(running):
    time.sleep(0.01)  # asleep in the poll by now
    for _ in range(20):
        seen = threading.Event()
        running.call_soon_threadsafe(seen.set)
        assert seen.wait(30 * PATIENCE)


def test_wakes_a_loop_that_waits_for_a_timer(loop):
    loop.call_later(30, loop.stop)
    started = time.monotonic()
    thread = in_thread(lambda: (time.sleep(0.02), loop.call_soon_threadsafe(loop.stop)))
    loop.run_forever()
    thread.join()
    assert time.monotonic() - started < 20


def test_no_call_is_lost_from_four_threads(running):
    n, seen, done = 2000, [], threading.Event()

    def on_call(who, i):
        seen.append((who, i))
        if len(seen) == 4 * n:
            done.set()

    threads = [in_thread(lambda who=who: [running.call_soon_threadsafe(on_call, who, i) for i in range(n)])
               for who in range(4)]
    for thread in threads:
        thread.join()
    assert done.wait(30 * PATIENCE)
    for who in range(4):
        assert [i for w, i in seen if w == who] == list(range(n))


def test_before_the_loop_runs(loop):
    seen = []
    in_thread(lambda: [loop.call_soon_threadsafe(seen.append, i) for i in range(10)]).join()
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()
    assert seen == list(range(10))


def test_from_the_own_thread_and_between_runs(loop):
    seen = []
    loop.call_soon_threadsafe(seen.append, 1)
    loop.call_soon(seen.append, 2)
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()
    loop.call_soon_threadsafe(seen.append, 3)
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()
    assert seen == [1, 2, 3]


@same
def test_threadsafe_on_a_closed_loop(t):
    t.loop.close()
    t.attempt(t.loop.call_soon_threadsafe, print)
    results = []

    def call():
        try:
            t.loop.call_soon_threadsafe(print)
        except Exception as exc:
            results.append(exc)

    in_thread(call).join()
    t.say(results)


def test_closing_races_with_threads(kit):
    """Calls from threads while the loop is closed end in RuntimeError, never worse."""
    for _ in range(10):
        loop = kit.new_loop()
        stop, errors = threading.Event(), []

        def hammer():
            while not stop.is_set():
                try:
                    loop.call_soon_threadsafe(int)
                except RuntimeError as exc:
                    errors.append(str(exc))
                    return

        threads = [in_thread(hammer) for _ in range(2)]
        loop.call_later(0.002, loop.stop)
        loop.run_forever()
        loop.close()
        for thread in threads:
            thread.join(30 * PATIENCE)
        stop.set()
        assert errors == ["Event loop is closed"] * 2


def test_stop_from_a_thread(loop):
    thread = in_thread(lambda: (time.sleep(0.005), loop.call_soon_threadsafe(loop.stop)))
    loop.run_forever()
    thread.join()
    assert not loop.is_running()


def test_context_of_the_calling_thread(running):
    var = contextvars.ContextVar("var", default="none")
    seen, done = [], threading.Event()
    var.set("main")
    running.call_soon_threadsafe(lambda: seen.append(var.get()))

    def other():
        var.set("thread")
        running.call_soon_threadsafe(lambda: (seen.append(var.get()), done.set()))

    in_thread(other).join()
    assert done.wait(30 * PATIENCE)
    assert seen == ["main", "thread"]


# --- run_coroutine_threadsafe, wrap_future, run_in_executor

async def double(n):
    await asyncio.sleep(0.001)
    return 2 * n


async def fail():
    await asyncio.sleep(0)
    raise LookupError("in the loop")


def test_run_coroutine_threadsafe(running):
    futures = [asyncio.run_coroutine_threadsafe(double(i), running) for i in range(50)]
    assert [f.result(10) for f in futures] == [2 * i for i in range(50)]
    with pytest.raises(LookupError, match="in the loop"):
        asyncio.run_coroutine_threadsafe(fail(), running).result(10)


def test_run_coroutine_threadsafe_cancel(running):
    cancelled = threading.Event()

    async def long():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    future = asyncio.run_coroutine_threadsafe(long(), running)
    time.sleep(0.01)
    assert future.cancel()
    assert cancelled.wait(30 * PATIENCE)
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(30 * PATIENCE)


def test_run_coroutine_threadsafe_timeout(running):
    future = asyncio.run_coroutine_threadsafe(asyncio.sleep(60), running)
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(0.01)
    future.cancel()


def test_future_filled_through_the_loop(running):
    async def wait_for_it():
        future = asyncio.get_running_loop().create_future()
        threading.Timer(0.005, lambda: running.call_soon_threadsafe(future.set_result, "from a thread")).start()
        return await future

    assert asyncio.run_coroutine_threadsafe(wait_for_it(), running).result(10) == "from a thread"


def test_executor(loop):
    async def main():
        results = await asyncio.gather(*(loop.run_in_executor(None, pow, i, 2) for i in range(40)))
        assert results == [i * i for i in range(40)]
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 // 0)
        names = {await loop.run_in_executor(None, lambda: threading.current_thread().name) for _ in range(5)}
        return names

    names = loop.run_until_complete(main())
    assert all(name.startswith("asyncio_") for name in names)


def test_executor_cancelled_wait(loop):
    release = threading.Event()

    async def main():
        future = loop.run_in_executor(None, release.wait, 10)
        await asyncio.sleep(0.005)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        release.set()

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


async def gives_its_value(awaitable):
    return await awaitable


@same
def test_executor_wrong_use(t):
    t.attempt(t.loop.set_default_executor, object())
    t.attempt(t.loop.set_default_executor, None)
    t.attempt(t.run, gives_its_value(t.loop.run_in_executor(None, None)))
    t.attempt(lambda: t.loop.run_in_executor(5, print))

    async def coro():
        pass

    t.loop.set_debug(True)
    t.attempt(t.loop.run_in_executor, None, coro)
    c = coro()
    t.attempt(t.loop.run_in_executor, None, c)
    c.close()
    t.loop.set_debug(False)
    t.loop.run_until_complete(t.loop.shutdown_default_executor())
    t.attempt(t.loop.run_in_executor, None, print)
    t.loop.close()
    t.attempt(t.loop.run_in_executor, None, print)


@same
def test_executor_attributes_and_shutdown(t):
    t.say(t.loop._default_executor, t.loop._executor_shutdown_called)
    t.say(t.loop.run_until_complete(t.loop.run_in_executor(None, int)))
    t.say(type(t.loop._default_executor).__name__)
    t.loop.run_until_complete(t.loop.shutdown_default_executor())
    t.say(t.loop._executor_shutdown_called)
    t.loop.run_until_complete(t.loop.shutdown_default_executor())


def test_own_default_executor_is_used_and_shut_down(loop):
    pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine")
    loop.set_default_executor(pool)
    name = loop.run_until_complete(loop.run_in_executor(None, lambda: threading.current_thread().name))
    assert name.startswith("mine")
    loop.run_until_complete(loop.shutdown_default_executor())
    with pytest.raises(RuntimeError):
        pool.submit(int)


# --- several loops

def test_a_loop_in_each_of_several_threads(kit):
    results, errors = {}, []

    def work(n):
        loop = kit.new_loop()
        try:
            asyncio.set_event_loop(loop)

            async def main():
                assert asyncio.get_running_loop() is loop
                total = 0
                for i in range(50):
                    total += sum(await kit.gather(kit.sleep(0, n), kit.sleep(0.0001, i)))
                    assert asyncio.current_task().get_loop() is loop
                    assert len(asyncio.all_tasks()) == 1
                return total

            results[n] = loop.run_until_complete(main())
        except BaseException as exc:
            errors.append(exc)
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    threads = [in_thread(work, n) for n in range(4)]
    for thread in threads:
        thread.join(20 * PATIENCE)
    assert not errors
    assert results == {n: 50 * n + sum(range(50)) for n in range(4)}


def test_loop_made_in_one_thread_and_run_in_another(new_loop):
    loop = new_loop()
    seen = []

    def run():
        seen.append(loop.run_until_complete(asyncio.sleep(0.001, "other thread")))

    in_thread(run).join()
    seen.append(loop.run_until_complete(asyncio.sleep(0.001, "this thread")))
    assert seen == ["other thread", "this thread"]


def test_running_loop_is_per_thread(new_loop):
    loop = new_loop()
    seen = []

    async def main():
        def look():
            try:
                asyncio.get_running_loop()
            except RuntimeError as exc:
                seen.append(str(exc))

        in_thread(look).join()
        assert asyncio.get_running_loop() is loop

    loop.run_until_complete(main())
    assert seen == ["no running event loop"]
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_running_a_loop_that_runs_elsewhere(running):
    coro = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="This event loop is already running"):
        running.run_until_complete(coro)
    coro.close()
    with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
        running.close()
    assert running.is_running() and not running.is_closed()
    # the last one, as asyncio 3.13 then takes the loop for a stopped one
    with pytest.raises(RuntimeError, match="This event loop is already running"):
        running.run_forever()


def test_all_tasks_of_another_threads_loop(kit, running):
    started, tasks = threading.Event(), []

    async def sit():
        await kit.sleep(60)

    async def main():
        tasks.extend(running.create_task(sit(), name=f"sitter {i}") for i in range(20))
        await asyncio.sleep(0)
        started.set()

    asyncio.run_coroutine_threadsafe(main(), running).result(30 * PATIENCE)
    assert started.wait(30 * PATIENCE)
    for _ in range(20):
        names = {task.get_name() for task in asyncio.all_tasks(running) if task.get_name().startswith("sitter")}
        assert names == {f"sitter {i}" for i in range(20)}
    assert asyncio.current_task(running) is None

    async def end():
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    asyncio.run_coroutine_threadsafe(end(), running).result(30 * PATIENCE)


def test_all_tasks_while_the_other_thread_makes_and_drops_them(running, kit):
    """Many looks at the tasks of a loop that makes and drops them all the while: no crash, and its main task, which stays, is seen."""
    started, stop = threading.Event(), threading.Event()

    async def brief():
        await kit.sleep(0)

    async def churn():
        started.set()
        while not stop.is_set():
            await kit.gather(*(brief() for _ in range(20)))

    future = asyncio.run_coroutine_threadsafe(churn(), running)
    assert started.wait(30 * PATIENCE)
    most, looks, deadline = 0, 0, time.monotonic() + 30 * PATIENCE
    while (most < 1 or looks < 100) and time.monotonic() < deadline:
        looks += 1
        try:
            most = max(most, len(asyncio.all_tasks(running)))
        except RuntimeError:
            pass  # asyncio gives up when its set changes 1000 times under it
    stop.set()
    future.result(30 * PATIENCE)
    assert most >= 1
