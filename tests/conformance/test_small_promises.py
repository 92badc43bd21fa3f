"""Small promises of asyncio's: what is called with which arguments, which methods a subclass may replace, texts of errors."""
import asyncio

import pytest

import asyncloop


def run(new_loop, main):
    loop = new_loop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def both(theirs, ours):
    expected = run(asyncio.new_event_loop, lambda: theirs(asyncio))
    assert run(ours, lambda: theirs(asyncloop)) == expected
    return expected


@pytest.mark.parametrize("where", ["task", "body"])
@pytest.mark.parametrize("answer", [True, False])
def test_a_task_group_asks_its_is_base_error(where, answer):
    async def main(kit):
        asked = []

        class Group(kit.TaskGroup):
            def _is_base_error(self, exc):
                asked.append(type(exc))
                return answer

        async def fails():
            raise KeyError("it")

        try:
            async with Group() as group:
                if where == "body":
                    raise KeyError("it")
                group.create_task(fails())
        except BaseException as exc:
            return type(exc), asked
    assert both(main, asyncloop.new_event_loop)[0] is (KeyError if answer else ExceptionGroup)


@pytest.mark.parametrize("method", ["get", "put"])
def test_a_cancelled_queue_cancels_a_foreign_waiter_without_an_argument(method):
    async def main(kit):
        calls = []

        class Foreign(asyncio.Future):
            def cancel(self, *args, **kwargs):
                if asyncio.current_task() is not None:  # Task.cancel() calls it from outside of any task
                    calls.append((args, kwargs))
                return super().cancel(*args, **kwargs)

        loop = asyncio.get_running_loop()
        loop.create_future = lambda: Foreign(loop=loop)
        queue = kit.Queue(1)
        if method == "put":
            queue.put_nowait(1)
        task = asyncio.Task(queue.get() if method == "get" else queue.put(2), loop=loop)
        loop.call_soon(lambda: loop.call_soon(task.cancel))
        try:
            await task
        except asyncio.CancelledError:
            return calls
    expected = both(main, asyncio.new_event_loop)
    assert expected == [((), {})]


@pytest.mark.parametrize("keywords", [{"foo": 1}, {"name": "x", "foo": 1}, {"foo": 1, "bar": 2}, {"loop": None}, {"coro": None}], ids=str)
@pytest.mark.parametrize("function", ["module", "loop"])
def test_unknown_keywords_of_create_task(function, keywords):
    async def main(kit):
        coro = asyncio.sleep(0)
        create = kit.create_task if function == "module" else asyncio.get_running_loop().create_task
        with pytest.raises(TypeError) as info:
            create(coro, **keywords)
        coro.close()
        return str(info.value).replace("BaseEventLoop.", "Loop.")
    both(main, asyncloop.new_event_loop)


def test_one_timeout_object_on_two_loops():
    def program(new_loop, timeout):
        first, second = new_loop(), new_loop()

        async def leaves_an_entry_behind():  # the alarm is in the ring when the block ends, and the loop stops
            timeout.__init__(first.time() - 1)
            first.stop()
            async with timeout:
                pass

        async def expires():
            timeout.__init__(second.time() - 1)
            try:
                async with timeout:
                    for _ in range(5):
                        await asyncio.sleep(0)
            except TimeoutError:
                return True
            return False

        task = first.create_task(leaves_an_entry_behind())
        first.run_forever()
        results = [second.run_until_complete(expires()), task.done()]
        first.run_until_complete(asyncio.sleep(0))
        results += [second.run_until_complete(expires())]
        first.close()
        second.close()
        return results
    assert program(asyncio.new_event_loop, asyncio.Timeout(None)) == [True, True, True]
    assert program(asyncloop.new_event_loop, asyncloop.Timeout(None)) == [True, True, True]
