"""asyncpg, unmodified, with a PostgreSQL server over TLS: the client upgrades its connection by start_tls."""
import asyncio
import contextlib
import hashlib
import io
import os
import ssl

import pytest

import certs
import peers
import postgres

asyncpg = peers.client("asyncpg")

pytestmark = pytest.mark.limit(120)
peers.program("openssl")  # makes the certificates
ROWS = 20_000


@pytest.fixture(scope="module")
def server():
    with postgres.started() as server:
        yield server


@pytest.fixture
def where(server):
    """How to connect over TLS."""
    return dict(host="127.0.0.1", port=server.port, user="postgres", database="postgres", ssl=certs.client_context())


@contextlib.asynccontextmanager
async def connection(where, **more):
    made = await asyncpg.connect(**{**where, **more})
    try:
        yield made
    finally:
        await made.close()


@peers.without_control
def test_pool_of_fifty(run, where):
    async def main():
        async def use(n):
            async with pool.acquire() as one, one.transaction():
                row = await one.fetchrow("SELECT $1::int + 1, pg_backend_pid(), (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())", n)
                assert await one.fetchval("SELECT repeat($1, $2)", "x", n * 20) == "x" * (n * 20)
                return tuple(row)

        async with asyncpg.create_pool(**where, min_size=50, max_size=50) as pool:
            return pool.get_size(), await asyncio.gather(*(use(n) for n in range(500)))

    size, rows = run(main)
    assert size == 50
    assert [row[0] for row in rows] == list(range(1, 501))
    assert len({row[1] for row in rows}) == 50
    assert all(row[2] for row in rows)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)
def test_version_of_tls(run, where, version):
    async def main():
        async with connection(where, ssl=certs.client_context(version=version)) as one:
            return await one.fetchval("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")

    assert run(main) == version.name.replace("_", ".")


def test_tls_from_the_first_byte(run, where, server):
    if server.version < 17:
        pytest.skip("PostgreSQL takes TLS without its own request first from version 17 on")

    async def main():
        async with connection(where, direct_tls=True, ssl=certs.client_context(alpn=["postgresql"])) as one:
            return await one.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")

    assert run(main) is True


def test_copy_in_and_out(run, where):
    rows = [(n, f"row {n} \t\\ \N{SNOWMAN}" * (n % 5)) for n in range(ROWS)]

    async def main():
        async with connection(where) as one:
            await one.execute("CREATE TEMPORARY TABLE t (n int, text text)")
            assert await one.copy_records_to_table("t", records=rows) == f"COPY {ROWS}"
            taken = hashlib.sha256()

            async def take(data):
                taken.update(data)
                await asyncio.sleep(0)  # slower than the server

            assert await one.copy_from_query("SELECT * FROM t ORDER BY n", output=take, format="csv") == f"COPY {ROWS}"
            whole = io.BytesIO()
            await one.copy_from_query("SELECT * FROM t ORDER BY n", output=whole, format="csv")
            assert hashlib.sha256(whole.getvalue()).digest() == taken.digest()
            whole.seek(0)
            await one.execute("CREATE TEMPORARY TABLE copied (n int, text text)")
            await one.copy_to_table("copied", source=whole, format="csv")
            # an empty text is a NULL in CSV
            assert await one.fetchval("SELECT count(*) FROM t JOIN copied USING (n) WHERE t.text = coalesce(copied.text, '')") == ROWS
            return await one.fetch("SELECT * FROM t ORDER BY n")

    assert [tuple(row) for row in run(main)] == rows


def test_values_of_many_megabytes(run, where):
    data = os.urandom(1 << 20) * 8

    async def main():
        async with connection(where) as one:
            await one.execute("CREATE TEMPORARY TABLE t (v bytea)")
            await one.execute("INSERT INTO t VALUES ($1)", data)
            return await one.fetchval("SELECT encode(sha256(v), 'hex') FROM t"), await one.fetchval("SELECT v FROM t")

    digest, back = run(main)
    assert digest == hashlib.sha256(data).hexdigest()
    assert back == data


def test_cursor(run, where):
    async def main():
        async with connection(where) as one, one.transaction():
            return [row[0] async for row in one.cursor("SELECT generate_series(1, 1000)", prefetch=7)]

    assert run(main) == list(range(1, 1001))


def test_listen_and_notify(run, where):
    async def main():
        heard, over = [], asyncio.Event()

        def on_notify(who, pid, channel, payload):
            heard.append((pid == there.get_server_pid(), channel, payload))
            if payload == "end":
                over.set()

        async with connection(where) as here, connection(where) as there:
            await here.add_listener("news", on_notify)
            for n in range(200):
                await there.execute("SELECT pg_notify('news', $1)", str(n) + "x" * (n * 30))
            await there.execute("SELECT pg_notify('elsewhere', 'not heard')")
            await there.execute("NOTIFY news, 'end'")
            await asyncio.wait_for(over.wait(), peers.LONG)
            await here.remove_listener("news", on_notify)
            await there.execute("NOTIFY news, 'too late'")
            assert await here.fetchval("SELECT 1") == 1
        return heard

    assert run(main) == [(True, "news", str(n) + "x" * (n * 30)) for n in range(200)] + [(True, "news", "end")]


async def running(one, pid):
    """Waits until that backend is in the middle of a query."""
    while await one.fetchval("SELECT state FROM pg_stat_activity WHERE pid = $1 AND query LIKE '%pg_sleep%'", pid) != "active":
        await asyncio.sleep(0.01)


async def idle(one, pid):
    while await one.fetchval("SELECT state FROM pg_stat_activity WHERE pid = $1", pid) != "idle":
        await asyncio.sleep(0.01)


def test_cancellation_of_a_running_query(run, where):
    async def main():
        async with connection(where) as one, connection(where) as other:
            for _ in range(3):
                task = asyncio.create_task(one.fetchval("SELECT 1 FROM pg_sleep(600)"))
                await asyncio.wait_for(running(other, one.get_server_pid()), peers.LONG)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await asyncio.wait_for(idle(other, one.get_server_pid()), peers.LONG)  # the server has stopped it
                assert await one.fetchval("SELECT 2") == 2
            return True

    assert run(main)


def test_timeouts(run, where):
    async def main():
        async with connection(where) as one:
            await one.execute("SET statement_timeout = 50")
            with pytest.raises(asyncpg.QueryCanceledError, match="statement timeout"):
                await one.execute("SELECT pg_sleep(600)")
            await one.execute("RESET statement_timeout")
            with pytest.raises(asyncio.TimeoutError):
                await one.execute("SELECT pg_sleep(600)", timeout=0.05)
            with pytest.raises(asyncio.TimeoutError):
                async with asyncio.timeout(0.05):
                    await one.execute("SELECT pg_sleep(600)")
            return await one.fetchval("SELECT 3")

    assert run(main) == 3


def test_connection_ended_by_the_server(run, where):
    async def main():
        ended = asyncio.Event()
        async with connection(where) as one, connection(where) as other:
            one.add_termination_listener(lambda who: ended.set())
            task = asyncio.create_task(one.execute("SELECT pg_sleep(600)"))
            await asyncio.wait_for(running(other, one.get_server_pid()), peers.LONG)
            assert await other.fetchval("SELECT pg_terminate_backend($1)", one.get_server_pid())
            with pytest.raises((asyncpg.AdminShutdownError, asyncpg.ConnectionDoesNotExistError), match="administrator command"):
                await task
            await asyncio.wait_for(ended.wait(), peers.LONG)
            return one.is_closed()

    assert run(main) is True


def test_client_certificate(run, where):
    async def main():
        async with connection(where, ssl=certs.client_context("client"), user="postgres") as one:
            await one.execute("DROP ROLE IF EXISTS certified")
            await one.execute("CREATE ROLE certified LOGIN")
            assert await one.fetchval("SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "/CN=client"
        async with connection(where, ssl=certs.client_context("client"), user="certified") as one:
            name = await one.fetchval("SELECT current_user")
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await asyncpg.connect(**{**where, "user": "certified"})
        return name

    assert run(main) == "certified"


def test_wrong_certificates_and_no_tls(run, where):
    async def main():
        with pytest.raises(ssl.SSLCertVerificationError, match="self-signed certificate in certificate chain|unable to get local issuer"):
            await asyncpg.connect(**{**where, "ssl": certs.client_context(trusts="stranger")})
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="no encryption"):
            await asyncpg.connect(**{**where, "ssl": False})

    run(main)


def test_unix_socket(run, where, server):
    async def main():
        async with asyncpg.create_pool(host=server.folder, port=server.port, user="postgres", database="postgres", min_size=10, max_size=10) as pool:
            assert await pool.fetchval("SELECT inet_client_addr()") is None
            return await asyncio.gather(*(pool.fetchval("SELECT $1::int", n) for n in range(200)))

    assert run(main) == list(range(200))


def test_portable_engine(server, by_portable_engine):
    by_portable_engine()
