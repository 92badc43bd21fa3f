"""Tasks and futures: create and await, gather, two tasks waking each other, cancellation."""

import asyncio

from . import Row, targets

GROUP = 100
CANCEL_BATCH = 1_000


async def _nop():
    pass


async def _create_await(bench, n):
    create_task = bench.loop.create_task
    for _ in range(n):
        await create_task(_nop())


def create_await(bench, n):
    """A task that does nothing, created and awaited, one after the other."""
    bench.run(_create_await(bench, n))


async def _gather(gather, n):
    for _ in range(n):
        await gather(*[_nop() for _ in range(GROUP)])


def gather_own(bench, n):
    """gather of 100 coroutines that do nothing: asyncloop.gather on asyncloop, asyncio.gather on its peers."""
    bench.run(_gather(bench.own_gather, n))


def gather_asyncio(bench, n):
    """The same through asyncio.gather on every loop."""
    bench.run(_gather(asyncio.gather, n))


async def _player(court, mine, other, create_future, n):
    for _ in range(n):
        court[mine] = create_future()
        ball = court[other]
        if ball is not None:
            ball.set_result(None)
        await court[mine]
    if court[other] is not None and not court[other].done():
        court[other].set_result(None)


async def _ping_pong(bench, n):
    loop = bench.loop
    court = [None, None]
    players = [loop.create_task(_player(court, i, 1 - i, loop.create_future, n // 2)) for i in (0, 1)]
    for player in players:
        await player


def ping_pong(bench, n):
    """Two tasks in turn: create_future, set_result of the other's future, await one's own."""
    bench.run(_ping_pong(bench, n))


async def _sleeper(sleep):
    await sleep(3600)


async def _cancel(bench, sleep, n):
    loop = bench.loop
    for _ in range(n // CANCEL_BATCH):
        tasks = [loop.create_task(_sleeper(sleep)) for _ in range(CANCEL_BATCH)]
        await sleep(0)
        for task in tasks:
            task.cancel()
        for task in tasks:
            try:
                await task
            except asyncio.CancelledError:
                pass


def cancel_tasks(bench, n):
    """Tasks that sleep for an hour (asyncloop.sleep on asyncloop): created, started, cancelled, awaited."""
    bench.run(_cancel(bench, bench.own_sleep, n))


ROWS = (
    Row("create_task", "create_task + await", "task", create_await, targets=targets(5.0)),
    Row("gather", "gather of 100, asyncloop.gather", "gather", gather_own, targets=targets(5.0), instr_n=(10, 50)),
    Row("gather_asyncio", "gather of 100, asyncio.gather", "gather", gather_asyncio, instr_n=(10, 50)),
    Row("ping_pong", "future ping-pong of two tasks", "wake-up", ping_pong, step=2, targets=targets(2.0)),
    Row("cancel", "cancelling tasks", "task", cancel_tasks, step=CANCEL_BATCH, targets=targets(3.0), instr_n=(1_000, 3_000)),
)
