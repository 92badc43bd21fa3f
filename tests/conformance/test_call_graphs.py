"""Call graphs (3.14 and later): asyncio.format_call_graph shows a task that waits in a helper as on asyncio, and who waits for whom.

A helper of ours is one frame, that of the function which the program called; what asyncio's function awaits in functions of its own is not shown
(docs/differences.md).  So of neighbouring frames of the standard library only the outermost is compared.
"""
import asyncio
import re
import sys
import threading

import pytest

from sidebyside import same

pytestmark = pytest.mark.skipif(sys.version_info < (3, 14), reason="call graphs came with Python 3.14")


def shown(task):
    """The graph as text, without what differs: identities, inner frames and lines of the standard library, where ours stand at the function's first."""
    text = re.sub(r"id=0x[0-9a-f]+", "id", asyncio.format_call_graph(task))
    lines = re.sub(r"(File '[^']*/asyncio/\w+\.py'), line \d+", r"\1", text).splitlines()
    is_helper = ["/asyncio/" in line for line in lines]
    return [line for n, line in enumerate(lines) if not (is_helper[n] and is_helper[n + 1:n + 2] == [True])]


async def until_waiting(task):
    """Some passes, until the task is where it stays."""
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done(), task


def scenario(enter):
    """A task that awaits what enter gives, in a coroutine of its own."""
    @same
    def test(t):
        async def inner(awaitable):
            await awaitable

        async def outer(awaitable):
            await inner(awaitable)

        async def main():
            prepared = enter(t)
            if asyncio.iscoroutine(prepared):
                prepared = await prepared
            awaitable, *ends = prepared
            task = t.kit.Task(outer(awaitable), loop=t.loop, name="the task")
            await until_waiting(task)
            t.say(shown(task))
            task.cancel()
            await asyncio.wait([task])
            for end in ends:
                end()

        t.run(main())

    return test


def helpers(t):
    """The functions and classes of this kit."""
    return t.kit.classes


async def forever(t):
    await t.loop.create_future()


test_future = scenario(lambda t: [t.future()])
test_sleep = scenario(lambda t: [helpers(t).sleep(60)])
test_wait_for = scenario(lambda t: [helpers(t).wait_for(forever(t), 60)])
test_wait_for_without_a_timeout = scenario(lambda t: [helpers(t).wait_for(forever(t), None)])
test_gather = scenario(lambda t: [helpers(t).gather(forever(t), forever(t))])
test_shield = scenario(lambda t: [helpers(t).shield(t.future())])


@scenario
def test_wait(t):
    tasks = [t.task(forever(t), name=f"child {n}") for n in range(2)]
    return [helpers(t).wait(tasks), *(task.cancel for task in tasks)]


@scenario
def test_timeout(t):
    async def inside():
        async with helpers(t).timeout(60):
            await helpers(t).sleep(50)

    return [inside()]


@scenario
def test_task_group(t):
    async def inside():
        async with helpers(t).TaskGroup() as group:
            group.create_task(forever(t), name="a child")

    return [inside()]


@same
def test_the_child_of_a_task_group(t):
    """From the inside: whom the child is awaited by."""
    async def child():
        await t.loop.create_future()

    async def parent(tasks):
        async with helpers(t).TaskGroup() as group:
            tasks.append(group.create_task(child(), name="the child"))

    async def main():
        tasks = []
        outer = t.task(parent(tasks), name="the parent")
        await until_waiting(outer)
        t.say(shown(tasks[0]))
        outer.cancel()
        await asyncio.wait([outer])

    t.run(main())


@same
def test_whom_children_are_awaited_by(t):
    async def parent(child, name):
        helper = getattr(helpers(t), name)
        await (helper([child]) if name == "wait" else helper(child, 60) if name == "wait_for" else helper(child))

    async def main():
        for name in ("gather", "wait", "shield", "wait_for"):
            child = t.task(forever(t), name="the child")
            outer = t.task(parent(child, name), name="the parent")
            await until_waiting(outer)
            t.say(name, shown(child))
            outer.cancel()
            child.cancel()
            await asyncio.wait([outer, child])

    t.run(main())


@scenario
async def test_lock(t):
    lock = helpers(t).Lock()
    await lock.acquire()
    return [lock.acquire(), lock.release]


@scenario
async def test_lock_by_with(t):
    lock = helpers(t).Lock()
    await lock.acquire()

    async def inside():
        async with lock:
            pass

    return [inside(), lock.release]


@scenario
async def test_condition(t):
    condition = helpers(t).Condition()

    async def inside():
        async with condition:
            await condition.wait()

    return [inside()]


@scenario
async def test_condition_wait_for(t):
    condition = helpers(t).Condition()

    async def inside():
        async with condition:
            await condition.wait_for(lambda: False)

    return [inside()]


@scenario
async def test_semaphore(t):
    semaphore = helpers(t).Semaphore(0)
    return [semaphore.acquire()]


@scenario
async def test_semaphore_by_with(t):
    semaphore = helpers(t).BoundedSemaphore(1)
    await semaphore.acquire()

    async def inside():
        async with semaphore:
            pass

    return [inside()]


test_event = scenario(lambda t: [helpers(t).Event().wait()])
test_barrier = scenario(lambda t: [helpers(t).Barrier(2).wait()])
test_queue_get = scenario(lambda t: [helpers(t).Queue().get()])


@scenario
async def test_barrier_by_with(t):
    async def inside():
        async with helpers(t).Barrier(2):
            pass

    return [inside()]


@scenario
async def test_queue_put(t):
    queue = helpers(t).Queue(1)
    queue.put_nowait(1)
    return [queue.put(2)]


@scenario
async def test_queue_join(t):
    queue = helpers(t).Queue()
    queue.put_nowait(1)
    return [queue.join()]


@same
def test_stream_reader(t):
    async def inside(method, arguments):
        await getattr(helpers(t).StreamReader(loop=t.loop), method)(*arguments)

    async def main():
        for call in (("read",), ("read", 5), ("readline",), ("readexactly", 5), ("readuntil", b"x")):
            task = t.kit.Task(inside(call[0], call[1:]), loop=t.loop, name="the task")
            await until_waiting(task)
            t.say(call, shown(task))
            task.cancel()
            await asyncio.wait([task])

    t.run(main())


@scenario
async def test_drain(t):
    class Full(asyncio.Transport):
        def is_closing(self):
            return False

        def close(self):
            pass

    reader = helpers(t).StreamReader(loop=t.loop)
    protocol = helpers(t).StreamReaderProtocol(reader, loop=t.loop)
    protocol.pause_writing()
    writer = helpers(t).StreamWriter(Full(), protocol, reader, t.loop)
    return [writer.drain()]


@scenario
async def test_to_thread(t):
    release = threading.Event()
    return [helpers(t).to_thread(release.wait), release.set]


@scenario
async def test_sock_recv(t):
    import socket
    here, there = socket.socketpair()
    here.setblocking(False)
    return [t.loop.sock_recv(here, 10), here.close, there.close]
