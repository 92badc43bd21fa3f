"""uvicorn with httptools, unmodified, in a thread of its own, with an application for the tests to talk to."""
import asyncio
import hashlib
import logging
import socket
import threading
import time
import warnings

import peers
from sidebyside import PATIENCE, SUBJECT

uvicorn = peers.client("uvicorn")
peers.client("httptools")

BIG = 50 * 1024 * 1024


class App:
    """An ASGI application."""

    def __init__(self):
        self.entered, self.disconnected = threading.Event(), threading.Event()
        self.loop = None
        self.started = self.stopped = False

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await self.lifespan(receive, send)
        self.loop = asyncio.get_running_loop()
        await getattr(self, scope["path"].split("/")[1])(scope, receive, send)

    async def lifespan(self, receive, send):
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.started = True
                await send({"type": "lifespan.startup.complete"})
            else:
                self.stopped = True
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def answer(self, send, body, more=False):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body})

    async def hello(self, scope, receive, send):
        await asyncio.sleep(0)
        await self.answer(send, scope["path"].rsplit("/", 1)[1].encode())

    async def upload(self, scope, receive, send):
        digest, more = hashlib.sha256(), True
        while more:
            message = await receive()
            digest.update(message["body"])
            more = message["more_body"]
        await self.answer(send, digest.hexdigest().encode())

    async def download(self, scope, receive, send):
        size = int(scope["path"].rsplit("/", 1)[1]) << 20
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(size).encode())]})
        block = bytes(range(256)) * 1024
        for i in range(0, size, len(block)):
            await send({"type": "http.response.body", "body": block, "more_body": i + len(block) < size})

    async def wait(self, scope, receive, send):
        self.entered.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.disconnected.set()

    async def endless(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            for _ in range(10_000):
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
                await asyncio.sleep(0)
        finally:
            self.disconnected.set()


class Server:
    """uvicorn.Server.run() in a thread, so that its own loop= setting is what makes the loop."""

    def __init__(self, way, **config):
        self.app = App()
        # IPPROTO_TCP: with 0 asyncio does not recognize TCP, leaves Nagle's algorithm on, and each answer in two writes takes 40 ms
        self.sock = socket.socket(proto=socket.IPPROTO_TCP)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(200)
        self.port = self.sock.getsockname()[1]
        self.url = f"{'https' if 'ssl_certfile' in config else 'http'}://127.0.0.1:{self.port}"
        if way.by_policy:
            loop = "none"  # uvicorn then leaves the choice to asyncio's policy
        else:
            loop = "asyncio" if way.kit.name == "asyncio" else f"{SUBJECT}:new_event_loop"
        config = uvicorn.Config(self.app, loop=loop, http="httptools", ws="none", lifespan="on", log_level="warning",
                                access_log=False, timeout_graceful_shutdown=5, **config)
        self.server = uvicorn.Server(config)
        self.error = None
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            self.server.run(sockets=[self.sock])
        except BaseException as exc:
            self.error = exc

    def __enter__(self):
        self.thread.start()
        until = time.monotonic() + 30 * PATIENCE
        while not self.server.started and self.thread.is_alive() and time.monotonic() < until:
            time.sleep(0.005)
        assert self.server.started, self.error
        return self

    def __exit__(self, *exc):
        self.server.should_exit = True
        self.thread.join(30 * PATIENCE)
        self.sock.close()
        assert not self.thread.is_alive()
        assert self.error is None
        assert self.app.started and self.app.stopped


def serve_and_run(way, main, caplog, **config):
    """Runs main(server) against a server; nothing may be left or logged."""
    async def body(server):
        way.check(asyncio.get_running_loop())
        return await main(server)

    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.INFO):
        warnings.simplefilter("always")
        with Server(way, **config) as server:
            result = way.run(body(server))
        if server.app.loop is not None:
            way.check(server.app.loop)
            assert server.app.loop.is_closed()
    assert [str(w.message) for w in caught if w.category is not DeprecationWarning] == []
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []
    return result
