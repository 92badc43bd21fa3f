"""tornado, unmodified, with its own clients: HTTP over TCP and TLS, websockets, a TCP server, callbacks and threads."""
import pytest

import certs
import peers
import programs

peers.apps("tornado")
peers.program("openssl")  # makes the certificates

pytestmark = pytest.mark.limit(120)

PROGRAM = """
import chosen
import asyncio, ssl, sys
import tornado.gen, tornado.httpclient, tornado.httpserver, tornado.ioloop, tornado.iostream, tornado.locks, tornado.queues, tornado.tcpclient, tornado.tcpserver
import tornado.testing, tornado.web, tornado.websocket

certificate, key, authority = sys.argv[1:]


class Main(tornado.web.RequestHandler):
    async def get(self, n):
        await asyncio.sleep(0)
        self.write({"n": int(n)})


class Old(tornado.web.RequestHandler):
    @tornado.gen.coroutine
    def get(self):
        yield tornado.gen.sleep(0.001)
        both = yield [tornado.gen.maybe_future(1), tornado.ioloop.IOLoop.current().run_in_executor(None, sum, [1, 2])]
        for n in range(200):
            self.write("x" * 10_000)
            yield self.flush()
        self.write(str(both))


@tornado.web.stream_request_body
class Upload(tornado.web.RequestHandler):
    def prepare(self):
        self.total = 0

    async def data_received(self, data):
        self.total += len(data)
        await asyncio.sleep(0)

    def post(self):
        self.write(str(self.total))


class Wrong(tornado.web.RequestHandler):
    async def get(self):
        raise tornado.web.HTTPError(418, reason="a teapot")


class Socket(tornado.websocket.WebSocketHandler):
    async def on_message(self, message):
        await self.write_message(message[::-1], binary=isinstance(message, bytes))


class Lines(tornado.tcpserver.TCPServer):
    async def handle_stream(self, stream, address):
        try:
            while True:
                await stream.write((await stream.read_until(b"\\n")).upper())
        except tornado.iostream.StreamClosedError:
            pass


async def use(kind, port, client):
    url = f"{kind}://127.0.0.1:{port}"
    options = {"ca_certs": authority} if kind == "https" else {}

    async def get(path, **more):
        return (await client.fetch(url + path, request_timeout=60, **options, **more)).body

    print(kind, [await each for each in [get(f"/{n}") for n in range(3)]], b"".join(await asyncio.gather(*(get(f"/{n}") for n in range(100)))))
    old = await get("/old")
    print(len(old), old[-6:])
    print(await get("/upload", method="POST", body=b"y" * 3_000_000))
    try:
        await get("/wrong")
    except tornado.httpclient.HTTPClientError as exc:
        print(exc.code, exc.response.reason)


async def main():
    chosen.check()
    tornado.ioloop.IOLoop.configure("tornado.platform.asyncio.AsyncIOLoop")
    loop = tornado.ioloop.IOLoop.current()
    assert loop.asyncio_loop is asyncio.get_running_loop()
    app = tornado.web.Application([("/([0-9]+)", Main), ("/old", Old), ("/upload", Upload), ("/wrong", Wrong), ("/socket", Socket)], log_function=lambda handler: None)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    client = tornado.httpclient.AsyncHTTPClient(max_clients=20)
    for kind, options in ("http", {}), ("https", {"ssl_options": context}):
        server = tornado.httpserver.HTTPServer(app, **options)
        sockets = tornado.testing.bind_unused_port()
        server.add_socket(sockets[0])
        await use(kind, sockets[1], client)
        if kind == "http":
            socket = await tornado.websocket.websocket_connect(f"ws://127.0.0.1:{sockets[1]}/socket")
            for message in "text", b"bytes", "z" * 300_000:
                await socket.write_message(message, binary=isinstance(message, bytes))
                got = await socket.read_message()
                print(got if len(got) < 10 else len(got))
            socket.close()
            print(await socket.read_message())
        server.stop()
        await server.close_all_connections()
    client.close()
    lines = Lines()
    listener, port = tornado.testing.bind_unused_port()
    lines.add_socket(listener)
    stream = await tornado.tcpclient.TCPClient().connect("127.0.0.1", port)
    await stream.write(b"one\\ntwo\\n")
    print(await stream.read_until(b"\\n"), await stream.read_bytes(4))
    stream.close()
    lines.stop()
    ticks, ended = [], tornado.locks.Event()

    def tick():
        ticks.append(1)
        if len(ticks) == 3:
            periodic.stop()
            ended.set()

    periodic = tornado.ioloop.PeriodicCallback(tick, 1)
    periodic.start()
    await ended.wait(timeout=loop.time() + 60)
    queue = tornado.queues.Queue(1)
    loop.add_callback(queue.put, "by callback")
    print(len(ticks), await queue.get())
    try:
        await tornado.gen.with_timeout(loop.time() + 0.01, asyncio.get_running_loop().create_future())
    except tornado.gen.TimeoutError:
        print("late")


asyncio.run(main())


@tornado.gen.coroutine
def alone():
    chosen.check(tornado.ioloop.IOLoop.current().asyncio_loop)
    yield tornado.gen.moment
    return "run_sync"


loop = tornado.ioloop.IOLoop()
print(loop.run_sync(alone))
loop.close(all_fds=True)
"""


def test_tornado(tmp_path):
    lines = programs.compare(tmp_path, PROGRAM, certs.path("server"), certs.path("key"), certs.path("authority")).splitlines()
    every = b"".join(b'{"n": %d}' % n for n in range(100))
    http = [str(len("x") * 2_000_000 + 6) + " b'[1, 3]'", "b'3000000'", "418 a teapot"]
    first = [b'{"n": 0}', b'{"n": 1}', b'{"n": 2}']
    assert lines == [f"http {first} {every}", *http, "txet", "b'setyb'", "300000", "None", f"https {first} {every}", *http,
                     "b'ONE\\n' b'TWO\\n'", "3 by callback", "late", "run_sync"]
