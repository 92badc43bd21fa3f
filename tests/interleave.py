"""Small concurrent programs, run pass by pass on a virtual clock and cancelled at any step, on asyncio's helpers and on asyncloop's.

A program is data: for each of its tasks a tuple of operations (tuples that begin with a name; OPERATIONS below).  A run of it is driven from outside: one
pass of the loop, then one tick of the clock, and so on, so that nothing depends on real time; a cancellation is a pair (pass, task).  What the program does is
its trace: which operation of which task began and ended in which pass, with what result or exception, in order; what is left at the end, and what was
reported to the exception handler.  The two traces must be the same: that is results, exceptions, wake-up order and fairness.

Random programs are made from a seed, by Maker.  What asyncio itself leaves to chance is left out: a TaskGroup keeps its children in a set, so the order in
which it cancels them is none; children of a group touch nothing that others could see the order by, and events of one pass are sorted where a group is used.
"""
import asyncio
import functools
import random
import sys
import warnings

PASSES = 40  # of a program; then what is left is cancelled
LAST_PASSES = 25
HAS_SHUTDOWN = sys.version_info >= (3, 13)
NATIVE = {name: value for name, value in vars(asyncio).items() if not name.startswith("_")}


class Helpers:
    """The helpers by name: ours as far as there are any, else asyncio's own, whatever install() has done since."""

    def __init__(self, package):
        self._package = package

    def __getattr__(self, name):
        return NATIVE[name] if self._package is asyncio else getattr(self._package, name, NATIVE[name])


def show(value):
    """A picture of a result or an exception that can be compared."""
    if isinstance(value, BaseExceptionGroup):
        return (type(value).__name__, value.message, sorted(map(show, value.exceptions), key=repr))
    if isinstance(value, BaseException):
        cause = value.__cause__
        return (type(value).__name__, tuple(map(show, value.args)), None if cause is None else type(cause).__name__)
    if isinstance(value, (list, tuple)):
        return [show(each) for each in value]
    if value is None or isinstance(value, (int, str, bytes, bool, float)):
        return value
    return type(value).__name__


class World:
    """What the tasks of one run share, and the trace."""

    def __init__(self, helpers, loop):
        self.h, self.loop = helpers, loop
        self.now, self.passes = 1000.0, 0
        self.trace, self.tasks, self.side_tasks = [], [], []
        loop.time = lambda: self.now
        loop.set_exception_handler(self.on_report)
        self.locks = [helpers.Lock(), helpers.Lock()]
        self.semaphore, self.bounded = helpers.Semaphore(2), helpers.BoundedSemaphore(1)
        self.event, self.condition, self.barrier = helpers.Event(), helpers.Condition(), helpers.Barrier(2)
        self.queues = [helpers.Queue(1), helpers.Queue(), helpers.PriorityQueue(2), helpers.LifoQueue(2)]
        self.reader = helpers.StreamReader(limit=16, loop=loop)
        self.future = loop.create_future()

    def say(self, *what):
        self.trace.append((self.passes, *what))

    def on_report(self, loop, context):
        if "never retrieved" not in context["message"]:
            message = "callback" if context["message"].startswith("Exception in callback") else context["message"]
            self.say("report", message, show(context.get("exception")))

    def one_pass(self):
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        self.passes += 1
        self.now += 1.0

    def leftovers(self):
        yield "locks", [lock.locked() for lock in self.locks]
        yield "semaphores", self.semaphore.locked(), self.bounded.locked(), self.semaphore._value, self.bounded._value
        yield "event", self.event.is_set()
        yield "condition", self.condition.locked(), len(self.condition._waiters)
        yield "barrier", self.barrier.n_waiting, self.barrier.broken
        yield "queues", [(q.qsize(), q.full(), q.empty()) for q in self.queues]
        yield "reader", self.reader.at_eof(), bytes(self.reader._buffer)
        yield "future", self.future.done(), self.future.cancelled()


# ---- operations: async def(world, who, number, *arguments); number makes deadlines differ

OPERATIONS = {}


def operation(function):
    OPERATIONS[function.__name__.rstrip("_")] = function
    return function


async def perform(w, who, op):
    """One operation and its traces."""
    name, number, *arguments = op
    w.say(who, number, name)
    try:
        result = await OPERATIONS[name](w, who, number, *arguments)
    except BaseException as exc:
        w.say(who, number, name, "raised", show(exc))
        raise
    w.say(who, number, name, "gave", show(result))
    return result


async def perform_all(w, who, ops):
    result = None
    for op in ops:
        result = await perform(w, who, op)
    return result


def spawn(w, who, number, n, op):
    """A task for an operation, as gather and its like are given."""
    name = f"{who}.{number}.{n}"
    task = w.h.create_task(perform(w, name, op), name=name)
    w.side_tasks.append(task)
    return task


@operation
async def sleep(w, who, number, ticks):
    return await w.h.sleep(ticks and ticks + number * 1e-4, number)


@operation
async def fail(w, who, number):
    raise ValueError(number)


@operation
async def lock(w, who, number, which, *body):
    async with w.locks[which]:
        return await perform_all(w, who, body)


@operation
async def semaphore(w, who, number, *body):
    async with w.semaphore:
        return await perform_all(w, who, body)


@operation
async def bounded(w, who, number, *body):
    async with w.bounded:
        return await perform_all(w, who, body)


@operation
async def release(w, who, number):
    w.bounded.release()


@operation
async def event_wait(w, who, number):
    return await w.event.wait()


@operation
async def event_set(w, who, number):
    w.event.set()


@operation
async def event_clear(w, who, number):
    w.event.clear()


@operation
async def condition_wait(w, who, number):
    async with w.condition:
        return await w.condition.wait()


@operation
async def condition_wait_for(w, who, number):
    async with w.condition:
        return await w.condition.wait_for(w.event.is_set)


@operation
async def condition_notify(w, who, number, n):
    async with w.condition:
        w.condition.notify(n) if n else w.condition.notify_all()


@operation
async def barrier_wait(w, who, number):
    return await w.barrier.wait()


@operation
async def barrier_block(w, who, number, *body):
    async with w.barrier:
        await perform_all(w, who, body)


@operation
async def barrier_reset(w, who, number):
    await w.barrier.reset()


@operation
async def barrier_abort(w, who, number):
    await w.barrier.abort()


@operation
async def put(w, who, number, which):
    await w.queues[which].put(number)


@operation
async def get(w, who, number, which):
    return await w.queues[which].get()


@operation
async def put_nowait(w, who, number, which):
    w.queues[which].put_nowait(number)


@operation
async def get_nowait(w, who, number, which):
    return w.queues[which].get_nowait()


@operation
async def task_done(w, who, number, which):
    w.queues[which].task_done()


@operation
async def join(w, who, number, which):
    await w.queues[which].join()


@operation
async def shutdown(w, who, number, which, immediate):
    if HAS_SHUTDOWN:
        w.queues[which].shutdown(immediate)


@operation
async def feed(w, who, number, data):
    if not w.reader._eof:
        w.reader.feed_data(data)


@operation
async def feed_eof(w, who, number):
    w.reader.feed_eof()


@operation
async def read(w, who, number, n):
    return await w.reader.read(n)


@operation
async def readexactly(w, who, number, n):
    return await w.reader.readexactly(n)


@operation
async def readline(w, who, number):
    return await w.reader.readline()


@operation
async def readuntil(w, who, number):
    return await w.reader.readuntil(b";")


@operation
async def future(w, who, number):
    return await w.future


@operation
async def future_set(w, who, number):
    w.future.set_result(number)


@operation
async def future_cancel(w, who, number):
    return w.future.cancel()


@operation
async def gather(w, who, number, return_exceptions, *ops):
    return await w.h.gather(*[perform(w, f"{who}.{number}.{n}", op) for n, op in enumerate(ops)], return_exceptions=return_exceptions)


@operation
async def wait(w, who, number, timeout, until, *ops):
    tasks = [spawn(w, who, number, n, op) for n, op in enumerate(ops)]
    done, pending = await w.h.wait(tasks, timeout=timeout and timeout + number * 1e-4, return_when=until)
    return [sorted(task.get_name() for task in tasks) for tasks in (done, pending)]


@operation
async def wait_for(w, who, number, timeout, op):
    return await w.h.wait_for(perform(w, who, op), timeout and timeout + number * 1e-4)


@operation
async def shield(w, who, number, op):
    return await w.h.shield(spawn(w, who, number, 0, op))


@operation
async def as_completed(w, who, number, timeout, *ops):
    results = []
    for each in w.h.as_completed([spawn(w, who, number, n, op) for n, op in enumerate(ops)], timeout=timeout and timeout + number * 1e-4):
        try:
            results.append(await each)
        except (ValueError, TimeoutError) as exc:
            results.append(exc)
    return results


@operation
async def timeout(w, who, number, ticks, *body):
    async with w.h.timeout(ticks and ticks + number * 1e-4) as scope:
        await perform_all(w, who, body)
    return scope.expired()


@operation
async def timeout_at(w, who, number, ticks, *body):
    async with w.h.timeout_at(w.now + ticks + number * 1e-4) as scope:
        scope.reschedule(w.now + ticks + 1 + number * 1e-4)
        await perform_all(w, who, body)
    return scope.expired(), scope.when()


@operation
async def group(w, who, number, children, *body):
    async with w.h.TaskGroup() as g:
        for n, op in enumerate(children):
            name = f"{who}.{number}.{n}"
            w.side_tasks.append(g.create_task(perform(w, name, op), name=name))
        await perform_all(w, who, body)


@operation
async def catch(w, who, number, op):
    """Swallow whatever comes, cancellation too."""
    try:
        return await perform(w, who, op)
    except (Exception, asyncio.CancelledError) as exc:
        return exc


@operation
async def uncancel(w, who, number, op):
    try:
        return await perform(w, who, op)
    except asyncio.CancelledError:
        return w.h.current_task().uncancel()


@operation
async def finally_(w, who, number, op, last):
    try:
        return await perform(w, who, op)
    finally:
        await perform(w, who, last)


@operation
async def cancel(w, who, number, which):
    return w.tasks[which % len(w.tasks)].cancel(f"by {who}")


# ---- running one


def uses(program, names):
    def within(op):
        return isinstance(op, tuple) and ((op and op[0] in names) or any(map(within, op)))

    return any(map(within, program))


def run(kit, program, cancellations=()):
    """The trace of a program, cancelled as told: (pass, task, message)."""
    loop = kit.new_loop()
    w = World(Helpers(kit.classes), loop)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            w.tasks += [w.h.Task(perform_all(w, f"T{n}", ops), loop=loop, name=f"T{n}") for n, ops in enumerate(program)]
            while w.passes < PASSES and not all(task.done() for task in w.tasks):
                for when, which, message in cancellations:
                    if when == w.passes:
                        w.say("cancel", which, w.tasks[which % len(w.tasks)].cancel(message) if message else w.tasks[which % len(w.tasks)].cancel())
                w.one_pass()
            for name, *state in w.leftovers():
                w.say("left", name, *state)
            for _ in range(LAST_PASSES):
                for task in w.tasks + w.side_tasks:
                    task.cancel()
                w.one_pass()
            for task in w.tasks + w.side_tasks:
                w.say("end", task.get_name(), ending(task), task.cancelling())
            left = sorted(task.get_name() for task in NATIVE["all_tasks"](loop) if not task.get_name().startswith("Task-"))
            w.say("unfinished", left)
            trace = list(w.trace)  # finish() cancels in the order of a set
        finally:
            w.future.cancel()
            finish(loop, w)
    if uses(program, {"group"}):
        trace.sort(key=lambda event: (event[0], str(event[1])))
    return trace


def ending(task):
    if not task.done():
        return "pending"
    try:
        return show(task.result())
    except BaseException as exc:
        return show(exc)


def finish(loop, w):
    """Close the loop with nothing on it that would speak up later."""
    w.on_report = lambda *args: None
    loop.set_exception_handler(lambda *args: None)
    for _ in range(LAST_PASSES):
        tasks = NATIVE["all_tasks"](loop)
        if not tasks:
            break
        for task in tasks:
            task._log_destroy_pending = False
            task.cancel()
        w.one_pass()
    loop.close()


# ---- random programs


class Maker:
    """Makes random programs.  Each operation has a number of its own."""

    SHARED = [
        ("lock", 0), ("lock", 1), ("semaphore",), ("bounded",), ("event_wait",), ("event_set",), ("event_clear",), ("condition_wait",),
        ("condition_wait_for",), ("condition_notify", 1), ("condition_notify", 0), ("barrier_wait",), ("barrier_block",), ("barrier_reset",), ("barrier_abort",),
        ("put", 0), ("put", 1), ("put", 2), ("get", 0), ("get", 1), ("get", 2), ("put", 3), ("get", 3), ("put_nowait", 0), ("get_nowait", 1), ("task_done", 0),
        ("join", 0), ("shutdown", 0, False), ("shutdown", 1, True), ("feed", b"abc;"), ("feed", b"line\n"), ("feed", b"a longer piece;"), ("feed_eof",),
        ("read", 3), ("read", -1), ("readexactly", 5), ("readline",), ("readuntil",), ("future",), ("future_set",), ("future_cancel",), ("cancel", 0),
        ("cancel", 1), ("release",),
    ]  # fmt: skip
    WITH_BODY = {"lock", "semaphore", "bounded", "barrier_block"}
    COMBINED = ["gather", "wait", "wait_for", "shield", "as_completed", "timeout", "timeout_at", "group", "catch", "uncancel", "finally"]

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.number = 0

    def program(self):
        # Few kinds at a time, so that the tasks meet.
        self.kinds = self.random.sample(self.SHARED, 5)
        return tuple(tuple(self.op(2) for _ in range(self.random.randint(1, 3))) for _ in range(self.random.randint(2, 4)))

    def next(self):
        self.number += 1
        return self.number

    def ticks(self):
        return self.random.choice([0, 0, 1.25, 2.25, 3.25])

    def maybe_ticks(self):
        return self.random.choice([None, 0, 1.5, 2.5, 4.5])

    def plain(self, depth, kinds):
        if self.random.random() < 0.3:
            return ("sleep", self.next(), self.ticks())
        if self.random.random() < 0.06:
            return ("fail", self.next())
        name, *arguments = self.random.choice(kinds)
        body = tuple(self.op(depth - 1) for _ in range(self.random.randint(0, 2))) if name in self.WITH_BODY and depth else ()
        return (name, self.next(), *arguments, *body)

    def alone(self):
        """For children of a group, see above."""
        return self.random.choice([("sleep", self.next(), self.ticks()), ("event_wait", self.next()), ("fail", self.next())])

    def op(self, depth):
        if not depth or self.random.random() < 0.45:
            return self.plain(depth, self.kinds)
        number, some = self.next(), lambda: [self.op(depth - 1) for _ in range(self.random.randint(1, 3))]
        match name := self.random.choice(self.COMBINED):
            case "gather":
                return (name, number, self.random.random() < 0.4, *some())
            case "wait":
                return (name, number, self.maybe_ticks(), self.random.choice(["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"]), *some())
            case "as_completed":
                return (name, number, self.maybe_ticks(), *some())
            case "wait_for":
                return (name, number, self.maybe_ticks(), self.op(depth - 1))
            case "timeout":
                return (name, number, self.maybe_ticks(), *some())
            case "timeout_at":
                return (name, number, self.ticks(), *some())
            case "group":
                return (name, number, tuple(self.alone() for _ in range(self.random.randint(0, 3))), *some()[:1])
            case "finally":
                return (name, number, self.op(depth - 1), self.op(depth - 1))
            case _:
                return (name, number, self.op(depth - 1))


# ---- comparing


@functools.cache
def run_oracle(oracle, program, cancellations):
    """The same for several subjects."""
    return run(oracle, program, cancellations)


def difference(oracle, subject, program, cancellations):
    """None, or the two traces from where they part."""
    expected, got = run_oracle(oracle, program, tuple(cancellations)), run(subject, program, cancellations)
    if expected == got:
        return None
    n = next((n for n, (a, b) in enumerate(zip(expected, got)) if a != b), min(len(expected), len(got)))
    start = max(0, n - 4)
    return expected[start:n + 4], got[start:n + 4]


def smaller(program):
    """The program with one operation less, in all ways."""
    for n, ops in enumerate(program):
        if len(program) > 1:
            yield program[:n] + program[n + 1:]
        for m, op in enumerate(ops):
            if len(ops) > 1:
                yield program[:n] + (ops[:m] + ops[m + 1:],) + program[n + 1:]
            for less in smaller_op(op):
                yield program[:n] + (ops[:m] + (less,) + ops[m + 1:],) + program[n + 1:]


def smaller_op(op):
    for n, inner in enumerate(op):
        if isinstance(inner, tuple) and inner and isinstance(inner[0], str):
            yield inner
            if op[0] not in ("wait_for", "shield", "catch", "uncancel", "finally"):
                yield op[:n] + op[n + 1:]
            for less in smaller_op(inner):
                yield op[:n] + (less,) + op[n + 1:]


def shrink(fails, program, cancellations):
    """A program and cancellations as small as can be that still fail."""
    found = True
    while found:
        found = False
        for candidate in smaller(program):
            if fails(candidate, cancellations):
                program, found = candidate, True
                break
        for n in range(len(cancellations)):
            if fails(program, cancellations[:n] + cancellations[n + 1:]):
                cancellations, found = cancellations[:n] + cancellations[n + 1:], True
                break
    return program, cancellations


def check(oracle, subject, program, cancellations):
    """None, or a text that tells of the smallest failing form."""
    if difference(oracle, subject, program, cancellations) is None:
        return None
    fails = functools.partial(difference, oracle, subject)
    program, cancellations = shrink(lambda p, c: fails(p, c) is not None, program, tuple(cancellations))
    parts = fails(program, cancellations)
    if parts is None:
        return f"differs at times: {program}, cancelled {cancellations}"
    return f"program {program}\ncancelled {cancellations}\n  asyncio:\n    " + "\n    ".join(map(str, parts[0])) \
        + f"\n  {subject.name}:\n    " + "\n    ".join(map(str, parts[1]))
