"""TLS with every other end there is: asyncio's loop, blocking sockets of the ssl module, the openssl command."""
import asyncio
import contextlib
import random
import socket
import ssl
import subprocess
import threading

import pytest

import certs
from sidebyside import KITS, PATIENCE
from tls_peers import KINDS, LONG, VERSIONS, Buffered, Echo, Recorder, run_quiet, soon, until

PATTERNS = [("ping-pong", [1, 100, 16384, 70_000]), ("bulk", [3_000_000]), ("many small", [200] * 300)]


@pytest.fixture(params=PATTERNS, ids=[name for name, _ in PATTERNS])
def sizes(request):
    return request.param[1]


class BufferedEcho(Echo, asyncio.BufferedProtocol):
    def get_buffer(self, hint):
        self.buffer = bytearray(5000)
        return memoryview(self.buffer)

    def buffer_updated(self, n):
        self.transport.write(self.buffer[:n])


class LoopServer(threading.Thread):
    """An echo server on a loop of its own in a thread of its own."""

    def __init__(self, kit, context, protocol=Echo):
        super().__init__()
        self.kit, self.context, self.protocol = kit, context, protocol
        self.is_ready = threading.Event()

    def __enter__(self):
        self.start()
        assert self.is_ready.wait(LONG)
        return self.address

    def __exit__(self, *exc):
        self.loop.call_soon_threadsafe(self.stopping.set)
        self.join(LONG)
        assert not self.is_alive()

    def run(self):
        self.loop = self.kit.new_loop()
        self.loop.run_until_complete(self.serve())
        self.loop.close()

    async def serve(self):
        self.stopping = asyncio.Event()
        server = await self.loop.create_server(self.protocol, "127.0.0.1", 0, ssl=self.context)
        self.address = server.sockets[0].getsockname()
        self.is_ready.set()
        await self.stopping.wait()
        server.close()
        await server.wait_closed()


class BlockingServer(threading.Thread):
    """An echo server of one blocking socket."""

    def __init__(self, context):
        super().__init__()
        self.context = context
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.settimeout(LONG)
        self.exc = None

    def __enter__(self):
        self.start()
        return self.listening.getsockname()

    def __exit__(self, *exc):
        self.join(LONG)
        self.listening.close()
        assert not self.is_alive() and self.exc is None, self.exc

    def run(self):
        try:
            sock, _ = self.listening.accept()
            sock.settimeout(LONG)
            with self.context.wrap_socket(sock, server_side=True) as tls:
                while data := tls.recv(65536):
                    tls.sendall(data)
                with contextlib.suppress(OSError):
                    tls.unwrap()
        except BaseException as exc:
            self.exc = exc


async def talk(address, version, sizes, kind=Recorder):
    """The client's part on the running loop: everything comes back."""
    loop = asyncio.get_running_loop()
    rng = random.Random(7)
    transport, protocol = await loop.create_connection(kind, *address, ssl=certs.client_context(version=VERSIONS[version]), server_hostname="localhost")
    for size in sizes:
        data = rng.randbytes(size)
        transport.write(data)
        await until(lambda: len(protocol.data) >= size)
        assert protocol.data == data
        protocol.data.clear()
    transport.close()
    await until(lambda: protocol.lost)
    assert protocol.exc is None


@pytest.fixture
def make_loop():
    loops = []

    def make(kit):
        loops.append(kit.new_loop())
        return loops[-1]
    yield make
    for loop in loops:
        loop.close()


@pytest.mark.parametrize("client, server", [(a, b) for a in ("asyncio", "asyncloop") for b in ("asyncio", "asyncloop") if a in KINDS or b in KINDS])
@pytest.mark.parametrize("kind", [Recorder, Buffered])
def test_loops_with_each_other(make_loop, client, server, version, sizes, kind):
    with LoopServer(KITS[server], certs.server_context(), Echo if kind is Recorder else BufferedEcho) as address:
        run_quiet(make_loop(KITS[client]), talk(address, version, sizes, kind))


@pytest.mark.parametrize("kit", KINDS)
def test_a_client_with_a_blocking_server(make_loop, kit, version, sizes):
    with BlockingServer(certs.server_context()) as address:
        run_quiet(make_loop(KITS[kit]), talk(address, version, sizes))


@pytest.mark.parametrize("kit", KINDS)
def test_a_server_with_a_blocking_client(kit, version, sizes):
    context = certs.client_context(version=VERSIONS[version])
    rng = random.Random(8)
    with LoopServer(KITS[kit], certs.server_context()) as address:
        for _ in range(3):
            with socket.create_connection(address) as sock:
                sock.settimeout(LONG)
                with context.wrap_socket(sock, server_hostname="localhost") as tls:
                    for size in sizes:
                        data = rng.randbytes(size)
                        tls.sendall(data)  # the server queues what we do not read yet
                        got = b""
                        while len(got) < size:
                            got += tls.recv(65536)
                        assert got == data
                    tls.unwrap()


# --- the openssl command

def s_client(address, *words, wants=b""):
    return subprocess.Popen(["openssl", "s_client", "-connect", "%s:%d" % address[:2], "-CAfile", certs.path("authority"), "-servername", "localhost",
                             *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def read_until(process, text):
    """Everything it says up to the line with that text."""
    said = b""
    while text not in said:
        line = process.stdout.readline()
        assert line, f"it ended without {text!r}: {said.decode(errors='replace')[-1500:]}"
        said += line
    return said


def finish(process):
    """What is left of its output; None if it ended already."""
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    rest = process.stdout.read()
    process.stdout.close()
    process.wait(LONG)
    return rest


@contextlib.contextmanager
def conversation(process):
    # a test that fails or hangs leaves no child behind
    timer = threading.Timer(25 * PATIENCE, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        process.kill()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        process.wait(LONG)
        timer.join()


def type_in(process, text):
    process.stdin.write(text)
    process.stdin.flush()


@pytest.mark.parametrize("kit", KINDS)
def test_openssl_as_a_client(kit, version):
    with LoopServer(KITS[kit], certs.server_context()) as address:
        process = s_client(address, "-" + version.replace("v", "").replace(".", "_").lower(), "-quiet", "-verify_return_error")
        with conversation(process):
            type_in(process, b"hello\n")
            read_until(process, b"hello")
            type_in(process, b"x" * 100_000 + b"\n")
            read_until(process, b"x" * 100_000)


@pytest.mark.parametrize("how", [b"k\n", b"K\n"], ids=["one side", "both sides"])
@pytest.mark.parametrize("kit", KINDS)
def test_keys_are_updated_in_the_middle(kit, how):
    """TLS 1.3 KeyUpdate, with and without asking us to do the same."""
    with LoopServer(KITS[kit], certs.server_context()) as address:
        process = s_client(address, "-tls1_3")
        with conversation(process):
            for i in range(3):
                type_in(process, b"before %d\n" % i)
                read_until(process, b"before %d" % i)
                type_in(process, how)
                read_until(process, b"KEYUPDATE")
                type_in(process, b"after %d\n" % i)
                read_until(process, b"after %d" % i)


@pytest.mark.parametrize("kit", KINDS)
def test_renegotiation_is_refused(kit):
    """TLS 1.2: a client that asks for another handshake gets none."""
    with LoopServer(KITS[kit], certs.server_context()) as address:
        process = s_client(address, "-tls1_2")
        with conversation(process):
            type_in(process, b"before\n")
            read_until(process, b"before")
            type_in(process, b"R\n")
            read_until(process, b"RENEGOTIATING")
            assert b"no renegotiation" in process.stdout.read()  # the alert's text, with which it gives up
        # the server is well
        process = s_client(address, "-tls1_2", "-quiet")
        with conversation(process):
            type_in(process, b"still there\n")
            read_until(process, b"still there")


@pytest.mark.parametrize("kit", KINDS)
def test_openssl_resumes_sessions(kit, version, tmp_path):
    flag = "-" + version.replace("v", "").replace(".", "_").lower()
    with LoopServer(KITS[kit], certs.server_context()) as address:
        for option, wanted in (("-sess_out", b"New, "), ("-sess_in", b"Reused, ")):
            process = s_client(address, flag, option, str(tmp_path / "session"))
            with conversation(process):
                said = read_until(process, b"Verify return code")
                type_in(process, b"hello\n")  # its answer comes behind the tickets
                said += read_until(process, b"hello")
                type_in(process, b"Q\n")
                said += process.stdout.read()
                assert wanted in said


@pytest.mark.parametrize("kit", KINDS)
def test_openssl_as_a_server(make_loop, kit, version):
    """-rev sends each line back reversed."""
    flag = "-" + version.replace("v", "").replace(".", "_").lower()
    process = subprocess.Popen(["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", certs.path("server"), "-key", certs.path("key"), flag,
                                "-rev"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    async def main(port):
        for _ in range(3):
            reader, writer = await soon(asyncio.open_connection("127.0.0.1", port, ssl=certs.client_context(), server_hostname="localhost"))
            for text in (b"hello\n", b"x" * 2000 + b"y\n"):
                writer.write(text)
                assert await soon(reader.readline()) == text[:-1][::-1] + b"\n"
            writer.close()
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                await soon(writer.wait_closed())
    with conversation(process):
        port = int(read_until(process, b"ACCEPT").split(b":")[-1])
        loop = make_loop(KITS[kit])
        loop.set_exception_handler(lambda loop, context: None)
        loop.run_until_complete(asyncio.wait_for(main(port), LONG))
