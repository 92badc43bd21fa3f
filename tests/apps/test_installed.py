"""Programs that found asyncloop installed: `python -m asyncloop -m pytest` runs the tests of the other applications once more.

There asyncio.Task, asyncio.Future and every helper are ours before aiohttp, uvicorn, websockets or redis are imported, and so in all that they took from
asyncio.  The oracle of those tests is then asyncio's own loop with our helpers on it.
"""
import os
import re
import subprocess
import sys

import pytest

import peers
from sidebyside import child, child_env

HERE = os.path.dirname(os.path.abspath(__file__))


@pytest.mark.limit(600)
@pytest.mark.parametrize("file, needs", [("test_aiohttp.py", "aiohttp"), ("test_uvicorn.py", "uvicorn"), ("test_websockets.py", "websockets"),
                                         ("test_redis.py", "redis")])
def test_again_when_installed(file, needs):
    peers.client(needs)
    if needs == "redis":
        peers.program("redis-server")
    got = subprocess.run([sys.executable, "-m", "asyncloop", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "asyncloop and loop_factory", os.path.join(HERE, file)],
                         env=child_env(), cwd=os.path.dirname(HERE), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=9 * peers.LONG)
    passed = re.search(r"(\d+) passed", got.stdout)
    assert got.returncode == 0 and passed and int(passed[1]) > 0, got.stdout[-10000:] + got.stderr[-3000:]


ANYIO = """
import asyncio, sys
if kit.name == "asyncloop":
    kit.loops.install()
import anyio, anyio.from_thread, anyio.to_thread
said = []


async def child(n, *, task_status=anyio.TASK_STATUS_IGNORED):
    await anyio.sleep(0.02 * n)
    task_status.started(n)
    said.append(n)
    return n


async def forever():
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.001)
        said.append("shielded")
        raise


async def bad():
    await anyio.sleep(0.001)
    raise ValueError("on purpose")


async def echo(stream):
    async with stream:
        async for data in stream:
            await stream.send(data)


async def main():
    async with anyio.create_task_group() as group:
        for n in range(3):
            group.start_soon(child, n)
        said.append(("started", await group.start(child, 5)))
    with anyio.move_on_after(0.01) as scope:
        await anyio.sleep_forever()
    said.append(scope.cancelled_caught)
    try:
        with anyio.fail_after(0.01):
            await anyio.sleep_forever()
    except TimeoutError:
        said.append("late")
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(bad)
            group.start_soon(forever)
    except* ValueError as group:
        said.append(len(group.exceptions))
    said.append(await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(child, 1)))
    lock, event, condition, limiter = anyio.Lock(), anyio.Event(), anyio.Condition(), anyio.CapacityLimiter(1)

    async def worker():
        async with lock, limiter:
            await anyio.sleep(0.001)
        async with condition:
            condition.notify_all()
        event.set()

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(worker)
        await event.wait()
    send, receive = anyio.create_memory_object_stream(2)

    async def produce():
        async with send:
            for n in range(10):
                await send.send(n)

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        said.append([n async for n in receive])
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, echo)
        async with await anyio.connect_tcp("127.0.0.1", listener.extra(anyio.abc.SocketAttribute.local_port)) as stream:
            await stream.send(b"hello")
            said.append(await stream.receive())
        group.cancel_scope.cancel()
    said.append((await anyio.run_process([sys.executable, "-c", "print(1)"])).stdout)
    said.append(isinstance(asyncio.current_task(), asyncio.Task))


for options in {}, {"debug": True}:
    anyio.run(main, backend_options=options)
with anyio.from_thread.start_blocking_portal() as portal:
    said.append(portal.call(child, 0))
    future = portal.start_task_soon(anyio.sleep_forever)
    said.append(future.cancel())
print(said)
"""


def test_anyio():
    """Cancel scopes look into tasks: _fut_waiter, _must_cancel, cancelling()."""
    import kits

    peers.client("anyio")
    expected, got = (child(ANYIO, kit, timeout=120) for kit in (kits.ORACLE, kits.OURS))
    assert expected.returncode == got.returncode == 0, expected.stderr + got.stderr
    assert expected.stdout == got.stdout
    assert got.stderr == ""
