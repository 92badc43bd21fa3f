"""docs/first-session.md happens as it says: its files are written, its commands run in one shell, and what they print is compared.

Not run: `pip install .` and `cd`, as the package under test is there already and the session is in a folder of its own.  The port is a free one.
What varies is masked on both sides: times, and errno's spelling of the folder.
"""
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest

import hooked
from kits import PATIENCE, SUBJECT
from sidebyside import child_env

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "first-session.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
NOT_RUN = re.compile(r"pip install|cd ")
PORT = "8888"

pytestmark = [
    pytest.mark.skipif(not PAGE.exists(), reason="the texts are not beside these tests (installed package)"),
    pytest.mark.skipif(SUBJECT != "asyncloop", reason="is about asyncloop's own session"),
    pytest.mark.skipif(shutil.which("bash") is None, reason="the session is one of bash"),
]


def parse(text):
    """The session's steps in order: ("file", name, text) and ("command", line, output)."""
    steps = []
    for kind, block in BLOCK.findall(text):
        if kind == "python":
            name = re.match(r"# (\w+\.py)\n", block)[1]
            steps.append(("file", name, block))
        elif kind == "console":
            for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.M):
                steps.append(("command", command, output))
    return steps


def mask(text, folder):
    text = text.replace(str(folder), "/tmp")
    text = re.sub(r"^\S*/python[\d.]*:", "python:", text, flags=re.M)
    text = text.replace("[errno 98] ", "")  # not said before Python 3.12
    text = re.sub(r"passed in \d+\.\d+s", "passed in N s", text)
    return re.sub(r"\.( +)\[100%\]", ". [100%]", text)


class Shell:
    """One bash, whose commands run one after the other; their output, both streams together, is what run() returns."""

    MARK = "--- the command has ended ---"

    def __init__(self, folder, env):
        self.process = subprocess.Popen(["bash", "--norc"], cwd=folder, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.watchdog = threading.Timer(80 * PATIENCE, self.process.kill)
        self.watchdog.start()

    def run(self, command):
        self.process.stdin.write(f"{command}\necho '{self.MARK}'\n")
        self.process.stdin.flush()
        lines = []
        while (line := self.process.stdout.readline()) != f"{self.MARK}\n":
            assert line, f"the shell has ended in: {command}"
            lines.append(line)
        return "".join(lines)

    def close(self):
        self.watchdog.cancel()
        self.process.stdin.write("kill %% 2>/dev/null\n")
        self.process.stdin.close()
        self.process.stdout.read()
        self.process.wait()
        self.process.stdout.close()


def wait_for_port(port):
    """A reader is slower than the server is to start."""
    end = time.monotonic() + 60 * PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", int(port)), timeout=60).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < end, "the server does not listen"
            time.sleep(0.05)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return str(sock.getsockname()[1])


@pytest.fixture
def folder(tmp_path, hooked_python):
    """Where the session is, with `python` first in PATH: one that has asyncloop.pth and the plug-in for pytest, as an installed package gives them."""
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {hooked_python} "$@"\n')
    python.chmod(0o755)
    (tmp_path / "session").mkdir()
    return tmp_path / "session"


def environment(folder):
    env = child_env(PATH=f"{folder.parent / 'bin'}{os.pathsep}{os.environ['PATH']}", PYTHONDONTWRITEBYTECODE="1", PYTHONSAFEPATH="")
    env["PYTEST_ADDOPTS"] = "-p no:cacheprovider -p no:asyncio" + ("" if plugin_is_installed() else " -p _asyncloop_pytest")
    return env


def plugin_is_installed():
    import importlib.metadata

    return any(entry.value == "_asyncloop_pytest" for entry in importlib.metadata.entry_points(group="pytest11"))


def test_the_session(folder):
    port = free_port()
    shell = Shell(folder, environment(folder))
    try:
        for kind, what, text in parse(PAGE.read_text().replace(PORT, port)):
            if kind == "file":
                (folder / what).write_text(text)
            elif not NOT_RUN.match(what):
                got = shell.run(what)
                assert mask(got, folder) == mask(text, folder), what
                if what.endswith("&"):
                    wait_for_port(port)
    finally:
        shell.close()


def test_the_page_is_read_whole():
    """Every block is a step, and every kind of error of the page is in it."""
    text = PAGE.read_text()
    steps = parse(text)
    assert {kind for kind, _ in BLOCK.findall(text)} == {"python", "console"}
    assert len([step for step in steps if step[0] == "command"]) == len(re.findall(r"^\$ ", text, re.M)) >= 12
    assert [name for kind, name, _ in steps if kind == "file"] == ["hello.py", "server.py", "client.py", "test_reminder.py"]
    assert sum(output.count("\n") for _, _, output in steps if "Errno 2" in output) == 2


def test_the_lines_of_the_table_are_what_is_said():
    """The beginnings of messages that this session cannot bring about are in the sources."""
    sources = "".join((PAGE.parents[1] / name).read_text() for name in ("setup.py", "asyncloop/__init__.py"))
    table = re.findall(r"^\| `(.*?) …` \|", PAGE.read_text(), re.M)
    assert len(table) == 4
    for text in table:
        assert text.replace("3.13", "{sys.version_info[0]}.{sys.version_info[1]}").removesuffix(" in") in sources


def test_these_checks_can_fail(tmp_path):
    assert parse("```console\n$ a\nb\nc\n$ d\n```\n\n```python\n# x.py\n1\n```\n") == [
        ("command", "a", "b\nc\n"), ("command", "d", ""), ("file", "x.py", "# x.py\n1\n")]
    assert mask(f"{sys.prefix}/bin/python3.13: in {tmp_path}/x\n1 passed in 0.25s\n", tmp_path) == "python: in /tmp/x\n1 passed in N s\n"
    shell = Shell(tmp_path, dict(os.environ))
    try:
        assert shell.run("echo one; echo two >&2") == "one\ntwo\n" and shell.run("true") == ""
    finally:
        shell.close()
    assert hooked.PTH == "asyncloop.pth"
