"""Plain callbacks: call_soon, call_later and cancel, call_soon_threadsafe.  No task runs while these are timed."""

import threading

from . import Row, targets

LATER_BATCH = 1_000
FEEDERS = 4


def call_soon_chain(bench, n):
    """One callback per iteration of the loop, each scheduling the next."""
    call_soon = bench.loop.call_soon
    left = n

    def step():
        nonlocal left
        left -= 1
        if left:
            call_soon(step)
        else:
            bench.loop.stop()

    call_soon(step)
    bench.loop.run_forever()


def call_later_cancel(bench, n):
    """A timer a minute away, made and cancelled at once; the loop turns over after every thousand."""
    loop = bench.loop
    call_later = loop.call_later
    left = n

    def never():
        raise AssertionError("a cancelled timer ran")

    def batch():
        nonlocal left
        for _ in range(LATER_BATCH):
            call_later(60, never).cancel()
        left -= LATER_BATCH
        if left:
            loop.call_soon(batch)
        else:
            loop.stop()

    loop.call_soon(batch)
    loop.run_forever()


def call_soon_threadsafe(bench, n):
    """Four threads, each scheduling a quarter of the callbacks as fast as it can while the loop runs them."""
    loop = bench.loop
    left = n

    def hit():
        nonlocal left
        left -= 1
        if not left:
            loop.stop()

    def feed():
        schedule = loop.call_soon_threadsafe
        for _ in range(n // FEEDERS):
            schedule(hit)

    threads = [threading.Thread(target=feed) for _ in range(FEEDERS)]

    def start():
        for thread in threads:
            thread.start()

    loop.call_soon(start)
    loop.run_forever()
    for thread in threads:
        thread.join()


ROWS = (
    Row("call_soon", "call_soon chain", "callback", call_soon_chain, targets=targets(4.0)),
    Row("call_later", "call_later + cancel", "timer", call_later_cancel, step=LATER_BATCH, targets=targets(4.0)),
    Row("threadsafe", "call_soon_threadsafe, 4 threads", "callback", call_soon_threadsafe, step=FEEDERS, max_n=200_000,
        targets=targets(1.5)),
)
