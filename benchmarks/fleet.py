"""Servers of several processes: workers of uvicorn and gunicorn that share a port, and a Dask cluster, on asyncio, uvloop and asyncloop.

    python benchmarks/fleet.py [--loops asyncio,uvloop,asyncloop] [--only uvicorn,gunicorn,dask,dask_tls] [--workers 2] [--rounds 3] [--seconds 3] [--json FILE]

The web servers answer wrk (Debian: wrk).  A cluster is a scheduler and as many workers, a process each, that talk over TCP or TLS; its client
hands out small tasks, each of which waits for none, and then blocks of 1 MB that move between the workers.  asyncloop must be installed (pip install .):
its file in site-packages is what brings the workers' processes onto it.  The CPU time is that of all processes of the server (and, of Dask, of the
client), user and system, per request or task; of the blocks per block.  Every server runs as people start it: by its own option for the loop, or
under `python -m asyncloop`.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass

import loops
import report
import run

START_S = 60
TICKS = os.sysconf("SC_CLK_TCK")
KINDS = {"asyncio": "asyncio.unix_events._UnixSelectorEventLoop", "uvloop": "uvloop.Loop", "asyncloop": "asyncloop.Loop"}

APP = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "http":
        kind = type(asyncio.get_running_loop())
        body = f"{kind.__module__}.{kind.__qualname__}".encode() if scope["path"] == "/loop" else b"Hello, world!"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body})
"""

WORKER = """
import uvicorn_worker

class Worker(uvicorn_worker.UvicornWorker):
    CONFIG_KWARGS = {"loop": "LOOP", "http": "httptools"}
"""

CLUSTER = """
import asyncio, json, os, sys, time
from distributed import Client, LocalCluster
from distributed.security import Security

def loop_name():
    return type(asyncio.get_running_loop()).__module__ + "." + type(asyncio.get_running_loop()).__qualname__

async def of_worker(dask_worker):
    return loop_name()

def one_more(n):
    return n + 1

def block(n):
    return bytes(1_000_000)

def size(*blocks):
    return sum(map(len, blocks))

async def tasks(client, n):
    await client.gather(client.map(one_more, range(n), pure=False, batch_size=1000))

async def blocks(client, n):
    made = client.map(block, range(n), pure=False)
    assert await client.submit(size, *made, pure=False) == n * 1_000_000

async def main():
    workers, seconds, files = int(sys.argv[1]), float(sys.argv[2]), json.loads(sys.argv[3])
    security = Security(**files, require_encryption=True) if files else None
    async with LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, asynchronous=True, dashboard_address=None, security=security,
                            host="127.0.0.1") as cluster, Client(cluster, asynchronous=True) as client:
        names = {loop_name(), *(await client.run(of_worker)).values()}
        for work, n in (tasks, 500), (blocks, 10):
            await work(client, n)  # warm
            print(json.dumps({"loops": sorted(names)}), flush=True)
            sys.stdin.readline()
            done, end = 0, time.monotonic() + seconds
            while time.monotonic() < end:
                await work(client, n)
                done += n
            print(json.dumps({"done": done}), flush=True)
            sys.stdin.readline()

if __name__ == "__main__":
    if os.environ["DASK_DISTRIBUTED__ADMIN__EVENT_LOOP"] == "uvloop":
        import uvloop
        uvloop.install()
    asyncio.run(main())
"""


@dataclass(frozen=True)
class Row:
    """As rows of rows.py, for report.py."""

    name: str
    title: str
    unit: str
    needs: tuple = ()
    metrics: tuple = ("cpu_ns", "wall_ns")
    targets: tuple = ()


WEB = {"uvicorn": Row("uvicorn", "uvicorn --workers, plain text", "request", ("uvicorn", "httptools")),
       "gunicorn": Row("gunicorn", "gunicorn with uvicorn's workers, plain text", "request", ("gunicorn", "uvicorn_worker", "httptools"))}
DASK = {"dask": (Row("dask_tasks", "Dask over TCP, small tasks", "task", ("distributed",)), Row("dask_blocks", "Dask over TCP, blocks of 1 MB", "block")),
        "dask_tls": (Row("dask_tls_tasks", "Dask over TLS, small tasks", "task", ("distributed",)),
                     Row("dask_tls_blocks", "Dask over TLS, blocks of 1 MB", "block"))}


def cpu_ns(session):
    """The CPU time of all processes of a session, and how many there are; children that have ended count with their parents."""
    ticks = count = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
            if int(fields[3]) == session:
                ticks += sum(map(int, fields[11:15]))
                count += 1
    return ticks * 1e9 / TICKS, count


@contextlib.contextmanager
def started(words, folder, **options):
    process = subprocess.Popen(words, cwd=folder, start_new_session=True, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def python(loop):
    return [sys.executable, *(["-m", "asyncloop"] if loop == "asyncloop" else [])]


def web_words(kind, loop, port, workers):
    if kind == "uvicorn":
        return [*python(loop), "-m", "uvicorn", "app:app", "--port", str(port), "--workers", str(workers), "--log-level", "error", "--no-access-log",
                "--http", "httptools", "--loop", "uvloop" if loop == "uvloop" else "asyncio"]
    return [*python(loop), "-m", "gunicorn", "app:app", "-b", f"127.0.0.1:{port}", "-w", str(workers), "-k", "app.Worker", "--log-level", "error"]


def fetch(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=START_S) as answer:
        return answer.read().decode()


def measure_web(kind, loop, args, folder):
    """One round: the server is started, and wrk asks it."""
    with open(os.path.join(folder, "app.py"), "w") as file:
        file.write(APP + (WORKER.replace("LOOP", "uvloop" if loop == "uvloop" else "asyncio") if kind == "gunicorn" else ""))
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        port = kept.getsockname()[1]
        with started(web_words(kind, loop, port, args.workers), folder, stdin=subprocess.DEVNULL) as process:
            end = time.monotonic() + START_S
            while True:
                try:
                    name = fetch(port, "/loop")
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > end:
                        raise RuntimeError(f"{kind} did not start")
                    time.sleep(0.05)
            if name != KINDS[loop]:
                raise RuntimeError(f"{kind} runs on {name} instead of {KINDS[loop]}")
            wrk = ["wrk", "-t1", "-c50", f"http://127.0.0.1:{port}/"]
            subprocess.run([*wrk, "-d1s"], check=True, capture_output=True)
            before = cpu_ns(process.pid)[0]
            said = subprocess.run([*wrk, f"-d{max(1, round(args.seconds))}s"], check=True, capture_output=True, text=True).stdout
            spent = cpu_ns(process.pid)[0] - before
            requests, rate = int(re.search(r"(\d+) requests in", said)[1]), float(re.search(r"Requests/sec:\s*([\d.]+)", said)[1])
            if re.search("Non-2xx|Socket errors", said):
                raise RuntimeError(said)
            return {"n": requests, "cpu_ns": spent / requests, "wall_ns": 1e9 / rate}


def certificate(folder):
    path = os.path.join(folder, "certificate.pem")
    if not os.path.exists(path):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", path, "-out", path + ".certificate", "-days", "2",
                        "-subj", "/CN=localhost"], check=True, capture_output=True)
        with open(path, "a") as file, open(path + ".certificate") as more:
            file.write(more.read())
    return {"tls_ca_file": path + ".certificate", **{f"tls_{role}_{what}": path for role in ("client", "scheduler", "worker") for what in ("cert", "key")}}


def measure_dask(kind, loop, args, folder):
    """One round: [the tasks, the blocks], of one cluster."""
    with open(os.path.join(folder, "cluster.py"), "w") as file:
        file.write(CLUSTER)
    env = dict(os.environ, DASK_DISTRIBUTED__ADMIN__EVENT_LOOP="uvloop" if loop == "uvloop" else "asyncio", DASK_TEMPORARY_DIRECTORY=folder)
    files = certificate(folder) if kind == "dask_tls" else {}
    words = [*python(loop), "cluster.py", str(args.workers), str(args.seconds), json.dumps(files)]
    results = []
    with started(words, folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        for _ in DASK[kind]:
            line = process.stdout.readline()
            if not line or (found := json.loads(line)["loops"]) != [KINDS[loop]]:
                raise RuntimeError(f"the cluster runs on {found}" if line else "the cluster did not start")
            before, began = cpu_ns(process.pid)[0], time.perf_counter_ns()
            print(file=process.stdin, flush=True)
            done = json.loads(process.stdout.readline())["done"]
            results.append({"n": done, "cpu_ns": (cpu_ns(process.pid)[0] - before) / done, "wall_ns": (time.perf_counter_ns() - began) / done})
            print(file=process.stdin, flush=True)
        process.wait(START_S)
        process.stdin.close()
        process.stdout.close()
    return results


def missing(needs, programs):
    for name in needs:
        if importlib.util.find_spec(name) is None:
            return f"no package {name}"
    return next((f"no program {name}" for name in programs if not shutil.which(name)), None)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loops", default=",".join(loops.importable(KINDS)))
    parser.add_argument("--only", default=",".join((*WEB, *DASK)))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def measure(kind, names, args, folder):
    """[(row, {loop: its rounds})] of that kind."""
    rows = (WEB[kind],) if kind in WEB else DASK[kind]
    measured = [{name: [] for name in names} for _ in rows]
    for _ in range(args.rounds):
        for name in names:
            got = [measure_web(kind, name, args, folder)] if kind in WEB else measure_dask(kind, name, args, folder)
            for one, result in zip(measured, got):
                one[name].append(result)
    return zip(rows, measured)


def main():
    args = parse()
    names = args.loops.split(",")
    output = {"python": platform.python_version(), "versions": {name: loops.version(name) for name in names}, "machine": run.machine(), "commit": run.commit(),
              "rounds": args.rounds, "seconds": args.seconds, "workers": args.workers, "left_out": {}, "rows": {}}
    print(f"CPython {output['python']}; {output['versions']}; {args.workers} workers, {args.rounds} rounds")
    for kind in args.only.split(","):
        reason = missing(WEB[kind].needs if kind in WEB else DASK[kind][0].needs, ["wrk"] if kind in WEB else ["openssl"])
        if reason:
            print(f"\n{kind}: left out, {reason}")
            output["left_out"][kind] = reason
            continue
        with tempfile.TemporaryDirectory(prefix="asyncloop-fleet-") as folder:
            for row, measured in measure(kind, names, args, folder):
                output["rows"][row.name] = report.summary(row, measured)
                report.print_row(row, measured, [])
    if args.json:
        with open(args.json, "w") as file:
            json.dump(output, file, indent=1)


if __name__ == "__main__":
    main()
