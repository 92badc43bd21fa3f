"""OpenTelemetry's AsyncioInstrumentor, which sets attributes of asyncio's module and classes, on a program that found asyncloop installed."""
import subprocess
import sys

import pytest

from kits import PATIENCE, SUBJECT
from sidebyside import child_env

pytest.importorskip("opentelemetry.instrumentation.asyncio", reason="opentelemetry-instrumentation-asyncio is not installed")
pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")
pytestmark = pytest.mark.skipif(SUBJECT == "asyncio", reason="compares `python` with `python -m asyncloop`")

PROGRAM = """
import asyncio, os
os.environ.update(OTEL_PYTHON_ASYNCIO_COROUTINE_NAMES_TO_TRACE="work,sleep", OTEL_PYTHON_ASYNCIO_FUTURE_TRACE_ENABLED="true",
                  OTEL_PYTHON_ASYNCIO_TO_THREAD_FUNCTION_NAMES_TO_TRACE="count")
from opentelemetry.instrumentation.asyncio import AsyncioInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))

async def work(n):
    await asyncio.sleep(0)
    return n

def count():
    return 7

async def main():
    async with asyncio.TaskGroup() as tg:
        tasks = [tg.create_task(work(n)) for n in range(3)]
    print([t.result() for t in tasks])
    print(await asyncio.gather(work(4), work(5)), await asyncio.wait_for(work(6), 5), await asyncio.to_thread(count))
    print(await asyncio.create_task(work(8)), len((await asyncio.wait([asyncio.ensure_future(work(9))]))[0]))

instrumentor = AsyncioInstrumentor()
instrumentor.instrument(tracer_provider=provider)
asyncio.run(main())
print(sorted(span.name for span in spans.get_finished_spans()))
instrumentor.uninstrument()
spans.clear()
asyncio.run(main())
print(spans.get_finished_spans())
"""


def run(path, *runner):
    done = subprocess.run([sys.executable, "-W", "ignore", *runner, str(path)], env=child_env(), text=True, capture_output=True, timeout=60 * PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_spans_as_on_asyncio(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    plain = run(path)
    assert "asyncio" in plain
    assert run(path, "-m", "asyncloop") == plain
