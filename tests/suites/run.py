"""Runs other projects' own test suites on asyncio and on asyncloop, and prints what is lost.

    python tests/suites/run.py                            # all of projects.py, by policy and after install()
    python tests/suites/run.py anyio tornado              # these
    python tests/suites/run.py --ways install httpx       # one way only (asyncio always runs, to compare with)
    python tests/suites/run.py --work DIR                 # where downloads and environments are kept (default: build/suites)

For each project: its source distribution at a pinned version is unpacked, it and what its tests need are installed in an environment of its own, and its
tests run once a way, the loop chosen before anything is imported (site/sitecustomize.py).  A test is lost when it passes on asyncio and fails on asyncloop, and
still does when it is run again alone, three times, on both.  The exit status is 1 when a test is lost that expected.py has no reason for.

Needs the package index, a C compiler, and Debian's redis-server for redis.  Everything it starts listens on loopback only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
import venv
from contextlib import contextmanager
from pathlib import Path

import expected
from projects import PROJECTS

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
WAYS = ("policy", "install")
BASE_NEEDS = ("pytest", "pytest-timeout")
SUITE_SECONDS = 1800
TEST_SECONDS = 60
RETRIES = 3
RETRIED_AT_MOST = 60


def call(*command, **options):
    """Run a command; its output is shown only when it fails."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}\nstatus {done.returncode}")
    return done.stdout


def our_wheel(work):
    """asyncloop as it is in this checkout, built once a call."""
    folder = work / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    call(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, CHECKOUT)
    return next(folder.glob("*.whl"))


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

    def run(self, way, args, results, extra=()):
        """Runs pytest once; {test: (outcome, why)}.  A test that was running when the process ended has crashed it."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "ASYNCLOOP"))}
        env |= {
            "SUITE_WAY": way,
            "SUITE_RESULTS": str(results),
            "PYTHONPATH": str(HERE / "site"),
            "PYTHONDONTWRITEBYTECODE": "1",
            # tornado's tests wait five seconds for what a busy machine may not do in them.
            "ASYNC_TEST_TIMEOUT": "20",
        }
        results.unlink(missing_ok=True)
        command = [self.python, "-m", "pytest", "-p", "suite_results", "-p", "no:cacheprovider", "-q", f"--timeout={TEST_SECONDS}", *extra, *args]
        log = results.with_suffix(".log")
        with open(log, "w") as out:
            try:
                status = subprocess.run(list(map(str, command)), cwd=self.tests, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                        timeout=SUITE_SECONDS).returncode
            except subprocess.TimeoutExpired:
                status = f"stopped after {SUITE_SECONDS} s"
        ended = read_results(results, status)
        if not ended:
            sys.exit(f"{self.project.name}: no test ran ({way}, status {status}):\n{log.read_text()[-3000:]}")
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


def lost_for_good(suite, way, lost, extra, results):
    """Of the tests lost in the whole run, those that asyncio passes alone and asyncloop does not, in one of a few tries."""
    lasting = {}
    for test, why in sorted(lost.items()):
        for _ in range(RETRIES):
            ours = suite.run(way, [test], results, extra).get(test)
            if ours is not None and ours[0] == "passed":
                break
            theirs = suite.run("asyncio", [test], results, extra).get(test)
            if theirs is None or theirs[0] != "passed":
                break
        else:
            lasting[test] = ours[1] if ours is not None else why
    return lasting


def judge(suite, ways, logs, more):
    """Runs one suite; returns {(way, test): why} of what is lost."""
    project, lost = suite.project, {}
    args = [*project.args, *more]
    with (redis_server if project.redis else nothing)(suite.folder) as extra:
        began = time.monotonic()
        control = suite.run("asyncio", args, logs / f"{project.name}-asyncio.json", extra)
        print(f"{project.name} {project.version}: asyncio {len(passed(control))} passed of {len(control)}, {time.monotonic() - began:.0f} s", flush=True)
        for way in ways:
            began = time.monotonic()
            ended = suite.run(way, args, logs / f"{project.name}-{way}.json", extra)
            first = {test: ended.get(test, ("failed", "did not run"))[1] for test in passed(control) - passed(ended)}
            print(f"    {way}: {len(passed(ended))} passed, {time.monotonic() - began:.0f} s; {len(first)} lost at first", flush=True)
            lasting = lost_for_good(suite, way, first, extra, logs / "again.json") if len(first) <= RETRIED_AT_MOST else first
            for test, why in lasting.items():
                lost[way, test] = why
                known = expected.reason(project.name, way, test)
                print(f"    LOST {test}: {known or why.strip().splitlines()[-1:]}", flush=True)
    return lost


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("projects", nargs="*", help="names; default: all")
    parser.add_argument("--ways", default=",".join(WAYS), help="of policy,install")
    parser.add_argument("--work", type=Path, default=CHECKOUT / "build" / "suites")
    parser.add_argument("--pytest", default="", metavar="ARGS", help="more arguments of pytest, for one project")
    options = parser.parse_args()
    unknown = set(options.projects) - {project.name for project in PROJECTS}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    work = options.work.resolve() / sysconfig.get_config_var("SOABI")
    logs = work / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    wheel = our_wheel(work)
    unexplained = 0
    for project in PROJECTS:
        if options.projects and project.name not in options.projects:
            continue
        lost = judge(Suite(project, work, wheel), options.ways.split(","), logs, options.pytest.split())
        for (way, test), why in lost.items():
            if expected.reason(project.name, way, test) is None:
                unexplained += 1
                (logs / "lost.txt").open("a").write(f"==== {project.name} {way} {test}\n{why}\n")
    print(f"{unexplained} lost without a reason")
    sys.exit(1 if unexplained else 0)


if __name__ == "__main__":
    main()
