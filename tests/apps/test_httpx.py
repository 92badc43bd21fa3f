"""httpx, unmodified, over HTTP/1.1, and over HTTP/2 and TLS; hypercorn on the same loop answers."""
import asyncio
import contextlib
import hashlib
import os
import socket

import pytest

import certs
import peers

httpx = peers.app("httpx")
hypercorn = peers.client("hypercorn.asyncio", "hypercorn")
hypercorn_config = peers.client("hypercorn.config", "hypercorn")
peers.client("h2")
peers.program("openssl")  # makes the certificates

pytestmark = pytest.mark.limit(90)
DATA = os.urandom(1 << 20) * 4
DIGEST = hashlib.sha256(DATA).hexdigest()


class App:
    """An ASGI application whose paths are its methods."""

    def __init__(self):
        self.entered, self.left = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            for _ in range(2):
                await send({"type": (await receive())["type"] + ".complete"})
            return
        await getattr(self, scope["path"].split("/")[1])(scope, receive, send)

    async def start(self, send, status=200, headers=()):
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def version(self, scope, receive, send):
        await self.start(send)
        await send({"type": "http.response.body", "body": f"{scope['http_version']} {scope['query_string'].decode()}".encode()})

    async def upload(self, scope, receive, send):
        digest, more = hashlib.sha256(), True
        while more:
            message = await receive()
            digest.update(message.get("body", b""))
            more = message.get("more_body", False)
        await self.start(send)
        await send({"type": "http.response.body", "body": digest.hexdigest().encode()})

    async def download(self, scope, receive, send):
        await self.start(send)
        for at in range(0, len(DATA), 100_000):
            await send({"type": "http.response.body", "body": DATA[at:at + 100_000], "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def redirect(self, scope, receive, send):
        await self.start(send, 307, [(b"location", b"/version?redirected")])
        await send({"type": "http.response.body", "body": b""})

    async def never(self, scope, receive, send):
        self.entered.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()


@contextlib.asynccontextmanager
async def served(tls):
    sock = socket.socket(proto=socket.IPPROTO_TCP)
    sock.bind(("127.0.0.1", 0))
    sock.listen(100)  # clients may come before the server's task has begun
    port = sock.getsockname()[1]
    config = hypercorn_config.Config()
    config.bind = [f"fd://{sock.detach()}"]
    config.errorlog = None
    if tls:
        config.certfile, config.keyfile = certs.path("server"), certs.path("key")
    app, end = App(), asyncio.Event()
    task = asyncio.create_task(hypercorn.serve(app, config, shutdown_trigger=end.wait))
    try:
        yield app, f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        end.set()
        await task


@pytest.fixture(params=["HTTP/1.1", "HTTP/1.1 and TLS", "HTTP/2"])
def kind(request):
    return request.param


def at_work(run, kind, body, **more):
    """Runs body(client, app) with a client and a server of that kind."""
    async def main():
        tls = kind != "HTTP/1.1"
        more.setdefault("timeout", peers.LONG)
        async with served(tls) as (app, url):
            async with httpx.AsyncClient(base_url=url, http2=kind == "HTTP/2", verify=certs.client_context() if tls else True, trust_env=False, **more) as client:
                return await body(client, app)

    return run(main)


def test_a_hundred_requests_at_once(run, kind):
    async def body(client, app):
        answers = await asyncio.gather(*(client.get(f"/version?{n}") for n in range(100)))
        assert {each.http_version for each in answers} == {kind.split(" ")[0]}
        return [each.text for each in answers]

    number = "2" if kind == "HTTP/2" else "1.1"
    assert at_work(run, kind, body, limits=httpx.Limits(max_connections=10)) == [f"{number} {n}" for n in range(100)]


def test_streams_both_ways(run, kind):
    async def body(client, app):
        async def blocks():
            for at in range(0, len(DATA), 70_000):
                yield DATA[at:at + 70_000]

        async def download():
            digest = hashlib.sha256()
            async with client.stream("GET", "/download") as answer:
                async for data in answer.aiter_bytes():
                    digest.update(data)
            return digest.hexdigest()

        return await asyncio.gather(client.post("/upload", content=blocks()), download(), client.get("/redirect", follow_redirects=True))

    up, down, redirected = at_work(run, kind, body)
    assert up.text == down == DIGEST
    assert redirected.text.endswith(" redirected") and [each.status_code for each in redirected.history] == [307]


@pytest.mark.parametrize("how", ["cancelled", "late"])
def test_given_up(run, kind, how):
    async def body(client, app):
        if how == "late":
            with pytest.raises(httpx.ReadTimeout):
                await client.get("/never", timeout=httpx.Timeout(peers.LONG, read=0.05))
        else:
            task = asyncio.create_task(client.get("/never"))
            await asyncio.wait_for(app.entered.wait(), peers.LONG)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        if kind != "HTTP/2":
            await asyncio.wait_for(app.left.wait(), peers.LONG)
        return (await client.get("/version?next")).text

    assert at_work(run, kind, body).endswith(" next")


def test_no_server(run):
    async def main():
        with peers.port() as port:
            async with httpx.AsyncClient(trust_env=False) as client:
                with pytest.raises(httpx.ConnectError):
                    await client.get(f"http://127.0.0.1:{port}/")

    run(main)
