"""Every allocation of an operation fails once: the operation succeeds or raises MemoryError, and the loop is still usable.

Each operation runs in a child process: a crash there is a failed test here.
"""
import importlib.util

import pytest

from sidebyside import OURS, child

pytestmark = pytest.mark.skipif(importlib.util.find_spec("_testcapi") is None,
                                reason="this Python has no _testcapi, whose failing allocator is used")

# name: (prepared once per attempt, the operation, cleaned up after it)
# No repr(): that is Python code of asyncio's, in which CPython 3.12 itself crashes when a function object cannot be allocated.
OPERATIONS = {
    "call_soon": ("", "loop.call_soon(nothing, 1)", ""),
    "call_soon with a context": ("", "loop.call_soon(nothing, context=context)", ""),
    "call_soon of many arguments": ("", "loop.call_soon(nothing, *many)", ""),
    "call_soon_threadsafe": ("", "loop.call_soon_threadsafe(nothing)", ""),
    "call_later": ("", "loop.call_later(5, nothing, 1)", ""),
    "call_at": ("", "loop.call_at(5.0, nothing)", ""),
    "many timers": ("", "for _ in range(70): loop.call_later(5, nothing)", ""),
    "many calls": ("", "for _ in range(150): loop.call_soon(nothing)", ""),
    "handle context": ("h = loop.call_soon(nothing)", "h.get_context() if hasattr(h, 'get_context') else None", ""),
    "future": ("", "Future(loop=loop)", ""),
    "create_future": ("", "loop.create_future()", ""),
    "add_done_callback": ("f = Future(loop=loop)", "f.add_done_callback(nothing)", ""),
    "second add_done_callback": ("f = Future(loop=loop); f.add_done_callback(nothing)", "f.add_done_callback(len)", ""),
    "set_result": ("f = Future(loop=loop); f.add_done_callback(nothing)", "f.set_result(1)", ""),
    "set_result with callbacks": ("f = Future(loop=loop); [f.add_done_callback(nothing) for _ in range(3)]", "f.set_result(1)", ""),
    "set_exception": ("f = Future(loop=loop); e = ValueError()", "f.set_exception(e)", "f._log_traceback = False if f.done() else False"),
    "cancel future": ("f = Future(loop=loop); f.add_done_callback(nothing)", "f.cancel('m')", ""),
    "cancelled result": ("f = Future(loop=loop); f.cancel('m')", "try_cancelled(f)", ""),
    "callbacks list": ("f = Future(loop=loop); f.add_done_callback(nothing)", "f._callbacks", ""),
    "remove_done_callback": ("f = Future(loop=loop); [f.add_done_callback(x) for x in (nothing, len, nothing)]",
                             "f.remove_done_callback(nothing)", ""),
    "task": ("c = value()", "t = Task(c, loop=loop)", "c.close()"),
    "create_task": ("c = value()", "t = loop.create_task(c)", "c.close()"),
    "task name": ("c = value(); t = Task(c, loop=loop)", "t.get_name()", ""),
    "cancel task": ("c = value(); t = Task(c, loop=loop)", "t.cancel()", ""),
    "sleep object": ("", "s = sleep(5); s.close()", ""),
    "one pass": ("loop.call_soon(nothing); loop.call_later(0, nothing); loop.call_soon(loop.stop)", "loop.run_forever()", ""),
    "add_reader": ("", "loop.add_reader(r, nothing)", "loop.remove_reader(r)"),
    "add_writer": ("", "loop.add_writer(w, nothing)", "loop.remove_writer(w)"),
    "remove_reader": ("loop.add_reader(r, nothing)", "loop.remove_reader(r)", "loop.remove_reader(r)"),
    "read pipe": ("h = os.fdopen(os.dup(r), 'rb', 0)", "t = loop._make_read_pipe_transport(h, protocol)", "t.close()"),
    "write pipe": ("h = os.fdopen(os.dup(w), 'wb', 0)", "t = loop._make_write_pipe_transport(h, protocol)", "t.close()"),
    "write to a full pipe": ("h = os.fdopen(os.dup(w), 'wb', 0); t = loop._make_write_pipe_transport(h, protocol); once()",
                             "t.write(data); t.write(mutable)", "t.abort()"),
    "write to a broken pipe": ("h = broken(); t = loop._make_write_pipe_transport(h, protocol)", "t.write(data)", "t.abort()"),
    "one pass with a pipe": ("h = ended_pipe(); t = loop._make_read_pipe_transport(h, protocol); once(); loop.call_soon(loop.stop)",
                             "loop.run_forever()", "t.close()"),
    "one pass with a burst of datagrams": ("h, t = burst(); loop.call_soon(loop.stop)", "loop.run_forever()", "t.abort(); h.close()"),
    "timeout_at": ("", "timeout_at(5)", ""),
    "task group": ("", "TaskGroup()", ""),
    "wait and wait_for objects": ("", "c = wait([]); c.close(); c = wait_for(None, 1); c.close()", ""),
    "shield": ("f = Future(loop=loop)", "shield(f)", ""),
    "pass with a timeout": ("t = begun(in_timeout())", "loop.run_forever()", "ended(t)"),
    "pass with a late timeout": ("t = begun(in_timeout(0))", "loop.run_forever()", "ended(t)"),
    "pass with a group": ("t = begun(in_group())", "loop.run_forever()", "ended(t)"),
    "pass with a failing group": ("t = begun(in_group(True))", "loop.run_forever()", "ended(t)"),
    "pass with wait": ("f = Future(loop=loop); g = Future(loop=loop); t = begun(wait([f, g], timeout=5)); loop.call_soon(f.set_result, 1)",
                       "loop.run_forever()", "ended(t)"),
    "pass with wait_for": ("t = begun(wait_for(value(), 5))", "loop.run_forever()", "ended(t)"),
    "pass with a late wait_for": ("t = begun(wait_for(sleep(9), 0))", "loop.run_forever()", "ended(t)"),
    "pass with shield": ("t = begun(shielded())", "loop.run_forever()", "ended(t)"),
    "pass with as_completed": ("t = begun(completed())", "loop.run_forever()", "ended(t)"),
    "a condition's methods": ("c = lib.Condition()", "c.acquire; c.release; c.locked", ""),
    "stream reader": ("", "h = StreamReader(loop=loop)", ""),
    "stream protocol": ("h = StreamReader(loop=loop)", "StreamReaderProtocol(h, nothing, loop=loop)", ""),
    "stream writer": ("h = StreamReader(loop=loop); t = Quiet(); f = StreamReaderProtocol(h, loop=loop)", "StreamWriter(t, f, h, loop)", ""),
    "stream connection": ("h = StreamReader(loop=loop); t = Quiet(); f = StreamReaderProtocol(h, Quiet.serve, loop=loop)",
                          "f.connection_made(t)", "f._task and f._task.cancel()"),
    "stream feed_data": ("h = StreamReader(loop=loop)", "h.feed_data(data)", ""),
    "stream feed_data to who waits": ("h = StreamReader(loop=loop); t = loop.create_task(h.readexactly(5)); once()", "h.feed_data(data)", "t.cancel()"),
    "stream _buffer": ("h = StreamReader(loop=loop); h.feed_data(b'x' * 100)", "h._buffer; h.feed_data(data)", ""),
    "stream read": ("h = StreamReader(loop=loop); h.feed_data(b'x' * 100)", "step(h.read(60))", ""),
    "stream read of all": ("h = StreamReader(loop=loop, limit=40); h.feed_data(b'x' * 100); h.feed_eof()", "step(h.read())", ""),
    "stream read that waits": ("h = StreamReader(loop=loop)", "step(h.read(60))", ""),
    "stream readline": ("h = StreamReader(loop=loop); h.feed_data(b'line with more\\n')", "step(h.readline())", ""),
    "stream line too long": ("h = StreamReader(loop=loop, limit=4); h.feed_data(b'line with more\\n')", "overrun(h.readline())", ""),
    "stream incomplete": ("h = StreamReader(loop=loop); h.feed_data(b'line'); h.feed_eof()", "incomplete(h.readexactly(9))", ""),
    "stream readuntil": ("h = StreamReader(loop=loop); h.feed_data(b'line with more\\n')", "step(h.readuntil(several))", ""),
    "stream drain": ("h = StreamReader(loop=loop); t = Quiet(); f = StreamReaderProtocol(h, loop=loop); c = StreamWriter(t, f, h, loop)",
                     "step(c.drain()); c.write(data)", ""),
    "stream drain that waits": ("h = StreamReader(loop=loop); t = Quiet(); f = StreamReaderProtocol(h, loop=loop); c = StreamWriter(t, f, h, loop); "
                                "f.pause_writing()", "step(c.drain())", ""),
    "stream end": ("h = StreamReader(loop=loop); f = StreamReaderProtocol(h, loop=loop)", "f.connection_lost(None)", ""),
    "TLS write": ("h = tls()", "h[0].write(small); h[0].write(mutable)", "end(h)"),
    "TLS write to a slow reader": ("h = tls(); h[0].write(data * 10)", "h[0].write(mutable); h[0].writelines([small, data])", "end(h)"),
    "TLS transport's methods": ("h = tls()", "h[0].pause_reading(); h[0].resume_reading(); h[0].set_write_buffer_limits(5); h[0].get_extra_info('cipher')",
                                "end(h)"),
    "one pass with TLS data": ("h = tls(); h[1].write(data); once(); loop.call_soon(loop.stop)", "loop.run_forever()", "end(h)"),
    "TLS close": ("h = tls(); h[0].write(small)", "h[0].close()", "end(h)"),
    "TLS abort": ("h = tls(); h[0].write(data * 10)", "h[0].abort()", "end(h)"),
    "one pass of a TLS close": ("h = tls(); h[1].close(); once(); loop.call_soon(loop.stop)", "loop.run_forever()", "end(h)"),
    "one pass of a TLS handshake": ("h = begin_tls(); loop.call_soon(loop.stop)", "loop.run_forever()", "end(h)"),
    "one later pass of a TLS handshake": ("h = begin_tls(); once(); once(); loop.call_soon(loop.stop)", "loop.run_forever()", "end(h)"),
    "a TLS handshake": ("h = begin_tls()", "loop.run_until_complete(h[2])", "end(h)"),
    "new loop": ("", "make_and_close()", ""),
    "wrap_future": ("f = concurrent.futures.Future()", "helpers.wrap_future(f, loop=loop)", "f.cancel()"),
    "end of a wrapped future": ("f = concurrent.futures.Future(); t = helpers.wrap_future(f, loop=loop); f.set_result(1); loop.call_soon(loop.stop)",
                                "loop.run_forever()", "t.cancel()"),
    "ensure_future": ("c = value()", "t = helpers.ensure_future(c, loop=loop)", "c.close()"),
    "to_thread": ("", "helpers.to_thread(nothing, 1, a=2).close()", ""),
    "call in a pool": ("", "t = loop.run_in_executor(pool, nothing, 1)", "t.cancel()"),
    "end of a call in a pool": ("t = loop.run_in_executor(pool, list, (1, 2))", "queued()", "t.cancel()"),
    "failed call in a pool": ("t = loop.run_in_executor(pool, broken, 1)", "queued()", "t.cancel()"),
    "current_task": ("", "helpers.current_task(loop)", ""),
    "our all_tasks": ("c = value(); t = Task(c, loop=loop)", "helpers.all_tasks(loop)", ""),
    "isinstance": ("", "isinstance(loop, Future), isinstance(loop, Child), issubclass(Child, Future)", ""),
    "class of a twin": ("", "type(Future)('Another', (Future,), {})", ""),
    "await by hand": ("", "sleep(5).__await__().close()", ""),
    "all_tasks": ("c = value(); t = Task(c, loop=loop)", "asyncio.all_tasks(loop)", ""),
}

# These run Python code, where CPython itself sometimes answers "error return without exception set".
PYTHON = {"make_and_close()", "loop.run_forever()", "loop.run_until_complete(h[2])"}

BODY = """
import concurrent.futures, contextvars, gc, io, warnings, _testcapi
helpers = kit.classes
class Child(Future): pass
pool = concurrent.futures.ThreadPoolExecutor(1)
pool._adjust_thread_count = nothing_at_all = ().__len__  # no thread: what is queued is run here
def queued():
    while pool._work_queue.qsize() > 1:
        pool._work_queue.get_nowait()
    pool._work_queue.get_nowait().run()
warnings.simplefilter("ignore")
sleep, gather, lib = kit.sleep, kit.gather, kit.classes
wait, wait_for, shield, TaskGroup, timeout_at = lib.wait, lib.wait_for, lib.shield, lib.TaskGroup, lib.timeout_at
loop = new_loop()
loop.set_exception_handler(lambda loop, context: None)
sys.unraisablehook = lambda unraisable: None
context = contextvars.copy_context()
many = list(range(40))
r, w = os.pipe()
r, w = os.dup2(r, 40), os.dup2(w, 41)

data, mutable = bytes(200_000), bytearray(100_000)
protocol = asyncio.Protocol()
def broken():
    a, b = os.pipe()
    os.close(a)
    return os.fdopen(b, "wb", 0)
def ended_pipe():
    a, b = os.pipe()
    os.write(b, b"data")
    os.close(b)
    return os.fdopen(a, "rb", 0)
def burst():
    import socket
    a, b = socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM)
    a.bind(("127.0.0.1", 0))
    a.setblocking(False)
    b.connect(a.getsockname())
    t = loop._make_datagram_transport(a, kits.DatagramEcho())
    once()
    for i in range(10):
        b.send(b"x" * (1 + i // 4))
    return b, t
def once():
    loop.call_soon(loop.stop)
    loop.run_forever()
def nothing(*args): pass
async def value(): return 1
async def check():
    await sleep(0)
    return await Task(value(), loop=loop)
async def failing(): raise ValueError
async def in_timeout(delay=5):
    async with lib.timeout(delay): await sleep(0)
async def in_group(fails=False):
    async with TaskGroup() as group:
        group.create_task(value(), name="a")
        group.create_task(failing() if fails else value())
async def shielded(): return await shield(value())
async def completed(): return [await c for c in lib.as_completed([value(), value()], timeout=5)]
def begun(coro):
    t = Task(coro, loop=loop)
    def stop(n=6): loop.stop() if n == 0 else loop.call_soon(stop, n - 1)
    stop()
    return t
def ended(t):
    t.cancel()
    for _ in range(4): once()
    if t.done() and not t.cancelled(): t.exception()
def try_cancelled(f):
    try: f.result()
    except asyncio.CancelledError: pass
def make_and_close():
    new_loop().close()

StreamReader, StreamReaderProtocol, StreamWriter = (getattr(kit.classes, n, getattr(asyncio, n)) for n in ("StreamReader", "StreamReaderProtocol", "StreamWriter"))
several = (b"with", b"line w") if sys.version_info >= (3, 13) else b"with"
class Quiet:
    def get_extra_info(self, name): return None
    def is_closing(self): return True
    def pause_reading(self): pass
    def write(self, data): pass
    def close(self): pass
    async def serve(reader, writer): pass
def step(coro):
    try: coro.send(None)
    except StopIteration: pass
    finally: coro.close()
def overrun(coro):
    try: coro.send(None)
    except ValueError: pass
    except AttributeError: raise MemoryError from None  # of exc.args: up to 3.12 a type's lookup hides that it had no memory
def incomplete(coro):
    try: coro.send(None)
    except asyncio.IncompleteReadError: pass
small, contexts = b"small", []
def begin_tls():
    import certs, socket
    if not contexts:
        contexts.extend((certs.client_context(), certs.server_context()))
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    socks = [a, b]
    async def make():
        try:
            (one, _), (two, _) = await asyncio.gather(
                loop.create_connection(asyncio.Protocol, sock=a, ssl=contexts[0], server_hostname="localhost", ssl_handshake_timeout=5),
                loop.connect_accepted_socket(asyncio.Protocol, b, ssl=contexts[1], ssl_handshake_timeout=5), return_exceptions=True)
            return one, two
        except (MemoryError, TypeError, SystemError):
            return None
    return [None, None, Task(make(), loop=loop), a, b]
def tls():
    h = begin_tls()
    h[:2] = loop.run_until_complete(h[2])
    return h
def end(h):
    for transport in h[:2]:
        if transport is not None:
            transport.abort()
    if h[2] is not None and not h[2].done():
        h[2].cancel()
    for _ in range(5):
        once()
    if h[2] is not None and h[2].done() and not h[2].cancelled() and h[2].exception() is None and h[2].result():
        for transport in h[2].result():
            transport.abort()
    for sock in h[3:]:
        sock.close()

def prepare(box):
    {prepare}
    return locals()

def attempt(n, loop=loop, context=context, many=many, r=r, w=w, set_nomemory=_testcapi.set_nomemory,
            remove=_testcapi.remove_mem_hooks):
    {unpack}
    try:
        set_nomemory(n, n + 1)
        {operation}
        remove()
        return True
    except {errors}:
        remove()
        return False
    finally:
        remove()
        try:
            {cleanup}
        except NameError:
            pass

prepared = {{}}
{warm}
succeeded = 0
n = 0
while succeeded < 5 and n < 2000:
    n += 1
    prepared = prepare(None)
    succeeded = succeeded + 1 if attempt(n) else 0
    prepared = None
    for _ in range(2):  # what a failed pass left, a stop for instance, is run here
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert loop.run_until_complete(check()) == 1, n
assert n < 2000, "it never succeeds"
loop.call_soon(loop.stop)
loop.run_forever()
gc.collect()
loop.close()
print("usable after", n)
"""


def build(prepare, operation, cleanup):
    names = sorted({word for word in ("h", "f", "c", "t", "e") if f"{word} = " in prepare})
    unpack = "; ".join(f"{name} = prepared[{name!r}]" for name in names) or "pass"
    return BODY.format(prepare=prepare or "pass", operation=operation, cleanup=cleanup or "pass", unpack=unpack,
                       errors="(MemoryError, SystemError)" if operation in PYTHON else "MemoryError",
                       warm="prepared = prepare(None)\nattempt(10 ** 6)")


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation(name):
    got = child(build(*OPERATIONS[name]), OURS, timeout=60)
    assert got.returncode == 0 and got.stdout.startswith("usable after"), (got.returncode, got.stdout, got.stderr[-2000:])


def test_the_allocator_really_fails():
    got = child(build("", "[object() for _ in range(3)].append(bytearray(100))", ""), OURS)
    assert got.stdout.startswith("usable after") and int(got.stdout.split()[-1]) > 6, got.stderr
