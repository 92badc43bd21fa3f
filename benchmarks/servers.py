"""The servers under load, one kind on one loop in a process of its own; the counterparts of c/*_load.c and of wrk.

    python servers.py LOOP KIND [FOLDER]        KIND: a key of KINDS below; FOLDER has cert.pem and key.pem, and takes the Unix socket

Prints its port (or the path of its socket) on stdout and serves until its stdin reaches end of file.  A line on stdin is a question:
`rss`, the process's resident bytes, garbage collected; `requests`, how many an HTTP server has answered.
"""

import asyncio
import functools
import gc
import os
import resource
import socket
import ssl
import sys
import threading

import loops

MESSAGE_BYTES = 1024    # what a streams server reads at a time
SOCK_BYTES = 64 * 1024
PAGE = os.sysconf("SC_PAGE_SIZE")
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world\n"


KEPT = []   # tasks that run as long as the process


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    def connection_made(self, transport):
        self.transport = transport
        self.buffer = memoryview(bytearray(256 * 1024))

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, n_bytes):
        self.transport.write(bytes(self.buffer[:n_bytes]))


class EchoAndClose(Echo):
    def data_received(self, data):
        self.transport.write(data)
        self.transport.close()


class IdleEcho(asyncio.Protocol):
    __slots__ = ("transport",)

    connection_made = Echo.connection_made
    data_received = Echo.data_received


class Http(asyncio.Protocol):
    """Answers each request without a body; pipelined ones too."""

    requests = 0

    def connection_made(self, transport):
        self.transport = transport
        self.rest = b""

    def data_received(self, data):
        if self.rest:
            data = self.rest + data
        *requests, self.rest = data.split(b"\r\n\r\n")
        Http.requests += len(requests)
        for request in requests:
            method, path, version = request[:request.index(b"\r\n")].split(b" ")
            if method != b"GET" or path != b"/" or version != b"HTTP/1.1":
                raise ValueError(request)
            self.transport.write(RESPONSE)


class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


async def _serve_stream(receive, reader, writer):
    try:
        while data := await receive(reader):
            writer.write(data)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def streams(receive):
    """A server of streams; receive(reader) is awaited for the next message."""
    async def start(loop, folder):
        server = await asyncio.start_server(functools.partial(_serve_stream, receive), "127.0.0.1", 0, family=socket.AF_INET)
        return server.sockets[0].getsockname()[1]
    return start


def tcp(protocol, over_tls=False):
    """A server of protocols on a port."""
    async def start(loop, folder):
        context = None
        if over_tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem"))
        server = await loop.create_server(protocol, "127.0.0.1", 0, family=socket.AF_INET, ssl=context, backlog=1024)
        return server.sockets[0].getsockname()[1]
    return start


async def unix(loop, folder):
    path = os.path.join(folder, f"{os.getpid()}.sock")
    await loop.create_unix_server(Echo, path)
    return path


async def udp(loop, folder):
    transport, _ = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    return transport.get_extra_info("sockname")[1]


async def _serve_sock(loop, sock):
    try:
        while data := await loop.sock_recv(sock, SOCK_BYTES):
            await loop.sock_sendall(sock, data)
    finally:
        sock.close()


async def _accept_socks(loop, listener, tasks):
    while True:
        sock, _ = await loop.sock_accept(listener)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tasks.append(loop.create_task(_serve_sock(loop, sock)))


async def sock(loop, folder):
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    KEPT.append(loop.create_task(_accept_socks(loop, listener, KEPT)))
    return listener.getsockname()[1]


async def _turn():
    await asyncio.sleep(0)


async def _ten_tasks():
    async with asyncio.timeout(10):
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(_turn())


def aiohttp(prepare):
    """An aiohttp server whose handler awaits prepare() and answers."""
    async def start(loop, folder):
        from aiohttp import web

        async def answer(request):
            Http.requests += 1
            await prepare()
            return web.Response(text="Hello, world\n")

        app = web.Application()
        app.router.add_get("/", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner.addresses[0][1]
    return start


def uvicorn(prepare):
    """uvicorn with an ASGI application, no framework, that awaits prepare() and answers."""
    head = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain"), (b"content-length", b"13")]}

    async def answer(scope, receive, send):
        Http.requests += 1
        await prepare()
        await send(head)
        await send({"type": "http.response.body", "body": b"Hello, world\n"})

    async def start(loop, folder):
        import uvicorn

        server = uvicorn.Server(uvicorn.Config(answer, access_log=False, log_level="warning", lifespan="off", ws="none"))
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]    # now: some loops take the descriptor out of the socket
        KEPT.append(loop.create_task(server.serve(sockets=[listener])))
        while not server.started:
            await asyncio.sleep(0.01)
        return port
    return start


async def _nothing():
    pass


KINDS = {
    "protocol": tcp(Echo),
    "buffered": tcp(BufferedEcho),
    "churn": tcp(EchoAndClose),
    "streams": streams(lambda reader: reader.readexactly(MESSAGE_BYTES)),
    "streams_read": streams(lambda reader: reader.read(64 * 1024)),
    "streams_readline": streams(lambda reader: reader.readline()),
    "tls": tcp(Echo, over_tls=True),
    "tls_idle": tcp(IdleEcho, over_tls=True),
    "http": tcp(Http),
    "https": tcp(Http, over_tls=True),
    "unix": unix,
    "udp": udp,
    "sock": sock,
    "aiohttp": aiohttp(_nothing),
    "aiohttp_tasks": aiohttp(_ten_tasks),
    "uvicorn": uvicorn(_nothing),
    "uvicorn_tasks": uvicorn(_ten_tasks),
}
INSTALLED = ("streams_read", "streams_readline")    # kinds that run after asyncloop.install()


def rss():
    """Resident bytes of this process, garbage collected."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


def main():
    name, kind, folder = (*sys.argv[1:], "")[:3]
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    bench = loops.Bench(name, install=kind in INSTALLED)
    loop = bench.loop
    print(bench.run(KINDS[kind](loop, folder)), flush=True)

    def answer(question):
        print({"rss": rss, "requests": lambda: Http.requests}[question](), flush=True)

    def obey():
        for line in sys.stdin:
            loop.call_soon_threadsafe(answer, line.strip())
        loop.call_soon_threadsafe(loop.stop)

    threading.Thread(target=obey, daemon=True).start()
    loop.run_forever()
    sys.stdout.flush()
    os._exit(0)     # connections and tasks need no tidy end


if __name__ == "__main__":
    main()
