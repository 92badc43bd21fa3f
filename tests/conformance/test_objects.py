"""Objects, classes and functions of ours behaved with as Python programs do with asyncio's: copied, pickled, patched, inspected, mocked.

Each program runs on its own as a user's would, plain and under `python -m asyncloop`, and must print the same.
"""
import subprocess
import sys

import pytest

from kits import PATIENCE, SUBJECT
from sidebyside import child_env

pytestmark = pytest.mark.skipif(SUBJECT == "asyncio", reason="compares `python` with `python -m asyncloop`")


def run(path, *runner):
    done = subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", *runner, str(path)], env=child_env(), text=True, capture_output=True,
                          timeout=60 * PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def same(tmp_path):
    """Runs a program both ways; gives what it printed."""
    def check(program):
        path = tmp_path / "program.py"
        path.write_text(program)
        plain = run(path)
        assert plain
        assert run(path, "-m", "asyncloop") == plain
        return plain
    return check


HEAD = """
import asyncio, collections.abc, contextlib, copy, dataclasses, functools, gc, inspect, io, pickle, sys, types, typing, unittest, unittest.mock as mock, weakref
WAYS = {"copy": copy.copy, "deepcopy": copy.deepcopy}
for p in range(pickle.HIGHEST_PROTOCOL + 1):
    WAYS[f"pickle {p}"] = lambda o, p=p: pickle.loads(pickle.dumps(o, p))
WAYS["pickle in Python"] = lambda o: pickle._loads(pickle._dumps(o))
CLASSES = (asyncio.Lock, asyncio.Event, asyncio.Condition, asyncio.Semaphore, asyncio.Barrier, asyncio.Queue, asyncio.TaskGroup, asyncio.Timeout)
def show(o):
    if isinstance(o, CLASSES):
        state = o.__getstate__()
        parts = state if isinstance(state, tuple) else (state,)
        return [type(o).__name__] + [{k: show(v) for k, v in p.items()} for p in parts]
    return ("method", o.__name__) if inspect.ismethod(o) else "a float" if isinstance(o, float) else repr(o)
"""


def test_copies_of_idle_objects(same):
    same(HEAD + """
class Mine(asyncio.Queue):
    def __init__(self, label):
        super().__init__(5)
        self.label = [label]
class Slots(asyncio.Event):
    __slots__ = ("note",)
class Reduced(asyncio.Lock):
    def __reduce__(self):
        return Reduced, ()
class Stated(asyncio.Semaphore):
    def __getstate__(self):
        return dict(super().__getstate__(), kept=True)
    def __setstate__(self, state):
        self.given = sorted(state)
async def main():
    lock, event, q, pq, lifo, mine, slots = asyncio.Lock(), asyncio.Event(), asyncio.Queue(3), asyncio.PriorityQueue(), asyncio.LifoQueue(), Mine("x"), Slots()
    await lock.acquire(); event.set(); slots.note = [1]; slots.more = 2
    for queue in (q, pq, lifo, mine):
        queue.put_nowait([2]); queue.put_nowait([1])
    group = asyncio.TaskGroup()
    async with group: pass
    objects = [asyncio.Lock(), lock, asyncio.Event(), event, asyncio.Condition(), asyncio.Condition(asyncio.Lock()), asyncio.Semaphore(), asyncio.Semaphore(7),
               asyncio.BoundedSemaphore(2), asyncio.Barrier(3), q, pq, lifo, mine, slots, Reduced(), Stated(3), asyncio.TaskGroup(), asyncio.timeout(3),
               asyncio.timeout(None)]
    for o in objects:
        for name, way in WAYS.items():
            if o is slots and name[-1] in "01": continue  # copyreg refuses those without a __getstate__
            made = way(o)
            print(type(o).__name__, name, type(made) is type(o), made is o, show(made) == show(o), getattr(made, "label", ""), getattr(made, "given", ""))
        print(show(o))
asyncio.run(main())
""")


def test_copies_work_and_share_what_asyncios_share(same):
    same(HEAD + """
async def main():
    q = asyncio.Queue(2)
    item = [1]
    await q.put(item)
    shallow, deep = copy.copy(q), copy.deepcopy(q)
    print(deep.qsize(), deep.get_nowait() is item, q.qsize(), shallow.get_nowait() is item, q.qsize(), shallow._finished is q._finished)
    deep.task_done(); await deep.join()
    print(q._unfinished_tasks, deep._unfinished_tasks, deep._finished.is_set())
    await deep.put(1); await deep.put(2); print(deep.full(), deep.maxsize)
    for name, way in WAYS.items():
        cond = asyncio.Condition()
        other = way(cond)
        async with other:
            print(name, other.locked(), cond.locked(), other._lock is cond._lock, other.acquire.__self__ is other._lock)
            waiting = asyncio.ensure_future(asyncio.wait_for(other.wait(), 0.001))
        print(repr((await asyncio.gather(waiting, return_exceptions=True))[0]))
        sem = way(asyncio.BoundedSemaphore(2))
        await sem.acquire(); sem.release()
        try: sem.release()
        except ValueError as e: print(e)
        barrier = way(asyncio.Barrier(2))
        print(sorted(await asyncio.gather(barrier.wait(), barrier.wait())), barrier.parties)
        async with way(asyncio.TaskGroup()) as tg:
            task = tg.create_task(asyncio.sleep(0, "done"))
        print(task.result())
        try:
            async with way(asyncio.timeout(0)): await asyncio.sleep(1)
        except TimeoutError as e: print("timed out")
        lock = way(asyncio.Lock())
        async with lock: print(lock.locked())
        ev = way(asyncio.Event()); ev.set(); print(await ev.wait())
    reader = asyncio.StreamReader(); reader.feed_data(b"some bytes"); reader.feed_eof()
    print(await copy.copy(reader).read(4), await reader.read(4), reader._eof)
asyncio.run(main())
""")


def test_copies_of_what_is_in_use(same):
    """A lock that has been waited for knows its loop, which cannot be copied deeply or pickled; the same errors where asyncio's say the same."""
    same(HEAD + """
async def take(lock):
    async with lock: pass
async def main():
    lock, q, ev = asyncio.Lock(), asyncio.Queue(), asyncio.Event()
    await lock.acquire()
    tasks = [asyncio.create_task(c) for c in (take(lock), q.get(), ev.wait())]
    await asyncio.sleep(0)
    for o in (lock, q, ev):
        for name, way in WAYS.items():
            try: print(name, show(way(o)) == show(o))
            except Exception as e: print(name, isinstance(e, (TypeError, pickle.PicklingError, AttributeError)))
        print(sorted(o.__getstate__()))
    lock.release(); q.put_nowait(1); ev.set()
    await asyncio.gather(*tasks)
    print(copy.copy(lock)._loop is asyncio.get_running_loop())
asyncio.run(main())
""")


def test_dataclasses_and_namespaces_with_locks(same):
    same(HEAD + """
@dataclasses.dataclass
class Job:
    name: str
    lock: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    queue: asyncio.Queue = dataclasses.field(default_factory=asyncio.Queue)
    done: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
job = Job("a")
print(sorted(dataclasses.asdict(job)), dataclasses.asdict(job)["lock"] is job.lock, type(dataclasses.asdict(job)["queue"]) is asyncio.Queue)
print(copy.deepcopy(job).lock is job.lock, dataclasses.replace(job).lock is job.lock, pickle.loads(pickle.dumps(job)).done.is_set())
class Model:
    def __deepcopy__(self, memo):
        new = type(self).__new__(type(self)); new.__dict__.update(copy.deepcopy(self.__dict__, memo)); return new
m = Model(); m.sem = asyncio.Semaphore(4); m.others = {"x": [m.sem]}
n = copy.deepcopy(m); print(n.sem is m.sem, n.others["x"][0] is n.sem, n.sem._value)
""")


def test_a_pickle_of_either_is_loaded_by_the_other(tmp_path):
    dump = tmp_path / "dump.py"
    load = tmp_path / "load.py"
    file = tmp_path / "pickles"
    dump.write_text(HEAD + f"""
q = asyncio.Queue(4); q.put_nowait("item"); lock = asyncio.Lock(); lock._locked = True
everything = [q, lock, asyncio.Event(), asyncio.Condition(), asyncio.BoundedSemaphore(3), asyncio.Barrier(2), asyncio.TaskGroup(), asyncio.Timeout(None),
              asyncio.sleep, asyncio.gather, asyncio.Lock, asyncio.Lock.acquire, asyncio.timeout, asyncio.Queue.put_nowait, asyncio.open_connection]
with open({str(file)!r}, "wb") as f:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1): f.write(pickle.dumps(everything, protocol))
""")
    load.write_text(HEAD + f"""
with open({str(file)!r}, "rb") as f:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        q, lock, event, cond, sem, barrier, group, limit, *functions = pickle.load(f)
        assert functions == [asyncio.sleep, asyncio.gather, asyncio.Lock, asyncio.Lock.acquire, asyncio.timeout, asyncio.Queue.put_nowait, asyncio.open_connection]
        async def main():
            async with cond: cond.notify_all()
            async with group: group.create_task(barrier.wait())
            async with limit: await event.wait()
        group.create_task
        assert type(q) is asyncio.Queue and type(lock) is asyncio.Lock
        print(q.get_nowait(), q.maxsize, lock.locked(), event.is_set(), sem._value, sem._bound_value, barrier.parties, cond.acquire.__self__ is cond._lock)
        event.set()
        async def both(): await asyncio.gather(main(), barrier.wait())
        asyncio.run(both())
""")
    printed = set()
    for writer in ((), ("-m", "asyncloop")):
        run(dump, *writer)
        for reader in ((), ("-m", "asyncloop")):
            printed.add(run(load, *reader))
    assert len(printed) == 1, printed


PATCHED = HEAD + """
calls = []
def patch(cls, name, wrapper=None):
    original = getattr(cls, name)
    def patched(self, *args, **kwargs):
        calls.append(f"{cls.__name__}.{name}")
        return original(self, *args, **kwargs)
    setattr(cls, name, patched)
    return original
"""


USES = [
    ("TaskGroup", "create_task", "async with asyncio.TaskGroup() as tg: tg.create_task(asyncio.sleep(0))"),
    ("TaskGroup", "__aenter__", "async with asyncio.TaskGroup() as tg: tg.create_task(asyncio.sleep(0))"),
    ("TaskGroup", "__aexit__", "async with asyncio.TaskGroup() as tg: tg.create_task(asyncio.sleep(0))"),
    ("TaskGroup", "__init__", "async with asyncio.TaskGroup() as tg: tg.create_task(asyncio.sleep(0))"),
    ("TaskGroup", "_on_task_done", "async with asyncio.TaskGroup() as tg: tg.create_task(asyncio.sleep(0))"),
    ("TaskGroup", "_abort", "async with asyncio.TaskGroup() as tg: raise ValueError"),
    ("TaskGroup", "_is_base_error", "async with asyncio.TaskGroup() as tg: raise ValueError"),
    ("Timeout", "__aenter__", "async with asyncio.timeout(5): await asyncio.sleep(0)"),
    ("Timeout", "__aexit__", "async with asyncio.timeout(5): await asyncio.sleep(0)"),
    ("Timeout", "__init__", "async with asyncio.timeout(5): await asyncio.sleep(0)"),
    ("Timeout", "__init__", "async with asyncio.timeout_at(None): await asyncio.sleep(0)"),
    ("Timeout", "reschedule", "async with asyncio.timeout(5): await asyncio.sleep(0)"),
    ("Timeout", "_on_timeout", "async with asyncio.timeout(0): await asyncio.sleep(1)"),
    ("Timeout", "_on_timeout", "await asyncio.wait_for(asyncio.sleep(1), 0.0001)"),
    ("Lock", "acquire", "async with asyncio.Lock(): pass"),
    ("Lock", "release", "async with asyncio.Lock(): pass"),
    ("Lock", "locked", "asyncio.Condition().locked()"),
    ("Lock", "acquire", "async with asyncio.Condition(): pass"),
    ("Condition", "wait", "c = asyncio.Condition(); await c.acquire(); await asyncio.wait_for(c.wait_for(lambda: False), 0.0001)"),
    ("Condition", "notify", "c = asyncio.Condition(); await c.acquire(); c.notify_all()"),
    ("Condition", "__init__", "asyncio.Barrier(2)"),
    ("Condition", "notify_all", "await asyncio.Barrier(1).wait()"),
    ("Semaphore", "acquire", "async with asyncio.Semaphore(): pass"),
    ("Semaphore", "locked", "async with asyncio.Semaphore(): pass"),
    ("Semaphore", "release", "async with asyncio.BoundedSemaphore(): pass"),
    ("Event", "set", "q = asyncio.Queue(); await q.put(1); await q.get(); q.task_done()"),
    ("Event", "__init__", "q = asyncio.Queue(); await q.put(1); await q.get(); q.task_done()"),
    ("Queue", "put_nowait", "await asyncio.Queue().put(1)"),
    ("Queue", "_put", "await asyncio.Queue().put(1)"),
    ("Queue", "_init", "await asyncio.Queue().put(1)"),
    ("PriorityQueue", "_put", "await asyncio.PriorityQueue().put(1)"),
    ("Queue", "get_nowait", "q = asyncio.Queue(); await q.put(1); await q.get()"),
    ("StreamReader", "_wait_for_data", "r = asyncio.StreamReader(); await asyncio.wait_for(r.read(1), 0.0001)"),
    ("StreamReader", "feed_data", "r = asyncio.StreamReader(); r.feed_data(b'x'); print(await r.read(1))"),
]
# One interpreter runs all of them, each in a child process that it forks: in each the class is as it was when asyncio was imported.
EACH_IN_A_FORK = PATCHED + """
import os
def one(cls, name, use):
    scope = {"asyncio": asyncio}
    exec("async def main():\\n    " + use.replace("; ", "\\n    "), scope)
    async def outcome():
        try: await scope["main"]()
        except BaseException as e: print(type(e).__name__, e)
    original = patch(cls, name)
    asyncio.run(outcome()); print(len(calls) > 0, set(calls))
    setattr(cls, name, original); calls.clear()
    asyncio.run(outcome()); print(calls)
for number, (cls, name, use) in enumerate(USES):
    print("==", number, flush=True)
    if (pid := os.fork()) == 0:
        one(getattr(asyncio, cls), name, use)
        sys.stdout.flush()
        os._exit(0)
    print("status", os.waitpid(pid, 0)[1])
""".replace("USES", repr(USES))


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What each of USES prints, in both ways."""
    path = tmp_path_factory.mktemp("uses") / "program.py"
    path.write_text(EACH_IN_A_FORK)
    return [dict(part.split("\n", 1) for part in run(path, *runner).split("== ")[1:]) for runner in ((), ("-m", "asyncloop"))]


@pytest.mark.parametrize("number", range(len(USES)), ids=["-".join(use) for use in USES])
def test_a_class_attribute_that_was_set_is_used(printed, number):
    plain, ours = (each[str(number)] for each in printed)
    assert plain.endswith("[]\nstatus 0\n") and ("True" in plain or sys.version_info < (3, 12))  # 3.11's wait_for has no Timeout
    assert ours == plain


def test_class_attributes_come_and_go(same):
    same(HEAD + """
for name in ("Lock Event Condition Semaphore BoundedSemaphore Barrier Queue PriorityQueue LifoQueue TaskGroup Timeout "
             "StreamReader StreamWriter StreamReaderProtocol").split():
    cls = getattr(asyncio, name)
    cls.mine = 5
    print(name, cls.mine, cls.__new__(cls).mine if name != "StreamWriter" else 5, "mine" in vars(cls))
    del cls.mine
    print(hasattr(cls, "mine"))
    with mock.patch.object(cls, "__repr__", lambda self: "patched"):
        print(repr(cls.__new__(cls)) if name != "StreamWriter" else "")
    method = next(m for m in ("wait", "acquire", "get", "create_task", "reschedule", "read", "drain", "data_received") if m in vars(cls) or hasattr(cls, m))
    before = getattr(cls, method)
    with mock.patch.object(cls, method, autospec=True) as patched: print(patched is getattr(cls, method), inspect.signature(patched) == inspect.signature(before))
    print(getattr(cls, method) is before)
for cls in (asyncio.Future, asyncio.Task):
    try: cls.mine = 5
    except TypeError as e: print("immutable" in str(e))
""")


def test_a_method_deleted_from_the_class_is_missed(same):
    same(HEAD + """
async def main():
    lock = asyncio.Lock()
    async with lock: pass
    del asyncio.Lock.acquire
    try:
        async with lock: pass
    except AttributeError as e: print(e)
asyncio.run(main())
""")


FUNCTIONS = ("sleep gather wait wait_for shield as_completed timeout timeout_at create_task ensure_future to_thread run_coroutine_threadsafe wrap_future "
             "open_connection start_server open_unix_connection start_unix_server").split()
METHODS = ["Lock.acquire", "Lock.release", "Lock.locked", "Lock.__aenter__", "Event.wait", "Event.set", "Condition.wait", "Condition.wait_for", "Condition.notify",
           "Condition.notify_all", "Semaphore.acquire", "Semaphore.release", "BoundedSemaphore.release", "Barrier.wait", "Barrier.abort", "Queue.put", "Queue.get", "Queue.join",
           "Queue.put_nowait", "Queue.get_nowait", "Queue.qsize", "PriorityQueue._put", "LifoQueue._get", "TaskGroup.create_task", "TaskGroup.__aexit__", "Timeout.reschedule",
           "Timeout.expired", "Timeout.__aenter__", "StreamReader.read", "StreamReader.readuntil", "StreamReader.feed_data", "StreamWriter.write",
           "StreamWriter.drain", "StreamWriter.wait_closed", "StreamReaderProtocol.data_received"]


def test_functions_and_methods_tell_what_asyncios_tell(same):
    same(HEAD + f"""
from operator import attrgetter
for name in {FUNCTIONS + METHODS!r}:
    f = attrgetter(name)(asyncio)
    print(name, isinstance(f, types.FunctionType), inspect.isfunction(f), inspect.isroutine(f), inspect.isbuiltin(f), callable(f))
    print(inspect.iscoroutinefunction(f), asyncio.iscoroutinefunction(f), inspect.isgeneratorfunction(f), inspect.isasyncgenfunction(f))
    print(inspect.signature(f), f.__defaults__, f.__kwdefaults__, f.__annotations__, f.__name__, f.__qualname__, f.__module__)
    print(f.__code__.co_name, f.__code__.co_varnames[:f.__code__.co_argcount], f.__code__.co_flags, f.__closure__ is None, "__builtins__" in f.__globals__)
    if "connection" not in name and "server" not in name: print(inspect.getsource(f)[:60], inspect.getsourcefile(f), inspect.getfile(f))
    print(typing.get_type_hints(f), inspect.unwrap(f) is f, inspect.ismethod(f), repr(f).split(" at ")[0])
    print(pickle.loads(pickle.dumps(f)) is f if "__a" not in name else "", copy.copy(f) is f, copy.deepcopy(f) is f, hash(f) == hash(f), f == f, weakref.ref(f)() is f)
    wrapped = functools.wraps(f)(lambda *a: 1)
    print(wrapped.__name__, wrapped.__wrapped__ is f, inspect.signature(wrapped))
    p = functools.partial(f, 1)
    print(inspect.iscoroutinefunction(p), asyncio.iscoroutinefunction(p))
    f.mine = [1]; print(f.mine, f.__dict__, vars(f)); del f.mine; print(hasattr(f, "mine"))
    spec = mock.create_autospec(f)
    print(type(spec).__name__, inspect.iscoroutinefunction(spec), type(mock.Mock(spec=f)).__name__, inspect.signature(spec) == inspect.signature(f))
    try: spec(*range(20))
    except TypeError as e: print(e)
    class K: bound = f
    print(inspect.ismethod(K().bound), K.bound is f, K().bound.__func__ is f)
    if "." not in name:
        with mock.patch("asyncio." + name, autospec=True) as m: print(type(m).__name__)
        with mock.patch("asyncio." + name) as m: print(type(m).__name__)
""")


def test_bound_methods(same):
    same(HEAD + """
class Holder: pass
async def main():
    for o, names in ((asyncio.Lock(), "acquire release locked"), (asyncio.Queue(), "put get put_nowait get_nowait join task_done qsize"), (asyncio.Event(), "wait set"),
                     (asyncio.TaskGroup(), "create_task"), (asyncio.timeout(1), "reschedule when"), (asyncio.StreamReader(), "read feed_data at_eof")):
        for name in names.split():
            m = getattr(o, name)
            print(name, inspect.ismethod(m), m.__self__ is o, m.__func__ is getattr(type(o), name), inspect.iscoroutinefunction(m), asyncio.iscoroutinefunction(m),
                  inspect.iscoroutinefunction(functools.partial(m)), inspect.signature(m), m == getattr(o, name), weakref.WeakMethod(m)() == m, m.__name__)
        print(sorted(n for n, _ in inspect.getmembers(type(o), inspect.isfunction) if not n.startswith("_")))
    loop = asyncio.get_running_loop()
    for name in "sock_recv sock_recv_into sock_recvfrom sock_recvfrom_into sock_sendall sock_sendto sock_accept sock_connect".split():
        f = getattr(loop, name)
        print(name, inspect.iscoroutinefunction(f), asyncio.iscoroutinefunction(f), type(getattr(mock.MagicMock(spec=loop), name)).__name__,
              type(getattr(mock.create_autospec(loop), name)).__name__ != "MagicMock", inspect.signature(f))
asyncio.run(main())
""")


def test_mocks_of_classes(same):
    same(HEAD + """
for name in "Lock Event Semaphore Barrier Queue TaskGroup StreamReader StreamWriter".split():
    cls = getattr(asyncio, name)
    auto, plain = mock.create_autospec(cls), mock.MagicMock(spec=cls)
    for m in sorted(m for m in dir(cls) if not m.startswith("_")):
        print(name, m, type(getattr(plain, m)).__name__, type(getattr(auto, m)).__name__)
    print(isinstance(plain, cls), isinstance(auto(1) if name == "Barrier" else plain, cls))
async def main():
    q = mock.create_autospec(asyncio.Queue, instance=True)
    q.get.return_value = 5
    print(await q.get(), await asyncio.wait_for(q.get(), 1), q.get.await_count)
    try: q.put()
    except TypeError as e: print(e)
asyncio.run(main())
""")


def test_async_test_cases(same):
    same(HEAD + """
log = []
class T(unittest.IsolatedAsyncioTestCase):
    async def test(self):
        self.q = asyncio.Queue()
        self.lock = asyncio.Lock()
        self.addAsyncCleanup(self.check)
        self.addAsyncCleanup(self.q.put, "cleaned up")
        self.addAsyncCleanup(self.lock.acquire)
        self.addAsyncCleanup(asyncio.sleep, 0)
        self.addAsyncCleanup(functools.partial(self.q.put, 2))
    async def check(self): log.append((self.q.qsize(), self.lock.locked()))
result = unittest.TextTestRunner(stream=io.StringIO()).run(unittest.defaultTestLoader.loadTestsFromTestCase(T))
print(log, result.wasSuccessful())
""")


def test_states_of_coroutine_objects(same):
    same(HEAD + """
import socket
def state(c, label):
    print(label, inspect.getcoroutinestate(c), c.cr_running, c.cr_suspended, c.cr_frame is None, c.cr_code.co_name, inspect.isframe(c.cr_frame),
          inspect.iscoroutine(c), inspect.isawaitable(c), asyncio.iscoroutine(c), isinstance(c, types.CoroutineType), isinstance(c, collections.abc.Coroutine),
          type(c.cr_await).__name__ if c.cr_await is None else "awaits", c.cr_origin, c.__name__)
    if c.cr_frame is not None:
        print(c.cr_frame.f_code is c.cr_code, c.cr_running or c.cr_frame.f_back, isinstance(c.cr_frame.f_lineno, int), sorted(inspect.getcoroutinelocals(c)).count("self"))
class Own(asyncio.Queue):
    def full(self):
        state(self.running, "while it runs")
        return super().full()
async def main():
    loop = asyncio.get_running_loop()
    a, b = socket.socketpair(); a.setblocking(False); b.setblocking(False)
    q, lock, ev, group = asyncio.Queue(), asyncio.Lock(), asyncio.Event(), asyncio.TaskGroup()
    reader = asyncio.StreamReader()
    await lock.acquire()
    for make in (lambda: asyncio.sleep(9), q.get, lock.acquire, ev.wait, lambda: asyncio.wait_for(ev.wait(), 9), lambda: asyncio.wait([loop.create_future()]),
                 q.join, lambda: q.put(1), reader.read, lambda: reader.readexactly(3), group.__aenter__,
                 lambda: loop.sock_recv(a, 5), lambda: loop.sock_sendall(a, b"x")):
        c = make(); state(c, "created"); c.close(); state(c, "closed")
        c = make(); t = asyncio.create_task(c); await asyncio.sleep(0); await asyncio.sleep(0)
        if not t.done():
            state(c, "suspended")
            print(len(t.get_stack()), t.get_stack()[0].f_code is c.cr_code, " running at " in repr(t))
        out = io.StringIO(); t.print_stack(file=out)
        t.cancel(); await asyncio.wait([t]); state(c, "over"); print(" done, defined at " in repr(t), c.cr_code.co_filename in repr(t), out.getvalue().count("File"))
    own = Own(); own.running = own.put(1); await own.running; state(own.running, "over")
    a.close(); b.close()
asyncio.run(main())
""")


def test_names_are_asyncios_only_while_installed():
    code = """
import asyncio, pickle, asyncloop
def names(): return [(o.__module__, o.__qualname__) for o in (asyncloop.Lock, asyncloop.sleep, asyncloop.gather, asyncloop.open_connection, asyncloop.Queue.put)]
before = names()
print(before)
natives = [(o.__module__, o.__qualname__) for o in (asyncio.Lock, asyncio.sleep, asyncio.gather, asyncio.open_connection, asyncio.Queue.put)]
for _ in range(2):
    asyncloop.install(); asyncloop.install()
    assert names() == natives, names()
    assert repr(asyncio.Lock()).startswith("<asyncio.locks.Lock object at "), asyncio.Lock()
    data = pickle.dumps([asyncio.Lock(), asyncio.sleep])
    assert b"asyncloop" not in data, data
    assert pickle.loads(pickle.dumps(asyncio.Future)) is asyncio.Future and pickle.loads(pickle.dumps(asyncio.Task)) is asyncio.Task
    asyncloop.uninstall(); asyncloop.uninstall()
    assert type(pickle.loads(data)[0]) is asyncio.Lock
    for name, _ in names(): assert name.startswith("asyncloop"), names()
    assert type(pickle.loads(pickle.dumps(asyncloop.Lock()))) is asyncloop.Lock and pickle.loads(pickle.dumps(asyncloop.sleep)) is asyncloop.sleep
"""
    done = subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", code], env=child_env(), text=True, capture_output=True, timeout=60 * PATIENCE)
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_set_says_so():
    code = """
import asyncio, asyncloop, copy
def refused(error, call, *args):
    try: call(*args)
    except error: return
    raise AssertionError((call, args))
group, barrier, limit = asyncloop.TaskGroup(), asyncloop.Barrier(2), asyncloop.Timeout(None)
for value in (5, None, [], frozenset()): refused(TypeError, setattr, group, "_tasks", value)
for value in (5, (), {}): refused(TypeError, setattr, group, "_errors", value)
refused(AttributeError, delattr, group, "_tasks"); refused(AttributeError, delattr, group, "_errors"); refused(AttributeError, delattr, barrier, "_cond")
refused(TypeError, setattr, limit, "_state", 3); refused(TypeError, setattr, limit, "_state", limit._state.ENTERED); refused(TypeError, setattr, limit, "_timeout_handler", 1)
for o in (group, barrier, limit, asyncloop.Lock(), asyncloop.Queue(), asyncloop.Condition()):
    for state in (5, "x", ({},), [1, 2], object()): refused((TypeError, ValueError, AttributeError), o.__setstate__, state)
    o.__setstate__(None); o.__setstate__({}); o.__setstate__((None, None)); o.__setstate__({"other": 1}); assert o.other == 1
    bare = type(o).__new__(type(o)); repr(bare.__getstate__()); copy.copy(bare)
group._entered = True
async def main():
    refused(AttributeError, group.create_task, asyncio.sleep(0))
    async with asyncloop.timeout(5) as t:
        for name in ("_when", "_task", "_state", "_timeout_handler"): refused(AttributeError, setattr, t, name, None)
        refused(TypeError, copy.copy, t)
    barrier._cond = None
    try: await barrier.wait()
    except AttributeError: pass
    f = asyncloop.sleep
    for name in ("__code__", "__defaults__", "__kwdefaults__", "__globals__", "__closure__"): refused(AttributeError, setattr, f, name, None)
    refused(TypeError, setattr, f, "__name__", 5); refused(TypeError, delattr, f, "__qualname__")
    refused(TypeError, asyncloop.Lock.acquire); refused(TypeError, asyncloop.Lock.acquire, 5); refused(TypeError, asyncloop.Lock.release); refused(TypeError, asyncloop.Lock.release, 5)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=child_env(), text=True, capture_output=True, timeout=60 * PATIENCE)
    assert done.returncode == 0, done.stderr
