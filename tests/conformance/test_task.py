"""asyncio.Task against asyncloop.Task, on either loop, side by side."""
import asyncio
import contextvars
import gc
import inspect
import io
import sys
import threading
import types
import weakref

import pytest

from sidebyside import OURS, blot, child, mixed, same

EAGER = sys.version_info >= (3, 12)


async def value(n=1):
    return n


async def failing(exc=None):
    raise exc or LookupError("in the task")


# --- life

@mixed
def test_outcomes(t):
    async def main():
        for coro in (value(5), failing(), failing(asyncio.CancelledError("own")), failing(StopIteration(4)),
                     failing(GeneratorExit("g")), failing(BaseException("base")), failing(StopAsyncIteration())):
            task = t.task(coro)
            t.say(task.done(), task._state)
            await asyncio.wait([task])
            t.say(task.done(), task.cancelled(), task._state)
            t.attempt(task.result)
            t.attempt(task.exception)
            t.say(task)

    t.run(main())


@mixed
def test_await_a_task(t):
    async def main():
        t.say(await t.task(value(7)))
        try:
            await t.task(failing())
        except LookupError as exc:
            t.say(exc)
        task = t.task(value(8))
        await asyncio.wait([task])
        t.say(await task, await task)

    t.run(main())


@mixed
def test_state_cannot_be_set(t):
    async def main():
        task = t.task(value())
        t.attempt(task.set_result, 1)
        t.attempt(task.set_exception, ValueError())
        await task
        t.attempt(task.set_result, 1)

    t.run(main())


@mixed
def test_coroutine_kinds(t):
    @types.coroutine
    def generator_based():
        yield
        return "generator-based"

    def generator():
        yield

    async def asyncgen():
        yield

    class CoroutineLike:
        def __init__(self):
            self.steps = 0

        def send(self, value):
            self.steps += 1
            if self.steps == 3:
                raise StopIteration("like a coroutine")
            return None

        def throw(self, *args):
            raise args[0]

        def close(self):
            pass

        def __await__(self):
            return self

        def __iter__(self):
            return self

        def __next__(self):
            return self.send(None)

    class Awaitable:
        def __await__(self):
            return iter([])

    t.attempt(lambda: t.run(generator_based()))
    t.attempt(t.run, CoroutineLike())
    for wrong in (5, None, "x", value, generator(), asyncgen(), Awaitable(), t.future(), object(), [], lambda: 1):
        t.attempt(lambda: t.task(wrong))


@mixed
def test_construction(t):
    asyncio.set_event_loop(None)
    coros = [value() for _ in range(6)]
    t.attempt(t.kit.Task)
    t.attempt(lambda: t.kit.Task(coros[1], loop=t.loop, wrong=1))
    t.attempt(lambda: t.kit.Task(coros[2]))  # no running loop
    t.attempt(lambda: t.task(coros[3], name=5).get_name())
    t.attempt(lambda: t.task(coros[4], name=None).get_name())
    t.attempt(lambda: t.task(coros[5], name=["list"]).get_name())
    t.pump(2)
    for coro in coros:
        coro.close()


@mixed
def test_wrong_context(t):
    """The context is what is compared, and the error; a step of ours is no handle that could be shown."""
    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], context["exception"]))
    for context in (5, "x", object()):
        coro = value()
        task = t.attempt(lambda: t.task(coro, context=context))
        t.attempt(t.pump)
        coro.close()
        if isinstance(task, asyncio.Task):
            task._log_destroy_pending = False


@mixed
def test_names(t):
    async def main():
        task = t.task(value(), name="first")
        t.say(task.get_name())
        for name in ("second", 5, None, ["x"], ""):
            t.say(task.set_name(name), task.get_name())

        class Str(str):
            pass

        task.set_name(Str("sub"))
        t.say(task.get_name(), type(task.get_name()).__name__)
        t.attempt(task.set_name)
        default = t.task(value())
        t.say(default.get_name().startswith("Task-"), default.get_name() == default.get_name())
        t.say(asyncio.current_task().get_name())

    t.run(main())


def test_default_names_count_up(kit, loop):
    async def main():
        tasks = [kit.Task(value(), loop=loop) for _ in range(5)]
        numbers = [int(task.get_name().removeprefix("Task-")) for task in tasks]
        assert len(set(numbers)) == 5
        assert numbers == sorted(numbers)
        await asyncio.wait(tasks)

    loop.run_until_complete(main())


@mixed
def test_accessors(t):
    async def main():
        coro = value()
        context = contextvars.copy_context()
        task = t.task(coro, context=context)
        t.say(task.get_coro() is coro, task._coro is coro, task.get_loop() is t.loop, task._loop is t.loop)
        if hasattr(task, "get_context"):
            t.say(task.get_context() is context)
        t.say(task._must_cancel, task._fut_waiter, task._log_destroy_pending,
              task._state, task._exception, task._result, task._cancel_message, task._log_traceback)
        await task
        t.say(task.get_coro() is coro, task._coro is coro, task._result)
        for name in ("_must_cancel", "_fut_waiter", "_coro"):
            t.say(name)
            t.attempt(setattr, task, name, 1)
        t.attempt(delattr, task, "_log_destroy_pending")
        task._log_destroy_pending = False
        t.say(task._log_destroy_pending)

    t.run(main())


@mixed
def test_fut_waiter(t):
    async def wait(future):
        await future

    async def main():
        future = t.future()
        task = t.task(wait(future))
        t.say(task._fut_waiter)
        await t.sleep(0)
        t.say(task._fut_waiter is future, isinstance(task._fut_waiter, asyncio.Future))
        future.set_result(1)
        t.say(task._fut_waiter is future)
        await t.sleep(0)
        t.say(task._fut_waiter)

    t.run(main())


@mixed
def test_fut_waiter_during_sleep_and_gather(t):
    async def main():
        for coro in (t.sleep(100), asyncio.sleep(100)):
            async def wrapper():
                await coro

            task = t.task(wrapper())
            await t.sleep(0)
            t.say(isinstance(task._fut_waiter, asyncio.Future) or task._fut_waiter is not None)
            task.cancel()
            await asyncio.wait([task])
            t.say(task._fut_waiter)

    t.run(main())


# --- repr and stacks

async def named_coroutine(future):
    await future


@mixed
def test_repr(t):
    async def main():
        future = t.future()
        task = t.task(named_coroutine(future), name="the name")
        t.say(repr(task))
        await t.sleep(0)
        t.say(repr(task))
        task.add_done_callback(print)
        t.say(repr(task))
        task.cancel()
        t.say(repr(task))
        await asyncio.wait([task])
        t.say(repr(task))
        task = t.task(named_coroutine(future), name="other")
        task.cancel()
        t.say(repr(task))
        await asyncio.wait([task])
        t.say(repr(asyncio.current_task()))
        for coro in (value("x" * 100), failing(ValueError("v"))):
            task = t.task(coro, name="n")
            await asyncio.wait([task])
            t.say(repr(task))
            t.say(task._log_traceback)
            task._log_traceback = False

    t.loop.run_until_complete(t.task(main(), name="main"))


@mixed
def test_repr_of_what_waits_for_what(t):
    async def main():
        inner = t.task(named_coroutine(t.future()), name="inner")
        outer = t.task(named_coroutine(inner), name="outer")
        await t.sleep(0)
        await t.sleep(0)
        t.say(repr(inner))
        t.say(repr(outer))
        inner.cancel()
        await asyncio.wait([outer])

    t.run(main())


@mixed
def test_repr_of_a_future_with_a_waiting_task(t):
    async def main():
        future = t.future()
        task = t.task(named_coroutine(future))
        await t.sleep(0)
        t.say(repr(future))
        future.add_done_callback(len)
        t.say(repr(future))
        t.say(len(future._callbacks))
        future.set_result(1)
        await task

    t.run(main())


@mixed
def test_repr_in_debug_mode(t):
    t.loop.set_debug(True)

    async def main():
        task = t.task(named_coroutine(t.future()), name="n")
        t.say(repr(task))
        await t.sleep(0)
        t.say(repr(task))
        task.cancel()
        await asyncio.wait([task])
        t.say(repr(task))

    t.run(main())
    t.loop.set_debug(False)


@mixed
def test_recursive_repr(t):
    async def main():
        async def itself():
            return asyncio.current_task()

        task = t.task(itself(), name="self")
        await task
        t.say(repr(task))

    t.run(main())


@mixed
def test_subclass_repr(t):
    class Sub(t.kit.Task):
        pass

    async def main():
        task = Sub(value(), loop=t.loop, name="n")
        t.say(repr(task))
        await task
        t.say(repr(task))

    t.run(main())


async def outer_frame(future):
    await middle_frame(future)


async def middle_frame(future):
    await named_coroutine(future)


@mixed
def test_stacks(t):
    async def main():
        future = t.future()
        task = t.task(outer_frame(future), name="deep")
        t.say([f.f_code.co_name for f in task.get_stack()])
        await t.sleep(0)
        t.say([f.f_code.co_name for f in task.get_stack()], [f.f_code.co_name for f in task.get_stack(limit=1)])
        for limit in (None, 0, 1, 5):
            out = io.StringIO()
            task.print_stack(limit=limit, file=out)
            t.say(out.getvalue())
        future.set_exception(ValueError("for the stack"))
        await asyncio.wait([task])
        t.say([f.f_code.co_name for f in task.get_stack()])
        out = io.StringIO()
        task.print_stack(file=out)
        t.say(out.getvalue())
        out = io.StringIO()
        task.print_stack(limit=1, file=out)
        t.say(out.getvalue())
        done = t.task(value())
        await done
        t.say(done.get_stack())
        out = io.StringIO()
        done.print_stack(file=out)
        t.say(out.getvalue())
        t.attempt(task.get_stack, 1)
        t.attempt(task.print_stack, 1)
        t.say(asyncio.current_task().get_stack()[-1].f_code.co_name)

    t.run(main())


# --- cancellation

@mixed
def test_cancel_before_the_first_step(t):
    async def main():
        async def never():
            t.say("ran")

        task = t.task(never())
        t.say(task.cancel(), task.cancelling(), task._must_cancel, task.done(), task.cancelled())
        t.say(task.cancel(), task.cancelling())
        await asyncio.wait([task])
        t.say(task.cancelled(), task.cancel(), task.cancelling())

    t.run(main())


@mixed
def test_cancel_messages(t):
    async def main():
        for args in ((), ("text",), (None,), (5,), ("",)):
            task = t.task(asyncio.sleep(10))
            await t.sleep(0)
            task.cancel(*args)
            t.say(task._cancel_message)
            try:
                await task
            except asyncio.CancelledError as exc:
                t.say(exc.args, type(exc.__context__).__name__, exc.__context__.args if exc.__context__ else None)
            try:
                task.result()
            except asyncio.CancelledError as exc:
                t.say(exc.args, type(exc.__context__).__name__)
            try:
                task.exception()
            except asyncio.CancelledError as exc:
                t.say(exc.args)

    t.run(main())


@mixed
def test_last_cancel_message_wins(t):
    async def wait():
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError as exc:
            return exc.args

    async def main():
        task = t.task(wait())
        await t.sleep(0)
        task.cancel("first")
        task.cancel("second")
        t.say(await task)
        task = t.task(wait())
        task.cancel("before the start")
        await asyncio.wait([task])
        try:
            task.result()
        except asyncio.CancelledError as exc:
            t.say(exc.args)

    t.run(main())


@mixed
def test_cancelled_error_object_is_passed_on_once(t):
    async def main():
        error = asyncio.CancelledError("the very one")

        async def raises():
            raise error

        task = t.task(raises())
        await asyncio.wait([task])
        seen = []
        for _ in range(3):
            try:
                task.result()
            except asyncio.CancelledError as exc:
                seen.append(exc)
        t.say([e is error for e in seen], [e.args for e in seen])

    t.run(main())


@mixed
def test_cancel_is_swallowed(t):
    async def stubborn():
        for i in range(3):
            try:
                await t.sleep(10)
            except asyncio.CancelledError:
                t.say("refused", i, asyncio.current_task().cancelling())
        return "finished"

    async def main():
        task = t.task(stubborn())
        for _ in range(3):
            await t.sleep(0)
            t.say(task.cancel())
            await t.sleep(0)
        t.say(await task, task.cancelled(), task.cancelling())

    t.run(main())


@mixed
def test_cancel_and_return_at_once(t):
    """A task that is cancelled while it runs and returns without awaiting is cancelled."""
    async def main():
        async def self_cancelling():
            asyncio.current_task().cancel("by itself")
            return "value"

        task = t.task(self_cancelling())
        await asyncio.wait([task])
        t.say(task.cancelled())
        t.attempt(task.result)

        async def self_cancelling_and_failing():
            asyncio.current_task().cancel()
            raise ValueError("stronger")

        task = t.task(self_cancelling_and_failing())
        await asyncio.wait([task])
        t.say(task.cancelled())
        t.attempt(task.result)

        async def self_cancelling_and_awaiting():
            asyncio.current_task().cancel("awaited")
            try:
                await t.sleep(0)
            except asyncio.CancelledError as exc:
                return exc.args

        t.say(await t.task(self_cancelling_and_awaiting()))

        async def self_cancelling_done_future():
            asyncio.current_task().cancel("later")
            future = t.future()
            future.set_result(1)
            await future
            t.say("a done future does not suspend")
            pending = t.future()
            try:
                await pending
            except asyncio.CancelledError as exc:
                return exc.args, pending.cancelled()

        t.say(await t.task(self_cancelling_done_future()))

    t.run(main())


@mixed
def test_cancel_between_wake_up_and_step(t):
    """The future is done and the step is scheduled when cancel comes."""
    async def wait(future):
        try:
            return await future
        except asyncio.CancelledError as exc:
            return ("cancelled", exc.args)

    async def main():
        future = t.future()
        task = t.task(wait(future))
        await t.sleep(0)
        future.set_result("value")
        t.say(task.cancel("late"), task._must_cancel, task._fut_waiter is future)
        t.say(await task)
        future = t.future()
        task = t.task(wait(future))
        await t.sleep(0)
        future.cancel("the future's")
        task.cancel("the task's")
        t.say(await task)

    t.run(main())


@mixed
def test_uncancel(t):
    async def main():
        async def sleeper():
            await t.sleep(10)

        task = t.task(sleeper())
        await t.sleep(0)
        t.say(task.cancelling(), task.uncancel(), task.cancelling())
        task.cancel()
        task.cancel()
        t.say(task.cancelling(), task.uncancel(), task.uncancel(), task.uncancel(), task._must_cancel)
        await asyncio.wait([task])
        t.say(task.cancelled(), task.cancelling())

    t.run(main())


@mixed
def test_uncancel_before_the_await(t):
    """From 3.13 on, uncancel() down to zero takes a cancel that was not delivered back."""
    async def main():
        async def body():
            me = asyncio.current_task()
            me.cancel("taken back")
            t.say(me._must_cancel, me.uncancel(), me._must_cancel)
            try:
                await t.sleep(0)
            except asyncio.CancelledError as exc:
                return exc.args
            return "not delivered"

        t.say(await t.task(body()))

        async def twice():
            me = asyncio.current_task()
            me.cancel()
            me.cancel()
            me.uncancel()
            try:
                await t.sleep(0)
            except asyncio.CancelledError:
                return "delivered"
            return "not delivered"

        t.say(await t.task(twice()))
        unstarted = t.task(value(3))
        unstarted.cancel()
        unstarted.uncancel()
        await asyncio.wait([unstarted])
        t.say(unstarted.cancelled())

    t.run(main())


@mixed
def test_cancel_a_task_that_awaits_a_task(t):
    async def inner():
        try:
            await t.sleep(10)
        except asyncio.CancelledError as exc:
            t.say("inner", exc.args)
            raise

    async def outer(task):
        try:
            await task
        except asyncio.CancelledError as exc:
            t.say("outer", exc.args)
            raise

    async def main():
        inner_task = t.task(inner())
        outer_task = t.task(outer(inner_task))
        await t.sleep(0)
        await t.sleep(0)
        t.say(outer_task.cancel("pass it down"))
        await asyncio.wait([outer_task])
        t.say(inner_task.cancelled(), outer_task.cancelled(), inner_task.cancelling(), outer_task.cancelling())

    t.run(main())


@mixed
def test_cancelling_waits_refused_by_the_inner(t):
    async def inner():
        try:
            await t.sleep(10)
        except asyncio.CancelledError:
            return "inner went on"

    async def outer(task):
        return await task

    async def main():
        outer_task = t.task(outer(t.task(inner())))
        await t.sleep(0)
        await t.sleep(0)
        outer_task.cancel()
        t.say(await outer_task, outer_task.cancelling())

    t.run(main())


@mixed
def test_cancel_itself_through_the_future(t):
    async def main():
        async def wait(future):
            await future

        future = t.future()
        task = t.task(wait(future))
        await t.sleep(0)
        future.cancel("from the future")
        try:
            await task
        except asyncio.CancelledError as exc:
            t.say(exc.args)
        t.say(task.cancelled(), task.cancelling())

    t.run(main())


@mixed
def test_timeouts_and_groups(t):
    async def main():
        try:
            async with asyncio.timeout(0.001):
                await t.sleep(10)
        except TimeoutError:
            t.say("timed out", asyncio.current_task().cancelling())
        try:
            async with asyncio.timeout(10) as outer:
                async with asyncio.timeout(0.001) as inner:
                    await t.sleep(10)
        except TimeoutError:
            t.say(inner.expired(), outer.expired())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(failing())
                await t.sleep(10)
        except BaseExceptionGroup as exc:
            t.say([str(e) for e in exc.exceptions], asyncio.current_task().cancelling())
        try:
            await asyncio.wait_for(t.sleep(10), 0.001)
        except TimeoutError:
            t.say("waited enough")

    t.run(main())


@mixed
def test_cancel_with_exception_replaced(t):
    async def body():
        try:
            await t.sleep(10)
        except asyncio.CancelledError:
            raise ValueError("instead")

    async def main():
        task = t.task(body())
        await t.sleep(0)
        task.cancel()
        try:
            await task
        except ValueError as exc:
            t.say(exc, type(exc.__context__).__name__, task.cancelled())

    t.run(main())


# --- what a coroutine may yield

@mixed
def test_bad_yields(t):
    class Yields:
        def __init__(self, what):
            self.what = what

        def __await__(self):
            return (yield self.what)

    async def wait(what):
        try:
            return await Yields(what)
        except RuntimeError as exc:
            return blot(str(exc))

    async def main():
        future = t.future()
        done = t.future()
        done.set_result(1)
        t.say(await t.task(wait(None)))
        for what in (5, "x", future, done, object, (i for i in ()), value):
            t.say(await t.task(wait(what)))
        me = []

        async def myself():
            try:
                await me[0]
            except RuntimeError as exc:
                return blot(str(exc))

        me.append(t.task(myself(), name="me"))
        t.say(await me[0])

    t.run(main())


@mixed
def test_future_like_objects(t):
    class Duck:
        """The least that a Task asks of a foreign future."""
        _asyncio_future_blocking = False

        def __init__(self):
            self.callbacks = []

        def get_loop(self):
            return t.loop

        def add_done_callback(self, callback, *, context=None):
            t.say("add", context is not None)
            self.callbacks.append((callback, context))

        def cancel(self, msg=None):
            t.say("cancel", msg)
            return False

        def result(self):
            return "duck"

        def __await__(self):
            self._asyncio_future_blocking = True
            yield self
            return self.result()

    async def wait(duck):
        return await duck

    async def main():
        duck = Duck()
        task = t.task(wait(duck))
        await t.sleep(0)
        t.say(duck._asyncio_future_blocking, task._fut_waiter is duck)
        callback, context = duck.callbacks[0]
        t.loop.call_soon(callback, duck, context=context)
        t.say(await task)
        duck = Duck()
        task = t.task(wait(duck))
        await t.sleep(0)
        t.say(task.cancel("no duck"))
        callback, context = duck.callbacks[0]
        t.loop.call_soon(callback, duck)
        await asyncio.wait([task])
        t.say(task.cancelled())

    t.run(main())


@mixed
def test_future_like_that_fails(t):
    class Broken:
        _asyncio_future_blocking = True

        def __init__(self, where):
            self.where = where

        def get_loop(self):
            if self.where == "get_loop":
                raise ValueError("get_loop")
            return t.loop

        def add_done_callback(self, callback, *, context=None):
            raise ValueError("add_done_callback")

        def __await__(self):
            yield self

    async def wait(broken):
        await broken

    t.record_contexts()

    async def main():
        for where in ("get_loop", "add_done_callback"):
            task = t.task(wait(Broken(where)))
            await asyncio.wait([task], timeout=0.01)
            t.say(task.done())
            if task.done():
                t.attempt(task.result)
            else:
                task._log_destroy_pending = False

    t.run(main())


@mixed
def test_awaiting_foreign_and_own_futures(t):
    """A standard Future in our Task, and the reverse."""
    async def wait(future):
        return await future

    async def main():
        for cls in (asyncio.Future, OURS.Future):
            future = cls(loop=t.loop)
            task = t.task(wait(future))
            t.loop.call_later(0.001, future.set_result, "r")
            t.say(await task)
            future = cls(loop=t.loop)
            task = t.task(wait(future))
            await t.sleep(0)
            task.cancel("c")
            await asyncio.wait([task])
            t.say(future.cancelled(), task.cancelled())
            future = cls(loop=t.loop)
            future.set_exception(KeyError("k"))
            task = t.task(wait(future))
            await asyncio.wait([task])
            t.say(task.exception())
        for cls in (asyncio.Task, OURS.Task):
            inner = cls(value("inner"), loop=t.loop)
            t.say(await t.task(wait(inner)))
            inner = cls(asyncio.sleep(10), loop=t.loop)
            outer = t.task(wait(inner))
            await t.sleep(0)
            outer.cancel()
            await asyncio.wait([outer])
            t.say(inner.cancelled(), outer.cancelled())

    t.run(main())


# --- eager start

@mixed
def test_eager_start(t):
    if not EAGER:
        t.say("came with 3.12")
        return
    order = []

    async def suspends():
        order.append(("in", asyncio.current_task().get_name()))
        await t.sleep(0)
        order.append(("again", asyncio.current_task().get_name()))
        return "late"

    async def main():
        at_once = t.task(value(5), eager_start=True, name="at once")
        t.say(at_once.done(), at_once.result(), at_once.get_name(), at_once)
        if sys.version_info >= (3, 13):  # 3.12's own crashes here
            t.say(at_once.get_coro())
        failed = t.task(failing(), eager_start=True)
        t.say(failed.done(), failed.exception())
        cancelled = t.task(failing(asyncio.CancelledError("c")), eager_start=True)
        t.say(cancelled.cancelled())
        late = t.task(suspends(), eager_start=True, name="late")
        t.say(late.done(), order, asyncio.current_task().get_name(), late in asyncio.all_tasks())
        t.say(await late, order)
        off = t.task(value(), eager_start=False)
        t.say(off.done())
        await off
        for base in (KeyboardInterrupt, SystemExit):
            t.attempt(lambda: t.task(failing(base("out")), eager_start=True))
        t.say(asyncio.current_task().get_name())

    t.loop.run_until_complete(t.task(main(), name="main"))
    coro = value()
    t.attempt(lambda: t.task(coro, eager_start=True).done())
    t.pump(2)


@mixed
def test_eager_start_nested_and_context(t):
    if not EAGER:
        t.say("came with 3.12")
        return
    var = contextvars.ContextVar("var", default="none")

    async def nested(n):
        t.say(n, asyncio.current_task().get_name())
        if n:
            var.set(n)
            t.task(nested(n - 1), eager_start=True, name=f"level {n - 1}")
        t.say(n, asyncio.current_task().get_name(), var.get())

    async def main():
        t.task(nested(3), eager_start=True, name="level 3")
        t.say(asyncio.current_task().get_name(), var.get())
        context = contextvars.copy_context()
        t.task(nested(1), eager_start=True, name="in its context", context=context)
        t.say(context.get(var), var.get())

    t.loop.run_until_complete(t.task(main(), name="main"))


@mixed
def test_eager_that_awaits(t):
    if not EAGER:
        t.say("came with 3.12")
        return

    async def wait(future):
        return await future

    async def main():
        future = t.future()
        task = t.task(wait(future), eager_start=True)
        t.say(task._fut_waiter is future)
        future.set_result("now")
        t.say(await task)
        task = t.task(wait(t.future()), eager_start=True)
        task.cancel("c")
        await asyncio.wait([task])
        t.say(task.cancelled())

        async def cancels_itself():
            asyncio.current_task().cancel("self")
            return 5

        task = t.task(cancels_itself(), eager_start=True)
        t.say(task.done(), task.cancelled())

    t.run(main())


# --- current_task and all_tasks

@mixed
def test_all_tasks_lists_only_pending_ones_of_the_loop(t):
    async def main():
        tasks = [t.task(asyncio.sleep(i / 1000), name=f"t{i}") for i in range(4)]
        t.say(sorted(x.get_name() for x in asyncio.all_tasks()))
        await asyncio.wait(tasks[:2])
        t.say(all(x in asyncio.all_tasks() for x in tasks if not x.done()))
        await asyncio.wait(tasks)
        t.say(sorted(x.get_name() for x in asyncio.all_tasks()))

    t.loop.run_until_complete(t.task(main(), name="main"))


@mixed
def test_all_tasks_forgets_the_dropped(t):
    async def wait(future):
        await future

    async def main():
        task = t.task(wait(t.future()), name="dropped")
        await t.sleep(0)
        task._log_destroy_pending = False
        t.say(len(asyncio.all_tasks()))
        del task
        gc.collect()
        t.say(len(asyncio.all_tasks()))

    t.run(main())


@mixed
def test_current_task_between_steps(t):
    async def main():
        me = asyncio.current_task()
        t.say(me is not None)

        def callback():
            t.say("callback", asyncio.current_task())

        t.loop.call_soon(callback)
        await t.sleep(0)
        await t.sleep(0)
        t.say(asyncio.current_task() is me)
        seen = []
        thread = threading.Thread(target=lambda: seen.append(asyncio.current_task(t.loop)))
        thread.start()
        thread.join()
        t.say(seen[0] is me)

    t.run(main())
    t.say(asyncio.current_task(t.loop))


@mixed
def test_private_enter_and_leave(t):
    """Code that poses as a task (anyio, test helpers) uses these between our steps."""
    async def main():
        me = asyncio.current_task()
        other = t.task(value())
        asyncio.tasks._leave_task(t.loop, me)
        asyncio.tasks._enter_task(t.loop, other)
        t.say(asyncio.current_task() is other)
        asyncio.tasks._leave_task(t.loop, other)
        asyncio.tasks._enter_task(t.loop, me)
        t.say(asyncio.current_task() is me)
        await other
        t.say(asyncio.current_task() is me)

    t.run(main())


@mixed
def test_native_and_own_tasks_take_turns(t):
    async def steps(name):
        for _ in range(3):
            t.say(name, asyncio.current_task().get_name())
            await asyncio.sleep(0)
        return name

    async def main():
        tasks = [cls(steps(f"{i}"), loop=t.loop, name=f"{i}")
                 for i, cls in enumerate((asyncio.Task, OURS.Task, OURS.Task, asyncio.Task))]
        t.say(await asyncio.gather(*tasks))
        t.say(len(asyncio.all_tasks()))

    t.run(main())


# --- contexts

@mixed
def test_context_is_kept_over_awaits(t):
    var = contextvars.ContextVar("var", default=0)

    async def body(n):
        var.set(n)
        for _ in range(3):
            await t.sleep(0)
            t.say(n, var.get())

    async def main():
        await t.gather(*(body(i) for i in range(3)))
        t.say(var.get())

    t.run(main())


@mixed
def test_context_manager_reset_in_the_same_task(t):
    var = contextvars.ContextVar("var", default=0)

    async def main():
        token = var.set(1)
        await t.sleep(0)
        await t.task(value())
        var.reset(token)
        t.say(var.get())

    t.run(main())


# --- as an object

@mixed
def test_generic_alias_weakref_hash(t):
    t.say(isinstance(t.kit.Task[int], types.GenericAlias), t.kit.Task[int].__args__)

    async def main():
        task = t.task(value())
        ref = weakref.ref(task)
        t.say(ref() is task, task in {task}, task == task, asyncio.isfuture(task), inspect.isawaitable(task))
        task.attribute = 5
        t.say(task.attribute)
        await task
        del task
        gc.collect()
        t.say(ref())

    t.run(main())


def test_isinstance(kit, loop):
    async def main():
        task = kit.Task(value(), loop=loop)
        assert isinstance(task, asyncio.Task) and isinstance(task, asyncio.Future)
        assert not asyncio.iscoroutine(task)
        match task:
            case asyncio.Task():
                pass
            case _:
                pytest.fail("does not match asyncio.Task()")
        await task

    loop.run_until_complete(main())


@mixed
def test_subclassing(t):
    class Sub(t.kit.Task):
        def __init__(self, coro, *, loop, name=None):
            self.cancels = []
            super().__init__(coro, loop=loop, name=name)

        def cancel(self, msg=None):
            self.cancels.append(msg)
            return super().cancel(msg=msg)

    async def wait(task):
        await task

    async def main():
        inner = Sub(asyncio.sleep(10), loop=t.loop, name="sub")
        outer = t.task(wait(inner))
        await t.sleep(0)
        await t.sleep(0)
        outer.cancel("down")
        await asyncio.wait([outer])
        t.say(inner.cancels, inner.cancelled(), inner.get_name())
        t.say(await Sub(value(4), loop=t.loop))

    t.run(main())


def test_uninitialised():
    """An object that was never initialised gives errors (asyncio's own crashes the interpreter here)."""
    got = child("""
import gc, types
for name in sorted(dir(Task)):
    for arguments in ((), (5,), (print,), ({},)):
        task = Task.__new__(Task)
        try:
            what = getattr(task, name)
            if callable(what) and not name.startswith("__") or name in ("__await__", "__iter__", "__repr__", "__del__"):
                what(*arguments)
        except Exception:
            pass
        try:
            next(iter(task))
        except Exception:
            pass
        del task
gc.collect()
print("alive")
""")
    assert got.stdout == "alive\n", got.stderr


@mixed
def test_cycle_is_collected(t):
    class Mark:
        pass

    mark = Mark()
    ref = weakref.ref(mark)

    async def main():
        async def body(mark):
            me = asyncio.current_task()
            await t.sleep(0)
            return me, mark

        task = t.task(body(mark))
        await task

    t.run(main())
    del mark
    gc.collect()
    t.say(ref() is None)


@mixed
def test_done_task_lets_its_coroutine_go(t):
    async def main():
        class Mark:
            pass

        mark = Mark()
        ref = weakref.ref(mark)

        async def body(mark):
            await t.sleep(0)

        task = t.task(body(mark))
        del mark
        await task
        gc.collect()
        t.say(ref() is None)
        return task

    t.run(main())


@mixed
def test_reentrant_step(t):
    """call_soon of a task's own wake-up is harmless; running the loop inside a step is refused."""
    async def main():
        coro = value()
        t.attempt(t.loop.run_until_complete, coro)
        coro.close()
        t.say(asyncio.current_task().get_name())
        await t.sleep(0)
        t.say(asyncio.current_task().get_name())

    t.loop.run_until_complete(t.task(main(), name="main"))


@mixed
def test_exception_keeps_its_traceback(t):
    async def level_one():
        await level_two()

    async def level_two():
        await t.sleep(0)
        raise ValueError("deep")

    async def main():
        task = t.task(level_one())
        try:
            await task
        except ValueError as exc:
            names = []
            tb = exc.__traceback__
            while tb:
                names.append(tb.tb_frame.f_code.co_name)
                tb = tb.tb_next
            t.say(names)

    t.run(main())


@mixed
def test_exception_context_across_tasks(t):
    async def main():
        try:
            raise KeyError("being handled")
        except KeyError:
            try:
                await t.task(failing())
            except LookupError as exc:
                t.say(type(exc.__context__).__name__, type(exc.__cause__).__name__)
            task = t.task(asyncio.sleep(10))
            await t.sleep(0)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError as exc:
                t.say(type(exc.__context__).__name__)
        t.say(sys.exc_info()[1])

    t.run(main())


def test_task_on_a_foreign_loop(kit):
    """A loop that is neither's own: call_soon, time and errors only (test suites have such ones)."""
    class Minimal(asyncio.AbstractEventLoop):
        def __init__(self):
            self.ready = []
            self.contexts = []

        def get_debug(self):
            return False

        def time(self):
            return 0.0

        def call_soon(self, callback, *args, context=None):
            self.ready.append((context or contextvars.copy_context(), callback, args))

        def call_exception_handler(self, context):
            self.contexts.append(context)

        def is_running(self):
            return False

        def create_future(self):
            return kit.Future(loop=self)

        def run(self):
            asyncio._set_running_loop(self)
            try:
                while self.ready:
                    context, callback, args = self.ready.pop(0)
                    context.run(callback, *args)
            finally:
                asyncio._set_running_loop(None)

    loop = Minimal()
    future = kit.Future(loop=loop)

    async def body():
        await asyncio.sleep(0)
        return await future, asyncio.current_task().get_name()

    task = kit.Task(body(), loop=loop, name="minimal")
    task.add_done_callback(lambda task: seen.append(task.result()))
    seen = []
    loop.run()
    assert not task.done()
    future.set_result("value")
    loop.run()
    assert seen == [("value", "minimal")]
    doomed = kit.Task(body(), loop=loop)
    doomed.cancel()
    loop.run()
    assert doomed.cancelled()
    assert loop.contexts == []


def test_deep_chain_of_awaiting_tasks(loop, kit):
    async def link(task):
        return 1 + (await task if task is not None else 0)

    async def main():
        task = None
        for _ in range(20_000):
            task = kit.Task(link(task), loop=loop)
        return await task

    assert loop.run_until_complete(main()) == 20_000


def test_deep_recursion_of_coroutines(loop, kit):
    async def down(n):
        return 1 + await down(n - 1) if n else await kit.sleep(0, 0)

    assert loop.run_until_complete(kit.Task(down(200), loop=loop)) == 200


def test_pending_tasks_at_interpreter_exit(kit):
    got = child("""
async def wait(future):
    await future
loop = new_loop()
keep = [Task(wait(Future(loop=loop)), loop=loop) for _ in range(5)]
loop.call_soon(loop.stop)
loop.run_forever()
print("leaving")
""", kit)
    assert got.returncode == 0 and got.stdout == "leaving\n", got.stderr


@same
def test_call_graph_of_tasks(t):
    if sys.version_info < (3, 14):
        t.say("came with 3.14")
        return

    async def leaf():
        await t.sleep(0)
        t.say([entry.frame.f_code.co_name for entry in asyncio.capture_call_graph().call_stack])

    async def group():
        async with asyncio.TaskGroup() as g:
            g.create_task(leaf(), name="leaf")

    async def main():
        await t.task(group(), name="group")
        task = t.task(asyncio.sleep(0.002), name="inner")
        waiting = t.task(named_coroutine(task), name="waiting")
        await t.sleep(0)
        await t.sleep(0)
        graph = asyncio.capture_call_graph(task)
        t.say([link.future.get_name() for link in graph.awaited_by])
        await waiting

    t.loop.run_until_complete(t.task(main(), name="main"))


@mixed
def test_threads_and_tasks_of_a_running_loop(t):
    """run_coroutine_threadsafe makes the task in the loop's thread."""
    async def main():
        loop = asyncio.get_running_loop()
        results = []
        thread = threading.Thread(
            target=lambda: results.append(asyncio.run_coroutine_threadsafe(value(9), loop).result(5)))
        thread.start()
        while not results:
            await asyncio.sleep(0.001)
        thread.join()
        return results

    t.say(t.run(main()))
