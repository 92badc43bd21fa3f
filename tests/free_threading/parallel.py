"""Loops in several threads at once, each with work of its own that checks its results; a program without pytest.

    python parallel.py NAME [--threads 4] [--seconds 3] [--bare]       one workload
    python parallel.py --list

Asyncio's names mean asyncloop's (install()), with --bare asyncio's own on asyncloop's loop.  Prints how many rounds all threads did together.  An
exception in any thread ends all of them, and the program with status 1; a crash ends it with the stacks of all threads (faulthandler).
"""
import argparse
import asyncio
import concurrent.futures
import contextvars
import faulthandler
import os
import socket
import sys
import tempfile
import threading
import time
import warnings

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import asyncloop  # noqa: E402

WORKLOADS = {}
HOST = "127.0.0.1"
variable = contextvars.ContextVar("variable")


class Crew:
    """What the threads of one run share."""

    def __init__(self, threads, seconds):
        self.threads = threads
        self.end = time.monotonic() + seconds
        self.rounds = [0] * threads
        self.loops = {}     # index: the loop that runs there, and what others may call on it
        self.receivers = {}
        self.sent = {}
        self.gone = set()
        self.pool = concurrent.futures.ThreadPoolExecutor(3)

    def goes_on(self, index):
        """Counts a round, and says whether there is time for another; the first always is."""
        self.rounds[index] += 1
        return self.rounds[index] == 1 or time.monotonic() < self.end

    async def all_in(self, shared):
        while len(shared) < self.threads:
            await asyncio.sleep(0.001)

    async def all_there(self, index, receiver=None):
        self.receivers[index] = receiver
        self.loops[index] = asyncio.get_running_loop()
        await self.all_in(self.loops)

    async def all_gone(self, index):
        """Nobody's loop ends while another may still call it."""
        self.gone.add(index)
        await self.all_in(self.gone)


def workload(f):
    WORKLOADS[f.__name__] = f
    return f


async def child(x):
    return x


async def yielding(x):
    await asyncio.sleep(0)
    return x


# --- futures, tasks, callbacks

@workload
async def tasks(crew, index):
    while crew.goes_on(index):
        for i in range(100):
            assert await asyncio.create_task(child(i)) == i
        made = [asyncio.create_task(yielding(i), name=f"{index}-{i}") for i in range(50)]
        assert [await task for task in made] == list(range(50))
        assert [task.get_name() for task in made] == [f"{index}-{i}" for i in range(50)]


@workload
async def sleep0(crew, index):
    while crew.goes_on(index):
        for _ in range(200):
            await asyncio.sleep(0)


@workload
async def futures(crew, index):
    loop = asyncio.get_running_loop()
    seen = []
    while crew.goes_on(index):
        for i in range(100):
            future = loop.create_future()
            future.add_done_callback(seen.append)
            loop.call_soon(future.set_result, i)
            assert await future == i
        await asyncio.sleep(0)
        assert len(seen) == 100
        seen.clear()


@workload
async def call_soon(crew, index):
    loop = asyncio.get_running_loop()
    while crew.goes_on(index):
        end, seen = loop.create_future(), []

        def step(i, data):
            seen.append(i)
            if i == 500:
                end.set_result(data)
            else:
                loop.call_soon(step, i + 1, data)

        loop.call_soon(step, 1, [index])
        assert await end == [index] and seen == list(range(1, 501))


@workload
async def gather(crew, index):
    while crew.goes_on(index):
        assert await asyncio.gather(*[yielding(i) for i in range(50)]) == list(range(50))


@workload
async def timers(crew, index):
    loop = asyncio.get_running_loop()
    while crew.goes_on(index):
        order = []
        handles = [loop.call_later(5, order.append, i) for i in range(50)]
        for handle in handles:
            handle.cancel()
        for i in range(20):
            loop.call_later(0.0001 * (i + 1), order.append, i)
        await asyncio.sleep(0.003)
        while len(order) < 20:
            await asyncio.sleep(0.001)
        assert order == list(range(20))


@workload
async def locks(crew, index):
    """Every kind, contended by tasks of one loop."""
    while crew.goes_on(index):
        lock, event, semaphore, condition, barrier = asyncio.Lock(), asyncio.Event(), asyncio.BoundedSemaphore(2), asyncio.Condition(), asyncio.Barrier(10)
        inside = most = told = 0

        async def worker():
            nonlocal inside, most, told
            await event.wait()
            async with lock:
                inside += 1
                await asyncio.sleep(0)
                assert inside == 1
                inside -= 1
            async with semaphore:
                most += 1
                assert most <= 2
                await asyncio.sleep(0)
                most -= 1
            await barrier.wait()
            async with condition:
                told += 1
                condition.notify_all()
                await condition.wait_for(lambda: told == 10)

        workers = [asyncio.create_task(worker()) for _ in range(10)]
        await asyncio.sleep(0)
        event.set()
        for task in workers:
            await task


@workload
async def queues(crew, index):
    while crew.goes_on(index):
        for kind in asyncio.Queue, asyncio.LifoQueue, asyncio.PriorityQueue:
            queue = kind(4)

            async def produce():
                for i in range(100):
                    await queue.put(i)

            producer = asyncio.create_task(produce())
            got = []
            for _ in range(100):
                got.append(await queue.get())
                queue.task_done()
            await producer
            await queue.join()
            assert sorted(got) == list(range(100))


@workload
async def groups(crew, index):
    """TaskGroup, timeout, wait_for, shield, wait, as_completed."""
    while crew.goes_on(index):
        async with asyncio.TaskGroup() as group:
            made = [group.create_task(yielding(i)) for i in range(20)]
        assert [task.result() for task in made] == list(range(20))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(60))
                group.create_task(fail())
        except* LookupError as errors:
            assert len(errors.exceptions) == 1
        else:
            raise AssertionError("no failure")
        try:
            async with asyncio.timeout(0.0005):
                await asyncio.sleep(60)
        except TimeoutError:
            pass
        else:
            raise AssertionError("no timeout")
        assert await asyncio.wait_for(yielding(1), 60) == await asyncio.shield(yielding(1)) == 1
        done, pending = await asyncio.wait([asyncio.create_task(yielding(i)) for i in range(10)])
        assert len(done) == 10 and not pending
        assert sorted([await future for future in asyncio.as_completed([yielding(i) for i in range(10)])]) == list(range(10))


async def fail():
    await asyncio.sleep(0)
    raise LookupError


@workload
async def cancels(crew, index):
    while crew.goes_on(index):
        made = [asyncio.create_task(asyncio.sleep(60)) for _ in range(50)]
        await asyncio.sleep(0)
        for task in made:
            task.cancel(index)
        for task in made:
            try:
                await task
            except asyncio.CancelledError as exc:
                assert exc.args == (index,)
            assert task.cancelled()


@workload
async def contexts(crew, index):
    async def one(i):
        variable.set((index, i))
        await asyncio.sleep(0)
        assert variable.get() == (index, i)

    while crew.goes_on(index):
        variable.set(index)
        await asyncio.gather(*[one(i) for i in range(30)])
        assert variable.get() == index


# --- across threads

@workload
async def all_tasks(crew, index):
    """Each thread lists the tasks of every loop, while they come and go."""
    await crew.all_there(index)
    while crew.goes_on(index):
        made = [asyncio.create_task(yielding(i)) for i in range(20)]
        assert set(made) <= asyncio.all_tasks()
        for loop in crew.loops.values():
            for task in asyncio.all_tasks(loop):
                assert task.get_loop() is loop
                assert task.get_name() and repr(task) and task.get_coro() is not None or task.done()
        for task in made:
            await task
    await crew.all_gone(index)


@workload
async def threadsafe(crew, index):
    """Every thread calls every loop; what one caller sends arrives in its order."""
    arrived = {}
    await crew.all_there(index, lambda who, i: arrived.setdefault(who, []).append(i))
    sent = 0
    while crew.goes_on(index):
        for _ in range(100):
            for other, loop in crew.loops.items():
                loop.call_soon_threadsafe(crew.receivers[other], index, sent)
            sent += 1
        await asyncio.sleep(0)
    crew.sent[index] = sent
    await crew.all_in(crew.sent)
    while any(len(arrived.get(who, ())) < n for who, n in crew.sent.items()):
        await asyncio.sleep(0.001)
    for who, n in crew.sent.items():
        assert arrived[who] == list(range(n)), (who, index)
    await crew.all_gone(index)


@workload
async def coroutines_threadsafe(crew, index):
    """Each thread runs coroutines on the next one's loop and waits for them; some are cancelled on the way."""
    await crew.all_there(index)
    other = crew.loops[(index + 1) % crew.threads]
    while crew.goes_on(index):
        sent = [asyncio.run_coroutine_threadsafe(yielding(i), other) for i in range(20)]
        assert [await asyncio.wrap_future(future) for future in sent] == list(range(20))
        long = [asyncio.run_coroutine_threadsafe(asyncio.sleep(60), other) for _ in range(5)]
        for future in long:
            future.cancel()
        assert all(future.cancelled() for future in long)
    await asyncio.sleep(0.05)
    await crew.all_gone(index)


@workload
async def handles(crew, index):
    """Handles of other loops, cancelled while they may be run."""
    await crew.all_there(index)
    while crew.goes_on(index):
        made = [loop.call_soon_threadsafe(int) for loop in crew.loops.values() for _ in range(30)]
        for handle in made:
            handle.cancel()
        assert all(handle.cancelled() for handle in made)
        await asyncio.sleep(0)
    await crew.all_gone(index)


@workload
async def call_graphs(crew, index):
    """What waits for what, asked of other threads' tasks (3.14 and later)."""
    async def waits(inner):
        return await inner

    await crew.all_there(index)
    task = None
    while crew.goes_on(index):
        task = asyncio.create_task(waits(asyncio.create_task(waits(asyncio.sleep(0.0005)))))
        await asyncio.sleep(0)
        if sys.version_info >= (3, 14):
            for loop in crew.loops.values():
                for each in asyncio.all_tasks(loop):
                    assert repr(each) and all(isinstance(waiting, asyncio.Future) for waiting in each._asyncio_awaited_by or ())
            assert asyncio.format_call_graph(task)
        await task
    await crew.all_gone(index)


@workload
async def executor(crew, index):
    loop = asyncio.get_running_loop()
    while crew.goes_on(index):
        assert await asyncio.gather(*[loop.run_in_executor(None, int, i) for i in range(20)]) == list(range(20))
        variable.set(index)
        assert await asyncio.gather(*[asyncio.to_thread(variable.get) for _ in range(10)]) == [index] * 10


@workload
async def executors(crew, index):
    """One pool that all threads' loops use, and one that is made and ended each time."""
    loop = asyncio.get_running_loop()
    await crew.all_there(index)
    while crew.goes_on(index):
        assert await asyncio.gather(*[loop.run_in_executor(crew.pool, int, i) for i in range(20)]) == list(range(20))
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            assert await asyncio.gather(*[loop.run_in_executor(pool, int, i) for i in range(10)]) == list(range(10))
    await crew.all_gone(index)


# --- transports

class EchoProtocol(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Asker(asyncio.Protocol):
    """Sends a message and waits for its echo, again and again; `end` has the number of echoes."""

    def __init__(self, loop, n_bytes, times):
        self.message, self.left, self.got, self.end = os.urandom(n_bytes), times, bytearray(), loop.create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.write(self.message)

    def data_received(self, data):
        self.got += data
        if len(self.got) == len(self.message):
            assert self.got == self.message
            self.got.clear()
            self.left -= 1
            if self.left:
                self.transport.write(self.message)
            else:
                self.transport.close()

    def connection_lost(self, exc):
        if not self.end.done():
            if exc is None and not self.left:
                self.end.set_result(None)
            else:
                self.end.set_exception(exc or ConnectionError("closed early"))


async def ask_protocols(crew, index, listen, connect):
    loop = asyncio.get_running_loop()
    server = await listen(loop)
    try:
        while crew.goes_on(index):
            askers = [(await connect(loop, server, lambda: Asker(loop, n_bytes, 10)))[1] for n_bytes in (1, 1000, 1024, 100_000)]
            for asker in askers:
                await asker.end
    finally:
        server.close()
        await server.wait_closed()


def port_of(server):
    return server.sockets[0].getsockname()[1]


@workload
async def protocols(crew, index):
    await ask_protocols(crew, index, lambda loop: loop.create_server(EchoProtocol, HOST, 0),
                        lambda loop, server, factory: loop.create_connection(factory, HOST, port_of(server)))


@workload
async def unix(crew, index):
    with tempfile.TemporaryDirectory(prefix="asyncloop-") as folder:
        path = os.path.join(folder, "socket")
        await ask_protocols(crew, index, lambda loop: loop.create_unix_server(EchoProtocol, path),
                            lambda loop, server, factory: loop.create_unix_connection(factory, path))


@workload
async def tls(crew, index):
    """The contexts are shared by all threads."""
    server, client = crew.tls
    await ask_protocols(crew, index, lambda loop: loop.create_server(EchoProtocol, HOST, 0, ssl=server),
                        lambda loop, listening, factory: loop.create_connection(factory, HOST, port_of(listening), ssl=client, server_hostname="localhost"))


async def ask_streams(crew, index, **more):
    server_side = {"ssl": more["ssl"][0]} if more else {}
    client_side = {"ssl": more["ssl"][1], "server_hostname": "localhost"} if more else {}

    async def serve(reader, writer):
        try:
            while data := await reader.readline():
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    async with await asyncio.start_server(serve, HOST, 0, **server_side) as server:
        while crew.goes_on(index):
            reader, writer = await asyncio.open_connection(HOST, port_of(server), **client_side)
            for i in range(20):
                writer.writelines([b"%d " % i, b"x" * 1000, b"\n"])
                await writer.drain()
                assert await reader.readline() == b"%d " % i + b"x" * 1000 + b"\n"
            writer.close()
            await writer.wait_closed()


@workload
async def echo(crew, index):
    async def serve(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async with await asyncio.start_server(serve, HOST, 0) as server:
        while crew.goes_on(index):
            reader, writer = await asyncio.open_connection(HOST, port_of(server))
            for _ in range(20):
                writer.write(b"x" * 1024)
                assert await reader.readexactly(1024) == b"x" * 1024
            writer.close()
            await writer.wait_closed()


@workload
async def streams(crew, index):
    await ask_streams(crew, index)


@workload
async def tls_streams(crew, index):
    await ask_streams(crew, index, ssl=crew.tls)


class UDPAsker(asyncio.DatagramProtocol):
    def __init__(self, loop):
        self.end, self.got = loop.create_future(), set()

    def connection_made(self, transport):
        self.transport = transport
        for i in range(20):
            transport.sendto(b"%d" % i)

    def datagram_received(self, data, addr):
        self.got.add(int(data))
        if len(self.got) == 20 and not self.end.done():
            self.end.set_result(None)


class UDPEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


@workload
async def udp(crew, index):
    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(UDPEcho, local_addr=(HOST, 0))
    while crew.goes_on(index):
        transport, asker = await loop.create_datagram_endpoint(lambda: UDPAsker(loop), remote_addr=server.get_extra_info("sockname"))
        await asyncio.wait_for(asker.end, 30)
        transport.close()
        await asyncio.sleep(0)
    server.close()


@workload
async def sock_calls(crew, index):
    loop = asyncio.get_running_loop()
    while crew.goes_on(index):
        one, other = socket.socketpair()
        with one, other:
            one.setblocking(False)
            other.setblocking(False)
            for i in range(20):
                send = asyncio.create_task(loop.sock_sendall(one, b"%03d" % i * 1000))
                got = b""
                while len(got) < 3000:
                    got += await loop.sock_recv(other, 4096)
                await send
                assert got == b"%03d" % i * 1000


@workload
async def readers(crew, index):
    """add_reader and add_writer."""
    loop = asyncio.get_running_loop()
    while crew.goes_on(index):
        one, other = socket.socketpair()
        with one, other:
            one.setblocking(False)
            other.setblocking(False)
            for i in range(20):
                got = loop.create_future()
                loop.add_reader(other, lambda: got.done() or got.set_result(other.recv(100)))
                can_write = loop.create_future()
                loop.add_writer(one, lambda: can_write.done() or can_write.set_result(None))
                await can_write
                loop.remove_writer(one)
                one.send(b"%d" % i)
                assert await got == b"%d" % i
                loop.remove_reader(other)


@workload
async def pipes(crew, index):
    loop = asyncio.get_running_loop()
    while crew.goes_on(index):
        read_end, write_end = os.pipe()
        reader = asyncio.StreamReader()
        with os.fdopen(read_end, "rb", 0) as source, os.fdopen(write_end, "wb", 0) as sink:
            out, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
            into, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sink)
            for i in range(20):
                into.write(b"%d\n" % i)
                assert await reader.readline() == b"%d\n" % i
            into.close()
            assert await reader.read() == b""
            out.close()
            await asyncio.sleep(0)


@workload
async def processes(crew, index):
    while crew.goes_on(index):
        process = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate(b"%d" % index)
        assert (out, process.returncode) == (b"%d" % index, 0)
        many = [await asyncio.create_subprocess_exec("sh", "-c", f"exit {i}") for i in range(3)]
        assert [await each.wait() for each in many] == [0, 1, 2]


@workload
async def names(crew, index):
    loop = asyncio.get_running_loop()
    while crew.goes_on(index):
        found = await loop.getaddrinfo(HOST, 80, type=socket.SOCK_STREAM)
        assert found == socket.getaddrinfo(HOST, 80, type=socket.SOCK_STREAM)
        assert (await loop.getaddrinfo("localhost", 80))[0][4][1] == 80


def run(name, threads, seconds):
    """The rounds that all threads did together."""
    crew = Crew(threads, seconds)
    if name.startswith("tls"):
        import certs

        crew.tls = certs.server_context(), certs.client_context()
    with crew.pool:
        asyncloop.run(lambda index: WORKLOADS[name](crew, index), threads=threads)
    assert all(crew.rounds), crew.rounds
    return sum(crew.rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--bare", action="store_true")
    args = parser.parse_args()
    if args.list:
        print("\n".join(WORKLOADS))
        return
    faulthandler.enable()
    faulthandler.dump_traceback_later(args.seconds * len(args.names) + 120, exit=True)
    warnings.simplefilter("ignore", ResourceWarning)
    if not args.bare:
        asyncloop.install()
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    for name in args.names:
        print(f"{name}: {run(name, args.threads, args.seconds)} rounds, {'with' if gil else 'without'} the GIL", flush=True)
    assert threading.active_count() == 1


if __name__ == "__main__":
    main()
