"""What does not have to wait allocates nothing but what brings its value, and creates no future.

Each operation runs in a task on our loop: warmed up (free lists, the interpreter's own caches), then with an allocator that fails after so many
calls.  The free lists of futures and of timer handles, and the interpreter's of floats and the like, are empty meanwhile: one made in secret would need
memory too.

Where the interpreter itself allocates, the operation may cost as much as other code in which only the interpreter does: `async with` makes two
bound methods up to 3.13.  All of it runs in one child process, so that a crash is a failed test.
"""
import ctypes
import functools
import importlib.util
import json
import sys

import pytest

import asyncloop
from sidebyside import OURS, child

pytestmark = pytest.mark.skipif(importlib.util.find_spec("_testcapi") is None,
                                reason="this Python has no _testcapi, whose failing allocator is used")

LINES = "reader = lib.StreamReader(loop=loop); reader.feed_data(b'line one\\nline two\\n')"
BYTES = "a = data[1:]"  # a new object for each slice
METHODS = "a = x.__aenter__; b = x.__aexit__"

# name: (prepared before each attempt, the operation, the allocations it may need: a number, or code that needs as many)
OPERATIONS = {
    "Lock": ("x = lib.Lock()", "await x.acquire(); x.release()", 0),
    "Lock, by hand": ("x = lib.Lock()", "await x.__aenter__(); await x.__aexit__(None, None, None)", 0),
    "async with Lock": ("x = lib.Lock()", "async with x: pass", METHODS),
    "Lock after a wait": ("x = await contended(lib.Lock())", "await x.acquire(); x.release()", 0),
    "Semaphore": ("x = lib.Semaphore(2)", "await x.acquire(); await x.acquire(); x.release(); x.release()", 0),
    "Semaphore, by hand": ("x = lib.Semaphore(2)", "await x.__aenter__(); await x.__aexit__(None, None, None)", 0),
    "async with Semaphore": ("x = lib.Semaphore(2)", "async with x: pass", METHODS),
    "Semaphore after a wait": ("x = await contended(lib.Semaphore())", "await x.acquire(); x.release()", 0),
    "BoundedSemaphore": ("x = lib.BoundedSemaphore(2)", "await x.acquire(); await x.acquire(); x.release(); x.release()", 0),
    "async with BoundedSemaphore": ("x = lib.BoundedSemaphore(2)", "async with x: pass", METHODS),
    "Event": ("x = lib.Event(); x.set()", "await x.wait(); x.clear(); x.set(); await x.wait()", 0),
    # its first acquire and release keep the lock's bound methods
    "Condition": ("x = lib.Condition(); await x.acquire(); x.release()", "await x.acquire(); x.notify(); x.notify_all(); x.release()", 0),
    "Condition, by hand": ("x = lib.Condition()", "await x.__aenter__(); await x.__aexit__(None, None, None)", 0),
    "async with Condition": ("x = lib.Condition()", "async with x: pass", METHODS),
    "Condition.wait_for what is so": ("x = lib.Condition(); await x.acquire()", "await x.wait_for(truth)", 0),
    "Queue": ("x = lib.Queue(2)",
              "await x.put(1); await x.put(2); await x.get(); await x.get(); x.task_done(); x.task_done(); await x.join()", 0),
    "Queue without limit": ("x = lib.Queue()", "await x.put(1); await x.get()", 0),
    "Queue, at once": ("x = lib.Queue(2)", "x.put_nowait(1); x.put_nowait(2); x.get_nowait(); x.get_nowait()", 0),
    "Queue after a wait": ("x = await passed(lib.Queue(1))", "await x.put(1); await x.get()", 0),
    # a list that becomes empty gives its memory back, so these keep some items
    "LifoQueue": ("x = filled(lib.LifoQueue())", "await x.put(1); await x.get(); x.put_nowait(1); x.get_nowait()", 0),
    "PriorityQueue": ("x = filled(lib.PriorityQueue())", "await x.put(1); await x.get(); x.put_nowait(1); x.get_nowait()", 0),
    "read": (LINES, "await reader.read(5)", BYTES),
    "read of more than there is": (LINES, "await reader.read(5000)", BYTES),
    "readline": (LINES, "await reader.readline(); await reader.readline()", BYTES + ";" + BYTES),
    "readexactly": (LINES, "await reader.readexactly(9); await reader.readexactly(9)", BYTES + ";" + BYTES),
    "readexactly of nothing": (LINES, "await reader.readexactly(0)", 0),
    "readuntil": (LINES, "await reader.readuntil(); await reader.readuntil()", BYTES + ";" + BYTES),
    "readuntil a separator": (LINES, "await reader.readuntil(b'two')", BYTES),
    "lines by iteration": (LINES, "\n   async for a in reader: break", BYTES),
    "bytes that come and go": (LINES + "; await reader.read(50)", "reader.feed_data(data); await reader.readline()", BYTES),
    "drain": ("", "await writer.drain()", 0),
    "write and drain": ("emptied()", "writer.write(data); await writer.drain()", 0),
    "timeout": ("", "t = timeout(10); await t.__aenter__(); await t.__aexit__(None, None, None); t = None", 0),
    "async with timeout": ("x = timeout(10)", "async with timeout(10): pass", METHODS),
    "async with timeout of a float": ("x = timeout(10)", "async with timeout(0.5): pass", METHODS),
    "async with timeout(None)": ("x = timeout(10)", "async with timeout(None): pass", METHODS),
    "Lock in a timeout": ("x = timeout(10); lock = lib.Lock()", "\n   async with timeout(10):\n    async with lock: pass",
                          METHODS + "; c = lock.__aenter__; d = lock.__aexit__"),
    "a done future": ("f = done()", "await f", 0),
}
# asyncio's wait_for of 3.12 and later awaits what it is given inside a timeout; the older one waits for a future of its own.
NEWER = {
    "wait_for a done future": ("f = done()", "await wait_for(f, 10)", 0),
    "wait_for what does not wait": ("x = filled(lib.Queue())", "await wait_for(x.get(), 10)", 0),
}
if sys.version_info >= (3, 12):
    OPERATIONS.update(NEWER)

# From 3.12 to 3.14 the interpreter takes the value of an await out of a StopIteration.  There is one for each value that is not None: kept for the next
# await it would keep the value alive too.  A timeout whose StopIteration could not be made leaves its timer behind, and the next needs more room for
# its own, unless the bound methods of older Pythons have failed before.
VALUES = {
    "Lock": 1, "Lock after a wait": 1, "Semaphore": 2, "Semaphore after a wait": 1, "BoundedSemaphore": 2, "Event": 2, "Condition": 1,
    "Condition.wait_for what is so": 1, "Queue": 2, "Queue without limit": 1, "Queue after a wait": 1, "LifoQueue": 1, "PriorityQueue": 1, "read": 1,
    "read of more than there is": 1, "readline": 2, "readexactly": 2, "readexactly of nothing": 1, "readuntil": 2, "readuntil a separator": 1,
    "lines by iteration": 1, "bytes that come and go": 1, "timeout": 1 + 1, "async with timeout": 1 + 1, "async with timeout of a float": 1 + 1,
    "async with timeout(None)": 1, "Lock in a timeout": 1 + (sys.version_info >= (3, 14)), "a done future": 1, "wait_for a done future": 1, "wait_for what does not wait": 1,
} if (3, 12) <= sys.version_info < (3, 15) else {}

# Is the measure true?  These allocate.
CONTROLS = {
    "a future": ("", "f = loop.create_future()", 0),
    "a timer": ("", "h = loop.call_later(100, int)", 0),
    "a lock": ("", "x = lib.Lock()", 0),
    "bytes": (LINES, "await reader.read(5)", 0),
    "a lock that is taken": ("x = lib.Lock(); await x.acquire(); c = x.acquire()", "c.send(None)", 0),
    "a reader that is empty": ("reader = lib.StreamReader(loop=loop); c = reader.read(5)", "c.send(None)", 0),
}

HEAD = """
import gc, json, socket, _testcapi
gc.disable()
lib = kit.classes
loop = new_loop()
timeout, wait_for = lib.timeout, lib.wait_for
set_nomemory, remove = _testcapi.set_nomemory, _testcapi.remove_mem_hooks
data = b"a line of bytes\\n"
truth = "a".isalpha
near, peer = socket.socketpair()
peer.setblocking(False)

async def contended(lock):
    await lock.acquire()
    other = asyncio.ensure_future(lock.acquire())
    await kit.sleep(0)
    lock.release()
    await other
    lock.release()
    return lock
async def passed(queue):
    getter = asyncio.ensure_future(queue.get())
    await kit.sleep(0)
    await queue.put(1)
    await getter
    return queue
def filled(queue):
    for i in range(5): queue.put_nowait(i)
    return queue
def done():
    f = Future(loop=loop)
    f.set_result(1)
    return f
def emptied():
    try: peer.recv(5000)
    except BlockingIOError: pass

async def allocations(attempt):
    for _ in range(100):
        await attempt(10 ** 6)
    held = [Future(loop=loop) for _ in range(300)], [loop.call_later(100, int) for _ in range(300)]  # more than a free list keeps
    objects = [(float(i), 10 ** 6 + i, [i], {}, data.hex, set_nomemory) for i in range(300)]
    tuples = [(i,) for i in range(2100)], [(i, i) for i in range(2100)]
    try:
        for n in range(100):
            try:
                await attempt(n)
            except MemoryError:
                continue
            return n
        return "too many"
    finally:
        for handle in held[1]: handle.cancel()

functions, results = {}, {}
"""

# Locals only: a look-up of a global can need memory.  The last attempt's objects go after the allocator is mended.
FUNCTION = """
async def attempt(n, lib=lib, data=data, truth=truth, timeout=timeout, wait_for=wait_for, loop=loop, set_nomemory=set_nomemory, remove=remove):
  a = b = c = d = f = h = t = x = reader = lock = None
  writer = the_writer
  {prepare}
  try:
   set_nomemory(n, 0)
   {operation}
  finally:
   remove()
functions[{name!r}] = attempt
"""

TAIL = """
async def main():
    global the_writer
    reader, the_writer = await lib.open_connection(sock=near)
    for name in functions:
        results[name] = await allocations(functions[name])
        print("measured", name, file=sys.stderr)
    the_writer.close()
loop.run_until_complete(main())
loop.close()
print(json.dumps(results))
"""


@functools.cache
def measured():
    codes = {}
    for name, (prepare, operation, allowed) in {**OPERATIONS, **CONTROLS}.items():
        codes[name] = prepare, operation
        if allowed:
            codes["as " + name] = prepare, allowed
    functions = [FUNCTION.format(name=name, prepare=prepare or "pass", operation=operation) for name, (prepare, operation) in codes.items()]
    got = child(HEAD + "".join(functions) + TAIL, OURS, timeout=120)
    assert got.returncode == 0, (got.returncode, got.stderr[-2000:])
    return json.loads(got.stdout)


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_allocation(name):
    found = measured()
    assert found[name] == found.get("as " + name, 0) + VALUES.get(name, 0)


@pytest.mark.parametrize("name", CONTROLS)
def test_what_allocates_is_noticed(name):
    assert measured()[name] not in (0, "too many")


def test_no_dict_that_nobody_asked_for():
    """The interpreter reads a method of an object whose __dict__ was never made by its fast path: loop.call_soon, writer.write."""
    import asyncio

    def with_dict(*things):
        return [type(x).__name__ for x in things if ctypes.c_void_p.from_address(id(x) + type(x).__dictoffset__).value]

    async def main():
        loop = asyncio.get_running_loop()
        server = await asyncloop.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        reader, writer = await asyncloop.open_connection(*server.sockets[0].getsockname())
        streams = [reader, writer, writer.transport.get_protocol()] if sys.version_info >= (3, 13) else []  # object.__new__ made theirs before
        things = [*streams, loop, asyncio.current_task(), loop.create_future(), writer.transport,
                  asyncloop.Lock(), asyncloop.Event(), asyncloop.Condition(), asyncloop.Semaphore(), asyncloop.Queue(), asyncloop.TaskGroup(), asyncloop.timeout(1)]
        await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        found = with_dict(*things)
        loop.a = 1
        return found, with_dict(loop)

    assert asyncloop.run(main()) == ([], ["Loop"])
