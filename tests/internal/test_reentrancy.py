"""User code runs in unexpected places (finalizers, comparisons, callbacks of callbacks) and turns against the loop.

What counts is that the interpreter survives and the loop goes on; where asyncio's own outcome is clear it must be the same.
"""
import asyncio
import collections.abc
import gc
import os
import socket
import weakref

import pytest

from kits import pump
from sidebyside import OURS, mixed, run_until, same


class Bomb:
    """Runs something when it is destroyed."""

    def __init__(self, action):
        self.action = action

    def __call__(self, *args):
        pass

    def __del__(self):
        self.action()


def test_finalizers_of_arguments_schedule(loop):
    seen = []
    loop.call_soon(id, Bomb(lambda: loop.call_soon(seen.append, "argument")))
    loop.call_soon(Bomb(lambda: loop.call_soon(seen.append, "callback")))
    loop.call_later(0, Bomb(lambda: loop.call_later(0, seen.append, "timer")))
    loop.call_soon(lambda bomb: None, Bomb(lambda: loop.call_soon_threadsafe(seen.append, "threadsafe")))
    run_until(loop, lambda: len(seen) == 4)
    assert sorted(seen) == ["argument", "callback", "threadsafe", "timer"]


def test_finalizers_cancel_other_handles(loop):
    seen = []
    handles = []
    loop.call_soon(Bomb(lambda: [h.cancel() for h in handles]))
    handles.extend(loop.call_soon(seen.append, i) for i in range(5))
    handles.extend(loop.call_later(0, seen.append, i) for i in range(5))
    pump(loop, 3)
    assert seen == []


def test_cancelling_a_timer_frees_one_that_cancels(loop):
    """The heap is changed by a finalizer that the cancelling of a timer set off."""
    handles = [loop.call_later(50 + i, int) for i in range(100)]

    def chain(i):
        if i < 95:
            loop.call_later(10 + i, Bomb(lambda: (handles[i].cancel(), chain(i + 1)))).cancel()

    chain(0)
    assert sum(h.cancelled() for h in handles) == 95
    loop.call_later(0.001, loop.stop)
    loop.run_forever()


def test_stop_and_run_again_inside_finalizers(loop):
    loop.call_soon(Bomb(loop.stop))
    loop.run_forever()
    assert not loop.is_running()


def test_close_inside_a_finalizer_of_the_closing_loop(kit):
    loop = kit.new_loop()
    loop.call_soon(int, Bomb(loop.close))
    loop.call_later(60, int, Bomb(loop.close))
    loop.close()
    gc.collect()
    assert loop.is_closed()


def test_scheduling_while_the_loop_drops_its_entries(kit):
    loop = kit.new_loop()
    errors = []

    def schedule():
        for call in (lambda: loop.call_soon(int), lambda: loop.call_later(1, int)):
            try:
                call()
            except RuntimeError as exc:
                errors.append(str(exc))

    for _ in range(10):
        loop.call_soon(int, Bomb(schedule))
        loop.call_later(60, int, Bomb(schedule))
    loop.close()
    gc.collect()
    assert set(errors) <= {"Event loop is closed"}


def test_reader_that_removes_everything(loop):
    pairs = [socket.socketpair() for _ in range(10)]
    seen = []

    def remove_all(i):
        seen.append(i)
        for a, b in pairs:
            loop.remove_reader(a)
            loop.remove_writer(a)

    for i, (a, b) in enumerate(pairs):
        loop.add_reader(a, remove_all, i)
        loop.add_writer(a, remove_all, i)
        b.send(b"x")
    pump(loop, 3)
    assert len(seen) == 1
    for a, b in pairs:
        a.close()
        b.close()


def test_reader_finalizer_adds_a_reader(loop):
    r, w = os.pipe()
    seen = []
    loop.add_reader(r, Bomb(lambda: loop.add_reader(r, lambda: seen.append(os.read(r, 5)))))
    loop.remove_reader(r)
    os.write(w, b"x")
    pump(loop, 2)
    assert seen == [b"x"]
    loop.remove_reader(r)
    os.close(r)
    os.close(w)


def test_replacing_a_reader_in_its_own_finalizer(loop):
    r, w = os.pipe()
    loop.add_reader(r, Bomb(lambda: loop.remove_reader(r)))
    loop.add_reader(r, int)
    pump(loop)
    loop.remove_reader(r)
    os.close(r)
    os.close(w)


@mixed
def test_finalizer_of_a_result_finishes_other_futures(t):
    others = [t.future() for _ in range(3)]

    def finish():
        for future in others:
            if not future.done():
                future.set_result("from a finalizer")

    future = t.future()
    future.set_result(Bomb(finish))
    del future
    gc.collect()
    t.say([f.result() for f in others])


@mixed
def test_finalizer_of_a_callback_adds_callbacks(t):
    future = t.future()

    def add():
        future.add_done_callback(lambda f: t.say("added by a finalizer"))

    future.add_done_callback(Bomb(add))
    future.add_done_callback(lambda f: t.say("ordinary"))
    bomb = future._callbacks[0][0]
    future.remove_done_callback(bomb)
    del bomb
    future.set_result(1)
    t.pump(2)


@mixed
def test_task_that_finishes_its_awaiter(t):
    async def inner(box):
        await t.sleep(0)
        box[0].cancel()
        return "inner"

    async def outer(box):
        task = t.task(inner(box))
        try:
            return await task
        except asyncio.CancelledError:
            return "outer was cancelled"

    async def main():
        box = []
        box.append(t.task(outer(box)))
        t.say(await box[0])

    t.run(main())


@mixed
def test_done_callback_that_cancels_and_finishes(t):
    async def wait(future):
        return await future

    async def main():
        first, second = t.future(), t.future()
        task = t.task(wait(second))
        first.add_done_callback(lambda f: second.cancel())
        first.add_done_callback(lambda f: task.cancel())
        await t.sleep(0)
        first.set_result(None)
        await asyncio.wait([task])
        t.say(task.cancelled(), second.cancelled())

    t.run(main())


@mixed
def test_coroutine_that_cancels_its_own_sleep(t):
    async def main():
        me = asyncio.current_task()
        t.loop.call_soon(me.cancel)
        try:
            await t.sleep(10)
        except asyncio.CancelledError:
            t.say("woken")
        t.loop.call_soon(lambda: (me.cancel(), me.cancel()))
        try:
            await t.gather(t.sleep(10), t.sleep(10))
        except asyncio.CancelledError:
            t.say("again")

    t.run(main())


@mixed
def test_gather_child_that_cancels_the_outer(t):
    async def main():
        async def child():
            await t.sleep(0)
            t.say(outer.cancel())
            return "finished"

        outer = t.gather(child(), t.sleep(10))
        try:
            await outer
        except asyncio.CancelledError:
            t.say("cancelled", outer.cancelled())

    t.run(main())


@mixed
def test_gather_whose_children_are_dropped_by_a_callback(t):
    async def main():
        futures = [t.future() for _ in range(4)]
        outer = t.gather(*futures)
        futures[0].add_done_callback(lambda f: futures.clear())
        waiting = list(futures)
        for future in waiting:
            future.set_result(1)
        del waiting
        t.say(await outer)

    t.run(main())


@same
def test_exception_handler_that_reenters(t):
    depth = []

    def handler(loop, context):
        depth.append(context["message"])
        if len(depth) < 5:
            loop.call_exception_handler({"message": f"nested {len(depth)}"})
            loop.call_soon(lambda: 1 / 0)

    t.loop.set_exception_handler(handler)
    t.loop.call_soon(lambda: 1 / 0)
    t.pump(4)
    t.say(len(depth), depth[:2])


@same
def test_exception_handler_that_stops_and_closes(t):
    def handler(loop, context):
        loop.stop()
        t.attempt(loop.close)

    t.loop.set_exception_handler(handler)
    t.loop.call_soon(lambda: 1 / 0)
    t.loop.run_forever()
    t.say("left")


@mixed
def test_future_comparing_evil(t):
    class Evil:
        def __init__(self, future):
            self.future = future

        def __eq__(self, other):
            for cb, context in self.future._callbacks:
                pass
            if not self.future.done():
                self.future.set_result("inside a comparison")
            return True

        def __call__(self, f):
            t.say("evil called")

    future = t.future()
    future.add_done_callback(Evil(future))
    future.add_done_callback(Evil(future))
    future.remove_done_callback(len)
    t.say(future.done())
    t.pump(2)


@mixed
def test_repr_that_finishes(t):
    class Evil:
        def __repr__(self):
            if not other.done():
                other.set_result(1)
            gc.collect()
            return "<evil>"

        def __call__(self, *args):
            pass

    other = t.future()
    future = t.future()
    future.add_done_callback(Evil())
    other.add_done_callback(Evil())
    t.say(repr(future))
    t.say(repr(t.loop.call_soon(Evil(), Evil())), other.done())
    done = t.future()
    done.set_result(Evil())
    t.say(repr(done))


@mixed
def test_weakref_callbacks_run_user_code(t):
    def on_death(ref):
        t.loop.call_soon(t.say, "a task died")

    async def main():
        task = t.task(t.sleep(0))
        ref = weakref.ref(task, on_death)
        await task
        del task
        await t.sleep(0)
        gc.collect()
        await t.sleep(0)
        t.say(ref())

    t.run(main())


@mixed
def test_context_of_a_task_reset_inside(t):
    class Coro:
        """A coroutine object that plays with its own task in send."""

        def __init__(self):
            self.n = 0

        def send(self, value):
            self.n += 1
            me = asyncio.current_task()
            repr(me)
            me.get_stack()
            if self.n == 2:
                me.cancel()
            if self.n > 3:
                raise StopIteration(self.n)
            return None

        def throw(self, exc, *rest):
            t.say("thrown", type(exc).__name__)
            return None

        def close(self):
            pass

        def __await__(self):
            return self

        def __iter__(self):
            return self

        __next__ = None

    collections.abc.Coroutine.register(Coro)

    async def main():
        task = t.task(Coro())
        await asyncio.wait([task])
        t.attempt(task.result)

    t.run(main())


def test_collecting_in_the_middle_of_everything(kit, loop):
    """A very low threshold makes the collector run at each allocation."""
    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        async def child(n):
            await kit.sleep(0)
            future = kit.Future(loop=loop)
            loop.call_soon(future.set_result, n)
            return await future

        async def main():
            for _ in range(3):
                assert await kit.gather(*(child(i) for i in range(10))) == list(range(10))
                timers = [loop.call_later(1, int) for _ in range(10)]
                for timer in timers:
                    timer.cancel()

        loop.run_until_complete(main())
    finally:
        gc.set_threshold(*before)


@pytest.mark.parametrize("how", ["stop", "raise", "return"])
def test_running_again_after_an_odd_end(kit, loop, how):
    for _ in range(5):
        async def main():
            for _ in range(3):
                loop.create_task(kit.sleep(0))
            if how == "stop":
                loop.stop()
                await kit.sleep(0)
                await kit.sleep(0)
            elif how == "raise":
                raise LookupError
        task = loop.create_task(main())
        try:
            loop.run_until_complete(task)
        except (LookupError, RuntimeError):
            pass
        loop.run_until_complete(asyncio.wait([task]))
        assert asyncio.current_task(loop) is None
    assert loop.run_until_complete(kit.sleep(0, "fine")) == "fine"


def test_the_loop_is_closed_inside_of_a_read_from_outside():
    """A burst, and _read_ready() called by hand while the loop does not run: the loop's buffers go during the read."""
    loop = OURS.new_loop()
    got = []

    class Protocol(asyncio.DatagramProtocol):
        def datagram_received(self, data, addr):
            got.append(data)
            transport.sendto(data, addr)
            loop.close()

    transport, _ = loop.run_until_complete(loop.create_datagram_endpoint(Protocol, ("127.0.0.1", 0)))
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.settimeout(30)
        for i in range(5):
            peer.sendto(b"%d" % i, transport.get_extra_info("sockname"))
        transport._read_ready()
        assert got == [b"0"] and peer.recv(10) == b"0"
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        del transport
        gc.collect()
