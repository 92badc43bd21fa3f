"""Exceptions in the methods of a TLS connection's protocol, and what is reported of a connection's own errors."""
import asyncio
import logging
import ssl

import pytest

import certs
from sidebyside import same
from tls_peers import Buffered, Peer, Recorder, fact, linked, of_side, socket_pair, soon, until

METHODS = ["connection_made", "data_received", "eof_received", "connection_lost"]


def failing(base, method, exc):
    """A protocol class whose method raises."""
    class Failing(base):
        pass

    def fail(self, *args):
        getattr(base, method)(self, *args)
        raise exc
    setattr(Failing, method, fail)
    return Failing


def told(t):
    """Says message, exception and keys of what is reported; the objects are asyncio's or ours."""
    def handler(loop, context):
        t.say("reported", context["message"], fact(context.get("exception")), sorted(set(context) - {"source_traceback"}))
    t.loop.set_exception_handler(handler)


async def provoke(method, transport, protocol, peer):
    if method == "data_received":
        await peer.send(b"x")
    elif method == "eof_received":
        await peer.send_raw(peer.close_notify())
    elif method == "connection_lost":
        transport.abort()


def scenario(side, method, exc, base=Recorder):
    async def main(t):
        protocol = failing(base, method, exc)(t.say)
        transport, peer = await linked(side, protocol)
        async with peer:
            await provoke(method, transport, protocol, peer)
            await until(lambda: protocol.lost)
            for _ in range(5):
                await asyncio.sleep(0)
    return main


@same
def test_exceptions_of_a_client_protocol(t):
    told(t)
    for method in METHODS[1:]:
        t.run(scenario("client", method, ValueError("on purpose"))(t))


@same
def test_exceptions_of_a_server_protocol(t):
    told(t)
    for method in METHODS[1:]:
        t.run(scenario("server", method, ValueError("on purpose"))(t))


@same
def test_os_errors_of_a_protocol(t):
    told(t)
    for side in ("client", "server"):
        for method in METHODS[1:]:
            t.run(scenario(side, method, ConnectionAbortedError("on purpose"))(t))


@same
def test_connection_made_raises(t):
    """The connection ends; who connects hears the exception or that it is lost, as on asyncio."""
    told(t)

    async def main(side):
        a, b = socket_pair()
        protocol = failing(Recorder, "connection_made", ValueError("on purpose"))(t.say)
        theirs = certs.server_context() if side == "client" else certs.client_context()
        async with Peer(b, theirs, side == "client") as peer:
            making = asyncio.ensure_future(of_side(side, protocol, a))
            try:
                await peer.handshake()
            except (ssl.SSLError, ConnectionError):
                pass
            try:
                await soon(making)
                t.say("made")
            except Exception as exc:
                t.say(fact(exc))
            protocol.transport.abort()
            await until(lambda: protocol.lost)
    for side in ("client", "server"):
        t.run(main(side))


def end(loop, task):
    while not task.done():
        task.cancel()  # again: wait_for of 3.11 loses a cancellation that comes together with its result
        loop.call_soon(loop.stop)
        loop.run_forever()


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("method", METHODS[1:])
def test_exits_leave_the_loop(kit, loop, side, method, raised):
    """run_forever raises them; nothing is reported; the loop goes on when it is run again."""
    async def main():
        nonlocal protocol, peer
        protocol = failing(Recorder, method, raised("on purpose"))()
        transport, peer = await linked(side, protocol)
        await provoke(method, transport, protocol, peer)
        await asyncio.sleep(3600)
    protocol = peer = None
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    task = loop.create_task(main())
    with pytest.raises(raised, match="on purpose"):
        loop.run_until_complete(task)
    end(loop, task)

    async def finish():
        protocol.transport.abort()
        await until(lambda: protocol.lost)
        peer.sock.close()
    loop.run_until_complete(finish())
    assert not [context for context in reports if isinstance(context.get("exception"), raised)]


@pytest.mark.parametrize("method", ["get_buffer", "buffer_updated"])
def test_exits_of_a_buffered_protocol_leave_the_loop(kit, loop, side, method):
    async def main():
        nonlocal protocol, peer
        protocol = Buffered()
        _, peer = await linked(side, protocol)

        def fail(*args):
            raise KeyboardInterrupt("on purpose")
        protocol.__class__ = type("Failing", (Buffered,), {method: fail})
        protocol.transport.set_protocol(protocol)
        await peer.send(b"x")
        await asyncio.sleep(3600)
    protocol = peer = None
    task = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    end(loop, task)

    async def finish():
        protocol.transport.abort()
        await until(lambda: protocol.lost)
        peer.sock.close()
    loop.run_until_complete(finish())


@same
def test_a_failing_factory(t):
    """Of a server: reported, the connection closed, the next one served.  Of a client: raised."""
    told(t)

    async def main():
        loop = asyncio.get_running_loop()
        calls = []

        def factory():
            calls.append(1)
            if len(calls) == 1:
                raise ValueError("on purpose")
            return Recorder()
        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=certs.server_context())
        address = server.sockets[0].getsockname()
        for _ in range(2):
            try:
                transport, protocol = await soon(loop.create_connection(Recorder, *address, ssl=certs.client_context(), server_hostname="localhost"))
            except (ssl.SSLError, ConnectionError):
                t.say("not connected")
                continue
            transport.close()
            await until(lambda: protocol.lost)
            t.say("connected")
        server.close()
        await soon(server.wait_closed())

        def fail():
            raise ValueError("on purpose")
        a, b = socket_pair()
        with a, b:
            try:
                await loop.create_connection(fail, sock=a, ssl=certs.client_context(), server_hostname="localhost")
            except ValueError as exc:
                t.say(fact(exc))
    t.keep_warnings = False
    t.run(main())


@same
def test_reports_of_a_server_in_debug_mode(t):
    """Handshakes that fail at a listening server are reported in debug mode only."""
    async def main(debug, data):
        loop = asyncio.get_running_loop()
        loop.set_debug(debug)
        loop.slow_callback_duration = 100
        server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=certs.server_context())
        transport, protocol = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
        transport.write(data)
        await until(lambda: protocol.lost)
        loop.set_debug(False)
        server.close()
        await soon(server.wait_closed())
    logging.getLogger("asyncio").addFilter(quiet := lambda record: record.levelno >= logging.WARNING)
    told(t)
    try:
        for debug in (False, True):
            for data in (b"GET / HTTP/1.1\r\n\r\n",):
                t.run(main(debug, data))
    finally:
        logging.getLogger("asyncio").removeFilter(quiet)


@same
def test_data_in_the_middle_of_an_exception(t):
    """data_received raises while more records wait: the connection ends and the rest is dropped."""
    told(t)

    async def main(side):
        class Failing(Recorder):
            def data_received(self, data):
                super().data_received(data)
                raise ValueError("on purpose")
        protocol = Failing(t.say)
        _, peer = await linked(side, protocol)
        async with peer:
            await peer.send(b"first")
            await until(lambda: protocol.lost)
            t.say(bytes(protocol.data))
            try:
                await peer.send(b"second")
            except ConnectionError:
                pass
            await asyncio.sleep(0.01)
            t.say(bytes(protocol.data))
    for side in ("client", "server"):
        t.run(main(side))
