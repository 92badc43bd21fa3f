"""aiokafka, unmodified.  Kafka's broker is in no Debian package: the one here is in librdkafka, in C, which confluent-kafka brings, for tests of clients."""
import asyncio
import os
import subprocess
import sys

import pytest

import peers

peers.apps("aiokafka", "confluent_kafka")
aiokafka = peers.app("aiokafka")

pytestmark = pytest.mark.limit(90)
BROKERS = """
import sys
from confluent_kafka.admin import AdminClient
client = AdminClient({"bootstrap.servers": "ignored", "test.mock.num.brokers": 3, "log_level": 2})
brokers = client.list_topics(timeout=60).brokers.values()
print(",".join(f"127.0.0.1:{each.port}" for each in brokers), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def brokers():
    with subprocess.Popen([sys.executable, "-c", BROKERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=peers.die_with_us) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def test_produce_and_consume(run, brokers):
    topic = f"topic-{os.urandom(4).hex()}"  # the broker makes it when it is first named

    async def main():
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=brokers) as producer:
            sent = await asyncio.gather(*(producer.send_and_wait(topic, b"%d" % n, key=b"%d" % (n % 10)) for n in range(500)))
        consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=brokers, auto_offset_reset="earliest", enable_auto_commit=False)
        consumer.assign([aiokafka.TopicPartition(topic, n) for n in range(4)])
        async with consumer:
            got = []
            async for message in consumer:
                got.append((message.partition, message.offset, message.value))
                if len(got) == 500:
                    break
        return sorted((each.partition, each.offset) for each in sent), got

    sent, got = run(main)
    assert sorted(each[:2] for each in got) == sent
    assert sorted(int(each[2]) for each in got) == list(range(500))
