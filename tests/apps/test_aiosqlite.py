"""aiosqlite, unmodified: each connection is a thread, which tells its results to the loop by call_soon_threadsafe."""
import asyncio
import sqlite3

import pytest

import peers

aiosqlite = peers.app("aiosqlite")

pytestmark = pytest.mark.limit(60)


def test_rows_and_rollback(run, tmp_path):
    async def main():
        async with aiosqlite.connect(tmp_path / "base") as base:
            await base.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY, square INTEGER)")
            await base.executemany("INSERT INTO numbers VALUES (?, ?)", ((n, n * n) for n in range(1000)))
            await base.commit()
            await base.execute("DELETE FROM numbers")
            await base.rollback()
            with pytest.raises(sqlite3.IntegrityError, match="UNIQUE constraint failed: numbers.n"):
                await base.execute("INSERT INTO numbers VALUES (1, 1)")
            await base.create_function("twice", 1, lambda value: value * 2)
            async with base.execute("SELECT n, twice(square) FROM numbers ORDER BY n") as rows:
                return [row async for row in rows]

    assert run(main) == [(n, 2 * n * n) for n in range(1000)]


def test_twenty_connections_at_once(run, tmp_path):
    async def use(n):
        async with aiosqlite.connect(tmp_path / "base", timeout=peers.LONG) as base:
            for _ in range(5):
                await base.execute("UPDATE counter SET n = n + 1")
                await base.commit()

    async def main():
        async with aiosqlite.connect(tmp_path / "base") as base:
            await base.execute("CREATE TABLE counter (n INTEGER)")
            await base.execute("INSERT INTO counter VALUES (0)")
            await base.commit()
            await asyncio.gather(*(use(n) for n in range(20)))
            async with base.execute("SELECT n FROM counter") as rows:
                return await rows.fetchone()

    assert run(main) == (100,)


def test_cancelled_and_interrupted(run):
    """Who waits is cancelled while the thread goes on; interrupt() ends what the thread is at."""
    endless = "WITH RECURSIVE every(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM every) SELECT sum(begun(n)) FROM every"

    async def main():
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        def begin(n):
            if n == 1:
                loop.call_soon_threadsafe(begun.set)
            return n

        async with aiosqlite.connect(":memory:") as base:
            await base.create_function("begun", 1, begin)
            task = asyncio.create_task(base.execute_fetchall(endless))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await base.interrupt()
            begun.clear()
            task = asyncio.create_task(base.execute_fetchall(endless))
            await begun.wait()
            await base.interrupt()
            with pytest.raises(sqlite3.OperationalError, match="interrupted"):
                await task
            return [tuple(row) for row in await base.execute_fetchall("SELECT 1 + 1")]

    assert run(main) == [(2,)]
