"""Unix stream sockets: create_unix_connection, create_unix_server, and asyncio's streams on them."""
import asyncio
import contextlib
import logging
import os
import pathlib
import socket
import ssl
import stat
import sys
import tempfile

import pytest

from kits import until
from sidebyside import same
from test_tcp import Recorder

HAS_CLEANUP = sys.version_info >= (3, 13)


def in_folder(scenario):
    """A scenario of (trial, folder): a new folder, not shown in what it says or logs.

    asyncio leaves some failed sockets to the garbage collector, with a ResourceWarning; we close them.
    """
    def run(t):
        t.keep_warnings = False
        with tempfile.TemporaryDirectory() as folder, hidden_in_log(folder):
            say = t.say
            t.say = lambda *what: say(*(str(each).replace(folder, "FOLDER") if isinstance(each, (str, Exception)) else each for each in what))
            t.attempt_async = lambda coro: attempt(t, coro)
            t.run(scenario(t, folder))
    run.__name__, run.__doc__, run.__module__, run.__code__ = scenario.__name__, scenario.__doc__, scenario.__module__, run.__code__
    return same(run)


@contextlib.contextmanager
def hidden_in_log(folder):
    def hide(record):
        record.args = tuple(str(each).replace(folder, "FOLDER") for each in record.args or ())
        record.msg = record.msg.replace("%r", "%s")
        return True
    logger = logging.getLogger("asyncio")
    logger.addFilter(hide)
    try:
        yield
    finally:
        logger.removeFilter(hide)


async def attempt(t, coro):
    try:
        result = await coro
    except Exception as exc:
        t.say(type(exc).__name__, getattr(exc, "errno", None), str(exc))
        return None
    return result


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "socket")


# --- the common way

@in_folder
async def test_connection_and_its_facts(t, folder):
    loop = asyncio.get_running_loop()
    path = folder + "/s"
    inside = []

    def factory():
        inside.append(Recorder(t.say))
        return inside[-1]
    server = await loop.create_unix_server(factory, path)
    t.say(server.is_serving(), str(server.sockets[0].getsockname()), server.sockets[0].family.name, stat.S_ISSOCK(os.stat(path).st_mode))
    transport, protocol = await loop.create_unix_connection(lambda: Recorder(t.say, keep_open=True), path)
    t.say(isinstance(transport, asyncio.Transport), str(transport.get_extra_info("peername")), str(transport.get_extra_info("sockname")))
    await until(lambda: inside and inside[0].transport)
    t.say(str(inside[0].transport.get_extra_info("sockname")), str(inside[0].transport.get_extra_info("peername")))
    transport.write(b"ping")
    await until(lambda: inside[0].data == b"ping")
    inside[0].transport.write(b"pong")
    transport.write_eof()
    await until(lambda: protocol.lost or protocol.eof)
    t.say(protocol.data)
    transport.close()
    await until(lambda: protocol.lost and inside[0].lost)
    server.close()
    await server.wait_closed()
    t.say(os.path.exists(path))


@in_folder
async def test_path_object_and_bytes(t, folder):
    loop = asyncio.get_running_loop()
    for path in (pathlib.Path(folder) / "p", os.fsencode(folder) + b"/b"):
        accepted = Recorder()
        server = await loop.create_unix_server(lambda: accepted, path)
        transport, _ = await loop.create_unix_connection(asyncio.Protocol, path)
        t.say(str(transport.get_extra_info("peername")))
        transport.close()
        await until(lambda: accepted.lost)
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("as_bytes", [False, True])
def test_abstract_name(kit, loop, as_bytes):
    name = f"\0asyncloop-test-{os.getpid()}-{kit.name}"
    address = name.encode() if as_bytes else name

    async def main():
        server = await asyncio.start_unix_server(echo, address)
        assert server.sockets[0].getsockname() == name.encode()
        reader, writer = await asyncio.open_unix_connection(address)
        writer.write(b"x" * 300_000)
        writer.write_eof()
        assert len(await reader.read()) == 300_000
        assert writer.get_extra_info("peername") == name.encode()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_unix_connection(address)
    loop.run_until_complete(main())


def test_streams(loop, path):
    async def one(n):
        reader, writer = await asyncio.open_unix_connection(path)
        for i in range(20):
            writer.write(b"%d %d\n" % (n, i))
            assert await reader.readline() == b"%d %d\n" % (n, i)
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await asyncio.start_unix_server(echo, path)
        async with server:
            await asyncio.gather(*map(one, range(30)))
        assert not server.is_serving()
    loop.run_until_complete(main())


def test_peer_credentials(loop, path):
    """get_extra_info('socket') tells who is at the other end."""
    import struct
    seen = []

    async def serve(reader, writer):
        raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        seen.append(struct.unpack("3i", raw))
        writer.close()

    async def main():
        async with await asyncio.start_unix_server(serve, path):
            reader, writer = await asyncio.open_unix_connection(path)
            assert await reader.read() == b""
            writer.close()
    loop.run_until_complete(main())
    assert seen == [(os.getpid(), os.getuid(), os.getgid())]


def test_socketpair(loop):
    async def main():
        a, b = socket.socketpair()
        reader_a, writer_a = await asyncio.open_unix_connection(sock=a)
        reader_b, writer_b = await asyncio.open_unix_connection(sock=b)
        writer_a.write(b"over")
        assert await reader_b.readexactly(4) == b"over"
        writer_b.close()
        assert await reader_a.read() == b""
        writer_a.close()
        await writer_a.wait_closed()
    loop.run_until_complete(main())


# --- stale sockets and what close() leaves

@in_folder
async def test_stale_socket_is_replaced(t, folder):
    loop = asyncio.get_running_loop()
    path = folder + "/s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    server = await loop.create_unix_server(asyncio.Protocol, path)
    t.say(server.is_serving())
    server.close()
    await server.wait_closed()


@in_folder
async def test_other_files_are_kept(t, folder):
    loop = asyncio.get_running_loop()
    path = folder + "/s"
    open(path, "w").close()
    await t.attempt_async(loop.create_unix_server(asyncio.Protocol, path))
    t.say(os.path.isfile(path))
    await t.attempt_async(loop.create_unix_server(asyncio.Protocol, folder + "/no/s"))
    await t.attempt_async(loop.create_unix_server(asyncio.Protocol, folder + "/" + "x" * 200))
    await t.attempt_async(loop.create_unix_server(asyncio.Protocol, ""))
    await t.attempt_async(loop.create_unix_connection(asyncio.Protocol, folder + "/nobody"))
    await t.attempt_async(loop.create_unix_connection(asyncio.Protocol, path))


@in_folder
async def test_path_that_cannot_be_looked_at(t, folder):
    """A log entry, and bind() has the last word."""
    loop = asyncio.get_running_loop()
    open(folder + "/file", "w").close()
    await t.attempt_async(loop.create_unix_server(asyncio.Protocol, folder + "/file/s"))


if HAS_CLEANUP:
    @in_folder
    async def test_cleanup_socket(t, folder):
        loop = asyncio.get_running_loop()
        path = folder + "/s"
        for how in ("default", "off", "replaced", "gone", "twice"):
            kw = {"cleanup_socket": False} if how == "off" else {}
            server = await loop.create_unix_server(asyncio.Protocol, path, **kw)
            if how == "replaced":
                os.unlink(path)
                open(path + "2", "w").close()
                other = socket.socket(socket.AF_UNIX)
                other.bind(path)
                other.close()
            elif how == "gone":
                os.unlink(path)
            server.close()
            await server.wait_closed()
            server.close()
            t.say(how, os.path.exists(path))

    @in_folder
    async def test_cleanup_of_given_socket(t, folder):
        loop = asyncio.get_running_loop()
        for kw in ({}, {"cleanup_socket": False}, {"cleanup_socket": True}):
            path = folder + "/s"
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(path)
            server = await loop.create_unix_server(asyncio.Protocol, sock=sock, **kw)
            server.close()
            t.say(os.path.exists(path), sock.fileno())
            if os.path.exists(path):
                os.unlink(path)
        name = f"\0asyncloop-cleanup-{os.getpid()}"
        server = await loop.create_unix_server(asyncio.Protocol, name)
        server.close()
        await t.attempt_async(loop.create_unix_server(asyncio.Protocol, folder + "/x", backlog="many"))
        await t.attempt_async(loop.create_unix_server(asyncio.Protocol, sock=socket.socketpair()[0]))
else:
    def test_no_cleanup_before_3_13(kit, loop, path):
        async def main():
            server = await loop.create_unix_server(asyncio.Protocol, path)
            server.close()
            await server.wait_closed()
            assert os.path.exists(path)
            with pytest.raises(TypeError, match="cleanup_socket"):
                await loop.create_unix_server(asyncio.Protocol, path, cleanup_socket=True)
        loop.run_until_complete(main())


# --- arguments

@in_folder
async def test_connection_arguments(t, folder):
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context()
    path = folder + "/s"
    tcp, unix, datagram = socket.socket(), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with tcp, unix, datagram:
        for kw in ({}, {"path": path, "sock": unix}, {"path": path, "server_hostname": "x"}, {"path": path, "ssl": True},
                   {"path": path, "ssl": context}, {"path": path, "ssl_handshake_timeout": 1}, {"path": path, "ssl_shutdown_timeout": 1},
                   {"path": path, "ssl": True, "server_hostname": 1}, {"path": 1.5}, {"path": "a\0b"}):
            await t.attempt_async(loop.create_unix_connection(asyncio.Protocol, **kw))
        for sock in (tcp, datagram):
            try:
                await loop.create_unix_connection(asyncio.Protocol, sock=sock)
            except ValueError as exc:
                t.say(str(exc).split("<")[0])


@in_folder
async def test_server_arguments(t, folder):
    loop = asyncio.get_running_loop()
    path = folder + "/s"
    tcp, unix, datagram = socket.socket(), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with tcp, unix, datagram:
        for kw in ({}, {"path": path, "sock": unix}, {"path": path, "ssl": True}, {"path": path, "ssl": False},
                   {"path": path, "ssl_handshake_timeout": 1}, {"path": path, "ssl_shutdown_timeout": 1}, {"path": 1.5}, {"path": "a\0b"}):
            await t.attempt_async(loop.create_unix_server(asyncio.Protocol, **kw))
        for sock in (tcp, datagram):
            try:
                await loop.create_unix_server(asyncio.Protocol, sock=sock)
            except ValueError as exc:
                t.say(str(exc).split("<")[0])


@in_folder
async def test_start_serving_later(t, folder):
    loop = asyncio.get_running_loop()
    path = folder + "/s"
    accepted = Recorder()
    server = await loop.create_unix_server(lambda: accepted, path, start_serving=False)
    t.say(server.is_serving())
    await t.attempt_async(loop.create_unix_connection(asyncio.Protocol, path))
    await server.start_serving()
    transport, _ = await loop.create_unix_connection(asyncio.Protocol, path)
    transport.close()
    await until(lambda: accepted.lost)
    server.close()
    await server.wait_closed()


def test_failing_factory_leaves_no_socket(loop, path):
    def factory():
        raise ZeroDivisionError

    async def main():
        server = await loop.create_unix_server(asyncio.Protocol, path)
        a, b = socket.socketpair()
        with a, b:
            with pytest.raises(ZeroDivisionError):
                await loop.create_unix_connection(factory, sock=a)
        server.close()
        await server.wait_closed()
    loop.run_until_complete(main())


def test_cancelled_connect_leaves_no_socket(loop, path):
    """More connections than the backlog takes: the last ones wait, and are cancelled."""
    async def main():
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path)
        listening.listen(0)
        with listening:
            tasks = [asyncio.ensure_future(loop.create_unix_connection(asyncio.Protocol, path)) for _ in range(4)]
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, tuple):
                    result[0].close()
            await asyncio.sleep(0.01)
    loop.run_until_complete(main())


# --- TLS

@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    import subprocess
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key", "-out", folder / "cert"],
                   check=True, capture_output=True)
    return folder / "cert", folder / "key"


def test_tls(loop, path, certificate):
    cert, key = certificate
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(cert, key)
    client_side = ssl.create_default_context(cafile=cert)

    async def main():
        server = await asyncio.start_unix_server(echo, path, ssl=server_side, ssl_handshake_timeout=10)
        reader, writer = await asyncio.open_unix_connection(path, ssl=client_side, server_hostname="localhost")
        writer.write(b"secret\n")
        assert await reader.readline() == b"secret\n"
        assert isinstance(writer.get_extra_info("ssl_object"), ssl.SSLObject)
        writer.close()
        await writer.wait_closed()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_unix_connection(path, ssl=client_side, server_hostname="elsewhere")
        server.close()
        await asyncio.wait_for(server.wait_closed(), 10)
    loop.set_exception_handler(lambda loop, context: None)
    loop.run_until_complete(main())
