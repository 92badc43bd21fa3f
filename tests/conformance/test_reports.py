"""What the loop's own callbacks raise is reported as asyncio reports it: text, keys, handle, and whether it is being handled meanwhile.

Each case makes one of them fail: by a future whose methods fail, a loop whose call_soon fails once, a protocol that raises.
"""
import asyncio
import concurrent.futures
import contextlib
import os
import signal
import socket
import sys
import threading

import pytest

from kits import OURS, Recorder, until
from sidebyside import compare, plain


def failing(t, **methods):
    """A class of futures with these methods replaced, each raising LookupError while its name is in the set `armed`."""
    armed = set(methods)

    def method(name, before):
        def call(self, *args, **kw):
            if before:
                getattr(t.kit.Future, name)(self, *args, **kw)
            if name in armed:
                raise LookupError(name)
            if not before:
                return getattr(t.kit.Future, name)(self, *args, **kw)
        return call
    kind = type("Failing", (t.kit.Future,), {name: method(name, before) for name, before in methods.items()})
    return kind, armed


def refuse(loop, result):
    """Replaces the loop's call_soon by one that raises, once, for a callback of a future with this result."""
    refused = []
    real = loop.call_soon

    def call_soon(callback, *args, **kw):
        if not refused and args and asyncio.isfuture(args[0]) and args[0].done() and args[0].result() == result:
            refused.append(callback)
            raise LookupError("call_soon")
        return real(callback, *args, **kw)
    loop.call_soon = call_soon


async def steps(n=4):
    for _ in range(n):
        await asyncio.sleep(0)


async def end(task):
    task.cancel()
    await asyncio.wait([task], timeout=5)


CASES = {}


def case(f):
    CASES[f.__name__] = f
    return f


# --- helpers

@case
async def gather(t, lib, loop, reports):
    kind, _ = failing(t, cancelled=False)
    child = kind(loop=loop)
    outer = lib.gather(child)
    child.set_result(1)
    await steps()
    return outer


@case
async def shield_inner(t, lib, loop, reports):
    kind, armed = failing(t, cancelled=False)
    inner = kind(loop=loop)
    outer = lib.shield(inner)
    inner.set_result(1)
    await steps()
    return outer


@case
async def shield_outer(t, lib, loop, reports):
    kind, armed = failing(t, done=False)
    armed.clear()
    inner = kind(loop=loop)
    outer = lib.shield(inner)
    armed.add("done")
    outer.cancel()
    await steps()


@case
async def wait(t, lib, loop, reports):
    kind, armed = failing(t, cancelled=False)
    child = kind(loop=loop)
    task = loop.create_task(lib.wait([child, loop.create_future()], return_when=asyncio.FIRST_EXCEPTION))
    await steps()
    child.set_result(1)
    await steps()
    armed.clear()
    await end(task)


@case
async def wait_timeout(t, lib, loop, reports):
    kind, armed = failing(t, set_result=False)
    loop.create_future = lambda: kind(loop=loop)
    task = loop.create_task(lib.wait([t.kit.Future(loop=loop)], timeout=0.001))
    await steps()
    del loop.create_future
    await until(lambda: reports)
    await end(task)


@case
async def as_completed(t, lib, loop, reports):
    class Twice(t.kit.Future):
        def add_done_callback(self, *args, **kw):
            super().add_done_callback(*args, **kw)
            super().add_done_callback(*args, **kw)
    child = Twice(loop=loop)
    one = next(iter(lib.as_completed([child, loop.create_future()])))
    child.set_result(1)
    await steps()
    one.close()


@case
async def as_completed_timeout(t, lib, loop, reports):
    kind, armed = failing(t, remove_done_callback=False)
    one = next(iter(lib.as_completed([kind(loop=loop)], timeout=0.001)))
    await until(lambda: reports)
    one.close()


@case
async def sleep(t, lib, loop, reports):
    refuse(loop, "slept")
    coro = lib.sleep(0.001, "slept")
    coro.send(None).add_done_callback(print)
    await until(lambda: reports)
    del loop.call_soon
    coro.close()


@case
async def wrap_future(t, lib, loop, reports):
    theirs = concurrent.futures.Future()
    ours = lib.wrap_future(theirs, loop=loop)
    ours.set_result(1)
    thread = threading.Thread(target=theirs.set_result, args=(2,))
    thread.start()
    thread.join()
    await until(lambda: reports)


@case
async def run_in_executor(t, lib, loop, reports):
    go_on = threading.Event()
    future = loop.run_in_executor(None, go_on.wait)
    future.set_result(1)
    go_on.set()
    await until(lambda: reports)


# --- the loop

@case
async def a_signal(t, lib, loop, reports):
    def fail(signum):
        raise LookupError(signum)
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop._handle_signal = fail
    os.kill(os.getpid(), signal.SIGUSR1)
    await until(lambda: reports)
    del loop._handle_signal
    loop.remove_signal_handler(signal.SIGUSR1)


@case
async def sock_recv(t, lib, loop, reports):
    a, b = socket.socketpair()
    with a, b:
        a.setblocking(False)
        refuse(loop, b"x")
        coro = loop.sock_recv(a, 10)
        coro.send(None).add_done_callback(print)
        b.send(b"x")
        await until(lambda: reports)
        del loop.call_soon
        coro.close()


@case
async def accept(t, lib, loop, reports):
    server = await loop.create_server(Recorder, "127.0.0.1", 0)
    with socket.socket(fileno=os.dup(server.sockets[0].fileno())) as listening:
        listening.shutdown(socket.SHUT_RDWR)
    while not reports:
        await asyncio.sleep(0)
    server.close()
    await steps()
    del reports[1:]


# --- protocols

class Raises(Recorder):
    """In one of its methods."""

    def __init__(self, method):
        super().__init__()
        setattr(self, method, self.fail)
        self.method = method
        self.closed = False

    def fail(self, *args):
        if self.method == "connection_made":
            self.transport = args[0]
        if self.method == "connection_lost":
            self.lost = True
        raise LookupError(self.method)

    def data_received(self, data):
        pass

    datagram_received = error_received = lambda self, *args: None

    def eof_received(self):
        pass


async def tcp(loop, method):
    a, b = socket.socketpair()
    transport, protocol = await loop.create_connection(lambda: Raises(method), sock=a)
    return transport, protocol, b


async def udp(loop, method):
    a, b = socket.socketpair(type=socket.SOCK_DGRAM)
    transport, protocol = await loop.create_datagram_endpoint(lambda: Raises(method), sock=a)
    return transport, protocol, b


async def pipe(loop, method, is_writer=False):
    r, w = os.pipe()
    connect = loop.connect_write_pipe if is_writer else loop.connect_read_pipe
    transport, protocol = await connect(lambda: Raises(method), os.fdopen(w if is_writer else r, "wb" if is_writer else "rb", 0))
    return transport, protocol, os.fdopen(r if is_writer else w, "rb" if is_writer else "wb", 0)


KINDS = {"tcp": tcp, "udp": udp, "read_pipe": pipe, "write_pipe": lambda loop, method: pipe(loop, method, True)}


def protocol_case(kind, method):
    async def run(t, lib, loop, reports):
        transport, protocol, other = await KINDS[kind](loop, method)
        with other:
            if method in ("data_received", "datagram_received"):
                (other.write if kind == "read_pipe" else other.send)(b"x")
            elif method == "eof_received":
                other.close()
            else:
                transport.close()
            await until(lambda: reports)
            transport.close()
            await steps()
    CASES[f"{method} of {kind}"] = run


for kind in KINDS:
    for method in ("connection_made", "connection_lost"):
        protocol_case(kind, method)
for kind, method in (("tcp", "data_received"), ("udp", "datagram_received"), ("read_pipe", "data_received"), ("read_pipe", "eof_received"), ("tcp", "eof_received")):
    protocol_case(kind, method)


def drained_case(kind):
    async def run(t, lib, loop, reports):
        transport, protocol, other = await KINDS[kind](loop, "connection_lost")
        with other:
            while not transport.get_write_buffer_size():
                transport.write(bytes(4000))
            transport.close()
            await steps()
            assert not reports
            os.set_blocking(other.fileno(), False)
            while not reports:
                with contextlib.suppress(BlockingIOError):
                    os.read(other.fileno(), 1 << 20)
                await asyncio.sleep(0)
    CASES[f"connection_lost of {kind} after its last write"] = run


for kind in ("tcp", "write_pipe"):
    drained_case(kind)


@case
async def waiter_of_a_pipe(t, lib, loop, reports):
    kind, armed = failing(t, set_result=True)
    r, w = os.pipe()
    loop.create_future = lambda: kind(loop=loop)
    transport, _ = await loop.connect_read_pipe(Recorder, os.fdopen(r, "rb", 0))
    del loop.create_future
    os.close(w)
    await until(lambda: reports)
    transport.close()
    await steps()


# --- the test

def picture(context, shows_only_its_name):
    message = context["message"]
    # debug mode shows the arguments, where futures say who made them
    message = message.partition("(")[0] if shows_only_its_name else message.partition(" at /")[0]
    handle = context.get("handle")
    shown = None if handle is None else (isinstance(handle, asyncio.Handle), getattr(handle._callback, "__name__", None), handle.cancelled())
    handled = sys.exc_info()[1]  # what logger.exception() would log
    is_handled = "no" if handled is None else "yes" if handled is context.get("exception") else plain(handled)
    return sorted(context), plain(message), plain(context.get("exception")), shown, is_handled


# In debug mode the log names a port; asyncio's own reader of signals was made before debug mode was set.
PLAIN_ONLY = {"accept", "a_signal"}


@pytest.mark.parametrize("name, debug", [pytest.param(name, debug, id=f"{name}{', debug' * debug}")
                                         for name in CASES for debug in (False, True) if not (debug and name in PLAIN_ONLY)])
def test_a_report_is_asyncios(name, debug):
    def scenario(t):
        reports = []
        shows_only_its_name = debug or (sys.version_info < (3, 13) and name in SHOWS_OTHER_ARGUMENTS)
        t.keep_warnings = False
        t.loop.set_debug(debug)
        t.loop.slow_callback_duration = 100
        t.loop.set_exception_handler(lambda loop, context: reports.append(picture(context, shows_only_its_name)))

        async def main():
            await CASES[name](t, t.kit.classes, t.loop, reports)
        t.run(main())
        assert reports
        t.say(reports)
        t.loop.set_debug(False)

    outcome = compare(scenario, OURS)
    assert outcome.get("exception") is None


# Up to 3.12 a report shows the callback's arguments: here those are the innards of asyncio's loop, or another kind of future.
SHOWS_OTHER_ARGUMENTS = {"accept", "run_in_executor", "sock_recv"}


def test_a_report_inside_a_coroutine_leaves_no_handled_exception(loop):
    """What the caller of run_forever() was handling is not handled in the coroutine for good."""
    class Raises(asyncio.Protocol):
        def pause_writing(self):
            raise LookupError

    reports, seen, go_on = [], [], loop.create_future()

    async def main():
        a, b = socket.socketpair()
        with b:
            transport, _ = await loop.create_connection(Raises, sock=a)
            seen.append(sys.exc_info()[1])
            transport.set_write_buffer_limits(0)
            while not transport.get_write_buffer_size():
                transport.write(bytes(1 << 16))
            loop.stop()
            await go_on
            seen.append(sys.exc_info()[1])
            transport.abort()

    loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))
    task = loop.create_task(main())
    outer = KeyError()
    try:
        raise outer
    except KeyError:
        loop.run_forever()
    go_on.set_result(None)
    loop.run_until_complete(task)
    assert reports == ["protocol.pause_writing() failed"]
    assert seen == [outer, None]
