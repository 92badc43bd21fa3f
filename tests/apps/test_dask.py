"""Dask distributed over several processes, each of them on our loop: a LocalCluster, and a scheduler and workers started one by one; TCP and TLS."""
import json
import subprocess

import pytest

import certs
import peers
import programs
from sidebyside import PATIENCE, SUBJECT, child_env

peers.apps("distributed")
peers.program("openssl")  # makes the certificates

pytestmark = [pytest.mark.limit(180), pytest.mark.skipif(SUBJECT != "asyncloop", reason="compares asyncio with asyncloop")]
OURS, NATIVE = "asyncloop.Loop", "asyncio.unix_events._UnixSelectorEventLoop"
PREFIXES = {"install": (["-m", "asyncloop"], OURS), "asyncio-control": ([], NATIVE)}

WORK = """
import asyncio, json, os, sys
from distributed import Client, LocalCluster, Lock, Queue, as_completed, get_client, wait
from distributed.security import Security


def loop_name(dask_worker=None, dask_scheduler=None):
    import asyncio
    return type(asyncio.get_running_loop()).__module__ + "." + type(asyncio.get_running_loop()).__qualname__


async def loop_of_worker(dask_worker):
    return loop_name()


async def loop_of_scheduler(dask_scheduler):
    return loop_name()


def square(n):
    return n * n


def fails():
    raise ValueError("on purpose")


def nested(n):
    client = get_client()
    return sum(client.gather(client.map(square, range(n))))


def data(n):
    return bytes([n % 256]) * 200_000


async def use(client):
    loops = {loop_name(), await client.run_on_scheduler(loop_of_scheduler), *(await client.run(loop_of_worker)).values()}
    print(*sorted(loops))
    numbers = client.map(square, range(500))
    print(await client.gather(client.submit(sum, numbers)))
    blocks = client.map(data, range(40), pure=False)  # they move from worker to worker
    print(await client.submit(lambda *blocks: sum(map(len, blocks)), *blocks))
    try:
        await client.submit(fails)
    except ValueError as exc:
        print("ValueError", exc)
    print(await client.submit(nested, 10))
    (there,) = await client.scatter([{"key": "x" * 1_000_000}], broadcast=True)
    print(await client.submit(len, await client.gather(there)))
    done = [future.key async for future in as_completed(client.map(square, range(1000, 1020)))]
    print(len(done))
    queue = await Queue("queue", client=client)
    await queue.put(7)
    print(await queue.get())
    async with Lock("lock"):
        print("locked")
    futures = client.map(square, range(2000, 2010))
    await client.cancel(futures)
    print({future.status for future in futures})
"""
RESULTS = [str(sum(n * n for n in range(500))), "8000000", "ValueError on purpose", "285", "1", "20", "7", "locked", "{'cancelled'}"]

LOCAL = WORK + """
async def main(processes, security):
    async with LocalCluster(n_workers=2, threads_per_worker=1, processes=processes, asynchronous=True, dashboard_address=None, security=security,
                            **({"host": "127.0.0.1"} if processes else {})) as cluster:
        print(cluster.scheduler_address.split(":")[0])
        async with Client(cluster, asynchronous=True) as client:
            await use(client)

if __name__ == "__main__":
    files = json.loads(sys.argv[2])
    security = Security(**files, require_encryption=True) if files else None
    asyncio.run(main(sys.argv[1] == "processes", security))
"""

APART = WORK + """
async def main(address, security):
    async with Client(address, asynchronous=True, security=security) as client:
        await client.wait_for_workers(2, timeout=120)
        await use(client)
        await client.shutdown()

if __name__ == "__main__":
    files = json.loads(sys.argv[2])
    asyncio.run(main(sys.argv[1], Security(**files, require_encryption=True) if files else None))
"""


def tls_files(kind):
    """What Security() is told."""
    if kind != "tls":
        return {}
    keys = {f"tls_{role}_{what}": certs.path(name) for role in ("client", "scheduler", "worker") for what, name in (("cert", "both"), ("key", "key"))}
    return {"tls_ca_file": certs.path("authority"), **keys}


def environment(place):
    return child_env(PYTHONDONTWRITEBYTECODE="1", DASK_CONFIG=str(place), DASK_TEMPORARY_DIRECTORY=str(place), DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="60s")


def program(python, place, prefix, text, *arguments):
    """What a program prints that begins a cluster, or uses one."""
    (place / "program.py").write_text(text)
    process = subprocess.Popen([python, *prefix, "program.py", *arguments], cwd=place, env=environment(place), text=True, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=peers.die_with_us)
    try:
        out, err = process.communicate(timeout=150 * PATIENCE)
        assert process.returncode == 0, out + err
        return out.splitlines()
    finally:
        programs.kill_group(process)


@pytest.mark.parametrize("protocol", ["tcp", "tls", "inproc"])
@pytest.mark.parametrize("way", ["install", "asyncio-control"])
def test_local_cluster(hooked_python, tmp_path, protocol, way):
    """inproc: the workers are threads, whose loops talk by memory."""
    prefix, name = PREFIXES[way]
    said = program(hooked_python, tmp_path, prefix, LOCAL, "threads" if protocol == "inproc" else "processes", json.dumps(tls_files(protocol)))
    assert said == [protocol, name, *RESULTS]


@pytest.mark.parametrize("protocol", ["tcp", "tls"])
@pytest.mark.parametrize("way", ["install", "asyncio-control"])
def test_scheduler_and_workers(hooked_python, tmp_path, protocol, way):
    """Each is started as the command `dask` starts it; a nanny watches over each worker."""
    prefix, name = PREFIXES[way]
    files, words = tls_files(protocol), []
    if files:
        words = ["--tls-ca-file", files["tls_ca_file"], "--tls-cert", files["tls_scheduler_cert"], "--tls-key", files["tls_scheduler_key"]]
    started = []
    with peers.port() as port, open(tmp_path / "log", "wb") as log:
        def start(*command):
            started.append(subprocess.Popen([hooked_python, *prefix, "-m", "dask", *command, *words], cwd=tmp_path, env=environment(tmp_path),
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, preexec_fn=peers.die_with_us))
        try:
            address = f"{protocol}://127.0.0.1:{port}"
            start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--protocol", protocol, "--no-dashboard")
            for _ in range(2):
                start("worker", address, "--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard")
            assert program(hooked_python, tmp_path, prefix, APART, address, json.dumps(files)) == [name, *RESULTS]
            assert [process.wait(peers.LONG) for process in started] == [0, 0, 0]
        finally:
            for process in started:
                programs.kill_group(process)
    assert " - asyncio - " not in (tmp_path / "log").read_text()  # no task of Dask's has failed unseen
