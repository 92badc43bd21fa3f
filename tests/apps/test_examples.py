"""The servers of examples/ that run in several threads: started, asked, ended by Ctrl-C.  On the Python that runs the tests."""
import asyncio
import contextlib
import pathlib
import re
import signal
import subprocess
import sys

import pytest

from kits import SUBJECT
from sidebyside import PATIENCE, child_env

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
THREADS = 3

pytestmark = [pytest.mark.skipif(SUBJECT != "asyncloop", reason="the examples are about asyncloop"),
              pytest.mark.skipif(not EXAMPLES.exists(), reason="the examples are not beside these tests (installed package)")]


@contextlib.contextmanager
def running(name):
    """The port of the server, and a list for the lines that it ends with."""
    # A shell's background job ignores Ctrl-C, and so would its children.
    command = [sys.executable, "-c", f"import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); sys.path.insert(0, {str(EXAMPLES)!r}); "
               f"sys.argv = [{name!r}, '--port', '0', '--threads', '{THREADS}']; runpy.run_path({str(EXAMPLES / name)!r}, run_name='__main__')"]
    with subprocess.Popen(command, env=child_env(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        try:
            last = []
            yield int(re.search(r":(\d+)", server.stdout.readline())[1]), last
            server.send_signal(signal.SIGINT)
            out, err = server.communicate(timeout=30 * PATIENCE)
            assert (server.returncode, err) == (0, "")
            last += out.splitlines()
        finally:
            server.kill()


async def connect(port):
    """Waits until the server listens."""
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)


async def ask(port, sent):
    reader, writer = await connect(port)
    writer.write(sent)
    writer.write_eof()
    got = await reader.read()
    writer.close()
    await writer.wait_closed()
    return got


def test_echo_in_threads():
    async def main():
        data = b"x" * 200_000
        assert await asyncio.gather(*[ask(port, data) for _ in range(20)]) == [data] * 20

    with running("echo_threads.py") as (port, last):
        asyncio.run(main())
    counts = [re.fullmatch(r"thread (\d): (\d+) connections, (\d+) bytes", line).groups() for line in last]
    assert [int(index) for index, _, _ in counts] == list(range(THREADS))
    assert sum(int(n) for _, n, _ in counts) == 20 and sum(int(n) for _, _, n in counts) == 20 * 200_000


def test_http_in_threads():
    async def main():
        many = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"HEAD /thread HTTP/1.1\r\nConnection: close\r\n\r\n"
        for answer in await asyncio.gather(*[ask(port, many) for _ in range(20)]):
            assert answer.count(b"HTTP/1.1 200 OK\r\n") == 4 and answer.count(b"Hello from asyncloop\n") == 3
            assert answer.endswith(b"Content-Length: 2\r\nConnection: close\r\n\r\n")
        for request, status in ((b"GET /work HTTP/1.0\r\n\r\n", b"200 OK"), (b"GET /none HTTP/1.0\r\n\r\n", b"404 Not Found"),
                                (b"POST / HTTP/1.0\r\n\r\n", b"405 Method Not Allowed"), (b"nonsense\r\n\r\n", b"400 Bad Request"),
                                (b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", b"400 Bad Request"), (b"x" * 20_000, b"431 ")):
            assert (await ask(port, request)).startswith(b"HTTP/1.1 " + status)

    with running("http_threads.py") as (port, last):
        asyncio.run(main())
    counts = [re.fullmatch(r"thread (\d): (\d+) requests", line).groups() for line in last]
    assert [int(index) for index, _ in counts] == list(range(THREADS)) and sum(int(n) for _, n in counts) == 20 * 4 + 5
