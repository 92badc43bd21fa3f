"""What repr() says of objects that asyncio does not have, or has in another form: they turn up in reports and in debuggers."""
import asyncio
import re

import pytest

from sidebyside import OURS
from tls_peers import Recorder, linked, run_quiet, until


@pytest.fixture
def own_loop():
    loop = OURS.new_loop()
    yield loop
    loop.close()


def test_operations_of_sockets(own_loop, pair):
    a, b = pair
    for name, args in (("recv", (1,)), ("recv_into", (bytearray(1),)), ("recvfrom", (1,)), ("sendall", (b"x",)), ("sendto", (b"x", b.getsockname())),
                       ("accept", ())):
        operation = getattr(own_loop, "sock_" + name)(a, *args)
        assert re.fullmatch(rf"<coroutine object Loop\.sock_{name} at 0x[0-9a-f]+>", repr(operation))
        operation.close()


def test_the_protocol_of_a_tls_connection(own_loop):
    async def main():
        for side in ("client", "server"):
            protocol = Recorder()
            transport, peer = await linked(side, protocol)
            async with peer:
                below = transport._ssl_protocol
                assert re.fullmatch(rf"<TLSProtocol {side} wrapped at 0x[0-9a-f]+>", repr(below))
                transport.abort()
                await until(lambda: protocol.lost)
                assert re.fullmatch(rf"<TLSProtocol {side} unwrapped at 0x[0-9a-f]+>", repr(below))

    run_quiet(own_loop, main())


def test_what_listens_for_a_server(own_loop):
    async def main():
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
        listener, fd = server._listeners[0], server.sockets[0].fileno()
        assert repr(listener) == f"<Listener fd={fd}>"
        server.close()
        await server.wait_closed()
        assert repr(listener).endswith(" stopped>")

    own_loop.run_until_complete(main())
