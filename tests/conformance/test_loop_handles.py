"""Handle and TimerHandle: API, repr, isinstance, hashing, comparing, weak references, contexts."""
import asyncio
import contextvars
import functools
import gc
import threading
import weakref

import pytest

from sidebyside import same


def callback(*args):
    pass


class Callable:
    def __call__(self):
        pass

    def method(self):
        pass


def handles(loop):
    return [loop.call_soon(callback), loop.call_soon_threadsafe(callback), loop.call_later(60, callback),
            loop.call_at(loop.time() + 60, callback)]


def test_types(loop):
    soon, threadsafe, later, at = handles(loop)
    for handle in (soon, threadsafe, later, at):
        assert isinstance(handle, asyncio.Handle)
        assert isinstance(handle, (int, asyncio.Handle))
    for handle in (later, at):
        assert isinstance(handle, asyncio.TimerHandle)
    assert not isinstance(soon, asyncio.TimerHandle)
    assert type(soon).__name__.endswith("Handle") and type(later).__name__ == "TimerHandle"


def test_cancel(loop):
    ran = []
    made = [loop.call_soon(ran.append, 1), loop.call_later(0, ran.append, 2), loop.call_soon_threadsafe(ran.append, 3)]
    for handle in made:
        assert not handle.cancelled()
        assert handle.cancel() is None
        assert handle.cancelled()
        assert handle.cancel() is None
        assert handle.cancelled()
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    assert ran == []


def test_cancel_frees_the_callback_and_arguments(loop):
    class Big:
        pass

    for schedule in (loop.call_soon, functools.partial(loop.call_later, 60)):
        big, holder = Big(), Big()
        ref, fref = weakref.ref(big), weakref.ref(holder)
        handle = schedule(functools.partial(callback, holder), big)
        del big, holder
        assert ref() is not None and fref() is not None
        handle.cancel()
        gc.collect()
        assert ref() is None and fref() is None


def test_cancel_itself_and_others_in_the_pass(loop):
    ran = []
    handles = []

    def first():
        handles[0].cancel()
        handles[1].cancel()
        ran.append("first")

    handles.append(loop.call_soon(first))
    handles.append(loop.call_soon(ran.append, "second"))
    handles.append(loop.call_soon(ran.append, "third"))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert ran == ["first", "third"]
    assert [h.cancelled() for h in handles] == [True, True, False]


def test_cancel_after_running(loop):
    handle = loop.call_soon(callback)
    timer = loop.call_later(0, callback)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert not handle.cancelled() and not timer.cancelled()
    handle.cancel()
    timer.cancel()
    assert handle.cancelled() and timer.cancelled()


def test_when(loop):
    before = loop.time()
    handle = loop.call_later(10, callback)
    assert before + 10 <= handle.when() <= loop.time() + 10
    assert loop.call_at(12345.678, callback).when() == 12345.678
    assert loop.call_at(7, callback).when() == 7
    cancelled = loop.call_at(99.5, callback)
    cancelled.cancel()
    assert cancelled.when() == 99.5


def test_get_context(kit, loop):
    var = contextvars.ContextVar("var")
    context = contextvars.copy_context()
    made = [loop.call_soon(callback, context=context), loop.call_later(60, callback, context=context),
            loop.call_soon(callback), loop.call_later(60, callback)]
    if not hasattr(made[0], "get_context"):
        pytest.skip("Handle.get_context came with Python 3.12")
    assert made[0].get_context() is context and made[1].get_context() is context
    for handle in made[2:]:
        own = handle.get_context()
        assert isinstance(own, contextvars.Context) and own is not context
        assert handle.get_context() is own
        own.run(var.set, 1)
        assert var not in contextvars.copy_context()
    shown = []
    late = loop.call_soon(lambda: shown.append(var.get("unset")))
    late.get_context().run(var.set, "through the handle")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert shown == ["through the handle"]


def test_hash_and_equality(loop):
    one, two = loop.call_soon(callback), loop.call_soon(callback)
    assert one == one and one != two
    assert len({one, two, one}) == 2
    early, same_as_early, late = (loop.call_at(w, callback) for w in (100.0, 100.0, 200.0))
    assert hash(early) == hash(100.0) or isinstance(hash(early), int)
    assert early == same_as_early
    assert hash(early) == hash(same_as_early)
    assert early != late and early < late and late > early and early <= same_as_early and early >= same_as_early
    assert not early < same_as_early and not early > same_as_early
    assert sorted([late, early]) == [early, late]
    other = loop.call_at(100.0, callback, "argument")
    assert early != other and not early == other
    cancelled = loop.call_at(100.0, callback)
    cancelled.cancel()
    assert early != cancelled
    for op in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__"):
        assert getattr(early, op)(5) is NotImplemented
        assert getattr(early, op)(one) is NotImplemented
    with pytest.raises(TypeError):
        early < 5
    with pytest.raises(TypeError):
        one < two
    assert (early == 5) is False


def test_weak_references(loop):
    made = [loop.call_soon(callback), loop.call_soon_threadsafe(callback), loop.call_later(0, callback),
            loop.call_at(0, callback)]
    refs = [weakref.ref(handle) for handle in made]
    assert [ref() for ref in refs] == made
    del made
    assert all(ref() is not None for ref in refs)  # the loop holds them
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    gc.collect()
    for ref in refs:
        assert ref() is None


def test_not_used_after_the_loop_dropped_it(loop):
    """A handle kept by the user stays a whole object while the loop recycles others."""
    kept = [loop.call_soon(callback, i) for i in range(50)]
    loop.call_soon(loop.stop)
    loop.run_forever()
    for _ in range(3):
        for i in range(100):
            loop.call_soon(callback, i)
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert all(not h.cancelled() for h in kept)
    assert len(set(map(id, kept))) == 50
    assert all("callback" in repr(h) for h in kept)


def test_cancel_from_another_thread(loop):
    ran = []
    handles = [loop.call_soon_threadsafe(ran.append, i) for i in range(10)]
    thread = threading.Thread(target=lambda: [h.cancel() for h in handles[::2]])
    thread.start()
    thread.join()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert ran == [1, 3, 5, 7, 9]


@same
def test_repr(t):
    loop = t.loop
    fixed = 98765.5
    obj = Callable()
    for cb in (callback, functools.partial(callback, 1, 2), functools.partial(functools.partial(callback, 1), b=2),
               obj.method, len, print, Callable):
        for args in ((), (1, "two"), ("x" * 300,)):
            handle = loop.call_soon(cb, *args)
            t.say(repr(handle))
            handle.cancel()
            t.say(repr(handle))
            timer = loop.call_at(fixed, cb, *args)
            t.say(repr(timer))
            timer.cancel()
            t.say(repr(timer))


@same
def test_repr_in_debug_mode(t):
    loop = t.loop
    loop.set_debug(True)
    handle = loop.call_soon(callback, 1, "two")
    t.say(repr(handle))
    handle.cancel()
    t.say(repr(handle))
    timer = loop.call_at(98765.5, callback, 1)
    t.say(repr(timer))
    timer.cancel()
    t.say(repr(timer))
    loop.set_debug(False)
    t.say(repr(timer))


@same
def test_public_attributes(t):
    handle, timer = t.loop.call_soon(callback), t.loop.call_later(60, callback)
    for h in (handle, timer):
        t.say(h._cancelled, h._loop is t.loop, h._callback is callback, h._args)
        t.say([name for name in ("cancel", "cancelled", "when", "get_context", "_run", "_repr_info") if hasattr(h, name)])
        h.cancel()
        t.say(h._cancelled, h._callback, h._args)
        t.attempt(setattr, h, "unheard_of", 1)
    t.say(timer._when == timer.when())


@same
def test_native_handle_in_our_loop(t):
    """asyncio's own Handle objects, made by hand, are run by _run on any loop."""
    handle = asyncio.Handle(t.say, ("by hand",), t.loop)
    t.loop.call_soon(handle._run)
    t.pump()
    timer = asyncio.TimerHandle(5.0, t.say, (), t.loop)
    t.say(timer == asyncio.TimerHandle(5.0, t.say, (), t.loop), timer.when())


@same
def test_wrong_callbacks(t):
    for cb in (5, None, "text", [], object()):
        t.record_contexts()
        t.attempt(t.loop.call_soon, cb)
        t.attempt(t.loop.call_later, 0, cb)
        t.attempt(t.pump, 2)


def test_many_arguments(loop):
    seen = []
    for n in (0, 1, 2, 3, 4, 5, 8, 17, 300):
        loop.call_soon(lambda *args: seen.append(args), *range(n))
        loop.call_later(0, lambda *args: seen.append(args), *range(n))
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    assert sorted(seen) == sorted([tuple(range(n)) for n in (0, 1, 2, 3, 4, 5, 8, 17, 300)] * 2)


def test_handle_lives_while_its_callback_runs(loop):
    """The callback drops the last reference to its own handle."""
    box = []
    seen = []

    def run(big):
        box.clear()
        gc.collect()
        seen.append(len(big))

    box.append(loop.call_soon(run, "x" * 1000))
    box.append(loop.call_later(0, run, "y" * 2000))
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    assert seen == [1000, 2000]
