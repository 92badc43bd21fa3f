"""Debug mode: slow callbacks, wrong threads, source tracebacks, coroutine origins; and the reports of lost errors."""
import asyncio
import gc
import logging
import re
import sys
import threading
import time

import pytest

from sidebyside import OURS, blot, child, mixed, same


@same
def test_debug_flag(t):
    t.say(t.loop.get_debug())
    t.loop.set_debug(True)
    t.say(t.loop.get_debug(), sys.get_coroutine_origin_tracking_depth())
    t.loop.call_soon(lambda: t.say("inside", sys.get_coroutine_origin_tracking_depth() > 0))
    t.pump()
    t.say(sys.get_coroutine_origin_tracking_depth())

    def switch():
        t.loop.set_debug(False)
        t.say(t.loop.get_debug(), sys.get_coroutine_origin_tracking_depth())

    t.loop.call_soon(switch)
    t.pump(3)
    t.say(sys.get_coroutine_origin_tracking_depth())
    t.say(t.loop.slow_callback_duration)


@same
def test_debug_flag_switched_on_while_running(t):
    def switch():
        t.loop.set_debug(True)
        t.loop.call_soon(lambda: t.say(sys.get_coroutine_origin_tracking_depth() > 0))

    t.loop.call_soon(switch)
    t.pump(3)
    t.say(t.loop.get_debug(), sys.get_coroutine_origin_tracking_depth())


@pytest.mark.parametrize("arguments, environment, expected", [
    ((), {}, "False"), (("-X", "dev"), {}, "True"), ((), {"PYTHONASYNCIODEBUG": "1"}, "True"),
    ((), {"PYTHONASYNCIODEBUG": ""}, "False")])
def test_debug_from_outside(kit, arguments, environment, expected):
    got = child("loop = new_loop(); print(loop.get_debug()); loop.close()", kit, args=arguments, **environment)
    assert got.stdout.strip() == expected, got.stderr


def slow_log(kit_loop, caplog, schedule, limit=0.01):
    kit_loop.set_debug(True)
    kit_loop.slow_callback_duration = limit
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        schedule(kit_loop)
        kit_loop.call_soon(kit_loop.stop)
        kit_loop.run_forever()
        kit_loop.call_soon(kit_loop.stop)
        kit_loop.run_forever()
    kit_loop.set_debug(False)
    # a busy machine makes others slow, too
    return [r.getMessage() for r in caplog.records if "took" in r.getMessage() and "slow" in r.getMessage()]


def slow():
    time.sleep(0.02)


async def slow_coroutine():
    time.sleep(0.02)


def test_slow_callback_is_logged(loop, caplog):
    messages = slow_log(loop, caplog, lambda loop: loop.call_soon(slow))
    assert len(messages) == 1
    assert re.fullmatch(r"Executing <Handle slow\(\) at .*test_loop_debug\.py:\d+ created at .*test_loop_debug\.py:\d+> "
                        r"took \d\.\d{3} seconds", messages[0]), messages


def test_slow_timer_is_logged(loop, caplog):
    messages = slow_log(loop, caplog, lambda loop: loop.call_later(0, slow))
    assert len(messages) == 1
    assert re.match(r"Executing <TimerHandle when=[\d.]+ slow\(\) at ", messages[0]), messages


def test_slow_task_step_is_logged(kit, loop, caplog):
    messages = slow_log(loop, caplog, lambda loop: kit.Task(slow_coroutine(), loop=loop, name="the slow one"))
    assert len(messages) == 1
    assert re.match(r"Executing <Task finished name='the slow one' coro=<slow_coroutine\(\) done, defined at .*"
                    r"test_loop_debug\.py:\d+> result=None created at .*test_loop_debug\.py:\d+> took \d\.\d{3} seconds",
                    messages[0]), messages


def test_quick_callbacks_are_not_logged(loop, caplog):
    assert slow_log(loop, caplog, lambda loop: loop.call_soon(slow), 60) == []


def test_slow_callback_without_debug_mode(loop, caplog):
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        loop.slow_callback_duration = 0.001
        loop.call_soon(slow)
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert caplog.records == []


@same
def test_wrong_thread(t):
    loop = t.loop
    loop.set_debug(True)
    said = []

    def elsewhere():
        for name, call in (("soon", lambda: loop.call_soon(print)), ("later", lambda: loop.call_later(1, print)),
                           ("at", lambda: loop.call_at(1, print)), ("threadsafe", lambda: loop.call_soon_threadsafe(int))):
            try:
                call()
                said.append((name, "no error"))
            except RuntimeError as exc:
                said.append((name, exc))

    async def main():
        thread = threading.Thread(target=elsewhere)
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0.001)

    loop.run_until_complete(main())
    said.append("and when it does not run")
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    t.say(said)


@same
def test_no_thread_check_without_debug(t):
    async def main():
        thread = threading.Thread(target=lambda: t.loop.call_later(0.001, t.say, "called"))
        thread.start()
        thread.join()
        await asyncio.sleep(0.005)

    t.loop.run_until_complete(main())


@mixed
def test_source_tracebacks(t):
    t.loop.set_debug(True)

    async def coro():
        pass

    future = t.future()
    task = t.task(coro())
    handle = t.loop.call_soon(print)
    for what in (future, task, handle):
        frame = what._source_traceback[-1]
        t.say(frame.filename.rsplit("/", 1)[-1], frame.name, frame.line)
    t.loop.run_until_complete(task)
    t.loop.set_debug(False)
    future = t.future()
    t.say(future._source_traceback)
    t.say(t.loop.call_soon(int)._source_traceback if hasattr(t.loop.call_soon(int), "_source_traceback") else None)


@mixed
def test_source_tracebacks_of_futures_are_whole(t):
    t.loop.set_debug(True)

    async def coro():
        pass

    def deep(n):
        return deep(n - 1) if n else (t.future(), t.task(coro()))

    made = deep(30)
    for what in made:
        t.say(sum(frame.name == "deep" for frame in what._source_traceback))
    t.loop.run_until_complete(made[1])
    t.loop.set_debug(False)


def test_task_left_over_is_reported_at_exit(kit):
    """When nothing can be imported any more: the lines of its source traceback were read when it was made."""
    got = child("""
left = {}
async def forever():
    await asyncio.sleep(1000)
async def main():
    left["task"] = asyncio.get_running_loop().create_task(forever(), name="left over")
    await asyncio.sleep(0)
loop = new_loop()
loop.set_debug(True)
loop.run_until_complete(main())
left["itself"], left["loop"] = left, loop
""", kit)
    assert got.returncode == 0
    assert got.stderr.count("Task was destroyed but it is pending!") == 1 and got.stderr.count("task: <Task pending name='left over'") == 1, got.stderr
    assert got.stderr.count("source_traceback: Object created at") == 1 and "Logging error" not in got.stderr, got.stderr


@mixed
def test_contexts_have_the_source_traceback(t):
    t.loop.set_debug(True)
    t.record_contexts()

    def fail():
        raise ValueError("here")

    seen = []
    t.loop.set_exception_handler(lambda loop, context: seen.append(context))
    t.loop.call_soon(fail)
    t.pump()
    future = t.future()
    future.set_exception(ValueError("lost"))
    del future
    gc.collect()
    for context in seen:
        t.say(sorted(context), context["source_traceback"][-1].name)
    t.loop.set_debug(False)


@same
def test_coroutine_never_awaited_tells_its_origin(t):
    async def forgotten():
        pass

    async def main():
        forgotten()
        gc.collect()

    t.loop.set_debug(True)
    t.loop.run_until_complete(main())
    t.loop.set_debug(False)
    t.loop.run_until_complete(main())


# --- lost errors


@mixed
def test_future_exception_was_never_retrieved(t):
    t.record_contexts()
    future = t.future()
    future.set_exception(ZeroDivisionError("lost"))
    del future
    gc.collect()
    t.say("then")
    future = t.future()
    future.set_exception(ZeroDivisionError("seen"))
    t.say(future.exception())
    del future
    gc.collect()
    future = t.future()
    future.set_exception(ZeroDivisionError("not logged"))
    future._log_traceback = False
    t.attempt(setattr, future, "_log_traceback", True)
    del future
    gc.collect()


@mixed
def test_task_exception_was_never_retrieved(t):
    t.record_contexts()

    async def fail():
        raise ZeroDivisionError("lost in a task")

    task = t.task(fail(), name="loser")
    t.pump(2)
    t.say(task.done())
    del task
    gc.collect()
    t.say(len(t.contexts))


@mixed
def test_never_retrieved_with_the_default_handler(t):
    async def fail():
        raise ZeroDivisionError("to the log")

    t.task(fail(), name="loser")
    t.pump(2)
    future = t.future()
    future.set_exception(KeyError("k"))
    del future
    gc.collect()


@mixed
def test_task_was_destroyed_but_it_is_pending(t):
    t.record_contexts()

    async def wait(future):
        await future

    def build():
        future = t.future()
        t.task(wait(future), name="orphan")
        t.pump(2)

    build()
    gc.collect()
    t.say(len(t.contexts))
    silent = t.task(wait(t.future()), name="silent")
    t.pump(2)
    silent._log_destroy_pending = False
    del silent
    gc.collect()
    t.say(len(t.contexts))


@mixed
def test_destroyed_pending_with_the_default_handler(t):
    async def wait(future):
        await future

    def build():
        t.task(wait(t.future()), name="orphan")
        t.pump(2)

    build()
    gc.collect()


@mixed
def test_cancelled_and_finished_are_not_reported(t):
    t.record_contexts()

    async def nothing():
        return 1

    async def cancelled():
        raise asyncio.CancelledError

    t.task(nothing())
    t.task(cancelled())
    never = t.task(asyncio.sleep(0))
    never.cancel()
    del never
    t.pump(3)
    future = t.future()
    future.cancel()
    del future
    t.future()
    gc.collect()


@mixed
def test_exception_handler_that_keeps_the_future(t):
    """The report of a dying future may bring it back."""
    kept = []
    t.loop.set_exception_handler(lambda loop, context: kept.append(context["future"]))
    future = t.future()
    future.set_exception(ValueError("again"))
    del future
    gc.collect()
    t.say(len(kept), kept[0].done(), kept[0].exception())
    kept.clear()
    gc.collect()


# --- log texts of the default handler

@same
def test_default_handler_texts(t):
    loop = t.loop

    def fail(*args):
        raise ValueError("text of the error")

    loop.call_soon(fail, 1, "two")
    loop.call_later(0, fail)
    t.pump(2)
    for context in ({"message": "just a message"}, {"message": "m", "exception": ValueError("e")}, {"message": ""}, {},
                    {"exception": KeyError("no message")}, {"message": "m", "zeta": 1, "alpha": [2], "future": t.future()}):
        loop.call_exception_handler(context)
        loop.default_exception_handler(context)


@same
def test_default_handler_in_debug_mode(t):
    t.loop.set_debug(True)

    def fail():
        raise ValueError("text of the error")

    t.loop.call_soon(fail)
    t.pump()
    # the tracebacks' own lines differ in how deep they are: the log shows the source line, which counts
    t.loop.set_debug(False)


@same
def test_slow_and_failing_in_debug_mode(t):
    t.loop.set_debug(True)
    t.loop.slow_callback_duration = 10

    async def fail():
        await asyncio.sleep(0)
        raise ValueError("in the task")

    t.attempt(t.loop.run_until_complete, fail())
    t.loop.set_debug(False)


def test_our_debug_costs_nothing_when_off():
    """Objects made outside debug mode have no traceback to keep."""
    loop = OURS.new_loop()
    try:
        handle, future = loop.call_soon(int), loop.create_future()
        assert future._source_traceback is None
        assert "created at" not in repr(handle) + repr(future)
        assert blot(repr(future)) == "<Future pending>"
    finally:
        loop.close()


@same
def test_what_was_set_is_what_is_there(t):
    """Attributes keep the very object, as plain ones do."""
    for value in (None, 0, 1, "yes", [], False, True):
        t.loop.set_debug(value)
        t.say(t.loop.get_debug() is value)
    t.loop.set_debug(False)
    for value in (1, 2.5, True, None, "never"):
        t.loop.slow_callback_duration = value
        t.say(type(t.loop.slow_callback_duration).__name__, t.loop.slow_callback_duration)
    t.pump()
    t.loop.set_debug(1)
    t.attempt(t.pump)  # "never" cannot be compared
    t.loop.slow_callback_duration = 100
    t.pump(2)


@same
def test_slow_callbacks_by_an_overridden_time(t):
    """The time that decides is the loop's own, asked before and after each callback."""
    loop = t.loop
    now = [0.0]
    loop.set_debug(True)
    loop.time = lambda: now[0]
    loop.call_soon(now.__setitem__, 0, 0.05)
    loop.call_soon(now.__setitem__, 0, 7.0)
    loop.call_soon(print).cancel()
    t.pump()
    loop.set_debug(False)
    del loop.time
