"""A call with an empty tuple of keyword names means the same as one without names: the vectorcall protocol allows both.

Every callable of the extension module and of its objects is called both ways, with no argument up to many."""
import os
import subprocess
import sys

import pytest

PROGRAM = r"""
import asyncio, concurrent.futures, ctypes, functools, logging, os, socket, sys, threading, types, warnings

warnings.simplefilter("ignore")
logging.disable()
sys.unraisablehook = lambda unraisable: None  # coroutines that a wrong argument ends at once, and so on
import asyncloop
from asyncloop import _asyncloop

vectorcall = ctypes.pythonapi.PyObject_Vectorcall
vectorcall.restype = ctypes.py_object
vectorcall.argtypes = [ctypes.py_object, ctypes.POINTER(ctypes.py_object), ctypes.c_size_t, ctypes.c_void_p]
EMPTY = ctypes.c_void_p(id(()))


def outcome(call, args, names):
    # what a call gives: the type of its result, or its exception
    array = (ctypes.py_object * max(len(args), 1))(*args)
    try:
        result = vectorcall(call, array, len(args), names)
        if hasattr(result, "close") and type(result).__name__.startswith("corou"):
            result.close()
        return type(result).__name__
    except BaseException as exc:
        return type(exc).__name__, str(exc).split(" object at ")[0].split(" 0x")[0]


# what runs, waits, or ends the process's own things
LEFT_OUT = {"run_forever", "run_until_complete", "run", "__del__", "_own_tasks"}
PARENTS = []


async def value():
    pass


def within(make):
    # an object that only a running loop can make
    def made(loop):
        async def main():
            return make(loop)
        return loop.run_until_complete(main())
    return made


def transport(loop):
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    PARENTS.append(peer)
    async def main():
        return (await loop.create_connection(asyncio.Protocol, sock=ours))[0]
    return loop.run_until_complete(main())


def datagrams(loop):
    async def main():
        return (await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)))[0]
    return loop.run_until_complete(main())


def pipe(loop, reads):
    r, w = os.pipe()
    async def main():
        if reads:
            PARENTS.append(open(w, "wb", 0))
            return (await loop.connect_read_pipe(asyncio.Protocol, open(r, "rb", 0)))[0]
        PARENTS.append(open(r, "rb", 0))
        return (await loop.connect_write_pipe(asyncio.BaseProtocol, open(w, "wb", 0)))[0]
    return loop.run_until_complete(main())


def server(loop):
    async def main():
        return await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, start_serving=False)
    return loop.run_until_complete(main())


def stream(loop, i):
    ours, peer = socket.socketpair()
    PARENTS.append(peer)
    async def main():
        return (await asyncloop.open_connection(sock=ours))[i]
    return loop.run_until_complete(main())


def awaited(loop):
    future = loop.create_future()
    iterator = asyncloop.wait_for(future, None).__await__()
    return iterator


m = asyncloop
OBJECTS = {
    "loop": lambda loop: asyncloop.Loop(),
    "future": lambda loop: m.Future(loop=loop),
    "task": lambda loop: m.Task(value(), loop=loop),
    "handle": lambda loop: loop.call_soon(print),
    "timer": lambda loop: loop.call_later(1000, print),
    "gather": lambda loop: m.gather(m.Future(loop=loop)),
    "shield": lambda loop: m.shield(m.Future(loop=loop)),
    "sleep": lambda loop: m.sleep(1),
    "iterator": within(awaited),
    "future iterator": lambda loop: m.Future(loop=loop).__await__(),
    "chained": within(lambda loop: asyncloop.wrap_future(concurrent.futures.Future(), loop=loop)),
    "lock": lambda loop: m.Lock(), "event": lambda loop: m.Event(), "condition": lambda loop: m.Condition(),
    "semaphore": lambda loop: m.Semaphore(), "bounded": lambda loop: m.BoundedSemaphore(), "barrier": lambda loop: m.Barrier(2),
    "queue": lambda loop: m.Queue(), "priority": lambda loop: m.PriorityQueue(), "lifo": lambda loop: m.LifoQueue(),
    "group": lambda loop: m.TaskGroup(), "timeout": within(lambda loop: m.timeout(5)),
    "as_completed": within(lambda loop: m.as_completed([])),
    "reader": within(lambda loop: m.StreamReader(loop=loop)),
    "protocol": within(lambda loop: m.StreamReaderProtocol(m.StreamReader(loop=loop), loop=loop)),
    "transport": transport, "datagrams": datagrams, "read pipe": lambda loop: pipe(loop, True), "write pipe": lambda loop: pipe(loop, False),
    "server": server, "stream reader": lambda loop: stream(loop, 0), "stream writer": lambda loop: stream(loop, 1),
}


def names_of(target):
    return [name for name in dir(target) if name not in LEFT_OUT and callable(getattr(target, name, None))
            and (not name.startswith("__") or name in ("__aenter__", "__aexit__", "__await__", "__anext__", "__aiter__", "__iter__"))]


def compare(make, name, n_args):
    outcomes = []
    for names in (None, EMPTY):
        loop = asyncloop.new_event_loop()
        loop.set_exception_handler(lambda loop, context: None)
        asyncio.set_event_loop(loop)
        target = make(loop)
        call = getattr(target, name) if name else target
        filling = [loop.create_future() if name in ("gather", "shield", "wait", "wait_for") else None] * n_args
        outcomes.append(outcome(call, filling, names))
        if isinstance(target, asyncloop.Loop) and not target.is_running():
            target.close()
        if not loop.is_closed():
            loop.call_soon(loop.stop)
            loop.run_forever()
            loop.close()
    assert outcomes[0] == outcomes[1], (name, n_args, outcomes)


n = 0
skipped = set(sys.argv[1:])
cases = [(make, name) for key, make in OBJECTS.items() for loop in [asyncloop.new_event_loop()] for name in names_of(make(loop))]
cases += [((lambda loop, module=module: module), name) for module in (_asyncloop, asyncloop) for name in names_of(module)
          if name not in ("install", "uninstall", "new_event_loop") or module is _asyncloop]
cases += [((lambda loop, kind=kind: kind), None) for kind in vars(_asyncloop).values() if isinstance(kind, type)]
for make, name in cases:
    for n_args in (0, 1, 2, 3, 4, 40):
        compare(make, name, n_args)
        n += 1
print(n, flush=True)
os._exit(0)
"""


def test_every_callable():
    environment = os.environ | {"PYTHONMALLOC": os.environ.get("PYTHONMALLOC", "debug"), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=80)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[-1]) > 1000


@pytest.mark.parametrize("n_args", [2, 3, 40])
def test_add_reader_gets_its_arguments(n_args):
    program = PROGRAM.partition("# what runs, waits")[0] + f"""
loop = asyncloop.new_event_loop()
r, w = os.pipe()
os.write(w, b"x")
seen = []
print(outcome(loop.add_reader, [r, lambda *args: (seen.append(args), loop.stop())] + [7] * {n_args - 2}, EMPTY))
loop.run_forever()
loop.remove_reader(r)
loop.close()
print(len(seen[0]))
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["NoneType", str(n_args - 2)], done.stderr[-3000:]
