"""Several processes that accept at one port, each on a loop of its own: uvicorn's workers, gunicorn's, and processes that bind it for themselves."""
import concurrent.futures
import contextlib
import os
import signal
import socket
import subprocess
import sys

import pytest

import peers
from asgi_servers import OURS, RUNNER, UVICORN, Server, gunicorn_words
from sidebyside import SUBJECT, child_env

pytestmark = pytest.mark.limit(120)
WORKERS = 3


def load(get, number, at_once=8):
    """The answers to that many requests, each on a connection of its own."""
    with concurrent.futures.ThreadPoolExecutor(at_once) as threads:
        return list(threads.map(lambda n: get(), range(number)))


KINDS = {"uvicorn": lambda: [*UVICORN, "--workers", str(WORKERS)], "gunicorn": lambda: [*gunicorn_words(), "-w", str(WORKERS), "-k", "uvicorn_worker.UvicornWorker"]}


@pytest.mark.parametrize("kind", list(KINDS))
def test_workers(hooked_python, tmp_path, kind):
    """All answer; a worker that is killed has a successor, and meanwhile the others go on; the end waits for a request that is under way."""
    with Server(hooked_python, tmp_path, [*RUNNER, *KINDS[kind]()]) as server:
        seen = set()
        server.until(lambda said: seen.add(said[1]) or len(seen) == WORKERS)
        answers = load(server.get, 200)
        assert {said[0] for said in answers} == {OURS}
        assert {said[1] for said in answers} <= seen
        killed = answers[0][1]
        os.kill(int(killed), signal.SIGKILL)
        successor = server.until(lambda said: said[1] not in seen)
        assert successor[0] == OURS
        assert killed not in {said[1] for said in load(server.get, 50)}
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            slow = thread.submit(server.get, "/slow")
            while not (tmp_path / "slow").exists():
                assert not slow.done(), slow.result()
            server.process.terminate()
            assert slow.result()[0] == OURS
        server.process.wait(peers.LONG)


ALONE = """
import asyncio, os, signal, sys

async def main():
    done = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)

    async def serve(reader, writer):
        await reader.readline()
        kind = type(asyncio.get_running_loop())
        writer.write(f"{kind.__module__}.{kind.__qualname__} {os.getpid()}".encode())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), reuse_port=True):
        print("ready", flush=True)
        await done.wait()

asyncio.run(main())
"""


@pytest.mark.skipif(SUBJECT != "asyncloop", reason="is about the runner")
def test_reuse_port(tmp_path):
    """The kernel spreads connections; when one process has closed its socket, all new ones go to the others."""
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(socket.socket())
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(("127.0.0.1", 0))
        port = kept.getsockname()[1]
        processes = []
        for _ in range(WORKERS):
            process = subprocess.Popen([sys.executable, *RUNNER, "-c", ALONE, str(port)], env=child_env(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                       preexec_fn=peers.die_with_us)
            stack.callback(process.stdout.close)
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        for process in processes:
            assert process.stdout.readline() == "ready\n"

        def get():
            with socket.create_connection(("127.0.0.1", port), peers.LONG) as sock:
                sock.sendall(b"\n")
                return sock.makefile().read().split()

        answers = load(get, 200)
        assert {name for name, pid in answers} == {OURS}
        assert {int(pid) for name, pid in answers} == {process.pid for process in processes}
        processes[0].terminate()
        assert processes[0].wait(peers.LONG) == 0
        assert {int(pid) for name, pid in load(get, 100)} == {process.pid for process in processes[1:]}
