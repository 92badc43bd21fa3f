"""trio-asyncio, unmodified: asyncio code inside trio, on its own loops, with asyncio's helpers or ours after install().

It binds the names of asyncio.events anew by which everybody asks for the running loop, sets `cancel` on futures, and derives its loops from
asyncio's.  A process of its own each, as importing it changes asyncio for good.  Its own test suite passes after install() as well.
"""
import subprocess
import sys

import pytest

import peers
from sidebyside import PATIENCE, child_env

if sys.version_info >= (3, 14):
    pytest.skip("trio-asyncio needs asyncio's policies as they were up to 3.13", allow_module_level=True)
peers.installed("trio_asyncio", "trio-asyncio")

PROGRAM = """
import asyncio, sys
if "install" in sys.argv:
    import asyncloop
    asyncloop.install()
import trio, trio_asyncio

async def in_asyncio():
    loop = asyncio.get_running_loop()
    print("loop", type(loop).__name__, asyncio.current_task() is not None)
    print("helpers", await asyncio.gather(asyncio.sleep(0.001, 1), asyncio.wait_for(asyncio.sleep(0, 2), 30)))
    queue, lock, event = asyncio.Queue(1), asyncio.Lock(), asyncio.Event()
    async with asyncio.timeout(30), lock, asyncio.TaskGroup() as group:
        group.create_task(queue.put("item"))
        waits = group.create_task(event.wait())
        print("queue", await queue.get())
        event.set()
    print("event", waits.result())
    done, pending = await asyncio.wait([asyncio.create_task(asyncio.sleep(0)), loop.create_future()], timeout=0.01)
    print("wait", len(done), len(pending))
    print("thread", await asyncio.to_thread(sum, [1, 2]))
    print("trio", await trio_asyncio.trio_as_aio(in_trio)(3))

async def in_trio(value):
    await trio.sleep(0.001)
    return value * 2

async def cancelled_in_trio():
    try:
        await trio.sleep_forever()
    finally:
        print("trio is cancelled")

async def times_out():
    try:
        async with asyncio.timeout(0.01):
            await trio_asyncio.trio_as_aio(cancelled_in_trio)()
    except TimeoutError:
        print("timeout")

async def server():
    async def serve(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    served = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*served.sockets[0].getsockname())
    writer.write(b"line\\n")
    print("stream", await reader.read())
    writer.close()
    await writer.wait_closed()
    served.close()
    await served.wait_closed()

async def main():
    async with trio_asyncio.open_loop():
        await trio_asyncio.aio_as_trio(in_asyncio)()
        await trio_asyncio.aio_as_trio(times_out)()
        await trio_asyncio.aio_as_trio(server)()
        with trio.move_on_after(0.01) as scope:
            await trio_asyncio.aio_as_trio(asyncio.sleep)(30)
        print("scope", scope.cancelled_caught)

trio.run(main)

async def after():
    print("plain", type(asyncio.get_running_loop()).__module__.split(".")[0], await asyncio.gather(asyncio.sleep(0, 1)))
if "install" in sys.argv:
    asyncloop.run(after())
"""

EXPECTED = """loop TrioEventLoop True
helpers [1, 2]
queue item
event True
wait 1 1
thread 3
trio 6
trio is cancelled
timeout
stream b'LINE\\n'
scope True
"""


@pytest.mark.parametrize("way", ["asyncio", "install"])
def test_trio_asyncio(way):
    done = subprocess.run([sys.executable, "-c", PROGRAM, way], env=child_env(), text=True, capture_output=True, timeout=60 * PATIENCE)
    plain = "plain asyncloop [1]\n" if way == "install" else ""
    assert (done.stdout, done.stderr, done.returncode) == (EXPECTED + plain, "", 0)
