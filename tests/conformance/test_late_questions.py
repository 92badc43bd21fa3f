"""Transports that are asked, and told, something after their end: as on asyncio."""
import asyncio
import os
import socket

from kits import Recorder, until
from sidebyside import same
from tls_peers import linked


class Connection(Recorder, asyncio.Protocol):
    pass


async def accepted(t, family="tcp"):
    """The transport of a connection that a server accepted, after its end."""
    protocols = []
    loop = asyncio.get_running_loop()

    def factory():
        protocols.append(Connection())
        return protocols[-1]

    if family == "tcp":
        server = await loop.create_server(factory, "127.0.0.1", 0)
        peer = socket.create_connection(server.sockets[0].getsockname())
    else:
        server = await loop.create_unix_server(factory, "\0asyncloop-late-%d-%d" % (os.getpid(), id(t)))
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(server.sockets[0].getsockname())
    with peer:
        await until(lambda: protocols and protocols[0].transport)
    await until(lambda: protocols[0].lost)
    server.close()
    await server.wait_closed()
    return protocols[0].transport


@same
def test_the_socket_of_a_connection(t):
    async def main():
        for family in ("tcp", "unix"):
            transport = await accepted(t, family)
            sock = transport.get_extra_info("socket")
            t.say(type(sock).__name__, sock.fileno(), transport.get_extra_info("socket") is sock, transport.get_extra_info("nothing", "default"))
            for name in ("getsockname", "getpeername", "detach", "gettimeout"):
                method = getattr(sock, name, None)
                t.say(name, method is None)
                if method is not None and name.startswith("get"):
                    try:
                        t.say(method())
                    except OSError as exc:
                        t.say(type(exc).__name__, exc.errno)

    t.run(main())


@same
def test_calls_of_a_connection(t):
    async def main():
        transport = await accepted(t)
        for name in ("is_closing", "is_reading", "get_protocol", "get_write_buffer_size", "get_write_buffer_limits", "can_write_eof", "pause_reading",
                     "resume_reading", "close", "abort"):
            try:
                t.say(name, getattr(transport, name)())
            except Exception as exc:
                t.say(name, exc)
        await asyncio.sleep(0)
        t.say(transport.is_closing(), repr(transport))

    t.run(main())


@same
def test_calls_of_a_tls_connection(t):
    async def main():
        protocol = Connection()
        transport, peer = await linked("client", protocol)
        async with peer:
            transport.abort()
            await until(lambda: protocol.lost)
            for name in ("is_closing", "is_reading", "get_write_buffer_size", "get_write_buffer_limits", "get_read_buffer_limits", "can_write_eof",
                         "pause_reading", "resume_reading", "close", "abort"):
                try:
                    t.say(name, getattr(transport, name)())
                except Exception as exc:
                    t.say(name, exc)
            t.say(transport.write(b""))
            await asyncio.sleep(0)

    t.run(main())


@same
def test_calls_of_pipes(t):
    async def main():
        loop = asyncio.get_running_loop()
        r, w = os.pipe()
        reader, writer = Connection(), Connection()
        reading, _ = await loop.connect_read_pipe(lambda: reader, open(r, "rb", 0))
        writing, _ = await loop.connect_write_pipe(lambda: writer, open(w, "wb", 0))
        writing.close()
        await until(lambda: reader.lost and writer.lost)
        for transport in (reading, writing):
            for name in ("is_closing", "get_protocol", "get_write_buffer_size", "get_write_buffer_limits", "can_write_eof", "pause_reading",
                         "resume_reading", "is_reading", "close"):
                method = getattr(transport, name, None)
                if method is None:
                    t.say("has no", name)
                    continue
                try:
                    t.say(name, method())
                except Exception as exc:
                    t.say(name, exc)
            t.say(transport.get_extra_info("pipe").closed, repr(transport))
        await asyncio.sleep(0)

    t.run(main())
