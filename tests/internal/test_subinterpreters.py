"""A loop inside a subinterpreter: beside the main one's, several at once, in threads, again and again."""
import sys

import pytest

from sidebyside import SUBJECT, child

MODULE = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
pytest.importorskip(MODULE, reason=f"this Python has no {MODULE}")

# Run in the child: sub(code) runs code in a fresh subinterpreter and raises what it raised.
HELPERS = """
import {module} as interpreters
def sub(code):
    interpreter = interpreters.create({kind})
    try:
        if sys.version_info >= (3, 13):
            failed = interpreters.exec(interpreter, code)
            if failed is not None:
                raise RuntimeError(getattr(failed, "formatted", failed))
        else:
            interpreters.run_string(interpreter, code)
    finally:
        interpreters.destroy(interpreter)
"""

PROGRAM = """
import sys
sys.path[:] = {path!r}
import asyncio
import kits
kit = kits.KITS[{kit!r}]

async def child(n):
    await kit.sleep(0.001)
    return n

async def main():
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.001, future.set_result, "future")
    assert await kit.gather(child(1), kit.sleep(0, 2), future) == [1, 2, "future"]
    async def echo(reader, writer):
        writer.write(await reader.readline())
        writer.close()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"line\\n")
    assert await reader.read() == b"line\\n"
    writer.close()
    server.close()
    assert len(asyncio.all_tasks()) >= 1

loop = kit.new_loop()
loop.run_until_complete(main())
loop.close()
import os
os.write(1, b"ok ")
"""

LIGHT = """
import sys
sys.path[:] = {path!r}
import asyncio, importlib
kit = importlib.import_module({module!r})
loop = kit.new_event_loop()
async def main():
    await asyncio.sleep(0.001)
    return await asyncio.get_running_loop().create_task(asyncio.sleep(0, "done"))
assert loop.run_until_complete(main()) == "done"
loop.close()
import os
os.write(1, b"ok ")
"""

# The ways of making one: with a lock of its own or sharing the main one's.
if sys.version_info >= (3, 13):
    KINDS = {"isolated": "'isolated'", "legacy": "'legacy'"}
else:
    KINDS = {"isolated": "isolated=True", "legacy": "isolated=False"}


def run(code, kit, kind):
    head = HELPERS.format(module=MODULE, kind=KINDS[kind])
    module = SUBJECT if kit.name == "asyncloop" else "asyncio"
    head += f"program = {PROGRAM!r}.format(path=sys.path, kit={kit.name!r})\n" \
            f"light = {LIGHT!r}.format(path=sys.path, module={module!r})\n"
    return child(head + code, kit, timeout=60)


several_at_once = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="asyncio 3.11 keeps the running loop of a thread in one static for all interpreters")


@pytest.fixture(params=sorted(KINDS))
def kind(request):
    if request.param == "isolated" and sys.version_info[:2] == (3, 12):
        pytest.skip("3.12's isolated interpreters corrupt memory as they end, with asyncio alone too")
    return request.param


def test_one(kit, kind):
    got = run("sub(light)\nprint('end')", kit, kind)
    assert got.returncode == 0 and got.stdout.split() == ["ok", "end"], got.stderr


def test_everything(kit, kind):
    got = run("sub(program)\nprint('end')", kit, kind)
    assert got.returncode == 0 and got.stdout.split() == ["ok", "end"], got.stderr


def test_again_and_again(kit, kind):
    got = run("for _ in range(5): sub(light)\nprint('end')", kit, kind)
    assert got.returncode == 0 and got.stdout.split() == ["ok"] * 5 + ["end"], got.stderr


@several_at_once
def test_beside_the_main_interpreters_loop(kit, kind):
    got = run("""
async def main():
    task = asyncio.create_task(asyncio.sleep(0.005, "main"))
    await asyncio.sleep(0)
    sub(light)
    assert asyncio.get_running_loop() is loop
    return await task, asyncio.current_task().get_name()

loop = new_loop()
print(*loop.run_until_complete(loop.create_task(main(), name="root")))
loop.close()
""", kit, kind)
    assert got.returncode == 0 and got.stdout.split() == ["ok", "main", "root"], got.stderr


@several_at_once
def test_in_threads(kit, kind):
    got = run("""
errors = []
def work():
    try:
        sub(light)
    except BaseException as exc:
        errors.append(exc)
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("errors", len(errors), *errors)
""", kit, kind)
    assert got.returncode == 0 and got.stdout.split()[-2:] == ["errors", "0"] and got.stdout.count("ok") == 3, \
        (got.stdout, got.stderr)


def test_left_unclosed(kit, kind):
    """A loop with tasks and timers left behind when its interpreter ends."""
    got = run("""
left = light.replace("loop.close()", "loop.call_later(5, int); task = loop.create_task(asyncio.sleep(50))")
sub("import warnings; warnings.simplefilter('ignore')" + left)
print("end")
""", kit, kind)
    assert got.returncode == 0 and got.stdout.split() == ["ok", "end"], got.stderr
