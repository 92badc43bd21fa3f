"""psycopg 3 and its pool, unmodified, with a PostgreSQL server: it waits for its sockets by add_reader and add_writer."""
import asyncio
import contextlib

import pytest

import certs
import peers
import postgres

psycopg = peers.app("psycopg")
psycopg_pool = peers.app("psycopg_pool", "psycopg-pool")

pytestmark = pytest.mark.limit(90)


@pytest.fixture(scope="module")
def server():
    with postgres.started() as server:
        yield server


@pytest.fixture(params=["unix", "tls"])
def where(request, server):
    names = f"port={server.port} user=postgres dbname=postgres"
    if request.param == "unix":
        return f"host={server.folder} {names}"
    return f"host=127.0.0.1 sslmode=verify-ca sslrootcert={certs.path('authority')} {names}"


async def connect(where):
    return await psycopg.AsyncConnection.connect(where, autocommit=True)


def test_rows_errors_and_transactions(run, where):
    async def main():
        async with await connect(where) as one:
            await one.execute("DROP TABLE IF EXISTS numbers")
            await one.execute("CREATE TABLE numbers (n int PRIMARY KEY, text text)")
            async with one.cursor() as cursor:
                await cursor.executemany("INSERT INTO numbers VALUES (%s, %s)", [(n, "x" * n) for n in range(500)])
                with pytest.raises(psycopg.errors.UniqueViolation):
                    await cursor.execute("INSERT INTO numbers VALUES (1, '')")
                with contextlib.suppress(ZeroDivisionError):
                    async with one.transaction():
                        await cursor.execute("DELETE FROM numbers")
                        raise ZeroDivisionError
            async with one.transaction(), one.cursor("in_the_server") as cursor:
                await cursor.execute("SELECT n, length(text) FROM numbers ORDER BY n")
                return [row async for row in cursor]

    assert run(main) == [(n, n) for n in range(500)]


def test_copy_and_pipeline(run, where):
    block = b"%d\t" % 7 + b"y" * 1000 + b"\n"

    async def main():
        async with await connect(where) as one:
            await one.execute("CREATE TEMPORARY TABLE copied (n int, text text)")
            async with one.cursor() as cursor:
                async with cursor.copy("COPY copied FROM STDIN") as copy:
                    for _ in range(3000):
                        await copy.write(block)
                total = 0
                async with cursor.copy("COPY copied TO STDOUT") as copy:
                    async for data in copy:
                        assert data == block
                        total += len(data)
            async with one.pipeline():
                cursors = [await one.execute("SELECT %s::int", [n]) for n in range(100)]
                return total, [(await cursor.fetchone())[0] for cursor in cursors]

    assert run(main) == (3000 * len(block), list(range(100)))


def test_notifications(run, where):
    async def main():
        async with await connect(where) as ear, await connect(where) as mouth:
            await ear.execute("LISTEN news")

            async def speak():
                for n in range(20):
                    await mouth.execute("SELECT pg_notify('news', %s)", [str(n)])

            task = asyncio.create_task(speak())
            heard = [note.payload async for note in ear.notifies(stop_after=20, timeout=peers.LONG)]
            await task
            return heard[:20], [note async for note in ear.notifies(timeout=0.01)]

    assert run(main) == ([str(n) for n in range(20)], [])


def test_cancelled(run, where):
    """A task that waits for the server is cancelled: psycopg cancels the query there, and the connection is usable."""
    async def main():
        async with await connect(where) as one, await connect(where) as other:
            task = asyncio.create_task(one.execute("SELECT pg_sleep(3600)"))
            seen = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"
            while (await (await other.execute(seen, [one.info.backend_pid])).fetchone())[0] != 1:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(psycopg.errors.QueryCanceled):
                await one.execute("SET statement_timeout = 20")
                await one.execute("SELECT pg_sleep(3600)")
            return await (await one.execute("SELECT 1")).fetchone()

    assert run(main) == (1,)


def test_pool(run, where):
    async def main():
        async def use(n):
            async with pool.connection() as one:
                row = await (await one.execute("SELECT %s::int, pg_backend_pid()", [n])).fetchone()
                await asyncio.sleep(0)
                return row

        async with psycopg_pool.AsyncConnectionPool(where, min_size=3, max_size=5, timeout=peers.LONG, open=False) as pool:
            await pool.wait(peers.LONG)
            rows = await asyncio.gather(*(use(n) for n in range(200)))
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(5):
                    await stack.enter_async_context(pool.connection())
                with pytest.raises(psycopg_pool.PoolTimeout):
                    await pool.getconn(timeout=0.02)
            return [row[0] for row in rows], len({row[1] for row in rows}) <= 5

    assert run(main) == (list(range(200)), True)
