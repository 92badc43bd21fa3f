"""An aiohttp server and client, unmodified, on one loop."""
import asyncio
import hashlib
import os
import socket
import warnings

import pytest

import peers

aiohttp = peers.client("aiohttp")
from aiohttp import web  # noqa: E402

BIG = 50 * 1024 * 1024

pytestmark = pytest.mark.limit(60)


class Site:
    """The server, and a count of what its handlers saw."""

    def __init__(self):
        self.finished = 0
        self.entered, self.given_up = asyncio.Event(), asyncio.Event()
        self.app = web.Application(client_max_size=2 * BIG)
        self.app.router.add_get("/hello/{n}", self.hello)
        self.app.router.add_post("/upload", self.upload)
        self.app.router.add_get("/download", self.download)
        self.app.router.add_get("/slow", self.slow)
        self.app.router.add_get("/endless", self.endless)

    async def hello(self, request):
        self.finished += 1
        if self.finished % 7 == 0:
            await asyncio.sleep(0)
        return web.json_response({"n": int(request.match_info["n"]), "agent": request.headers["X-Test"]})

    async def upload(self, request):
        digest, n = hashlib.sha256(), 0
        async for chunk in request.content.iter_any():
            digest.update(chunk)
            n += len(chunk)
        return web.json_response({"bytes": n, "sha256": digest.hexdigest()})

    async def download(self, request):
        response = web.StreamResponse(headers={"Content-Length": str(BIG)})
        await response.prepare(request)
        block = bytes(range(256)) * 1024
        for _ in range(BIG // len(block)):
            await response.write(block)
        await response.write_eof()
        return response

    async def slow(self, request):
        self.entered.set()
        try:
            await asyncio.sleep(600)
        finally:
            self.given_up.set()
        return web.Response(text="never")

    async def endless(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        finally:
            self.given_up.set()

    async def __aenter__(self):
        self.runner = web.AppRunner(self.app, handler_cancellation=True, access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.port = self.runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *exc):
        await self.runner.cleanup()


def serve_and_run(run, main):
    """Runs main(site, session) against a server on the same loop."""
    async def body():
        async with Site() as site, aiohttp.ClientSession(headers={"X-Test": "yes"}) as session:
            return await main(site, session)

    return run(body)


def test_a_thousand_requests_fifty_at_once(run):
    async def main(site, session):
        async def get(n):
            async with limit, session.get(f"{site.url}/hello/{n}") as response:
                assert response.status == 200
                return (await response.json())["n"]

        limit = asyncio.Semaphore(50)
        results = await asyncio.gather(*(get(n) for n in range(1000)))
        return results, site.finished

    results, finished = serve_and_run(run, main)
    assert results == list(range(1000)) and finished == 1000


def test_upload_of_50_megabytes(run):
    data = os.urandom(1024 * 1024) * (BIG // (1024 * 1024))

    async def main(site, session):
        async def blocks():
            for i in range(0, len(data), 200_000):
                yield data[i:i + 200_000]

        async with session.post(f"{site.url}/upload", data=blocks()) as response:
            return await response.json()

    answer = serve_and_run(run, main)
    assert answer == {"bytes": BIG, "sha256": hashlib.sha256(data).hexdigest()}


def test_upload_of_one_big_body(run):
    data = os.urandom(1024 * 1024) * (BIG // (1024 * 1024))

    async def main(site, session):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # aiohttp advises against so big a body
            async with session.post(f"{site.url}/upload", data=data) as response:
                return await response.json()

    answer = serve_and_run(run, main)
    assert answer == {"bytes": BIG, "sha256": hashlib.sha256(data).hexdigest()}


def test_download_of_50_megabytes(run):
    async def main(site, session):
        digest, n = hashlib.sha256(), 0
        async with session.get(f"{site.url}/download") as response:
            async for chunk in response.content.iter_any():
                digest.update(chunk)
                n += len(chunk)
        return n, digest.hexdigest()

    n, digest = serve_and_run(run, main)
    assert n == BIG
    assert digest == hashlib.sha256(bytes(range(256)) * 1024 * (BIG // 262144)).hexdigest()


@pytest.mark.parametrize("path", ["/slow", "/endless"])
@pytest.mark.parametrize("reset", [False, True])
def test_client_that_disconnects(run, path, reset):
    """The handler is cancelled, or its write fails; the server goes on."""
    async def main(site, session):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Test: yes\r\n\r\n".encode())
        if path == "/endless":
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        else:
            await asyncio.wait_for(site.entered.wait(), peers.LONG)
        if reset:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            writer.transport.abort()
        else:
            writer.close()
        await asyncio.wait_for(site.given_up.wait(), peers.LONG)
        async with session.get(f"{site.url}/hello/5") as response:
            return (await response.json())["n"]

    assert serve_and_run(run, main) == 5


def test_client_cancelled_in_the_middle(run):
    async def main(site, session):
        async def get():
            async with session.get(f"{site.url}/slow") as response:
                await response.text()

        task = asyncio.create_task(get())
        await asyncio.wait_for(site.entered.wait(), peers.LONG)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(site.given_up.wait(), peers.LONG)
        with pytest.raises(asyncio.TimeoutError):
            await session.get(f"{site.url}/slow", timeout=aiohttp.ClientTimeout(total=0.05))
        async with session.get(f"{site.url}/hello/6") as response:
            return (await response.json())["n"]

    assert serve_and_run(run, main) == 6


def test_websocket(run):
    async def echo(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await (ws.send_str(message.data) if message.type is aiohttp.WSMsgType.TEXT else ws.send_bytes(message.data))
        return ws

    async def body():
        app = web.Application()
        app.router.add_get("/", echo)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(f"http://127.0.0.1:{runner.addresses[0][1]}/") as ws:
                for i in range(200):
                    await ws.send_str(f"message {i}")
                    assert await ws.receive_str() == f"message {i}"
                await ws.send_bytes(b"z" * 1_000_000)
                assert len(await ws.receive_bytes()) == 1_000_000
        await runner.cleanup()

    run(body)


def test_connection_refused(run):
    async def body():
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(f"http://127.0.0.1:{port}/")

    run(body)
