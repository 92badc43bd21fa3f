"""Sentry's asyncio integration: a task factory that wraps every coroutine, and a `close` of its own on the loop."""
import pytest

import peers
import programs

peers.apps("sentry_sdk")

pytestmark = pytest.mark.limit(120)

PROGRAM = """
import chosen
import asyncio
import sentry_sdk
from sentry_sdk.integrations.asyncio import AsyncioIntegration
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.transport import Transport

sent = []


class Keep(Transport):
    def capture_envelope(self, envelope):
        for item in envelope.items:
            sent.append(item.payload.json)


async def work(n):
    sentry_sdk.set_tag("n", n)
    await asyncio.sleep(0.001)
    return n


async def fails():
    await asyncio.sleep(0)
    raise ValueError("on purpose")


async def main(*, handled):
    chosen.check()
    sentry_sdk.init("http://key@127.0.0.1:9/1", transport=Keep, traces_sample_rate=1.0, default_integrations=False, auto_enabling_integrations=False,
                    integrations=[AsyncioIntegration()])
    with sentry_sdk.start_transaction(name="main"):
        async with asyncio.TaskGroup() as group:
            for n in range(3):
                group.create_task(work(n))
        print(await asyncio.gather(work(3), work(4), fails(), return_exceptions=True))
        task = asyncio.create_task(work(5), name="named")
        print(task.get_name(), await asyncio.wait_for(task, 30))
        gone = asyncio.create_task(asyncio.sleep(30))
        await asyncio.sleep(0)
        gone.cancel()
        print((await asyncio.wait([gone]))[0] == {gone}, gone.cancelled())
        eager = asyncio.eager_task_factory if hasattr(asyncio, "eager_task_factory") else None
        print(type(asyncio.get_running_loop().get_task_factory()).__name__, eager is not None)

asyncio.run(main(handled=True))
for event in sent:
    if "exception" in event:
        print("event", [(each["type"], each["value"], [frame["function"] for frame in each["stacktrace"]["frames"] if frame["abs_path"].endswith("program.py")],
                         each["mechanism"]["type"], each["mechanism"]["handled"]) for each in event["exception"]["values"]])
    elif event.get("type") == "transaction":
        print("spans", sorted((span["op"], span["description"], span["origin"], span["status"] if "status" in span else None) for span in event["spans"]))
"""


def test_sentry(tmp_path):
    got = programs.compare(tmp_path, PROGRAM)
    assert "event [('ValueError', 'on purpose', ['fails'], 'asyncio', False)]" in got
    assert got.count("'work', 'auto.function.asyncio'") == 6
