"""asyncio.Future against asyncloop.Future, on either loop, side by side."""
import asyncio
import collections.abc
import concurrent.futures
import contextlib
import contextvars
import copy
import gc
import inspect
import pickle
import sys
import types
import warnings
import weakref

import pytest

from sidebyside import OURS, awaited_by, blot, child, mixed, same

# --- states

@mixed
def test_states(t):
    for finish in (lambda f: None, lambda f: f.set_result(5), lambda f: f.set_exception(ValueError("v")),
                   lambda f: f.cancel(), lambda f: f.cancel("message")):
        future = t.future()
        t.attempt(finish, future)
        t.say(future.done(), future.cancelled(), future._state)
        t.attempt(future.result)
        t.attempt(future.exception)
        t.attempt(future.set_result, 1)
        t.attempt(future.set_exception, KeyError("k"))
        t.attempt(future.cancel)
        t.say(future)


@mixed
def test_result_twice_and_none(t):
    future = t.future()
    future.set_result(None)
    t.say(future.result(), future.result(), future.exception())
    box = []
    future = t.future()
    future.set_result(box)
    t.say(future.result() is box)


@mixed
def test_exception_kinds(t):
    class Own(Exception):
        def __init__(self, a, b):
            super().__init__(a, b)

    class NeedsArgument(Exception):
        def __init__(self, a):
            pass

    for wrong in (ValueError, ValueError("x"), Own(1, 2), Own, NeedsArgument, 5, None, "text", object, int, KeyboardInterrupt(),
                  SystemExit, asyncio.CancelledError(), StopIteration, StopIteration(5), BaseException("b"), GeneratorExit()):
        future = t.future()
        t.attempt(future.set_exception, wrong)
        t.say(future.done())
        if future.done():
            exc = t.attempt(future.exception)
            t.attempt(future.result)
            if isinstance(exc, BaseException):
                t.say(type(exc.__cause__).__name__, type(exc.__context__).__name__)


@mixed
def test_exception_traceback_does_not_grow(t):
    def depth(exc):
        n, tb = 0, exc.__traceback__
        while tb:
            n, tb = n + 1, tb.tb_next
        return n

    try:
        raise ValueError("with a traceback")
    except ValueError as exc:
        error = exc
    future = t.future()
    future.set_exception(error)
    depths = []
    for _ in range(4):
        try:
            future.result()
        except ValueError as exc:
            depths.append(depth(exc))
    t.say(depths)
    t.say(depth(future.exception()))

    async def wait():
        await future

    for _ in range(3):
        try:
            t.run(wait())
        except ValueError as exc:
            t.say(depth(exc) - depth(error))


@mixed
def test_cancel_messages(t):
    for args in ((), ("text",), (None,), (5,), ("",), (("a", "b"),)):
        future = t.future()
        t.say(future.cancel(*args), future._cancel_message)
        for _ in range(2):
            try:
                future.result()
            except asyncio.CancelledError as exc:
                t.say(exc.args, exc.__context__, exc.__cause__)
        try:
            future.exception()
        except asyncio.CancelledError as exc:
            t.say(exc.args)
        t.say(future._make_cancelled_error())
    future = t.future()
    future.cancel(msg="keyword")
    t.attempt(future.result)


# --- callbacks

@mixed
def test_callbacks(t):
    future = t.future()
    for i in range(4):
        future.add_done_callback(lambda f, i=i: t.say(i, f is future, f.done()))
    t.say(len(future._callbacks))
    future.set_result(1)
    t.say("not yet called", future._callbacks)
    future.add_done_callback(lambda f: t.say("added when done"))
    t.pump()
    t.pump()


@mixed
def test_remove_done_callback(t):
    def one(f):
        t.say("one")

    def two(f):
        t.say("two")

    future = t.future()
    t.say(future.remove_done_callback(one))
    for cb in (one, two, one, one, two):
        future.add_done_callback(cb)
    t.say(future.remove_done_callback(one), future.remove_done_callback(one))
    t.say([cb is two for cb, context in future._callbacks])
    future.set_result(None)
    t.say(future.remove_done_callback(two))
    t.pump()


@mixed
def test_callbacks_attribute_is_a_fresh_list(t):
    future = t.future()
    t.say(future._callbacks)
    context = contextvars.copy_context()
    future.add_done_callback(print, context=context)
    callbacks = future._callbacks
    t.say(len(callbacks), callbacks[0][0] is print, callbacks[0][1] is context)
    callbacks.clear()
    t.say(len(future._callbacks))
    future.add_done_callback(len)
    t.say([cb for cb, context in future._callbacks], [type(c).__name__ for cb, c in future._callbacks])
    future.remove_done_callback(print)
    t.say([cb for cb, context in future._callbacks])


@mixed
def test_callback_equality_is_used(t):
    class Equal:
        def __init__(self, name):
            self.name = name

        def __eq__(self, other):
            return isinstance(other, Equal) and self.name == other.name

        def __hash__(self):
            return 1

        def __call__(self, future):
            t.say(self.name)

    future = t.future()
    future.add_done_callback(Equal("a"))
    future.add_done_callback(Equal("b"))
    future.add_done_callback(Equal("a"))
    t.say(future.remove_done_callback(Equal("a")))
    future.set_result(1)
    t.pump()


@mixed
def test_wrong_callbacks(t):
    future = t.future()
    t.record_contexts()
    for wrong in (5, None, "x"):
        t.attempt(future.add_done_callback, wrong)
        t.attempt(future.remove_done_callback, wrong)
    t.attempt(future.add_done_callback)
    t.attempt(future.add_done_callback, print, contextvars.copy_context())


@mixed
def test_callback_context(t):
    var = contextvars.ContextVar("var", default="none")
    future = t.future()
    context = contextvars.copy_context()
    context.run(var.set, "given")
    token = var.set("at adding")
    future.add_done_callback(lambda f: t.say(var.get()))
    future.add_done_callback(lambda f: t.say(var.get()), context=context)
    var.set("at finishing")
    future.set_result(None)
    t.pump()
    var.reset(token)


# --- awaiting

@mixed
def test_await(t):
    async def wait(future):
        return await future

    done = t.future()
    done.set_result("at once")
    t.say(t.run(wait(done)))
    later = t.future()
    t.loop.call_later(0.001, later.set_result, "later")
    t.say(t.run(wait(later)))
    broken = t.future()
    broken.set_exception(LookupError("broken"))
    t.attempt(t.run, wait(broken))
    cancelled = t.future()
    cancelled.cancel("why")
    t.attempt(t.run, wait(cancelled))


@mixed
def test_await_results_of_every_kind(t):
    async def wait(value):
        future = t.future()
        future.set_result(value)
        ready = await future
        future = t.future()
        t.loop.call_soon(future.set_result, value)
        waited = await future
        return ready is value and waited is value

    for value in (None, 1, (), (1, 2), (1,), StopIteration(3), ValueError("as a value"), [], StopIteration, Exception, {}):
        t.say(t.run(wait(value)))


@mixed
def test_iterator_protocol(t):
    for make in (lambda f: f.__await__(), iter):
        future = t.future()
        it = make(future)
        t.say(next(it) is future, future._asyncio_future_blocking)
        t.attempt(next, it)
        future = t.future()
        it = make(future)
        next(it)
        future.set_result(5)
        try:
            next(it)
        except StopIteration as exc:
            t.say("stopped", exc.value)
        future = t.future()
        future.set_result((1, 2))
        try:
            next(make(future))
        except StopIteration as exc:
            t.say("stopped", exc.value)
        future = t.future()
        future.set_exception(KeyError("k"))
        t.attempt(next, make(future))


def stopped(t, call, *args):
    """Calls, and says what it gave, raised or stopped with."""
    try:
        t.say(call(*args))
    except StopIteration as exc:
        t.say("stopped", exc.value)
    except BaseException as exc:
        t.say("raised", exc)


@mixed
def test_iterator_that_is_sent_to(t):
    for make in (lambda f: f.__await__(), iter):
        future = t.future()
        it = make(future)
        t.say(iter(it) is it, it.send("what is sent does not matter") is future)
        stopped(t, it.send, None)
        future = t.future()
        it = make(future)
        it.send(None)
        future.set_result([5])
        stopped(t, it.send, 7)


@mixed
def test_iterator_that_is_closed(t):
    for make in (lambda f: f.__await__(), iter):
        future = t.future()
        it = make(future)
        next(it)
        t.say(it.close(), it.close(), future)
        stopped(t, it.throw, KeyError("after the end"))


def test_closed_iterator_is_at_its_end(loop):
    """asyncio's returns NULL without an exception then, which is a SystemError."""
    it = OURS.Future(loop=loop).__await__()
    next(it)
    it.close()
    for call in (lambda: next(it), lambda: it.send(None)):
        with pytest.raises(StopIteration) as raised:
            call()
        assert raised.value.value is None


@mixed
def test_iterator_that_is_thrown_into(t):
    try:
        raise LookupError
    except LookupError as exc:
        traceback = exc.__traceback__

    class NeedsArgument(Exception):
        def __init__(self, needed):
            pass

    trials = [(KeyError("an instance"),), (KeyError,), (KeyError, "a value"), (KeyError, ("several", "values")), (KeyError, KeyError("one")),
              (KeyError, ValueError("of another class")), (KeyError, None, None), (KeyError, None, traceback), (KeyError("k"), None, traceback),
              (KeyError("k"), "a value"), (KeyError, None, "no traceback"), (5,), ("text",), (int,), (NeedsArgument,), (StopIteration(3),),
              (GeneratorExit,), (), (KeyError, None, None, None)]
    for args in trials:
        future = t.future()
        it = future.__await__()
        next(it)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                it.throw(*args)
            except BaseException as exc:
                frames, tb = [], exc.__traceback__
                while tb:
                    frames, tb = frames + [tb.tb_frame.f_code.co_name], tb.tb_next
                t.say(len(args), exc, frames.count("test_iterator_that_is_thrown_into"))
        t.say([(w.category, str(w.message)) for w in caught], future.done())
        stopped(t, next, it)


@mixed
def test_await_outside_a_task(t):
    future = t.future()

    async def wait():
        return await future

    coro = wait()
    t.say(coro.send(None) is future)
    t.attempt(coro.send, None)
    future = t.future()
    coro = wait()
    coro.send(None)
    future.set_result("value")
    try:
        coro.send(None)
    except StopIteration as exc:
        t.say(exc.value)


@mixed
def test_sending_a_value_into_an_await(t):
    """Any driver may send what it likes into a coroutine: a Future that is awaited takes no notice."""
    async def wait(awaitable):
        return await awaitable

    @types.coroutine
    def delegate(awaitable):
        return (yield from awaitable)

    async def nothing():
        await t.sleep(0)
        return "nothing"

    for drive in (wait, delegate):
        for make in (t.future, lambda: t.task(nothing()), lambda: t.gather(t.future())):
            with contextlib.closing(Running(t.loop)):
                awaited = make()
            coro = drive(awaited)
            t.say(coro.send(None) is awaited, awaited._asyncio_future_blocking)
            t.attempt(coro.send, "while it is pending")
            coro = drive(awaited)
            awaited._asyncio_future_blocking = False
            coro.send(None)
            if make is t.future:
                awaited.set_result("value")
            else:
                awaited.cancel()
                t.pump(4)
            t.attempt(coro.send, "a value")
    coro = wait(t.future())
    coro.send(None)
    t.attempt(coro.send, None)
    for awaited in (t.future(), t.task(nothing())):
        t.say(hasattr(awaited, "send"), isinstance(awaited, (collections.abc.Coroutine, collections.abc.Generator)))
        t.say(isinstance(awaited.__await__(), collections.abc.Generator), isinstance(iter(awaited), collections.abc.Generator))
        t.attempt(getattr, awaited, "send")


class Running:
    """The loop is asyncio's running one, without running: for gather, which asks."""

    def __init__(self, loop):
        asyncio._set_running_loop(loop)

    def close(self):
        asyncio._set_running_loop(None)


@mixed
def test_an_awaited_value_dies_with_its_last_name(t):
    class Value:
        pass

    async def give(value):
        return value

    async def main():
        future = t.future()
        future.set_result(Value())
        value = await future
        ref = weakref.ref(value)
        del value, future
        t.say("done future", ref() is None)
        future = t.future()
        t.loop.call_soon(future.set_result, Value())
        value = await future
        ref = weakref.ref(value)
        del value, future
        t.say("waited for", ref() is None)
        value = await t.sleep(0, Value())
        ref = weakref.ref(value)
        del value
        t.say("sleep", ref() is None)
        task = t.task(give(Value()))
        value = await task
        ref = weakref.ref(value)
        del value, task
        await t.sleep(0)
        t.say("task", ref() is None)
        queue = asyncio.Queue()
        queue.put_nowait(Value())
        value = await queue.get()
        ref = weakref.ref(value)
        del value
        t.say("queue", ref() is None)

    t.run(main())


@mixed
def test_throwing_into_an_await(t):
    future = t.future()

    async def wait():
        try:
            return await future
        except ValueError as exc:
            return ("caught", exc)

    coro = wait()
    coro.send(None)
    try:
        coro.throw(ValueError("thrown"))
    except StopIteration as exc:
        t.say(exc.value)
    t.say(future.done(), future._asyncio_future_blocking)
    coro = wait()
    future = t.future()
    coro.send(None)
    t.say(coro.close())
    t.say(future)


def test_isfuture_and_awaitable(kit, loop):
    future = kit.Future(loop=loop)
    assert asyncio.isfuture(future) and inspect.isawaitable(future)
    assert not asyncio.iscoroutine(future)
    assert isinstance(future, asyncio.Future) and not isinstance(future, asyncio.Task)
    assert asyncio.ensure_future(future) is future
    assert asyncio.wrap_future(future) is future
    match future:
        case asyncio.Future():
            pass
        case _:
            pytest.fail("does not match asyncio.Future()")


# --- attributes

@mixed
def test_attributes(t):
    future = t.future()
    t.say(future._state, future._result, future._exception, future._log_traceback, future._asyncio_future_blocking,
          future._source_traceback, future._cancel_message, future._loop is t.loop, future.get_loop() is t.loop)
    future._asyncio_future_blocking = True
    t.say(future._asyncio_future_blocking)
    future._asyncio_future_blocking = False
    for name, value in (("_log_traceback", True), ("_log_traceback", False), ("_asyncio_future_blocking", "yes"),
                        ("_state", "FINISHED"), ("_result", 1), ("_exception", 1), ("_callbacks", []), ("_loop", None),
                        ("_cancel_message", "new"), ("_source_traceback", None), ("new_attribute", 5)):
        t.say(name)
        t.attempt(setattr, future, name, value)
    for name in ("_log_traceback", "_asyncio_future_blocking", "_state", "new_attribute", "_cancel_message"):
        t.say(name)
        t.attempt(delattr, future, name)
    future.cancel()
    t.say(future._state, future._cancel_message)


@mixed
def test_repr(t):
    def callback(f):
        pass

    future = t.future()
    t.say(repr(future), str(future))
    for n in range(4):
        future.add_done_callback(callback)
        t.say(repr(future))
    for finish in (lambda f: f.set_result("x" * 200), lambda f: f.set_result([1, 2]), lambda f: f.set_exception(ValueError("v")),
                   lambda f: f.cancel("m")):
        future = t.future()
        finish(future)
        t.say(repr(future))
        future._log_traceback = False
    t.loop.set_debug(True)
    t.say(repr(t.future()))
    t.loop.set_debug(False)


@mixed
def test_recursive_repr(t):
    future = t.future()
    future.set_result(future)
    t.say(repr(future))
    future = t.future()
    future.set_result([future])
    t.say(repr(future))


@mixed
def test_subclass_repr(t):
    class Sub(t.kit.Future):
        pass

    class Own(t.kit.Future):
        def _repr_info(self):
            return ["own", "info"]

    t.say(repr(Sub(loop=t.loop)), repr(Own(loop=t.loop)))


# --- construction

@mixed
def test_construction(t):
    t.attempt(lambda: t.kit.Future(loop=5).get_loop())
    t.attempt(t.kit.Future, t.loop)
    t.attempt(t.kit.Future, wrong=1)

    async def main():
        future = t.kit.Future()
        t.say(future.get_loop() is t.loop, t.kit.Future(loop=None).get_loop() is t.loop)

    t.run(main())


@mixed
def test_without_any_loop(t):
    asyncio.set_event_loop(None)
    t.attempt(t.kit.Future)


@mixed
def test_second_init(t):
    future = t.future()
    future.set_result(5)
    t.attempt(future.__init__, loop=t.loop)
    t.say(future)


@mixed
def test_uninitialised(t):
    future = t.kit.Future.__new__(t.kit.Future)
    for name in ("result", "exception", "cancel", "done", "cancelled", "get_loop"):
        t.say(name)
        t.attempt(getattr(future, name))
    for name, args in (("set_result", (1,)), ("set_exception", (ValueError(),)), ("add_done_callback", (print,)),
                       ("remove_done_callback", (print,)), ("_make_cancelled_error", ())):
        t.say(name)
        t.attempt(getattr(future, name), *args)
    for name in ("_state", "_result", "_exception", "_callbacks", "_loop", "_log_traceback", "_asyncio_future_blocking",
                 "_source_traceback", "_cancel_message"):
        t.say(name)
        t.attempt(getattr, future, name)
    t.attempt(lambda: next(iter(future)))
    del future
    gc.collect()


@mixed
def test_subclassing(t):
    class Sub(t.kit.Future):
        def __init__(self, *, loop):
            super().__init__(loop=loop)
            self.log = []

        def set_result(self, result):
            self.log.append(result)
            super().set_result(("wrapped", result))

        def cancel(self, msg=None):
            self.log.append("cancel")
            return super().cancel(msg=msg)

    future = Sub(loop=t.loop)
    t.loop.call_soon(future.set_result, 1)

    async def wait():
        return await future

    t.say(t.run(wait()), future.log)
    future = Sub(loop=t.loop)
    task = t.task(wait())
    t.pump()
    task.cancel()
    t.pump(2)
    t.say(task.cancelled(), future.log, future.cancelled())


@mixed
def test_subclass_that_overrides_result_and_callbacks(t):
    class Sub(t.kit.Future):
        def result(self):
            return ("own", super().result())

        def add_done_callback(self, fn, *, context=None):
            t.say("add")
            super().add_done_callback(fn, context=context)

        def done(self):
            t.say("done")
            return super().done()

    future = Sub(loop=t.loop)
    t.loop.call_soon(future.set_result, 1)

    async def wait():
        return await future

    t.say(t.run(wait()))
    t.say(t.loop.run_until_complete(future))


@mixed
def test_generic_alias_and_class(t):
    alias = t.kit.Future[int]
    t.say(isinstance(alias, types.GenericAlias), alias.__args__, alias.__origin__ is t.kit.Future)
    t.say(t.kit.Future.__name__, callable(t.kit.Future))


@same
def test_not_picklable(t):
    for call in (pickle.dumps, copy.copy, copy.deepcopy):
        try:
            call(t.future())
            t.say("fine")
        except TypeError:
            t.say("TypeError")


@mixed
def test_weak_reference_and_hash(t):
    future = t.future()
    ref = weakref.ref(future)
    t.say(ref() is future, future in {future}, future == future, future == t.future())
    del future
    gc.collect()
    t.say(ref())


@mixed
def test_garbage(t):
    class Mark:
        pass

    mark = Mark()
    ref = weakref.ref(mark)
    future = t.future()
    future.add_done_callback(lambda f, mark=mark: None)
    future.myself = future
    other = t.future()
    other.set_result((other, mark))
    del future, other, mark
    gc.collect()
    t.say(ref() is None)


def test_call_graph_attribute(kit, loop):
    if sys.version_info < (3, 14):
        pytest.skip("call graphs came with Python 3.14")

    async def leaf(future):
        await future

    async def middle(future):
        await leaf(future)

    async def main():
        future = kit.Future(loop=loop)
        task = kit.Task(middle(future), loop=loop, name="the middle")
        await kit.sleep(0)
        assert set(future._asyncio_awaited_by or ()) == {task}
        graph = asyncio.capture_call_graph(future)
        assert [link.future.get_name() for link in graph.awaited_by] == ["the middle"]
        shown = asyncio.format_call_graph(task)
        assert "middle" in shown and "leaf" in shown
        future.set_result(None)
        await task
        assert not future._asyncio_awaited_by

    loop.run_until_complete(main())


@mixed
def test_who_waits_for_a_future_of_asyncio(t):
    """3.14+: asyncio's own Future, Task and gather show our task among those that wait for them, and no longer when it goes on."""
    if sys.version_info < (3, 14):
        return

    async def wait(future):
        await future

    async def child():
        await t.sleep(0)

    async def main():
        for make in (lambda: asyncio.Future(loop=t.loop), lambda: asyncio.Task(child(), loop=t.loop), lambda: asyncio.gather(asyncio.Future(loop=t.loop))):
            future = make()
            waiting = [t.task(wait(future), name=f"waiter {i}") for i in range(3)]
            native = asyncio.Task(wait(future), loop=t.loop, name="native")
            cancelled = t.task(wait(future), name="cancelled")
            await t.sleep(0)
            t.say(awaited_by([future]))
            t.say(sorted(link.future.get_name() for link in asyncio.capture_call_graph(future).awaited_by))
            if not future.done():
                future.cancel()
            await asyncio.wait([*waiting, native, cancelled])
            t.say(awaited_by([future]))

    t.run(main())


@mixed
def test_one_waits_for_a_future_of_asyncio(t):
    if sys.version_info < (3, 14):
        return

    async def wait(future):
        await future

    async def main():
        future = asyncio.Future(loop=t.loop)
        t.say(future._asyncio_awaited_by)
        task = t.task(wait(future), name="the only one")
        await t.sleep(0)
        t.say(awaited_by([future]))
        future.set_result(None)
        await task
        t.say(future._asyncio_awaited_by)
        for helper in (t.gather, lambda *children: asyncio.wait(children), lambda first, *_: asyncio.shield(first)):
            children = [asyncio.Future(loop=t.loop) for _ in range(3)]
            task = t.task(wait(helper(*children)), name="through a helper")
            await t.sleep(0)
            t.say([len(child._asyncio_awaited_by or ()) for child in children], [link.awaited_by and link.awaited_by[0].future.get_name()
                  for link in asyncio.capture_call_graph(children[0]).awaited_by])
            task.cancel()
            await asyncio.wait([task])

    t.run(main())


# --- re-entrancy

@mixed
def test_callbacks_that_change_callbacks(t):
    future = t.future()

    def adder(f):
        t.say("adder")
        f.add_done_callback(added)
        f.remove_done_callback(last)

    def added(f):
        t.say("added")

    def last(f):
        t.say("last")

    future.add_done_callback(adder)
    future.add_done_callback(last)
    future.set_result(1)
    t.pump()
    t.say("--")
    t.pump()


@mixed
def test_eq_that_removes(t):
    future = t.future()

    class Evil:
        armed = True

        def __eq__(self, other):
            if Evil.armed:
                Evil.armed = False
                future.remove_done_callback(int)
            return False

        def __call__(self, f):
            t.say("evil")

    for cb in (int, Evil(), str, Evil(), int):
        future.add_done_callback(cb)
    t.say(future.remove_done_callback(str))
    t.say(len(future._callbacks))


@mixed
def test_eq_that_fails(t):
    class Evil:
        def __eq__(self, other):
            raise RuntimeError("no comparing")

        def __call__(self, f):
            t.say("called")

    future = t.future()
    future.add_done_callback(Evil())
    future.add_done_callback(Evil())
    future.add_done_callback(int)
    t.attempt(future.remove_done_callback, str)
    t.say(len(future._callbacks))


@mixed
def test_del_that_touches_the_future(t):
    future = t.future()

    class Evil:
        def __call__(self, f):
            t.say("called")

        def __del__(self):
            future.add_done_callback(print)
            future.remove_done_callback(print)
            t.say("deleted", future.done())

    future.add_done_callback(Evil())
    future.add_done_callback(lambda f: None)
    t.say(len(future._callbacks))
    future.set_result(None)
    t.pump()
    gc.collect()


@same(kits=("our_classes",))
def test_finishing_inside_a_foreign_call_soon(t):
    """set_result called while another set_result runs a foreign call_soon."""
    real = t.loop.call_soon
    future = t.future()
    calls = []

    def call_soon(callback, *args, context=None):
        calls.append(callback)
        try:
            future.set_result("second")
        except asyncio.InvalidStateError as exc:
            t.say(exc)
        return real(callback, *args, context=context)

    future.add_done_callback(lambda f: t.say(f.result()))
    t.loop.call_soon = call_soon
    try:
        future.set_result("first")
    finally:
        del t.loop.call_soon
    t.pump()


def test_deep_chain_of_results():
    """Dropping a long chain of futures does not exhaust the C stack (up to 3.13 asyncio's own does)."""
    got = child("""
loop = new_loop()
future = None
for _ in range(300_000):
    following = Future(loop=loop)
    following.set_result(future)
    future = following
del following
del future
loop.close()
print("alive")
""")
    assert got.stdout == "alive\n", got.stderr


@mixed
def test_futures_of_another_loop(t):
    mine, other = t.loop, t.new_loop()
    foreign = t.kit.Future(loop=other)

    async def wait():
        await foreign

    async def main():
        try:
            await t.kit.Task(wait(), loop=mine)
        except RuntimeError as exc:
            t.say(blot(str(exc)))

    mine.run_until_complete(t.kit.Task(main(), loop=mine))
    t.say(foreign.done())


@mixed
def test_concurrent_future_bridge(t):
    source = concurrent.futures.Future()
    target = asyncio.wrap_future(source, loop=t.loop)
    t.loop.call_soon(source.set_result, "from the executor")
    t.say(t.loop.run_until_complete(target))
    source = concurrent.futures.Future()
    target = asyncio.wrap_future(source, loop=t.loop)
    target.cancel()
    t.pump(2)
    t.say(source.cancelled())


@mixed
def test_shield_and_chained_futures(t):
    async def main():
        inner = t.future()
        outer = asyncio.shield(inner)
        t.say(outer.cancel(), inner.done())
        inner.set_exception(ValueError("nobody waits"))
        await t.sleep(0)
        inner = t.future()
        outer = asyncio.shield(inner)
        t.loop.call_soon(inner.set_result, "shielded")
        t.say(await outer)

    t.run(main())
