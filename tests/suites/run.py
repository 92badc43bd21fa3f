"""Runs other projects' own test suites on asyncio and on asyncloop, and prints what is lost.

    python tests/suites/run.py                            # all of projects.py, by policy and after install()
    python tests/suites/run.py anyio tornado              # these
    python tests/suites/run.py --ways install httpx       # one way only (asyncio always runs, to compare with)
    python tests/suites/run.py --work DIR                 # where downloads and environments are kept (default: build/suites)

For each project: its source distribution at a pinned version is unpacked, it and what its tests need are installed in an environment of its own, and its
tests run once a way, the loop chosen before anything is imported (site/sitecustomize.py).  A test is lost when it passes on asyncio and fails on asyncloop, and
still does each time that it is run again on both: three times together with the others, three times alone.  At the end is the list of what is lost; the exit
status is 1 when expected.py has no reason for one of them, or a project could not be run.

Needs the package index, a C compiler, and Debian's redis-server for redis.  Everything it starts listens on loopback only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
import venv
from contextlib import contextmanager, suppress
from pathlib import Path

import expected
from projects import PROJECTS

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
WAYS = ("policy", "install")
BASE_NEEDS = ("pytest", "pytest-timeout")
TEST_SECONDS = 60
ROUNDS = 3
ALONE_AT_MOST = 30


class CommandFailed(Exception):
    """A project could not be built, downloaded or installed."""


class NothingRan(Exception):
    """pytest ended before its first test."""


def call(*command, **options):
    """Run a command; its output is shown only when it fails."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}\nstatus {done.returncode}")
    return done.stdout


def our_wheel(work):
    """asyncloop as it is in this checkout, built once a call."""
    folder = work / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)  # an older pip moves the wheel to where no folder is
    said = call(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, CHECKOUT)
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise CommandFailed(f"pip wheel left {wheels}:\n{said[-4000:]}")
    return wheels[0]


class Suite:
    """One project's tests, unpacked and installed."""

    def __init__(self, project, work, wheel):
        self.project = project
        self.folder = work / f"{project.name}-{project.version}"
        self.python = self.folder / "venv" / "bin" / "python"
        self.tests = self.folder / "tests"
        self._install(wheel)
        self._unpack()

    def _install(self, wheel):
        project = self.project
        done = self.folder / "installed"
        wanted = f"{project}"
        if not done.exists() or done.read_text() != wanted:
            shutil.rmtree(self.folder, ignore_errors=True)
            venv.create(self.folder / "venv", with_pip=True)
            extras = f"[{project.extras}]" if project.extras else ""
            call(self.python, "-m", "pip", "install", "-q", *BASE_NEEDS, *project.needs, f"{project.name}{extras}=={project.version}")
            done.write_text(wanted)
        call(self.python, "-m", "pip", "install", "-q", "--force-reinstall", "--no-deps", wheel)

    def _unpack(self):
        project = self.project
        archives = self.folder / "sdist"
        if not archives.exists():
            call(self.python, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", project.name, "-d", archives, f"{project.name}=={project.version}")
        shutil.rmtree(self.tests, ignore_errors=True)
        with tarfile.open(next(archives.glob("*.tar.gz"))) as archive:
            archive.extractall(self.folder / "unpacked", filter="data")
        unpacked = next((self.folder / "unpacked").iterdir())
        unpacked.rename(self.tests)
        for name in project.drop:
            shutil.rmtree(self.tests / name)

    def run(self, way, results, extra, only=None):
        """Runs pytest once; {test: (outcome, why)}.  A test that was running when the process ended has crashed it.  only: of these tests."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "ASYNCLOOP", "SUITE_"))}
        env |= {
            "SUITE_WAY": way,
            "SUITE_RESULTS": str(results),
            "PYTHONPATH": str(HERE / "site"),
            "PYTHONDONTWRITEBYTECODE": "1",
            # tornado's tests wait five seconds for what a busy machine may not do in them.
            "ASYNC_TEST_TIMEOUT": "20",
        }
        results.unlink(missing_ok=True)
        project, paths = self.project, self.project.paths
        if only is not None:
            paths = sorted({test.partition("::")[0] for test in only})
            names = results.with_suffix(".only")
            names.write_text(json.dumps(sorted(only)))
            env["SUITE_ONLY"] = str(names)
        command = [self.python, "-m", "pytest", "-p", "suite_results", "-p", "no:cacheprovider", "-q", f"--timeout={TEST_SECONDS}", *extra,
                   *project.options, *paths]
        log = results.with_suffix(".log")
        with open(log, "w") as out:
            # A session of its own, so that what the tests started ends with them.
            run = subprocess.Popen(list(map(str, command)), cwd=self.tests, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
            try:
                status = run.wait(project.seconds)
            except subprocess.TimeoutExpired:
                status = f"stopped after {project.seconds} s"
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(run.pid, signal.SIGKILL)
                run.wait()
        ended = read_results(results, status)
        if not ended:
            raise NothingRan(f"{project.name}: no test ran ({way}, status {status}):\n{log.read_text()[-3000:]}")
        return ended


def read_results(path, status):
    ended = {}
    lines = path.read_text().splitlines() if path.exists() else []
    for test, outcome, why in map(json.loads, lines):
        if outcome == "started":
            ended[test] = ("failed", f"never ended: the process did (status {status})")
        elif ended.get(test, ("started",))[0] != "failed" or ended[test][1].startswith("never ended"):
            ended[test] = (outcome, why)
    return ended


@contextmanager
def redis_server(folder):
    """A redis-server on a free port of loopback; yields the arguments that tell the suite of it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder, "--enable-debug-command", "yes"],
                              stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield (f"--redis-url=redis://127.0.0.1:{port}/0",)
    finally:
        server.terminate()
        server.wait()


@contextmanager
def nothing(folder):
    yield ()


def passed(ended):
    return {test for test, (outcome, _) in ended.items() if outcome == "passed"}


def lasting(suite, way, lost, extra, logs):
    """Of the tests lost in the whole run, those that fail on ours and pass on asyncio each time that they are run again.

    They are run together, as long as there are many, then each alone: a test that ends the process takes those behind it along.
    """
    left = dict(lost)
    for _ in range(ROUNDS):
        if len(left) > 1:
            ours = suite.run(way, logs / "again.json", extra, left)
            left = {test: ours.get(test, ("", left[test]))[1] for test in left.keys() - passed(ours)}
        if len(left) > 1:
            left = {test: left[test] for test in left.keys() & passed(suite.run("asyncio", logs / "again.json", extra, left))}
    if len(left) > ALONE_AT_MOST:
        return left
    for test in sorted(left):
        for _ in range(ROUNDS):
            ours = suite.run(way, logs / "again.json", extra, [test]).get(test, ("", left[test]))
            left[test] = ours[1]
            if ours[0] == "passed" or test not in passed(suite.run("asyncio", logs / "again.json", extra, [test])):
                del left[test]
                break
    return left


def judge(suite, ways, logs):
    """Runs one suite; returns {(way, test): why} of what is lost."""
    project, lost = suite.project, {}
    with (redis_server if project.redis else nothing)(suite.folder) as extra:
        began = time.monotonic()
        control = passed(suite.run("asyncio", logs / f"{project.name}-asyncio.json", extra))
        print(f"{project.name} {project.version}: asyncio {len(control)} passed, {time.monotonic() - began:.0f} s", flush=True)
        for way in ways:
            began = time.monotonic()
            ended = suite.run(way, logs / f"{project.name}-{way}.json", extra)
            first = {test: ended.get(test, ("", "did not run"))[1] for test in control - passed(ended)}
            seconds = time.monotonic() - began
            last = lasting(suite, way, first, extra, logs)
            lost |= {(way, test): why for test, why in last.items()}
            print(f"    {way}: {len(passed(ended))} passed, {seconds:.0f} s; lost {len(last)}; {len(first) - len(last)} lost at first and not again",
                  flush=True)
    return lost


def main():
    by_name = {project.name: project for project in PROJECTS}
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("projects", nargs="*", help="names, in this order; default: all")
    parser.add_argument("--wheel", type=Path, help="of asyncloop; default: one is built of this checkout")
    parser.add_argument("--ways", default=",".join(WAYS), help="of policy,install")
    parser.add_argument("--work", type=Path, default=CHECKOUT / "build" / "suites")
    options = parser.parse_args()
    unknown = set(options.projects) - by_name.keys()
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    work = options.work.resolve() / sysconfig.get_config_var("SOABI")
    logs = work / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    wheel = options.wheel.resolve() if options.wheel else our_wheel(work)
    explained, unexplained, broken = [], [], []
    for project in map(by_name.get, options.projects or by_name):
        try:
            lost = judge(Suite(project, work, wheel), options.ways.split(","), logs)
        except (NothingRan, CommandFailed) as error:
            broken.append(project.name)
            print(error, flush=True)
            continue
        (logs / f"{project.name}-lost.txt").write_text("".join(f"==== {way} {test}\n{why}\n" for (way, test), why in lost.items()))
        for (way, test), why in sorted(lost.items()):
            known = expected.reason(project.name, way, test)
            (explained if known else unexplained).append(f"    {project.name} {way} {test}: {known or why.strip().splitlines()[-1:]}")
    print(f"lost with a reason: {len(explained)}", *explained, sep="\n")
    print(f"lost: {len(unexplained)}", *unexplained, sep="\n")
    if broken:
        print(f"not run: {', '.join(broken)}")
    sys.exit(1 if unexplained or broken else 0)


if __name__ == "__main__":
    main()
