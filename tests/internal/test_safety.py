"""Misuse that once ended in a crash, a hang or a lost wake-up: each test is the smallest program that shows one.

Where the worst outcome is the end of the interpreter, the program runs in a process of its own.
"""
import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading

import pytest

import asyncloop
from kits import pump


def run_alone(source, *, timeout=60):
    """Run a program whose failure may be a crash; it must print ok last."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(source)],
        capture_output=True, text=True, timeout=timeout, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-1:] == ["ok"], done.stdout[-1000:] + done.stderr[-2000:]


@pytest.fixture
def own_loop():
    loop = asyncloop.new_event_loop()
    yield loop
    loop.close()


def test_a_finished_task_cancels_the_handle_that_runs_next(own_loop):
    """A task that nobody holds dies when the next callback begins; what it drops cancels that callback."""
    seen = []

    class Result:
        def __del__(self):
            handle.cancel()

    async def main():
        return Result()

    own_loop.create_task(main())
    handle = own_loop.call_soon(seen.append, "ran")
    pump(own_loop)
    assert handle.cancelled() and seen == []


def test_a_cancelled_handle_is_not_a_leak():
    """The collector learns of a handle that somebody keeps, though its callback never ran."""
    class Loop(asyncloop.Loop):
        pass

    loop = Loop()
    loop.kept = loop.call_soon(print)
    loop.kept.cancel()
    pump(loop)
    loop.close()
    before = sum(type(o) is Loop for o in gc.get_objects())
    del loop
    gc.collect()
    assert sum(type(o) is Loop for o in gc.get_objects()) == before - 1


def test_a_wake_up_while_time_runs_in_python():
    """call_soon_threadsafe comes after the loop has looked at its ring and before it sleeps."""
    class Loop(asyncloop.Loop):
        armed = False

        def time(self):
            if self.armed:
                self.armed = False
                thread = threading.Thread(target=self.call_soon_threadsafe, args=(self.stop,))
                thread.start()
                thread.join()
            return super().time()

    loop = Loop()
    late = loop.call_later(60, loop.stop)
    loop.call_soon(setattr, loop, "armed", True)
    start = loop.time()
    loop.run_forever()
    assert loop.time() - start < 30
    late.cancel()
    loop.close()


def test_a_signal_handler_that_raises_loses_no_event(own_loop):
    """A one-shot watch has fired in the very poll that the handler's exception ends."""
    class Stop(Exception):
        pass

    def handler(signum, frame):
        raise Stop

    mine, peer = socket.socketpair()
    mine.setblocking(False)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        task = own_loop.create_task(receive(own_loop, mine))
        pump(own_loop, 2)
        timer = threading.Timer(0.1, lambda: (peer.send(b"data"), os.kill(os.getpid(), signal.SIGUSR1)))
        timer.start()
        with pytest.raises(Stop):
            own_loop.run_forever()
        timer.join()
        assert own_loop.run_until_complete(asyncio.wait_for(task, 60)) == b"data"
    finally:
        signal.signal(signal.SIGUSR1, before)
        mine.close()
        peer.close()


async def receive(loop, sock):
    return await loop.sock_recv(sock, 10)


@pytest.mark.parametrize("fd", [10**6, 2**31 - 1])
def test_descriptors_that_cannot_be(own_loop, fd):
    """No table is made for a number that no descriptor has."""
    with pytest.raises(OSError) as caught:
        own_loop.add_reader(fd, print)
    assert caught.value.errno == 9


def test_transport_on_a_closed_socket(own_loop):
    closed = socket.socket()
    closed.close()
    lost = []

    class Protocol(asyncio.Protocol):
        def connection_lost(self, exc):
            lost.append(exc)

    reports = []
    own_loop.set_exception_handler(lambda loop, context: reports.append((context["message"], str(context["exception"]))))
    transport = own_loop._make_socket_transport(closed, Protocol())
    pump(own_loop, 3)
    # As on asyncio, where abort() raises as well.
    assert reports == [("Exception in callback _SelectorTransport._add_reader()", "Invalid file descriptor: -1")]
    assert not transport.is_closing() and lost == []
    transport.abort()
    pump(own_loop, 3)
    assert transport.is_closing() and lost == []


def test_a_cancel_message_whose_finalizer_finishes_the_future(own_loop):
    future = own_loop.create_future()

    class Message:
        def __del__(self):
            future.set_result("finalizer")

    future._cancel_message = Message()
    assert future.cancel() is False
    assert future.result() == "finalizer"


def test_a_loop_that_inits_the_future_while_it_schedules():
    """The callbacks after the first are gone from the future before anybody is told of it."""
    class Loop:
        def get_debug(self):
            return False

        def call_soon(self, callback, *args, context=None):
            seen.append(callback)
            if sys.version_info < (3, 15):
                future.__init__(loop=self)

    seen = []
    future = asyncloop.Future(loop=Loop())
    callbacks = [lambda f, i=i: i for i in range(9)]
    for callback in callbacks:
        future.add_done_callback(callback)
    future.set_result(1)
    assert seen == callbacks


@pytest.mark.skipif(not (3, 12) <= sys.version_info < (3, 15), reason="eager tasks and a second __init__ are both needed")
def test_a_running_task_is_made_anew_by_an_eager_one(own_loop):
    """While another task is the current one, the outer is still in the middle of its step: it ends with what that returns, as asyncio's does."""

    async def noop():
        pass

    coro = noop()

    async def inner():
        task.__init__(coro, loop=own_loop)

    async def outer():
        asyncloop.Task(inner(), loop=own_loop, eager_start=True)
        return "outer"

    reported = []
    own_loop.set_exception_handler(lambda loop, context: reported.append(context["exception"]))
    task = asyncloop.Task(outer(), loop=own_loop)
    pump(own_loop, 3)
    assert task.result() == "outer"
    assert [type(exc) for exc in reported] == [asyncio.InvalidStateError]
    coro.close()


def test_gather_hides_what_it_builds(own_loop):
    """A child's methods see the whole before it is complete, and may do to its list of children what they like."""
    seen = []

    class Child(asyncloop.Future):
        def add_done_callback(self, callback, **keywords):
            whole, = (each for each in gc.get_referents(callback) if isinstance(each, asyncio.Future))
            seen.append(list(whole._children))
            whole._children.clear()
            super().add_done_callback(callback, **keywords)

    async def main():
        children = [Child(), own_loop.create_future()]
        whole = asyncloop.gather(*children)
        assert whole._children == children
        for i, child in enumerate(children):
            child.set_result(i)
        return await whole, children

    result, children = own_loop.run_until_complete(main())
    assert result == [0, 1]
    assert seen == [children[:1]]


def test_gather_finished_by_a_childs_method(own_loop):
    reports = []
    own_loop.set_exception_handler(lambda loop, context: reports.append(type(context["exception"])))

    class Child(asyncloop.Future):
        def exception(self):
            whole.done() or whole.set_result("method")
            return super().exception()

    async def main():
        nonlocal whole
        child = Child()
        whole = asyncloop.gather(child)
        child.set_exception(ValueError())
        return await whole

    whole = None
    assert own_loop.run_until_complete(main()) == "method"
    assert reports in ([asyncio.InvalidStateError], [])


def test_long_chains_of_handles_and_sleeps():
    """Each is the argument of the next; dropping the last drops them all."""
    run_alone("""
        import asyncloop, warnings
        warnings.simplefilter("ignore")
        loop = asyncloop.new_event_loop()
        handle = sleep = None
        for i in range(300_000):
            handle = loop.call_later(1000 + i, print, handle)
            sleep = asyncloop.sleep(1, sleep)
        del handle, sleep
        loop.close()
        print("ok")
    """)


@pytest.mark.parametrize("make", ["asyncloop.Future", "asyncloop.Task"])
def test_objects_that_die_after_their_class(make):
    """The collector clears a class before the instances in the same cycle."""
    run_alone("""
        import asyncloop, gc
        loop = asyncloop.new_event_loop()

        async def noop():
            pass

        def make_cycle(base, *args):
            class Sub(base):
                pass
            chain = []
            chain.append(chain)
            instance = Sub(*args, loop=loop)
            instance._log_destroy_pending = False
            instance.itself = instance
            Sub.chain = chain
            chain.append(instance)

        for i in range(20):
            make_cycle(BASE, *ARGS)
            loop.call_soon(loop.stop)
            loop.run_forever()
            gc.collect()
        loop.close()
        print("ok")
    """.replace("BASE, *ARGS", make + (", noop()" if make.endswith("Task") else "")))


def test_everything_left_at_exit():
    """Cycles that only the interpreter's last collection finds, together with the types and the module."""
    run_alone("""
        import asyncio, asyncloop, builtins, gc, os, sys
        gc.disable()

        async def noop():
            pass

        class Sub(asyncloop.Future):
            pass

        def leave():
            loop, other = asyncloop.new_event_loop(), asyncio.new_event_loop()
            kept = [loop, other]
            kept += [kept, loop.call_soon(print, kept), loop.call_later(100, print, kept), asyncloop.sleep(1, kept)]
            kept[-1].close()
            kept += [loop.create_future(), Sub(loop=loop), asyncloop.Future(loop=other)]
            for i in (loop, other):
                task = asyncloop.Task(noop(), loop=i)
                task._log_destroy_pending = False
                kept.append(task)
            for future in kept[-5:]:
                future.kept = kept
            return kept

        sys.kept, builtins.kept, asyncio.kept = leave(), leave(), leave()
        os.register_at_fork(after_in_child=leave().clear)
        print("ok")
    """)


def test_cancelling_a_circle_of_tasks():
    """Each waits for the other: cancel() goes round and round, and ends in a RecursionError."""
    run_alone("""
        import asyncio, asyncloop

        async def wait_for(tasks, i):
            await tasks[i]

        async def main():
            for gather in (asyncio.gather, asyncloop.gather, lambda one: one):
                async def member(i):
                    await gather(tasks[i])

                tasks = []
                tasks += [asyncio.create_task(member(1)), asyncio.create_task(member(0))]
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                try:
                    tasks[0].cancel()
                except RecursionError:
                    print("recursion")

        loop = asyncloop.new_event_loop()
        loop.set_exception_handler(lambda loop, context: None)
        loop.run_until_complete(main())
        print("ok", flush=True)
        import os
        os._exit(0)
    """)


def test_a_report_in_the_middle_of_a_step_leaves_the_task_current(own_loop):
    """asyncio.current_task() is still the task after something it called went wrong."""
    own_loop.set_exception_handler(lambda loop, context: reports.append(type(context["exception"])))
    reports = []

    class Protocol(asyncio.Protocol):
        def pause_writing(self):
            raise ValueError

    async def main():
        mine, peer = socket.socketpair()
        mine.setblocking(False)
        transport, _ = await own_loop.create_connection(Protocol, sock=mine)
        task = asyncio.current_task()
        transport.set_write_buffer_limits(0)
        transport.write(b"x" * 5_000_000)
        assert asyncio.current_task() is task
        own_loop.call_soon(int)._run()
        assert asyncio.current_task() is task
        transport.abort()
        await asyncio.sleep(0.01)
        peer.close()

    own_loop.run_until_complete(main())
    assert reports == [ValueError]


def test_a_task_dropped_by_its_successor_runs_a_handle(own_loop):
    """Publishing the next task drops the last reference to one whose result runs code that is no task's."""
    seen = []

    class Result:
        def __del__(self):
            own_loop.call_soon(int)._run()

    async def first():
        return Result()

    async def second():
        seen.append(asyncio.current_task() is task)

    own_loop.create_task(first())
    task = own_loop.create_task(second())
    pump(own_loop, 2)
    assert seen == [True]


def test_a_threadsafe_handle_run_by_hand_cancels_itself(own_loop):
    """No loop runs that could ever end the callback: cancel() does not wait for it."""
    run_alone("""
        import asyncloop
        loop = asyncloop.new_event_loop()
        handle = loop.call_soon_threadsafe(lambda: handle.cancel())
        handle._run()
        assert handle.cancelled()
        loop.close()
        print("ok")
    """, timeout=60)


def test_a_result_whose_finalizer_awaits(own_loop):
    """Each await gets its own result, though dropping the one before drives another coroutine to its end."""
    def done(value):
        future = own_loop.create_future()
        future.set_result(value)
        return future

    class Result:
        def __del__(self):
            coro = inner()
            with pytest.raises(StopIteration):
                coro.send(None)

    async def inner():
        seen.append(await done(["inner"]))

    async def main():
        await done(Result())
        seen.append(await done(["outer"]))
        return await done("main")

    seen = []
    futures = [done(Result()) for _ in range(3)]

    async def drop_each():
        while futures:
            await futures.pop()
            seen.append(await done("after"))

    assert own_loop.run_until_complete(main()) == "main"
    own_loop.run_until_complete(drop_each())
    assert sorted(map(str, seen)) == ["['inner']"] * 4 + ["['outer']"] + ["after"] * 3


@pytest.mark.parametrize("how", ["send", "throw", "close"])
def test_a_sockets_method_that_drives_its_own_operation(own_loop, how):
    """The operation is in the middle of its first try, as a coroutine would be."""
    raised = []

    class Socket(socket.socket):
        def recv(self, n):
            if not raised:
                with pytest.raises(ValueError, match="already executing") as caught:
                    {"send": lambda: op.send(None), "throw": lambda: op.throw(KeyError), "close": op.close}[how]()
                raised.append(caught.value)
            return super().recv(n)

    mine, peer = socket.socketpair()
    with Socket(fileno=mine.detach()) as sock, peer:
        sock.setblocking(False)
        op = own_loop.sock_recv(sock, 10)
        own_loop.call_later(0.01, peer.send, b"data")

        async def main():
            return await op

        assert own_loop.run_until_complete(main()) == b"data"
        assert len(raised) == 1


REINIT = """
    import asyncio, gc, sys
    import asyncloop

    said = []

    async def other():
        return 1

    class Reinits:
        # what a task awaits: its methods call __init__ of the task, in the middle of its step
        _asyncio_future_blocking = True

        def __init__(self, loop, when):
            self.loop, self.when, self.task = loop, when, None

        def again(self, when):
            if when == self.when:
                self.task = asyncio.current_task()
                coro = other()
                try:
                    self.task.__init__(coro, loop=self.loop)
                except RuntimeError:
                    coro.close()

        def get_loop(self):
            self.again("get_loop")
            return self.loop

        def add_done_callback(self, callback, *, context=None):
            self.again("add_done_callback")
            self.loop.call_soon(callback, self, context=context)

        def result(self):
            self.again("result")

        def cancel(self, msg=None):
            return False

        def __await__(self):
            self.again("await")
            yield self
            self.again("resumed")

    async def body(loop, when):
        await Reinits(loop, when)

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: said.append(context["message"]))
        for when in ("get_loop", "add_done_callback", "result", "await", "resumed", "never"):
            for eager in (False, True) if sys.version_info >= (3, 12) else (False,):
                task = asyncloop.Task(body(loop, when), loop=loop, **({"eager_start": True} if eager else {}))
                await asyncio.sleep(0.005)
                assert task.done() or when != "never", when
                assert len(asyncio.all_tasks()) <= 2, asyncio.all_tasks()
                task.cancel()
                await asyncio.sleep(0.005)
                del task
                gc.collect()
                assert len(asyncio.all_tasks()) <= 1, asyncio.all_tasks()

    loop = MODULE.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    print("ok")
"""


@pytest.mark.parametrize("module", ["asyncloop", "asyncio"])
def test_a_task_begun_anew_in_its_own_step(module):
    run_alone(REINIT.replace("MODULE", module))


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="a second __init__ is an error")
def test_init_inside_of_init(own_loop):
    """What an __init__ asks, its finalizers too, may call __init__ of the same task."""

    async def noop():
        pass

    coros = [noop() for _ in range(8)]
    left = list(coros)

    class Again:
        def __init__(self, loop=own_loop):
            self.loop = loop

        def again(self):
            task, coro = tasks[0], left.pop()
            asyncloop.Task.__init__(task, coro, loop=own_loop)

        def __str__(self):
            self.again()
            return "name"

        def __del__(self):
            self.again()

    class Loop(asyncio.SelectorEventLoop):
        def get_debug(self):
            if tasks and len(left) > 3:
                Again.again(self)
            return False

    tasks = []
    tasks.append(asyncloop.Task(left.pop(), loop=own_loop))
    asyncloop.Task.__init__(tasks[0], left.pop(), loop=own_loop, name=Again.__new__(Again))
    tasks[0].extra = None
    other = Loop()
    asyncloop.Task.__init__(tasks[0], left.pop(), loop=other)
    asyncloop.Task.__init__(tasks[0], left.pop(), loop=own_loop)
    assert len(asyncio.all_tasks(own_loop)) == 1 and not asyncio.all_tasks(other)
    pump(own_loop, 3)
    assert not asyncio.all_tasks(own_loop) and tasks[0].done()
    tasks.clear()
    left.clear()
    for coro in coros:
        coro.close()
    other.close()
    gc.collect()
