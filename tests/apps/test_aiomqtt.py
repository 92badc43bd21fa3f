"""aiomqtt, unmodified, with a mosquitto: paho's sockets, which block, watched by add_reader and add_writer."""
import asyncio
import ssl

import pytest

import certs
import peers

aiomqtt = peers.app("aiomqtt")
peers.program("openssl")  # makes the certificates

pytestmark = pytest.mark.limit(90)
SETTINGS = """
allow_anonymous true
persistence false
max_queued_messages 0
listener {port} 127.0.0.1
listener {tls_port} 127.0.0.1
cafile {folder}/authority.pem
certfile {folder}/server.pem
keyfile {folder}/server.key
"""


class Broker(peers.Peer):
    def __init__(self, folder, port, tls_port):
        user = peers.unprivileged()
        peers.put(folder, {"server.pem": certs.path("server"), "server.key": certs.path("key"), "authority.pem": certs.path("authority")}, user)
        with open(f"{folder}/settings", "w") as file:
            file.write(SETTINGS.format(folder=folder, port=port, tls_port=tls_port))
        super().__init__("mosquitto", ["-c", f"{folder}/settings"], folder, user=user)
        self.ports = {"tcp": port, "tls": tls_port}


@pytest.fixture(scope="module")
def broker():
    with peers.folder(peers.unprivileged()) as folder, peers.port() as port, peers.port() as tls_port, Broker(folder, port, tls_port) as broker:
        broker.wait_until(lambda: peers.listens(port) and peers.listens(tls_port))
        yield broker


@pytest.fixture(params=["tcp", "tls"])
def connect(request, broker):
    def connect(**more):
        if request.param == "tls":
            more["tls_context"] = ssl.create_default_context(cafile=certs.path("authority"))
        return aiomqtt.Client("127.0.0.1", broker.ports[request.param], timeout=peers.LONG, **more)
    return connect


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_publish_and_subscribe(run, connect, qos):
    async def main():
        async with connect() as ear, connect() as mouth:
            await ear.subscribe("news/#", qos=qos)
            for n in range(100):
                await mouth.publish(f"news/{n}", f"{n} " + "x" * 1000, qos=qos)
            await mouth.publish("news/end", qos=qos)
            heard = []
            async for message in ear.messages:
                if message.topic.matches("news/end"):
                    return heard
                heard.append((str(message.topic), message.payload[:2]))

    assert run(main) == [(f"news/{n}", f"{n} "[:2].encode()) for n in range(100)]


def test_big_and_retained(run, connect):
    data = b"y" * 3_000_000

    async def main():
        async with connect() as mouth:
            await mouth.publish("kept", data, qos=1, retain=True)
        async with connect() as ear:
            await ear.subscribe("kept")
            message = await anext(ear.messages)
            await ear.publish("kept", retain=True, qos=1)
            return message.retain, message.payload == data

    assert run(main) == (True, True)


def test_will_and_cancelled(run, connect):
    async def main():
        async with connect() as ear:
            await ear.subscribe("will", qos=1)

            async def live():
                async with connect(will=aiomqtt.Will("will", b"gone", qos=1), protocol=aiomqtt.ProtocolVersion.V5) as one:
                    await one.publish("will", b"here", qos=1)
                    await asyncio.Event().wait()

            task = asyncio.create_task(live())
            first = await anext(ear.messages)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await ear.publish("will", b"last", qos=1)
            return first.payload, (await anext(ear.messages)).payload

    assert run(main) == (b"here", b"last")  # a client that leaves in good order has no will


def test_no_broker(run):
    async def main():
        with peers.port() as port:
            with pytest.raises(aiomqtt.MqttError):
                async with aiomqtt.Client("127.0.0.1", port):
                    pass

    run(main)
