"""What fails while connecting, binding, sending a file or starting TLS leaves no cycle: the caller's variables die with its frame.

asyncio keeps them in places (happy eyeballs up to Python 3.13, a busy UDP port); here nothing is kept.
"""
import asyncio
import gc
import io
import socket
import weakref

import pytest

import certs
from sidebyside import OURS


class Big:
    """Stands for what is dear in a caller's frame."""


class Names:
    """A loop.getaddrinfo that knows one name, with these addresses."""

    def __init__(self, *addresses):
        self.infos = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    async def __call__(self, *args, **kwargs):
        return self.infos


def dead_address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()


async def connect(loop, *address, **kw):
    transport, _ = await loop.create_connection(asyncio.Protocol, *address, **kw)
    transport.abort()


async def refused(loop, busy):
    await connect(loop, *dead_address())


async def refused_all_errors(loop, busy):
    try:
        await connect(loop, *dead_address(), all_errors=True)
    except ExceptionGroup:
        raise OSError from None


async def refused_twice(loop, busy):
    loop.getaddrinfo = Names(dead_address(), dead_address())
    await connect(loop, "name", 1)


async def refused_happily(loop, busy):
    loop.getaddrinfo = Names(dead_address(), dead_address())
    await connect(loop, "name", 1, happy_eyeballs_delay=0.001)


async def second_works(loop, busy):
    loop.getaddrinfo = Names(dead_address(), busy)
    await connect(loop, "name", 1)


async def second_works_happily(loop, busy):
    loop.getaddrinfo = Names(dead_address(), busy)
    await connect(loop, "name", 1, happy_eyeballs_delay=0.001)


async def local_busy(loop, busy):
    await connect(loop, *busy, local_addr=busy)


async def local_family(loop, busy):
    await connect(loop, *busy, local_addr=("::1", 0))


async def no_protocol(loop, busy):
    def factory():
        raise OSError("no protocol")
    await loop.create_connection(factory, *busy)


async def no_name(loop, busy):
    loop.getaddrinfo = Names()
    await connect(loop, "name", 1)


async def sock_connect(loop, busy):
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, dead_address())


async def cancelled(loop, busy):
    with socket.create_server(("127.0.0.1", 0)) as server:
        task = loop.create_task(connect(loop, *server.getsockname(), ssl=certs.client_context(), server_hostname="localhost"))
        await asyncio.sleep(0.001)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass


class Plain(asyncio.Protocol):
    def connection_made(self, transport):
        transport.write(b"this is no TLS\r\n\r\n")
        transport.close()


async def no_tls(loop, busy):
    server = await loop.create_server(Plain, "127.0.0.1", 0)
    try:
        await connect(loop, *server.sockets[0].getsockname(), ssl=certs.client_context(), server_hostname="localhost")
    finally:
        server.close()


async def no_start_tls(loop, busy):
    server = await loop.create_server(Plain, "127.0.0.1", 0)
    transport, protocol = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
    try:
        await loop.start_tls(transport, protocol, certs.client_context(), server_hostname="localhost")
    finally:
        server.close()


async def bind_busy(loop, busy):
    await loop.create_server(asyncio.Protocol, *busy)


async def bind_elsewhere(loop, busy):
    await loop.create_server(asyncio.Protocol, "192.0.2.1", 0)


async def unix_server(loop, busy):
    await loop.create_unix_server(asyncio.Protocol, "/no/such/folder/socket")


async def unix_connect(loop, busy):
    await loop.create_unix_connection(asyncio.Protocol, "/no/such/folder/socket")


async def datagram_busy(loop, busy):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=sock.getsockname())


async def datagram_two(loop, busy):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        loop.getaddrinfo = Names(sock.getsockname(), sock.getsockname())
        await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("name", 1))


async def datagram_unix(loop, busy):
    await loop.create_datagram_endpoint(asyncio.DatagramProtocol, "/no/such/folder/socket", family=socket.AF_UNIX)


async def sock_sendfile(loop, busy):
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_sendfile(sock, io.BytesIO(b"x"))


async def transport_sendfile(loop, busy):
    ours, peer = socket.socketpair()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    transport.pause_reading()
    peer.close()
    try:
        await loop.sendfile(transport, io.BytesIO(b"x" * 10_000_000))
    finally:
        transport.abort()


async def transport_sendfile_waits(loop, busy):
    ours, peer = socket.socketpair()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    loop.call_later(0.005, peer.close)  # it waits for room then
    try:
        await loop.sendfile(transport, io.BytesIO(b"x" * 10_000_000))
    finally:
        transport.abort()


async def transport_sendfile_is_cancelled(loop, busy):
    """The connection is lost between the cancellation of the wait for room and its end."""
    ours, peer = socket.socketpair()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    sending = loop.create_task(loop.sendfile(transport, io.BytesIO(b"x" * 10_000_000)))
    with peer:
        while not transport.get_write_buffer_size():
            await asyncio.sleep(0.001)
        transport.abort()
        sending.cancel()
        try:
            await sending
        except asyncio.CancelledError:
            pass


async def child(loop, busy):
    await asyncio.create_subprocess_exec("/no/such/program")


async def pipes(loop, busy):
    with open(__file__, "rb") as file:
        try:
            await loop.connect_read_pipe(asyncio.Protocol, file)
        except ValueError:
            raise OSError from None


FAILURES = [refused, refused_all_errors, refused_twice, refused_happily, second_works, second_works_happily, local_busy, local_family, no_protocol, no_name,
            sock_connect, cancelled, no_tls, no_start_tls, bind_busy, bind_elsewhere, unix_server, unix_connect, datagram_busy, datagram_two, datagram_unix,
            sock_sendfile, transport_sendfile, transport_sendfile_waits, transport_sendfile_is_cancelled, child, pipes]


async def caller(loop, failure, busy, kept):
    big = Big()
    kept.append(weakref.ref(big))
    try:
        await failure(loop, busy)
    except OSError:
        pass
    finally:
        loop.__dict__.pop("getaddrinfo", None)
    return big is None


@pytest.mark.parametrize("failure", FAILURES)
def test_no_cycle(failure):
    kept = []

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as server:
            for n in range(3):
                await caller(loop, failure, server.getsockname(), kept)
            await asyncio.sleep(0.02)

    loop = OURS.new_loop()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    gc.collect()
    gc.disable()
    try:
        loop.run_until_complete(main())
        assert not reports
        assert len(kept) == 3 and not [ref for ref in kept if ref() is not None]
    finally:
        gc.enable()
        loop.close()
        gc.collect()
