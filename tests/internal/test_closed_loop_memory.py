"""A closed loop is freed, with all it held; no fd stays; nothing needs the garbage collector where asyncio's does not."""
import asyncio
import gc
import os
import socket
import tracemalloc
import weakref

import pytest

from sidebyside import OURS, SANITIZED


def open_fds():
    return len(os.listdir("/proc/self/fd"))


def use(loop, kit):
    async def main():
        future = loop.create_future()
        loop.call_soon(future.set_result, 1)
        await future
        await kit.gather(kit.sleep(0), kit.sleep(0.0001))
        timer = loop.call_later(100, int)
        timer.cancel()
        loop.call_later(100, int)

    loop.run_until_complete(main())


def test_closed_loop_dies_without_the_collector(kit):
    gc.disable()
    try:
        loop = kit.new_loop()
        use(loop, kit)
        ref = weakref.ref(loop)
        loop.close()
        del loop
        if ref() is not None and kit is not OURS:
            gc.collect()  # asyncio's loop is in cycles
        assert ref() is None
    finally:
        gc.enable()


def test_fds_are_given_back(kit):
    before = open_fds()
    loops = [kit.new_loop() for _ in range(20)]
    assert open_fds() > before
    for loop in loops:
        use(loop, kit)
        loop.close()
    assert open_fds() == before


def test_fds_of_unclosed_loops_are_given_back():
    before = open_fds()
    for _ in range(10):
        with pytest.warns(ResourceWarning, match="unclosed event loop"):
            loop = OURS.new_loop()
            del loop
            gc.collect()
    assert open_fds() == before


def test_memory_of_many_loops(kit):
    def cycle(n):
        for _ in range(n):
            loop = kit.new_loop()
            use(loop, kit)
            loop.close()
            del loop
        gc.collect()

    cycle(10)
    tracemalloc.start()
    try:
        cycle(2)
        before = tracemalloc.get_traced_memory()[0]
        cycle(100)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 50_000


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(SANITIZED, reason="AddressSanitizer holds freed memory back")
def test_resident_memory_of_many_loops(kit):
    """Also what malloc and the kernel see, not only Python's allocator."""
    def cycle(n):
        for _ in range(n):
            loop = kit.new_loop()
            for _ in range(200):
                loop.call_soon(int)
                loop.call_later(100, int)
            use(loop, kit)
            loop.close()
        gc.collect()

    cycle(50)
    before = resident()
    cycle(300)
    assert resident() - before < 4_000_000


def test_what_was_scheduled_is_released(kit):
    class Mark:
        pass

    marks = [Mark() for _ in range(6)]
    refs = [weakref.ref(mark) for mark in marks]
    loop = kit.new_loop()
    a, b = socket.socketpair()
    loop.call_soon(int, marks[0])
    loop.call_later(100, int, marks[1])
    loop.add_reader(a, int, marks[2])
    loop.add_writer(a, int, marks[3])
    loop.call_soon_threadsafe(int, marks[4])
    loop.set_exception_handler(lambda loop, context, mark=marks[5]: None)
    marks.clear()
    gc.collect()
    assert all(ref() is not None for ref in refs)
    loop.close()
    a.close()
    b.close()
    del loop
    gc.collect()
    assert [ref() for ref in refs] == [None] * 6


def test_tasks_left_in_a_closed_loop(kit):
    """Pending tasks die with the last reference, are reported, and take their coroutine along."""
    class Mark:
        pass

    async def wait(mark, future):
        await future

    mark = Mark()
    ref = weakref.ref(mark)
    loop = kit.new_loop()
    loop.set_exception_handler(lambda loop, context: None)
    task = kit.Task(wait(mark, loop.create_future()), loop=loop)
    sleeper = kit.Task(kit.sleep(100, mark), loop=loop)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    del task, sleeper, mark, loop
    gc.collect()
    assert ref() is None


def test_all_tasks_does_not_keep_a_loop(kit):
    loop = kit.new_loop()
    use(loop, kit)
    ref = weakref.ref(loop)
    asyncio.all_tasks(loop)
    asyncio.current_task(loop)
    loop.close()
    del loop
    gc.collect()
    assert ref() is None


def test_subclass_instances_too(kit):
    probe = kit.new_loop()
    cls = type(probe)
    probe.close()

    class Sub(cls):
        pass

    loop = Sub()
    loop.itself = loop
    loop.call_soon(int, loop)
    ref, cls_ref = weakref.ref(loop), weakref.ref(Sub)
    loop.close()
    del loop, Sub
    gc.collect()
    assert ref() is None and cls_ref() is None
