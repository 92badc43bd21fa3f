"""Errors: the exception handler and its contexts, run_until_complete, re-entrancy, a closed loop."""
import asyncio
import contextvars
import gc
import sys
import weakref

import pytest

from sidebyside import mixed, same


def fail(*args):
    raise ValueError("from the callback")


# --- the exception handler

@same
def test_contexts_of_callbacks(t):
    t.record_contexts()
    t.loop.call_soon(fail, 1)
    t.loop.call_later(0, fail)
    t.loop.call_soon_threadsafe(fail)
    t.loop.call_soon(t.say, "still running")
    t.pump(2)


@mixed
def test_contexts_of_done_callbacks(t):
    t.record_contexts()
    future = t.future()
    future.add_done_callback(fail)
    future.add_done_callback(lambda f: t.say("next"))
    future.set_result(1)
    t.pump()


@same
def test_handler_keys_and_types(t):
    seen = []
    t.loop.set_exception_handler(lambda loop, context: seen.append((loop, context)))
    t.loop.call_soon(fail)
    t.pump()
    (loop, context), = seen
    t.say(loop is t.loop, sorted(context), type(context["exception"]).__name__, isinstance(context["handle"], asyncio.Handle))
    t.say(context["exception"].__traceback__.tb_next is not None or context["exception"].__traceback__ is not None)


@same
def test_set_exception_handler(t):
    t.say(t.loop.get_exception_handler())

    def handler(loop, context):
        pass

    t.loop.set_exception_handler(handler)
    t.say(t.loop.get_exception_handler() is handler)
    for wrong in (5, "text", object()):
        t.attempt(t.loop.set_exception_handler, wrong)
    t.say(t.loop.get_exception_handler() is handler)
    t.loop.set_exception_handler(None)
    t.say(t.loop.get_exception_handler())


@same
def test_handler_that_fails(t):
    def handler(loop, context):
        t.say("handler")
        raise KeyError("in the handler")

    t.loop.set_exception_handler(handler)
    t.loop.call_soon(fail)
    t.pump()
    t.loop.call_exception_handler({"message": "by hand"})


@same
def test_handler_that_fails_with_a_failing_default(t):
    def broken_default(context):
        raise RuntimeError("default is broken too")

    t.loop.default_exception_handler = broken_default
    t.loop.call_exception_handler({"message": "first"})
    t.loop.set_exception_handler(lambda loop, context: 1 / 0)
    t.loop.call_exception_handler({"message": "second"})
    t.loop.call_soon(fail)
    t.pump()
    del t.loop.default_exception_handler


@same
def test_overridden_call_exception_handler(t):
    seen = []
    t.loop.call_exception_handler = lambda context: seen.append(sorted(context))
    t.loop.call_soon(fail)
    t.pump()
    future = t.future()
    future.set_exception(ValueError())
    del future
    gc.collect()
    t.say(seen)
    del t.loop.call_exception_handler


@same
def test_handler_runs_in_the_context_of_the_callback(t):
    var = contextvars.ContextVar("var", default="none")
    t.loop.set_exception_handler(lambda loop, context: t.say(var.get()))

    def set_and_fail():
        var.set("callback")
        raise ValueError

    t.loop.call_soon(set_and_fail)
    context = contextvars.copy_context()
    context.run(var.set, "given")
    t.loop.call_soon(fail, context=context)
    t.pump()


@same
def test_system_exit_and_keyboard_interrupt_leave_the_loop(t):
    t.record_contexts()
    for error in (SystemExit, KeyboardInterrupt):
        def leave():
            raise error("leaving")

        t.loop.call_soon(leave)
        t.loop.call_soon(t.say, "after", error.__name__)
        t.attempt(t.loop.run_forever)
        t.say(t.loop.is_running())
        t.attempt(asyncio.get_running_loop)
        t.pump()


@mixed
def test_system_exit_and_keyboard_interrupt_from_tasks(t):
    t.record_contexts()
    for error in (SystemExit, KeyboardInterrupt):
        async def leave():
            await t.sleep(0)
            raise error("leaving")

        task = t.task(leave())
        t.attempt(t.loop.run_forever)
        t.say(task.done(), task)
        t.attempt(task.result)
        t.attempt(t.loop.run_until_complete, t.task(leave()))
        t.say(t.loop.is_running(), asyncio.current_task(t.loop))
        t.pump()


@same
def test_base_exceptions_of_other_kinds(t):
    class Odd(BaseException):
        pass

    def odd():
        raise Odd("odd")

    def cancelled():
        raise asyncio.CancelledError("from a callback")

    def generator_exit():
        raise GeneratorExit

    t.record_contexts()
    for call in (odd, cancelled, generator_exit):
        t.loop.call_soon(call)
        t.attempt(t.pump)


@same
def test_exception_pending_elsewhere_is_kept(t):
    """A loop run inside an except block leaves sys.exc_info as it was."""
    try:
        raise KeyError("outer")
    except KeyError:
        t.record_contexts()
        t.loop.call_soon(fail)
        t.pump()
        t.say(sys.exc_info()[1])
        t.attempt(t.run, failing())
        t.say(sys.exc_info()[1])
    t.say(sys.exc_info()[1])


async def failing():
    raise LookupError("in the coroutine")


async def value_of_nothing():
    pass


# --- run_until_complete

@same
def test_run_until_complete_results(t):
    async def value():
        return "value"

    t.say(t.loop.run_until_complete(value()))
    t.attempt(t.loop.run_until_complete, failing())
    future = t.future()
    t.loop.call_soon(future.set_result, 5)
    t.say(t.loop.run_until_complete(future))
    t.say(t.loop.run_until_complete(future))
    cancelled = t.future()
    cancelled.cancel("because")
    t.attempt(t.loop.run_until_complete, cancelled)
    broken = t.future()
    broken.set_exception(OSError(5, "io"))
    t.attempt(t.loop.run_until_complete, broken)

    class Awaitable:
        def __await__(self):
            yield
            return "awaited"

    t.say(t.loop.run_until_complete(Awaitable()))


@same
def test_run_until_complete_of_what_is_none(t):
    def generator():
        yield

    for wrong in (5, None, "text", print, generator(), [], failing):
        t.attempt(t.loop.run_until_complete, wrong)


@same
def test_run_until_complete_stopped_early(t):
    future = t.future()
    t.loop.call_soon(t.loop.stop)
    t.attempt(t.loop.run_until_complete, future)
    t.say(future.done(), future._callbacks)
    future.set_result(1)
    t.say(t.loop.run_until_complete(future))


@same
def test_run_until_complete_of_another_loops_future(t):
    other = t.new_loop()
    mine = t.loop
    foreign = t.new_loop().create_future()
    t.attempt(mine.run_until_complete, foreign)
    t.say(other.is_running())


@same
def test_run_until_complete_callback_is_asyncios(t):
    """anyio finds the root task by this very function."""
    async def main():
        task = asyncio.current_task()
        callbacks = [cb for cb, context in task._callbacks]
        return asyncio.base_events._run_until_complete_cb in callbacks, len(callbacks)

    t.say(t.loop.run_until_complete(main()))


@same
def test_task_cancelled_from_outside(t):
    async def main():
        t.loop.call_soon(asyncio.current_task().cancel, "outside")
        await t.sleep(10)

    t.attempt(t.loop.run_until_complete, main())


# --- re-entrancy

@same
def test_running_a_running_loop(t):
    async def main():
        coro = value_of_nothing()
        t.attempt(t.loop.run_until_complete, coro)
        coro.close()
        t.attempt(t.loop.close)
        t.say(t.loop.is_running(), asyncio.get_running_loop() is t.loop)

    def callback():
        t.attempt(t.loop.close)
        t.say(t.loop.is_running())

    t.loop.run_until_complete(main())
    t.loop.call_soon(callback)
    t.pump()


@same
def test_running_another_loop_inside(t):
    mine, other = t.loop, t.new_loop()

    async def main():
        coro = value_of_nothing()
        t.attempt(other.run_until_complete, coro)
        coro.close()
        t.say(other.is_running(), asyncio.get_running_loop() is mine)
        with_asyncio = value_of_nothing()
        t.attempt(asyncio.run, with_asyncio)
        with_asyncio.close()

    mine.run_until_complete(main())
    t.attempt(asyncio.get_running_loop)
    other.run_until_complete(t.kit.Task(value_of_nothing(), loop=other))


def test_run_forever_inside_a_run(new_loop, kit):
    mine, other = new_loop(), new_loop()

    async def main():
        with pytest.raises(RuntimeError, match="^This event loop is already running$"):
            mine.run_forever()
        if kit.loops is not asyncio or sys.version_info < (3, 13):  # asyncio 3.13 then forgets which loop is running
            assert mine.is_running() and asyncio.get_running_loop() is mine
            with pytest.raises(RuntimeError, match="^Cannot run the event loop while another loop is running$"):
                other.run_forever()
            assert not other.is_running() and asyncio.get_running_loop() is mine
            await asyncio.sleep(0)
            assert asyncio.current_task().get_loop() is mine

    task = mine.create_task(main())
    mine.run_until_complete(task)
    assert task.done() and not mine.is_running()


# --- a closed loop

@same
def test_closed_loop(t):
    loop = t.loop
    t.say(loop.is_closed())
    loop.close()
    t.say(loop.is_closed(), loop.is_running(), loop)
    loop.close()
    for name, args in (("call_soon", (print,)), ("call_later", (1, print)), ("call_at", (1, print)),
                       ("call_soon_threadsafe", (print,)), ("run_forever", ()), ("stop", ()), ("run_in_executor", (None, print)),
                       ("add_reader", (0, print)), ("remove_reader", (0,)), ("add_writer", (0, print)), ("remove_writer", (0,)),
                       ("time", ()), ("get_debug", ()), ("get_exception_handler", ()), ("get_task_factory", ()),
                       ("call_exception_handler", ({"message": "closed"},)), ("add_signal_handler", (10, print)),
                       ("remove_signal_handler", (10,))):
        t.say(name)
        try:
            result = getattr(loop, name)(*args)
            t.say("ok", None if name == "time" else result)
        except Exception as exc:
            t.say("raised", exc)
    t.attempt(lambda: loop.run_until_complete(value()))
    t.attempt(lambda: loop.create_task(value()))
    t.attempt(lambda: type(loop.create_future()).__name__)


async def value():
    return 1


@same
def test_closing_drops_what_is_scheduled(t):
    class Payload:
        pass

    payload = Payload()
    ref = weakref.ref(payload)
    t.loop.call_soon(print, payload)
    t.loop.call_later(60, print, payload)
    del payload
    t.say(ref() is None)
    t.loop.close()
    gc.collect()
    t.say(ref() is None)


@same
def test_unclosed_loop_warns(t):
    loop = t.kit.new_loop()
    loop.call_soon(int)
    del loop
    gc.collect()


@same
def test_futures_outlive_their_loop(t):
    future = t.future()
    future.add_done_callback(print)
    t.loop.close()
    t.attempt(future.set_result, 1)
    t.say(future.done())
    second = t.kit.Future(loop=t.loop)
    t.attempt(second.cancel)
    t.say(second)


@same
def test_task_of_a_closed_loop_awaits_nothing(t):
    loop = t.new_loop()
    future = t.kit.Future(loop=loop)

    async def wait():
        await future

    task = t.kit.Task(wait(), loop=loop)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    task._log_destroy_pending = False
    t.attempt(future.set_result, 1)
    t.attempt(task.cancel)
    t.say(task.done())


# --- subclasses that override what the loop calls

@same
def test_overridden_methods_are_called(t):
    base = type(t.loop)
    calls = []

    class Loop(base):
        def call_exception_handler(self, context):
            calls.append(("exception", sorted(context)))

        def create_task(self, coro, **kw):
            calls.append(("create_task", sorted(kw)))
            return super().create_task(coro, **kw)

        def call_soon(self, callback, *args, context=None):
            calls.append(("call_soon", getattr(callback, "__name__", "?") == "fail"))
            return super().call_soon(callback, *args, context=context)

    loop = t.new_loop(Loop)
    loop.call_soon(fail)

    async def main():
        await asyncio.create_task(value(), name="n")

    loop.run_until_complete(main())
    t.say([c for c in calls if c[0] != "call_soon"])
    t.say(("call_soon", True) in calls)
