"""Tools that look into a running program: debugpy (a breakpoint in a task), coverage (which lines and branches ran), py-spy (the stack from outside)."""
import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
import time

import pytest

import peers
import programs
from sidebyside import PATIENCE, SUBJECT

peers.apps("debugpy", "coverage")

pytestmark = [pytest.mark.limit(120), pytest.mark.skipif(SUBJECT != "asyncloop", reason="compares asyncio with asyncloop")]

PROGRAM = """
import chosen
import asyncio


async def inner(n):
    await asyncio.sleep(0)
    kept = n * 2
    return kept  # the breakpoint


async def raises():
    try:
        await asyncio.wait_for(asyncio.sleep(30), 0.001)
    except TimeoutError:
        return "late"
    return "never"


async def numbers():
    for n in range(3):
        yield n
    else:
        await asyncio.sleep(0)


def called(n):
    if n > 100:
        print("never")
    return n


async def main():
    chosen.check()
    loop = asyncio.get_running_loop()
    loop.call_soon(called, 1)
    loop.call_later(0, called, 2)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(inner(n)) for n in range(3)]
    print([task.result() for task in tasks])
    print(await raises(), [n async for n in numbers()], await asyncio.to_thread(called, 3))
    reader, writer = None, None

    async def serve(there, back):
        back.write((await there.read()).upper())
        back.close()
        await back.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"text")
        writer.write_eof()
        print(await reader.read())
        writer.close()
        await writer.wait_closed()

if __name__ == "__main__":
    asyncio.run(main())
"""
SAID = "[0, 2, 4]\nlate [0, 1, 2] 3\nb'TEXT'\n"
BREAKPOINT = 1 + PROGRAM.splitlines().index("    return kept  # the breakpoint")


@pytest.mark.parametrize("core", ["ctrace", "sysmon"])
def test_coverage(tmp_path, core):
    if core == "sysmon" and sys.version_info < (3, 12):
        pytest.skip("sys.monitoring came with Python 3.12")
    branch = ["--branch"] if core == "ctrace" or sys.version_info >= (3, 14) else []  # coverage's own limit
    assert programs.compare(tmp_path, PROGRAM, command=["-m", "coverage", "run", *branch, "--include=program.py"], env={"COVERAGE_CORE": core}) == SAID
    seen = {}
    for way in programs.WAYS:
        at = tmp_path / way
        subprocess.run([sys.executable, "-m", "coverage", "json", "-q"], cwd=at, check=True, timeout=60 * PATIENCE)
        (file,) = json.loads((at / "coverage.json").read_text())["files"].values()
        seen[way] = {name: file[name] for name in ("executed_lines", "missing_lines", "executed_branches", "missing_branches") if name in file}
    assert seen["policy"] == seen["install"] == seen["asyncio"]
    never = [1 + n for n, line in enumerate(PROGRAM.splitlines()) if "never" in line]
    assert seen["install"]["missing_lines"] == never


class Client:
    """Speaks the debug adapter protocol with debugpy."""

    def __init__(self, port):
        end = time.monotonic() + peers.LONG
        while True:
            try:
                self.sock = socket.create_connection(("127.0.0.1", port), peers.LONG)
                break
            except ConnectionRefusedError:
                assert time.monotonic() < end
                time.sleep(0.02)
        self.file = self.sock.makefile("rb")
        self.number, self.waiting = 0, []

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.file.close()
        self.sock.close()

    def send(self, command, **arguments):
        self.number += 1
        body = json.dumps({"seq": self.number, "type": "request", "command": command, "arguments": arguments}).encode()
        self.sock.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return self.number

    def receive(self, wanted):
        for message in self.waiting:
            if wanted(message):
                self.waiting.remove(message)
                return message
        while True:
            length = 0
            while (line := self.file.readline().strip()) or not length:
                assert line or not length or self.file.peek(), "debugpy has hung up"
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            message = json.loads(self.file.read(length))
            if wanted(message):
                return message
            self.waiting.append(message)

    def event(self, name):
        return self.receive(lambda message: message["type"] == "event" and message["event"] == name).get("body")

    def answer(self, number):
        message = self.receive(lambda message: message["type"] == "response" and message["request_seq"] == number)
        assert message["success"], message
        return message.get("body")

    def ask(self, command, **arguments):
        return self.answer(self.send(command, **arguments))


@pytest.mark.parametrize("way", [*programs.OURS, "asyncio-control"])
def test_debugpy(tmp_path, way):
    with peers.port() as port:
        run = programs.Run(way.partition("-")[0], tmp_path, PROGRAM, command=["-m", "debugpy", "--listen", f"127.0.0.1:{port}", "--wait-for-client"],
                           env={"PYDEVD_DISABLE_FILE_VALIDATION": "1"}, quiet=False)
        try:
            with Client(port) as client:
                client.ask("initialize", adapterID="tests", pathFormat="path")
                attached = client.send("attach", justMyCode=True)
                client.event("initialized")
                path = str(run.folder / "program.py")
                client.ask("setBreakpoints", source={"path": path}, breakpoints=[{"line": BREAKPOINT, "condition": "n == 1"}])
                client.ask("configurationDone")
                client.answer(attached)
                stopped = client.event("stopped")
                frames = client.ask("stackTrace", threadId=stopped["threadId"])["stackFrames"]
                assert (frames[0]["name"], frames[0]["line"], stopped["reason"]) == ("inner", BREAKPOINT, "breakpoint")
                got = client.ask("evaluate", expression="(n, kept, chosen.is_chosen(asyncio.get_running_loop()), asyncio.current_task().get_coro().cr_frame.f_lineno)",
                                 frameId=frames[0]["id"], context="watch")["result"]
                assert got == f"(1, 2, True, {BREAKPOINT})"
                client.ask("next", threadId=stopped["threadId"])  # over the end of the coroutine
                stopped = client.event("stopped")
                assert stopped["reason"] == "step"
                client.ask("continue", threadId=stopped["threadId"])
                client.event("terminated")
            assert run.end() == programs.LOOP_LINE + SAID
        finally:
            programs.kill_group(run.process)


WAITS = """
import chosen
import asyncio, time


async def inner():
    print("begun", flush=True)
    time.sleep(3600)


async def outer():
    await inner()


async def main():
    chosen.check()
    await asyncio.create_task(outer())

asyncio.run(main())
"""


def spy(pid):
    path = os.path.join(sysconfig.get_path("scripts"), "py-spy")
    if not os.path.exists(path):
        peers.absent("py-spy is not installed (pip install '.[apps]')", "apps")
    done = subprocess.run([path, "dump", "--pid", str(pid)], capture_output=True, text=True, timeout=60 * PATIENCE)
    if done.returncode and re.search("(?i)permission denied|not permitted|ptrace", done.stderr):
        pytest.skip(f"the machine does not let py-spy look into another process: {done.stderr.strip()[:200]}")
    assert done.returncode == 0, done.stderr
    return re.findall(r"^    (\S+) \(.*?(\w+\.py):\d+\)$", done.stdout, re.M)


@pytest.mark.parametrize("way", [*programs.OURS, "asyncio-control"])
def test_py_spy(tmp_path, way):
    run = programs.Run(way.partition("-")[0], tmp_path, WAITS)
    try:
        assert run.process.stdout.readline() + run.process.stdout.readline() == programs.LOOP_LINE + "begun\n"
        frames = spy(run.process.pid)
        assert frames[:2] == [("inner", "program.py"), ("outer", "program.py")]
        assert ("<module>", "program.py") in frames and ("run", "runners.py") in frames
    finally:
        programs.kill_group(run.process)
