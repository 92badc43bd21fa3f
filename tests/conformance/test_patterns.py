"""The patterns that every asyncio tutorial teaches, on asyncio and on asyncloop, by policy and by loop_factory."""
import asyncio
import concurrent.futures
import contextlib
import email.utils
import functools
import sys
import threading
import time
import types
import warnings

import pytest


async def add(a, b, delay=0.001):
    await asyncio.sleep(delay)
    return a + b


# --- getting and running a loop

def test_get_event_loop_run_until_complete_close(way):
    if not way.by_policy or sys.version_info >= (3, 14):
        asyncio.set_event_loop(way.new_loop())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 on: there is no current event loop
        loop = asyncio.get_event_loop()
    way.check(loop)
    try:
        assert loop.run_until_complete(add(1, 2)) == 3
        assert loop.run_until_complete(add(3, 4)) == 7
    finally:
        loop.close()
    assert loop.is_closed()


def test_new_event_loop_set_event_loop(way):
    loop = way.new_loop()
    way.check(loop)
    asyncio.set_event_loop(loop)
    try:
        assert asyncio.get_event_loop() is loop
        seen = []

        def hello(n):
            seen.append(n)
            if n == 3:
                loop.stop()
            else:
                loop.call_soon(hello, n + 1)

        loop.call_soon(hello, 1)
        loop.run_forever()
        assert seen == [1, 2, 3]
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_run_coroutine_object(way):
    async def main():
        way.check(asyncio.get_running_loop())
        return await add(20, 22)

    coro = main()
    assert way.run(coro) == 42
    assert way.run(main(), debug=True) == 42


def test_run_raises_and_cancels_leftovers(way):
    cancelled = []

    async def background():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def main():
        asyncio.create_task(background())
        await asyncio.sleep(0)
        raise LookupError("on purpose")

    with pytest.raises(LookupError, match="on purpose"):
        way.run(main())
    assert cancelled == [True]


# --- coroutines and tasks

def test_chained_coroutines(way):
    async def outer():
        order.append("outer")
        first = await inner("first")
        second = await inner(first + " second")
        return second

    async def inner(text):
        order.append(text)
        return await innermost(text)

    async def innermost(text):
        await asyncio.sleep(0)
        return f"<{text}>"

    order = []
    assert way.run(outer()) == "<<first> second>"
    assert order == ["outer", "first", "<first> second"]


def test_create_task_ensure_future_done(way):
    async def main():
        one = asyncio.create_task(add(1, 1), name="one")
        two = asyncio.ensure_future(add(2, 2))
        assert not one.done() and not two.done()
        assert one.get_name() == "one"
        assert isinstance(one, asyncio.Task) and isinstance(two, asyncio.Future)
        assert asyncio.ensure_future(one) is one
        assert await one == 2
        assert await two == 4
        assert one.done() and two.done() and one.result() == 2 and two.exception() is None

    way.run(main())


def test_polling_task_done(way):
    async def main():
        task = asyncio.create_task(add(5, 5, 0.005))
        turns = 0
        while not task.done():
            turns += 1
            await asyncio.sleep(0.001)
        return task.result(), turns

    result, turns = way.run(main())
    assert result == 10 and turns >= 2


def test_gather(way):
    async def fail():
        raise ValueError("no")

    async def main():
        assert await asyncio.gather(add(1, 2), add(3, 4), add(5, 6)) == [3, 7, 11]
        results = await asyncio.gather(add(1, 2), fail(), return_exceptions=True)
        assert results[0] == 3 and isinstance(results[1], ValueError)
        with pytest.raises(ValueError, match="no"):
            await asyncio.gather(add(1, 2), fail())

    way.run(main())


def test_wait(way):
    async def main():
        tasks = [asyncio.create_task(add(i, 0, 0.002 * i), name=str(i)) for i in range(4)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert tasks[0] in done and tasks[3] in pending
        done, pending = await asyncio.wait(tasks)
        assert not pending and {t.result() for t in done} == {0, 1, 2, 3}
        slow = asyncio.create_task(asyncio.sleep(10))
        done, pending = await asyncio.wait([slow], timeout=0.001)
        assert not done and pending == {slow}
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow

    way.run(main())


def test_as_completed(way):
    async def main():
        delays = [0.03, 0.001, 0.015]
        order = [await f for f in asyncio.as_completed([add(d, 0, d) for d in delays])]
        assert order == sorted(delays)
        with pytest.raises(asyncio.TimeoutError):
            for f in asyncio.as_completed([asyncio.sleep(5)], timeout=0.001):
                await f

    way.run(main())


def test_taskgroup(way):
    async def fail():
        await asyncio.sleep(0)
        raise KeyError("k")

    async def main():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(add(i, i)) for i in range(5)]
        assert [t.result() for t in tasks] == [0, 2, 4, 6, 8]
        with pytest.raises(BaseExceptionGroup) as info:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                sleeper = group.create_task(asyncio.sleep(10))
        assert [type(e) for e in info.value.exceptions] == [KeyError] and sleeper.cancelled()

    way.run(main())


def test_timeouts(way):
    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(10), 0.002)
        assert await asyncio.wait_for(add(1, 1), 10) == 2
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.002):
                await asyncio.sleep(10)
        task = asyncio.create_task(add(2, 3, 0.004))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(task), 0.001)
        assert await task == 5

    way.run(main())


# --- delayed and cancelled

def test_delayed_and_cancelled_callbacks(way):
    seen = []

    async def main():
        loop = asyncio.get_running_loop()
        now = loop.time()
        loop.call_at(now + 0.006, seen.append, "late")
        loop.call_at(now + 0.001, seen.append, "early")
        loop.call_at(now + 0.003, seen.append, "middle")
        handle = loop.call_later(0.002, seen.append, "never")
        handle.cancel()
        soon = loop.call_soon(seen.append, "never")
        soon.cancel()
        loop.call_soon(functools.partial(seen.append, "now"))
        assert handle.cancelled() and handle.when() > 0
        await asyncio.sleep(0.012)

    way.run(main())
    assert seen == ["now", "early", "middle", "late"]


def test_cancelled_tasks(way):
    cleaned = []

    async def worker():
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            cleaned.append("caught")
            raise
        finally:
            cleaned.append("finally")

    async def stubborn():
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError as exc:
            return exc.args

    async def main():
        task = asyncio.create_task(worker())
        await asyncio.sleep(0)
        assert task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled() and cleaned == ["caught", "finally"]
        never_started = asyncio.create_task(worker())
        never_started.cancel()
        with pytest.raises(asyncio.CancelledError):
            await never_started
        assert cleaned == ["caught", "finally"]
        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        task.cancel("please")
        assert await task == ("please",)
        assert not task.cancel()

    way.run(main())


# --- threads

def test_synchronous_code_from_async(way):
    def blocking(n, *, extra=0):
        time.sleep(0.002)
        return threading.current_thread() is threading.main_thread(), n + extra

    async def main():
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, blocking, 1) == (False, 1)
        assert await asyncio.to_thread(blocking, 1, extra=2) == (False, 3)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            results = await asyncio.gather(*(loop.run_in_executor(pool, blocking, i) for i in range(6)))
        assert [n for _, n in results] == list(range(6))
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)

    way.run(main())


def test_async_code_from_synchronous(way):
    loop = way.new_loop()
    way.check(loop)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        futures = [asyncio.run_coroutine_threadsafe(add(i, 1), loop) for i in range(5)]
        assert [f.result(30) for f in futures] == [1, 2, 3, 4, 5]
        seen = threading.Event()
        loop.call_soon_threadsafe(seen.set)
        assert seen.wait(30)
        slow = asyncio.run_coroutine_threadsafe(asyncio.sleep(30), loop)
        assert slow.cancel()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def test_queue_of_workers(way):
    async def worker(queue, out):
        while True:
            item = await queue.get()
            await asyncio.sleep(0.0005)
            out.append(item * 2)
            queue.task_done()

    async def main():
        queue, out = asyncio.Queue(maxsize=5), []
        workers = [asyncio.create_task(worker(queue, out)) for _ in range(3)]
        for i in range(30):
            await queue.put(i)
        await queue.join()
        for task in workers:
            task.cancel()
        results = await asyncio.gather(*workers, return_exceptions=True)
        assert all(isinstance(r, asyncio.CancelledError) for r in results)
        assert sorted(out) == [2 * i for i in range(30)]

    way.run(main())


def test_locks_events_semaphores(way):
    async def main():
        lock, event, limit, inside, most = asyncio.Lock(), asyncio.Event(), asyncio.Semaphore(2), 0, 0

        async def critical(n):
            nonlocal inside, most
            await event.wait()
            async with limit:
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.0005)
                inside -= 1
            async with lock:
                order.append(n)

        order = []
        tasks = [asyncio.create_task(critical(i)) for i in range(6)]
        await asyncio.sleep(0.001)
        assert order == []
        event.set()
        await asyncio.gather(*tasks)
        assert sorted(order) == list(range(6)) and most == 2

    way.run(main())


# --- generators and context managers

def test_async_generators_with_for(way):
    closed = []

    async def ticker(n):
        try:
            for i in range(n):
                yield i
                await asyncio.sleep(0)
        finally:
            closed.append(n)

    @contextlib.asynccontextmanager
    async def resource(name):
        await asyncio.sleep(0)
        try:
            yield name.upper()
        finally:
            await asyncio.sleep(0)
            closed.append(name)

    class Countdown:
        def __init__(self, n):
            self.n = n

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.n:
                raise StopAsyncIteration
            await asyncio.sleep(0)
            self.n -= 1
            return self.n

    async def main():
        assert [i async for i in ticker(3)] == [0, 1, 2]
        async with resource("db") as name:
            assert name == "DB"
        assert [n async for n in Countdown(3)] == [2, 1, 0]
        assert {i: i * i async for i in ticker(2)} == {0: 0, 1: 1}
        async for i in ticker(100):
            if i == 1:
                break
        unfinished = ticker(50)
        await unfinished.__anext__()
        await unfinished.aclose()
        left = ticker(77)
        await left.__anext__()
        return left  # closed by the loop's shutdown_asyncgens

    left = way.run(main())
    assert left is not None
    assert closed[:2] == [3, "db"] and set(closed) == {3, "db", 2, 100, 50, 77}


def test_generator_based_coroutines(way):
    @types.coroutine
    def yielder():
        yield
        return "yielded"

    @types.coroutine
    def delegating(future):
        result = yield from future
        return result + 1

    async def main():
        assert await yielder() == "yielded"
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, 41)
        assert await delegating(future) == 42

    way.run(main())


# --- futures by hand

def test_futures_and_callbacks_by_hand(way):
    seen = []

    def on_done(tag, future):
        seen.append((tag, future.result()))

    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        future.add_done_callback(functools.partial(on_done, "first"))
        future.add_done_callback(functools.partial(on_done, "second"))
        gone = functools.partial(on_done, "never")
        future.add_done_callback(gone)
        assert future.remove_done_callback(gone) == 1
        loop.call_later(0.001, future.set_result, "the answer")
        assert await future == "the answer"
        assert seen == [("first", "the answer"), ("second", "the answer")]
        with pytest.raises(asyncio.InvalidStateError):
            future.set_result(1)
        broken = loop.create_future()
        broken.set_exception(OSError("broken"))
        with pytest.raises(OSError, match="broken"):
            await broken

    way.run(main())


def test_future_and_loop_by_hand(way):
    loop = way.new_loop()
    try:
        future = loop.create_future()

        def fill(n):
            future.set_result("done") if n == 0 else loop.call_soon(fill, n - 1)

        loop.call_soon(fill, 5)
        assert loop.run_until_complete(future) == "done"
        assert loop.run_until_complete(future) == "done"
    finally:
        loop.close()


# --- a real library

def test_aiohttp_fetch_reads_date_header(way):
    aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    from aiohttp import web

    async def page(request):
        return web.Response(text="hello " + request.query["who"])

    async def main():
        app = web.Application()
        app.router.add_get("/", page)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/?who=you") as response:
                    assert response.status == 200
                    text = await response.text()
                    date = email.utils.parsedate_to_datetime(response.headers["Date"])
        finally:
            await runner.cleanup()
        return text, date

    text, date = way.run(main())
    assert text == "hello you"
    assert abs(date.timestamp() - time.time()) < 60
