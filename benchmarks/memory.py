"""Memory held by what waits: a pending timer, an idle TCP connection, a pending Task.  Each loop in a fresh process.

    python benchmarks/memory.py [--loops asyncio,uvloop,asyncloop] [--only timer,connection,task] [--json FILE] [--check]

What is counted is resident memory (the RSS of /proc/self/statm), after a garbage collection, before and after many objects are made, divided by their number:
everything the process really pays, allocator rounding included.  What the program itself brings is made beforehand and so not
counted: the callback of the timers, the protocol object of a connection, the futures that tasks wait for.  A Task's figure holds
its coroutine, the same on every loop.  The kernel's socket buffers are not part of a process's RSS.
"""

import argparse
import asyncio
import gc
import json
import os
import platform
import resource
import socket
import subprocess
import sys

import loops

TIMERS, CONNECTIONS, TASKS = 200_000, 5_000, 100_000
WARM = 1_000
PAGE = os.sysconf("SC_PAGE_SIZE")
TITLES = {"timer": "pending timer (call_later), beyond its callback",
          "connection": "idle TCP connection, beyond its protocol object",
          "task": "pending Task on a Future, with its coroutine"}


def rss():
    """Resident bytes of this process, garbage collected."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


def nothing():
    pass


def timer_bytes(bench):
    """Bytes per call_later(3600, callback) whose handle is not kept."""
    loop = bench.loop
    for handle in [loop.call_later(3600, nothing) for _ in range(WARM)]:
        handle.cancel()
    bench.run(asyncio.sleep(0))
    before = rss()
    for _ in range(TIMERS):
        loop.call_later(3600, nothing)
    return (rss() - before) / TIMERS


async def _wait_for(future):
    await future


async def _task_bytes(loop):
    futures = [loop.create_future() for _ in range(TASKS + WARM)]
    tasks = [None] * TASKS
    warm = [loop.create_task(_wait_for(future)) for future in futures[TASKS:]]
    await asyncio.sleep(0)
    before = rss()
    for i in range(TASKS):
        tasks[i] = loop.create_task(_wait_for(futures[i]))
    await asyncio.sleep(0)
    used = rss() - before
    for future in futures:
        future.set_result(None)
    for task in tasks + warm:
        await task
    return used / TASKS


def task_bytes(bench):
    """Bytes per task suspended on a future of its own."""
    return bench.run(_task_bytes(bench.loop))


class Idle(asyncio.Protocol):
    __slots__ = ("transport",)
    made = 0

    def connection_made(self, transport):
        self.transport = transport
        Idle.made += 1


def _connect_many(port, sockets, n, loop, bench):
    """n connections to ourselves, in steps below the listen backlog."""
    address = ("127.0.0.1", port)
    goal = Idle.made
    for start in range(0, n, 50):
        for _ in range(min(50, n - start)):
            peer = socket.socket()
            peer.connect(address)
            sockets.append(peer.detach())
            goal += 1
        while Idle.made < goal:
            bench.run(asyncio.sleep(0.001))


def connection_bytes(bench):
    """Bytes per accepted connection; the client's end is a bare file descriptor of this process."""
    wanted = 2 * (CONNECTIONS + WARM) + 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(wanted, hard)), hard))
    protocols = [Idle() for _ in range(CONNECTIONS + WARM)]
    sockets = []
    loop = bench.loop
    server = bench.run(loop.create_server(iter(protocols).__next__, "127.0.0.1", 0, family=socket.AF_INET))
    port = server.sockets[0].getsockname()[1]
    _connect_many(port, sockets, WARM, loop, bench)
    before = rss()
    sockets_before = sys.getsizeof(sockets)
    _connect_many(port, sockets, CONNECTIONS, loop, bench)
    own = sys.getsizeof(sockets) - sockets_before + 32 * CONNECTIONS     # the list of the clients' fds, and its ints
    used = rss() - before - own
    for fd in sockets:
        os.close(fd)
    server.close()
    bench.run(asyncio.sleep(0.1))
    return used / CONNECTIONS


MEASURES = {"timer": timer_bytes, "connection": connection_bytes, "task": task_bytes}


def one(loop, what):
    """One figure, measured in a fresh process; None when the loop cannot do it."""
    done = subprocess.run([sys.executable, __file__, "--one", loop, what], capture_output=True, text=True, timeout=300)
    if done.returncode:
        print(f"{loop} {what}: {done.stderr.strip()[-500:]}", file=sys.stderr)
        return None
    return float(done.stdout)


def targets(figures):
    """(text, figure, most) of each target that could be measured."""
    found = []
    for what, most in (("timer", 100), ("connection", 600)):
        if figures.get(what, {}).get("asyncloop") is not None:
            found.append((f"bytes per {what} <= {most}", figures[what]["asyncloop"], most))
    tasks = figures.get("task", {})
    if tasks.get("asyncloop") is not None and tasks.get("asyncio") is not None:
        most = 0.8 * tasks["asyncio"]
        found.append((f"bytes per task <= 0.8 of asyncio's ({most:.0f})", tasks["asyncloop"], most))
    return found


def main():
    if sys.argv[1:2] == ["--one"]:
        bench = loops.Bench(sys.argv[2])
        print(MEASURES[sys.argv[3]](bench), flush=True)
        os._exit(0)     # the timers and connections need no tidy end
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loops", default=",".join(loops.importable()), help="comma-separated; default: those importable")
    parser.add_argument("--only", default=",".join(MEASURES), help="timer, connection, task")
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a target is missed")
    args = parser.parse_args()
    names = args.loops.split(",")
    print(f"bytes (RSS), CPython {platform.python_version()}\n{'':50}" + "".join(f"{name:>11}" for name in names))
    figures = {}
    for what in args.only.split(","):
        figures[what] = {name: one(name, what) for name in names}
        print(f"{TITLES[what]:50}" + "".join("          -" if v is None else f"{v:11,.0f}" for v in figures[what].values()), flush=True)
    found = targets(figures)
    for text, figure, most in found:
        print(f"{'ok' if figure <= most else 'missed':6} asyncloop: {text}: {figure:.0f}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"python": platform.python_version(), "versions": {name: loops.version(name) for name in names},
                       "bytes": figures, "targets": [{"target": t, "bytes": f, "most": m, "verdict": "ok" if f <= m else "missed"}
                                                     for t, f, m in found]}, file, indent=1)
    return 1 if args.check and any(figure > most for _, figure, most in found) else 0


if __name__ == "__main__":
    sys.exit(main())
