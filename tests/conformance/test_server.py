"""create_server, Server, create_connection, connect_accepted_socket, sendfile, start_tls: arguments, errors, the life of a server."""
import asyncio
import errno
import gc
import os
import resource
import socket
import ssl
import subprocess
import sys

import pytest

from kits import until
from sidebyside import OURS, same
from test_tcp import Recorder, closed, connected, in_thread, receive_all, receive_n, tcp_pair


def on(kit, main):
    loop = kit.new_loop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def serve(factory, **kw):
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0, **kw)
    return server, server.sockets[0].getsockname()


def hide_ports(text, *ports):
    for port in ports:
        text = str(text).replace(str(port), "PORT")
    return text


# --- life of a server

@same
def test_life(t):
    async def main():
        server, address = await serve(Recorder, start_serving=False)
        t.say(server.is_serving(), len(server.sockets), type(server.sockets).__name__, server.get_loop() is asyncio.get_running_loop())
        t.say(type(server.sockets[0]).__name__, isinstance(server, asyncio.AbstractServer))
        await server.start_serving()
        await server.start_serving()
        t.say(server.is_serving())
        server.close()
        t.say(server.is_serving(), server.sockets)
        server.close()
        await server.wait_closed()
        await server.wait_closed()
        try:
            await server.serve_forever()
        except RuntimeError as exc:
            t.say(exc)
    t.run(main())


@same
def test_async_with(t):
    async def main():
        server, address = await serve(Recorder)
        async with server as inner:
            t.say(inner is server, server.is_serving())
        t.say(server.is_serving(), server.sockets)
    t.run(main())


@same
def test_starting_what_is_closed(t):
    async def main():
        for starts in (True, False):
            server, address = await serve(Recorder, start_serving=starts)
            server.close()
            for start in (server.start_serving, server.start_serving, server.serve_forever):
                try:
                    t.say(await start())
                except (TypeError, RuntimeError) as exc:
                    t.say(type(exc), exc, server.is_serving())
    t.run(main())


@same
def test_serve_forever(t):
    async def main():
        server, address = await serve(Recorder, start_serving=False)
        serving = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(0.01)
        t.say(server.is_serving())
        try:
            await server.serve_forever()
        except RuntimeError as exc:
            t.say(str(exc).startswith("server <Server sockets="), str(exc).endswith("is already being awaited on serve_forever()"))
        serving.cancel()
        try:
            await serving
        except asyncio.CancelledError:
            t.say("cancelled", server.is_serving(), server.sockets)
    t.run(main())


@same
def test_serve_forever_ends_after_close(t):
    async def main():
        server, address = await serve(Recorder)
        serving = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(0.01)
        server.close()
        try:
            await asyncio.wait_for(serving, 30)
        except asyncio.CancelledError:
            t.say("cancelled")
    t.run(main())


@same
def test_wait_closed_and_live_clients(t):
    async def main():
        protocols = []
        server, address = await serve(lambda: protocols.append(Recorder()) or protocols[-1])
        with socket.create_connection(address):
            await until(lambda: protocols and protocols[0].transport)
            waiting = asyncio.ensure_future(server.wait_closed())
            await asyncio.sleep(0.01)
            t.say(waiting.done())
            server.close()
            await asyncio.sleep(0.01)
            t.say(waiting.done())
            after = asyncio.ensure_future(server.wait_closed())
            await asyncio.sleep(0.01)
            t.say(after.done())
        await until(lambda: protocols[0].lost)
        await waiting
        await after
    t.run(main())


def test_close_and_abort_clients():
    async def main():
        for end in ("close_clients", "abort_clients"):
            protocols = []
            server, address = await serve(lambda: protocols.append(Recorder()) or protocols[-1])
            peers = [socket.create_connection(address) for _ in range(5)]
            await until(lambda: len(protocols) == 5 and all(p.transport for p in protocols))
            assert server._active_count == 5
            server.close()
            getattr(server, end)()
            await asyncio.wait_for(server.wait_closed(), 30)
            assert all(p.lost for p in protocols) or sys.version_info < (3, 12)
            await until(lambda: all(p.lost for p in protocols))
            assert server._active_count == 0
            for peer in peers:
                assert peer.recv(1) == b""
                peer.close()
    on(OURS, main)


@same
def test_many_connections_at_once(t):
    async def main():
        protocols = []
        server, address = await serve(lambda: protocols.append(Recorder(keep_open=False)) or protocols[-1])
        peers = [socket.create_connection(address) for _ in range(60)]
        await until(lambda: len(protocols) == 60)
        for i, peer in enumerate(peers):
            peer.sendall(b"%d" % i)
        await until(lambda: all(p.data for p in protocols))
        t.say(sorted(int(p.data) for p in protocols) == list(range(60)))
        for peer in peers:
            peer.close()
        await until(lambda: all(p.lost for p in protocols))
        server.close()
        await server.wait_closed()
    t.run(main())


# --- accepting fails

@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # asyncio forgets the socket
def test_factory_errors(kit, debug):
    reports = []

    async def main():
        calls = []

        def factory():
            calls.append(1)
            raise ZeroDivisionError("factory")

        loop = asyncio.get_running_loop()
        loop.set_debug(debug)
        loop.slow_callback_duration = 100
        loop.set_exception_handler(lambda loop, context: reports.append((sorted(context), context["message"], repr(context["exception"]))))
        server, address = await serve(factory)
        with socket.create_connection(address) as peer:
            peer.settimeout(10)
            await until(lambda: calls)
            await asyncio.sleep(0.01)
            if kit is OURS:
                assert peer.recv(1) == b""
        assert len(calls) == 1
        server.close()
        await server.wait_closed()

    on(kit, main)
    gc.collect()
    message = "Error on transport creation for incoming connection"
    assert reports == ([(["exception", "message"], message, "ZeroDivisionError('factory')")] if debug else [])


def test_accepting_goes_on_after_emfile(kit):
    contexts = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: contexts.append(context))
        protocols = []
        server, address = await serve(lambda: protocols.append(Recorder()) or protocols[-1], backlog=1)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        peer = socket.create_connection(address)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
        try:
            await until(lambda: contexts, "the report")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert not protocols
        context = contexts[0]
        assert context["message"] == "socket.accept() out of system resource"
        assert context["exception"].errno == errno.EMFILE
        assert isinstance(context["socket"], asyncio.trsock.TransportSocket)
        await until(lambda: protocols, "the connection")
        peer.close()
        await until(lambda: protocols[0].lost)
        server.close()
        await server.wait_closed()
    on(kit, main)


@same
def test_a_handler_that_makes_room_is_used_at_once(t):
    """asyncio goes on accepting when a descriptor was missing: one report for each try, and what the handler closes serves the next one."""
    spare = []

    def on_report(loop, context):
        t.say(context["message"], sorted(context))
        if spare:
            os.close(spare.pop())

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(on_report)
        protocols = []
        server, address = await serve(lambda: protocols.append(Recorder()) or protocols[-1], backlog=5)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        peer = socket.create_connection(address)
        spare.append(os.dup(0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare[0] + 1, limits[1]))
        try:
            for _ in range(6):
                await asyncio.sleep(0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        t.say(len(protocols))
        server.close()
        peer.close()
        await until(lambda: protocols[0].lost)
    t.run(main())


@same
def test_each_try_without_resources_is_reported(t):
    reports = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: reports.append(context["exception"].errno))
        server, address = await serve(Recorder, backlog=7)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        peer = socket.create_connection(address)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
        try:
            for _ in range(6):
                await asyncio.sleep(0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        t.say(reports)
        server.close()
        peer.close()
    t.run(main())


def test_closing_while_accepting_is_paused():
    async def main():
        loop = asyncio.get_running_loop()
        contexts = []
        loop.set_exception_handler(lambda loop, context: contexts.append(context))
        server, address = await serve(Recorder)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.create_connection(address):
            lowest = os.dup(0)
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
            try:
                await until(lambda: contexts)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            server.close()
            await server.wait_closed()
            contexts.clear()
            await asyncio.sleep(1.1)
        assert not contexts
    on(OURS, main)


# --- arguments of create_server

@same
def test_wrong_server_arguments(t):
    async def main():
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        datagram = socket.socket(type=socket.SOCK_DGRAM)
        with sock, datagram:
            for kw in (dict(), dict(host="127.0.0.1", port=0, sock=sock), dict(sock=datagram), dict(host="h", port=0, ssl=True),
                       dict(host="h", ssl_handshake_timeout=1), dict(host="h", ssl_shutdown_timeout=1)):
                try:
                    await loop.create_server(Recorder, **kw)
                except (ValueError, TypeError) as exc:
                    t.say(exc)
    t.run(main())


@same
def test_a_port_in_use(t):
    async def main():
        server, address = await serve(Recorder)
        try:
            await asyncio.get_running_loop().create_server(Recorder, *address)
        except OSError as exc:
            t.say(type(exc), exc.errno, hide_ports(exc, address[1]))
        server.close()
        await server.wait_closed()
    t.run(main())


@same
def test_several_hosts(t):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, ["127.0.0.1", "127.0.0.2", "127.0.0.1"], 0)
        t.say(sorted(sock.getsockname()[0] for sock in server.sockets))
        server.close()
        await server.wait_closed()
        server = await loop.create_server(Recorder, "", 0, family=socket.AF_INET)
        t.say([sock.getsockname()[0] for sock in server.sockets])
        server.close()
        await server.wait_closed()
    t.run(main())


@same
def test_every_interface_of_both_families(t):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, None, 0)
        t.say(sorted(str(sock.family) for sock in server.sockets))
        for sock in server.sockets:
            if sock.family == socket.AF_INET6:
                t.say(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
        server.close()
        await server.wait_closed()
    t.run(main())


@same
def test_socket_options_of_a_server(t):
    async def main():
        loop = asyncio.get_running_loop()
        for kw in (dict(), dict(reuse_address=False), dict(reuse_port=True)):
            server = await loop.create_server(Recorder, "127.0.0.1", 0, **kw)
            sock = server.sockets[0]
            t.say([sock.getsockopt(socket.SOL_SOCKET, option) for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT)])
            server.close()
            await server.wait_closed()
    t.run(main())


def test_keep_alive():
    async def main():
        server, address = await serve(Recorder, keep_alive=True)
        assert server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        server.close()
    on(OURS, main)


@same
def test_an_unknown_host(t):
    async def main():
        loop = asyncio.get_running_loop()
        for call in (loop.create_server, loop.create_connection):
            try:
                await call(Recorder, "no.such.host.invalid", 1)
            except socket.gaierror as exc:
                t.say(type(exc), exc.errno)
    t.run(main())


# --- create_connection

@same
def test_wrong_connection_arguments(t):
    async def main():
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        datagram = socket.socket(type=socket.SOCK_DGRAM)
        with sock, datagram:
            for kw in (dict(), dict(host="127.0.0.1", port=1, sock=sock), dict(sock=datagram), dict(sock=sock, ssl=True),
                       dict(host="h", server_hostname="h"), dict(host="h", ssl_handshake_timeout=1), dict(host="h", ssl_shutdown_timeout=1)):
                try:
                    await loop.create_connection(Recorder, **kw)
                except (ValueError, TypeError) as exc:
                    t.say(hide_ports(exc, f"fd={sock.fileno()}"))
    t.run(main())


@same
def test_connection_refused(t):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
        loop = asyncio.get_running_loop()
        for kw in (dict(), dict(happy_eyeballs_delay=0.1), dict(local_addr=("127.0.0.1", 0)), dict(interleave=1)):
            try:
                await loop.create_connection(Recorder, "127.0.0.1", port, **kw)
            except OSError as exc:
                t.say(type(exc), exc.errno, hide_ports(exc, port))
        for kw in (dict(local_addr=("127.0.0.1", 1)),):
            if os.getuid() == 0:
                continue  # root may bind it
            try:
                await loop.create_connection(Recorder, "127.0.0.1", port, **kw)
            except OSError as exc:
                t.say(type(exc), exc.errno, hide_ports(exc, port))
    t.run(main())


@pytest.mark.parametrize("delay", [None, 0.05])
def test_several_addresses_and_their_errors(delay):
    def scenario(t):
        async def main():
            with socket.create_server(("127.0.0.1", 0)) as listening:
                port = listening.getsockname()[1]
            loop = t.loop
            async def getaddrinfo(host, port, **kw):
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("127.0.0.1", "127.0.0.2")]
            loop.getaddrinfo = getaddrinfo
            try:
                await loop.create_connection(Recorder, "two.test", port, happy_eyeballs_delay=delay)
            except OSError as exc:
                t.say(type(exc), exc.errno, hide_ports(exc, port))
            if sys.version_info >= (3, 12):
                try:
                    await loop.create_connection(Recorder, "two.test", port, happy_eyeballs_delay=delay, all_errors=True)
                except ExceptionGroup as group:
                    t.say(group.message, [(type(exc), hide_ports(exc, port)) for exc in group.exceptions])
            async def nothing(host, port, **kw):
                return []
            loop.getaddrinfo = nothing
            try:
                await loop.create_connection(Recorder, "none.test", port)
            except OSError as exc:
                t.say(exc)
        t.run(main())
    same(scenario)("asyncloop")


@pytest.mark.parametrize("delay", [None, 0.02])
def test_the_second_address_answers(kit, delay):
    async def main():
        loop = asyncio.get_running_loop()
        server, address = await serve(Recorder)
        async def getaddrinfo(host, port, **kw):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("127.0.0.3", "127.0.0.1")]
        loop.getaddrinfo = getaddrinfo
        transport, protocol = await loop.create_connection(Recorder, "two.test", address[1], happy_eyeballs_delay=delay)
        assert transport.get_extra_info("peername") == address
        await closed(transport, protocol)
        server.close()
        await server.wait_closed()
    on(kit, main)


@same
def test_local_address(t):
    async def main():
        server, address = await serve(Recorder)
        transport, protocol = await asyncio.get_running_loop().create_connection(Recorder, *address, local_addr=("127.0.0.9", 0))
        t.say(transport.get_extra_info("sockname")[0])
        await closed(transport, protocol)
        server.close()
        await server.wait_closed()
        try:
            await asyncio.get_running_loop().create_connection(Recorder, *address, local_addr=("192.0.2.1", 0))
        except OSError as exc:
            t.say(type(exc), exc.errno, exc)
    t.run(main())


@same
def test_cancelled_connecting(t):
    async def main():
        a, b = tcp_pair()
        with a, b:
            connecting = asyncio.ensure_future(asyncio.get_running_loop().create_connection(lambda: Recorder(t.say), sock=a))
            await asyncio.sleep(0)
            connecting.cancel()
            try:
                await connecting
            except asyncio.CancelledError:
                t.say("cancelled")
            await asyncio.sleep(0.01)
            t.say(b.recv(1))
    t.run(main())


@same
def test_connect_accepted_socket(t):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = tcp_pair()
        datagram = socket.socket(type=socket.SOCK_DGRAM)
        with b, datagram:
            for args, kw in (((datagram,), {}), ((a,), dict(ssl_handshake_timeout=1)), ((a,), dict(ssl_shutdown_timeout=1))):
                try:
                    await loop.connect_accepted_socket(Recorder, *args, **kw)
                except ValueError as exc:
                    t.say(hide_ports(exc, f"fd={datagram.fileno()}"))
            transport, protocol = await loop.connect_accepted_socket(lambda: Recorder(t.say), a)
            transport.write(b"hello")
            await closed(transport, protocol)
            t.say(receive_all(b))
    t.run(main())


# --- files

@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 8192)
    return path


@pytest.mark.parametrize("offset, count", [(0, None), (1000, None), (0, 5000), (1000, 1_500_000), (5_000_000, None), (0, 10_000_000)])
def test_sendfile(kit, path, offset, count):
    content = path.read_bytes()
    expected = content[offset:] if count is None else content[offset:offset + count]

    async def main():
        loop = asyncio.get_running_loop()
        protocol = Recorder()
        transport, peer = await connected(protocol)
        with peer, open(path, "rb") as file:
            receiving = asyncio.ensure_future(in_thread(receive_all, peer))
            transport.write(b"before ")
            assert await loop.sendfile(transport, file, offset, count) == len(expected)
            if expected:
                assert file.tell() == offset + len(expected)
            transport.write(b" after")
            transport.write_eof()
            assert await receiving == b"before " + expected + b" after"
            await closed(transport, protocol)
        a, b = tcp_pair()
        a.setblocking(False)
        with a, b, open(path, "rb") as file:
            receiving = asyncio.ensure_future(in_thread(receive_all, b))
            assert await loop.sock_sendfile(a, file, offset, count) == len(expected)
            a.shutdown(socket.SHUT_WR)
            assert await receiving == expected
    on(kit, main)


def test_sendfile_falls_back(kit, path):
    class NotAFile:
        mode = "rb"

        def __init__(self, file):
            self.readinto, self.seek = file.readinto, file.seek

    async def main():
        loop = asyncio.get_running_loop()
        protocol = Recorder()
        transport, peer = await connected(protocol)
        with peer, open(path, "rb") as file:
            with pytest.raises(asyncio.SendfileNotAvailableError):
                await loop.sendfile(transport, NotAFile(file), fallback=False)
            receiving = asyncio.ensure_future(in_thread(receive_all, peer))
            assert await loop.sendfile(transport, NotAFile(file), 10, 1_000_000) == 1_000_000
            assert transport.get_protocol() is protocol and transport.is_reading()
            transport.write_eof()
            assert await receiving == path.read_bytes()[10:1_000_010]
            await closed(transport, protocol)
    on(kit, main)


@same
def test_wrong_sendfile_arguments(t):
    async def main():
        loop = asyncio.get_running_loop()
        protocol = Recorder()
        transport, peer = await connected(protocol)
        with peer, open(__file__, "rb") as file, open(__file__) as text, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            for call in (loop.sendfile(transport, text), loop.sendfile(transport, file, -1), loop.sendfile(transport, file, "x"),
                         loop.sendfile(transport, file, 0, 0), loop.sendfile(transport, file, 0, "x"), loop.sock_sendfile(datagram, file)):
                try:
                    t.say(await call)
                except (ValueError, TypeError) as exc:
                    t.say(exc)
            await closed(transport, protocol)
            try:
                await loop.sendfile(transport, file)
            except RuntimeError as exc:
                t.say(exc)
    t.run(main())


def test_nothing_else_is_written_during_a_sendfile(kit, path):
    async def main():
        loop = asyncio.get_running_loop()
        protocol = Recorder()
        transport, peer = await connected(protocol)
        with peer, open(path, "rb") as file:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            sending = asyncio.ensure_future(loop.sendfile(transport, file))
            await asyncio.sleep(0.01)
            assert not sending.done()
            with pytest.raises(RuntimeError, match="unable to write; sendfile is in progress"):
                transport.write(b"x")
            size = os.path.getsize(path)
            await in_thread(receive_n, peer, size)
            assert await sending == size
            await closed(transport, protocol)
    on(kit, main)


def test_abort_ends_a_sendfile(path):
    async def main():
        loop = asyncio.get_running_loop()
        protocol = Recorder()
        transport, peer = await connected(protocol)
        with peer, open(path, "rb") as file:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            sending = asyncio.ensure_future(loop.sendfile(transport, file))
            await asyncio.sleep(0.01)
            transport.abort()
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(sending, 30)
            assert protocol.lost
    on(OURS, main)


# --- TLS (asyncio's own layer on our transports)

@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key", "-out", folder / "cert"],
                   check=True, capture_output=True)
    return folder / "cert", folder / "key"


@pytest.fixture
def contexts(certificate):
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*certificate)
    return server, ssl.create_default_context(cafile=certificate[0])


def test_tls_streams(kit, contexts):
    async def main():
        async def handle(reader, writer):
            writer.write((await reader.readline()).upper())
            writer.write(await reader.readexactly(300_000))
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=contexts[0])
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=contexts[1], server_hostname="localhost")
        assert isinstance(writer.get_extra_info("ssl_object"), ssl.SSLObject)
        writer.write(b"hello\n")
        writer.write(b"x" * 300_000)
        assert await reader.readline() == b"HELLO\n"
        assert await reader.read() == b"x" * 300_000
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
    on(kit, main)


def test_start_tls(kit, contexts):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = tcp_pair()
        one, two = Recorder(), Recorder()
        first, _ = await loop.create_connection(lambda: one, sock=a)
        second, _ = await loop.connect_accepted_socket(lambda: two, b)
        client, server = await asyncio.gather(
            loop.start_tls(first, one, contexts[1], server_hostname="localhost"),
            loop.start_tls(second, two, contexts[0], server_side=True))
        client.write(b"secret")
        await until(lambda: two.data == b"secret")
        server.write(b"answer")
        await until(lambda: one.data == b"answer")
        client.close()
        await until(lambda: one.lost and two.lost)
        with pytest.raises(TypeError, match="sslcontext is expected to be an instance of ssl.SSLContext"):
            await loop.start_tls(first, one, None)
    on(kit, main)


def test_a_failed_handshake_is_reported_in_debug_mode(kit, contexts):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.slow_callback_duration = 100
        reports = []
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        server, address = await serve(Recorder, ssl=contexts[0])
        with socket.create_connection(address) as peer:
            peer.sendall(b"this is not TLS, not at all\n")
            peer.settimeout(10)
            await in_thread(receive_all, peer)
        await until(lambda: reports)
        messages = {context["message"] for context in reports}
        assert "Error on transport creation for incoming connection" in messages
        assert any(isinstance(context["exception"], ssl.SSLError) for context in reports)
        server.close()
        await server.wait_closed()
    on(kit, main)
