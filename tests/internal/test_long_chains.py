"""A chain of hundreds of thousands of asyncloop's objects, each holding the next, dies without using up the stack."""
import os
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import asyncio, concurrent.futures, gc, sys, threading, warnings
    import asyncloop as m

    warnings.simplefilter("ignore")
    kinds, n, where = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    # 3.13 counts 10,000 levels of its trashcan, whatever the stack: there a list of lists of ... needs as much
    STACK = (8192 if sys.version_info[:2] == (3, 13) else 256) * 1024
    loop = None

    def nothing(*args):
        pass

    async def value(x):
        return x

    def with_attribute(make):
        def link(x):
            made = make()
            made.x = x
            return made
        return link

    def future(x):
        made = loop.create_future()
        made.set_result(x)
        return made

    def failed(x):
        made = loop.create_future()
        made.set_exception(ValueError(x))
        made.exception()
        return made

    def callback(x):
        made = loop.create_future()
        made.add_done_callback(x if callable(x) else lambda future: x)
        return made

    def pending(x):
        made = m.Task(value(x), loop=loop)
        made.x = x
        return made

    def queue(kind):
        def link(x):
            made = kind()
            made.put_nowait(x)
            return made
        return link

    def condition(x):
        made = m.Condition.__new__(m.Condition)
        made._lock = x
        return made

    def bounded(x):
        made = m.BoundedSemaphore()
        made._bound_value = x
        return made

    def child(kind):
        return type("Child", (kind,), {})

    def protocol(x):
        return m.StreamReaderProtocol(m.StreamReader(loop=loop), x, loop=loop)

    def called(x):  # without an error: its report would print the whole chain each time
        return loop.call_soon(x.cancelled) if hasattr(x, "cancelled") else loop.call_soon(nothing, x)

    def sock_op(x):
        made = loop.sock_sendall(x, b"")
        made.close()
        return loop.sock_sendall(x, b"")

    def chained(x):
        inner = concurrent.futures.Future()
        inner.x = x
        return m.wrap_future(inner, loop=loop)

    LINKS = {
        "sleep": lambda x: m.sleep(0, x),
        "iterator": lambda x: m.sleep(0, x).__await__(),
        "future iterator": lambda x: future(x).__await__(),
        "wait_for": lambda x: m.wait_for(x, None),
        "wait": lambda x: m.wait(x),
        "to_thread": lambda x: m.to_thread(nothing, x),
        "put": lambda x: m.Queue().put(x),
        "timeout": lambda x: m.timeout_at(x),
        "timeout coroutine": lambda x: m.timeout_at(x).__aenter__(),
        "as_completed": lambda x: m.as_completed([], timeout=x),
        "handle": lambda x: loop.call_soon(nothing, x),
        "timer": lambda x: loop.call_later(0, nothing, x),
        "handle's callback": called,
        "future": future, "failed": failed, "callback": callback, "pending": pending,
        "task": lambda x: m.Task(value(x), loop=loop),
        "attribute": with_attribute(lambda: loop.create_future()),
        "shield": lambda x: with_attribute(lambda: m.shield(loop.create_future()))(x),
        "gather": lambda x: with_attribute(lambda: m.gather(loop.create_future()))(x),
        "queue": queue(m.Queue), "lifo": queue(m.LifoQueue), "child of queue": queue(child(m.Queue)),
        "condition": condition, "bounded": bounded,
        "lock": with_attribute(m.Lock), "event": with_attribute(m.Event), "group": with_attribute(m.TaskGroup),
        "child of group": with_attribute(child(m.TaskGroup)), "child of timeout": with_attribute(lambda: Timeout(None)),
        "group's coroutine": lambda x: with_attribute(m.TaskGroup)(x).__aenter__(),
        "reader": with_attribute(lambda: m.StreamReader(loop=loop)),
        "child of reader": with_attribute(lambda: Reader(loop=loop)),
        "read": lambda x: with_attribute(lambda: m.StreamReader(loop=loop))(x).read(),
        "protocol": protocol, "chained": chained, "sock": sock_op,
    }
    Timeout, Reader = child(m.Timeout), child(m.StreamReader)

    def build(names):
        x = None
        for i in range(n):
            x = LINKS[names[i % len(names)]](x)
        return x

    async def main(names):
        chain = build(names)
        await m.sleep(0.001)  # what is scheduled runs, and lets go
        gc.collect()
        del chain
        gc.collect()

    def run():
        global loop
        for names in [names.split(",") if names != "all" else list(LINKS) for names in kinds.split(";")]:
            print(*names, file=sys.stderr)
            loop = m.new_event_loop()
            loop.set_exception_handler(nothing)
            loop.run_until_complete(main(names))
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(m.sleep(0))
            loop.close()

    sys.unraisablehook = nothing
    if where == "thread":
        threading.stack_size(STACK)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    else:
        run()
    print("ok")
"""


def links():
    names = PROGRAM.partition("LINKS = {")[2].partition("\n    }\n")[0]
    return [part.split('"')[1] for part in names.replace(', "', '\n"').splitlines() if part.strip().startswith('"') and '":' in part]


def run(kinds, n, where):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(PROGRAM), kinds, str(n), where], env=environment,
                          capture_output=True, text=True, timeout=190)
    assert done.returncode == 0 and done.stdout == "ok\n", done.stderr[-2000:]


@pytest.mark.limit(200)
@pytest.mark.parametrize("part", range(4))
def test_one_kind(part):
    run(";".join(links()[part::4]), 70_000, "main")


@pytest.mark.limit(200)
@pytest.mark.parametrize("where", ["main", "thread"])
def test_all_kinds_in_turn(where):
    """No two neighbours of one kind; in a thread with a small stack too."""
    run("all", 70_000, where)


@pytest.mark.limit(200)
def test_two_kinds_in_turn():
    run("sleep,timeout;wait_for,timeout;handle,sleep;timer,as_completed;iterator,timeout;sock,timeout;future,put;task,handle;chained,timeout", 70_000, "thread")
