"""Celery tasks that call asyncio.run, in workers that fork and in workers with threads; redis carries them."""
import subprocess

import pytest

import peers
import programs
from sidebyside import PATIENCE

peers.apps("celery")
peers.client("redis")

pytestmark = pytest.mark.limit(180)

TASKS = """
import chosen
import asyncio, os, sys
import celery

app = celery.Celery("tasks", broker=os.environ["REDIS"], backend=os.environ["REDIS"])
app.conf.update(broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)


async def work(n):
    async def echo(reader, writer):
        writer.write((await reader.read()) * 2)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"%d" % n)
        writer.write_eof()
        twice = await reader.read()
        writer.close()
        await writer.wait_closed()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(1)", stdout=asyncio.subprocess.PIPE)
    out = (await process.communicate())[0]
    return chosen.is_chosen(asyncio.get_running_loop()), twice.decode(), out.decode(), await asyncio.to_thread(sum, [n, 1])


@app.task
def calls_run(n):
    return asyncio.run(work(n))


@app.task
def fails():
    asyncio.run(asyncio.wait_for(asyncio.sleep(30), 0.001))


if __name__ == "__main__":
    first = celery.group(calls_run.s(n) for n in range(8))()
    for result in first.get(timeout=120):
        print(result)
    try:
        fails.delay().get(timeout=120)
    except Exception as exc:
        print(type(exc).__name__)
"""


@pytest.fixture(scope="module")
def redis():
    with peers.folder() as folder, peers.port() as port:
        with peers.Peer("redis-server", ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", folder], folder) as server:
            server.wait_until(lambda: peers.listens(port))
            yield f"redis://127.0.0.1:{port}"


@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.parametrize("way", [*programs.OURS, "asyncio-control"])
def test_tasks(tmp_path, redis, pool, way):
    way = way.partition("-")[0]
    (tmp_path / "tasks.py").write_text(TASKS)
    database = 3 * programs.WAYS.index(way) + ("prefork", "threads").index(pool)
    env = programs.environment(way, REDIS=f"{redis}/{database}")
    with open(tmp_path / "log", "wb") as log:
        worker = subprocess.Popen([*programs.words(way), "-m", "celery", "-A", "tasks", "worker", "-P", pool, "-c", "2", "--without-gossip", "--without-mingle", "--without-heartbeat"],
                                  cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, preexec_fn=peers.die_with_us)
    try:
        done = subprocess.run(programs.words(way, "tasks.py"), cwd=tmp_path, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=150 * PATIENCE)
        log = (tmp_path / "log").read_text
        assert done.returncode == 0, done.stdout + done.stderr + log()
        assert done.stdout.splitlines() == [*(str([True, f"{n}" * 2, "1\n", n + 1]) for n in range(8)), "TimeoutError"], done.stdout + log()
        worker.terminate()
        assert worker.wait(peers.LONG) == 0, log()
    finally:
        programs.kill_group(worker)
