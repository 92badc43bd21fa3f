"""redis-py's asyncio client, unmodified, with a redis-server: TCP, TLS and a Unix socket.  It runs on asyncio's streams."""
import asyncio
import hashlib
import os
import shutil

import pytest

import certs
import peers

redis = peers.client("redis.asyncio", "redis")

pytestmark = pytest.mark.limit(120)
peers.program("openssl")  # makes the certificates
TRANSPORTS = ["tcp", "tls", "unix"]
SETTINGS = """
bind 127.0.0.1
port {port}
tls-port {tls_port}
unixsocket {folder}/socket
tls-cert-file {folder}/server.pem
tls-key-file {folder}/key
tls-ca-cert-file {folder}/authority.pem
tls-auth-clients yes
save ""
appendonly no
daemonize no
dir {folder}
"""


class Server(peers.Peer):
    """redis-server; over TLS it wants a certificate of its clients."""

    def __init__(self, folder, port, tls_port):
        for name in ("server", "key", "authority", "client"):
            shutil.copy(certs.path(name), os.path.join(folder, os.path.basename(certs.path(name))))
        settings = os.path.join(folder, "redis.conf")
        with open(settings, "w") as file:
            file.write(SETTINGS.format(folder=folder, port=port, tls_port=tls_port))
        super().__init__("redis-server", [settings], folder)
        at = dict(host="127.0.0.1", socket_timeout=peers.LONG)
        files = dict(ssl_ca_certs=f"{folder}/authority.pem", ssl_certfile=f"{folder}/client.pem", ssl_keyfile=f"{folder}/key")
        self.where = {
            "tcp": dict(at, port=port),
            "tls": dict(at, port=tls_port, ssl=True, ssl_check_hostname=True, **files),
            "unix": dict(unix_socket_path=f"{folder}/socket", socket_timeout=peers.LONG),
        }


@pytest.fixture(scope="module")
def server():
    with peers.folder() as folder, peers.port() as port, peers.port() as tls_port, Server(folder, port, tls_port) as server:
        server.wait_until(lambda: "ready to accept connections" in server.said().lower() and peers.listens(tls_port))
        yield server


@pytest.fixture(params=TRANSPORTS)
def where(request, server):
    return server.where[request.param]


def client(where, **more):
    return redis.Redis(**{**where, **more})


def test_commands_and_big_values(run, where):
    data = os.urandom(1 << 20) * 8

    async def main():
        async with client(where) as one:
            assert await one.ping()
            await one.delete("n", "big")
            for n in range(300):
                assert await one.incr("n") == n + 1
            await one.set("big", data)
            return hashlib.sha256(await one.get("big")).digest(), await one.get("n")

    assert run(main) == (hashlib.sha256(data).digest(), b"300")


@pytest.mark.parametrize("transaction", [True, False], ids=["transaction", "plain"])
def test_pipeline(run, where, transaction):
    async def main():
        async with client(where) as one:
            await one.delete("list")
            async with one.pipeline(transaction=transaction) as pipe:
                for n in range(1000):
                    pipe.rpush("list", f"{n} " + "x" * (n % 100))
                pipe.lrange("list", 0, -1)
                return await pipe.execute()

    *lengths, values = run(main)
    assert lengths == list(range(1, 1001))
    assert values == [b"%d " % n + b"x" * (n % 100) for n in range(1000)]


def test_watched_key_changes(run, where):
    async def main():
        async with client(where) as one, client(where) as other:
            await one.set("watched", 1)
            async with one.pipeline() as pipe:
                await pipe.watch("watched")
                await other.set("watched", 2)
                pipe.multi()
                pipe.set("watched", 3)
                with pytest.raises(redis.WatchError):
                    await pipe.execute()
            return await one.get("watched")

    assert run(main) == b"2"


@peers.without_control
def test_ten_connections_at_once(run, where):
    async def main():
        async def use(n):
            async with limit:
                await one.set(f"key {n}", n)
                return int(await one.get(f"key {n}"))

        limit = asyncio.Semaphore(10)
        async with client(where, max_connections=10) as one:
            return await asyncio.gather(*(use(n) for n in range(200)))

    assert run(main) == list(range(200))


def test_publish_and_subscribe(run, where):
    async def main():
        async with client(where) as one, client(where) as other, one.pubsub(ignore_subscribe_messages=False) as ear:
            await ear.subscribe("news")
            await ear.psubscribe("w*")
            for kind in (b"subscribe", b"psubscribe"):
                assert (await ear.get_message(timeout=peers.LONG))["type"] == kind.decode()
            for n in range(100):
                assert await other.publish("news", n) == 1
                assert await other.publish("weather", "x" * n) == 1
            await other.publish("elsewhere", "not heard")
            await other.publish("news", "end")
            heard = []
            async for message in ear.listen():
                if message["data"] == b"end":
                    break
                heard.append((message["type"], message["channel"], message["data"]))
            assert await ear.get_message(timeout=0.01) is None
            await ear.unsubscribe()
            await ear.punsubscribe()
            return heard

    expected = [each for n in range(100) for each in (("message", b"news", b"%d" % n), ("pmessage", b"weather", b"x" * n))]
    assert run(main) == expected


async def blocked(one, count):
    """Waits until that many clients sit in a blocking command."""
    while (await one.info("clients"))["blocked_clients"] != count:
        await asyncio.sleep(0.01)


def test_blocking_pop_is_woken(run, where):
    async def main():
        async with client(where) as one, client(where) as other:
            await other.delete("queue", "urgent")
            popped = [asyncio.create_task(one.blpop(["urgent", "queue"], timeout=0)) for _ in range(5)]
            await asyncio.wait_for(blocked(other, 5), peers.LONG)
            await other.rpush("queue", "a", "b", "c", "d")
            await other.rpush("urgent", "e")
            return sorted(await asyncio.gather(*popped))

    assert run(main) == [(b"queue", b"a"), (b"queue", b"b"), (b"queue", b"c"), (b"queue", b"d"), (b"urgent", b"e")]


def test_blocking_pop_times_out(run, where):
    async def main():
        async with client(where) as one:
            await one.delete("queue")
            assert await one.blpop("queue", timeout=0.05) is None  # the server's time
            async with client(where, socket_timeout=0.05, retry=None) as hasty:
                with pytest.raises(redis.TimeoutError):  # the client's
                    await hasty.blpop("queue", timeout=0)
            await asyncio.wait_for(blocked(one, 0), peers.LONG)
            return await one.ping()

    assert run(main) is True


def test_blocking_pop_cancelled(run, where):
    async def main():
        async with client(where) as one, client(where) as other:
            await other.delete("queue")
            task = asyncio.create_task(one.blpop("queue", timeout=0))
            await asyncio.wait_for(blocked(other, 1), peers.LONG)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(blocked(other, 0), peers.LONG)  # the connection has been given up
            await other.rpush("queue", "kept")
            return await one.blpop("queue", timeout=0)

    assert run(main) == (b"queue", b"kept")


def test_connection_killed_by_the_server(run, where):
    async def main():
        async with client(where, retry=None, single_connection_client=True) as one, client(where) as other:
            number = await one.client_id()
            task = asyncio.create_task(one.blpop("nothing", timeout=0))
            await asyncio.wait_for(blocked(other, 1), peers.LONG)
            assert await other.client_kill_filter(_id=number) == 1
            with pytest.raises(redis.ConnectionError):
                await task
            return await other.ping()

    assert run(main) is True


def test_no_client_certificate(run, server):
    async def main():
        where = {k: v for k, v in server.where["tls"].items() if k not in ("ssl_certfile", "ssl_keyfile")}
        async with client(where, retry=None) as one:
            with pytest.raises(redis.ConnectionError):
                await one.ping()

    run(main)


def test_portable_engine(server, by_portable_engine):
    by_portable_engine(only="asyncloop-loop_factory and tls")
