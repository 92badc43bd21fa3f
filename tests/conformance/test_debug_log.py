"""What debug mode writes to asyncio's log about connections: the same lines, at the same levels and places, as on asyncio."""
import asyncio
import contextlib
import errno
import logging
import re
import socket
import struct

import certs
from kits import until
from sidebyside import blot, same
from tls_peers import Peer, Recorder, linked, of_side, socket_pair, soon


@contextlib.contextmanager
def debugging(t, show=lambda record: blot(record.getMessage())):
    """The loop is in debug mode, and each line of the log is said as show() gives it."""
    logger, loop = logging.getLogger("asyncio"), t.loop

    def note(record):
        t.say(record.levelname, show(record), type(record.exc_info[1]).__name__ if record.exc_info else "")
        return False

    loop.set_debug(True)
    loop.slow_callback_duration = 3600
    level = logger.level
    logger.addFilter(note)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeFilter(note)
        loop.set_debug(False)


async def connection(t):
    protocol = Recorder(t.say)
    a, b = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: protocol, sock=a)
    return transport, protocol, b


@same
def test_pausing_and_the_end_of_a_connection(t):
    async def main():
        transport, protocol, peer = await connection(t)
        for _ in range(2):
            transport.pause_reading()
        for _ in range(2):
            transport.resume_reading()
        peer.send(b"data")
        await until(lambda: protocol.data)
        peer.close()
        await until(lambda: protocol.lost)
        transport.pause_reading()
        transport.resume_reading()

    with debugging(t):
        t.run(main())


@same
def test_an_error_of_the_kernel_is_a_line_of_the_log(t):
    """No report: the other end is gone, which is nobody's mistake."""
    async def main():
        protocol = Recorder(t.say)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            a = socket.create_connection(listening.getsockname())
            b, _ = listening.accept()
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: protocol, sock=a)
        b.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        b.close()
        await until(lambda: protocol.lost)
        t.say(protocol.exc.errno == errno.ECONNRESET)

    t.record_contexts()
    with debugging(t, lambda record: re.sub(r"'127.0.0.1', \d+", "ADDRESS", blot(record.getMessage()))):
        t.run(main())


@same
def test_a_server_tells_of_a_connection(t):
    async def main():
        protocols = []
        server = await asyncio.get_running_loop().create_server(lambda: protocols.append(Recorder(t.say)) or protocols[-1], "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()):
            await until(lambda: protocols and protocols[0].transport)
        await until(lambda: protocols[0].lost)
        server.close()
        await server.wait_closed()

    with debugging(t, lambda record: record.msg):
        t.run(main())


def of_tls(record):
    """The object is asyncio's or ours, the time differs from run to run."""
    return record.msg, len(record.args)


@same
def test_a_tls_connection(t):
    async def main():
        for side in ("client", "server"):
            protocol = Recorder(t.say)
            transport, peer = await linked(side, protocol)
            async with peer:
                await peer.send(b"x")
                await until(lambda: protocol.data == b"x")
                await peer.send_raw(peer.close_notify())
                await until(lambda: protocol.lost)

    with debugging(t, of_tls):
        t.run(main())


@same
def test_tls_over_a_connection_that_ends(t):
    """The bare end of the connection below, without a word of TLS."""
    async def main():
        for side in ("client", "server"):
            protocol = Recorder(t.say)
            transport, peer = await linked(side, protocol)
            async with peer:
                peer.sock.shutdown(socket.SHUT_WR)
                await until(lambda: protocol.lost)

    with debugging(t, of_tls):
        t.run(main())


@same
def test_a_tls_handshake_that_fails(t):
    async def main():
        protocol = Recorder(t.say)
        a, b = socket_pair()
        async with Peer(b) as peer:
            making = asyncio.ensure_future(of_side("client", protocol, a, ours=certs.client_context()))
            await peer.receive_raw()
            peer.sock.close()
            try:
                await soon(making)
            except OSError as exc:
                t.say(isinstance(exc, ConnectionError))

    t.record_contexts()
    with debugging(t, of_tls):
        t.run(main())
