"""loop.metrics(): what each figure means, shown by programs whose every pass is known; durations by an overridden time()."""
import asyncio
import dataclasses
import os
import pathlib
import re
import socket
import ssl
import threading

import pytest

import asyncloop
import certs

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Clocked(asyncloop.Loop):
    """A loop whose time stands still until somebody moves it."""

    now = 100.0

    def time(self):
        return self.now

    def pass_time(self, seconds):
        self.now += seconds


@pytest.fixture
def loop():
    loop = asyncloop.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def clocked():
    loop = Clocked()
    yield loop
    loop.close()


def pump(loop, times=1):
    for _ in range(times):
        loop.call_soon(loop.stop)
        loop.run_forever()


def changes(before, after):
    """The fields of which the second snapshot has another value, by how much."""
    pairs = {f.name: (getattr(before, f.name), getattr(after, f.name)) for f in dataclasses.fields(before)}
    return {name: new - old for name, (old, new) in pairs.items() if new != old and not name.startswith("time_")}


# ---- the snapshot


def test_a_new_loop_has_done_nothing(loop):
    assert set(dataclasses.asdict(loop.metrics()).values()) == {0}


def test_it_is_a_frozen_dataclass(loop):
    m = loop.metrics()
    assert type(m) is asyncloop.Metrics and m == loop.metrics()
    with pytest.raises(dataclasses.FrozenInstanceError):
        m.passes = 1
    assert {f.name: type(getattr(m, f.name)).__name__ for f in dataclasses.fields(m)} == {f.name: f.type for f in dataclasses.fields(m)}
    assert asyncloop.Metrics.__module__ == "asyncloop" and "Metrics" in asyncloop.__all__


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the texts are not beside these tests (installed package)")
def test_the_docs_describe_every_field():
    text = (ROOT / "docs/metrics.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", text, re.M) == [f.name for f in dataclasses.fields(asyncloop.Metrics)]


def test_a_closed_loop_keeps_its_counters():
    loop = asyncloop.new_event_loop()
    pump(loop, 3)
    before = loop.metrics()
    loop.call_soon(print)
    loop.call_later(60, print)
    loop.close()
    assert changes(before, loop.metrics()) == {}
    assert loop.metrics().passes == loop.metrics().callbacks == 3


def test_another_thread_may_look(loop):
    seen = []

    def look():
        seen.append(loop.metrics())
        loop.call_soon_threadsafe(loop.stop)

    loop.call_soon(threading.Thread(target=look).start)
    loop.run_forever()
    assert seen[0].passes >= 1 and seen[0].callbacks == 1 and loop.metrics().callbacks == 2


# ---- passes, callbacks, polls


def test_passes_and_callbacks(loop):
    left = [1000]

    def step():
        left[0] -= 1
        loop.call_soon(step if left[0] else loop.stop)

    loop.call_soon(step)
    loop.run_forever()
    m = loop.metrics()
    assert (m.passes, m.callbacks, m.ready_max, m.task_steps) == (1001, 1001, 1, 0)
    assert 1 <= m.polls < m.passes and m.glances == 0  # nothing is watched: nothing to glance at


def test_every_pass_asks_the_kernel_while_something_is_watched(loop):
    here, there = socket.socketpair()
    with here, there:
        loop.add_reader(here, print)
        pump(loop, 3)
        left = [200]

        def step():
            left[0] -= 1
            loop.call_soon(step if left[0] else loop.stop)

        loop.call_soon(step)
        loop.run_forever()
        loop.remove_reader(here)
    m = loop.metrics()
    assert m.passes == 204 and m.polls + m.glances == m.passes and m.glances > 0


def test_passes_of_many_runs_are_counted_once(loop):
    """The first pass of a run polls, whatever the run before had left until its next poll."""
    for n in range(1, 100):
        loop.run_until_complete(asyncio.sleep(0))
        pump(loop)
        # sleep(0) is two steps, and the third pass runs what stops the loop
        assert (loop.metrics().passes, loop.metrics().callbacks) == (4 * n, 4 * n)


def test_callbacks_inside_of_a_pass_are_exact(loop):
    seen = []
    for _ in range(5):
        loop.call_soon(lambda: seen.append((loop.metrics().callbacks, loop.metrics().ready, loop.metrics().ready_max)))
    pump(loop)
    assert seen == [(1, 5, 6), (2, 4, 6), (3, 3, 6), (4, 2, 6), (5, 1, 6)]
    assert loop.metrics().ready == 0 and loop.metrics().ready_max == 6


def test_the_ring_grows(loop):
    """More than it held at first, pushed while its first entry is not the first of the array."""
    pump(loop, 40)
    ran = []
    for n in range(1000):
        loop.call_soon(ran.append, n)
    assert loop.metrics().ready == 1000
    pump(loop)
    assert ran == list(range(1000)) and loop.metrics().callbacks == 1041 and loop.metrics().ready_max == 1001


def test_a_cancelled_handle_was_in_the_queue(loop):
    loop.call_soon(print).cancel()
    pump(loop)
    assert loop.metrics().callbacks == 2


def test_what_close_drops_was_not_run():
    loop = asyncloop.new_event_loop()
    pump(loop)
    for _ in range(7):
        loop.call_soon(print)
    assert loop.metrics().ready == 7
    loop.close()
    assert (loop.metrics().ready, loop.metrics().callbacks) == (0, 1)


def test_an_exception_that_leaves_the_loop(loop):
    def leave():
        raise KeyboardInterrupt

    loop.call_soon(leave)
    loop.call_soon(int)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert (loop.metrics().callbacks, loop.metrics().ready, loop.metrics().passes) == (1, 1, 1)
    pump(loop)
    assert (loop.metrics().callbacks, loop.metrics().ready) == (3, 0)


# ---- tasks, timers


def test_steps_of_tasks(loop):
    async def main(n):
        for _ in range(n):
            await asyncio.sleep(0)

    loop.run_until_complete(main(10))
    assert loop.metrics().task_steps == 11
    loop.run_until_complete(asyncio.wait_for(loop.create_task(main(2)), 60))
    assert loop.metrics().task_steps == 11 + 2 + 3


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="eager tasks came with Python 3.12")
def test_eager_steps(loop):
    async def nested(depth):
        if depth:
            await loop.create_task(nested(depth - 1))

    async def main():
        before = loop.metrics().task_steps
        loop.set_task_factory(asyncio.eager_task_factory)
        await loop.create_task(nested(4))
        return loop.metrics().task_steps - before

    assert loop.run_until_complete(main()) == 5


def test_tasks_and_timers_that_are_pending(loop):
    async def main():
        before = loop.metrics()
        tasks = [loop.create_task(asyncio.sleep(60)) for _ in range(3)]
        handle = loop.call_later(60, print)
        await asyncio.sleep(0)
        held = changes(before, loop.metrics())
        for task in tasks:
            task.cancel()
        handle.cancel()
        await asyncio.wait(tasks)
        after = changes(before, loop.metrics())
        return [(seen.get("tasks", 0), seen.get("timers", 0)) for seen in (held, after)]

    assert loop.run_until_complete(main()) == [(3, 4), (0, 0)]
    assert loop.metrics().tasks == 0


# ---- time


def test_lag_is_how_late_the_earliest_due_timer_was(clocked):
    ran = []
    clocked.call_at(110, ran.append, 1)
    clocked.call_at(112, ran.append, 2)
    clocked.call_soon(clocked.pass_time, 13)
    pump(clocked)
    assert ran == [] and clocked.metrics().lag == 0
    pump(clocked)
    assert ran == [1, 2] and clocked.metrics().lag == 3
    clocked.call_at(114, ran.append, 3)
    clocked.call_soon(clocked.pass_time, 1.5)
    pump(clocked, 2)
    assert ran == [1, 2, 3] and (clocked.metrics().lag, clocked.metrics().lag_max) == (0.5, 3)


@pytest.mark.parametrize("when", [0.0, float("-inf"), float("nan")])
def test_a_timer_for_the_past_is_not_late_for_more_than_the_loop_was(clocked, when):
    clocked.call_at(1000, print)
    pump(clocked)  # it looks for due timers at 100
    clocked.pass_time(2)
    clocked.call_at(when, int)
    pump(clocked)
    assert clocked.metrics().lag == clocked.metrics().lag_max == 2


def test_the_longest_callback_is_timed_when_asked_for(clocked):
    clocked.call_soon(clocked.pass_time, 9)
    pump(clocked)
    assert clocked.metrics().longest_callback == 0 and clocked.time_callbacks is False
    clocked.time_callbacks = True
    for seconds in (1, 2.5, 2):
        clocked.call_soon(clocked.pass_time, seconds)
    pump(clocked)
    assert clocked.metrics().longest_callback == 2.5
    clocked.time_callbacks = False
    clocked.call_soon(clocked.pass_time, 9)
    pump(clocked)
    assert clocked.metrics().longest_callback == 2.5


@pytest.mark.parametrize("why", ["debug", "hook", "entry hook"])
def test_what_else_times_callbacks(clocked, why):
    if why == "debug":
        clocked.set_debug(True)
        clocked.slow_callback_duration = 10
    elif why == "hook":
        clocked.slow_callback_hook = lambda *args: None
    else:
        clocked._entry_hook = lambda *args: None
    clocked.call_soon(clocked.pass_time, 2)
    pump(clocked)
    assert clocked.metrics().longest_callback == 2 and clocked.time_callbacks is False


def test_steps_of_tasks_are_timed(clocked):
    async def main():
        clocked.pass_time(1)
        await asyncio.sleep(0)
        clocked.pass_time(4)

    clocked.time_callbacks = True
    clocked.run_until_complete(main())
    assert clocked.metrics().longest_callback == 4


def test_time_working_and_polling(clocked):
    """The thread moves the clock while the loop waits: it has begun to when the number of polls has grown."""
    clocked.time_callbacks = True

    def while_it_waits():
        while clocked.metrics().polls == n_polls[0]:
            os.sched_yield()
        clocked.pass_time(5)
        clocked.call_soon_threadsafe(clocked.pass_time, 0.5)
        clocked.call_soon_threadsafe(clocked.stop)

    n_polls = [0]

    def begin():
        n_polls[0] = clocked.metrics().polls
        thread.start()
        clocked.pass_time(2)

    thread = threading.Thread(target=while_it_waits)
    clocked.call_soon(begin)
    clocked.run_forever()
    thread.join()
    m = clocked.metrics()
    assert (m.time_working, m.time_polling) == (2.5, 5)
    clocked.pass_time(50)  # while it does not run
    assert clocked.metrics() == m


def test_time_inside_of_a_run_counts_up_to_now(clocked):
    seen = []

    def look():
        clocked.pass_time(2)
        seen.append(clocked.metrics().time_working)

    clocked.time_callbacks = True
    clocked.call_soon(look)
    clocked.call_soon(look)
    pump(clocked)
    assert seen == [2, 4] and clocked.metrics().time_working == 4


def test_a_change_of_clocks_counts_for_nothing(clocked):
    """From the kernel's clock to the loop's own in the middle of a run, and back."""
    def switch(on):
        clocked.time_callbacks = on
        clocked.pass_time(1e6)

    clocked.call_soon(switch, True)
    clocked.call_soon(switch, False)
    pump(clocked)
    assert clocked.metrics().time_working < 1e5


def test_time_is_measured_without_being_asked_for(loop):
    """By the kernel's tick: whether a short wait counts is chance, that of a long one is not."""
    loop.run_until_complete(asyncio.sleep(0.2))
    assert loop.metrics().time_polling > 0 and loop.metrics().time_working >= 0


def test_an_overridden_time_that_fails(clocked):
    clocked.time_callbacks = True
    clocked.time = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        clocked.metrics()
    clocked.call_soon(int)
    with pytest.raises(ZeroDivisionError):
        clocked.run_forever()
    assert not clocked.is_running()
    del clocked.time
    assert clocked.metrics().callbacks == 0
    pump(clocked)
    assert clocked.metrics().callbacks == 2


def test_an_overridden_time_that_fails_later(clocked):
    def fail():
        clocked.time = lambda: 1 / 0

    clocked.time_callbacks = True
    clocked.call_soon(fail)
    clocked.call_soon(int)
    with pytest.raises(ZeroDivisionError):
        clocked.run_forever()
    del clocked.time
    assert (clocked.metrics().callbacks, clocked.metrics().ready) == (1, 1)
    pump(clocked)


def test_an_overridden_time_is_not_asked_for_the_figures():
    """What scripts the answers of time() is asked as often as on asyncio, unless callbacks are timed."""
    class Counting(asyncloop.Loop):
        n = 0

        def time(self):
            self.n += 1
            return super().time()

    loop = Counting()
    pump(loop, 3)
    loop.metrics()
    assert loop.n == 0
    loop.time_callbacks = True
    pump(loop)
    assert loop.n > 0
    loop.close()


# ---- transports


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Collector(asyncio.Protocol):
    def __init__(self, n, done):
        self.left, self.done = n, done

    def data_received(self, data):
        self.left -= len(data)
        if self.left == 0:
            self.done.set_result(None)

    def connection_lost(self, exc):
        self.done.done() or self.done.set_result(None)


async def until_equal(look, expected):
    """Closing takes some passes."""
    for _ in range(100):
        if look() == expected:
            return
        await asyncio.sleep(0.001)
    assert look() == expected


async def echo(loop, start_server, connect, n_bytes=1000):
    """What changes between before and while a connection of two transports is open, and after it."""
    before = loop.metrics()
    server = await start_server(Echo)
    done = loop.create_future()
    try:
        transport, _ = await connect(server, lambda: Collector(n_bytes, done))
    except OSError:
        server.close()
        raise
    transport.write(b"x" * n_bytes)
    await done
    during = changes(before, loop.metrics())
    transport.close()
    server.close()
    kinds = [f.name for f in dataclasses.fields(before) if f.name.endswith(("_connections", "_sockets")) or f.name == "pipes"]
    await until_equal(lambda: [getattr(loop.metrics(), kind) for kind in kinds], [getattr(before, kind) for kind in kinds])
    await server.wait_closed()
    return {name: n for name, n in during.items() if name in (*kinds, "accepted", "bytes_in", "bytes_out")}


def test_tcp(loop):
    found = loop.run_until_complete(echo(
        loop, lambda factory: loop.create_server(factory, "127.0.0.1", 0),
        lambda server, factory: loop.create_connection(factory, *server.sockets[0].getsockname())))
    assert found == {"tcp_connections": 2, "accepted": 1, "bytes_in": 2000, "bytes_out": 2000}


def test_unix_sockets(loop, tmp_path):
    path = str(tmp_path / "socket")
    found = loop.run_until_complete(echo(
        loop, lambda factory: loop.create_unix_server(factory, path), lambda server, factory: loop.create_unix_connection(factory, path), 300_000))
    assert found == {"unix_sockets": 2, "accepted": 1, "bytes_in": 600_000, "bytes_out": 600_000}


def test_tls_counts_the_bytes_on_the_wire(loop):
    server_context, client_context = certs.server_context(), certs.client_context()
    found = loop.run_until_complete(echo(
        loop, lambda factory: loop.create_server(factory, "127.0.0.1", 0, ssl=server_context),
        lambda server, factory: loop.create_connection(factory, *server.sockets[0].getsockname(), ssl=client_context, server_hostname="localhost")))
    assert found["tls_connections"] == 2 and found["accepted"] == 1 and "tcp_connections" not in found
    assert found["bytes_in"] == found["bytes_out"] > 2000


def test_start_tls_moves_a_connection(loop):
    async def main():
        async def serve(reader, writer):
            await reader.readexactly(1)
            await writer.start_tls(certs.server_context())
            writer.write(await reader.readexactly(1))
            await reader.read()
            writer.close()

        look = lambda: (loop.metrics().tcp_connections, loop.metrics().tls_connections)
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await until_equal(look, (2, 0))
        writer.write(b"x")
        await writer.start_tls(certs.client_context(), server_hostname="localhost")
        writer.write(b"x")
        await reader.readexactly(1)
        assert look() == (0, 2)
        writer.close()
        server.close()
        await until_equal(look, (0, 0))

    loop.run_until_complete(main())


def test_streams_count_too(loop):
    async def main():
        async def serve(reader, writer):
            while data := await reader.read(100):
                writer.write(data)
            writer.close()

        server = await asyncloop.start_server(serve, "127.0.0.1", 0)
        before = loop.metrics()
        reader, writer = await asyncloop.open_connection(*server.sockets[0].getsockname())
        for _ in range(10):
            writer.write(b"x" * 50)
            await reader.readexactly(50)
        found = changes(before, loop.metrics())
        writer.close()
        server.close()
        await until_equal(lambda: loop.metrics().tcp_connections, 0)
        return {name: found[name] for name in ("tcp_connections", "accepted", "bytes_in", "bytes_out")}

    assert loop.run_until_complete(main()) == {"tcp_connections": 2, "accepted": 1, "bytes_in": 1000, "bytes_out": 1000}


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, n, done, answers):
        self.left, self.done, self.answers = n, done, answers

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        if self.answers:
            self.transport.sendto(data, address)
        self.left -= 1
        if self.left == 0 and not self.done.done():
            self.done.set_result(None)


@pytest.mark.parametrize("n", [1, 5, 60])
def test_datagrams(loop, n):
    """Bursts go to the kernel, and come from it, by several at a time."""
    async def main():
        done = loop.create_future()
        server, _ = await loop.create_datagram_endpoint(lambda: Datagrams(-1, done, True), local_addr=("127.0.0.1", 0))
        client, _ = await loop.create_datagram_endpoint(lambda: Datagrams(n, done, False), remote_addr=server.get_extra_info("sockname"))
        for _ in range(n):
            client.sendto(b"x" * 10)
        await done
        m = loop.metrics()
        client.close()
        server.close()
        await until_equal(lambda: loop.metrics().udp_sockets, 0)
        return m.udp_sockets, m.bytes_in, m.bytes_out

    assert loop.run_until_complete(main()) == (2, 20 * n, 20 * n)


def test_datagrams_on_unix_sockets(loop, tmp_path):
    async def main():
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=str(tmp_path / "s"), family=socket.AF_UNIX)
        m = loop.metrics()
        transport.close()
        await until_equal(lambda: loop.metrics().unix_sockets, 0)
        return m.unix_sockets, m.udp_sockets

    assert loop.run_until_complete(main()) == (1, 0)


def test_pipes(loop):
    async def main():
        there, here = os.pipe()
        done = loop.create_future()
        reader, _ = await loop.connect_read_pipe(lambda: Collector(200_000, done), os.fdopen(there, "rb", 0))
        writer, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(here, "wb", 0))
        writer.write(b"x" * 200_000)
        await done
        m = loop.metrics()
        writer.close()
        await until_equal(lambda: loop.metrics().pipes, 0)
        return m.pipes, m.bytes_in, m.bytes_out

    assert loop.run_until_complete(main()) == (2, 200_000, 200_000)


def test_the_pipes_of_a_child_process(loop):
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        during = loop.metrics().pipes
        out, _ = await process.communicate(b"hello")
        await until_equal(lambda: loop.metrics().pipes, 0)
        return during, out, loop.metrics().bytes_in, loop.metrics().bytes_out

    assert loop.run_until_complete(main()) == (2, b"hello", 5, 5)


@pytest.mark.parametrize("end", ["abort", "reset", "forget"])
def test_transports_that_end_in_other_ways(loop, end):
    async def main():
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        sock = socket.create_connection(server.sockets[0].getsockname())
        await until_equal(lambda: loop.metrics().tcp_connections, 1)
        if end == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        elif end == "abort":
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=sock)
            assert loop.metrics().tcp_connections == 2
            transport.abort()
        sock.close() if end != "abort" else None
        await until_equal(lambda: loop.metrics().tcp_connections, 0)
        server.close()

    loop.run_until_complete(main())


def test_sendfile_counts(loop, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 50_000)

    async def main():
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        done = loop.create_future()
        transport, _ = await loop.create_connection(lambda: Collector(50_000, done), *server.sockets[0].getsockname())
        with open(tmp_path / "file", "rb") as file:
            await loop.sendfile(transport, file)
        await done
        m = loop.metrics()
        transport.close()
        server.close()
        await until_equal(lambda: loop.metrics().tcp_connections, 0)
        return m.bytes_in, m.bytes_out

    assert loop.run_until_complete(main()) == (100_000, 100_000)


def test_sockets_of_the_programs_own_do_not_count(loop):
    async def main():
        here, there = socket.socketpair()
        here.setblocking(False)
        there.setblocking(False)
        with here, there:
            await loop.sock_sendall(here, b"x" * 10)
            await loop.sock_recv(there, 10)
        return loop.metrics()

    m = loop.run_until_complete(main())
    assert (m.unix_sockets, m.bytes_in, m.bytes_out) == (0, 0, 0)


def test_what_could_not_be_opened_is_not_counted(loop):
    async def main():
        with pytest.raises(ssl.SSLError):
            await echo(loop, lambda factory: loop.create_server(factory, "127.0.0.1", 0, ssl=certs.server_context()),
                       lambda server, factory: loop.create_connection(factory, *server.sockets[0].getsockname(), ssl=ssl.create_default_context(),
                                                                      server_hostname="localhost"))
        look = lambda: (loop.metrics().tcp_connections, loop.metrics().tls_connections)
        await until_equal(look, (0, 0))

    loop.set_exception_handler(lambda loop, context: None)
    loop.run_until_complete(main())


# ---- the executor


def test_the_executor(loop):
    async def main():
        import concurrent.futures
        loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(2))
        release = threading.Event()
        begun = threading.Semaphore(0)

        def work():
            begun.release()
            release.wait()

        calls = [loop.run_in_executor(None, work) for _ in range(5)]
        begun.acquire()
        begun.acquire()
        m = loop.metrics()
        release.set()
        await asyncio.gather(*calls)
        assert (m.executor_threads, m.executor_queue) == (2, 3)
        assert loop.metrics().executor_queue == 0

    assert loop.metrics().executor_threads == 0
    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    assert (loop.metrics().executor_threads, loop.metrics().executor_queue) == (0, 0)


def test_an_executor_that_shows_nothing(loop):
    import concurrent.futures

    class Opaque(concurrent.futures.ThreadPoolExecutor):
        def __init__(self):
            pass

    loop.set_default_executor(Opaque())
    assert (loop.metrics().executor_threads, loop.metrics().executor_queue) == (0, 0)
    loop._default_executor = None
