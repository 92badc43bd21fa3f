"""Programs that run in a process of their own, on asyncio and on asyncloop, and must print the same.

For packages that change the process by being imported, or want it for themselves.  A program imports `chosen` before anything else, and calls
chosen.check() on each loop that it is about.
"""
import contextlib
import os
import signal
import subprocess
import sys

import pytest

import peers
from sidebyside import PATIENCE, SUBJECT, child_env

HERE = os.path.dirname(os.path.abspath(__file__))
OURS = ("policy", "install")
WAYS = ("asyncio", *OURS)
LOOP_LINE = "the loop is the chosen one\n"


def words(way, *command):
    """`python COMMAND…`, by asyncloop's runner where the way is `install`."""
    return [sys.executable, *(["-m", "asyncloop"] if way == "install" else []), *map(str, command)]


def environment(way, **more):
    env = child_env(CHOSEN_LOOP=way, PYTHONDONTWRITEBYTECODE="1", **more)
    env["PYTHONPATH"] = os.pathsep.join([HERE, env["PYTHONPATH"]])
    return env


def kill_group(process):
    """Ends a process that was started with a session of its own, and whatever it has started.  Returns what is left to read."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.communicate(timeout=10)
    return "", ""  # somebody in another session has the pipe


class Run:
    """One run of a program in a folder of its own, which begins at once."""

    def __init__(self, way, folder, text, arguments=(), command=(), env=None, quiet=True):
        self.way, self.quiet = way, quiet
        self.folder = folder / way
        self.folder.mkdir()
        path = self.folder / "program.py"
        path.write_text(text)
        self.process = subprocess.Popen(words(way, *command, path, *arguments), cwd=self.folder, env=environment(way, **(env or {})), text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        start_new_session=True, preexec_fn=peers.die_with_us)

    def end(self):
        """What the program printed.  It must have succeeded, have had the right loop, and have nothing to complain of."""
        try:
            out, err = self.process.communicate(timeout=60 * PATIENCE)
        except subprocess.TimeoutExpired:
            out, err = kill_group(self.process)
            pytest.fail(f"{self.way}: no end\n{out}{err}", pytrace=False)
        assert self.process.returncode == 0, f"{self.way}: status {self.process.returncode}\n{out}{err}"
        assert LOOP_LINE in out, f"{self.way}: the program did not say which loop it had\n{out}{err}"
        if self.quiet:
            assert err == "", f"{self.way}: {err}"
        return out


def compare(folder, text, *arguments, ways=WAYS, **more):
    """Runs the program in each of the ways, at the same time, and returns what all of them printed, without the line about the loop."""
    if SUBJECT != "asyncloop":
        pytest.skip("compares asyncio with asyncloop")
    runs = []
    try:
        for way in ways:
            runs.append(Run(way, folder, text, arguments, **more))
        said = {run.way: run.end() for run in runs}
    finally:
        for run in runs:
            kill_group(run.process)
    for way in ways:
        assert said[way] == said[ways[0]], f"{way} and {ways[0]} differ"
    return said[ways[0]].replace(LOOP_LINE, "")
