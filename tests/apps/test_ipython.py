"""IPython's `await` at the prompt, and a Jupyter kernel with a client on the same kind of loop: both talk by pyzmq, which watches a descriptor that tells of edges."""
import pytest

import peers
import programs

peers.apps("IPython", "ipykernel", "jupyter_client")

pytestmark = pytest.mark.limit(120)

IPYTHON = """
import chosen
import os
os.environ["IPYTHONDIR"] = os.getcwd()
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance(colors="nocolor", xmode="Minimal")
shell.user_ns["chosen"] = chosen
shell.history_manager.enabled = False
for cell in ('''
import asyncio
chosen.check()
first = asyncio.get_running_loop()
task = asyncio.create_task(asyncio.sleep(0.001, "a task of the cell before"))
await asyncio.gather(asyncio.sleep(0, 1), asyncio.to_thread(sum, [1, 1]))
''', '''
print(asyncio.get_running_loop() is first, await task)
async with asyncio.timeout(30):
    async for n in numbers():
        print(n)
''', "await asyncio.wait_for(asyncio.sleep(30), 0.001)", "[n async for n in numbers()]"):
    result = shell.run_cell(cell)
    print(result.success, type(result.error_in_exec).__name__, result.result)
    if cell.startswith("\\nimport"):
        exec("async def numbers():\\n    yield 1\\n    yield 2", shell.user_ns)
"""


def test_ipython(tmp_path):
    got = programs.compare(tmp_path, IPYTHON, quiet=False)
    assert got.startswith("Out[") or got.startswith("True NoneType [1, 2]"), got
    lines = [line for line in got.splitlines() if line.startswith(("True", "False", "1", "2"))]
    assert lines == ["True NoneType [1, 2]", "True a task of the cell before", "1", "2", "True NoneType None", "False TimeoutError None", "True NoneType [1, 2]"]


JUPYTER = """
import chosen
import asyncio, json, os, pathlib, queue, sys
os.environ.update(JUPYTER_PATH=os.getcwd(), JUPYTER_RUNTIME_DIR=os.getcwd(), JUPYTER_CONFIG_DIR=os.getcwd(), IPYTHONDIR=os.getcwd(), JUPYTER_PLATFORM_DIRS="1")
from jupyter_client.manager import start_new_async_kernel

runner = ["-m", "asyncloop"] if chosen.CHOSEN == "install" else []
path = pathlib.Path("kernels/it")
path.mkdir(parents=True)
start = ["-c", "import chosen; from ipykernel.kernelapp import launch_new_instance as launch; launch()"] if chosen.CHOSEN == "policy" else ["-m", "ipykernel_launcher"]
(path / "kernel.json").write_text(json.dumps({"argv": [sys.executable, *runner, *start, "-f", "{connection_file}"], "display_name": "it", "language": "python"}))


async def run(client, code, timeout=60):
    said = []

    def hear(message):
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "stream":
            said.append(content["text"])
        elif kind == "execute_result":
            said.append(content["data"]["text/plain"])
        elif kind == "error":
            said.append(content["ename"])

    reply = await client.execute_interactive(code, output_hook=hear, timeout=timeout, store_history=False)
    return reply["content"]["status"], "".join(said)


async def main():
    chosen.check()
    manager, client = await start_new_async_kernel(kernel_name="it", startup_timeout=60)
    try:
        print(await run(client, "import chosen, asyncio; print(chosen.is_chosen(asyncio.get_running_loop()))"))
        print(await run(client, "await asyncio.gather(*(asyncio.sleep(0.001, n) for n in range(5)))"))
        print(await run(client, "task = asyncio.create_task(asyncio.sleep(0.001, 'kept')); print('x' * 100_000)"))
        print(await run(client, "await task"))
        print(await run(client, "await asyncio.wait_for(asyncio.Event().wait(), 0.01)"))
        waits = asyncio.create_task(run(client, "import time\\nprint('begun')\\ntime.sleep(3600)"))
        await asyncio.sleep(0.5)
        while not waits.done():
            await manager.interrupt_kernel()
            await asyncio.wait([waits], timeout=2)
        print(await waits)
        print(await run(client, "await asyncio.sleep(0, 'goes on')"))
        await manager.restart_kernel(now=True)
        await client.wait_for_ready(timeout=60)
        print(await run(client, "task"))
    finally:
        client.stop_channels()
        await manager.shutdown_kernel()
    print(await manager.is_alive())

asyncio.run(main())
"""


def test_kernel(tmp_path):
    lines = programs.compare(tmp_path, JUPYTER, quiet=False).splitlines()
    assert lines == ["('ok', 'True\\n')", "('ok', '[0, 1, 2, 3, 4]')", f"('ok', '{'x' * 100_000}\\n')", "('ok', \"'kept'\")", "('error', 'TimeoutError')",
                     "('error', 'begun\\nKeyboardInterrupt')", "('ok', \"'goes on'\")", "('error', 'NameError')", "False"]
