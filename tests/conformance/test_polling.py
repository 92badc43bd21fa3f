"""What is ready in the kernel is delivered as soon as on asyncio, also while the loop has work at every pass.

Counted in passes, not in time: something is made ready by hand, the kernel is seen to have it, and then a task that does nothing but
sleep(0) counts the passes until the program hears of it.  Each scenario runs on asyncio's loop and on ours; ours must not be later.
"""
import asyncio
import contextlib
import ctypes
import functools
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import certs
from kits import ORACLE, OURS

LIMIT = 200
PHASES = range(4)  # passes between what came before and the act: a poll left out now and then would show in one of them


def await_readable(file):
    assert select.select([file], [], [], 30)[0], "nothing came"


def await_writable(file):
    assert select.select([], [file], [], 30)[1], "it stays full"


async def passes(heard):
    """How many passes go by until heard() is true."""
    for n in range(LIMIT):
        if heard():
            return n
        await asyncio.sleep(0)
    return LIMIT


async def idle(phase):
    """The loop sleeps once, then has work at every pass."""
    await asyncio.sleep(0.002)
    for _ in range(phase):
        await asyncio.sleep(0)


class Hears(asyncio.Protocol):
    def __init__(self):
        self.made = self.ended = False
        self.n_bytes = 0

    def connection_made(self, transport):
        self.transport = transport
        self.made = True

    def data_received(self, data):
        self.n_bytes += len(data)

    def datagram_received(self, data, address):
        self.n_bytes += len(data)

    def connection_lost(self, exc):
        self.ended = True


@contextlib.asynccontextmanager
async def connected(**options):
    """A transport of the loop, its protocol, and the other end, which the test handles itself."""
    a, b = socket.socketpair()
    with a, b:
        transport, protocol = await asyncio.get_running_loop().create_connection(Hears, sock=a, **options)
        yield transport, protocol, b
        transport.abort()
        await passes(lambda: protocol.ended)


@contextlib.contextmanager
def pair():
    a, b = socket.socketpair()
    with a, b:
        a.setblocking(False)
        b.setblocking(False)
        yield a, b


# ---- scenarios: each says after how many passes it was heard

async def resume_reading(loop, phase):
    async with connected() as (transport, protocol, peer):
        transport.pause_reading()
        peer.send(b"x")
        await idle(phase)
        transport.resume_reading()
        return await passes(lambda: protocol.n_bytes)


async def data_received(loop, phase):
    async with connected() as (_, protocol, peer):
        await idle(phase)
        peer.send(b"x")
        return await passes(lambda: protocol.n_bytes)


async def connection_lost(loop, phase):
    async with connected() as (_, protocol, peer):
        await idle(phase)
        peer.close()
        return await passes(lambda: protocol.ended)


async def sending_goes_on(loop, phase):
    async with connected() as (transport, protocol, peer):
        peer.setblocking(False)
        transport.write(bytes(1 << 19))
        await idle(phase)
        assert transport.get_write_buffer_size() > 0
        with contextlib.suppress(BlockingIOError):
            while True:
                peer.recv(1 << 16)
        await_writable(transport.get_extra_info("socket"))
        left = transport.get_write_buffer_size()
        return await passes(lambda: transport.get_write_buffer_size() < left)


async def written_on_this_loop(loop, phase):
    """Both ends are transports of the loop."""
    async with connected() as (transport, protocol, peer):
        other, _ = await loop.create_connection(Hears, sock=peer)
        await idle(phase)
        other.write(b"x")
        n = await passes(lambda: protocol.n_bytes)
        other.abort()
        await asyncio.sleep(0)
        return n


async def stream_read(loop, phase):
    with pair() as (a, b):
        reader, writer = await asyncio.open_connection(sock=a)
        task = loop.create_task(reader.read(10))
        await idle(phase)
        b.send(b"x")
        n = await passes(task.done)
        writer.close()
        await passes(lambda: a.fileno() < 0)
        return n


async def connect_read_pipe(loop, phase):
    r, w = os.pipe()
    os.write(w, b"x")
    await idle(phase)
    connecting = loop.create_task(loop.connect_read_pipe(Hears, open(r, "rb", 0)))
    n = await passes(connecting.done)
    transport, protocol = connecting.result()
    n += await passes(lambda: protocol.n_bytes)
    transport.close()
    os.close(w)
    await passes(lambda: protocol.ended)
    return n


async def read_pipe_ends(loop, phase):
    r, w = os.pipe()
    _, protocol = await loop.connect_read_pipe(Hears, open(r, "rb", 0))
    await idle(phase)
    os.close(w)
    return await passes(lambda: protocol.ended)


async def write_pipe_ends(loop, phase):
    r, w = os.pipe()
    _, protocol = await loop.connect_write_pipe(Hears, open(w, "wb", 0))
    await idle(phase)
    os.close(r)
    return await passes(lambda: protocol.ended)


async def add_reader_to_what_is_there(loop, phase):
    with pair() as (a, b):
        heard = []
        b.send(b"x")
        await idle(phase)
        loop.add_reader(a, heard.append, 1)
        n = await passes(lambda: heard)
        loop.remove_reader(a)
        return n


async def add_reader(loop, phase):
    with pair() as (a, b):
        heard = []
        loop.add_reader(a, heard.append, 1)
        await idle(phase)
        b.send(b"x")
        n = await passes(lambda: heard)
        loop.remove_reader(a)
        return n


async def add_reader_fed_by_a_thread(loop, phase):
    with pair() as (a, b):
        heard = []
        loop.add_reader(a, heard.append, 1)
        await idle(phase)
        thread = threading.Thread(target=b.send, args=(b"x",))
        thread.start()
        thread.join()
        n = await passes(lambda: heard)
        loop.remove_reader(a)
        return n


async def add_writer(loop, phase):
    with pair() as (a, _):
        heard = []
        await idle(phase)
        loop.add_writer(a, heard.append, 1)
        n = await passes(lambda: heard)
        loop.remove_writer(a)
        return n


async def add_writer_to_what_was_full(loop, phase):
    with pair() as (a, b):
        heard = []
        with contextlib.suppress(BlockingIOError):
            while True:
                a.send(bytes(1 << 16))
        loop.add_writer(a, heard.append, 1)
        await idle(phase)
        with contextlib.suppress(BlockingIOError):
            while True:
                b.recv(1 << 16)
        await_writable(a)
        n = await passes(lambda: heard)
        loop.remove_writer(a)
        return n


async def sock_recv(loop, phase):
    with pair() as (a, b):
        task = loop.create_task(loop.sock_recv(a, 10))
        await idle(phase)
        b.send(b"x")
        return await passes(task.done)


async def sock_sendall(loop, phase):
    with pair() as (a, b):
        with contextlib.suppress(BlockingIOError):
            while True:
                a.send(bytes(1 << 16))
        task = loop.create_task(loop.sock_sendall(a, b"x"))
        await idle(phase)
        with contextlib.suppress(BlockingIOError):
            while True:
                b.recv(1 << 16)
        await_writable(a)
        return await passes(task.done)


@contextlib.contextmanager
def listening():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


async def sock_accept(loop, phase):
    with listening() as listener:
        task = loop.create_task(loop.sock_accept(listener))
        await idle(phase)
        with socket.create_connection(listener.getsockname()):
            await_readable(listener)
            n = await passes(task.done)
            task.result()[0].close()
            return n


async def sock_recvfrom(loop, phase):
    with socket.socket(type=socket.SOCK_DGRAM) as a, socket.socket(type=socket.SOCK_DGRAM) as b:
        a.bind(("127.0.0.1", 0))
        a.setblocking(False)
        task = loop.create_task(loop.sock_recvfrom(a, 10))
        await idle(phase)
        b.sendto(b"x", a.getsockname())
        await_readable(a)
        return await passes(task.done)


async def accept(loop, phase):
    protocols = []

    def made():
        protocols.append(Hears())
        return protocols[-1]

    with listening() as listener:
        server = await loop.create_server(made, sock=listener)
        await idle(phase)
        with socket.create_connection(listener.getsockname()):
            await_readable(listener)
            n = await passes(lambda: protocols and protocols[0].made)
        await passes(lambda: protocols[0].ended)
        server.close()
        await server.wait_closed()
        return n


async def datagram(loop, phase):
    transport, protocol = await loop.create_datagram_endpoint(Hears, local_addr=("127.0.0.1", 0))
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        await idle(phase)
        peer.sendto(b"x", transport.get_extra_info("sockname"))
        await_readable(transport.get_extra_info("socket"))
        n = await passes(lambda: protocol.n_bytes)
    transport.close()
    await passes(lambda: protocol.ended)
    return n


@contextlib.asynccontextmanager
async def over_tls(loop):
    """Both ends on the loop: (transport, protocol) of the client, transport of the server."""
    a, b = socket.socketpair()
    server = loop.create_task(loop.connect_accepted_socket(Hears, b, ssl=certs.server_context()))
    transport, protocol = await loop.create_connection(Hears, sock=a, ssl=certs.client_context(), server_hostname="localhost")
    other, other_protocol = await server
    yield transport, protocol, other
    transport.abort()
    other.abort()
    await passes(lambda: protocol.ended and other_protocol.ended)


async def tls(loop, phase):
    async with over_tls(loop) as (_, protocol, other):
        await idle(phase)
        other.write(b"x")
        return await passes(lambda: protocol.n_bytes)


async def tls_resume_reading(loop, phase):
    async with over_tls(loop) as (transport, protocol, other):
        transport.pause_reading()
        other.write(b"x")
        await idle(phase)
        transport.resume_reading()
        return await passes(lambda: protocol.n_bytes)


async def signal_handler(loop, phase):
    heard = []
    loop.add_signal_handler(signal.SIGUSR1, heard.append, 1)
    await idle(phase)
    os.kill(os.getpid(), signal.SIGUSR1)
    n = await passes(lambda: heard)
    loop.remove_signal_handler(signal.SIGUSR1)
    return n


async def own_wakeup_fd(loop, phase):
    """A program that listens to signals itself."""
    with pair() as (a, b):
        heard = []
        loop.add_reader(a, heard.append, 1)
        before = signal.signal(signal.SIGUSR1, lambda *_: None)
        descriptor = signal.set_wakeup_fd(b.fileno())
        await idle(phase)
        os.kill(os.getpid(), signal.SIGUSR1)
        n = await passes(lambda: heard)
        signal.set_wakeup_fd(descriptor)
        signal.signal(signal.SIGUSR1, before)
        loop.remove_reader(a)
        return n


async def due_timer(loop, phase):
    heard = []
    await idle(phase)
    loop.call_later(0.001, heard.append, 1)
    await asyncio.sleep(0)
    time.sleep(0.01)
    return await passes(lambda: heard)


SCENARIOS = (resume_reading, data_received, connection_lost, sending_goes_on, written_on_this_loop, stream_read, connect_read_pipe, read_pipe_ends,
             write_pipe_ends, add_reader_to_what_is_there, add_reader, add_reader_fed_by_a_thread, add_writer, add_writer_to_what_was_full,
             sock_recv, sock_sendall, sock_accept, sock_recvfrom, accept, datagram, tls, tls_resume_reading, signal_handler, own_wakeup_fd,
             due_timer)


def run(kit, scenario, phase):
    with asyncio.Runner(loop_factory=kit.new_loop) as runner:
        async def main():
            return await scenario(asyncio.get_running_loop(), phase)
        return runner.run(main())


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda f: f.__name__)
def test_heard_as_soon_as_on_asyncio(scenario):
    theirs = [run(ORACLE, scenario, phase) for phase in PHASES]
    ours = [run(OURS, scenario, phase) for phase in PHASES]
    assert all(n < LIMIT for n in theirs)
    assert all(a <= b for a, b in zip(ours, theirs)), (ours, theirs)


async def child_exits(loop, phase):
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=subprocess.PIPE)
    waiting = loop.create_task(process.wait())
    await idle(phase)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return await passes(waiting.done)


def test_child_exits():
    """As on asyncio where that has a descriptor for a child, from 3.12 on: the event, process_exited, the end of its pipe, wait()."""
    assert max(run(OURS, child_exits, phase) for phase in PHASES) <= 5


# ---- callbacks in C alone: nothing that they run looks at signals, or lets other threads in

# Unlike os.kill and signal.raise_signal it does not look at signals itself.
send_signal = getattr(ctypes.CDLL(None), "raise")


def endless(loop):
    """A callback that schedules itself for ever, without a line of Python where the loop is in C."""
    again = functools.partial(int)
    again.__setstate__((loop.call_soon, (again,), {}, {}))
    return again


def break_up(again):
    again.__setstate__((int, (), {}, {}))


@pytest.mark.parametrize("is_listening", [False, True], ids=["nothing_watched", "watching"])
def test_callbacks_in_c_let_threads_in(loop, is_listening):
    again = endless(loop)
    with pair() as (a, _):
        if is_listening:
            loop.add_reader(a, int)
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(loop.stop))
        loop.call_soon(again)
        loop.call_soon(thread.start)
        loop.run_forever()
        thread.join()
        loop.remove_reader(a)
    break_up(again)


def test_callbacks_in_c_let_signals_in(loop):
    again = endless(loop)
    before = signal.signal(signal.SIGUSR1, lambda *_: loop.stop())
    timer = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGUSR1))
    loop.call_soon(again)
    loop.call_soon(timer.start)
    loop.run_forever()
    timer.join()
    signal.signal(signal.SIGUSR1, before)
    break_up(again)


def test_signal_between_callbacks_in_c(loop):
    """A handler runs after the callback in which the signal came, before the next."""
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda *_: heard.append("handler"))
    loop.call_soon(send_signal, signal.SIGUSR1)
    loop.call_soon(heard.append, "next")
    loop.call_later(0, send_signal, signal.SIGUSR1)
    loop.call_later(0, heard.append, "timer")
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    signal.signal(signal.SIGUSR1, before)
    assert heard == ["handler", "next", "handler", "timer"]


def test_handler_raises_between_callbacks_in_c(loop):
    """What it raises is the callback's."""
    def raises(*_):
        raise LookupError("from the handler")

    reports = []
    before = signal.signal(signal.SIGUSR1, raises)
    loop.set_exception_handler(lambda _, context: reports.append((context["message"].startswith("Exception in callback"), str(context["exception"]))))
    loop.call_soon(send_signal, signal.SIGUSR1)
    loop.call_soon(loop.stop)
    loop.run_forever()
    signal.signal(signal.SIGUSR1, before)
    assert reports == [(True, "from the handler")]


# ---- a flood from other threads

def test_flood_from_threads_leaves_the_passes_short(loop):
    """Threads that push faster than the loop runs are held up, or each pass would have more to run than the one before."""
    n_threads, n_each = 3, 100_000
    n_run = n_passes = 0

    def hit():
        nonlocal n_run
        n_run += 1

    def each_pass():
        nonlocal n_passes
        n_passes += 1
        if n_run < n_threads * n_each:
            loop.call_soon(each_pass)
        else:
            loop.stop()

    def flood():
        for _ in range(n_each):
            loop.call_soon_threadsafe(hit)

    threads = [threading.Thread(target=flood) for _ in range(n_threads)]
    loop.call_soon(each_pass)
    for thread in threads:
        loop.call_soon(thread.start)
    loop.run_forever()
    for thread in threads:
        thread.join()
    assert n_passes > 30
