"""aioquic, unmodified: QUIC at both ends of loopback; its timers and datagrams are the loop's."""
import asyncio
import contextlib
import hashlib
import os

import pytest

import certs
import peers

aioquic = peers.app("aioquic.asyncio", "aioquic")
configuration = peers.app("aioquic.quic.configuration", "aioquic")
peers.program("openssl")  # makes the certificates

pytestmark = pytest.mark.limit(90)


async def answer(reader, writer):
    """For each stream that a client opens: the same bytes back, upper case."""
    while data := await reader.read(65536):
        writer.write(data.upper())
    writer.write_eof()


@contextlib.asynccontextmanager
async def connected():
    ours = configuration.QuicConfiguration(is_client=False, alpn_protocols=["echo"])
    ours.load_cert_chain(certs.path("server"), certs.path("key"))
    tasks = set()

    def handle(reader, writer):
        task = asyncio.ensure_future(answer(reader, writer))
        tasks.add(task)

    server = await aioquic.serve("127.0.0.1", 0, configuration=ours, stream_handler=handle)
    port = server._transport.get_extra_info("sockname")[1]
    theirs = configuration.QuicConfiguration(is_client=True, alpn_protocols=["echo"], server_name="localhost")
    theirs.load_verify_locations(certs.path("authority"))
    try:
        async with aioquic.connect("127.0.0.1", port, configuration=theirs, local_port=0) as client:
            yield client
            await client.ping()
        await asyncio.gather(*tasks)
    finally:
        server.close()


def test_streams(run):
    data = os.urandom(1 << 16).lower() * 6

    async def main():
        async with connected() as client:
            async def use(n):
                reader, writer = await client.create_stream()
                writer.write(b"%d " % n + data)
                writer.write_eof()
                return hashlib.sha256(await reader.read()).digest()

            return await asyncio.gather(*(use(n) for n in range(4)))

    assert run(main) == [hashlib.sha256((b"%d " % n + data).upper()).digest() for n in range(4)]


def test_new_keys_and_ids(run):
    async def main():
        async with connected() as client:
            await client.ping()
            client.request_key_update()
            await client.ping()
            client.change_connection_id()
            await client.ping()
            reader, writer = await client.create_stream()
            writer.write(b"text")
            writer.write_eof()
            text = await reader.read()
        return text

    assert run(main) == b"TEXT"
