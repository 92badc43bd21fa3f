"""Loops in several threads of one process: operations a second of all of them together, for 1 to 8 threads.  For a free-threaded Python.

    python3.14t benchmarks/threads.py [--threads 1,2,4,8] [--rows call_soon,echo] [--loops uvloop,asyncloop] [--rounds 3] [--seconds 1] [--json FILE]
    … --beside COMMAND      asyncloop's rows with one thread on another interpreter too, in the same rounds: what the GIL build does

Each thread has a loop and work of its own; nothing is shared.  For each row and number of threads: a fresh process for loop A, then B, C …, then A again.
Of the network rows both ends are in the thread that is measured.  asyncloop is measured after asyncloop.install(), its peers have asyncio's own helpers.
A loop that fails a row, or that takes the GIL back, is reported and left out of it.
"""

import argparse
import asyncio
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import threading
import time

import loops
import report
import run
import servers

NAMES = ("asyncio", "uvloop", "rloop", "zuvloop", "zloop", "rsloop", "asyncloop")
GIL = "asyncloop-gil"       # asyncloop on the interpreter of --beside
BATCH = 200
WARMUP_S = 0.1
LONGEST_S = 60
CONNECTIONS = 8
MESSAGE = b"x" * 1024
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def _child():
    return 1


async def call_soon(loop, stop):
    """A callback that schedules the next."""
    end, n = loop.create_future(), 0

    def step():
        nonlocal n
        n += 1
        if n % BATCH == 0 and time.perf_counter() >= stop:
            end.set_result(n)
        else:
            loop.call_soon(step)

    loop.call_soon(step)
    return await end


async def tasks(loop, stop):
    """A task, made and awaited."""
    n, create_task = 0, asyncio.create_task
    while time.perf_counter() < stop:
        for _ in range(BATCH):
            await create_task(_child())
        n += BATCH
    return n


async def sleep0(loop, stop):
    n, sleep = 0, asyncio.sleep
    while time.perf_counter() < stop:
        for _ in range(BATCH):
            await sleep(0)
        n += BATCH
    return n


async def timers(loop, stop):
    """A timer a minute away, made and cancelled."""
    n = 0

    def never():
        raise AssertionError("a cancelled timer ran")

    while time.perf_counter() < stop:
        for handle in [loop.call_later(60, never) for _ in range(BATCH)]:
            handle.cancel()
        await asyncio.sleep(0)
        n += BATCH
    return n


async def queue(loop, stop):
    """An item through a Queue(10) from task to task."""
    items, n = asyncio.Queue(10), 0

    async def produce():
        while time.perf_counter() < stop:
            for i in range(BATCH):
                await items.put(i)
        await items.put(None)

    producer = loop.create_task(produce())
    while await items.get() is not None:
        n += 1
    await producer
    return n


class _Asker(asyncio.Protocol):
    """Sends again when all of the answer is there."""

    def __init__(self, talk):
        self.talk, self.left = talk, talk.n_bytes

    def connection_made(self, transport):
        self.transport = transport
        transport.write(self.talk.message)

    def data_received(self, data):
        self.left -= len(data)
        if self.left == 0:
            self.left = self.talk.n_bytes
            if self.talk.goes_on():
                self.transport.write(self.talk.message)

    def connection_lost(self, exc):
        self.talk.lose(exc)


class _Talk:
    """What the connections of a thread count together."""

    def __init__(self, loop, stop, message, n_bytes):
        self.stop, self.message, self.n_bytes = stop, message, n_bytes
        self.n, self.end = 0, loop.create_future()

    def goes_on(self):
        self.n += 1
        if self.n % 64 == 0 and time.perf_counter() >= self.stop and not self.end.done():
            self.end.set_result(None)
        return not self.end.done()

    def lose(self, exc):
        if not self.end.done():
            self.end.set_exception(exc or ConnectionError("closed early"))


async def _talk(loop, stop, protocol, message, n_bytes):
    server = await loop.create_server(protocol, "127.0.0.1", 0)
    talk = _Talk(loop, stop, message, n_bytes)
    port = server.sockets[0].getsockname()[1]
    transports = [(await loop.create_connection(lambda: _Asker(talk), "127.0.0.1", port))[0] for _ in range(CONNECTIONS)]
    await talk.end
    for transport in transports:
        transport.close()
    server.close()
    await asyncio.sleep(0.01)
    return talk.n


async def echo(loop, stop):
    return await _talk(loop, stop, servers.Echo, MESSAGE, len(MESSAGE))


async def http(loop, stop):
    return await _talk(loop, stop, servers.Http, REQUEST, len(servers.RESPONSE))


ROWS = {
    "call_soon": ("call_soon chain", "callback", call_soon),
    "tasks": ("create_task + await", "task", tasks),
    "sleep0": ("sleep(0)", "sleep", sleep0),
    "timers": ("call_later + cancel", "timer", timers),
    "queue": ("Queue producer/consumer", "item", queue),
    "echo": ("TCP echo 1 KiB, both ends", "round trip", echo),
    "http": ("HTTP keep-alive, both ends", "request", http),
}


def _has_gil():
    return getattr(sys, "_is_gil_enabled", lambda: True)()


def measure(name, row, n_threads, seconds):
    """In this process: {"ops_s", "cpu_ns", "gil"}."""
    start = threading.Barrier(n_threads)
    results, failures = [], []

    def work():
        try:
            loop = loops.new_loop(name)
            main = ROWS[row][2]
            loop.run_until_complete(main(loop, time.perf_counter() + WARMUP_S))
            start.wait()
            began, cpu = time.perf_counter(), time.thread_time()
            n = loop.run_until_complete(main(loop, began + seconds))
            results.append((n, time.perf_counter() - began, time.thread_time() - cpu))
            loop.close()
        except BaseException as exc:
            failures.append(exc)
            start.abort()

    if name == "asyncloop":
        import asyncloop

        asyncloop.install()
    threads = [threading.Thread(target=work) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise next((exc for exc in failures if not isinstance(exc, threading.BrokenBarrierError)), failures[0])
    n = sum(count for count, _, _ in results)
    return {"ops_s": n / max(wall for _, wall, _ in results), "cpu_ns": 1e9 * sum(cpu for _, _, cpu in results) / n, "gil": _has_gil()}


def measure_one(command, name, row, n_threads, seconds, may_have_gil):
    """The same in a fresh process."""
    words = [*command, os.path.abspath(__file__), "--measure", name, row, str(n_threads), str(seconds)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LONGEST_S)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1])
    result = json.loads(done.stdout)
    if result["gil"] and not may_have_gil:
        raise RuntimeError("takes the GIL back")
    return result


def measure_row(row, n_threads, names, args):
    """{loop: [one result a round]}, without the loops that fail."""
    measured = {name: [] for name in names if n_threads == 1 or name != GIL}
    for _ in range(args.rounds):
        for name in list(measured):
            command, module = (shlex.split(args.beside), "asyncloop") if name == GIL else ([sys.executable], name)
            try:
                measured[name].append(measure_one(command, module, row, n_threads, args.seconds, name == GIL or _has_gil()))
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(f"  {row}, {n_threads} threads: {name} left out: {error}", file=sys.stderr)
                del measured[name]
    return measured


def figures(rounds):
    """The JSON of one loop with so many threads."""
    return {"ops_s": report.median(rounds, "ops_s"), "cpu_ns": report.median(rounds, "cpu_ns"),
            "spread_percent": round(report.spread([r["ops_s"] for r in rounds]), 1), "rounds": rounds}


def print_row(title, n_threads, measured, ones):
    print(f"\n{title}, {n_threads} thread{'s' if n_threads > 1 else ''}")
    for name, rounds in measured.items():
        ops = report.median(rounds, "ops_s")
        scale = f"  {ops / ones[name]:5.2f}x its figure with one thread" if n_threads > 1 and name in ones else ""
        print(f"  {name:13} {ops:12,.0f} a second +-{report.spread([r['ops_s'] for r in rounds]):4.1f}%{scale}", flush=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", default="1,2,4,8")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--loops", default="", help="default: those that are importable")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--beside", default="", metavar="COMMAND", help="how to start the other interpreter")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--measure", nargs=4, metavar=("LOOP", "ROW", "N", "SECONDS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.rows, args.threads = args.rows.split(","), [int(n) for n in args.threads.split(",")]
    args.loops = args.loops.split(",") if args.loops else loops.importable(NAMES)
    if unknown := [row for row in args.rows if row not in ROWS]:
        parser.error(f"no row {unknown[0]!r} (rows: {', '.join(ROWS)})")
    if unknown := [name for name in args.loops if name not in loops.importable(NAMES)]:
        parser.error(f"loop {unknown[0]!r} is not importable here (known: {', '.join(NAMES)})")
    return args


def main():
    args = parse()
    if args.measure:
        name, row, n_threads, seconds = args.measure
        print(json.dumps(measure(name, row, int(n_threads), float(seconds))))
        return
    names = [*args.loops, *([GIL] if args.beside else [])]
    output = {"python": platform.python_version() + ("" if _has_gil() else "t"), "versions": {name: loops.version(name) for name in args.loops},
              "machine": run.machine(), "commit": run.commit(), "threads": args.threads, "rounds": args.rounds, "seconds": args.seconds, "rows": {}}
    if args.beside:
        output["beside"] = subprocess.run([*shlex.split(args.beside), "-c", "import platform; print(platform.python_version())"],
                                          capture_output=True, text=True, check=True).stdout.strip()
    print(f"CPython {output['python']}; " + ", ".join(f"{k} {v}" for k, v in output["versions"].items()))
    print(f"{output['machine']['cpu']}, {output['machine']['cpus']} CPUs; {args.rounds} rounds of {args.seconds:g} s")
    for row in args.rows:
        title, unit, _ = ROWS[row]
        result = output["rows"][row] = {"title": title, "unit": unit, "loops": {}}
        ones = {}
        for n_threads in args.threads:
            measured = measure_row(row, n_threads, names, args)
            for name, rounds in measured.items():
                result["loops"].setdefault(name, {})[str(n_threads)] = figures(rounds)
                if n_threads == 1:
                    ones[name] = statistics.median(r["ops_s"] for r in rounds)
            print_row(title, n_threads, measured, ones)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(output, file, indent=1)


if __name__ == "__main__":
    main()
