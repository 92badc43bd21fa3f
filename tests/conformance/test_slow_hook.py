"""loop.slow_callback_hook: who is told of what took long, and of what; time is the loop's, moved by hand."""
import asyncio
import functools
import logging
import sys
import traceback

import pytest

import asyncloop
from test_metrics import Clocked, pump


@pytest.fixture
def loop():
    loop = Clocked()
    loop.told = []
    loop.slow_callback_duration = 1.0
    loop.slow_callback_hook = lambda what, seconds, stack: loop.told.append((what, seconds, stack))
    yield loop
    loop.close()


def names(stack):
    return [line.name for line in stack]


def test_there_is_none_at_first():
    loop = asyncloop.new_event_loop()
    assert loop.slow_callback_hook is None
    loop.slow_callback_hook = hook = lambda *args: None
    assert loop.slow_callback_hook is hook
    loop.slow_callback_hook = None
    assert loop.slow_callback_hook is None
    with pytest.raises(TypeError, match="^slow_callback_hook must be a callable or None$"):
        loop.slow_callback_hook = 5
    with pytest.raises(AttributeError, match="^slow_callback_hook cannot be deleted$"):
        del loop.slow_callback_hook
    with pytest.raises(AttributeError, match="^time_callbacks cannot be deleted$"):
        del loop.time_callbacks
    loop.close()


def test_a_callback(loop):
    handle = loop.call_soon(loop.pass_time, 2.5)
    pump(loop)
    [(what, seconds, stack)] = loop.told
    assert what is handle and seconds == 2.5 and type(stack) is traceback.StackSummary
    assert [(line.filename, line.name, line.line) for line in stack] == [
        (Clocked.pass_time.__code__.co_filename, "Clocked.pass_time", "def pass_time(self, seconds):")]


@pytest.mark.parametrize("seconds, expected", [(0.999, 0), (1, 1), (7, 1)])
def test_the_threshold(loop, seconds, expected):
    loop.call_soon(loop.pass_time, seconds)
    pump(loop)
    assert len(loop.told) == expected


def test_a_threshold_that_cannot_be_compared(loop):
    """As in debug mode on asyncio, the error leaves the loop."""
    loop.slow_callback_duration = "long"
    with pytest.raises(TypeError):
        pump(loop)
    loop.slow_callback_duration = 1
    pump(loop)


def test_a_task_with_the_stack_of_its_coroutines(loop):
    async def inner():
        await asyncio.sleep(0)
        loop.pass_time(3)
        await asyncio.sleep(0)

    async def main():
        await inner()

    task = loop.create_task(main(), name="the slow one")
    loop.run_until_complete(task)
    [(what, seconds, stack)] = loop.told
    assert what is task and seconds == 3
    assert [name.rpartition(".")[2] for name in names(stack)][:2] == ["main", "inner"]
    assert [line.line for line in stack][:2] == ["await inner()", "await asyncio.sleep(0)"]


def test_what_helpers_a_task_waits_in(loop):
    async def main():
        loop.pass_time(3)
        await asyncloop.wait_for(asyncloop.sleep(0.0), 60)

    loop.run_until_complete(main())
    assert names(loop.told[0][2])[0].endswith("main") and names(loop.told[0][2])[1:2] == ["wait_for"]


def test_a_task_that_is_over(loop):
    async def main():
        loop.pass_time(3)

    loop.run_until_complete(main())
    [(what, seconds, stack)] = loop.told
    assert what.done() and [name.rpartition(".")[2] for name in names(stack)] == ["main"]


def test_a_task_of_asyncios_own(loop):
    async def main():
        loop.pass_time(3)

    native = sys.modules["_asyncio"].Task
    task = native(main(), loop=loop)
    loop.run_until_complete(task)
    assert [(what, seconds) for what, seconds, _ in loop.told] == [(task, 3)]


def test_timers_futures_and_readers(loop):
    future = loop.create_future()
    future.add_done_callback(lambda future: loop.pass_time(1))
    loop.call_later(0, functools.partial(loop.pass_time, 2))
    future.set_result(None)
    pump(loop)
    assert sorted(seconds for _, seconds, _ in loop.told) == [1, 2]
    assert sorted(name.rpartition(".")[2] for _, _, stack in loop.told for name in names(stack)) == ["<lambda>", "pass_time"]


def test_a_protocol(loop):
    class Slow(asyncio.Protocol):
        def connection_made(self, transport):
            loop.pass_time(4)

    async def main():
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(Slow, *server.sockets[0].getsockname())
        transport.close()
        server.close()
        return transport

    transport = loop.run_until_complete(main())
    assert (transport, 4, []) in loop.told
    pump(loop, 10)


def test_a_cancelled_handle_is_not_run(loop):
    loop.call_soon(loop.pass_time, 5).cancel()
    pump(loop)
    assert loop.told == []


def test_it_is_turned_off(loop):
    loop.call_soon(loop.pass_time, 5)
    loop.slow_callback_hook = None
    pump(loop)
    assert loop.told == []


def test_it_may_change_itself(loop):
    def hook(*args):
        loop.told.append(args)
        loop.slow_callback_hook = None

    loop.slow_callback_hook = hook
    del hook
    for _ in range(3):
        loop.call_soon(loop.pass_time, 5)
    pump(loop)
    assert len(loop.told) == 1


def test_it_runs_outside_of_the_task(loop):
    seen = []
    loop.slow_callback_hook = lambda *args: seen.append(asyncio.current_task())

    async def main():
        loop.pass_time(3)
        await asyncio.sleep(0)
        assert asyncio.current_task() is not None

    loop.run_until_complete(main())
    assert seen == [None]


def test_an_exception_of_the_hook_is_reported(loop):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    loop.slow_callback_hook = lambda what, seconds, stack: 1 / 0
    loop.call_soon(loop.pass_time, 3)
    pump(loop)
    [report] = reports
    assert report["message"] == "Exception in slow_callback_hook" and type(report["exception"]) is ZeroDivisionError


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_leaves_the_loop_from_a_hook(loop, error):
    def hook(*args):
        raise error

    loop.slow_callback_hook = hook
    loop.call_soon(loop.pass_time, 3)
    with pytest.raises(error):
        pump(loop)
    loop.slow_callback_hook = None
    pump(loop)


def test_what_leaves_the_loop_from_a_callback_is_not_told(loop):
    def leave():
        loop.pass_time(3)
        raise KeyboardInterrupt

    loop.call_soon(leave)
    with pytest.raises(KeyboardInterrupt):
        pump(loop)
    assert loop.told == []
    pump(loop)


def test_debug_mode_logs_as_well(loop, caplog):
    loop.set_debug(True)
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        loop.call_soon(loop.pass_time, 3)
        pump(loop)
    assert len(loop.told) == 1
    assert [record.getMessage().rpartition(" took ")[2] for record in caplog.records] == ["3.000 seconds"]


def test_the_hook_dies_with_the_loop():
    import gc
    import weakref

    class Hook:
        def __call__(self, what, seconds, stack):
            pass

    loop = asyncloop.new_event_loop()
    hook = Hook()
    hook.loop = loop  # a circle
    loop.slow_callback_hook = loop._entry_hook = hook
    gone = weakref.ref(hook)
    loop.close()
    del loop, hook
    gc.collect()
    assert gone() is None
