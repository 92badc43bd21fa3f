"""uvicorn with httptools, unmodified, in a thread of its own; the clients run on a second loop of the same kind."""
import asyncio
import hashlib
import os
import socket

import pytest

import peers
import uvicorn_server
from uvicorn_server import BIG

aiohttp = peers.client("aiohttp")

pytestmark = pytest.mark.limit(60)


def serve_and_run(way, main, caplog):
    """Runs main(server, session) against a server."""
    async def body(server):
        async with aiohttp.ClientSession() as session:
            return await main(server, session)

    return uvicorn_server.serve_and_run(way, body, caplog)


def test_a_thousand_requests_fifty_at_once(way, caplog):
    async def main(server, session):
        async def get(n):
            async with limit, session.get(f"{server.url}/hello/{n}") as response:
                assert response.status == 200
                return int(await response.text())

        limit = asyncio.Semaphore(50)
        return await asyncio.gather(*(get(n) for n in range(1000)))

    assert serve_and_run(way, main, caplog) == list(range(1000))


def test_upload_of_50_megabytes(way, caplog):
    data = os.urandom(1024 * 1024) * (BIG // (1024 * 1024))

    async def main(server, session):
        async def blocks():
            for i in range(0, len(data), 200_000):
                yield data[i:i + 200_000]

        async with session.post(f"{server.url}/upload", data=blocks()) as response:
            return await response.text()

    assert serve_and_run(way, main, caplog) == hashlib.sha256(data).hexdigest()


def test_download_of_50_megabytes(way, caplog):
    async def main(server, session):
        digest, n = hashlib.sha256(), 0
        async with session.get(f"{server.url}/download/{BIG >> 20}") as response:
            async for chunk in response.content.iter_any():
                digest.update(chunk)
                n += len(chunk)
        return n, digest.hexdigest()

    n, digest = serve_and_run(way, main, caplog)
    assert n == BIG
    assert digest == hashlib.sha256(bytes(range(256)) * 1024 * (BIG // 262144)).hexdigest()


@pytest.mark.parametrize("path", ["/wait", "/endless"])
@pytest.mark.parametrize("reset", [False, True])
def test_client_that_disconnects(way, caplog, path, reset):
    async def main(server, session):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        if path == "/endless":
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        else:
            assert await asyncio.to_thread(server.app.entered.wait, peers.LONG)
        if reset:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            writer.transport.abort()
        else:
            writer.close()
        assert await asyncio.to_thread(server.app.disconnected.wait, peers.LONG)
        async with session.get(f"{server.url}/hello/5") as response:
            return await response.text()

    assert serve_and_run(way, main, caplog) == "5"


def test_keep_alive_and_pipelining(way, caplog):
    async def main(server, session):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"".join(b"GET /hello/%d HTTP/1.1\r\nHost: x\r\n\r\n" % i for i in range(20)))
        bodies = []
        for _ in range(20):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), peers.LONG)
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            bodies.append(int(await reader.readexactly(length)))
        writer.close()
        await writer.wait_closed()
        return bodies

    assert serve_and_run(way, main, caplog) == list(range(20))


def test_shutdown_with_idle_connections(way, caplog):
    async def main(server, session):
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(10)]
        async with session.get(f"{server.url}/hello/1") as response:
            text = await response.text()
        for _, writer in idle[:5]:
            writer.close()
        server.server.should_exit = True
        for reader, writer in idle[5:]:
            assert await asyncio.wait_for(reader.read(), peers.LONG) == b""
            writer.close()
        return text

    assert serve_and_run(way, main, caplog) == "1"
