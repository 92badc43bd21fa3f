"""What is written after the end of a connection is dropped; from the fifth or so on each call is worth one warning, not each of its pieces."""
import asyncio
import logging
import os
import socket
import struct
import sys

import pytest

import certs
from sidebyside import KITS, same

LINES_FAIL = (3, 12) <= sys.version_info < (3, 14)  # asyncio's writelines() on a lost connection: AttributeError
PIECES = {"write": b"x", "lines": [b"x"] * 3, "one line": [b"x"], "empty": b"", "no lines": []}


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def tcp(loop):
    """A transport whose connection was reset, and which has noticed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=sock)
    reset(peer)
    while not transport.is_closing():
        await asyncio.sleep(0.001)
    await asyncio.sleep(0)
    return transport


async def aborted(loop):
    ours, peer = socket.socketpair()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    transport.abort()
    peer.close()
    return transport


async def closed(loop):
    transport = await aborted(loop)
    await asyncio.sleep(0.01)
    return transport


async def tls(loop):
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=certs.server_context())
    transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname(), ssl=certs.client_context(),
                                                server_hostname="localhost")
    server.close()
    transport.abort()
    await asyncio.sleep(0.05)
    return transport


async def pipe(loop):
    read, write = os.pipe()
    transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(write, "wb", 0))
    os.close(read)
    transport.write(b"x")
    await asyncio.sleep(0.01)
    return transport


async def closed_pipe(loop):
    read, write = os.pipe()
    transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(write, "wb", 0))
    transport.close()
    os.close(read)
    return transport


async def datagram(loop):
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("127.0.0.1", 9))
    transport.abort()
    transport.write = transport.sendto
    transport.writelines = lambda lines: transport.sendto(b"".join(lines))
    return transport


WAYS = [tcp, aborted, closed, tls, pipe, closed_pipe, datagram]


def warnings_of(kit, way, piece):
    """How many warnings there were after each of ten calls, and what they said."""
    said, counts = [], []

    class Keep(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    async def main():
        transport = await way(asyncio.get_running_loop())
        said.clear()
        for _ in range(10):
            (transport.write if isinstance(piece, bytes) else transport.writelines)(piece)
            counts.append(len(said))

    handler, logger = Keep(logging.WARNING), logging.getLogger("asyncio")
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    loop = kit.new_loop()
    try:
        loop.run_until_complete(main())
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
        loop.close()
    return counts, set(said)


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("way", WAYS)
def test_warnings(way, piece):
    """As many as asyncio's, and after the same calls."""
    got = warnings_of(KITS["asyncloop"], way, PIECES[piece])
    if LINES_FAIL and piece in ("lines", "one line") and way in (tcp, aborted, closed):
        assert got == warnings_of(KITS["asyncloop"], way, b"x")  # as Python 3.14 does it
    else:
        assert got == warnings_of(KITS["asyncio"], way, PIECES[piece])


@pytest.mark.parametrize("n_calls, n_lines", [(1, 1000), (2, 1000), (10, 3), (10, 1)])
def test_lines_that_find_out(n_calls, n_lines):
    """The connection was reset, which the first of these calls is the first to notice."""
    said = []

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = socket.socketpair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        transport.pause_reading()
        peer.close()
        for _ in range(n_calls):
            transport.writelines([b"x"] * n_lines)
            transport.get_write_buffer_size()  # it leaves now

    handler, logger = logging.Handler(logging.WARNING), logging.getLogger("asyncio")
    handler.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(handler)
    loop = KITS["asyncloop"].new_loop()
    try:
        loop.run_until_complete(main())
    finally:
        logger.removeHandler(handler)
        loop.close()
    assert len(said) == max(0, n_calls - 5)


@same
def test_lines_that_are_none_after_the_end(t):
    async def main():
        transport = await aborted(asyncio.get_running_loop())
        for lines in ([b"x", 5], [None], (), None, 5) if not LINES_FAIL else ([b"x", 5], (), None):
            t.attempt(transport.writelines, lines)
    t.run(main())
