"""The network rows: a server on the loop under test (servers.py), loaded from another process on another CPU.

The load is a program in C (c/*_load.c) or wrk.  The peer `c-epoll` is c/echo_epoll.c, the plainest server there is.  Figures per
request: CPU time of the server process (all its threads, user and system), wall time (1e9 / requests per second, all connections
together), and round-trip times.
"""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass

import loops as event_loops

HERE = os.path.dirname(os.path.abspath(__file__))
C_SERVER = "c-epoll"
WARMUP_MS = 200

# Program of c/ -> its source and what else the compiler is told.
PROGRAMS = {
    "echo_epoll": ("echo_epoll.c",),
    "echo_epoll_tls": ("echo_epoll.c", "-DSERVE_TLS", "-lssl", "-lcrypto"),
    "echo_epoll_http": ("echo_epoll.c", "-DSERVE_HTTP"),
    "echo_epoll_https": ("echo_epoll.c", "-DSERVE_HTTP", "-DSERVE_TLS", "-lssl", "-lcrypto"),
    "echo_load": ("echo_load.c",),
    "echo_load_tls": ("echo_load.c", "-DLOAD_TLS", "-lssl", "-lcrypto"),
    "churn_load": ("churn_load.c",),
    "udp_load": ("udp_load.c",),
    "udp_load_8": ("udp_load.c", "-DUDP_WINDOW=8"),
    "udp_load_32": ("udp_load.c", "-DUDP_WINDOW=32"),
    "idle_load": ("idle_load.c", "-lssl", "-lcrypto"),
}
# Kind of a row -> the program that is its peer in C.
C_SERVERS = {"protocol": "echo_epoll", "buffered": "echo_epoll", "streams": "echo_epoll", "streams_read": "echo_epoll",
             "streams_readline": "echo_epoll", "tls": "echo_epoll_tls", "http": "echo_epoll_http", "https": "echo_epoll_https"}
UNITS_NS = {"us": 1e3, "ms": 1e6, "s": 1e9}


class Unavailable(Exception):
    """A program that this row needs is not on this machine."""


@dataclass(frozen=True)
class ServedRow:
    """One row with a server.  kind: of servers.py.  load: a program of PROGRAMS, or wrk, wrk over https.

    targets: (peer, least ratio), on each of `metrics`, or (peer, least ratio, which of our loops).  loops: those it is for; empty: all.
    needs: packages that the server imports.
    """

    name: str
    title: str
    kind: str
    n_bytes: int
    connections: int = 10
    load: str = "echo_load"
    targets: tuple = ()
    metrics: tuple = ("cpu_ns",)
    loops: tuple = ()
    unit: str = "request"
    needs: tuple = ()


@dataclass(frozen=True)
class IdleRow:
    """Resident bytes of the server process for each of many TLS connections that do nothing, after one echo of n_bytes."""

    name: str
    title: str
    connections: int
    n_bytes: int = 1024
    kind: str = "tls_idle"
    load: str = "idle_load"
    targets: tuple = ()
    metrics: tuple = ("bytes",)
    loops: tuple = ()
    unit: str = "connection"
    warm: int = 200         # connections made before the first look


ECHO = (
    ServedRow("echo", "TCP echo 1 KiB, Protocol", "protocol", 1024, metrics=("cpu_ns", "wall_ns"),
              targets=(("uvloop", 1.0), (C_SERVER, 0.85), ("rloop", 1.0), ("zuvloop", 1.0))),
    ServedRow("echo_buffered", "TCP echo 1 KiB, BufferedProtocol", "buffered", 1024, metrics=("cpu_ns", "wall_ns")),
    ServedRow("echo_streams", "TCP echo 1 KiB, streams", "streams", 1024, metrics=("cpu_ns", "wall_ns")),
    ServedRow("echo_bulk", "TCP echo 100 KiB, Protocol", "protocol", 100 * 1024, metrics=("cpu_ns", "wall_ns"),
              targets=(("uvloop", 1.0),)),
)
BULK = ECHO[-1]

OVER_TLS = (("aiofastnet", 1.0), ("uvloop", 2.0))
NET = (
    ServedRow("tls_echo", "TLS echo 1 KiB", "tls", 1024, load="echo_load_tls", targets=OVER_TLS),
    ServedRow("tls_bulk", "TLS echo 100 KiB", "tls", 100 * 1024, load="echo_load_tls", targets=OVER_TLS),
    ServedRow("https", "HTTP keep-alive over TLS, wrk", "https", 0, connections=50, load="wrk", targets=OVER_TLS),
    ServedRow("http", "HTTP keep-alive, wrk", "http", 0, connections=50, load="wrk"),
    ServedRow("sock_echo", "sock_recv/sock_sendall echo 1 KiB", "sock", 1024, targets=(("asyncio", 2.0), ("rloop", 1.2))),
    ServedRow("unix_echo", "Unix socket echo 1 KiB", "unix", 1024, targets=(("uvloop", 1.1),)),
    ServedRow("udp_echo", "UDP echo 1 KiB, 4 clients, 32 in flight", "udp", 1024, connections=4, load="udp_load_8",
              targets=(("uvloop", 1.3), ("rloop", 1.0)), unit="datagram"),
    ServedRow("udp_echo_1", "UDP echo 1 KiB, 1 client, 32 in flight", "udp", 1024, connections=1, load="udp_load_32", unit="datagram"),
    ServedRow("udp_echo_32", "UDP echo 1 KiB, 32 clients, 32 in flight", "udp", 1024, connections=32, load="udp_load", unit="datagram"),
    ServedRow("churn", "accept, echo 1 KiB, close", "churn", 1024, load="churn_load", targets=(("uvloop", 1.1),), unit="connection"),
    BULK,
    IdleRow("tls_idle", "idle TLS connection, resident bytes", 5_000, targets=(("uvloop", 1.0),)),
)

WITH_AIOFASTNET = ("asyncio", "uvloop", "aiofastnet", "zuvloop", "asyncloop")
STREAMS = tuple(
    ServedRow(f"stream_{how}", f"stream echo 1 KiB by {how}()", f"streams_{how}", 1024, loops=WITH_AIOFASTNET,
              targets=(("c-epoll", 0.9), ("aiofastnet", 1.1)))
    for how in ("read", "readline"))


def _app(name, title, package, *targets):
    """A row of the group apps: a server that people use, under wrk, on every loop and on asyncloop after install() too."""
    peers = event_loops.WITH_INSTALLED[1:-2]
    return ServedRow(name, title, name, 0, connections=50, load="wrk", loops=event_loops.WITH_INSTALLED, needs=(package,),
                     targets=(*((peer, 1.0) for peer in peers), *((peer, *target) for target in targets for peer in peers)))


APPS = (
    _app("aiohttp", "aiohttp, plain text", "aiohttp"),
    _app("aiohttp_tasks", "aiohttp, ten tasks under a timeout", "aiohttp"),
    _app("uvicorn", "uvicorn, plain text", "uvicorn"),
    _app("uvicorn_tasks", "uvicorn, ten tasks under a timeout", "uvicorn", (2.0, event_loops.INSTALLED)),
)


def _compile(program, folder):
    path = os.path.join(folder, program)
    if not os.path.exists(path):
        compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
        if not compiler:
            raise Unavailable("no C compiler (cc)")
        source, *extra = PROGRAMS[program]
        command = [compiler, "-O2", "-std=c11", "-o", path, os.path.join(HERE, "c", source), *extra]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(f"{program} cannot be compiled ({'is libssl-dev installed? ' if '-lssl' in extra else ''}"
                              f"{done.stderr.strip().splitlines()[0]})")


def _make_certificate(folder):
    if not os.path.exists(os.path.join(folder, "cert.pem")):
        if not shutil.which("openssl"):
            raise Unavailable("no openssl program")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem"],
                       cwd=folder, capture_output=True, check=True)


def prepare(row, folder):
    """Makes what the row needs in `folder`.  Unavailable: it cannot be had here."""
    if row.load == "wrk":
        if not shutil.which("wrk"):
            raise Unavailable("no wrk program (apt-get install wrk)")
    else:
        _compile(row.load, folder)
    if row.kind in C_SERVERS:
        _compile(C_SERVERS[row.kind], folder)
    if row.kind in ("tls", "tls_idle", "https"):
        _make_certificate(folder)


def names(row, wanted):
    """The loops that the row is measured on, of those wanted, and the C server where it can be."""
    found = [name for name in wanted if not row.loops or name in row.loops]
    return found + [C_SERVER] if row.kind in C_SERVERS else found


def cpus():
    """(server's CPU, client's CPU), or (None, None) where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else (None, None)


def _pin(cpu):
    """What a child runs before its program to stay on one CPU."""
    return None if cpu is None else lambda: os.sched_setaffinity(0, {cpu})


class Server:
    """A server process, started; a context manager that ends it."""

    def __init__(self, row, loop, folder):
        if loop == C_SERVER:
            command = [os.path.join(folder, C_SERVERS[row.kind]), "0", folder]
        else:
            command = [sys.executable, os.path.join(HERE, "servers.py"), loop, row.kind, folder]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        preexec_fn=_pin(cpus()[0]))
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            self.process.wait()
            lines = self.process.stderr.read().strip().splitlines()
            raise RuntimeError(f"{loop}: the server did not start: {lines[-1] if lines else self.process.returncode}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def ask(self, question):
        """The server's answer, a number: rss, requests."""
        print(question, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def cpu_ns(self):
        """CPU time so far, user and system, all threads: the clock that clock_getcpuclockid() names on Linux."""
        return time.clock_gettime_ns((~self.process.pid << 3) | 2)


def _run_load(command, timeout):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, preexec_fn=_pin(cpus()[1]), timeout=timeout)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-500:])
    return done.stdout


def _load_c(row, server, folder, seconds, spin):
    arguments = [server.address, row.connections, row.n_bytes, WARMUP_MS, int(seconds * 1000), server.process.pid, int(spin)]
    return json.loads(_run_load([os.path.join(folder, row.load), *arguments], seconds + 30))


def _latency_ns(output, per_cent):
    value, unit = re.search(rf"^ +{per_cent}% +([\d.]+)([a-z]+)", output, re.M).groups()
    return float(value) * UNITS_NS[unit]


def _load_wrk(row, server, seconds):
    """wrk runs for whole seconds; between its start, with the handshakes, and its end the server is asked."""
    url = f"{'https' if row.kind == 'https' else 'http'}://127.0.0.1:{server.address}/"
    command = ["wrk", "--latency", "-t", "1", "-c", str(row.connections), "-d", f"{math.ceil(seconds + 1)}s", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=_pin(cpus()[1])) as wrk:
        try:
            time.sleep(0.5)
            n, cpu, wall = server.ask("requests"), server.cpu_ns(), time.perf_counter_ns()
            time.sleep(seconds)
            n, cpu, wall = server.ask("requests") - n, server.cpu_ns() - cpu, time.perf_counter_ns() - wall
            output = wrk.communicate(timeout=60)[0]
        except BaseException:
            wrk.kill()
            raise
    if wrk.returncode or "Non-2xx" in output or "Socket errors" in output or n <= 0:
        raise RuntimeError(f"wrk: {output}")
    return {"requests": n, "wall_ns": wall, "server_cpu_ns": cpu, "own_cpu_ns": 0, "p50_ns": _latency_ns(output, 50), "p99_ns": _latency_ns(output, 99)}


def measure(row, loop, folder, seconds, spin):
    """One round of one row on one loop: a fresh server and a fresh client."""
    with Server(row, loop, folder) as server:
        try:
            got = _load_wrk(row, server, seconds) if row.load == "wrk" else _load_c(row, server, folder, seconds, spin)
        except RuntimeError as error:
            raise RuntimeError(f"{loop}: {error}") from None
    return {
        "n": got["requests"],
        "cpu_ns": got["server_cpu_ns"] / got["requests"],
        "wall_ns": got["wall_ns"] / got["requests"],
        "requests_per_s": got["requests"] * 1e9 / got["wall_ns"],
        "server_busy": got["server_cpu_ns"] / got["wall_ns"],
        "p50_ns": got["p50_ns"],
        "p99_ns": got["p99_ns"],
    }


def _hold(path, server, n, n_bytes):
    """A client that holds n connections, all of them open."""
    client = subprocess.Popen([path, server.address, str(n), str(n_bytes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              preexec_fn=_pin(cpus()[1]))
    if client.stdout.readline().strip() != "ready":
        client.wait()
        raise RuntimeError("the client failed")
    return client


def measure_idle(row, loop, folder, n):
    """The difference that n connections make to the server's resident bytes."""
    path = os.path.join(folder, row.load)
    clients = []
    with Server(row, loop, folder) as server:
        try:
            for count in (row.warm, n):
                before = server.ask("rss")
                clients.append(_hold(path, server, count, row.n_bytes))
            return {"n": n, "bytes": (server.ask("rss") - before) / n}
        finally:
            for client in clients:
                client.stdin.close()
                client.stdout.close()
                client.wait()
