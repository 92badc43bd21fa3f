"""curl with uvicorn as its server over TLS; curl is a child process of a second loop of the same kind."""
import asyncio
import hashlib
import os
import ssl

import pytest

import certs
import peers
import uvicorn_server

pytestmark = pytest.mark.limit(120)
peers.program("openssl")  # makes the certificates
CURL = peers.program("curl")
MANY = 500
BIG = 16 << 20


async def start(*words):
    return await asyncio.create_subprocess_exec(
        CURL, "--silent", "--show-error", "--http1.1", "--cacert", certs.path("authority"), *map(str, words), env=peers.environment(),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)


async def curl(*words):
    """Its exit status and what it printed."""
    process = await start(*words)
    try:
        out, err = await asyncio.wait_for(process.communicate(), peers.LONG)
    except BaseException:
        process.kill()
        await process.communicate()
        raise
    return process.returncode, out.decode(), err.decode()


def serve_and_run(way, main, caplog, **config):
    return uvicorn_server.serve_and_run(way, main, caplog, ssl_certfile=certs.path("server"), ssl_keyfile=certs.path("key"), **config)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_many_requests_on_one_connection(way, caplog, version):
    async def main(server):
        return await curl("--tlsv" + version, "--tls-max", version, "--write-out", " %{http_version} %{num_connects}\n",
                          f"{server.url}/hello/[1-{MANY}]")

    status, out, err = serve_and_run(way, main, caplog)
    assert (status, err) == (0, "")
    assert out.splitlines() == [f"{n} 1.1 {int(n == 1)}" for n in range(1, MANY + 1)]


def test_requests_in_parallel(way, caplog):
    async def main(server):
        return await curl("--parallel", "--parallel-immediate", "--parallel-max", 25, "--write-out", "\n", f"{server.url}/hello/[1-{MANY}]")

    status, out, _ = serve_and_run(way, main, caplog)
    assert status == 0
    # what several transfers print may be mixed, but not lost
    assert sorted(out.replace("\n", "")) == sorted("".join(str(n) for n in range(1, MANY + 1)))


@peers.without_control
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_big_upload(way, caplog, tmp_path, chunked):
    data = os.urandom(1 << 20) * (BIG >> 20)
    (tmp_path / "data").write_bytes(data)

    async def main(server):
        return await curl("--upload-file", tmp_path / "data", *(["--header", "Transfer-Encoding: chunked"] if chunked else []),
                          f"{server.url}/upload")

    assert serve_and_run(way, main, caplog) == (0, hashlib.sha256(data).hexdigest(), "")


@peers.without_control
@pytest.mark.parametrize("limit", [None, "40M"])
def test_big_download(way, caplog, tmp_path, limit):
    async def main(server):
        # with a limit curl reads slower than the server could write
        return await curl("--output", tmp_path / "data", *(["--limit-rate", limit] if limit else []), f"{server.url}/download/{BIG >> 20}")

    assert serve_and_run(way, main, caplog) == (0, "", "")
    data = (tmp_path / "data").read_bytes()
    assert len(data) == BIG and data == bytes(range(256)) * (BIG >> 8)


def test_curl_that_is_ended_in_the_middle(way, caplog):
    async def main(server):
        process = await start(f"{server.url}/endless")
        assert len(await asyncio.wait_for(process.stdout.readexactly(1_000_000), peers.LONG)) == 1_000_000
        process.terminate()
        await asyncio.wait_for(process.communicate(), peers.LONG)
        assert await asyncio.to_thread(server.app.disconnected.wait, peers.LONG)
        return await curl(f"{server.url}/hello/5")

    assert serve_and_run(way, main, caplog) == (0, "5", "")


def test_certificates(way, caplog):
    async def main(server):
        named = ["--cert", certs.path("client"), "--key", certs.path("key")]
        url = f"{server.url}/hello/1"
        return [(await curl(*words, url))[0] for words in (
            named, [], ["--cert", certs.path("strange_client"), "--key", certs.path("key")], [*named, "--cacert", certs.path("stranger")])] + [
            (await curl(*named, "--resolve", f"elsewhere.example:{server.port}:127.0.0.1", url.replace("127.0.0.1", "elsewhere.example")))[0]]

    good, none, strange, distrusted, misnamed = serve_and_run(way, main, caplog, ssl_ca_certs=certs.path("authority"), ssl_cert_reqs=ssl.CERT_REQUIRED)
    assert good == 0 and none != 0 and strange != 0
    assert (distrusted, misnamed) == (60, 60)  # curl does not believe the server's certificate


def test_portable_engine(by_portable_engine):
    by_portable_engine()
