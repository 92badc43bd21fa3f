"""nats-py, unmodified, with a nats-server: TCP, TLS begun after the server's first words, and JetStream."""
import asyncio

import pytest

import certs
import peers

nats = peers.app("nats", "nats-py")
errors = peers.app("nats.errors", "nats-py")
peers.program("openssl")  # makes the certificates

pytestmark = pytest.mark.limit(90)
# Its own start_tls does not tell its stream's protocol of it.
KNOWN_WARNINGS = ("returning true from eof_received() has no effect when using ssl",)
SETTINGS = """
listen: "127.0.0.1:{port}"
jetstream {{ store_dir: "{folder}/js" }}
"""
TLS = """
tls {{ cert_file: "{folder}/server.pem", key_file: "{folder}/server.key", timeout: 60 }}
"""


class Server(peers.Peer):
    def __init__(self, folder, port, kind):
        user = peers.unprivileged()
        peers.put(folder, {"server.pem": certs.path("server"), "server.key": certs.path("key")}, user)
        with open(f"{folder}/settings", "w") as file:
            file.write((SETTINGS + (TLS if kind == "tls" else "")).format(folder=folder, port=port))
        super().__init__("nats-server", ["-c", f"{folder}/settings"], folder, user=user)
        self.kind, self.port = kind, port

    async def connect(self, **more):
        if self.kind == "tls":
            more["tls"] = certs.client_context()
        return await nats.connect(f"nats://127.0.0.1:{self.port}", connect_timeout=peers.LONG, **more)


@pytest.fixture(scope="module", params=["tcp", "tls"])
def server(request):
    with peers.folder(peers.unprivileged()) as folder, peers.port() as port, Server(folder, port, request.param) as server:
        server.wait_until(lambda: peers.listens(port))
        yield server


def test_publish_and_subscribe(run, server):
    async def main():
        ear, mouth = await server.connect(), await server.connect()
        one, by_callback, end = await ear.subscribe("news.*"), [], asyncio.Event()

        async def hear(message):
            by_callback.append(message.data)
            if message.subject == "news.end":
                end.set()

        await ear.subscribe("news.>", cb=hear)
        await ear.flush()
        for n in range(2000):
            await mouth.publish(f"news.{n % 7}", b"%d " % n + b"x" * 500)
        await mouth.publish("news.end", b"")
        await mouth.flush()
        heard = [await one.next_msg(timeout=peers.LONG) for _ in range(2001)]
        await asyncio.wait_for(end.wait(), peers.LONG)
        with pytest.raises(errors.TimeoutError):
            await one.next_msg(timeout=0.01)
        await ear.drain()
        await mouth.close()
        return [message.data for message in heard], by_callback

    heard, by_callback = run(main)
    assert heard == by_callback == [b"%d " % n + b"x" * 500 for n in range(2000)] + [b""]


def test_requests(run, server):
    async def main():
        one, other = await server.connect(), await server.connect()
        served = {0: 0, 1: 0}

        def service(which):
            async def serve(message):
                served[which] += 1
                await message.respond(message.data.upper())
            return serve

        for which in served:
            await other.subscribe("upper", queue="workers", cb=service(which))
        await other.flush()
        answers = await asyncio.gather(*(one.request("upper", b"n%d" % n, timeout=peers.LONG) for n in range(300)))
        with pytest.raises(errors.NoRespondersError):
            await one.request("nobody", timeout=peers.LONG)
        task = asyncio.create_task(one.request("upper.later", timeout=peers.LONG))
        await other.subscribe("upper.later")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await one.close()
        await other.close()
        return [answer.data for answer in answers], sum(served.values())

    assert run(main) == ([b"N%d" % n for n in range(300)], 300)


def test_jetstream(run, server):
    async def main():
        one = await server.connect()
        streams = one.jetstream(timeout=peers.LONG)
        await streams.add_stream(name="stream", subjects=["kept.*"], storage="memory")
        try:
            acks = [await streams.publish(f"kept.{n}", b"%d" % n) for n in range(50)]
            pull = await streams.pull_subscribe("kept.*", "reader")
            got = []
            while len(got) < 50:
                for message in await pull.fetch(10, timeout=peers.LONG):
                    got.append(message.data)
                    await message.ack()
            return [ack.seq for ack in acks], got
        finally:
            await streams.delete_stream("stream")
            await one.close()

    assert run(main) == (list(range(1, 51)), [b"%d" % n for n in range(50)])
