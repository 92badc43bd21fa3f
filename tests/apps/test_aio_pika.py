"""aio-pika, unmodified, with a RabbitMQ."""
import asyncio
import contextlib
import os

import pytest

import peers

aio_pika = peers.app("aio_pika", "aio-pika")

pytestmark = pytest.mark.limit(180)  # the broker takes its time to start


class Broker(peers.Peer):
    """A node of its own, which finds an epmd of its own, so that nothing of either is left running."""

    def __init__(self, folder, port, names_port, node_port):
        self.port = port
        with open(f"{folder}/settings.conf", "w") as file:
            file.write(f"listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = true\nlog.console.level = warning\ndisk_free_limit.absolute = 1MB\n")
        env = {"HOME": folder, "ERL_EPMD_PORT": str(names_port), "RABBITMQ_DIST_PORT": str(node_port), "RABBITMQ_NODENAME": f"test{port}@localhost",
               "RABBITMQ_MNESIA_BASE": f"{folder}/base", "RABBITMQ_LOG_BASE": f"{folder}/logs", "RABBITMQ_LOGS": "-", "RABBITMQ_CONFIG_FILE": f"{folder}/settings.conf",
               "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins", "RABBITMQ_PID_FILE": f"{folder}/pid",
               # No shell between us and the virtual machine, one thread that runs, and none that spins.
               "RABBITMQ_ALLOW_INPUT": "1", "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none"}
        super().__init__("rabbitmq-server", ["-noinput"], folder, user=peers.unprivileged(), env=env)


@pytest.fixture(scope="module")
def broker():
    user = peers.unprivileged()
    with contextlib.ExitStack() as stack:
        names_folder, folder = (stack.enter_context(peers.folder(user)) for _ in range(2))
        port, names_port, node_port = (stack.enter_context(peers.port()) for _ in range(3))
        names = stack.enter_context(peers.Peer("epmd", ["-port", str(names_port), "-address", "127.0.0.1"], names_folder, user=user))
        names.wait_until(lambda: peers.listens(names_port))
        broker = stack.enter_context(Broker(folder, port, names_port, node_port))
        broker.wait_until(lambda: peers.listens(port))
        yield broker


def connect(broker, **more):
    return aio_pika.connect_robust(f"amqp://guest:guest@127.0.0.1:{broker.port}/", timeout=peers.LONG, **more)


def test_queue(run, broker):
    async def main():
        async with await connect(broker) as one, one.channel() as channel:
            await channel.set_qos(prefetch_count=10)
            queue = await channel.declare_queue(exclusive=True)
            for n in range(300):
                confirmed = await channel.default_exchange.publish(aio_pika.Message(b"%d " % n + b"x" * n * 100), queue.name)
                assert confirmed
            got = []
            async with queue.iterator() as messages:
                async for message in messages:
                    async with message.process():
                        got.append(message.body)
                    if len(got) == 300:
                        break
            return got, (await channel.declare_queue(queue.name, exclusive=True, passive=True)).declaration_result.message_count

    assert run(main) == ([b"%d " % n + b"x" * n * 100 for n in range(300)], 0)


def test_topics_and_callbacks(run, broker):
    async def main():
        async with await connect(broker) as one, await connect(broker) as other:
            channel = await one.channel()
            exchange = await channel.declare_exchange("topics", aio_pika.ExchangeType.TOPIC, auto_delete=True)
            heard, end = {"a.*": [], "#": []}, asyncio.Event()
            for key, said in heard.items():
                queue = await channel.declare_queue(exclusive=True)
                await queue.bind(exchange, key)

                async def hear(message, said=said):
                    async with message.process():
                        said.append(message.routing_key)
                        if message.routing_key == "end":
                            end.set()

                await queue.consume(hear)
            there = await (await other.channel()).get_exchange("topics")
            for n in range(100):
                await there.publish(aio_pika.Message(b""), f"{'ab'[n % 2]}.{n}")
            await there.publish(aio_pika.Message(b""), "end")
            await asyncio.wait_for(end.wait(), peers.LONG)
            await channel.close()
            return heard

    assert run(main) == {"a.*": [f"a.{n}" for n in range(0, 100, 2)], "#": [f"{'ab'[n % 2]}.{n}" for n in range(100)] + ["end"]}


def test_transaction_error_and_cancel(run, broker):
    data = os.urandom(1 << 20)

    async def main():
        async with await connect(broker) as one:
            channel = await one.channel(publisher_confirms=False)
            queue = await channel.declare_queue("kept", auto_delete=True)
            with contextlib.suppress(ZeroDivisionError):
                async with channel.transaction():
                    await channel.default_exchange.publish(aio_pika.Message(b"lost"), "kept")
                    raise ZeroDivisionError
            async with channel.transaction():
                await channel.default_exchange.publish(aio_pika.Message(data), "kept")
            message = await queue.get(timeout=peers.LONG)
            await message.ack()
            with pytest.raises(aio_pika.exceptions.QueueEmpty):
                await queue.get(timeout=peers.LONG)
            waits = asyncio.create_task(anext(aiter(queue.iterator())))
            await asyncio.sleep(0.02)
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits
            other = await one.channel()
            with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
                await other.declare_queue("nothing", passive=True)
            return message.body == data

    assert run(main)
