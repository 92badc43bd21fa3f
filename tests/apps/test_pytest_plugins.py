"""pytest-asyncio, and the plug-in of anyio: tests that run on our loop by a loop factory, by the policy and under the runner."""
import re
import subprocess

import pytest

import peers
import programs
from sidebyside import PATIENCE

peers.apps("pytest_asyncio")
peers.client("anyio")

pytestmark = pytest.mark.limit(120)

TESTS = """
import chosen
import asyncio, contextvars
import pytest

value = contextvars.ContextVar("value", default=None)


def check():
    assert chosen.is_chosen(asyncio.get_running_loop())


@pytest.fixture
async def served():
    check()

    async def echo(reader, writer):
        writer.write(await reader.read())
        writer.close()
        await writer.wait_closed()

    value.set("set by a fixture")
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    check()


{mark}
class Tests:
    async def test_server(self, served):
        check()
        reader, writer = await asyncio.open_connection("127.0.0.1", served)
        writer.write(b"text")
        writer.write_eof()
        assert await reader.read() == b"text"
        writer.close()
        await writer.wait_closed()

    @pytest.mark.parametrize("n", [1, 2])
    async def test_group(self, n):
        check()
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0.001, n)) for _ in range(n)]
        assert [task.result() for task in tasks] == [n] * n

    async def test_fails(self):
        check()
        await asyncio.wait_for(asyncio.Event().wait(), 0.001)

    @pytest.mark.xfail(strict=True)
    async def test_fails_as_expected(self, served):
        check()
        assert value.get() == "something else"


{more}
"""
SHARED = """
@pytest.mark.asyncio(loop_scope="module")
class Shared:
    loop = None

    async def test_first(self):
        check()
        type(self).loop = asyncio.get_running_loop()

    async def test_second(self):
        assert self.loop is asyncio.get_running_loop()
"""
FACTORY = """
import asyncloop

def pytest_asyncio_loop_factories(config, item):
    return {"ours": asyncloop.new_event_loop}
"""
ANYIO = """
import asyncloop, pytest

@pytest.fixture
def anyio_backend():
    return "asyncio", {"loop_factory": asyncloop.new_event_loop}
"""
ANYIO_PLAIN = """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


def outcomes(folder, way, name, words, tests, conftest=""):
    """The outcome of each test, and pytest's closing line without its time."""
    at = folder / f"{way}-{name}"
    at.mkdir()
    (at / "test_it.py").write_text(tests)
    (at / "conftest.py").write_text(conftest)
    (at / "pytest.ini").write_text("[pytest]\npython_classes = Tests Shared\n")
    env = programs.environment("policy" if way == "factory" else way)
    if way == "factory":
        env["CHOSEN_LOOP"] = "install"  # nothing is set: the factory alone makes the loop
    done = subprocess.run([*programs.words(way), "-m", "pytest", "-v", "-rA", "-p", "no:cacheprovider", "-p", "no:randomly", *words, "test_it.py"], cwd=at, env=env,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60 * PATIENCE)
    assert done.returncode == 1 and done.stderr == "", done.stdout + done.stderr
    said = [re.sub(r"\[\w+(-\d)?\]", lambda m: m[1] or "", line) for line in re.findall(r"^(?:PASSED|FAILED|XFAIL|ERROR) .*", done.stdout, re.M)]
    return said, re.search(r"=+ (.*) in [\d.]+s", done.stdout)[1]


def expected(more, number):
    said, closing = more
    assert [line.split(" ")[0] for line in said].count("FAILED") == 1
    assert any(re.match("FAILED .*::test_fails - TimeoutError", line) for line in said), said
    assert closing == f"1 failed, {number} passed, 1 xfailed"


def test_pytest_asyncio(tmp_path):
    words = ["-p", "no:anyio", "-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"]
    tests = TESTS.format(mark="", more=SHARED)
    said = {way: outcomes(tmp_path, way, "asyncio", words, tests, FACTORY if way == "factory" else "") for way in (*programs.WAYS, "factory")}
    expected(said["asyncio"], 5)
    for way in said:
        assert said[way][1] == said["asyncio"][1]
    assert said["policy"] == said["install"] == said["asyncio"]


def test_anyios_plugin(tmp_path):
    tests = TESTS.format(mark="@pytest.mark.anyio", more="").replace("@pytest.fixture\nasync def served():", "@pytest.fixture\nasync def served(anyio_backend):")
    said = {way: outcomes(tmp_path, way, "anyio", ["-p", "no:asyncio"], tests, ANYIO if way == "factory" else ANYIO_PLAIN) for way in (*programs.WAYS, "factory")}
    expected(said["asyncio"], 3)
    assert said["policy"] == said["install"] == said["factory"] == said["asyncio"]
