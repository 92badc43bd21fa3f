"""No operation keeps a reference: on a debug Python the total of reference counts stays the same from round to round.

Traps of counting: caches that fill (so: warm-up rounds), new int objects (so: a preallocated list, made ints), the garbage
collector's moment (so: a collection in every round).
"""
import asyncio
import concurrent.futures
import contextvars
import functools
import gc
import logging
import os
import signal
import socket
import sys

import pytest

import certs
from kits import DatagramEcho, Echo
from sidebyside import OURS

pytestmark = pytest.mark.skipif(not hasattr(sys, "gettotalrefcount"), reason="needs a debug build of Python (sys.gettotalrefcount)")

WARM_UP, ROUNDS, REPEATS = 24, 7, 25
EAGER = sys.version_info >= (3, 12)


class Bed:
    """A loop and what the operations need."""

    def __init__(self):
        self.loop = OURS.new_loop()
        self.Future, self.Task, self.sleep, self.gather = OURS.Future, OURS.Task, OURS.sleep, OURS.gather
        self.pool = concurrent.futures.ThreadPoolExecutor(1)

    def run(self, coro):
        return self.loop.run_until_complete(coro)

    def pump(self):
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def close(self):
        self.loop.close()
        self.pool.shutdown()


OPERATIONS = {}


def operation(function):
    OPERATIONS[function.__name__] = function
    return function


def nothing(*args):
    pass


async def value(n=1):
    return n


async def failing():
    raise ValueError("on purpose")


def failing_call():
    raise ValueError("on purpose")


@operation
def call_soon(bed):
    bed.loop.call_soon(nothing, 1, "two")
    bed.loop.call_soon(nothing, context=contextvars.copy_context())
    bed.loop.call_soon(nothing).cancel()
    bed.loop.call_soon_threadsafe(nothing, 1)
    bed.pump()


@operation
def call_later(bed):
    bed.loop.call_later(0, nothing, 1)
    bed.loop.call_at(0, nothing, context=contextvars.copy_context())
    bed.loop.call_later(60, nothing, 2).cancel()
    bed.pump()
    bed.pump()


@operation
def handles(bed):
    handle, timer = bed.loop.call_soon(nothing, 1), bed.loop.call_later(60, nothing)
    repr(handle), repr(timer), hash(timer), timer == handle, timer.when(), handle.cancelled()
    if hasattr(handle, "get_context"):
        handle.get_context(), timer.get_context()
    handle.cancel()
    timer.cancel()
    repr(handle)
    bed.pump()


@operation
def failing_callback(bed):
    bed.loop.set_exception_handler(nothing)
    bed.loop.call_soon(lambda: 1 / 0)
    bed.loop.call_soon(5)
    bed.loop.call_soon(nothing, context=5)
    bed.pump()
    bed.loop.set_exception_handler(None)


@operation
def futures(bed):
    future = bed.Future(loop=bed.loop)
    future.add_done_callback(nothing)
    future.add_done_callback(len, context=contextvars.copy_context())
    future.add_done_callback(print)
    future.remove_done_callback(print)
    repr(future), future._callbacks, future.get_loop(), future._state
    future.set_result([1])
    future.result(), future.exception()
    try:
        future.set_result(2)
    except asyncio.InvalidStateError:
        pass
    bed.pump()


@operation
def future_exceptions(bed):
    future = bed.Future(loop=bed.loop)
    future.set_exception(ValueError("x"))
    for _ in range(2):
        try:
            future.result()
        except ValueError:
            pass
    future.exception()
    repr(future)
    lost = bed.Future(loop=bed.loop)
    lost.set_exception(ValueError("lost"))
    bed.loop.set_exception_handler(nothing)
    del lost
    bed.loop.set_exception_handler(None)
    cancelled = bed.Future(loop=bed.loop)
    cancelled.cancel("message")
    for _ in range(2):
        try:
            cancelled.result()
        except asyncio.CancelledError:
            pass


@operation
def future_cycle(bed):
    future = bed.Future(loop=bed.loop)
    future.add_done_callback(lambda f, future=future: None)
    future.itself = future


@operation
def future_errors(bed):
    for call in (lambda: bed.Future(bed.loop), lambda: bed.Future(loop=5), lambda: bed.Future(loop=bed.loop).set_exception(5),
                 lambda: bed.Future(loop=bed.loop).result(), lambda: bed.Future(loop=bed.loop).add_done_callback(),
                 lambda: bed.Future.__new__(bed.Future).result()):
        try:
            call()
        except Exception:
            pass


@operation
def tasks(bed):
    async def main():
        one = bed.Task(value([1]), loop=bed.loop, name="one")
        two = bed.loop.create_task(value())
        one.set_name("other"), one.get_name(), two.get_name(), one.get_coro(), one.get_stack(), repr(one)
        await one
        await two
        repr(one)
        try:
            await bed.Task(failing(), loop=bed.loop)
        except ValueError:
            pass
        asyncio.current_task(), asyncio.all_tasks()

    bed.run(main())


@operation
def awaiting_futures(bed):
    async def wait(future):
        return await future

    async def main():
        future = bed.Future(loop=bed.loop)
        waiting = [bed.Task(wait(future), loop=bed.loop) for _ in range(3)]
        await bed.sleep(0)
        future.set_result((1, 2))
        for task in waiting:
            await task
        await future
        native = asyncio.Future(loop=bed.loop)
        bed.loop.call_soon(native.set_result, 1)
        await native
        broken = bed.Future(loop=bed.loop)
        bed.loop.call_soon(broken.set_exception, KeyError("k"))
        try:
            await broken
        except KeyError:
            pass

    bed.run(main())


@operation
def cancelling(bed):
    async def wait(future):
        await future

    async def main():
        for make in (lambda: bed.sleep(60), lambda: wait(bed.Future(loop=bed.loop)), lambda: asyncio.sleep(60)):
            task = bed.Task(make(), loop=bed.loop)
            await bed.sleep(0)
            task.cancel("message")
            try:
                await task
            except asyncio.CancelledError:
                pass
        unstarted = bed.Task(value(), loop=bed.loop)
        unstarted.cancel()
        unstarted.uncancel()
        await asyncio.wait([unstarted])

    bed.run(main())


@operation
def dropped_tasks(bed):
    async def wait(future):
        await future

    bed.loop.set_exception_handler(nothing)
    bed.Task(wait(bed.Future(loop=bed.loop)), loop=bed.loop)
    bed.pump()
    bed.pump()
    gc.collect()
    bed.loop.set_exception_handler(None)


@operation
def eager_tasks(bed):
    async def main():
        if EAGER:
            await bed.Task(value(), loop=bed.loop, eager_start=True)
            await bed.Task(bed.sleep(0), loop=bed.loop, eager_start=True)
            bed.loop.set_task_factory(asyncio.eager_task_factory)
            await asyncio.create_task(value())
            bed.loop.set_task_factory(None)

    bed.run(main())


@operation
def bad_yields(bed):
    class Yields:
        def __await__(self):
            yield 5

    async def wait():
        try:
            await Yields()
        except RuntimeError:
            pass

    bed.run(wait())


@operation
def sleeping(bed):
    async def main():
        await bed.sleep(0)
        await bed.sleep(0, "result")
        await bed.sleep(0.0001, ("tuple",))
        await asyncio.sleep(0.0001)
        bed.sleep(5).close()
        for wrong in ("x", float("nan")):
            try:
                await bed.sleep(wrong)
            except (TypeError, ValueError):
                pass

    bed.run(main())


@operation
def gathering(bed):
    async def main():
        await bed.gather(value(1), value(2), bed.sleep(0.0001))
        await bed.gather()
        await bed.gather(failing(), value(), return_exceptions=True)
        try:
            await bed.gather(failing(), value())
        except ValueError:
            pass
        outer = bed.gather(bed.sleep(60), bed.sleep(60))
        await bed.sleep(0)
        outer.cancel("stop")
        try:
            await outer
        except asyncio.CancelledError:
            pass
        coro = value()
        await bed.gather(coro, coro)
        try:
            bed.gather(5)
        except TypeError:
            pass

    bed.run(main())


@operation
def timeouts(bed):
    async def main():
        lib = OURS.classes
        async with lib.timeout(60) as cm:
            cm.reschedule(None)
            cm.reschedule(1e9)
            repr(cm), cm.when(), cm._state, cm._task
        for coro in (lib.wait_for(value(), 60), lib.wait_for(value(), None), lib.wait_for(bed.sleep(0), 60)):
            await coro
        for delay in (0, 0.0001):
            try:
                async with lib.timeout(delay):
                    await bed.sleep(60)
            except TimeoutError:
                pass
            try:
                await lib.wait_for(bed.sleep(60), delay)
            except TimeoutError:
                pass
        coro = lib.timeout(1).__aenter__()
        iter(coro.__await__())
        coro.close()
        lib.wait_for(None, None).close()
        lib.wait([]).close()

    bed.run(main())


@operation
def waiting_for_several(bed):
    async def main():
        lib = OURS.classes
        futures = [bed.Future(loop=bed.loop) for _ in range(3)]
        native = asyncio.futures._CFuture(loop=bed.loop)
        await lib.wait([*futures, native], timeout=0.0001)
        futures[0].set_exception(ValueError())
        await lib.wait(futures, return_when=asyncio.FIRST_EXCEPTION)
        futures[1].set_result(1)
        await lib.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        for coro in lib.as_completed([*futures, native, value()], timeout=0.0001):
            try:
                await coro
            except (TimeoutError, ValueError):
                pass
        if hasattr(lib.as_completed([]), "__anext__"):
            async for task in lib.as_completed([value(), value()]):
                await task
        await lib.shield(value())
        outer = lib.shield(futures[2])
        outer._callbacks, futures[2]._callbacks, repr(outer)
        outer.cancel()
        lib.shield(native).cancel()
        lib.shield(native)
        await bed.sleep(0)
        native.cancel()

    bed.run(main())


@operation
def task_groups(bed):
    async def main():
        lib = OURS.classes
        async with lib.TaskGroup() as group:
            for _ in range(3):
                group.create_task(value(), name="n", context=contextvars.copy_context())
            repr(group), group._errors, group._tasks
        for make in (failing, lambda: bed.sleep(60)):
            try:
                async with lib.TaskGroup() as group:
                    group.create_task(bed.sleep(60))
                    group.create_task(make())
                    await bed.sleep(0)
                    raise KeyError
            except BaseExceptionGroup:
                pass
        task = bed.Task(group_of_one(lib, bed), loop=bed.loop)
        await bed.sleep(0)
        task.cancel()
        await lib.wait([task])
        coro = value()
        try:
            group.create_task(coro)
        except RuntimeError:
            pass
        coro.close()

    bed.run(main())


async def group_of_one(lib, bed):
    async with lib.TaskGroup() as group:
        group.create_task(bed.sleep(60))


@operation
def library_helpers(bed):
    async def main():
        await asyncio.wait_for(value(), 1)
        try:
            await asyncio.wait_for(bed.sleep(60), 0.0001)
        except asyncio.TimeoutError:
            pass
        await asyncio.shield(value())
        await asyncio.wait([asyncio.create_task(value())])
        async with asyncio.TaskGroup() as group:
            group.create_task(value())
        queue, lock = asyncio.Queue(), asyncio.Lock()
        queue.put_nowait(1)
        await queue.get()
        async with lock:
            pass

    bed.run(main())


@operation
def readers(bed):
    a, b = socket.socketpair()
    bed.loop.add_reader(a, nothing, 1)
    bed.loop.add_writer(a, nothing)
    bed.loop.add_reader(a.fileno(), nothing)
    b.send(b"x")
    bed.pump()
    bed.loop.remove_reader(a)
    bed.loop.remove_writer(a)
    for wrong in (-1, "x", None):
        try:
            bed.loop.add_reader(wrong, nothing)
        except (TypeError, ValueError):
            pass
    a.close()
    b.close()


@operation
def attributes_and_factories(bed):
    def factory(loop, coro, **kw):
        kw.pop("eager_start", None)
        return bed.Task(coro, loop=loop, **kw)

    bed.loop.set_task_factory(factory)
    bed.run(value())
    bed.loop.set_task_factory(None)
    repr(bed.loop), bed.loop.time(), bed.loop.get_debug(), bed.loop.is_running()
    bed.loop.attribute = [1]
    del bed.loop.attribute
    bed.loop.set_debug(True)
    bed.run(value())
    bed.loop.set_debug(False)


@operation
def async_generators(bed):
    async def ticks():
        yield 1
        yield 2

    async def main():
        async for _ in ticks():
            break
        gen = ticks()
        await gen.__anext__()
        await gen.aclose()
        for _ in range(3):  # the first one is closed by a task of its own
            await bed.sleep(0)

    bed.run(main())


@operation
def own_loops(bed):
    loop = OURS.new_loop()
    loop.call_later(60, nothing)
    loop.call_soon(nothing)
    future = bed.Future(loop=loop)
    future.add_done_callback(nothing)
    task = bed.Task(value(), loop=loop)
    loop.run_until_complete(task)
    loop.close()


@operation
def closed_loop_errors(bed):
    loop = OURS.new_loop()
    loop.close()
    for call in (loop.call_soon, loop.call_soon_threadsafe):
        try:
            call(nothing)
        except RuntimeError:
            pass
    try:
        loop.run_forever()
    except RuntimeError:
        pass


@operation
def reentered_runs(bed):
    async def main():
        for call in (bed.loop.run_forever, bed.loop.close):
            try:
                call()
            except RuntimeError:
                pass

    bed.run(main())


@operation
def tcp_protocols(bed):
    async def main():
        done = bed.loop.create_future()

        class Client(asyncio.Protocol):
            def connection_made(self, transport):
                transport.write(b"hello")
                transport.writelines([b"a", b"b"])
                transport.get_extra_info("peername"), repr(transport), transport.get_write_buffer_size()

            def connection_lost(self, exc):
                done.set_result(None)

            def data_received(self, data):
                pass

        server = await bed.loop.create_server(Echo, "127.0.0.1", 0)
        transport, _ = await bed.loop.create_connection(Client, *server.sockets[0].getsockname())
        await bed.sleep(0.001)
        transport.close()
        await done
        server.close()
        await server.wait_closed()

    bed.run(main())


@operation
def datagrams(bed):
    class Client(asyncio.DatagramProtocol):
        def datagram_received(self, data, addr):
            answered.set_result(None)

    async def main():
        nonlocal answered
        server, _ = await bed.loop.create_datagram_endpoint(DatagramEcho, ("127.0.0.1", 0))
        address = server.get_extra_info("sockname")
        client, _ = await bed.loop.create_datagram_endpoint(Client, remote_addr=address)
        for _ in range(2):
            answered = bed.loop.create_future()
            client.sendto(bytearray(b"hello"))
            await answered
        repr(client), client.get_extra_info("peername"), client.get_write_buffer_size()
        server.close()
        await bed.sleep(0)
        client.sendto(b"refused")
        await bed.sleep(0.001)
        client.abort()
        await bed.sleep(0)

    answered = None
    bed.run(main())


@operation
def bursts_of_datagrams(bed):
    class Stops(DatagramEcho):
        def __init__(self):
            self.n = 0

        def datagram_received(self, data, addr):
            self.n += 1
            super().datagram_received(data, addr)
            if self.n == 12:
                self.transport.pause_reading()
            elif self.n == 30:
                self.transport.close()

    async def main():
        server, echo = await bed.loop.create_datagram_endpoint(Stops, ("127.0.0.1", 0))
        clients = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(3)]
        for i in range(45):
            clients[i % 3].sendto(b"x" * (1 + i // 20), server.get_extra_info("sockname"))
        while echo.n < 12:
            await bed.sleep(0.001)
        server.resume_reading()
        while not server.is_closing():
            await bed.sleep(0.001)
        await bed.sleep(0)
        assert [len(client.recv(10)) for client in clients] == [1, 1, 1]
        for client in clients:
            client.close()

    bed.run(main())


@operation
def datagrams_to_a_full_socket(bed):
    async def main():
        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = "\0asyncloop-leaks-%d" % os.getpid()
        b.bind(name)
        a.setblocking(False)
        protocol = asyncio.DatagramProtocol()
        transport, _ = await bed.loop.create_datagram_endpoint(lambda: protocol, sock=a)
        for i in range(300):
            transport.sendto(bytearray(b"x" * 300), name)
            if i % 2:
                transport.sendto(b"", name)
        assert transport.get_write_buffer_size() > 0
        for _ in range(5):
            b.recv(1000)
        await bed.sleep(0.001)
        transport.abort()
        await bed.sleep(0)
        b.close()

    bed.run(main())


@operation
def tcp_streams(bed):
    async def serve(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"line\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    bed.run(main())


@operation
def unix_streams(bed):
    path = f"\0asyncloop-leaks-{os.getpid()}"

    async def serve(reader, writer):
        writer.write(await reader.readline())
        writer.close()

    async def main():
        server = await asyncio.start_unix_server(serve, path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"line\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    bed.run(main())


class Ended(asyncio.Protocol):
    def __init__(self, loop):
        self.lost = loop.create_future()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def connection_lost(self, exc):
        self.lost.set_result(None)


@functools.cache
def tls_contexts():
    return certs.client_context(), certs.server_context(), certs.server_context("strange_server")


async def tls_pair(bed, server=None):
    """The protocols of two TLS transports, connected with each other."""
    client, good, _ = tls_contexts()
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    one, two = Ended(bed.loop), Ended(bed.loop)
    await asyncio.gather(
        bed.loop.create_connection(lambda: one, sock=a, ssl=client, server_hostname="localhost"),
        bed.loop.connect_accepted_socket(lambda: two, b, ssl=server or good))
    return one, two


@operation
def tls_connections(bed):
    async def main():
        one, two = await tls_pair(bed)
        one.transport.write(b"hello")
        one.transport.writelines([b"a", bytearray(b"b")])
        for name in ("peername", "cipher", "compression", "peercert", "ssl_object", "sslcontext", "socket", "nothing"):
            one.transport.get_extra_info(name)
        one.transport.get_write_buffer_size(), repr(two.transport), one.transport.is_reading()
        two.transport.pause_reading()
        await bed.sleep(0.0005)
        two.transport.resume_reading()
        await bed.sleep(0.0005)
        one.transport.close()
        await one.lost
        await two.lost
        one, two = await tls_pair(bed)
        one.transport.write(bytes(300_000))
        two.transport.abort()
        one.transport.abort()
        await one.lost
        await two.lost

    bed.run(main())


@operation
def tls_errors(bed):
    bed.loop.set_exception_handler(nothing)

    async def main():
        try:
            await tls_pair(bed, tls_contexts()[2])
        except OSError:
            pass
        a, b = socket.socketpair()
        a.setblocking(False)
        b.send(b"this is not TLS at all, not a bit of it")
        try:
            await bed.loop.connect_accepted_socket(lambda: Ended(bed.loop), a, ssl=tls_contexts()[1])
        except OSError:
            pass
        b.close()
        a, b = socket.socketpair()
        a.setblocking(False)
        task = bed.loop.create_task(bed.loop.connect_accepted_socket(lambda: Ended(bed.loop), a, ssl=tls_contexts()[1]))
        await bed.sleep(0)
        await bed.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        b.close()
        for _ in range(3):
            await bed.sleep(0.0005)

    bed.run(main())
    bed.loop.set_exception_handler(None)


@operation
def tls_started(bed):
    async def main():
        a, b = socket.socketpair()
        a.setblocking(False)
        b.setblocking(False)
        one, two = Ended(bed.loop), Ended(bed.loop)
        first, _ = await bed.loop.create_connection(lambda: one, sock=a)
        second, _ = await bed.loop.create_connection(lambda: two, sock=b)
        one.transport, two.transport = await asyncio.gather(
            bed.loop.start_tls(first, one, tls_contexts()[0], server_hostname="localhost"),
            bed.loop.start_tls(second, two, tls_contexts()[1], server_side=True))
        one.transport.write(b"hello")
        await bed.sleep(0.0005)
        one.transport.close()
        await one.lost
        await two.lost

    bed.run(main())


@operation
def pipes(bed):
    async def main():
        for aborted in (False, True):
            r, w = os.pipe()
            reader = asyncio.StreamReader()
            reading, _ = await bed.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), open(r, "rb", 0))
            writing, protocol = await bed.loop.connect_write_pipe(asyncio.streams.FlowControlMixin, open(w, "wb", 0))
            reading.pause_reading()
            writing.write(bytes(200_000))
            writing.write(bytearray(100_000))
            writing.abort() if aborted else writing.close()
            reading.resume_reading()
            await reader.read()
            reading.close()
            repr(writing), reading.get_extra_info("pipe")
            await bed.sleep(0)

    bed.run(main())


@operation
def pipe_errors(bed):
    class Failing(asyncio.Protocol):
        def data_received(self, data):
            raise ValueError

    async def main():
        r, w = os.pipe()
        reading, _ = await bed.loop.connect_read_pipe(Failing, open(r, "rb", 0))
        os.write(w, b"x")
        await asyncio.sleep(0.001)
        reading.close()
        os.write(w, b"x")
        await bed.sleep(0)
        await bed.sleep(0)
        writing, _ = await bed.loop.connect_write_pipe(asyncio.BaseProtocol, open(w, "wb", 0))
        for _ in range(3):
            writing.write(b"broken")
        await bed.sleep(0)
        await bed.sleep(0)
        with open(__file__, "rb") as file:
            try:
                await bed.loop.connect_read_pipe(Failing, file)
            except ValueError:
                pass

    bed.run(main())


@operation
def child_processes(bed):
    async def main():
        process = await asyncio.create_subprocess_exec("/bin/true", stdin=-1, stdout=-1)
        await process.communicate(b"")

    bed.run(main())


@operation
def sock_methods(bed):
    async def main():
        a, b = socket.socketpair()
        a.setblocking(False)
        b.setblocking(False)
        await bed.loop.sock_sendall(a, b"hello")
        await bed.loop.sock_recv(b, 10)
        waiting = asyncio.create_task(bed.loop.sock_recv(b, 10))
        await bed.sleep(0)
        await bed.loop.sock_sendall(a, b"later")
        await waiting
        waiting = asyncio.create_task(bed.loop.sock_recv_into(b, bytearray(5)))
        await bed.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        a.close()
        b.close()

    bed.run(main())


class Quiet:
    """A transport that does nothing."""

    closing = False

    def get_extra_info(self, name, default=None):
        return default

    def is_closing(self):
        return self.closing

    def close(self):
        self.closing = True

    def write(self, data):
        pass

    pause_reading = resume_reading = abort = close


def stream_classes():
    return [getattr(OURS.classes, name, getattr(asyncio, name)) for name in ("StreamReader", "StreamReaderProtocol", "StreamWriter")]


async def quietly(awaitable):
    try:
        return await awaitable
    except (Exception, asyncio.CancelledError, StopAsyncIteration):
        return None


@operation
def stream_readers(bed):
    reader_class = stream_classes()[0]

    async def main():
        r = reader_class(limit=10, loop=bed.loop)
        r.set_transport(Quiet())
        r.feed_data(b"line\nexactly until; and the rest of it is long")
        for read in (r.readline(), r.readexactly(7), r.readuntil(b";"), r.readuntil(bytearray(b"the")), r.read(3), r.readline(), r.readuntil(5), r.read(None)):
            await quietly(read)
        if sys.version_info >= (3, 13):
            r.feed_data(b"a b")
            await quietly(r.readuntil((b"b", b"a ")))
        for end in (lambda task: r.feed_data(b"x\n"), lambda task: task.cancel(), lambda task: r.set_exception(ValueError("x"))):
            task = bed.loop.create_task(quietly(r.readexactly(2)))
            await bed.sleep(0)
            await quietly(r.readline())
            repr(r), r.exception(), r.at_eof(), r._waiter
            end(task)
            await task
        await quietly(r.read())
        r = reader_class(loop=bed.loop)
        r._buffer.extend(b"shown\n")
        r.feed_data(b"more")
        r._buffer = bytearray(b"a\nb")
        r.feed_eof()
        async for line in r:
            pass
        await quietly(r.readexactly(1))

    bed.run(main())


@operation
def stream_subclasses(bed):
    class Reader(stream_classes()[0]):
        async def readuntil(self, separator=b"\n"):
            return await super().readuntil(separator)

    async def main():
        r = Reader(limit=3, loop=bed.loop)
        r.me = r
        r.feed_data(b"a\nlong line\nmore")
        for read in (r.readline(), r.readline(), r.__anext__(), r.read()):
            task = bed.loop.create_task(quietly(read))
            await bed.sleep(0)
            task.cancel()
            await asyncio.wait([task])

    bed.run(main())


@operation
def stream_protocols(bed):
    reader_class, protocol_class, writer_class = stream_classes()

    async def serve(reader, writer):
        await quietly(reader.read(1))
        raise ValueError("on purpose")

    async def main():
        kept = []
        for connected_cb in (None, lambda reader, writer: kept.append(writer), serve):
            for error in (None, OSError("x")):
                r, transport = reader_class(loop=bed.loop), Quiet()
                p = protocol_class(r, connected_cb, loop=bed.loop)
                p.connection_made(transport)
                w = writer_class(transport, p, r, bed.loop)
                p.data_received(b"data")
                w.write(b"x")
                p.pause_writing()
                tasks = [bed.loop.create_task(quietly(each)) for each in (w.drain(), w.drain(), w.wait_closed())]
                await bed.sleep(0)
                tasks[1].cancel()
                repr(w), p._closed, p._drain_waiters, p._stream_reader, w._complete_fut
                p.resume_writing()
                transport.closing = True
                p.eof_received()
                p.connection_lost(error)
                await asyncio.wait(tasks)
                await quietly(w.drain())
                kept.clear()

    bed.loop.set_exception_handler(nothing)
    bed.run(main())
    bed.loop.set_exception_handler(None)


@operation
def stream_connections(bed):
    start_server, open_connection = (getattr(OURS.classes, name, getattr(asyncio, name)) for name in ("start_server", "open_connection"))

    async def serve(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        await reader.read()
        writer.close()

    async def main():
        server = await start_server(serve, "127.0.0.1", 0)
        reader, writer = await open_connection(*server.sockets[0].getsockname())
        writer.write(b"line\n")
        await writer.drain()
        await reader.readexactly(5)
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    bed.run(main())


@operation
def addresses(bed):
    bed.run(bed.loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM))
    bed.run(bed.loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV))


@operation
def signals(bed):
    bed.loop.add_signal_handler(signal.SIGUSR1, nothing)
    os.kill(os.getpid(), signal.SIGUSR1)
    bed.pump()
    bed.loop.remove_signal_handler(signal.SIGUSR1)


@operation
def executors(bed):
    pool, loop = bed.pool, bed.loop

    async def main():
        await loop.run_in_executor(pool, pow, 2, 3)
        await asyncio.gather(loop.run_in_executor(pool, pow, 2, "x"), loop.run_in_executor(pool, failing_call), return_exceptions=True)
        loop.run_in_executor(pool, nothing).cancel()
        await OURS.classes.to_thread(dict, a=1)
        await asyncio.gather(OURS.classes.to_thread(failing_call), return_exceptions=True)
        await loop.run_in_executor(pool, nothing)

    if loop._default_executor is None:
        loop.set_default_executor(pool)
    bed.run(main())
    OURS.classes.to_thread(nothing).close()


@operation
def chains(bed):
    wrap_future, run_coroutine_threadsafe = OURS.classes.wrap_future, OURS.classes.run_coroutine_threadsafe

    async def main():
        for end in ("set_result", 1), ("set_exception", ValueError()), ("cancel",):
            future = concurrent.futures.Future()
            wrapped = wrap_future(future)
            getattr(future, end[0])(*end[1:])
            await asyncio.wait([wrapped])
            wrapped.cancelled() or wrapped.exception()
        future = concurrent.futures.Future()
        wrap_future(future).cancel()
        wrap_future(concurrent.futures.Future())
        await bed.sleep(0)
        for coro in value(), failing(), bed.sleep(60):
            future = run_coroutine_threadsafe(coro, bed.loop)
            await bed.sleep(0)
            future.cancel()
            for _ in range(4):
                await bed.sleep(0)

    bed.run(main())


@operation
def ways_to_a_task(bed):
    create_task, ensure_future, current_task, all_tasks = (getattr(OURS.classes, name) for name in
                                                           ("create_task", "ensure_future", "current_task", "all_tasks"))

    async def main():
        await create_task(value(), name="name", context=contextvars.copy_context())
        await ensure_future(value())
        await ensure_future(ensure_future(bed.sleep(0)), loop=bed.loop)
        current_task(), all_tasks(), current_task(bed.loop)
        for wrong in 5, None:
            try:
                ensure_future(wrong)
            except TypeError:
                pass

    bed.run(main())
    it = bed.sleep(0).__await__()
    next(it)
    it.close()


@operation
def twins(bed):
    class Child(bed.Future):
        pass

    native = asyncio.Future.__new__(asyncio.Future)
    isinstance(native, bed.Future), isinstance(1, bed.Future), isinstance(1, Child), issubclass(int, Child), issubclass(asyncio.Task, bed.Task)


def check(call):
    """Fails when repeating call(bed) makes references or memory blocks grow."""
    counts = [0] * ROUNDS
    blocks = [0] * ROUNDS
    # asyncio's log and pytest's capture must not grow while counting
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    bed = Bed()
    try:
        for _ in range(WARM_UP):
            for _ in range(REPEATS):
                call(bed)
            gc.collect()
        for i in range(ROUNDS):
            for _ in range(REPEATS):
                call(bed)
            gc.collect()
            counts[i] = sys.gettotalrefcount()
            blocks[i] = sys.getallocatedblocks()
    finally:
        bed.close()
        logging.getLogger("asyncio").setLevel(logging.NOTSET)
    steps = [after - before for before, after in zip(counts, counts[1:])]
    block_steps = [after - before for before, after in zip(blocks, blocks[1:])]
    # a leak repeats: at least one per call in most rounds
    assert sum(step >= REPEATS for step in steps) < ROUNDS // 2, f"references grow by {steps}"
    assert sum(step >= REPEATS for step in block_steps) < ROUNDS // 2, f"memory blocks grow by {block_steps}"


@pytest.mark.limit(120)
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_total_refcount_is_steady(name):
    check(OPERATIONS[name])


def test_the_check_notices_a_leak():
    kept = []
    counts = []
    for _ in range(3):
        kept.extend(object() for _ in range(REPEATS))
        counts.append(sys.gettotalrefcount())
    assert counts[2] - counts[0] >= REPEATS
