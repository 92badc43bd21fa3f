"""An aiohttp client, unmodified, with nginx as its server over TLS."""
import asyncio
import hashlib
import io
import os
import shutil
import ssl

import pytest

import certs
import peers

aiohttp = peers.client("aiohttp")

pytestmark = pytest.mark.limit(120)
peers.program("openssl")  # makes the certificates
BIG = 8 * 1024 * 1024
REQUESTS_PER_CONNECTION = 40

SETTINGS = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/log warn;
events {{ worker_connections 500; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 100m;
    ssl_certificate {folder}/server.pem;
    ssl_certificate_key {folder}/key;
    ssl_client_certificate {folder}/authority.pem;
    ssl_verify_client optional;
    ssl_protocols TLSv1.2 TLSv1.3;
    server {{
        listen 127.0.0.1:{port} ssl;
        keepalive_requests {requests};
        location /hello/ {{ return 200 "$uri $connection $ssl_protocol $ssl_client_s_dn"; }}
        location /files/ {{ root {folder}; dav_methods PUT; create_full_put_path on; }}
        location /cut {{ return 444; }}
    }}
}}
"""


class Server(peers.Peer):
    """nginx in one process, with a folder to put files into."""

    def __init__(self, folder, port):
        for name in ("server", "key", "authority"):
            shutil.copy(certs.path(name), os.path.join(folder, os.path.basename(certs.path(name))))
        settings = os.path.join(folder, "nginx.conf")
        with open(settings, "w") as file:
            file.write(SETTINGS.format(folder=folder, port=port, requests=REQUESTS_PER_CONNECTION))
        os.mkdir(os.path.join(folder, "files"))
        super().__init__("nginx", ["-c", settings, "-p", folder, "-e", os.path.join(folder, "log")], folder)
        self.port = port
        self.url = f"https://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def server():
    with peers.folder() as folder, peers.port() as port, Server(folder, port) as server:
        server.wait_until(lambda: peers.listens(port))
        yield server


def session(context=None, **options):
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context or certs.client_context(), **options))


def test_a_thousand_requests_fifty_at_once(run, server):
    async def main():
        async def get(n):
            async with limit, client.get(f"{server.url}/hello/{n}") as response:
                assert response.status == 200
                uri, connection, *_ = (await response.text()).split(" ")
                return uri, connection

        limit = asyncio.Semaphore(50)
        async with session() as client:
            return await asyncio.gather(*(get(n) for n in range(1000)))

    answers = run(main)
    assert [uri for uri, _ in answers] == [f"/hello/{n}" for n in range(1000)]
    of_connection = [connection for _, connection in answers]
    uses = [of_connection.count(each) for each in set(of_connection)]
    # kept alive, but none for longer than nginx allows: it ends each in order, and the client opens the next
    assert max(uses) <= REQUESTS_PER_CONNECTION and 1000 / REQUESTS_PER_CONNECTION <= len(uses) < 150


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)
def test_large_body_both_ways(run, server, version):
    data = os.urandom(1 << 20) * (BIG >> 20)

    async def main():
        async def blocks():
            for i in range(0, len(data), 100_000):
                yield data[i:i + 100_000]

        digest, n = hashlib.sha256(), 0
        async with session(certs.client_context(version=version)) as client:
            async with client.get(f"{server.url}/hello/") as response:
                assert (await response.text()).split(" ")[2] == version.name.replace("_", ".")
            for put in (io.BytesIO(data), blocks()):
                async with client.put(f"{server.url}/files/big", data=put) as response:
                    assert response.status in (201, 204)
            async with client.get(f"{server.url}/files/big") as response:
                async for piece in response.content.iter_any():
                    digest.update(piece)
                    n += len(piece)
        return n, digest.digest()

    assert run(main) == (BIG, hashlib.sha256(data).digest())


def test_slow_reader(run, server):
    data = bytes(range(256)) * (BIG >> 8)
    with open(os.path.join(server.folder, "files", "slow"), "wb") as file:
        file.write(data)

    async def main():
        digest = hashlib.sha256()
        async with session() as client, client.get(f"{server.url}/files/slow") as response:
            while piece := await response.content.read(300_000):
                digest.update(piece)
                await asyncio.sleep(0.001)
        return digest.digest()

    assert run(main) == hashlib.sha256(data).digest()


def test_client_certificate(run, server):
    async def main():
        async def subject(context):
            async with session(context) as client, client.get(f"{server.url}/hello/") as response:
                return (await response.text()).split(" ", 3)[3]

        return await subject(certs.client_context()), await subject(certs.client_context("client"))

    assert run(main) == ("", "CN=client")


def test_wrong_certificates(run, server):
    async def main():
        async with session(certs.client_context(trusts="stranger")) as client:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await client.get(server.url)
        async with session() as client:
            with pytest.raises(aiohttp.ClientConnectorCertificateError, match="Hostname mismatch"):
                await client.get(server.url, server_hostname="elsewhere.example")

    run(main)


def test_connection_cut_without_an_answer(run, server):
    async def main():
        async with session() as client:
            for _ in range(10):
                with pytest.raises(aiohttp.ServerDisconnectedError):
                    await client.get(f"{server.url}/cut")
            async with client.get(f"{server.url}/hello/still") as response:
                return (await response.text()).split(" ")[0]

    assert run(main) == "/hello/still"


def test_client_gives_up_in_the_middle(run, server):
    with open(os.path.join(server.folder, "files", "long"), "wb") as file:
        file.truncate(BIG)

    async def main():
        async with session() as client:
            for _ in range(10):
                async with client.get(f"{server.url}/files/long") as response:
                    assert len(await response.content.readexactly(100_000)) == 100_000
            async with client.get(f"{server.url}/hello/still") as response:
                return (await response.text()).split(" ")[0]

    assert run(main) == "/hello/still"


def test_portable_engine(server, by_portable_engine):
    by_portable_engine()
