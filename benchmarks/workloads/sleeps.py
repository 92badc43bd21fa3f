"""sleep(0) and short sleeps."""

import asyncio
import random

from . import Row, targets

CROWD = 50_000
LONGEST = 0.05  # seconds


async def _sleep_zero(sleep, n):
    for _ in range(n):
        await sleep(0)


def sleep0_asyncio(bench, n):
    """await asyncio.sleep(0), one task alone."""
    bench.run(_sleep_zero(asyncio.sleep, n))


def sleep0_own(bench, n):
    """The same through asyncloop.sleep; the peers have only asyncio's."""
    bench.run(_sleep_zero(bench.own_sleep, n))


async def _nap(sleep, delay):
    await sleep(delay)


async def _crowd(bench, sleep, n):
    delays = random.Random(7)
    tasks = [bench.loop.create_task(_nap(sleep, delays.uniform(0.0001, LONGEST))) for _ in range(n)]
    for task in tasks:
        await task


def crowd_own(bench, n):
    """Tasks that all sleep at once, each for a random time up to 50 ms; asyncloop.sleep on asyncloop."""
    bench.run(_crowd(bench, bench.own_sleep, n))


def crowd_asyncio(bench, n):
    """The same through asyncio.sleep on every loop."""
    bench.run(_crowd(bench, asyncio.sleep, n))


ROWS = (
    Row("sleep0", "sleep(0), asyncio.sleep", "sleep", sleep0_asyncio, targets=targets(1.8)),
    Row("sleep0_own", "sleep(0), asyncloop.sleep", "sleep", sleep0_own, targets=targets(3.5)),
    Row("sleeps", "50,000 short sleeps, asyncloop.sleep", "task", crowd_own, step=CROWD, max_n=CROWD, targets=targets(4.0),
        instr_n=(500, 2_500)),
    Row("sleeps_asyncio", "50,000 short sleeps, asyncio.sleep", "task", crowd_asyncio, step=CROWD, max_n=CROWD,
        instr_n=(500, 2_500)),
)
