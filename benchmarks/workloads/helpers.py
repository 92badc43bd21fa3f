"""What `async def` programs call: asyncio's helpers, asyncloop's own after asyncloop.install().

Each name is looked up in asyncio when it is used, as a program does that imports asyncio.  Rows with a wake-up in them end with `_wakes`
where there is one without.
"""

import asyncio

from . import Row

GROUP = 100
LONG = 60           # seconds: a timeout that does not fire
LOCKERS = 10
QUEUE_SIZE = 10
CHUNK, PIECE = 64_000, 100
NAMES = ("asyncio", "uvloop", "zuvloop", "asyncloop")


async def _nop():
    pass


async def _wait_for(n):
    for _ in range(n):
        await asyncio.wait_for(_nop(), LONG)


async def _wait_for_wakes(loop, n):
    for _ in range(n):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await asyncio.wait_for(future, LONG)


async def _timeout(n):
    for _ in range(n):
        async with asyncio.timeout(LONG):
            await _nop()


async def _taskgroup(n):
    for _ in range(n):
        async with asyncio.TaskGroup() as group:
            for _ in range(GROUP):
                group.create_task(_nop())


async def _as_completed(n):
    for _ in range(n):
        for future in asyncio.as_completed([_nop() for _ in range(GROUP)]):
            await future


async def _wait(loop, n):
    for _ in range(n):
        done, pending = await asyncio.wait([loop.create_task(_nop()) for _ in range(GROUP)])
        if len(done) != GROUP or pending:
            raise AssertionError("not all are done")


async def _shield(n):
    for _ in range(n):
        await asyncio.shield(_nop())


async def _produce(queue, n):
    for i in range(n):
        await queue.put(i)


async def _consume(queue, n):
    for _ in range(n):
        await queue.get()


async def _queue(loop, n):
    queue = asyncio.Queue(QUEUE_SIZE)
    for task in [loop.create_task(_consume(queue, n)), loop.create_task(_produce(queue, n))]:
        await task


async def _queue_free(n):
    queue = asyncio.Queue()
    for i in range(n):
        await queue.put(i)
        await queue.get()


async def _locker(lock, n):
    for _ in range(n):
        async with lock:
            await asyncio.sleep(0)


async def _lock(loop, n):
    lock = asyncio.Lock()
    for task in [loop.create_task(_locker(lock, n // LOCKERS)) for _ in range(LOCKERS)]:
        await task


async def _lock_free(n):
    lock = asyncio.Lock()
    for _ in range(n):
        async with lock:
            pass


async def _event_player(mine, other, n):
    for _ in range(n):
        await mine.wait()
        mine.clear()
        other.set()


async def _event(loop, n):
    a, b = asyncio.Event(), asyncio.Event()
    a.set()
    for task in [loop.create_task(_event_player(a, b, n // 2)), loop.create_task(_event_player(b, a, n // 2))]:
        await task


async def _condition_player(condition, turn, mine, n):
    for _ in range(n):
        async with condition:
            while turn[0] != mine:
                await condition.wait()
            turn[0] = 1 - mine
            condition.notify()


async def _condition(loop, n):
    condition, turn = asyncio.Condition(), [0]
    for task in [loop.create_task(_condition_player(condition, turn, mine, n // 2)) for mine in (0, 1)]:
        await task


async def _readexactly(loop, n):
    reader = asyncio.StreamReader(loop=loop)
    chunk = bytes(CHUNK)
    for _ in range(n // (CHUNK // PIECE)):
        reader.feed_data(chunk)
        for _ in range(CHUNK // PIECE):
            await reader.readexactly(PIECE)


async def _executor(loop, n):
    for _ in range(n):
        await loop.run_in_executor(None, int)


def _row(name, title, unit, function, uvloop=None, with_loop=False, **more):
    """A row of asyncio's and asyncloop's helpers; uvloop: the target."""
    def run(bench, n):
        bench.run(function(bench.loop, n) if with_loop else function(n))
    return Row(name, title, unit, run, targets=(("uvloop", uvloop),) if uvloop else (), loops=NAMES, install=True, **more)


ROWS = (
    _row("wait_for", "wait_for of a coroutine", "call", _wait_for, 5.0),
    _row("wait_for_wakes", "wait_for of a future, one wake-up", "call", _wait_for_wakes, with_loop=True),
    _row("timeout", "timeout() that does not fire", "block", _timeout, 5.0),
    _row("taskgroup", "TaskGroup of 100", "group", _taskgroup, 4.0, instr_n=(10, 50)),
    _row("as_completed", "as_completed of 100", "call", _as_completed, 4.0, instr_n=(10, 50)),
    _row("wait", "wait of 100", "call", _wait, 4.0, with_loop=True, instr_n=(10, 50)),
    _row("shield", "shield of a coroutine", "call", _shield, 4.0),
    _row("queue", "Queue producer/consumer", "item", _queue, 3.0, with_loop=True),
    _row("queue_free", "Queue with room, put and get", "item", _queue_free),
    _row("lock", "contended Lock, 10 tasks", "acquisition", _lock, 4.0, with_loop=True, step=LOCKERS),
    _row("lock_free", "free Lock", "acquisition", _lock_free),
    _row("event", "Event ping-pong", "wake-up", _event, 3.0, with_loop=True, step=2),
    _row("condition", "Condition ping-pong", "turn", _condition, 3.0, with_loop=True, step=2),
    _row("readexactly", "readexactly(100) of buffered bytes", "read", _readexactly, 4.0, with_loop=True, step=CHUNK // PIECE,
         instr_n=(1_280, 5_120)),
    _row("executor", "run_in_executor round trip", "call", _executor, 1.2, with_loop=True),
)
