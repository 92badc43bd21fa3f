"""__init__ called again at awkward moments, by code that the object itself calls: whatever comes of it, no crash and no error of the interpreter."""
import os
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import asyncio, gc, sys, warnings
    import asyncloop as m

    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda unraisable: None

    class Number(int):
        # compared and counted with; now and then it calls back
        act = None

        def call(self):
            act, Number.act = Number.act, None
            if act is not None:
                act()

        def __lt__(self, other):
            self.call()
            return int(self) < int(other)

        def __le__(self, other):
            self.call()
            return int(self) <= int(other)

        def __gt__(self, other):
            self.call()
            return int(self) > int(other)

        def __ge__(self, other):
            self.call()
            return int(self) >= int(other)

        def __eq__(self, other):
            self.call()
            return int(self) == int(other)

        __hash__ = int.__hash__

        def __sub__(self, other):
            self.call()
            return Number(int(self) - int(other))

        def __add__(self, other):
            self.call()
            return Number(int(self) + int(other))

        __radd__ = __add__

        def __bool__(self):
            self.call()
            return int(self) != 0

    class Waiter(m.Future):
        # what a helper's waiters are, on a loop that makes such
        def done(self):
            Number.call(self)
            return super().done()

        def cancel(self, msg=None):
            Number.call(self)
            return super().cancel(msg)

        def set_result(self, result):
            Number.call(self)
            super().set_result(result)

    class Loop(m.Loop):
        def create_future(self):
            Number.call(self)
            return Waiter(loop=self)

    class Lock(m.Lock):
        async def acquire(self):
            Number.call(self)
            return await super().acquire()

        def release(self):
            Number.call(self)
            super().release()

        def locked(self):
            Number.call(self)
            return super().locked()

    def hooked(kind, *names):
        def hook(name):
            inner = getattr(kind, name)
            def method(self, *args):
                Number.call(self)
                return inner(self, *args)
            return method
        return type("Child", (kind,), {name: hook(name) for name in names})

    class Transport:
        # every method calls back
        def __getattr__(self, name):
            def method(*args, **kw):
                Number.call(self)
            return method

        def is_closing(self):
            Number.call(self)
            return False

    async def use_lock(lock):
        async with lock:
            await asyncio.sleep(0)

    async def use_condition(condition):
        async with condition:
            await condition.wait_for(lambda: Number(1))
            condition.notify_all()
            await condition.wait()

    async def use_event(event):
        event.clear()
        await event.wait()
        event.set()

    async def use_queue(queue):
        await queue.put(Number(3))
        await queue.put(Number(2))
        await queue.get()
        queue.task_done()
        await queue.join()

    async def use_barrier(barrier):
        await barrier.wait()
        await barrier.reset()
        await barrier.abort()

    async def use_reader(reader):
        reader.feed_data(b"x" * 400)
        await reader.read(3)
        await reader.readexactly(397)
        await reader.readline()

    async def use_writer(pair):
        writer = pair
        writer.write(b"x")
        writer.writelines([b"y"])
        await writer.drain()
        writer.can_write_eof(), writer.write_eof(), writer.get_extra_info("x")
        writer.close()
        await writer.wait_closed()

    async def use_protocol(protocol):
        protocol.connection_made(Transport())
        protocol.data_received(b"x")
        protocol.pause_writing()
        protocol.eof_received()
        protocol.resume_writing()
        protocol.connection_lost(None)

    async def use_timeout(timeout):
        async with timeout:
            timeout.reschedule(Number(0))
            await asyncio.sleep(1)

    async def use_group(group):
        async with group:
            group.create_task(asyncio.sleep(0))
            group.create_task(asyncio.sleep(5))
            raise KeyError

    def writer(loop):
        protocol = m.StreamReaderProtocol(m.StreamReader(loop=loop), loop=loop)
        return m.StreamWriter(Transport(), protocol, None, loop)

    CASES = {
        "lock": (lambda loop: m.Lock(), lambda o, loop: o.__init__(), use_lock),
        "condition": (lambda loop: m.Condition(Lock()), lambda o, loop: o.__init__(Lock()), use_condition),
        "plain condition": (lambda loop: m.Condition(), lambda o, loop: o.__init__(), use_condition),
        "event": (lambda loop: m.Event(), lambda o, loop: o.__init__(), use_event),
        "semaphore": (lambda loop: m.Semaphore(Number(1)), lambda o, loop: o.__init__(Number(1)), use_lock),
        "bounded": (lambda loop: m.BoundedSemaphore(Number(1)), lambda o, loop: o.__init__(Number(1)), use_lock),
        "queue": (lambda loop: m.PriorityQueue(Number(1)), lambda o, loop: o.__init__(Number(2)), use_queue),
        "child of queue": (lambda loop: hooked(m.Queue, "_put", "_get", "qsize", "full", "empty")(Number(1)), lambda o, loop: o.__init__(1), use_queue),
        "barrier": (lambda loop: m.Barrier(Number(2)), lambda o, loop: o.__init__(Number(2)), use_barrier),
        "reader": (lambda loop: reader(loop), lambda o, loop: o.__init__(loop=loop), use_reader),
        "writer": (writer, lambda o, loop: o.__init__(Transport(), o._protocol, None, loop), use_writer),
        "protocol": (lambda loop: m.StreamReaderProtocol(m.StreamReader(loop=loop), lambda r, w: Number.call(None), loop=loop),
                     lambda o, loop: o.__init__(m.StreamReader(loop=loop), loop=loop), use_protocol),
        "timeout": (lambda loop: m.Timeout(Number(10 ** 9)), lambda o, loop: o.__init__(Number(1)), use_timeout),
        "group": (lambda loop: m.TaskGroup(), lambda o, loop: o.__init__(), use_group),
    }

    def reader(loop):
        made = m.StreamReader(limit=100, loop=loop)
        made.set_transport(Transport())
        return made

    async def attempt(use, target):
        try:
            await asyncio.wait_for(use(target), 0.02)
        except SystemError:
            raise
        except BaseException as exc:
            pass

    def trial(name, at):
        # the at-th call that the object makes calls __init__
        make, again, use = CASES[name]
        loop = Loop()
        loop.set_exception_handler(lambda loop, context: None)
        count = 0

        async def main():
            nonlocal count
            target = make(loop)

            def act():
                nonlocal count
                count += 1
                if count == at:
                    again(target, loop)
                else:
                    Number.act = act

            Number.act = act
            tasks = [asyncio.ensure_future(attempt(use, target)) for _ in range(3)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            tasks[1].cancel()
            if hasattr(target, "release"):
                for _ in range(2):
                    try:
                        target.release()
                    except Exception:
                        pass
            await asyncio.wait(tasks, timeout=0.1)  # one may wait for ever: for a lock that is not in the object any more
            for task in tasks:
                task._log_destroy_pending = False
            Number.act = None
            gc.collect()

        loop.run_until_complete(main())
        loop.close()
        return count >= at

    for name in CASES:
        at = 1
        while at < 60 and trial(name, at):
            at += 1
        print(name, at - 1)
    print("ok")
"""


@pytest.mark.limit(300)
def test_init_called_by_what_the_object_calls():
    environment = os.environ | {"PYTHONMALLOC": os.environ.get("PYTHONMALLOC", "debug"), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(PROGRAM)], env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0 and done.stdout.endswith("ok\n"), done.stdout[-500:] + done.stderr[-3000:]
    moments = [int(line.split()[-1]) for line in done.stdout.splitlines()[:-1]]
    assert sum(moments) > 100, done.stdout  # they did call
