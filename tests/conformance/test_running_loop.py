"""The running loop is what asyncio says it is: _set_running_loop, names of asyncio.events that were bound anew, loops inside loops."""
import asyncio
import contextlib
import threading

from sidebyside import mixed, same

events = asyncio.events


@contextlib.contextmanager
def running(loop):
    """loop is what asyncio has as the running one of this thread."""
    before = events._get_running_loop()
    events._set_running_loop(loop)
    try:
        yield
    finally:
        events._set_running_loop(before)


@contextlib.contextmanager
def names(**functions):
    """Names of asyncio.events bound anew, in asyncio too, as trio-asyncio does."""
    saved = {name: getattr(events, name) for name in functions}
    try:
        for name, function in functions.items():
            setattr(events, name, function)
            setattr(asyncio, name, function)
        yield
    finally:
        for name, function in saved.items():
            setattr(events, name, function)
            setattr(asyncio, name, function)


def step(coro):
    """The first step of a coroutine, driven by hand; what it waits for is dropped."""
    try:
        waits_for = coro.send(None)
    except StopIteration as stop:
        return "returned", stop.value
    finally:
        with contextlib.suppress(BaseException):
            coro.close()
    return "waits", type(waits_for).__name__, getattr(waits_for, "_loop", None)


async def nothing():
    pass


def ask_all(t, loop):
    """Every helper that asks for the running loop, one after the other: which loop did it take?"""
    lib = t.kit.classes
    made = []

    def make(function, *args):
        made.append(function(*args))
        return made[-1]

    def enter(manager):
        return step(manager.__aenter__())

    async def timeouts():
        async with lib.timeout(1):
            return "entered"

    async def wait_for():
        await lib.wait_for(make(loop.create_future), 3)

    async def waits():
        return await lib.wait([make(lib.Future)], timeout=0)

    calls = {
        "create_task": lambda: make(lib.create_task, nothing())._loop,
        "ensure_future": lambda: make(lib.ensure_future, nothing())._loop,
        "sleep": lambda: step(lib.sleep(1)),
        "Future": lambda: make(lib.Future)._loop,
        "Event": lambda: step(lib.Event().wait()),
        "Condition": lambda: step(lib.Queue().get()),
        "wait_for": lambda: step(wait_for()),
        "wait": lambda: step(waits()),
        "timeout": lambda: step(timeouts()),
        "TaskGroup": lambda: enter(lib.TaskGroup()),
        "gather": lambda: make(lib.gather, nothing())._loop,
        "gather nothing": lambda: make(lib.gather)._loop,
        "shield": lambda: make(lib.shield, nothing())._loop,
        "current_task": lambda: lib.current_task(),
        "all_tasks": lambda: len(lib.all_tasks()) >= 0,
        "StreamReader": lambda: lib.StreamReader()._loop,
        "wrap_future": lambda: make(lib.wrap_future, asyncio.futures.concurrent.futures.Future())._loop,
    }
    for name, call in calls.items():
        try:
            answer = call()
        except BaseException as exc:
            answer = type(exc).__name__, str(exc)
        if isinstance(answer, tuple):
            answer = tuple("this loop" if x is loop else "another loop" if isinstance(x, asyncio.AbstractEventLoop) else x for x in answer)
        else:
            answer = "this loop" if answer is loop else "another loop" if isinstance(answer, asyncio.AbstractEventLoop) else answer
        t.say(name, answer)
    return [future for future in made if isinstance(future, asyncio.Future)]


def forget(loop, futures):
    for future in futures:
        future.cancel()
    loop.run_until_complete(asyncio.sleep(0))


@mixed
def test_every_helper_takes_the_loop_that_was_set(t):
    t.keep_warnings = False
    loop, outer = t.loop, t.new_loop()
    made = []

    def inside():
        with running(loop):
            made.extend(ask_all(t, loop))
        t.say(events._get_running_loop() is outer)

    with running(loop):  # no loop of ours runs
        made.extend(ask_all(t, loop))
    outer.call_soon(inside)  # one of ours runs, but asyncio says another
    outer.call_soon(outer.stop)
    outer.run_forever()
    forget(loop, made)


@mixed
def test_no_loop_is_set_while_one_runs(t):
    t.keep_warnings = False
    loop = t.loop
    made = []

    def inside():
        with running(None):
            for name in ("create_task", "current_task", "all_tasks"):
                coro = nothing()
                t.attempt(getattr(t.kit.classes, name), *([coro] if name == "create_task" else []))
                coro.close()
            t.attempt(step, t.kit.classes.sleep(1))
            t.attempt(step, t.kit.classes.timeout(1).__aenter__())
        made.extend(ask_all(t, loop))

    loop.call_soon(inside)
    loop.call_soon(loop.stop)
    loop.run_forever()
    forget(loop, made)


@mixed
def test_every_helper_asks_the_names_that_were_bound_anew(t):
    t.keep_warnings = False
    loop, made = t.loop, []

    def get():
        return loop

    asyncio.set_event_loop(loop)  # what asyncio's C code falls back to
    try:
        with names(_get_running_loop=get, get_running_loop=get):
            made.extend(ask_all(t, loop))
        with names(get_running_loop=get):
            made.extend(ask_all(t, loop))
        with names(_get_running_loop=get):
            made.extend(ask_all(t, loop))
    finally:
        asyncio.set_event_loop(None)
    forget(loop, made)


@mixed
def test_the_names_are_bound_anew_while_a_loop_runs(t):
    t.keep_warnings = False
    loop, other, made = t.loop, t.new_loop(), []

    def inside():
        made.extend(ask_all(t, loop))  # as ever, and known to be so
        with names(_get_running_loop=lambda: other, get_running_loop=lambda: other):
            made.extend(ask_all(t, other))
        made.extend(ask_all(t, loop))

    loop.call_soon(inside)
    loop.call_soon(loop.stop)
    loop.run_forever()
    for future in made:
        future.cancel()
    for each in (loop, other):
        each.run_until_complete(asyncio.sleep(0))


@mixed
def test_a_replaced_get_event_loop(t):
    t.keep_warnings = False
    loop = t.loop
    name = "get_event_loop" if not hasattr(events, "_get_event_loop") else "_get_event_loop"
    saved = getattr(events, name)
    setattr(events, name, lambda *args, **kwargs: loop)
    asyncio.set_event_loop(loop)
    try:
        made = ask_all(t, loop)
    finally:
        setattr(events, name, saved)
        asyncio.set_event_loop(None)
    forget(loop, made)


@mixed
def test_a_name_that_raises(t):
    def refuse():
        raise LookupError("not today")

    async def main():
        await t.sleep(0)
        with names(get_running_loop=refuse):
            for call in (lambda: t.kit.classes.sleep(1), lambda: t.kit.classes.timeout(1).__aenter__()):
                try:
                    await call()
                    t.say("entered")
                except LookupError as exc:
                    t.say(exc)
            coro = nothing()
            t.attempt(t.kit.classes.create_task, coro)
            coro.close()

    t.run(main())


@same
def test_run_forever_tells_the_name_that_was_bound_anew(t):
    loop, told = t.loop, []
    real = events._set_running_loop

    def note(running_loop):
        told.append(None if running_loop is None else running_loop is loop)
        real(running_loop)

    with names(_set_running_loop=note):
        t.pump()
    t.say(told)
    with names(_get_running_loop=lambda: None):  # asked before a run: no other loop runs
        loop.call_soon(loop.stop)
        loop.run_forever()
    with names(_get_running_loop=lambda: object()):
        t.attempt(loop.run_forever)
        coro = nothing()
        t.attempt(loop.run_until_complete, coro)
        coro.close()


@mixed
def test_a_loop_inside_a_callback(t):
    """What workflow engines and nested runners do."""
    outer = t.loop
    lib = t.kit.classes

    async def work(name):
        async with lib.TaskGroup() as group:
            tasks = [group.create_task(lib.sleep(0.001 * i, i)) for i in range(3)]
        lock = lib.Lock()
        async with lock, lib.timeout(30):
            await lib.wait_for(lib.sleep(0.001), 30)
        t.say(name, [task.result() for task in tasks], asyncio.current_task().get_name(), len(lib.all_tasks()))
        return await lib.gather(lib.sleep(0, name), lib.sleep(0.001, name))

    def nested(done, depth):
        with running(None):
            inner = t.new_loop()
            try:
                t.say(inner.run_until_complete(inner.create_task(level(depth + 1), name=f"inner {depth}")))
            finally:
                inner.close()
        t.say(events._get_running_loop() is outer if depth == 0 else "deeper")
        done.set_result(depth)

    async def level(depth):
        loop = asyncio.get_running_loop()
        result = [await work(f"before {depth}")]
        if depth < 2:
            done = loop.create_future()
            loop.call_soon(nested, done, depth)
            result.append(await done)
        result.append(await work(f"after {depth}"))
        return result

    t.say(outer.run_until_complete(outer.create_task(level(0), name="outer")))


@same
def test_a_loop_inside_a_callback_without_asking(t):
    loop = t.loop

    def nested():
        inner = t.new_loop()
        coro = nothing()
        t.attempt(inner.run_until_complete, coro)
        coro.close()
        t.attempt(inner.run_forever)
        t.attempt(loop.run_forever)
        inner.close()

    loop.call_soon(nested)
    loop.call_soon(loop.stop)
    loop.run_forever()


@mixed
def test_a_users_own_loop_inside_ours(t):
    """A loop in Python that runs nothing but what it is given, driven by a callback of ours."""

    class Own(asyncio.AbstractEventLoop):
        def __init__(self):
            self.ready = []

        def call_soon(self, callback, *args, context=None):
            handle = asyncio.Handle(callback, args, self, context)
            self.ready.append(handle)
            return handle

        def call_later(self, delay, callback, *args, context=None):
            return self.call_soon(callback, *args, context=context)

        def call_at(self, when, callback, *args, context=None):
            return self.call_later(0, callback, *args, context=context)

        def time(self):
            return 1.0

        def create_future(self):
            return t.kit.classes.Future(loop=self)

        def create_task(self, coro, **kwargs):
            return t.kit.classes.Task(coro, loop=self, **kwargs)

        def get_debug(self):
            return False

        def is_running(self):
            return True

        def is_closed(self):
            return False

        def call_exception_handler(self, context):
            t.say(context["message"])

        def run(self, coro):
            with running(self):
                task = self.create_task(coro)
                while not task.done():
                    ready, self.ready = self.ready, []
                    for handle in ready:
                        if not handle.cancelled():
                            handle._run()
            return task.result()

    async def work():
        lib = t.kit.classes
        t.say(type(asyncio.get_running_loop()).__name__)
        t.say(await lib.sleep(5, "slept"), await lib.gather(lib.sleep(1, 1), lib.sleep(0, 2)))
        queue = lib.Queue()
        getter = lib.create_task(queue.get())
        await lib.sleep(0)
        queue.put_nowait("item")
        t.say(await getter, getter._loop is asyncio.get_running_loop())
        done, pending = await lib.wait([lib.create_task(lib.sleep(0, "a"))])
        t.say([task.result() for task in done], pending)
        return asyncio.current_task() is not None

    def inside():
        t.say(Own().run(work()))

    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.call_soon(inside)
        loop.call_soon(done.set_result, None)
        await done
        t.say(asyncio.get_running_loop() is loop, await t.sleep(0.001, "after"))

    t.run(main())


@mixed
def test_one_loop_in_each_thread(t):
    """Each thread has its own running loop, whatever another is told."""
    lib = t.kit.classes
    answers = {}

    async def main(i):
        for _ in range(20):
            await lib.sleep(0)
            async with lib.timeout(30):
                await lib.sleep(0.001)
        answers[i] = (await lib.gather(*(lib.sleep(0, n) for n in range(3))), lib.current_task().get_name())

    def work(i, loop):
        with running(None):
            loop.run_until_complete(loop.create_task(main(i), name=f"task {i}"))

    threads = [threading.Thread(target=work, args=(i, t.new_loop())) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    t.say(answers)
