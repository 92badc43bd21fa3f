"""fork: a new loop in the child works, the parent's is untouched by what the child does."""
import asyncio
import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import traceback
import warnings

from sidebyside import KITS, OURS, SANITIZED


def in_child(function):
    """Runs function in a forked child; returns its exit status (0: no exception)."""
    if SANITIZED:
        time.sleep(0.2)  # libasan's locks do not survive a fork beside a thread that starts, such as the watchdog's
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of fork beside threads
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except BaseException:  # the watchdog's
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def use(kit):
    loop = kit.new_loop()

    async def main():
        assert asyncio.get_running_loop() is loop
        assert len(asyncio.all_tasks()) == 1
        return sum(await kit.gather(*(kit.sleep(0.001, i) for i in range(5)))) + await asyncio.to_thread(int, "5")

    assert loop.run_until_complete(main()) == 15
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_new_loop_in_the_child(kit):
    assert in_child(lambda: use(kit)) == 0


def test_new_loop_in_the_child_of_a_running_loop(kit, loop):
    async def main():
        before = asyncio.current_task()

        def child():
            assert asyncio._get_running_loop() is None
            use(kit)

        assert in_child(child) == 0
        assert asyncio.get_running_loop() is loop and asyncio.current_task() is before
        await kit.sleep(0.001)
        assert await kit.gather(kit.sleep(0, 1), kit.sleep(0.001, 2)) == [1, 2]

    loop.run_until_complete(main())


def test_forked_in_a_callback(kit, loop):
    statuses = []
    loop.call_soon(lambda: statuses.append(in_child(lambda: use(kit))))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert statuses == [0]


def leave_the_child():
    if SANITIZED:
        time.sleep(0.2)  # as in in_child
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        raise SystemExit
    os.waitpid(pid, 0)


def run_in_both(loop):
    """Runs the loop; the child, which leaves it by leave_the_child(), ends here."""
    parent = os.getpid()
    try:
        loop.run_forever()
    finally:
        if os.getpid() != parent:
            os._exit(0)


def test_what_was_written_before_leaves_once(kit, loop):
    ours, peer = socket.socketpair()
    with peer:
        peer.settimeout(30)
        transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=ours))
        loop.call_soon(transport.write, b"once")
        loop.call_soon(leave_the_child)
        loop.call_soon(loop.stop)
        run_in_both(loop)
        transport.close()
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert b"".join(iter(lambda: peer.recv(100), b"")) == b"once"


def test_what_a_burst_was_answered_leaves_once(kit, loop):
    class Protocol(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, addr):
            self.transport.sendto(data, addr)
            if data == b"1":
                leave_the_child()
            if data == b"3":
                loop.stop()

    transport, _ = loop.run_until_complete(loop.create_datagram_endpoint(Protocol, ("127.0.0.1", 0)))
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        for i in range(4):
            peer.sendto(b"%d" % i, transport.get_extra_info("sockname"))
        run_in_both(loop)
        peer.setblocking(False)
        heard = []
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(peer.recv(10))
        assert heard == [b"0", b"1", b"2", b"3"]
    transport.close()
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_asyncio_run_in_the_child(kit):
    def child():
        with asyncio.Runner(loop_factory=kit.new_loop) as runner:
            assert runner.run(asyncio.sleep(0.001, 5)) == 5

    assert in_child(child) == 0


def test_child_that_closes_the_inherited_loop():
    """asyncio's child would take the parent's fds out of the shared epoll."""
    loop = OURS.new_loop()
    a, b = socket.socketpair()
    a.setblocking(False)
    seen = []
    loop.add_reader(a, lambda: seen.append(a.recv(10)))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert in_child(loop.close) == 0
    b.send(b"x")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [b"x"]
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()
    loop.remove_reader(a)
    loop.close()
    a.close()
    b.close()


def test_child_that_drops_the_inherited_loop(kit):
    loop = kit.new_loop()
    box = [loop]

    def child():
        warnings.simplefilter("ignore")
        box.clear()
        use(kit)

    assert in_child(child) == 0
    loop.run_until_complete(kit.sleep(0.001))
    loop.close()


def worker(kit_name, queue):
    use(KITS[kit_name])
    queue.put("done")


def test_multiprocessing(kit, loop):
    context = multiprocessing.get_context("fork")

    async def main():
        queue = context.SimpleQueue()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            process = context.Process(target=worker, args=(kit.name, queue))
            process.start()
        while process.is_alive():
            await asyncio.sleep(0.005)
        process.join()
        assert process.exitcode == 0
        assert queue.get() == "done"
        queue.close()
        process.close()

    loop.run_until_complete(main())


def test_fork_while_other_loops_run_in_threads(kit, new_loop):
    loop = new_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        for _ in range(3):
            assert in_child(lambda: use(kit)) == 0
        assert asyncio.run_coroutine_threadsafe(asyncio.sleep(0.001, 5), loop).result(60) == 5
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
