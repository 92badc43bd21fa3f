"""Every method, slot and attribute of every type of ours, used by four threads at once on objects of a loop that runs; a program without pytest.

    python misuse.py TYPE [--seconds 5] [--only NAME] [--seed 1]
    python misuse.py --list

Programs must not do this: only call_soon_threadsafe and its like may be called from other threads.  They may get any exception or wrong order for it, but
no crash and no hang.  The types are found by walking down from `object`, the names by dir(), so what is new is covered without being named here.

The objects are planted by the beds below, each of which makes a family of them on the loop of the main thread.  A round is one name: a fresh loop, fresh
objects, and four threads that use that name on them for a while, with arguments of every kind, while the loop uses the objects too.  The last rounds use all
names at once.  What a round began is on stderr, so that the end of a process says which name it was.  Ends with "alive" and status 0.
"""
import argparse
import asyncio
import collections
import contextlib
import contextvars
import faulthandler
import gc
import logging
import os
import random
import socket
import sys
import threading
import time
import types
import warnings

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import asyncloop  # noqa: E402
from asyncloop import _asyncloop  # noqa: E402

THREADS = 4
LONGEST_NAME = 0.5      # seconds
BEDS = []
HOST = "127.0.0.1"
# Names that are object's own code, and end or block the process whoever calls them.
LEFT_OUT = {"__class__", "__subclasses__", "__subclasshook__", "__init_subclass__", "__dir__"}


HEAP_TYPE = 1 << 9      # of cls.__flags__: made while the program runs


def is_ours(cls):
    """Whether the extension made the class.  Where `__module__` is an attribute of the objects, the extension's state tells."""
    module = vars(cls).get("__module__")
    in_c = not any(type(value) is types.FunctionType for value in vars(cls).values()) and "__firstlineno__" not in vars(cls)
    return in_c and (module in ("asyncloop", "asyncloop._asyncloop") if isinstance(module, str) else cls in STATE and bool(cls.__flags__ & HEAP_TYPE))


STATE = [obj for obj in gc.get_referents(_asyncloop) if isinstance(obj, type)]


def types_of_ours():
    """{name: type} of all classes that the extension has made; the second of a name is NAME-2."""
    found, todo, seen = {}, [object, type], set()
    while todo:
        for cls in type.__subclasses__(todo.pop()):
            if cls in seen:
                continue
            seen.add(cls)
            todo.append(cls)
            if is_ours(cls):
                namesakes = [name for name in found if name.partition("-")[0] == cls.__qualname__]
                found[f"{cls.__qualname__}-{len(namesakes) + 1}" if namesakes else cls.__qualname__] = cls
    return found


# --- beds: families of objects on the running loop; each keeps what it makes in `keep` and adds what uses it to `busy`

def bed(f):
    BEDS.append(f)
    return f


class Garden:
    def __init__(self, loop):
        self.loop = loop
        self.keep = []
        self.busy = []
        self.exits = contextlib.ExitStack()

    def use(self, coro):
        self.busy.append(self.loop.create_task(coro))


async def nothing(*args):
    return args


async def waits():
    await asyncio.sleep(0.001)


@bed
async def futures(garden):
    loop = garden.loop
    done = loop.create_future()
    done.set_result(1)
    failed = loop.create_future()
    failed.set_exception(LookupError("planted"))
    cancelled = loop.create_future()
    cancelled.cancel()
    pending = [loop.create_future() for _ in range(4)]
    garden.keep += [done, failed, cancelled, *pending, iter(loop.create_future()), loop]

    async def fulfil():
        while True:
            future = loop.create_future()
            garden.keep.append(future)
            loop.call_later(0.001, lambda: future.done() or future.set_result(1))
            await asyncio.wait([future], timeout=0.002)
            garden.keep.remove(future)

    garden.use(fulfil())


@bed
async def tasks(garden):
    loop = garden.loop
    inner = loop.create_task(asyncio.sleep(60))
    garden.keep += [loop.create_task(asyncio.sleep(60)), loop.create_task(nothing()), inner, loop.create_task(asyncio.wait([inner])), *asyncio.all_tasks()]

    async def cancel():
        while True:
            task = loop.create_task(asyncio.sleep(60))
            garden.keep.append(task)
            await asyncio.sleep(0.0005)
            task.cancel()
            await asyncio.wait([task], timeout=0.002)
            garden.keep.remove(task)

    garden.use(cancel())


@bed
async def handles(garden):
    loop = garden.loop
    garden.keep += [loop.call_soon(int), loop.call_later(0.001, int), loop.call_later(60, int), loop.call_soon_threadsafe(int)]

    async def schedule():
        while True:
            made = [loop.call_later(0.0005, int), loop.call_soon(int)]
            garden.keep += made
            await asyncio.sleep(0.001)
            for handle in made:
                garden.keep.remove(handle)

    garden.use(schedule())


@bed
async def waiting(garden):
    loop = garden.loop
    pending = [loop.create_future() for _ in range(3)]
    gathered = asyncio.gather(*pending)
    shielded = asyncio.shield(pending[0])
    completed = asyncio.as_completed(pending)
    group, timeout = asyncio.TaskGroup(), asyncio.timeout(60)
    others = [asyncio.wait(pending), asyncio.wait_for(pending[0], 60), asyncio.sleep(60), next(iter(asyncio.as_completed(pending))), asyncio.timeout_at(5)]
    running = [loop.create_task(coro) for coro in (asyncio.wait(pending), asyncio.wait_for(pending[0], 60), asyncio.sleep(60))]
    garden.keep += [gathered, shielded, completed, group, timeout, asyncio.TaskGroup(), *others, *running]

    async def stay():
        async with timeout, group:
            for i in range(3):
                garden.keep.append(group.create_task(asyncio.sleep(60 + i)))
            await asyncio.sleep(60)

    async def again():
        while True:
            await asyncio.gather(asyncio.sleep(0.0005), waits())
            async with asyncio.TaskGroup() as each:
                each.create_task(waits())
            async with asyncio.timeout(1):
                await asyncio.shield(waits())

    garden.use(stay())
    garden.use(again())


@bed
async def coroutines(garden):
    """One of each function that is a coroutine function in C: begun, and not begun."""
    queue, lock = asyncio.Queue(1), asyncio.Lock()
    await lock.acquire()
    made = [asyncio.sleep(60), asyncio.sleep(0), queue.get(), lock.acquire(), asyncio.Event().wait(), asyncio.to_thread(int), nothing()]
    began = [queue.get(), lock.acquire(), asyncio.Event().wait(), asyncio.sleep(60)]
    for coro in began:
        garden.use(coro)
    wrappers = [coro.__await__() for coro in (queue.get(), asyncio.sleep(0))]
    garden.keep += [*made, *began, *wrappers, *(each for each in (getattr(coro, "cr_frame", None) for coro in (*made, *began)) if each is not None)]


@bed
async def locks(garden):
    lock, event, semaphore, bounded, condition, barrier = (
        asyncio.Lock(), asyncio.Event(), asyncio.Semaphore(1), asyncio.BoundedSemaphore(1), asyncio.Condition(), asyncio.Barrier(3))
    garden.keep += [lock, event, semaphore, bounded, condition, barrier]

    async def contend():
        while True:
            for each in (lock, semaphore, bounded, condition):
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(0.01), each:
                        await asyncio.sleep(0)
            with contextlib.suppress(Exception):
                async with asyncio.timeout(0.002):
                    await event.wait()
                    await barrier.wait()
            event.clear()
            await asyncio.sleep(0)

    async def signal():
        while True:
            event.set()
            with contextlib.suppress(Exception):
                async with condition:
                    condition.notify_all()
            await asyncio.sleep(0.0005)

    for coro in contend(), contend(), contend(), signal():
        garden.use(coro)


@bed
async def queues(garden):
    made = [asyncio.Queue(2), asyncio.LifoQueue(2), asyncio.PriorityQueue(2)]
    garden.keep += made

    async def work(call):
        while True:
            for queue in made:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(0.005):
                        await call(queue)
            await asyncio.sleep(0)

    for call in (lambda queue: queue.put(1)), (lambda queue: queue.get()), (lambda queue: queue.join()):
        garden.use(work(call))


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data[:1000])


class Talker(Echo):
    def connection_made(self, transport):
        self.transport = transport
        transport.write(b"x" * 100)


async def plant_connections(garden, listening, connect):
    """A server and clients that talk to it."""
    server = await listening
    garden.exits.callback(server.close)
    garden.keep += [server, *(getattr(server, "_listeners", None) or ())]
    for _ in range(3):
        transport, protocol = await connect(server)
        garden.keep += [transport, getattr(transport, "_ssl_protocol", None)]
    await asyncio.sleep(0.002)
    garden.keep += [each for each in (getattr(transport, "_ssl_protocol", None),) if each is not None]

    async def reconnect():
        while True:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(0.1):
                    transport, _ = await connect(server)
                    await asyncio.sleep(0.001)
                    transport.close()
            await asyncio.sleep(0.003)

    garden.use(reconnect())


def port_of(server):
    return server.sockets[0].getsockname()[1]


@bed
async def tcp(garden):
    loop = garden.loop
    await plant_connections(garden, loop.create_server(Echo, HOST, 0), lambda server: loop.create_connection(Talker, HOST, port_of(server)))


@bed
async def tls(garden):
    import certs

    loop, server_side, client_side = garden.loop, certs.server_context(), certs.client_context()
    await plant_connections(garden, loop.create_server(Echo, HOST, 0, ssl=server_side),
                            lambda server: loop.create_connection(Talker, HOST, port_of(server), ssl=client_side, server_hostname="localhost"))


@bed
async def streams(garden):
    async def serve(reader, writer):
        garden.keep += [reader, writer, writer.transport, writer.transport.get_protocol()]
        with contextlib.suppress(Exception):
            while data := await reader.readline():
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    garden.exits.callback(server.close)
    garden.keep.append(server)

    async def talk():
        reader, writer = await asyncio.open_connection(HOST, port_of(server))
        garden.keep += [reader, writer]
        while True:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(0.02):
                    writer.write(b"line\n")
                    await writer.drain()
                    await reader.readline()
            await asyncio.sleep(0.0005)

    for coro in talk(), talk():
        garden.use(coro)


@bed
async def udp(garden):
    class Back(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, addr):
            self.transport.sendto(data, addr)

    loop = garden.loop
    server, _ = await loop.create_datagram_endpoint(Back, local_addr=(HOST, 0))
    client, _ = await loop.create_datagram_endpoint(Back, remote_addr=server.get_extra_info("sockname"))
    client.sendto(b"x" * 100)
    garden.keep += [server, client]
    garden.exits.callback(server.abort)
    garden.exits.callback(client.abort)


@bed
async def replaced(garden):
    """A call_soon of the program's own is handed what the transports schedule."""
    loop, call_soon = garden.loop, garden.loop.call_soon

    def keeps(callback, *args, **more):
        if type(callback).__name__ == "Deferred":
            garden.keep.append(callback)
            del garden.keep[:-50]
        return call_soon(callback, *args, **more)

    loop.call_soon = keeps
    await tcp(garden)


@bed
async def pipes(garden):
    loop = garden.loop
    read_end, write_end = os.pipe()
    reader = asyncio.StreamReader()
    out, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", 0))
    into, protocol = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(write_end, "wb", 0))
    garden.keep += [out, into, reader, out.get_protocol()]

    async def write():
        while True:
            with contextlib.suppress(Exception):
                into.write(b"x" * 1000)
            await asyncio.sleep(0.001)

    async def read():
        while True:
            with contextlib.suppress(Exception):
                await reader.read(500)
            await asyncio.sleep(0)

    garden.use(write())
    garden.use(read())


@bed
async def processes(garden):
    process = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    garden.keep += [process.stdin, process.stdout, process._transport]
    garden.use(process.wait())
    garden.exits.callback(process.kill)


@bed
async def socks(garden):
    loop = garden.loop
    one, other = socket.socketpair()
    garden.exits.callback(one.close)
    garden.exits.callback(other.close)
    one.setblocking(False)
    other.setblocking(False)
    began = loop.sock_recv(other, 10)
    garden.use(began)
    garden.keep += [loop.sock_recv(other, 10), began, loop.sock_sendall(one, b"x"), one]


@bed
async def executors(garden):
    loop = garden.loop

    async def work():
        while True:
            future = loop.run_in_executor(None, time.sleep, 0.0002)
            garden.keep.append(future)
            await asyncio.wait([future], timeout=0.01)
            await asyncio.wait([asyncio.wrap_future(asyncio.run_coroutine_threadsafe(waits(), loop))], timeout=0.01)
            garden.keep.remove(future)

    for coro in work(), work():
        garden.use(coro)


@bed
async def classes(garden):
    garden.keep += [value for value in vars(asyncloop).values() if isinstance(value, type) or callable(value)]
    garden.keep += [value for cls in vars(asyncloop).values() if isinstance(cls, type) for value in vars(cls).values() if callable(value)]


# --- using them

class Tools:
    """Arguments of every kind."""

    def __init__(self, garden, rng):
        self.rng = rng
        kept = garden.keep
        self.makers = [
            lambda: None, lambda: 0, lambda: 1, lambda: -1, lambda: 3.5, lambda: 0.001, lambda: 1000, lambda: True, lambda: "text", lambda: b"some bytes\n",
            lambda: bytearray(b"xy"), lambda: (), lambda: [b"a", b"b"], lambda: {}, lambda: (HOST, 9), collections.deque, object, lambda: Echo, Echo,
            lambda: print_nothing, lambda: print_nothing, nothing, waits, garden.loop.create_future, lambda: garden.loop, contextvars.copy_context,
            lambda: asyncio.CancelledError, lambda: LookupError("given"), *[lambda: rng.choice(kept)] * 4]

    def any(self):
        return self.rng.choice(self.makers)()

    def some(self):
        return [self.any() for _ in range(self.rng.choice((0, 0, 1, 1, 1, 2, 2, 3, 4, 6)))]


def print_nothing(*args):
    return None


def poke(result):
    """A coroutine or an iterator that a method gave is run for a step, as a driver of another thread would."""
    for name in ("send", "__next__", "close"):
        method = getattr(result, name, None)
        if method is not None and not isinstance(result, (asyncio.Future, asyncio.BaseTransport, socket.socket)) and not isinstance(result, type):
            with contextlib.suppress(BaseException):
                method(None) if name == "send" else method()


def use(obj, name, tools):
    """The name on the object: got, and called where it can be; now and then set or deleted."""
    kind = tools.rng.random()
    if kind < 0.05:
        setattr(obj, name, tools.any())
    elif kind < 0.08:
        delattr(obj, name)
    value = getattr(obj, name)
    if callable(value):
        poke(value(*tools.some()))


def hammer(objects, names, tools, end, barrier):
    """One thread: uses the names until the time is over; then lets go of the objects together with the others."""
    barrier.wait()
    while time.monotonic() < end[0]:
        obj = tools.rng.choice(objects)
        try:
            use(obj, tools.rng.choice(names), tools)
        except BaseException:
            pass
        obj = None
    barrier.wait()
    objects.clear()


def objects_of(cls, keep):
    """Those of this very type, or else of one derived from it, among what was planted, or else among all that there is."""
    for objects in keep, gc.get_objects():
        for fits in (lambda obj: type(obj) is cls), (lambda obj: cls in type(obj).__mro__):
            if found := [obj for obj in objects if fits(obj)]:
                return found[:20]
    return []


async def plant(garden, beds):
    for each in beds:
        await each(garden)


def new_garden(beds):
    loop = asyncloop.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_exception_handler(print_nothing)
    garden = Garden(loop)
    loop.run_until_complete(plant(garden, beds))
    loop.call_later(0.003, loop.stop)
    loop.run_forever()
    return garden


def beds_of(cls):
    """The beds in which the type grows; all of them together where none does alone."""
    found = []
    for each in BEDS:
        garden = new_garden([each])
        if any(cls in type(obj).__mro__ for obj in garden.keep):
            found.append(each)
        end_garden(garden, [])
    return found


def end_garden(garden, threads):
    """The loop runs, whoever stops it, until the threads have ended; then it is closed with all that is on it."""
    loop = garden.loop
    give_up = time.monotonic() + 60
    while any(thread.is_alive() for thread in threads):
        assert time.monotonic() < give_up, "a thread does not end"
        try:
            loop.call_later(0.002, loop.stop)
            loop.run_forever()
        except BaseException:
            time.sleep(0.001)
        with contextlib.suppress(BaseException):
            loop.call_soon_threadsafe(loop.stop)    # a thread may be the one that runs it
    with contextlib.suppress(BaseException):
        garden.exits.close()
    with contextlib.suppress(BaseException):
        for task in garden.busy:
            task.cancel()
        loop.call_later(0.005, loop.stop)
        loop.run_forever()
    with contextlib.suppress(BaseException):
        loop.close()
    garden.keep.clear()
    garden.busy.clear()


def play(cls, beds, names, seconds, seed):
    """One round.  False: there was no object."""
    garden = new_garden(beds)
    objects = objects_of(cls, garden.keep)
    if not objects:
        end_garden(garden, [])
        return False
    end, barrier = [time.monotonic() + seconds], threading.Barrier(THREADS, timeout=60)
    tools = [Tools(garden, random.Random(f"{seed}{names}{i}")) for i in range(THREADS)]
    threads = [threading.Thread(target=hammer, args=(list(objects), names, each, end, barrier)) for each in tools]
    del objects
    for thread in threads:
        thread.start()
    end_garden(garden, threads)
    gc.collect()
    return True


def names_of(cls, beds):
    """What dir() tells of the type, and of those derived from it that the beds grow: the slots are there as methods with two underscores."""
    garden = new_garden(beds)
    kinds = {cls, *map(type, objects_of(cls, garden.keep))}
    end_garden(garden, [])
    return sorted({name for kind in kinds for name in dir(kind)} - LEFT_OUT)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("type", nargs="?")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--seconds", type=float, default=5, help="of all rounds together")
    parser.add_argument("--only", help="this name alone")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    known = types_of_ours()
    if args.list:
        print("\n".join(sorted(known)))
        return
    faulthandler.enable()
    faulthandler.dump_traceback_later(args.seconds * 3 + 120, exit=True)
    warnings.simplefilter("ignore")
    logging.disable()
    sys.unraisablehook = print_nothing
    threading.excepthook = print_nothing
    asyncloop.install()
    cls = known[args.type]
    beds = beds_of(cls) or BEDS
    names = [args.only] if args.only else names_of(cls, beds)
    each = min(LONGEST_NAME, args.seconds / 2 / len(names))
    played = 0
    for i, name in enumerate(names):
        os.write(2, f"{args.type}.{name}\n".encode())
        played += play(cls, beds, [name], each, args.seed + i)
    for i in range(3):
        os.write(2, f"{args.type}: all names\n".encode())
        played += play(cls, beds, names, args.seconds / 6, args.seed + i)
    assert played, f"no bed has an object of {args.type}"
    print(f"{played} rounds of {len(names) + 3}, in {', '.join(each.__name__ for each in beds)}; alive", flush=True)


if __name__ == "__main__":
    main()
