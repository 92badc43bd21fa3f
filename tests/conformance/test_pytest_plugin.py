"""The plug-in for pytest, as a test suite meets it: each test here runs pytest on a small file."""
import importlib.metadata
import importlib.util
import re
import subprocess
import sys

import pytest

from kits import PATIENCE
from sidebyside import child_env

PLUGIN = "_asyncloop_pytest"
IS_INSTALLED = any(entry.value == PLUGIN for entry in importlib.metadata.entry_points(group="pytest11"))

HEAD = """
import asyncio, pytest
import asyncloop
DAY = 24 * 3600
"""


def run(folder, text, *options, head=HEAD):
    (folder / "test_it.py").write_text(head + text)
    plugin = [] if IS_INSTALLED else ["-p", PLUGIN]
    return subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", *plugin, *options, "test_it.py"], cwd=folder,
                          env=child_env(PYTEST_ADDOPTS=""), text=True, capture_output=True, timeout=60 * PATIENCE)


def outcomes(done):
    """{"passed": 3, "failed": 1, ...} of pytest's last line."""
    assert done.stdout, done.stderr
    return {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped|deselected)", done.stdout.strip().splitlines()[-1])}


needs_pytest_asyncio = pytest.mark.skipif(importlib.util.find_spec("pytest_asyncio") is None, reason="pytest-asyncio is not installed")


def test_plain_functions(tmp_path):
    done = run(tmp_path, """
@pytest.mark.virtual_clock
def test_marked():
    asyncio.run(asyncio.sleep(DAY))
    asyncloop.run(asyncio.sleep(DAY))

def test_fixture(virtual_clock):
    asyncio.run(asyncio.sleep(DAY))
    assert virtual_clock.time() == DAY
    virtual_clock.run(asyncio.sleep(DAY))
    assert virtual_clock.time() == 2 * DAY

@pytest.mark.virtual_clock(start=7, grace=1, stuck=None, wait_for_children=False)
def test_options(virtual_clock):
    assert (virtual_clock.time(), virtual_clock.grace, virtual_clock.stuck, virtual_clock.wait_for_children, virtual_clock.seed) == (7, 1, None, False, None)

@pytest.fixture
def slept():
    asyncio.run(asyncio.sleep(DAY))

def test_a_fixtures_loop_has_the_clock(slept, virtual_clock):
    assert virtual_clock.time() == DAY

class TestMethods:
    pytestmark = pytest.mark.virtual_clock

    def test_method(self, virtual_clock):
        asyncio.run(asyncio.sleep(DAY))
        assert virtual_clock.time() == DAY

def test_others_have_asyncios_loop():
    async def main():
        return type(asyncio.get_running_loop()).__module__
    assert asyncio.run(main()).startswith("asyncio.")
    assert type(asyncloop.new_event_loop()) is asyncloop.Loop
""")
    assert outcomes(done) == {"passed": 6}, done.stdout


def test_unittest(tmp_path):
    done = run(tmp_path, """
import unittest

@pytest.mark.virtual_clock
class TestIt(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        await asyncio.sleep(DAY)

    async def test_it(self):
        await asyncio.sleep(DAY)
        self.assertEqual(asyncio.get_running_loop().time(), 2 * DAY)
""")
    assert outcomes(done) == {"passed": 1}, done.stdout


ASYNC_TESTS = """
@pytest.mark.virtual_clock(start=5)
async def test_marked():
    await asyncio.sleep(DAY)
    assert asyncio.get_running_loop().time() == DAY + 5

async def test_fixture(virtual_clock):
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.sleep(2 * DAY), DAY)
    assert virtual_clock.time() == DAY

async def test_async_fixture(slept, virtual_clock):
    assert slept == virtual_clock.time() == DAY
    await asyncio.sleep(DAY)

async def test_real():
    assert not hasattr(asyncio.get_running_loop(), "clock")
"""


@needs_pytest_asyncio
@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_pytest_asyncio(tmp_path, mode):
    head = HEAD + """
import pytest_asyncio
@pytest_asyncio.fixture
async def slept():
    await asyncio.sleep(DAY)
    yield asyncio.get_running_loop().time()
    await asyncio.sleep(DAY)
""" + ("pytestmark = pytest.mark.asyncio\n" if mode == "strict" else "")
    done = run(tmp_path, ASYNC_TESTS, "-o", f"asyncio_mode={mode}", head=head)
    assert outcomes(done) == {"passed": 4}, done.stdout


@needs_pytest_asyncio
def test_a_loop_of_a_wider_scope_is_told_of(tmp_path):
    text = """
pytestmark = pytest.mark.asyncio(loop_scope="module")
async def test_before(): pass
@pytest.mark.virtual_clock
async def test_late(): pass
"""
    done = run(tmp_path, text)
    assert outcomes(done) == {"passed": 1, "failed": 1} and "virtual_clock: this test ran on a loop that has another clock" in done.stdout
    done = run(tmp_path, text.replace("async def test_before(): pass", ""))
    assert "virtual_clock: a loop that was made for this test is still open after it" in done.stdout or outcomes(done) == {"passed": 1}, done.stdout


@needs_pytest_asyncio
def test_a_loop_factory(tmp_path):
    (tmp_path / "conftest.py").write_text("""
import asyncloop, asyncloop.testing
def pytest_asyncio_loop_factories(config, item):
    return {"asyncloop": asyncloop.new_event_loop, "fixed": asyncloop.Loop}
""")
    done = run(tmp_path, """
@pytest.mark.asyncio
@pytest.mark.virtual_clock
async def test_it():
    pass
""")
    assert outcomes(done) == {"passed": 1, "failed": 1}, done.stdout
    assert "FAILED test_it.py::test_it[fixed]" in done.stdout and "or by a loop factory of its own" in done.stdout, done.stdout


def test_anyio(tmp_path):
    head = HEAD + """
pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.fixture
async def slept():
    await asyncio.sleep(DAY)
    yield asyncio.get_running_loop().time()
    await asyncio.sleep(DAY)
"""
    pytest.importorskip("anyio", reason="anyio is not installed")
    done = run(tmp_path, ASYNC_TESTS + """
import anyio
async def test_of_anyios(virtual_clock):
    with anyio.move_on_after(60) as scope:
        await anyio.sleep(DAY)
    assert scope.cancelled_caught and virtual_clock.time() == 60 == anyio.current_time()
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, DAY)
    assert await anyio.to_thread.run_sync(lambda: 5) == 5
""", head=head)
    assert outcomes(done) == {"passed": 5}, done.stdout


RACE = """
@pytest.mark.virtual_clock(shuffle={shuffle})
def test_race():
    seen = []
    async def task(i):
        seen.append(i)
    async def main():
        await asyncio.gather(*map(task, range(4)))
    asyncio.run(main())
    print("order", seen)
    assert seen == [0, 1, 2, 3]
"""


def test_rounds_and_replay(tmp_path):
    done = run(tmp_path, RACE.format(shuffle=20))
    found = outcomes(done)
    assert found.get("passed", 0) + found["failed"] == 20 and found["failed"] > 10
    replay = re.findall(r"the same one again: pytest --asyncloop-seed=(\d+) '(.*)'", done.stdout)
    orders = re.findall(r"^order (.*)$", done.stdout, re.M)
    assert len(replay) == len(orders) == found["failed"] and len({seed for seed, _ in replay}) == 1
    assert len(set(orders)) > 3
    # One of them alone, and another run with that seed, take the same orders.
    seed, node = replay[-1]
    again = run(tmp_path, RACE.format(shuffle=20), f"--asyncloop-seed={seed}")
    assert re.findall(r"^order (.*)$", again.stdout, re.M) == orders
    alone = run(tmp_path, RACE.format(shuffle=20), f"--asyncloop-seed={seed}", "-k", node.partition("[")[2].rstrip("]"))
    assert orders[-1] in re.findall(r"^order (.*)$", alone.stdout, re.M)
    other = run(tmp_path, RACE.format(shuffle=20), f"--asyncloop-seed={int(seed) + 1}")
    assert re.findall(r"^order (.*)$", other.stdout, re.M) != orders


def test_one_round(tmp_path):
    assert outcomes(run(tmp_path, RACE.format(shuffle=True), "--asyncloop-seed=1")) == {"failed": 1}
    assert outcomes(run(tmp_path, RACE.format(shuffle=False), "--asyncloop-seed=1")) == {"passed": 1}


def test_a_failure_tells_the_time(tmp_path):
    done = run(tmp_path, """
def test_it(virtual_clock):
    asyncio.run(asyncio.sleep(90))
    assert False
""")
    assert "virtual clock" in done.stdout and "The clock stood at 90.0." in done.stdout and "--asyncloop-seed" not in done.stdout


@pytest.mark.parametrize("marker", ["virtual_clock(5)", "virtual_clock(speed=2)", "virtual_clock(start=float('nan'))"])
def test_wrong_options_are_told_at_once(tmp_path, marker):
    done = run(tmp_path, f"@pytest.mark.{marker}\ndef test_it(): pass\n")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR and "test_it.py::test_it: the marker virtual_clock: " in done.stderr, done.stdout + done.stderr


def test_an_open_loop_is_told_of(tmp_path):
    done = run(tmp_path, "loops = []\ndef test_it(virtual_clock):\n    loops.append(asyncio.new_event_loop())\n")
    assert outcomes(done) == {"passed": 1, "error": 1} and "virtual_clock: a loop that was made for this test is still open" in done.stdout, done.stdout


def test_costs_nothing_when_unused(tmp_path):
    """asyncloop is not imported, and no hook of ours runs around tests."""
    done = run(tmp_path, """
import sys
def test_it(request):
    assert "asyncloop" not in sys.modules
    names = [p for p, _ in request.config.pluginmanager.list_name_plugin()]
    assert "asyncloop-clocks" not in names
""", head="")
    assert outcomes(done) == {"passed": 1}, done.stdout


def test_markers_are_known(tmp_path):
    done = run(tmp_path, "@pytest.mark.virtual_clock\ndef test_it(): pass\n", "--strict-markers", "-W", "error", "-p", "no:asyncio")
    assert outcomes(done) == {"passed": 1}, done.stdout
    assert "@pytest.mark.virtual_clock(" in run(tmp_path, "", "--markers").stdout


def test_the_plugin_is_an_entry_point():
    try:
        files = importlib.metadata.distribution("asyncloop-c")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("asyncloop is imported from a folder where it is not installed")
    assert {(entry.group, entry.value) for entry in files.entry_points} == {("pytest11", PLUGIN)}
